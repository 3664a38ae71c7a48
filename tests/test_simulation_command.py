import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from flaas_jupyter.cli import main, read_options
from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols import attacks
from flaas_jupyter.protocols.aggregation import aggregation
from flaas_jupyter.protocols.compression import compression
from flaas_jupyter.simulation.partition import Dirichlet, Shards
from flaas_jupyter.simulation_command import read_partition


@pytest.fixture
def flaas(tmp_path, monkeypatch):
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path / "home"))
    return lambda *arguments: CliRunner().invoke(main, list(arguments))


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3))
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    frame["hospital"] = np.repeat(["north", "south", "west"], 100)
    frame["ill"] = np.where(x[:, 0] + x[:, 1] > 0, "yes", "no")
    path = tmp_path / "patients.csv"
    frame.to_csv(path, index=False)
    return str(path)


def test_a_table_is_divided_by_its_own_column_and_learned(flaas, table):
    result = flaas(
        "simulate", table, "--target", "ill", "--partition", "column:hospital", "--rounds", "8", "--epochs", "2",
        "--learning-rate", "0.2", "--aggregation", "median", "--compression", "float16", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.output[result.output.index("{") :])
    assert report["clients"] == 3
    assert [row["round"] for row in report["rounds"]] == list(range(1, 9))
    assert report["last"]["val_accuracy"] > 0.85
    assert report["rounds"][-1]["loss"] < report["rounds"][0]["loss"]


def test_an_attack_shows_in_the_figures(flaas):
    result = flaas(
        "simulate", "--clients", "10", "--rounds", "2", "--attack", "label_flip", "--attack-option", "fraction=0.3",
        "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.output[result.output.index("{") :])
    assert report["attackers"] == 3
    assert "val_attack_success_rate" in report["last"]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--partition", "round-robin"], "bad-partition", "dirichlet"),
        (["--partition", "shards:many"], "bad-partition", "shards"),
        (["--aggregation", "krumm"], "unknown-aggregation", "krum"),
        (["--aggregation", "krum", "--option", "bizantine=2"], "bad-aggregation-option", "byzantine"),
        (["--option", "byzantine"], "bad-option", "name=value"),
        (["--attack", "flip"], "unknown-attack", "label_flip"),
        (["--compression", "zip"], "unknown-compression", "topk"),
        (["--compression", "topk", "--compression-option", "share=0.1"], "bad-compression-option", "fraction"),
        (["--backend", "mxnet"], "unknown-backend", "jax"),
    ],
)
def test_a_wrong_word_is_named_with_those_that_are_right(flaas, arguments, code, told):
    result = flaas("simulate", "--rounds", "1", *arguments)
    assert result.exit_code == 1
    assert f"[{code}]" in result.output
    assert told in result.output


def test_a_table_without_the_target_lists_its_columns(flaas, table):
    result = flaas("simulate", table, "--target", "sick")
    assert result.exit_code == 1
    assert "hospital" in result.output
    assert "[no-target]" in result.output


def test_protocols_lists_everything_that_can_be_asked_for(flaas):
    found = json.loads(flaas("protocols", "--json").output)
    assert [entry["name"] for entry in found["aggregation"]] == aggregation.names()
    assert [entry["name"] for entry in found["attacks"]] == attacks.names()
    assert [entry["name"] for entry in found["compression"]] == compression.names()
    assert all(entry["summary"] for entries in found.values() for entry in entries)
    text = flaas("protocols").output
    assert all(name in text for name in (*aggregation.names(), *attacks.names(), *compression.names()))


def test_partitions_and_options_are_read_from_text():
    assert read_partition("dirichlet:0.3") == Dirichlet(0.3)
    assert read_partition("shards") == Shards(2)
    assert read_options(("byzantine=2", "weighted=true", "trusted=north")) == {
        "byzantine": 2,
        "weighted": True,
        "trusted": "north",
    }
    with pytest.raises(InvalidInput, match="name=value"):
        read_options(("x",))
