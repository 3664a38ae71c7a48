"""What a node's owner is shown of uploads: who has sent what, and what became of it, oldest first."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..home import Home
from .upload_request import UploadRequest

FOLDER = "uploads"
"""Where uploads are kept, in `FLAAS_HOME`."""
_FILE = "log.jsonl"


def append(folder: Path, request: UploadRequest, outcome: str, reason: str | None) -> None:
    """Write down what has become of an upload, nothing of the file itself; raises `OSError`."""
    entry = {
        "time": int(time.time()),
        "upload": request.upload,
        "sender": request.sender,
        "project": request.project,
        "dataset": request.dataset,
        "size": request.header.size,
        "outcome": outcome,
        "reason": reason,
    }
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(folder / _FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "ab") as file:
        file.write(json.dumps(entry).encode() + b"\n")


def uploads_of(home: Home) -> list[dict[str, Any]]:
    """Return the entries; a last line that a crash has cut off is left out."""
    try:
        lines = (home.path / FOLDER / _FILE).read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    entries: list[dict[str, Any]] = [json.loads(line) for line in lines]
    for entry in entries:
        entry["time"] = datetime.fromtimestamp(entry["time"], UTC).isoformat(timespec="seconds")
    return entries
