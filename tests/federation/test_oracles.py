"""A federation computes what mathematics says it computes."""

from __future__ import annotations

import numpy as np

from .conftest import Fit, expected_weights, linear_model

NODES = ("north", "south", "west")


def test_full_participation_of_one_full_batch_step_is_centralised_sgd(three):
    local, data = three
    for secure in (False, True):
        model = linear_model(secure)
        before = model.get_weights()
        trained = Fit(local, model, rounds=5, local_epochs=1, batch_size=1000).done()

        pooled = linear_model(secure=False)
        pooled.set_weights(before)
        x, y = (np.concatenate(parts) for parts in zip(*(data.arrays(name) for name in NODES), strict=True))
        losses = [pooled.train_on_batch(x, y, return_dict=True)["loss"] for _ in range(5)]

        report = trained.federated_report
        bound = 1e-5 + (report.error_bound.sum() if secure else 0.0)
        for ours, theirs in zip(trained.get_weights(), pooled.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=bound, rtol=0)
        assert bound < 2e-5
        assert len(report) == 5
        assert (report.clients == 3).all()
        np.testing.assert_allclose(report.loss[1], losses[0], atol=1e-4)


def test_several_local_steps_are_federated_averaging(three):
    local, data = three
    model = linear_model(secure=True)
    before = model.get_weights()
    trained = Fit(local, model, rounds=3, local_epochs=7, batch_size=1000).done()
    wanted = expected_weights(before, data, [list(NODES)] * 3, steps=7)
    for ours, theirs in zip(trained.get_weights(), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5, rtol=0)


def test_clients_per_round_samples_participants(three):
    local, data = three
    model = linear_model(secure=False)
    before = model.get_weights()
    trained = Fit(local, model, rounds=6, batch_size=1000, clients_per_round=2, seed=4).done()
    present = [sorted(weights) for weights in trained.federated_report.weights]
    assert all(len(names) == 2 for names in present)
    assert len({tuple(names) for names in present}) > 1
    wanted = expected_weights(before, data, present, steps=1)
    for ours, theirs in zip(trained.get_weights(), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)
