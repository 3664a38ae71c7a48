"""The governance layer of the fake coordination API: people, roles, approvals, audit log, models, sign-in by code."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from flaas_jupyter.communications.identity import canonical, verify
from flaas_jupyter.governance.permissions import DYNAMIC, PERMISSIONS, ROLES, STATIC, included

if TYPE_CHECKING:
    from .fake_api import FakeApi

Json = dict[str, Any]
USER_CODE = "WDJB-MJHT"
INVITATION = "flaas-invitation-that-is-shown-once-0123456789"
CURATOR = {"function": "add_role", "arguments": {"role": "curator", "description": "Looks after data sets"}}


def _at(seconds: float = 0) -> str:
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _problem(status: int, code: str, title: str, detail: str, hint: str = "") -> Response:
    body = {"type": f"/problems/{code}", "title": title, "status": status, "detail": detail, "code": code, "hint": hint}
    return JSONResponse(body, status, media_type="application/problem+json")


def _link(href: str, method: str = "POST") -> Json:
    return {"href": href, "method": method}


class FakeAccess:
    """State of the governance layer, and what the test does to it. Methods may be called from the test's thread."""

    def __init__(self, api: FakeApi) -> None:
        self._api = api
        self._ids = itertools.count(1)
        self.subject = "ana"
        self.held = [{"role": "developer", "scope": "organisation:north"}]
        self.operations: set[str] = set()
        self.users: dict[str, Json] = {}
        self.roles: dict[str, Json] = {
            name: {"name": name, "description": role.description, "built_in": True, "juniors": list(role.juniors)}
            for name, role in ROLES.items()
        }
        self.grants = {name: {op for op, kept in PERMISSIONS.items() if name in kept.roles} for name in ROLES}
        self.exclusions: list[Json] = [
            {
                "name": each.name, "kind": kind, "roles": sorted(each.roles), "cardinality": each.limit,
                "per_scope": each.per_scope,
            }
            for kind, kept in (("static", STATIC), ("dynamic", DYNAMIC))
            for each in kept
        ]  # fmt: skip
        self.founding = False
        self.approvals: dict[str, Json] = {}
        self.audit: list[Json] = []
        self.models: dict[str, Json] = {}
        self.pending: list[Json] = []
        """What waits for more holders of the domain key of `demo`."""
        self.keys: dict[str, str] = {}
        self.critical = False
        self.device = "pending"
        self.polled = 0
        self.revoked: list[str] = []
        self.ended = False
        self.bodies: list[tuple[str, str, Any]] = []

    # ---- what the test does ---------------------------------------------------------------------

    def sign_in_as(self, subject: str, *roles: str) -> None:
        """Have whoever is signed in hold `roles` in the project demo, and in the organisation north."""
        self.subject = subject
        self.held = [{"role": role, "scope": "project:demo"} for role in roles]
        everything = set(roles).union(*(included(role) for role in roles))
        self.operations = {op for role in everything for op in self.grants.get(role, ())}

    def add_people(self) -> None:
        """Ana, Ben, Carla and Dora of north, and a service."""
        people: list[tuple[str, str, list[tuple[str, str]], str]] = [
            ("ana", "active", [("org-admin", "organisation:north")], "Ana Pereira"),
            ("ben", "active", [("approver", "project:demo")], "Ben Okafor"),
            ("carla", "active", [("developer", "project:demo"), ("viewer", "organisation:north")], "Carla Weiß"),
            ("dora", "invited", [], "Dora Lindqvist"),
            ("eli", "locked", [("data-owner", "project:demo"), ("auditor", "organisation:north")], "Eli Sand"),
        ]
        for name, state, held, full in people:
            self.users[name] = {
                "id": name, "kind": "person", "organisation": "north", "name": full, "email": f"{name}@north.example",
                "state": state, "roles": [{"role": role, "scope": scope} for role, scope in held],
                "has_key": name == "ben",
            }  # fmt: skip
        self.users["nightly"] = {
            "id": "nightly", "kind": "service", "organisation": "north", "name": None, "email": None,
            "state": "active", "roles": [{"role": "viewer", "scope": "project:demo"}], "has_key": False,
        }  # fmt: skip

    def add_approval(
        self,
        action: str = "role.change",
        body: Json | None = None,
        requester: str = "carla",
        seconds: float = 3000,
        scope: str = "platform",
        **changes: Any,
    ) -> str:
        """Ask for something; return the request's id."""
        name = f"apr-{next(self._ids)}"
        document = {"action": action, "body": body or CURATOR, "requester": requester, "scope": scope}
        text = canonical(document).decode()
        self.approvals[name] = {
            "id": name, "action": action, "description": "", "scope": scope, "requester": requester,
            "state": "pending", "body": text, "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "created": _at(-1200), "expires": _at(seconds),
            "factors": [
                {"role": "approver", "scope": scope, "needed": 1, "given": 0},
                {"role": "governance-admin", "scope": "platform", "needed": 2, "given": 1},
            ],
            "decisions": [
                {"decider": "greta", "role": "governance-admin", "decision": "approve", "time": int(time.time()) - 600}
            ],
            "result": None, "problem": None, **changes,
        }  # fmt: skip
        return name

    def add_audit(self, count: int) -> None:
        """Append entries."""
        kinds = [
            ("ana", "member:manage", "user:carla", "done"), ("carla", "run:create", "run:r1", "done"),
            ("carla", "model:release", "model:m1", "asked"), ("mallory", "role:manage", "role:developer", "refused"),
            ("ben", "approval:decide", "approval:apr-1", "done"),
        ]  # fmt: skip
        for _ in range(count):
            number = len(self.audit) + 1
            actor, operation, target, outcome = kinds[number % len(kinds)]
            self.audit.append(
                {
                    "sequence": number, "time": _at(-60 * (1000 - number)), "actor": actor, "actor_kind": "person",
                    "operation": operation, "object": target, "organisation": "north", "project": "demo",
                    "outcome": outcome, "details": {"sha256": hashlib.sha256(str(number).encode()).hexdigest()},
                    "hash": hashlib.sha256(f"entry {number}".encode()).hexdigest(),
                }
            )  # fmt: skip

    def add_models(self) -> None:
        """A released model, and a candidate."""
        for name, number, state in (("m1", 8, "released"), ("m2", 10, "candidate")):
            digest = hashlib.sha256(name.encode()).hexdigest()
            self.models[name] = {
                "id": name, "project": "demo", "run": "r1", "round": number, "digest": digest, "state": state,
                "created": _at(-3600 + number), "reason": None,
            }  # fmt: skip

    # ---- what the application reads -----------------------------------------------------------------

    def may(self, operation: str) -> bool:
        return operation in self.operations

    def me(self) -> Json:
        where = sorted({each["scope"] for each in self.held})
        permissions = dict.fromkeys(sorted(self.operations), where)
        return {
            "subject": self.subject, "kind": "person", "organisation": "north", "roles": self.held, "session": "s1",
            "permissions": permissions,
        }  # fmt: skip

    def user(self, name: str) -> Json:
        body, href = self.users[name], f"/v1/users/{name}"
        links: Json = {"self": {"href": href}}
        if self.may("member:manage") and name != self.subject:
            links |= {
                "give_role": _link(f"{href}/roles"),
                "take_role": {**_link(f"{href}/roles/{{role}}/{{scope}}", "DELETE"), "templated": True},
                "delete": _link(href, "DELETE"),
            }
            if body["kind"] == "person":
                links["invite"] = _link(f"{href}/invitation")
        return {**body, "has_key": body["has_key"] or name in self.keys, "_links": links}

    def below(self, name: str) -> set[str]:
        """The role and all that it includes."""
        found, waiting = set(), [name]
        while waiting:
            role = waiting.pop()
            if role not in found:
                found.add(role)
                waiting += self.roles[role]["juniors"]
        return found

    def path(self, role: str, operation: str) -> list[str] | None:
        """The shortest way from `role` to one that was granted `operation`."""
        ways = [[role]]
        while ways:
            way = ways.pop(0)
            if operation in self.grants.get(way[-1], ()):
                return way
            ways += [[*way, junior] for junior in self.roles[way[-1]]["juniors"] if junior not in way]
        return None

    def role(self, name: str) -> Json:
        body = self.roles[name]
        direct = self.grants.get(name, set())
        inherited = {op for junior in self.below(name) for op in self.grants.get(junior, ())} - direct
        seniors = [other for other, role in self.roles.items() if name in role["juniors"]]
        users = [each["id"] for each in self.users.values() if any(held["role"] == name for held in each["roles"])]
        return {
            **body, "seniors": seniors, "permissions": sorted(direct), "inherited": sorted(inherited), "users": users,
            "_links": {"self": {"href": f"/v1/roles/{name}"}},
        }  # fmt: skip

    def approval(self, name: str) -> Json:
        body, href = self.approvals[name], f"/v1/approvals/{name}"
        links: Json = {"self": {"href": href}}
        decided = any(each["decider"] == self.subject for each in body["decisions"])
        if body["state"] == "pending" and body["requester"] == self.subject:
            links["withdraw"] = _link(f"{href}/withdraw")
        elif body["state"] == "pending" and self.may("approval:decide") and self.subject in self.keys and not decided:
            links |= {"approve": _link(f"{href}/decisions"), "deny": _link(f"{href}/decisions")}
        return {**body, "_links": links}

    def decide(self, name: str, form: Json) -> Response:
        body = self.approvals[name]
        statement = canonical(
            {"request": name, "sha256": body["sha256"], "decision": form["decision"], "time": form["time"]}
        )
        verify(self.keys[self.subject], "flaas/approval/1", statement, bytes.fromhex(form["signature"]))
        role = self.held[0]["role"]
        factor = next((each for each in body["factors"] if each["role"] == role), body["factors"][0])
        body["decisions"] = [
            *body["decisions"],
            {"decider": self.subject, "role": role, "decision": form["decision"], "time": form["time"]},
        ]
        if form["decision"] == "deny":
            body["state"] = "denied"
        else:
            factor["given"] += 1
            if all(each["given"] >= each["needed"] for each in body["factors"]):
                body["state"] = "executed"
        return _hal(self.approval(name))

    def preview(self, changes: list[Json]) -> Json:
        """What the changes would violate, of the static separations."""
        trial = copy.deepcopy(self.roles)
        exclusions = list(self.exclusions)
        for change in changes:
            given = change["arguments"]
            match change["function"]:
                case "add_role":
                    if given["role"] in trial:
                        return _trouble("role-exists", f"There is a role {given['role']!r} already.")
                    trial[given["role"]] = {"juniors": []}
                case "add_inheritance":
                    trial[given["ascendant"]]["juniors"].append(given["descendant"])
                case "delete_inheritance":
                    trial[given["ascendant"]]["juniors"].remove(given["descendant"])
                case "create_ssd_set":
                    exclusions.append({**given, "kind": "static", "cardinality": given["n"]})
        conflicts = []
        for exclusion in (each for each in exclusions if each["kind"] == "static"):
            for user in self.users.values():
                has: set[str] = set()
                waiting = [held["role"] for held in user["roles"]]
                while waiting:
                    role = waiting.pop()
                    if role not in has:
                        has.add(role)
                        waiting += trial[role]["juniors"]
                both = sorted(has & set(exclusion["roles"]))
                if len(both) >= exclusion["cardinality"]:
                    conflicts.append({"exclusion": exclusion["name"], "user": user["id"], "roles": both})
        return {"conflicts": conflicts, "problem": None}

    def carry_out(self, function: str, given: Json) -> None:
        match function:
            case "add_role":
                self.roles[given["role"]] = {
                    "name": given["role"], "description": given["description"], "built_in": False, "juniors": [],
                }  # fmt: skip
                self.grants[given["role"]] = set()
            case "add_inheritance":
                self.roles[given["ascendant"]]["juniors"].append(given["descendant"])
            case "delete_inheritance":
                self.roles[given["ascendant"]]["juniors"].remove(given["descendant"])
            case "grant_permission":
                self.grants[given["role"]].add(f"{given['object']}:{given['operation']}")
            case "revoke_permission":
                self.grants[given["role"]].discard(f"{given['object']}:{given['operation']}")


