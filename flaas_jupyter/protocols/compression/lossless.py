"""Lossless compression: the weights bit for bit, in fewer bytes.

Training moves most weights by little, so the bits of w and of the weights g that it started from agree at the front:
sign, exponent, the top of the mantissa. What is sent is w XOR g, which is zero there, byte plane by byte plane (the
first bytes of all values, then the second ones, …, as in Blosc and HDF5's shuffle filter) through Zstandard (RFC 8878).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .compressor import Compressed, Compressor, Weights, malformed

_LEVEL = 1  # of Zstandard: the higher ones take five times as long for one byte in a hundred
_WORDS: dict[int, np.dtype[Any]] = {4: np.dtype("<u4"), 8: np.dtype("<u8")}


@dataclass
class Lossless(Compressor):
    """The weights bit for bit, in fewer bytes."""

    name: ClassVar[str] = "lossless"
    summary: ClassVar[str] = "The weights bit for bit, in fewer bytes."
    lossy: ClassVar[bool] = False

    def compress(
        self,
        weights: Weights,
        start: Weights,
        *,
        rng: np.random.Generator,
        common: bytes = b"",
        carried: Weights | None = None,
    ) -> Compressed:
        """Compress the weights; nothing is drawn or carried."""
        changed = _words(weights.astype(start.dtype, copy=False)) ^ _words(start)
        planes = np.ascontiguousarray(changed.view(np.uint8).reshape(start.size, -1).T)
        packed = _zstandard().ZstdCompressor(level=_LEVEL).compress(planes.data)
        return Compressed({"zstd": np.frombuffer(packed, np.uint8)}, weights, None, 0.0)

    def restore(self, tensors: Mapping[str, NDArray[Any]], start: Weights, *, common: bytes = b"") -> Weights:
        """Return the weights; what expands to more or less than a weight vector is refused unexpanded."""
        packed = tensors.get("zstd")
        if set(tensors) != {"zstd"} or packed is None or packed.dtype != np.uint8 or packed.ndim != 1:
            raise malformed("it is not one sequence of bytes")
        zstandard = _zstandard()
        frame = packed.tobytes()
        try:
            if zstandard.get_frame_parameters(frame).content_size != start.nbytes:
                raise malformed(f"it does not expand to {start.nbytes} bytes")
            planes = np.frombuffer(zstandard.ZstdDecompressor().decompress(frame), np.uint8)
        except zstandard.ZstdError as error:
            raise malformed(str(error)) from error
        if planes.size != start.nbytes:
            raise malformed(f"it does not expand to {start.nbytes} bytes")
        changed = np.ascontiguousarray(planes.reshape(-1, start.size).T).view(_WORDS[start.itemsize]).reshape(-1)
        weights: Weights = (changed ^ _words(start)).view(start.dtype)
        return weights


def _words(weights: Weights) -> NDArray[Any]:
    words: NDArray[Any] = np.ascontiguousarray(weights, dtype=weights.dtype.newbyteorder("<")).view(
        _WORDS[weights.itemsize]
    )
    return words


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise InvalidInput(
            "Lossless compression needs the package zstandard, which is not installed.",
            code="no-zstandard",
            hint="Run `pip install 'flaas_jupyter[node]'`.",
        ) from error
    return zstandard
