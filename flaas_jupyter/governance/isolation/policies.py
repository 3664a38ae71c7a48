"""Row-level security of PostgreSQL: the same rules once more, by the data base itself.

Each table has it forced, so that its owner is subject to it too. A transaction that has not said for whom it works
sees nothing. See https://www.postgresql.org/docs/current/ddl-rowsecurity.html.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Connection, Dialect, String, literal_column, or_, text, true
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.expression import FromClause
from sqlalchemy.types import TypeEngine

from ..tables import Base
from .ownership import OWNERSHIP
from .rules import Row, Rule, Through

_POSTGRESQL: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
_POLICIES = ("flaas_sees", "flaas_adds", "flaas_changes", "flaas_removes")


def create(connection: Connection, tables: Iterable[str]) -> None:
    """Have `tables` isolated as `ownership` says; again, to replace what was said before.

    Raises
    ------
    KeyError
        There is no rule for one of them.
    """
    for table in tables:
        for statement in statements(table):
            connection.execute(text(statement))


def drop(connection: Connection, tables: Iterable[str]) -> None:
    """Take the policies off `tables`."""
    for table in tables:
        for statement in (
            *(f"DROP POLICY IF EXISTS {policy} ON {table}" for policy in _POLICIES),
            f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
        ):
            connection.execute(text(statement))


def statements(table: str) -> list[str]:
    """Return the statements that isolate `table`; the last one marks it with `mark`."""
    sees, adds, changes, removes = _POLICIES
    seen, added, changed = _conditions(table)
    return [
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        *(f"DROP POLICY IF EXISTS {policy} ON {table}" for policy in _POLICIES),
        f"CREATE POLICY {sees} ON {table} FOR SELECT USING ({seen})",
        f"CREATE POLICY {adds} ON {table} FOR INSERT WITH CHECK ({added})",
        f"CREATE POLICY {changes} ON {table} FOR UPDATE USING ({changed}) WITH CHECK ({added})",
        f"CREATE POLICY {removes} ON {table} FOR DELETE USING ({changed})",
        f"COMMENT ON POLICY {sees} ON {table} IS '{mark(table)}'",
    ]


def mark(table: str) -> str:
    """Return the digest of a table's rules, by which it is seen whether a data base has the present ones."""
    return hashlib.sha256("\n".join(_conditions(table)).encode()).hexdigest()[:16]


class _Settings:
    """A tenant's terms as settings of the transaction.

    Each is read once a statement, as a subquery of its own; `each_row`, without one, where PostgreSQL would take the
    subquery for a policy that asks itself.
    """

    def __init__(self, *, each_row: bool) -> None:
        def read(expression: str, kind: type[TypeEngine[Any]]) -> ColumnElement[Any]:
            return literal_column(expression if each_row else f"(SELECT {expression})", kind)

        self.organisation = read(_setting("organisation"), String)
        self.node = read(_setting("node"), String)
        self.anybody: ColumnElement[bool] = read(f"({_setting('projects')} IS NOT NULL)", Boolean)
        self.people: ColumnElement[bool] = read(f"({_setting('node')} IS NULL)", Boolean)
        self.system: ColumnElement[bool] = read("(current_setting('flaas.system', true) = 'on')", Boolean)
        projects = f"{_setting('projects')}::text[]"
        self._projects = literal_column(
            f"ANY ({projects})" if each_row else f"ANY ((SELECT {projects})::text[])", String
        )

    def within(self, project: ColumnElement[Any]) -> ColumnElement[bool]:
        """Tell whether the tenant takes part in `project`."""
        return project == self._projects

    def table(self, name: str) -> FromClause:
        """Return table `name` under a name of its own."""
        return _other(name)

    def seen(self, name: str, row: Row) -> ColumnElement[bool]:
        """Leave it to the policy of the other table, which holds for the subqueries of this one."""
        return true()


def _setting(name: str) -> str:
    return f"NULLIF(current_setting('flaas.{name}', true), '')"


@functools.cache
def _other(name: str) -> FromClause:
    return Base.metadata.tables[name].alias(f"isolation_{name}")


def _conditions(table: str) -> tuple[str, str, str]:
    """Return who sees, adds and changes rows of `table`, as SQL."""
    ownership = OWNERSHIP[table]
    writing = reached(ownership.adding) | reached(ownership.changing)
    seen = _sql(table, ownership.sees, _Settings(each_row=table in writing))
    settings = _Settings(each_row=False)
    return seen, _sql(table, ownership.adding, settings), _sql(table, ownership.changing, settings)


def reached(rule: Rule) -> set[str]:
    """Return the tables that PostgreSQL asks for `rule`: those that it names, and what these ask in their turn."""
    tables = set()
    for part in rule.parts:
        tables |= reached(part)
    if isinstance(rule, Through):
        tables |= {rule.table} | reached(OWNERSHIP[rule.table].sees)
    return tables


def _sql(table: str, rule: Rule, settings: _Settings) -> str:
    columns = Base.metadata.tables[table].c

    def row(name: str) -> ColumnElement[Any]:
        # As text: a column would bring its table into the FROM of whatever asks for it.
        return literal_column(f'{table}."{name}"', columns[name].type)

    condition = or_(settings.system, rule.condition(row, settings))
    return str(condition.compile(dialect=_POSTGRESQL, compile_kwargs={"literal_binds": True}))
