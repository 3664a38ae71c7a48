"""What launches, watches and ends machines: it brings the clouds in line with the data base, step by step.

Each step is level-triggered: it looks at what is wanted and at what is there, and doing it once more changes nothing.
So a process that is killed anywhere loses nothing: the next one repeats the call with the same token and the same
content, which makes no second machine. Several processes share one data base by leases; should two of them work on one
launch all the same, because a cloud was slower than the lease, the tokens keep them from doing anything twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import or_, update
from sqlalchemy.orm import Session

from ...errors import Aborted, FlaasError, Unreachable
from ..driver import INSTALLATION_TAG, CloudDriver, Machine, NotOffered, public
from . import plan, states
from .plan import Booting
from .tables import LaunchedMachine, LaunchRow
from .tokens import SecretKey

logger = logging.getLogger(__name__)

Drivers = Callable[[str, str, str | None], CloudDriver]
"""Organisation, provider, account: a driver that may be used in this thread."""


class Store(Protocol):
    """A data base, as `flaas_jupyter.coordination.database.Database` is one."""

    def reading(self) -> contextlib.AbstractContextManager[Session]:
        """Open a session on one snapshot."""
        ...

    def writing(self) -> contextlib.AbstractContextManager[Session]:
        """Open a session alone with the data base."""
        ...


@dataclass(frozen=True)
class NodeFact:
    """What the directory knows of a registered node."""

    member: bool = False
    online: bool = False
    training: bool = False
    removed: bool = False


@dataclass(frozen=True)
class Facts:
    """What is known of a launch's nodes (by node id), and the run that they are in."""

    nodes: Mapping[str, NodeFact] = field(default_factory=dict)
    run: str | None = None
    round: int | None = None


class Surroundings(Protocol):
    """What the worker asks of, and tells to, the coordination of nodes and runs."""

    def facts(self, session: Session, launch: LaunchRow) -> Facts:
        """Return what is known of the launch's nodes."""
        ...

    def domain_key(self, session: Session, project: str) -> str:
        """Return the public domain key of `project`."""
        ...

    def changed(self, session: Session, launch: LaunchRow) -> None:
        """Say that something of `launch` has changed."""
        ...

    def gone(self, session: Session, launch: LaunchRow, row: LaunchedMachine) -> None:
        """Take the machine's node out of the directory."""
        ...


@dataclass(frozen=True)
class Timing:
    """How long to wait for what, in seconds.

    Parameters
    ----------
    tick : float
        How often open launches are looked at.
    lease : float
        After so long another process goes on where one was killed.
    look, look_ending : float
        How often a cloud is asked for its machines, and while some are to end.
    settle : float
        A cloud may not show for so long what it has just made.
    boot : float
        A machine that has not registered after so long is given up.
    pause, longest_pause : float
        First and longest pause before a call is repeated.
    most_tries : int
        Calls after which a launch of one machine is given up.
    """

    tick: float = 1.0
    lease: float = 60.0
    look: float = 20.0
    look_ending: float = 3.0
    settle: float = 60.0
    boot: float = 1800.0
    pause: float = 1.0
    longest_pause: float = 60.0
    most_tries: int = 12


@dataclass(frozen=True)
class _Call:
    """A launch to be called, read in one session and used outside of it."""

    launch: int
    node: str
    attempt: int
    token: str
    organisation: str
    provider: str
    account: str | None


