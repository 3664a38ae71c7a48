"""Compressed updates in simulations: the same code as at nodes, honest figures, runs that go on after a stop."""

from __future__ import annotations

import numpy as np
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.compression import compression

from .conftest import classifier, fitted
from .test_runs import InterruptAfter, newest


def test_lossless_changes_nothing_but_the_bytes(federation):
    how = {"aggregation": "median", "hidden": 64}
    model = classifier(**how, compression="lossless")
    np.testing.assert_array_equal(
        fitted(model, federation(), rounds=2), fitted(classifier(**how), federation(), rounds=2)
    )
    report = model.federated_report
    assert (report["update_bytes"] < report["update_bytes_plain"]).all()
    assert (report["compression_error"] == 0).all()
    assert (report["bytes_up"] == report["update_bytes"]).all()


@pytest.mark.parametrize(
    ("name", "ratio", "apart"),
    [
        ("int8", 0.35, 2e-2),
        pytest.param("int16", 0.6, 1e-4, marks=pytest.mark.long),
        pytest.param("float16", 0.55, 1e-3, marks=pytest.mark.long),
        pytest.param("bfloat16", 0.55, 1e-2, marks=pytest.mark.long),
    ],
)
def test_rounding_moves_the_model_by_little_and_says_so(name, ratio, apart, federation):
    model = classifier(compression=name)
    exact = fitted(classifier(), federation(), rounds=2)
    found = fitted(model, federation(), rounds=2)
    assert 0 < np.abs(found - exact).max() < apart
    report = model.federated_report
    assert (report["update_bytes"] <= ratio * report["update_bytes_plain"]).all()
    assert ((report["compression_error"] > 0) & (report["compression_error"] < 0.02)).all()
    np.testing.assert_array_equal(found, fitted(classifier(compression=name), federation(), rounds=2))


@pytest.mark.long
@pytest.mark.parametrize("name", ["topk", "randomk"])
def test_error_feedback_comes_close_to_what_is_not_compressed(name, federation):
    """With memory all coordinates are learnt sooner or later; a tenth of them is sent in a round."""
    exact = classifier(learning_rate=0.05)
    start_to_end = fitted(exact, federation(), rounds=30)
    model = classifier(learning_rate=0.05, compression=flaas.compression(name, fraction=0.1))
    found = fitted(model, federation(), rounds=30)
    assert model.federated_report["compression_error"].iloc[0] > 0.3
    loss, worse = exact.federated_report["loss"], model.federated_report["loss"]
    assert worse.iloc[-1] < worse.iloc[0]
    assert worse.iloc[-1] - loss.iloc[-1] < 0.5 * (loss.iloc[0] - loss.iloc[-1])
    assert np.isfinite(found).all()
    assert not np.array_equal(found, start_to_end)


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ("fedqv", "int8"),
        pytest.param("fedavg", "int8", marks=pytest.mark.long),
        pytest.param("fedavg", "int16", marks=pytest.mark.long),
    ],
)
def test_under_secure_aggregation_the_error_stays_within_what_is_told(rule, name, federation):
    model = classifier(aggregation=rule, secure_aggregation=flaas.SecureAggregation(clip=1.0), compression=name)
    found = fitted(model, federation(), rounds=1)
    bound = model.federated_report["error_bound"].iloc[0]
    exact = fitted(classifier(aggregation=rule), federation(), rounds=1)
    np.testing.assert_allclose(found, exact, atol=bound + 1e-6)
    report = model.federated_report
    assert report["update_bytes"].iloc[0] < report["update_bytes_plain"].iloc[0] * 1.05
    assert report["compression_error"].isna().all()


def test_random_k_sums_its_coordinates_only(federation):
    model = classifier(secure_aggregation=True, compression=flaas.compression("randomk", fraction=0.1))
    before = model.get_weights()
    fitted(model, federation(), rounds=1)
    moved = sum(np.count_nonzero(np.abs(a - b) > 1e-7) for a, b in zip(model.get_weights(), before, strict=True))
    assert 0 < moved <= -(-sum(w.size for w in before) // 10)


@pytest.mark.parametrize("mode", ["central", "local"])
def test_private_updates_are_rounded_after_they_are_clipped_and_noised(mode, federation):
    privacy = flaas.DifferentialPrivacy(epsilon=1e6, delta=1e-5, clip=1e-3, mode=mode)
    model = classifier(privacy=privacy, compression="int8")
    start = np.concatenate([w.ravel() for w in model.get_weights()])
    found = fitted(model, federation(), rounds=1)
    assert np.linalg.norm(found - start) < 2e-3
    report = model.federated_report
    assert report["compression_error"].isna().all()
    assert (report["update_bytes"] < report["update_bytes_plain"]).all()


def test_a_simulation_that_was_stopped_goes_on_with_its_residuals(federation, home):
    how = {"compression": flaas.compression("topk", fraction=0.2)}
    whole = fitted(classifier(**how), federation(), rounds=4)
    with pytest.raises(KeyboardInterrupt):
        fitted(classifier(**how), federation(), rounds=4, callbacks=[InterruptAfter(2)])
    resumed = fitted(classifier(**how), federation(), rounds=4, resume=newest(home)["id"])
    np.testing.assert_array_equal(resumed, whole)


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ({"compression": "topk", "secure_aggregation": True}, "compression-with-secure-aggregation"),
        ({"compression": "lossless", "secure_aggregation": True}, "compression-with-secure-aggregation"),
        ({"compression": "float16", "secure_aggregation": True}, "compression-with-secure-aggregation"),
        ({"compression": "topk", "aggregation": "median"}, "compression-with-aggregation"),
        ({"compression": "zip"}, "unknown-compression"),
        ({"compression": 8}, "bad-compression"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_model(model, code):
    with pytest.raises(InvalidInput) as caught:
        classifier(**model)
    assert caught.value.code == code
    if code.startswith("compression-with"):
        assert "randomk" in caught.value.hint or "int8" in caught.value.hint


def test_a_saved_model_keeps_its_compression(tmp_path):
    import keras

    model = classifier(compression=flaas.compression("topk", fraction=0.25))
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").compression == compression("topk", fraction=0.25)
