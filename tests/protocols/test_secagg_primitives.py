"""Shamir's sharing, keystream masks and keys against published vectors and their defining properties."""

from __future__ import annotations

import secrets
import tracemalloc

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.errors import InvalidInput, NotAuthenticated
from flaas_jupyter.protocols.secure_aggregation import keys, shamir
from flaas_jupyter.protocols.secure_aggregation.keystream import BLOCK_BYTES, Masks, apply_masks


def mask_bytes(key: bytes, size: int) -> bytes:
    vector = np.zeros(size // 4, np.uint32)
    apply_masks(vector, add=[key])
    return vector.astype("<u4").tobytes()


class TestShamir:
    def test_textbook_example(self):
        # 1234 + 166 x + 94 x²: the worked example of the encyclopaedia's article on Shamir's secret sharing.
        shares = {2: 1942, 4: 3402, 5: 4414}
        assert shamir.join(shares) == (1234).to_bytes(32, "big")

    def test_arithmetic_is_in_the_field(self):
        # s - x has the values s - 1, s - 2, …, which for s = 1 wrap around the prime.
        assert shamir.join({2: shamir.PRIME - 1, 3: shamir.PRIME - 2}) == (1).to_bytes(32, "big")

    def test_prime_is_the_thirteenth_mersenne_prime(self):
        assert shamir.PRIME == 2**521 - 1
        assert all(pow(base, shamir.PRIME - 1, shamir.PRIME) == 1 for base in (2, 3, 5, 7, 11))

    @given(secret=st.binary(min_size=32, max_size=32), holders=st.integers(1, 12), data=st.data())
    def test_any_threshold_of_shares_joins(self, secret, holders, data):
        threshold = data.draw(st.integers(1, holders))
        chosen = data.draw(st.permutations(range(1, holders + 1)))[: data.draw(st.integers(threshold, holders))]
        shares = shamir.split(secret, holders, threshold)
        assert shamir.join({x: shares[x - 1] for x in chosen}) == secret

    @given(holders=st.integers(2, 10), data=st.data())
    def test_fewer_than_the_threshold_fit_every_secret(self, holders, data):
        threshold = data.draw(st.integers(2, holders))
        secret, other = secrets.token_bytes(32), data.draw(st.binary(min_size=32, max_size=32))
        shares = shamir.split(secret, holders, threshold)
        known = data.draw(st.permutations(range(1, holders + 1)))[: threshold - 1]
        # A polynomial of the right degree goes through the known shares and any other secret at 0 …
        points = {0: int.from_bytes(other, "big")} | {x: shares[x - 1] for x in known}
        missing = next(x for x in range(1, holders + 1) if x not in known)
        share = 0
        for i, value in points.items():
            term = value
            for j in points:
                if j != i:
                    term = term * (missing - j) * pow(i - j, -1, shamir.PRIME) % shamir.PRIME
            share = (share + term) % shamir.PRIME
        # … so that a share exists with which the very same known ones open that other secret.
        assert shamir.join({missing: share} | {x: shares[x - 1] for x in known}) == other

    def test_too_few_shares_do_not_give_the_secret(self):
        secret = bytes(31) + b"\x07"
        shares = shamir.split(secret, 5, 3)
        with pytest.raises(ValueError):
            shamir.join({1: shares[0], 2: shares[1]})

    @given(secret=st.binary(min_size=32, max_size=32), data=st.data())
    def test_shares_may_be_dealt_at_any_abscissas(self, secret, data):
        abscissas = data.draw(st.lists(st.integers(1, 1000), min_size=1, max_size=10, unique=True))
        threshold = data.draw(st.integers(1, len(abscissas)))
        shares = dict(zip(abscissas, shamir.deal(secret, abscissas, threshold), strict=True))
        chosen = data.draw(st.permutations(abscissas))[:threshold]
        assert shamir.join({x: shares[x] for x in chosen}) == secret

    def test_shares_travel_as_66_bytes(self):
        assert shamir.from_bytes(shamir.to_bytes(shamir.PRIME - 1)) == shamir.PRIME - 1
        for bad in (b"", bytes(65), bytes(67), shamir.to_bytes(shamir.PRIME)):
            with pytest.raises(ValueError):
                shamir.from_bytes(bad)


class TestKeystream:
    @pytest.mark.parametrize(
        ("key", "stream"),
        [
            # NIST AESAVS, KeySbox known answers for AES-256 with the zero plaintext: the block at counter 0.
            (
                "c47b0294dbbbee0fec4757f22ffeee3587ca4730c3d33b691df38bab076bc558",
                "46f2fb342d6f0ab477476fc501242c5f",
            ),
            (
                "28d46cffa158533194214a91e712fc2b45b518076675affd910edeca5f41ac64",
                "4bf3b0a69aeb6657794f2901b1440ad4",
            ),
            # McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 13 and 14: H, E(K, Y0)
            # and E(K, Y1) are AES-256 of the counters 0, 1 and 2 under the zero key.
            (
                "00" * 32,
                "dc95c078a2408989ad48a21492842087530f8afbc74536b9a963b4f1c4cb738bcea7403d4d606b6e074ec5d3baf39d18",
            ),
        ],
    )
    def test_published_vectors(self, key, stream):
        assert mask_bytes(bytes.fromhex(key), len(stream) // 2).hex() == stream

    @pytest.mark.parametrize("size", [0, 1, 5, BLOCK_BYTES // 4 - 1, BLOCK_BYTES // 4, 3 * BLOCK_BYTES // 4 + 3])
    def test_a_prefix_of_a_longer_mask(self, size):
        key, longest = bytes(range(32)), 4 * BLOCK_BYTES
        assert mask_bytes(key, 4 * size) == mask_bytes(key, longest)[: 4 * size]

    def test_what_is_added_can_be_subtracted(self):
        rng = np.random.default_rng(4)
        vector = rng.integers(0, 1 << 32, BLOCK_BYTES // 2 + 3, dtype=np.uint32)
        masked = vector.copy()
        one, two, three = (bytes([i]) * 32 for i in range(3))
        apply_masks(masked, add=[one, two], subtract=[three])
        assert not np.array_equal(masked, vector)
        apply_masks(masked, add=[three], subtract=[two, one])
        np.testing.assert_array_equal(masked, vector)

    @settings(max_examples=60)
    @given(offset=st.integers(0, 3000), size=st.integers(0, 200))
    def test_any_part_of_a_mask_can_be_made_alone(self, offset, size):
        key = bytes(range(32))
        part = np.zeros(size, np.uint32)
        apply_masks(part, add=[key], offset=offset)
        assert part.astype("<u4").tobytes() == mask_bytes(key, 4 * 3200)[4 * offset : 4 * (offset + size)]

    def test_places_beyond_the_first_four_gigabytes_are_others(self):
        parts = []
        for offset in (0, 1 << 30, 1 << 34, (1 << 40) + 4):
            part = np.zeros(8, np.uint32)
            apply_masks(part, add=[bytes(32)], offset=offset)
            parts.append(part.tobytes())
        assert len(set(parts)) == 4

    def test_blocks_in_a_row_are_the_vector_at_once(self):
        rng = np.random.default_rng(3)
        vector = rng.integers(0, 1 << 32, 1000, dtype=np.uint32)
        whole = vector.copy()
        apply_masks(whole, add=[bytes(32)], subtract=[bytes([1]) * 32])
        masks = Masks([bytes(32)], [bytes([1]) * 32])
        for start, stop in ((0, 1), (1, 6), (6, 700), (900, 1000), (700, 900)):  # the last two out of order
            masks.apply(vector[start:stop], start)
        np.testing.assert_array_equal(vector, whole)

    def test_memory_stays_flat(self):
        vector = np.zeros(20_000_000, np.uint32)
        tracemalloc.start()
        apply_masks(vector, add=[bytes(32)], subtract=[bytes([1]) * 32])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * BLOCK_BYTES


class TestKeys:
    # The points of order 1, 2, 4 and 8 (RFC 7748, section 7), canonical and not.
    LOW_ORDER = (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )

    @pytest.mark.parametrize("point", LOW_ORDER)
    def test_points_of_low_order_are_refused(self, point):
        with pytest.raises(InvalidInput) as caught:
            keys.agree(X25519PrivateKey.generate(), bytes.fromhex(point), "ab" * 32)
        assert caught.value.code == "secagg-bad-key"

    def test_every_purpose_context_and_member_has_its_own_key(self, settings_for):
        here, secret = settings_for(3), bytes(32)
        other = settings_for(3, round=8)
        a, b, c = here.members
        derived = [
            keys.pair_mask_key(here.context, secret, a, b),
            keys.pair_mask_key(here.context, secret, a, c),
            keys.pair_mask_key(other.context, secret, a, b),
            keys.self_mask_key(here.context, secret, a),
            keys.self_mask_key(here.context, secret, b),
            keys.seed_commitment(here.context, secret, a),
        ]
        assert len(set(derived)) == len(derived)
        assert keys.pair_mask_key(here.context, secret, a, b) == keys.pair_mask_key(here.context, secret, b, a)

    @settings(max_examples=40)
    @given(position=st.integers(0, keys.SEALED_BYTES - 1), flip=st.integers(1, 255))
    def test_one_changed_byte_of_a_sealed_share_is_noticed(self, settings_for, position, flip):
        here = settings_for(3)
        a, b, _ = here.members
        sealed = bytearray(keys.seal(here.context, bytes(32), a, b, 1, 2))
        assert keys.unseal(here.context, bytes(32), a, b, bytes(sealed)) == (1, 2)
        sealed[position] ^= flip
        with pytest.raises(NotAuthenticated) as caught:
            keys.unseal(here.context, bytes(32), a, b, bytes(sealed))
        assert caught.value.code == "secagg-bad-share"

    def test_a_sealed_share_opens_for_its_sender_recipient_and_round_only(self, settings_for):
        here, later = settings_for(3), settings_for(3, attempt=2)
        a, b, c = here.members
        sealed = keys.seal(here.context, bytes(32), a, b, 1, 2)
        for where, sender, recipient in ((here, b, a), (here, a, c), (here, c, b), (later, a, b)):
            with pytest.raises(NotAuthenticated):
                keys.unseal(where.context, bytes(32), sender, recipient, sealed)

    def test_agreement_of_rfc_7748(self):
        # Section 5.2, first vector.
        scalar = bytes.fromhex("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4")
        point = bytes.fromhex("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")
        agreed = keys.agree(X25519PrivateKey.from_private_bytes(scalar), point, "ab" * 32)
        assert agreed.hex() == "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"
