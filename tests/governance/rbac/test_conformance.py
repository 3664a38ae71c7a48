"""The functions of ANSI INCITS 359, row by row: what each does, and each precondition that keeps it from doing it.

The hospital: chief > doctor > reader, and matron > nurse. Anna is chief, Ben nurse and clerk, Carla pharmacist, Dora
nothing. Static: doctor and pharmacist exclude each other. Dynamic: nurse and clerk do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from flaas_jupyter.errors import FlaasError
from flaas_jupyter.governance.rbac import Rbac, RbacError

from .conftest import Rows, clear, dump, rows

Sessions = Mapping[str, str]


Hospital = tuple[Rbac, Sessions, Rows]


@pytest.fixture(scope="module")
def hospital(database: str) -> Iterator[Hospital]:
    """The hospital, its sessions, and all that is in the data base."""
    with Rbac(database) as rbac:
        clear(rbac)
        sessions = found(rbac)
        yield rbac, sessions, rows(rbac)


@pytest.fixture
def standing(hospital: Hospital) -> Rbac:
    """The hospital, for tests that leave it as it is."""
    return hospital[0]


@pytest.fixture
def sessions(hospital: Hospital) -> Sessions:
    """Anna and Ben at work."""
    return hospital[1]


@pytest.fixture
def rbac(hospital: Hospital) -> Iterator[Rbac]:
    """The hospital, which is put in order again after the test."""
    yield hospital[0]
    clear(hospital[0], hospital[2])


def found(rbac: Rbac) -> Sessions:
    """Build the hospital."""
    for role in ("reader", "doctor", "chief", "nurse", "matron", "pharmacist", "clerk"):
        rbac.add_role(role)
    for senior, junior in (("doctor", "reader"), ("chief", "doctor"), ("matron", "nurse")):
        rbac.add_inheritance(senior, junior)
    for operation, object, role in (
        ("read", "record", "reader"),
        ("write", "record", "doctor"),
        ("sign", "discharge", "chief"),
        ("read", "chart", "nurse"),
        ("read", "stock", "pharmacist"),
    ):
        rbac.grant_permission(operation, object, role)
    for user, roles in {"anna": ["chief"], "ben": ["nurse", "clerk"], "carla": ["pharmacist"], "dora": []}.items():
        rbac.add_user(user)
        for role in roles:
            rbac.assign_user(user, role)
    rbac.create_ssd_set("drugs", ["doctor", "pharmacist"], 2)
    rbac.create_dsd_set("desk", ["nurse", "clerk"], 2)
    return {"$anna": rbac.create_session("anna", ["chief"]), "$ben": rbac.create_session("ben", ["nurse"])}


def call(rbac: Rbac, sessions: Sessions, function: str, *args: Any) -> Any:
    given = [sessions.get(arg, arg) if isinstance(arg, str) else arg for arg in args]
    return getattr(rbac, function)(*given)


REFUSED: list[tuple[str, str, tuple[Any, ...]]] = [
    # code, function, arguments
    ("user-exists", "add_user", ("anna",)),
    ("bad-name", "add_user", ("",)),
    ("bad-name", "add_user", (None,)),
    ("bad-name", "add_user", ("a\x00b",)),
    ("bad-name", "add_user", ("\ud800",)),
    ("bad-name", "add_user", ("x" * 201,)),
    ("unknown-user", "delete_user", ("eve",)),
    ("unknown-user", "delete_user", (7,)),
    ("role-exists", "add_role", ("doctor",)),
    ("bad-name", "add_role", ("two\nlines",)),
    ("unknown-role", "delete_role", ("king",)),
    ("bad-cardinality", "delete_role", ("doctor",)),
    ("unknown-user", "assign_user", ("eve", "doctor")),
    ("unknown-role", "assign_user", ("dora", "king")),
    ("already-assigned", "assign_user", ("anna", "chief")),
    ("ssd-violated", "assign_user", ("anna", "pharmacist")),
    ("ssd-violated", "assign_user", ("carla", "doctor")),
    ("ssd-violated", "assign_user", ("carla", "chief")),
    ("bad-scope", "assign_user", ("dora", "doctor", "planet:earth")),
    ("unknown-user", "deassign_user", ("eve", "doctor")),
    ("unknown-role", "deassign_user", ("anna", "king")),
    ("not-assigned", "deassign_user", ("anna", "nurse")),
    ("not-assigned", "deassign_user", ("anna", "doctor")),
    ("not-assigned", "deassign_user", ("anna", "chief", "project:credit")),
    ("unknown-role", "grant_permission", ("read", "record", "king")),
    ("bad-name", "grant_permission", ("", "record", "doctor")),
    ("bad-name", "grant_permission", ("read", None, "doctor")),
    ("unknown-role", "revoke_permission", ("read", "record", "king")),
    ("not-granted", "revoke_permission", ("read", "stock", "doctor")),
    ("not-granted", "revoke_permission", ("read", "record", "doctor")),
    ("not-granted", "revoke_permission", ("fly", "moon", "doctor")),
    ("permission-exists", "add_permission", ("read", "record")),
    ("bad-name", "add_permission", ("read", "")),
    ("unknown-permission", "delete_permission", ("fly", "record")),
    ("unknown-user", "create_session", ("eve", [])),
    ("unknown-role", "create_session", ("anna", ["king"])),
    ("not-authorised", "create_session", ("anna", ["chief", "nurse"])),
    ("not-authorised", "create_session", ("ben", ["matron"])),
    ("not-authorised", "create_session", ("anna", [("chief", "project:credit")])),
    ("dsd-violated", "create_session", ("ben", ["nurse", "clerk"])),
    ("bad-name", "create_session", ("anna", "chief")),
    ("unknown-user", "delete_session", ("eve", "$anna")),
    ("unknown-session", "delete_session", ("anna", "nonsense")),
    ("not-session-owner", "delete_session", ("ben", "$anna")),
    ("unknown-user", "add_active_role", ("eve", "$anna", "doctor")),
    ("unknown-session", "add_active_role", ("anna", "nonsense", "doctor")),
    ("unknown-role", "add_active_role", ("anna", "$anna", "king")),
    ("not-session-owner", "add_active_role", ("ben", "$anna", "nurse")),
    ("not-authorised", "add_active_role", ("anna", "$anna", "nurse")),
    ("dsd-violated", "add_active_role", ("ben", "$ben", "clerk")),
    ("unknown-user", "drop_active_role", ("eve", "$anna", "chief")),
    ("unknown-session", "drop_active_role", ("anna", "nonsense", "chief")),
    ("unknown-role", "drop_active_role", ("anna", "$anna", "king")),
    ("not-session-owner", "drop_active_role", ("ben", "$anna", "chief")),
    ("not-active", "drop_active_role", ("anna", "$anna", "doctor")),
    ("unknown-session", "check_access", ("nonsense", "read", "record")),
    ("unknown-session", "check_access", (None, "read", "record")),
    ("bad-name", "check_access", ("$anna", "", "record")),
    ("bad-name", "check_access", ("$anna", "read", "a\x00")),
    ("unknown-role", "add_inheritance", ("king", "doctor")),
    ("unknown-role", "add_inheritance", ("doctor", "king")),
    ("inheritance-exists", "add_inheritance", ("chief", "doctor")),
    ("inheritance-cycle", "add_inheritance", ("doctor", "doctor")),
    ("inheritance-cycle", "add_inheritance", ("doctor", "chief")),
    ("inheritance-cycle", "add_inheritance", ("reader", "chief")),
    ("ssd-violated", "add_inheritance", ("pharmacist", "doctor")),
    ("ssd-violated", "add_inheritance", ("reader", "pharmacist")),
    ("unknown-role", "delete_inheritance", ("king", "doctor")),
    ("unknown-role", "delete_inheritance", ("doctor", "king")),
    ("no-inheritance", "delete_inheritance", ("chief", "reader")),
    ("no-inheritance", "delete_inheritance", ("doctor", "chief")),
    ("role-exists", "add_ascendant", ("nurse", "doctor")),
    ("unknown-role", "add_ascendant", ("king", "queen")),
    ("bad-name", "add_ascendant", ("", "doctor")),
    ("role-exists", "add_descendant", ("nurse", "doctor")),
    ("unknown-role", "add_descendant", ("king", "queen")),
    ("ssd-set-exists", "create_ssd_set", ("drugs", ["nurse", "clerk"], 2)),
    ("unknown-role", "create_ssd_set", ("new", ["nurse", "king"], 2)),
    ("bad-cardinality", "create_ssd_set", ("new", ["matron", "clerk"], 1)),
    ("bad-cardinality", "create_ssd_set", ("new", ["matron", "clerk"], 3)),
    ("bad-cardinality", "create_ssd_set", ("new", ["matron", "matron"], 2)),
    ("bad-cardinality", "create_ssd_set", ("new", ["matron", "clerk"], True)),
    ("bad-cardinality", "create_ssd_set", ("new", ["matron", "clerk"], 2.0)),
    ("bad-cardinality", "create_ssd_set", ("new", [], 2)),
    ("bad-name", "create_ssd_set", ("", ["matron", "clerk"], 2)),
    ("bad-name", "create_ssd_set", ("new", "matron", 2)),
    ("ssd-violated", "create_ssd_set", ("new", ["nurse", "clerk"], 2)),
    ("ssd-violated", "create_ssd_set", ("new", ["chief", "reader"], 2)),
    ("unknown-ssd-set", "add_ssd_role_member", ("desk", "nurse")),
    ("unknown-role", "add_ssd_role_member", ("drugs", "king")),
    ("already-member", "add_ssd_role_member", ("drugs", "doctor")),
    ("ssd-violated", "add_ssd_role_member", ("drugs", "reader")),
    ("unknown-ssd-set", "delete_ssd_role_member", ("desk", "nurse")),
    ("unknown-role", "delete_ssd_role_member", ("drugs", "king")),
    ("not-member", "delete_ssd_role_member", ("drugs", "nurse")),
    ("bad-cardinality", "delete_ssd_role_member", ("drugs", "doctor")),
    ("unknown-ssd-set", "delete_ssd_set", ("desk",)),
    ("unknown-ssd-set", "set_ssd_set_cardinality", ("desk", 2)),
    ("bad-cardinality", "set_ssd_set_cardinality", ("drugs", 1)),
    ("bad-cardinality", "set_ssd_set_cardinality", ("drugs", 3)),
    ("dsd-set-exists", "create_dsd_set", ("desk", ["doctor", "nurse"], 2)),
    ("unknown-role", "create_dsd_set", ("new", ["nurse", "king"], 2)),
    ("bad-cardinality", "create_dsd_set", ("new", ["nurse", "clerk"], 1)),
    ("bad-cardinality", "create_dsd_set", ("new", ["nurse", "clerk"], 3)),
    ("bad-name", "create_dsd_set", (None, ["nurse", "clerk"], 2)),
    ("unknown-dsd-set", "add_dsd_role_member", ("drugs", "nurse")),
    ("unknown-role", "add_dsd_role_member", ("desk", "king")),
    ("already-member", "add_dsd_role_member", ("desk", "nurse")),
    ("unknown-dsd-set", "delete_dsd_role_member", ("drugs", "nurse")),
    ("unknown-role", "delete_dsd_role_member", ("desk", "king")),
    ("not-member", "delete_dsd_role_member", ("desk", "doctor")),
    ("bad-cardinality", "delete_dsd_role_member", ("desk", "nurse")),
    ("unknown-dsd-set", "delete_dsd_set", ("drugs",)),
    ("unknown-dsd-set", "set_dsd_set_cardinality", ("drugs", 2)),
    ("bad-cardinality", "set_dsd_set_cardinality", ("desk", 0)),
    ("bad-cardinality", "set_dsd_set_cardinality", ("desk", 3)),
    ("unknown-role", "assigned_users", ("king",)),
    ("unknown-user", "assigned_roles", ("eve",)),
    ("unknown-role", "authorized_users", ("king",)),
    ("unknown-user", "authorized_roles", ("eve",)),
    ("unknown-user", "assignments", ("eve",)),
    ("unknown-role", "role_permissions", ("king",)),
    ("unknown-user", "user_permissions", ("eve",)),
    ("unknown-session", "session_roles", ("nonsense",)),
    ("unknown-session", "session_permissions", ("nonsense",)),
    ("unknown-role", "role_operations_on_object", ("king", "record")),
    ("unknown-user", "user_operations_on_object", ("eve", "record")),
    ("bad-name", "permission_roles", ("", "record")),
    ("bad-name", "permission_users", ("read", "")),
    ("unknown-ssd-set", "ssd_role_set_roles", ("desk",)),
    ("unknown-ssd-set", "ssd_role_set_cardinality", ("desk",)),
    ("unknown-dsd-set", "dsd_role_set_roles", ("drugs",)),
    ("unknown-dsd-set", "dsd_role_set_cardinality", ("drugs",)),
]


@pytest.mark.parametrize(
    ("code", "function", "args"),
    REFUSED,
    ids=[f"{function}-{code}-{i}" for i, (code, function, _) in enumerate(REFUSED)],
)
def test_a_failing_precondition_is_named_and_changes_nothing(
    standing: Rbac, sessions: Sessions, code: str, function: str, args: tuple[Any, ...]
):
    before = dump(standing)
    with pytest.raises(RbacError) as caught:
        call(standing, sessions, function, *args)
    assert caught.value.code == code
    assert caught.value.hint
    assert dump(standing) == before


REVIEWS: list[tuple[Any, str, tuple[Any, ...]]] = [
    ({"anna"}, "assigned_users", ("chief",)),
    (set(), "assigned_users", ("doctor",)),
    ({"anna"}, "authorized_users", ("doctor",)),
    ({"anna"}, "authorized_users", ("reader",)),
    ({"nurse", "clerk"}, "assigned_roles", ("ben",)),
    ({"chief"}, "assigned_roles", ("anna",)),
    ({"chief", "doctor", "reader"}, "authorized_roles", ("anna",)),
    (set(), "authorized_roles", ("dora",)),
    ({("nurse", "platform"), ("clerk", "platform")}, "assignments", ("ben",)),
    ({("read", "record"), ("write", "record")}, "role_permissions", ("doctor",)),
    (set(), "role_permissions", ("clerk",)),
    ({("read", "record"), ("write", "record"), ("sign", "discharge")}, "user_permissions", ("anna",)),
    (set(), "user_permissions", ("dora",)),
    ({"chief"}, "session_roles", ("$anna",)),
    ({("read", "record"), ("write", "record"), ("sign", "discharge")}, "session_permissions", ("$anna",)),
    ({("read", "chart")}, "session_permissions", ("$ben",)),
    ({"read", "write"}, "role_operations_on_object", ("chief", "record")),
    (set(), "role_operations_on_object", ("nurse", "record")),
    (set(), "role_operations_on_object", ("nurse", "moon")),
    ({"read", "write"}, "user_operations_on_object", ("anna", "record")),
    (set(), "user_operations_on_object", ("anna", "chart")),
    ({"reader", "doctor", "chief"}, "permission_roles", ("read", "record")),
    ({"chief"}, "permission_roles", ("sign", "discharge")),
    (set(), "permission_roles", ("fly", "moon")),
    ({"anna"}, "permission_users", ("read", "record")),
    (set(), "permission_users", ("fly", "moon")),
    ({"drugs"}, "ssd_role_sets", ()),
    ({"doctor", "pharmacist"}, "ssd_role_set_roles", ("drugs",)),
    (2, "ssd_role_set_cardinality", ("drugs",)),
    ({"desk"}, "dsd_role_sets", ()),
    ({"nurse", "clerk"}, "dsd_role_set_roles", ("desk",)),
    (2, "dsd_role_set_cardinality", ("desk",)),
    (True, "check_access", ("$anna", "read", "record")),
    (True, "check_access", ("$anna", "sign", "discharge")),
    (False, "check_access", ("$anna", "read", "chart")),
    (False, "check_access", ("$anna", "fly", "moon")),
    (False, "check_access", ("$ben", "read", "record")),
]


@pytest.mark.parametrize(
    ("expected", "function", "args"), REVIEWS, ids=[f"{function}-{i}" for i, (_, function, _) in enumerate(REVIEWS)]
)
def test_review_tells_what_is(standing: Rbac, sessions: Sessions, expected: Any, function: str, args: tuple[Any, ...]):
    answer = call(standing, sessions, function, *args)
    assert answer == expected
    assert type(answer) is type(expected)


def _ok(function: str, args: tuple[Any, ...], *after: tuple[Any, str, tuple[Any, ...]]) -> Any:
    return pytest.param(function, args, after, id=f"{function}({', '.join(map(str, args))})")


@pytest.mark.parametrize(
    ("function", "args", "after"),
    [
        _ok("add_user", ("eve",), (set(), "assigned_roles", ("eve",))),
        _ok("delete_user", ("anna",), (set(), "assigned_users", ("chief",))),
        _ok("add_role", ("king",), (set(), "assigned_users", ("king",)), (set(), "role_permissions", ("king",))),
        _ok("delete_role", ("matron",), ({"nurse"}, "permission_roles", ("read", "chart"))),
        _ok(
            "assign_user",
            ("dora", "chief"),
            ({"anna", "dora"}, "assigned_users", ("chief",)),
            ({"chief", "doctor", "reader"}, "authorized_roles", ("dora",)),
        ),
        _ok("assign_user", ("anna", "reader"), ({"chief", "reader"}, "assigned_roles", ("anna",))),
        _ok(
            "deassign_user",
            ("anna", "chief"),
            (set(), "authorized_roles", ("anna",)),
            (set(), "session_roles", ("$anna",)),
            (False, "check_access", ("$anna", "read", "record")),
        ),
        _ok(
            "grant_permission",
            ("read", "chart", "doctor"),
            (True, "check_access", ("$anna", "read", "chart")),
            ({"doctor", "chief", "nurse", "matron"}, "permission_roles", ("read", "chart")),
        ),
        _ok("grant_permission", ("fly", "moon", "chief"), (True, "check_access", ("$anna", "fly", "moon"))),
        _ok("grant_permission", ("read", "record", "reader"), ({("read", "record")}, "role_permissions", ("reader",))),
        _ok(
            "revoke_permission",
            ("read", "record", "reader"),
            (False, "check_access", ("$anna", "read", "record")),
            (set(), "permission_users", ("read", "record")),
        ),
        _ok("add_permission", ("fly", "moon"), (set(), "permission_roles", ("fly", "moon"))),
        _ok("delete_permission", ("read", "record"), ({("write", "record")}, "role_permissions", ("doctor",))),
        _ok("delete_session", ("anna", "$anna")),
        _ok("add_active_role", ("anna", "$anna", "doctor"), ({"chief", "doctor"}, "session_roles", ("$anna",))),
        _ok("add_active_role", ("anna", "$anna", "chief"), ({"chief"}, "session_roles", ("$anna",))),
        _ok(
            "drop_active_role",
            ("anna", "$anna", "chief"),
            (set(), "session_roles", ("$anna",)),
            (False, "check_access", ("$anna", "read", "record")),
            ({"chief"}, "assigned_roles", ("anna",)),
        ),
        _ok("add_inheritance", ("chief", "matron"), (True, "check_access", ("$anna", "read", "chart"))),
        _ok("add_inheritance", ("chief", "reader"), ({"anna"}, "authorized_users", ("reader",))),
        _ok(
            "delete_inheritance",
            ("chief", "doctor"),
            (set(), "authorized_users", ("reader",)),
            (False, "check_access", ("$anna", "read", "record")),
            (True, "check_access", ("$anna", "sign", "discharge")),
        ),
        _ok("add_ascendant", ("king", "chief"), ({"read", "write"}, "role_operations_on_object", ("king", "record"))),
        _ok("add_descendant", ("intern", "doctor"), ({"anna"}, "authorized_users", ("intern",))),
        _ok("create_ssd_set", ("new", ["nurse", "chief", "clerk"], 3), (3, "ssd_role_set_cardinality", ("new",))),
        _ok("create_ssd_set", ("desk", ["nurse", "chief"], 2), ({"drugs", "desk"}, "ssd_role_sets", ())),
        _ok(
            "add_ssd_role_member",
            ("drugs", "nurse"),
            ({"doctor", "pharmacist", "nurse"}, "ssd_role_set_roles", ("drugs",)),
        ),
        _ok("delete_ssd_set", ("drugs",), (set(), "ssd_role_sets", ())),
        _ok("create_dsd_set", ("new", ["doctor", "chief"], 2), ({"desk", "new"}, "dsd_role_sets", ())),
        _ok("add_dsd_role_member", ("desk", "chief"), ({"nurse", "clerk", "chief"}, "dsd_role_set_roles", ("desk",))),
        _ok("delete_dsd_set", ("desk",), (None, "add_active_role", ("ben", "$ben", "clerk"))),
    ],
)
def test_what_is_permitted_has_its_effect(
    rbac: Rbac, sessions: Sessions, function: str, args: tuple[Any, ...], after: Any
):
    call(rbac, sessions, function, *args)
    for expected, review, given in after:
        assert call(rbac, sessions, review, *given) == expected


def test_a_created_session_has_the_roles_it_was_asked_for(rbac: Rbac, sessions: Sessions):
    session = rbac.create_session("anna", ["doctor", "doctor"])
    assert rbac.session_roles(session) == {"doctor"}
    assert rbac.check_access(session, "write", "record")
    assert not rbac.check_access(session, "sign", "discharge")
    assert len(session) >= 22, "fewer than 128 bits"
    assert session != rbac.create_session("anna", ["doctor"])
    assert rbac.session_roles(rbac.create_session("dora", [])) == set()


def test_a_deleted_user_or_session_gives_access_to_nothing(rbac: Rbac, sessions: Sessions):
    rbac.delete_user("anna")
    rbac.delete_session("ben", sessions["$ben"])
    for session in sessions.values():
        with pytest.raises(RbacError) as caught:
            rbac.check_access(session, "read", "record")
        assert caught.value.code == "unknown-session"
    rbac.add_user("anna")
    assert rbac.assigned_roles("anna") == set()


def test_a_deleted_role_is_gone_from_everywhere(rbac: Rbac, sessions: Sessions):
    rbac.add_ssd_role_member("drugs", "nurse")
    rbac.add_active_role("anna", sessions["$anna"], "reader")
    rbac.delete_role("doctor")
    assert rbac.ssd_role_set_roles("drugs") == {"pharmacist", "nurse"}
    assert rbac.authorized_roles("anna") == {"chief"}
    assert rbac.session_roles(sessions["$anna"]) == {"chief"}, "what was held through it is dropped too"
    assert rbac.permission_roles("write", "record") == set()
    assert not rbac.check_access(sessions["$anna"], "read", "record")


def test_cardinalities_follow_the_members(rbac: Rbac, sessions: Sessions):
    for kind, name in (("ssd", "drugs"), ("dsd", "desk")):
        getattr(rbac, f"add_{kind}_role_member")(name, "matron")
        getattr(rbac, f"set_{kind}_set_cardinality")(name, 3)
        assert getattr(rbac, f"{kind}_role_set_cardinality")(name) == 3
        with pytest.raises(RbacError):
            getattr(rbac, f"delete_{kind}_role_member")(name, "matron")
        getattr(rbac, f"set_{kind}_set_cardinality")(name, 2)
        getattr(rbac, f"delete_{kind}_role_member")(name, "matron")
        assert "matron" not in getattr(rbac, f"{kind}_role_set_roles")(name)


def test_a_lower_cardinality_is_held_against_what_is(rbac: Rbac, sessions: Sessions):
    rbac.create_ssd_set("three", ["nurse", "clerk", "matron"], 3)
    before = dump(rbac)
    with pytest.raises(RbacError, match="ben") as caught:
        rbac.set_ssd_set_cardinality("three", 2)
    assert caught.value.code == "ssd-violated"
    rbac.delete_dsd_set("desk")
    rbac.add_active_role("ben", sessions["$ben"], "clerk")
    with pytest.raises(RbacError) as caught:
        rbac.create_dsd_set("desk", ["nurse", "clerk"], 2)
    assert caught.value.code == "dsd-violated"
    rbac.create_dsd_set("desk", ["nurse", "clerk", "matron"], 3)
    with pytest.raises(RbacError) as caught:
        rbac.set_dsd_set_cardinality("desk", 2)
    assert caught.value.code == "dsd-violated"
    rbac.create_dsd_set("other", ["nurse", "matron"], 2)
    with pytest.raises(RbacError) as caught:
        rbac.add_dsd_role_member("other", "clerk")
    assert caught.value.code == "dsd-violated"
    assert before != dump(rbac)


def test_a_violation_names_everybody_concerned(rbac: Rbac, sessions: Sessions):
    rbac.add_user("eve")
    rbac.assign_user("eve", "nurse")
    rbac.assign_user("eve", "clerk")
    with pytest.raises(RbacError) as caught:
        rbac.create_ssd_set("new", ["nurse", "clerk"], 2)
    assert caught.value.details["conflicts"] == [
        {"exclusion": "new", "user": user, "roles": ["clerk", "nurse"]} for user in ("ben", "eve")
    ]
    with pytest.raises(RbacError) as caught:
        rbac.add_active_role("ben", sessions["$ben"], "clerk")
    (conflict,) = caught.value.details["conflicts"]
    assert (conflict["user"], conflict["roles"]) == ("ben", ["clerk", "nurse"])
    assert sessions["$ben"] not in str(caught.value.to_dict()), "the id of a session is not told"


def test_errors_are_of_the_packages_family_and_cross_borders(rbac: Rbac, sessions: Sessions):
    with pytest.raises(RbacError) as caught:
        rbac.assign_user("carla", "doctor")
    again = FlaasError.from_dict(caught.value.to_dict())
    assert isinstance(again, RbacError)
    assert (again.code, again.message) == (caught.value.code, caught.value.message)


def test_every_function_of_the_standard_is_there():
    for name in STANDARD.split():
        function: Callable[..., Any] = getattr(Rbac, name)
        assert callable(function)
        assert function.__doc__


STANDARD = """
add_user delete_user add_role delete_role assign_user deassign_user grant_permission revoke_permission create_session
delete_session add_active_role drop_active_role check_access add_inheritance delete_inheritance add_ascendant
add_descendant create_ssd_set add_ssd_role_member delete_ssd_role_member delete_ssd_set set_ssd_set_cardinality
create_dsd_set add_dsd_role_member delete_dsd_role_member delete_dsd_set set_dsd_set_cardinality assigned_users
assigned_roles authorized_users authorized_roles role_permissions user_permissions session_roles session_permissions
role_operations_on_object user_operations_on_object ssd_role_sets ssd_role_set_roles ssd_role_set_cardinality
dsd_role_sets dsd_role_set_roles dsd_role_set_cardinality permission_roles permission_users
"""


@pytest.mark.parametrize(
    ("function", "args", "left"),
    [("delete_inheritance", ("chief", "doctor"), {"chief"}), ("deassign_user", ("anna", "chief"), set())],
)
def test_open_sessions_lose_what_was_held_through_it(
    rbac: Rbac, sessions: Sessions, function: str, args: tuple[str, str], left: set[str]
):
    rbac.add_active_role("anna", sessions["$anna"], "reader")
    call(rbac, sessions, function, *args)
    assert rbac.session_roles(sessions["$anna"]) == left
