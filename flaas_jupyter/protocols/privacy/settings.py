"""What a user asks for: a budget, a clipping bound, and who adds the noise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import InvalidInput

MODES = ("central", "local", "distributed")


@dataclass(frozen=True)
class DifferentialPrivacy:
    """Client-level (ε, δ) differential privacy of a whole training run.

    Parameters
    ----------
    epsilon : float
        Budget of the run, above 0.
    delta : float
        Probability with which the bound may fail, between 0 and 1; choose it well below 1 / number of clients.
    clip : float
        Bound on the L2 norm of one client's update, above 0. Longer updates are shortened to it.
    mode : str
        ``"central"``: the aggregator adds noise to the sum of the updates; it is trusted with the sum. ``"local"``:
        every client adds noise to its own update; nobody is trusted, and far more noise is needed. ``"distributed"``:
        every client adds a share of the sum's noise before its update is masked, so that under secure aggregation the
        sum opens with as much noise as central privacy adds, and nobody sees it without.
    noise_multiplier : float, optional
        Noise's standard deviation in units of the sensitivity; by default the smallest that keeps to the budget.

    Raises
    ------
    InvalidInput
        Code ``bad-privacy``: the field, its value and what is allowed.

    Examples
    --------
    >>> DifferentialPrivacy(epsilon=8, delta=1e-5, clip=1.0).sensitivity
    1.0
    """

    epsilon: float
    delta: float
    clip: float
    mode: str = "central"
    noise_multiplier: float | None = None

    def __post_init__(self) -> None:
        _require_positive(self.epsilon, "epsilon")
        _require_positive(self.clip, "clip")
        _require_positive(self.delta, "delta", below=1)
        if self.noise_multiplier is not None:
            _require_positive(self.noise_multiplier, "noise_multiplier")
        if self.mode not in MODES:
            raise InvalidInput(
                f"mode is {self.mode!r}; it must be one of {', '.join(map(repr, MODES))}.", code="bad-privacy"
            )

    @property
    def sensitivity(self) -> float:
        """How far what is noised can move, in L2 norm, when one client's data are other ones.

        Central and distributed: by `clip`, the sum with the client's update or without it. Local: by twice `clip`, from
        any update to any other, since whose update it is remains known.
        """
        return 2 * self.clip if self.mode == "local" else self.clip

    @property
    def counts_alike(self) -> bool:
        """Whether all updates count for the same: the noise of a sum is made for the longest, whoever's it is."""
        return self.mode != "local"

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DifferentialPrivacy:
        """Rebuild the settings from `to_dict`.

        Raises
        ------
        InvalidInput
            Code ``bad-privacy``: a field is missing, unknown or not acceptable.
        """
        fields = {each.name: each.default is dataclasses.MISSING for each in dataclasses.fields(cls)}
        unknown = sorted(set(data) - set(fields))
        missing = sorted(name for name, required in fields.items() if required and name not in data)
        if unknown or missing:
            raise InvalidInput(
                f"Settings of differential privacy have the fields {', '.join(fields)}; "
                f"unknown: {', '.join(unknown) or 'none'}; missing: {', '.join(missing) or 'none'}.",
                code="bad-privacy",
            )
        return cls(**data)


def _require_positive(value: Any, name: str, *, below: float = math.inf) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < below:
        allowed = "a finite number above 0" if below == math.inf else f"a number above 0 and below {below:g}"
        raise InvalidInput(f"{name} is {value!r}; it must be {allowed}.", code="bad-privacy")
