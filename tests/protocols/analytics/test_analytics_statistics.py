"""Sums over nodes are what pandas has on all rows; a statistic that is not one is refused with its code."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sums import EXACT, asked, divided, opened

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.analytics import Local, Opened, encoding, statistics
from flaas_jupyter.protocols.analytics.grouping import bin_of
from flaas_jupyter.protocols.analytics.ordering import ROOT, count_parts, keys_of, number_of, numbers_of, parts_of

finite = st.floats(-1e9, 1e9, allow_nan=False)
maybe = st.one_of(finite, st.just(math.nan))


def bad(code="bad-statistic"):
    return pytest.raises(InvalidInput, check=lambda error: error.code == code)


@st.composite
def tables(draw):
    rows = draw(st.integers(3, 40))
    return {
        "x": np.array(draw(st.lists(maybe, min_size=rows, max_size=rows))),
        "y": np.array(draw(st.lists(finite, min_size=rows, max_size=rows))),
        "g": np.array(draw(st.lists(st.integers(0, 3), min_size=rows, max_size=rows))),
    }


class TestOracle:
    @settings(max_examples=60, deadline=None)
    @given(table=tables(), nodes=st.integers(3, 5))
    def test_moments_by_group(self, table, nodes):
        told = asked(
            {"kind": "moments", "columns": ["x", "y"], "by": [{"column": "g", "values": [0, 1, 2]}]},
            divided(table, nodes),
        )
        frame = pd.DataFrame(table)
        for cell, group in enumerate([0, 1, 2]):
            rows = frame[frame.g == group]
            assert told.counts[cell] == len(rows)
            n, total, squares, _, second, _ = told.values[cell]
            assert n == rows.x.count()
            # pandas adds up itself with an error; where sums cancel it is relative to what was added.
            assert total == pytest.approx(math.fsum(rows.x.dropna()), abs=1e-14 * rows.x.abs().sum() + 1e-15)
            assert second == pytest.approx(math.fsum(rows.y), abs=1e-14 * rows.y.abs().sum() + 1e-15)
            assert squares == pytest.approx((rows.x**2).sum(), rel=1e-13, abs=1e-18)

    @settings(max_examples=60, deadline=None)
    @given(table=tables(), nodes=st.integers(3, 5), even=st.booleans())
    def test_histogram(self, table, nodes, even):
        edges = [-1e9, -5e8, 0.0, 5e8, 1e9] if even else [-1e8, -3.0, 0.0, 2.5, 1e9]
        told = asked({"kind": "histogram", "columns": ["x"], "edges": {"x": edges}}, divided(table, nodes))
        known = table["x"][~np.isnan(table["x"])]
        expected, _ = np.histogram(known, edges)
        assert told.counts[1:-1].tolist() == expected.tolist()
        assert told.counts[0] == (known < edges[0]).sum()
        assert told.counts[-1] == (known > edges[-1]).sum()

    @settings(max_examples=40, deadline=None)
    @given(table=tables(), limit=finite)
    def test_count_of_rows_that_meet_a_condition(self, table, limit):
        condition = {"op": "ge", "args": [{"column": "y"}, {"value": limit}]}
        told = asked({"kind": "count", "where": condition}, divided(table, 3))
        assert told.counts.tolist() == [(table["y"] >= limit).sum()]

    @settings(max_examples=40, deadline=None)
    @given(table=tables())
    def test_cross_moments_are_over_rows_that_have_both(self, table):
        told = asked({"kind": "cross", "columns": ["x", "y"], "about": {"y": 7.0}}, divided(table, 3))
        both = ~np.isnan(table["x"])
        x, y = table["x"][both], table["y"][both] - 7.0
        assert told.values[0] == pytest.approx(
            [both.sum(), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()],
            rel=1e-12,
            abs=1e-14 * (np.abs(x).sum() + np.abs(y).sum() + np.abs(x * y).sum()) + 1e-15,
        )

    def test_derived_columns_follow_one_another(self):
        table = {"a": np.arange(12.0)}
        assign = [
            ["twice", {"op": "mul", "args": [{"column": "a"}, {"value": 2}]}],
            ["more", {"op": "add", "args": [{"column": "twice"}, {"value": 1}]}],
            ["unused", {"column": "elsewhere"}],
        ]
        data = {"kind": "moments", "columns": ["more"], "assign": assign, "power": 1}
        assert statistics.parse(data).columns_used == {"a"}
        assert asked(data, divided(table, 3)).values[0].tolist() == [12, (2 * table["a"] + 1).sum()]

    def test_text_columns_are_grouped_by(self):
        table = {"city": np.array(["Oslo", "Bern", "Oslo", "Rome"] * 3), "x": np.arange(12.0)}
        by = [{"column": "city", "values": ["Bern", "Oslo"]}]
        told = asked({"kind": "moments", "columns": ["x"], "by": by, "power": 1}, divided(table, 3))
        frame = pd.DataFrame(table).groupby("city").x
        assert told.counts.tolist() == [3, 6]
        assert told.values[:, 1].tolist() == frame.sum()[["Bern", "Oslo"]].tolist()
        with bad():
            statistics.parse({"kind": "moments", "columns": ["city"]}).local(table)
        with bad():
            statistics.parse({"kind": "count", "by": [{"column": "x", "values": ["a"]}]}).local(table)

    def test_infinite_values_count_as_missing(self):
        told = asked({"kind": "moments", "columns": ["x"]}, divided({"x": np.array([1, 2, np.inf, -np.inf, 5, 6])}, 3))
        assert told.values[0].tolist() == [4, 14, 66]


class TestExactness:
    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.floats(-(2.0**91), 2.0**91), min_size=1, max_size=20))
    def test_windows_add_up_exactly(self, values):
        windows = encoding.to_windows(np.array(values))
        total = encoding.from_windows(windows.sum(axis=0, keepdims=True).astype(object))[0]
        assert total == pytest.approx(math.fsum(values), abs=len(values) * encoding.RESOLUTION, rel=1e-15)

    def test_what_is_out_of_range_is_encoded_as_the_largest_and_never_refused(self):
        values = np.array([1e300, -np.inf, np.nan, encoding.REAL_LIMIT])
        found = encoding.from_windows(encoding.to_windows(values).astype(object))
        assert found.tolist() == pytest.approx([encoding.REAL_LIMIT, -encoding.REAL_LIMIT, 0.0, encoding.REAL_LIMIT])

    @pytest.mark.parametrize("kind", ["moments", "cross"])
    @pytest.mark.parametrize("about", [0.0, 1e6, -2.1e12])
    def test_a_value_beyond_the_limit_counts_as_missing_wherever_the_centre_is(self, kind, about):
        x = np.append(np.arange(11.0), [1e14, -1e300, encoding.VALUE_LIMIT])
        table = {"x": x, "y": np.arange(14.0)}
        data = {"kind": kind, "columns": ["x", "y"], "about": {"x": about}}
        told = asked(data, divided(table, 3))
        assert (told.counts[0], told.values[0, 0]) == (14, 11)
        first, second = ("sum", "squares") if kind == "moments" else ("y.x", "y.xx")
        assert told.values[0, told.fields.index(f"x.{first}")] == pytest.approx((x[:11] - about).sum())
        assert told.values[0, told.fields.index(f"x.{second}")] == pytest.approx(((x[:11] - about) ** 2).sum())

    @pytest.mark.parametrize("power", [1, 2])
    def test_no_centre_makes_a_node_refuse_because_of_one_row(self, power):
        """A refusal that depends on one row's value would tell it, by a binary search for the centre."""
        where = {"op": "eq", "args": [{"column": "x"}, {"value": 3.0}]}
        for about in (-(2.0**40), 0.0, 2.0**40):
            for condition in (None, where):
                data = {"kind": "moments", "columns": ["x"], "about": {"x": about}, "power": power, "where": condition}
                statistic = statistics.parse(data)
                table = {"x": np.array([3.0, 1e12, -2e12, 1e308, np.inf])}
                statistic.encode(statistic.local(table))
        with bad("value-out-of-range"):
            statistics.parse({"kind": "moments", "columns": ["x"], "about": {"x": 2.0**46}, "power": power})

    def test_large_columns_are_exact_up_to_the_limit(self):
        x = 1.7e12 + np.arange(30.0)  # moments in milliseconds
        told = asked({"kind": "moments", "columns": ["x"]}, divided({"x": x}, 3))
        assert told.values[0].tolist() == pytest.approx([30, x.sum(), (x**2).sum()], rel=1e-15)

    def test_the_variance_of_a_far_column_keeps_its_digits(self):
        x = 1e9 + np.arange(30.0) / 7
        told = asked({"kind": "moments", "columns": ["x"], "about": {"x": 1e9}}, divided({"x": x}, 3))
        n, first, second = told.values[0]
        # x itself is known to 1.2e-7 only; what follows from it is right to 1e-12.
        assert (second - first**2 / n) / (n - 1) == pytest.approx(np.var(x - 1e9, ddof=1), rel=1e-12)

    @settings(max_examples=200)
    @given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=30))
    def test_keys_are_in_the_order_of_numbers(self, values):
        array = np.array(values)
        keys = keys_of(array)
        assert (np.argsort(keys, kind="stable") == np.argsort(array + 0.0, kind="stable")).all()
        assert [number_of(int(key)) for key in keys] == (array + 0.0).tolist()

    def test_the_root_is_the_whole_number_line(self):
        assert numbers_of(*ROOT[:2]) == (-math.inf, math.inf)
        key = int(keys_of(np.array([1.0]))[0])
        assert numbers_of(key, key) == (1.0, 1.0)
        assert parts_of((3, 5, 3, 5)) == [3, 4, 5, 6]
        assert parts_of((3, 9, 5, 6)) == [3, 5, 6, 7, 10]
        assert parts_of(ROOT)[-1] == 1 << 64
        assert len(parts_of(ROOT)) == 255

    def test_parts_count_every_row_once(self):
        keys = np.array([0, 5, 6, 2**64 - 1], np.uint64)
        assert count_parts(keys, ROOT).nonzero()[0].tolist() == [1, 254]
        counts = count_parts(keys, (5, 6, 5, 6))
        assert (counts[0], counts[1], counts[2], counts[-1]) == (1, 1, 1, 1)

    @settings(max_examples=100, deadline=None)
    @given(
        values=st.lists(st.floats(-3, 3), max_size=40),
        low=st.floats(-2, 1),
        width=st.floats(0.01, 2),
        bins=st.integers(1, 40),
    )
    def test_even_bins_are_those_of_a_search(self, values, low, width, bins):
        edges = np.linspace(low, low + width, bins + 1)
        values = np.array([*values, *edges])
        expected = np.searchsorted(edges, values, side="right")
        expected[values == edges[-1]] = bins
        assert bin_of(values, edges, outside=True).tolist() == expected.tolist()


