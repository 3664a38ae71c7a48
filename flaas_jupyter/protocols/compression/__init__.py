"""Compression of updates: fewer bytes from clients to the aggregator, with or without loss (docs/transfers.md).

One file a compression and one line in the registry. What goes together with secure aggregation, privacy and aggregation
rules stands in `flaas_jupyter.protocols.combination`.
"""

from __future__ import annotations

from collections.abc import Callable

from ..registry import Registry
from .bfloat16 import BFloat16
from .compressor import Compressed, Compressor
from .feedback import ErrorFeedback
from .float16 import Float16
from .int8 import Int8
from .int16 import Int16
from .lossless import Lossless
from .randomk import RandomK
from .topk import TopK

__all__ = [
    "BFloat16",
    "Compressed",
    "Compressor",
    "ErrorFeedback",
    "Float16",
    "Int8",
    "Int16",
    "Lossless",
    "RandomK",
    "TopK",
    "compression",
]

_COMPRESSORS: dict[str, Callable[..., Compressor]] = {
    "bfloat16": BFloat16,
    "float16": Float16,
    "int16": Int16,
    "int8": Int8,
    "lossless": Lossless,
    "randomk": RandomK,
    "topk": TopK,
}

compression = Registry(
    "update compression", "compression", _COMPRESSORS, facts=("summary", "lossy", "remembers", "value_bits")
)
"""The compressions that can be asked for by name: call it to make one, ``names()`` lists them.

Examples
--------
>>> compression("topk", fraction=0.1)
TopK(fraction=0.1)
"""
