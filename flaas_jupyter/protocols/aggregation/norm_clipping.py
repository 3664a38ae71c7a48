"""Norm clipping: federated averaging of updates that are shortened to a common length.

With g_k = w_k − w_global: w ← w_global + Σ a_k g_k min(1, C / ‖g_k‖), a_k = n_k / n or 1 / number of clients.
O(n·p) time in two walks over the updates, O(n · block) memory.

Section 5 ("norm thresholding") of Sun, Kairouz, Suresh and McMahan, "Can You Really Backdoor Federated Learning?",
2019 (arXiv 1911.07963).

Defends against model replacement and other attacks that need long updates. Does not defend against attackers that
keep within the length, round after round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .checks import is_number, require_option
from .rule import Aggregated, Cohort, Needs, Rule
from .similarity import norms_from


@dataclass
class NormClipping(Rule):
    """Mean of the updates, each clipped to the norm C.

    Parameters
    ----------
    clip : float, optional
        C, above 0; by default the median of the round's norms, since a fitting C depends on model and optimizer.
    weighted : bool
        Weight by numbers of examples, as FedAvg does.
    """

    name: ClassVar[str] = "norm_clipping"
    needs: ClassVar[Needs] = Needs.UPDATES
    summary: ClassVar[str] = "FedAvg of updates that are shortened to a common length."
    defends: ClassVar[str] = "Model replacement and other attacks by long updates."
    limits: ClassVar[str] = "Attackers that keep within the length, round after round."

    clip: float | None = None
    weighted: bool = True

    def __post_init__(self) -> None:
        fine = self.clip is None or (is_number(self.clip, 0.0) and self.clip > 0)
        require_option(fine, self.name, "clip", self.clip, "None or a number above 0")

    def aggregate(self, cohort: Cohort) -> Aggregated:
        """Return the mean of clipped updates; a client's contribution is its weight a_k before clipping."""
        reference = cohort.require_reference("Norm clipping")
        shares = cohort.shares if self.weighted else np.full(len(cohort), 1.0 / len(cohort))
        norms = norms_from(cohort.updates, reference)
        clip = float(np.median(norms)) if self.clip is None else float(self.clip)
        scales = np.divide(clip, norms, out=np.ones_like(norms), where=norms > clip)
        return Aggregated(cohort.combine(shares * scales, reference), shares, {"norm": norms, "scale": scales})
