"""Few bits a value under masks: fewer bytes, and the sum of the quantised values exactly."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.communications.identity import Identity, verify
from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.secure_aggregation import (
    Member,
    RoundSettings,
    SecureSum,
    SumRange,
    decode_sum,
    encode_update,
    encoded_length,
    pack,
    packed_size,
    unpack,
)
from flaas_jupyter.protocols.secure_aggregation.encoding import step, sum_bits


def of(members: int, bits: int | None, clip: float = 1.0) -> RoundSettings:
    ids = tuple(f"{number:064x}" for number in range(members))
    return RoundSettings("d", "r", 1, 0, ids, "m", clip, bits=bits)


@given(st.integers(3, 1000), st.sampled_from([8, 12, 16]), st.integers(0, 70_000), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_the_low_bits_come_through(members, bits, parameters, seed):
    how = of(members, bits)
    vector = np.random.default_rng(seed).integers(0, 1 << 32, 12 + parameters, dtype=np.uint32)
    scalars, packed = pack(vector, parameters, how)
    assert packed.nbytes == packed_size(parameters, how)
    back = unpack(scalars, packed, parameters, how)
    np.testing.assert_array_equal(back[:12], vector[:12])
    np.testing.assert_array_equal(back[12:], vector[12:] & np.uint32((1 << sum_bits(how)) - 1))


def test_a_packed_vector_of_another_length_is_refused():
    how = of(3, 8)
    scalars, packed = pack(np.zeros(112, np.uint32), 100, how)
    for wrong in (packed[:-1], packed.astype(np.uint16), np.append(packed, packed)):
        with pytest.raises(InvalidInput) as caught:
            unpack(scalars, wrong, 100, how)
        assert caught.value.code == "secagg-malformed"


@pytest.mark.parametrize(("bits", "ratio"), [(8, 10 / 32), (16, 18 / 32)])
def test_the_secure_sum_is_the_plain_sum_of_the_quantised_updates(bits, ratio):
    """Through real masks: what is opened is, bit for bit, what adding up the encoded updates gives."""
    identities = sorted((Identity.generate() for _ in range(4)), key=lambda identity: identity.node_id)
    ids = tuple(identity.node_id for identity in identities)
    how = RoundSettings("d", "r", 1, 0, ids, "m", 0.5, bits=bits)
    rng = np.random.default_rng(0)
    updates = rng.normal(0, 0.1, (4, 1000))
    encoded = [encode_update(u, 10 + i, 20, {}, how, np.random.default_rng(i)) for i, u in enumerate(updates)]
    parties = {i.node_id: Member(how, i.node_id, i.sign, verify) for i in identities}
    total = SecureSum(how, verify=verify)
    keys = {node: party.advertise() for node, party in parties.items()}
    total.advertised(keys)
    inboxes = total.shared({node: party.share(keys) for node, party in parties.items()})
    for node, vector in zip(ids, encoded, strict=True):
        scalars, packed = pack(parties[node].mask(vector, inboxes[node]), 1000, how)
        assert packed.nbytes == pytest.approx(ratio * 4000, abs=1)
        assert len(np.unique(packed)) > 200, "what travels looks like noise"
        total.add(node, unpack(scalars, packed, 1000, how))
    survivors = list(total.survivors)
    signatures = {node: parties[node].confirm(survivors) for node in survivors}
    total.confirmed(signatures)
    vector = total.open({node: parties[node].unmask(signatures) for node in survivors})
    mask = np.uint32((1 << sum_bits(how)) - 1)
    plain = np.sum(encoded, axis=0, dtype=np.uint32)
    head = encoded_length(0, 0)
    np.testing.assert_array_equal(vector[:head], plain[:head])
    np.testing.assert_array_equal(vector[head:] & mask, plain[head:])
    opened, reckoned = (decode_sum(v, 4, [], how, 1000, 20) for v in (vector, plain))
    np.testing.assert_array_equal(opened.mean, reckoned.mean)
    weights = np.arange(10, 14)
    off = np.abs(opened.mean - weights @ updates / weights.sum())
    assert off.max() <= opened.error_bound
    assert opened.error_bound == pytest.approx(4 * step(0.5, 4, bits) / (46 / 20), rel=1e-4)


@pytest.mark.parametrize("bits", [7, 31, 8.0, True])
def test_bits_that_the_sum_has_no_room_for_are_refused(bits):
    with pytest.raises(InvalidInput) as caught:
        of(4, bits)
    assert caught.value.code == "secagg-bad-settings"


def test_who_was_told_other_bits_does_not_understand_the_others_masks():
    plain, few = of(4, None), of(4, 8)
    assert plain.context != few.context
    assert dataclasses.replace(few, bits=None).context == plain.context


def test_the_range_follows_the_sums_and_leaves_more_room_each_time_that_it_clips():
    found = SumRange(follows=True)
    found.after(0, 0.01, 8.0, 4)
    assert found.factor == pytest.approx(1 / 16), "no faster than that"
    found.after(0, 0.01, 0.5, 4)
    assert found.factor * 8.0 == pytest.approx(0.04)
    found.after(3, 0.02, 0.04, 4)
    assert found.factor * 8.0 == pytest.approx(0.16)
    found.after(0, 0.005, 0.16, 4)
    assert found.factor * 8.0 == pytest.approx(0.04), "with twice the room"
    found.after(0, 1.0, 0.04, 4)
    assert found.factor * 8.0 == pytest.approx(0.04), "it grows by clipping only"


def test_with_all_bits_the_range_only_grows():
    found = SumRange()
    found.after(0, 0.01, 8.0, 4)
    assert found.factor == 1.0
    found.after(1, 0.01, 8.0, 4)
    assert found.factor == 4.0
