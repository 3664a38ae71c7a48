"""The AWS driver and the unmodified boto3 against the laboratory's strict fake, over HTTPS."""

from __future__ import annotations

import itertools
import json
import threading
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest
from cloudlab import aws as fake
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
from flaas_jupyter.costs.launch import cloud_init
from flaas_jupyter.costs.price_table import COLUMNS
from flaas_jupyter.costs.providers import driver_class
from flaas_jupyter.costs.providers.aws import AwsDriver
from flaas_jupyter.costs.providers.aws_machines import USER_DATA_BYTES
from flaas_jupyter.costs.providers.aws_permissions import NEEDED, SIMULATE
from flaas_jupyter.errors import Conflict, FlaasError, InvalidInput

REGION, TYPE = "eu-central-1", "m5.large"
POLICY = Path(__file__).parents[2] / "docs" / "clouds" / "aws-policy.json"
SECRETS = (fake.SECRET, fake.OTHER_SECRET, fake.TEMPORARY_SECRET, fake.TOKEN, fake.EXPIRED_TOKEN)
FIRST, AFTER = date(2026, 9, 1), date(2026, 10, 1)


class Once(AwsDriver):
    """Sends every request once, so that one fault is one failure."""

    attempts = 1
    read_timeout = 5


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    lab = CloudLab(tmp_path_factory.mktemp("lab"), clouds=("aws",))
    yield lab
    lab.stop()


def emptied(running):
    """The same server with a ledger and a cloud as new: starting a server takes longer than a test."""
    cloud, ledger = fake.cloud(running.url("aws")), running.ledger
    Ledger.__init__(ledger)
    cloud.__init__(ledger, cloud.base)
    ledger.sell("aws", REGION, TYPE, "0.12", spot="0.036")
    ledger.sell("aws", REGION, "c7g.xlarge", "0.18")
    ledger.sell("aws", REGION, "g4dn.xlarge", "0.66")
    ledger.sell("aws", "eu-west-1", "t3.medium", "0.048")
    return cloud


@pytest.fixture
def cloud(running):
    return emptied(running)


@pytest.fixture
def ledger(cloud):
    return cloud.ledger


@pytest.fixture(scope="module")
def connect(running):
    def connected(cls=Once, **changes):
        endpoint = Endpoint(running.url("aws"), str(running.ca))
        return cls(running.credentials("aws") | changes, endpoint, clock=lambda: running.ledger.now)

    return connected


@pytest.fixture(scope="module")
def signed_in(connect):
    return connect()


@pytest.fixture
def driver(signed_in, cloud):
    return signed_in


def order(token="abc-1", **changes):
    values = {
        "token": token,
        "installation": "hub-1",
        "project": "mnist",
        "launch": "first",
        "node": "north",
        "region": REGION,
        "instance_type": TYPE,
        "user_data": "#cloud-config\n{}\n# né\n",
        "max_minutes": 60,
    }
    return MachineOrder(**{**values, **changes})


def until_gone(driver, installation="hub-1", regions=(REGION,), rounds=6):
    """What a caller does: describe and terminate until nothing is left."""
    for _ in range(rounds):
        left = [machine for machine in driver.describe(installation, regions) if not machine.gone]
        if not left:
            return
        for machine in left:
            driver.terminate(machine)
    raise AssertionError(f"still there: {left}")


def sent(cloud, operation):
    return [body for name, body in cloud.bodies if name == operation]


# ---- signing in ----------------------------------------------------------------------------------------------------


def test_it_is_in_the_registry():
    assert driver_class("aws") is AwsDriver
    assert [each.name for each in AwsDriver.fields if each.required] == ["access_key_id", "secret_access_key"]
    assert [each.name for each in AwsDriver.fields if each.secret] == ["secret_access_key", "session_token"]


def test_whoami_names_the_account_and_finds_every_permission_without_a_charge_or_a_change(driver, cloud, ledger):
    me = driver.whoami()
    assert (me.account, me.principal) == (fake.ACCOUNT, f"arn:aws:iam::{fake.ACCOUNT}:user/flaas")
    assert {check.permission: check.needed_for for check in me.permissions} == dict(NEEDED)
    assert all(check.granted for check in me.permissions)
    assert not ledger.machines
    assert not cloud.groups
    assert "GetCostAndUsage" not in ledger.calls


