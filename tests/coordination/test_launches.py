"""Launches over REST: who may, at which price, within which budget, and what a machine that boots may call."""

from __future__ import annotations

import time

import pytest

from flaas_jupyter.communications.identity import REGISTER, Identity, canonical
from flaas_jupyter.costs import accounts
from flaas_jupyter.costs.driver import Identity as CloudIdentity
from flaas_jupyter.costs.driver import Machine, QuotaExceeded
from flaas_jupyter.costs.launch.cloud_init import node_of
from flaas_jupyter.costs.secrets import Keyring

from .hosted_api import WAIT


class Cloud:
    """A cloud in memory."""

    def __init__(self) -> None:
        self.orders: dict[str, object] = {}
        self.machines: dict[str, Machine] = {}
        self.refuse: set[str] = set()

    def __call__(self, organisation, provider, account):
        return self

    def launch(self, order):
        if order.node in self.refuse:
            raise QuotaExceeded("No more of these.", hint="Ask for more.")
        self.orders[order.node] = order
        return self.machines.setdefault(
            order.token,
            Machine("local", f"m-{order.node}", "here", "process", "running", order.token, order.tags),
        )

    def describe(self, installation, regions):
        return list(self.machines.values())

    def terminate(self, machine):
        known = self.machines[machine.token]
        self.machines[machine.token] = Machine(
            "local", known.id, "here", "process", "terminated", known.token, known.tags
        )


@pytest.fixture
def cloud():
    return Cloud()


@pytest.fixture
def federation(start_api, enter, cloud, tmp_path, monkeypatch):
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path / "home"))
    api = start_api(
        local_machines=str(tmp_path), launch_tick=0.02, launch_look=0.02, launch_settle=0.0, launch_lease=0.5
    )
    api.hosted.launching.drivers = cloud
    return enter(api)


@pytest.fixture
def operator(federation):
    return federation.person("operator", "laboratory")


def body(*names: str, **changes):
    node = {"provider": "local", "region": "here", "instance_type": "process"}
    return {
        "hours": 2.0,
        "accepted_usd": 0.0,
        "nodes": [{"name": name, **node} for name in names or ("fresh-a", "fresh-b")],
        **changes,
    }


def launched(operator, federation, *names, **changes):
    return operator.post(f"{federation.path}/launches", body(*names, **changes))["id"]


def until(caller, launch, condition):
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        found = caller.get(f"/v1/launches/{launch}")
        if condition(found):
            return found
        time.sleep(0.02)
    raise AssertionError(found)


def in_state(state):
    return lambda found: found["state"] == state


def enrolment(order, identity: Identity, **changes):
    config = node_of(order.user_data)
    proof = canonical({"id": identity.node_id, "name": config["name"], "organisation": config["organisation"]})
    return {
        "secret": config["secret"],
        "id": identity.node_id,
        "name": config["name"],
        "version": "0.1.0",
        "proof": identity.sign(REGISTER, proof).hex(),
        **changes,
    }


def test_from_launch_to_ready_to_ended(federation, operator, cloud):
    stream = federation.follow()
    launch = launched(operator, federation, title="First")
    found = until(operator, launch, in_state("booting"))
    assert found["title"] == "First"
    assert set(found["_links"]) >= {"self", "project", "terminate"}
    assert "resume" not in found["_links"]
    for name in ("fresh-a", "fresh-b"):
        identity = Identity(name.encode().ljust(32, b"."))
        answer = federation.nobody.post("/v1/enrolments", enrolment(cloud.orders[name], identity))
        assert {key: answer[key] for key in ("organisation", "project", "node")} == {
            "organisation": "laboratory",
            "project": "credit",
            "node": identity.node_id,
        }
    found = until(operator, launch, in_state("joining"))
    assert {node["state"] for node in found["nodes"]} == {"registered"}
    for node in found["nodes"]:
        federation.admin.post(f"{federation.path}/memberships", federation.membership(node["node_id"], "laboratory"))
        federation.api.as_node(Identity(node["name"].encode().ljust(32, b"."))).follow(
            f"/v1/nodes/{node['node_id']}/events"
        )
    until(operator, launch, in_state("ready"))
    assert operator.post(f"/v1/launches/{launch}/terminate")["state"] == "ending"
    found = until(operator, launch, in_state("ended"))
    assert not {"terminate", "resume"} & set(found["_links"])
    assert all(machine.gone for machine in cloud.machines.values())
    assert operator.post(f"/v1/launches/{launch}/terminate")["state"] == "ended", "once more changes nothing"
    assert [n["name"] for n in operator.embedded("/v1/nodes", "nodes")] == []
    assert stream.until("launch.changed", state="ended")["data"]["launch"] == launch


