"""What the registry keeps of one data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Registration:
    """One data set: where it is, what it is for, and what was found when its rows were last looked at.

    Parameters
    ----------
    name : str
        What it is offered as.
    path : str
        Path or URL, without credentials.
    target : str or None
        The column to predict.
    projects, operations : tuple of str
        What it is offered to and for.
    classes : int or None
        As the operator told.
    rows : int
    features, targets : list of dict
        As descriptions have them.
    size, modified_ns : int
        Of a file: bytes and time of change; 0 for other sources.
    id_column : str or None
        The column that names whom a row is about.
    query, format, secret : str or None
        As `sources.open_source` takes them; the name of a secret, not the secret.
    raw : bool
        Whether texts and missing values stay in it.
    schema : list of dict
        What its owner has declared of columns; see `schema.DatasetSchema`.
    mapping : dict
        Common column to where it comes from, if the owner has adopted a mapping (`mapped`); `target`, `id_column` and
        `schema` are of the common columns.
    own_schema : list of dict
        What was declared of the columns as they are in the source, while there is a mapping.
    arrays : bool
        Whether columns are arrays by name rather than those of a table.
    version : str
        Content hash (`contents`); empty in registries of older versions until the rows are looked at again.
    stamp : str
        Of the source when the rows were looked at.
    volume : int
        Bytes of all columns as NumPy arrays.
    columns : list of str
        What the features, and after them the targets, are called in the source: ``x_image`` is told as ``image``.
    copied : bool
        Whether the file is a copy that the registry has made of a notebook's object, and removes with the data set.
    """

    name: str
    path: str
    target: str | None
    projects: tuple[str, ...]
    operations: tuple[str, ...]
    classes: int | None
    rows: int
    features: list[dict[str, Any]]
    targets: list[dict[str, Any]]
    size: int
    modified_ns: int
    id_column: str | None = None
    query: str | None = None
    format: str | None = None
    secret: str | None = None
    raw: bool = False
    schema: list[dict[str, Any]] = field(default_factory=list)
    arrays: bool = False
    version: str = ""
    stamp: str = ""
    volume: int = 0
    mapping: dict[str, Any] = field(default_factory=dict)
    own_schema: list[dict[str, Any]] = field(default_factory=list)
    copied: bool = False
    columns: list[str] = field(default_factory=list)

    @property
    def asked(self) -> tuple[Any, ...]:
        """What the operator has said, as opposed to what was found."""
        return (
            self.path, self.target, self.projects, self.operations, self.classes, self.id_column, self.query,
            self.format, self.secret, self.raw, self.schema, self.mapping,
        )  # fmt: skip

    @property
    def offered(self) -> tuple[Any, ...]:
        """What a run or query was agreed to with: what was asked, and the columns that it was told of."""
        return *self.asked, self.features, self.targets

    @property
    def feature_columns(self) -> list[str]:
        """Names of the columns of the source that are features, in order."""
        return self.columns[: len(self.features)]

    @property
    def target_columns(self) -> list[str]:
        """Names of the columns of the source that are targets, in order."""
        return self.columns[len(self.features) :]
