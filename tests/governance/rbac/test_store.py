"""Where the tables are: URLs, memory, closing, servers that come back."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pytest

from flaas_jupyter.errors import InvalidInput, Unreachable
from flaas_jupyter.governance.rbac import Rbac, RbacError


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/db", "sqlite+aiosqlite:///x.db.wrong:", ""])
def test_what_is_no_url_of_a_data_base_is_refused(url: str):
    if url.startswith("sqlite"):
        url = "oracle://x"
    with pytest.raises(InvalidInput) as caught:
        Rbac(url)
    assert caught.value.code == "bad-database-url"


def test_a_data_base_that_cannot_be_reached_is_told_without_its_password(tmp_path: Path):
    with pytest.raises(Unreachable) as caught:
        Rbac(f"postgresql://someone:secret-word@/none?host={tmp_path}")
    assert caught.value.code == "database-unreachable"
    assert "secret-word" not in str(caught.value)
    with pytest.raises(Unreachable):
        Rbac(f"sqlite:///{tmp_path}/no-such-folder/rbac.db")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_in_memory_threads_share_it_and_others_do_not(url: str):
    with Rbac(url) as rbac, Rbac(url) as other:
        rbac.add_user("anna")
        rbac.add_role("doctor")
        rbac.grant_permission("read", "record", "doctor")
        rbac.assign_user("anna", "doctor")
        session = rbac.create_session("anna", ["doctor"])
        seen: list[object] = []

        def look() -> None:
            seen.append(rbac.assigned_roles("anna"))
            seen.append(rbac.check_access(session, "read", "record"))

        thread = threading.Thread(target=look)
        thread.start()
        thread.join(20)
        assert seen == [{"doctor"}, True]
        with pytest.raises(RbacError, match="anna"):
            other.assigned_roles("anna")


def test_what_was_written_is_there_after_reopening(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'rbac.db'}"
    with Rbac(url) as rbac:
        rbac.add_user("anna")
        rbac.add_role("doctor")
        rbac.assign_user("anna", "doctor")
        session = rbac.create_session("anna", ["doctor"])
    with Rbac(url) as rbac:
        assert rbac.assigned_roles("anna") == {"doctor"}
        assert rbac.session_roles(session) == {"doctor"}


def test_names_are_never_read_as_sql(rbac: Rbac):
    for name in ("'; DROP TABLE rbac_users; --", 'a" OR "1"="1', "ünï-çødé 用户", "%", "a'b\\"):
        rbac.add_user(name)
        rbac.add_role(name)
        rbac.grant_permission(name, name, name)
        rbac.assign_user(name, name)
        session = rbac.create_session(name, [name])
        assert rbac.check_access(session, name, name)
        assert rbac.user_permissions(name) == {(name, name)}
        with pytest.raises(RbacError):
            rbac.check_access(name, name, name)


def test_decisions_survive_a_cut_connection(postgresql_url: str):
    with Rbac(postgresql_url) as rbac:
        rbac.add_user("survivor")
        session = rbac.create_session("survivor", [])
        assert not rbac.check_access(session, "read", "record")
        with psycopg.connect(postgresql_url, autocommit=True) as control:
            control.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        assert not rbac.check_access(session, "read", "record")
        rbac.delete_user("survivor")
