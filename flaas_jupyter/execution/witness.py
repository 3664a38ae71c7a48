"""A node as a witness of the audit log: it keeps the newest checkpoints, and compares them with the API's and peers'.

Whoever controls the coordination API and its data base can rewrite the log and sign it anew, but cannot reach what
nodes have kept. So every new checkpoint must be proven to extend the one kept before (RFC 9162, section 2.1.4), and
peers show each other theirs when they connect: a log that is told differently to two nodes comes apart there, as in
the gossip of Certificate Transparency (Chuat et al., "Efficient gossip protocols for verifying the consistency of
certificate logs", 2015). What does not fit is an alarm, with the two signed checkpoints as evidence; depending on the
owner's policy the node then accepts no more runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..communications.directory import Peer
from ..communications.wire import Message
from ..errors import FlaasError, InvalidInput, NotAllowed, NotAuthenticated, NotFound, Unreachable
from ..governance.audit.merkle import is_extension
from ..governance.audit.statements import Checkpoint, Trust
from ..home import Home, write_private
from .policy import Policy

log = logging.getLogger(__name__)

FILE = "audit.json"
MESSAGE = "audit/checkpoint"
EVENT = "audit.checkpoint"
LOOK_SECONDS = 60.0
KEPT = 32
_MOST_SUCCESSIONS = 1000
_MOST_UNCHECKED = 64
_VERSION = 1

Json = dict[str, Any]
Fetch = Callable[[str], Awaitable[Json]]
Ask = Callable[[str, Message, float], Awaitable[Message]]


@dataclass
class _Kept:
    """What is in the file: the pinned key and its successors, checkpoints in order, and the alarm if there is one."""

    key: str | None = None
    successions: list[Any] = field(default_factory=list)
    kept: list[Json] = field(default_factory=list)
    looked: int | None = None
    alarm: Json | None = None

    @classmethod
    def load(cls, path: Path) -> _Kept:
        if not path.exists():
            return cls()
        try:
            body = json.loads(path.read_text())
            if body.pop("version") != _VERSION:
                raise ValueError("another version")
            kept = cls(**body)
            if kept.key is not None:
                trust = Trust(kept.key, kept.successions)
                for document in kept.kept:
                    trust.open(document)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, FlaasError) as error:
            raise InvalidInput(
                f"{path} does not hold what this node keeps of the audit log ({type(error).__name__}).",
                code="bad-witness-file",
                hint="Restore it from a backup; `flaas audit witness --forget` puts it aside and begins anew.",
            ) from error
        return kept

    def save(self, path: Path) -> None:
        write_private(path, json.dumps({"version": _VERSION, **vars(self)}, indent=1).encode())

    @property
    def newest(self) -> Checkpoint | None:
        return Checkpoint.open(self.kept[-1]) if self.kept else None

    def keep(self, document: Json, trust: Trust) -> None:
        self.key, self.successions = trust.pinned, list(trust.documents)
        self.kept = [*self.kept, document][-KEPT:]


class Witness:
    """What one node keeps of the audit log.

    Parameters
    ----------
    path : Path
        The file, ``audit.json`` in `FLAAS_HOME`; it is read anew each time, so that a command may clear an alarm.
    fetch : coroutine function of str
        GETs a path of the coordination API.
    """

    def __init__(self, path: Path, fetch: Fetch) -> None:
        self._path = path
        self._fetch = fetch
        self._turn = asyncio.Lock()
        self._unchecked: dict[str, Json] = {}

    @property
    def alarm(self) -> Json | None:
        """What was found: ``kind``, ``message``, ``time``, ``source`` and ``evidence``; None if all is well."""
        return _Kept.load(self._path).alarm

    def statement(self) -> Json:
        """Return what peers are shown."""
        kept = _Kept.load(self._path)
        return {"checkpoint": kept.kept[-1] if kept.kept else None, "successions": kept.successions}

    def require_no_alarm(self, policy: Policy) -> None:
        """Refuse a run while there is an alarm, unless the owner's policy says that a warning is enough.

        Raises
        ------
        NotAllowed
            Code ``audit-alarm``.
        """
        alarm = self.alarm
        if alarm is None:
            return
        if policy.on_audit_alarm == "warn":
            log.warning("audit alarm, ignored by policy: %s", alarm["message"])
            return
        raise NotAllowed(
            f"This node takes no runs: {alarm['message']}",
            code="audit-alarm",
            hint="Have the audit log examined; then its operator clears it by `flaas audit witness --forget`.",
            kind=alarm["kind"],
        )

    async def look(self) -> bool:
        """Fetch the API's newest checkpoint and hold it against what is kept; tell whether a newer one is kept now.

        Raises
        ------
        Unreachable, NotAuthenticated
            The API did not answer, or did not let this node in; nothing is known.
        """
        async with self._turn:
            kept = _Kept.load(self._path)
            if kept.alarm is not None:
                return False
            newer = await self._look(kept)
            for peer, shown in list(self._unchecked.items()):
                if kept.alarm is None:
                    del self._unchecked[peer]
                    newer |= await self._compare(kept, peer, shown)
            kept.looked = int(time.time())
            kept.save(self._path)
            return newer

    async def compare(self, peer: str, shown: Json) -> bool:
        """Hold what a peer shows against what is kept; tell whether it is newer and was taken over."""
        async with self._turn:
            kept = _Kept.load(self._path)
            if kept.alarm is not None or shown.get("checkpoint") is None:
                return False
            try:
                if not kept.kept:
                    await self._look(kept)
                newer = await self._compare(kept, peer, shown)
            except (Unreachable, NotAuthenticated) as error:
                log.warning("what %s shows of the audit log cannot be checked yet: %s", peer[:12], error)
                if len(self._unchecked) < _MOST_UNCHECKED:
                    self._unchecked[peer] = shown
                return False
            kept.save(self._path)
            return newer

    # ---- the API ----------------------------------------------------------------------------------------------

    async def _look(self, kept: _Kept) -> bool:
        ours = kept.newest
        try:
            answer = await self._fetch(f"/v1/audit/checkpoints?after={ours.sequence if ours else 0}&limit=1")
            document, trust = answer["newest"], _trust(kept.key or answer["key"], kept.successions)
            if trust is not None:
                trust.follow(_listed(answer["successions"]))
            theirs = trust.open(document) if trust is not None and document is not None else None
        except Unreachable:
            raise
        except NotAuthenticated as error:
            if error.code not in ("bad-signature", "audit-key-unknown"):
                raise
            return self._raise(kept, "false-checkpoint", f"The API shows a false checkpoint: {error.message}", document)
        except (FlaasError, KeyError, TypeError) as error:
            if ours is None:
                log.debug("the API shows no audit log: %s", error)
                return False
            return self._raise(kept, "withheld", f"The API does not show its audit log any more: {error}", None)
        if ours is None:
            if theirs is not None and trust is not None:
                kept.keep(document, trust)
            return theirs is not None
        if theirs is None or theirs.sequence < ours.sequence:
            there = theirs.sequence if theirs else 0
            message = f"The audit log was cut off: it had {ours.sequence} entries, and has {there}."
            return self._raise(kept, "cut-off", message, document)
        if theirs.sequence == ours.sequence:
            if not theirs.same_log(ours):
                message = f"There are two signed histories of {ours.sequence} entries: the log was rewritten."
                return self._raise(kept, "split-view", message, document)
            return False
        if (wrong := await self._not_extending(ours, theirs)) is not None:
            message = f"The audit log of {theirs.sequence} entries does not extend the one of {ours.sequence}: {wrong}."
            return self._raise(kept, "split-view", message, document)
        assert trust is not None
        kept.keep(document, trust)
        return True

    async def _not_extending(self, older: Checkpoint, newer: Checkpoint) -> str | None:
        """Return why `newer` is not proven to extend `older`; None if it is."""
        try:
            answer = await self._fetch(f"/v1/audit/proof?from={older.sequence}&to={newer.sequence}")
            proof = [bytes.fromhex(digest) for digest in answer["proof"]]
        except (Unreachable, NotAuthenticated):
            raise
        except (FlaasError, KeyError, TypeError, ValueError) as error:
            return f"the API gives no proof ({getattr(error, 'message', type(error).__name__)})"
        roots = bytes.fromhex(older.root), bytes.fromhex(newer.root)
        return None if is_extension(older.sequence, newer.sequence, *roots, proof) else "the proof is false"

    # ---- peers ------------------------------------------------------------------------------------------------

    async def _compare(self, kept: _Kept, peer: str, shown: Json) -> bool:
        if kept.key is None or kept.newest is None or kept.alarm is not None:
            return False
        document, ours = shown.get("checkpoint"), kept.newest
        trust = Trust(kept.key, kept.successions)
        try:
            trust.follow(_listed(shown.get("successions", [])))
            theirs = trust.open(document)
        except (FlaasError, TypeError) as error:
            # Anybody can make such a thing up; it proves nothing about the API.
            log.warning("%s shows a checkpoint that no key of this log has signed: %s", peer[:12], error)
            return False
        assert isinstance(document, dict)
        for known in kept.kept:
            if known["body"]["sequence"] == theirs.sequence:
                if not theirs.same_log(Checkpoint.open(known)):
                    message = f"{peer[:12]} was shown another history of the same {theirs.sequence} entries."
                    self._raise(kept, "split-view", message, document, source=peer, ours=known)
                return False
        older, newer = sorted((ours, theirs), key=lambda checkpoint: checkpoint.sequence)
        if (wrong := await self._not_extending(older, newer)) is not None:
            message = (
                f"{peer[:12]} was shown a history of {theirs.sequence} entries that is not the one of {ours.sequence} "
                f"entries shown here: {wrong}."
            )
            self._raise(kept, "split-view", message, document, source=peer)
            return False
        if newer is theirs:
            kept.keep(document, trust)
        return newer is theirs

    def _raise(
        self, kept: _Kept, kind: str, message: str, theirs: object, *, source: str = "api", ours: Json | None = None
    ) -> bool:
        first = ours or (kept.kept[-1] if kept.kept else None)
        evidence = [document for document in (first, theirs) if document is not None]
        kept.alarm = {
            "kind": kind, "message": message, "time": int(time.time()), "source": source, "evidence": evidence
        }  # fmt: skip
        kept.save(self._path)
        log.critical("AUDIT ALARM (%s): %s Evidence: %s", kind, message, json.dumps(evidence))
        return False


class AuditWatch:
    """Looks at the log from time to time, and shows peers what is kept; the node runs it.

    Parameters
    ----------
    witness : Witness
        What is kept.
    ask : coroutine function of (str, Message, float)
        Calls a peer: node id, request, seconds.
    peers : function
        Node ids of those that are connected and are nodes.
    timeout : float
        Seconds that a peer may take.
    """

    def __init__(self, witness: Witness, ask: Ask, peers: Callable[[], Iterable[str]], timeout: float) -> None:
        self.witness = witness
        self._ask = ask
        self._peers = peers
        self._timeout = timeout
        self._wake = asyncio.Event()
        self._to_tell = False

    def wake(self) -> None:
        """Have it look now."""
        self._wake.set()

    async def run(self, every: float = LOOK_SECONDS) -> None:
        """Look every so many seconds, and whenever it is woken, until cancelled; tell the peers of what is newer."""
        while True:
            await self.look()
            if self._to_tell:
                self._to_tell = False
                await asyncio.gather(*(self.exchange(peer) for peer in self._peers()))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await self._wake.wait()
            self._wake.clear()

    async def look(self) -> None:
        """Look once, and leave it to `run` to tell the peers. What fails is logged, not raised."""
        try:
            if await self.witness.look():
                self._to_tell = True
                self._wake.set()
        except FlaasError as error:
            log.warning("the audit log could not be looked at: %s", error)

    async def exchange(self, peer: str) -> None:
        """Show a peer what is kept, and compare with what it shows."""
        try:
            reply = await self._ask(peer, Message(MESSAGE, self.witness.statement()), self._timeout)
            await self.witness.compare(peer, reply.body)
        except NotFound as error:
            log.debug("%s keeps no audit checkpoints: %s", peer[:12], error)
        except FlaasError as error:
            log.info("no audit checkpoints exchanged with %s: %s", peer[:12], error)

    async def answer(self, peer: Peer, message: Message) -> Message:
        """Answer a peer that shows what it keeps."""
        reply = Message(MESSAGE, self.witness.statement())
        await self.witness.compare(peer.node_id, message.body)
        return reply


def status(home: Home) -> Json:
    """Return what the node in `home` keeps of the audit log, for ``flaas node status``."""
    try:
        kept = _Kept.load(home.path / FILE)
    except InvalidInput as error:
        return {"audit": f"unknown: {error}"}
    newest = kept.newest
    if kept.alarm is not None:
        told = f"ALARM ({kept.alarm['kind']}): {kept.alarm['message']}"
    elif newest is None:
        told = "no checkpoint seen"
    else:
        told = f"checkpoint {newest.sequence}, {newest.hash[:16]}…"
    return {"audit": told, "audit_looked": kept.looked}


def show(home: Home) -> Json:
    """Return all that the node in `home` keeps, evidence included."""
    return vars(_Kept.load(home.path / FILE))


def forget(home: Home) -> Path | None:
    """Put what is kept, and with it an alarm, aside in a file of its own; the node pins the log anew.

    Returns
    -------
    Path or None
        Where it is now; None if nothing was kept.
    """
    path = home.path / FILE
    if not path.exists():
        return None
    aside = path.with_name(f"audit-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}.json")
    path.rename(aside)
    return aside


def _trust(key: object, successions: list[Any]) -> Trust | None:
    return None if key is None else Trust(str(key), successions)


def _listed(value: object) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MOST_SUCCESSIONS:
        raise InvalidInput("The successions of keys are no list, or a very long one.", code="bad-document")
    return value
