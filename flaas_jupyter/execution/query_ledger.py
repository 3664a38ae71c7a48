"""What a node has answered: its own log of queries, and what new ones are held against. Kept on disk, first of all.

One file of lines (JSON) for each data set, in `FLAAS_HOME`/queries, to which entries are only ever added: who asked
what, about how many rows, and whether it was answered. The row sets that answers were made of lie beside it, packed and
named by their digests. From these come

* the *query audit*: an answer whose rows differ from those of an earlier one to the same developer by too few
  (`protocols.analytics.audit`), and the same exact statistic for a set of nodes that differs by too few from an earlier
  one, whoever asks, are refused;
* the same for a version of the data whose rows differ from those of a version that the developer was answered about by
  too few, for which hashes of the rows are kept (`row_hashes`);
* the *budget* of private answers of each developer (`protocols.analytics.budget`).

An entry is on disk before the signature that opens the sum leaves the node. A last line that was not written to its
end belongs to an answer that was never given, and is left out.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Conflict, FlaasError, InvalidInput, NotAllowed
from ..protocols.secure_aggregation import MINIMUM_MEMBERS
from . import dataset_name, query_rows, row_hashes
from .policy import Policy
from .query_request import QueryStep

if TYPE_CHECKING:
    from ..protocols.analytics.audit import QueryAudit, RowSets
    from ..protocols.analytics.budget import PrivacyBudget
    from ..protocols.analytics.statistics import Local, Statistic
    from .row_hashes import HashedRows

log = logging.getLogger(__name__)

ANSWERED, REFUSED = "answered", "refused"
_SHOWN_COLUMNS = 50


@dataclass(frozen=True)
class Asker:
    """Who asks: the notebook's key and its organisation."""

    developer: str
    organisation: str


@dataclass(frozen=True)
class Question:
    """A step, as the ledger keeps it.

    Parameters
    ----------
    asker : Asker
    step : QueryStep
    statistic : Statistic
    operation : str
        ``"analytics"`` or ``"train"``.
    state : str
        The version of the data that the rows are from.
    hashed : callable
        Takes a key and returns the hashes of the rows of that version; see `row_hashes`.
    """

    asker: Asker
    step: QueryStep
    statistic: Statistic
    operation: str
    state: str
    hashed: Callable[[bytes], HashedRows]


@dataclass(frozen=True)
class _Version:
    """The rows that a question is about, as they are known again in whatever order a file has them."""

    kept: dict[str, Any]
    rows: RowSets
    """Of the answer, in the order of the hashes."""

    @property
    def state(self) -> str:
        """By which row sets of the same rows are found."""
        return str(self.kept["all"])


@dataclass
class _Book:
    """One data set's ledger in memory."""

    path: Path
    opened: dict[str, list[frozenset[str]]] = field(default_factory=dict)
    settled: set[tuple[str, int]] = field(default_factory=set)
    audits: dict[tuple[str, str], QueryAudit] = field(default_factory=dict)
    budgets: dict[str, PrivacyBudget] = field(default_factory=dict)
    versions: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    """Developer to the versions that exact answers were about, by their states."""