@pytest.mark.parametrize("permission", NEEDED)
def test_whoami_names_each_missing_permission(driver, ledger, permission):
    ledger.denied[fake.ACCOUNT] = {permission}
    me = driver.whoami()
    assert permission in me.missing(NEEDED[permission])
    others = {check.permission for check in me.permissions if not check.granted} - {permission}
    assert not others


def test_without_the_simulator_what_cannot_be_tried_is_left_out_not_guessed(driver, ledger):
    ledger.denied[fake.ACCOUNT] = {SIMULATE, "ec2:RunInstances"}
    told = {check.permission: check.granted for check in driver.whoami().permissions}
    left_out = {
        "ce:GetCostAndUsage",
        "ce:UpdateCostAllocationTagsStatus",
        "ec2:TerminateInstances",
        "ec2:DeleteSecurityGroup",
        "ec2:DeleteVolume",
    }
    assert set(told) == set(NEEDED) - left_out
    assert [permission for permission, granted in told.items() if not granted] == ["ec2:RunInstances"]


@pytest.mark.parametrize(
    "changes",
    [
        {"access_key_id": "AKIANOBODYKNOWSTHIS0"},
        {"secret_access_key": fake.SECRET[:-1] + "X"},
        {"session_token": fake.EXPIRED_TOKEN},
        {"session_token": "nobody-gave-this"},
    ],
)
@pytest.mark.parametrize(
    "act",
    [
        lambda driver: driver.whoami(),
        lambda driver: driver.describe("hub-1", [REGION]),
        lambda driver: driver.launch(order()),
        lambda driver: list(driver.prices([REGION])),
        lambda driver: list(driver.negotiated([{"region": REGION, "instance_type": TYPE}])),
    ],
)
def test_wrong_or_expired_credentials_are_refused_without_quoting_them(connect, cloud, changes, act):
    with pytest.raises(CredentialsRefused) as caught:
        act(connect(**changes))
    text = json.dumps(public(caught.value)) + str(caught.value)
    assert caught.value.hint
    for value in (*SECRETS, *changes.values(), fake.KEY):
        assert value not in text


def test_temporary_credentials_and_roles(connect, cloud):
    keys = {"access_key_id": fake.TEMPORARY_KEY, "secret_access_key": fake.TEMPORARY_SECRET}
    assert "assumed-role" in connect(**keys, session_token=fake.TOKEN).whoami().principal
    assumed = connect(role_arn=fake.ROLE, external_id=fake.EXTERNAL_ID)
    assert assumed.whoami().principal == f"arn:aws:sts::{fake.ACCOUNT}:assumed-role/flaas/lab"
    assert len(assumed.whoami().permissions) == len(NEEDED)
    with pytest.raises(PermissionMissing) as caught:
        connect(role_arn=fake.ROLE, external_id="wrong").whoami()
    assert caught.value.details["permission"] == "sts:AssumeRole"


def test_nothing_is_taken_from_the_surroundings(connect, cloud, monkeypatch, tmp_path):
    (tmp_path / "config").write_text("[default]\nregion = nowhere-1\nendpoint_url = http://127.0.0.1:9\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "of-somebody")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", fake.OTHER_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", fake.OTHER_SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-the-machine")
    assert connect().whoami().account == fake.ACCOUNT
    with pytest.raises(CredentialsRefused):
        connect(access_key_id="", secret_access_key="").whoami()


def test_a_certificate_of_nobody_is_not_trusted(running, cloud):
    driver = Once(running.credentials("aws"), Endpoint(running.url("aws")))
    with pytest.raises(CloudUnreachable):
        driver.whoami()
    assert not cloud.bodies


# ---- failures ------------------------------------------------------------------------------------------------------

