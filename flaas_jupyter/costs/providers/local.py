"""The API's own machine as a cloud: a machine is a ``flaas node boot`` process beside the API, which outlives it.

For demonstrations and for a first try without any account. The operator of the API permits it by naming a folder
(``FLAAS_LOCAL_MACHINES``): data sets are files in it, machines have a folder each under ``machines`` in it. Making that
folder is what keeps one token from making two machines.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, ClassVar

from ...errors import InvalidInput, NotAllowed
from ...home import write_private
from ..driver import (
    INSTALLATION_TAG,
    ChargeRow,
    CredentialField,
    Endpoint,
    Identity,
    Machine,
    MachineOrder,
    MachineState,
    NotOffered,
    PriceRow,
)
from ..launch.cloud_init import node_of

REGION, INSTANCE_TYPE = "here", "process"
_PATIENCE = 10.0
_SECRETS = ("node.json", "home/node.key", "home/node.json")


class LocalDriver:
    """Processes on this machine.

    Parameters
    ----------
    credentials : mapping
        None are needed.
    endpoint : Endpoint
        Not used.
    folder : Path, optional
        Data sets and machines; default: ``FLAAS_LOCAL_MACHINES``.

    Raises
    ------
    NotAllowed
        Code ``local-not-permitted``: the operator of the API names no folder.
    """

    name: ClassVar[str] = "local"
    title: ClassVar[str] = "This machine"
    fields: ClassVar[Sequence[CredentialField]] = ()

    def __init__(
        self, credentials: Mapping[str, str], endpoint: Endpoint | None = None, *, folder: Path | None = None
    ) -> None:
        given = folder or os.environ.get("FLAAS_LOCAL_MACHINES")
        if not given:
            raise NotAllowed(
                "This API launches nothing on its own machine.",
                code="local-not-permitted",
                hint="Its operator permits it by naming a folder in FLAAS_LOCAL_MACHINES.",
            )
        self._data = Path(given).resolve()
        self._machines = self._data / "machines"

    def whoami(self) -> Identity:
        """Return this machine's name."""
        return Identity(os.uname().nodename, "flaas", currency="USD")

    def prices(self, regions: Sequence[str] = ()) -> Iterator[PriceRow]:
        """Yield nothing: it costs nothing."""
        return iter(())

    def negotiated(self, wanted: Iterable[PriceRow]) -> Iterator[PriceRow]:
        """Yield nothing."""
        return iter(())

    def costs(self, start: date, end: date) -> Iterator[ChargeRow]:
        """Yield nothing."""
        return iter(())

    def launch(self, order: MachineOrder) -> Machine:
        """Start a process that outlives this one; the same order again returns the same machine.

        Raises
        ------
        NotOffered
            Another region or type than there is.
        InvalidInput
            Code ``dataset-outside``: a data set that is no file in the permitted folder.
        """
        if (order.region, order.instance_type) != (REGION, INSTANCE_TYPE):
            raise NotOffered(
                f"This machine offers {INSTANCE_TYPE!r} in {REGION!r}, not {order.instance_type!r} in {order.region!r}."
            )
        config = node_of(order.user_data)
        for dataset in config["datasets"]:
            dataset["source"] = str(self._inside(str(dataset["source"])))
        folder = self._machines / order.token
        self._machines.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(self._machines / f".{order.token}.lock"):
            if not (folder / "process.json").exists():
                self._start(folder, order, config)
        return self._describe(folder)

    def describe(self, installation: str, regions: Sequence[str]) -> list[Machine]:
        """Return the machines of this installation, ended ones too."""
        if REGION not in regions or not self._machines.is_dir():
            return []
        folders = sorted(path.parent for path in self._machines.glob("*/machine.json"))
        found = [self._describe(folder) for folder in folders]
        return [machine for machine in found if machine.tags.get(INSTALLATION_TAG) == installation]

    def terminate(self, machine: Machine) -> None:
        """End the process (SIGTERM, then SIGKILL) and remove the secrets that it had."""
        folder = self._machines / machine.id
        if not machine.id.isalnum() or not folder.is_dir():
            return
        with _locked(self._machines / f".{machine.id}.lock"):
            self._end(folder)
            with contextlib.suppress(OSError):
                (self._machines / f".{machine.id}.lock").unlink()

    # ---- processes ----------------------------------------------------------------------------------------------

    def _inside(self, source: str) -> Path:
        path = (self._data / source).resolve()
        if not path.is_file() or not path.is_relative_to(self._data) or path.is_relative_to(self._machines):
            raise InvalidInput(
                f"{source[:80]!r} is no file in the folder that this machine may use for data.",
                code="dataset-outside",
                hint="Give the name of a file in the folder FLAAS_LOCAL_MACHINES of the API's machine.",
            )
        return path

    def _start(self, folder: Path, order: MachineOrder, config: dict[str, Any]) -> None:
        """Write down what the machine is, then start it under a name that finds it again, whenever this is killed."""
        folder.mkdir(exist_ok=True, mode=0o700)
        stray = _process_of(folder)
        if stray is None:
            write_private(folder / "node.json", json.dumps(config).encode())
            created = datetime.now(UTC).isoformat()
            write_private(folder / "machine.json", json.dumps({"tags": order.tags, "created": created}).encode())
            stray = _spawn(folder)
        write_private(folder / "process.json", json.dumps({"pid": stray, "started": _started(stray)}).encode())

    def _end(self, folder: Path) -> None:
        for signal_number, patience in ((signal.SIGTERM, _PATIENCE), (signal.SIGKILL, _PATIENCE)):
            pid = _alive(folder)
            if pid is None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal_number)
            deadline = time.monotonic() + patience
            while _alive(folder) is not None and time.monotonic() < deadline:
                _reap(pid)
                time.sleep(0.02)
        if _alive(folder) is not None:
            return
        for name in _SECRETS:
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder / "home", ignore_errors=True)
        if not (folder / "ended").exists():
            write_private(folder / "ended", datetime.now(UTC).isoformat().encode())

    def _describe(self, folder: Path) -> Machine:
        known = json.loads((folder / "machine.json").read_text())
        pid, ended = _alive(folder), folder / "ended"
        state: MachineState = "running"
        over: datetime | None = None
        if pid is None:
            state = "terminated"
            if not ended.exists():
                write_private(ended, datetime.now(UTC).isoformat().encode())
            over = datetime.fromisoformat(ended.read_text())
        leftovers = tuple(name for name in _SECRETS if (folder / name).exists()) if pid is None else ()
        return Machine(
            provider=self.name,
            id=folder.name,
            region=REGION,
            instance_type=INSTANCE_TYPE,
            state=state,
            token=folder.name,
            tags=known["tags"],
            created=datetime.fromisoformat(known["created"]),
            ended=over,
            leftovers=leftovers,
        )


def _spawn(folder: Path) -> int:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("FLAAS_")}
    # Nodes share this machine: one thread each keeps them out of each other's way.
    threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with (folder / "node.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "flaas_jupyter.cli", "node", "boot", str(folder / "node.json")],
            env={**kept, **threads, "FLAAS_HOME": str(folder / "home"), "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    process.returncode = 0  # nobody waits for it here: see `_reap`
    return process.pid


def _alive(folder: Path) -> int | None:
    """Return the pid of the machine's process if it runs; a reused pid has another start time."""
    try:
        known = json.loads((folder / "process.json").read_text())
    except FileNotFoundError:
        return _process_of(folder)
    pid = int(known["pid"])
    _reap(pid)
    started = _started(pid)
    return pid if started is not None and started == known["started"] else None


def _process_of(folder: Path) -> int | None:
    """Find the process of a machine whose starter was killed before it could write down the pid."""
    wanted = str(folder / "node.json").encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if wanted in words and b"boot" in words:
                return int(entry.name)
    return None


def _started(pid: int) -> str | None:
    """Return when a process started, in ticks since boot; None if it does not run (proc(5), field 22)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[19]


def _reap(pid: int) -> None:
    """Let go of a child that has ended; one that is somebody else's is left alone."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
