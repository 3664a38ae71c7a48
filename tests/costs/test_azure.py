"""The Azure driver and the unmodified SDKs against the laboratory's strict fake, over HTTPS."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest
from cloudlab import azure as fake
from cloudlab.ledger import Fault, Ledger
from cloudlab.server import CloudLab
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flaas_jupyter.costs.driver import (
    CloudUnreachable,
    CredentialsRefused,
    Endpoint,
    MachineOrder,
    NotOffered,
    PermissionMissing,
    QuotaExceeded,
    Throttled,
    public,
)
from flaas_jupyter.costs.price_table import PriceTable, read_rows
from flaas_jupyter.costs.providers import azure_errors, driver_class
from flaas_jupyter.costs.providers.azure import NEEDED, SIGN_IN, AzureDriver
from flaas_jupyter.costs.providers.azure_machines import token_of
from flaas_jupyter.costs.providers.azure_negotiated import SHEET_ACTION
from flaas_jupyter.errors import Conflict, FlaasError, InvalidInput, NotAllowed

REGION, SIZE = "westeurope", "Standard_D4s_v5"
VM = "Microsoft.Compute/virtualMachines"
NIC = "Microsoft.Network/networkInterfaces"
QUERY = "Microsoft.CostManagement/query/action"
STEPS = [
    "Microsoft.Resources/subscriptions/resourceGroups/write",
    "Microsoft.Network/networkSecurityGroups/write",
    "Microsoft.Network/virtualNetworks/write",
    "Microsoft.Network/publicIPAddresses/write",
    f"{NIC}/write",
    f"{VM}/write",
    "Microsoft.Compute/disks/write",
]
DOCS = Path(__file__).parents[2] / "docs" / "clouds"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    lab = CloudLab(tmp_path_factory.mktemp("lab"), clouds=("azure",))
    yield lab
    lab._running["azure"].server.force_exit = True  # connections that a fault cut are not waited for
    lab.stop()


def emptied(running):
    """The same server with a ledger and a cloud as new: starting a server takes longer than a test."""
    cloud, ledger = fake.cloud(running.url("azure")), running.ledger
    Ledger.__init__(ledger)
    cloud.__init__(ledger, cloud.base, cloud.every_token)
    cloud.polls = 0
    ledger.sell("azure", REGION, SIZE, "0.23", spot="0.05")
    ledger.sell("azure", "northeurope", "Standard_E4s_v5", "0.31")
    return cloud


@pytest.fixture
def cloud(running):
    return emptied(running)


@pytest.fixture
def ledger(cloud):
    return cloud.ledger


@pytest.fixture(scope="module")
def connect(running):
    drivers = []

    def connected(**changes):
        endpoint = Endpoint(running.url("azure"), str(running.ca))
        driver = AzureDriver(running.credentials("azure") | changes, endpoint)
        driver.waits = []
        driver.arm.wait = driver.waits.append
        drivers.append(driver)
        return driver

    yield connected
    for driver in drivers:
        driver.arm.close()


@pytest.fixture(scope="module")
def signed_in(connect):
    return connect()


@pytest.fixture
def driver(signed_in, cloud):
    signed_in.waits.clear()
    return signed_in


def order(token="abc-1", **changes):
    values = {
        "token": token,
        "installation": "hub-1",
        "project": "mnist",
        "launch": "first",
        "node": "north",
        "region": REGION,
        "instance_type": SIZE,
        "user_data": "#cloud-config\n{}\n# né\n",
        "max_minutes": 60,
    }
    return MachineOrder(**{**values, **changes})


def parts(cloud):
    """What is there that costs money."""
    kinds = ("virtualmachines", "disks", "publicipaddresses", "networkinterfaces")
    return sorted(key.rsplit("/", 1)[-1] for key in cloud.resources if key.split("/")[-2] in kinds)


# ---- signing in ----------------------------------------------------------------------------------------------------


def test_whoami_names_the_account_and_finds_every_permission(driver):
    me = driver.whoami()
    assert (me.account, me.principal) == (fake.SUBSCRIPTION, fake.CLIENT)
    assert {check.permission for check in me.permissions} == set(NEEDED)
    assert [me.missing(purpose) for purpose in ("costs", "prices", "launch")] == [(), (), ()]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"client_secret": "not-the-secret-at-all"}, "AADSTS7000215"),
        ({"client_secret": fake.EXPIRED_SECRET}, "AADSTS7000222"),
        ({"client_id": "00000000-0000-0000-0000-000000000000"}, "AADSTS700016"),
        ({"tenant_id": "00000000-0000-0000-0000-000000000000"}, "credentials"),
        ({"tenant_id": "no tenant/at all"}, "tenant"),
        ({"subscription_id": "00000000-0000-0000-0000-000000000000"}, "subscription"),
    ],
)
def test_credentials_that_azure_does_not_take(connect, cloud, changes, said):
    with pytest.raises(CredentialsRefused, match=said) as caught:
        connect(**changes).whoami()
    assert caught.value.hint
    for secret in (fake.SECRET, changes.get("client_secret", fake.SECRET)):
        assert secret not in json.dumps(public(caught.value))
        assert secret not in repr(caught.value)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("throttle", Throttled),
        ("error", CloudUnreachable),
        ("timeout", CloudUnreachable),
        ("truncate", CloudUnreachable),
        ("garble", CloudUnreachable),
    ],
)  # fmt: skip
def test_a_sign_in_that_fails_is_not_taken_for_wrong_credentials(connect, cloud, ledger, kind, expected):
    ledger.faults.append(Fault("token", kind, times=9))
    with pytest.raises(expected) as caught:
        connect().whoami()
    assert fake.SECRET not in json.dumps(public(caught.value))
    if kind == "throttle":
        assert caught.value.details["retry_after"] == 7


def test_nobody_answers(running, tmp_path):
    driver = AzureDriver(running.credentials("azure"), Endpoint("https://localhost:1", str(running.ca)))
    with pytest.raises(CloudUnreachable):
        driver.whoami()
    with pytest.raises(CloudUnreachable):
        list(driver.prices([REGION]))


def test_a_server_that_the_certificate_does_not_cover_gets_no_secret(running, cloud):
    driver = AzureDriver(running.credentials("azure"), Endpoint(running.url("azure")))
    before = dict(cloud.ledger.calls)
    with pytest.raises(CloudUnreachable):
        driver.whoami()
    assert cloud.ledger.calls == before


def test_a_token_that_was_withdrawn(connect, cloud):
    driver = connect()
    driver.whoami()
    cloud.tokens = {}
    with pytest.raises(CredentialsRefused):
        driver.describe("hub-1", [REGION])


@pytest.mark.parametrize("action", sorted(NEEDED))
def test_whoami_names_each_permission_that_is_missing(driver, ledger, action):
    ledger.denied[fake.SUBSCRIPTION].add(action)
    assert driver.whoami().missing(NEEDED[action]) == (action,)


def test_permissions_are_counted_as_azure_does(driver, cloud):
    cloud.granted = [
        {"actions": ["Microsoft.Compute/*", "*/read"], "notActions": ["Microsoft.Compute/virtualMachines/write"]},
        {"actions": ["microsoft.compute/virtualmachines/WRITE"], "notActions": []},
        {"actions": ["Microsoft.CostManagement/*"], "notActions": ["*/action"]},
    ]
    me = driver.whoami()
    granted = {check.permission for check in me.permissions if check.granted}
    assert granted == {a for a in NEEDED if a.endswith("/read") or a.startswith("Microsoft.Compute")}
    assert me.missing("costs") == (QUERY,)


def test_whoami_without_the_right_to_read_permissions(driver, ledger):
    ledger.denied[fake.SUBSCRIPTION].update(SIGN_IN)
    assert not any(check.granted for check in driver.whoami().permissions)


# ---- permissions of each call --------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", sorted(set(NEEDED) - {QUERY}))
def test_what_is_not_allowed_is_named(driver, cloud, ledger, action):
    ledger.denied[fake.SUBSCRIPTION].add(action)
    cloud.cascade = False

    def everything():
        machine = driver.launch(order())
        driver.describe("hub-1", [REGION])
        driver.terminate(machine)

    with pytest.raises(PermissionMissing) as caught:
        everything()
    assert caught.value.details["permission"] == action
    assert action in caught.value.message
    assert caught.value.hint


def test_costs_that_may_not_be_read(driver, ledger):
    ledger.denied[fake.SUBSCRIPTION].add(QUERY)
    with pytest.raises(PermissionMissing, match=QUERY) as caught:
        list(driver.costs(date(2026, 9, 1), date(2026, 9, 2)))
    assert caught.value.details["permission"] == QUERY


def test_the_documented_role_covers_exactly_what_is_used(connect, cloud, ledger):
    driver = connect()
    driver.whoami()
    list(driver.prices())
    machine = driver.launch(order())
    driver.describe("hub-1", [REGION])
    ledger.advance(hours=1)
    list(driver.costs(date(2026, 9, 1), date(2026, 9, 2)))
    cloud.cascade = False
    driver.terminate(machine)
    role = json.loads((DOCS / "azure-role.json").read_text())
    assert set(role["Actions"]) == cloud.used == {*NEEDED, *SIGN_IN}
    assert role["NotActions"] == role["DataActions"] == role["NotDataActions"] == []
    text = (DOCS / "azure.md").read_text()
    assert [action for action in role["Actions"] if action.split("/", 1)[1].split("/")[-2] not in text] == []


# ---- prices --------------------------------------------------------------------------------------------------------


def test_list_prices_are_those_of_the_price_list(driver, cloud, ledger):
    ledger.sell("azure", REGION, "Standard_B2s", "0.048")
    ledger.sell("azure", REGION, "Standard_NV6ads_A10_v5", "0.454", spot="0.09")
    ledger.sell("azure", REGION, "Standard_D2ps_v5", "0.09")
    cloud.sizes[REGION, "Standard_NV6ads_A10_v5"] = {"capabilities": {"GPUs": "1", "vCPUs": "6", "MemoryGB": "55"}}
    cloud.sizes[REGION, "Standard_D2ps_v5"] = {"capabilities": {"CpuArchitectureType": "Arm64"}, "restricted": True}
    cloud.page_size = 3  # pages cut through the rows of one size
    rows = {(row["region"], row["instance_type"]): row for row in driver.prices()}
    for (provider, region, size, market), usd in ledger.prices.items():
        column = "spot_usd_hour" if market == "spot" else "price_usd_hour"
        assert rows[region, size][column] == float(usd), (provider, size)
    assert rows["northeurope", "Standard_E4s_v5"]["spot_usd_hour"] is None
    gpu = rows[REGION, "Standard_NV6ads_A10_v5"]
    assert (gpu["gpu_name"], gpu["gpu_count"], gpu["gpu_memory_gib"]) == ("A10", 0.1667, 4.0)
    arm = rows[REGION, "Standard_D2ps_v5"]
    assert (arm["arch"], arm["on_demand_available"], arm["burstable"]) == ("arm64", False, False)
    assert rows[REGION, "Standard_B2s"]["burstable"]
    assert {row["provider"] for row in rows.values()} == {"azure"}
    assert len(PriceTable.joined([read_rows(list(rows.values()), "prices of azure")])) == len(rows) == 5


def test_prices_of_some_regions_ask_for_no_other(driver, ledger):
    assert {row["region"] for row in driver.prices(["northeurope"])} == {"northeurope"}
    assert ledger.calls["retailPrices"] == 1


def test_a_size_listed_at_no_price_is_left_out(driver, cloud):
    cloud.ledger.prices["azure", REGION, "Standard_F4ams_v6", "on_demand"] = Decimal(0)
    assert [row["instance_type"] for row in driver.prices([REGION])] == [SIZE]


SCOPE = "/providers/Microsoft.Billing/billingAccounts/account-1"


@pytest.mark.parametrize("scope", [SCOPE, f"{SCOPE}/billingProfiles/profile-1"])
@pytest.mark.parametrize("currency", ["USD", "EUR"])
def test_negotiated_prices_come_from_the_price_sheet(connect, cloud, scope, currency):
    cloud.sheet_currency, cloud.sheet_rate = currency, Decimal("0.8") if currency == "EUR" else Decimal(1)
    driver = connect(billing_scope=scope)
    wanted = [{"region": REGION, "instance_type": SIZE}, {"region": REGION, "instance_type": "Standard_Z1"}]
    (row,) = driver.negotiated(wanted)
    assert row["price_usd_hour"] == pytest.approx(0.23 * 0.85)
    assert row["spot_usd_hour"] == pytest.approx(0.05 * 0.85)
    assert (row["kind"], row["region"], row["instance_type"]) == ("negotiated", REGION, SIZE)
    assert scope.rsplit("/", 1)[-1] in row["source"]


def test_without_a_billing_scope_prices_are_learned_from_costs(driver, cloud, ledger, monkeypatch):
    today = datetime.now(UTC).date()
    ledger.now = datetime(today.year, today.month, today.day, tzinfo=UTC) - timedelta(days=3)
    assert list(driver.negotiated([{"region": REGION, "instance_type": SIZE}])) == []
    driver.launch(order())
    ledger.advance(hours=10)
    cloud.currency, cloud.rate = "EUR", Decimal("0.8")
    (row,) = driver.negotiated([{"region": REGION, "instance_type": SIZE}])
    assert (row["price_usd_hour"], row["kind"]) == (0.23, "learned")
    assert "spot_usd_hour" not in row


def test_a_price_sheet_that_may_not_be_read_and_a_scope_that_is_none(connect, ledger):
    wanted = [{"region": REGION, "instance_type": SIZE}]
    ledger.denied[fake.SUBSCRIPTION].add(SHEET_ACTION)
    with pytest.raises(PermissionMissing, match="pricesheets"):
        list(connect(billing_scope=SCOPE).negotiated(wanted))
    with pytest.raises(InvalidInput) as caught:
        list(connect(billing_scope="my account").negotiated(wanted))
    assert caught.value.code == "bad-billing-scope"


# ---- launch --------------------------------------------------------------------------------------------------------


def test_the_same_order_makes_one_machine(driver, cloud, ledger):
    cloud.polls = 2
    first = driver.launch(order())
    assert driver.launch(order()) == first
    assert (first.state, first.token, first.instance_type, first.region) == ("running", "abc-1", SIZE, REGION)
    assert first.tags == order().tags
    assert first.created == ledger.now
    (machine,) = ledger.machines
    assert (machine.market, machine.user_data, machine.tags) == ("on_demand", order().user_data, order().tags)
    assert driver.describe("hub-1", [REGION]) == [first]
    assert {part.rsplit("/", 1)[-1] for part in first.leftovers} == {n for n in parts(cloud) if n != "abc-1-" + n[6:14]}
    for part in first.leftovers:
        assert cloud.resources[part.lower()]["tags"] == order().tags
        assert token_of(part) == "abc-1"


def test_two_who_launch_the_same_order_at_once_make_one_machine(connect, cloud, ledger):
    drivers, barrier, results = [connect(), connect()], threading.Barrier(2), []
    for each in drivers:
        each.whoami()

    def launch(driver):
        barrier.wait()
        try:
            results.append(driver.launch(order()).id)
        except FlaasError as error:
            results.append(error)

    threads = [threading.Thread(target=launch, args=(each,)) for each in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({str(each) for each in results}) == 1, results
    assert len(ledger.machines) == 1


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", ["lost", "error", "truncate"])
def test_a_launch_that_breaks_off_is_found_and_taken_up(driver, cloud, ledger, step, kind):
    ledger.faults.append(Fault(step, kind))
    with pytest.raises(CloudUnreachable):
        driver.launch(order())
    made = parts(cloud)
    seen = driver.describe("hub-1", [REGION])
    assert len(seen) == (1 if made else 0)
    there = {part.rsplit("/", 1)[-1] for machine in seen for part in (*machine.leftovers, machine.id)}
    assert set(made) <= there
    assert all(machine.token == "abc-1" and not machine.gone for machine in seen)
    machine = driver.launch(order())
    assert machine.state == "running"
    assert len(ledger.machines) == 1
    assert driver.describe("hub-1", [REGION]) == [machine]


@pytest.mark.parametrize("step", STEPS[3:])
def test_what_a_broken_launch_left_can_be_ended(driver, cloud, ledger, step):
    ledger.faults.append(Fault(step, "lost"))
    with pytest.raises(CloudUnreachable):
        driver.launch(order())
    (left,) = driver.describe("hub-1", [REGION])
    driver.terminate(left)
    assert driver.describe("hub-1", [REGION]) == []
    assert parts(cloud) == []
    assert ledger.running() == []


@pytest.mark.parametrize(
    ("kind", "expected", "retry"),
    [("capacity", NotOffered, None), ("quota", QuotaExceeded, None), ("throttle", Throttled, 7)],
)
def test_a_machine_that_azure_does_not_give(driver, cloud, ledger, kind, expected, retry):
    ledger.faults.append(Fault(f"{VM}/write", kind))
    with pytest.raises(expected) as caught:
        driver.launch(order())
    assert caught.value.details.get("retry_after") == retry
    if kind != "throttle":
        assert parts(cloud) == []  # what was made for it is gone again
    assert driver.launch(order()).state == "running"
    assert len(ledger.machines) == 1


def test_a_failed_machine_that_could_not_be_removed_does_not_block_its_order(driver, cloud, ledger):
    ledger.faults += [Fault(f"{VM}/write", "capacity"), Fault(f"{VM}/delete", "error")]
    with pytest.raises(NotOffered):
        driver.launch(order())
    (left,) = driver.describe("hub-1", [REGION])
    assert (left.state, left.token) == ("stopped", "abc-1")
    assert driver.launch(order()).state == "running"
    assert len(ledger.machines) == 1


def test_machines_that_are_not_sold(driver, cloud, ledger):
    with pytest.raises(NotOffered, match="Standard_Z9"):
        driver.launch(order(instance_type="Standard_Z9"))
    with pytest.raises(NotOffered, match="moonbase"):
        driver.launch(order(region="moonbase"))
    cloud.sizes[REGION, SIZE] = {"restricted": True}
    with pytest.raises(NotOffered, match="this subscription"):
        driver.launch(order())
    assert cloud.resources == {}
    with pytest.raises(NotOffered, match="Spot"):
        driver.launch(order(region="northeurope", instance_type="Standard_E4s_v5", market="spot"))
    assert parts(cloud) == []


def test_spot_machines_are_deleted_when_azure_takes_them(driver, cloud, ledger):
    driver.launch(order(market="spot"))
    (machine,) = ledger.machines
    assert (machine.market, machine.usd_hour) == ("spot", Decimal("0.05"))
    ledger.end(machine)
    assert driver.describe("hub-1", [REGION]) == []
    assert parts(cloud) == []


def test_nothing_is_open_and_nobody_can_sign_in(driver, cloud):
    driver.launch(
        order(),
    )
    rules = [r["properties"]["securityRules"] for key, r in cloud.resources.items() if "networksecuritygroups" in key]
    assert [(r["properties"]["access"], r["properties"]["direction"]) for (r,) in rules] == [("Deny", "Inbound")]
    (vm,) = [r for key, r in cloud.resources.items() if "/virtualmachines/" in key]
    assert vm["properties"]["osProfile"]["linuxConfiguration"]["disablePasswordAuthentication"]
    assert vm["properties"]["securityProfile"]["uefiSettings"] == {"secureBootEnabled": True, "vTpmEnabled": True}
    driver.launch(order("abc-2"))
    keys = {
        r["properties"]["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"][0]["keyData"]
        for key, r in cloud.resources.items()
        if "/virtualmachines/" in key
    }
    assert len(keys) == 2


def test_the_image_fits_the_size(driver, cloud, ledger):
    capabilities = {
        "Standard_D2ps_v5": ({"CpuArchitectureType": "Arm64", "HyperVGenerations": "V2"}, "server-arm64", True),
        "Standard_NC4as_T4_v3": ({"GPUs": "1"}, "2404", True),
        "Standard_A4_v2": ({"HyperVGenerations": "V1"}, "server-gen1", False),
        "Standard_L8s": ({"TrustedLaunchDisabled": "True"}, "server", False),
    }
    for number, (size, (can, sku, trusted)) in enumerate(capabilities.items()):
        ledger.sell("azure", REGION, size, "0.5")
        cloud.sizes[REGION, size] = {"capabilities": can}
        machine = driver.launch(order(f"t{number}", instance_type=size))
        properties = cloud.resources[machine.id.lower()]["properties"]
        assert properties["storageProfile"]["imageReference"]["sku"] == sku
        assert ("securityProfile" in properties) == trusted
        if "NC" in size:
            assert properties["securityProfile"]["uefiSettings"]["secureBootEnabled"] is False


def test_user_data_that_azure_would_not_take(driver, cloud):
    with pytest.raises(InvalidInput) as caught:
        driver.launch(order(user_data="é" * 32_768))
    assert caught.value.code == "user-data-too-large"
    assert cloud.resources == {}
    assert driver.launch(order(user_data="é" * 32_767)).state == "running"


# ---- describe and terminate ----------------------------------------------------------------------------------------


def test_only_this_installations_machines_in_these_regions_are_seen(driver, cloud, ledger):
    assert driver.describe("hub-1", [REGION]) == []
    mine = driver.launch(order("a"))
    north = driver.launch(order("b", region="northeurope", instance_type="Standard_E4s_v5"))
    theirs = driver.launch(order("c", installation="hub-2"))
    assert driver.describe("hub-1", [REGION]) == [mine]
    assert driver.describe("hub-1", [REGION, "northeurope"]) == driver.describe("hub-1", []) == [mine, north]
    assert driver.describe("hub-2", [REGION]) == [theirs]


def test_a_machine_that_shut_itself_down_is_stopped_and_still_costs(driver, cloud, ledger):
    machine = driver.launch(order())
    cloud.shut_down("abc-1")
    (seen,) = driver.describe("hub-1", [REGION])
    assert (seen.state, seen.gone) == ("stopped", False)
    assert ledger.running()
    driver.terminate(machine)
    assert ledger.running() == []


@pytest.mark.parametrize("cascade", [True, False])
def test_terminating_leaves_nothing_and_may_be_done_again(driver, cloud, ledger, cascade):
    cloud.cascade = cascade
    machine, other = driver.launch(order()), driver.launch(order("abc-2"))
    for _ in range(2):
        driver.terminate(machine)
        assert driver.describe("hub-1", [REGION]) == [other]
    assert [m.token for m in ledger.running()] == ["abc-2"]
    assert {name[:5] for name in parts(cloud)} == {"abc-2"}


@pytest.mark.parametrize(
    "action",
    [
        f"{VM}/delete",
        f"{NIC}/delete",
        "Microsoft.Network/publicIPAddresses/delete",
        "Microsoft.Compute/disks/delete",
    ],
)
@pytest.mark.parametrize("kind", ["error", "lost", "throttle"])
def test_a_termination_that_breaks_off_can_be_finished(driver, cloud, ledger, action, kind):
    cloud.cascade = False
    machine = driver.launch(order())
    ledger.faults.append(Fault(action, kind))
    with pytest.raises(Throttled if kind == "throttle" else CloudUnreachable):
        driver.terminate(machine)
    for left in driver.describe("hub-1", [REGION]):
        assert not left.gone
        driver.terminate(left)
    assert parts(cloud) == []
    assert ledger.running() == []


def test_what_was_not_launched_for_this_installation_is_not_touched(driver, cloud, ledger):
    machine = driver.launch(order())
    tags = cloud.resources[machine.id.lower()]["tags"]
    with pytest.raises(NotAllowed):
        driver.terminate(replace(machine, tags={**machine.tags, "flaas-installation": "hub-2"}))
    tags["flaas-installation"] = "hub-2"
    with pytest.raises(NotAllowed):
        driver.terminate(machine)
    del tags["flaas-installation"]
    with pytest.raises(NotAllowed):
        driver.terminate(machine)
    for wrong in ("", "/subscriptions/x", machine.id.replace("flaas/", "production/"), machine.id + "-disk"):
        with pytest.raises(InvalidInput):
            driver.terminate(replace(machine, id=wrong))
    assert len(ledger.running()) == 1


# ---- costs ---------------------------------------------------------------------------------------------------------

START, END = date(2026, 9, 1), date(2026, 9, 20)
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["launch", "end"]),
        st.integers(0, 3),
        st.sampled_from(["on_demand", "spot"]),
        st.integers(1, 3000),
    ),
    min_size=1,
    max_size=5,
)


@given(actions=ACTIONS, page_size=st.integers(1, 4), euro=st.booleans(), cents=st.integers(1, 500))
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_bill_is_what_ran_times_its_price(running, signed_in, actions, page_size, euro, cents):
    cloud, driver = emptied(running), signed_in
    ledger = cloud.ledger
    ledger.sell("azure", REGION, SIZE, str(Decimal(cents) / 100), spot=str(Decimal(cents) / 700))
    cloud.page_size = page_size
    cloud.currency, cloud.rate = ("EUR", Decimal("0.91")) if euro else ("USD", Decimal(1))
    running_now = {}
    for what, number, market, minutes in actions:
        if what == "launch" and number not in running_now:
            wanted = order(f"t{ledger.unique()}", project=f"project-{number % 2}", market=market)
            running_now[number] = driver.launch(wanted)
        elif what == "end" and number in running_now:
            driver.terminate(running_now.pop(number))
        ledger.advance(minutes=minutes)
    rows = list(driver.costs(START, END))
    assert {row["BillingCurrency"] for row in rows} <= {cloud.currency}
    cent = Decimal("0.01")
    total = sum((row["BilledCost"] for row in rows), Decimal(0))
    if not euro:
        assert total.quantize(cent, ROUND_HALF_UP) == ledger.owed(START, END)
    billed = list(ledger.bill("azure", fake.SUBSCRIPTION, START, END))
    for machine in ledger.machines:
        mine = [row for row in rows if token_of(row["ResourceId"]) == machine.token]
        usd = sum((each.usd for each in billed if each.machine is machine), Decimal(0))
        assert sum(row["BilledCost"] for row in mine) == pytest.approx(usd * cloud.rate, abs=Decimal("1e-20"))
        hours = sum(each.seconds for each in billed if each.machine is machine) / 3600
        assert sum(row["PricingQuantity"] for row in mine) == pytest.approx(hours, abs=Decimal("1e-20"))
        assert {row["Tags"]["flaas-project"] for row in mine} <= {machine.tags["flaas-project"]}
    days = {(row["ChargePeriodStart"].date(), row["ResourceId"]) for row in rows}
    assert days == {(each.day, each.machine.id.lower()) for each in billed}
    assert len(days) == len(rows)


def foreign(day, service, usd, tags=None, resource="/subscriptions/x/other"):
    return {
        "UsageDate": day, "Cost": Decimal(usd), "CostUSD": Decimal(usd), "UsageQuantity": Decimal(3),
        "ServiceName": service, "ResourceId": resource, "MeterId": "m", "tags": tags or {},
    }  # fmt: skip


def test_rows_have_the_columns_of_focus(driver, cloud, ledger):
    mine = {"flaas-project": "mnist"}
    cloud.foreign_costs = [
        foreign(20260901, "Storage", "1.25"),
        foreign(20260901, "Storage", "0.25", mine, "/subscriptions/x/disk"),
        foreign(20260902, "Bandwidth", "-0.5", mine, "/subscriptions/x/vm"),
        foreign(20260930, "Brand New Service", "4"),
        foreign(20261001, "Storage", "100"),
    ]
    rows = list(driver.costs(date(2026, 9, 1), date(2026, 10, 1)))
    assert sum(row["BilledCost"] for row in rows) == Decimal("5.00")
    by_service = {(row["ServiceName"], bool(row["Tags"])): row for row in rows}
    assert len(by_service) == len(rows) == 4
    untagged, disk = by_service["Storage", False], by_service["Storage", True]
    assert (untagged["ResourceId"], untagged["Tags"]) == (None, {})
    assert disk == {
        "ProviderName": "Microsoft",
        "BillingAccountId": f"/subscriptions/{fake.SUBSCRIPTION}",
        "SubAccountId": f"/subscriptions/{fake.SUBSCRIPTION}",
        "BillingPeriodStart": datetime(2026, 9, 1, tzinfo=UTC),
        "BillingPeriodEnd": datetime(2026, 10, 1, tzinfo=UTC),
        "ChargePeriodStart": datetime(2026, 9, 1, tzinfo=UTC),
        "ChargePeriodEnd": datetime(2026, 9, 2, tzinfo=UTC),
        "ChargeCategory": "Usage",
        "ServiceName": "Storage",
        "ServiceCategory": "Storage",
        "BilledCost": Decimal("0.25"),
        "EffectiveCost": Decimal("0.25"),
        "ListCost": None,
        "BillingCurrency": "USD",
        "RegionId": None,
        "ResourceId": "/subscriptions/x/disk",
        "PricingQuantity": None,
        "PricingUnit": None,
        "Tags": mine,
    }
    assert by_service["Bandwidth", True]["ChargeCategory"] == "Credit"
    assert by_service["Brand New Service", False]["ServiceCategory"] == "Other"


def test_the_billing_account_is_that_of_the_scope(connect, cloud):
    cloud.foreign_costs = [foreign(20260901, "Storage", "1")]
    (row,) = connect(billing_scope=f"{SCOPE}/billingProfiles/p").costs(START, END)
    assert row["BillingAccountId"] == SCOPE


def test_periods_of_more_than_a_year_are_asked_for_in_parts(driver, cloud, ledger):
    cloud.foreign_costs = [foreign(day, "Storage", "1") for day in (20240101, 20241230, 20241231, 20250601, 20260101)]
    assert sum(row["BilledCost"] for row in driver.costs(date(2024, 1, 1), date(2026, 6, 1))) == 5
    assert ledger.calls[QUERY] == 3
    assert list(driver.costs(date(2026, 6, 1), date(2026, 6, 1))) == []


def test_throttled_costs_wait_as_long_as_azures_own_header_says(driver, cloud, ledger):
    cloud.foreign_costs, cloud.page_size = [foreign(20260901 + n, "Storage", "1") for n in range(5)], 2
    ledger.faults.append(Fault(QUERY, "throttle", times=2, after=1))  # in the middle of the pages
    assert len(list(driver.costs(START, END))) == 5
    assert driver.waits == [7, 7]
    ledger.faults.append(Fault(QUERY, "throttle", times=1000))
    with pytest.raises(Throttled) as caught:
        list(driver.costs(START, END))
    assert caught.value.details["retry_after"] == 7
    assert 200 < sum(driver.waits) <= 320


def test_a_next_page_elsewhere_gets_no_token(driver, cloud, monkeypatch):
    cloud.foreign_costs, cloud.page_size = [foreign(20260901 + n, "Storage", "1") for n in range(5)], 2
    monkeypatch.setattr(cloud, "base", "https://elsewhere.example")
    with pytest.raises(CloudUnreachable, match=r"elsewhere\.example"):
        list(driver.costs(START, END))


@pytest.mark.parametrize("missing", ["Currency", "Cost", "UsageDate"])
def test_costs_without_a_currency_are_not_guessed(driver, cloud, missing, monkeypatch):
    cloud.foreign_costs = [foreign(20260901, "Storage", "1")]
    answer = cloud.costs

    def without(*args):
        found = answer(*args)
        for column in found.body["properties"]["columns"]:
            column["name"] = column["name"].replace(missing, "Other")
        return found

    monkeypatch.setattr(cloud, "costs", without)
    with pytest.raises(CloudUnreachable, match="Currency"):
        list(driver.costs(START, END))


# ---- errors --------------------------------------------------------------------------------------------------------

CALLS = {
    "whoami": ("Microsoft.Resources/subscriptions/read", lambda driver: driver.whoami()),
    "permissions": ("Microsoft.Authorization/permissions/read", lambda driver: driver.whoami()),
    "prices": ("retailPrices", lambda driver: list(driver.prices([REGION]))),
    "sizes": ("Microsoft.Compute/skus/read", lambda driver: list(driver.prices([REGION]))),
    "launch": (f"{VM}/write", lambda driver: driver.launch(order())),
    "progress": ("Microsoft.Compute/locations/operations/read", lambda driver: driver.launch(order())),
    "network": ("Microsoft.Network/locations/operations/read", lambda driver: driver.launch(order())),
    "describe": (f"{VM}/read", lambda driver: driver.describe("hub-1", [REGION])),
    "parts": (f"{NIC}/read", lambda driver: driver.describe("hub-1", [REGION])),
    "costs": (QUERY, lambda driver: list(driver.costs(START, END))),
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name in CALLS
        for kind in ("throttle", "error", "timeout", "truncate", "garble")
        if (name, kind) != ("launch", "garble")  # its answer is not read: progress and the machine are
    ],
)
def test_every_failure_is_one_of_the_protocols_errors_without_secrets(driver, cloud, ledger, name, kind):
    operation, call = CALLS[name]
    driver.launch(order("before"))
    ledger.faults.append(Fault(operation, kind, times=1000))
    with pytest.raises(Throttled if kind == "throttle" else CloudUnreachable) as caught:
        call(driver)
    error = caught.value
    told = json.dumps(public(error)) + str(error) + repr(error) + repr(error.__cause__)
    assert not any(secret in told for secret in (fake.SECRET, "Bearer", "cloud-config", *cloud.tokens))
    assert error.hint
    if kind == "throttle":
        assert error.details["retry_after"] == 7
    ledger.faults.clear()
    call(driver)


def test_a_read_that_fails_once_is_tried_again(driver, ledger):
    ledger.faults.append(Fault(f"{NIC}/read", "error", times=2))
    assert driver.describe("hub-1", [REGION]) == []
    ledger.faults.append(Fault("Microsoft.Network/networkSecurityGroups/write", "error", times=1))
    with pytest.raises(CloudUnreachable):
        driver.launch(order())
    assert ledger.calls["Microsoft.Network/networkSecurityGroups/write"] == 1


@pytest.mark.parametrize(
    ("status", "code", "message", "expected", "details"),
    [
        (409, "SkuNotAvailable", "", NotOffered, {}),
        (200, "AllocationFailed", "", NotOffered, {}),
        (409, "ZonalAllocationFailed", "", NotOffered, {}),
        (400, "InvalidParameter", "The value X provided for the VM size is not valid.", NotOffered, {}),
        (409, "QuotaExceeded", "", QuotaExceeded, {}),
        (409, "OperationNotAllowed", "exceeding approved quota", QuotaExceeded, {}),
        (403, "AuthorizationFailed", "does not have authorization to perform action 'A.B/c/write' over scope 's'",
         PermissionMissing, {"permission": "A.B/c/write"}),
        (403, "LinkedAuthorizationFailed", "does not have permission to perform action(s) 'A.B/c/join/action' on",
         PermissionMissing, {"permission": "A.B/c/join/action"}),
        (403, "RequestDisallowedByPolicy", "tags", PermissionMissing, {"permission": "asked"}),
        (401, "ExpiredAuthenticationToken", "", CredentialsRefused, {}),
        (404, "SubscriptionNotFound", "", CredentialsRefused, {}),
        (429, "TooManyRequests", "", Throttled, {"retry_after": 60.0}),
        (400, "NicReservedForAnotherVm", "", Throttled, {"retry_after": 180.0}),
        (503, "ServerBusy", "", CloudUnreachable, {}),
        (400, "Whatever", "", Conflict, {}),
    ],
)  # fmt: skip
def test_refusals_in_azures_words(status, code, message, expected, details):
    error = azure_errors.of_refusal(azure_errors.Refusal(status, code, message, None), "trying", "asked")
    assert isinstance(error, expected)
    assert error.details == details


def test_the_longest_wait_counts():
    headers = {
        "x-ms-ratelimit-microsoft.costmanagement-qpu-retry-after": "9",
        "x-ms-ratelimit-microsoft.costmanagement-entity-retry-after": "30",
        "Retry-After": "nonsense",
        "x-ms-ratelimit-microsoft.costmanagement-qpu-remaining": "99",
    }
    assert azure_errors.retry_after(headers) == 30
    assert azure_errors.retry_after({}) is None


# ---- the fake is strict --------------------------------------------------------------------------------------------


def raw(driver, method, path, body=None, version="2024-05-01"):
    from azure.core.rest import HttpRequest

    response = driver.arm.compute.send_request(HttpRequest(method, f"{path}?api-version={version}", json=body))
    return response.status_code, response.json()["error"]["code"]


def test_the_laboratory_refuses_what_azure_would(driver, cloud):
    driver.launch(order())
    group = driver.arm.group
    (vm,) = [r for key, r in cloud.resources.items() if "/virtualmachines/" in key]
    made = f"{group}/providers/{VM}/other"
    sent = {key: json.loads(json.dumps(vm[key])) for key in ("location", "tags", "properties")}
    sent["properties"]["osProfile"]["customData"] = "IyE="
    sent["properties"]["hardwareProfile"]["vmSize"] = "Standard_Z9"
    assert raw(driver, "PUT", made, sent) == (400, "InvalidParameter")
    sent["properties"]["hardwareProfile"]["vmSize"] = SIZE
    assert raw(driver, "PUT", made, sent) == (400, "NicInUse")
    assert raw(driver, "PUT", made, {**sent, "tags": {"flaas-installation": "x"}}) == (403, "RequestDisallowedByPolicy")
    rule = {"name": "ssh", "properties": {"direction": "Inbound", "access": "Allow"}}
    opened = {"location": REGION, "tags": {"flaas-installation": "x"}, "properties": {"securityRules": [rule]}}
    path = f"{group}/providers/Microsoft.Network/networkSecurityGroups/open"
    assert raw(driver, "PUT", path, opened) == (403, "RequestDisallowedByPolicy")
    query = {"type": "ActualCost", "timeframe": "Custom", "dataset": {"grouping": [{}, {}, {}]}}
    path = f"{driver.arm.subscription}/providers/Microsoft.CostManagement/query"
    assert raw(driver, "POST", path, query) == (400, "BadRequest")


def test_the_driver_is_registered_and_cheap_to_load():
    assert driver_class("azure") is AzureDriver
    code = "import flaas_jupyter.costs.providers.azure, sys; print([m for m in sys.modules if m.startswith('azure')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
