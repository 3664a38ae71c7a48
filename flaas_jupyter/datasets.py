"""Data sets from a notebook on the node: ``flaas.datasets.register(…)``, ``flaas.datasets.open(…)``.

Rows are for the node's owner, which is whoever can read the node's `FLAAS_HOME` on the node's own machine. Everybody
else works with them through the federation: statistics (``federation.analytics``), views (``federation.explore()``),
training.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .errors import InvalidInput, NotAllowed, NotFound
from .home import Home

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

    from .execution.datasets import Dataset, DatasetRegistry
    from .execution.datasets.schema import DatasetSchema

    Rows: TypeAlias = pd.DataFrame | Mapping[str, NDArray[Any]] | tuple[NDArray[Any], NDArray[Any]] | pa.Table

__all__ = ["DatasetSchema", "describe", "list", "open", "register", "remove"]

_SUMMARY = ("name", "rows", "target", "path", "version", "projects", "operations", "raw")


def register(
    name: str,
    source: str | Path | Rows,
    *,
    target: str | None = None,
    id_column: str | None = None,
    schema: DatasetSchema | Mapping[str, Any] | Path | str | None = None,
    projects: Sequence[str] | str = (),
    operations: Sequence[str] | str = ("train",),
    classes: int | None = None,
    raw: bool = False,
    query: str | None = None,
    secret: str | None = None,
    format: str | None = None,
) -> dict[str, Any]:
    """Register data at the node on this machine, after reading and checking all of them; a running node offers them.

    Parameters
    ----------
    name : str
        What it is offered as: the same at all nodes that train on it together.
    source : str, Path, DataFrame, dict of arrays, structured array, (x, y) or Arrow table
        Path of a file or folder, or a URL (``s3://``, ``gs://``, ``az://``, ``https://``, a data base's), without
        credentials. Objects are written to ``FLAAS_HOME/data`` first.
    target : str, optional
        The column to predict.
    id_column : str, optional
        The column that names whom a row is about.
    schema : DatasetSchema, mapping, or path of a TOML file, optional
        What the columns mean: types, roles, units, ranges, categories.
    projects : str or sequence of str
        Projects it is offered to; without any, all that the node's policy lets in.
    operations : str or sequence of str
        What it is for: ``"train"``, ``"analytics"``, ``"vertical"`` ….
    classes : int, optional
        Number of classes of the target, where this node may not have rows of each.
    raw : bool
        Keep texts and missing values: for statistics, and for runs with preprocessing only.
    query : str, optional
        The SELECT, for data bases.
    secret : str, optional
        Name of the credentials in the node's store (``flaas secret set NAME``).
    format : str, optional
        Where the name of a file does not tell.

    Returns
    -------
    dict
        What others are told, by the node's policy: names, types, counts.

    Raises
    ------
    FlaasError
        As `flaas dataset add` tells: ``dataset-exists``, ``non-numeric``, ``missing-values`` …; ``bad-argument``.

    Examples
    --------
    >>> flaas.datasets.register("loans", frame, target="default")  # doctest: +SKIP
    >>> flaas.datasets.register("claims", "s3://bucket/claims/*.parquet", target="fraud", raw=True)  # doctest: +SKIP
    """
    from .execution.datasets import asked

    home = Home.default()
    _require_owner(home, asked.name_of(name), new=True)
    registry = _registry(home)
    options: dict[str, Any] = {
        "target": asked.column_of("target", target),
        "id_column": asked.column_of("id_column", id_column),
        "schema": asked.schema_of(schema),
        "projects": asked.texts_of("projects", projects),
        "operations": asked.texts_of("operations", operations, asked.OPERATIONS),
        "classes": asked.classes_of(classes),
        "raw": asked.flag_of("raw", raw),
        "query": asked.text_of("query", query, "a SELECT"),
        "secret": asked.text_of("secret", secret, "the name of a secret"),
        "format": asked.text_of("format", format, "the name of a format"),
    }
    place = asked.place_of(source)
    if place is not None:
        return _told(home, registry.add(name, place, **options))
    for argument in ("query", "secret", "format"):
        if options[argument] is not None:
            raise InvalidInput(
                f"{argument} is given for an object that holds its rows; it goes with a path or URL alone.",
                code="bad-argument",
                hint=f"Leave {argument} out.",
            )
    return _told(home, registry.add_rows(name, source, **options))


def open(name: str, *, columns: Sequence[str] | str | None = None, rows: int | None = None) -> pd.DataFrame:
    """Return the rows of a data set of the node on this machine, to its owner.

    Parameters
    ----------
    name : str
    columns : str or sequence of str, optional
        Some of its columns, in this order; all by default, ids and sensitive ones included.
    rows : int, optional
        The first so many rows.

    Returns
    -------
    DataFrame
        A copy. Arrays with more axes have numbered columns: ``x[0]``, ``x[1]`` ….

    Raises
    ------
    NotAllowed
        Code ``not-the-owner``: it is not at a node of this machine whose `FLAAS_HOME` you may read.
    NotFound
        Code ``unknown-dataset``: this machine's node has no such data set.
    InvalidInput
        ``bad-argument``; ``unknown-column``.
    """
    from .execution.datasets import asked
    from .execution.datasets.frames import frame_of

    home = Home.default()
    _require_owner(home, asked.name_of(name))
    wanted, most = asked.columns_of(columns), asked.rows_of(rows)
    try:
        dataset = _registry(home).get(name)
    except NotFound as error:
        raise NotFound(
            error.message, code=error.code, hint=f"Rows of other nodes are not opened. {_INSTEAD}"
        ) from error
    return frame_of(dataset.batches(wanted), most)


def list() -> pd.DataFrame:
    """Return the data sets of the node on this machine: names, rows, where they come from, versions.

    Raises
    ------
    NotAllowed
        Code ``not-the-owner``.
    """
    import pandas as pd

    home = Home.default()
    _require_owner(home, None)
    entries = [entry.to_dict() | {"target": entry.target_names} for entry in _registry(home).list()]
    return pd.DataFrame([{key: entry[key] for key in _SUMMARY} for entry in entries], columns=builtins.list(_SUMMARY))


def remove(name: str) -> None:
    """Offer a data set no more, and remove what was derived from it; the file it came from is not touched.

    The copy that `register` wrote of an object is removed.

    Raises
    ------
    NotAllowed
        Code ``not-the-owner``.
    NotFound
        Code ``unknown-dataset``.
    """
    from .execution.datasets import asked

    home = Home.default()
    _require_owner(home, asked.name_of(name))
    _registry(home).remove(name)


def describe(name: str) -> dict[str, Any]:
    """Return what others are told of a data set, with its version and where it comes from, to its owner.

    Raises
    ------
    NotAllowed
        Code ``not-the-owner``.
    NotFound
        Code ``unknown-dataset``.
    """
    from .execution.datasets import asked

    home = Home.default()
    _require_owner(home, asked.name_of(name))
    dataset = _registry(home).get(name)
    told = _told(home, dataset)
    entry = dataset.to_dict()
    return {**told, **{key: entry[key] for key in ("path", "version", "operations", "raw", "query")}}


_INSTEAD = (
    "What you may do with the data sets of a project: statistics with federation.analytics, views with "
    "federation.explore(), training with model.fit(federation)."
)


def _require_owner(home: Home, name: str | None, *, new: bool = False) -> None:
    """Refuse whoever is not at the node's own machine, or may not read its folder."""
    file = home.path / "datasets.json"
    try:
        there = home.path.exists()
        mine = not there or os.access(home.path, os.R_OK | os.W_OK | os.X_OK)
        here = there and (not mine or file.exists() or home.enrolment.exists())
        mine = mine and (not file.exists() or os.access(file, os.R_OK | os.W_OK))
    except PermissionError:
        here, mine = True, False
    if mine and (here or new):
        return
    what = "Data sets are listed" if name is None else f"The rows of {name[:80]!r} are opened"
    why = f"{home.path} is not yours to read" if here else f"there is no node with data sets in {home.path}"
    raise NotAllowed(
        f"{what} to the owner of their node only, on the node's own machine; {why}.",
        code="not-the-owner",
        hint=f"{_INSTEAD} If this is your node, set FLAAS_HOME to its folder.",
    )


def _registry(home: Home) -> DatasetRegistry:
    from .execution.datasets import DatasetRegistry

    return DatasetRegistry(home.path)


def _told(home: Home, dataset: Dataset) -> dict[str, Any]:
    from .execution.exploring import told_of

    return told_of(dataset, home.path)


def __getattr__(name: str) -> Any:
    if name == "DatasetSchema":  # what it needs takes a while to import
        from .execution.datasets.schema import DatasetSchema

        return DatasetSchema
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
