"""Versions of models: kept by `states`, released by several people, revoked by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from ...errors import Conflict, NotAllowed, NotFound
from ...governance.models import ModelState, ModelVersion
from .. import hal, states
from ..access import View, project_ids, within_project

if TYPE_CHECKING:
    from ...governance.approvals import Context

RELEASE = "model.release"
"""The critical action that a release is."""


def of_project(project: str, *, state: str | None = None, run: str | None = None) -> Select[ModelVersion]:
    """Return the query of a project's versions."""
    query = select(ModelVersion).where(ModelVersion.project == project)
    if state is not None:
        query = query.where(ModelVersion.state == state)
    if run is not None:
        query = query.where(ModelVersion.run == run)
    return query


def find(session: Session, view: View, model_id: str) -> ModelVersion:
    """Return a version.

    Raises
    ------
    NotFound
        Code ``unknown-model``: there is none that the caller may do this with.
    """
    query = select(ModelVersion).where(ModelVersion.id == model_id, ModelVersion.project.in_(project_ids(view)))
    found = session.scalar(query)
    if found is None:
        raise NotFound(
            f"There is no model {model_id[:80]!r} for you.",
            code="unknown-model",
            hint="List the models of the project.",
        )
    session.info["project"] = found.project  # for the audit log
    return found


def require_releasable(session: Session, view: View, version: ModelVersion) -> None:
    """Check that the caller may ask for a version's release.

    Raises
    ------
    NotAllowed
        Not in the version's project.
    Conflict
        Code ``model-revoked``.
    """
    _require(session, view, version, "model:release")
    _require_not_revoked(version)


def release_body(version: ModelVersion) -> dict[str, Any]:
    """Return what is approved: the version, and the digest of the weights that it has now."""
    return {"model": version.id, "project": version.project, "digest": version.digest}


def carry_out_release(context: Context, body: Mapping[str, Any]) -> dict[str, Any]:
    """Release the version that was asked for, with the body that was approved: what carries out `RELEASE`.

    Raises
    ------
    NotFound
        Code ``unknown-model``: it is there no more.
    Conflict
        As `release`.
    """
    version = context.session.get(ModelVersion, body["model"])
    if version is None or version.project != body["project"]:
        raise NotFound(f"There is no model {body['model']!r} any more.", code="unknown-model", hint="Ask anew.")
    release(context.session, version, body["digest"])
    return {"model": version.id, "state": version.state}


def release(session: Session, version: ModelVersion, digest: str) -> None:
    """Release a version whose weights have `digest`.

    Raises
    ------
    Conflict
        ``model-revoked``; ``model-changed``: its weights are others than those that were asked about.
    """
    if version.digest != digest:
        raise Conflict(
            f"Model {version.id} has digest {version.digest}; approved was {digest}.",
            code="model-changed",
            hint="Its last round was led again since. Look at it, and ask for the release anew.",
        )
    _require_not_revoked(version)
    if version.state == ModelState.CANDIDATE:
        version.state = ModelState.RELEASED.value
        states.say_model(session, version)


def revoke(session: Session, view: View, version: ModelVersion, reason: str) -> None:
    """Revoke a version, and every other of its project that has the same weights; for good.

    Raises
    ------
    NotAllowed
        The caller may not do this in the version's project.
    """
    _require(session, view, version, "model:revoke")
    for same in session.scalars(of_project(version.project).where(ModelVersion.digest == version.digest)).all():
        if same.state != ModelState.REVOKED:
            same.state, same.reason = ModelState.REVOKED.value, reason
            states.say_model(session, same)


def show(session: Session, view: View, version: ModelVersion) -> hal.Resource:
    """Return the version as the caller sees it."""
    href = f"/v1/models/{version.id}"
    body = {
        "id": version.id,
        "project": version.project,
        "run": version.run,
        "round": version.round,
        "digest": version.digest,
        "state": version.state,
        "created": hal.instant(version.created),
        "reason": version.reason,
    }
    within = within_project(session, version.project)
    releases = version.state == ModelState.CANDIDATE and view.may("model:release", *within)
    revokes = version.state != ModelState.REVOKED and view.may("model:revoke", *within)
    return hal.resource(
        body,
        href,
        project=hal.link(f"/v1/projects/{version.project}"),
        run=hal.link(f"/v1/runs/{version.run}"),
        release=hal.link(f"{href}/release", "POST") if releases else None,
        revoke=hal.link(f"{href}/revoke", "POST") if revokes else None,
    )


def _require(session: Session, view: View, version: ModelVersion, operation: str) -> None:
    if not view.may(operation, *within_project(session, version.project)):
        raise NotAllowed(
            f"{view.caller.subject} may not do this ({operation}) in project {version.project!r}.",
            hint="Ask an administrator of the project for a role that permits it.",
            operation=operation,
        )


def _require_not_revoked(version: ModelVersion) -> None:
    if version.state == ModelState.REVOKED:
        raise Conflict(
            f"Model {version.id} is revoked: {version.reason}",
            code="model-revoked",
            hint="A revoked version stays revoked. Train another one.",
            model=version.id,
        )