def test_a_failed_node_is_shown_with_its_problem_and_resumed(federation, operator, cloud):
    cloud.refuse = {"fresh-b"}
    launch = launched(operator, federation)
    found = until(operator, launch, in_state("stuck"))
    assert "resume" in found["_links"]
    assert found["nodes"][1]["problem"]["code"] == "cloud-quota"
    viewer = federation.person("viewer", "laboratory")
    assert not {"terminate", "resume"} & set(viewer.get(f"/v1/launches/{launch}")["_links"])
    cloud.refuse = set()
    operator.post(f"/v1/launches/{launch}/resume")
    found = until(operator, launch, in_state("booting"))
    assert [node["attempts"] for node in found["nodes"]] == [1, 2]
    assert operator.refused("POST", f"/v1/launches/{launch}/resume") == (409, "launch-not-stuck")


def test_repeating_a_launch_with_its_key_makes_one(federation, operator):
    key = {"Idempotency-Key": "k"}
    first = operator.post(f"{federation.path}/launches", body(), headers=key)
    again = operator.post(f"{federation.path}/launches", body(), headers=key)
    assert again["id"] == first["id"]
    assert len(operator.embedded(f"{federation.path}/launches", "launches")) == 1


def test_launches_are_the_organisations_own(federation, operator):
    launch = launched(operator, federation)
    for organisation in ("north", "elsewhere"):
        other = federation.person("operator", organisation)
        for method, path in (("GET", ""), ("POST", "/terminate"), ("POST", "/resume")):
            assert other.refused(method, f"/v1/launches/{launch}{path}") == (404, "unknown-launch")
    assert federation.person("operator", "north").embedded(f"{federation.path}/launches", "launches") == []
    assert federation.person("viewer", "laboratory").refused("POST", f"{federation.path}/launches", body())[0] == 403
    node = federation.node("north")
    assert node.api.refused("GET", f"/v1/launches/{launch}") == (403, "not-allowed")
    assert federation.admin.get(f"/v1/launches/{launch}")["id"] == launch
    assert operator.refused("POST", "/v1/projects/other/launches", body()) == (404, "unknown-project")


def test_a_price_that_rose_is_refused_with_both_figures(federation, operator):
    federation.api.hosted.launching.price_of = lambda session: lambda *machine: 0.5
    federation.api.hosted.launching.budget_left = lambda session, organisation, project: None
    node = {"name": "x", "provider": "local", "region": "here", "instance_type": "process", "usd_hour": 0.4}
    problem = operator.problem("POST", f"{federation.path}/launches", body(nodes=[node], accepted_usd=0.7))
    assert (problem["status"], problem["code"]) == (409, "price-changed")
    assert (problem["accepted_usd"], problem["present_usd"]) == (0.7, 0.8)


def test_budgets_hold_also_for_what_open_launches_may_still_cost(federation, operator):
    federation.api.hosted.launching.budget_left = lambda session, organisation, project: 1.0
    node = {"provider": "local", "region": "here", "instance_type": "process", "usd_hour": 0.3}
    path = f"{federation.path}/launches"
    first = body(nodes=[{**node, "name": "one"}], accepted_usd=0.6)
    assert operator.refused("POST", path, {**first, "budget_usd": 0.5}) == (409, "over-budget")
    operator.post(path, first)
    problem = operator.problem("POST", path, body(nodes=[{**node, "name": "two"}], accepted_usd=0.6))
    assert problem["code"] == "over-budget"
    assert problem["left_usd"] == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"nodes": []}, "invalid-input"),
        (
            {"nodes": [{"name": "Upper", "provider": "local", "region": "here", "instance_type": "process"}]},
            "invalid-input",
        ),
        ({"hours": 0.0}, "invalid-input"),
        ({"hours": float(10**9)}, "invalid-input"),
        ({"accepted_usd": -1.0}, "invalid-input"),
        (
            {"nodes": [{"name": "x", "provider": "moon", "region": "here", "instance_type": "process"}]},
            "unknown-provider",
        ),
        ({"nodes": [{"name": "x", "provider": "aws", "region": "eu", "instance_type": "t"}]}, "account-needed"),
        (
            {"nodes": [{"name": "x", "provider": "aws", "account": "no", "region": "eu", "instance_type": "t"}]},
            "unknown-account",
        ),
        ({"domain_key": "ab" * 32}, "domain-key-changed"),
        (
            {"nodes": [{"name": "x", "provider": "local", "region": "here", "instance_type": "process"}] * 2},
            "duplicate-nodes",
        ),
        (
            {
                "nodes": [
                    {
                        "name": "x",
                        "provider": "local",
                        "region": "here",
                        "instance_type": "process",
                        "dataset": {"name": "d", "source": "http://plain.example/x.csv"},
                    }
                ]
            },
            "bad-source",
        ),
        ({"more": 1}, "invalid-input"),
    ],
)
def test_what_makes_no_sense_is_refused(federation, operator, cloud, changes, code):
    assert operator.refused("POST", f"{federation.path}/launches", body(**changes))[1] == code
    assert cloud.orders == {}


