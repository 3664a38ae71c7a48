"""Secure aggregation in simulations: the same results within the bound that is reported, the same refusals."""

from __future__ import annotations

import numpy as np
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import InvalidInput

from .conftest import classifier, fitted, rows


@pytest.mark.parametrize(
    "rule", ["fedqv", *(pytest.param(name, marks=pytest.mark.long) for name in ("fedavg", "fedprox"))]
)
def test_masked_sums_give_the_model_within_the_reported_bound(rule, federation):
    secure = classifier(aggregation=rule, secure_aggregation=True)
    weights = fitted(secure, federation(), rounds=1)
    bound = secure.federated_report["error_bound"].iloc[0]
    assert 0 < bound < 1e-4
    np.testing.assert_allclose(weights, fitted(classifier(aggregation=rule), federation(), rounds=1), atol=bound + 1e-6)


def test_a_round_has_three_clients_at_least(federation):
    model = classifier(secure_aggregation=True)
    fitted(model, federation(behaviour=flaas.Behaviour(availability=0.3)), rounds=5)
    assert (model.federated_report["clients"] >= 3).all()


def test_a_round_of_which_too_few_survive_is_drawn_again(federation):
    """Two thirds and one of those asked must answer for the sum to be opened."""
    model = classifier(secure_aggregation=True)
    fitted(model, federation(behaviour=flaas.Behaviour(dropout=0.3)), rounds=5)
    report = model.federated_report
    assert (report["dropped"] > 0).any()
    assert (report["clients"] >= 2 * (report["clients"] + report["dropped"]) // 3 + 1).all()


@pytest.mark.parametrize(("clients", "code"), [(2, "secagg-too-few-nodes"), (1001, "secagg-too-many-nodes")])
def test_rounds_that_could_not_be_masked_are_refused_before_training(clients, code, federation):
    x, y = rows(max(160, clients))
    with pytest.raises(InvalidInput) as caught:
        fitted(classifier(secure_aggregation=True), federation(x, y, clients=clients))
    assert caught.value.code == code


def test_coordinates_out_of_range_are_told_and_the_next_round_allows_more(federation):
    model = classifier(secure_aggregation=flaas.SecureAggregation(clip=0.01), learning_rate=1.0)
    with pytest.warns(UserWarning, match="clipped"):
        fitted(model, federation(), rounds=4)
    clipped = model.federated_report["clipped"].tolist()
    assert clipped[0] > 0
    assert clipped[-1] < clipped[0]