class QueryLedger:
    """The ledgers of a node's data sets.

    Parameters
    ----------
    folder : Path
        Where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._books: dict[str, _Book] = {}
        self._hashed: dict[str, tuple[str, dict[str, Any], NDArray[np.int64]]] = {}
        self._lock = threading.Lock()
        self._hashing = threading.Lock()  # takes seconds where there are many rows

    # ---- is it to be answered -------------------------------------------------------------------------------------

    def check(self, question: Question, local: Local, policy: Policy) -> None:
        """Raise if the answer is not to be given; nothing is changed.

        Raises
        ------
        NotAllowed
            ``query-differs-by-few``, ``query-audit-full``, ``analytics-budget``.
        """
        version = self._version(question, local)
        with self._lock:
            self._require(self._book(question.step.dataset), question, local, version, policy)

    def settle(self, question: Question, local: Local, policy: Policy, survivors: frozenset[str], attempt: int) -> None:
        """As `check`, of who is in the sum too; then enter the answer, on disk before this returns.

        Raises
        ------
        Conflict
            ``query-other-nodes``: the same statistic was answered for a set of nodes that differs by too few;
            ``query-replayed``: this attempt was entered before, by this process or one before it.
        NotAllowed
            As `check`.
        """
        step, statistic = question.step, question.statistic
        version = self._version(question, local)  # which may take seconds, the first time
        with self._lock:
            book = self._book(step.dataset)
            if (step.sha256, attempt) in book.settled:
                raise Conflict(
                    f"Attempt {attempt} at step {step.step} of query {step.query} was answered before.",
                    code="query-replayed",
                    hint="Ask again: each call opens a query of its own.",
                )
            self._require(book, question, local, version, policy)
            keys = _same(question, version)
            # As answers of before rows were hashed are known again.
            for key in (*keys, f"|{question.state}|{statistic.digest}"):
                _require_no_few(book.opened.get(key, ()), survivors)
            rows: dict[str, Any] = {}
            if version is not None:
                rows = query_rows.keep(self._folder / "rows", version.rows)
            entry = {
                **_about(step, statistic),
                "organisation": question.asker.organisation,
                "rows": query_rows.roughly(int(local.rows.sum())),
                "outcome": ANSWERED,
                "attempt": attempt,
                "step_sha256": step.sha256,
                "same": keys,
                "members": sorted(survivors),
                "state": question.state,
                "hashes": None if version is None else version.kept,
                "audited": rows,
            }
            self._append(book, entry)
            self._enter(book, entry, None if version is None else version.rows)

    def refused(self, step: QueryStep, error: FlaasError) -> None:
        """Enter a refusal."""
        with self._lock:
            try:
                book = self._book(step.dataset)
                entry = {**_about(step, None), "rows": None, "outcome": REFUSED, "code": error.code}
                self._append(book, entry | {"reason": error.message[:500]})
            except FlaasError as problem:
                log.error("query %s could not be entered: %s", step.query, problem)

    def looked(self, dataset: str, project: str, asker: Asker, view: str) -> None:
        """Enter a view of the explorer that is made of no rows: what there is, and who may see what of it."""
        entry = {
            "time": int(time.time()),
            "query": "",
            "step": 0,
            "developer": asker.developer,
            "organisation": asker.organisation,
            "project": project,
            "operation": view,
            "via": "mesh",
            "kind": None,
            "columns": [],
            "epsilon": None,
            "rows": None,
            "outcome": ANSWERED,
            "attempt": 0,
            "step_sha256": "",
            "same": None,
            "members": [],
            "state": "",
            "audited": {},
        }
        with self._lock:
            self._append(self._book(dataset), entry)

    def was_answered(self, step: QueryStep) -> bool:
        """Tell whether a step was answered, in whatever attempt."""
        with self._lock:
            return any(sha256 == step.sha256 for sha256, _ in self._book(step.dataset).settled)

    def spent(self, dataset: str, developer: str) -> float:
        """Return the ε that private answers to a developer have cost, composed."""
        with self._lock:
            budget = self._book(dataset).budgets.get(developer)
            return 0.0 if budget is None else budget.spent

    def _version(self, question: Question, local: Local) -> _Version | None:
        """Return the rows of an exact answer as they are known again; None of a private one.

        They are hashed once for each version, by whichever question comes first.
        """
        if not _is_audited(question):
            return None
        dataset = question.step.dataset
        with self._hashing:
            known = self._hashed.get(dataset)
            if known is None or known[0] != question.state or known[2].size != local.rows.size:
                rows = question.hashed(row_hashes.key_of(self._folder))
                if rows.order.size != local.rows.size:
                    raise changed_meanwhile(dataset)
                known = question.state, row_hashes.keep(self._folder / "hashes", rows), rows.order
                self._hashed[dataset] = known
        _, kept, order = known
        partitions = tuple(np.asarray(labels)[order] for labels in local.partitions)
        return _Version(kept, query_rows.KeptRows(np.asarray(local.rows, bool)[order], partitions))

    def _require(self, book: _Book, question: Question, local: Local, version: _Version | None, policy: Policy) -> None:
        from ..protocols.analytics.budget import PrivacyBudget

        settings = policy.for_dataset(question.step.dataset)
        epsilon = question.statistic.epsilon
        developer = question.asker.developer
        if epsilon is not None:
            if settings.analytics_epsilon <= 0:
                raise _no_budget(question.step.dataset, epsilon, settings)
            budget = book.budgets.get(developer) or PrivacyBudget()
            budget.require(epsilon, settings.analytics_epsilon)
            return
        if version is None:
            return
        self._require_no_few_changed(book, developer, version, settings.minimum_group)
        # Answers of before rows were hashed are compared in the order that the file has.
        for state, rows in ((version.state, version.rows), (question.state, local)):
            if (developer, state) in book.audits:
                audit = book.audits[developer, state]
                audit.minimum_group = settings.minimum_group
                audit.require(rows)

    def _require_no_few_changed(self, book: _Book, developer: str, version: _Version, minimum: int) -> None:
        """Refuse an exact answer about a version of the data that differs by a few rows from one of an earlier answer.

        How many rows have changed is not told.
        """
        for state, kept in book.versions.get(developer, {}).items():
            if state != version.state and row_hashes.few_apart(self._folder / "hashes", kept, version.kept, minimum):
                raise NotAllowed(
                    f"The data have changed by fewer than {minimum} rows since an earlier answer to you; subtracting "
                    "one answer from the other would tell about these few.",
                    code="query-differs-by-few",
                    hint=f"Ask with differential privacy (epsilon=...), or again when {minimum} rows or more have "
                    "changed.",
                    minimum_group=minimum,
                )

    # ---- on disk --------------------------------------------------------------------------------------------------

    def entries(self, dataset: str) -> list[dict[str, Any]]:
        """Return the entries about a data set, oldest first (``flaas dataset queries``).

        Raises
        ------
        InvalidInput
            Code ``bad-query-ledger``.
        """
        return list(_lines(self._path(dataset)))

    def _path(self, dataset: str) -> Path:
        if not dataset_name.is_name(dataset):
            raise dataset_name.unknown(dataset)
        return self._folder / f"{dataset}.jsonl"

    def _book(self, dataset: str) -> _Book:
        """Return a data set's ledger, read when it is first needed."""
        known = self._books.get(dataset)
        if known is not None:
            return known
        book = _Book(self._path(dataset))
        for entry in _lines(book.path):
            if entry["outcome"] == ANSWERED:
                self._enter(book, entry, None)
        self._books[dataset] = book
        return book

    def _enter(self, book: _Book, entry: Mapping[str, Any], rows: RowSets | None) -> None:
        """Take an answer into account: one that is given now, or that the file tells of."""
        from ..protocols.analytics.budget import PrivacyBudget

        developer = str(entry["developer"])
        book.settled.add((str(entry["step_sha256"]), int(entry["attempt"])))
        same = entry["same"] or ()
        for key in (same,) if isinstance(same, str) else same:
            book.opened.setdefault(str(key), []).append(frozenset(entry["members"]))
        if entry["epsilon"] is not None:
            book.budgets.setdefault(developer, PrivacyBudget()).charge(float(entry["epsilon"]))
        if entry["audited"]:
            state, kept = str(entry["state"]), entry.get("hashes")
            if kept:  # else it is of before rows were hashed
                state = str(kept["all"])
                book.versions.setdefault(developer, {})[state] = kept
            audit = _audit(book, developer, state)
            audit.record(query_rows.read(self._folder / "rows", entry["audited"]) if rows is None else rows)

    def _append(self, book: _Book, entry: Mapping[str, Any]) -> None:
        """Write a line, and have it on disk."""
        book.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        line = json.dumps(entry, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"
        try:
            handle = os.open(book.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                _drop_unfinished(handle)
                os.write(handle, line)
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise InvalidInput(
                f"{book.path} cannot be written ({error.strerror}).",
                code="bad-query-ledger",
                hint="No answer is given that could not be entered. Its owner makes room, or repairs the disk.",
            ) from error


def _audit(book: _Book, developer: str, state: str) -> QueryAudit:
    from ..protocols.analytics.audit import QueryAudit

    return book.audits.setdefault((developer, state), QueryAudit(1))


def _drop_unfinished(handle: int) -> None:
    """Take away a last line that a crash has cut off: its answer was never given."""
    size = os.lseek(handle, 0, os.SEEK_END)
    while size and os.pread(handle, 1, size - 1) != b"\n":
        size -= 1
    os.ftruncate(handle, size)


def _about(step: QueryStep, statistic: Statistic | None) -> dict[str, Any]:
    columns = [] if statistic is None else sorted(statistic.columns_used)[:_SHOWN_COLUMNS]
    return {
        "time": int(time.time()),
        "query": step.query,
        "step": step.step,
        "developer": step.developer,
        "project": step.project,
        "operation": step.operation,
        "via": step.via,
        "kind": None if statistic is None else statistic.kind,
        "columns": columns,
        "epsilon": None if statistic is None else statistic.epsilon,
    }


def _is_audited(question: Question) -> bool:
    """Tell whether rows are compared: of exact statistics, also of those that a model is made of."""
    return question.statistic.epsilon is None


def _same(question: Question, version: _Version | None) -> list[str]:
    """Return by what an exact answer is known again whose repetition for other nodes would tell about single nodes.

    Two answers about the same rows have the same number of rows in them, and the same sums of a column, whatever else
    was asked with it: so they are known by the rows, and where these are all, whose number is no secret, by each of the
    columns. Where no row is chosen here, by the statistic. A model's histograms are compared within their query only,
    as rounds of a run are within the run.
    """
    statistic = question.statistic
    if version is None:
        return []
    if question.operation == "train":
        return [f"{question.step.query}|{question.state}|{statistic.digest}"]
    rows = np.asarray(version.rows.rows, bool)
    if not rows.any():
        return [f"|{version.state}|{statistic.digest}"]
    if rows.all():
        return [f"|{version.state}|all|{column}" for column in sorted(statistic.columns_used) or ("",)]
    return [f"|{version.state}|{hashlib.sha256(np.packbits(rows).tobytes()).hexdigest()}"]


def _no_budget(dataset: str, epsilon: float, settings: Policy) -> NotAllowed:
    return NotAllowed(
        f"The answer costs epsilon {epsilon:g}; nothing may be spent on private answers about data set {dataset!r} "
        "at this node.",
        code="analytics-budget",
        hint=f"Ask {settings.whom} to set analytics_epsilon in its node.toml"
        + ("." if settings.analytics_privacy == "required" else ", or ask without epsilon."),
        epsilon=epsilon,
        spent=0.0,
        limit=0.0,
        left=0.0,
    )


def changed_meanwhile(dataset: str) -> Conflict:
    """Return the error for rows that are of another version than the step was held against."""
    return Conflict(
        f"The rows of data set {dataset!r} have changed while the step was under way.",
        code="query-over",
        hint="Ask again.",
    )


def _require_no_few(earlier: list[frozenset[str]] | tuple[()], survivors: frozenset[str]) -> None:
    for before in earlier:
        apart = before ^ survivors
        if 0 < len(apart) < MINIMUM_MEMBERS:
            raise Conflict(
                f"The same was answered for {len(before)} nodes before and would be for {len(survivors)} now; the "
                f"difference would be the figures of {len(apart)} of them alone.",
                code="query-other-nodes",
                hint="Ask again when the same nodes are online, or with epsilon=....",
            )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of a file; a last line that was not written to its end is left out."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _damaged(path, error.strerror or "it cannot be read") from error
    for number, line in enumerate(raw[: raw.rfind(b"\n") + 1].splitlines(), start=1):
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise _damaged(path, f"line {number} is no entry") from error
        if not isinstance(entry, dict) or entry.get("outcome") not in (ANSWERED, REFUSED):
            raise _damaged(path, f"line {number} is no entry")
        yield entry


def _damaged(path: Path, why: str) -> InvalidInput:
    return InvalidInput(
        f"The ledger of queries {path} cannot be used: {why}.",
        code="bad-query-ledger",
        hint="Its owner restores it. Without it, earlier answers cannot be held against new questions.",
    )
