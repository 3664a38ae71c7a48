import json
import os

import numpy as np
import pandas as pd
import pytest

from flaas_jupyter.errors import Conflict, InvalidInput, NotAllowed, NotFound
from flaas_jupyter.execution.datasets import DatasetRegistry
from flaas_jupyter.execution.policy import Policy, allow_project

SECRET = "Ms. Secret"


@pytest.fixture
def registry(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    return DatasetRegistry(home)


def loans(rows: int = 30, **columns) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = {"age": rng.integers(18, 90, rows), "income": rng.normal(size=rows), "owns": rng.random(rows) > 0.5}
    return pd.DataFrame(table | columns | {"label": np.arange(rows) % 2})


@pytest.fixture
def csv(tmp_path):
    def write(table: pd.DataFrame, name: str = "loans.csv", **options):
        path = tmp_path / name
        table.to_csv(path, index=False, **options)
        return path

    return write


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        path = tmp_path / "arrays.npz"
        np.savez(path, **arrays)
        return path

    return write


def refused(code: str, call, *args, **kwargs) -> InvalidInput:
    with pytest.raises(InvalidInput) as error:
        call(*args, **kwargs)
    assert error.value.code == code, error.value
    return error.value


# ---- what is acceptable ---------------------------------------------------------------------------------------------


def test_a_csv_is_registered_described_and_loaded(registry, csv):
    table = loans()
    dataset = registry.add("loans", csv(table), target="label", projects=("credit",))
    assert dataset.description() == {
        "name": "loans",
        "projects": ["credit"],
        "rows": 30,
        "features": [
            {"name": "age", "dtype": "int64", "shape": []},
            {"name": "income", "dtype": "float64", "shape": []},
            {"name": "owns", "dtype": "bool", "shape": []},
        ],
        "target": {"name": "label", "dtype": "int64", "kind": "binary", "classes": 2},
    }
    arrays = dataset.load()
    np.testing.assert_allclose(arrays.inputs[""], table[["age", "income", "owns"]].to_numpy("float32"), rtol=1e-6)
    np.testing.assert_array_equal(arrays.targets[""], table["label"])
    assert (arrays.inputs[""].dtype, arrays.columns, arrays.rows) == ("float32", ("age", "income", "owns"), 30)


@pytest.mark.parametrize("kind", ["loans.parquet", "loans.pq", "loans.csv.gz", "LOANS.CSV"])
def test_other_kinds_of_tables_give_the_same_arrays(registry, csv, tmp_path, kind):
    table = loans()
    path = tmp_path / kind
    table.to_parquet(path) if "p" in kind.partition(".")[2] else csv(table, kind)
    plain = registry.add("plain", csv(table, "plain.csv"), target="label").load()
    other = registry.add("other", path, target="label")
    np.testing.assert_array_equal(other.load().inputs[""], plain.inputs[""])
    np.testing.assert_array_equal(other.load().targets[""], plain.targets[""])
    assert other.description()["features"] == registry.get("plain").description()["features"]


def test_an_npz_of_one_input_and_target(registry, npz):
    x, y = np.ones((30, 4, 4), "float32"), np.arange(30) % 3
    dataset = registry.add("images", npz(x=x, y=y))
    assert dataset.description()["features"] == [{"name": "x", "dtype": "float32", "shape": [4, 4]}]
    assert dataset.description()["target"] == {"name": "y", "dtype": "int64", "kind": "multiclass", "classes": 3}
    np.testing.assert_array_equal(dataset.load().inputs[""], x)


def test_an_npz_of_several_inputs_and_targets(registry, npz):
    path = npz(
        x_image=np.ones((30, 2, 2)), x_table=np.ones((30, 3)), y_risk=np.arange(30) % 2, y_cost=np.arange(30) / 7
    )
    dataset = registry.add("mixed", path)
    description = dataset.description()
    assert [feature["name"] for feature in description["features"]] == ["image", "table"]
    assert [(target["name"], target["kind"]) for target in description["targets"]] == [
        ("cost", "regression"), ("risk", "binary")
    ]  # fmt: skip
    assert description["target"] == description["targets"][0]
    assert set(dataset.load().inputs) == {"image", "table"}
    assert set(dataset.load().targets) == {"risk", "cost"}


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        ([0, 1], "binary", 2),
        ([0.0, 1.0], "binary", 2),
        ([False, True], "binary", 2),
        ([0, 0], "binary", 2),
        ([0, 1, 2], "multiclass", 3),
        ([0.5, 1.5], "regression", None),
    ],
)
def test_the_target_tells_what_is_predicted(registry, csv, values, kind, classes):
    table = loans().assign(label=np.resize(values, 30))
    target = registry.add("loans", csv(table), target="label").description()["target"]
    assert (target["kind"], target["classes"]) == (kind, classes)


