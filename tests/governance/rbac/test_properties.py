"""After any sequence of calls the data base is what the naive model is: the six properties of the standard.

(i) no separation of duty is violated, (ii) the hierarchy is acyclic, (iii) access is decided as by the naive closure,
(iv) authorised users and roles are inverse, (v) a refused call changes nothing, (vi) a role that is revoked gives no
more access in open sessions.

Calls are made on a session of SQLAlchemy that is committed even if the call is refused: a refused one must not rely on
being rolled back. The model first tries a function with all arguments that there are; then the real one is called for
every reason to refuse that has come up, and with arguments that are in order, so that rare reasons come up often. At
the end of each sequence all functions are tried so.
"""

from __future__ import annotations

from itertools import combinations, product
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy.orm import Session

from flaas_jupyter.governance.rbac import Rbac, RbacError, grants, review, separation, sessions
from flaas_jupyter.governance.rbac.functions import FUNCTIONS
from flaas_jupyter.governance.rbac.tables import TABLES

from .conftest import clear
from .oracle import PLATFORM, Refused, State

USERS, ROLES, SETS = ("u1", "u2", "u3"), ("a", "b", "c", "d", "e"), ("s1", "s2")
PERMISSIONS = (("read", "x"), ("write", "x"))
SCOPES = (PLATFORM, "project:1", "project:2")
WITHIN = ((), ("project:1",), ("project:2",), ("organisation:1", "project:1"), (PLATFORM,))
MOST_SESSIONS = 3
DONE = ""
RARE = ("violated", "bad-cardinality")
UNCHANGING = ("check_access", "add_permission")
Arguments = tuple[Any, ...]
Contents = dict[str, list[Arguments]]
COLUMNS = {table.name: [f'"{column.name}"' for column in table.columns] for table in TABLES}
CHANGING = [name for name, function in FUNCTIONS.items() if function.kind != "review" and name not in UNCHANGING]


