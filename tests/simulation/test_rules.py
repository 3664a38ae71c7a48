"""Every registered aggregation rule works in a simulation by its name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols import aggregation
from flaas_jupyter.protocols.attacks import Attack

from .conftest import classifier, fitted, rows, vector

COLUMNS = {
    "fedqv": {"similarity", "votes", "budget"},
    "fedqv_reputation": {"votes", "budget", "reputation"},
    "reputation": {"reputation"},
    "fltrust": {"trust", "norm"},
}


QUICK = {"fedavg", "fedadam", "median", "krum", "fltrust", "fedqv_reputation"}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in aggregation.names()]
)
def test_every_rule_trains_in_a_simulation_by_its_name(name, federation):
    model = classifier(aggregation=name)
    before = vector(model)
    weights = fitted(model, federation(root=rows(24, seed=9)), rounds=2)
    assert np.isfinite(weights).all()
    assert not np.array_equal(weights, before)
    assert COLUMNS.get(name, set()) <= set(model.federated_report.client_columns)


SUMS = [name for name in aggregation.names() if aggregation.aggregation(name).needs is aggregation.Needs.SUM]


@dataclass(frozen=True)
class Honest(Attack):
    """Crafts exactly what was trained."""

    name = "honest"

    def craft(self, view):
        return view.own.copy()


@pytest.mark.parametrize(
    "name", [name if name == "fedavg" else pytest.param(name, marks=pytest.mark.long) for name in SUMS]
)
def test_a_rule_that_needs_the_sum_computes_the_same_from_single_updates(name, federation):
    summed = fitted(classifier(aggregation=name), federation(), rounds=2)
    single = fitted(classifier(aggregation=name), federation(attack=Honest(fraction=0.25)), rounds=2)
    np.testing.assert_allclose(single, summed, atol=1e-6)


def test_fltrust_follows_a_named_client_into_every_round(federation):
    model = classifier(aggregation=flaas.aggregation("fltrust", trusted="5"))
    fitted(model, federation(), rounds=4, clients_per_round=3)
    trust = model.federated_report.by_client("trust")
    assert trust["client-5"].tolist() == [0.0] * 4
    assert model.federated_report["clients"].tolist() == [3] * 4


def test_a_trusted_client_is_waited_for(federation):
    availability = np.ones(8)
    availability[5] = 0.3
    model = classifier(aggregation=flaas.aggregation("fltrust", trusted="5"))
    fitted(model, federation(behaviour=flaas.Behaviour(availability=availability)), rounds=4)
    assert not model.federated_report.by_client("trust")["client-5"].isna().any()


def test_fltrust_without_anybody_trusted_is_refused_before_training(federation):
    with pytest.raises(InvalidInput) as caught:
        fitted(classifier(aggregation="fltrust"), federation())
    assert caught.value.code == "no-trusted-update"


def test_root_data_that_run_away_are_named(federation):
    x, y = rows(24)
    model = classifier(aggregation="fltrust", activation="linear", learning_rate=10.0)
    with pytest.raises(InvalidInput, match="own data") as caught:
        fitted(model, federation(root=(x * 1e30, y)), local_epochs=3)
    assert caught.value.code == "non-finite-update"


@pytest.mark.parametrize(("name", "clients"), [("krum", 2), ("fedqv", 1)])
def test_too_few_clients_for_the_rule_are_refused_before_training(name, clients, federation):
    with pytest.raises(InvalidInput) as caught:
        fitted(classifier(aggregation=name), federation(), clients_per_round=clients)
    assert caught.value.code == "too-few-clients"


def test_a_rule_is_given_as_many_clients_as_it_needs(federation):
    """Availability leaves one or two of them in most draws; Krum works with three."""
    behaviour = flaas.Behaviour(availability=0.2)
    model = classifier(aggregation="krum")
    fitted(model, federation(behaviour=behaviour), rounds=4)
    assert (model.federated_report["clients"] >= 3).all()
