"""The wizard as a widget, driven as its page drives it. With a coordination API: tests/federation."""

from __future__ import annotations

import json

import pytest

from flaas_jupyter.errors import InvalidInput, NotAuthenticated
from flaas_jupyter.widgets import CostWizard


@pytest.fixture
def wizard(tmp_path, monkeypatch):
    """A wizard of somebody who is not signed in."""
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path))
    for name in ("FLAAS_URL", "FLAAS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    return CostWizard()


def clicked(wizard, do, **arguments):
    """Send what the page sends."""
    wizard._clicked(wizard, {"do": do, "with": arguments}, None)
    json.dumps(wizard.state, allow_nan=False)
    return wizard.state


def test_from_template_to_plan(wizard):
    assert wizard.state["step"] == "template"
    assert {"tabular-secure", "defence-reputation"} <= {t["name"] for t in wizard.state["templates"]}
    state = clicked(wizard, "template", name="hospital-imaging")
    assert state["step"] == "prices"
    assert [entry["provider"] for entry in state["answer"]["providers"]] == ["aws", "azure", "gcp"]
    state = clicked(wizard, "choose", provider="aws")
    assert state["step"] == "plan"
    assert {node["provider"] for node in state["plan"]["nodes"]} == {"aws"}
    state = clicked(wizard, "back")
    assert state["step"] == "prices"
    state = clicked(wizard, "choose")
    assert state["plan"] == state["answer"]["plan"]


def test_options_change_the_answer_and_are_kept(wizard):
    clicked(wizard, "template", name="tabular-small")
    before = wizard.state["answer"]["plan"]["total_usd"]
    state = clicked(wizard, "compare", nodes=6, area=["DE", "FR"])
    assert len(state["answer"]["plan"]["nodes"]) == 6
    assert {node["country"] for node in state["answer"]["plan"]["nodes"]} <= {"DE", "FR"}
    assert state["answer"]["plan"]["total_usd"] > before
    state = clicked(wizard, "compare", rounds=5)
    assert len(state["answer"]["plan"]["nodes"]) == 6, "earlier options stay"


@pytest.mark.parametrize(
    ("do", "arguments", "words"),
    [
        ("template", {"name": "nope"}, "nope"),
        ("compare", {"area": "Atlantis"}, "Atlantis"),
        ("compare", {"colour": "red"}, "colour"),
        ("choose", {"provider": "nimbus"}, "nimbus"),
        ("refresh", {}, "Nothing was launched"),
        ("launch", {"accept_usd": 1}, "signed in"),
        ("template", {"wrong": 1}, "understand"),
    ],
)
def test_what_goes_wrong_is_shown_and_nothing_is_lost(wizard, do, arguments, words):
    before = clicked(wizard, "template", name="tabular-small")
    after = clicked(wizard, do, **arguments)
    assert words in after["error"]["message"]
    assert {k: v for k, v in after.items() if k != "error"} == {k: v for k, v in before.items() if k != "error"}
    assert clicked(wizard, "choose")["error"] is None, "the next step takes the error away"


def test_garbage_from_the_page_is_ignored(wizard):
    before = wizard.state
    for garbage in ({}, {"do": "__init__"}, {"do": ["launch"]}, {"do": "compare", "with": [1]}):
        wizard._clicked(wizard, garbage, None)
    assert wizard.state == before


def test_the_same_from_code(wizard):
    wizard.choose_template("tabular-small")
    wizard.choose_provider("gcp")
    assert wizard.state["plan"]["nodes"][0]["provider"] == "gcp"
    with pytest.raises(NotAuthenticated):
        wizard.launch(1.0)
    with pytest.raises(InvalidInput, match="no option"):
        wizard.compare(colour="red")
