"""Attacks on federated learning by name, for simulations that measure what a defence is worth.

An attack is one module beside this one and one line in `_ATTACKS`; the simulator, the panel and the documentation then
find it.
"""

from __future__ import annotations

from ..registry import Registry
from .attack import Attack, AttackTest, AttackView
from .backdoor import Backdoor
from .gaussian import Gaussian
from .krum_attack import KrumAttack
from .label_flip import LabelFlip
from .min_max import MinMax, MinSum
from .model_replacement import ModelReplacement
from .neurotoxin import Neurotoxin
from .qv_adaptive import QVAdaptive
from .sign_flip import SignFlip
from .trim_attack import TrimAttack

__all__ = [
    "Attack",
    "AttackTest",
    "AttackView",
    "Backdoor",
    "Gaussian",
    "KrumAttack",
    "LabelFlip",
    "MinMax",
    "MinSum",
    "ModelReplacement",
    "Neurotoxin",
    "QVAdaptive",
    "SignFlip",
    "TrimAttack",
    "attack",
    "describe",
    "names",
    "register",
]

_ATTACKS: dict[str, type[Attack]] = {
    "backdoor": Backdoor,
    "gaussian": Gaussian,
    "krum_attack": KrumAttack,
    "label_flip": LabelFlip,
    "min_max": MinMax,
    "min_sum": MinSum,
    "model_replacement": ModelReplacement,
    "neurotoxin": Neurotoxin,
    "qv_adaptive": QVAdaptive,
    "sign_flip": SignFlip,
    "trim_attack": TrimAttack,
}

attack: Registry[Attack] = Registry(
    "attack", "attack", _ATTACKS, facts=("knowledge", "measured_by", "paper", "acts_on")
)
names = attack.names
register = attack.register
describe = attack.describe
