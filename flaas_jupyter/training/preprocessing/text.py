"""Texts as bags of words, or as sequences of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InvalidInput
from ...protocols.analytics.words import words_of
from . import limits
from .blocks import Blocks
from .engine import MISSING, ArrayEngine
from .statistics import Statistics
from .step import Fitted, Step, names_of, one_of, require, whole

_OUTPUTS = ("multi_hot", "count", "tf_idf", "int")


@dataclass(frozen=True)
class TextVectorize(Step):
    """Turn a text into numbers by its words.

    Words are what Keras's `TextVectorization` makes of a text: ASCII letters in lower case, punctuation taken out,
    divided at white space. A missing text has no words.

    Parameters
    ----------
    column : str
    vocabulary : sequence of str, optional
        The words that count. Without, those that at least as many rows of all nodes have as the owners want of a group.
    most : int
        Of those that are looked up, so many of the most frequent ones.
    output : str
        ``"multi_hot"``: columns ``<column>:<word>``, 1 where the text has the word; ``"count"``: how often;
        ``"tf_idf"``: times ln(1 + rows / (1 + rows with the word)), as Keras has it; ``"int"``: columns
        ``<column>[0]``, ``<column>[1]``, … with the words' places, for an `Embedding`: 0 after the last word, 1 for
        unknown ones, 2 for the first of the vocabulary.
    length : int
        Words of a text that ``"int"`` keeps.

    Raises
    ------
    InvalidInput
        Code ``bad-step``.
    """

    column: str
    vocabulary: Sequence[str] | None = None
    most: int = 1000
    output: str = "multi_hot"
    length: int = 64

    def __post_init__(self) -> None:
        if len(names_of(self.column, "TextVectorize")) != 1:
            raise InvalidInput("TextVectorize takes one column; use a step for each.", code="bad-step")
        one_of(self.output, _OUTPUTS, "output")
        whole(self.most, "most", limits.VOCABULARY)
        whole(self.length, "length", limits.SEQUENCE)
        if self.vocabulary is None:
            return
        strange = [word for word in self.vocabulary if not isinstance(word, str) or words_of(word) != [word]]
        if strange or not self.vocabulary or len(set(self.vocabulary)) != len(self.vocabulary):
            raise InvalidInput(
                f"The vocabulary must have different words in small letters without punctuation; got {strange[:5]!r}.",
                code="bad-step",
            )
        if self.output == "tf_idf":
            raise InvalidInput(
                "output='tf_idf' looks its vocabulary up, with the rows that have each word; leave vocabulary= out.",
                code="bad-step",
            )

    @property
    def questions(self) -> int:
        """How many private answers fitting it takes."""
        return 0 if self.vocabulary is not None else 2 if self.output == "tf_idf" else 1

    def fit(self, statistics: Statistics) -> TextVectorized:
        """Return the fitted step."""
        (name,) = names_of(self.column, "TextVectorize")
        require(statistics, [name], "text", "TextVectorize")
        rows: list[float] = []
        if self.vocabulary is not None:
            words = list(self.vocabulary)
        else:
            words, rows = statistics.vocabulary(name, self.most)
        if not words:
            raise InvalidInput(
                f"No word of {name!r} has enough rows to be told.",
                code="statistic-withheld",
                hint="List them: TextVectorize(..., vocabulary=[...]).",
                column=name,
            )
        weights: tuple[float, ...] = ()
        if self.output == "tf_idf":
            total = statistics.rows()
            weights = tuple(math.log1p(total / (1.0 + max(count, 0.0))) for count in rows)
        return TextVectorized(name, tuple(words), self.output, weights, self.length if self.output == "int" else 1)


@dataclass(frozen=True)
class TextVectorized(Fitted):
    """A vocabulary, and what becomes of its words."""

    kind = "text"

    name: str
    vocabulary: tuple[str, ...]
    output: str
    weights: tuple[float, ...] = ()
    length: int = 1

    @classmethod
    def read(cls, data: dict[str, Any]) -> TextVectorized:
        """Check `to_dict`'s form."""
        wanted = ("kind", "column", "vocabulary", "output", "weights", "length")
        entries = limits.mapping(data, "a step of text vectorisation", wanted)
        vocabulary = limits.texts(entries["vocabulary"], "vocabulary", limits.VOCABULARY)
        if not vocabulary or any(words_of(word) != [word] for word in vocabulary):
            raise limits.bad("a vocabulary must have words in small letters without punctuation")
        output = limits.choice(entries["output"], "output", _OUTPUTS)
        weights = limits.numbers(entries["weights"], "weights", len(vocabulary) if output == "tf_idf" else 0)
        length = limits.count(entries["length"], "length", limits.SEQUENCE)
        return cls(limits.text(entries["column"], "column"), tuple(vocabulary), output, tuple(weights), length)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "kind": self.kind,
            "column": self.name,
            "vocabulary": list(self.vocabulary),
            "output": self.output,
            "weights": list(self.weights),
            "length": self.length,
        }

    def run(self, blocks: Blocks) -> None:
        """Make the columns."""
        blocks.require([self.name], "text", "TextVectorize")
        engine, ops = blocks.engine, blocks.engine.ops
        texts = blocks.take([self.name])
        found = self._vectors(engine, texts)
        default = blocks.defaults.get(self.name)
        if default is not None:
            alone = np.empty((1, 1), object)
            alone[0, 0] = default
            stands = self._vectors(ArrayEngine(), alone)
            found = ops.where(ops.equal(engine.lookup(texts, [default]), MISSING), stands, found)
        if self.output == "int":
            names = [f"{self.name}[{place}]" for place in range(self.length)]
        else:
            names = [f"{self.name}:{word}" for word in self.vocabulary]
        blocks.expand(self.name, names, found)

    def _vectors(self, engine: Any, texts: Any) -> Any:
        if self.output == "int":
            return engine.cast(engine.sequence(texts, self.vocabulary, self.length), "float64")
        counts = engine.tokens(texts, self.vocabulary)
        if self.output == "multi_hot":
            return engine.cast(engine.ops.greater(counts, 0.0), "float64")
        if self.output == "tf_idf":
            return engine.ops.multiply(counts, np.array([self.weights], np.float64))
        return counts
