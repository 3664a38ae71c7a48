"""Templates, and what they would cost an organisation with its own accounts and prices."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ...costs import accounts, templates
from ...costs.catalog import Catalog, Offer, prices_folder
from ...costs.driver import Market
from ...costs.estimation import Calibration
from ...costs.launch.tables import LaunchRow
from ...costs.overlays import NegotiatedPrice
from ...costs.recommendation import Recommendation, Request, recommend
from ...costs.tables import OwnPrice, OwnTemplate
from ...costs.templates import Template
from ...errors import Conflict, NotFound
from .. import hal
from ..access import View
from ..tables import Round, Run

_LATEST = 50
"""Launches whose rounds correct the estimates."""


class Prices:
    """The list prices of one API process: read once, and again when they were refreshed, by whichever process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: tuple[object, Catalog] | None = None

    def catalog(self) -> Catalog:
        """Return the prices that were last refreshed, else the embedded ones."""
        stamp = _stamp(prices_folder())
        with self._lock:
            if self._known is None or self._known[0] != stamp:
                self._known = (stamp, Catalog.current())
            return self._known[1]


def _stamp(folder: Path) -> object:
    if not folder.is_dir():
        return None
    return tuple(sorted((each.name, each.stat().st_mtime_ns) for each in folder.iterdir()))


# ---- templates ------------------------------------------------------------------------------------------------------


def own_templates(session: Session, organisation: str) -> list[Template]:
    """Return the organisation's own templates, by name."""
    query = select(OwnTemplate).where(OwnTemplate.organisation == organisation).order_by(OwnTemplate.name)
    return [Template.from_dict(row.template) for row in session.scalars(query)]


def show_template(template: Template, view: View, *, builtin: bool) -> hal.Resource:
    """Return a template as it is answered."""
    href = f"/v1/costs/templates/{template.name}"
    removable = not builtin and view.may("costs:manage")
    return hal.resource(
        {**template.to_dict(), "builtin": builtin}, href, remove=hal.link(href, "DELETE") if removable else None
    )


def list_templates(session: Session, view: View) -> list[hal.Resource]:
    """Return the built-in templates, then the organisation's own."""
    own = own_templates(session, view.caller.organisation)
    hidden = {template.name for template in own}
    shown = [show_template(t, view, builtin=True) for t in templates.builtin() if t.name not in hidden]
    return [*shown, *(show_template(t, view, builtin=False) for t in own)]


def add_template(session: Session, view: View, body: Mapping[str, Any]) -> Template:
    """Keep a template.

    Raises
    ------
    InvalidInput
        ``bad-template``, ``bad-need`` or ``unknown-area``.
    Conflict
        ``template-exists``.
    """
    template = Template.from_dict(body)
    key = (view.own, template.name)
    if session.get(OwnTemplate, key) is not None:
        raise Conflict(
            f"Your organisation has a template {template.name!r}.",
            code="template-exists",
            hint="Remove it first, or choose another name.",
        )
    session.add(OwnTemplate(organisation=key[0], name=key[1], template=template.to_dict(), created=datetime.now(UTC)))
    return template


def remove_template(session: Session, view: View, name: str) -> None:
    """Remove one of the organisation's own templates.

    Raises
    ------
    NotFound
        ``unknown-template``; built-in ones cannot be removed.
    """
    row = session.get(OwnTemplate, (view.own, name))
    if row is None:
        raise NotFound(
            f"Your organisation has no template {name[:63]!r} of its own.",
            code="unknown-template",
            hint="Built-in templates stay; one of your own with the same name hides a built-in one.",
        )
    session.delete(row)


# ---- recommendation -------------------------------------------------------------------------------------------------


def catalog_of(session: Session, prices: Prices, organisation: str) -> Catalog:
    """Return the prices that `organisation` pays: list prices, its overlays, and what its accounts told."""
    rows = session.scalars(select(OwnPrice).where(OwnPrice.organisation == organisation))
    negotiated = [_negotiated(row) for row in rows]
    overlays = accounts.overlays(session, organisation)
    catalog = prices.catalog()
    return catalog.with_prices(overlays, negotiated) if overlays or negotiated else catalog


def price_of(
    session: Session, prices: Prices, organisation: str, provider: str, region: str, instance_type: str, market: Market
) -> float | None:
    """Return what `organisation` pays for an hour of a machine, None if nobody sells it there."""
    offer = catalog_of(session, prices, organisation).offer(provider, region, instance_type, market)
    return None if offer is None else offer.price_usd_hour


def answer(session: Session, view: View, prices: Prices, body: Mapping[str, Any], *, local: bool) -> Recommendation:
    """Recommend, with the organisation's templates and prices; see `costs.recommendation`."""
    organisation = view.own
    own = own_templates(session, organisation)
    request = Request.from_dict(body, own)
    catalog = catalog_of(session, prices, organisation)
    return recommend(catalog, request, calibration=measured(session, organisation, catalog, own), local=local)


def measured(session: Session, organisation: str, catalog: Catalog, own: Sequence[Template]) -> Calibration:
    """Return what the organisation's own launches have shown: seconds of a round, by hardware.

    A launch counts if its run has reported rounds and all its machines are known to the catalog; its median round is
    held against the estimate for the same template and machines.
    """
    launched = (
        select(LaunchRow)
        .where(LaunchRow.organisation == organisation, LaunchRow.run.is_not(None), LaunchRow.template.is_not(None))
        .order_by(LaunchRow.number.desc())
        .limit(_LATEST)
    )
    known = {template.name: template for template in (*templates.builtin(), *own)}
    calibration = Calibration()
    for launch in session.scalars(launched):
        template, offers = known.get(str(launch.template)), _machines(catalog, launch)
        seconds = _seconds_of_rounds(session, str(launch.run))
        if template is not None and offers and seconds:
            same = replace(
                template, nodes=len(offers), secure_aggregation=template.secure_aggregation and len(offers) > 2
            )
            calibration = calibration.with_run(same, offers, median(seconds))
    return calibration


def _machines(catalog: Catalog, launch: LaunchRow) -> list[Offer]:
    newest = {machine.node: machine for machine in launch.machines}
    found = [
        catalog.offer(each.provider, each.region, each.instance_type, "spot" if each.market == "spot" else "on_demand")
        for each in newest.values()
    ]
    return [offer for offer in found if offer is not None] if all(found) else []


def _seconds_of_rounds(session: Session, run: str) -> list[float]:
    reports = session.scalars(select(Round.report).join(Run, Run.number == Round.run).where(Run.id == run))
    totals = (report["seconds"].get("total") for report in reports)
    return [float(total) for total in totals if total]


def _negotiated(row: OwnPrice) -> NegotiatedPrice:
    return NegotiatedPrice(
        provider=row.provider,
        region=row.region,
        instance_type=row.instance_type,
        usd_hour=row.usd_hour,
        market=row.market,  # type: ignore[arg-type]  # stored from one
        kind=row.kind,  # type: ignore[arg-type]
        source=row.source,
        as_of=row.as_of,
    )
