"""Who may vouch for the coordination API, as notebooks and the ``flaas`` command have it in ``FLAAS_HOME``.

That is what `FLAAS_CA_FILE` names, else the certificate that ``flaas login --ca-fingerprint`` has pinned for the
address, else the system's authorities. The server half does not import the kernel's package, so this says once more
what ``flaas_jupyter.communications.trust`` says; a test holds the two against each other.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from urllib.parse import quote, urlsplit

from .problems import Problem

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"})
_TOO_OLD = frozenset({"UNSUPPORTED_PROTOCOL", "TLSV1_ALERT_PROTOCOL_VERSION", "SSLV3_ALERT_HANDSHAKE_FAILURE"})
_OTHER_NAME, _EXPIRED, _NOT_YET_VALID = (62, 64), 10, 9


def pinned(home: Path, url: str) -> str:
    """Return the PEM of who alone may vouch for `url`; empty for the system's authorities.

    Raises
    ------
    Problem
        502 ``bad-ca``: the file cannot be read, or is empty; that does not mean the system's authorities.
    """
    named = os.environ.get("FLAAS_CA_FILE")
    path = Path(named) if named else home / "authorities" / f"{quote(_address(url), safe='')}.pem"
    try:
        if not (pem := path.read_text()).strip():
            raise ValueError("nothing is in it")
        return pem
    except FileNotFoundError as error:
        if not named:
            return ""
        raise _bad_ca(path, error) from error
    except (OSError, ValueError) as error:
        raise _bad_ca(path, error) from error


def context(pem: str) -> ssl.SSLContext:
    """Return what a client speaks TLS with: certificate required, name checked, TLS 1.2 at the least."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers(CIPHERS)
    if not pem:
        made.load_default_certs()
        return made
    try:
        made.load_verify_locations(cadata=pem)
    except ssl.SSLError as error:
        raise _bad_ca(Path(os.environ.get("FLAAS_CA_FILE") or "authorities"), error) from error
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return made


def problem(url: str, error: BaseException) -> Problem | None:
    """Return what was wrong with the TLS of `url`, if that is why `error` was raised."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, ssl.SSLError):
        found = found.__cause__ or found.__context__
    host = urlsplit(url).netloc
    if isinstance(found, ssl.SSLCertVerificationError):
        return _mistrusted(found, host)
    if found is not None and found.reason in _NOT_TLS:
        return _problem(
            "tls-plain-server",
            f"{host} answers, but not in TLS: it serves plain HTTP.",
            "Its administrator starts it with --tls-cert and --tls-key; http:// is for this machine only.",
        )
    if found is not None and found.reason in _TOO_OLD:
        return _problem(
            "tls-too-old",
            f"{host} speaks no TLS that is safe: 1.3, or 1.2 with ECDHE and AES-GCM or ChaCha20, is needed.",
            "Its administrator updates the server, or the proxy in front of it.",
        )
    return None


def _mistrusted(error: ssl.SSLCertVerificationError, host: str) -> Problem:
    if error.verify_code in _OTHER_NAME:
        return _problem(
            "tls-wrong-name",
            f"The certificate of {host} was made for another name.",
            "Use the name that the certificate has, or have one made for this name too.",
        )
    if error.verify_code == _EXPIRED:
        return _problem("tls-expired", f"The certificate of {host} has expired.", "Its administrator renews it.")
    if error.verify_code == _NOT_YET_VALID:
        return _problem(
            "tls-not-yet-valid",
            f"The certificate of {host} is not valid yet.",
            "Check the clock of the machine that JupyterLab runs on, then the server's.",
        )
    return _problem(
        "tls-untrusted",
        f"The certificate of {host} is not trusted by JupyterLab's server ({error.verify_message}).",
        f"If it is the right server, pin its authority in a terminal: flaas login https://{host} --ca-fingerprint "
        "sha256:… as its administrator tells you. If one was pinned, somebody may stand between.",
    )


def _problem(code: str, detail: str, hint: str) -> Problem:
    return Problem(502, code, "The connection is not safe", detail, hint=hint, kind="Unreachable")


def _bad_ca(path: Path, error: Exception) -> Problem:
    return Problem(
        502,
        "bad-ca",
        "No certificates",
        f"{path} holds no certificates in PEM ({type(error).__name__}).",
        hint="Set FLAAS_CA_FILE to a PEM file, or run `flaas login URL --ca-fingerprint sha256:…` again.",
        kind="InvalidInput",
    )


def _address(url: str) -> str:
    """Return host and port as the pin's file is named after them."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or {'https': 443}.get(parts.scheme, 80)}"
