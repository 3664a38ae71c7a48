"""What a node's owner is shown of the queries about a data set: the ledger, read by another process than the node."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ..home import Home
from .datasets import DatasetRegistry
from .policy import Policy
from .query_ledger import ANSWERED, QueryLedger

FOLDER = "queries"
"""Where ledgers are kept, in `FLAAS_HOME`."""


def queries_of(home: Home, dataset: str) -> list[dict[str, Any]]:
    """Return who asked what about a data set, oldest first.

    Raises
    ------
    NotFound
        Code ``unknown-dataset``.
    InvalidInput
        Code ``bad-query-ledger``.
    """
    DatasetRegistry(home.path).get(dataset)
    return [
        {
            "time": datetime.fromtimestamp(entry["time"], UTC).isoformat(timespec="seconds"),
            "query": entry["query"],
            "step": entry["step"],
            "organisation": entry.get("organisation"),
            "developer": str(entry["developer"])[:12],
            "project": entry["project"],
            "operation": entry["operation"],
            "via": entry["via"],
            "columns": ", ".join(entry["columns"]),
            "rows": entry["rows"],
            "epsilon": entry["epsilon"],
            "outcome": entry["outcome"],
            "reason": entry.get("reason"),
        }
        for entry in QueryLedger(home.path / FOLDER).entries(dataset)
    ]


def budgets_of(home: Home, dataset: str) -> list[dict[str, Any]]:
    """Return what private answers about a data set have cost each developer.

    Raises
    ------
    FlaasError
        As `queries_of`.
    """
    DatasetRegistry(home.path).get(dataset)
    ledger = QueryLedger(home.path / FOLDER)
    budget = Policy.load(home.policy).for_dataset(dataset).analytics_epsilon
    private = [e for e in ledger.entries(dataset) if e["outcome"] == ANSWERED and e["epsilon"] is not None]
    rows = []
    for developer in sorted({str(entry["developer"]) for entry in private}):
        theirs = [entry for entry in private if entry["developer"] == developer]
        spent = ledger.spent(dataset, developer)
        rows.append(
            {
                "developer": developer[:12],
                "organisation": theirs[-1]["organisation"],
                "answers": len(theirs),
                "spent": round(spent, 6),
                "budget": budget,
                "remaining": round(max(0.0, budget - spent), 6),
            }
        )
    return rows
