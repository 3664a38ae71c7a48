"""What the API says of a run to a notebook that follows it: who leads it, or how it ended."""

from __future__ import annotations

import contextlib
from typing import Any

from .communications.coordinator import Coordinator
from .errors import Aborted, FlaasError, Unreachable

API_PATIENCE = 120.0
"""Seconds for which a run that has lost its aggregator waits for the coordination API to name another."""
ENDED = ("completed", "failed", "cancelled")


def is_settled(run: dict[str, Any]) -> bool:
    """Tell whether somebody leads the run, or it has ended."""
    return bool(run["aggregator"]) or run["state"] in ENDED


async def wait_for_leader(coordinator: Coordinator, run_id: str) -> str:
    """Wait until the API names the node that leads the run, and return its id; say what is waited for.

    Raises
    ------
    FlaasError
        The run has ended badly, or the API cannot be reached.
    """
    told = ""
    run = await coordinator.get(f"/v1/runs/{run_id}", retry_for=API_PATIENCE)
    if is_settled(run):
        return leader_of(run)
    async with contextlib.aclosing(coordinator.events(f"/v1/runs/{run_id}/events", after=0)) as events:
        async for _ in events:
            run = await coordinator.get(f"/v1/runs/{run_id}", retry_for=API_PATIENCE)
            if is_settled(run):
                return leader_of(run)
            waiting = run.get("waiting_for")
            if waiting and waiting != told:
                told = waiting
                print(f"Run {run_id} waits for {waiting}", flush=True)
    raise Unreachable("The event stream of the run ended.")


def leader_of(run: dict[str, Any]) -> str:
    """Return the id of the node that leads the run, or led it to its end.

    Raises
    ------
    FlaasError
        The run has ended badly; see `ended_badly`.
    """
    if run["state"] in ("failed", "cancelled"):
        raise ended_badly(run["id"], run["state"], run["reason"])
    if not run["aggregator"]:
        raise Aborted(f"Run {run['id']} ended as {run['state']} without an aggregator.", code="run-ended")
    aggregator: str = run["aggregator"]
    return aggregator


def ended_badly(run: str, state: str, reason: dict[str, Any] | None) -> FlaasError:
    """Return the error that tells why a run was cancelled or has failed: its own reason where there is one."""
    if state == "failed" and reason:
        return FlaasError.from_dict(reason)
    told = f": {reason['message']}" if reason and reason.get("message") else "."
    return Aborted(
        f"Run {run} was {state}{told}",
        code=f"run-{state}",
        hint="The model keeps the weights of the last finished round.",
    )
