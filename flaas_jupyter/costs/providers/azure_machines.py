"""Virtual machines of Azure: found again by tag and name, and ended with all that was made for them.

Names come from the order's token and the installation alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from ...errors import InvalidInput, NotAllowed
from ..driver import INSTALLATION_TAG, Machine, MachineState
from .azure_arm import DISKS, NETWORK, RESOURCES, Arm

_NAME: Final = re.compile(r"(?P<token>[a-z0-9][a-z0-9-]{0,35})-(?P<mark>[0-9a-f]{8})(?P<part>-nic|-ip|-disk)?")
_POWER: Final[Mapping[str, MachineState]] = {
    "starting": "pending",
    "creating": "pending",
    "running": "running",
    "stopping": "stopping",
    "stopped": "stopped",
    "deallocating": "stopping",
    "deallocated": "stopped",
}


@dataclass(frozen=True)
class Names:
    """What the resources of one machine are called, and where they are."""

    group: str
    machine: str

    @classmethod
    def of(cls, arm: Arm, token: str, installation: str) -> Names:
        """Return the names for an order's token."""
        return cls(arm.group, f"{token}-{mark(installation)}")

    @property
    def id(self) -> str:
        """Id of the virtual machine."""
        return f"{self.group}/providers/Microsoft.Compute/virtualMachines/{self.machine}"

    @property
    def nic(self) -> str:
        """Id of the network interface."""
        return f"{self.group}/providers/Microsoft.Network/networkInterfaces/{self.machine}-nic"

    @property
    def address(self) -> str:
        """Id of the public address."""
        return f"{self.group}/providers/Microsoft.Network/publicIPAddresses/{self.machine}-ip"

    @property
    def disk(self) -> str:
        """Id of the boot disk."""
        return f"{self.group}/providers/Microsoft.Compute/disks/{self.machine}-disk"

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """Ids and API versions of all but the machine, in the order in which they can be deleted."""
        return ((self.nic, NETWORK), (self.address, NETWORK), (self.disk, DISKS))


def mark(installation: str) -> str:
    """Return the eight digits by which names tell installations apart."""
    return hashlib.sha256(installation.encode()).hexdigest()[:8]


def token_of(resource_id: str) -> str:
    """Return the order's token in the id of a machine, disk, address or network interface; empty for others."""
    found = _NAME.fullmatch(resource_id.rsplit("/", 1)[-1].lower())
    return found["token"] if found else ""


# ---- describe ------------------------------------------------------------------------------------------------------


def describe(arm: Arm, installation: str, regions: Sequence[str]) -> list[Machine]:
    """Return this installation's machines, and as terminated those of which only parts are left."""
    ours: dict[str, dict[str, Any]] = {}
    wanted = {region.lower() for region in regions}
    with arm.errors("listing machines", "Microsoft.Compute/virtualMachines/read"):
        for found in arm.compute.virtual_machines.list(arm.group_name) if _group_exists(arm) else ():
            if (found.tags or {}).get(INSTALLATION_TAG) == installation:
                ours[str(found.name).lower()] = {}
        for name in list(ours):
            with_state = get(arm, name)
            if with_state is None:  # gone since it was listed
                del ours[name]
            else:
                ours[name] = with_state
    parts: dict[str, list[dict[str, Any]]] = {}
    for part in _parts(arm, installation):
        parts.setdefault(_machine_name(part), []).append(part)
    machines = [
        machine_of(arm, there, tuple(str(part["id"]) for part in parts.pop(name, ()))) for name, there in ours.items()
    ]
    for name, left in parts.items():
        tags = next((part["tags"] for part in left if part.get("tags")), {INSTALLATION_TAG: installation})
        vm = Names(arm.group, name).id
        region, leftovers = str(left[0].get("location", "")), tuple(str(part["id"]) for part in left)
        machines.append(Machine("azure", vm, region, "", "terminated", token_of(name), dict(tags), leftovers=leftovers))
    return [machine for machine in machines if not wanted or machine.region.lower() in wanted]


def _group_exists(arm: Arm) -> bool:
    return arm.call("GET", arm.group, RESOURCES) is not None


