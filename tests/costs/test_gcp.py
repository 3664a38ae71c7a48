"""Google Cloud: Google's own libraries, unmodified, through the driver, against the laboratory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flaas_jupyter.costs.driver import (
    CloudUnreachable,
    CredentialsRefused,
    Endpoint,
    Machine,
    MachineOrder,
    NotOffered,
    PermissionMissing,
    QuotaExceeded,
    Throttled,
)
from flaas_jupyter.costs.price_table import read_rows
from flaas_jupyter.costs.providers import gcp_connection, gcp_costs
from flaas_jupyter.costs.providers.gcp import ACCOUNT_PERMISSION, PERMISSIONS, TABLE_PERMISSION, GcpDriver
from flaas_jupyter.costs.providers.gcp_prices import component
from flaas_jupyter.errors import FlaasError, InvalidInput, NotAllowed
from tests.cloudlab.gcp import ACCOUNT, EMAIL, ON_SALE, PROJECT
from tests.cloudlab.ledger import Fault, Ledger
from tests.cloudlab.server import CloudLab

DOCS = Path(__file__).parents[2] / "docs" / "clouds"
START = datetime(2026, 9, 1, tzinfo=UTC)
REGION = "europe-west4"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudLab]:
    lab = CloudLab(tmp_path_factory.mktemp("gcp"), Ledger(START), clouds=("gcp",))
    yield lab
    lab.stop()


@pytest.fixture
def lab(running: CloudLab) -> CloudLab:
    reset(running.ledger)
    return running


def reset(ledger: Ledger) -> None:
    """As it was at the start; the numbers of machines and operations go on."""
    for machine in ledger.machines:
        machine.details.pop("keep_disk", None)
        ledger.end(machine)
    ledger.machines.clear()
    ledger.now = START
    ledger.faults.clear()
    ledger.calls.clear()
    ledger.denied.clear()


@pytest.fixture
def driver(lab: CloudLab) -> GcpDriver:
    return connect(lab)


def connect(lab: CloudLab, **other: str) -> GcpDriver:
    return GcpDriver({**lab.credentials("gcp"), **other}, Endpoint(lab.url("gcp"), str(lab.ca)))


_orders = iter(range(10**6))


def order(**other: Any) -> MachineOrder:
    values: dict[str, Any] = {
        "token": f"order-{next(_orders)}",
        "installation": "lab-1",
        "project": "hospital",
        "launch": "l-1",
        "node": "n-1",
        "region": REGION,
        "instance_type": "e2-standard-2",
        "user_data": "#cloud-config\n",
        "max_minutes": 600,
    }
    return MachineOrder(**{**values, **other})


# ---- credentials -----------------------------------------------------------------------------------------------------


def test_whoami_tells_the_account_and_that_all_is_granted(driver: GcpDriver) -> None:
    identity = driver.whoami()
    assert (identity.account, identity.principal) == (PROJECT, EMAIL)
    assert not any(identity.missing(purpose) for purpose in ("costs", "prices", "launch"))
    assert {p.permission for p in identity.permissions} == {*PERMISSIONS, TABLE_PERMISSION, ACCOUNT_PERMISSION}


@pytest.mark.parametrize(
    ("permission", "purpose"),
    [
        ("compute.instances.create", "launch"),
        ("bigquery.jobs.create", "costs"),
        (TABLE_PERMISSION, "costs"),
        (ACCOUNT_PERMISSION, "prices"),
        ("compute.machineTypes.list", "prices"),
    ],
)
def test_whoami_names_what_is_missing(lab: CloudLab, driver: GcpDriver, permission: str, purpose: str) -> None:
    lab.ledger.denied[PROJECT].add(permission)
    assert driver.whoami().missing(purpose) == (permission,)


def key_of(lab: CloudLab) -> dict[str, Any]:
    return json.loads(lab.credentials("gcp")["service_account_key"])


def test_a_key_of_somebody_else_is_refused_without_being_quoted(lab: CloudLab) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    other = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    wrong = connect(lab, service_account_key=json.dumps({**key_of(lab), "private_key": other.decode()}))
    with pytest.raises(CredentialsRefused, match="invalid_grant") as refused:
        wrong.whoami()
    assert_no_secret(refused.value, other.decode())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"token_uri": "https://evil.example/token"}, "asks for tokens"),
        ({"token_uri": "http://169.254.169.254/token"}, "asks for tokens"),
        ({"type": "external_account"}, "not the key of a service account"),
        ({"universe_domain": "evil.example"}, "another cloud"),
        ({"private_key": ""}, "private_key"),
        ({"project_id": "../../other"}, "no id of a Google Cloud project"),
    ],
)
@pytest.mark.parametrize("private", [False, True])
def test_a_key_cannot_send_the_driver_elsewhere(
    lab: CloudLab, change: dict[str, str], message: str, private: bool
) -> None:
    key = {**key_of(lab), **({} if private else {"token_uri": gcp_connection.TOKEN_URI}), **change}
    endpoint = Endpoint(lab.url("gcp"), str(lab.ca)) if private else Endpoint()
    with pytest.raises(InvalidInput, match=message) as refused:
        GcpDriver({"service_account_key": json.dumps(key)}, endpoint)
    assert_no_secret(refused.value, key["private_key"])


def test_without_an_endpoint_of_the_operator_only_googles_token_address_is_taken(lab: CloudLab) -> None:
    with pytest.raises(InvalidInput, match="asks for tokens"):
        GcpDriver(lab.credentials("gcp"))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "\x00", json.dumps({"type": "service_account"})])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        GcpDriver({"service_account_key": text})


def test_a_damaged_private_key_is_refused_without_being_quoted(lab: CloudLab) -> None:
    damaged = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0LXNlY3JldC1zZWNyZXQ=\n-----END PRIVATE KEY-----\n"
    wrong = connect(lab, service_account_key=json.dumps({**key_of(lab), "private_key": damaged}))
    with pytest.raises(InvalidInput) as refused:
        wrong.whoami()
    assert_no_secret(refused.value, damaged)
    assert refused.value.__cause__ is None


def assert_no_secret(error: FlaasError, key: str) -> None:
    said = f"{error!r} {error} {json.dumps(error.to_dict())}"
    assert "PRIVATE KEY" not in said
    assert "ya29" not in said
    assert "eyJ" not in said
    for line in key.splitlines()[1:-1]:
        assert line not in said


# ---- prices ----------------------------------------------------------------------------------------------------------


def test_machines_cost_what_their_parts_cost(driver: GcpDriver) -> None:
    rows = {(row["region"], row["instance_type"]): row for row in driver.prices()}
    for region, name, usd, spot in ON_SALE:
        row = rows[region, name]
        assert row["price_usd_hour"] == pytest.approx(float(usd), abs=1e-9)
        assert row["spot_usd_hour"] == (None if spot is None else pytest.approx(float(spot), abs=1e-9))
    g2 = rows[REGION, "g2-standard-4"]
    assert g2["price_usd_hour"] == pytest.approx(0.58804 + 4 * 0.027519 + 16 * 0.0028) == pytest.approx(0.742916)
    assert (g2["gpu_name"], g2["gpu_count"], g2["gpu_memory_gib"]) == ("L4", 1, 24)
    t4 = rows[REGION, "n1-standard-4+nvidia-tesla-t4:1"]
    assert (t4["gpu_name"], t4["gpu_memory_gib"], t4["vcpus"], t4["memory_gib"]) == ("T4", 16, 4, 15)
    assert rows[REGION, "c4a-standard-2"]["arch"] == "arm64"


def test_the_traps_of_the_price_list(driver: GcpDriver) -> None:
    rows = {row["instance_type"]: row for row in driver.prices([REGION])}
    assert {row["region"] for row in rows.values()} == {REGION}
    assert rows["f1-micro"]["price_usd_hour"] == 0.0084  # after a free tier
    ultra = 12 * 0.034802 + 170 * 0.004664 + 4.325209
    assert rows["a2-ultragpu-1g"]["price_usd_hour"] == pytest.approx(ultra + 375 * 0.088 / 730)
    assert not rows["a3-highgpu-1g"]["on_demand_available"]
    assert rows["g2-standard-4"]["on_demand_available"]
    a3 = 26 * 0.0372 + 234 * 0.0032 + 12.2 + 2 * 375 * 0.088 / 730
    assert rows["a3-highgpu-1g"]["price_usd_hour"] == pytest.approx(a3)
    assert rows["e2-medium"]["burstable"]
    assert not rows["e2-standard-2"]["burstable"]
    assert max(row["price_usd_hour"] for row in rows.values()) < 20  # nothing of sole tenancy and the like


def test_prices_are_rows_of_the_catalog_and_come_in_pages(lab: CloudLab, driver: GcpDriver) -> None:
    table = read_rows(list(driver.prices()), "Google Cloud")
    assert len(table) > len(ON_SALE)
    assert lab.ledger.calls["skus.list"] > 3
    assert lab.ledger.calls["machineTypes.list"] > 3


@pytest.mark.parametrize(
    ("description", "market", "what"),
    [
        ("N2 Instance Core running in Frankfurt", "OnDemand", "core n2"),
        ("N2D AMD Instance Ram running in Frankfurt", "OnDemand", "ram n2d"),
        ("T2A Arm Instance Core running in Virginia", "OnDemand", "core t2a"),
        ("Spot Preemptible C4A Arm Instance Ram running in Finland", "Preemptible", "ram c4a"),
        ("Compute optimized Core running in Belgium", "OnDemand", "core c2"),
        ("Compute optimized Instance Core running in Belgium", "OnDemand", "core c2"),
        ("A3Plus Instance Core running in Iowa", "OnDemand", "core a3plus"),
        ("Nvidia H100 80GB Plus GPU attached to Spot Preemptible VMs", "Preemptible", "gpu h100 80gb plus"),
        ("SSD backed Local Storage attached to Spot Preemptible VMs in Zurich", "Preemptible", "ssd"),
        ("Small Instance with 1 VCPU running in EMEA", "OnDemand", "whole g1-small"),
        ("Commitment v1: N2 Cpu in Frankfurt for 1 Year", "Commit1Yr", None),
        ("N2 Custom Instance Core running in Frankfurt", "OnDemand", None),
        ("N2 Sole Tenancy Instance Ram running in Frankfurt", "OnDemand", None),
        ("Reserved N2 Instance Core running in Frankfurt", "OnDemand", None),
        ("M3 Memory-optimized Instance Core Premium", "OnDemand", None),
        ("Network Inter Region Egress from Zurich to Paris", "OnDemand", None),
    ],
)
def test_what_a_sku_is_the_price_of(description: str, market: str, what: str | None) -> None:
    assert component(description, market) == what


def test_prices_by_contract(driver: GcpDriver) -> None:
    wanted = [{"region": REGION, "instance_type": name} for name in ("g2-standard-4", "e2-medium", "nothing")]
    rows = list(driver.negotiated(wanted))
    assert [row["instance_type"] for row in rows] == ["g2-standard-4"]  # of E2 the account has no price of its own
    assert rows[0]["kind"] == "negotiated"
    parts = 4 * 0.027519 + 16 * 0.0028  # the L4 is not G2's, so it costs what it costs
    assert rows[0]["price_usd_hour"] == pytest.approx(0.58804 + 0.9 * parts)


def test_prices_by_contract_need_an_account_and_a_permission(lab: CloudLab, driver: GcpDriver) -> None:
    wanted = [{"region": REGION, "instance_type": "e2-medium"}]
    lab.ledger.denied[PROJECT].add(ACCOUNT_PERMISSION)
    with pytest.raises(PermissionMissing) as missing:
        list(driver.negotiated(wanted))
    assert missing.value.details["permission"] == ACCOUNT_PERMISSION
    with pytest.raises(InvalidInput, match="billing account"):
        list(connect(lab, billing_account="").negotiated(wanted))


def test_billing_accounts_and_budgets(driver: GcpDriver) -> None:
    assert driver.billing_accounts() == [{"id": ACCOUNT, "name": "Laboratory", "open": "yes"}]
    assert [budget["displayName"] for budget in driver.budgets()] == ["FLaaS"]


# ---- machines --------------------------------------------------------------------------------------------------------


def test_launch_describe_terminate(lab: CloudLab, driver: GcpDriver) -> None:
    wish = order(disk_gib=40, max_minutes=90)
    machine = driver.launch(wish)
    assert (machine.state, machine.region, machine.instance_type) == ("running", REGION, "e2-standard-2")
    assert machine.token == wish.token
    assert wish.tags.items() <= machine.tags.items()
    assert machine.created == START
    body: Any = lab.ledger.running("gcp")[0].details["body"]
    assert body["serviceAccounts"] == []
    assert "tags" not in body
    assert body["shieldedInstanceConfig"]["enableSecureBoot"] is True
    assert body["scheduling"]["maxRunDuration"] == {"seconds": "5400"}
    assert body["scheduling"]["instanceTerminationAction"] == "DELETE"
    assert {"key": "block-project-ssh-keys", "value": "TRUE"} in body["metadata"]["items"]
    disk = body["disks"][0]
    assert disk["autoDelete"]
    assert disk["initializeParams"]["labels"] == body["labels"]
    assert disk["initializeParams"]["diskSizeGb"] == "40"

    assert driver.describe("lab-1", [REGION]) == [machine]
    assert driver.describe("lab-1", ["europe-west1"]) == [] == driver.describe("lab-2", [REGION])

    driver.terminate(machine)
    driver.terminate(machine)
    assert lab.ledger.running() == []
    assert driver.describe("lab-1", [REGION]) == []


def test_spot_gpu_and_arm(lab: CloudLab, driver: GcpDriver) -> None:
    lab.ledger.sell("gcp", REGION, "c4a-standard-2", "0.11")
    gpu = driver.launch(order(instance_type="n1-standard-4+nvidia-tesla-t4:1", market="spot"))
    assert gpu.instance_type == "n1-standard-4+nvidia-tesla-t4:1"
    assert gpu.id.startswith("europe-west4-b/")  # zone a has no T4
    body: Any = lab.ledger.running("gcp")[0].details["body"]
    assert body["scheduling"]["provisioningModel"] == "SPOT"
    assert body["scheduling"]["onHostMaintenance"] == "TERMINATE"
    assert lab.ledger.running("gcp")[0].usd_hour == Decimal("0.26153")
    driver.launch(order(instance_type="g2-standard-4"))
    driver.launch(order(instance_type="c4a-standard-2"))
    disk = lab.ledger.running("gcp")[2].details["body"]["disks"][0]["initializeParams"]  # type: ignore[index]
    assert disk["diskType"].endswith("hyperdisk-balanced")
    assert "arm64" in disk["sourceImage"]


def test_the_same_order_makes_one_machine(lab: CloudLab, driver: GcpDriver) -> None:
    wish = order()
    machine = driver.launch(wish)
    assert driver.launch(wish) == machine == connect(lab).launch(wish)
    assert len(lab.ledger.running()) == 1
    driver.terminate(machine)
    assert driver.launch(wish).gone  # even then
    assert len(lab.ledger.machines) == 1


def test_the_same_order_at_the_same_time_makes_one_machine(lab: CloudLab) -> None:
    wish, drivers = order(), [connect(lab) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        machines = list(pool.map(lambda driver: driver.launch(wish), drivers))
    assert len({machine.id for machine in machines}) == len(lab.ledger.machines) == 1


@pytest.mark.parametrize("kind", ["lost", "truncate", "timeout"])
def test_an_answer_that_is_lost_makes_no_second_machine(
    lab: CloudLab, driver: GcpDriver, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(gcp_connection, "TIMEOUT", 0.5)
    wish = order()
    lab.ledger.faults.append(Fault("instances.insert", kind))
    with pytest.raises(CloudUnreachable):
        driver.launch(wish)
    assert driver.launch(wish).state == "running"
    assert len(lab.ledger.machines) == 1


def test_a_machine_that_the_list_does_not_show_yet_is_not_made_again(
    lab: CloudLab, driver: GcpDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = order()
    machine = driver.launch(wish)
    compute: Any = driver._compute
    real = compute.listed
    monkeypatch.setattr(compute, "listed", lambda what, *a: iter(()) if what == "instances" else real(what, *a))
    assert driver.launch(wish) == machine  # Google knows the id of the request
    assert len(lab.ledger.machines) == 1


def test_an_exhausted_zone_leads_to_the_next(lab: CloudLab, driver: GcpDriver) -> None:
    lab.ledger.faults.append(Fault("instances.insert", "capacity", times=2))
    wish = order()
    machine = driver.launch(wish)
    assert machine.id.startswith("europe-west4-c/")
    assert driver.launch(wish) == machine
    assert len(lab.ledger.machines) == 1
    lab.ledger.faults.append(Fault("instances.insert", "capacity", times=3))
    with pytest.raises(NotOffered, match="No zone of europe-west4"):
        driver.launch(order())
    assert len(lab.ledger.machines) == 1


def test_quota_is_not_tried_in_other_zones(lab: CloudLab, driver: GcpDriver) -> None:
    lab.ledger.faults.append(Fault("instances.insert", "quota"))
    with pytest.raises(QuotaExceeded, match="CPUS"):
        driver.launch(order())
    assert lab.ledger.calls["instances.insert"] == 1
    assert lab.ledger.machines == []


@pytest.mark.parametrize(
    ("other", "match"),
    [
        ({"instance_type": "e2-nothing-1"}, "no e2-nothing-1"),
        ({"region": "mars-north1"}, "in mars-north1"),
        ({"region": "europe-west1", "instance_type": "g2-standard-4"}, "in europe-west1"),
        ({"instance_type": "e2-standard-2", "market": "on_demand", "region": "europe-west1"}, "in europe-west1"),
        ({"instance_type": "n1-standard-4+nvidia-tesla-p4:1"}, "p4"),
    ],
)
def test_what_is_not_sold_there(driver: GcpDriver, other: dict[str, Any], match: str) -> None:
    with pytest.raises(NotOffered, match=match):
        driver.launch(order(**other))


@pytest.mark.parametrize("instance_type", ["x", "e2-medium'", 'e2" OR name = "', "../../x", "n1-standard-4+tpu:1"])
def test_what_is_no_machine_type(driver: GcpDriver, instance_type: str) -> None:
    with pytest.raises(InvalidInput):
        driver.launch(order(instance_type=instance_type))


def test_machines_come_in_pages_and_only_ours(lab: CloudLab, driver: GcpDriver) -> None:
    names = {driver.launch(order(node=f"n-{i}")).id for i in range(7)}
    driver.launch(order(installation="somebody-else"))
    lab.ledger.calls.clear()
    assert {machine.id for machine in driver.describe("lab-1", [REGION])} == names
    assert lab.ledger.calls["instances.list"] > 2


def test_a_machine_of_somebody_else_is_left_alone(lab: CloudLab, driver: GcpDriver) -> None:
    theirs = driver.launch(order(installation="somebody-else"))
    for tags in ({}, {"flaas-installation": "lab-1", "flaas-project": "hospital"}):
        with pytest.raises((NotAllowed, InvalidInput)):
            driver.terminate(Machine("gcp", theirs.id, REGION, "e2-standard-2", "running", tags=tags))
    assert len(lab.ledger.running()) == 1


@pytest.mark.parametrize("id", ["", "x", "europe-west4-a/", "europe-west4-a/a/../b", "europe-west4-a/A", "a/b?x=1"])
def test_what_is_no_machine_id(driver: GcpDriver, id: str) -> None:
    with pytest.raises(InvalidInput):
        driver.terminate(Machine("gcp", id, REGION, "x", "running", tags={"flaas-installation": "lab-1"}))


def test_a_disk_that_is_left_is_found_and_deleted(lab: CloudLab, driver: GcpDriver) -> None:
    machine = driver.launch(order())
    lab.ledger.machines[-1].details["keep_disk"] = True
    lab.ledger.advance(minutes=601)  # Google ended it
    (left,) = driver.describe("lab-1", [REGION])
    assert left.state == "terminated"
    assert left.leftovers == (machine.id,)
    assert not left.gone
    driver.terminate(left)
    assert driver.describe("lab-1", [REGION]) == []
    assert lab.ledger.machines[-1].leftovers == []


def test_terminating_deletes_a_disk_that_did_not_go_with_its_machine(lab: CloudLab, driver: GcpDriver) -> None:
    machine = driver.launch(order())
    lab.ledger.machines[-1].details["keep_disk"] = True
    driver.terminate(machine)
    assert driver.describe("lab-1", [REGION]) == []
    assert lab.ledger.machines[-1].leftovers == []


def test_a_machine_ends_by_itself(lab: CloudLab, driver: GcpDriver) -> None:
    driver.launch(order(max_minutes=5))
    lab.ledger.advance(minutes=6)
    assert driver.describe("lab-1", [REGION]) == []


# ---- refusals and failures -------------------------------------------------------------------------------------------


def act(driver: GcpDriver, what: str) -> None:
    if what == "launch":
        driver.launch(order())
    elif what == "describe":
        driver.describe("lab-1", [REGION])
    elif what == "prices":
        list(driver.prices())
    elif what == "costs":
        list(driver.costs(date(2026, 9, 1), date(2026, 9, 2)))
    else:
        driver.whoami()


@pytest.mark.parametrize(
    ("permission", "what"),
    [
        ("compute.instances.create", "launch"),
        ("compute.instances.setLabels", "launch"),
        ("compute.instances.setMetadata", "launch"),
        ("compute.disks.create", "launch"),
        ("compute.subnetworks.use", "launch"),
        ("compute.networks.get", "launch"),
        ("compute.instances.list", "describe"),
        ("compute.disks.list", "describe"),
        ("compute.machineTypes.list", "prices"),
        ("bigquery.jobs.create", "costs"),
        ("bigquery.tables.getData", "costs"),
    ],
)
def test_a_refusal_names_the_missing_permission(lab: CloudLab, driver: GcpDriver, permission: str, what: str) -> None:
    lab.ledger.denied[PROJECT].add(permission)
    with pytest.raises(PermissionMissing, match=permission) as missing:
        act(driver, what)
    assert missing.value.details["permission"] == permission
    assert_no_secret(missing.value, key_of(lab)["private_key"])
    assert lab.ledger.machines == []


OPERATIONS = [
    ("token", "whoami"),
    ("permissions", "whoami"),
    ("table.permissions", "whoami"),
    ("instances.insert", "launch"),
    ("machineTypes.list", "launch"),
    ("operations.wait", "launch"),
    ("instances.list", "describe"),
    ("skus.list", "prices"),
    ("jobs.insert", "costs"),
    ("jobs.getQueryResults", "costs"),
]


@pytest.mark.parametrize(("operation", "what"), OPERATIONS)
@pytest.mark.parametrize(
    ("kind", "error"),
    [("throttle", Throttled), ("error", CloudUnreachable), ("truncate", CloudUnreachable), ("lost", CloudUnreachable)],
)
def test_every_failure_has_its_name(
    lab: CloudLab, driver: GcpDriver, operation: str, what: str, kind: str, error: type[FlaasError]
) -> None:
    lab.ledger.faults.append(Fault(operation, kind, times=50))
    with pytest.raises(error) as raised:
        act(driver, what)
    assert_no_secret(raised.value, key_of(lab)["private_key"])
    if kind == "throttle":
        assert raised.value.details["retry_after"] > 0
    lab.ledger.faults.clear()
    act(driver, what)  # and the next time it works


def test_half_a_list_is_no_list(lab: CloudLab, driver: GcpDriver) -> None:
    for number in range(5):
        driver.launch(order(node=f"n-{number}"))
    lab.ledger.faults.append(Fault("instances.list", "truncate", after=1))
    with pytest.raises(CloudUnreachable):
        driver.describe("lab-1", [REGION])


def test_nobody_answers(lab: CloudLab) -> None:
    key = {**key_of(lab), "token_uri": "https://localhost:1/token"}
    nobody = GcpDriver({"service_account_key": json.dumps(key)}, Endpoint("https://localhost:1", str(lab.ca)))
    with pytest.raises(CloudUnreachable):
        nobody.whoami()


def test_a_certificate_that_is_not_trusted_is_not_trusted(lab: CloudLab) -> None:
    with pytest.raises(CloudUnreachable):
        GcpDriver(lab.credentials("gcp"), Endpoint(lab.url("gcp"))).whoami()


def test_the_environment_does_not_weaken_the_private_authority(
    lab: CloudLab, driver: GcpDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", os.devnull)
    assert driver.whoami().account == PROJECT


def said(reason: str = "", message: str = "", status: str = "") -> dict[str, Any]:
    return {"error": {"message": message, "status": status, "errors": [{"reason": reason}]}}


@pytest.mark.parametrize(
    ("http", "content", "error", "code"),
    [
        (401, {}, CredentialsRefused, "cloud-credentials-refused"),
        (403, said("quotaExceeded", "Quota 'CPUS' exceeded."), QuotaExceeded, "cloud-quota"),
        (403, said("rateLimitExceeded"), Throttled, "cloud-throttled"),
        (429, None, Throttled, "cloud-throttled"),
        (403, said("accessNotConfigured", "Compute Engine API"), PermissionMissing, "cloud-api-disabled"),
        (400, said("resourceNotReady"), Throttled, "cloud-throttled"),
        (400, said("bytesBilledLimitExceeded"), FlaasError, "cloud-query-too-large"),
        (412, said("conditionNotMet"), NotAllowed, "cloud-policy"),
        (400, said("invalid", "Bearer ya29.secret was sent"), FlaasError, "cloud-refused"),
        (503, "<html>", CloudUnreachable, "cloud-unreachable"),
        (403, {"error": "text"}, PermissionMissing, "cloud-permission-missing"),
        (403, {"error": {"errors": ["x"], "details": None}}, PermissionMissing, "cloud-permission-missing"),
    ],
)
def test_what_refusals_mean(http: int, content: Any, error: type[FlaasError], code: str) -> None:
    refusal = gcp_connection.refusal(http, content)
    assert isinstance(refusal, error)
    assert refusal.code == code
    assert "ya29" not in str(refusal.to_dict())


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("ZONE_RESOURCE_POOL_EXHAUSTED", NotOffered),
        ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", NotOffered),
        ("QUOTA_EXCEEDED", QuotaExceeded),
        ("RESOURCE_NOT_FOUND", NotOffered),
        ("INTERNAL_ERROR", CloudUnreachable),
        ("SOMETHING_NEW", FlaasError),
    ],
)
def test_what_failed_operations_mean(code: str, error: type[FlaasError]) -> None:
    assert isinstance(gcp_connection.operation_failure({"error": {"errors": [{"code": code}]}}), error)
    assert gcp_connection.operation_failure({"status": "DONE"}) is None


def test_the_laboratory_is_strict(lab: CloudLab, driver: GcpDriver) -> None:
    import requests

    driver.launch(order())
    ask, url = driver._cloud.ask, driver._cloud.url("compute", f"/compute/v1/projects/{PROJECT}")
    body: Any = lab.ledger.running("gcp")[0].details["body"]
    id = "12345678-1234-1234-1234-123456789012"
    with pytest.raises(NotAllowed) as refused:
        ask("POST", f"{url}/zones/europe-west4-a/instances", body={**body, "name": "x", "labels": {}}, requestId=id)
    assert refused.value.code == "cloud-policy"
    with pytest.raises(NotAllowed):
        ask("POST", f"{url}/global/firewalls", body={"direction": "INGRESS", "allowed": [{"IPProtocol": "tcp"}]})
    without = requests.get(f"{url}/aggregated/instances", verify=str(lab.ca), timeout=10)
    assert without.status_code == 401
    assert len(lab.ledger.running()) == 1


def test_importing_the_driver_loads_nothing_of_google() -> None:
    code = (
        "import sys, flaas_jupyter.costs.providers.gcp;"
        "sys.exit(any(name.split('.')[0] in ('google', 'requests', 'pandas') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


# ---- costs -----------------------------------------------------------------------------------------------------------


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["launch", "terminate", "wait"]),
            st.sampled_from(["e2-standard-2", "g2-standard-4"]),
            st.sampled_from(["on_demand", "spot"]),
            st.integers(1, 40 * 3600),
        ),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
def test_the_bill_is_what_ran_times_its_price(running: CloudLab, steps: list[tuple[str, str, str, int]]) -> None:
    reset(running.ledger)
    # A multiple of 0.0036 USD an hour costs whole millionths a second: no fraction is lost on the way
    running.ledger.sell("gcp", REGION, "e2-standard-2", "0.0720", "0.0360")
    running.ledger.sell("gcp", REGION, "g2-standard-4", "0.7416", "0.3888")
    try:
        driver, machines = connect(running), list[Machine]()
        for what, instance_type, market, seconds in steps:
            if what == "launch":
                machines.append(driver.launch(order(instance_type=instance_type, market=market, max_minutes=3000)))
            elif what == "terminate" and machines:
                driver.terminate(machines.pop())
            running.ledger.advance(seconds=seconds)
        start, end = START.date(), running.ledger.now.date() + timedelta(days=1)
        rows = list(driver.costs(start, end))
        billed = sum((row["BilledCost"] for row in rows), Decimal(0))
        assert billed.quantize(Decimal("0.01")) == running.ledger.owed(start, end)
        exact = sum((b.usd for b in running.ledger.bill("gcp", PROJECT, start, end)), Decimal(0))
        assert billed == exact
        middle = start + (end - start) / 2
        halves = [*driver.costs(start, middle), *driver.costs(middle, end)]
        assert sum((row["BilledCost"] for row in halves), Decimal(0)) == exact
    finally:
        for region, name, usd, spot in ON_SALE:
            running.ledger.sell("gcp", region, name, usd, spot)


def test_a_charge_is_a_focus_row(lab: CloudLab, driver: GcpDriver) -> None:
    machine = driver.launch(order(project="hospital", node="n-3"))
    lab.ledger.advance(hours=2)
    (row,) = driver.costs(date(2026, 9, 1), date(2026, 9, 2))
    assert row["BilledCost"] == row["EffectiveCost"] == Decimal("0.14754408")
    assert row["ListCost"] == Decimal("0.14754408") * Decimal("1.25")  # a fifth was credited
    assert row["Tags"] == dict(order(node="n-3").tags)
    assert row["ResourceId"].endswith(machine.id)
    assert row["RegionId"] == REGION
    assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == (START, START + timedelta(days=1))
    assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == (START, datetime(2026, 10, 1, tzinfo=UTC))
    assert (row["ProviderName"], row["SubAccountId"], row["BillingAccountId"]) == ("Google Cloud", PROJECT, ACCOUNT)
    assert (row["ServiceCategory"], row["ChargeCategory"], row["BillingCurrency"]) == ("Compute", "Usage", "USD")
    assert (row["PricingQuantity"], row["PricingUnit"]) == (Decimal(2), "hour")


def test_the_bill_comes_in_pages(lab: CloudLab, driver: GcpDriver) -> None:
    for number in range(4):
        driver.launch(order(node=f"n-{number}", max_minutes=5000))
    lab.ledger.advance(hours=60)
    assert len(list(driver.costs(date(2026, 9, 1), date(2026, 9, 4)))) == 12
    assert lab.ledger.calls["jobs.getQueryResults"] >= 4
    assert list(driver.costs(date(2026, 9, 4), date(2026, 9, 4))) == []


@pytest.mark.parametrize(
    "table",
    [
        "p.d.t",
        "flaas-laboratory.billing.gcp_billing_export_v1_01AB23_45CD67_89EF01",
        "flaas-laboratory.billing.gcp_billing_export_resource_v1_01AB23_45CD67_89EF01` WHERE TRUE --",
        "flaas-laboratory.billing.gcp_billing_export_resource_v1_01AB23_45CD67_89EF01\n",
    ],
)
def test_a_table_is_that_of_a_detailed_export(lab: CloudLab, table: str) -> None:
    with pytest.raises(InvalidInput, match="no table of a detailed billing export"):
        connect(lab, billing_table=table)


def test_costs_need_a_table_that_is_there(lab: CloudLab) -> None:
    with pytest.raises(InvalidInput) as refused:
        list(connect(lab, billing_table="").costs(date(2026, 9, 1), date(2026, 9, 2)))
    assert refused.value.code == "no-billing-table"
    other = f"{PROJECT}.elsewhere.gcp_billing_export_resource_v1_000000_000000_000000"
    with pytest.raises(InvalidInput) as refused:
        list(connect(lab, billing_table=other).costs(date(2026, 9, 1), date(2026, 9, 2)))
    assert refused.value.code == "bad-billing-table"


# ---- exported files --------------------------------------------------------------------------------------------------


def exports() -> list[Path]:
    named = os.environ.get("FLAAS_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    return sorted((folder / "cloud-billing" / "native").glob("gcp_billing_export_*.csv"))


@pytest.mark.skipif(not exports(), reason="no folder of data with cloud-billing/native; FLAAS_DATA names it")
def test_real_exports_add_up_as_pandas_adds_them() -> None:
    import ast
    import csv

    import pandas as pd

    for path in exports():
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(gcp_costs.rows_from_export(csv.DictReader(file)))
        frame = pd.read_csv(path)
        credits = frame["credits"].map(lambda text: sum(each["amount"] for each in ast.literal_eval(text)))
        assert len(rows) == len(frame)
        assert float(sum(row["BilledCost"] for row in rows)) == pytest.approx(
            (frame["cost"] + credits).sum(), abs=1e-12
        )
        assert float(sum(row["ListCost"] for row in rows)) == pytest.approx(frame["cost"].sum(), abs=1e-12)
        by_pandas = (frame["cost"] + credits).groupby(frame["service.description"]).sum()
        for service, total in by_pandas.items():
            mine = sum(row["BilledCost"] for row in rows if row["ServiceName"] == service)
            assert float(mine) == pytest.approx(total, abs=1e-12)
        assert {row["BillingCurrency"] for row in rows} == set(frame["currency"])
        assert all(row["ChargePeriodStart"].utcoffset() == timedelta(0) for row in rows)
        from_frame = list(gcp_costs.rows_from_export(frame.to_dict("records")))
        assert sum(r["BilledCost"] for r in from_frame) == pytest.approx(sum(r["BilledCost"] for r in rows))


EXPORTED = {
    "billing_account_id": ACCOUNT,
    "service.description": "Compute Engine",
    "usage_start_time": "2026-09-01 00:00:00 UTC",
    "usage_end_time": "2026-09-01 01:00:00 UTC",
    "project.id": PROJECT,
    "labels": '[{"key": "flaas-project", "value": "hospital"}]',
    "location.region": REGION,
    "cost": "1.5",
    "currency": "EUR",
    "credits": "[{'name': 'x', 'amount': -0.5, 'full_name': None}]",
    "invoice.month": "202610",
    "cost_type": "tax",
}


def test_an_exported_row() -> None:
    (row,) = gcp_costs.rows_from_export([EXPORTED])
    assert (row["BilledCost"], row["ListCost"], row["BillingCurrency"]) == (Decimal("1.0"), Decimal("1.5"), "EUR")
    assert row["Tags"] == {"flaas-project": "hospital"}
    assert row["ChargeCategory"] == "Tax"
    assert row["BillingPeriodStart"].month == 10
    assert row["ChargePeriodStart"].month == 9


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"cost": "many"}, "Row 2"),
        ({"cost": "NaN"}, "Row 2"),
        ({"credits": "__import__('os').getpid()"}, "Row 2"),
        ({"credits": "[1]"}, "Row 2"),
        ({"credits": "[" * 200_000}, "Row 2"),
        ({"credits": "[" * 50_000}, "Row 2"),
        ({"invoice.month": "x"}, "Row 2"),
        ({"usage_start_time": "yesterday"}, "Row 2"),
        ({"labels": '[{"name": 1}]'}, "no column 'key'"),
    ],
)
def test_a_damaged_export_is_refused_with_its_row(change: dict[str, str], match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        list(gcp_costs.rows_from_export([EXPORTED, {**EXPORTED, **change}]))


# ---- the role in the documentation -----------------------------------------------------------------------------------


def test_the_documented_roles_are_what_the_driver_uses(lab: CloudLab, driver: GcpDriver) -> None:
    machine = driver.launch(order())
    driver.describe("lab-1", [REGION])
    lab.ledger.machines[-1].details["keep_disk"] = True
    driver.terminate(machine)
    list(driver.prices())
    list(driver.costs(date(2026, 9, 1), date(2026, 9, 2)))
    list(driver.negotiated([{"region": REGION, "instance_type": "e2-medium"}]))
    used = {name.removeprefix("permission:") for name in lab.ledger.calls if name.startswith("permission:")}
    # the network may be there from an earlier test
    used |= {"compute.networks.create", "compute.globalOperations.get"}
    role = yaml.safe_load((DOCS / "gcp-role.yaml").read_text(encoding="utf-8"))["includedPermissions"]
    billing = yaml.safe_load((DOCS / "gcp-billing-role.yaml").read_text(encoding="utf-8"))["includedPermissions"]
    assert len(role) == len(set(role))
    assert set(role) == set(PERMISSIONS)
    assert billing == [TABLE_PERMISSION]
    assert used == {*role, *billing, ACCOUNT_PERMISSION}
    text = (DOCS / "gcp.md").read_text(encoding="utf-8")
    assert all(name in text for name in used)


def test_a_new_project_gets_its_network_once(tmp_path: Path) -> None:
    fresh = CloudLab(tmp_path, clouds=("gcp",))
    try:
        driver = connect(fresh)
        fresh.ledger.denied[PROJECT].add("compute.networks.create")
        with pytest.raises(PermissionMissing, match=r"compute\.networks\.create"):
            driver.launch(order())
        fresh.ledger.denied.clear()
        fresh.ledger.calls.clear()
        driver.launch(order())
        driver.launch(order())
        assert fresh.ledger.calls["networks.insert"] == 1
        assert fresh.ledger.calls["permission:compute.globalOperations.get"] == 1
    finally:
        fresh.stop()
