"""Predicting with a vertical model that a run has left at its parties, and who gets what of it.

The notebook of the run's developer asks the label holder, which asks the other parties; every party checks the
developer's signature itself. Scores are computed at the label holder. They go to the developer only if the owners of
all parties say so (``vertical_predictions = "developer"``); otherwise they are written to a file at the label holder's
node, and the developer is told metrics. The same minimum of common rows as in training protects who is asked about.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..communications.directory import Directory
from ..communications.wire import Message
from ..errors import Aborted, Conflict, FlaasError, InvalidInput, NotAllowed
from ..protocols.vertical.ids import canonical_ids
from .datasets import DatasetRegistry
from .prediction_request import PredictionRequest, ids_digest, ids_from_tensors, ids_to_tensors
from .vertical_exchange import MeshExchange
from .vertical_participant import FAILED, Station, party_table
from .vertical_policy import Place, require_allowed
from .vertical_store import KeptRun

if TYPE_CHECKING:
    from ..training.vertical.state import Scores
    from ..training.vertical.table import PartyTable

log = logging.getLogger(__name__)

PREDICT, SERVE, PART = "vertical/predict", "vertical/serve", "vertical/part"
MOST_PREDICTIONS = 4
"""Predictions that a node takes part in at once."""
DEVELOPER, LABEL_HOLDER = "developer", "label_holder"


class Predictions:
    """The predictions of one node.

    Parameters
    ----------
    station : Station
        What the node lends.
    datasets : DatasetRegistry
        The node's data sets.
    directory : callable
        A project's directory, by the project's id.
    """

    def __init__(self, station: Station, datasets: DatasetRegistry, directory: Callable[[str], Directory]) -> None:
        self._station, self._datasets, self._directory = station, datasets, directory
        self.lines: dict[str, tuple[str, MeshExchange]] = {}
        """Lines of the predictions under way, by name, and the projects that they are in."""
        self._used: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def lost(self, node_id: str) -> None:
        """A peer has gone."""
        for _, line in self.lines.values():
            line.lost(node_id)

    async def close(self) -> None:
        """Stop all that is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- at the label holder ----------------------------------------------------------------------------------------

    async def predict(self, node_id: str, message: Message) -> Message:
        """Predict for the developer: metrics, and scores where all parties let the developer have them.

        Raises
        ------
        FlaasError
            The request is not in order, a party refuses, or the parties have too few rows in common.
        """
        request, kept, place = await self._open(message, node_id)
        if not place.leads:
            raise NotAllowed(f"{place.party} does not hold the label of run {request.run}.", code="not-leading")
        only = None
        if request.ids is not None:
            only = ids_from_tensors(message.tensors)
            if ids_digest(only) != request.ids:
                raise InvalidInput("The ids are not those that were signed.", code="bad-prediction-request")
        line = self._new_line(request, place)
        try:
            others = [party for party in place.nodes if party != place.party]
            body = {"run": request.run, "line": line.line, "request": message.body["request"]}
            agreed = await asyncio.gather(*(self._ask(place, party, Message(SERVE, body)) for party in others))
            scores, table = await self._program(line, kept, place, only)
            assert scores is not None
            to_developer = all(
                released == DEVELOPER for released in (self._released(place), *(str(a.body["scores"]) for a in agreed))
            )
            return await self._answer(request, scores, table.ids[scores.rows], to_developer=to_developer)
        finally:
            self._drop(line)

    async def _answer(
        self, request: PredictionRequest, scores: Scores, ids: NDArray[Any], *, to_developer: bool
    ) -> Message:
        body: dict[str, Any] = {
            "rows": len(scores.rows),
            "metrics": scores.metrics,
            "report": {"rows": scores.report["rows"], "common": scores.report["common"]},
            "scores": None,
        }
        if request.purpose == "evaluate":
            return Message("ok", body)
        if to_developer:
            tensors = {"scores": np.asarray(scores.values), **ids_to_tensors(ids.tolist())}
            return Message("ok", body | {"scores": DEVELOPER}, tensors)
        name = request.nonce[:16]
        path = await asyncio.to_thread(
            self._station.store.write_scores, request.run, name, ids, np.asarray(scores.values)
        )
        log.info("run %s: %d scores were written to %s", request.run, len(scores.rows), path)
        return Message("ok", body | {"scores": LABEL_HOLDER, "file": path.name})

    async def _ask(self, place: Place, party: str, message: Message) -> Message:
        try:
            return await self._station.post(place.nodes[party], message, self._station.timing.patience)
        except FlaasError as error:
            raise Aborted(
                f"Party {party} takes no part in the prediction: {error.message}",
                code=error.code,
                hint=error.hint,
                party=party,
            ) from error

    # ---- at the other parties ---------------------------------------------------------------------------------------

    async def serve(self, node_id: str, message: Message) -> Message:
        """Take part in a prediction that the label holder has been asked for; answer who may have the scores."""
        request, kept, place = await self._open(message, None)
        if place.leads or node_id != place.nodes[place.label_holder]:
            raise NotAllowed(f"{node_id[:12]} does not hold the label of run {request.run}.", code="not-the-aggregator")
        line = self._new_line(request, place)
        task = asyncio.create_task(self._serve(line, kept, place))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return Message("ok", {"scores": self._released(place)})

    async def _serve(self, line: MeshExchange, kept: KeptRun, place: Place) -> None:
        try:
            await self._program(line, kept, place, None)
        except FlaasError as error:
            log.error("prediction %s: %s", line.line, error)
            if line.is_open:
                failed = Message(FAILED, {"line": line.line, "reason": error.to_dict()})
                try:
                    await self._station.post(place.nodes[place.label_holder], failed, self._station.timing.peer)
                except FlaasError as unheard:
                    log.info("prediction %s: the label holder was not told: %s", line.line, unheard)
        finally:
            self._drop(line)

    # ---- the parts of the model -------------------------------------------------------------------------------------

    async def part(self, node_id: str, message: Message) -> Message:
        """Give the run's developer this node's part of the model, if its owner allows it."""
        kept = await asyncio.to_thread(self._station.store.load, str(message.body.get("run")))
        place = Place.of(kept.run, self._station.node_id)
        own = self._station.policy.for_dataset(place.dataset)
        self._directory(kept.run["project"]).require(node_id, "developer")
        if node_id != kept.run["submitter"]:
            raise NotAllowed("Only the developer of the run may have its model.", code="not-the-submitter")
        if not own.vertical_release_model:
            raise NotAllowed(
                f"Party {place.party} keeps its part of the model.",
                code="policy-vertical-release-model",
                hint=f"Ask {own.whom} to change vertical_release_model in its node.toml.",
            )
        log.info("run %s: this node's part of the model goes to its developer", kept.run["id"])
        return Message("ok", {"party": kept.part.party, "plan": kept.part.plan}, dict(kept.part.tensors))

    # ---- for both ---------------------------------------------------------------------------------------------------

    async def _open(self, message: Message, asked_by: str | None) -> tuple[PredictionRequest, KeptRun, Place]:
        """Check a request, as every party does for itself; return it with the run that it is about."""
        request = PredictionRequest.parse(message.body.get("request"))
        request.require_in_force(time.time())
        if asked_by not in (None, request.developer):
            raise NotAllowed("The request is another developer's.", code="not-the-submitter")
        kept = await asyncio.to_thread(self._station.store.load, request.run)
        run = kept.run
        organisation = self._directory(run["project"]).require(request.developer, "developer").organisation
        if request.project != run["project"] or request.developer != run["submitter"]:
            raise NotAllowed("Only the developer of the run may predict with its model.", code="not-the-submitter")
        place = Place.of(run, self._station.node_id)
        own = self._station.policy.for_dataset(place.dataset)
        own.check_developer(request.developer, organisation)
        if request.ids is not None and own.vertical_predictions != DEVELOPER:
            # Metrics of two sets that differ by one person, or a set that is just large enough with that person, would
            # tell who is known here and what the label is.
            raise NotAllowed(
                f"{place.party} lets predictions be made for all rows in common only, not for chosen people.",
                code="policy-vertical-predictions",
                hint=f"Leave ids out, or ask {own.whom} to change vertical_predictions in its node.toml.",
            )
        description = await asyncio.to_thread(self._datasets.get_for_peer(place.dataset).description)
        require_allowed(self._station.policy, run, place, description)
        return request, kept, place

    def _new_line(self, request: PredictionRequest, place: Place) -> MeshExchange:
        now = int(time.time())
        self._used = {nonce: expires for nonce, expires in self._used.items() if expires + 120 > now}
        if request.nonce in self._used:
            raise Conflict(
                "The prediction was asked for before.", code="prediction-replayed", hint="Sign a new request."
            )
        if len(self.lines) >= MOST_PREDICTIONS:
            raise Conflict(
                f"{place.party} takes part in {len(self.lines)} predictions already.",
                code="too-many-predictions",
                hint="Try again in a moment.",
            )
        self._used[request.nonce] = request.expires
        name = f"{request.run}/{request.nonce}"
        line = MeshExchange(name, place.party, place.nodes, self._station.post, self._station.timing.peer)
        self.lines[name] = (request.project, line)
        return line

    def _drop(self, line: MeshExchange) -> None:
        line.close()
        self.lines.pop(line.line, None)

    def _released(self, place: Place) -> str:
        return self._station.policy.for_dataset(place.dataset).vertical_predictions

    async def _program(
        self, line: MeshExchange, kept: KeptRun, place: Place, only: list[str] | None
    ) -> tuple[Scores | None, PartyTable]:
        from ..training.vertical.predict import predict_party

        own, offload = self._station.policy.for_dataset(place.dataset), self._station.offload
        dataset = self._datasets.get_for_peer(place.dataset)
        wanted = None if only is None else frozenset(canonical_ids(only))
        table = await offload(lambda: party_table(dataset, kept.plan, place, wanted))
        scores = await predict_party(
            line,
            kept.plan,
            kept.part,
            table,
            minimum=own.minimum_intersection,
            maximum=min(kept.plan.maximum_ids, own.vertical_maximum_ids),
            should_stop=lambda: not line.is_open,
            allowed_custom=own.allow_layers,
            offload=offload,
        )
        return scores, table
