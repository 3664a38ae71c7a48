"""What is left of the risk that somebody is found again in released rows, and what was lost.

The attackers are those of El Emam and Dankar (JAMIA 2008) and Dankar and El Emam (PAIS 2010): the *prosecutor* knows
that a person is among the rows; the *journalist* does not, and does no better, so that the prosecutor's risk bounds the
journalist's; the *marketer* wants as many persons as possible. Information loss is the normalised certainty penalty
(Xu et al., KDD 2006): 0 where a value is told as it is, 1 where nothing is told.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RiskFigures:
    """Risk of rows that fall into classes.

    Attributes
    ----------
    rows, classes : int
    smallest, largest : int
        Sizes of classes.
    mean, median : float
    unique : int
        Rows that are alone in their class.
    prosecutor : float
        Largest probability of finding a known person's row: 1 / smallest class.
    journalist : float
        The same without knowing that the person is among the rows: at most this.
    marketer : float
        Share of all rows that is found on average: classes / rows.
    """

    rows: int
    classes: int
    smallest: int
    largest: int
    mean: float
    median: float
    unique: int
    prosecutor: float
    journalist: float
    marketer: float

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return asdict(self)


def risk_figures(sizes: NDArray[np.int64]) -> RiskFigures:
    """Return the risk of classes of these sizes.

    Parameters
    ----------
    sizes : ndarray of int, shape (classes,)
        At least one class, each of one row at least.
    """
    rows, smallest = int(sizes.sum()), int(sizes.min())
    return RiskFigures(
        rows=rows,
        classes=len(sizes),
        smallest=smallest,
        largest=int(sizes.max()),
        mean=float(sizes.mean()),
        median=float(np.median(sizes)),
        unique=int(np.count_nonzero(sizes == 1)),
        prosecutor=1.0 / smallest,
        journalist=1.0 / smallest,
        marketer=len(sizes) / rows,
    )
