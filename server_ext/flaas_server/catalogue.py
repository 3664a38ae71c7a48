"""The catalogue of aggregation rules and attacks, asked of the kernel's package once, in a process of its own.

The server half does not import the other; it asks ``flaas protocols --json``. Rules that a kernel registers for itself
are known there only.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from typing import Any

from .problems import Problem
from .rounds import load_object

# -P: a folder of notebooks is no place to import from.
COMMAND = (sys.executable, "-P", "-m", "flaas_jupyter.cli", "protocols", "--json")


class Catalogue:
    """What there is to choose from.

    Parameters
    ----------
    command : sequence of str
        Prints the catalogue as one JSON object.
    timeout : float
        Seconds that it may take.
    """

    def __init__(self, command: Sequence[str] = COMMAND, timeout: float = 60.0) -> None:
        self._command = tuple(command)
        self._timeout = timeout
        self._asked: asyncio.Task[dict[str, Any]] | None = None

    async def get(self) -> dict[str, Any]:
        """Return ``{"aggregation": [...], "attacks": [...]}``; who asks meanwhile waits for the same answer.

        Raises
        ------
        Problem
            500 ``no-catalogue``; the next call asks again.
        """
        if self._asked is None or (self._asked.done() and (self._asked.cancelled() or self._asked.exception())):
            self._asked = asyncio.create_task(self._ask())
        return await asyncio.shield(self._asked)

    async def close(self) -> None:
        """Stop asking."""
        if self._asked is not None:
            self._asked.cancel()
            with contextlib.suppress(asyncio.CancelledError, Problem):
                await self._asked

    async def _ask(self) -> dict[str, Any]:
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        try:
            process = await asyncio.create_subprocess_exec(*self._command, stdin=nothing, stdout=pipe, stderr=pipe)
        except OSError as error:
            raise _no_catalogue(str(error)) from error
        try:
            output, errors = await asyncio.wait_for(process.communicate(), self._timeout)
        except TimeoutError as error:
            raise _no_catalogue(f"it took longer than {self._timeout:g} s") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        catalogue = load_object(output)
        listed = all(isinstance(catalogue.get(kind), list) for kind in ("aggregation", "attacks"))
        if process.returncode != 0 or not listed:
            lines = errors.decode(errors="replace").strip().splitlines()
            raise _no_catalogue(lines[-1] if lines else f"exit code {process.returncode}")
        return catalogue


def _no_catalogue(why: str) -> Problem:
    return Problem(
        500,
        "no-catalogue",
        "Aggregation rules and attacks cannot be listed",
        f"`flaas protocols --json` failed where Jupyter Server runs: {why[:500]}.",
        hint="Try `flaas protocols` in a terminal of Jupyter Server's own environment; flaas_jupyter has to be there.",
    )
