"""Tables of the coordination API. What describes a thing to people is JSON; what is asked by is a column."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, ForeignKeyConstraint, Index, Integer, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ..costs.accounts import CloudAccount
from ..costs.billing.tables import BillCoverage, BillImport, Charge, CostRollup, ProjectBudget
from ..costs.launch.tables import EnrolmentRow, Installation, LaunchedMachine, LaunchRow
from ..costs.tables import OwnPrice, OwnTemplate
from ..governance.approvals import tables as _approvals  # noqa: F401 - part of the schema
from ..governance.audit import tables as _audit  # noqa: F401
from ..governance.confidentiality import tables as _confidentiality  # noqa: F401
from ..governance.identity import tables as _identity  # noqa: F401
from ..governance.models import ModelVersion
from ..governance.rbac import tables as _rbac  # noqa: F401
from ..governance.tables import Base, Organisation, SeenRequest, Token

__all__ = [
    "Assignment",
    "Base",
    "BillCoverage",
    "BillImport",
    "Charge",
    "CloudAccount",
    "CostRollup",
    "Dataset",
    "DatasetProject",
    "EnrolmentRow",
    "EventRow",
    "Installation",
    "Keyed",
    "LaunchRow",
    "LaunchedMachine",
    "MembershipRow",
    "MeshLinks",
    "ModelVersion",
    "NetworkRow",
    "Node",
    "NodeInvitation",
    "NodeProject",
    "Organisation",
    "OwnPrice",
    "OwnTemplate",
    "PendingDocument",
    "Project",
    "ProjectBudget",
    "ProjectOrganisation",
    "Query",
    "RecipeRow",
    "RecordRow",
    "RevocationRow",
    "Rotation",
    "Round",
    "Run",
    "SeenRequest",
    "Token",
    "Upload",
    "UploadKeyRow",
]

_Sequence = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up INTEGER primary keys only
_CASCADE = "CASCADE"


class Project(Base):
    """A federation: organisations, their nodes, and the public half of the domain key."""

    __tablename__ = "projects"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    description: Mapped[str]
    domain_key: Mapped[str]
    created: Mapped[datetime]


class ProjectOrganisation(Base):
    """An organisation is in a project."""

    __tablename__ = "project_organisations"

    project: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete=_CASCADE), primary_key=True)
    organisation: Mapped[str] = mapped_column(ForeignKey("organisations.id"), primary_key=True, index=True)


class Node(Base):
    """A node. One that was removed stays, for the history of its runs, and is seen nowhere else.

    `stream` names the connection that it holds; `last_seen` is when it was last known to hold one. Since `quarantined`
    it takes no part in runs, for the reason given.
    """

    __tablename__ = "nodes"
    __table_args__ = (
        Index(
            "uq_nodes_organisation_name",
            "organisation",
            "name",
            unique=True,
            sqlite_where=text("removed IS NULL"),
            postgresql_where=text("removed IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    organisation: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    version: Mapped[str]
    registered: Mapped[datetime]
    removed: Mapped[datetime | None]
    online: Mapped[bool] = mapped_column(default=False, index=True)
    stream: Mapped[str | None] = mapped_column(index=True)
    last_seen: Mapped[datetime | None]
    quarantined: Mapped[datetime | None]
    quarantine_reason: Mapped[str | None]


class NodeProject(Base):
    """A node is in a project."""

    __tablename__ = "node_projects"

    node: Mapped[str] = mapped_column(ForeignKey("nodes.id"), primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete=_CASCADE), primary_key=True, index=True)


class NodeInvitation(Base):
    """A single-use secret, by its SHA-256 alone, with which a node of an organisation registers itself."""

    __tablename__ = "node_invitations"

    digest: Mapped[str] = mapped_column(primary_key=True)
    organisation: Mapped[str] = mapped_column(ForeignKey("organisations.id", ondelete=_CASCADE), index=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete=_CASCADE), index=True)
    name: Mapped[str]
    created_by: Mapped[str]
    created: Mapped[datetime]
    expires: Mapped[datetime]
    used_by: Mapped[str | None]
    used: Mapped[datetime | None]


class MembershipRow(Base):
    """The newest membership of a node in a project, as its domain key signed it."""

    __tablename__ = "memberships"

    project: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete=_CASCADE), primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True)
    serial: Mapped[int] = mapped_column(BigInteger)
    document: Mapped[dict[str, Any]]


class RevocationRow(Base):
    """The revocation that a key stands under in a project, as its domain key signed it; a newer membership ends it."""

    __tablename__ = "revocations"

    project: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete=_CASCADE), primary_key=True)
    node: Mapped[str] = mapped_column(primary_key=True, index=True)
    serial: Mapped[int] = mapped_column(BigInteger)
    document: Mapped[dict[str, Any]]


class PendingDocument(Base):
    """What some holders of a domain key have signed and others must still sign; `digest` is that of the body."""

    __tablename__ = "pending_documents"

    project: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete=_CASCADE), primary_key=True)
    digest: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    document: Mapped[dict[str, Any]]
    created_by: Mapped[str]
    created: Mapped[datetime]


class Rotation(Base):
    """That a node goes over to a new key, as both keys have signed it; `completed` once it has."""

    __tablename__ = "rotations"

    node: Mapped[str] = mapped_column(ForeignKey("nodes.id"), primary_key=True)
    new: Mapped[str] = mapped_column(unique=True)
    document: Mapped[dict[str, Any]]
    created: Mapped[datetime]
    completed: Mapped[datetime | None]


class RecordRow(Base):
    """The newest directory record of a node in a project, as the node signed it."""

    __tablename__ = "records"

    project: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete=_CASCADE), primary_key=True)
    node: Mapped[str] = mapped_column(ForeignKey("nodes.id"), primary_key=True, index=True)
    sequence: Mapped[int] = mapped_column(BigInteger)
    document: Mapped[dict[str, Any]]


class NetworkRow(Base):
    """The newest network document of a project, as its domain key signed it."""

    __tablename__ = "networks"

    project: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete=_CASCADE), primary_key=True)
    serial: Mapped[int] = mapped_column(BigInteger)
    document: Mapped[dict[str, Any]]


class MeshLinks(Base):
    """How a node is connected, as it last said: to whom, by which kind of path, how fast. No addresses, no history."""

    __tablename__ = "mesh_links"

    node: Mapped[str] = mapped_column(ForeignKey("nodes.id"), primary_key=True)
    reported: Mapped[datetime]
    links: Mapped[list[Any]]


class Dataset(Base):
    """What a node says of a data set that it holds: columns and counts; `target` is empty where there is none.

    `declared` is what its owner says of columns: units, ranges, categories.
    """

    __tablename__ = "datasets"

    node: Mapped[str] = mapped_column(ForeignKey("nodes.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    rows: Mapped[int] = mapped_column(BigInteger)
    features: Mapped[list[Any]]
    target: Mapped[dict[str, Any]]
    id_column: Mapped[str | None]
    operations: Mapped[list[Any] | None]
    declared: Mapped[list[Any] | None]


class DatasetProject(Base):
    """A data set may be used in a project."""

    __tablename__ = "dataset_projects"
    __table_args__ = (
        ForeignKeyConstraint(["node", "name"], ["datasets.node", "datasets.name"], ondelete=_CASCADE),
        Index("ix_dataset_projects_project_name", "project", "name"),
    )

    node: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete=_CASCADE), primary_key=True)


class Run(Base):
    """A training run; `request` is what was asked for, the rest is how it stands.

    `dataset` is that of the label holder in a vertical run, whose parties bring one each.
    """

    __tablename__ = "runs"
    __table_args__ = ({"sqlite_autoincrement": True},)

    number: Mapped[int] = mapped_column(_Sequence, primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete=_CASCADE), index=True)
    dataset: Mapped[str]
    request: Mapped[dict[str, Any]]
    needed: Mapped[int]
    state: Mapped[str] = mapped_column(index=True)
    reason: Mapped[dict[str, Any] | None]
    term: Mapped[int] = mapped_column(default=0)
    aggregator: Mapped[str | None]
    round: Mapped[int] = mapped_column(default=0)
    report: Mapped[dict[str, Any] | None]
    created_by: Mapped[str]
    organisation: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    created: Mapped[datetime]
    gather_until: Mapped[datetime | None]
    started: Mapped[datetime | None]
    ended: Mapped[datetime | None]
    resumed: Mapped[datetime | None]

    participants: Mapped[list[Assignment]] = relationship(
        f"{__name__}.Assignment",  # roles have assignments too
        order_by=lambda: Assignment.node,
        lazy="selectin",
        passive_deletes=True,
    )


class Assignment(Base):
    """A node's part in a run."""

    __tablename__ = "assignments"

    run: Mapped[int] = mapped_column(ForeignKey("runs.number", ondelete=_CASCADE), primary_key=True)
    node: Mapped[str] = mapped_column(ForeignKey("nodes.id"), primary_key=True, index=True)
    state: Mapped[str]
    reason: Mapped[dict[str, Any] | None]
    rows: Mapped[int] = mapped_column(BigInteger)

    member: Mapped[Node] = relationship(lazy="joined", innerjoin=True, viewonly=True)


