"""Registering data as they come: raw tables, declared columns, other places; versions and lineage; changed minds."""

from __future__ import annotations

import json
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flaas_jupyter.errors import FlaasError, InvalidInput, NotAllowed, NotFound
from flaas_jupyter.execution.datasets import DatasetRegistry
from flaas_jupyter.execution.datasets.lineage import lineage_of, versions_of
from flaas_jupyter.execution.datasets.schema import DatasetSchema
from flaas_jupyter.execution.exploring import offered
from flaas_jupyter.execution.policy import Policy

SECRET = "Ms. Secret"
ROWS = 60


@pytest.fixture
def registry(tmp_path):
    return DatasetRegistry(tmp_path / "home")


def patients() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "name": [SECRET] * ROWS,
            "age": rng.integers(18, 90, ROWS).astype("float64"),
            "smokes": pd.array(rng.random(ROWS) > 0.5, "boolean"),
            "city": rng.choice(["Bonn", "Köln"], ROWS),
            "seen": pd.date_range("2020-01-01", periods=ROWS),
            "visits": pd.array(rng.integers(0, 9, ROWS), "Int64"),
            "outcome": rng.choice(["ill", "well"], ROWS),
        }
    )
    frame.loc[[4, 9], ["age", "city"]] = None
    frame.loc[3, "visits"] = pd.NA
    frame.loc[5, "smokes"] = pd.NA
    frame.loc[7, "seen"] = pd.NaT
    return frame


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "patients.parquet"
    patients().to_parquet(file, index=False)
    return file


def refused(kind: type[FlaasError], code: str, call, *args, **kwargs) -> FlaasError:
    with pytest.raises(kind) as error:
        call(*args, **kwargs)
    assert error.value.code == code, error.value
    assert SECRET not in json.dumps(error.value.to_dict())
    return error.value


# ---- raw ------------------------------------------------------------------------------------------------------------


def test_texts_and_missing_values_may_stay_if_the_owner_says_so(registry, path):
    told = refused(InvalidInput, "non-numeric", registry.add, "p", path, target="outcome")
    assert "--raw" in told.hint
    description = registry.add("p", path, target="outcome", raw=True).description()
    assert {entry["name"]: entry["dtype"] for entry in description["features"]} == {
        "name": "string",
        "age": "float64",
        "smokes": "bool",
        "city": "string",
        "seen": "timestamp",
        "visits": "int64",
    }
    assert description["target"] == {"name": "outcome", "dtype": "string", "kind": "multiclass", "classes": None}
    assert SECRET not in json.dumps(description)


def test_the_hint_of_missing_values_names_raw(registry, tmp_path):
    patients()[["age", "visits"]].assign(y=np.arange(ROWS) % 2).to_csv(tmp_path / "t.csv", index=False)
    told = refused(InvalidInput, "missing-values", registry.add, "p", tmp_path / "t.csv", target="y")
    assert "'age' (2 rows), 'visits' (1 rows)" in told.message
    assert "--raw" in told.hint


def test_columns_of_raw_data_are_numpy_s(registry, path):
    frame = patients()
    columns = registry.add("p", path, target="outcome", raw=True).columns()
    assert columns["city"].dtype == object
    assert columns["city"][4] is None
    assert columns["city"][0] == frame.city[0]
    np.testing.assert_array_equal(columns["age"], frame.age)
    assert columns["visits"].dtype == columns["smokes"].dtype == np.float64
    assert np.isnan(columns["visits"][3])
    assert np.isnan(columns["smokes"][5])
    assert columns["seen"].dtype.kind == "M"
    assert np.isnat(columns["seen"][7])


def test_no_model_takes_raw_data_without_preprocessing(registry, path):
    dataset = registry.add("p", path, target="outcome", raw=True)
    told = refused(NotAllowed, "needs-preprocessing", dataset.load)
    assert "preprocessing=" in told.hint


def test_raw_data_need_no_target_and_labels_as_they_come(registry, path, tmp_path):
    assert registry.add("p", path, raw=True).description()["target"] is None
    frame = patients().assign(y=np.resize([3.0, 7.0, np.nan], ROWS), z=np.resize([3, 7], ROWS))
    frame.to_parquet(tmp_path / "t.parquet", index=False)
    kinds = {
        target: registry.add(target, tmp_path / "t.parquet", target=target, raw=True).description()["target"]["kind"]
        for target in ("y", "z", "smokes")
    }
    assert kinds == {"y": "regression", "z": "multiclass", "smokes": "binary"}


@pytest.mark.parametrize("names", [("x_x", "y_y"), ("x_x", "x_b", "y"), ("x", "y"), ("x_b", "x_a", "y_b", "y_a")])
def test_arrays_are_told_apart_whatever_they_are_called(registry, tmp_path, names):
    arrays = {name: np.full((ROWS, 2), i) if name[0] == "x" else np.arange(ROWS) % 2 for i, name in enumerate(names)}
    np.savez(tmp_path / "a.npz", **arrays)
    loaded = registry.add("a", tmp_path / "a.npz").load()
    for name, values in arrays.items():
        np.testing.assert_array_equal((loaded.inputs if name[0] == "x" else loaded.targets)[name[2:]], values)


