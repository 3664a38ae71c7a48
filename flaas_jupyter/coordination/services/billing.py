"""Bills, estimate and budgets, put together for the interface."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ...costs.accounts import CloudAccount
from ...costs.billing import budgets, charges, comparison, focus, rollup, summary
from ...costs.billing.summary import Daily, GroupBy, Scope
from ...costs.billing.tables import BillImport, CostRollup
from ...errors import InvalidInput
from .. import hal
from ..access import View, project_ids
from ..cost_schemas import ImportIn
from ..database import Database
from ..tables import Project
from .accounts import organisation_of

LONGEST_DAYS = 1100
_FIRST, _LAST = date(2000, 1, 1), date(2101, 1, 1)
_FILES_NAMED = 3
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_TEXTS = frozenset(name for name, column in focus.COLUMNS.items() if column.kind in ("text", "tags"))


def window(start: date | None, end: date | None) -> tuple[date, date]:
    """Return the days to look at: from `start` to before `end`; the last 30 days by default.

    Raises
    ------
    InvalidInput
        Code ``bad-window``.
    """
    end = end or datetime.now(UTC).date() + timedelta(days=1)
    start = start or max(end, _FIRST) - timedelta(days=30)
    if not start < end or (end - start).days > LONGEST_DAYS:
        raise InvalidInput(
            f"From {start} to {end} is no window.",
            code="bad-window",
            hint=f"Give from before to, at most {LONGEST_DAYS} days.",
        )
    return start, end


def show(
    session: Session,
    view: View,
    days: tuple[date, date],
    group: GroupBy,
    narrowed: tuple[str | None, str | None],
    daily: Daily,
) -> hal.Resource:
    """Return everything that the dashboard shows of a window; `narrowed` is project and provider, or None."""
    organisation = organisation_of(view)
    scope = Scope(organisation, *days, *narrowed)
    totals = summary.totals(session, scope, group)
    top = set(list(dict.fromkeys(total.key for total in totals))[: summary.MOST_KEYS])
    entries = daily(session, organisation, *days)
    usd = summary.estimated(entries, scope, group)
    sources = _sources(session, organisation)
    until = [source["complete_until"] for source in sources if source["complete_until"] is not None]
    complete = min(until) if until else None
    later = [] if complete is None else [entry for entry in entries if entry["day"] > complete]
    known = comparison.Known(complete, summary.estimated(later, scope, group))
    mine = set(session.scalars(project_ids(view))) if group == "project" else None
    body = {
        "from": days[0].isoformat(),
        "to": days[1].isoformat(),
        "group": group,
        "billed": [
            {
                "key": total.key,
                "currency": total.currency,
                "billed": float(total.billed),
                "effective": float(total.effective),
                "list": float(total.list),
                "known": mine is None or not total.key or total.key in mine,
            }
            for total in totals
        ],
        "estimated": [{"key": key, "usd": float(amount)} for key, amount in sorted(usd.items())],
        "days": [
            {**entry, "day": entry["day"].isoformat(), "billed": float(entry["billed"])}
            for entry in summary.days(session, scope, group, top)
        ],
        "estimated_days": _estimated_days(entries, scope, group),
        "comparison": [
            {
                **entry,
                "billed": float(entry["billed"]),
                "estimated": _number(entry["estimated"]),
                "difference": _number(entry["difference"]),
            }
            for entry in comparison.compare(totals, usd, known)
        ],
        "without_project": [
            {"currency": currency, "billed": float(amount)}
            for currency, amount in summary.without_project(session, scope)
        ],
        "currencies": sorted({total.currency for total in totals}),
        "sources": [{**source, "complete_until": _iso(source["complete_until"])} for source in sources],
        "budgets": [
            {
                "project": standing.project,
                "budget_usd": standing.budget_usd,
                "spent_usd": float(standing.spent_usd),
                "share": standing.share,
                "state": standing.state,
                "note": standing.note,
            }
            for standing in budgets.standings(session, organisation, daily, view.now.date())
        ],
    }
    links = {
        "export": hal.link(f"/v1/costs/export?from={days[0]}&to={days[1]}"),
        "accounts": hal.link("/v1/costs/accounts"),
        "import": hal.link("/v1/costs/imports", "POST") if view.may("costs:manage") else None,
    }
    return hal.resource(body, "/v1/costs/summary", **links)


def take_in(database: Database, view: View, body: ImportIn) -> hal.Resource:
    """Take in rows of a bill for the caller's organisation.

    Raises
    ------
    InvalidInput
        Codes ``bad-bill``; ``bad-delivered``: the bill would be from the future.
    """
    if body.delivered > view.now + timedelta(days=1):
        raise InvalidInput(
            f"The bill is said to be delivered at {body.delivered.isoformat()}, which is in the future.",
            code="bad-delivered",
            hint="Set the clock right: no later correction could replace it.",
        )
    missing = focus.missing_columns({name for row in body.rows for name in row})
    if missing:
        raise focus.refusal(missing)
    rows = list(focus.checked(body.rows))
    organisation = view.own
    with database.noting() as session:
        charges.lock(session, organisation)
        outcome = charges.deliver(session, organisation, rows, body.delivered)
        known = session.get(BillImport, (organisation, body.name))
        if known is None:
            known = BillImport(organisation=organisation, name=body.name, delivered=body.delivered, received=view.now)
            session.add(known)
        known.delivered = max(known.delivered, body.delivered)
        known.received = view.now
    counts = {"accepted": outcome.accepted, "replaced": outcome.replaced, "ignored": outcome.ignored}
    return hal.resource(counts, "/v1/costs/imports", summary=hal.link("/v1/costs/summary"))


def export(database: Database, organisation: str | None, days: tuple[date, date]) -> Iterator[str]:
    """Yield the charges of a window as CSV in FOCUS columns, a piece at a time.

    A text that a spreadsheet would take for a formula gets an apostrophe in front (OWASP, "CSV Injection").
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(focus.COLUMNS))
    writer.writeheader()
    with database.reading() as session:
        for count, charge in enumerate(charges.stored(session, organisation, *days), 1):
            writer.writerow({name: _harmless(name, text) for name, text in charges.focus_row(charge).items()})
            if count % 500 == 0:
                yield buffer.getvalue()
                buffer.seek(0)
                buffer.truncate()
    yield buffer.getvalue()


