"""The state machine: its table, and that the events always tell the present state."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import select

from flaas_jupyter.coordination import events, states
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.coordination.presence import Presence
from flaas_jupyter.coordination.scheduler import Scheduler
from flaas_jupyter.coordination.settings import Settings
from flaas_jupyter.coordination.states import Actor, State
from flaas_jupyter.coordination.tables import Assignment, Dataset, DatasetProject, Node, NodeProject, Run
from flaas_jupyter.errors import Conflict

ALLOWED = {
    (State.QUEUED, State.GATHERING, Actor.API),
    (State.GATHERING, State.RUNNING, Actor.AGGREGATOR),
    (State.RUNNING, State.GATHERING, Actor.AGGREGATOR),
    (State.RUNNING, State.FINISHING, Actor.AGGREGATOR),
    (State.FINISHING, State.COMPLETED, Actor.AGGREGATOR),
    *((s, State.PAUSED, Actor.PERSON) for s in (State.QUEUED, State.GATHERING, State.RUNNING)),
    (State.PAUSED, State.QUEUED, Actor.PERSON),
    (State.PAUSED, State.GATHERING, Actor.PERSON),
    (State.PAUSED, State.FINISHING, Actor.AGGREGATOR),
    *((s, State.FAILED, a) for s in states.OPEN for a in (Actor.API, Actor.AGGREGATOR)),
    *((s, State.CANCELLED, Actor.PERSON) for s in states.OPEN),
}


@pytest.fixture
def database(database_url):
    opened = Database(database_url)
    yield opened
    opened.close()


def add_run(session, number: int, state: str = "queued", needed: int = 1) -> Run:
    run = Run(
        id=f"run-{number}", project="credit", dataset="loans", request={}, needed=needed, state=state,
        term=0, round=0, created_by="ada", organisation="laboratory", created=datetime.now(UTC), participants=[],
    )  # fmt: skip
    session.add(run)
    session.flush()
    return run


def test_every_transition_but_those_of_the_table_is_refused_and_changes_nothing(database):
    with database.writing() as session:
        for number, (present, to, by) in enumerate(itertools.product(State, State, Actor)):
            run = add_run(session, number, present)
            before = events.newest(session)
            if (present, to, by) in ALLOWED:
                states.move(session, run, to, by)
                assert run.state == to
                (event,) = events.read(session, before)
                assert (event.type, event.run) == ("run.state", run.id)
                assert event.data == {"from": present, "to": to, "reason": None}
                assert (run.ended is not None) == (to in states.ENDED)
                continue
            if present is to:
                states.move(session, run, to, by)
            else:
                with pytest.raises(Conflict) as caught:
                    states.move(session, run, to, by)
                assert caught.value.code == ("run-ended" if present in states.ENDED else "forbidden-transition")
            assert (run.state, events.newest(session), run.ended) == (present, before, None)


def test_what_is_said_is_undone_with_what_was_done(database):
    with database.writing() as session:
        add_run(session, 1)
        before = events.newest(session)

    def crash() -> None:
        with database.writing() as session:
            states.move(session, session.scalars(select(Run)).one(), State.GATHERING, Actor.API)
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        crash()
    with database.reading() as session:
        assert session.scalars(select(Run.state)).one() == "queued"
        assert events.newest(session) == before


NODES = [f"{letter}" * 64 for letter in "abc"]


class Life(RuleBasedStateMachine):
    """Whatever happens to a run, in whatever order: events and state agree, and nothing comes after the end."""

    database: Database
    scheduler: Scheduler
    count = 0

    def __init__(self) -> None:
        super().__init__()
        Life.count += 1
        self.number = Life.count
        with self.database.writing() as session:
            for node in session.scalars(select(Node).where(Node.id.in_(NODES))):
                node.online, node.last_seen = False, datetime.now(UTC)
            self.first = events.newest(session)
            run = add_run(session, self.number, needed=2)
            self.key = run.number
            self.scheduler.advance(session, run)

    def change(self, act) -> None:
        """Do it in a transaction of its own, as a request would; what is refused changes nothing."""
        try:
            with self.database.writing() as session:
                act(session, session.get_one(Run, self.key))
        except Conflict:
            pass

    @rule(node=st.sampled_from(NODES), online=st.booleans())
    def presence(self, node, online):
        def act(session, run):
            found = session.get_one(Node, node)
            found.online, found.last_seen = online, datetime.now(UTC)
            session.flush()
            if online:
                self.scheduler.node_came_online(session, found)

        self.change(act)

    @rule(node=st.sampled_from(NODES), state=st.sampled_from(["accepted", "refused", "failed"]))
    def answer(self, node, state):
        def act(session, run):
            participant = session.get(Assignment, (run.number, node))
            if participant is not None and states.answer(session, run, participant, state):
                self.scheduler.advance(session, run)

        self.change(act)

    @rule(to=st.sampled_from(list(State)))
    def lead(self, to):
        self.change(lambda session, run: states.move(session, run, to, Actor.AGGREGATOR))

    @rule()
    def pause(self):
        self.change(lambda session, run: states.move(session, run, State.PAUSED, Actor.PERSON))

    @rule()
    def resume(self):
        def act(session, run):
            if run.state == State.PAUSED:
                to = State.QUEUED if run.gather_until is None else State.GATHERING
                states.move(session, run, to, Actor.PERSON)
                self.scheduler.resumed(session, run)

        self.change(act)

    @rule()
    def time_passes(self):
        self.change(lambda session, run: self.scheduler.advance(session, run))

    @rule(really=st.integers(0, 5))
    def cancel(self, really):
        if really == 0:  # else most runs would end early
            self.change(lambda session, run: states.move(session, run, State.CANCELLED, Actor.PERSON))

    @invariant()
    def events_tell_the_state(self):
        with self.database.reading() as session:
            run = session.get_one(Run, self.key)
            told = [e for e in events.read(session, self.first, limit=10_000) if e.run == run.id]
            state, term, aggregator, participants = "queued", 0, None, {}
            for event in told:
                assert state not in states.ENDED, "nothing comes after the end"
                if event.type == "run.state":
                    assert event.data["from"] == state
                    state = event.data["to"]
                elif event.type == "run.aggregator":
                    assert event.data["term"] == term + 1
                    term, aggregator = event.data["term"], event.data["node"]
                    assert participants[aggregator] == "accepted"
                elif event.type == "run.participant":
                    participants[event.data["node"]] = event.data["state"]
            assert (run.state, run.term, run.aggregator) == (state, term, aggregator)
            assert {p.node: p.state for p in run.participants} == participants
            assert (run.ended is None) == (run.state in states.OPEN)


def test_events_and_state_agree_whatever_happens(database, database_url):
    quick = Settings(database_url, gather_timeout=0, aggregator_timeout=0, patience=0, start_grace=0)
    Life.database, Life.scheduler = database, Scheduler(database, quick)
    with database.writing() as session:
        for node in NODES:
            session.add(Node(
                id=node, name=node[0], organisation="north", version="1", registered=datetime.now(UTC), online=False,
            ))  # fmt: skip
            session.flush()
            session.add(Dataset(node=node, name="loans", rows=1, features=[], target={
                "name": "y", "dtype": "i8", "kind": "binary", "classes": 2,
            }))  # fmt: skip
            session.add(NodeProject(node=node, project="credit"))
            session.flush()
            session.add(DatasetProject(node=node, name="loans", project="credit"))
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=25, stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=slow
        ),
    )


def test_a_tick_advances_what_is_due_and_nothing_else(database, database_url):
    quick = Settings(database_url, gather_timeout=0)
    scheduler = Scheduler(database, quick)
    with database.writing() as session:
        run = add_run(session, 1, "gathering")
        run.gather_until = datetime.now(UTC)
        add_run(session, 2, "queued")
        before = events.newest(session)
    presence = Presence(database, quick, scheduler.node_came_online)
    scheduler.tick(presence)
    scheduler.tick(presence)
    with database.reading() as session:
        assert [(e.run, e.data["to"]) for e in events.read(session, before)] == [("run-1", "failed")]
