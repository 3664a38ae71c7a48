"""Queries: who asks which nodes about which data set. What is asked and what comes out goes over the mesh only.

The API chooses the nodes and the one of them that releases the result, and says so to whoever asks; every node checks
by itself that a developer has signed for exactly these (docs/mesh.md).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from ...errors import Conflict, NotAllowed, NotFound
from .. import events, hal
from ..access import View, project_ids, within_project
from ..query_schemas import QueryEnd, QueryIn, ViewIn
from ..tables import Project, Query
from . import datasets

MINIMUM, MOST = 3, 1000
"""Nodes whose sum is opened: of two, each would learn what the other has; more than a secure sum takes are left out."""
LIFETIME = timedelta(minutes=15)


def create(session: Session, view: View, project: Project, body: QueryIn | ViewIn) -> Query:
    """Open a query over the nodes of a data set that are online.

    Raises
    ------
    NotFound
        Code ``unknown-dataset``.
    InvalidInput
        Code ``schema-mismatch``.
    Conflict
        Code ``analytics-too-few-nodes``.
    """
    organisation = view.require_for_own(project.id)
    found = datasets.require_known(session, project, body.dataset)
    open_ones = [each for each in found if _is_open(each, body.purpose)]
    present = [each for each in open_ones if each.node.quarantined is None and view.online(each.node)]
    _require_enough(view, body, found, open_ones, present)
    datasets.require_same_schema(body.dataset, present)
    query = Query(
        id="q" + secrets.token_hex(8),
        project=project.id,
        dataset=body.dataset,
        operation=body.operation,
        purpose=body.purpose,
        via=body.via,
        digest=body.digest,
        submitter=body.submitter,
        participants=[],
        releaser="",
        created_by=view.caller.subject,
        organisation=organisation,
        created=view.now,
        expires=view.now + LIFETIME,
    )
    turn = session.scalar(select(func.count()).select_from(Query).where(Query.project == project.id)) or 0
    chosen = sorted(present, key=lambda holding: _lot(project.id, body.dataset, holding.node.id))
    chosen = [*chosen, *chosen][turn % len(chosen) :][: min(len(chosen), MOST)]
    query.releaser = chosen[0].node.id
    query.participants = [
        {
            "node": holding.node.id,
            "name": holding.node.name,
            "organisation": holding.node.organisation,
            "rows": holding.dataset.rows,
        }
        for holding in sorted(chosen, key=lambda holding: holding.node.id)
    ]
    session.add(query)
    session.flush()
    _say(session, "query.created", query)
    return query


def close(session: Session, view: View, query: Query, body: QueryEnd) -> None:
    """Take in how a query has ended; once more changes nothing.

    Raises
    ------
    NotAllowed
        The caller is not of the organisation that has asked.
    """
    if not view.owns(query.organisation, query.project):
        raise NotAllowed(
            f"Query {query.id} belongs to organisation {query.organisation!r}, not to {view.caller.organisation!r}.",
            hint="A developer of that organisation closes it; it expires by itself.",
        )
    if query.closed is not None:
        return
    query.closed = datetime.now(UTC)
    query.outcome, query.steps = body.outcome, body.steps
    query.reason = body.reason.model_dump() if body.reason else None
    _say(session, "query.closed", query, outcome=body.outcome, steps=body.steps)


def of_project(project: str, dataset: str | None = None) -> Select[Query]:
    """Return the query of a project's queries."""
    wanted = select(Query).where(Query.project == project)
    return wanted if dataset is None else wanted.where(Query.dataset == dataset)


def find_view(session: Session, view: View, query_id: str) -> Query:
    """Return a query that is a view of the explorer; `NotFound` as `find`."""
    query = find(session, view, query_id)
    if query.purpose != "explore":
        raise _unknown(query_id)
    return query


