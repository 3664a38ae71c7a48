"""How often AWS takes spot machines away, from the table that AWS publishes as its Spot Instance Advisor."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping
from pathlib import Path

from .price_table import bad_catalog


def read_interruptions(path: Path) -> Mapping[tuple[str, str], str]:
    """Return the band of interruptions in a month, such as ``"<5%"``, by (region, instance type).

    A table that is not there is empty.

    Raises
    ------
    InvalidInput
        ``bad-catalog``
    """
    if not path.exists():
        return {}
    try:
        with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
            return {(row["region"], row["instance_type"]): row["interruption_band"] for row in csv.DictReader(file)}
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise bad_catalog(f"{path} cannot be read ({error})", "Expected is a gzipped table.") from error
    except KeyError as error:
        raise bad_catalog(
            f"{path} has no column {error}", "Columns needed: region, instance_type, interruption_band."
        ) from error
