"""Tokens and single-use secrets of machines: derived, so that a repetition after a crash has the same.

A secret is the HMAC-SHA256 of what it is for under the installation's secret key; only its SHA-256 is stored. So the
data base alone gives nobody a way into a project, and the machine's call is checked without keeping what it knows.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

from ...errors import InvalidInput
from ...home import Home
from ..secrets import KEY_BYTES, secret_key

_ENROLMENT = b"flaas/enrolment/1"


class SecretKey:
    """The key that secrets are derived with; it never shows.

    Parameters
    ----------
    key : bytes
        32 random bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_BYTES:
            raise InvalidInput(f"A secret key has {KEY_BYTES} bytes, not {len(key)}.", code="bad-secrets-key")
        self._key = key

    def __repr__(self) -> str:
        return "SecretKey(…)"

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None, home: Home | None = None) -> SecretKey:
        """Read ``FLAAS_SECRETS_KEY`` (urlsafe base64 of 32 bytes), else ``secrets.key`` in `FLAAS_HOME`, made once.

        Several API processes on one data base must have the same key.

        Raises
        ------
        InvalidInput
            Code ``bad-secrets-key``.
        """
        return cls(secret_key(environment, home))

    def enrolment(self, launch: str, node: str, attempt: int) -> str:
        """Return the single-use secret of one attempt at one node, 52 lower-case characters."""
        purpose = b"\x00".join((_ENROLMENT, launch.encode(), node.encode(), str(attempt).encode()))
        derived = hmac.digest(self._key, purpose, "sha256")
        return base64.b32encode(derived).decode().rstrip("=").lower()


def digest(secret: str) -> str:
    """Return what is stored of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def machine_token(installation: str, launch: str, node: str, attempt: int) -> str:
    """Return the clouds' idempotency token of one attempt: 32 characters ``[a-z0-9]``, a letter first."""
    text = "\x00".join((installation, launch, node, str(attempt)))
    return "m" + hashlib.sha256(text.encode()).hexdigest()[:31]
