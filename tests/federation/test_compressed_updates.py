"""Compressed updates and large models over real node processes: what the plan asks for is what nodes send."""

from __future__ import annotations

import time

import numpy as np

import flaas_jupyter as flaas

from .conftest import Fit, expected_weights, linear_model
from .test_rules import NODES, flat

LARGE = 200_000
"""Neurons of a model that is larger than one frame: 6.4 MB."""


def test_a_model_is_the_same_bit_for_bit_when_compression_is_lossless(three):
    federation, _ = three
    how = {"rounds": 2, "batch_size": 1000, "seed": 7}
    plain = Fit(federation, linear_model(False), **how).done()
    packed = Fit(federation, linear_model(False, compression="lossless"), **how).done()
    np.testing.assert_array_equal(flat(packed), flat(plain))
    assert (packed.federated_report.compression_error == 0).all()
    assert "update_bytes" not in plain.federated_report


def test_a_large_model_goes_in_ranges_from_the_notebook_to_the_leader_to_the_nodes_and_back(three):
    federation, _ = three
    model = linear_model(False, hidden=LARGE, compression="lossless")
    trained = Fit(federation, model, rounds=2, local_epochs=1, batch_size=1000).done()
    report = trained.federated_report
    assert (report.update_bytes_plain == 3 * 4 * flat(trained).size).all()
    assert (report.update_bytes < report.update_bytes_plain).all()
    again = Fit(federation, linear_model(False, hidden=LARGE), rounds=2, local_epochs=1, batch_size=1000).done()
    # TensorFlow adds up so many values in another order each time.
    np.testing.assert_allclose(flat(trained), flat(again), atol=1e-6)


def test_eight_bits_under_masks_stay_within_the_bound_that_is_told(three):
    federation, data = three
    secure = flaas.SecureAggregation(clip=0.5)
    model = linear_model(secure, compression="int8")
    start = model.get_weights()
    trained = Fit(federation, model, rounds=1, local_epochs=3, batch_size=1000).done()
    wanted = np.concatenate([a.ravel() for a in expected_weights(start, data, [list(NODES)], steps=3)])
    report = trained.federated_report
    assert np.abs(flat(trained) - wanted).max() <= report.error_bound[1] + 1e-5
    assert report.error_bound[1] > 1e-3
    assert np.isnan(report.compression_error[1])


def test_what_error_feedback_holds_back_stays_at_the_nodes_and_goes_with_the_run(three):
    federation, _ = three
    folders = [node.home.path / "residuals" for node in federation.nodes.values()]
    model = linear_model(False, compression=flaas.compression("topk", fraction=0.1))
    fit = Fit(federation, model, rounds=8, local_epochs=2, batch_size=1000)
    fit.wait_round(1)
    [run] = {file.stem for folder in folders for file in folder.iterdir()}
    assert run == fit.run_id()
    report = fit.done().federated_report
    assert report.compression_error.iloc[0] > 0.1
    assert report.loss.iloc[-1] < report.loss.iloc[0]
    assert (report.update_bytes == 3 * 8 * 5).all(), "five of 41 coordinates, eight bytes each"
    deadline = time.monotonic() + 30
    while any(list(folder.iterdir()) for folder in folders):
        assert time.monotonic() < deadline, "residuals go with the run"
        time.sleep(0.1)
