"""Data bases: PostgreSQL as a server, SQLite as a file; one SELECT, which cannot write however it is written."""

import sqlite3

import numpy as np
import pytest
from tables import frame, people, same

from flaas_jupyter.errors import FlaasError
from flaas_jupyter.execution.sources.secrets import SecretStore
from flaas_jupyter.execution.sources.select_only import single_select

SECRET = "Ms. Secret"
TABLE = people(500)


def refused(code, call, *args, **options) -> FlaasError:
    with pytest.raises(FlaasError) as error:
        call(*args, **options)
    assert error.value.code == code, error.value
    assert SECRET not in str(error.value)
    return error.value


@pytest.fixture(scope="module")
def postgres(cluster):
    name = cluster.create()
    rows = ", ".join(
        f"({i}, {row.age}, {'NULL' if np.isnan(row.income) else repr(float(row.income))}, {row.owns}, "
        f"'{row.town.replace(chr(39), chr(39) * 2)}')"
        for i, row in enumerate(TABLE.itertuples())
    )
    cluster.execute(
        "CREATE TABLE people (n int, age bigint, income double precision, owns boolean, town text)",
        f"INSERT INTO people VALUES {rows}",
        f"CREATE TABLE secret AS SELECT '{SECRET}'::text AS name, 1.5::numeric AS amount, now() AS at, '{{}}'::json j",
        "CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'INSERT INTO people (n) VALUES (-1) RETURNING n'",
        name=name,
    )
    yield cluster.url(name)
    cluster.drop(name)


@pytest.fixture
def lite(tmp_path):
    path = tmp_path / "people.db"
    with sqlite3.connect(path) as connection:
        TABLE.to_sql("people", connection, index_label="n")
        connection.execute("CREATE TABLE secret (name TEXT, amount)")
        connection.executemany("INSERT INTO secret VALUES (?, ?)", [(SECRET, 1), (SECRET, 2.5)])
    connection.close()
    return f"sqlite:///{path}"


ALL = "SELECT age, income, owns, town FROM people ORDER BY n"


@pytest.mark.parametrize("where", ["postgres", "lite"])
def test_an_answer_streams_in_the_types_of_the_data_base(request, opened, where):
    source = opened(request.getfixturevalue(where), query=ALL)
    assert source.kind == "sql"
    found = frame(source, rows=64)
    same(found.assign(owns=found["owns"].astype(bool)), TABLE)
    assert max(len(batch) for batch in source.batches(rows=64)) == 64
    assert frame(source, ["town", "age"])["age"].tolist() == TABLE["age"].tolist()
    assert str(source.schema().field("age").type) == "int64"
    assert source.stamp() == source.stamp()
    assert source.stamp() != opened(source.url, query=f"{ALL} LIMIT 10").stamp()
    assert len(frame(opened(source.url, query="SELECT age FROM people WHERE age < 0"))) == 0
    refused("unknown-column", lambda: list(source.batches(["wage"])))


def test_the_stamp_changes_with_the_answer_and_not_otherwise(cluster, opened, lite, tmp_path):
    name = cluster.create()
    cluster.execute("CREATE TABLE t (a int, b int)", "INSERT INTO t VALUES (1, 2)", name=name)
    source = opened(cluster.url(name), query="SELECT a FROM t")
    before = source.stamp()
    cluster.execute("UPDATE t SET b = 3", name=name)
    assert source.stamp() == before
    cluster.execute("UPDATE t SET a = 3", name=name)
    assert source.stamp() != before
    cluster.drop(name)
    other = opened(lite, query="SELECT age FROM people")
    before = other.stamp()
    with sqlite3.connect(tmp_path / "people.db") as connection:
        connection.execute("UPDATE people SET age = age + 1 WHERE n = 3")
    connection.close()
    assert other.stamp() != before


def test_kinds_of_values(postgres, lite, opened):
    source = opened(
        postgres, query="SELECT amount, at, 3::smallint AS s, NULL::text AS nothing, 'a'::bytea AS raw FROM secret"
    )
    kinds = [str(kind) for kind in source.schema().types]
    assert kinds == ["double", "timestamp[us, tz=UTC]", "int16", "string", "binary"]
    assert next(source.batches()).column("amount").to_pylist() == [1.5]
    told = refused("unreadable-data", opened(postgres, query="SELECT j FROM secret").schema)
    assert "CAST(j AS" in told.hint
    mixed = opened(lite, query="SELECT amount FROM secret")
    assert frame(mixed)["amount"].tolist() == [1, 2.5]
    refused("unreadable-data", opened(lite, query="SELECT name FROM secret UNION ALL SELECT 1").schema)
    refused("duplicate-columns", opened(lite, query="SELECT age, age FROM people").schema)


