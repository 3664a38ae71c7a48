"""``flaas costs`` without an API: as somebody types it on a fresh machine."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from flaas_jupyter.cli import main
from flaas_jupyter.costs import Catalog, Need


@pytest.fixture
def flaas(tmp_path, monkeypatch):
    """Run ``flaas costs`` in a home with nothing in it."""
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path))
    for name in ("FLAAS_URL", "FLAAS_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments, code=0):
        done = CliRunner().invoke(main, ["costs", *arguments])
        assert done.exit_code == code, done.output
        return done

    return run


def test_templates_are_listed(flaas):
    assert "hospital-imaging" in flaas("templates").stdout
    names = {entry["name"] for entry in json.loads(flaas("templates", "--json").stdout)}
    assert {"defence-reputation", "defence-quadratic-voting"} <= names
    assert len(names) >= 14


def test_an_estimate_needs_no_account_and_no_api(flaas):
    done = flaas("estimate", "imaging-large", "--nodes", "2", "--pin", "node-2=DE")
    assert "Google Cloud" in done.stdout
    assert "Cheapest" in done.stdout
    answer = json.loads(flaas("estimate", "imaging-large", "--nodes", "2", "--pin", "node-2=DE", "--json").stdout)
    assert [node["name"] for node in answer["plan"]["nodes"]] == ["node-1", "node-2"]
    assert answer["plan"]["nodes"][1]["country"] == "DE"
    assert f"{answer['plan']['total_usd']:.2f} USD" in done.stdout


def test_recommend_without_a_token_answers_from_this_machine(flaas):
    assert "Plan:" in flaas("recommend", "tabular-small").stdout


def test_candidates_are_those_of_the_catalog(flaas):
    rows = json.loads(flaas("candidates", "--vcpus", "4", "--memory", "16", "--area", "DE,FR,GB", "--json").stdout)
    usable = [row for row in rows if not row["reason"]]
    best = Catalog.embedded().cheapest(Need(vcpus=4, memory_gib=16), area=["DE", "FR", "GB"])
    assert usable[0]["instance_type"] == best.instance_type
    assert {row["country"] for row in usable} <= {"DE", "FR", "GB"}
    rows = json.loads(flaas("candidates", "--vcpus", "4", "--memory", "16", "--json").stdout)
    assert any("outside the EU (GB)" in row["reason"] for row in rows), "what was set aside is shown, too"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["estimate", "tabular-smal"], 1, "tabular-small"),
        (["estimate", "tabular-small", "--area", "Atlantis"], 1, "Atlantis"),
        (["estimate", "tabular-small", "--pin", "node-9=aws"], 1, "node-9"),
        (["estimate", "tabular-small", "--rounds", "0"], 2, "rounds"),
        (["candidates", "--vcpus", "-1"], 2, "vcpus"),
        (["refresh", "--local"], 1, "no-provider"),
        (["refresh", "--with", "aws"], 1, "PROVIDER=FILE"),
        (["bill"], 1, "no-token"),
        (["launch", "tabular-small", "--project", "demo"], 1, "no-token"),
        (["account", "add", "nimbus"], 1, "nimbus"),
    ],
)
def test_what_cannot_be_done_is_said(flaas, arguments, code, words):
    assert words in flaas(*arguments, code=code).output


def test_credentials_in_a_file_are_never_quoted(flaas, tmp_path):
    path = tmp_path / "aws.json"
    path.write_text('{"access_key_id": "AKIASECRETKEY", "wrong": "hush"}')
    output = flaas("refresh", "--with", f"aws={path}", code=1).output
    assert "secret_access_key is missing" in output
    assert "wrong is unknown" in output
    assert "AKIASECRETKEY" not in output
    assert "hush" not in output


def test_without_a_plan_the_reason_stands_below_the_table(flaas):
    lines = flaas("estimate", "tabular-small", "--pin", "node-1=aws", "--budget", "0.01").stdout.splitlines()
    reason = next(line for line in lines if line.startswith("No placement"))
    assert "A budget of" in reason
