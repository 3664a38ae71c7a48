"""Hashes of the rows of versions: what counts as the same row, and by how many rows two versions differ."""

from __future__ import annotations

import numpy as np
import pytest

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.execution import row_hashes

KEY = b"k" * 32


def rows(count=200, seed=1):
    rng = np.random.default_rng(seed)
    names = np.array([f"person {i % 50}" for i in range(count)], object)
    names[3] = None
    return {
        "age": rng.integers(18, 90, count),
        "income": rng.normal(size=count),
        "name": names,
        "day": np.datetime64("2024-01-01", "D") + rng.integers(0, 300, count),
        "image": rng.normal(size=(count, 3, 40)).astype(np.float32),
    }


def hashed(columns, key=KEY, size=64):
    count = len(next(iter(columns.values())))
    batches = ({name: values[i : i + size] for name, values in columns.items()} for i in range(0, count, size))
    return row_hashes.hashed(batches, key)


def chosen(columns, which):
    return {name: values[which] for name, values in columns.items()}


def changed(columns, name, place, value):
    values = columns[name].copy()
    values[place] = value
    return {**columns, name: values}


def apart(first, second, most=100):
    return row_hashes.apart(hashed(first).ordered, hashed(second).ordered, most)


def test_the_same_rows_in_another_order_of_rows_columns_and_batches_are_the_same():
    table = rows()
    shuffled = chosen(table, np.random.default_rng(2).permutation(200))
    turned = dict(reversed(shuffled.items()))
    assert apart(table, turned) == 0
    np.testing.assert_array_equal(hashed(table).ordered, hashed(table, size=7).ordered)
    floats = {**table, "age": table["age"].astype(float)}
    assert apart(table, floats) == 0


def test_rows_that_are_new_gone_or_changed_are_counted_on_both_sides():
    table = rows()
    assert apart(table, chosen(table, np.arange(199))) == 1
    assert apart(chosen(table, np.arange(20, 200)), table) == 20
    assert apart(table, chosen(table, np.r_[np.arange(200), 7])) == 1, "a row that is there twice"
    for name, value in (("age", 99), ("income", np.nan), ("name", "nobody"), ("name", None), ("image", 5.0)):
        assert apart(table, changed(table, name, 60, value)) == 2, name
    assert apart(table, rows(seed=2), most=10) == 10


def test_the_order_is_that_of_the_hashes():
    table = rows()
    first = hashed(table)
    places = np.random.default_rng(2).permutation(200)
    second = hashed(chosen(table, places))
    np.testing.assert_array_equal(table["income"][first.order], table["income"][places][second.order])


def test_without_the_key_hashes_tell_nothing_that_others_could_compare():
    assert not np.intersect1d(hashed(rows()).ordered, hashed(rows(), b"l" * 32).ordered).size


def test_versions_whose_rows_were_numbered_anew_are_compared_without_the_numbers(tmp_path):
    table = rows()
    one_less = chosen(table, np.r_[0:50, 51:200])
    before = hashed({**table, "number": np.arange(200)})
    after = hashed({**one_less, "number": np.arange(199)})
    kept = [row_hashes.keep(tmp_path, each) for each in (before, after)]
    assert kept[0]["numbering"] == ["number"]
    assert row_hashes.apart(before.ordered, after.ordered, 10) == 10
    assert row_hashes.few_apart(tmp_path, *kept, 10)
    stable = row_hashes.keep(tmp_path, hashed({**one_less, "number": np.r_[0:50, 51:200]}))
    assert row_hashes.few_apart(tmp_path, kept[0], stable, 10), "ids that stay as they were"
    assert not row_hashes.few_apart(tmp_path, kept[0], kept[0], 10)


def test_files_are_private_and_damaged_ones_are_not_taken(tmp_path):
    kept = row_hashes.keep(tmp_path, hashed(rows()))
    other = row_hashes.keep(tmp_path, hashed(rows(seed=2)))
    file = tmp_path / f"{kept['all']}.npy"
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InvalidInput) as caught:
        row_hashes.few_apart(tmp_path, kept, other, 10)
    assert caught.value.code == "bad-query-ledger"
    key = row_hashes.key_of(tmp_path)
    assert (tmp_path / "rows.key").stat().st_mode & 0o777 == 0o600
    assert row_hashes.key_of(tmp_path) == key
