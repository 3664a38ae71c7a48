"""Bills of AWS, Azure and Google Cloud from end to end: drivers over HTTPS, the fetcher, the table, the summary."""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

import pytest
from cloudlab import aws, azure, gcp
from cloudlab.ledger import Ledger
from cloudlab.server import CloudLab
from sqlalchemy import select

from flaas_jupyter.coordination.tables import Charge, CostRollup

from .hosted_api import WAIT

PATH = "/v1/costs/accounts"
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
BEGIN = TODAY - timedelta(days=9)
MINE = {"aws": aws.ACCOUNT, "azure": azure.SUBSCRIPTION, "gcp": gcp.PROJECT}
MACHINES = {
    "aws": ("eu-central-1", "m5.large", "0.1153"),
    "azure": ("germanywestcentral", "Standard_D2s_v5", "0.1197"),
    "gcp": ("europe-west3", "n2-standard-2", "0.1251"),
}
AZURE_ID = "/subscriptions/{account}/resourceGroups/flaas/providers/Microsoft.Compute/virtualMachines/{name}"
CLOUDS = tuple(MACHINES)


def cents(amount: Decimal | float) -> Decimal:
    return Decimal(str(amount)).quantize(Decimal("0.01"), ROUND_HALF_UP)


class Bills:
    """The laboratory's clouds, and the API with their accounts entered."""

    def __init__(self, lab: CloudLab, controller, api) -> None:
        self.ledger, self.controller, self._lab, self._api = lab.ledger, controller, lab, api

    def enter(self, cloud: str) -> str:
        """Enter the account that has the laboratory's machines."""
        body = {"provider": cloud, "title": cloud, "credentials": self._lab.credentials(cloud)}
        return self.controller.post(PATH, body)["id"]

    def launch(self, cloud: str, project: str, name: str, account: str | None = None) -> None:
        """Put a machine into the ledger, without a tag if `project` is empty."""
        region, kind, _ = MACHINES[cloud]
        account = account or MINE[cloud]
        ids = {"aws": f"i-{name}", "azure": AZURE_ID.format(account=account, name=name), "gcp": f"{region}-a/{name}"}
        tags = {"flaas-project": project, "flaas-node": name} if project else {"team": "theirs"}
        self.ledger.launch(
            cloud, account, region, kind, "on_demand", id=ids[cloud], tags=tags, user_data="", token=f"{account}{name}"
        )

    def fetch(self, account: str, first: int = -1, after: int = 11) -> int:
        """Have days of the bill fetched, counted from `BEGIN`; return the rows."""
        window = [str((BEGIN + timedelta(days=days)).date()) for days in (first, after)]
        self.controller.post(f"{PATH}/{account}/fetch", {"from": window[0], "to": window[1], "force": True})
        give_up = time.monotonic() + WAIT
        while (fetch := self.controller.get(f"{PATH}/{account}")["fetch"])["state"] == "running":
            assert time.monotonic() < give_up
        assert (fetch["state"], fetch["problem"]) == ("done", None)
        return fetch["rows"]

    def owed(self, *clouds: str) -> dict[str, Decimal]:
        """What the ledger says, by project and to the cent."""
        sums: dict[str, Decimal] = defaultdict(Decimal)
        for cloud in clouds:
            for each in self.ledger.bill(cloud, MINE[cloud], BEGIN.date(), (TODAY + timedelta(days=2)).date()):
                sums[each.machine.tags.get("flaas-project", "")] += each.usd
        return {project: cents(usd) for project, usd in sums.items()}

    def summary(self, query: str = ""):
        first, after = (BEGIN - timedelta(days=1)).date(), (TODAY + timedelta(days=2)).date()
        return self.controller.get(f"/v1/costs/summary?from={first}&to={after}{query}")

    def billed(self, query: str = "") -> dict[str, Decimal]:
        """What the dashboard says, by key and to the cent."""
        found = self.summary(query)
        assert {each["currency"] for each in found["billed"]} <= {"USD"}
        return {each["key"]: cents(each["billed"]) for each in found["billed"]}

    def table(self) -> list[tuple]:
        """Everything that is stored, but for when it came."""
        kept = []
        with self._api.hosted.database.reading() as session:
            for kind in (Charge, CostRollup):
                columns = [column for column in kind.__table__.columns if column.name != "delivered"]
                kept += sorted((tuple(row) for row in session.execute(select(*columns))), key=repr)
        return kept


