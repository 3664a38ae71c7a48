"""A simulated run, round by round: draw clients, train them, let attackers interfere, aggregate, report.

Everything random is drawn by the seed and the number of the round, so that a round does not depend on how the rounds
before it were computed, and a run that was interrupted goes on bit for bit.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import Aborted, FlaasError, InvalidInput
from ..federation import RoundResult, RunOptions
from ..protocols import noise_shares
from ..protocols.aggregation import Aggregated, Ballot, Cohort, Needs, Rule, ScalarRule
from ..protocols.attacks import AttackView
from ..protocols.combination import in_groups, least_groups, make_compressor
from ..protocols.compression import Compressed
from ..protocols.group_rule import combine_groups
from ..protocols.groups import MINIMUM_GROUP, Assignment
from ..protocols.secure_aggregation import (
    MINIMUM_MEMBERS,
    RoundSettings,
    SumRange,
    default_threshold,
    rounding_norm,
)
from . import behaviour, secure
from .ahead import AheadExecutor
from .journal import Journal, SavedState
from .work import Executor, RoundOutput, RoundWork, Task

if TYPE_CHECKING:
    from ..plan import TrainingPlan
    from ..protocols.privacy import PrivacyPlan
    from .simulated import SimulatedFederation

# What random numbers are for: these, and those of `behaviour`, differ.
_ATTACK, _NOISE, _SECURE, _POISSON, _COMPRESSION = 2, 3, 4, 5, 6
_ATTEMPTS = 100
# Under privacy single updates are clipped and added up this many values at a time, about 256 MiB.
_CHUNK_VALUES = 1 << 26


class _Draw(NamedTuple):
    """Who takes part in a round, from which learning rate; depends on nothing that earlier rounds computed."""

    learning_rate: float | None
    asked: NDArray[np.int64]
    tasks: list[Task]
    lost: NDArray[np.int64]


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
    groups: dict[str, int] | None = None
    update_bytes: int = 0
    compression_errors: dict[int, float] = field(default_factory=dict)
    residuals: dict[int, NDArray[Any]] = field(default_factory=dict)

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
    least : int
        Clients without which the rule cannot do.
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
        least: int,
        options: RunOptions,
        *,
        seed: int,
        state: SavedState,
        journal: Journal | None,
        reports: list[dict[str, Any]],
    ) -> None:
        self._federation, self._plan, self._executor = federation, plan, AheadExecutor(executor)
        self._rule, self._privacy, self._options = rule, privacy, options
        self._seed, self._journal = seed, journal
        self._weights, self._previous, self._number = state.weights, state.previous, state.round
        self._learning_rate: float | None = state.run.get("learning_rate")
        self._compressor = make_compressor(plan.compression)
        self._residuals = dict(state.residuals)
        self._range = SumRange(follows=self._value_bits is not None)
        self._range.factor, self._range.room = state.run.get("range") or (self._range.factor, self._range.room)
        self._least_groups = (
            least_groups(rule) if in_groups(rule, secure_aggregation=options.secure_aggregation) else None
        )
        self._indispensable = federation.number_of(rule.options.get("trusted"))
        self._needed = max(1, least, options.minimum_nodes or (MINIMUM_MEMBERS if options.secure_aggregation else 1))
        self._replayed = [
            RoundResult(int(report["number"]), self._weights, report, replayed=True) for report in reports
        ]
        self._unrecorded: dict[str, Any] | None = None
        self._drawn: dict[int, _Draw] = {}
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
            ``too-few-clients``: no draw of clients gave enough that answer; ``non-finite-update``: nobody's training
            held, or the aggregated weights overflow; what the aggregation rule refuses; what the executor refuses.
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
        except Exception as error:  # of an attack or a rule that somebody else has written
            found = FlaasError(f"{type(error).__name__}: {str(error)[:500]}", code="simulation-failed")
            self._end("failed", found)
            raise
        self._unrecorded = report
        self._look_ahead()
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
        """Do a round; one that fails or is interrupted leaves everything as it was before it."""
        memory, sum_range = copy.deepcopy(self._rule.state_dict()), replace(self._range)
        try:
            result, output, current = self._outcome(self._draw(self._number + 1))
            weights = result.weights.astype(self._plan.dtype)
            if not np.isfinite(weights).all():
                raise InvalidInput(
                    f"The weights after round {current.number} hold NaN or infinite values.",
                    code="non-finite-update",
                    hint="Lower the learning rate or clip gradients (optimizer clipnorm=...).",
                )
            report = self._report(current, result, output)
        except BaseException:
            self._rule.load_state_dict(memory)
            self._range = sum_range
            raise
        counted = set(current.clients.tolist())
        self._residuals |= {client: left for client, left in current.residuals.items() if client in counted}
        self._previous, self._weights, self._number = self._weights, weights, current.number
        return report

    def _draw(self, number: int) -> _Round:
        """Begin a round with the clients drawn for it."""
        draw = self._drawn_for(number)
        del self._drawn[number]
        return _begun(number, draw)

    def _drawn_for(self, number: int) -> _Draw:
        """Return the clients drawn for a round, beforehand or now."""
        draw = self._drawn.get(number)
        if draw is None or draw.learning_rate != self._learning_rate:
            draw = self._drawn[number] = self._clients_of(number)
        return draw

    def _clients_of(self, number: int) -> _Draw:
        """Draw who is asked, until enough of them answer.

        Under central privacy the first draw stands, whoever answers: the accounting is of Poisson sampling, and to draw
        again until there are enough would be another mechanism, which tells who takes part.
        """
        federation = self._federation
        for attempt in range(_ATTEMPTS):
            ready = behaviour.available(federation.behaviour, federation.size, self._seed, number, attempt)
            ready = ready[federation.sizes[ready] > 0]  # who has no rows has nothing to train on
            asked = self._sample(ready, number, attempt)
            fate = behaviour.fate(federation.behaviour, asked, self._plan.local_epochs, self._seed, number, attempt)
            answering = asked[~fate.lost]
            if self._central_privacy or self._enough(asked, answering, number):
                examples = self._examples(answering)
                shares = examples / max(1.0, examples.sum())  # a private cohort may be empty
                tasks = [
                    Task(client, epochs, self._learning_rate, share)
                    for client, epochs, share in zip(
                        answering.tolist(), fate.epochs[~fate.lost].tolist(), shares.tolist(), strict=True
                    )
                ]
                return _Draw(self._learning_rate, asked, tasks, asked[fate.lost])
        without = "" if self._indispensable is None else f", client {self._indispensable} among them"
        raise InvalidInput(
            f"Round {number} needs {self._needed} clients that answer{without}, and {_ATTEMPTS} draws gave fewer.",
            code="too-few-clients",
            hint="Raise clients_per_round or availability, or lower dropout or minimum_nodes.",
        )

    def _enough(self, asked: NDArray[np.int64], answering: NDArray[np.int64], number: int) -> bool:
        needed = self._needed
        if self._least_groups is not None:
            return len(asked) >= needed and self._enough_groups(asked, answering, number)
        if self._options.secure_aggregation:
            needed = max(needed, default_threshold(len(asked)))  # fewer could not open the sum
        return len(answering) >= needed and (self._indispensable is None or self._indispensable in answering)

    def _enough_groups(self, asked: NDArray[np.int64], answering: NDArray[np.int64], number: int) -> bool:
        left = secure.living(self._assignment(asked, number), self._federation.ids(answering))
        return self._least_groups is not None and len(left) >= self._least_groups

    def _assignment(self, asked: NDArray[np.int64], number: int) -> Assignment:
        size = self._options.group_size or MINIMUM_GROUP
        return secure.assignment_of(self._federation.ids(asked), size, self._seed, number)

    def _sample(self, ready: NDArray[np.int64], number: int, attempt: int) -> NDArray[np.int64]:
        if self._privacy is not None and self._privacy.sampling_rate < 1:
            from ..protocols.privacy import sample_poisson

            rng = np.random.default_rng([self._seed, _POISSON, number])
            return np.intersect1d(sample_poisson(self._federation.size, self._privacy.sampling_rate, rng), ready)
        wanted = self._options.clients_per_round
        return behaviour.sample(ready, wanted, self._seed, number, attempt, self._indispensable)

    def _outcome(self, current: _Round) -> tuple[Aggregated, RoundOutput, _Round]:
        if self._least_groups is not None:
            return self._grouped(current)
        # Fewer cannot mask each other. Central privacy still releases what there is: the noise hides it.
        if self._options.secure_aggregation and len(current.asked) >= MINIMUM_MEMBERS:
            return self._secure(current)
        if self._options.privacy is not None:
            return self._private(current)
        return self._summed(current) if self._needs_sum(current) else self._single(current)

    def _needs_sum(self, current: _Round) -> bool:
        """Whether the round can do without single updates."""
        attack = self._federation.attack
        interferes = (
            attack is not None
            and bool(self._federation.malicious[current.clients].any())
            and (attack.crafts_updates or self._free_coordinates() is not None)
        )
        return self._rule.needs is Needs.SUM and not interferes and self._compressor is None

    def _look_ahead(self) -> None:
        """Start the next round as it will be if the notebook goes on, and draw the one after that; see `ahead`."""
        special = self._options.secure_aggregation or self._options.privacy is not None
        if special or self._free_coordinates() is not None:
            return
        for number in range(self._number + 1, min(self._number + 2, self._options.rounds) + 1):
            try:
                following = _begun(number, self._drawn_for(number))
            except InvalidInput:
                return  # told when the round is asked for
            work = self._work(following, following.tasks, each=not self._needs_sum(following))
            if number == self._number + 1:
                self._executor.expect(work)
            else:
                self._executor.prepare(work)

    def _summed(self, current: _Round) -> tuple[Aggregated, RoundOutput, _Round]:
        """A rule that needs the sum only: no client's update is ever held."""
        examples = self._examples(current.clients)
        total = examples.sum()
        output = self._train(current, current.tasks)
        began = time.perf_counter()
        change = output.total()
        if not np.isfinite(change).all():  # whose training has run away?
            output = self._train(current, current.tasks, guarded=True)
            began = time.perf_counter()
            change = output.total()
        current, fine = self._without_failed(current, output.failed)
        shares = examples[fine] / total
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
        result = self._aggregate(current, self._compressed(current, updates), scalars)
        return result, output, current

    def _aggregate(self, current: _Round, updates: NDArray[Any], scalars: NDArray[Any] | None) -> Aggregated:
        trusted = self._trusted(current)
        began = time.perf_counter()
        names = self._federation.ids(current.clients)
        examples = self._examples(current.clients)
        if self._rule.needs is Needs.SUM:
            shares = examples / examples.sum()
            mean = self._weights + shares @ (updates - self._weights)
            result = Aggregated(self._rule_on_mean(mean, examples.sum()).weights, shares)
        else:
            result = self._rule(
                updates, examples, client_ids=names, reference=self._weights, scalars=scalars, trusted=trusted
            )
        current.seconds["aggregate"] = time.perf_counter() - began
        return result

    def _trusted(self, current: _Round) -> NDArray[Any] | None:
        """Weights trained on the federation's root data, for a rule that compares with them."""
        if self._federation.root is None or not self._rule.needs_trusted:
            return None
        task = Task(self._federation.root, self._plan.local_epochs, self._learning_rate)
        output = self._train(current, [task], each=True)
        if output.failed:
            raise _nobody_left(current.number, "the aggregator's own data")
        trusted: NDArray[Any] = output.values[0]
        return trusted

    # ---- compression -------------------------------------------------------------------------------------------

    @property
    def _value_bits(self) -> int | None:
        compressor = self._compressor
        return compressor.value_bits if compressor is not None and self._options.secure_aggregation else None

    @property
    def _clip(self) -> float:
        return self._options.clip * self._range.factor

    def _common(self, number: int) -> bytes:
        """What a compression draws by where all must draw alike; on real nodes the weights' digest is in it."""
        return f"{number} {self._seed}".encode()

    def _coordinates(self, number: int) -> NDArray[np.intp] | None:
        """What a secure sum is of, where that is not everything."""
        if self._compressor is None:
            return None
        return self._compressor.coordinates(len(self._weights), self._common(number))

    def _compressed(self, current: _Round, updates: NDArray[Any]) -> NDArray[Any]:
        """Return the clients' weights as the aggregator restores them; residuals wait until the round stands."""
        compressor = self._compressor
        if compressor is None or self._value_bits is not None:  # the latter are rounded where they are summed
            return updates
        restored = np.empty((len(updates), len(self._weights)), self._weights.dtype)
        for place, (task, update) in enumerate(zip(current.tasks, updates, strict=True)):
            made: Compressed = compressor.compress(
                update.astype(self._weights.dtype, copy=False),
                self._weights,
                rng=np.random.default_rng([self._seed, _COMPRESSION, current.number, task.client]),
                common=self._common(current.number),
                carried=self._residuals.get(task.client),
            )
            restored[place] = made.weights
            current.update_bytes += made.nbytes
            current.compression_errors[task.client] = made.error
            if made.residual is not None:
                current.residuals[task.client] = made.residual
        return restored

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
        settings = secure.settings_of(
            self._federation.ids(current.asked),
            current.number,
            self._range_for(len(current.asked)),
            bits=self._value_bits,
        )
        output = self._train(current, current.tasks, each=True)
        current, fine = self._without_failed(current, output.failed)
        updates, scalars = self._attacked(current, output.values[fine])
        began = time.perf_counter()
        updates = self._compressed(current, updates)
        rng = np.random.default_rng([self._seed, _SECURE, current.number])
        names, examples = self._federation.ids(current.clients), self._examples(current.clients)
        deltas = self._noised(updates - self._weights, rng, settings)
        noise = None
        if self._privacy is not None and self._privacy.privacy.mode == "distributed":
            keys = secure.noise_keys(names, self._seed, current.number)
            noise = noise_shares.share_in_steps(self._privacy, settings), keys
        shares: list[float] | None = None
        ballot: Ballot | None = None
        if isinstance(self._rule, ScalarRule):
            if scalars is None:
                scalars = np.array([self._rule.scalar(update, self._weights) for update in updates])
            ballot = self._rule.ballot(scalars, examples, tuple(names))
            votes = ballot.votes
            if not votes.any() and self._rule.on_silence == "average":
                votes = np.ones(len(names))
            shares = secure.hiding_votes(votes, names, settings)
            if shares is None:
                if not votes.any():
                    self._rule.settle(ballot, names)
                kept = Aggregated(self._weights.astype(np.float64), np.zeros(len(names)), ballot.columns)
                return kept, _kept(output, fine), current
        elif self._privacy is not None and self._privacy.privacy.counts_alike:
            shares = [1.0] * len(names)
        most = int(self._federation.sizes.max())
        places = self._coordinates(current.number)
        sent = deltas if places is None else deltas[:, places]
        opened = secure.opened_sum(sent, examples.astype(np.int64), most, settings, rng, shares, noise).at(
            places, len(self._weights)
        )
        current.update_bytes = len(names) * secure.update_bytes(sent.shape[1], settings)
        current.clipped, current.error_bound = opened.clipped, opened.error_bound
        self._range.after(opened.clipped, opened.peak, settings.clip, len(names))
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

    def _grouped(self, current: _Round) -> tuple[Aggregated, RoundOutput, _Round]:
        """The rule on the means of groups, each opened from a secure sum of its own (`protocols.groups`)."""
        output = self._train(current, current.tasks, each=True)
        current, fine = self._without_failed(current, output.failed)
        updates, _ = self._attacked(current, output.values[fine])
        output = _kept(output, fine)
        trusted = self._trusted(current)
        began = time.perf_counter()
        updates = self._compressed(current, updates)
        rng = np.random.default_rng([self._seed, _SECURE, current.number])
        names, examples = self._federation.ids(current.clients), self._examples(current.clients).astype(np.int64)
        assignment, most = self._assignment(current.asked, current.number), int(self._federation.sizes.max())
        deltas = self._noised(updates - self._weights, rng)
        places, clip = self._coordinates(current.number), self._clip
        sent = deltas if places is None else deltas[:, places]
        opened = {
            place: replace(group, sum=group.sum.at(places, len(self._weights)))
            for place, group in secure.opened_groups(
                sent, names, examples, most, assignment, clip, current.number, rng, bits=self._value_bits
            ).items()
        }
        current.update_bytes = sum(
            len(group.members)
            * secure.update_bytes(
                sent.shape[1],
                secure.settings_of(assignment.groups[place], current.number, clip, bits=self._value_bits),
            )
            for place, group in opened.items()
        )
        self._require_groups(len(opened), current.number)
        current.groups = {
            "size": self._options.group_size or MINIMUM_GROUP,
            "formed": len(assignment.groups),
            "opened": len(opened),
        }
        current.clipped = sum(group.sum.clipped for group in opened.values())
        current.error_bound = max(group.sum.error_bound for group in opened.values())
        self._range.after(
            current.clipped, max(group.sum.peak for group in opened.values()), clip, current.groups["size"]
        )
        made = combine_groups(
            copy.deepcopy(self._rule),
            self._weights,
            {place: group.sum.mean for place, group in opened.items()},
            {place: group.members for place, group in opened.items()},
            dict(zip(names, examples.tolist(), strict=True)),
            self._rule.state_dict(),
            trusted=trusted,
        )
        self._rule.load_state_dict(made.state)
        current, output = _in_living_groups(current, output, names, made.contributions.keys())
        left = self._federation.ids(current.clients)
        columns = {name: np.array([made.columns[client][name] for client in left]) for name in made.columns[left[0]]}
        contributions = np.array([made.contributions[client] for client in left])
        current.seconds["aggregate"] = time.perf_counter() - began
        return Aggregated(made.weights, contributions, columns), output, current

    def _require_groups(self, there: int, number: int) -> None:
        needed = self._least_groups or 0
        if there < needed:
            raise Aborted(
                f"Only {there} groups of round {number} are left; the aggregation rule {self._options.aggregation} "
                f"needs {needed}.",
                code="secagg-too-few-groups",
                hint="Lower the learning rate, so that fewer clients fail, or let more take part.",
                needed=needed,
                there=there,
            )

    @property
    def _central_privacy(self) -> bool:
        return self._options.privacy is not None and self._options.privacy.mode == "central"

    def _range_for(self, members: int) -> float:
        """Range of a coordinate under secure aggregation; with distributed noise there must be room for it."""
        if self._privacy is not None and self._privacy.privacy.mode == "distributed":
            return noise_shares.range_for(self._privacy, members)
        return self._clip

    def _noised(
        self, deltas: NDArray[Any], rng: np.random.Generator, settings: RoundSettings | None = None
    ) -> NDArray[Any]:
        """Clip private updates and, in local mode, add each client's noise."""
        if self._privacy is None or self._options.privacy is None:
            return deltas
        from ..protocols.privacy import clip_update

        clip = self._options.privacy.clip
        if self._options.privacy.mode == "distributed" and settings is not None:
            clip -= rounding_norm(deltas.shape[1], settings)  # as nodes do: what is noised keeps to the clip exactly
        clipped = np.stack([clip_update(delta.astype(np.float64), clip)[0] for delta in deltas])
        if self._options.privacy.counts_alike:
            return clipped
        return clipped + rng.normal(0.0, self._privacy.sigma, clipped.shape)

    # ---- privacy -----------------------------------------------------------------------------------------------

    def _private(self, current: _Round) -> tuple[Aggregated, RoundOutput, _Round]:
        """Clipped updates and noise: on their sum, or on each (docs/privacy.md)."""
        from ..protocols.privacy import clip_update

        assert self._privacy is not None
        assert self._options.privacy is not None
        clip, central = self._options.privacy.clip, self._options.privacy.mode == "central"
        rng = np.random.default_rng([self._seed, _NOISE, current.number])
        if not central:
            output = self._train(current, current.tasks, each=True)
            current, fine = self._without_failed(current, output.failed)
            updates, scalars = self._attacked(current, output.values[fine])
            noisy = np.empty_like(updates)
            for place, update in enumerate(updates):
                clipped, _ = clip_update(update - self._weights, clip)
                noisy[place] = self._weights + clipped + rng.normal(0.0, self._privacy.sigma, len(clipped))
            result = self._aggregate(current, self._compressed(current, noisy), scalars)
            return result, _kept(output, fine), current
        return self._central(current, clip, rng)

    def _central(
        self, current: _Round, clip: float, rng: np.random.Generator
    ) -> tuple[Aggregated, RoundOutput, _Round]:
        from ..protocols.privacy import clip_update

        assert self._privacy is not None
        total = np.zeros(len(self._weights), np.float64)
        metrics: list[dict[str, NDArray[np.float64]]] = []
        failed: list[int] = []
        together = len(current.tasks) if self._needs_all() else _CHUNK_VALUES // len(self._weights)
        for start in range(0, len(current.tasks), max(1, together)):
            part = replace(current, tasks=current.tasks[start : start + max(1, together)])
            output = self._train(part, part.tasks, each=True)
            fine = _fine(part, output.failed)
            part = replace(part, tasks=[part.tasks[place] for place in fine])
            updates, _ = self._attacked(part, output.values[fine])
            if self._compressor is not None:  # clients clip before they compress, and the aggregator once more
                shortened = [self._weights + clip_update(update - self._weights, clip)[0] for update in updates]
                updates = self._compressed(part, np.stack(shortened).astype(updates.dtype)) if shortened else updates
                current.update_bytes += part.update_bytes
            for update in updates:
                total += clip_update(update - self._weights, clip)[0]
            failed += [start + place for place in output.failed]
            metrics.append(output.metrics)
        current, fine = self._without_failed(current, tuple(failed))
        began = time.perf_counter()
        # A fixed divisor: the number that took part would itself tell who did.
        expected = self._privacy.expected_clients
        mean = self._weights + (total + rng.normal(0.0, self._privacy.sigma, len(total))) / expected
        result = self._rule_on_mean(mean, float(expected))
        current.seconds["aggregate"] = time.perf_counter() - began
        shares = np.full(len(fine), 1 / max(1, len(fine)))
        names = metrics[0] if metrics else {}
        joined = {name: np.concatenate([each[name] for each in metrics]) for name in names}
        return Aggregated(result.weights, shares), _kept(RoundOutput((), joined), fine), current

    def _needs_all(self) -> bool:
        attack = self._federation.attack
        return attack is not None and attack.crafts_updates

    # ---- training ----------------------------------------------------------------------------------------------

    def _train(self, current: _Round, tasks: list[Task], *, each: bool = False, guarded: bool = False) -> RoundOutput:
        began = time.perf_counter()
        free = self._free_coordinates() if each else None
        held = [place for place, task in enumerate(tasks) if free is not None and self._is_malicious(task.client)]
        if not held:
            output = self._run(self._work(current, tasks, each, guarded=guarded))
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
            (places, self._run(self._work(current, [tasks[p] for p in places], True, mask)))
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

    def _run(self, work: RoundWork) -> RoundOutput:
        try:
            return self._executor.run(work)
        except BaseException:
            # Its threads may still be at this round, its worker be gone or about to answer: nobody must use it again.
            self._federation.discard(self._executor.inner)
            raise

    def _work(
        self,
        current: _Round,
        tasks: list[Task],
        each: bool,
        free: NDArray[np.bool_] | None = None,
        *,
        guarded: bool = False,
    ) -> RoundWork:
        return RoundWork(
            current.number,
            self._weights,
            tasks,
            self._seed,
            each=each,
            guarded=guarded,
            proximal=self._rule.proximal,
            free=free,
        )

    def _is_malicious(self, client: int) -> bool:
        return client < self._federation.size and bool(self._federation.malicious[client])

    def _without_failed(self, current: _Round, failed: tuple[int, ...]) -> tuple[_Round, NDArray[np.int64]]:
        """Leave clients out whose weights became NaN or infinite; refuse the round when nobody else is there."""
        fine = _fine(current, failed)
        if not failed:
            return current, fine
        names = ", ".join(self._federation.ids(current.clients[list(failed)]))
        if not len(fine):
            raise _nobody_left(current.number, f"client {names}")
        reason = "Its weights became NaN or infinite."
        dropped = [*current.dropped, *(_dropped(current.tasks[place].client, "update", reason) for place in failed)]
        return replace(current, tasks=[current.tasks[place] for place in fine], dropped=dropped), fine

    def _examples(self, clients: NDArray[np.int64]) -> NDArray[np.float64]:
        return self._federation.sizes[clients].astype(np.float64)

    # ---- telling -----------------------------------------------------------------------------------------------

    def _report(self, current: _Round, result: Aggregated, output: RoundOutput) -> dict[str, Any]:
        examples = self._examples(current.clients)
        share = examples / max(1.0, examples.sum())  # a private cohort may be empty
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
            "bytes": {
                "up": model * len(current.tasks) if self._compressor is None else current.update_bytes,
                "down": model * len(current.asked),
            },
            "metrics": {name: float(values @ share) for name, values in output.metrics.items()},
            "clients": clients,
            "dropped": current.dropped,
            "clipped": current.clipped,
            "error_bound": current.error_bound,
            "groups": current.groups,
            "shards": self._shards(len(current.tasks)) if self._options.sharded else None,
            "compression": self._compression(current, examples),
            "epsilon": None if self._privacy is None else self._privacy.epsilon_after(current.number),
        }

    def _compression(self, current: _Round, examples: NDArray[np.float64]) -> dict[str, Any] | None:
        if self._compressor is None:
            return None
        error = None
        known = [current.compression_errors.get(task.client, 0.0) for task in current.tasks]
        if not self._options.secure_aggregation and self._options.privacy is None and known:
            error = float(np.average(known, weights=examples))
        return {
            "name": self._compressor.name,
            "bytes": current.update_bytes,
            "plain": self._weights.nbytes * len(current.tasks),
            "error": error,
        }

    def _shards(self, clients: int) -> dict[str, int]:
        """What each of so many real nodes would send and receive: pieces of the weights, parts of masked vectors."""
        parameters = len(self._weights)
        piece, part = (size * parameters // clients for size in (self._weights.itemsize, 4))
        down = (clients - 1) * (piece + part)
        return {"count": clients, "up": down + part, "down": down + piece}

    def _record(self) -> None:
        """Put the last round into the journal, with what was measured on it."""
        if self._unrecorded is None or self._journal is None:
            return
        self._journal.append(self._unrecorded)
        self._unrecorded = None
        if self._journal.checkpoint_due:
            self._journal.save(self._state())

    def _state(self) -> SavedState:
        run = {
            "seed": self._seed,
            "learning_rate": self._learning_rate,
            "range": [self._range.factor, self._range.room],
        }
        return SavedState(
            self._number, self._weights, self._previous, self._rule.state_dict(), run, dict(self._residuals)
        )

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
        if self._executor.busy:  # with a round that nobody will ask for
            self._federation.discard(self._executor.inner)
        if self._journal is not None:
            self._journal.save(self._state())
            self._journal.write_header(state=state, error=None if error is None else error.to_dict())


def _fine(current: _Round, failed: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the places of the clients that have not failed."""
    return np.setdiff1d(np.arange(len(current.tasks)), failed)


def _in_living_groups(
    current: _Round, output: RoundOutput, names: list[str], living: Collection[str]
) -> tuple[_Round, RoundOutput]:
    """Leave out the clients whose group lost too many others."""
    kept = np.array([place for place, name in enumerate(names) if name in living], np.int64)
    void = [
        _dropped(task.client, "update", "Its group is void: too few of it are left.")
        for task, name in zip(current.tasks, names, strict=True)
        if name not in living
    ]
    left = replace(current, tasks=[current.tasks[place] for place in kept], dropped=[*current.dropped, *void])
    return left, _kept(output, kept)


def _nobody_left(number: int, whose: str) -> InvalidInput:
    return InvalidInput(
        f"NaN or infinite values in the update of {whose} in round {number}; no other is left.",
        code="non-finite-update",
        hint="Lower the learning rate, clip gradients (optimizer clipnorm=1.0), or scale the inputs.",
    )


def _begun(number: int, draw: _Draw) -> _Round:
    return _Round(
        number, draw.asked, draw.tasks, [_dropped(client, "update", "The client was lost.") for client in draw.lost]
    )


def _dropped(client: int, phase: str, reason: str) -> dict[str, str]:
    return {"node": str(client), "phase": phase, "reason": reason}


def _kept(output: RoundOutput, fine: NDArray[np.int64]) -> RoundOutput:
    """The metrics of those that are left."""
    if len(fine) == len(next(iter(output.metrics.values()), fine)):
        return output
    return RoundOutput(output.values, {name: values[fine] for name, values in output.metrics.items()})
