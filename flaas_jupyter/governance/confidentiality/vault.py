"""Personal and secret fields at rest: sealed one by one, with a data key for each owner (envelope encryption).

A field is sealed with AES-256-GCM (NIST SP 800-38D) under its owner's *data key*. Data keys stand in table
``data_keys``, wrapped by the installation's *key-encryption key*, which is never in the data base: it comes from the
environment, a file or a KMS (`installation`). So

* whoever has the data base alone reads none of it;
* a new key-encryption key means wrapping the data keys again, not one field (`Vault.rewrap`);
* forgetting a person means deleting one row (`Vault.shred`): what that key has sealed is noise in every copy of the
  data base that does not hold the row.

How others use it
-----------------
``vault = Vault.load()`` once a process; it is thread-safe. Data keys live in the data base, so every method takes the
SQLAlchemy session first and works in its transaction:

>>> sealed = vault.seal(session, "persons.email", person(user), email)      # a writing session: the key may be new
>>> vault.open(session, "persons.email", person(user), sealed)              # a reading session will do

``owner``
    Whose key: ``person("ana")``, ``organisation("clinic")`` or ``INSTALLATION`` (signing keys of the API itself).
``purpose``
    Which field, so that a text cannot be moved to another: ``"table.column"`` where the owner is the row (a person's
    name), ``"table.column/row id"`` where an owner has several rows (``"signing_keys.private/" + kid``).

Purpose, owner and version of the key are the associated data: a text that was moved to another field, row or owner
does not open. What is sealed must be known to `sealed_columns`, so that `Vault.rotate` can seal it anew.

To look something up that is sealed (a person by e-mail), keep ``vault.blind_index(session, purpose, text)`` beside it:
an HMAC-SHA256 under a key of the installation that stays through every rotation. Who has that key and the data base
can test guesses, so index only what must be looked up; make the text canonical first (`str.casefold`).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import delete, func, select
from sqlalchemy import text as sql
from sqlalchemy.orm import Session

from ...errors import Conflict, NotFound
from ...home import Home
from .installation import key_services
from .key_services import KEY_BYTES, KeyService
from .memory import CACHE_SECONDS, UnwrappedKeys
from .tables import DataKey

INSTALLATION = "installation"
_INDEX = "installation/index"
_FORMAT = "v1"
_NONCE_BYTES = 12
_SEAL = "flaas/sealed/1"
_BLIND = "flaas/blind-index/1"


def person(user: str) -> str:
    """Return the owner that a person or service is."""
    return f"person:{user}"


def organisation(organisation_id: str) -> str:
    """Return the owner that an organisation is."""
    return f"organisation:{organisation_id}"


class KeyUse(NamedTuple):
    """How many data keys one key-encryption key has wrapped, and whether it can be used and is the present one."""

    kek_id: str
    data_keys: int
    held: bool
    present: bool


class Vault:
    """Seals and opens fields with data keys that it wraps and unwraps; nothing of it ever shows.

    Parameters
    ----------
    services : sequence of KeyService
        What wraps data keys, the present one first; the others only unwrap.
    cache_seconds : float
        How long an unwrapped data key is kept in memory, so that not every field costs a call of the KMS.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(
        self,
        services: Sequence[KeyService],
        cache_seconds: float = CACHE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not services:
            raise ValueError("a vault takes at least one key service")
        self._services = tuple(services)
        self._unwrapped = UnwrappedKeys(cache_seconds, clock)

    def __repr__(self) -> str:
        return f"Vault({len(self._services)} key services)"

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None, home: Home | None = None) -> Vault:
        """Return the vault of this installation; its key is made on first use if there is none.

        Raises
        ------
        InvalidInput
            Codes ``bad-secrets-key`` and ``bad-kms-command``.
        """
        return cls(key_services(environment, home))

    # ---- fields -----------------------------------------------------------------------------------------------------

    def seal(self, session: Session, purpose: str, owner: str, text: str) -> str:
        """Return `text` as only `open` with the same purpose and owner can read it.

        Raises
        ------
        Conflict
            Code ``data-key-unreadable``: the owner's key was wrapped by a key that this API does not have.
        Unreachable
            Code ``kms-unavailable``.
        """
        key = self._present(session, owner)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        bound = _associated(purpose, owner, key.version)
        sealed = AESGCM(self._unwrap(key)).encrypt(nonce, text.encode("utf-8", "surrogatepass"), bound)
        return f"{_FORMAT}:{key.version}:{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def open(self, session: Session, purpose: str, owner: str, sealed: str) -> str:
        """Return what was sealed.

        Raises
        ------
        Conflict
            Codes ``field-unreadable``: it was changed, or belongs to another field or owner; ``field-erased``: the
            key that it was sealed with was deleted; ``data-key-unreadable``: see `seal`.
        Unreachable
            Code ``kms-unavailable``.
        """
        version = _version(sealed)
        try:
            data = base64.b64decode(sealed.rpartition(":")[2].translate(_URLSAFE), validate=True)
        except (binascii.Error, ValueError) as error:
            raise _unreadable(purpose, owner) from error
        if version is None or len(data) < _NONCE_BYTES:
            raise _unreadable(purpose, owner)
        key = session.get(DataKey, (owner, version))
        if key is None:
            raise Conflict(
                f"Field {purpose} of {owner} cannot be read: its key was deleted.",
                code="field-erased",
                hint="That is what erasing a person does; nothing brings it back.",
            )
        try:
            plain = AESGCM(self._unwrap(key)).decrypt(
                data[:_NONCE_BYTES], data[_NONCE_BYTES:], _associated(purpose, owner, version)
            )
        except InvalidTag as error:
            raise _unreadable(purpose, owner) from error
        return plain.decode("utf-8", "surrogatepass")

    def reseal(self, session: Session, purpose: str, owner: str, sealed: str) -> str:
        """Return `sealed` under the owner's present data key."""
        return self.seal(session, purpose, owner, self.open(session, purpose, owner, sealed))

    def is_present(self, session: Session, owner: str, sealed: str) -> bool:
        """Tell whether a text is sealed with the owner's present data key, so that older ones are not needed for it."""
        newest = session.scalar(select(func.max(DataKey.version)).where(DataKey.owner == owner))
        return newest is not None and _version(sealed) == newest

    def blind_index(self, session: Session, purpose: str, text: str) -> str:
        """Return 64 hexadecimal digits that are the same for the same purpose and text; see the module.

        The first one of an installation takes a writing session: its key is made then.
        """
        key = self._unwrap(self._present(session, _INDEX))
        derived = hmac.digest(key, json.dumps([_BLIND, purpose]).encode(), "sha256")
        return hmac.digest(derived, text.encode("utf-8", "surrogatepass"), "sha256").hex()

    def preload(self, session: Session, owners: Iterable[str]) -> None:
        """Read the keys of many owners in one query, before their fields are opened one by one."""
        wanted = list(owners)
        found = session.scalars(select(DataKey).where(DataKey.owner.in_(wanted))).all()
        session.info["flaas.data-keys"] = found  # the session's own references to its rows are weak

    # ---- keys -------------------------------------------------------------------------------------------------------

    def rewrap(self, session: Session, *, everything: bool = False) -> int:
        """Wrap all data keys that another key-encryption key has wrapped with the present one; return how many.

        Nothing that is sealed changes. Afterwards the older keys are not needed any more. With `everything` also
        those that the present one has wrapped: a KMS that has rotated its key under the same name takes the new one.
        """
        service = self._services[0]
        present = service.key_id
        query = select(DataKey) if everything else select(DataKey).where(DataKey.kek_id != present)
        stale = session.scalars(query).all()
        for key in stale:
            data_key = self._unwrap(key)
            key.kek_id, key.wrapped = present, _wrap(service, data_key, key.owner, key.version)
        session.flush()
        return len(stale)

    def rotate(self, session: Session, owner: str) -> int:
        """Give `owner` a new data key and return its version; the one before opens what it has sealed.

        `sealed_columns.reseal` seals that anew and deletes the older keys.

        Raises
        ------
        NotFound
            Code ``no-data-key``: nothing was ever sealed for this owner.
        """
        if owner == _INDEX:
            raise ValueError("the key of blind indexes stays: an index under another key finds nothing")
        before = self._newest(session, owner)
        if before is None:
            raise NotFound(
                f"There is no data key of {owner[:80]!r}.",
                code="no-data-key",
                hint="An owner is person:<id>, organisation:<id> or installation.",
            )
        before.retired = datetime.now(UTC)
        return self._make(session, owner, before.version + 1).version

    def retire(self, session: Session, owner: str) -> int:
        """Delete the owner's data keys but the present one; return how many there were."""
        present = self._present(session, owner)
        return _delete(session, owner, DataKey.version != present.version)

    def shred(self, session: Session, owner: str) -> int:
        """Delete all data keys of `owner`, so that nothing that they have sealed can be read; return how many.

        Copies of the data base that were made before still hold the wrapped keys: they are as old as the backups.
        """
        return _delete(session, owner)

    def usage(self, session: Session) -> list[KeyUse]:
        """Return which key-encryption keys there are, the present one first."""
        counted = session.execute(select(DataKey.kek_id, func.count()).group_by(DataKey.kek_id))
        counts: dict[str, int] = {kek: count for kek, count in counted}  # noqa: C416 - rows are no pairs to mypy
        present = self._services[0].key_id
        counts.setdefault(present, 0)
        uses = [KeyUse(kek, count, self._holds(kek), kek == present) for kek, count in counts.items()]
        return sorted(uses, key=lambda use: (not use.present, use.kek_id))

    # ---- within -----------------------------------------------------------------------------------------------------

    def _newest(self, session: Session, owner: str) -> DataKey | None:
        return session.scalar(select(DataKey).where(DataKey.owner == owner).order_by(DataKey.version.desc()).limit(1))

    def _present(self, session: Session, owner: str) -> DataKey:
        return self._newest(session, owner) or self._make(session, owner, 1)

    def _make(self, session: Session, owner: str, version: int) -> DataKey:
        service = self._services[0]
        data_key = secrets.token_bytes(KEY_BYTES)
        key = DataKey(
            owner=owner,
            version=version,
            kek_id=service.key_id,
            wrapped=_wrap(service, data_key, owner, version),
            created=datetime.now(UTC),
        )
        session.add(key)
        session.flush()
        return key

    def _unwrap(self, key: DataKey) -> bytes:
        # Kept by the wrapped bytes: a row that is gone, or was never committed, is never answered from memory.
        kept = self._unwrapped.get(key.wrapped)
        if kept is not None:
            return kept
        for service in self._services:
            if service.holds(key.kek_id):
                wrapped = base64.b64decode(key.wrapped)
                found = service.unwrap(key.kek_id, wrapped, _context(key.owner, key.version))
                self._unwrapped.keep(key.wrapped, found)
                return found
        raise Conflict(
            f"The data key of {key.owner} was wrapped by key {key.kek_id}, which this API does not have.",
            code="data-key-unreadable",
            hint="Restore it (FLAAS_SECRETS_KEY_OLD, secrets.key.old or FLAAS_KMS_COMMAND); see `flaas keys status`.",
            kek=key.kek_id,
        )

    def _holds(self, kek_id: str) -> bool:
        return any(service.holds(kek_id) for service in self._services)


