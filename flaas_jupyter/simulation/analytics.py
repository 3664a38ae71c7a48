"""Analytics of a simulation: the same statistics, secure sums and release policy as over real nodes, in one process.

Every client computes its part from its own rows; the parts are added up by the protocol itself (`Member` and
`SecureSum`, or BFV) for up to `MASKED_CLIENTS` clients. Above that masks, which cancel, are left away: the integers
that are added are the same. The query audit looks at the rows of all clients together, for there is nobody to hide them
from; a real node can only look at its own, and so refuses a little more.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..column_kinds import durations_of, months_of, type_name
from ..errors import InvalidInput, NotAllowed, NotAuthenticated
from ..protocols.analytics import drift, release, statistics
from ..protocols.analytics.audit import QueryAudit
from ..protocols.analytics.budget import PrivacyBudget
from ..protocols.analytics.histograms import Histogram
from ..protocols.analytics.policy import ReleasePolicy
from ..protocols.analytics.release import Released
from ..protocols.analytics.statistics import Local, Statistic
from ..protocols.secure_aggregation import (
    MINIMUM_MEMBERS,
    Member,
    RoundSettings,
    SecureSum,
    decode_integers,
    default_threshold,
    encode_integers,
)
from ..training.prediction import bind, telling
from ..training.preprocessing.values import kind_of, missing_of, numbers, texts

if TYPE_CHECKING:
    import pandas as pd

MASKED_CLIENTS = 32
"""Up to so many clients the protocol runs with its masks."""
_EXPLORING = "explore-"
"""What operations of the explorer's views begin with."""


@dataclass(frozen=True)
class AnalyticsOptions:
    """What analytics of a simulation need.

    Attributes
    ----------
    data : sequence of (x, y)
        As given to `simulate`: one pair that is divided, or one of each client.
    policy : ReleasePolicy
        Of all clients.
    epsilon : float
        Budget of private answers; 0 for none.
    """

    data: Sequence[tuple[Any, Any]] = field(repr=False)
    policy: ReleasePolicy
    epsilon: float = 0.0


def options_of(data: Sequence[tuple[Any, Any]], policy: ReleasePolicy | None, epsilon: float) -> AnalyticsOptions:
    """Check the options of analytics.

    Without a policy groups of ten rows or more are released, with exact order statistics and whatever derived columns:
    the rows of a simulation are the user's own.

    Raises
    ------
    InvalidInput
        ``bad-release-policy``; ``bad-setting``.
    """
    if policy is None:
        policy = ReleasePolicy(order="exact", derived="any")
    if not isinstance(policy, ReleasePolicy):
        raise InvalidInput(
            f"analytics_policy must be a ReleasePolicy, not {policy!r}.",
            code="bad-release-policy",
            hint="For example flaas.ReleasePolicy(minimum_group=10).",
        )
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not 0 <= epsilon < float("inf"):
        raise InvalidInput(f"analytics_epsilon must be a number from 0 on, not {epsilon!r}.", code="bad-setting")
    return AnalyticsOptions(data, policy, float(epsilon))


