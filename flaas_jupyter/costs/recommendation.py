"""From a template to a plan: what each provider asks, where the nodes would be cheapest, and on which grounds.

One question, asked by the wizard, the command line and the notebook alike. It changes nothing and needs no account.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import Aborted, Conflict, InvalidInput
from . import providers, templates
from .catalog import Catalog, Offer
from .estimation import Calibration, bytes_of_round, grounds, hardware_class, round_time, traffic_matrix
from .need import require_known
from .placement import Plan, place
from .regions import Area
from .templates import Template

SETUP_HOURS = 0.2
"""From launch to the first round: booting, installing, joining. An assumption."""

LEAST_HOURS = 1.0
"""Machines are kept for an hour at least: people look at results, and train once more."""

LOCAL = "local"
_SHOWN = 12
_SPEEDS = 4
_MOST_NODES = 200
_OWN = {"provider": LOCAL, "region": "here", "country": "", "instance_type": "process", "market": "on_demand"}
_KEYS = (
    "template", "area", "market", "rounds", "hours", "nodes", "parameters", "rows_per_node", "budget_usd",
    "deadline_hours",
)  # fmt: skip


@dataclass(frozen=True)
class Wish:
    """A node, and where it has to be: at a provider, in an area, or anywhere."""

    name: str
    provider: str | None = None
    area: Area | None = None


@dataclass(frozen=True)
class Request:
    """What is asked.

    Parameters
    ----------
    template : Template
        With whatever was changed in it.
    nodes : tuple of Wish
        As many as the template says.
    hours : float, optional
        How long the machines run; as long as the rounds take by default.
    budget_usd, deadline_hours : float, optional
        Neither may be exceeded.
    """

    template: Template
    nodes: tuple[Wish, ...]
    hours: float | None = None
    budget_usd: float | None = None
    deadline_hours: float | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], known: Iterable[Template] = ()) -> Request:
        """Read a request as it comes over REST (docs/rest.md); `known` are templates beside the built-in ones.

        Raises
        ------
        NotFound
            ``unknown-template``
        InvalidInput
            ``bad-request``, ``bad-template`` or ``unknown-area``.
        """
        require_known(data, _KEYS, "a request", "bad-request")
        template = templates.find(str(data.get("template", "")), known)
        changes = {
            key: data[key]
            for key in ("area", "market", "rounds", "parameters", "rows_per_node")
            if data.get(key) is not None
        }
        nodes = _wishes(data.get("nodes"), template)
        hours = data.get("hours")
        limits = {key: data.get(key) for key in ("budget_usd", "deadline_hours")}
        for key, value in {"hours": hours, **limits}.items():
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9
            ):
                raise InvalidInput(f"{key}={value!r} is not a number above 0.", code="bad-request", field=key)
        template = replace(template, **changes, nodes=len(nodes))
        return cls(template, nodes, hours if hours is not None else template.hours, **limits)


@dataclass(frozen=True)
class AtProvider:
    """What one provider offers: its cheapest machine, everything at its place, and machines to choose from."""

    provider: str
    title: str
    offer: Offer | None
    plan: Plan | None
    why_not: str
    candidates: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Recommendation:
    """The answer; `to_dict` is its form in REST."""

    request: Request
    at: tuple[AtProvider, ...]
    plan: Plan | None
    why_not: str
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]
    as_of: Mapping[str, str | None]
    offers: Mapping[tuple[str, str, str], Offer]
    calibration: Calibration | None = None

    def to_dict(self, accounts: Mapping[str, str | None] | None = None) -> dict[str, Any]:
        """Return the answer as JSON values; `accounts` are the organisation's cloud accounts by provider."""
        best = self.plan
        accounts = accounts or {}
        return {
            "template": self.request.template.to_dict(),
            "rounds": self.request.template.rounds,
            "hours": best.hours if best else None,
            "seconds_per_round": self._seconds(best) if best else None,
            "providers": [self._provider(entry, accounts) for entry in self.at],
            "plan": self._plan(best) if best else None,
            "why_not": self.why_not,
            "assumptions": list(self.assumptions),
            "warnings": list(self.warnings),
            "as_of": dict(self.as_of),
        }

    @property
    def recommended(self) -> str | None:
        """The provider of the recommendation, if it is one alone."""
        used = {pick["provider"] for pick in self.plan.picks} if self.plan else set()
        return used.pop() if len(used) == 1 else None

    def _provider(self, entry: AtProvider, accounts: Mapping[str, str | None]) -> dict[str, Any]:
        account = accounts.get(entry.provider)
        launchable = entry.plan is not None and (entry.provider == LOCAL or account is not None)
        why_not = entry.why_not
        if not why_not and not launchable:
            why_not = f"No account: flaas costs account add {entry.provider}"
        return {
            "provider": entry.provider,
            "title": entry.title,
            "account": account,
            "launchable": launchable,
            "why_not": why_not,
            "recommended": entry.provider == self.recommended,
            "reason": self._reason(entry),
            "offer": entry.offer.to_dict() if entry.offer else None,
            "plan": self._plan(entry.plan) if entry.plan else None,
            "candidates": list(entry.candidates),
        }

    def _reason(self, entry: AtProvider) -> str:
        if entry.provider == LOCAL:
            return "Costs nothing: processes on the machine of the coordination API, to try things out."
        if entry.plan is None or self.plan is None:
            return ""
        extra = entry.plan.total - self.plan.total
        if entry.provider == self.recommended:
            others = [at.plan.total for at in self.at if at.plan and at.provider not in (LOCAL, entry.provider)]
            return f"Cheapest, by {min(others) - entry.plan.total:.2f} USD." if others else "The only one."
        return (
            f"{extra:.2f} USD dearer than the recommendation." if extra >= 0.005 else "As cheap as the recommendation."
        )

    def _seconds(self, plan: Plan) -> float:
        keys = {(pick["provider"], pick["region"], pick["instance_type"]) for pick in plan.picks}
        machines = [self.offers[key] for key in keys if key in self.offers]
        return max((_round_seconds(self.request.template, each, self.calibration) for each in machines), default=0.0)

    def _plan(self, plan: Plan) -> dict[str, Any]:
        return {
            "total_usd": plan.total,
            "compute_usd": plan.compute,
            "egress_usd": plan.egress,
            "storage_usd": plan.storage,
            "hours": plan.hours,
            "nodes": [
                {
                    "name": row["name"],
                    **{
                        key: row["pick"].get(key)
                        for key in ("provider", "region", "country", "instance_type", "market")
                    },
                    "usd_hour": row["pick"]["usd_hour"],
                    "compute_usd": row["compute"],
                    "egress_usd": row["egress_out"],
                    "storage_usd": row["storage"],
                }
                for row in plan.by_node
            ],
            "constraints": [
                {"constraint": text, "usd": usd} for text, usd in plan.price_of_constraints.items() if usd >= 0.005
            ],
            "runner_up": [
                {"provider": name, "total_usd": other.total}
                for name, other in plan.runner_up.items()
                if other is not None
            ],
            "explanation": plan.explain().splitlines(),
        }


