"""The data explorer in a kernel: what the panel is shown, the widget driven from code, and what of it is saved."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import InvalidInput, NotFound
from flaas_jupyter.notebook import exploration_request
from flaas_jupyter.notebook.exploration_request import MIME
from flaas_jupyter.widgets import DataExplorer


@pytest.fixture(scope="module")
def federation() -> Any:
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"age": rng.integers(18, 90, 300), "dose": rng.normal(5, 1, 300)})
    return flaas.simulate(table, pd.Series(rng.integers(0, 2, 300), name="ill"), clients=3, seed=1)


class Project:
    """A project of two data sets."""

    def __init__(self, federation: Any, names: tuple[str, ...] = ("heart", "lung")) -> None:
        self.id, self._federation, self._names = "demo", federation, names
        self.opened: list[str] = []

    @property
    def datasets(self) -> pd.DataFrame:
        return pd.DataFrame({"name": list(self._names)})

    def federation(self, dataset: str) -> Any:
        if dataset not in self._names:
            raise NotFound(f"No node holds {dataset!r}.", code="unknown-dataset", hint="There are heart and lung.")
        self.opened.append(dataset)
        return self._federation

    def project(self, name: str) -> Project:
        return self


@pytest.fixture
def panel(federation: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what a request of the panel is shown."""
    project = Project(federation)
    monkeypatch.setattr("flaas_jupyter.connected.connect", lambda: contextlib.nullcontext(project))

    def ask(**asked: Any) -> Any:
        shown: list[Any] = []
        monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
        exploration_request.show(json.dumps({"project": "demo", "dataset": "heart", **asked}))
        (data,) = shown
        assert json.dumps(data, allow_nan=False)
        assert data["text/plain"]
        return data[MIME]

    return ask


ALL = {"column": None, "columns": None, "bins": None, "bounds": None, "epsilon": None, "own": False}
"""As the panel sends it: what is not chosen is null."""


def test_the_panel_is_shown_every_part(panel: Any) -> None:
    for part in ("overview", "nodes", "missing", "correlations", "labels", "drift"):
        found = panel(part=part, **ALL)["exploration"]
        assert (found["version"], found["part"], found["level"]) == (1, part, "aggregates")
        assert set(found) >= {"dataset", "project", "time", "rows", "nodes", "columns", "budget", "notes"}
    column = panel(part="column", **{**ALL, "column": "age", "bins": 6})["exploration"]["column"]
    assert len(column["edges"]) == len(column["counts"]) + 1 == len(column["suppressed"]) + 1
    assert sum(column["counts"]) == 300
    assert set(column["summary"]) == {"count", "missing", "mean", "std", "min", "median", "max"}


def test_the_panel_is_told_why_there_is_nothing(panel: Any) -> None:
    for asked, code in (
        ({"part": "column", **ALL}, "unknown-column"),
        ({"part": "column", **ALL, "column": "nobody"}, "unknown-column"),
        ({"part": "show", **ALL}, "unknown-view"),
        ({"part": "labels", **ALL, "epsilon": "a"}, "bad-epsilon"),
        ({"part": "overview", **ALL, "dataset": "liver"}, "unknown-dataset"),
        ({"part": "overview", **ALL, "dataset": 3}, "bad-question"),
    ):
        error = panel(**asked)["error"]
        assert (error["code"], set(error)) == (code, {"code", "message", "hint"})


def test_own_rows_are_those_of_this_machines_node(panel: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path))
    asked = {"part": "labels", **ALL, "own": True, "dataset": "mine"}
    assert panel(**asked)["error"]["code"] == "not-the-owner"
    table = pd.DataFrame({"x": np.arange(30.0), "ill": np.r_[np.zeros(28, int), [1, 1]]})
    flaas.datasets.register("mine", table, target="ill")
    found = panel(**asked)["exploration"]
    assert (found["level"], found["labels"]["counts"]) == ("owner", [28, 2])


def test_the_widget_goes_through_a_project(federation: Any) -> None:
    project = Project(federation)
    widget = DataExplorer(project)
    assert project.opened == ["heart"]
    assert widget.state["datasets"] == ["heart", "lung"]
    assert [column["name"] for column in widget.state["overview"]["columns"]] == ["age", "dose", "ill"]
    widget._clicked(widget, {"do": "choose", "dataset": "lung"}, None)
    assert project.opened == ["heart", "lung"]
    shown = widget.show("column", column="dose")
    assert widget.state["shown"] == shown
    assert "Distribution of dose" in repr(widget)
    widget._clicked(widget, {"do": "show", "view": {"part": "column", "column": "nobody"}}, None)
    assert widget.state["shown"] is None
    assert widget.state["error"]["code"] == "unknown-column"
    widget._clicked(widget, {"do": "choose", "dataset": "liver"}, None)
    assert widget.state["error"]["code"] == "unknown-dataset"
    before = widget.state
    for message in ({}, {"do": "eval"}, {"do": "show", "view": [1]}, {"do": "show"}):
        widget._clicked(widget, message, None)
    assert widget.state == before
    assert DataExplorer(project, "lung").state["overview"]["part"] == "overview"


def test_what_is_explored_may_be_given_by_its_name(federation: Any) -> None:
    project = Project(federation)
    assert DataExplorer(project=project).state["datasets"] == ["heart", "lung"]
    DataExplorer(project=project, dataset="lung")
    DataExplorer(what=project, dataset="lung")
    assert project.opened == ["heart", "lung", "lung"]
    for given in ({"federation": federation}, {"exploration": federation.explore()}):
        assert DataExplorer(**given).state["overview"]["level"] == "aggregates"
    for given in ({}, {"project": project, "federation": federation}, {"dataset": "heart"}):
        with pytest.raises(InvalidInput) as caught:
            DataExplorer(**given)
        assert caught.value.code == "no-exploration"


def test_without_a_page_it_is_text_and_everything_in_it_is_escaped() -> None:
    table = pd.DataFrame({"<script>": np.arange(90.0)})
    widget = DataExplorer(flaas.simulate(table, np.arange(90) % 2, clients=3))
    widget.show("column", column="<script>")
    assert "<script>" not in widget._repr_html_()
    data, _ = widget._repr_mimebundle_()
    assert data["text/plain"] == repr(widget)


def test_what_cannot_be_explored_is_refused(federation: Any) -> None:
    for what in ("heart", object(), None):
        with pytest.raises(InvalidInput) as caught:
            DataExplorer(what)
        assert caught.value.code == "no-exploration"
        assert caught.value.hint
    with pytest.raises(InvalidInput) as caught:
        DataExplorer(Project(federation, ()))
    assert caught.value.code == "no-datasets"
    with pytest.raises(NotFound):
        DataExplorer(Project(federation), "liver")
    assert DataExplorer(federation.explore()).state["overview"]["level"] == "aggregates"
