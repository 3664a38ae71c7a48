"""Versions of models: what a run has made, named by run and round, known by the digest of its weights.

The weights themselves stay with nodes and notebooks. The digest is enough to release a version and to revoke it: a run
that starts from revoked weights is refused, by the coordination API and by every node that has heard of it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from .tables import Base


class ModelState(StrEnum):
    """What may be done with a version."""

    CANDIDATE = "candidate"
    RELEASED = "released"
    REVOKED = "revoked"


class ModelVersion(Base):
    """The global weights after a run's last finished round; `digest` is their SHA-256 in hex."""

    __tablename__ = "model_versions"
    __table_args__ = (Index("ix_model_versions_project_digest", "project", "digest"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    run: Mapped[str]
    round: Mapped[int]
    digest: Mapped[str]
    state: Mapped[str]
    created: Mapped[datetime]
    reason: Mapped[str | None]


def version_id(run: str, round: int) -> str:
    """Return the id of the version that `run` has made with `round` rounds; a notebook knows it without asking."""
    return f"{run}-{round}"


def keep(session: Session, *, project: str, run: str, round: int, digest: str) -> ModelVersion | None:
    """Write down that `run` has come to weights with `digest`; return the version if that is new.

    A round that another aggregator has led again gives other weights: a version that was neither released nor revoked
    takes their digest. Weights that are revoked in the project are so from the beginning, whichever run made them.
    """
    known = session.get(ModelVersion, version_id(run, round))
    if known is not None and (known.digest == digest or known.state != ModelState.CANDIDATE):
        return None
    old = revoked(session, project, digest)
    if known is not None:
        known.digest = digest
        if old is not None:
            known.state, known.reason = ModelState.REVOKED.value, old.reason
        return known
    version = ModelVersion(
        id=version_id(run, round),
        project=project,
        run=run,
        round=round,
        digest=digest,
        state=(ModelState.CANDIDATE if old is None else ModelState.REVOKED).value,
        created=datetime.now(UTC),
        reason=None if old is None else old.reason,
    )
    session.add(version)
    session.flush()
    return version


def revoked(session: Session, project: str, digest: str) -> ModelVersion | None:
    """Return a revoked version of `project` with these weights, if there is one."""
    query = select(ModelVersion).where(
        ModelVersion.project == project, ModelVersion.digest == digest, ModelVersion.state == ModelState.REVOKED
    )
    return session.scalars(query.order_by(ModelVersion.created, ModelVersion.id).limit(1)).first()
