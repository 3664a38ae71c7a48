"""``flaas dataset``: what this node offers, where it comes from, which runs have used it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import anonymise_command, mapping_command
from .home import Home
from .terminal import as_json, show, table, told

if TYPE_CHECKING:
    from .execution.datasets import Dataset, DatasetRegistry


def group() -> click.Group:
    """Return the group of commands."""
    dataset.add_command(anonymise_command.anonymise_command)
    dataset.add_command(mapping_command.map_command)
    return dataset


@click.group()
def dataset() -> None:
    """The data sets this node offers for training. The data stay where they are."""


@dataset.command("add")
@click.argument("name")
@click.argument("place", metavar="PATH|URL")
@click.option("--target", help="The column to predict (tables).")
@click.option(
    "--project",
    "projects",
    multiple=True,
    help="Projects it is offered to; default: all that the node joined.",
)
@click.option("--classes", type=click.IntRange(min=2), help="Classes of an integer target, if not all occur here.")
@click.option("--id", "id_column", metavar="COLUMN", help="The column that names whom a row is about.")
@click.option("--no-target", is_flag=True, help="It has no target: another party has the label. Needs --id or --raw.")
@click.option("--raw", is_flag=True, help="Keep texts and missing values, for statistics and runs with preprocessing.")
@click.option("--query", metavar="SELECT", help="Of a data base: the rows.")
@click.option("--format", metavar="NAME", help="Where the file's name does not tell: csv, parquet, jsonl, images ….")
@click.option("--secret", metavar="NAME", help="The credentials to use, of `flaas secret set NAME`.")
@click.option(
    "--schema",
    "schema_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the columns mean, as TOML: units, roles, ranges, categories.",
)
@as_json
@told
def dataset_add(
    name: str,
    place: str,
    target: str | None,
    no_target: bool,
    schema_file: Path | None,
    json_output: bool,
    **options: Any,
) -> None:
    """Register a file, a folder or the data at a URL as NAME, after reading and checking all of it.

    A running node offers it by itself.
    """
    if no_target and (target or not (options["id_column"] or options["raw"])):
        raise click.UsageError("--no-target goes with --id or --raw, and not with --target.")
    if (options["id_column"] or options["raw"]) and not target and not no_target and schema_file is None:
        raise click.UsageError("Name the column to predict with --target, or say --no-target.")
    if schema_file is not None:
        from .execution.datasets.schema import DatasetSchema

        options["schema"] = DatasetSchema.load(schema_file)
    entry = _registry().add(name, place, target=target, **options)
    description = entry.description()
    goal = f"target {description['target']['name']}" if description["target"] else "no target"
    ids = f", ids in {options['id_column']}" if options["id_column"] else ""
    show(
        _told(entry),
        json_output,
        f"{name}: {description['rows']} rows, {len(description['features'])} features, {goal}{ids}.",
    )


@dataset.command("list")
@as_json
@told
def dataset_list(json_output: bool) -> None:
    """List the registered data sets."""
    rows = [entry.to_dict() | {"target": entry.target_names} for entry in _registry().list()]
    shown = [row | {"version": row["version"][:12]} for row in rows]
    show(rows, json_output, table(shown, ["name", "path", "target", "rows", "version", "projects"]))


@dataset.command("show")
@click.argument("name")
@as_json
@told
def dataset_show(name: str, json_output: bool) -> None:
    """Show NAME: where it comes from, its version, and what others are told of it."""
    entry = _registry().get(name)
    description = entry.description()
    now = entry.registration
    found = {
        **{key: entry.to_dict()[key] for key in ("name", "path", "query", "format", "secret", "id_column", "raw")},
        "operations": list(now.operations),
        "version": now.version,
        "told": _told(entry),
    }
    columns = [{"role": "feature", **each} for each in now.features] + [{"role": "target", **e} for e in now.targets]
    lines = [f"{name}: {now.path}"]
    lines += [f"query: {now.query}"] if now.query else []
    lines += [
        f"{now.rows} rows, version {now.version}",
        f"for {', '.join(now.operations)}; offered to {', '.join(description['projects']) or 'no project yet'}"
        + ("; raw: texts and missing values stay" if now.raw else ""),
        table(columns, ["name", "role", "dtype", "shape", "kind", "classes"]),
    ]
    show(found, json_output, "\n".join(lines))


@dataset.command("quality")
@click.argument("name")
@as_json
@told
def dataset_quality(name: str, json_output: bool) -> None:
    """Look for what is wrong with NAME's values: missing, constant, out of range, unknown, repeated. Stays here."""
    from .execution.datasets.quality import report

    found = report(_dataset(name))
    show(found.to_dict(), json_output, str(found))


@dataset.command("versions")
@click.argument("name")
@as_json
@told
def dataset_versions(name: str, json_output: bool) -> None:
    """Show the versions that NAME has had (SHA-256 of its content) and how many runs have used each."""
    from .execution.datasets.lineage import versions_of

    _dataset(name).description()  # looks whether there is a new one
    rows = versions_of(Home.default().path, name)
    show(rows, json_output, table(rows, ["time", "version", "rows", "runs"]))


@dataset.command("lineage")
@click.argument("name")
@as_json
@told
def dataset_lineage(name: str, json_output: bool) -> None:
    """Show which runs have used which version of NAME."""
    rows = _dataset(name).lineage
    shown = [row | {key: (row[key] or "")[:12] for key in ("version", "model", "recipe")} for row in rows]
    show(rows, json_output, table(shown, ["time", "version", "rows", "project", "operation", "run", "model", "recipe"]))


@dataset.command("queries")
@click.argument("name")
@as_json
@told
def dataset_queries(name: str, json_output: bool) -> None:
    """Show who asked for which statistics of NAME, about how many rows (roughly), and what became of it."""
    from .execution.query_log import queries_of

    rows = queries_of(Home.default(), name)
    columns = ["time", "organisation", "developer", "operation", "columns", "rows", "epsilon", "outcome", "reason"]
    show(rows, json_output, table(rows, columns))


@dataset.command("budget")
@click.argument("name")
@as_json
@told
def dataset_budget(name: str, json_output: bool) -> None:
    """Show what private statistics of NAME have cost each developer, and what is left of analytics_epsilon."""
    from .execution.query_log import budgets_of

    rows = budgets_of(Home.default(), name)
    show(rows, json_output, table(rows, ["developer", "organisation", "answers", "spent", "budget", "remaining"]))


@dataset.command("remove")
@click.argument("name")
@told
def dataset_remove(name: str) -> None:
    """Offer NAME no more, and remove what was derived from it. The file is not touched."""
    _registry().remove(name)
    click.echo(f"{name} is no longer registered; its file was not touched.")


def _registry() -> DatasetRegistry:
    from .execution.datasets import DatasetRegistry

    return DatasetRegistry(Home.default().path)


def _dataset(name: str) -> Dataset:
    return _registry().get(name)


def _told(entry: Dataset) -> dict[str, Any]:
    from .execution.exploring import told_of

    return told_of(entry, Home.default().path)
