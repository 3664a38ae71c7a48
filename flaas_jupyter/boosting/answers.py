"""Who answers boosting's questions with sums: the rows of this process, or a federation's nodes."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import Conflict, NotAllowed
from ..protocols.boosting import Sums, TreeEdges, TreeHistogram, forget

if TYPE_CHECKING:
    from ..analytics.source import Query, Source

_STEPS_PER_QUERY = 250  # of what nodes allow by default, 1000, and simulations, 256
_QUERY_SECONDS = 600.0  # and lives for fifteen minutes
_CELLS = 1 << 16  # of one question
_TOO_MANY_STEPS = ("policy-maximum-rounds", "policy-analytics-steps")

Floats = NDArray[np.float64]
Question = TreeHistogram | TreeEdges


class Answers(Protocol):
    """Answers questions with sums.

    Attributes
    ----------
    federated : bool
        Whether the rows are elsewhere.
    steps : int
        Questions answered so far.
    """

    federated: bool
    steps: int

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of those in the last sum; none where the rows are here."""

    def ask(self, question: Question) -> Sums:
        """Return what may be told of the sums."""

    def close(self, error: BaseException | None = None) -> None:
        """Ask no more; `error` says why, if it failed."""


class LocalAnswers:
    """The rows of this process, told as a federation would tell them.

    Parameters
    ----------
    columns : mapping of str to ndarray of shape (n,)
    minimum : int
        Smallest group of rows that is told of.
    """

    federated = False
    nodes: tuple[str, ...] = ()

    def __init__(self, columns: Mapping[str, Floats], minimum: int) -> None:
        self._columns, self._minimum, self.steps = columns, minimum, 0
        for column in columns.values():
            column.flags.writeable = False  # so that it is known again by where it lies

    def ask(self, question: Question) -> Sums:
        """Return what may be told of the sums over all rows."""
        self.steps += 1
        total = question.encode(question.local(self._columns))
        return Sums(*question.merged(*question.decode(total), self._minimum))

    def close(self, error: BaseException | None = None) -> None:
        """Let go of what is remembered between questions."""
        forget()


class FederatedAnswers:
    """The nodes of a federation, in as many queries as the steps take.

    Parameters
    ----------
    source : Source
        ``federation.analytics.source``.
    via : str
        ``"mpc"`` or ``"he"``.
    summary : dict
        What is trained, for the owners of nodes.

    """

    federated = True

    def __init__(self, source: Source, via: str, summary: dict[str, Any]) -> None:
        self._source, self._via, self._summary = source, via, summary
        self._query: Query | None = None
        self._left, self._until = 0, 0.0
        self.steps = 0
        self._ids: tuple[str, ...] = ()

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes in the last sum."""
        names = self._source.names
        return tuple(sorted(names.get(node, node) for node in self._ids))

    def ask(self, question: Question) -> Sums:
        """Return what may be told of the sums over all nodes.

        Raises
        ------
        FlaasError
            A node refuses, or too few are left; the error says why.
        """
        if self._left == 0 or time.monotonic() > self._until:
            self.close()
        fresh = self._query is None
        try:
            released = self._opened().step(question.to_dict(), self._via)
        except NotAllowed as error:
            if error.code not in _TOO_MANY_STEPS or fresh:
                raise
            self.close()  # a node allows fewer steps of one query
            released = self._opened().step(question.to_dict(), self._via)
        self._left -= 1
        self.steps += 1
        self._note(tuple(released.nodes))
        # What is withheld is NaN: its rows are in another cell told.
        counts = np.nan_to_num(np.asarray(released.counts, dtype=np.float64))
        values = np.nan_to_num(np.asarray(released.values, dtype=np.float64))
        suppressed = np.asarray(released.suppressed, dtype=bool)
        if not len(counts) == len(suppressed) == question.cells or values.size != question.cells * question.fields:
            raise Conflict(
                f"The federation answered {counts.size} sums to a question for {question.cells}.",
                code="boosting-implausible-sum",
                hint="Nodes and notebook may be of different releases.",
            )
        if suppressed.all():
            raise NotAllowed(
                f"The nodes tell nothing of these rows: {'; '.join(released.reasons) or 'they are too few'}.",
                code="boosting-withheld",
                hint="Train on more rows, or choose them with another condition.",
            )
        values = values.reshape(question.cells, question.fields)
        return Sums(counts.astype(np.int64), values.astype(np.int64), suppressed)

    def close(self, error: BaseException | None = None) -> None:
        """Close the query that is open."""
        if self._query is not None:
            query, self._query = self._query, None
            query.close(error)

    def _opened(self) -> Query:
        if self._query is None:
            self._query = self._source.open_query("boosting", self._summary)
            self._left, self._until = _STEPS_PER_QUERY, time.monotonic() + _QUERY_SECONDS
        return self._query

    def _note(self, nodes: tuple[str, ...]) -> None:
        if self._ids and set(nodes) != set(self._ids):
            names = self._source.names
            changed = ", ".join(sorted(names.get(node, node) for node in set(nodes) ^ set(self._ids)))
            warnings.warn(
                f"From step {self.steps} on other nodes take part: {changed} left or came. Training goes on.",
                stacklevel=2,
            )
        self._ids = nodes


def parts(boundaries: Mapping[str, Floats], most: int = _CELLS) -> Iterator[dict[str, Floats]]:
    """Divide columns among questions of at most so many cells."""
    part: dict[str, Floats] = {}
    size = 0
    for name, each in boundaries.items():
        if part and size + len(each) > most:
            yield part
            part, size = {}, 0
        part[name] = each
        size += len(each)
    if part:
        yield part
