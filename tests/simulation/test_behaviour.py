"""Clients that are away, lost, slow, alike or not, and rounds that do not get enough of them."""

from __future__ import annotations

import numpy as np
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.simulation import behaviour as drawn

from .conftest import classifier, fitted, rows


def report(federation, **options):
    model = classifier()
    fitted(model, federation, **options)
    return model.federated_report


def test_who_is_never_available_is_never_asked(federation):
    availability = np.ones(8)
    availability[[2, 5]] = 0
    found = report(federation(behaviour=flaas.Behaviour(availability=availability)), rounds=4)
    assert list(found.by_client().columns) == [f"client-{n}" for n in (0, 1, 3, 4, 6, 7)]
    assert (found["dropped"] == 0).all()


def test_who_is_lost_is_reported_as_dropped_and_does_not_count(federation):
    dropout = np.zeros(8)
    dropout[3] = 1.0
    found = report(federation(behaviour=flaas.Behaviour(dropout=dropout)))
    assert found["left_out"].tolist() == [{"client-3": "update"}] * 3
    assert "client-3" not in found.by_client()
    np.testing.assert_allclose(found.by_client().sum(axis=1), 1)


def test_dropout_changes_from_round_to_round(federation):
    found = report(federation(behaviour=flaas.Behaviour(dropout=0.5)), rounds=6)
    assert found["left_out"].map(lambda lost: tuple(sorted(lost))).nunique() > 1


def test_a_sample_has_as_many_clients_as_were_asked_for_and_changes(federation):
    found = report(federation(), rounds=6, clients_per_round=3)
    assert found["clients"].tolist() == [3] * 6
    assert found["weights"].map(lambda weights: tuple(sorted(weights))).nunique() > 1


def test_stragglers_train_between_one_epoch_and_one_less_than_asked():
    fate = drawn.fate(flaas.Behaviour(stragglers=1.0), np.arange(2000), 5, 0, 1, 0)
    assert set(fate.epochs) == {1, 2, 3, 4}
    share = drawn.fate(flaas.Behaviour(stragglers=0.25), np.arange(2000), 5, 0, 1, 0)
    assert np.mean(share.epochs < 5) == pytest.approx(0.25, abs=0.04)


def test_each_client_may_have_epochs_of_its_own(federation):
    """One client's part of a federation of one equals the same client's with those epochs for everybody."""
    x, y = rows(40)
    own = fitted(classifier(), federation(x, y, clients=1, behaviour=flaas.Behaviour(epochs=[4])), local_epochs=1)
    same = fitted(classifier(), federation(x, y, clients=1), local_epochs=4)
    np.testing.assert_array_equal(own, same)


def test_a_round_without_enough_clients_is_drawn_again(federation):
    found = report(federation(behaviour=flaas.Behaviour(availability=0.5)), rounds=6, minimum_nodes=5)
    assert (found["clients"] >= 5).all()


def test_losses_are_drawn_again_with_the_round(federation):
    """Everybody is asked; the first draw of round 1 loses too many, and a later one does not."""
    found = report(federation(behaviour=flaas.Behaviour(dropout=0.5)), rounds=4, minimum_nodes=5)
    assert (found["clients"] >= 5).all()


def test_a_sample_is_drawn_again_with_the_round(federation):
    """Half of the clients always get lost: a fixed sample would never be enough."""
    dropout = np.array([1.0] * 4 + [0.0] * 4)
    found = report(
        federation(behaviour=flaas.Behaviour(dropout=dropout)), rounds=4, clients_per_round=4, minimum_nodes=3
    )
    assert (found["clients"] >= 3).all()


def test_when_nobody_answers_the_run_fails_and_says_what_to_do(federation):
    with pytest.raises(InvalidInput, match="2 clients that answer") as caught:
        report(federation(behaviour=flaas.Behaviour(dropout=1.0)), minimum_nodes=2)
    assert caught.value.code == "too-few-clients"
    assert "minimum_nodes" in caught.value.hint


def test_a_client_without_rows_is_never_asked(federation):
    x, y = rows(12)
    made = federation(x, y, clients=30, partition=flaas.Dirichlet(0.1, minimum=0))
    empty = set(made.clients["name"][made.sizes == 0])
    assert empty
    found = report(made)
    assert not empty & set(found.by_client().columns)
    assert np.isfinite(found["loss"]).all()


def test_clients_of_one_row_and_batches_larger_than_their_rows_train(federation):
    x, y = rows(10)
    found = report(federation(x, y, clients=10), batch_size=32)
    assert found["clients"].tolist() == [10] * 3
    assert np.isfinite(found["loss"]).all()


@pytest.mark.parametrize(
    "wrong",
    [
        {"availability": 1.5},
        {"availability": "often"},
        {"dropout": -0.1},
        {"dropout": [0.1, float("nan")]},
        {"stragglers": 2},
        {"epochs": 3},
        {"epochs": [0, 1]},
        {"epochs": [1.5]},
    ],
)
def test_what_is_no_behaviour_is_refused(wrong):
    with pytest.raises(InvalidInput) as caught:
        flaas.Behaviour(**wrong)
    assert caught.value.code == "bad-behaviour"


@pytest.mark.parametrize("name", ["availability", "dropout", "epochs"])
def test_behaviour_of_another_number_of_clients_is_refused(name, federation):
    with pytest.raises(InvalidInput, match="there are 8 clients") as caught:
        federation(behaviour=flaas.Behaviour(**{name: [1, 1, 1]}))
    assert caught.value.code == "bad-behaviour"
