"""Run Python in a process that may not have more memory than so much: by a control group, or a limit of its own."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

VERSION_1, VERSION_2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")


def run_limited(code: str, *arguments: str, limit: int, timeout: float) -> tuple[str, str]:
    """Run `code` with `arguments`; return what it printed and how it was limited.

    Parameters
    ----------
    code : str
        A program.
    *arguments : str
        Its arguments.
    limit : int
        Bytes: of all memory of the process, cache of files included, where control groups may be made here; else of
        its data (``RLIMIT_DATA``: what it allocates, without files that are mapped).
    timeout : float
        Seconds.
    """
    with _group(limit) as group:

        def enter() -> None:
            if group is None:
                resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
            else:
                (group / "cgroup.procs").write_text(str(os.getpid()))

        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            preexec_fn=enter,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"},
        )
        assert done.returncode == 0, f"{done.returncode}: {done.stderr[-3000:]}"
        return done.stdout, "data" if group is None else "all"


@contextlib.contextmanager
def _group(limit: int) -> Iterator[Path | None]:
    name = f"flaas-test-{os.getpid()}"
    for root, setting in ((VERSION_1, "memory.limit_in_bytes"), (VERSION_2, "memory.max")):
        group = root / name
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            try:
                (group / setting).write_text(str(limit))
            except OSError:  # memory is not handed on to groups here
                continue
            yield group
            return
        finally:
            with contextlib.suppress(OSError):
                group.rmdir()
    yield None
