"""Differential privacy: budgets against dp-accounting and the formulas of the papers, plans, refusals."""

from __future__ import annotations

import importlib
import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.privacy import (
    DifferentialPrivacy,
    epsilon_spent,
    noise_multiplier_for,
    plan_privacy,
    rounds_within,
)
from flaas_jupyter.protocols.privacy.accounting import ORDERS, epsilon_by_renyi, renyi_of_one_round

dp = pytest.importorskip("dp_accounting", reason="the extra `privacy` is not installed")

DELTA = 1e-5
CASES = [(1.0, 0.01, 1000), (1.2, 0.1, 100), (4.0, 0.5, 200), (0.6, 0.05, 20), (15.0, 0.2, 500)]


def accountant_epsilon(accountant, noise, rate, rounds):
    accountant.compose(dp.PoissonSampledDpEvent(rate, dp.GaussianDpEvent(noise)), rounds)
    return accountant.get_epsilon(DELTA)


def analytic_gaussian(noise, delta):
    """ε of one Gaussian mechanism: theorem 8 of Balle and Wang (2018), solved for ε."""

    def excess(epsilon):
        near, far = 1 / (2 * noise) - epsilon * noise, -1 / (2 * noise) - epsilon * noise
        return norm.cdf(near) - math.exp(epsilon) * norm.cdf(far) - delta

    return brentq(excess, 0, 200) if excess(0) > 0 else 0.0


class TestAccounting:
    @pytest.mark.parametrize("noise", [0.5, 1.0, 3.0, 20.0])
    @pytest.mark.parametrize("delta", [1e-3, 1e-5, 1e-8])
    def test_one_round_of_everybody_is_the_analytic_gaussian_mechanism(self, noise, delta):
        assert epsilon_spent(noise, 1, 1, delta) == pytest.approx(analytic_gaussian(noise, delta), rel=1e-6)

    def test_rounds_of_everybody_are_one_mechanism_with_less_noise(self):
        assert epsilon_spent(8.0, 64, 1, DELTA) == pytest.approx(analytic_gaussian(1.0, DELTA), rel=1e-6)

    @pytest.mark.parametrize(("noise", "rate", "rounds"), CASES)
    def test_sampled_rounds_are_those_of_the_pld_accountant(self, noise, rate, rounds):
        expected = accountant_epsilon(dp.pld.PLDAccountant(), noise, rate, rounds)
        spent = epsilon_spent(noise, rounds, rate, DELTA)
        assert expected * (1 - 1e-6) <= spent <= expected * 1.01  # the coarser interval rounds up

    @pytest.mark.parametrize(("noise", "rate", "rounds"), CASES)
    def test_renyi_bounds_are_those_of_the_rdp_accountant(self, noise, rate, rounds):
        expected = accountant_epsilon(dp.rdp.RdpAccountant(orders=ORDERS), noise, rate, rounds)
        bound = epsilon_by_renyi(rounds * renyi_of_one_round(noise, rate), DELTA)
        assert bound == pytest.approx(expected, rel=1e-6)
        assert bound >= epsilon_spent(noise, rounds, rate, DELTA)

    def test_renyi_divergences_without_sampling_are_those_of_the_gaussian(self):
        np.testing.assert_allclose(renyi_of_one_round(2.0, 1.0), np.array(ORDERS) / 8)

    @pytest.mark.parametrize("rate", [0.1, 1])
    def test_more_rounds_cost_more_and_more_noise_less(self, rate):
        by_rounds = [epsilon_spent(2.0, rounds, rate, DELTA) for rounds in (0, 1, 2, 10, 100)]
        by_noise = [epsilon_spent(noise, 10, rate, DELTA) for noise in (0.8, 1.0, 2.0, 8.0)]
        assert by_rounds[0] == 0
        assert np.all(np.diff(by_rounds) > 0)
        assert np.all(np.diff(by_noise) < 0)

    def test_smaller_cohorts_cost_less(self):
        by_rate = [epsilon_spent(1.0, 50, rate, DELTA) for rate in (0.01, 0.1, 0.5, 1)]
        assert np.all(np.diff(by_rate) > 0)

    @pytest.mark.parametrize(
        ("epsilon", "rounds", "rate"),
        [
            (1, 1, 1),
            (8, 100, 1),
            (0.5, 30, 1),
            (8, 100, 0.1),
            (1, 100, 0.1),
            (3, 1000, 0.01),
            (0.2, 20, 0.3),
            (40, 10, 0.5),
        ],
    )
    def test_the_noise_found_keeps_to_the_budget_and_hardly_less_does_not(self, epsilon, rounds, rate):
        noise = noise_multiplier_for(epsilon, DELTA, rounds, rate)
        assert epsilon_spent(noise, rounds, rate, DELTA, interval=1e-4 * epsilon) <= epsilon
        assert epsilon_spent(noise * 0.98, rounds, rate, DELTA, interval=1e-4 * epsilon) > epsilon

    def test_noise_is_found_in_seconds(self):
        start = time.perf_counter()
        for number, (epsilon, rounds, rate) in enumerate([(8, 100, 0.1), (0.5, 500, 0.02), (200, 3, 0.05)]):
            noise_multiplier_for(epsilon, DELTA * (1 + number / 1000), rounds, rate)  # none of them cached
        assert time.perf_counter() - start < 15  # about 0.3 s each on an idle core

    @pytest.mark.parametrize("rate", [0.1, 1])
    def test_the_rounds_that_fit_are_as_many_as_fit(self, rate):
        fitting = rounds_within(4, DELTA, 2.0, rate, most=10_000)
        assert 1 <= fitting < 10_000
        assert epsilon_spent(2.0, fitting, rate, DELTA, interval=8e-3) <= 4
        assert epsilon_spent(2.0, fitting + 1, rate, DELTA, interval=8e-3) > 4
        assert rounds_within(4, DELTA, 2.0, rate, most=fitting - 1) == fitting - 1

    def test_without_the_extra_the_error_names_it(self, monkeypatch):
        genuine = importlib.import_module

        def absent(name, *rest):
            if name.startswith("dp_accounting"):
                raise ImportError(name)
            return genuine(name, *rest)

        monkeypatch.setattr(importlib, "import_module", absent)
        with pytest.raises(InvalidInput, match="dp-accounting") as refused:
            epsilon_spent(1.0, 3, 1, DELTA)
        assert refused.value.code == "extra-missing"
        assert refused.value.hint == 'pip install "flaas_jupyter[privacy]"'


