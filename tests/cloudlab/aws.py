"""AWS in the laboratory: STS, EC2, IAM, SSM, the price list and Cost Explorer on one port.

Operations, as `Ledger.fault` and `Ledger.calls` name them, are AWS's own (``RunInstances``, ``GetCostAndUsage``);
`Ledger.denied` holds actions of policies (``ec2:RunInstances``) by account. `cloud` gives the running fake, for what a
test wants to set or look at. Signatures are recomputed by the rules of Signature Version 4, without botocore's code.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from .ledger import Ledger

ACCOUNT, KEY, SECRET = "123456789012", "AKIALABORATORY000001", "lab/Secret+Access/Key/0123456789abcdefgh"
OTHER_ACCOUNT, OTHER_KEY, OTHER_SECRET = (
    "210987654321",
    "AKIALABORATORY000002",
    "lab/Other+Secret/Key/9876543210hgfedcba",
)
TEMPORARY_KEY, TEMPORARY_SECRET = "ASIALABORATORY000003", "lab/Temporary+Secret/Key/01234567890abc"
TOKEN, EXPIRED_TOKEN = "lab-session-token-that-is-good", "lab-session-token-that-has-expired"
ROLE, EXTERNAL_ID = f"arn:aws:iam::{ACCOUNT}:role/flaas", "lab-external-id"
NODE_TAGS = ("flaas-project", "flaas-installation", "flaas-launch", "flaas-node")
COMPUTE = "Amazon Elastic Compute Cloud - Compute"
REGIONS = ("eu-central-1", "eu-west-1", "us-east-1")
_ZONES = "abc"
_IMAGE = "/aws/service/canonical/ubuntu/server/24.04/stable/current/{arch}/hvm/ebs-gp3/ami-id"

_CLOUDS: dict[str, AwsCloud] = {}


@dataclass(frozen=True)
class Hardware:
    arch: str = "x86_64"
    vcpus: int = 4
    mib: int = 16384
    gpu: tuple[str, int, int] | None = None  # name, count, MiB of each
    burstable: bool = False


TYPES = {
    "m5.large": Hardware(vcpus=2, mib=8192),
    "m5.xlarge": Hardware(),
    "c7g.xlarge": Hardware("arm64", 4, 8192),
    "t3.micro": Hardware(vcpus=2, mib=1024, burstable=True),
    "t3.medium": Hardware(vcpus=2, mib=4096, burstable=True),
    "g4dn.xlarge": Hardware(gpu=("T4", 1, 16384)),
    "g5.xlarge": Hardware(gpu=("A10G", 1, 22888)),
    "p4de.24xlarge": Hardware(vcpus=96, mib=1152 * 1024, gpu=("A100", 8, 81920)),
}


class Refused(Exception):
    """An error answer."""

    def __init__(self, code: str, message: str = "", status: int = 400) -> None:
        super().__init__(code)
        self.code, self.message, self.status = code, message or code, status


class Dropped(Exception):
    """No answer, or half of one."""

    def __init__(self, part: bytes = b"", hang: bool = False) -> None:
        super().__init__("dropped")
        self.part, self.hang = part, hang


@dataclass(frozen=True)
class Principal:
    account: str
    arn: str
    secret: str
    token: str | None = None


@dataclass
class Instance:
    account: str
    id: str
    region: str
    request: Mapping[str, Any]
    group: str
    volume: str
    tags: dict[str, str]
    machine: Any
    state: str = "pending"


@dataclass
class Volume:
    account: str
    id: str
    region: str
    tags: dict[str, str]
    instance: str = ""
    gib: int = 30
    details: dict[str, Any] = field(default_factory=dict)


@dataclass
class Group:
    account: str
    id: str
    region: str
    name: str
    tags: dict[str, str]
    inbound: list[dict[str, Any]] = field(default_factory=list)


class AwsCloud:
    """State and rules of the fake.

    Attributes
    ----------
    page_size
        Of every list, rows of costs too.
    keep_volumes
        Whether disks outlive their machines, as they do when something goes wrong.
    image_version
        Of the newest image; a number.
    late_days
        So many days before now are not billed yet.
    active_tags
        Cost allocation tags.
    discount
        What the account gets off, in its effective cost.
    extra_costs
        Further charges: mappings with ``day``, ``usd`` and what differs from `charge`'s defaults.
    used
        The actions of policies that were asked for.
    """

    def __init__(self, ledger: Ledger, base: str) -> None:
        self.ledger, self.base = ledger, base
        self.lock = threading.RLock()
        self.page_size = 100
        self.keep_volumes = False
        self.image_version = 1
        self.late_days = 0
        self.active_tags = {"flaas-project", "flaas-node"}
        self.discount = Decimal(0)
        self.currency = "USD"
        self.hang_seconds = 0.2
        self.extra_costs: list[dict[str, Any]] = []
        self.extra_products: list[dict[str, Any]] = []
        self.zone_prices: dict[tuple[str, str], list[tuple[str, int, str]]] = {}  # zone, hours ago, USD
        self.used: set[str] = set()
        self.bodies: list[tuple[str, Mapping[str, Any]]] = []
        self.instances: dict[str, Instance] = {}
        self.volumes: dict[str, Volume] = {}
        self.groups: dict[str, Group] = {}
        self.tokens: dict[tuple[str, str, str], tuple[str, str]] = {}
        user = "arn:aws:iam::{}:user/flaas"
        self.principals = {
            KEY: Principal(ACCOUNT, user.format(ACCOUNT), SECRET),
            OTHER_KEY: Principal(OTHER_ACCOUNT, user.format(OTHER_ACCOUNT), OTHER_SECRET),
            TEMPORARY_KEY: Principal(
                ACCOUNT, f"arn:aws:sts::{ACCOUNT}:assumed-role/flaas/lab", TEMPORARY_SECRET, TOKEN
            ),
        }

    # ---- borders ---------------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> Wire:
        service = _service(headers)
        wire = JSON if "x-amz-target" in headers else XML
        try:
            principal = self.authenticate(service, method, path, query, headers, body)
            if wire is JSON:
                operation, sent = headers["x-amz-target"].rpartition(".")[2], json.loads(body)
            else:
                form = dict(parse_qsl(body.decode(), keep_blank_values=True))
                operation, sent = form.pop("Action", ""), _tree(form)
            region = _scope(headers)[2]
            return self.faulty(service, operation, lambda: self.act(wire, service, operation, principal, region, sent))
        except Refused as error:
            return Wire(error.status, _error(service, wire, error), wire)

    def faulty(self, service: str, operation: str, act: Callable[[], Wire]) -> Wire:
        fault = self.ledger.fault(operation)
        kind = fault.kind if fault else ""
        if kind == "throttle":
            raise {
                "ec2": Refused("RequestLimitExceeded", "Request limit exceeded.", 503),
                "ce": Refused("LimitExceededException", "Rate exceeded"),
                "pricing": Refused("ThrottlingException", "Rate exceeded"),
                "ssm": Refused("ThrottlingException", "Rate exceeded"),
            }.get(service, Refused("Throttling", "Rate exceeded"))
        if kind == "error":
            raise Refused("InternalError", "An internal error has occurred", 500)
        if kind == "timeout":
            raise Dropped(hang=True)
        if kind == "capacity":
            raise Refused(
                "InsufficientInstanceCapacity", "We currently do not have sufficient capacity in the zone.", 500
            )
        if kind == "quota":
            raise Refused("VcpuLimitExceeded", "You have requested more vCPU capacity than your current limit of 8.")
        done = act()
        if kind == "lost":
            raise Dropped
        if kind == "truncate":
            raise Dropped(done.content[: len(done.content) // 2] or b"{")
        if kind == "garble":
            return Wire(done.status, done.content[: len(done.content) // 2], done.kind)
        return done

    def act(
        self, wire: str, service: str, operation: str, who: Principal, region: str, sent: Mapping[str, Any]
    ) -> Wire:
        with self.lock:
            self.bodies.append((operation, sent))
            do = getattr(self, f"{service}_{operation}", None)
            if do is None:
                raise Refused("InvalidAction", f"The action {operation} is not valid for this web service.")
            if operation != "GetCallerIdentity":
                self.allowed(who, service, operation)
            result = do(who, region, sent)
        if wire is JSON:
            return Wire(200, dumps(result), JSON)
        inner = xml(result)
        if service != "ec2":
            inner = f"<{operation}Result>{inner}</{operation}Result>"
        name = f"{operation}Response"
        return Wire(200, f'<?xml version="1.0" encoding="UTF-8"?><{name}>{inner}</{name}>'.encode(), XML)

    def authenticate(
        self, service: str, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> Principal:
        if "authorization" not in headers:
            raise Refused("MissingAuthenticationToken", "Request is missing Authentication Token", 403)
        key, day, region, named, signed, signature = _scope(headers)
        principal = self.principals.get(key)
        if principal is None:
            raise _unknown_key(service)
        token = headers.get("x-amz-security-token")
        if token == EXPIRED_TOKEN:
            code = {"ec2": "RequestExpired", "sts": "ExpiredToken", "iam": "ExpiredToken"}
            raise Refused(code.get(service, "ExpiredTokenException"), "The security token included is expired", 403)
        if token != principal.token:
            raise _unknown_key(service)
        needed = {"host", "x-amz-date"} | ({"x-amz-security-token"} if token else set())
        moment = headers.get("x-amz-date", "")
        if not needed <= set(signed.split(";")) or moment[:8] != day or named != service:
            raise _bad_signature(service)
        age = abs(datetime.now(UTC) - datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC))
        lines = "".join(f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in signed.split(";"))
        digest = hashlib.sha256(body).hexdigest()
        canonical = f"{method}\n{path}\n{query}\n{lines}\n{signed}\n{digest}"
        scope = f"{day}/{region}/{service}/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signing = f"AWS4{principal.secret}".encode()
        for part in (day, region, service, "aws4_request"):
            signing = hmac.digest(signing, part.encode(), "sha256")
        right = hmac.digest(signing, text.encode(), "sha256").hex()
        if age > timedelta(minutes=15) or not hmac.compare_digest(right, signature):
            raise _bad_signature(service)
        return principal

    def allowed(self, who: Principal, service: str, action: str) -> None:
        """Refuse what the policy lacks, in AWS's words."""
        permission = f"{service}:{action}"
        self.used.add(permission)
        if permission in self.ledger.denied[who.account]:
            said = (
                f"User: {who.arn} is not authorized to perform: {permission} on resource: * because no identity-based "
                f"policy allows the {permission} action"
            )
            raise _unauthorized(service, said)

    # ---- STS, IAM, SSM ---------------------------------------------------------------------------------------------

    def sts_GetCallerIdentity(self, who: Principal, region: str, sent: Mapping[str, Any]) -> Any:
        return {"Arn": who.arn, "UserId": "AIDALAB", "Account": who.account}

    def sts_AssumeRole(self, who: Principal, region: str, sent: Mapping[str, Any]) -> Any:
        if sent["RoleArn"] != ROLE or sent.get("ExternalId") != EXTERNAL_ID:
            raise _unauthorized(
                "sts", f"User: {who.arn} is not authorized to perform: sts:AssumeRole on resource: {sent['RoleArn']}"
            )
        until = datetime.now(UTC) + timedelta(hours=1)
        return {
            "Credentials": {
                "AccessKeyId": TEMPORARY_KEY, "SecretAccessKey": TEMPORARY_SECRET, "SessionToken": TOKEN,
                "Expiration": _time(until),
            }
        }  # fmt: skip

    def iam_SimulatePrincipalPolicy(self, who: Principal, region: str, sent: Mapping[str, Any]) -> Any:
        own = f"arn:aws:iam::{who.account}:role/flaas" if ":assumed-role/" in who.arn else who.arn
        if sent["PolicySourceArn"] != own:
            raise Refused("NoSuchEntity", "The policy source cannot be found.", 404)
        lacking = self.ledger.denied[who.account]
        results = [
            {
                "EvalActionName": name, "EvalResourceName": "*",
                "EvalDecision": "implicitDeny" if name in lacking else "allowed",
            }
            for name in _list(sent["ActionNames"]["member"])
        ]  # fmt: skip
        part, following = self.page(results, {"NextToken": sent.get("Marker")})
        marker = {"Marker": following} if following else {}
        return {"EvaluationResults": Members(part), "IsTruncated": "true" if following else "false", **marker}

    def ssm_GetParameter(self, who: Principal, region: str, sent: Mapping[str, Any]) -> Any:
        for arch in ("amd64", "arm64"):
            if sent["Name"] == _IMAGE.format(arch=arch):
                return {"Parameter": {"Name": sent["Name"], "Type": "String", "Value": self.image(region, arch)}}
        raise Refused("ParameterNotFound", "")

    def image(self, region: str, arch: str, version: int | None = None) -> str:
        text = f"{region} {arch} {version or self.image_version}"
        return "ami-" + hashlib.sha256(text.encode()).hexdigest()[:17]

    def image_arch(self, region: str, image: str) -> str:
        for version in range(1, self.image_version + 1):
            for arch in ("amd64", "arm64"):
                if image == self.image(region, arch, version):
                    return "x86_64" if arch == "amd64" else "arm64"
        raise Refused("InvalidAMIID.NotFound", f"The image id '[{image}]' does not exist")

    # ---- EC2: what there is ----------------------------------------------------------------------------------------

    def page(self, rows: list[Any], sent: Mapping[str, Any], size: int = 0) -> tuple[list[Any], str]:
        size = size or self.page_size
        start = int(base64.b64decode(sent["NextToken"])) if sent.get("NextToken") else 0
        following = start + size
        return rows[start:following], base64.b64encode(str(following).encode()).decode() if following < len(
            rows
        ) else ""

    def paged(self, name: str, rows: list[Any], sent: Mapping[str, Any]) -> Any:
        part, following = self.page(rows, sent)
        return {name: part, **({"nextToken": following} if following else {})}

    def dry(self, sent: Mapping[str, Any]) -> None:
        if sent.get("DryRun") == "true":
            raise Refused("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)

    def hardware(self, region: str, instance_type: str) -> Hardware | None:
        """What a type is, if it is there; types on sale that are not in `TYPES` are plain machines."""
        on_sale = any(key[:3] == ("aws", region, instance_type) for key in self.ledger.prices)
        plain = Hardware("arm64" if re.match(r"[a-z]+\dg", instance_type) else "x86_64")
        return TYPES.get(instance_type, plain) if on_sale else None

    def ec2_DescribeRegions(self, who: Principal, region: str, sent: Mapping[str, Any]) -> Any:
        self.dry(sent)
        return {"regionInfo": [{"regionName": name, "regionEndpoint": self.base} for name in REGIONS]}

    def ec2_DescribeInstanceTypes(self, who: Principal, region: str, sent: Mapping[str, Any]) -> Any:
        self.dry(sent)
        sold = {key[2] for key in self.ledger.prices if key[:2] == ("aws", region)}
        wanted = _list(sent.get("InstanceType", {}))
        wrong = [name for name in wanted if name not in sold]
        if wrong:
            raise Refused("InvalidInstanceType", f"The following supplied instance types do not exist: [{wrong[0]}]")
        rows = []
        for name in wanted or sorted(sold):
            found = self.hardware(region, name)
            assert found is not None
            row: dict[str, Any] = {
                "instanceType": name, "burstablePerformanceSupported": str(found.burstable).lower(),
                "processorInfo": {"supportedArchitectures": [found.arch]}, "vCpuInfo": {"defaultVCpus": found.vcpus},
                "memoryInfo": {"sizeInMiB": found.mib},
            }  # fmt: skip
            if found.gpu:
                gpu, count, mib = found.gpu
                row["gpuInfo"] = {
                    "gpus": [{"name": gpu, "manufacturer": "NVIDIA", "count": count, "memoryInfo": {"sizeInMiB": mib}}],
                    "totalGpuMemoryInMiB": count * mib,
                }
            rows.append(row)
        return self.paged("instanceTypeSet", rows, sent)

    def ec2_DescribeSpotPriceHistory(self, who: Principal, region: str, sent: Mapping[str, Any]) -> Any:
        self.dry(sent)
        if not any("Linux" in one for one in _list(sent.get("ProductDescription", {}))):
            raise Refused("InvalidParameterValue", "The laboratory sells Linux.")
        rows = []
        for (provider, place, name, market), usd in sorted(self.ledger.prices.items()):
            if (provider, place, market) != ("aws", region, "spot"):
                continue
            for zone, hours, price in self.zone_prices.get((region, name), [("a", 1, str(usd))]):
                when = self.ledger.now - timedelta(hours=hours)
                rows.append(
                    {"instanceType": name, "productDescription": "Linux/UNIX", "spotPrice": price,
                     "timestamp": _time(when), "availabilityZone": region + zone}
                )  # fmt: skip
        return self.paged("spotPriceHistorySet", rows, sent)

    def ec2_DescribeImages(self, who: Principal, region: str, sent: Mapping[str, Any]) -> Any:
        self.dry(sent)
        rows = []
        for image in _list(sent.get("ImageId", {})):
            disk = {"deviceName": "/dev/sda1", "ebs": {"volumeSize": 8, "snapshotId": "snap-1"}}
            rows.append({
                "imageId": image, "architecture": self.image_arch(region, image), "rootDeviceName": "/dev/sda1",
                "blockDeviceMapping": [disk],
            })  # fmt: skip
        return self.paged("imagesSet", rows, sent)

    # ---- EC2: machines ---------------------------------------------------------------------------------------------

    def ec2_RunInstances(self, who: Principal, region: str, sent: Mapping[str, Any]) -> Any:
        tagged = {spec["ResourceType"]: _tags(spec) for spec in _list(sent.get("TagSpecification", {}))}
        if tagged:
            self.allowed(who, "ec2", "CreateTags")
        self.guard(who, sent, tagged)
        name, market = sent["InstanceType"], "spot" if "InstanceMarketOptions" in sent else "on_demand"
        self.dry(sent)
        token = sent.get("ClientToken", "")
        told = json.dumps(sent, sort_keys=True)
        known = self.tokens.get((who.account, region, token))
        if token and known:
            if known[1] != told:
                raise Refused("IdempotentParameterMismatch", "Arguments on this idempotent request are inconsistent.")
            if self.instances[known[0]].state in ("terminated", "shutting-down"):
                raise Refused("IdempotentInstanceTerminated", "The instance with this client token has ended.")
            return {"reservationId": "r-1", "instancesSet": [self.described(self.instances[known[0]])]}
        self.check(who, region, sent, name, market)
        groups = _list(sent.get("SecurityGroupId", {}))
        disk = _list(sent["BlockDeviceMapping"])[0]["Ebs"]
        text = base64.b64decode(sent.get("UserData", "")).decode()
        ends = re.search(r'shutdown"?,?\s+"?-P"?,?\s+"?\+(\d+)', text)
        number = f"{self.ledger.unique():017x}"
        made = self.ledger.launch(
            "aws", who.account, region, name, market, id=f"i-{number}", tags=tagged["instance"], user_data=text,
            token=token, max_minutes=int(ends[1]) if ends else None,
        )  # fmt: skip
        volume = Volume(who.account, f"vol-{number}", region, tagged["volume"], made.id, int(disk["VolumeSize"]), disk)
        self.volumes[volume.id] = volume
        instance = Instance(who.account, made.id, region, sent, groups[0], volume.id, tagged["instance"], made)
        self.instances[made.id] = instance
        if token:
            self.tokens[who.account, region, token] = (made.id, told)
        return {"reservationId": "r-1", "instancesSet": [self.described(instance)]}

    def guard(self, who: Principal, sent: Mapping[str, Any], tagged: Mapping[str, Mapping[str, str]]) -> None:
        """What a service control policy of the laboratory's organisation forbids."""
        safe = sent.get("MetadataOptions", {}).get("HttpTokens") == "required"
        complete = all(
            all(tagged.get(kind, {}).get(name) for name in NODE_TAGS)
            for kind in ("instance", "volume", "network-interface")
        )
        if not safe or not complete:
            raise _unauthorized(
                "ec2", f"User: {who.arn} is not authorized to perform: ec2:RunInstances with an explicit deny in a "
                "service control policy",
            )  # fmt: skip

    def check(self, who: Principal, region: str, sent: Mapping[str, Any], name: str, market: str) -> None:
        found = self.hardware(region, name)
        if found is None:
            if name in TYPES:
                raise Refused("Unsupported", f"The requested configuration is not supported: {name} in {region}.")
            raise Refused("InvalidParameterValue", f"Invalid value '{name}' for InstanceType.")
        if ("aws", region, name, market) not in self.ledger.prices:
            raise Refused("Unsupported", f"There is no {market} capacity of {name}.")
        if self.image_arch(region, sent["ImageId"]) != found.arch:
            raise Refused("InvalidParameterValue", "The architecture of the type does not match that of the AMI.")
        if len(base64.b64decode(sent.get("UserData", ""), validate=True)) > 16384:
            raise Refused("InvalidParameterValue", "User data is limited to 16384 bytes")
        groups = _list(sent.get("SecurityGroupId", {}))
        if "KeyName" in sent or len(groups) != 1 or (sent["MinCount"], sent["MaxCount"]) != ("1", "1"):
            raise Refused("InvalidParameterCombination", "One machine, one group and no key pair, please.")
        group = self.groups.get(groups[0])
        if group is None or (group.account, group.region) != (who.account, region):
            raise Refused("InvalidGroup.NotFound", f"The security group '{groups[0]}' does not exist")
        disk = _list(sent.get("BlockDeviceMapping", {}))[0]
        ebs = disk["Ebs"]
        if disk["DeviceName"] != "/dev/sda1" or ebs["DeleteOnTermination"] != "true" or ebs["Encrypted"] != "true":
            raise Refused("InvalidBlockDeviceMapping", "The root disk is to be encrypted and to end with its machine.")
        if sent.get("InstanceInitiatedShutdownBehavior") != "terminate":
            raise Refused("InvalidParameterCombination", "instanceInitiatedShutdownBehavior=stop is not supported.")

    def described(self, instance: Instance) -> dict[str, Any]:
        machine = instance.machine
        ended = f"User initiated ({machine.ended:%Y-%m-%d %H:%M:%S} GMT)" if machine.ended else ""
        return {
            "instanceId": instance.id, "imageId": instance.request["ImageId"], "instanceType": machine.instance_type,
            "instanceState": {"code": 16, "name": instance.state}, "launchTime": _time(machine.created),
            "reason": ended, "clientToken": machine.token, "tagSet": _tag_set(instance.tags),
            "groupSet": [{"groupId": instance.group, "groupName": "flaas"}],
        }  # fmt: skip

    def settle(self, instance: Instance) -> None:
        """What time does to a machine, once it was looked at."""
        if instance.machine.ended and instance.state in ("pending", "running"):
            instance.state = "shutting-down"
        elif instance.state == "shutting-down":
            instance.state = "terminated"
            if self.keep_volumes:
                self.volumes[instance.volume].instance = ""
            else:
                self.volumes.pop(instance.volume, None)
        elif instance.state == "pending":
            instance.state = "running"

    def ec2_DescribeInstances(self, who: Principal, region: str, sent: Mapping[str, Any]) -> Any:
        self.dry(sent)
        here = [each for each in self.instances.values() if (each.account, each.region) == (who.account, region)]
        found = [each for each in here if self.matches(each.tags, sent)]
        rows = [{"reservationId": "r-1", "instancesSet": [self.described(each)]} for each in found]
        answer = self.paged("reservationSet", rows, sent)
        if "nextToken" not in answer:
            for each in found:
                self.settle(each)
        return answer

    def matches(self, tags: Mapping[str, str], sent: Mapping[str, Any], **more: str) -> bool:
        for only in _list(sent.get("Filter", {})):
            name, values = only["Name"], _list(only["Value"])
            value = tags.get(name[4:]) if name.startswith("tag:") else more.get(name)
            if value is None and not name.startswith("tag:"):
                raise Refused("InvalidParameterValue", f"The filter '{name}' is invalid")
            if value not in values:
                return False
        return True

    def ec2_TerminateInstances(self, who: Principal, region: str, sent: Mapping[str, Any]) -> Any:
        rows = []
        for id in _list(sent["InstanceId"]):
            instance = self.instances.get(id)
            if instance is None or (instance.account, instance.region) != (who.account, region):
                raise Refused("InvalidInstanceID.NotFound", f"The instance ID '{id}' does not exist")
            self.dry(sent)
            before = instance.state
            if before not in ("shutting-down", "terminated"):
                self.ledger.end(instance.machine)
                instance.state = "shutting-down"
            rows.append({
                "instanceId": id, "currentState": {"code": 32, "name": instance.state},
                "previousState": {"code": 16, "name": before},
            })  # fmt: skip
        return {"instancesSet": rows}

    def ec2_DescribeVolumes(self, who: Principal, region: str, sent: Mapping[str, Any]) -> Any:
        self.dry(sent)
        rows = [
            {
                "volumeId": each.id, "size": each.gib, "status": "in-use" if each.instance else "available",
                "tagSet": _tag_set(each.tags), "encrypted": "true",
            }
            for each in self.volumes.values()
            if (each.account, each.region) == (who.account, region) and self.matches(each.tags, sent)
        ]  # fmt: skip
        return self.paged("volumeSet", rows, sent)

    def ec2_DeleteVolume(self, who: Principal, region: str, sent: Mapping[str, Any]) -> Any:
        volume = self.volumes.get(sent["VolumeId"])
        if volume is None or (volume.account, volume.region) != (who.account, region):
            raise Refused("InvalidVolume.NotFound", f"The volume '{sent['VolumeId']}' does not exist.")
        if volume.instance:
            raise Refused("VolumeInUse", "Volume is currently attached")
        del self.volumes[volume.id]
        return {"return": "true"}

    def ec2_CreateSecurityGroup(self, who: Principal, region: str, sent: Mapping[str, Any]) -> Any:
        specs = _list(sent.get("TagSpecification", {}))
        if specs:
            self.allowed(who, "ec2", "CreateTags")
        self.dry(sent)
        name = sent["GroupName"]
        if any((g.account, g.region, g.name) == (who.account, region, name) for g in self.groups.values()):
            raise Refused("InvalidGroup.Duplicate", f"The security group '{name}' already exists for VPC 'vpc-1'")
        group = Group(who.account, f"sg-{self.ledger.unique():017x}", region, name, _tags(specs[0]) if specs else {})
        self.groups[group.id] = group
        return {"return": "true", "groupId": group.id}

    def ec2_DescribeSecurityGroups(self, who: Principal, region: str, sent: Mapping[str, Any]) -> Any:
        self.dry(sent)
        rows = [
            {"groupId": g.id, "groupName": g.name, "ipPermissions": g.inbound, "tagSet": _tag_set(g.tags)}
            for g in self.groups.values()
            if (g.account, g.region) == (who.account, region) and self.matches(g.tags, sent, **{"group-name": g.name})
        ]
        return self.paged("securityGroupInfo", rows, sent)

    def ec2_DeleteSecurityGroup(self, who: Principal, region: str, sent: Mapping[str, Any]) -> Any:
        group = self.groups.get(sent["GroupId"])
        if group is None or (group.account, group.region) != (who.account, region):
            raise Refused("InvalidGroup.NotFound", f"The security group '{sent['GroupId']}' does not exist")
        if any(i.group == group.id and i.state != "terminated" for i in self.instances.values()):
            raise Refused("DependencyViolation", f"resource {group.id} has a dependent object")
        del self.groups[group.id]
        return {"return": "true"}

    # ---- prices and costs ------------------------------------------------------------------------------------------

    def pricing_GetProducts(self, who: Principal, region: str, sent: Mapping[str, Any]) -> Any:
        if sent["ServiceCode"] != "AmazonEC2":
            raise Refused("NotFoundException", "Service not found.")
        only = {each["Field"]: each["Value"] for each in sent.get("Filters", [])}
        rows = []
        for (provider, place, name, market), usd in sorted(self.ledger.prices.items()):
            if provider == "aws" and market == "on_demand":
                rows.append(product(place, name, str(usd), self.hardware(place, name) or Hardware()))
        rows += self.extra_products
        chosen = [row for row in rows if all(row["product"]["attributes"].get(k) == v for k, v in only.items())]
        size = min(int(sent.get("MaxResults") or self.page_size), self.page_size)
        part, following = self.page(chosen, sent, size)
        return {
            "FormatVersion": "aws_v1",
            "PriceList": [json.dumps(row) for row in part],
            **({"NextToken": following} if following else {}),
        }

    def ce_UpdateCostAllocationTagsStatus(self, who: Principal, region: str, sent: Mapping[str, Any]) -> Any:
        seen = {tag for machine in self.ledger.machines for tag in machine.tags}
        errors = []
        for entry in sent["CostAllocationTagsStatus"]:
            if entry["TagKey"] in seen:
                self.active_tags.add(entry["TagKey"])
            else:
                errors.append({"TagKey": entry["TagKey"], "Code": "NotFound", "Message": "Tag key not found."})
        return {"Errors": errors}

    def charges(self, account: str, start: date, end: date) -> Iterator[dict[str, Any]]:
        last = self.ledger.now.date() - timedelta(days=self.late_days)
        for billed in self.ledger.bill("aws", account, start, end):
            machine = billed.machine
            if not self.late_days or billed.day <= last:
                yield charge(
                    day=billed.day, usd=billed.usd, quantity=billed.seconds / 3600, unit="Hrs", SERVICE=COMPUTE,
                    REGION=machine.region, INSTANCE_TYPE=machine.instance_type, PLATFORM="Linux/UNIX",
                    PURCHASE_TYPE="Spot Instances" if machine.market == "spot" else "On Demand Instances",
                    LINKED_ACCOUNT=account, tags=machine.tags,
                )  # fmt: skip
        for each in self.extra_costs:
            if start <= each["day"] < end:
                yield charge(**{"LINKED_ACCOUNT": account, **each})

    def ce_GetCostAndUsage(self, who: Principal, region: str, sent: Mapping[str, Any]) -> Any:
        metrics = {"UnblendedCost", "NetAmortizedCost", "UsageQuantity"}
        by = sent.get("GroupBy", [])
        if region != "us-east-1" or not set(sent["Metrics"]) <= metrics or not 1 <= len(by) <= 2:
            raise Refused("ValidationException", "Between one and two groups, and known metrics.")
        start, end = (date.fromisoformat(sent["TimePeriod"][name]) for name in ("Start", "End"))
        if start >= end:
            raise Refused("ValidationException", "Start date (and hour) should be before end date (and hour)")
        monthly = sent["Granularity"] == "MONTHLY"
        sums: dict[tuple[date, tuple[str, ...]], list[Any]] = defaultdict(
            lambda: [Decimal(0), Decimal(0), Decimal(0), set()]
        )
        for each in self.charges(who.account, start, end):
            if not self.passes(each, sent.get("Filter")):
                continue
            period = max(start, each["day"].replace(day=1)) if monthly else each["day"]
            total = sums[period, tuple(self.group_key(each, group) for group in by)]
            total[0] += each["usd"]
            total[1] += each["usd"] * (1 - self.discount)
            total[2] += each["quantity"]
            total[3].add(each["unit"])
        part, following = self.page(sorted(sums.items()), {"NextToken": sent.get("NextPageToken")})
        periods: dict[date, list[Any]] = defaultdict(list)
        for (period, keys), (usd, effective, quantity, units) in part:
            money = {"Unit": self.currency}
            unit = next(iter(units)) if len(units) == 1 else "N/A"
            values = {
                "UnblendedCost": {"Amount": f"{usd:f}", **money},
                "NetAmortizedCost": {"Amount": f"{effective:f}", **money},
                "UsageQuantity": {"Amount": f"{quantity:f}", "Unit": unit},
            }
            periods[period].append({"Keys": list(keys), "Metrics": {name: values[name] for name in sent["Metrics"]}})
        return {
            "GroupDefinitions": by,
            "ResultsByTime": [
                {
                    "TimePeriod": {"Start": str(period), "End": str(min(end, _after(period, monthly)))},
                    "Total": {}, "Groups": groups, "Estimated": True,
                }
                for period, groups in sorted(periods.items())
            ],
            **({"NextPageToken": following} if following else {}),
        }  # fmt: skip

    def tag(self, each: Mapping[str, Any], key: str) -> str:
        return str(each["tags"].get(key, "")) if key in self.active_tags else ""

    def group_key(self, each: Mapping[str, Any], group: Mapping[str, str]) -> str:
        if group["Type"] == "TAG":
            return f"{group['Key']}${self.tag(each, group['Key'])}"
        return str(each[group["Key"]])

    def passes(self, each: Mapping[str, Any], only: Mapping[str, Any] | None) -> bool:
        if not only:
            return True
        if len(only) != 1:
            raise Refused("ValidationException", "Expression must have one root.")
        ((kind, test),) = only.items()
        if kind == "And":
            return all(self.passes(each, one) for one in test)
        if kind == "Not":
            return not self.passes(each, test)
        if kind == "Tags":
            value = self.tag(each, test["Key"])
            return not value if test.get("MatchOptions") == ["ABSENT"] else value in test["Values"]
        return each[test["Key"]] in test["Values"]


# ---- forms ---------------------------------------------------------------------------------------------------------

JSON, XML = "application/x-amz-json-1.1", "text/xml"


@dataclass(frozen=True)
class Wire:
    status: int
    content: bytes
    kind: str


class Members(list[Any]):
    """A list of the query protocol, whose elements are called ``member``."""


def charge(**given: Any) -> dict[str, Any]:
    """A charge with everything that Cost Explorer can group by."""
    return {
        "quantity": Decimal(0), "unit": "N/A", "SERVICE": "AmazonCloudWatch", "REGION": "NoRegion", "tags": {},
        "INSTANCE_TYPE": "NoInstanceType", "PLATFORM": "NoOperatingSystem", "PURCHASE_TYPE": "NoPurchaseType",
        "RECORD_TYPE": "Usage", **given,
    }  # fmt: skip


def product(region: str, name: str, usd: str, found: Hardware, **attributes: str) -> dict[str, Any]:
    """An item of the price list."""
    told = {
        "instanceType": name, "regionCode": region, "vcpu": str(found.vcpus), "memory": f"{found.mib / 1024:,g} GiB",
        "physicalProcessor": "AWS Graviton3 Processor" if found.arch == "arm64" else "Intel Xeon",
        "operatingSystem": "Linux", "tenancy": "Shared", "capacitystatus": "Used", "preInstalledSw": "NA",
        "marketoption": "OnDemand", **({"gpu": str(found.gpu[1])} if found.gpu else {}), **attributes,
    }  # fmt: skip
    sku = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16].upper()
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": usd}, "beginRange": "0", "endRange": "Inf"}
    return {
        "product": {"productFamily": "Compute Instance", "sku": sku, "attributes": told},
        "serviceCode": "AmazonEC2",
        "terms": {"OnDemand": {f"{sku}.JRTCKXETXF": {"priceDimensions": {f"{sku}.JRTCKXETXF.6YS6EN2CT7": dimension}}}},
    }