@pytest.fixture
def lab(tmp_path, monkeypatch):
    ledger = Ledger(BEGIN)
    for cloud, (region, kind, usd) in MACHINES.items():
        ledger.sell(cloud, region, kind, usd)
    running = CloudLab(tmp_path, ledger)
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path / "home"))
    for name, value in running.environment().items():
        monkeypatch.setenv(name, value)
    yield running
    running.stop()


@pytest.fixture
def bills(lab, federation, api):
    return Bills(lab, federation.person("cost-manager", "north"), api)


def a_week_of(bills: Bills, *clouds: str) -> None:
    """Two projects, an untagged machine, and somebody else's, over seven days with odd minutes."""
    ledger = bills.ledger
    for cloud in clouds:
        bills.launch(cloud, "credit", "north-1")
        bills.launch(cloud, "credit", "north-2")
        bills.launch(cloud, "", "theirs")
        bills.launch(cloud, "credit", "foreign", account="999988887777")
    ledger.advance(hours=31, minutes=7, seconds=13)
    for cloud in clouds:
        bills.launch(cloud, "fraud", "north-3")
    end(ledger, "north-2")
    ledger.advance(days=5, minutes=1)
    end(ledger, "north-3")
    ledger.advance(days=1, hours=2, seconds=1)


def end(ledger: Ledger, node: str) -> None:
    for machine in ledger.machines:
        if machine.tags.get("flaas-node") == node:
            ledger.end(machine)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_summary_is_what_the_cloud_bills_to_the_cent(bills, cloud):
    a_week_of(bills, cloud)
    account = bills.enter(cloud)
    rows = bills.fetch(account)
    assert rows > 15
    assert bills.billed() == bills.owed(cloud)
    assert set(bills.billed()) == {"credit", "fraud", ""}
    found = bills.summary()
    assert [cents(each["billed"]) for each in found["without_project"]] == [bills.owed(cloud)[""]]
    assert [(each["source"], each["problem"]) for each in found["sources"]] == [(account, None)]
    effective, listed = ({each["key"]: each[name] for each in found["billed"]} for name in ("effective", "list"))
    assert min(effective.values()) > 0
    assert min(listed.values()) > 0

    before = bills.table()
    assert bills.fetch(account) == rows
    bills.fetch(account, 0, 4)
    bills.fetch(account, 3, 8)
    assert bills.table() == before, "again and overlapping: the same table"

    bills.ledger.advance(days=1)
    bills.fetch(account, 6, 11)
    assert bills.billed() == bills.owed(cloud)
    assert bills.table() != before


def test_in_parts_and_in_any_order_it_is_the_same_bill(bills):
    a_week_of(bills, "aws")
    account = bills.enter("aws")
    for first, after in ((5, 11), (2, 6), (-1, 3)):
        bills.fetch(account, first, after)
    parts = bills.table()
    bills.fetch(account)
    assert bills.table() == parts
    assert bills.billed() == bills.owed("aws")


def test_all_clouds_on_one_dashboard(bills):
    a_week_of(bills, *CLOUDS)
    for cloud in CLOUDS:
        bills.fetch(bills.enter(cloud))
    assert bills.billed() == bills.owed(*CLOUDS)
    assert bills.billed("&group=provider") == {cloud: sum_of(bills, cloud) for cloud in CLOUDS}
    for cloud in CLOUDS:
        assert bills.billed(f"&provider={cloud}") == bills.owed(cloud)


def sum_of(bills: Bills, cloud: str) -> Decimal:
    """What one cloud bills in all, rounded once."""
    owed = bills.ledger.bill(cloud, MINE[cloud], BEGIN.date(), (TODAY + timedelta(days=2)).date())
    return cents(sum((each.usd for each in owed), Decimal(0)))


def test_another_organisation_sees_nothing_of_it(bills, federation):
    a_week_of(bills, "gcp")
    bills.fetch(bills.enter("gcp"))
    other = federation.person("cost-manager", "south")
    assert other.get("/v1/costs/summary")["billed"] == []
