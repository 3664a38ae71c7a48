"""Launching virtual machines of Azure: five idempotent steps, so that the same order takes up what an earlier left.

Nothing is open inbound: the subnet and each network interface refuse it. Each machine has a public address all the
same, since a virtual network made after September 2025 has no other way out
(https://learn.microsoft.com/azure/virtual-network/ip-services/default-outbound-access); a NAT gateway would cost more.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from ...errors import FlaasError, InvalidInput
from ..driver import (
    INSTALLATION_TAG,
    CloudUnreachable,
    Machine,
    MachineOrder,
    NotOffered,
    PermissionMissing,
    QuotaExceeded,
)
from .azure_arm import DISKS, NETWORK, POLL_LIMIT, POLL_SECONDS, RESOURCES, Arm
from .azure_machines import Names, get, machine_of, mark, remove, terminate
from .azure_prices import Size, sizes

USER_DATA_LIMIT: Final = 65_535
"""Bytes of custom data: https://learn.microsoft.com/azure/virtual-machines/custom-data."""
_GPU_DISK_GIB: Final = 64
_USER: Final = "azureuser"


def launch(arm: Arm, order: MachineOrder) -> Machine:
    """Make what of the order's machine is not there yet; see `CloudDriver.launch`."""
    data = order.user_data.encode()
    if len(data) > USER_DATA_LIMIT:
        raise InvalidInput(
            f"User data of {len(data)} bytes; Azure takes {USER_DATA_LIMIT}.", code="user-data-too-large"
        )
    names = Names.of(arm, order.token, order.installation)
    there = _settled(arm, names.machine)
    if there is not None and there.get("properties", {}).get("provisioningState") == "Failed":
        # Azure keeps a machine that it had no room for, and never lets it be made again under that name
        terminate(arm, machine_of(arm, there, ()))
        there = None
    if there is None:
        size = _size(arm, order)
        subnet, rules = _network(arm, order)
        try:
            _put(arm, names.address, _address(order))
            _put(arm, names.nic, _nic(order, names, subnet, rules))
            _create(arm, names, _body(order, names, size, data))
        except (NotOffered, QuotaExceeded, PermissionMissing):
            _sweep(arm, names)
            raise
        there = _settled(arm, names.machine)
    with arm.errors(f"tagging the disk of {names.machine}"):
        arm.call("PATCH", names.disk, DISKS, {"tags": order.tags})  # a boot disk need not get its machine's tags
    if there is None:
        raise NotOffered(f"{names.machine} was taken away while it was made.", hint="Spot machines may be; try again.")
    return machine_of(arm, there, tuple(part for part, _ in names.parts))


def _settled(arm: Arm, name: str) -> dict[str, Any] | None:
    """Return the machine once it is made, whoever began with it."""
    waited = 0.0
    while True:
        there = get(arm, name)
        if there is None or there.get("properties", {}).get("provisioningState") not in ("Creating", "Updating"):
            return there
        if waited >= POLL_LIMIT:
            raise CloudUnreachable(f"{name} is not made after {POLL_LIMIT:g} s.", hint="Try again later.")
        waited += POLL_SECONDS
        arm.wait(POLL_SECONDS)


def _size(arm: Arm, order: MachineOrder) -> Size:
    size = sizes(arm, order.region).get(order.instance_type.lower())
    if size is None or not size.available:
        why = "does not exist there" if size is None else "is not sold to this subscription there"
        raise NotOffered(
            f"{order.instance_type} in {order.region}: this machine type {why}.",
            hint="Take another machine type or region.",
        )
    return size


def _network(arm: Arm, order: MachineOrder) -> tuple[str, str]:
    """Return the ids of subnet and rules for this installation and region, made if need be; they are free."""
    tags = {INSTALLATION_TAG: order.installation}
    with arm.errors("looking for the resource group", "Microsoft.Resources/subscriptions/resourceGroups/read"):
        if arm.call("GET", arm.group, RESOURCES) is None:
            arm.call("PUT", arm.group, RESOURCES, {"location": order.region, "tags": tags})
    prefix = f"{arm.group}/providers/Microsoft.Network"
    name = f"flaas-{mark(order.installation)}-{order.region}"
    rules, network = f"{prefix}/networkSecurityGroups/{name}", f"{prefix}/virtualNetworks/{name}"
    deny = {
        "priority": 100,
        "direction": "Inbound",
        "access": "Deny",
        "protocol": "*",
        "sourceAddressPrefix": "*",
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": "*",
    }
    closed = {"securityRules": [{"name": "nothing-inbound", "properties": deny}]}
    _put(arm, rules, {"location": order.region, "tags": tags, "properties": closed})
    subnet = {"name": "nodes", "properties": {"addressPrefix": "10.77.0.0/20", "networkSecurityGroup": {"id": rules}}}
    space = {"addressSpace": {"addressPrefixes": ["10.77.0.0/20"]}, "subnets": [subnet]}
    _put(arm, network, {"location": order.region, "tags": tags, "properties": space})
    return f"{network}/subnets/nodes", rules


