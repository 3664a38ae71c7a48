"""Figures as pandas has them: numbers, Series and DataFrames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..protocols.analytics.release import Released
from . import grouping
from .figures import Table
from .results import AnalyticsFrame, AnalyticsNumber, AnalyticsSeries, Facts

Answer = AnalyticsNumber | AnalyticsSeries | AnalyticsFrame


def shaped(
    table: Table, columns: Sequence[str], single: bool, groups: grouping.Groups, facts: Facts, *, whole: bool = False
) -> Answer:
    """Return figures as a number, a series or a frame."""
    values = table.values
    exact = whole and not np.isnan(values).any()
    shown = np.rint(values).astype(np.int64) if exact else values
    if not groups.keys and single:
        return AnalyticsNumber(float(values[0, 0]), facts, bool(table.hidden[0, 0]))
    if not groups.keys:
        return AnalyticsSeries(shown[0], index=list(columns)).with_facts(facts, table.hidden[0])
    if single:
        series = AnalyticsSeries(shown[:, 0], index=groups.index, name=columns[0])
        return series.with_facts(facts, table.hidden[:, 0])
    return AnalyticsFrame(shown, index=groups.index, columns=list(columns)).with_facts(facts, table.hidden)


def by_quantile(
    found: Sequence[Table],
    columns: Sequence[str],
    single: bool,
    groups: grouping.Groups,
    wanted: Sequence[float],
    facts: Facts,
) -> AnalyticsSeries | AnalyticsFrame:
    """Return the tables of several quantiles, which are rows of the answer."""
    values, hidden = np.stack([table.values for table in found]), np.stack([table.hidden for table in found])
    if groups.keys:  # (quantiles, groups, columns) to groups by quantiles, as pandas does
        tuples = [
            (*(key if isinstance(key, tuple) else (key,)), quantile) for key in groups.index for quantile in wanted
        ]
        index: Any = pd.MultiIndex.from_tuples(tuples, names=[*groups.names, None])
        order = values.transpose(1, 0, 2).reshape(-1, len(columns)), hidden.transpose(1, 0, 2).reshape(-1, len(columns))
    else:
        index = pd.Index(list(wanted))
        order = values[:, 0, :], hidden[:, 0, :]
    if single:
        series = AnalyticsSeries(order[0][:, 0], index=index, name=columns[0])
        return series.with_facts(facts, order[1][:, 0])
    return AnalyticsFrame(order[0], index=index, columns=list(columns)).with_facts(facts, order[1])


def histogram_table(
    released: Released, edges: Sequence[float], groups: grouping.Groups, facts: Facts, column: str
) -> AnalyticsFrame:
    """Lay bins out as rows; merged ones as one wide row, withheld groups as NaN, nothing outside as no row."""
    borders = [-math.inf, *edges, math.inf]
    width = len(borders) - 1
    spans = {span.start: span for span in released.spans}
    labels = [()] if not groups.keys else [key if isinstance(key, tuple) else (key,) for key in groups.index]
    rows, hidden = [], []
    for group, label in enumerate(labels):
        counts = released.counts[group * width : (group + 1) * width]
        merged = [span for span in spans.values() if group * width <= span.start < (group + 1) * width]
        withheld = bool(np.isnan(counts).all()) and not merged
        cell = 0
        while cell < width:
            span = spans.get(group * width + cell)
            stop = cell + 1 if span is None else span.stop - group * width
            count = float(counts[cell]) if span is None else float(span.rows)
            outside = (cell == 0 and stop == 1) or cell == width - 1
            if not (outside and (count == 0 or withheld)):
                rows.append((*label, borders[cell], borders[stop], count))
                hidden.append(withheld)
            cell = stop
    frame = AnalyticsFrame(rows, columns=[*groups.names, "lower", "upper", "count"])
    if not frame["count"].isna().any():
        frame["count"] = frame["count"].round().astype("int64")
    frame.attrs["column"] = column
    return frame.with_facts(facts, np.array(hidden, bool), "histogram")
