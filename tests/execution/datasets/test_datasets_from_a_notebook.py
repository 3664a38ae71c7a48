"""`flaas.datasets`: the owner registers and opens, everybody else is told what they may do instead."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import Conflict, FlaasError, InvalidInput, NotAllowed, NotFound
from flaas_jupyter.execution.datasets import DatasetRegistry

ROWS = 60


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def table(**more) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"age": rng.integers(18, 90, ROWS), "city": rng.choice(["Bonn", None], ROWS)} | more).assign(
        label=np.arange(ROWS) % 2
    )


def refused(kind: type[FlaasError], code: str, call, *args, **kwargs) -> FlaasError:
    with pytest.raises(kind) as error:
        call(*args, **kwargs)
    assert error.value.code == code, error.value
    return error.value


OBJECTS = {
    "frame": table().drop(columns="city"),
    "arrow": pa.Table.from_pandas(table().drop(columns="city")),
    "dict": {"age": table().age.to_numpy(), "label": np.arange(ROWS) % 2},
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_objects_are_registered_and_opened(home, kind):
    description = flaas.datasets.register("loans", OBJECTS[kind], target="label")
    assert description["rows"] == ROWS
    assert [entry["name"] for entry in description["features"]] == ["age"]
    opened = flaas.datasets.open("loans")
    pd.testing.assert_frame_equal(opened, table().drop(columns="city"), check_dtype=False)
    assert DatasetRegistry(home).get("loans").load().rows == ROWS
    for file in (home / "data").iterdir():
        assert file.stat().st_mode & 0o077 == 0


def test_arrays_keep_their_axes(home):
    x, y = np.random.default_rng(0).random((ROWS, 2, 3)).astype("float32"), np.arange(ROWS) % 2
    assert flaas.datasets.register("images", (x, y))["features"] == [{"name": "x", "dtype": "float32", "shape": [2, 3]}]
    arrays = DatasetRegistry(home).get("images").load()
    np.testing.assert_array_equal(arrays.inputs[""], x)
    np.testing.assert_array_equal(arrays.targets[""], y)
    opened = flaas.datasets.open("images")
    assert list(opened) == [*(f"x[{i}]" for i in range(6)), "y"]
    np.testing.assert_array_equal(opened["x[4]"], x[:, 1, 1])


def test_a_file_is_registered_where_it_is(home, tmp_path):
    table().to_csv(tmp_path / "loans.csv", index=False)
    flaas.datasets.register("loans", tmp_path / "loans.csv", target="label", raw=True, projects=["credit"])
    told = flaas.datasets.describe("loans")
    assert told["path"] == str(tmp_path / "loans.csv")
    assert told["projects"] == ["credit"]
    assert len(told["version"]) == 64
    flaas.datasets.remove("loans")
    assert (tmp_path / "loans.csv").exists()


def test_everything_is_the_owner_s(home, tmp_path):
    frame = table(name=["x"] * ROWS, id=[f"{i:03}" for i in range(ROWS)])
    frame.to_csv(tmp_path / "p.csv", index=False)
    schema = {"columns": {"name": {"role": "sensitive"}, "age": {"unit": "years"}}}
    flaas.datasets.register("p", tmp_path / "p.csv", target="label", raw=True, id_column="id", schema=schema)
    opened = flaas.datasets.open("p")
    assert list(opened) == list(frame)
    assert opened.id[7] == "007"
    assert opened.city.isna().sum() == frame.city.isna().sum()
    assert list(flaas.datasets.open("p", columns=["label", "age"], rows=5).columns) == ["label", "age"]
    assert len(flaas.datasets.open("p", rows=5)) == 5
    opened.loc[:, "age"] = 0
    assert flaas.datasets.open("p").age.sum() == frame.age.sum()


def test_the_copy_of_an_object_goes_with_the_data_set(home):
    flaas.datasets.register("loans", table(), target="label", raw=True)
    assert len(list((home / "data").iterdir())) == 1
    flaas.datasets.remove("loans")
    assert list((home / "data").iterdir()) == []
    refused(NotFound, "unknown-dataset", flaas.datasets.open, "loans")


def test_what_is_refused_leaves_nothing(home):
    refused(InvalidInput, "non-numeric", flaas.datasets.register, "loans", table(), target="label")
    refused(InvalidInput, "bad-dataset-name", flaas.datasets.register, "../x", table(), target="label")
    refused(InvalidInput, "bad-source", flaas.datasets.register, "loans", 17, target="label")
    assert [file for file in home.rglob("*") if file.is_file() and file.suffix in (".parquet", ".arrow")] == []
    flaas.datasets.register("loans", table(), target="label", raw=True)
    refused(Conflict, "dataset-exists", flaas.datasets.register, "loans", table(), target="label", raw=True)


def test_they_are_listed(home):
    flaas.datasets.register("b", table(), target="label", raw=True)
    flaas.datasets.register("a", table().drop(columns="city"), target="label")
    listed = flaas.datasets.list()
    assert listed.name.tolist() == ["a", "b"]
    assert listed.rows.tolist() == [ROWS, ROWS]
    assert listed.raw.tolist() == [False, True]


# ---- who is not the owner -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", [flaas.datasets.open, flaas.datasets.describe, flaas.datasets.remove])
def test_who_is_not_at_the_node_is_told_what_they_may_do(home, call):
    home.mkdir()
    (home / "credentials.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "token": "t"}))  # a developer's
    told = refused(NotAllowed, "not-the-owner", call, "loans")
    assert "'loans'" in told.message
    for way in ("federation.analytics", "federation.explore()", "model.fit(federation)"):
        assert way in told.hint
    assert refused(NotAllowed, "not-the-owner", flaas.datasets.list).hint == told.hint


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_who_may_not_read_the_node_s_folder_is_not_its_owner(home):
    flaas.datasets.register("loans", table(), target="label", raw=True)
    home.chmod(0o000)
    try:
        refused(NotAllowed, "not-the-owner", flaas.datasets.open, "loans")
        refused(NotAllowed, "not-the-owner", flaas.datasets.register, "more", table(), target="label", raw=True)
    finally:
        home.chmod(0o700)


def test_who_may_not_read_the_list_is_not_the_owner(home, monkeypatch):
    flaas.datasets.register("loans", table(), target="label", raw=True)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    told = refused(NotAllowed, "not-the-owner", flaas.datasets.open, "loans")
    assert "not yours to read" in told.message


def test_a_data_set_of_another_node_is_not_here(home):
    flaas.datasets.register("loans", table(), target="label", raw=True)
    told = refused(NotFound, "unknown-dataset", flaas.datasets.open, "claims")
    assert "it has: loans" in told.message
    assert "federation.analytics" in told.hint


def test_a_schema_is_drafted_from_a_table():
    draft = flaas.datasets.DatasetSchema.infer(pd.DataFrame({"age": [40, 50], "sick": [0, 1]}), target="sick")
    assert {column.name: column.role for column in draft.columns} == {"age": "feature", "sick": "label"}
    assert "age" in draft.to_toml()
