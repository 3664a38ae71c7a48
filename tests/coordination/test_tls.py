"""HTTPS of the API: real `flaas api serve` processes, and what callers do about somebody in between."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import logging
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from click.testing import CliRunner
from cryptography import x509
from flaas_server import trust as lab_trust
from flaas_server.coordination_api import CoordinationApi
from flaas_server.problems import Problem
from flaas_server.session import Credentials as LabCredentials
from tls_server import TlsServer, pem_of, server_context, write_pair

from flaas_jupyter import connect, doctor, kept_sign_in, signing_in
from flaas_jupyter.cli import main
from flaas_jupyter.communications.coordinator import Bearer, Coordinator
from flaas_jupyter.communications.trust import CIPHERS, Trust
from flaas_jupyter.coordination.founding import found
from flaas_jupyter.errors import FlaasError, InvalidInput, NotAuthenticated
from flaas_jupyter.execution import booting, joining
from flaas_jupyter.execution.enrolment import Enrolment
from flaas_jupyter.execution.policy import Policy
from flaas_jupyter.governance.confidentiality import Vault
from flaas_jupyter.home import Credentials, Home, write_private
from flaas_jupyter.kept_sign_in import SignedIn
from flaas_jupyter.upload_bridge import Bridge

WAIT = 60.0
AUTHORITY, OTHER = trustme.CA(), trustme.CA()
SECRET = "fl_the-token-that-nobody-else-may-see"
KEY = "ab" * 32
EVENTS = {"Accept": "text/event-stream"}
SECRETS_KEY = base64.urlsafe_b64encode(b"installation key of these tests.").decode()


class Served:
    """``flaas api serve`` with its own home; `line` waits for what it prints."""

    def __init__(self, home: Path, *options: str, port: int = 0, **environment: str) -> None:
        self.home = home
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FLAAS_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flaas_jupyter.cli", "api", "serve", "--port", str(port), *options],
            env={**kept, "FLAAS_SECRETS_KEY": SECRETS_KEY, "FLAAS_HOME": str(home), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines: list[str] = []
        self._told = threading.Condition()
        for stream in (self.process.stdout, self.process.stderr):
            threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def line(self, pattern: str, count: int = 1) -> re.Match[str]:
        """Wait for so many lines, of either stream, that match; return the first."""
        found: list[re.Match[str]] = []

        def seen() -> bool:
            found[:] = [match for line in self._lines if (match := re.search(pattern, line))]
            return len(found) >= count or self.process.poll() is not None

        with self._told:
            assert self._told.wait_for(seen, WAIT), f"{pattern!r} is not said: {self._lines}"
        assert found, f"it ended: {self._lines}"
        return found[0]

    @property
    def url(self) -> str:
        return self.line(r"^Serving at (\S+)")[1]

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(WAIT)

    def _read(self, stream: Any) -> None:
        with stream:
            for line in stream:
                with self._told:
                    self._lines.append(line.rstrip("\n"))
                    self._told.notify_all()
        with self._told:
            self._told.notify_all()


@pytest.fixture(autouse=True)
def _no_pins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLAAS_CA_FILE", "FLAAS_ALLOW_PLAIN_HTTP", "FLAAS_URL", "FLAAS_TOKEN", "FLAAS_PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def start() -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def _start(*arguments: Any, **environment: Any) -> Served:
        started.append(Served(*arguments, **environment))
        return started[-1]

    yield _start
    for each in started:
        each.process.kill()
        each.process.wait()


@pytest.fixture(scope="module")
def given(start: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """An API with a certificate of `AUTHORITY`."""
    folder = tmp_path_factory.mktemp("given")
    home = Home(folder / "home")
    (folder / "token").write_text(founded(home))
    chain, key = write_pair(AUTHORITY, folder)
    return start(home.path, "--tls-cert", str(chain), "--tls-key", str(key))


@pytest.fixture(scope="module")
def plain(start: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """An API on this machine, without TLS."""
    return start(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def private(start: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """An API with an authority of its own."""
    return start(tmp_path_factory.mktemp("private") / "home", "--tls-private", "--tls-name", "flaas.example")


def founded(home: Home) -> str:
    """Found an installation in `home`; return the token of who runs its projects."""
    home.path.mkdir(mode=0o700)
    return found(home.database_url, Vault.load(home=home))["org-admin"]


def asked(url: str, trust: Trust, method: str = "GET", **options: Any) -> httpx.Response:
    with httpx.Client(verify=trust.context(), trust_env=False, timeout=WAIT) as http:
        return http.request(method, url, **options)


def command(home: Path, *arguments: str, **options: Any) -> Any:
    return CliRunner().invoke(main, list(arguments), env={"FLAAS_HOME": str(home)}, **options)


def serial_at(port: int) -> int:
    pem = ssl.get_server_certificate(("127.0.0.1", port))
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


# ---- serving --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        (["--host", "0.0.0.0"], {}, ["--tls-cert", "--tls-private", "--behind-proxy"]),
        (["--host", "::"], {}, ["--tls-cert"]),
        (["--host", "flaas.example"], {}, ["--tls-cert"]),
        ([], {"FLAAS_PUBLIC_URL": "http://flaas.example"}, ["https://"]),
        (["--host", "0.0.0.0", "--behind-proxy", "10.0.0.0/8"], {}, ["FLAAS_PUBLIC_URL"]),
        (["--behind-proxy", "everybody"], {"FLAAS_PUBLIC_URL": "https://flaas.example"}, ["--behind-proxy 10.1.2.3"]),
    ],
    ids=["ipv4", "ipv6", "name", "public-url", "proxy-without-url", "proxy-that-is-none"],
)
def test_plain_http_is_for_this_machine_and_the_ways_out_are_told(
    options: list[str], environment: dict[str, str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    told = command(tmp_path, "api", "serve", "--port", "0", *options)
    assert told.exit_code == 1
    assert all(word in told.stderr for word in words), told.stderr
    assert "Invitation" not in told.output, "it is shown once, and this API will not take it"
    assert not (tmp_path / "coordination.db").exists()


@pytest.mark.parametrize(
    "options",
    [["--tls-cert", "x"], ["--tls-key", "x"], ["--tls-private", "--tls-cert", "x", "--tls-key", "y"],
     ["--tls-name", "x", "--tls-cert", "x", "--tls-key", "y"]],
    ids=["no-key", "no-certificate", "both", "name-of-a-given-one"],
)  # fmt: skip
def test_options_that_contradict_each_other_are_wrong_usage(options: list[str], tmp_path: Path) -> None:
    assert command(tmp_path, "api", "serve", *options).exit_code == 2


def test_a_given_certificate_serves_people(given: Served) -> None:
    trust = Trust(pem_of(AUTHORITY))
    assert given.url.startswith("https://127.0.0.1:")
    health = asked(f"{given.url}/v1/health", trust)
    assert health.status_code == 200
    assert health.headers["Strict-Transport-Security"] == "max-age=31536000"

    discovered = asked(f"{given.url}/.well-known/openid-configuration", trust).json()
    assert discovered["issuer"] == given.url
    page = asked(f"{given.url}/oauth/device", trust)
    cookie = page.headers["Set-Cookie"]
    assert cookie.startswith("__Host-")
    assert {"Secure", "HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))


def test_strict_transport_security_is_said_over_tls_only_and_not_for_all_of_this_machine(
    plain: Served, given: Served
) -> None:
    assert "Strict-Transport-Security" not in asked(f"{plain.url}/v1/health", Trust()).headers
    # HSTS is about all ports of a host: JupyterLab at http://localhost:8888 has to go on.
    at_localhost = asked(f"https://localhost:{given.port}/v1/health", Trust(pem_of(AUTHORITY)))
    assert "Strict-Transport-Security" not in at_localhost.headers
    refused = asked(f"{given.url}/v1/me", Trust(pem_of(AUTHORITY)))
    assert (refused.status_code, "Strict-Transport-Security" in refused.headers) == (401, True)


def test_a_proxy_is_believed_and_nobody_else(start: Callable[..., Served], tmp_path: Path) -> None:
    public = {"FLAAS_PUBLIC_URL": "https://flaas.example"}
    api = start(tmp_path, "--host", "0.0.0.0", "--behind-proxy", "127.0.0.2,10.0.0.0/8", **public)
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.9", "Host": "flaas.example"}
    for address, believed in (("127.0.0.2", True), ("127.0.0.3", False)):
        transport = httpx.HTTPTransport(local_address=address)
        with httpx.Client(transport=transport, timeout=WAIT, headers=forwarded) as http:
            answer = http.get(f"http://127.0.0.1:{api.port}/.well-known/openid-configuration")
        assert ("Strict-Transport-Security" in answer.headers) == believed
        assert answer.json()["issuer"] == "https://flaas.example"


def test_renewed_certificates_are_taken_up_while_an_event_stream_goes_on(
    start: Callable[..., Served], tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    token = founded(home)
    chain, key = write_pair(AUTHORITY, tmp_path)
    api = start(home.path, "--tls-cert", str(chain), "--tls-key", str(key))
    trust = Trust(pem_of(AUTHORITY))
    admin = {"Authorization": f"Bearer {token}"}
    project = {"id": "p", "name": "P", "domain_key": KEY, "organisations": ["platform"]}
    assert asked(f"{api.url}/v1/projects", trust, "POST", json=project, headers=admin).status_code == 201
    with (
        httpx.Client(verify=trust.context(), trust_env=False, timeout=WAIT) as http,
        http.stream("GET", f"{api.url}/v1/projects/p/events", headers={**admin, **EVENTS}) as stream,
    ):
        lines = stream.iter_lines()
        assert next(lines) == ": connected"
        serials = {serial_at(api.port)}
        for count in (1, 2):
            write_pair(AUTHORITY, tmp_path)
            if count == 2:
                os.kill(api.process.pid, signal.SIGHUP)
            api.line("is in use from now on", count)
            serials.add(serial_at(api.port))
            assert len(serials) == count + 1
        assert asked(f"{api.url}/v1/health", trust).status_code == 200
        assert next(line for line in lines if line) == ": still here"
        assert api.end() == 0


@pytest.mark.parametrize("protocol", ["-tls1", "-tls1_1", "-tls1_2", "-tls1_3"])
def test_openssl_finds_modern_protocols_only(protocol: str, given: Served) -> None:
    client = ["openssl", "s_client", "-connect", f"127.0.0.1:{given.port}", protocol, "-cipher", "ALL:@SECLEVEL=0"]
    done = subprocess.run(client, input="", capture_output=True, text=True, check=False)
    agreed = re.search(r"^New, (\S+), Cipher is (\S+)", done.stdout, re.MULTILINE)
    assert agreed is not None
    if protocol in ("-tls1", "-tls1_1"):
        assert agreed[2] == "(NONE)"
    else:
        assert re.fullmatch(r"(ECDHE-\w+-|TLS_)(AES\d+.GCM.*|AES_\d+_GCM.*|CHACHA20.POLY1305.*)", agreed[2])


def test_plain_http_to_the_tls_port_and_the_reverse_are_told(given: Served, plain: Served, tmp_path: Path) -> None:
    told = command(tmp_path, "login", f"http://127.0.0.1:{given.port}", "--token", SECRET)
    assert told.exit_code == 1
    assert f"use {given.url}" in told.stderr
    told = command(tmp_path, "login", plain.url.replace("http", "https"), "--token", SECRET)
    assert "tls-plain-server" in told.stderr
    told = command(tmp_path, "login", "http://flaas.example", "--token", SECRET)
    assert "plain-http" in told.stderr


# ---- a private authority --------------------------------------------------------------------------------------------


def test_who_has_the_fingerprint_signs_in_and_invites_nodes_that_pin_it_too(private: Served, tmp_path: Path) -> None:
    url, home = private.url, Home(tmp_path / "person")
    wanted = private.line(r"--ca-fingerprint (sha256:[0-9a-f]{64})")[1]
    assert (wanted,) == Trust.from_file(private.home / "tls" / "ca.pem").fingerprints
    invitation = private.line(r"^Invitation of the first administrator.*: (\S+)")[1]
    assert private.line(f"^Accept it with `flaas login URL --invitation --ca-fingerprint {wanted}`")

    told = "\n".join([invitation, "correct horse battery", "correct horse battery"])
    refused = command(home.path, "login", url, "--invitation", input=told)
    assert (refused.exit_code, "tls-untrusted" in refused.stderr) == (1, True)
    signed_in = command(home.path, "login", url, "--invitation", "--ca-fingerprint", wanted.upper(), input=told)
    assert signed_in.exit_code == 0, signed_in.output
    assert command(home.path, "whoami").exit_code == 0
    assert connect(url, home=home).me["subject"] == "administrator"
    # The server half of JupyterLab finds the same pin in the same place.
    assert Trust(lab_trust.pinned(home.path, url)).fingerprints == (wanted,)


def test_a_machine_that_boots_pins_the_fingerprint_in_its_file(private: Served, tmp_path: Path) -> None:
    (wanted,) = Trust.from_file(private.home / "tls" / "ca.pem").fingerprints
    file, home = tmp_path / "node.json", Home(tmp_path / "home")
    node = {"url": private.url, "organisation": "o", "project": "p", "domain_key": KEY, "name": "n", "secret": "a" * 52}
    file.write_text(json.dumps({**node, "ca_fingerprint": wanted}))

    async def never(*_: Any) -> None:
        raise AssertionError("it has not registered")

    with pytest.raises(NotAuthenticated) as caught:
        asyncio.run(booting.boot(file, home, never))
    assert caught.value.code == "bad-enrolment"
    assert Trust.of(home, private.url).fingerprints == (wanted,)

    file.write_text(json.dumps({**node, "ca_fingerprint": f"sha256:{'0' * 64}"}))
    with pytest.raises(NotAuthenticated) as caught:
        asyncio.run(booting.boot(file, Home(tmp_path / "other"), never))
    assert caught.value.code == "wrong-fingerprint"
    file.write_text(json.dumps({**node, "ca_fingerprint": "sha256:short"}))
    with pytest.raises(InvalidInput):
        booting.BootConfig.load(file)


def test_the_doctor_says_who_may_vouch_for_the_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url, home = "https://flaas.example", Home(tmp_path)
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path))
    monkeypatch.setenv("FLAAS_URL", url)
    (system,) = doctor._tls()
    assert (system.state, system.advice) == ("ok", "")
    pinned = Trust(pem_of(AUTHORITY))
    pinned.keep(home, url)
    (finding,) = doctor._tls()
    assert finding.state == "ok"
    assert pinned.fingerprints[0] in finding.found
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=9)
    leaf = AUTHORITY.issue_cert("flaas.example", not_after=soon).cert_chain_pems[0]
    Trust(leaf.bytes().decode()).keep(home, url)
    (finding,) = doctor._tls()
    assert finding.state == "warning"
    assert "--ca-fingerprint" in finding.advice


# ---- somebody in between --------------------------------------------------------------------------------------------


@pytest.fixture
def between() -> Iterator[TlsServer]:
    """Somebody who answers at the API's address with a certificate that another authority has signed."""
    with TlsServer(server_context(OTHER)) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, between: TlsServer) -> Home:
    """A home with everything that could be stolen, and the right authority pinned."""
    home = Home(tmp_path / "home")
    Trust(pem_of(AUTHORITY)).keep(home, between.url)
    kept_sign_in.keep(home, SignedIn(between.url, SECRET, SECRET, time.time() - 60))
    Enrolment("n", between.url, "o", {"p": KEY}).save(home.enrolment)
    write_private(home.policy, Policy.default_toml().encode())
    return home


