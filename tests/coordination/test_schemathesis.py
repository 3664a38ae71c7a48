"""The published description of the interface, held against the API by schemathesis: it says what happens, all of it.

``FLAAS_FUZZ_SECONDS`` is how long what schemathesis makes of it may take (`make fuzz`); the seed is fixed.
"""

from __future__ import annotations

import json
import os

import httpx
import pytest

from flaas_jupyter.coordination import openapi_links, openapi_problems
from flaas_jupyter.coordination.openapi_links import SOURCES
from flaas_jupyter.governance.permissions import PERMISSIONS, roles_for

from . import fuzzing

SECONDS = int(os.environ.get("FLAAS_FUZZ_SECONDS", "30"))
EXAMPLES = 3 if SECONDS <= 60 else 100

HOSTILE = [
    "a%00b",
    "%ed%a0%80",
    "%ff%fe",
    "a" * 5000,
    "9223372036854775808",
    "1e400",
    "%2e%2e%2f%2e%2e",
    "%0d%0aX-Injected:%201",
]
HOSTILE_VALUES = ["a\x00b", "\ud800", 2**63, 10**400]
OF_DATA_BASES = {"a%00b", "%ed%a0%80", "9223372036854775808", "a\x00b", "\ud800", 2**63}
"""What data bases do not stand alike; the rest is refused before one is asked, and SQLite alone will do."""


@pytest.fixture
def hostile(database_kind):
    """Return what is tried in addresses, and in bodies."""
    return tuple(
        [each for each in tried if database_kind == "sqlite" or each in OF_DATA_BASES]
        for tried in (HOSTILE, HOSTILE_VALUES)
    )


@pytest.fixture
def world(federation, cloud):
    """A federation with nodes and a run in it, and no cloud but the test's own."""
    nodes = [federation.node(name) for name in ("north", "south", "west")]
    federation.run()
    return federation, nodes[0]


@pytest.fixture
def cloud(monkeypatch, tmp_path):
    """No cloud is there: an account can be entered, and nothing leaves this machine."""
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path / "home"))
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")  # the API itself


def signed(world):
    federation, node = world
    return fuzzing.callers(federation, node)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("phases", "examples", "share"),
    [(("coverage", "fuzzing"), EXAMPLES, 2 / 3), (("stateful",), 10 * EXAMPLES, 1 / 3)],
    ids=["each", "stateful"],
)
def test_whatever_the_description_permits_is_answered_as_it_says(world, api, phases, examples, share):
    document = fuzzing.document_of(api)

    outcome = fuzzing.run(
        api, document, signed(world), phases=phases, examples=examples, seconds=round(share * SECONDS)
    )

    assert not outcome.findings, outcome.report()
    assert not outcome.errors, outcome.report()
    assert not [status for status in outcome.statuses if status >= 500]
    assert sum(outcome.cases.values()) > 50
    assert {200, 404, 422} <= set(outcome.statuses)


# ---- what every operation has to stand, on both data bases --------------------------------------------------------