class SimulatedSource:
    """The rows of a simulation's clients, as far as they can be asked about.

    Parameters
    ----------
    options : AnalyticsOptions
    parts : sequence of ndarray of int64
        Each client's rows.
    names : dict of str to str
        Each client's id and name.
    seed : int
        Of noise.
    """

    def __init__(
        self, options: AnalyticsOptions, parts: Sequence[NDArray[np.int64]], names: Mapping[str, str], seed: int
    ) -> None:
        self._options, self._parts, self._seed = options, list(parts), seed
        self._clients = {hashlib.sha256(client.encode()).hexdigest(): name for client, name in names.items()}
        self._ids = list(self._clients)
        self._audit = QueryAudit(options.policy.minimum_group)
        self._budget = PrivacyBudget()
        self._histogram: tuple[Histogram, list[NDArray[np.int64]], Released] | None = None
        self._steps = 0

    @property
    def policy(self) -> ReleasePolicy:
        """When sums are released."""
        return self._options.policy

    @property
    def names(self) -> dict[str, str]:
        """Each client's node id and name."""
        return dict(self._clients)

    @functools.cached_property
    def columns(self) -> dict[str, NDArray[Any]]:
        """All rows by column, in their own types."""
        return _columns(self._options.data)

    @functools.cached_property
    def _written(self) -> dict[str, NDArray[Any]]:
        """The columns as statistics take them: durations are texts."""
        return {name: durations_of(each) if each.dtype.kind == "m" else each for name, each in self.columns.items()}

    @functools.cached_property
    def _viewed(self) -> dict[str, NDArray[Any]]:
        """The columns as the explorer's views have them: days and moments are their months too."""
        return {name: months_of(each) if each.dtype.kind == "M" else each for name, each in self._written.items()}

    @functools.cached_property
    def schema(self) -> list[dict[str, Any]]:
        """One entry for each column: ``name``, ``dtype``, ``role``, ``classes`` of targets that are labels."""
        targets = _target_names(*self._options.data[0])
        return [
            {
                "name": name,
                "dtype": type_name(values.dtype),
                "role": "target" if name in targets else "feature",
                "classes": _classes(values) if name in targets else None,
            }
            for name, values in self.columns.items()
        ]

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Ranges of columns that are known without looking at rows: those of labels."""
        from ..analytics.source import label_ranges

        return label_ranges(self.schema)

    def budget(self) -> pd.DataFrame:
        """Return what private answers have cost, and what is left, as for real nodes; all clients have the same."""
        import pandas as pd

        limit = self._options.epsilon
        row = {
            "dataset": "simulated",
            "spent": self._budget.spent,
            "budget": limit or np.inf,
            "remaining": self._budget.left(limit) if limit else np.inf,
            "privacy": self.policy.privacy,
            "minimum_group": self.policy.minimum_group,
            "problem": None,
        }
        return pd.DataFrame([{"node": name, **row} for name in self._clients.values()])

    def open_query(self, operation: str, summary: Mapping[str, Any] | None = None) -> SimulatedQuery:
        """Begin a query."""
        if len(self._ids) < MINIMUM_MEMBERS:
            raise InvalidInput(
                f"Analytics need at least {MINIMUM_MEMBERS} participants, not {len(self._ids)}: of two, each would "
                "learn the other's figures from the sum.",
                code="secagg-too-few-nodes",
                hint="flaas.simulate(..., clients=3) or more.",
            )
        return SimulatedQuery(self, operation)

    # ---- one step --------------------------------------------------------------------------------------------------

    def answer(
        self,
        data: Mapping[str, Any],
        via: str,
        tensors: Mapping[str, NDArray[Any]] | None = None,
        *,
        view: bool = False,
    ) -> Released:
        """Compute, sum and release one statistic, about the model in `tensors` if it is about one.

        In a view of the explorer days and moments are texts of their month, as at real nodes.
        """
        if data.get("kind") == "extremes":
            return self._on_shares(data)
        if via == "mpyc":
            raise InvalidInput(
                "via='mpyc' compares shares, for min and max only.", code="query-via", hint='Use via="mpc".'
            )
        statistic = statistics.parse(data)
        self._require(statistic)
        statistic = bind(statistic, tensors or {}, allowed_custom=None)
        parts = [
            telling(statistic, node, self.policy.minimum_group).local(self._of_client(statistic, rows, view))
            for node, rows in zip(self._ids, self._parts, strict=True)
        ]
        self._require_answerable(statistic, parts)
        self._steps += 1
        total, settings = self._sum(statistic, parts, via)
        opened = statistic.decode(decode_integers(total, settings))
        released = release.release(opened, statistic, self.policy, self._ids)
        if statistic.epsilon is None:
            self._audit.record(_together(parts))
        else:
            self._budget.charge(statistic.epsilon)
        if isinstance(statistic, Histogram):
            self._histogram = statistic, [local.counts for local in parts], released
        return released

    def distances(self) -> list[dict[str, Any]]:
        """Return how far each client's rows are from those of all, by the histogram that was released last."""
        assert self._histogram is not None  # a step comes first
        histogram, counts, released = self._histogram
        minimum = self.policy.minimum_group
        return [
            {"node": node, "distances": drift.distances(own, released, histogram.bins, minimum), "problem": None}
            for node, own in zip(self._ids, counts, strict=True)
        ]

    def _require(self, statistic: Statistic) -> None:
        statistic.require(self.columns)
        self.policy.require(statistic)

    def _require_answerable(self, statistic: Statistic, parts: Sequence[Local]) -> None:
        """Hold the answer against the budget, or against earlier ones."""
        if statistic.epsilon is None:
            self._audit.require(_together(parts))
        elif self._options.epsilon:
            self._budget.require(statistic.epsilon, self._options.epsilon)

    def _of_client(self, statistic: Statistic, rows: NDArray[np.int64], view: bool = False) -> dict[str, NDArray[Any]]:
        names = sorted(statistic.columns_used) or list(self.columns)[:1]
        known = self._viewed if view else self._written
        return {name: known[name][rows] for name in names}

    def _sum(self, statistic: Statistic, parts: Sequence[Local], via: str) -> tuple[NDArray[np.uint32], RoundSettings]:
        settings = RoundSettings(
            domain="simulation",
            run="analytics",
            round=self._steps,
            attempt=0,
            members=tuple(self._ids),
            model_digest=statistic.digest,
            clip=1.0,
        )
        members = len(self._ids)
        vectors = {}
        for node, local in zip(self._ids, parts, strict=True):
            numbers = statistic.encode(local)
            if statistic.epsilon is not None:
                key = hashlib.sha256(f"{self._seed} {self._steps} {node}".encode()).digest()
                numbers = numbers + statistic.noise(members, default_threshold(members), key)
            vectors[node] = encode_integers(numbers, settings)
        if via == "he":
            return _by_encryption(vectors), settings
        if members > MASKED_CLIENTS:
            return functools.reduce(np.add, vectors.values()), settings
        return _by_masks(settings, vectors), settings

    def _on_shares(self, data: Mapping[str, Any]) -> Released:
        """Compare the clients' extremes on shares; exact, and so only where order statistics may be told exactly."""
        from ..protocols.analytics import shares

        function: shares.Function = "min" if data.get("function") == "min" else "max"
        plain = {name: value for name, value in data.items() if name != "function"}
        statistic = statistics.parse({**plain, "kind": "moments", "power": 1})
        self._require(statistic)
        if self.policy.order != "exact":
            raise NotAllowed(
                "Minimum and maximum are values of single rows; the release policy tells brackets of them only.",
                code="analytics-order",
                hint='Use via="mpc", which answers with the bracket.',
            )
        columns = [self._of_client(statistic, rows) for rows in self._parts]
        self._require_answerable(statistic, [statistic.local(each) for each in columns])
        own = [shares.local_extremes(statistic.table(each), statistic.inner, function) for each in columns]
        opened = shares.compare(own, function, self.policy.minimum_group)
        self._audit.record(_together([statistic.local(each) for each in columns]))
        values = np.array([np.nan if value is None else value for value in opened])
        hidden = np.isnan(values)
        few = f"groups of fewer than {self.policy.minimum_group} rows are withheld"
        return Released(
            np.where(hidden, np.nan, 0.0),
            values[:, None],
            hidden,
            (function,),
            nodes=tuple(self._ids),
            errors=(0.0, 0.0),
            reasons=(few,) if hidden.any() else (),
        )


