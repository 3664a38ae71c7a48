"""What AWS billed, from Cost Explorer, as FOCUS rows.

Cost Explorer groups by two things at most, and each request costs USD 0.01
(https://aws.amazon.com/aws-cost-management/aws-cost-explorer/pricing/). One query asks for project and service, which
covers all spending, tagged or not; then, for each service with tagged spending, one asks for project and node: two or
three services, so some 0.04 USD a fetch. Tagged rows come from the second kind and the rest from the first, so that
nothing is counted twice. The fee is on AWS's own bill, as the service "AWS Cost Explorer", and is added nowhere here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from ...errors import Conflict
from ..driver import NODE_TAG, PROJECT_TAG, ChargeRow
from .aws_connection import HOME_REGION, Connection, needed
from .aws_errors import unreachable

REQUEST_USD: Final = Decimal("0.01")
TAGS: Final = (PROJECT_TAG, NODE_TAG)
"""The tags that must be cost allocation tags."""
_METRICS: Final = ("UnblendedCost", "NetAmortizedCost", "UsageQuantity")
_CATEGORIES: Final[Mapping[str, str]] = {
    "amazon elastic compute cloud - compute": "Compute",
    "ec2 - other": "Compute",
    "aws lambda": "Compute",
    "amazon elastic container service": "Compute",
    "amazon elastic kubernetes service": "Compute",
    "amazon ec2 container registry (ecr)": "Compute",
    "amazon simple storage service": "Storage",
    "amazon elastic file system": "Storage",
    "amazon elastic block store": "Storage",
    "amazon virtual private cloud": "Networking",
    "aws data transfer": "Networking",
    "amazon elastic load balancing": "Networking",
    "amazon route 53": "Networking",
    "amazon cloudfront": "Networking",
    "aws cost explorer": "Management and Governance",
    "amazoncloudwatch": "Management and Governance",
    "aws cloudtrail": "Management and Governance",
    "aws key management service": "Security",
    "aws secrets manager": "Security",
    "amazon guardduty": "Security",
    "amazon relational database service": "Databases",
    "amazon dynamodb": "Databases",
    "amazon sagemaker": "AI and Machine Learning",
    "amazon bedrock": "AI and Machine Learning",
}
"""Service to FOCUS category; https://focus.finops.org/focus-columns/servicecategory/."""


@dataclass(frozen=True)
class Group:
    """What Cost Explorer tells of one day or month and one group.

    Parameters
    ----------
    start, end : date
        From `start` to before `end`.
    keys : tuple of str
        Values of what was grouped by; of a tag ``""`` where there is none.
    billed, effective : Decimal
        ``UnblendedCost`` and ``NetAmortizedCost``, in `currency`.
    currency : str
    quantity : Decimal
        ``UsageQuantity``, in `unit`; meaningless where AWS adds up several units ("N/A").
    unit : str
    """

    start: date
    end: date
    keys: tuple[str, ...]
    billed: Decimal
    effective: Decimal
    currency: str
    quantity: Decimal
    unit: str


class Explorer:
    """Cost Explorer for one purpose, with a limit to what asking may cost.

    Parameters
    ----------
    aws : Connection
    max_requests : int
        So many requests, pages and repetitions included.
    """

    def __init__(self, aws: Connection, max_requests: int) -> None:
        self._aws, self._limit = aws, max_requests
        self._before = aws.billing_requests

    def groups(
        self,
        start: date,
        end: date,
        by: Sequence[Mapping[str, str]],
        only: Mapping[str, Any],
        granularity: str = "DAILY",
    ) -> Iterator[Group]:
        """Yield all groups of all pages.

        Raises
        ------
        Conflict
            Code ``billing-request-limit``: the next page would be one request too many.
        """
        doing = "reading costs"
        asked: dict[str, Any] = {
            "TimePeriod": {"Start": start.isoformat(), "End": end.isoformat()},
            "Granularity": granularity,
            "Metrics": list(_METRICS),
            "GroupBy": list(by),
            "Filter": only,
        }
        while True:
            if self._aws.billing_requests - self._before >= self._limit:
                raise Conflict(
                    f"Reading these costs takes more than {self._limit} requests to Cost Explorer, at USD "
                    f"{REQUEST_USD} each.",
                    code="billing-request-limit",
                    hint="Ask for fewer days at once.",
                    requests=self._limit,
                )
            page = self._aws.call("ce", "get_cost_and_usage", doing, HOME_REGION, **asked)
            for period in needed(page, "ResultsByTime", doing):
                for group in period.get("Groups", ()):
                    yield _group(period, group, by)
            following = page.get("NextPageToken")
            if not following:
                return
            asked["NextPageToken"] = following