def recommend(
    catalog: Catalog, request: Request, *, calibration: Calibration | None = None, local: bool = False
) -> Recommendation:
    """Compare the providers and place the nodes.

    Parameters
    ----------
    catalog : Catalog
        With the customer's own prices, if there are any.
    request : Request
    calibration : Calibration, optional
        Measured runs.
    local : bool
        Whether processes on the API's own machine are offered, too.

    Notes
    -----
    Traffic depends on the region only, so in each region only the cheapest machine is looked at, and a few that are
    dearer and faster: all machines run until the slowest is done. One of the nodes, counted as the first, adds the
    updates up; the others send to it and receive from it.
    """
    template = request.template
    seconds = _seconds_of(template, calibration)
    offers = _Offers(catalog, template, seconds)
    nodes: list[dict[str, Any]] = [
        {"name": wish.name, "candidates": _sites(offers, catalog, template, wish, seconds)} for wish in request.nodes
    ]
    pins: dict[str, Mapping[str, Any]] = {
        wish.name: {
            key: value for key, value in (("provider", wish.provider), ("area", wish.area)) if value is not None
        }
        for wish in request.nodes
        if wish.provider is not None or wish.area is not None
    }
    traffic = traffic_matrix(len(nodes), 0, template.rounds, *bytes_of_round(template))

    def placed(allowed: Callable[[Mapping[str, Any]], bool]) -> tuple[Plan | None, str]:
        chosen = [{**node, "candidates": [each for each in node["candidates"] if allowed(each)]} for node in nodes]
        lacking = [node["name"] for node in chosen if not node["candidates"]]
        if lacking:
            return None, f"Nothing that would do for {lacking[0]}."
        try:
            plan = place(
                chosen,
                traffic,
                request.hours,
                egress=catalog.egress,
                budget=request.budget_usd,
                deadline_hours=request.deadline_hours,
                pins=pins,
                rounds=None if request.hours is not None else template.rounds,
            )
        except (Conflict, Aborted) as error:
            return None, str(error)
        return plan, ""

    best, why_not = placed(lambda candidate: True)
    at = []
    for provider in _clouds(catalog):
        plan, why = placed(lambda candidate, name=provider: candidate["provider"] == name)  # type: ignore[misc]
        offer = (
            _used(plan, offers)[0]
            if plan
            else catalog.cheapest(template.need, template.area, template.market, provider)
        )
        if offer is None:
            why = catalog.explain(template.need, template.area, template.market, provider) or why
        rows = tuple(catalog.candidate_rows(template.need, template.area, template.market, provider, _SHOWN))
        at.append(AtProvider(provider, _title(provider), offer, plan, "" if plan else why, rows))
    if local:
        at.append(_on_this_machine(request, traffic, best))
    warnings = [*catalog.warnings(), *(best.warnings if best else ())]
    warnings += [f"{o.provider} {o.region}: {o.warning}" for o in _used(best, offers) if o.warning]
    return Recommendation(
        request,
        tuple(at),
        best,
        why_not,
        tuple(_assumptions(request, best, offers, calibration)),
        tuple(dict.fromkeys(warnings)),
        _as_of(catalog),
        offers.found,
        calibration,
    )


