"""Typed access to what stands in signed documents: each field is what it must be, or it is said what it is instead."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from ..errors import InvalidInput

_YEAR_10000 = 253402300800
_LONGEST_URL = 300


class Fields:
    """The fields of an object that has exactly those named; errors have the code ``bad-{kind}``.

    Parameters
    ----------
    body : dict
        The object.
    kind : str
        What it is, for errors.
    names : set of str
        Its fields; ``v`` beside them.
    version : int, optional
        What ``v`` must be; None for an object within a document, which has none of its own.

    Raises
    ------
    InvalidInput
        It has other fields, or is of another version.
    """

    def __init__(self, body: dict[str, Any], kind: str, names: set[str], version: int | None = 1) -> None:
        self._body, self._kind = body, kind
        if version is None:
            if set(body) != names:
                raise InvalidInput(f"It has not just the fields {', '.join(sorted(names))}.", code=f"bad-{kind}")
        elif set(body) != {"v", *names} or body["v"] != version:
            raise InvalidInput(f"It is not a {kind} of version {version}.", code=f"bad-{kind}")

    def refused(self, name: str, allowed: str) -> InvalidInput:
        """Return the error that field `name` is not what is `allowed`."""
        value = str(self._body[name])[:80]
        return InvalidInput(f"Its {name} is {value!r}, not {allowed}.", code=f"bad-{self._kind}")

    def text(self, name: str, least: int = 1, most: int = 200) -> str:
        """Return a text of `least` to `most` characters in one line; what people are shown of it is all there is."""
        value = self._body[name]
        if not isinstance(value, str) or not least <= len(value) <= most or not value.isprintable():
            raise self.refused(name, f"a text of {least} to {most} printable characters")
        return value

    def block(self, name: str, most: int) -> str:
        """Return a text of at most `most` characters in lines, for programs."""
        value = self._body[name]
        if not isinstance(value, str) or len(value) > most:
            raise self.refused(name, f"a text of at most {most} characters")
        return value

    def integer(self, name: str, below: int = 1 << 53) -> int:
        """Return a whole number from 0."""
        value = self._body[name]
        if type(value) is not int or not 0 <= value < below:
            raise self.refused(name, f"a whole number from 0, below {below}")
        return value

    def moment(self, name: str) -> int:
        """Return a time in Unix seconds."""
        return self.integer(name, below=_YEAR_10000)

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        """Return a list of at most `most` texts."""
        value = self._body[name]
        if not isinstance(value, list) or len(value) > most or not all(isinstance(item, str) for item in value):
            raise self.refused(name, f"a list of at most {most} texts")
        return tuple(value)

    def addresses(self, name: str, most: int) -> tuple[str, ...]:
        """Return a list of ``ip:port``. A name would have every peer ask the DNS."""
        found = self.texts(name, most)
        for address in found:
            if not is_address(address):
                raise InvalidInput(f"{address[:80]!r} is not ip:port.", code=f"bad-{self._kind}")
        return found

    def entries(self, name: str, most: int, names: set[str]) -> list[Fields]:
        """Return a list of at most `most` objects that have exactly the fields `names`."""
        value = self._body[name]
        if not isinstance(value, list) or len(value) > most or not all(isinstance(item, dict) for item in value):
            raise self.refused(name, f"a list of at most {most} objects")
        return [Fields(item, self._kind, names, version=None) for item in value]


def body_of(document: object) -> dict[str, Any]:
    """Return the body of a signed document, before anybody has looked at its signature."""
    body = document.get("body") if isinstance(document, dict) else None
    if not isinstance(body, dict):
        raise InvalidInput("A signed document has a body and a signature.", code="bad-document")
    return body


def checked(document: dict[str, Any], parse: Callable[[object], object]) -> dict[str, Any]:
    """Return `document`, having made sure that readers will accept it."""
    parse(document)
    return document


def is_address(address: str) -> bool:
    """Tell whether `address` is ``ip:port`` or ``[ip6]:port``."""
    host, _, port = address.rpartition(":")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        return False
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        ip = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        return False
    return (ip.version == 6) == bracketed


def require_relay_url(url: str) -> str:
    """Return the URL of a relay if it is ``https://host[:port]``; ``http://`` is for loopback addresses.

    Raises
    ------
    InvalidInput
        Code ``bad-relay-url``.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        plain = parts.scheme == "http" and ipaddress.ip_address(host).is_loopback
    except ValueError:
        host, port, plain = "", None, False
    secure = bool(host) and parts.scheme == "https"
    bare = bool(host) and url == f"{parts.scheme}://{parts.netloc}" and "@" not in parts.netloc
    sound = port != 0 and url.isascii() and url.isprintable() and " " not in url and len(url) <= _LONGEST_URL
    if not (bare and sound and (secure or plain)):
        raise InvalidInput(
            f"{url[:80]!r} is not the URL of a relay.",
            code="bad-relay-url",
            hint="Give https://host[:port], without a path; http:// is for addresses of this machine (127.0.0.1).",
        )
    return url