def test_a_node_may_lack_classes_if_it_says_how_many_there_are(registry, csv):
    table = loans().assign(label=np.resize([1, 4], 30))
    told = refused("bad-classes", registry.add, "loans", csv(table), target="label")
    assert "no row of class 0" in told.message
    target = registry.add("loans", csv(table), target="label", classes=6).description()["target"]
    assert (target["kind"], target["classes"]) == ("multiclass", 6)


@pytest.mark.parametrize(("values", "classes"), [([-1, 1], None), ([0, 5], 3)])
def test_classes_out_of_range_are_refused(registry, csv, values, classes):
    table = loans().assign(label=np.resize(values, 30))
    refused("bad-classes", registry.add, "loans", csv(table), target="label", classes=classes)


# ---- what is not ----------------------------------------------------------------------------------------------------


def test_a_missing_target_lists_the_columns(registry, csv):
    told = refused("no-target", registry.add, "loans", csv(loans()), target="default")
    assert "'default'" in told.message
    assert "age, income, owns, label" in told.message
    refused("no-target", registry.add, "loans", csv(loans()))


def test_a_column_of_text_is_named_by_row_and_column_without_its_value(registry, csv):
    names = np.array(["12"] * 30, dtype=object)
    names[6] = SECRET
    told = refused("non-numeric", registry.add, "loans", csv(loans(name=names)), target="label")
    assert "row 7 of column 'name'" in told.message
    assert SECRET not in json.dumps(told.to_dict())


def test_labels_of_text_are_refused_with_what_to_do(registry, csv):
    table = loans().assign(label=np.resize(["healthy", "sick"], 30))
    told = refused("non-numeric", registry.add, "loans", csv(table), target="label")
    assert "0 to K-1" in told.hint
    assert "sick" not in json.dumps(told.to_dict())


def test_dates_and_categories_are_refused(registry, tmp_path):
    for column in (pd.date_range("2020", periods=30), pd.Categorical(["a", "b"] * 15)):
        path = tmp_path / "t.parquet"
        loans(when=column).to_parquet(path)
        assert "'when'" in refused("non-numeric", registry.add, "loans", path, target="label").message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_missing_and_infinite_values_are_counted_by_column(registry, csv, value):
    table = loans()
    table.loc[[4, 9], "income"] = value
    told = refused("missing-values", registry.add, "loans", csv(table), target="label")
    assert "'income' (2 rows)" in told.message
    assert "row 5 of 'income'" in told.message
    assert "dropna" in told.hint


def test_missing_targets_and_values_beyond_single_precision_are_found(registry, csv):
    table = loans().astype({"label": float})
    table.loc[3, "label"] = np.nan
    assert "'label' (1 rows)" in refused("missing-values", registry.add, "loans", csv(table), target="label").message
    huge = loans(big=np.full(30, 1e300))
    assert "'big'" in refused("missing-values", registry.add, "loans", csv(huge), target="label").message


def test_columns_of_the_same_name_are_refused(registry, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,a,label\n" + "1,2,3,0\n" * 30)
    assert "name: a." in refused("duplicate-columns", registry.add, "loans", path, target="label").message


def test_an_index_that_was_written_by_accident_is_noticed(registry, tmp_path):
    path = tmp_path / "t.csv"
    loans().to_csv(path)
    told = refused("unnamed-column", registry.add, "loans", path, target="label")
    assert "index=False" in told.hint


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("t.csv", b"", "empty-data"),
        ("t.csv", b"a,label\n", "empty-data"),
        ("t.csv", b"label\n1\n0\n", "empty-data"),
        ("t.csv", b"a,label\n1,\xff\xfe\xe9\n", "unreadable-data"),
        ("t.csv", b"a,label\n1,2\n1,2,3,4\n", "unreadable-data"),
        ("t.csv.gz", b"not gzip", "unreadable-data"),
        ("t.parquet", b"PAR1 nonsense", "unreadable-data"),
        ("t.npz", b"PK nonsense", "unreadable-data"),
        ("t.xlsx", b"PK", "unknown-data-format"),
    ],
)
def test_files_that_cannot_be_read_are_told_by_name(registry, tmp_path, name, content, code):
    path = tmp_path / name
    path.write_bytes(content)
    told = refused(code, registry.add, "loans", path, target=None if name.endswith("npz") else "label")
    assert str(path) in told.message


def test_a_file_that_is_not_there_is_told(registry, tmp_path):
    assert (
        "No such file" in refused("unreadable-data", registry.add, "loans", tmp_path / "gone.csv", target="a").message
    )