def pasted(home: Home, url: str) -> None:
    home.save_credentials(Credentials(url, SECRET))


def as_login(home: Home, url: str) -> None:
    signing_in.DeviceSignIn.begin(url, trust=Trust.of(home, url))


def as_kernel(home: Home, url: str) -> None:
    pasted(home, url)
    connect(url, home=home)


def as_bridge(home: Home, url: str) -> None:
    pasted(home, url)

    async def ask() -> None:
        async with Bridge(home)._api() as api:
            await api.get("/v1/me")

    asyncio.run(ask())


def as_node(home: Home, url: str) -> None:
    joining.join(home, url, Bearer(SECRET), "p", KEY)


def as_extension(home: Home, url: str) -> None:
    async def ask() -> None:
        api = CoordinationApi(5, 5, home.path)
        try:
            await api.request(LabCredentials(url, SECRET), "GET", "/v1/me")
        except Problem as problem:
            raise FlaasError(problem.detail, code=problem.code, hint=problem.hint) from problem
        finally:
            await api.close()

    asyncio.run(ask())


def as_extension_stream(home: Home, url: str) -> None:
    async def ask() -> None:
        api = CoordinationApi(5, 5, home.path)
        try:
            async with api.events(LabCredentials(url, SECRET), "/v1/runs/r/events", query="", headers={}):
                pass
        except Problem as problem:
            raise FlaasError(problem.detail, code=problem.code, hint=problem.hint) from problem
        finally:
            await api.close()

    asyncio.run(ask())