def plan(epsilon=8.0, *, rounds=100, clients=100, clients_per_round=10, amplified=True, **options):
    privacy = DifferentialPrivacy(epsilon, DELTA, clip=0.5, **options)
    return plan_privacy(
        privacy, rounds=rounds, clients=clients, clients_per_round=clients_per_round, amplified=amplified
    )


class TestPlan:
    def test_secret_cohorts_are_accounted_for_at_their_rate(self):
        found = plan()
        assert found.sampling_rate == 0.1
        assert found.noise_multiplier == noise_multiplier_for(8.0, DELTA, 100, 0.1)
        assert found.sigma == found.noise_multiplier * 0.5
        assert found.expected_clients == 10

    def test_known_cohorts_are_accounted_for_as_if_everybody_were_always_in(self):
        found = plan(amplified=False)
        assert found.sampling_rate == 1
        assert found.noise_multiplier == pytest.approx(dp.get_sigma_gaussian(8.0, DELTA) * 10, rel=1e-6)
        assert found.expected_clients == 10
        assert found.noise_multiplier > 3 * plan().noise_multiplier

    def test_everybody_in_every_round_is_the_default(self):
        found = plan(clients_per_round=None)
        assert (found.sampling_rate, found.expected_clients) == (1, 100)

    def test_local_noise_hides_any_update_among_all_and_gains_nothing_from_sampling(self):
        found = plan(mode="local")
        assert found.sampling_rate == 1
        assert found.noise_multiplier == plan(amplified=False).noise_multiplier
        assert found.sigma == found.noise_multiplier * 2 * 0.5

    @pytest.mark.parametrize("amplified", [True, False])
    @pytest.mark.parametrize("rounds", [1, 7, 60])
    def test_epsilon_grows_by_the_round_to_the_budget(self, amplified, rounds):
        found = plan(rounds=rounds, amplified=amplified)
        spent = [found.epsilon_after(number) for number in range(rounds + 1)]
        assert spent[0] == 0
        assert np.all(np.diff(spent) >= 0)
        assert 8.0 * 0.98 <= spent[-1] <= 8.0
        assert found.epsilon_after(rounds + 1) > 8.0 * 0.98

    def test_epsilon_of_every_round_is_an_upper_bound_and_not_far_from_tight(self):
        found = plan(rounds=60)
        for number in (1, 2, 10, 31, 59):
            tight = epsilon_spent(found.noise_multiplier, number, 0.1, DELTA)
            assert tight * 0.999 <= found.epsilon_after(number) <= tight * 1.25

    def test_a_run_within_its_budget_takes_the_noise_asked_for(self):
        found = plan(noise_multiplier=2.0)
        assert found.noise_multiplier == 2.0
        assert found.epsilon_after(100) < 8.0

    def test_a_run_that_would_exceed_its_budget_is_refused_with_what_would_do(self):
        with pytest.raises(InvalidInput, match="100 rounds with noise multiplier 1 would spend") as refused:
            plan(1.0, noise_multiplier=1.0)
        error = refused.value
        assert error.code == "privacy-budget"
        assert error.details["spent"] == pytest.approx(7.05, abs=0.02)
        assert error.details["rounds_that_fit"] == 0
        assert error.hint.startswith("Not one round fits; 100 rounds need noise_multiplier=")
        assert plan(1.0, noise_multiplier=error.details["noise_multiplier_needed"]).epsilon_after(100) <= 1.0

    @pytest.mark.parametrize("amplified", [True, False])
    def test_the_rounds_that_the_refusal_offers_do_fit(self, amplified):
        with pytest.raises(InvalidInput) as refused:
            plan(8.0, noise_multiplier=0.9 if amplified else 3.0, amplified=amplified)
        fitting = refused.value.details["rounds_that_fit"]
        assert 1 < fitting < 100
        assert refused.value.hint.startswith(f"{fitting} rounds fit;")
        again = {"noise_multiplier": 0.9 if amplified else 3.0, "amplified": amplified}
        assert plan(8.0, rounds=fitting, **again).epsilon_after(fitting) <= 8.0
        with pytest.raises(InvalidInput):
            plan(8.0, rounds=fitting + 1, **again)

    def test_the_noise_that_the_hint_names_is_enough(self):
        with pytest.raises(InvalidInput) as refused:
            plan(2.0, noise_multiplier=1.0)
        named = float(refused.value.hint.split("noise_multiplier=")[1].split(",")[0])
        assert plan(2.0, noise_multiplier=named).noise_multiplier == named

    @pytest.mark.parametrize(
        "numbers",
        [{"rounds": 0}, {"rounds": 2.5}, {"clients": 0}, {"clients_per_round": 0}, {"clients_per_round": 101}],
    )
    def test_numbers_that_cannot_be_are_refused(self, numbers):
        with pytest.raises(InvalidInput) as refused:
            plan(**numbers)
        assert refused.value.code == "bad-privacy"


