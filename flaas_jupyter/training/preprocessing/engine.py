"""What fitted steps are written over: arithmetic that NumPy and Keras both have, and what texts need beside it.

`ArrayEngine` computes with arrays. `serving.KerasEngine` builds the same computation out of Keras's own layers and
operations. Blocks have the shape (rows, width); numbers are float64 with NaN where missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...protocols.analytics.words import words_of

MISSING, UNKNOWN, FIRST = 0, 1, 2
"""Places that `Engine.lookup` gives to missing texts, to unknown ones, and to the first of the vocabulary."""


class Engine(Protocol):
    """Blocks of one kind, and what can be done with them."""

    ops: Any
    """`numpy` or `keras.ops`."""

    def cast(self, block: Any, dtype: str) -> Any:
        """Return a block in another type."""

    def join(self, blocks: Sequence[Any]) -> Any:
        """Return blocks side by side."""

    def slice(self, block: Any, start: int, stop: int) -> Any:
        """Return some columns of a block."""

    def lookup(self, texts: Any, vocabulary: Sequence[str]) -> Any:
        """Return each text's place, shape (rows, 1): `MISSING`, `UNKNOWN`, or `FIRST` + its place in `vocabulary`."""

    def tokens(self, texts: Any, vocabulary: Sequence[str]) -> Any:
        """Return how often each token of `vocabulary` is in each text, shape (rows, len(vocabulary)), float64."""

    def sequence(self, texts: Any, vocabulary: Sequence[str], length: int) -> Any:
        """Return the places of the first `length` tokens, as `lookup` numbers them; 0 after the last."""

    def digits(self, texts: Any, length: int) -> Any:
        """Return the first `length` characters as digits, shape (rows, length), int; -1 for what is none."""


class ArrayEngine:
    """NumPy arrays; texts are arrays of objects, None where missing."""

    ops: Any = np

    def cast(self, block: NDArray[Any], dtype: str) -> NDArray[Any]:
        """Return a block in another type."""
        with np.errstate(over="ignore"):  # what is too large becomes infinite, as in Keras
            return block.astype(dtype, copy=False)

    def join(self, blocks: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return blocks side by side."""
        return np.concatenate(list(blocks), axis=1)

    def slice(self, block: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
        """Return some columns of a block."""
        return block[:, start:stop]

    def lookup(self, texts: NDArray[Any], vocabulary: Sequence[str]) -> NDArray[np.int64]:
        """Return each text's place."""
        places = {value: FIRST + place for place, value in enumerate(vocabulary)}
        listed = texts[:, 0].tolist()
        found = [MISSING if text is None else places.get(text, UNKNOWN) for text in listed]
        return np.array(found, np.int64).reshape(-1, 1)

    def tokens(self, texts: NDArray[Any], vocabulary: Sequence[str]) -> NDArray[np.float64]:
        """Return how often each token is in each text."""
        places = {token: place for place, token in enumerate(vocabulary)}
        counts = np.zeros((len(texts), len(vocabulary)))
        for row, text in enumerate(texts[:, 0].tolist()):
            for token in words_of(text):
                place = places.get(token)
                if place is not None:
                    counts[row, place] += 1
        return counts

    def sequence(self, texts: NDArray[Any], vocabulary: Sequence[str], length: int) -> NDArray[np.int64]:
        """Return the places of the first tokens."""
        places = {token: FIRST + place for place, token in enumerate(vocabulary)}
        found = np.zeros((len(texts), length), np.int64)
        for row, text in enumerate(texts[:, 0].tolist()):
            for at, token in enumerate(words_of(text)[:length]):
                found[row, at] = places.get(token, UNKNOWN)
        return found

    def digits(self, texts: NDArray[Any], length: int) -> NDArray[np.int64]:
        """Return the first characters as digits."""
        padded = ["" if text is None else text[:length] for text in texts[:, 0].tolist()]
        codes = np.array(padded, f"<U{length}").view(np.uint32).reshape(len(padded), length).astype(np.int64)
        return np.where((codes >= ord("0")) & (codes <= ord("9")), codes - ord("0"), -1)
