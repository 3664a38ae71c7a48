"""Walks over the columns of an (n, p) array in blocks that fit a core's cache, on several cores.

NumPy lets go of the interpreter's lock inside its loops, so that threads share the work. Each block is worked on by
itself and the results come back in the blocks' order: they do not depend on how many threads there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")

BLOCK_COLUMNS = 1 << 16
"""No block is wider than this."""
BLOCK_VALUES = 1 << 18
"""About as many numbers as a block has: 2 MiB in float64, which a core's cache holds."""

THREADS = min(4, os.cpu_count() or 1)
"""More of them would wait for memory."""
_WORTH_THREADS = 1_000_000
"""Below so many values starting threads costs more than they save."""


def blocks(rows: int, columns: int) -> Iterator[slice]:
    """Yield the slices that cut the columns of a (rows, columns) array into blocks."""
    width = min(BLOCK_COLUMNS, max(1024, BLOCK_VALUES // rows))
    return (slice(start, min(start + width, columns)) for start in range(0, columns, width))


def each_block(shape: tuple[int, ...], work: Callable[[slice], Result]) -> Iterator[Result]:
    """Yield what `work` returns for each block, in their order; it may be called by several threads at once."""
    rows, columns = shape
    if THREADS == 1 or rows * columns < _WORTH_THREADS:
        yield from map(work, blocks(rows, columns))
        return
    with ThreadPoolExecutor(THREADS) as threads:
        yield from threads.map(work, blocks(rows, columns))