def show_budget(session: Session, view: View, project: Project, daily: Daily) -> hal.Resource:
    """Return the budget of the caller's organisation for a project."""
    href = f"/v1/projects/{project.id}/budget"
    standing = budgets.standing(session, view.caller.organisation, project.id, daily, view.now.date())
    body = {
        "project": project.id,
        "budget_usd": standing.budget_usd,
        "warn_at": standing.warn_at,
        "spent_usd": float(standing.spent_usd),
        "share": standing.share,
        "state": standing.state,
        "note": standing.note,
    }
    return hal.resource(
        body,
        href,
        project=hal.link(f"/v1/projects/{project.id}"),
        edit=hal.link(href, "PUT") if view.may("costs:manage") else None,
    )


def _harmless(name: str, text: str) -> str:
    return f"'{text}" if name in _TEXTS and text.startswith(_FORMULA) else text


def _number(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)


def _iso(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _estimated_days(entries: Sequence[dict[str, Any]], scope: Scope, group: GroupBy) -> list[dict[str, Any]]:
    sums: dict[tuple[date, str], Decimal] = {}
    for entry in entries:
        if scope.covers(entry):
            key = entry["day"], str(entry[group])
            sums[key] = sums.get(key, Decimal(0)) + Decimal(str(entry["usd"]))
    return [{"day": day.isoformat(), "key": key, "usd": float(usd)} for (day, key), usd in sorted(sums.items())]


def _also_fetched(session: Session, organisation: str | None) -> str | None:
    """Return what to say of rows of files that do not count, since a connected account tells of the same days."""
    where = rollup.also_fetched(organisation, _FIRST, _LAST)
    query = select(
        CostRollup.provider, CostRollup.account, func.min(CostRollup.day), func.max(CostRollup.day),
        func.sum(CostRollup.rows),
    ).where(where)  # fmt: skip
    if organisation is not None:
        query = query.where(CostRollup.organisation == organisation)
    found = session.execute(query.group_by(CostRollup.provider, CostRollup.account).order_by(CostRollup.provider)).all()
    told = [
        f"{int(rows)} rows of {provider} account {account} from {first} to {last} are also fetched: the fetched ones "
        "count, these do not."
        for provider, account, first, last, rows in found
    ]
    return " ".join(told) or None


def _sources(session: Session, organisation: str | None) -> list[dict[str, Any]]:
    """Return where bills come from: accounts, those too that were removed and have billed, and files."""
    query = select(CostRollup.source, func.max(CostRollup.day)).group_by(CostRollup.source)
    found = select(CloudAccount).order_by(CloudAccount.created, CloudAccount.id)
    files = select(BillImport).order_by(BillImport.received.desc())
    if organisation is not None:
        query = query.where(CostRollup.organisation == organisation)
        found = found.where(CloudAccount.organisation == organisation)
        files = files.where(BillImport.organisation == organisation)
    last: dict[str, date] = {row[0]: row[1] for row in session.execute(query)}
    sources = [
        {
            "source": account.id,
            "title": account.title if account.removed is None else f"{account.title} (removed)",
            "provider": account.provider,
            "fetched": hal.instant(account.fetch_at),
            "complete_until": account.complete_until,
            "problem": account.fetch_problem["detail"] if account.fetch_problem else None,
        }
        for account in session.scalars(found)
        if account.removed is None or account.id in last
    ]
    imported = session.scalars(files).all()
    if imported:
        names = ", ".join(row.name for row in imported[:_FILES_NAMED])
        more = f" and {len(imported) - _FILES_NAMED} more" if len(imported) > _FILES_NAMED else ""
        sources.append(
            {
                "source": rollup.FILES,
                "title": f"Files: {names}{more}",
                "provider": "",
                "fetched": hal.instant(imported[0].received),
                "complete_until": last.get(rollup.FILES),
                "problem": _also_fetched(session, organisation),
            }
        )
    return sources
