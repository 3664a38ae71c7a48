"""Google Cloud as far as the driver knows it: sign-in, permissions, catalog, Compute Engine and BigQuery on one port.

Operations that can meet a fault (`Fault.operation`): ``token``, ``permissions``, ``skus.list``, ``price.get``,
``billingAccounts.list``, ``budgets.list``, ``machineTypes.list``, ``acceleratorTypes.list``, ``networks.get``,
``networks.insert``, ``instances.insert``, ``instances.get``, ``instances.list``, ``instances.delete``,
``operations.wait``, ``disks.list``, ``disks.delete``, ``table.permissions``, ``jobs.insert``, ``jobs.getQueryResults``.

Each permission that a call needs is counted in ``ledger.calls["permission:<name>"]``. The account is `PROJECT`.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from .ledger import Fault, LabMachine, Ledger

PROJECT = "flaas-laboratory"
ACCOUNT = "01AB23-45CD67-89EF01"
TABLE = f"{PROJECT}.billing.gcp_billing_export_resource_v1_01AB23_45CD67_89EF01"
AUDIENCE = "https://oauth2.googleapis.com/token"  # google-auth names it wherever the token is asked for
EMAIL = f"flaas@{PROJECT}.iam.gserviceaccount.com"
REQUIRED_LABELS = ("flaas-project", "flaas-installation", "flaas-launch", "flaas-node")
PAGE = 3  # whatever is asked for: everything here has several pages

# What is on sale if the ledger has nothing of Google's: region, type, on demand, spot (None: not sold)
ON_SALE = (
    ("europe-west4", "e2-medium", "0.03688602", "0.017632"),
    ("europe-west4", "e2-standard-2", "0.07377204", "0.035264"),
    ("europe-west4", "n1-standard-4", "0.209168", "0.12153"),
    ("europe-west4", "n1-standard-4+nvidia-tesla-t4:1", "0.576668", "0.26153"),
    ("europe-west4", "g2-standard-4", "0.742916", "0.38986"),
    ("europe-west1", "e2-medium", "0.033503", None),
)
# name: vCPU, MiB, accelerator, architecture
_TYPES: dict[str, tuple[int, int, tuple[str, int] | None, str]] = {
    "f1-micro": (1, 614, None, "X86_64"),
    "e2-micro": (2, 1024, None, "X86_64"),
    "e2-medium": (2, 4096, None, "X86_64"),
    "e2-standard-2": (2, 8192, None, "X86_64"),
    "n1-standard-4": (4, 15360, None, "X86_64"),
    "c4a-standard-2": (2, 8192, None, "ARM64"),
    "g2-standard-4": (4, 16384, ("nvidia-l4", 1), "X86_64"),
    "a2-ultragpu-1g": (12, 174080, ("nvidia-a100-80gb", 1), "X86_64"),
    "a3-highgpu-1g": (26, 239616, ("nvidia-h100-80gb", 1), "X86_64"),
}
ZONES = ("europe-west1-b", "europe-west1-c", "europe-west4-a", "europe-west4-b", "europe-west4-c")
_T4_ZONES = ("europe-west4-b", "europe-west4-c")

# description, usage type, price tiers (start, USD), regions, unit
_Sku = tuple[str, str, tuple[tuple[float, str], ...], tuple[str, ...], str]
_NL, _BE = ("europe-west4",), ("europe-west1",)
SKUS: tuple[_Sku, ...] = (
    ("E2 Instance Core running in Netherlands", "OnDemand", ((0, "0.02401338"),), _NL, "h"),
    ("E2 Instance Ram running in Netherlands", "OnDemand", ((0, "0.00321816"),), _NL, "GiBy.h"),
    ("Spot Preemptible E2 Instance Core running in Netherlands", "Preemptible", ((0, "0.01148"),), _NL, "h"),
    ("Spot Preemptible E2 Instance Ram running in Netherlands", "Preemptible", ((0, "0.001538"),), _NL, "GiBy.h"),
    ("E2 Instance Core running in Belgium", "OnDemand", ((0, "0.021811"),), _BE, "h"),
    ("E2 Instance Ram running in Belgium", "OnDemand", ((0, "0.002923"),), _BE, "GiBy.h"),
    ("E2 Instance Core running in Netherlands for 1 Year Commitment", "Commit1Yr", ((0, "0.01"),), _NL, "h"),
    ("N1 Predefined Instance Core running in Netherlands", "OnDemand", ((0, "0.034802"),), _NL, "h"),
    ("N1 Predefined Instance Ram running in Netherlands", "OnDemand", ((0, "0.004664"),), _NL, "GiBy.h"),
    ("Spot Preemptible N1 Predefined Instance Core running in Netherlands", "Preemptible", ((0, "0.02022"),), _NL, "h"),
    ("Spot Preemptible N1 Predefined Instance Ram running in Netherlands", "Preemptible", ((0, "0.00271"),), _NL,
     "GiBy.h"),
    ("N1 Sole Tenancy Instance Core running in Netherlands", "OnDemand", ((0, "9"),), _NL, "h"),
    ("Reserved N1 Predefined Instance Core running in Netherlands", "OnDemand", ((0, "9"),), _NL, "h"),
    ("N2 Custom Instance Core running in Netherlands", "OnDemand", ((0, "9"),), _NL, "h"),
    ("Sole Tenancy Premium for N1 Predefined Instance Core", "OnDemand", ((0, "9"),), _NL, "h"),
    ("G2 Instance Core running in Netherlands", "OnDemand", ((0, "0.027519"),), _NL, "h"),
    ("G2 Instance Ram running in Netherlands", "OnDemand", ((0, "0.0028"),), _NL, "GiBy.h"),
    ("Nvidia L4 GPU running in Netherlands", "OnDemand", ((0, "0.58804"),), _NL, "h"),
    ("Spot Preemptible G2 Instance Core running in Netherlands", "Preemptible", ((0, "0.01424"),), _NL, "h"),
    ("Spot Preemptible G2 Instance Ram running in Netherlands", "Preemptible", ((0, "0.0015"),), _NL, "GiBy.h"),
    ("Nvidia L4 GPU attached to Spot Preemptible VMs running in Netherlands", "Preemptible", ((0, "0.3089"),), _NL,
     "h"),
    ("Nvidia L4 GPU Suspended running in Netherlands", "OnDemand", ((0, "9"),), _NL, "h"),
    ("Nvidia Tesla T4 GPU running in Netherlands", "OnDemand", ((0, "0.3675"),), _NL, "h"),
    ("Nvidia Tesla T4 GPU attached to Spot Preemptible VMs running in Netherlands", "Preemptible", ((0, "0.14"),), _NL,
     "h"),
    ("Micro Instance with burstable CPU running in EMEA", "OnDemand", ((0, "0"), (744, "0.0084")), (*_NL, *_BE), "h"),
    ("A2 Instance Core running in Netherlands", "OnDemand", ((0, "0.034802"),), _NL, "h"),
    ("A2 Instance Ram running in Netherlands", "OnDemand", ((0, "0.004664"),), _NL, "GiBy.h"),
    ("Nvidia Tesla A100 80GB GPU running in Netherlands", "OnDemand", ((0, "4.325209"),), _NL, "h"),
    ("A3 Instance Core running in Netherlands", "OnDemand", ((0, "0.0372"),), _NL, "h"),
    ("A3 Instance Ram running in Netherlands", "OnDemand", ((0, "0.0032"),), _NL, "GiBy.h"),
    ("Nvidia H100 80GB GPU running in Netherlands", "OnDemand", ((0, "12.2"),), _NL, "h"),
    ("SSD backed Local Storage in Netherlands", "OnDemand", ((0, "0.088"),), _NL, "GiBy.mo"),
    ("C4A Arm Instance Core running in Netherlands", "OnDemand", ((0, "0.0385"),), _NL, "h"),
    ("C4A Arm Instance Ram running in Netherlands", "OnDemand", ((0, "0.0043"),), _NL, "GiBy.h"),
)  # fmt: skip
CONTRACT_DISCOUNT = Decimal("0.9")  # on everything of G2

_CLOUDS: dict[str, Google] = {}


@lru_cache(maxsize=1)
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def credentials(base: str) -> dict[str, str]:
    """The credentials of a service account that may do everything in `PROJECT`."""
    pem = _key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    document = {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "laboratory-1",
        "private_key": pem.decode(),
        "client_email": EMAIL,
        "client_id": "1",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": f"{base}/token",
        "universe_domain": "googleapis.com",
    }
    return {"service_account_key": json.dumps(document), "billing_account": ACCOUNT, "billing_table": TABLE}


class HangUp(Response):
    """Closes the connection after a part of the body: half of it, or nothing."""

    def __init__(self, body: bytes = b"") -> None:
        super().__init__(body)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        length = str(len(self.body) + 100).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})


class Silence(Response):
    """Never answers."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass


