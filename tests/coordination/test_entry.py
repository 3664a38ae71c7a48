"""Where one starts: what everybody sees, and the links that show each caller what it may do."""

from __future__ import annotations

import httpx

from flaas_jupyter.coordination.meanings import MEANINGS
from flaas_jupyter.governance.permissions import ROLES

from .hosted_api import ROUTES


def links(caller) -> set[str]:
    return set(caller.get("/")["_links"])


def test_nobody_sees_the_way_in_and_nothing_else(federation):
    body = federation.nobody.get("/")
    assert (body["name"], body["api"]) == ("flaas coordination API", "v1")
    assert set(body["_links"]) == {"self", "health", "openapi", "problem"}


def test_the_entry_point_links_to_what_the_role_permits(federation):
    viewer = links(federation.person("viewer", "north"))
    assert viewer == {
        "self", "health", "openapi", "problem", "me", "organisations", "projects", "nodes", "costs", "cost_templates",
        "cost_accounts", "cost_providers", "tokens", "create_token", "roles", "permissions", "separation", "can",
        "approvals", "policy",
    }  # fmt: skip
    assert links(federation.person("developer", "north")) == viewer
    assert links(federation.person("cost-manager", "north")) == viewer
    assert links(federation.person("operator", "north")) == viewer | {"register_node"}
    assert links(federation.admin) == viewer | {
        "register_node", "create_organisation", "create_project", "users", "create_user", "metrics",
    }  # fmt: skip
    assert links(federation.governor) == {
        "self", "health", "openapi", "problem", "me", "organisations", "tokens", "create_token", "users", "create_user",
        "roles", "permissions", "separation", "can", "edit_roles", "unused_permissions", "approvals", "policy",
        "metrics",
    }  # fmt: skip
    assert {"audit", "checkpoints", "users"} <= links(federation.person("auditor", "north"))


def test_a_node_is_led_to_itself(federation):
    node = federation.node("north")
    assert node.api.get("/")["_links"]["node"] == {"href": node.path}


def test_health_names_the_data_base(federation, database_kind):
    assert federation.nobody.get("/v1/health")["database"] == database_kind


def test_me_says_who_is_calling(federation):
    body = federation.developer.get("/v1/me")
    assert body["subject"] == "developer.laboratory"
    assert (body["kind"], body["organisation"]) == ("user", "laboratory")
    assert body["roles"] == [{"role": "developer", "scope": "organisation:laboratory"}]
    assert body["permissions"]["run:create"] == ["organisation:laboratory"]
    assert "node:register" not in body["permissions"]
    node = federation.node("north")
    body = node.api.get("/v1/me")
    assert (body["subject"], body["kind"], body["organisation"]) == (node.id, "node", "north")


def test_every_problem_has_a_page(federation):
    for code, meaning in MEANINGS.items():
        page = federation.nobody.get(f"/problems/{code}")
        assert (page["title"], page["remedy"]) == (meaning.title, meaning.remedy)
    assert federation.nobody.refused("GET", "/problems/none-of-them") == (404, "not-found")


def test_unknown_addresses_and_methods_are_problems_too(federation):
    assert federation.admin.refused("GET", "/v1/nothing") == (404, "not-found")
    response = federation.admin.call("PUT", "/v1/me", {})
    assert (response.status_code, response.json()["code"]) == (405, "method-not-allowed")
    assert response.headers["Allow"] == "GET"


def test_the_description_names_operation_roles_and_answers_of_every_route(federation):
    described = httpx.get(federation.api.url + "/openapi.json", trust_env=False, timeout=60).json()
    for route in ROUTES:
        (method,) = route.methods
        entry = described["paths"][route.path][method.lower()]
        assert "application/problem+json" in entry["responses"]["default"]["content"]
        public = route.path in ("/", "/v1/health", "/problems/{code}", "/v1/enrolments") or route.path.startswith(
            ("/oauth/", "/.well-known/")
        )
        assert public == ("x-flaas-operation" not in entry), route.path
    read = described["paths"]["/v1/runs/{run_id}"]["get"]
    assert read["responses"]["200"]["content"]["application/hal+json"]["schema"]["$ref"].endswith("/Run")
    assert read["x-flaas-roles"] == [*(role for role in ROLES if role != "governance-admin"), "node"]


def test_metrics_count_requests_bytes_runs_and_nodes(federation):
    federation.node("north", online=True)
    federation.run()

    def metrics() -> dict[str, float]:
        response = federation.admin.call("GET", "/metrics")
        assert response.headers["Content-Type"].startswith("text/plain")
        lines = [line for line in response.text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    first = metrics()
    assert first["flaas_api_nodes_online"] == 1
    assert first['flaas_api_runs{state="gathering"}'] == 1
    assert first['flaas_api_runs{state="queued"}'] == 0
    body = b'{"id":"east","name":"East"}'
    response = httpx.post(
        federation.api.url + "/v1/organisations",
        content=body,
        headers={
            "Authorization": f"Bearer {federation.people['org-admin', 'platform']}",
            "Content-Type": "application/json",
        },
        trust_env=False,
        timeout=60,
    )
    second = metrics()
    posted = 'flaas_api_requests_total{method="POST",route="/v1/organisations",status="2xx"}'
    assert second[posted] == first.get(posted, 0) + 1
    assert second['flaas_api_body_bytes_total{direction="in"}'] - first[
        'flaas_api_body_bytes_total{direction="in"}'
    ] == len(body)
    assert second['flaas_api_body_bytes_total{direction="out"}'] >= first[
        'flaas_api_body_bytes_total{direction="out"}'
    ] + len(response.content)