def test_truth_values_with_axes_and_tensors_that_are_missing(registry, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(ROWS * 3).reshape(ROWS, 3) % 2 == 0, y=np.arange(ROWS) % 2 == 0)
    loaded = registry.add("a", tmp_path / "a.npz").load()
    assert loaded.inputs[""].dtype == bool
    assert loaded.inputs[""][0].tolist() == [True, False, True]
    kind = pa.fixed_shape_tensor(pa.float32(), (2,))
    storage = pa.array([[1.0, 2.0], None] * (ROWS // 2), kind.storage_type)
    table = pa.table({"x": pa.ExtensionArray.from_storage(kind, storage), "y": np.arange(ROWS) % 2})
    pq.write_table(table, tmp_path / "t.parquet")
    told = refused(InvalidInput, "missing-values", registry.add, "t", tmp_path / "t.parquet")
    assert f"'x' ({ROWS // 2} rows)" in told.message
    columns = registry.add("t", tmp_path / "t.parquet", raw=True).columns()
    assert columns["x[1]"][0] == 2.0
    assert np.isnan(columns["x[1]"][1])


@pytest.mark.parametrize("rows", ["34,0.5,1\n", "34,17,1\n"])
def test_a_table_without_names_is_refused_before_values_are_told_as_names(registry, tmp_path, rows):
    (tmp_path / "t.csv").write_text(rows + "12,0.25,0\n" * ROWS)
    for options in ({"raw": True}, {"target": "1"}, {"target": "label"}):
        told = refused(InvalidInput, "no-header", registry.add, "t", tmp_path / "t.csv", **options)
        assert "34" not in str(told).replace(str(tmp_path), "")
    pd.DataFrame(np.ones((ROWS, 3), int)).to_csv(tmp_path / "named.csv", index=False)
    registry.add("t", tmp_path / "named.csv", target="2")


# ---- declared -------------------------------------------------------------------------------------------------------


def test_ids_and_sensitive_columns_are_no_features_and_not_told(registry, path):
    schema = DatasetSchema.from_list(
        [
            {"name": "name", "role": "id"},
            {"name": "city", "role": "sensitive"},
            {"name": "age", "unit": "years", "range": [0, 120]},
            {"name": "outcome", "role": "label"},
        ]
    )
    dataset = registry.add("p", path, raw=True, schema=schema)
    description = offered(dataset.description(), Policy())
    assert [entry["name"] for entry in description["features"]] == ["age", "smokes", "seen", "visits"]
    assert description["target"]["name"] == "outcome"
    assert [entry["name"] for entry in description["schema"]] == ["age", "outcome"]
    assert "city" not in json.dumps(description)
    assert "city" not in dataset.columns()
    assert dataset.schema == schema
    assert DatasetRegistry(registry._home).get("p").schema == schema


def test_sensitive_texts_do_not_keep_a_table_of_numbers_from_training(registry, tmp_path):
    frame = patients()[["name", "city"]].assign(age=np.arange(ROWS), y=np.arange(ROWS) % 2)
    frame.to_csv(tmp_path / "t.csv", index=False)
    schema = DatasetSchema.from_list([{"name": "name", "role": "id"}, {"name": "city", "role": "sensitive"}])
    arrays = registry.add("p", tmp_path / "t.csv", target="y", schema=schema).load()
    assert arrays.columns == ("age",)


def test_a_schema_of_columns_that_are_not_there_is_refused(registry, path):
    schema = DatasetSchema.from_list([{"name": "aeg", "unit": "years"}])
    told = refused(InvalidInput, "unknown-column", registry.add, "p", path, raw=True, schema=schema)
    assert "'age'" in told.hint
    assert registry.list() == []


# ---- versions and lineage -------------------------------------------------------------------------------------------


def run(number: int, **more) -> dict:
    return {"id": f"run-{number}", "project": "credit", "model_digest": "m" * 64, **more}


def test_versions_and_the_runs_that_used_them_are_written_down(registry, tmp_path):
    home, path = tmp_path / "home", tmp_path / "t.csv"
    frame = pd.DataFrame({"age": range(ROWS), "y": np.arange(ROWS) % 2})
    frame.to_csv(path, index=False)
    dataset = registry.add("t", path, target="y")
    first = dataset.version
    dataset.load()
    for _ in range(2):  # a run that is resumed is one use
        dataset.note_use(run(1))
    dataset.note_use(run(2, operation="train"))
    frame.assign(age=frame.age + 1).to_csv(path, index=False)
    os.utime(path, ns=(7, 7))
    dataset.load()
    dataset.note_use(run(3))
    second = dataset.version
    assert [(entry["run"], entry["version"]) for entry in dataset.lineage] == [
        ("run-1", first),
        ("run-2", first),
        ("run-3", second),
    ]
    assert [(entry["version"], entry["rows"], entry["runs"]) for entry in versions_of(home, "t")] == [
        (first, ROWS, 2),
        (second, ROWS, 1),
    ]
    for name in ("lineage.jsonl", "versions.jsonl"):
        assert (home / name).stat().st_mode & 0o777 == 0o600


def test_lineage_outlives_the_data_set_and_a_line_that_was_cut_off(registry, tmp_path):
    home, path = tmp_path / "home", tmp_path / "t.csv"
    pd.DataFrame({"age": range(ROWS), "y": np.arange(ROWS) % 2}).to_csv(path, index=False)
    dataset = registry.add("t", path, target="y")
    dataset.note_use(run(1))
    with (home / "lineage.jsonl").open("a") as file:
        file.write('{"dataset": "t", "versi')
    dataset.note_use(run(2))
    registry.remove("t")
    assert [entry["run"] for entry in lineage_of(home, "t")] == ["run-1", "run-2"]


# ---- changed minds --------------------------------------------------------------------------------------------------


def test_whoever_holds_a_data_set_that_was_removed_or_registered_otherwise_is_told(registry, tmp_path):
    path = tmp_path / "t.csv"
    pd.DataFrame({"age": range(ROWS), "y": np.arange(ROWS) % 2}).to_csv(path, index=False)
    held = registry.add("t", path, target="y", projects=("credit",))
    other = DatasetRegistry(tmp_path / "home")  # the command, while the node runs
    other.remove("t")
    refused(NotFound, "unknown-dataset", held.load)
    other.add("t", path, target="y", projects=("claims",))
    refused(InvalidInput, "schema-changed", held.load)
    assert registry.get("t").description()["projects"] == ["claims"]
    assert registry.get("t").load().rows == ROWS


def test_the_same_file_with_other_columns_can_be_registered_anew_while_the_node_runs(registry, tmp_path):
    path = tmp_path / "t.csv"
    frame = pd.DataFrame({"age": range(ROWS), "y": np.arange(ROWS) % 2})
    frame.to_csv(path, index=False)
    held = registry.add("t", path, target="y")
    frame.assign(height=1.5).to_csv(path, index=False)
    refused(InvalidInput, "schema-changed", registry.get("t").load)
    other = DatasetRegistry(tmp_path / "home")
    other.remove("t")
    other.add("t", path, target="y")
    assert registry.get("t").load().columns == ("age", "height")
    refused(InvalidInput, "schema-changed", held.load)


def test_a_registry_file_of_the_last_release_is_good(tmp_path):
    home, path = tmp_path / "home", tmp_path / "t.csv"
    home.mkdir()
    pd.DataFrame({"age": range(ROWS), "y": np.arange(ROWS) % 2}).to_csv(path, index=False)
    about = path.stat()
    entry = {
        "name": "t", "path": str(path), "target": "y", "projects": [], "operations": ["train"], "classes": None,
        "rows": ROWS, "features": [{"name": "age", "dtype": "int64", "shape": []}],
        "targets": [{"name": "y", "dtype": "int64", "kind": "binary", "classes": 2}],
        "size": about.st_size, "modified_ns": about.st_mtime_ns,
    }  # fmt: skip
    (home / "datasets.json").write_text(json.dumps({"version": 1, "datasets": [entry]}))
    registry = DatasetRegistry(home)
    assert registry.get("t").load().rows == ROWS
    assert len(registry.get("t").version) == 64
    assert DatasetRegistry(home).get("t").registration.version == registry.get("t").version


def test_a_link_that_was_put_in_place_of_the_file_is_not_followed(registry, tmp_path):
    path, other = tmp_path / "t.csv", tmp_path / "other.csv"
    frame = pd.DataFrame({"age": range(ROWS), "y": np.arange(ROWS) % 2})
    frame.to_csv(path, index=False)
    frame.assign(age=99).to_csv(other, index=False)
    registry.add("t", path, target="y")
    path.unlink()
    path.symlink_to(other)
    refused(InvalidInput, "moved-data", DatasetRegistry(tmp_path / "home").get("t").load)


def test_two_processes_may_register_at_once(tmp_path):
    frame = pd.DataFrame({"age": range(ROWS), "y": np.arange(ROWS) % 2})
    frame.to_csv(tmp_path / "t.csv", index=False)
    one, other = DatasetRegistry(tmp_path / "home"), DatasetRegistry(tmp_path / "home")
    one.list(), other.list()
    one.add("a", tmp_path / "t.csv", target="y")
    other.add("b", tmp_path / "t.csv", target="y")
    assert [entry.name for entry in one.list()] == ["a", "b"]


def test_a_wide_table_is_taken_and_one_that_is_too_wide_is_told(registry, tmp_path):
    wide = pd.DataFrame(np.ones((30, 3000), "float32"), columns=[f"c{i}" for i in range(3000)])
    wide.assign(y=np.arange(30) % 2).to_parquet(tmp_path / "wide.parquet")
    assert registry.add("wide", tmp_path / "wide.parquet", target="y").load().inputs[""].shape == (30, 3000)
    for columns in (30_000, 100_000):
        header = ",".join(f"c{i}" for i in range(columns))
        (tmp_path / "t.csv").write_text(header + ",y\n" + ("1," * columns + "0\n") * 2)
        refused(InvalidInput, "too-many-columns", registry.add, "t", tmp_path / "t.csv", target="y")
