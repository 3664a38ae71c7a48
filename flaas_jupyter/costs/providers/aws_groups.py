"""The security group that an installation's machines of a region at Amazon EC2 share: it lets nothing in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import Conflict
from ..driver import INSTALLATION_TAG
from .aws_connection import Connection, needed
from .aws_errors import code_of


def group_name(installation: str) -> str:
    """Return the name of an installation's security group."""
    return f"flaas-{installation}"


def group_request(installation: str) -> dict[str, Any]:
    """Return what is asked of ``CreateSecurityGroup``: a new group lets nothing in."""
    return {
        "GroupName": group_name(installation),
        "Description": "Federated learning nodes: nothing inbound",
        "TagSpecifications": [{"ResourceType": "security-group", "Tags": tag_list({INSTALLATION_TAG: installation})}],
    }


def shared_group(aws: Connection, region: str, installation: str) -> str:
    """Return the id of the security group; makes it if there is none."""
    from botocore.exceptions import ClientError

    found = groups_of(aws, region, installation)
    if not found:
        name = group_name(installation)
        client = aws.client("ec2", region)
        with aws.errors("making the security group", "ec2:CreateSecurityGroup"):
            try:
                answer = client.create_security_group(**group_request(installation))
                return str(needed(answer, "GroupId", "making the security group"))
            except ClientError as error:
                if code_of(error) != "InvalidGroup.Duplicate":
                    raise
        found = groups_of(aws, region, installation)  # made by somebody else at the same time
        if not found:
            raise Conflict(
                f"There is a security group {name!r} in {region} that is not of this installation.",
                code="security-group-foreign",
                hint="Rename or remove it.",
            )
    if found[0].get("IpPermissions"):
        raise Conflict(
            f"The security group {found[0]['GroupId']} in {region} lets connections in.",
            code="security-group-open",
            hint="Remove its inbound rules: nodes need none.",
        )
    return str(found[0]["GroupId"])


def groups_of(aws: Connection, region: str, installation: str) -> list[Mapping[str, Any]]:
    """Return the installation's security group in a region as EC2 describes it, if it is there."""
    only = [
        {"Name": f"tag:{INSTALLATION_TAG}", "Values": [installation]},
        {"Name": "group-name", "Values": [group_name(installation)]},
    ]
    doing = "looking for the security group"
    return list(aws.pages("ec2", "describe_security_groups", "SecurityGroups", doing, region, Filters=only))


def tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags as EC2 takes them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]
