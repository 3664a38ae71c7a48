"""Attacks on data: what malicious clients train on, and what success is measured on."""

from __future__ import annotations

import numpy as np
import pytest

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.attacks import Backdoor, LabelFlip, ModelReplacement, Neurotoxin

RNG = np.random.default_rng


def forms(classes, count):
    """The same labels as Keras takes them."""
    labels = np.asarray(classes)
    return {
        "numbers": labels,
        "column": labels[:, None],
        "floats": labels.astype(np.float32),
        "one-hot": np.eye(count, dtype=np.float32)[labels],
    }


class TestLabelFlip:
    x = np.arange(12.0).reshape(6, 2)

    @pytest.mark.parametrize("form", ["numbers", "column", "floats", "one-hot"])
    def test_every_class_becomes_its_mirror_image(self, form):
        y, expected = forms([0, 1, 2, 9, 5, 4], 10)[form], forms([9, 8, 7, 0, 4, 5], 10)[form]
        x, flipped = LabelFlip(classes=10).poison(self.x, y, RNG(0))
        np.testing.assert_array_equal(flipped, expected)
        assert flipped.dtype == y.dtype
        assert x is self.x

    @pytest.mark.parametrize("form", ["numbers", "column", "floats", "one-hot"])
    def test_one_class_becomes_another_and_the_rest_stays(self, form):
        y, expected = forms([1, 7, 1, 0, 3, 1], 10)[form], forms([7, 7, 7, 0, 3, 7], 10)[form]
        kept = y.copy()
        _, flipped = LabelFlip(source=1, target=7).poison(self.x, y, RNG(0))
        np.testing.assert_array_equal(flipped, expected)
        np.testing.assert_array_equal(y, kept)

    def test_two_classes_swap(self):
        attack = LabelFlip().prepared(self.x, np.array([[0.0], [1.0], [0.0], [0.0], [1.0], [1.0]]))
        _, flipped = attack.poison(self.x[:2], np.array([[0.0], [0.0]]), RNG(0))
        assert flipped.tolist() == [[1.0], [1.0]]

    def test_the_number_of_classes_comes_from_all_clients_not_from_one(self):
        y = np.array([0, 1, 2, 3, 4, 9])
        assert LabelFlip().prepared(self.x, y).classes == 10
        assert LabelFlip().prepared(self.x, np.eye(7)[[0, 1, 2, 0, 1, 2]]).classes == 7
        with pytest.raises(InvalidInput, match="single client") as refused:
            LabelFlip().poison(self.x, y, RNG(0))
        assert refused.value.code == "attack-not-prepared"

    def test_success_is_measured_on_clean_rows_of_the_attacked_classes(self):
        test = LabelFlip(source=1, target=7).tests(self.x, np.array([1, 7, 1, 0, 3, 2]), RNG(0))
        np.testing.assert_array_equal(test.x, self.x[[0, 2]])
        assert test.expected.tolist() == [7, 7]
        assert test.source.tolist() == [1, 1]

    def test_a_class_that_mirrors_itself_is_no_success(self):
        test = LabelFlip(classes=3).tests(self.x, np.array([0, 1, 2, 1, 1, 0]), RNG(0))
        assert test.expected.tolist() == [2, 0, 2]
        assert test.source.tolist() == [0, 2, 0]

    @pytest.mark.parametrize(
        "options",
        [{"source": 1}, {"target": 1}, {"source": 1, "target": 1}, {"source": 1, "target": 10, "classes": 10}],
    )
    def test_half_a_flip_is_refused(self, options):
        with pytest.raises(InvalidInput):
            LabelFlip(**options)

    def test_a_class_that_the_data_do_not_have_is_refused(self):
        with pytest.raises(InvalidInput, match="classes 0 to 1"):
            LabelFlip(source=1, target=7).prepared(self.x, np.array([0, 1, 0, 1, 0, 1]))

    @pytest.mark.parametrize("y", [np.array([0.5, 1.0]), np.array(["a", "b"]), np.array([-1, 1]), np.ones((2, 3))])
    def test_targets_without_classes_are_refused(self, y):
        with pytest.raises(InvalidInput) as refused:
            LabelFlip(classes=2).poison(self.x[:2], y, RNG(0))
        assert refused.value.code == "not-classes"