def _after(period: date, monthly: bool) -> date:
    return (period.replace(day=1) + timedelta(days=32)).replace(day=1) if monthly else period + timedelta(days=1)


def _scope(headers: Mapping[str, str]) -> tuple[str, str, str, str, str, str]:
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=([^/]*)/(\d{8})/([^/]*)/([^/]*)/aws4_request, ?SignedHeaders=([^,]*), ?"
        r"Signature=([0-9a-f]{64})",
        headers.get("authorization", ""),
    )
    if found is None:
        raise Refused("IncompleteSignature", "Authorization header cannot be read.")
    key, day, region, service, signed, signature = found.groups()
    return key, day, region, service, signed, signature


def _service(headers: Mapping[str, str]) -> str:
    found = re.search(r"/([a-z0-9-]+)/aws4_request", headers.get("authorization", ""))
    return found[1] if found else ""


def _unknown_key(service: str) -> Refused:
    said = "The security token included in the request is invalid."
    if service == "ec2":
        return Refused("AuthFailure", "AWS was not able to validate the provided access credentials", 401)
    return Refused("InvalidClientTokenId" if service in ("sts", "iam") else "UnrecognizedClientException", said, 403)


def _bad_signature(service: str) -> Refused:
    said = "The request signature we calculated does not match the signature you provided."
    if service == "ec2":
        return Refused("AuthFailure", "AWS was not able to validate the provided access credentials", 401)
    return Refused("SignatureDoesNotMatch" if service in ("sts", "iam") else "InvalidSignatureException", said, 403)


