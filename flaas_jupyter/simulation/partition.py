"""How one data set is divided among simulated clients.

Every way returns a `Split`: the row numbers of each client, ascending, and the clients' names. No row goes to two
clients. All but `Explicit` give away every row. The same generator state gives the same split.

Sources: `IID` and `Shards` are the two partitions of McMahan et al., "Communication-Efficient Learning of Deep
Networks from Decentralized Data", AISTATS 2017. `Dirichlet` (label skew) and `QuantitySkew` are those of Li,
Diao, Chen and He, "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE 2022.
"""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Who holds which rows.

    Attributes
    ----------
    parts : list of ndarray of int64
        Row numbers of each client, ascending.
    names : list of str
        Distinct names of the clients, in the same order.
    """

    parts: list[Rows]
    names: list[str]


class Partition(ABC):
    """A way to divide rows among clients."""

    @abstractmethod
    def split(self, y: ArrayLike, clients: int | None, rng: np.random.Generator, *, table: Any = None) -> Split:
        """Divide the rows of `y`.

        Parameters
        ----------
        y : array_like, shape (rows,) or (rows, …)
            Targets; class labels or one-hot rows where the partition looks at classes.
        clients : int or None
            Number of clients; None where the partition itself says how many.
        rng : numpy Generator
            Source of all randomness.
        table : pandas DataFrame, optional
            The rows' other columns, for `ByColumn`.

        Raises
        ------
        InvalidInput
            ``bad-clients``: not a number of clients that these rows and this partition permit.
            ``not-classes``: classes are needed and `y` has none. Other codes are the partitions' own.
        """


@dataclass(frozen=True)
class IID(Partition):
    """Rows shuffled and dealt out in parts whose sizes differ by one at most."""

    def split(self, y: ArrayLike, clients: int | None, rng: np.random.Generator, *, table: Any = None) -> Split:
        """Divide the rows; see `Partition.split`."""
        rows = len(np.asarray(y))
        count = _client_count(clients, rows)
        return _numbered([np.sort(part) for part in np.array_split(rng.permutation(rows), count)])


@dataclass(frozen=True)
class Dirichlet(Partition):
    """Label skew: each class is divided among the clients in proportions drawn from a symmetric Dirichlet.

    Clients left with fewer than `minimum` rows are filled up: one row at a time, drawn at random from the client that
    holds most at that moment. With few clients or a large `alpha` nothing is moved.

    Parameters
    ----------
    alpha : float
        Concentration, above 0: 0.1 gives most clients one or two classes, 100 is nearly IID.
    minimum : int
        Fewest rows of any client.
    """

    alpha: float
    minimum: int = 1

    def __post_init__(self) -> None:
        _require_concentration(self.alpha)
        _require_whole(self.minimum, "minimum", least=0)

    def split(self, y: ArrayLike, clients: int | None, rng: np.random.Generator, *, table: Any = None) -> Split:
        """Divide the rows; see `Partition.split`."""
        labels = class_indices(y, wanted_by="Dirichlet")
        count = _client_count(clients, len(labels), each=self.minimum)
        owner = np.empty(len(labels), dtype=np.int64)
        for label in range(int(labels.max()) + 1):
            rows = rng.permutation(np.flatnonzero(labels == label))
            owner[rows] = np.repeat(np.arange(count), _proportional(len(rows), rng.dirichlet([self.alpha] * count)))
        return _numbered(_fill_up(owner, count, self.minimum, rng))


@dataclass(frozen=True)
class QuantitySkew(Partition):
    """Clients of unequal size and the same distribution: sizes in proportions drawn from a symmetric Dirichlet.

    Clients left with fewer than `minimum` rows are filled up as in `Dirichlet`.

    Parameters
    ----------
    alpha : float
        Concentration, above 0: the smaller, the more unequal.
    minimum : int
        Fewest rows of any client.
    """

    alpha: float
    minimum: int = 1

    def __post_init__(self) -> None:
        _require_concentration(self.alpha)
        _require_whole(self.minimum, "minimum", least=0)

    def split(self, y: ArrayLike, clients: int | None, rng: np.random.Generator, *, table: Any = None) -> Split:
        """Divide the rows; see `Partition.split`."""
        rows = len(np.asarray(y))
        count = _client_count(clients, rows, each=self.minimum)
        owner = np.empty(rows, dtype=np.int64)
        sizes = _proportional(rows, rng.dirichlet([self.alpha] * count))
        owner[rng.permutation(rows)] = np.repeat(np.arange(count), sizes)
        return _numbered(_fill_up(owner, count, self.minimum, rng))


@dataclass(frozen=True)
class Shards(Partition):
    """The pathological partition: rows sorted by class, cut into `k` shards per client, dealt out at random.

    Shards' sizes differ by one at most. With ``Shards(2)`` most clients see two classes only.

    Parameters
    ----------
    k : int
        Shards per client, at least 1.
    """

    k: int = 2

    def __post_init__(self) -> None:
        _require_whole(self.k, "k", least=1)

    def split(self, y: ArrayLike, clients: int | None, rng: np.random.Generator, *, table: Any = None) -> Split:
        """Divide the rows; see `Partition.split`."""
        labels = class_indices(y, wanted_by="Shards")
        count = _client_count(clients, len(labels), each=self.k)
        shuffled = rng.permutation(len(labels))  # so that chance, not the file's order, decides within a class
        by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
        shards = np.array_split(by_class, count * self.k)
        hands = rng.permutation(count * self.k).reshape(count, self.k)
        return _numbered([np.sort(np.concatenate([shards[shard] for shard in hand])) for hand in hands])


@dataclass(frozen=True)
class ByColumn(Partition):
    """The natural partition: one client for each value of a column, such as the hospital, and named after it.

    The clients come in the order of their values. `clients` may be left out.

    Parameters
    ----------
    name : str
        Column of `table`.

    Raises
    ------
    InvalidInput
        When splitting: ``no-table``, ``unknown-column``, ``missing-keys`` (rows without a value),
        ``ambiguous-clients`` (two values that read the same).
    """

    name: str

    def split(self, y: ArrayLike, clients: int | None, rng: np.random.Generator, *, table: Any = None) -> Split:
        """Divide the rows; see `Partition.split`."""
        import pandas as pd

        column = self._column(table, len(np.asarray(y)))
        codes, values = pd.factorize(column, sort=True)
        missing = int((codes < 0).sum())
        if missing:
            raise InvalidInput(
                f"{missing} of {len(codes)} rows have no value in the column {self.name!r}.",
                code="missing-keys",
                hint="Drop these rows or fill the column first.",
            )
        names = [str(value) for value in values]
        if len(set(names)) < len(names):
            raise InvalidInput(
                f"Two values of the column {self.name!r} read the same, such as 1 and '1'.",
                code="ambiguous-clients",
                hint=f"Make it one type: table[{self.name!r}] = table[{self.name!r}].astype(str).",
            )
        _require_own_count(clients, len(names), f"the column {self.name!r} has {len(names)} values")
        return Split(_gather(codes.astype(np.int64), len(names)), names)

    def _column(self, table: Any, rows: int) -> Any:
        if table is None:
            raise InvalidInput(
                f"ByColumn({self.name!r}) needs a table; only arrays were given.",
                code="no-table",
                hint="Give x as a pandas DataFrame that has this column.",
            )
        if self.name not in table:
            columns = [str(name) for name in table]
            raise InvalidInput(
                f"The table has no column {self.name!r}; it has {', '.join(columns[:20])}.",
                code="unknown-column",
                allowed=columns,
            )
        if len(table) != rows:
            raise InvalidInput(f"The table has {len(table)} rows and y has {rows}.", code="wrong-shape")
        return table[self.name]


@dataclass(frozen=True)
class Explicit(Partition):
    """Row numbers given for each client; rows may be left out.

    Parameters
    ----------
    parts : sequence of array_like of int
        One client an item.

    Raises
    ------
    InvalidInput
        When splitting: ``bad-partition``: an empty client, a row that is not there or is given twice.
    """

    parts: Sequence[ArrayLike] = field(repr=False)

    def split(self, y: ArrayLike, clients: int | None, rng: np.random.Generator, *, table: Any = None) -> Split:
        """Divide the rows; see `Partition.split`."""
        rows = len(np.asarray(y))
        _require_own_count(clients, len(self.parts), f"the partition lists {len(self.parts)}")
        parts = [np.asarray(part) for part in self.parts]
        if not parts:
            raise InvalidInput("The partition lists no client.", code="bad-partition")
        for number, part in enumerate(parts):
            if part.ndim != 1 or not len(part) or part.dtype.kind not in "iu":
                raise InvalidInput(
                    f"Client {number} of the partition is not a list of row numbers: shape {part.shape}, {part.dtype}.",
                    code="bad-partition",
                    hint="Give each client a one-dimensional array of at least one whole number.",
                )
        everything = np.concatenate(parts)
        if everything.min() < 0 or everything.max() >= rows:
            raise InvalidInput(
                f"The partition names rows from {everything.min()} to {everything.max()}; there are 0 to {rows - 1}.",
                code="bad-partition",
            )
        numbers, times = np.unique(everything, return_counts=True)
        if (times > 1).any():
            raise InvalidInput(
                f"Row {numbers[times > 1][0]} is in the partition more than once.",
                code="bad-partition",
                hint="Give every row to one client at most.",
            )
        return _numbered([np.sort(part).astype(np.int64) for part in parts])


def partition(value: str | Partition | Iterable[ArrayLike]) -> Partition:
    """Return the partition that `value` means: ``"iid"``, a `Partition`, or row numbers for each client.

    Raises
    ------
    InvalidInput
        Code ``unknown-partition``.
    """
    if isinstance(value, Partition):
        return value
    if isinstance(value, str) and value == "iid":
        return IID()
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidInput(
            f"There is no partition {value!r}.",
            code="unknown-partition",
            hint='Use "iid", flaas.Dirichlet(0.5), flaas.Shards(2), flaas.QuantitySkew(0.5), '
            'flaas.ByColumn("hospital") or a list with one array of row numbers for each client.',
        )
    return Explicit(list(value))


def class_indices(y: ArrayLike, *, wanted_by: str) -> Rows:
    """Return the class of each row as a number from 0, in the order of ``np.unique``.

    Parameters
    ----------
    y : array_like, shape (rows,), (rows, 1) or, one-hot, (rows, classes)
        Labels of any type that sorts.
    wanted_by : str
        Who asks, for the error.

    Raises
    ------
    InvalidInput
        Code ``not-classes``: `y` holds fractions, missing values, several labels a row, or numbers that hardly
        repeat, which is what a regression's target looks like.
    """
    labels = np.asarray(y)
    if not len(labels):
        raise InvalidInput(f"{wanted_by} needs rows; y is empty.", code="not-classes")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.dtype.kind in "biuf":
        if not (((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all()):
            raise _not_classes(wanted_by, f"y has shape {labels.shape} and its rows are not one-hot")
        return np.nonzero(labels)[1].astype(np.int64)  # one per row, in the order of the rows
    if labels.ndim != 1:
        raise _not_classes(wanted_by, f"y has shape {labels.shape}")
    if labels.dtype.kind == "f" and not (labels == np.floor(labels)).all():  # NaN is unequal to itself: refused too
        raise _not_classes(wanted_by, "y holds fractions or missing values")
    try:
        classes, indices = np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise _not_classes(wanted_by, f"y's values cannot be sorted ({error})") from error
    if labels.dtype.kind in "iuf" and len(labels) > 20 and 2 * len(classes) > len(labels):
        raise _not_classes(wanted_by, f"y has {len(classes)} different values in {len(labels)} rows")
    return indices.astype(np.int64)


def plot_partition(
    labels: ArrayLike, parts: Sequence[ArrayLike], names: Sequence[str] | None = None, *, ax: Any = None
) -> Any:
    """Draw how many rows of each class every client holds; only how many rows where `labels` are no classes.

    Parameters
    ----------
    labels : array_like, shape (rows,) or, one-hot, (rows, classes)
        Targets of all rows.
    parts : sequence of array_like of int
        Row numbers of each client.
    names : sequence of str, optional
        Names of the clients; shown as long as they can be read.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib Axes
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise InvalidInput(
            "Plots need matplotlib, which is not installed.",
            code="extra-missing",
            hint='pip install "flaas_jupyter[lab]"',
        ) from error

    if ax is None:
        _, ax = plt.subplots(figsize=(8, 4), layout="constrained")
    try:
        classes, captions = class_indices(labels, wanted_by="The plot"), _class_names(labels)
    except InvalidInput:
        classes, captions = np.zeros(len(np.asarray(labels)), dtype=np.int64), []
    counts = np.stack([np.bincount(classes[np.asarray(part)], minlength=max(1, len(captions))) for part in parts])
    tops = np.cumsum(counts, axis=1)
    colours = plt.get_cmap("tab10" if counts.shape[1] <= 10 else "turbo", counts.shape[1])
    edges = np.arange(len(counts) + 1) - 0.5
    for index in range(counts.shape[1]):
        baseline = tops[:, index] - counts[:, index]
        caption = captions[index] if captions else None
        ax.stairs(tops[:, index], edges, baseline=baseline, fill=True, color=colours(index), label=caption)
    ax.set(xlabel="client", ylabel="rows", xlim=(edges[0], edges[-1]), ylim=(0, None))
    if names is not None and len(names) <= 30:
        ax.set_xticks(range(len(names)), names, rotation=90 if len(names) > 8 else 0)
    if 0 < len(captions) <= 20:
        ax.legend(title="class", loc="upper left", bbox_to_anchor=(1, 1))
    return ax


