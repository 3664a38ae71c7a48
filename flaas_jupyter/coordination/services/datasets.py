"""Data sets: what nodes say they hold. Columns and counts, never values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from ...errors import InvalidInput, NotFound
from .. import events, hal
from ..access import View
from ..schemas import DatasetIn
from ..tables import Dataset, DatasetProject, MembershipRow, Node, NodeProject, Project, RevocationRow
from . import nodes

_revoked = exists().where(RevocationRow.node == Node.id, RevocationRow.project == DatasetProject.project)
"""A node whose key was revoked in a project has nothing in it any more."""


@dataclass(frozen=True)
class Holding:
    """A data set at a node."""

    node: Node
    dataset: Dataset


def describe(session: Session, node: Node, name: str, body: DatasetIn) -> Dataset:
    """Take in a node's description of data set `name`.

    Raises
    ------
    InvalidInput
        The body names another data set.
    NotFound
        Code ``unknown-project``: it offers it to a project that the node is not in.
    """
    if body.name != name:
        raise InvalidInput(f"The body describes {body.name!r}, the address {name!r}.", hint="Name it the same.")
    present = nodes.projects_of(session, node.id)
    strange = sorted(set(body.projects) - set(present))
    if strange:
        raise NotFound(
            f"This node is not in project {', '.join(map(repr, strange))}; it is in: {', '.join(present)}.",
            code="unknown-project",
            hint="Join the project with `flaas node join` first.",
        )
    dataset = session.merge(
        Dataset(
            node=node.id,
            name=name,
            rows=body.rows,
            features=[feature.model_dump() for feature in body.features],
            target=body.target.model_dump() if body.target else {},
            id_column=body.id_column,
            operations=body.operations,
            declared=None if body.declared is None else [column.model_dump() for column in body.declared],
        )
    )
    session.flush()
    before = set(projects_of(session, node.id, name))
    for project in before - set(body.projects):
        session.delete(session.get_one(DatasetProject, (node.id, name, project)))
        _say(session, "dataset.removed", project, node, name)
    for project in sorted(set(body.projects)):
        if project not in before:
            session.add(DatasetProject(node=node.id, name=name, project=project))
        _say(session, "dataset.described", project, node, name)
    session.flush()
    return dataset


def remove(session: Session, node: Node, name: str) -> None:
    """Forget a node's data set; `NotFound` (code ``unknown-dataset``) if it has none of the name."""
    dataset = session.get(Dataset, (node.id, name))
    if dataset is None:
        raise NotFound(f"Node {node.name} has told of no data set {name[:100]!r}.", code="unknown-dataset")
    for project in projects_of(session, node.id, name):
        _say(session, "dataset.removed", project, node, name)
    session.execute(delete(Dataset).where(Dataset.node == node.id, Dataset.name == name))


def holdings(session: Session, project: str, name: str | None = None) -> list[Holding]:
    """Return who holds what in `project`, by name of data set, then of node; of data set `name`, or of all.

    Who is a relay and nothing else holds nothing, whatever it says: it takes part in no run.
    """
    query = (
        select(Node, Dataset, MembershipRow.document)
        .join(Dataset, Dataset.node == Node.id)
        .join(DatasetProject, (DatasetProject.node == Dataset.node) & (DatasetProject.name == Dataset.name))
        .join(
            NodeProject,
            (NodeProject.node == Node.id) & (NodeProject.project == DatasetProject.project),
        )
        .outerjoin(
            MembershipRow,
            (MembershipRow.node == Node.id) & (MembershipRow.project == DatasetProject.project),
        )
        .where(DatasetProject.project == project, Node.removed.is_(None), ~_revoked)
        .order_by(Dataset.name, Node.name, Node.id)
    )
    if name is not None:
        query = query.where(Dataset.name == name)
    return [
        Holding(node, dataset)
        for node, dataset, membership in session.execute(query)
        if membership is None or membership["body"]["roles"] != ["relay"]
    ]


def by_name(session: Session, project: str, after: str | None, limit: int) -> list[list[Holding]]:
    """Return up to `limit` data sets of `project` with names after `after`, each as its holdings."""
    grouped: dict[str, list[Holding]] = {}
    for holding in holdings(session, project):
        grouped.setdefault(holding.dataset.name, []).append(holding)
    names = sorted(name for name in grouped if after is None or name > after)
    return [grouped[name] for name in names[:limit]]


def require_known(session: Session, project: Project, name: str) -> list[Holding]:
    """Return the holdings of data set `name`; `NotFound` (code ``unknown-dataset``, naming those there are) if none."""
    found = holdings(session, project.id)
    wanted = [holding for holding in found if holding.dataset.name == name]
    if not wanted:
        known = sorted({holding.dataset.name for holding in found})
        raise NotFound(
            f"No node of project {project.id!r} holds a data set {name!r}; there is: {', '.join(known) or 'none'}.",
            code="unknown-dataset",
            hint="Its owner registers it with `flaas dataset add`.",
            known=known[:50],
        )
    return wanted


