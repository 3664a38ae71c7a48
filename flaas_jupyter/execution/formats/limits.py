"""How much a file may expand to: a wall against files that are small on disk and fill memory or disk when read."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import InvalidInput


@dataclass(frozen=True)
class Limits:
    """Limits of one file; below `free` bytes nothing is refused.

    Parameters
    ----------
    ratio : float
        Most bytes read for each byte on disk. Deflate cannot do more than 1,032; tables of numbers come to 3 to 20.
    free : int
        Bytes that any file may expand to.
    total : int
        Bytes that no file may expand to.
    line : int
        Bytes of one line, or of one record.
    columns : int
        Columns of a table.
    name : int
        Signs of a column's name.
    piece : int
        Bytes of texts that are decoded at a time.
    row : int
        Bytes of one row, and of the rows of fixed size that are decoded at a time.
    """

    ratio: float = 200.0
    free: int = 64 << 20
    total: int = 1 << 40
    line: int = 64 << 20
    columns: int = 100_000
    name: int = 1_000
    piece: int = 64 << 20
    row: int = 256 << 20

    def check(self, shown: str, stored: int, expanded: int) -> None:
        """Refuse what expands to more than it may.

        Raises
        ------
        InvalidInput
            Code ``expands-too-much``.
        """
        if expanded > self.total or (expanded > self.free and expanded > self.ratio * max(stored, 1)):
            raise InvalidInput(
                f"{shown} has {stored} bytes and expands to more than {min(expanded, self.total)}: allowed are "
                f"{self.ratio:g} times its size, or {self.free >> 20} MiB.",
                code="expands-too-much",
                hint="If it really holds that much, write it as Parquet and register that.",
            )

    def check_row(self, shown: str, size: int, what: str = "a row") -> None:
        """Refuse what can only be read as a whole, and is larger than that may be.

        Raises
        ------
        InvalidInput
            Code ``expands-too-much``.
        """
        if size > self.row:
            raise InvalidInput(
                f"{what[0].upper()}{what[1:]} of {shown} has {size} bytes; allowed are {self.row >> 20} MiB.",
                code="expands-too-much",
                hint="Write more rows of fewer values; arrays of NumPy in C order: np.ascontiguousarray(array).",
            )


LIMITS = Limits()
