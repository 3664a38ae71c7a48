"""``flaas login``, ``logout`` and ``whoami``, and ``flaas api rotate-keys``: who one is, and what vouches for it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from .answers import without_links
from .errors import Unreachable
from .home import Credentials, Home
from .terminal import as_json, ca_fingerprint, show, told

if TYPE_CHECKING:
    from .kept_sign_in import SignedIn


def commands() -> tuple[click.Command, ...]:
    """Return login, logout and whoami."""

    @click.command()
    @click.argument("address", metavar="[URL]", required=False)
    @click.option("--url", help="The same as URL.")
    @click.option(
        "--token",
        envvar="FLAAS_TOKEN",
        is_flag=False,
        flag_value="",
        help="Check and keep a token instead; without a value it is asked for. Better from FLAAS_TOKEN or the prompt: "
        "arguments show in process lists.",
    )
    @click.option("--invitation", is_flag=True, help="Accept an invitation; it and a new password are asked for.")
    @click.option(
        "--role",
        "roles",
        multiple=True,
        metavar="ROLE[@SCOPE]",
        help="Sign in with this role only, e.g. developer@project:credit; may be repeated.",
    )
    @ca_fingerprint
    @as_json
    @told
    def login(
        address: str | None,
        url: str | None,
        token: str | None,
        invitation: bool,
        roles: tuple[str, ...],
        ca_fingerprint: str | None,
        json_output: bool,
    ) -> None:
        """Sign in at the coordination API at URL, with a code that one enters in a browser."""
        from . import signing_in
        from .communications.coordinator import Bearer
        from .communications.trust import fetched

        home = Home.default()
        url = signing_in.url_of(home, address or url)
        if ca_fingerprint:
            fetched(url, ca_fingerprint).keep(home, url)
        if invitation:
            me = _accept(home, url)
        elif token is not None:
            credentials = Credentials(url, token or click.prompt("Token", hide_input=True))
            me = _me(home, credentials.url, Bearer(credentials.token or ""))
            home.save_credentials(credentials)
        else:
            me = _device(home, url, " ".join(f"role:{role}" for role in roles))
        show(without_links(me), json_output, f"Signed in at {url} as {me['subject']} ({_roles(me)}).")

    @click.command()
    @told
    def logout() -> None:
        """Sign out: end the sign-in at the API, and forget it here."""
        from . import signing_in

        try:
            known = signing_in.sign_out(Home.default())
        except Unreachable:
            click.echo("Signed out here only: its tokens stay in force until they expire, or until", err=True)
            click.echo("you end the sign-in under /v1/me/sessions.", err=True)
            raise
        click.echo("Signed out." if known else "Nobody was signed in.")

    @click.command()
    @as_json
    @told
    def whoami(json_output: bool) -> None:
        """Show who the coordination API takes me for, and this machine's mesh identity."""
        from . import signing_in
        from .communications.identity import Identity

        home = Home.default()
        me = without_links(_me(home, *signing_in.caller(home)))
        me["node_id"] = Identity.load_or_create(home.key).node_id
        shown = {**me, "roles": _roles(me)} if "roles" in me else me
        lines = [f"{key:14}{value}" for key, value in shown.items() if not isinstance(value, dict)]
        show(me, json_output, "\n".join(lines))

    return login, logout, whoami


def rotate_keys_command(own_database: Callable[[], str]) -> click.Command:
    """Return ``rotate-keys`` for the group ``flaas api``; `own_database` names the default data base."""

    @click.command("rotate-keys")
    @click.option("--database", "database_url", help="Default: FLAAS_DATABASE_URL, else SQLite in FLAAS_HOME.")
    @click.option(
        "--compromised",
        is_flag=True,
        help="The present key has leaked: refuse what it has signed within seconds. Access tokens are renewed.",
    )
    @told
    def rotate_keys(database_url: str | None, compromised: bool) -> None:
        """Sign tokens with the next key from now on; those of the present one are good until they expire."""
        from .coordination.database import Database
        from .governance import audit
        from .governance.identity import keys
        from .governance.identity.sealing import default_vault

        database = Database(database_url or own_database())
        try:
            database.migrate()
            with database.writing() as session:
                key = keys.rotate(session, default_vault(), datetime.now(UTC), compromised=compromised)
                kid = key.kid
                audit.append_command(session, "key:rotate", "keys", {"key": kid, "compromised": compromised})
        finally:
            database.close()
        click.echo(f"Tokens are signed with key {kid} from now on.")

    return rotate_keys


def _accept(home: Home, url: str) -> dict[str, Any]:
    from . import signing_in
    from .communications.trust import Trust

    invitation = click.prompt("Invitation", hide_input=True)
    password = click.prompt("New password (at least 12 characters)", hide_input=True, confirmation_prompt=True)
    trust = Trust.of(home, url)
    return _keep(home, signing_in.accept_invitation(url, invitation.strip(), password, trust=trust))


def _device(home: Home, url: str, scope: str) -> dict[str, Any]:
    from . import signing_in
    from .communications.trust import Trust

    started = signing_in.DeviceSignIn.begin(url, scope=scope, trust=Trust.of(home, url))
    # Not to standard output: with --json there is nothing but the result.
    click.echo(f"Open {started.verification_uri} in a browser, on this machine or any other,", err=True)
    click.echo(f"and enter the code  {started.user_code}", err=True)
    terminal = sys.stderr.isatty()

    def waiting(left: float) -> None:
        if terminal:
            click.echo(f"\rWaiting: the code is good for {int(left)} s … ", nl=False, err=True)

    try:
        signed_in = started.wait(waiting=waiting)
    except KeyboardInterrupt:
        click.echo("\nNot signed in: nothing was changed.", err=True)
        raise SystemExit(130) from None
    finally:
        if terminal:
            click.echo(err=True)
    assert signed_in is not None  # nobody cancels it but by an interrupt
    return _keep(home, signed_in)


def _keep(home: Home, signed_in: SignedIn) -> dict[str, Any]:
    """Keep a sign-in, and register this machine's approval key if the person has none yet."""
    from . import kept_sign_in, signing_in

    with kept_sign_in.locked(home):
        kept_sign_in.keep(home, signed_in)
    auth = signing_in.SelfRenewing(home, signed_in.url)
    me = _me(home, signed_in.url, auth)
    if not signing_in.register_approval_key(home, signed_in.url, auth, me["subject"]):
        click.echo(
            f"The API knows another approval key of yours: copy approval.key from that machine to {home.path}, "
            "or approve there.",
            err=True,
        )
    return me


def _me(home: Home, url: str, auth: Any) -> dict[str, Any]:
    from .communications.coordinator import PATIENCE, Coordinator
    from .communications.trust import Trust

    async def ask() -> dict[str, Any]:
        async with Coordinator(url, auth, trust=Trust.of(home, url), retry_for=PATIENCE) as coordinator:
            return await coordinator.get("/v1/me")

    return asyncio.run(ask())


def _roles(me: dict[str, Any]) -> str:
    held = [
        each["role"] if each["scope"] == "platform" else f"{each['role']} in {each['scope']}" for each in me["roles"]
    ]
    return ", ".join(held) or "no roles yet"
