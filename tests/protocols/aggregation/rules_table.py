"""The table of docs/aggregation.md, from what the registry says."""

from __future__ import annotations

from typing import Any

HEAD = "| rule | what it does | defends against | does not, or costs | options | secure aggregation |"


def table(rules: list[dict[str, Any]]) -> str:
    rows = [HEAD, "| --- " * 6 + "|"]
    for rule in rules:
        options = ", ".join(f"`{each['name']}={each['default']!r}`" for each in rule["options"]) or "none"
        secure = "yes" if rule["secure_aggregation"]["supported"] else "no"
        if rule["needs"] == "scalars":
            secure += ", with one number per client"
        cells = [f"`{rule['name']}`", rule["summary"], rule["defends"], rule["limits"], options, secure]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)
