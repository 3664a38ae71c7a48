"""A run as one participating node lives it: get the plan, train when a round begins, hand over the update.

Each method answers one message of the aggregator (docs/mesh.md). With secure aggregation the key exchange of a round
runs while the model trains, and what leaves the node is the masked vector only (Bonawitz et al. 2017; see
`flaas_jupyter.protocols.secure_aggregation`).
"""

from __future__ import annotations

import asyncio
import json
import secrets
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
from ..protocols.secure_aggregation import Advertisement, Member, RoundSettings, encode_update
from .checkpoint import digest

if TYPE_CHECKING:
    from .datasets import Dataset
    from .policy import Policy
    from .trainer import LocalResult, Trainer

Verify = Callable[[str, str, bytes, bytes], None]
"""Node id, context, payload, signature."""

TERMS = ("term", "plan", "maximum_examples", "learning_rate")
"""What, beside the fields of `RoundSettings`, shapes the vector that a member of a secure round sends."""


@dataclass
class _Round:
    """What a participant knows of the round under way."""

    number: int
    attempt: int
    start: NDArray[Any]
    start_digest: str
    maximum_examples: int
    stop: threading.Event = field(default_factory=threading.Event)
    training: asyncio.Future[LocalResult] | None = None
    settings: RoundSettings | None = None
    secure: Member | None = None
    survivors: frozenset[str] = frozenset()


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
    ) -> None:
        self.run = run
        self.plan: TrainingPlan | None = None
        self.trainer: Trainer | None = None
        self.weights: NDArray[Any] | None = None
        """Newest global weights received, of shape (p,)."""
        self.round = 0
        """Number of rounds that `weights` is the result of."""
        self._domain = domain
        self._identity = identity
        self._verify = verify
        self._dataset = dataset
        self._policy = policy
        self._executor = executor
        self._current: _Round | None = None
        self._trained: tuple[int, str, LocalResult] | None = None
        # Starting weights whose sum this node has helped to open, and whose sum it was: to open it again for other
        # members would reveal, by subtraction, the update of whoever differs.
        self._opened: dict[str, frozenset[str]] = {}

    async def answer(self, message: Message) -> Message:
        """Answer one of the aggregator's `messages`."""
        handler: Callable[[Message], Awaitable[Message]] = getattr(self, self.messages[message.type])
        return await handler(message)

    messages: ClassVar[dict[str, str]] = {
        "run/prepare": "prepare",
        "run/status": "status",
        "round/begin": "begin",
        "round/share": "share",
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
        self._policy.check(self.run, self._dataset.description())
        if self.trainer is None or self.plan != plan:
            self.plan = plan
            self.trainer = await self._in_executor(lambda: self._build(plan))
        return Message("ok", {"examples": self.trainer.examples})

    def _build(self, plan: TrainingPlan) -> Trainer:
        from .trainer import Trainer

        return Trainer(plan, self._dataset.load(), allowed_custom=self._policy.allow_layers)

    async def status(self, message: Message) -> Message:
        """Tell which round's result this node holds, and the weights and plan if asked for."""
        tensors = {}
        body: dict[str, Any] = {"round": self.round, "known": self.weights is not None}
        if message.body.get("weights") and self.weights is not None and self.plan is not None:
            tensors["weights"] = self.weights
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
        current = _Round(number, int(body["attempt"]), weights, digest(weights), int(body["maximum_examples"]))
        answer: dict[str, Any] = {}
        if self.run["secure_aggregation"]:
            answer["advertisement"] = self._advertise(current, body)
        self._current = current
        self.weights, self.round = weights, number - 1
        current.training = self._train(trainer, current, body.get("learning_rate"))
        return Message("ok", answer)

    def _advertise(self, current: _Round, body: dict[str, Any]) -> dict[str, Any]:
        assert self.plan is not None  # begin() has checked
        own = {**body, "plan": self.plan.digest}
        current.settings = round_settings(self._domain, own, current.start_digest)
        current.secure = Member(current.settings, self._identity.node_id, self._identity.sign, self._verify)
        return current.secure.advertise().to_dict()

    def _train(self, trainer: Trainer, current: _Round, learning_rate: float | None) -> asyncio.Future[LocalResult]:
        # A round that is tried again from the same weights gives the same update: no need to train twice.
        if self._trained is not None and self._trained[:2] == (current.number, current.start_digest):
            done: asyncio.Future[LocalResult] = asyncio.get_running_loop().create_future()
            done.set_result(self._trained[2])
            return done

        def work() -> LocalResult:
            result = trainer.train(
                current.start,
                round_number=current.number,
                learning_rate=learning_rate,
                should_stop=current.stop.is_set,
            )
            self._trained = (current.number, current.start_digest, result)
            return result

        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        # A round that is given up is never awaited; its error is told when somebody asks for the update.
        future.add_done_callback(lambda f: f.cancelled() or f.exception())
        return future

    async def share(self, message: Message) -> Message:
        """Check everybody's keys and answer with this node's secrets, shared and sealed per recipient."""
        secure = self._secure(message)
        advertisements = {
            str(member): Advertisement.from_dict(entry) for member, entry in message.body["advertisements"].items()
        }
        return Message("ok", {"shares": secure.share(advertisements)})

    async def update(self, message: Message) -> Message:
        """Answer, when training is done, with the update: masked, or in the clear without secure aggregation."""
        current = self._round(message)
        assert current.training is not None  # set by begin
        result = await asyncio.shield(current.training)
        body: dict[str, Any] = {"train_seconds": result.seconds, "metric_names": sorted(result.metrics)}
        if current.secure is None or current.settings is None:
            body |= {"examples": result.examples, "metrics": result.metrics}
            return Message("ok", body, {"update": result.weights})
        started = time.perf_counter()
        secure, settings, inbox = current.secure, current.settings, message.body["inbox"]
        masked = await asyncio.to_thread(self._mask, current, settings, secure, result, inbox)
        body["mask_seconds"] = time.perf_counter() - started
        return Message("ok", body, {"masked": masked})

    @staticmethod
    def _mask(
        current: _Round, settings: RoundSettings, secure: Member, result: LocalResult, inbox: dict[str, bytes]
    ) -> NDArray[np.uint32]:
        delta = result.weights.astype(np.float64) - current.start
        encoded = encode_update(
            delta,
            result.examples,
            current.maximum_examples,
            {name: result.metrics[name] for name in sorted(result.metrics)},
            settings,
            np.random.default_rng(secrets.randbits(128)),
        )
        return secure.mask(encoded, inbox)

    async def survivors(self, message: Message) -> Message:
        """Sign the list of those whose masked vectors arrived."""
        current, survivors = self._round(message), [str(member) for member in message.body["survivors"]]
        opened = self._opened.get(current.start_digest)
        if opened is not None and opened != frozenset(survivors):
            raise Conflict(
                f"The sum of round {current.number} was opened once already, for other members.",
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
        self._opened[current.start_digest] = current.survivors
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
        terms=json.dumps([begin[name] for name in TERMS]).encode(),
    )
