"""Azure in the laboratory: Entra sign-in, Resource Manager, Cost Management and the retail price list on one port.

Operations, as `Ledger.fault`, `Ledger.calls` and `Ledger.denied` name them, are the actions of Azure's roles
(``Microsoft.Compute/virtualMachines/write``), and ``token``, ``retailPrices``, ``reports``. The account is the
subscription's id. `cloud` gives the running fake, for what a test wants to set or look at.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import socket
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from .ledger import Billed, Fault, LabMachine, Ledger

TENANT = "11111111-2222-3333-4444-555555555555"
CLIENT = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
OBJECT = "99999999-8888-7777-6666-555555555555"
SECRET = "lab~Value.Of-The_Client.Secret-0123456789"
EXPIRED_SECRET = "lab~Value.Of-A_Secret.That-Has-Expired00"
SUBSCRIPTION = "12345678-90ab-cdef-1234-567890abcdef"
AUDIENCE = "https://management.azure.com"
NODE_TAGS = ("flaas-project", "flaas-installation", "flaas-launch", "flaas-node")

_CLOUDS: dict[str, AzureCloud] = {}


class Refused(Exception):
    """An error answer."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code)
        self.status, self.code, self.message, self.headers = status, code, message, dict(headers or {})


class Dropped(Exception):
    """No answer, or half of one."""

    def __init__(self, part: bytes = b"") -> None:
        super().__init__("dropped")
        self.part = part


@dataclass
class Answer:
    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Operation:
    """Something that goes on after its answer; done once it was asked for `polls` times."""

    polls: int
    finish: Callable[[], dict[str, Any] | None]  # returns the error, if it failed
    resource: dict[str, Any] | None = None
    result: dict[str, Any] | None = None

    def advance(self) -> None:
        self.polls -= 1
        if self.polls < 0 and self.result is None:
            error = self.finish()
            self.result = {"status": "Failed", "error": error} if error else {"status": "Succeeded"}


