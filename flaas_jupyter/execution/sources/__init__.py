"""Where data come from: files, buckets, web servers, data bases, objects of a notebook.

A `Source` streams rows as Arrow batches, whatever the place and the format; `open_source` makes one from an address.
A new kind of place is one module, and one line in `SOURCES`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from ..formats import FORMATS
from .opening import Request, open_source
from .source import ROWS, Source

Opener = Callable[[Request], Source]


def _opener(module: str) -> Callable[[], Opener]:
    def load() -> Opener:
        opener: Opener = import_module(f".{module}", __name__).open_at
        return opener

    return load


SOURCES: dict[str, Callable[[], Opener]] = {
    "": _opener("local"),
    "file": _opener("local"),
    "s3": _opener("s3"),
    "gs": _opener("gs"),
    "az": _opener("az"),
    "abfs": _opener("az"),
    "abfss": _opener("az"),
    "https": _opener("https"),
    "postgresql": _opener("sql"),
    "postgres": _opener("sql"),
    "sqlite": _opener("sql"),
}

__all__ = ["FORMATS", "ROWS", "SOURCES", "Opener", "Request", "Source", "open_source"]