WRITING = (
    "DELETE FROM people",
    "INSERT INTO people (n) VALUES (1)",
    "UPDATE people SET age = 0",
    "DROP TABLE people",
    "TRUNCATE people",
    "CREATE TABLE t AS SELECT 1",
    "SELECT 1; DROP TABLE people",
    "SELECT 1; COMMIT; DROP TABLE people; --",
    "SELECT 1) AS q; COMMIT; DROP TABLE people; --",
    "SELECT age INTO copy FROM people",
    "SELECT age FROM people FOR UPDATE",
    "WITH gone AS (DELETE FROM people RETURNING *) SELECT * FROM gone",
    "WITH put AS (INSERT INTO people (n) VALUES (9) RETURNING n) SELECT n FROM put",
    "EXPLAIN ANALYZE DELETE FROM people",
    "COPY people TO '/tmp/stolen'",
    "COPY people TO PROGRAM 'sh'",
    "CALL writes()",
    "DO $$ BEGIN DELETE FROM people; END $$",
    "SET transaction_read_only = off",
    "BEGIN",
    "COMMIT",
    "VACUUM",
    "PRAGMA query_only = 0",
    "ATTACH DATABASE '/tmp/other.db' AS other",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_catalog.pg_read_file('/etc/passwd')",
    "SELECT \"pg_read_file\"('/etc/passwd')",
    "SELECT PG_SLEEP(1000)",
    "SELECT * FROM dblink('host=other', 'DELETE FROM people') AS t(a int)",
    "SELECT lo_import('/etc/passwd')",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "SELECT nextval('s')",
    "SELECT ts_stat('SELECT writes()')",
    "SELECT ts_rewrite('a'::tsquery, 'SELECT writes()')",
    "SELECT * FROM crosstab('SELECT writes()') AS t(a int)",
    "SELECT * FROM crosstab4('SELECT writes()')",
    "SELECT * FROM connectby('people', 'a', 'b', 'c', 0) AS t(a int)",
    "SELECT query_to_xml('SELECT writes()', true, true, '')",
    "SELECT query_to_xml_and_xmlschema('SELECT writes()', true, true, '')",
    "SELECT pg_stat_reset()",
    "SELECT pg_stat_statements_reset()",
    "SELECT pg_wal_replay_pause()",
    "SELECT pg_backup_start('x')",
    "SELECT pg_start_backup('x')",
    "SELECT pg_stop_backup()",
    "SELECT pg_export_snapshot()",
    "SELECT pg_log_backend_memory_contexts(1)",
    "SELECT pg_catalog.pg_whatever_comes_next()",
    'SELECT (pg_catalog."pg_stat_reset"())::text',
    "SELECT dblink_exec('host=other', 'DELETE FROM people')",
    "SELECT loread(lo_open(1, 262144), 10)",
    "SELECT age FROM people WHERE pg_advisory_lock(1) IS NULL",
    "SELECT load_extension('evil')",
    "SELECT age FROM people WHERE n = %s",
    "SELECT age FROM people WHERE n = ?",
    "SELECT age FROM people WHERE n = :n",
    "VALUES (1)",
    "SHOW ALL",
    "nonsense",
    "",
    "   ",
    "-- nothing",
    ";",
)


