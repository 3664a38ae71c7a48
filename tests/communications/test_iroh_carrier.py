"""The rules for the iroh bindings: minimal preset only, loopback only, and neither of their two defects."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import functools
import logging
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import flaas_jupyter
from flaas_jupyter.communications import iroh_carrier, iroh_endpoint
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.iroh_carrier import IrohCarrier, IrohConnection
from flaas_jupyter.communications.iroh_endpoint import _copy_in_one_move, iroh
from flaas_jupyter.communications.mesh_settings import MeshSettings
from flaas_jupyter.communications.network import Network, RelaySite
from flaas_jupyter.communications.shim import Shim
from flaas_jupyter.errors import InvalidInput, Unreachable

pytestmark = pytest.mark.anyio
PACKAGE = Path(flaas_jupyter.__file__).parent
BINDINGS = PACKAGE / "communications" / "iroh_endpoint.py"


async def connected() -> tuple[IrohCarrier, IrohCarrier, IrohConnection, IrohConnection]:
    ours, theirs = await IrohCarrier.bind(Identity.generate()), await IrohCarrier.bind(Identity.generate())
    accepted = asyncio.create_task(theirs.accept())
    node_id = bytes(theirs._endpoint.id().to_bytes()).hex()
    out = await ours.dial(node_id, theirs.whereabouts)
    return ours, theirs, out, await accepted


@functools.cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _names(tree: ast.AST) -> list[str]:
    return [
        *(node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)),
        *(node.id for node in ast.walk(tree) if isinstance(node, ast.Name)),
    ]


def test_one_file_imports_iroh_and_only_when_it_is_used() -> None:
    for path in PACKAGE.rglob("*.py"):
        tree = _parsed(path)
        imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
        names = [getattr(node, "module", None) or alias.name for node in imports for alias in node.names]
        assert path == BINDINGS or not any(name.split(".")[0] == "iroh" for name in names), path
    code = "import sys, flaas_jupyter.communications.mesh, flaas_jupyter.communications.iroh_carrier as c;"
    subprocess.run([sys.executable, "-c", f"{code} sys.exit('iroh' in sys.modules)"], check=True)


def test_no_endpoint_is_bound_with_another_preset() -> None:
    tree = _parsed(BINDINGS)
    names = _names(tree)
    assert names.count("EndpointOptions") == names.count("Endpoint") == 1
    elsewhere = [name for path in PACKAGE.rglob("*.py") if path != BINDINGS for name in _names(_parsed(path))]
    assert not {"EndpointOptions", "EndpointBuilder", "Preset", "RelayMode"} & set(elsewhere)
    assert names.count("apply_minimal") == 1
    vendor = {
        "preset_n0",
        "preset_n0_disable_relay",
        "apply_n0",
        "apply_n0_disable_relay",
        "preset_iroh_services",
    }
    assert not vendor & set(names)
    assert not {"default_mode", "staging", "from_urls"} & set(names), "no relays but those that are named"
    options = next(
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("EndpointOptions")
    )
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in options.keywords}
    assert given["preset"].startswith("_local_preset()")
    assert given["relay_mode"] == "_relay_mode(relays)"


def test_the_network_watcher_that_spins_is_not_used() -> None:
    names = [name for path in PACKAGE.rglob("*.py") for name in _names(_parsed(path))]
    assert "watch_network_change" not in names


async def test_the_endpoint_id_is_the_node_id() -> None:
    identity = Identity.generate()
    carrier = await IrohCarrier.bind(identity)
    assert bytes(carrier._endpoint.id().to_bytes()).hex() == identity.node_id
    assert carrier._endpoint.addr().relay_url() is None
    await carrier.close()


def _sockets() -> dict[str, str]:
    """Return this process's UDP and TCP sockets, by inode: their local addresses, as the kernel knows them."""
    inodes = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            inodes.add(str(descriptor.readlink()))
    found = {}
    for table in ("udp", "udp6", "tcp", "tcp6"):
        path = Path("/proc/net") / table
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            columns = line.split()
            if f"socket:[{columns[9]}]" in inodes:
                found[columns[9]] = f"{table} {columns[1].split(':')[0]}"
    return found


LOOPBACK_SOCKETS = {"udp 0100007F", "udp6 00000000000000000000000001000000"}


