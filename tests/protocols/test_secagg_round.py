"""Whole secure sums: right whoever drops out; every way to cheat fails before anything is revealed."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.communications.identity import Identity, verify
from flaas_jupyter.errors import Aborted, Conflict, FlaasError, InvalidInput, NotAuthenticated
from flaas_jupyter.protocols.secure_aggregation import (
    Advertisement,
    Member,
    Reveal,
    RoundSettings,
    SecureSum,
    decode_sum,
    default_threshold,
    encode_update,
    keys,
    shamir,
)
from flaas_jupyter.protocols.secure_aggregation.keystream import apply_masks

LOW_ORDER = bytes(32)


def raises(code, kind=FlaasError):
    """`pytest.raises` for an error with a certain code."""
    return pytest.raises(kind, check=lambda error: error.code == code)


def until_masked(begin, vectors_for, members=4, size=6):
    return begin(members).advertise().share().mask(vectors_for(members, size))


class TestSum:
    @settings(max_examples=60, deadline=None)
    @given(members=st.integers(3, 8), size=st.sampled_from([0, 1, 2, 7, 100]), data=st.data())
    def test_masked_sum_is_the_plain_sum_of_the_survivors(self, begin, vectors_for, members, size, data):
        vectors = vectors_for(members, size)
        # Any members drop out at any step, down to the threshold.
        gone = data.draw(st.permutations(range(members)))[: members - default_threshold(members)]
        lost = {
            "advertise": set(),
            "share": set(),
            "mask": set(),
            "confirm": set(),
            "unmask": set(),
            "none": set(),
        }
        for place in gone:
            lost[data.draw(st.sampled_from(sorted(lost)))].add(place)
        late = lost["confirm"] | lost["unmask"]
        done = begin(members).advertise(lost["advertise"]).share(lost["share"]).mask(vectors, lost["mask"])
        total = done.confirm(lost["confirm"]).unmask(late).open()

        survivors = set(range(members)) - lost["advertise"] - lost["share"] - lost["mask"]
        expected = np.zeros(size, np.uint32)
        for place in survivors:
            expected += vectors[place]
        assert total.dtype == np.uint32
        np.testing.assert_array_equal(total, expected)
        assert done.sum.survivors == tuple(sorted(done.ids(survivors)))

    def test_the_largest_round(self, begin, vectors_for):
        vectors = vectors_for(64, 10)
        done = begin(64).advertise({1}).share(range(2, 6)).mask(vectors, range(50, 64)).confirm().unmask({0, 6})
        expected = np.sum([v for i, v in enumerate(vectors) if i == 0 or 6 <= i < 50], axis=0, dtype=np.uint32)
        np.testing.assert_array_equal(done.open(), expected)

    def test_updates_come_out_as_their_weighted_mean(self, begin):
        rng = np.random.default_rng(10)
        deltas, counts = rng.normal(size=(5, 1000)), [100, 20, 3, 50, 77]
        here = begin(5)
        vectors = [
            encode_update(delta, count, 100, {"accuracy": 0.5 + count / 1000}, here.settings, rng)
            for delta, count in zip(deltas, counts, strict=True)
        ]
        total = here.advertise().share().mask(vectors, {3}).confirm().unmask().open()
        opened = decode_sum(total, 4, ["accuracy"], here.settings, 1000, 100)
        survivors, weights = deltas[[0, 1, 2, 4]], np.array([100, 20, 3, 77])
        assert np.abs(opened.mean - weights @ survivors / 200).max() < opened.error_bound
        assert opened.examples == 200
        assert opened.metrics["accuracy"] == pytest.approx(weights @ (0.5 + weights / 1000) / 200, abs=2**-32)

    def test_sums_of_masked_vectors_use_one_vector_of_memory(self, begin, vectors_for):
        one = np.zeros(2_000_000, np.uint32)
        here = begin(6).advertise().share()
        masked = {name: here.members[name].mask(one, here.inboxes[name]) for name in here.settings.members}
        tracemalloc.start()
        for name, vector in masked.items():
            here.sum.add(name, vector)
        here.confirm().unmask()
        assert not here.open().any()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < one.nbytes + (2 << 20)

    def test_masking_twenty_million_values_uses_one_vector_of_memory(self, begin):
        vector = np.zeros(20_000_000, np.uint32)
        here = begin(3).advertise().share()
        name = here.settings.members[0]
        tracemalloc.start()
        masked = here.members[name].mask(vector, here.inboxes[name])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert masked.any()
        assert not vector.any()
        assert peak < vector.nbytes + (2 << 20)


class TestMaskedVector:
    def test_looks_uniform(self, begin):
        def chi_square(vector):
            counts = np.bincount(vector.view(np.uint8), minlength=256)
            return float(((counts - counts.mean()) ** 2 / counts.mean()).sum())

        vector = np.zeros(250_000, np.uint32)
        done = begin(3).advertise().share().mask([vector] * 3)
        # 255 degrees of freedom: mean 255, standard deviation 22.6; ten of them either way.
        assert chi_square(vector) > 1e6
        for masked in done.masked.values():
            assert 30 < chi_square(masked) < 481

    def test_two_rounds_of_the_same_data_are_unrelated(self, begin, vectors_for):
        vectors = vectors_for(3, 100_000)
        one, other = (begin(3).advertise().share().mask(vectors).masked for _ in range(2))
        for name in one:
            # Equal values by chance: 100,000 / 2^32 expected; correlation within six standard deviations.
            assert np.count_nonzero(one[name] == other[name]) < 5
            assert abs(np.corrcoef(one[name], other[name])[0, 1]) < 6 / np.sqrt(100_000)

    def test_what_all_others_know_does_not_uncover_a_members_vector(self, begin):
        # What the others know of the victim's vector are the pair masks; its own mask still covers it.
        vector = np.zeros(100_000, np.uint32)
        here = begin(3).advertise().share()
        victim, *others = here.settings.members
        pairs = {name: here.members[name]._pair_masks[victim] for name in others}
        masked = here.members[victim].mask(vector, here.inboxes[victim])
        above = [key for name, key in pairs.items() if name > victim]
        below = [key for name, key in pairs.items() if name < victim]
        apply_masks(masked, add=below, subtract=above)
        assert np.count_nonzero(masked == 0) < 5


class TestBelowThreshold:
    def test_too_few_keys(self, begin):
        here = begin(5)
        names = here.settings.members[:3]
        advertisements = {name: here.members[name].advertise() for name in names}
        with raises("secagg-below-threshold", Aborted):
            here.sum.advertised(advertisements)
        with raises("secagg-below-threshold", Aborted):
            here.members[names[0]].share(advertisements)

    def test_too_few_shares(self, begin, vectors_for):
        here = begin(5).advertise()
        name = here.settings.members[0]
        sealed = {other: here.members[other].share(here.advertisements) for other in here.settings.members[:3]}
        with raises("secagg-below-threshold", Aborted):
            here.sum.shared(sealed)
        inbox = {other: blobs[name] for other, blobs in sealed.items() if other != name}
        with raises("secagg-below-threshold", Aborted):
            here.members[name].mask(vectors_for(1, 5)[0], inbox)

    def test_too_few_vectors(self, begin, vectors_for):
        here = begin(3).advertise().share().mask(vectors_for(3, 5), lost={2})
        with raises("secagg-below-threshold", Aborted):
            _ = here.sum.survivors
        with raises("secagg-below-threshold", Aborted):
            here.members[here.settings.members[0]].confirm(here.settings.members[:2])

    def test_too_few_signatures(self, begin, vectors_for):
        here = until_masked(begin, vectors_for, 5).confirm()
        few = dict(list(here.signatures.items())[:3])
        with raises("secagg-below-threshold", Aborted):
            unconfirmed(here).confirmed(few)
        for member in here.members.values():
            with raises("secagg-below-threshold", Aborted):
                member.unmask(few)

    def test_too_few_reveals(self, begin, vectors_for):
        here = until_masked(begin, vectors_for, 5).confirm().unmask({0, 1})
        with raises("secagg-below-threshold", Aborted):
            here.open()

    def test_nothing_that_an_aborted_round_sent_holds_a_secret(self, begin, vectors_for):
        here = begin(4)
        held = {name: (m._secrets[1].private_bytes_raw(), m._secrets[2]) for name, m in here.members.items()}
        here.advertise().share().mask(vectors_for(4, 5), lost={2, 3})
        with raises("secagg-below-threshold"):
            _ = here.sum.survivors
        sent = b"".join(
            [part for adv in here.advertisements.values() for part in adv.to_dict().values()]
            + [blob for blobs in here.sealed.values() for blob in blobs.values()]
            + [vector.tobytes() for vector in here.masked.values()]
        )
        for key, seed in held.values():
            assert key not in sent
            assert seed not in sent
        for member in here.members.values():
            with raises("secagg-wrong-phase"):
                member.unmask({})


def unconfirmed(here):
    """An aggregator that has not confirmed yet, at the same point of the round."""
    fresh = SecureSum(here.settings, verify=verify)
    fresh.advertised(here.advertisements)
    fresh.shared(here.sealed)
    for name, vector in here.masked.items():
        fresh.add(name, vector)
    return fresh


class TestLyingAboutSurvivors:
    def test_two_lists_to_different_members_open_nothing(self, begin, vectors_for):
        here = until_masked(begin, vectors_for, 5)
        everyone = list(here.settings.members)
        without_the_last = everyone[:4]
        told = {name: (everyone if i < 2 else without_the_last) for i, name in enumerate(everyone[:4])}
        signatures = {name: here.members[name].confirm(listed) for name, listed in told.items()}
        for name in told:
            with raises("secagg-below-threshold", Aborted):
                here.members[name].unmask(signatures)

    def test_a_second_list_is_refused_and_the_first_may_be_asked_for_again(self, begin, vectors_for):
        here = until_masked(begin, vectors_for, 5)
        member, everyone = here.members[here.settings.members[0]], list(here.settings.members)
        signature = member.confirm(everyone)
        with raises("secagg-survivors-changed", Conflict):
            member.confirm(everyone[:4])
        assert member.confirm(everyone[::-1]) == signature

    def test_no_member_ever_gives_both_shares(self, begin, vectors_for):
        here = until_masked(begin, vectors_for, 5)
        me, *others = here.settings.members
        member = here.members[me]
        held = {name: tuple(map(shamir.to_bytes, pair)) for name, pair in member._held.items()}
        survivors = [me, *others[:3]]
        signatures = {name: here.members[name].confirm(survivors) for name in survivors}
        given_out = member.unmask(signatures)
        assert {name: reveal.kind for name, reveal in given_out.items()} == {
            name: "seed" if name in survivors else "key" for name in here.settings.members
        }
        for name, (key_share, seed_share) in held.items():
            assert given_out[name].share == (seed_share if name in survivors else key_share)
        assert member.unmask(signatures) == given_out
        # The other share is not kept anywhere.
        assert not member._held
        assert member._own == (0, 0)

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            (lambda ids: ids[:3], "secagg-below-threshold"),
            (lambda ids: ids[1:], "secagg-not-a-survivor"),
            (lambda ids: [*ids[:4], "ab" * 32], "secagg-unknown-member"),
            (lambda ids: [*ids, ids[1]], "secagg-malformed"),
            (lambda ids: [*ids[:4], 5], "secagg-malformed"),
            (lambda ids: "".join(ids), "secagg-malformed"),
            (lambda ids: None, "secagg-malformed"),
        ],
    )
    def test_an_impossible_list_is_not_signed(self, begin, vectors_for, change, code):
        here = until_masked(begin, vectors_for, 5)
        with raises(code):
            here.members[here.settings.members[0]].confirm(change(list(here.settings.members)))

    def test_somebody_who_did_not_share_cannot_survive(self, begin, vectors_for):
        here = begin(5).advertise().share(lost={4}).mask(vectors_for(5, 3))
        with raises("secagg-unknown-member"):
            here.members[here.settings.members[0]].confirm(list(here.settings.members))


class TestSignatures:
    def test_foreign_keys_are_refused(self, begin):
        here = begin(3).advertise()
        mallory = Identity(b"m" * 32)
        victim = here.settings.members[1]
        forged = Member(here.settings, victim, mallory.sign, verify).advertise()
        swapped = here.advertisements | {victim: forged}
        with raises("bad-signature", NotAuthenticated):
            here.members[here.settings.members[0]].share(swapped)
        with raises("bad-signature", NotAuthenticated):
            SecureSum(here.settings, verify=verify).advertised(swapped)

    @pytest.mark.parametrize("change", [{"round": 6}, {"attempt": 0}, {"run": "run-0"}, {"domain": "insurance"}])
    def test_replayed_keys_are_refused(self, begin, change):
        here, earlier = begin(3), begin(3, **change).advertise()
        advertisements = {name: member.advertise() for name, member in here.members.items()}
        me, other, _ = here.settings.members
        with raises("bad-signature", NotAuthenticated):
            here.members[me].share(advertisements | {other: earlier.advertisements[other]})

    @pytest.mark.parametrize(
        "change",
        [{"clip": 8.5}, {"model_digest": "cd" * 32}, {"terms": b"learning rate 0"}, {"threshold": 5}],
    )
    def test_members_who_were_told_different_things_cannot_sum(self, begin, change):
        here, elsewhere = begin(5), begin(5, **change)
        me, *others = here.settings.members
        advertisements = {name: elsewhere.members[name].advertise() for name in others}
        with raises("bad-signature", NotAuthenticated):
            here.members[me].share(advertisements | {me: here.members[me].advertise()})

    @pytest.mark.parametrize("field", ["seal_key", "mask_key", "commitment", "signature"])
    def test_every_field_of_an_advertisement_is_signed(self, begin, field):
        here = begin(3).advertise()
        me, other, _ = here.settings.members
        value = bytearray(getattr(here.advertisements[other], field))
        value[0] ^= 1
        changed = dataclasses.replace(here.advertisements[other], **{field: bytes(value)})
        with raises("bad-signature", NotAuthenticated):
            here.members[me].share(here.advertisements | {other: changed})

    def test_keys_cannot_be_passed_off_as_another_members(self, begin):
        here = begin(4).advertise()
        me, one, other, _ = here.settings.members
        swapped = here.advertisements | {one: here.advertisements[other], other: here.advertisements[one]}
        with raises("bad-signature", NotAuthenticated):
            here.members[me].share(swapped)

    def test_survivors_signatures_of_another_attempt_do_not_count(self, begin, vectors_for):
        here, earlier = until_masked(begin, vectors_for), begin(4, attempt=0)
        earlier.advertise().share().mask(vectors_for(4, 6)).confirm()
        here.confirm()
        for member in here.members.values():
            with raises("secagg-below-threshold", Aborted):
                member.unmask(earlier.signatures)

    def test_an_advertisements_signature_is_none_of_survivors(self, begin, vectors_for):
        here = until_masked(begin, vectors_for).confirm()
        recycled = {name: adv.signature for name, adv in here.advertisements.items()}
        with raises("secagg-below-threshold", Aborted):
            here.members[here.settings.members[0]].unmask(recycled)

    def test_one_bad_signature_does_not_stop_the_others(self, begin, vectors_for):
        here = until_masked(begin, vectors_for).confirm()
        name = here.settings.members[3]
        spoilt = here.signatures | {name: bytes(64)}
        assert here.members[here.settings.members[0]].unmask(spoilt)
        # Of four members three must sign; two good signatures are too few.
        spoilt[here.settings.members[2]] = here.signatures[here.settings.members[1]]
        with raises("secagg-below-threshold", Aborted):
            here.members[here.settings.members[0]].unmask(spoilt)

    def test_signatures_of_non_survivors_are_refused(self, begin, vectors_for):
        here = begin(4).advertise().share().mask(vectors_for(4, 5), lost={3}).confirm()
        lost = here.settings.members[3]
        for who in (lost, "ab" * 32):
            with raises("secagg-unknown-member"):
                here.members[here.settings.members[0]].unmask(here.signatures | {who: bytes(64)})
            with raises("secagg-unknown-member"):
                here.sum.confirmed(here.signatures | {who: bytes(64)})


class TestKeysAndShares:
    def test_a_point_of_low_order_is_refused(self, begin, identities):
        here = begin(3).advertise()
        me, other, _ = here.settings.members
        mallory = next(one for one in identities if one.node_id == other)
        for field in ("seal_key", "mask_key"):
            honest = here.advertisements[other]
            public = {"seal_key": honest.seal_key, "mask_key": honest.mask_key, field: LOW_ORDER}
            payload = Advertisement.payload(here.settings, **public, commitment=honest.commitment)
            signature = mallory.sign("flaas/secagg/1", payload)
            evil = Advertisement(**public, commitment=honest.commitment, signature=signature)
            with raises("secagg-bad-key", InvalidInput):
                here.members[me].share(here.advertisements | {other: evil})
            with raises("secagg-bad-key", InvalidInput):
                SecureSum(here.settings, verify=verify).advertised(here.advertisements | {other: evil})

    def test_a_key_used_twice_is_refused(self, begin, identities):
        here = begin(3).advertise()
        me, one, other = here.settings.members
        mallory = next(who for who in identities if who.node_id == other)
        theirs = here.advertisements[one]
        keys_of_another = (theirs.seal_key, theirs.mask_key, theirs.commitment)
        signature = mallory.sign("flaas/secagg/1", Advertisement.payload(here.settings, *keys_of_another))
        with raises("secagg-bad-key"):
            here.members[me].share(here.advertisements | {other: Advertisement(*keys_of_another, signature)})

    def test_ones_own_keys_must_be_there_unchanged(self, begin):
        here, another = begin(4).advertise(), begin(4).advertise()
        me = here.settings.members[0]
        missing = {name: adv for name, adv in here.advertisements.items() if name != me}
        for advertisements in (missing, here.advertisements | {me: another.advertisements[me]}):
            with raises("secagg-not-in-round", Conflict):
                here.members[me].share(advertisements)

    def test_a_stranger_is_refused(self, begin):
        here = begin(3).advertise()
        stranger = here.advertisements | {"ab" * 32: here.advertisements[here.settings.members[2]]}
        with raises("secagg-unknown-member"):
            here.members[here.settings.members[0]].share(stranger)
        with raises("secagg-unknown-member"):
            SecureSum(here.settings, verify=verify).advertised(stranger)

    def test_a_tampered_share_names_its_sender_and_leaves_the_member_as_it_was(self, begin, vectors_for):
        here = begin(3).advertise().share()
        me, sender, _ = here.settings.members
        good = here.inboxes[me]
        changed = good | {sender: bytes([good[sender][0] ^ 1]) + good[sender][1:]}
        vector = vectors_for(1, 5)[0]
        with raises("secagg-bad-share", NotAuthenticated) as caught:
            here.members[me].mask(vector, changed)
        assert caught.value.details["member"] == sender
        assert here.members[me].mask(vector, good).shape == vector.shape

    def test_a_swapped_inbox_is_refused(self, begin, vectors_for):
        here = begin(4).advertise().share()
        me, other, third, _ = here.settings.members
        mine, vector = here.inboxes[me], vectors_for(1, 5)[0]
        swaps = (
            mine | {third: here.inboxes[other][third]},  # the right sender, meant for another
            mine | {other: mine[third], third: mine[other]},  # meant for me, the senders exchanged
            mine | {other: here.sealed[me][other]},  # my own, sent back
        )
        for inbox in swaps:
            with raises("secagg-bad-share", NotAuthenticated):
                here.members[me].mask(vector, inbox)

    def test_a_share_from_nobody_in_the_round_is_refused(self, begin, vectors_for):
        here = begin(4).advertise(lost={3}).share()
        me = here.settings.members[0]
        for name in (here.settings.members[3], me, "ab" * 32):
            with raises("secagg-unknown-member"):
                here.members[me].mask(vectors_for(1, 5)[0], here.inboxes[me] | {name: bytes(keys.SEALED_BYTES)})

    def test_shares_for_the_wrong_recipients_are_refused(self, begin):
        here = begin(4).advertise()
        shares = {name: member.share(here.advertisements) for name, member in here.members.items()}
        one, other, *_ = here.settings.members
        partial = {name: blob for name, blob in shares[one].items() if name != other}
        for bad, code in (
            (partial, "secagg-malformed"),
            (shares[one] | {one: bytes(keys.SEALED_BYTES)}, "secagg-unknown-member"),
            (shares[one] | {other: b"short"}, "secagg-malformed"),
            (None, "secagg-malformed"),
        ):
            with raises(code):
                here.sum.shared(shares | {one: bad})

    def test_wrong_reveals_give_no_wrong_sum(self, begin, vectors_for):
        for kind, lost in (("seed", ()), ("key", {3})):
            here = begin(4).advertise().share().mask(vectors_for(4, 6), lost).confirm().unmask()
            holder, about = here.settings.members[0], here.settings.members[3]
            share = shamir.from_bytes(here.reveals[holder][about].share)
            wrong = Reveal(kind, shamir.to_bytes((share + 1) % shamir.PRIME))
            with raises("secagg-bad-share", Aborted) as caught:
                here.sum.open(here.reveals | {holder: here.reveals[holder] | {about: wrong}})
            assert caught.value.details["member"] == about

    def test_a_wrongly_dealt_seed_is_noticed(self, begin, vectors_for):
        here = begin(3).advertise()
        cheat = here.members[here.settings.members[2]]
        seal_key, mask_key, _ = cheat._secrets
        cheat._secrets = (seal_key, mask_key, b"another seed than it promised 32")
        here.share().mask(vectors_for(3, 6)).confirm().unmask()
        with raises("secagg-bad-share", Aborted):
            here.open()

    def test_reveals_of_the_wrong_kind_or_number_are_refused(self, begin, vectors_for):
        here = until_masked(begin, vectors_for).confirm().unmask()
        holder, other, *_ = here.settings.members
        mine = here.reveals[holder]
        kinds = mine | {other: Reveal("key", mine[other].share)}
        fewer = {name: reveal for name, reveal in mine.items() if name != other}
        for bad in (kinds, fewer, None, mine | {other: "share"}):
            with raises("secagg-malformed"):
                here.sum.open(here.reveals | {holder: bad})
        for stranger in ("ab" * 32, 7):
            with raises("secagg-unknown-member"):
                here.sum.open(here.reveals | {stranger: mine})
        assert here.open().size == 6


class TestVectors:
    def test_a_bad_vector_is_refused_and_named(self, begin, vectors_for):
        here = begin(4).advertise().share(lost={3})
        one, other, third, lost = here.settings.members
        good = vectors_for(1, 5)[0]
        here.sum.add(one, good)
        for bad in (good[:4], good.astype(np.int64), good.reshape(1, 5), list(good)):
            with raises("secagg-malformed") as caught:
                here.sum.add(other, bad)
            assert caught.value.details["member"] == other
        for name in (lost, "ab" * 32):
            with raises("secagg-unknown-member"):
                here.sum.add(name, good)
        with raises("secagg-wrong-phase", Conflict):
            here.sum.add(one, good)
        here.sum.add(other, good)
        here.sum.add(third, good)
        assert len(here.sum.survivors) == 3

    def test_a_known_length_binds_the_first_vector_too(self, settings_for, begin, vectors_for):
        here = begin(3).advertise().share()
        expecting = SecureSum(here.settings, length=6)
        expecting.advertised(here.advertisements)
        expecting.shared(here.sealed)
        with raises("secagg-malformed"):
            expecting.add(here.settings.members[0], vectors_for(1, 5)[0])

    def test_only_rows_of_uint32_are_masked(self, begin):
        here = begin(3).advertise().share()
        name = here.settings.members[0]
        for bad in (np.zeros(3), np.zeros((1, 3), np.uint32), np.zeros(3, np.int32), [0, 1]):
            with raises("secagg-malformed"):
                here.members[name].mask(bad, here.inboxes[name])

    def test_the_encoded_vector_is_left_as_it_is(self, begin, vectors_for):
        vector = vectors_for(1, 50)[0]
        here = begin(3).advertise().share()
        name = here.settings.members[0]
        vector.flags.writeable = False
        assert not np.array_equal(here.members[name].mask(vector, here.inboxes[name]), vector)


class TestOrder:
    def test_no_second_share_or_mask_under_the_same_keys(self, begin, vectors_for):
        here = until_masked(begin, vectors_for)
        name = here.settings.members[0]
        with raises("secagg-wrong-phase", Conflict):
            here.members[name].share(here.advertisements)
        with raises("secagg-wrong-phase", Conflict):
            here.members[name].mask(vectors_for(1, 6)[0], here.inboxes[name])

    def test_steps_cannot_be_skipped(self, begin, vectors_for):
        here = begin(3)
        member = here.members[here.settings.members[0]]
        with raises("secagg-wrong-phase"):
            member.mask(vectors_for(1, 6)[0], {})
        with raises("secagg-wrong-phase"):
            member.confirm(list(here.settings.members))
        with raises("secagg-wrong-phase"):
            member.unmask({})
        with raises("secagg-wrong-phase"):
            here.sum.shared({})
        with raises("secagg-wrong-phase"):
            here.sum.open({})

    def test_announcing_the_survivors_closes_the_sum(self, begin, vectors_for):
        here = begin(4).advertise().share().mask(vectors_for(4, 5), lost={3})
        assert len(here.sum.survivors) == 3
        with raises("secagg-wrong-phase", Conflict):
            here.sum.add(here.settings.members[3], vectors_for(1, 5)[0])

    def test_a_sum_is_opened_once(self, begin, vectors_for):
        here = until_masked(begin, vectors_for).confirm().unmask()
        here.open()
        with raises("secagg-wrong-phase", Conflict):
            here.open()

    def test_private_keys_are_gone_once_the_vector_has_left(self, begin, vectors_for):
        here = until_masked(begin, vectors_for)
        for member in here.members.values():
            assert member._secrets is None
            assert not member._pair_masks
            assert not member._channels
            assert member._self_mask == b""


class TestMessages:
    def test_survive_the_wire(self, begin, vectors_for):
        msgpack = pytest.importorskip("msgpack")
        here = until_masked(begin, vectors_for).confirm().unmask()
        name = here.settings.members[0]
        adv, reveal = here.advertisements[name], here.reveals[name][name]
        assert Advertisement.from_dict(msgpack.unpackb(msgpack.packb(adv.to_dict()))) == adv
        assert Reveal.from_dict(msgpack.unpackb(msgpack.packb(reveal.to_dict()))) == reveal

    @pytest.mark.parametrize(
        "data",
        [
            None,
            [],
            {},
            {"seal_key": bytes(32)},
            {"seal_key": bytes(31), "mask_key": bytes(32), "commitment": bytes(32), "signature": bytes(64)},
            {"seal_key": "a" * 32, "mask_key": bytes(32), "commitment": bytes(32), "signature": bytes(64)},
            {
                "seal_key": bytes(32),
                "mask_key": bytes(32),
                "commitment": bytes(32),
                "signature": bytes(64),
                "x": 1,
            },
        ],
    )
    def test_malformed_advertisements_are_refused(self, data):
        with raises("secagg-malformed", InvalidInput):
            Advertisement.from_dict(data)

    @pytest.mark.parametrize(
        "data",
        [
            None,
            {},
            {"kind": "seed"},
            {"kind": "both", "share": bytes(66)},
            {"kind": ["seed"], "share": bytes(66)},
            {"kind": "seed", "share": bytes(65)},
            {"kind": "seed", "share": 5},
        ],
    )
    def test_malformed_reveals_are_refused(self, data):
        with raises("secagg-malformed", InvalidInput):
            Reveal.from_dict(data)

    def test_a_share_outside_the_field_is_refused(self, begin, vectors_for):
        here = until_masked(begin, vectors_for).confirm().unmask()
        holder = here.settings.members[0]
        outside = here.reveals[holder] | {holder: Reveal("seed", b"\xff" * 66)}
        with raises("secagg-bad-share", Aborted):
            here.sum.open(here.reveals | {holder: outside})

    def test_no_secret_shows_in_a_members_repr(self, begin):
        name, member = next(iter(begin(3).members.items()))
        assert repr(member) == f"Member(me={name!r}, phase=ADVERTISED)"


class TestSettings:
    def test_two_nodes_are_too_few(self, settings_for):
        with raises("secagg-too-few-nodes", InvalidInput):
            settings_for(2)

    def test_a_thousand_and_one_nodes_are_too_many(self, settings_for):
        assert len(settings_for(1000).members) == 1000
        with raises("secagg-too-many-nodes", InvalidInput):
            settings_for(1001)

    @pytest.mark.parametrize(("members", "threshold"), [(3, 3), (4, 3), (5, 4), (6, 5), (10, 7), (50, 34), (64, 43)])
    def test_threshold_is_above_two_thirds(self, settings_for, members, threshold):
        assert settings_for(members).threshold == threshold

    @pytest.mark.parametrize(
        "change",
        [
            {"threshold": 3},
            {"threshold": 6},
            {"clip": 0.0},
            {"clip": -1.0},
            {"clip": float("nan")},
            {"clip": float("inf")},
            {"clip": "8"},
            {"round": -1},
            {"attempt": "1"},
            {"run": 7},
            {"terms": "text"},
            {"degree": 2},
            {"degree": 5},
            {"degree": 6},
            {"degree": 4.0},
            {"degree": True},
            {"members": ["ab" * 32] * 5},
            {"members": ("ab" * 32,) * 5},
            {"members": ("AB" * 32, "cd" * 32, "ef" * 32)},
            {"members": (1, 2, 3)},
        ],
    )
    def test_bad_settings_are_refused(self, settings_for, change):
        with raises("secagg-bad-settings", InvalidInput):
            settings_for(5, **change)

    def test_order_of_the_members_does_not_matter(self, settings_for):
        one = settings_for(4)
        other = dataclasses.replace(one, members=one.members[::-1])
        assert one == other
        assert one.context == other.context

    def test_every_field_is_bound(self, settings_for, identities):
        contexts = {
            settings_for(4, **change).context
            for change in (
                {},
                {"domain": "x"},
                {"run": "x"},
                {"round": 1},
                {"attempt": 3},
                {"model_digest": "x"},
                {"clip": 1.0},
                {"threshold": 4},
                {"terms": b"x"},
                {"degree": 3},
                {"members": tuple(one.node_id for one in identities[1:5])},
            )
        }
        assert len(contexts) == 11
        # Lengths are bound as well, so that text cannot move from one field to the next.
        assert settings_for(4, domain="ab", run="c").context != settings_for(4, domain="a", run="bc").context

    def test_a_member_must_be_one(self, settings_for):
        outsider = Identity(b"o" * 32)
        with raises("secagg-unknown-member"):
            Member(settings_for(3), outsider.node_id, outsider.sign, verify)

    def test_context_is_stable(self):
        # Nodes of different versions must agree on it: a change here is a change of the protocol's version.
        fixed = RoundSettings("d", "r", 1, 0, ("00" * 32, "11" * 32, "22" * 32), "m", 8.0)
        assert fixed.context.hex() == "e6a6b27f474a010e31917a1c88aaf027de14eb752c215133f8567ad1ff3d7fb7"
