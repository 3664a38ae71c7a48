"""A federation from its first invitation to a released model: real processes, real people, nobody alone in control.

Each person has a machine of its own, with its own sign-in and approval key, and only the roles that it was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from flaas_jupyter import connect, kept_sign_in
from flaas_jupyter.demo.local import LocalNode
from flaas_jupyter.errors import NotAllowed
from flaas_jupyter.home import Home

from .conftest import QUICK, Tables, linear_model
from .people import PASSWORD, GovernedFederation, Person, public_key

PROJECT = "credit"
SIZES = {"north": 40, "south": 25, "west": 90}
OPERATORS = {"north": "oscar", "south": "sam", "west": "wes"}
PLATFORM = {"olga": "org-admin", "pam": "approver", "pit": "approver", "audrey": "auditor"}


@dataclass
class Installation:
    """The federation, and who was invited so far."""

    federation: GovernedFederation
    data: Tables
    people: dict[str, Person] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    requests: dict[str, str] = field(default_factory=dict)

    def invite(self, name: str, organisation: str, *roles: str) -> None:
        """Have the first administrator invite somebody, who accepts."""
        self.people[name] = self.federation.person(name)
        for request in self.people["administrator"].invites(self.people[name], organisation, *roles):
            self.requests[name] = request


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An API on an empty data base."""
    folder = tmp_path_factory.mktemp("governed")
    federation = GovernedFederation(folder / "federation", PROJECT, node_options=QUICK)
    try:
        federation.start_api()
        yield Installation(federation, Tables(folder / "data", SIZES))
    finally:
        federation.stop()


@pytest.fixture(scope="module")
def founded(started: Installation) -> Installation:
    """One person has accepted the invitation that was printed, and invited those who are needed; founding is over."""
    at, people = started, started.people
    admin = people["administrator"] = at.federation.person("administrator")
    at.said["first sign-in"] = admin.accept_at_terminal(str(at.federation.invitation))
    for name, role in PLATFORM.items():
        if name != "pit":
            at.invite(name, "platform", f"{role}@platform")
    olga = people["olga"]
    for organisation in ("laboratory", "north"):
        olga.flaas("organisations", "add", organisation)
    olga.flaas("domain", "init", PROJECT)
    olga.flaas("projects", "add", PROJECT, "--organisation", "laboratory", "--organisation", "north")
    at.invite("dora", "laboratory", f"developer@project:{PROJECT}")
    at.invite("oscar", "north", "operator@organisation:north")
    at.said["too few"] = admin.refused("governance", "close-founding", "--yes")
    at.invite("pit", "platform", "approver@platform")
    at.said["no owner"] = admin.refused("governance", "close-founding", "--yes")
    at.invite("owen", "north", f"data-owner@project:{PROJECT}")
    at.said["closed"] = admin.flaas("governance", "close-founding", "--yes")
    return at


@pytest.fixture(scope="module")
def grown(founded: Installation) -> Installation:
    """Two more organisations with an operator each; everything about it was approved by somebody else."""
    at, olga, pam, pit = founded, founded.people["olga"], founded.people["pam"], founded.people["pit"]
    for organisation in ("south", "west"):
        asked = olga.told("organisations", "add", organisation)
        at.requests[organisation] = asked["id"]
        assert pam.approve(asked["id"])["state"] == "executed"
        olga.flaas("projects", "change", PROJECT, "--add", organisation)
        name = OPERATORS[organisation]
        at.people[name] = person = at.federation.person(name)
        admin = at.people["administrator"]
        role = f"operator@organisation:{organisation}"
        invited = admin.told("members", "invite", f"{name}@{organisation}.example", "--organisation", organisation,
                             "--id", name, "--role", role)  # fmt: skip
        (request,) = invited["approvals"]
        assert pit.approve(request)["state"] == "executed"
        person.accept(invited["invitation"])
    return at