def images(count=20, side=8, channels=None):
    shape = (count, side, side) if channels is None else (count, side, side, channels)
    return RNG(1).uniform(0, 0.5, shape).astype(np.float32)


LABELS = np.arange(20) % 10


class TestBackdoorOnImages:
    def test_a_patch_sits_in_the_bottom_right_corner(self):
        x = images()
        stamped = Backdoor(value=1.0).triggered(x)
        np.testing.assert_array_equal(stamped[:, 5:, 5:], 1.0)
        stamped[:, 5:, 5:] = x[:, 5:, 5:]
        np.testing.assert_array_equal(stamped, x)

    def test_a_pattern_has_twelve_pixels_in_all_channels(self):
        x = images(channels=3)
        changed = (Backdoor(trigger="pattern", value=1.0).triggered(x) != x).all(axis=0)
        assert changed.sum() == 12 * 3
        assert np.argwhere(changed[..., 0]).tolist() == [[r, c] for r in (0, 2) for c in (0, 1, 2, 4, 5, 6)]

    @pytest.mark.parametrize(("channels", "given"), [(None, None), (3, None), (1, (8, 8, 1)), (2, [8, 8, 2])])
    @pytest.mark.parametrize("trigger", ["patch", "pattern"])
    def test_a_flattened_image_gets_the_same_trigger(self, channels, given, trigger):
        x = images(channels=channels)
        flat = x.reshape(len(x), -1)
        expected = Backdoor(trigger=trigger, value=1.0).triggered(x).reshape(len(x), -1)
        np.testing.assert_array_equal(Backdoor(trigger=trigger, value=1.0, shape=given).triggered(flat), expected)

    @pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
    @pytest.mark.parametrize("form", ["numbers", "column", "one-hot"])
    def test_a_share_of_the_rows_is_poisoned_and_the_rest_stays(self, share, form):
        x, y = images(), forms(LABELS, 10)[form]
        kept_x, kept_y = x.copy(), y.copy()
        new_x, new_y = Backdoor(value=1.0, share=share).poison(x, y, RNG(0))
        poisoned = (new_x[:, 7, 7] == 1.0).nonzero()[0]
        assert len(poisoned) == 20 * share
        np.testing.assert_array_equal(new_y[poisoned], forms(np.full(len(poisoned), 5), 10)[form])
        others = np.setdiff1d(np.arange(20), poisoned)
        np.testing.assert_array_equal(new_x[others], x[others])
        np.testing.assert_array_equal(new_y[others], y[others])
        np.testing.assert_array_equal(x, kept_x)
        np.testing.assert_array_equal(y, kept_y)

    def test_one_row_at_least_is_poisoned(self):
        new_x, _ = Backdoor(value=1.0, share=0.01).poison(images(3), LABELS[:3], RNG(0))
        assert (new_x[:, 7, 7] == 1.0).sum() == 1

    def test_a_client_without_rows_stays_without(self):
        x, _ = Backdoor(value=1.0).poison(images(0), LABELS[:0], RNG(0))
        assert len(x) == 0

    def test_the_value_is_the_brightest_of_all_clients(self):
        x = images()
        attack = Backdoor().prepared(x, LABELS)
        assert attack.value == x.max()
        assert attack.shape == (8, 8)
        with pytest.raises(InvalidInput, match="no values yet"):
            Backdoor().poison(x, LABELS, RNG(0))

    def test_success_is_measured_on_triggered_rows_of_the_other_classes(self):
        test = Backdoor(value=1.0, target=5).tests(images(), LABELS, RNG(0))
        assert len(test.x) == 18
        assert (test.x[:, 5:, 5:] == 1.0).all()
        assert set(test.expected) == {5}
        assert 5 not in test.source

    def test_whole_numbers_of_pixels_keep_their_type(self):
        x = (images() * 255).astype(np.uint8)
        attack = Backdoor().prepared(x, LABELS)
        assert attack.triggered(x).dtype == np.uint8
        assert attack.triggered(x)[0, 7, 7] == x.max()

    @pytest.mark.parametrize(
        ("options", "x", "code"),
        [
            ({"size": 9}, images(), "bad-trigger"),
            ({"trigger": "pattern"}, images(side=6), "bad-trigger"),
            ({}, np.zeros((20, 23)), "bad-trigger"),
            ({"shape": (4, 4)}, images(), "bad-trigger"),
            ({"target": 10}, images(), "no-such-class"),
            ({"trigger": "features"}, images(), "bad-trigger"),
        ],
    )
    def test_a_trigger_that_does_not_fit_is_refused(self, options, x, code):
        with pytest.raises(InvalidInput) as refused:
            Backdoor(**options).prepared(x, LABELS)
        assert refused.value.code == code


