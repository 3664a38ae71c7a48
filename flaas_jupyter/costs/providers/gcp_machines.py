"""Machines of Compute Engine: what to ask for, and what its answers mean."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from ...errors import InvalidInput
from ..driver import Machine, MachineOrder, MachineState

TOKEN_LABEL = "flaas-token"  # noqa: S105 - a label
NETWORK = "flaas"
_REQUESTS = uuid.UUID("6b0f4e4a-7c0a-5a53-9c53-7a1d1a3f7d10")  # namespace of the request ids made here
_TYPE = re.compile(r"([a-z][a-z0-9]*(?:-[a-z0-9]+)+)(?:\+(nvidia-[a-z0-9-]+):([1-9][0-9]?))?")
_ID = re.compile(r"([a-z]+-[a-z]+[0-9]+-[a-z])/([a-z][a-z0-9-]{0,62})")
_STATES: Mapping[str, MachineState] = {
    "PROVISIONING": "pending",
    "STAGING": "pending",
    "REPAIRING": "pending",
    "RUNNING": "running",
    "STOPPING": "stopping",
    "PENDING_STOP": "stopping",
    "SUSPENDING": "stopping",
    "SUSPENDED": "stopped",
    "TERMINATED": "stopped",  # Google's word for a stopped machine, whose disk still costs
}
# These take no Persistent Disk as boot disk, https://cloud.google.com/compute/docs/disks/hyperdisks
_HYPERDISK_ONLY = re.compile(r"(?:c4|n4|m4|g4|x4|h4|a4)[a-z]*-|a3-ultragpu-")
_NO_SECURE_BOOT = re.compile(r"t2a-")


def parse_type(instance_type: str) -> tuple[str, str, int]:
    """Return machine type, type of accelerator (or ``""``) and number of accelerators.

    Raises
    ------
    InvalidInput
        ``bad-instance-type``
    """
    match = _TYPE.fullmatch(instance_type)
    if match is None:
        raise InvalidInput(
            f"{instance_type[:80]!r} is no machine type of Google Cloud.",
            code="bad-instance-type",
            hint="For example e2-standard-4, g2-standard-8 or n1-standard-4+nvidia-tesla-t4:1.",
        )
    return match[1], match[2] or "", int(match[3] or 0)


def parse_id(id: str) -> tuple[str, str]:
    """Return zone and name of a machine or disk.

    Raises
    ------
    InvalidInput
        ``bad-machine-id``
    """
    match = _ID.fullmatch(id)
    if match is None:
        raise InvalidInput(f"{id[:80]!r} is no machine of Google Cloud: not zone/name.", code="bad-machine-id")
    return match[1], match[2]


def name_of(order: MachineOrder) -> str:
    """Return the machine's name, a function of the order's token and installation."""
    digest = hashlib.sha256(f"{order.installation}/{order.token}".encode()).hexdigest()[:8]
    return f"flaas-{order.token}-{digest}"


def request_id(*parts: str) -> str:
    """Return Google's idempotency id (a UUID) for a call: the same parts give the same id.

    The zone is one of the parts, since Google answers a known id with the operation of its first use, and that may
    have failed in another zone.
    """
    return str(uuid.uuid5(_REQUESTS, "/".join(parts)))


def region_of(zone: str) -> str:
    """Return the region of a zone, of which a URL may be given."""
    return last_part(zone).rsplit("-", 1)[0]


def each(pages: Iterable[Mapping[str, Any]], what: str) -> Iterator[dict[str, Any]]:
    """Yield the entries of an aggregated list, whose pages sort them by zone."""
    for page in pages:
        for scope in (page.get("items") or {}).values():
            yield from scope.get(what) or ()


def instance(order: MachineOrder, project: str, zone: str, architecture: str) -> dict[str, Any]:
    """Return the body of ``instances.insert``.

    Parameters
    ----------
    order : MachineOrder
    project, zone : str
    architecture : str
        ``"X86_64"`` or ``"ARM64"``.

    Notes
    -----
    The network has no rule that lets anything in, and Google's default is to let nothing in. The external address is
    there for the way out, which else needs a Cloud NAT. Without a service account, nobody on the machine can act in
    the project. ``maxRunDuration`` deletes the machine even if nobody is left to ask for it.
    """
    machine_type, accelerator, count = parse_type(order.instance_type)
    name, spot = name_of(order), order.market == "spot"
    labels = {**order.tags, TOKEN_LABEL: order.token}
    gpu = bool(accelerator) or machine_type.startswith(("g2-", "g4-", "a2-", "a3-", "a4-"))
    disk_type = "hyperdisk-balanced" if _HYPERDISK_ONLY.match(machine_type) else "pd-balanced"
    image = "ubuntu-2404-lts-arm64" if architecture == "ARM64" else "ubuntu-2404-lts-amd64"
    scheduling: dict[str, Any] = {
        "maxRunDuration": {"seconds": str(order.max_minutes * 60)},
        "instanceTerminationAction": "DELETE",
        "automaticRestart": False,
        "provisioningModel": "SPOT" if spot else "STANDARD",
    }
    if spot or gpu:
        scheduling["onHostMaintenance"] = "TERMINATE"  # neither can be moved to another host
    body: dict[str, Any] = {
        "name": name,
        "machineType": f"zones/{zone}/machineTypes/{machine_type}",
        "labels": labels,
        "scheduling": scheduling,
        "disks": [
            {
                "boot": True,
                "autoDelete": True,
                "initializeParams": {
                    "diskName": name,
                    "diskSizeGb": str(order.disk_gib),
                    "diskType": f"zones/{zone}/diskTypes/{disk_type}",
                    "sourceImage": f"projects/ubuntu-os-cloud/global/images/family/{image}",
                    "labels": labels,
                },
            }
        ],
        "networkInterfaces": [
            {
                "network": f"projects/{project}/global/networks/{NETWORK}",
                "accessConfigs": [{"type": "ONE_TO_ONE_NAT", "name": "External NAT"}],
            }
        ],
        "serviceAccounts": [],
        "shieldedInstanceConfig": {
            # NVIDIA's drivers are not signed for it
            "enableSecureBoot": not gpu and not _NO_SECURE_BOOT.match(machine_type),
            "enableVtpm": True,
            "enableIntegrityMonitoring": True,
        },
        "metadata": {
            "items": [
                {"key": "user-data", "value": order.user_data},
                {"key": "block-project-ssh-keys", "value": "TRUE"},
                {"key": "serial-port-enable", "value": "FALSE"},
            ]
        },
    }
    if accelerator:
        body["guestAccelerators"] = [
            {"acceleratorType": f"zones/{zone}/acceleratorTypes/{accelerator}", "acceleratorCount": count}
        ]
    return body


def as_machine(found: Mapping[str, Any], leftovers: tuple[str, ...] = ()) -> Machine:
    """Return an instance of Compute Engine as a `Machine`."""
    zone = last_part(found["zone"])
    instance_type = last_part(found["machineType"])
    accelerators = found.get("guestAccelerators") or ()
    if accelerators and instance_type.startswith("n1-"):  # the other families have theirs in the type
        kind = last_part(accelerators[0]["acceleratorType"])
        instance_type += f"+{kind}:{accelerators[0]['acceleratorCount']}"
    labels = dict(found.get("labels") or {})
    return Machine(
        "gcp",
        f"{zone}/{found['name']}",
        region_of(zone),
        instance_type,
        _STATES.get(str(found.get("status")), "pending"),
        token=labels.get(TOKEN_LABEL, ""),
        tags=labels,
        created=_time(found.get("creationTimestamp")),
        ended=_time(found.get("lastStopTimestamp")) if found.get("status") in ("TERMINATED", "SUSPENDED") else None,
        leftovers=leftovers,
    )


def orphan(disk: Mapping[str, Any]) -> Machine:
    """Return the machine that a disk is left of."""
    zone, labels = last_part(disk["zone"]), dict(disk.get("labels") or {})
    return Machine(
        "gcp",
        f"{zone}/{disk['name']}",
        region_of(zone),
        "",
        "terminated",
        token=labels.get(TOKEN_LABEL, ""),
        tags=labels,
        leftovers=(f"{zone}/{disk['name']}",),
    )


def last_part(url: object) -> str:
    """Return what a URL of Compute Engine ends in: it names zones and types by their whole address."""
    return str(url).rsplit("/", 1)[-1]


def _time(text: object) -> datetime | None:
    return datetime.fromisoformat(str(text)) if text else None
