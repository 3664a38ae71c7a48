"""What goes wrong with clouds, seen by the people who launch: a real API process against the laboratory's clouds.

No machine boots here: a launch that has all its machines stays in state booting until it is ended.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from cloudlab import aws, azure, gcp
from cloudlab.ledger import Fault, LabMachine
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from flaas_jupyter.connected import Session
from flaas_jupyter.connected_costs import Launch
from flaas_jupyter.costs.driver import LAUNCH_TAG, NODE_TAG, Endpoint, MachineOrder
from flaas_jupyter.costs.providers import driver_class
from flaas_jupyter.errors import Aborted, Conflict, FlaasError, NotAllowed, NotAuthenticated

from .cloud import CloudFederation

CLOUDS = ("aws", "azure", "gcp")
LIMIT = 120.0
ACCOUNTS = {"aws": aws.ACCOUNT, "azure": azure.SUBSCRIPTION, "gcp": gcp.PROJECT}
LAUNCHING = {
    "aws": ("RunInstances", "ec2:RunInstances"),
    "azure": ("Microsoft.Compute/virtualMachines/write", "Microsoft.Compute/virtualMachines/write"),
    "gcp": ("instances.insert", "compute.instances.create"),
}
"""The operation that makes a machine, and the permission that it takes."""
ELSEWHERE = {"aws": ("IE", "eu-west-1"), "azure": ("NL", "westeurope"), "gcp": ("NL", "europe-west4")}
"""A country that is not the cheapest, and its region."""
LISTING = {"aws": "DescribeInstances", "azure": "Microsoft.Compute/virtualMachines/read", "gcp": "instances.list"}

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


class Clouds(CloudFederation):
    """Accounts at all clouds, entered when they are needed, and launches that are ended after each test."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, boots=False, **options)
        self.api.api_options = {**self.api.api_options, "FLAAS_LAUNCH_REAP": "3"}
        self.entered: dict[str, dict[str, Any]] = {}
        self.names = (f"node-{number}" for number in itertools.count(1))

    def account(self, cloud: str) -> dict[str, Any]:
        if cloud not in self.entered:
            self.entered[cloud] = self.enter_account(cloud)
        return self.entered[cloud]

    def recommended(self, session: Session, cloud: str, count: int, third: str | None = None) -> Callable[[], Launch]:
        """Choose the cheapest machines of `cloud`, as a developer would; the third in another area.

        Calling what is returned launches them.
        """
        self.account(cloud)
        nodes = [{"name": next(self.names), "provider": cloud} for _ in range(count)]
        if third is not None:
            nodes[2]["area"] = third
        found = session.costs.recommend("tabular-small", nodes=nodes, hours=6.0)
        return lambda: found.launch("demo", accept_usd=found.plan()["total_usd"])

    def launch(self, session: Session, cloud: str, count: int, third: str | None = None) -> Launch:
        return self.recommended(session, cloud, count, third)()

    def of(self, launch: Launch) -> list[LabMachine]:
        """Every machine that was ever made for `launch`."""
        return [machine for machine in self.ledger.machines if machine.tags[LAUNCH_TAG] == launch.id]

    def running_of(self, launch: Launch) -> list[str]:
        """Names of the nodes of `launch` whose machines run."""
        return sorted(machine.tags[NODE_TAG] for machine in self.of(launch) if machine.ended is None)

    def end(self, launch: Launch, cloud: str) -> None:
        """End `launch`, and have the cloud prove that nothing is left of it."""
        launch.end()
        self.wait(launch, "ended", timeout=LIMIT)
        assert self.running_of(launch) == []
        assert self.leftovers(cloud) == []


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clouds]:
    with Clouds.running(tmp_path_factory.mktemp("clouds")) as federation:
        assert isinstance(federation, Clouds)
        yield federation


@pytest.fixture
def clouds(running: Clouds) -> Iterator[Clouds]:
    """The federation; what a test has done to the clouds is undone after it."""
    yield running
    running.ledger.faults.clear()
    running.ledger.denied.clear()
    running.ledger.on_boot = running.ledger.on_end = None
    for machine in running.ledger.running():
        running.ledger.end(machine)


@pytest.fixture
def developer(clouds: Clouds) -> Iterator[Session]:
    with clouds.api.connect() as session:
        yield session


@pytest.fixture
def controller(clouds: Clouds) -> Iterator[Session]:
    with clouds.signed_in("cost-manager") as session:
        yield session


def until(condition: Callable[[], bool], tell: Callable[[], object] = str) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, tell()
        time.sleep(0.1)


def nodes(launch: Launch) -> dict[str, dict[str, Any]]:
    return {node["name"]: node for node in launch.refresh().answer["nodes"]}


# ---- credentials ----------------------------------------------------------------------------------------------------


