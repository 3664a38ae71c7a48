"""The cost layer of the fake coordination API: embedded prices, a bill by formula, launches as the test says."""

from __future__ import annotations

import csv
import io
import itertools
import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from flaas_jupyter.costs import templates
from flaas_jupyter.costs.catalog import Catalog
from flaas_jupyter.costs.recommendation import Request as Wishes
from flaas_jupyter.costs.recommendation import recommend
from flaas_jupyter.errors import FlaasError

if TYPE_CHECKING:
    from .fake_api import FakeApi

Json = dict[str, Any]
LIVE = {"launching", "booting", "joining", "ready", "training", "stuck"}
HOURS_A_DAY = {"demo": 3.0, "empty": 1.0}
SERVICES = ("virtual machines", "storage", "data transfer")
NODES = ("hospital-a", "hospital-b", "hospital-c")


def _problem(status: int, code: str, title: str, detail: str, hint: str = "") -> Response:
    body = {"type": f"/problems/{code}", "title": title, "status": status, "detail": detail, "code": code, "hint": hint}
    return JSONResponse(body, status, media_type="application/problem+json")


def _at(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class FakeCosts:
    """State of the cost layer, and what the test does to it. Methods may be called from the test's thread."""

    def __init__(self, api: FakeApi) -> None:
        self._api = api
        self._ids = itertools.count(1)
        self.catalog = Catalog.embedded()
        self.accounts: dict[str, Json] = {"aws": self._account("acc-aws", "aws", "AWS, hospital group")}
        self.launches: dict[str, Json] = {}
        self.keys: dict[str, str] = {}
        self.orders: list[Json] = []
        self.asked: list[Json] = []
        self.budget = 400.0
        self.empty = False
        self.failures: dict[tuple[str, str], list[Response]] = {}
        self.lost_answers = 0

    # ---- what the test does ---------------------------------------------------------------------

    def fail_next(self, method: str, path: str, *problem: Any) -> None:
        """Answer the next such request with a problem: status, code, title, detail, hint."""
        self.failures.setdefault((method, path), []).append(_problem(*problem))

    def lose_next_answer(self) -> None:
        """Do what the next order says, and break its answer."""
        self.lost_answers += 1

    def add_account(self, provider: str) -> None:
        self.accounts[provider] = self._account(f"acc-{provider}", provider, provider.upper())

    def set_node(self, launch: str, name: str, state: str, problem: Json | None = None, spent: float = 0.0) -> None:
        """Let a machine reach a state; a joined one is a node of the project that holds biopsies."""
        node = next(each for each in self.launches[launch]["nodes"] if each["name"] == name)
        node.update(state=state, problem=problem, spent_usd=node["spent_usd"] + spent)
        if state in {"booting", "registered", "joined"} and node["machine"] is None:
            node.update(machine=f"i-0{abs(hash((launch, name))) % 10**12:012d}", started=_at(datetime.now(UTC)))
        if state == "joined":
            node["node_id"] = self._api.add_node(name)
        self.launches[launch]["spent_usd"] = sum(each["spent_usd"] for each in self.launches[launch]["nodes"])
        self.changed(launch)

    def set_launch(self, launch: str, state: str, **changes: Any) -> None:
        self.launches[launch].update(state=state, **changes)
        self.changed(launch)

    def changed(self, launch: str) -> None:
        body = self.launches[launch]
        self._api.emit("launch.changed", data={"launch": launch, "state": body["state"]})

    # ---- what the application reads ---------------------------------------------------------------

    def shown(self, launch: str) -> Json:
        body = self.launches[launch]
        links: Json = {"self": {"href": f"/v1/launches/{launch}"}}
        if body["state"] in LIVE:
            links["terminate"] = {"href": f"/v1/launches/{launch}/terminate", "method": "POST"}
        if body["state"] == "stuck":
            links["resume"] = {"href": f"/v1/launches/{launch}/resume", "method": "POST"}
        return {**body, "_links": links}

    def launch(self, project: str, order: Json, key: str) -> str:
        """Launch once for each key."""
        if key not in self.keys:
            now = datetime.now(UTC)
            launch = self.keys[key] = f"launch-{next(self._ids)}"
            self.orders.append(order)
            wanted = ("name", "provider", "account", "region", "instance_type", "market", "usd_hour")
            self.launches[launch] = {
                "id": launch, "project": project, "title": order["title"], "template": order["template"],
                "state": "launching", "created": _at(now), "created_by": "ana", "hours": order["hours"],
                "ends_at": _at(now + timedelta(hours=order["hours"])), "accepted_usd": order["accepted_usd"],
                "spent_usd": 0.0, "rounds": order["rounds"], "run": None, "round": None, "problem": None,
                "nodes": [
                    {**{field: node[field] for field in wanted}, "state": "planned", "machine": None, "node_id": None,
                     "started": None, "ended": None, "spent_usd": 0.0, "attempts": 1, "problem": None}
                    for node in order["nodes"]
                ],
            }  # fmt: skip
            self.changed(launch)
        return self.keys[key]

    def recommendation(self, body: Json) -> Json:
        answer = recommend(self.catalog, Wishes.from_dict(body, []), local=True)
        return answer.to_dict({provider: account["id"] for provider, account in self.accounts.items()})

    def rows(self, start: date, end: date, project: str | None, provider: str | None) -> list[Json]:
        """The bill by formula: a row for each day, project, provider and service, up to yesterday."""
        found = []
        if self.empty:
            return found
        until = min(end, datetime.now(UTC).date())
        for number in range((until - start).days):
            day = start + timedelta(days=number)
            for owner, cloud, currency, scale in (
                ("demo", "aws", "USD", 8.4), ("demo", "gcp", "USD", 3.1), ("empty", "aws", "USD", 1.7),
                ("demo", "azure", "EUR", 4.6), ("", "aws", "USD", 0.6),
            ):  # fmt: skip
                if project not in (None, owner) or provider not in (None, cloud):
                    continue
                for share, service in zip((0.85, 0.1, 0.05), SERVICES, strict=True):
                    cost = round(scale * share * (1 + 0.4 * ((day.toordinal() * 7) % 5 - 2) / 2), 4)
                    node = NODES[day.toordinal() % 3]
                    found.append(
                        {"day": day.isoformat(), "project": owner, "provider": cloud, "service": service,
                         "node": node, "currency": currency, "billed": cost}
                    )  # fmt: skip
        return found

    def summary(self, query: Json) -> Json:
        start, end = date.fromisoformat(query["from"]), date.fromisoformat(query["to"])
        group = query.get("group", "project")
        rows = self.rows(start, end, query.get("project"), query.get("provider"))
        totals: dict[tuple[str, str], float] = {}
        days: dict[tuple[str, str, str], float] = {}
        for row in rows:
            one, other = (row[group], row["currency"]), (row["day"], row[group], row["currency"])
            totals[one] = totals.get(one, 0) + row["billed"]
            days[other] = days.get(other, 0) + row["billed"]
        estimated: dict[str, float] = {}
        estimated_days: dict[tuple[str, str], float] = {}
        for row in rows:
            if row["currency"] == "USD" and row["project"] and row["service"] != "storage":
                one, usd = row[group], row["billed"] * 0.97
                estimated[one] = estimated.get(one, 0) + usd
                estimated_days[row["day"], one] = estimated_days.get((row["day"], one), 0) + usd
        comparison = []
        for (key, currency), billed in sorted(totals.items()):
            known = estimated.get(key) if currency == "USD" else None
            comparison.append(
                {"key": key, "currency": currency, "billed": billed, "estimated": known,
                 "difference": billed - known if known is not None else None,
                 "explanation": f"Billed in {currency}, estimated in USD: not compared." if currency != "USD"
                 else "No machine of ours: not estimated." if known is None
                 else "Storage is billed and not estimated; the price at launch was 3 % lower."}
            )  # fmt: skip
        lost: dict[str, float] = {}
        for row in rows:
            if not row["project"]:
                lost[row["currency"]] = lost.get(row["currency"], 0) + row["billed"]
        spent = sum(row["billed"] for row in self.rows(start, end, "demo", None) if row["currency"] == "USD")
        share = spent / self.budget
        now = datetime.now(UTC)
        sources = [
            {"source": "acc-aws", "title": "AWS, hospital group", "provider": "aws",
             "fetched": self._fetched("acc-aws"), "complete_until": str(now.date() - timedelta(days=1)),
             "problem": None},
            {"source": "focus:azure.csv", "title": "Azure, azure.csv", "provider": "azure",
             "fetched": _at(now - timedelta(days=2)), "complete_until": str(now.date() - timedelta(days=3)),
             "problem": None},
            {"source": "acc-gcp", "title": "Google Cloud, research", "provider": "gcp",
             "fetched": _at(now - timedelta(hours=30)), "complete_until": str(now.date() - timedelta(days=2)),
             "problem": {"title": "Not permitted", "code": "missing-permission",
                         "detail": "The account may not read the bill: bigquery.jobs.create is missing.",
                         "hint": "Grant it (docs/clouds/gcp.md) and fetch again."}},
        ]  # fmt: skip
        return {
            "from": query["from"], "to": query["to"], "group": group,
            "billed": [{"key": k, "currency": c, "billed": v, "effective": v, "list": v * 1.1}
                       for (k, c), v in sorted(totals.items())],
            "estimated": [{"key": key, "usd": usd} for key, usd in sorted(estimated.items())],
            "days": [{"day": d, "key": k, "currency": c, "billed": v} for (d, k, c), v in sorted(days.items())],
            "estimated_days": [{"day": d, "key": k, "usd": v} for (d, k), v in sorted(estimated_days.items())],
            "comparison": comparison,
            "without_project": [{"currency": currency, "billed": value} for currency, value in lost.items()],
            "currencies": sorted({row["currency"] for row in rows}),
            "sources": [] if self.empty else sources,
            "budgets": [] if self.empty else [
                {"project": "demo", "budget_usd": self.budget, "spent_usd": spent, "share": share,
                 "state": "exceeded" if share >= 1 else "warning" if share >= 0.8 else "ok"}
            ],
        }  # fmt: skip

    def _fetched(self, account: str) -> str | None:
        return next((each["fetch"]["at"] for each in self.accounts.values() if each["id"] == account), None)

    def table(self, start: str, end: str) -> str:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["ChargePeriodStart", "ServiceProviderName", "ServiceName", "BilledCost", "BillingCurrency"])
        for row in self.rows(date.fromisoformat(start), date.fromisoformat(end), None, None):
            writer.writerow([row["day"], row["provider"], row["service"], row["billed"], row["currency"]])
        return text.getvalue()

    def _account(self, account: str, provider: str, title: str) -> Json:
        fetched = _at(datetime.now(UTC) - timedelta(hours=5))
        return {
            "id": account, "provider": provider, "title": title,
            "identity": {"account": "123456789012", "principal": "flaas", "currency": "USD"},
            "permissions": [], "overlays": [], "created": fetched, "checked": fetched,
            "fetch": {"state": "done", "at": fetched, "from": "2026-11-01", "to": "2026-12-01", "rows": 420,
                      "problem": None},
        }  # fmt: skip


