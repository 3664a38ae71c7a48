"""Gradients under encryption: right, masked, rounded, and refused where the protocol is not kept."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols import tenseal_library
from flaas_jupyter.protocols.vertical.ckks_linear import MASK, MAXIMUM_ROWS, NOISE, STEP, MaskedSums, Residuals

pytestmark = pytest.mark.skipif(importlib.util.find_spec("tenseal") is None, reason="extra he is not installed")


@pytest.fixture(scope="module")
def keys() -> tuple[Residuals, bytes]:
    residuals = Residuals(np.random.default_rng(1))
    return residuals, residuals.public_context()


@pytest.fixture
def batch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    return rng.normal(size=(300, 3)), rng.normal(size=300) * 0.4


def test_the_gradient_is_that_of_the_plain_computation(keys, batch):
    residuals, context = keys
    columns, residual = batch
    feature = MaskedSums(context)
    sums = feature.products(residuals.encrypt(residual), columns)
    gradient = feature.unmask(residuals.open(sums))
    assert np.abs(gradient - columns.T @ residual / 300).max() < 6 * NOISE


def test_what_the_label_holder_opens_is_masked_noisy_and_rounded(keys, batch):
    residuals, context = keys
    columns, residual = batch
    feature = MaskedSums(context)
    sealed = residuals.encrypt(residual)
    opened = np.concatenate([residuals.open(feature.products(sealed, columns)) for _ in range(6)])
    assert np.abs(opened).max() > 1000 * np.abs(columns.T @ residual / 300).max()
    assert np.abs(opened).max() < MASK + 1
    assert np.abs(opened / STEP - np.round(opened / STEP)).max() < 1e-6
    sums = feature.products(sealed, columns)
    assert not np.array_equal(residuals.open(sums), residuals.open(sums))


def test_masks_are_used_once(keys, batch):
    residuals, context = keys
    feature = MaskedSums(context)
    opened = residuals.open(feature.products(residuals.encrypt(batch[1]), batch[0]))
    feature.unmask(opened)
    with pytest.raises(InvalidInput) as error:
        feature.unmask(opened)
    assert error.value.code == "bad-message"


def test_the_public_context_opens_nothing(keys, batch):
    residuals, context = keys
    ts = tenseal_library.tenseal()
    public = ts.context_from(context)
    assert not public.has_secret_key()
    with pytest.raises(ValueError, match="secret"):
        ts.ckks_vector_from(public, residuals.encrypt(batch[1])).decrypt()


def refused(work) -> str:
    with pytest.raises(InvalidInput) as error:
        work()
    return error.value.code


def test_bytes_that_are_no_ciphertext_are_refused(keys, batch):
    residuals, context = keys
    feature = MaskedSums(context)
    sealed = residuals.encrypt(batch[1])
    assert refused(lambda: MaskedSums(b"no context at all")) == "bad-ciphertext"
    for bad in (b"abc", sealed[:200], bytes(500)):
        assert refused(lambda: feature.products(bad, batch[0])) == "bad-ciphertext"  # noqa: B023
        assert refused(lambda: residuals.open([bad])) == "bad-ciphertext"  # noqa: B023
    assert refused(lambda: feature.products(sealed, batch[0][:10])) == "bad-ciphertext"


def test_a_batch_larger_than_a_ciphertext_is_refused(keys):
    assert refused(lambda: keys[0].encrypt(np.zeros(MAXIMUM_ROWS + 1))) == "batch-too-large"


def test_without_the_extra_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tenseal", None)
    tenseal_library.tenseal.cache_clear()
    try:
        with pytest.raises(InvalidInput, match=r"flaas_jupyter\[he\]") as error:
            tenseal_library.tenseal()
        assert error.value.code == "missing-extra"
    finally:
        monkeypatch.undo()
        tenseal_library.tenseal.cache_clear()


@pytest.mark.long
def test_it_lives_in_one_process_with_tensorflow_loaded_before_it():
    code = (
        "import tensorflow\n"
        "import numpy as np\n"
        "from flaas_jupyter.protocols.vertical.ckks_linear import Residuals\n"
        "print(len(Residuals(np.random.default_rng(0)).public_context()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    assert int(done.stdout) > 1_000_000
