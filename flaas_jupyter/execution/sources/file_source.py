"""Files as a source: one, the parts of one table, or images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import InvalidInput
from ..formats.format import Reader
from ..formats.listing import Listing
from .source import ROWS

_LISTED = 50


@dataclass
class FileSource:
    """A `Source` of files.

    Parameters
    ----------
    kind, url : str
        See `Source`.
    list_files : callable
        Returns the `Listing` of this moment.
    reader : Reader
        How they are read.
    """

    kind: str
    url: str
    list_files: Callable[[], Listing] = field(repr=False)
    reader: Reader = field(repr=False)
    _known: tuple[str, Any] | None = field(default=None, repr=False)

    def stamp(self) -> str:
        """See `Source.stamp`."""
        return self.list_files().stamp()

    def schema(self) -> Any:
        """See `Source.schema`."""
        return self._schema(self.list_files())

    def batches(self, columns: Sequence[str] | None = None, rows: int = ROWS) -> Iterator[Any]:
        """See `Source.batches`."""
        listing = self.list_files()
        schema = self._schema(listing)
        wanted = schema.names if columns is None else list(columns)
        require_columns(self.url, schema, wanted)
        yield from self.reader.batches(listing, schema, wanted, rows)
        if self.list_files().stamp() != listing.stamp():
            raise InvalidInput(
                f"{self.url} has changed while it was read.",
                code="changed-while-read",
                hint="Try again when nobody writes to it.",
            )

    def _schema(self, listing: Listing) -> Any:
        stamp = listing.stamp()
        if self._known is None or self._known[0] != stamp:
            self._known = (stamp, self.reader.schema(listing))
        return self._known[1]


def require_columns(shown: str, schema: Any, wanted: Sequence[str]) -> None:
    """Refuse columns that are not there, code ``unknown-column``."""
    known = set(schema.names)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise InvalidInput(
            f"{shown} has no column {unknown[0]!r}; it has: {', '.join(schema.names[:_LISTED])}.",
            code="unknown-column",
        )
