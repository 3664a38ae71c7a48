"""The data base and its schema, settings, and the first administrator."""

from __future__ import annotations

import gc
import threading
import weakref
from datetime import UTC, datetime, timedelta, timezone

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, func, select, text

from flaas_jupyter.coordination import database as databases
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.coordination.founding import bootstrap, found
from flaas_jupyter.coordination.settings import Settings
from flaas_jupyter.coordination.tables import Base, Organisation, Round, Run
from flaas_jupyter.errors import Conflict, InvalidInput, Unreachable
from flaas_jupyter.governance.permissions import GOVERNANCE_ADMIN, ORG_ADMIN


@pytest.fixture
def database(fresh_url):
    opened = Database(fresh_url)
    yield opened
    opened.close()


def test_migrations_make_exactly_the_tables_of_the_code(database):
    database.migrate()
    database.migrate()
    with database.reading() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_runs_and_reports_of_before_there_were_rules_with_options_are_taken_over(database):
    report = {"number": 1, "clients": [{"node": "aa", "examples": 3, "weight": 1.0}], "error_bound": None}
    request = {"rounds": 5, "aggregation": "fedavg", "seed": None}
    database.migrate("0001")
    now = datetime.now(UTC)
    run = {
        "id": "r", "project": "p", "dataset": "d", "request": request, "needed": 1, "state": "completed", "term": 1,
        "round": 1, "created_by": "dev", "organisation": "lab", "created": now,
    }  # fmt: skip
    rows = {
        "organisations": {"id": "lab", "name": "Lab", "created": now},
        "projects": {"id": "p", "name": "P", "description": "", "domain_key": "ab", "created": now},
        "runs": run,
        "rounds": {"run": 1, "number": 1, "term": 1, "report": report},
    }
    with database._alone() as connection:
        of_then = MetaData()
        of_then.reflect(connection, only=list(rows))
        for table, row in rows.items():
            connection.execute(of_then.tables[table].insert().values(row))

    def stored():
        with database.reading() as session:
            return session.scalars(select(Run.request)).one(), session.scalars(select(Round.report)).one()

    database.migrate()
    taken_over, reported = stored()
    assert taken_over == {**request, "aggregation_options": {}, "privacy": None}
    assert reported == {**report, "epsilon": None, "clients": [{**report["clients"][0], "columns": {}}]}
    database.migrate("0001")
    assert stored() == (request, report)


def test_processes_that_start_together_migrate_once(fresh_url):
    opened = [Database(fresh_url) for _ in range(4)]
    failures = []

    def migrate(database):
        try:
            database.migrate()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=migrate, args=(database,)) for database in opened]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for database in opened:
        database.close()
    assert failures == []


def test_a_data_base_of_a_newer_version_is_left_alone(database):
    database.migrate()
    with database._alone() as connection:  # as who has signed in: the API's own role could not
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Conflict, match="newer") as caught:
        database.migrate()
    assert caught.value.code == "database-newer"


def test_writers_take_turns(database):
    database.migrate()
    at_work, most, lock = 0, 0, threading.Lock()

    def write(number: int) -> None:
        nonlocal at_work, most
        for step in range(10):
            with database.writing() as session:
                with lock:
                    at_work += 1
                    most = max(most, at_work)
                count = session.scalar(select(func.count()).select_from(Organisation))
                name = f"{number}-{step}"
                session.add(Organisation(id=name, name=str(count), created=datetime.now(UTC)))
                session.flush()
                with lock:
                    at_work -= 1

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    with database.reading() as session:
        counts = sorted(int(name) for name in session.scalars(select(Organisation.name)))
        assert counts == list(range(40)), "each has seen what all before it have done"


def test_reading_sees_one_snapshot_and_changes_nothing(database):
    database.migrate()
    with database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Organisation)) == 0
        with database.writing() as other:
            other.add(Organisation(id="new", name="New", created=datetime.now(UTC)))
        assert session.scalar(select(func.count()).select_from(Organisation)) == 0


