"""The first wall around a data base: what is sent to it is one SELECT, and nothing that writes.

The query is parsed (sqlglot), held against what a SELECT may be made of, and written anew from what was parsed, so that
what runs is what was checked, whatever comments or quotes the text had. The second wall is the data base's own: a
transaction that may only read (`sql`).
"""

from __future__ import annotations

import logging
from typing import Any

from ...errors import InvalidInput

_MAXIMUM = 100_000
# They read files, reach other data bases, wait, or act on the server, in the middle of a SELECT.
# Of what a data base brings along under its own name (pg_…) nothing is needed to read rows, so nothing is let through.
_FORBIDDEN = (
    "pg_", "_pg_", "dblink", "lo_", "loread", "lowrite", "postgres_fdw_", "file_fdw_", "set_config", "setval",
    "nextval", "ts_stat", "query_to_xml",
    "table_to_xml", "database_to_xml", "cursor_to_xml", "schema_to_xml", "xpath_table",
    "ts_rewrite", "crosstab", "connectby", "txid_", "binary_upgrade_", "adminpack", "brin_", "gin_clean_pending_list",
    "pragma_", "load_file", "load_extension", "sleep", "benchmark", "get_lock", "release_lock", "sys_exec", "sys_eval",
    "writefile", "readfile", "fts3_tokenizer", "utl_", "dbms_", "httpuritype", "xp_", "openrowset",
    "opendatasource", "read_csv", "read_parquet",
)  # fmt: skip


def single_select(query: str, dialect: str) -> str:
    """Return a query as it is to run.

    Parameters
    ----------
    query : str
        A SELECT (or WITH … SELECT, or several joined by UNION, INTERSECT or EXCEPT).
    dialect : str
        sqlglot's name of the data base's language.

    Raises
    ------
    InvalidInput
        Code ``not-a-select``; ``not-installed`` without sqlglot. Messages do not repeat the query.
    """
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)  # its warnings have the query in them
    try:
        import sqlglot
        from sqlglot import exp
        from sqlglot.errors import SqlglotError
    except ImportError as error:
        raise not_installed("sqlglot") from error
    if len(query) > _MAXIMUM or "\0" in query:
        raise _refused(f"it is longer than {_MAXIMUM} signs, or has zero bytes in it")
    try:
        statements = [entry for entry in sqlglot.parse(query, read=dialect) if entry is not None]
    except (SqlglotError, RecursionError):
        raise _refused("it cannot be parsed") from None  # the message has the query in it
    if len(statements) != 1:
        raise _refused(f"there are {len(statements)} statements")
    statement = statements[0]
    if not isinstance(statement, exp.Select | exp.SetOperation | exp.Subquery):
        raise _refused(f"it begins with {statement.key.upper()}")
    for part in statement.walk():
        _require_harmless(part, exp)
    return statement.sql(dialect=dialect, comments=False)


def _require_harmless(part: Any, exp: Any) -> None:
    acting = (
        exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create, exp.Drop, exp.Alter, exp.Command, exp.Copy, exp.Set,
        exp.Into, exp.Lock, exp.Pragma, exp.Attach, exp.Detach, exp.Use, exp.Transaction, exp.Commit, exp.Rollback,
        exp.Describe, exp.Kill, exp.LoadData, exp.TruncateTable,
    )  # fmt: skip
    if isinstance(part, acting):
        raise _refused(f"it has {part.key.upper()} in it")
    if isinstance(part, exp.Parameter | exp.Placeholder | exp.SessionParameter):
        raise _refused("it has parameters, which nobody fills in")
    if isinstance(part, exp.Table) and part.name.lower().startswith("pragma_"):
        raise _refused("it reads settings of the data base")
    if isinstance(part, exp.Func):
        name = (part.name if isinstance(part, exp.Anonymous) else part.sql_name()).lower()
        if name.startswith(_FORBIDDEN):
            raise _refused(f"it calls {name}")


def _refused(why: str) -> InvalidInput:
    return InvalidInput(
        f"The query is not one SELECT: {why}.",
        code="not-a-select",
        hint="Write one SELECT that gives the rows; let the data base's owner make a view of whatever takes more.",
    )


def not_installed(package: str) -> InvalidInput:
    """Return the refusal of a source whose package is not installed, code ``not-installed``."""
    return InvalidInput(
        f"Data bases are read with {package}, which is not installed here.",
        code="not-installed",
        hint='pip install "flaas_jupyter[sql]"',
    )
