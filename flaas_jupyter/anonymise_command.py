"""``flaas dataset anonymise``: a copy of a table that its owner may release, and what risk is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import InvalidInput, NotFound
from .home import Home, write_private
from .terminal import as_json, show, told

if TYPE_CHECKING:
    import pandas as pd

_CSV, _PARQUET = (".csv", ".csv.gz"), (".parquet", ".pq")


@click.command("anonymise")
@click.argument("name")
@click.option("--quasi-identifier", "-q", "quasi_identifiers", multiple=True, required=True, metavar="COLUMN")
@click.option("--sensitive", "-s", multiple=True, metavar="COLUMN", help="Stays as it is; see --l.")
@click.option("--identifier", "identifiers", multiple=True, metavar="COLUMN", help="Is left out.")
@click.option("--k", default=5, show_default=True, type=click.IntRange(min=2), help="Rows that look alike, at least.")
@click.option("--l", "diverse", type=click.FloatRange(min=1), help="Values of each sensitive column among these.")
@click.option("--diversity", default="distinct", show_default=True, type=click.Choice(["distinct", "entropy"]))
@click.option(
    "--hierarchies",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON: column to value to its ancestors, nearest first.",
)
@click.option("--suppression-limit", default=0.05, show_default=True, type=click.FloatRange(min=0, max=1))
@click.option("--numbers", default="intervals", show_default=True, type=click.Choice(["intervals", "midpoints"]))
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="CSV or Parquet.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the risk report there as JSON.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@as_json
@told
def anonymise_command(
    name: str,
    quasi_identifiers: tuple[str, ...],
    sensitive: tuple[str, ...],
    identifiers: tuple[str, ...],
    k: int,
    diverse: float | None,
    diversity: str,
    hierarchies: Path | None,
    suppression_limit: float,
    numbers: str,
    out: Path,
    report: Path | None,
    force: bool,
    json_output: bool,
) -> None:
    """Write rows of NAME that may be released to a file: k-anonymous, and l-diverse if asked for.

    NAME is a registered data set, or a CSV or Parquet file.
    """
    from .execution.anonymisation import anonymise

    for file in (out, report):
        if file is not None and file.exists() and not force:
            raise InvalidInput(f"{file} is there already.", code="file-exists", hint="Give --force to replace it.")
    if _suffix(out) is None:
        raise InvalidInput(f"{out} is neither CSV nor Parquet by its name.", code="unknown-data-format")
    released, found = anonymise(
        _rows_of(name),
        list(quasi_identifiers),
        list(sensitive),
        k,
        diverse,
        _hierarchies(hierarchies),
        suppression_limit,
        diversity=diversity,
        identifiers=list(identifiers),
        numbers=numbers,
    )
    _write(released, out)
    if report is not None:
        write_private(report, json.dumps(found.to_dict(), indent=2).encode())
    show({"out": str(out), "report": found.to_dict()}, json_output, f"{found}\nWritten to {out}.")


def _rows_of(name: str) -> pd.DataFrame:
    """Return all columns of a registered data set, or of a file."""
    from .execution.datasets import DatasetRegistry
    from .execution.datasets.frames import frame_of

    try:
        return frame_of(DatasetRegistry(Home.default().path).get(name).batches())
    except NotFound:
        path = Path(name).expanduser()
        if path.is_file():
            return _table(path)
        raise


def _suffix(path: Path) -> str | None:
    return next((end for end in (*_CSV, *_PARQUET) if path.name.lower().endswith(end)), None)


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    suffix = _suffix(path)
    if suffix is None:
        raise InvalidInput(
            f"{path} is not a table: rows can be released of CSV and Parquet files.", code="unknown-data-format"
        )
    try:
        return pd.read_csv(path, encoding="utf-8-sig") if suffix in _CSV else pd.read_parquet(path)
    except (OSError, ValueError) as error:  # what parsers raise are ValueErrors
        raise InvalidInput(
            f"{path} cannot be read: {' '.join(str(error).split())[:300]}.", code="unreadable-data"
        ) from error


def _write(released: pd.DataFrame, out: Path) -> None:
    """Write the rows, whole or not at all."""
    import io

    if _suffix(out) in _PARQUET:
        buffer = io.BytesIO()
        texts = {name: released[name].map(_as_text) for name in released.columns if released[name].dtype == object}
        released.assign(**texts).to_parquet(buffer, index=False)
        write_private(out, buffer.getvalue())
        return
    text = released.to_csv(index=False)
    if out.name.lower().endswith(".gz"):
        import gzip

        write_private(out, gzip.compress(text.encode(), mtime=0))
    else:
        write_private(out, text.encode())


def _as_text(value: Any) -> Any:
    """Parquet's columns have one type: numbers among intervals become texts."""
    return value if value is None or value != value else str(value)


def _hierarchies(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} is not JSON: {error}.", code="anonymise-bad-hierarchy") from error
    if not isinstance(found, dict) or not all(isinstance(each, dict) for each in found.values()):
        raise InvalidInput(
            f"{path} does not hold columns with a hierarchy each.",
            code="anonymise-bad-hierarchy",
            hint='{"city": {"Bonn": ["Germany", "Europe"], …}, …}',
        )
    return found
