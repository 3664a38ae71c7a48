"""`flaas domain` against a real API: holders on machines of their own, and nodes that believe what they sign."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from flaas_jupyter.cli import main
from flaas_jupyter.communications.directory import Directory
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.rotation import sign_rotation
from flaas_jupyter.errors import NotAllowed

NODE = Identity(b"x" * 32)
HIGHEST = (1 << 53) - 1


class Machine:
    """A holder's machine: a FLAAS_HOME, signed in as the administrator."""

    def __init__(self, federation: Any, home: Path) -> None:
        self.federation, self.home = federation, home
        token = next(iter(federation.admin._sign("GET", "").values())).removeprefix("Bearer ")
        self.environment = {"FLAAS_HOME": str(home), "FLAAS_URL": federation.api.url, "FLAAS_TOKEN": token}

    def __call__(self, *words: str, answer: str | None = None) -> str:
        """Run a command that must succeed; return what it prints."""
        result = CliRunner().invoke(main, list(words), env=self.environment, input=answer)
        assert result.exit_code == 0, (words, result.output, result.exception)
        return result.output

    def told(self, *words: str) -> dict[str, Any]:
        """Run a command with ``--json``; return what it says there."""
        result = CliRunner().invoke(main, [*words, "--json"], env=self.environment)
        assert result.exit_code == 0, (words, result.output, result.exception)
        said: dict[str, Any] = json.loads(result.stdout)
        return said

    def refused(self, *words: str, answer: str | None = None) -> str:
        result = CliRunner().invoke(main, list(words), env=self.environment, input=answer)
        assert result.exit_code == 1, (words, result.output)
        return result.output

    def key(self, *words: str) -> dict[str, Any]:
        return json.loads(self("domain", "init", "shared", "--json", *words))


@pytest.fixture
def machines(federation, tmp_path):
    return [Machine(federation, tmp_path / name) for name in ("ana", "ben", "chi")]


@pytest.fixture
def holders(federation, machines):
    """Three machines whose holders have told each other their keys, and the project; returns its domain key."""
    keys = ",".join(machine.key()["own_key"] for machine in machines)
    pinned = {machine.key("--holders", keys, "--threshold", "2")["domain_key"] for machine in machines}
    assert len(pinned) == 1
    (domain_key,) = pinned
    federation.admin.post("/v1/projects", federation.project_body(id="shared", domain_key=domain_key))
    return domain_key


@pytest.fixture
def single(federation, machines):
    """One machine that holds the key of ``shared`` alone."""
    domain_key = machines[0].key()["domain_key"]
    federation.admin.post("/v1/projects", federation.project_body(id="shared", domain_key=domain_key))
    return machines[0], domain_key


def state(federation, domain_key: str, node_id: str = NODE.node_id) -> str:
    """Return what a node that has pinned `domain_key` makes of the API's directory."""
    directory = Directory("shared", domain_key)
    directory.update(federation.admin.get("/v1/projects/shared/directory"))
    try:
        return ", ".join(directory.peer(node_id).roles)
    except NotAllowed as error:
        return error.code


def sign(machine: Machine, *more: str, node_id: str = NODE.node_id) -> str:
    return machine("domain", "sign", "shared", node_id, "--organisation", "north", *more)


def test_a_key_is_signed_for_revoked_and_signed_for_again(federation, single):
    machine, domain_key = single
    assert "is a member" in sign(machine)
    assert state(federation, domain_key) == "node"
    assert "is revoked" in machine("domain", "revoke", "shared", NODE.node_id, "--reason", "lost")
    assert state(federation, domain_key) == "membership-revoked"
    assert "lost" in machine("domain", "members", "shared")
    sign(machine, "--role", "developer")
    assert state(federation, domain_key) == "developer"
    (row,) = json.loads(machine("domain", "members", "shared", "--json"))
    assert (row["node_id"], row["roles"], row["revoked"]) == (NODE.node_id, ["developer"], None)


def test_a_key_that_nobody_knows_is_revoked_and_pointed_out(federation, single):
    """Perhaps a node that is not to come; perhaps one digit of the key that is meant is wrong."""
    machine, domain_key = single
    sign(machine)
    mistyped = NODE.node_id[:-1] + ("0" if NODE.node_id[-1] != "0" else "1")
    told = machine("domain", "revoke", "shared", mistyped)
    assert "is revoked" in told
    assert "was never a member" in told
    assert "flaas domain members shared" in told
    assert state(federation, domain_key) == "node"
    told = machine("domain", "revoke", "shared", NODE.node_id)
    assert f"{NODE.node_id} of north is revoked" in told
    assert "never" not in told