class AzureCloud:
    """State and rules of the fake.

    Attributes
    ----------
    currency, rate
        Billing currency, and its price of a US dollar.
    page_size
        Rows per page of costs and of the price list.
    polls
        How often an operation answers that it is in progress.
    cascade
        Whether deleting a machine takes along what has ``deleteOption`` Delete.
    used
        The actions that were asked for, linked ones too.
    sizes
        Capabilities and restrictions by region and size, over the defaults.
    retail_extra
        Further items of the price list.
    discount
        What the account's price sheet takes off.
    """

    def __init__(self, ledger: Ledger, base: str, tokens: dict[str, tuple[str, float]] | None = None) -> None:
        self.ledger, self.base = ledger, base
        self.lock = threading.RLock()
        self.every_token = {} if tokens is None else tokens  # audience, until when
        self.tokens = self.every_token
        self.resources: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, dict[str, Any]] = {}
        self.operations: dict[str, Operation] = {}
        self.used: set[str] = set()
        self.currency, self.rate = "USD", Decimal(1)
        self.page_size = 1000
        self.polls = 1
        self.cascade = True
        self.sizes: dict[tuple[str, str], dict[str, Any]] = {}
        self.retail_extra: list[dict[str, Any]] = []
        self.discount = Decimal("0.15")
        self.sheet_currency, self.sheet_rate = "USD", Decimal(1)
        self.granted: list[dict[str, Any]] | None = None
        self.requests: list[tuple[str, str]] = []
        self.foreign_costs: list[dict[str, Any]] = []

    # ---- borders ---------------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str], headers: Mapping[str, str], body: bytes) -> Answer:
        self.requests.append((method, path))
        low = path.lower()
        if low.endswith("/.well-known/openid-configuration"):
            return self.discovery(path)
        if low.endswith("/oauth2/v2.0/token"):
            return self.faulty("token", lambda: self.token(path, body))
        if low == "/api/retail/prices":
            return self.faulty("retailPrices", lambda: self.retail(query))
        if low.startswith("/reports/"):
            if "authorization" in headers:
                raise Refused(400, "InvalidAuthenticationInfo", "A shared access signature and a token at once.")
            return self.faulty("reports", lambda: Answer(200, self.sheet()))
        self.authenticate(headers)
        if "api-version" not in query:
            raise Refused(
                400, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required."
            )
        with self.lock:
            return self.arm(method, path, query, headers, body)

    def faulty(self, operation: str, act: Callable[[], Answer], fault: Fault | None = None) -> Answer:
        """Do it, with the fault that it meets."""
        fault = fault or self.ledger.fault(operation)
        kind = fault.kind if fault else ""
        if kind == "throttle":
            name = "x-ms-ratelimit-microsoft.costmanagement-qpu-retry-after" if "query" in operation else "Retry-After"
            raise Refused(429, "TooManyRequests", "Too many requests. Please retry.", {name: "7"})
        if kind == "error":
            raise Refused(500, "InternalServerError", "Encountered internal server error.")
        if kind == "timeout":
            raise Dropped
        if kind == "quota":
            raise Refused(
                409, "OperationNotAllowed", "Operation could not be completed as it results in exceeding approved "
                "Total Regional Cores quota. Current Limit: 10, Current Usage: 10, Additional Required: 4.",
            )  # fmt: skip
        if kind == "capacity" and operation != "Microsoft.Compute/virtualMachines/write":
            raise Refused(409, "SkuNotAvailable", "The requested size is currently not available in this location.")
        answer = act()
        if kind == "lost":
            raise Dropped
        if kind == "truncate":
            content = dumps(answer.body)
            raise Dropped(content[: len(content) // 2] or b"{")
        if kind == "garble":
            answer.body = dumps(answer.body)[:-2]
        return answer

    def discovery(self, path: str) -> Answer:
        tenant = path.split("/")[1]
        if tenant != TENANT:
            return Answer(
                400, {"error": "invalid_tenant", "error_description": f"AADSTS90002: Tenant '{tenant}' not found."}
            )
        there = f"{self.base}/{tenant}"
        return Answer(
            200,
            {
                "token_endpoint": f"{there}/oauth2/v2.0/token",
                "authorization_endpoint": f"{there}/oauth2/v2.0/authorize",
                "issuer": f"{there}/v2.0",
                "jwks_uri": f"{there}/discovery/v2.0/keys",
                "response_types_supported": ["code"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
            },
        )

    def token(self, path: str, body: bytes) -> Answer:
        form = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        secret = form.get("client_secret", "")
        if form.get("grant_type") != "client_credentials":
            raise Entra(400, "unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant type.")
        if form.get("client_id") != CLIENT:
            raise Entra(
                400, "unauthorized_client", f"AADSTS700016: Application '{form.get('client_id')}' was not found."
            )
        if secret == EXPIRED_SECRET:
            raise Entra(
                401, "invalid_client", f"AADSTS7000222: The provided client secret keys for app '{CLIENT}' are expired."
            )
        if secret != SECRET:
            raise Entra(
                401, "invalid_client", "AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in "
                "the request is the client secret value, not the client secret ID, for a secret added to app "
                f"'{CLIENT}'.",
            )  # fmt: skip
        scope = form.get("scope", "")
        audience = next((s.removesuffix("/.default") for s in scope.split() if s.endswith("/.default")), "")
        token = f"lab.{self.ledger.unique()}.{CLIENT[:8]}"
        self.tokens[token] = (audience, time.time() + 3600)
        return Answer(200, {"token_type": "Bearer", "expires_in": 3600, "ext_expires_in": 3600, "access_token": token})

    def authenticate(self, headers: Mapping[str, str]) -> None:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.tokens:
            raise Refused(
                401, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing or invalid."
            )
        audience, until = self.tokens[token]
        if audience != AUDIENCE:
            raise Refused(401, "InvalidAuthenticationTokenAudience", f"The audience '{audience}' is invalid.")
        if until <= time.time():
            raise Refused(
                401, "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC time."
            )

    def allowed(self, action: str, scope: str, linked: tuple[tuple[str, str], ...] = ()) -> None:
        """Refuse what the application's role lacks, in Azure's words."""
        self.used.add(action)
        lacking = {each.lower() for each in self.ledger.denied[SUBSCRIPTION]}
        if action.lower() in lacking:
            if action.startswith("Microsoft.CostManagement"):
                raise Refused(
                    403, "RBACAccessDenied", "The client does not have authorization to perform action. Request ID: 7"
                )
            raise Refused(
                403, "AuthorizationFailed", f"The client '{OBJECT}' with object id '{OBJECT}' does not have "
                f"authorization to perform action '{action}' over scope '{scope}' or the scope is invalid. If access "
                "was recently granted, please refresh your credentials.",
            )  # fmt: skip
        for also, target in linked:
            self.used.add(also)
            if also.lower() in lacking:
                raise Refused(
                    403, "LinkedAuthorizationFailed", f"The client '{OBJECT}' with object id '{OBJECT}' has "
                    f"permission to perform action '{action}' on scope '{scope}'; however, it does not have permission "
                    f"to perform action(s) '{also}' on the linked scope(s) '{target}' (respectively) or the linked "
                    "scope(s) are invalid.",
                )  # fmt: skip

    # ---- Resource Manager ------------------------------------------------------------------------------------------

    def arm(self, method: str, path: str, query: dict[str, str], headers: Mapping[str, str], body: bytes) -> Answer:
        parts = path.strip("/").split("/")
        if parts[0].lower() == "providers":
            return self.billing(method, path)
        if parts[0].lower() != "subscriptions" or len(parts) < 2 or parts[1] != SUBSCRIPTION:
            wrong = parts[1] if len(parts) > 1 else ""
            raise Refused(404, "SubscriptionNotFound", f"The subscription '{wrong}' could not be found.")
        scope, rest = "/" + "/".join(parts[:2]), parts[2:]
        sent = json.loads(body) if body else {}
        if not rest:
            return self.act("Microsoft.Resources/subscriptions/read", scope, lambda: Answer(200, {
                "id": scope, "subscriptionId": SUBSCRIPTION, "displayName": "Laboratory", "state": "Enabled",
            }))  # fmt: skip
        group = ""
        if rest[0].lower() == "resourcegroups":
            group, scope, rest = rest[1], "/" + "/".join(parts[:4]), rest[2:]
            if not rest:
                return self.group(method, group, scope, sent)
        if [each.lower() for each in rest[:2]] == ["providers", "microsoft.authorization"]:
            return self.act("Microsoft.Authorization/permissions/read", scope, lambda: self.permissions(group))
        if [each.lower() for each in rest] == ["providers", "microsoft.costmanagement", "query"] and method == "POST":
            return self.act("Microsoft.CostManagement/query/action", scope, lambda: self.costs(path, query, body))
        kind = "/".join(rest[1:3])
        if rest[0].lower() != "providers":
            raise Refused(404, "InvalidResourceType", "The resource type could not be found.")
        if kind == "Microsoft.Compute/skus":
            return self.act("Microsoft.Compute/skus/read", scope, lambda: self.skus(query))
        if kind.endswith("/locations") and rest[4:5] == ["operations"]:
            return self.act(f"{rest[1]}/locations/operations/read", scope, lambda: self.operation(rest[5]))
        if group.lower() not in self.groups:
            raise Refused(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")
        if len(rest) == 3 and method == "GET":
            return self.act(f"{kind}/read", scope, lambda: self.listing(scope, kind))
        if len(rest) != 4:
            raise Refused(404, "InvalidResourceType", "The resource type could not be found.")
        return self.resource(method, path, kind, query, headers, sent)

    def act(self, action: str, scope: str, do: Callable[[], Answer], linked: Any = ()) -> Answer:
        fault = self.ledger.fault(action)

        def run() -> Answer:
            self.allowed(action, scope, linked)
            return do()

        return self.faulty(action, run, fault or Fault(action, ""))

    def group(self, method: str, name: str, scope: str, sent: dict[str, Any]) -> Answer:
        known = self.groups.get(name.lower())
        if method == "GET":

            def read() -> Answer:
                if known is None:
                    raise Refused(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")
                return Answer(200, known)

            return self.act("Microsoft.Resources/subscriptions/resourceGroups/read", scope, read)

        def write() -> Answer:
            if known is not None and known["location"] != sent["location"]:
                raise Refused(409, "InvalidResourceGroupLocation", f"Invalid location '{sent['location']}'.")
            self.policy(sent, ("flaas-installation",))
            self.groups[name.lower()] = {"id": scope, "name": name, "location": sent["location"], "tags": sent["tags"],
                                         "properties": {"provisioningState": "Succeeded"}}  # fmt: skip
            return Answer(201, self.groups[name.lower()])

        return self.act("Microsoft.Resources/subscriptions/resourceGroups/write", scope, write)

    def permissions(self, group: str) -> Answer:
        if group and group.lower() not in self.groups:
            raise Refused(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")
        all_but = {"actions": ["*"], "notActions": sorted(self.ledger.denied[SUBSCRIPTION])}
        return Answer(200, {"value": self.granted if self.granted is not None else [all_but]})

    @staticmethod
    def policy(sent: dict[str, Any], names: tuple[str, ...]) -> None:
        missing = [name for name in names if not (sent.get("tags") or {}).get(name)]
        if missing:
            raise Refused(
                403, "RequestDisallowedByPolicy", f"Resource was disallowed by policy: tag '{missing[0]}' is required."
            )

    def listing(self, scope: str, kind: str) -> Answer:
        self.sync()
        prefix = f"{scope}/providers/{kind}/".lower()
        found = [r for key, r in self.resources.items() if key.startswith(prefix)]
        return Answer(200, {"value": found})

    def resource(
        self, method: str, path: str, kind: str, query: dict[str, str], headers: Mapping[str, str], sent: dict[str, Any]
    ) -> Answer:
        self.sync()
        key = path.lower()
        if method == "GET":
            return self.act(f"{kind}/read", path, lambda: Answer(200, self.viewed(self.existing(key), query)))
        if method == "PATCH" and kind == "Microsoft.Compute/disks":

            def patch() -> Answer:
                self.existing(key)["tags"] = dict(sent["tags"])
                return Answer(200, self.resources[key])

            return self.act(f"{kind}/write", path, patch)
        if method == "DELETE":
            return self.act(f"{kind}/delete", path, lambda: self.delete(key, kind))
        writers = {
            "Microsoft.Compute/virtualMachines": self.put_machine,
            "Microsoft.Network/networkInterfaces": self.put_nic,
            "Microsoft.Network/publicIPAddresses": self.put_address,
            "Microsoft.Network/virtualNetworks": self.put_network,
            "Microsoft.Network/networkSecurityGroups": self.put_rules,
        }
        if method != "PUT" or kind not in writers:
            raise Refused(405, "MethodNotAllowed", f"{method} {kind}")
        if "flaas-installation" not in (sent.get("tags") or {}):
            self.policy(sent, ("flaas-installation",))
        if headers.get("if-none-match") == "*" and key in self.resources:
            raise Refused(412, "PreconditionFailed", "The resource exists.")
        return writers[kind](path, kind, sent)

    def existing(self, key: str) -> dict[str, Any]:
        if key not in self.resources:
            raise Refused(404, "ResourceNotFound", f"The Resource '{'/'.join(key.split('/')[-3:])}' was not found.")
        return self.resources[key]

    def linked(self, resource_id: str) -> dict[str, Any]:
        key = resource_id.lower()
        if "/subnets/" in key:
            key, _, subnet = key.partition("/subnets/")
            network = self.resources.get(key)
            for each in network["properties"]["subnets"] if network else ():
                if each["name"] == subnet:
                    return dict(each, location=network["location"])  # type: ignore[index]
            raise Refused(400, "InvalidResourceReference", f"Resource {resource_id} was not found.")
        if key not in self.resources:
            raise Refused(400, "InvalidResourceReference", f"Resource {resource_id} was not found.")
        return self.resources[key]

    def kept(self, path: str, sent: dict[str, Any], state: str = "Succeeded") -> dict[str, Any]:
        properties = {**sent["properties"], "provisioningState": state}
        resource = {"id": path, "name": path.rsplit("/", 1)[-1], "location": sent["location"],
                    "tags": dict(sent["tags"]), "properties": properties}  # fmt: skip
        self.resources[path.lower()] = resource
        return resource

    def started(
        self, namespace: str, resource: dict[str, Any], finish: Callable[[], dict[str, Any] | None]
    ) -> dict[str, str]:
        location = resource["location"]
        name = f"op-{self.ledger.unique()}"
        self.operations[name] = Operation(self.polls, finish, resource)
        where = f"/subscriptions/{SUBSCRIPTION}/providers/{namespace}/locations/{location}/operations/{name}"
        return {"Azure-AsyncOperation": f"{self.base}{where}?api-version=2026-01-01", "Retry-After": "1"}

    def operation(self, name: str) -> Answer:
        found = self.operations[name]
        found.advance()
        if found.result is None:
            return Answer(200, {"status": "InProgress"}, {"Retry-After": "0.01"})
        return Answer(200, found.result)

    def put_rules(self, path: str, kind: str, sent: dict[str, Any]) -> Answer:
        def do() -> Answer:
            for rule in sent["properties"].get("securityRules", []):
                if rule["properties"]["direction"] == "Inbound" and rule["properties"]["access"] == "Allow":
                    raise Refused(
                        403,
                        "RequestDisallowedByPolicy",
                        "Resource was disallowed by policy: nothing may be open inbound.",
                    )
            resource = self.kept(path, sent, "Updating")
            return Answer(201, resource, self.started("Microsoft.Network", resource, done(resource)))

        return self.act(f"{kind}/write", path, do)

    def put_network(self, path: str, kind: str, sent: dict[str, Any]) -> Answer:
        groups = [s["properties"].get("networkSecurityGroup", {}).get("id") for s in sent["properties"]["subnets"]]

        def do() -> Answer:
            if not all(groups):
                raise Refused(
                    403,
                    "RequestDisallowedByPolicy",
                    "Resource was disallowed by policy: subnets need a security group.",
                )
            for each in groups:
                self.linked(each)
            resource = self.kept(path, sent, "Updating")
            return Answer(201, resource, self.started("Microsoft.Network", resource, done(resource)))

        joins = tuple(("Microsoft.Network/networkSecurityGroups/join/action", each) for each in groups if each)
        return self.act(f"{kind}/write", path, do, joins)

    def put_address(self, path: str, kind: str, sent: dict[str, Any]) -> Answer:
        def do() -> Answer:
            self.policy(sent, NODE_TAGS)
            if (
                sent.get("sku", {}).get("name") != "Standard"
                or sent["properties"]["publicIPAllocationMethod"] != "Static"
            ):
                raise Refused(400, "IPv4BasicSkuPublicIpCountLimitReached", "Basic addresses are retired.")
            resource = self.kept(path, sent, "Updating")
            return Answer(201, resource, self.started("Microsoft.Network", resource, done(resource)))

        return self.act(f"{kind}/write", path, do)

    def put_nic(self, path: str, kind: str, sent: dict[str, Any]) -> Answer:
        first = sent["properties"]["ipConfigurations"][0]["properties"]
        subnet, address = first["subnet"]["id"], first.get("publicIPAddress", {}).get("id")
        rules = sent["properties"].get("networkSecurityGroup", {}).get("id")
        joins = [("Microsoft.Network/virtualNetworks/subnets/join/action", subnet)]
        joins += [("Microsoft.Network/publicIPAddresses/join/action", address)] if address else []
        joins += [("Microsoft.Network/networkSecurityGroups/join/action", rules)] if rules else []

        def do() -> Answer:
            self.policy(sent, NODE_TAGS)
            for each in (subnet, address, rules):
                if each and self.linked(each)["location"] != sent["location"]:
                    raise Refused(400, "InvalidResourceLocation", f"{each} is in another region.")
            if address and self.user_of(address) not in (None, path.lower()):
                raise Refused(400, "PublicIPAddressInUse", f"Resource {address} is in use.")
            return Answer(201, self.kept(path, sent))

        return self.act(f"{kind}/write", path, do, tuple(joins))

    def user_of(self, address: str) -> str | None:
        for key, each in self.resources.items():
            for configuration in each["properties"].get("ipConfigurations", ()):
                if configuration["properties"].get("publicIPAddress", {}).get("id", "").lower() == address.lower():
                    return key
        return None

    def put_machine(self, path: str, kind: str, sent: dict[str, Any]) -> Answer:
        action = f"{kind}/write"
        fault = self.ledger.fault(action)
        properties, location = sent.get("properties", {}), sent.get("location", "")
        nics = [each["id"] for each in properties.get("networkProfile", {}).get("networkInterfaces", [])]
        joins = [("Microsoft.Network/networkInterfaces/join/action", each) for each in nics]
        joins.append(("Microsoft.Compute/disks/write", path.rsplit("/", 3)[0]))

        def do() -> Answer:
            self.allowed(action, path, tuple(joins))
            self.policy(sent, NODE_TAGS)
            size, market = properties["hardwareProfile"]["vmSize"], "on_demand"
            if ("azure", location, size, "on_demand") not in self.ledger.prices:
                raise Refused(400, "InvalidParameter", f"The value {size} provided for the VM size is not valid.")
            if properties.get("priority") == "Spot":
                market = "spot"
                if properties.get("evictionPolicy") not in ("Delete", "Deallocate"):
                    raise Refused(400, "InvalidParameter", "The eviction policy is required for Spot.")
                if ("azure", location, size, "spot") not in self.ledger.prices:
                    raise Refused(
                        409, "SkuNotAvailable", f"The requested size {size} is not available as Spot in {location}."
                    )
            linux = properties["osProfile"]["linuxConfiguration"]
            keys = linux.get("ssh", {}).get("publicKeys", [])
            if "adminPassword" in properties["osProfile"] or not linux["disablePasswordAuthentication"] or not keys:
                raise Refused(403, "RequestDisallowedByPolicy", "Resource was disallowed by policy: passwords.")
            if not re.match(r"(ssh-ed25519|ssh-rsa) [A-Za-z0-9+/=]{40,}", keys[0]["keyData"]):
                raise Refused(
                    400,
                    "InvalidParameter",
                    "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid.",
                )
            data = base64.b64decode(properties["osProfile"]["customData"], validate=True)
            if len(data) > 65535:
                raise Refused(400, "InvalidParameter", "Custom data in OSProfile must be at most 64 KB.")
            if not nics:
                raise Refused(400, "InvalidParameter", "Required parameter 'networkInterfaces' is missing (null).")
            for each in nics:
                nic = self.linked(each)
                user = nic["properties"].get("virtualMachine", {}).get("id", path)
                if user.lower() != path.lower():
                    raise Refused(400, "NicInUse", f"Network Interface {each} is used by existing resource {user}.")
            resource = self.kept(
                path,
                {**sent, "properties": {**properties, "osProfile": {**properties["osProfile"], "customData": ""}}},
                "Creating",
            )
            resource["properties"]["timeCreated"] = self.ledger.now.strftime("%Y-%m-%dT%H:%M:%S.%f") + "0+00:00"
            for each in nics:
                self.linked(each)["properties"]["virtualMachine"] = {"id": path}
            if fault is not None and fault.kind == "capacity":
                return Answer(
                    201, resource, self.started("Microsoft.Compute", resource, lambda: self.no_room(resource))
                )
            disk_name = properties["storageProfile"]["osDisk"].get("name", f"{resource['name']}_OsDisk_1")
            disk = f"{path.rsplit('/', 2)[0]}/disks/{disk_name}"
            gib = properties["storageProfile"]["osDisk"]["diskSizeGB"]
            self.resources[disk.lower()] = {
                "id": disk, "name": disk_name, "location": location, "properties": {"diskSizeGB": gib}
            }  # fmt: skip
            resource["disk"] = disk
            self.ledger.launch(
                "azure", SUBSCRIPTION, location, size, market, id=path, tags=sent["tags"], user_data=data.decode(),
                token=re.sub(r"-[0-9a-f]{8}$", "", resource["name"]),
            )  # fmt: skip
            return Answer(201, resource, self.started("Microsoft.Compute", resource, done(resource)))

        return self.faulty(action, do, fault or Fault(action, ""))

    @staticmethod
    def no_room(resource: dict[str, Any]) -> dict[str, Any]:
        resource["properties"]["provisioningState"] = "Failed"
        return {"code": "AllocationFailed", "message": "Allocation failed. We do not have sufficient capacity for the "
                "requested VM size in this region."}  # fmt: skip

    def machine_of(self, key: str) -> LabMachine | None:
        mine = [m for m in self.ledger.machines if m.provider == "azure" and m.id.lower() == key]
        return mine[-1] if mine else None

    def viewed(self, resource: dict[str, Any], query: dict[str, str]) -> dict[str, Any]:
        if "/virtualmachines/" not in resource["id"].lower() or query.get("$expand") != "instanceView":
            return resource
        self.progress(resource)
        machine, state = self.machine_of(resource["id"].lower()), resource["properties"]["provisioningState"]
        power = resource.get("power", "starting" if state == "Creating" else "running")
        statuses = [{"code": f"ProvisioningState/{state.lower()}"}]
        if machine is not None:
            statuses.append({"code": f"PowerState/{'deallocated' if machine.ended else power}"})
        return {**resource, "properties": {**resource["properties"], "instanceView": {"statuses": statuses}}}

    def progress(self, resource: dict[str, Any]) -> None:
        """Time passes: what is being made is done soon, whether or not somebody asks for its operation."""
        for operation in self.operations.values():
            if operation.resource is resource and operation.result is None:
                operation.advance()

    def sync(self) -> None:
        """A spot machine that ended by itself was evicted: it is gone, and what goes along with it."""
        for key, resource in list(self.resources.items()):
            machine = self.machine_of(key)
            if machine is not None and machine.ended and resource["properties"].get("evictionPolicy") == "Delete":
                self.forget(key)

    def shut_down(self, token: str) -> None:
        """The machine's own system shuts down, which Azure goes on billing."""
        with self.lock:
            machine = self.ledger.by_token("azure", SUBSCRIPTION, token)
            assert machine is not None
            self.resources[machine.id.lower()]["power"] = "stopped"

    def delete(self, key: str, kind: str) -> Answer:
        if key not in self.resources:
            return Answer(204)
        resource = self.resources[key]
        if kind == "Microsoft.Network/networkInterfaces" and resource["properties"].get("virtualMachine"):
            raise Refused(400, "NicInUse", f"Network Interface {key} is used by an existing resource.")
        if kind == "Microsoft.Network/publicIPAddresses" and self.user_of(key):
            raise Refused(400, "PublicIPAddressCannotBeDeleted", f"Public IP address {key} is still allocated.")
        if kind == "Microsoft.Compute/disks" and any(r.get("disk", "").lower() == key for r in self.resources.values()):
            raise Refused(409, "OperationNotAllowed", f"Disk {key} is attached to a VM.")
        if kind != "Microsoft.Compute/virtualMachines":
            del self.resources[key]
            return Answer(200)
        resource["properties"]["provisioningState"] = "Deleting"
        machine = self.machine_of(key)
        if machine is not None:
            self.ledger.end(machine)

        def finish() -> None:
            self.forget(key)

        return Answer(202, None, self.started("Microsoft.Compute", resource, finish))

    def forget(self, key: str) -> None:
        resource = self.resources.pop(key, None)
        if resource is None:
            return
        disk, properties = resource.get("disk", "").lower(), resource["properties"]
        if self.cascade and properties["storageProfile"]["osDisk"].get("deleteOption") == "Delete":
            self.resources.pop(disk, None)
        for each in properties["networkProfile"]["networkInterfaces"]:
            nic = self.resources.get(each["id"].lower())
            if nic is None:
                continue
            nic["properties"].pop("virtualMachine", None)
            if self.cascade and each["properties"].get("deleteOption") == "Delete":
                self.resources.pop(each["id"].lower())
                for configuration in nic["properties"]["ipConfigurations"]:
                    address = configuration["properties"].get("publicIPAddress", {})
                    if address.get("properties", {}).get("deleteOption") == "Delete":
                        self.resources.pop(address["id"].lower(), None)

    # ---- what is sold ----------------------------------------------------------------------------------------------

    def sold(self) -> list[tuple[str, str]]:
        return sorted({(region, size) for p, region, size, _ in self.ledger.prices if p == "azure"})

    def skus(self, query: dict[str, str]) -> Answer:
        only = re.search(r"location eq '([^']*)'", query.get("$filter", ""))
        items: list[dict[str, Any]] = [{"resourceType": "disks", "name": "Premium_LRS", "locations": ["westeurope"]}]
        for region, size in self.sold():
            if only and only[1] != region:
                continue
            over = self.sizes.get((region, size), {})
            can = {
                "vCPUs": "4",
                "MemoryGB": "16",
                "CpuArchitectureType": "x64",
                "HyperVGenerations": "V1,V2",
                "GPUs": "0",
            }
            can |= over.get("capabilities", {})
            items.append({
                "resourceType": "virtualMachines", "name": size, "locations": [region],
                "capabilities": [{"name": name, "value": value} for name, value in can.items()],
                "restrictions": [{"type": "Location", "values": [region], "reasonCode": "NotAvailableForSubscription"}]
                if over.get("restricted") else [],
            })  # fmt: skip
        return Answer(200, {"value": items})

    def meter(self, region: str, size: str, market: str) -> str:
        return f"meter-{region}-{size}-{market}".lower()

    def retail(self, query: dict[str, str]) -> Answer:
        asked = query.get("$filter", "")
        region = re.search(r"armRegionName eq '([^']*)'", asked)
        if "serviceName eq 'Virtual Machines'" not in asked or region is None or query.get("currencyCode") != "USD":
            raise Refused(400, "BadRequest", "Invalid OData parameters supplied")
        items = []
        for (provider, where, size, market), usd in sorted(self.ledger.prices.items()):
            if provider != "azure" or where != region[1]:
                continue
            row = {
                "currencyCode": "USD", "retailPrice": usd, "unitPrice": usd, "armRegionName": where, "armSkuName": size,
                "effectiveStartDate": "2024-02-01T00:00:00Z", "meterId": self.meter(where, size, market),
                "meterName": size.removeprefix("Standard_") + (" Spot" if market == "spot" else ""),
                "productName": "Virtual Machines Lab Series", "serviceName": "Virtual Machines",
                "unitOfMeasure": "1 Hour", "type": "Consumption",
            }  # fmt: skip
            # what the real list holds beside each price, and what nobody may be shown
            items += [
                {**row, "retailPrice": usd * 2, "productName": "Virtual Machines Lab Series Windows"},
                {**row, "retailPrice": usd / 4, "meterName": row["meterName"] + " Low Priority"},
                {**row, "retailPrice": usd * 9, "effectiveStartDate": "2019-01-01T00:00:00Z"},
                {**row, "retailPrice": usd * 8, "effectiveStartDate": "2999-01-01T00:00:00Z"},
                {**row, "retailPrice": Decimal(0), "effectiveStartDate": "2025-01-01T00:00:00Z"},
                {**row, "retailPrice": usd * 30, "productName": "Lab Series Dedicated Host"},
                row,
            ]
        items += [each for each in self.retail_extra if each["armRegionName"] == region[1]]
        skip = int(query.get("$skip", "0"))
        page, more = items[skip : skip + self.page_size], len(items) > skip + self.page_size
        following = None
        if more:
            from urllib.parse import urlencode

            following = f"{self.base}/api/retail/prices?{urlencode({**query, '$skip': skip + self.page_size})}"
        return Answer(200, {"BillingCurrency": "USD", "Items": page, "NextPageLink": following, "Count": len(page)})

    def billing(self, method: str, path: str) -> Answer:
        if path.endswith("/pricesheets/default/download") and method == "POST":

            def do() -> Answer:
                where = f"{self.base}{path}/results/{'profile' if '/billingProfiles/' in path else 'account'}"
                return Answer(202, None, {"Location": f"{where}?api-version=2025-03-01", "Retry-After": "0.01"})

            return self.act("Microsoft.CostManagement/pricesheets/download/action", path, do)
        url = f"{self.base}/reports/sheet.zip?sig=lab-signature"
        if path.endswith("/results/profile"):
            return Answer(200, {"downloadUrl": url, "expiryTime": "2999-01-01T00:00:00Z"})
        if path.endswith("/results/account"):
            return Answer(
                200, {"status": "Completed", "properties": {"reportUrl": url, "validUntil": "2999-01-01T00:00:00Z"}}
            )
        raise Refused(404, "NotFound", "No such billing operation.")

    def sheet(self) -> bytes:
        text = io.StringIO()
        columns = ["meterId", "unitOfMeasure", "unitPrice", "marketPrice", "currency", "priceType", "tierMinimumUnits"]
        rows = csv.writer(text)
        rows.writerow(columns)
        for (provider, region, size, market), usd in sorted(self.ledger.prices.items()):
            if provider == "azure":
                listed = usd * self.sheet_rate * 100
                own = listed * (1 - self.discount)
                meter = self.meter(region, size, market)
                rows.writerow([meter, "100 Hours", own, listed, self.sheet_currency, "Consumption", 0])
                rows.writerow([meter, "100 Hours", own / 2, listed, self.sheet_currency, "SavingsPlan", 0])
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("part_0.csv", "\ufeff" + text.getvalue())
        return content.getvalue()

    # ---- what is billed --------------------------------------------------------------------------------------------

    def costs(self, path: str, query: dict[str, str], body: bytes) -> Answer:
        asked = json.loads(body)
        dataset = asked["dataset"]
        grouping, totals = dataset.get("grouping", []), dataset.get("aggregation", {})
        if asked["timeframe"] != "Custom" or len(grouping) > 2 or len(totals) > 2:
            raise Refused(400, "BadRequest", "Invalid query definition: at most 2 groupings and 2 aggregations.")
        start, last = (date.fromisoformat(asked["timePeriod"][each][:10]) for each in ("from", "to"))
        if last - start > timedelta(days=365):
            raise Refused(400, "BadRequest", "Invalid query definition: the period exceeds a year.")
        sums: dict[tuple[Any, ...], list[Decimal]] = defaultdict(lambda: [Decimal(0) for _ in totals])
        for charge in self.charges(start, last + timedelta(days=1)):
            if not self.matches(charge, dataset.get("filter")):
                continue
            key: list[Any] = [charge["UsageDate"]] if dataset["granularity"] == "Daily" else []
            for group in grouping:
                key += self.grouped(charge, group)
            for index, total in enumerate(totals.values()):
                sums[tuple(key)][index] += charge[total["name"]]
        names = [total["name"] for total in totals.values()]
        names += ["UsageDate"] if dataset["granularity"] == "Daily" else []
        for group in grouping:
            names += ["TagKey", "TagValue"] if group["type"] == "TagKey" else [group["name"]]
        rows = [[*values, *key, self.currency] for key, values in sorted(sums.items(), key=str)]
        names.append("Currency")
        if len(rows) % 2:  # the order of columns is not promised
            names, rows = names[::-1], [row[::-1] for row in rows]
        skip = int(query.get("$skiptoken", "0"))
        properties: dict[str, Any] = {
            "columns": [{"name": name, "type": "Number"} for name in names],
            "rows": rows[skip : skip + self.page_size],
            "nextLink": None,
        }
        if len(rows) > skip + self.page_size:
            properties["nextLink"] = (
                f"{self.base}{path}?api-version={query['api-version']}&$skiptoken={skip + self.page_size}"
            )
        headers = {
            "x-ms-ratelimit-microsoft.costmanagement-qpu-remaining": "11",
            "x-ms-ratelimit-microsoft.costmanagement-qpu-consumed": "1",
        }
        return Answer(200, {"id": path, "type": "Microsoft.CostManagement/query", "properties": properties}, headers)

    def charges(self, start: date, end: date) -> list[dict[str, Any]]:
        def of(billed: Billed) -> dict[str, Any]:
            machine, hours = billed.machine, billed.seconds / 3600
            return {
                "UsageDate": int(f"{billed.day:%Y%m%d}"), "Cost": billed.usd * self.rate, "CostUSD": billed.usd,
                "UsageQuantity": hours, "ServiceName": "Virtual Machines", "ResourceId": machine.id.lower(),
                "MeterId": self.meter(machine.region, machine.instance_type, machine.market), "tags": machine.tags,
            }  # fmt: skip

        mine = [of(billed) for billed in self.ledger.bill("azure", SUBSCRIPTION, start, end)]
        first, after = int(f"{start:%Y%m%d}"), int(f"{end:%Y%m%d}")
        return mine + [each for each in self.foreign_costs if first <= each["UsageDate"] < after]

    @staticmethod
    def grouped(charge: dict[str, Any], group: dict[str, str]) -> list[Any]:
        if group["type"] == "TagKey":
            return [group["name"], charge["tags"].get(group["name"], "")]
        return [charge[group["name"]]]

    def matches(self, charge: dict[str, Any], only: dict[str, Any] | None) -> bool:
        if not only:
            return True
        if "and" in only:
            return all(self.matches(charge, each) for each in only["and"])
        kind, test = next(iter(only.items()))
        if test["operator"] != "In" or not test["values"]:
            raise Refused(400, "BadRequest", "Invalid query definition: operator.")
        value = charge["tags"].get(test["name"], "") if kind == "tags" else charge[test["name"]]
        return value in test["values"]


class Entra(Refused):
    """An error answer of the sign-in, which has a form of its own."""


def done(resource: dict[str, Any]) -> Callable[[], None]:
    def finish() -> None:
        if resource["properties"]["provisioningState"] != "Deleting":
            resource["properties"]["provisioningState"] = "Succeeded"

    return finish


def dumps(body: Any) -> bytes:
    """JSON in which decimals keep every digit."""
    if isinstance(body, bytes):
        return body
    if body is None:
        return b""
    text = json.dumps(body, default=lambda value: f"@number:{value:f}@" if isinstance(value, Decimal) else str(value))
    return re.sub(r'"@number:(-?[0-9.]+)@"', r"\1", text).encode()


class AzureApp(FastAPI):
    """Keeps each request's connection at hand, so that it can be cut."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            cycle = getattr(send, "__self__", None)
            transport = scope["lab_transport"] = getattr(cycle, "transport", None)
            if transport is not None:
                # asyncio does so for its own sockets only; without it each answer waits 40 ms for the other side
                transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await super().__call__(scope, receive, send)


def app(ledger: Ledger, base: str) -> FastAPI:
    fake = _CLOUDS[base] = AzureCloud(ledger, base)
    server = AzureApp(openapi_url=None)

    @server.api_route("/{path:path}", methods=["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"])
    async def everything(request: Request) -> Response:
        body = await request.body()
        query = {key: values[0] for key, values in parse_qs(urlsplit(str(request.url)).query).items()}
        headers = {"x-ms-request-id": f"lab-{ledger.unique()}"}
        try:
            answer = await run_in_threadpool(
                fake.answer, request.method, request.url.path, query, request.headers, body
            )
        except Entra as error:
            content = {"error": error.code, "error_description": error.message, "error_codes": []}
            return Response(dumps(content), error.status, headers, "application/json")
        except Refused as error:
            content = {"error": {"code": error.code, "message": error.message}}
            return Response(dumps(content), error.status, headers | error.headers, "application/json")
        except Dropped as cut:
            transport = request.scope["lab_transport"]
            if cut.part:
                length = 2 * len(cut.part) + 9
                start = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
                transport.write(start.encode() + cut.part)
            transport.abort()
            return Response()
        kind = (
            "application/octet-stream"
            if isinstance(answer.body, bytes) and answer.body[:2] == b"PK"
            else "application/json"
        )
        return Response(dumps(answer.body), answer.status, headers | answer.headers, kind)

    return server


def credentials(base: str) -> dict[str, str]:
    return {
        "tenant_id": TENANT,
        "client_id": CLIENT,
        "client_secret": SECRET,
        "subscription_id": SUBSCRIPTION,
    }


def cloud(base: str) -> AzureCloud:
    """The fake that answers at `base`."""
    return _CLOUDS[base]
