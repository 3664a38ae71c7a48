"""What may be sent about recipes, and is answered: names, units and codes of columns, never a value of a row."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints

from .schemas import ColumnName, Finite, Key, _In, _Out, _Resource

_BYTES = 192 << 10

RecipeName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Code = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")] | Finite


class MappedColumn(_In):
    """Where a common column comes from at one node: its name there, factor and offset, or which code is which.

    `unit` is the common column's.
    """

    source: ColumnName
    factor: Finite = 1.0
    offset: Finite = 0.0
    unit: Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None
    recode: Annotated[
        list[Annotated[list[Code], Field(min_length=2, max_length=2)]], Field(max_length=10_000, default_factory=list)
    ]


class MappingContent(_In):
    """Columns of nodes under their common names: node id to common column to where it comes from."""

    v: Literal[1] = 1
    nodes: Annotated[dict[Key, dict[ColumnName, MappedColumn]], Field(max_length=10_000)]


def _require_short(content: MappingContent) -> MappingContent:
    size = len(json.dumps(content.model_dump(mode="json")))
    if size > _BYTES:
        raise ValueError(f"{size} bytes of JSON; allowed are {_BYTES}")
    return content


class RecipeIn(_In):
    """A version of a recipe to keep."""

    name: RecipeName
    kind: Literal["mapping"] = "mapping"
    recipe: Annotated[MappingContent, AfterValidator(_require_short)]


class RecipeSummary(_Resource):
    """A version of a recipe, without what is in it."""

    id: str
    project: str
    name: str
    version: int
    kind: Literal["mapping"]
    digest: Key
    created_by: str
    organisation: str
    created: AwareDatetime


class Recipe(RecipeSummary):
    """A version of a recipe."""

    recipe: MappingContent


class _EmbeddedRecipes(_Out):
    recipes: list[RecipeSummary]


class Recipes(_Resource):
    """A page of recipes' versions."""

    embedded: _EmbeddedRecipes = Field(alias="_embedded")
