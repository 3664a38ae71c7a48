"""What an aggregation rule is: it turns the models of one round's clients into the new global model.

Every rule sees the same checked input, a `Cohort`, and says by `Needs` how much of it it must see, because
under secure aggregation the aggregator has sums only. Models are rows of one (n, p) array; rules walk over it
in blocks of columns that fit a core's cache, so that beyond the input they hold O(n · block) numbers whatever the
model's size.

A rule is a dataclass: its fields are its options, and ``aggregation(rule.name, **rule.options)`` makes it again,
which is how a rule travels to a node, into a saved model and into a worker.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InvalidInput
from .blocks import blocks, each_block

Result = TypeVar("Result")


class Needs(enum.Enum):
    """How much of the single updates a rule must see."""

    SUM = "sum"
    """Only the weighted sum, which the rule takes by `Cohort.mean`. The rule gives the same weights for a cohort as
    for one client that holds the cohort's weighted mean and all its examples; under secure aggregation that is how it
    is called."""

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
    scalars : ndarray of float64, shape (n,), or None
        The number that each client reported beside its update, for rules that need `Needs.SCALARS`.
    trusted : ndarray of float64, shape (p,), or None
        Weights that somebody trusted trained from `reference` on clean data, for rules that compare with them.
    """

    updates: NDArray[Any]
    num_examples: NDArray[np.float64]
    client_ids: tuple[str, ...]
    reference: NDArray[np.float64] | None
    scalars: NDArray[np.float64] | None = None
    trusted: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        """How many clients there are."""
        return len(self.updates)

    @property
    def shares(self) -> NDArray[np.float64]:
        """Each client's share of the examples, shape (n,); they sum to 1."""
        shares: NDArray[np.float64] = self.num_examples / self.num_examples.sum()
        return shares

    def blocks(self) -> Iterator[slice]:
        """Yield the slices that cut the columns into blocks."""
        return blocks(*self.updates.shape)

    def each_block(self, work: Callable[[slice], Result]) -> Iterator[Result]:
        """Yield what `work` returns for each block, in their order; several threads may call it at once."""
        return each_block(self.updates.shape, work)

    def mean(self) -> NDArray[np.float64]:
        """Return Σ (n_k / n) w_k, shape (p,), in one walk over the updates.

        Raises
        ------
        InvalidInput
            ``non-finite-update``. A NaN or an infinity in any update shows in the mean, so that the updates
            themselves are searched only then.
        """
        mean = self.combine(self.shares)
        if not np.isfinite(mean).all():
            self.require_finite()
        return mean

    def combine(
        self, coefficients: NDArray[np.float64], base: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Return Σ c_k w_k, with `base` b + Σ c_k (w_k − b); shape (p,), summed in float64."""
        if len(self.updates) == 1 and base is None:
            # Not worth BLAS, whose threads would go on spinning beside clients that train.
            scaled: NDArray[np.float64] = np.multiply(self.updates[0], coefficients[0], dtype=np.float64)
            return scaled
        combined = np.empty(self.updates.shape[1], dtype=np.float64)
        rest = 1.0 - math.fsum(coefficients)

        def combine_block(block: slice) -> None:
            # BLAS takes operands of one type; a block of float64 stays in the cache.
            np.matmul(coefficients, self.updates[:, block].astype(np.float64, copy=False), out=combined[block])
            if base is not None and rest:
                combined[block] += rest * base[block]

        for _ in self.each_block(combine_block):
            pass
        return combined

    def require_finite(self) -> None:
        """Refuse NaN and infinite values, naming the clients that sent them."""
        _require_finite(self.updates, self.client_ids)

    def require_reference(self, rule: str) -> NDArray[np.float64]:
        """Return the reference, or refuse with code ``needs-reference``."""
        if self.reference is None:
            raise InvalidInput(
                f"{rule} compares the updates with the global weights that the clients started from.",
                code="needs-reference",
                hint="Pass them: rule(updates, num_examples, reference=global_weights).",
            )
        return self.reference

    def require_clients(self, least: int, rule: str, because: str) -> None:
        """Refuse a cohort of fewer than `least` clients with code ``too-few-clients``."""
        if len(self) < least:
            raise InvalidInput(
                f"{rule} needs at least {least} clients, {because}; got {len(self)}.",
                code="too-few-clients",
                hint="Let more clients take part, or choose another rule.",
                clients=len(self),
                needed=least,
            )


class Rule(ABC):
    """Base of all rules: a subclass is a dataclass that states its `name` and `needs` and writes `aggregate`.

    A rule that remembers something from round to round (budgets, reputations) also writes `state_dict` and
    `load_state_dict`; the state is a dictionary of JSON values and arrays.
    """

    name: ClassVar[str]
    """What it is registered under."""
    needs: ClassVar[Needs]
    summary: ClassVar[str] = ""
    """What it does, in one sentence; with the next two for the catalogue in documents and the panel."""
    defends: ClassVar[str] = ""
    """What it defends against."""
    limits: ClassVar[str] = ""
    """What it does not defend against, or costs."""
    judges_clients: ClassVar[bool] = False
    """Whether it forms an opinion of each client, which on means of groups is an opinion of a group."""

    @property
    def options(self) -> dict[str, Any]:
        """The rule's options as JSON values: ``aggregation(rule.name, **rule.options)`` makes the same rule, afresh."""
        if not dataclasses.is_dataclass(self):
            return {}
        return {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.init}

    @property
    def proximal(self) -> float:
        """μ of the term μ/2 ‖w − w_global‖² that clients add to their local loss; 0 leaves it away."""
        return 0.0

    @property
    def needs_trusted(self) -> bool:
        """Whether it compares with `Cohort.trusted`, which must be given then."""
        return False

    @property
    def needs_one_update(self) -> bool:
        """Whether one client's update must be seen by itself, so that means of groups will not do either."""
        return False

    @property
    def malicious(self) -> int:
        """How many malicious clients it is asked to stand: the option ``byzantine``, else one."""
        assumed = self.options.get("byzantine")
        return 1 if assumed is None else int(assumed)

    def least_models(self, malicious: int) -> int:
        """Return how many models it needs to stand so many malicious ones."""
        return 2 * malicious + 1

    def on_groups(self, groups: int) -> Rule:
        """Return the rule as it is applied to the means of so many groups; see `flaas_jupyter.protocols.groups`."""
        return self

    def __call__(
        self,
        updates: ArrayLike,
        num_examples: ArrayLike,
        *,
        client_ids: Sequence[str] | None = None,
        reference: ArrayLike | None = None,
        scalars: ArrayLike | None = None,
        trusted: ArrayLike | None = None,
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
        scalars : array_like, shape (n,), optional
            What each client reported beside its update, see `Needs.SCALARS`; by default computed from `updates`
            and `reference`.
        trusted : array_like, shape (p,), optional
            Weights trained from `reference` on clean data by somebody trusted.

        Raises
        ------
        InvalidInput
            ``no-updates``; ``wrong-shape``; ``bad-example-counts``; ``bad-client-ids``;
            ``non-finite-update``, whose message and ``clients`` detail name the clients that sent NaN or
            infinite values.
        """
        cohort = _check(updates, num_examples, client_ids, reference, scalars, trusted)
        if self.needs is not Needs.SUM:  # those that need the sum look at the sum, see `Cohort.mean`
            cohort.require_finite()
        return self.aggregate(cohort)

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
    updates: ArrayLike,
    num_examples: ArrayLike,
    client_ids: Sequence[str] | None,
    reference: ArrayLike | None,
    scalars: ArrayLike | None,
    trusted: ArrayLike | None,
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
    start = _finite_row(reference, "reference", parameters)
    clean = _finite_row(trusted, "trusted", parameters)
    reported = _finite_row(scalars, "scalars", clients)
    return Cohort(rows, examples, names, start, reported, clean)


def _finite_row(values: ArrayLike | None, name: str, length: int) -> NDArray[np.float64] | None:
    if values is None:
        return None
    row: NDArray[np.float64] = _array(values, name).astype(np.float64, copy=False)
    if row.shape != (length,):
        raise _wrong_shape(name, row, f"({length},)")
    if not np.isfinite(row).all():
        raise InvalidInput(f"The {name} hold NaN or infinite values.", code=f"non-finite-{name}")
    return row


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
    for fine in each_block(rows.shape, lambda block: np.isfinite(rows[:, block]).all(axis=1)):
        finite &= fine
    if not finite.all():
        culprits = [name for name, fine in zip(names, finite, strict=True) if not fine]
        raise InvalidInput(
            f"NaN or infinite values in the update of {', '.join(culprits)}.",
            code="non-finite-update",
            hint="Lower the learning rate or clip gradients (optimizer clipnorm=...), and check the data.",
            clients=culprits,
        )
