"""Machines at Amazon EC2: launched, described and ended.

Each machine is one instance with one disk and one network interface, which end with it, in a security group that the
installation's machines of a region share. Nothing can be reached from outside: the group has no inbound rule.
"""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from ...errors import Conflict, InvalidInput
from ..driver import INSTALLATION_TAG, Machine, MachineOrder, MachineState, NotOffered
from .aws_connection import Connection, needed
from .aws_errors import code_of
from .aws_groups import groups_of, shared_group, tag_list

TOKEN_TAG: Final = "flaas-token"  # noqa: S105 (a tag's name)
USER_DATA_BYTES: Final = 16 * 1024
"""https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html, before it is encoded."""
IMAGES: Final = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{arch}/hvm/ebs-gp3/ami-id"
"""Canonical's public parameter, https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images."""
_STATES: Final[Mapping[str, MachineState]] = {
    "pending": "pending",
    "running": "running",
    "shutting-down": "stopping",
    "stopping": "stopping",
    "stopped": "stopped",
    "terminated": "terminated",
}
_MOMENT: Final = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) GMT\)")
_GONE: Final = {"InvalidInstanceID.NotFound", "InvalidVolume.NotFound", "InvalidGroup.NotFound"}
_STILL_IN_USE: Final = {"DependencyViolation", "InvalidGroup.InUse", "VolumeInUse", "IncorrectState"}
_NO_GROUP: Final = {"InvalidGroup.NotFound", "InvalidSecurityGroupID.NotFound"}
_SAME_TOKEN: Final = {"IdempotentParameterMismatch", "IdempotentInstanceTerminated"}


def launch(aws: Connection, order: MachineOrder) -> Machine:
    """Launch a machine; see `CloudDriver.launch`."""
    size = len(order.user_data.encode())
    if size > USER_DATA_BYTES:
        raise InvalidInput(
            f"The machine's set-up takes {size} bytes; AWS takes {USER_DATA_BYTES}.",
            code="user-data-too-large",
            hint="Shorten what the machine is given at its start.",
        )
    made = _made(aws, order)
    if made is not None:
        return made
    image = _image(aws, order.region, _arch(aws, order.region, order.instance_type))
    wanted = request(order, image, *_root(aws, order.region, image))
    for last in (False, True):
        group = shared_group(aws, order.region, order.installation)
        again = _run(aws, order, {**wanted, "SecurityGroupIds": [group]}, last)
        if again is not None:
            return again
    raise AssertionError("the last attempt returns or raises")


