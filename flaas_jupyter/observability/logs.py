"""Logging of the daemons (API, node, relay, reflector): one event a line on standard error, as text or as JSON.

The lines of JSON have the keys ``time`` (RFC 3339, UTC), ``level``, ``logger`` and ``message``, and where they apply
``run``, ``trace`` (the id of the trace, 32 hex digits) and ``error`` (the traceback). Whatever the format, what looks
like a secret or an e-mail address is hidden before a line is written: code should not log such things, and errors of
libraries sometimes do.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal, get_args

from ..errors import InvalidInput
from ..printable import printable
from . import traces

Format = Literal["text", "json"]
FORMATS: tuple[str, ...] = get_args(Format)
VARIABLE = "FLAAS_LOG_FORMAT"

_HIDDEN = "[hidden]"
_SECRETS = re.compile(
    r"""
      (?P<scheme>\b(?:Bearer|FlaasNode|Basic|DPoP)\s+)[^\s"',;]{8,}        # a header's credentials
    | \bflaas_[0-9a-f]{12}_[\w-]{20,}                                      # a token of ours
    | \bflaas-invitation-[\w-]{20,}                                         # somebody's way in
    | \beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*                                    # a JSON web token
    | (?P<userinfo>://)[^/\s]{1,300}(?=@)                                  # user and password of an address
    | (?P<field>[?&](?:access_token|refresh_token|token|code|state|secret|password|signature|sig)=)[^&\s"']+
    | (?<![\w/+-])[\w-]{43}(?![\w/+=-])                                    # 256 bits as base64url
    | \b[a-z2-7]{52}\b                                                     # 256 bits as base32: an enrolment's
    | (?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+){0,8}\.[A-Za-z]{2,}            # an e-mail address
    """,
    re.VERBOSE,
)
_CHATTY = ("httpx", "httpcore", "tensorflow", "h5py", "asyncio", "urllib3", "opentelemetry", "uvicorn", "alembic")

_run: ContextVar[str | None] = ContextVar("flaas_run", default=None)


def configure(format: str | None = None, *, verbose: bool = False) -> None:
    """Write this process's log to standard error.

    Parameters
    ----------
    format : {"text", "json"}, optional
        Default: ``FLAAS_LOG_FORMAT``, else text.
    verbose : bool
        With what only a developer wants to know.

    Raises
    ------
    InvalidInput
        Code ``bad-log-format``.
    """
    chosen = format or os.environ.get(VARIABLE) or "text"
    if chosen not in FORMATS:
        raise InvalidInput(
            f"The log format {chosen!r} is not known; there are {' and '.join(FORMATS)}.",
            code="bad-log-format",
            hint=f"Give --log-format or {VARIABLE} one of them.",
        )
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if chosen == "json" else Lines())
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


@contextlib.contextmanager
def about(run: str) -> Iterator[None]:
    """Have what is logged within, by this task and those it starts, say that it is about `run`."""
    token = _run.set(run)
    try:
        yield
    finally:
        _run.reset(token)


def redact(text: str) -> str:
    """Return `text` with tokens, passwords and e-mail addresses hidden."""
    return _SECRETS.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    return (found["scheme"] or found["userinfo"] or found["field"] or "") + _HIDDEN


class Lines(logging.Formatter):
    """Lines for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the traceback below it if there is one."""
        return printable(redact(super().format(record)))

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line: what others have made up, and a message tells, cannot look like a line of its own."""
        # Secrets are hidden first: what is escaped before one would look like a part of it.
        return printable(redact(super().formatMessage(record)), lines=False)


class JsonLines(logging.Formatter):
    """Lines for programs: one JSON object each."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if (run := _run.get()) is not None:
            entry["run"] = run
        if (trace := traces.trace_id()) is not None:
            entry["trace"] = trace
        if record.exc_info:
            entry["error"] = redact(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)
