"""How nodes are connected, as they say themselves: kinds of paths and figures, no addresses and no history."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from .. import hal
from ..access import View
from ..mesh_schemas import LinksIn
from ..tables import MembershipRow, MeshLinks, Node, NodeProject, Project

IN_FORCE = timedelta(seconds=60)
"""How long what a node has said counts; nodes say it anew long before (`execution.link_reports`)."""


def report(session: Session, node: Node, body: LinksIn, now: datetime) -> None:
    """Take in how `node` is connected; it takes the place of what it said before."""
    links = {link.node_id: link.model_dump() for link in body.links if link.node_id != node.id}
    session.merge(MeshLinks(node=node.id, reported=now, links=list(links.values())))


def forget(session: Session, node: Node) -> None:
    """Remove what a node has said."""
    row = session.get(MeshLinks, node.id)
    if row is not None:
        session.delete(row)


def show(session: Session, view: View, project: Project) -> hal.Resource:
    """Return the nodes of a project, and the connections between them that nodes which are online have told of.

    Those with others are not the project's.
    """
    in_project = select(NodeProject.node).where(NodeProject.project == project.id)
    present = Node.id.in_(in_project) & Node.removed.is_(None)
    nodes = session.scalars(select(Node).where(present).order_by(Node.organisation, Node.name)).all()
    known = {node.id for node in nodes}
    documents = session.execute(
        select(MembershipRow.node, MembershipRow.document).where(MembershipRow.project == project.id)
    )
    roles = {node: document["body"]["roles"] for node, document in documents}
    online = {node.id for node in nodes if view.online(node)}
    fresh = select(MeshLinks).where(MeshLinks.node.in_(online), MeshLinks.reported > view.now - IN_FORCE)
    reports = {row.node: row for row in session.scalars(fresh.order_by(MeshLinks.node))}
    body = {
        "project": project.id,
        "nodes": [
            {
                "id": node.id,
                "name": node.name,
                "organisation": node.organisation,
                "roles": roles.get(node.id, []),
                "online": node.id in online,
                "reported": hal.instant(reports[node.id].reported) if node.id in reports else None,
            }
            for node in nodes
        ],
        "links": [
            {"from": row.node, "to": link["node_id"], **{name: link[name] for name in _FIGURES}}
            for row in reports.values()
            for link in row.links
            if link["node_id"] in known
        ],
    }
    href = f"/v1/projects/{project.id}"
    return hal.resource(body, f"{href}/mesh", project=hal.link(href))


_FIGURES = ("kind", "rtt", "throughput", "bytes")
