"""What a node answers the explorer beside statistics: who may see what, and how far its own rows are from all rows.

A notebook asks each node what it lets go of (``explore/look``), and a query's releaser for the distances of the nodes
(``explore/drift``). For these the releaser hands its released histogram to the nodes (``explore/distance``), each of
which holds it against its own part of the same step, and answers once.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..communications.directory import Directory, Peer
from ..communications.identity import canonical
from ..communications.mesh import Route
from ..communications.wire import Message
from ..errors import Conflict, FlaasError, NotAllowed
from . import dataset_name
from .datasets import DatasetRegistry
from .exploring import OPEN
from .policy import Policy
from .queries import Queries
from .query_ledger import Asker
from .query_release import Ask, released_of
from .query_request import EXPLORING, QueryStep

if TYPE_CHECKING:
    from ..protocols.analytics.histograms import Histogram

log = logging.getLogger(__name__)

LIMIT = 64 << 20
KEPT = 256
SECONDS = 60.0
VIEW = EXPLORING + "drift"
LOOK = EXPLORING + "nodes"


class Explorer:
    """A node's part in the explorer.

    Parameters
    ----------
    queries : Queries
        Where its parts and its ledger are.
    policy : Policy
        Its owner's.
    datasets : DatasetRegistry
        What it has.
    directory : callable
        Returns the directory of a project, under the domain key that was pinned.
    ask : Ask
        Sends a request to a node, itself included.
    """

    def __init__(
        self,
        queries: Queries,
        *,
        policy: Policy,
        datasets: DatasetRegistry,
        directory: Callable[[str], Directory],
        ask: Ask,
    ) -> None:
        self._queries, self._policy, self._datasets = queries, policy, datasets
        self._directory, self._ask = directory, ask
        self._told: OrderedDict[str, str] = OrderedDict()

    def routes(self) -> dict[str, Route]:
        """Return what this answers on the mesh."""
        return {
            "explore/look": Route(self._on_look, role="explorer", limit=0),
            "explore/drift": Route(self._on_drift, role="explorer", limit=0),
            "explore/distance": Route(self._on_distance, role="node", limit=LIMIT),
        }

    async def _on_look(self, peer: Peer, message: Message) -> Message:
        """Tell what this person may see of a data set here."""
        project, name = str(message.body.get("project")), str(message.body.get("dataset"))
        member = self._directory(project).require(peer.node_id, "explorer")
        description = await asyncio.to_thread(self._datasets.get_for_peer(name).description)
        policy = self._policy.for_dataset(name)
        if project not in policy.projects or project not in description["projects"]:
            raise dataset_name.unknown(name)
        policy.check_developer(peer.node_id, member.organisation)
        asker = Asker(peer.node_id, member.organisation)
        await asyncio.to_thread(self._queries.ledger.looked, name, project, asker, LOOK)
        if policy.level not in OPEN:
            return Message("ok", {"level": policy.level, "drift": False, "budget": None})
        spent = await asyncio.to_thread(self._queries.ledger.spent, name, peer.node_id)
        return Message(
            "ok",
            {
                "level": policy.level,
                "drift": policy.explore_drift and policy.level == "aggregates",
                "minimum_group": policy.minimum_group,
                "budget": {
                    "spent": spent,
                    "budget": policy.analytics_epsilon,
                    "remaining": max(0.0, policy.analytics_epsilon - spent),
                },
            },
        )

    async def _on_drift(self, peer: Peer, message: Message) -> Message:
        """As the releaser, ask every node in a released histogram for its distance from it."""
        step = QueryStep.parse(message.body.get("step"))
        step.require_from(peer.node_id, "view")
        answer = self._queries.answer_to(step)
        if answer is None:
            raise Conflict("This node has released no such histogram lately.", code="query-over", hint="Ask again.")
        body = {"step": step.document, "released": answer.body["released"]}
        request = Message("explore/distance", body, dict(answer.tensors))

        async def one(node: str) -> dict[str, Any]:
            try:
                reply = await self._ask(node, request, SECONDS)
                return {"node": node, "distances": reply.body.get("distances"), "problem": None}
            except FlaasError as error:
                return {"node": node, "distances": None, "problem": {**error.to_dict(), "details": {}}}

        listed = [str(node) for node in answer.body["nodes"]]
        return Message("ok", {"nodes": await asyncio.gather(*(one(node) for node in listed))})

    async def _on_distance(self, peer: Peer, message: Message) -> Message:
        """Tell how far this node's rows are from a released histogram that they are part of."""
        step = QueryStep.parse(message.body.get("step"))
        if peer.node_id != step.releaser:
            raise NotAllowed(f"{peer.node_id[:12]} does not lead this view.", code="not-the-releaser")
        if step.operation != VIEW:
            raise NotAllowed(
                f"The query was opened as {step.operation[:40]!r}, not as {VIEW!r}.",
                code="explore-view",
                hint="Distances are told of views that were signed as such.",
            )
        step.require_in_force(time.time())
        self._directory(step.project).require(step.developer, "explorer")
        policy = self._policy.for_dataset(step.dataset)
        if not policy.explore_drift or policy.level != "aggregates":
            raise NotAllowed(
                "This node does not tell how far its own rows are from those of all nodes.",
                code="policy-explore-drift",
                hint=f"Ask {policy.whom} to change explore_drift in its node.toml.",
            )
        found = await self._queries.part_in(step)
        if found is None:
            raise Conflict("This node is not in that histogram, or not any more.", code="query-over", hint="Ask again.")
        from ..protocols.analytics.histograms import Histogram

        statistic, local = found
        if not isinstance(statistic, Histogram) or statistic.by or statistic.epsilon is not None:
            raise NotAllowed(
                "Distances are told of an exact histogram without groups.",
                code="explore-view",
                hint="Ask for the view through federation.explore().",
            )
        return await asyncio.to_thread(self._distances, step, statistic, local.counts, message, policy)

    def _distances(
        self, step: QueryStep, histogram: Histogram, counts: Any, message: Message, policy: Policy
    ) -> Message:
        from ..protocols.analytics import drift

        released = released_of(message)
        if len(released.counts) != histogram.cells:
            raise Conflict("The histogram does not belong to that step.", code="bad-release")
        # Of several references, each would tell something else about this node's rows.
        digest = hashlib.sha256(canonical(message.body["released"]) + released.counts.tobytes()).hexdigest()
        if self._told.setdefault(step.sha256, digest) != digest:
            raise NotAllowed(
                "The distances from another histogram were told for that step before.",
                code="query-replayed",
                hint="Ask again: each view opens a query of its own.",
            )
        while len(self._told) > KEPT:
            self._told.popitem(last=False)
        log.info("query %s of %s: distances of %s", step.query, step.developer[:12], step.dataset)
        return Message("ok", {"distances": drift.distances(counts, released, histogram.bins, policy.minimum_group)})
