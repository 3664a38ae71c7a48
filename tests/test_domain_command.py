"""`flaas domain approve`: what is shown is what is signed, and nothing else."""

from __future__ import annotations

import pytest

from flaas_jupyter.communications.directory import Membership
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.domain_command import approve
from flaas_jupyter.errors import InvalidInput, NotAllowed, NotFound


class Api:
    """A launch that goes on with every look, and what was handed in."""

    def __init__(self, *looks: dict[str, str], project: str = "credit") -> None:
        self.looks = list(looks)
        self.project = project
        self.posted: list[tuple[str, dict]] = []

    def __call__(self, method, path, body=None):
        if method == "post":
            self.posted.append((path, body))
            return body
        assert path == "/v1/launches/l1"
        states = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        nodes = [
            {"name": name, "state": state, "node_id": Identity(name.encode().ljust(32, b".")).node_id}
            for name, state in states.items()
        ]
        ended = all(state == "ended" for state in states.values())
        return {
            "project": self.project,
            "organisation": "lab",
            "state": "ended" if ended else "joining",
            "nodes": nodes,
        }


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "credit.key"
    return path, Identity.load_or_create(path).node_id


def test_only_nodes_that_wait_are_shown_and_signed_for(key):
    path, public = key
    api, shown = Api({"north": "registered", "south": "booting", "west": "joined"}), []
    assert approve(api, path, "credit", "l1", agreed=lambda text: shown.append(text) or True) == ["north"]
    ((where, document),) = api.posted
    assert where == "/v1/projects/credit/memberships"
    member = Membership.parse(document, public)
    assert (member.organisation, member.roles) == ("lab", ("node",))
    assert member.node_id in shown[0]
    assert "north" in shown[0]
    assert "south" not in shown[0]


def test_what_other_holders_must_still_sign_is_told(key, monkeypatch):
    path, _ = key
    api, told = Api({"north": "registered"}), []
    waits = {"id": "4f1c" * 16, "missing": 1}
    monkeypatch.setattr("flaas_jupyter.domain_command.hand_in", lambda call, project, kind, document: waits)
    approve(api, path, "credit", "l1", agreed=lambda text: True, handed_in=lambda *each: told.append(each))
    ((document, waiting),) = told
    assert document["body"]["node_id"] == Identity(b"north".ljust(32, b".")).node_id
    assert waiting == waits


def test_a_key_that_was_taken_out_before_is_not_signed_for_again_and_nothing_else_with_it(key):
    api = Api({"north": "registered", "south": "registered"})
    south = Identity(b"south".ljust(32, b".")).node_id
    with pytest.raises(NotAllowed, match=south) as caught:
        approve(api, key[0], "credit", "l1", agreed=lambda text: True, is_revoked=lambda node_id: node_id == south)
    assert caught.value.code == "membership-revoked"
    assert api.posted == []


def test_who_does_not_agree_signs_nothing(key):
    api = Api({"north": "registered"})
    assert approve(api, key[0], "credit", "l1", agreed=lambda text: False) == []
    assert api.posted == []


def test_watching_goes_on_until_all_are_signed_for_and_asks_once_for_each(key):
    api = Api(
        {"north": "registered", "south": "booting"},
        {"north": "registered", "south": "booting"},
        {"north": "joined", "south": "registered"},
    )
    asked = []
    signed = approve(api, key[0], "credit", "l1", agreed=lambda text: asked.append(text) or True, watch=True, poll=0.0)
    assert signed == ["north", "south"]
    assert len(asked) == 2


def test_watching_ends_with_the_launch(key):
    api = Api({"north": "booting"}, {"north": "ended"})
    assert approve(api, key[0], "credit", "l1", agreed=lambda text: True, watch=True, poll=0.0) == []


def test_what_is_shown_is_a_line_a_node(key):
    """The API makes up a name that would hide another node's line."""
    api, shown = Api({"north\n\x1b[2Jsouth\u202e": "registered"}), []
    approve(api, key[0], "credit", "l1", agreed=lambda text: shown.append(text) or True)
    assert r"north\u000a\u001b[2Jsouth\u202e" in shown[0]
    assert "\n" not in shown[0]


def test_a_launch_of_another_project_is_refused(key):
    with pytest.raises(InvalidInput) as caught:
        approve(Api({"north": "registered"}, project="other"), key[0], "credit", "l1", agreed=lambda text: True)
    assert caught.value.code == "wrong-project"


def test_without_the_key_nothing_can_be_signed(tmp_path):
    with pytest.raises(NotFound) as caught:
        approve(Api({"north": "registered"}), tmp_path / "no.key", "credit", "l1", agreed=lambda text: True)
    assert caught.value.code == "no-domain-key"
