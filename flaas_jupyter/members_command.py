"""``flaas members``: the people and services of an organisation, and their roles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from .answers import without_links
from .terminal import as_json, at_api, show, table, told, told_of

if TYPE_CHECKING:
    from .communications.coordinator import Coordinator

Json = dict[str, Any]


@click.group()
def members() -> None:
    """People and services, and the roles that they hold."""


@members.command("list")
@as_json
@told
def list_members(json_output: bool) -> None:
    """List the people and services that I look after."""

    async def collect(api: Coordinator) -> list[Json]:
        return [user async for user in api.paginate("/v1/users", "users")]

    found = at_api(collect)
    rows = [{**without_links(user), "roles": _roles(user)} for user in found]
    show(rows, json_output, table(rows, ["id", "kind", "organisation", "name", "email", "state", "roles"]))


@members.command()
@click.argument("email")
@click.option("--organisation", required=True)
@click.option("--name")
@click.option(
    "--id", "user", help="Shown in lists and approvals, and in the audit log for ever: no full name. Default: made up."
)
@click.option("--role", "roles", multiple=True, metavar="ROLE@SCOPE", help="e.g. developer@project:credit")
@as_json
@told
def invite(
    email: str, organisation: str, name: str | None, user: str | None, roles: tuple[str, ...], json_output: bool
) -> None:
    """Invite a person; prints the invitation once, to be handed over."""
    body = {"organisation": organisation, "email": email, "roles": [_role(text) for text in roles]}
    body |= {key: value for key, value in (("name", name), ("id", user)) if value}
    made = at_api(lambda api: api.post("/v1/users", body))
    text = (
        f"{made['id']} is invited to {organisation}. The invitation, shown this once and good for 7 days:\n"
        f"{made['invitation']}\nIt is accepted with `flaas login --invitation`."
    )
    show(without_links(made), json_output, text + _waiting(made))


@members.command("add-service")
@click.argument("user")
@click.option("--organisation", required=True)
@click.option("--role", "roles", multiple=True, metavar="ROLE@SCOPE")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="How long its token is valid.")
@as_json
@told
def add_service(user: str, organisation: str, roles: tuple[str, ...], days: float | None, json_output: bool) -> None:
    """Make a service, which signs in with a token; prints the token once."""
    body: Json = {
        "id": user,
        "kind": "service",
        "organisation": organisation,
        "roles": [_role(text) for text in roles],
    }
    if days is not None:
        body["expires_in"] = days * 86_400
    made = at_api(lambda api: api.post("/v1/users", body))
    show(
        without_links(made),
        json_output,
        f"Token of {user} (shown this once): {made['token']}" + _waiting(made),
    )


@members.command()
@click.argument("user")
@click.argument("role", metavar="ROLE@SCOPE")
@as_json
@told
def give(user: str, role: str, json_output: bool) -> None:
    """Give a role to USER, e.g. viewer@organisation:north."""
    answer = at_api(lambda api: api.post(f"/v1/users/{quote(user, safe='')}/roles", _role(role)))
    show(without_links(answer), json_output, told_of(answer, f"{user} has {role}; a person, from the next sign-in on."))


@members.command()
@click.argument("user")
@click.argument("role", metavar="ROLE@SCOPE")
@as_json
@told
def take(user: str, role: str, json_output: bool) -> None:
    """Take a role from USER; it counts no more at once."""
    held = _role(role)
    path = f"/v1/users/{quote(user, safe='')}/roles/{quote(held['role'], safe='')}/{quote(held['scope'], safe='')}"
    answer = at_api(lambda api: api.delete(path))
    show(without_links(answer), json_output, told_of(answer, f"{user} does not have {role} any more."))


@members.command()
@click.argument("user")
@click.option("--yes", is_flag=True, help="Do not ask.")
@told
def remove(user: str, yes: bool) -> None:
    """Remove USER with sessions, tokens, roles and personal data."""
    if not yes:
        click.confirm(f"Nobody can bring {user} back. Remove it?", abort=True, err=True)
    path = f"/v1/users/{quote(user, safe='')}"

    async def act(api: Coordinator) -> None:
        await api.get(path)
        await api.delete(path, if_match=api.etag(path))

    at_api(act)
    click.echo(f"{user} is removed.")


def _role(text: str) -> dict[str, str]:
    role, at, scope = text.partition("@")
    if not role or not at or not scope:
        raise click.BadParameter(f"{text!r} is not ROLE@SCOPE, e.g. developer@project:credit")
    return {"role": role, "scope": scope}


def _roles(user: Json) -> list[str]:
    return [f"{held['role']}@{held['scope']}" for held in user["roles"]]


def _waiting(made: Json) -> str:
    asked = made.get("approvals") or []
    return f"\nIts roles wait for approval: {', '.join(asked)} (`flaas approvals list`)." if asked else ""
