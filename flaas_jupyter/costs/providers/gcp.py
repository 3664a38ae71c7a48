"""Google Cloud: Compute Engine by REST, prices from the billing catalog, costs from the billing export."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, ClassVar, Final, Literal

from ...errors import InvalidInput
from ..driver import (
    ChargeRow,
    CredentialField,
    Endpoint,
    Identity,
    Machine,
    MachineOrder,
    PermissionCheck,
    PermissionMissing,
    PriceRow,
)
from . import gcp_costs
from .gcp_compute import ComputeEngine
from .gcp_connection import GcpConnection, NoSuchResource, ServiceAccount
from .gcp_machines import last_part
from .gcp_prices import HOURS_A_MONTH, SERVICE, MachineType, PriceList, contract_price, machine_types, row

Purpose = Literal["costs", "prices", "launch"]

PERMISSIONS: Final[Mapping[str, Purpose]] = {
    "compute.acceleratorTypes.list": "prices",
    "compute.machineTypes.list": "prices",
    "compute.disks.create": "launch",
    "compute.disks.delete": "launch",
    "compute.disks.list": "launch",
    "compute.disks.setLabels": "launch",
    "compute.globalOperations.get": "launch",
    "compute.instances.create": "launch",
    "compute.instances.delete": "launch",
    "compute.instances.get": "launch",
    "compute.instances.list": "launch",
    "compute.instances.setLabels": "launch",
    "compute.instances.setMetadata": "launch",
    "compute.networks.create": "launch",
    "compute.networks.get": "launch",
    "compute.subnetworks.use": "launch",
    "compute.subnetworks.useExternalIp": "launch",
    "compute.zoneOperations.get": "launch",
    "bigquery.jobs.create": "costs",
}
"""On the project: the custom role of docs/clouds/gcp-role.yaml."""
TABLE_PERMISSION: Final = "bigquery.tables.getData"
"""On the dataset of the billing export: docs/clouds/gcp-billing-role.yaml."""
ACCOUNT_PERMISSION: Final = "billing.billingAccountPrice.get"
"""On the billing account, for prices by contract."""

_BILLING_ACCOUNT = re.compile(r"[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}")


class GcpDriver:
    """One project at Google Cloud.

    Parameters
    ----------
    credentials : mapping of str to str
        See `fields`.
    endpoint : Endpoint
        Where all of Google's interfaces are reached, if not at their own addresses.

    Raises
    ------
    InvalidInput
        ``bad-credentials``, ``bad-billing-table``
    """

    name: ClassVar[str] = "gcp"
    title: ClassVar[str] = "Google Cloud"
    fields: ClassVar[Sequence[CredentialField]] = (
        CredentialField(
            "service_account_key",
            "Service account key",
            secret=True,
            help="the whole JSON file; IAM & Admin, Service accounts, Keys",
        ),
        CredentialField("project_id", "Project", required=False, help="its id; that of the key by default"),
        CredentialField(
            "billing_account",
            "Billing account",
            required=False,
            help="like 01AB23-45CD67-89EF01; for prices by contract and budgets",
        ),
        CredentialField(
            "billing_table",
            "Table of the billing export",
            required=False,
            help="project.dataset.gcp_billing_export_resource_v1_…; costs are read there",
        ),
    )

    def __init__(self, credentials: Mapping[str, str], endpoint: Endpoint = Endpoint()) -> None:  # noqa: B008
        self._billing_account = (credentials.get("billing_account") or "").removeprefix("billingAccounts/")
        if self._billing_account and not _BILLING_ACCOUNT.fullmatch(self._billing_account):
            raise InvalidInput(
                f"{self._billing_account[:40]!r} is no id of a billing account.",
                code="bad-credentials",
                hint="It has three groups of six digits and letters, like 01AB23-45CD67-89EF01.",
            )
        self._table = credentials.get("billing_table") or ""
        if self._table:
            gcp_costs.check_table(self._table)
        account = ServiceAccount.read(
            credentials.get("service_account_key") or "", credentials.get("project_id") or "", endpoint
        )
        self._cloud = GcpConnection(account, endpoint)
        self._project = account.project
        self._compute = ComputeEngine(self._cloud)

    # ---- who, and what it may do -----------------------------------------------------------------------------------

    def whoami(self) -> Identity:
        """Return the service account and what it may do; see `CloudDriver.whoami`.

        List prices need no permission of their own, but the Cloud Billing API switched on in the project.
        """
        self._cloud.sign_in()
        answer = self._cloud.ask(
            "POST",
            self._cloud.url("cloudresourcemanager", f"/v1/projects/{self._project}:testIamPermissions"),
            body={"permissions": [*PERMISSIONS, TABLE_PERMISSION]},
        )
        granted = set(answer.get("permissions") or ())
        checks = [PermissionCheck(name, name in granted, purpose) for name, purpose in PERMISSIONS.items()]
        may_read = gcp_costs.may_read(self._cloud, self._table) if self._table else TABLE_PERMISSION in granted
        checks.append(PermissionCheck(TABLE_PERMISSION, may_read, "costs"))
        if self._billing_account:
            checks.append(PermissionCheck(ACCOUNT_PERMISSION, self._may_see_contract(), "prices"))
        return Identity(self._project, self._cloud.account.email, tuple(checks))

    def _may_see_contract(self) -> bool:
        from google.api_core.exceptions import Forbidden, NotFound

        with self._cloud.translated():
            try:
                answer = self._billing("CloudBilling").test_iam_permissions(
                    resource=f"billingAccounts/{self._billing_account}",
                    permissions=[ACCOUNT_PERMISSION],
                    retry=None,
                    timeout=30,
                )
            except (Forbidden, NotFound):
                return False
            return ACCOUNT_PERMISSION in answer.permissions

    def billing_accounts(self) -> list[dict[str, str]]:
        """Return the billing accounts that the service account may see: ``id``, ``name``, ``open``."""
        with self._cloud.translated():
            found = list(self._billing("CloudBilling").list_billing_accounts(retry=None, timeout=30))
        return [
            {
                "id": each.name.removeprefix("billingAccounts/"),
                "name": each.display_name,
                "open": "yes" if each.open_ else "no",
            }
            for each in found
        ]

    def budgets(self) -> list[dict[str, Any]]:
        """Return the budgets of the billing account, as Google describes them."""
        self._require_billing_account("budgets")
        url = self._cloud.url("billingbudgets", f"/v1/billingAccounts/{self._billing_account}/budgets")
        return [budget for page in self._cloud.pages(url) for budget in page.get("budgets") or ()]

    def _billing(self, service: Literal["CloudBilling", "CloudCatalog"]) -> Any:
        """A client of google-cloud-billing that trusts the endpoint's certificates."""
        from google.cloud import billing_v1

        base, client = self._cloud.endpoint.base, getattr(billing_v1, f"{service}Client")
        # One token for all; the clients' own default is to sign each call with the key
        options = {"credentials": self._cloud.credentials, "always_use_jwt_access": False}
        transport = client.get_transport_class("rest")(**options, **({"host": base} if base else {}))
        self._cloud.trust(transport._session)
        self._cloud.trust(transport._session._auth_request.session)
        return client(transport=transport)

    # ---- prices ----------------------------------------------------------------------------------------------------

    def prices(self, regions: Sequence[str] = ()) -> Iterator[PriceRow]:
        """Yield list prices in USD; see `CloudDriver.prices`."""
        today, prices = datetime.now(UTC).date(), self._list_prices()
        for machine in self._machine_types(regions):
            found = row(machine, lambda market, machine=machine: prices.price(machine, market), today)  # type: ignore[misc]
            if found is not None:
                yield found

    def negotiated(self, wanted: Iterable[PriceRow]) -> Iterator[PriceRow]:
        """Yield prices by contract, with ``kind`` ``"negotiated"``; see `CloudDriver.negotiated`.

        Raises
        ------
        PermissionMissing
            The service account lacks ``billing.billingAccountPrice.get`` on the billing account.
        """
        self._require_billing_account("prices by contract")
        rows = {(str(each["region"]), str(each["instance_type"])) for each in wanted}
        prices, own = self._list_prices(), dict[str, tuple[Decimal, bool] | None]()
        today = datetime.now(UTC).date()
        for machine in self._machine_types(sorted({region for region, _ in rows})):
            if (machine.region, machine.name) not in rows:
                continue
            differs = False

            def price(market: str, machine: MachineType = machine) -> Decimal | None:
                nonlocal differs
                skus, total = prices.skus(machine, market), Decimal(0)
                for what, amount in machine.parts().items():
                    if what not in skus:
                        return None
                    if skus[what] not in own:
                        own[skus[what]] = self._contract_price(skus[what], monthly=what == "ssd")
                    usd, other = own[skus[what]] or (prices.usd[machine.region, market, what], False)
                    differs, total = differs or other, total + amount * usd
                return total

            found = row(machine, price, today, "Google Cloud Pricing API, price by contract")
            if found is not None and differs:
                yield {**found, "kind": "negotiated"}

    def _contract_price(self, sku: str, *, monthly: bool) -> tuple[Decimal, bool] | None:
        path = f"/v1beta/billingAccounts/{self._billing_account}/skus/{sku}/price"
        try:
            answer = self._cloud.ask("GET", self._cloud.url("cloudbilling", path), currencyCode="USD")
        except PermissionMissing as error:
            error.details["permission"] = error.details.get("permission") or ACCOUNT_PERMISSION
            raise
        except NoSuchResource:  # not sold to this account under a contract
            return None
        usd, differs = contract_price(answer)
        return (usd / HOURS_A_MONTH if monthly else usd), differs

    def _list_prices(self) -> PriceList:
        from google.cloud.billing_v1 import ListSkusRequest

        with self._cloud.translated():
            pager = self._billing("CloudCatalog").list_skus(
                request=ListSkusRequest(parent=SERVICE, currency_code="USD", page_size=5000), retry=None, timeout=60
            )
            return PriceList.read(pager)

    def _machine_types(self, regions: Sequence[str]) -> Iterator[MachineType]:
        zones: dict[str, set[str]] = defaultdict(set)
        for accelerator in self._compute.listed("acceleratorTypes"):
            zones[str(accelerator["name"])].add(last_part(accelerator["zone"]))
        for machine in machine_types(self._compute.listed("machineTypes"), zones):
            if not regions or machine.region in regions:
                yield machine

    def _require_billing_account(self, what: str) -> None:
        if not self._billing_account:
            raise InvalidInput(
                f"Google Cloud tells {what} for a billing account only, and none is given.",
                code="no-billing-account",
                hint="Give the field billing_account, like 01AB23-45CD67-89EF01.",
            )

    # ---- machines --------------------------------------------------------------------------------------------------

    def launch(self, order: MachineOrder) -> Machine:
        """Launch a machine in whichever zone has one left; see `CloudDriver.launch` and `ComputeEngine.launch`."""
        return self._compute.launch(order)

    def describe(self, installation: str, regions: Sequence[str]) -> list[Machine]:
        """Return this installation's machines; see `CloudDriver.describe` and `ComputeEngine.describe`."""
        return self._compute.describe(installation, regions)

    def terminate(self, machine: Machine) -> None:
        """Delete a machine and its disks; see `CloudDriver.terminate` and `ComputeEngine.terminate`."""
        self._compute.terminate(machine)

    # ---- costs -----------------------------------------------------------------------------------------------------

    def costs(self, start: date, end: date) -> Iterator[ChargeRow]:
        """Yield what the billing export says; see `CloudDriver.costs` and `gcp_costs.LATE`."""
        return gcp_costs.charges(self._cloud, self._table, start, end)
