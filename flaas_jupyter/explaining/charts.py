"""Charts of explanations, by matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InvalidInput

if TYPE_CHECKING:
    from .explanation import Explanation

_LARGEST = 420.0  # area of a dot, points²


def bar(explanation: Explanation, top: int, ax: Any) -> Any:
    """Draw global importance; see `Explanation.bar`."""
    shown = explanation.global_importance.head(top).index[::-1]
    ax = ax or _axes(len(shown))
    left = np.zeros(len(shown))
    table = explanation.by_output.loc[shown]
    for output in explanation.outputs:
        widths = table[output].to_numpy(float)
        ax.barh(range(len(shown)), np.nan_to_num(widths), left=left, label=output)
        left += np.nan_to_num(widths)
    for place, name in enumerate(shown):
        if explanation.suppressed[name]:
            ax.text(0.0, place, " withheld", va="center", fontsize=8, color="gray")
    ax.set_yticks(range(len(shown)), [str(name) for name in shown])
    ax.set_xlabel(f"mean |SHAP value| ({explanation.output})")
    if len(explanation.outputs) > 1:
        ax.legend()
    return _titled(explanation, ax)


def beeswarm(explanation: Explanation, output: str, top: int, ax: Any) -> Any:
    """Draw bins of features by their SHAP values; see `Explanation.beeswarm`."""
    import matplotlib as mpl

    shown = list(explanation.global_importance.head(top).index[::-1])
    ax = ax or _axes(len(shown))
    colours = mpl.colormaps["coolwarm"]
    bins = explanation.bins[explanation.bins["output"] == output]
    largest = max(bins["rows"].max() if len(bins) else 1, 1)
    for place, name in enumerate(shown):
        own = bins[bins["feature"] == name].reset_index(drop=True)
        if not len(own):
            ax.text(0.0, place, "bins withheld", va="center", ha="center", fontsize=8, color="gray")
            continue
        numbers = own["value"].to_numpy(float)
        low, high = np.nanmin(numbers, initial=np.inf), np.nanmax(numbers, initial=-np.inf)
        scaled = (numbers - low) / (high - low) if high > low else np.where(np.isnan(numbers), np.nan, 0.5)
        tints = ["gray" if np.isnan(each) else colours(each) for each in scaled]
        # Bins of about the same SHAP value would hide each other.
        heights = place + 0.22 * (np.arange(len(own)) % 3 - 1) * (len(own) > 3)
        shap, spread = own["shap"].to_numpy(float), own["std"].to_numpy(float)
        ax.hlines(heights, shap - spread, shap + spread, colors=tints, alpha=0.5, linewidth=1.5)
        sizes = _LARGEST * own["rows"].to_numpy(float) / largest
        ax.scatter(shap, heights, s=np.maximum(sizes, 8.0), c=tints, edgecolors="white", linewidths=0.5, zorder=3)
        for at, height, label in zip(shap, heights, own["label"], strict=True):
            if label:  # of texts and missing values, which have no place between low and high
                ax.annotate(label, (at, height + 0.24), fontsize=6, color="gray", ha="center", zorder=4)
    ax.axvline(0.0, color="gray", linewidth=0.8)
    ax.set_ylim(-0.7, len(shown) - 0.3)
    ax.set_yticks(range(len(shown)), [str(name) for name in shown])
    ax.set_xlabel(f"SHAP value ({explanation.output} of {output}): mean of a bin ± standard deviation")
    scale = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, 1), colours)
    legend = ax.figure.colorbar(scale, ax=ax, ticks=[0, 1], shrink=0.6, aspect=30)
    legend.set_ticklabels(["low", "high"])
    legend.set_label("feature's value")
    return _titled(explanation, ax)


def dependence(explanation: Explanation, feature: str, output: str, ax: Any) -> Any:
    """Draw mean SHAP values by bins of one feature; see `Explanation.dependence`."""
    own = explanation.dependence_table(feature, output)
    if not len(own):
        raise InvalidInput(
            f"Nothing is told of the bins of {feature!r}: {'; '.join(explanation.reasons) or 'there are none'}.",
            code="explain-no-bins",
            hint="Its importance is in global_importance.",
            column=feature,
        )
    ax = ax or _axes(6)
    numbers = own[own["value"].notna()]
    others = own[own["value"].isna()]
    if len(numbers):
        x, y, spread = (numbers[name].to_numpy(float) for name in ("value", "shap", "std"))
        ax.fill_between(x, y - spread, y + spread, alpha=0.2, step=None)
        (line,) = ax.plot(x, y)
        widest = max(numbers["rows"].max(), 1)
        ax.scatter(x, y, s=_LARGEST / 3 * numbers["rows"].to_numpy(float) / widest, color=line.get_color(), zorder=3)
        for _, row in others.iterrows():
            ax.axhline(row["shap"], linestyle=":", color="gray")
            ax.annotate(row["label"], (x.max(), row["shap"]), fontsize=8, color="gray")
    else:
        ax.bar(others["label"], others["shap"], yerr=others["std"], capsize=3)
        ax.tick_params(axis="x", rotation=30)
    ax.axhline(0.0, color="gray", linewidth=0.8)
    ax.set_xlabel(feature)
    ax.set_ylabel(f"SHAP value ({explanation.output} of {output})")
    return _titled(explanation, ax)


def _axes(lines: int) -> Any:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(7.0, max(2.4, 0.36 * lines + 1.2)), layout="constrained")[1]


def _titled(explanation: Explanation, ax: Any) -> Any:
    rows = f"{explanation.model} · {explanation.rows} rows of {len(explanation.nodes)} nodes · {explanation.how}"
    ax.set_title(rows, fontsize=8)
    return ax
