"""Differential privacy of training: budgets, clipping, noise (docs/privacy.md).

`DifferentialPrivacy` is what a user asks for; `plan_privacy` turns it into noise for a run, or refuses the run;
`clip_update`, `add_noise` and `sample_poisson` are what a round does.
"""

from .accounting import epsilon_spent, noise_multiplier_for, rounds_within
from .mechanism import add_noise, clip_update, clip_updates, sample_poisson, secure_normal
from .plan import PrivacyPlan, plan_privacy
from .settings import DifferentialPrivacy

__all__ = [
    "DifferentialPrivacy",
    "PrivacyPlan",
    "add_noise",
    "clip_update",
    "clip_updates",
    "epsilon_spent",
    "noise_multiplier_for",
    "plan_privacy",
    "rounds_within",
    "sample_poisson",
    "secure_normal",
]