@pytest.mark.skipif(not Path("/proc/net/udp").exists(), reason="reads Linux's socket tables")
async def test_only_udp_sockets_on_loopback_are_open() -> None:
    before = _sockets()

    def opened() -> set[str]:
        return {address for inode, address in _sockets().items() if inode not in before}

    carrier = await IrohCarrier.bind(Identity.generate())
    bound = [address.rpartition(":")[0] for address in carrier._endpoint.bound_sockets()]
    assert sorted(bound) == ["127.0.0.1", "[::1]"]
    assert {address.rpartition(":")[0] for address in carrier.whereabouts.addresses} <= {"127.0.0.1", "[::1]"}
    # The core's port mapper cannot be switched off from Python: it searches the local link once, at the start.
    search = {"udp 00000000"}
    assert opened() - search == LOOPBACK_SOCKETS
    async with asyncio.timeout(30):
        while opened() & search:
            await asyncio.sleep(0.1)
    assert opened() == LOOPBACK_SOCKETS
    await carrier.close()


async def test_a_named_port_is_used_and_a_taken_one_is_refused() -> None:
    first = await IrohCarrier.bind(Identity.generate())
    taken = next(address for address in first.whereabouts.addresses if address.startswith("127"))
    with pytest.raises(InvalidInput, match="cannot listen") as caught:
        await IrohCarrier.bind(Identity.generate(), MeshSettings(listen=(taken,)))
    assert caught.value.code == "cannot-listen"
    await first.close()
    again = await IrohCarrier.bind(Identity.generate(), MeshSettings(listen=(taken,)))
    assert taken in again.whereabouts.addresses
    await again.close()


def test_the_copy_loop_of_the_bindings_is_replaced() -> None:
    data = bytes(range(256)) * (8 << 12)  # 8 MiB
    lower = iroh().iroh_ffi._UniffiFfiConverterBytes.lower

    def seconds(work: object) -> float:
        start = time.perf_counter()
        work()  # type: ignore[operator]
        return time.perf_counter() - start

    def byte_by_byte() -> None:
        target = bytearray(1 << 18)
        for index, byte in enumerate(data[: 1 << 18]):
            target[index] = byte

    lowered = []
    quick = min(seconds(lambda: lowered.append(lower(data))) for _ in range(8))
    loop = min(seconds(byte_by_byte) for _ in range(3)) * 32
    assert quick < loop / 5, "8 MiB cross into the core far quicker than any loop over bytes"
    for buffer in lowered:
        assert buffer.data[4 : buffer.len] == data
        buffer.free()
    # A view of memory that may not be written to, as of a read-only array, crosses as well.
    view = lower(memoryview(data)[5:9])
    assert view.data[4 : view.len] == data[5:9]
    view.free()


def test_other_glue_is_left_alone() -> None:
    class Mended:
        class _UniffiRustBufferBuilder:
            def _reserve(self, size: int) -> None: ...

            def write(self, value: bytes) -> str:
                return "memmove"

    class Unknown: ...

    assert not _copy_in_one_move(Mended)
    assert Mended._UniffiRustBufferBuilder().write(b"") == "memmove"
    assert not _copy_in_one_move(Unknown)


async def test_a_stream_carries_bytes_both_ways_and_ends_early_as_eof() -> None:
    ours, theirs, out, into = await connected()
    a = await out.open_stream()
    await a.write(b"ping")
    b = await into.accept_stream()
    view = bytearray(4)
    await b.readinto(memoryview(view))
    assert view == b"ping"
    await b.write(memoryview(b"po"))
    await b.finish()
    with pytest.raises(EOFError):
        await a.readinto(memoryview(view))
    await ours.close()
    await theirs.close()


async def test_abandoning_is_felt_at_the_other_end() -> None:
    ours, theirs, out, into = await connected()
    a = await out.open_stream()
    await a.write(b"x")
    b = await into.accept_stream()
    gone = asyncio.create_task(b.abandoned())
    await b.write(b"y")  # waiting for the end does not stand in the way of writing
    await a.abandon()
    await asyncio.wait_for(gone, 10)
    with pytest.raises(Unreachable):
        await b.readinto(memoryview(bytearray(2)))
    assert out.is_open
    await ours.close()
    await theirs.close()


