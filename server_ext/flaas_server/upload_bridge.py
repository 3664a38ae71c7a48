"""The bridge to the mesh for sealed uploads, as this server sees it: a process that is asked in frames.

The server half does not import the kernel's package; what speaks to nodes is ``python -m flaas_jupyter.upload_bridge``.
It is started by the first upload, ends when none was heard of for a while, and is started anew when it has died: it
holds nothing that is not opened again by asking once more. What passes is sealed.

A frame, both ways, is ``length (uint32) | header as JSON | length (uint32) | bytes``, numbers big-endian.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import os
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .problems import Problem

# -P: a folder of notebooks is no place to import from.
COMMAND = (sys.executable, "-P", "-m", "flaas_jupyter.upload_bridge")
IDLE_SECONDS = 60.0
LEAVE_SECONDS = 5.0
_LENGTH = struct.Struct(">I")
_LONGEST = 4 << 20
_STATUS = {"InvalidInput": 422, "NotAllowed": 403, "NotAuthenticated": 401, "NotFound": 404, "Conflict": 409,
           "Aborted": 409, "Unreachable": 502}  # fmt: skip
_UNSIGNED = frozenset({"no-token", "signed-out", "not-authenticated", "token-expired", "bad-token"})
"""Codes that really mean that nobody is signed in; a signature that does not verify is no reason to sign in again."""
_NOT_OPEN = "upload-not-open"


class UploadBridge:
    """The process, and who waits for its answers.

    Parameters
    ----------
    home : Path
        `FLAAS_HOME` of the person.
    log : logging.Logger
        Receives what the process writes to standard error.
    command : sequence of str
        Starts it.
    idle : float
        Seconds without a request after which it is ended.
    """

    def __init__(
        self, home: Path, log: logging.Logger, command: Sequence[str] = COMMAND, idle: float = IDLE_SECONDS
    ) -> None:
        self._home, self._log, self._command, self._idle = home, log, tuple(command), idle
        self._process: asyncio.subprocess.Process | None = None
        self._starting = asyncio.Lock()
        self._writing = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[asyncio.subprocess.Process, asyncio.Future[dict[str, Any]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._bored: asyncio.TimerHandle | None = None

    async def ask(self, do: str, fields: Mapping[str, Any], body: bytes = b"") -> dict[str, Any]:
        """Ask, and return the answer.

        Parameters
        ----------
        do : str
            ``open``, ``state``, ``chunk``, ``finish`` or ``abort``.
        fields : mapping
            What the request's header has beside that.
        body : bytes
            A chunk.

        Raises
        ------
        Problem
            What went wrong at the API, at the node, or on the way; 503 ``no-bridge``.
        """
        process = await self._running()
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = process, answer
        header = json.dumps({"id": number, "do": do, **fields}).encode()
        try:
            await self._send(process, header, body)
            told = await answer
        finally:
            self._waiting.pop(number, None)
            self._rest()
        if "error" in told:
            raise _problem(told["error"])
        ok: dict[str, Any] = told["ok"]
        return ok

    async def close(self) -> None:
        """End the process; uploads stay open at their nodes."""
        process, self._process = self._process, None
        if self._bored is not None:
            self._bored.cancel()
        if process is not None:
            await _end(process)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _running(self) -> asyncio.subprocess.Process:
        if self._bored is not None:
            self._bored.cancel()
        async with self._starting:
            if self._process is not None and self._process.returncode is None:
                return self._process
            pipe = asyncio.subprocess.PIPE
            environment = {**os.environ, "FLAAS_HOME": str(self._home)}
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, limit=_LONGEST
                )
            except OSError as error:
                raise _no_bridge(error.strerror or "it cannot be started") from error
            self._spawn(self._read(self._process))
            self._spawn(self._relay(self._process))
            return self._process

    async def _send(self, process: asyncio.subprocess.Process, header: bytes, body: bytes) -> None:
        assert process.stdin is not None
        async with self._writing:  # frames must not mix
            try:
                process.stdin.write(_LENGTH.pack(len(header)) + header + _LENGTH.pack(len(body)))
                process.stdin.write(body)
                await process.stdin.drain()
            except (ConnectionError, RuntimeError) as error:
                raise _no_bridge("it has ended") from error

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Hand out answers until the process ends; then nobody waits for one any more."""
        assert process.stdout is not None
        try:
            while True:
                told = json.loads(await _part(process.stdout))
                await _part(process.stdout)
                _, waiting = self._waiting.get(told.get("id"), (None, None))
                if waiting is not None and not waiting.done():
                    waiting.set_result(told)
        except (asyncio.IncompleteReadError, ValueError, AttributeError):
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            if self._process is process:
                self._process = None
            for asked, waiting in self._waiting.values():
                if asked is process and not waiting.done():
                    waiting.set_exception(_no_bridge("it has ended"))
        await process.wait()

    async def _relay(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            self._log.info("uploads: %s", line.decode(errors="replace").rstrip()[:2000])

    def _rest(self) -> None:
        """Begin to wait for the process to be of no more use."""
        if self._bored is not None:
            self._bored.cancel()
        if not self._waiting and self._process is not None:
            loop = asyncio.get_running_loop()
            self._bored = loop.call_later(self._idle, lambda: self._spawn(self._dismiss()))

    async def _dismiss(self) -> None:
        process = self._process
        if process is not None and not self._waiting:
            self._process = None
            await _end(process)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _part(stream: asyncio.StreamReader) -> bytes:
    """Read a length and as many bytes; `ValueError` for what is no part of a frame."""
    (length,) = _LENGTH.unpack(await stream.readexactly(_LENGTH.size))
    if length > _LONGEST:
        raise ValueError("what the bridge says is no frame")
    return await stream.readexactly(length)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Have the process leave the mesh and end; one that does not is killed."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), LEAVE_SECONDS)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _problem(error: dict[str, Any]) -> Problem:
    kind, code = str(error.get("kind")), str(error.get("code"))
    status = _STATUS.get(kind, 500)
    if kind == "NotAuthenticated" and code not in _UNSIGNED:
        status = 422
    if code == _NOT_OPEN:
        status = 404
    message = str(error.get("message"))
    return Problem(status, code, "The upload cannot go on", message, hint=str(error.get("hint", "")), kind=kind)


def _no_bridge(why: str) -> Problem:
    return Problem(
        503,
        "no-bridge",
        "Uploads cannot be passed on",
        f"`python -m flaas_jupyter.upload_bridge` does not run where Jupyter Server does: {why}.",
        hint="The upload goes on when it is opened again. If that does not help, the log of Jupyter Server says more; "
        "flaas_jupyter has to be installed in its environment.",
        kind="Unreachable",
    )