class SimulatedQuery:
    """One question under way."""

    def __init__(self, source: SimulatedSource, operation: str) -> None:
        self._source, self.operation = source, operation
        self.steps = 0

    def step(
        self, statistic: Mapping[str, Any], via: str = "mpc", tensors: Mapping[str, NDArray[Any]] | None = None
    ) -> Released:
        """Return what is released of one statistic; `tensors` are the model that it is about.

        Raises
        ------
        NotAllowed
            ``analytics-…``, ``query-differs-by-few``.
        InvalidInput
            ``bad-statistic``, ``unknown-column``, ….
        """
        self.steps += 1
        return self._source.answer(statistic, via, tensors, view=self.operation.startswith(_EXPLORING))

    def distances(self) -> list[dict[str, Any]]:
        """See `ConnectedQuery.distances`."""
        return self._source.distances()

    def close(self, error: BaseException | None = None) -> None:
        """End the query; there is nothing to give back."""


def _by_masks(settings: RoundSettings, vectors: Mapping[str, NDArray[np.uint32]]) -> NDArray[np.uint32]:
    """Run the secure sum, all members and the aggregator in this process."""
    members = {node: Member(settings, node, functools.partial(_sign, node), _verify) for node in vectors}
    total = SecureSum(settings, verify=_verify)
    advertised = {node: member.advertise() for node, member in members.items()}
    total.advertised(advertised)
    inboxes = total.shared({node: member.share(advertised) for node, member in members.items()})
    for node, member in members.items():
        total.add(node, member.mask(vectors[node], inboxes[node]))
    survivors = total.survivors
    signatures = {node: members[node].confirm(survivors) for node in survivors}
    total.confirmed(signatures)
    return total.open({node: members[node].unmask(signatures) for node in survivors})


def _by_encryption(vectors: Mapping[str, NDArray[np.uint32]]) -> NDArray[np.uint32]:
    from ..protocols.analytics import he

    key = he.make_key(len(vectors))
    ciphertexts = [he.encrypt(key.public, vector) for vector in vectors.values()]
    length = len(next(iter(vectors.values())))
    return he.decrypt(key, he.add(key.public, ciphertexts), length)