class _Offers:
    """Machines worth looking at in an area, looked up once: in each region the cheapest, and dearer ones if faster."""

    def __init__(self, catalog: Catalog, template: Template, seconds: Callable[[Offer], float]) -> None:
        self._catalog = catalog
        self._template = template
        self._seconds = seconds
        self._by_area: dict[str, list[Offer]] = {}
        self.found: dict[tuple[str, str, str], Offer] = {}

    def within(self, area: Area) -> list[Offer]:
        """Return them, cheapest first."""
        key = repr(area)
        if key not in self._by_area:
            template = self._template
            by_place: dict[tuple[str, str], list[Offer]] = {}
            for offer in self._catalog.by_region(template.need, area, template.market):
                kept = by_place.setdefault((offer.provider, offer.region), [])
                if len(kept) < _SPEEDS and all(self._seconds(offer) < self._seconds(cheaper) for cheaper in kept):
                    kept.append(offer)
            found = [offer for kept in by_place.values() for offer in kept]
            self._by_area[key] = found
            self.found.update({_key(offer): offer for offer in found})
        return self._by_area[key]


def _key(offer: Offer) -> tuple[str, str, str]:
    return offer.provider, offer.region, offer.instance_type


def _sites(
    offers: _Offers, catalog: Catalog, template: Template, wish: Wish, seconds: Callable[[Offer], float]
) -> list[dict[str, Any]]:
    """Where a node could be; a pinned area may lie outside the template's."""
    found = {_key(offer): offer for offer in offers.within(template.area)}
    if wish.area is not None:
        found |= {_key(offer): offer for offer in offers.within(wish.area)}
    return [
        {
            "provider": offer.provider,
            "region": offer.region,
            "country": offer.country,
            "instance_type": offer.instance_type,
            "market": offer.market,
            "usd_hour": offer.price_usd_hour,
            "vcpus": offer.vcpus,
            "disk_usd_hour": _disk(catalog, template, offer),
            "round_seconds": seconds(offer),
        }
        for offer in found.values()
    ]


def _seconds_of(template: Template, calibration: Calibration | None) -> Callable[[Offer], float]:
    """Seconds that a round keeps a machine: its own and a share of the time before the first one."""
    share, least = (hours * 3600 / template.rounds for hours in (SETUP_HOURS, LEAST_HOURS))

    def seconds(offer: Offer) -> float:
        return max(_round_seconds(template, offer, calibration) + share, least)

    return seconds


def _round_seconds(template: Template, offer: Offer, calibration: Calibration | None) -> float:
    factor = calibration.factor(hardware_class(offer)) if calibration else 1.0
    return round_time(template, offer).total * factor


def _disk(catalog: Catalog, template: Template, offer: Offer) -> float:
    price = catalog.storage.find(offer.provider, offer.region)
    return price.usd(template.disk_gib, 1.0) if price else 0.0


