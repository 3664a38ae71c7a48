"""Merkle trees and consistency proofs: the published vectors, and every proof against a tree built as it is defined."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaas_jupyter.governance.audit.merkle import (
    Frontier,
    consistency_proof,
    frontier_of,
    is_extension,
    leaf_hash,
    node_hash,
)

# Test vectors of Certificate Transparency (RFC 6962, whose trees RFC 9162 keeps).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PROOFS = {
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


class Tree:
    """A tree as section 2.1.1 defines it, by recursion over all leaves."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.leaves = leaves

    def root(self, low: int, high: int) -> bytes:
        if high == low:
            return hashlib.sha256().digest()
        if high - low == 1:
            return leaf_hash(self.leaves[low])
        split = 1
        while split * 2 < high - low:
            split *= 2
        return node_hash(self.root(low, low + split), self.root(low + split, high))

    def complete(self, level: int, position: int) -> bytes:
        assert (position + 1) << level <= len(self.leaves), "only complete subtrees are asked for"
        return self.root(position << level, (position + 1) << level)


def data(count: int) -> list[bytes]:
    return [bytes([number]) * 3 for number in range(count)]


def test_the_roots_are_the_published_ones():
    frontier = Frontier()
    assert frontier.root == hashlib.sha256().digest()
    for leaf, root in zip(LEAVES, ROOTS, strict=True):
        list(frontier.append(leaf_hash(leaf)))
        assert frontier.root.hex() == root


@pytest.mark.parametrize(("sizes", "proof"), PROOFS.items())
def test_the_proofs_are_the_published_ones(sizes, proof):
    found = consistency_proof(*sizes, Tree(LEAVES).complete)
    assert [digest.hex() for digest in found] == proof
    first, second = sizes
    assert is_extension(first, second, bytes.fromhex(ROOTS[first - 1]), bytes.fromhex(ROOTS[second - 1]), found)


@given(st.integers(0, 70))
def test_growing_leaf_by_leaf_gives_the_defined_root_and_every_complete_subtree(size):
    tree, frontier = Tree(data(size)), Frontier()
    stored = {}
    for leaf in tree.leaves:
        stored |= {(level, position): digest for level, position, digest in frontier.append(leaf_hash(leaf))}
    assert frontier.root == tree.root(0, size)
    assert stored == {
        (level, position): tree.complete(level, position)
        for level in range(1, 7)
        for position in range(size >> level)
    }  # fmt: skip
    assert frontier_of(size, tree.complete).root == frontier.root


@given(st.integers(1, 70), st.integers(1, 70))
def test_every_proof_shows_that_the_larger_tree_extends_the_smaller(one, other):
    first, second = sorted((one, other))
    tree = Tree(data(second))
    proof = consistency_proof(first, second, tree.complete)
    assert is_extension(first, second, tree.root(0, first), tree.root(0, second), proof)
    assert len(proof) <= 2 * second.bit_length()


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_no_proof_holds_for_a_history_that_was_changed(one, other, draw):
    first, second = sorted((one, other))
    changed = draw.draw(st.integers(0, first - 1), label="changed leaf")
    honest = Tree(data(second))
    forged = Tree([b"forged" if number == changed else leaf for number, leaf in enumerate(honest.leaves)])
    roots = honest.root(0, first), forged.root(0, second)
    for tree in (honest, forged):
        assert not is_extension(first, second, *roots, consistency_proof(first, second, tree.complete))


@given(st.integers(1, 40), st.integers(1, 40), st.lists(st.binary(min_size=32, max_size=32), max_size=8))
def test_a_made_up_proof_proves_nothing(first, second, proof):
    tree = Tree(data(max(first, second)))
    roots = tree.root(0, first), tree.root(0, second)
    genuine = first <= second and proof == consistency_proof(first, second, tree.complete)
    assert is_extension(first, second, *roots, proof) == genuine


@given(st.integers(2, 60), st.data())
def test_a_proof_with_a_digest_dropped_added_or_changed_proves_nothing(second, draw):
    first = draw.draw(st.integers(1, second - 1), label="first")
    tree = Tree(data(second))
    proof = consistency_proof(first, second, tree.complete)
    place = draw.draw(st.integers(0, len(proof) - 1), label="place")
    roots = tree.root(0, first), tree.root(0, second)
    for wrong in (
        proof[:place] + proof[place + 1 :],
        [*proof[:place], b"x" * 32, *proof[place:]],
        [*proof[:place], b"x" * 32, *proof[place + 1 :]],
        [*proof, proof[-1]],
    ):
        assert not is_extension(first, second, *roots, wrong)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (0, 0), (2, 1), (-1, 4)])
def test_there_is_no_proof_of_nothing_or_backwards(first, second):
    with pytest.raises(ValueError, match="no proof"):
        consistency_proof(first, second, Tree(data(4)).complete)
    assert not is_extension(first, second, b"a" * 32, b"a" * 32, [])


def test_equal_sizes_need_no_proof_but_equal_roots():
    root = Tree(data(5)).root(0, 5)
    assert consistency_proof(5, 5, Tree(data(5)).complete) == []
    assert is_extension(5, 5, root, root, [])
    assert not is_extension(5, 5, root, b"x" * 32, [])
    assert not is_extension(5, 5, root, root, [root])


def test_a_frontier_of_the_wrong_size_is_refused():
    with pytest.raises(ValueError, match="complete subtrees"):
        Frontier(3, [b"a" * 32])