def _class_names(y: ArrayLike) -> list[str]:
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] > 1:
        return [str(index) for index in range(labels.shape[1])]
    return [str(value) for value in np.unique(labels)]


def _proportional(rows: int, shares: NDArray[np.float64]) -> Rows:
    """Divide `rows` in these shares; the sizes sum to `rows`."""
    ends = np.floor(np.cumsum(shares) * rows).astype(np.int64)
    ends[-1] = rows  # the shares sum to 1 but for rounding
    return np.diff(np.minimum(ends, rows), prepend=0)


def _fill_up(owner: Rows, clients: int, minimum: int, rng: np.random.Generator) -> list[Rows]:
    """Gather the rows by owner, after moving rows from the largest clients to those below `minimum`."""
    sizes = np.bincount(owner, minlength=clients)
    needy = [client for client in range(clients) for _ in range(minimum - sizes[client])]
    largest = [(-int(size), client) for client, size in enumerate(sizes)]
    heapq.heapify(largest)
    stock: dict[int, list[int]] = {}
    for client in needy:
        size, donor = heapq.heappop(largest)
        if donor not in stock:
            stock[donor] = rng.permutation(np.flatnonzero(owner == donor)).tolist()
        owner[stock[donor].pop()] = client
        heapq.heappush(largest, (size + 1, donor))
    return _gather(owner, clients)


