"""``flaas domain network``: relays, reflectors and direct connections of a project, signed with its domain key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from .domain_command import hand_in_and_show, known_of
from .errors import InvalidInput, NotFound
from .home import Home
from .terminal import as_json, at_api, show, told

if TYPE_CHECKING:
    from .communications.network import Direct, Network, ReflectorSite, RelaySite

Json = dict[str, Any]


@click.command("network")
@click.argument("project")
@click.option("--relay", "relays", multiple=True, metavar="NAME=URL[,CA.pem]", help="In the order of preference.")
@click.option("--reflector", "reflectors", multiple=True, metavar="NODE_ID@IP:PORT", help="Again for a second address.")
@click.option("--direct", type=click.Choice(["prefer", "only", "never"]), help="Whether peers connect directly.")
@as_json
@told
def network(
    project: str, relays: tuple[str, ...], reflectors: tuple[str, ...], direct: Direct | None, json_output: bool
) -> None:
    """Show the network of PROJECT; with options, sign a new one, which takes the place of the whole.

    Without a relay and a reflector among the options the new one has none.
    """
    from .communications.network import Network
    from .governance import domain as governance

    if not relays and not reflectors and direct is None:
        _show(project, json_output)
        return
    key = Home.default().domain_key(project)
    wanted = Network(
        domain=project,
        relays=tuple(read_relay(text) for text in relays),
        reflectors=read_reflectors(reflectors),
        direct=direct or "prefer",
    )
    known = known_of(project).network
    document = governance.network(key, wanted, after=-1 if known is None else known.serial)
    hand_in_and_show(project, "networks", document, told_of(Network.of(document["body"])), json_output)


def read_relay(text: str) -> RelaySite:
    """Read ``NAME=URL[,CA.pem]``; the file is read.

    Raises
    ------
    InvalidInput
        ``bad-relay``; ``bad-ca``: the file cannot be read.
    """
    from .communications.network import RelaySite

    name, equals, rest = text.partition("=")
    url, _, file = rest.partition(",")
    if not (name and equals and url):
        raise InvalidInput(
            f"{text!r} is not NAME=URL[,CA.pem].", code="bad-relay", hint="E.g. --relay frankfurt=https://relay.example"
        )
    try:
        return RelaySite(name, url, Path(file).read_text(encoding="ascii") if file else "")
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"The certificates {file} of relay {name!r} cannot be read.",
            code="bad-ca",
            hint="Name a file in PEM that you may read.",
        ) from error


def read_reflectors(texts: Sequence[str]) -> tuple[ReflectorSite, ...]:
    """Read ``NODE_ID@IP:PORT`` each; `InvalidInput` (code ``bad-reflector``) if one is not."""
    from .communications.network import ReflectorSite

    addresses: dict[str, list[str]] = {}
    for text in texts:
        node_id, at, address = text.partition("@")
        if not (node_id and at and address):
            raise InvalidInput(
                f"{text!r} is not NODE_ID@IP:PORT.",
                code="bad-reflector",
                hint="`flaas reflector serve` prints its key and address.",
            )
        addresses.setdefault(node_id, []).append(address)
    return tuple(ReflectorSite(node_id, tuple(found)) for node_id, found in addresses.items())


def told_of(network: Network) -> str:
    """Return the network as people read it."""
    lines = [f"Network of {network.domain}, serial {network.serial}"]
    for relay in network.relays:
        lines.append(f"relay      {relay.name}: {relay.url} ({'own' if relay.ca else 'system'} certificates)")
    for reflector in network.reflectors:
        lines.append(f"reflector  {reflector.node_id} at {', '.join(reflector.addresses)}")
    return "\n".join([*lines, f"direct     {network.direct}"])


def _show(project: str, json_output: bool) -> None:
    """Show what is in force, checked with the domain key on this machine, else with that which the API names."""
    from .communications.network import Network
    from .governance import domain as governance

    listing = _listing(project)
    try:
        pinned, whose = governance.public_key(Home.default().domain_key(project), project), "on this machine"
    except NotFound:
        pinned, whose = listing["domain_key"], "that the API names"
    if listing["network"] is None:
        show(None, json_output, f"Nothing is signed for {project}: peers connect directly, and there are no relays.")
        return
    found = Network.parse(listing["network"], pinned)
    show(listing["network"]["body"], json_output, f"{told_of(found)}\nsigned by  {pinned}, the domain key {whose}")


def _listing(project: str) -> Json:
    return at_api(lambda api: api.get(f"/v1/projects/{quote(project, safe='')}/directory"))
