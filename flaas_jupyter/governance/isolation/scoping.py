"""Sessions that see and change one tenant's rows only, whatever the statement forgets to say.

Every SELECT, UPDATE and DELETE of mapped classes gets the conditions of `ownership` on each table in it, wherever it
stands (SQLAlchemy, "Adding global WHERE / ON criteria"); what a flush or an INSERT would write is held against the
same rules first. This is all there is on SQLite. On PostgreSQL the policies of `policies` do it once more on their own.

What does not go through mapped classes cannot be narrowed here and is refused, but for plain text, which is as it is.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Insert,
    Table,
    Update,
    event,
    false,
    inspect,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Mapper, ORMExecuteState, Session, UOWTransaction
from sqlalchemy.orm.util import LoaderCriteriaOption
from sqlalchemy.sql import visitors
from sqlalchemy.sql.expression import ClauseElement, FromClause

from ...errors import NotFound
from ..tables import Base
from . import settings
from .ownership import OWNERSHIP
from .rules import Nobody, Ownership, Row, Rule
from .tenants import SYSTEM, Tenant

logger = logging.getLogger(__name__)

_PLATFORM = Ownership(Nobody())
_UNKNOWN = object()
_KEPT = 4096
"""Conditions that are kept for the next statement, by class and tenant."""
_AT_ONCE = 100
"""Conditions that are asked in one statement."""


class ScopedSession(Session):
    """A session of one tenant, which is in ``info["tenant"]``; without one it sees nothing."""

    def bulk_save_objects(self, *args: Any, **kwargs: Any) -> None:
        """Not here: it would go past `before_flush`."""
        raise _unscoped("bulk_save_objects")

    def bulk_insert_mappings(self, *args: Any, **kwargs: Any) -> None:
        """Not here, as `bulk_save_objects`."""
        raise _unscoped("bulk_insert_mappings")

    def bulk_update_mappings(self, *args: Any, **kwargs: Any) -> None:
        """Not here, as `bulk_save_objects`."""
        raise _unscoped("bulk_update_mappings")


def tenant_of(session: Session) -> Tenant:
    """Return for whom `session` works at the moment."""
    if session.info.get("across"):
        return SYSTEM
    return cast("Tenant", session.info.get("tenant", Tenant(None)))


@contextlib.contextmanager
def across(session: Session, reason: str) -> Iterator[Session]:
    """Let `session` see and change everybody's rows for a while, where one tenant's work cannot do without.

    What is loaded meanwhile stays in the session: do not hand it on to whom it does not belong.

    Parameters
    ----------
    session : Session
        Of `Database.reading`, `writing` or `noting`.
    reason : str
        Why, for whoever searches the code for it: "is this key registered by anybody?".
    """
    assert reason
    if tenant_of(session).system:
        yield session
        return
    session.flush()  # what has been done so far was done as the tenant
    session.info["across"] = reason
    try:
        _enter(session)
        yield session
        session.flush()
    except BaseException:
        session.info["across"] = None
        with contextlib.suppress(DBAPIError):  # in a transaction that has failed; with it goes what it was told
            _enter(session)
        raise
    session.info["across"] = None
    _forget(session)
    _enter(session)


def _enter(session: Session) -> None:
    """Tell a transaction that goes on already whose it is now; one that begins later is told as it begins."""
    transaction = session.get_transaction()
    if transaction is None or not session.is_active:
        return
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        settings.enter(connection, tenant_of(session))


@event.listens_for(ScopedSession, "after_begin")
def _begin(session: Session, _: object, connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        settings.enter(connection, tenant_of(session))


# ---- what is asked --------------------------------------------------------------------------------------------------


class _Values:
    """A tenant's terms as values in statements."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self.organisation: ColumnElement[Any] = literal(tenant.organisation or "")
        self.node: ColumnElement[Any] = literal(tenant.node or "")
        self.anybody: ColumnElement[bool] = true()
        self.people: ColumnElement[bool] = true() if tenant.node is None else false()

    def within(self, project: ColumnElement[Any]) -> ColumnElement[bool]:
        """Tell whether the tenant takes part in `project`."""
        parts, nodes = self.table("project_organisations"), self.table("node_projects")
        theirs = select(parts.c.project).where(parts.c.organisation == self.organisation)
        if self._tenant.node is not None:
            joined = parts.join(nodes, nodes.c.project == parts.c.project)
            theirs = theirs.select_from(joined).where(nodes.c.node == self.node)
        condition = project.in_(theirs)
        return or_(condition, project.in_(sorted(self._tenant.projects))) if self._tenant.projects else condition

    def table(self, name: str) -> FromClause:
        """Return table `name` under another name than statements have it by."""
        return _other(name)

    def seen(self, name: str, row: Row) -> ColumnElement[bool]:
        """Tell whether a `row` of table `name` is seen."""
        return OWNERSHIP[name].sees.condition(row, self)


