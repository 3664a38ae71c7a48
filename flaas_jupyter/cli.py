"""The ``flaas`` command. Each command is a few lines over the package; an error is one message and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage. With ``--json`` the result is one JSON document on standard output.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from . import (
    approvals_command,
    audit_command,
    costs_command,
    dataset_command,
    domain_command,
    keys_command,
    login_command,
    members_command,
    mesh_command,
    network_command,
    peers_command,
    projects_command,
    relay_command,
    secret_command,
)
from ._version import __version__
from .errors import InvalidInput
from .home import Home, write_private
from .terminal import as_json, at_api, ca_fingerprint, cell, log_format, metrics_address, show, table, told
from .tls_options import server_certificate, tls_options

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .communications.coordinator import Coordinator


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="flaas")
def main() -> None:
    """Federated learning as a service: train one model together, without moving data."""


# ---- hosted side ----------------------------------------------------------------------------------------------------


@main.group()
def api() -> None:
    """The hosted coordination API."""


@api.command("serve")
@click.option("--database", "database_url", help="Default: FLAAS_DATABASE_URL, else SQLite in FLAAS_HOME.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8470, show_default=True, help="0 takes a free one.")
@tls_options
@click.option(
    "--behind-proxy",
    "proxy",
    envvar="FLAAS_BEHIND_PROXY",
    metavar="NETWORK",
    help="Plain HTTP, to a proxy at this address or network that speaks TLS at FLAAS_PUBLIC_URL.",
)
@click.option(
    "--invitation-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the invitation of the first start into this file, for whoever runs this alone, and do not print it: "
    "where the output is kept as a log.",
)
@metrics_address
@log_format
@told
def api_serve(
    database_url: str | None,
    host: str,
    port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_private: bool,
    tls_names: tuple[str, ...],
    proxy: str | None,
    invitation_file: Path | None,
    metrics: str | None,
    log_format: str | None,
) -> None:
    """Serve the coordination API. The first start prints the first administrator's invitation, once.

    Without TLS it is for this machine only.
    """
    from .coordination.founding import bootstrap
    from .coordination.server import require_tls, serve
    from .observability import logs, traces

    logs.configure(log_format)
    traces.start("flaas-api")
    certificate, fingerprint = server_certificate(host, tls_cert, tls_key, tls_private, tls_names)
    public = os.environ.get("FLAAS_PUBLIC_URL", "").rstrip("/") or None
    require_tls(host, certificate is not None, proxy, public)
    if invitation_file is not None and not os.access(invitation_file.parent, os.W_OK):
        raise InvalidInput(
            f"Nothing can be written into {invitation_file.parent}.",
            code="bad-invitation-file",
            hint="Choose another --invitation-file: the invitation is made once.",
        )
    url = database_url or _own_database()
    invitation = bootstrap(url)
    if invitation:  # before anything can go wrong: it is not shown again
        scheme = "http" if certificate is None else "https"
        name = tls_names[0] if tls_names else host
        reachable = port and name not in ("0.0.0.0", "::")  # noqa: S104 - addresses that nobody can call
        where = public or (f"{scheme}://{name}:{port}" if reachable else "URL")
        if invitation_file is not None:
            invited = {"url": where, "invitation": invitation, "ca_fingerprint": fingerprint}
            write_private(invitation_file, json.dumps(invited).encode())
            click.echo(f"The invitation of the first administrator is in {invitation_file}.")
        else:
            pinned = f" --ca-fingerprint {fingerprint}" if fingerprint else ""
            click.echo(f"Invitation of the first administrator (shown this once, used once): {invitation}")
            click.echo(
                f"Accept it with `flaas login {where} --invitation{pinned}`, "
                f"or in a browser at {where}/oauth/invitation"
            )
    if fingerprint:
        click.echo(f"Clients pin this certificate authority: --ca-fingerprint {fingerprint}", err=True)
    serve(
        url,
        host,
        port,
        ready=lambda where: click.echo(f"Serving at {where}"),
        metrics=metrics,
        certificate=certificate,
        proxy=proxy,
        ca_fingerprint=fingerprint,
    )


def _own_database() -> str:
    home = Home.default()
    home.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return home.database_url


# ---- node -----------------------------------------------------------------------------------------------------------


@main.group()
def node() -> None:
    """The node beside the data."""


@node.command("init")
@click.option("--name", required=True, help="Unique in the organisation.")
@as_json
@told
def node_init(name: str, json_output: bool) -> None:
    """Make this node's key and its policy file."""
    from .communications.identity import Identity
    from .execution.enrolment import Enrolment
    from .execution.policy import Policy

    home = Home.default()
    if home.enrolment.exists():
        raise InvalidInput(
            f"There is a node in {home.path} already.", code="node-exists", hint="Use another FLAAS_HOME."
        )
    Enrolment(name).save(home.enrolment)
    if not home.policy.exists():
        write_private(home.policy, Policy.default_toml().encode())
    node_id = Identity.load_or_create(home.key).node_id
    result = {"name": name, "node_id": node_id, "home": str(home.path), "policy": str(home.policy)}
    show(
        result,
        json_output,
        f"Node {name}: {node_id}\nKey and policy are in {home.path}; the key never leaves it.",
    )


