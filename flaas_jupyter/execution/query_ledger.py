"""What a node has answered: its own log of queries, and what new ones are held against. Kept on disk, first of all.

One file of lines (JSON) for each data set, in `FLAAS_HOME`/queries, to which entries are only ever added: who asked
what, about how many rows, and whether it was answered. The row sets that answers were made of lie beside it, packed and
named by their digests. From these come

* the *query audit*: an answer whose rows differ from those of an earlier one to the same developer by too few
  (`protocols.analytics.audit`), and the same exact statistic for a set of nodes that differs by too few from an earlier
  one, whoever asks, are refused;
* the *budget* of private answers of each developer (`protocols.analytics.budget`).

An entry is on disk before the signature that opens the sum leaves the node. A last line that was not written to its
end belongs to an answer that was never given, and is left out.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Conflict, FlaasError, InvalidInput
from ..protocols.secure_aggregation import MINIMUM_MEMBERS
from . import query_rows
from .policy import Policy
from .query_request import QueryStep

if TYPE_CHECKING:
    from ..protocols.analytics.audit import QueryAudit
    from ..protocols.analytics.budget import PrivacyBudget
    from ..protocols.analytics.statistics import Local, Statistic

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
        Of the file that the rows are from; row sets of different states are not compared.
    """

    asker: Asker
    step: QueryStep
    statistic: Statistic
    operation: str
    state: str


@dataclass
class _Book:
    """One data set's ledger in memory."""

    path: Path
    opened: dict[str, list[frozenset[str]]] = field(default_factory=dict)
    settled: set[tuple[str, int]] = field(default_factory=set)
    audits: dict[tuple[str, str], QueryAudit] = field(default_factory=dict)
    budgets: dict[str, PrivacyBudget] = field(default_factory=dict)


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
        self._lock = threading.Lock()

    # ---- is it to be answered -------------------------------------------------------------------------------------

    def check(self, question: Question, local: Local, policy: Policy) -> None:
        """Raise if the answer is not to be given; nothing is changed.

        Raises
        ------
        NotAllowed
            ``query-differs-by-few``, ``query-audit-full``, ``analytics-budget``.
        """
        with self._lock:
            book = self._book(question.step.dataset)
            self._require(book, question, local, policy)

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
        with self._lock:
            book = self._book(step.dataset)
            if (step.sha256, attempt) in book.settled:
                raise Conflict(
                    f"Attempt {attempt} at step {step.step} of query {step.query} was answered before.",
                    code="query-replayed",
                    hint="Ask again: each call opens a query of its own.",
                )
            self._require(book, question, local, policy)
            key = _same(question)
            if key is not None:
                _require_no_few(book.opened.get(key, ()), survivors)
            rows: dict[str, Any] = {}
            if _is_audited(question):
                rows = query_rows.keep(self._folder / "rows", local)
            entry = {
                **_about(step, statistic),
                "organisation": question.asker.organisation,
                "rows": query_rows.roughly(int(local.rows.sum())),
                "outcome": ANSWERED,
                "attempt": attempt,
                "step_sha256": step.sha256,
                "same": key,
                "members": sorted(survivors),
                "state": question.state,
                "audited": rows,
            }
            self._append(book, entry)
            self._enter(book, entry, local)

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

    def _require(self, book: _Book, question: Question, local: Local, policy: Policy) -> None:
        from ..protocols.analytics.budget import PrivacyBudget

        settings = policy.for_dataset(question.step.dataset)
        epsilon = question.statistic.epsilon
        if epsilon is not None:
            if settings.analytics_epsilon > 0 or settings.level == "private":
                budget = book.budgets.get(question.asker.developer) or PrivacyBudget()
                budget.require(epsilon, settings.analytics_epsilon)
            return
        if _is_audited(question):
            audit = _audit(book, question.asker.developer, question.state)
            audit.minimum_group = settings.minimum_group
            audit.require(local)

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

    def _enter(self, book: _Book, entry: Mapping[str, Any], local: Local | None) -> None:
        """Take an answer into account: one that is given now, or that the file tells of."""
        from ..protocols.analytics.budget import PrivacyBudget

        developer = str(entry["developer"])
        book.settled.add((str(entry["step_sha256"]), int(entry["attempt"])))
        if entry["same"] is not None:
            book.opened.setdefault(str(entry["same"]), []).append(frozenset(entry["members"]))
        if entry["epsilon"] is not None:
            book.budgets.setdefault(developer, PrivacyBudget()).charge(float(entry["epsilon"]))
        if entry["audited"]:
            audit = _audit(book, developer, str(entry["state"]))
            audit.record(query_rows.read(self._folder / "rows", entry["audited"]) if local is None else local)

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


def _same(question: Question) -> str | None:
    """Return by what the same exact statistic is known again, None where its repetition for other nodes tells nothing.

    A model's histograms are compared within their query only, as rounds of a run are within the run.
    """
    if question.statistic.epsilon is not None:
        return None
    query = question.step.query if question.operation == "train" else ""
    return f"{query}|{question.state}|{question.statistic.digest}"


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
