"""What a TLS client trusts: the system's authorities, or the certificates of one pinned bundle and no other.

Every HTTPS client here (calls of the API, event streams, the way to a relay) takes its `ssl.SSLContext` from `Trust`:
TLS 1.3, or 1.2 with forward secrecy and authenticated encryption (RFC 9325, section 4.2), and the name always checked.
A private authority is named by its fingerprint, the SHA-256 of the certificate's DER bytes, which people tell each
other like a domain key; `fetched` takes the certificate from the server itself and believes it only if it has that
fingerprint.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ..errors import InvalidInput, NotAuthenticated, Unreachable
from ..home import Home, write_private
from .identity import origin

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2, as OpenSSL names them; those of TLS 1.3 are all modern."""
CA_FILE: Final = "FLAAS_CA_FILE"
"""Environment variable: a PEM file that is trusted in place of the system's authorities, e.g. in a container."""
PLAIN_HTTP: Final = "FLAAS_ALLOW_PLAIN_HTTP"
"""Environment variable: set where plain HTTP may leave this machine; see `require_private`."""

_FINGERPRINT = re.compile(r"sha256:([0-9a-f]{64})")
_LONGEST_BUNDLE = 4 << 20
_DER = 2  # ENCODING_DER of CPython's _ssl

# X509_V_ERR_* of OpenSSL's x509_vfy.h
_NOT_YET_VALID, _EXPIRED = 9, 10
_OTHER_NAME = frozenset({62, 64})
# SSL_R_* of sslerr.h, as `ssl.SSLError.reason` has them
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"})
_TOO_OLD = frozenset(
    {
        "UNSUPPORTED_PROTOCOL",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "NO_PROTOCOLS_AVAILABLE",
        "DH_KEY_TOO_SMALL",
    }
)


@dataclass(frozen=True)
class Trust:
    """Who may vouch for a server.

    Parameters
    ----------
    pem : str
        Certificates in PEM, of authorities or of the server itself; these alone are trusted. Empty: those that the
        system trusts.

    Raises
    ------
    InvalidInput
        Code ``bad-ca``: `pem` holds no certificate, or something that is none.
    """

    pem: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if self.pem:
            _ = self.fingerprints

    def __repr__(self) -> str:
        return f"Trust({', '.join(self.fingerprints) or 'system'})"

    @classmethod
    def from_file(cls, path: Path) -> Trust:
        """Trust the certificates in the PEM file `path` alone.

        Raises
        ------
        InvalidInput
            Code ``bad-ca``: the file cannot be read, or holds no certificate.
        """
        try:
            with path.open("rb") as file:
                pem = file.read(_LONGEST_BUNDLE + 1)
        except OSError as error:
            raise _bad_ca(f"{path} cannot be read: {error.strerror}.") from error
        if not pem or len(pem) > _LONGEST_BUNDLE:
            raise _bad_ca(f"{path} has {len(pem) or 'no'} bytes; a bundle of certificates has up to {_LONGEST_BUNDLE}.")
        try:
            return cls(pem.decode("utf-8", "replace"))
        except InvalidInput as error:
            raise _bad_ca(f"{path} holds no certificate in PEM, or a damaged one.") from error

    @classmethod
    def from_environment(cls) -> Trust:
        """Trust what `FLAAS_CA_FILE` names, else what the system trusts."""
        path = os.environ.get(CA_FILE)
        return cls.from_file(Path(path)) if path else cls()

    @classmethod
    def of(cls, home: Home, url: str) -> Trust:
        """Trust whom `home` trusts for the API at `url`.

        That is what `FLAAS_CA_FILE` names, else what `keep` has pinned for this address, else the system's authorities.

        Raises
        ------
        InvalidInput
            ``bad-ca``: what was pinned is damaged; ``bad-url``.
        """
        if os.environ.get(CA_FILE):
            return cls.from_environment()
        pinned = _pinned(home, url)
        return cls.from_file(pinned) if pinned.exists() else cls()

    def keep(self, home: Home, url: str) -> None:
        """Pin this for the API at `url`: from now on `of` gives it, in place of what was pinned before."""
        write_private(_pinned(home, url), self.pem.encode())

    @cached_property
    def fingerprints(self) -> tuple[str, ...]:
        """The fingerprint of each pinned certificate; empty for the system's authorities."""
        return tuple(map(fingerprint, self.certificates))

    @cached_property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """The pinned certificates; empty for the system's authorities."""
        if not self.pem:
            return ()
        try:
            found = tuple(x509.load_pem_x509_certificates(self.pem.encode()))
        except ValueError as error:
            raise _bad_ca("The bundle holds no certificate in PEM, or a damaged one.") from error
        return found

    def context(self) -> ssl.SSLContext:
        """Return a new context for clients: certificate required, name checked, TLS 1.2 at the least."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(CIPHERS)
        if self.pem:
            context.load_verify_locations(cadata=self.pem)
            # What is pinned is trusted as it is, also where it is an intermediate authority or the server itself.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        else:
            _load_system(context)
        return context


def require_private(url: str) -> None:
    """Check that nobody on the way can read what is said to `url`: it is https, or does not leave this machine.

    Raises
    ------
    InvalidInput
        Code ``plain-http``. `FLAAS_ALLOW_PLAIN_HTTP` permits it, for networks that are encrypted by other means.
    """
    if urlsplit(url).scheme == "http" and not is_loopback(url) and os.environ.get(PLAIN_HTTP, "0") in ("", "0"):
        raise InvalidInput(
            f"{url} is plain HTTP and not on this machine: tokens would cross the network unencrypted.",
            code="plain-http",
            hint=f"Use https://; where the network itself is encrypted, as between containers, set {PLAIN_HTTP}=1.",
        )


def is_loopback(url: str) -> bool:
    """Tell whether `url` is on this machine, so that nothing in between can read along."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def fingerprint(certificate: x509.Certificate | bytes) -> str:
    """Return ``sha256:`` and 64 hex digits of a certificate, which may be given as DER bytes."""
    der = certificate if isinstance(certificate, bytes) else certificate.public_bytes(Encoding.DER)
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def parse_fingerprint(text: str) -> str:
    """Return a fingerprint that people have written, perhaps with colons and capitals as openssl prints it.

    Raises
    ------
    InvalidInput
        Code ``bad-fingerprint``.
    """
    name, _, digits = text.strip().lower().partition(":")
    written = f"{name}:{digits.replace(':', '')}"
    if not _FINGERPRINT.fullmatch(written):
        raise InvalidInput(
            f"{text[:120]!r} is not the fingerprint of a certificate.",
            code="bad-fingerprint",
            hint="Give sha256: and 64 hex digits, as `flaas node invite` and `flaas api serve` print them.",
        )
    return written


