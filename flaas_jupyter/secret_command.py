"""`flaas secret`: what opens the node's data sources, kept sealed beside it. No secret is ever printed."""

from __future__ import annotations

import sys

import click

from .home import Home
from .terminal import as_json, show, told


@click.group()
def secret() -> None:
    """Secrets of this node: passwords, keys and tokens of its data sources."""


@secret.command("set")
@click.argument("name")
@told
def set_secret(name: str) -> None:
    """Keep a secret under NAME; it is asked for, or read from standard input.

    A password, a token, a key file; or several fields, as a JSON object or lines of NAME=value.
    """
    from .execution.sources.secrets import SecretStore

    store = SecretStore(Home.default().path)
    known = name in store.names()
    asked = sys.stdin.isatty()
    value = click.prompt("Secret", hide_input=True, confirmation_prompt=True) if asked else sys.stdin.read()
    store.set(name, value.rstrip("\r\n"))
    click.echo(f"{name} is {'replaced' if known else 'kept'}. `flaas dataset add NAME URL --secret {name}` uses it.")


@secret.command("list")
@as_json
@told
def list_secrets(json_output: bool) -> None:
    """Show the names of all secrets."""
    from .execution.sources.secrets import SecretStore

    names = SecretStore(Home.default().path).names()
    show(names, json_output, "\n".join(names) or "This node keeps no secrets.")


@secret.command("remove")
@click.argument("name")
@told
def remove_secret(name: str) -> None:
    """Forget the secret NAME."""
    from .execution.sources.secrets import SecretStore

    SecretStore(Home.default().path).remove(name)
    click.echo(f"{name} is forgotten.")