@node.command("invite")
@click.argument("name")
@click.option("--project", required=True)
@click.option("--days", default=7.0, show_default=True, help="How long the invitation is good.")
@as_json
@told
def node_invite(name: str, project: str, days: float, json_output: bool) -> None:
    """Invite the node NAME of my organisation into PROJECT; prints, once, what to run there.

    The secret in it is made here. The API is told its SHA-256 only.
    """
    import base64
    import hashlib
    import secrets

    from .communications.trust import Trust

    secret = base64.b32encode(secrets.token_bytes(32)).decode().rstrip("=").lower()
    digest = hashlib.sha256(secret.encode()).hexdigest()
    body = {"name": name, "project": project, "digest": digest, "expires_in": days * 86_400}

    async def ask(api: Coordinator) -> tuple[dict[str, Any], dict[str, Any], str]:
        known = await api.get(f"/v1/projects/{quote(project, safe='')}")
        return await api.post("/v1/nodes/invitations", body), known, api.origin

    answer, known, url = at_api(ask)
    pinned = Trust.of(Home.default(), url).fingerprints
    waits = "sha256" in answer
    organisation = answer["organisation"]
    command = (
        f"flaas node init --name {name} && flaas node join --url {url} --organisation {organisation} "
        f"--project {project} --domain-key {known['domain_key']} --enrolment"
    )
    if len(pinned) == 1:  # of a whole bundle nobody can say which one vouches for this API
        command += f" --ca-fingerprint {pinned[0]}"
    text = f"At the node, run:\n  {command}\nand give it this secret (shown this once, good once):\n  {secret}"
    if waits:
        text += f"\nIt is good once it is approved: request {answer['id']} (`flaas approvals show {answer['id']}`)."
    show({"command": command, "secret": secret, "approval": answer["id"] if waits else None}, json_output, text)


@node.command("join")
@click.option("--url", help="The coordination API.")
@click.option("--token", envvar="FLAAS_TOKEN", help="An operator's token; not kept. Default: who is signed in.")
@click.option("--project", required=True)
@click.option(
    "--domain-key", required=True, help="The project's public domain key, told by its administrator directly."
)
@click.option("--enrolment", is_flag=True, help="Join with the secret of `flaas node invite`, which is asked for.")
@click.option("--organisation", help="Whose node it is, with --enrolment.")
@ca_fingerprint
@as_json
@told
def node_join(
    url: str | None,
    token: str | None,
    project: str,
    domain_key: str,
    enrolment: bool,
    organisation: str | None,
    ca_fingerprint: str | None,
    json_output: bool,
) -> None:
    """Register this node and let PROJECT in by its policy."""
    from . import signing_in
    from .communications.coordinator import Bearer
    from .communications.trust import fetched
    from .execution import joining

    home = Home.default()
    trust = fetched(signing_in.url_of(home, url), ca_fingerprint) if ca_fingerprint else None
    if enrolment:
        if organisation is None:
            raise click.UsageError("--enrolment needs --organisation, as `flaas node invite` has printed it.")
        secret = click.prompt("Secret of the invitation", hide_input=True).strip()
        address = signing_in.url_of(home, url)
        joined = joining.enrol(home, address, organisation, project, domain_key, secret, trust=trust)
    elif token:
        joined = joining.join(home, signing_in.url_of(home, url), Bearer(token), project, domain_key, trust=trust)
    else:
        joined = joining.join(home, *signing_in.caller(home, url), project, domain_key, trust=trust)
    show(
        {"name": joined.name, "organisation": joined.organisation, "projects": sorted(joined.projects)},
        json_output,
        f"{joined.name} of {joined.organisation} joined {project}. Start it with `flaas node run`.",
    )