def _group(period: Mapping[str, Any], group: Mapping[str, Any], by: Sequence[Mapping[str, str]]) -> Group:
    doing = "reading costs"
    metrics = needed(group, "Metrics", doing)
    # a tag's value comes as "key$value"
    keys = tuple(
        key.partition("$")[2] if each["Type"] == "TAG" else key
        for each, key in zip(by, needed(group, "Keys", doing), strict=True)
    )
    try:
        billed, effective, quantity = (Decimal(metrics[name]["Amount"]) for name in _METRICS)
        currency, unit = str(metrics[_METRICS[0]]["Unit"]), str(metrics[_METRICS[2]].get("Unit", ""))
        if str(metrics[_METRICS[1]]["Unit"]) != currency:
            raise unreachable(doing, "two currencies in one charge")
        start, end = (date.fromisoformat(period["TimePeriod"][name][:10]) for name in ("Start", "End"))
    except (KeyError, TypeError, ValueError, InvalidOperation):
        raise unreachable(doing, "a charge that cannot be read") from None
    return Group(start, end, keys, billed, effective, currency, quantity, unit)


def costs(aws: Connection, start: date, end: date, max_requests: int) -> Iterator[ChargeRow]:
    """Yield what the account was billed from `start` to before `end`; see `CloudDriver.costs`."""
    if start >= end:
        return
    explorer, account = Explorer(aws, max_requests), aws.account()
    mine = {"Dimensions": {"Key": "LINKED_ACCOUNT", "Values": [account]}}
    by_project = {"Type": "TAG", "Key": PROJECT_TAG}
    by_service = {"Type": "DIMENSION", "Key": "SERVICE"}
    services = set()
    for group in explorer.groups(start, end, [by_project, by_service], mine):
        project, service = group.keys
        if project:
            services.add(service)
        else:
            yield from _charge(account, group, service, {})
    for service in sorted(services):
        only = {
            "And": [
                mine,
                {"Dimensions": {"Key": "SERVICE", "Values": [service]}},
                {"Not": {"Tags": {"Key": PROJECT_TAG, "MatchOptions": ["ABSENT"]}}},
            ]
        }
        for group in explorer.groups(start, end, [by_project, {"Type": "TAG", "Key": NODE_TAG}], only):
            if group.keys[0]:
                tags = {key: value for key, value in zip(TAGS, group.keys, strict=True) if value}
                yield from _charge(account, group, service, tags)


def _charge(account: str, group: Group, service: str, tags: Mapping[str, str]) -> Iterator[ChargeRow]:
    """Yield a row of FOCUS, unless nothing was charged and nothing used; what AWS does not tell is None."""
    if not group.billed and not group.effective and not group.quantity:
        return
    start = datetime(group.start.year, group.start.month, group.start.day, tzinfo=UTC)
    month = start.replace(day=1)
    hours = group.unit.lower() in ("hrs", "hours")
    category = "Tax" if service == "Tax" else "Usage" if group.billed >= 0 else "Credit"
    yield {
        "ProviderName": "AWS",
        "BillingAccountId": account,
        "SubAccountId": account,
        "BillingPeriodStart": month,
        "BillingPeriodEnd": (month + timedelta(days=32)).replace(day=1),
        "ChargePeriodStart": start,
        "ChargePeriodEnd": start + (group.end - group.start),
        "ChargeCategory": category,
        "ServiceName": service or "Unknown",
        "ServiceCategory": _CATEGORIES.get(service.lower(), "Other"),
        "BilledCost": group.billed,
        "EffectiveCost": group.effective,
        "ListCost": None,
        "BillingCurrency": group.currency,
        "RegionId": None,
        "ResourceId": None,
        "PricingQuantity": group.quantity if hours else None,
        "PricingUnit": "Hours" if hours else None,
        "Tags": dict(tags),
    }


def activate_tags(aws: Connection) -> tuple[str, ...]:
    """Make `TAGS` cost allocation tags, so that costs are told by project and node from then on.

    AWS knows a tag up to 24 hours after its first use, and takes as long again to show costs by it. Only the account
    that pays may do it.

    Returns
    -------
    tuple of str
        The tags that AWS does not know yet: try these again later.
    """
    doing = "activating cost allocation tags"
    answer = aws.call(
        "ce",
        "update_cost_allocation_tags_status",
        doing,
        HOME_REGION,
        CostAllocationTagsStatus=[{"TagKey": tag, "Status": "Active"} for tag in TAGS],
    )
    return tuple(str(error.get("TagKey", "")) for error in answer.get("Errors", ()))
