"""The local model poisoning attack on Krum of Fang, Cao, Jia and Gong, USENIX Security 2020, section 3.2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..aggregation.krum import scores
from .attack import Array, Attack, AttackView, as_rows, require_choice, require_number
from .geometry import products, squared_distances


@dataclass(frozen=True)
class KrumAttack(Attack):
    """Sends the model farthest against the benign direction that Krum still selects.

    With s the sign of the benign mean's change, the attackers send w_global − λ s, all but one of them with noise of
    `epsilon` on top, so that they look like a cluster. λ starts at the paper's upper bound, ::

        min_i Σ_{j near i} ‖w_i − w_j‖ / ((n − 2f − 1) √p)  +  max_i ‖w_i − w_global‖ / √p,

    over benign i and the n − f − 2 benign j nearest to each, and is halved until Krum, given all models, selects the
    crafted one or λ falls below `threshold`; then the last λ is used. p counts the coordinates with a direction
    (s ≠ 0), as the others do not move. Where n < 2f + 3, the counts n − f − 2 and n − 2f − 1 are taken as 1 at least.

    Parameters
    ----------
    threshold : float
        λ below which the search gives up, above 0.
    epsilon : float
        Half width of the uniform noise on the other attackers' weights.
    variant : str
        ``"full"``, or ``"released"``: the cruder form of FedQV's code, in which every attacker sends the negation of
        the weights of whichever of all models (theirs included) has the nearest neighbour.
    """

    threshold: float = 1e-5
    epsilon: float = 1e-6
    variant: str = "full"

    name: ClassVar[str] = "krum_attack"
    knowledge: ClassVar[str] = "all benign models of the round; that the rule is Krum"
    measured_by: ClassVar[str] = "loss of accuracy"
    paper: ClassVar[str] = "Fang et al., USENIX Security 2020, section 3.2"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self.threshold, "threshold", 0, above=True)
        require_number(self.epsilon, "epsilon", 0)
        require_choice(self.variant, "variant", ("full", "released"))

    def craft(self, view: AttackView) -> Array:
        """Search the largest λ that Krum falls for; see `Attack.craft`."""
        if self.variant == "released":
            return as_rows(-_nearest_neighbour(np.concatenate([view.honest, view.own])), view.own)
        direction = np.sign(view.honest.mean(axis=0, dtype=np.float64) - view.reference)
        step = _largest_selected_step(view.honest, view.reference, direction, len(view.own), self.threshold)
        crafted = as_rows(view.reference - step * direction, view.own)
        noise = view.rng.uniform(-self.epsilon, self.epsilon, (len(crafted) - 1, crafted.shape[1]))
        crafted[1:] += noise.astype(crafted.dtype)
        return crafted


def _largest_selected_step(
    benign: Array, reference: Array, direction: Array, attackers: int, threshold: float
) -> float:
    gram, along, length = products(benign, reference, direction)
    if length == 0:
        return 0.0
    count = len(benign) + attackers
    distances = np.sqrt(squared_distances(gram))
    near = np.sort(distances, axis=1)[:, 1 : 1 + max(1, count - attackers - 2)]
    step = near.sum(axis=1).min() / (max(1, count - 2 * attackers - 1) * math.sqrt(length))
    step += math.sqrt(gram.diagonal().max() / length)
    while step >= threshold and not _krum_selects_crafted(gram, along, length, attackers, step):
        step /= 2
    return float(step)


def _krum_selects_crafted(
    gram: NDArray[np.float64], along: NDArray[np.float64], length: float, attackers: int, step: float
) -> bool:
    """Run Krum on the benign models and `attackers` copies of reference − step · direction, which come first."""
    to_crafted = np.maximum(gram.diagonal() + 2 * step * along + step**2 * length, 0)
    count = attackers + len(gram)
    distances = np.zeros((count, count))
    distances[:attackers, attackers:] = to_crafted
    distances[attackers:, :attackers] = to_crafted[:, None]
    distances[attackers:, attackers:] = squared_distances(gram)
    score = scores(distances, min(attackers, count - 3))  # one neighbour at least
    return int(score.argmin()) < attackers


def _nearest_neighbour(models: Array) -> Array:
    origin = models[0]
    distances = squared_distances(products(models, origin, np.zeros_like(origin))[0])
    nearest = distances + np.diag(np.full(len(models), np.inf))
    chosen: Array = models[int(nearest.min(axis=1).argmin())]
    return chosen