def test_a_name_that_is_taken_is_refused(federation, operator):
    launched(operator, federation, "fresh-a")
    assert operator.refused("POST", f"{federation.path}/launches", body("fresh-a")) == (409, "node-exists")


def test_nothing_is_launched_here_unless_the_operator_says_so(start_api, enter):
    federation = enter(start_api())
    operator = federation.person("operator", "laboratory")
    assert operator.refused("POST", f"{federation.path}/launches", body()) == (403, "local-not-permitted")


def test_an_enrolment_is_good_for_one_key_and_may_be_repeated_by_it(federation, operator, cloud):
    launch = launched(operator, federation, "fresh-a")
    until(operator, launch, in_state("booting"))
    mine, other = Identity(b"m" * 32), Identity(b"o" * 32)
    sent = enrolment(cloud.orders["fresh-a"], mine)
    nobody = federation.nobody
    assert nobody.call("POST", "/v1/enrolments", sent).status_code == 201
    assert nobody.call("POST", "/v1/enrolments", sent).status_code == 200, "the node crashed before it noted it"
    assert nobody.refused("POST", "/v1/enrolments", enrolment(cloud.orders["fresh-a"], other)) == (
        403,
        "enrolment-used",
    )
    operator.post(f"/v1/launches/{launch}/terminate")
    until(operator, launch, in_state("ended"))
    assert nobody.refused("POST", "/v1/enrolments", sent)[1] == "launch-over"


def test_an_enrolment_is_checked(federation, operator, cloud):
    launch = launched(operator, federation, "fresh-a", "fresh-b")
    until(operator, launch, in_state("booting"))
    key = Identity(b"m" * 32)
    good = enrolment(cloud.orders["fresh-a"], key)
    wrong = [
        ({"secret": "a" * 52}, (401, "bad-enrolment")),
        ({"secret": "short"}, (422, "invalid-input")),
        ({"name": "fresh-b"}, (401, "bad-enrolment")),
        ({"proof": "00" * 64}, (401, "bad-signature")),
        ({"id": Identity(b"x" * 32).node_id}, (401, "bad-signature")),
        ({"project": "other"}, (422, "invalid-input")),
    ]
    for changes, refusal in wrong:
        assert federation.nobody.refused("POST", "/v1/enrolments", {**good, **changes}) == refusal, changes
    assert federation.nobody.call("POST", "/v1/enrolments", good).status_code == 201, "refusals use nothing up"


def test_a_project_with_machines_is_not_removed(federation, operator):
    launch = launched(operator, federation)
    admin = federation.admin
    assert admin.refused("DELETE", federation.path, headers=admin.matching(federation.path)) == (409, "project-in-use")
    operator.post(f"/v1/launches/{launch}/terminate")
    until(operator, launch, in_state("ended"))
    assert admin.call("DELETE", federation.path, headers=admin.matching(federation.path)).status_code == 204


def test_machines_in_a_cloud_need_an_address_that_they_can_find_this_api_at(federation, operator, monkeypatch):
    with federation.api.hosted.database.writing() as session:
        who = CloudIdentity("123456789012", "user/flaas")
        account = accounts.add(session, Keyring.load(), "laboratory", "aws", "AWS", {"key": "secret"}, who).id
    federation.api.hosted.launching.price_of = lambda session: lambda *place: 0.1
    node = {
        "name": "far", "provider": "aws", "account": account, "region": "eu-west-1", "instance_type": "m5.large",
        "usd_hour": 0.1,
    }  # fmt: skip
    order = body(nodes=[node], accepted_usd=1.0)
    assert operator.refused("POST", f"{federation.path}/launches", order) == (422, "public-url-needed")
    assert operator.embedded(f"{federation.path}/launches", "launches") == []
    monkeypatch.setenv("FLAAS_AWS_ENDPOINT", "https://private.example")  # a cloud of one's own may be anywhere
    assert operator.post(f"{federation.path}/launches", order)["nodes"][0]["provider"] == "aws"