class GoogleError(Exception):
    """A refusal in Google's form."""

    def __init__(self, code: int, message: str, reason: str, status: str = "", headers: dict[str, str] | None = None):
        super().__init__(message)
        self.code, self.message, self.reason, self.status, self.headers = code, message, reason, status, headers

    def response(self) -> Response:
        errors = [{"message": self.message, "domain": "global", "reason": self.reason}]
        error = {"code": self.code, "message": self.message, "errors": errors, "status": self.status}
        return JSONResponse({"error": error}, self.code, headers=self.headers)


class Google:
    """The state that the ledger does not keep."""

    def __init__(self, ledger: Ledger, base: str) -> None:
        self.ledger = ledger
        self.base = base
        self.tokens: dict[str, float] = {}
        self.operations: dict[str, dict[str, Any]] = {}
        self.requests: dict[tuple[str, str], str] = {}  # (path, requestId) to operation
        self.networks: dict[str, dict[str, Any]] = {}
        self.disks: dict[tuple[str, str], dict[str, Any]] = {}
        self.jobs: dict[str, list[list[str | None]]] = {}

    # ---- what every call meets ---------------------------------------------------------------------------------------

    def met(self, operation: str) -> Fault | None:
        """Raise the fault that `operation` meets, or return it if it needs more than a refusal."""
        fault = self.ledger.fault(operation)
        if fault is None:
            return None
        if fault.kind == "throttle":
            if operation.startswith(("instances", "disks", "networks", "operations")):
                raise GoogleError(403, "Rate Limit Exceeded", "rateLimitExceeded", headers={"Retry-After": "7"})
            raise GoogleError(429, "Quota exceeded for quota metric 'requests'", "rateLimitExceeded",
                              "RESOURCE_EXHAUSTED", headers={"Retry-After": "7"})  # fmt: skip
        if fault.kind == "error":
            raise GoogleError(500, "Internal error encountered.", "backendError", "INTERNAL")
        return fault

    def signed_in(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or self.tokens.get(token, 0) < time.time():
            raise GoogleError(401, "Request had invalid authentication credentials. Expected OAuth 2 access token.",
                              "authError", "UNAUTHENTICATED")  # fmt: skip

    def lacks(self, permission: str) -> bool:
        return permission in self.ledger.denied[PROJECT]

    def need(self, *permissions: str, on: str = f"projects/{PROJECT}") -> None:
        for permission in permissions:
            with self.ledger.lock:
                self.ledger.calls[f"permission:{permission}"] += 1
            if self.lacks(permission):
                if permission == "bigquery.jobs.create":
                    message = f"Access Denied: Project {PROJECT}: User does not have {permission} permission in it."
                elif permission == "bigquery.tables.getData":
                    message = (f"Access Denied: Table {TABLE}: User does not have permission to query it, or "
                               "perhaps it does not exist.")  # fmt: skip
                elif permission.startswith("billing."):
                    message = "The caller does not have permission"
                else:
                    message = f"Required '{permission}' permission for '{on}'"
                reason = "accessDenied" if permission.startswith("bigquery") else "forbidden"
                raise GoogleError(403, message, reason, "PERMISSION_DENIED")

    # ---- sign-in -----------------------------------------------------------------------------------------------------

    def token(self, form: dict[str, str]) -> Response:
        fault = self.ledger.fault("token")
        if fault is not None:
            if fault.kind in ("timeout", "lost", "truncate"):
                return HangUp(b'{"access_token": "ya29.half')
            return JSONResponse({"error": "rate_limit_exceeded" if fault.kind == "throttle" else "internal_failure"},
                                429 if fault.kind == "throttle" else 400)  # fmt: skip
        refused = self._wrong(form)
        if refused:
            return JSONResponse({"error": "invalid_grant", "error_description": refused}, 400)
        token = f"ya29.laboratory-{self.ledger.unique()}"
        self.tokens[token] = time.time() + 3600
        return JSONResponse({"access_token": token, "expires_in": 3599, "token_type": "Bearer"})

    def _wrong(self, form: dict[str, str]) -> str:
        if form.get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return "Invalid grant_type."
        parts = form.get("assertion", "").split(".")
        if len(parts) != 3:
            return "Invalid JWT."

        def decode(part: str) -> bytes:
            return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

        header, claims = json.loads(decode(parts[0])), json.loads(decode(parts[1]))
        try:
            signed = f"{parts[0]}.{parts[1]}".encode()
            _key().public_key().verify(decode(parts[2]), signed, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return "Invalid JWT Signature."
        if header["alg"] != "RS256" or claims["aud"] != AUDIENCE or claims["iss"] != EMAIL:
            return "Invalid JWT: wrong algorithm, audience or issuer."
        if not claims["iat"] - 60 <= time.time() < claims["exp"] <= claims["iat"] + 3600:
            return "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
        return "" if "cloud-platform" in claims["scope"] else "Invalid scope."

    # ---- Compute Engine ----------------------------------------------------------------------------------------------

    def url(self, path: str) -> str:
        return f"{self.base}/compute/v1/projects/{PROJECT}{path}"

    def operation(self, path: str, error: tuple[str, str] | None = None) -> dict[str, Any]:
        name = f"operation-{self.ledger.unique()}"
        operation: dict[str, Any] = {"kind": "compute#operation", "name": name, "status": "RUNNING", "targetLink": path}
        zone = re.search(r"/zones/([^/]+)/", path)
        if zone:
            operation["zone"] = self.url(f"/zones/{zone[1]}")
        self.operations[name] = operation | ({"_error": error} if error else {})
        return operation

    def finished(self, name: str) -> dict[str, Any]:
        if name not in self.operations:
            raise GoogleError(404, f"The resource 'operations/{name}' was not found", "notFound")
        operation = dict(self.operations[name])
        error = operation.pop("_error", None)
        operation["status"] = "DONE"
        if error:
            operation["error"] = {"errors": [{"code": error[0], "message": error[1]}]}
        return operation

    def machine_types(self) -> list[dict[str, Any]]:
        rows = []
        sold = {(region, name.partition("+")[0]) for p, region, name, _ in self.ledger.prices if p == "gcp"}
        for zone in ZONES:
            region = zone.rsplit("-", 1)[0]
            for name, (vcpus, memory, accelerator, architecture) in _TYPES.items():
                if (region, name) not in sold and region != "europe-west4":
                    continue
                found: dict[str, Any] = {"name": name, "zone": zone, "guestCpus": vcpus, "memoryMb": memory,
                                         "architecture": architecture}  # fmt: skip
                if accelerator:
                    found["accelerators"] = [
                        {"guestAcceleratorType": accelerator[0], "guestAcceleratorCount": accelerator[1]}
                    ]
                if name.startswith("a3-highgpu"):
                    found["bundledLocalSsds"] = {"partitionCount": 2, "defaultInterface": "NVME"}
                rows.append(found)
        return rows

    def insert(self, zone: str, body: dict[str, Any], request_id: str, path: str) -> dict[str, Any]:
        permissions = ["compute.instances.create", "compute.disks.create", "compute.subnetworks.use"]
        disk = body["disks"][0]["initializeParams"]
        if body.get("labels"):
            permissions.append("compute.instances.setLabels")
        if disk.get("labels"):
            permissions.append("compute.disks.setLabels")
        if body.get("metadata"):
            permissions.append("compute.instances.setMetadata")
        if body.get("tags"):
            permissions.append("compute.instances.setTags")
        if body["networkInterfaces"][0].get("accessConfigs"):
            permissions.append("compute.subnetworks.useExternalIp")
        if body.get("serviceAccounts"):
            permissions.append("iam.serviceAccounts.actAs")
        self.need(*permissions, on=f"projects/{PROJECT}/zones/{zone}/instances/{body['name']}")
        if (path, request_id) in self.requests:
            return self.operations[self.requests[path, request_id]]
        self._check(zone, body, disk)
        fault = self.met("instances.insert")
        kind = fault.kind if fault else ""
        name, labels = body["name"], body["labels"]
        if any(m.id == f"{zone}/{name}" and m.ended is None for m in self.ledger.machines):
            raise GoogleError(409, f"The resource '{path}/{name}' already exists", "alreadyExists")
        failures = {
            "capacity": (
                "ZONE_RESOURCE_POOL_EXHAUSTED",
                f"The zone '{zone}' does not have enough resources.",
            ),
            "quota": ("QUOTA_EXCEEDED", "Quota 'CPUS' exceeded.  Limit: 24.0 in region europe-west4."),
        }
        if kind in failures:
            operation = self.operation(f"{path}/{name}", failures[kind])
        else:
            operation = self.operation(f"{path}/{name}")
            self._make(zone, body, disk, labels)
        self.requests[path, request_id] = operation["name"]
        if kind in ("lost", "truncate", "timeout"):
            raise Lost(json.dumps(operation).encode() if kind == "truncate" else b"", silent=kind == "timeout")
        return operation

    def _check(self, zone: str, body: dict[str, Any], disk: dict[str, Any]) -> None:
        machine_type = body["machineType"].rsplit("/", 1)[-1]
        if zone not in ZONES or (zone, machine_type) not in {(m["zone"], m["name"]) for m in self.machine_types()}:
            raise GoogleError(404, f"The resource '{body['machineType']}' was not found", "notFound")
        if not all((body.get("labels") or {}).get(label) for label in REQUIRED_LABELS):
            raise GoogleError(412, "Operation denied by custom org policy: ['customConstraints/custom.flaasLabels']",
                              "conditionNotMet")  # fmt: skip
        for labels in (body["labels"], disk["labels"]):
            if not all(re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", k) and re.fullmatch(r"[a-z0-9_-]{0,63}", v)
                       for k, v in labels.items()):  # fmt: skip
                raise GoogleError(400, "Invalid value for field 'resource.labels'", "invalid")
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", body["name"]):
            raise GoogleError(400, f"Invalid value for field 'resource.name': '{body['name']}'", "invalid")
        network = body["networkInterfaces"][0]["network"].rsplit("/", 1)[-1]
        if network not in self.networks:
            raise GoogleError(404, f"The resource 'global/networks/{network}' was not found", "notFound")
        scheduling = body["scheduling"]
        if scheduling.get("maxRunDuration") and not scheduling.get("instanceTerminationAction"):
            raise GoogleError(400, "instanceTerminationAction must be set with maxRunDuration", "invalid")
        gpu = body.get("guestAccelerators") or machine_type.startswith(("g2", "a2", "a3"))
        if gpu and scheduling.get("onHostMaintenance") != "TERMINATE":
            raise GoogleError(400, "Instances with guest accelerators do not support live migration.", "badRequest")
        arm = "arm64" in disk["sourceImage"]
        if arm != (_TYPES[machine_type][3] == "ARM64"):
            raise GoogleError(
                400, "Requested boot disk architecture is not compatible with the machine type", "invalid"
            )
        for accelerator in body.get("guestAccelerators") or ():
            if "tesla-t4" not in accelerator["acceleratorType"] or zone not in _T4_ZONES:
                raise GoogleError(404, f"The resource '{accelerator['acceleratorType']}' was not found", "notFound")

    def _make(self, zone: str, body: dict[str, Any], disk: dict[str, Any], labels: dict[str, str]) -> None:
        name, scheduling = body["name"], body["scheduling"]
        machine_type = body["machineType"].rsplit("/", 1)[-1]
        sold = machine_type
        for accelerator in body.get("guestAccelerators") or ():
            sold += f"+{accelerator['acceleratorType'].rsplit('/', 1)[-1]}:{accelerator['acceleratorCount']}"
        market = "spot" if scheduling["provisioningModel"] == "SPOT" else "on_demand"
        seconds = (scheduling.get("maxRunDuration") or {}).get("seconds")
        user_data = next((i["value"] for i in body["metadata"]["items"] if i["key"] == "user-data"), "")
        try:
            made = self.ledger.launch("gcp", PROJECT, zone.rsplit("-", 1)[0], sold, market, id=f"{zone}/{name}",
                                      tags=labels, user_data=user_data, token=labels.get("flaas-token", ""),
                                      max_minutes=int(seconds) // 60 if seconds else None)  # fmt: skip
        except KeyError:
            raise GoogleError(404, f"The resource '{body['machineType']}' was not found", "notFound") from None
        made.details.update(body=body, zone=zone, name=name, number=str(self.ledger.unique()))
        self.disks[zone, disk["diskName"]] = {"name": disk["diskName"], "zone": self.url(f"/zones/{zone}"),
                                              "labels": disk["labels"], "users": [name]}  # fmt: skip
        made.leftovers.append(f"{zone}/{disk['diskName']}")

    def sweep(self) -> None:
        """Take away the disks of machines that ended, except those that a test keeps (``details["keep_disk"]``)."""
        for machine in self.ledger.machines:
            if machine.provider == "gcp" and machine.ended is not None:
                for left in list(machine.leftovers):
                    zone, name = left.split("/")
                    if machine.details.get("keep_disk"):
                        if (zone, name) in self.disks:
                            self.disks[zone, name]["users"] = []
                        else:
                            machine.leftovers.remove(left)
                    else:
                        self.disks.pop((zone, name), None)
                        machine.leftovers.remove(left)

    def find(self, zone: str, name: str) -> LabMachine:
        for machine in self.ledger.running("gcp"):
            if machine.id == f"{zone}/{name}":
                return machine
        raise GoogleError(404, f"The resource 'zones/{zone}/instances/{name}' was not found", "notFound")

    def instance(self, machine: LabMachine) -> dict[str, Any]:
        body: Any = machine.details["body"]
        zone = machine.details["zone"]
        found = {
            "id": machine.details["number"],
            "name": machine.details["name"],
            "zone": self.url(f"/zones/{zone}"),
            "machineType": self.url(f"/{body['machineType']}"),
            "labels": machine.tags,
            "status": str(machine.details.get("status", "RUNNING")),
            "creationTimestamp": machine.created.astimezone(UTC).isoformat(timespec="milliseconds"),
        }
        if body.get("guestAccelerators"):
            found["guestAccelerators"] = body["guestAccelerators"]
        return found

    # ---- the bill ----------------------------------------------------------------------------------------------------

    def query(self, configuration: dict[str, Any]) -> list[list[str | None]]:
        """Answer the driver's query, which is known by its table and parameters."""
        given = {p["name"]: (p["parameterType"]["type"], p["parameterValue"]["value"])
                 for p in configuration["queryParameters"]}  # fmt: skip
        if f"`{TABLE}`" not in configuration["query"]:
            raise GoogleError(404, f"Not found: Table {TABLE[:20]} was not found in location EU", "notFound")
        if not int(configuration.get("maximumBytesBilled") or 0):
            raise GoogleError(400, "Query exceeded limit for bytes billed: 10485760 or higher required.",
                              "bytesBilledLimitExceeded")  # fmt: skip
        if {n: t for n, (t, _) in given.items()} != {"project": "STRING", "start": "TIMESTAMP", "end": "TIMESTAMP"}:
            raise GoogleError(400, "Query parameters are not the driver's", "invalidQuery")
        if given["project"][1] != PROJECT:
            return []
        start, end = (date.fromisoformat(given[name][1][:10]) for name in ("start", "end"))
        rows: list[list[str | None]] = []
        nano = Decimal("0.000000001")
        for billed in self.ledger.bill("gcp", PROJECT, start, end):
            machine, day = billed.machine, datetime(billed.day.year, billed.day.month, billed.day.day, tzinfo=UTC)
            gross = (billed.usd * Decimal("1.25")).quantize(nano)  # a fifth of it is credited
            rows.append([
                ACCOUNT, PROJECT, f"{billed.day:%Y%m}", str(int(day.timestamp() * 1_000_000)), "Compute Engine",
                machine.region, f"//compute.googleapis.com/projects/{PROJECT}/zones/{machine.id}", "regular", "USD",
                "hour", *(machine.tags.get(label) for label in REQUIRED_ORDER),
                str((billed.seconds / 3600).quantize(nano)), str(gross),
                str(billed.usd.quantize(nano) - gross), str(gross),
            ])  # fmt: skip
        return rows


REQUIRED_ORDER = ("flaas-project", "flaas-installation", "flaas-launch", "flaas-node")
_COLUMNS = (
    ("billing_account_id", "STRING"), ("project_id", "STRING"), ("invoice_month", "STRING"), ("day", "TIMESTAMP"),
    ("service", "STRING"), ("region", "STRING"), ("resource", "STRING"), ("cost_type", "STRING"),
    ("currency", "STRING"), ("unit", "STRING"), ("flaas_project", "STRING"), ("flaas_installation", "STRING"),
    ("flaas_launch", "STRING"), ("flaas_node", "STRING"), ("amount", "NUMERIC"), ("cost", "NUMERIC"),
    ("credits", "NUMERIC"), ("list_cost", "NUMERIC"),
)  # fmt: skip


class Lost(Exception):
    """The work is done, and the answer does not arrive."""

    def __init__(self, body: bytes, *, silent: bool) -> None:
        super().__init__()
        self.body, self.silent = body, silent


def _page(rows: list[Any], token: str | None) -> tuple[list[Any], str | None]:
    start = int(token or 0)
    return rows[start : start + PAGE], str(start + PAGE) if start + PAGE < len(rows) else None


def app(ledger: Ledger, base: str) -> FastAPI:
    """Return Google Cloud, reached at `base`."""
    if not any(provider == "gcp" for provider, *_ in ledger.prices):
        for region, name, usd, spot in ON_SALE:
            ledger.sell("gcp", region, name, usd, spot)
    google = _CLOUDS[base] = Google(ledger, base)
    api = FastAPI()

    async def answer(request: Request, operation: str, work: Callable[[], Any]) -> Response:
        """Do `work` for somebody signed in, with the faults that `operation` meets."""
        try:
            google.signed_in(request)
            with ledger.lock:
                google.sweep()
                fault = google.met(operation) if operation else None
                content = work()
        except GoogleError as error:
            return error.response()
        except Lost as lost:
            return Silence() if lost.silent else HangUp(lost.body)
        if fault is not None and fault.kind == "timeout":
            return Silence()
        if fault is not None and fault.kind in ("truncate", "lost"):
            return HangUp(json.dumps(content).encode() if fault.kind == "truncate" else b"")
        return JSONResponse(content)

    def aggregated(request: Request, what: str, rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
        wanted = request.query_params.get("filter", "")
        match = re.fullmatch(r'(?:labels\.)?([a-z-]+) = "([^"]*)"', wanted)
        if wanted and not match:
            raise GoogleError(400, f"Invalid value for field 'filter': '{wanted}'", "invalid")
        if match:
            by_label = wanted.startswith("labels.")
            rows = [r for r in rows if (r.get("labels", {}) if by_label else r).get(match[1]) == match[2]]
        page, token = _page(list(rows), request.query_params.get("pageToken"))
        items: dict[str, Any] = {f"zones/{zone}": {"warning": {"code": "NO_RESULTS"}} for zone in ZONES}
        for found in page:
            items.setdefault(key := f"zones/{found['zone'].rsplit('/', 1)[-1]}", {})
            items[key].pop("warning", None)
            items[key].setdefault(what, []).append(found)
        return {"items": items, **({"nextPageToken": token} if token else {})}

    @api.post("/token")
    async def token(request: Request) -> Response:
        return google.token(dict(parse_qsl((await request.body()).decode())))

    @api.post("/v1/projects/{call}")
    async def permissions(request: Request, call: str) -> Response:
        asked = (await request.json())["permissions"]

        def work() -> Any:
            if call != f"{PROJECT}:testIamPermissions":
                raise GoogleError(403, "The caller does not have permission", "forbidden", "PERMISSION_DENIED")
            return {"permissions": [name for name in asked if not google.lacks(name)]}

        return await answer(request, "permissions", work)

    # ---- billing -----------------------------------------------------------------------------------------------------

    @api.get("/v1/services/{service}/skus")
    async def skus(request: Request, service: str) -> Response:
        def work() -> Any:
            if service != "6F81-5844-456A":
                raise GoogleError(404, "Service not found", "notFound", "NOT_FOUND")
            page, token = _page(list(enumerate(SKUS)), request.query_params.get("pageToken"))
            return {"skus": [_sku(*each) for each in page], "nextPageToken": token or ""}

        return await answer(request, "skus.list", work)

    @api.get("/v1beta/billingAccounts/{account}/skus/{sku}/price")
    async def price(request: Request, account: str, sku: str) -> Response:
        def work() -> Any:
            google.need("billing.billingAccountPrice.get")
            if account != ACCOUNT:
                raise GoogleError(403, "The caller does not have permission", "forbidden", "PERMISSION_DENIED")
            description, _, tiers, _, _ = SKUS[int(sku.removeprefix("LAB-"))]
            own = CONTRACT_DISCOUNT if "G2" in description else Decimal(1)
            rate = [
                {"startAmount": {"value": str(start)}, "listPrice": _money(Decimal(usd)),
                 "contractPrice": _money(Decimal(usd) * own)} for start, usd in tiers
            ]  # fmt: skip
            return {"name": request.url.path[8:], "currencyCode": "USD", "valueType": "rate", "rate": {"tiers": rate}}

        return await answer(request, "price.get", work)

    @api.get("/v1/billingAccounts")
    async def billing_accounts(request: Request) -> Response:
        account = {"name": f"billingAccounts/{ACCOUNT}", "open": True, "displayName": "Laboratory"}
        return await answer(request, "billingAccounts.list", lambda: {"billingAccounts": [account]})

    @api.post("/v1/billingAccounts/{call}")
    async def billing_permissions(request: Request, call: str) -> Response:
        asked = (await request.json())["permissions"]
        return await answer(
            request, "", lambda: {"permissions": [p for p in asked if call.startswith(ACCOUNT) and not google.lacks(p)]}
        )

    @api.get("/v1/billingAccounts/{account}/budgets")
    async def budgets(request: Request, account: str) -> Response:
        budget = {"name": f"billingAccounts/{account}/budgets/1", "displayName": "FLaaS",
                  "amount": {"specifiedAmount": {"currencyCode": "USD", "units": "100"}}}  # fmt: skip
        return await answer(request, "budgets.list", lambda: {"budgets": [budget]})

    # ---- Compute Engine ----------------------------------------------------------------------------------------------

    prefix = f"/compute/v1/projects/{PROJECT}"

    @api.get(prefix + "/aggregated/{what}")
    async def listed(request: Request, what: str) -> Response:
        def work() -> Any:
            google.need(f"compute.{what}.list")
            if what == "machineTypes":
                return aggregated(request, what, google.machine_types())
            if what == "acceleratorTypes":
                rows = [{"name": "nvidia-tesla-t4", "zone": google.url(f"/zones/{zone}")} for zone in _T4_ZONES]
                return aggregated(request, what, rows)
            if what == "instances":
                return aggregated(request, what, [google.instance(m) for m in ledger.running("gcp")])
            return aggregated(request, what, list(google.disks.values()))

        return await answer(request, f"{what}.list", work)

    @api.get(prefix + "/global/networks/{name}")
    async def network(request: Request, name: str) -> Response:
        def work() -> Any:
            google.need("compute.networks.get")
            if name not in google.networks:
                raise GoogleError(404, f"The resource 'global/networks/{name}' was not found", "notFound")
            return google.networks[name]

        return await answer(request, "networks.get", work)

    @api.post(prefix + "/global/networks")
    async def make_network(request: Request) -> Response:
        body = await request.json()

        def work() -> Any:
            google.need("compute.networks.create")
            if body["name"] in google.networks:
                raise GoogleError(409, f"The resource 'networks/{body['name']}' already exists", "alreadyExists")
            google.networks[body["name"]] = body
            return google.operation("/global/networks")

        return await answer(request, "networks.insert", work)

    @api.post(prefix + "/global/firewalls")
    async def firewall(request: Request) -> Response:
        body = await request.json()

        def work() -> Any:
            if body.get("direction", "INGRESS") == "INGRESS":
                raise GoogleError(412, "Operation denied by custom org policy: nothing comes in", "conditionNotMet")
            return google.operation("/global/firewalls")

        return await answer(request, "", work)

    @api.post(prefix + "/zones/{zone}/instances")
    async def insert(request: Request, zone: str) -> Response:
        body, id = await request.json(), request.query_params.get("requestId", "")

        def work() -> Any:
            if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", id):
                raise GoogleError(400, "Invalid value for field 'requestId'", "invalid")
            return google.insert(zone, body, id, request.url.path)

        return await answer(request, "", work)

    @api.get(prefix + "/zones/{zone}/instances/{name}")
    async def get(request: Request, zone: str, name: str) -> Response:
        def work() -> Any:
            google.need("compute.instances.get", on=f"projects/{PROJECT}/zones/{zone}/instances/{name}")
            return google.instance(google.find(zone, name))

        return await answer(request, "instances.get", work)

    @api.delete(prefix + "/zones/{zone}/instances/{name}")
    async def delete(request: Request, zone: str, name: str) -> Response:
        def work() -> Any:
            google.need("compute.instances.delete", on=f"projects/{PROJECT}/zones/{zone}/instances/{name}")
            ledger.end(google.find(zone, name))
            google.sweep()
            return google.operation(request.url.path)

        return await answer(request, "instances.delete", work)

    @api.delete(prefix + "/zones/{zone}/disks/{name}")
    async def delete_disk(request: Request, zone: str, name: str) -> Response:
        def work() -> Any:
            google.need("compute.disks.delete", on=f"projects/{PROJECT}/zones/{zone}/disks/{name}")
            disk = google.disks.get((zone, name))
            if disk is None:
                raise GoogleError(404, f"The resource 'zones/{zone}/disks/{name}' was not found", "notFound")
            if disk["users"]:
                raise GoogleError(
                    400, f"The disk resource '{name}' is already being used", "resourceInUseByAnotherResource"
                )
            del google.disks[zone, name]
            google.sweep()
            return google.operation(request.url.path)

        return await answer(request, "disks.delete", work)

    @api.post(prefix + "/zones/{zone}/operations/{name}/wait")
    async def wait(request: Request, zone: str, name: str) -> Response:
        def work() -> Any:
            google.need("compute.zoneOperations.get")
            return google.finished(name)

        return await answer(request, "operations.wait", work)

    @api.post(prefix + "/global/operations/{name}/wait")
    async def wait_globally(request: Request, name: str) -> Response:
        def work() -> Any:
            google.need("compute.globalOperations.get")
            return google.finished(name)

        return await answer(request, "operations.wait", work)

    # ---- BigQuery ----------------------------------------------------------------------------------------------------

    @api.post("/bigquery/v2/projects/{project}/datasets/{dataset}/tables/{call}")
    async def table_permissions(request: Request, project: str, dataset: str, call: str) -> Response:
        asked = (await request.json())["permissions"]

        def work() -> Any:
            if f"{project}.{dataset}.{call}" != f"{TABLE}:testIamPermissions":
                raise GoogleError(404, "Not found: Table", "notFound")
            return {"permissions": [name for name in asked if not google.lacks(name)]}

        return await answer(request, "table.permissions", work)

    @api.post("/bigquery/v2/projects/{project}/jobs")
    async def jobs(request: Request, project: str) -> Response:
        body = await request.json()

        def work() -> Any:
            google.need("bigquery.jobs.create", "bigquery.tables.getData")
            query = body["configuration"]["query"]
            id = body["jobReference"]["jobId"]
            google.jobs[id] = google.query(query)
            return {
                "kind": "bigquery#job",
                "jobReference": {"projectId": project, "jobId": id, "location": "EU"},
                "configuration": {"jobType": "QUERY", "query": query},
                "status": {"state": "DONE"},
                "statistics": {"query": {"statementType": "SELECT", "totalBytesProcessed": "1"}},
            }

        return await answer(request, "jobs.insert", work)

    @api.get("/bigquery/v2/projects/{project}/queries/{id}")
    async def results(request: Request, project: str, id: str) -> Response:
        def work() -> Any:
            rows = google.jobs[id]
            limit = request.query_params.get("maxResults")
            page, token = ([], "0") if limit == "0" else _page(rows, request.query_params.get("pageToken"))
            return {
                "kind": "bigquery#getQueryResultsResponse",
                "jobComplete": True,
                "jobReference": {"projectId": project, "jobId": id, "location": "EU"},
                "schema": {"fields": [{"name": n, "type": t, "mode": "NULLABLE"} for n, t in _COLUMNS]},
                "totalRows": str(len(rows)),
                "rows": [{"f": [{"v": value} for value in row]} for row in page],
                **({"pageToken": token} if token and rows else {}),
            }

        return await answer(request, "jobs.getQueryResults", work)

    return api


def cloud(base: str) -> Google:
    """The running fake."""
    return _CLOUDS[base]


def _money(usd: Decimal) -> dict[str, Any]:
    units = int(usd)
    return {"currencyCode": "USD", "units": str(units), "nanos": int((usd - units) * 10**9)}


def _sku(number: int, sku: _Sku) -> dict[str, Any]:
    description, usage_type, tiers, regions, unit = sku
    return {
        "name": f"services/6F81-5844-456A/skus/LAB-{number}",
        "skuId": f"LAB-{number}",
        "description": description,
        "category": {"serviceDisplayName": "Compute Engine", "resourceFamily": "Compute", "usageType": usage_type},
        "serviceRegions": list(regions),
        "pricingInfo": [
            {
                "pricingExpression": {
                    "usageUnit": unit,
                    "tieredRates": [
                        {"startUsageAmount": start, "unitPrice": _money(Decimal(usd))} for start, usd in tiers
                    ],
                }
            }
        ],
    }