class Worker:
    """Steps launches.

    Parameters
    ----------
    store : Store
        Where they are.
    surroundings : Surroundings
        The coordination of nodes and runs.
    drivers : callable
        Returns the driver for an organisation, provider and account.
    key : SecretKey or callable
        Secrets are derived with it; a callable is asked for it when the first machine is launched.
    booting : Booting
        What machines boot with.
    timing : Timing
        How long to wait for what.
    parallel : int
        How many machines of one launch are asked for at the same time.
    now : callable
        The clock that lifetimes are told by, where a cloud does not tell them.
    """

    def __init__(
        self,
        store: Store,
        surroundings: Surroundings,
        drivers: Drivers,
        key: SecretKey | Callable[[], SecretKey],
        booting: Booting,
        timing: Timing | None = None,
        *,
        parallel: int = 8,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.timing = timing or Timing()
        self._store = store
        self._surroundings = surroundings
        self._drivers = drivers
        self._load_key = key
        self._booting = booting
        self._parallel = parallel
        self._now = now
        self._name = secrets.token_hex(8)
        self._fresh: set[str] = set()
        self._missed: dict[str, int] = defaultdict(int)
        self._look_at: dict[int, float] = {}
        self._awake: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # ---- life ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Step all open launches for ever."""
        self._awake, self._loop = asyncio.Event(), asyncio.get_running_loop()
        stepping: dict[int, asyncio.Task[None]] = {}
        try:
            while True:
                self._awake.clear()
                try:
                    for number in await asyncio.to_thread(self._open):
                        if number not in stepping or stepping[number].done():
                            stepping[number] = asyncio.create_task(self._guarded(number))
                except Exception:
                    logger.exception("launches could not be looked at")
                stepping = {number: task for number, task in stepping.items() if not task.done()}
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._awake.wait(), self.timing.tick)
        finally:
            for task in stepping.values():
                task.cancel()

    def wake(self) -> None:
        """Look at once, from whichever thread."""
        if self._awake is not None and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._awake.set)

    async def _guarded(self, number: int) -> None:
        try:
            await asyncio.to_thread(self.step, number)
        except Exception:
            logger.exception("launch %d could not be stepped", number)

    def _open(self) -> list[int]:
        with self._store.reading() as session:
            return plan.open_launches(session)

    # ---- one step -----------------------------------------------------------------------------------------------

    def step(self, number: int) -> bool:
        """Do all that is due for a launch; tell whether anything was."""
        if not self._is_due(number) or not self._lease(number):
            return False
        try:
            self._observe_and_intend(number)
            self._launch(number)
            self._look(number)
            return True
        finally:
            self._release(number)

    def _is_due(self, number: int) -> bool:
        now = datetime.now(UTC)
        with self._store.reading() as session:
            launch = session.get(LaunchRow, number)
            if launch is None or launch.state in states.OVER:
                return False
            if launch.worker != self._name and launch.lease_until is not None and launch.lease_until > now:
                return False
            facts = self._surroundings.facts(session, launch)
            session.expunge_all()  # looked at as if, never written
            return (
                self._observe(launch, facts, now)
                or any(row.state == states.PLANNED for row in launch.machines)
                or any(_is_call_due(row, now) for row in launch.machines)
                or self._is_look_due(launch)
            )

    def _lease(self, number: int) -> bool:
        now = datetime.now(UTC)
        with self._store.writing() as session:
            mine = (
                update(LaunchRow)
                .where(
                    LaunchRow.number == number,
                    or_(
                        LaunchRow.lease_until.is_(None),
                        LaunchRow.lease_until < now,
                        LaunchRow.worker == self._name,
                    ),
                )
                .values(worker=self._name, lease_until=now + timedelta(seconds=self.timing.lease))
            )
            taken: Any = session.execute(mine)
            return bool(taken.rowcount)

    def _release(self, number: int) -> None:
        with self._store.writing() as session:
            session.execute(
                update(LaunchRow)
                .where(LaunchRow.number == number, LaunchRow.worker == self._name)
                .values(lease_until=None)
            )

    def _observe_and_intend(self, number: int) -> None:
        """Note what is known, then commit what is to be done, before anything is done."""
        now = datetime.now(UTC)
        with self._store.writing() as session:
            launch = session.get_one(LaunchRow, number)
            before = {row.token: row.state for row in launch.machines}
            changed = self._observe(launch, self._surroundings.facts(session, launch), now)
            for row in launch.machines:
                if row.state in (states.ENDING, states.FAILED) and before[row.token] != row.state:
                    self._look_at[number] = 0.0
                    if row.state == states.FAILED:
                        self._surroundings.gone(session, launch, row)
            for row in launch.machines:
                if row.state != states.PLANNED or launch.ending:
                    continue
                try:
                    plan.intend(
                        session,
                        launch,
                        row,
                        booting=self._booting,
                        domain_key=self._surroundings.domain_key(session, launch.project),
                        key=self._key,
                        now=now,
                    )
                    self._fresh.add(row.token)
                except FlaasError as error:
                    row.state, row.over, row.problem = states.FAILED, True, public(error)
                changed = True
            self._settle(session, launch, changed)

    def _observe(self, launch: LaunchRow, facts: Facts, now: datetime) -> bool:
        """Move states to what is known; tell whether anything changed."""
        before = _snapshot(launch)
        launch.ending = launch.ending or now >= launch.ends_at
        launch.run, launch.round = facts.run or launch.run, facts.round if facts.run else launch.round
        for row in launch.machines:
            if launch.ending:
                _wind_up(row)
            elif row.state in states.UP:
                self._follow(row, facts, now)
        launch.state = plan.state_of(launch)
        return _snapshot(launch) != before

    def _follow(self, row: LaunchedMachine, facts: Facts, now: datetime) -> None:
        """Move a machine that is up to what its node has come to."""
        fact = facts.nodes.get(row.node_id) if row.node_id is not None else None
        if fact is not None and fact.removed:
            _fail(row, Aborted(f"Node {row.node} was removed.", code="node-removed", hint="Resume the launch."))
        elif fact is None:
            if row.called is not None and now - row.called > timedelta(seconds=self.timing.boot):
                _fail(row, _never_registered(row, self.timing.boot))
        elif fact.training:
            row.state = states.TRAINING
        elif not fact.member:
            row.state = states.REGISTERED
        elif fact.online or row.state in (states.JOINED, states.TRAINING):
            row.state = states.JOINED
        else:
            row.state = states.REGISTERED

    def _settle(self, session: Session, launch: LaunchRow, changed: bool) -> None:
        launch.state = plan.state_of(launch)
        if changed:
            session.flush()
            self._surroundings.changed(session, launch)

    # ---- launching ----------------------------------------------------------------------------------------------

    def _launch(self, number: int) -> None:
        """Ask for every machine that is due, and note each answer as it comes."""
        now = datetime.now(UTC)
        with self._store.reading() as session:
            launch = session.get_one(LaunchRow, number)
            if launch.ending or not any(_is_call_due(row, now) for row in launch.machines):
                return
        with self._store.writing() as session:
            launch = session.get_one(LaunchRow, number)
            identity = plan.installation(session)
            due = []
            for row in launch.machines:
                if _is_call_due(row, now) and not launch.ending:
                    row.called = now
                    due.append((_call_of(launch, row), plan.order(launch, row, identity, self._key)))
        self._all(lambda call, order: self._launch_one(call, order), due)

    def _launch_one(self, call: _Call, order: Any) -> None:
        fresh = call.token in self._fresh
        self._fresh.discard(call.token)
        try:
            machine = self._drivers(call.organisation, call.provider, call.account).launch(order)
        except FlaasError as error:
            self._not_launched(call, error, certain=fresh and not isinstance(error, Unreachable))
        except Exception as error:
            logger.exception("launching %s at %s failed", call.node, call.provider)
            self._not_launched(call, _unexpected(error), certain=False)
        else:
            self._launched(call, machine)

    def _launched(self, call: _Call, machine: Machine) -> None:
        with self._row(call) as (session, launch, row):
            row.machine, row.started = machine.id, machine.created or self._now()
            row.retry_at = row.problem = None
            row.over = False
            if row.state == states.LAUNCHING:
                row.state = states.BOOTING
            elif row.state == states.ENDED:
                row.state = states.ENDING  # its end was asked for meanwhile
            self._settle(session, launch, changed=True)

    def _not_launched(self, call: _Call, error: FlaasError, *, certain: bool) -> None:
        logger.warning("launch of %s at %s: %s", call.node, call.provider, error)
        with self._row(call) as (session, launch, row):
            row.tries += 1
            row.problem = public(error)
            if isinstance(error, Unreachable) and row.tries < self.timing.most_tries:
                row.retry_at = datetime.now(UTC) + timedelta(seconds=self._pause(row.tries, error))
            elif row.state == states.LAUNCHING:
                row.state, row.retry_at = states.FAILED, None
                if certain and row.machine is None:
                    row.over, row.called = True, None
                self._surroundings.gone(session, launch, row)
            self._settle(session, launch, changed=True)

    def _pause(self, tries: int, error: FlaasError) -> float:
        """Seconds before a call is repeated: what the cloud says, else longer each time, never all at once."""
        asked = error.details.get("retry_after")
        grown = min(self.timing.pause * 2.0 ** (tries - 1), self.timing.longest_pause)
        jittered = grown * (0.75 + secrets.randbelow(500) / 1000)
        return max(float(asked), jittered) if isinstance(asked, int | float) else jittered

    # ---- watching and ending ------------------------------------------------------------------------------------

    def _is_look_due(self, launch: LaunchRow) -> bool:
        return any(_is_watched(row) for row in launch.machines) and time.monotonic() >= self._look_at.get(
            launch.number, 0.0
        )

    def _look(self, number: int) -> None:
        """Ask the clouds for the launch's machines; end those that are to end, until nothing of them is left."""
        with self._store.reading() as session:
            launch = session.get_one(LaunchRow, number)
            if not self._is_look_due(launch):
                return
            ending = any(row.state in (states.ENDING, states.FAILED) and not row.over for row in launch.machines)
            groups: dict[tuple[str, str | None], list[LaunchedMachine]] = defaultdict(list)
            for row in launch.machines:
                if _is_watched(row):
                    groups[row.provider, row.account].append(row)
            organisation = launch.organisation
            identity = plan.installation(session)
            session.expunge_all()
        self._look_at[number] = time.monotonic() + (self.timing.look_ending if ending else self.timing.look)
        self._all(
            lambda place, rows: self._look_at_group(number, organisation, identity, place, rows), list(groups.items())
        )

    def _look_at_group(
        self,
        number: int,
        organisation: str,
        identity: str,
        place: tuple[str, str | None],
        rows: list[LaunchedMachine],
    ) -> None:
        problem: FlaasError | None = None
        found: dict[str, list[Machine]] = defaultdict(list)
        told: set[str] = set()
        try:
            driver = self._drivers(organisation, *place)
            for machine in driver.describe(identity, sorted({row.region for row in rows})):
                found[machine.token].append(machine)
            for row in rows:
                if row.state not in (states.ENDING, states.FAILED):
                    continue
                try:
                    self._end(driver, row, found[row.token], identity)
                    told.add(row.token)
                except FlaasError as error:
                    problem = error
        except FlaasError as error:
            problem = error
            found.clear()
        except Exception as error:
            logger.exception("machines at %s could not be looked at", place[0])
            problem = _unexpected(error)
            found.clear()
        looked = problem is None or bool(found)
        with self._store.writing() as session:
            launch = session.get_one(LaunchRow, number)
            before = _snapshot(launch)
            launch.problem = public(problem) if problem is not None else None
            for row in launch.machines:
                if looked and row.token in {each.token for each in rows}:
                    self._note(session, launch, row, found[row.token], told=row.token in told)
            launch.state = plan.state_of(launch)
            self._settle(session, launch, _snapshot(launch) != before)
        if problem is not None:
            logger.warning("machines of launch %d at %s: %s", number, place[0], problem)
            self._look_at[number] = time.monotonic() + self._pause(4, problem)

    def _end(self, driver: CloudDriver, row: LaunchedMachine, found: list[Machine], identity: str) -> None:
        """Have every machine of `row` ended; also one that its cloud does not show."""
        present = [machine for machine in found if not machine.gone]
        if not found and row.machine is not None:
            tags = {INSTALLATION_TAG: identity}  # drivers end nothing that is not known to be ours
            present = [Machine(row.provider, row.machine, row.region, row.instance_type, "running", row.token, tags)]
        for machine in present:
            driver.terminate(machine)

    def _note(
        self, session: Session, launch: LaunchRow, row: LaunchedMachine, found: list[Machine], *, told: bool
    ) -> None:
        """Take in what a cloud showed of one machine."""
        now = datetime.now(UTC)
        settled = row.called is None or now - row.called > timedelta(seconds=self.timing.settle)
        for machine in found:
            row.machine = row.machine or machine.id
            row.started = row.started or machine.created or self._now()
            row.ended = machine.ended or row.ended
        gone = all(machine.gone for machine in found)
        if row.state in (states.ENDING, states.FAILED):
            if not told or not gone or (not found and not settled):
                return
            row.over = True
            row.ended = row.ended or (self._now() if row.started is not None else None)
            if row.state == states.ENDING:
                row.state, row.problem = states.ENDED, None
            self._surroundings.gone(session, launch, row)
        elif row.state in states.UP:
            self._missed[row.token] = 0 if found else self._missed[row.token] + 1
            stopped = bool(found) and all(machine.state in ("stopping", "stopped", "terminated") for machine in found)
            if stopped or (settled and self._missed[row.token] >= 3):
                _fail(row, _ended_by_itself(row))
                self._surroundings.gone(session, launch, row)
                self._look_at[launch.number] = 0.0

    @functools.cached_property
    def _key(self) -> SecretKey:
        return self._load_key() if callable(self._load_key) else self._load_key

    # ---- plumbing -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _row(self, call: _Call) -> Any:
        with self._store.writing() as session:
            launch = session.get_one(LaunchRow, call.launch)
            row = next(each for each in launch.machines if (each.node, each.attempt) == (call.node, call.attempt))
            yield session, launch, row

    def _all(self, act: Callable[..., None], work: Iterable[tuple[Any, Any]]) -> None:
        """Do `act` for each of `work`, up to `parallel` at the same time; all are done before an error is raised."""
        items = list(work)
        if self._parallel == 1 or len(items) < 2:
            for item in items:
                act(*item)
            return
        with ThreadPoolExecutor(min(self._parallel, len(items)), thread_name_prefix="cloud") as threads:
            futures: list[Future[None]] = [threads.submit(act, *item) for item in items]
        for future in futures:
            future.result()


