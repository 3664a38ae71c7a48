"""Vectors in blocks: the same sums, in the memory of a block, and of whole vectors only."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.communications.identity import verify
from flaas_jupyter.errors import Conflict, FlaasError, InvalidInput
from flaas_jupyter.protocols.secure_aggregation import SecureSum
from flaas_jupyter.protocols.secure_aggregation.keystream import apply_masks


def raises(code, kind=FlaasError):
    return pytest.raises(kind, check=lambda error: error.code == code)


def cut(vector, sizes):
    """The vector in blocks of these lengths, again and again."""
    start = 0
    for size in itertools.cycle(sizes):
        if start >= vector.size:
            return
        yield vector[start : start + size]
        start += size


def receiver(here, length, **options):
    """An aggregator that takes blocks, after the steps before."""
    blocks = SecureSum(here.settings, verify=verify, length=length, **options)
    blocks.advertised(here.advertisements)
    blocks.shared(here.sealed)
    return blocks


@settings(max_examples=30, deadline=None)
@given(
    size=st.integers(1, 300),
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=5),
    opened=st.integers(1, 100),
    lost=st.sets(st.integers(0, 4), max_size=1),
)
def test_blocks_give_the_plain_sum(begin, vectors_for, size, sizes, opened, lost):
    here, vectors = begin(5).advertise().share(), vectors_for(5, size)
    blocks = receiver(here, size)
    for place, name in enumerate(here.settings.members):
        offset = 0
        for masked in here.members[name].mask_blocks(cut(vectors[place], sizes), here.inboxes[name]):
            if place in lost and offset + masked.size == size:
                break  # it drops out before its last block
            assert blocks.add_block(name, offset, masked) == (offset + masked.size == size)
            offset += masked.size
    survivors = list(blocks.survivors)
    assert len(survivors) == 5 - len(lost)
    signatures = {name: here.members[name].confirm(survivors) for name in survivors}
    blocks.confirmed(signatures)
    reveals = {name: here.members[name].unmask(signatures) for name in survivors}
    total = np.concatenate(list(blocks.open_blocks(reveals, opened)))
    wanted = np.sum([v for place, v in enumerate(vectors) if place not in lost], axis=0, dtype=np.uint32)
    np.testing.assert_array_equal(total, wanted)


def test_a_vector_in_blocks_is_the_vector_at_once(begin, vectors_for):
    # One member twice, from the same state: what leaves it is the same to the bit.
    here, vector = begin(4).advertise().share(), vectors_for(1, 1000)[0]
    name = here.settings.members[1]
    member = here.members[name]
    keys = ([member._self_mask], member._pair_masks)
    blocks = list(member.mask_blocks(cut(vector, [7, 64]), here.inboxes[name]))
    whole = vector.copy()
    above = [key for other, key in keys[1].items() if other > name]
    below = [key for other, key in keys[1].items() if other < name]
    apply_masks(whole, add=[*keys[0], *above], subtract=below)
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_the_keys_are_used_up_by_the_first_call(begin, vectors_for):
    here, vector = begin(3).advertise().share(), vectors_for(1, 10)[0]
    name = here.settings.members[0]
    here.members[name].mask_blocks([vector], here.inboxes[name])  # nobody has asked for a block yet
    for again in (here.members[name].mask, lambda v, i: here.members[name].mask_blocks([v], i)):
        with raises("secagg-wrong-phase", Conflict):
            again(vector, here.inboxes[name])


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((1, 3), np.uint32), [1, 2]])
def test_bad_blocks_are_refused(begin, vectors_for, bad):
    here = begin(3).advertise().share()
    name = here.settings.members[0]
    blocks = here.members[name].mask_blocks(iter([vectors_for(1, 2)[0], bad]), here.inboxes[name])
    assert next(blocks).size == 2
    with raises("secagg-malformed", InvalidInput):
        next(blocks)
    with raises("secagg-malformed", InvalidInput):
        receiver(here, 3).add_block(name, 0, bad)


def test_blocks_out_of_order_or_too_long_are_refused(begin, vectors_for):
    here = begin(3).advertise().share()
    one, other, _ = here.settings.members
    blocks, piece = receiver(here, 10), vectors_for(1, 4)[0]
    assert not blocks.add_block(one, 0, piece)
    for offset, block in ((0, piece), (5, piece), (4, vectors_for(1, 7)[0])):
        with raises("secagg-malformed", InvalidInput) as caught:
            blocks.add_block(one, offset, block)
        assert caught.value.details["member"] == one
    with raises("secagg-unknown-member"):
        blocks.add_block("ab" * 32, 0, piece)
    assert blocks.add_block(one, 4, vectors_for(1, 6)[0])
    with raises("secagg-wrong-phase", Conflict):
        blocks.add_block(one, 0, piece)
    unknown = receiver(here, None)
    with raises("secagg-wrong-phase", Conflict):
        unknown.add_block(other, 0, piece)


def stream(here, name, length, block):
    """Mask zeros of a length; return the number of values and whether any of them was left as it was."""
    zeros, values, untouched = np.zeros(block, np.uint32), 0, 0
    source = (zeros[: min(block, length - start)] for start in range(0, length, block))
    for masked in here.members[name].mask_blocks(source, here.inboxes[name]):
        values += masked.size
        untouched += np.count_nonzero(masked == 0)
    return values, untouched


@pytest.mark.parametrize("length", [3_000_000, pytest.param(100_000_000, marks=pytest.mark.long)])
def test_masks_of_a_long_vector_need_memory_for_a_block(begin, length):
    here, block = begin(3).advertise().share(), 1 << 18
    name = here.settings.members[0]
    tracemalloc.start()
    values, untouched = stream(here, name, length, block)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert values == length
    assert untouched < 10
    assert peak < 6 * 4 * block, "a few blocks, whatever the length"


def test_the_aggregator_may_keep_its_vectors_in_a_file(begin, tmp_path):
    here, length, block = begin(3).advertise().share(), 2_000_000, 1 << 16
    files = iter(range(10))

    def room(values):
        return np.memmap(tmp_path / f"{next(files)}", dtype=np.uint32, mode="w+", shape=(values,))

    tracemalloc.start()
    blocks = receiver(here, length, room=room)
    ones = np.ones(block, np.uint32)
    for name in here.settings.members:
        offset = 0
        source = (ones[: min(block, length - start)] for start in range(0, length, block))
        for masked in here.members[name].mask_blocks(source, here.inboxes[name]):
            blocks.add_block(name, offset, masked)
            offset += masked.size
    survivors = list(blocks.survivors)
    signatures = {name: here.members[name].confirm(survivors) for name in survivors}
    blocks.confirmed(signatures)
    reveals = {name: here.members[name].unmask(signatures) for name in survivors}
    assert all((opened == 3).all() for opened in blocks.open_blocks(reveals))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * length / 3
