"""Kinds of columns: whatever type there is, it is a number, a date, or counted."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest

from flaas_jupyter.column_kinds import column_kind, durations_of, months_of, type_name
from flaas_jupyter.execution.datasets.kinds import dtype_name, is_number, values_of
from flaas_jupyter.training.preprocessing.values import kind_of, texts

TYPES = [
    pa.bool_(), pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.decimal128(9, 2), pa.string(), pa.large_string(),
    pa.string_view(), pa.binary(), pa.large_binary(), pa.binary(4), pa.date32(), pa.date64(), pa.timestamp("ns"),
    pa.timestamp("s", tz="UTC"), pa.time32("s"), pa.time64("us"), pa.time64("ns"), pa.duration("ms"), pa.uuid(),
    pa.dictionary(pa.int8(), pa.string()), pa.month_day_nano_interval(), pa.json_(),
]  # fmt: skip


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_only_numbers_are_measured(kind):
    assert (column_kind(dtype_name(kind)) == "number") == is_number(kind)
    dates = pa.types.is_date(kind) or pa.types.is_timestamp(kind)
    assert (column_kind(dtype_name(kind)) == "date") == dates


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [
        ("", "number"),
        ("boolean", "number"),
        ("UInt8", "number"),
        ("interval[int64, right]", "text"),
        ("timedelta64[ns]", "text"),
        ("datetime64[ns, UTC]", "date"),
        ("category", "text"),
        ("<U7", "text"),
        ("|S3", "text"),
        ("object", "text"),
    ],
)
def test_names_of_numpy_and_pandas_are_known(dtype, kind):
    assert column_kind(dtype) == kind


def test_arrays_have_the_names_that_nodes_tell():
    for array, name in ((np.array(["a"]), "string"), (np.array([1.0]), "float64"), (np.array([b"a"]), "string")):
        assert type_name(array.dtype) == name
    assert type_name(np.dtype("timedelta64[s]")) == dtype_name(pa.duration("s"))
    assert type_name(np.dtype("datetime64[us]")) == dtype_name(pa.timestamp("us"))
    assert type_name(np.dtype("datetime64[D]")) == dtype_name(pa.date32())


def test_months_and_durations_are_texts_and_none_where_one_is_missing():
    assert months_of(np.array(["2024-03-31T23:00", "NaT"], "datetime64[m]")).tolist() == ["2024-03", None]
    assert durations_of(np.array([90061, "NaT"], "timedelta64[s]")).tolist() == ["1 day, 1:01:01", None]
    assert durations_of(np.array([1500, "NaT"], "timedelta64[ns]")).tolist() == ["0:00:00.000001", None]


@pytest.mark.parametrize(
    ("column", "found"),
    [
        (pa.array([3600, None], pa.duration("s")), "1:00:00"),
        (pa.array([3600, None], pa.time32("s")), "01:00:00"),
        (pa.array([3600 * 10**9 + 1, None], pa.time64("ns")), "01:00:00"),
        (pa.array([b"ab", None], pa.binary(2)), "ab"),
        (pa.array([b"a\xff", None]), "a\ufffd"),
    ],
    ids=["duration", "time32", "time64", "fixed binary", "binary"],
)
def test_values_of_a_node_are_the_texts_of_preprocessing(column, found):
    values = values_of(column)
    assert str(values[0]) == found
    assert values[1] is None
    assert kind_of(values) == "text"
    assert texts(values, "column").tolist() == [found, None]


def test_durations_are_texts_whichever_way_they_come():
    spans = [datetime.timedelta(days=1, seconds=5), None]
    wanted = ["1 day, 0:00:05", None]
    assert kind_of(np.array(spans, object)) == kind_of(np.array(spans, "timedelta64[us]")) == "text"
    assert texts(np.array(spans, object), "x").tolist() == texts(np.array(spans, "m8[us]"), "x").tolist() == wanted
