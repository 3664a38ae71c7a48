"""Real nodes, explored from a notebook: what ``federation.explore()`` of a connected federation shows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .communications.identity import Identity
from .communications.wire import Message
from .connected_queries import ConnectedSource
from .errors import FlaasError
from .exploration.describing import columns_of, nodes_of
from .exploration.source import OPEN, Described, Json, Looked

if TYPE_CHECKING:
    from .connected import ConnectedFederation

LOOK_SECONDS = 15.0
NEEDED = 3
"""Nodes whose sum is opened."""
PERMISSION = "data:explore"


class ConnectedExplored:
    """A data set of real nodes, as far as it can be explored.

    Parameters
    ----------
    federation : ConnectedFederation
        Its nodes.
    """

    def __init__(self, federation: ConnectedFederation) -> None:
        self._federation = federation
        self._source: ConnectedSource | None = None

    @property
    def source(self) -> ConnectedSource:
        """Where statistics come from."""
        if self._source is None:
            self._source = ConnectedSource(self._federation)
        return self._source

    def describe(self) -> Described:
        """Return what the nodes have told the API, and what the caller's role may see of it."""
        federation = self._federation
        entry = federation._description
        nodes = nodes_of(entry)
        own = self._own_node()
        for node in nodes:
            if node["node"] == own:
                node["level"] = "owner"
        level, notes = self._level(entry)
        rows = [node["rows"] for node in nodes if node["rows"] is not None]
        return Described(
            dataset=federation.dataset,
            project=federation.project.id,
            level=level,
            rows=sum(rows) if rows else None,
            nodes=nodes,
            columns=columns_of(entry),
            notes=tuple(notes),
        )

    def look(self) -> Looked:
        """Ask every node that is online what the caller may see there."""
        federation = self._federation
        session = federation.project.session
        nodes = [node for node in nodes_of(federation._description) if node["online"]]

        async def ask() -> list[tuple[Json, Mapping[str, Any]]]:
            mesh, _ = await session.mesh(federation.project.description)
            message = Message("explore/look", {"project": federation.project.id, "dataset": federation.dataset})

            async def one(node: Json) -> tuple[Json, Mapping[str, Any]]:
                try:
                    return node, (await mesh.call(node["node"], message, timeout=LOOK_SECONDS)).body
                except FlaasError as error:
                    return node, {"problem": {"code": error.code, "message": error.message, "hint": error.hint}}

            return list(await asyncio.gather(*(one(node) for node in nodes)))

        found: dict[str, Json] = {}
        budget: list[Json] = []
        own = self._own_node()
        for node, told in session._loop.run(ask()):
            problem = told.get("problem")
            if problem is not None:
                found[node["node"]] = {"problem": problem}
                continue
            level = "owner" if node["node"] == own else str(told["level"])
            found[node["node"]] = {"level": level, "drift": bool(told["drift"]), "problem": None}
            if told.get("budget"):
                budget.append({"node": node["name"], **told["budget"]})
        return Looked(found, budget)

    def _level(self, entry: Mapping[str, Any]) -> tuple[str, list[str]]:
        """Return what the caller gets over all nodes, and why it is not more."""
        levels = [node["level"] for node in nodes_of(entry)]
        usable = [node for node in nodes_of(entry) if node["level"] in OPEN and node["online"]]
        if all(level == "nothing" for level in levels):
            return "nothing", ["The owners of all nodes show nothing of this data set."]
        if not self._may():
            return "schema", [
                f"Your roles show the schema; statistics take the permission {PERMISSION}, which developers and data "
                "owners of a project have."
            ]
        if len(usable) < NEEDED:
            return "schema", [
                f"Statistics need {NEEDED} nodes that are online and whose owners show them; there are {len(usable)}."
            ]
        return ("private" if any(node["level"] == "private" for node in usable) else "aggregates"), []

    def _may(self) -> bool:
        project = self._federation.project
        scopes = set(project.session.me.get("permissions", {}).get(PERMISSION, ()))
        organisations = project.description.get("organisations") or ()
        return not scopes.isdisjoint(
            {"platform", f"project:{project.id}", *(f"organisation:{each}" for each in organisations)}
        )

    def _own_node(self) -> str | None:
        """Return the id of the node that this machine's FLAAS_HOME is of, if it has the data set."""
        home = self._federation.project.session._home
        if not (home.path / "datasets.json").exists() or not home.key.exists():
            return None
        return Identity.load_or_create(home.key).node_id
