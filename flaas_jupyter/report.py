"""`model.federated_report`: a pandas table whose ``.plot()`` draws what one looks at first, the metrics by round."""

from __future__ import annotations

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
            kwargs = {"y": shown, "subplots": True, "sharex": True, "marker": ".", **kwargs}
        return super().__call__(*args, **kwargs)


class FederatedReport(pd.DataFrame):
    """One row per round; everything else is pandas."""

    @property
    def _constructor(self) -> Any:
        return FederatedReport

    @property
    def plot(self) -> _RoundPlot:
        """Draw columns by round: the metrics unless told otherwise; takes pandas' own arguments."""
        return _RoundPlot(self)
