"""Cloud credentials at rest: AES-256-GCM, bound to the account that they belong to.

The key is derived from the installation's secret key, so that nothing else that is made from that key can be mistaken
for it. Where a sealed text says which key it needs, older keys stay readable while everything new uses the present
one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..errors import Conflict
from ..governance.confidentiality.installation import installation_keys, secret_key
from ..governance.confidentiality.key_services import KEY_BYTES, bad_key
from ..home import Home

__all__ = ["KEY_BYTES", "Keyring", "secret_key"]

_PURPOSE = b"flaas/credentials/1"
_VERSION = "1"
_NONCE_BYTES = 12


class Keyring:
    """The present key, which seals, and older ones, which only open; keys never show.

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
        derived = [hmac.digest(key, _PURPOSE, "sha256") for key in keys]
        self._ciphers = {hashlib.sha256(key).hexdigest()[:8]: AESGCM(key) for key in reversed(derived)}
        self._present = hashlib.sha256(derived[0]).hexdigest()[:8]

    def __repr__(self) -> str:
        return f"Keyring({len(self._ciphers)} keys)"

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None, home: Home | None = None) -> Keyring:
        """Read ``FLAAS_SECRETS_KEY`` (urlsafe base64 of 32 bytes), else the file ``secrets.key``, made on first use.

        Keys from before a rotation stand in ``FLAAS_SECRETS_KEY_OLD``, separated by commas, or one a line in
        ``secrets.key.old``. Several API processes on one data base must have the same keys; see
        `flaas_jupyter.governance.confidentiality.installation` for keys that a KMS wraps.
        """
        return cls(installation_keys(environment, home))

    def seal(self, values: Mapping[str, str], organisation: str, account: str) -> str:
        """Return `values` as a text that only `open` with the same organisation and account can read."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        plain = json.dumps(dict(values)).encode()
        sealed = self._ciphers[self._present].encrypt(nonce, plain, _owner(organisation, account))
        return f"{_VERSION}:{self._present}:{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str, organisation: str, account: str) -> dict[str, str]:
        """Return what was sealed.

        Raises
        ------
        Conflict
            Code ``credentials-unreadable``: it was sealed with another key, changed, or belongs to another account.
        """
        version, _, rest = sealed.partition(":")
        name, _, text = rest.partition(":")
        cipher = self._ciphers.get(name)
        if version != _VERSION or cipher is None:
            raise _unreadable(account, "they were sealed with a key that this API does not have")
        try:
            data = base64.urlsafe_b64decode(text.encode())
            plain = cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _owner(organisation, account))
        except (InvalidTag, ValueError) as error:
            raise _unreadable(account, "they were changed, or belong to another account") from error
        opened: dict[str, str] = json.loads(plain)
        return opened

    def is_present(self, sealed: str) -> bool:
        """Tell whether a text is sealed with the present key, so that the older ones are not needed for it."""
        return sealed.split(":")[1:2] == [self._present]


def _owner(organisation: str, account: str) -> bytes:
    return json.dumps([organisation, account]).encode()


def _unreadable(account: str, why: str) -> Conflict:
    return Conflict(
        f"The credentials of account {account} cannot be read: {why}.",
        code="credentials-unreadable",
        hint="Restore the secret key (FLAAS_SECRETS_KEY or secrets.key), or remove the account and enter it again.",
    )
