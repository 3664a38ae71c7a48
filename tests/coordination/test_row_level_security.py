"""PostgreSQL by itself holds each organisation to its own rows: nothing here goes through the scoped sessions."""

from __future__ import annotations

import contextlib
import secrets
import threading

import psycopg
import pytest
from governance.isolation.population import ELSEWHERE, NORTH, inserts, rows_of, seen, tables
from sqlalchemy import create_engine, delete, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError, OperationalError

from flaas_jupyter.coordination.database import _WRITERS_LOCK, Database, is_away
from flaas_jupyter.coordination.tables import Base, Node, Organisation
from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.governance.isolation import OWNERSHIP, Tenant, across, policies, roles, rules, settings

OURS, THEIRS = rows_of(NORTH), rows_of(ELSEWHERE)
north, elsewhere = Tenant(NORTH), Tenant(ELSEWHERE)
_MARKS = (
    "SELECT polrelid::regclass::text, obj_description(oid, 'pg_policy') FROM pg_policy WHERE polname = 'flaas_sees'"
)


@pytest.fixture(scope="module")
def kept(cluster):
    """A data base with a row of two organisations in every table."""
    name = cluster.create()
    opened = Database(cluster.url(name))
    opened.migrate()
    with opened.writing() as session:
        connection = session.connection()
        for statement in (*(delete(table) for table in reversed(tables()) if not table.name.startswith("audit")),
                          *inserts(OURS), *inserts(THEIRS)):  # fmt: skip
            connection.execute(statement)
    yield opened
    opened.close()
    cluster.drop(name)


@pytest.fixture
def working(kept):
    """Return what opens a plain connection of the API's, as a tenant if one is named; nothing is kept."""

    @contextlib.contextmanager
    def connect(tenant=None):
        with kept._writers.connect() as connection, connection.begin() as transaction:
            if tenant is not None:
                settings.enter(connection, tenant)
            yield connection
            transaction.rollback()

    return connect


def test_every_table_has_it_forced_and_the_rules_of_today(kept):
    forced = text("SELECT relname FROM pg_class WHERE relkind = 'r' AND relrowsecurity AND relforcerowsecurity")
    with kept._writers.connect() as connection:
        assert set(connection.scalars(forced)) == {table.name for table in tables()}
        marks = dict(connection.execute(text(_MARKS)).all())
    assert marks == {table: policies.mark(table) for table in OWNERSHIP}, "a rule was changed without a migration"


def test_a_superusers_url_ends_up_without_a_superusers_rights(working):
    with working() as connection:
        user = "SELECT rolname, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        assert connection.execute(text(user)).one() == ("flaas_app", False, False)
        for statement in (
            "UPDATE alembic_version SET version_num = ''",
            "ALTER TABLE nodes DISABLE ROW LEVEL SECURITY",
            "DROP POLICY flaas_sees ON nodes",
            "TRUNCATE events",
        ):
            with pytest.raises(DBAPIError, match=r"permission denied|must be owner"), connection.begin_nested():
                connection.execute(text(statement))


def test_a_tenant_sees_its_own_rows(working):
    for tenant, theirs in ((north, THEIRS), (elsewhere, OURS)):
        with working(tenant) as connection:
            for table in sorted(OWNERSHIP):
                rows, of = Base.metadata.tables[table], f"{table} as {tenant.organisation} sees it"
                assert connection.scalar(select(func.count()).select_from(rows)) == seen(table), of
                foreign = select(func.count()).select_from(rows).where(*key_of(table, theirs))
                assert connection.scalar(foreign) == (1 if seen(table) == 2 else 0), of


def test_whoever_has_not_said_who_it_is_sees_nothing(working):
    with working() as connection:
        for table in sorted(OWNERSHIP):
            rows = Base.metadata.tables[table]
            assert connection.scalar(select(func.count()).select_from(rows)) == 0, table
            require_refused(connection, table)


def test_a_tenant_writes_none_but_its_own_rows(working):
    with working(north) as connection:
        for table in sorted(OWNERSHIP):
            rows, (first, *_) = Base.metadata.tables[table], Base.metadata.tables[table].primary_key
            theirs = key_of(table, THEIRS)
            assert connection.execute(update(rows).where(*theirs).values({first.name: first})).rowcount == 0, table
            assert connection.execute(delete(rows).where(*theirs)).rowcount == 0, table
            if not isinstance(OWNERSHIP[table].adding, rules.Everybody):
                require_refused(connection, table)


def key_of(table, rows):
    """Return the condition that finds the row of `table` among `rows`."""
    return [column == rows[table][column.name] for column in Base.metadata.tables[table].primary_key]