def as_enrolling(home: Home, url: str) -> None:
    joining.enrol(home, url, "o", "p", KEY, SECRET)


CALLERS: dict[str, Callable[[Home, str], object]] = {
    "login": as_login,
    "invitation": lambda home, url: signing_in.accept_invitation(url, SECRET, SECRET, trust=Trust.of(home, url)),
    "renewal": lambda home, url: signing_in.SelfRenewing(home, url).authorization("GET", url),
    "sign-out": lambda home, url: signing_in.sign_out(home),
    "approval-key": lambda home, url: signing_in.register_approval_key(home, url, httpx.BasicAuth("a", SECRET), "me"),
    "kernel": as_kernel,
    "bridge": as_bridge,
    "join": as_node,
    "enrolment": as_enrolling,
    "extension": as_extension,
    "extension-events": as_extension_stream,
}


@pytest.mark.parametrize("who", CALLERS)
def test_nobody_tells_anything_to_somebody_in_between(who: str, between: TlsServer, home: Home) -> None:
    began = time.monotonic()
    with pytest.raises(FlaasError) as caught:
        CALLERS[who](home, between.url)
    assert caught.value.code == "tls-untrusted"
    assert "somebody may stand between" in caught.value.hint
    assert between.requests == []
    assert time.monotonic() - began < 20, "it does not ask again and again"


