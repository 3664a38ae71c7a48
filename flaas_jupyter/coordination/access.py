"""What a caller may see, and the one way to look things up: what it may not see is not found.

Who holds a role on the platform sees everything, who holds it in an organisation the projects of that organisation,
who holds it in a project that one; a node sees the projects that it is in.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from ..errors import NotAllowed, NotFound
from ..governance import scopes
from ..governance.identity import Caller
from ..governance.isolation import SYSTEM, Tenant
from .presence import is_online
from .settings import Settings
from .tables import Node, NodeProject, Project, ProjectOrganisation, Run

_LISTED = 20


@dataclass(frozen=True)
class View:
    """By whom, when and for which operation things are looked at: what is found, the operation may be done with.

    Parameters
    ----------
    caller : Caller
        Who looks.
    now : datetime
        When.
    settings : Settings
        How the API is run.
    operation : str
        A key of the permissions table.
    """

    caller: Caller
    now: datetime
    settings: Settings
    operation: str

    @classmethod
    def of(cls, caller: Caller, settings: Settings, operation: str) -> View:
        """Return the view of `caller` at present."""
        return cls(caller, datetime.now(UTC), settings, operation)

    @property
    def everything(self) -> bool:
        """Whether the operation may be done on the whole platform."""
        return self.caller.may(self.operation, scopes.PLATFORM)

    @property
    def own(self) -> str:
        """The caller's organisation.

        Raises
        ------
        NotAllowed
            The caller may do the operation, but not for its whole organisation.
        """
        organisation = self.caller.organisation
        if not self.caller.may(self.operation, scopes.organisation(organisation)):
            raise NotAllowed(
                f"{self.operation} for all of {organisation!r} takes a role held in that organisation.",
                hint="Your role is held in a project or at a node only: ask the organisation's administrator.",
                operation=self.operation,
            )
        return organisation

    def require_platform(self) -> None:
        """Raise `NotAllowed` unless the operation may be done on the whole platform."""
        if not self.everything:
            raise NotAllowed(
                f"{self.operation} takes a role held on the whole platform.",
                hint="Yours is held in an organisation or project: ask the platform's administrator.",
                operation=self.operation,
            )

    def held(self, kind: str) -> list[str]:
        """Return the ids of the organisations, projects or nodes (`kind`) where the operation is permitted."""
        held = self.caller.grants.get(self.operation, frozenset())
        return sorted(scopes.id_of(scope) for scope in held if scopes.kind_of(scope) == kind)

    def may(self, operation: str, *within: str) -> bool:
        """Tell whether the caller may do `operation` in one of the scopes; anywhere at all without them."""
        return self.caller.may(operation, *within)

    def may_for(self, operation: str, organisation: str, *projects: str) -> bool:
        """Tell whether the caller may do `operation` for `organisation`, on a thing that is in `projects`.

        A role in the organisation does, and so does one in such a project, if the organisation is the caller's own.
        """
        if self.caller.may(operation, scopes.organisation(organisation)):
            return True
        within = [scopes.project(project) for project in projects]
        return self.caller.organisation == organisation and bool(within) and self.caller.may(operation, *within)

    def require_for_own(self, *projects: str) -> str:
        """Return the caller's organisation, in whose name something is made in `projects`.

        Raises
        ------
        NotAllowed
            The caller may do the operation for other organisations only.
        """
        organisation = self.caller.organisation
        if not self.may_for(self.operation, organisation, *projects):
            raise NotAllowed(
                f"{self.operation} in the name of {organisation!r} takes a role held there, or in the project.",
                hint="Yours is held elsewhere: ask an administrator of your own organisation.",
                operation=self.operation,
            )
        return organisation

    def owns(self, organisation: str, *projects: str) -> bool:
        """Tell whether the view's own operation may be done for `organisation`, see `may_for`."""
        return self.may_for(self.operation, organisation, *projects)

    def online(self, node: Node) -> bool:
        """Tell whether `node` is online."""
        return is_online(node, self.now, self.settings)


_OF_THE_PLATFORM = frozenset({"me", "token", "member", "role", "policy", "approval", "audit", "key"})
"""Resources whose tables are one for the whole platform: their services narrow what is shown and changed."""


def tenant_of(view: View) -> Tenant:
    """Return whose rows the view's operation may touch."""
    caller = view.caller
    if view.everything or view.operation.partition(":")[0] in _OF_THE_PLATFORM:
        return SYSTEM
    if caller.kind == "node":
        return Tenant(caller.organisation, node=caller.subject)
    return Tenant(caller.organisation, projects=frozenset(view.held("project")))


def project_ids(view: View) -> Select[str]:
    """Return the query of the ids of all projects that `view` has."""
    if view.everything:
        return select(Project.id)
    theirs = select(ProjectOrganisation.project)
    if view.caller.kind == "node":
        theirs = theirs.join(NodeProject, NodeProject.project == ProjectOrganisation.project)
        return theirs.where(
            ProjectOrganisation.organisation == view.caller.organisation, NodeProject.node == view.caller.subject
        )
    by_organisation = theirs.where(ProjectOrganisation.organisation.in_(view.held("organisation")))
    return select(Project.id).where(Project.id.in_(by_organisation) | Project.id.in_(view.held("project")))


def within_project(session: Session, project_id: str) -> tuple[str, ...]:
    """Return the scopes that a project lies in: its own, and those of the organisations that take part."""
    organisations = session.scalars(
        select(ProjectOrganisation.organisation).where(ProjectOrganisation.project == project_id)
    )
    return (scopes.project(project_id), *(scopes.organisation(name) for name in sorted(organisations)))


def find_project(session: Session, view: View, project_id: str) -> Project:
    """Return the project.

    Raises
    ------
    NotAllowed
        The caller sees the project, and may not do this in it.
    NotFound
        Code ``unknown-project``; it names those that there are for the caller.
    """
    found = session.scalar(select(Project).where(Project.id == project_id, Project.id.in_(project_ids(view))))
    if found is not None:
        session.info["project"] = found.id  # for the audit log
        return found
    seen = dataclasses.replace(view, operation="project:read")
    known = sorted(session.scalars(project_ids(seen)))
    if project_id in known:
        raise NotAllowed(
            f"In project {project_id!r} you may not do this ({view.operation}).",
            hint="You hold a role with this permission elsewhere only; ask an administrator of the project.",
            operation=view.operation,
        )
    raise NotFound(
        f"There is no project {project_id[:80]!r} for you; there is: {_names(known)}.",
        code="unknown-project",
        hint="An administrator of the platform adds your organisation to a project.",
        known=known[:_LISTED],
    )


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
    return query.where(Node.id.in_(shared) | Node.organisation.in_(view.held("organisation")))


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
    session.info["project"] = run.project
    return run


def _names(known: list[Any]) -> str:
    if not known:
        return "none"
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return ", ".join(known[:_LISTED]) + more
