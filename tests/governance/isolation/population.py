"""Two organisations that share nothing, with a row of each in every table that there is."""

from __future__ import annotations

import importlib
import pkgutil
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import Boolean, Column, Date, Float, Insert, Integer, LargeBinary, String, Table, insert
from sqlalchemy.types import JSON

import flaas_jupyter.governance
from flaas_jupyter.coordination.tables import Base
from flaas_jupyter.governance.isolation import OWNERSHIP, rules
from flaas_jupyter.governance.tables import UtcDateTime

NORTH, ELSEWHERE = "north", "elsewhere"
NOW = datetime(2026, 1, 1, tzinfo=UTC)

Rows = dict[str, dict[str, Any]]


def tables() -> list[Table]:
    """Return every table of the hosted side, those that are referred to first."""
    for module in pkgutil.walk_packages(flaas_jupyter.governance.__path__, "flaas_jupyter.governance."):
        if module.name.endswith(".tables"):
            importlib.import_module(module.name)
    return Base.metadata.sorted_tables


def rows_of(organisation: str) -> Rows:
    """Return a row of `organisation` for each table."""
    number = 1 if organisation == NORTH else 2
    rows: Rows = {}
    for table in tables():
        rows[table.name] = {column.name: _value(column, organisation, number, rows) for column in table.columns}
        rows[table.name] |= _particular(table.name, organisation, number)
    return rows


def inserts(rows: Rows) -> list[Insert]:
    """Return the statements that write `rows`, in an order that goes."""
    return [insert(table).values(rows[table.name]) for table in tables()]


def seen(table: str) -> int:
    """Return how many of the two organisations' rows each of them sees."""
    rule = OWNERSHIP[table].sees
    return {rules.Nobody: 0, rules.Everybody: 2}.get(type(rule), 1)


def _value(column: Column[Any], organisation: str, number: int, rows: Rows) -> Any:
    for key in column.foreign_keys:
        if key.column.table.name in rows:
            return rows[key.column.table.name][key.column.name]
    kind = column.type
    if isinstance(kind, String):
        return {
            "organisation": organisation,
            "project": f"project of {organisation}",
            "scope": f"organisation:{organisation}",
            "caller": f"user/{organisation}/somebody",
        }.get(column.name, f"{column.name} of {organisation}")
    if isinstance(kind, UtcDateTime):
        return NOW
    for type_, value in (
        (Boolean, False),
        (Integer, number),
        (Float, 1.0),
        (Date, date(2026, 1, 1)),
        (LargeBinary, organisation.encode()),
        (JSON, {}),
    ):
        if isinstance(kind, type_):
            return value
    raise AssertionError(f"what would be a value of {column}?")


def _particular(table: str, organisation: str, number: int) -> dict[str, Any]:
    """Return what rows must have beside what their columns say."""
    return {
        "organisations": {"id": organisation},
        "projects": {"id": f"project of {organisation}"},
        "persons": {"id": f"somebody of {organisation}"},
        "rbac_users": {"name": f"somebody of {organisation}"},
        "rbac_exclusions": {"kind": "static", "cardinality": 2},
        "audit_entries": {"hash": f"{number:064d}", "prev": f"{number - 1:064d}"},
        "runs": {"state": "completed"},
    }.get(table, {})
