"""`flaas approvals` and `flaas governance`: what is shown is what is signed; the key stays here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import click
import pytest
from click.testing import CliRunner, Result
from governance.approvals.served import Served, serving
from governance.approvals.world import PROJECT, World, clean, marking, prepare

from flaas_jupyter import approvals_command
from flaas_jupyter.approvals_command import changes, printable, signed_decision
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.errors import Conflict
from flaas_jupyter.governance.approvals.documents import check, digest, write


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Iterator[Database]:
    opened = prepare(f"sqlite:///{tmp_path_factory.mktemp('approvals') / 'approvals.db'}")
    yield opened
    opened.close()


@pytest.fixture
def api(database) -> Iterator[Served]:
    clean(database)
    with marking():
        world = World(database, now=datetime.now(UTC))
        world.found()
        with serving(world) as served:
            yield served


@pytest.fixture
def run(api, tmp_path, monkeypatch) -> Callable[..., Result]:
    """Run a command as somebody, at that person's own machine."""
    monkeypatch.setenv("FLAAS_URL", api.url)
    main = click.Group(
        commands={
            "approvals": approvals_command.group(),
            "governance": approvals_command.governance_group(),
        }
    )

    def command(who: str, *arguments: str, answer: str | None = None) -> Result:
        home = tmp_path / who
        if not home.exists():
            home.mkdir(mode=0o700)
            key = home / "approval.key"
            key.write_bytes(api.world.people.humans[who].key.seed)
            key.chmod(0o600)
        monkeypatch.setenv("FLAAS_HOME", str(home))
        monkeypatch.setenv("FLAAS_TOKEN", who)
        return CliRunner().invoke(main, list(arguments), input=answer)

    return command


def test_two_approve_and_the_body_is_shown_before(api, run):
    request = api.world.ask(body={"model": "m1", "note": "for \u202eevil\u202c clinics"})
    listed = run("ann", "approvals", "list")
    assert listed.exit_code == 0, listed.output
    assert request in listed.stdout
    assert "approve, deny" in listed.stdout
    first = run("ann", "approvals", "approve", request, answer="y\n")
    assert first.exit_code == 0, first.output
    assert '"model": "m1"' in first.stderr
    assert "\\u202eevil" in first.stderr
    assert "dora of north" in first.stderr
    assert "Missing: 1 of 1 with the role data-owner" in first.stdout
    second = run("owen", "approvals", "approve", request, "--yes", "--json")
    assert second.exit_code == 0, second.output
    assert json.loads(second.stdout)["state"] == "executed"
    assert len(api.world.marks) == 1


def test_who_does_not_agree_signs_nothing(api, run):
    request = api.world.ask()
    assert run("ann", "approvals", "approve", request, answer="n\n").exit_code == 1
    assert api.get("ann", f"/v1/approvals/{request}")["decisions"] == []


def test_deny_and_withdraw(api, run):
    request = api.world.ask()
    assert "denied" in run("bob", "approvals", "deny", request, "--yes").stdout
    request = api.world.ask()
    assert "withdrawn" in run("dora", "approvals", "withdraw", request).stdout
    refused = run("ann", "approvals", "approve", request, "--yes")
    assert refused.exit_code == 1
    assert "approval-closed" in refused.stderr


def test_show_tells_all(api, run):
    request = api.world.ask()
    run("ann", "approvals", "approve", request, "--yes")
    text = run("dora", "approvals", "show", request).stdout
    for part in (request, "model.release", PROJECT, "1 of 1 approver", "by ann", "0 of 1 data-owner", '"model": "m1"'):
        assert part in text
    assert json.loads(run("dora", "approvals", "show", request, "--json").stdout)["id"] == request


@pytest.mark.parametrize("request_id", ["", "../policy", "x?y", "A" * 10, "x" * 65])
def test_garbage_is_no_id(run, request_id):
    result = run("ann", "approvals", "show", request_id)
    assert result.exit_code == 1
    assert "bad-approval-id" in result.stderr


def test_without_a_token_one_is_told_how_to_get_one(run, monkeypatch):
    run("ann", "approvals", "list")
    monkeypatch.delenv("FLAAS_TOKEN")
    main = approvals_command.group()
    result = CliRunner().invoke(main, ["list"])
    assert result.exit_code == 1
    assert "flaas login" in result.stderr


# ---- what is signed -------------------------------------------------------------------------------------------------

KEY = Identity(b"k" * 32)


def approval(document: str, **changes):
    return {"id": "r1", "body": document, "sha256": digest(document), **changes}


def test_the_digest_is_taken_here():
    document, sha256 = write("model.release", PROJECT, "dora", {"model": "m1"})
    signed = signed_decision(KEY, approval(document), "approve", 1_790_000_000)
    check(KEY.node_id, "r1", sha256, "approve", 1_790_000_000, signed["signature"])
    with pytest.raises(Conflict):
        signed_decision(KEY, approval(document.replace("m1", "m2"), sha256=sha256), "approve", 1)
    with pytest.raises(Conflict):
        signed_decision(KEY, approval(document, sha256="ü"), "approve", 1)


