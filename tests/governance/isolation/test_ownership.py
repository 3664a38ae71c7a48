"""That the table of ownership is complete, and means what it says."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import NoReferenceError

from flaas_jupyter.coordination.tables import Base
from flaas_jupyter.governance.isolation import OWNERSHIP, policies, rules

from .population import tables


def test_every_table_says_whose_its_rows_are():
    missing = {table.name for table in tables()} - set(OWNERSHIP)
    assert not missing, f"say in ownership.py whose the rows of these are: {sorted(missing)}"


def test_there_are_no_rules_for_tables_that_are_not_there():
    assert set(OWNERSHIP) - {table.name for table in tables()} == set()


@pytest.mark.parametrize("table", sorted(OWNERSHIP))
def test_rules_look_at_columns_that_there_are(table):
    columns = set(Base.metadata.tables[table].c.keys())
    ownership = OWNERSHIP[table]
    for rule in (ownership.sees, ownership.changing, ownership.adding):
        assert set(rule.columns) <= columns
        for part in _through(rule):
            assert set(part.keys.values()) <= set(Base.metadata.tables[part.table].c.keys())
    try:
        assert all(statement for statement in policies.statements(table))
    except NoReferenceError as error:
        raise AssertionError(table) from error


@pytest.mark.parametrize("table", sorted(OWNERSHIP))
def test_no_policy_asks_itself(table):
    assert table not in policies.reached(OWNERSHIP[table].sees)


def test_what_decides_over_others_is_never_written_by_a_tenant():
    deciding = ("rbac_", "approval_", "audit_", "identity_")
    own_sessions = {"rbac_sessions", "rbac_active_roles"}
    for table, ownership in OWNERSHIP.items():
        if table.startswith(deciding) and table not in own_sessions:
            assert isinstance(ownership.adding, rules.Nobody), table
            assert isinstance(ownership.changing, rules.Nobody), table


def _through(rule):
    if isinstance(rule, rules.Through):
        yield rule
    for part in rule.parts:
        yield from _through(part)
