"""``flaas members``, ``organisations``, ``projects``, ``node invite`` and ``node join``, at a real API."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from coordination.hosted_api import Api, Federation
from coordination.persons import settle

from flaas_jupyter.cli import main
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.governance.permissions import GOVERNANCE_ADMIN, ORG_ADMIN

ORGANISATIONS = ("north", "south")


class Installation:
    """An API with two organisations in a project, and commands run in the name of whoever governs it."""

    def __init__(self, api: Api, homes: Path) -> None:
        self.api, self._homes = api, homes
        self.tokens = dict(api.first_tokens)

    def run(self, who: str, *arguments: str, answer: str | None = None) -> Result:
        """Run ``flaas`` as somebody with a token; ``nobody`` has none."""
        environment = {
            "FLAAS_HOME": str(self._homes / who),
            "FLAAS_URL": self.api.url,
            "FLAAS_TOKEN": self.tokens.get(who),
        }
        return CliRunner(env=environment).invoke(main, list(arguments), input=answer)

    def told(self, who: str, *arguments: str, answer: str | None = None) -> Any:
        """Run ``flaas … --json``, which must succeed; return its result."""
        result = self.run(who, *arguments, "--json", answer=answer)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def refused(self, who: str, *arguments: str, answer: str | None = None) -> str:
        """Run ``flaas``, which must be refused; return what it says."""
        result = self.run(who, *arguments, answer=answer)
        assert result.exit_code == 1, result.output
        return result.stderr


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation that is being founded."""
    folder = tmp_path_factory.mktemp("members")
    api = Api(f"sqlite:///{folder / 'api.db'}")
    made = Installation(api, folder / "homes")
    try:
        for name in ORGANISATIONS:
            made.told(ORG_ADMIN, "organisations", "add", name)
        made.told(ORG_ADMIN, "domain", "init", "credit")
        made.told(ORG_ADMIN, "projects", "add", "credit", "--organisation", "north")
        for name in ORGANISATIONS:
            service = ("members", "add-service", f"operator.{name}", "--organisation", name)
            made.tokens[name] = made.told(GOVERNANCE_ADMIN, *service, "--role", f"operator@organisation:{name}")[
                "token"
            ]
        yield made
    finally:
        api.stop()


# ---- members ---------------------------------------------------------------------------------------------------------


def test_somebody_is_invited_and_the_invitation_is_printed_once(at: Installation) -> None:
    arguments = ("members", "invite", "ada@north.example", "--organisation", "north", "--id", "ada", "--name", "Ada")
    result = at.run(GOVERNANCE_ADMIN, *arguments, "--role", "viewer@project:credit")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("ada is invited to north.")
    assert "`flaas login --invitation`" in result.stdout
    (invitation,) = re.findall(r"flaas-invitation-\S+", result.stdout)
    assert invitation not in at.run(GOVERNANCE_ADMIN, "members", "list").stdout
    (ada,) = (user for user in at.told(GOVERNANCE_ADMIN, "members", "list") if user["id"] == "ada")
    assert (ada["name"], ada["email"], ada["state"]) == ("Ada", "ada@north.example", "invited")
    assert "viewer@project:credit" in at.run(GOVERNANCE_ADMIN, "members", "list").stdout
    assert "user-exists" in at.refused(GOVERNANCE_ADMIN, *arguments)


def test_roles_are_given_and_taken(at: Installation) -> None:
    at.told(GOVERNANCE_ADMIN, "members", "add-service", "robot", "--organisation", "south")
    role = "viewer@organisation:south"
    given = at.run(GOVERNANCE_ADMIN, "members", "give", "robot", role)
    assert given.stdout.startswith(f"robot has {role}")
    assert "already-assigned" in at.refused(GOVERNANCE_ADMIN, "members", "give", "robot", role)
    taken = at.run(GOVERNANCE_ADMIN, "members", "take", "robot", role)
    assert taken.stdout == f"robot does not have {role} any more.\n"
    assert "not-assigned" in at.refused(GOVERNANCE_ADMIN, "members", "take", "robot", role)
    assert "unknown-role" in at.refused(GOVERNANCE_ADMIN, "members", "give", "robot", "king@platform")
    assert "not-found" in at.refused(GOVERNANCE_ADMIN, "members", "give", "a/../b?c=d", role)
    for wrong in ("viewer", "@platform", "viewer@"):
        result = at.run(GOVERNANCE_ADMIN, "members", "give", "robot", wrong)
        assert result.exit_code == 2
        assert "e.g. developer@project:credit" in result.stderr


