"""Who trains a vertical model together: parties that have different columns of the same people.

`VerticalFederation` is what `VerticalModel.fit` takes; `simulate_vertical` makes one whose parties' tables all lie
here. Their programs (`training.vertical`) are those that nodes run, over queues in place of the mesh.
"""

from __future__ import annotations

import asyncio
import functools
import queue
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .errors import Aborted, InvalidInput
from .training.vertical.alignment import Alignment, align, align_here
from .training.vertical.exchange import Message, connected
from .training.vertical.party import run_party
from .training.vertical.plan import VerticalPlan
from .training.vertical.predict import predict_party
from .training.vertical.state import PartyState, Round, Scores, Verdict
from .training.vertical.table import PartyTable

if TYPE_CHECKING:
    import pandas as pd

Purpose = Literal["predict", "evaluate"]
T = TypeVar("T")

_SHOWN = 5


@dataclass(frozen=True)
class VerticalRound:
    """One epoch.

    Parameters
    ----------
    number : int
        From 1.
    metrics : dict of str to float
        At the label holder.
    weights : dict of str to ndarray of shape (p,)
        Each party's part of the model after the epoch, where they can be seen; empty with real nodes.
    seconds : float
    """

    number: int
    metrics: dict[str, float]
    weights: dict[str, NDArray[Any]] = field(repr=False)
    seconds: float = 0.0


@dataclass(frozen=True)
class VerticalOutcome:
    """What a run has left.

    Parameters
    ----------
    reports : dict of str to dict
        Each party's, as of `PartyResult`.
    states : dict of str to PartyState
        Of a simulation. Real nodes keep theirs.
    run : str, optional
        Id of a run of real nodes, by which they know their states.
    """

    reports: dict[str, dict[str, Any]]
    states: dict[str, PartyState] = field(default_factory=dict)
    run: str | None = None


@dataclass(frozen=True)
class VerticalScores:
    """What the label holder gives away of a prediction.

    Parameters
    ----------
    ids : list
        Of the rows, as they stand in the label holder's table.
    values : ndarray of shape (c, …)
        The model's output.
    metrics : dict of str to float
        Loss and metrics, if there are labels.
    report : dict
        As of `Scores`.
    """

    ids: list[Any] = field(repr=False)
    values: NDArray[Any] = field(repr=False)
    metrics: dict[str, float]
    report: dict[str, Any]


@runtime_checkable
class VerticalTraining(Protocol):
    """A run under way."""

    def next(self, *, stop: bool = False, learning_rate: float | None = None) -> VerticalRound | None:
        """Return the next epoch, or None when the run has completed; the arguments are the verdict on the last.

        Raises
        ------
        FlaasError
            The run failed or was cancelled; the error says why.
        """

    @property
    def outcome(self) -> VerticalOutcome:
        """What the run has left, once `next` has returned None."""

    def cancel(self) -> None:
        """End the run now."""


@runtime_checkable
class VerticalFederation(Protocol):
    """Parties with different columns of the same people."""

    @property
    def parties(self) -> tuple[str, ...]:
        """All parties, the label holder first."""

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """Each party's columns, without ids and labels."""

    @property
    def label(self) -> str | None:
        """Name of the label's column; None if there are no labels, which will do for predictions."""

    @property
    def minimum_intersection(self) -> int:
        """Rows in common without which a run does not begin, unless it says otherwise."""

    @property
    def clients(self) -> pd.DataFrame:
        """One row per party: ``party``, ``role``, ``rows``, ``columns``, ``online``."""

    @property
    def schema(self) -> pd.DataFrame:
        """One row per column: ``party``, ``name``, ``dtype``, ``role`` (id, feature or label)."""

    @property
    def alignment(self) -> pd.DataFrame:
        """One row per party: ``ids``, ``common`` (rows that all parties have) and ``share``, by party."""

    def train_vertical(
        self,
        plan: VerticalPlan,
        weights: dict[str, NDArray[Any]],
        *,
        label_consent: bool,
        seeded: bool,
        name: str | None = None,
    ) -> VerticalTraining:
        """Start training `plan`, each party's part from its own of `weights`.

        `seeded` says whether the caller has given a seed: a simulation then draws the parties' own random numbers
        from it too, so that it gives the same again; nodes never do. `name` is shown in lists of runs.
        """

    def predict_vertical(
        self, plan: VerticalPlan, outcome: VerticalOutcome, *, minimum: int = 1, purpose: Purpose = "predict"
    ) -> VerticalScores:
        """Predict the rows that all parties of this federation have; to evaluate, only metrics need come back."""


