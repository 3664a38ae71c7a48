"""``flaas domain``: what the holders of a domain key sign, on the machine where the key is.

The coordination API tells what there is to sign for; it cannot sign. Who signs vouches for what is shown: a broken API
could show a node of its own, so nodes that nobody expects are not to be signed for.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from .errors import FlaasError, InvalidInput, NotAllowed, NotAuthenticated, NotFound
from .home import Home
from .terminal import as_json, at_api, printable, show, table, told

if TYPE_CHECKING:
    from .communications.directory import Directory

Call = Callable[..., dict[str, Any]]
_POLL = 1.0
_OVER = ("ended", "failed", "ending")
_BEFORE = ("planned", "launching", "booting", "registered")
_SHOWN = 12


@click.group()
def domain() -> None:
    """The key that signs who belongs to a project. It stays with its administrators; the API never has it."""


@domain.command("init")
@click.argument("project")
@click.option("--holders", help="Public keys of all who hold the domain key together, with commas between them.")
@click.option("--threshold", type=int, help="How many of the holders must sign.")
@as_json
@told
def init(project: str, holders: str | None, threshold: int | None, json_output: bool) -> None:
    """Make this machine's key for PROJECT and show its public half.

    Where several people are to sign together, each of them does this and tells the others the public half; then each
    runs it again with --holders and --threshold, which shows all of them the same domain key.
    """
    from .communications.domain_key import Holders
    from .communications.identity import Identity
    from .governance.domain import keep_holders, public_key

    if (holders is None) != (threshold is None):
        raise click.UsageError("--holders and --threshold belong together.")
    path = Home.default().domain_key(project)
    own = Identity.load_or_create(path).node_id
    if holders is not None and threshold is not None:
        keep_holders(path, Holders.of([key.strip() for key in holders.split(",")], threshold))
    pinned = public_key(path, project)
    show({"project": project, "domain_key": pinned, "own_key": own}, json_output, pinned)


@domain.command("sign")
@click.argument("project")
@click.argument("node_id")
@click.option("--organisation", required=True, help="Whose node or notebook it is.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(["node", "developer", "explorer", "relay"]),
    default=["node"],
    show_default=True,
)
@click.option(
    "--days", default=365, show_default=True, type=click.IntRange(min=1), help="How long the membership is in force."
)
@as_json
@told
def sign(project: str, node_id: str, organisation: str, roles: tuple[str, ...], days: int, json_output: bool) -> None:
    """Sign that NODE_ID belongs to PROJECT, and leave the signed membership with the API."""
    from .governance.domain import membership

    key = Home.default().domain_key(project)
    after = known_of(project).statements.serials().get(node_id, -1)
    document = membership(key, project, node_id, organisation, roles, days, after=after)
    done = f"{node_id} is a member of {project} as {', '.join(roles)} for {days} days."
    hand_in_and_show(project, "memberships", document, done, json_output)


@domain.command("revoke")
@click.argument("project")
@click.argument("node_id")
@click.option("--reason", default="", help="Told to everybody in the project.")
@as_json
@told
def revoke(project: str, node_id: str, reason: str, json_output: bool) -> None:
    """Take the key NODE_ID of a node or person out of PROJECT, at once and everywhere.

    Nodes close its connections within seconds; what it asks for is refused. Only a new membership brings it back.
    """
    from .governance.domain import revocation

    key = Home.default().domain_key(project)
    statements = known_of(project).statements
    document = revocation(key, project, node_id, reason, after=statements.serials().get(node_id, -1))
    member = statements.membership(node_id)
    whose = f" of {printable(member.organisation, lines=False)}" if member else ""
    hand_in_and_show(project, "revocations", document, f"{node_id}{whose} is revoked in {project}.", json_output)
    if member is None:
        click.echo(
            "It was never a member as far as is known here: compare the key with `flaas domain members "
            f"{project}`. If it is mistyped, the key that is meant is a member still.",
            err=True,
        )


@domain.command("renew")
@click.argument("project")
@click.argument("node_id")
@click.option("--overlap", default=24.0, show_default=True, help="Hours for which the old key is a member still.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@told
def renew(project: str, node_id: str, overlap: float, yes: bool, json_output: bool) -> None:
    """Sign for the new key of the node NODE_ID (`flaas node rotate`), and let the membership of its old one end.

    That the node wants it is checked here, by the signatures of both keys.
    """
    from .communications.rotation import Rotation
    from .governance.domain import DAY, membership

    key = Home.default().domain_key(project)
    directory = known_of(project)
    old = directory.member(node_id)
    rotation = Rotation.parse(_call("get", f"/v1/nodes/{quote(node_id, safe='')}/rotation")["statement"])
    if rotation.old != node_id:
        raise InvalidInput(f"It is the rotation of {rotation.old}, not of {node_id}.", code="wrong-domain")
    if directory.statements.revocation(rotation.new) is not None:
        raise NotAllowed(
            f"The new key {rotation.new} was taken out of {project!r} before.",
            code="membership-revoked",
            hint="The node takes a key that nobody has had: `flaas node rotate`.",
        )
    known = directory.statements.membership(node_id)
    assert known is not None
    left = (known.not_after - time.time()) / DAY
    serials = directory.statements.serials()
    wanted = {
        rotation.new: (left, f"the new key of {node_id}, which has asked for it at {_day(rotation.time)}"),
        node_id: (min(left, overlap / 24), "the old key"),
    }
    for member, (days, what) in wanted.items():
        until = _day(int(time.time() + days * DAY))
        roles = ", ".join(old.roles)
        said = printable(f"{member} ({what}): {old.organisation}, {roles}, until {until}", lines=False)
        click.echo(said, err=json_output)
    if not yes and not click.confirm("Sign for both?", err=json_output):
        raise click.Abort
    for member, (days, _) in wanted.items():
        after = serials.get(member, -1)
        document = membership(key, project, member, old.organisation, old.roles, days, after=after)
        text = hand_in_and_tell(project, "memberships", document, f"{member} is signed for.")
        click.echo(text, err=json_output)
    if json_output:
        show({"old": node_id, "new": rotation.new}, json_output, "")


@domain.command("members")
@click.argument("project")
@as_json
@told
def members(project: str, json_output: bool) -> None:
    """List whom the domain key of PROJECT has signed for; only what verifies under this machine's domain key."""
    directory = known_of(project)
    rows = []
    for node_id in sorted(directory.statements.serials()):
        member, revoked = directory.statements.membership(node_id), directory.statements.revocation(node_id)
        if member is None and revoked is None:
            continue  # the network document
        rows.append(
            {
                "node_id": node_id,
                "organisation": printable(member.organisation) if member else None,
                "roles": list(member.roles) if member else [],
                "until": _day(member.not_after) if member else None,
                "revoked": printable(f"{_day(revoked.time)} {revoked.reason}".strip()) if revoked else None,
            }
        )
    show(rows, json_output, table(rows, ["node_id", "organisation", "roles", "until", "revoked"]))


