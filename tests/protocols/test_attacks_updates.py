"""Attacks on updates, against their definitions written out and searched by brute force."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols import attacks
from flaas_jupyter.protocols.attacks import AttackView


def view(benign=7, own=3, parameters=40, seed=0, dtype=np.float64, drift=0.3, **changes):
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=parameters)
    direction = rng.normal(size=parameters) * drift
    rows = reference + direction + rng.normal(size=(benign + own, parameters)) * 0.2
    fields = {
        "reference": reference.astype(dtype),
        "own": rows[:own].astype(dtype),
        "benign": rows[own:].astype(dtype),
        "previous": (reference - rng.normal(size=parameters)).astype(dtype),
        "round": 4,
        "rounds": 10,
        "num_examples": np.arange(1, own + 1) * 10,
        "rng": np.random.default_rng(seed + 1),
    }
    return AttackView(**(fields | changes))


ALL = {name: attacks.attack(name) for name in attacks.names()} | {
    "krum_attack released": attacks.KrumAttack(variant="released"),
    "trim_attack partial": attacks.TrimAttack(variant="partial"),
    "trim_attack released": attacks.TrimAttack(variant="released"),
    "trim_attack released-median": attacks.TrimAttack(variant="released-median"),
    "gaussian released": attacks.Gaussian(variant="released"),
    "min_max unit": attacks.MinMax(direction="unit"),
    "min_sum sign": attacks.MinSum(direction="sign"),
}


@pytest.mark.parametrize("attack", ALL.values(), ids=ALL)
@pytest.mark.parametrize("sizes", [(7, 3), (1, 1), (0, 2), (2, 5)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_round_gives_finite_models_of_the_shape_asked_for(attack, sizes, dtype):
    seen = view(*sizes, dtype=dtype)
    crafted = attack.craft(seen)
    assert crafted.shape == seen.own.shape
    assert crafted.dtype == dtype
    assert np.isfinite(crafted).all()


@pytest.mark.parametrize("attack", ALL.values(), ids=ALL)
def test_the_same_generator_crafts_the_same_and_leaves_what_it_saw_alone(attack):
    seen, again = view(), view()
    np.testing.assert_array_equal(attack.craft(seen), attack.craft(again))
    untouched = view()
    for field in ("reference", "own", "benign", "previous"):
        np.testing.assert_array_equal(getattr(seen, field), getattr(untouched, field))


def test_gaussian_adds_noise_of_the_width_asked_for():
    seen = view(parameters=50_000)
    noise = attacks.Gaussian(sigma=2.0).craft(seen) - seen.own
    assert noise.mean() == pytest.approx(0, abs=0.03)
    assert noise.std() == pytest.approx(2.0, rel=0.01)
    assert abs(np.corrcoef(noise)[0, 1]) < 0.02


def test_the_released_gaussian_leaves_two_thirds_of_the_weights_alone():
    seen = view(parameters=50_000)
    noise = np.round(attacks.Gaussian(variant="released").craft(seen) - seen.own, 9)
    assert (noise == 0).mean() == pytest.approx(0.6827, abs=0.005)  # P(|N(0, 1)| < 1)
    np.testing.assert_array_equal(noise, np.trunc(noise))


def test_sign_flip_turns_the_update_around():
    seen = view()
    np.testing.assert_allclose(attacks.SignFlip().craft(seen) - seen.reference, seen.reference - seen.own)
    np.testing.assert_allclose(attacks.SignFlip(scale=3).craft(seen), 4 * seen.reference - 3 * seen.own)


def krum(models, byzantine):
    """Krum, written out: the index of the model whose nearest n − f − 2 others are nearest."""
    scores = []
    for i, one in enumerate(models):
        near = sorted(((one - other) ** 2).sum() for j, other in enumerate(models) if j != i)
        scores.append(sum(near[: len(models) - byzantine - 2]))
    return int(np.argmin(scores))


class TestKrumAttack:
    @pytest.mark.parametrize("seed", range(8))
    def test_krum_selects_the_crafted_model_and_not_one_twice_as_far(self, seed):
        seen = view(seed=seed, drift=0.05)
        crafted = attacks.KrumAttack().craft(seen)
        assert krum(np.concatenate([crafted, seen.benign]), 3) < 3
        direction = np.sign(seen.benign.mean(axis=0) - seen.reference)
        step = np.median((seen.reference - crafted[0]) * direction)
        twice = np.tile(seen.reference - 2 * step * direction, (3, 1))
        upper = self.upper_bound(seen)
        assert step == pytest.approx(upper) or krum(np.concatenate([twice, seen.benign]), 3) >= 3

    @staticmethod
    def upper_bound(seen):
        distances = np.array([[np.linalg.norm(a - b) for b in seen.benign] for a in seen.benign])
        n, f, p = 10, 3, seen.reference.size
        near = np.sort(distances, axis=1)[:, 1 : 1 + n - f - 2].sum(axis=1).min()
        far = max(np.linalg.norm(row - seen.reference) for row in seen.benign)
        return near / ((n - 2 * f - 1) * np.sqrt(p)) + far / np.sqrt(p)

    def test_where_krum_never_falls_for_it_the_smallest_step_is_sent(self):
        seen = view(drift=2.0)
        crafted = attacks.KrumAttack(epsilon=0).craft(seen)
        assert krum(np.concatenate([crafted, seen.benign]), 3) >= 3
        assert 0.5e-5 <= np.abs(crafted - seen.reference).max() < 1e-5

    @pytest.mark.parametrize("seed", range(4))
    def test_the_step_is_the_papers_bound_halved_some_times(self, seed):
        seen = view(seed=seed)
        direction = np.sign(seen.benign.mean(axis=0) - seen.reference)
        step = ((seen.reference - attacks.KrumAttack().craft(seen)[0]) * direction).mean()
        halvings = np.log2(self.upper_bound(seen) / step)
        assert halvings == pytest.approx(round(halvings), abs=1e-6)
        assert halvings >= -1e-6

    def test_the_attackers_look_like_a_cluster(self):
        crafted = attacks.KrumAttack(epsilon=1e-3).craft(view())
        apart = np.abs(crafted[1:] - crafted[0])
        assert 0 < apart.max() <= 1e-3

    def test_clients_that_learnt_nothing_leave_nothing_to_attack(self):
        seen = view()
        still = dataclasses.replace(seen, benign=np.tile(seen.reference, (7, 1)))
        np.testing.assert_allclose(attacks.KrumAttack(epsilon=0).craft(still), np.tile(seen.reference, (3, 1)))

    def test_the_released_form_negates_the_model_with_the_nearest_neighbour(self):
        seen = view()
        models = np.concatenate([seen.benign, seen.own])
        nearest = [
            min(np.linalg.norm(one - other) for j, other in enumerate(models) if j != i) for i, one in enumerate(models)
        ]
        expected = -models[int(np.argmin(nearest))]
        # The two models of the closest pair are equally near; either is a nearest neighbour's.
        pair = [-row for row, near in zip(models, nearest, strict=True) if near == pytest.approx(min(nearest))]
        crafted = attacks.KrumAttack(variant="released").craft(seen)
        assert any(np.allclose(crafted, row) for row in [expected, *pair])


class TestTrimAttack:
    def test_every_coordinate_lies_just_beyond_the_benign_ones_against_their_direction(self):
        seen = view(own=50, seed=2)
        crafted = attacks.TrimAttack().craft(seen)
        for j in range(seen.reference.size):
            low, high = seen.benign[:, j].min(), seen.benign[:, j].max()
            if seen.benign[:, j].mean() > seen.reference[j]:
                bounds = (low / 2, low) if low > 0 else (2 * low, low)
            else:
                bounds = (high, 2 * high) if high > 0 else (high, high / 2)
            assert bounds[0] <= crafted[:, j].min() <= crafted[:, j].max() <= bounds[1], j
            spread = bounds[1] - bounds[0]
            assert crafted[:, j].max() - crafted[:, j].min() > spread / 2  # drawn over the whole interval

    def test_coordinates_that_stand_still_stay(self):
        seen = view()
        seen.benign[:, 4] = seen.reference[4]
        assert (attacks.TrimAttack().craft(seen)[:, 4] == seen.reference[4]).all()

    def test_it_moves_trimmed_mean_and_median_the_wrong_way(self):
        seen = view()
        everybody = np.concatenate([attacks.TrimAttack().craft(seen), seen.benign])
        direction = seen.benign.mean(axis=0) - seen.reference
        for centre in (np.median(everybody, axis=0), np.sort(everybody, axis=0)[3:-3].mean(axis=0)):
            assert (centre - seen.benign.mean(axis=0)) @ np.sign(direction) < 0

    def test_the_partial_form_knows_the_attackers_own_models_only(self):
        seen = view(own=6)
        elsewhere = dataclasses.replace(seen, benign=seen.benign + 100, rng=np.random.default_rng(1))
        crafted = attacks.TrimAttack(variant="partial").craft(seen)
        np.testing.assert_array_equal(crafted, attacks.TrimAttack(variant="partial").craft(elsewhere))
        updates = seen.own - seen.reference
        distance = (updates.mean(axis=0) - (crafted - seen.reference)) * np.sign(updates.mean(axis=0))
        deviations = distance / updates.std(axis=0)
        assert 3 <= deviations.min() < 3.2
        assert 3.8 < deviations.max() <= 4

    def test_the_released_forms_negate_the_centre_of_all_models(self):
        seen = view()
        models = np.sort(np.concatenate([seen.benign, seen.own]), axis=0)
        trimmed = attacks.TrimAttack(variant="released").craft(seen)
        np.testing.assert_allclose(trimmed, np.tile(-(models[4] + models[5]) / 2, (3, 1)))
        seen = view(benign=8)
        models = np.sort(np.concatenate([seen.benign, seen.own]), axis=0)
        median = attacks.TrimAttack(variant="released-median").craft(seen)
        np.testing.assert_allclose(median, np.tile(-models[5], (3, 1)))


def halving_search(fits, start=50.0, stop=1e-9):
    """The search for the largest γ of Shejwalkar and Houmansadr."""
    gamma, step, found = start, start, 0.0
    while abs(found - gamma) > stop:
        step /= 2
        if fits(gamma):
            found = gamma
            gamma += step
        else:
            gamma -= step
    return found


class TestMinMaxAndMinSum:
    @staticmethod
    def push(seen, direction):
        update = seen.benign.mean(axis=0) - seen.reference
        return {
            "unit": update / np.linalg.norm(update),
            "std": seen.benign.std(axis=0),
            "sign": np.sign(update),
        }[direction]

    @pytest.mark.parametrize("direction", ["unit", "std", "sign"])
    @given(seed=st.integers(0, 10_000), benign=st.integers(2, 9))
    @settings(max_examples=15, deadline=None)
    def test_min_max_is_what_the_halving_search_finds(self, direction, seed, benign):
        seen = view(benign=benign, seed=seed)
        push, mean = self.push(seen, direction), seen.benign.mean(axis=0)
        bound = max(np.linalg.norm(a - b) for a in seen.benign for b in seen.benign)
        gamma = halving_search(lambda g: max(np.linalg.norm(mean - g * push - row) for row in seen.benign) <= bound)
        crafted = attacks.MinMax(direction=direction).craft(seen)
        np.testing.assert_allclose(crafted, np.tile(mean - gamma * push, (3, 1)), atol=1e-6)

    @pytest.mark.parametrize("direction", ["unit", "std", "sign"])
    @given(seed=st.integers(0, 10_000), benign=st.integers(2, 9))
    @settings(max_examples=15, deadline=None)
    def test_min_sum_is_what_the_halving_search_finds(self, direction, seed, benign):
        seen = view(benign=benign, seed=seed)
        push, mean = self.push(seen, direction), seen.benign.mean(axis=0)
        bound = max(sum(((a - b) ** 2).sum() for b in seen.benign) for a in seen.benign)
        gamma = halving_search(lambda g: sum(((mean - g * push - row) ** 2).sum() for row in seen.benign) <= bound)
        crafted = attacks.MinSum(direction=direction).craft(seen)
        np.testing.assert_allclose(crafted, np.tile(mean - gamma * push, (3, 1)), atol=1e-6)

    @pytest.mark.parametrize("make", [attacks.MinMax, attacks.MinSum])
    def test_benign_models_that_agree_leave_no_room(self, make):
        seen = view()
        agreed = dataclasses.replace(seen, benign=np.tile(seen.benign[0], (5, 1)))
        np.testing.assert_allclose(make(direction="sign").craft(agreed), np.tile(seen.benign[0], (3, 1)))

    def test_large_models_pass_in_blocks(self):
        seen = view(benign=4, own=2, parameters=150_001, dtype=np.float32)
        crafted = attacks.MinMax(direction="sign").craft(seen)[0].astype(np.float64)
        rows = seen.benign.astype(np.float64)
        bound = max(np.linalg.norm(a - b) for a in rows for b in rows)
        assert max(np.linalg.norm(crafted - row) for row in rows) == pytest.approx(bound, rel=1e-5)


class TestModelReplacement:
    def test_it_boosts_in_the_last_round_only(self):
        attack, seen = attacks.ModelReplacement(), view()
        np.testing.assert_array_equal(attack.craft(seen), seen.own)
        last = dataclasses.replace(seen, round=10)
        np.testing.assert_allclose(attack.craft(last), seen.reference + 10 * (seen.own - seen.reference))

    @pytest.mark.parametrize(("at", "boosted"), [("every", [1, 2, 10]), ([2, 10], [2, 10]), ([], [])])
    def test_it_boosts_when_told(self, at, boosted):
        attack = attacks.ModelReplacement(gamma=2, at=at)
        seen = [dataclasses.replace(view(), round=number) for number in (1, 2, 10)]
        assert [each.round for each in seen if not np.array_equal(attack.craft(each), each.own)] == boosted

    def test_one_boosted_attacker_among_equals_replaces_the_model(self):
        seen = view(benign=9, own=1, round=10)
        benign = np.tile(seen.reference, (9, 1))  # the global model has converged
        mean = np.concatenate([attacks.ModelReplacement(gamma=10).craft(seen), benign]).mean(axis=0)
        np.testing.assert_allclose(mean, seen.own[0])

    @pytest.mark.parametrize("options", [{"gamma": 0}, {"at": "first"}, {"at": [0]}, {"at": ["x"]}])
    def test_bad_options_are_refused(self, options):
        with pytest.raises(InvalidInput):
            attacks.ModelReplacement(**options)


class TestNeurotoxin:
    def test_the_weights_that_changed_most_are_left_alone(self):
        previous, reference = np.zeros(40), np.linspace(-1, 1, 40) * np.where(np.arange(40) % 2, 1, -1)
        allowed = attacks.Neurotoxin(top=0.1).mask(reference, previous)
        assert (~allowed).sum() == 4
        assert np.flatnonzero(~allowed).tolist() == [0, 1, 38, 39]

    def test_five_percent_is_left_alone_by_default(self):
        rng = np.random.default_rng(0)
        assert (~attacks.Neurotoxin().mask(rng.normal(size=1000), rng.normal(size=1000))).sum() == 50

    def test_the_first_round_has_no_mask(self):
        assert attacks.Neurotoxin().mask(np.ones(10), None) is None
        seen = view(previous=None)
        np.testing.assert_allclose(attacks.Neurotoxin().craft(seen), seen.own)

    def test_what_is_sent_keeps_to_the_mask_and_the_norm(self):
        attack, seen = attacks.Neurotoxin(top=0.25, norm=0.5), view()
        update = attack.craft(seen) - seen.reference
        allowed = attack.mask(seen.reference, seen.previous)
        np.testing.assert_array_equal(update[:, ~allowed], 0)
        np.testing.assert_allclose(np.linalg.norm(update, axis=1), 0.5)
        kept = (seen.own - seen.reference) * allowed
        for sent, meant in zip(update, kept, strict=True):
            assert sent @ meant / np.linalg.norm(sent) / np.linalg.norm(meant) == pytest.approx(1)


class TestQVAdaptive:
    @staticmethod
    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    def test_the_negated_fedqv_aggregate_of_the_attackers_is_sent(self):
        seen = view(own=6)
        similarity = np.array([self.cosine(row, seen.reference) for row in seen.own])
        normalised = (similarity - similarity.min()) / (similarity.max() - similarity.min())
        votes = [
            np.sqrt((1 - np.log(s)) * n) if 0.2 < s < 0.8 else 0.0
            for s, n in zip(normalised, seen.num_examples, strict=True)
        ]
        assert np.count_nonzero(votes) >= 2
        expected = -sum(v * row for v, row in zip(votes, seen.own, strict=True)) / sum(votes)
        np.testing.assert_allclose(attacks.QVAdaptive().craft(seen), np.tile(expected, (6, 1)))

    def test_two_attackers_mute_each_other_and_negate_their_mean(self):
        seen = view(own=2)
        np.testing.assert_allclose(attacks.QVAdaptive().craft(seen), np.tile(-seen.own.mean(axis=0), (2, 1)))

    def test_the_reports_are_equal_and_nearest_to_all_honest_ones(self):
        seen = view(own=6)
        attack = attacks.QVAdaptive()
        honest = np.array([self.cosine(row, seen.reference) for row in seen.own])
        reports = attack.report(seen, attack.craft(seen))
        assert reports.shape == (6,)
        assert len(set(reports)) == 1
        candidates = np.linspace(honest.min(), honest.max(), 1001)
        best = candidates[np.abs(candidates[:, None] - honest).max(axis=1).argmin()]
        assert reports[0] == pytest.approx(best, abs=1e-6)

    def test_the_forged_report_has_a_vote_where_the_honest_one_has_none(self):
        seen = view(benign=7, own=3)
        attack = attacks.QVAdaptive()
        crafted = attack.craft(seen)
        benign = np.array([self.cosine(row, seen.reference) for row in seen.benign])
        honest = np.array([self.cosine(row, seen.reference) for row in crafted])
        theta = 0.2
        for scalars, heard in ((honest, False), (attack.report(seen, crafted), True)):
            everybody = np.concatenate([scalars, benign])
            normalised = (scalars - everybody.min()) / (everybody.max() - everybody.min())
            assert all((theta < normalised) & (normalised < 1 - theta)) is heard

    def test_other_attacks_report_honestly(self):
        seen = view()
        assert all(attack.report(seen, seen.own) is None for name, attack in ALL.items() if name != "qv_adaptive")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gaussian", {"sigma": 0}),
        ("gaussian", {"variant": "new"}),
        ("sign_flip", {"scale": -1}),
        ("krum_attack", {"threshold": 0}),
        ("krum_attack", {"epsilon": -1}),
        ("krum_attack", {"variant": "partial"}),
        ("trim_attack", {"b": 1}),
        ("trim_attack", {"variant": "half"}),
        ("min_max", {"direction": "up"}),
        ("min_sum", {"direction": "up"}),
        ("neurotoxin", {"top": 1.0}),
        ("neurotoxin", {"norm": 0}),
        ("qv_adaptive", {"theta": 0.5}),
    ],
)
def test_bad_options_are_refused(name, options):
    with pytest.raises(InvalidInput) as refused:
        attacks.attack(name, **options)
    assert refused.value.code == "bad-attack-option"