def _on_this_machine(request: Request, traffic: Any, best: Plan | None) -> AtProvider:
    hours = request.hours or (best.hours if best else 1.0)
    pinned = [wish.name for wish in request.nodes if wish.provider not in (None, LOCAL) or wish.area is not None]
    if pinned:
        why_not = f"{pinned[0]} has to be elsewhere."
        return AtProvider(LOCAL, "This machine", None, None, why_not, ())
    nodes = [{"name": wish.name, "candidates": [{**_OWN, "usd_hour": 0.0}]} for wish in request.nodes]
    plan = place(nodes, traffic, hours, egress=lambda one, other: 0.0)
    return AtProvider(LOCAL, "This machine", None, plan, "", ())


def _assumptions(
    request: Request, best: Plan | None, offers: _Offers, calibration: Calibration | None
) -> Iterable[str]:
    template = request.template
    used = _used(best, offers)
    if used and template.nodes > 0:
        slowest = max(used, key=lambda offer: round_time(template, offer).total)
        yield from grounds(template, [slowest] * template.nodes)
        measured = calibration is not None and calibration.factor(hardware_class(slowest)) != 1.0
        yield (
            "Corrected by measured runs on such hardware."
            if measured
            else "No run was measured on such hardware: the time may be off by several times."
        )
    if request.hours is None:
        yield (
            f"{SETUP_HOURS * 60:.0f} minutes are added for booting, installing and joining; machines are kept for "
            f"{LEAST_HOURS:g} h at least."
        )
    else:
        yield f"The machines run for {request.hours:g} h, whatever the rounds take."
    yield "One of the nodes adds the updates up; traffic is counted as if it were the first."
    if template.market == "spot":
        yield "Nothing is added for spot machines that are taken away."


def _used(plan: Plan | None, offers: _Offers) -> list[Offer]:
    picks = plan.picks if plan else ()
    keys = dict.fromkeys((pick["provider"], pick["region"], pick["instance_type"]) for pick in picks)
    return [offers.found[key] for key in keys if key in offers.found]


def _wishes(given: Any, template: Template) -> tuple[Wish, ...]:
    if given is None:
        given = template.nodes
    if isinstance(given, int) and not isinstance(given, bool) and given <= _MOST_NODES:
        given = [{"name": f"node-{i + 1}"} for i in range(given)]
    if not isinstance(given, Sequence) or isinstance(given, str) or not 1 <= len(given) <= _MOST_NODES:
        raise InvalidInput(
            f"nodes is a number or a list of 1 to {_MOST_NODES} nodes.",
            code="bad-request",
            field="nodes",
            hint='For example [{"name": "north", "area": "DE"}, {"name": "south", "provider": "aws"}].',
        )
    wishes = []
    for number, node in enumerate(given, 1):
        if not isinstance(node, Mapping) or not isinstance(node.get("name"), str) or not node["name"]:
            raise InvalidInput(f"Node {number} has no name.", code="bad-request", field="nodes")
        require_known(node, ["name", "provider", "area"], f"node {node['name']!r}", "bad-request")
        provider = node.get("provider")
        if provider is not None and provider not in (*providers.names(), LOCAL):
            raise InvalidInput(
                f"Node {node['name']!r} is pinned to {provider!r}; there is: {', '.join(providers.names())}.",
                code="bad-request",
                field="nodes",
            )
        wishes.append(Wish(node["name"], provider, _area(node.get("area"))))
    names = [wish.name for wish in wishes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInput(f"Two nodes are named {twice[0]!r}.", code="bad-request", field="nodes")
    return tuple(wishes)


def _area(area: Any) -> Area | None:
    return area if area is None or isinstance(area, str) else tuple(area)


def _clouds(catalog: Catalog) -> list[str]:
    return [name for name in providers.names() if name in catalog.providers] + [
        name for name in catalog.providers if name not in providers.names()
    ]


def _title(provider: str) -> str:
    return {"aws": "AWS", "azure": "Azure", "gcp": "Google Cloud"}.get(provider, provider)


def _as_of(catalog: Catalog) -> dict[str, str | None]:
    from datetime import UTC, datetime, timedelta

    today = datetime.now(UTC).date()
    return {
        name: None if days is None else (today - timedelta(days=days)).isoformat()
        for name, days in catalog.age(today).items()
    }
