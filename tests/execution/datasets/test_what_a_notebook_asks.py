"""`flaas.datasets` with arguments as people type them: taken if they are clear, refused by name if not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sqlalchemy.engine import make_url

import flaas_jupyter as flaas
from flaas_jupyter.cli import main
from flaas_jupyter.errors import FlaasError
from flaas_jupyter.execution.datasets import DatasetRegistry

ROWS = 24


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def table() -> pd.DataFrame:
    return pd.DataFrame({"age": np.arange(ROWS) + 20, "label": np.arange(ROWS) % 2})


def refused(code: str, call, *args, **kwargs) -> FlaasError:
    with pytest.raises(FlaasError) as error:
        call(*args, **kwargs)
    assert error.value.code == code, error.value
    return error.value


@pytest.mark.parametrize(
    ("argument", "value", "code"),
    [
        ("projects", 5, "bad-argument"),
        ("projects", ["credit", None], "bad-argument"),
        ("operations", ("fly",), "bad-argument"),
        ("operations", "fly", "bad-argument"),
        ("schema", 5, "bad-schema"),
        ("schema", [5], "bad-schema"),
        ("format", 5, "bad-argument"),
        ("query", 5, "bad-argument"),
        ("secret", 5, "bad-argument"),
        ("target", ["label"], "bad-argument"),
        ("id_column", 1.5, "bad-argument"),
        ("raw", "no", "bad-argument"),
        ("classes", "x", "bad-classes"),
        ("classes", 0, "bad-classes"),
        ("classes", True, "bad-classes"),
    ],
)
def test_what_an_argument_may_not_be_is_refused_by_its_name(home, argument, value, code):
    told = refused(code, flaas.datasets.register, "loans", table(), **{"target": "label", argument: value})
    if not isinstance(value, list):
        assert argument in told.message
    assert flaas.datasets.list().empty if home.exists() else True


@pytest.mark.parametrize("name", [None, 3, "", "a/b"])
def test_what_is_no_name_is_refused_everywhere(home, name):
    refused("bad-dataset-name", flaas.datasets.register, name, table(), target="label")
    for call in (flaas.datasets.open, flaas.datasets.describe, flaas.datasets.remove):
        assert "name is" in refused("bad-dataset-name", call, name).message


def test_one_text_is_one_project_and_one_operation(home):
    flaas.datasets.register("loans", table(), target="label", projects="credit", operations="train")
    registered = DatasetRegistry(home).get("loans").registration
    assert (registered.projects, registered.operations) == (("credit",), ("train",))
    assert list(flaas.datasets.open("loans", columns="age")) == ["age"]
    assert len(flaas.datasets.open("loans", rows=0)) == 0
    for rows in (-1, "5", 1.5):
        assert "rows" in refused("bad-argument", flaas.datasets.open, "loans", rows=rows).message
    refused("bad-argument", flaas.datasets.open, "loans", columns=[])


def test_places_that_are_none_are_refused(home, tmp_path):
    for place in ("", "  "):
        assert "source" in refused("bad-source", flaas.datasets.register, "loans", place, target="label").message
    assert len(refused("unreadable-data", flaas.datasets.register, "loans", "a" * 5000, target="label").message) < 400
    table().to_csv(tmp_path / "loans.csv", index=False)
    refused("bad-source", flaas.datasets.register, "loans", tmp_path / "loans.csv", target="label", secret="store")
    refused("bad-argument", flaas.datasets.register, "loans", table(), target="label", query="SELECT 1")
    address = make_url("postgresql://me:hunter2@db.example/warehouse")
    told = refused("credentials-in-url", flaas.datasets.register, "loans", address, query="SELECT 1", target="a")
    assert "hunter2" not in str(told)


def test_columns_may_have_numbers_for_names_and_one_level_of_them(home):
    numbered = table().set_axis([0, 1], axis=1)
    assert flaas.datasets.register("numbered", numbered, target=1)["target"]["name"] == "1"
    levels = table().set_axis(pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")]), axis=1)
    assert "levels" in refused("bad-source", flaas.datasets.register, "levels", levels, target="label").message
    mixed = table().assign(note=[1, "Ms. Secret"] * (ROWS // 2))
    told = refused("bad-source", flaas.datasets.register, "mixed", mixed, target="label", raw=True)
    assert "'note'" in told.message
    assert "Secret" not in str(told)
    escaped = table().rename(columns={"age": "a\x1b[31mge"})
    refused("bad-column-name", flaas.datasets.register, "escaped", escaped, target="label")


def test_structured_arrays_are_tables(home):
    flaas.datasets.register("loans", table().to_records(index=False), target="label")
    assert list(flaas.datasets.open("loans")) == ["age", "label"]
    assert "DataFrame" in refused("bad-source", flaas.datasets.register, "array", np.zeros((9, 2))).hint


@pytest.mark.parametrize("values", [pd.period_range("2020-01", periods=ROWS, freq="M"), pd.interval_range(0, ROWS)])
def test_periods_and_intervals_are_refused_with_their_column(home, tmp_path, values):
    frame = table().assign(span=values)
    assert "'span'" in refused("unreadable-data", flaas.datasets.register, "t", frame, target="label", raw=True).message
    frame.to_parquet(tmp_path / "t.parquet")
    path = tmp_path / "t.parquet"
    assert "'span'" in refused("unreadable-data", flaas.datasets.register, "t", path, target="label", raw=True).message


def test_texts_that_are_declared_are_texts_in_csv(home, tmp_path):
    table().assign(code=[f"{i:05}" for i in range(ROWS)]).to_csv(tmp_path / "t.csv", index=False)
    for name, schema in (("a", {"code": {"dtype": "string"}}), ("b", None)):
        flaas.datasets.register(name, tmp_path / "t.csv", target="label", raw=True, schema=schema)
    assert flaas.datasets.open("a").code[7] == "00007"
    assert flaas.datasets.open("b").code[7] == 7


def test_what_others_are_told_is_what_the_policy_lets_out(home, tmp_path):
    table().assign(faith="x", person=[f"p{i}" for i in range(ROWS)]).to_csv(tmp_path / "t.csv", index=False)
    schema = [{"name": "faith", "role": "sensitive"}, {"name": "person", "role": "id"}, {"name": "age", "unit": "y"}]
    told = flaas.datasets.register("t", tmp_path / "t.csv", target="label", raw=True, schema=schema)
    assert [entry["name"] for entry in told["schema"]] == ["age"]
    runner = CliRunner(env={"FLAAS_HOME": str(home)})
    shown = runner.invoke(main, ["dataset", "show", "t", "--json"]).output
    assert "faith" not in shown
    assert "person" not in shown
    (home / "node.toml").write_text('[policy]\nminimum_rows = 1\nexplore = "nothing"\n')
    described = flaas.datasets.describe("t")
    assert described["target"]["name"] == "withheld"
    assert "age" not in runner.invoke(main, ["dataset", "show", "t", "--json"]).output


def test_a_table_without_a_target_is_told_both_ways(home, tmp_path):
    table().to_csv(tmp_path / "t.csv", index=False)
    told = refused("no-target", flaas.datasets.register, "t", tmp_path / "t.csv")
    for way in ("--raw", "--no-target", "--id", "raw=True", "target=", "id_column="):
        assert way in told.hint


def test_targets_of_arrays_are_listed(home):
    flaas.datasets.register("images", (np.zeros((ROWS, 2, 2), "float32"), np.arange(ROWS) % 2))
    assert flaas.datasets.list().target.tolist() == ["y"]
