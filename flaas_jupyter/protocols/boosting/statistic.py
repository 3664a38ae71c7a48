"""Boosting's questions as a kind of statistic, so that they go the way that every statistic goes.

Signed by a developer, computed at each node, added up under masks or encryption, and told by a releaser under the
strictest policy of the nodes: see `flaas_jupyter.protocols.analytics`. It is training: nodes hold it against what their
owners allow for ``train``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..analytics import Local, Opened, ReleasePolicy, Statistic, limits, register
from ..analytics.release import Disclosed
from ..analytics.statistics import Table
from .edges import TreeEdges
from .histograms import PARTS, TreeHistogram
from .reading import KIND, VERSION

_HEADER = 2


@dataclass(frozen=True)
class BoostingStatistic(Statistic):
    """A question of boosting.

    Attributes
    ----------
    question : TreeHistogram or TreeEdges
    """

    own: ClassVar[tuple[str, ...]] = PARTS

    question: TreeHistogram | TreeEdges | None = None

    @classmethod
    def read_own(cls, data: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
        """Read the question.

        Raises
        ------
        InvalidInput
            ``bad-statistic``; ``boosting-…``.
        """
        unfit = [name for name in ("columns", "assign", "by", "bounds", "epsilon") if common[name]]
        if unfit:
            raise limits.bad(f"a step of boosting takes no {unfit[0]}")
        where = None if common["where"] is None else common["where"].to_dict()
        document = {name: value for name, value in data.items() if name in PARTS}
        document |= {"v": VERSION, "kind": KIND, "where": where}
        question: type[TreeHistogram | TreeEdges] = TreeEdges if data.get("ask") == "edges" else TreeHistogram
        return {"question": question.parse(document)}

    def own_dict(self) -> dict[str, Any]:
        """Return the question as JSON values."""
        return {name: value for name, value in self._question.to_dict().items() if name in PARTS}

    @property
    def _question(self) -> TreeHistogram | TreeEdges:
        assert self.question is not None
        return self.question

    @property
    def columns_used(self) -> frozenset[str]:
        """Features, the target, and what the condition names."""
        question = self._question
        used = (
            set(question.boundaries) if isinstance(question, TreeEdges) else {*question.bins.features, question.target}
        )
        return frozenset(used if self.where is None else used | self.where.columns)

    @property
    def raw_cells(self) -> int:
        """Cells of the question."""
        return self._question.cells

    @property
    def fields(self) -> tuple[str, ...]:
        """First and second derivatives."""
        return ("gradient", "hessian")[: self._question.fields]

    @property
    def length(self) -> int:
        """Number of integers in the vector."""
        return _HEADER + self.raw_cells * (1 + self._question.fields)

    def local(self, columns: Mapping[str, NDArray[Any]]) -> Local:
        """Compute this node's part.

        Raises
        ------
        InvalidInput
            ``unknown-column``; ``boosting-bad-target``.
        """
        self.require(columns.keys())
        rows = len(columns[next(iter(self.columns_used))])
        matched = np.ones(rows, bool)
        if self.where is not None:
            matched = np.array(self.where.evaluate(columns, rows), bool)
        return self._sums(columns, matched)

    def measure(self, table: Table) -> Local:
        """Compute the sums over the rows of `table`."""
        return self._sums(table.columns, table.matched)

    def _sums(self, columns: Mapping[str, NDArray[Any]], matched: NDArray[np.bool_]) -> Local:
        sums = self._question.local(columns, matched)
        # Integers below 2^53: float64 holds them.
        values = sums.values.astype(np.float64)
        # The query audit looks at which rows were chosen, and at which of them were held out.
        parts = () if sums.held is None else (np.where(sums.rows, sums.held.astype(np.int64), -1),)
        return Local(sums.counts, values, sums.rows, parts)

    def encode(self, local: Local) -> NDArray[np.int64]:
        """Return a node's part as the integers to be summed, shape (`length`,)."""
        header = np.array([local.rows.size, np.count_nonzero(local.rows)], np.int64)
        return np.concatenate([header, local.counts, local.values.astype(np.int64).reshape(-1)])

    def decode(self, vector: NDArray[Any]) -> Opened:
        """Read the sum of the nodes' vectors.

        Raises
        ------
        InvalidInput
            ``boosting-implausible-sum``.
        """
        counts, values = self._question.decode(vector[_HEADER:])
        return Opened(counts, values.astype(np.float64), int(vector[0]), int(vector[1]))

    def disclose(self, opened: Opened, policy: ReleasePolicy) -> Disclosed:
        """Merge bins until none tells of fewer rows than the policy's smallest group."""
        merged = self._question.merged(opened.counts, opened.values.astype(np.int64), policy.minimum_group)
        counts, values, suppressed = merged
        told = counts.astype(np.float64), values.astype(np.float64)
        for each in told:
            each[suppressed] = np.nan
        reasons = []
        if suppressed.all():
            reasons = [f"fewer than {policy.minimum_group} rows are trained on or held out"]
        elif suppressed.any():
            reasons = [f"bins of fewer than {policy.minimum_group} rows are merged with their neighbours"]
        return Disclosed(*told, suppressed, reasons=reasons)


register(KIND, BoostingStatistic)
