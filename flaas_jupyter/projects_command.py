"""``flaas organisations`` and ``flaas projects``: who takes part, and which organisations work together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from .answers import without_links
from .errors import NotFound
from .home import Home
from .terminal import as_json, at_api, show, table, told, told_of

if TYPE_CHECKING:
    from .communications.coordinator import Coordinator

Json = dict[str, Any]


@click.group()
def organisations() -> None:
    """The organisations of the platform."""


@organisations.command("list")
@as_json
@told
def list_organisations(json_output: bool) -> None:
    """List the organisations that I may see."""
    _list("organisations", ["id", "name"], json_output)


@organisations.command("add")
@click.argument("organisation")
@click.option("--name", help="Default: the id.")
@as_json
@told
def add_organisation(organisation: str, name: str | None, json_output: bool) -> None:
    """Add ORGANISATION, an id of lower-case letters, digits and '-'."""
    body = {"id": organisation, "name": name or organisation}
    answer = at_api(lambda api: api.post("/v1/organisations", body))
    show(without_links(answer), json_output, told_of(answer, f"Organisation {organisation} is added."))


@organisations.command("remove")
@click.argument("organisation")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@told
def remove_organisation(organisation: str, yes: bool, json_output: bool) -> None:
    """Remove ORGANISATION, to which nothing may refer any more."""
    _remove(f"/v1/organisations/{quote(organisation, safe='')}", f"Organisation {organisation}", yes, json_output)


@click.group()
def projects() -> None:
    """Projects: organisations that train together, under one domain key."""


@projects.command("list")
@as_json
@told
def list_projects(json_output: bool) -> None:
    """List the projects that I may see."""
    _list("projects", ["id", "name", "organisations", "description"], json_output)


@projects.command("add")
@click.argument("project")
@click.option("--name", help="Default: the id.")
@click.option("--description", default="", help="For whoever sees the project.")
@click.option("--organisation", "members", multiple=True, required=True, help="Who takes part; may be repeated.")
@click.option(
    "--domain-key", help="Its public half, 64 hex digits. Default: that of `flaas domain init` on this machine."
)
@as_json
@told
def add_project(
    project: str,
    name: str | None,
    description: str,
    members: tuple[str, ...],
    domain_key: str | None,
    json_output: bool,
) -> None:
    """Add PROJECT, an id of lower-case letters, digits and '-'."""
    body = {
        "id": project,
        "name": name or project,
        "description": description,
        "domain_key": domain_key or _own_domain_key(project),
        "organisations": list(members),
    }
    made = at_api(lambda api: api.post("/v1/projects", body))
    show(without_links(made), json_output, f"Project {project} of {', '.join(made['organisations'])} is added.")


@projects.command("change")
@click.argument("project")
@click.option("--name")
@click.option("--description")
@click.option("--add", "joining", multiple=True, metavar="ORGANISATION", help="Takes part from now on.")
@click.option("--drop", "leaving", multiple=True, metavar="ORGANISATION", help="Takes part no more, nor do its nodes.")
@as_json
@told
def change_project(
    project: str,
    name: str | None,
    description: str | None,
    joining: tuple[str, ...],
    leaving: tuple[str, ...],
    json_output: bool,
) -> None:
    """Change PROJECT; what is not given stays."""
    path = f"/v1/projects/{quote(project, safe='')}"

    async def act(api: Coordinator) -> Json:
        present = await api.get(path)
        body: Json = {key: value for key, value in (("name", name), ("description", description)) if value is not None}
        if joining or leaving:
            body["organisations"] = sorted({*present["organisations"], *joining} - {*leaving})
        return await api.patch(path, body, if_match=api.etag(path))

    changed = at_api(act)
    show(without_links(changed), json_output, f"Project {project} is of {', '.join(changed['organisations'])}.")


@projects.command("remove")
@click.argument("project")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@told
def remove_project(project: str, yes: bool, json_output: bool) -> None:
    """Remove PROJECT with its history; none of its runs may be open."""
    _remove(f"/v1/projects/{quote(project, safe='')}", f"Project {project}", yes, json_output)


def _own_domain_key(project: str) -> str:
    from .governance.domain import public_key

    try:
        return public_key(Home.default().domain_key(project), project)
    except NotFound as error:
        raise NotFound(
            f"There is no domain key of {project!r} on this machine.",
            code="no-domain-key",
            hint=f"Run `flaas domain init {project}` here, or give --domain-key as its keeper has told you.",
        ) from error


def _list(kind: str, columns: list[str], json_output: bool) -> None:
    async def collect(api: Coordinator) -> list[Json]:
        return [each async for each in api.paginate(f"/v1/{kind}", kind)]

    rows = [without_links(each) for each in at_api(collect)]
    show(rows, json_output, table(rows, columns))


def _remove(path: str, what: str, yes: bool, json_output: bool) -> None:
    async def act(api: Coordinator) -> Json:
        await api.get(path)
        if not yes:
            click.confirm(f"Nobody can bring it back. Remove {what[0].lower()}{what[1:]}?", abort=True, err=True)
        return await api.delete(path, if_match=api.etag(path))

    answer = at_api(act)
    show(without_links(answer), json_output, told_of(answer, f"{what} is removed."))
