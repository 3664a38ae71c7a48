"""What a browser does to send a file: seal it, hand it to Jupyter Server piece by piece, open the receipt."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from collections.abc import Iterable
from typing import Any

import httpx

from flaas_jupyter.protocols.upload import (
    Details,
    FileKey,
    Finish,
    Header,
    Receipt,
    Root,
    open_receipt,
    seal_chunk,
    seal_digest,
    seal_envelope,
    seal_finish,
)

CHUNK = 16 << 10


class Sealed:
    """A file, sealed for a node."""

    def __init__(self, file: bytes, node: str, upload_key: str, details: Details, chunk_size: int = CHUNK) -> None:
        self.file, self.details = file, details
        self.header = Header(secrets.token_hex(16), node, len(file), chunk_size)
        self.key = FileKey()
        self.envelope = seal_envelope(self.header, bytes.fromhex(upload_key), self.key, details)
        self.seal = seal_digest(self.header, self.envelope)

    def piece(self, index: int) -> bytes:
        return self.file[index * self.header.chunk_size :][: self.header.chunk_size]

    def chunk(self, index: int) -> bytes:
        """Seal a chunk, with a salt of its own each time."""
        return seal_chunk(self.header, self.seal, self.key, index, self.piece(index))

    def finish(self, details: Details | None = None) -> bytes:
        root = Root()
        for index in range(self.header.chunks):
            root.add(hashlib.sha256(self.piece(index)).digest())
        return seal_finish(self.seal, self.key, Finish(root.digest(), details))

    def receipt(self, sealed: bytes) -> Receipt:
        return open_receipt(self.seal, self.key, sealed)


class Sender:
    """A browser at a Jupyter Server."""

    def __init__(self, url: str, token: str) -> None:
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"token {token}"}, timeout=60)

    def upload_key(self, node: str, project: str) -> dict[str, Any]:
        return self._told(self.http.get(f"flaas/api/v1/nodes/{node}/upload-key", params={"project": project}))

    def open(self, sealed: Sealed, project: str, dataset: str) -> dict[str, Any]:
        return self._told(self.opening(sealed, project, dataset))

    def opening(self, sealed: Sealed, project: str, dataset: str) -> httpx.Response:
        body = {
            "project": project,
            "dataset": dataset,
            "header": base64.b64encode(sealed.header.pack()).decode(),
            "envelope": base64.b64encode(sealed.envelope).decode(),
        }
        return self.http.post("flaas/uploads", json=body)

    def put(self, sealed: Sealed, index: int, content: bytes | None = None) -> httpx.Response:
        headers = {"Content-Type": "application/octet-stream"}
        path = f"flaas/uploads/{sealed.header.upload}/chunks/{index}"
        return self.http.put(path, content=content or sealed.chunk(index), headers=headers)

    def send(self, sealed: Sealed, indices: Iterable[int] | None = None) -> None:
        for index in range(sealed.header.chunks) if indices is None else indices:
            self._told(self.put(sealed, index))

    def state(self, sealed: Sealed) -> dict[str, Any]:
        return self._told(self.http.get(f"flaas/uploads/{sealed.header.upload}"))

    def finishing(self, sealed: Sealed, details: Details | None = None) -> httpx.Response:
        body = {"finish": base64.b64encode(sealed.finish(details)).decode()}
        return self.http.post(f"flaas/uploads/{sealed.header.upload}/finish", json=body)

    def finish(self, sealed: Sealed, details: Details | None = None, limit: float = 60.0) -> Receipt:
        """Finish, and wait for the receipt."""
        state = self._told(self.finishing(sealed, details))
        give_up = time.monotonic() + limit
        while state["state"] == "checking":
            assert time.monotonic() < give_up, "the node does not come to an end"
            time.sleep(0.05)
            state = self.state(sealed)
        return sealed.receipt(base64.b64decode(state["receipt"]))

    def abort(self, sealed: Sealed) -> httpx.Response:
        return self.http.delete(f"flaas/uploads/{sealed.header.upload}")

    @staticmethod
    def _told(response: httpx.Response) -> dict[str, Any]:
        assert response.is_success, response.text
        told: dict[str, Any] = response.json()
        return told
