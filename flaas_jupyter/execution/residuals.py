"""What error feedback has left at a node, by run: in a file, so that a restart loses nothing of it.

One file per run, ``RUN.npz`` (no pickle), and those of the newest runs are kept. It holds a part of this node's own
updates: it never leaves the node, and goes once the node has no open part in the run.
"""

from __future__ import annotations

import io
import logging
import re
import threading
import zipfile
from collections.abc import Collection
from pathlib import Path

import numpy as np

from ..home import write_private
from ..protocols.compression import ErrorFeedback

log = logging.getLogger(__name__)

_RUN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEPT = 20


class Residuals:
    """Error feedback of the runs at one node; for several threads.

    Parameters
    ----------
    folder : Path or None
        Where it is kept; None keeps it in memory only.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._held: dict[str, ErrorFeedback] = {}
        self._open: frozenset[str] | None = None
        self._lock = threading.Lock()

    def of(self, run: str, shape: tuple[int, ...]) -> ErrorFeedback:
        """Return what is left of `run`, whose weights have this shape; nothing, where nothing fits."""
        with self._lock:
            held = self._held.get(run) or self._load(run, shape) or ErrorFeedback()
            if self._is_open(run):
                self._held[run] = held
            return held

    def save(self, run: str, feedback: ErrorFeedback) -> None:
        """Write it down, unless the run is over; a full disk costs the memory after a restart, not the round."""
        with self._lock:
            if not self._is_open(run):
                return  # a training that was under way when the run ended
            self._held[run] = feedback
            if self._folder is None or not _RUN.fullmatch(run):
                return
            buffer = io.BytesIO()
            np.savez(buffer, **feedback.to_arrays())  # type: ignore[arg-type]
            try:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                write_private(self._folder / f"{run}.npz", buffer.getvalue())
                self._prune()
            except OSError as error:
                log.warning("what run %s has left to send cannot be written: %s", run, error)

    def keep_only(self, runs: Collection[str]) -> None:
        """Drop what is left of other runs than these, and take nothing of them until they are open again."""
        with self._lock:
            self._open = frozenset(runs)
            self._held = {run: held for run, held in self._held.items() if run in self._open}
            for file in self._folder.glob("*") if self._folder is not None else ():
                if file.stem not in self._open:  # also what a crash has left half written
                    try:
                        file.unlink(missing_ok=True)
                    except OSError as error:
                        log.warning("what is left of a run that is over cannot be removed: %s", error)

    def _is_open(self, run: str) -> bool:
        return self._open is None or run in self._open

    def _load(self, run: str, shape: tuple[int, ...]) -> ErrorFeedback | None:
        if self._folder is None or not _RUN.fullmatch(run):
            return None
        try:
            with (self._folder / f"{run}.npz").open("rb") as file, np.load(file, allow_pickle=False) as saved:
                arrays = {name: saved[name] for name in saved.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None
        fits = all(arrays[name].shape == shape for name in ("residual", "pending") if name in arrays)
        return ErrorFeedback.from_arrays(arrays) if fits else None

    def _prune(self) -> None:
        assert self._folder is not None  # its caller has written there
        files = sorted(self._folder.glob("*.npz"), key=lambda path: path.stat().st_mtime, reverse=True)
        for old in files[_KEPT:]:
            old.unlink(missing_ok=True)
