"""`flaas relay serve` and `flaas reflector serve` as processes, beside a real coordination API."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner
from relay_client import RelayClient, arrived, datagram

from flaas_jupyter.cli import main
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.iroh_endpoint import LOOPBACK, bind_endpoint, iroh
from flaas_jupyter.communications.reflection import ALPN, LONGEST_ANSWER
from flaas_jupyter.communications.trust import Trust
from flaas_jupyter.demo.local import LocalFederation
from flaas_jupyter.governance.domain import membership
from flaas_jupyter.home import Home
from flaas_jupyter.relay_command import _allow_files

pytestmark = pytest.mark.anyio

STARTS_WITHIN, STOPS_WITHIN, REVOKED_WITHIN = 60.0, 8.0, 8.0
Run = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Start `flaas` with a home of its own; its standard error is in the file ``log`` there."""
    started: list[subprocess.Popen[str]] = []

    def run(home: Path, *arguments: str) -> subprocess.Popen[str]:
        home.mkdir(exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FLAAS_")}
        with (home / "log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "flaas_jupyter.cli", *arguments],
                env=environment | {"FLAAS_HOME": str(home), "PYTHONUNBUFFERED": "1"},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def first_line(process: subprocess.Popen[str], log: Path) -> str:
    assert process.stdout
    line = process.stdout.readline().strip()
    assert line, log.read_text()
    return line


def done(process: subprocess.Popen[str], log: Path) -> str:
    output, _ = process.communicate(timeout=STARTS_WITHIN)
    assert process.returncode == 0, log.read_text()
    return output


def metrics_url(log: Path) -> str:
    deadline = time.monotonic() + STARTS_WITHIN
    while not (found := re.search(r"Metrics at (\S+)", log.read_text())):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return found[1]


async def told_at(url: str) -> str:
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return await answer.text()


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[LocalFederation]:
    """A coordination API with one project, of the laboratory alone."""
    federation = LocalFederation(tmp_path / "federation")
    federation.start({}, None)
    yield federation
    federation.stop()


def signed(federation: LocalFederation, node_id: str, role: str, days: int = 30) -> None:
    key = federation._admin_home.domain_key(federation.project)
    document = membership(key, federation.project, node_id, "laboratory", [role], days=days)
    federation.post(f"/v1/projects/{federation.project}/memberships", document)


async def test_a_relay_is_joined_like_a_node_serves_members_and_announces_its_end(
    federation: LocalFederation, run: Run, tmp_path: Path
) -> None:
    home = tmp_path / "relay"
    log = home / "log"
    project, domain_key = federation.project, federation.get(f"/v1/projects/{federation.project}")["domain_key"]
    done(run(home, "node", "init", "--name", "relay-1"), log)
    token = federation.token("laboratory", "operator")
    joining = ("--url", federation.url, "--token", token, "--project", project, "--domain-key", domain_key)
    done(run(home, "node", "join", *joining), log)
    signed(federation, Identity.load_or_create(Home(home).key).node_id, "relay")
    a, b = Identity.generate(), Identity.generate()
    for identity in (a, b):
        signed(federation, identity.node_id, "node")
    serving = run(home, "relay", "serve", "--port", "0", "--tls-private", "--metrics", "127.0.0.1:0")
    url = (await asyncio.to_thread(first_line, serving, log)).removeprefix("Relaying at ")
    assert url.startswith("https://127.0.0.1:")
    tls = Trust.from_file(home / "tls" / "ca.pem").context()
    async with aiohttp.ClientSession() as http:
        async with asyncio.timeout(STARTS_WITHIN):
            while True:
                async with http.get(f"{url}/healthz", ssl=tls) as answer:
                    assert "Strict-Transport-Security" in answer.headers
                    if answer.status == 200:
                        break
                await asyncio.sleep(0.1)
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await http.get(f"{url}/ping")
    async with await RelayClient.join(url, a, ssl=tls) as sender, await RelayClient.join(url, b, ssl=tls) as receiver:
        await sender.send(datagram(b, b"sealed"))
        assert await receiver.frame() == arrived(a, b"sealed")
        told = await told_at(metrics_url(log))
        assert "flaas_relay_connections 2.0" in told
        assert a.node_id not in told

        signed(federation, a.node_id, "node", days=2e-5)
        async with asyncio.timeout(REVOKED_WITHIN):
            _, code, _ = await sender.frames_until_end()
        assert code == aiohttp.WSCloseCode.POLICY_VIOLATION

        serving.send_signal(signal.SIGTERM)
        frames, code, reason = await receiver.frames_until_end()
        assert [frame[0] for frame in frames if frame[0] != 8] == [12]
        assert (code, reason) == (aiohttp.WSCloseCode.GOING_AWAY, "the relay restarts")
    assert await asyncio.to_thread(serving.wait, STOPS_WITHIN) == 0, log.read_text()
    written = log.read_text()
    assert "Traceback" not in written
    assert b.node_id not in written, "who is connected is not logged"


def test_a_relay_that_would_speak_plain_http_to_the_network_does_not_start(run: Run, tmp_path: Path) -> None:
    process = run(tmp_path / "relay", "relay", "serve", "--host", "0.0.0.0", "--port", "0")
    assert process.wait(STARTS_WITHIN) == 1
    assert "[tls-required]" in (tmp_path / "relay" / "log").read_text()


def test_a_relay_without_a_project_says_what_to_do(run: Run, tmp_path: Path) -> None:
    home = tmp_path / "relay"
    done(run(home, "node", "init", "--name", "relay-1"), home / "log")
    process = run(home, "relay", "serve", "--port", "0")
    assert process.wait(STARTS_WITHIN) == 1
    assert "flaas node join" in (home / "log").read_text()


@pytest.mark.parametrize(
    "option",
    [("--max-rate", "0.001"), ("--max-rate", "nan"), ("--max-rate", "inf"), ("--tls-cert", "x.pem")],
    ids=["rate", "nan", "inf", "half-a-pair"],
)
def test_wrong_options_are_told(run: Run, tmp_path: Path, option: tuple[str, str]) -> None:
    process = run(tmp_path / "relay", "relay", "serve", *option)
    assert process.wait(STARTS_WITHIN) in (1, 2)
    assert "Traceback" not in (tmp_path / "relay" / "log").read_text()


@pytest.mark.parametrize(
    "listen", [("foo",), ("localhost:41642",), ("0.0.0.0",), ("127.0.0.1:0", "127.0.0.2:0")], ids=" ".join
)
def test_where_a_reflector_cannot_listen_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listen: tuple[str, ...]
) -> None:
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path))
    words = [word for address in listen for word in ("--listen", address)]
    result = CliRunner().invoke(main, ["reflector", "serve", *words])
    assert result.exit_code == 1
    assert "--listen" in result.output
    assert "one for IPv4" in result.output or "ip:port" in result.output


