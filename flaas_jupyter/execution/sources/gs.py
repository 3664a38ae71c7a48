"""Google Cloud Storage: ``gs://bucket/folder/loans.parquet``.

Credentials are Google's normal chain (``GOOGLE_APPLICATION_CREDENTIALS``, ``gcloud auth application-default login``,
the machine's service account), or a secret that is the key file of a service account. With the latter the node signs a
token for itself (RFC 7519; Google's AIP-4111), good for an hour. ``STORAGE_EMULATOR_HOST`` names another store.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from ...errors import InvalidInput
from .objects import endpoint, place_of, source_of
from .opening import Request
from .secrets import Secret
from .source import Source

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
_SECONDS = 3600


def open_at(request: Request) -> Source:
    """Return the source of a ``gs://`` address; see `open_source`."""
    place = place_of(request.url, "gs")
    return source_of(request, place, partial(_connect, Secret.of(request)))


def _connect(secret: Secret | None) -> Any:
    from pyarrow import fs

    other = endpoint("STORAGE_EMULATOR_HOST", "GCS_ENDPOINT")
    options: dict[str, Any] = {"retry_time_limit": timedelta(seconds=15)}
    if other is not None:
        options |= {"endpoint_override": other.authority, "scheme": other.scheme}
    if secret is not None:
        options["access_token"] = self_signed(secret)
        # Google's library takes a time without zone for local time.
        options["credential_token_expiration"] = datetime.now(UTC) + timedelta(seconds=_SECONDS)
    elif other is not None:
        options["anonymous"] = True
    return fs.GcsFileSystem(**options)


def self_signed(secret: Secret, now: float | None = None) -> str:
    """Return a token that a service account's key has signed for reading from storage.

    Raises
    ------
    InvalidInput
        Code ``bad-secret``.
    """
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import RSAKey

    known = secret.fields("client_email", "private_key", "private_key_id")
    issued = int(time.time() if now is None else now)
    claims = {
        "iss": known["client_email"],
        "sub": known["client_email"],
        "scope": _SCOPE,
        "iat": issued,
        "exp": issued + _SECONDS,
    }
    try:
        key = RSAKey.import_key(known["private_key"])
        return jwt.encode({"alg": "RS256", "kid": known["private_key_id"], "typ": "JWT"}, claims, key)
    except (JoseError, ValueError, TypeError) as error:
        raise InvalidInput(
            f"Secret {secret.name!r} is not the key file of a service account.",
            code="bad-secret",
            hint=f"`flaas secret set {secret.name} < key.json`, with the file that Google made.",
        ) from error
