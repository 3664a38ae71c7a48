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

if TYPE_CHECKING:
    from .communications.coordinator import Coordinator

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

as_json = click.option("--json", "json_output", is_flag=True, help="Print the result as JSON.")


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
    """Return a value as a table shows it."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


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
    from .communications.coordinator import Coordinator
    from .signing_in import caller

    address, authority = caller(Home.default(), url)

    async def run() -> T:
        async with Coordinator(address, authority) as coordinator:
            return await work(coordinator)

    return asyncio.run(run())