@pytest.mark.parametrize("days", ["0", "-5"])
def test_a_membership_is_in_force_for_a_day_at_least(federation, single, days):
    machine, domain_key = single
    sign(machine)
    words = ["domain", "sign", "shared", NODE.node_id, "--organisation", "north", "--days", days]
    result = CliRunner().invoke(main, words, env=machine.environment)
    assert result.exit_code == 2
    assert "x>=1" in result.output
    assert state(federation, domain_key) == "node", "and it does not put the node out"


def test_a_script_is_told_whether_what_was_signed_is_in_force(federation, machines, holders):
    ana, ben, _ = machines
    told = ana.told("domain", "sign", "shared", NODE.node_id, "--organisation", "north")
    assert (told["node_id"], told["in_force"], told["missing"]) == (NODE.node_id, False, 1)
    assert ben.told("domain", "cosign", "shared", told["pending"], "--yes")["in_force"] is True
    told = ana.told("domain", "revoke", "shared", NODE.node_id)
    assert (told["in_force"], told["missing"]) == (False, 1)
    assert ana.told("domain", "network", "shared", "--direct", "prefer")["in_force"] is False


def test_a_clock_that_is_behind_does_not_make_a_revocation_worthless(federation, single, monkeypatch):
    machine, domain_key = single
    sign(machine)
    monkeypatch.setattr("flaas_jupyter.governance.domain.time.time", lambda: 1_700_000_000.0)
    machine("domain", "revoke", "shared", NODE.node_id)
    assert state(federation, domain_key) == "membership-revoked"


def test_the_highest_serial_can_be_revoked(federation, single, monkeypatch):
    machine, domain_key = single
    with monkeypatch.context() as ahead:
        ahead.setattr("flaas_jupyter.governance.domain._serial", lambda now: HIGHEST)
        sign(machine)
    assert state(federation, domain_key) == "node"
    machine("domain", "revoke", "shared", NODE.node_id)
    assert state(federation, domain_key) == "membership-revoked"


def test_a_serial_after_which_there_is_none_is_not_cosigned(federation, machines, holders, monkeypatch):
    ana, ben, _ = machines
    with monkeypatch.context() as ahead:
        ahead.setattr("flaas_jupyter.governance.domain._serial", lambda now: HIGHEST)
        sign(ana)
    (row,) = json.loads(ben("domain", "pending", "shared", "--json"))
    told = ben.refused("domain", "cosign", "shared", row["id"], "--yes")
    assert "serial-ahead" in told
    assert str(HIGHEST) in told
    assert state(federation, holders) == "unknown-peer"


def test_who_has_signed_is_shown_in_one_line(federation, machines, holders, monkeypatch):
    from flaas_jupyter import domain_command

    sign(machines[0])
    honest = domain_command._pending
    monkeypatch.setattr(
        domain_command,
        "_pending",
        lambda project: [{**row, "created_by": "ana\n\x1b[2Aben"} for row in honest(project)],
    )
    shown = machines[1]("domain", "pending", "shared")
    assert r"ana\u000a\u001b[2Aben" in shown
    assert "\x1b" not in shown


def test_two_of_three_sign(federation, machines, holders):
    ana, ben, chi = machines
    told = sign(ana)
    assert "1 more must sign it" in told
    assert state(federation, holders) == "unknown-peer"
    (row,) = json.loads(chi("domain", "pending", "shared", "--json"))
    assert f"cosign shared {row['id'][:12]}" in told
    assert f"cosign shared {row['id'][:12]}" in chi("approvals", "list"), "it is in the inbox of who can sign it"
    assert "cosign" not in ana("approvals", "list"), "and not of who has"
    shown = chi("domain", "cosign", "shared", row["id"][:12], answer="y\n")
    assert NODE.node_id in shown
    assert "north as node" in shown
    assert state(federation, holders) == "node"
    assert "Nothing waits" in ben("domain", "pending", "shared")
    ben("domain", "revoke", "shared", NODE.node_id)
    assert state(federation, holders) == "node", "one holder alone revokes nobody"
    (row,) = json.loads(ana("domain", "pending", "shared", "--json"))
    ana("domain", "cosign", "shared", row["id"], "--yes")
    assert state(federation, holders) == "membership-revoked"


def test_who_does_not_agree_does_not_sign(federation, machines, holders):
    sign(machines[0])
    (row,) = json.loads(machines[1]("domain", "pending", "shared", "--json"))
    assert "Aborted" in machines[1].refused("domain", "cosign", "shared", row["id"], answer="n\n")
    assert row["missing"] == json.loads(machines[1]("domain", "pending", "shared", "--json"))[0]["missing"] == 1
    assert "signed-already" in machines[0].refused("domain", "cosign", "shared", row["id"], "--yes")
    machines[1]("domain", "withdraw", "shared", row["id"][:12])
    assert "unknown-pending" in machines[1].refused("domain", "cosign", "shared", row["id"], "--yes")