@functools.cache
def _other(name: str) -> FromClause:
    return Base.metadata.tables[name].alias(f"isolation_{name}")


@event.listens_for(ScopedSession, "do_orm_execute")
def _narrow(state: ORMExecuteState) -> None:
    tenant = tenant_of(state.session)
    if tenant.system:
        return
    statement: Any = state.statement
    if isinstance(statement, Insert):
        _check_insert(state.session, tenant, statement, state.parameters)
        return
    touched = _touched(statement)
    if not touched:
        return
    if not state.is_orm_statement:
        raise _unscoped(f"a statement on {', '.join(sorted(touched))}")
    target = cast("Table", statement.table).name if isinstance(statement, (Update, Delete)) else None
    if isinstance(statement, (Update, Delete)):
        _forget(state.session)
    if isinstance(statement, Update):
        _check_update(statement, state.parameters)
    options = []
    for mapper in _loaded_with(frozenset(touched)):
        changes = cast("Table", mapper.local_table).name == target
        options.append(_criteria(mapper, tenant, changes=changes))
    state.statement = statement.options(*options)


@functools.lru_cache(maxsize=_KEPT)
def _criteria(mapper: Mapper[Any], tenant: Tenant, *, changes: bool) -> Any:
    ownership = OWNERSHIP.get(cast("Table", mapper.local_table).name, _PLATFORM)
    rule = ownership.changing if changes else ownership.sees
    of_column = {column.name: mapper.get_property_by_column(column).key for column in mapper.local_table.c}
    condition = rule.condition(lambda name: getattr(mapper.class_, of_column[name]), _Values(tenant))
    return _Criteria(mapper.class_, condition, include_aliases=True, propagate_to_loaders=False)


class _Criteria(LoaderCriteriaOption):
    """SQLAlchemy's option, which puts a condition that is no function as it is on the alias of a class in a join."""

    _traverse_internals = LoaderCriteriaOption._traverse_internals

    def _resolve_where_criteria(self, ext_info: Any) -> ColumnElement[bool]:
        condition = super()._resolve_where_criteria(ext_info)
        if ext_info.is_aliased_class:
            condition = ext_info._adapter.traverse(condition)
        return condition


def _touched(statement: ClauseElement) -> set[str]:
    """Return the names of the tables that stand anywhere in `statement`."""
    return {element.name for element in visitors.iterate(statement) if isinstance(element, Table)}


@functools.cache
def _loaded_with(tables: frozenset[str]) -> tuple[Mapper[Any], ...]:
    """Return the mapped classes of `tables`, and those that their relationships may join to them."""
    by_table = {cast("Table", mapper.local_table).name: mapper for mapper in Base.registry.mappers}
    found, waiting = {}, [by_table[table] for table in tables if table in by_table]
    while waiting:
        mapper = waiting.pop()
        if mapper not in found:
            found[mapper] = True
            waiting += [each.mapper for each in mapper.relationships]
    return tuple(sorted(found, key=lambda mapper: cast("Table", mapper.local_table).name))


# ---- what is written ------------------------------------------------------------------------------------------------


@event.listens_for(ScopedSession, "before_flush")
def _before_flush(session: Session, _: UOWTransaction, __: object) -> None:
    tenant = tenant_of(session)
    if tenant.system:
        return
    written = [
        *((each, "adding") for each in session.new),
        *((each, "changing") for each in session.dirty if session.is_modified(each)),
        *((each, "removing") for each in session.deleted),
    ]
    if any(how == "removing" or len(_checks(each, how)) > 1 for each, how in written):
        _forget(session)
    checks = {check: each for each, how in written for check in _checks(each, how)}
    foreign = _foreign(session, tenant, checks)
    added = {_table(each).name for each in session.new}
    for check in foreign:
        if check.decided(tenant) is False or added <= {check.table}:
            raise _not_yours(check.table)
    # It may refer to a row of the same flush. Once that is there it is looked at again; a refusal takes it all back.
    session.info["later"] = [(each, how) for each, how in written if any(c in foreign for c in _checks(each, how))]


@event.listens_for(ScopedSession, "after_flush")
def _after_flush(session: Session, _: UOWTransaction) -> None:
    later = session.info.pop("later", [])
    for check in _foreign(session, tenant_of(session), [c for each, how in later for c in _checks(each, how)]):
        raise _not_yours(check.table)


@event.listens_for(ScopedSession, "after_soft_rollback")
def _after_rollback(session: Session, _: object) -> None:
    _forget(session)


