"""Queries at a node: what of the mesh is answered, and everything that is checked before rows are gone through.

A notebook sends a signed step to the releaser, which is one of the nodes; the releaser leads the sum over all of them
(`query_release`); each node takes part in it (`query_session`). A node answers a step only if a developer of the
project has signed it for exactly these members, the coordination API knows the query (permission, audit log), the
owner's policy lets it through, and the ledger (`query_ledger`) has no answer from which the difference would tell too
much.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..communications.directory import Directory, Peer
from ..communications.identity import Identity
from ..communications.mesh import Route
from ..communications.wire import Message
from ..errors import Conflict, FlaasError, InvalidInput, NotAllowed
from . import dataset_name, explaining, exploring, row_hashes
from .columns import names
from .consent import with_newer_directory
from .datasets import Dataset, DatasetRegistry, Registration
from .node_metrics import QUERIES
from .policy import ANALYTICS, EXPLORE, Policy
from .query_ledger import Asker, QueryLedger, Question, changed_meanwhile
from .query_release import Ask, QueryRelease
from .query_request import EXPLORING, QueryStep, purpose_of
from .query_session import Contribution, QuerySession, Verify

if TYPE_CHECKING:
    from ..protocols.analytics import ReleasePolicy
    from ..protocols.analytics.statistics import Local, Statistic

log = logging.getLogger(__name__)

LIMIT = 64 << 20
"""Bytes of the tensors of one message."""
KEPT_RECORDS, KEPT_STEPS, KEPT_SESSIONS, KEPT_ANSWERS = 64, 256, 64, 32
PHASE_SECONDS = 600.0


@dataclass(frozen=True)
class Asked:
    """A step that was found to be in order, and what it asks for."""

    step: QueryStep
    statistic: Statistic
    dataset: Dataset
    question: Question


class Queries:
    """A node's part in queries.

    Parameters
    ----------
    folder : Path
        Where the ledger is kept, under `FLAAS_HOME`.
    identity : Identity
        The node's.
    policy : Policy
        Its owner's.
    datasets : DatasetRegistry
        What it has.
    directory : callable
        Returns the directory of a project, under the domain key that was pinned.
    refresh : coroutine function
        Fetches the directories anew.
    fetch : coroutine function of str
        GETs a path of the coordination API.
    ask : Ask
        Sends a request to a node, itself included.
    verifier : callable
        Returns the check of signatures of a project's nodes.
    require_trust : callable, optional
        Raises while the coordination API's audit log is found to be forked.
    """

    def __init__(
        self,
        folder: Path,
        *,
        identity: Identity,
        policy: Policy,
        datasets: DatasetRegistry,
        directory: Callable[[str], Directory],
        refresh: Callable[[], Awaitable[None]],
        fetch: Callable[[str], Awaitable[dict[str, Any]]],
        ask: Ask,
        verifier: Callable[[str], Verify],
        require_trust: Callable[[], None] = lambda: None,
    ) -> None:
        self._identity, self._policy, self._datasets = identity, policy, datasets
        self._directory, self._refresh, self._fetch = directory, refresh, fetch
        self._ask, self._verifier, self._require_trust = ask, verifier, require_trust
        self.ledger = QueryLedger(folder)
        self._records: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._steps: OrderedDict[tuple[str, int], str] = OrderedDict()
        self._contributions: OrderedDict[str, tuple[str, Contribution]] = OrderedDict()
        self._trained: OrderedDict[str, None] = OrderedDict()
        self._sessions: OrderedDict[tuple[str, int], QuerySession] = OrderedDict()
        self._answers: OrderedDict[str, Message] = OrderedDict()
        self._leading: dict[str, asyncio.Task[Message]] = {}
        self._computing = ThreadPoolExecutor(1, thread_name_prefix="statistics")

    def close(self) -> None:
        """Stop leading queries and going through rows."""
        for leading in list(self._leading.values()):
            leading.cancel()
        self._computing.shutdown(wait=False, cancel_futures=True)

    def routes(self) -> dict[str, Route]:
        """Return what this answers on the mesh."""
        from_nodes = {"query/begin": self._on_begin} | dict.fromkeys(QuerySession.messages, self._on_session)
        routes = {kind: Route(handler, role="node", limit=LIMIT) for kind, handler in from_nodes.items()}
        routes["query/run"] = Route(self._on_run, role="explorer", limit=LIMIT)
        routes["query/budget"] = Route(self._on_budget, role="explorer", limit=0)
        return routes

    def answer_to(self, step: QueryStep) -> Message | None:
        """Return what this node, as the releaser, has answered to a step lately."""
        return self._answers.get(step.sha256)

    async def part_in(self, step: QueryStep) -> tuple[Statistic, Local] | None:
        """Return this node's own part of a step that it has lately answered; None if there is none."""
        known = self._contributions.get(step.sha256)
        if known is None or not await asyncio.to_thread(self.ledger.was_answered, step):
            return None
        _, contribution = known
        return contribution.statistic, await asyncio.shield(contribution.local)

    # ---- what the notebook asks -----------------------------------------------------------------------------------

    async def _on_run(self, peer: Peer, message: Message) -> Message:
        """Lead one step, as the releaser; asked again, answer as before."""
        step = QueryStep.parse(message.body.get("step"))
        step.require_from(peer.node_id, "query")
        if step.releaser != self._identity.node_id:
            raise InvalidInput(
                f"The releaser of query {step.query} is {step.releaser[:12]}, not this node.",
                code="not-the-releaser",
                hint="Send the step to the releaser that the query names.",
            )
        known = self._answers.get(step.sha256)
        if known is not None:
            return known
        if step.sha256 not in self._leading:
            leading = asyncio.create_task(self._lead(step, message.tensors))
            self._leading[step.sha256] = leading
            leading.add_done_callback(lambda _: self._leading.pop(step.sha256, None))
        # Whoever asks again, after a lost connection, waits for the same answer.
        return await asyncio.shield(self._leading[step.sha256])

    async def _lead(self, step: QueryStep, tensors: Mapping[str, NDArray[Any]]) -> Message:
        statistic, record, _ = await self._require_known(step)
        release = QueryRelease(
            step,
            statistic,
            names={str(each["node"]): str(each["name"]) for each in record["participants"]},
            ask=self._ask,
            verify=self._verifier(step.project),
            limit=PHASE_SECONDS,
            tensors=tensors,
            ready=lambda: self._with_model_now(step, statistic, tensors),
        )
        answer = await release.run()
        _keep(self._answers, step.sha256, answer, KEPT_ANSWERS)
        return answer

    async def _on_budget(self, peer: Peer, message: Message) -> Message:
        """Tell a developer what private answers about a data set have cost, and what is left."""
        project, name = str(message.body.get("project")), str(message.body.get("dataset"))
        self._directory(project).require(peer.node_id, "explorer")
        description = await asyncio.to_thread(self._datasets.get_for_peer(name).description)
        policy = self._policy.for_dataset(name)
        if project not in policy.projects or project not in description["projects"]:
            raise dataset_name.unknown(name)
        spent = await asyncio.to_thread(self.ledger.spent, name, peer.node_id)
        return Message(
            "ok",
            {
                "dataset": name,
                "spent": spent,
                "budget": policy.analytics_epsilon,
                "remaining": max(0.0, policy.analytics_epsilon - spent),
                "privacy": policy.analytics_privacy,
                "minimum_group": policy.minimum_group,
                "open": "analytics" in policy.operations,
            },
        )

    # ---- what the releaser asks -----------------------------------------------------------------------------------

    async def _on_begin(self, peer: Peer, message: Message) -> Message:
        step = QueryStep.parse(message.body.get("step"))
        if peer.node_id != step.releaser:
            raise NotAllowed(
                f"{peer.node_id[:12]} is not the releaser of query {step.query}.",
                code="not-the-releaser",
                hint="Only the node that the developer has signed for as the releaser may lead it.",
            )
        attempt = message.body.get("attempt")
        if type(attempt) is not int or not 1 <= attempt <= 1000:
            raise InvalidInput("An attempt is a number from 1 on.", code="bad-query")
        present = step.require_present(message.body.get("present"))
        if self._identity.node_id not in present:
            raise InvalidInput("This node is not among those who take part.", code="query-members")
        try:
            asked = await self._require(step, message.tensors)
            self._require_first(step, attempt)
            session = self._session(asked, present, attempt)
        except FlaasError as error:
            # A ledger is that of a data set that there is: others are not kept for whatever a peer names.
            if self._datasets.entry(step.dataset) is not None:
                QUERIES.labels("refused").inc()
                await asyncio.to_thread(self.ledger.refused, step, error)
            raise
        _keep(self._sessions, (step.query, step.step), session, KEPT_SESSIONS)
        policy = release_policy(self._policy, asked)
        return Message("ok", {**session.begin(), "policy": policy.to_dict()})

    async def _on_session(self, peer: Peer, message: Message) -> Message:
        body = message.body
        session = self._sessions.get((str(body.get("query")), body.get("number", -1)))
        if session is None or session.attempt != body.get("attempt"):
            raise Conflict("No such attempt of a query is under way here.", code="query-over", hint="Ask again.")
        if session.step.releaser != peer.node_id:
            raise NotAllowed(f"{peer.node_id[:12]} does not lead this query.", code="not-the-releaser")
        session.step.require_in_force(time.time())
        return await session.answer(message)

    def _require_first(self, step: QueryStep, attempt: int) -> None:
        """Refuse two different steps of one number, and an attempt that is not a later one."""
        key = (step.query, step.step)
        if self._steps.get(key, step.sha256) != step.sha256:
            raise NotAllowed(
                f"Step {step.step} of query {step.query} was asked for otherwise before.",
                code="query-replayed",
                hint="Ask again: each call opens a query of its own.",
            )
        before = self._sessions.get(key)
        if before is not None and attempt <= before.attempt:
            raise Conflict(f"Attempt {attempt} of this step was begun before.", code="query-replayed")
        _keep(self._steps, key, step.sha256, KEPT_STEPS)

    def _session(self, asked: Asked, present: tuple[str, ...], attempt: int) -> QuerySession:
        step, policy = asked.step, self._policy.for_dataset(asked.step.dataset)

        async def check(local: Local) -> None:
            await self._in_ledger(asked, self.ledger.check, asked.question, local, policy)

        async def settle(local: Local, survivors: frozenset[str]) -> None:
            await self._in_ledger(asked, self.ledger.settle, asked.question, local, policy, survivors, attempt)
            if asked.question.operation == "train" and step.query not in self._trained:
                use = {"id": step.query, "project": step.project, "operation": step.operation}
                await asyncio.to_thread(asked.dataset.note_use, use)
                _keep(self._trained, step.query, None, KEPT_RECORDS)
            QUERIES.labels("answered").inc()
            log.info(
                "query %s step %d of %s: answered, %s of %s",
                step.query, step.step, step.developer[:12], step.operation, step.dataset,
            )  # fmt: skip

        return QuerySession(
            step,
            present,
            attempt,
            self._contribution(asked),
            identity=self._identity,
            verify=self._verifier(step.project),
            check=check,
            settle=settle,
        )

    async def _in_ledger(self, asked: Asked, work: Callable[..., None], *args: Any) -> None:
        try:
            await asyncio.to_thread(work, *args)
        except FlaasError as error:
            QUERIES.labels("refused").inc()
            log.warning("query %s of %s is refused: %s", asked.step.query, asked.step.developer[:12], error)
            await asyncio.to_thread(self.ledger.refused, asked.step, error)
            raise

    def _contribution(self, asked: Asked) -> Contribution:
        """Return this node's part of the step; its rows are gone through once."""
        known = self._contributions.get(asked.step.sha256)
        if known is not None:
            state, contribution = known
            if state != asked.question.state:
                raise changed_meanwhile(asked.step.dataset)
            return contribution

        def work() -> Local:
            operation = asked.question.operation
            columns = asked.dataset.columns(ANALYTICS if operation == EXPLORE else operation)
            if asked.dataset.registration.version != asked.question.state:
                raise changed_meanwhile(asked.step.dataset)
            used = sorted(asked.statistic.columns_used) or list(columns)[:1]
            if operation == EXPLORE:
                return asked.statistic.local(exploring.read_columns(asked.dataset, columns, used))
            return asked.statistic.local({name: columns[name] for name in used})

        local = asyncio.get_running_loop().run_in_executor(self._computing, work)
        # A step that is given up is never awaited; its error is told to whoever asks for the vector.
        local.add_done_callback(lambda future: future.cancelled() or future.exception())
        contribution = Contribution(asked.statistic, local)
        _keep(self._contributions, asked.step.sha256, (asked.question.state, contribution), KEPT_ANSWERS)
        return contribution

    # ---- is it in order -------------------------------------------------------------------------------------------

    async def _require(self, step: QueryStep, tensors: Mapping[str, NDArray[Any]]) -> Asked:
        """Check everything that does not depend on the rows.

        Raises
        ------
        NotAllowed
            ``unknown-peer``, ``role-missing``, ``membership-expired``: its signer is no developer of the project (for
            the explorer's views: no explorer), or a member no node; ``query-expired``, ``query-altered``,
            ``query-closed``; ``policy-…``; ``explore-view``, ``explore-column``.
        InvalidInput
            ``unknown-statistic``, ``bad-statistic``, ``unknown-column``.
        Unreachable
            The API cannot be asked about the query.
        """
        statistic, _, organisation = await self._require_known(step)
        dataset = self._datasets.get_for_peer(step.dataset)
        operation = purpose_of(statistic.kind, step.operation)
        self._policy.for_dataset(step.dataset).check_developer(step.developer, organisation)
        description = await asyncio.to_thread(dataset.description)
        self._policy.check_query(step.project, operation, statistic.epsilon, step.step, description)
        registration = dataset.registration
        known = names(registration.features, registration.targets)
        if operation == EXPLORE:
            own = self._policy.for_dataset(step.dataset)
            exploring.require_view(statistic, registration.schema, registration.id_column, own)
            known += exploring.shown_columns(registration.schema, own)
        _require_columns(statistic, known, self._policy.for_dataset(step.dataset))
        statistic = await self._with_model(step, statistic, tensors)
        question = Question(
            asker=Asker(step.developer, organisation),
            step=step,
            statistic=statistic,
            operation=operation,
            state=registration.version,
            hashed=lambda key: _hashed(dataset, registration, self._policy.for_dataset(step.dataset), key),
        )
        asked = Asked(step, statistic, dataset, question)
        release_policy(self._policy, asked).require(statistic)
        return asked

    async def _with_model(
        self, step: QueryStep, statistic: Statistic, tensors: Mapping[str, NDArray[Any]]
    ) -> Statistic:
        """Return the statistic with the model that came with it, if it is about one."""
        return await asyncio.to_thread(self._with_model_now, step, statistic, tensors)

    def _with_model_now(self, step: QueryStep, statistic: Statistic, tensors: Mapping[str, NDArray[Any]]) -> Statistic:
        return explaining.with_model(statistic, tensors, self._policy, step.dataset, self._identity.node_id)

    async def _require_known(self, step: QueryStep) -> tuple[Statistic, Mapping[str, Any], str]:
        """Return statistic, the API's record and the developer's organisation, if they are who they are said to be."""
        from ..protocols.analytics import statistics

        step.require_in_force(time.time())
        if self._identity.node_id not in step.members:
            raise NotAllowed("The developer has not signed for this node.", code="query-members")
        organisation = await self._require_members(step)
        self._require_trust()
        record = await self._record(step)
        return await asyncio.to_thread(statistics.parse, step.statistic), record, organisation

    async def _require_members(self, step: QueryStep) -> str:
        """Return the developer's organisation, if all are who they are said to be, by the domain key's signature."""
        directory = self._directory(step.project)

        async def require() -> str:
            for member in step.members:
                directory.require(member, "node")
            role = "explorer" if step.operation.startswith(EXPLORING) else "developer"
            return directory.require(step.developer, role).organisation

        return await with_newer_directory(require, self._refresh)

    async def _record(self, step: QueryStep) -> Mapping[str, Any]:
        """Return what the API says of the query, which is asked once for all its steps."""
        record = self._records.get(step.query)
        if record is None:
            record = await self._fetch(f"/v1/queries/{step.query}")
            _keep(self._records, step.query, record, KEPT_RECORDS)
        step.require_same(record)
        return record


