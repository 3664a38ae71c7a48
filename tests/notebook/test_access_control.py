"""Who may do what, in a notebook: the widget, its text and HTML, ``%flaas whoami`` and ``%flaas can``."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from IPython.testing.globalipapp import start_ipython

from flaas_jupyter.errors import InvalidInput, NotAllowed, NotFound, Unreachable
from flaas_jupyter.notebook import magics
from flaas_jupyter.widgets import AccessControl


class FakeSession:
    """What a signed-in session answers with."""

    url = "https://api.example"

    def __init__(self) -> None:
        self.down = False
        self.hidden: set[str] = set()
        self.can = {"permitted": False, "because": []}
        self.asked: list[str] = []
        self.me = {
            "subject": "ana",
            "kind": "person",
            "organisation": "north",
            "session": "s1",
            "roles": [{"role": "developer", "scope": "project:credit"}, {"role": "viewer", "scope": "platform"}],
            "permissions": {"run:create": ["project:credit"], "run:read": ["platform"], "costs:read": ["project:x"]},
        }

    def get(self, path: str) -> dict[str, Any]:
        self.asked.append(path)
        if self.down:
            raise Unreachable("https://api.example does not answer.", hint="Try again.")
        if path == "/v1/projects/nope":
            raise NotFound("There is no project nope.", code="unknown-project")
        return self.can if path.startswith("/v1/can") else self.me if path == "/v1/me" else {}

    def list(self, path: str, key: str) -> list[dict[str, Any]]:
        if key in self.hidden:
            raise NotAllowed(f"{key} are not for you.")
        return {
            "roles": [{"name": "viewer", "description": "Sees"}, {"name": "developer", "description": "Trains"}],
            "permissions": [
                {
                    "operation": "read",
                    "object": "run",
                    "description": "Read runs",
                    "roles": [
                        {"role": "viewer", "path": ["viewer"]},
                        {"role": "developer", "path": ["developer", "viewer"]},
                    ],
                }
            ],
            "users": [
                user("ben", "project:credit"),
                user("zoe", "project:other"),
                user("<script>alert(1)</script>", "organisation:north"),
            ],
            "approvals": [
                approval("project:credit", "approve", "deny"),
                approval("project:other", "approve"),
                approval("platform", "withdraw"),
            ],
        }[key]


def user(name: str, scope: str) -> dict[str, Any]:
    return {
        "id": name, "kind": "person", "organisation": "north", "name": None, "email": None, "state": "active",
        "roles": [{"role": "viewer", "scope": scope}], "has_key": True,
    }  # fmt: skip


def approval(scope: str, *links: str) -> dict[str, Any]:
    return {
        "id": scope, "action": "model.release", "scope": scope, "requester": "carla", "expires": "2030-01-01T00:00:00Z",
        "factors": [{"role": "approver", "scope": scope, "needed": 1, "given": 3}, {"needed": 2, "given": 1}],
        "_links": {name: {"href": "/"} for name in links},
    }  # fmt: skip


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


@pytest.fixture
def widget(session) -> AccessControl:
    return AccessControl("credit", session=session)


def test_it_shows_what_concerns_the_project(widget):
    state = widget.state
    json.dumps(state, allow_nan=False)
    assert [member["id"] for member in state["members"]] == ["ben", "<script>alert(1)</script>"]
    assert state["me"]["permissions"] == ["run:create", "run:read"]
    assert state["me"]["roles"] == ["developer (project credit)", "viewer (whole platform)"]
    assert [entry["scope"] for entry in state["approvals"]] == ["project:credit", "platform"]
    assert state["approvals"][0]["given"] == 2, "a person too many for one factor is none for another"
    assert widget.waiting == 1
    assert state["permissions"][0]["roles"]["developer"] == ["developer", "viewer"]


def test_without_a_project_it_shows_everything(session):
    widget = AccessControl(session=session)
    assert len(widget.state["members"]) == 3
    assert len(widget.state["approvals"]) == 3


def test_a_project_that_is_not_there_is_said_at_once(session):
    with pytest.raises(NotFound):
        AccessControl("nope", session=session)


def test_without_a_page_it_is_text_or_a_table_with_everything_escaped(widget):
    data, _ = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    text, markup = data["text/plain"], data["text/html"]
    assert "ana of north" in text
    assert "members: 2" in text
    assert "requests that wait: 2, 1 of them for you" in text
    assert "<td>ben</td>" in markup
    assert "<script>" not in markup
    assert "&lt;script&gt;" in markup


def test_what_is_hidden_says_why_and_the_rest_is_there(session):
    session.hidden = {"users", "approvals"}
    widget = AccessControl("credit", session=session)
    assert widget.state["hidden"] == {"members": "users are not for you.", "approvals": "approvals are not for you."}
    assert widget.state["permissions"]
    assert "members: hidden" in repr(widget)


def test_the_page_can_only_have_it_refreshed(widget, session):
    before = widget.state
    for garbage in ({}, {"do": "give"}, {"do": ["refresh"]}, {"do": "close"}):
        widget._clicked(widget, garbage, None)
    assert widget.state is before
    session.me = {**session.me, "roles": []}
    widget._clicked(widget, {"do": "refresh"}, None)
    assert widget.state["me"]["roles"] == []


def test_when_the_api_is_down_what_was_there_stays(widget, session):
    session.down = True
    widget._clicked(widget, {"do": "refresh"}, None)
    assert "does not answer" in widget.state["error"]["message"]
    assert len(widget.state["members"]) == 2
    session.down = False
    widget._clicked(widget, {"do": "refresh"}, None)
    assert widget.state["error"] is None


# ---- %flaas ---------------------------------------------------------------------------------------------------


@pytest.fixture
def flaas(session, monkeypatch):
    monkeypatch.setattr(magics, "connect", lambda: session)
    return magics.FlaasMagics(start_ipython()).flaas


def test_whoami(flaas, capsys):
    flaas("whoami")
    said = capsys.readouterr().out
    assert "ana (person) of north at https://api.example" in said
    assert "developer (project credit), viewer (whole platform)" in said
    assert "Session: s1" in said


def test_can_says_why(flaas, session, capsys):
    session.can = {
        "permitted": True,
        "because": [{"role": "org-admin", "scope": "organisation:north", "path": ["org-admin", "operator"]}],
    }
    flaas("can run:pause project/credit")
    assert capsys.readouterr().out.splitlines() == [
        "Yes: you may run:pause on project/credit.",
        "  because you are org-admin (organisation north): org-admin -> operator -> run:pause",
    ]
    asked = urlsplit(session.asked[-1])
    assert parse_qs(asked.query) == {"operation": ["run:pause"], "resource": ["project/credit"]}


def test_can_says_no(flaas, capsys):
    flaas("can role:manage")
    assert capsys.readouterr().out == "No: none of your roles permits role:manage.\n"


@pytest.mark.parametrize("line", ["can", "can nonsense"])
def test_can_asks_for_an_operation(flaas, line):
    with pytest.raises(InvalidInput) as caught:
        flaas(line)
    assert "run:create" in caught.value.hint
