"""TLS 1.3 between two nodes, each of which proves that it holds the Ed25519 key by which the other knows it.

What a certificate says is of no account here: the handshake proves that the far side holds the key in it, and that key
is the node id. But Python's `ssl` asks a peer for a certificate only together with an authority that it is checked
against, and has no other hook. So every certificate is issued by one key that everybody knows, and that vouches for
nobody. Who may connect is decided by the signed directory, as with every carrier.
"""

from __future__ import annotations

import datetime
import hashlib
import secrets
import ssl
import tempfile
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import NameOID

from ..errors import NotAuthenticated
from .identity import Identity, public_key

ALPN = "flaas/mesh/1"
_VOUCHES_FOR_NOBODY = hashlib.sha256(b"flaas/mesh: this key vouches for nobody").digest()
_ALWAYS = (
    datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC),
)
"""Memberships say how long a key is good; RFC 5280, section 4.1.2.5, has this end for certificates that do not."""


def peer_context(identity: Identity, *, dials: bool) -> ssl.SSLContext:
    """Return how this node speaks TLS with peers: 1.3 alone, with a key proved by both ends.

    Parameters
    ----------
    identity : Identity
        This node's.
    dials : bool
        Whether it is for connections that this node opens.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if dials else ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols([ALPN])
    if not dials:
        context.num_tickets = 0  # each connection proves the key anew
    context.load_verify_locations(cadata=_issuer().public_bytes(Encoding.PEM).decode())
    _load(context, identity)
    return context


def proved_key(connection: ssl.SSLObject | None) -> str:
    """Return the node id of the key that the far side of a finished handshake has proved.

    Raises
    ------
    NotAuthenticated
        Code ``no-peer-key``: it is no Ed25519 key, a weak one, or the far side speaks something else than the mesh.
    """
    raw = connection.getpeercert(binary_form=True) if connection is not None else None
    if connection is None or raw is None or connection.selected_alpn_protocol() != ALPN:
        raise _no_key("it does not speak the mesh's protocol")
    try:
        key = x509.load_der_x509_certificate(raw).public_key()
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("it is no Ed25519 key")
        proved = key.public_bytes_raw()
        public_key(proved)
    except Exception as error:  # a stranger's certificate; the parser has errors of many kinds
        raise _no_key(str(error)) from error
    return proved.hex()


def _load(context: ssl.SSLContext, identity: Identity) -> None:
    """Give `context` certificate and key. `ssl` reads files only: the key is in one for a moment, under a password."""
    key = Ed25519PrivateKey.from_private_bytes(identity.seed)
    password = secrets.token_hex(32)
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))
    with tempfile.TemporaryDirectory(prefix="flaas-") as folder:
        chain = Path(folder) / "key.pem"
        chain.touch(mode=0o600)
        chain.write_bytes(sealed + _certificate(key, identity.node_id).public_bytes(Encoding.PEM))
        context.load_cert_chain(chain, password=password)


def _certificate(key: Ed25519PrivateKey, node_id: str) -> x509.Certificate:
    builder = _builder(key.public_key(), node_id[:64])
    usage = _usage(digital_signature=True)
    return builder.add_extension(usage, critical=True).sign(_issuer_key(), None)


@cache
def _issuer() -> x509.Certificate:
    key = _issuer_key()
    builder = _builder(key.public_key(), _ISSUER).add_extension(x509.BasicConstraints(True, 0), critical=True)
    return builder.add_extension(_usage(key_cert_sign=True), critical=True).sign(key, None)


def _issuer_key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(_VOUCHES_FOR_NOBODY)


_ISSUER = "flaas mesh, which vouches for nobody"


def _builder(key: Ed25519PublicKey, name: str) -> x509.CertificateBuilder:
    issuer = _issuer_key().public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(_ISSUER))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_ALWAYS[0])
        .not_valid_after(_ALWAYS[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)
    )


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _no_key(why: str) -> NotAuthenticated:
    return NotAuthenticated(
        f"The far side of the connection has proved no key: {why}.",
        code="no-peer-key",
        hint="Something else than a node of flaas_jupyter listens there; see the node's record.",
    )
