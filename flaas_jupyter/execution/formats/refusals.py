"""How data are refused: which file, what is wrong with it, and never what stands in it.

Libraries put values into their messages ("invalid value 'Ms. Smith'"). What of a message is known to be free of them
is kept, the rest replaced.
"""

from __future__ import annotations

import os
import re
from typing import Any

from ...errors import InvalidInput

_HARMLESS = re.compile(
    r"(Parquet magic bytes not found[^'\"]*|Parquet file size is \d+ bytes[^'\"]*|Not an Arrow file"
    r"|Not a Feather[^'\"]*|File is too small[^'\"]*|Couldn't deserialize thrift[^'\"]*|Unexpected end of stream[^'\"]*"
    r"|Corrupt[^'\"]*|not enough bytes[^'\"]*)"
)


def unreadable(shown: object, why: str | BaseException, hint: str = "") -> InvalidInput:
    """Return the refusal of what cannot be read, code ``unreadable-data``."""
    reason = why if isinstance(why, str) else reason_of(why)
    return InvalidInput(f"{shown} cannot be read: {reason}.", code="unreadable-data", hint=hint)


def reason_of(error: BaseException) -> str:
    """Return why a library could not read something, without values that its message may hold."""
    if isinstance(error, OSError) and error.errno:
        return error.strerror or os.strerror(error.errno)
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 text (byte {error.start})"
    text = str(error).splitlines()[0] if str(error) else ""
    errno = re.search(r"\[errno (\d+)\]", text)
    if errno is not None:
        return os.strerror(int(errno[1]))
    known = _HARMLESS.search(text)
    return known[0].strip(" .") if known else f"it is damaged or of another format ({type(error).__name__})"


def unknown_format(shown: object, allowed: Any) -> InvalidInput:
    """Return the refusal of a file of no known kind, code ``unknown-data-format``."""
    return InvalidInput(
        f"{shown} is of no known kind; there are {', '.join(allowed)}.",
        code="unknown-data-format",
        hint="Write it with pandas (DataFrame.to_parquet) or numpy (np.savez), or say what it is with --format.",
    )