def _sign(node: str, context: str, payload: bytes) -> bytes:
    """A stand-in for a node's signature: all clients of a simulation are in one hand."""
    return hmac.digest(node.encode(), context.encode() + b"\0" + payload, "sha256") * 2


def _verify(node: str, context: str, payload: bytes, signature: bytes) -> None:
    if not hmac.compare_digest(_sign(node, context, payload), signature):
        raise NotAuthenticated(f"The signature is not one of client {node[:12]}.")


def _together(parts: Sequence[Local]) -> Local:
    """The rows of all clients as those of one, for the audit."""
    groupings = [np.concatenate(pieces) for pieces in zip(*(part.partitions for part in parts), strict=True)]
    rows = np.concatenate([part.rows for part in parts])
    return Local(parts[0].counts, parts[0].values, rows, tuple(groupings))


# ---- columns --------------------------------------------------------------------------------------------------------


def _columns(data: Sequence[tuple[Any, Any]]) -> dict[str, NDArray[Any]]:
    each = [{**_named(x, "x"), **_named_target(x, y)} for x, y in data]
    if any(set(columns) != set(each[0]) for columns in each):
        raise InvalidInput(
            "The clients' tables have different columns.",
            code="schema-mismatch",
            hint="federation.schema_differences() shows them; federation.mapped(federation.suggest_mapping()) brings "
            "them together.",
        )
    return {name: _joined([columns[name] for columns in each]) for name in each[0]}


def _joined(pieces: list[NDArray[Any]]) -> NDArray[Any]:
    """Return the rows of all clients; times of some are texts where others have texts, and missing where those are."""
    times = [piece.dtype for piece in pieces if piece.dtype.kind in "Mm"]
    if times and len(times) < len(pieces):
        pieces = [
            np.full(piece.shape, "NaT", times[0]) if piece.dtype.kind == "f" and np.isnan(piece).all() else piece
            for piece in pieces
        ]
        if any(piece.dtype.kind in "UO" for piece in pieces):
            pieces = [texts(piece, "x") if piece.dtype.kind in "Mm" else piece for piece in pieces]
    return np.concatenate(pieces)


def _named_target(x: Any, y: Any) -> dict[str, NDArray[Any]]:
    """The target under its own name, if it has one that no input has."""
    found = _named(y, "y")
    name = getattr(y, "name", None)
    if list(found) == ["y"] and isinstance(name, str) and name and name not in _named(x, "x"):
        return {name: found["y"]}
    return found


def _target_names(x: Any, y: Any) -> set[str]:
    return set(_named_target(x, y))


def _named(values: Any, name: str) -> dict[str, NDArray[Any]]:
    """Columns by name: those of a table, of arrays ``x``, or ``x[0]``, ``x[1]``, … of arrays with more axes."""
    if hasattr(values, "columns"):
        return {str(column): _column(values[column]) for column in values.columns}
    if isinstance(values, Mapping):
        return {key: column for part, each in values.items() for key, column in _named(each, str(part)).items()}
    array = _column(values)
    if array.ndim == 1:
        return {name: array}
    flat = array.reshape(len(array), -1)
    return {f"{name}[{place}]": flat[:, place] for place in range(flat.shape[1])}


def _column(values: Any) -> NDArray[Any]:
    array = as_moments(np.asarray(values))
    if array.dtype.kind not in "OS":
        return array
    if kind_of(array) == "number":
        return numbers(array, "x")
    written = texts(array, "x")
    return written if any(text is None for text in written.tolist()) else written.astype(str)


def as_moments(array: NDArray[Any]) -> NDArray[Any]:
    """Return objects that are all days, or all moments, as ``datetime64`` in UTC, as a node reads them from a file."""
    if array.dtype.kind != "O":
        return array
    gone = missing_of(array)
    kinds = {type(value) for value in array[~gone].tolist()}
    if not kinds or not all(issubclass(kind, date) for kind in kinds):
        return array
    moments = all(issubclass(kind, datetime) for kind in kinds)
    if not moments and any(issubclass(kind, datetime) for kind in kinds):
        return array
    found = np.full(array.shape, "NaT", "datetime64[us]" if moments else "datetime64[D]")
    found[~gone] = [_in_utc(value) if moments else value for value in array[~gone].tolist()]
    return found


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)


def _classes(values: NDArray[Any]) -> int | None:
    """Number of classes of a target of labels, as a node's registration has it; None for quantities."""
    whole = values.dtype.kind in "biu" or (values.dtype.kind == "f" and bool(np.isin(values, (0.0, 1.0)).all()))
    if not whole or not values.size or values.min() < 0:
        return None
    return max(int(values.max()) + 1, 2)