def _hal(body: Json, status: int = 200) -> Response:
    return Response(json.dumps(body), status, media_type="application/hal+json")


def _list(plural: str, items: list[Json]) -> Response:
    return _hal({"_links": {"self": {"href": "."}}, "_embedded": {plural: items}})


def add_routes(app: FastAPI, fake: FakeApi) -> None:
    """Answer what docs/rest.md says of costs and launches."""
    costs = fake.costs

    @app.middleware("http")
    async def failing(request: Request, forward: Any) -> Response:
        waiting = costs.failures.get((request.method, request.url.path))
        return waiting.pop(0) if waiting else await forward(request)

    @app.get("/v1/costs/templates")
    def all_templates() -> Response:
        return _list("templates", [{**each.to_dict(), "builtin": True} for each in templates.builtin()])

    @app.get("/v1/costs/accounts")
    def accounts() -> Response:
        return _list("accounts", list(costs.accounts.values()))

    @app.post("/v1/costs/accounts/{account}/fetch")
    def fetch(account: str) -> Response:
        found = next(each for each in costs.accounts.values() if each["id"] == account)
        found["fetch"].update(state="done", at=_at(datetime.now(UTC)))
        return _hal(found)

    @app.get("/v1/costs/summary")
    def summary(request: Request) -> Response:
        return _hal(costs.summary(dict(request.query_params)))

    @app.get("/v1/costs/export")
    def export(request: Request) -> Response:
        text = costs.table(request.query_params["from"], request.query_params["to"])
        return Response(text, media_type="text/csv")

    @app.post("/v1/costs/recommendations")
    async def recommendations(request: Request) -> Response:
        body = await request.json()
        costs.asked.append(body)
        try:
            return _hal(costs.recommendation(body))
        except FlaasError as error:
            return _problem(422, error.code, "Cannot be recommended", str(error), error.hint or "")

    @app.get("/v1/projects/{project}/launches")
    def launches(project: str) -> Response:
        found = [costs.shown(each["id"]) for each in costs.launches.values() if each["project"] == project]
        return _list("launches", found[::-1])

    @app.post("/v1/projects/{project}/launches")
    async def launch(project: str, request: Request) -> Response:
        made = costs.launch(project, await request.json(), request.headers["Idempotency-Key"])
        if costs.lost_answers:
            costs.lost_answers -= 1
            return _problem(503, "unavailable", "The service is starting anew", "It does not answer now.", "Try again.")
        return _hal(costs.shown(made), 201)

    @app.get("/v1/launches/{launch}")
    def one_launch(launch: str) -> Response:
        if launch not in costs.launches:
            return _problem(404, "unknown-launch", "No such launch", f"There is no launch {launch}.")
        return _hal(costs.shown(launch))

    @app.post("/v1/launches/{launch}/terminate")
    def terminate(launch: str) -> Response:
        costs.set_launch(launch, "ending")
        return _hal(costs.shown(launch), 202)

    @app.post("/v1/launches/{launch}/resume")
    def resume(launch: str) -> Response:
        for node in costs.launches[launch]["nodes"]:
            if node["state"] == "failed":
                node.update(state="launching", problem=None, attempts=node["attempts"] + 1)
        costs.set_launch(launch, "launching")
        return _hal(costs.shown(launch), 202)
