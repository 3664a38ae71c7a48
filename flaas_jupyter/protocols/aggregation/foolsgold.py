"""FoolsGold: clients whose updates are too alike, over all rounds, count less.

With g_i = w_i − w_global and H_i the sum of client i's g over its rounds: cs_ij = cos(H_i, H_j), v_i = max_{j≠i} cs_ij
(at least 0); where v_i < v_j, cs_ij ← cs_ij v_i / v_j (pardoning); a_i = 1 − max_j cs_ij within [0, 1], divided by the
largest a (1 becomes 0.99), a_i ← ln(a_i / (1 − a_i)) + 0.5 within [0, 1]; w ← w_global + Σ a_i g_i / n. Where all a
are 0 the global model is kept.
O(n² p) time in BLAS, O(n · block) memory, and H to keep: p numbers per client ever seen, or as many as `columns` has.

Algorithm 1 of Fung, Yoon and Beschastnikh, "The Limitations of Federated Learning in Sybil Settings", RAID 2020, with
its κ = 1, without its weighting of features.

Defends against sybils that push the same way, however many. Does not defend against a single attacker, nor against
attackers that decorrelate; honest clients with the same data are taken for sybils.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .blocks import blocks
from .checks import is_count, require_option, state_array, state_entries, wrong_state
from .rule import Aggregated, Cohort, Needs, Rule


def credibility(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a of each client, shape (n,), from the cosines of their histories (n, n)."""
    alike = cosines.copy()
    np.fill_diagonal(alike, 0.0)
    nearest = alike.max(axis=1)
    pardoned = nearest[:, None] < nearest
    alike *= np.divide(nearest[:, None], nearest, out=np.ones_like(alike), where=pardoned)
    distinct: NDArray[np.float64] = np.clip(1.0 - alike.max(axis=1), 0.0, 1.0)
    distinct[distinct < 1e-12] = 0.0  # clones, but for rounding
    if distinct.any():
        distinct /= distinct.max()
        distinct[distinct == 1.0] = 0.99
        with np.errstate(divide="ignore"):
            distinct = np.clip(np.log(distinct / (1.0 - distinct)) + 0.5, 0.0, 1.0)
    return distinct


@dataclass
class FoolsGold(Rule):
    """Mean of the updates, less those of clients that are too alike.

    Parameters
    ----------
    columns : sequence of two int, optional
        First and last + 1 of the parameters that are compared, such as those of the last layer; by default all.
    """

    name: ClassVar[str] = "foolsgold"
    needs: ClassVar[Needs] = Needs.UPDATES
    judges_clients: ClassVar[bool] = True
    summary: ClassVar[str] = "Weighs down clients whose updates are too alike over all rounds."
    defends: ClassVar[str] = "Sybils that push the same way, however many they are."
    limits: ClassVar[str] = "A single attacker passes; honest clients with the same data are taken for sybils."

    columns: Sequence[int] | None = None
    _histories: dict[str, NDArray[np.float64]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        fine = self.columns is None or (
            isinstance(self.columns, list | tuple)
            and len(self.columns) == 2
            and all(is_count(each) for each in self.columns)
            and self.columns[0] < self.columns[1]
        )
        require_option(fine, self.name, "columns", self.columns, "None or [first, last + 1]")
        self.columns = None if self.columns is None else list(self.columns)

    def aggregate(self, cohort: Cohort) -> Aggregated:
        """Return the weighted mean, with the column credibility (a); contributions are a / Σ a."""
        reference = cohort.require_reference("FoolsGold")
        seen = self._seen(cohort)
        width = seen.stop - seen.start
        histories = [self._histories.setdefault(client, np.zeros(width)) for client in cohort.client_ids]
        products = np.zeros((len(cohort), len(cohort)))
        for block in blocks(len(cohort), width):
            rows = cohort.updates[:, seen][:, block] - reference[seen][block]
            for history, row in zip(histories, rows, strict=True):
                row += history[block]
                history[block] = row
            products += rows @ rows.T
        norms = np.sqrt(products.diagonal())
        lengths = np.outer(norms, norms)
        cosines = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
        trust = credibility(cosines)
        weights = cohort.combine(trust / len(cohort), reference)
        contributions = trust / trust.sum() if trust.any() else trust
        return Aggregated(weights, contributions, {"credibility": trust})

    def _seen(self, cohort: Cohort) -> slice:
        parameters = cohort.updates.shape[1]
        first, last = (0, parameters) if self.columns is None else self.columns
        if last > parameters:
            raise InvalidInput(
                f"FoolsGold compares the parameters {first} to {last}; the model has {parameters}.",
                code="bad-aggregation-option",
                hint="columns=[first, last + 1] must lie within the model.",
                option="columns",
            )
        for history in self._histories.values():
            if history.size != last - first:
                raise wrong_state(
                    self.name, f"its histories are of {history.size} parameters, {last - first} are compared"
                )
        return slice(first, last)

    def state_dict(self) -> dict[str, Any]:
        """Return ``{"clients": k ids, "histories": array (k, parameters compared)}``; empty before the first round."""
        if not self._histories:
            return {}
        return {"clients": list(self._histories), "histories": np.stack(list(self._histories.values()))}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the histories."""
        if not state:
            self._histories = {}
            return
        clients, rows = state_entries(state, self.name, ["clients", "histories"])
        names = [str(client) for client in clients] if isinstance(clients, list | tuple | np.ndarray) else []
        histories = state_array(rows, self.name, "histories", 2)
        if not names or len(set(names)) != len(names) or len(names) != len(histories):
            raise wrong_state(self.name, "clients must be distinct ids, one for each row of histories")
        self._histories = dict(zip(names, histories, strict=True))
