"""Decisions on access: ``Rbac.check_access`` at 1,500 permissions and 1,000 to 100,000 users, beside a bare query.

The baseline is the same recursive query, written by hand, on the same file in SQLite through `sqlite3` alone: what the
data base itself costs, without SQLAlchemy, checks of arguments and errors. ``ratio_to_bare_query`` holds the medians of
both against each other, taken in turns in one run. Questions are drawn at random, over all sessions and permissions.

Roles stand in a hierarchy of ten levels (150 roles, each of the lower ones with two seniors); each user has one.
"""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import insert

from flaas_jupyter.governance.rbac import Rbac
from flaas_jupyter.governance.rbac.tables import (
    ActiveRole,
    Assignment,
    Grant,
    Inheritance,
    Permission,
    Role,
    RoleSession,
    User,
)

ROLES, LEVELS, PERMISSIONS = 150, 10, 1500
SIZES = [1_000, 10_000, 100_000]
QUESTIONS = 2_000
LIMIT_SECONDS = 1e-4

BARE = """
WITH RECURSIVE held(role) AS (
  SELECT role FROM rbac_active_roles WHERE session = ?
  UNION SELECT descendant FROM rbac_inheritance JOIN held ON ascendant = held.role
)
SELECT EXISTS (SELECT 1 FROM held JOIN rbac_grants USING (role) WHERE operation = ? AND object = ?)
"""

Question = tuple[str, str, str]


def fill(rbac: Rbac, users: int) -> None:
    """Write roles, permissions and `users` users, each with a session, in bulk."""
    draw = Random(0)
    roles = [f"role-{number}" for number in range(ROLES)]
    width = ROLES // LEVELS
    names = [f"user-{number}" for number in range(users)]
    chosen = [draw.choice(roles) for _ in names]
    now = datetime.now(UTC)
    edges = {
        (roles[above * width + draw.randrange(width)], roles[(above + 1) * width + number])
        for above in range(LEVELS - 1)
        for number in range(width)
        for _ in range(2)
    }
    rows: list[tuple[Any, list[dict[str, Any]]]] = [
        (User, [{"name": name} for name in names]),
        (Role, [{"name": role} for role in roles]),
        (Inheritance, [{"ascendant": above, "descendant": below} for above, below in sorted(edges)]),
        (Permission, [{"operation": f"do-{n % 10}", "object": f"thing-{n // 10}"} for n in range(PERMISSIONS)]),
        (
            Grant,
            [
                {"role": roles[n % ROLES], "operation": f"do-{n % 10}", "object": f"thing-{n // 10}"}
                for n in range(PERMISSIONS)
            ],
        ),
        (
            Assignment,
            [
                {"user": user, "role": role, "scope": "platform", "assigned": now}
                for user, role in zip(names, chosen, strict=True)
            ],
        ),
        (
            RoleSession,
            [{"id": f"s-{user}", "user": user, "created": now, "expires": None, "fixed": False} for user in names],
        ),
        (
            ActiveRole,
            [
                {"session": f"s-{user}", "role": role, "scope": "platform"}
                for user, role in zip(names, chosen, strict=True)
            ],
        ),
    ]
    with rbac._store.writing() as session:
        for table, entries in rows:
            session.execute(insert(table), entries)


def questions(users: int) -> list[Question]:
    """Draw what is asked."""
    draw = Random(1)
    return [
        (f"s-user-{draw.randrange(users)}", f"do-{n % 10}", f"thing-{n // 10}")
        for n in (draw.randrange(PERMISSIONS) for _ in range(QUESTIONS))
    ]


@pytest.fixture(scope="module", params=SIZES)
def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Rbac, Path, int]]:
    """A data base of so many users."""
    path = tmp_path_factory.mktemp("rbac") / "rbac.db"
    with Rbac(f"sqlite:///{path}") as rbac:
        fill(rbac, request.param)
        yield rbac, path, request.param


def test_check_access_over_the_bare_query(benchmark: Any, filled: tuple[Rbac, Path, int]) -> None:
    rbac, path, users = filled
    asked = questions(users)
    bare = sqlite3.connect(path, isolation_level=None)
    ours: list[float] = []
    theirs: list[float] = []
    for question in asked:
        start = time.perf_counter()
        permitted = rbac.check_access(*question)
        middle = time.perf_counter()
        ((expected,),) = bare.execute(BARE, question).fetchall()
        theirs.append(time.perf_counter() - middle)
        ours.append(middle - start)
        assert permitted == bool(expected)
    bare.close()
    again = iter(asked * 1000)
    benchmark.pedantic(lambda: rbac.check_access(*next(again)), rounds=QUESTIONS, warmup_rounds=100)
    median = statistics.median(ours)
    benchmark.extra_info.update(
        users=users,
        permissions=PERMISSIONS,
        roles=ROLES,
        median_ms=median * 1e3,
        bare_query_ms=statistics.median(theirs) * 1e3,
        ratio_to_bare_query=median / statistics.median(theirs),
    )
    assert median < LIMIT_SECONDS


def test_review_from_both_sides(benchmark: Any, filled: tuple[Rbac, Path, int]) -> None:
    """The fourth level: who has a permission is found about as quickly as what somebody may do, per answer."""
    rbac, _, users = filled
    start = time.perf_counter()
    permitted = rbac.user_permissions("user-0")
    forward = time.perf_counter() - start
    operation, object = min(permitted)
    holders = benchmark.pedantic(rbac.permission_users, args=(operation, object), rounds=5)
    assert "user-0" in holders
    benchmark.extra_info.update(
        users=users,
        seconds_per_permission_of_a_user=forward / len(permitted),
        seconds_per_user_of_a_permission=benchmark.stats.stats.median / len(holders),
    )
