"""The explorer at nodes: what is offered, what is a view, who is told how far a node is from all."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from query_table import DATASET, PROJECT, QueryTable, Site
from round_table import together

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import FlaasError, InvalidInput, NotAllowed
from flaas_jupyter.execution import exploring
from flaas_jupyter.execution.explorer import Explorer
from flaas_jupyter.execution.policy import Policy
from flaas_jupyter.execution.query_log import queries_of
from flaas_jupyter.home import Home
from flaas_jupyter.protocols.analytics import statistics

DESCRIPTION = {
    "name": "people",
    "projects": [PROJECT],
    "rows": 100,
    "features": [{"name": "age", "dtype": "int64", "shape": []}, {"name": "ward", "dtype": "int64", "shape": []}],
    "target": {"name": "sick", "dtype": "int64", "kind": "binary", "classes": 2},
    "id_column": "who",
    "schema": [
        {"name": "age", "role": "feature", "unit": "years"},
        {"name": "faith", "role": "sensitive"},
        {"name": "who", "role": "id"},
    ],
}
EDGES = {"age": [10.0, 30, 50, 70, 95], "income": [0.0, 2000, 2500, 3000, 1e6]}
HISTOGRAM = {"kind": "histogram", "columns": ["age", "income"], "edges": EDGES}


# ---- what is offered ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "level", "told"),
    [
        ({"operations": ("train",)}, "schema", ["train"]),
        ({"operations": ("train", "analytics")}, "aggregates", ["train", "analytics", "explore"]),
        ({"operations": ("analytics",), "analytics_privacy": "required"}, "private", None),
        ({"operations": ("train",), "explore": "aggregates"}, "aggregates", ["train", "explore"]),
        ({"operations": ("train", "analytics"), "explore": "schema"}, "schema", ["train"]),
        ({"operations": ("train", "analytics"), "explore": "nothing"}, "nothing", ["train", "explore-nothing"]),
        ({"operations": ("train",), "explore": "private"}, "private", ["train", "explore", "explore-private"]),
        ({"explore": "aggregates", "explore_drift": True}, "aggregates", ["train", "explore", "explore-drift"]),
        ({"explore": "private", "explore_drift": True}, "private", ["train", "explore", "explore-private"]),
    ],
)
def test_levels_follow_from_the_policy_and_are_told(settings, level, told):
    policy = Policy(**settings)
    assert policy.level == level
    if told is not None:
        assert exploring.operations_of(policy) == told


def test_a_level_can_differ_for_a_data_set(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text('[policy]\noperations = ["analytics"]\n[policy.datasets.salaries]\nexplore = "nothing"\n')
    policy = Policy.load(path)
    assert (policy.for_dataset("people").level, policy.for_dataset("salaries").level) == ("aggregates", "nothing")
    path.write_text('[policy]\nexplore = "everything"\n')
    with pytest.raises(InvalidInput, match='"nothing", "schema", "private" or "aggregates"'):
        Policy.load(path)


def test_nothing_is_no_name_of_a_column_and_still_enough_to_build_a_model():
    told = exploring.offered(DESCRIPTION, Policy(explore="nothing"))
    assert not any(name in str(told) for name in ("age", "ward", "sick", "who", "faith", "years"))
    assert told["features"] == [{"name": "withheld", "dtype": "float32", "shape": [2]}]
    assert (told["target"]["classes"], told["rows"]) == (2, 100)
    tensors = {**DESCRIPTION, "features": [{"name": "scan", "dtype": "uint8", "shape": [8, 8]}], "target": None}
    told = exploring.offered(tensors, Policy(explore="nothing"))
    assert told["features"] == [{"name": "withheld 1", "dtype": "uint8", "shape": [8, 8]}]


def test_ids_and_sensitive_columns_are_not_in_what_is_told_unless_the_owner_shows_them():
    told = exploring.offered(DESCRIPTION, Policy(explore="schema"))
    assert [entry["name"] for entry in told["schema"]] == ["age"]
    told = exploring.offered(DESCRIPTION, Policy(explore="schema", explore_sensitive=True))
    assert [entry["name"] for entry in told["schema"]] == ["age", "faith"]


# ---- what is a view -------------------------------------------------------------------------------------------------

AGE = {"column": "age"}
NULL = {"op": "isnull", "args": [AGE]}


@pytest.mark.parametrize(
    ("statistic", "why"),
    [
        ({"kind": "count"}, None),
        ({"kind": "moments", "columns": ["age"]}, None),
        (HISTOGRAM, None),
        ({"kind": "count", "by": [{"column": "ward", "values": [0, 1]}]}, None),
        ({"kind": "count", "assign": [["m", NULL]], "by": [{"column": "m", "values": [False, True]}]}, None),
        ({"kind": "count", "where": {"op": "gt", "args": [AGE, {"value": 60}]}}, "condition"),
        ({"kind": "count", "by": [{"column": "age", "edges": [0, 40, 90]}]}, "ranges"),
        ({"kind": "count", "by": [{"column": c, "values": [0]} for c in ("age", "ward")]}, "several columns"),
        ({"kind": "moments", "columns": ["age"], "by": [{"column": "ward", "values": [0]}]}, "measures groups"),
        (
            {
                "kind": "count",
                "assign": [["m", {"op": "gt", "args": [AGE, {"value": 89}]}]],
                "by": [{"column": "m", "values": [False, True]}],
            },
            "derived",
        ),
        ({"kind": "moments", "columns": ["m"], "assign": [["m", {"op": "mul", "args": [AGE, AGE]}]]}, "derived"),
        ({"kind": "count", "assign": [["m", NULL]]}, "derived"),
    ],
)
def test_a_view_is_of_the_whole_data_set(statistic, why):
    asked = statistics.parse(statistic)
    if why is None:
        exploring.require_view(asked, [], None, Policy())
        return
    with pytest.raises(NotAllowed, match=why) as caught:
        exploring.require_view(asked, [], None, Policy())
    assert caught.value.code == "explore-view"


def test_a_view_is_not_about_ids_nor_sensitive_columns():
    for name, policy in (("who", Policy(explore_sensitive=True)), ("faith", Policy())):
        asked = statistics.parse({"kind": "moments", "columns": [name]})
        with pytest.raises(NotAllowed) as caught:
            exploring.require_view(asked, DESCRIPTION["schema"], "who", policy)
        assert caught.value.code == "explore-column"
    asked = statistics.parse({"kind": "moments", "columns": ["faith"]})
    exploring.require_view(asked, DESCRIPTION["schema"], "who", Policy(explore_sensitive=True))
    assert exploring.shown_columns(DESCRIPTION["schema"], Policy(explore_sensitive=True)) == ["faith"]


# ---- distances ------------------------------------------------------------------------------------------------------


class ExploredTable(QueryTable):
    """As `QueryTable`, of nodes that answer the explorer too."""

    def routes(self, site: Site):
        explorer = Explorer(
            site.queries,
            policy=site.policy,
            datasets=site.registry,
            directory=lambda project: self.directory,
            ask=lambda node, message, limit: self.ask(site.id, node, message),
        )
        kept = site.__dict__.setdefault("explorer", explorer)
        return site.queries.routes() | kept.routes()

    def view(self, operation: str = "explore-drift", **changes):
        return self.opened(operation=operation, purpose="explore", **changes)


@pytest.fixture
def table(tmp_path):
    return ExploredTable(tmp_path, [60, 80, 100], explore_drift=True)


def refused(work) -> FlaasError:
    with pytest.raises(FlaasError) as caught:
        together(work)
    return caught.value


def drift(table, document, sender=None):
    ask = Message("explore/drift", {"step": document})
    return table.ask((sender or table.developer).node_id, document["body"]["releaser"], ask)


def test_each_node_tells_one_number_for_a_column(table):
    document = table.signed(table.view(), HISTOGRAM)
    together(table.run(document))
    found = together(drift(table, document)).body["nodes"]
    assert {each["node"] for each in found} == {site.id for site in table.sites}
    for each in found:
        assert len(each["distances"]) == 2
        assert all(value is not None and 0 <= value <= 1 for value in each["distances"])
        assert each["problem"] is None


def test_an_explorer_by_the_domain_key_is_enough_for_views_and_for_nothing_else(table):
    explorer = Identity.generate()
    table.members[explorer.node_id] = ("owners", ("explorer",))
    table.list_members()
    document = table.signed(table.view("explore-column", submitter=explorer.node_id), HISTOGRAM, by=explorer)
    assert together(table.run(document, sender=explorer))["released"].counts.size == 12
    free = table.opened(submitter=explorer.node_id)
    error = refused(table.run(table.signed(free, {"kind": "count"}, by=explorer), sender=explorer))
    assert error.code == "role-missing"
    entries = queries_of(Home(table.site("north").home), DATASET)
    assert [(each["operation"], each["outcome"]) for each in entries][:1] == [("explore-column", "answered")]
    assert entries[0]["organisation"] == "owners"


def test_an_owner_who_does_not_allow_it_is_not_asked_for_more(tmp_path):
    table = ExploredTable(tmp_path, [60, 80, 100])
    document = table.signed(table.view(), HISTOGRAM)
    together(table.run(document))
    found = together(drift(table, document)).body["nodes"]
    assert [each["distances"] for each in found] == [None, None, None]
    assert {each["problem"]["code"] for each in found} == {"policy-explore-drift"}


def test_distances_are_told_of_a_view_that_was_signed_as_one_and_released(table):
    other = table.signed(table.view("explore-column"), HISTOGRAM)
    together(table.run(other))
    found = together(drift(table, other)).body["nodes"]
    assert {each["problem"]["code"] for each in found} == {"explore-view"}
    assert refused(drift(table, table.signed(table.view(), HISTOGRAM))).code == "query-over"
    document = table.signed(table.view(), HISTOGRAM)
    together(table.run(document))
    stranger = Identity.generate()
    table.members[stranger.node_id] = ("elsewhere", ("developer",))
    table.list_members()
    assert refused(drift(table, document, stranger)).code == "query-not-yours"


def test_a_releaser_cannot_ask_for_distances_from_another_histogram(table):
    document = table.signed(table.view(), HISTOGRAM)
    answer = together(table.run(document))
    together(drift(table, document))
    releaser, victim = document["body"]["releaser"], table.sites[1].id
    about = {k: v for k, v in answer["released"].to_dict().items() if k not in ("counts", "values", "suppressed")}
    tensors = {
        "counts": np.r_[1e6, np.zeros(11)],
        "values": np.zeros((12, 0)),
        "suppressed": np.zeros(12, np.uint8),
    }
    probe = Message("explore/distance", {"step": document, "released": about}, tensors)
    assert refused(table.ask(releaser, victim, probe)).code == "query-replayed"
    assert refused(table.ask(table.sites[2].id, victim, probe)).code == "not-the-releaser"


def test_a_node_that_shows_nothing_refuses_every_statistic_whatever_its_operations(tmp_path):
    for level, code in (("nothing", "policy-explore"), ("schema", "policy-explore"), ("private", "policy-explore")):
        (tmp_path / level).mkdir()
        table = ExploredTable(tmp_path / level, [60, 80, 100], explore=level, analytics_epsilon=4.0)
        free = refused(table.run(table.signed(table.opened(), {"kind": "count"})))
        view = refused(table.run(table.signed(table.view("explore-missing"), {"kind": "count"})))
        assert (free.code, view.code) == (code, code)
        assert "refuses" in view.message
        assert "node.toml" in view.hint
    private = together(table.run(table.signed(table.view("explore-missing"), {"kind": "count", "epsilon": 1.0})))
    assert private["released"].epsilon == 1.0


def test_looking_tells_the_level_and_is_logged(table):
    ask = Message("explore/look", {"project": PROJECT, "dataset": DATASET})
    told = together(table.ask(table.developer.node_id, table.sites[0].id, ask)).body
    assert (told["level"], told["drift"], told["minimum_group"]) == ("aggregates", True, 10)
    assert told["budget"] == {"spent": 0.0, "budget": 0.0, "remaining": 0.0}, "nothing is free for want of a budget"
    (entry,) = queries_of(Home(table.sites[0].home), DATASET)
    assert (entry["operation"], entry["organisation"]) == ("explore-nodes", "laboratory")
    assert table.site("north").queries.ledger.spent(DATASET, table.developer.node_id) == 0.0
    table.site("north").open()
    assert len(table.site("north").queries.ledger.entries(DATASET)) == 1, "a ledger with it is read again"
    ask = Message("explore/look", {"project": "elsewhere", "dataset": DATASET})
    assert refused(table.ask(table.developer.node_id, table.sites[0].id, ask)).code == "unknown-dataset"


def test_sensitive_columns_are_counted_where_their_owners_show_them(tmp_path):
    rng = np.random.default_rng(1)
    for shows in (False, True):
        (tmp_path / str(shows)).mkdir()
        table = ExploredTable(tmp_path / str(shows), [60, 80, 100], explore_sensitive=shows)
        frames = []
        for site in table.sites:
            frame = pd.read_csv(site.home / "people.csv").assign(faith=rng.choice(["a", "b"], len(site.frame)))
            frame.to_csv(site.home / "more.csv", index=False)
            site.registry.remove(DATASET)
            site.registry.add(
                DATASET,
                site.home / "more.csv",
                target="sick",
                projects=(PROJECT,),
                schema=schema_of(faith="sensitive"),
            )
            frames.append(frame)
        by = [{"column": "faith", "values": ["a", "b"]}]
        work = table.run(table.signed(table.view("explore-column"), {"kind": "count", "by": by}))
        if not shows:
            assert refused(work).code == "explore-column"
            continue
        wanted = pd.concat(frames).faith.value_counts().sort_index().tolist()
        assert together(work)["released"].counts.tolist() == wanted
        free = table.opened()
        assert refused(table.run(table.signed(free, {"kind": "count", "by": by}))).code == "unknown-column"


def schema_of(**roles):
    from flaas_jupyter.execution.datasets.schema import DatasetSchema

    return DatasetSchema.from_dict({"columns": {name: {"role": role} for name, role in roles.items()}})


@pytest.mark.parametrize(("project", "dataset"), [(PROJECT, "other"), (PROJECT, "../../x")])
def test_looking_at_what_is_not_there_tells_of_nothing_else_and_makes_no_file(table, project, dataset):
    ask = Message("explore/look", {"project": project, "dataset": dataset})
    before = sorted(table.folder.rglob("*"))
    error = refused(table.ask(table.developer.node_id, table.sites[0].id, ask))
    assert error.code == "unknown-dataset"
    assert DATASET not in error.message + error.hint
    assert sorted(table.folder.rglob("*")) == before
