from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flaas_jupyter.costs import Need, Template, templates
from flaas_jupyter.errors import InvalidInput, NotFound

OWN: dict[str, Any] = {
    "name": "own",
    "title": "My own",
    "need": {"vcpus": 8, "memory_gib": 32, "gpu_names": ["T4"]},
    "area": ["DE", "FR"],
    "aggregation": "krum",
    "aggregator_need": {"vcpus": 2},
}


def test_built_in_ones_cover_the_common_set_ups() -> None:
    found = templates.builtin()
    assert len(found) >= 14
    assert len({template.name for template in found}) == len(found)
    assert {"defence-reputation", "defence-quadratic-voting"} <= {template.name for template in found}
    assert {template.aggregation for template in found} >= {"fedavg", "fedprox", "reputation", "fedqv"}
    tags = {tag for template in found for tag in template.tags}
    assert {"cpu", "gpu", "privacy", "edge", "vertical", "defence"} <= tags
    for template in found:
        assert template.title
        assert template.description


@pytest.mark.parametrize("template", templates.builtin(), ids=lambda template: template.name)
def test_templates_survive_json(template: Template) -> None:
    assert Template.from_dict(json.loads(json.dumps(template.to_dict()))) == _with_tuples(template)


def _with_tuples(template: Template) -> Template:
    return Template.from_dict(template.to_dict())


def test_own_templates_are_read_from_toml_and_json(tmp_path: Path) -> None:
    toml = tmp_path / "own.toml"
    toml.write_text(
        '[[template]]\nname = "own"\ntitle = "My own"\narea = ["DE", "FR"]\naggregation = "krum"\n'
        'need = { vcpus = 8, memory_gib = 32, gpu_names = ["T4"] }\naggregator_need = { vcpus = 2 }\n'
        '[[template]]\nname = "second"\ntitle = "Second"\nneed = { vcpus = 1 }\n'
    )
    one, two = templates.load(toml)
    assert one == Template.from_dict(OWN)
    assert one.need == Need(vcpus=8, memory_gib=32, gpu_count=1, gpu_names=("T4",))
    assert (one.area, one.nodes, one.description) == (("DE", "FR"), 3, "")
    assert two.name == "second"
    text = tmp_path / "own.json"
    text.write_text(json.dumps(OWN))
    assert templates.load(text) == (one,)
    assert templates.find("own", extra=[one]) is one


def test_own_template_hides_the_built_in_one() -> None:
    mine = Template.from_dict({**OWN, "name": "edge-small"})
    assert templates.find("edge-small", extra=[mine]) is mine
    assert templates.find("edge-small") is not mine


def test_unknown_template_suggests_close_ones() -> None:
    with pytest.raises(NotFound, match="hospital-imaging") as caught:
        templates.find("hospital-imagin")
    assert caught.value.code == "unknown-template"
    assert "hospital-imaging" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vcpus": 4}, ["'vcpus'", "need", "rounds"]),
        ({"need": {"vcpu": 4}}, ["'vcpu'", "vcpus"]),
        ({"need": {"vcpus": 0}}, ["vcpus=0"]),
        ({"need": None}, ["need"]),
        ({"name": "Two Words"}, ["name"]),
        ({"nodes": 0}, ["nodes=0", "1"]),
        ({"rounds": 2.5}, ["rounds=2.5"]),
        ({"hours": -1}, ["hours"]),
        ({"disk_gib": True}, ["disk_gib"]),
        ({"market": "preemptible"}, ["market", "spot"]),
        ({"area": "Atlantis"}, ["Atlantis"]),
        ({"aggregation": "fedavgg"}, ["fedavgg", "fedavg,"]),
        ({"secure_aggregation": "yes"}, ["secure_aggregation"]),
        ({"secure_aggregation": True, "nodes": 2}, ["nodes=2", "3 or more"]),
        ({"pattern": "vertical"}, ["embedding_width"]),
        ({"pattern": "bus"}, ["pattern"]),
        ({"tags": "gpu"}, ["tags"]),
        ({"tags": [1]}, ["tags"]),
        ({"tags": 5}, ["tags"]),
        ({"area": 5}, ["5", "EEA"]),
        ({"need": []}, ["mapping"]),
        ({"aggregation": []}, ["aggregation"]),
    ],
)
def test_impossible_templates_name_what_is_wrong(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        Template.from_dict({**OWN, **change})
    for word in words:
        assert word in caught.value.message


def test_missing_keys_are_named() -> None:
    with pytest.raises(InvalidInput, match="need"):
        Template.from_dict({"name": "own", "title": "t"})
    with pytest.raises(InvalidInput, match="mapping"):
        Template.from_dict([])  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "text"), [("a.toml", "[[template"), ("a.json", "{"), ("a.json", "[3]")])
def test_damaged_files(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInput) as caught:
        templates.load(tmp_path / name)
    assert caught.value.code == "bad-template"
