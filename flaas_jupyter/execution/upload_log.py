"""What a node's owner is shown of uploads: who has sent what, and what became of it, oldest first."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ..home import Home
from . import journal
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
    journal.append(folder / _FILE, entry)


def uploads_of(home: Home) -> list[dict[str, Any]]:
    """Return the entries; a line that a crash has cut off is left out."""
    return [
        entry | {"time": journal.instant(entry["time"])}
        for entry in journal.entries(home.path / FOLDER / _FILE, ("time", "upload"))
    ]
