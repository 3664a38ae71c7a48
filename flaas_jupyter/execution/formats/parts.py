"""Files of one format as the parts of one table, read one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ...errors import InvalidInput
from .canonical import unified_type
from .format import Format
from .listing import Listing

_SHOWN = 5


@dataclass(frozen=True)
class Parts:
    """A `Reader` of tables.

    Parameters
    ----------
    format : Format
        How each file is read.
    texts : sequence of str
        Columns to read as texts where the format leaves types open.
    """

    format: Format
    texts: Sequence[str] = ()

    @property
    def suffixes(self) -> tuple[str, ...]:
        """See `Reader.suffixes`."""
        return self.format.suffixes

    def schema(self, listing: Listing) -> Any:
        """See `Reader.schema`."""
        first, *others = listing.files
        schema = self.format.schema(first, self.texts)
        for part in others:
            schema = _joined(schema, self.format.schema(part, self.texts), first.shown, part.shown)
        return schema

    def batches(self, listing: Listing, schema: Any, columns: Sequence[str], rows: int) -> Iterator[Any]:
        """See `Reader.batches`."""
        for file in listing.files:
            yield from self.format.batches(file, schema, columns, rows)


def _joined(first: Any, second: Any, shown: str, other: str) -> Any:
    more = sorted(set(first.names) ^ set(second.names))
    if more:
        raise _differ(shown, other, f"only one of them has {', '.join(repr(name) for name in more[:_SHOWN])}")
    fields = []
    for one in first:
        two = second.field(one.name)
        kind = unified_type(one.type, two.type)
        if kind is None:
            raise _differ(shown, other, f"column {one.name!r} is {one.type} in one and {two.type} in the other")
        fields.append(one.with_type(kind))
    return pa.schema(fields)


def _differ(shown: str, other: str, what: str) -> InvalidInput:
    return InvalidInput(
        f"{shown} and {other} are not parts of one table: {what}.",
        code="parts-differ",
        hint="Write all parts with the same columns and types, or register one file.",
    )
