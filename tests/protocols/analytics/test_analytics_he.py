"""Homomorphic encryption gives the sum of the limbs, exactly; what is not a ciphertext is refused."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.analytics import he
from flaas_jupyter.protocols.tenseal_library import tenseal as library

if importlib.util.find_spec("tenseal") is None:
    pytest.skip("tenseal is not installed", allow_module_level=True)
tenseal = library()  # as everybody loads it, so that it can live beside TensorFlow


def bad(code="he-malformed"):
    return pytest.raises(InvalidInput, check=lambda error: error.code == code)


@pytest.fixture(scope="module")
def key():
    return he.make_key(1000)


@pytest.mark.parametrize("length", [0, 1, 4096, 5000])
def test_the_sum_of_ciphertexts_is_the_sum_of_limbs(key, length):
    rng = np.random.default_rng(length)
    vectors = [rng.integers(0, 1 << 16, length).astype(np.uint32) for _ in range(3)]
    total = he.add(key.public, [he.encrypt(key.public, vector) for vector in vectors])
    assert he.decrypt(key, total, length).tolist() == sum(vectors).tolist()


def test_a_thousand_members_do_not_wrap(key):
    ciphertext = he.encrypt(key.public, np.full(3, 65_535, np.uint32))
    assert he.decrypt(key, he.add(key.public, [ciphertext] * 1000), 3).tolist() == [65_535_000] * 3


def test_the_public_half_cannot_decrypt(key):
    context = tenseal.context_from(key.public)
    assert not context.has_secret_key()
    assert "secret" not in repr(key).lower()


def test_ciphertexts_of_the_same_limbs_differ(key):
    vector = np.arange(5, dtype=np.uint32)
    assert he.encrypt(key.public, vector) != he.encrypt(key.public, vector)


def test_garbage(key):
    vector = np.arange(5, dtype=np.uint32)
    sound = he.encrypt(key.public, vector)
    other = he.encrypt(key.public, np.arange(6, dtype=np.uint32))
    longer = he.encrypt(key.public, np.zeros(5000, np.uint32))
    for broken in (b"", b"\0", sound[:-1], sound + b"\0", b"\xff" * 40, sound[:8] + bytes(40) + sound[48:]):
        with bad():
            he.decrypt(key, he.add(key.public, [broken, sound]), 5)
    for mixed in ([sound, other], [sound, longer], []):
        with bad():
            he.add(key.public, mixed)
    with bad():
        he.decrypt(key, sound, 6)
    for public in (b"", b"garbage" * 9, key.public[:-9], "text"):
        with bad():
            he.encrypt(public, vector)
    for wrong in (np.array([1 << 16], np.uint32), np.zeros(3), np.zeros((2, 2), np.uint32)):
        with bad("wrong-shape"):
            he.encrypt(key.public, wrong)
    with bad("he-too-many-members"):
        he.make_key(1001)


def test_a_key_of_other_parameters_or_with_its_secret_half(key):
    context = tenseal.context(tenseal.SCHEME_TYPE.BFV, poly_modulus_degree=4096, plain_modulus=1032193)
    options = {"save_galois_keys": False, "save_relin_keys": False, "save_public_key": True}
    with bad():
        he.encrypt(context.serialize(save_secret_key=False, **options), np.zeros(3, np.uint32))
    own = tenseal.context(tenseal.SCHEME_TYPE.BFV, poly_modulus_degree=he.DEGREE, plain_modulus=he.PLAIN_MODULUS)
    with bad():
        he.encrypt(own.serialize(save_secret_key=True, **options), np.zeros(3, np.uint32))


def test_a_sum_that_no_members_have(key):
    few = he.Key(key.public, 2, key._context)
    ciphertext = he.encrypt(key.public, np.full(3, 65_535, np.uint32))
    with bad():
        he.decrypt(few, he.add(key.public, [ciphertext] * 5), 3)
