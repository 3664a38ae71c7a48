"""What wraps data keys. `LocalKeys` does it with the installation's secret keys, `kms.KmsCommand` asks a KMS."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ...errors import Conflict, InvalidInput

KEY_BYTES = 32
_NONCE_BYTES = 12
_WRAPPING = b"flaas/data-keys/1"


class KeyService(Protocol):
    """Keeps key-encryption keys, and wraps and unwraps data keys with them; the keys themselves stay inside.

    `context` names the owner and version of the data key. A service that can binds it to what it wraps.
    """

    @property
    def key_id(self) -> str:
        """Name of the present key, which wraps."""

    def holds(self, key_id: str) -> bool:
        """Tell whether the service unwraps what key `key_id` has wrapped."""

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> bytes:
        """Return `data_key` wrapped with the present key."""

    def unwrap(self, key_id: str, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Return the data key."""


class LocalKeys:
    """Key-encryption keys derived from the installation's secret keys; they never show.

    Parameters
    ----------
    keys : sequence of bytes
        Secret keys of 32 bytes, the present one first.

    Raises
    ------
    InvalidInput
        Code ``bad-secrets-key``.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise bad_key("A secret key")
        derived = [hmac.digest(key, _WRAPPING, "sha256") for key in keys]
        self._ciphers = {_name(key): AESGCM(key) for key in derived}
        self._present = _name(derived[0])

    def __repr__(self) -> str:
        return f"LocalKeys({len(self._ciphers)} keys)"

    @property
    def key_id(self) -> str:
        """``local:`` and 16 digits of the key's SHA-256."""
        return self._present

    def holds(self, key_id: str) -> bool:
        """Tell whether `key_id` is one of these."""
        return key_id in self._ciphers

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> bytes:
        """Return `data_key` under AES-256-GCM, `context` being the associated data."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._ciphers[self._present].encrypt(nonce, data_key, _bound(context))

    def unwrap(self, key_id: str, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Return the data key.

        Raises
        ------
        Conflict
            Code ``data-key-unreadable``: the row was changed, or is another owner's.
        """
        try:
            return self._ciphers[key_id].decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], _bound(context))
        except (InvalidTag, ValueError) as error:
            raise Conflict(
                f"The data key of {context.get('owner')} is not what {key_id} has wrapped for it.",
                code="data-key-unreadable",
                hint="Somebody has written to table data_keys past the API: restore the row from a backup.",
            ) from error


def bad_key(where: str) -> InvalidInput:
    """Return the error of a key that is none."""
    return InvalidInput(
        f"{where} is not the urlsafe base64 of {KEY_BYTES} bytes.",
        code="bad-secrets-key",
        hint="Restore it from a backup; with a new key, what is sealed (names, cloud credentials) cannot be read.",
    )


def _name(key: bytes) -> str:
    return f"local:{hashlib.sha256(key).hexdigest()[:16]}"


def _bound(context: Mapping[str, str]) -> bytes:
    return _WRAPPING + b"\x00" + "\x00".join(f"{name}={context[name]}" for name in sorted(context)).encode()
