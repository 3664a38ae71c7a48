"""Addresses of data: what they may say, and that they hold no credentials.

An address is kept in the registry, shown in tables and written to logs. So one that carries a password or a signature
is refused before anything else is done with it, and the refusal does not repeat it.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

from ...errors import InvalidInput

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SECRET_KEYS = re.compile(
    r"(^|[-_.])(sig|signature|token|sas|password|passwd|passphrase|pwd|secret|credential|credentials|apikey|key|auth"
    r"|authorization|session|accesskeyid|googleaccessid|jwt|bearer)($|[-_.])"
    r"|^x-(amz|goog|ms)-|^awsaccesskeyid$|access_?key|secret_?key|api_?key|private_?key|sslkey|sslpassword|passfile",
    re.IGNORECASE,
)
_OWN_ACCOUNT = ("az", "abfs", "abfss", "adl", "wasb", "wasbs")


def scheme_of(text: str) -> str:
    """Return the scheme of an address in lower case, empty for a path."""
    found = _SCHEME.match(text)
    return found[1].lower() if found else ""


def refuse_credentials(text: str) -> None:
    """Refuse an address with credentials in it.

    Raises
    ------
    InvalidInput
        Code ``credentials-in-url``; the message does not repeat the address.
    """
    if not scheme_of(text):
        return
    try:
        parts = urlsplit(text)
        password, port = parts.password, parts.port
    except ValueError as error:
        raise InvalidInput(
            "The address is not a URL: its host or port cannot be read.", code="bad-source", hint="Write it anew."
        ) from error
    scheme = parts.scheme.lower().partition("+")[0]
    if password is not None or ("@" in parts.netloc and scheme in ("https", "http", "s3", "gs")):
        raise _refused("a user name or password", scheme)
    if scheme in ("s3", "gs", "az") and port is not None:
        raise InvalidInput(f"A {scheme}:// address names a bucket or container, without a port.", code="bad-source")
    for part in (parts.query, parts.fragment):
        for key, _ in parse_qsl(part.replace(";", "&"), keep_blank_values=True):
            if _SECRET_KEYS.search(key):
                raise _refused("a signature, token or password among its parameters", scheme)


def _refused(what: str, scheme: str) -> InvalidInput:
    chain = {
        "s3": "AWS's own places (AWS_PROFILE, ~/.aws, the machine's role)",
        "gs": "Google's own places (GOOGLE_APPLICATION_CREDENTIALS, the machine's service account)",
        "az": "Azure's own places (`az login`, the machine's managed identity)",
    }.get(scheme, "the secret store")
    return InvalidInput(
        f"The address carries {what}; addresses are kept and shown, so they hold no credentials.",
        code="credentials-in-url",
        hint=f"Take them out. Keep them in the node's secret store, `flaas secret set NAME`, and name it with "
        f"--secret NAME{'' if scheme not in ('s3', 'gs', 'az') else ', or leave them to ' + chain}.",
    )
