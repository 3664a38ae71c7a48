"""Differential privacy in simulations: noise of the right size, clipping, budgets, cohorts that nobody chose."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.federation import RunOptions
from flaas_jupyter.plan import TrainingPlan
from flaas_jupyter.simulation import rounds

from .conftest import classifier, fitted, rows, vector

LOOSE = {"epsilon": 1e7, "delta": 1e-5, "noise_multiplier": 1e-3}


def moved(model, federation, **options):
    """How far one round moves a model."""
    before = vector(model)
    return fitted(model, federation, **{"rounds": 1} | options) - before


def test_central_noise_has_its_standard_deviation(federation):
    """Nothing is learned, so that the step is noise of standard deviation z · clip / clients."""
    privacy = flaas.DifferentialPrivacy(1e3, 1e-5, clip=2.0, noise_multiplier=3.0)
    step = moved(classifier(privacy=privacy, learning_rate=1e-12, hidden=1000), federation())
    assert step.std() == pytest.approx(3.0 * 2.0 / 8, rel=0.03)
    assert abs(step.mean()) < 0.05


def test_local_noise_is_of_each_client(federation):
    """Sensitivity 2 · clip, and the mean of n clients has √n times less."""
    privacy = flaas.DifferentialPrivacy(1e3, 1e-5, clip=2.0, noise_multiplier=3.0, mode="local")
    step = moved(classifier(privacy=privacy, learning_rate=1e-12, hidden=1000), federation())
    assert step.std() == pytest.approx(3.0 * 4.0 / np.sqrt(8), rel=0.03)


def test_distributed_noise_is_that_of_all_shares_in_the_opened_sum(federation):
    """Shares are wide enough for T - c honest survivors; with all eight in the sum there is the more of it."""
    privacy = flaas.DifferentialPrivacy(1e4, 1e-5, clip=2.0, noise_multiplier=3.0, mode="distributed")
    model = classifier(privacy=privacy, secure_aggregation=True, learning_rate=1e-12, hidden=1000)
    step = moved(model, federation())
    honest = 6 - 3  # T = 6 of 8, of whom 2T - N - 1 = 3 may subtract their own
    assert step.std() == pytest.approx(3.0 * 2.0 / np.sqrt(honest) * np.sqrt(8) / 8, rel=0.03)
    report = model.federated_report
    assert report["epsilon"].iloc[0] <= 1e4
    assert report["error_bound"].iloc[0] > 0
    assert report["clipped"].iloc[0] == 0


def test_distributed_noise_takes_secure_aggregation():
    privacy = flaas.DifferentialPrivacy(1e3, 1e-5, clip=2.0, mode="distributed")
    with pytest.raises(InvalidInput, match="takes secure aggregation") as caught:
        classifier(privacy=privacy)
    assert caught.value.code == "privacy-needs-secure-aggregation"


def test_noise_of_sampled_cohorts_is_divided_by_the_clients_expected(federation):
    privacy = flaas.DifferentialPrivacy(1e3, 1e-5, clip=2.0, noise_multiplier=3.0)
    step = moved(classifier(privacy=privacy, learning_rate=1e-12, hidden=1000), federation(), clients_per_round=2)
    assert step.std() == pytest.approx(3.0 * 2.0 / 2, rel=0.03)


def test_noise_differs_from_round_to_round_and_by_seed(federation):
    privacy = flaas.DifferentialPrivacy(1e3, 1e-5, clip=1.0, noise_multiplier=3.0)
    made = federation()
    first = moved(classifier(privacy=privacy, learning_rate=1e-12), made)
    two = moved(classifier(privacy=privacy, learning_rate=1e-12), made, rounds=2)
    other = moved(classifier(privacy=privacy, learning_rate=1e-12), made, seed=6)
    assert abs(np.corrcoef(first, two - first)[0, 1]) < 0.5
    assert not np.allclose(first, other)


def test_no_two_draws_of_a_round_come_from_the_same_bits(federation, monkeypatch):
    """Were cohort and noise drawn from the same seed, the noise would tell who took part."""
    privacy = flaas.DifferentialPrivacy(1e3, 1e-5, clip=1.0, noise_multiplier=3.0)
    model = classifier(privacy=privacy)
    plan = TrainingPlan.from_model(model, local_epochs=1, batch_size=8, seed=5)
    options = RunOptions(rounds=1, privacy=privacy, clients_per_round=4, seed=5)
    training = federation().train(plan, plan.vector_of(model), options)
    seeds, make = [], np.random.default_rng

    def noted(seed=None):
        seeds.append(np.random.SeedSequence(seed).generate_state(4).tobytes())
        return make(seed)

    monkeypatch.setattr(np.random, "default_rng", noted)
    training.next()
    assert len(seeds) > 4
    assert len(set(seeds)) == len(seeds)


def test_updates_count_no_more_than_the_clip(federation):
    step = moved(
        classifier(privacy=flaas.DifferentialPrivacy(**LOOSE, clip=0.01), learning_rate=1.0),
        federation(),
        local_epochs=3,
    )
    assert np.linalg.norm(step) <= 0.01 * 1.1


def test_updates_within_the_clip_are_left_as_they_are(federation):
    """Equal clients, hardly any noise: the same as without privacy."""
    private = fitted(classifier(privacy=flaas.DifferentialPrivacy(**LOOSE, clip=5.0)), federation())
    np.testing.assert_allclose(private, fitted(classifier(), federation()), atol=0.02)


def test_clients_count_the_same_whatever_their_rows(federation):
    x, y = rows(100)
    parts = [np.arange(90), np.arange(90, 100)]
    made = federation(x, y, clients=None, partition=parts)
    model = classifier(privacy=flaas.DifferentialPrivacy(**LOOSE, clip=5.0))
    fitted(model, made)
    assert model.federated_report["weights"].iloc[0] == {"client-0": 0.5, "client-1": 0.5}


def test_epsilon_rises_to_the_budget(federation):
    model = classifier(privacy=flaas.DifferentialPrivacy(8, 1e-5, clip=1.0))
    fitted(model, federation(), rounds=5, clients_per_round=4)
    epsilon = model.federated_report["epsilon"]
    assert epsilon.is_monotonic_increasing
    assert 7 < epsilon.iloc[-1] <= 8


def test_a_run_over_its_budget_is_refused_before_anybody_trains(federation):
    model = classifier(privacy=flaas.DifferentialPrivacy(1, 1e-5, clip=1.0, noise_multiplier=0.5))
    made = federation()
    with pytest.raises(InvalidInput) as caught:
        fitted(model, made, rounds=10)
    assert caught.value.code == "privacy-budget"
    assert made._executor is None


def test_cohorts_are_drawn_by_poisson_sampling(federation):
    model = classifier(privacy=flaas.DifferentialPrivacy(1e3, 1e-5, clip=1.0, noise_multiplier=3.0))
    fitted(model, federation(), rounds=40, clients_per_round=4, batch_size=32)
    sizes = model.federated_report["clients"]
    assert sizes.nunique() > 3
    assert sizes.mean() == pytest.approx(4, abs=0.8)


def test_an_empty_cohort_releases_noise_and_is_a_round_like_any_other(federation):
    """Nobody is asked with probability 0.34; drawing again would tell that somebody is."""
    model = classifier(privacy=flaas.DifferentialPrivacy(1e3, 1e-5, clip=1.0, noise_multiplier=3.0))
    weights = [vector(model)]

    class Note(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            weights.append(vector(self.model))

    fitted(model, federation(), rounds=12, clients_per_round=1, minimum_nodes=3, callbacks=[Note()])
    report = model.federated_report
    assert (report["clients"] == 0).any()
    assert report["epsilon"].is_monotonic_increasing
    for number in np.flatnonzero(report["clients"] == 0):
        step = weights[number + 1] - weights[number]
        assert step.std() == pytest.approx(3.0, rel=0.5)
        assert np.isnan(report["loss"].iloc[number])


def test_privacy_and_secure_aggregation_go_together_also_in_cohorts_too_small_to_mask(federation):
    """Three are expected; in some rounds there are fewer, which the noise hides."""
    privacy = flaas.DifferentialPrivacy(1e3, 1e-5, clip=1.0, noise_multiplier=3.0)
    model = classifier(privacy=privacy, secure_aggregation=True, learning_rate=1e-12, hidden=300)
    step = moved(model, federation(), rounds=6, clients_per_round=3)
    assert (model.federated_report["clients"] < 3).any()
    assert (model.federated_report["clients"] > 3).any()
    assert step.std() == pytest.approx(3.0 / 3 * np.sqrt(6), rel=0.1)


def test_local_privacy_goes_with_a_rule_that_sees_updates(federation):
    privacy = flaas.DifferentialPrivacy(1e3, 1e-5, clip=1.0, noise_multiplier=0.1, mode="local")
    weights = fitted(classifier(privacy=privacy, aggregation="median"), federation())
    assert np.isfinite(weights).all()


def test_how_many_updates_are_held_at_once_changes_no_number(federation, monkeypatch):
    privacy = flaas.DifferentialPrivacy(1e3, 1e-5, clip=1.0, noise_multiplier=0.5)
    together = fitted(classifier(privacy=privacy), federation())
    monkeypatch.setattr(rounds, "_CHUNK_VALUES", 1)
    np.testing.assert_array_equal(fitted(classifier(privacy=privacy), federation()), together)
