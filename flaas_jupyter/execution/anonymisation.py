"""Rows for release: what the owner of a table runs before giving a copy away.

`anonymise` generalises the columns that somebody could know (quasi-identifiers) until every combination occurs k
times, and says what risk is left. The mathematics is in `flaas_jupyter.protocols.anonymisation`; here are tables, types
and the report. Nothing of it is sent anywhere.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..protocols.anonymisation import (
    Attribute,
    Categorical,
    Hierarchy,
    Ordered,
    Requirement,
    RiskFigures,
    divide,
    risk_figures,
)

if TYPE_CHECKING:
    import pandas as pd

MISSING = "missing"
"""What a missing value among categories is called in sets and hierarchies."""

_NEARLY_UNIQUE = 0.9
_DAY = 86_400_000_000_000


class Anonymised(NamedTuple):
    """What may be released, and what there is to know about it."""

    table: pd.DataFrame
    report: RiskReport


@dataclass(frozen=True)
class RiskReport:
    """What is left of the risk, and what was lost.

    Attributes
    ----------
    k, l : int, float or None
        What was asked for.
    diversity : str
        ``"distinct"`` or ``"entropy"``.
    quasi_identifiers, sensitive, untouched, dropped : list of str
        Columns that were generalised, are sensitive, are as they were, and were left out.
    before, after : RiskFigures
        Of the original and of the released rows.
    achieved : dict of str to float
        Sensitive column to the smallest l of a class.
    loss : dict of str to float
        Normalised certainty penalty of each quasi-identifier, 0 to 1; suppressed rows count 1.
    suppressed : int
        Rows that were left out.
    warnings : list of str
    """

    k: int
    l: float | None  # noqa: E741 - the literature's name
    diversity: str
    quasi_identifiers: list[str]
    sensitive: list[str]
    untouched: list[str]
    dropped: list[str]
    before: RiskFigures
    after: RiskFigures
    achieved: dict[str, float]
    loss: dict[str, float]
    suppressed: int
    warnings: list[str] = field(default_factory=list)

    @property
    def information_loss(self) -> float:
        """Mean of `loss`: 0 nothing was lost, 1 everything (global certainty penalty)."""
        return float(np.mean(list(self.loss.values())))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "k": self.k,
            "l": self.l,
            "diversity": self.diversity,
            "quasi_identifiers": self.quasi_identifiers,
            "sensitive": self.sensitive,
            "untouched": self.untouched,
            "dropped": self.dropped,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "achieved": self.achieved,
            "loss": self.loss,
            "information_loss": self.information_loss,
            "suppressed": self.suppressed,
            "warnings": self.warnings,
        }

    def _lines(self) -> list[tuple[str, str, str]]:
        """What the report says: figure, before, after."""
        before, after = self.before, self.after
        lines = [
            ("rows", f"{before.rows:,}", f"{after.rows:,} ({self.suppressed:,} left out)"),
            ("classes of rows that look alike", f"{before.classes:,}", f"{after.classes:,}"),
            ("smallest class", f"{before.smallest:,}", f"{after.smallest:,} (k = {self.k})"),
            ("median, largest class", f"{before.median:g}, {before.largest:,}", f"{after.median:g}, {after.largest:,}"),
            ("rows alone in their class", f"{before.unique:,}", f"{after.unique:,}"),
            ("prosecutor risk (largest)", f"{before.prosecutor:.1%}", f"{after.prosecutor:.1%}"),
            ("journalist risk (at most)", f"{before.journalist:.1%}", f"{after.journalist:.1%}"),
            ("marketer risk (average)", f"{before.marketer:.1%}", f"{after.marketer:.1%}"),
        ]
        asked = "" if self.l is None else f" (l = {self.l:g}, {self.diversity})"
        lines += [(f"diversity of {name}", "", f"{value:.3g}{asked}") for name, value in self.achieved.items()]
        lines += [(f"information lost in {name}", "0 %", f"{value:.0%}") for name, value in self.loss.items()]
        return lines

    def __str__(self) -> str:
        widths = [max(len(line[place]) for line in self._lines()) for place in range(2)]
        rows = [f"{what:{widths[0]}}  {old:>{widths[1]}}  {new}" for what, old, new in self._lines()]
        return "\n".join([*rows, *(f"Warning: {text}" for text in self.warnings)])

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th style='text-align:left'>{html.escape(what)}</th><td>{html.escape(old)}</td>"
            f"<td>{html.escape(new)}</td></tr>"
            for what, old, new in self._lines()
        )
        notes = "".join(f"<li>{html.escape(text)}</li>" for text in self.warnings)
        return (
            f"<table><thead><tr><th></th><th>original</th><th>released</th></tr></thead><tbody>{cells}</tbody></table>"
            + (f"<ul>{notes}</ul>" if notes else "")
        )


def anonymise(
    table: pd.DataFrame,
    quasi_identifiers: Sequence[str],
    sensitive: Sequence[str] = (),
    k: int = 5,
    l: float | None = None,  # noqa: E741 - the literature's name
    hierarchies: Mapping[str, Mapping[Any, Sequence[Any]]] | None = None,
    suppression_limit: float = 0.05,
    *,
    diversity: str = "distinct",
    identifiers: Sequence[str] = (),
    numbers: str = "intervals",
    shuffle: bool = True,
) -> Anonymised:
    """Return rows that may be released: every combination of quasi-identifiers occurs `k` times at least.

    Parameters
    ----------
    table : DataFrame
        The rows, one for each person. It is not changed.
    quasi_identifiers : sequence of str
        Columns that somebody could know of a person from elsewhere: age, postcode, sex, dates, …
    sensitive : sequence of str
        Columns that nobody should learn of a person; they stay as they are.
    k : int
        2 at least.
    l : float, optional
        Values that each sensitive column has in every class of rows that look alike, see `diversity`.
    hierarchies : dict, optional
        Column to {value: [parent, grandparent, …]}. Columns without one are generalised to intervals if they are
        numbers or dates, to sets of values else.
    suppression_limit : float
        Share of the rows that may be left out where that saves others from being generalised, 0 to 1.
    diversity : str
        ``"distinct"``: l different values; ``"entropy"``: e to their entropy is l at least.
    identifiers : sequence of str
        Columns to leave out: names, numbers of persons.
    numbers : str
        ``"intervals"``: numbers become texts such as ``"[30, 39]"``; ``"midpoints"``: they stay numbers, the middle of
        the interval.
    shuffle : bool
        Whether the released rows come in an order of their own, numbered anew, since an order can tell who is who.

    Returns
    -------
    Anonymised
        ``table`` and ``report``.

    Raises
    ------
    InvalidInput
        ``anonymise-bad-argument``; ``anonymise-bad-hierarchy``; ``anonymise-impossible``: not even all rows together
        meet k and l.

    Examples
    --------
    >>> import pandas as pd
    >>> people = pd.DataFrame({"age": [31, 33, 34, 58, 60, 61], "ill": ["flu", "cold", "flu", "gout", "flu", "cold"]})
    >>> released, report = anonymise(people, ["age"], ["ill"], k=3, l=2, shuffle=False)
    >>> released["age"].tolist()
    ['[31, 34]', '[31, 34]', '[31, 34]', '[58, 61]', '[58, 61]', '[58, 61]']
    >>> report.after.smallest, report.achieved
    (3, {'ill': 2.0})
    """
    _check(table, quasi_identifiers, sensitive, identifiers, k, l, suppression_limit, diversity, numbers)
    attributes = [_attribute(table, name, (hierarchies or {}).get(name), numbers) for name in quasi_identifiers]
    strange = sorted(set(hierarchies or {}) - set(quasi_identifiers))
    if strange:
        raise _bad(f"hierarchies names {strange[0]!r}, which is not among the quasi-identifiers")
    codes = {name: _codes(table[name])[0] for name in sensitive}
    requirement = Requirement(k, l, diversity, codes)
    partition = divide(attributes, requirement, len(table), suppression_limit)
    kept = np.sort(np.concatenate(partition.classes))
    told = {attribute.name: np.empty(len(table), dtype=object) for attribute in attributes}
    lost = dict.fromkeys(told, float(len(partition.suppressed)))
    for rows in partition.classes:
        for attribute in attributes:
            value = attribute.told(rows)
            for row in rows.tolist():  # an assignment to all at once would unpack values that are sequences
                told[attribute.name][row] = value
            lost[attribute.name] += attribute.width(rows) * len(rows)
    released = table.drop(columns=list(identifiers)).iloc[kept].copy()
    for name in told:
        released[name] = _column(told[name][kept], table[name], numbers)
    labels = _classes(released, quasi_identifiers)
    after = np.bincount(labels)
    report = RiskReport(
        k=k,
        l=l,
        diversity=diversity,
        quasi_identifiers=list(quasi_identifiers),
        sensitive=list(sensitive),
        untouched=[name for name in released.columns if name not in {*quasi_identifiers, *sensitive}],
        dropped=list(identifiers),
        before=risk_figures(np.bincount(_classes(table, quasi_identifiers))),
        after=risk_figures(after),
        achieved={name: _least(requirement, codes[name][kept], labels) for name in sensitive},
        loss={name: value / len(table) for name, value in lost.items()},
        suppressed=len(partition.suppressed),
        warnings=[],
    )
    report.warnings.extend(_warnings(released, report))
    if shuffle:
        released = released.sample(frac=1.0, random_state=np.random.default_rng()).reset_index(drop=True)
    return Anonymised(released, report)


# ---- columns --------------------------------------------------------------------------------------------------------


def _attribute(
    table: pd.DataFrame, name: str, hierarchy: Mapping[Any, Sequence[Any]] | None, numbers: str
) -> Attribute:
    import pandas as pd

    column = table[name]
    if hierarchy is not None:
        return _categorical(column, name, hierarchy)
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return _times(column, name)
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        return _numbers(column, name, numbers)
    return _categorical(column, name, None)


def _numbers(column: pd.Series[Any], name: str, numbers: str) -> Ordered:
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(values).any():
        raise _bad(f"the column {name!r} has infinite values")
    whole = column.dtype.kind in "iu"

    def shown(low: float, high: float) -> Any:
        if numbers == "midpoints":
            return low + (high - low) / 2
        if low == high:
            return int(low) if whole else low
        return f"[{int(low)}, {int(high)}]" if whole else f"[{low!r}, {high!r}]"

    return Ordered(name, values, shown, np.nan)


def _times(column: pd.Series[Any], name: str) -> Ordered:
    import pandas as pd

    naive = column.dt.tz_convert("UTC").dt.tz_localize(None) if column.dt.tz is not None else column
    whole = naive.astype("datetime64[ns]").to_numpy().astype(np.int64)
    # Whole microseconds since the first time: float64 holds these exactly for 285 years, nanoseconds for 104 days.
    absent = naive.isna().to_numpy()
    start = int(whole[~absent].min()) if (~absent).any() else 0
    values = np.where(absent, np.nan, ((whole - start) // 1000).astype(np.float64))
    dates = bool((whole[~absent] % _DAY == 0).all())

    def text(value: float) -> str:
        moment = pd.Timestamp(start + int(value) * 1000)
        return moment.date().isoformat() if dates else moment.isoformat()

    def shown(low: float, high: float) -> str:
        return text(low) if low == high else f"[{text(low)}, {text(high)}]"

    return Ordered(name, values, shown, None)


def _categorical(column: pd.Series[Any], name: str, hierarchy: Mapping[Any, Sequence[Any]] | None) -> Categorical:
    codes, values, originals = _codes(column)
    if hierarchy is None:
        return Categorical(name, codes, values, None, originals)
    try:
        listed = {str(value): [str(each) for each in ancestors] for value, ancestors in dict(hierarchy).items()}
    except (TypeError, ValueError) as error:
        raise _bad(f"the hierarchy of {name!r} is not a mapping of values to their ancestors: {error}") from error
    listed.setdefault(MISSING, [])
    absent = [value for value in values if value not in listed]
    if absent:
        shown = ", ".join(absent[:5])
        raise InvalidInput(
            f"The hierarchy of {name!r} does not have {len(absent)} of its values: {shown}.",
            code="anonymise-bad-hierarchy",
            hint="Give each value that occurs its ancestors, nearest first.",
        )
    if MISSING not in values and MISSING not in {str(value) for value in hierarchy}:
        del listed[MISSING]
    return Categorical(name, codes, values, Hierarchy(listed, name), originals)


def _codes(column: pd.Series[Any]) -> tuple[NDArray[np.int64], list[str], list[Any]]:
    """Return numbers of values (n,), the values as texts in order, and as they are."""
    present = column.astype(object).where(column.notna(), None)
    originals = sorted(set(present.tolist()), key=lambda value: (value is None, str(value)))
    places = {value: number for number, value in enumerate(originals)}
    codes = np.array([places[value] for value in present.tolist()], dtype=np.int64)
    return codes, [MISSING if value is None else str(value) for value in originals], originals


def _column(values: NDArray[Any], before: pd.Series[Any], numbers: str) -> Any:
    """Return told values as a column: numbers where all of them are, else texts and whatever they were."""
    listed = values.tolist()
    if before.dtype.kind in "iuf" and all(isinstance(value, int | float) for value in listed):
        return np.array(listed, dtype=np.float64) if numbers == "midpoints" else np.array(listed)
    if numbers == "midpoints" and before.dtype.kind in "iuf":
        # Of a class with missing and other values nothing is told.
        return np.array([value if isinstance(value, int | float) else np.nan for value in listed])
    return values


def _classes(table: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64]:
    """Return the class of each row: rows that look alike in `columns` have the same number."""
    import pandas as pd

    labels = np.zeros(len(table), np.int64)
    for name in columns:
        codes, _ = pd.factorize(table[name].astype(object), use_na_sentinel=False)
        _, labels = np.unique(labels * (int(codes.max()) + 1) + codes, return_inverse=True)
    return labels


def _least(requirement: Requirement, codes: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    order = np.argsort(labels, kind="stable")
    groups = np.split(codes[order], np.flatnonzero(np.diff(labels[order])) + 1)
    return min(requirement.achieved(group) for group in groups)


# ---- what is wrong or worth knowing ---------------------------------------------------------------------------------


def _warnings(released: pd.DataFrame, report: RiskReport) -> list[str]:
    found = []
    for name in report.untouched:
        if released[name].nunique(dropna=False) > _NEARLY_UNIQUE * len(released) and len(released) > 1:
            found.append(f"Column {name!r} is as it was and different in nearly every row: is it an identifier?")
    if report.untouched:
        shown = ", ".join(map(str, report.untouched[:10]))
        found.append(f"As they were, and assumed to be unknown to others: {shown}.")
    for name, value in report.achieved.items():
        if report.l is None and value < 2:
            found.append(
                f"In some class everybody has the same {name!r}: whoever is known to be in it is known. Give l."
            )
    if report.information_loss > 0.5:
        found.append(
            "More than half of what the quasi-identifiers tell is lost; fewer of them, or a smaller k, keep more."
        )
    return found


def _check(
    table: Any,
    quasi_identifiers: Sequence[str],
    sensitive: Sequence[str],
    identifiers: Sequence[str],
    k: Any,
    l: Any,  # noqa: E741
    suppression_limit: Any,
    diversity: str,
    numbers: str,
) -> None:
    if not hasattr(table, "columns") or not hasattr(table, "iloc"):
        raise _bad(f"the table must be a DataFrame, not {type(table).__name__}")
    for what, names in (
        ("quasi_identifiers", quasi_identifiers),
        ("sensitive", sensitive),
        ("identifiers", identifiers),
    ):
        if isinstance(names, str) or not isinstance(names, Sequence):
            raise _bad(f"{what} must be a list of columns, not {names!r}")
        for name in names:
            if name not in table.columns:
                shown = ", ".join(map(str, list(table.columns)[:20]))
                raise _bad(f"{what} names {name!r}; the columns are {shown}")
    if not table.columns.is_unique:
        raise _bad("two columns have the same name")
    named = [*quasi_identifiers, *sensitive, *identifiers]
    twice = sorted({name for name in named if named.count(name) > 1})
    if twice:
        raise _bad(f"{twice[0]!r} is named twice; a column is one of quasi-identifier, sensitive and identifier")
    if not quasi_identifiers:
        raise _bad("there is no quasi-identifier", "Name the columns that somebody could know of a person.")
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 2:
        raise _bad(f"k must be an integer from 2 on, not {k!r}")
    if l is not None and (isinstance(l, bool) or not isinstance(l, int | float | np.number) or not 1 <= l < 1e9):
        raise _bad(f"l must be a number from 1 on, or None, not {l!r}")
    if l is not None and not sensitive:
        raise _bad("l is about sensitive columns, and none is named")
    if isinstance(suppression_limit, bool) or not isinstance(suppression_limit, int | float | np.number):
        raise _bad(f"suppression_limit must be a number from 0 to 1, not {suppression_limit!r}")
    if not 0 <= suppression_limit <= 1:
        raise _bad(f"suppression_limit must be a number from 0 to 1, not {suppression_limit!r}")
    if diversity not in ("distinct", "entropy"):
        raise _bad(f"diversity must be 'distinct' or 'entropy', not {diversity!r}")
    if numbers not in ("intervals", "midpoints"):
        raise _bad(f"numbers must be 'intervals' or 'midpoints', not {numbers!r}")
    if len(table) == 0:
        raise _bad("the table has no rows")


def _bad(why: str, hint: str = "") -> InvalidInput:
    return InvalidInput(f"These rows cannot be anonymised: {why}.", code="anonymise-bad-argument", hint=hint)