def _put(arm: Arm, path: str, body: dict[str, Any]) -> None:
    """Make a network resource unless it is there."""
    kind = "/".join(path.split("/")[-3:-1])
    with arm.errors(f"making {path.rsplit('/', 1)[-1]}", f"{kind}/write"):
        found = arm.call("GET", path, NETWORK)
        if found is None or found.get("properties", {}).get("provisioningState") == "Failed":
            arm.call("PUT", path, NETWORK, body)


def _address(order: MachineOrder) -> dict[str, Any]:
    properties = {"publicIPAllocationMethod": "Static", "publicIPAddressVersion": "IPv4"}
    return {"location": order.region, "tags": order.tags, "sku": {"name": "Standard"}, "properties": properties}


def _nic(order: MachineOrder, names: Names, subnet: str, rules: str) -> dict[str, Any]:
    address = {"id": names.address, "properties": {"deleteOption": "Delete"}}
    first = {"subnet": {"id": subnet}, "privateIPAllocationMethod": "Dynamic", "publicIPAddress": address}
    properties = {
        "networkSecurityGroup": {"id": rules},
        "ipConfigurations": [{"name": "first", "properties": first}],
    }
    return {"location": order.region, "tags": order.tags, "properties": properties}


def _body(order: MachineOrder, names: Names, size: Size, data: bytes) -> dict[str, Any]:
    gpu = size.gpu_count > 0
    properties: dict[str, Any] = {
        "hardwareProfile": {"vmSize": size.name},
        "storageProfile": {
            "imageReference": _image(size),
            "osDisk": {
                "name": names.disk.rsplit("/", 1)[-1],
                "createOption": "FromImage",
                "deleteOption": "Delete",
                "diskSizeGB": max(order.disk_gib, _GPU_DISK_GIB if gpu else 30),
                "managedDisk": {"storageAccountType": "StandardSSD_LRS"},
            },
        },
        "osProfile": {
            "computerName": names.machine,
            "adminUsername": _USER,
            "customData": base64.b64encode(data).decode(),
            "linuxConfiguration": {
                "disablePasswordAuthentication": True,
                "ssh": {"publicKeys": [{"path": f"/home/{_USER}/.ssh/authorized_keys", "keyData": _public_key()}]},
            },
        },
        "networkProfile": {
            "networkInterfaces": [{"id": names.nic, "properties": {"primary": True, "deleteOption": "Delete"}}]
        },
    }
    if size.trusted_launch:
        properties["securityProfile"] = {
            "securityType": "TrustedLaunch",
            # drivers of GPUs in the image are not signed for secure boot
            "uefiSettings": {"secureBootEnabled": not gpu, "vTpmEnabled": True},
        }
    if order.market == "spot":
        properties |= {"priority": "Spot", "evictionPolicy": "Delete", "billingProfile": {"maxPrice": -1}}
    return {"location": order.region, "tags": order.tags, "properties": properties}


def _image(size: Size) -> dict[str, str]:
    """Ubuntu 24.04, which has Python 3.12; for GPUs the image that holds their drivers."""
    if size.gpu_count > 0:
        return {"publisher": "microsoft-dsvm", "offer": "ubuntu-hpc", "sku": "2404", "version": "latest"}
    sku = "server-arm64" if size.arch == "arm64" else "server" if size.second_generation else "server-gen1"
    return {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": sku, "version": "latest"}


def _public_key() -> str:
    """Return half a key that nobody holds the other half of: Azure wants one, and nobody is to sign in."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = Ed25519PrivateKey.generate().public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _create(arm: Arm, names: Names, body: dict[str, Any]) -> None:
    from azure.core.exceptions import HttpResponseError

    with arm.errors(f"making {names.machine}", "Microsoft.Compute/virtualMachines/write"):
        try:
            arm.compute.virtual_machines.begin_create_or_update(
                arm.group_name,
                names.machine,
                json.dumps(body).encode(),
                headers={"If-None-Match": "*"},  # whoever comes second must not change what runs
            ).result()
        except HttpResponseError as error:
            if error.status_code != 412:
                raise


def _sweep(arm: Arm, names: Names) -> None:
    """Remove what was made for a machine that Azure refused; what cannot be removed now is found by `describe`."""
    try:
        there = get(arm, names.machine)
        if there is None or there.get("properties", {}).get("provisioningState") == "Failed":
            remove(arm, names)
    except FlaasError:
        return
