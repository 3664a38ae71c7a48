"""Sharded sums, distributed noise and group mode over real node processes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.demo.local import LocalFederation
from flaas_jupyter.errors import InvalidInput

from .conftest import Fit, Tables, expected_weights, linear_model, started
from .test_rules import NODES, flat, stepped

SHARDED = flaas.SecureAggregation(sharded=True)


def test_every_node_of_a_sharded_round_moves_about_twice_the_model(three):
    federation, _ = three
    model = linear_model(SHARDED, hidden=4000)  # large enough for vectors to be most of what is sent
    size = flat(model).size
    trained = Fit(federation, model, rounds=2, local_epochs=2, batch_size=1000).done()
    report = trained.federated_report
    assert (report.shards == 3).all()
    # Masked shards to two others, two thirds of the vector; the new weights' shard to two others; one opened shard.
    assert (report.node_bytes_up < 4 * size * 2.6).all()
    assert (report.node_bytes_down < 4 * size * 2.6).all()


def test_noise_in_shares_over_real_nodes(three):
    federation, _ = three
    privacy = flaas.DifferentialPrivacy(epsilon=50.0, delta=1e-3, clip=0.5, mode="distributed")
    model = linear_model(SHARDED, privacy=privacy, aggregation="fedavgm")
    before = flat(model)
    trained = Fit(federation, model, rounds=2, batch_size=1000).done()
    report = trained.federated_report
    assert (report.clients == 3).all()
    assert {round(weight, 6) for weights in report.weights for weight in weights.values()} == {round(1 / 3, 6)}
    assert 0 < report.epsilon[1] < report.epsilon[2] <= 50.0
    assert (report.error_bound > 0).all()
    assert np.linalg.norm(flat(trained) - before) > 0


def test_three_nodes_are_too_few_for_groups(three):
    federation, _ = three
    with pytest.raises(InvalidInput, match=r"median.*N ≥ 9.*N = 3") as caught:
        Fit(federation, linear_model(True, aggregation="median"), rounds=1).done()
    assert caught.value.details["reason"] == "SECAGG_INCOMPATIBLE_AGGREGATOR"


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalFederation, Tables]]:
    """Nine nodes, for this module's long test."""
    sizes = {f"n{place}": 30 + 5 * place for place in range(9)}
    yield from started(tmp_path_factory.mktemp("nine"), sizes)


@pytest.mark.long
def test_a_median_of_groups_over_nine_nodes(nine):
    federation, data = nine
    model = linear_model(True, aggregation="median")
    start = model.get_weights()
    before = flat(model)
    trained = Fit(federation, model, rounds=1, local_epochs=5, batch_size=1000).done()
    report = trained.federated_report
    assert (report.groups == 3).all()
    names = list(data.tables)
    updates = dict(zip(names, stepped(data, start, names, 5), strict=True))
    groups: dict[float, list[str]] = {}
    for name, group in report.group[1].items():
        groups.setdefault(group, []).append(name)
    means = [
        np.average([updates[n] for n in g], axis=0, weights=[len(data.tables[n]) for n in g]) for g in groups.values()
    ]
    np.testing.assert_allclose(flat(trained), np.median(means, axis=0), atol=report.error_bound[1] + 1e-5)
    assert not np.allclose(flat(trained), before)


def test_the_oracle_of_a_sharded_round_is_the_weighted_mean(three):
    federation, data = three
    model = linear_model(SHARDED)
    start = model.get_weights()
    trained = Fit(federation, model, rounds=2, local_epochs=3, batch_size=1000).done()
    wanted = expected_weights(start, data, [list(NODES)] * 2, steps=3)
    np.testing.assert_allclose(flat(trained), np.concatenate([array.ravel() for array in wanted]), atol=1e-5)