def _is_call_due(row: LaunchedMachine, now: datetime) -> bool:
    return row.state == states.LAUNCHING and (row.retry_at is None or row.retry_at <= now)


def _is_watched(row: LaunchedMachine) -> bool:
    return not row.over and row.state in (*states.UP, states.ENDING, states.FAILED)


def _call_of(launch: LaunchRow, row: LaunchedMachine) -> _Call:
    return _Call(
        launch.number, row.node, row.attempt, row.token, launch.organisation, row.provider, row.account
    )  # fmt: skip


def _snapshot(launch: LaunchRow) -> list[Any]:
    rows = [(row.state, row.over, row.problem, row.machine, row.started, row.ended) for row in launch.machines]
    return [launch.state, launch.ending, launch.run, launch.round, launch.problem, *rows]


def _wind_up(row: LaunchedMachine) -> None:
    """Turn a machine towards its end."""
    if row.state == states.PLANNED:
        row.state, row.over = states.ENDED, True
    elif row.state in (states.LAUNCHING, *states.UP):
        row.state, row.retry_at = states.ENDING, None


def _fail(row: LaunchedMachine, why: FlaasError) -> None:
    row.state, row.problem, row.retry_at = states.FAILED, public(why), None


def _never_registered(row: LaunchedMachine, seconds: float) -> FlaasError:
    return Aborted(
        f"The machine of {row.node} was launched and has not registered for {seconds / 60:.0f} minutes.",
        code="boot-timeout",
        hint="Can it reach this API and the package index? Resume the launch to try a new machine.",
    )


def _ended_by_itself(row: LaunchedMachine) -> FlaasError:
    spot = " Spot machines may be taken away at any time." if row.market == "spot" else ""
    return NotOffered(
        f"The machine of {row.node} was ended by {row.provider}, or from outside.{spot}",
        code="machine-ended",
        hint="Resume the launch to try a new machine.",
    )


def _unexpected(error: Exception) -> Unreachable:
    return Unreachable(
        f"The cloud's driver failed ({type(error).__name__}).",
        code="cloud-driver-failed",
        hint="The API's log has the reason.",
    )
