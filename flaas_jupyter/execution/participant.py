"""A run as one participating node lives it: get the plan, train when a round begins, hand over the update.

Each method answers one message of the aggregator (docs/mesh.md). With secure aggregation the key exchange of a round
runs while the model trains, and what leaves the node is the masked vector only (Bonawitz et al. 2017; see
`flaas_jupyter.protocols.secure_aggregation`).
"""

from __future__ import annotations

import asyncio
import functools
import json
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..communications.identity import Identity
from ..communications.wire import Message
from ..errors import Aborted, Conflict, InvalidInput
from ..plan import TrainingPlan
from ..protocols import combination
from ..protocols.aggregation import Needs, ScalarRule
from ..protocols.secure_aggregation import (
    Advertisement,
    Member,
    RoundSettings,
    Votes,
    encode_update,
    rounding_norm,
)
from . import rule_state
from .checkpoint import digest
from .combining import fresh_generator

if TYPE_CHECKING:
    from ..protocols.attacks import Attack
    from ..protocols.privacy import PrivacyPlan
    from .datasets import Dataset
    from .policy import Policy
    from .trainer import LocalResult, Trainer

Verify = Callable[[str, str, bytes, bytes], None]
"""Node id, context, payload, signature."""

OF_THE_RUN = ("aggregation", "aggregation_options", "privacy")
TERMS = ("term", "plan", "maximum_examples", "learning_rate", *OF_THE_RUN)
"""What, beside the fields of `RoundSettings`, shapes the vector that a member of a secure round sends."""


@dataclass(frozen=True)
class _Trained:
    """A round's training at this node, and the update that leaves it: clipped, and with noise, where privacy asks."""

    number: int
    start_digest: str
    result: LocalResult
    update: NDArray[Any]

    def __post_init__(self) -> None:
        self.update.flags.writeable = False


@dataclass
class _Round:
    """What a participant knows of the round under way."""

    term: int
    number: int
    attempt: int
    start: NDArray[Any]
    start_digest: str
    maximum_examples: int
    stop: threading.Event = field(default_factory=threading.Event)
    training: asyncio.Future[_Trained] | None = None
    settings: RoundSettings | None = None
    secure: Member | None = None
    votes: Votes | None = None
    survivors: frozenset[str] = frozenset()

    @property
    def votes_digest(self) -> bytes:
        """Digest of the votes, empty without."""
        return b"" if self.votes is None else self.votes.digest