_URLSAFE = {ord("-"): "+", ord("_"): "/"}


def _version(sealed: str) -> int | None:
    form, _, rest = sealed.partition(":")
    number, _, _ = rest.partition(":")
    if form != _FORMAT or not (number.isascii() and number.isdigit() and len(number) < 10):
        return None
    return int(number)


def _associated(purpose: str, owner: str, version: int) -> bytes:
    return json.dumps([_SEAL, purpose, owner, version]).encode()


def _context(owner: str, version: int) -> dict[str, str]:
    return {"owner": owner, "version": str(version)}


def _wrap(service: KeyService, data_key: bytes, owner: str, version: int) -> str:
    return base64.b64encode(service.wrap(data_key, _context(owner, version))).decode()


def _delete(session: Session, owner: str, *which: object) -> int:
    if session.get_bind().dialect.name == "sqlite":
        # Otherwise the bytes stay in the file's free pages until something else takes their place.
        session.execute(sql("PRAGMA secure_delete=ON"))
    query = delete(DataKey).where(DataKey.owner == owner, *which)  # type: ignore[arg-type]
    return int(session.execute(query.execution_options(synchronize_session="fetch")).rowcount)  # type: ignore[attr-defined]


def _unreadable(purpose: str, owner: str) -> Conflict:
    return Conflict(
        f"Field {purpose} of {owner} cannot be read: it was changed, or belongs to another field or owner.",
        code="field-unreadable",
        hint="Somebody has written to the data base past the API: compare it with a backup.",
    )
