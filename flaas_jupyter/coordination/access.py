"""What a caller may see, and the one way to look things up: what it may not see is not found.

An administrator sees everything, a person the projects of its organisation, a node the projects that it is in.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from ..errors import NotAllowed, NotFound
from ..governance.identity import Caller
from ..governance.permissions import ADMIN
from .presence import is_online
from .settings import Settings
from .tables import Node, NodeProject, Project, ProjectOrganisation, Run

_LISTED = 20


@dataclass(frozen=True)
class View:
    """By whom, and when, things are looked at."""

    caller: Caller
    now: datetime
    settings: Settings

    @classmethod
    def of(cls, caller: Caller, settings: Settings) -> View:
        """Return the view of `caller` at present."""
        return cls(caller, datetime.now(UTC), settings)

    @property
    def everything(self) -> bool:
        """Whether the caller is an administrator of the platform."""
        return self.caller.role == ADMIN

    def may(self, operation: str) -> bool:
        """Tell whether the caller's role permits `operation`."""
        return self.caller.may(operation)

    def owns(self, organisation: str) -> bool:
        """Tell whether the caller may act for `organisation`."""
        return self.everything or self.caller.organisation == organisation

    def online(self, node: Node) -> bool:
        """Tell whether `node` is online."""
        return is_online(node, self.now, self.settings)


def project_ids(view: View) -> Select[str]:
    """Return the query of the ids of all projects that `view` has."""
    if view.everything:
        return select(Project.id)
    query = select(ProjectOrganisation.project).where(ProjectOrganisation.organisation == view.caller.organisation)
    if view.caller.kind == "node":
        query = query.join(NodeProject, NodeProject.project == ProjectOrganisation.project)
        query = query.where(NodeProject.node == view.caller.subject)
    return query


def find_project(session: Session, view: View, project_id: str) -> Project:
    """Return the project.

    Raises
    ------
    NotFound
        Code ``unknown-project``; it names those that there are for the caller.
    """
    found = session.scalar(select(Project).where(Project.id == project_id, Project.id.in_(project_ids(view))))
    if found is None:
        known = sorted(session.scalars(project_ids(view)))
        raise NotFound(
            f"There is no project {project_id[:80]!r} for you; there is: {_names(known)}.",
            code="unknown-project",
            hint="An administrator of the platform adds your organisation to a project.",
            known=known[:_LISTED],
        )
    return found


def find_node(session: Session, view: View, node_id: str) -> Node:
    """Return the node; `NotFound` (code ``unknown-node``) if the caller sees none."""
    node = session.scalar(visible_nodes(view).where(Node.id == node_id))
    if node is None:
        raise NotFound(
            f"There is no node {node_id[:80]!r} for you.",
            code="unknown-node",
            hint="It was never registered, was removed, or shares no project with you.",
        )
    return node


def visible_nodes(view: View) -> Select[Node]:
    """Return the query of all nodes that `view` has."""
    query = select(Node).where(Node.removed.is_(None))
    if view.everything:
        return query
    shared = select(NodeProject.node).where(NodeProject.project.in_(project_ids(view)))
    if view.caller.kind == "node":
        return query.where(Node.id.in_(shared) | (Node.id == view.caller.subject))
    return query.where(Node.id.in_(shared) | (Node.organisation == view.caller.organisation))


def require_self(session: Session, view: View, node_id: str) -> Node:
    """Return the caller's own node.

    Raises
    ------
    NotFound
        The caller does not see the node.
    NotAllowed
        It is another one.
    """
    node = find_node(session, view, node_id)
    if view.caller.subject != node.id:
        raise NotAllowed(f"Only node {node.id} itself may do this.", hint="Sign the request with that node's key.")
    return node


def find_run(session: Session, view: View, run_id: str) -> Run:
    """Return the run; `NotFound` (code ``unknown-run``) if the caller sees none."""
    run = session.scalar(select(Run).where(Run.id == run_id, Run.project.in_(project_ids(view))))
    if run is None:
        raise NotFound(
            f"There is no run {run_id[:80]!r} for you.",
            code="unknown-run",
            hint="List the runs of the project.",
        )
    return run


def _names(known: list[Any]) -> str:
    if not known:
        return "none"
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return ", ".join(known[:_LISTED]) + more
