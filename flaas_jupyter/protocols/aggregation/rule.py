"""What an aggregation rule is: it turns the models of one round's clients into the new global model.

Every rule sees the same checked input, a `Cohort`, and says by `Needs` how much of it it must see, because
under secure aggregation the aggregator has sums only. Models are rows of one (n, p) array; rules walk over it
in blocks of columns, so that beyond the input they hold O(n · block) numbers whatever the model's size.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InvalidInput

BLOCK_COLUMNS = 1 << 16


class Needs(enum.Enum):
    """How much of the single updates a rule must see."""

    SUM = "sum"
    """Only the weighted sum. The rule gives the same weights for a cohort as for one client that holds the
    cohort's weighted mean and all its examples; under secure aggregation that is how it is called."""

    SCALARS = "scalars"
    """Sums, and one number per client, such as a similarity that the client may report itself."""

    UPDATES = "updates"
    """Every client's update."""


@dataclass(frozen=True)
class Aggregated:
    """What a rule returns.

    Attributes
    ----------
    weights : ndarray of float64, shape (p,)
        The new global weights.
    contributions : ndarray of float64, shape (n,)
        The weight given to each client; they sum to 1, an excluded client has 0.
    columns : dict of str to ndarray, shape (n,)
        What else the rule has to say about each client, e.g. its reputation; becomes columns of the report.
    """

    weights: NDArray[np.float64]
    contributions: NDArray[np.float64]
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Cohort:
    """The clients of one round, checked.

    Attributes
    ----------
    updates : ndarray, shape (n, p)
        Model weights, one client a row; finite.
    num_examples : ndarray of float64, shape (n,)
        Examples that each client trained on; not negative, not all 0.
    client_ids : tuple of str
        Distinct names of the clients, in the order of the rows.
    reference : ndarray of float64, shape (p,), or None
        The global weights that the clients started from.
    """

    updates: NDArray[Any]
    num_examples: NDArray[np.float64]
    client_ids: tuple[str, ...]
    reference: NDArray[np.float64] | None

    def blocks(self) -> Iterator[slice]:
        """Yield the slices that cut the columns into blocks."""
        return _blocks(self.updates.shape[1])


class Rule(ABC):
    """Base of all rules: a subclass states its `needs` and writes `aggregate`.

    A rule that remembers something from round to round (budgets, reputations) also writes `state_dict` and
    `load_state_dict`; the state is a dictionary of JSON values and arrays.
    """

    needs: ClassVar[Needs]

    def __call__(
        self,
        updates: ArrayLike,
        num_examples: ArrayLike,
        *,
        client_ids: Sequence[str] | None = None,
        reference: ArrayLike | None = None,
    ) -> Aggregated:
        """Combine one round's models.

        Parameters
        ----------
        updates : array_like, shape (n, p)
            Model weights, one client a row.
        num_examples : array_like, shape (n,)
            Examples that each client trained on.
        client_ids : sequence of str, optional
            Names of the clients, for errors, the report and rules with a memory; "0", "1", … by default.
        reference : array_like, shape (p,), optional
            The global weights that the clients started from.

        Raises
        ------
        InvalidInput
            ``no-updates``; ``wrong-shape``; ``bad-example-counts``; ``bad-client-ids``;
            ``non-finite-update``, whose message and ``clients`` detail name the clients that sent NaN or
            infinite values.
        """
        return self.aggregate(_check(updates, num_examples, client_ids, reference))

    @abstractmethod
    def aggregate(self, cohort: Cohort) -> Aggregated:
        """Combine a checked cohort."""

    def state_dict(self) -> dict[str, Any]:
        """Return what the rule remembers from round to round."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned.

        Raises
        ------
        InvalidInput
            Code ``wrong-rule-state``: `state` is not this rule's.
        """
        if state:
            raise InvalidInput(
                f"{type(self).__name__} remembers nothing; the state given has {', '.join(sorted(state))}.",
                code="wrong-rule-state",
                hint="Load the state into the rule it was saved from.",
            )


def _check(
    updates: ArrayLike, num_examples: ArrayLike, client_ids: Sequence[str] | None, reference: ArrayLike | None
) -> Cohort:
    rows = _array(updates, "updates")
    if rows.ndim != 2:
        raise _wrong_shape("updates", rows, "(n, p): one client a row")
    clients, parameters = rows.shape
    if clients == 0:
        raise InvalidInput("There are no updates to aggregate.", code="no-updates")
    names = tuple(str(i) for i in range(clients)) if client_ids is None else tuple(map(str, client_ids))
    if len(names) != clients or len(set(names)) != clients:
        raise InvalidInput(
            f"{clients} updates need as many distinct client ids; got {len(set(names))} in {len(names)}.",
            code="bad-client-ids",
        )
    examples = _array(num_examples, "num_examples").astype(np.float64)
    if examples.shape != (clients,):
        raise _wrong_shape("num_examples", examples, f"({clients},): one count per update")
    if not np.isfinite(examples).all() or (examples < 0).any() or not examples.any():
        raise InvalidInput(
            "Example counts must be finite and not negative, and one of them above 0.",
            code="bad-example-counts",
            num_examples=[repr(float(count)) for count in examples],
        )
    start = None if reference is None else _array(reference, "reference").astype(np.float64)
    if start is not None and start.shape != (parameters,):
        raise _wrong_shape("reference", start, f"({parameters},): as long as an update")
    if start is not None and not np.isfinite(start).all():
        raise InvalidInput("The reference weights hold NaN or infinite values.", code="non-finite-reference")
    _require_finite(rows, names)
    return Cohort(rows, examples, names, start)


def _array(values: ArrayLike, name: str) -> NDArray[Any]:
    try:
        array = np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise InvalidInput(f"The {name} do not form an array: {error}.", code="wrong-shape") from error
    if array.dtype.kind not in "fiu":
        raise InvalidInput(f"The {name} must be real numbers, not {array.dtype}.", code="wrong-shape")
    return array


def _wrong_shape(name: str, array: NDArray[Any], allowed: str) -> InvalidInput:
    return InvalidInput(f"The {name} have shape {array.shape}; needed is {allowed}.", code="wrong-shape")


def _require_finite(rows: NDArray[Any], names: Sequence[str]) -> None:
    finite = np.ones(len(rows), dtype=bool)
    for block in _blocks(rows.shape[1]):
        finite &= np.isfinite(rows[:, block]).all(axis=1)
    if not finite.all():
        culprits = [name for name, fine in zip(names, finite, strict=True) if not fine]
        raise InvalidInput(
            f"NaN or infinite values in the update of {', '.join(culprits)}.",
            code="non-finite-update",
            hint="Lower the learning rate or clip gradients (optimizer clipnorm=...), and check the data.",
            clients=culprits,
        )


def _blocks(columns: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK_COLUMNS) for start in range(0, columns, BLOCK_COLUMNS))