@pytest.fixture(scope="module")
def joined(grown: Installation) -> Installation:
    """Three nodes, each invited by its organisation's operator, approved, joined with its secret, and signed for."""
    at = grown
    for name, operator in OPERATORS.items():
        invited = at.people[operator].told("node", "invite", name, "--project", PROJECT)
        node = LocalNode(name, name, Home(at.federation.folder / "nodes" / name))
        owner = Person("owner", node.home, at.federation.url)
        owner.flaas("node", "init", "--name", name)
        arguments = invited["command"].split(" && ")[1].split()[1:]
        if name == "north":
            at.said["too early"] = owner.refused(*arguments, answer=f"{invited['secret']}\n")
        assert at.people["pam"].approve(invited["approval"])["state"] == "executed"
        at.said[name] = owner.flaas(*arguments, answer=f"{invited['secret']}\n")
        for dataset, file in at.data.files[name].items():
            owner.flaas("dataset", "add", dataset, str(file), "--target", "label")
        at.people["olga"].flaas("domain", "sign", PROJECT, node.node_id, "--organisation", name)
        at.federation.nodes[name] = node
        at.requests[f"node {name}"] = invited["approval"]
    for name in SIZES:
        at.federation.start_node(name)
    dora = at.people["dora"].told("whoami")["node_id"]
    at.people["olga"].flaas("domain", "sign", PROJECT, dora, "--organisation", "laboratory", "--role", "developer")
    at.federation.wait_online()
    return at


@pytest.fixture(scope="module")
def trained(joined: Installation) -> tuple[Installation, Any]:
    """A model that dora has trained on the three nodes."""
    model = linear_model(secure=True)
    with connect(home=joined.people["dora"].home) as session:
        project = session.project(PROJECT)
        model.fit(project.federation(dataset="rows"), rounds=2, local_epochs=1, batch_size=1000, verbose=0)
    return joined, model


def test_the_invitation_is_printed_once_and_accepted_at_a_terminal(founded: Installation) -> None:
    shown = founded.said["first sign-in"]
    assert "as administrator (governance-admin)" in shown
    assert PASSWORD not in shown
    assert str(founded.federation.invitation) not in shown
    again = founded.federation.person("mallory").run(
        "login",
        founded.federation.url,
        "--invitation",
        answer=f"{founded.federation.invitation}\n{PASSWORD}\n{PASSWORD}\n",
    )
    assert again.exit_code == 1
    assert "sign-in-refused" in again.stderr


def test_founding_says_what_is_missing_until_it_is_closed_for_good(founded: Installation) -> None:
    assert "role.change needs 2 with the role approver (platform)" in founded.said["too few"]
    assert "and there is 1" in founded.said["too few"]
    assert "model.release needs 1 with the role data-owner" in founded.said["no owner"]
    assert "role.change" not in founded.said["no owner"]
    assert "founding-closed" in founded.people["administrator"].refused("governance", "close-founding", "--yes")


def test_nobody_has_more_than_was_given(founded: Installation) -> None:
    admin, dora = founded.people["administrator"], founded.people["dora"]
    assert "not-allowed" in admin.refused("organisations", "add", "mine")
    assert "not-allowed" in admin.refused("projects", "list")
    assert "not-allowed" in dora.refused("members", "list")
    assert "not-allowed" in dora.refused("node", "invite", "mine", "--project", PROJECT)
    assert "own-roles" in admin.refused("members", "give", "administrator", "approver@platform")
    keys = {public_key(person.home.path / "approval.key") for person in founded.people.values()}
    assert len(keys) == len(founded.people)


def test_organisations_and_roles_came_by_approval(grown: Installation) -> None:
    shown = grown.people["audrey"].told("approvals", "show", grown.requests["south"])
    assert (shown["action"], shown["requester"], shown["state"]) == ("organisation.add", "olga", "executed")
    assert [(each["decider"], each["role"]) for each in shown["decisions"]] == [("pam", "approver")]
    assert grown.people["sam"].told("whoami")["roles"] == [{"role": "operator", "scope": "organisation:south"}]


def test_what_somebody_denies_is_not_done(grown: Installation) -> None:
    olga, pam, pit = (grown.people[name] for name in ("olga", "pam", "pit"))
    asked = olga.told("organisations", "add", "nowhere")["id"]
    assert "own-request" in olga.refused("approvals", "approve", asked, "--yes")
    assert "not-allowed" in grown.people["audrey"].refused("approvals", "approve", asked, "--yes")
    assert "unknown-approval" in grown.people["owen"].refused("approvals", "approve", asked, "--yes")
    assert pam.told("approvals", "deny", asked, "--yes")["state"] == "denied"
    assert "approval-closed" in pit.refused("approvals", "approve", asked, "--yes")
    assert "nowhere" not in olga.flaas("organisations", "list")


def test_a_project_is_removed_by_two(grown: Installation) -> None:
    olga = grown.people["olga"]
    olga.flaas("domain", "init", "trial")
    olga.flaas("projects", "add", "trial", "--organisation", "laboratory")
    said = olga.flaas("projects", "remove", "trial", "--yes")
    assert "waits for approval" in said
    assert "trial" in olga.flaas("projects", "list")
    (waiting,) = olga.told("approvals", "list", "--mine")
    assert grown.people["pit"].approve(waiting["id"])["state"] == "executed"
    assert "trial" not in olga.flaas("projects", "list")


