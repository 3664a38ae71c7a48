"""A federation without nodes whose API launches in the cloud laboratory, where machines boot for real."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from cloudlab.ledger import Ledger
from cloudlab.machines import Machines
from cloudlab.server import CloudLab

import flaas_jupyter
from flaas_jupyter.connected import Session
from flaas_jupyter.connected_costs import Launch
from flaas_jupyter.demo.local import LocalFederation
from flaas_jupyter.home import Home

from .conftest import QUICK_API, rows

SNAPSHOT = Path(flaas_jupyter.__file__).parent / "costs" / "data" / "vms.csv"
QUICK_LAUNCHES = {
    "FLAAS_LAUNCH_TICK": "0.2",
    "FLAAS_LAUNCH_LOOK": "0.5",
    "FLAAS_LAUNCH_LEASE": "2",
    "FLAAS_LAUNCH_SETTLE": "1",
    "FLAAS_BILL_EVERY": "0",  # tests say when bills are fetched
}


def sell_snapshot(ledger: Ledger) -> int:
    """Sell every machine of the embedded catalog at its price; return how many there are."""
    with SNAPSHOT.open() as file:
        sold = [row for row in csv.DictReader(file) if row["price_usd_hour"] and float(row["price_usd_hour"]) > 0]
    for row in sold:
        ledger.sell(
            row["provider"], row["region"], row["instance_type"], row["price_usd_hour"], row["spot_usd_hour"] or None
        )
    return len(sold)


class CloudFederation:
    """Three clouds, one API process, people, and the data sets that machines fetch.

    The laboratory's clock starts `behind` the real one and stands still until `catch_up`.
    """

    def __init__(self, folder: Path, *, behind: timedelta = timedelta(hours=4), boots: bool = True) -> None:
        (folder / "files").mkdir()
        (folder / "machines").mkdir()
        self.files = folder / "files"
        self.ledger = Ledger(now=datetime.now(UTC) - behind)
        sell_snapshot(self.ledger)
        self.lab = CloudLab(folder, self.ledger, files=self.files)
        self.machines = Machines(folder / "machines", self.lab.ca)
        if boots:
            self.ledger.on_boot, self.ledger.on_end = self.machines.boot, self.machines.end
        self.api = LocalFederation(
            folder / "federation", api_options={**QUICK_API, **QUICK_LAUNCHES, **self.lab.environment()}
        )
        self._folder = folder

    @classmethod
    @contextlib.contextmanager
    def running(cls, folder: Path, **options: Any) -> Iterator[CloudFederation]:
        """Start it, and end everything of it."""
        federation = cls(folder, **options)
        try:
            federation.api.start({}, None)
            yield federation
        finally:
            federation.api.stop()
            federation.machines.stop()
            federation.lab.stop()

    def signed_in(self, role: str) -> Session:
        """Sign in as somebody with `role` in the laboratory."""
        token = self.api.token("laboratory", role)
        return flaas_jupyter.connect(self.api.url, token=token, home=Home(self._folder / role))

    def enter_account(self, cloud: str) -> dict[str, Any]:
        """Enter the laboratory's account at `cloud`, as the controller does."""
        with self.signed_in("cost-manager") as controller:
            body = {"provider": cloud, "title": f"Laboratory at {cloud}", "credentials": self.lab.credentials(cloud)}
            return controller.send("POST", "/v1/costs/accounts", body)

    def data_sets(self, names: list[str], count: int = 60) -> dict[str, dict[str, str]]:
        """Put a data set for each of `names` on the laboratory's file server; return them as a launch takes them."""
        for number, name in enumerate(names):
            rows(count, seed=number).to_csv(self.files / f"{name}.csv", index=False)
        return {
            name: {"name": "rows", "source": f"{self.lab.url('files')}/{name}.csv", "target": "label"} for name in names
        }

    def catch_up(self) -> None:
        """Move the laboratory's clock to where the real one is."""
        self.ledger.advance(seconds=(datetime.now(UTC) - self.ledger.now).total_seconds())

    def wait(self, launch: Launch, *states: str, timeout: float = 180.0) -> Launch:
        """Wait for a state of `launch`; where it does not come, the machines' logs say why."""
        try:
            return launch.wait(states, timeout=timeout)
        except flaas_jupyter.errors.FlaasError as error:
            raise AssertionError(f"{error}\n{launch.answer}\n{self.machines.logs()}") from error

    def leftovers(self, cloud: str) -> list[str]:
        """What of a cloud's machines still costs: disks, addresses, interfaces."""
        return LEFT[cloud](self.lab.url(cloud))


def _left_at_aws(base: str) -> list[str]:
    from cloudlab import aws

    return sorted(aws.cloud(base).volumes)


def _left_at_azure(base: str) -> list[str]:
    from cloudlab import azure

    kinds = ("/virtualmachines/", "/disks/", "/networkinterfaces/", "/publicipaddresses/")
    return sorted(key for key in azure.cloud(base).resources if any(kind in key for kind in kinds))


def _left_at_gcp(base: str) -> list[str]:
    from cloudlab import gcp

    return sorted("/".join(key) for key in gcp.cloud(base).disks)


LEFT: Mapping[str, Callable[[str], list[str]]] = {"aws": _left_at_aws, "azure": _left_at_azure, "gcp": _left_at_gcp}


def cents(usd: float | Decimal) -> Decimal:
    """Return an amount to the cent."""
    return Decimal(str(usd)).quantize(Decimal("0.01"))
