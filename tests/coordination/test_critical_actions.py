"""Every critical action over the socket: asked for, approved by people with keys of their own, done once."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from flaas_jupyter.communications.identity import REGISTER, Identity, canonical
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.governance.approvals import ACTIONS
from flaas_jupyter.governance.models import ModelVersion

from .conftest import Template
from .hosted_api import Api, Federation, Json
from .persons import Human, lose, settle

NODE = Identity(b"n" * 32)
MODEL = "run-1"
TOO_MUCH = {
    "hours": 2.0,
    "accepted_usd": 0.6,
    "nodes": [{"name": "one", "provider": "local", "region": "here", "instance_type": "process", "usd_hour": 0.3}],
}


@dataclass
class Installation:
    """A federation with people, at an API of its own."""

    federation: Federation
    people: dict[str, Human]
    database_url: str

    def __getattr__(self, name: str) -> Human:
        try:
            return self.__dict__["people"][name]
        except KeyError:
            raise AttributeError(name) from None


@dataclass(frozen=True)
class Critical:
    """How a critical action is asked for.

    Parameters
    ----------
    action, by : str
        What, and who asks.
    approvers : tuple of str
        Who approves, one after the other.
    ask : callable
        Make the request.
    done : callable
        Tell how often it was done.
    prepare : callable
        What has to be there before.
    """

    action: str
    by: str
    approvers: tuple[str, ...]
    ask: Callable[[Installation], httpx.Response]
    done: Callable[[Installation], int]
    prepare: Callable[[Installation], None] = lambda at: None
    name: str = ""


def rbac(function: str, **arguments: Any) -> Callable[[Installation], httpx.Response]:
    return lambda at: at.gwen.caller.call("POST", f"/v1/rbac/{function}", {"arguments": arguments})


def remove(by: str, path: str) -> Callable[[Installation], httpx.Response]:
    def ask(at: Installation) -> httpx.Response:
        caller = getattr(at, by).caller
        return caller.call("DELETE", path, headers=caller.matching(path))

    return ask


def count(by: str, path: str, kind: str, /, **wanted: Any) -> Callable[[Installation], int]:
    """Tell how many of a list are as wanted."""

    def done(at: Installation) -> int:
        entries = getattr(at, by).caller.embedded(path, kind)
        return sum(all(entry[key] == value for key, value in wanted.items()) for entry in entries)

    return done


def gone(by: str, path: str) -> Callable[[Installation], int]:
    return lambda at: int(getattr(at, by).caller.call("GET", path).status_code == 404)


def registration() -> Json:
    proof = canonical({"id": NODE.node_id, "name": "fresh", "organisation": "north"})
    return {
        "id": NODE.node_id,
        "name": "fresh",
        "projects": ["credit"],
        "version": "0.1.0",
        "proof": NODE.sign(REGISTER, proof).hex(),
    }


def keep_a_model(at: Installation) -> None:
    database = Database(at.database_url)
    with database.writing() as session:
        session.add(
            ModelVersion(
                id=MODEL, project="credit", run="run", round=1, digest="11" * 32, state="candidate",
                created=datetime.now(UTC), reason=None,
            )
        )  # fmt: skip
    database.close()


def spend_the_budget(at: Installation) -> None:
    launching = at.federation.api.hosted.launching
    launching.budget_left = lambda session, organisation, project: 0.1
    launching.price_of = lambda session: lambda *machine: 0.3


def other_policy(at: Installation) -> httpx.Response:
    caller = at.gwen.caller
    actions = caller.get("/v1/policy")["actions"]
    stricter = {**actions, "node.add": {**actions["node.add"], "ttl": 600}}
    return caller.call("PUT", "/v1/policy", {"actions": stricter}, headers=caller.matching("/v1/policy"))


def signing_keys(at: Installation) -> int:
    """Tell how many keys have come beside those that the installation began with."""
    kids = {
        key["kid"]
        for key in httpx.get(f"{at.federation.api.url}/oauth/jwks", trust_env=False, timeout=60).json()["keys"]
    }
    known = at.__dict__.setdefault("kids", kids)
    return len(kids - known) // 2  # the one that signs, and the next


GIVEN = {"role": "operator", "scope": "organisation:north"}
USER = "/v1/users/viewer.north"

CASES = [
    Critical(
        "role.change", "gwen", ("pam", "pit"),
        rbac("add_role", role="curator"),
        count("gwen", "/v1/roles", "roles", name="curator"),
    ),
    Critical(
        "separation.change", "gwen", ("pam", "pit"),
        rbac("create_ssd_set", name="money", roles=["cost-manager", "auditor"], n=2),
        count("gwen", "/v1/separation", "exclusions", name="money"),
    ),
    Critical(
        "member.roles", "gwen", ("pam",),
        lambda at: at.gwen.caller.call("POST", f"{USER}/roles", GIVEN),
        lambda at: at.gwen.caller.get(USER)["roles"].count(GIVEN),
        name="member.roles-give",
    ),
    Critical(
        "member.roles", "gwen", ("pit",),
        lambda at: at.gwen.caller.call("DELETE", f"{USER}/roles/viewer/organisation:north"),
        lambda at: int("viewer" not in {held["role"] for held in at.gwen.caller.get(USER)["roles"]}),
        name="member.roles-take",
    ),
    Critical(
        "organisation.add", "olga", ("pam",),
        lambda at: at.olga.caller.call("POST", "/v1/organisations", {"id": "island", "name": "Island"}),
        count("olga", "/v1/organisations", "organisations", id="island", name="Island"),
    ),
    Critical(
        "organisation.remove", "olga", ("pam",),
        remove("olga", "/v1/organisations/lonely"), gone("olga", "/v1/organisations/lonely"),
    ),
    Critical(
        "project.remove", "olga", ("pit",),
        remove("olga", "/v1/projects/other"), gone("olga", "/v1/projects/other"),
    ),
    Critical(
        "node.add", "oscar", ("pam",),
        lambda at: at.oscar.caller.call("POST", "/v1/nodes", registration()),
        count("oscar", "/v1/nodes", "nodes", id=NODE.node_id, name="fresh"),
        name="node.add-register",
    ),
    Critical(
        "node.add", "oscar", ("pit",),
        lambda at: at.oscar.caller.call(
            "POST", "/v1/nodes/invitations", {"name": "fresher", "project": "credit", "digest": "ab" * 32}
        ),
        count("oscar", "/v1/nodes/invitations", "invitations", digest="ab" * 32, created_by="oscar"),
        name="node.add-invite",
    ),
    Critical(
        "model.release", "dora", ("pam", "owen"),
        lambda at: at.dora.caller.call("POST", f"/v1/models/{MODEL}/release", {}),
        count("dora", "/v1/projects/credit/models", "models", id=MODEL, state="released"),
        keep_a_model,
    ),
    Critical(
        "launch.over-budget", "dora", ("pam",),
        lambda at: at.dora.caller.call("POST", "/v1/projects/credit/launches", TOO_MUCH),
        count("dora", "/v1/projects/credit/launches", "launches", created_by="dora"),
        spend_the_budget,
    ),
    Critical(
        "key.rotate", "gwen", ("pit", "pam"),
        lambda at: at.gwen.caller.call("POST", "/v1/keys/rotate", {"compromised": True}),
        signing_keys,
        lambda at: signing_keys(at) and None,
    ),
    Critical(
        "policy.change", "gwen", ("pam", "pit"),
        other_policy,
        lambda at: at.gwen.caller.get("/v1/policy")["version"],
    ),
]  # fmt: skip
every_action = pytest.mark.parametrize("critical", CASES, ids=[case.name or case.action for case in CASES])


# ---- data bases with people in them ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settled:
    """A data base to be copied, and the people in it."""

    template: Template
    people: dict[str, Human]


def _settled(template: Template, database: Any, url: str) -> Settled:
    api = Api(url)
    try:
        federation = Federation(api, dict(template.people))
        federation.admin.post("/v1/organisations", {"id": "lonely", "name": "Lonely"})
        people = settle(federation)
    finally:
        api.stop()
    return Settled(Template(database, template.people), people)


class Installations:
    """Installations in one kind of data base, each on a copy of its own."""

    def __init__(self, kind: str, request: pytest.FixtureRequest, folder: Path) -> None:
        self._kind, self._folder = kind, folder
        self._template: Template = request.getfixturevalue(f"{kind}_template")
        self._cluster = request.getfixturevalue("cluster") if kind == "postgresql" else None
        self._settled: Settled | None = None
        self._copies = 0

    def _copy(self, database: Any) -> tuple[Any, str]:
        self._copies += 1
        if self._cluster is not None:
            name = self._cluster.create(database)
            return name, self._cluster.url(name)
        path = self._folder / f"{self._copies}.db"
        shutil.copyfile(database, path)
        return path, f"sqlite:///{path}"

    @contextlib.contextmanager
    def one(self, *, close: bool = True) -> Iterator[Installation]:
        """Run one; `close` tells whether its founding phase is over."""
        if self._settled is None:
            database, url = self._copy(self._template.database)
            self._settled = _settled(self._template, database, url)
        source = self._settled
        _, url = self._copy(source.template.database)
        # The worker of launches is not to begin with what is launched here.
        api = Api(url, local_machines=str(self._folder), launch_tick=600.0)
        try:
            federation = Federation(api, dict(source.template.people))
            if close:
                assert federation.governor.post("/v1/founding/close")["founding"] is False
            people = {who: human.at(api) for who, human in source.people.items()}
            yield Installation(federation, people, url)
        finally:
            api.stop()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def installations(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Installations:
    """Installations in each kind of data base."""
    return Installations(request.param, request, tmp_path_factory.mktemp("installations"))


@pytest.fixture(scope="module")
def at(installations: Installations) -> Iterator[Installation]:
    """An installation whose founding phase is over."""
    with installations.one() as running:
        yield running


# ---- the tests -------------------------------------------------------------------------------------------------------


def test_no_critical_action_is_left_out() -> None:
    assert {case.action for case in CASES} == set(ACTIONS) - {"break-glass"}


@every_action
def test_it_waits_until_others_have_approved_and_is_done_once(at: Installation, critical: Critical) -> None:
    critical.prepare(at)
    asked = critical.ask(at)
    assert asked.status_code == 202, asked.text
    request = asked.json()
    assert asked.headers["Location"] == f"/v1/approvals/{request['id']}"
    assert (request["action"], request["requester"], request["state"]) == (critical.action, critical.by, "pending")
    assert critical.done(at) == 0
    assert critical.ask(at).json()["id"] == request["id"], "asking for the same again is the same request"
    assert at.people[critical.by].refused(request)[0] == 403
    *before, last = critical.approvers
    for name in before:
        assert at.people[name].approve(request)["state"] == "pending"
        assert at.people[name].refused(request) == (409, "already-decided"), "one person counts once"
    assert critical.done(at) == 0
    approved = at.people[last].approve(request)
    assert (approved["state"], approved["problem"]) == ("executed", None)
    after(critical, at)
    assert critical.done(at) == 1
    for name in critical.approvers:
        assert at.people[name].refused(request) == (409, "approval-closed")
    assert critical.done(at) == 1


def test_whoever_lost_the_permission_meanwhile_gets_nothing(installations: Installations) -> None:
    with installations.one() as at:
        requests = []
        for critical in CASES:
            critical.prepare(at)
            requests.append(critical.ask(at).json())
            for name in critical.approvers[:-1]:
                at.people[name].approve(requests[-1])
        for name in {case.by for case in CASES}:
            lose(at.database_url, name)
            assert at.people[name].caller.get("/v1/me")["permissions"] == {}, "at once, in the open session"
        for critical, request in zip(CASES, requests, strict=True):
            shown = at.people[critical.approvers[-1]].approve(request)
            assert (shown["state"], shown["result"]) == ("pending", None), critical.action
            assert any(f"{critical.by} is not permitted" in reason for reason in shown["missing"]), critical.action


def test_while_the_installation_is_founded_it_is_done_at_once(installations: Installations) -> None:
    with installations.one(close=False) as at:
        for critical in CASES:
            critical.prepare(at)
            answer = critical.ask(at)
            if critical.action == "launch.over-budget":
                assert (answer.status_code, answer.json()["code"]) == (409, "over-budget"), "nobody can agree to it yet"
                continue
            assert answer.status_code in (200, 201, 204), answer.text
            after(critical, at)
            assert critical.done(at) == 1, critical.action
        assert at.pam.caller.embedded("/v1/approvals", "approvals") == []


def after(critical: Critical, at: Installation) -> None:
    """Renew the access tokens that a compromised key has signed."""
    if critical.action == "key.rotate":
        for human in at.people.values():
            human.renew()


def test_two_last_approvals_at_once_execute_once(at: Installation) -> None:
    for name in ("skerry", "islet", "reef"):
        request = at.olga.caller.post("/v1/organisations", {"id": name, "name": name})
        barrier = threading.Barrier(2)

        def approve(who: str, request: Json = request, barrier: threading.Barrier = barrier) -> int:
            barrier.wait(20)
            return at.people[who].decide(request).status_code

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(approve, ("pam", "pit"))) == [200, 409]
        assert at.olga.caller.get(f"/v1/approvals/{request['id']}")["state"] == "executed"
        assert count("olga", "/v1/organisations", "organisations", id=name)(at) == 1


def test_what_cannot_be_done_any_more_fails_and_leaves_nothing_half_done(at: Installation) -> None:
    asked = at.olga.caller.post("/v1/organisations", {"id": "isle", "name": "One"})
    other = at.olga.caller.post("/v1/organisations", {"id": "isle", "name": "Other"})
    assert asked["id"] != other["id"]
    assert at.pam.approve(asked)["state"] == "executed"
    failed = at.pit.approve(other)
    assert (failed["state"], failed["problem"]["code"]) == ("failed", "organisation-exists")
    assert count("olga", "/v1/organisations", "organisations", id="isle", name="One")(at) == 1


def test_roles_of_somebody_who_is_invited_wait_one_by_one(at: Installation) -> None:
    wanted = [{"role": "operator", "scope": "organisation:south"}, {"role": "viewer", "scope": "project:credit"}]
    body = {"id": "sam", "organisation": "south", "email": "sam@south.example", "roles": wanted}
    made = at.gwen.caller.post("/v1/users", body)
    assert made["roles"] == []
    assert made["invitation"]
    first, second = (at.pam.caller.get(f"/v1/approvals/{request}") for request in made["approvals"])
    at.pam.approve(first)
    assert at.gwen.caller.get("/v1/users/sam")["roles"] == wanted[:1]
    at.pit.decide(second, "deny")
    assert at.gwen.caller.get("/v1/users/sam")["roles"] == wanted[:1]


def test_an_emergency_opens_one_action_to_one_person_after_two_have_agreed(at: Installation) -> None:
    body = {"action": "organisation.add", "scope": "platform", "reason": "A hospital is cut off."}
    asked = at.olga.caller.call("POST", "/v1/emergencies", body)
    assert asked.status_code == 202
    assert at.pam.approve(asked.json())["state"] == "pending"
    assert at.pit.approve(asked.json())["state"] == "executed"
    at.olga.caller.post("/v1/organisations", {"id": "atoll", "name": "Atoll"})
    assert count("olga", "/v1/organisations", "organisations", id="atoll")(at) == 1
    (window,) = at.gwen.caller.get("/v1/policy")["emergencies"]
    assert (window["person"], len(window["uses"])) == ("olga", 1)


def test_a_data_owner_of_an_organisation_in_the_project_is_enough_to_close_the_founding_phase(
    installations: Installations,
) -> None:
    with installations.one(close=False) as at:
        governor = at.federation.governor
        lose(at.database_url, "owen")
        lose(at.database_url, "dora")
        governor.post("/v1/users/dora/roles", {"role": "developer", "scope": "organisation:laboratory"})
        refused = governor.problem("POST", "/v1/founding/close")
        assert (refused["code"], [each["action"] for each in refused["missing"]]) == (
            "policy-unfulfillable", ["model.release"],
        )  # fmt: skip
        governor.post("/v1/users/owen/roles", {"role": "data-owner", "scope": "organisation:north"})
        assert governor.post("/v1/founding/close")["founding"] is False
        keep_a_model(at)
        asked = at.federation.developer.post(f"/v1/models/{MODEL}/release")
        assert {factor["role"]: factor["available"] for factor in asked["factors"]} == {"approver": 2, "data-owner": 1}
