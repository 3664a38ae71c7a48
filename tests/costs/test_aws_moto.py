"""The AWS driver's use of EC2 against moto, an emulator that others wrote: it checks requests by EC2's own model."""

from __future__ import annotations

import pytest

from flaas_jupyter.costs.driver import MachineOrder
from flaas_jupyter.costs.providers.aws import AwsDriver

moto = pytest.importorskip("moto", reason="moto is not installed")

REGION = "eu-central-1"


@pytest.fixture
def driver():
    keys = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "none"}
    with moto.mock_aws():
        client = AwsDriver(keys).connection.client("ec2", REGION)
        only = {"architecture": "x86_64", "root-device-type": "ebs"}
        found = client.describe_images(Filters=[{"Name": name, "Values": [value]} for name, value in only.items()])
        yield AwsDriver({**keys, "image": found["Images"][0]["ImageId"]})


def order(token, **changes):
    values = {
        "installation": "hub-1", "project": "mnist", "launch": "first", "node": "north", "region": REGION,
        "instance_type": "t3.medium", "user_data": "#cloud-config\n{}\n", "max_minutes": 60,
    }  # fmt: skip
    return MachineOrder(token, **{**values, **changes})


@pytest.mark.parametrize("market", ["on_demand", "spot"])
def test_the_life_of_a_machine(driver, market):
    installation = f"hub-{market.replace('_', '-')}"
    made = driver.launch(order(f"abc-{market[:4]}-1".replace("_", "-"), installation=installation, market=market))
    assert made.instance_type == "t3.medium"
    wanted = order("x", installation=installation).tags
    assert made.tags.items() >= wanted.items()
    client = driver.connection.client("ec2", REGION)
    (instance,) = client.describe_instances(InstanceIds=[made.id])["Reservations"][0]["Instances"]
    assert instance["MetadataOptions"]["HttpTokens"] == "required"
    assert "KeyName" not in instance
    (group,) = client.describe_security_groups(GroupIds=[g["GroupId"] for g in instance["SecurityGroups"]])[
        "SecurityGroups"
    ]
    assert (group["GroupName"], group["IpPermissions"]) == (f"flaas-{installation}", [])
    disks = [disk["Ebs"]["VolumeId"] for disk in instance["BlockDeviceMappings"]]
    (volume,) = client.describe_volumes(VolumeIds=disks)["Volumes"]
    assert (volume["Encrypted"], volume["VolumeType"], volume["Size"] >= 30) == (True, "gp3", True)
    # moto ignores client tokens: that no second machine is made is the driver's own look
    again = driver.launch(order(f"abc-{market[:4]}-1".replace("_", "-"), installation=installation, market=market))
    assert again.id == made.id
    (seen,) = driver.describe(installation, [REGION])
    assert (seen.id, seen.token, seen.state) == (made.id, made.token, "running")
    for _ in range(4):
        for machine in driver.describe(installation, [REGION]):
            if not machine.gone:
                driver.terminate(machine)
    assert all(machine.gone for machine in driver.describe(installation, [REGION]))
    left = client.describe_security_groups(Filters=[{"Name": "group-name", "Values": [f"flaas-{installation}"]}])
    assert left["SecurityGroups"] == []


def test_hardware_of_real_types(driver):
    """moto carries AWS's own descriptions of its types."""
    from flaas_jupyter.costs.providers.aws_prices import _hardware

    def described(name):
        answer = driver.connection.call("ec2", "describe_instance_types", "looking", REGION, InstanceTypes=[name])
        return _hardware(answer["InstanceTypes"][0], {})

    assert described("g4dn.xlarge") == {
        "arch": "x86_64", "vcpus": 4, "memory_gib": 16, "gpu_name": "T4", "gpu_count": 1, "gpu_memory_gib": 16,
        "burstable": False,
    }  # fmt: skip
    assert (described("t3.medium")["burstable"], described("t3.medium")["memory_gib"]) == (True, 4)
    assert described("c7g.xlarge")["arch"] == "arm64"
    assert (described("g5.xlarge")["gpu_name"], described("g5.xlarge")["gpu_memory_gib"]) == ("A10G", 22.35)
