"""What a node has of an upload, on its disk: ``FLAAS_HOME/uploads/<id>/``, readable by its owner alone.

* ``upload.json``: the signed request, header and envelope, and what has become of it;
* ``part``: the file as far as it is there, each chunk at its place;
* ``chunks``: a record for each chunk that is there, ``index (uint32) | SHA-256 of the piece (32)``, written after it.

A node that is killed goes on with what the records say; whether that is on the disk is checked before the file is
used, since both are read through once more then.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import Conflict, FlaasError, InvalidInput
from ..home import write_private
from ..protocols.upload import Header, Root
from .upload_request import UploadRequest

RECEIVING, REGISTERED, REJECTED = "receiving", "registered", "rejected"
MARGIN = 64 << 20
"""Bytes of the disk that uploads leave free."""
_ID = re.compile(r"[0-9a-f]{32}")
_RECORD = struct.Struct(">I32s")
_READ = 1 << 20


@dataclass(frozen=True)
class Kept:
    """What ``upload.json`` says.

    Parameters
    ----------
    request : UploadRequest
    envelope : bytes
    state : str
        ``receiving``, ``registered`` or ``rejected``.
    receipt : bytes, optional
        What the sender is told, sealed.
    """

    request: UploadRequest
    envelope: bytes
    state: str = RECEIVING
    receipt: bytes | None = None

    def to_json(self) -> bytes:
        """Return it as it is kept."""
        body = {
            "version": 1,
            "request": self.request.document,
            "envelope": self.envelope.hex(),
            "state": self.state,
            "receipt": None if self.receipt is None else self.receipt.hex(),
        }
        return json.dumps(body).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> Kept:
        """Read it; raises `ValueError` or a `FlaasError` if it is damaged."""
        body = json.loads(raw)
        receipt = body["receipt"]
        return cls(
            UploadRequest.parse(body["request"]),
            bytes.fromhex(body["envelope"]),
            str(body["state"]),
            None if receipt is None else bytes.fromhex(receipt),
        )


@dataclass
class Incoming:
    """One upload on disk; its methods block, and may be called from several threads.

    Parameters
    ----------
    folder : Path
        Its own.
    kept : Kept
    """

    folder: Path
    kept: Kept
    _digests: dict[int, bytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: bool = False

    @property
    def header(self) -> Header:
        """What it is."""
        return self.kept.request.header

    @property
    def received(self) -> int:
        """How many chunks are there."""
        return len(self._digests)

    @property
    def missing_bytes(self) -> int:
        """About how many bytes are still to come."""
        return max(0, self.header.size - self.received * self.header.chunk_size)

    def have(self, index: int) -> bool:
        """Tell whether a chunk is there."""
        return index in self._digests

    def ranges(self) -> list[list[int]]:
        """Return which chunks are there, as inclusive ranges in order."""
        found: list[list[int]] = []
        with self._lock:
            indices = sorted(self._digests)
        for index in indices:
            if found and found[-1][1] == index - 1:
                found[-1][1] = index
            else:
                found.append([index, index])
        return found

    def write(self, index: int, piece: bytes) -> None:
        """Put a piece in its place; one that is there already stays as it is.

        Raises
        ------
        Conflict
            Codes ``upload-no-room`` and ``upload-closed``: it was aborted meanwhile.
        """
        digest = hashlib.sha256(piece).digest()
        with self._lock:
            if self._closed:
                raise Conflict(f"Upload {self.header.upload} was aborted.", code="upload-closed", hint="Start anew.")
            if index in self._digests:
                return
            try:
                handle = self._open("part", os.O_RDWR | os.O_CREAT)
                try:
                    _write_all(handle, piece, index * self.header.chunk_size)
                finally:
                    os.close(handle)
                self._record(_RECORD.pack(index, digest))
            except OSError as error:
                raise _no_room(error.strerror or "it cannot be written") from error
            self._digests[index] = digest

    def root(self) -> bytes:
        """Return the `Root` of all chunks, which have to be there."""
        root = Root()
        for index in range(self.header.chunks):
            root.add(self._digests[index])
        return root.digest()

    def digest(self) -> str | None:
        """Read the file through; return its SHA-256, or None, and forget chunks, if it is not what was received."""
        whole, damaged = hashlib.sha256(), []
        handle = self._open("part", os.O_RDWR)
        with os.fdopen(handle, "r+b", buffering=0) as file:
            for index in range(self.header.chunks):
                piece = _read(file, self.header.length_of(index))
                if hashlib.sha256(piece).digest() != self._digests[index]:
                    damaged.append(index)
                whole.update(piece)
            os.fsync(file.fileno())
        if damaged:
            with self._lock:
                for index in damaged:
                    del self._digests[index]
                records = b"".join(_RECORD.pack(*entry) for entry in sorted(self._digests.items()))
                write_private(self.folder / "chunks", records)
            return None
        return whole.hexdigest()

    def publish(self, suffix: str) -> Path:
        """Give the file the name that it is registered under; return its path."""
        path = self.folder / f"data{suffix}"
        part = self.folder / "part"
        if part.exists():
            part.replace(path)
        return path

    def take_back(self, suffix: str) -> None:
        """Undo `publish`: the file was not registered."""
        (self.folder / f"data{suffix}").replace(self.folder / "part")

    def settle(self, state: str, receipt: bytes | None) -> None:
        """Keep what has become of it."""
        self._save(replace(self.kept, state=state, receipt=receipt))

    def renew(self, request: UploadRequest) -> None:
        """Keep a newer request for the same upload."""
        self._save(replace(self.kept, request=request))

    def remove(self) -> None:
        """Remove everything of it."""
        with self._lock:
            self._closed = True
            shutil.rmtree(self.folder, ignore_errors=True)

    def _save(self, kept: Kept) -> None:
        write_private(self.folder / "upload.json", kept.to_json())
        self.kept = kept

    def _load(self) -> None:
        try:
            raw = (self.folder / "chunks").read_bytes()
        except FileNotFoundError:
            return
        whole = len(raw) // _RECORD.size * _RECORD.size  # a crash may have cut the last one off
        if whole < len(raw):
            os.truncate(self.folder / "chunks", whole)
        for index, digest in _RECORD.iter_unpack(raw[:whole]):
            if index < self.header.chunks:
                self._digests[index] = digest

    def _record(self, record: bytes) -> None:
        handle = self._open("chunks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(handle, record)
        finally:
            os.close(handle)

    def _open(self, name: str, flags: int) -> int:
        return os.open(self.folder / name, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


class UploadStore:
    """The uploads of a node.

    Parameters
    ----------
    folder : Path
        ``FLAAS_HOME/uploads``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, Incoming] = {}
        self._lock = threading.Lock()

    def find(self, upload: str) -> Incoming | None:
        """Return what there is of an upload, None if there is nothing or it cannot be read."""
        if not _ID.fullmatch(upload):
            return None
        with self._lock:
            known = self._known.get(upload)
            if known is not None:
                return known
            folder = self.folder / upload
            try:
                incoming = Incoming(folder, Kept.from_json((folder / "upload.json").read_bytes()))
                incoming._load()
            except (FlaasError, OSError, ValueError, KeyError, TypeError):  # nothing that could be gone on with
                return None
            if incoming.header.upload != upload:
                return None
            self._known[upload] = incoming
            return incoming

    def known(self, upload: str) -> Incoming | None:
        """Return an upload that was found before, without looking at the disk."""
        return self._known.get(upload)

    def create(self, kept: Kept) -> Incoming:
        """Begin an upload.

        Raises
        ------
        Conflict
            Code ``upload-no-room``: the disk has no room for it and those that are under way.
        """
        size = kept.request.header.size
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        under_way = sum(each.missing_bytes for each in self.list() if each.kept.state == RECEIVING)
        if shutil.disk_usage(self.folder).free < size + under_way + MARGIN:
            raise _no_room(f"{size} bytes are more than is free beside what is under way")
        folder = self.folder / kept.request.upload
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(mode=0o700)
            incoming = Incoming(folder, kept)
            incoming._save(kept)
        except OSError as error:
            raise _no_room(error.strerror or "it cannot be written") from error
        with self._lock:
            self._known[kept.request.upload] = incoming
        return incoming

    def list(self) -> list[Incoming]:
        """Return all that there are."""
        try:
            names = sorted(entry.name for entry in os.scandir(self.folder) if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []
        return [incoming for name in names if (incoming := self.find(name)) is not None]

    def remove(self, incoming: Incoming) -> None:
        """Remove an upload, its file included."""
        incoming.remove()
        with self._lock:
            self._known.pop(incoming.header.upload, None)


def _write_all(handle: int, piece: bytes, offset: int) -> None:
    view = memoryview(piece)
    while view:
        written = os.pwrite(handle, view, offset)
        view, offset = view[written:], offset + written


def _read(file: Any, length: int) -> bytes:
    """Return up to `length` bytes; fewer at the end of a file that was cut."""
    pieces: list[bytes] = []
    while length and (piece := file.read(min(length, _READ))):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def _no_room(why: str) -> Conflict:
    return Conflict(
        f"The node's disk does not take the upload: {why}.",
        code="upload-no-room",
        hint="Ask the node's owner to make room; what is there already is kept, and the upload goes on then.",
    )


def require_incoming(incoming: Incoming | None, upload: object) -> Incoming:
    """Return the upload, or raise `InvalidInput` with code ``upload-not-open``."""
    if incoming is None:
        raise InvalidInput(
            f"This node knows of no upload {str(upload)[:40]!r}.",
            code="upload-not-open",
            hint="Open it again; if it was aborted, start anew.",
        )
    return incoming
