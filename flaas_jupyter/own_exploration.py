"""An owner's own rows, explored: everything that there is about the data set of the node on this machine."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from .errors import InvalidInput, NotAllowed
from .exploration import Described, Exploration, Looked
from .exploration.describing import column, described
from .home import Home

if TYPE_CHECKING:
    from .execution.columns import Columns
    from .execution.datasets import Dataset
    from .protocols.analytics.release import Released


def explore(dataset: str, *, home: Home | None = None) -> Exploration:
    """Explore a data set of the node on this machine: exact, with nothing suppressed, for its owner.

    Whoever can read the node's ``FLAAS_HOME`` is its owner. What others may see is what
    ``flaas.connect().project(…).federation(dataset=…).explore()`` shows them.

    Parameters
    ----------
    dataset : str
        As it is registered.
    home : Home, optional
        The node's; default: `FLAAS_HOME`.

    Raises
    ------
    NotAllowed
        Code ``not-the-owner``: there is no node with data sets here.
    NotFound
        Code ``unknown-dataset``.

    Examples
    --------
    >>> exploration = flaas.explore("loans")  # doctest: +SKIP
    >>> exploration.column("age").table  # doctest: +SKIP
    """
    from .execution.datasets import DatasetRegistry

    home = home or Home.default()
    if not (home.path / "datasets.json").exists():
        raise NotAllowed(
            f"Rows of {dataset[:80]!r} are shown in full to the owner of a node only, on the node's own machine; there "
            f"is no node with data sets in {home.path}.",
            code="not-the-owner",
            hint="Explore what its owners show of it: flaas.connect().project(…).federation(dataset=…).explore().",
        )
    return Exploration(OwnExplored(DatasetRegistry(home.path).get(dataset)))


class OwnExplored:
    """A data set of this machine's node.

    Parameters
    ----------
    dataset : Dataset
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.source = _OwnSource(dataset)

    def describe(self) -> Described:
        """Return what the registry has of it."""
        told = self._dataset.description()
        node = {
            "node": "",
            "name": "this node",
            "organisation": "",
            "rows": int(told["rows"]),
            "level": "owner",
            "online": True,
            "drift": False,
            "problem": None,
        }
        declared = {str(each["name"]): each for each in self._dataset.registration.schema}
        further = self.source.further
        open_ones = [each for name, each in declared.items() if name not in further]
        columns = described(told["features"], told["target"], open_ones)
        columns += [
            column(name, kind, role, None, declared.get(name, {"role": role})) for name, (kind, role) in further.items()
        ]
        return Described(self._dataset.name, None, "owner", int(told["rows"]), [node], columns)

    def look(self) -> Looked:
        """Return nothing: there is nobody else to ask."""
        return Looked({})


class _OwnSource:
    """Statistics over the owner's own rows."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @functools.cached_property
    def columns(self) -> Columns:
        operation = next(iter(self.dataset.registration.operations), "train")
        return self.dataset.columns(operation)

    @functools.cached_property
    def further(self) -> dict[str, tuple[str, str]]:
        """Type and role of the columns that nobody learns from, and that only their owner is shown."""
        from .execution.datasets.kinds import dtype_name

        registration = self.dataset.registration
        roles = {str(each["name"]): str(each["role"]) for each in registration.schema}
        if registration.id_column is not None:
            roles[registration.id_column] = "id"
        hidden = [name for name, role in roles.items() if role in ("id", "sensitive")]
        if not hidden:
            return {}
        first = next(iter(self.dataset.batches(hidden)))
        return {name: (dtype_name(first.schema.field(name).type), roles[name]) for name in hidden}

    @property
    def schema(self) -> list[dict[str, Any]]:
        told = self.dataset.description()
        return [
            {
                "name": column["name"],
                "dtype": column["dtype"],
                "role": "target" if column["role"] == "label" else "feature",
                "classes": column["classes"],
            }
            for column in described(told["features"], told["target"])
        ]

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        from .analytics.source import label_ranges

        return label_ranges(self.schema)

    @property
    def names(self) -> dict[str, str]:
        return {"": "this node"}

    def open_query(self, operation: str, summary: Mapping[str, Any] | None = None) -> _OwnQuery:
        return _OwnQuery(self)


class _OwnQuery:
    """One view of the owner's own rows."""

    def __init__(self, source: _OwnSource) -> None:
        self._source = source

    def step(
        self, statistic: Mapping[str, Any], via: str = "mpc", tensors: Mapping[str, NDArray[Any]] | None = None
    ) -> Released:
        """Compute a statistic; nothing of it is withheld."""
        from .execution.exploring import read_columns
        from .protocols.analytics import ReleasePolicy, release, statistics

        asked = statistics.parse(dict(statistic))
        if asked.epsilon is not None:
            raise InvalidInput(
                "Your own rows are shown exactly; there is nobody to hide them from.",
                code="bad-epsilon",
                hint="Leave epsilon away.",
            )
        columns = self._source.columns
        used = sorted(asked.columns_used) or list(columns)[:1]
        local = asked.local(read_columns(self._source.dataset, columns, used))
        policy = ReleasePolicy(minimum_group=1, order="exact", derived="any")
        # The policy is about sums of several owners' rows; of one's own there is one node, and no secret.
        return release.release(asked.decode(asked.encode(local)), asked, policy, policy.minimum_nodes)

    def close(self, error: BaseException | None = None) -> None:
        """End the view."""
