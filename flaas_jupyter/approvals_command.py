"""``flaas approvals`` and ``flaas governance``: deciding on critical actions, and the policy behind them.

What is signed is what is shown: the digest is taken here, of the text on the screen, and not believed of the API. The
key (``FLAAS_HOME/approval.key``) never leaves this machine.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

import click

from . import domain_command
from .answers import without_links
from .communications.identity import Identity, canonical
from .errors import InvalidInput
from .home import Home
from .terminal import as_json, at_api, printable, show, table, told

if TYPE_CHECKING:
    from .communications.coordinator import Coordinator

T = TypeVar("T")
Json = dict[str, Any]

_ID = re.compile(r"[0-9a-z]{1,64}")
_KEY_PROOF = "flaas/approver/1"


# ---- what is shown and signed ---------------------------------------------------------------------------------------


def signed_decision(identity: Identity, approval: Json, decision: str, now: int) -> Json:
    """Return the body that decides on `approval`, signed for the text that it shows.

    Parameters
    ----------
    identity : Identity
        The approver's own key.
    approval : dict
        As the API has answered it; the digest that it names is compared with that of the text.
    decision : str
        ``"approve"`` or ``"deny"``.
    now : int
        Seconds since 1970 (UTC).

    Raises
    ------
    Conflict
        Code ``approval-tampered``: digest and text do not belong together, or the text can be read in several ways.
    """
    from .governance.approvals.documents import read, sign

    read(approval["body"], str(approval["sha256"]))
    return {
        "decision": decision,
        "time": now,
        "signature": sign(identity, approval["id"], approval["sha256"], decision, now),
    }


def described(approval: Json) -> str:
    """Return a request as a person reads it: the text that is signed, and what is known of it.

    Raises
    ------
    Conflict
        Code ``approval-tampered``.
    """
    from .governance.approvals.documents import read

    factors = "; ".join(
        f"{factor['given']} of {factor['needed']} {factor['role']} ({factor['scope']})"
        + (f" by {', '.join(factor['approvers'])}" if factor["approvers"] else "")
        for factor in approval["factors"]
    )
    rows = {
        "request": approval["id"],
        "action": f"{approval['action']}: {approval['description']}",
        "scope": approval["scope"],
        "asked by": f"{approval['requester']} of {approval['organisation']}",
        "state": approval["state"],
        "expires": approval["expires"],
        "executes": approval["due"],
        "approvals": factors,
        "missing": "; ".join(approval["missing"]),
        "result": approval["result"] and json.dumps(approval["result"]),
        "problem": approval["problem"] and approval["problem"].get("message"),
    }
    lines = [f"{name:10} {printable(str(value))}" for name, value in rows.items() if value]
    lines += [f"  {row['decider']} {row['decision']} as {row['role']}" for row in approval["decisions"]]
    text = json.dumps(read(approval["body"], approval["sha256"]), indent=2, sort_keys=True, ensure_ascii=False)
    return "\n".join([*lines, f"sha256     {approval['sha256']}", "", printable(text), *to_be_signed(approval)])


def to_be_signed(approval: Json) -> list[str]:
    """Return what the holders of the domain key have to do now: the API adds a node, and cannot make it a member."""
    from .governance.approvals.documents import read

    if (approval["action"], approval["state"]) != ("node.add", "executed"):
        return []
    body = read(approval["body"], approval["sha256"])["body"]
    if "node" not in body:
        return []  # an invitation: the key comes with whoever uses it
    node, organisation = body["node"], body["organisation"]
    return [
        "",
        "It belongs to the mesh once the holders of the domain key have signed for it, where that key is:",
        *(
            printable(f"  flaas domain sign {project} {node['id']} --organisation {organisation}", lines=False)
            for project in node["projects"]
        ),
    ]


def changes(before: Json, after: Json) -> list[str]:
    """Return in words how the rules ``{action: rule}`` differ."""

    def told(rule: Json | None) -> str:
        if not rule or not rule["factors"]:
            return "nobody"
        factors = ", ".join(f"{each['number']} {each['role']} ({each['scope']})" for each in rule["factors"])
        return f"{factors}; {rule.get('ttl', '?')} s, cooling {rule.get('cooling', 0)} s"

    names = sorted({*before, *after})
    pairs = [(name, told(before.get(name)), told(after.get(name))) for name in names]
    return [f"{name}: {old} -> {new}" for name, old, new in pairs if old != new]


# ---- the API --------------------------------------------------------------------------------------------------------


def _get(path: str) -> Json:
    return at_api(lambda api: api.get(path))


def _post(path: str, body: Json | None = None) -> Json:
    return at_api(lambda api: api.post(path, body or {}))


def _listed(path: str) -> list[Json]:
    async def collect(api: Coordinator) -> list[Json]:
        return [item async for item in api.paginate(path, "approvals")]

    return at_api(collect)


def _path(request_id: str) -> str:
    if not _ID.fullmatch(request_id):
        told = f"{request_id[:80]!r} is no id of a request."
        raise InvalidInput(told, code="bad-approval-id", hint="`flaas approvals list` shows them.")
    return f"/v1/approvals/{quote(request_id, safe='')}"


def _key() -> Identity:
    return Identity.load_or_create(Home.default().path / "approval.key")


def _decide(request_id: str, decision: str, yes: bool) -> Json:
    path = _path(request_id)
    approval = _get(path)
    body = signed_decision(_key(), approval, decision, int(time.time()))
    click.echo(described(approval), err=True)
    if not yes:
        click.confirm(f"{decision.capitalize()} exactly this?", abort=True, err=True)
        body = signed_decision(_key(), approval, decision, int(time.time()))  # who reads carefully takes a while
    return _post(f"{path}/decisions", body)


def _state(approval: Json) -> str:
    told = f"Request {approval['id']} is {approval['state']}."
    if approval["state"] == "failed":
        told += f" {printable(str(approval['problem'].get('message', '')))}"
    if approval["due"]:
        told += f" It is executed at {approval['due']}."
    if approval["missing"]:
        told += f" Missing: {printable('; '.join(approval['missing']))}."
    return "\n".join([told, *to_be_signed(approval)])


# ---- commands -------------------------------------------------------------------------------------------------------


def group() -> click.Group:
    """Return the group ``flaas approvals``; the command line gives its ways of printing and of telling errors."""
    assent = click.option("--yes", is_flag=True, help="Do not ask.")

    @click.group()
    def approvals() -> None:
        """Critical actions that wait for approval: see them, approve or deny them, take them back."""

    @approvals.command("list")
    @click.option(
        "--state",
        type=click.Choice(["pending", "executed", "denied", "expired", "withdrawn", "failed", "all"]),
        default="pending",
        show_default=True,
    )
    @click.option("--mine", is_flag=True, help="Only what I have asked for.")
    @as_json
    @told
    def list_requests(state: str, mine: bool, json_output: bool) -> None:
        """List the requests that I have made, or may see; `can` tells what I may do now.

        Where a domain key with several holders is on this machine: also what waits for its signature.
        """
        query = {**({} if state == "all" else {"state": state}), **({"mine": "true"} if mine else {})}
        found = _listed(f"/v1/approvals?{urlencode(query)}")
        rows = [
            {
                **{name: printable(str(entry[name])) for name in ("id", "action", "scope", "requester", "state")},
                "expires": entry["expires"],
                "can": [name for name in ("approve", "deny", "withdraw") if name in entry["_links"]],
            }
            for entry in found
        ]
        columns = ["id", "action", "scope", "requester", "state", "expires", "can"]
        show([without_links(entry) for entry in found], json_output, table(rows, columns))
        if state == "pending" and not json_output:
            for document in domain_command.waiting():
                click.echo(f"\nTo be signed with the domain key:\n{printable(document)}")

    @approvals.command("show")
    @click.argument("request_id", metavar="ID")
    @as_json
    @told
    def show_request(request_id: str, json_output: bool) -> None:
        """Show request ID: the exact text, who has approved, what is missing."""
        approval = _get(_path(request_id))
        show(without_links(approval), json_output, "" if json_output else described(approval))

    @approvals.command()
    @click.argument("request_id", metavar="ID")
    @assent
    @as_json
    @told
    def approve(request_id: str, yes: bool, json_output: bool) -> None:
        """Approve request ID: show its text, ask, and sign it with this machine's approval key."""
        approval = _decide(request_id, "approve", yes)
        show(without_links(approval), json_output, _state(approval))

    @approvals.command()
    @click.argument("request_id", metavar="ID")
    @assent
    @as_json
    @told
    def deny(request_id: str, yes: bool, json_output: bool) -> None:
        """Deny request ID, which ends it."""
        approval = _decide(request_id, "deny", yes)
        show(without_links(approval), json_output, _state(approval))

    @approvals.command()
    @click.argument("request_id", metavar="ID")
    @as_json
    @told
    def withdraw(request_id: str, json_output: bool) -> None:
        """Take my own request ID back."""
        approval = _post(f"{_path(request_id)}/withdraw")
        show(without_links(approval), json_output, _state(approval))

    @approvals.command()
    @click.option(
        "--replaces",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="File of the key that the API knows now, which signs for the new one.",
    )
    @as_json
    @told
    def key(replaces: Path | None, json_output: bool) -> None:
        """Make my approval key, if there is none, and have the API know its public half."""
        mine = _key()
        subject = _get("/v1/me")["subject"]
        document = canonical({"subject": subject, "key": mine.node_id})
        body: Json = {"key": mine.node_id, "proof": mine.sign(_KEY_PROOF, document).hex()}
        if replaces is not None:
            body["previous_proof"] = Identity.load_or_create(replaces).sign(_KEY_PROOF, document).hex()
        at_api(lambda api: api.put("/v1/me/key", body))
        show({"subject": subject, "key": mine.node_id}, json_output, mine.node_id)

    return approvals


