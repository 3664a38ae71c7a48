"""What Google Cloud billed, from its billing export, as FOCUS rows.

There is no interface that answers what something cost: Google writes each charge to a table of BigQuery, hours late
and some of them days late, and credits beside charges. `charges` asks that table; `rows_from_export` reads the same
rows from a file.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

from ...errors import InvalidInput
from ..driver import INSTALLATION_TAG, LAUNCH_TAG, NODE_TAG, PROJECT_TAG, ChargeRow
from .gcp_connection import TIMEOUT, GcpConnection, NoSuchResource

LATE: Final = timedelta(days=5)
"""How long rows of a day still arrive; who keeps a copy asks for these days again."""
MAX_BYTES_BILLED: Final = 20 * 2**30
"""What one query may read; BigQuery refuses one that would read more, before it costs anything."""
PAGE: Final = 5000

_TABLE = re.compile(
    r"(?P<project>(?:[a-z0-9.-]{1,63}:)?[a-z][a-z0-9-]{4,28}[a-z0-9])\.(?P<dataset>[A-Za-z0-9_]{1,1024})"
    r"\.gcp_billing_export_resource_v1_[0-9A-F]{6}_[0-9A-F]{6}_[0-9A-F]{6}"
)
_TAGS = (PROJECT_TAG, INSTALLATION_TAG, LAUNCH_TAG, NODE_TAG)
_LABEL_COLUMNS = ",\n  ".join(
    f"(SELECT ANY_VALUE(l.value) FROM UNNEST(labels) l WHERE l.key = '{tag}') AS {tag.replace('-', '_')}"  # noqa: S608
    for tag in _TAGS
)
# _PARTITIONTIME is the day on which a row was exported, so that older partitions need not be read; a day less, since
# Google's day of billing is that of the Pacific time zone. The table's name, which cannot be a parameter, was checked
# by _TABLE.
_QUERY = f"""
SELECT
  billing_account_id,
  project.id AS project_id,
  invoice.month AS invoice_month,
  TIMESTAMP_TRUNC(usage_start_time, DAY) AS day,
  service.description AS service,
  location.region AS region,
  COALESCE(resource.global_name, resource.name) AS resource,
  cost_type,
  currency,
  usage.pricing_unit AS unit,
  {_LABEL_COLUMNS},
  SUM(CAST(usage.amount_in_pricing_units AS NUMERIC)) AS amount,
  SUM(CAST(cost AS NUMERIC)) AS cost,
  SUM(IFNULL((SELECT SUM(CAST(c.amount AS NUMERIC)) FROM UNNEST(credits) c), 0)) AS credits,
  SUM(CAST(IFNULL(cost_at_list, cost) AS NUMERIC)) AS list_cost
FROM `{{table}}`
WHERE _PARTITIONTIME >= TIMESTAMP_SUB(TIMESTAMP_TRUNC(@start, DAY), INTERVAL 1 DAY)
  AND usage_start_time >= @start AND usage_start_time < @end
  AND project.id = @project
GROUP BY {", ".join(str(number) for number in range(1, 11 + len(_TAGS)))}
"""  # noqa: S608 - constants only
_CATEGORIES: Final[Mapping[str, str]] = {
    "compute engine": "Compute",
    "cloud run": "Compute",
    "cloud run functions": "Compute",
    "cloud functions": "Compute",
    "kubernetes engine": "Compute",
    "app engine": "Web",
    "cloud storage": "Storage",
    "cloud filestore": "Storage",
    "artifact registry": "Storage",
    "networking": "Networking",
    "cloud dns": "Networking",
    "bigquery": "Analytics",
    "cloud pub/sub": "Integration",
    "cloud sql": "Databases",
    "cloud spanner": "Databases",
    "vertex ai": "AI and Machine Learning",
    "cloud logging": "Management and Governance",
    "cloud monitoring": "Management and Governance",
    "security command center": "Security",
    "cloud key management service (kms)": "Security",
    "secret manager": "Security",
}
"""Service to FOCUS category; https://focus.finops.org/focus-columns/servicecategory/."""
_CHARGES: Final[Mapping[str, str]] = {
    "regular": "Usage",
    "tax": "Tax",
    "adjustment": "Adjustment",
    "rounding_error": "Adjustment",
    "credit": "Credit",
}


