"""What others have written, as a terminal may be given it."""

from __future__ import annotations


def printable(text: str, *, lines: bool = True) -> str:
    """Return `text` with everything escaped that could make a terminal show something else than is there.

    Line breaks stay unless `lines` is false: then nothing can look like a line of its own.
    """
    return "".join(each if each.isprintable() or (lines and each == "\n") else f"\\u{ord(each):04x}" for each in text)
