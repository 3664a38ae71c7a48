"""The main effects that the FedQV and the NDSS 2023 paper claim, on MNIST with 100 clients of which 30 % attack.

The setting is that of `make papers`, whose figures stand in docs/results. Thresholds leave room for the rounding of
other machines, not for another direction.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from benchmarks.papers import data, experiment, grid

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(data.missing("mnist") is not None, reason=f"no MNIST: {data.missing('mnist')}"),
]
OURS = "FedQV + reputation"
RELEASED = "FedQV + reputation, as released"


@cache
def report(rule: str, attack: str, rounds: int | None = None) -> Any:
    """Train one cell of the grid, once for all tests."""
    fraction = 0.0 if attack == "none" else 0.3
    return experiment.train(grid.Cell(rule, attack, fraction, seed=0), data.load("mnist"), rounds)


def test_label_flipping_by_30_percent_costs_little() -> None:
    """A few points in the mean, about 2 in most rounds: rounds in which attackers not yet expelled meet cost more."""
    calm, attacked = report(OURS, "none"), report(OURS, "label flip")
    before, after = experiment.measure(calm), experiment.measure(attacked)
    assert before["accuracy"] > 0.9
    assert after["accuracy"] > before["accuracy"] - 0.06
    assert np.median(attacked["val_accuracy"][-20:]) > np.median(calm["val_accuracy"][-20:]) - 0.03
    assert after["asr"] < 0.05


def test_plain_averaging_does_not_withstand_label_flipping() -> None:
    averaged = experiment.measure(report("FedAvg", "label flip"))
    assert averaged["accuracy"] < experiment.measure(report(OURS, "label flip"))["accuracy"] - 0.1
    assert averaged["asr"] > 0.1


def test_attackers_lose_reputation_and_their_budgets() -> None:
    """Noise on every weight makes an outlier, which must lose reputation at once, not gain it."""
    trained = report(OURS, "Gaussian", rounds=10)
    attackers = set(trained.attrs["attackers"])
    theirs = [value for row in trained["reputation"] for name, value in row.items() if name in attackers]
    others = [value for row in trained["reputation"] for name, value in row.items() if name not in attackers]
    assert len(theirs) > 10
    assert max(theirs) < 0.1
    assert np.mean(others) > 0.9
    budgets = [value for row in trained["budget"] for name, value in row.items() if name in attackers]
    assert max(budgets) == 0


def test_counting_evidence_as_released_is_clearly_worse() -> None:
    released = experiment.measure(report(RELEASED, "label flip"))
    assert released["accuracy"] < experiment.measure(report(OURS, "label flip"))["accuracy"] - 0.1
