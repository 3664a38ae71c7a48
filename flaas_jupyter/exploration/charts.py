"""Views drawn with matplotlib, for notebooks; the widget and JupyterLab's panel draw by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInput

if TYPE_CHECKING:
    from .view import View


def draw(view: View, ax: Any) -> Any:
    """Draw a view; returns matplotlib's axes.

    Raises
    ------
    InvalidInput
        Code ``no-chart``: it is a table of words.
    """
    if view.part in ("overview", "nodes"):
        raise InvalidInput(
            f"The view {view.part!r} is a table of words.", code="no-chart", hint="Look at its .table instead."
        )
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(layout="constrained")[1]
    data, table = view.to_dict(), view.table
    if view.part == "column" and data["column"]["kind"] == "histogram":
        _histogram(table, ax)
        ax.set_xlabel(data["column"]["name"])
    elif view.part == "column":
        ax.bar([str(value) for value in table["value"]], table["count"].fillna(0))
        ax.set_ylabel("rows")
    elif view.part == "labels":
        ax.bar([str(value) for value in table["class"]], table["count"].fillna(0))
        ax.set_ylabel("rows")
    elif view.part == "missing":
        ax.barh(list(table.index), table["share"].astype(float).fillna(0))
        ax.set_xlabel("share of rows without a value")
    else:
        limits = {"vmin": -1, "vmax": 1, "cmap": "RdBu_r"} if view.part == "correlations" else {"vmin": 0, "vmax": 1}
        image = ax.imshow(table.to_numpy(float), aspect="auto", **limits)
        ax.set_xticks(range(len(table.columns)), table.columns, rotation=45, ha="right")
        ax.set_yticks(range(len(table.index)), table.index)
        ax.figure.colorbar(image, ax=ax)
    ax.set_title(" · ".join([view.title, *view.reasons]), fontsize=8)
    return ax


def _histogram(table: Any, ax: Any) -> None:
    """Bars as wide as their bins and as high as their rows per width, so that merged bins look as they are."""
    inside = table[np.isfinite(table["lower"]) & np.isfinite(table["upper"]) & table["count"].notna()]
    width = (inside["upper"] - inside["lower"]).to_numpy(float)
    narrow = float(width.min()) if len(width) else 1.0
    height = inside["count"].to_numpy(float) * narrow / np.where(width > 0, width, 1.0)
    ax.bar(inside["lower"].to_numpy(float), height, width=width, align="edge", edgecolor="white")
    ax.set_ylabel("rows (per width of the narrowest bin)")