def alignment_table(parties: Sequence[str], ids: Sequence[int], common: Any) -> pd.DataFrame:
    """Return one row per party: ``ids``, ``common`` (rows that all parties have, one for all or each) and ``share``."""
    import pandas as pd

    table = pd.DataFrame({"ids": ids, "common": common}, index=pd.Index(parties, name="party"))
    table["share"] = table["common"] / table["ids"].clip(lower=1)
    return table


def simulate_vertical(
    tables: Mapping[str, pd.DataFrame],
    *,
    id: str | Mapping[str, str],
    label: tuple[str, str | None],
    minimum_intersection: int = 1,
    private_set_intersection: bool = False,
) -> SimulatedVerticalFederation:
    """Make a federation of parties whose tables all lie here.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        Each party's table, by the party's name: numbers, and a column of ids.
    id : str, or mapping of str to str
        The column of ids, which rows are matched by; by party if they call it differently.
    label : (str, str)
        The party that has the labels, and their column. The column may be None in a federation that is only predicted.
    minimum_intersection : int
        Rows in common without which a run does not begin. (Connected nodes have 1,000.)
    private_set_intersection : bool
        Whether rows are matched by the protocol that real nodes run. By default ids are compared in the clear, which
        gives the same rows in the same order: hiding them from oneself takes half a minute for 100,000.

    Returns
    -------
    SimulatedVerticalFederation

    Raises
    ------
    InvalidInput
        ``bad-parties``: fewer than two; ``missing-id-column``; ``no-label``: on no party; ``overlapping-columns``: a
        column that two parties have; ``no-columns``; ``bad-setting``; those of `PartyTable`.

    Examples
    --------
    >>> import pandas as pd
    >>> bank = pd.DataFrame({"customer": [1, 2, 3], "income": [10.0, 20.0, 30.0], "default": [0, 1, 0]})
    >>> telco = pd.DataFrame({"customer": [3, 2, 9], "minutes": [5.0, 6.0, 7.0]})
    >>> federation = simulate_vertical({"bank": bank, "telco": telco}, id="customer", label=("bank", "default"))
    >>> federation.alignment["common"].tolist()
    [2, 2]
    """
    count = minimum_intersection
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InvalidInput(f"minimum_intersection must be a positive integer, not {count!r}.", code="bad-setting")
    if len(tables) < 2:
        raise InvalidInput(
            f"A vertical federation has two parties at least; there is {', '.join(map(repr, tables)) or 'none'}.",
            code="bad-parties",
            hint="With one party's columns a plain Keras model will do.",
        )
    holder, column = _label(tables, label)
    names = [holder, *(party for party in tables if party != holder)]
    id_columns = {party: id if isinstance(id, str) else id.get(party, "") for party in names}
    for party in names:
        if id_columns[party] not in tables[party].columns:
            raise InvalidInput(
                f"The table of {party!r} has no column {id_columns[party]!r}, by which rows are matched; it has "
                f"{_listed(tables[party].columns)}.",
                code="missing-id-column",
                hint='Columns of different names: id={"' + party + '": "<column>", ...}.',
            )
    _refuse_overlap(tables, id_columns)
    made = {}
    for party in names:
        frame = tables[party]
        others = {id_columns[party], column} if party == holder else {id_columns[party]}
        features = [name for name in frame.columns if name not in others]
        if not features and party != holder:
            raise InvalidInput(
                f"Party {party!r} has no columns besides the id {id_columns[party]!r}.", code="no-columns"
            )
        made[party] = _table(frame, id_columns[party], features, column if party == holder else None, party)
    return SimulatedVerticalFederation(
        made, id_columns, column, minimum_intersection=count, private=private_set_intersection
    )


