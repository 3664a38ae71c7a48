"""Bills in files: FOCUS as CSV, gzipped CSV or Parquet, and the clouds' own CSV exports; read, checked, and sent."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from ...errors import InvalidInput
from ..driver import NODE_TAG, PROJECT_TAG
from . import charges, focus, native

BATCH_BYTES = 180 * 1024
"""Of rows in one request; the API takes 256 KiB."""
BATCH_ROWS = 1000
_PARQUET_ROWS = 10_000
_LONGEST_CELL = 1 << 20


def read(path: str | Path) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a bill in FOCUS columns, not checked yet.

    Raises
    ------
    InvalidInput
        Codes ``unreadable-bill``, and ``unknown-bill``: the columns are neither those of FOCUS nor of an export that
        is known.
    """
    path = Path(path)
    try:
        yield from _parquet(path) if path.suffix.lower() in (".parquet", ".pq") else _csv(path)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(
            f"{path.name} cannot be read as a bill: {error}.",
            code="unreadable-bill",
            hint="Give CSV (UTF-8, also .gz) or Parquet.",
        ) from error


def charges_of(path: str | Path) -> Iterator[focus.Charge]:
    """Yield the checked charges of a bill; `NotFocus`, at the end, names the rows and columns that are wrong."""
    return focus.checked(read(path))


def send(
    path: str | Path | Sequence[str | Path],
    post: Callable[[dict[str, Any]], Mapping[str, Any]],
    delivered: datetime | None = None,
) -> dict[str, int]:
    """Check a bill and import it; a bill that is wrong anywhere is not sent at all.

    Clouds split a large export into several files. These are one bill, and must be given together: charges of one
    identity may be in several of them, and would replace each other one by one.

    Parameters
    ----------
    path : str, Path, or sequence of these
        A file (see `read`), or all parts of a bill.
    post : callable
        Sends a body to ``POST /v1/costs/imports`` and returns the answer.
    delivered : datetime, optional
        When the bill was made, aware; by default when its newest file was last changed.

    Returns
    -------
    dict
        Counts of rows: ``accepted``, ``replaced``, ``ignored``.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(each) for each in path]
    counts = Counter(charges.line(charge) for part in paths for charge in charges_of(part))
    name = paths[0].name[:80] + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")
    if not counts:
        raise InvalidInput(f"{name} holds no charge.", code="empty-bill", hint="Export the bill again.")
    when = delivered or datetime.fromtimestamp(max(part.stat().st_mtime for part in paths), UTC)
    result = {"accepted": 0, "replaced": 0, "ignored": 0}
    for rows in batches((charge for part in paths for charge in charges_of(part)), counts):
        answer = post({"name": name, "delivered": when.isoformat(), "rows": rows})
        for name in result:
            result[name] += int(answer[name])
    return result


def batches(rows: Iterable[focus.Charge], counts: Mapping[bytes, int]) -> Iterator[list[dict[str, Any]]]:
    """Yield rows as JSON values in batches, charges of one identity always in the same.

    Parameters
    ----------
    rows : iterable of Charge
        All of a bill.
    counts : mapping
        How many rows each identity (`charges.line`) has.
    """
    waiting: dict[bytes, list[focus.Charge]] = defaultdict(list)
    batch: list[dict[str, Any]] = []
    size = 0
    for charge in rows:
        identity = charges.line(charge)
        waiting[identity].append(charge)
        if len(waiting[identity]) < counts[identity]:
            continue
        group, weight = _fitting([_json(each) for each in waiting.pop(identity)])
        if batch and (size + weight > BATCH_BYTES or len(batch) + len(group) > BATCH_ROWS):
            yield batch
            batch, size = [], 0
        batch += group
        size += weight
    if batch:
        yield batch


def _fitting(group: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Return a group as it fits into a request, and its bytes.

    One that no request could hold is added up: by its tags, and, if these are too many, by project and node alone.
    """
    for tags in (None, dict, _ours):
        if tags is not None:
            group = _merged(group, tags)
        weight = sum(len(json.dumps(each)) for each in group)
        if weight <= BATCH_BYTES and len(group) <= BATCH_ROWS:
            break
    return group, weight


def _ours(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if name in (PROJECT_TAG, NODE_TAG)}


def _merged(group: list[dict[str, Any]], kept: Callable[[Mapping[str, str]], dict[str, str]]) -> list[dict[str, Any]]:
    """Return one row for each set of `kept` tags; rows of a group differ in amounts and tags only."""
    alike: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for each in group:
        tags = kept(each.get("Tags") or {})
        alike[json.dumps(tags, sort_keys=True)].append({**each, "Tags": tags})
    return [_sum(rows) for rows in alike.values()]


def _sum(group: list[dict[str, Any]]) -> dict[str, Any]:
    whole = dict(group[0])
    for name, column in focus.COLUMNS.items():
        if column.kind == "amount":
            known = [Decimal(each[name]) for each in group if each.get(name) is not None]
            if known:
                whole[name] = format(sum(known, Decimal(0)), "f")
    return whole


def _json(charge: focus.Charge) -> dict[str, Any]:
    """Return a charge as JSON values; amounts are texts, so that they stay exact."""
    row: dict[str, Any] = {}
    for name, value in charge.items():
        if value is None:
            if name in focus.MANDATORY:
                row[name] = None
        elif isinstance(value, Decimal):
            row[name] = format(value, "f")
        elif isinstance(value, datetime):
            row[name] = value.isoformat()
        else:
            row[name] = value
    return row


def _csv(path: Path) -> Iterator[Mapping[str, Any]]:
    csv.field_size_limit(_LONGEST_CELL)
    open_text = gzip.open if path.suffix.lower() == ".gz" else open
    with open_text(path, "rt", encoding="utf-8-sig", newline="") as text:
        rows = csv.DictReader(text, restval="")
        convert = _kind(path, rows.fieldnames or [])
        for number, row in enumerate(rows, 1):
            if convert is None:
                yield row
                continue
            try:
                yield convert(row)
            except (ValueError, KeyError, ArithmeticError, SyntaxError, TypeError) as error:
                raise focus.refusal([focus.Problem(number, type(error).__name__, str(error)[:100])]) from error


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise InvalidInput(
            "Parquet files need pyarrow.", code="unreadable-bill", hint="pip install pyarrow, or send CSV."
        ) from error
    try:
        with parquet.ParquetFile(path) as file:
            _kind(path, file.schema_arrow.names, exports=False)
            kept = [name for name in file.schema_arrow.names if name in focus.COLUMNS]
            for batch in file.iter_batches(_PARQUET_ROWS, columns=kept):
                yield from batch.to_pylist()
    except pyarrow.ArrowInvalid as error:
        raise OSError(f"it is no Parquet ({error})") from error


def _kind(path: Path, header: Iterable[str], *, exports: bool = True) -> native.Converter | None:
    """Return how rows with this header are converted, None if they are in FOCUS columns already."""
    names = list(header)
    missing = focus.missing_columns(names)
    if not missing:
        return None
    convert = native.converter(names) if exports else None
    if convert is not None:
        return convert
    if len(missing) < len(focus.MANDATORY) // 2:
        raise focus.refusal(missing)
    raise InvalidInput(
        f"{path.name} is no bill that is known: it lacks {len(missing)} of {len(focus.MANDATORY)} columns of FOCUS.",
        code="unknown-bill",
        hint="Give a FOCUS file, an AWS Cost and Usage Report, an Azure cost export, or a Google Cloud billing export.",
    )