def test_what_the_api_has_altered_is_not_shown_for_signing(federation, machines, holders, monkeypatch):
    """It says that a key is a developer's; the signature of the first holder is over something else."""
    from flaas_jupyter import domain_command

    sign(machines[0])
    honest = domain_command._pending

    def altered(project: str) -> list[dict[str, Any]]:
        rows = honest(project)
        rows[0]["document"]["body"]["roles"] = ["developer"]
        return rows

    monkeypatch.setattr(domain_command, "_pending", altered)
    (listed,) = federation.admin.embedded("/v1/projects/shared/pending", "pending")
    told = machines[1].refused("domain", "cosign", "shared", listed["id"], "--yes")
    assert "bad-signature" in told
    assert "developer" not in told


def test_holders_are_kept_and_are_among_themselves(machines):
    ana, ben, chi = machines
    keys = [machine.key()["own_key"] for machine in machines]
    ana.key("--holders", ",".join(keys), "--threshold", "2")
    assert "holders-exist" in ana.refused("domain", "init", "shared", "--holders", ",".join(keys), "--threshold", "3")
    others = ",".join([keys[0], keys[1]])
    assert "not-a-holder" in chi.refused("domain", "init", "shared", "--holders", others, "--threshold", "2")
    assert ben.key()["domain_key"] == keys[1], "alone until it is told of the others"


def test_the_new_key_of_a_node_is_signed_for_and_the_old_one_ends(federation, single):
    machine, domain_key = single
    node = federation.node("north")
    node.register(projects=["credit", "shared"])
    sign(machine, node_id=node.id)
    new = Identity(b"N" * 32)
    assert "no-rotation" in machine.refused("domain", "renew", "shared", node.id, "--yes")
    node.api.post(f"{node.path}/rotation", sign_rotation(node.identity, new, 1_790_000_000))
    shown = machine("domain", "renew", "shared", node.id, answer="y\n")
    assert new.node_id in shown
    assert [state(federation, domain_key, key) for key in (node.id, new.node_id)] == ["node", "node"]
    directory = Directory("shared", domain_key)
    directory.update(federation.admin.get("/v1/projects/shared/directory"))
    old, renewed = (directory.statements.membership(key) for key in (node.id, new.node_id))
    assert old.not_after - old.not_before == 86_400
    assert renewed.not_after - renewed.not_before > 300 * 86_400
    assert (renewed.organisation, renewed.roles) == (old.organisation, old.roles)


def test_a_key_that_was_revoked_here_is_not_renewed_when_the_api_has_forgotten(federation, single, monkeypatch):
    """The API shows what it listed before the revocation: this machine knows what it has signed."""
    from flaas_jupyter import domain_command

    machine, domain_key = single
    node, new = federation.node("north"), Identity(b"N" * 32)
    node.register(projects=["credit", "shared"])
    sign(machine, node_id=node.id)
    node.api.post(f"{node.path}/rotation", sign_rotation(node.identity, new, 1_790_000_000))
    before = federation.admin.get("/v1/projects/shared/directory")
    machine("domain", "revoke", "shared", node.id, "--reason", "stolen")
    monkeypatch.setattr(domain_command, "_listing", lambda project: before)
    assert "membership-revoked" in machine.refused("domain", "renew", "shared", node.id, "--yes")
    assert "stolen" in machine("domain", "members", "shared")
    assert state(federation, domain_key, node.id) == "membership-revoked"
    assert state(federation, domain_key, new.node_id) == "unknown-peer"


def test_a_node_does_not_come_back_under_a_key_that_was_revoked(federation, single):
    machine, domain_key = single
    node, new = federation.node("north"), Identity(b"N" * 32)
    node.register(projects=["credit", "shared"])
    sign(machine, node_id=node.id)
    machine("domain", "revoke", "shared", new.node_id)
    node.api.post(f"{node.path}/rotation", sign_rotation(node.identity, new, 1_790_000_000))
    assert "membership-revoked" in machine.refused("domain", "renew", "shared", node.id, "--yes")
    assert state(federation, domain_key, new.node_id) == "membership-revoked"


def test_a_rotation_that_the_node_has_not_signed_is_not_signed_for(federation, single, monkeypatch):
    """The API shows a statement that it has made itself: its own new key, and the node's old one."""
    from flaas_jupyter import domain_command

    machine, domain_key = single
    sign(machine)
    api, new = Identity(b"A" * 32), Identity(b"N" * 32)
    forged = sign_rotation(api, new, 1_790_000_000)
    forged["body"]["old"] = NODE.node_id
    call = domain_command._call
    monkeypatch.setattr(
        domain_command,
        "_call",
        lambda method, path, *body: {"statement": forged} if "rotation" in path else call(method, path, *body),
    )
    assert "bad-signature" in machine.refused("domain", "renew", "shared", NODE.node_id, "--yes")
    assert state(federation, domain_key, new.node_id) == "unknown-peer"
