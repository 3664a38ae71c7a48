"""Which format a source's files are of, and what a request may ask of files at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...errors import InvalidInput
from ..formats import IMAGES, Reader, format_of, reader_of, suffixes
from ..formats.refusals import unknown_format
from .opening import Request


def chosen_reader(request: Request, shown: str, list_names: Callable[[], Sequence[str]], *, folder: bool) -> Reader:
    """Return what reads the format that is named, else the one that all files are of by their names.

    Raises
    ------
    InvalidInput
        Code ``unknown-data-format``.
    """
    if request.format is not None:
        return reader_of(request.format, request.texts)
    names = list_names()
    found = {format_of(name) for name in names}
    if len(found) > 1:  # what is written beside data about them is no data
        found = {format_of(name) for name in names if not name.lower().endswith(".json")}
    if len(found) > 1:
        raise InvalidInput(
            f"{shown} holds files of several formats.",
            code="unknown-data-format",
            hint="Say which to read with --format, or take a pattern: folder/*.parquet.",
        )
    only = found.pop()
    if only is None:
        raise unknown_format(shown, suffixes())
    if only == IMAGES and not folder:
        raise InvalidInput(
            f"{shown} is an image; images are registered as a folder, with a folder for each class in it.",
            code="unknown-data-format",
        )
    return reader_of(only, request.texts)


def refuse_query(request: Request) -> None:
    """Refuse a query where there is no data base, code ``bad-source``."""
    if request.query is not None:
        raise InvalidInput(
            "A query is for data bases; files are read whole.",
            code="bad-source",
            hint="Leave the query out, or name a data base: postgresql://host/name.",
        )
