"""Queries: which nodes they are opened over, who sees and closes them, and what the API is never told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import update

from flaas_jupyter.coordination.tables import Query
from flaas_jupyter.governance.audit.tables import AuditEntry

from .hosted_api import query_body

REASON = {"kind": "NotAllowed", "code": "policy-minimum-group", "message": "north refuses.", "hint": "", "details": {}}


def asked(federation, **changes):
    return federation.developer.post(f"{federation.path}/queries", query_body(**changes))


def listed(federation, query=""):
    return federation.developer.embedded(f"{federation.path}/queries{query}", "queries")


def test_a_query_is_opened_over_the_nodes_that_are_online(federation):
    nodes = federation.three()
    federation.node("away", organisation="north")
    watched = federation.follow()
    query = asked(federation)
    assert [each["node"] for each in query["participants"]] == sorted(node.id for node in nodes)
    assert {each["name"] for each in query["participants"]} == {"north", "south", "west"}
    assert query["releaser"] in {node.id for node in nodes}
    assert (query["state"], query["via"], query["operation"]) == ("open", "mpc", "mean")
    assert (query["created_by"], query["organisation"]) == ("developer.laboratory", "laboratory")
    opened, until = (datetime.fromisoformat(query[name]) for name in ("created", "expires"))
    assert until - opened == timedelta(minutes=15)
    assert federation.developer.get(f"/v1/queries/{query['id']}") == query
    assert nodes[0].api.get(f"/v1/queries/{query['id']}")["releaser"] == query["releaser"]
    told = watched.until("query.created")["data"]
    assert told == {"query": query["id"], "dataset": "loans", "operation": "mean", "created_by": "developer.laboratory"}


def test_who_releases_goes_round(federation):
    nodes = federation.three()
    turns = [asked(federation)["releaser"] for _ in range(6)]
    assert set(turns[:3]) == {node.id for node in nodes}
    assert turns[3:] == turns[:3]


def test_fewer_than_three_nodes_are_refused_and_it_is_said_who_is_away(federation):
    nodes = federation.three()
    nodes[2].go_offline()
    federation.admin.post(f"/v1/nodes/{nodes[1].id}/quarantine", {"reason": "Its disk fails."})
    while nodes[2].state == "online":
        pass
    problem = federation.developer.problem("POST", f"{federation.path}/queries", query_body())
    assert (problem["status"], problem["code"]) == (409, "analytics-too-few-nodes")
    assert "online: north; offline: west; in quarantine: south" in problem["detail"]
    assert listed(federation) == []


def test_nodes_whose_owners_do_not_allow_it_are_not_asked(federation):
    nodes = [*federation.three(), federation.node("fourth", organisation="north", online=True)]
    assert nodes[0].describe(operations=["train"]).is_success
    assert nodes[1].describe(operations=["train", "analytics"]).is_success
    chosen = {each["name"] for each in asked(federation)["participants"]}
    assert chosen == {"south", "west", "fourth"}
    assert nodes[2].describe(operations=["train"]).is_success
    problem = federation.developer.problem("POST", f"{federation.path}/queries", query_body())
    assert problem["code"] == "analytics-too-few-nodes"
    assert "online: fourth, south; not open to analytics: north, west" in problem["detail"]
    assert "node.toml" in problem["hint"]
    assert len(asked(federation, purpose="train")["participants"]) == 4
    holders = federation.developer.embedded(f"{federation.path}/datasets", "datasets")[0]["nodes"]
    assert {node["node_name"]: node["operations"] for node in holders}["north"] == ["train"]


def test_nodes_with_other_columns_are_named(federation):
    federation.three()
    columns = [{"name": "age", "dtype": "float32", "shape": []}]
    federation.node("odd", organisation="north", online=True, features=columns)
    problem = federation.developer.problem("POST", f"{federation.path}/queries", query_body())
    assert (problem["status"], problem["code"]) == (422, "schema-mismatch")


def test_an_unknown_data_set_is_named_with_those_there_are(federation):
    federation.three()
    problem = federation.developer.problem("POST", f"{federation.path}/queries", query_body(dataset="other"))
    assert (problem["status"], problem["code"], problem["known"]) == (404, "unknown-dataset", ["loans"])


def test_a_query_is_closed_by_its_organisation_once(federation):
    federation.three()
    path = f"/v1/queries/{asked(federation)['id']}"
    assert federation.person("developer", "north").refused("POST", f"{path}/close", {"outcome": "failed"})[0] == 403
    watched = federation.follow()
    closed = federation.developer.post(f"{path}/close", {"outcome": "refused", "steps": 2, "reason": REASON})
    assert (closed["state"], closed["outcome"], closed["steps"]) == ("closed", "refused", 2)
    assert closed["reason"] == REASON
    assert "close" not in closed["_links"]
    again = federation.developer.post(f"{path}/close", {"outcome": "released", "steps": 9})
    assert again == closed
    assert watched.until("query.closed")["data"]["outcome"] == "refused"


def test_a_query_that_nobody_closes_expires(federation):
    federation.three()
    query = asked(federation)["id"]
    with federation.api.hosted.database.writing() as session:
        session.execute(update(Query).values(expires=datetime.now(UTC) - timedelta(seconds=1)))
    assert federation.developer.get(f"/v1/queries/{query}")["state"] == "expired"


def test_queries_are_listed_newest_first_in_pages(federation):
    federation.three()
    ids = [asked(federation, operation=operation)["id"] for operation in ("count", "mean", "describe")]
    assert [query["id"] for query in listed(federation)] == ids[::-1]
    assert [query["id"] for query in listed(federation, "?limit=1&dataset=loans")] == ids[::-1]
    assert listed(federation, "?dataset=other") == []
    page = federation.developer.get(f"{federation.path}/queries?limit=2")
    assert "next" in page["_links"]


def test_who_may_ask_and_who_may_see(federation):
    federation.three()
    query = asked(federation)["id"]
    viewer, stranger = federation.person("viewer", "north"), federation.person("developer", "elsewhere")
    assert viewer.refused("POST", f"{federation.path}/queries", query_body())[0] == 403
    assert "close" not in viewer.get(f"/v1/queries/{query}")["_links"]
    assert stranger.refused("GET", f"/v1/queries/{query}") == (404, "unknown-query")
    assert stranger.refused("POST", f"{federation.path}/queries", query_body()) == (404, "unknown-project")
    assert federation.developer.get(federation.path)["_links"]["queries"]["href"] == f"{federation.path}/queries"


def test_neither_statistic_nor_result_can_be_sent(federation):
    federation.three()
    for name in ("statistic", "result", "columns"):
        body = query_body(**{name: {"kind": "count"}})
        assert federation.developer.refused("POST", f"{federation.path}/queries", body) == (422, "invalid-input")
    for operation in ("mean of income", "Mean", "x" * 41):
        body = query_body(operation=operation)
        assert federation.developer.refused("POST", f"{federation.path}/queries", body) == (422, "invalid-input")


def test_the_audit_log_tells_of_it_and_a_repetition_opens_nothing_more(federation):
    federation.three()
    key = {"headers": {"Idempotency-Key": "once"}}
    first, again = (federation.developer.post(f"{federation.path}/queries", query_body(), **key) for _ in range(2))
    assert first == again
    assert len(listed(federation)) == 1
    with federation.api.hosted.database.reading() as session:
        entries = session.query(AuditEntry).filter(AuditEntry.operation == "analytics:query").all()
    assert [(entry.actor, entry.project, entry.outcome) for entry in entries] == [
        ("developer.laboratory", "credit", "done")
    ]


# ---- views of the explorer ------------------------------------------------------------------------------------------


def view_body(**changes):
    return query_body(operation="explore-column", **changes)


def test_a_view_is_opened_by_who_may_explore_over_the_nodes_whose_owners_show_something(federation):
    nodes = [*federation.three(), federation.node("fourth", organisation="north", online=True)]
    for node in nodes[1:]:
        assert node.describe(operations=["train", "explore"]).is_success
    assert nodes[0].describe(operations=["train", "analytics"]).is_success
    view = federation.person("data-owner", "laboratory").post(f"{federation.path}/views", view_body())
    assert {each["name"] for each in view["participants"]} == {"south", "west", "fourth"}
    assert (view["purpose"], view["operation"], view["state"]) == ("explore", "explore-column", "open")
    assert view["_links"]["close"]["href"] == f"/v1/views/{view['id']}/close"
    assert nodes[1].api.get(f"/v1/queries/{view['id']}")["purpose"] == "explore"


def test_nobody_else_may_and_the_project_links_it_to_who_may(federation):
    federation.three()
    for role in ("viewer", "operator", "auditor", "org-admin", "cost-manager", "approver"):
        person = federation.person(role, "laboratory")
        assert person.refused("POST", f"{federation.path}/views", view_body()) == (403, "not-allowed")
        assert "create_view" not in person.get(federation.path)["_links"]
    for role in ("developer", "data-owner"):
        assert federation.person(role, "laboratory").get(federation.path)["_links"]["create_view"]["method"] == "POST"


def test_views_and_queries_are_not_opened_or_closed_as_each_other(federation):
    federation.three()
    owner = federation.person("data-owner", "laboratory")
    assert owner.refused("POST", f"{federation.path}/queries", view_body()) == (403, "not-allowed")
    for changes in ({"operation": "mean"}, {"operation": "explore-"}, {"purpose": "analytics"}, {"purpose": "train"}):
        body = {**view_body(), **changes}
        assert federation.developer.refused("POST", f"{federation.path}/views", body)[0] == 422, changes
    free = asked(federation)
    assert owner.refused("POST", f"/v1/views/{free['id']}/close", {"outcome": "released"}) == (404, "unknown-query")
    assert federation.nodes["north"].describe(operations=["explore", "analytics"]).is_success
    body = {"outcome": "released", "steps": 3}
    view = owner.post(f"{federation.path}/views", view_body())
    assert owner.post(f"/v1/views/{view['id']}/close", body)["state"] == "closed"
    assert listed(federation)[0]["id"] == view["id"], "who has looked is seen by everybody who sees queries"


def test_a_node_that_tells_no_columns_keeps_nobody_from_asking_and_is_not_shown_as_the_first(federation):
    nodes = federation.three()
    withheld = [{"name": "withheld", "dtype": "float32", "shape": [2]}]
    assert nodes[0].describe(features=withheld, operations=["train", "explore-nothing"]).is_success
    (entry,) = federation.developer.embedded(f"{federation.path}/datasets", "datasets")
    assert [feature["name"] for feature in entry["features"]] == ["age", "income"]
    assert federation.run()["id"], "a run of all three is one of the same columns, as far as they are told"
    for node in nodes[1:]:
        assert node.describe(features=withheld, operations=["train", "explore-nothing"]).is_success
    (entry,) = federation.developer.embedded(f"{federation.path}/datasets", "datasets")
    assert "age" not in str(entry)