def governance_group() -> click.Group:
    """Return the group ``flaas governance``."""
    assent = click.option("--yes", is_flag=True, help="Do not ask.")

    @click.group()
    def governance() -> None:
        """Who has to approve what: the policy, the end of the founding phase, emergencies."""

    @governance.command()
    @click.option(
        "--set",
        "file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help='JSON file {"actions": {...}} with the whole new policy; begin with the output of --json.',
    )
    @assent
    @as_json
    @told
    def policy(file: Path | None, yes: bool, json_output: bool) -> None:
        """Show which actions need whose approval, or ask for another policy.

        Actions that are not in the file need nobody's approval any more.
        """
        if file is None:
            present = _get("/v1/policy")
            show(without_links(present), json_output, _policy_text(present))
            return
        answer = at_api(lambda api: _change(api, _read(file), yes))
        is_done = "actions" in answer
        show(without_links(answer), json_output, "The policy is in force." if is_done else _state(answer))

    @governance.command("close-founding")
    @assent
    @as_json
    @told
    def close_founding(yes: bool, json_output: bool) -> None:
        """End the founding phase for good: from now on critical actions need approval."""
        if not yes:
            click.confirm("Nobody can open the founding phase again. Close it?", abort=True, err=True)
        show(without_links(_post("/v1/founding/close")), json_output, "The policy is in force from now on.")

    @governance.command("rotate-keys")
    @click.option("--compromised", is_flag=True, help="The present key has leaked: refuse at once what it has signed.")
    @as_json
    @told
    def rotate_keys(compromised: bool, json_output: bool) -> None:
        """Have the API sign access tokens with its next key, once others have approved it."""
        answer = _post("/v1/keys/rotate", {"compromised": compromised})
        done = "Tokens are signed with another key from now on."
        show(without_links(answer), json_output, _state(answer) if "sha256" in answer else done)

    @governance.command()
    @click.argument("action")
    @click.option("--scope", required=True, help="platform, organisation:<id>, project:<id> or node:<id>.")
    @click.option("--reason", required=True, help="What has happened; everybody who is responsible will read it.")
    @as_json
    @told
    def emergency(action: str, scope: str, reason: str, json_output: bool) -> None:
        """Ask that two others open ACTION to me for an hour."""
        approval = _post("/v1/emergencies", {"action": action, "scope": scope, "reason": reason})
        show(without_links(approval), json_output, _state(approval))

    return governance


