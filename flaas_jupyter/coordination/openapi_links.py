"""Links of the OpenAPI document (3.1, Link Object): which answer has the id that another operation takes in its path.

They say in the document what the links of HAL answers say at run time, so that generated clients, and tests that are
made from the document, follow what the API has made rather than guess ids.

One table names, for each path parameter, the operations whose answers have its values. Every operation with such a
parameter is linked from each of them, so that a new one below ``/v1/projects/{project_id}`` needs no entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

_CREATED = "$response.body#/id"

SOURCES: Mapping[str, Mapping[str, str]] = {
    "organisation_id": {
        "create_organisation": _CREATED,
        "list_organisations": "$response.body#/_embedded/organisations/0/id",
    },
    "token_id": {"create_token": _CREATED, "list_tokens": "$response.body#/_embedded/tokens/0/id"},
    "project_id": {"create_project": _CREATED, "list_projects": "$response.body#/_embedded/projects/0/id"},
    "node_id": {"register_node": _CREATED, "list_nodes": "$response.body#/_embedded/nodes/0/id"},
    "run_id": {"create_run": _CREATED, "list_runs": "$response.body#/_embedded/runs/0/id"},
    "number": {"list_rounds": "$response.body#/_embedded/rounds/0/number"},
    "launch_id": {"create_launch": _CREATED, "list_launches": "$response.body#/_embedded/launches/0/id"},
    "account_id": {"add_account": _CREATED, "list_accounts": "$response.body#/_embedded/accounts/0/id"},
    "query_id": {
        "create_query": _CREATED,
        "create_view": _CREATED,
        "list_queries": "$response.body#/_embedded/queries/0/id",
    },
    "recipe_id": {"create_recipe": _CREATED, "list_recipes": "$response.body#/_embedded/recipes/0/id"},
    "upload_id": {"create_upload": _CREATED, "list_uploads": "$response.body#/_embedded/uploads/0/id"},
    "model_id": {"list_models": "$response.body#/_embedded/models/0/id"},
    "user_id": {"create_user": _CREATED, "list_users": "$response.body#/_embedded/users/0/id"},
    "session_id": {"list_sessions": "$response.body#/_embedded/sessions/0/id"},
    "approval_id": {"list_approvals": "$response.body#/_embedded/approvals/0/id"},
    "digest": {
        "invite_node": "$response.body#/digest",
        "list_invitations": "$response.body#/_embedded/invitations/0/digest",
    },
}
"""Path parameter to operation (the name of its route) to where the answer has it (a runtime expression)."""

_REQUEST = "approval_id"
"""What every answer gives that tells of an action that waits for approval (202)."""
_APPROVAL = {"$ref": "#/components/schemas/Approval"}

_METHODS = ("get", "put", "post", "delete", "patch")
_PARAMETER = re.compile(r"\{([^{}:]+)(?::[^{}]*)?\}")


class _Operation(NamedTuple):
    name: str
    path: str
    method: str
    body: dict[str, Any]

    @property
    def parameters(self) -> list[str]:
        return _PARAMETER.findall(self.path)


def add(document: dict[str, Any]) -> dict[str, Any]:
    """Add the links to an OpenAPI document, in place, and return it.

    A parameter that both operations have in their paths is passed on as it was.
    """
    operations = {operation.name: operation for operation in _operations(document)}
    for target in operations.values():
        for parameter in target.parameters:
            for name, expression in SOURCES.get(parameter, {}).items():
                source = operations.get(name)
                if source is None or source.name == target.name:
                    continue
                _link(_successes(source)[0], source, target, parameter, expression)
        if _REQUEST in target.parameters:
            for source in operations.values():
                answer = source.body["responses"].get("202", {})
                if _APPROVAL in [content.get("schema") for content in answer.get("content", {}).values()]:
                    _link(answer, source, target, _REQUEST, _CREATED)
    return document


def _link(answer: dict[str, Any], source: _Operation, target: _Operation, parameter: str, expression: str) -> None:
    given = {parameter: expression}
    shared = [each for each in target.parameters if each in source.parameters and each != parameter]
    given |= {each: f"$request.path.{each}" for each in shared}
    answer.setdefault("links", {})[_title(target, parameter)] = {
        "operationId": target.body["operationId"],
        "parameters": given,
    }


def _title(target: _Operation, parameter: str) -> str:
    single = len(target.parameters) == 1
    return target.name if single else f"{target.name}-by-{parameter.removesuffix('_id')}"


def _successes(operation: _Operation) -> list[dict[str, Any]]:
    return [answer for status, answer in operation.body["responses"].items() if status.startswith("2")]


def _operations(document: Mapping[str, Any]) -> Iterator[_Operation]:
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                body = methods[method]
                # FastAPI's ids are the route's name, its path and its method.
                tail = re.sub(r"\W", "_", path) + "_" + method
                yield _Operation(body["operationId"].removesuffix(tail), path, method, body)