class Round(Base):
    """The aggregator's report of a finished round; the run may have another aggregator since."""

    __tablename__ = "rounds"

    run: Mapped[int] = mapped_column(ForeignKey("runs.number", ondelete=_CASCADE), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    term: Mapped[int]
    aggregator: Mapped[str | None]
    report: Mapped[dict[str, Any]]


class Query(Base):
    """A question over the rows of several nodes: who asks whom. What exactly, and what comes out, stays on the mesh.

    `digest` binds the question that the notebook has signed; `participants` are the nodes as they were chosen.
    """

    __tablename__ = "queries"
    __table_args__ = ({"sqlite_autoincrement": True},)

    number: Mapped[int] = mapped_column(_Sequence, primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete=_CASCADE), index=True)
    dataset: Mapped[str]
    operation: Mapped[str]
    purpose: Mapped[str]
    via: Mapped[str]
    digest: Mapped[str]
    submitter: Mapped[str]
    participants: Mapped[list[Any]]
    releaser: Mapped[str]
    created_by: Mapped[str]
    organisation: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    created: Mapped[datetime]
    expires: Mapped[datetime]
    closed: Mapped[datetime | None]
    outcome: Mapped[str | None]
    steps: Mapped[int | None]
    reason: Mapped[dict[str, Any] | None]