def _parts(arm: Arm, installation: str) -> Iterator[dict[str, Any]]:
    """Yield disks, addresses and network interfaces of this installation's machines.

    A disk is known by its name, since it may lack tags if its machine was made but the next step failed.
    """
    suffix = f"-{mark(installation)}"
    for kind, version in (
        ("Microsoft.Network/networkInterfaces", NETWORK),
        ("Microsoft.Network/publicIPAddresses", NETWORK),
        ("Microsoft.Compute/disks", DISKS),
    ):
        with arm.errors(f"listing {kind}", f"{kind}/read"):
            for part in arm.listed(f"{arm.group}/providers/{kind}", version):
                tagged = (part.get("tags") or {}).get(INSTALLATION_TAG, installation) == installation
                if tagged and token_of(str(part["id"])) and _machine_name(part).endswith(suffix):
                    yield part


def _machine_name(part: Mapping[str, Any]) -> str:
    return re.sub(r"-(nic|ip|disk)$", "", str(part["id"]).rsplit("/", 1)[-1].lower())


def get(arm: Arm, name: str) -> dict[str, Any] | None:
    """Return a virtual machine with its power state as JSON; None if it is not there."""
    from azure.core.exceptions import ResourceNotFoundError

    with arm.errors(f"looking for {name}", "Microsoft.Compute/virtualMachines/read"):
        try:
            answer: Any = arm.compute.virtual_machines.get(
                arm.group_name, name, expand="instanceView", cls=lambda response, _model, _headers: response
            )
        except ResourceNotFoundError as error:
            if "SubscriptionNotFound" in str(error):
                raise
            return None
        found: dict[str, Any] = json.loads(answer.http_response.text())
        return found


def machine_of(arm: Arm, there: Mapping[str, Any], leftovers: tuple[str, ...]) -> Machine:
    """Return a virtual machine, as `get` returns it, in the driver protocol's terms."""
    properties = there.get("properties", {})
    statuses = properties.get("instanceView", {}).get("statuses", [])
    power = next((s["code"].split("/")[1] for s in statuses if s.get("code", "").startswith("PowerState/")), "")
    state: MachineState = _POWER.get(power, "pending")
    provisioning = properties.get("provisioningState")
    if provisioning == "Deleting":
        state = "stopping"
    elif provisioning == "Failed" and not power:
        state = "stopped"
    created = properties.get("timeCreated")
    return Machine(
        "azure",
        Names(arm.group, str(there["name"])).id,
        str(there["location"]),
        str(properties.get("hardwareProfile", {}).get("vmSize", "")),
        state,
        token_of(str(there["name"])),
        dict(there.get("tags") or {}),
        created=_time(created) if created else None,
        leftovers=leftovers,
    )


def _time(text: str) -> datetime:
    whole = re.sub(r"(\.\d{6})\d+", r"\1", text.replace("Z", "+00:00"))  # Azure writes seven decimals
    return datetime.fromisoformat(whole).astimezone(UTC)


# ---- terminate -----------------------------------------------------------------------------------------------------


def terminate(arm: Arm, machine: Machine) -> None:
    """Delete the machine, then what is left of it; what is gone already is no error."""
    name = machine.id.rsplit("/", 1)[-1]
    names = Names(arm.group, name)
    known = _NAME.fullmatch(name.lower())
    if machine.id.lower() != names.id.lower() or known is None or known["part"]:
        raise InvalidInput(
            f"{machine.id[:200]!r} is no machine that was launched in {arm.group}.",
            code="bad-machine-id",
            hint="Give a machine as describe or launch return it.",
        )
    there = get(arm, name)
    if there is not None:
        owner = (there.get("tags") or {}).get(INSTALLATION_TAG, "")
        if not owner or mark(owner) != name[-8:] or machine.tags.get(INSTALLATION_TAG, owner) != owner:
            raise NotAllowed(
                f"{name} carries the tag {INSTALLATION_TAG}={owner[:63]!r}, which is not whom it was launched for.",
                code="foreign-machine",
                hint="Delete it in Azure's portal if it is yours.",
            )
    remove(arm, names)


def remove(arm: Arm, names: Names) -> None:
    """Delete the machine if it is there, and each of its parts that is."""
    from azure.core.exceptions import ResourceNotFoundError

    with arm.errors(f"deleting {names.machine}", "Microsoft.Compute/virtualMachines/delete"):
        try:
            arm.compute.virtual_machines.begin_delete(arm.group_name, names.machine).result()
        except ResourceNotFoundError as error:
            if "SubscriptionNotFound" in str(error):
                raise
    for part, version in names.parts:
        kind = "/".join(part.split("/")[-3:-1])
        with arm.errors(f"deleting {part.rsplit('/', 1)[-1]}", f"{kind}/delete"):
            arm.call("DELETE", part, version)