def require_same_schema(name: str, found: Iterable[Holding]) -> None:
    """Check that all nodes describe the same columns, in the same order, as the first of them.

    Nodes that tell no columns are passed over: they check what is asked of them by themselves.

    Raises
    ------
    InvalidInput
        Code ``schema-mismatch``: names the nodes and the columns that differ.
    """
    first, *others = [holding for holding in found if not is_withheld(holding.dataset)] or found
    differences = {
        other.node.name: columns
        for other in others
        if (columns := list(_different_columns(first.dataset, other.dataset)))
    }
    if differences:
        told = "; ".join(f"{node}: {', '.join(columns[:10])}" for node, columns in differences.items())
        raise InvalidInput(
            f"The nodes describe data set {name!r} differently than {first.node.name} does: {told}.",
            code="schema-mismatch",
            hint="Their owners agree on names, types and order of the columns, and register the data sets again.",
            reference=first.node.name,
            differences={node: columns[:50] for node, columns in differences.items()},
        )


def is_withheld(dataset: Dataset) -> bool:
    """Tell whether the node's owner keeps names of columns back (policy ``explore = "nothing"``)."""
    return "explore-nothing" in (dataset.operations or ())


def projects_of(session: Session, node_id: str, name: str) -> list[str]:
    """Return the ids of the projects that a node's data set is offered to, sorted."""
    query = select(DatasetProject.project).where(DatasetProject.node == node_id, DatasetProject.name == name)
    return sorted(session.scalars(query))


def show_description(session: Session, dataset: Dataset) -> hal.Resource:
    """Return one node's description."""
    body = {
        "name": dataset.name,
        "projects": projects_of(session, dataset.node, dataset.name),
        "rows": dataset.rows,
        **_columns(dataset),
    }
    href = f"/v1/nodes/{dataset.node}/datasets/{dataset.name}"
    return hal.resource(body, href, node=hal.link(f"/v1/nodes/{dataset.node}"), delete=hal.link(href, "DELETE"))


def show(view: View, project: str, within: Sequence[str], found: Sequence[Holding]) -> hal.Resource:
    """Return one data set of a project, in the scopes `within`; its columns are those of the first node that tells."""
    dataset = next((holding for holding in found if not is_withheld(holding.dataset)), found[0]).dataset
    body = {
        "name": dataset.name,
        "rows": sum(holding.dataset.rows for holding in found),
        "nodes": [
            {
                "node": holding.node.id,
                "node_name": holding.node.name,
                "organisation": holding.node.organisation,
                "rows": holding.dataset.rows,
                "online": view.online(holding.node),
                "operations": holding.dataset.operations,
                "columns": None if _columns(holding.dataset) == _columns(dataset) else _columns(holding.dataset),
            }
            for holding in found
        ],
        **_columns(dataset),
    }
    href = f"/v1/projects/{project}"
    return hal.resource(
        body,
        f"{href}/datasets",
        project=hal.link(href),
        create_run=hal.link(f"{href}/runs", "POST") if view.may("run:create", *within) else None,
    )


def _columns(dataset: Dataset) -> dict[str, Any]:
    return {
        "features": dataset.features,
        "target": dataset.target or None,
        "id_column": dataset.id_column,
        "schema": dataset.declared,
    }


def _different_columns(ours: Dataset, theirs: Dataset) -> Iterable[str]:
    left = {feature["name"]: feature for feature in ours.features}
    right = {feature["name"]: feature for feature in theirs.features}
    yield from (f"{name!r} is missing" for name in left if name not in right)
    yield from (f"{name!r} is added" for name in right if name not in left)
    for name in left:
        if name in right and left[name] != right[name]:
            yield f"{name!r} is {_kind(right[name])}, not {_kind(left[name])}"
    if set(left) == set(right) and list(left) != list(right):
        moved = [b for a, b in zip(left, right, strict=True) if a != b]
        yield f"in another order: {', '.join(map(repr, moved[:10]))}"
    for key in ("name", "dtype", "kind", "classes"):
        if ours.target.get(key) != theirs.target.get(key):
            yield f"target {key} is {theirs.target.get(key)!r}, not {ours.target.get(key)!r}"


def _kind(feature: dict[str, Any]) -> str:
    return f"{feature['dtype']}{feature['shape'] or ''}"


def _say(session: Session, type: str, project: str, node: Node, name: str) -> None:
    events.append(session, type, project=project, node=node.id, data={"name": name})
