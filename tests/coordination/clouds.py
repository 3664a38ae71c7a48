"""A cloud for tests of the interface: it signs in, bills and fails as it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, ClassVar

import pytest

from flaas_jupyter.costs import providers
from flaas_jupyter.costs.driver import CredentialField, CredentialsRefused, Endpoint, Identity, PermissionCheck
from flaas_jupyter.costs.launch import usage

SECRET = "the-secret-of-the-cloud"
_PURPOSES = {"ce:GetCostAndUsage": "costs", "pricing:GetProducts": "prices", "ec2:RunInstances": "launch"}


@dataclass
class Cloud:
    """What the cloud knows: permissions by account, and what it does when it is asked for costs."""

    refused: set[str] = field(default_factory=set)
    rows: list[dict[str, Any]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    asked: list[tuple[date, date]] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.open.set()

    def drive(self) -> type:
        """Return the driver of this cloud."""
        cloud = self

        class Driver:
            name: ClassVar[str] = "aws"
            title: ClassVar[str] = "Amazon Web Services"
            fields: ClassVar = (
                CredentialField("account", "Account", help="12 digits"),
                CredentialField("key", "Secret key", secret=True),
            )

            def __init__(self, credentials: Mapping[str, str], endpoint: Endpoint | None = None) -> None:
                self._credentials = credentials

            def whoami(self) -> Identity:
                if self._credentials["key"] != SECRET:
                    raise CredentialsRefused("AWS does not know these credentials.", hint="Make new ones.")
                tried = tuple(
                    PermissionCheck(name, name not in cloud.refused, purpose)  # type: ignore[arg-type]
                    for name, purpose in _PURPOSES.items()
                )
                return Identity(self._credentials["account"], "user/flaas", tried, "USD")

            def costs(self, start: date, end: date) -> Iterator[dict[str, Any]]:
                cloud.asked.append((start, end))
                assert cloud.open.wait(20)
                if cloud.failures:
                    raise cloud.failures.pop(0)
                yield from (row for row in cloud.rows if start <= row["ChargePeriodStart"].date() < end)

        return Driver


def told(day: datetime, billed: str, **changes: Any) -> dict[str, Any]:
    """Return a row as a cloud's interface tells it."""
    return {
        "ProviderName": "AWS",
        "BillingAccountId": "111122223333",
        "ChargePeriodStart": day,
        "ChargePeriodEnd": day.replace(hour=23),
        "ServiceName": "Amazon EC2",
        "ServiceCategory": "Compute",
        "ChargeCategory": "Usage",
        "BilledCost": Decimal(billed),
        "BillingCurrency": "USD",
        "Tags": {"flaas-project": "credit", "flaas-node": "north"},
        **changes,
    }


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Cloud]:
    """The only cloud there is, and a home of the test's own for the secret key."""
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path / "home"))
    found = Cloud()
    driver = found.drive()
    known = providers.driver_class
    monkeypatch.setattr(providers, "names", lambda: ("aws",))
    monkeypatch.setattr(providers, "driver_class", lambda name: driver if name == "aws" else known(name))
    yield found
    found.open.set()


@pytest.fixture
def estimate(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is estimated, by day; of every organisation, unless an entry names one."""
    entries: list[dict[str, Any]] = []

    def daily(session: Any, organisation: str | None, start: date, end: date, **_: Any) -> list[dict[str, Any]]:
        whose = [each for each in entries if organisation in (None, each.get("organisation", organisation))]
        return [each for each in whose if start <= each["day"] < end]

    monkeypatch.setattr(usage, "daily", daily)
    return entries