class Participant:
    """One run at one node.

    Parameters
    ----------
    run : dict
        The run as the coordination API describes it.
    domain : str
        The project's domain, part of the context of every mask.
    identity : Identity
        The node's key, signs the round's public keys.
    verify : callable
        Checks a signature of a node of the domain; raises when it is not one by its signed membership, too.
    dataset : Dataset
        The rows to train on.
    policy : Policy
        The owner's policy, already asked about the run; asked again about the plan.
    executor : Executor
        Runs Keras; one thread for the whole node, so that two runs take turns.
    attack : Attack, optional
        What the owner has this node do to the run, in a drill.
    require_not_revoked : callable, optional
        Raises for the digest of weights that were revoked.
    """

    def __init__(
        self,
        run: dict[str, Any],
        *,
        domain: str,
        identity: Identity,
        verify: Verify,
        dataset: Dataset,
        policy: Policy,
        executor: Executor,
        attack: Attack | None = None,
        require_not_revoked: Callable[[str], None] | None = None,
    ) -> None:
        self.run = run
        self.plan: TrainingPlan | None = None
        self.trainer: Trainer | None = None
        self.weights: NDArray[Any] | None = None
        """Newest global weights received, of shape (p,)."""
        self.round = 0
        """Number of rounds that `weights` is the result of."""
        self.rule_state: tuple[dict[str, Any] | None, dict[str, NDArray[Any]]] = ({}, {})
        """What the rule remembered with `weights`, as it came: for an aggregator that takes over."""
        self._domain = domain
        self._identity = identity
        self._verify = verify
        self._dataset = dataset
        self._policy = policy
        self._executor = executor
        self._attack = attack
        self._require_not_revoked = require_not_revoked
        self._current: _Round | None = None
        self._rule = combination.make_rule(run["aggregation"], run["aggregation_options"])
        self._privacy = combination.read_privacy(run["privacy"])
        self._privacy_plan: PrivacyPlan | None = None
        self._trained: _Trained | None = None
        # What this node has given out updates for, to keep within the privacy budget.
        self._given: set[tuple[int, int, str]] = set()
        # Starting weights whose sum this node has helped to open, and whose sum it was: to open it again for other
        # members would reveal, by subtraction, the update of whoever differs.
        self._opened: dict[str, tuple[frozenset[str], bytes]] = {}

    async def answer(self, message: Message) -> Message:
        """Answer one of the aggregator's `messages`."""
        handler: Callable[[Message], Awaitable[Message]] = getattr(self, self.messages[message.type])
        return await handler(message)

    messages: ClassVar[dict[str, str]] = {
        "run/prepare": "prepare",
        "run/status": "status",
        "round/begin": "begin",
        "round/share": "share",
        "round/scalar": "scalar",
        "round/update": "update",
        "round/survivors": "survivors",
        "round/unmask": "unmask",
    }
    """Message type to the method that answers it."""

    async def prepare(self, message: Message) -> Message:
        """Build the plan's model and hold it against the data and the owner's policy."""
        plan = TrainingPlan.from_dict(message.body["plan"])
        if plan.digest != self.run["model_digest"]:
            raise InvalidInput(
                f"The plan received has digest {plan.digest}, the run was created for {self.run['model_digest']}.",
                code="wrong-plan",
                hint="Start the run again from the notebook.",
            )
        # What the plan does counts, not what the run says of it.
        does = {"local_epochs": plan.local_epochs, "parameters": plan.parameters}
        self._policy.check({**self.run, **does}, self._dataset.description())
        if self.trainer is None or self.plan != plan:
            self.plan = plan
            self.trainer = await self._in_executor(lambda: self._build(plan))
        return Message("ok", {"examples": self.trainer.examples})

    def _build(self, plan: TrainingPlan) -> Trainer:
        from .red_team import RedTeamTrainer
        from .trainer import Trainer

        rounds, allowed = int(self.run["rounds"]), self._policy.allow_layers
        self._privacy_plan = combination.plan_privacy(self._privacy, rounds=rounds)
        if self._attack is not None:
            return RedTeamTrainer(plan, self._dataset.load(), self._attack, rounds=rounds, allowed_custom=allowed)
        return Trainer(plan, self._dataset.load(), allowed_custom=allowed)

    async def status(self, message: Message) -> Message:
        """Tell which round's result this node holds, and the weights and plan if asked for."""
        tensors = {}
        body: dict[str, Any] = {"round": self.round, "known": self.weights is not None}
        if message.body.get("weights") and self.weights is not None and self.plan is not None:
            body["rule"], arrays = self.rule_state
            tensors = {"weights": self.weights, **arrays}
            body["plan"] = self.plan.to_dict()
        return Message("ok", body, tensors)

    async def begin(self, message: Message) -> Message:
        """Start local training from the weights given; with secure aggregation, answer with fresh signed keys."""
        body = message.body
        trainer, weights = self._ready(), message.tensors["weights"]
        self._check_weights(weights)
        number = int(body["round"])
        if not 1 <= number <= int(self.run["rounds"]):
            raise InvalidInput(
                f"Round {number} was asked for; the run has rounds 1 to {self.run['rounds']}.",
                code="bad-round",
            )
        self.cancel_round()
        start = digest(weights)
        self._check_start(number, start)
        current = _Round(int(body["term"]), number, int(body["attempt"]), weights, start, int(body["maximum_examples"]))
        answer: dict[str, Any] = {}
        if self.run["secure_aggregation"]:
            answer["advertisement"] = self._advertise(current, body)
        self._current = current
        self.weights, self.round = weights, number - 1
        self.rule_state = (body["rule"], rule_state.of_message(message.tensors))
        current.training = self._train(trainer, current, body.get("learning_rate"))
        return Message("ok", answer)

    def _check_start(self, number: int, start: str) -> None:
        """Refuse revoked weights, and in the first round others than the developer has signed for."""
        if self._require_not_revoked is not None:
            self._require_not_revoked(start)
        signed = self.run.get("start_digest")
        if number == 1 and signed is not None and start != signed:
            raise InvalidInput(
                f"The run was signed to start from weights {signed}; the aggregator sent {start}.",
                code="wrong-start",
                hint="Start a new run. If it happens again, have the aggregator's node examined.",
            )

    def _advertise(self, current: _Round, body: dict[str, Any]) -> dict[str, Any]:
        assert self.plan is not None  # begin() has checked
        own = {**body, "plan": self.plan.digest, **{name: self.run[name] for name in OF_THE_RUN}}
        current.settings = round_settings(self._domain, own, current.start_digest)
        current.secure = Member(current.settings, self._identity.node_id, self._identity.sign, self._verify)
        return current.secure.advertise().to_dict()

    def _train(self, trainer: Trainer, current: _Round, learning_rate: float | None) -> asyncio.Future[_Trained]:
        # A round that is tried again from the same weights gives the same update: no need to train twice, and no
        # second draw of noise, whose average would tell more than one.
        known = self._trained
        if known is not None and (known.number, known.start_digest) == (current.number, current.start_digest):
            done: asyncio.Future[_Trained] = asyncio.get_running_loop().create_future()
            done.set_result(known)
            return done

        def work() -> _Trained:
            result = trainer.train(
                current.start,
                round_number=current.number,
                learning_rate=learning_rate,
                proximal=self._rule.proximal,
                should_stop=current.stop.is_set,
            )
            update = self._private(result.weights.astype(np.float64) - current.start, current)
            self._trained = _Trained(current.number, current.start_digest, result, update)
            return self._trained

        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        # A round that is given up is never awaited; its error is told when somebody asks for the update.
        future.add_done_callback(lambda f: f.cancelled() or f.exception())
        return future

    def _private(self, update: NDArray[np.float64], current: _Round) -> NDArray[np.float64]:
        """Clip the update and add this node's noise, as the run's privacy asks."""
        if self._privacy is None:
            return update
        from ..protocols import privacy

        clip = float(self._privacy.clip)
        if current.settings is not None:
            clip -= rounding_norm(update.size, current.settings)
        clipped: NDArray[np.float64] = privacy.clip_update(update, clip)[0]
        if self._privacy.mode == "central":
            return clipped
        assert self._privacy_plan is not None  # prepare came first
        noisy: NDArray[np.float64] = privacy.add_noise(clipped, self._privacy_plan.sigma)
        return noisy

    async def share(self, message: Message) -> Message:
        """Check everybody's keys and answer with this node's secrets, shared and sealed per recipient."""
        secure = self._secure(message)
        advertisements = {
            str(member): Advertisement.from_dict(entry) for member, entry in message.body["advertisements"].items()
        }
        return Message("ok", {"shares": secure.share(advertisements)})

    async def scalar(self, message: Message) -> Message:
        """Answer, when training is done, with the number from which the rule makes this node's vote."""
        current = self._round(message)
        self._secure(message)
        if not isinstance(self._rule, ScalarRule):
            raise InvalidInput(
                f"The aggregation rule {self._rule.name!r} asks participants for no number.", code="no-scalar"
            )
        trained = await self._trained_in(current)
        value = trained.result.reported
        if value is None:
            value = await asyncio.to_thread(self._rule.scalar, current.start + trained.update, current.start)
        return Message("ok", {"scalar": float(value), "train_seconds": trained.result.seconds})

    async def update(self, message: Message) -> Message:
        """Answer, when training is done, with the update: masked, or in the clear without secure aggregation."""
        current = self._round(message)
        trained = await self._trained_in(current)
        result = trained.result
        metrics = result.metrics if self._privacy is None else {}  # they are of the data, and carry no noise
        body: dict[str, Any] = {"train_seconds": result.seconds, "metric_names": sorted(metrics)}
        if current.secure is None or current.settings is None:
            body |= {"examples": result.examples, "metrics": metrics}
            return Message("ok", body, {"update": self._weights_of(current, trained)})
        started = time.perf_counter()
        encoding = functools.partial(
            encode_update,
            trained.update,
            result.examples,
            current.maximum_examples,
            {name: metrics[name] for name in sorted(metrics)},
            current.settings,
            fresh_generator(),
        )
        votes = self._votes(message)
        share = self._share(votes)
        secure, inbox = current.secure, message.body["inbox"]
        masked = await asyncio.to_thread(lambda: secure.mask(encoding(share=share), inbox, votes=votes))
        current.votes = votes
        body["mask_seconds"] = time.perf_counter() - started
        return Message("ok", body, {"masked": masked})

    async def _trained_in(self, current: _Round) -> _Trained:
        """Wait for the training; refuse to give out more updates than the privacy budget is made for."""
        assert current.training is not None  # set by begin
        trained = await asyncio.shield(current.training)
        # Central noise is the aggregator's, and another one that does a round again draws it anew.
        leader = current.term if self._privacy is not None and self._privacy.mode == "central" else 0
        self._given.add((leader, trained.number, trained.start_digest))
        if self._privacy is not None and len(self._given) > int(self.run["rounds"]):
            raise InvalidInput(
                f"This node has given out {self.run['rounds']} private updates, which is what the budget of "
                f"epsilon {self._privacy.epsilon:g} is made for; round {current.number} asks for one more.",
                code="privacy-budget",
                hint="A round was lost and is done again. Start a new run, with a budget of its own, for more.",
            )
        return trained

    def _weights_of(self, current: _Round, trained: _Trained) -> NDArray[Any]:
        if self._privacy is None:
            return trained.result.weights
        weights: NDArray[Any] = (current.start + trained.update).astype(current.start.dtype)
        return weights

    def _votes(self, message: Message) -> Votes | None:
        """Return everybody's share where the run's rule gives votes; the aggregator cannot leave them away."""
        return Votes(message.body.get("votes") or {}) if self._rule.needs is Needs.SCALARS else None

    def _share(self, votes: Votes | None) -> float | None:
        """Return what this node's update counts for; None for its share of the examples."""
        if votes is not None:
            return votes.share_of(self._identity.node_id)
        return 1.0 if self._privacy is not None and self._privacy.mode == "central" else None

    async def survivors(self, message: Message) -> Message:
        """Sign the list of those whose masked vectors arrived."""
        current, survivors = self._round(message), [str(member) for member in message.body["survivors"]]
        opened = self._opened.get(current.start_digest)
        if opened is not None and opened != (frozenset(survivors), current.votes_digest):
            raise Conflict(
                f"The sum of round {current.number} was opened once already, for other members or with other votes.",
                code="round-already-opened",
                hint="The difference of the two sums would be single updates. Start a new run from the last weights.",
            )
        signature = self._secure(message).confirm(survivors)
        current.survivors = frozenset(survivors)
        return Message("ok", {"signature": signature})

    async def unmask(self, message: Message) -> Message:
        """Reveal one share per member, once enough survivors signed the same list."""
        current = self._round(message)
        reveals = self._secure(message).unmask(message.body["signatures"])
        self._opened[current.start_digest] = (current.survivors, current.votes_digest)
        return Message("ok", {"reveals": {member: reveal.to_dict() for member, reveal in reveals.items()}})

    def cancel_round(self) -> None:
        """Stop the training under way, between two batches."""
        if self._current is not None:
            self._current.stop.set()
            self._current = None

    def _ready(self) -> Trainer:
        if self.trainer is None:
            raise Conflict("This node has not been given the plan of the run.", code="not-prepared")
        return self.trainer

    def _round(self, message: Message) -> _Round:
        current = self._current
        asked = (message.body.get("round"), message.body.get("attempt"))
        if current is None or asked != (current.number, current.attempt):
            known = None if current is None else (current.number, current.attempt)
            raise Aborted(f"Round and attempt {asked} are not under way here, but {known}.", code="round-over")
        return current

    def _secure(self, message: Message) -> Member:
        secure = self._round(message).secure
        if secure is None:
            raise Conflict("This run has no secure aggregation.", code="no-secure-aggregation")
        return secure

    def _check_weights(self, weights: NDArray[Any]) -> None:
        assert self.plan is not None  # _ready() came first
        if weights.shape != (self.plan.parameters,) or weights.dtype != self.plan.dtype:
            raise InvalidInput(
                f"Weights of shape {weights.shape}, {weights.dtype} were received; "
                f"the plan has ({self.plan.parameters},), {self.plan.dtype}.",
                code="wrong-weights",
            )
        if not np.isfinite(weights).all():
            raise InvalidInput(
                "The global weights hold NaN or infinite values.",
                code="non-finite-weights",
                hint="Lower the learning rate; start again from finite weights.",
            )

    async def _in_executor(self, work: Callable[[], Trainer]) -> Trainer:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)


def round_settings(domain: str, begin: Mapping[str, Any], start_digest: str) -> RoundSettings:
    """What all members of a secure round agree on, from the body of ``round/begin``.

    Everything that shapes what a member sends is part of it, so that members who were told different things do not
    understand each other's masks.
    """
    return RoundSettings(
        domain=domain,
        run=str(begin["run"]),
        round=int(begin["round"]),
        attempt=int(begin["attempt"]),
        members=tuple(str(member) for member in begin["members"]),
        model_digest=start_digest,
        clip=float(begin["clip"]),
        terms=json.dumps([begin[name] for name in TERMS], sort_keys=True).encode(),
    )
