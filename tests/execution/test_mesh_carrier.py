"""What nodes, kernels and file senders bind to, and what they tell of where they are."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flaas_jupyter.communications.carrier import Whereabouts
from flaas_jupyter.communications.coordinator import Bearer
from flaas_jupyter.communications.directory import Directory, Record
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.mesh import Mesh
from flaas_jupyter.communications.network import Network, RelaySite, sign_network
from flaas_jupyter.connected import Session
from flaas_jupyter.errors import InvalidInput, NotFound, Unreachable
from flaas_jupyter.execution.enrolment import Enrolment
from flaas_jupyter.execution.mesh_carrier import open_carrier, settings_of, signed_record
from flaas_jupyter.execution.node import Node
from flaas_jupyter.execution.policy import Policy
from flaas_jupyter.execution.sources.secrets import SecretStore
from flaas_jupyter.execution.timing import Timing
from flaas_jupyter.home import Home
from flaas_jupyter.upload_bridge import Bridge

HERE, AWAY = "http://127.0.0.1:8470", "https://api.example"
DOMAIN = Identity.generate()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def directory(network: Network | None = None) -> Directory:
    found = Directory("study", DOMAIN.node_id)
    listing = {"domain": "study", "domain_key": DOMAIN.node_id, "memberships": [], "records": []}
    found.update(listing | {"network": sign_network(DOMAIN, network) if network else None})
    return found


def test_the_proxys_password_comes_from_the_nodes_secrets(home: Home) -> None:
    home.mesh.write_text('[proxy]\nmode = "http://proxy.example:3128"\nsecret = "way-out"')
    with pytest.raises(NotFound, match="way-out"):
        settings_of(home, api=AWAY)
    SecretStore(home.path).set("way-out", '{"user": "node", "password": "hush"}')
    proxy = settings_of(home, api=AWAY).proxy_to("https://relay.example")
    assert proxy is not None
    assert (proxy.user, proxy.password) == ("node", "hush")
    SecretStore(home.path).set("way-out", "hush")
    with pytest.raises(InvalidInput, match="has no user"):
        settings_of(home, api=AWAY)


@pytest.mark.anyio
async def test_with_an_api_on_this_machine_only_loopback_is_bound(home: Home) -> None:
    carrier = await open_carrier(home, Identity.generate(), api=HERE, directories=lambda: [directory()])
    hosts = {address.rpartition(":")[0] for address in carrier.whereabouts.addresses}
    await carrier.close()
    assert hosts <= {"127.0.0.1", "[::1]"}


@pytest.mark.anyio
async def test_kernels_run_beside_a_node_whose_port_is_fixed(home: Home) -> None:
    home.mesh.write_text('listen = ["127.0.0.1:0"]')
    node = await open_carrier(home, Identity.generate(), api=HERE, directories=list)
    fixed = next(address for address in node.whereabouts.addresses if address.startswith("127."))
    home.mesh.write_text(f'listen = ["{fixed}"]')
    with pytest.raises(InvalidInput) as caught:
        await open_carrier(home, Identity.generate(), api=HERE, directories=list)
    assert caught.value.code == "cannot-listen"
    person = Identity.generate()
    kernels = [await open_carrier(home, person, api=HERE, directories=list, any_port=True) for _ in range(2)]
    told = [address for kernel in kernels for address in kernel.whereabouts.addresses]
    for carrier in (node, *kernels):
        await carrier.close()
    assert {address.rpartition(":")[0] for address in told} <= {"127.0.0.1", "[::1]"}
    assert fixed not in told


@pytest.mark.anyio
async def test_the_carriers_are_those_that_the_settings_name(home: Home) -> None:
    home.mesh.write_text('carriers = ["iroh", "tls"]')
    both = await open_carrier(home, Identity.generate(), api=HERE, directories=list)
    here = both.whereabouts
    assert here.addresses
    [taken] = here.tls
    beside = await open_carrier(home, Identity.generate(), api=HERE, directories=list, any_port=True)
    assert not beside.whereabouts.tls, "kernels dial over TLS, and do not listen"
    home.mesh.write_text(f'carriers = ["iroh", "tls"]\nlisten_tls = ["{taken}"]')
    with pytest.raises(InvalidInput) as caught:
        await open_carrier(home, Identity.generate(), api=HERE, directories=list)
    assert caught.value.code == "cannot-listen"
    for carrier in (both, beside):
        await carrier.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith(("iroh", "tls", "mesh"))]


def test_over_tls_alone_iroh_is_not_needed(home: Home) -> None:
    home.mesh.write_text('carriers = ["tls"]\nlisten_tls = ["127.0.0.1:0"]')
    code = f"""
import asyncio, sys
sys.modules["iroh"] = None
from pathlib import Path
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.execution.mesh_carrier import open_carrier
from flaas_jupyter.home import Home