def test_npz_files_are_checked_as_strictly(registry, npz):
    x, y = np.ones((30, 3)), np.arange(30) % 2
    bad = x.copy()
    bad[4, 1] = np.nan
    assert "'x' (1 rows)" in refused("missing-values", registry.add, "a", npz(x=bad, y=y)).message
    assert "x 30, y 29" in refused("unreadable-data", registry.add, "a", npz(x=x, y=y[1:])).message
    refused("non-numeric", registry.add, "a", npz(x=x, y=np.resize(["a", "b"], 30)))
    refused("unreadable-data", registry.add, "a", npz(x=x.astype(object), y=y))
    assert "holds: x" in refused("no-target", registry.add, "a", npz(x=x)).message
    refused("unreadable-data", registry.add, "a", npz(x=x, x_more=x, y=y))
    refused("unreadable-data", registry.add, "a", npz(x=x, y=y, z=y))
    refused("empty-data", registry.add, "a", npz(x=x[:0], y=y[:0]))
    refused("no-target", registry.add, "a", npz(x=x, y=y), target="label")


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", ".a", "x" * 65])
def test_a_bad_name_is_refused(registry, csv, name):
    refused("bad-dataset-name", registry.add, name, csv(loans()), target="label")


def test_fewer_rows_than_the_policy_wants_are_refused(registry, csv, tmp_path):
    (tmp_path / "home" / "node.toml").write_text(Policy.default_toml())
    told = refused("too-few-rows", registry.add, "loans", csv(loans(19)), target="label")
    assert "19" in told.message
    assert "20" in told.message
    registry.add("loans", csv(loans(20)), target="label")


# ---- the registry ---------------------------------------------------------------------------------------------------


def test_data_sets_are_listed_found_and_removed(registry, csv, tmp_path):
    path = csv(loans())
    registry.add("b", path, target="label")
    registry.add("a", path, target="label", projects=["credit"])
    again = DatasetRegistry(tmp_path / "home")
    assert [entry.name for entry in again.list()] == ["a", "b"]
    entry = again.list()[0].to_dict()
    assert (entry["name"], entry["path"], entry["target"], entry["projects"]) == ("a", str(path), "label", ("credit",))
    with pytest.raises(Conflict, match="'a'"):
        again.add("a", path, target="label")
    again.remove("a")
    with pytest.raises(NotFound, match="it has: b"):
        again.get("a")
    with pytest.raises(NotFound):
        again.remove("a")
    assert path.exists()


def test_the_registry_file_is_private_and_holds_no_values(registry, csv, tmp_path):
    registry.add("loans", csv(loans(code=np.full(30, 987654))), target="label")
    file = tmp_path / "home" / "datasets.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "987654" not in file.read_text()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"version": 9, "datasets": []}', '{"version": 1, "datasets": [{}]}']
)
def test_a_broken_registry_file_is_told(registry, tmp_path, content):
    (tmp_path / "home" / "datasets.json").write_text(content)
    refused("bad-registry", registry.list)


def test_without_projects_it_is_offered_to_those_the_policy_lets_in(registry, csv, tmp_path):
    dataset = registry.add("loans", csv(loans()), target="label")
    assert dataset.description()["projects"] == []
    policy = tmp_path / "home" / "node.toml"
    policy.write_text(Policy.default_toml())
    allow_project(policy, "credit")
    assert dataset.description()["projects"] == ["credit"]


def test_only_registered_operations_get_the_data(registry, csv):
    dataset = registry.add("loans", csv(loans()), target="label", operations=("statistics",))
    with pytest.raises(NotAllowed, match="'train'") as error:
        dataset.load()
    assert error.value.code == "policy-operation"
    assert dataset.load("statistics").rows == 30


def test_the_file_is_read_once(registry, csv, tmp_path):
    path = csv(loans())
    arrays = registry.add("loans", path, target="label").load()
    assert registry.get("loans").load() is arrays


def changed(path, table: pd.DataFrame) -> None:
    """Write `table` with a time stamp that differs, however coarse the clock."""
    before = path.stat().st_mtime_ns
    table.to_csv(path, index=False)
    os.utime(path, ns=(before + 1_000_000_000, before + 1_000_000_000))


def test_new_rows_are_taken_up(registry, csv):
    path = csv(loans())
    dataset = registry.add("loans", path, target="label")
    before = dataset.load()
    changed(path, loans(44))
    assert dataset.description()["rows"] == 44
    assert dataset.load().rows == 44
    assert before.rows == 30


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (loans(40, height=np.ones(40)), "new: height"),
        (loans(40).drop(columns="age"), "missing: age"),
        (loans(40).astype({"age": float}).assign(age=0.5), "of another type: age"),
        (loans(40)[["income", "age", "owns", "label"]], "another order"),
    ],
    ids=["new", "missing", "type", "order"],
)
def test_another_schema_is_refused(registry, csv, table, told):
    path = csv(loans())
    dataset = registry.add("loans", path, target="label")
    changed(path, table)
    for use in (dataset.load, dataset.description):
        assert told in refused("schema-changed", use).message


def test_a_changed_file_is_checked_as_a_new_one_is(registry, csv):
    path = csv(loans())
    dataset = registry.add("loans", path, target="label")
    bad = loans()
    bad.loc[3, "income"] = np.inf
    changed(path, bad)
    refused("missing-values", dataset.load)
    changed(path, loans())
    assert dataset.load().rows == 30
    path.unlink()
    refused("unreadable-data", dataset.description)
