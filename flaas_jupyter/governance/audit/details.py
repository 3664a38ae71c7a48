"""What an audit entry may hold, so that erasing a person never touches the chain: ids, digests, numbers.

The log cannot be changed afterwards, so nothing that somebody may later ask to have erased is let in. What is allowed
is listed by its shape; a text that people write (a name, an e-mail address, a reason) does not fit it.
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

from ...errors import InvalidInput

LONGEST_ID = 200
LONGEST_VALUE = 128
DEEPEST = 4
MOST_ITEMS = 64
MOST_CHARACTERS = 8192
_LARGEST_INTEGER = 1 << 53

_ID = re.compile(r"[A-Za-z0-9/][A-Za-z0-9._:/+=%~-]*", re.ASCII)
_VALUE = re.compile(r"[A-Za-z0-9._:/+=%~-]*", re.ASCII)
_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_TOKEN = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)
_PERSONAL = frozenset(
    {
        "address",
        "birth",
        "comment",
        "credential",
        "credentials",
        "description",
        "email",
        "iban",
        "mail",
        "name",
        "names",
        "passphrase",
        "password",
        "patient",
        "phone",
        "private",
        "reason",
        "secret",
        "secrets",
        "seed",
        "surname",
        "title",
        "token",
        "tokens",
        "username",
    }
)
"""Words of a key under which people put what is personal or secret, unless the key says that it is an id."""
_OPAQUE = frozenset({"id", "ids", "count", "kind", "state"})
"""Last words of a key that make it one of an id, a number or one of a few words."""


def opaque(text: str) -> str:
    """Return `text` if it can be an id in an entry, else ``sha256:`` and its digest.

    For what a caller has sent where an id belongs, such as the path of a request that was refused.
    """
    if len(text) <= LONGEST_ID and _ID.fullmatch(text) and not _TOKEN.search(text):
        return text
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def require_id(field: str, value: object) -> str:
    """Return `value` if it can be an id: 1 to 200 of letters, digits and ``._:/+=%~-``.

    Raises
    ------
    InvalidInput
        Code ``audit-not-opaque``.
    """
    if isinstance(value, str) and len(value) <= LONGEST_ID and _ID.fullmatch(value) and not _TOKEN.search(value):
        return value
    raise _refused(
        f"{field} of an audit entry is {_shown(value)}", "an id: up to 200 letters, digits and ._:/+=%~- without spaces"
    )


def require_details(details: object) -> dict[str, Any]:
    """Return `details` if they hold nothing but ids, digests, numbers, truth values and lists or objects of these.

    Raises
    ------
    InvalidInput
        Code ``audit-not-opaque``: a key of personal or secret things, a text that is no id, a value of another kind,
        or too much of all.
    """
    if not isinstance(details, dict):
        raise _refused(f"The details of an audit entry are {_shown(details)}", "an object")
    left = [MOST_CHARACTERS]
    _check(details, "details", 0, left)
    return details


def _check(value: object, where: str, depth: int, left: list[int]) -> None:
    if depth > DEEPEST:
        raise _refused(f"{where} is nested deeper than {DEEPEST}", f"at most {DEEPEST} levels")
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int):
        if abs(value) > _LARGEST_INTEGER:
            raise _refused(f"{where} is a number of {value.bit_length()} bits", "whole numbers up to 2**53")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _refused(f"{where} is {value}", "finite numbers")
    elif isinstance(value, str):
        _spend(len(value), where, left)
        if len(value) > LONGEST_VALUE or not _VALUE.fullmatch(value) or _TOKEN.search(value):
            raise _refused(
                f"{where} is {_shown(value)}", "ids, digests, times: up to 128 of letters, digits, ._:/+=%~-"
            )
    elif isinstance(value, dict | list | tuple):
        _check_many(value, where, depth, left)
    else:
        raise _refused(f"{where} is {_shown(value)}", "texts, numbers, truth values, lists and objects")


def _check_many(value: dict[Any, Any] | list[Any] | tuple[Any, ...], where: str, depth: int, left: list[int]) -> None:
    _spend(len(value), where, left)
    if len(value) > MOST_ITEMS:
        raise _refused(f"{where} has {len(value)} items", f"at most {MOST_ITEMS}; put the digest of a long list")
    if not isinstance(value, dict):
        for number, item in enumerate(value):
            _check(item, f"{where}[{number}]", depth + 1, left)
        return
    for key, item in value.items():
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise _refused(f"{where} has the key {_shown(key)}", "keys of lower-case letters, digits and _")
        words = key.split("_")
        if words[-1] not in _OPAQUE and not _PERSONAL.isdisjoint(words):
            raise _refused(
                f"{where} has the key {key!r}, of something personal or secret", "ids, under a key like x_id"
            )
        _spend(len(key), where, left)
        _check(item, f"{where}.{key}", depth + 1, left)


def _spend(characters: int, where: str, left: list[int]) -> None:
    left[0] -= characters
    if left[0] < 0:
        raise _refused(f"{where} makes the entry longer than {MOST_CHARACTERS} characters", "the digest of a long text")


def _shown(value: object) -> str:
    """Say what kind of value it is, not the value: it may be just what must not be written down."""
    return f"a text of {len(value)} characters that is no id" if isinstance(value, str) else f"a {type(value).__name__}"


def _refused(what: str, allowed: str) -> InvalidInput:
    return InvalidInput(
        f"{what}; allowed is {allowed}.",
        code="audit-not-opaque",
        hint="Write ids and digests into the audit log, never names, addresses, free text or secrets.",
    )
