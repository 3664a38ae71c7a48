"""The statistic of one step of boosting: sums of derivatives by tree node, feature and bin, as integers.

A step carries the whole ensemble so far, so that whoever computes it keeps no state: rows are scored, their
derivatives taken, and summed where they fall. What is remembered between steps (bins of the columns, scores of a
prefix of the ensemble) is only ever a shortcut.

Cells: the rows trained on and their loss; the rows held out and theirs; and for each tree node asked about its total,
and for each feature asked about its bins, the last of which is for missing values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .bins import Bins
from .losses import Loss, loss_named, losses_to_sum, to_sum
from .memory import memory
from .reading import KIND, MAXIMUM_CELLS, VERSION, bad_statistic, named_edges, require_columns, require_parts
from .splitting import Layout, merge_small
from .trees import MAXIMUM_NODES, MAXIMUM_OUTPUTS, Ensemble, Tree, checked_exponent

Codes = NDArray[np.uint8]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class HoldOut:
    """Rows kept out of training, chosen at each node by their number and a seed.

    Parameters
    ----------
    fraction : float
        Of the rows, 0 to 0.5; 0 keeps none out.
    seed : int
        0 to 2^63 - 1.
    """

    fraction: float = 0.0
    seed: int = 0

    def chosen(self, rows: int) -> NDArray[np.bool_]:
        """Return which of `rows` rows are held out."""
        if self.fraction == 0.0:
            return np.zeros(rows, bool)
        with np.errstate(over="ignore"):  # splitmix64 (Steele, Lea and Flood, OOPSLA 2014) wraps by design
            mixed = np.arange(1, rows + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(self.seed)
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            mixed ^= mixed >> np.uint64(31)
        return np.asarray(mixed.astype(np.float64) < self.fraction * 2.0**64)


@dataclass(frozen=True)
class LocalSums:
    """What one node's rows come to.

    Attributes
    ----------
    counts : ndarray of int64, shape (cells,)
        Rows of each cell.
    values : ndarray of int64, shape (cells, fields)
        First derivatives, and second ones if they differ by row; of the first two cells the loss.
    rows : ndarray of bool, shape (n,)
        Which rows took part, trained on or held out.
    held : ndarray of bool, shape (n,), optional
        Which of them were held out, if that was asked for.
    """

    counts: Integers
    values: Integers
    rows: NDArray[np.bool_]
    held: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class TreeHistogram:
    """One step of boosting; `parse` reads it.

    Parameters
    ----------
    bins : Bins
        Of all features of the ensemble.
    target : str
        Column to predict.
    loss : Loss
    outputs : int
        Trees of an iteration.
    ensemble : Ensemble
        Complete iterations.
    growing : tuple of Tree
        The trees that grow now, one for each output.
    nodes : tuple of (int, int)
        Output and node of its growing tree: the leaves asked about.
    features : tuple of int
        Numbers of the features asked about.
    exponent : int
        Derivatives are summed in units of 2^(exponent - 24).
    offset : float
        Subtracted from a numeric target.
    weights : tuple of float
        What a row of each class counts for; empty for 1.
    hold_out : HoldOut
    where : dict, optional
        Condition that rows must meet, as it travels.
    """

    bins: Bins
    target: str
    loss: Loss
    outputs: int
    ensemble: Ensemble
    growing: tuple[Tree, ...]
    nodes: tuple[tuple[int, int], ...]
    features: tuple[int, ...]
    exponent: int
    offset: float = 0.0
    weights: tuple[float, ...] = ()
    hold_out: HoldOut = field(default_factory=HoldOut)
    where: dict[str, Any] | None = None

    # ---- what it looks like ------------------------------------------------------------------------------------

    @property
    def fields(self) -> int:
        """Values of a cell."""
        return 1 if self.loss.constant_hessian and not self.weights else 2

    @property
    def widths(self) -> Integers:
        """Cells of each feature asked about: its bins and one for what is missing."""
        return self.bins.sizes[list(self.features)] + 1

    @property
    def layout(self) -> Layout:
        """Where the cells of a node stand."""
        return Layout(tuple(self.widths.tolist()))

    @property
    def cells(self) -> int:
        """Number of cells."""
        return 2 + len(self.nodes) * (1 + int(self.widths.sum()))

    def to_dict(self) -> dict[str, Any]:
        """Return the statistic as JSON values."""
        return {
            "v": VERSION,
            "kind": KIND,
            "ask": "histogram",
            "names": list(self.bins.features),
            "edges": [edges.tolist() for edges in self.bins.edges.values()],
            "target": self.target,
            "where": self.where,
            "missing": self.bins.missing,
            "loss": self.loss.name,
            "outputs": self.outputs,
            "ensemble": self.ensemble.to_dict(),
            "growing": [tree.to_dict() for tree in self.growing],
            "nodes": [list(node) for node in self.nodes],
            "features": list(self.features),
            "exponent": self.exponent,
            "offset": self.offset,
            "weights": list(self.weights),
            "hold_out": {"fraction": self.hold_out.fraction, "seed": self.hold_out.seed},
        }

    @classmethod
    def parse(cls, document: Any) -> TreeHistogram:
        """Read a statistic that somebody sent.

        Raises
        ------
        InvalidInput
            ``boosting-bad-statistic``; ``boosting-bad-edges``; ``boosting-bad-tree``; ``boosting-too-large``;
            ``boosting-unknown-loss``.
        """
        require_parts(document, "histogram", PARTS)
        bins = Bins(named_edges(document), _number(document, "missing", optional=True))
        target = document.get("target")
        if not isinstance(target, str) or target in bins.features:
            raise bad_statistic("its target must be the name of a column that is not among the features")
        loss = loss_named(document.get("loss"))
        outputs = document.get("outputs")
        least, most = (2, MAXIMUM_OUTPUTS) if loss.name == "softmax" else (1, 1)
        if type(outputs) is not int or not least <= outputs <= most:
            raise bad_statistic(f"the loss {loss.name} has {least} to {most} outputs, not {str(outputs)[:20]}")
        ensemble = Ensemble.from_dict(document.get("ensemble"), bins.sizes, outputs)
        growing = document.get("growing")
        if not isinstance(growing, list) or len(growing) != outputs:
            raise bad_statistic(f"it must have {outputs} growing trees")
        exponent = checked_exponent(document.get("exponent"))
        statistic = cls(
            bins,
            target,
            loss,
            outputs,
            ensemble,
            tuple(Tree.from_dict(tree, bins.sizes) for tree in growing),
            _pairs(document.get("nodes")),
            _numbers_of(document.get("features"), len(bins.features)),
            exponent,
            _number(document, "offset") or 0.0,
            _weights(document.get("weights"), loss, outputs, exponent),
            _hold_out(document.get("hold_out")),
            document.get("where"),
        )
        statistic._check_nodes()
        return statistic

    def _check_nodes(self) -> None:
        for output, node in self.nodes:
            tree = self.growing[output] if output < self.outputs else None
            if tree is None or node >= len(tree) or tree.feature[node] >= 0:
                raise bad_statistic(f"node {node} of tree {output} is not a leaf of a growing tree")
        if self.cells > MAXIMUM_CELLS or len(self.nodes) > MAXIMUM_NODES:
            raise InvalidInput(
                f"The step asks for {self.cells} sums; allowed are {MAXIMUM_CELLS}.",
                code="boosting-too-large",
                hint="Ask about fewer nodes in one step, or use fewer bins (max_bins=...).",
            )

    # ---- what a node computes ----------------------------------------------------------------------------------

    def local(self, columns: Mapping[str, NDArray[Any]], rows: NDArray[np.bool_] | None = None) -> LocalSums:
        """Sum over the rows of one node.

        Parameters
        ----------
        columns : mapping of str to ndarray of shape (n,)
            At least the features and the target.
        rows : ndarray of bool, shape (n,), optional
            Those that meet `where`, which whoever calls evaluates; all by default.

        Raises
        ------
        InvalidInput
            ``unknown-column``; ``boosting-bad-target``: it is not a class number that this loss knows.
        """
        require_columns([*self.bins.features, self.target], columns)
        target = np.asarray(columns[self.target], dtype=np.float64)
        rows = np.isfinite(target) if rows is None else np.isfinite(target) & rows
        target = self._checked_target(target, rows)
        codes, scores = memory.scored(self.bins, self.ensemble, columns)
        reals = self.ensemble.reals(scores)
        held = self.hold_out.chosen(len(target))
        counts = np.zeros(self.cells, np.int64)
        values = np.zeros((self.cells, self.fields), np.int64)
        losses = losses_to_sum(self.loss.values(reals, target), self.loss_exponent)
        for place, part in enumerate((rows & ~held, rows & held)):
            counts[place] = np.count_nonzero(part)
            values[place, 0] = losses[part].astype(np.int64).sum()
        if self.nodes:
            self._histograms(codes, reals, target, rows & ~held, counts[2:], values[2:])
        return LocalSums(counts, values, rows, rows & held if self.hold_out.fraction else None)

    @property
    def loss_exponent(self) -> int:
        """Losses are summed in units of 2^(loss_exponent - 24)."""
        return 2 * self.exponent if self.loss.name == "squared" else 0

    def _checked_target(self, target: NDArray[np.float64], rows: NDArray[np.bool_]) -> NDArray[np.float64]:
        if self.loss.name == "squared":
            return np.where(rows, target - self.offset, 0.0)
        classes = max(self.outputs, 2)
        known = (target == np.floor(target)) & (target >= 0) & (target < classes)
        if not known[rows].all():
            raise InvalidInput(
                f"The target {self.target!r} has values other than the classes 0 to {classes - 1}.",
                code="boosting-bad-target",
                hint="Recode the labels to 0 to K-1, the same at all nodes; n_classes=... says how many there are.",
            )
        return np.where(rows, target, 0.0)

    def _histograms(
        self,
        codes: Codes,
        reals: NDArray[np.float64],
        target: NDArray[np.float64],
        rows: NDArray[np.bool_],
        counts: Integers,
        values: Integers,
    ) -> None:
        """Fill the cells of the nodes, (nodes, 1 + widths) one after another."""
        first, second = self.loss.gradients(reals, target)
        if self.weights:
            weight = np.array(self.weights)[target.astype(np.int64)]
            first = first * weight
            second = None if second is None else second * weight
        width = 1 + int(self.widths.sum())
        by_node_counts = counts.reshape(len(self.nodes), width)
        by_node_values = values.reshape(len(self.nodes), width, self.fields)
        for output in range(self.outputs):
            places = [place for place, node in enumerate(self.nodes) if node[0] == output]
            if not places:
                continue
            tree = self.growing[output]
            position = np.full(len(tree), -1, np.int64)
            position[[self.nodes[place][1] for place in places]] = np.arange(len(places))
            at = position[tree.leaf_of(codes, self.bins.sizes)]
            there = np.flatnonzero(rows & (at >= 0))
            at = at[there]
            derivatives = [to_sum(first[output][there], self.exponent)]
            if self.fields == 2:
                each = np.ones(len(there)) if second is None else second[output][there]
                derivatives.append(to_sum(each, self.exponent))
            start = 0
            for number, size in [(-1, 1), *zip(self.features, self.widths.tolist(), strict=True)]:
                index = at if number < 0 else at * size + codes[number][there]
                cells = len(places) * size
                part = slice(start, start + size)
                by_node_counts[places, part] = np.bincount(index, minlength=cells).reshape(-1, size)
                for place, derivative in enumerate(derivatives):
                    # Sums of integers: exact in float64, see losses.py.
                    by_node_values[places, part, place] = np.bincount(
                        index, weights=derivative, minlength=cells
                    ).reshape(-1, size)
                start += size

    # ---- what is added up --------------------------------------------------------------------------------------

    def encode(self, local: LocalSums) -> Integers:
        """Return the integers to be summed, (cells * (1 + fields),)."""
        return np.concatenate([local.counts, local.values.reshape(-1)])

    def decode(self, total: NDArray[Any]) -> tuple[Integers, Integers]:
        """Return counts (cells,) and values (cells, fields) of a sum of what `encode` returns.

        Raises
        ------
        InvalidInput
            ``boosting-implausible-sum``: no rows add up to this.
        """
        numbers = np.asarray(total)
        if numbers.shape != (self.cells * (1 + self.fields),):
            raise _implausible(f"it has {numbers.size} numbers, not {self.cells * (1 + self.fields)}")
        try:
            numbers = numbers.astype(np.int64)
        except OverflowError as error:
            raise _implausible("it is beyond 64 bits") from error
        counts, values = numbers[: self.cells], numbers[self.cells :].reshape(self.cells, self.fields)
        if (counts < 0).any() or (counts[2:].size and counts[2:].max() > counts[0]):
            raise _implausible("its counts are not those of rows")
        return counts, values

    def merged(self, counts: Integers, values: Integers, minimum: int) -> tuple[Integers, Integers, NDArray[np.bool_]]:
        """Return what may be told of a sum: no cell tells of 1 to `minimum` - 1 rows.

        Parameters
        ----------
        counts, values
            As `decode` returns them.
        minimum : int
            Smallest group of rows.

        Returns
        -------
        counts, values : ndarray of int64
            Of the same shapes. Nothing is told where rows that were held out are fewer than `minimum`: taking the
            others from all rows would tell about them.
        suppressed : ndarray of bool, shape (cells,)
            Cells that hold 0 because their rows were added to another bin, or are too few.
        """
        counts, values = counts.copy(), values.copy()
        suppressed = np.zeros(self.cells, bool)
        few = (counts[:2] > 0) & (counts[:2] < minimum)
        if few.any():
            return np.zeros_like(counts), np.zeros_like(values), np.ones(self.cells, bool)
        layout = self.layout
        shape = (len(self.nodes), layout.cells)
        cells = merge_small(counts[2:].reshape(shape), values[2:].reshape(*shape, self.fields), layout, minimum)
        counts[2:], suppressed[2:] = cells.counts.reshape(-1), cells.merged.reshape(-1)
        values[2:] = cells.values.reshape(-1, self.fields)
        return counts, values, suppressed


PARTS = (
    "ask",
    "names",
    "edges",
    "missing",
    "target",
    "loss",
    "outputs",
    "ensemble",
    "growing",
    "nodes",
    "features",
    "exponent",
    "offset",
    "weights",
    "hold_out",
)
"""Parts of a step's JSON form beside version, kind and condition."""


