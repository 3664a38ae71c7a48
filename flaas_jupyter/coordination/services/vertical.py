"""Vertical runs: named nodes that hold different columns about the same people, one of them the label.

They differ from other runs in three ways: only the nodes that were named are invited, each with the data set that was
named for it; all of them are needed, from the beginning to the end; and who leads is not elected, it is the node that
holds the label, because nobody else could.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from ...errors import Aborted, FlaasError, InvalidInput, NotFound
from .. import states
from ..schemas import RunIn
from ..tables import Assignment, Project, Run
from . import datasets
from .datasets import Holding

KIND = "vertical"
FIELDS = ("parties", "id_column", "label", "mode")
"""What a vertical run has and no other run may have."""

_PLAIN: dict[str, object] = {
    "secure_aggregation": False,
    "clip": None,
    "group_size": None,
    "sharded": False,
    "aggregation": "fedavg",
    "aggregation_options": {},
    "privacy": None,
    "clients_per_round": None,
    "minimum_nodes": None,
}


def is_vertical(run: Run) -> bool:
    """Tell whether `run` is a vertical one."""
    return bool(run.request.get("kind") == KIND)


def require_horizontal(body: RunIn, found: list[Holding]) -> None:
    """Check that a run which is not vertical has nothing of a vertical one, and a target at every node.

    Raises
    ------
    InvalidInput
        Codes ``vertical-parties`` and ``no-target``.
    """
    given = [name for name in FIELDS if getattr(body, name) is not None]
    if given:
        raise InvalidInput(
            f"{', '.join(given)} belong to a vertical run; this one is horizontal.",
            code="vertical-parties",
            hint='Send kind "vertical", or leave them out.',
        )
    without = [holding.node.name for holding in found if not holding.dataset.target]
    if without:
        raise InvalidInput(
            f"Data set {body.dataset!r} has no target at {', '.join(without)}; there is nothing to train on.",
            code="no-target",
            hint="Its owner registers it with `flaas dataset add … --target COLUMN`; or train a vertical model.",
        )


def require_parties(session: Session, project: Project, body: RunIn) -> list[Holding]:
    """Return what the parties of a vertical run bring, in their order.

    Raises
    ------
    InvalidInput
        ``vertical-parties``: what is asked for is no vertical run; ``no-id-column``; ``no-target``: the label is not
        where it is said to be.
    NotFound
        Code ``unknown-dataset``: a party does not hold its data set, or is not in the project.
    """
    parties, label = body.parties, body.label
    if parties is None or label is None or body.id_column is None or body.mode is None:
        missing = [name for name in FIELDS if getattr(body, name) is None]
        raise _wrong(f"it has no {', '.join(missing)}")
    for name, plain in _PLAIN.items():
        if getattr(body, name) != plain:
            raise _wrong(f"{name} = {getattr(body, name)!r} does not go with it; allowed is {plain!r}")
    nodes, names = [party.node for party in parties], [party.name for party in parties]
    if len(parties) < 2 or len(set(nodes)) < len(nodes) or len(set(names)) < len(names):
        raise _wrong(f"it needs two or more different parties, not {', '.join(names) or 'none'}")
    if label.node not in nodes:
        raise _wrong("the node that holds the label is not among its parties")
    found = [_holding(session, project, party.node, party.name, party.dataset) for party in parties]
    for holding in found:
        if holding.dataset.id_column != body.id_column:
            told = holding.dataset.id_column
            raise InvalidInput(
                f"Data set {holding.dataset.name!r} of {holding.node.name} "
                + (f"names its rows by {told!r}, not by {body.id_column!r}." if told else "has no id column."),
                code="no-id-column",
                hint=f"Its owner registers it with `flaas dataset add NAME FILE --id {body.id_column}`.",
            )
    holder = found[nodes.index(label.node)]
    if body.dataset != holder.dataset.name:
        raise _wrong(f"its data set is that of the label holder, {holder.dataset.name!r}, not {body.dataset!r}")
    if holder.dataset.target.get("name") != label.column:
        raise InvalidInput(
            f"The target of data set {holder.dataset.name!r} of {holder.node.name} is "
            f"{holder.dataset.target.get('name')!r}, not {label.column!r}.",
            code="no-target",
            hint="Name the column that was registered with `flaas dataset add … --target`.",
        )
    return found


def holdings(session: Session, run: Run) -> list[Holding]:
    """Return what the parties of `run` bring, as far as they hold it at present."""
    wanted = {party["node"]: party["dataset"] for party in run.request["parties"]}
    return [
        holding
        for holding in datasets.holdings(session, run.project)
        if wanted.get(holding.node.id) == holding.dataset.name
    ]


def candidates(run: Run, accepted: list[Assignment]) -> list[Assignment]:
    """Return who may lead `run`: the label holder, as long as it has accepted."""
    return [participant for participant in accepted if participant.node == run.request["label"]["node"]]


def left(run: Run) -> FlaasError | None:
    """Return why a run that has begun cannot go on: a party is out of it; None if all are in."""
    for participant in run.participants:
        if participant.state in (states.REFUSED, states.FAILED):
            reason = participant.reason or {}
            return Aborted(
                f"{participant.member.name} is out of the run: {reason.get('message', 'no reason given')}",
                code=str(reason.get("code", "party-left")),
                hint=str(reason.get("hint") or "A vertical run needs all its parties. See the log of that node."),
                node=participant.node,
            )
    return None


def _holding(session: Session, project: Project, node: str, name: str, dataset: str) -> Holding:
    found = [holding for holding in datasets.holdings(session, project.id) if holding.node.id == node]
    wanted = next((holding for holding in found if holding.dataset.name == dataset), None)
    if wanted is None:
        held = sorted(holding.dataset.name for holding in found)
        raise NotFound(
            f"Node {name} holds no data set {dataset!r} in project {project.id!r}; it holds: "
            f"{', '.join(held) or 'none'}.",
            code="unknown-dataset",
            hint="Its owner registers it with `flaas dataset add NAME FILE --id COLUMN`.",
            known=held[:50],
        )
    if wanted.node.name != name:
        raise _wrong(f"party {name!r} is node {wanted.node.name!r}")
    return wanted


def _wrong(why: str) -> InvalidInput:
    return InvalidInput(
        f"This is no vertical run: {why}.",
        code="vertical-parties",
        hint="Create it with project.vertical({node: data set, …}, id=…, label=(node, column)) in a notebook.",
    )
