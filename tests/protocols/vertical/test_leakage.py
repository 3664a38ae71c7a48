"""The attacks on gradients, on gradients whose leak is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.vertical.leakage import (
    auc,
    direction_attack_auc,
    label_leak,
    leakage_statement,
    norm_attack_auc,
)
from flaas_jupyter.protocols.vertical.protection import Protection, clip_rows, protect_gradients


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def logistic(rng: np.random.Generator, rows: int = 256, width: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of a logistic loss behind a linear top: residual times the top's weights."""
    labels = (rng.random(rows) < 0.2).astype(float)
    scores = 1 / (1 + np.exp(-(rng.normal(size=rows) - 1.4 + labels)))
    top = rng.normal(size=width)
    return ((scores - labels)[:, None] * top / rows).astype(np.float32), labels


def test_the_auc_is_scikit_learns_with_ties(rng):
    labels = rng.random(500) < 0.3
    scores = np.round(rng.normal(size=500) + labels, 1)
    assert auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


def test_an_auc_of_one_class_is_refused():
    with pytest.raises(InvalidInput, match="both classes") as error:
        auc(np.arange(3.0), np.ones(3, bool))
    assert error.value.code == "one-class"


def test_the_norm_attack_finds_the_rarer_class(rng):
    assert norm_attack_auc(*logistic(rng)) > 0.9


def test_the_direction_attack_finds_every_label(rng):
    assert direction_attack_auc(*logistic(rng)) == 1.0


def test_the_best_attack_on_unprotected_gradients_gets_every_label(rng):
    assert label_leak([logistic(rng) for _ in range(5)]) == 1.0


def test_gradients_that_have_nothing_to_do_with_labels_leak_nothing(rng):
    batches = [(rng.normal(size=(256, 8)), (rng.random(256) < 0.3).astype(int)) for _ in range(40)]
    assert label_leak(batches) < 0.53


@pytest.mark.parametrize(
    "protection", [Protection(gradient="max_norm"), Protection(gradient="isotropic", gradient_noise=4.0)]
)
def test_protection_makes_the_leak_smaller(rng, protection):
    batches = [logistic(rng) for _ in range(20)]
    protected = [(protect_gradients(gradients, protection, rng), labels) for gradients, labels in batches]
    assert 0.5 <= label_leak(protected) < 0.8 < label_leak(batches)


def test_max_norm_makes_expected_lengths_equal(rng):
    gradients = np.array([[3.0, 4.0], [0.3, 0.4]], np.float32)
    many = [protect_gradients(gradients, Protection(gradient="max_norm"), rng) for _ in range(4000)]
    squares = np.mean([np.linalg.norm(each, axis=1) ** 2 for each in many], axis=0)
    assert squares == pytest.approx([25.0, 25.0], rel=0.1)
    # The mean gradient, which training goes by, is kept.
    assert np.mean(many, axis=0)[1] == pytest.approx([0.3, 0.4], abs=0.25)


def test_isotropic_protection_clips_to_the_mean_length(rng):
    gradients = np.array([[3.0, 0.0], [1.0, 0.0]], np.float32)
    sent = protect_gradients(gradients, Protection(gradient="isotropic"), rng)
    assert np.linalg.norm(sent, axis=1) == pytest.approx([2.0, 1.0])


def test_no_protection_changes_nothing(rng):
    gradients, _ = logistic(rng)
    assert protect_gradients(gradients, Protection(), rng) is gradients


def test_labels_of_other_kinds_are_not_measured(rng):
    assert label_leak([(rng.normal(size=(9, 2)), np.arange(9))]) is None
    assert label_leak([(rng.normal(size=(9, 2)), np.eye(3)[np.arange(9) % 3])]) is None
    assert label_leak([(rng.normal(size=(9, 2)), np.zeros(9))]) is None


def test_clipping_only_shortens():
    rows = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], np.float32)
    assert np.linalg.norm(clip_rows(rows, 1.0), axis=1) == pytest.approx([1.0, 0.5, 0.0])
    assert clip_rows(rows, None) is rows


@pytest.mark.parametrize(
    "given",
    [
        {"gradient": "secret"},
        {"gradient_noise": 1.0},
        {"embedding_noise": -1},
        {"embedding_noise": float("nan")},
        {"embedding_clip": 0},
        {"embedding_clip": True},
    ],
)
def test_bad_protection_is_refused(given):
    with pytest.raises(InvalidInput) as error:
        Protection(**given)
    assert error.value.code == "bad-protection"


@pytest.mark.parametrize("mode", ["oneway", "split", "linear_he"])
def test_the_statement_speaks_of_everybody(mode):
    assert [entry["who"] for entry in leakage_statement(mode)] == [
        "all parties",
        "label holder",
        "feature parties",
        "others",
    ]
