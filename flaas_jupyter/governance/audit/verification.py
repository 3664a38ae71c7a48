"""Checking a log, entry by entry in constant memory: in the data base, or in an exported file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ...errors import FlaasError, InvalidInput
from .entries import FIELDS, FIRST_PREV, digest, instant
from .merkle import Frontier
from .statements import Checkpoint, Trust
from .tables import AuditCheckpoint, AuditEntry

Entry = Mapping[str, Any]
_PAGE = 1000
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FIELDS = frozenset((*FIELDS, "prev", "hash"))


@dataclass(frozen=True)
class Finding:
    """The first thing that is wrong with a log.

    Parameters
    ----------
    sequence : int
        Number of the entry.
    kind : str
        ``changed``, ``missing``, ``repeated``, ``cut-off``, ``unreadable``, ``rewritten`` (it fits its chain but not a
        checkpoint) or ``checkpoint`` (the checkpoint itself is false).
    detail : str
        What was found, in a sentence.
    """

    sequence: int
    kind: str
    detail: str


@dataclass
class Verification:
    """What a check has come to; `finding` is None if nothing is wrong.

    Parameters
    ----------
    entries : int
        How many were looked at.
    checkpoints : int
        How many signed checkpoints the log agrees with.
    gaps : int
        Entries that a partial export leaves out.
    head : str
        Hash of the last entry.
    root : str, optional
        Merkle root of all; None of a partial export.
    keys : list of str
        The keys that the checkpoints are signed by.
    finding : Finding, optional
        The first that is wrong.
    """

    entries: int = 0
    checkpoints: int = 0
    gaps: int = 0
    head: str = FIRST_PREV
    root: str | None = None
    keys: list[str] = field(default_factory=list)
    finding: Finding | None = None


class _Found(Exception):
    def __init__(self, sequence: int, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.finding = Finding(sequence, kind, detail)


def verify(
    log: Iterable[Entry],
    documents: Iterable[object] = (),
    *,
    trust: Trust | None = None,
    partial: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Verification:
    """Check a chain from its first entry, and that it agrees with signed checkpoints.

    Parameters
    ----------
    log : iterable of mapping
        Entries in order, as `stored` and `exported` yield them.
    documents : iterable
        Signed checkpoints.
    trust : Trust, optional
        The keys that may have signed them; without, each is held to the key that it names.
    partial : bool
        Whether entries may be left out, as an export of one organisation does; then only neighbours are chained.
    progress : callable, optional
        Called with the number of entries looked at, every thousand.
    """
    result = Verification()
    try:
        pending = _opened(documents, trust)
        result.keys = sorted({checkpoint.key for checkpoint in pending})
        _walk(log, pending, result, partial, progress)
        if pending and not partial:
            head = pending[0]
            raise _Found(
                result.entries + 1,
                "cut-off",
                f"the log ends with entry {result.entries}; a checkpoint signed by {head.key[:16]}… proves that there "
                f"were {pending[-1].sequence}",
            )
    except _Found as found:
        result.finding = found.finding
    return result


def stored(session: Session, *, after: int | None = None) -> Iterator[Entry]:
    """Yield all entries of the data base in order; of one that cannot be read the number alone."""
    table = AuditEntry.__table__
    key = table.c.sequence
    columns = [table.c[name] for name in (*FIELDS, "prev", "hash")]
    while True:
        query = select(*columns).order_by(key)
        if after is not None:
            query = query.where(key > after)
        try:
            rows: list[Any] = list(session.execute(query.limit(_PAGE)))
        except (ValueError, TypeError):
            rows = _one_by_one(session, after)
        if not rows:
            return
        for row in rows:
            yield row if isinstance(row, dict) else _entry_of(row)
        last = rows[-1]
        after = last["sequence"] if isinstance(last, dict) else last.sequence


def exported(lines: Iterable[str]) -> Iterator[Entry]:
    """Yield the entries of an export, a JSON object a line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        yield entry if isinstance(entry, dict) else {"line": number}


def kept_checkpoints(path: Path) -> tuple[list[object], Trust | None]:
    """Read checkpoints that somebody has kept, with the keys that are believed there.

    Parameters
    ----------
    path : Path
        A node's ``audit.json``, an answer of ``GET /v1/audit/checkpoints``, or a signed checkpoint a line.

    Raises
    ------
    InvalidInput
        Code ``bad-checkpoint-file``.
    """
    try:
        text = path.read_text()
        try:
            body: Any = json.loads(text)
        except ValueError:
            body = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise _bad_file(path, f"it cannot be read ({type(error).__name__})") from error
    if isinstance(body, list):
        return body, None
    if not isinstance(body, dict):
        raise _bad_file(path, "it holds no checkpoints")
    if set(body) == {"body", "signature"}:
        return [body], None
    documents = body.get("kept", body.get("_embedded", {}).get("checkpoints") if "_embedded" in body else None)
    if not isinstance(documents, list):
        raise _bad_file(path, "it holds no checkpoints")
    pinned = body.get("key")
    try:
        return documents, Trust(pinned, body.get("successions", [])) if pinned else None
    except FlaasError as error:
        raise _bad_file(path, f"its keys are not sound: {error.message}") from error


def stored_checkpoints(session: Session) -> list[object]:
    """Return the signed checkpoints of the data base, in order."""
    return list(session.scalars(select(AuditCheckpoint.document).order_by(AuditCheckpoint.sequence)))


