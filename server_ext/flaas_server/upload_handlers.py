"""The endpoints of sealed uploads: what comes from the browser is passed on as it is, for nothing here could read it.

See `handlers` for why each verb stands by itself.
"""

from __future__ import annotations

import json
from typing import Any

from tornado import web

from .handlers import FlaasHandler, authorized
from .problems import Problem
from .upload_bridge import UploadBridge

UPLOADS = "flaas:uploads"
"""Resource that an Authorizer is asked about."""
ID = "[0-9a-f]{32}"
CHUNK_LIMIT = (8 << 20) + 32
OPENING_LIMIT = 2 << 20
AT_ONCE = 16
"""Chunks of all uploads that wait here together."""


class _UploadsHandler(FlaasHandler):
    """What the endpoints of uploads share."""

    _track_activity = True

    @property
    def bridge(self) -> UploadBridge:
        """The way to nodes."""
        bridge: UploadBridge = self.settings["flaas_uploads"]
        return bridge

    def _form(self, *names: str) -> dict[str, str]:
        """Return the texts `names` of the JSON object that was sent."""
        if len(self.request.body) > OPENING_LIMIT:
            raise _too_large(len(self.request.body), OPENING_LIMIT)
        try:
            body = json.loads(self.request.body)
        except ValueError:
            body = None
        if not isinstance(body, dict) or not all(isinstance(body.get(name), str) for name in names):
            raise Problem(
                422,
                "bad-upload",
                "Not an upload",
                f"A JSON object with the texts {', '.join(names)} is needed.",
                hint="Reload JupyterLab.",
                kind="InvalidInput",
            )
        return {name: body[name] for name in names}


class UploadsHandler(_UploadsHandler):
    """``POST flaas/uploads`` opens an upload, or opens it again to go on with it."""

    @web.authenticated
    @authorized("write", UPLOADS)
    async def post(self) -> None:
        """Answer how far the upload is."""
        form = self._form("project", "dataset", "header", "envelope")
        await self.signed_in()
        self.finish(await self.bridge.ask("open", form))


class UploadHandler(_UploadsHandler):
    """``flaas/uploads/{id}``: how far it is, and aborting it."""

    @web.authenticated
    @authorized("read", UPLOADS)
    async def get(self, upload: str) -> None:
        """Ask the node."""
        self.finish(await self.bridge.ask("state", {"upload": upload}))

    @web.authenticated
    @authorized("write", UPLOADS)
    async def delete(self, upload: str) -> None:
        """Have the node remove what it has."""
        await self.bridge.ask("abort", {"upload": upload})
        self.set_status(204)
        self.finish()


class ChunkHandler(_UploadsHandler):
    """``PUT flaas/uploads/{id}/chunks/{n}``: one sealed chunk, as it is."""

    @web.authenticated
    @authorized("write", UPLOADS)
    async def put(self, upload: str, index: str) -> None:
        """Pass it on; the answer comes when the node has it safely."""
        size = len(self.request.body)
        if size > CHUNK_LIMIT:
            raise _too_large(size, CHUNK_LIMIT)
        waiting: list[Any] = self.settings.setdefault("flaas_upload_chunks", [])
        if len(waiting) >= AT_ONCE:
            raise Problem(
                429,
                "too-many-chunks",
                "Too many chunks at once",
                f"{AT_ONCE} chunks are on their way already.",
                hint="Send it again when one of them has arrived.",
                kind="Conflict",
            )
        waiting.append(self)
        try:
            self.finish(await self.bridge.ask("chunk", {"upload": upload, "index": int(index)}, self.request.body))
        finally:
            waiting.remove(self)


class FinishHandler(_UploadsHandler):
    """``POST flaas/uploads/{id}/finish``: all chunks are there."""

    @web.authenticated
    @authorized("write", UPLOADS)
    async def post(self, upload: str) -> None:
        """Have the node check and register the file; it answers at once, and ``GET`` tells how that went."""
        form = self._form("finish")
        self.set_status(202)
        self.finish(await self.bridge.ask("finish", {"upload": upload, **form}))


def _too_large(size: int, most: int) -> Problem:
    return Problem(
        413,
        "body-too-large",
        "The request is too large",
        f"It has {size} bytes; allowed are {most}.",
        hint="Cut the file into smaller chunks.",
        kind="InvalidInput",
    )
