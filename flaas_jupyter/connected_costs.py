"""What federated projects cost, from a notebook: ``flaas.connect().costs``.

Prices and recommendations come from the coordination API, which knows the organisation's own cloud accounts and prices;
`flaas_jupyter.costs` gives the same answers from list prices without an API.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlencode

from .answers import frame
from .errors import Aborted, Conflict, InvalidInput

if TYPE_CHECKING:
    import pandas as pd

Json = dict[str, Any]

READY = ("ready", "training")
OVER = ("ended", "failed")
GROUPS = ("project", "provider", "service", "node", "day")
"""What bills can be grouped by."""

_POLL = 1.0
_LEAST_DISK = 8
_PLAN = ["name", "provider", "region", "country", "instance_type", "market", "usd_hour", "compute_usd", "egress_usd"]


class Rest(Protocol):
    """Somebody signed in at a coordination API; `flaas_jupyter.Session` is one."""

    def get(self, path: str) -> Json:
        """GET a resource."""
        ...

    def list(self, path: str, key: str) -> list[Json]:
        """GET every page of a list."""
        ...

    def send(self, method: str, path: str, body: Json | None = None, *, key: str | None = None) -> Json:
        """POST, PUT or DELETE; `key` is the idempotency key of a POST."""
        ...


class Costs:
    """Costs at one coordination API, for the caller's organisation."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    def __repr__(self) -> str:
        return f"<Costs at {self._rest!r}>"

    # ---- choosing ---------------------------------------------------------------------------------------------

    @property
    def templates(self) -> pd.DataFrame:
        """One row per template of resources."""
        columns = ["name", "title", "nodes", "need", "area", "market", "rounds", "aggregation", "secure_aggregation"]
        return frame(self._rest.list("/v1/costs/templates", "templates"), columns)

    def recommend(self, template: str, **options: Any) -> Recommendation:
        """Compare the clouds for a template, and place its nodes at the least cost.

        Parameters
        ----------
        template : str
            One of `templates`.
        **options
            ``area``, ``market`` (``"on_demand"`` or ``"spot"``), ``rounds``, ``hours``, ``parameters``,
            ``rows_per_node``, ``budget_usd``, ``deadline_hours``, and ``nodes``: a list of dicts with ``name`` and
            optionally ``provider`` and ``area``, or how many.

        Raises
        ------
        NotFound
            Code ``unknown-template``.
        Conflict
            Code ``no-placement``: nobody sells it, or the constraints contradict each other; the message says which.
        """
        answer = self._rest.send("POST", "/v1/costs/recommendations", {"template": template, **options})
        return Recommendation(self, answer)

    # ---- launching --------------------------------------------------------------------------------------------

    def launch(self, project: str, order: Json) -> Launch:
        """Launch what `order` says (docs/rest.md); `Recommendation.launch` makes one from a plan."""
        path = f"/v1/projects/{quote(project, safe='')}/launches"
        return Launch(self._rest, self._rest.send("POST", path, order, key=secrets.token_hex(16)))

    def launches(self, project: str) -> pd.DataFrame:
        """One row per launch of `project`, newest first."""
        rows = self._rest.list(f"/v1/projects/{quote(project, safe='')}/launches", "launches")
        columns = ["id", "title", "state", "created", "ends_at", "accepted_usd", "spent_usd", "created_by"]
        return frame(rows, columns)

    def find_launch(self, launch: str) -> Launch:
        """Return the launch with this id."""
        return Launch(self._rest, self._rest.get(f"/v1/launches/{quote(launch, safe='')}"))

    # ---- bill -------------------------------------------------------------------------------------------------

    @property
    def accounts(self) -> pd.DataFrame:
        """One row per cloud account; credentials are never among it."""
        columns = ["id", "provider", "title", "identity", "checked", "fetch"]
        return frame(self._rest.list("/v1/costs/accounts", "accounts"), columns)

    def bill(
        self,
        since: date | str | None = None,
        until: date | str | None = None,
        *,
        group: str = "project",
        project: str | None = None,
    ) -> pd.DataFrame:
        """What was billed and what is estimated, by `group` (``project, provider, service, node, day``).

        The two are never added up: an estimate is there at once, the bill comes hours to days later and then counts.
        An empty key is spending without a project. Default: the last 30 days.
        """
        summary = self.summary(since, until, group=group, project=project)
        return frame(
            summary["comparison"], ["key", "currency", "billed", "estimated", "difference", "explanation"]
        ).rename(columns={"key": group})

    def summary(
        self,
        since: date | str | None = None,
        until: date | str | None = None,
        *,
        group: str = "project",
        project: str | None = None,
    ) -> Json:
        """Everything that the dashboard shows (docs/rest.md)."""
        today = date.today()
        query = {
            "from": str(since or today - timedelta(days=30)),
            "to": str(until or today + timedelta(days=1)),
            "group": group,
            **({"project": project} if project is not None else {}),
        }
        return self._rest.get(f"/v1/costs/summary?{urlencode(query)}")

    def budget(self, project: str) -> Json:
        """The budget of `project`, and how much of it is spent."""
        return self._rest.get(f"/v1/projects/{quote(project, safe='')}/budget")

    def set_budget(self, project: str, usd: float | None, warn_at: float = 0.8) -> Json:
        """Give `project` a budget in USD, or none; launches above it are refused."""
        body = {"budget_usd": usd, "warn_at": warn_at}
        return self._rest.send("PUT", f"/v1/projects/{quote(project, safe='')}/budget", body)


