"""Words of a text, as Keras's `TextVectorization` makes them.

ASCII letters are put into lower case, punctuation is taken out, and the rest is divided at white space.
"""

from __future__ import annotations

PUNCTUATION = "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PLAIN = str.maketrans(_LETTERS, _LETTERS.lower(), PUNCTUATION)
_SPACE = " \t\n\r\f\v"
_ONE_SPACE = str.maketrans(_SPACE, " " * len(_SPACE))


def words_of(text: str | None) -> list[str]:
    """Return the words of a text, in order; none of a missing one."""
    if text is None:
        return []
    return [word for word in text.translate(_PLAIN).translate(_ONE_SPACE).split(" ") if word]
