"""Compute Engine by REST: launching, listing and deleting machines."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from ...errors import InvalidInput, NotAllowed
from ..driver import INSTALLATION_TAG, CloudUnreachable, Machine, MachineOrder, NotOffered
from .gcp_connection import (
    WAIT_TIMEOUT,
    AlreadyThere,
    GcpConnection,
    MachinesExhausted,
    NoSuchResource,
    operation_failure,
)
from .gcp_machines import (
    NETWORK,
    as_machine,
    each,
    instance,
    last_part,
    name_of,
    orphan,
    parse_id,
    parse_type,
    region_of,
    request_id,
)

PATIENCE: Final = 300.0  # seconds for an operation
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]+")


class ComputeEngine:
    """The machines of one project."""

    def __init__(self, connection: GcpConnection) -> None:
        self._cloud = connection
        self._project = connection.account.project

    def launch(self, order: MachineOrder) -> Machine:
        """Launch a machine in whichever zone of the region has one left.

        The name follows from the order, and so does the id of the request in each zone: asking again finds the machine
        that is there, in whatever zone. Google keeps such ids for an hour or more; a machine that was deleted longer
        ago than that is made anew.
        """
        name = name_of(order)
        there = next(self.listed("instances", f'name = "{name}"'), None)
        if there is not None:
            return self._ours(as_machine(there), order.installation)
        zones = self._zones(order)
        self._make_network()
        none_left: MachinesExhausted | None = None
        for zone, architecture in zones:
            try:
                self._insert(order, zone, architecture)
            except MachinesExhausted as error:
                none_left = error
                continue
            except AlreadyThere:
                pass
            try:
                found = self._cloud.ask("GET", self._url(f"/zones/{zone}/instances/{name}"))
            except NoSuchResource:  # made by an earlier call, and ended since
                return Machine("gcp", f"{zone}/{name}", order.region, order.instance_type, "terminated",
                               token=order.token, tags=order.tags)  # fmt: skip
            return self._ours(as_machine(found), order.installation)
        raise NotOffered(
            f"No zone of {order.region} has {order.instance_type} left"
            f"{' on the spot market' if order.market == 'spot' else ''}.",
            hint="Try another region, another machine or a later hour.",
        ) from none_left

    def _insert(self, order: MachineOrder, zone: str, architecture: str) -> None:
        body = instance(order, self._project, zone, architecture)
        request = request_id(self._project, zone, order.installation, order.token)
        try:
            self._wait(self._cloud.ask("POST", self._url(f"/zones/{zone}/instances"), body=body, requestId=request))
        except NoSuchResource as error:
            raise NotOffered(
                f"Google Cloud has no {order.instance_type} in {zone}. {error.message}",
                hint="Take another machine type, region or market.",
            ) from None

    def _zones(self, order: MachineOrder) -> list[tuple[str, str]]:
        """Return the zones of the order's region that have its machine type, with the type's architecture."""
        machine_type, accelerator, _ = parse_type(order.instance_type)
        if not _REGION.fullmatch(order.region):
            raise InvalidInput(f"{order.region[:40]!r} is no region of Google Cloud.", code="bad-region")
        found = {
            last_part(each["zone"]): str(each.get("architecture") or "X86_64")
            for each in self.listed("machineTypes", f'name = "{machine_type}"')
        }
        if accelerator:
            having = {last_part(a["zone"]) for a in self.listed("acceleratorTypes", f'name = "{accelerator}"')}
            found = {zone: architecture for zone, architecture in found.items() if zone in having}
        zones = [(zone, found[zone]) for zone in sorted(found) if region_of(zone) == order.region]
        if not zones:
            raise NotOffered(
                f"Google Cloud has no {order.instance_type} in {order.region}.",
                hint="It has it in: " + ", ".join(sorted({region_of(zone) for zone in found})) + "."
                if found
                else "Check the name of the machine type.",
            )
        return zones

    def _make_network(self) -> None:
        """Make sure that there is the network without any rule that lets something in."""
        url = self._url("/global/networks")
        try:
            self._cloud.ask("GET", f"{url}/{NETWORK}")
        except NoSuchResource:
            body = {
                "name": NETWORK,
                "description": "FLaaS nodes: nothing comes in",
                "autoCreateSubnetworks": True,
            }
            with suppress(AlreadyThere):  # somebody else was quicker
                self._wait(self._cloud.ask("POST", url, body=body))

    def describe(self, installation: str, regions: Sequence[str]) -> list[Machine]:
        """Return this installation's machines.

        Google forgets a machine when it is deleted. One that left a disk behind is listed as ended, with that.
        """
        wanted = f'labels.{INSTALLATION_TAG} = "{_label(installation)}"'
        machines = [as_machine(found) for found in self.listed("instances", wanted)]
        machines += [orphan(disk) for disk in self.listed("disks", wanted) if not disk.get("users")]
        return [machine for machine in machines if not regions or machine.region in regions]

    def terminate(self, machine: Machine) -> None:
        """Delete a machine and its disks, and wait until they are gone.

        Raises
        ------
        NotAllowed
            ``machine-not-ours``: what has this id in the cloud does not carry the machine's installation.
        """
        zone, name = parse_id(machine.id)
        installation = machine.tags.get(INSTALLATION_TAG, "")
        url = self._url(f"/zones/{zone}/instances/{name}")
        try:
            found = self._cloud.ask("GET", url)
            self._ours(as_machine(found), installation)
            request = request_id("delete", str(found.get("id")), name)
            self._wait(self._cloud.ask("DELETE", url, requestId=request))
        except NoSuchResource:
            pass
        mine = f'labels.{INSTALLATION_TAG} = "{_label(installation)}"'
        for disk in self.listed("disks", mine):
            where = last_part(disk["zone"]), str(disk["name"])
            if where != (zone, name) and "/".join(where) not in machine.leftovers:
                continue
            with suppress(NoSuchResource):
                self._wait(self._cloud.ask("DELETE", self._url(f"/zones/{where[0]}/disks/{where[1]}")))

    def _ours(self, machine: Machine, installation: str) -> Machine:
        if not installation or machine.tags.get(INSTALLATION_TAG) != installation:
            raise NotAllowed(
                f"The machine {machine.id} does not belong to the installation {installation[:63]!r}.",
                code="machine-not-ours",
                hint="It is left alone. Look at its labels in the Google Cloud console.",
            )
        return machine

    def _url(self, path: str) -> str:
        return self._cloud.url("compute", f"/compute/v1/projects/{self._project}{path}")

    def listed(self, what: str, wanted: str = "") -> Iterator[dict[str, Any]]:
        """Yield what the project has or sees in all zones."""
        query = {"filter": wanted} if wanted else {}
        pages = self._cloud.pages(self._url(f"/aggregated/{what}"), maxResults=500, **query)
        return each(pages, what)

    def _wait(self, operation: Mapping[str, Any]) -> None:
        """Wait for an operation of Compute Engine and raise what it complains about."""
        until = time.monotonic() + PATIENCE
        zone = f"/zones/{last_part(operation['zone'])}" if operation.get("zone") else "/global"
        url = self._url(f"{zone}/operations/{operation['name']}/wait")
        while operation.get("status") != "DONE":
            if time.monotonic() > until:
                raise CloudUnreachable(
                    f"Google Cloud did not finish within {PATIENCE:.0f} s.", hint="Ask again: nothing is done twice."
                )
            operation = self._cloud.ask("POST", url, timeout=WAIT_TIMEOUT)
        failure = operation_failure(operation)
        if failure is not None:
            raise failure


def _label(value: str) -> str:
    """Return `value` if it can be a label, and so stands in a filter as itself."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,62}", value):
        raise InvalidInput(f"{value[:70]!r} is no installation.", code="bad-tag")
    return value
