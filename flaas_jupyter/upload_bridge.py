"""Between JupyterLab's server and the mesh, for sealed uploads: ``python -m flaas_jupyter.upload_bridge``.

The server half of the extension imports nothing of this package; it starts this process, which is signed in as
notebooks are and signs and sends under the person's own key, and talks to it in frames over standard input and output.
What passes are sealed chunks: neither of the two could read them.

A frame, both ways, is ``length (uint32) | header as JSON | length (uint32) | bytes``, numbers big-endian. A request's
header is ``{"id": n, "do": ..., ...}``, an answer's ``{"id": n, "ok": {...}}`` or ``{"id": n, "error": {...}}``; they
come in any order. The process ends with its standard input.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import fcntl
import functools
import json
import logging
import os
import secrets
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

import numpy as np

from . import signing_in
from .communications.carrier import Carrier
from .communications.coordinator import PATIENCE, Coordinator
from .communications.dial_signal import DialSignal
from .communications.directory import Directory
from .communications.identity import Identity
from .communications.mesh import REFRESH_SECONDS, Mesh
from .communications.trust import Trust
from .communications.wire import Message
from .errors import Conflict, FlaasError, InvalidInput, NotFound, Unreachable
from .execution import upload_request
from .execution.mesh_carrier import open_carrier, signed_record
from .home import Home
from .pinned_keys import pin, require_asked
from .protocols.upload import CHUNK_OVERHEAD, LARGEST_CHUNK, Header, seal_digest

log = logging.getLogger(__name__)

HEADER_LIMIT = 4 << 20
BODY_LIMIT = LARGEST_CHUNK + CHUNK_OVERHEAD
ANSWER_SECONDS, CHUNK_SECONDS = 60.0, 120.0
AT_ONCE = 8
"""Requests that are worked at; further ones wait in the pipe."""
_PIPE = 1 << 20
_LENGTH = struct.Struct(">I")
_PASSING = frozenset({"node-quarantined", "upload-no-room"})
"""Refusals by a node that may be over when the upload is opened again."""


@dataclass(frozen=True)
class _Open:
    """An upload that was opened: where it goes."""

    project: str
    node: str


class Bridge:
    """Opens uploads at the API and at nodes, and passes on what is sealed.

    Parameters
    ----------
    home : Home
        Of the person.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._meshes: dict[str, Mesh] = {}
        self._joining = asyncio.Lock()
        self._open: dict[str, _Open] = {}
        self._answers: dict[str, Callable[[dict[str, Any], bytes], Awaitable[dict[str, Any]]]] = {
            "open": self._on_open,
            "state": self._on_state,
            "chunk": self._on_chunk,
            "finish": self._on_finish,
            "abort": self._on_abort,
        }

    async def answer(self, header: dict[str, Any], body: bytes) -> dict[str, Any]:
        """Return the header of the answer to a request; whatever goes wrong is in it."""
        known = {"id": header.get("id")}
        try:
            answer = self._answers.get(str(header.get("do")))
            if answer is None:
                raise InvalidInput("The bridge knows no such request.", code="bad-upload")
            return {**known, "ok": await answer(header, body)}
        except FlaasError as error:
            return {**known, "error": error.to_dict()}
        except Exception:
            number = secrets.token_hex(4)
            log.exception("error %s", number)
            failure = FlaasError(
                f"The upload could not be passed on (error {number}).",
                code="bridge-failed",
                hint="The log of Jupyter Server has the details under this number.",
            )
            return {**known, "error": failure.to_dict()}

    async def close(self) -> None:
        """Leave the mesh; uploads stay open."""
        for mesh in self._meshes.values():
            await mesh.close()

    # ---- requests -------------------------------------------------------------------------------------------------

    async def _on_open(self, header: dict[str, Any], _: bytes) -> dict[str, Any]:
        """Open an upload at the API and the node, or go on with it."""
        project, dataset = str(header.get("project")), str(header.get("dataset"))
        what, envelope = Header.unpack(_bytes(header, "header")), _bytes(header, "envelope")
        seal = seal_digest(what, envelope)
        mesh, identity = await self._joined(project)
        async with self._api() as api:
            known = await _record(api, what.upload)
            asked = {
                "id": what.upload,
                "node": what.node,
                "dataset": dataset,
                "size": what.size,
                "digest": seal.hex(),
                "submitter": identity.node_id,
            }
            try:
                path = f"/v1/projects/{project}/uploads"
                record = await api.post(path, asked, idempotency_key=secrets.token_hex(16))
            except Conflict as error:
                # One that is registered can be asked for its receipt once more.
                if error.code != "upload-closed" or known is None or known["state"] != "registered":
                    raise
                record = known
            request = upload_request.sign(identity, record, header=what, seal=seal, now=time.time())
            message = Message("upload/open", {"request": request, "envelope": envelope})
            self._open[what.upload] = _Open(project, what.node)  # one that is not reached can be aborted all the same
            try:
                state = await mesh.call(what.node, message, timeout=ANSWER_SECONDS)
            except FlaasError as error:
                if known is None and not isinstance(error, Unreachable) and error.code not in _PASSING:
                    del self._open[what.upload]
                    with contextlib.suppress(FlaasError):
                        await api.post(f"/v1/uploads/{what.upload}/abort", {})
                raise
        return _told(state)

    async def _on_state(self, header: dict[str, Any], _: bytes) -> dict[str, Any]:
        return _told(await self._call(header, "upload/state"))

    async def _on_chunk(self, header: dict[str, Any], body: bytes) -> dict[str, Any]:
        where = self._where(header)
        chunk = np.frombuffer(body, np.uint8)
        message = Message("upload/chunk", {"upload": header["upload"], "index": header.get("index")}, {"chunk": chunk})
        try:
            answer = await self._meshes[where.project].call(where.node, message, timeout=CHUNK_SECONDS)
        except Unreachable as error:
            if error.code not in ("peer-lost", "call-dropped"):
                raise
            # The connection was lost in the middle; to send a chunk once more does no harm.
            answer = await self._meshes[where.project].call(where.node, message, timeout=CHUNK_SECONDS)
        return answer.body

    async def _on_finish(self, header: dict[str, Any], _: bytes) -> dict[str, Any]:
        return _told(await self._call(header, "upload/finish", finish=_bytes(header, "finish")))

    async def _on_abort(self, header: dict[str, Any], _: bytes) -> dict[str, Any]:
        """End an upload; a node that cannot be reached is told by the API."""
        upload = str(header.get("upload"))
        try:
            await self._call(header, "upload/abort")
        except Unreachable as error:
            log.info("upload %s: %s", upload, error)
        async with self._api() as api:
            await api.post(f"/v1/uploads/{upload}/abort", {}, idempotency_key=secrets.token_hex(16))
        self._open.pop(upload, None)
        return {}

    # ---- ways -----------------------------------------------------------------------------------------------------

    async def _call(self, header: dict[str, Any], kind: str, **body: Any) -> Message:
        where = self._where(header)
        message = Message(kind, {"upload": header["upload"], **body})
        return await self._meshes[where.project].call(where.node, message, timeout=ANSWER_SECONDS)

    def _where(self, header: dict[str, Any]) -> _Open:
        upload = str(header.get("upload"))
        if upload not in self._open:
            raise NotFound(
                f"Upload {upload[:40]!r} is not open here.",
                code="upload-not-open",
                hint="Open it again; it goes on where it was.",
            )
        return self._open[upload]

    def _api(self) -> Coordinator:
        """Return a way to the API for whoever is signed in now."""
        url, credentials = signing_in.caller(self._home)
        return Coordinator(url, credentials, retry_for=PATIENCE, trust=Trust.of(self._home, url))

    async def _joined(self, project: str) -> tuple[Mesh, Identity]:
        """Return the project's mesh, joined under the person's key."""
        identity = Identity.load_or_create(self._home.key)
        async with self._joining:
            async with self._api() as api:
                described = await api.get(f"/v1/projects/{project}")
                url = signing_in.url_of(self._home)
            require_asked(project, described)
            pin(self._home.path / "pinned.json", url, described["id"], described["domain_key"])
            if described["id"] not in self._meshes:
                kept = self._home.domain_statements(described["id"], described["domain_key"])
                directory = Directory(described["id"], described["domain_key"], kept)
                refresh = functools.partial(self._refresh, directory)
                await refresh()
                carrier = await open_carrier(
                    self._home, identity, api=url, directories=lambda: [directory], any_port=True
                )
                self._meshes[described["id"]] = await Mesh.open(
                    identity,
                    directory,
                    carrier=carrier,
                    refresh=refresh,
                    refresh_every=REFRESH_SECONDS,
                    signal=functools.partial(self._call_back, identity, directory, carrier),
                )
        return self._meshes[described["id"]], identity

    async def _call_back(self, identity: Identity, directory: Directory, carrier: Carrier, node_id: str) -> None:
        """Have a node dial this process, by way of the API."""
        async with self._api() as api:
            signal = DialSignal(
                api,
                project_of=lambda _: directory.domain,
                record=lambda _: signed_record(identity, directory, carrier.whereabouts),
            )
            await signal(node_id)

    async def _refresh(self, directory: Directory) -> None:
        async with self._api() as api:
            directory.update(await api.get(f"/v1/projects/{directory.domain}/directory"))


