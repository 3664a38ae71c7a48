"""One connection to Azure: sign-in, the SDK's clients, and Resource Manager's plain REST where no SDK is needed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, Final
from urllib.parse import urlsplit

from ..driver import CloudUnreachable, Endpoint
from .azure_errors import of_refusal, refusal, retry_after, translated

PUBLIC: Final = "https://management.azure.com"
SCOPE: Final = f"{PUBLIC}/.default"
RESOURCES: Final = "2021-04-01"
SUBSCRIPTIONS: Final = "2022-12-01"
AUTHORIZATION: Final = "2022-04-01"
NETWORK: Final = "2024-05-01"
DISKS: Final = "2024-03-02"
POLL_SECONDS: Final = 2.0
POLL_LIMIT: Final = 600.0
_CONNECT_SECONDS, _READ_SECONDS = 10, 60


class Arm:
    """Resource Manager with the credentials of one application.

    Parameters
    ----------
    credentials : mapping
        See `flaas_jupyter.costs.providers.azure.AzureDriver`.
    endpoint : Endpoint
        Replaces sign-in, Resource Manager and the price list.
    """

    def __init__(self, credentials: Mapping[str, str], endpoint: Endpoint) -> None:
        self._credentials = credentials
        self.endpoint = endpoint
        self.base = (endpoint.base or PUBLIC).rstrip("/")
        self.subscription_id = credentials["subscription_id"]
        self.group_name = credentials.get("resource_group") or "flaas"
        self.subscription = f"/subscriptions/{self.subscription_id}"
        self.group = f"{self.subscription}/resourceGroups/{self.group_name}"
        self.wait: Callable[[float], None] = time.sleep

    def errors(self, doing: str, permission: str = "") -> AbstractContextManager[None]:
        """Turn failures within into the driver protocol's errors; see `azure_errors.translated`."""
        return translated(doing, permission, self._credentials["client_secret"])

    def transport(self) -> dict[str, Any]:
        """Return what every pipeline of the SDK is made with: trust, and how long to wait."""
        return {
            "connection_verify": self.endpoint.ca or True,
            "connection_timeout": _CONNECT_SECONDS,
            "read_timeout": _READ_SECONDS,
        }

    @cached_property
    def credential(self) -> Any:
        """The application's sign-in; tokens are kept in memory only."""
        from azure.identity import ClientSecretCredential

        elsewhere: dict[str, Any] = {}
        if self.endpoint.base:
            elsewhere = {"authority": self.endpoint.base, "disable_instance_discovery": True}
        return ClientSecretCredential(
            self._credentials["tenant_id"],
            self._credentials["client_id"],
            self._credentials["client_secret"],
            retry_total=0,
            raw_response_hook=_not_refused_but_failed,
            **elsewhere,
            **self.transport(),
        )

    @cached_property
    def compute(self) -> Any:
        """Client of azure-mgmt-compute; its pipeline serves the plain REST too."""
        from azure.mgmt.compute import ComputeManagementClient

        return ComputeManagementClient(self.credential, self.subscription_id, **self._client_options())

    @cached_property
    def costs(self) -> Any:
        """Client of azure-mgmt-costmanagement."""
        from azure.mgmt.costmanagement import CostManagementClient

        return CostManagementClient(self.credential, **self._client_options())

    def public_client(self, base: str) -> Any:
        """Return a pipeline that sends no credentials."""
        from azure.core import PipelineClient

        return PipelineClient(base, policies=[reads_only()], **self.transport())

    def _client_options(self) -> dict[str, Any]:
        return {
            "base_url": self.base,
            "credential_scopes": [SCOPE],
            "polling_interval": POLL_SECONDS,
            "retry_policy": reads_only(),
            **self.transport(),
        }

    def close(self) -> None:
        """Close connections; they are opened anew when needed."""
        for name in ("credential", "compute", "costs"):
            client = self.__dict__.pop(name, None)
            if client is not None:
                client.close()

    def call(self, method: str, path: str, version: str, body: object = None) -> Any:
        """Send one request and return the JSON of its answer, after waiting for what it started; None if not found.

        `path` is relative; an absolute one must lead to the same server, since credentials go there.
        """
        from azure.core.rest import HttpRequest

        url = path if "api-version=" in path else f"{path}?api-version={version}"
        response = self._send(HttpRequest(method, url, json=body))
        if response.status_code == 404 and method in ("GET", "DELETE"):
            code = refusal(response).code
            if code not in ("SubscriptionNotFound", "InvalidSubscriptionId"):
                return None
        response.raise_for_status()
        self._until_done(response, f"{method} {path.split('?')[0]}")
        return json.loads(response.text()) if response.content else {}

    def listed(self, path: str, version: str) -> Iterator[dict[str, Any]]:
        """Yield the items of a list, page by page; nothing if it does not exist."""
        while path:
            page = self.call("GET", path, version)
            if page is None:
                return
            if not isinstance(page, dict) or not isinstance(page.get("value"), list):
                raise CloudUnreachable("Azure answered with half a list.", hint="Try again.")
            yield from page["value"]
            path = page.get("nextLink") or ""

    def ours(self, url: str) -> str:
        """Return `url` if credentials may be sent there."""
        if url.startswith("/") or urlsplit(url)[:2] == urlsplit(self.base)[:2]:
            return url
        raise CloudUnreachable(
            f"Azure pointed to {urlsplit(url).netloc!r}, which is not {urlsplit(self.base).netloc!r}.",
            hint="Credentials are not sent to another server. Check FLAAS_AZURE_ENDPOINT.",
        )

    def _send(self, request: Any) -> Any:
        request.url = self.ours(request.url)
        return self.compute.send_request(request)

    def _until_done(self, response: Any, doing: str) -> None:
        """Wait for an operation that goes on after its answer.

        https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations
        """
        from azure.core.rest import HttpRequest

        where = response.headers.get("Azure-AsyncOperation")
        waited = 0.0
        while where:
            polled = self._send(HttpRequest("GET", where))
            polled.raise_for_status()
            status = str(json.loads(polled.text()).get("status", ""))
            if status == "Succeeded":
                return
            if status in ("Failed", "Canceled"):
                raise of_refusal(refusal(polled), doing)
            pause = retry_after(polled.headers)
            pause = POLL_SECONDS if pause is None else pause
            waited += max(pause, 0.01)
            if waited > POLL_LIMIT:
                raise CloudUnreachable(f"{doing}: Azure is not done after {POLL_LIMIT:g} s.", hint="Try again later.")
            self.wait(pause)


def _not_refused_but_failed(answer: Any) -> None:
    """Stop at a sign-in that failed: the SDK would report it as if the credentials were wrong."""
    from azure.core.exceptions import HttpResponseError

    if answer.http_response.status_code == 429 or answer.http_response.status_code >= 500:
        raise HttpResponseError(response=answer.http_response)


def reads_only() -> Any:
    """Return a retry policy: a read that failed is tried twice more, nothing that changes something ever.

    The SDK's own policy repeats POST and waits as long as the server likes. Here whoever called decides about that.
    """
    from azure.core.pipeline.policies import RetryPolicy

    class ReadsOnly(RetryPolicy):  # type: ignore[misc, unused-ignore]
        def is_retry(self, settings: Any, response: Any) -> bool:
            reads = response.http_request.method == "GET"
            return bool(settings["total"] and reads and response.http_response.status_code in (500, 502, 503, 504))

        def _is_method_retryable(self, settings: Any, request: Any, response: Any = None) -> bool:
            return bool(request.method == "GET")

    return ReadsOnly(retry_total=2, retry_backoff_factor=0.1, retry_backoff_max=2)
