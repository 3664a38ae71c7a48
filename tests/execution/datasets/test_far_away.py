"""Data that are far away are fetched once for each version; what is kept of them is what is read."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from flaas_jupyter.errors import InvalidInput, Unreachable
from flaas_jupyter.execution.datasets import DatasetRegistry, dataset

ROWS = 80


class Place:
    """A server with one table; counts who asks for what."""

    kind, url = "https", "https://example.org/people.parquet"

    def __init__(self) -> None:
        self.frame = pd.DataFrame(
            {"id": [f"{i:03}" for i in range(ROWS)], "age": range(ROWS), "y": np.arange(ROWS) % 2}
        )
        self.tag, self.journeys, self.looks, self.away = "1", 0, 0, False

    def stamp(self) -> str:
        self.looks += 1
        if self.away:
            raise Unreachable("example.org does not answer.")
        return self.tag

    def schema(self):
        return self._table().schema

    def batches(self, columns=None, rows=65_536):
        self.journeys += 1
        table = self._table()
        yield from (table if columns is None else table.select(list(columns))).to_batches(max_chunksize=min(rows, 33))

    def _table(self):
        return pa.Table.from_pandas(self.frame, preserve_index=False)


@pytest.fixture
def place(monkeypatch):
    found = Place()
    monkeypatch.setattr(dataset, "open_source", lambda *_, **__: found)
    return found


@pytest.fixture
def clock(monkeypatch):
    """Time that passes when it is told to."""
    now = [1000.0]
    monkeypatch.setattr(dataset.time, "monotonic", lambda: now[0])
    return now


def test_there_is_one_journey_for_everything(tmp_path, place):
    found = DatasetRegistry(tmp_path).add("people", Place.url, target="y", id_column="id")
    arrays, ids = found.load_with_ids()
    assert ids[7] == "007"
    np.testing.assert_array_equal(arrays.inputs[""][:, 0], np.arange(ROWS))
    np.testing.assert_array_equal(found.columns()["age"], place.frame.age)
    assert sum(batch.num_rows for batch in found.batches()) == ROWS
    assert place.journeys == 1
    again = DatasetRegistry(tmp_path).get("people")
    assert again.load().rows == ROWS
    assert place.journeys == 1, "the next process reads what was kept"


def test_it_is_asked_now_and_then_whether_it_has_changed(tmp_path, place, clock):
    found = DatasetRegistry(tmp_path).add("people", Place.url, target="y", raw=True)
    found.description()
    looks = place.looks
    for _ in range(5):
        found.description()
    assert place.looks == looks
    place.frame, place.tag = place.frame.assign(age=1), "2"
    before = found.version
    clock[0] += dataset.STAMP_SECONDS + 1
    assert found.columns()["age"].sum() == ROWS
    assert found.version != before
    assert {entry.name for entry in (tmp_path / "store").iterdir()} == {found.version}


def test_other_columns_are_refused_and_what_was_there_stays(tmp_path, place, clock):
    found = DatasetRegistry(tmp_path).add("people", Place.url, target="y", raw=True)
    place.frame, place.tag = place.frame.assign(more=1), "2"
    clock[0] += dataset.STAMP_SECONDS + 1
    with pytest.raises(InvalidInput, match="new: more") as caught:
        found.load("train")
    assert caught.value.code == "schema-changed"


def test_a_place_that_does_not_answer_is_told(tmp_path, place, clock):
    found = DatasetRegistry(tmp_path).add("people", Place.url, target="y", raw=True)
    place.away = True
    clock[0] += dataset.STAMP_SECONDS + 1
    with pytest.raises(Unreachable):
        found.columns()
    place.away = False
    assert found.columns().rows == ROWS


def test_what_is_kept_can_be_lost(tmp_path, place):
    found = DatasetRegistry(tmp_path).add("people", Place.url, target="y", raw=True)
    for file in (tmp_path / "store").rglob("columns.arrow"):
        file.unlink()
    assert found.columns()["age"].tolist() == list(range(ROWS))
    assert place.journeys == 2