async def test_closing_tells_why_and_fails_what_waits() -> None:
    ours, theirs, out, into = await connected()
    a = await out.open_stream()
    waiting = asyncio.gather(a.readinto(memoryview(bytearray(1))), into.accept_stream(), return_exceptions=True)
    await asyncio.sleep(0)
    out.close(403, "unknown (peer)")
    closing = await asyncio.wait_for(into.closed(), 10)
    assert (closing.code, closing.reason) == (403, "unknown (peer)")
    assert all(isinstance(outcome, Unreachable) for outcome in await asyncio.wait_for(waiting, 10))
    assert not out.is_open
    assert not into.is_open
    assert (await out.closed()).code is None
    await ours.close()
    await theirs.close()


async def test_a_wrong_key_at_the_right_address_is_not_reached() -> None:
    ours, theirs = await IrohCarrier.bind(Identity.generate()), await IrohCarrier.bind(Identity.generate())
    with pytest.raises((Unreachable, TimeoutError)):
        async with asyncio.timeout(1):
            await ours.dial(Identity.generate().node_id, theirs.whereabouts)
    await ours.close()
    await theirs.close()


async def test_all_addresses_of_a_family_that_the_machine_lacks_are_passed_over(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(iroh_endpoint, "has_family_of", lambda address: not address.startswith("["))
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as taken:  # to bind to it would fail
        taken.bind(("::", 0))
        lacking = f"[::]:{taken.getsockname()[1]}"
        with caplog.at_level(logging.INFO):
            carrier = await IrohCarrier.bind(Identity.generate(), MeshSettings(listen=("0.0.0.0:0", lacking)))
        bound = carrier._endpoint.bound_sockets()
        await carrier.close()
    assert any(address.startswith("0.0.0.0:") for address in bound)
    assert lacking not in bound
    assert f"the family of {lacking}" in caplog.text
    assert iroh_endpoint._possible(("[::]:7",)) == ("[::]:7",), "where nothing is left it fails, as it should"
    assert iroh_endpoint._possible(("0.0.0.0:7", "[2001:db8::1]:7"))[-1] == "[2001:db8::1]:7", "so does an address"


async def test_one_relay_that_cannot_be_used_leaves_the_others_be_and_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    opened, attempts, broken = Shim.open, [], True

    async def shim(relay: str, *options: Any) -> Shim:
        attempts.append(relay)
        if broken and relay.endswith(":1"):
            raise ssl.SSLError("no certificate can be read")
        return await opened(relay, *options)

    monkeypatch.setattr(Shim, "open", shim)
    monkeypatch.setattr(iroh_carrier, "_LOOK_AROUND", 0.01)
    sites = tuple(RelaySite(f"r{port}", f"http://127.0.0.1:{port}") for port in (1, 2))
    carrier = await IrohCarrier.bind(Identity.generate(), networks=lambda: [Network("study", sites)])
    assert [site.name for site in carrier._shims] == ["r2"]
    async with asyncio.timeout(10):
        while attempts.count(sites[0].url) < 4:
            await asyncio.sleep(0.01)
        told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        broken = False
        while len(carrier._shims) < 2:
            await asyncio.sleep(0.01)
    await carrier.close()
    assert len(told) == 1, "once, not with every look"
    assert "http://127.0.0.1:1" in told[0]
    assert attempts.count(sites[1].url) == 1


async def test_what_fails_once_does_not_end_the_watch_over_the_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iroh_carrier, "_LOOK_AROUND", 0.01)
    failures = [OSError("too many open files")] * 3
    networks: list[Network] = []

    def told() -> list[Network]:
        if networks and failures:
            raise failures.pop()
        return networks

    carrier = await IrohCarrier.bind(Identity.generate(), networks=told)
    networks.append(Network("study", (RelaySite("r", "http://127.0.0.1:2"),)))
    async with asyncio.timeout(10):
        while not carrier._shims:
            await asyncio.sleep(0.01)
    await carrier.close()


async def test_a_carrier_at_which_nobody_can_connect_is_not_open() -> None:
    carrier = await IrohCarrier.bind(Identity.generate())
    assert carrier.is_open
    await carrier._endpoint.close()  # as if the core had failed
    async with asyncio.timeout(10):
        while carrier.is_open:
            await asyncio.sleep(0.01)
    await carrier.close()
    assert not carrier.is_open
