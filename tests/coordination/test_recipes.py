"""Versions of how a project's columns are brought together, and what owners declare of columns."""

from __future__ import annotations

from flaas_jupyter.training.preprocessing import Mapping
from flaas_jupyter.training.preprocessing.mapping import ColumnMap

NODE = "ab" * 32


def body(name: str = "common", factor: float = 0.45359237) -> dict:
    mapping = Mapping(
        {NODE: {"weight": ColumnMap("wt_lb", factor=factor), "sex": ColumnMap("sex", recode=((1, "f"),))}}
    )
    return {"name": name, "recipe": mapping.to_dict()}


def test_a_recipe_is_kept_in_versions_known_by_what_is_in_them(federation):
    path = f"{federation.path}/recipes"
    first = federation.developer.post(path, body())
    assert (first["version"], first["kind"]) == (1, "mapping")
    assert first["digest"] == Mapping.from_dict(first["recipe"]).digest == Mapping.from_dict(body()["recipe"]).digest
    assert federation.developer.post(path, body())["id"] == first["id"], "the same is no new version"
    second = federation.developer.post(path, body(factor=0.5))
    assert second["version"] == 2
    assert second["digest"] != first["digest"]
    assert federation.developer.post(path, body())["version"] == 3, "back to what was before is a version too"
    other = federation.developer.post(path, body("other"))
    assert other["version"] == 1
    listed = federation.person("viewer", "north").embedded(f"{path}?name=common", "recipes")
    assert [each["version"] for each in listed] == [3, 2, 1]
    assert "recipe" not in listed[0]
    assert federation.node("north").api.get(f"/v1/recipes/{second['id']}")["recipe"] == second["recipe"]


def test_who_may_not_keep_recipes_is_told_so(federation):
    problem = federation.person("viewer", "north").problem("POST", f"{federation.path}/recipes", body())
    assert (problem["status"], problem["code"]) == (403, "not-allowed")


def test_nothing_but_a_mapping_is_taken(federation):
    path = f"{federation.path}/recipes"
    for recipe in (
        {"v": 1, "nodes": {"short": {}}},
        {"v": 2, "nodes": {}},
        {"v": 1, "nodes": {NODE: {"a": {"source": "b", "weights": [0.1] * 10}}}},
        {"v": 1, "nodes": {NODE: {"a": {"source": "b", "recode": [[1, 2, 3]]}}}},
        {"v": 1, "nodes": {NODE: {f"c{i}": {"source": "s" * 200} for i in range(850)}}},
    ):
        assert federation.developer.problem("POST", path, {"name": "x", "recipe": recipe})["status"] == 422
    assert federation.developer.problem("GET", "/v1/recipes/c123")["code"] == "unknown-recipe"


def test_what_owners_declare_is_told_by_node(federation):
    first = federation.node("north", online=True)
    second = federation.node("north-2", organisation="north", online=True)
    declared = [{"name": "age", "unit": "years", "range": [0, 120]}, {"name": "sex", "categories": ["f", "m"]}]
    assert first.describe(schema=declared).status_code in (200, 201)
    assert second.describe(schema=[{"name": "age", "unit": "months"}]).status_code in (200, 201)
    (dataset,) = federation.developer.embedded(f"{federation.path}/datasets", "datasets")
    told = {node["node"]: node["columns"] for node in dataset["nodes"]}
    units = {dataset["schema"][0]["unit"], *(c["schema"][0]["unit"] for c in told.values() if c is not None)}
    assert units == {"years", "months"}
    full = {"dtype": None, "role": "feature", "description": None, "categories": None}
    assert {"name": "age", "unit": "years", "range": [0.0, 120.0], **full} in [
        dataset["schema"][0], *(c["schema"][0] for c in told.values() if c is not None)
    ]  # fmt: skip


def test_a_declaration_is_small_and_plain(federation):
    node = federation.node("north", online=True)
    for schema in (
        [{"name": "age", "role": "anything"}],
        [{"name": "age", "values": [1, 2, 3]}],
        [{"name": "age", "range": [0]}],
        [{"name": "a" * 301}],
        [{"name": f"c{i}", "description": "x" * 480} for i in range(300)],
    ):
        assert node.describe(schema=schema).status_code == 422, schema
