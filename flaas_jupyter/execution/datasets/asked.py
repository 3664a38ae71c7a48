"""What a notebook asks of data sets, checked argument by argument before anything is read."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...errors import InvalidInput
from .. import dataset_name
from .schema import DatasetSchema

OPERATIONS = ("train", "analytics", "vertical", "vertical-split", "explore")
"""What a data set may be registered for."""
_SHOWN = 80


def name_of(given: object) -> str:
    """Return the name of a data set; code ``bad-dataset-name`` if it is no text that can be one."""
    if not dataset_name.is_name(given):
        raise _refused(
            "name", given, "a text of letters, digits, '.', '_' and '-', 64 at most", code="bad-dataset-name"
        )
    return str(given)


def column_of(argument: str, given: object) -> str | None:
    """Return the name of a column, where numbers may be names; code ``bad-argument``."""
    if given is None or (isinstance(given, str) and given):
        return given
    number = _whole(given)
    if number is None:
        raise _refused(argument, given, "the name of a column")
    return str(number)


def columns_of(given: object) -> list[str] | None:
    """Return names of columns: one, or several; code ``bad-argument``."""
    if given is None:
        return None
    if isinstance(given, str) or _whole(given) is not None:
        return [str(given)]
    if not isinstance(given, Iterable) or isinstance(given, bytes | Mapping):
        raise _refused("columns", given, "a list of names of columns")
    names = [column_of("columns", name) for name in given]
    if not names or None in names:
        raise _refused("columns", given, "a list of names of columns, one at least; None means all of them")
    return [name for name in names if name is not None]


def texts_of(argument: str, given: object, known: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return texts: a single one is taken as one; code ``bad-argument``, also for what is not among `known`."""
    entries = (given,) if isinstance(given, str) else given
    allowed = f"a list of texts{', of ' + ', '.join(map(repr, known)) if known else ''}"
    if not isinstance(entries, Iterable) or isinstance(entries, bytes | Mapping):
        raise _refused(argument, given, allowed)
    found = tuple(entries)
    for entry in found:
        if not isinstance(entry, str) or not entry.strip() or (known and entry not in known):
            raise _refused(argument, entry, allowed)
    return tuple(dict.fromkeys(found))


def text_of(argument: str, given: object, what: str) -> str | None:
    """Return a text or None; code ``bad-argument``."""
    if given is None or (isinstance(given, str) and given.strip()):
        return given
    raise _refused(argument, given, what)


def flag_of(argument: str, given: object) -> bool:
    """Return a truth value; code ``bad-argument``."""
    if str(given) not in ("True", "False") or isinstance(given, str):
        raise _refused(argument, given, "True or False")
    return bool(given)


def classes_of(given: object) -> int | None:
    """Return a number of classes, at least two; code ``bad-classes``."""
    if given is None:
        return None
    number = _whole(given)
    if number is None or number < 2:
        raise _refused("classes", given, "a whole number, 2 or more", code="bad-classes")
    return number


def rows_of(given: object) -> int | None:
    """Return how many rows are wanted, None for all; code ``bad-argument``."""
    if given is None:
        return None
    number = _whole(given)
    if number is None or number < 0:
        raise _refused("rows", given, "a whole number, 0 or more, or None for all")
    return number


def schema_of(given: object) -> DatasetSchema | None:
    """Return what is declared of columns; code ``bad-schema``."""
    if given is None or isinstance(given, DatasetSchema):
        return given
    if isinstance(given, Mapping):
        return DatasetSchema.from_dict(given)
    if isinstance(given, list | tuple):
        return DatasetSchema.from_list(given)
    if isinstance(given, str | os.PathLike) and str(given).strip() and "\0" not in str(given):
        return DatasetSchema.load(Path(given))
    raise _refused("schema", given, "a DatasetSchema, a mapping, or the path of a TOML file", code="bad-schema")


def place_of(given: object) -> str | Path | None:
    """Return where data are; None if it is an object that holds them; code ``bad-source``.

    The URLs of SQLAlchemy are written out, so that one with a password is refused as every address with one is.
    """
    if callable(getattr(given, "render_as_string", None)):
        given = given.render_as_string(hide_password=False)  # type: ignore[attr-defined]
    if isinstance(given, bytes):
        raise _refused("source", "bytes", "a text", code="bad-source")
    if isinstance(given, str):
        if not given.strip():
            raise _refused("source", given, "a path ('.' is this folder), a URL, or an object with rows", "bad-source")
        return given
    return Path(given) if isinstance(given, os.PathLike) else None


def _whole(given: Any) -> int | None:
    """Return a whole number of Python or NumPy, None if it is something else."""
    try:
        return None if isinstance(given, bool) or type(given).__name__ == "bool_" else operator.index(given)
    except TypeError:
        return None


def _refused(argument: str, given: object, allowed: str, code: str = "bad-argument") -> InvalidInput:
    plain = given is None or isinstance(given, str | int | float)
    shown = repr(given)[:_SHOWN] if plain else f"of type {type(given).__name__}"  # what has rows is not shown
    return InvalidInput(f"{argument} is {shown}; allowed is {allowed}.", code=code)
