"""Integers of 8 bits: a quarter of the bytes of float32; see `integers`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .integers import Integers


@dataclass
class Int8(Integers):
    """8-bit integers with a scale for each block, rounded so that the mean is exact: a quarter of the bytes."""

    name: ClassVar[str] = "int8"
    summary: ClassVar[str] = "8-bit integers with a scale for each block; 8 bits a value under secure aggregation."
    value_bits: ClassVar[int | None] = 8
    dtype: ClassVar[str] = "|i1"