def check_table(table: str) -> str:
    """Return the name of a billing export's table if it is one.

    Raises
    ------
    InvalidInput
        ``no-billing-table`` or ``bad-billing-table``.
    """
    if not table:
        raise InvalidInput(
            "Google Cloud tells costs through a billing export to BigQuery only, and no table is given.",
            code="no-billing-table",
            hint="Switch on the detailed usage cost export (docs/clouds/gcp.md) and give its table as billing_table.",
        )
    if not _TABLE.fullmatch(table):
        raise InvalidInput(
            f"{table[:120]!r} is no table of a detailed billing export.",
            code="bad-billing-table",
            hint="It reads project.dataset.gcp_billing_export_resource_v1_XXXXXX_XXXXXX_XXXXXX.",
        )
    return table


def bigquery(connection: GcpConnection) -> Any:
    """Return google-cloud-bigquery's client, over the connection's own session."""
    from google.cloud import bigquery as library

    base = connection.endpoint.base
    return library.Client(
        project=connection.account.project,
        credentials=connection.credentials,
        _http=connection.session,
        client_options={"api_endpoint": base} if base else None,
    )


def may_read(connection: GcpConnection, table: str) -> bool:
    """Return whether the service account may read `table`; one that is not there cannot be read."""
    from google.api_core.exceptions import Forbidden, NotFound

    with connection.translated():
        try:
            answer = bigquery(connection).test_iam_permissions(
                check_table(table), ["bigquery.tables.getData"], retry=None, timeout=TIMEOUT
            )
        except (NotFound, Forbidden):
            return False
        return "bigquery.tables.getData" in answer.get("permissions", ())


def charges(connection: GcpConnection, table: str, start: date, end: date) -> Iterator[ChargeRow]:
    """Yield what the project was billed from `start` to before `end`; see `CloudDriver.costs`.

    Spending of the project without labels is there too, with empty ``Tags``; that of other projects of the billing
    account is not, nor what belongs to no project (taxes).
    """
    from google.cloud.bigquery import QueryJobConfig, ScalarQueryParameter

    table = check_table(table)
    if start >= end:
        return
    config = QueryJobConfig(
        maximum_bytes_billed=MAX_BYTES_BILLED,
        use_legacy_sql=False,
        query_parameters=[
            ScalarQueryParameter("project", "STRING", connection.account.project),
            ScalarQueryParameter("start", "TIMESTAMP", datetime.combine(start, time(), UTC)),
            ScalarQueryParameter("end", "TIMESTAMP", datetime.combine(end, time(), UTC)),
        ],
    )
    try:
        with connection.translated():
            # No retries here: the caller decides, and waits without holding a thread
            job = bigquery(connection).query(
                _QUERY.replace("{table}", table), job_config=config, retry=None, job_retry=None, timeout=TIMEOUT
            )
            rows = iter(job.result(page_size=PAGE, retry=None, job_retry=None, timeout=300))
    except NoSuchResource as error:
        raise InvalidInput(
            f"The table of the billing export is not there: {error.message}",
            code="bad-billing-table",
            hint="Google makes it some hours after the export was switched on. Check the name in the BigQuery console.",
        ) from None
    while True:
        with connection.translated():  # the next page is fetched in here
            row = next(rows, None)
        if row is None:
            return
        yield _from_query(row)


def _from_query(row: Mapping[str, Any]) -> dict[str, Any]:
    billed = Decimal(row["cost"]) + Decimal(row["credits"])
    return _focus(
        row,
        start=row["day"],
        end=row["day"] + timedelta(days=1),
        month=row["invoice_month"],
        tags={tag: row[tag.replace("-", "_")] for tag in _TAGS if row[tag.replace("-", "_")]},
        billed=billed,
        list_cost=Decimal(row["list_cost"]),
        amount=None if row["amount"] is None else Decimal(row["amount"]),
    )


