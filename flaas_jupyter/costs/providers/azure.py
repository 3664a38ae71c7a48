"""Azure: one application (service principal) in one subscription.

Its role is in ``docs/clouds/azure-role.json``; ``docs/clouds/azure.md`` says how to make both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Any, ClassVar, Final, Literal

from ...errors import FlaasError
from ..driver import (
    ChargeRow,
    CredentialField,
    CredentialsRefused,
    Endpoint,
    Identity,
    Machine,
    MachineOrder,
    PermissionCheck,
    PermissionMissing,
    PriceRow,
)
from . import azure_costs, azure_launch, azure_machines, azure_negotiated, azure_prices
from .azure_arm import AUTHORIZATION, SCOPE, SUBSCRIPTIONS, Arm

Purpose = Literal["costs", "prices", "launch"]

_WATCH: Final = ("read", "write", "delete")
NEEDED: Final[Mapping[str, Purpose]] = {
    azure_costs.ACTION: "costs",
    azure_prices.SKUS_ACTION: "prices",
    "Microsoft.Resources/subscriptions/resourceGroups/read": "launch",
    "Microsoft.Resources/subscriptions/resourceGroups/write": "launch",
    **{f"Microsoft.Compute/virtualMachines/{verb}": "launch" for verb in _WATCH},
    **{f"Microsoft.Compute/disks/{verb}": "launch" for verb in _WATCH},
    "Microsoft.Compute/locations/operations/read": "launch",
    **{f"Microsoft.Network/networkInterfaces/{verb}": "launch" for verb in (*_WATCH, "join/action")},
    **{f"Microsoft.Network/publicIPAddresses/{verb}": "launch" for verb in (*_WATCH, "join/action")},
    **{f"Microsoft.Network/networkSecurityGroups/{verb}": "launch" for verb in ("read", "write", "join/action")},
    **{f"Microsoft.Network/virtualNetworks/{verb}": "launch" for verb in ("read", "write", "subnets/join/action")},
    "Microsoft.Network/locations/operations/read": "launch",
}
"""Actions that the application's role must allow, and what for."""
SIGN_IN: Final = ("Microsoft.Resources/subscriptions/read", "Microsoft.Authorization/permissions/read")
"""Actions that `AzureDriver.whoami` needs to say what is missing."""


class AzureDriver:
    """See `flaas_jupyter.costs.driver.CloudDriver`.

    Parameters
    ----------
    credentials : mapping
        With the names in `fields`.
    endpoint : Endpoint
        Azure's public addresses if it has no base.
    """

    name: ClassVar[str] = "azure"
    title: ClassVar[str] = "Microsoft Azure"
    fields: ClassVar[Sequence[CredentialField]] = (
        CredentialField("tenant_id", "Directory (tenant) id", help="Entra ID, App registrations, Overview"),
        CredentialField("client_id", "Application (client) id", help="Entra ID, App registrations, Overview"),
        CredentialField(
            "client_secret", "Client secret", secret=True, help="the value, not the id; Certificates & secrets"
        ),
        CredentialField("subscription_id", "Subscription id", help="Subscriptions, Overview"),
        CredentialField(
            "resource_group", "Resource group", required=False, help="where machines are launched; flaas if left out"
        ),
        CredentialField(
            "billing_scope",
            "Billing scope",
            required=False,
            help="/providers/Microsoft.Billing/billingAccounts/…, for negotiated prices",
        ),
    )

    def __init__(self, credentials: Mapping[str, str], endpoint: Endpoint = Endpoint()) -> None:  # noqa: B008 (frozen)
        self.arm = Arm(credentials, endpoint)
        self._billing_scope = (credentials.get("billing_scope") or "").rstrip("/")
        self._client_id = credentials["client_id"]

    def whoami(self) -> Identity:
        """Sign in, look at the subscription, and compare the role's actions with what is needed."""
        arm = self.arm
        with arm.errors("signing in"):
            try:
                arm.credential.get_token(SCOPE)
            except ValueError as error:  # the SDK looks at the tenant id's form itself
                if isinstance(error, FlaasError):
                    raise
                raise CredentialsRefused(
                    "The tenant id cannot be one.", hint="Give the directory (tenant) id or its domain."
                ) from None
        title = arm.subscription_id
        try:
            with arm.errors("looking for the subscription", SIGN_IN[0]):
                found = arm.call("GET", arm.subscription, SUBSCRIPTIONS)
        except PermissionMissing:
            found = {}
        if found is None:
            raise CredentialsRefused(
                f"This application sees no subscription {title[:64]!r}.",
                hint="Check the subscription id and that the application has a role in it.",
            )
        permissions = [*self._granted(arm.subscription)]
        in_group = [*permissions, *self._granted(arm.group)]
        checks = tuple(
            PermissionCheck(action, _allowed(action, in_group if purpose == "launch" else permissions), purpose)
            for action, purpose in NEEDED.items()
        )
        return Identity(arm.subscription_id, self._client_id, checks)

    def _granted(self, scope: str) -> Iterator[Mapping[str, Any]]:
        """Yield the sets of actions and exceptions that hold at a scope; none if they may not be read."""
        path = f"{scope}/providers/Microsoft.Authorization/permissions"
        try:
            with self.arm.errors("reading permissions", SIGN_IN[1]):
                yield from self.arm.listed(path, AUTHORIZATION)
        except PermissionMissing:
            return

    def prices(self, regions: Sequence[str] = ()) -> Iterator[PriceRow]:
        """Yield list prices in USD for Linux; see `CloudDriver.prices`."""
        return azure_prices.prices(self.arm, regions)

    def negotiated(self, wanted: Iterable[PriceRow]) -> Iterator[PriceRow]:
        """Yield the account's own prices; see `azure_negotiated.negotiated`."""
        return azure_negotiated.negotiated(self.arm, self._billing_scope, wanted)

    def launch(self, order: MachineOrder) -> Machine:
        """Launch a machine; the same order again returns the same machine.

        Azure forgets a machine once it is deleted, so an order whose machine was terminated would make another.
        """
        return azure_launch.launch(self.arm, order)

    def describe(self, installation: str, regions: Sequence[str]) -> list[Machine]:
        """Return this installation's machines; those of which only parts are left are ``"terminated"``."""
        return azure_machines.describe(self.arm, installation, regions)

    def terminate(self, machine: Machine) -> None:
        """Delete a machine with its disk, network interface and address."""
        azure_machines.terminate(self.arm, machine)

    def costs(self, start: date, end: date) -> Iterator[ChargeRow]:
        """Yield billed charges in the billing currency; Azure shows them 8 to 24 hours late."""
        return azure_costs.costs(self.arm, self._billing_scope, start, end)


def _allowed(action: str, sets: Iterable[Mapping[str, Any]]) -> bool:
    """Whether one of the sets allows the action; exceptions take from their own set only, as Azure counts."""
    return any(
        any(_matches(pattern, action) for pattern in each.get("actions") or ())
        and not any(_matches(pattern, action) for pattern in each.get("notActions") or ())
        for each in sets
    )


def _matches(pattern: str, action: str) -> bool:
    wild = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(wild, action, re.IGNORECASE) is not None
