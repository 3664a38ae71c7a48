"""The node's own store of secrets: what opens its data sources, sealed in ``FLAAS_HOME/secrets``.

Each secret is a file, 0600, sealed with AES-256-GCM and bound to its name, so that one cannot be put in another's
place. The key is ``FLAAS_NODE_SECRETS_KEY`` (urlsafe base64 of 32 bytes: from a keychain, systemd's credentials, a
mounted file), else ``FLAAS_HOME/secrets.node.key``, made on first use. With the key beside it the seal protects copies
of the folder alone, a backup or an attachment, as everything else of the same user can read both.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ...errors import InvalidInput, NotFound
from ...home import write_private

if TYPE_CHECKING:
    from .opening import Request

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VARIABLE = "FLAAS_NODE_SECRETS_KEY"
_CONTEXT = b"flaas/source-secret/1\x00"
_KEY_BYTES, _NONCE_BYTES = 32, 12
_MAXIMUM = 64 * 1024
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*?)\s*")


@dataclass(frozen=True)
class Secret:
    """An opened secret; its value never shows.

    Parameters
    ----------
    name : str
        What it is called in the store.
    value : str
        A password, a token, a key file; or several fields, as a JSON object or lines of ``NAME=value``.
    """

    name: str
    value: str = field(repr=False)

    @classmethod
    def of(cls, request: Request) -> Secret | None:
        """Return the secret that a request names; None if it names none.

        Raises
        ------
        NotFound
            Code ``unknown-secret``.
        """
        return None if request.secret is None else SecretStore(request.home).get(request.secret)

    def document(self) -> dict[str, str] | None:
        """Return its fields in lower case, without ``aws_`` before them; None if it is a single value."""
        try:
            read = json.loads(self.value)
        except ValueError:
            lines = [line for line in self.value.splitlines() if line.strip()]
            found = [_LINE.fullmatch(line) for line in lines]
            if len(found) < 2 or not all(found):  # one line may be a password with a sign of equality in it
                return None
            read = {match[1]: match[2].strip("'\"") for match in found if match is not None}
        if not isinstance(read, dict):
            return None
        return {str(key).lower().removeprefix("aws_"): str(value) for key, value in read.items()}

    def fields(self, *needed: str, optional: Sequence[str] = ()) -> dict[str, str]:
        """Return the fields that are asked for.

        Raises
        ------
        InvalidInput
            Code ``bad-secret``: one that is needed is not there.
        """
        known = self.document() or {}
        missing = [key for key in needed if not known.get(key)]
        if missing:
            raise InvalidInput(
                f"Secret {self.name!r} has no {' and no '.join(missing)}.",
                code="bad-secret",
                hint=f"`flaas secret set {self.name}`, and give a JSON object with {', '.join(needed)}.",
            )
        return {key: known[key] for key in (*needed, *optional) if known.get(key)}


class SecretStore:
    """The secrets of the node in `home`.

    Parameters
    ----------
    home : Path
        `FLAAS_HOME`.
    environment : mapping, optional
        Default: the process's own.
    """

    def __init__(self, home: Path, environment: Mapping[str, str] | None = None) -> None:
        self._home = home
        self._folder = home / "secrets"
        self._environment = os.environ if environment is None else environment

    def set(self, name: str, value: str) -> None:
        """Keep `value` under `name`, in place of what was there.

        Raises
        ------
        InvalidInput
            ``bad-secret-name``; ``bad-secret``: empty, or longer than 64 KiB; ``bad-secrets-key``.
        """
        path = self._path(name)
        plain = value.encode("utf-8", "surrogatepass")
        if not value.strip() or len(plain) > _MAXIMUM:
            raise InvalidInput(f"A secret has 1 to {_MAXIMUM} bytes; this one has {len(plain)}.", code="bad-secret")
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + AESGCM(self._key(make=True)).encrypt(nonce, plain, _CONTEXT + name.encode())
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, base64.urlsafe_b64encode(sealed) + b"\n")

    def get(self, name: str) -> Secret:
        """Return a secret.

        Raises
        ------
        NotFound
            Code ``unknown-secret``; the message lists the names there are.
        InvalidInput
            Code ``secret-unreadable``: sealed with another key, or changed.
        """
        try:
            sealed = self._path(name).read_bytes()
        except FileNotFoundError as error:
            raise self._unknown(name) from error
        cipher = AESGCM(self._key(make=False))
        try:
            data = base64.urlsafe_b64decode(sealed)
            plain = cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _CONTEXT + name.encode())
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise InvalidInput(
                f"Secret {name!r} cannot be opened: it was sealed with another key, or changed.",
                code="secret-unreadable",
                hint=f"Restore {_VARIABLE} or the key file, or set it again: `flaas secret set {name}`.",
            ) from error
        return Secret(name, plain.decode("utf-8", "surrogatepass"))

    def names(self) -> list[str]:
        """Return the names of all secrets."""
        if not self._folder.is_dir():
            return []
        return sorted(entry.name for entry in self._folder.iterdir() if _NAME.fullmatch(entry.name))

    def remove(self, name: str) -> None:
        """Forget a secret, code ``unknown-secret`` if there is none."""
        try:
            self._path(name).unlink()
        except FileNotFoundError as error:
            raise self._unknown(name) from error

    def _unknown(self, name: str) -> NotFound:
        return NotFound(
            f"This node keeps no secret {name!r}; it keeps: {', '.join(self.names()) or 'none'}.",
            code="unknown-secret",
            hint=f"`flaas secret set {name}` keeps one.",
        )

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise InvalidInput(
                f"{name[:80]!r} cannot name a secret: allowed are letters, digits, '.', '_' and '-', 64 at most.",
                code="bad-secret-name",
            )
        return self._folder / name

    def _key(self, *, make: bool) -> bytes:
        given = self._environment.get(_VARIABLE)
        if given:
            try:
                key = base64.urlsafe_b64decode(given)
            except (binascii.Error, ValueError):
                key = b""
            return _checked(key, _VARIABLE)
        path = self._home / "secrets.node.key"
        if make and not path.exists():
            self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
            _create(path)
        try:
            return _checked(path.read_bytes(), str(path))
        except FileNotFoundError as error:
            raise InvalidInput(
                f"The key of the node's secrets, {path}, is gone.",
                code="secret-unreadable",
                hint="Restore it, or set the secrets again.",
            ) from error


def _checked(key: bytes, where: str) -> bytes:
    if len(key) != _KEY_BYTES:
        raise InvalidInput(
            f"{where} is not a key: it must be {_KEY_BYTES} bytes (urlsafe base64 in the variable).",
            code="bad-secrets-key",
        )
    return key


def _create(path: Path) -> None:
    """Make a key, unless another process does at the same moment; nobody ever sees half of one."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    write_private(draft, secrets.token_bytes(_KEY_BYTES))
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
