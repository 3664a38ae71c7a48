"""A run as one participating node lives it: get the plan, train when a round begins, hand over the update.

Each method answers one message of the aggregator (docs/mesh.md). With secure aggregation the key exchange of a round
runs while the model trains, and what leaves the node is the masked vector only (Bonawitz et al. 2017; see
`flaas_jupyter.protocols.secure_aggregation`).
"""

from __future__ import annotations

import asyncio
import functools
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..communications.identity import Identity
from ..communications.wire import Message
from ..errors import Aborted, Conflict, InvalidInput
from ..observability import traces
from ..plan import TrainingPlan, columns_digest
from ..protocols import combination, noise_shares
from ..protocols.aggregation import Needs, ScalarRule
from ..protocols.compression import Compressed, Compressor
from ..protocols.groups import DRAWS, Commitment, GroupDraw
from ..protocols.secure_aggregation import (
    Advertisement,
    Member,
    RoundSettings,
    Votes,
    encode_update,
    pack,
    rounding_norm,
)
from . import rule_state
from .checkpoint import digest
from .combining import fresh_generator
from .node_metrics import TRAINING
from .pieces import PIECE, Pieces
from .residuals import Residuals
from .shard_seat import PART, Send, ShardSeat, reveals_from

if TYPE_CHECKING:
    from ..protocols.attacks import Attack
    from ..protocols.privacy import PrivacyPlan
    from ..training.preprocessing.at_node import RecipeAtNode
    from .datasets import Dataset
    from .policy import Policy
    from .trainer import LocalResult, Trainer

Verify = Callable[[str, str, bytes, bytes], None]
"""Node id, context, payload, signature."""

OF_THE_RUN = ("aggregation", "aggregation_options", "privacy", "group_size", "sharded")
TERMS = ("term", "plan", "maximum_examples", "learning_rate", *OF_THE_RUN)
"""What, beside the fields of `RoundSettings`, shapes the vector that a member of a secure round sends."""


