"""The signal that has a peer connect back: where only it can open a way, or both sides must dial at once.

It goes through the coordination API, which tells the peer which key would be connected to. The peer looks by itself
who that is and where, in what the domain key and that key have signed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from .coordinator import Coordinator, Event

EVENT = "mesh.dial"
_LATE = 30.0
"""Seconds after which nobody waits any more for the connection that a signal has asked for."""


class DialSignal:
    """Has peers connect back to this process; to be awaited with the peer's key.

    Parameters
    ----------
    coordinator : Coordinator
        The API.
    project_of : callable
        Given a key, the id of a project that it and this process are members of; `NotAllowed` if there is none.
    record : callable, optional
        Given a project's id, this process's own signed record for it. A person's key shows by it whose it is, and where
        it can be reached; of a node the API knows both.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        project_of: Callable[[str], str],
        record: Callable[[str], dict[str, Any]] | None = None,
    ) -> None:
        self._coordinator = coordinator
        self._project_of = project_of
        self._record = record

    async def __call__(self, node_id: str) -> None:
        """Signal once.

        Raises
        ------
        Conflict
            ``node-offline``; ``too-many-dials``: it was signalled just now.
        NotAllowed, NotFound
            It or this process is no member in force.
        Unreachable
            The API cannot be reached.
        """
        project = self._project_of(node_id)
        body: dict[str, Any] = {"to": node_id}
        if self._record is not None:
            body["record"] = self._record(project)
        await self._coordinator.post(f"/v1/projects/{project}/dials", body)


def asked_back(event: Event, now: float) -> str | None:
    """Return the key that a signal asks to connect to; None if it is too late for it, or it is none.

    Parameters
    ----------
    event : Event
        Of the node's stream.
    now : float
        Unix seconds.
    """
    key = event.data.get("from")
    if event.type != EVENT or not isinstance(key, str):
        return None
    try:
        told = datetime.fromisoformat(event.time).timestamp()
    except ValueError:
        return None
    return key if now - told < _LATE else None