def rows_from_export(rows: Iterable[Mapping[str, Any]]) -> Iterator[ChargeRow]:
    """Yield FOCUS rows from rows of the billing export, standard or detailed.

    Parameters
    ----------
    rows : iterable of mapping
        With the export's columns joined by dots (``"service.description"``), as `csv.DictReader` gives them for a
        table that was saved as CSV, or with lists instead of texts in ``credits`` and ``labels``. These texts are
        JSON, or a list as Python writes it.

    Raises
    ------
    InvalidInput
        ``bad-billing-export``: which row and column.
    """
    for number, row in enumerate(rows, 1):
        try:
            credits = _records(row.get("credits"))
            cost = Decimal(str(row["cost"]))
            billed = cost + sum((Decimal(str(each.get("amount") or 0)) for each in credits), Decimal(0))
            if not billed.is_finite():
                raise ValueError("the cost is no number")
            tags = {str(each["key"]): str(each["value"]) for each in _records(row.get("labels"))}
            for each in _records(row.get("project.labels")):
                tags.setdefault(str(each["key"]), str(each["value"]))
            listed = _text(row.get("cost_at_list"))
            amount = _text(row.get("usage.amount_in_pricing_units"))
            flat = {
                "billing_account_id": _text(row.get("billing_account_id")),
                "project_id": _text(row.get("project.id")),
                "service": _text(row.get("service.description")),
                "region": _text(row.get("location.region")),
                "resource": _text(row.get("resource.global_name")) or _text(row.get("resource.name")),
                "cost_type": _text(row.get("cost_type")) or "regular",
                "currency": row["currency"],
                "unit": _text(row.get("usage.pricing_unit")),
            }
            yield _focus(
                flat,
                start=_moment(row["usage_start_time"]),
                end=_moment(row["usage_end_time"]),
                month=str(row["invoice.month"]).partition(".")[0],
                tags=tags,
                billed=billed,
                list_cost=Decimal(listed) if listed else cost,
                amount=Decimal(amount) if amount else None,
            )
        except KeyError as error:
            raise InvalidInput(
                f"Row {number} of the billing export has no column {error}.",
                code="bad-billing-export",
                hint="Save the table gcp_billing_export_v1_… or gcp_billing_export_resource_v1_… with all its columns.",
            ) from None
        except (ValueError, ArithmeticError, SyntaxError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidInput(
                f"Row {number} of the billing export cannot be read ({type(error).__name__}).",
                code="bad-billing-export",
            ) from None


def _focus(
    row: Mapping[str, Any],
    *,
    start: datetime,
    end: datetime,
    month: str,
    tags: Mapping[str, str],
    billed: Decimal,
    list_cost: Decimal,
    amount: Decimal | None,
) -> dict[str, Any]:
    since = datetime(int(month[:4]), int(month[4:6]), 1, tzinfo=UTC)
    service = str(row["service"] or "")
    return {
        "ProviderName": "Google Cloud",
        "BillingAccountId": row["billing_account_id"],
        "SubAccountId": row["project_id"],
        "ChargePeriodStart": start,
        "ChargePeriodEnd": end,
        "BillingPeriodStart": since,
        "BillingPeriodEnd": (since + timedelta(days=32)).replace(day=1),
        "ServiceName": service,
        "ServiceCategory": _CATEGORIES.get(service.lower(), "Other"),
        "ChargeCategory": _CHARGES.get(str(row["cost_type"]), "Usage"),
        "BilledCost": billed,
        "EffectiveCost": billed,
        "ListCost": list_cost,
        "BillingCurrency": row["currency"],
        "RegionId": row["region"],
        "ResourceId": row["resource"],
        "Tags": dict(tags),
        "PricingQuantity": amount,
        "PricingUnit": row["unit"],
    }


def _text(value: object) -> str | None:
    """Return a cell, None if it is empty in one of the ways in which tools write that."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    text = str(value).strip()
    return None if text in ("", "nan", "None", "null") else text


def _records(value: object) -> list[Mapping[str, Any]]:
    if isinstance(value, (list, tuple)):
        return list(value)
    text = _text(value)
    if text is None:
        return []
    try:
        found = json.loads(text)
    except ValueError:
        if len(text) > 100_000:  # a cell of an export is far below; deep nesting is dear to parse
            raise
        found = ast.literal_eval(text)
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise ValueError("no list of records")
    return found


def _moment(value: object) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip().removesuffix(" UTC"))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