async def _change(api: Coordinator, wanted: Json, yes: bool) -> Json:
    present = await api.get("/v1/policy")
    tag = api.etag("/v1/policy")
    told = changes(present["actions"], wanted["actions"])
    click.echo(printable("\n".join(told) or "Nothing changes."), err=True)
    if not yes:
        click.confirm("Ask for this policy?", abort=True, err=True)
    return await api.put("/v1/policy", {"actions": wanted["actions"]}, if_match=tag)


def _read(file: Path) -> Json:
    try:
        rules = json.loads(file.read_text())["actions"]
        changes({**rules}, {**rules})  # looks at every factor
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInput(
            f"{file} is no policy: {type(error).__name__} ({error}).",
            code="bad-policy",
            hint="Begin with the output of `flaas governance policy --json`.",
        ) from error
    return {"actions": rules}


def _policy_text(present: Json) -> str:
    rows = [
        {
            "action": name,
            "approvals": [f"{each['number']} {each['role']} ({each['scope']})" for each in rule["factors"]] or "nobody",
            "expires after": f"{rule['ttl']} s",
            "cooling": f"{rule['cooling']} s",
        }
        for name, rule in present["actions"].items()
    ]
    lines = [table(rows, ["action", "approvals", "expires after", "cooling"])]
    if present["founding"]:
        lines.append(
            "The installation is being founded: nothing needs approval until `flaas governance close-founding`."
        )
    lines += [
        f"Nobody can approve {each['action']}: it needs {each['needed']} {each['role']} ({each['scope']}), "
        f"there are {each['there_are']}."
        for each in present["shortfalls"]
    ]
    lines += [
        f"EMERGENCY: {each['action']} is open to {each['person']} in {each['scope']} until {each['closes']}: "
        f"{printable(each['reason'])}"
        for each in present["emergencies"]
    ]
    return "\n".join(lines)
