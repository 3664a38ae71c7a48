"""``flaas audit``: check the log against its own chain and what nodes have kept; list and export it; what a node keeps.

``verify`` needs no API and believes none: it reads the data base, or an exported file, and holds it against signed
checkpoints, best those that a node has kept.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import urlencode

import click

from .communications.coordinator import Coordinator
from .errors import InvalidInput, Unreachable
from .home import Home
from .terminal import as_json, at_api, show, table, told

if TYPE_CHECKING:
    from .governance.audit.verification import Verification

_COLUMNS = ["sequence", "time", "actor", "operation", "object", "project", "outcome"]
_TELL_EVERY = 5.0
_SILENCE = 60.0
_MOST = 200


def group() -> click.Group:
    """Return the group ``flaas audit``."""
    when = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"])
    existing = click.Path(path_type=Path, exists=True, dir_okay=False)

    def filtered(command: Callable[..., Any]) -> Callable[..., Any]:
        """Give a command the options that narrow the log."""
        for name in ("actor", "operation", "object", "project"):
            command = click.option(f"--{name}", name, help="Only entries with exactly this.")(command)
        command = click.option("--outcome", type=click.Choice(["done", "asked", "refused"]))(command)
        command = click.option("--from", "start", type=when, help="From this time on, UTC.")(command)
        return click.option("--to", "end", type=when, help="Before this time, UTC.")(command)

    @click.group()
    def audit() -> None:
        """Who did what: check, list and export the audit log."""

    @audit.command()
    @click.option("--database", "database_url", help="Default: FLAAS_DATABASE_URL, else SQLite in FLAAS_HOME.")
    @click.option("--file", "file", type=existing, help="An export as JSON lines, instead of a data base.")
    @click.option("--checkpoints", "kept", type=existing, help="What a node has kept (its audit.json), or checkpoints.")
    @click.option("--key", help="The first key of the log, as known from elsewhere; 64 hex digits.")
    @click.option("--partial", is_flag=True, help="The file holds a part of the log, as an export of one organisation.")
    @as_json
    @told
    def verify(
        database_url: str | None,
        file: Path | None,
        kept: Path | None,
        key: str | None,
        partial: bool,
        json_output: bool,
    ) -> None:
        """Check the whole log; the first entry that is wrong is named, and the exit code is 1."""
        if file is not None and database_url is not None:
            raise InvalidInput("There are two logs to check.", code="bad-option", hint="Give --database or --file.")
        if partial and file is None:
            raise InvalidInput(
                "A data base holds the whole log.", code="bad-option", hint="Give --partial with --file."
            )
        if file is not None:
            result = _verify_file(file, kept, key, partial)
        else:
            result = _verify_database(database_url or Home.default().database_url, kept, key)
        body = {**vars(result), "sound": result.finding is None}
        body["finding"] = None if result.finding is None else vars(result.finding)
        show(body, json_output, _verdict(result))
        if result.finding is not None:
            sys.exit(1)

    @audit.command("list")
    @filtered
    @click.option("--limit", default=50, show_default=True, type=click.IntRange(min=1))
    @as_json
    @told
    def list_entries(limit: int, json_output: bool, **wanted: Any) -> None:
        """List entries, newest first."""
        rows = at_api(lambda api: _entries(api, _query(wanted), limit))
        show(rows, json_output, table(rows, _COLUMNS))

    @audit.command()
    @filtered
    @click.option("--format", "kind", type=click.Choice(["jsonl", "csv"]), default="jsonl", show_default=True)
    @click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Default: standard output.")
    @told
    def export(kind: str, output: Path | None, **wanted: Any) -> None:
        """Write all entries, oldest first, to a file."""
        query = _query(wanted)
        at_api(lambda api: _entries(api, query, 1))  # says properly what is wrong, before a file is begun
        with _opened(output) as file:
            _download({**query, "format": kind}, file)

    @audit.command()
    @click.option("--forget", is_flag=True, help="Put what is kept aside, an alarm too, and begin anew.")
    @as_json
    @told
    def witness(forget: bool, json_output: bool) -> None:
        """Show what this node keeps of the log, and the evidence of an alarm."""
        from .execution import witness as kept

        home = Home.default()
        if forget:
            aside = kept.forget(home)
            where = "Nothing was kept." if aside is None else f"What was kept is now in {aside}."
            show({"aside": None if aside is None else str(aside)}, json_output, where)
            return
        body = kept.show(home)
        show(body, json_output, "\n".join(f"{name:15}{value}" for name, value in kept.status(home).items()))

    return audit


# ---- verify ---------------------------------------------------------------------------------------------------------


def _verify_file(file: Path, kept: Path | None, key: str | None, partial: bool) -> Verification:
    from .governance.audit import verification
    from .governance.audit.statements import Trust

    documents, trust = verification.kept_checkpoints(kept) if kept else ([], None)
    if key is not None:
        trust = Trust(key, trust.documents if trust else ())
    with file.open(encoding="utf-8", errors="replace") as lines:
        log = verification.exported(lines)
        return verification.verify(log, documents, trust=trust, partial=partial, progress=_Progress())


def _verify_database(url: str, kept: Path | None, key: str | None) -> Verification:
    from sqlalchemy import func, select
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, DBAPIError

    from .coordination.database import Database
    from .governance.audit import keys, verification
    from .governance.audit.statements import Trust
    from .governance.audit.tables import AuditEntry

    with contextlib.suppress(ArgumentError):  # which `Database` tells
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
            raise _no_log(f"there is no file {parsed.database}")
    documents, trust = verification.kept_checkpoints(kept) if kept else ([], None)
    database = Database(url)
    try:
        with database.reading() as session:
            total = session.scalar(select(func.count()).select_from(AuditEntry)) or 0
            documents = [*verification.stored_checkpoints(session), *documents]
            if key is not None:
                trust = Trust(key, trust.documents if trust else ())
            if trust is None:
                trust = keys.trust(session)
            else:
                trust.follow(keys.successions(session))
            log = verification.stored(session)
            return verification.verify(log, documents, trust=trust, progress=_Progress(total))
    except DBAPIError as error:
        raise _no_log(f"{database} cannot be read ({type(error.orig).__name__})") from error
    finally:
        database.close()


class _Progress:
    """Says on standard error, every few seconds, how far a long check is."""

    def __init__(self, total: int | None = None) -> None:
        self._of = "" if total is None else f" of {total:,}"
        self._next = time.monotonic() + _TELL_EVERY

    def __call__(self, entries: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _TELL_EVERY
            click.echo(f"{entries:,}{self._of} entries", err=True)


def _verdict(result: Verification) -> str:
    if result.finding is not None:
        return f"Entry {result.finding.sequence}: {result.finding.kind}. {result.finding.detail[:1].upper()}" + (
            f"{result.finding.detail[1:]}."
        )
    signers = ", ".join(f"{key[:16]}…" for key in result.keys)
    lines = [
        f"The log is sound: {result.entries:,} entries, the last with hash {result.head}.",
        f"It agrees with {result.checkpoints:,} checkpoints signed by {signers}."
        if result.checkpoints
        else "There was no signed checkpoint to hold it against: a tail that was cut off would not be noticed.",
    ]
    if result.gaps:
        lines.append(f"{result.gaps:,} entries are not in this export, and were not checked.")
    return "\n".join(lines)


def _no_log(why: str) -> InvalidInput:
    return InvalidInput(
        f"There is no audit log to check: {why}.",
        code="audit-no-log",
        hint="Give --database URL, or --file with an export.",
    )


# ---- the API --------------------------------------------------------------------------------------------------------


def _query(wanted: dict[str, Any]) -> dict[str, str]:
    named = {"start": "from", "end": "to"}
    query = {}
    for name, value in wanted.items():
        if value is not None:
            query[named.get(name, name)] = value if isinstance(value, str) else f"{value.isoformat()}Z"
    return query


async def _entries(api: Coordinator, query: dict[str, str], limit: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    path = f"/v1/audit?{urlencode({**query, 'limit': str(min(limit, _MOST))})}"
    async with contextlib.aclosing(api.paginate(path, "entries")) as entries:
        async for entry in entries:
            rows.append(entry)
            if len(rows) == limit:
                break
    return rows


def _download(query: dict[str, str], file: TextIO) -> None:
    import httpx

    from .communications.trust import Trust, tls_problem
    from .oauth_client import http
    from .signing_in import caller

    home = Home.default()
    url, authority = caller(home)
    headers = {"Authorization": authority.authorization("GET", f"{url}/v1/audit/export"), "Accept": "*/*"}
    try:
        with (
            http(url, Trust.of(home, url)) as api,
            api.stream("GET", "/v1/audit/export", params=query, headers=headers, timeout=_SILENCE) as answer,
        ):
            answer.raise_for_status()
            for text in answer.iter_text():
                file.write(text)
    except httpx.HTTPError as error:
        if (problem := tls_problem(error, url)) is not None:
            raise problem from error
        raise Unreachable(
            f"The export broke off ({type(error).__name__}).", code="api-unreachable", hint="Try again."
        ) from error


@contextlib.contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    with output.open("w", encoding="utf-8", newline="") as file:
        yield file