class RecipeRow(Base):
    """A version of a recipe: how columns of nodes are brought together. It is never changed."""

    __tablename__ = "recipes"
    __table_args__ = (
        UniqueConstraint("project", "name", "version", name="uq_recipes_project_name_version"),
        {"sqlite_autoincrement": True},
    )

    number: Mapped[int] = mapped_column(_Sequence, primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete=_CASCADE))
    name: Mapped[str]
    version: Mapped[int]
    kind: Mapped[str]
    digest: Mapped[str]
    content: Mapped[dict[str, Any]]
    created_by: Mapped[str]
    organisation: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    created: Mapped[datetime]


class UploadKeyRow(Base):
    """With which key files for a node are sealed, as the node has signed it."""

    __tablename__ = "upload_keys"

    node: Mapped[str] = mapped_column(ForeignKey("nodes.id"), primary_key=True)
    document: Mapped[dict[str, Any]]
    expires: Mapped[datetime]


class Upload(Base):
    """A sealed upload: who sends which node a file. What is in it never comes here.

    `digest` binds what was sealed; `submitter` is the mesh id of whoever hands it over.
    """

    __tablename__ = "uploads"
    __table_args__ = ({"sqlite_autoincrement": True},)

    number: Mapped[int] = mapped_column(_Sequence, primary_key=True)
    id: Mapped[str] = mapped_column(unique=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete=_CASCADE), index=True)
    node: Mapped[str] = mapped_column(ForeignKey("nodes.id"), index=True)
    dataset: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str]
    submitter: Mapped[str]
    created_by: Mapped[str]
    organisation: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    created: Mapped[datetime]
    expires: Mapped[datetime]
    closed: Mapped[datetime | None]
    outcome: Mapped[str | None]
    reason: Mapped[dict[str, Any] | None]


class EventRow(Base):
    """Something that happened; the number is its place in the sequence of all events."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_project_id", "project", "id"),
        Index("ix_events_run_id", "run", "id"),
        Index(
            "ix_events_mesh_dial",
            "time",
            sqlite_where=text("type = 'mesh.dial'"),
            postgresql_where=text("type = 'mesh.dial'"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(_Sequence, primary_key=True)
    type: Mapped[str]
    time: Mapped[datetime]
    project: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete=_CASCADE))
    run: Mapped[str | None]
    node: Mapped[str | None]
    data: Mapped[dict[str, Any]]


class Keyed(Base):
    """The answer to a request that carried an idempotency key."""

    __tablename__ = "idempotency"

    caller: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    status: Mapped[int]
    headers: Mapped[dict[str, Any]]
    body: Mapped[str]
    created: Mapped[datetime] = mapped_column(index=True)