def test_a_role_is_changed_by_three(grown: Installation) -> None:
    admin, pam, pit = (grown.people[name] for name in ("administrator", "pam", "pit"))
    change = {"operation": "read", "object": "costs", "role": "data-owner"}
    asked = admin.post("/v1/rbac/grant_permission", {"arguments": change})
    assert pam.approve(asked["id"])["missing"] == ["1 of 2 with the role approver (platform)"]
    assert pit.approve(asked["id"])["state"] == "executed"
    owen = grown.people["owen"].told("whoami")
    assert owen["permissions"]["costs:read"] == [f"project:{PROJECT}"]


def test_a_given_role_comes_with_the_next_sign_in(grown: Installation) -> None:
    oscar, pam = grown.people["oscar"], grown.people["pam"]
    role = "cost-manager@organisation:north"
    said = grown.people["administrator"].flaas("members", "give", "oscar", role)
    (waiting,) = (each for each in pam.told("approvals", "list") if each["action"] == "member.roles")
    assert waiting["id"] in said
    assert pam.approve(waiting["id"])["state"] == "executed"
    assert {"role": "cost-manager", "scope": "organisation:north"} not in oscar.told("whoami")["roles"]
    assert "cost-manager in organisation:north, operator in organisation:north" in oscar.sign_in()


def test_nodes_join_by_invitation_and_not_before_it_is_approved(joined: Installation) -> None:
    assert "bad-enrolment" in joined.said["too early"]
    assert "may still wait for approval" in joined.said["too early"]
    for name, node in joined.federation.nodes.items():
        assert f"{name} of {name} joined {PROJECT}" in joined.said[name]
        owner = Person("owner", node.home, joined.federation.url)
        assert owner.told("node", "status")["state"] == "online"


def test_a_model_is_released_by_an_approver_and_a_data_owner(trained: tuple[Installation, Any]) -> None:
    at, model = trained
    version = model.federated_report.attrs["model"]
    assert len(model.federated_report) == 2
    with connect(home=at.people["dora"].home) as session:
        project = session.project(PROJECT)
        asked = project.release_model(version)
        assert asked["state"] == "pending"
        with pytest.raises(NotAllowed):
            project.revoke_model(version, "mine")
        assert at.people["pam"].approve(asked["id"])["state"] == "pending"
        assert project.models.set_index("id").state[version] == "candidate"
        done = at.people["owen"].approve(asked["id"])
        assert (done["state"], done["result"]["state"]) == ("executed", "released")
        assert project.models.set_index("id").state[version] == "released"


def test_the_auditor_proves_it_with_what_the_nodes_have_kept(trained: tuple[Installation, Any]) -> None:
    at, _ = trained
    audrey = at.people["audrey"]
    sound = audrey.flaas("audit", "verify", "--database", at.federation.database)
    assert "The log is sound" in sound
    for node in at.federation.nodes.values():
        kept = node.home.path / "audit.json"
        assert "The log is sound" in audrey.flaas(
            "audit", "verify", "--database", at.federation.database, "--checkpoints", str(kept)
        )
    entries = audrey.told("audit", "list", "--operation", "organisation:write", "--outcome", "asked")
    assert {entry["actor"] for entry in entries} == {"olga"}
    assert {entry["details"]["approval"] for entry in entries} >= {at.requests["south"], at.requests["west"]}
    export = audrey.flaas("audit", "export")
    assert all(f"{name}@" not in export for name in at.people)
    assert "not-allowed" in at.people["olga"].refused("audit", "list")


def test_whoever_signs_out_is_out(founded: Installation, tmp_path: Path) -> None:
    pit = founded.federation.person("pit")
    kept = kept_sign_in.stored(pit.home)
    assert kept is not None
    stolen = {"Authorization": f"Bearer {kept.access}"}
    me = f"{founded.federation.url}/v1/me"
    assert httpx.get(me, headers=stolen, trust_env=False, timeout=60).status_code == 200
    assert pit.flaas("logout") == "Signed out.\n"
    assert httpx.get(me, headers=stolen, trust_env=False, timeout=60).status_code == 401
    form = {"grant_type": "refresh_token", "refresh_token": kept.refresh, "client_id": kept.client}
    again = httpx.post(f"{founded.federation.url}/oauth/token", data=form, trust_env=False, timeout=60)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert "no-token" in pit.refused("approvals", "list")
    assert "approver" in pit.sign_in()