class Machine(RuleBasedStateMachine):
    """Calls both, and compares."""

    rbac: Rbac

    def __init__(self) -> None:
        super().__init__()
        clear(self.rbac)
        self.model = State()
        self.ids: dict[str, str] = {}
        with self.rbac._store.reading() as session:
            self.data_base = contents(session)
        self.random = Random(0)
        self.compared = False

    @initialize(data=st.data(), seed=st.integers(0, 2**32))
    def begin(self, data: st.DataObject, seed: int) -> None:
        """Build something dense, so that most calls touch what others have made."""
        self.random = Random(seed)
        for user in USERS:
            self.do("add_user", user)
        for role in ROLES:
            self.do("add_role", role)
        for function, fewest, most in (
            ("add_inheritance", 2, 5),
            ("assign_user", 3, 8),
            ("grant_permission", 2, 4),
            ("create_ssd_set", 0, 2),
            ("create_dsd_set", 0, 2),
            ("create_session", 1, 3),
        ):
            for _ in range(data.draw(st.integers(fewest, most), function)):
                good = self.outcomes(function).get(DONE)
                if good:
                    self.do(function, *data.draw(st.sampled_from(good), function))

    # ---- rules: each chooses the arguments of one function -------------------------------------------------------

    @rule(data=st.data(), function=st.sampled_from(("add_user", "delete_user", "add_role")))
    def come_or_go(self, data: st.DataObject, function: str) -> None:
        self.choose(data, function)

    @rule(data=st.data())
    def delete_role(self, data: st.DataObject) -> None:
        self.choose(data, "delete_role")

    @rule(data=st.data(), function=st.sampled_from(("add_ascendant", "add_descendant")))
    def add_related(self, data: st.DataObject, function: str) -> None:
        self.choose(data, function)

    @rule(data=st.data())
    def assign(self, data: st.DataObject) -> None:
        self.choose(data, "assign_user")

    @rule(data=st.data())
    def deassign(self, data: st.DataObject) -> None:
        self.choose(data, "deassign_user")

    @rule(data=st.data(), function=st.sampled_from(("grant_permission", "revoke_permission", "delete_permission")))
    def change_permissions(self, data: st.DataObject, function: str) -> None:
        self.choose(data, function)

    @rule(data=st.data())
    def inherit(self, data: st.DataObject) -> None:
        self.choose(data, "add_inheritance")

    @rule(data=st.data())
    def disinherit(self, data: st.DataObject) -> None:
        self.choose(data, "delete_inheritance")

    @rule(data=st.data())
    def create_session(self, data: st.DataObject) -> None:
        self.choose(data, "create_session" if len(self.model.sessions) < MOST_SESSIONS else "delete_session")

    @rule(data=st.data())
    def activate(self, data: st.DataObject) -> None:
        self.choose(data, "add_active_role")

    @rule(data=st.data(), function=st.sampled_from(("drop_active_role", "delete_session")))
    def deactivate(self, data: st.DataObject, function: str) -> None:
        self.choose(data, function)

    @rule(data=st.data(), kind=st.sampled_from(("ssd", "dsd")))
    def create_set(self, data: st.DataObject, kind: str) -> None:
        self.choose(data, f"create_{kind}_set")

    @rule(data=st.data(), kind=st.sampled_from(("ssd", "dsd")))
    def change_cardinality(self, data: st.DataObject, kind: str) -> None:
        self.choose(data, f"set_{kind}_set_cardinality")

    @rule(data=st.data(), kind=st.sampled_from(("ssd", "dsd")), verb=st.sampled_from(("add", "add", "delete")))
    def change_members(self, data: st.DataObject, kind: str, verb: str) -> None:
        self.choose(data, f"{verb}_{kind}_role_member")

    @rule(data=st.data(), kind=st.sampled_from(("ssd", "dsd")))
    def delete_set(self, data: st.DataObject, kind: str) -> None:
        self.choose(data, f"delete_{kind}_set")

    def choose(self, data: st.DataObject, function: str) -> None:
        """Try `function` out, then call it with arguments that are in order, if there are any."""
        good = self.probe(function)
        if good:
            self.do(function, *data.draw(st.sampled_from(good), function))

    def probe(self, function: str) -> list[Arguments]:
        """Call `function` for each reason to refuse it that there is; for good, but taken back; return what is good."""
        outcomes = self.outcomes(function)
        good = outcomes.pop(DONE, [])
        with self.rbac._store.writing() as session:
            for reason, candidates in sorted(outcomes.items()):
                for args in self.some(candidates, 3 if reason.endswith(RARE) else 1):
                    self.call(session, function, *args)
            for args in self.some(good, 8 if function.startswith("de") else 4):
                after = self.model.after(function, *args)
                with session.begin_nested() as trial:
                    made = self.call(session, function, *args, done=True)
                    ids = {**self.ids, args[0]: made} if function == "create_session" else self.ids
                    compare(after, contents(session), ids)
                    trial.rollback()
            assert contents(session) == self.data_base, "(v)"
        return good

    def outcomes(self, function: str) -> dict[str, list[Arguments]]:
        """Return what `function` may be called with, by what it comes to."""
        outcomes: dict[str, list[Arguments]] = {}
        for args in self.arguments(function):
            try:
                self.model.after(function, *args)
                outcome = DONE
            except Refused as refused:
                outcome = " ".join(sorted(refused.codes))
            outcomes.setdefault(outcome, []).append(args)
        return outcomes

    def some(self, candidates: list[Arguments], most: int) -> list[Arguments]:
        """Return a few at random."""
        return self.random.sample(candidates, min(most, len(candidates)))

    def arguments(self, function: str) -> list[Arguments]:
        """What `function` may be called with, out of a small world."""
        if function.endswith(("_session", "_active_role")):
            return self._of_sessions(function)
        if function.startswith(("create_ssd", "create_dsd")):
            # Doubles and too few too.
            chosen: list[Arguments] = [*combinations(ROLES, 2), *combinations(ROLES, 3), ROLES, ("a", "a"), ("b",)]
            name, per_scope = self.random.choice(SETS), self.random.random() < 0.5
            return [(name, members, n, per_scope) for members in chosen for n in range(1, 5)]
        spaces = {
            "user": [(user,) for user in USERS],
            "role": [(role,) for role in ROLES],
            "assign_user": list(product(USERS, ROLES, SCOPES)),
            "permission": [(*permission, role) for permission in PERMISSIONS for role in ROLES],
            "delete_permission": list(PERMISSIONS),
            "inheritance": list(product(ROLES, ROLES)),
            "member": list(product(SETS, ROLES)),
            "set": [(name,) for name in SETS],
            "cardinality": list(product(SETS, range(1, 6))),
        }
        spaces["deassign_user"] = spaces["assign_user"]
        spaces["ascendant"] = spaces["descendant"] = spaces["inheritance"]
        return spaces.get(function) or spaces[function.rpartition("_")[2]]

    def _of_sessions(self, function: str) -> list[Arguments]:
        model = self.model
        if function == "create_session":
            user = self.random.choice(USERS)
            held = sorted(model.authorised(user))
            choices = [*ROLES, *product(ROLES, SCOPES)]
            nearly = [tuple(pair for pair in held if pair[0] != left_out) for left_out in ROLES]
            some = [*((each,) for each in choices), *combinations(ROLES, 2), (), *nearly, *[tuple(held)] * 5]
            return [(f"session-{len(self.ids)}", user, roles) for roles in some]
        owned = [(working.user, name) for name, working in sorted(model.sessions)]
        known = [name for name, _ in model.sessions]
        others = [(user, name) for user in USERS for name in [*known, *list(self.ids)[:1], "none"]]
        if function == "delete_session":
            return [*owned, *others]
        which = list(product(ROLES, (None, *SCOPES)))
        return [*((*pair, *what) for pair in owned for what in which), *((*pair, *which[0]) for pair in others)]

    def do(self, function: str, *args: Any) -> None:
        """Call the model and the real one, which do it."""
        before = self.model
        after = before.after(function, *args)
        with self.rbac._store.writing() as session:
            result = self.call(session, function, *args, done=True)
            found = contents(session)
        if function == "create_session":
            self.ids[args[0]] = result
        assert (found == self.data_base) == (after == before), (function, args)
        self.model, self.data_base, self.compared = after, found, False

    def call(self, session: Any, function: str, *args: Any, done: bool = False) -> Any:
        """Call the real one; it does it, or refuses it for one of the model's reasons."""
        given, options = self._real(function, args)
        try:
            result, code = FUNCTIONS[function].call(session, *given, **options), DONE
        except RbacError as error:
            result, code = None, error.code
        expected = {DONE}
        if not done:
            with pytest.raises(Refused) as refused:
                self.model.after(function, *args)
            expected = set(refused.value.codes)
        assert code in expected, (function, args, code, expected)
        return result

    def _real(self, function: str, args: Arguments) -> tuple[Arguments, dict[str, Any]]:
        """The arguments in the form of the real one: without the model's names of sessions."""
        if function == "create_session":
            return args[1:], {}
        if function in ("delete_session", "add_active_role", "drop_active_role"):
            return (args[0], self.ids.get(args[1], "none"), *args[2:]), {}
        if function in ("create_ssd_set", "create_dsd_set"):
            return args[:3], {"per_scope": args[3]}
        return args, {}

    # ---- invariants ----------------------------------------------------------------------------------------------

    @invariant()
    def both_are_the_same(self) -> None:
        if self.compared:
            return
        self.compared = True
        compare(self.model, self.data_base, self.ids)
        model = self.model
        assert not model.faults  # (i) and (ii), of the model, which the real one equals
        with self.rbac._store.reading() as session:
            by_user = {user: review.authorized_roles(session, user) for user in sorted(model.users)}
            by_role = {role: review.authorized_users(session, role) for role in sorted(model.roles)}
            for user, roles in by_user.items():
                assert roles == model.authorized_roles(user)
            for role, users in by_role.items():
                assert users == {user for user, roles in by_user.items() if role in roles}  # (iv)
        for name, _ in model.sessions:
            for (operation, object), within in product(PERMISSIONS, WITHIN):
                decided = self.rbac.check_access(self.ids[name], operation, object, *within)
                assert decided == model.permitted(name, operation, object, *within), "(iii), (vi)"

    def teardown(self) -> None:
        """Try everything that can be called, and compare whatever can be asked."""
        for function in CHANGING:
            self.probe(function)
        model = self.model
        with self.rbac._store.reading() as session:
            for user in sorted(model.users):
                assert review.assignments(session, user) == {each[1:] for each in model.ua if each[0] == user}
                assert review.assigned_roles(session, user) == {role for who, role, _ in model.ua if who == user}
                assert review.user_permissions(session, user) == model.permissions(model.authorized_roles(user))
                assert review.user_operations_on_object(session, user, "x") == {
                    operation for operation, _ in model.permissions(model.authorized_roles(user))
                }
            for role in sorted(model.roles):
                assert review.assigned_users(session, role) == {user for user, each, _ in model.ua if each == role}
                assert review.role_permissions(session, role) == model.permissions({role})
                assert review.role_operations_on_object(session, role, "x") == {
                    operation for operation, _ in model.permissions({role})
                }
            for operation, object in PERMISSIONS:
                having = {role for role in model.roles if (operation, object) in model.permissions({role})}
                assert review.permission_roles(session, operation, object) == having
                holders = {user for user in model.users if model.authorized_roles(user) & having}
                assert review.permission_users(session, operation, object) == holders
            for name, working in model.sessions:
                self._session_is_as_in_the_model(session, name, {role for role, _ in working.active})
            self._sets_are_as_in_the_model(session)
            with pytest.raises(RbacError):
                sessions.check_access(session, "none", "read", "x")

    def _session_is_as_in_the_model(self, session: Any, name: str, active: set[str]) -> None:
        model, session_id = self.model, self.ids[name]
        assert review.session_roles(session, session_id) == active
        assert review.session_permissions(session, session_id) == model.permissions(active)
        given = grants.of(session, session_id)
        assert set(given.roles) == model.session(name).active
        assert given.operations == {
            f"{object}:{operation}": {
                scope for role, scope in given.roles if (operation, object) in model.permissions({role})
            }
            for operation, object in model.permissions(active)
        }
        for (operation, object), within in product(PERMISSIONS, WITHIN):
            decided = sessions.check_access(session, session_id, operation, object, *within)
            assert decided == model.permitted(name, operation, object, *within)

    def _sets_are_as_in_the_model(self, session: Any) -> None:
        for kind in ("ssd", "dsd"):
            sets = {each.name: each for each in self.model.exclusions if each.kind == kind}
            assert getattr(separation, f"{kind}_role_sets")(session) == set(sets)
            for name, each in sets.items():
                assert getattr(separation, f"{kind}_role_set_roles")(session, name) == each.roles
                assert getattr(separation, f"{kind}_role_set_cardinality")(session, name) == each.n