@pytest.mark.parametrize("arguments", [["whoami"], ["audit", "export"], ["node", "status"], ["logout"]])
def test_commands_tell_nothing_to_somebody_in_between(arguments: list[str], between: TlsServer, home: Home) -> None:
    kept_sign_in.keep(home, SignedIn(between.url, SECRET, SECRET, time.time() + 600))
    told = command(home.path, *arguments)
    assert "is not trusted here" in told.output
    assert between.requests == []
    assert SECRET not in told.output


def test_login_does_not_pin_somebody_in_between(between: TlsServer, tmp_path: Path) -> None:
    (right,) = Trust(pem_of(AUTHORITY)).fingerprints
    told = command(tmp_path, "login", between.url, "--token", SECRET, "--ca-fingerprint", right)
    assert (told.exit_code, "wrong-fingerprint" in told.stderr) == (1, True)
    assert SECRET not in "".join(between.requests)
    assert not (tmp_path / "authorities").exists()


def test_an_event_stream_waits_for_the_right_server_and_tells_the_wrong_one_nothing(
    given: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """A switch sends the same address to somebody in between, then to the API again."""
    token = (given.home.parent / "token").read_text()
    right, trust = given.port, Trust(pem_of(AUTHORITY))
    body = {"id": "switched", "name": "S", "domain_key": KEY, "organisations": ["platform"]}
    headers = {"Authorization": f"Bearer {token}"}
    assert asked(f"{given.url}/v1/projects", trust, "POST", json=body, headers=headers).status_code == 201

    async def follow(wrong: TlsServer) -> None:
        target, refused = wrong.port, asyncio.Event()

        async def switch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection("127.0.0.1", target)
            await asyncio.wait(
                [asyncio.create_task(_copied(reader, back)), asyncio.create_task(_copied(there, writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
            writer.close()
            back.close()
            refused.set()

        server = await asyncio.start_server(switch, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        up = asyncio.Event()
        async with Coordinator(f"https://127.0.0.1:{port}", Bearer(token), trust=trust) as api:
            events = api.events("/v1/projects/switched/events", on_connection=lambda on: on and up.set())
            waiting = asyncio.create_task(anext(events))
            async with asyncio.timeout(WAIT):
                await refused.wait()
                assert not up.is_set()
                target = right
                await up.wait()
            waiting.cancel()
            await asyncio.wait([waiting])
        server.close()

    with TlsServer(server_context(OTHER)) as wrong, caplog.at_level(logging.WARNING):
        asyncio.run(follow(wrong))
        assert wrong.connections > 0
        assert wrong.requests == []
    assert "is not trusted here" in caplog.text


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass


def test_a_request_to_an_untrusted_server_is_not_repeated(between: TlsServer) -> None:
    async def ask() -> None:
        async with Coordinator(between.url, Bearer(SECRET), trust=Trust(pem_of(AUTHORITY))) as api:
            await api.get("/v1/me")

    with pytest.raises(FlaasError) as caught:
        asyncio.run(ask())
    assert caught.value.code == "tls-untrusted"
    assert between.connections == 1


# ---- the extension says the same ------------------------------------------------------------------------------------


def test_the_extension_trusts_as_the_package_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lab_trust.CIPHERS == CIPHERS
    home = Home(tmp_path)
    for url in ("https://flaas.example", "https://flaas.example:8470/", "https://[2001:db8::1]:8470"):
        trust = Trust(trustme.CA().cert_pem.bytes().decode())
        trust.keep(home, url)
        assert Trust(lab_trust.pinned(home.path, url)) == trust
    ours, theirs = trust.context(), lab_trust.context(trust.pem)
    for name in ("minimum_version", "maximum_version", "verify_flags", "verify_mode", "check_hostname", "options"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.get_ciphers() == theirs.get_ciphers()
    assert lab_trust.pinned(home.path, "https://other.example") == ""
    monkeypatch.setenv("FLAAS_CA_FILE", str(tmp_path / "missing.pem"))
    with pytest.raises(Problem) as caught:
        lab_trust.pinned(home.path, "https://flaas.example")
    assert caught.value.code == "bad-ca"


@pytest.mark.parametrize("blank", ["", "\n"], ids=["empty", "blank"])
def test_an_empty_file_of_authorities_is_not_the_systems(
    blank: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, url, file = Home(tmp_path), "https://flaas.example", tmp_path / "ca.pem"
    Trust(trustme.CA().cert_pem.bytes().decode()).keep(home, url)
    (pinned,) = home.authorities.iterdir()
    for path, variable in ((pinned, ""), (file, str(file))):
        path.write_text(blank)
        monkeypatch.setenv("FLAAS_CA_FILE", variable)
        with pytest.raises(Problem) as caught:
            lab_trust.pinned(home.path, url)
        assert caught.value.code == "bad-ca"
        with pytest.raises(InvalidInput) as refused:
            Trust.of(home, url)
        assert refused.value.code == "bad-ca"


@pytest.mark.parametrize("case", ["name", "expired", "plain"])
def test_the_extension_names_what_is_wrong_with_a_certificate(case: str, tmp_path: Path) -> None:
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2)
    begun = past - datetime.timedelta(days=9)
    context = {
        "name": lambda: server_context(AUTHORITY, "flaas.example"),
        "expired": lambda: server_context(AUTHORITY, not_before=begun, not_after=past),
        "plain": lambda: None,
    }[case]()
    with TlsServer(context) as server:
        Trust(pem_of(AUTHORITY)).keep(Home(tmp_path), server.url)
        with pytest.raises(FlaasError) as caught:
            as_extension(Home(tmp_path), server.url)
    assert caught.value.code == {"name": "tls-wrong-name", "expired": "tls-expired", "plain": "tls-plain-server"}[case]
    assert server.requests == [] or case == "plain"
    assert SECRET not in "".join(server.requests)