def test_a_service_is_removed_after_a_question(at: Installation) -> None:
    token = at.told(GOVERNANCE_ADMIN, "members", "add-service", "brief", "--organisation", "south", "--days", "1")
    at.tokens["brief"] = token["token"]
    assert at.told("brief", "whoami")["subject"] == "brief"
    assert at.run(GOVERNANCE_ADMIN, "members", "remove", "brief", answer="n\n").exit_code == 1
    assert at.run(GOVERNANCE_ADMIN, "members", "remove", "brief", answer="y\n").stdout == "brief is removed.\n"
    assert at.run("brief", "whoami").exit_code == 1
    assert "unknown-user" in at.refused(GOVERNANCE_ADMIN, "members", "remove", "brief", "--yes")


def test_whoever_may_not_is_told_what_it_takes(at: Installation) -> None:
    assert "governance-admin" in at.refused("north", "members", "list")
    assert "[not-allowed]" in at.refused("north", "organisations", "add", "mine")
    assert "[no-token]" in at.refused("nobody", "members", "list")


# ---- organisations and projects --------------------------------------------------------------------------------------


def test_an_organisation_comes_and_goes(at: Installation) -> None:
    assert at.run(ORG_ADMIN, "organisations", "add", "west", "--name", "Far west").stdout.startswith(
        "Organisation west"
    )
    assert "Far west" in at.run(ORG_ADMIN, "organisations", "list").stdout
    assert "organisation-exists" in at.refused(ORG_ADMIN, "organisations", "add", "west")
    assert at.run(ORG_ADMIN, "organisations", "remove", "west", answer="n\n").exit_code == 1
    assert at.run(ORG_ADMIN, "organisations", "remove", "west", "--yes").stdout == "Organisation west is removed.\n"
    assert "[invalid-input]" in at.refused(ORG_ADMIN, "organisations", "add", "Far West")


def test_a_project_is_made_with_the_key_of_this_machine_changed_and_removed(at: Installation) -> None:
    wanted = ("projects", "add", "fraud", "--organisation", "north")
    without = at.refused(ORG_ADMIN, *wanted)
    assert "no-domain-key" in without
    assert "flaas domain init fraud" in without
    key = at.told(ORG_ADMIN, "domain", "init", "fraud")["domain_key"]
    assert at.told(ORG_ADMIN, *wanted, "--name", "Fraud")["domain_key"] == key
    changed = at.told(ORG_ADMIN, "projects", "change", "fraud", "--add", "south", "--drop", "north", "--name", "F")
    assert (changed["organisations"], changed["name"]) == (["south"], "F")
    assert at.told(ORG_ADMIN, "projects", "change", "fraud", "--description", "x")["organisations"] == ["south"]
    assert "unknown-organisation" in at.refused(ORG_ADMIN, "projects", "change", "fraud", "--add", "nowhere")
    assert [project["id"] for project in at.told("south", "projects", "list")] == ["fraud"]
    assert at.run(ORG_ADMIN, "projects", "remove", "fraud", "--yes").stdout == "Project fraud is removed.\n"
    assert "unknown-project" in at.refused(ORG_ADMIN, "projects", "remove", "fraud", "--yes")


# ---- nodes -----------------------------------------------------------------------------------------------------------


def invite(at: Installation, name: str) -> tuple[list[str], str]:
    """Invite a node of north; return the command that joins, and the secret."""
    shown = at.run("north", "node", "invite", name, "--project", "credit").stdout
    command = re.search(r"flaas (node join .* --enrolment)", shown)
    secret = re.search(r"^  ([a-z2-7]{52})$", shown, re.MULTILINE)
    assert command is not None
    assert secret is not None
    assert f"flaas node init --name {name} &&" in shown
    return command[1].split(), secret[1]


def test_a_node_joins_with_what_its_operator_was_shown(at: Installation) -> None:
    join, secret = invite(at, "fresh")
    assert "no-node" in at.refused("machine", *join, answer=f"{secret}\n")
    node = at.told("machine", "node", "init", "--name", "fresh")
    result = at.run("machine", *join, answer=f" {secret} \n")
    assert result.exit_code == 0, result.output
    assert "fresh of north joined credit" in result.stdout
    assert secret not in result.output
    status = at.told("machine", "node", "status")
    assert (status["node_id"], status["allowed"], status["state"]) == (node["node_id"], ["credit"], "offline")
    assert at.run("machine", *join, answer=f"{secret}\n").exit_code == 0, "the same node may repeat it"
    assert at.told("other", "node", "init", "--name", "fresh")
    assert "enrolment-used" in at.refused("other", *join, answer=f"{secret}\n")
    assert "node-exists" in at.refused("north", "node", "invite", "fresh", "--project", "credit")


