"""The one family of errors of the package, translated once at each border.

Inside the package code raises a `FlaasError`. A border turns it into the border's own form: the coordination API
into problem details (RFC 9457), the mesh into an error reply, the command line into one line on standard error,
the notebook into a short message. `to_dict` and `from_dict` carry an error over a border without losing what was
wrong, what is allowed and what to do next.
"""

from __future__ import annotations

from typing import Any, ClassVar


class FlaasError(Exception):
    """Something a person can act on.

    Parameters
    ----------
    message : str
        What was wrong, with the value received and what is allowed.
    code : str, optional
        Stable kebab-case name of the problem, e.g. ``"unknown-project"``. Defaults to the class's own.
    hint : str, optional
        What to do next.
    **details
        Machine-readable context: JSON values only, never secrets, data or weights.
    """

    code: str = "error"
    _by_kind: ClassVar[dict[str, type[FlaasError]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        FlaasError._by_kind[cls.__name__] = cls

    def __init__(self, message: str, *, code: str | None = None, hint: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.hint = hint
        self.details = details

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the message; ``%flaas traceback`` (``%load_ext flaas_jupyter``) shows the rest."""
        return [f"{type(self).__name__}: {self}", f"[{self.code}]  Whole traceback: %flaas traceback"]

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON values."""
        return {
            "kind": type(self).__name__,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "details": self.details,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> FlaasError:
        """Rebuild an error that came over a border; an unknown kind becomes a plain `FlaasError`."""
        details = data.get("details")
        safe = {str(k): v for k, v in details.items()} if isinstance(details, dict) else {}
        kind = cls._by_kind.get(str(data.get("kind")), FlaasError)
        error = kind(
            str(data.get("message", "unknown error")),
            code=str(data.get("code", kind.code)),
            hint=str(data.get("hint", "")),
        )
        error.details = safe
        return error


class InvalidInput(FlaasError, ValueError):
    """A value, file, model or message that is not acceptable as it is."""

    code = "invalid-input"


class NotAuthenticated(FlaasError):
    """Nobody was recognised: a missing, wrong or expired token, or a signature that does not verify."""

    code = "not-authenticated"


class NotAllowed(FlaasError, PermissionError):
    """The caller is known and may not do this, or the node owner's policy refuses it."""

    code = "not-allowed"


class NotFound(FlaasError, LookupError):
    """No such thing, or none that the caller may see."""

    code = "not-found"


class Conflict(FlaasError):
    """The request is sound but the present state does not permit it."""

    code = "conflict"


class Unreachable(FlaasError, ConnectionError):
    """A peer, the coordination API or a file could not be reached in time."""

    code = "unreachable"


class Aborted(FlaasError):
    """A round, run or transfer that was stopped before its end; nothing was revealed or half-changed."""

    code = "aborted"