@pytest.mark.parametrize(("row", "rate"), [("q = 1)", 1), ("q = 0.1 ", 0.1), ("q = 0.01 ", 0.01)])
def test_the_documentation_has_the_noise_that_is_calibrated(row, rate):
    text = (Path(__file__).parents[2] / "docs" / "privacy.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("| ") and row in line]
    noise = [noise_multiplier_for(8, 1e-5, rounds, rate) for rounds in (10, 100, 1000)]
    assert [float(cell) for cell in line.split("|")[2:5]] == pytest.approx(noise, abs=0.011)


class TestSettings:
    def test_they_travel_as_json(self):
        privacy = DifferentialPrivacy(epsilon=3, delta=1e-6, clip=0.1, mode="local", noise_multiplier=2.5)
        assert DifferentialPrivacy.from_dict(json.loads(json.dumps(privacy.to_dict()))) == privacy
        assert DifferentialPrivacy.from_dict({"epsilon": 3, "delta": 1e-6, "clip": 1}).mode == "central"

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            *(
                (field, value)
                for field in ("epsilon", "clip", "noise_multiplier")
                for value in (0, -1, math.inf, math.nan)
            ),
            *(("delta", value) for value in (0, 1, 1.5, -1e-5, math.nan)),
            ("epsilon", None),
            ("epsilon", "8"),
            ("clip", True),
            ("mode", "global"),
            ("mode", None),
        ],
    )
    def test_every_field_is_checked(self, field, value):
        with pytest.raises(InvalidInput, match=field) as refused:
            DifferentialPrivacy(**{"epsilon": 1, "delta": 1e-5, "clip": 1, field: value})
        assert refused.value.code == "bad-privacy"

    @pytest.mark.parametrize(
        "data", [{}, {"epsilon": 1, "delta": 1e-5}, {"epsilon": 1, "delta": 1e-5, "clip": 1, "noise": 3}]
    )
    def test_missing_and_unknown_fields_are_refused(self, data):
        with pytest.raises(InvalidInput, match="missing"):
            DifferentialPrivacy.from_dict(data)
