"""The same id is the same bytes, whatever types two parties' tables have."""

from __future__ import annotations

import datetime
import decimal
import uuid

import numpy as np
import pytest

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.vertical.ids import canonical_id, canonical_ids

SOME = uuid.UUID("12345678123456781234567812345678")


@pytest.mark.parametrize(
    "alike",
    [
        (7, 7.0, "7", b"7", np.int8(7), np.float32(7), decimal.Decimal("7.0")),
        ("caf\u00e9", "cafe\u0301", np.str_("caf\u00e9"), "caf\u00e9".encode()),
        (-12, "-12", np.int64(-12)),
        (1.5, "1.5", decimal.Decimal("1.50")),
        (SOME, str(SOME)),
        (
            datetime.date(2026, 1, 2),
            "2026-01-02",
            np.datetime64("2026-01-02"),
            np.datetime64("2026-01-02T00:00:00.000000000"),
            datetime.datetime(2026, 1, 2),
        ),
        (10**25, decimal.Decimal(10) ** 25, "1" + "0" * 25),
        ((1, "a"), (1.0, "a")),
    ],
)
def test_these_are_one_id(alike: tuple[object, ...]):
    assert len({canonical_id(value) for value in alike}) == 1


@pytest.mark.parametrize(
    "unlike",
    [("a", "A", "a ", " a"), ("07", 7), (("a", "bc"), ("ab", "c"), ("abc",)), (1, 10), ("ﬁ", "fi"), (1.5, 1)],
)
def test_these_are_different_ids(unlike: tuple[object, ...]):
    assert len({canonical_id(value) for value in unlike}) == len(unlike)


def test_many_are_as_each_alone():
    values = np.array(["a", "é", 5, 2.5, SOME, b"raw"], dtype=object)
    assert canonical_ids(values) == [canonical_id(value) for value in values]
    assert canonical_ids(np.arange(3)) == [b"0", b"1", b"2"]


@pytest.mark.parametrize("missing", [None, float("nan"), np.datetime64("NaT"), np.float64("nan")])
def test_a_missing_id_is_refused(missing: object):
    with pytest.raises(InvalidInput, match="no id") as error:
        canonical_id(missing)
    assert error.value.code == "missing-ids"


def test_pandas_missing_value_is_refused():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(InvalidInput) as error:
        canonical_ids([pandas.NA])
    assert error.value.code == "missing-ids"


@pytest.mark.parametrize("bad", [True, [1], {"a": 1}, object(), float("inf"), "\ud800", 1 + 2j])
def test_what_cannot_be_an_id_is_refused(bad: object):
    with pytest.raises(InvalidInput) as error:
        canonical_id(bad)
    assert error.value.code == "bad-id"