@dataclass(frozen=True)
class _Check:
    """That a row with these values in the columns that matter is the tenant's."""

    table: str
    adding: bool
    values: tuple[Any, ...]

    @property
    def rule(self) -> Rule:
        return _rule(self.table, adding=self.adding)

    def decided(self, tenant: Tenant) -> bool | None:
        return self.rule.decide(dict(zip(self.rule.columns, self.values, strict=True)), tenant)

    def condition(self, tenant: Tenant) -> ColumnElement[bool]:
        columns = Base.metadata.tables[self.table].c
        values = dict(zip(self.rule.columns, self.values, strict=True))
        return self.rule.condition(lambda name: literal(values[name], columns[name].type), _Values(tenant))


def _rule(table: str, *, adding: bool) -> Rule:
    ownership = OWNERSHIP.get(table, _PLATFORM)
    return ownership.adding if adding else ownership.changing


def _table(instance: object) -> Table:
    state: Any = inspect(instance)
    return cast("Table", state.mapper.local_table)


def _checks(instance: object, how: str) -> list[_Check]:
    """Return what must hold for `instance` to be written: of it as it was, and as it will be."""
    table = _table(instance).name
    if how == "adding":
        return [_Check(table, True, _values(instance, table, adding=True))]
    before = _values(instance, table, adding=False, before=True)
    checks = [_Check(table, False, before)]
    if how == "changing":
        present = _values(instance, table, adding=True)
        if present != _values(instance, table, adding=True, before=True):
            checks.append(_Check(table, True, present))
    return checks


def _values(instance: object, table: str, *, adding: bool, before: bool = False) -> tuple[Any, ...]:
    state: Any = inspect(instance)
    values = []
    for name in _rule(table, adding=adding).columns:
        key = state.mapper.get_property_by_column(state.mapper.local_table.c[name]).key
        removed = state.attrs[key].history.deleted if before else ()
        values.append(removed[0] if removed else getattr(instance, key))
    return tuple(values)


def _foreign(session: Session, tenant: Tenant, checks: Iterable[_Check]) -> list[_Check]:
    """Return those of `checks` that do not hold."""
    held: set[_Check] = session.info.setdefault("held", set())
    foreign, asked = [], []
    for check in dict.fromkeys(checks):
        decided = True if check in held else check.decided(tenant)
        if decided is None:
            asked.append(check)
        elif not decided:
            foreign.append(check)
    for start in range(0, len(asked), _AT_ONCE):
        some = asked[start : start + _AT_ONCE]
        columns = (check.condition(tenant).label(f"check_{number}") for number, check in enumerate(some))
        answers = session.connection().execute(select(*columns)).one()
        held |= {check for check, answer in zip(some, answers, strict=True) if answer}
        foreign += [check for check, answer in zip(some, answers, strict=True) if not answer]
    return foreign


def _forget(session: Session) -> None:
    """What held may hold no longer."""
    session.info.pop("held", None)


def _check_insert(session: Session, tenant: Tenant, statement: Insert, parameters: Any) -> None:
    """Hold the rows of an INSERT against the rule; those that only the data base would know are refused."""
    table = cast("Table", statement.table).name
    names = _rule(table, adding=True).columns
    fixed = {name: value for name, value in _set(statement).items() if value is not _UNKNOWN}
    rows = parameters if isinstance(parameters, (list, tuple)) else [parameters or {}]
    checks = []
    for row in rows:
        values = {**fixed, **row}
        if any(name not in values for name in names):
            raise _unscoped(f"Rows of {table} without plain values of {', '.join(names)}")
        checks.append(_Check(table, True, tuple(values[name] for name in names)))
    if foreign := _foreign(session, tenant, checks):
        raise _not_yours(foreign[0].table)


def _check_update(statement: Update, parameters: Any) -> None:
    """Refuse what would make rows another's, and what SQLAlchemy gives no condition: an update by primary keys."""
    table = cast("Table", statement.table).name
    changed = set(_rule(table, adding=True).columns) & set(_set(statement))
    if changed or isinstance(parameters, (list, tuple)):
        raise _unscoped(f"an UPDATE of {table} by primary keys, or of {', '.join(changed) or 'several rows'},")


def _set(statement: Insert | Update) -> dict[str, Any]:
    """Return what a statement sets, by column; values of which only the data base knows are `_UNKNOWN`."""
    values: dict[Any, Any] = statement._values or {}
    return {getattr(key, "key", key): getattr(value, "value", _UNKNOWN) for key, value in values.items()}


def _unscoped(what: str) -> RuntimeError:
    return RuntimeError(f"{what} cannot be narrowed to one tenant: use objects, or isolation.across")


def _not_yours(table: str) -> NotFound:
    # Which one it was is for the log: an answer must not tell what others have.
    logger.warning("a row of %s that is not the caller's organisation's was about to be written", table)
    return NotFound(
        "Something that this would change is not there for your organisation.",
        code="not-yours",
        hint="Look the ids up in the lists; what other organisations have is not shown.",
    )