async def main():
    carrier = await open_carrier(Home(Path({str(home.path)!r})), Identity.generate(), api={AWAY!r}, directories=list)
    assert carrier.is_open and carrier.whereabouts.tls and not carrier.whereabouts.addresses
    await carrier.close()

asyncio.run(main())
"""
    subprocess.run([sys.executable, "-c", code], check=True)


class Projects:
    """A coordination API that knows two projects without members."""

    async def __aenter__(self) -> Projects:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None: ...

    async def get(self, path: str) -> dict[str, Any]:
        await asyncio.sleep(0)
        project = path.split("/")[3]
        if not path.endswith("/directory"):
            return {"id": project, "domain_key": DOMAIN.node_id}
        return {"domain": project, "domain_key": DOMAIN.node_id, "memberships": [], "records": []}


@pytest.fixture
def taken_port(home: Home) -> Iterator[str]:
    """Have ``mesh.toml`` name a port that somebody, the node, has already."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as node:
        node.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{node.getsockname()[1]}"
        home.mesh.write_text(f'listen = ["{address}"]')
        yield address


def test_a_notebook_joins_two_projects_beside_the_node_and_each_once(
    home: Home, taken_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "get", lambda self, path: {"roles": [], "subject": "", "organisation": ""})
    with Session(HERE, Bearer("token"), home) as session:
        session._coordinator = Projects()  # type: ignore[assignment]

        async def joined() -> list[Mesh]:
            asked = [{"id": project, "domain_key": DOMAIN.node_id} for project in ("one", "two", "one", "two")]
            return [mesh for mesh, _ in await asyncio.gather(*map(session.mesh, asked))]

        one, two, *again = session._loop.run(joined())
        assert one is not two
        assert again == [one, two]
        assert taken_port not in (*one.whereabouts.addresses, *two.whereabouts.addresses)


@pytest.mark.anyio
async def test_file_senders_run_beside_the_node(home: Home, taken_port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLAAS_URL", HERE)
    monkeypatch.setattr(Bridge, "_api", lambda self: Projects())
    bridge = Bridge(home)
    meshes = [(await bridge._joined(project))[0] for project in ("one", "two")]
    told = [address for mesh in meshes for address in mesh.whereabouts.addresses]
    await bridge.close()
    assert told
    assert taken_port not in told


@pytest.mark.anyio
async def test_what_the_domain_signs_is_followed(home: Home) -> None:
    shy = Network("study", (RelaySite("r", "http://127.0.0.1:9"),), direct="never", serial=1)
    carrier = await open_carrier(home, Identity.generate(), api=AWAY, directories=lambda: [directory(shy)])
    told = carrier.whereabouts
    await carrier.close()
    assert told.addresses == ()


def test_a_record_names_the_relays_of_its_own_domain_only() -> None:
    identity = Identity.generate()
    here = Whereabouts(("192.0.2.7:1",), (), ("https://ours.example", "https://theirs.example"))
    ours = Network("study", (RelaySite("r", "https://ours.example"),), serial=1)
    record = Record.parse(signed_record(identity, directory(ours), here))
    assert record.whereabouts == Whereabouts(("192.0.2.7:1",), (), ("https://ours.example",))
    assert record.in_force(time.time())
    assert record.node_id == identity.node_id
    assert Record.parse(signed_record(identity, directory(), here)).relays == ()


class Moving:
    """A mesh that is now here, now there."""

    def __init__(self) -> None:
        self.whereabouts = Whereabouts(("192.0.2.7:1",))
        self._moved = asyncio.Event()

    def move(self, whereabouts: Whereabouts) -> None:
        self.whereabouts = whereabouts
        self._moved.set()

    async def moved(self) -> None:
        await self._moved.wait()
        self._moved.clear()


@pytest.mark.anyio
async def test_a_node_that_has_moved_says_so_at_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    Enrolment("clinic-a").joined(HERE, "clinic", "study", DOMAIN.node_id).save(home.enrolment)
    home.policy.write_text(Policy.default_toml())
    node = Node(home, timing=Timing())
    published: asyncio.Queue[Record] = asyncio.Queue()
    down = True

    class Api:
        async def put(self, path: str, body: dict[str, Any], retry_for: float | None = None) -> dict[str, Any]:
            if down:
                raise Unreachable("The API is down.")
            published.put_nowait(Record.parse(body))
            return {}

    monkeypatch.setattr("flaas_jupyter.execution.node.RECORD_RETRY", 0.01)
    node._coordinator, node._mesh = Api(), Moving()  # type: ignore[assignment]
    keeping = asyncio.create_task(node._keep_record_fresh())
    async with asyncio.timeout(10):
        await asyncio.sleep(0)
        down = False
        first = await published.get()
        assert first.addresses == ("192.0.2.7:1",), "an API that was down is told as soon as it is back"
        node._mesh.move(Whereabouts(("198.51.100.7:1",)))  # type: ignore[attr-defined]
        second = await published.get()
    assert second.addresses == ("198.51.100.7:1",)
    assert second.sequence > first.sequence
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
