"""Which runs the tables are made of: rules × attacks × shares of attackers × seeds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any


@dataclass(frozen=True)
class Choice:
    """A rule or an attack by its registered name, with the options that are not the defaults."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


RULES = {
    "FedAvg": Choice("fedavg"),
    "FedQV": Choice("fedqv"),
    "FedQV, average on silence": Choice("fedqv", {"on_silence": "average"}),
    "FedQV, θ = 0": Choice("fedqv", {"theta": 0.0}),
    "FedQV + reputation": Choice("fedqv_reputation"),
    "FedQV + reputation, as released": Choice("fedqv_reputation", {"variant": "released-2024"}),
    "Reputation": Choice("reputation"),
    "Reputation, as released": Choice("reputation", {"variant": "released-2024"}),
    "Residual": Choice("residual"),
    "Median": Choice("median"),
    "Multi-Krum, f = 3": Choice("multi_krum", {"byzantine": 3}),
}
ATTACKS = {
    "none": None,
    "label flip": Choice("label_flip"),
    "Gaussian": Choice("gaussian"),
    "Krum (negated)": Choice("krum_attack", {"variant": "released"}),
    "Trim (negated)": Choice("trim_attack", {"variant": "released"}),
    "backdoor": Choice("backdoor", {"target": 5, "share": 1.0}),
    "Neurotoxin": Choice("neurotoxin", {"target": 5, "share": 1.0}),
}
# Where a data set has attacks of its own: Religion passes as Clear, cats as dogs; the trigger are five words of Health.
OWN_ATTACKS = {
    ("sensitive-topics", "label flip"): Choice("label_flip", {"source": 0, "target": 5}),
    ("sensitive-topics", "backdoor"): Choice(
        "backdoor", {"target": 0, "trigger": "features", "features_from": 1, "values_from": 5}
    ),
    ("cifar10", "label flip"): Choice("label_flip", {"source": 3, "target": 5}),
}
MAIN = ("FedQV + reputation", "FedAvg", "FedQV", "Reputation", "Multi-Krum, f = 3")
TOPICS = ("FedAvg", "Median", "Residual", "Reputation", "Reputation, as released", "FedQV + reputation")
TOPICS_AGAIN = ("FedAvg", "Reputation")
RELEASED = ("FedQV + reputation, as released", "Reputation, as released")


@dataclass(frozen=True)
class Cell:
    """One run: keys of `RULES` and `ATTACKS`, the share of attackers and the seed of everything random."""

    rule: str
    attack: str
    fraction: float
    seed: int
    dataset: str = "mnist"

    @property
    def attack_choice(self) -> Choice | None:
        """The attack with the options that it has on this data set.

        Where one class passes as another, nobody attacks as a label flip by a fraction of 0, which measures how often
        the model confuses the two by itself.
        """
        name = "label flip" if self.attack == "none" else self.attack
        return OWN_ATTACKS.get((self.dataset, name), ATTACKS[self.attack])

    @property
    def settings(self) -> dict[str, Any]:
        """The run as it is written to the results."""
        rule, attack = RULES[self.rule], self.attack_choice
        return {
            "dataset": self.dataset,
            "rule": rule.name,
            "rule_options": rule.options,
            "attack": attack.name if attack else None,
            "attack_options": attack.options if attack else {},
            "fraction": self.fraction,
            "seed": self.seed,
        }

    @property
    def key(self) -> str:
        """What finished runs are known by."""
        return json.dumps(self.settings, sort_keys=True)


def cells(quick: bool = False) -> list[Cell]:
    """Return every run once, those that the papers' main claims rest on first."""
    return list(dict.fromkeys(_main() if quick else _all()))


def _main() -> Iterator[Cell]:
    """What the claims rest on: both attacked and not, as in the paper and as released, backdoors of few and of many."""
    for attack, rule in product(("none", "label flip", "Krum (negated)"), MAIN):
        yield _cell(rule, attack, 0.3, 0)
    for rule in RELEASED:
        yield _cell(rule, "label flip", 0.3, 0)
    for rule in ("FedQV + reputation", "FedAvg"):
        yield _cell(rule, "Gaussian", 0.3, 0)
    for seed, attack in product((1, 2), ("none", "label flip")):
        yield _cell("FedQV + reputation", attack, 0.3, seed)
    for fraction in (0.1, 0.3):
        yield _cell("FedQV + reputation", "backdoor", fraction, 0)
    yield _cell("FedAvg", "backdoor", 0.1, 0)


def _all() -> Iterator[Cell]:
    yield from _main()
    for rule in RELEASED:
        yield _cell(rule, "Krum (negated)", 0.3, 0)
    for fraction, rule in product((0.1, 0.3), MAIN):
        yield _cell(rule, "backdoor", fraction, 0)
    for attack, rule in product(("label flip", "none", "Gaussian", "Krum (negated)", "backdoor"), RULES):
        yield _cell(rule, attack, 0.3, 0)
    for attack, rule in product(("label flip", "Krum (negated)"), MAIN):
        yield _cell(rule, attack, 0.1, 0)
    for seed, attack, rule in product((1, 2), ("none", "label flip", "Gaussian", "Krum (negated)"), MAIN):
        yield _cell(rule, attack, 0.3, seed)
    for attack, rule in product(("Trim (negated)", "Neurotoxin"), RULES):
        yield _cell(rule, attack, 0.3, 0)
    for attack, rule in product(("none", "label flip", "backdoor"), MAIN):
        yield _cell(rule, attack, 0.3, 0, "fashion-mnist")
    for seed, rules in ((0, TOPICS), (1, TOPICS_AGAIN), (2, TOPICS_AGAIN)):
        for attack, rule in product(("none", "label flip", "backdoor"), rules):
            yield _cell(rule, attack, 0.3, seed, "sensitive-topics")
    for attack, rule in product(("none", "label flip"), MAIN):
        yield _cell(rule, attack, 0.3, 0, "cifar10")


def _cell(rule: str, attack: str, fraction: float, seed: int, dataset: str = "mnist") -> Cell:
    return Cell(rule, attack, 0.0 if attack == "none" else fraction, seed, dataset)