@dataclass(frozen=True)
class _Trained:
    """A round's training at this node, and the update that leaves it: clipped, with noise, compressed, as is asked."""

    number: int
    start_digest: str
    result: LocalResult
    update: NDArray[Any]
    compressed: Compressed | None
    noise_key: bytes = field(default_factory=functools.partial(secrets.token_bytes, 32), repr=False)

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
    counted: int | None
    stop: threading.Event = field(default_factory=threading.Event)
    training: asyncio.Future[_Trained] | None = None
    settings: RoundSettings | None = None
    draw: GroupDraw | None = None
    drawn: bool = False
    secure: Member | None = None
    shard: ShardSeat | None = None
    traffic: tuple[int, int] = (0, 0)
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
    send : callable, optional
        ``await send(node, message)`` takes a message to another participant; for sharded sums.
    traffic : callable, optional
        Bytes that this node has sent and received so far.
    residuals : Residuals, optional
        Where a compression with error feedback keeps what was not sent yet; in memory by default.
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
        send: Send | None = None,
        traffic: Callable[[], tuple[int, int]] = lambda: (0, 0),
        residuals: Residuals | None = None,
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
        self._send, self._traffic = send, traffic
        self._residuals = residuals if residuals is not None else Residuals(None)
        self._compressor: Compressor | None = None
        self._pieces: Pieces | None = None
        self._current: _Round | None = None
        self._rule = combination.make_rule(run["aggregation"], run["aggregation_options"])
        self._privacy = combination.read_privacy(run["privacy"])
        self._masked = bool(run["secure_aggregation"])
        self._in_groups = combination.in_groups(self._rule, secure_aggregation=self._masked)
        combination.require_combination(
            self._rule,
            secure_aggregation=self._masked,
            privacy=self._privacy,
            group_size=run.get("group_size"),
            sharded=bool(run.get("sharded")),
        )
        self._privacy_plan: PrivacyPlan | None = None
        self._trained: _Trained | None = None
        # What this node has given out updates for, to keep within the privacy budget.
        self._given: set[tuple[int, int, str]] = set()
        # Draws of groups that this node has revealed a seed in, by round and starting weights.
        self._draws: Counter[tuple[int, str]] = Counter()
        # Starting weights whose sum this node has helped to open, and whose sum it was: to open it again for other
        # members would reveal, by subtraction, the update of whoever differs.
        self._opened: dict[str, tuple[frozenset[str], bytes, tuple[int, float]]] = {}

    async def answer(self, message: Message) -> Message:
        """Answer one of the aggregator's `messages`."""
        handler: Callable[[Message], Awaitable[Message]] = getattr(self, self.messages[message.type])
        return await handler(message)

    messages: ClassVar[dict[str, str]] = {
        "run/prepare": "prepare",
        "run/status": "status",
        "round/begin": "begin",
        "round/draw": "draw",
        "round/groups": "groups",
        "round/share": "share",
        "round/scalar": "scalar",
        "round/update": "update",
        "round/collected": "collected",
        "round/survivors": "survivors",
        "round/unmask": "unmask",
        "round/open": "open",
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
        does = {"local_epochs": plan.local_epochs, "parameters": plan.parameters, "compression": plan.compression}
        self._policy.check({**self.run, **does}, self._dataset.description())
        compressor = combination.make_compressor(plan.compression)
        combination.require_compression(
            compressor,
            self._rule,
            secure_aggregation=self._masked,
            privacy=self._privacy,
            sharded=bool(self.run.get("sharded")),
        )
        self._compressor = compressor
        if self.trainer is None or self.plan != plan:
            self.plan = plan
            self.trainer = await self._in_executor(lambda: self._build(plan))
        return Message("ok", {"examples": self.trainer.examples})

    def _build(self, plan: TrainingPlan) -> Trainer:
        from .red_team import RedTeamTrainer
        from .trainer import Trainer

        rounds, allowed = int(self.run["rounds"]), self._policy.allow_layers
        self._privacy_plan = combination.plan_privacy(self._privacy, rounds=rounds)
        recipe = self._recipe(plan)
        arrays = self._dataset.load(recipe=recipe)
        self._dataset.note_use(self.run, recipe)
        named = self._policy.for_dataset(self._dataset.name).level != "nothing"
        if self._attack is not None:
            return RedTeamTrainer(plan, arrays, self._attack, rounds=rounds, allowed_custom=allowed, named=named)
        return Trainer(plan, arrays, allowed_custom=allowed, named=named)

    def _recipe(self, plan: TrainingPlan) -> RecipeAtNode | None:
        """Return the plan's preprocessing as it is at this node; refuse a data set that has other columns by now."""
        description = self._dataset.description()
        if plan.columns is not None and plan.columns != columns_digest(description):
            raise InvalidInput(
                f"Data set {self._dataset.name!r} has other columns here than when the run was signed.",
                code="schema-changed",
                hint="Look at federation.schema_differences(), and start the run again.",
            )
        if plan.preprocessing is None:
            return None
        from ..training.preprocessing import Recipe
        from ..training.preprocessing.at_node import at_node

        adopted = bool(self._dataset.registration.mapping)
        return at_node(Recipe.from_dict(plan.preprocessing), self._identity.node_id, description, adopted=adopted)

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
        body, before = message.body, self._traffic()
        trainer, weights = self._ready(), await self._weights_in(message)
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
        counted = (body.get("counted") or {}).get(self._identity.node_id)
        current = _Round(
            int(body["term"]), number, int(body["attempt"]), weights, start, int(body["maximum_examples"]), counted
        )
        answer: dict[str, Any] = {}
        if self._masked:
            current.settings = self._settings(current, body)
            if self.run.get("sharded"):
                current.shard = ShardSeat(current.settings, self._identity.node_id, self._verify)
                current.traffic = before
            answer = self._commit(current) if self._in_groups else self._advertise(current)
        self._current = current
        self.weights, self.round = weights, number - 1
        self.rule_state = (body["rule"], rule_state.of_message(message.tensors))
        current.training = self._train(trainer, current, body.get("learning_rate"))
        return Message("ok", answer)

    async def _weights_in(self, message: Message) -> NDArray[Any]:
        """Return the weights that a round begins with; of a sharded one they come in pieces, from all participants."""
        if "piece" not in message.tensors:
            whole: NDArray[Any] = message.tensors["weights"]
            return whole
        if self._send is None or not self.run.get("sharded"):
            raise Conflict("This node takes weights as a whole.", code="not-sharded")
        return await self._gathering().gather(message, self._send)

    def _gathering(self) -> Pieces:
        if self._pieces is None:
            self._ready()
            assert self.plan is not None  # with the trainer
            nodes = [str(entry["node"]) for entry in self.run["participants"]]
            self._pieces = Pieces(self._identity.node_id, nodes, self.plan.parameters, self.plan.dtype)
        return self._pieces

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

    def _settings(self, current: _Round, body: dict[str, Any]) -> RoundSettings:
        assert self.plan is not None  # begin() has checked
        own = {**body, "plan": self.plan.digest, **{name: self.run.get(name) for name in OF_THE_RUN}}
        bits = None if self._compressor is None else self._compressor.value_bits
        settings = round_settings(self._domain, own, current.start_digest, bits)
        if len(settings.members) < self._least_members:
            raise Conflict(
                f"Round {current.number} was to begin with {len(settings.members)} members; this run takes "
                f"{self._least_members} at least, so that updates are hidden among as many.",
                code="too-few-members",
                hint="Do not trust this aggregator: it could surround a member with its own.",
            )
        return settings

    @functools.cached_property
    def _least_members(self) -> int:
        """Members without which no round begins, by what the developer signed."""
        wanted, sample = self.run.get("minimum_nodes"), self.run.get("clients_per_round")
        least = min(int(wanted), int(sample or wanted)) if wanted else 0
        if self._in_groups:
            least = max(least, combination.least_groups(self._rule) * int(self.run["group_size"]))
        return least

    def _advertise(self, current: _Round) -> dict[str, Any]:
        assert current.settings is not None  # set before
        current.secure = Member(current.settings, self._identity.node_id, self._identity.sign, self._verify)
        return {"advertisement": current.secure.advertise().to_dict()}

    def _commit(self, current: _Round) -> dict[str, Any]:
        assert current.settings is not None  # set before
        size, me = int(self.run["group_size"]), self._identity.node_id
        current.draw = GroupDraw(current.settings, size, me, self._identity.sign, self._verify)
        return {"commitment": current.draw.commit().to_dict()}

    async def draw(self, message: Message) -> Message:
        """Reveal this node's seed, when everybody is committed to one; for so many draws of a round only."""
        current, drawing = self._drawing(message)
        commitments = {
            str(member): Commitment.from_dict(entry) for member, entry in message.body["commitments"].items()
        }
        seed = drawing.reveal(commitments)
        if not current.drawn:
            self._draws[current.number, current.start_digest] += 1
            current.drawn = True
        if self._draws[current.number, current.start_digest] > DRAWS:
            raise Conflict(
                f"The groups of round {current.number} were drawn {DRAWS} times already.",
                code="group-draws-spent",
                hint="An aggregator that draws again until the groups suit it would choose them. Start a new run from "
                "the last weights.",
            )
        return Message("ok", {"seed": seed})

    async def groups(self, message: Message) -> Message:
        """Find this node's group from everybody's seed, and answer with fresh signed keys for its secure sum."""
        current, drawing = self._drawing(message)
        if current.secure is not None:
            raise Conflict("This node has its group of this round already.", code="secagg-wrong-phase")
        seeds = {str(member): seed for member, seed in message.body["seeds"].items()}
        _, current.settings = drawing.assigned(seeds)
        return Message("ok", self._advertise(current))

    def _drawing(self, message: Message) -> tuple[_Round, GroupDraw]:
        current = self._round(message)
        if current.draw is None:
            raise Conflict("This run has no groups.", code="no-groups")
        return current, current.draw

    def _train(self, trainer: Trainer, current: _Round, learning_rate: float | None) -> asyncio.Future[_Trained]:
        # A round that is tried again from the same weights gives the same update: no need to train twice, and no
        # second draw of noise, whose average would tell more than one.
        known = self._trained
        if known is not None and (known.number, known.start_digest) == (current.number, current.start_digest):
            done: asyncio.Future[_Trained] = asyncio.get_running_loop().create_future()
            done.set_result(known)
            return done

        here = traces.traceparent()

        def work() -> _Trained:
            with traces.span("train", parent=here, flaas_run=self.run["id"], flaas_round=current.number):
                result = trainer.train(
                    current.start,
                    round_number=current.number,
                    learning_rate=learning_rate,
                    proximal=self._rule.proximal,
                    should_stop=current.stop.is_set,
                )
            TRAINING.observe(result.seconds)
            update = self._private(result.weights.astype(np.float64) - current.start, current)
            compressed = self._compress(current, result, update)
            if compressed is not None and self._masked:  # what of it counts: the sum rounds by itself
                update = compressed.weights.astype(np.float64) - current.start
            self._trained = _Trained(current.number, current.start_digest, result, update, compressed)
            return self._trained

        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        # A round that is given up is never awaited; its error is told when somebody asks for the update.
        future.add_done_callback(lambda f: f.cancelled() or f.exception())
        return future

    def _compress(self, current: _Round, result: LocalResult, update: NDArray[np.float64]) -> Compressed | None:
        """Compress the update as the plan asks; the quantisers of a secure sum do so when it is encoded."""
        compressor = self._compressor
        if compressor is None or (self._masked and compressor.value_bits is not None):
            return None
        carried = None
        if compressor.remembers:
            feedback = self._residuals.of(str(self.run["id"]), current.start.shape)
            carried = feedback.carried(current.number, current.counted)
        compressed = compressor.compress(
            self._update_in_weights(current, result, update),
            current.start,
            rng=fresh_generator(),
            common=common_bytes(current.number, current.start_digest),
            carried=carried,
        )
        if compressed.residual is not None:
            feedback.sent(current.number, compressed.residual)
            self._residuals.save(str(self.run["id"]), feedback)
        return compressed

    def _private(self, update: NDArray[np.float64], current: _Round) -> NDArray[np.float64]:
        """Clip the update and add this node's noise, as the run's privacy asks."""
        if self._privacy is None:
            return update
        from ..protocols import privacy

        clip = float(self._privacy.clip)
        if current.settings is not None:
            clip -= rounding_norm(update.size, current.settings)
            if clip <= 0:
                raise InvalidInput(
                    f"Updates clipped to {self._privacy.clip:g} would vanish in the fixed point of a range of "
                    f"{current.settings.clip:g}.",
                    code="range-too-wide",
                    hint="The range that was told is too wide for this budget. Do not trust this aggregator.",
                )
        clipped: NDArray[np.float64] = privacy.clip_update(update, clip)[0]
        if self._privacy.counts_alike:
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
        sealed = secure.share(advertisements)
        shard = self._round(message).shard
        if shard is not None:
            shard.keys(advertisements)
        return Message("ok", {"shares": sealed})

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
        if not self._masked:
            body |= {"examples": result.examples, "metrics": metrics}
            compressed = trained.compressed
            if compressed is None:
                return Message("ok", body, {"update": self._update_in_weights(current, result, trained.update)})
            if self._privacy is None:  # like the metrics, it is of the data
                body["error"] = compressed.error
            return Message("ok", body, compressed.tensors)
        started, secure = time.perf_counter(), self._secure(message)
        assert current.settings is not None  # there is a member's side
        settings = current.settings
        names = {name: metrics[name] for name in sorted(metrics)}
        encoding = functools.partial(self._encoded, trained, names, current.maximum_examples, settings)
        votes = self._votes(message)
        share = self._share(votes)
        inbox = message.body["inbox"]
        if current.shard is not None:
            encoded = await asyncio.to_thread(encoding, share)
            sharers = [str(member) for member in message.body["sharers"]]
            await current.shard.distribute(secure, encoded, inbox, sharers, self._sender(current))
            body["mask_seconds"] = time.perf_counter() - started
            return Message("ok", body)
        masked = await asyncio.to_thread(lambda: secure.mask(encoding(share), inbox, votes=votes))
        current.votes = votes
        tensors: dict[str, NDArray[Any]] = {"masked": masked}
        if settings.bits is not None:
            scalars, packed = await asyncio.to_thread(pack, masked, trained.update.size, settings)
            tensors = {"scalars": scalars, "packed": packed}
        body["mask_seconds"] = time.perf_counter() - started
        return Message("ok", body, tensors)

    def _sender(self, current: _Round) -> Callable[[str, NDArray[np.uint32]], Awaitable[Message]]:
        where = {"run": self.run["id"], "round": current.number, "attempt": current.attempt}
        send = self._send
        if send is None:
            raise Conflict("This node cannot reach other participants.", code="no-mesh")
        return lambda node, part: send(node, Message(PART, where, {"part": part}))

    async def of_peer(self, node_id: str, message: Message) -> Message:
        """Take another participant's part of the shard that this node adds up, or its piece of the weights."""
        if message.type == PIECE:
            self._gathering().take(node_id, message)
            return Message("ok")
        shard = self._shard(message)
        part = message.tensors.get("part")
        if part is None:
            raise InvalidInput("The message brings no part of a vector.", code="secagg-malformed")
        shard.take(node_id, part)
        return Message("ok")

    async def collected(self, message: Message) -> Message:
        """Tell whose parts of this node's shard have arrived."""
        return Message("ok", {"received": list(self._shard(message).received)})

    async def open(self, message: Message) -> Message:
        """Open this node's shard of the sum, when enough survivors have signed who is in it and given their shares."""
        current, shard = self._round(message), self._shard(message)
        survivors = [str(member) for member in message.body["survivors"]]
        signatures, reveals = message.body["signatures"], reveals_from(message)
        part = await asyncio.to_thread(shard.open, survivors, signatures, reveals)
        sent, received = (now - before for now, before in zip(self._traffic(), current.traffic, strict=True))
        return Message("ok", {"sent": sent, "received": received}, {"part": part})

    def _shard(self, message: Message) -> ShardSeat:
        shard = self._round(message).shard
        if shard is None:
            raise Conflict("This run is not sharded.", code="not-sharded")
        return shard

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

    def _update_in_weights(self, current: _Round, result: LocalResult, update: NDArray[Any]) -> NDArray[Any]:
        if self._privacy is None:
            return result.weights
        weights: NDArray[Any] = (current.start + update).astype(current.start.dtype)
        return weights

    def _votes(self, message: Message) -> Votes | None:
        """Return everybody's share where the run's rule gives votes; the aggregator cannot leave them away."""
        return Votes(message.body.get("votes") or {}) if self._rule.needs is Needs.SCALARS else None

    def _share(self, votes: Votes | None) -> float | None:
        """Return what this node's update counts for; None for its share of the examples."""
        if votes is not None:
            return votes.share_of(self._identity.node_id)
        return 1.0 if self._privacy is not None and self._privacy.counts_alike else None

    def _encoded(
        self,
        trained: _Trained,
        metrics: Mapping[str, float],
        maximum_examples: int,
        settings: RoundSettings,
        share: float | None,
    ) -> NDArray[np.uint32]:
        """Return the update as the sum takes it, with this node's share of the noise where the run's privacy asks."""
        distributed = self._privacy is not None and self._privacy.mode == "distributed"
        # A round that is tried again sends the same: neither noise nor rounding are drawn twice.
        rng = np.random.default_rng(list(trained.noise_key)) if distributed else fresh_generator()
        update = trained.update
        if self._compressor is not None:
            common = common_bytes(trained.number, trained.start_digest)
            places = self._compressor.coordinates(update.size, common)
            update = update if places is None else update[places]
        encoded = encode_update(update, trained.result.examples, maximum_examples, metrics, settings, rng, share=share)
        if distributed:
            assert self._privacy_plan is not None  # prepare came first
            steps = noise_shares.share_in_steps(self._privacy_plan, settings)
            noise_shares.add_share(encoded, trained.update.size, steps, trained.noise_key)
        return encoded

    async def survivors(self, message: Message) -> Message:
        """Sign the list of those whose masked vectors arrived."""
        current, survivors = self._round(message), [str(member) for member in message.body["survivors"]]
        opened = self._opened.get(current.start_digest)
        if opened is not None and opened != (frozenset(survivors), current.votes_digest, self._scale(current)):
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
        self._opened[current.start_digest] = (current.survivors, current.votes_digest, self._scale(current))
        return Message("ok", {"reveals": {member: reveal.to_dict() for member, reveal in reveals.items()}})

    def _scale(self, current: _Round) -> tuple[int, float]:
        """What noise and rounding are scaled by, with distributed privacy: a sum that opens twice must be the same."""
        if self._privacy is None or self._privacy.mode != "distributed" or current.settings is None:
            return 0, 0.0
        return len(current.settings.members), current.settings.clip

    def cancel_round(self) -> None:
        """Stop the training under way, between two batches, and forget the secrets of the round's sum."""
        if self._current is not None:
            self._current.stop.set()
            if self._current.secure is not None:
                self._current.secure.abort()
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
        if secure is None and self._in_groups:
            raise Conflict("The groups of this round are not drawn yet.", code="secagg-wrong-phase")
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


def common_bytes(number: int, start_digest: str) -> bytes:
    """Return what a compression draws by where all must draw alike: another one in each round."""
    return f"{number} {start_digest}".encode()


def round_settings(domain: str, begin: Mapping[str, Any], start_digest: str, bits: int | None = None) -> RoundSettings:
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
        bits=bits,
    )
