"""`model.vertical_report`: what a vertical run has cost, and who has learned what."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .errors import InvalidInput
from .protocols.vertical.leakage import leakage_statement

if TYPE_CHECKING:
    import pandas as pd

    from .training.vertical.plan import VerticalPlan


class VerticalReport:
    """Figures of one ``fit``.

    Parameters
    ----------
    data : dict
        JSON values, as `to_dict` gives them.

    Attributes
    ----------
    mode : str
    common : int
        Rows that all parties have.
    label_leak : float or None
        AUC of the best known attack of a feature party on labels: 0.5 where nothing goes back to feature parties, None
        where the measure has no meaning (labels that are not of two classes; ``linear_he``).
    statement : list of dict
        Who learns what, as it was shown before the run.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._data = dict(data)
        self.mode: str = data["mode"]
        self.common: int = data["common"]
        self.label_leak: float | None = data["label_leak"]
        self.statement: list[dict[str, str]] = list(data["statement"])

    @classmethod
    def of(
        cls, plan: VerticalPlan, reports: Mapping[str, Mapping[str, Any]], rounds: Sequence[Mapping[str, float]]
    ) -> VerticalReport:
        """Put together what the parties have reported.

        Parameters
        ----------
        plan : VerticalPlan
        reports : mapping of str to mapping
            By party, as of `PartyResult`.
        rounds : sequence of mapping
            Metrics and ``seconds`` of each epoch.

        Raises
        ------
        InvalidInput
            Code ``bad-report``: a report lacks what it should have.
        """
        try:
            holder = reports[plan.label_holder]
            parties = [
                {
                    "party": party,
                    "role": "label holder" if party == plan.label_holder else "feature party",
                    "rows": int(holder["rows"][party]),
                    "common": int(holder["common"]),
                    "columns": len(plan.columns[party]),
                    "width": plan.widths.get(party),
                    "messages": sum(reports[party]["bytes"]["messages"].values()) if party in reports else None,
                    "bytes_sent": sum(reports[party]["bytes"]["sent"].values()) if party in reports else None,
                    "bytes_received": sum(reports[party]["bytes"]["received"].values()) if party in reports else None,
                    "kinds": dict(reports[party]["bytes"]["messages"]) if party in reports else {},
                }
                for party in plan.parties
            ]
            return cls(
                {
                    "mode": plan.mode,
                    "plan": plan.digest,
                    "common": int(holder["common"]),
                    "label_leak": holder.get("label_leak"),
                    "seconds": dict(holder["seconds"]),
                    "parties": parties,
                    "rounds": [dict(each) for each in rounds],
                    "statement": leakage_statement(plan.mode),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"A party's report is not complete: {error!r}.", code="bad-report") from error

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return dict(self._data)

    @property
    def parties(self) -> pd.DataFrame:
        """One row per party: ids, rows in common, columns, width of what it sends, messages and bytes."""
        import pandas as pd

        return pd.DataFrame(self._data["parties"]).set_index("party")

    @property
    def rounds(self) -> pd.DataFrame:
        """One row per epoch: loss, metrics, seconds; its ``.plot()`` draws them."""
        import pandas as pd

        table = pd.DataFrame(self._data["rounds"])
        table.index = pd.RangeIndex(1, len(table) + 1, name="epoch")
        return table

    @property
    def leakage(self) -> pd.DataFrame:
        """Who learns what."""
        import pandas as pd

        return pd.DataFrame(self.statement).set_index("who")

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time at the label holder, by phase."""
        return dict(self._data["seconds"])

    def _leak_text(self) -> str:
        if self.label_leak is None:
            return "not measured (one figure for each batch, or labels not of two classes)"
        if self.mode == "oneway":
            return "0.5: nothing that depends on labels was sent"
        return f"{self.label_leak:.2f}: AUC of the best known attack on the gradients of the last epoch"

    def __repr__(self) -> str:
        lines = [
            f"Vertical run, mode {self.mode}: {self.common:,} rows in common",
            self.parties.drop(columns="kinds").to_string(),
        ]
        lines.append(f"Label leak {self._leak_text()}")
        lines += [f"- {entry['who']}: {entry['learns']}" for entry in self.statement]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        table = self.parties.drop(columns="kinds").to_html()
        entries = "".join(
            f"<li><b>{html.escape(entry['who'])}</b>: {html.escape(entry['learns'])}</li>" for entry in self.statement
        )
        head = f"Vertical run, mode <code>{html.escape(self.mode)}</code>: {self.common:,} rows in common"
        return f"<p>{head}</p>{table}<p>Label leak {html.escape(self._leak_text())}</p><ul>{entries}</ul>"


def statement_text(mode: str) -> str:
    """Return the leakage statement of a mode as text to print."""
    lines = [f"Who learns what in mode {mode!r}:"]
    return "\n".join([*lines, *(f"- {entry['who']}: {entry['learns']}" for entry in leakage_statement(mode))])
