"""The table of docs/aggregation.md, from what the registry says."""

from __future__ import annotations

from typing import Any

HEAD = "| rule | what it does | defends against | does not, or costs | options | secure aggregation |"


def table(rules: list[dict[str, Any]]) -> str:
    rows = [HEAD, "| --- " * 6 + "|"]
    for rule in rules:
        options = ", ".join(f"`{each['name']}={each['default']!r}`" for each in rule["options"]) or "none"
        masked = rule["secure_aggregation"]
        secure = "yes" if masked["supported"] else "no"
        if masked["mode"] == "votes":
            secure += ", with one number per client"
        if masked["mode"] == "groups" and masked["supported"]:
            experimental = "; experimental" if masked["experimental"] else ""
            secure = f"in groups, from {masked['clients']} clients on{experimental}"
        cells = [f"`{rule['name']}`", rule["summary"], rule["defends"], rule["limits"], options, secure]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)
