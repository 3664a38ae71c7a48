"""``flaas costs``: everything that the cost panel does, without a browser.

``templates``, ``candidates`` and ``estimate`` answer from this machine's own prices, without any account or API; the
other commands ask the coordination API, which knows the organisation's cloud accounts.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .answers import without_links
from .errors import Aborted, FlaasError, InvalidInput
from .home import Home
from .terminal import as_json, show, table, told

if TYPE_CHECKING:
    from .connected import Session
    from .connected_costs import Launch
    from .costs.driver import Market

_NEEDS_PRICES = "Prices of this machine: embedded ones, or those of the last `flaas costs refresh --local`."


def group() -> click.Group:
    """Return the group ``flaas costs``."""
    area = click.option("--area", help="EU, EEA, Europe, all, country codes or regions, separated by commas.")
    market = click.option("--market", type=click.Choice(["on_demand", "spot"]))

    @click.group()
    def costs() -> None:
        """Compare the clouds, launch on the cheapest, see what was billed."""

    # ---- prices ---------------------------------------------------------------------------------------------

    @costs.command()
    @as_json
    @told
    def templates(json_output: bool) -> None:
        """List the templates of resources."""
        from .costs import templates as known

        rows = [template.to_dict() for template in known.builtin()]
        show(rows, json_output, table([_template_row(row) for row in rows], list(_template_row(rows[0]))))

    @costs.command()
    @click.option("--vcpus", default=2.0, show_default=True, type=click.FloatRange(min=0, min_open=True))
    @click.option("--memory", "memory_gib", default=4.0, show_default=True, type=click.FloatRange(min=0), help="GiB.")
    @click.option("--gpus", "gpu_count", type=click.FloatRange(min=0), help="GPUs per machine.")
    @click.option("--gpu", "gpu_names", multiple=True, help="GPU model, e.g. T4; may be repeated.")
    @click.option("--gpu-memory", "gpu_memory_gib", default=0.0, type=click.FloatRange(min=0), help="GiB per GPU.")
    @click.option("--burstable", is_flag=True, help="Burstable machines are good enough.")
    @click.option("--arch", type=click.Choice(["x86_64", "arm64"]), default="x86_64", show_default=True)
    @area
    @market
    @click.option("--provider", help="Only this one.")
    @click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1))
    @as_json
    @told
    def candidates(
        area: str | None, market: str | None, provider: str | None, limit: int, json_output: bool, **need: Any
    ) -> None:
        """List machines that would do, cheapest first, and why others were set aside."""
        from .costs import Catalog, Need

        catalog = Catalog.current()
        wanted = Need(**{**need, "gpu_names": tuple(need["gpu_names"])})
        wanted_market: Market = "spot" if market == "spot" else "on_demand"
        rows = catalog.candidate_rows(wanted, _area(area) or "EU", wanted_market, provider, limit)
        columns = ["provider", "region", "country", "instance_type", "vcpus", "memory_gib", "gpu_name", "gpu_count"]
        show(rows, json_output, table(rows, [*columns, "price_usd_hour", "as_of", "reason"]))
        _warn(catalog.warnings())

    @costs.command()
    @click.argument("template")
    @area
    @market
    @click.option("--nodes", type=click.IntRange(min=1), help="Default: the template's.")
    @click.option("--pin", "pins", multiple=True, metavar="NODE=PROVIDER|AREA", help="E.g. node-2=aws, node-3=DE.")
    @click.option("--rounds", type=click.IntRange(min=1))
    @click.option("--hours", type=click.FloatRange(min=0, min_open=True))
    @click.option("--parameters", type=click.IntRange(min=1), help="Weights of the model.")
    @click.option("--rows", "rows_per_node", type=click.IntRange(min=1))
    @click.option("--budget", "budget_usd", type=click.FloatRange(min=0, min_open=True), help="USD.")
    @click.option("--deadline", "deadline_hours", type=click.FloatRange(min=0, min_open=True), help="Hours.")
    @click.option("--local", is_flag=True, help="Ask no API. " + _NEEDS_PRICES)
    @as_json
    @told
    def recommend(template: str, local: bool, json_output: bool, **options: Any) -> None:
        """Compare the clouds for TEMPLATE and place its nodes at the least cost."""
        request = _request(template, **options)
        answer = _recommended_here(request) if local or not _signed_in() else _recommended_by_api(request)
        show(answer, json_output, _recommendation_text(answer))
        _warn(answer["warnings"])

    costs.add_command(_estimate_of(recommend))

    @costs.command()
    @click.option("--local", is_flag=True, help="This machine's own prices, with credentials from --with.")
    @click.option("--with", "credentials", multiple=True, metavar="PROVIDER=FILE", help="JSON file of credentials.")
    @as_json
    @told
    def refresh(local: bool, credentials: tuple[str, ...], json_output: bool) -> None:
        """Fetch current prices from the clouds; a cloud that fails keeps the prices that there are.

        The API uses the organisation's accounts, and goes on after the command has ended.
        """
        if local or credentials:
            report = _refreshed_here(dict(_named_files(credentials)))
        else:
            with _session() as session:
                report = session.send("POST", "/v1/costs/prices/refresh", {})
        rows = [{"provider": name, **entry} for name, entry in report["providers"].items()]
        show(report, json_output, table(rows, ["provider", "state", "rows", "as_of", "problem"]))

    # ---- launches -------------------------------------------------------------------------------------------

    @costs.command()
    @click.argument("template")
    @click.option("--project", required=True)
    @click.option("--provider", help="Everything there; default: the cheapest mixture. `local` is the API's machine.")
    @click.option("--accept", "accept_usd", type=click.FloatRange(min=0), help="The most that you accept to pay, USD.")
    @click.option("--title")
    @click.option("--dataset", "datasets", multiple=True, metavar="NODE=NAME:SOURCE[:TARGET]")
    @area
    @market
    @click.option("--nodes", type=click.IntRange(min=1), help="Default: the template's.")
    @click.option("--pin", "pins", multiple=True, metavar="NODE=PROVIDER|AREA")
    @click.option("--rounds", type=click.IntRange(min=1))
    @click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="When the machines end by themselves.")
    @click.option("--budget", "budget_usd", type=click.FloatRange(min=0, min_open=True))
    @click.option("--follow/--no-follow", default=True, help="Wait until the nodes have joined.")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @as_json
    @told
    def launch(
        template: str,
        project: str,
        provider: str | None,
        accept_usd: float | None,
        title: str | None,
        datasets: tuple[str, ...],
        follow: bool,
        yes: bool,
        json_output: bool,
        **options: Any,
    ) -> None:
        """Show the plan for TEMPLATE, ask, launch it, and follow it until its nodes have joined."""
        with _session() as session:
            request = _request(template, **options)
            recommended = session.costs.recommend(request.pop("template"), **request)
            plan = recommended.plan(provider)
            click.echo(_plan_text(plan), err=True)
            if not yes:
                click.confirm(f"Launch for up to {plan['total_usd']:.2f} USD?", abort=True, err=True)
            started = recommended.launch(
                project,
                provider,
                accept_usd=plan["total_usd"] if accept_usd is None else accept_usd,
                hours=options["hours"],
                datasets=dict(map(_dataset, datasets)),
                title=title,
                budget_usd=options["budget_usd"],
            )
            if follow:
                _follow(started)
            show(started.answer, json_output, f"Launch {started.id} is {started.state}.")

    @costs.command()
    @click.argument("project")
    @as_json
    @told
    def launches(project: str, json_output: bool) -> None:
        """List the launches of PROJECT, newest first."""
        with _session() as session:
            rows = session.costs.launches(project).to_dict("records")
        show(
            rows, json_output, table(rows, ["id", "title", "state", "created", "ends_at", "accepted_usd", "spent_usd"])
        )

    @costs.command()
    @click.argument("launch")
    @as_json
    @told
    def follow(launch: str, json_output: bool) -> None:
        """Follow LAUNCH until its nodes have joined, or it is over."""
        with _session() as session:
            found = session.costs.find_launch(launch)
            _follow(found)
            show(found.answer, json_output, f"Launch {found.id} is {found.state}.")

    @costs.command()
    @click.argument("launch")
    @as_json
    @told
    def resume(launch: str, json_output: bool) -> None:
        """Try again what has failed in LAUNCH."""
        with _session() as session:
            found = session.costs.find_launch(launch).resume()
            show(found.answer, json_output, f"Launch {found.id} is {found.state}.")

    @costs.command()
    @click.argument("launch")
    @click.option("--wait/--no-wait", default=True, help="Wait until the clouds say that nothing is left.")
    @as_json
    @told
    def end(launch: str, wait: bool, json_output: bool) -> None:
        """End all machines of LAUNCH."""
        with _session() as session:
            found = session.costs.find_launch(launch).end()
            if wait:
                found.wait(["ended", "failed"], progress=_say)
            show(found.answer, json_output, f"Launch {found.id} is {found.state}.")

    # ---- bill -----------------------------------------------------------------------------------------------

    @costs.command()
    @click.option("--from", "since", metavar="DAY", help="Default: 30 days ago.")
    @click.option("--to", "until", metavar="DAY", help="Up to before this day; default: tomorrow.")
    @click.option(
        "--group", "by", type=click.Choice(["project", "provider", "service", "node", "day"]), default="project"
    )
    @click.option("--project")
    @as_json
    @told
    def bill(since: str | None, until: str | None, by: str, project: str | None, json_output: bool) -> None:
        """Show what was billed beside what is estimated. The two are never added up."""
        with _session() as session:
            summary = session.costs.summary(since, until, group=by, project=project)
        rows = [{by: row["key"] or "(without)", **row} for row in summary["comparison"]]
        columns = [by, "currency", "billed", "estimated", "difference", "explanation"]
        show(summary, json_output, table(rows, columns) if rows else "Nothing was billed or estimated in this time.")
        _warn([f"{s['title']}: {s['problem']}" for s in summary["sources"] if s["problem"]])

    @costs.command("import")
    @click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
    @as_json
    @told
    def import_bill(paths: tuple[Path, ...], json_output: bool) -> None:
        """Import a bill: FOCUS (CSV, Parquet), or a CSV export of AWS, Azure or Google Cloud. Twice is as once.

        Give all files of an export that was split together.
        """
        from .costs.billing import files

        with _session() as session:
            report = files.send(paths, lambda body: session.send("POST", "/v1/costs/imports", body))
        show(report, json_output, ", ".join(f"{count} rows {what}" for what, count in report.items()) + ".")

    @costs.command()
    @click.argument("project")
    @click.argument("usd", required=False, type=click.FloatRange(min=0))
    @click.option("--warn-at", default=0.8, show_default=True, type=click.FloatRange(min=0, max=1))
    @click.option("--none", "remove", is_flag=True, help="Take the budget away.")
    @as_json
    @told
    def budget(project: str, usd: float | None, warn_at: float, remove: bool, json_output: bool) -> None:
        """Show the budget of PROJECT, or set it to USD."""
        with _session() as session:
            known = session.costs.budget(project)
            if usd is not None or remove:
                known = session.costs.set_budget(project, None if remove else usd, warn_at)
        kept = without_links(known)
        show(kept, json_output, "\n".join(f"{key:14}{value}" for key, value in kept.items()))

    # ---- accounts -------------------------------------------------------------------------------------------

    @costs.group()
    def account() -> None:
        """Cloud accounts of the organisation. Credentials are kept by the API, encrypted, and never shown again."""

    @account.command("add")
    @click.argument("provider")
    @click.option("--title", help="For people; default: the provider's name.")
    @click.option(
        "--file", "path", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="JSON of fields."
    )
    @as_json
    @told
    def account_add(provider: str, title: str | None, path: Path | None, json_output: bool) -> None:
        """Enter credentials of PROVIDER (asked for one by one, or from a JSON file); they are tried out first."""
        from .costs.providers import driver_class

        cls = driver_class(provider)
        given = _json_object(path) if path is not None else _asked(cls.fields)
        with _session() as session:
            body = {"provider": provider, "title": title or cls.title, "credentials": given}
            known = session.send("POST", "/v1/costs/accounts", body)
        show(without_links(known), json_output, _account_text(known))

    @account.command("list")
    @as_json
    @told
    def account_list(json_output: bool) -> None:
        """List the accounts."""
        with _session() as session:
            rows = session.list("/v1/costs/accounts", "accounts")
        flat = [{**row, "account": row["identity"]["account"], "fetched": row["fetch"]["at"]} for row in rows]
        columns = ["id", "provider", "title", "account", "checked", "fetched"]
        show([without_links(row) for row in rows], json_output, table(flat, columns))

    @account.command("check")
    @click.argument("account")
    @as_json
    @told
    def account_check(account: str, json_output: bool) -> None:
        """Try out the credentials of ACCOUNT again."""
        with _session() as session:
            known = session.send("POST", f"/v1/costs/accounts/{account}/check", {})
        show(without_links(known), json_output, _account_text(known))

    @account.command("fetch")
    @click.argument("account")
    @click.option("--from", "since", metavar="DAY")
    @click.option("--to", "until", metavar="DAY")
    @as_json
    @told
    def account_fetch(account: str, since: str | None, until: str | None, json_output: bool) -> None:
        """Fetch the bill of ACCOUNT."""
        with _session() as session:
            body = {key: value for key, value in {"from": since, "to": until}.items() if value is not None}
            known = session.send("POST", f"/v1/costs/accounts/{account}/fetch", body)
        show(without_links(known), json_output, f"The bill of {known['title']} is {known['fetch']['state']}.")

    @account.command("remove")
    @click.argument("account")
    @told
    def account_remove(account: str) -> None:
        """Forget the credentials of ACCOUNT; what was billed stays."""
        with _session() as session:
            session.send("DELETE", f"/v1/costs/accounts/{account}")
        click.echo("The credentials were deleted.")

    return costs


# ---- asking ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _session() -> Iterator[Session]:
    from .connected import connect

    with connect() as session:
        yield session


def _signed_in() -> bool:
    return Home.default().credentials().token is not None


def _estimate_of(recommend: click.Command) -> click.Command:
    """``estimate`` is ``recommend`` without an API, under the name that people look for."""
    options = [option for option in recommend.params if option.name != "local"]

    def estimate(**given: Any) -> None:
        assert recommend.callback is not None
        recommend.callback(local=True, **given)

    return click.Command(
        "estimate", callback=estimate, params=options, help="Estimate TEMPLATE from list prices, without any API."
    )


def _request(
    template: str, *, area: str | None, nodes: int | None, pins: tuple[str, ...], **options: Any
) -> dict[str, Any]:
    request: dict[str, Any] = {"template": template, "area": _area(area)}
    request |= {key: value for key, value in options.items() if value is not None}
    if nodes is not None or pins:
        from .costs import templates

        count = nodes or templates.find(template).nodes
        listed = {f"node-{i + 1}": {"name": f"node-{i + 1}"} for i in range(count)}
        for pin in pins:
            name, equals, where = pin.partition("=")
            if not equals or name not in listed:
                raise InvalidInput(
                    f"{pin!r} pins no node; the nodes are {', '.join(listed)}.",
                    code="bad-pin",
                    hint="Write NODE=PROVIDER or NODE=AREA, e.g. node-2=aws or node-3=DE.",
                )
            from .costs.providers import names

            key = "provider" if where in names() else "area"
            listed[name][key] = where
        request["nodes"] = list(listed.values())
    return {key: value for key, value in request.items() if value is not None}


def _area(text: str | None) -> Any:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return parts[0] if len(parts) == 1 else parts


def _recommended_here(request: dict[str, Any]) -> dict[str, Any]:
    from .costs import Catalog, templates
    from .costs.recommendation import Request, recommend

    wanted = Request.from_dict(request, templates.builtin())
    return recommend(Catalog.current(), wanted).to_dict()


def _refreshed_here(credentials: dict[str, dict[str, str]]) -> dict[str, Any]:
    from .costs import Catalog
    from .costs.providers import connect

    sources = {provider: connect(provider, given).prices for provider, given in credentials.items()}
    report = Catalog.current().refresh(provider_prices=sources)
    ages = report.catalog.age()
    return {
        "providers": {
            one.provider: {
                "state": "replaced" if one.replaced else "kept",
                "rows": one.rows_after,
                "as_of": f"{ages[one.provider]} days ago" if ages.get(one.provider) else "today",
                "problem": "" if one.replaced else one.message,
            }
            for one in report.providers
        }
    }


def _recommended_by_api(request: dict[str, Any]) -> dict[str, Any]:
    with _session() as session:
        return without_links(session.send("POST", "/v1/costs/recommendations", request))


def _dataset(text: str) -> tuple[str, dict[str, Any]]:
    node, equals, rest = text.partition("=")
    name, colon, source = rest.partition(":")
    if not equals or not colon:
        raise InvalidInput(
            f"{text!r} names no data set of a node.",
            code="bad-dataset",
            hint="Write NODE=NAME:SOURCE or NODE=NAME:SOURCE:TARGET, e.g. node-1=loans:https://bank.example/a.csv:paid",
        )
    # A source may hold colons itself (https://…): a target is what follows the last one, if it is a plain name.
    head, last, target = source.rpartition(":")
    if last and head and "/" not in target:
        return node, {"name": name, "source": head, "target": target}
    return node, {"name": name, "source": source, "target": None}


def _asked(fields: Any) -> dict[str, str]:
    given: dict[str, str] = {}
    for field in fields:
        label = f"{field.label}" + (f" ({field.help})" if field.help else "")
        default = None if field.required else ""
        value = click.prompt(label, hide_input=field.secret, default=default, show_default=False, err=True)
        if value:
            given[field.name] = value
    return given


def _json_object(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise InvalidInput(
            f"{path} is no JSON: line {getattr(error, 'lineno', '?')}.", code="bad-credentials"
        ) from None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise InvalidInput(
            f"{path} holds no object of texts.", code="bad-credentials", hint='Write {"field": "value", …}.'
        )
    return found


def _named_files(pairs: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    for pair in pairs:
        provider, equals, path = pair.partition("=")
        if not equals or not os.path.isfile(path):  # noqa: PTH113 - the text may be no path at all
            raise InvalidInput(f"{pair!r} is not of the form PROVIDER=FILE.", code="bad-option")
        yield provider, _json_object(Path(path))


def _follow(launch: Launch) -> None:
    """Show how a launch goes on; Ctrl-C leaves it running."""
    try:
        launch.wait(("ready", "training", "ended"), progress=_say)
    except KeyboardInterrupt:
        click.echo(f"It goes on. Follow it with `flaas costs follow {launch.id}`.", err=True)
    except Aborted as error:
        raise FlaasError(
            error.message, code=error.code, hint=f"`flaas costs resume {launch.id}` or `flaas costs end {launch.id}`."
        ) from error


def _say(launch: Launch) -> None:
    states = "  ".join(f"{node['name']}: {node['state']}" for node in launch.answer["nodes"])
    click.echo(f"{launch.state:10} {states}", err=True)
    waiting = [node for node in launch.answer["nodes"] if node["state"] == "registered"]
    if waiting:
        project, last = launch.answer["project"], waiting[-1]["name"]
        click.echo(
            f"           {last} waits for the domain key: flaas domain approve {project} --launch {launch.id}", err=True
        )


# ---- printing -------------------------------------------------------------------------------------------------------


def _warn(warnings: Any) -> None:
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)


def _template_row(template: dict[str, Any]) -> dict[str, Any]:
    need = template["need"]
    gpu = ""
    if need["gpu_count"]:
        names = " or ".join(need["gpu_names"]) or f"GPU with {need['gpu_memory_gib']:g} GiB"
        gpu = f"{need['gpu_count']:g} x {names}"
    return {
        "name": template["name"],
        "nodes": template["nodes"],
        "vcpus": f"{need['vcpus']:g}",
        "memory_gib": f"{need['memory_gib']:g}",
        "gpu": gpu,
        "area": template["area"],
        "market": template["market"],
        "rounds": template["rounds"],
        "title": template["title"],
    }


def _recommendation_text(answer: dict[str, Any]) -> str:
    rows = []
    for entry in answer["providers"]:
        offer, plan = entry["offer"] or {}, entry["plan"]
        rows.append(
            {
                "": "✓" if entry["recommended"] else "",
                "provider": entry["title"],
                "machine": offer.get("instance_type"),
                "region": offer.get("region"),
                "usd_hour": f"{offer['price_usd_hour']:.4f}" if offer else None,
                "project_usd": f"{plan['total_usd']:.2f}" if plan else None,
                "prices of": offer.get("as_of"),
                "note": entry["reason"] or entry["why_not"],
            }
        )
    columns = ["", "provider", "machine", "region", "usd_hour", "project_usd", "prices of", "note"]
    parts = [table(rows, columns)]
    parts.append(_plan_text(answer["plan"]) if answer["plan"] is not None else answer["why_not"])
    parts += [f"* {assumption}" for assumption in answer["assumptions"]]
    return "\n".join(parts)


def _plan_text(plan: dict[str, Any]) -> str:
    rows = [
        {**node, **{key: f"{node[key]:.4g}" for key in ("usd_hour", "compute_usd", "egress_usd", "storage_usd")}}
        for node in plan["nodes"]
    ]
    columns = ["name", "provider", "region", "instance_type", "market", "usd_hour", "compute_usd", "egress_usd"]
    lines = [
        "",
        f"Plan: {plan['total_usd']:.2f} USD for {plan['hours']:.2f} h "
        f"(machines {plan['compute_usd']:.2f}, traffic {plan['egress_usd']:.2f}, storage {plan['storage_usd']:.2f})",
        table(rows, [*columns, "storage_usd"]),
        *[f"{entry['constraint']}: {entry['usd']:.2f} USD" for entry in plan["constraints"]],
    ]
    return "\n".join(lines)


def _account_text(account: dict[str, Any]) -> str:
    lines = [
        f"{account['title']} ({account['id']}): {account['identity']['principal']} of {account['identity']['account']}"
    ]
    for check in account["permissions"]:
        lines.append(f"  {'yes' if check['granted'] else 'NO ':3}  {check['permission']}  for {check['needed_for']}")
    return "\n".join(lines)
