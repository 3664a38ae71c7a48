"""Questions as data: what is refused, that answers are pandas' own, what is displayed, the widget."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import InvalidInput, NotAllowed
from flaas_jupyter.notebook import analytics_request
from flaas_jupyter.notebook.analytics_request import MIME, AnalyticsRequest, answered, budgeted
from flaas_jupyter.widgets import Analytics

ROWS = 300


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    random = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "age": random.integers(18, 90, ROWS),
            "weight": random.normal(70, 10, ROWS),
            "town": random.integers(0, 3, ROWS),
            "ill": random.integers(0, 2, ROWS),
        }
    )


@pytest.fixture(scope="module")
def federation(table: pd.DataFrame) -> Any:
    return flaas.simulate(table.drop(columns="ill"), table["ill"], clients=3, seed=1, analytics_epsilon=5.0)


def ask(federation: Any, **question: Any) -> dict[str, Any]:
    request = AnalyticsRequest.from_dict(question)
    return answered(request.ask(federation), request, 0.1)


def figures(answer: dict[str, Any]) -> dict[Any, list[float]]:
    return {tuple(row["key"]): row["values"] for row in answer["rows"]}


def test_answers_are_those_of_pandas(federation: Any, table: pd.DataFrame) -> None:
    chosen = table[(table.age >= 30) & (table.town != 2)]
    where = [
        {"column": "age", "comparison": ">=", "value": 30},
        {"column": "town", "comparison": "!=", "value": 2},
    ]
    means = ask(federation, operation="mean", columns=["age", "weight"], where=where)
    assert (means["index"], means["columns"]) == (["column"], ["mean"])
    assert figures(means)["age",] == [pytest.approx(chosen.age.mean())]
    assert figures(means)["weight",] == [pytest.approx(chosen.weight.mean())]
    assert figures(ask(federation, operation="count", where=where)) == {(): [len(chosen)]}


def test_groups_are_keys_and_ranges_are_shown_as_such(federation: Any, table: pd.DataFrame) -> None:
    by_town = ask(federation, operation="count", by={"column": "town", "values": [0, 1, 2]})
    assert (by_town["index"], by_town["chart"]) == (["town"], "bars")
    assert figures(by_town) == {(town,): [count] for town, count in table.town.value_counts().items()}
    ages = ask(federation, operation="mean", columns=["weight"], by={"column": "age", "edges": [18, 50, 90]})
    assert figures(ages)["[18, 50)",] == [pytest.approx(table.weight[table.age < 50].mean())]
    both = ask(federation, operation="group_by", columns=["age"], by={"column": "ill"}, functions=["count", "max"])
    assert both["columns"] == ["count of age", "max of age"]
    assert figures(both)[1,][0] == int((table.ill == 1).sum())


def test_histograms_quantiles_and_tables_without_a_chart(federation: Any, table: pd.DataFrame) -> None:
    histogram = ask(federation, operation="histogram", columns=["age"], bins={"low": 10, "high": 90, "count": 4})
    assert histogram["columns"] == ["count"]
    assert sum(row["values"][0] for row in histogram["rows"]) == ROWS
    quantiles = ask(federation, operation="quantile", columns=["weight"], quantiles=[0.25, 0.75])
    assert (quantiles["index"], quantiles["chart"]) == (["quantile"], "line")
    assert figures(quantiles)[0.75,] == [pytest.approx(table.weight.quantile(0.75), abs=1e-3)]
    for operation in ("describe", "correlation"):
        answer = ask(federation, operation=operation, columns=["age", "weight"])
        assert answer["chart"] is None
        assert answer["columns"] == ["age", "weight"]


def test_what_is_withheld_is_null_and_has_its_reason(federation: Any) -> None:
    answer = ask(federation, operation="mean", columns=["age"], by={"column": "town", "values": [0, 1, 77]})
    few = ask(federation, operation="count", where=[{"column": "age", "comparison": "<", "value": 19}])
    assert json.loads(json.dumps([answer, few], allow_nan=False))
    assert figures(answer)[77,] == [None]
    assert few["rows"][0]["values"] == [None]
    assert few["rows"][0]["hidden"] == [True]
    assert few["reasons"]


def test_epsilon_is_spent_and_accounted(federation: Any) -> None:
    answer = ask(federation, operation="sum", columns=["age"], epsilon=1.0, bounds={"age": [18, 90]})
    assert answer["epsilon"] == pytest.approx(1.0)
    assert answer["error_bound"] > 0
    lines = budgeted(federation)
    assert lines
    assert all(line["spent"] >= 1.0 and line["budget"] == 5.0 and line["problem"] is None for line in lines)


def test_a_budget_of_nothing_is_no_limit_unless_privacy_is_required() -> None:
    class Nodes:
        analytics: Any

        def budget(self) -> pd.DataFrame:
            row = {"dataset": "people", "spent": 0.0, "budget": 0.0, "remaining": 0.0, "problem": None}
            return pd.DataFrame(
                [
                    {**row, "node": "a", "privacy": "optional"},
                    {**row, "node": "b", "privacy": "required"},
                    {"node": "c", "dataset": "people", "problem": "c does not answer."},
                ]
            )

    nodes = Nodes()
    nodes.analytics = nodes
    lines = budgeted(nodes)
    assert [(line["budget"], line["remaining"]) for line in lines] == [(None, None), (0.0, 0.0), (None, None)]
    assert [line["problem"] for line in lines] == [None, None, "c does not answer."]
    assert json.dumps(lines, allow_nan=False)


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ({}, "there are count"),
        ({"operation": "__class__"}, "there are count"),
        ({"operation": "mean"}, "takes 1 columns or more"),
        ({"operation": "mean", "columns": "age"}, "list of names"),
        ({"operation": "histogram", "columns": ["a", "b"]}, "takes 1 to 1"),
        ({"operation": "group_by", "columns": ["age"]}, "makes groups"),
        ({"operation": "describe", "columns": ["age"], "by": {"column": "town"}}, "has no groups"),
        ({"operation": "count", "by": {"column": "town", "values": [[1]]}}, "numbers or texts"),
        ({"operation": "count", "by": ["town"]}, "values or edges"),
        ({"operation": "count", "where": [{"column": "age", "comparison": "is", "value": 1}]}, "no comparison"),
        ({"operation": "count", "where": [{"column": "age", "comparison": ">", "value": None}]}, "allowed is a number"),
        ({"operation": "count", "where": ["age > 3"]}, "no condition"),
        ({"operation": "count", "epsilon": float("nan")}, "allowed is a number"),
        ({"operation": "sum", "columns": ["age"], "bounds": {"age": [3, 1]}}, "lower one comes first"),
        ({"operation": "quantile", "columns": ["age"], "quantiles": "all"}, "numbers from 0 to 1"),
        ({"operation": "histogram", "columns": ["age"], "bins": 5}, "may have limits"),
    ],
)
def test_a_question_that_is_none_is_refused(question: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as caught:
        AnalyticsRequest.from_dict(question)
    assert caught.value.code == "bad-question"


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch, federation: Any) -> list[dict[str, Any]]:
    """What is displayed, with the simulated federation in place of real nodes."""
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data[MIME]))
    monkeypatch.setattr(analytics_request, "federation_of", lambda project, dataset: contextlib.nullcontext(federation))
    return shown


def test_the_panel_is_shown_answers_budget_and_refusals(displayed: list[dict[str, Any]]) -> None:
    about = {"project": "demo", "dataset": "people"}
    analytics_request.show(json.dumps({**about, "operation": "count"}))
    analytics_request.show_budget(json.dumps(about))
    analytics_request.show(json.dumps({**about, "operation": "mean", "columns": ["height"]}))
    answer, budget, refusal = displayed
    assert answer["answer"]["rows"][0]["values"] == [ROWS]
    assert budget["budget"][0].keys() == {"node", "dataset", "spent", "budget", "remaining", "problem"}
    assert "height" in refusal["error"]["message"]
    assert refusal["error"]["hint"] is not None


def test_the_widget_shows_what_it_is_answered(federation: Any) -> None:
    widget = Analytics(federation)
    assert [column["name"] for column in widget.state["columns"]][:3] == ["age", "weight", "town"]
    widget._clicked(widget, {"do": "ask", "request": {"operation": "count"}}, None)
    assert widget.state["answer"]["rows"][0]["values"] == [ROWS]
    assert f"count of rows {ROWS}" in repr(widget)
    widget._clicked(widget, {"do": "budget"}, None)
    assert widget.state["budget"]


def test_the_widget_shows_why_there_is_no_answer(federation: Any) -> None:
    widget = Analytics(federation)
    widget._clicked(widget, {"do": "ask", "request": "rubbish"}, None)
    assert "operation is None" in widget.state["error"]["message"]
    assert widget.state["answer"] is None
    widget._clicked(widget, {"do": "ask", "request": {"operation": "count"}}, None)
    assert widget.state["error"] is None


def test_the_widget_is_text_where_there_is_no_page_for_it_and_escapes_it() -> None:
    class Source:
        schema = ({"name": "<b>", "dtype": "float64"},)

    class Refusing:
        source = Source()

        def count(self, **_: Any) -> None:
            raise NotAllowed("No.", hint="Never.")

    class Fake:
        dataset = "<i>x</i>"
        analytics = Refusing()

        def frame(self) -> None: ...

    widget = Analytics(Fake())
    widget._clicked(widget, {"do": "ask", "request": {"operation": "count"}}, None)
    assert widget.state["error"] == {"message": "No.", "hint": "Never."}
    assert "<i>" not in widget._repr_html_()
    with pytest.raises(InvalidInput, match="answers no questions"):
        Analytics(object())
