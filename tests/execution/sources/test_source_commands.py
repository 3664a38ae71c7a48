"""Registering data from every place as a node's owner does, and what who is refused is told."""

import json
import sqlite3

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from tables import encoded, npz

import flaas_jupyter as flaas
from flaas_jupyter.cli import main
from flaas_jupyter.errors import FlaasError

ROWS = 40
LOANS = pd.DataFrame({"age": np.arange(ROWS) + 20, "income": np.linspace(0, 1, ROWS), "default": np.arange(ROWS) % 2})


@pytest.fixture(autouse=True)
def own_home(home, monkeypatch):
    monkeypatch.setenv("FLAAS_HOME", str(home))


def run(*arguments, code=0) -> str:
    result = CliRunner().invoke(main, ["dataset", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def refused(name, place, *options, code) -> str:
    """Refused on the command line and in a notebook, with the same code; return what is said."""
    said = run("add", name, place, "--target", "default", *options, code=1)
    assert f"[{code}]" in said
    given = dict(zip((option.removeprefix("--") for option in options[::2]), options[1::2], strict=True))
    with pytest.raises(FlaasError) as error:
        flaas.datasets.register(name, place, target="default", **given)
    assert error.value.code == code
    assert "no data sets" in run("list") or name not in run("list")
    return said + str(error.value)


@pytest.mark.parametrize("end", [".csv", ".csv.gz", ".parquet", ".feather", ".jsonl"])
def test_a_table_is_registered_from_everywhere(place, end):
    url = place.put(f"loans/loans{end}", encoded(LOANS)[end])
    said = json.loads(run("add", "loans", url, "--target", "default", "--json"))
    assert said["rows"] == ROWS
    assert [feature["name"] for feature in said["features"]] == ["age", "income"]
    pd.testing.assert_frame_equal(flaas.datasets.open("loans")[LOANS.columns], LOANS, check_dtype=False)
    assert url.rpartition("/")[2] in run("list")


def test_arrays_are_registered_from_everywhere(place):
    url = place.put("arrays/a.npz", npz(x=np.zeros((ROWS, 3), "float32"), y=np.arange(ROWS) % 2))
    assert json.loads(run("add", "arrays", url, "--json"))["features"] == [
        {"name": "x", "dtype": "float32", "shape": [3]}
    ]


def test_images_in_folders_are_registered(tmp_path, image):
    for label in ("cat", "dog"):
        for number in range(3):
            path = tmp_path / f"pets/{label}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image((5, 4), 7))
    said = json.loads(run("add", "pets", tmp_path / "pets", "--json"))
    assert said["rows"] == 6
    assert said["features"][0]["shape"] == [4, 5, 1]


def test_the_answer_of_a_data_base_is_registered(cluster, tmp_path):
    name = cluster.create()
    cluster.execute(
        'CREATE TABLE loans AS SELECT g + 20 AS age, g / 39.0 AS income, g % 2 AS "default" '
        "FROM generate_series(0, 39) g",
        name=name,
    )
    query = 'SELECT age, income::float8 AS income, "default" FROM loans ORDER BY age'
    run("add", "loans", cluster.url(name), "--target", "default", "--query", query)
    pd.testing.assert_frame_equal(flaas.datasets.open("loans")[LOANS.columns], LOANS, check_dtype=False)
    with sqlite3.connect(tmp_path / "loans.db") as connection:
        LOANS.to_sql("loans", connection, index=False)
    connection.close()
    run("add", "lite", f"sqlite:///{tmp_path}/loans.db", "--target", "default", "--query", "SELECT * FROM loans")
    assert len(flaas.datasets.open("lite")) == ROWS
    refused("gone", cluster.url(name), "--query", "DELETE FROM loans", code="not-a-select")
    refused("gone", cluster.url(name), "--query", "SELECT 1; DROP TABLE loans", code="not-a-select")
    refused("gone", cluster.url(name), code="not-a-select")
    cluster.drop(name)


def test_who_is_refused_is_told_why_and_what_to_do(tmp_path, home, https):
    loans = tmp_path / "loans.csv"
    LOANS.to_csv(loans, index=False)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link.csv").symlink_to(loans)
    (home / "node.toml").write_text(f'[policy]\nminimum_rows = 1\ndata_folders = ["{tmp_path}/in"]\n')
    for place, code in (
        (str(loans), "policy-data-folders"),
        (f"{tmp_path}/in/../loans.csv", "policy-data-folders"),
        (f"{tmp_path}/in/link.csv", "link-out-of-folder"),
        (f"{home}/node.key", "own-home"),
        ("https://169.254.169.254/latest/meta-data/iam.csv", "policy-data-hosts"),
        ("https://169.254.169.254/latest", "policy-data-hosts"),
        (https.put("loans.csv", encoded(LOANS)[".csv"]), "policy-data-hosts"),
        ("s3://AKIA1:hunter2@hospital/loans.csv", "credentials-in-url"),
        ("https://files.example/loans.csv?sig=hunter2", "credentials-in-url"),
        ("postgresql://reader:hunter2@db.example/loans", "credentials-in-url"),
        ("ftp://files.example/loans.csv", "unknown-source"),
    ):
        said = refused("loans", place, code=code)
        assert "hunter2" not in said
    assert https.requests == []
    assert "flaas secret set" in refused(
        "loans", "https://files.example/loans.csv", "--secret", "none", code="unknown-secret"
    )
