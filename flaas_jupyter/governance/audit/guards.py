"""Triggers that let nothing but the next entry into the audit tables, whatever the application does.

They stop mistakes and an application that was broken into, as long as it connects as a role that does not own the
tables. Who owns the data base can drop them; what such a person then changes is found by the chain and by checkpoints.

A primary key alone would let ``INSERT OR REPLACE`` through: SQLite runs no DELETE trigger for what it replaces.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

_FIXED = ("audit_entries", "audit_tree", "audit_checkpoints")
"""Tables whose rows never change."""
_KEPT = (*_FIXED, "audit_keys")
"""Tables whose rows are never removed."""
_FUNCTIONS = ("audit_refuse", "audit_entries_next")
_REFUSAL = "the audit log is append-only"
_NOT_NEXT = "an audit entry must follow the last one"
_ZERO = "0" * 64


def install_guards(connection: Connection) -> None:
    """Make the triggers; the tables must be there. Repeating it changes nothing."""
    for statement in _POSTGRESQL if connection.dialect.name == "postgresql" else _SQLITE:
        connection.execute(text(statement))


def remove_guards(connection: Connection) -> None:
    """Drop the triggers, before the tables are dropped."""
    if connection.dialect.name == "postgresql":
        for function in _FUNCTIONS:
            connection.execute(text(f"DROP FUNCTION IF EXISTS {function}() CASCADE"))
        return
    for statement in _SQLITE:
        connection.execute(text(f"DROP TRIGGER IF EXISTS {statement.split()[5]}"))


def _sqlite() -> list[str]:
    made = []

    def trigger(name: str, event: str, table: str, message: str, when: str = "1") -> None:
        made.append(
            f"CREATE TRIGGER IF NOT EXISTS {name} BEFORE {event} ON {table} "
            f"WHEN {when} BEGIN SELECT RAISE(ABORT, '{message}'); END"
        )

    last = "(SELECT {0} FROM audit_entries ORDER BY sequence DESC LIMIT 1)"
    next_number = f"NEW.sequence IS NOT COALESCE({last.format('sequence')}, 0) + 1"
    next_link = f"NEW.prev IS NOT COALESCE({last.format('hash')}, '{_ZERO}')"
    trigger("audit_entries_next", "INSERT", "audit_entries", _NOT_NEXT, f"{next_number} OR {next_link}")
    for table in _FIXED:
        trigger(f"{table}_no_update", "UPDATE", table, _REFUSAL)
    for table in _KEPT:
        trigger(f"{table}_no_delete", "DELETE", table, _REFUSAL)
    present = "EXISTS (SELECT 1 FROM {0} WHERE {1})"
    same = {
        "audit_tree": "level = NEW.level AND position = NEW.position",
        "audit_checkpoints": "sequence = NEW.sequence",
        "audit_keys": "number = NEW.number OR key = NEW.key",
    }
    for table, condition in same.items():
        trigger(f"{table}_no_replace", "INSERT", table, _REFUSAL, present.format(table, condition))
    return made


def _postgresql() -> list[str]:
    made = [
        f"""CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION '{_REFUSAL}' USING ERRCODE = 'restrict_violation'; END $$""",
        """CREATE OR REPLACE FUNCTION audit_entries_next() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE last record;
        BEGIN
            SELECT sequence, hash INTO last FROM audit_entries ORDER BY sequence DESC LIMIT 1;
            IF NEW.sequence <> COALESCE(last.sequence, 0) + 1 OR NEW.prev <> COALESCE(last.hash, repeat('0', 64)) THEN
                RAISE EXCEPTION 'an audit entry must follow the last one' USING ERRCODE = 'restrict_violation';
            END IF;
            RETURN NEW;
        END $$""",
    ]

    def trigger(name: str, event: str, table: str, function: str, each: str = "ROW") -> None:
        # ALWAYS: a session that calls itself a replica runs it too.
        made.extend(
            (
                f"DROP TRIGGER IF EXISTS {name} ON {table}",
                f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH {each} EXECUTE FUNCTION {function}()",
                f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}",
            )
        )

    trigger("audit_entries_next", "INSERT", "audit_entries", "audit_entries_next")
    for table in _FIXED:
        trigger(f"{table}_no_update", "UPDATE", table, "audit_refuse")
    for table in _KEPT:
        trigger(f"{table}_no_delete", "DELETE", table, "audit_refuse")
        trigger(f"{table}_no_truncate", "TRUNCATE", table, "audit_refuse", "STATEMENT")
    return made


_SQLITE, _POSTGRESQL = _sqlite(), _postgresql()
