"""A certificate authority of one's own, for trying out: who pins its fingerprint needs no public one.

It is made once, in a folder of `FLAAS_HOME`; its key (mode 0600) never leaves. What it signs is short-lived and renewed
by itself, so that a server's key that leaks is of little use for long. The profile is that of RFC 5280: a critical
basic constraint (no authorities below), key usages, and a subject alternative name for each name.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..errors import InvalidInput, NotAllowed
from ..home import write_private
from .trust import Trust

AUTHORITY_LIFE: Final = timedelta(days=3650)
SERVER_LIFE: Final = timedelta(days=7)
RENEW_BEFORE: Final = SERVER_LIFE / 3
_CLOCKS_DIFFER = timedelta(hours=1)
_ANY: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not listened at

Name = x509.DNSName | x509.IPAddress


class PrivateAuthority:
    """The authority in a folder, made there if there is none.

    Parameters
    ----------
    folder : Path
        Holds ``ca.pem`` and ``ca.key``, and ``server.pem`` and ``server.key`` of the one server.
    hosts : iterable of str
        Names and addresses that the server is reached by, beside this machine's own name and loopback.

    Raises
    ------
    InvalidInput
        ``bad-name``: a host is no name; ``bad-ca``: what is in the folder is damaged.
    NotAllowed
        Code ``key-exposed``: others may read the authority's key.
    """

    def __init__(self, folder: Path, hosts: Iterable[str]) -> None:
        self._folder = folder
        self._names = _names(hosts)
        self._certificate, self._key = self._authority()
        self.trust = Trust(self.certificate.read_text())
        """What clients pin."""

    @property
    def certificate(self) -> Path:
        """The authority's certificate, for clients; nothing in it is secret."""
        return self._folder / "ca.pem"

    @property
    def chain(self) -> Path:
        """The server's certificate and the authority's, for `ServerCertificate`."""
        return self._folder / "server.pem"

    @property
    def key(self) -> Path:
        """The server's key."""
        return self._folder / "server.key"

    def renew(self, now: datetime | None = None) -> None:
        """Sign a new certificate for the server if it has none, or for other names, or one that ends soon."""
        now = now or datetime.now(UTC)
        if self._is_good(now):
            return
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(now, SERVER_LIFE, self._certificate.subject, key.public_key())
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "flaas")]))
            .add_extension(x509.SubjectAlternativeName(self._names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._certificate.public_key()),  # type: ignore[arg-type]
                critical=False,
            )
            .sign(self._key, SHA256())
        )
        chain = certificate.public_bytes(Encoding.PEM) + self._certificate.public_bytes(Encoding.PEM)
        write_private(self.key, _pem(key))
        write_private(self.chain, chain)

    def _is_good(self, now: datetime) -> bool:
        try:
            present = x509.load_pem_x509_certificates(self.chain.read_bytes())[0]
            fits = present.public_key() == load_pem_private_key(self.key.read_bytes(), None).public_key()
        except (OSError, ValueError, TypeError):
            return False
        names = present.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        signed = present.issuer == self._certificate.subject
        return fits and signed and list(names) == self._names and now < present.not_valid_after_utc - RENEW_BEFORE

    def _authority(self) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        path = self._folder / "ca.key"
        if not path.exists() or not self.certificate.exists():
            self._create(path)
        mode = path.stat().st_mode & 0o777
        if mode & 0o077:
            raise NotAllowed(
                f"The authority's key {path} can be read or changed by others (mode {mode:04o}).",
                code="key-exposed",
                hint=f"Run `chmod 600 {path}`; if others may have read it, remove {self._folder} and pin a new one.",
            )
        try:
            key = load_pem_private_key(path.read_bytes(), None)
            certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
            if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
                raise ValueError("the key belongs to another certificate")
        except (OSError, ValueError, TypeError) as error:
            raise InvalidInput(
                f"{self._folder} holds no certificate authority: {error}.",
                code="bad-ca",
                hint="Restore it, or remove the folder: a new one is made, and its fingerprint has to be pinned anew.",
            ) from error
        return certificate, key

    def _create(self, path: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        serial = x509.random_serial_number()
        # Two authorities of one name would be taken for one another where both are trusted.
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"flaas private authority {serial % 2**32:08x}")])
        certificate = (
            _builder(datetime.now(UTC), AUTHORITY_LIFE, name, key.public_key())
            .subject_name(name)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .sign(key, SHA256())
        )
        write_private(path, _pem(key))
        write_private(self.certificate, certificate.public_bytes(Encoding.PEM))


def _builder(
    now: datetime, life: timedelta, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCKS_DIFFER)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(**uses: bool) -> x509.KeyUsage:
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{use: uses.get(use, False) for use in every})


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _names(hosts: Iterable[str]) -> list[Name]:
    own = ("localhost", "127.0.0.1", "::1", socket.gethostname())
    names: list[Name] = []
    for host in (*own, *hosts):
        if host in _ANY:
            continue
        name = _name(host)
        if name not in names:
            names.append(name)
    return names


def _name(host: str) -> Name:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        pass
    try:
        if not host or any(letter.isspace() or letter in "/:@" for letter in host):
            raise ValueError(host)
        return x509.DNSName(host.lower())
    except ValueError as error:
        raise InvalidInput(
            f"{host[:120]!r} is no name or address of a server.",
            code="bad-name",
            hint="Give a DNS name such as flaas.example, or an IP address, without https:// and port.",
        ) from error
