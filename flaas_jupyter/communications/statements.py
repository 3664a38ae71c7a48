"""What a domain's administrators have signed: of each key its newest membership and revocation, and the network.

Serials only ever rise, also over a restart: what was learned is kept on disk, so that whoever passes documents on
cannot bring back an older one. They come from the coordination API and from peers alike; the signature decides, not
the messenger.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from ..errors import FlaasError, InvalidInput
from ..home import locked, write_private
from .membership import Membership
from .network import Network
from .revocation import Revocation

logger = logging.getLogger(__name__)

Statement = Membership | Revocation | Network
Document = dict[str, Any]

KINDS: dict[str, type[Statement]] = {"memberships": Membership, "revocations": Revocation, "networks": Network}
WORDS = {"memberships": "membership", "revocations": "revocation", "networks": "network document"}
NETWORK = "network"
"""What a network document is about, where a membership or revocation names a key."""
_VERSION = 1


class Statements:
    """The newest documents that the key of one domain has signed.

    Parameters
    ----------
    domain : str
        The project's id.
    domain_key : str
        As pinned, 64 hex digits.
    path : Path, optional
        File in which they are kept, of this domain key alone; several processes may share it. Without it they are
        forgotten at the end.

    Raises
    ------
    InvalidInput
        Code ``bad-statements-file``: the file is damaged, or another domain key's.
    """

    def __init__(self, domain: str, domain_key: str, path: Path | None = None) -> None:
        self._domain, self._domain_key, self._path = domain, domain_key, path
        self._newest: dict[str, dict[str, tuple[Statement, Document]]] = {kind: {} for kind in KINDS}
        self._older: dict[tuple[str, str], int] = {}
        if path is not None:
            self._read(path)

    def membership(self, node_id: str) -> Membership | None:
        """Return the newest membership of a key, whether or not it was revoked since."""
        statement = self._statement("memberships", node_id)
        return statement if isinstance(statement, Membership) else None

    def revocation(self, node_id: str) -> Revocation | None:
        """Return the revocation that a key stands under; None if it has none, or was made a member again since."""
        statement, member = self._statement("revocations", node_id), self.membership(node_id)
        if not isinstance(statement, Revocation) or (member is not None and member.serial > statement.serial):
            return None
        return statement

    @property
    def network(self) -> Network | None:
        """The newest network document."""
        statement = self._statement("networks", NETWORK)
        return statement if isinstance(statement, Network) else None

    def learn(self, kind: str, document: object) -> tuple[str, bool]:
        """Take in a document; return what it is about, and whether it is newer than what was known.

        Parameters
        ----------
        kind : str
            Of `KINDS`.
        document : object
            As it was received.

        Raises
        ------
        InvalidInput
            See `Membership.parse`, `Revocation.parse` and `Network.parse`; ``wrong-domain``.
        NotAuthenticated
            ``bad-signature``, ``signatures-missing``.
        """
        newest = self._newest[kind]
        if (subject := self._verified(kind, document)) is not None:
            return subject, False
        statement = KINDS[kind].parse(document, self._domain_key)
        if statement.domain != self._domain:
            raise InvalidInput(f"It is for {statement.domain[:64]!r}, not {self._domain!r}.", code="wrong-domain")
        subject = NETWORK if isinstance(statement, Network) else statement.node_id
        known = newest.get(subject)
        newer = known is None or statement.serial > known[0].serial
        if newer:
            assert isinstance(document, dict)
            newest[subject] = (statement, document)
        elif known is not None and statement.serial < known[0].serial:
            self._tell_of_older(kind, subject, statement.serial)
        return subject, newer

    def serials(self) -> dict[str, int]:
        """Return, by what documents are about, the highest serial that was seen."""
        seen: dict[str, int] = {}
        for newest in self._newest.values():
            for subject, (statement, _) in newest.items():
                seen[subject] = max(statement.serial, seen.get(subject, -1))
        return seen

    def versions(self) -> dict[str, int]:
        """Return, by what documents are about, one number that rises with whatever counts more than before.

        It is twice the serial, and one more for a revocation, which counts above a membership of the same serial.
        """
        seen: dict[str, int] = {}
        for kind, newest in self._newest.items():
            for subject, (statement, _) in newest.items():
                seen[subject] = max(_version(kind, statement), seen.get(subject, -1))
        return seen

    def newer_than(self, versions: dict[str, int], most: int) -> dict[str, list[Document]]:
        """Return, by kind, up to `most` documents that count more than those of `versions`, revocations first."""
        found = [
            (kind, document)
            for kind in ("revocations", "networks", "memberships")
            for subject, (statement, document) in self._newest[kind].items()
            if _version(kind, statement) > versions.get(subject, -1)
        ]
        return {kind: [document for of, document in found[:most] if of == kind] for kind in KINDS}

    def save(self) -> None:
        """Write what is known, together with what another process of this home has learned since."""
        if self._path is None:
            return
        with locked(self._path):
            self._read(self._path)
            documents = {kind: [document for _, document in newest.values()] for kind, newest in self._newest.items()}
            body = {"version": _VERSION, "domain_key": self._domain_key, **documents}
            write_private(self._path, json.dumps(body).encode())

    def _tell_of_older(self, kind: str, subject: str, serial: int) -> None:
        """Log, once, that somebody shows what is out of date: with every look it would be shown again."""
        if self._older.get((kind, subject)) != serial:
            self._older[kind, subject] = serial
            logger.warning("%s: an older %s was passed over: %s", self._domain, WORDS[kind], subject)

    def _statement(self, kind: str, subject: str) -> Statement | None:
        known = self._newest[kind].get(subject)
        return known[0] if known else None

    def _verified(self, kind: str, document: object) -> str | None:
        """Return what the document is about if it is the very one that was verified before, as most are."""
        body = document.get("body") if isinstance(document, dict) else None
        if not isinstance(body, dict):
            return None
        subject = NETWORK if kind == "networks" else body.get("node_id")
        known = self._newest[kind].get(subject) if isinstance(subject, str) else None
        return subject if known is not None and known[1] == document else None

    def _read(self, path: Path) -> None:
        if not path.exists():
            return
        try:
            body = json.loads(path.read_text(encoding="utf-8"))
            if body["version"] != _VERSION:
                raise ValueError("another version")
            if body["domain_key"] != self._domain_key:
                raise ValueError("another domain key")  # to write over it would be to forget
            for kind in KINDS:
                for document in body[kind]:
                    self.learn(kind, document)
        except (OSError, ValueError, KeyError, TypeError, FlaasError) as error:
            raise InvalidInput(
                f"{path} does not hold what the administrators of {self._domain!r} have signed "
                f"({type(error).__name__}).",
                code="bad-statements-file",
                hint="Restore it from a backup. If it is lost, remove it: what was revoked is then known again only "
                "once the API or a peer shows it.",
            ) from error


def _version(kind: str, statement: Statement) -> int:
    return 2 * statement.serial + (kind == "revocations")
