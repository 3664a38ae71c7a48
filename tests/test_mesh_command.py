"""``flaas domain network`` and ``flaas mesh status``, at a real API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from coordination.hosted_api import Api, Federation
from coordination.test_mesh import LINK, admit

from flaas_jupyter.cli import main
from flaas_jupyter.communications.domain_key import Holders
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.network import Network
from flaas_jupyter.communications.private_authority import PrivateAuthority
from flaas_jupyter.connected import connect
from flaas_jupyter.governance.domain import keep_holders
from flaas_jupyter.home import Home
from flaas_jupyter.mesh_command import rate
from flaas_jupyter.mesh_status import advice, unconnected

REFLECTOR = Identity(b"r" * 32).node_id


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A federation whose domain key is in a file."""
    folder = tmp_path_factory.mktemp("mesh")
    api = Api(f"sqlite:///{folder / 'api.db'}")
    try:
        key = Identity.load_or_create(Home(folder).domain_key("credit"))
        made = Federation(api, {}, domain_key=key)
        made.people = {(role, "platform"): token for role, token in api.first_tokens.items()}
        made.found()
        yield made
    finally:
        api.stop()


@pytest.fixture(scope="module")
def home(federation: Federation, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The home of who holds the domain key."""
    home = Home(tmp_path_factory.mktemp("administrator"))
    path = home.domain_key("credit")
    path.parent.mkdir(parents=True)
    path.write_text(federation.domain_key.seed.hex())
    path.chmod(0o600)
    return home


def run(federation: Federation, home: Path | Home, *arguments: str, who: str = "operator") -> Result:
    """Run ``flaas`` as somebody of north."""
    federation.person(who, "north")
    folder = home.path if isinstance(home, Home) else home
    environment = {"FLAAS_HOME": str(folder), "FLAAS_URL": federation.api.url,
                   "FLAAS_TOKEN": federation.people[who, "north"]}  # fmt: skip
    return CliRunner(env=environment).invoke(main, list(arguments))


def told(federation: Federation, home: Path | Home, *arguments: str, **who: str) -> Any:
    result = run(federation, home, *arguments, "--json", **who)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_network_is_signed_shown_and_replaced(federation, home, tmp_path):
    assert "Nothing is signed" in run(federation, home, "domain", "network", "credit").stdout
    ca = tmp_path / "ca.pem"
    ca.write_text(PrivateAuthority(tmp_path / "authority", ("relay.example",)).trust.pem)
    made = told(
        federation, home, "domain", "network", "credit", "--relay", f"Frankfurt=https://relay.example,{ca}",
        "--relay", "here=http://127.0.0.1:8080", "--reflector", f"{REFLECTOR}@192.0.2.7:3478",
        "--reflector", f"{REFLECTOR}@[2001:db8::7]:3478", "--direct", "only",
    )  # fmt: skip
    assert [relay["name"] for relay in made["relays"]] == ["Frankfurt", "here"]
    assert made["relays"][0]["ca"] == ca.read_text()
    assert made["reflectors"] == [{"node_id": REFLECTOR, "addresses": ["192.0.2.7:3478", "[2001:db8::7]:3478"]}]
    document = federation.developer.get(f"{federation.path}/network")
    signed = {name: document[name] for name in ("body", "signature")}
    assert Network.parse(signed, federation.domain_key.node_id).direct == "only"
    shown = run(federation, tmp_path, "domain", "network", "credit", who="viewer").stdout
    assert "relay      Frankfurt: https://relay.example (own certificates)" in shown
    assert "the domain key that the API names" in shown
    assert "the domain key on this machine" in run(federation, home, "domain", "network", "credit").stdout
    again = told(federation, home, "domain", "network", "credit", "--direct", "prefer")
    assert (again["relays"], again["reflectors"]) == ([], [])
    assert again["serial"] > made["serial"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--relay", "nameless"), "bad-relay"),
        (("--relay", "a=ftp://relay.example"), "bad-relay-url"),
        (("--relay", "a=https://relay.example,/nowhere/ca.pem"), "bad-ca"),
        (("--reflector", "192.0.2.7:3478"), "bad-reflector"),
        (("--reflector", f"{REFLECTOR}@reflector.example:3478"), "bad-network"),
        (("--direct", "never"), "bad-network"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[1][:12],
)
def test_what_cannot_be_signed_is_said(federation, home, arguments, code):
    result = run(federation, home, "domain", "network", "credit", *arguments)
    assert (result.exit_code, f"[{code}]" in result.stderr) == (1, True), result.output


def test_who_has_no_domain_key_signs_nothing(federation, tmp_path):
    result = run(federation, tmp_path, "domain", "network", "credit", "--direct", "prefer")
    assert "[no-domain-key]" in result.stderr


def test_what_one_of_several_holders_signs_waits(federation, tmp_path):
    homes = [Home(tmp_path / name) for name in ("first", "second")]
    keys = [Identity.load_or_create(home.domain_key("shared")) for home in homes]
    holders = Holders.of([key.node_id for key in keys], 2)
    for each in homes:
        keep_holders(each.domain_key("shared"), holders)
    body = federation.project_body(id="shared", domain_key=holders.domain_key)
    federation.admin.post("/v1/projects", body)
    first = run(federation, homes[0], "domain", "network", "shared", "--direct", "only")
    assert "1 more must sign it" in first.stdout, first.output
    assert federation.developer.refused("GET", "/v1/projects/shared/network") == (404, "no-network")
    (waiting,) = told(federation, homes[1], "domain", "pending", "shared")
    assert run(federation, homes[1], "domain", "cosign", "shared", waiting["id"], "--yes").exit_code == 0
    assert federation.developer.get("/v1/projects/shared/network")["body"]["direct"] == "only"


def test_the_status_shows_connections_and_what_to_do_about_those_that_are_missing(federation, home, tmp_path):
    north, south, west = federation.three()
    federation.node("laboratory")
    admit(federation, north, south, west)
    for node, peers in ((north, [south]), (south, [north]), (west, [])):
        links = [{"node_id": peer.id, **LINK} for peer in peers]
        node.api.put(f"{node.path}/links", {"links": links})
    shown = run(federation, home, "mesh", "status", "credit", who="viewer")
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert [line.split() for line in lines[:3]] == [
        ["FROM", "TO", "PATH", "RTT", "THROUGHPUT"],
        ["north", "south", "direct", "12.5", "ms", "25", "MB/s"],
        ["south", "north", "direct", "12.5", "ms", "25", "MB/s"],
    ]
    assert "laboratory of laboratory is offline: start it with `flaas node run`." in lines
    assert lines[-1].startswith("Not connected: north and west, south and west.")
    assert "flaas doctor --network" in lines[-1]
    made = told(federation, home, "mesh", "status", "credit")
    assert len(made["links"]) == 2
    assert [north.id, west.id] in made["unconnected"]
    assert "_links" not in made
    federation.person("viewer", "north")
    with connect(federation.api.url, token=federation.people["viewer", "north"], home=Home(tmp_path)) as session:
        frame = session.project("credit").mesh
    assert list(frame.columns) == ["from", "to", "path", "rtt", "throughput", "bytes"]
    assert list(frame["from"]) == ["north", "south"]
    assert list(frame["rtt"]) == [0.0125, 0.0125]


def test_the_status_of_a_mesh_without_connections_and_of_no_project(federation, home):
    federation.admin.post("/v1/projects", federation.project_body(id="empty"))
    assert run(federation, home, "mesh", "status", "empty").stdout.strip() == "No connections."
    assert "[unknown-project]" in run(federation, home, "mesh", "status", "other").stderr


def mesh_of(**roles: list[str]) -> dict[str, Any]:
    """What the API tells of nodes with these roles, none of which is connected."""
    nodes = [
        {"id": name, "name": name, "organisation": "north", "roles": has, "online": True, "reported": "2026-01-01"}
        for name, has in roles.items()
    ]
    return {"nodes": nodes, "links": []}


def test_what_is_a_relay_alone_is_in_no_pair_and_a_node_that_is_one_besides_is():
    found = mesh_of(a=["node"], b=["node", "relay"], r=["relay"])
    assert [(one["id"], other["id"]) for one, other in unconnected(found)] == [("a", "b")]
    away = {**found, "nodes": [{**node, "online": False} for node in found["nodes"]]}
    assert [line.partition(" ")[0] for line in advice(away)] == ["a", "b"]


@pytest.mark.parametrize(("nodes", "more"), [(5, ""), (6, ", and 3 pairs more")])
def test_of_many_pairs_some_are_named_and_the_others_counted(nodes, more):
    (line,) = advice(mesh_of(**{f"n{number}": ["node"] for number in range(nodes)}))
    assert (" more." in line, f"{more}. Nodes connect" in line) == (bool(more), True)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0 B/s"), (999, "999 B/s"), (1500, "1.5 kB/s"), (2.5e7, "25 MB/s"), (1e9, "1 GB/s")],
)
def test_rates_are_in_units_that_people_read(value, text):
    assert rate(value) == text
