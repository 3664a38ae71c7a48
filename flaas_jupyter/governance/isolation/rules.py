"""Whose a row is: the kinds of rules that `ownership` gives to tables.

A rule turns into a condition on a row. The row is anything that has columns (a mapped class, a table in a policy of
PostgreSQL, the values of a row that is about to be written), and so is what the tenant is (`Terms`): values in the
statements of the scoped sessions, settings of the transaction in policies. Both walls are made from the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import ColumnElement, String, and_, exists, false, func, literal, or_, select
from sqlalchemy.sql.expression import FromClause

from .. import scopes
from .tenants import Tenant

Row = Callable[[str], ColumnElement[Any]]
"""Name of a column to its value."""


class Terms(Protocol):
    """What conditions say of the tenant."""

    organisation: ColumnElement[Any]
    node: ColumnElement[Any]
    anybody: ColumnElement[bool]
    people: ColumnElement[bool]

    def within(self, project: ColumnElement[Any]) -> ColumnElement[bool]:
        """Tell whether the tenant takes part in `project`."""

    def table(self, name: str) -> FromClause:
        """Return table `name` under a name of its own."""

    def seen(self, name: str, row: Row) -> ColumnElement[bool]:
        """Tell whether a `row` of table `name` is seen."""


def _starts(column: ColumnElement[Any], start: ColumnElement[Any]) -> ColumnElement[bool]:
    return func.substr(column, 1, func.length(start)) == start


def _text(value: str) -> ColumnElement[Any]:
    return literal(value, String)


class Rule(Protocol):
    """Whose the rows of a table are; `columns` are those of the row that it looks at."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of columns."""

    @property
    def parts(self) -> tuple[Rule, ...]:
        """The rules that it is made of."""

    def condition(self, row: Row, of: Terms) -> ColumnElement[bool]:
        """Return the condition on a row of the tenant's."""

    def decide(self, values: Mapping[str, Any], tenant: Tenant) -> bool | None:
        """Tell whether a row with `values` is the tenant's, if that can be told without asking the data base."""


class _Simple:
    """A rule of no others, which looks at one column, `column`."""

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of columns."""
        return (self.column,)

    @property
    def parts(self) -> tuple[Rule, ...]:
        """None."""
        return ()

    def decide(self, values: Mapping[str, Any], tenant: Tenant) -> bool | None:
        """Not without asking the data base."""
        return None


@dataclass(frozen=True)
class Own(_Simple):
    """Rows with the tenant's organisation in `column`; `nodes` tells whether its nodes have them too."""

    column: str = "organisation"
    nodes: bool = False

    def condition(self, row: Row, of: Terms) -> ColumnElement[bool]:
        """Return the condition on a row."""
        own = row(self.column) == of.organisation
        return own if self.nodes else and_(of.people, own)

    def decide(self, values: Mapping[str, Any], tenant: Tenant) -> bool | None:
        """Compare."""
        if tenant.node is not None and not self.nodes:
            return False
        return tenant.organisation is not None and values[self.column] == tenant.organisation


@dataclass(frozen=True)
class Itself(_Simple):
    """Rows of the node that the tenant is."""

    column: str = "node"

    def condition(self, row: Row, of: Terms) -> ColumnElement[bool]:
        """Return the condition on a row."""
        return row(self.column) == of.node


@dataclass(frozen=True)
class InProject(_Simple):
    """Rows of the projects that the tenant takes part in."""

    column: str = "project"

    def condition(self, row: Row, of: Terms) -> ColumnElement[bool]:
        """Return the condition on a row."""
        return of.within(row(self.column))