def _walk(
    log: Iterable[Entry],
    pending: list[Checkpoint],
    result: Verification,
    partial: bool,
    progress: Callable[[int], None] | None,
) -> None:
    tree, expected, whole = Frontier(), 1, True
    for entry in log:
        sequence = _number(entry, expected)
        if sequence < expected:
            raise _Found(sequence, "repeated", f"entry {sequence} stands after entry {expected - 1}")
        if sequence > expected:
            if not partial:
                which = (
                    f"entry {expected} is" if sequence == expected + 1 else f"entries {expected} to {sequence - 1} are"
                )
                raise _Found(expected, "missing", f"{which} missing; the next is {sequence}")
            result.gaps += sequence - expected
        _require_own_hash(entry, sequence)
        if sequence == expected and entry["prev"] != result.head:
            raise _broken_link(sequence)
        whole = whole and sequence == expected
        result.head, result.entries = entry["hash"], result.entries + 1
        expected = sequence + 1
        if whole:
            for _ in tree.append(bytes.fromhex(entry["hash"])):
                pass
        while pending and pending[0].sequence <= sequence:
            checkpoint = pending.pop(0)
            if checkpoint.sequence == sequence:
                _compare(checkpoint, entry, tree.root.hex() if whole else None)
                result.checkpoints += 1
        if progress is not None and result.entries % _PAGE == 0:
            progress(result.entries)
    result.root = tree.root.hex() if whole else None


def _number(entry: Entry, expected: int) -> int:
    if entry.keys() == {"line"}:
        raise _Found(expected, "unreadable", f"line {entry['line']}, where entry {expected} belongs, is no JSON object")
    sequence = entry.get("sequence")
    if type(sequence) is not int:
        raise _Found(expected, "unreadable", f"what stands where entry {expected} belongs has no number")
    return sequence


def _require_own_hash(entry: Entry, sequence: int) -> None:
    if not entry.keys() >= _FIELDS:
        raise _Found(sequence, "unreadable", f"entry {sequence} cannot be read: a field is damaged or missing")
    for name in ("prev", "hash"):
        if not isinstance(entry[name], str) or not _DIGEST.fullmatch(entry[name]):
            raise _Found(sequence, "changed", f"{name} of entry {sequence} is no digest any more")
    try:
        made = digest(entry["prev"], {name: entry[name] for name in FIELDS})
    except (FlaasError, ValueError):  # such as half a surrogate pair
        made = None
    if made != entry["hash"]:
        raise _Found(sequence, "changed", f"entry {sequence} was changed: its hash does not fit what it says")


def _broken_link(sequence: int) -> _Found:
    if sequence == 1:
        return _Found(
            1, "changed", "entry 1 says that another one came before it: the beginning was cut off or rewritten"
        )
    return _Found(
        sequence - 1,
        "changed",
        f"entry {sequence - 1} was replaced and given a new hash: entry {sequence} follows another one",
    )


def _compare(checkpoint: Checkpoint, entry: Entry, root: str | None) -> None:
    if entry["hash"] != checkpoint.hash:
        raise _Found(
            checkpoint.sequence,
            "rewritten",
            f"the log up to entry {checkpoint.sequence} was rewritten: the entry's hash is {entry['hash']}, and "
            f"{checkpoint.hash} in a checkpoint signed by {checkpoint.key[:16]}…",
        )
    if root is not None and root != checkpoint.root:
        raise _Found(
            checkpoint.sequence,
            "checkpoint",
            f"checkpoint {checkpoint.sequence} has the root {checkpoint.root}; that of the entries is {root}",
        )


def _opened(documents: Iterable[object], trust: Trust | None) -> list[Checkpoint]:
    found: list[Checkpoint] = []
    for document in documents:
        try:
            found.append(trust.open(document) if trust is not None else Checkpoint.open(document))
        except FlaasError as error:
            body = document.get("body") if isinstance(document, dict) else None
            sequence = body.get("sequence") if isinstance(body, dict) else None
            raise _Found(
                sequence if isinstance(sequence, int) else 0, "checkpoint", f"a checkpoint is false: {error.message}"
            ) from error
    return sorted(found, key=lambda checkpoint: checkpoint.sequence)


def _entry_of(row: Any) -> Entry:
    entry = dict(row._mapping)
    try:
        entry["time"] = instant(entry["time"])
    except (AttributeError, ValueError, OverflowError):
        del entry["time"]
    return entry


def _one_by_one(session: Session, after: int | None) -> list[Any]:
    """Read entries singly, up to the first that cannot be read."""
    table = AuditEntry.__table__
    numbers = select(table.c.sequence).order_by(table.c.sequence).limit(_PAGE)
    if after is not None:
        numbers = numbers.where(table.c.sequence > after)
    rows: list[Any] = []
    for sequence in list(session.scalars(numbers)):
        try:
            rows.append(
                session.execute(
                    select(*(table.c[name] for name in (*FIELDS, "prev", "hash"))).where(table.c.sequence == sequence)
                ).one()
            )
        except (ValueError, TypeError):
            return [*rows, {"sequence": sequence}]
    return rows


def _bad_file(path: Path, why: str) -> InvalidInput:
    return InvalidInput(
        f"No checkpoints can be read from {path}: {why}.",
        code="bad-checkpoint-file",
        hint="Give a node's audit.json, an answer of GET /v1/audit/checkpoints, or a signed checkpoint a line.",
    )
