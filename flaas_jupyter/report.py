"""`model.federated_report`: a pandas table whose ``.plot()`` draws what one looks at first, the metrics by round."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
from pandas.plotting import PlotAccessor


class _RoundPlot(PlotAccessor):
    """pandas' ``.plot``, with the metrics as the default columns."""

    def __init__(self, data: pd.DataFrame) -> None:
        super().__init__(data)
        self._report = data

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not args and "y" not in kwargs:
            metrics = self._report.attrs.get("metrics", [])
            shown = [name for name in metrics if name in self._report.columns]
            defaults = {"y": shown} if shown else {}  # under privacy real nodes tell no metrics
            kwargs = {**defaults, "subplots": True, "sharex": True, "marker": ".", **kwargs}
        return super().__call__(*args, **kwargs)


def _natural(name: Any) -> list[tuple[int, str]]:
    """Sort key under which client-9 comes before client-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(name))]


class FederatedReport(pd.DataFrame):
    """One row per round; everything else is pandas."""

    @property
    def _constructor(self) -> Any:
        return FederatedReport

    @property
    def plot(self) -> _RoundPlot:
        """Draw columns by round: the metrics unless told otherwise; takes pandas' own arguments."""
        return _RoundPlot(self)

    @property
    def client_columns(self) -> list[str]:
        """Columns that hold a number for each client: ``weights``, and the aggregation rule's own."""
        return [
            name
            for name in self.columns
            if name != "left_out" and self[name].map(lambda value: isinstance(value, dict)).any()
        ]

    def by_client(self, column: str = "weights") -> pd.DataFrame:
        """Return one of `client_columns` as a table: a row per round, a column per client, NaN where it was not asked.

        Raises
        ------
        KeyError
            There is no such column.
        """
        if column not in self.client_columns:
            raise KeyError(f"{column!r} is not a figure of each client; these are: {', '.join(self.client_columns)}")
        table = pd.DataFrame([value if isinstance(value, dict) else {} for value in self[column]], index=self.index)
        return table[sorted(table.columns, key=_natural)]

    def plot_clients(self, column: str = "weights", *, ax: Any = None) -> Any:
        """Draw a figure of each client by round as a heat map; attackers of a simulation come first, in red.

        Returns
        -------
        matplotlib Axes
        """
        import matplotlib.pyplot as plt

        table = self.by_client(column)
        attackers = set(self.attrs.get("attackers", []))
        order = sorted(table.columns, key=lambda name: name not in attackers)
        values = table[order].to_numpy(dtype=float).T
        if ax is None:
            height = min(10.0, 1.5 + 0.16 * len(order))
            _, ax = plt.subplots(figsize=(8, height), layout="constrained")
        rounds = table.index.to_numpy()
        image = ax.imshow(
            values,
            aspect="auto",
            interpolation="nearest",
            cmap="viridis",
            extent=(rounds[0] - 0.5, rounds[-1] + 0.5, len(order) - 0.5, -0.5),
        )
        ax.set(xlabel="round", title=column)
        ax.figure.colorbar(image, ax=ax)
        if len(order) <= 60:
            ax.set_yticks(range(len(order)), order, fontsize=7)
            for label, name in zip(ax.get_yticklabels(), order, strict=True):
                label.set_color("tab:red" if name in attackers else "black")
        count = sum(name in attackers for name in order)
        if count:
            ax.axhline(count - 0.5, color="tab:red", linewidth=1)
            ax.set_ylabel(f"{count} attackers above the line")
        return ax
