"""Whether a process that wrote down its number is still the one that has the number."""

from __future__ import annotations

import os
from pathlib import Path

_CLOCK_SLACK = 5.0  # seconds; the kernel tells the time of boot in whole seconds only


def is_alive(pid: int, *, seen: float | None = None, proc: Path = Path("/proc")) -> bool:
    """Return whether process `pid` runs.

    Parameters
    ----------
    pid : int
        Its number.
    seen : float, optional
        When it was certainly there, in seconds since the epoch: a process that started later has the number by
        chance. Only where there is a ``/proc``.
    proc : Path
        The process file system.
    """
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # somebody else's, but there
    try:
        # The name of the program, in parentheses, may hold anything; what follows it is numbers.
        fields = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        boot = next(line for line in (proc / "stat").read_text().splitlines() if line.startswith("btime "))
    except (OSError, StopIteration):
        return True
    if fields[0] in {"Z", "X"}:  # it has ended; its parent has not looked yet
        return False
    started = int(boot.split()[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return seen is None or started <= seen + _CLOCK_SLACK
