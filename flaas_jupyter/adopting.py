"""Mappings that are kept at the coordination API, and their adoption at a node by its owner."""

from __future__ import annotations

import json
from collections.abc import Mapping as Mappings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InvalidInput
from .training.preprocessing.mapping import Mapping

if TYPE_CHECKING:
    from .execution.datasets import Dataset, DatasetRegistry


def fetch(recipe: Mappings[str, Any]) -> Mapping:
    """Return the mapping that a version of a recipe is, as the coordination API tells it.

    Raises
    ------
    InvalidInput
        ``bad-recipe``: it is none, or not what its digest says.
    """
    mapping = Mapping.from_dict(recipe.get("recipe"))
    if mapping.digest != recipe.get("digest"):
        raise InvalidInput(
            f"What the API tells of recipe {str(recipe.get('id'))[:40]!r} is not what its digest says.",
            code="bad-recipe",
            hint="Have the mapping sent over another channel, and compare digests: Mapping.digest.",
        )
    return mapping


def read_file(path: Path) -> Mapping:
    """Return the mapping in a JSON file.

    Raises
    ------
    InvalidInput
        Code ``bad-recipe``.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{path} cannot be read as JSON ({type(error).__name__}).",
            code="bad-recipe",
            hint="json.dumps(mapping.to_dict()) writes a mapping.",
        ) from error
    return Mapping.from_dict(data)


def adopt(registry: DatasetRegistry, name: str, mapping: Mapping, node: str) -> Dataset:
    """Have data set `name` read under common names from now on, as the mapping says for this node.

    Parameters
    ----------
    registry : DatasetRegistry
        The node's.
    name : str
    mapping : Mapping
    node : str
        The node's id.

    Raises
    ------
    InvalidInput
        ``not-mapped``: it says nothing of this node; and those of `DatasetRegistry.adopt`.
    """
    part = mapping.nodes.get(node)
    if not part:
        raise InvalidInput(
            f"The mapping says nothing of this node, {node[:12]}; it is of {len(mapping.nodes)} others.",
            code="not-mapped",
            hint="Nothing has to be done here; or ask whoever made it.",
        )
    return registry.adopt(name, part)
