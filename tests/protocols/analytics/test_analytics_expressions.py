"""Expressions are pandas' own arithmetic; what is not on the list is refused before it is computed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.analytics import expressions

TABLE = pd.DataFrame({"a": [1.0, -2.0, np.nan, 0.0, 3.5, 1e9], "b": [2.0, 0.0, 1.0, 0.0, -1.0, 7.0]})
COLUMNS = {name: TABLE[name].to_numpy() for name in TABLE}
BINARY = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
}


def col(name):
    return {"column": name}


def op(name, *args):
    return {"op": name, "args": list(args)}


def value(given):
    return {"value": given}


def bad(code="bad-expression"):
    return pytest.raises(InvalidInput, check=lambda error: error.code == code)


numbers = st.recursive(
    st.sampled_from([col("a"), col("b"), value(2), value(-0.5), value(0)]),
    lambda inner: st.tuples(st.sampled_from(["add", "sub", "mul", "div"]), inner, inner).map(lambda t: op(*t)),
    max_leaves=8,
)


def by_pandas(tree):
    if "column" in tree:
        return TABLE[tree["column"]]
    if "value" in tree:
        return pd.Series(float(tree["value"]), index=TABLE.index)
    return BINARY[tree["op"]](*(by_pandas(argument) for argument in tree["args"]))


@settings(max_examples=80, deadline=None)
@given(tree=numbers, compare=st.sampled_from(["gt", "ge", "lt", "le", "eq", "ne"]), other=numbers)
def test_arithmetic_and_comparisons_are_those_of_pandas(tree, compare, other):
    with np.errstate(all="ignore"):
        for asked in (tree, op(compare, tree, other)):
            parsed = expressions.parse(asked)
            expected = by_pandas(asked).to_numpy()
            np.testing.assert_array_equal(parsed.evaluate(COLUMNS, len(TABLE)), expected)
            assert expressions.parse(parsed.to_dict()) == parsed


def test_functions_and_conditions():
    def evaluated(tree):
        return expressions.parse(tree).evaluate(COLUMNS, len(TABLE)).tolist()

    a = TABLE.a
    assert evaluated(op("isnull", col("a"))) == a.isna().tolist()
    assert evaluated(op("isin", col("a"), value(1), value(3.5))) == a.isin([1, 3.5]).tolist()
    assert evaluated(op("between", col("a"), value(0), value(4))) == a.between(0, 4).tolist()
    assert evaluated(op("not", op("gt", col("a"), value(0)))) == (~(a > 0)).tolist()
    both = op("and", op("gt", col("a"), value(0)), op("gt", col("b"), value(0)), op("lt", col("a"), value(2)))
    assert evaluated(both) == ((a > 0) & (TABLE.b > 0) & (a < 2)).tolist()
    either = op("or", op("gt", col("a"), value(0)), op("isnull", col("a")))
    assert evaluated(either) == ((a > 0) | a.isna()).tolist()
    np.testing.assert_array_equal(evaluated(op("abs", col("a"))), a.abs())
    np.testing.assert_array_equal(evaluated(op("round", op("div", col("a"), value(3)), value(1))), (a / 3).round(1))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(evaluated(op("log", col("b"))), np.log(TABLE.b))
    assert expressions.parse(op("gt", value(2), value(1))).evaluate(COLUMNS, 3).tolist() == [True] * 3


def test_text_is_compared():
    names = {"city": np.array(["Oslo", "Bern", "Oslo"])}
    parsed = expressions.parse(op("isin", col("city"), value("Oslo")))
    assert parsed.evaluate(names, 3).tolist() == [True, False, True]


deep = col("a")
for _ in range(40):
    deep = op("abs", deep)


@pytest.mark.parametrize(
    "tree",
    [
        None,
        3,
        [],
        {},
        {"column": 3},
        {"column": ""},
        {"column": "x" * 300},
        {"value": [1]},
        {"value": float("nan")},
        {"value": 1e308},
        {"value": "x" * 300},
        {"op": "__import__", "args": [value("os")]},
        {"op": ["gt"], "args": []},
        op("gt", col("a")),
        op("gt", col("a"), value(1), value(2)),
        op("gt", col("a"), value("x")),
        op("gt", op("gt", col("a"), value(1)), value(1)),
        op("add", op("gt", col("a"), value(1)), value(1)),
        op("and", col("a"), col("b")),
        op("isin", col("a"), col("b")),
        op("round", col("a"), col("b")),
        {"column": "a", "op": "abs"},
        {"op": "abs", "args": "a"},
        deep,
        op("or", *[op("isnull", col("a"))] * 65),
    ],
)
def test_what_is_not_an_expression_is_refused(tree):
    with bad():
        expressions.parse(tree)


def test_many_parts_are_refused():
    tree = col("a")
    for _ in range(11):
        tree = op("add", tree, tree)
    with bad():
        expressions.parse(tree)


def test_an_unknown_column_is_named():
    with bad("unknown-column"):
        expressions.parse(col("c")).evaluate(COLUMNS, 6)


@pytest.mark.parametrize(
    ("tree", "safe"),
    [
        (op("add", op("mul", col("a"), col("b")), value(3)), True),
        (op("div", col("a"), op("mul", col("b"), col("b"))), True),
        (op("log", op("add", col("a"), value(1))), True),
        (op("div", col("a"), value(1000)), True),
        (op("round", col("a"), value(2)), True),
        (op("mul", op("sub", col("a"), value(5)), op("sub", col("a"), value(5))), True),
        (op("mul", op("mul", col("a"), col("a")), col("a")), False),
        (op("abs", op("sub", col("a"), value(40))), False),
        (op("div", value(1), op("sub", col("a"), value(40.001))), False),
        (op("exp", op("mul", col("a"), value(-1000))), False),
        (op("log", op("sub", col("a"), value(17))), False),
    ],
)
def test_what_could_single_a_row_out_of_a_sum_is_known(tree, safe):
    assert (expressions.singling(expressions.parse(tree)) is None) == safe