def find(session: Session, view: View, query_id: str) -> Query:
    """Return a query; `NotFound` (code ``unknown-query``) if the caller sees none."""
    query = session.scalar(select(Query).where(Query.id == query_id, Query.project.in_(project_ids(view))))
    if query is None:
        raise _unknown(query_id)
    session.info["project"] = query.project  # for the audit log
    return query


def _unknown(query_id: str) -> NotFound:
    return NotFound(
        f"There is no query {query_id[:80]!r} for you.",
        code="unknown-query",
        hint="List the queries of the project.",
    )


def show(session: Session, view: View, query: Query) -> hal.Resource:
    """Return the query as the caller sees it."""
    href, state = f"/v1/queries/{query.id}", state_of(query, view.now)
    within = within_project(session, query.project)
    operation, kind = ("data:explore", "views") if query.purpose == "explore" else ("analytics:query", "queries")
    closes = state != "closed" and view.may_for(operation, query.organisation, query.project)
    body = {
        "id": query.id,
        "project": query.project,
        "dataset": query.dataset,
        "operation": query.operation,
        "purpose": query.purpose,
        "via": query.via,
        "digest": query.digest,
        "submitter": query.submitter,
        "state": state,
        "participants": query.participants,
        "releaser": query.releaser,
        "created_by": query.created_by,
        "organisation": query.organisation,
        "created": hal.instant(query.created),
        "expires": hal.instant(query.expires),
        "closed": hal.instant(query.closed),
        "outcome": query.outcome,
        "steps": query.steps,
        "reason": query.reason,
    }
    return hal.resource(
        body,
        href,
        project=hal.link(f"/v1/projects/{query.project}"),
        close=hal.link(f"/v1/{kind}/{query.id}/close", "POST") if closes and view.may(operation, *within) else None,
    )


def state_of(query: Query, now: datetime) -> str:
    """Return ``open``, ``closed`` or ``expired``."""
    if query.closed is not None:
        return "closed"
    return "open" if now < query.expires else "expired"


def _is_open(holding: datasets.Holding, purpose: str) -> bool:
    """Tell whether a node's owner lets the data set be used so, as far as the node says; it checks by itself too."""
    return holding.dataset.operations is None or purpose in holding.dataset.operations


def _require_enough(
    view: View,
    body: QueryIn | ViewIn,
    found: Sequence[datasets.Holding],
    open_ones: Sequence[datasets.Holding],
    present: Sequence[datasets.Holding],
) -> None:
    if len(present) >= MINIMUM:
        return
    told = [("online", [each.node.name for each in present] or ["none"])]
    told.append((f"not open to {body.purpose}", [each.node.name for each in found if each not in open_ones]))
    away = [each for each in open_ones if each.node.quarantined is None and not view.online(each.node)]
    told.append(("offline", [each.node.name for each in away]))
    told.append(("in quarantine", [each.node.name for each in open_ones if each.node.quarantined is not None]))
    listed = "; ".join(f"{how}: {', '.join(names)}" for how, names in told if names)
    raise Conflict(
        f"A query needs {MINIMUM} nodes that hold {body.dataset!r}; there are {len(present)} ({listed}).",
        code="analytics-too-few-nodes",
        hint="Of fewer, each would learn the others' figures. Have another node started, or registered with the data; "
        + (
            "an owner opens it with explore in its node.toml."
            if body.purpose == "explore"
            else f"an owner opens it with {body.purpose!r} among the operations of its node.toml."
        ),
        needed=MINIMUM,
        online=len(present),
    )


def _lot(project: str, dataset: str, node: str) -> str:
    """Put nodes in an order that nobody chooses; who releases goes round in it."""
    return hashlib.sha256(f"{project}|{dataset}|{node}".encode()).hexdigest()


def _say(session: Session, type: str, query: Query, **more: object) -> None:
    data = {
        "query": query.id,
        "dataset": query.dataset,
        "operation": query.operation,
        "created_by": query.created_by,
        **more,
    }
    events.append(session, type, project=query.project, data=data)