CALLS = {
    "GetCallerIdentity": lambda driver: driver.whoami(),
    "DescribeInstanceTypes": lambda driver: driver.launch(order()),
    "GetParameter": lambda driver: driver.launch(order()),
    "DescribeImages": lambda driver: driver.launch(order()),
    "CreateSecurityGroup": lambda driver: driver.launch(order()),
    "RunInstances": lambda driver: driver.launch(order()),
    "DescribeInstances": lambda driver: driver.describe("hub-1", [REGION]),
    "DescribeVolumes": lambda driver: driver.describe("hub-1", [REGION]),
    "DescribeSecurityGroups": lambda driver: driver.describe("hub-1", [REGION]),
    "TerminateInstances": lambda driver: driver.terminate(driver.launch(order())),
    "GetProducts": lambda driver: list(driver.prices([REGION])),
    "DescribeSpotPriceHistory": lambda driver: list(driver.prices([REGION])),
    "GetCostAndUsage": lambda driver: list(driver.costs(FIRST, AFTER)),
}
KINDS = {
    "throttle": Throttled,
    "error": CloudUnreachable,
    "timeout": CloudUnreachable,
    "truncate": CloudUnreachable,
    "garble": CloudUnreachable,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", CALLS)
def test_every_failure_of_every_call_is_told_in_the_protocols_terms(driver, ledger, operation, kind):
    driver.connection.account()
    ledger.faults = [Fault(operation, kind, times=10)]
    with pytest.raises(KINDS[kind]) as caught:
        CALLS[operation](driver)
    text = json.dumps(public(caught.value))
    assert not any(secret in text for secret in SECRETS)
    assert caught.value.__cause__ is None
    if kind == "throttle":
        assert caught.value.details["retry_after"] > 0


@pytest.mark.parametrize("permission", [each for each in NEEDED if each not in ("ce:UpdateCostAllocationTagsStatus",)])
def test_a_refusal_names_the_permission_and_where_to_add_it(driver, cloud, ledger, permission):
    cloud.keep_volumes = True
    made = driver.launch(order())
    acts = {
        "prices": lambda: list(driver.prices()),
        "costs": lambda: list(driver.costs(FIRST, AFTER)),
        "launch": lambda: driver.launch(order("abc-2", region="eu-west-1", instance_type="t3.medium")),
        "ec2:DescribeVolumes": lambda: driver.describe("hub-1", [REGION]),
        "ec2:TerminateInstances": lambda: driver.terminate(made),
        "ec2:DeleteVolume": lambda: until_gone(driver),
        "ec2:DeleteSecurityGroup": lambda: until_gone(driver),
    }
    act = acts.get(permission) or acts[NEEDED[permission]]
    ledger.denied[fake.ACCOUNT] = {permission}
    with pytest.raises(PermissionMissing) as caught:
        act()
    assert caught.value.details["permission"] == permission
    assert permission in caught.value.message
    assert "docs/clouds/aws.md" in caught.value.hint
    assert "Encoded" not in caught.value.message


@pytest.mark.parametrize(("kind", "error"), [("capacity", NotOffered), ("quota", QuotaExceeded)])
def test_no_machine_left_and_no_quota_left(driver, ledger, kind, error):
    ledger.faults = [Fault("RunInstances", kind, times=10)]
    with pytest.raises(error):
        driver.launch(order())
    assert not ledger.machines
    ledger.faults = []
    until_gone(driver)  # the security group that was made for it
    assert driver.describe("hub-1", [REGION]) == []


@pytest.mark.parametrize(
    ("instance_type", "market"),
    [("m5.gigantic", "on_demand"), ("g5.xlarge", "on_demand"), ("c7g.xlarge", "spot")],
)
def test_what_is_not_sold_is_not_offered(driver, ledger, instance_type, market):
    with pytest.raises(NotOffered):
        driver.launch(order(instance_type=instance_type, market=market))
    assert not ledger.machines


def test_a_spot_role_that_is_missing_is_named(driver, cloud, monkeypatch):
    def refused(*_):
        raise fake.Refused("AuthFailure.ServiceLinkedRoleCreationNotPermitted", "The provided credentials ...", 403)

    monkeypatch.setattr(cloud, "ec2_RunInstances", refused)
    with pytest.raises(PermissionMissing) as caught:
        driver.launch(order(market="spot"))
    assert caught.value.details["permission"] == "iam:CreateServiceLinkedRole"


def test_a_message_that_quotes_a_secret_is_scrubbed(driver, cloud, monkeypatch):
    def refused(*_):
        raise fake.Refused("InvalidParameterValue", f"You sent {fake.SECRET} with {fake.KEY}")

    monkeypatch.setattr(cloud, "ec2_RunInstances", refused)
    with pytest.raises(Conflict) as caught:
        driver.launch(order())
    assert "You sent *** with ***" in caught.value.message


# ---- machines ------------------------------------------------------------------------------------------------------


def test_a_machine_is_launched_as_ordered_and_safe(driver, cloud, ledger):
    made = driver.launch(order())
    assert (made.provider, made.region, made.instance_type, made.state) == ("aws", REGION, TYPE, "pending")
    assert (made.token, made.created) == ("abc-1", ledger.now)
    assert made.tags.items() >= order().tags.items()
    (asked,) = sent(cloud, "RunInstances")
    assert asked["MetadataOptions"] == {
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": "1",
        "HttpEndpoint": "enabled",
    }
    assert asked["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert "KeyName" not in asked
    assert asked["ClientToken"] == "abc-1"
    ebs = asked["BlockDeviceMapping"]["1"]["Ebs"]
    assert ebs == {"VolumeType": "gp3", "VolumeSize": "30", "Encrypted": "true", "DeleteOnTermination": "true"}
    for kind in asked["TagSpecification"].values():
        assert fake._tags(kind).items() >= order().tags.items()
    (group,) = cloud.groups.values()
    assert (group.name, group.inbound, group.tags) == ("flaas-hub-1", [], {"flaas-installation": "hub-1"})
    (machine,) = ledger.machines
    assert machine.user_data == order().user_data
    assert machine.market == "on_demand"


def test_spot_and_arm(driver, cloud, ledger):
    driver.launch(order(market="spot"))
    driver.launch(order("abc-2", instance_type="c7g.xlarge", disk_gib=5))
    spot, arm = sent(cloud, "RunInstances")
    assert spot["InstanceMarketOptions"] == {
        "MarketType": "spot",
        "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
    }
    assert [machine.usd_hour for machine in ledger.machines] == [Decimal("0.036"), Decimal("0.18")]
    assert arm["ImageId"] == cloud.image(REGION, "arm64")
    assert arm["BlockDeviceMapping"]["1"]["Ebs"]["VolumeSize"] == "8"  # that of the image, which is more
    assert len(cloud.groups) == 1


def test_an_image_of_ones_own(connect, cloud):
    image = cloud.image(REGION, "amd64")
    connect(image=image).launch(order())
    assert "GetParameter" not in cloud.ledger.calls
    parameter = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{arch}/hvm/ebs-gp3/ami-id"
    connect(image=parameter).launch(order("abc-2"))
    assert [body["ImageId"] for body in sent(cloud, "RunInstances")] == [image, image]


def test_the_same_order_again_is_the_same_machine(driver, cloud, ledger):
    first = driver.launch(order())
    assert driver.launch(order()).id == first.id
    cloud.image_version = 2  # a new image came out in between
    assert driver.launch(order()).id == first.id
    assert len(ledger.machines) == 1


def test_a_newer_image_between_two_attempts_that_do_not_see_each_other_makes_no_second_machine(driver, cloud, ledger):
    first = driver.launch(order())
    cloud.image_version = 2
    describe, blind = cloud.ec2_DescribeInstances, [True]

    def late(who, region, asked):
        """What was just launched is not described yet: EC2 is consistent eventually."""
        return {"reservationSet": []} if blind and blind.pop() else describe(who, region, asked)

    cloud.ec2_DescribeInstances = late
    assert driver.launch(order()).id == first.id
    assert len(ledger.machines) == 1


@pytest.mark.parametrize("kind", ["lost", "truncate"])
@pytest.mark.parametrize("cls", [Once, AwsDriver])
def test_an_answer_that_is_lost_makes_no_second_machine(connect, cloud, ledger, cls, kind):
    driver, made = connect(cls), None
    ledger.faults = [Fault("RunInstances", kind)]
    for _ in range(3):
        try:
            made = made or driver.launch(order())
        except CloudUnreachable:
            assert (cls, kind) != (AwsDriver, "lost")  # the SDK's own repetition comes to the same machine
    assert made is not None
    assert [machine.id for machine in ledger.machines] == [made.id]


def test_the_sdk_tries_again_by_itself(connect, cloud, ledger):
    ledger.faults = [Fault("GetCallerIdentity", "error"), Fault("GetCallerIdentity", "timeout")]
    assert connect(AwsDriver).connection.account() == fake.ACCOUNT
    assert ledger.calls["GetCallerIdentity"] == 3


def test_many_at_once_share_one_group_and_each_order_makes_one_machine(connect, cloud, ledger):
    driver, problems = connect(AwsDriver), []

    def launched(token):
        try:
            driver.launch(order(token))
        except FlaasError as error:
            problems.append(error)

    threads = [threading.Thread(target=launched, args=(f"abc-{i % 4}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert sorted(machine.token for machine in ledger.machines) == [f"abc-{i}" for i in range(4)]
    assert len(cloud.groups) == 1


def test_a_group_that_is_removed_in_between_is_made_again(driver, cloud, ledger):
    run = cloud.ec2_RunInstances

    def after_the_reaper(who, region, asked):
        cloud.ec2_RunInstances = run
        cloud.groups.clear()
        return run(who, region, asked)

    cloud.ec2_RunInstances = after_the_reaper
    driver.launch(order())
    assert len(ledger.machines) == len(cloud.groups) == 1


def test_a_group_that_lets_somebody_in_is_not_used(driver, cloud, ledger):
    driver.launch(order())
    (group,) = cloud.groups.values()
    group.inbound = [{"ipProtocol": "tcp", "fromPort": 22, "toPort": 22, "ipRanges": [{"cidrIp": "0.0.0.0/0"}]}]
    with pytest.raises(Conflict) as caught:
        driver.launch(order("abc-2"))
    assert caught.value.code == "security-group-open"
    group.inbound, group.tags = [], {}
    with pytest.raises(Conflict) as caught:
        driver.launch(order("abc-2"))
    assert caught.value.code == "security-group-foreign"
    assert len(ledger.machines) == 1


@pytest.mark.parametrize("letter", ["x", "é"])
def test_user_data_has_a_limit_in_bytes(driver, ledger, letter):
    fits = letter * (USER_DATA_BYTES // len(letter.encode()))
    with pytest.raises(InvalidInput) as caught:
        driver.launch(order(user_data=fits + "!"))
    assert caught.value.code == "user-data-too-large"
    assert str(USER_DATA_BYTES) in caught.value.message
    driver.launch(order(user_data=fits))
    assert len(ledger.machines) == 1


def test_machines_are_described_page_by_page_and_only_ones_own(driver, connect, cloud, ledger):
    cloud.page_size = 2
    for number in range(5):
        driver.launch(order(f"abc-{number}", node=f"n{number}"))
    driver.launch(order("abc-9", region="eu-west-1", instance_type="t3.medium"))
    driver.launch(order("xyz-1", installation="hub-2"))
    other = connect(access_key_id=fake.OTHER_KEY, secret_access_key=fake.OTHER_SECRET)
    other.launch(order("abc-1"))
    here = driver.describe("hub-1", [REGION, REGION])
    assert sorted(machine.token for machine in here) == [f"abc-{number}" for number in range(5)]
    assert {machine.tags["flaas-installation"] for machine in here} == {"hub-1"}
    everywhere = driver.describe("hub-1", [REGION, "eu-west-1"])
    assert {(machine.region, machine.token) for machine in everywhere} >= {("eu-west-1", "abc-9"), (REGION, "abc-0")}
    assert driver.describe("hub-3", [REGION]) == []


def test_terminate_leaves_nothing_and_may_be_repeated(driver, cloud, ledger):
    made = driver.launch(order())
    ledger.advance(minutes=30)
    driver.terminate(made)
    driver.terminate(made)
    (seen,) = driver.describe("hub-1", [REGION])
    assert seen.state == "stopping"
    assert not seen.gone
    until_gone(driver)
    assert not cloud.volumes
    assert not cloud.groups
    assert not ledger.running()
    (seen,) = driver.describe("hub-1", [REGION])
    assert seen.gone
    assert seen.ended == datetime(2026, 9, 1, 0, 30, tzinfo=UTC)
    driver.terminate(seen)
    driver.terminate(replace(made, id="i-0123456789abcdef0"))


def test_the_group_stays_as_long_as_a_machine_is_in_it(driver, cloud):
    first, second = driver.launch(order()), driver.launch(order("abc-2"))
    driver.terminate(first)
    driver.describe("hub-1", [REGION])
    states = {machine.id: machine for machine in driver.describe("hub-1", [REGION])}
    assert states[first.id].gone
    assert states[second.id].state == "running"
    assert len(cloud.groups) == 1


def test_a_disk_that_outlives_its_machine_is_found_and_deleted(driver, cloud):
    cloud.keep_volumes = True
    driver.terminate(driver.launch(order()))
    driver.describe("hub-1", [REGION])
    (seen,) = driver.describe("hub-1", [REGION])
    assert seen.state == "terminated"
    assert not seen.gone
    assert any(left.startswith("vol-") for left in seen.leftovers)
    cloud.instances.clear()  # AWS forgets an ended machine after an hour
    left = driver.describe("hub-1", [REGION])
    assert [machine.token for machine in left] == ["abc-1", ""]  # the disk, and the group
    until_gone(driver)
    assert not cloud.volumes
    assert not cloud.groups
    assert driver.describe("hub-1", [REGION]) == []


def test_a_machine_that_shuts_down_ends(driver, ledger):
    text = cloud_init.build({"node": "north"}, cloud_init.Software("flaas_jupyter[node]==0.1.0"), 90)
    driver.launch(order(user_data=text, max_minutes=90))
    driver.describe("hub-1", [REGION])
    ledger.advance(minutes=91)
    for _ in range(2):
        driver.describe("hub-1", [REGION])
    (seen,) = driver.describe("hub-1", [REGION])
    assert (seen.state, seen.ended) == ("terminated", datetime(2026, 9, 1, 1, 30, tzinfo=UTC))


def test_an_order_whose_machine_has_ended_makes_no_other(driver, cloud, ledger):
    made = driver.launch(order())
    until_gone(driver)
    again = driver.launch(order())
    assert (again.id, again.state) == (made.id, "terminated")
    for instance in cloud.instances.values():
        instance.account = "forgotten"
    with pytest.raises(Conflict) as caught:
        driver.launch(order())
    assert caught.value.code == "machine-ended"
    assert len(ledger.machines) == 1


# ---- prices --------------------------------------------------------------------------------------------------------


def test_prices_of_all_pages_with_hardware_and_spot(driver, cloud, ledger):
    cloud.page_size = 2
    for number in range(7):
        ledger.sell("aws", REGION, f"m5.{number}xlarge", f"0.{number + 2}")
    ledger.sell("aws", REGION, "p4de.24xlarge", "40.96", spot="20")
    cloud.zone_prices[REGION, TYPE] = [("a", 1, "0.05"), ("a", 9, "0.01"), ("b", 2, "0.04"), ("b", 3, "0.02")]
    hardware = fake.Hardware()
    cloud.extra_products = [
        fake.product(REGION, "m5.free", "0.0000000000", hardware),
        fake.product(REGION, TYPE, "0.99", hardware, operatingSystem="Windows"),
        fake.product(REGION, TYPE, "0.11", hardware, tenancy="Dedicated"),
        fake.product(REGION, "m1.retired", "0.07", hardware),
    ]
    rows = {row["instance_type"]: row for row in driver.prices([REGION])}
    assert all(set(row) == set(COLUMNS) for row in rows.values())
    assert len(rows) == 12
    assert "m5.free" not in rows
    one = rows[TYPE]
    assert (one["price_usd_hour"], one["spot_usd_hour"], one["vcpus"], one["memory_gib"]) == (0.12, 0.04, 2, 8)
    assert (one["as_of"], one["on_demand_available"]) == (ledger.now.date(), True)
    assert rows["c7g.xlarge"]["arch"] == "arm64"
    gpu = rows["g4dn.xlarge"]
    assert (gpu["gpu_name"], gpu["gpu_count"], gpu["gpu_memory_gib"]) == ("T4", 1, 16)
    big = rows["p4de.24xlarge"]
    assert (big["gpu_name"], big["gpu_count"], big["gpu_memory_gib"]) == ("A100-80GB", 8, 80)
    retired = rows["m1.retired"]  # in the list, but not to be had in the region
    assert (retired["on_demand_available"], retired["price_usd_hour"], retired["vcpus"]) == (False, 0.07, 4)


def test_prices_of_all_regions(driver):
    rows = list(driver.prices())
    assert {(row["region"], row["instance_type"], row["burstable"]) for row in rows} == {
        (REGION, TYPE, False),
        (REGION, "c7g.xlarge", False),
        (REGION, "g4dn.xlarge", False),
        ("eu-west-1", "t3.medium", True),
    }


def test_what_was_paid_is_learned(driver, cloud, ledger):
    cloud.discount = Decimal("0.25")
    driver.launch(order())
    driver.launch(order("abc-2", market="spot"))
    ledger.advance(days=3)
    wanted = [{"region": REGION, "instance_type": name} for name in (TYPE, "g4dn.xlarge")]
    (row,) = driver.negotiated(wanted)
    assert (row["instance_type"], row["kind"]) == (TYPE, "learned")
    assert row["price_usd_hour"] == pytest.approx(0.09)
    calls = ledger.calls["GetCostAndUsage"]
    assert list(driver.negotiated([])) == []
    assert ledger.calls["GetCostAndUsage"] == calls


# ---- costs ---------------------------------------------------------------------------------------------------------

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["launch", "launch", "stop", "wait"]),
        st.sampled_from([TYPE, "c7g.xlarge", "g4dn.xlarge"]),
        st.booleans(),
        st.integers(1, 2000),
        st.sampled_from(["mnist", "cifar"]),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=ACTIONS, page=st.integers(2, 40))
def test_the_bill_is_what_was_launched_to_the_cent(running, signed_in, actions, page):
    cloud = emptied(running)
    ledger, live = cloud.ledger, []
    for number, (kind, name, spot, minutes, project) in enumerate(actions):
        if kind == "launch":
            market = "spot" if spot and name == TYPE else "on_demand"
            made = order(f"t-{number}", instance_type=name, market=market, project=project, node=f"n{number}")
            live.append(signed_in.launch(made))
        elif kind == "stop" and live:
            signed_in.terminate(live.pop(minutes % len(live)))
        ledger.advance(minutes=minutes)
    cloud.page_size = page
    rows = list(signed_in.costs(FIRST, AFTER))
    cent = Decimal("0.01")
    assert sum((row["BilledCost"] for row in rows), Decimal(0)).quantize(cent, ROUND_HALF_UP) == ledger.owed(
        FIRST, AFTER
    )
    for project in ("mnist", "cifar"):
        exact = [
            b.usd for b in ledger.bill("aws", fake.ACCOUNT, FIRST, AFTER) if b.machine.tags["flaas-project"] == project
        ]
        billed = [row["BilledCost"] for row in rows if row["Tags"].get("flaas-project") == project]
        assert sum(billed, Decimal(0)) == pytest.approx(sum(exact, Decimal(0)), abs=Decimal("1e-18"))
    for row in rows:
        assert row["Tags"].keys() == {"flaas-project", "flaas-node"}
        assert row["ChargePeriodEnd"] - row["ChargePeriodStart"] == timedelta(days=1)


def extra(day, usd, **more):
    return {"day": date(2026, 9, day), "usd": Decimal(usd), **more}


def test_spending_without_a_project_tax_and_credits(driver, cloud, ledger):
    driver.launch(order())
    ledger.advance(days=2)
    cloud.extra_costs = [
        extra(1, "1.50", SERVICE="Amazon Simple Storage Service"),
        extra(1, "0.30", SERVICE=fake.COMPUTE, unit="Hrs", quantity=Decimal(3)),
        extra(1, "0.40", SERVICE="EC2 - Other", tags={"flaas-project": "mnist", "flaas-node": "north"}),
        extra(1, "0.20", SERVICE="EC2 - Other", tags={"flaas-project": "mnist"}),
        extra(2, "0.90", SERVICE="Tax"),
        extra(2, "-5", SERVICE="Amazon Bedrock"),
        extra(2, "77", LINKED_ACCOUNT="999999999999"),
    ]
    rows = list(driver.costs(FIRST, AFTER))

    def total(**only):
        return sum(
            (
                row["BilledCost"]
                for row in rows
                if all(row["Tags"].get(k.replace("_", "-"), "") == v if k.startswith("flaas") else row[k] == v
                       for k, v in only.items())
            ),
            Decimal(0),
        )  # fmt: skip

    assert total(flaas_project="mnist") == Decimal("6.36")
    assert total(flaas_project="mnist", flaas_node="north") == Decimal("6.16")
    assert total(flaas_project="") == Decimal("1.50") + Decimal("0.30") + Decimal("0.90") - 5
    assert total(ChargeCategory="Tax") == Decimal("0.90")
    assert total(ChargeCategory="Credit") == -5
    assert total(ServiceCategory="Storage") == Decimal("1.50")
    assert {row["BillingCurrency"] for row in rows} == {"USD"}
    assert {row["SubAccountId"] for row in rows} == {fake.ACCOUNT}
    assert {(row["BillingPeriodStart"], row["BillingPeriodEnd"]) for row in rows} == {
        (datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC))
    }
    machine = [row for row in rows if row["PricingUnit"] == "Hours" and row["Tags"]]
    assert sum(row["PricingQuantity"] for row in machine) == 48


def test_effective_cost_is_that_after_discounts(driver, cloud, ledger):
    cloud.discount = Decimal("0.25")
    driver.launch(order())
    ledger.advance(hours=10)
    (row,) = driver.costs(FIRST, AFTER)
    assert (row["BilledCost"], row["EffectiveCost"], row["ListCost"]) == (Decimal("1.2"), Decimal("0.9"), None)


def test_late_bills_and_no_days_at_all(driver, cloud, ledger):
    driver.launch(order())
    ledger.advance(days=4)
    cloud.late_days = 2
    assert [row["ChargePeriodStart"].day for row in driver.costs(FIRST, AFTER)] == [1, 2, 3]
    calls = ledger.calls["GetCostAndUsage"]
    assert list(driver.costs(FIRST, FIRST)) == []
    assert ledger.calls["GetCostAndUsage"] == calls


def test_requests_to_cost_explorer_are_counted_and_limited(connect, cloud, ledger):
    driver = connect()
    driver.launch(order())
    ledger.advance(days=20)
    cloud.page_size = 1
    driver.max_requests = 5
    with pytest.raises(Conflict) as caught:
        list(driver.costs(FIRST, AFTER))
    assert caught.value.code == "billing-request-limit"
    assert "USD 0.01" in caught.value.message
    assert ledger.calls["GetCostAndUsage"] == driver.connection.billing_requests == 5
    driver.max_requests = 50
    assert sum(row["BilledCost"] for row in driver.costs(FIRST, AFTER)) == ledger.owed(FIRST, AFTER)


def test_a_charged_request_is_not_repeated_by_the_sdk(connect, cloud, ledger):
    ledger.faults = [Fault("GetCostAndUsage", "error")]
    driver = connect(AwsDriver)
    with pytest.raises(CloudUnreachable):
        list(driver.costs(FIRST, AFTER))
    assert ledger.calls["GetCostAndUsage"] == 1


def test_tags_are_activated_once_aws_knows_them(driver, cloud, ledger):
    cloud.active_tags.clear()
    assert driver.activate_cost_tags() == ("flaas-project", "flaas-node")
    driver.launch(order())
    ledger.advance(days=1)
    assert [row["Tags"] for row in driver.costs(FIRST, AFTER)] == [{}]
    assert driver.activate_cost_tags() == ()
    assert [row["Tags"] for row in driver.costs(FIRST, AFTER)] == [{"flaas-project": "mnist", "flaas-node": "north"}]


# ---- the policy ----------------------------------------------------------------------------------------------------


def test_the_policy_has_exactly_the_actions_that_are_called(connect, cloud, ledger):
    called = set()

    def note(model, params, **_):
        called.add(f"{model.service_model.signing_name}:{model.name}")
        if isinstance(params["body"], dict) and any(name.startswith("TagSpecification.") for name in params["body"]):
            called.add("ec2:CreateTags")  # what tagging while something is made is authorised as

    driver = connect()
    driver.connection.session.events.register("before-call", note)
    cloud.keep_volumes = True
    driver.whoami()
    list(driver.prices())
    driver.launch(order())
    driver.launch(order("abc-2", market="spot"))
    ledger.advance(hours=2)
    list(driver.negotiated([{"region": REGION, "instance_type": TYPE}]))
    list(driver.costs(FIRST, AFTER))
    driver.activate_cost_tags()
    until_gone(driver)
    listed = [
        [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        for statement in json.loads(POLICY.read_text())["Statement"]
    ]
    policy = set(itertools.chain.from_iterable(listed))
    # everybody may ask who they are
    assert called - {"sts:GetCallerIdentity"} == policy == set(NEEDED) | {SIMULATE}
    assert cloud.used == policy
    assert all(action.split(":")[1] in POLICY.with_name("aws.md").read_text() for action in policy)


def test_the_fake_refuses_what_a_careless_driver_would_send(driver, cloud, ledger):
    """The laboratory would notice missing tags and missing IMDSv2."""
    client = driver.connection.client("ec2", REGION)
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError, match="service control policy"):
        client.run_instances(ImageId=cloud.image(REGION, "amd64"), InstanceType=TYPE, MinCount=1, MaxCount=1)
    assert not ledger.machines
