"""What an organisation means to spend on a project, and how much of it is spent: by bill or by estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.orm import Session

from .comparison import USD
from .summary import Daily, Scope, Total, estimated, totals
from .tables import ProjectBudget

_BEGINNING = date(2000, 1, 1)
WARN_AT = 0.8


@dataclass(frozen=True)
class Standing:
    """How a budget stands.

    Parameters
    ----------
    budget_usd : float, optional
        None without a budget.
    spent_usd : Decimal
        Over the project's whole life: what was billed in USD or what is estimated, whichever is more. They tell of the
        same machines, so they are not added up.
    share : float, optional
        Spent of the budget.
    state : str
        ``"ok"``, ``"warning"`` from `warn_at` on, ``"exceeded"`` from 1 on.
    note : str
        What is not counted, since it is in another currency.
    """

    project: str
    budget_usd: float | None
    warn_at: float
    spent_usd: Decimal
    share: float | None
    state: str
    note: str


def find(session: Session, organisation: str, project: str) -> ProjectBudget | None:
    """Return an organisation's budget for a project."""
    return session.get(ProjectBudget, (organisation, project))


def put(session: Session, organisation: str, project: str, budget_usd: float | None, warn_at: float) -> None:
    """Keep a budget; None takes it away."""
    row = find(session, organisation, project)
    if budget_usd is None:
        if row is not None:
            session.delete(row)
    elif row is None:
        session.add(ProjectBudget(organisation=organisation, project=project, budget_usd=budget_usd, warn_at=warn_at))
    else:
        row.budget_usd, row.warn_at = budget_usd, warn_at
    session.flush()


def standing(session: Session, organisation: str, project: str, daily: Daily, today: date) -> Standing:
    """Return how the budget of a project stands; see `Standing`."""
    return _stand(find(session, organisation, project), project, *_spent(session, organisation, daily, today))


def standings(session: Session, organisation: str | None, daily: Daily, today: date) -> list[Standing]:
    """Return how all budgets of an organisation stand, of every one with None."""
    query = select(ProjectBudget).order_by(ProjectBudget.organisation, ProjectBudget.project)
    if organisation is not None:
        query = query.where(ProjectBudget.organisation == organisation)
    found = []
    for owner in dict.fromkeys(row.organisation for row in session.scalars(query)):
        billed, usd = _spent(session, owner, daily, today)
        rows = session.scalars(query.where(ProjectBudget.organisation == owner))
        found += [_stand(row, row.project, billed, usd) for row in rows]
    return found


def _spent(
    session: Session, organisation: str, daily: Daily, today: date
) -> tuple[Sequence[Total], dict[str, Decimal]]:
    """Return bill and estimate by project, of all time."""
    scope = Scope(organisation, _BEGINNING, today + timedelta(days=366))
    entries = daily(session, organisation, _BEGINNING, today + timedelta(days=1))
    return totals(session, scope, "project"), estimated(entries, scope, "project")


def _stand(row: ProjectBudget | None, project: str, billed: Sequence[Total], usd: dict[str, Decimal]) -> Standing:
    mine = [total for total in billed if total.key == project]
    in_usd = sum((total.billed for total in mine if total.currency == USD), Decimal(0))
    spent = max(in_usd, usd.get(project, Decimal(0)))
    others = [f"{total.rows} rows in {total.currency}" for total in mine if total.currency != USD]
    note = f"{' and '.join(others)} are not counted." if others else ""
    if row is None:
        return Standing(project, None, WARN_AT, spent, None, "ok", note)
    share = float(spent) / row.budget_usd if row.budget_usd > 0 else float(spent > 0)
    state = "exceeded" if share >= 1 else "warning" if share >= row.warn_at else "ok"
    return Standing(project, row.budget_usd, row.warn_at, spent, share, state, note)
