"""What Azure's refusals mean, in the driver protocol's errors. No secret gets into a message.

Codes are those of Resource Manager's error body (https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting)
and, for sign-in, of Microsoft Entra (https://learn.microsoft.com/entra/identity-platform/reference-error-codes).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from ...errors import Conflict, FlaasError
from ..driver import CloudUnreachable, CredentialsRefused, NotOffered, PermissionMissing, QuotaExceeded, Throttled

_NOT_OFFERED: Final = {
    "SkuNotAvailable",
    "AllocationFailed",
    "ZonalAllocationFailed",
    "OverconstrainedAllocationRequest",
    "OverconstrainedZonalAllocationRequest",
    "VMSizeNotSupported",
    "LocationNotAvailableForResourceType",
}
_QUOTA: Final = {"OperationNotAllowed", "ResourceQuotaExceeded", "PublicIPCountLimitReached"}
_REFUSED: Final = {
    "ExpiredAuthenticationToken",
    "InvalidAuthenticationToken",
    "InvalidAuthenticationTokenTenant",
    "InvalidSubscriptionId",
    "SubscriptionNotFound",
}
_PERMISSION: Final = {"AuthorizationFailed", "LinkedAuthorizationFailed", "RBACAccessDenied"}
_BUSY: Final = {"NicReservedForAnotherVm", "AnotherOperationInProgress", "RetryableError", "OperationPreempted"}
_BUSY_SECONDS: Final = 180.0
"""Azure keeps a network interface for its virtual machine for so long after a failure."""
_SECRET_CODES: Final = {
    "AADSTS7000215": "The client secret is wrong: give its value, not its id.",
    "AADSTS7000222": "The client secret has expired: make a new one.",
    "AADSTS700016": "The directory does not know this application (client id).",
    "AADSTS90002": "There is no such directory (tenant id).",
    "AADSTS900023": "There is no such directory (tenant id).",
}
_ACTION: Final = re.compile(r"not have (?:authorization|permission) to perform action(?:\(s\))? '([^']+)'")
_ENTRA_BUSY: Final = ("AADSTS90033", "AADSTS50196", "AADSTS90006", "AADSTS90043")


@dataclass(frozen=True)
class Refusal:
    """An error answer of Azure: HTTP status, code, text and after how many seconds to come back."""

    status: int
    code: str
    text: str
    retry_after: float | None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the longest wait in seconds that an answer asks for.

    Cost Management does not use ``Retry-After`` but headers of its own, one per limit:
    ``x-ms-ratelimit-microsoft.costmanagement-qpu-retry-after``, ``...-entity-retry-after`` and so on.
    """
    waits = []
    for name, value in headers.items():
        low = name.lower()
        if low == "retry-after" or (low.startswith("x-ms-ratelimit-microsoft.") and low.endswith("-retry-after")):
            try:
                waits.append(max(0.0, float(value)))
            except ValueError:
                continue
    return max(waits, default=None)


def refusal(response: Any) -> Refusal:
    """Read an error answer, whatever it looks like."""
    status, code, text = int(response.status_code), "", ""
    try:
        body = json.loads(response.text())
        error = body.get("error", body)
        if isinstance(error, str):
            error = {"code": error, "message": body.get("error_description", "")}
        inner = error.get("details") or []
        if error.get("code") in ("", None, "BadRequest", "Conflict", "DeploymentFailed") and inner:
            error = inner[0]
        code, text = str(error.get("code") or ""), str(error.get("message") or "")
    except (ValueError, AttributeError, TypeError, KeyError, IndexError):
        pass
    return Refusal(status, code, " ".join(text.split()), retry_after(response.headers))


@contextmanager
def translated(doing: str, permission: str = "", secret: str = "") -> Iterator[None]:
    """Turn every failure of Azure within into one of the driver protocol's errors.

    Parameters
    ----------
    doing : str
        What was tried, for the message.
    permission : str
        Taken as missing where a refusal names none.
    secret : str
        Replaced by ``***`` wherever it appears.
    """
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

    try:
        yield
    except FlaasError:
        raise
    except HttpResponseError as error:
        if error.response is not None and not isinstance(error, ClientAuthenticationError):
            found: FlaasError = of_refusal(refusal(error.response), doing, permission)
        elif isinstance(error, ClientAuthenticationError):
            found = _of_sign_in(error, doing)
        else:
            found = _unreachable(doing, type(error).__name__)
    except AzureError as error:
        found = _unreachable(doing, type(error).__name__)
    except ValueError as error:  # what the SDK and json raise for an answer that they cannot read
        found = _unreachable(doing, f"half an answer, {type(error).__name__}")
    else:
        return
    if secret:
        found.message = found.message.replace(secret, "***")
    raise found from None  # the original could carry a request with its headers into a log