def contents(session: Session) -> Contents:
    """All rows, as the driver gives them."""
    connection = session.connection()
    return {
        table: sorted(map(tuple, connection.exec_driver_sql(f"SELECT {', '.join(columns)} FROM {table}")))
        for table, columns in COLUMNS.items()
    }


def compare(model: State, found: Contents, ids: dict[str, str]) -> None:
    """Hold the tables against the model's sets; `ids`: names of sessions in the model to their ids."""

    def relation(table: str, *names: str) -> list[Arguments]:
        places = [COLUMNS[f"rbac_{table}"].index(f'"{name}"') for name in names]
        return sorted(tuple(row[place] for place in places) for row in found[f"rbac_{table}"])

    name_of = {each: name for name, each in ids.items()}
    short = {"static": "ssd", "dynamic": "dsd"}
    members = relation("exclusion_roles", "kind", "exclusion", "role")
    sets = relation("exclusions", "kind", "name", "cardinality", "per_scope")
    active = relation("active_roles", "session", "role", "scope")
    assert relation("users", "name") == sorted((user,) for user in model.users)
    assert relation("roles", "name") == sorted((role,) for role in model.roles)
    assert relation("assignments", "user", "role", "scope") == sorted(model.ua)
    assert relation("grants", "operation", "object", "role") == sorted(model.pa)
    assert relation("permissions", "operation", "object") == sorted(model.prms)
    assert relation("inheritance", "ascendant", "descendant") == sorted(model.rh)
    assert {(short[kind], *others) for kind, *others in members} == {
        (each.kind, each.name, role) for each in model.exclusions for role in each.roles
    }
    assert {(short[kind], *others) for kind, *others in sets} == {
        (each.kind, each.name, each.n, each.per_scope) for each in model.exclusions
    }
    assert {(name_of[each], user) for each, user in relation("sessions", "id", "user")} == {
        (name, working.user) for name, working in model.sessions
    }
    assert {(name_of[each], *others) for each, *others in active} == {
        (name, *pair) for name, working in model.sessions for pair in working.active
    }


def test_any_sequence_of_calls(kind: str, request: pytest.FixtureRequest):
    # Thousands of transactions: SQLite does them in memory.
    with Rbac("sqlite://" if kind == "sqlite" else request.getfixturevalue("postgresql_url")) as rbac:
        check(rbac, kind)


def check(rbac: Rbac, kind: str) -> None:
    bound = type("Bound", (Machine,), {"rbac": rbac})
    run_state_machine_as_test(
        bound,
        settings=settings(
            max_examples=15 if kind == "sqlite" else 4,
            stateful_step_count=8,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
