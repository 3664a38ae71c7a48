"""What is released: no number about fewer than k rows, none that a total gives away, and why."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sums import EXACT, asked, divided, members

from flaas_jupyter.errors import InvalidInput, NotAllowed
from flaas_jupyter.protocols.analytics import Released, ReleasePolicy, release, statistics
from flaas_jupyter.protocols.analytics.ordering import (
    MAXIMUM_LEVELS,
    PARTS,
    ROOT,
    count_parts,
    follow,
    keys_of,
    numbers_of,
)
from flaas_jupyter.protocols.analytics.suppression import merge, withheld

K = 10
POLICY = ReleasePolicy(minimum_group=K)


def refused(code, kind=NotAllowed):
    return pytest.raises(kind, check=lambda error: error.code == code)


def rows_of(groups):
    """A table with so many rows in each group."""
    return {"g": np.repeat(np.arange(len(groups)), groups), "x": np.arange(sum(groups), dtype=float)}


class TestSmallGroups:
    def test_a_small_group_is_withheld_and_another_one_with_it(self):
        table = rows_of([40, 3, 25])
        by = [{"column": "g", "values": [0, 1, 2]}]
        told = asked({"kind": "moments", "columns": ["x"], "by": by}, divided(table, 3), POLICY)
        # Of the total, 68, taking 40 away would leave 28; taking 40 and 25 away would leave the 3.
        assert told.suppressed.tolist() == [False, True, True]
        assert told.counts[0] == 40
        assert np.isnan(told.counts[1:]).all()
        assert np.isnan(told.values[1:]).all()
        assert len(told.reasons) == 2

    def test_an_empty_group_is_told(self):
        told = asked(
            {"kind": "count", "by": [{"column": "g", "values": [0, 1, 7]}]}, divided(rows_of([40, 30]), 3), POLICY
        )
        assert told.counts.tolist() == [40, 30, 0]

    def test_rows_in_no_group_count_as_a_group(self):
        # Rows of group 1 are not asked about; the total would give these four away.
        told = asked(
            {"kind": "count", "by": [{"column": "g", "values": [0, 2]}]}, divided(rows_of([40, 4, 30]), 3), POLICY
        )
        assert told.suppressed.tolist() == [False, True]

    @settings(max_examples=150, deadline=None)
    @given(data=st.data(), minimum=st.integers(1, 12))
    def test_no_line_gives_a_small_group_away(self, data, minimum):
        sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
        shape = [size + 1 for size in sizes]
        cells = int(np.prod(shape))
        counts = np.array(data.draw(st.lists(st.integers(0, 30), min_size=cells, max_size=cells)))
        hidden = np.ones(shape, bool)
        inside = tuple(slice(0, size) for size in sizes)
        hidden[inside] = withheld(counts, sizes, minimum).reshape(sizes)
        table = counts.reshape(shape)
        told = table[inside][~hidden[inside]]
        assert not ((told > 0) & (told < minimum)).any()
        for axes in itertools.chain.from_iterable(itertools.combinations(range(len(sizes)), n) for n in (1, 2, 3)):
            left = np.where(hidden, table, 0).sum(axis=axes)
            total = table.sum(axis=axes)
            everything = hidden.all(axis=axes)
            # What a total leaves is nothing, k rows, or a line of which nothing is told.
            some = np.where(hidden[inside], False, table[inside] > 0)
            padded = np.zeros(shape, bool)
            padded[inside] = some
            assert ((left == 0) | (left >= minimum) | everything | (total == left) | ~padded.any(axis=axes)).all()

    def test_few_missing_values_withhold_a_column(self):
        x = np.arange(60.0)
        x[:3] = np.nan
        table = {"x": x, "y": np.arange(60.0)}
        told = asked({"kind": "moments", "columns": ["x", "y"], "power": 1}, divided(table, 3), POLICY)
        assert np.isnan(told.values[0, :2]).all()
        assert told.values[0, 2:].tolist() == [60, 1770]
        assert told.reasons == ("columns with fewer than 10 values, or missing ones, are withheld",)
        told = asked({"kind": "cross", "columns": ["x", "y"]}, divided(table, 3), POLICY)
        assert np.isnan(told.values).all()

    def test_no_total_gives_the_values_of_a_column_or_of_a_search_away(self):
        table = rows_of([40, 30, 20])
        table["x"][42:70] = np.nan  # of group 1 two values are there: 90 - 28 - 40 - 20 = 2
        by = [{"column": "g", "values": [0, 1, 2]}]
        told = asked({"kind": "moments", "columns": ["x"], "by": by, "power": 1}, divided(table, 3), POLICY)
        assert told.counts.tolist() == [40, 30, 20]
        assert np.isnan(told.values[:, 0]).tolist() == [False, True, True]
        targets = [[0, group, 0.5, False, []] for group in range(3)]
        order = {"kind": "order", "columns": ["x"], "by": by, "targets": targets}
        assert asked(order, divided(table, 3), POLICY).suppressed.tolist() == [False, True, True]
        assert asked({**order, "targets": targets[1:2]}, divided(table, 3), POLICY).suppressed.all()
        bins = {"kind": "histogram", "columns": ["x"], "by": by, "edges": {"x": [0, 50, 100]}}
        counts = asked(bins, divided(table, 3), POLICY).counts.reshape(3, 4)
        assert np.isnan(counts).all(axis=1).tolist() == [False, True, True]
        both = {"kind": "cross", "columns": ["x", "g"], "by": by}
        assert np.isnan(asked(both, divided(table, 3), POLICY).values[:, 0]).tolist() == [False, True, True]

    @pytest.mark.parametrize(
        ("limit", "told"), [(5, False), (52, False), (0, True), (20, True), (60, False), (99, False)]
    )
    def test_conditions_that_choose_or_leave_out_few(self, limit, told):
        condition = {"op": "ge", "args": [{"column": "x"}, {"value": 60 - limit}]}
        answer = asked({"kind": "count", "where": condition}, divided({"x": np.arange(60.0)}, 3), POLICY)
        if limit in (60, 99):
            assert answer.counts.tolist() == [60]  # all rows
        elif limit == 0:
            assert answer.suppressed.all()  # none
        else:
            assert bool(answer.suppressed[0]) != told


class TestBins:
    def test_small_bins_are_told_with_their_neighbours(self):
        x = np.repeat([0.5, 1.5, 2.5, 3.5, 4.5], [30, 2, 0, 25, 4])
        told = asked(
            {"kind": "histogram", "columns": ["x"], "edges": {"x": [0, 1, 2, 3, 4, 5]}}, divided({"x": x}, 3), POLICY
        )
        assert told.counts[0] == 0
        assert told.counts[1] == 30
        assert [(span.start, span.stop, span.rows) for span in told.spans] == [(2, 6, 31)]
        assert told.counts[6] == 0

    @settings(max_examples=200, deadline=None)
    @given(counts=st.lists(st.integers(0, 25), min_size=1, max_size=30), minimum=st.integers(1, 12))
    def test_spans_cover_all_bins_and_no_few_rows(self, counts, minimum):
        if 0 < sum(counts) < minimum:
            return
        spans = merge(np.array(counts), minimum)
        assert spans[0].start == 0
        assert spans[-1].stop == len(counts)
        assert all(first.stop == second.start for first, second in itertools.pairwise(spans))
        assert all(span.rows == sum(counts[span.start : span.stop]) for span in spans)
        assert all(span.rows == 0 or span.rows >= minimum for span in spans)
        if minimum == 1:
            assert len(spans) == len(counts)

    def test_bins_of_groups(self):
        table = {"g": np.repeat([0, 1, 2], [40, 5, 40]), "x": np.tile([0.5, 1.5], 42)[:85].astype(float)}
        table["x"] = np.concatenate([table["x"][:84], [0.5]])
        told = asked(
            {
                "kind": "histogram",
                "columns": ["x"],
                "edges": {"x": [0, 1, 2]},
                "by": [{"column": "g", "values": [0, 1, 2]}],
            },
            divided(table, 3),
            POLICY,
        )
        assert not np.isnan(told.counts[:4]).any() or not np.isnan(told.counts[8:]).any()
        assert np.isnan(told.counts[4:8]).all()


def walked(values, rank, least):
    """Search for a rank; return the intervals on the way."""
    keys, path, interval = np.sort(keys_of(np.array(values))), [], ROOT
    for _ in range(MAXIMUM_LEVELS):
        counts = count_parts(keys, interval)
        assert counts.sum() == len(values)
        interval, ended = follow(counts, interval, rank, least)
        path.append(interval)
        if ended:
            break
    return path


class TestOrder:
    @settings(max_examples=100, deadline=None)
    @given(
        values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60),
        least=st.integers(1, 8),
    )
    def test_searches_for_all_ranks_tell_one_nested_partition_of_enough_rows(self, values, least):
        if len(values) < least:
            return
        ordered = np.sort(np.array(values) + 0.0)
        intervals = set()
        for rank, wanted in enumerate(ordered):
            path = walked(values, rank, least)
            intervals |= {interval[:2] for interval in path}
            low, high = numbers_of(*path[-1][:2])
            assert low <= wanted <= high
            if least == 1:
                assert low == high == wanted
        for first, last in intervals:
            low, high = numbers_of(first, last)
            assert ((ordered >= low) & (ordered <= high)).sum() >= least
            for other in intervals:
                apart = other[1] < first or last < other[0]
                nested = (first <= other[0] and other[1] <= last) or (other[0] <= first and last <= other[1])
                assert apart or nested
        # What two intervals, one in the other, differ by is told too: none or enough rows, or it is not divided.
        ends = {walked(values, rank, least)[-1][:2] for rank in range(len(values))}
        rows = [((ordered >= numbers_of(*end)[0]) & (ordered <= numbers_of(*end)[1])).sum() for end in ends]
        assert min(rows) >= least
        assert sum(rows) == len(values)

    def test_brackets_are_about_k_rows_even_beside_outliers(self):
        values = np.concatenate([[-1e300, 1e-300, 1e250], np.random.default_rng(0).normal(50, 10, 500)])
        ordered = np.sort(values)
        for rank in (50, 250, 450):
            low, high = numbers_of(*walked(values, rank, K)[-1][:2])
            assert low <= ordered[rank] <= high
            assert K <= ((values >= low) & (values <= high)).sum() <= 4 * K

    def test_a_rank_outside_is_nowhere(self):
        assert follow(np.zeros(PARTS + 2, np.int64), ROOT, 0, 1) is None
        assert follow(np.array([5] + [0] * (PARTS + 1)), ROOT, 3, 1) is None

    def test_the_answer_is_an_interval_and_never_a_count_below(self):
        table = {"x": np.arange(100.0)}
        data = {"kind": "order", "columns": ["x"], "targets": [[0, 0, 0.0, False, []], [0, 0, 1.0, True, []]]}
        told = asked(data, divided(table, 3), POLICY)
        assert {name.partition(".")[0] for name in told.fields} == {"first", "last", "focus", "end", "ended"}
        assert told.counts.tolist() == [100, 100]
        assert asked(data, divided({"x": np.arange(9.0)}, 3), POLICY).suppressed.all()

    def test_borders_of_ones_own_choice_are_refused(self):
        tables = divided({"x": np.arange(100.0)}, 3)

        def step(path):
            return {"kind": "order", "columns": ["x"], "targets": [[0, 0, 0.5, False, path]]}

        halves = [int(value) for value in asked(step([]), tables, POLICY).values[0]]
        interval = [(halves[place] << 32) | halves[place + 1] for place in (0, 2, 4, 6)]
        asked(step([interval]), tables, POLICY)
        moved = [interval[0] + 1, *interval[1:]]
        own = sorted(int(key) for key in keys_of(np.array([49.5, 49.5, 50.5, 50.5])))
        own = [own[0], own[3], own[0], own[3]]
        for path in ([moved], [own], [interval, own]):
            with refused("search-elsewhere", InvalidInput):
                asked(step(path), tables, POLICY)


class TestPolicy:
    def test_two_nodes_are_too_few(self):
        statistic = statistics.parse({"kind": "count"})
        told = statistic.decode(np.array([50, 50, 50]))
        with refused("analytics-too-few-nodes"):
            release.release(told, statistic, POLICY, 2)
        assert release.release(told, statistic, POLICY, 3).counts.tolist() == [50]

    def test_privacy_can_be_required(self):
        strict = ReleasePolicy(privacy="required")
        with refused("analytics-privacy-required"):
            strict.require(statistics.parse({"kind": "count"}))
        strict.require(statistics.parse({"kind": "count", "epsilon": 1}))

    def test_derived_columns_that_single_rows_out(self):
        indicator = {"op": "div", "args": [{"value": 1}, {"op": "sub", "args": [{"column": "x"}, {"value": 40.001}]}]}
        asking = statistics.parse({"kind": "moments", "columns": ["z"], "assign": {"z": indicator}})
        with refused("analytics-derived"):
            POLICY.require(asking)
        ReleasePolicy(derived="any").require(asking)
        grouped = {"kind": "count", "by": [{"column": "z", "edges": [0, 1]}], "assign": {"z": indicator}}
        POLICY.require(statistics.parse(grouped))  # rows are counted; the audit looks at which
        through = {"kind": "moments", "columns": ["w"], "assign": {"z": indicator, "w": {"column": "z"}}}
        with refused("analytics-derived"):
            POLICY.require(statistics.parse(through))

    def test_the_strictest_of_all(self):
        policies = [
            ReleasePolicy(minimum_group=5, order="exact"),
            ReleasePolicy(minimum_group=20, derived="any"),
            ReleasePolicy(privacy="required", minimum_nodes=4),
        ]
        assert ReleasePolicy.strictest(policies) == ReleasePolicy(20, "bracketed", "plain", "required", 4)
        assert ReleasePolicy.strictest([EXACT, EXACT]) == EXACT
        assert ReleasePolicy.from_dict(policies[0].to_dict()) == policies[0]

    @pytest.mark.parametrize(
        "settings",
        [
            {"minimum_group": 0},
            {"minimum_group": 2.5},
            {"minimum_group": True},
            {"minimum_nodes": 2},
            {"order": "roughly"},
            {"derived": None},
            {"privacy": 1},
            {"secret": 1},
        ],
    )
    def test_bad_settings(self, settings):
        with refused("bad-release-policy", InvalidInput):
            ReleasePolicy.from_dict(settings)


class TestForm:
    def test_released_figures_survive_json(self):
        table = rows_of([40, 3, 25])
        statistic = statistics.parse(
            {"kind": "moments", "columns": ["x"], "by": [{"column": "g", "values": [0, 1, 2]}]}
        )
        told = asked(statistic.to_dict(), divided(table, 3), POLICY)
        assert told.nodes == members(3)
        assert told.fields == ("x.n", "x.sum", "x.squares")
        assert told.to_dict() == Released.from_dict(told.to_dict()).to_dict()
        assert told.to_dict()["counts"] == [40.0, None, None]

    @pytest.mark.parametrize(
        "change",
        [
            {"counts": "many"},
            {"counts": None},
            {"values": [[1.0]]},
            {"suppressed": [True, False]},
            {"spans": [[1]]},
            {"spans": [[0, 0, 60]]},
            {"spans": [[0, -1, 60]]},
            {"spans": [[-1, 1, 60]]},
            {"spans": [[0, 2, 60]]},
            {"spans": [[0, 1, -60]]},
            {"spans": [[0, 1, 60], [0, 1, 60]]},
            {"spans": [[0.0, 1, 60]]},
            {"spans": {"0": [0, 1, 60]}},
            {"errors": [0.0, 0.0]},
            {"nodes": ["a"] * 20_000},
            {"epsilon": "x"},
            {"errors": [None]},
            {"nodes": 5},
        ],
    )
    def test_a_releaser_that_answers_garbage(self, change):
        sound = asked({"kind": "count"}, divided({"x": np.arange(60.0)}, 3), POLICY).to_dict()
        with refused("bad-release", InvalidInput):
            Released.from_dict({**sound, **change})
        with refused("bad-release", InvalidInput):
            Released.from_dict([])
