"""FOCUS rows: what the specification allows is taken, everything else is named by row and column."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaas_jupyter.costs.billing import files, focus, money
from flaas_jupyter.errors import InvalidInput

from .bills import row, samples


def test_a_row_becomes_a_charge():
    charge, problems = focus.check(row(ChargeClass="NULL", ServiceCategory="compute", RegionName="null"))
    assert problems == []
    assert charge["BilledCost"] == Decimal("1.5")
    assert charge["ChargePeriodStart"] == datetime(2026, 8, 3, tzinfo=UTC)
    assert charge["Tags"] == {"flaas-project": "credit", "flaas-node": "north"}
    assert (charge["ServiceCategory"], charge["ChargeClass"], charge["RegionName"]) == ("Compute", None, None)
    assert set(charge) == set(focus.COLUMNS)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("BilledCost", ""), ("BilledCost", "free"), ("BilledCost", "NaN"), ("BilledCost", "Infinity"),
        ("BilledCost", "1e12"), ("BilledCost", "9" * 200), ("BilledCost", True),
        ("BillingCurrency", "EURO"), ("BillingCurrency", "XYZ"), ("ChargeCategory", "Present"),
        ("ChargeClass", "Wrong"), ("ServiceCategory", "Magic"), ("ChargePeriodStart", "yesterday"),
        ("ChargePeriodEnd", "2026-08-03T00:00:00Z"), ("BillingPeriodEnd", "2026-07-01"), ("ServiceName", "x" * 300),
        ("ServiceName", "a\x00b"), ("ServiceName", "\ud800"), ("Tags", "{"), ("Tags", "[1]"), ("Tags", '{"a": [1]}'),
        ("ChargePeriodStart", "1999-01-01"), ("ProviderName", "null"), ("Tags", "[" * 100_000),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(column, value):
    _, problems = focus.check(row(**{column: value}), 7)
    assert [(each.row, each.column) for each in problems] == [(7, column)]
    assert len(problems[0].message) < 400


def test_a_bill_with_many_mistakes_names_twenty_and_counts_the_rest():
    rows = [row(), *(row(BilledCost="x", ResourceId="secret-name") for _ in range(30))]
    with pytest.raises(focus.NotFocus) as caught:
        list(focus.checked(rows))
    assert (len(caught.value.details["errors"]), caught.value.details["total"]) == (20, 30)
    assert caught.value.details["errors"][0]["pointer"] == "/rows/1/BilledCost"
    assert "row 2, BilledCost" in str(caught.value)
    assert "secret-name" not in str(caught.value.to_dict())


def test_missing_columns_are_named():
    without = {name: value for name, value in row().items() if name != "BilledCost"}
    assert [each.column for each in focus.missing_columns(without)] == ["BilledCost"]


@pytest.mark.parametrize(
    ("name", "known"),
    [("AWS", "aws"), ("Microsoft", "azure"), ("Google Cloud", "gcp"), ("Oracle", "Oracle"), (" amazon ", "aws")],
)
def test_providers_have_one_name(name, known):
    assert focus.provider(name) == known


@given(st.decimals(min_value=-(10**9) + 1, max_value=10**9 - 1, places=15))
def test_amounts_survive_being_stored(value):
    assert money.amount(*money.parts(value)) == value


@given(st.lists(st.decimals(min_value=-1000, max_value=1000, places=12), max_size=30))
def test_sums_of_parts_are_sums_of_amounts(values):
    parts = [money.parts(value) for value in values]
    summed = money.amount(sum(micro for micro, _ in parts), sum(femto for _, femto in parts))
    assert summed == sum(values, Decimal(0))


def written(folder, rows, name):
    path = folder / name
    frame = pd.DataFrame(rows)
    if name.endswith("parquet"):
        for column in ("BilledCost", "ListCost"):
            frame[column] = frame[column].map(Decimal)
        for column in ("ChargePeriodStart", "ChargePeriodEnd"):
            frame[column] = pd.to_datetime(frame[column])
        frame.to_parquet(path)
    elif name.endswith("gz"):
        path.write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    else:
        path.write_text(frame.to_csv(index=False), encoding="utf-8-sig")
    return path


@pytest.mark.parametrize("name", ["bill.csv", "bill.csv.gz", "bill.parquet"])
def test_files_of_every_kind_hold_the_same(tmp_path, name):
    rows = [row(ResourceId=f"i-{number}", BilledCost=f"{number}.125") for number in range(5)]
    expected = [focus.check(each)[0] for each in rows]
    assert list(files.charges_of(written(tmp_path, rows, name))) == expected


@pytest.mark.parametrize("name", ["bill.csv", "bill.csv.gz", "bill.parquet"])
def test_garbage_is_no_bill(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\x1f\x8b\x00\xff\xfe garbage \x00\x01" * 10)
    with pytest.raises(InvalidInput) as caught:
        list(files.read(path))
    assert caught.value.code in ("unreadable-bill", "unknown-bill")
    assert caught.value.hint


def test_a_bill_that_is_wrong_anywhere_is_not_sent_at_all(tmp_path):
    path = written(tmp_path, [*(row(ResourceId=str(n)) for n in range(400)), row(BilledCost="much")], "bill.csv")
    sent = []
    with pytest.raises(focus.NotFocus, match="row 401, BilledCost"):
        files.send(path, lambda body: sent.append(body))
    assert sent == []


def test_batches_are_small_and_keep_equal_charges_together(tmp_path):
    rows = [row(ResourceId=str(number % 300), BilledCost=str(number)) for number in range(900)]
    bodies = []

    def post(body):
        bodies.append(body)
        return {"accepted": len(body["rows"]), "replaced": 0, "ignored": 0}

    result = files.send(written(tmp_path, rows, "bill.csv"), post)
    assert result == {"accepted": 900, "replaced": 0, "ignored": 0}
    assert len(bodies) > 1
    for body in bodies:
        assert len(str(body)) < 256 * 1024
        resources = [each["ResourceId"] for each in body["rows"]]
        assert all(resources.count(resource) == 3 for resource in resources)
    assert sum(Decimal(each["BilledCost"]) for body in bodies for each in body["rows"]) == sum(range(900))


def test_equal_charges_that_no_request_could_hold_are_added_up(tmp_path):
    rows = [row(BilledCost="0.001") for _ in range(1500)]
    bodies = []

    def post(body):
        bodies.append(body)
        return {"accepted": len(body["rows"]), "replaced": 0, "ignored": 0}

    files.send(written(tmp_path, rows, "bill.csv"), post)
    assert [each["BilledCost"] for body in bodies for each in body["rows"]] == ["1.500"]


def test_parts_of_a_bill_are_one_bill(tmp_path):
    parts = [
        written(tmp_path, [row(BilledCost=str(n), Tags=tags), row(ResourceId=str(n))], f"part-{n}.csv")
        for n, tags in enumerate(("", '{"flaas-project": "credit"}'))
    ]
    bodies = []

    def post(body):
        bodies.append(body)
        return {"accepted": len(body["rows"]), "replaced": 0, "ignored": 0}

    assert files.send(parts, post)["accepted"] == 4
    (body,) = bodies
    assert body["name"] == "part-0.csv and 1 more"
    assert sorted(each["BilledCost"] for each in body["rows"] if each["ResourceId"] == "i-1") == ["0", "1"]


def test_the_sample_of_the_specification_passes_whole():
    path = samples() / "focus" / "focus_sample_1000.csv"
    charges = list(files.charges_of(path))
    frame = pd.read_csv(path)
    assert len(charges) == len(frame) == 1000
    for column in focus.COSTS:
        assert float(sum(charge[column] for charge in charges)) == pytest.approx(frame[column].sum(), abs=1e-9)
    assert {focus.provider(charge["ProviderName"]) for charge in charges} == {"aws", "azure", "Oracle"}