@pytest.mark.parametrize("query", WRITING)
@pytest.mark.parametrize("where", ["postgres", "lite"])
def test_what_is_not_one_select_is_refused_before_the_data_base_sees_it(request, opened, where, query):
    told = refused("not-a-select", opened, request.getfixturevalue(where), query=query)
    assert "/etc/passwd" not in str(told)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT age FROM people WHERE town = 'a; DROP TABLE people' OR town LIKE '%--%'",
        "SELECT age /* ; DELETE FROM people */ FROM people -- ; DROP TABLE people",
        "WITH old AS (SELECT * FROM people WHERE age > 60) SELECT age FROM old",
        "SELECT age FROM people UNION ALL SELECT age FROM people",
        "SELECT p.age FROM people p JOIN people q ON p.n = q.n;",
        'SELECT age AS "delete" FROM people',
        "SELECT count(*) AS n, avg(age) AS age FROM people GROUP BY owns",
    ],
)
@pytest.mark.parametrize("where", ["postgres", "lite"])
def test_selects_of_every_kind_run(request, opened, where, query):
    source = opened(request.getfixturevalue(where), query=query)
    assert len(source.schema().names) in (1, 2)
    frame(source)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 'it''s', \"weird name\", 1e-3, x::float8, y AT TIME ZONE 'UTC', a->>'b', t[1] FROM s.\"T\" AS q",
        "SELECT a, row_number() OVER (PARTITION BY b ORDER BY c DESC NULLS LAST) AS r FROM t WHERE d BETWEEN 1 AND 2",
        "SELECT CASE WHEN a IS NULL THEN 0 ELSE a END AS a FROM t LEFT JOIN u USING (id) LIMIT 5 OFFSET 2",
        "SELECT extract(year FROM d) AS y, date_trunc('month', d) AS m, coalesce(a, 0) AS a FROM t",
    ],
)
def test_what_runs_is_what_was_parsed(text):
    import sqlglot

    again = single_select(text, "postgres")
    assert sqlglot.parse_one(again, read="postgres") == sqlglot.parse_one(text, read="postgres")
    assert single_select(again, "postgres") == again


def test_the_data_base_itself_refuses_to_write(postgres, lite, opened, tmp_path):
    told = refused("not-a-select", lambda: frame(opened(postgres, query="SELECT writes() AS n")))
    assert "would write" in told.message
    source = opened(lite, query="SELECT age FROM people")
    source.query = "DELETE FROM people"  # as if the first wall had a hole
    refused("not-a-select", lambda: list(source.batches()))
    source = opened(postgres, query=ALL)
    source.query = "DELETE FROM people RETURNING n"
    for use in (source.stamp, source.schema):
        with pytest.raises(FlaasError):
            use()
    assert len(frame(opened(postgres, query=ALL))) == len(TABLE)
    with sqlite3.connect(tmp_path / "people.db") as connection:
        assert connection.execute("SELECT count(*) FROM people").fetchone() == (len(TABLE),)
    connection.close()


def test_errors_of_the_data_base_tell_no_values(postgres, opened):
    for query, said in (
        ("SELECT name::int FROM secret", "InvalidTextRepresentation"),
        ("SELECT nobody FROM secret", "no such column"),
        ("SELECT 1 AS a FROM nowhere", "no such table"),
        ("SELECT 1 / (amount - 1.5) AS a FROM secret", "DivisionByZero"),
    ):
        source = opened(postgres, query=query)
        told = refused("unreadable-data", lambda source=source: list(source.batches()))
        assert said in told.message


def test_passwords_are_in_the_store_and_not_in_the_address(cluster, postgres, opened, home):
    for bad in (
        "postgresql://olga:hunter2@db.example/clinic",
        "postgresql://olga@db.example/clinic?password=hunter2",
        "postgresql://db.example/clinic?sslpassword=hunter2",
        "postgresql://db.example/clinic?passfile=/tmp/hunter2",
    ):
        told = refused("credentials-in-url", opened, bad, query="SELECT 1 AS a")
        assert "hunter2" not in str(told)
    told = refused("bad-source", opened, f"{postgres}&options=-csearch_path=x", query="SELECT 1 AS a")
    assert "options" in told.message
    SecretStore(home).set("clinic", '{"username": "flaas", "password": "hunter2"}')
    source = opened(postgres.replace("flaas@", "nobody@"), query="SELECT 1 AS a", secret="clinic")
    assert len(frame(source)) == 1
    assert "hunter2" not in repr(source)
    assert "hunter2" not in source.url
    refused("source-access-denied", opened(postgres.replace("flaas@", "nobody@"), query="SELECT 1 AS a").schema)


def test_a_server_that_is_not_there_is_said_to_be_away(opened, tmp_path):
    refused("source-unreachable", opened(f"postgresql:///clinic?host={tmp_path}", query="SELECT 1 AS a").schema)


def test_requests_that_are_incomplete(opened, postgres, tmp_path):
    refused("not-a-select", opened, postgres)
    refused("bad-source", opened, postgres, query="SELECT 1 AS a", format="csv")
    refused("unreadable-data", opened, f"sqlite:///{tmp_path}/gone.db", query="SELECT 1 AS a")
    refused("bad-source", opened, "sqlite://", query="SELECT 1 AS a")
    refused("unknown-source", opened, "mssql://db.example/clinic", query="SELECT 1 AS a")
    refused("bad-source", opened, "sqlite:///:memory:", query="SELECT 1 AS a")
