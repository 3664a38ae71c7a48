"""The simulations of this machine's user, as their engine writes them down under ``FLAAS_HOME/simulations``.

Each has a folder named by its id: ``simulation.json`` (what it is, how far it is), ``rounds.jsonl`` (a report a line),
and, when somebody wants it to end before its next round, an empty file ``stop``. This module only reads, makes that
file, and deletes folders of simulations that do not run. It follows no link out of a simulation's folder.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import stat
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from .journal import Journal, open_regular
from .problems import Problem
from .processes import is_alive
from .rounds import in_columns, load_object

ID = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}"
"""Ids, as a regular expression: no slash, no percent sign, no leading dot."""
PAGE_BYTES = 4 << 20
"""About as many bytes of the journal go into one answer."""

_JOURNALS = 100  # remembered at a time


class Simulations:
    """Folder of simulations; its methods block, and may be called from any thread.

    Parameters
    ----------
    folder : Path
        ``FLAAS_HOME/simulations``; it need not be there.
    alive : callable
        Whether a process runs; see `is_alive`.
    """

    def __init__(self, folder: Path, alive: Callable[..., bool] = is_alive) -> None:
        self._folder = folder
        self._alive = alive
        self._lock = threading.Lock()
        self._headers: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {}
        self._journals: dict[str, Journal] = {}

    def newest(self, limit: int) -> dict[str, Any]:
        """Return ``{"simulations": [...], "total": n}``: the `limit` newest, each without its clients."""
        names = self._names()
        for gone in self._headers.keys() - set(names):
            self._headers.pop(gone, None)
        found = []
        for name in names:
            try:
                found.append(self.summary(name))
            except Problem:
                continue  # deleted meanwhile, or not written yet
        found.sort(key=lambda each: str(each.get("created", "")), reverse=True)
        return {"simulations": found[:limit], "total": len(found)}

    def whole(self, name: str) -> dict[str, Any]:
        """Return everything that ``simulation.json`` says, and what `summary` adds.

        Raises
        ------
        Problem
            404 ``unknown-simulation``.
        """
        _, header = self._read(self._path(name), name)
        return {**self._current(name, _without_clients(header)), "clients": _clients(header)}

    def summary(self, name: str) -> dict[str, Any]:
        """Return what ``simulation.json`` says but its clients, with the number of them and what is so just now.

        Returns
        -------
        dict
            The header; ``client_count``, ``attacker_count``; ``state``, which is "interrupted" when the header says
            "running" but its process is gone; ``stopping``: whether it was asked to stop and still runs.
        """
        path = self._path(name)
        stamp = _stamp(path / "simulation.json")
        known = self._headers.get(name)
        if known is None or known[0] != stamp:
            read, header = self._read(path, name)
            known = self._headers[name] = (read, _without_clients(header))
        return self._current(name, known[1])

    def rounds(self, name: str, after: int, limit: int) -> dict[str, Any]:
        """Return the reports of rounds that follow the first `after` of the journal.

        Returns
        -------
        dict
            As `in_columns`, and ``after``, ``total`` and ``journal`` of `Page`; ``simulation``: its `summary`.
        """
        summary = self.summary(name)
        with self._lock:
            journal = self._journals.pop(name, None) or Journal(self._path(name) / "rounds.jsonl")
            self._journals[name] = journal  # the one read last is last
            for old in list(self._journals)[:-_JOURNALS]:
                del self._journals[old]
        page = journal.page(after, limit, PAGE_BYTES)
        return {
            **in_columns(page.lines),
            "after": page.after,
            "total": page.total,
            "journal": page.journal,
            "simulation": summary,
        }

    def stop(self, name: str) -> dict[str, Any]:
        """Ask the simulation to end before its next round; asking twice is once. Return its summary.

        Raises
        ------
        Problem
            404 ``unknown-simulation``; 409 ``simulation-not-running``.
        """
        state = self.summary(name)["state"]
        if state != "running":
            raise Problem(
                409,
                "simulation-not-running",
                "The simulation does not run",
                f"The simulation {name} is {state}: there is nothing to stop.",
                kind="Conflict",
            )
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            os.close(os.open(self._path(name) / "stop", flags, 0o600))
        except FileExistsError:
            pass
        return self.summary(name)

    def delete(self, name: str) -> None:
        """Remove the simulation's folder.

        Raises
        ------
        Problem
            404 ``unknown-simulation``; 409 ``simulation-running``.
        """
        path = self._path(name)
        try:
            running = self.summary(name)["state"] == "running"
        except Problem:
            running = False  # a folder without a readable header can be cleared away, too
        if running:
            raise Problem(
                409,
                "simulation-running",
                "The simulation runs",
                f"The simulation {name} still runs, and would go on writing.",
                hint="Stop it first.",
                kind="Conflict",
            )
        shutil.rmtree(path)
        with self._lock:
            self._headers.pop(name, None)
            self._journals.pop(name, None)

    def _names(self) -> list[str]:
        try:
            with os.scandir(self._folder) as entries:
                return [each.name for each in entries if re.fullmatch(ID, each.name) and _is_folder(Path(each.path))]
        except OSError:
            return []

    def _path(self, name: str) -> Path:
        path = self._folder / name
        if not re.fullmatch(ID, name) or not _is_folder(path):
            raise _unknown(name)
        return path

    def _read(self, path: Path, name: str) -> tuple[tuple[int, ...], dict[str, Any]]:
        try:
            with os.fdopen(open_regular(path / "simulation.json"), "rb") as file:
                stamp = _stamp_of(os.fstat(file.fileno()))
                header = load_object(file.read())
        except OSError:
            header = {}
        if not header:
            raise _unknown(name)
        return stamp, header

    def _current(self, name: str, header: dict[str, Any]) -> dict[str, Any]:
        state = header.get("state")
        if state == "running" and not self._runs(header):
            state = "interrupted"
        stopping = state == "running" and os.path.lexists(self._folder / name / "stop")
        return {**header, "id": name, "state": state, "stopping": stopping}

    def _runs(self, header: dict[str, Any]) -> bool:
        if header.get("host", socket.gethostname()) != socket.gethostname():
            return True  # a kernel on another machine with the same home: its processes cannot be seen from here
        pid = header.get("pid")
        return isinstance(pid, int) and pid > 0 and self._alive(pid, seen=_seconds(header.get("updated")))


def _unknown(name: str) -> Problem:
    return Problem(
        404,
        "unknown-simulation",
        "There is no such simulation",
        f"There is no simulation {name[:128]!r}.",
        hint="It may have been deleted; the panel lists those that are there.",
        kind="NotFound",
    )


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        return _stamp_of(path.lstat())
    except OSError:
        return None


def _stamp_of(status: os.stat_result) -> tuple[int, ...]:
    return status.st_ino, status.st_mtime_ns, status.st_size


def _clients(header: dict[str, Any]) -> list[Any]:
    clients = header.get("clients")
    return clients if isinstance(clients, list) else []


def _without_clients(header: dict[str, Any]) -> dict[str, Any]:
    clients = _clients(header)
    attackers = sum(1 for client in clients if isinstance(client, dict) and client.get("attacker"))
    rest = {name: value for name, value in header.items() if name != "clients"}
    return {**rest, "client_count": len(clients), "attacker_count": attackers}


def _seconds(time: Any) -> float | None:
    try:
        return datetime.fromisoformat(time).timestamp()
    except (TypeError, ValueError):
        return None