@node.command("run")
@click.option(
    "--listen",
    multiple=True,
    help="UDP address of the mesh, e.g. 0.0.0.0:41641, one for IPv4 and one for IPv6. Default: mesh.toml; else all "
    "addresses, with an API on this machine loopback.",
)
@click.option("--peer-timeout", default=10.0, show_default=True, help="Seconds of silence after which a peer is lost.")
@click.option("--patience", default=60.0, show_default=True, help="Seconds a run waits for missing participants.")
@click.option("--attack", help="A drill: attack every run, see `flaas protocols`. Never on one that matters.")
@click.option("--attack-option", "attack_options", multiple=True, metavar="NAME=VALUE")
@metrics_address
@log_format
@click.option("--verbose", "-v", is_flag=True)
@told
def node_run(
    listen: tuple[str, ...],
    peer_timeout: float,
    patience: float,
    attack: str | None,
    attack_options: tuple[str, ...],
    metrics: str | None,
    log_format: str | None,
    verbose: bool,
) -> None:
    """Run the node until it is stopped. Its log goes to standard error."""
    from .execution.node import Node
    from .execution.timing import Timing
    from .observability import logs, traces

    logs.configure(log_format, verbose=verbose)
    traces.start("flaas-node")
    timing = Timing(peer=peer_timeout, patience=patience)

    def run() -> Awaitable[bool]:
        daemon = Node(Home.default(), timing=timing, listen=listen, attack=_drill(attack, attack_options))
        return daemon.run(ready=lambda: click.echo("ready"), metrics=metrics)

    asyncio.run(_until_signalled(_through_rotations(run)))


@node.command("boot")
@click.argument("config", type=click.Path(path_type=Path))
@told
def node_boot(config: Path) -> None:
    """Become the node that the file CONFIG of a launched machine describes, and run it until its time is over."""
    from .execution.booting import boot
    from .execution.node import Node
    from .execution.timing import Timing
    from .observability import logs, traces

    logs.configure()
    traces.start("flaas-node")

    async def run(home: Home, listen: tuple[str, ...]) -> None:
        await _through_rotations(
            lambda: Node(home, timing=Timing(), listen=listen).run(ready=lambda: click.echo("ready"))
        )

    asyncio.run(_until_signalled(boot(config, Home.default(), run)))


def _drill(attack: str | None, options: tuple[str, ...]) -> Any:
    if attack is None:
        return None
    from .protocols import attacks

    return attacks.attack(attack, **read_options(options))


