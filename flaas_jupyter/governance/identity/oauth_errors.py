"""What OAuth endpoints refuse with: ``{"error": ..., "error_description": ...}`` (RFC 6749, section 5.2)."""

from __future__ import annotations

from collections.abc import Mapping

_STATUS = {"invalid_client": 401, "invalid_token": 401, "insufficient_scope": 403}


class OAuthError(Exception):
    """A refusal in the form of OAuth.

    Parameters
    ----------
    error : str
        A code of RFC 6749, 6750, 7009, 8628 or OpenID Connect.
    description : str
        What was wrong and what to do, in ASCII.
    keep : bool
        Whether what was changed before is kept: a family of tokens stays revoked although the request is refused.
    status : int, optional
        HTTP status; by default the one that the code has.
    headers : mapping, optional
        Further headers.
    """

    def __init__(
        self,
        error: str,
        description: str,
        *,
        keep: bool = False,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(description)
        self.error = error
        # RFC 6749 permits neither quotes, backslashes nor anything beyond ASCII here.
        self.description = "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in description)
        self.keep = keep
        self.status = status or _STATUS.get(error, 400)
        self.headers = dict(headers or {})

    def to_dict(self) -> dict[str, str]:
        """Return the body of the answer."""
        return {"error": self.error, "error_description": self.description}


def too_many(seconds: float) -> OAuthError:
    """Return the refusal of somebody who tries too often; `seconds` until the next try is heard."""
    wait = max(1, int(seconds + 0.999))
    return OAuthError(
        "temporarily_unavailable",
        f"Too many attempts: wait {wait} s and try again.",
        status=429,
        headers={"Retry-After": str(wait)},
    )
