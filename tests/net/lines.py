"""What the processes in namespaces speak: a JSON line in, a JSON line out."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any


def say(event: str, **what: Any) -> None:
    """Write one line."""
    print(json.dumps({"event": event, **what}), file=sys.__stdout__, flush=True)


class Lines:
    """The lines that come in."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    @classmethod
    async def open(cls) -> Lines:
        """Read standard input."""
        reader = asyncio.StreamReader(limit=1 << 24)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        return cls(reader)

    async def next(self) -> dict[str, Any] | None:
        """Return the next order; None at the end."""
        line = await self._reader.readline()
        return json.loads(line) if line else None
