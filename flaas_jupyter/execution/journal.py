"""Files of a node with a line of JSON for each thing that has happened, which only its owner sees."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def append(path: Path, entry: dict[str, Any]) -> None:
    """Write an entry, on a line of its own also where a crash has cut the last one off; raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        cut = False
        if size:
            file.seek(size - 1)
            cut = file.read(1) != b"\n"
        file.write((b"\n" if cut else b"") + json.dumps(entry).encode() + b"\n")


def entries(path: Path, keys: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield the entries that have `keys`, oldest first; a line that a crash has cut off is passed over."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and set(keys) <= set(entry):
            yield entry


def instant(seconds: float) -> str:
    """Return Unix seconds as people read them, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
