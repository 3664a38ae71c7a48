"""What every command shares: one way of printing results, and one of telling errors."""

from __future__ import annotations

import asyncio
import functools
import json
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from .errors import FlaasError
from .home import Home
from .printable import printable as printable

if TYPE_CHECKING:
    from .communications.coordinator import Coordinator

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

as_json = click.option("--json", "json_output", is_flag=True, help="Print the result as JSON.")
ca_fingerprint = click.option(
    "--ca-fingerprint",
    metavar="SHA256:HEX",
    help="Fingerprint of the API's own certificate authority, told by its administrator; it is pinned here.",
)
log_format = click.option(
    "--log-format", type=click.Choice(["text", "json"]), help="Default: FLAAS_LOG_FORMAT, else text."
)
metrics_address = click.option(
    "--metrics",
    metavar="HOST:PORT",
    envvar="FLAAS_METRICS",
    help="Serve /metrics and /healthz there, without sign-in, e.g. 127.0.0.1:9464 (port 0 takes a free one).",
)


def told(command: Callable[P, R]) -> Callable[P, R]:
    """Turn a `FlaasError` into its message on standard error and exit code 1."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except FlaasError as error:
            click.echo(f"Error: {error}", err=True)
            click.echo(f"[{error.code}]", err=True)
            sys.exit(1)

    return wrapped


def show(result: Any, json_output: bool, text: str) -> None:
    """Print `result` as JSON or `text`."""
    click.echo(json.dumps(result, indent=2, default=str) if json_output else text)


def table(rows: Sequence[Mapping[Any, Any]], columns: list[str]) -> str:
    """Lay `rows` out in columns as wide as their widest cell."""
    cells = [columns, *[[cell(row.get(column)) for column in columns] for row in rows]]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def cell(value: Any) -> str:
    """Return a value as a table shows it, in one line."""
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return "" if value is None else printable(text, lines=False)


def told_of(answer: dict[str, Any], done: str) -> str:
    """Return what came of a critical action: that it waits for approval, or `done`."""
    if "sha256" not in answer:
        return done
    return f"That waits for approval: {answer['id']} (`flaas approvals show {answer['id']}`)."


def at_api(work: Callable[[Coordinator], Awaitable[T]], url: str | None = None) -> T:
    """Do `work` at the API that one is signed in at, or at `url`.

    Raises
    ------
    NotAuthenticated
        Nobody is signed in there.
    """
    from .communications.coordinator import PATIENCE, Coordinator
    from .communications.trust import Trust
    from .signing_in import caller

    home = Home.default()
    address, authority = caller(home, url)

    async def run() -> T:
        async with Coordinator(address, authority, trust=Trust.of(home, address), retry_for=PATIENCE) as coordinator:
            return await work(coordinator)

    return asyncio.run(run())
