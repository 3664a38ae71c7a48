"""What has arrived of transfers: ranges that were verified, in memory or in files, for a bounded time.

In a folder a transfer is two files: ``KEY.part``, the bytes, reserved in full when it begins, and ``KEY.have``, number
and BLAKE3 of each range that is there. What is left over of other processes is taken up when the same transfer is
offered again, as far as its bytes are still those that were noted: a crash may have left them torn. It is removed when
it is old.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import re
import struct
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from ..errors import InvalidInput, Unreachable
from ..mapped_files import reserve

log = logging.getLogger(__name__)

KEPT = 600.0
"""Seconds for which ranges are kept since the last one came."""

BUDGET = 8 << 30
"""Bytes of all transfers that are arriving; further ones are refused until older ones are through or given up. One peer
has half of them at most."""

IN_MEMORY = 64 << 20
"""Bytes up to which a transfer is kept in memory where the disk has no room for it."""

PER_PEER = 4
"""Unfinished transfers of one peer; with one more its oldest goes."""

_NOTE = struct.Struct("<I32s")
_ID = re.compile(r"[0-9a-f]{64}")
Bytes = npt.NDArray[np.uint8]


def digest_of(ranges: Iterable[bytes]) -> bytes:
    """Return the digest of the whole: the BLAKE3 of those of its ranges, end to end."""
    return blake3(b"".join(ranges)).digest()


class Arrival:
    """One transfer that is arriving.

    Parameters
    ----------
    payload : ndarray of uint8, shape (size,)
        Where its bytes go; memory or a mapped file.
    digest : bytes
        Of the whole, see `digest_of`.
    range_size : int
        Bytes of a range.
    have : dict of int to bytes
        The ranges that are there already, with their BLAKE3.
    files : tuple of Path
        The bytes and the list of what is there; empty in memory.
    """

    def __init__(
        self, payload: Bytes, digest: bytes, range_size: int, have: dict[int, bytes], files: tuple[Path, ...] = ()
    ) -> None:
        self.size, self.digest, self.touched = payload.size, digest, time.monotonic()
        self._payload, self._range, self._have, self._files = payload, range_size, have, files
        self._count = -(-self.size // range_size)
        self._placed: dict[int, Bytes] = {}
        self._handed_out = False

    @classmethod
    def in_memory(cls, size: int, digest: bytes, range_size: int) -> Arrival:
        """Begin in memory, which is taken as bytes arrive."""
        return cls(np.empty(size, np.uint8), digest, range_size, {})

    @classmethod
    def in_file(cls, part: Path, have: Path, size: int, digest: bytes, range_size: int) -> Arrival:
        """Begin in files, or go on with those of before; `OSError` where the disk has no room for all of it."""
        if not part.is_file() or part.stat().st_size != size:
            have.unlink(missing_ok=True)
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                reserve(descriptor, size)
            except OSError:
                part.unlink()
                raise
            finally:
                os.close(descriptor)
        payload = np.memmap(part, np.uint8, "r+", shape=(size,))
        there: dict[int, bytes] = {}
        if have.is_file():
            raw = have.read_bytes()
            for index, noted in _NOTE.iter_unpack(raw[: len(raw) // _NOTE.size * _NOTE.size]):
                place = payload[index * range_size : (index + 1) * range_size]
                if place.size and blake3(place.data).digest() == noted:
                    there[index] = noted
        else:
            have.touch(mode=0o600)
        return cls(payload, digest, range_size, there, (part, have))

    def missing(self) -> list[int]:
        """Return the indexes of the ranges that are not there, ascending."""
        return [index for index in range(self._count) if index not in self._have]

    def place(self, index: object, size: int) -> Bytes | None:
        """Return where the bytes of a range belong, for who reads them; None if it is there, or on its way already.

        Nobody else can fill it until it is taken or let go (`release`): what was verified is not written to again.
        """
        if type(index) is not int or not 0 <= index < self._count or index in self._have or index in self._placed:
            return None
        place = self._payload[index * self._range : (index + 1) * self._range]
        if place.size != size:
            return None
        self._placed[index] = place
        return place

    def release(self, index: int, place: Bytes) -> None:
        """Let go of a place that was not filled, or was taken."""
        if self._placed.get(index) is place:
            del self._placed[index]

    def take(self, index: object, received: npt.NDArray[np.generic] | None, digest: bytes | None) -> None:
        """Take a range that has this BLAKE3, as was found out when it came.

        Raises
        ------
        InvalidInput
            Code ``bad-frame``: there is no such range, or it has another length.
        Unreachable
            Code ``transfers-full``: the same range is just arriving by another way; it is tried again.
        """
        if type(index) is not int or not 0 <= index < self._count:
            raise InvalidInput(f"The transfer has no range {str(index)[:40]}.", code="bad-frame")
        start = index * self._range
        place = self._payload[start : start + self._range]
        if received is None or digest is None or received.dtype != np.uint8 or received.shape != place.shape:
            raise InvalidInput(f"Range {index} of the transfer has {place.size} bytes.", code="bad-frame")
        self.touched = time.monotonic()
        if index in self._have:
            return  # it was sent twice, before its receipt was known
        if not np.may_share_memory(place, received):
            if index in self._placed:
                raise _full(f"Range {index} of the transfer is arriving already.")
            place[:] = received
        if self._files:
            with self._files[1].open("ab") as file:
                file.write(_NOTE.pack(index, digest))
        self._have[index] = digest
        self._placed.pop(index, None)

    async def whole(self) -> Bytes:
        """Return all bytes, once they are there and are what the sender has hashed.

        Where they were handed out before, to who did not come to an end with them, they are hashed anew.

        Raises
        ------
        InvalidInput
            Code ``transfer-damaged``.
        """
        handed_out, self._handed_out = self._handed_out, True
        there = [self._have.get(index) for index in range(self._count)]
        if handed_out:
            there = await asyncio.to_thread(self._hashed)
        if None in there or digest_of(each for each in there if each is not None) != self.digest:
            raise InvalidInput(
                "What arrived is not what the sender hashed.",
                code="transfer-damaged",
                hint="It is sent again. If it happens again, a disk or memory is at fault, or the sender changes it.",
            )
        return self._payload

    def _hashed(self) -> list[bytes | None]:
        ranges = (self._payload[start : start + self._range] for start in range(0, self.size, self._range))
        return [blake3(part.data).digest() if i in self._have else None for i, part in enumerate(ranges)]

    def remove(self) -> None:
        """Delete its files; bytes that are in use stay until they are not."""
        for path in self._files:
            path.unlink(missing_ok=True)


class Arrivals:
    """All transfers that are arriving at a node.

    Parameters
    ----------
    folder : Path or None
        Where they are kept; None for memory.
    budget : int
        See `BUDGET`.
    """

    def __init__(self, folder: Path | None, budget: int = BUDGET) -> None:
        self._folder, self._budget = folder, budget
        self._arriving: dict[tuple[str, str], Arrival] = {}
        self._opening = asyncio.Lock()
        if folder is not None:
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.forget()

    async def open(self, node_id: str, transfer: str, size: int, digest: bytes, range_size: int) -> Arrival:
        """Return the transfer, with what there is of it. To reserve room on a disk may take a while.

        Raises
        ------
        Unreachable
            Code ``transfers-full``: too many bytes are arriving, of all peers or of this one, or the disk is full; the
            sender tries again after a while.
        """
        async with self._opening:
            self.forget()
            known = self._arriving.get((node_id, transfer))
            if known is not None:
                known.touched = time.monotonic()
                return known
            own = sorted((each.touched, key) for key, each in self._arriving.items() if key[0] == node_id)
            for _, key in own[: max(0, len(own) - PER_PEER + 1)]:
                self.drop(*key)
            held = sum(arrival.size for arrival in self._arriving.values())
            if held + size > self._budget:
                raise _full(f"Transfers of {held} bytes are arriving here; {size} more are too many.")
            held = sum(arrival.size for (sender, _), arrival in self._arriving.items() if sender == node_id)
            if held + size > self._budget // 2:
                raise _full(f"Transfers of {held} bytes of this peer are arriving here; {size} more are too many.")
            begun = await asyncio.to_thread(self._begin, node_id, transfer, size, digest, range_size)
            self._arriving[node_id, transfer] = begun
            return begun

    def get(self, node_id: str, transfer: object) -> Arrival | None:
        """Return a transfer that this peer has offered."""
        return self._arriving.get((node_id, transfer)) if isinstance(transfer, str) else None

    def drop(self, node_id: str, transfer: str) -> None:
        """Forget a transfer: it was delivered, or is of no use."""
        arrival = self._arriving.pop((node_id, transfer), None)
        if arrival is not None:
            arrival.remove()

    def close(self) -> None:
        """Let go of all; files stay."""
        self._arriving.clear()

    def _begin(self, node_id: str, transfer: str, size: int, digest: bytes, range_size: int) -> Arrival:
        if self._folder is not None and _ID.fullmatch(transfer):
            name = f"{hashlib.sha256(node_id.encode()).hexdigest()[:16]}-{transfer}"
            try:
                files = self._folder / f"{name}.part", self._folder / f"{name}.have"
                return Arrival.in_file(*files, size, digest, range_size)
            except OSError as error:
                if size > IN_MEMORY:
                    raise _full(f"There is no room here for {size} bytes: {error.strerror or error}.") from error
                log.warning("a transfer is kept in memory, for it cannot be in %s: %s", self._folder, error)
        return Arrival.in_memory(size, digest, range_size)

    def forget(self) -> None:
        """Drop what nobody has sent anything of for a while, files of former processes included."""
        now = time.monotonic()
        for key in [key for key, arrival in self._arriving.items() if now - arrival.touched > KEPT]:
            self.drop(*key)
        if self._folder is None:
            return
        mine = {path for arrival in self._arriving.values() for path in arrival._files}
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                if path not in mine and path.suffix in (".part", ".have") and time.time() - _written(path) > KEPT:
                    path.unlink(missing_ok=True)


def _full(message: str) -> Unreachable:
    return Unreachable(message, code="transfers-full", hint="It is tried again until there is room.")


def _written(path: Path) -> float:
    try:
        # Writing to a mapped file need not change its time; each range is noted in the list beside it.
        return max(each.stat().st_mtime for each in (path, path.with_suffix(".have")) if each.exists())
    except (OSError, ValueError):
        return time.time()
