"""The whole published interface under schemathesis: who calls what, what counts as a finding, and how much is tried.

The document is held to its word: its ``default`` answer, which would excuse every status, is taken out before.
"""

from __future__ import annotations

import base64
import copy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema

from flaas_jupyter.communications.identity import request_token
from flaas_jupyter.coordination import openapi_links, openapi_problems
from flaas_jupyter.governance.permissions import NODE, permits

from .hosted_api import Api, Federation, Node

Json = dict[str, Any]
Sign = Callable[[str, str, str], str]

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ignored_auth",
    "unsupported_method",
    "allow_header_conformance",
)
"""Whether a body is accepted depends on what there is, which the document cannot say: those checks are left out."""

_CALLERS = ("org-admin", "developer", "operator", "cost-manager", "governance-admin", "approver", "auditor", "viewer")
_ROLES_ON_THE_PLATFORM = ("org-admin", "governance-admin", "auditor")


@dataclass
class Outcome:
    """What was tried, and what was found."""

    cases: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    findings: dict[tuple[str, str, int], str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def report(self) -> str:
        """Return the findings, one a line."""
        lines = [
            f"{check}: {where} answered {status}: {told}" for (check, where, status), told in self.findings.items()
        ]
        return "\n".join([*lines, *self.errors])


def document_of(api: Api) -> Json:
    """Return the description of the interface, with links and refusals, and nothing that excuses the rest."""
    document = copy.deepcopy(api.app.openapi())
    openapi_problems.add(openapi_links.add(document))
    for operation in operations(document):
        operation["responses"].pop("default", None)
    return document


def operations(document: Json) -> Iterator[Json]:
    """Yield what the document says of each operation."""
    for methods in document["paths"].values():
        yield from (body for method, body in methods.items() if method in ("get", "put", "post", "patch", "delete"))


def callers(federation: Federation, node: Node) -> Sign:
    """Return who signs for an operation: somebody who may do it, the node itself for what only nodes may."""

    def sign(operation: str, method: str, url: str) -> str:
        if operation and not any(permits(role, operation) for role in _CALLERS) and permits(NODE, operation):
            return f"FlaasNode {request_token(node.identity, method, url)}"
        role = next((role for role in _CALLERS if not operation or permits(role, operation)), "org-admin")
        where = "platform" if role in _ROLES_ON_THE_PLATFORM else "laboratory"
        federation.person(role, where)
        return f"Bearer {federation.people[role, where]}"

    return sign


def run(
    api: Api, document: Json, sign: Sign, *, phases: tuple[str, ...], examples: int, seconds: int, seed: int = 1
) -> Outcome:
    """Send what schemathesis makes of the document, and return what came of it.

    Parameters
    ----------
    api : Api
        A running API.
    document : dict
        See `document_of`.
    sign : callable
        Operation of the permissions table, method and URL to the ``Authorization`` header.
    phases : tuple of str
        Of ``"coverage"``, ``"fuzzing"`` and ``"stateful"``.
    examples : int
        Cases an operation, or sequences of the state machine.
    seconds : int
        After which it ends in any case.
    """
    schema = schemathesis.openapi.from_dict(document, config=_config(api, phases, examples, seconds, seed))

    @schema.auth()
    class Signed:
        def get(self, case: Any, context: Any) -> str:
            return "signed for each request"

        def set(self, case: Any, data: str, context: Any) -> None:
            operation = context.operation.definition.raw.get("x-flaas-operation", "")
            url = requests.Request(case.method, api.url + case.formatted_path).prepare().url or ""
            split = urlsplit(url)
            target = f"{split.scheme}://{split.netloc}{split.path}"
            case.headers = {**(case.headers or {}), "Authorization": sign(operation, case.method.upper(), target)}

    outcome = Outcome()
    for event in from_schema(schema).execute():
        if isinstance(event, events.NonFatalError):
            outcome.errors.append(f"{event.label}: {event.value!r}"[:500])
        elif isinstance(event, events.FatalError):
            raise event.exception
        elif isinstance(event, events.ScenarioFinished):
            _note(outcome, event)
    return outcome


def _config(api: Api, phases: tuple[str, ...], examples: int, seconds: int, seed: int) -> SchemathesisConfig:
    known = ("examples", "coverage", "fuzzing", "stateful")
    return SchemathesisConfig.from_dict(
        {
            "base-url": api.url,
            "seed": seed,
            "max-time": seconds,
            "continue-on-failure": True,
            "max-stream-events": 1,
            "request-timeout": 20,
            "suppress-health-check": ["all"],
            "generation": {"max-examples": examples, "no-shrink": True, "database": "none"},
            "phases": {name: {"enabled": name in phases} for name in known},
            "checks": {"enabled": False, **{name: {"enabled": True} for name in CHECKS}},
        }
    )


def _note(outcome: Outcome, event: events.ScenarioFinished) -> None:
    recorder = event.recorder
    for case_id, interaction in recorder.interactions.items():
        outcome.cases[event.phase.value] += 1
        if interaction.response is None:
            outcome.errors.append(f"{interaction.request.method} {interaction.request.uri[:200]}: no answer")
        else:
            outcome.statuses[interaction.response.status_code] += 1
        if case_id in recorder.cases:
            outcome.operations[recorder.cases[case_id].value.operation.label] += 1
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.failure_info is not None:
                interaction = recorder.interactions[case_id]
                status = interaction.response.status_code if interaction.response else 0
                failure = check.failure_info.failure
                body = base64.b64decode(interaction.request.encoded_body or "")[:200]
                told = (
                    f"{failure.message[:300]} | {interaction.request.method} {interaction.request.uri[:300]} {body!r}"
                )
                outcome.findings.setdefault((check.name, failure.operation or "", status), told.replace("\n", " "))
