"""Versioned recipes of a project: what is called, measured and coded how at which node. Content-addressed.

A version is never changed. Nodes take one when their owners adopt it, by its digest; the API only keeps it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from ...errors import NotFound
from .. import hal
from ..access import View, project_ids
from ..recipe_schemas import RecipeIn
from ..tables import Project, RecipeRow


def keep(session: Session, view: View, project: Project, body: RecipeIn) -> tuple[RecipeRow, bool]:
    """Keep a version; return it, and whether it is new: what equals the newest of its name is that."""
    organisation = view.require_for_own(project.id)
    content = body.recipe.model_dump(mode="json")
    digest = digest_of(content)
    newest = session.scalar(
        select(RecipeRow)
        .where(RecipeRow.project == project.id, RecipeRow.name == body.name)
        .order_by(RecipeRow.version.desc())
        .limit(1)
    )
    if newest is not None and (newest.digest, newest.kind) == (digest, body.kind):
        return newest, False
    row = RecipeRow(
        id="c" + secrets.token_hex(8),
        project=project.id,
        name=body.name,
        version=1 if newest is None else newest.version + 1,
        kind=body.kind,
        digest=digest,
        content=content,
        created_by=view.caller.subject,
        organisation=organisation,
        created=view.now,
    )
    session.add(row)
    session.flush()
    return row, True


def of_project(project: str, name: str | None = None) -> Select[RecipeRow]:
    """Return the query of a project's versions of recipes."""
    wanted = select(RecipeRow).where(RecipeRow.project == project)
    return wanted if name is None else wanted.where(RecipeRow.name == name)


def find(session: Session, view: View, recipe_id: str) -> RecipeRow:
    """Return a version; `NotFound` (code ``unknown-recipe``) if the caller sees none."""
    row = session.scalar(select(RecipeRow).where(RecipeRow.id == recipe_id, RecipeRow.project.in_(project_ids(view))))
    if row is None:
        raise NotFound(
            f"There is no recipe {recipe_id[:80]!r} for you.",
            code="unknown-recipe",
            hint="List the recipes of the project.",
        )
    session.info["project"] = row.project  # for the audit log
    return row


def show(row: RecipeRow, *, whole: bool) -> hal.Resource:
    """Return a version, with what is in it if `whole`."""
    body: dict[str, Any] = {
        "id": row.id,
        "project": row.project,
        "name": row.name,
        "version": row.version,
        "kind": row.kind,
        "digest": row.digest,
        "created_by": row.created_by,
        "organisation": row.organisation,
        "created": hal.instant(row.created),
    }
    if whole:
        body["recipe"] = row.content
    return hal.resource(body, f"/v1/recipes/{row.id}", project=hal.link(f"/v1/projects/{row.project}"))


def digest_of(content: dict[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON of a recipe: sorted keys, no spaces, UTF-8."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