def require_refused(connection, table):
    """Check that a row of the other organisation cannot be added, and go on in the same transaction."""
    refused = "an audit entry must follow the last one" if table == "audit_entries" else "row-level security"
    savepoint, told = connection.begin_nested(), f"{table}: a row of another organisation was added"
    try:
        connection.execute(insert(Base.metadata.tables[table]).values(THEIRS[table]))
    except DBAPIError as error:
        told = str(error)
    savepoint.rollback()
    assert "row-level security" in told or refused in told, f"{table}: {told}"


def test_a_row_is_not_handed_to_others(working):
    for table, change in (("nodes", {"organisation": ELSEWHERE}), ("runs", {"project": THEIRS["projects"]["id"]})):
        with working(north) as connection, pytest.raises(DBAPIError, match="row-level security"):
            connection.execute(update(Base.metadata.tables[table]).values(change))


def test_a_node_sees_less_than_its_organisation(working):
    with working(Tenant(NORTH, node=OURS["nodes"]["id"])) as connection:
        counts = {
            table: connection.scalar(select(func.count()).select_from(Base.metadata.tables[table]))
            for table in ("projects", "nodes", "runs", "charges", "tokens", "cloud_accounts", "persons")
        }
    assert counts == {
        "projects": 1, "nodes": 1, "runs": 1, "charges": 0, "tokens": 0, "cloud_accounts": 0, "persons": 0,
    }  # fmt: skip


def test_tenants_that_share_a_pooled_connection_share_nothing_else(kept):
    backends = set()
    for turn in range(12):
        tenant = (north, elsewhere)[turn % 2]
        with contextlib.suppress(ZeroDivisionError), kept.noting(tenant) as session:
            connection = session.connection()
            backends.add(connection.scalar(text("SELECT pg_backend_pid()")))
            nodes = text("SELECT organisation FROM nodes")
            assert connection.scalars(nodes).all() == [tenant.organisation]
            if turn % 3 == 0:
                session.rollback()  # a transaction that follows in the same session is the same tenant's
                assert session.connection().scalars(nodes).all() == [tenant.organisation]
            if turn % 4 == 0:
                1 / 0  # noqa: B018
        with kept._writers.connect() as connection:
            assert connection.scalars(text("SELECT organisation FROM nodes")).all() == []
            assert not connection.scalar(text("SELECT current_setting('flaas.organisation', true)"))
    assert len(backends) < 12, "connections were used again"


