"""Columns of data sets by name, as statistics read them, and what an owner's policy says of statistics."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from flaas_jupyter.errors import InvalidInput, NotAllowed
from flaas_jupyter.execution.columns import Columns, names
from flaas_jupyter.execution.datasets import DatasetRegistry
from flaas_jupyter.execution.policy import Policy

DESCRIPTION = {"name": "people", "projects": ["demo"], "rows": 50}


@pytest.fixture
def registry(tmp_path):
    return DatasetRegistry(tmp_path)


def test_columns_have_the_types_and_values_of_the_file(tmp_path, registry):
    table = pd.DataFrame({"id": [2**40 + 1, 2**40 + 3] * 15, "share": [0.1, 0.7] * 15, "sick": [0, 1] * 15})
    table.to_parquet(tmp_path / "people.parquet")
    columns = registry.add("people", tmp_path / "people.parquet", target="sick").columns()
    assert list(columns) == ["id", "share", "sick"]
    assert columns["id"].dtype == np.int64
    assert columns["id"][0] == 2**40 + 1, "training reads float32, which has no such number"
    assert columns["share"].tolist() == table.share.tolist()
    assert columns.rows == 30
    with pytest.raises(ValueError, match="read-only"):
        columns["share"][0] = 1.0
    assert columns["share"] is columns["share"], "made once"


def test_columns_are_read_again_when_the_file_changes(tmp_path, registry):
    table = pd.DataFrame({"age": range(30), "sick": [0, 1] * 15})
    table.to_csv(tmp_path / "people.csv", index=False)
    dataset = registry.add("people", tmp_path / "people.csv", target="sick")
    before = dataset.columns()
    assert dataset.columns() is before
    table.assign(age=table.age + 100).to_csv(tmp_path / "people.csv", index=False)
    assert dataset.columns()["age"].min() == 100


def test_arrays_have_numbered_columns(tmp_path, registry):
    x, y = np.arange(240.0).reshape(30, 2, 4), np.arange(30) % 2
    np.savez(tmp_path / "images.npz", x=x, y=y)
    dataset = registry.add("images", tmp_path / "images.npz")
    columns, described = dataset.columns(), dataset.registration
    assert list(columns) == [*(f"x[{i}]" for i in range(8)), "y"]
    assert columns["x[5]"].tolist() == x.reshape(30, 8)[:, 5].tolist()
    assert names(described.features, described.targets) == list(columns)


def test_a_column_of_a_wide_array_is_made_when_it_is_asked_for():
    columns = Columns({"x": np.zeros((10, 1000)), "y": np.zeros(10)})
    assert len(columns) == 1001
    assert columns["x[999]"].flags.c_contiguous
    assert len(columns._made) == 1
    with pytest.raises(KeyError):
        columns["x[1000]"]


def test_a_data_set_that_is_registered_for_something_else_is_not_asked(tmp_path, registry):
    pd.DataFrame({"age": range(30), "sick": [0, 1] * 15}).to_csv(tmp_path / "people.csv", index=False)
    dataset = registry.add("people", tmp_path / "people.csv", target="sick", operations=("vertical",))
    with pytest.raises(NotAllowed) as caught:
        dataset.columns()
    assert caught.value.code == "policy-operation"


def test_a_fresh_policy_answers_no_statistics(tmp_path):
    (tmp_path / "node.toml").write_text(Policy.default_toml())
    policy = Policy.load(tmp_path / "node.toml")
    assert (policy.minimum_group, policy.analytics_epsilon, policy.analytics_privacy) == (10, 0.0, "optional")
    (tmp_path / "open.toml").write_text(Policy.default_toml(operations=("train", "analytics")))
    assert Policy.load(tmp_path / "open.toml").operations == ("train", "analytics")
    policy = Policy(projects=("demo",))
    with pytest.raises(NotAllowed) as caught:
        policy.check_query("demo", "analytics", None, 0, DESCRIPTION)
    assert caught.value.code == "policy-operation"


@pytest.mark.parametrize(
    "line",
    [
        "minimum_group = 0",
        'analytics_privacy = "yes"',
        "analytics_epsilon = -1.0",
        "analytics_epsilon = inf",
        "analytics_steps = 0",
        'analytics_order = "any"',
        'analytics_derived = "exact"',
    ],
)
def test_a_policy_that_says_nothing_sensible_of_statistics_is_refused(tmp_path, line):
    (tmp_path / "node.toml").write_text(f"[policy]\n{line}\n")
    with pytest.raises(InvalidInput) as caught:
        Policy.load(tmp_path / "node.toml")
    assert caught.value.code == "bad-policy"
    assert line.partition(" ")[0] in str(caught.value)


def test_a_data_set_can_have_stricter_rules_than_the_node(tmp_path):
    (tmp_path / "node.toml").write_text(
        '[policy]\nprojects = ["demo"]\noperations = ["analytics"]\n'
        '[policy.datasets.people]\nminimum_group = 50\nanalytics_privacy = "required"\n'
    )
    policy = Policy.load(tmp_path / "node.toml")
    policy.check_query("demo", "analytics", None, 0, {**DESCRIPTION, "name": "others"})
    policy.check_query("demo", "analytics", 1.0, 0, DESCRIPTION)
    with pytest.raises(NotAllowed) as caught:
        policy.check_query("demo", "analytics", None, 0, DESCRIPTION)
    assert caught.value.code == "policy-analytics-privacy"
    assert policy.for_dataset("people").minimum_group == 50


def test_exact_sums_for_a_model_are_refused_where_training_must_be_private():
    policy = Policy(projects=("demo",), privacy="required")
    with pytest.raises(NotAllowed) as caught:
        policy.check_query("demo", "train", None, 0, DESCRIPTION)
    assert caught.value.code == "policy-privacy"
    policy.check_query("demo", "train", 1.0, 0, DESCRIPTION)
