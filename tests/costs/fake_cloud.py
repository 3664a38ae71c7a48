"""A cloud in memory: idempotent tokens, faults on demand, machines that stay until they are told to end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flaas_jupyter.costs.driver import INSTALLATION_TAG, Machine, MachineOrder


class FakeCloud:
    """What `FakeDriver`s talk to; picklable answers, so that it may stand in another process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.machines: dict[str, Machine] = {}
        self.orders: dict[str, MachineOrder] = {}
        self.launched: list[str] = []
        self.calls: list[str] = []
        self.faults: list[tuple[str, str, Exception]] = []  # operation, node ("" any), error
        self.hidden: set[str] = set()

    def fail(self, operation: str, error: Exception, node: str = "", times: int = 1) -> None:
        self.faults += [(operation, node, error)] * times

    def _fault(self, operation: str, node: str = "") -> None:
        self.calls.append(operation)
        for fault in self.faults:
            if fault[0] == operation and fault[1] in ("", node):
                self.faults.remove(fault)
                raise fault[2]

    def launch(self, order: MachineOrder) -> Machine:
        with self.lock:
            self._fault("launch", order.node)
            known = self.orders.setdefault(order.token, order)
            assert known == order, "the same token came with another order"
            if order.token not in self.machines:
                self.launched.append(order.node)
                self.machines[order.token] = Machine(
                    "aws", f"vm-{len(self.machines)}", order.region, order.instance_type, "running", order.token,
                    order.tags, created=datetime.now(UTC),
                )  # fmt: skip
            self._fault("lost", order.node)
            return self.machines[order.token]

    def describe(self, installation: str, regions: list[str]) -> list[Machine]:
        with self.lock:
            self._fault("describe")
            return [m for m in self.machines.values() if m.region in regions and m.token not in self.hidden]

    def terminate(self, machine: Machine) -> None:
        with self.lock:
            assert machine.tags[INSTALLATION_TAG], "no driver ends what is not known to be ours"
            self._fault("terminate", machine.tags.get("flaas-node", ""))
            for token, known in self.machines.items():
                if known.id == machine.id and known.state != "terminated":
                    self.machines[token] = _ended(known)

    def launches(self) -> list[str]:
        return list(self.launched)

    def running(self) -> list[Machine]:
        with self.lock:
            return [machine for machine in self.machines.values() if not machine.gone]

    def put(self, machine: Machine) -> None:
        with self.lock:
            self.machines[machine.token or machine.id] = machine

    def take_away(self, node: str) -> None:
        """End a machine from outside, as a spot market does."""
        for token, machine in self.machines.items():
            if machine.tags.get("flaas-node") == node:
                self.machines[token] = _ended(machine)

    def drivers(self) -> Callable[[str, str, str | None], Any]:
        return lambda organisation, provider, account: self


def _ended(machine: Machine) -> Machine:
    return Machine(
        machine.provider, machine.id, machine.region, machine.instance_type, "terminated", machine.token,
        machine.tags, machine.created, datetime.now(UTC),
    )  # fmt: skip