class SimulatedVerticalFederation:
    """Parties whose tables all lie here; `simulate_vertical` makes one.

    Attributes
    ----------
    tables : dict of str to PartyTable
        The label holder's first.
    messages : list of Message
        All that went between parties in the last run or prediction.
    """

    def __init__(
        self,
        tables: dict[str, PartyTable],
        id_columns: dict[str, str],
        label: str | None,
        *,
        minimum_intersection: int,
        private: bool,
    ) -> None:
        self.tables = tables
        self.messages: list[Message] = []
        self._id_columns, self._label, self._private = id_columns, label, private
        self._minimum = minimum_intersection
        self._aligned: dict[int, dict[str, Alignment]] = {}

    def __repr__(self) -> str:
        sizes = ", ".join(f"{party} ({table.rows:,} rows)" for party, table in self.tables.items())
        return f"<Simulated vertical federation of {sizes}; {self._common} in common>"

    @property
    def parties(self) -> tuple[str, ...]:
        """All parties, the label holder first."""
        return tuple(self.tables)

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """Each party's columns, without ids and labels."""
        return {party: tuple(table.columns) for party, table in self.tables.items()}

    @property
    def label(self) -> str | None:
        """Name of the label's column."""
        return self._label

    @property
    def minimum_intersection(self) -> int:
        """Rows in common without which a run does not begin."""
        return self._minimum

    @functools.cached_property
    def _common(self) -> int:
        return len(set.intersection(*(set(table.keys) for table in self.tables.values())))

    @property
    def clients(self) -> pd.DataFrame:
        """One row per party: ``party``, ``role``, ``rows``, ``columns``, ``online``."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "party": party,
                    "role": "feature party" if at else "label holder",
                    "rows": table.rows,
                    "columns": len(table.columns),
                    "online": True,
                }
                for at, (party, table) in enumerate(self.tables.items())
            ]
        )

    @property
    def schema(self) -> pd.DataFrame:
        """One row per column: ``party``, ``name``, ``dtype``, ``role`` (id, feature or label)."""
        import pandas as pd

        rows: list[tuple[str, str | None, str, str]] = []
        for party, table in self.tables.items():
            rows.append((party, self._id_columns[party], str(np.asarray(table.ids).dtype), "id"))
            rows += [(party, name, str(values.dtype), "feature") for name, values in table.columns.items()]
            if table.label is not None:
                rows.append((party, self._label, str(table.label.dtype), "label"))
        return pd.DataFrame(rows, columns=["party", "name", "dtype", "role"])

    @property
    def alignment(self) -> pd.DataFrame:
        """One row per party: ``ids``, ``common`` (rows that all parties have) and ``share``."""
        return alignment_table(self.parties, [table.rows for table in self.tables.values()], self._common)

    # ---- running ----------------------------------------------------------------------------------------------------

    def train_vertical(
        self,
        plan: VerticalPlan,
        weights: dict[str, NDArray[Any]],
        *,
        label_consent: bool = False,
        seeded: bool = False,
        name: str | None = None,
    ) -> SimulatedVerticalTraining:
        """Start training `plan`, each party's part from its own of `weights`; see `VerticalFederation`."""
        return SimulatedVerticalTraining(self, plan, weights, label_consent=label_consent, seeded=seeded)

    def predict_vertical(
        self, plan: VerticalPlan, outcome: VerticalOutcome, *, minimum: int = 1, purpose: Purpose = "predict"
    ) -> VerticalScores:
        """Predict the rows that all parties of this federation have.

        Raises
        ------
        InvalidInput
            ``other-parties``; ``unknown-columns``; ``no-state``: the model was trained by real nodes, which keep its
            parts; and others of `predict_party`.
        """
        if not outcome.states:
            raise InvalidInput(
                "The parts of this model are at the nodes that have trained it.",
                code="no-state",
                hint="Predict with the connected federation.",
            )
        if set(plan.parties) != set(self.parties) or plan.label_holder != self.parties[0]:
            raise InvalidInput(
                f"The model is one of {', '.join(plan.parties)}; this federation is one of {', '.join(self.parties)}.",
                code="other-parties",
                hint="Federations to predict have the same parties, and the same label holder.",
            )
        return _in_thread(lambda: self._predict(plan, outcome, minimum))

    async def _predict(self, plan: VerticalPlan, outcome: VerticalOutcome, minimum: int) -> VerticalScores:
        lines = connected(plan.parties)
        aligned = await self.aligned(plan, minimum)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {
                    party: group.create_task(
                        predict_party(
                            line,
                            plan,
                            outcome.states[party],
                            self.tables[party],
                            minimum=minimum,
                            alignment=aligned.get(party),
                            private_seed=private_seed(plan, party),
                        )
                    )
                    for party, line in lines.items()
                }
        except ExceptionGroup as group_error:
            raise _first(group_error) from None
        self.messages = next(iter(lines.values())).log
        scores = tasks[plan.label_holder].result()
        assert isinstance(scores, Scores)
        ids = np.asarray(self.tables[plan.label_holder].ids)[scores.rows].tolist()
        return VerticalScores(ids, scores.values, scores.metrics, scores.report)

    async def aligned(self, plan: VerticalPlan, minimum: int) -> dict[str, Alignment]:
        """Return the parties' alignments, made before; empty if they are to run the protocol."""
        if self._private:
            return {}
        if plan.seed not in self._aligned:
            self._aligned[plan.seed] = align_here(self.tables, plan.seed)
        if self._common < minimum:
            from .training.vertical.sizes import too_few

            raise too_few(minimum)
        return self._aligned[plan.seed]

    def align(self, seed: int = 0) -> dict[str, Alignment]:
        """Run the private set intersection of real nodes here, and return each party's part."""

        async def run() -> dict[str, Alignment]:
            lines = connected(self.parties)
            parts = await asyncio.gather(*(align(line, self.tables[party], seed=seed) for party, line in lines.items()))
            self.messages = next(iter(lines.values())).log
            return dict(zip(lines, parts, strict=True))

        return _in_thread(run)