def test_a_node_is_not_joined_to_a_domain_that_its_owner_was_not_told_of(at: Installation) -> None:
    join, secret = invite(at, "careful")
    at.told("careful", "node", "init", "--name", "careful")
    false = [Identity(b"f" * 32).node_id if len(word) == 64 else word for word in join]
    assert at.run("careful", *false, answer=f"{secret}\n").exit_code == 1
    assert at.told("careful", "node", "status")["state"] == "not joined"
    result = at.run("careful", *join, answer=f"{secret}\n")
    assert result.exit_code == 0, result.output


def test_what_is_wrong_with_an_invitation_is_said(at: Installation) -> None:
    join, secret = invite(at, "short")
    at.told("long", "node", "init", "--name", "long")
    assert "node of another name" in at.refused("long", *join, answer=f"{secret}\n")
    at.told("short", "node", "init", "--name", "short")
    assert "bad-enrolment" in at.refused("short", *join, answer=f"{'a' * 52}\n")
    assert "invalid-input" in at.refused("short", *join, answer="nonsense\n")
    without = [word for word in join if word not in ("--organisation", "north")]
    result = at.run("short", *without, answer=f"{secret}\n")
    assert (result.exit_code, "--organisation" in result.stderr) == (2, True)
    assert "unknown-project" in at.refused("south", "node", "invite", "mine", "--project", "credit")
    assert "invalid-input" in at.refused("north", "node", "invite", "Mine", "--project", "credit")
    assert "invalid-input" in at.refused("north", "node", "invite", "mine", "--project", "credit", "--days", "31")
    assert at.run("short", *join, answer=f"{secret}\n").exit_code == 0, "what was wrong has used nothing up"


# ---- once the founding phase is over -----------------------------------------------------------------------------


def test_what_is_critical_says_that_it_waits_and_how_to_see_it(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    api = Api(f"sqlite:///{tmp_path / 'api.db'}")
    request.addfinalizer(api.stop)
    at = Installation(api, tmp_path / "homes")
    for name in ("north", "laboratory"):
        at.told(ORG_ADMIN, "organisations", "add", name)
    at.told(ORG_ADMIN, "domain", "init", "credit")
    at.told(ORG_ADMIN, "projects", "add", "credit", "--organisation", "north", "--organisation", "laboratory")
    federation = Federation(api, {(role, "platform"): token for role, token in api.first_tokens.items()})
    people = {name: human.at(api) for name, human in settle(federation).items()}
    at.told(GOVERNANCE_ADMIN, "governance", "close-founding", "--yes")
    people["oscar"].renew()
    at.tokens["oscar"] = people["oscar"].access

    for who, arguments in (
        (ORG_ADMIN, ("organisations", "add", "south")),
        (ORG_ADMIN, ("projects", "remove", "credit", "--yes")),
        (GOVERNANCE_ADMIN, ("members", "give", "oscar", "viewer@platform")),
        (GOVERNANCE_ADMIN, ("members", "take", "oscar", "operator@organisation:north")),
    ):
        told = at.run(who, *arguments).stdout
        waiting = re.fullmatch(r"That waits for approval: (\w+) \(`flaas approvals show \1`\)\.\n", told)
        assert waiting is not None, told
        assert at.told(who, "approvals", "show", waiting[1])["state"] == "pending"
    invited = at.run(
        GOVERNANCE_ADMIN, "members", "invite", "a@north.example", "--organisation", "north",
        "--role", "viewer@project:credit",
    ).stdout  # fmt: skip
    assert "Its roles wait for approval: " in invited
    rotation = at.run(GOVERNANCE_ADMIN, "governance", "rotate-keys").stdout
    assert "is pending. Missing: 2 of 2 with the role approver" in rotation

    shown = at.run("oscar", "node", "invite", "fresh", "--project", "credit").stdout
    approval = re.search(r"It is good once it is approved: request (\w+)", shown)
    assert approval is not None
    at.told("machine", "node", "init", "--name", "fresh")
    join = re.search(r"flaas (node join .* --enrolment)", shown)
    secret = re.search(r"^  ([a-z2-7]{52})$", shown, re.MULTILINE)
    assert join is not None
    assert secret is not None
    early = at.refused("machine", *join[1].split(), answer=f"{secret[1]}\n")
    assert "may still wait for approval" in early
    assert people["pam"].approve(people["pam"].caller.get(f"/v1/approvals/{approval[1]}"))["state"] == "executed"
    joined = at.run("machine", *join[1].split(), answer=f"{secret[1]}\n")
    assert "fresh of north joined credit" in joined.stdout, joined.output
