"""What Azure billed, from Cost Management's query, as FOCUS rows.

A query may group by two things only. So one query asks for project and service, which covers all spending, tagged or
not; then, for each service of tagged spending, one asks for project and resource. Tagged rows come from the second kind
and the rest from the first, so that nothing is counted twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from ..driver import PROJECT_TAG, ChargeRow, CloudUnreachable, Throttled
from .azure_arm import Arm
from .azure_errors import refusal, retry_after, throttled

ACTION: Final = "Microsoft.CostManagement/query/action"
_PATIENCE_SECONDS: Final = 300.0
"""Azure answers about four queries a minute per scope, and a month takes five or so."""
_LONGEST: Final = timedelta(days=364)
_CATEGORIES: Final[Mapping[str, str]] = {
    "virtual machines": "Compute",
    "virtual machines licenses": "Compute",
    "azure app service": "Web",
    "functions": "Compute",
    "container registry": "Compute",
    "azure kubernetes service": "Compute",
    "storage": "Storage",
    "bandwidth": "Networking",
    "virtual network": "Networking",
    "load balancer": "Networking",
    "nat gateway": "Networking",
    "azure dns": "Networking",
    "log analytics": "Management and Governance",
    "azure monitor": "Management and Governance",
    "key vault": "Security",
    "microsoft defender for cloud": "Security",
    "sql database": "Databases",
    "azure database for postgresql": "Databases",
    "azure machine learning": "AI and Machine Learning",
}
"""Service to FOCUS category; https://focus.finops.org/focus-columns/servicecategory/."""


def costs(arm: Arm, billing_scope: str, start: date, end: date) -> Iterator[ChargeRow]:
    """Yield what the subscription was billed from `start` to before `end`; see `CloudDriver.costs`."""
    while start < end:
        until = min(end, start + _LONGEST)  # a query covers at most a year
        yield from _costs(arm, billing_scope, start, until)
        start = until


def _costs(arm: Arm, billing_scope: str, start: date, end: date) -> Iterator[ChargeRow]:
    account = billing_scope.split("/billingProfiles/")[0] or arm.subscription
    by_project = {"type": "TagKey", "name": PROJECT_TAG}
    projects: set[str] = set()
    services: set[str] = set()
    for row in query(arm, start, end, [by_project, {"type": "Dimension", "name": "ServiceName"}], _TOTALS):
        project, service = _project(row), str(row.get("servicename") or "")
        if project:
            projects.add(project)
            services.add(service)
        else:
            yield _charge(arm, account, row, service, "", None)
    for service in sorted(services):
        only = {
            "and": [
                {"tags": {"name": PROJECT_TAG, "operator": "In", "values": sorted(projects)}},
                {"dimensions": {"name": "ServiceName", "operator": "In", "values": [service]}},
            ]
        }
        for row in query(arm, start, end, [by_project, {"type": "Dimension", "name": "ResourceId"}], _TOTALS, only):
            yield _charge(arm, account, row, service, _project(row), str(row.get("resourceid") or "") or None)


_TOTALS: Final[Mapping[str, Mapping[str, str]]] = {
    "cost": {"name": "Cost", "function": "Sum"},
    "quantity": {"name": "UsageQuantity", "function": "Sum"},
}