@pytest.mark.parametrize(
    "text", ['{"a":1,"a":2}', '{"a": 1}', '{"b":1,"a":1}', "[1]", "", "nonsense", '{"a":NaN}', '{"a":"\\u0041"}']
)
def test_a_text_that_can_be_read_in_several_ways_is_not_signed(text):
    with pytest.raises(Conflict):
        signed_decision(KEY, approval(text), "approve", 1)


def test_a_terminal_shows_what_is_there():
    assert printable("a\x1b[2Kb\u202ec\n") == "a\\u001b[2Kb\\u202ec\n"


def test_who_has_the_domain_key_is_told_to_sign_for_a_node_that_was_added():
    node = {"id": KEY.node_id, "name": "fresh", "projects": ["credit", "audit"]}
    document, sha256 = write("node.add", PROJECT, "oscar", {"organisation": "north", "node": node})
    added = {"action": "node.add", "body": document, "sha256": sha256}
    told = approvals_command.to_be_signed({**added, "state": "executed"})
    assert told[-2:] == [
        f"  flaas domain sign {project} {KEY.node_id} --organisation north" for project in ("credit", "audit")
    ]
    assert approvals_command.to_be_signed({**added, "state": "pending"}) == []
    invited, sha256 = write("node.add", PROJECT, "oscar", {"organisation": "north", "invite": {"name": "fresh"}})
    by_invitation = {"action": "node.add", "state": "executed", "body": invited, "sha256": sha256}
    assert approvals_command.to_be_signed(by_invitation) == []
    with pytest.raises(Conflict):
        approvals_command.to_be_signed({**added, "state": "executed", "sha256": "0" * 64})


# ---- the policy -----------------------------------------------------------------------------------------------------


def test_the_policy_is_shown_and_changed(api, run, tmp_path):
    shown = run("gwen", "governance", "policy")
    assert "2 approver (platform)" in shown.stdout
    policy = json.loads(run("gwen", "governance", "policy", "--json").stdout)
    policy["actions"]["key.rotate"]["ttl"] = 600
    del policy["actions"]["node.add"]
    file = tmp_path / "policy.json"
    file.write_text(json.dumps(policy))
    asked = run("gwen", "governance", "policy", "--set", str(file), answer="y\n")
    assert asked.exit_code == 0, asked.output
    assert "node.add: 1 approver (action); 604800 s, cooling 0 s -> nobody" in asked.stderr
    assert "pending" in asked.stdout
    (request,) = (each["id"] for each in api.get("pam", "/v1/approvals")["_embedded"]["approvals"])
    run("pam", "approvals", "approve", request, "--yes")
    run("pit", "approvals", "approve", request, "--yes")
    assert api.get("pam", f"/v1/approvals/{request}")["state"] == "executed"


@pytest.mark.parametrize(
    "text", ["", "[]", '{"actions": []}', '{"actions": {"a": 1}}', '{"actions": {"a": {"factors": [{}]}}}']
)
def test_garbage_is_no_policy(run, tmp_path, text):
    file = tmp_path / "policy.json"
    file.write_text(text)
    result = run("gwen", "governance", "policy", "--set", str(file), "--yes")
    assert result.exit_code == 1
    assert "bad-policy" in result.stderr


def test_changes_are_told_in_words():
    rule = {"factors": [{"role": "approver", "scope": "action", "number": 1}], "ttl": 600, "cooling": 0}
    assert changes({"a": rule, "b": rule}, {"a": rule, "c": rule}) == [
        "b: 1 approver (action); 600 s, cooling 0 s -> nobody",
        "c: nobody -> 1 approver (action); 600 s, cooling 0 s",
    ]


def test_founding_is_closed_after_a_question(api, run):
    api.world.tamper("DELETE FROM approval_founding")
    assert "being founded" in run("gwen", "governance", "policy").stdout
    assert run("gwen", "governance", "close-founding", answer="n\n").exit_code == 1
    assert api.get("gwen", "/v1/policy")["founding"] is True
    assert run("gwen", "governance", "close-founding", answer="y\n").exit_code == 0
    assert api.get("gwen", "/v1/policy")["founding"] is False
    assert "founding-closed" in run("gwen", "governance", "close-founding", "--yes").stderr


def test_an_emergency_is_asked_for_and_shown(api, run):
    asked = run("dora", "governance", "emergency", "model.release", "--scope", PROJECT, "--reason", "harm", "--json")
    assert asked.exit_code == 0, asked.output
    request = json.loads(asked.stdout)["id"]
    run("ann", "approvals", "approve", request, "--yes")
    run("pam", "approvals", "approve", request, "--yes")
    assert "EMERGENCY: model.release is open to dora" in run("bob", "governance", "policy").stdout
