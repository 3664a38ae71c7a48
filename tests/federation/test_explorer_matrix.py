"""Each role × each data set × each path: what exactly is seen, and from the refused person's side what is said."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flaas_jupyter.analytics.calls import Call, Options
from flaas_jupyter.analytics.grouping import Groups
from flaas_jupyter.analytics.scope import Scope
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.connected import Session
from flaas_jupyter.connected_queries import ConnectedSource
from flaas_jupyter.errors import FlaasError, NotAllowed
from flaas_jupyter.execution.query_log import queries_of
from flaas_jupyter.governance.permissions import DATA_OWNER, DEVELOPER, ROLES
from flaas_jupyter.notebook import exploration_request
from flaas_jupyter.notebook.exploration_request import MIME
from flaas_jupyter.widgets import DataExplorer

from .explored import LEVELS, MAY_EXPLORE, SECRETS, ExploredFederation

OUTSIDE = ("governance-admin",)
"""Who sees no project at all."""
ANSWERED = "answered"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExploredFederation]:
    federation = ExploredFederation(tmp_path_factory.mktemp("explored") / "federation")
    try:
        federation.begin()
        yield federation
    finally:
        federation.end()


@pytest.fixture(scope="module")
def people(world: ExploredFederation) -> dict[str, Session]:
    return world.people(ROLES)


def shown_level(role: str, level: str) -> str:
    """What the explorer shows to a role of a data set of that level: the table that this file is about."""
    if role in OUTSIDE or level == "nothing":
        return "nothing"
    return level if role in MAY_EXPLORE else "schema"


def outcome(work: Any) -> str:
    """Return `ANSWERED`, or the code of the refusal; a refusal says what to do next and tells no figure."""
    found: list[FlaasError] = []
    try:
        work()
    except FlaasError as error:
        found.append(error)
    assert all(error.hint for error in found), found
    return found[0].code if found else ANSWERED


# ---- REST -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_rest_tells_columns_to_who_sees_the_project_and_of_no_data_set_that_shows_nothing(world, people, role):
    session = people[role]
    if role in OUTSIDE:
        assert outcome(lambda: session.list(f"/v1/projects/{world.project}/datasets", "datasets")) == "not-allowed"
        return
    listed = {entry["name"]: entry for entry in session.list(f"/v1/projects/{world.project}/datasets", "datasets")}
    for level in LEVELS:
        told = json.dumps(listed[level])
        assert [name for name in (*SECRETS, "sick") if f'"{name}"' in told] == (
            [] if level == "nothing" else [*SECRETS, "sick"]
        )
        open_to = listed[level]["nodes"][0]["operations"]
        assert ("explore" in open_to) is (level in ("private", "aggregates"))
        assert ("analytics" in open_to) is (level in ("private", "aggregates"))


@pytest.mark.parametrize("role", [role for role in ROLES if role not in OUTSIDE])
def test_rest_opens_views_and_queries_for_roles_and_data_sets_that_may(world, people, role):
    session = people[role]
    for level in LEVELS:
        open_there = level in ("private", "aggregates")
        for kind, operation, may in (
            ("views", "explore-column", role in MAY_EXPLORE),
            ("queries", "mean", role == DEVELOPER),
        ):
            body = {"dataset": level, "operation": operation, "digest": "ab" * 32, "submitter": "cd" * 32}
            found = outcome(lambda k=kind, b=body: session.send("POST", f"/v1/projects/{world.project}/{k}", b))
            wanted = ANSWERED if may and open_there else "analytics-too-few-nodes" if may else "not-allowed"
            assert found == wanted, (role, level, kind)


# ---- explorer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_the_explorer_shows_each_role_what_the_table_says(world, people, role):
    if role in OUTSIDE:
        assert outcome(lambda: world.of(people[role], "aggregates")) in ("unknown-project", "not-allowed")
        return
    for level in LEVELS:
        exploration = world.of(people[role], level).explore()
        sees = shown_level(role, level)
        overview = exploration.overview().to_dict()
        assert overview["level"] == sees, (role, level)
        names = [column["name"] for column in overview["columns"]]
        assert names == ([] if level == "nothing" else [*SECRETS, "sick"])
        assert (overview["rows"] is None) is (level == "nothing")
        exact = {"aggregates": ANSWERED, "private": "epsilon-needed"}.get(sees, "explore-closed")
        assert outcome(lambda e=exploration: e.missing()) == exact, (role, level)
        if exact != ANSWERED:
            for part in ("column", "correlations", "labels"):
                options = {"name": "ward"} if part == "column" else {}
                assert outcome(lambda e=exploration, p=part, o=options: e.view(p, **o)) == exact, (role, level, part)
        private = ANSWERED if sees in ("private", "aggregates") else "explore-closed"
        assert outcome(lambda e=exploration: e.labels(epsilon=0.25)) == private


@pytest.mark.parametrize("role", [role for role in ROLES if role not in OUTSIDE])
def test_analytics_answers_developers_alone_and_within_the_same_levels(world, people, role):
    for level in LEVELS:
        analytics = world.of(people[role], level).analytics
        exact = outcome(lambda a=analytics: a.count())
        private = outcome(lambda a=analytics: a.count(epsilon=0.25))
        if role != DEVELOPER:
            assert (exact, private) == ("not-allowed", "not-allowed"), (role, level)
        elif level in ("nothing", "schema"):
            assert (exact, private) == ("analytics-too-few-nodes", "analytics-too-few-nodes")
        else:
            assert exact == ("policy-explore" if level == "private" else ANSWERED)
            assert private == ANSWERED


def test_what_is_answered_is_right_and_the_same_through_explorer_and_analytics(world, people):
    developer, owner = (world.of(people[role], "aggregates") for role in (DEVELOPER, DATA_OWNER))
    pooled = world.pooled
    wards = owner.explore().column("ward").to_dict()["column"]
    assert wards["counts"] == pooled.ward.value_counts().sort_index().tolist()
    assert wards["summary"]["mean"] == pytest.approx(pooled.ward.mean())
    assert developer.explore().column("ward").to_dict()["column"]["counts"] == wards["counts"]
    assert developer.analytics.mean("ward") == pytest.approx(wards["summary"]["mean"])
    income = owner.explore().column("income").to_dict()["column"]
    edges = [-np.inf if edge is None else edge for edge in income["edges"]]
    edges = [np.inf if place and edge == -np.inf else edge for place, edge in enumerate(edges)]
    assert income["counts"] == np.histogram(pooled.income, edges)[0].tolist()
    assert all(count >= 10 for count in income["counts"])
    found = owner.explore().correlations(["age", "income"]).table
    assert found.loc["age", "income"] == pytest.approx(pooled.age.corr(pooled.income), abs=1e-9)


def test_texts_are_those_of_enough_rows_and_ids_and_sensitive_columns_are_not_there(world, people):
    exploration = world.of(people[DATA_OWNER], "texts").explore()
    rows = pd.concat(world.texts.values())
    columns = {column["name"]: column for column in exploration.overview().to_dict()["columns"]}
    assert set(columns) == {"age", "town", "sick"}
    assert (columns["age"]["unit"], columns["age"]["range"]) == ("years", [0, 120])
    assert columns["town"]["description"] == "where they live"
    town = exploration.column("town").to_dict()["column"]
    told = dict(zip(town["labels"], town["counts"], strict=True))
    wanted = rows.town.value_counts()
    assert told == wanted[wanted >= 10].to_dict()
    assert "Zug" not in str(town)
    missing = {each["column"]: each["count"] for each in exploration.missing().to_dict()["missing"]}
    assert missing == {"age": 0, "town": int(rows.town.isna().sum()), "sick": 0}
    for name in ("who", "faith"):
        assert outcome(lambda n=name: exploration.column(n)) == "unknown-column"
        by = Groups((name,), ({"column": name, "values": ["a", "p1"]},), ())
        with pytest.raises(NotAllowed) as caught, explored_call(world.of(people[DATA_OWNER], "texts")) as call:
            call.otherwise(groups=by).step("count", [])
        assert caught.value.code == "explore-column"
    everywhere = json.dumps([world.of(people[role], "texts")._description for role in (DEVELOPER, "viewer")])
    assert "faith" not in everywhere


def test_each_node_says_by_itself_what_is_shown_and_keeps_the_budget(world, people):
    exploration = world.of(people[DATA_OWNER], "private").explore()
    before = {line["node"]: line["spent"] for line in exploration.nodes().to_dict()["budget"]}
    exploration.labels(epsilon=0.5)
    view = exploration.nodes().to_dict()
    assert {node["level"] for node in view["nodes"]} == {"private"}
    assert all(line["spent"] > before[line["node"]] for line in view["budget"])
    assert {line["budget"] for line in view["budget"]} == {4.0}
    assert outcome(lambda: exploration.labels(epsilon=50.0)) == "analytics-budget"
    nothing = world.of(people[DATA_OWNER], "nothing").explore().nodes().to_dict()
    assert {node["level"] for node in nothing["nodes"]} == {"nothing"}
    assert nothing["budget"] == []


def test_distances_are_told_by_owners_who_allow_it(world, people):
    drift = world.of(people[DATA_OWNER], "aggregates").explore().drift().to_dict()["drift"]
    told = {(each["column"], each["node"]): each for each in drift}
    assert told["income", "north"]["distance"] > told["age", "north"]["distance"]
    assert all(0 <= told[name, "south"]["distance"] <= 1 for name in SECRETS)
    refused = told["income", "west"]
    assert (refused["distance"], refused["suppressed"]) == (None, True)
    assert "does not tell" in refused["reason"]


# ---- who is refused although the API would let them -----------------------------------------------------------------


def test_a_role_without_a_signed_membership_is_refused_by_the_nodes(world):
    stranger = world.person(DATA_OWNER, None)
    exploration = world.of(stranger, "aggregates").explore()
    assert exploration.overview().to_dict()["level"] == "aggregates", "so the API has been told"
    assert outcome(exploration.labels) == "refused-by-peer"


def explored_call(federation: Any, **options: Any) -> Call:
    given = {"scope": Scope(), "groups": Groups(), "via": "mpc", "epsilon": None, "bounds": {}, **options}
    return Call(ConnectedSource(federation), "explore-column", Options(**given))


def test_a_viewer_who_chooses_rows_is_refused_by_the_nodes(world, people):
    owner = world.of(people[DATA_OWNER], "aggregates")
    old = {"op": "gt", "args": [{"column": "age"}, {"value": 60}]}
    with pytest.raises(NotAllowed) as caught, explored_call(owner, scope=Scope(where=old)) as call:
        call.step("count", [])
    assert caught.value.code == "explore-view"
    with pytest.raises(NotAllowed) as caught, explored_call(owner) as call:
        call.otherwise(groups=Groups(("age",), ({"column": "age", "edges": [0, 50, 90]},), ())).step("count", [])
    assert caught.value.code == "explore-view"


def test_a_viewer_who_asks_twice_with_a_difference_of_one_person_is_refused(world, people):
    oldest = float(world.tables["north"].income.max())
    for role in (DATA_OWNER, DEVELOPER):
        federation = world.of(people[role], "aggregates")
        edges = [0.0, 2000.0, 1e6]
        with explored_call(federation) as call:
            call.step("histogram", ["income"], edges={"income": edges})
        with pytest.raises(NotAllowed) as caught, explored_call(federation) as call:
            call.step("histogram", ["income"], edges={"income": [0.0, 2000.0, oldest - 0.01]})
        assert caught.value.code == "query-differs-by-few", role
        assert "refuses" in caught.value.message
        assert str(oldest) not in caught.value.message
    seen = world.of(people[DEVELOPER], "aggregates").explore().column("income").to_dict()["column"]["edges"]
    moved = [edge + 3.0 for edge in seen if edge is not None]
    for bins in ([0.0, oldest - 0.01, 1e6], moved):
        with pytest.raises(NotAllowed) as caught:
            world.of(people[DEVELOPER], "aggregates").analytics.histogram("income", bins)
        assert caught.value.code == "query-differs-by-few", "views count for free questions, and the other way round"
    frame = world.of(people[DEVELOPER], "aggregates").frame()
    frame.income.sum()
    with pytest.raises(NotAllowed) as caught:
        frame[frame.income < oldest].income.sum()
    assert caught.value.code in ("query-differs-by-few", "analytics-group") or "fewer than" in caught.value.message


# ---- widget, kernel, logs -------------------------------------------------------------------------------------------


def displayed(monkeypatch: pytest.MonkeyPatch, session: Session, **asked: Any) -> dict[str, Any]:
    """Return what the panel is shown of a view, as somebody's kernel displays it."""
    shown: list[dict[str, Any]] = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    monkeypatch.setattr("flaas_jupyter.connected.connect", lambda: contextlib.nullcontext(session))
    exploration_request.show(json.dumps(asked))
    content: dict[str, Any] = shown[-1][MIME]
    json.dumps(content, allow_nan=False)
    return content