def test_a_data_base_that_is_closed_lets_go_of_who_listened(fresh_url):
    class Ear:
        def hear(self, error: BaseException) -> None:
            raise AssertionError(error)

    found(fresh_url)
    database, ear = Database(fresh_url), Ear()
    database.on_errors(ear.hear)
    with database.writing() as session:  # what the mappers remember of it outlives the data base
        session.add(Organisation(id="north", name="North", created=datetime.now(UTC)))
    listening = weakref.ref(ear)
    database.close()
    del database, session, ear
    gc.collect()
    assert listening() is None


def test_times_are_kept_in_utc(database):
    database.migrate()
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    with database.writing() as session:
        session.add(Organisation(id="x", name="X", created=noon))
    with database.reading() as session:
        read = session.scalars(select(Organisation.created)).one()
    assert (read, read.utcoffset()) == (noon, timedelta(0))


def test_a_first_start_by_a_program_makes_administrators_once(fresh_url):
    made = found(fresh_url)
    assert set(made) == {GOVERNANCE_ADMIN, ORG_ADMIN}
    assert len(set(made.values())) == 2
    assert found(fresh_url) == {}
    assert bootstrap(fresh_url) is None, "nobody is invited where there is an administrator"


def test_a_writer_does_not_wait_for_ever_for_one_that_is_stuck(fresh_url, monkeypatch):
    if not fresh_url.startswith("sqlite"):
        pytest.skip("see test_row_level_security")
    monkeypatch.setattr(databases, "_BUSY_SECONDS", 0.05)
    database = Database(fresh_url)
    database.migrate()
    with database.writing(), pytest.raises(Unreachable) as caught, database.noting():
        raise AssertionError("it had no turn")
    assert caught.value.code == "database-unavailable"
    with database.writing() as session:
        assert session.scalar(text("SELECT 1")) == 1
    database.close()


@pytest.mark.parametrize(
    "url", ["", "nonsense", "mysql://x/y", "sqlite://", "sqlite:///:memory:", "oracle://secret:password@x"]
)
def test_a_url_that_cannot_be_used_is_refused_without_telling_it(url):
    with pytest.raises(InvalidInput) as caught:
        Database(url)
    assert caught.value.code == "bad-database-url"
    assert "password" not in str(caught.value).replace("user:password@host", "")


@pytest.mark.parametrize(
    "url", ["sqlite:////nowhere/at/all.db", "postgresql://flaas:secret@127.0.0.1:9/x?connect_timeout=2"]
)
def test_a_data_base_that_is_not_there_is_told(url):
    with pytest.raises(Unreachable) as caught:
        bootstrap(url)
    assert caught.value.code == "database-unreachable"
    assert "secret" not in str(caught.value)


def test_settings_come_from_the_environment(monkeypatch, tmp_path):
    environment = {"FLAAS_AGGREGATOR_TIMEOUT": "2.5", "FLAAS_BODY_LIMIT": "1000", "FLAAS_PUBLIC_URL": "https://x"}
    settings = Settings.from_environment("sqlite:///x.db", environment)
    assert (settings.aggregator_timeout, settings.body_limit) == (2.5, 1000)
    assert (settings.public_url, settings.patience) == ("https://x", 120.0)
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path))
    monkeypatch.delenv("FLAAS_DATABASE_URL", raising=False)
    assert Settings.from_environment().database_url == f"sqlite:///{tmp_path}/coordination.db"
    monkeypatch.setenv("FLAAS_DATABASE_URL", "postgresql://x/y")
    assert Settings.from_environment().database_url == "postgresql://x/y"
    for wrong in ("soon", "-1", "nan", "inf"):
        with pytest.raises(InvalidInput, match="FLAAS_PATIENCE"):
            Settings.from_environment("sqlite:///x.db", {"FLAAS_PATIENCE": wrong})