def of_refusal(refused: Refusal, doing: str, permission: str = "") -> FlaasError:
    """Return the error for an answer of Resource Manager, Cost Management or the price list."""
    code, status = refused.code, refused.status
    text = f"{doing}: Azure answered {status} {code}: {refused.text[:300]}".rstrip(": ")
    if status == 429 or code in ("TooManyRequests", "429"):
        return throttled(doing, refused.retry_after)
    if code in _BUSY:
        return Throttled(text, retry_after=refused.retry_after or _BUSY_SECONDS)
    if status == 401 or code in _REFUSED:
        return CredentialsRefused(
            text, hint="Check tenant, client, secret and subscription id; the secret may have expired or been removed."
        )
    if code == "RequestDisallowedByPolicy":
        return PermissionMissing(
            text,
            code="cloud-policy",
            hint="A policy of the subscription forbids it; ask whoever set it up.",
            permission=permission,
        )
    if code in _PERMISSION or status == 403:
        named = _ACTION.search(refused.text)
        missing = named.group(1) if named else permission
        return PermissionMissing(
            f"{doing}: the application may not {missing or 'do this'} in Azure.",
            hint="Add it to the application's role (docs/clouds/azure.md); a new assignment takes some minutes.",
            permission=missing,
        )
    if code in _NOT_OFFERED or (code == "InvalidParameter" and "VM size" in refused.text):
        return NotOffered(text, hint="Take another machine type, region or market.")
    if code in _QUOTA or code.endswith("QuotaExceeded"):
        return QuotaExceeded(text, hint="Ask Azure for a higher limit, or take another machine type or region.")
    if status >= 500 or (status in (200, 202, 408) and not code):
        return _unreachable(doing, f"{status} {code}".strip())
    return Conflict(text, code="cloud-refused", hint="See Azure's text; the same order may be tried again.")


def throttled(doing: str, seconds: float | None) -> Throttled:
    """Return the error for being asked to wait, a minute if Azure does not say how long."""
    wait = 60.0 if seconds is None else seconds
    return Throttled(f"{doing}: Azure asks to come back in {wait:g} s.", hint="Try again after that.", retry_after=wait)


def _unreachable(doing: str, what: str) -> CloudUnreachable:
    return CloudUnreachable(f"{doing}: Azure gave no usable answer ({what}).", hint="Try again; nothing is done twice.")


def _of_sign_in(error: Any, doing: str) -> FlaasError:
    """Return the error for a failed sign-in, which the SDK reports as one type whatever went wrong."""
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError

    response, text, cause = error.response, str(error.message), error.__cause__
    if isinstance(cause, HttpResponseError) and cause.response is not None:
        refused = refusal(cause.response)
        if refused.status == 429 or refused.status >= 500:
            return of_refusal(refused, doing)
    if response is not None:
        text = f"{text} {refusal(response).text}"
    aadsts = re.search(r"AADSTS\d+", text)
    if aadsts and aadsts.group(0) in _ENTRA_BUSY:
        return throttled(doing, None)
    if not aadsts and response is None and cause is not None and not isinstance(cause, ClientAuthenticationError):
        # a wrong tenant is a ValueError of the sign-in library; all else here is the network
        if type(cause) is not ValueError:
            return _unreachable(doing, type(cause).__name__)
        if "authority" not in text and "tenant" not in text.lower():
            return _unreachable(doing, "half an answer")
    code = aadsts.group(0) if aadsts else "invalid_client" if "invalid_client" in text else "refused"
    return CredentialsRefused(
        f"{doing}: Azure does not take these credentials ({code}).",
        hint=_SECRET_CODES.get(code, "Check tenant id, client id and client secret; the secret may have expired."),
        reason=code,
    )