def foreign_key(credentials: dict[str, str]) -> dict[str, str]:
    """A service account's key that was taken back: Google knows another public key, or none."""
    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    document = json.loads(credentials["service_account_key"])
    return {**credentials, "service_account_key": json.dumps({**document, "private_key": pem.decode()})}


@pytest.mark.parametrize(
    ("cloud", "change"),
    [
        pytest.param("aws", lambda known: {**known, "secret_access_key": "x" * 40}, id="aws-wrong"),
        pytest.param(
            "aws",
            lambda known: {
                "access_key_id": aws.TEMPORARY_KEY,
                "secret_access_key": aws.TEMPORARY_SECRET,
                "session_token": aws.EXPIRED_TOKEN,
            },
            id="aws-expired",
        ),
        pytest.param("azure", lambda known: {**known, "client_secret": "x" * 40}, id="azure-wrong"),
        pytest.param("azure", lambda known: {**known, "client_secret": azure.EXPIRED_SECRET}, id="azure-expired"),
        pytest.param("gcp", foreign_key, id="gcp-taken-back"),
    ],
)
def test_wrong_and_expired_credentials_are_refused_when_they_are_entered(clouds, controller, cloud, change):
    before = controller.costs.accounts["id"].tolist()
    wrong = change(clouds.lab.credentials(cloud))
    with pytest.raises(FlaasError) as refused:
        controller.send("POST", "/v1/costs/accounts", {"provider": cloud, "title": "Wrong", "credentials": wrong})
    assert refused.value.code == "cloud-credentials-refused"
    assert not isinstance(refused.value, NotAuthenticated) or "token" not in refused.value.hint.lower()
    assert not any(len(secret) > 20 and secret in str(refused.value.to_dict()) for secret in wrong.values())
    assert controller.costs.accounts["id"].tolist() == before, "nothing was kept, and the caller is signed in still"


@pytest.mark.parametrize("cloud", CLOUDS)
def test_credentials_that_may_do_nothing_are_refused_and_what_is_missing_is_named(clouds, controller, cloud):
    permissions = {each["permission"] for each in clouds.account(cloud)["permissions"]}
    clouds.ledger.denied[ACCOUNTS[cloud]] = permissions
    body = {"provider": cloud, "title": "Poor", "credentials": clouds.lab.credentials(cloud)}
    with pytest.raises(NotAllowed) as refused:
        controller.send("POST", "/v1/costs/accounts", body)
    assert refused.value.code == "cloud-permission-missing"
    assert LAUNCHING[cloud][1] in refused.value.message
    missing = {name for names in refused.value.details["missing"].values() for name in names}
    assert permissions - missing <= {"ec2:CreateTags"}, "which AWS asks for only once a machine may be launched"


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_permission_that_is_taken_away_is_named_by_the_check_and_by_the_launch(clouds, controller, developer, cloud):
    account, permission = clouds.account(cloud), LAUNCHING[cloud][1]
    clouds.ledger.denied[ACCOUNTS[cloud]] = {permission}
    checked = controller.send("POST", f"/v1/costs/accounts/{account['id']}/check")
    assert [each["permission"] for each in checked["permissions"] if not each["granted"]] == [permission]
    launch = clouds.launch(developer, cloud, 1)
    with pytest.raises(Aborted, match=permission.replace("/", ".")):
        launch.wait(timeout=LIMIT)
    assert launch.state == "failed", "nothing runs"
    (node,) = nodes(launch).values()
    assert node["problem"]["code"] == "cloud-permission-missing"
    assert clouds.of(launch) == []
    assert clouds.leftovers(cloud) == []
    clouds.ledger.denied.clear()
    checked = controller.send("POST", f"/v1/costs/accounts/{account['id']}/check")
    assert all(each["granted"] for each in checked["permissions"])


# ---- launching ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def failing_for_the_third(clouds: Clouds, cloud: str, kind: str) -> Iterator[None]:
    """Have one machine of a launch refused, for as long as the context lasts."""
    if kind == "sold out":
        sold = {
            key: clouds.ledger.prices.pop(key) for key in list(clouds.ledger.prices) if key[1] == ELSEWHERE[cloud][1]
        }
        try:
            yield
        finally:
            clouds.ledger.prices.update(sold)
    else:
        clouds.ledger.faults.append(Fault(LAUNCHING[cloud][0], kind, after=2))
        yield


