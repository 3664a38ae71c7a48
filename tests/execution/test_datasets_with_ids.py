"""Data sets whose rows have ids: what a party of vertical runs registers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from flaas_jupyter.cli import main
from flaas_jupyter.errors import InvalidInput, NotAllowed
from flaas_jupyter.execution.datasets import DatasetRegistry

IDS = [f"00{number}" for number in range(30)]


@pytest.fixture
def registry(tmp_path):
    return DatasetRegistry(tmp_path)


@pytest.fixture
def path(tmp_path):
    def write(table: pd.DataFrame, name: str = "usage.csv"):
        file = tmp_path / name
        table.to_parquet(file) if name.endswith("parquet") else table.to_csv(file, index=False)
        return file

    return write


def usage(**columns) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = {"customer": IDS, "calls": rng.integers(0, 9, 30), "minutes": rng.normal(size=30)}
    return pd.DataFrame(table | {name: values for name, values in columns.items() if values is not None})


def refused(code: str, call, *args, **kwargs) -> InvalidInput:
    with pytest.raises(InvalidInput) as error:
        call(*args, **kwargs)
    assert error.value.code == code, error.value
    return error.value


@pytest.mark.parametrize("name", ["usage.csv", "usage.parquet"])
def test_ids_are_no_feature_and_keep_their_zeros(registry, path, name):
    dataset = registry.add("usage", path(usage(), name), id_column="customer")
    description = dataset.description()
    assert [feature["name"] for feature in description["features"]] == ["calls", "minutes"]
    assert (description["target"], description["id_column"]) == (None, "customer")
    arrays, ids = dataset.load_with_ids()
    assert ids.tolist() == IDS
    assert (arrays.rows, arrays.columns, arrays.targets) == (30, ("calls", "minutes"), {})
    assert dict(dataset.columns("vertical"))["calls"].dtype == np.int64


def test_the_label_holder_has_ids_and_a_target(registry, path):
    dataset = registry.add("loans", path(usage(default=np.arange(30) % 2)), target="default", id_column="customer")
    assert dataset.description()["target"]["name"] == "default"
    arrays, ids = dataset.load_with_ids()
    assert (len(ids), list(arrays.targets)) == (30, [""])
    np.testing.assert_array_equal(dataset.columns("vertical")["default"], np.arange(30) % 2)


def test_whole_numbers_are_ids_as_their_digits(registry, path):
    dataset = registry.add("usage", path(usage(customer=np.arange(30) + 7), "usage.parquet"), id_column="customer")
    assert dataset.load_with_ids()[1].tolist() == [str(number) for number in range(7, 37)]


def test_a_file_that_has_changed_gives_its_new_ids(registry, path):
    file = path(usage())
    dataset = registry.add("usage", file, id_column="customer")
    dataset.load_with_ids()
    path(usage(customer=[f"x{number}" for number in range(30)]))
    assert dataset.load_with_ids()[1][0] == "x0"


@pytest.mark.parametrize(
    ("changes", "options", "code", "told"),
    [
        ({}, {"id_column": "person"}, "no-id-column", "customer, calls, minutes"),
        ({"customer": [*IDS[:-1], None]}, {"id_column": "customer"}, "bad-ids", "row 30"),
        ({"customer": [" ", *IDS[1:]]}, {"id_column": "customer"}, "bad-ids", "row 1"),
        ({"customer": [IDS[1], *IDS[1:]]}, {"id_column": "customer"}, "bad-ids", "1 of 30"),
        ({"label": 1}, {"id_column": "label", "target": "label"}, "no-id-column", "beside the target"),
        ({"calls": "often"}, {"id_column": "customer"}, "non-numeric", "'calls'"),
        ({}, {}, "no-target", "customer"),
    ],
)
def test_what_cannot_be_ids_is_refused_without_showing_any(registry, path, changes, options, code, told):
    error = refused(code, registry.add, "usage", path(usage(**changes)), **options)
    assert told in error.message
    assert IDS[1] not in str(error)


def test_fractions_are_no_ids(registry, path):
    file = path(usage(customer=np.arange(30) + 0.5), "usage.parquet")
    refused("bad-ids", registry.add, "usage", file, id_column="customer")


def test_an_npz_has_no_ids(registry, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((30, 2)), y=np.arange(30) % 2)
    refused("no-id-column", registry.add, "a", tmp_path / "a.npz", id_column="customer")


def test_a_data_set_without_ids_is_not_for_vertical_runs(registry, path):
    dataset = registry.add("loans", path(usage(customer=np.arange(30), label=1)), target="label")
    with pytest.raises(NotAllowed, match="'vertical'"):
        dataset.load_with_ids()


def test_it_is_known_with_its_ids_after_a_restart(registry, path, tmp_path):
    registry.add("usage", path(usage()), id_column="customer")
    assert DatasetRegistry(tmp_path).get("usage").load_with_ids()[1].tolist() == IDS


def test_the_command_says_what_it_has_understood(path, tmp_path):
    runner = CliRunner(env={"FLAAS_HOME": str(tmp_path / "home")})
    (tmp_path / "home").mkdir()
    file = str(path(usage()))

    def add(*options: str):
        return runner.invoke(main, ["dataset", "add", "usage", file, *options])

    assert add("--no-target").exit_code == 2
    assert add("--id", "customer").exit_code == 2
    assert add("--id", "customer", "--no-target", "--target", "calls").exit_code == 2
    told = add("--id", "customer", "--no-target")
    assert told.exit_code == 0, told.output
    assert told.output == "usage: 30 rows, 2 features, no target, ids in customer.\n"
