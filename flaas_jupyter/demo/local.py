"""A federation of real processes on this machine: a coordination API, nodes, a domain key and a developer's token.

Used by ``flaas demo``, ``flaas lab`` and the tests. Everything listens on the loopback interface only. The parts are
set up exactly as people would set them up on machines of their own: initialise, register data, join, run.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ..communications import blocking
from ..communications.coordinator import Bearer, Coordinator
from ..communications.identity import Identity
from ..communications.trust import Trust
from ..connected import Session, connect
from ..domain_command import approve
from ..errors import FlaasError, Unreachable
from ..execution.datasets import DatasetRegistry
from ..execution.enrolment import Enrolment
from ..execution.joining import join
from ..execution.policy import Policy
from ..governance import scopes
from ..governance.domain import membership
from ..governance.permissions import GOVERNANCE_ADMIN, ORG_ADMIN
from ..home import Credentials, Home, write_private

START_LIMIT = 120.0
STOP_LIMIT = 10.0
LAUNCHES_LIMIT = 20.0


@dataclass
class LocalNode:
    """One node of a `LocalFederation`: its home, its process while it runs, its log."""

    name: str
    organisation: str
    home: Home
    process: subprocess.Popen[str] | None = None
    up: bool = False

    @property
    def node_id(self) -> str:
        """Public key, 64 hex digits."""
        return Identity.load_or_create(self.home.key).node_id

    @property
    def log(self) -> Path:
        """Where the node's standard error goes."""
        return self.home.path / "node.log"