def paths(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


@pytest.fixture
def client(api):
    with httpx.Client(base_url=api.url, trust_env=False, timeout=20) as opened:
        yield opened


def fill(path, operation, values):
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            path = path.replace("{" + parameter["name"] + "}", values(parameter["name"]))
    return path


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_without_credentials_that_are_good_nothing_succeeds(world, api, client):
    federation, node = world
    known = {"project_id": federation.project, "node_id": node.id, "organisation_id": "north"}
    credentials = [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer flaas_x_y"},
        {"Authorization": "Bearer " + federation.people["org-admin", "platform"][:-1]},
        {"Authorization": "bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."},
        {"Authorization": "FlaasNode x.y.z"},
        {"Authorization": "Basic YTpi"},
        {"Cookie": "session=1"},
    ]
    tried = 0
    for path, method, operation in paths(api.app.openapi()):
        if operation.get("x-flaas-operation") is None:
            continue
        target = fill(path, operation, lambda name: known.get(name, "x"))
        for headers in credentials:
            answer = client.request(method, target, headers=headers, json={} if method != "GET" else None)
            assert answer.status_code in {401, 422}, (method, target, headers)
            assert answer.status_code == 401 or operation.get("requestBody"), (method, target, headers)
            tried += 1
    assert tried > 400


def test_every_operation_stands_ids_that_are_none(world, api, client, hostile):
    sign = signed(world)
    for path, method, operation in paths(api.app.openapi()):
        if "{" not in path or path.endswith("/events"):
            continue
        for each in hostile[0]:
            target = fill(path, operation, lambda name, each=each: each)
            url = str(client.build_request(method, target).url)
            headers = {"Authorization": sign(operation.get("x-flaas-operation", ""), method, url), "If-Match": "*"}
            answer = client.request(method, target, headers=headers, json={} if method != "GET" else None)
            assert 400 <= answer.status_code < 500, (method, target[:200], answer.text[:300])
            assert "x-injected" not in answer.headers


def test_every_operation_stands_queries_that_are_none(world, api, client, hostile):
    federation, node = world
    known = {"project_id": federation.project, "node_id": node.id}
    sign = signed(world)
    for path, method, operation in paths(api.app.openapi()):
        names = [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"]
        if not names or path.endswith("/events"):
            continue
        target = fill(path, operation, lambda name: known.get(name, "x"))
        url = str(client.build_request(method, target).url)
        for name in names:
            for each in hostile[0]:
                headers = {"Authorization": sign(operation.get("x-flaas-operation", ""), method, url)}
                answer = client.request(method, f"{target}?{name}={each}", headers=headers)
                assert answer.status_code < 500, (method, target, name, each[:100], answer.text[:300])


def test_every_operation_stands_bodies_that_are_nearly_right(world, api, client, hostile):
    """Each field of each body in turn, given what no field of its kind should be."""
    federation, node = world
    known = {"project_id": federation.project, "node_id": node.id, "organisation_id": "north"}
    sign = signed(world)
    document = api.app.openapi()
    for path, method, operation in paths(document):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        if content is None:
            continue
        fields = _fields(document, content)
        target = fill(path, operation, lambda name: known.get(name, "1"))
        url = str(client.build_request(method, target).url)
        for name, value in ((name, value) for name in fields for value in hostile[1]):
            body = {**dict.fromkeys(fields, "x"), name: value}
            headers = {"Authorization": sign(operation.get("x-flaas-operation", ""), method, url), "If-Match": "*"}
            sent = {"content": _json(body), "headers": {**headers, "Content-Type": "application/json"}}
            answer = client.request(method, target, **sent)
            assert answer.status_code < 500, (method, target, name, repr(value)[:100], answer.text[:300])


def _json(body):
    return json.dumps(body).encode()  # escapes lone surrogates, as an attacker would


def _fields(document, schema):
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return list(schema.get("properties", {}))


# ---- the description itself ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_every_id_in_a_path_is_linked_from_where_it_comes_from(api):
    document = openapi_links.add(api.app.openapi())
    links = [
        (link, source)
        for _, _, source in paths(document)
        for answer in source["responses"].values()
        for link in answer.get("links", {}).values()
    ]
    known = {operation["operationId"] for _, _, operation in paths(document)}
    assert {link["operationId"] for link, _ in links} <= known
    assert len(links) > 60
    linked = {name for link, _ in links for name in link["parameters"]}
    for path, _, operation in paths(document):
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path" and parameter["name"] in SOURCES:
                assert parameter["name"] in linked, path


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_whatever_the_document_refers_to_is_in_it(api):
    document = api.app.openapi()
    operations = {operation["operationId"]: (path, operation) for path, _, operation in paths(document)}
    assert len(operations) == sum(1 for _ in paths(document)), "each has an id of its own"
    for reference in _references(document):
        assert _resolve(document, reference) is not None
    for path, _, source in paths(document):
        for status, answer in source["responses"].items():
            for name, link in answer.get("links", {}).items():
                where = f"{path} {status} {name}"
                target, described = operations[link["operationId"]]
                for parameter, expression in link["parameters"].items():
                    assert "{" + parameter + "}" in target, where
                    if expression.startswith("$request.path."):
                        assert "{" + expression.removeprefix("$request.path.") + "}" in path, where
                    else:
                        (content,) = answer["content"].values()
                        pointer = expression.removeprefix("$response.body#/").split("/")
                        assert _found(document, content["schema"], pointer), where
                assert described["operationId"] == link["operationId"]


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_every_operation_says_what_it_takes(api):
    document = api.app.openapi()
    schemes = set(document["components"]["securitySchemes"])
    for path, method, operation in paths(document):
        taken = operation.get("x-flaas-operation")
        if taken is None:
            assert not operation.get("security"), path
            assert "x-flaas-roles" not in operation, path
            continue
        assert taken in PERMISSIONS, path
        assert operation["x-flaas-roles"] == roles_for(taken), path
        assert operation["x-flaas-roles"], path
        assert {name for each in operation["security"] for name in each} == schemes, path
        assert operation["summary"], f"{method} {path}"


def _references(part):
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from _references(each)


def _resolve(document, reference):
    assert reference.startswith("#/"), reference
    for step in reference[2:].split("/"):
        document = document[step]
    return document


def _found(document, schema, pointer):
    """Tell whether a value of `schema` can have something at `pointer`."""
    if "$ref" in schema:
        return _found(document, _resolve(document, schema["$ref"]), pointer)
    if not pointer:
        return True
    step, *rest = pointer
    if step.isdigit() and "items" in schema:
        return _found(document, schema["items"], rest)
    if step in schema.get("properties", {}):
        return _found(document, schema["properties"][step], rest)
    return any(_found(document, each, pointer) for each in [*schema.get("anyOf", []), *schema.get("allOf", [])])


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_refusals_are_declared_and_what_a_route_declares_stays(api):
    document = openapi_problems.add(api.app.openapi())
    for path, method, operation in paths(document):
        statuses = set(operation["responses"])
        assert {"422", "503"} <= statuses, path
        assert "403" in statuses or not operation.get("security"), path
        assert ({"412", "428"} <= statuses) == (method in {"PUT", "PATCH", "DELETE"}), path
