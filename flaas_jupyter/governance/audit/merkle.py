"""Merkle trees that only grow, and proofs that one extends another (RFC 9162, section 2.1).

Functions over digests of 32 bytes, with nothing stored. A leaf's hash is SHA-256 of 0x00 and its data, a node's that of
0x01 and its two children, so that neither can be taken for the other. *Complete* subtrees, whose size is a power of two
and that begin at a multiple of it, never change once they are full; every root and every proof is made of their hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

Complete = Callable[[int, int], bytes]
"""Hash of a complete subtree by level (it has ``2 ** level`` leaves) and position among those of its level."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node with these children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The complete subtrees, largest first, that a tree of some size consists of: all that is needed to let it grow.

    Parameters
    ----------
    size : int
        Leaves that there are already.
    hashes : sequence of bytes
        Of the complete subtrees of a tree of that size, largest first.
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if len(hashes) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} complete subtrees, not {len(hashes)}")
        self.size = size
        self._hashes = list(hashes)

    def append(self, leaf: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Add a leaf's hash; yield level, position and hash of each larger subtree that it completes."""
        self._hashes.append(leaf)
        self.size += 1
        level, rest = 0, self.size
        while rest % 2 == 0:
            right, left = self._hashes.pop(), self._hashes.pop()
            self._hashes.append(node_hash(left, right))
            level, rest = level + 1, rest // 2
            yield level, rest - 1, self._hashes[-1]

    @property
    def root(self) -> bytes:
        """The tree's root; that of the empty tree is the hash of nothing."""
        if not self._hashes:
            return hashlib.sha256(b"").digest()
        root = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            root = node_hash(left, root)
        return root


def frontier_of(size: int, complete: Complete) -> Frontier:
    """Return the frontier of a tree of `size` leaves whose complete subtrees are known."""
    hashes, start = [], 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            hashes.append(complete(level, start >> level))
            start += 1 << level
    return Frontier(size, hashes)


def consistency_proof(first: int, second: int, complete: Complete) -> list[bytes]:
    """Return the proof that the tree of `second` leaves extends that of `first` (section 2.1.4.1).

    Parameters
    ----------
    first, second : int
        Sizes, ``0 < first <= second``; the proof of equal sizes is empty.
    complete : callable
        See `Complete`.
    """
    if not 0 < first <= second:
        raise ValueError(f"there is no proof from {first} to {second}")
    proof: list[bytes] = []
    low, high, whole = 0, second, True  # the part of the tree that is looked at, and whether `first` begins with it
    later: list[bytes] = []
    while first != high - low:
        split = 1 << (high - low - 1).bit_length() - 1
        if first <= split:
            later.append(_range_hash(low + split, high, complete))
            high = low + split
        else:
            later.append(_range_hash(low, low + split, complete))
            low, first, whole = low + split, first - split, False
    if not whole:
        proof.append(_range_hash(low, high, complete))
    return proof + later[::-1]


def is_extension(first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """Tell whether `proof` shows that the tree of `second` leaves extends that of `first` (section 2.1.4.2)."""
    if not 0 < first <= second:
        return False
    if first == second:
        return not proof and first_root == second_root
    path = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    if not path or not proof:
        return False
    one, other = first - 1, second - 1
    while one & 1:
        one, other = one >> 1, other >> 1
    small = large = path[0]
    for step in path[1:]:
        if other == 0:
            return False
        if one & 1 or one == other:
            small, large = node_hash(step, small), node_hash(step, large)
            while one and not one & 1:
                one, other = one >> 1, other >> 1
        else:
            large = node_hash(large, step)
        one, other = one >> 1, other >> 1
    return other == 0 and small == first_root and large == second_root


def _range_hash(low: int, high: int, complete: Complete) -> bytes:
    """Return the hash of leaves `low` to `high`, where `low` is a multiple of the power of two that holds them."""
    size = high - low
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return complete(level, low >> level)
    split = 1 << (size - 1).bit_length() - 1
    return node_hash(_range_hash(low, low + split, complete), _range_hash(low + split, high, complete))
