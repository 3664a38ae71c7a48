"""What AWS's refusals mean, in the driver protocol's errors. No secret gets into a message.

Codes are those of https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html and of the common errors
that each service's API reference lists; every protocol spells some of them in its own way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from ...errors import Conflict, FlaasError, InvalidInput
from ..driver import CloudUnreachable, CredentialsRefused, NotOffered, PermissionMissing, QuotaExceeded, Throttled

_EXPIRED: Final = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_REFUSED: Final = _EXPIRED | {
    "AuthFailure",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "InvalidToken",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_PERMISSION: Final = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}
_THROTTLED: Final = {
    "LimitExceededException",  # how Cost Explorer says it
    "RequestLimitExceeded",
    "RequestThrottled",
    "SlowDown",
    "ThrottledException",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
_NOT_OFFERED: Final = {
    "InsufficientCapacity",
    "InsufficientHostCapacity",
    "InsufficientInstanceCapacity",
    "InvalidInstanceType",
    "SpotMaxPriceTooLow",
    "Unsupported",
    "UnsupportedOperation",
}
_QUOTA: Final = {
    "InstanceLimitExceeded",
    "MaxSpotInstanceCountExceeded",
    "SecurityGroupLimitExceeded",
    "VcpuLimitExceeded",
    "VolumeLimitExceeded",
}
_NO_NETWORK: Final = {"DefaultVpcDoesNotExist", "MissingInput", "VPCIdNotSpecified"}
_ACTION: Final = re.compile(r"not authorized to perform: ([a-z0-9-]+:[A-Za-z0-9]+)")
_RETRY_SECONDS: Final = 10.0
"""AWS seldom says how long to wait."""


@contextmanager
def translated(doing: str, permission: str, scrub: Callable[[str], str]) -> Iterator[None]:
    """Turn every failure of boto3 within into one of the driver protocol's errors.

    Parameters
    ----------
    doing : str
        What was tried, for the message.
    permission : str
        The action that was called, such as ``ec2:RunInstances``; taken as missing where a refusal names none.
    scrub : callable
        Takes everything secret out of a text.
    """
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    try:
        yield
    except FlaasError:
        raise
    except boto.ClientError as error:
        found = of_answer(error.response, doing, permission, scrub)
    except (boto.ParamValidationError, boto.InvalidRegionError) as error:
        what = (
            "a region that cannot be one" if isinstance(error, boto.InvalidRegionError) else "a value AWS cannot take"
        )
        found = InvalidInput(f"{doing}: {what}.", code="bad-cloud-value", hint="Check region, image and machine type.")
    except boto.NoCredentialsError:
        found = CredentialsRefused(f"{doing}: there are no credentials.", hint=_CHECK_KEYS)
    except (
        boto.BotoCoreError,
        ResponseParserError,
        OSError,
    ) as error:  # no answer, or half of one
        found = unreachable(doing, type(error).__name__)
    else:
        return
    raise found from None  # the original holds the request with its signature


def code_of(error: Any) -> str:
    """Return AWS's code of a `botocore.exceptions.ClientError`."""
    return str(error.response.get("Error", {}).get("Code", ""))


_CHECK_KEYS: Final = (
    "Check the access key id and the secret access key; the key may have been made inactive or deleted."
)


def of_answer(response: Mapping[str, Any], doing: str, permission: str, scrub: Callable[[str], str]) -> FlaasError:
    """Return the error for an error answer, as botocore has read it."""
    error, meta = response.get("Error", {}), response.get("ResponseMetadata", {})
    code, status = str(error.get("Code") or ""), int(meta.get("HTTPStatusCode") or 0)
    said = re.sub(r"Encoded authorization failure message:.*", "", str(error.get("Message") or ""), flags=re.DOTALL)
    text = f"{doing}: AWS answered {code}: {scrub(' '.join(said.split()))[:300]}".rstrip(": ")
    if code == "AuthFailure.ServiceLinkedRoleCreationNotPermitted":
        return PermissionMissing(
            f"{doing}: the account has no role for spot machines yet, and these credentials may not make it.",
            hint="Have an administrator make it once (docs/clouds/aws.md).",
            permission="iam:CreateServiceLinkedRole",
        )
    if code in _THROTTLED or status == 429:
        wait = _seconds(meta.get("HTTPHeaders", {}).get("retry-after"))
        return Throttled(
            f"{doing}: AWS asks to come back in {wait:g} s ({code}).", hint="Try again after that.", retry_after=wait
        )
    if code in _REFUSED:
        expired = code in _EXPIRED
        return CredentialsRefused(
            f"{doing}: AWS does not take these credentials ({code}).",
            hint="They have expired: enter new ones." if expired else _CHECK_KEYS,
            reason=code,
        )
    if code in _PERMISSION:
        named = _ACTION.search(said)
        missing = named.group(1) if named else permission
        return PermissionMissing(
            f"{doing}: these credentials may not {missing} in AWS.",
            hint="Add it to the policy of the user or role (docs/clouds/aws.md); an "
            "organisation's service control policy can forbid it too.",
            permission=missing,
        )
    if code == "OptInRequired":
        return NotOffered(text, hint="The region or service is not enabled in this account.")
    if code in _NOT_OFFERED or (code == "InvalidParameterValue" and "InstanceType" in said):
        return NotOffered(text, hint="Take another machine type, region or market.")
    if code in _QUOTA:
        return QuotaExceeded(text, hint="Ask AWS for a higher quota, or take another machine type or region.")
    if status >= 500 or status in (0, 200, 408) or code in ("InternalError", "InternalFailure", "ServiceUnavailable"):
        return unreachable(doing, f"{status} {code}".strip())
    if code in _NO_NETWORK:
        return Conflict(
            text,
            code="no-default-network",
            hint="Make a default VPC there: aws ec2 create-default-vpc --region REGION.",
        )
    return Conflict(text, code="cloud-refused", hint="See AWS's text; the same order may be tried again.", reason=code)


def unreachable(doing: str, what: str) -> CloudUnreachable:
    """Return the error for no answer or a useless one."""
    return CloudUnreachable(f"{doing}: AWS gave no usable answer ({what}).", hint="Try again; nothing is done twice.")


def _seconds(value: Any) -> float:
    try:
        return max(0.0, float(value))
    except (TypeError, ValueError):
        return _RETRY_SECONDS
