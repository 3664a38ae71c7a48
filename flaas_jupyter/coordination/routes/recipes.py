"""Versioned recipes: how the columns of a project's nodes are brought together."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from sqlalchemy.orm import Session

from .. import recipe_schemas, tables
from ..access import find_project
from ..calls import Call, Cursor, Limit, created, requires
from ..paging import DEFAULT
from ..services import recipes

router = APIRouter(prefix="/v1", tags=["recipes"])

Named = Annotated[str | None, Query(max_length=100)]


@router.get("/projects/{project_id}/recipes", response_model=recipe_schemas.Recipes)
def list_recipes(
    project_id: str,
    call: Annotated[Call, requires("recipe:read")],
    name: Named = None,
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """The versions of a project's recipes, newest first."""
    page = call.page(limit, cursor, name=name)
    with call.reading() as session:
        project = find_project(session, call.view, project_id)
        found = page.rows(
            session, recipes.of_project(project.id, name), tables.RecipeRow.number, kind=int, descending=True
        )
        return page.answer("recipes", found, lambda row: recipes.show(row, whole=False), lambda row: row.number)


@router.post("/projects/{project_id}/recipes", status_code=201, response_model=recipe_schemas.Recipe)
def create_recipe(
    project_id: str, body: recipe_schemas.RecipeIn, call: Annotated[Call, requires("recipe:write")]
) -> Response:
    """Keep a version of a recipe; what equals the newest of its name makes none."""

    def act(session: Session) -> Response:
        project = find_project(session, call.view, project_id)
        row, _ = recipes.keep(session, call.view, project, body)
        return created(recipes.show(row, whole=True), f"/v1/recipes/{row.id}")

    return call.once(act)


@router.get("/recipes/{recipe_id}", response_model=recipe_schemas.Recipe)
def read_recipe(recipe_id: str, call: Annotated[Call, requires("recipe:read")]) -> Response:
    """One version."""
    return call.read(lambda session: recipes.show(recipes.find(session, call.view, recipe_id), whole=True))
