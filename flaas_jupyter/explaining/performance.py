"""How well a model does over a federation, and at each client whose owner tells it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..analytics import grouping
from ..analytics.calls import Call, Options
from ..analytics.results import Facts
from ..analytics.scope import Scope
from ..errors import InvalidInput, NotAllowed
from ..protocols.analytics import statistics
from ..protocols.analytics.release import Released
from ..training.feature_encoding import ASKED

if TYPE_CHECKING:
    from .travelling import Travelling


class Performance(dict[str, float]):
    """Metrics over the rows of all nodes by name, the loss first; and what is told of single nodes.

    Parameters
    ----------
    metrics : dict of str to float
    rows : int
        Of all nodes.
    by_client : DataFrame
        By client: ``rows``, the metrics to three digits, ``suppressed``, ``reason``.
    facts : Facts
    """

    def __init__(self, metrics: dict[str, float], rows: int, by_client: pd.DataFrame, facts: Facts) -> None:
        super().__init__(metrics)
        self.rows, self.by_client, self.facts = rows, by_client, facts

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes whose rows are in it."""
        return self.facts.nodes

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why figures were withheld."""
        return self.facts.reasons

    @property
    def suppressed(self) -> pd.Series[bool]:
        """Which clients' figures are withheld."""
        found: pd.Series[bool] = self.by_client["suppressed"]
        return found

    def plot(self, metric: str | None = None, *, ax: Any = None) -> Any:
        """Draw one metric by client, and of all together as a line; return matplotlib's axes.

        Parameters
        ----------
        metric : str, optional
            The last by default.
        ax : matplotlib Axes, optional

        Raises
        ------
        InvalidInput
            Code ``unknown-metric``.
        """
        import matplotlib.pyplot as plt

        name = list(self)[-1] if metric is None else metric
        if name not in self:
            raise InvalidInput(f"There is no metric {name!r}; there are {', '.join(self)}.", code="unknown-metric")
        ax = ax or plt.subplots(layout="constrained")[1]
        told = self.by_client[~self.by_client["suppressed"]]
        ax.bar(told.index, told[name])
        for place, client in enumerate(self.by_client.index[self.by_client["suppressed"]], start=len(told)):
            ax.bar([client], [0.0])
            ax.text(place, 0.0, "withheld", rotation=90, ha="center", va="bottom", fontsize=8, color="gray")
        ax.axhline(self[name], linestyle="--", color="gray", label=f"all: {self[name]:.4g}")
        ax.set_ylabel(name)
        ax.legend()
        return ax

    def __repr__(self) -> str:
        return f"{dict(self)!r} over {self.rows} rows of {len(self.nodes)} nodes"

    def _repr_html_(self) -> str:
        whole = pd.DataFrame([{"rows": self.rows, **self}], index=["all nodes"])
        table = pd.concat([whole, self.by_client.drop(columns=["suppressed", "reason"])])
        return f"<div>{table.to_html(na_rep='–')}<small>{html.escape(self.facts.line())}</small></div>"


def evaluate(
    federation: Any, model: Travelling, *, target: str | None = None, by_client: bool = True, via: str = "mpc"
) -> Performance:
    """Measure a model on the rows of all nodes together, and on those of each that tells it.

    Parameters
    ----------
    federation : ConnectedFederation or SimulatedFederation
    model : Travelling
    target : str, optional
        Column that is predicted; that of the data set by default.
    by_client : bool
        Whether single nodes are asked for.
    via : str
        ``"mpc"`` or ``"he"``.

    Raises
    ------
    InvalidInput
        ``no-target``; ``unknown-column``; ``model-does-not-fit``.
    NotAllowed
        ``policy-explain`` and the other refusals of statistics; ``performance-withheld``: there are too few rows.
    """
    source = federation.analytics.source
    schema = {str(column["name"]): column for column in source.schema}
    features = model.features or tuple(name for name, column in schema.items() if column["role"] == "feature")
    chosen = target or next((name for name, column in schema.items() if column["role"] == "target"), None)
    if chosen is None:
        raise InvalidInput(
            "The federation's data have no target, which predictions could be held against.",
            code="no-target",
            hint="target=... names a column.",
        )
    for name in (*features, chosen):
        if name not in schema:
            raise InvalidInput(
                f"The federation has no column {name!r}.",
                code="unknown-column",
                hint=f"It has {', '.join(list(schema)[:20])}.",
                column=name,
            )
    own = model.at_hand("prediction")
    names = dict(source.names)
    document = {
        "v": 1,
        "kind": "performance",
        "columns": [*features, chosen],
        "model": model.reference("prediction").to_dict(),
        "states": own.states,
        "nodes": list(names) if by_client else [],
    }
    statistic = statistics.parse(document)
    with Call(source, "performance", Options(Scope(), grouping.Groups(), via, None, {})) as call:
        released = _asked(call, statistic.to_dict(), via, model, str(getattr(federation, "dataset", "simulated")))
        if (len(released.counts), released.fields) != (statistic.cells, statistic.fields):
            raise InvalidInput("The releaser's answer does not belong to the question.", code="bad-release")
        call.releases.append(released)
        facts = call.facts(0.0)
    if np.isnan(released.counts[0]):
        raise NotAllowed(
            f"Nothing is told: {'; '.join(released.reasons)}.",
            code="performance-withheld",
            hint="Measure over more rows.",
        )
    figures = released.values[:, 1 : 1 + len(own.names)]
    table = _by_client(federation, names if by_client else {}, own.names, released.counts, figures)
    return Performance(dict(zip(own.names, figures[0].tolist(), strict=True)), round(released.counts[0]), table, facts)


def _asked(call: Call, document: dict[str, Any], via: str, model: Travelling, dataset: str) -> Released:
    """Ask; a model that does not fit is told so with the name of the data set, which the statistic does not know."""
    try:
        return call.query.step(document, via, model.tensors)
    except InvalidInput as error:
        if error.code != "model-does-not-fit":
            raise
        message = error.message.replace(f"data set {ASKED!r}", f"data set {dataset!r}")
        raise InvalidInput(message, code=error.code, hint=error.hint, **error.details) from error


def _by_client(
    federation: Any, names: dict[str, str], metrics: Sequence[str], counts: Any, figures: Any
) -> pd.DataFrame:
    """Return what is told of each client."""
    listed = federation.clients
    clients = listed.set_index("id")["rows"] if "id" in listed else {}
    rows = []
    for place, (node, name) in enumerate(names.items(), start=1):
        hidden = bool(np.isnan(counts[place]))
        known = clients.get(node)
        rows.append(
            {
                "client": name,
                "rows": known if known is not None else (np.nan if hidden else round(counts[place])),
                **dict(zip(metrics, figures[place].tolist(), strict=True)),
                "suppressed": hidden,
                "reason": "too few rows, or its owner does not tell it, or others would be given away"
                if hidden
                else "",
            }
        )
    columns = ["client", "rows", *metrics, "suppressed", "reason"]
    return pd.DataFrame(rows, columns=columns).set_index("client").astype({"suppressed": bool})
