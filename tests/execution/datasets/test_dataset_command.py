"""``flaas dataset`` as an operator uses it."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from flaas_jupyter.cli import main
from flaas_jupyter.execution.datasets import DatasetRegistry

ROWS = 60


@pytest.fixture
def flaas(tmp_path):
    runner = CliRunner(env={"FLAAS_HOME": str(tmp_path / "home")})
    return lambda *arguments: runner.invoke(main, ["dataset", *map(str, arguments)])


@pytest.fixture
def path(tmp_path):
    frame = pd.DataFrame({"age": range(ROWS), "city": ["Bonn", None] * (ROWS // 2), "label": np.arange(ROWS) % 2})
    frame.to_csv(tmp_path / "people.csv", index=False)
    return tmp_path / "people.csv"


def test_a_raw_table_with_a_schema_is_added_and_shown(flaas, path, tmp_path):
    toml = tmp_path / "schema.toml"
    toml.write_text(
        '[columns.age]\nunit = "years"\n[columns.city]\nrole = "sensitive"\n[columns.label]\nrole = "label"\n'
    )
    told = flaas("add", "people", path, "--raw", "--schema", toml)
    assert told.output == "people: 60 rows, 1 features, target label.\n"
    shown = json.loads(flaas("show", "people", "--json").output)
    assert (shown["path"], shown["raw"], len(shown["version"])) == (str(path), True, 64)
    text = flaas("show", "people").output
    for part in ("60 rows", shown["version"], "age", "raw: texts and missing values stay"):
        assert part in text
    assert "Bonn" not in text + json.dumps(shown)
    assert shown["version"][:12] in flaas("list").output


def test_what_is_refused_says_how_to_go_on(flaas, path):
    told = flaas("add", "people", path, "--target", "label")
    assert told.exit_code == 1
    assert "--raw" in told.output
    assert "[non-numeric]" in told.output
    assert flaas("add", "people", path, "--raw").exit_code == 2
    assert flaas("add", "people", path, "--raw", "--no-target").exit_code == 0
    assert flaas("show", "nobody").exit_code == 1


def test_credentials_in_a_url_are_refused_and_not_repeated(flaas):
    told = flaas("add", "people", "https://me:hunter2@example.org/people.csv", "--target", "label")
    assert told.exit_code == 1
    assert "[credentials-in-url]" in told.output
    assert "hunter2" not in told.output


def test_versions_and_lineage_are_shown(flaas, path, tmp_path):
    flaas("add", "people", path, "--target", "label", "--raw")
    dataset = DatasetRegistry(tmp_path / "home").get("people")
    dataset.note_use({"id": "run-1", "project": "credit", "model_digest": "m" * 64})
    pd.read_csv(path).iloc[:50].to_csv(path, index=False)
    versions = json.loads(flaas("versions", "people", "--json").output)
    assert [(entry["rows"], entry["runs"]) for entry in versions] == [(60, 1), (50, 0)]
    (use,) = json.loads(flaas("lineage", "people", "--json").output)
    assert (use["run"], use["version"], use["project"]) == ("run-1", versions[0]["version"], "credit")
    assert "run-1" in flaas("lineage", "people").output
    assert versions[1]["version"] in flaas("versions", "people").output


def test_quality_is_reported(flaas, path):
    flaas("add", "people", path, "--target", "label", "--raw")
    told = flaas("quality", "people")
    assert told.exit_code == 0, told.output
    assert "city" in told.output
    assert flaas("quality", "people", "--json").exit_code == 0


def test_a_removed_data_set_is_gone_and_its_file_is_not(flaas, path):
    flaas("add", "people", path, "--target", "label", "--raw")
    assert flaas("remove", "people").exit_code == 0
    assert path.exists()
    assert json.loads(flaas("list", "--json").output) == []
