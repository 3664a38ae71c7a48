"""Attacks by name: the registry, who is malicious, where an attack acts, and the documentation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import flaas_jupyter.attacks
from flaas_jupyter.errors import Conflict, InvalidInput
from flaas_jupyter.protocols import attacks
from flaas_jupyter.protocols.registry import Registry, markdown_table

NAMES = [
    "backdoor",
    "gaussian",
    "krum_attack",
    "label_flip",
    "min_max",
    "min_sum",
    "model_replacement",
    "neurotoxin",
    "qv_adaptive",
    "sign_flip",
    "trim_attack",
]


def test_the_eleven_attacks_are_there_by_name():
    assert attacks.names() == NAMES
    assert all(attacks.attack(name).name == name for name in NAMES)


def test_the_public_module_has_the_same():
    assert flaas_jupyter.attacks.LabelFlip is attacks.LabelFlip
    assert flaas_jupyter.attacks.__all__ == attacks.__all__


@pytest.mark.parametrize("name", NAMES)
def test_an_attack_is_made_again_from_its_name_and_options(name):
    attack = attacks.attack(name, fraction=0.1)
    options = json.loads(json.dumps(attack.options))
    assert attacks.attack(name, **options) == attack


def test_prepared_attacks_are_made_again_too():
    x, y = np.random.default_rng(0).uniform(size=(20, 6)), np.arange(20) % 10
    for attack in (
        attacks.Backdoor(trigger="features"),
        attacks.LabelFlip(),
        attacks.ModelReplacement(at=[3], value=1),
    ):
        made = attack.prepared(x if attack.name != "model_replacement" else x.reshape(-1, 3, 2).repeat(2, 2), y)
        assert attacks.attack(made.name, **json.loads(json.dumps(made.options))) == made


def test_an_unknown_attack_and_an_unknown_option_say_what_there_is():
    with pytest.raises(InvalidInput, match="label_flip") as refused:
        attacks.attack("labelflip")
    assert refused.value.code == "unknown-attack"
    assert refused.value.hint == "Did you mean 'label_flip'?"
    with pytest.raises(InvalidInput, match="power") as refused:
        attacks.attack("gaussian", power=2)
    assert refused.value.code == "bad-attack-option"
    assert refused.value.hint == "Its options are fraction, sigma, variant."


@pytest.mark.parametrize(
    ("clients", "fraction", "expected"),
    [(10, 0.3, 3), (10, 0, 0), (10, 1, 10), (5, 0.5, 3), (4, 0.1, 0), (100, 0.29, 29)],
)
def test_the_malicious_share_of_the_clients_is_rounded(clients, fraction, expected):
    chosen = attacks.SignFlip(fraction=fraction).choose(clients, np.random.default_rng(0))
    assert len(set(chosen)) == len(chosen) == expected
    assert sorted(chosen) == chosen.tolist()
    assert all(0 <= client < clients for client in chosen)


def test_who_is_malicious_depends_on_the_seed_only():
    draw = [attacks.SignFlip().choose(100, np.random.default_rng(seed)).tolist() for seed in (1, 1, 2)]
    assert draw[0] == draw[1] != draw[2]


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), "half", True])
def test_a_share_that_is_none_is_refused(fraction):
    with pytest.raises(InvalidInput, match="fraction"):
        attacks.LabelFlip(fraction=fraction)


def test_attacks_say_where_they_act():
    acts_on = {each["name"]: each["acts_on"] for each in attacks.describe()}
    assert acts_on["label_flip"] == acts_on["backdoor"] == "data"
    assert acts_on["krum_attack"] == "updates"
    assert acts_on["neurotoxin"] == "data, training, updates"
    assert acts_on["qv_adaptive"] == "updates, reports"
    assert attacks.LabelFlip.poisons_data
    assert not attacks.LabelFlip.crafts_updates
    assert not attacks.MinMax.poisons_data
    assert attacks.MinMax.crafts_updates


def test_only_attacks_with_a_target_have_a_success_rate():
    x, y = np.random.default_rng(0).uniform(size=(20, 8, 8)), np.arange(20) % 10
    with_tests = [
        name for name in NAMES if attacks.attack(name).prepared(x, y).tests(x, y, np.random.default_rng(0)) is not None
    ]
    assert with_tests == ["backdoor", "label_flip", "model_replacement", "neurotoxin"]


def test_a_twelfth_attack_is_one_class_and_one_line():
    @dataclass(frozen=True)
    class Silence(attacks.Attack):
        """Sends the global model back."""

        name: ClassVar[str] = "silence"
        knowledge: ClassVar[str] = "nothing more"
        measured_by: ClassVar[str] = "slower learning"
        paper: ClassVar[str] = "this test"

        def craft(self, view):
            return np.tile(view.reference, (len(view.own), 1))

    registry = Registry("attack", "attack", {}, facts=("knowledge", "acts_on"))
    registry.register("silence", Silence)
    (description,) = registry.describe()
    assert description["acts_on"] == "updates"
    assert description["summary"] == "Sends the global model back."
    assert [option["name"] for option in description["options"]] == ["fraction"]
    with pytest.raises(Conflict):
        registry.register("silence", Silence)


class TestDescriptions:
    @pytest.mark.parametrize("entry", attacks.describe(), ids=lambda entry: entry["name"])
    def test_every_attack_and_every_option_is_described(self, entry):
        json.dumps(entry)
        assert all(entry[fact] for fact in ("summary", "knowledge", "measured_by", "paper"))
        assert all(option["type"] and option["help"] for option in entry["options"])
        assert entry["options"][0] == {
            "name": "fraction",
            "default": 0.3,
            "required": False,
            "type": "float",
            "help": "Share of the clients that are malicious, from 0 to 1: a fixed random set.",
        }

    def test_a_function_can_be_an_entry(self):
        def grey(level, *, alpha=1.0):
            """Make grey.

            Parameters
            ----------
            level : float
                How light,
                from 0.
            alpha : float
                Opacity.

            Returns
            -------
            tuple
                No option.
            """

        (entry,) = Registry("colour", "colour", {"grey": grey}).describe()
        assert entry["class"] == "grey"
        assert entry["options"] == [
            {"name": "level", "default": None, "required": True, "type": "float", "help": "How light, from 0."},
            {"name": "alpha", "default": 1.0, "required": False, "type": "float", "help": "Opacity."},
        ]

    def test_the_documentation_has_the_table_that_the_attacks_give(self):
        head = ["attack", "what it does", "acts on", "knows beside its own data", "shows in", "source"]
        rows = [
            [
                f"`{each['class']}`",
                each["summary"],
                each["acts_on"],
                each["knowledge"],
                each["measured_by"],
                each["paper"],
            ]
            for each in attacks.describe()
        ]
        table = markdown_table(head, rows)
        text = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text(encoding="utf-8")
        assert table in text, f"docs/attacks.md needs this table:\n{table}"
