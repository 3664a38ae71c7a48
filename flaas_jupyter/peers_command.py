"""``flaas node peers``: whom this node's owner lets in."""

from __future__ import annotations

import click

from .home import Home
from .terminal import as_json, show, table, told


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
@told
def peers(context: click.Context, json_output: bool) -> None:
    """List the peers of this node; those that wait for its owner first (peers = "manual" in node.toml)."""
    if context.invoked_subcommand is not None:
        return
    from .execution.peers import listed

    rows = listed(Home.default())
    show(rows, json_output, table(rows, ["state", "domain", "organisation", "roles", "node_id"]))


@peers.command("accept")
@click.argument("node_ids", nargs=-1, required=True)
@told
def accept(node_ids: tuple[str, ...]) -> None:
    """Let the peers NODE_IDS in, with the organisation and roles that are listed; the node notices by itself."""
    _decide(node_ids, accept=True)


@peers.command("refuse")
@click.argument("node_ids", nargs=-1, required=True)
@told
def refuse(node_ids: tuple[str, ...]) -> None:
    """Keep the peers NODE_IDS out, whatever is signed for them; connections with them are closed."""
    _decide(node_ids, accept=False)


def _decide(node_ids: tuple[str, ...], *, accept: bool) -> None:
    from .execution.peers import decide

    for node_id in node_ids:
        for entry in decide(Home.default(), node_id, accept=accept):
            done = "accepted" if accept else "refused"
            click.echo(f"{node_id} of {entry['organisation']} is {done} in {entry['domain']}.")