class Recommendation:
    """What a template costs at each provider, and the cheapest placement of its nodes."""

    def __init__(self, costs: Costs, answer: Json) -> None:
        self._costs = costs
        self.answer = answer

    def __repr__(self) -> str:
        plan = self.answer["plan"]
        best = ", ".join(sorted({node["provider"] for node in plan["nodes"]})) if plan else "nobody"
        total = f"{plan['total_usd']:.2f} USD for {plan['hours']:.1f} h" if plan else "no offer"
        return f"<{self.answer['template']['name']}: {best}, {total}>"

    def _repr_html_(self) -> str:
        html: str = self.table.to_html(index=False, float_format="{:.4g}".format)
        return html

    @property
    def table(self) -> pd.DataFrame:
        """One row per provider: its best machine, the price of the whole project there, and why not if it is not."""
        rows = [
            {
                "provider": entry["title"],
                "recommended": "✓" if entry["recommended"] else "",
                **{k: (entry["offer"] or {}).get(k) for k in ("instance_type", "region", "price_usd_hour", "as_of")},
                "total_usd": entry["plan"]["total_usd"] if entry["plan"] else None,
                "reason": entry["reason"] or entry["why_not"],
            }
            for entry in self.answer["providers"]
        ]
        return frame(rows, list(rows[0]) if rows else [])

    def candidates(self, provider: str) -> pd.DataFrame:
        """Machines of `provider`, cheapest first, with the reason for what was set aside."""
        rows = self._entry(provider)["candidates"]
        return frame(rows, list(rows[0]) if rows else [])

    def plan(self, provider: str | None = None) -> Json:
        """The recommended plan, or the one with everything at `provider`.

        Raises
        ------
        Conflict
            Code ``no-placement``.
        """
        plan = self.answer["plan"] if provider is None else self._entry(provider)["plan"]
        if plan is None:
            why = self._entry(provider)["why_not"] if provider else "no provider has a fitting offer"
            raise Conflict(f"There is no plan for {provider or 'this template'}: {why}.", code="no-placement")
        found: Json = plan
        return found

    def plan_table(self, provider: str | None = None) -> pd.DataFrame:
        """One row per node of a plan."""
        return frame(self.plan(provider)["nodes"], _PLAN)

    def launch(
        self,
        project: str,
        provider: str | None = None,
        *,
        accept_usd: float,
        hours: float | None = None,
        datasets: Mapping[str, Json] | None = None,
        title: str | None = None,
        budget_usd: float | None = None,
    ) -> Launch:
        """Launch the recommended plan, or everything at `provider`.

        Parameters
        ----------
        project : str
            The federated project that the machines join.
        provider : str, optional
            ``"aws"``, ``"azure"``, ``"gcp"`` or ``"local"``; the cheapest mixture if None.
        accept_usd : float
            The most that you accept to pay; a higher total is refused.
        hours : float, optional
            When the machines end by themselves. Default: what the plan was made for.
        datasets : mapping, optional
            Node name to ``{"name", "source", "target"}``: what the machine offers for training.
        title : str, optional
            For people.
        budget_usd : float, optional
            Refused above this, beside the project's own budget.
        """
        plan = self.plan(provider)
        accounts = {entry["provider"]: entry["account"] for entry in self.answer["providers"]}
        data = datasets or {}
        unknown = sorted(set(data) - {node["name"] for node in plan["nodes"]})
        if unknown:
            raise InvalidInput(
                f"There is no node {unknown[0]!r} in the plan; there is: "
                f"{', '.join(node['name'] for node in plan['nodes'])}.",
                code="unknown-node",
            )
        keys = ("name", "provider", "region", "instance_type", "market", "usd_hour")
        nodes = [
            {
                **{key: node[key] for key in keys},
                "account": accounts.get(node["provider"]),
                "disk_gib": max(_LEAST_DISK, math.ceil(self.answer["template"]["disk_gib"])),
                "dataset": data.get(node["name"]),
            }
            for node in plan["nodes"]
        ]
        order = {
            "title": title,
            "template": self.answer["template"]["name"],
            "hours": hours if hours is not None else plan["hours"],
            "rounds": self.answer["rounds"],
            "accepted_usd": accept_usd,
            "budget_usd": budget_usd,
            "nodes": nodes,
        }
        return self._costs.launch(project, order)

    def _entry(self, provider: str) -> Json:
        for entry in self.answer["providers"]:
            if entry["provider"] == provider:
                found: Json = entry
                return found
        known = ", ".join(entry["provider"] for entry in self.answer["providers"])
        raise InvalidInput(f"There is no provider {provider!r}; there is: {known}.", code="unknown-provider")


