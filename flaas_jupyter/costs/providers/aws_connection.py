"""Clients of AWS's services for one account, which take nothing from the surroundings: no profile, no instance role."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ..driver import Endpoint
from .aws_errors import translated, unreachable

HOME_REGION: Final = "us-east-1"
"""Where prices and costs of all regions are asked for."""
_RENEW_BEFORE: Final = timedelta(minutes=5)


@functools.cache
def _loader() -> Any:
    """Return what reads the descriptions of AWS's services: that of EC2 is large, so it is read once per process."""
    import botocore.loaders

    return botocore.loaders.create_loader()


class Connection:
    """An account, its clients and its secrets.

    Parameters
    ----------
    credentials : mapping
        See `AwsDriver.fields`.
    endpoint : Endpoint
        One address for all services, or AWS's own.
    attempts : int
        How often a request is sent, over all.
    read_timeout : float
        Seconds.
    """

    def __init__(
        self, credentials: Mapping[str, str], endpoint: Endpoint, attempts: int = 3, read_timeout: float = 30
    ) -> None:
        self._given = {
            "aws_access_key_id": credentials.get("access_key_id") or "",
            "aws_secret_access_key": credentials.get("secret_access_key") or "",
            "aws_session_token": credentials.get("session_token") or None,
        }
        self._role = credentials.get("role_arn") or ""
        self._external = credentials.get("external_id") or ""
        self.region = credentials.get("region") or HOME_REGION
        self.image = credentials.get("image") or ""
        self._endpoint, self._attempts, self._read_timeout = endpoint, attempts, read_timeout
        self._lock = threading.RLock()
        self._session: Any = None
        self._clients: dict[tuple[str, str], Any] = {}
        self._assumed: dict[str, Any] = {}
        self._until: datetime | None = None
        self._secrets = {value for value in self._given.values() if value}
        self._account = ""
        self.billing_requests = 0

    @property
    def session(self) -> Any:
        """The `boto3.Session` of all clients; it reads neither profiles nor files."""
        with self._lock:
            if self._session is None:
                import boto3
                import botocore.session

                nowhere = (None, None, os.devnull, None)
                alone = {"profile": (None, None, None, None), "config_file": nowhere, "credentials_file": nowhere}
                core = botocore.session.Session(session_vars=alone)
                core.register_component("data_loader", _loader())
                self._session = boto3.Session(botocore_session=core)
            return self._session

    def client(self, service: str, region: str = "") -> Any:
        """Return the client of a service in a region (the account's own if none is named); signs in if need be."""
        with self._lock:
            keys = self._keys()
            place = (service, region or self.region)
            if place not in self._clients:
                self._clients[place] = self._make(*place, keys)
            return self._clients[place]

    def _make(self, service: str, region: str, keys: Mapping[str, Any]) -> Any:
        from botocore.config import Config

        # each request to Cost Explorer is charged, a repeated one too
        attempts = 1 if service == "ce" else self._attempts
        config = Config(
            connect_timeout=5,
            read_timeout=self._read_timeout,
            retries={"mode": "standard", "total_max_attempts": attempts},
            ignore_configured_endpoint_urls=True,
        )
        with self.errors("connecting", service):
            made = self.session.client(
                service,
                region_name=region,
                endpoint_url=self._endpoint.base,
                verify=self._endpoint.ca or None,
                config=config,
                **keys,
            )
        if service == "ce":
            made.meta.events.register("before-send.cost-explorer", self._count)
        return made

    def _count(self, **_: Any) -> None:
        self.billing_requests += 1

    def _keys(self) -> Mapping[str, Any]:
        """Return the keys to sign with: those given, or those of the role, which are renewed before they expire."""
        if not self._role:
            return self._given
        if self._until is None or datetime.now(UTC) >= self._until - _RENEW_BEFORE:
            self._clients.clear()
            wanted = {"RoleArn": self._role, "RoleSessionName": "flaas"}
            if self._external:
                wanted["ExternalId"] = self._external
            sts = self._make("sts", self.region, self._given)
            with self.errors("assuming the role", "sts:AssumeRole"):
                answer = needed(sts.assume_role(**wanted), "Credentials", "assuming the role")
            self._assumed = {
                "aws_access_key_id": answer["AccessKeyId"],
                "aws_secret_access_key": answer["SecretAccessKey"],
                "aws_session_token": answer["SessionToken"],
            }
            self._until = answer["Expiration"]
            self._secrets |= set(self._assumed.values())
        return self._assumed

    def errors(self, doing: str, permission: str) -> AbstractContextManager[None]:
        """Turn failures within into the driver protocol's errors; see `aws_errors.translated`."""
        return translated(doing, permission, self.scrub)

    def scrub(self, text: str) -> str:
        """Take keys and tokens out of a text."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def call(self, service: str, operation: str, doing: str, region: str = "", **parameters: Any) -> Mapping[str, Any]:
        """Call an operation, such as ``run_instances``, and return its answer."""
        client = self.client(service, region)
        with self.errors(doing, action(client, service, operation)):
            answer: Mapping[str, Any] = getattr(client, operation)(**parameters)
        return answer

    def pages(
        self, service: str, operation: str, result: str, doing: str, region: str = "", **parameters: Any
    ) -> Iterator[Any]:
        """Yield what `result` lists, of all pages."""
        client = self.client(service, region)
        with self.errors(doing, action(client, service, operation)):
            for page in client.get_paginator(operation).paginate(**parameters):
                yield from needed(page, result, doing)

    def account(self) -> str:
        """Return the account's number."""
        if not self._account:
            self._account = str(needed(self.identity(), "Account", "signing in"))
        return self._account

    def identity(self) -> Mapping[str, Any]:
        """Return whom AWS takes the credentials for; everybody may ask that."""
        return self.call("sts", "get_caller_identity", "signing in")


def action(client: Any, service: str, operation: str) -> str:
    """Return the name that policies use for an operation, ``ec2:RunInstances`` for ``run_instances``."""
    return f"{service}:{client.meta.method_to_api_mapping[operation]}"


def needed(answer: Mapping[str, Any], key: str, doing: str) -> Any:
    """Return a part that a whole answer always has.

    botocore reads half a JSON document as an answer without content.
    """
    if key not in answer:
        raise unreachable(doing, f"half an answer, without {key}")
    return answer[key]