@pytest.mark.parametrize("role", [DEVELOPER, DATA_OWNER, "viewer", "auditor", "operator"])
def test_panel_and_widget_show_the_same_and_notebooks_keep_no_more(world, people, monkeypatch, role):
    for level in LEVELS:
        asked = {"project": world.project, "dataset": level, "part": "labels", "epsilon": None}
        content = displayed(monkeypatch, people[role], **asked)
        widget = DataExplorer(world.of(people[role], level))
        saved = json.dumps(widget._repr_mimebundle_())
        assert widget.state["overview"]["level"] == shown_level(role, level)
        widget._clicked(widget, {"do": "show", "view": {"part": "labels"}}, None)
        if shown_level(role, level) == "aggregates":
            counts = content["exploration"]["labels"]["counts"]
            assert widget.state["shown"]["labels"]["counts"] == counts
            assert counts == world.pooled.sick.value_counts().sort_index().tolist()
        else:
            assert widget.state["shown"] is None
            assert content["error"]["code"] == widget.state["error"]["code"]
            assert content["error"]["hint"]
        if level == "nothing":
            saved += json.dumps(widget._repr_mimebundle_())
            assert not any(name in saved.replace(widget.state["error"]["message"], "") for name in SECRETS[:2])


def test_a_question_that_is_none_is_refused_in_the_panel(people, monkeypatch):
    for text in ("{", "[]", '{"part": "column"}', '{"project": "demo", "dataset": 3}'):
        shown: list[dict[str, Any]] = []
        monkeypatch.setattr("IPython.display.display", lambda data, raw, to=shown: to.append(data))
        exploration_request.show(text)
        assert shown[-1][MIME]["error"]["code"] == "bad-question"


def test_every_view_and_every_refusal_stands_in_the_log_of_each_node(world, people):
    owner, developer = (world.of(people[role], "aggregates").explore() for role in (DATA_OWNER, DEVELOPER))
    for part in ("nodes", "missing", "labels"):
        owner.view(part)
        developer.view(part)
    who = {role: people[role]._home for role in (DATA_OWNER, DEVELOPER)}
    ids = {role: Identity.load_or_create(home.key).node_id[:12] for role, home in who.items()}
    for name in world.nodes:
        log = queries_of(world.nodes[name].home, "aggregates")
        for role, person in ids.items():
            parts = {entry["operation"] for entry in log if entry["developer"] == person}
            assert {"explore-nodes", "explore-missing", "explore-labels"} <= parts, (name, role)
        assert {entry["organisation"] for entry in log if entry["outcome"] == ANSWERED} == {"laboratory"}
    refused = [entry for entry in queries_of(world.nodes["north"].home, "aggregates") if entry["outcome"] == "refused"]
    assert {entry["developer"] for entry in refused} <= set(ids.values())
    assert all(entry["reason"] for entry in refused)