def release_policy(policy: Policy, asked: Asked) -> ReleasePolicy:
    """Return what the owner's policy says of the release of a statistic."""
    from ..protocols.analytics import ReleasePolicy

    own = policy.for_dataset(asked.step.dataset)
    required = own.level == "private" and asked.question.operation != "train"
    return ReleasePolicy(
        minimum_group=own.minimum_group,
        order="exact" if own.analytics_order == "exact" else "bracketed",
        derived="any" if own.analytics_derived == "any" else "plain",
        privacy="required" if required else "optional",
    )


def _require_columns(statistic: Statistic, known: Sequence[str], policy: Policy) -> None:
    """Refuse columns that are not there; where names are withheld, without telling those there are.

    Raises
    ------
    InvalidInput
        Code ``unknown-column``.
    """
    try:
        statistic.require(known)
    except InvalidInput as error:
        if policy.level != "nothing":
            raise
        raise InvalidInput(
            "A column that is asked about is not there; this node does not tell the names of those that are.",
            code="unknown-column",
            hint=f"Ask {policy.whom} which columns there are, or to change explore in its node.toml.",
        ) from error


def _hashed(dataset: Dataset, asked: Registration, policy: Policy, key: bytes) -> row_hashes.HashedRows:
    """Return the hashes of the rows of a version, over all columns that can be asked about."""
    from .datasets.kinds import values_of

    columns = list(dict.fromkeys([*asked.columns, *exploring.shown_columns(asked.schema, policy)]))
    found = row_hashes.hashed(
        (
            {name: values_of(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
            for batch in dataset.batches(columns)
        ),
        key,
    )
    if dataset.registration.version != asked.version:
        raise changed_meanwhile(asked.name)
    return found


def _keep(kept: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
