"""Rounds on a ring against an aggregator that lies, and members that do: nothing but the sum of all opens."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from flaas_jupyter.communications.identity import verify
from flaas_jupyter.errors import Aborted, Conflict, FlaasError, InvalidInput, NotAuthenticated
from flaas_jupyter.protocols.secure_aggregation import (
    Reveal,
    SecureSum,
    Session,
    Votes,
    decode_sum,
    encode_update,
    keys,
    shamir,
)
from flaas_jupyter.protocols.secure_aggregation.keystream import apply_masks

MEMBERS, DEGREE = 20, 12  # t = 9 of 13 holders, m = 5 of the 6 after each


def raises(code, kind=FlaasError):
    return pytest.raises(kind, check=lambda error: error.code == code)


@pytest.fixture
def shared(begin):
    """A round on a ring, up to the inboxes, and its graph."""
    here = begin(MEMBERS, degree=DEGREE).advertise().share()
    return here, Session(here.settings, here.advertisements).graph


@pytest.fixture
def masked(shared, vectors_for):
    here, ring = shared
    return here.mask(vectors_for(MEMBERS, 5)), ring


def test_only_neighbours_hold_shares(shared):
    here, ring = shared
    for name, sealed in here.sealed.items():
        assert set(sealed) == set(ring.neighbours(name))
        assert set(here.inboxes[name]) == set(ring.neighbours(name))


def test_shares_for_others_than_the_neighbours_are_refused(begin):
    here = begin(MEMBERS, degree=DEGREE).advertise()
    ring = Session(here.settings, here.advertisements).graph
    shares = {name: member.share(here.advertisements) for name, member in here.members.items()}
    name = here.settings.members[0]
    stranger = next(n for n in here.settings.members if n != name and n not in ring.neighbours(name))
    fewer = dict(list(shares[name].items())[1:])
    for bad, code in (
        (fewer, "secagg-malformed"),
        (shares[name] | {stranger: bytes(keys.SEALED_BYTES)}, "secagg-unknown-member"),
    ):
        with raises(code):
            here.sum.shared(shares | {name: bad})


def test_nobody_sends_when_too_few_after_it_are_shown_to_have_shared(shared, vectors_for):
    here, ring = shared
    name = here.settings.members[3]
    hidden = set(ring.following(name)[:2])
    starved = {sender: blob for sender, blob in here.inboxes[name].items() if sender not in hidden}
    with raises("secagg-neighbours-lost", Aborted):
        here.members[name].mask(vectors_for(1, 5)[0], starved)
    # Those before it count for others, not for it.
    before = set(ring.neighbours(name)) - set(ring.following(name))
    starved = {sender: blob for sender, blob in here.inboxes[name].items() if sender not in before}
    assert here.members[name].mask(vectors_for(1, 5)[0], starved).size == 5


def test_a_list_that_cuts_somebody_off_is_signed_by_nobody(masked):
    here, ring = masked
    victim = here.settings.members[7]
    cut = [name for name in here.settings.members if name not in ring.following(victim)[:2]]
    assert len(cut) >= here.settings.threshold
    for name in cut:
        with raises("secagg-neighbours-lost", Aborted):
            here.members[name].confirm(cut)


def test_who_did_not_get_a_survivors_share_refuses_the_list(shared, vectors_for):
    here, ring = shared
    name = here.settings.members[0]
    kept_away = ring.following(name)[0]
    inbox = {sender: blob for sender, blob in here.inboxes[name].items() if sender != kept_away}
    here.members[name].mask(vectors_for(1, 5)[0], inbox)
    with raises("secagg-unknown-member", InvalidInput):
        here.members[name].confirm(list(here.settings.members))


def test_two_lists_open_nothing(masked):
    here, _ = masked
    everybody = list(here.settings.members)
    other = everybody[:-1]
    told = {name: everybody if place % 2 else other for place, name in enumerate(other)}
    signatures = {name: here.members[name].confirm(listed) for name, listed in told.items()}
    for name in told:
        with raises("secagg-below-threshold", Aborted):
            here.members[name].unmask(signatures)


def test_nobody_reveals_both_shares_or_more_than_its_neighbours(masked):
    here, ring = masked
    held = {n: {m: tuple(map(shamir.to_bytes, pair)) for m, pair in here.members[n]._held.items()} for n in here.masked}
    lost = here.settings.members[4]
    survivors = [name for name in here.settings.members if name != lost]
    signatures = {name: here.members[name].confirm(survivors) for name in survivors}
    for name in survivors:
        given = here.members[name].unmask(signatures)
        assert set(given) == set(ring.holders(name))
        for about, reveal in given.items():
            assert reveal.share == held[name][about][0 if about == lost else 1]
        assert not here.members[name]._held


def test_members_who_were_shown_different_keys_do_not_understand_each_other(begin, vectors_for):
    # The aggregator hides one member's keys from half of the others: two sessions, two rings.
    here = begin(MEMBERS, degree=DEGREE).advertise()
    names = here.settings.members
    fewer = {name: adv for name, adv in here.advertisements.items() if name != names[-1]}
    told = {name: here.advertisements if place % 2 else fewer for place, name in enumerate(names[:-1])}
    sealed = {name: here.members[name].share(seen) for name, seen in told.items()}
    for name in names[:-1]:
        inbox = {sender: blobs[name] for sender, blobs in sealed.items() if name in blobs}
        ring = Session(here.settings, told[name]).graph
        inbox = {sender: blob for sender, blob in inbox.items() if sender in ring.neighbours(name)}
        with pytest.raises((NotAuthenticated, Aborted)):
            here.members[name].mask(vectors_for(1, 5)[0], inbox)


def test_a_share_outside_the_field_or_of_another_is_refused(masked):
    here, ring = masked
    here.confirm().unmask()
    holder = here.settings.members[0]
    about = ring.neighbours(holder)[0]
    # All holders' shares must be used for this to show, so that nobody else's can stand in.
    few = {name: here.reveals[name] for name in here.reveals if name not in ring.holders(about)}
    few |= {name: here.reveals[name] for name in ring.holders(about)[: ring.threshold]}
    chosen = ring.holders(about)[0]
    for share in (b"\xff" * 66, here.reveals[chosen][chosen].share):
        spoilt = dict(here.reveals)
        for name in ring.holders(about):
            spoilt[name] = here.reveals[name] | {about: Reveal("seed", share)}
        with raises("secagg-bad-share", Aborted) as caught:
            here.sum.open(spoilt)
        assert caught.value.details["member"] == about
    assert here.open().size == 5


@pytest.mark.parametrize("which", [0, 1])
def test_a_sealed_share_outside_the_field_is_refused(shared, vectors_for, which):
    # Its sender is a member: the seal is good, what is in it is none of the field's elements.
    here, ring = shared
    name = here.settings.members[0]
    sender = ring.following(name)[0]
    member = here.members[name]
    cipher, nonce, bound = keys._channel(member._session.digest, member._channels[sender], sender, name)
    pair = [shamir.to_bytes(5), shamir.to_bytes(6)]
    pair[which] = b"\xff" * shamir.SHARE_BYTES
    inbox = here.inboxes[name] | {sender: cipher.encrypt(nonce, b"".join(pair), bound)}
    with raises("secagg-bad-share", NotAuthenticated) as caught:
        member.mask(vectors_for(1, 5)[0], inbox)
    assert caught.value.details["member"] == sender


def test_too_few_holders_of_one_member_abort(masked):
    here, ring = masked
    here.confirm().unmask()
    about = here.settings.members[2]
    few = {n: r for n, r in here.reveals.items() if n not in ring.holders(about)[: DEGREE + 2 - ring.threshold]}
    with raises("secagg-below-threshold", Aborted) as caught:
        here.sum.open(few)
    assert caught.value.details["there"] == ring.threshold - 1
    assert here.open().size == 5


def test_what_all_but_one_neighbour_know_does_not_uncover_a_vector(shared):
    # Everybody's pair masks with the victim and its own mask, but for one honest member after it.
    here, ring = shared
    victim = here.settings.members[5]
    honest = ring.following(victim)[0]
    member = here.members[victim]
    pairs = {name: key for name, key in member._pair_masks.items() if name != honest}
    own = member._self_mask
    vector = member.mask(np.zeros(50_000, np.uint32), here.inboxes[victim])
    above = [key for name, key in pairs.items() if name > victim]
    below = [key for name, key in pairs.items() if name < victim]
    apply_masks(vector, add=below, subtract=[own, *above])
    assert np.count_nonzero(vector == 0) < 5
    counts = np.bincount(vector.view(np.uint8), minlength=256)
    assert float(((counts - counts.mean()) ** 2 / counts.mean()).sum()) < 481


def test_votes_go_round_the_ring(begin):
    here = begin(MEMBERS, degree=DEGREE).advertise().share()
    raw = np.linspace(0.5, 2.0, MEMBERS)
    votes = Votes.of(dict(zip(here.settings.members, raw.tolist(), strict=True)))
    shares = [votes.shares[name] for name in here.settings.members]
    rng = np.random.default_rng(1)
    deltas = rng.uniform(-1, 1, (MEMBERS, 30))
    vectors = [encode_update(d, 1, 1, {}, here.settings, rng, share=s) for d, s in zip(deltas, shares, strict=True)]
    total = here.mask(vectors, {2}, votes=votes).confirm().unmask().open()
    left = [place for place in range(MEMBERS) if place != 2]
    weight = sum(shares[place] for place in left)
    opened = decode_sum(total, len(left), [], here.settings, 30, 1, shares=weight)
    assert np.abs(opened.mean - raw[left] @ deltas[left] / raw[left].sum()).max() < opened.error_bound


class TestAbort:
    STEPS = ("advertise", "share", "mask", "confirm")

    @pytest.mark.parametrize("degree", [None, DEGREE])
    @pytest.mark.parametrize("step", range(4))
    def test_whoever_gave_up_forgets_and_refuses_everything(self, begin, vectors_for, step, degree):
        here = begin(MEMBERS, degree=degree).advertise()
        if step > 0:
            here.share()
        if step > 1:
            here.mask(vectors_for(MEMBERS, 5))
        if step > 2:
            here.confirm()
        name = here.settings.members[0]
        member = here.members[name]
        member.abort()
        everybody, vector = list(here.settings.members), vectors_for(1, 5)[0]
        for ask in (
            member.advertise,
            lambda: member.share(here.advertisements),
            lambda: member.mask(vector, here.inboxes.get(name, {})),
            lambda: member.mask_blocks([vector], here.inboxes.get(name, {})),
            lambda: member.confirm(everybody),
            lambda: member.unmask(here.signatures),
        ):
            with raises("secagg-aborted", Conflict):
                ask()
        assert member._secrets is None
        kept = (member._held, member._reveals, member._channels, member._pair_masks, member._self_mask)
        assert not any(kept)

    def test_an_aggregator_that_gave_up_opens_nothing(self, begin, vectors_for):
        here = begin(5).advertise().share().mask(vectors_for(5, 3)).confirm().unmask()
        here.sum.abort()
        with raises("secagg-wrong-phase", Conflict):
            here.open()

    def test_what_a_replayed_attempt_of_the_same_number_signed_is_worth_nothing(self, begin, vectors_for):
        # Same settings to the letter, other keys: signatures of the one attempt do not open the other.
        first = begin(5).advertise().share().mask(vectors_for(5, 3)).confirm()
        again = begin(5).advertise().share().mask(vectors_for(5, 3)).confirm()
        assert first.settings.context == again.settings.context
        for member in again.members.values():
            with raises("secagg-below-threshold", Aborted):
                member.unmask(first.signatures)
        name = first.settings.members[0]
        fresh = begin(5).advertise()
        fresh.members[name].share(fresh.advertisements)
        with raises("secagg-bad-share", NotAuthenticated):
            fresh.members[name].mask(vectors_for(1, 3)[0], first.inboxes[name])

    def test_members_cannot_change_between_the_phases(self, begin, vectors_for):
        here = begin(6).advertise()
        name, dropped = here.settings.members[0], here.settings.members[5]
        shares = {n: m.share(here.advertisements) for n, m in here.members.items() if n != dropped}
        inbox = {sender: sealed[name] for sender, sealed in shares.items() if sender != name}
        with raises("secagg-unknown-member"):
            here.members[name].mask(vectors_for(1, 3)[0], inbox | {"ab" * 32: bytes(keys.SEALED_BYTES)})
        here.members[name].mask(vectors_for(1, 3)[0], inbox)
        with raises("secagg-unknown-member"):
            here.members[name].confirm(list(here.settings.members))

    def test_a_new_list_of_members_is_another_round(self, begin):
        here = begin(6).advertise()
        fewer = dataclasses.replace(here.settings, members=here.settings.members[:5])
        advertisements = {name: here.advertisements[name] for name in fewer.members}
        with raises("bad-signature", NotAuthenticated):
            SecureSum(fewer, verify=verify).advertised(advertisements)
