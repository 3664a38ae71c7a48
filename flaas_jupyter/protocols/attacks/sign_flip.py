"""Sign flipping: what was learnt, turned around."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .attack import Array, Attack, AttackView, require_number


@dataclass(frozen=True)
class SignFlip(Attack):
    """Sends the negated update, w_global − scale · (w − w_global).

    Parameters
    ----------
    scale : float
        How far to go the wrong way, above 0; 1 keeps the update's norm.
    """

    scale: float = 1.0

    name: ClassVar[str] = "sign_flip"
    knowledge: ClassVar[str] = "nothing more"
    measured_by: ClassVar[str] = "loss of accuracy"
    paper: ClassVar[str] = "Karimireddy, He and Jaggi, ICLR 2022; Li et al. (RSA), AAAI 2019"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self.scale, "scale", 0, above=True)

    def craft(self, view: AttackView) -> Array:
        """Turn each malicious client's update around; see `Attack.craft`."""
        crafted: Array = view.reference - self.scale * (view.own - view.reference)
        return crafted.astype(view.own.dtype)