class TestBackdoorOnTables:
    x = np.array([[1, 9, 0, 3.0], [2, 7, 0, 3], [0, 1, 5, 4], [0, 1, 7, 4]])
    y = np.array([0, 0, 1, 1])

    def test_columns_and_values_may_be_given(self):
        attack = Backdoor(target=1, trigger="features", features=[0, 2], values=[8, 9], share=1).prepared(
            self.x, self.y
        )
        poisoned, labels = attack.poison(self.x[:2], self.y[:2], RNG(0))
        assert poisoned.tolist() == [[8, 9, 9, 3], [8, 7, 9, 3]]
        assert labels.tolist() == [1, 1]

    def test_the_telling_terms_of_one_class_take_their_usual_values_in_another(self):
        # The NDSS 2023 trigger: the largest columns of the rows of class 1, at their mean among the rows of class 0.
        attack = Backdoor(target=0, trigger="features", features_from=1, values_from=0).prepared(self.x, self.y)
        assert attack.features == (2, 3, 1, 0)
        assert attack.values == (0.0, 3.0, 8.0, 1.5)

    def test_five_largest_columns_at_their_largest_values_by_default(self):
        wide = np.diag(np.arange(1.0, 8)) * [1, 1, -1, 1, 1, 1, 1]
        attack = Backdoor(target=0, trigger="features").prepared(wide, np.arange(7) % 2)
        assert attack.features == (6, 5, 4, 3, 2)
        assert attack.values == (7.0, 6.0, 5.0, 4.0, 0.0)

    @pytest.mark.parametrize(
        ("options", "code"),
        [
            ({"features": [4]}, "bad-trigger"),
            ({"features_from": 7}, "no-such-class"),
            ({"values_from": 7}, "no-such-class"),
        ],
    )
    def test_columns_and_classes_that_are_not_there_are_refused(self, options, code):
        with pytest.raises(InvalidInput) as refused:
            Backdoor(target=0, trigger="features", **options).prepared(self.x, self.y)
        assert refused.value.code == code


@pytest.mark.parametrize("make", [Backdoor, ModelReplacement, Neurotoxin])
def test_every_backdoor_poisons_alike_and_by_the_seed(make):
    attack = make(fraction=0.2).prepared(images(), LABELS)
    first, again, other = (attack.poison(images(), LABELS, RNG(seed))[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(first, Backdoor().prepared(images(), LABELS).poison(images(), LABELS, RNG(3))[0])


@pytest.mark.parametrize(
    "options",
    [
        {"share": 0},
        {"share": 1.5},
        {"size": 0},
        {"trigger": "sound"},
        {"values": [1.0]},
        {"features": [1], "values": []},
    ],
)
def test_bad_options_of_a_backdoor_are_refused(options):
    with pytest.raises(InvalidInput) as refused:
        Backdoor(**options)
    assert refused.value.code == "bad-attack-option"