# ---- reading --------------------------------------------------------------------------------------------------------


def _number(document: Mapping[str, Any], name: str, *, optional: bool = False) -> float | None:
    value = document.get(name)
    if value is None and optional:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e300:
        raise bad_statistic(f"its {name} must be a finite number, not {str(value)[:40]}")
    return float(value)


def _pairs(value: Any) -> tuple[tuple[int, int], ...]:
    if not isinstance(value, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(type(part) is int and part >= 0 for part in pair)
        for pair in value
    ):
        raise bad_statistic("its nodes must be pairs of a tree's and a node's number")
    found = tuple((pair[0], pair[1]) for pair in value)
    if len(set(found)) != len(found):
        raise bad_statistic("it asks twice about one node")
    return found


def _numbers_of(value: Any, features: int) -> tuple[int, ...]:
    if (
        not isinstance(value, list)
        or not all(type(part) is int and 0 <= part < features for part in value)
        or len(set(value)) != len(value)
    ):
        raise bad_statistic(f"the features asked about must be different numbers below {features}")
    return tuple(value)


def _weights(value: Any, loss: Loss, outputs: int, exponent: int) -> tuple[float, ...]:
    if value == []:
        return ()
    classes = 0 if loss.name == "squared" else max(outputs, 2)
    if (
        not isinstance(value, list)
        or len(value) != classes
        or not all(isinstance(part, int | float) and 0 < part <= 2.0**exponent for part in value)
    ):
        raise bad_statistic(f"its weights must be {classes} numbers above 0, up to 2^{exponent}, or none")
    return tuple(float(part) for part in value)


def _hold_out(value: Any) -> HoldOut:
    if not isinstance(value, Mapping) or set(value) != {"fraction", "seed"}:
        raise bad_statistic("what it holds out must be a fraction and a seed")
    fraction, seed = value["fraction"], value["seed"]
    if not isinstance(fraction, int | float) or not 0 <= fraction <= 0.5 or type(seed) is not int or seed >> 63:
        raise bad_statistic("the fraction held out must be 0 to 0.5, its seed an integer from 0 to 2^63 - 1")
    return HoldOut(float(fraction), seed)


def _implausible(why: str) -> InvalidInput:
    return InvalidInput(
        f"The sum of a boosting step cannot be read: {why}.",
        code="boosting-implausible-sum",
        hint="A node computes something else than the others; the step is discarded.",
    )