@domain.command("pending")
@click.argument("project")
@as_json
@told
def pending(project: str, json_output: bool) -> None:
    """List what one holder of the domain key of PROJECT has signed and others must still sign."""
    rows = _pending(project)
    shown = [
        {
            "id": _short(row),
            "what": _said(row["kind"], row["document"]["body"]).replace("\n", "; "),
            "missing": row["missing"],
            "by": row["created_by"],
        }
        for row in rows
    ]
    show(rows, json_output, table(shown, ["id", "missing", "by", "what"]) if rows else "Nothing waits.")


@domain.command("cosign")
@click.argument("project")
@click.argument("document_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@told
def cosign(project: str, document_id: str, yes: bool, json_output: bool) -> None:
    """Sign, as another holder, what `flaas domain pending` lists as DOCUMENT_ID; it is shown first.

    What is shown is made from the very bytes that are signed.
    """
    from .communications import domain_key
    from .communications.identity import Identity
    from .governance.domain import public_key, require_usual_serial

    path = Home.default().domain_key(project)
    row = _one(_pending(project), document_id)
    context = _context(row["kind"])
    # Before anything is shown: that it is this domain's, and that the signatures that it carries are true.
    domain_key.signatures_missing(row["document"], context, public_key(path, project))
    body = row["document"]["body"]
    if body.get("domain") != project:
        raise InvalidInput(f"It is for {body.get('domain')!r}, not for {project!r}.", code="wrong-domain")
    said = _said(row["kind"], body)
    require_usual_serial(body["serial"])
    click.echo(said, err=json_output)
    if not yes and not click.confirm("Sign it?", err=json_output):
        raise click.Abort
    document = domain_key.cosign(row["document"], context, Identity.load_or_create(path))
    hand_in_and_show(project, row["kind"], document, "It is signed by enough holders, and in force.", json_output)


@domain.command("withdraw")
@click.argument("project")
@click.argument("document_id")
@told
def withdraw(project: str, document_id: str) -> None:
    """Withdraw DOCUMENT_ID of `flaas domain pending`."""
    row = _one(_pending(project), document_id)
    at_api(lambda api: api.delete(f"/v1/projects/{quote(project, safe='')}/pending/{row['id']}"))
    click.echo(f"{_short(row)} is withdrawn.")


@domain.command("approve")
@click.argument("project")
@click.option("--launch", "launch_id", required=True, help="The launch whose nodes wait.")
@click.option("--watch", is_flag=True, help="Go on until all of its nodes are members, or it is over.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--days", default=30, show_default=True, type=click.IntRange(min=1), help="How long the memberships are in force."
)
@told
def approve_launch(project: str, launch_id: str, watch: bool, yes: bool, days: int) -> None:
    """Sign for the nodes of a launch that have registered; shown first, by name, organisation and node id."""
    agreed = (lambda text: True) if yes else (lambda text: click.confirm(f"{text}\nSign for them?"))
    key = Home.default().domain_key(project)
    taken_out = known_of(project).statements.revocation

    def handed_in(document: dict[str, Any], waiting: dict[str, Any] | None) -> None:
        if waiting is None:
            _remember(project, "memberships", document)
        else:
            click.echo(_waits(project, waiting))

    signed = approve(
        _call, key, project, launch_id, agreed=agreed, watch=watch, days=days,
        is_revoked=lambda node_id: taken_out(node_id) is not None, handed_in=handed_in,
    )  # fmt: skip
    names = printable(", ".join(signed), lines=False)
    click.echo(f"Signed for {names}." if signed else "No node waits for a signature.")


def approve(
    call: Call,
    domain_key: Path,
    project: str,
    launch_id: str,
    *,
    agreed: Callable[[str], bool],
    watch: bool = False,
    days: int = 30,
    poll: float = _POLL,
    is_revoked: Callable[[str], bool] = lambda node_id: False,
    handed_in: Callable[[dict[str, Any], dict[str, Any] | None], None] = lambda document, waiting: None,
) -> list[str]:
    """Sign for the registered nodes of a launch, and leave the memberships with the API.

    Parameters
    ----------
    call : callable
        ``call("get" or "post", path, body)`` at the API, as the administrator.
    domain_key : Path
        File of the domain's private key.
    project, launch_id : str
        Which nodes.
    agreed : callable
        Given what would be signed, tells whether to.
    watch : bool
        Go on until every node of the launch is past its registration, or the launch is over.
    days : int
        How long the memberships are in force.
    poll : float
        Seconds between looks.
    is_revoked : callable
        Tells of a node id whether its key was taken out of the project before, as far as this machine remembers: the
        API, which names the nodes, could bring it back.
    handed_in : callable
        Given each signed document, and what the API keeps of it while other holders must still sign (see `hand_in`).

    Returns
    -------
    list of str
        Names of the nodes that were signed for.

    Raises
    ------
    InvalidInput
        Code ``wrong-project``: the launch is for another project.
    NotAllowed
        Code ``membership-revoked``: one of the keys was; nothing was signed for any.
    NotFound
        ``unknown-launch``, ``no-domain-key``.
    """
    from .governance.domain import membership

    seen: set[str] = set()
    signed: list[str] = []
    while True:
        launch = call("get", f"/v1/launches/{quote(launch_id, safe='')}")
        if launch["project"] != project:
            raise InvalidInput(
                f"Launch {launch_id} is for project {launch['project']!r}, not {project!r}.",
                code="wrong-project",
                hint="Name the project that it was launched for.",
            )
        waiting = [node for node in launch["nodes"] if node["state"] == "registered" and node["node_id"] not in seen]
        seen |= {node["node_id"] for node in waiting}
        for node in waiting:
            if is_revoked(node["node_id"]):
                raise NotAllowed(
                    f"The key {node['node_id']} of {printable(node['name'], lines=False)} was taken out of {project!r} "
                    "before.",
                    code="membership-revoked",
                    hint="A new machine makes a key of its own, which nobody has had. Ask who runs the API how it "
                    "comes to name this one; `flaas domain members` shows why it was taken out.",
                    node=node["node_id"],
                )
        if waiting and agreed("\n".join(_node(node, launch["organisation"]) for node in waiting)):
            for node in waiting:
                document = membership(domain_key, project, node["node_id"], launch["organisation"], ["node"], days)
                handed_in(document, hand_in(call, project, "memberships", document))
                signed.append(node["name"])
        unfinished = any(node["state"] in _BEFORE and node["node_id"] not in seen for node in launch["nodes"])
        if not watch or launch["state"] in _OVER or not unfinished:
            return signed
        time.sleep(poll)


def waiting() -> list[str]:
    """Return in words what waits for the signature of this machine's own keys, for whoever looks what there is to do.

    Only projects whose domain key several hold are asked about, and of those the ones that one is let into.
    """
    from .communications.identity import Identity
    from .governance.domain import holders_file

    told = []
    for key in sorted(Home.default().domain_key("any").parent.glob("*.key")):
        if not holders_file(key).exists():
            continue
        with contextlib.suppress(FlaasError):
            own = Identity.load_or_create(key).node_id
            told += [
                f"{_said(row['kind'], row['document']['body'])}\n  flaas domain cosign {key.stem} {_short(row)}"
                for row in _pending(key.stem)
                if own not in row["document"]["signatures"]
            ]
    return told


def hand_in(call: Call, project: str, kind: str, document: dict[str, Any]) -> dict[str, Any] | None:
    """Leave a signed document with the API; return what it keeps of it while other holders must still sign.

    Parameters
    ----------
    call : callable
        ``call("post" or "put", path, body)`` at the API.
    project : str
        The domain.
    kind : str
        ``memberships``, ``revocations`` or ``networks``.
    document : dict
        Signed by one holder at least.
    """
    where = f"/v1/projects/{quote(project, safe='')}"
    if "signatures" in document:
        waiting = call("post", f"{where}/pending", {"kind": kind, "document": document})
        return waiting if waiting["missing"] else None
    if kind == "networks":
        call("put", f"{where}/network", document)
    else:
        call("post", f"{where}/{kind}", document)
    return None


def hand_in_and_tell(project: str, kind: str, document: dict[str, Any], done: str) -> str:
    """Leave a signed document with the API that one is signed in at; return what to tell: `done`, or that it waits."""
    waiting = _handed_in(project, kind, document)
    return done if waiting is None else _waits(project, waiting)


def hand_in_and_show(project: str, kind: str, document: dict[str, Any], done: str, json_output: bool) -> None:
    """Leave a signed document with the API, and show `done`, or that it waits; as JSON, the body and how it stands."""
    waiting = _handed_in(project, kind, document)
    standing: dict[str, Any] = {"in_force": waiting is None}
    if waiting is not None:
        standing |= {"pending": waiting["id"], "missing": waiting["missing"]}
    show({**document["body"], **standing}, json_output, done if waiting is None else _waits(project, waiting))


def _handed_in(project: str, kind: str, document: dict[str, Any]) -> dict[str, Any] | None:
    waiting = hand_in(_call, project, kind, document)
    if waiting is None:
        _remember(project, kind, document)
    return waiting


def _waits(project: str, waiting: dict[str, Any]) -> str:
    return (
        f"{printable(str(waiting['missing']), lines=False)} more must sign it. Another holder runs:\n"
        f"  flaas domain cosign {project} {_short(waiting)}"
    )


def _call(method: str, path: str, *body: dict[str, Any]) -> dict[str, Any]:
    return at_api(lambda api: getattr(api, method)(path, *body))


def _listing(project: str) -> dict[str, Any]:
    return at_api(lambda api: api.get(f"/v1/projects/{quote(project, safe='')}/directory"))


def _pending(project: str) -> list[dict[str, Any]]:
    answer = at_api(lambda api: api.get(f"/v1/projects/{quote(project, safe='')}/pending"))
    found: list[dict[str, Any]] = answer["_embedded"]["pending"]
    return found


def known_of(project: str) -> Directory:
    """Return what this machine's domain key has signed: what the API lists, and what was signed or listed before."""
    from .communications.directory import Directory
    from .governance.domain import public_key

    home = Home.default()
    key = public_key(home.domain_key(project), project)
    directory = Directory(project, key, home.domain_statements(project, key))
    directory.update(_listing(project))
    return directory


def _remember(project: str, kind: str, document: dict[str, Any]) -> None:
    """Keep what was signed here, so that the API cannot have it forgotten."""
    from .communications.statements import Statements
    from .governance.domain import public_key

    home = Home.default()
    key = public_key(home.domain_key(project), project)
    statements = Statements(project, key, home.domain_statements(project, key))
    # With several holders the API may have more of their signatures than are here; then it is in its listing.
    with contextlib.suppress(NotAuthenticated):
        statements.learn(kind, document)
        statements.save()


def _one(rows: list[dict[str, Any]], document_id: str) -> dict[str, Any]:
    found = [row for row in rows if document_id and row["id"].startswith(document_id)]
    if len(found) != 1:
        raise NotFound(
            f"{len(found) or 'No'} documents that wait begin with {document_id[:64]!r}.",
            code="unknown-pending",
            hint="`flaas domain pending PROJECT` lists them.",
        )
    return found[0]


def _short(row: dict[str, Any]) -> str:
    """Return as much of the id of a document that waits as one needs to name it."""
    return printable(row["id"][:_SHOWN], lines=False)


def _context(kind: str) -> str:
    from .communications.identity import MEMBER, REVOKE
    from .communications.network import NETWORK

    return {"memberships": MEMBER, "revocations": REVOKE, "networks": NETWORK}[kind]


def _said(kind: str, body: dict[str, Any]) -> str:
    """Return what a document says, for people; read as nodes read it."""
    from .communications.membership import Membership
    from .communications.revocation import Revocation

    if kind == "memberships":
        member = Membership.of(body)
        return printable(
            f"{member.node_id} is in {member.domain} for {member.organisation} as {', '.join(member.roles)}\n"
            f"from {_day(member.not_before)} to {_day(member.not_after)}, serial {member.serial}"
        )
    if kind == "revocations":
        revoked = Revocation.of(body)
        reason = f": {revoked.reason}" if revoked.reason else ""
        return printable(f"{revoked.node_id} is taken out of {revoked.domain}{reason}, serial {revoked.serial}")
    from .communications.network import Network

    network = Network.of(body)
    return printable(f"The network of {network.domain}:\n{json.dumps(body, indent=1, sort_keys=True)}")


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _node(node: dict[str, Any], organisation: str) -> str:
    return printable(f"{node['name']:24} {organisation:20} {node['node_id']}", lines=False)