@pytest.mark.parametrize(
    ("cloud", "kind", "code"),
    [
        *((cloud, "sold out", "machine-not-offered") for cloud in CLOUDS),
        *((cloud, "quota", "cloud-quota") for cloud in CLOUDS),
        ("azure", "capacity", "machine-not-offered"),  # known only when addresses and interfaces were made
    ],
)
def test_the_third_of_five_that_fails_is_shown_and_resumed_and_the_others_go_on(clouds, developer, cloud, kind, code):
    clouds.account(cloud)
    with failing_for_the_third(clouds, cloud, kind):
        launch = clouds.launch(developer, cloud, 5, third=ELSEWHERE[cloud][0])
        assert launch.answer["nodes"][2]["region"] == ELSEWHERE[cloud][1]
        clouds.wait(launch, "stuck", timeout=LIMIT)
        until(lambda: sorted(node["state"] for node in nodes(launch).values()) == ["booting"] * 4 + ["failed"])
    (failed,) = (node for node in nodes(launch).values() if node["state"] == "failed")
    assert kind != "sold out" or failed["region"] == ELSEWHERE[cloud][1]
    assert failed["problem"]["code"] == code
    assert failed["problem"]["hint"]
    assert len(clouds.running_of(launch)) == 4
    first = {id(machine) for machine in clouds.of(launch) if machine.ended is None}
    launch.resume()
    clouds.wait(launch, "booting", timeout=LIMIT)
    assert clouds.running_of(launch) == sorted(nodes(launch))
    assert first < {id(machine) for machine in clouds.of(launch) if machine.ended is None}, "the others are the same"
    assert nodes(launch)[failed["name"]]["attempts"] == 2
    assert nodes(launch)[failed["name"]]["problem"] is None
    clouds.end(launch, cloud)
    assert len(clouds.of(launch)) == 5, "nobody was launched twice"


@pytest.mark.parametrize("cloud", CLOUDS)
def test_throttling_lost_answers_and_errors_of_the_cloud_make_no_second_machine(clouds, developer, cloud):
    clouds.account(cloud)
    operation = LAUNCHING[cloud][0]
    clouds.ledger.faults += [Fault(operation, kind) for kind in ("throttle", "lost", "error", "truncate")]
    clouds.ledger.faults += [Fault(LISTING[cloud], "error", times=2)]
    launch = clouds.launch(developer, cloud, 3)
    clouds.wait(launch, "booting", timeout=LIMIT)
    assert clouds.running_of(launch) == sorted(nodes(launch))
    until(lambda: all(fault.times == 0 for fault in clouds.ledger.faults), lambda: clouds.ledger.faults)
    clouds.ledger.faults += [Fault(LISTING[cloud], "error"), Fault(LISTING[cloud], "throttle")]
    clouds.end(launch, cloud)
    assert len(clouds.of(launch)) == 3


@pytest.mark.parametrize("cloud", CLOUDS)
def test_somebody_elses_machine_with_the_projects_tag_is_left_alone_and_an_orphan_of_ours_is_ended(
    clouds, developer, cloud
):
    launch = clouds.launch(developer, cloud, 2)
    clouds.wait(launch, "booting", timeout=LIMIT)
    mine = clouds.of(launch)[0]
    driver = driver_class(cloud)(clouds.lab.credentials(cloud), Endpoint(clouds.lab.url(cloud), str(clouds.lab.ca)))

    def order(installation: str, token: str) -> MachineOrder:
        return MachineOrder(
            token=token,
            installation=installation,
            project="demo",
            launch="l0123",
            node=next(clouds.names),
            region=mine.region,
            instance_type=mine.instance_type,
            user_data=mine.user_data,
            max_minutes=375,
        )

    driver.launch(order("iother", f"mforeign{cloud}"))
    driver.launch(order(mine.tags["flaas-installation"], f"morphan{cloud}"))
    foreign, orphan = clouds.ledger.machines[-2:]
    until(lambda: orphan.ended is not None)
    seen = set(nodes(launch))
    assert foreign.tags[NODE_TAG] not in seen
    estimated = {each["key"] for each in developer.costs.summary(group="node")["estimated"]}
    assert seen <= estimated
    assert not {foreign.tags[NODE_TAG], orphan.tags[NODE_TAG]} & estimated
    launch.end()
    clouds.wait(launch, "ended", timeout=LIMIT)
    looked = clouds.ledger.calls[LISTING[cloud]]
    until(lambda: clouds.ledger.calls[LISTING[cloud]] >= looked + 3)
    assert foreign.ended is None
    assert clouds.running_of(launch) == []

    def ended_by_its_owner() -> bool:
        left = [machine for machine in driver.describe("iother", [mine.region]) if not machine.gone]
        for machine in left:
            driver.terminate(machine)
        return not left

    until(ended_by_its_owner)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_cloud_that_does_not_sell_what_the_catalog_has_says_so(clouds, developer, cloud):
    clouds.account(cloud)
    found = developer.costs.recommend("tabular-small", nodes=[{"name": next(clouds.names), "provider": cloud}])
    (node,) = found.plan()["nodes"]
    key = (cloud, node["region"], node["instance_type"], "on_demand")
    price = clouds.ledger.prices.pop(key)
    try:
        launch = found.launch("demo", accept_usd=found.plan()["total_usd"])
        with pytest.raises(Aborted):
            launch.wait(timeout=LIMIT)
        (failed,) = nodes(launch).values()
        assert failed["problem"]["code"] == "machine-not-offered"
        assert launch.state == "failed"
        assert clouds.leftovers(cloud) == []
    finally:
        clouds.ledger.prices[key] = price


