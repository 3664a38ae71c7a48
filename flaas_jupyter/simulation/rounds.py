"""A simulated run, round by round: draw clients, train them, let attackers interfere, aggregate, report.

Everything random is drawn by the seed and the number of the round, so that a round does not depend on how the rounds
before it were computed, and a run that was interrupted goes on bit for bit.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Aborted, FlaasError, InvalidInput
from ..federation import RoundResult, RunOptions
from ..protocols.aggregation import Aggregated, Ballot, Cohort, Needs, Rule, ScalarRule
from ..protocols.attacks import AttackView
from . import behaviour, secure
from .journal import Journal, SavedState
from .work import Executor, RoundOutput, RoundWork, Task

if TYPE_CHECKING:
    from ..plan import TrainingPlan
    from ..protocols.privacy import PrivacyPlan
    from .simulated import SimulatedFederation

_ATTACK, _PRIVACY, _SECURE = 2, 3, 4
# After a round in which values were clipped, the next one allows this many times the range, as on real nodes.
_CLIP_GROWTH = 4.0
_ATTEMPTS = 100
# Under privacy single updates are clipped and added up this many values at a time, about 256 MiB.
_CHUNK_VALUES = 1 << 26


@dataclass
class _Round:
    """What is known of the round under way."""

    number: int
    asked: NDArray[np.int64]
    tasks: list[Task]
    dropped: list[dict[str, str]]
    began: float = field(default_factory=time.perf_counter)
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat())
    seconds: dict[str, float] = field(default_factory=dict)
    clipped: int = 0
    error_bound: float | None = None

    @property
    def clients(self) -> NDArray[np.int64]:
        return np.array([task.client for task in self.tasks], np.int64)


class SimulatedTraining:
    """A run on a `SimulatedFederation`; see `flaas_jupyter.federation.Training`.

    Parameters
    ----------
    federation : SimulatedFederation
    plan : TrainingPlan
    executor : Executor
    rule : Rule
        The aggregation rule, as it is before the first round.
    privacy : PrivacyPlan or None
    options : RunOptions
    seed : int
        Of everything random in the run.
    state : SavedState
        Where to begin.
    journal : Journal or None
    reports : list of dict
        Of the rounds done before.
    """

    def __init__(
        self,
        federation: SimulatedFederation,
        plan: TrainingPlan,
        executor: Executor,
        rule: Rule,
        privacy: PrivacyPlan | None,
        options: RunOptions,
        *,
        seed: int,
        state: SavedState,
        journal: Journal | None,
        reports: list[dict[str, Any]],
    ) -> None:
        self._federation, self._plan, self._executor = federation, plan, executor
        self._rule, self._privacy, self._options = rule, privacy, options
        self._seed, self._journal = seed, journal
        self._weights, self._previous, self._number = state.weights, state.previous, state.round
        self._learning_rate: float | None = state.run.get("learning_rate")
        self._clip = float(state.run.get("clip", options.clip))
        self._replayed = [RoundResult(int(report["number"]), self._weights, report) for report in reports]
        self._unrecorded: dict[str, Any] | None = None
        self._ended = False

    @property
    def id(self) -> str:
        """The simulation's id; ``"simulation"`` where no journal is kept."""
        return self._journal.id if self._journal is not None else "simulation"

    @property
    def rounds(self) -> int:
        """Rounds that were asked for."""
        return self._options.rounds

    def next(self, *, stop: bool = False, learning_rate: float | None = None) -> RoundResult | None:
        """Return the next round's result, or None when the run has ended.

        Raises
        ------
        FlaasError
            ``too-few-clients``: no draw of clients gave enough that answer; what the aggregation rule refuses; what
            the executor refuses.
        Aborted
            ``run-cancelled``: somebody asked for it in the panel.
        """
        if self._replayed:
            return self._replayed.pop(0)
        self._record()
        if learning_rate is not None:
            self._learning_rate = learning_rate
        if stop or self._ended or self._number >= self._options.rounds:
            self._end("completed")
            return None
        try:
            self._require_wanted()
            report = self._one_round()
        except KeyboardInterrupt:
            self._end("interrupted")
            raise
        except FlaasError as error:
            self._end("cancelled" if error.code == "run-cancelled" else "failed", error)
            raise
        self._unrecorded = report
        return RoundResult(self._number, self._weights, report)

    def evaluated(self, number: int, metrics: Mapping[str, float]) -> None:
        """Add what the notebook has measured on a round's weights to the journal."""
        if self._unrecorded is not None and self._unrecorded["number"] == number:
            measured = {name: float(value) for name, value in metrics.items()}
            self._unrecorded = {**self._unrecorded, "metrics": {**self._unrecorded["metrics"], **measured}}

    def cancel(self) -> None:
        """End the run now; it can be taken up again from its last round."""
        self._record()
        self._end("interrupted")

    # ---- one round ---------------------------------------------------------------------------------------------

    def _one_round(self) -> dict[str, Any]:
        current = self._draw(self._number + 1)
        result, output, current = self._outcome(current)
        if not np.isfinite(result.weights).all():
            raise InvalidInput(
                f"The weights after round {current.number} hold NaN or infinite values.",
                code="non-finite-update",
                hint="Lower the learning rate or clip gradients (optimizer clipnorm=...).",
            )
        self._previous, self._weights = self._weights, result.weights.astype(self._plan.dtype)
        self._number = current.number
        return self._report(current, result, output)

    def _draw(self, number: int) -> _Round:
        """Draw who is asked, until enough of them answer."""
        federation, options = self._federation, self._options
        for attempt in range(_ATTEMPTS):
            ready = behaviour.available(federation.behaviour, federation.size, self._seed, number, attempt)
            asked = self._sample(ready, number, attempt)
            fate = behaviour.fate(federation.behaviour, asked, self._plan.local_epochs, self._seed, number)
            tasks = [
                Task(int(client), int(epochs), self._learning_rate)
                for client, epochs, lost in zip(asked, fate.epochs, fate.lost, strict=True)
                if not lost
            ]
            if len(tasks) >= max(1, options.minimum_nodes or 1):
                lost = [_dropped(client, "update", "The client was lost.") for client in asked[fate.lost]]
                return _Round(number, asked, tasks, lost)
        needed = max(1, options.minimum_nodes or 1)
        raise InvalidInput(
            f"Round {number} needs {needed} clients that answer, and {_ATTEMPTS} draws gave fewer.",
            code="too-few-clients",
            hint="Raise clients_per_round or availability, or lower dropout or minimum_nodes.",
        )

    def _sample(self, ready: NDArray[np.int64], number: int, attempt: int) -> NDArray[np.int64]:
        wanted = self._options.clients_per_round
        if self._privacy is not None and self._privacy.sampling_rate < 1:
            from ..protocols.privacy import sample_poisson

            rng = np.random.default_rng([self._seed, _PRIVACY, number, attempt])
            drawn = sample_poisson(self._federation.size, self._privacy.sampling_rate, rng)
            return np.intersect1d(drawn, ready)
        trusted = self._federation.number_of(self._rule.options.get("trusted"))
        asked = behaviour.sample(ready, wanted, self._seed, number)
        return asked if trusted is None else np.union1d(asked, [trusted])

    def _outcome(self, current: _Round) -> tuple[Aggregated, RoundOutput, _Round]:
        if self._options.secure_aggregation:
            return self._secure(current)
        if self._options.privacy is not None:
            return self._private(current)
        malicious = self._federation.malicious[current.clients]
        attack = self._federation.attack
        interferes = (
            attack is not None
            and bool(malicious.any())
            and (attack.crafts_updates or self._free_coordinates() is not None)
        )
        if self._rule.needs is Needs.SUM and not interferes:
            return self._summed(current)
        return self._single(current)

    def _summed(self, current: _Round) -> tuple[Aggregated, RoundOutput, _Round]:
        """A rule that needs the sum only: no client's update is ever held."""
        examples = self._examples(current.clients)
        total = examples.sum()
        tasks = [
            Task(t.client, t.epochs, t.learning_rate, float(n / total))
            for t, n in zip(current.tasks, examples, strict=True)
        ]
        output = self._train(current, tasks)
        current, fine = self._without_failed(current, output.failed)
        began = time.perf_counter()
        shares = examples[fine] / total
        change = output.total()
        if output.failed:
            change /= shares.sum()
        result = self._rule_on_mean(self._weights + change, examples[fine].sum())
        current.seconds["aggregate"] = time.perf_counter() - began
        return Aggregated(result.weights, shares / shares.sum()), _kept(output, fine), current

    def _rule_on_mean(self, mean: NDArray[Any], examples: float) -> Aggregated:
        cohort = Cohort(mean[None], np.array([examples]), ("sum",), self._weights.astype(np.float64))
        return self._rule.aggregate(cohort)

    def _single(self, current: _Round) -> tuple[Aggregated, RoundOutput, _Round]:
        """Every client's weights, and what attackers make of theirs."""
        output = self._train(current, current.tasks, each=True)
        current, fine = self._without_failed(current, output.failed)
        output = _kept(output, fine)
        updates, scalars = self._attacked(
            current, output.values[fine] if len(fine) < len(output.values) else output.values
        )
        result = self._aggregate(current, updates, scalars)
        return result, output, current

    def _aggregate(self, current: _Round, updates: NDArray[Any], scalars: NDArray[Any] | None) -> Aggregated:
        began = time.perf_counter()
        names = self._federation.ids(current.clients)
        examples = self._examples(current.clients)
        trusted = self._trusted(current)
        # A rule that refuses, or is interrupted, must not have changed its budgets.
        before = copy.deepcopy(self._rule.state_dict())
        try:
            if self._rule.needs is Needs.SUM:
                shares = examples / examples.sum()
                mean = self._weights + shares @ (updates - self._weights)
                result = Aggregated(self._rule_on_mean(mean, examples.sum()).weights, shares)
            else:
                result = self._rule(
                    updates, examples, client_ids=names, reference=self._weights, scalars=scalars, trusted=trusted
                )
        except BaseException:
            self._rule.load_state_dict(before)
            raise
        current.seconds["aggregate"] = time.perf_counter() - began
        return result

    def _trusted(self, current: _Round) -> NDArray[Any] | None:
        """Weights trained on the federation's root data, for a rule that compares with them."""
        if self._federation.root is None or not getattr(self._rule, "needs_trusted", False):
            return None
        task = Task(self._federation.root, self._plan.local_epochs, self._learning_rate)
        trusted: NDArray[Any] = self._train(current, [task], each=True).values[0]
        return trusted

    # ---- attackers ---------------------------------------------------------------------------------------------

    def _free_coordinates(self) -> NDArray[np.bool_] | None:
        attack = self._federation.attack
        return None if attack is None else attack.mask(self._weights, self._previous)

    def _attacked(self, current: _Round, updates: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
        attack, malicious = self._federation.attack, self._federation.malicious[current.clients]
        if attack is None or not malicious.any():
            return updates, None
        view = AttackView(
            reference=self._weights,
            own=updates[malicious],
            benign=updates[~malicious],
            previous=self._previous,
            round=current.number,
            rounds=self._options.rounds,
            num_examples=self._examples(current.clients)[malicious],
            rng=np.random.default_rng([self._seed, _ATTACK, current.number]),
        )
        crafted = attack.craft(view)
        if attack.crafts_updates:
            updates = updates.copy()
            updates[malicious] = crafted
        forged = attack.report(view, crafted) if isinstance(self._rule, ScalarRule) else None
        if forged is None or not isinstance(self._rule, ScalarRule):
            return updates, None
        scalars = np.array([self._rule.scalar(update, self._weights) for update in updates])
        scalars[malicious] = forged
        return updates, scalars

    # ---- secure aggregation ------------------------------------------------------------------------------------

    def _secure(self, current: _Round) -> tuple[Aggregated, RoundOutput, _Round]:
        """The opened sum of updates in fixed point, weighted by examples or by votes (see `secure`)."""
        settings = secure.settings_of(self._federation.ids(current.asked), current.number, self._clip)
        output = self._train(current, current.tasks, each=True)
        current, fine = self._without_failed(current, output.failed)
        updates, scalars = self._attacked(current, output.values[fine])
        began = time.perf_counter()
        rng = np.random.default_rng([self._seed, _SECURE, current.number])
        names, examples = self._federation.ids(current.clients), self._examples(current.clients)
        deltas = self._noised(updates - self._weights, rng)
        shares: list[float] | None = None
        ballot: Ballot | None = None
        if isinstance(self._rule, ScalarRule):
            if scalars is None:
                scalars = np.array([self._rule.scalar(update, self._weights) for update in updates])
            ballot = self._rule.ballot(scalars, examples, tuple(names))
            shares = secure.hiding_votes(ballot.votes, names, settings)
            if shares is None:
                if not ballot.votes.any():
                    self._rule.settle(ballot, names)
                kept = Aggregated(self._weights.astype(np.float64), np.zeros(len(names)), ballot.columns)
                return kept, _kept(output, fine), current
        elif self._privacy is not None and self._central_privacy:
            shares = [1.0] * len(names)
        most = int(self._federation.sizes.max())
        opened = secure.opened_sum(deltas, examples.astype(np.int64), most, settings, rng, shares)
        current.clipped, current.error_bound = opened.clipped, opened.error_bound
        if opened.clipped:
            self._clip *= _CLIP_GROWTH
        mean = opened.mean
        if self._privacy is not None and self._central_privacy:
            mean = (
                mean * len(names) + rng.normal(0.0, self._privacy.sigma, len(mean))
            ) / self._privacy.expected_clients
        if isinstance(self._rule, ScalarRule):
            assert ballot is not None
            assert shares is not None
            self._rule.settle(ballot, names)
            result = Aggregated(self._weights + mean, np.array(shares) / sum(shares), ballot.columns)
        else:
            weights = np.array(shares) if shares is not None else examples
            made = self._rule_on_mean(self._weights + mean, examples.sum())
            result = Aggregated(made.weights, weights / weights.sum())
        current.seconds["aggregate"] = time.perf_counter() - began
        return result, _kept(output, fine), current

    @property
    def _central_privacy(self) -> bool:
        return self._options.privacy is not None and self._options.privacy.mode == "central"

    def _noised(self, deltas: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Clip private updates and, in local mode, add each client's noise."""
        if self._privacy is None or self._options.privacy is None:
            return deltas
        from ..protocols.privacy import clip_update

        clipped = np.stack([clip_update(delta.astype(np.float64), self._options.privacy.clip)[0] for delta in deltas])
        if self._central_privacy:
            return clipped
        return clipped + rng.normal(0.0, self._privacy.sigma, clipped.shape)

    # ---- privacy -----------------------------------------------------------------------------------------------

    def _private(self, current: _Round) -> tuple[Aggregated, RoundOutput, _Round]:
        """Clipped updates and noise: on their sum, or on each (docs/privacy.md)."""
        from ..protocols.privacy import clip_update

        assert self._privacy is not None
        assert self._options.privacy is not None
        clip, central = self._options.privacy.clip, self._options.privacy.mode == "central"
        rng = np.random.default_rng([self._seed, _PRIVACY, current.number])
        if not central:
            output = self._train(current, current.tasks, each=True)
            current, fine = self._without_failed(current, output.failed)
            updates, scalars = self._attacked(current, output.values[fine])
            noisy = np.empty_like(updates)
            for place, update in enumerate(updates):
                clipped, _ = clip_update(update - self._weights, clip)
                noisy[place] = self._weights + clipped + rng.normal(0.0, self._privacy.sigma, len(clipped))
            return self._aggregate(current, noisy, scalars), _kept(output, fine), current
        return self._central(current, clip, rng)

    def _central(
        self, current: _Round, clip: float, rng: np.random.Generator
    ) -> tuple[Aggregated, RoundOutput, _Round]:
        from ..protocols.privacy import clip_update

        assert self._privacy is not None
        total = np.zeros(len(self._weights), np.float64)
        outputs, failed = [], []
        together = len(current.tasks) if self._needs_all() else max(1, _CHUNK_VALUES // len(self._weights))
        for start in range(0, len(current.tasks), together):
            tasks = current.tasks[start : start + together]
            output = self._train(current, tasks, each=True)
            part = _Round(current.number, current.asked, tasks, [])
            updates, _ = self._attacked(part, output.values)
            for place, update in enumerate(updates):
                if place not in output.failed:
                    total += clip_update(update - self._weights, clip)[0]
            failed += [start + place for place in output.failed]
            outputs.append(output)
        output = _joined(outputs)
        current, fine = self._without_failed(current, tuple(failed))
        began = time.perf_counter()
        # A fixed divisor: the number that took part would itself tell who did.
        expected = self._privacy.expected_clients
        mean = self._weights + (total + rng.normal(0.0, self._privacy.sigma, len(total))) / expected
        result = self._rule_on_mean(mean, float(len(fine)))
        current.seconds["aggregate"] = time.perf_counter() - began
        shares = np.full(len(fine), 1 / len(fine))
        return Aggregated(result.weights, shares), _kept(output, fine), current

    def _needs_all(self) -> bool:
        attack = self._federation.attack
        return attack is not None and attack.crafts_updates

    # ---- training ----------------------------------------------------------------------------------------------

    def _train(self, current: _Round, tasks: list[Task], *, each: bool = False) -> RoundOutput:
        began = time.perf_counter()
        free = self._free_coordinates() if each else None
        held = [place for place, task in enumerate(tasks) if free is not None and self._is_malicious(task.client)]
        if not held:
            output = self._executor.run(self._work(current, tasks, each))
        else:
            output = self._train_held(current, tasks, held, free)
        current.seconds["train"] = current.seconds.get("train", 0.0) + time.perf_counter() - began
        return output

    def _train_held(
        self, current: _Round, tasks: list[Task], held: list[int], free: NDArray[np.bool_] | None
    ) -> RoundOutput:
        """Some clients may change some coordinates only: they are trained apart."""
        others = [place for place in range(len(tasks)) if place not in held]
        parts = [
            (places, self._executor.run(self._work(current, [tasks[p] for p in places], True, mask)))
            for places, mask in ((others, None), (held, free))
            if places
        ]
        values = np.empty((len(tasks), len(self._weights)), self._weights.dtype)
        metrics = {name: np.full(len(tasks), np.nan) for _, output in parts for name in output.metrics}
        failed: list[int] = []
        for places, output in parts:
            values[places] = output.values
            failed += [places[place] for place in output.failed]
            for name, numbers in output.metrics.items():
                metrics[name][places] = numbers
        return RoundOutput(values, metrics, tuple(sorted(failed)))

    def _work(self, current: _Round, tasks: list[Task], each: bool, free: NDArray[np.bool_] | None = None) -> RoundWork:
        return RoundWork(
            current.number, self._weights, tasks, self._seed, each=each, proximal=self._rule.proximal, free=free
        )

    def _is_malicious(self, client: int) -> bool:
        return client < self._federation.size and bool(self._federation.malicious[client])

    def _without_failed(self, current: _Round, failed: tuple[int, ...]) -> tuple[_Round, NDArray[np.int64]]:
        """Leave clients out whose weights became NaN or infinite; refuse the round when nobody else is there."""
        fine = np.array([place for place in range(len(current.tasks)) if place not in failed], np.int64)
        if not failed:
            return current, fine
        names = ", ".join(self._federation.ids(current.clients[list(failed)]))
        if not len(fine):
            raise InvalidInput(
                f"NaN or infinite values in the update of {names} in round {current.number}; no other client is left.",
                code="non-finite-update",
                hint="Lower the learning rate, clip gradients (optimizer clipnorm=1.0), or scale the inputs.",
            )
        reason = "Its weights became NaN or infinite."
        dropped = [*current.dropped, *(_dropped(current.tasks[place].client, "update", reason) for place in failed)]
        left = _Round(current.number, current.asked, [current.tasks[place] for place in fine], dropped)
        left.began, left.started, left.seconds = current.began, current.started, current.seconds
        return left, fine

    def _examples(self, clients: NDArray[np.int64]) -> NDArray[np.float64]:
        return self._federation.sizes[clients].astype(np.float64)

    # ---- telling -----------------------------------------------------------------------------------------------

    def _report(self, current: _Round, result: Aggregated, output: RoundOutput) -> dict[str, Any]:
        examples = self._examples(current.clients)
        share = examples / examples.sum()
        current.seconds["total"] = time.perf_counter() - current.began
        ids = self._federation.ids(current.clients)
        columns = {name: np.asarray(values).tolist() for name, values in result.columns.items()}
        clients = []
        for place, (node, count, weight) in enumerate(
            zip(ids, examples.astype(int).tolist(), result.contributions.tolist(), strict=True)
        ):
            entry = {"node": node, "examples": count, "weight": weight}
            if columns:
                entry["columns"] = {name: values[place] for name, values in columns.items()}
            clients.append(entry)
        model = len(self._weights) * self._weights.itemsize
        return {
            "number": current.number,
            "started": current.started,
            "seconds": {name: round(value, 6) for name, value in current.seconds.items()},
            # What the same round would move between real nodes.
            "bytes": {"up": model * len(current.tasks), "down": model * len(current.asked)},
            "metrics": {name: float(values @ share) for name, values in output.metrics.items()},
            "clients": clients,
            "dropped": current.dropped,
            "clipped": current.clipped,
            "error_bound": current.error_bound,
            "epsilon": None if self._privacy is None else self._privacy.epsilon_after(current.number),
        }

    def _record(self) -> None:
        """Put the last round into the journal, with what was measured on it."""
        if self._unrecorded is None or self._journal is None:
            return
        self._journal.append(self._unrecorded)
        self._unrecorded = None
        if self._journal.checkpoint_due:
            self._journal.save(self._state())

    def _state(self) -> SavedState:
        run = {"seed": self._seed, "learning_rate": self._learning_rate, "clip": self._clip}
        return SavedState(self._number, self._weights, self._previous, self._rule.state_dict(), run)

    def _require_wanted(self) -> None:
        if self._journal is not None and self._journal.stop_asked:
            raise Aborted(
                f"Simulation {self.id} was stopped after round {self._number}.",
                code="run-cancelled",
                hint=f'The model keeps the weights of that round; fit(federation, resume="{self.id}") goes on.',
            )

    def _end(self, state: str, error: FlaasError | None = None) -> None:
        if self._ended:
            return
        self._ended = True
        if self._journal is not None:
            self._journal.save(self._state())
            self._journal.write_header(state=state, error=None if error is None else error.to_dict())


def _dropped(client: int, phase: str, reason: str) -> dict[str, str]:
    return {"node": str(client), "phase": phase, "reason": reason}


def _kept(output: RoundOutput, fine: NDArray[np.int64]) -> RoundOutput:
    """The metrics of those that are left."""
    if len(fine) == len(next(iter(output.metrics.values()), fine)):
        return output
    return RoundOutput(output.values, {name: values[fine] for name, values in output.metrics.items()})


def _joined(outputs: list[RoundOutput]) -> RoundOutput:
    names = outputs[0].metrics
    return RoundOutput(
        outputs[0].values[:0], {name: np.concatenate([output.metrics[name] for output in outputs]) for name in names}
    )