def _gather(owner: Rows, clients: int) -> list[Rows]:
    """Return each client's rows, ascending."""
    order = np.argsort(owner, kind="stable").astype(np.int64)
    return np.split(order, np.searchsorted(owner[order], np.arange(1, clients)))


def _numbered(parts: list[Rows]) -> Split:
    width = len(str(len(parts) - 1))  # so that names sort as the clients do
    return Split(parts, [f"client-{number:0{width}}" for number in range(len(parts))])


def _client_count(clients: int | None, rows: int, *, each: int = 1) -> int:
    if clients is None:
        raise InvalidInput(
            "This partition needs the number of clients.", code="bad-clients", hint="Give clients=10, for instance."
        )
    _require_whole(clients, "clients", least=1, code="bad-clients")
    if clients * each > rows:
        raise InvalidInput(
            f"{clients} clients with at least {each} rows each need {clients * each} rows; there are {rows}.",
            code="bad-clients",
            hint=f"Use {rows // each} clients at most." if rows >= each else "Use more rows.",
        )
    return int(clients)


def _require_own_count(clients: int | None, own: int, why: str) -> None:
    if clients is not None and clients != own:
        raise InvalidInput(
            f"{clients} clients were asked for, but {why}.", code="bad-clients", hint="Leave `clients` away."
        )


def _require_concentration(alpha: float) -> None:
    if isinstance(alpha, bool) or not isinstance(alpha, int | float | np.number) or not 0 < float(alpha) < np.inf:
        raise InvalidInput(
            f"alpha is {alpha!r}; it must be a finite number above 0.",
            code="bad-partition",
            hint="0.1 gives strong skew, 100 almost none.",
        )


def _require_whole(value: Any, name: str, *, least: int, code: str = "bad-partition") -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InvalidInput(f"{name} is {value!r}; it must be a whole number from {least}.", code=code)


def _not_classes(wanted_by: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"{wanted_by} needs class labels, but {why}.",
        code="not-classes",
        hint="For regression use flaas.IID(), flaas.QuantitySkew(alpha) or flaas.ByColumn(name).",
    )
