"""The laboratory's machines for real: each boots as its cloud-init document says, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import yaml

from .ledger import LabMachine

NODE_FILE = "/etc/flaas/node.json"
_PATIENCE = 10.0


class Machines:
    """Boots and ends machines; give `boot` and `end` to a `Ledger`, and `stop` it at the end.

    Of the document only the node's file is written, and only the node's service is started: the rest of it installs
    software that is here already, on a system that is not to be shut down.

    Parameters
    ----------
    folder : Path
        Each machine gets a file system of its own in it.
    ca : Path
        Certificates that the machines trust.
    """

    def __init__(self, folder: Path, ca: Path | None = None) -> None:
        self.folder, self.ca = folder, ca
        self._lock = threading.Lock()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._count = 0

    def boot(self, machine: LabMachine) -> None:
        """Write what the document says, and start the node."""
        with self._lock:
            self._count += 1
            root = self.folder / f"{self._count:02}-{machine.tags['flaas-node']}"
            written = write_node_file(machine.user_data, root)
            self._processes[id(machine)] = self._start(root, written)

    def end(self, machine: LabMachine) -> None:
        """Cut the power."""
        with self._lock:
            process = self._processes.get(id(machine))
        if process is not None:
            process.terminate()

    def stop(self) -> None:
        """End all processes that were started here, and no other."""
        with self._lock:
            started = list(self._processes.values())
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def running(self) -> list[int]:
        """Pids of what still runs."""
        with self._lock:
            return [process.pid for process in self._processes.values() if process.poll() is None]

    def logs(self) -> str:
        """The end of each machine's log."""
        logs = sorted(self.folder.glob("*/node.log"))
        return "\n".join(f"--- {log.parent.name}\n{log.read_text()[-2000:]}" for log in logs)

    def _start(self, root: Path, node_file: Path) -> subprocess.Popen[bytes]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("FLAAS_")}
        # Machines share this one: one thread each keeps them out of each other's way.
        threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
        trust = {"SSL_CERT_FILE": str(self.ca)} if self.ca is not None else {}
        home = {"FLAAS_HOME": str(root / "var/lib/flaas"), "TF_CPP_MIN_LOG_LEVEL": "3"}
        with (root / "node.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "flaas_jupyter.cli", "node", "boot", str(node_file)],
                env={**kept, **threads, **trust, **home},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=root,
            )


def write_node_file(user_data: str, root: Path) -> Path:
    """Write the node's file below `root` as cloud-init's module ``write_files`` does, and return where it is.

    Source: https://cloudinit.readthedocs.io/en/latest/reference/modules.html#write-files
    """
    first, _, _ = user_data.partition("\n")
    assert first == "#cloud-config", first
    document: dict[str, Any] = yaml.safe_load(user_data)
    (entry,) = [each for each in document["write_files"] if each["path"] == NODE_FILE]
    assert entry.get("encoding", "text/plain") == "text/plain"
    path = root / NODE_FILE.lstrip("/")
    path.parent.mkdir(parents=True)
    mode = int(entry["permissions"], 8)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(entry["content"])
    assert path.stat().st_mode & 0o777 == mode == 0o600, "the secret is to be its owner's only"
    return path
