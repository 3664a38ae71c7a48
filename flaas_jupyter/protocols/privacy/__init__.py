"""Differential privacy of training: budgets, clipping, noise (docs/privacy.md).

`DifferentialPrivacy` is what a user asks for; `plan_privacy` turns it into noise for a run, or refuses the run;
`clip_update`, `add_noise` and `sample_poisson` are what a round does. Under secure aggregation members share the noise
out among themselves: `discrete_gaussian`, `discrete_laplace` and `DistributedNoise` make integers for it.
"""

from .accounting import epsilon_spent, noise_multiplier_for, rounds_within
from .discrete import discrete_gaussian, discrete_laplace, share_sigma
from .distributed import DistributedNoise, epsilon_of, rho_for, round_within, rounded_norm, sigma_for
from .mechanism import add_noise, clip_update, clip_updates, sample_poisson, secure_normal
from .plan import PrivacyPlan, plan_privacy
from .settings import DifferentialPrivacy

__all__ = [
    "DifferentialPrivacy",
    "DistributedNoise",
    "PrivacyPlan",
    "add_noise",
    "clip_update",
    "clip_updates",
    "discrete_gaussian",
    "discrete_laplace",
    "epsilon_of",
    "epsilon_spent",
    "noise_multiplier_for",
    "plan_privacy",
    "rho_for",
    "round_within",
    "rounded_norm",
    "rounds_within",
    "sample_poisson",
    "secure_normal",
    "share_sigma",
    "sigma_for",
]