def read_options(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Read ``name=value`` pairs; values are JSON where they can be, else text.

    Raises
    ------
    InvalidInput
        Code ``bad-option``.
    """
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InvalidInput(f"{pair!r} is not of the form name=value.", code="bad-option")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


async def _through_rotations(run: Callable[[], Awaitable[bool]]) -> None:
    """Run a node, and again whenever it has a new key."""
    while await run():
        pass


async def _until_signalled(work: Any) -> None:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


@node.command("rotate")
@as_json
@told
def node_rotate(json_output: bool) -> None:
    """Make a new key for this node, and ask for it to be signed for; the node goes over to it by itself.

    It does when the administrators of all its projects have signed, and it takes part in no run that has begun.
    """
    from .execution.rotation import begin

    result = begin(Home.default())
    commands = "\n".join(f"  flaas domain renew {project} {result['node']}" for project in result["projects"])
    show(result, json_output, f"The new key is {result['new']}.\nWho holds the domain key runs:\n{commands}")


@node.command("status")
@as_json
@told
def node_status(json_output: bool) -> None:
    """Show this node, and what the API knows of it."""
    from .execution.joining import status

    result = status(Home.default())
    show(result, json_output, "\n".join(f"{key:14}{cell(value)}" for key, value in result.items()))


@node.command("uploads")
@as_json
@told
def node_uploads(json_output: bool) -> None:
    """List what people have sent this node, sealed, and what became of it (uploads in node.toml)."""
    from .execution.upload_log import uploads_of

    rows = uploads_of(Home.default())
    columns = ["time", "upload", "sender", "project", "dataset", "size", "outcome", "reason"]
    shown = [{**row, "sender": row["sender"][:12], "upload": row["upload"][:12]} for row in rows]
    show(rows, json_output, table(shown, columns))


@node.command("requests")
@as_json
@told
def node_requests(json_output: bool) -> None:
    """List the runs that wait for this node's owner (approve = "manual" in node.toml)."""
    from .execution.consent import waiting

    rows = waiting(Home.default())
    columns = ["run", "project", "organisation", "developer", "dataset", "rounds", "decision"]
    show(rows, json_output, table(rows, columns))


@node.command("approve")
@click.argument("run")
@click.option("--refuse", is_flag=True, help="Refuse it instead.")
@told
def node_approve(run: str, refuse: bool) -> None:
    """Agree, as this node's owner, that RUN uses it; see `flaas node requests`."""
    from .execution.consent import decide

    entry = decide(Home.default(), run, approve=not refuse)
    click.echo(f"Run {entry['run']} is {entry['decision']}; the node acts on it by itself.")


# ---- simulations ----------------------------------------------------------------------------------------------------


@main.command()
@click.argument("path", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--target", help="The column to predict (CSV, Parquet).")
@click.option("--clients", type=click.IntRange(min=1), help="Default: 100, or as many as the partition says.")
@click.option("--partition", default="iid", show_default=True, help="iid, dirichlet:0.5, shards:2, column:NAME, ….")
@click.option("--rounds", default=20, show_default=True, type=click.IntRange(min=1))
@click.option("--per-round", type=click.IntRange(min=1), help="Clients of a round; all by default.")
@click.option("--epochs", default=1, show_default=True, type=click.IntRange(min=1), help="Local epochs.")
@click.option("--batch-size", default=10, show_default=True, type=click.IntRange(min=1))
@click.option("--learning-rate", default=0.05, show_default=True, type=click.FloatRange(min=0, min_open=True))
@click.option("--hidden", multiple=True, type=click.IntRange(min=1), help="Units of a hidden layer; may be repeated.")
@click.option("--aggregation", default="fedavg", show_default=True, help="See `flaas protocols`.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Of the aggregation rule.")
@click.option("--attack", help="See `flaas protocols`.")
@click.option("--attack-option", "attack_options", multiple=True, metavar="NAME=VALUE", help="E.g. fraction=0.3.")
@click.option("--secure", is_flag=True, help="With secure aggregation.")
@click.option("--compression", help="Of updates; see `flaas protocols`.")
@click.option("--compression-option", "compression_options", multiple=True, metavar="NAME=VALUE")
@click.option("--backend", default="auto", show_default=True)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@as_json
@told
def simulate(json_output: bool, **settings: Any) -> None:
    """Train on simulated clients that hold the rows of a table (or scikit-learn's digits)."""
    from .simulation_command import run_simulation

    for name in ("options", "attack_options", "compression_options"):
        settings[name] = read_options(settings[name])
    report = run_simulation(verbose=0 if json_output else 1, **settings)
    show(report, json_output, table([report["last"]], list(report["last"])))


@main.command()
@as_json
def protocols(json_output: bool) -> None:
    """List the aggregation rules, the attacks and the compressions of updates, with their options."""
    from .protocols import aggregation, attacks, compression

    found = {
        "aggregation": aggregation.aggregation.describe(),
        "attacks": attacks.describe(),
        "compression": compression.compression.describe(),
    }
    text = "\n\n".join(f"{kind}\n{table(entries, ['name', 'summary'])}" for kind, entries in found.items())
    show(found, json_output, text)


# ---- costs ----------------------------------------------------------------------------------------------------------


for command in login_command.commands():
    main.add_command(command)
api.add_command(login_command.rotate_keys_command(_own_database))
main.add_command(dataset_command.group())
main.add_command(domain_command.domain)
domain_command.domain.add_command(network_command.network)
main.add_command(mesh_command.mesh)
node.add_command(peers_command.peers)
main.add_command(members_command.members)
main.add_command(projects_command.organisations)
main.add_command(projects_command.projects)
main.add_command(approvals_command.group())
main.add_command(approvals_command.governance_group())
main.add_command(audit_command.group())
main.add_command(keys_command.keys)
main.add_command(secret_command.secret)
main.add_command(costs_command.group())
main.add_command(relay_command.relay)
main.add_command(relay_command.reflector)


# ---- whole federations on this machine ------------------------------------------------------------------------------


@main.command()
@click.option("--rounds", default=None, type=click.IntRange(min=1), help="Default: the demo's own.")
@click.option("--report", type=click.Path(path_type=Path), envvar="REPORT", help="Write the figures there as JSON.")
@told
def demo(rounds: int | None, report: Path | None) -> None:
    """Train on real data across three nodes on this machine, and compare."""
    from .demo.run import run_demo

    run_demo(rounds=rounds, report=report)


@main.command()
@click.option("--home", type=click.Path(path_type=Path), default=Path(".flaas"), show_default=True)
@click.option("--port", default=8888, show_default=True, help="JupyterLab's port.")
@click.option("--no-browser", is_flag=True)
@told
def lab(home: Path, port: int, no_browser: bool) -> None:
    """Run the demo's federation and JupyterLab on it, signed in, with the first notebook open."""
    from .demo.lab import run_lab

    run_lab(home, port=port, browser=not no_browser)


@main.command()
@click.option("--network", is_flag=True, help="Check instead what this network lets through: API, UDP, relays.")
@as_json
@told
def doctor(network: bool, json_output: bool) -> None:
    """Check this installation, or this network, and say what to do."""
    if network:
        from .doctor_network import examine_network

        findings = examine_network(Home.default())
    else:
        from .doctor import examine

        findings = examine()
    marks = {"ok": "ok     ", "warning": "warning", "problem": "PROBLEM"}
    lines = [
        f"{marks[f.state]}  {f.what}: {f.found}" + (f"\n         {f.advice}" if f.advice else "") for f in findings
    ]
    show([vars(f) for f in findings], json_output, "\n".join(lines))
    if any(f.state == "problem" for f in findings):
        sys.exit(1)


if __name__ == "__main__":
    main()