def test_tenants_at_the_same_time_see_their_own(kept):
    seen_by, barrier = [], threading.Barrier(8)

    def look(tenant):
        barrier.wait(20)
        for _ in range(10):
            with kept.reading(tenant) as session:
                organisations = session.connection().scalars(text("SELECT organisation FROM nodes")).all()
                seen_by.append((tenant.organisation, tuple(organisations)))

    threads = [threading.Thread(target=look, args=((north, elsewhere)[number % 2],)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen_by) == 80
    assert set(seen_by) == {(NORTH, (NORTH,)), (ELSEWHERE, (ELSEWHERE,))}


def test_across_the_wall_and_back_also_when_it_fails(kept):
    count = text("SELECT count(*) FROM nodes")
    with kept.reading(north) as session:
        with across(session, "the test looks over the wall"):
            assert session.scalar(count) == 2
        assert session.scalar(count) == 1
        with pytest.raises(DBAPIError), session.begin_nested(), across(session, "it fails"):
            session.execute(text("SELECT 1 / 0"))
        assert session.scalar(count) == 1
    with kept.reading(north) as session:
        with pytest.raises(DBAPIError), across(session, "it fails"):
            session.execute(text("SELECT 1 / 0"))
        session.rollback()
        assert session.scalar(count) == 1


def test_what_is_changed_across_is_known_afterwards(kept):
    with kept.noting(north) as session:
        with across(session, "a project is made"):
            project = {**OURS["projects"], "id": "new"}
            session.connection().execute(insert(Base.metadata.tables["projects"]).values(project))
            joined = {"project": "new", "organisation": NORTH}
            session.connection().execute(insert(Base.metadata.tables["project_organisations"]).values(joined))
        ids = session.connection().scalars(text("SELECT id FROM projects")).all()
        assert set(ids) == {"new", OURS["projects"]["id"]}
        session.rollback()


@pytest.fixture
def role(cluster):
    """Return what makes a role, and a data base of its own."""
    made = []

    def make(rights):
        user, name = f"role_{secrets.token_hex(4)}", cluster.create()
        cluster.execute(f"CREATE ROLE {user} LOGIN {rights}", f"ALTER DATABASE {name} OWNER TO {user}")
        made.append((user, name))
        return user, name

    yield make
    for user, name in made:
        cluster.drop(name)
        cluster.execute(f"DROP ROLE {user}")


def test_the_owner_of_the_tables_is_subject_to_the_policies_too(cluster, role):
    user, name = role("NOSUPERUSER NOBYPASSRLS")
    database = Database(cluster.url(name, user))
    database.migrate()
    with database.writing() as session:
        assert session.scalar(text("SELECT current_user")) == user
        session.add(Organisation(**OURS["organisations"]))
    with psycopg.connect(cluster.url(name, user)) as connection:
        assert connection.execute("SELECT count(*) FROM organisations").fetchone() == (0,)
    with database.reading(north) as session:
        assert session.scalar(text("SELECT count(*) FROM organisations")) == 1
    with database.reading(elsewhere) as session:
        assert session.scalar(text("SELECT count(*) FROM organisations")) == 0
    database.close()


def test_a_role_that_goes_past_the_policies_is_not_worked_as(cluster, role, kept):
    user, name = role("NOSUPERUSER BYPASSRLS")
    database = Database(cluster.url(name, user))
    with pytest.raises(InvalidInput) as caught:
        database.migrate()
    assert caught.value.code == "database-role-bypasses-isolation"
    for open_session in (database.reading, database.writing, database.noting):
        with pytest.raises((InvalidInput, DBAPIError)), open_session() as session:
            session.execute(text("SELECT 1"))
    remedy, _, other = caught.value.hint.removeprefix("As an administrator of PostgreSQL: ").partition("; or, ")
    statements = [statement for statement in remedy.split("; ") if not statement.startswith("CREATE ROLE")]
    cluster.execute(*statements, name=name)
    database.migrate()
    with database.reading() as session:
        assert session.scalar(text("SELECT current_user")) == "flaas_app"
    database.close()
    cluster.execute(f"REVOKE flaas_app FROM {user}", other.rpartition(": ")[2])
    database = Database(cluster.url(name, user))
    database.migrate()
    with database.reading() as session:
        assert session.scalar(text("SELECT current_user")) == user
    database.close()


def test_a_role_that_may_not_give_rights_is_named_and_not_the_statement_that_failed(cluster, role):
    user, name = role("NOSUPERUSER BYPASSRLS")
    Database(cluster.url(name)).migrate()
    cluster.execute(f"GRANT flaas_app TO {user}")
    cluster.execute("CREATE TABLE somebody_elses (id int)", name=name)
    engine = create_engine(cluster.url(name, user).replace("postgresql://", "postgresql+psycopg://"))
    with pytest.raises(InvalidInput) as caught, engine.begin() as connection:
        roles.prepare(connection)
    engine.dispose()
    assert (caught.value.code, caught.value.details["role"]) == ("database-role-bypasses-isolation", user)


# ---- nobody waits for ever ------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(cluster):
    """A data base whose connections give up after a tenth of a second, as they do after 20 s otherwise."""
    name = cluster.create()
    database = Database(cluster.url(name) + "&options=-c%20lock_timeout%3D100")
    database.migrate()
    with database.writing() as session:
        session.add(Organisation(**OURS["organisations"]))
        session.flush()
        session.add(Node(**{**OURS["nodes"], "stream": None}))
    yield database
    database.close()
    cluster.drop(name)


def test_connections_have_limits(kept):
    with kept.reading() as session:
        limits = [session.scalar(text(f"SHOW {name}")) for name in
                  ("lock_timeout", "idle_in_transaction_session_timeout")]  # fmt: skip
    assert limits == ["20s", "1min"]


def test_a_writer_whose_turn_does_not_come_gives_up(impatient):
    with impatient.noting() as holding:
        holding.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _WRITERS_LOCK})
        with pytest.raises(OperationalError) as caught, impatient.writing():
            raise AssertionError("it had no turn")
        assert is_away(caught.value)
    with impatient.writing() as session:
        assert session.scalar(select(func.count()).select_from(Node)) == 1


def test_a_row_that_somebody_else_holds_is_given_up(impatient):
    with impatient.noting() as holding:
        holding.execute(update(Node).values(version="1"))
        with pytest.raises(OperationalError) as caught, impatient.writing() as session:
            session.execute(update(Node).values(version="2"))
        assert is_away(caught.value)
    with impatient.reading() as session:
        assert session.scalars(select(Node.version)).all() == ["1"]