@dataclass(frozen=True)
class Through(_Simple):
    """Rows that refer to a row of another table that the tenant sees, or that is its by `rule`.

    Parameters
    ----------
    table : str
        The other table.
    keys : mapping of str to str
        Column here to the column there that it refers to.
    rule : Rule, optional
        What the other row must be, if it is not enough that it is seen.
    """

    table: str
    keys: Mapping[str, str]
    rule: Rule | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of columns."""
        return tuple(self.keys)

    @property
    def parts(self) -> tuple[Rule, ...]:
        """What the other row must be."""
        return () if self.rule is None else (self.rule,)

    def condition(self, row: Row, of: Terms) -> ColumnElement[bool]:
        """Return the condition on a row."""
        other = of.table(self.table)
        joined = (other.c[there] == row(here) for here, there in self.keys.items())
        mine = (
            of.seen(self.table, lambda name: other.c[name])
            if self.rule is None
            else self.rule.condition(lambda name: other.c[name], of)
        )
        # Correlated with whatever stands around it, but never by its own table, which may stand there too.
        return exists(select(1).select_from(other).where(*joined, mine).correlate_except(other))


@dataclass(frozen=True)
class Caller(_Simple):
    """Rows kept for a caller, named ``kind/organisation/subject``."""

    column: str = "caller"

    def condition(self, row: Row, of: Terms) -> ColumnElement[bool]:
        """Return the condition on a row."""
        caller, kinds = row(self.column), ("user/", "node/", "service/")
        return or_(*(_starts(caller, _text(kind) + of.organisation + "/") for kind in kinds))


@dataclass(frozen=True)
class Scoped(_Simple):
    """Rows whose `column` is a scope (see `governance.scopes`) in which the tenant is."""

    column: str = "scope"

    @property
    def parts(self) -> tuple[Rule, ...]:
        """An own node."""
        return (Through("nodes", {self.column: "id"}, AnyOf(Own(), Itself("id"))),)

    def condition(self, row: Row, of: Terms) -> ColumnElement[bool]:
        """Return the condition on a row."""
        scope, project, node = row(self.column), scopes.project(""), scopes.node("")
        node_id = func.substr(scope, len(node) + 1)
        return or_(
            scope == _text(scopes.organisation("")) + of.organisation,
            and_(_starts(scope, _text(project)), of.within(func.substr(scope, len(project) + 1))),
            and_(_starts(scope, _text(node)), self.parts[0].condition(lambda _: node_id, of)),
        )


@dataclass(frozen=True)
class Everybody(_Simple):
    """Rows that belong to nobody and may be seen by everybody who is recognised."""

    @property
    def columns(self) -> tuple[str, ...]:
        """None."""
        return ()

    def condition(self, row: Row, of: Terms) -> ColumnElement[bool]:
        """Return the condition on a row."""
        return of.anybody


@dataclass(frozen=True)
class Nobody(_Simple):
    """Rows that only the platform itself sees."""

    @property
    def columns(self) -> tuple[str, ...]:
        """None."""
        return ()

    def condition(self, row: Row, of: Terms) -> ColumnElement[bool]:
        """Return the condition on a row."""
        return false()

    def decide(self, values: Mapping[str, Any], tenant: Tenant) -> bool | None:
        """Never."""
        return False


class _Several(_Simple):
    def __init__(self, *rules: Rule) -> None:
        self.rules = rules

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of columns."""
        return tuple(dict.fromkeys(name for rule in self.rules for name in rule.columns))

    @property
    def parts(self) -> tuple[Rule, ...]:
        """The rules."""
        return self.rules


class AnyOf(_Several):
    """Rows that one of `rules` gives to the tenant."""

    def condition(self, row: Row, of: Terms) -> ColumnElement[bool]:
        """Return the condition on a row."""
        return or_(*(rule.condition(row, of) for rule in self.rules))

    def decide(self, values: Mapping[str, Any], tenant: Tenant) -> bool | None:
        """Tell what the rules that can tell say together."""
        told = [rule.decide(values, tenant) for rule in self.rules]
        return True if True in told else None if None in told else False


class AllOf(_Several):
    """Rows that all of `rules` give to the tenant."""

    def condition(self, row: Row, of: Terms) -> ColumnElement[bool]:
        """Return the condition on a row."""
        return and_(*(rule.condition(row, of) for rule in self.rules))


@dataclass(frozen=True)
class Ownership:
    """Whose the rows of a table are: who sees them, who changes them (by default who sees them), who adds some."""

    sees: Rule
    changes: Rule | None = None
    adds: Rule | None = None

    @property
    def changing(self) -> Rule:
        """Who changes and removes rows."""
        return self.changes or self.sees

    @property
    def adding(self) -> Rule:
        """Who adds rows, and as whose rows may be after a change."""
        return self.adds or self.changing