def same_fingerprint(one: str, other: str) -> bool:
    """Compare two fingerprints in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())


def fetched(url: str, expected: str, *, timeout: float = 10.0) -> Trust:
    """Fetch the certificates that `url` shows, and trust the one that has the fingerprint `expected`, alone.

    Nothing is sent there before the certificate has been recognised but a request without credentials; the
    connection of which that one is part is then made once more, and verified like any other.

    Parameters
    ----------
    url : str
        An https address.
    expected : str
        The fingerprint, as `parse_fingerprint` reads it: of the authority, or of the server's own certificate.
    timeout : float
        Seconds of silence.

    Raises
    ------
    InvalidInput
        ``bad-fingerprint``; ``bad-url``: not https.
    NotAuthenticated
        Code ``wrong-fingerprint``: no certificate there has it.
    Unreachable
        The address cannot be reached, or its certificate is not good for its name or the time.
    """
    expected = parse_fingerprint(expected)
    if urlsplit(url).scheme != "https":
        raise InvalidInput(
            f"{url} is not https, so it has no certificate to compare with {expected}.",
            code="bad-url",
            hint="Give the https:// address of the API, or leave the fingerprint out.",
        )
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    shown = _handshake(url, unverified, timeout)
    for der in shown:
        if same_fingerprint(fingerprint(der), expected):
            trust = Trust(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode())
            _handshake(url, trust.context(), timeout)
            return trust
    raise NotAuthenticated(
        f"{url} shows the certificates {', '.join(map(fingerprint, shown))}; none of them is {expected}.",
        code="wrong-fingerprint",
        hint="Do not go on: somebody may stand between. If the authority was replaced, ask its administrator, over "
        "another channel, for the new fingerprint.",
    )


def unreachable(url: str, error: BaseException) -> Unreachable:
    """Return why the coordination API at `url` did not answer: what `tls_problem` finds, else ``api-unreachable``."""
    if (problem := tls_problem(error, url)) is not None:
        return problem
    hint = "Check that it runs and that the URL (FLAAS_URL) is right."
    if urlsplit(url).scheme == "http" and isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
        hint = f"If it serves TLS, use https{url.removeprefix('http')}; else its log says more."
    if any(isinstance(each, ssl.SSLError) for each in _causes(error)):
        reason = "the connection was cut while TLS was being agreed on"
    else:
        reason = (str(error) or type(error).__name__).rstrip(".")
    return Unreachable(
        f"The coordination API at {url} cannot be reached: {reason}.",
        code="api-unreachable",
        hint=hint,
        url=url,
    )


def tls_problem(error: BaseException, url: str) -> Unreachable | None:
    """Return what was wrong with the TLS of `url`, if that is why `error` was raised, for people to act on."""
    found = next((each for each in _causes(error) if isinstance(each, ssl.SSLError)), None)
    host = urlsplit(url).netloc.rpartition("@")[2] or url
    if isinstance(found, ssl.SSLCertVerificationError):
        return _mistrusted(found, url, host)
    reason = getattr(found, "reason", None)
    if reason in _NOT_TLS:
        return Unreachable(
            f"{host} answers, but not in TLS: it serves plain HTTP.",
            code="tls-plain-server",
            hint="Its administrator starts it with --tls-cert and --tls-key (or --tls-private); http:// is for "
            "this machine only.",
            url=url,
        )
    if reason in _TOO_OLD:
        return Unreachable(
            f"{host} speaks no TLS that is safe: 1.3, or 1.2 with ECDHE and AES-GCM or ChaCha20, is needed.",
            code="tls-too-old",
            hint="Its administrator updates the server, or the proxy in front of it.",
            url=url,
        )
    return None


def _mistrusted(error: ssl.SSLCertVerificationError, url: str, host: str) -> Unreachable:
    code = error.verify_code
    if code in _OTHER_NAME:
        return Unreachable(
            f"The certificate of {host} was made for another name.",
            code="tls-wrong-name",
            hint="Use the name that the certificate has, or have one made for this name too (--tls-name).",
            url=url,
        )
    if code == _EXPIRED:
        return Unreachable(
            f"The certificate of {host} has expired.",
            code="tls-expired",
            hint="Its administrator renews it; it is taken up without a restart. Check this machine's clock too.",
            url=url,
        )
    if code == _NOT_YET_VALID:
        return Unreachable(
            f"The certificate of {host} is not valid yet.",
            code="tls-not-yet-valid",
            hint="Check this machine's clock, then the server's.",
            url=url,
        )
    return Unreachable(
        f"The certificate of {host} is not trusted here ({error.verify_message}).",
        code="tls-untrusted",
        hint="If it is the right server with an authority of its own, pin that: --ca-fingerprint sha256:… with `flaas "
        f"login` or `flaas node join`, or {CA_FILE}. If one was pinned, somebody may stand between: do not go on.",
        url=url,
    )


def _handshake(url: str, context: ssl.SSLContext, timeout: float) -> list[bytes]:
    """Return the certificates, in DER, that `url` shows; by way of a proxy if the environment names one."""
    try:
        with (
            httpx.Client(verify=context, timeout=timeout, trust_env=not is_loopback(url)) as http,
            http.stream("HEAD", url) as response,
        ):
            return _chain(response.extensions["network_stream"].get_extra_info("ssl_object"))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise unreachable(url, error) from error


def _chain(connection: Any) -> list[bytes]:
    # Public since Python 3.13, where it gives bytes; before, a method of the object that `ssl` wraps.
    chain = connection.get_unverified_chain() or ()
    return [each if isinstance(each, bytes) else each.public_bytes(_DER) for each in chain]


def _pinned(home: Home, url: str) -> Path:
    """Return where the pin of an address is; JupyterLab's server half (`flaas_server.trust`) reads it too."""
    return home.authorities / f"{quote(urlsplit(origin(url)).netloc, safe='')}.pem"


def _load_system(context: ssl.SSLContext) -> None:
    context.load_default_certs()
    paths = ssl.get_default_verify_paths()
    if not context.cert_store_stats()["x509"] and not (paths.cafile or paths.capath):  # a bare container
        import certifi

        context.load_verify_locations(certifi.where())


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _bad_ca(message: str) -> InvalidInput:
    return InvalidInput(
        message, code="bad-ca", hint="Give a PEM file of certificates (-----BEGIN CERTIFICATE-----), no keys."
    )