def _unauthorized(service: str, said: str) -> Refused:
    if service == "ec2":
        said = f"You are not authorized to perform this operation. {said}. Encoded authorization failure message: x9Zq"
        return Refused("UnauthorizedOperation", said, 403)
    return Refused("AccessDenied" if service in ("sts", "iam") else "AccessDeniedException", said, 403)


def _error(service: str, wire: str, error: Refused) -> bytes:
    code, said = escape(error.code), escape(error.message)
    if wire is JSON:
        return dumps({"__type": error.code, "message": error.message})
    if service == "ec2":
        text = f"<Response><Errors><Error><Code>{code}</Code><Message>{said}</Message></Error></Errors></Response>"
    else:
        inner = f"<Type>Sender</Type><Code>{code}</Code><Message>{said}</Message>"
        text = f"<ErrorResponse><Error>{inner}</Error></ErrorResponse>"
    return text.encode()


def _tree(form: Mapping[str, str]) -> dict[str, Any]:
    """``a.1.b=c`` as nested mappings."""
    tree: dict[str, Any] = {}
    for name, value in form.items():
        *parts, last = name.split(".")
        place = tree
        for part in parts:
            place = place.setdefault(part, {})
        place[last] = value
    return tree


def _list(numbered: Mapping[str, Any]) -> list[Any]:
    return [numbered[key] for key in sorted(numbered, key=int)]