def query(
    arm: Arm,
    start: date,
    end: date,
    grouping: Sequence[Mapping[str, str]],
    totals: Mapping[str, Mapping[str, str]],
    only: Mapping[str, Any] | None = None,
    granularity: str = "Daily",
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a query as mappings from small-letter column names; numbers are `int` or `Decimal`.

    Parameters
    ----------
    arm : Arm
    start, end : date
        From `start` to before `end`.
    grouping : sequence of mapping
        At most two of ``type`` and ``name``.
    totals : mapping
        At most two of ``name`` and ``function``.
    only : mapping, optional
        Filter.
    granularity : str
        ``"Daily"`` or ``"None"``.
    """
    dataset: dict[str, Any] = {"granularity": granularity, "aggregation": totals, "grouping": list(grouping)}
    if only is not None:
        dataset["filter"] = only
    last = end - timedelta(days=1)
    body = {
        "type": "ActualCost",
        "timeframe": "Custom",
        "timePeriod": {"from": f"{start}T00:00:00+00:00", "to": f"{last}T23:59:59+00:00"},
        "dataset": dataset,
    }
    page = _patiently(arm, lambda: _first(arm, body))
    while True:
        properties = page.get("properties") if isinstance(page, Mapping) else None
        if not isinstance(properties, dict) or not isinstance(properties.get("rows"), list):
            raise CloudUnreachable("Cost Management answered with half a page.", hint="Try again.")
        # neither the order of the columns nor their spelling is promised
        names = [str(column["name"]).lower() for column in properties.get("columns") or ()]
        for values in properties["rows"]:
            if len(values) != len(names):
                raise CloudUnreachable("Cost Management answered with rows that do not fit its columns.")
            yield dict(zip(names, values, strict=True))
        following = properties.get("nextLink")
        if not following:
            return
        address = arm.ours(str(following))
        page = _patiently(arm, lambda url=address: _next(arm, url, body))


def _first(arm: Arm, body: Mapping[str, Any]) -> Any:
    response = arm.costs.query.usage(
        arm.subscription.lstrip("/"),
        json.dumps(body).encode(),
        cls=lambda answer, _model, _headers: answer.http_response,
    )
    return json.loads(response.text(), parse_float=Decimal) if response.status_code == 200 else _EMPTY


_EMPTY: Final[Mapping[str, Any]] = {"properties": {"columns": [], "rows": []}}


def _next(arm: Arm, url: str, body: Mapping[str, Any]) -> Any:
    """Fetch a further page: by POST, with the body of the first, which the SDK does not do."""
    from azure.core.rest import HttpRequest

    response = arm.costs.send_request(HttpRequest("POST", url, json=body))
    response.raise_for_status()
    return json.loads(response.text(), parse_float=Decimal)


def _patiently(arm: Arm, ask: Any) -> Any:
    """Ask, and wait for as long as Cost Management says, up to `_PATIENCE_SECONDS` in all."""
    from azure.core.exceptions import HttpResponseError

    waited = 0.0
    while True:
        try:
            with arm.errors("reading costs", ACTION):
                try:
                    return ask()
                except HttpResponseError as error:
                    if error.response is not None and error.response.status_code == 429:
                        raise throttled("reading costs", retry_after(error.response.headers)) from None
                    if error.response is not None and refusal(error.response).status == 404:
                        return _EMPTY if refusal(error.response).code == "ResourceNotFound" else _raise(error)
                    raise
        except Throttled as busy:
            seconds = float(busy.details.get("retry_after", 60))
            if waited + seconds > _PATIENCE_SECONDS:
                raise
            waited += max(seconds, 1.0)
            arm.wait(seconds)


def _raise(error: Exception) -> Any:
    raise error


def _project(row: Mapping[str, Any]) -> str:
    key, value = str(row.get("tagkey") or PROJECT_TAG), row.get("tagvalue")
    return str(value or "") if key.lower() == PROJECT_TAG else ""


def _charge(
    arm: Arm, account: str, row: Mapping[str, Any], service: str, project: str, resource: str | None
) -> ChargeRow:
    """Return a row of FOCUS; what Azure does not tell is None."""
    currency, cost = row.get("currency"), row.get("cost")
    if not currency or cost is None or "usagedate" not in row:
        raise CloudUnreachable(
            "Cost Management answered without Cost, UsageDate or Currency.", hint="No currency is assumed; try again."
        )
    day = datetime.strptime(str(row["usagedate"])[:8], "%Y%m%d").replace(tzinfo=UTC)
    month = day.replace(day=1)
    billed = Decimal(str(cost))
    hours = service.lower() == "virtual machines" and resource is not None
    return {
        "ProviderName": "Microsoft",
        "BillingAccountId": account,
        "SubAccountId": arm.subscription,
        "BillingPeriodStart": month,
        "BillingPeriodEnd": (month + timedelta(days=32)).replace(day=1),
        "ChargePeriodStart": day,
        "ChargePeriodEnd": day + timedelta(days=1),
        "ChargeCategory": "Usage" if billed >= 0 else "Credit",
        "ServiceName": service or "Unknown",
        "ServiceCategory": _CATEGORIES.get(service.lower(), "Other"),
        "BilledCost": billed,
        "EffectiveCost": billed,
        "ListCost": None,
        "BillingCurrency": str(currency),
        "RegionId": None,
        "ResourceId": resource,
        # quantities of other services add up different units
        "PricingQuantity": Decimal(str(row["usagequantity"])) if hours and "usagequantity" in row else None,
        "PricingUnit": "Hours" if hours else None,
        "Tags": {PROJECT_TAG: project} if project else {},
    }
