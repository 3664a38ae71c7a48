"""Integers of 16 bits: half the bytes of float32; see `integers`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .integers import Integers


@dataclass
class Int16(Integers):
    """16-bit integers with a scale for each block, rounded so that the mean is exact: half the bytes."""

    name: ClassVar[str] = "int16"
    summary: ClassVar[str] = "16-bit integers with a scale for each block; 16 bits a value under secure aggregation."
    value_bits: ClassVar[int | None] = 16
    dtype: ClassVar[str] = "<i2"
