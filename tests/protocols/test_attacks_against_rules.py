"""Attacks against the rules that they are made for: what reaches the global model."""

from __future__ import annotations

import numpy as np
import pytest

from flaas_jupyter.protocols import attacks
from flaas_jupyter.protocols.aggregation import aggregation
from flaas_jupyter.protocols.attacks import AttackView

BENIGN, MALICIOUS, PARAMETERS = 14, 5, 300


def view(seed, drift=0.05):
    """A round in which the benign clients move by `drift`, each with noise of its own around it."""
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=PARAMETERS)
    goal = reference + drift * rng.choice([-1.0, 1.0], PARAMETERS)
    rows = goal + 0.1 * rng.normal(size=(BENIGN + MALICIOUS, PARAMETERS))
    return AttackView(
        reference=reference,
        own=rows[:MALICIOUS],
        benign=rows[MALICIOUS:],
        previous=None,
        round=1,
        rounds=1,
        num_examples=np.full(MALICIOUS, 10.0),
        rng=rng,
    )


def outcome(rule, attack, seen):
    """How far the round gets on the benign mean's way (1: all of it), and how far beside it ends (in ways)."""
    sent = seen.own if attack is None else attack.craft(seen)
    models = np.concatenate([sent, seen.benign])
    weights = rule(models, np.full(len(models), 10), reference=seen.reference).weights
    goal = seen.benign.mean(axis=0)
    way = goal - seen.reference
    return float((weights - seen.reference) @ way / (way @ way)), np.linalg.norm(weights - goal) / np.linalg.norm(way)


RULES = {
    "fedavg": aggregation("fedavg"),
    "krum": aggregation("krum", byzantine=MALICIOUS),
    "multi_krum": aggregation("multi_krum", byzantine=MALICIOUS),
    "trimmed_mean": aggregation("trimmed_mean", beta=0.3),
    "median": aggregation("median"),
    "geometric_median": aggregation("geometric_median"),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("rule", "attack"),
    [
        ("krum", attacks.KrumAttack()),
        ("trimmed_mean", attacks.TrimAttack()),
        ("median", attacks.TrimAttack()),
        ("trimmed_mean", attacks.TrimAttack(variant="partial")),
        ("median", attacks.TrimAttack(variant="partial")),
        ("fedavg", attacks.SignFlip(scale=4)),
        *((rule, attacks.MinMax(direction="unit")) for rule in RULES),
        *((rule, attacks.MinSum(direction="unit")) for rule in RULES),
    ],
    ids=lambda value: repr(value) if isinstance(value, attacks.Attack) else value,
)
def test_the_attack_holds_back_the_rules_that_it_is_made_for(rule, attack, seed):
    seen = view(seed)
    undisturbed, attacked = (outcome(RULES[rule], each, seen)[0] for each in (None, attack))
    assert undisturbed > 0.7
    assert attacked < undisturbed - 0.3


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "attack",
    [
        attacks.Gaussian(sigma=5),
        attacks.KrumAttack(variant="released"),
        attacks.TrimAttack(variant="released"),
        attacks.TrimAttack(variant="released-median"),
    ],
    ids=repr,
)
def test_a_crude_attack_ruins_the_average_and_is_seen_through_by_multi_krum(attack, seed):
    seen = view(seed)
    assert outcome(RULES["fedavg"], attack, seen)[1] > 3
    progress, beside = outcome(RULES["multi_krum"], attack, seen)
    assert progress > 0.8
    assert beside < 0.6


def test_forged_similarities_bring_the_tailored_attack_votes_in_most_rounds_of_fedqv():
    attack, heard = attacks.QVAdaptive(), 0
    for seed in range(20):
        seen = view(seed)
        sent = attack.craft(seen)
        models, examples = np.concatenate([sent, seen.benign]), np.full(BENIGN + MALICIOUS, 10)
        honest = aggregation("fedqv")(models, examples, reference=seen.reference)
        np.testing.assert_array_equal(honest.contributions[:MALICIOUS], 0)  # the most unlike are muted
        rule = aggregation("fedqv")
        scalars = np.array([rule.scalar(model, seen.reference) for model in models])
        scalars[:MALICIOUS] = attack.report(seen, sent)
        forged = rule(models, examples, reference=seen.reference, scalars=scalars)
        if forged.contributions[:MALICIOUS].any():
            heard += 1
            way = np.linalg.norm(seen.benign.mean(axis=0) - seen.reference)
            assert np.linalg.norm(forged.weights - seen.reference) > 5 * way  # thrown far off
    assert 14 <= heard < 20  # the middle of their own range may miss the band