async def test_a_reflector_needs_nothing_but_a_key(run: Run, tmp_path: Path) -> None:
    home = tmp_path / "reflector"
    log = home / "log"
    serving = run(home, "reflector", "serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0")
    told = re.fullmatch(r"Reflecting as ([0-9a-f]{64}) at (.*)", await asyncio.to_thread(first_line, serving, log))
    assert told
    addresses = [address for address in told[2].split(", ") if address.startswith("127.")]
    endpoint: Any = await bind_endpoint(Identity.generate(), LOOPBACK, [b"test"])
    async with asyncio.timeout(10):
        target = iroh().EndpointAddr(iroh().EndpointId.from_string(told[1]), None, addresses)
        connection = await endpoint.connect(target, ALPN)
        stream = await connection.accept_uni()
        seen = bytes(await stream.read_to_end(LONGEST_ANSWER)).decode()
        assert seen in endpoint.bound_sockets()
        connection.close(0, b"")
    assert "flaas_reflector_answers_total 1.0" in await told_at(metrics_url(log))
    await endpoint.close()
    serving.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(serving.wait, STOPS_WITHIN) == 0, log.read_text()
    assert "Traceback" not in log.read_text()


def test_a_relay_may_have_a_socket_for_everybody_whom_it_takes() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (500, hard))
        _allow_files(600)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 600
        _allow_files(500)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 600, "it is never made smaller"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