class TestRefusals:
    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (None, "bad-statistic"),
            ([], "bad-statistic"),
            ({"kind": "count", 3: 4}, "bad-statistic"),
            ({}, "unknown-statistic"),
            ({"kind": "secrets"}, "unknown-statistic"),
            ({"kind": ["count"]}, "unknown-statistic"),
            ({"v": 2, "kind": "count"}, "bad-statistic"),
            ({"v": True, "kind": "count"}, "bad-statistic"),
            ({"kind": "count", "rows": True}, "bad-statistic"),
            ({"kind": "count", "where": {"column": "x"}}, "bad-statistic"),
            ({"kind": "count", "where": {"op": "eval", "args": []}}, "bad-expression"),
            ({"kind": "moments"}, "bad-statistic"),
            ({"kind": "moments", "columns": "x"}, "bad-statistic"),
            ({"kind": "moments", "columns": ["x", "x"]}, "bad-statistic"),
            ({"kind": "moments", "columns": [3]}, "bad-expression"),
            ({"kind": "moments", "columns": ["x"], "power": 3}, "bad-statistic"),
            ({"kind": "moments", "columns": ["x"], "about": {"y": 1}}, "bad-statistic"),
            ({"kind": "moments", "columns": ["x"], "about": {"x": [1, 2]}}, "bad-statistic"),
            ({"kind": "moments", "columns": ["x"], "about": {"x": float("inf")}}, "bad-statistic"),
            ({"kind": "moments", "columns": ["x"], "bounds": {"x": [0, 1]}}, "bad-statistic"),
            ({"kind": "moments", "columns": ["x"], "epsilon": 1.0}, "bad-statistic"),
            ({"kind": "moments", "columns": ["x"], "epsilon": 0, "bounds": {"x": [0, 1]}}, "bad-statistic"),
            ({"kind": "moments", "columns": ["x"], "epsilon": float("nan")}, "bad-statistic"),
            ({"kind": "moments", "columns": ["x"], "epsilon": 1, "bounds": {"x": [1, 0]}}, "bad-statistic"),
            ({"kind": "count", "epsilon": 1000}, "bad-statistic"),
            ({"kind": "cross", "columns": ["x"]}, "bad-statistic"),
            ({"kind": "histogram", "columns": ["x"]}, "bad-statistic"),
            ({"kind": "histogram", "columns": ["x"], "edges": {"x": [1]}}, "bad-statistic"),
            ({"kind": "histogram", "columns": ["x"], "edges": {"x": [1, 1]}}, "bad-statistic"),
            ({"kind": "histogram", "columns": ["x"], "edges": {"x": [0, "1"]}}, "bad-statistic"),
            ({"kind": "histogram", "columns": ["x"], "edges": {"x": list(range(20_000))}}, "statistic-too-large"),
            ({"kind": "count", "by": [{"column": "g"}]}, "bad-statistic"),
            ({"kind": "count", "by": [{"column": "g", "values": []}]}, "bad-statistic"),
            ({"kind": "count", "by": [{"column": "g", "values": [1, 1]}]}, "bad-statistic"),
            ({"kind": "count", "by": [{"column": "g", "values": [1, "a"]}]}, "bad-statistic"),
            ({"kind": "count", "by": [{"column": "g", "values": [1], "edges": [0, 1]}]}, "bad-statistic"),
            ({"kind": "count", "by": [{"column": "g", "values": [1]}] * 2}, "bad-statistic"),
            (
                {"kind": "count", "by": [{"column": c, "values": list(range(900))} for c in ("g", "h")]},
                "statistic-too-large",
            ),
            ({"kind": "moments", "columns": ["c"], "assign": {"c": {"value": True}}}, "bad-statistic"),
            ({"kind": "moments", "columns": ["c"], "assign": {"c": {"value": "text"}}}, "bad-statistic"),
            ({"kind": "moments", "columns": ["c"], "assign": [["c"]]}, "bad-statistic"),
            ({"kind": "order", "columns": ["x"]}, "bad-statistic"),
            ({"kind": "order", "columns": ["x"], "targets": [[0, 0, 0.5, False]]}, "bad-statistic"),
            ({"kind": "order", "columns": ["x"], "targets": [[0, 0, 1.5, False, []]]}, "bad-statistic"),
            ({"kind": "order", "columns": ["x"], "targets": [[0, 1, 0.5, False, []]]}, "bad-statistic"),
            ({"kind": "order", "columns": ["x"], "targets": [[0, 0, 0.5, False, [[5, 4, 5, 4]]]]}, "bad-statistic"),
            ({"kind": "order", "columns": ["x"], "targets": [[0, 0, 0.5, 1, []]]}, "bad-statistic"),
            ({"kind": "order", "columns": ["x"], "targets": [[0.0, 0, 0.5, True, []]]}, "bad-statistic"),
            (
                {"kind": "order", "columns": ["x"], "targets": [[0, 0, 0.5, True, [[1, 9, 1, 9], [0, 9, 1, 9]]]]},
                "bad-statistic",
            ),
            (
                {"kind": "order", "columns": ["x"], "targets": [[0, 0, 0.5, True, [[0, 1 << 64, 0, 0]]]]},
                "bad-statistic",
            ),
            (
                {"kind": "order", "columns": ["x"], "targets": [[0, 0, 0.5, True, [[0, 9, 0, 9]] * 99]]},
                "statistic-too-large",
            ),
            (
                {"kind": "order", "columns": ["x"], "epsilon": 1, "targets": [[0, 0, 0.5, False, []]]},
                "bad-statistic",
            ),
        ],
    )
    def test_garbage_has_a_code(self, data, code):
        with bad(code):
            statistics.parse(data)

    def test_an_unknown_column_is_named(self):
        with bad("unknown-column"):
            statistics.parse({"kind": "moments", "columns": ["z"]}).local({"x": np.arange(3.0)})
        with bad("unknown-column"):
            statistics.parse({"kind": "count", "by": [{"column": "z", "values": [1]}]}).require(["x"])

    def test_columns_of_different_lengths(self):
        with bad():
            statistics.parse({"kind": "cross", "columns": ["x", "y"]}).local({"x": np.arange(3.0), "y": np.arange(4.0)})

    def test_a_sum_of_another_shape_or_of_no_rows(self):
        statistic = statistics.parse({"kind": "count"})
        with bad("wrong-shape"):
            statistic.decode(np.zeros(4, np.int64))
        with bad("implausible-sum"):
            statistic.decode(np.array([3, 5, 5]))
        with bad("implausible-sum"):
            statistic.decode(np.array([3, 2, -2]))
        order = statistics.parse({"kind": "order", "columns": ["x"], "targets": [[0, 0, 0.5, False, []]]})
        with bad():
            order.decode(np.full(order.length, -1))

    def test_a_kind_can_be_added_and_its_name_not_taken(self):
        class Rows(statistics.Statistic):
            raw_cells = 1

            def measure(self, table):
                return Local(np.array([table.matched.size]), np.zeros((1, 0)), table.matched)

            def disclose(self, opened: Opened, policy):
                raise NotImplementedError

        statistics.register("rows_of_a_test", Rows)
        assert isinstance(statistics.parse({"kind": "rows_of_a_test"}), Rows)
        with bad():
            statistics.register("count", Rows)


def test_an_empty_node_adds_nothing():
    table = {"x": np.array([1.0, 2.0]), "g": np.array([0, 1])}
    empty = {name: column[:0] for name, column in table.items()}
    for data in (
        {"kind": "moments", "columns": ["x"], "by": [{"column": "g", "edges": [0, 1, 2]}]},
        {"kind": "histogram", "columns": ["x"], "edges": {"x": [0, 1, 2]}},
        {"kind": "order", "columns": ["x"], "targets": [[0, 0, 0.5, False, []]]},
    ):
        statistic = statistics.parse(data)
        expected = statistic.local(table).counts.tolist()
        assert opened(statistic, [table, empty, empty]).counts.tolist() == expected
        assert asked(data, [table, empty, empty], EXACT).counts.sum() > 0
