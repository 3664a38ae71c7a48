"""What the laboratory's clouds have in common: a clock, machines, their bill, and faults on demand."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal


@dataclass
class LabMachine:
    """A machine of the laboratory: from when to when it ran, at what price."""

    provider: str
    account: str
    id: str
    region: str
    instance_type: str
    market: str
    usd_hour: Decimal
    tags: dict[str, str]
    user_data: str
    token: str
    created: datetime
    ended: datetime | None = None
    max_minutes: int | None = None
    leftovers: list[str] = field(default_factory=list)
    details: dict[str, object] = field(default_factory=dict)

    def ran(self, start: datetime, end: datetime) -> timedelta:
        """How long it ran between `start` and `end`."""
        return max(timedelta(0), min(self.ended or end, end) - max(self.created, start))


@dataclass(frozen=True)
class Billed:
    """What one machine cost on one day, exactly: seconds x price / 3600."""

    machine: LabMachine
    day: date
    seconds: Decimal
    usd: Decimal


@dataclass
class Fault:
    """What goes wrong: `operation` as the fakes name it (``"*"``: any), `kind`, how many times, after how many calls.

    Kinds: ``throttle``, ``error`` (500), ``timeout`` (no answer), ``truncate`` (half an answer), ``lost`` (done, but
    the answer is lost), ``capacity`` (no machine left), ``quota``.
    """

    operation: str
    kind: str
    times: int = 1
    after: int = 0


class Ledger:
    """Machines and money of all three clouds; thread-safe.

    Parameters
    ----------
    now : datetime
        Where the clock stands; it moves by `advance` only.
    on_boot : callable, optional
        Given each new machine, in a thread of the server: boots it for real.
    on_end : callable, optional
        Given each machine that ended.
    """

    def __init__(
        self,
        now: datetime = datetime(2026, 9, 1, tzinfo=UTC),
        on_boot: Callable[[LabMachine], None] | None = None,
        on_end: Callable[[LabMachine], None] | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self.now = now
        self.machines: list[LabMachine] = []
        self.prices: dict[tuple[str, str, str, str], Decimal] = {}  # provider, region, type, market
        self.faults: list[Fault] = []
        self.calls: dict[str, int] = defaultdict(int)
        self.denied: dict[str, set[str]] = defaultdict(set)  # account to permissions that it lacks
        self.on_boot = on_boot
        self.on_end = on_end
        self._counter = 0

    def sell(self, provider: str, region: str, instance_type: str, usd_hour: str, spot: str | None = None) -> None:
        """Put a machine type on sale; what is not on sale is refused."""
        self.prices[provider, region, instance_type, "on_demand"] = Decimal(usd_hour)
        if spot is not None:
            self.prices[provider, region, instance_type, "spot"] = Decimal(spot)

    def advance(self, **delta: float) -> None:
        """Move the clock, and end what has run for as long as it may."""
        with self.lock:
            self.now += timedelta(**delta)
            for machine in self.machines:
                if machine.ended is None and machine.max_minutes is not None:
                    end = machine.created + timedelta(minutes=machine.max_minutes)
                    if end <= self.now:
                        self.end(machine, end)

    def fault(self, operation: str) -> Fault | None:
        """Count a call of `operation` and return the fault that it meets, if any."""
        with self.lock:
            self.calls[operation] += 1
            for fault in self.faults:
                if fault.operation in (operation, "*"):
                    if fault.after > 0:
                        fault.after -= 1
                        continue
                    if fault.times > 0:
                        fault.times -= 1
                        return fault
            return None

    def by_token(self, provider: str, account: str, token: str) -> LabMachine | None:
        """Return the machine that was made with an idempotency token."""
        with self.lock:
            mine = (m for m in self.machines if (m.provider, m.account, m.token) == (provider, account, token))
            return next(mine, None)

    def launch(
        self,
        provider: str,
        account: str,
        region: str,
        instance_type: str,
        market: str,
        *,
        id: str,
        tags: Mapping[str, str],
        user_data: str,
        token: str,
        max_minutes: int | None = None,
    ) -> LabMachine:
        """Add a machine; KeyError if the type is not on sale there."""
        with self.lock:
            price = self.prices[provider, region, instance_type, market]
            machine = LabMachine(
                provider, account, id, region, instance_type, market, price, dict(tags), user_data, token, self.now,
                max_minutes=max_minutes,
            )  # fmt: skip
            self.machines.append(machine)
        if self.on_boot is not None:
            self.on_boot(machine)
        return machine

    def end(self, machine: LabMachine, when: datetime | None = None) -> None:
        """End a machine."""
        with self.lock:
            if machine.ended is not None:
                return
            machine.ended = when or self.now
        if self.on_end is not None:
            self.on_end(machine)

    def running(self, provider: str | None = None) -> list[LabMachine]:
        """The machines that run, and cost."""
        with self.lock:
            return [m for m in self.machines if m.ended is None and provider in (None, m.provider)]

    def unique(self) -> int:
        """A number that was not given before."""
        with self.lock:
            self._counter += 1
            return self._counter

    def bill(self, provider: str, account: str, start: date, end: date) -> Iterator[Billed]:
        """What `account` owes `provider` for each machine and day in [start, end), up to now."""
        with self.lock:
            machines = [m for m in self.machines if (m.provider, m.account) == (provider, account)]
            now = self.now
        day = start
        while day < end:
            since = datetime(day.year, day.month, day.day, tzinfo=UTC)
            until = min(since + timedelta(days=1), now)
            for machine in machines:
                ran = machine.ran(since, until)
                if ran > timedelta(0):
                    seconds = Decimal(ran // timedelta(microseconds=1)) / 1_000_000
                    yield Billed(machine, day, seconds, machine.usd_hour * seconds / 3600)
            day += timedelta(days=1)

    def owed(self, start: date, end: date) -> Decimal:
        """Everything, of all clouds and accounts, to the cent."""
        accounts = {(m.provider, m.account) for m in self.machines}
        total = sum((b.usd for p, a in accounts for b in self.bill(p, a, start, end)), Decimal(0))
        return total.quantize(Decimal("0.01"), ROUND_HALF_UP)
