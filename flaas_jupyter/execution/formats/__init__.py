"""Formats of files: each is one module, and one line here."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import InvalidInput
from .arrow_ipc import FORMAT as _arrow
from .comma_separated import FORMAT as _csv
from .comma_separated import TABS as _tsv
from .format import Format, Reader
from .images import SUFFIXES as _IMAGES
from .images import Images
from .json_lines import FORMAT as _jsonl
from .npz import FORMAT as _npz
from .parquet import FORMAT as _parquet
from .parts import Parts

IMAGES = "images"
_TABLES: tuple[Format, ...] = (_csv, _tsv, _parquet, _arrow, _jsonl, _npz)
FORMATS: dict[str, tuple[str, ...]] = {format.name: format.suffixes for format in _TABLES} | {IMAGES: _IMAGES}

__all__ = ["FORMATS", "IMAGES", "Format", "Reader", "format_of", "reader_of", "suffixes"]


def format_of(name: str) -> str | None:
    """Return the name of the format that a file's name stands for; None if it is of no known kind."""
    lower = name.lower()
    return next((format for format, ends in FORMATS.items() if lower.endswith(ends)), None)


def reader_of(format: str, texts: Sequence[str] = ()) -> Reader:
    """Return what reads the files of a format, named as in `FORMATS` or by an end of names, in upper or lower case.

    ``images:32x32`` has a size.

    Raises
    ------
    InvalidInput
        Code ``unknown-data-format``.
    """
    lower = format.strip().lower()
    name, _, option = lower.partition(":")
    if name == IMAGES:
        return Images.of(option)
    end = "." + lower.removeprefix(".")
    for known in _TABLES:
        if known.name == lower.removeprefix(".") or end in known.suffixes:
            return Parts(known, tuple(texts))
    raise InvalidInput(f"{format[:40]!r} is no format; there are {', '.join(FORMATS)}.", code="unknown-data-format")


def suffixes() -> tuple[str, ...]:
    """Return the ends of names of all formats."""
    return tuple(suffix for ends in FORMATS.values() for suffix in ends)