def request(order: MachineOrder, image: str, root: str, least_gib: int) -> dict[str, Any]:
    """Return what is asked of ``RunInstances``, but for the security group.

    Parameters
    ----------
    order : MachineOrder
    image, root : str
        Id of the image and name of its root device.
    least_gib : int
        Size of the image's own disk.
    """
    tags = tag_list({**order.tags, TOKEN_TAG: order.token})
    tagged = ["instance", "volume", "network-interface"]
    wanted: dict[str, Any] = {
        "ImageId": image,
        "InstanceType": order.instance_type,
        "MinCount": 1,
        "MaxCount": 1,
        "ClientToken": order.token,
        "UserData": order.user_data,
        "InstanceInitiatedShutdownBehavior": "terminate",
        "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1, "HttpEndpoint": "enabled"},
        "BlockDeviceMappings": [
            {
                "DeviceName": root,
                "Ebs": {
                    "VolumeType": "gp3",
                    "VolumeSize": max(order.disk_gib, least_gib),
                    "Encrypted": True,
                    "DeleteOnTermination": True,
                },
            }
        ],
    }
    if order.market == "spot":
        tagged.append("spot-instances-request")
        wanted["InstanceMarketOptions"] = {
            "MarketType": "spot",
            "SpotOptions": {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"},
        }
    wanted["TagSpecifications"] = [{"ResourceType": kind, "Tags": tags} for kind in tagged]
    return wanted


def _run(aws: Connection, order: MachineOrder, wanted: Mapping[str, Any], last: bool) -> Machine | None:
    """Ask for the instance; None if the security group has gone meanwhile and this was not the last attempt."""
    from botocore.exceptions import ClientError

    doing = f"launching {order.instance_type} in {order.region}"
    client = aws.client("ec2", order.region)
    with aws.errors(doing, "ec2:RunInstances"):
        try:
            answer = client.run_instances(**wanted)
        except ClientError as error:
            if code_of(error) in _NO_GROUP and not last:
                return None
            if code_of(error) not in _SAME_TOKEN:
                raise
            # Launched before, with another version of the image or another group; or ended since.
            made = _made(aws, order)
            if made is None:
                raise Conflict(
                    f"The machine of token {order.token!r} was launched before, and has ended.",
                    code="machine-ended",
                    hint="Order again with a new token.",
                ) from None
            return made
        instances = needed(answer, "Instances", doing)
    return _machine(instances[0], order.region, ())


def _made(aws: Connection, order: MachineOrder) -> Machine | None:
    """Return the machine of an order if there is one: AWS itself remembers a token for a day only."""
    only = [{"Name": f"tag:{TOKEN_TAG}", "Values": [order.token]}]
    for reservation in aws.pages(
        "ec2", "describe_instances", "Reservations", "looking for the machine", order.region, Filters=only
    ):
        for instance in reservation["Instances"]:
            machine = _machine(instance, order.region, ())
            if machine.tags.get(INSTALLATION_TAG) == order.installation:
                return machine
    return None


def _arch(aws: Connection, region: str, instance_type: str) -> str:
    doing = f"looking for {instance_type} in {region}"
    answer = aws.call("ec2", "describe_instance_types", doing, region, InstanceTypes=[instance_type])
    found = needed(answer, "InstanceTypes", doing)
    if not found:
        raise NotOffered(
            f"AWS has no {instance_type[:40]!r} in {region}.", hint="Take another machine type, region or market."
        )
    return architecture(found[0])


def architecture(described: Mapping[str, Any]) -> str:
    """Return ``arm64`` or ``x86_64`` for an answer of ``DescribeInstanceTypes``."""
    offered = described.get("ProcessorInfo", {}).get("SupportedArchitectures", [])
    return "arm64" if "arm64" in offered else "x86_64"


def _image(aws: Connection, region: str, arch: str) -> str:
    """Return the id of the image: the one asked for, or the newest of Ubuntu."""
    return aws.image if aws.image.startswith("ami-") else default_image(aws, region, arch, aws.image or IMAGES)


def default_image(aws: Connection, region: str, arch: str, parameter: str = IMAGES) -> str:
    """Return the id of the newest image that a public parameter names."""
    path = parameter.replace("{arch}", "arm64" if arch == "arm64" else "amd64")
    doing = f"looking for the image in {region}"
    answer = aws.call("ssm", "get_parameter", doing, region, Name=path)
    return str(needed(needed(answer, "Parameter", doing), "Value", doing))


def _root(aws: Connection, region: str, image: str) -> tuple[str, int]:
    """Return the name of an image's root device, and the least size of its disk in GiB."""
    doing = f"looking for image {image} in {region}"
    found = needed(aws.call("ec2", "describe_images", doing, region, ImageIds=[image]), "Images", doing)
    if not found:
        raise InvalidInput(f"There is no image {image} in {region}.", code="unknown-image", hint="Leave it out.")
    root = str(found[0].get("RootDeviceName") or "/dev/sda1")
    disks = {disk.get("DeviceName"): disk.get("Ebs", {}) for disk in found[0].get("BlockDeviceMappings", ())}
    return root, int(disks.get(root, {}).get("VolumeSize", 0))


# ---- describing and ending -----------------------------------------------------------------------------------------


def describe(aws: Connection, installation: str, regions: Sequence[str]) -> list[Machine]:
    """Return the machines of an installation; see `CloudDriver.describe`.

    What is left of a machine that AWS does not know any more is a terminated machine with leftovers. The security
    group is a leftover once no machine is in it.
    """
    return [machine for region in dict.fromkeys(regions) for machine in _described(aws, installation, region)]


def _described(aws: Connection, installation: str, region: str) -> Iterable[Machine]:
    only = [{"Name": f"tag:{INSTALLATION_TAG}", "Values": [installation]}]
    doing = f"describing machines in {region}"
    reservations = list(aws.pages("ec2", "describe_instances", "Reservations", doing, region, Filters=only))
    instances = [instance for reservation in reservations for instance in reservation["Instances"]]
    volumes: dict[str, list[str]] = defaultdict(list)
    tags_of: dict[str, dict[str, str]] = {}
    for volume in aws.pages("ec2", "describe_volumes", "Volumes", doing, region, Filters=only):
        if volume.get("State") == "deleting":
            continue
        tags = _untagged(volume)
        token = tags.get(TOKEN_TAG, "")
        volumes[token].append(str(volume["VolumeId"]))
        tags_of[token] = tags
    live = any(_state(instance) != "terminated" for instance in instances)
    groups = [] if live else [str(group["GroupId"]) for group in groups_of(aws, region, installation)]
    for instance in instances:
        token = _token(instance)
        yield _machine(instance, region, (*volumes.pop(token, ()), *groups))
    for token, ids in volumes.items():
        yield Machine("aws", ids[0], region, "", "terminated", token, tags_of[token], leftovers=tuple(ids))
    if groups and not instances:
        yield Machine(
            "aws", groups[0], region, "", "terminated", "", {INSTALLATION_TAG: installation}, leftovers=(*groups,)
        )


def terminate(aws: Connection, machine: Machine) -> None:
    """End a machine and delete what is left of it; see `CloudDriver.terminate`.

    The disk goes with the instance. What `describe` has found to be left after that is deleted by calling again.
    """
    if machine.id.startswith("i-") and machine.state != "terminated":
        with _gone_is_fine(aws, f"ending {machine.id}", "ec2:TerminateInstances"):
            aws.client("ec2", machine.region).terminate_instances(InstanceIds=[machine.id])
    for left in machine.leftovers if machine.state == "terminated" else ():
        if left.startswith("vol-"):
            with _gone_is_fine(aws, f"deleting {left}", "ec2:DeleteVolume"):
                aws.client("ec2", machine.region).delete_volume(VolumeId=left)
        elif left.startswith("sg-"):
            with _gone_is_fine(aws, f"deleting {left}", "ec2:DeleteSecurityGroup"):
                aws.client("ec2", machine.region).delete_security_group(GroupId=left)


@contextlib.contextmanager
def _gone_is_fine(aws: Connection, doing: str, permission: str) -> Any:
    from botocore.exceptions import ClientError

    with aws.errors(doing, permission):
        try:
            yield
        except ClientError as error:
            if code_of(error) not in _GONE | _STILL_IN_USE:
                raise


def _state(instance: Mapping[str, Any]) -> MachineState:
    name = str(instance.get("State", {}).get("Name", "pending"))
    return _STATES.get(name, "running")  # what is not known may cost


def _machine(instance: Mapping[str, Any], region: str, leftovers: Sequence[str]) -> Machine:
    ended = _MOMENT.search(str(instance.get("StateTransitionReason", "")))
    state = _state(instance)
    return Machine(
        "aws",
        str(instance["InstanceId"]),
        region,
        str(instance.get("InstanceType", "")),
        state,
        _token(instance),
        _untagged(instance),
        instance.get("LaunchTime"),
        datetime.strptime(ended[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        if ended and state == "terminated"
        else None,
        tuple(leftovers),
    )


def _token(instance: Mapping[str, Any]) -> str:
    """Return the token of the order; the client token of a spot machine can be one of AWS's own."""
    return _untagged(instance).get(TOKEN_TAG) or str(instance.get("ClientToken", ""))


def _untagged(resource: Mapping[str, Any]) -> dict[str, str]:
    return {str(tag["Key"]): str(tag["Value"]) for tag in resource.get("Tags", ())}