def _trouble(code: str, detail: str) -> Json:
    problem = {"status": 409, "code": code, "title": "It cannot be done", "detail": detail, "hint": ""}
    return {"conflicts": [], "problem": problem}


def _hal(body: Json, status: int = 200, **headers: str) -> Response:
    return Response(json.dumps(body), status, media_type="application/hal+json", headers=headers)


def _list(plural: str, items: Iterable[Json], **links: Json) -> Response:
    return _hal({"_links": {"self": {"href": "."}, **links}, "_embedded": {plural: list(items)}})


def add_access_routes(app: FastAPI, fake: FakeApi, token: str) -> None:
    """Answer what docs/rest.md says of governance, and OAuth's endpoints."""
    access = fake.access

    @app.post("/oauth/device_authorization")
    async def device_authorization(request: Request) -> Response:
        access.device, access.polled = "pending", 0
        page = f"{fake.url}/oauth/device"
        return JSONResponse(
            {
                "device_code": "device-secret", "user_code": USER_CODE, "verification_uri": page,
                "verification_uri_complete": f"{page}?user_code={USER_CODE}", "expires_in": 600, "interval": 1,
            }
        )  # fmt: skip

    @app.post("/oauth/token")
    async def oauth_token(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        access.polled += 1
        if form["grant_type"] == "refresh_token" and access.ended:
            return JSONResponse({"error": "invalid_grant"}, 400)
        if form["grant_type"] != "refresh_token" and access.device != "approved":
            error = {"pending": "authorization_pending", "denied": "access_denied"}[access.device]
            return JSONResponse({"error": error}, 400)
        body = {"access_token": token, "refresh_token": "refresh-secret", "token_type": "Bearer"}
        return JSONResponse({**body, "expires_in": 30 if access.ended else 3600})

    @app.post("/oauth/revoke")
    async def revoke_session(request: Request) -> Response:
        access.revoked.append(dict(parse_qsl((await request.body()).decode()))["token"])
        return JSONResponse({})

    @app.put("/v1/me/key")
    async def key(request: Request) -> Response:
        form = await request.json()
        document = canonical({"subject": access.subject, "key": form["key"]})
        verify(form["key"], "flaas/approver/1", document, bytes.fromhex(form["proof"]))
        access.keys[access.subject] = form["key"]
        return _hal({})

    @app.get("/v1/users")
    def users() -> Response:
        if not access.may("member:read"):
            return _problem(403, "not-allowed", "Not allowed", "member:read is not among your permissions.")
        return _list("users", [access.user(name) for name in access.users])

    @app.post("/v1/users")
    async def invite(request: Request) -> Response:
        body = await request.json()
        access.bodies.append(("POST", "/v1/users", body))
        access.users[body["id"]] = {
            **{name: body[name] for name in ("id", "kind", "organisation", "name", "email")},
            "state": "invited", "roles": body["roles"], "has_key": False,
        }  # fmt: skip
        return _hal({**access.user(body["id"]), "invitation": INVITATION}, 201)

    @app.get("/v1/users/{name}")
    def user(name: str) -> Response:
        return _hal(access.user(name), ETag='"user"')

    @app.post("/v1/users/{name}/roles")
    async def give(name: str, request: Request) -> Response:
        held = await request.json()
        if access.critical:
            change = {"do": "give", "user": name, **held}
            asked = access.add_approval("member.roles", change, access.subject, scope=held["scope"])
            return _hal(access.approval(asked), 202, Location=f"/v1/approvals/{asked}")
        access.users[name]["roles"] = [*access.users[name]["roles"], held]
        return _hal(access.user(name))

    @app.delete("/v1/users/{name}/roles/{role}/{scope}")
    def take(name: str, role: str, scope: str) -> Response:
        kept = [held for held in access.users[name]["roles"] if held != {"role": role, "scope": scope}]
        access.users[name]["roles"] = kept
        return Response(status_code=204)

    @app.delete("/v1/users/{name}")
    def remove(name: str, request: Request) -> Response:
        if request.headers.get("If-Match") != '"user"':
            return _problem(428, "if-match-required", "A condition is missing", "DELETE needs If-Match.")
        del access.users[name]
        return Response(status_code=204)

    @app.get("/v1/roles")
    def roles() -> Response:
        return _list("roles", [access.role(name) for name in access.roles])

    @app.get("/v1/permissions")
    def permissions() -> Response:
        found = []
        for operation, kept in PERMISSIONS.items():
            resource, verb = operation.split(":")
            ways = [(role, access.path(role, operation)) for role in access.roles]
            able = [{"role": role, "path": way} for role, way in ways if way]
            found.append({"operation": verb, "object": resource, "description": kept.description, "roles": able})
        return _list("permissions", found)

    @app.get("/v1/separation")
    def separation() -> Response:
        return _list("exclusions", access.exclusions)

    @app.post("/v1/roles/preview")
    async def preview(request: Request) -> Response:
        return _hal(access.preview((await request.json())["changes"]))

    @app.post("/v1/rbac/{function}")
    async def rbac(function: str, request: Request) -> Response:
        given = (await request.json())["arguments"]
        access.bodies.append(("POST", function, given))
        if access.critical:
            asked = access.add_approval("role.change", {"function": function, "arguments": given}, access.subject)
            return _hal(access.approval(asked), 202, Location=f"/v1/approvals/{asked}")
        access.carry_out(function, given)
        return _hal({})

    @app.get("/v1/approvals")
    def approvals(state: str | None = None) -> Response:
        found = [name for name, each in access.approvals.items() if state in {None, each["state"]}]
        return _list("approvals", [access.approval(name) for name in found])

    @app.get("/v1/approvals/{name}")
    def approval(name: str) -> Response:
        return _hal(access.approval(name))

    @app.post("/v1/approvals/{name}/decisions")
    async def decide(name: str, request: Request) -> Response:
        return access.decide(name, await request.json())

    @app.post("/v1/approvals/{name}/withdraw")
    def withdraw(name: str) -> Response:
        access.approvals[name]["state"] = "withdrawn"
        return _hal(access.approval(name))

    @app.get("/v1/policy")
    def policy() -> Response:
        close = (
            {"close_founding": _link("/v1/founding/close")} if access.founding and access.may("policy:manage") else {}
        )
        return _hal({"founding": access.founding, "_links": {"self": {"href": "/v1/policy"}, **close}})

    @app.post("/v1/founding/close")
    def close() -> Response:
        access.founding = False
        return _hal({"founding": False})

    @app.get("/v1/audit")
    def audit(
        actor: str = "", operation: str = "", outcome: str = "", limit: int = 50, cursor: int = 0, object: str = ""
    ) -> Response:
        if not access.may("audit:read"):
            return _problem(403, "not-allowed", "Not allowed", "audit:read is not among your permissions.")
        wanted = {"actor": actor, "operation": operation, "outcome": outcome, "object": object}
        fits = [
            entry
            for entry in reversed(access.audit)
            if all(entry[name] == value for name, value in wanted.items() if value)
        ]
        page = fits[cursor : cursor + limit]
        onward = {"next": {"href": f"/v1/audit?limit={limit}&cursor={cursor + limit}"}}
        return _list("entries", page, **(onward if cursor + limit < len(fits) else {}))

    @app.get("/v1/audit/export")
    def export(format: str = "jsonl") -> Response:
        lines = [json.dumps(entry) for entry in access.audit]
        return Response("\n".join(lines), media_type="text/csv" if format == "csv" else "application/jsonl")

    @app.get("/v1/audit/checkpoints")
    def checkpoints() -> Response:
        newest = {"sequence": len(access.audit), "time": int(time.time()) - 90, "hash": "a" * 64}
        body = {"newest": {"body": newest, "signature": "b" * 128}, "_embedded": {"checkpoints": []}}
        return _hal({**body, "_links": {"self": {"href": "/v1/audit/checkpoints"}}})

    @app.get("/v1/projects/{project}/pending")
    def pending(project: str) -> Response:
        return _list("pending", access.pending if project == "demo" else [])

    @app.get("/v1/projects/{project}/models")
    def models(project: str) -> Response:
        found = []
        for name, body in access.models.items() if project == "demo" else ():
            links = {"self": {"href": f"/v1/models/{name}"}}
            if body["state"] == "candidate" and access.may("model:release"):
                links["release"] = _link(f"/v1/models/{name}/release")
            if body["state"] != "revoked" and access.may("model:revoke"):
                links["revoke"] = _link(f"/v1/models/{name}/revoke")
            found.append({**body, "_links": links})
        return _list("models", found)

    @app.post("/v1/models/{name}/revoke")
    async def revoke_model(name: str, request: Request) -> Response:
        access.models[name].update(state="revoked", reason=(await request.json())["reason"])
        return _hal(access.models[name])

    @app.post("/v1/models/{name}/release")
    def release(name: str) -> Response:
        asked = access.add_approval("model.release", {"model": name}, access.subject, scope="project:demo")
        return _hal(access.approval(asked), 202, Location=f"/v1/approvals/{asked}")

    @app.post("/v1/runs/{run}/{verb}")
    def pause(run: str, verb: str) -> Response:
        fake.set_state(run, {"pause": "paused", "resume": "running"}[verb])
        return _hal(fake.shown(run))

    @app.post("/v1/nodes/{node}/quarantine")
    async def quarantine(node: str, request: Request) -> Response:
        found = next(each for each in fake.nodes.values() if each["id"] == node)
        found.update(quarantined=_at(), quarantine_reason=(await request.json())["reason"])
        return _hal(fake.shown_node(found))

    @app.delete("/v1/nodes/{node}/quarantine")
    def lift(node: str) -> Response:
        found = next(each for each in fake.nodes.values() if each["id"] == node)
        found.update(quarantined=None, quarantine_reason=None)
        return Response(status_code=204)