def _tags(spec: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in _list(spec.get("Tag", {}))}


def _tag_set(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}.000Z"


def xml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "".join(f"<{name}>{xml(each)}</{name}>" for name, each in value.items())
    if isinstance(value, list):
        name = "member" if isinstance(value, Members) else "item"
        return "".join(f"<{name}>{xml(each)}</{name}>" for each in value)
    return escape(str(value))


def dumps(body: Any) -> bytes:
    return json.dumps(body).encode()


# ---- the server ----------------------------------------------------------------------------------------------------


class AwsApp(FastAPI):
    """Keeps each request's connection at hand, so that it can be cut."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            cycle = getattr(send, "__self__", None)
            scope["lab_transport"] = getattr(cycle, "transport", None)
        await super().__call__(scope, receive, send)


def app(ledger: Ledger, base: str) -> FastAPI:
    fake = _CLOUDS[base] = AwsCloud(ledger, base)
    server = AwsApp(openapi_url=None)

    @server.api_route("/{path:path}", methods=["GET", "POST"])
    async def everything(request: Request) -> Response:
        body = await request.body()
        query = request.scope.get("query_string", b"").decode()
        try:
            done = await run_in_threadpool(fake.answer, request.method, request.url.path, query, request.headers, body)
        except Dropped as cut:
            transport = request.scope["lab_transport"]
            if cut.hang:
                await asyncio.sleep(fake.hang_seconds)
            if cut.part:
                start = f"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {2 * len(cut.part) + 9}\r\n\r\n"
                transport.write(start.encode() + cut.part)
                transport.close()
                await asyncio.sleep(0)
            else:
                transport.abort()
            return Response()
        return Response(done.content, done.status, {"x-amzn-requestid": f"lab-{ledger.unique()}"}, done.kind)

    return server


def credentials(base: str) -> dict[str, str]:
    return {"access_key_id": KEY, "secret_access_key": SECRET}


def cloud(base: str) -> AwsCloud:
    """The running fake."""
    return _CLOUDS[base]
