"""Problem details (RFC 9457), in the shape in which the coordination API gives its own."""

from __future__ import annotations

from typing import Any


class Problem(Exception):
    """Something the person at the panel can act on; answered as ``application/problem+json``.

    Parameters
    ----------
    status : int
        HTTP status.
    code : str
        Stable kebab-case name of the problem.
    title : str
        What kind of problem it is, the same each time.
    detail : str
        What was wrong this time. Never a secret.
    hint : str, optional
        What to do next.
    kind : str, optional
        Name of the matching error type of ``flaas_jupyter.errors``.
    """

    def __init__(
        self, status: int, code: str, title: str, detail: str, *, hint: str = "", kind: str = "FlaasError"
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.hint = hint
        self.kind = kind

    def to_dict(self, instance: str | None = None) -> dict[str, Any]:
        """Return the problem as JSON values; `instance` is the path it happened at."""
        body = {
            "type": f"/problems/{self.code}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "kind": self.kind,
            "hint": self.hint,
        }
        return body if instance is None else {**body, "instance": instance}
