"""What fitting asks of the rows. Missing values are left out of every figure; a figure is of the raw column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from ...protocols.analytics.words import words_of
from .values import Kind, columns_of, kind_of, numbers, texts


class Statistics(Protocol):
    """Figures about the rows of a table, or of all nodes together."""

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """The raw columns in order, and what each is; the target is not among them."""

    def means(self, columns: Sequence[str]) -> list[float]:
        """Return means."""

    def deviations(self, columns: Sequence[str]) -> list[float]:
        """Return standard deviations, with n as the divisor."""

    def quantiles(self, columns: Sequence[str], q: Sequence[float]) -> list[list[float]]:
        """Return quantiles, interpolated linearly: a list for each of `q`."""

    def ranges(self, columns: Sequence[str]) -> tuple[list[float], list[float]]:
        """Return the smallest and the largest values."""

    def categories(self, column: str, most: int) -> list[str] | list[float]:
        """Return the values of a column, the most frequent first: texts, or numbers of a column of numbers."""

    def vocabulary(self, column: str, most: int) -> tuple[list[str], list[float]]:
        """Return the words of a text column, the most frequent first, and in how many rows each is."""

    def rows(self) -> float:
        """Return the number of rows."""

    def texts_at_hand(self, column: str) -> NDArray[Any] | None:
        """Return a column of texts, None where one is missing; None where rows are not at hand."""


class TableStatistics:
    """Figures about a table in memory.

    Parameters
    ----------
    table : DataFrame, Arrow table or mapping of arrays
    target : str, optional
        A column that is no input.
    """

    def __init__(self, table: Any, target: str | None = None) -> None:
        self._columns = columns_of(table)
        if target is not None:
            if target not in self._columns:
                raise InvalidInput(f"The table has no column {target!r} to be the target.", code="unknown-column")
            del self._columns[target]
        self.kinds: dict[str, Kind] = {name: kind_of(values) for name, values in self._columns.items()}

    def means(self, columns: Sequence[str]) -> list[float]:
        """Return means."""
        return [float(self._present(name).mean()) for name in columns]

    def deviations(self, columns: Sequence[str]) -> list[float]:
        """Return standard deviations."""
        return [float(self._present(name).std()) for name in columns]

    def quantiles(self, columns: Sequence[str], q: Sequence[float]) -> list[list[float]]:
        """Return quantiles."""
        return [[float(np.quantile(self._present(name), each)) for name in columns] for each in q]

    def ranges(self, columns: Sequence[str]) -> tuple[list[float], list[float]]:
        """Return the smallest and the largest values."""
        present = [self._present(name) for name in columns]
        return [float(values.min()) for values in present], [float(values.max()) for values in present]

    def categories(self, column: str, most: int) -> list[str] | list[float]:
        """Return the values of a column."""
        if self.kinds[column] == "number":
            values, counts = np.unique(self._present(column), return_counts=True)
            return [float(values[place]) for place in np.argsort(-counts, kind="stable")[:most]]
        counted = Counter(text for text in texts(self._columns[column], column) if text is not None)
        return [text for text, _ in _ordered(counted)[:most]]

    def vocabulary(self, column: str, most: int) -> tuple[list[str], list[float]]:
        """Return the words of a text column."""
        rows = texts(self._columns[column], column)
        chosen = _ordered(Counter(token for text in rows for token in set(words_of(text))))[:most]
        return [token for token, _ in chosen], [float(count) for _, count in chosen]

    def rows(self) -> float:
        """Return the number of rows."""
        return float(len(next(iter(self._columns.values()), ())))

    def texts_at_hand(self, column: str) -> NDArray[Any]:
        """Return a column of texts."""
        return texts(self._columns[column], column)

    def _present(self, name: str) -> NDArray[np.float64]:
        values = numbers(self._columns[name], name)
        present = values[~np.isnan(values)]
        if not present.size:
            raise InvalidInput(
                f"Column {name!r} has no values.",
                code="empty-data",
                hint="Leave it out (exclude=[...]), or impute a constant.",
                column=name,
            )
        return present


def _ordered(counted: Counter[str]) -> list[tuple[str, int]]:
    """The most frequent first, and those as frequent in the order of their letters: the same everywhere."""
    return sorted(counted.items(), key=lambda item: (-item[1], item[0]))
