"""What the credentials may do at AWS, found out without changing anything and without a charged request.

What has a dry run or is harmless is tried. The rest, ending machines and Cost Explorer (whose requests are charged), is
asked of IAM's simulator, if the policy lets the credentials ask about themselves. What neither tells is left out rather
than guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from ...errors import FlaasError
from ..driver import (
    INSTALLATION_TAG,
    CloudUnreachable,
    CredentialsRefused,
    Identity,
    MachineOrder,
    PermissionCheck,
    PermissionMissing,
    Throttled,
)
from . import aws_groups, aws_machines, aws_prices
from .aws_connection import HOME_REGION, Connection, needed
from .aws_errors import code_of

Purpose = Literal["costs", "prices", "launch"]

NEEDED: Final[Mapping[str, Purpose]] = {
    "ce:GetCostAndUsage": "costs",
    "ce:UpdateCostAllocationTagsStatus": "costs",
    "pricing:GetProducts": "prices",
    "ec2:DescribeInstanceTypes": "prices",
    "ec2:DescribeRegions": "prices",
    "ec2:DescribeSpotPriceHistory": "prices",
    "ssm:GetParameter": "launch",
    "ec2:DescribeImages": "launch",
    "ec2:DescribeInstances": "launch",
    "ec2:DescribeSecurityGroups": "launch",
    "ec2:DescribeVolumes": "launch",
    "ec2:CreateSecurityGroup": "launch",
    "ec2:CreateTags": "launch",
    "ec2:RunInstances": "launch",
    "ec2:TerminateInstances": "launch",
    "ec2:DeleteSecurityGroup": "launch",
    "ec2:DeleteVolume": "launch",
}
"""Actions that the policy must allow, and what for."""
SIMULATE: Final = "iam:SimulatePrincipalPolicy"
_UNTRIED: Final = (
    "ce:GetCostAndUsage",
    "ce:UpdateCostAllocationTagsStatus",
    "ec2:TerminateInstances",
    "ec2:DeleteSecurityGroup",
    "ec2:DeleteVolume",
)
"""Cannot be tried: a dry run needs a machine, group or disk that is there."""
_NOTHING: Final = "flaas-permission-check"
_TRIAL_TYPE: Final = "t3.micro"


def whoami(aws: Connection) -> Identity:
    """Return whom AWS takes the credentials for; see `CloudDriver.whoami`."""
    me = aws.identity()
    account, arn = str(needed(me, "Account", "signing in")), str(needed(me, "Arn", "signing in"))
    found = {**_simulated(aws, arn), **_tried(aws)}
    checks = tuple(
        PermissionCheck(permission, found[permission], purpose)
        for permission, purpose in NEEDED.items()
        if permission in found
    )
    return Identity(account, arn, checks)


def _simulated(aws: Connection, arn: str) -> dict[str, bool]:
    """Ask IAM; empty if it may not be asked, or does not know the principal under this name."""
    role = re.fullmatch(r"(arn:[^:]+):sts:(:\d+):assumed-role/([^/]+)/.*", arn)
    principal = f"{role[1]}:iam:{role[2]}:role/{role[3]}" if role else arn
    met = {f"{service}:ResourceTag/{INSTALLATION_TAG}": _NOTHING for service in ("aws", "ec2")}
    parameters = {
        "PolicySourceArn": principal,
        "ActionNames": list(_UNTRIED),
        "ContextEntries": [
            {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
            for key, value in met.items()
        ],
    }
    try:
        results = list(
            aws.pages(
                "iam",
                "simulate_principal_policy",
                "EvaluationResults",
                "asking for permissions",
                HOME_REGION,
                **parameters,
            )
        )
    except (CredentialsRefused, Throttled, CloudUnreachable):
        raise
    except FlaasError:
        return {}
    return {str(one["EvalActionName"]): one["EvalDecision"] == "allowed" for one in results}


def _tried(aws: Connection) -> dict[str, bool]:
    """Try what can be tried."""
    found = {
        "pricing:GetProducts": _harmless(lambda: aws_prices.one_product(aws)),
        "ssm:GetParameter": _harmless(lambda: aws_machines.default_image(aws, aws.region, "x86_64")),
    }
    region = aws.region
    image = "ami-00000000000000000"
    if found["ssm:GetParameter"]:
        image = aws_machines.default_image(aws, region, "x86_64")
    order = MachineOrder(_NOTHING, _NOTHING, _NOTHING, _NOTHING, _NOTHING, region, _TRIAL_TYPE, "#cloud-config\n", 1)
    trials: Mapping[str, Mapping[str, Any]] = {
        "describe_instance_types": {},
        "describe_regions": {},
        "describe_spot_price_history": {},
        "describe_images": {"Owners": ["self"]},
        "describe_instances": {},
        "describe_security_groups": {},
        "describe_volumes": {},
        "create_security_group": aws_groups.group_request(_NOTHING),
        "run_instances": aws_machines.request(order, image, "/dev/sda1", 0),
    }
    for operation, parameters in trials.items():
        found |= _dry_run(aws, region, operation, parameters)
    return {permission: granted for permission, granted in found.items() if granted is not None}


def _harmless(call: Callable[[], Any]) -> bool | None:
    try:
        call()
    except PermissionMissing:
        return False
    except (CredentialsRefused, Throttled, CloudUnreachable):
        raise
    except FlaasError:
        return None
    return True


def _dry_run(aws: Connection, region: str, operation: str, parameters: Mapping[str, Any]) -> dict[str, bool]:
    """Return which permissions a dry run has shown to be there or missing."""
    from botocore.exceptions import ClientError

    client = aws.client("ec2", region)
    permission = f"ec2:{client.meta.method_to_api_mapping[operation]}"
    tagging = {"ec2:CreateTags": True} if "TagSpecifications" in parameters else {}
    try:
        with aws.errors("trying out permissions", permission):
            try:
                getattr(client, operation)(DryRun=True, **parameters)
            except ClientError as error:
                if code_of(error) == "DryRunOperation":
                    return {permission: True, **tagging}
                raise
    except PermissionMissing as missing:
        return {str(missing.details["permission"]): False}
    except (CredentialsRefused, Throttled, CloudUnreachable):
        raise
    except FlaasError:
        pass
    return {}
