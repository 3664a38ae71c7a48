"""People with roles and keys, a data base, and an action that leaves a mark: what the tests of approvals play with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, create_engine, inspect, make_url, text
from sqlalchemy.orm import Session

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.coordination import tables as hosted
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.errors import Conflict
from flaas_jupyter.governance import approvals
from flaas_jupyter.governance.approvals import actions, founding, people
from flaas_jupyter.governance.approvals.tables import Founding, Request
from flaas_jupyter.governance.identity import Caller
from flaas_jupyter.governance.isolation import roles
from flaas_jupyter.governance.permissions import PERMISSIONS, ROLES, included, permits

PROJECT = "project:credit"
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass
class Human:
    """Somebody, with what they hold."""

    roles: set[tuple[str, str]]
    organisation: str = "north"
    kind: str = "person"
    active: bool = True
    key: Identity | None = None


@dataclass
class FakePeople:
    """`people.People` in memory, over the roles that every installation begins with."""

    humans: dict[str, Human] = field(default_factory=dict)

    def add(self, name: str, *roles: tuple[str, str], organisation: str = "north", kind: str = "person") -> None:
        key = Identity(name.encode().ljust(32, b".")[:32])
        self.humans[name] = Human(set(roles), organisation, kind, key=key)

    def take(self, name: str, role: str) -> None:
        self.humans[name].roles = {held for held in self.humans[name].roles if held[0] != role}

    def caller(self, name: str, *active: tuple[str, str]) -> Caller:
        human = self.humans[name]
        roles = tuple(sorted(active or human.roles))
        return Caller(name, "user", human.organisation, _grants(roles), roles, f"session of {name}")

    def is_person(self, session: Session, user: str) -> bool:
        human = self.humans.get(user)
        return human is not None and human.active and human.kind == "person"

    def is_active(self, session: Session, user: str) -> bool:
        return user in self.humans and self.humans[user].active

    def key_of(self, session: Session, user: str) -> str | None:
        human = self.humans.get(user)
        return None if human is None or human.key is None else human.key.node_id

    def included(self, session: Session, role: str) -> frozenset[str]:
        return included(role)

    def authorised(self, session: Session, user: str, role: str, scopes: Sequence[str]) -> bool:
        human = self.humans.get(user)
        return human is not None and any(
            role in included(held) and _is_within(scope, scopes) for held, scope in human.roles
        )

    def grants(self, session: Session, user: str) -> Mapping[str, frozenset[str]]:
        return _grants(self.humans[user].roles) if user in self.humans else {}

    def holders(self, session: Session, role: str, scopes: Sequence[str]) -> frozenset[str]:
        return frozenset(
            name
            for name in self.humans
            if self.is_person(session, name) and self.authorised(session, name, role, scopes)
        )

    def permitted(self, session: Session, operation: str, scopes: Sequence[str]) -> frozenset[str]:
        return frozenset(
            name
            for name, human in self.humans.items()
            if human.active and any(_is_within(scope, scopes) for scope in _grants(human.roles).get(operation, ()))
        )

    def scopes(self, session: Session) -> Sequence[str]:
        return sorted({scope for human in self.humans.values() for _, scope in human.roles})


def _is_within(scope: str, scopes: Sequence[str]) -> bool:
    return not scopes or scope == "platform" or scope in scopes


def _grants(roles: Iterable[tuple[str, str]]) -> Mapping[str, frozenset[str]]:
    held = [(role, scope) for role, scope in roles if role in ROLES]
    return {
        operation: frozenset(scope for role, scope in held if permits(role, operation)) for operation in PERMISSIONS
    }


@dataclass
class World:
    """An installation that was founded: who there is, what time it is, and what was done."""

    database: Database
    people: FakePeople = field(default_factory=FakePeople)
    now: datetime = START

    def __post_init__(self) -> None:
        approvals.use(self.people)
        self.populate()

    def populate(self) -> None:
        """Have people in every role."""
        self.people.add("dora", ("developer", PROJECT))
        self.people.add("ann", ("approver", PROJECT))
        self.people.add("bob", ("approver", PROJECT), organisation="south")
        self.people.add("owen", ("data-owner", PROJECT), organisation="south")
        self.people.add("both", ("approver", PROJECT), ("data-owner", PROJECT))
        self.people.add("audrey", ("auditor", "platform"))
        self.people.add("gwen", ("governance-admin", "platform"))
        self.people.add("greg", ("governance-admin", "platform"))
        self.people.add("pam", ("approver", "platform"))
        self.people.add("pit", ("approver", "platform"))
        self.people.add("olga", ("org-admin", "organisation:north"))
        self.people.add("robot", ("approver", PROJECT), ("developer", PROJECT), kind="service")
        self.people.add("sam", ("approver", "project:other"), organisation="elsewhere")

    def found(self) -> None:
        """End the founding phase."""
        with self.database.writing() as session:
            session.add(Founding(id=1, closed=START, closed_by="gwen"))

    def later(self, **ago: float) -> None:
        self.now += timedelta(**ago)

    def ask(
        self, action: str = "model.release", *, by: str = "dora", scope: str = PROJECT, body: Any = None, **more: Any
    ) -> str:
        """Ask, and return the id of the request."""
        with self.database.writing() as session:
            request = approvals.submit(
                session,
                action,
                scope=scope,
                requester=self.people.caller(by),
                body={"model": "m1"} if body is None else body,
                now=self.now,
                **more,
            )
            assert request is not None
            return request.id

    def signed(self, request: str, by: str, decision: str = "approve", **changes: Any) -> tuple[str, int, str]:
        """Return what `by` hands in to decide on a request."""
        time = int(changes.get("time", self.now.timestamp()))
        key = changes.get("key", self.people.humans[by].key)
        sha256 = changes.get("sha256") or self.look(request).sha256
        return decision, time, approvals.sign(key, changes.get("signed_for", request), sha256, decision, time)

    def decide(
        self, request: str, by: str, decision: str = "approve", *, active: Sequence[Any] = (), **changes: Any
    ) -> str:
        """Decide; return the state of the request."""
        said = self.signed(request, by, decision, **changes)
        with self.database.writing() as session:
            return approvals.decide(session, request, self.people.caller(by, *active), *said, self.now).state

    def look(self, request: str) -> Request:
        with self.database.reading() as session:
            return session.get_one(Request, request)

    def missing(self, request: str) -> dict[str, Any]:
        """Return how far a request is."""
        with self.database.reading() as session:
            standing = approvals.assess(session, session.get_one(Request, request))
            return {"taken": standing.taken, "lapsed": dict(standing.lapsed), "may": standing.requester_may}

    def execute_due(self) -> list[str]:
        with self.database.writing() as session:
            return [request.state for request in approvals.execute_due(session, self.now)]

    @property
    def marks(self) -> list[tuple[str, Any]]:
        """What was carried out: request and body."""
        with self.database.reading() as session:
            rows = session.execute(text("SELECT request, body FROM marks ORDER BY request"))
            return [(request, json.loads(body)) for request, body in rows]

    def tamper(self, statement: str, **values: Any) -> None:
        """Change the data base from behind."""
        with self.database.writing() as session:
            assert session.execute(text(statement), values).rowcount  # type: ignore[attr-defined]


def prepare(url: str) -> Database:
    """Make the tables of the hosted side and one for marks, as an administrator of the data base; then open it."""
    with _as_administrator(url) as connection:
        hosted.Base.metadata.create_all(connection)
        connection.execute(text("CREATE TABLE marks (request VARCHAR, body VARCHAR)"))
        if connection.dialect.name == "postgresql":
            connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR)"))
            roles.prepare(connection)
    return Database(url)


def clean(database: Database) -> None:
    """Empty all tables, for the next test."""
    with _as_administrator(database._url) as connection:
        there = set(inspect(connection).get_table_names())
        names = [table.name for table in reversed(hosted.Base.metadata.sorted_tables) if table.name in there]
        if database.kind == "postgresql":
            numbered = ", ".join(name for name in names if name.startswith("approval_"))
            connection.execute(text(f"TRUNCATE {numbered} RESTART IDENTITY CASCADE"))
        for name in [*names, "marks"]:
            connection.execute(text(f"DELETE FROM {name}"))


@contextmanager
def _as_administrator(url: Any) -> Iterator[Connection]:
    """Connect as who has made the data base: the API's own role may not make tables."""
    parsed = make_url(url)
    engine = create_engine(parsed.set(drivername="postgresql+psycopg") if "postgres" in parsed.drivername else parsed)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def mark(context: approvals.Context, body: dict[str, Any]) -> dict[str, Any]:
    """Carry an action out: leave a mark. A body with ``fail`` fails after that, half-way."""
    values = {"request": context.request_id, "body": json.dumps(body)}
    context.session.execute(text("INSERT INTO marks VALUES (:request, :body)"), values)
    if body.get("fail"):
        raise Conflict("The model was revoked meanwhile.", code="model-revoked", hint="Take another.")
    if body.get("crash"):
        raise ZeroDivisionError("a bug")
    return {"marked": body.get("model"), "for": context.requester.subject}


@contextmanager
def marking() -> Iterator[None]:
    """Have every action but the approvals' own leave a mark; afterwards all is as it was."""
    executors, asked = dict(actions.EXECUTORS), list(people._in_use)
    for name in approvals.ACTIONS:
        if name not in (actions.POLICY_CHANGE, actions.BREAK_GLASS):
            approvals.register(name, mark)
    try:
        yield
    finally:
        actions.EXECUTORS.clear()
        actions.EXECUTORS.update(executors)
        people._in_use[:] = asked


def is_founding(world: World) -> bool:
    with world.database.reading() as session:
        return founding.is_open(session)