async def _record(api: Coordinator, upload: str) -> dict[str, Any] | None:
    try:
        return await api.get(f"/v1/uploads/{upload}")
    except NotFound:
        return None


def _told(state: Message) -> dict[str, Any]:
    """Return a node's word on an upload as JSON values."""
    body = dict(state.body)
    receipt, expires = body.get("receipt"), body.get("expires")
    body["receipt"] = base64.b64encode(receipt).decode() if isinstance(receipt, bytes) else None
    if isinstance(expires, int):
        body["expires"] = datetime.fromtimestamp(expires, UTC).isoformat().replace("+00:00", "Z")
    return body


def _bytes(header: dict[str, Any], name: str) -> bytes:
    value = header.get(name)
    try:
        return base64.b64decode(value if isinstance(value, str) else "", validate=True)
    except binascii.Error as error:
        raise InvalidInput(f"The upload's {name} is not base64.", code="bad-upload") from error


# ---- frames ---------------------------------------------------------------------------------------------------------


async def serve(bridge: Bridge, requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer the requests that come in, until there are no more."""
    loop = asyncio.get_running_loop()
    for pipe in (requests, answers):
        with contextlib.suppress(OSError, AttributeError):  # larger pipes, where the system has them
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)
    reader = asyncio.StreamReader(limit=2 * BODY_LIMIT)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), requests)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, answers)
    writer = asyncio.StreamWriter(transport, protocol, None, loop)
    free, tasks = asyncio.Semaphore(AT_ONCE), set[asyncio.Task[None]]()

    async def one(header: dict[str, Any], body: bytes) -> None:
        try:
            packed = json.dumps(await bridge.answer(header, body)).encode()
            writer.write(_LENGTH.pack(len(packed)) + packed + _LENGTH.pack(0))
            await writer.drain()
        finally:
            free.release()

    try:
        while (frame := await _frame(reader)) is not None:
            await free.acquire()
            task = asyncio.create_task(one(*frame))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await bridge.close()
        writer.close()


async def _frame(reader: asyncio.StreamReader) -> tuple[dict[str, Any], bytes] | None:
    """Read one request; None at the end, and for what is no frame: its sender has gone mad."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > HEADER_LIMIT:
            raise ValueError("a header that is too long")
        header = json.loads(await reader.readexactly(length))
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > BODY_LIMIT or not isinstance(header, dict):
            raise ValueError("a body that is too long, or a header that is no object")
        return header, await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return None
    except ValueError as error:
        log.error("what came in is no request (%s)", error)
        return None


def main() -> None:
    """Run until standard input ends."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s")
    # Nothing but frames may be written to standard output, whatever a library prints.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    asyncio.run(serve(Bridge(Home.default()), sys.stdin.buffer, answers))


if __name__ == "__main__":
    main()
