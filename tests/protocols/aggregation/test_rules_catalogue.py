"""What the registry says of its rules, and docs/aggregation.md: its table and its code."""

from __future__ import annotations

import json
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from rules_table import table

import flaas_jupyter as flaas
from flaas_jupyter.protocols import aggregation as package
from flaas_jupyter.protocols.aggregation import FedAvg, RuleRegistry, aggregation, describe, names

DOCUMENT = Path(__file__).parents[3] / "docs" / "aggregation.md"


@pytest.fixture
def code() -> list[str]:
    """The document's Python blocks."""
    return re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)


def test_every_rule_is_described_in_json():
    entries = json.loads(json.dumps(describe()))
    assert [entry["name"] for entry in entries] == names()
    for entry in entries:
        assert all(entry[key].endswith(".") for key in ("summary", "defends", "limits"))
        assert {option["name"]: option["default"] for option in entry["options"]} == aggregation(entry["name"]).options
        assert all(option["type"] for option in entry["options"])


def test_it_is_said_what_goes_with_secure_aggregation():
    secure = {entry["name"]: entry for entry in describe()}
    for name in ("fedavg", "fedprox", "fedavgm", "fedadam", "fedyogi"):
        assert (secure[name]["secure_aggregation"]["supported"], secure[name]["needs"]) == (True, "sum")
    assert (secure["fedqv"]["secure_aggregation"]["supported"], secure["fedqv"]["needs"]) == (True, "scalars")
    refused = {name for name, entry in secure.items() if not entry["secure_aggregation"]["supported"]}
    assert refused == {"fltrust"}
    assert "one client's update" in secure["fltrust"]["secure_aggregation"]["reason"]
    grouped = {name: entry["secure_aggregation"] for name, entry in secure.items() if entry["needs"] == "updates"}
    assert all(entry["mode"] == "groups" for entry in grouped.values())
    assert {name for name, entry in grouped.items() if entry.get("experimental")} == {
        "fedqv_reputation", "foolsgold", "reputation", "residual",
    }  # fmt: skip
    assert {grouped[name]["clients"] for name in ("median", "trimmed_mean", "geometric_median")} == {9}
    assert {grouped[name]["clients"] for name in ("krum", "multi_krum")} == {15}
    assert "means of random groups" in grouped["krum"]["reason"]


def test_a_rule_made_by_a_function_is_described_too():
    registry = RuleRegistry("rule", "rule", {"plain": lambda: FedAvg()})
    assert registry.describe()[0]["name"] == "plain"
    assert registry.describe()[0]["options"] == []


def test_every_rule_has_its_own_file_with_formula_cost_and_limits():
    for name in names():
        module = sys.modules[type(aggregation(name)).__module__]
        assert module.__name__ == f"{package.__name__}.{name}"
        text = " ".join((module.__doc__ or "").split())
        assert "O(" in text or "`AdaptiveOptimizer`" in text
        assert re.search(r"\b(19|20)\d\d\b", text), f"{name} names no source"
        assert re.search(r"[Dd]efends against|defends against (no|nothing)", text), (
            f"{name} does not say what it defends"
        )


def test_the_table_is_what_the_registry_says():
    expected = table(describe())
    assert expected in DOCUMENT.read_text(encoding="utf-8"), f"docs/aggregation.md needs this table:\n{expected}"


def test_the_first_example_finds_the_attacker(code):
    example = next(block for block in code if "an attacker" in block)
    scope: dict[str, object] = {}
    exec(compile(example, str(DOCUMENT), "exec"), scope)
    result = scope["result"]
    assert result.contributions[6] == 0
    assert result.columns["score"].argmax() == 6


def test_the_tutorials_rule_works_with_one_file_and_one_line(code, monkeypatch):
    monkeypatch.setattr(aggregation, "_makers", dict(aggregation._makers))
    example = next(block for block in code if "an attacker" in block)
    file = next(block for block in code if "class CenteredClipping" in block)
    line = next(block for block in code if block.strip() == '"centered_clipping": CenteredClipping,')
    usage = next(block for block in code if "aggregation.register(" in block)

    module = types.ModuleType(f"{package.__name__}.centered_clipping")
    module.__package__ = package.__name__
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(file, str(DOCUMENT), "exec"), module.__dict__)
    registry = RuleRegistry("rule", "rule", eval("{" + line + "}", module.__dict__))
    options = [(each["name"], each["type"], each["default"]) for each in registry.describe()[0]["options"]]
    assert options == [("tau", "float", 10.0), ("iterations", "int", 3)]

    scope: dict[str, object] = {"CenteredClipping": module.CenteredClipping}
    exec(compile(example + usage, str(DOCUMENT), "exec"), scope)
    honest, centre = scope["updates"][:6], scope["result"].weights
    assert np.linalg.norm(centre - honest.mean(axis=0)) < np.linalg.norm(
        scope["updates"].mean(axis=0) - honest.mean(axis=0)
    )
    assert "centered_clipping" in flaas.aggregation.names()