class SimulatedVerticalTraining:
    """A run of which all parties are in this process, in a thread of their own.

    The thread and the caller take turns: it waits while the caller looks at a round.
    """

    def __init__(
        self,
        federation: SimulatedVerticalFederation,
        plan: VerticalPlan,
        weights: dict[str, NDArray[Any]],
        *,
        label_consent: bool,
        seeded: bool,
    ) -> None:
        self._federation, self._plan, self._start = federation, plan, weights
        self._consent, self._seeded = label_consent, seeded
        self._done: queue.SimpleQueue[VerticalRound | BaseException | None] = queue.SimpleQueue()
        self._verdicts: queue.SimpleQueue[Verdict | None] = queue.SimpleQueue()
        self._latest: dict[str, NDArray[Any]] = {}
        self._outcome: VerticalOutcome | None = None
        self._cancelled = threading.Event()
        self._waiting = False
        self._thread: threading.Thread | None = None

    @property
    def outcome(self) -> VerticalOutcome:
        """What the run has left, once `next` has returned None."""
        assert self._outcome is not None, "the run has not completed"
        return self._outcome

    def next(self, *, stop: bool = False, learning_rate: float | None = None) -> VerticalRound | None:
        """Return the next epoch, or None when the run has completed."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="vertical", daemon=True)
            self._thread.start()
        elif self._waiting:
            self._verdicts.put(Verdict(stop, learning_rate))
        item = self._done.get()
        self._waiting = isinstance(item, VerticalRound)
        if isinstance(item, BaseException):
            raise item
        return item

    def cancel(self) -> None:
        """End the run now."""
        self._cancelled.set()
        self._verdicts.put(None)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._parties())
        except BaseException as error:  # handed to whoever waits for the next round
            self._done.put(error)
        else:
            self._done.put(None)

    async def _parties(self) -> None:
        plan, federation = self._plan, self._federation
        lines = connected(plan.parties)
        federation.messages = next(iter(lines.values())).log
        aligned = await federation.aligned(plan, plan.minimum_intersection)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(
                        run_party(
                            line,
                            plan,
                            federation.tables[party],
                            self._start.get(party),
                            on_round=self._lead if party == plan.label_holder else functools.partial(self._keep, party),
                            should_stop=self._cancelled.is_set,
                            label_consent=self._consent,
                            alignment=aligned.get(party),
                            private_seed=private_seed(plan, party) if self._seeded else None,
                        )
                    )
                    for party, line in lines.items()
                ]
        except ExceptionGroup as group_error:
            raise _first(group_error) from None
        results = {result.party: result for result in (task.result() for task in tasks)}
        self._outcome = VerticalOutcome(
            {party: result.report for party, result in results.items()},
            {party: result.state for party, result in results.items()},
        )

    async def _keep(self, party: str, done: Round) -> None:
        self._latest[party] = done.weights

    async def _lead(self, done: Round) -> Verdict:
        # The others have finished their part of the epoch and wait: whoever follows the run has the time it needs.
        self._latest[self._plan.label_holder] = done.weights
        self._done.put(VerticalRound(done.number, done.metrics, dict(self._latest), done.seconds))
        verdict = self._verdicts.get()
        if verdict is None:
            raise Aborted("The vertical run was cancelled.", code="training-stopped")
        return replace(verdict)


def private_seed(plan: VerticalPlan, party: str) -> int:
    """Return the seed of what a party of a simulation draws for itself."""
    words = np.random.SeedSequence([plan.seed, 1, plan.parties.index(party)]).generate_state(2, np.uint32)
    return int(words[0]) << 32 | int(words[1])


def _in_thread(coroutine: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end in a thread of its own: a notebook's main thread has a running event loop."""
    found: list[T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            found.append(asyncio.run(coroutine()))
        except BaseException as error:  # raised where the caller is
            failed.append(error)

    thread = threading.Thread(target=work, name="vertical", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first real error of a group; the others are what came of it."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _label(tables: Mapping[str, Any], label: Any) -> tuple[str, str | None]:
    if not isinstance(label, tuple | list) or len(label) != 2:
        raise InvalidInput(f'label must be (party, column), e.g. ("bank", "default"), not {label!r}.', code="no-label")
    party, column = label
    if party not in tables:
        raise InvalidInput(f"The label is said to be at {party!r}; the parties are {_listed(tables)}.", code="no-label")
    if column is not None and column not in tables[party].columns:
        elsewhere = [name for name, frame in tables.items() if column in frame.columns]
        where = f"; {elsewhere[0]!r} has it" if elsewhere else ", nor has any other party"
        raise InvalidInput(
            f"Party {party!r} has no column {column!r}{where}.",
            code="no-label",
            hint='label=("<party>", "<column>"); ("<party>", None) in a federation that is only predicted.',
        )
    return str(party), column


def _refuse_overlap(tables: Mapping[str, Any], id_columns: Mapping[str, str]) -> None:
    owners: dict[str, list[str]] = {}
    for party, frame in tables.items():
        twice = frame.columns[frame.columns.duplicated()].tolist()
        if twice:
            raise InvalidInput(
                f"The table of {party!r} has column {twice[0]!r} more than once.", code="overlapping-columns"
            )
        for name in frame.columns:
            if name != id_columns[party]:
                owners.setdefault(str(name), []).append(party)
    shared = {name: parties for name, parties in owners.items() if len(parties) > 1}
    if shared:
        name, parties = next(iter(shared.items()))
        raise InvalidInput(
            f"Column {name!r} is at {' and '.join(map(repr, parties))}"
            + (f", and {len(shared) - 1} more are at several parties" if len(shared) > 1 else "")
            + "; in a vertical federation each column is at one.",
            code="overlapping-columns",
            hint="Leave it out at all but one, or rename it if it means something else.",
            columns=sorted(shared)[:20],
        )


def _table(frame: Any, id_column: str, features: list[Any], label: str | None, party: str) -> PartyTable:
    try:
        return PartyTable(
            frame[id_column].to_numpy(),
            {str(name): frame[name].to_numpy() for name in features},
            None if label is None else frame[label].to_numpy(),
        )
    except InvalidInput as error:
        error.message = f"Party {party!r}: {error.message}"
        raise


def _listed(names: Any) -> str:
    shown = [repr(name) for name in list(names)[:_SHOWN]]
    return ", ".join(shown) + (", …" if len(list(names)) > _SHOWN else "")
