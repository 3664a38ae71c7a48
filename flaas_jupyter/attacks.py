"""``flaas.attacks``: the attacks of `flaas_jupyter.protocols.attacks`, for simulations."""

from .protocols.attacks import *  # noqa: F403
from .protocols.attacks import __all__ as __all__