def test_a_template_that_nobody_sells_is_explained_and_not_launched(clouds, controller, developer):
    need = {"vcpus": 4.0, "memory_gib": 16.0, "gpu_count": 1, "gpu_names": ["GPU-OF-2040"]}
    controller.send("POST", "/v1/costs/templates", {"name": "of-2040", "title": "Of 2040", "need": need, "nodes": 3})
    found = developer.costs.recommend("of-2040")
    assert found.answer["plan"] is None
    assert all(entry["why_not"] for entry in found.answer["providers"] if entry["offer"] is None)
    with pytest.raises(Conflict) as refused:
        found.launch("demo", accept_usd=100.0)
    assert refused.value.code == "no-placement"
    order = {
        "hours": 1.0,
        "accepted_usd": 100.0,
        "nodes": [
            {
                "name": "future",
                "provider": "aws",
                "account": clouds.account("aws")["id"],
                "region": "eu-west-1",
                "instance_type": "gpu2040.large",
                "market": "on_demand",
                "usd_hour": 1.0,
            }
        ],
    }
    with pytest.raises(Conflict) as unknown:
        developer.costs.launch("demo", order)
    assert unknown.value.code == "price-unknown"


# ---- kill -9 --------------------------------------------------------------------------------------------------------


class Killer:
    """Kills the API once, when the event number `last` happens, from whichever thread of the laboratory."""

    def __init__(self, clouds: Clouds, last: int) -> None:
        self._clouds, self._left, self._lock = clouds, last, threading.Lock()
        self._killed = threading.Event()

    def happen(self, *_: object) -> None:
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._clouds.api.kill_api()
                self._killed.set()

    def restart(self) -> None:
        """Wait for the death of the API, and start it again."""
        assert self._killed.wait(LIMIT)
        self._clouds.api.start_api()


@contextlib.contextmanager
def killed_at_call(clouds: Clouds, number: int) -> Iterator[Killer]:
    """Kill the API when it makes call `number` to a cloud, before the cloud does anything."""
    killer, answer = Killer(clouds, number), clouds.ledger.fault

    def fault(operation: str) -> Fault | None:
        killer.happen()
        return answer(operation)

    clouds.ledger.fault = fault  # type: ignore[method-assign]
    try:
        yield killer
    finally:
        clouds.ledger.fault = answer  # type: ignore[method-assign]


@pytest.mark.parametrize("made", [1, 3])
@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_api_is_killed_when_a_machine_was_made_or_ended_and_nobody_has_heard_of_it(clouds, developer, cloud, made):
    launch_them = clouds.recommended(developer, cloud, 3)
    killer = Killer(clouds, made)
    clouds.ledger.on_boot = killer.happen
    with ThreadPoolExecutor(1) as person:
        asked = person.submit(launch_them)
        killer.restart()
        launch = asked.result()
    clouds.wait(launch.refresh(), "booting", timeout=LIMIT)
    assert clouds.running_of(launch) == sorted(nodes(launch))
    assert len(clouds.of(launch)) == 3, "one machine for each node"
    killer = Killer(clouds, made)
    clouds.ledger.on_end = killer.happen
    with ThreadPoolExecutor(1) as person:
        asked = person.submit(launch.end)
        killer.restart()
        asked.result()
    clouds.wait(launch.refresh(), "ended", timeout=LIMIT)
    assert clouds.running_of(launch) == []
    assert clouds.leftovers(cloud) == []
    assert len(clouds.of(launch)) == 3


@pytest.mark.parametrize("call", [1, 3, 8])
@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_api_is_killed_at_a_call_to_the_cloud(clouds, developer, cloud, call):
    launch_them = clouds.recommended(developer, cloud, 2)
    with killed_at_call(clouds, call) as killer, ThreadPoolExecutor(1) as person:
        # The death may come before the answer: then the person's client asks again, and gets the same launch.
        asked = person.submit(launch_them)
        killer.restart()
        launch = asked.result()
    clouds.wait(launch.refresh(), "booting", timeout=LIMIT)
    assert clouds.running_of(launch) == sorted(nodes(launch))
    assert len(clouds.of(launch)) == 2
    clouds.end(launch, cloud)
