"""``flaas dataset map``: read a data set under the names, units and codes that a project has agreed on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import InvalidInput
from .home import Home
from .terminal import as_json, show, table, told

if TYPE_CHECKING:
    from .training.preprocessing.mapping import Mapping


@click.command("map")
@click.argument("name")
@click.argument("recipe", required=False)
@click.option("--none", "nothing", is_flag=True, help="Read the columns as they are again.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@told
def map_command(name: str, recipe: str | None, nothing: bool, yes: bool, json_output: bool) -> None:
    """Read NAME under common names, units and codes from now on.

    RECIPE is the id of a mapping that the project keeps (`project.recipes` in a notebook), or a file of one. What it
    changes here is shown before it is adopted.
    """
    from .adopting import adopt
    from .communications.identity import Identity
    from .execution.datasets import DatasetRegistry

    if nothing == (recipe is not None):
        raise click.UsageError("Give a RECIPE, or --none.")
    home = Home.default()
    registry = DatasetRegistry(home.path)
    if recipe is None:
        entry = registry.adopt(name, {})
        show(entry.description(), json_output, f"{name} is read as it is.")
        return
    node = Identity.load_or_create(home.key).node_id
    mapping = _mapping(recipe, home)
    rows = [
        {
            "here": column.source,
            "becomes": common,
            "times": column.factor if column.factor != 1.0 else None,
            "plus": column.offset or None,
            "codes": ", ".join(f"{left} → {right}" for left, right in column.recode),
        }
        for common, column in mapping.nodes.get(node, {}).items()
    ]
    if rows and not yes:
        click.echo(table(rows, ["here", "becomes", "times", "plus", "codes"]), err=True)
        click.confirm(f"Read {name} so (mapping {mapping.digest[:12]})?", abort=True, err=True)
    entry = adopt(registry, name, mapping, node)
    described: dict[str, Any] = entry.description()
    show(described, json_output, f"{name} is read with mapping {mapping.digest[:12]}: {len(rows)} columns changed.")


def _mapping(recipe: str, home: Home) -> Mapping:
    from . import adopting

    path = Path(recipe)
    if path.suffix == ".json" or path.exists():
        return adopting.read_file(path)
    import asyncio

    from .communications.coordinator import Coordinator, NodeKey
    from .communications.identity import Identity
    from .communications.trust import Trust
    from .execution.enrolment import Enrolment

    enrolment = Enrolment.load(home.enrolment)
    if not enrolment.url:
        raise InvalidInput(
            "This node has not joined a project, whose recipes could be looked up.",
            code="not-joined",
            hint="`flaas node join`, or give a file.",
        )

    async def look_up() -> dict[str, Any]:
        key, trust = NodeKey(Identity.load_or_create(home.key)), Trust.of(home, enrolment.url)
        async with Coordinator(enrolment.url, key, trust=trust) as api:
            return await api.get(f"/v1/recipes/{recipe}")

    return adopting.fetch(asyncio.run(look_up()))
