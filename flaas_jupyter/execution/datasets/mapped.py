"""A data set under common names: its owner has adopted a mapping, and whoever reads it reads mapped columns.

The mapping stands between the source and everything else, so that descriptions, statistics, training and versions are
those of the mapped columns. Its owner decides: a mapping that a developer suggests changes nothing until it is adopted
here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...errors import InvalidInput
from ...training.preprocessing.mapping import ColumnMap, digest_of
from ..sources import Source
from .kinds import values_of
from .registration import Registration

if TYPE_CHECKING:
    import pyarrow

Part = Mapping[str, ColumnMap]
"""A node's part of a mapping: common column to where it comes from."""


class MappedSource:
    """A source whose columns have their common names, units and codes.

    Parameters
    ----------
    source : Source
    part : mapping of str to ColumnMap
    """

    def __init__(self, source: Source, part: Part) -> None:
        self._source, self._part = source, part
        self._of_source = {column.source: (name, column) for name, column in part.items()}

    @property
    def kind(self) -> str:
        """The source's."""
        return self._source.kind

    @property
    def url(self) -> str:
        """The source's."""
        return self._source.url

    def stamp(self) -> str:
        """Return a text that changes when rows or mapping do."""
        return f"{self._source.stamp()}|{digest_of(written(self._part))}"

    def schema(self) -> pyarrow.Schema:
        """Return the columns under their common names.

        Raises
        ------
        InvalidInput
            ``recipe-does-not-fit``: a column that is mapped is not there; ``duplicate-columns``; and as of the source.
        """
        import pyarrow as pa

        found = self._source.schema()
        absent = sorted(set(self._of_source) - set(found.names))
        if absent:
            raise InvalidInput(
                f"The mapping takes {', '.join(map(repr, absent[:5]))}, which {self.url} does not have.",
                code="recipe-does-not-fit",
                hint="The columns have changed since it was adopted: adopt a newer version, or none.",
                columns=absent[:50],
            )
        fields = [self._field(field) for field in found]
        names = [field.name for field in fields]
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) != len(names) else []
        if twice:
            raise InvalidInput(
                f"The mapping gives two columns of {self.url} the name {twice[0]!r}.", code="duplicate-columns"
            )
        return pa.schema(fields)

    def _field(self, field: pyarrow.Field) -> pyarrow.Field:
        import pyarrow as pa

        if field.name not in self._of_source:
            return field
        name, column = self._of_source[field.name]
        types = {None: field.type, "text": pa.string(), "whole": pa.int64(), "number": pa.float64()}
        return pa.field(name, types[column.gives])

    def batches(self, columns: Sequence[str] | None = None, rows: int = 65_536) -> Iterator[pyarrow.RecordBatch]:
        """Yield all rows in order, mapped.

        Raises
        ------
        InvalidInput
            As of the source; ``recipe-does-not-fit``: a column that is multiplied is text.
        """
        import pyarrow as pa

        schema = self.schema()
        wanted = schema.names if columns is None else list(columns)
        unknown = [name for name in wanted if name not in schema.names]
        if unknown:
            raise InvalidInput(f"{self.url} has no column {unknown[0]!r}.", code="unknown-column", column=unknown[0])
        own = [self._part[name].source if name in self._part else name for name in wanted]
        fields = [schema.field(name) for name in wanted]
        for batch in self._source.batches(own, rows):
            made = [
                self._values(batch.column(place), name, field.type)
                for place, (name, field) in enumerate(zip(wanted, fields, strict=True))
            ]
            yield pa.record_batch(made, schema=pa.schema(fields))

    def _values(self, values: Any, name: str, kind: Any) -> Any:
        import pyarrow as pa

        column = self._part.get(name)
        if column is None or column.as_it_is:
            return values
        made = column.values(values_of(values))
        if pa.types.is_int64(kind) and made.dtype.kind == "f":
            # What is not listed may have fractions, which a whole code has not: they are missing.
            return pa.array([int(v) if v == v and float(v).is_integer() else None for v in made.tolist()], kind)
        return pa.array(made, kind, from_pandas=True)


def written(part: Part) -> dict[str, Any]:
    """Return a node's part of a mapping as JSON values."""
    return {name: column.to_dict() for name, column in part.items()}


def read(data: Mapping[str, Any]) -> dict[str, ColumnMap]:
    """Read what `written` has written; `InvalidInput` (code ``bad-recipe``) if it is something else."""
    return {str(name): ColumnMap.from_dict(entry) for name, entry in data.items()}


def under_common_names(registration: Registration, part: Part) -> Registration:
    """Return a registration as it is with a mapping: what names columns names them as they are called in common.

    Parameters
    ----------
    registration : Registration
        Without a mapping.
    part : mapping of str to ColumnMap

    Raises
    ------
    InvalidInput
        Code ``bad-mapping``: it changes ids.
    """
    common = {column.source: name for name, column in part.items()}
    ids = registration.id_column
    if ids is not None and ids in common and not part[common[ids]].as_it_is:
        raise InvalidInput(
            f"The mapping changes the ids in column {ids!r}.",
            code="bad-mapping",
            hint="Ids may be called otherwise, but must stay what they are.",
        )
    return replace(
        registration,
        target=None if registration.target is None else common.get(registration.target, registration.target),
        id_column=None if ids is None else common.get(ids, ids),
        schema=[_declared(entry, part, common) for entry in registration.schema],
        own_schema=registration.schema,
        mapping=written(part),
    )


def under_own_names(registration: Registration) -> Registration:
    """Return a registration as it was before its owner adopted the mapping."""
    own = {name: column.source for name, column in read(registration.mapping).items()}
    target, ids = registration.target, registration.id_column
    return replace(
        registration,
        target=None if target is None else own.get(target, target),
        id_column=None if ids is None else own.get(ids, ids),
        schema=registration.own_schema,
        own_schema=[],
        mapping={},
    )


def _declared(entry: Mapping[str, Any], part: Part, common: Mapping[str, str]) -> dict[str, Any]:
    """Return what is declared of a column as it is of the common one; its role stays what it is."""
    name = common.get(str(entry["name"]))
    if name is None:
        return dict(entry)
    column = part[name]
    made = {**entry, "name": name}
    if column.as_it_is:
        return made
    made |= {"dtype": None, "unit": column.unit or entry.get("unit")}
    if column.recode:
        codes = dict(column.recode)
        listed = [codes.get(code, code) for code in entry.get("categories") or ()]
        same = len({isinstance(code, str) for code in listed}) <= 1
        return made | {"categories": list(dict.fromkeys(listed)) or None if same else None, "range": None}
    span = entry.get("range")
    ends = None if span is None else sorted(column.factor * float(end) + column.offset for end in span)
    return made | {"unit": column.unit, "range": ends, "categories": None}
