"""The installation's secret key, where it is kept, and what wraps data keys here.

The secret key is ``FLAAS_SECRETS_KEY`` (urlsafe base64 of 32 bytes), else the file ``secrets.key`` in `FLAAS_HOME`,
made on first use; keys from before a rotation stand in ``FLAAS_SECRETS_KEY_OLD`` (commas between them) or
``secrets.key.old`` (one a line). It wraps data keys (`LocalKeys`), seals cloud credentials and makes the single-use
secrets of machines, each with a key of its own that is derived from it.

With ``FLAAS_KMS_COMMAND`` a KMS wraps the data keys instead, and a secret key that is made from then on is kept only as
the KMS has wrapped it (``secrets.key.wrapped``). Keys from before stay readable. ``FLAAS_KMS_COMMAND_OLD`` is a KMS
that only unwraps any more.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from ...errors import InvalidInput
from ...home import Home, write_private
from .key_services import KEY_BYTES, KeyService, LocalKeys, bad_key
from .kms import COMMAND, OLD_COMMAND, KmsCommand
from .memory import UnwrappedKeys

_KEY = "FLAAS_SECRETS_KEY"
_OLD_KEYS = "FLAAS_SECRETS_KEY_OLD"
_FILE, _WRAPPED_FILE, _OLD_FILE = "secrets.key", "secrets.key.wrapped", "secrets.key.old"
_CONTEXT = {"owner": "installation/secret-key", "version": "1"}
_unwrapped = UnwrappedKeys()


def key_services(environment: Mapping[str, str] | None = None, home: Home | None = None) -> list[KeyService]:
    """Return what this installation is set up with, the present one first.

    Raises
    ------
    InvalidInput
        Codes ``bad-secrets-key`` and ``bad-kms-command``.
    """
    environment = os.environ if environment is None else environment
    home = home or Home.default()
    present, old = KmsCommand.from_environment(environment), KmsCommand.from_environment(environment, OLD_COMMAND)
    services: list[KeyService] = []
    if present is None:
        services.append(LocalKeys(installation_keys(environment, home)))
    else:
        services.append(present)
        before = _plain_keys(environment, home)
        services += [LocalKeys(before)] if before else []
    return [*services, old] if old is not None else services


def installation_keys(environment: Mapping[str, str] | None = None, home: Home | None = None) -> list[bytes]:
    """Return the installation's secret keys, the present one first.

    Several API processes on one data base must have the same keys.

    Raises
    ------
    InvalidInput
        Code ``bad-secrets-key``.
    """
    environment = os.environ if environment is None else environment
    home = home or Home.default()
    present = secret_key(environment, home)
    return [present, *(key for key in _plain_keys(environment, home) if key != present)]


def secret_key(environment: Mapping[str, str] | None = None, home: Home | None = None) -> bytes:
    """Return the installation's present secret key; it is made on first use.

    Raises
    ------
    InvalidInput
        Codes ``bad-secrets-key`` and ``bad-kms-command``.
    Unreachable
        Code ``kms-unavailable``.
    """
    environment = os.environ if environment is None else environment
    if given := environment.get(_KEY):
        return _decoded(given, _KEY)
    folder = (home or Home.default()).path
    plain, wrapped = folder / _FILE, folder / _WRAPPED_FILE
    command = KmsCommand.from_environment(environment)
    if command is not None and (wrapped.exists() or not plain.exists()):
        if not wrapped.exists():
            _write_once(wrapped, _new_wrapped(command))
        return _read_wrapped(wrapped, command)
    if plain.exists() or not wrapped.exists():
        if not plain.exists():
            _write_once(plain, _encoded(secrets.token_bytes(KEY_BYTES)))
        return _decoded(plain.read_text().strip(), str(plain))
    old = KmsCommand.from_environment(environment, OLD_COMMAND)
    if old is None:
        raise InvalidInput(
            f"{wrapped} was wrapped by a KMS, and there is none.",
            code="bad-kms-command",
            hint=f"Set {COMMAND}; or {OLD_COMMAND}, and run `flaas keys rotate --new`, to do without it from now on.",
        )
    return _read_wrapped(wrapped, old)


def replace_secret_key(environment: Mapping[str, str] | None = None, home: Home | None = None) -> None:
    """Make a new secret key in the file; the one before goes to the older ones, and is written there first.

    Raises
    ------
    InvalidInput
        Codes ``bad-secrets-key``: what is there is no key, or it is given by the environment; ``bad-kms-command``.
    Unreachable
        Code ``kms-unavailable``.
    """
    environment = os.environ if environment is None else environment
    if environment.get(_KEY):
        raise InvalidInput(
            f"The secret key is given by {_KEY}, so that it cannot be replaced here.",
            code="bad-secrets-key",
            hint=f"Put it into {_OLD_KEYS}, a new one into {_KEY}, and run `flaas keys rotate`.",
        )
    folder = (home or Home.default()).path
    command = KmsCommand.from_environment(environment)
    plain, wrapped, old = folder / _FILE, folder / _WRAPPED_FILE, folder / _OLD_FILE
    present = _encoded(secret_key(environment, home))
    lines = old.read_text().split() if old.exists() else []
    write_private(old, "\n".join([present, *(line for line in lines if line != present), ""]).encode())
    # Should the process end between the two steps, `secret_key` prefers the file that was written last.
    if command is not None:
        write_private(wrapped, _new_wrapped(command).encode())
        plain.unlink(missing_ok=True)
    else:
        write_private(plain, _encoded(secrets.token_bytes(KEY_BYTES)).encode())
        wrapped.unlink(missing_ok=True)


def forget_old_keys(home: Home | None = None) -> int:
    """Delete the file of older secret keys, and return how many there were."""
    old = (home or Home.default()).path / _OLD_FILE
    count = len(old.read_text().split()) if old.exists() else 0
    old.unlink(missing_ok=True)
    return count


def _plain_keys(environment: Mapping[str, str], home: Home) -> list[bytes]:
    """Return the secret keys that are there as they are, newest first; none is made."""
    plain, old = home.path / _FILE, home.path / _OLD_FILE
    keys: list[bytes] = []
    if given := environment.get(_KEY):
        keys.append(_decoded(given, _KEY))
    elif plain.exists():
        keys.append(_decoded(plain.read_text().strip(), str(plain)))
    keys += [_decoded(text.strip(), _OLD_KEYS) for text in environment.get(_OLD_KEYS, "").split(",") if text.strip()]
    if old.exists():
        keys += [_decoded(text, str(old)) for text in old.read_text().split()]
    return keys


def _new_wrapped(command: KmsCommand) -> str:
    wrapped = base64.b64encode(command.wrap(secrets.token_bytes(KEY_BYTES), _CONTEXT)).decode()
    return json.dumps({"key_id": command.key_id, "wrapped": wrapped})


def _read_wrapped(path: Path, command: KmsCommand) -> bytes:
    text = path.read_text()
    kept = _unwrapped.get(text)
    if kept is not None:
        return kept
    try:
        body = json.loads(text)
        key_id, wrapped = str(body["key_id"]), base64.b64decode(body["wrapped"], validate=True)
    except (ValueError, KeyError, TypeError) as error:
        raise bad_key(str(path)) from error
    key = command.unwrap(key_id, wrapped, _CONTEXT)
    _unwrapped.keep(text, key)
    return key


def _encoded(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).decode()


def _decoded(text: str, where: str) -> bytes:
    try:
        key = base64.b64decode(text.translate({ord("-"): "+", ord("_"): "/"}), validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad_key(where) from error
    if len(key) != KEY_BYTES:
        raise bad_key(where)
    return key


def _write_once(path: Path, text: str) -> None:
    """Write a new key, whole and private, unless another process is quicker."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # any key will do, as long as all have the same
            os.link(draft, path)
    finally:
        draft.unlink()