class Launch:
    """Machines that were launched for a project; `refresh` looks again."""

    def __init__(self, rest: Rest, answer: Json) -> None:
        self._rest = rest
        self.answer = answer

    def __repr__(self) -> str:
        states = ", ".join(f"{node['name']}: {node['state']}" for node in self.answer["nodes"])
        return f"<Launch {self.id} {self.state} ({states})>"

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.answer["id"])

    @property
    def state(self) -> str:
        """As of the last `refresh`."""
        return str(self.answer["state"])

    @property
    def nodes(self) -> pd.DataFrame:
        """One row per machine."""
        columns = [
            "name",
            "provider",
            "region",
            "instance_type",
            "state",
            "usd_hour",
            "spent_usd",
            "node_id",
            "problem",
        ]
        return frame(self.answer["nodes"], columns)

    def refresh(self) -> Launch:
        """Ask the API how it stands; return itself."""
        self.answer = self._rest.get(self._path)
        return self

    def wait(
        self,
        states: Sequence[str] = READY,
        *,
        timeout: float = 1800.0,
        progress: Callable[[Launch], None] | None = None,
    ) -> Launch:
        """Wait until the launch is in one of `states`.

        Interrupting the wait ends nothing: the machines go on, and `flaas.connect().costs.find_launch` finds them.

        Parameters
        ----------
        states : sequence of str
            Default: all nodes have joined.
        timeout : float
            Seconds.
        progress : callable, optional
            Given the launch whenever something changed.

        Raises
        ------
        Aborted
            It got stuck, failed, or ended otherwise; the message has the first problem.
        """
        deadline, seen = time.monotonic() + timeout, ""
        while True:
            shown = repr(self)
            if progress is not None and shown != seen:
                progress(self)
            seen = shown
            if self.state in states:
                return self
            if self.state in (*OVER, "stuck"):
                raise Aborted(
                    f"Launch {self.id} is {self.state}: {self._problem()}",
                    code="launch-" + self.state,
                    hint="Look at `.nodes`; `.resume()` tries the failed ones again, `.end()` ends what runs.",
                )
            if time.monotonic() > deadline:
                raise Aborted(
                    f"Launch {self.id} is still {self.state} after {timeout:.0f} s.",
                    code="launch-slow",
                    hint="It goes on. Wait again, or `.end()` it.",
                )
            time.sleep(_POLL)
            self.refresh()

    def resume(self) -> Launch:
        """Try again what has failed; return itself."""
        self.answer = self._rest.send("POST", f"{self._path}/resume", key=secrets.token_hex(16))
        return self

    def end(self) -> Launch:
        """End all machines; `wait(["ended"])` returns when the clouds say that nothing is left."""
        self.answer = self._rest.send("POST", f"{self._path}/terminate", key=secrets.token_hex(16))
        return self

    @property
    def _path(self) -> str:
        return f"/v1/launches/{quote(self.id, safe='')}"

    def _problem(self) -> str:
        problems = [self.answer["problem"], *(node["problem"] for node in self.answer["nodes"])]
        first = next((problem for problem in problems if problem), None)
        return str(first.get("message") or first.get("detail") or first) if first else "no reason is known"