@dataclass
class LocalFederation:
    """A federation under one folder; `start` it, `connect` to it, `stop` it.

    Parameters
    ----------
    folder : Path
        Where everything is kept; starting again on the same folder goes on with the same keys and data base.
    project : str
        Id of the one project.
    database_url : str, optional
        Default: SQLite under `folder`.
    node_options : sequence of str
        Further options of ``flaas node run``.
    api_options : mapping of str to str
        Further environment of the API's process.
    operations : sequence of str
        What the owners of new nodes allow, see ``node.toml``.
    settings : mapping
        What else stands in the policy of new nodes in place of the default.
    id_column : str, optional
        The column of all tables that names whom a row is about, for vertical models.
    mesh : str
        What stands in ``mesh.toml`` of new nodes and of the developer; by default there is no such file.
    tls : bool
        Whether the API speaks TLS, with a private authority that nodes and developer pin.
    """

    folder: Path
    project: str = "demo"
    database_url: str | None = None
    node_options: Sequence[str] = ()
    api_options: Mapping[str, str] = field(default_factory=dict)
    operations: Sequence[str] = ("train",)
    settings: Mapping[str, Any] = field(default_factory=dict)
    id_column: str | None = None
    mesh: str = ""
    tls: bool = False
    nodes: dict[str, LocalNode] = field(default_factory=dict, init=False)
    url: str = field(default="", init=False)
    _api: subprocess.Popen[str] | None = field(default=None, init=False)
    _tokens: dict[str, str] = field(default_factory=dict, init=False)
    _approving: threading.Event | None = field(default=None, init=False)

    # ---- set-up -----------------------------------------------------------------------------------------------

    def start(self, datasets: Mapping[str, Mapping[str, Path]], target: str | Mapping[str, str] | None) -> None:
        """Start the API and one node per entry of `datasets` (node name to data set name to file).

        `target` is the column to predict, or that of each node by its name; one that is not named has none. A node
        that exists already under the folder is started as it is.
        """
        self.start_api()
        self._set_up_project(datasets)
        for name, files in datasets.items():
            self._set_up_node(name, files, target.get(name) if isinstance(target, Mapping) else target)
        for name in datasets:
            self.start_node(name)

    def start_api(self, port: int = 0) -> None:
        """Start the coordination API, or start it again, with the same data base and address."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.take_office()
        # Nodes are enrolled at an address: a federation that is started again keeps it.
        address_file = self.folder / "api.url"
        known = address_file.read_text() if address_file.exists() else self.url
        port = port or (int(known.rsplit(":", 1)[1]) if known else 0)
        command = ["api", "serve", "--database", self._database, "--port", str(port)]
        if self.tls:
            command.append("--tls-private")
        self._api = self._spawn(command, self.folder / "api", self.folder / "api.log", self.api_options)
        self.url = _first_line(self._api, self.folder / "api.log").removeprefix("Serving at ").strip().rstrip("/")
        write_private(address_file, self.url.encode())

    def take_office(self) -> None:
        """Found the installation, or read the tokens of its administrators where that was done before."""
        from ..coordination.founding import found
        from ..governance.confidentiality import Vault

        file = self.folder / "administrators.json"
        if first := found(self._database, Vault.load(home=Home(self.folder / "api"))):
            write_private(file, json.dumps(first).encode())
        self._tokens = json.loads(file.read_text())

    def _set_up_project(self, datasets: Mapping[str, object]) -> None:
        organisations = [*datasets, "laboratory"]
        key = Identity.load_or_create(self._admin_home.domain_key(self.project)).node_id
        wanted: list[tuple[str, dict[str, Any]]] = [
            *(("/v1/organisations", {"id": name, "name": name.capitalize()}) for name in organisations),
            (
                "/v1/projects",
                {
                    "id": self.project,
                    "name": self.project.capitalize(),
                    "description": "A federation on this machine",
                    "domain_key": key,
                    "organisations": organisations,
                },
            ),
        ]
        for path, body in wanted:
            with contextlib.suppress(FlaasError):  # is there from an earlier start
                self.post(path, body)
        home = self.developer_home
        home.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (home.path / "credentials.json").exists():
            home.save_credentials(Credentials(self.url, self.token("laboratory", "developer")))
            if self.tls:
                self.trust.keep(home, self.url)
            self._say_of_mesh(home)
        self._sign(Identity.load_or_create(home.key).node_id, "laboratory", ["developer"])

    def _set_up_node(self, name: str, files: Mapping[str, Path], target: str | None) -> None:
        node = LocalNode(name, name, Home(self.folder / "nodes" / name))
        self.nodes[name] = node
        if node.home.enrolment.exists():
            return
        Enrolment(name).save(node.home.enrolment)
        policy = Policy.default_toml(operations=self.operations)
        for key, value in self.settings.items():
            line = f"{key} = {json.dumps(value)}".replace("\\", r"\\")
            policy = re.sub(rf"^{key} = .*$", line, policy, flags=re.MULTILINE)
        write_private(node.home.policy, policy.encode())
        self._say_of_mesh(node.home)
        key = Identity.load_or_create(self._admin_home.domain_key(self.project)).node_id
        self._sign(node.node_id, name, ["node"])
        operator = Bearer(self.token(name, "operator"))
        join(node.home, self.url, operator, self.project, key, trust=self.trust)
        registry = DatasetRegistry(node.home.path)
        for dataset, path in files.items():
            registry.add(dataset, path, target=target, projects=(self.project,), id_column=self.id_column)

    def _say_of_mesh(self, home: Home) -> None:
        if self.mesh:
            write_private(home.mesh, self.mesh.encode())

    def _sign(self, node_id: str, organisation: str, roles: Sequence[str]) -> None:
        key = self._admin_home.domain_key(self.project)
        document = membership(key, self.project, node_id, organisation, roles, days=30)
        self.post(f"/v1/projects/{self.project}/memberships", document)

    # ---- running ----------------------------------------------------------------------------------------------

    def start_node(self, name: str) -> None:
        """Start the node `name`; returns at once, see `wait_online`."""
        node = self.nodes[name]
        node.up = False
        # Several nodes share one machine here: one thread each keeps them out of each other's way.
        threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
        node.process = self._spawn(["node", "run", *self.node_options], node.home.path, node.log, threads)

    def wait_online(self, limit: float = START_LIMIT) -> None:
        """Wait until every node that runs has joined the mesh.

        Raises
        ------
        Unreachable
            A node's process ended, or it took longer than `limit` seconds; the message shows its log.
        """
        deadline = time.monotonic() + limit
        for node in self.nodes.values():
            if node.process is not None and not node.up:
                _first_line(node.process, node.log, deadline - time.monotonic())
                node.up = True

    def kill_node(self, name: str) -> None:
        """SIGKILL the node, as a crash would."""
        process = self.nodes[name].process
        assert process is not None, f"{name} is not running"
        process.kill()
        process.wait()
        self.nodes[name].process = None

    def kill_api(self) -> None:
        """SIGKILL the API."""
        assert self._api is not None, "the API is not running"
        self._api.kill()
        self._api.wait()
        self._api = None

    def stop(self) -> None:
        """Stop what this object started, and nothing else."""
        if self._approving is not None:
            self._approving.set()
            if self._api is not None:
                with contextlib.suppress(FlaasError):
                    self._end_launches()
        started = [node.process for node in self.nodes.values() if node.process is not None]
        if self._api is not None:
            started.append(self._api)
        for process in started:
            process.terminate()
        deadline = time.monotonic() + STOP_LIMIT
        for process in started:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for node in self.nodes.values():
            node.process = None
        self._api = None

    def remove(self) -> None:
        """Stop, and delete the folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def approve_launches(self, poll: float = 1.0) -> None:
        """Sign, as the project's administrator, for every node that is launched from now on, until `stop`.

        On this machine launcher and administrator are one person. Anywhere else somebody looks first, see
        ``flaas domain approve``.
        """
        self._approving = threading.Event()
        threading.Thread(target=self._approve, args=(self._approving, poll), name="approve", daemon=True).start()

    def _approve(self, over: threading.Event, poll: float) -> None:
        def call(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
            return self.call_as(ORG_ADMIN, method, path, *([] if body is None else [body]))

        while not over.wait(poll):
            with contextlib.suppress(FlaasError):  # the API is away: there will be another look
                for launch in self._open_launches():
                    key = self._admin_home.domain_key(self.project)
                    approve(call, key, self.project, launch["id"], agreed=lambda _: True)

    def _open_launches(self) -> list[dict[str, Any]]:
        launches = self.get(f"/v1/projects/{self.project}/launches?limit=50")["_embedded"]["launches"]
        return [launch for launch in launches if launch["state"] not in ("ended", "failed")]

    def _end_launches(self) -> None:
        """End what was launched on this machine: such processes outlive the API that has launched them."""
        deadline = time.monotonic() + LAUNCHES_LIMIT
        while (open_ones := self._open_launches()) and time.monotonic() < deadline:
            for launch in open_ones:
                if "terminate" in launch["_links"]:
                    self.post(f"/v1/launches/{launch['id']}/terminate", {})
            time.sleep(0.2)

    # ---- use --------------------------------------------------------------------------------------------------

    def connect(self) -> Session:
        """Connect as the laboratory's developer."""
        home = self.developer_home
        stored = json.loads((home.path / "credentials.json").read_text())
        return connect(self.url, token=stored["token"], home=home)

    @property
    def developer_home(self) -> Home:
        """`FLAAS_HOME` of the model developer."""
        return Home(self.folder / "developer")

    def token(self, organisation: str, role: str) -> str:
        """Make a service with `role` in `organisation`, as who governs the platform does, and return its token."""
        body = {
            "id": f"{role}-{secrets.token_hex(3)}",
            "kind": "service",
            "organisation": organisation,
            "roles": [{"role": role, "scope": scopes.organisation(organisation)}],
        }
        return str(self.call_as(GOVERNANCE_ADMIN, "post", "/v1/users", body)["token"])

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST as who runs organisations and projects."""
        return self.call_as(ORG_ADMIN, "post", path, body)

    def get(self, path: str) -> dict[str, Any]:
        """GET as who runs organisations and projects."""
        return self.call_as(ORG_ADMIN, "get", path)

    def metrics(self) -> dict[str, float]:
        """The API's own counters (Prometheus names, with labels)."""
        import httpx

        admin = {"Authorization": f"Bearer {self._tokens[ORG_ADMIN]}"}
        answer = httpx.get(f"{self.url}/metrics", headers=admin, verify=self.trust.context())
        lines = [line.rsplit(" ", 1) for line in answer.text.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    def call_as(self, role: str, method: str, path: str, *args: Any) -> dict[str, Any]:
        """Make a request as the administrator with `role` on the platform."""

        async def call() -> dict[str, Any]:
            async with Coordinator(self.url, Bearer(self._tokens[role]), trust=self.trust) as coordinator:
                answer: dict[str, Any] = await getattr(coordinator, method)(path, *args)
                return answer

        return blocking.run(call())

    @property
    def trust(self) -> Trust:
        """Who may vouch for the API."""
        return Trust.from_file(Home(self.folder / "api").tls / "ca.pem") if self.tls else Trust()

    @property
    def _database(self) -> str:
        return self.database_url or f"sqlite:///{self.folder / 'coordination.db'}"

    @property
    def _admin_home(self) -> Home:
        return Home(self.folder / "administrator")

    def _words(self, command: Sequence[str], home: Path) -> list[str]:
        """Return the words with which the command that lives in `home` is started."""
        return [sys.executable, "-m", "flaas_jupyter.cli", *command]

    def _spawn(self, command: Sequence[str], home: Path, log: Path, extra: Mapping[str, str]) -> subprocess.Popen[str]:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = {key: value for key, value in os.environ.items() if not key.startswith("FLAAS_")}
        environment = {
            **kept,
            "FLAAS_HOME": str(home),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONUNBUFFERED": "1",
            **extra,
        }
        with log.open("a") as errors:
            return subprocess.Popen(  # noqa: S603 - our own command
                self._words(command, home),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )


@contextlib.contextmanager
def local_federation(
    folder: Path, datasets: Mapping[str, Mapping[str, Path]], target: str | Mapping[str, str] | None, **options: Any
) -> Iterator[LocalFederation]:
    """Start a federation under `folder`, wait until its nodes are online, stop it at the end."""
    federation = LocalFederation(folder, **options)
    try:
        federation.start(datasets, target)
        federation.wait_online()
        yield federation
    finally:
        federation.stop()


def _first_line(process: subprocess.Popen[str], log: Path, limit: float = START_LIMIT) -> str:
    """Return the line with which `process` says that it is up."""
    stream: IO[str] | None = process.stdout
    assert stream is not None
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.append(stream.readline()), daemon=True)
    reader.start()
    reader.join(max(0.1, limit))
    if lines and lines[0]:
        threading.Thread(target=_drain, args=(stream,), daemon=True).start()
        return lines[0].strip()
    state = f"ended with code {process.poll()}" if process.poll() is not None else f"not up after {limit:.0f} s"
    tail = "\n".join(log.read_text().splitlines()[-15:])
    raise Unreachable(f"A process did not start ({state}). Its log, {log}, ends:\n{tail}", code="not-started")


def _drain(stream: IO[str]) -> None:
    """Keep the pipe from filling up, and close it when the process has ended."""
    with stream:
        for _ in stream:
            pass


def _die_with_parent() -> None:
    """Have the kernel end this process when its parent dies, so that a killed demo leaves nothing behind."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
