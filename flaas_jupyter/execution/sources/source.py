"""What a source of data is, whatever kind of place it reads from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pyarrow

ROWS = 65_536


@runtime_checkable
class Source(Protocol):
    """A place that rows are read from, as often as needed, a few batches in memory at a time.

    Columns are in the types of the file; texts are ``string``, whatever encoding the file has for them, and columns
    without any value ``double``. Arrays with more axes than rows (npz, images) are columns of type
    `pyarrow.FixedShapeTensorType`; see `flaas_jupyter.execution.formats.tensors`.
    """

    @property
    def kind(self) -> str:
        """``"file"``, ``"s3"``, ``"gs"``, ``"az"``, ``"https"``, ``"sql"`` or ``"frame"``."""
        ...

    @property
    def url(self) -> str:
        """Where it is, in canonical form and without credentials: what is kept and shown. For a file, its path."""
        ...

    def stamp(self) -> str:
        """Return a text that changes when the data do: cheap where the place can tell (sizes and times, ETags).

        Raises
        ------
        InvalidInput
            Code ``unreadable-data``: it is not there any more.
        Unreachable
            The place does not answer.
        """
        ...

    def schema(self) -> pyarrow.Schema:
        """Return the columns, their types being those of all rows.

        Raises
        ------
        InvalidInput
            ``unreadable-data``, ``duplicate-columns``, ``unnamed-column``, ``too-many-columns``, ``empty-data``,
            ``expands-too-much``, ``parts-differ``.
        """
        ...

    def batches(self, columns: Sequence[str] | None = None, rows: int = ROWS) -> Iterator[pyarrow.RecordBatch]:
        """Yield all rows in order.

        Parameters
        ----------
        columns : sequence of str, optional
            Which columns, in this order; all of `schema` by default.
        rows : int
            Most rows of a batch.

        Raises
        ------
        InvalidInput
            As `schema`; ``unknown-column``; ``changed-while-read``.
        """
        ...
