"""The demonstrator: from a template to a trained model on machines of each cloud, and to the bill for it.

The clouds are the laboratory's, reached over HTTPS by the clouds' own SDKs; the API, the machines' nodes, the secure
aggregation and the training are real.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flaas_jupyter.connected import Session

from .cloud import CloudFederation, cents
from .conftest import Fit, linear_model

NAMES = ["bank-a", "bank-b", "bank-c"]
HOURS = 6.0
WAIT = 120.0


@pytest.fixture
def federation(tmp_path):
    with CloudFederation.running(tmp_path) as federation:
        yield federation


def fetched(controller: Session, account: str) -> dict[str, Any]:
    """Have the bill fetched, and wait until it is."""
    controller.send("POST", f"/v1/costs/accounts/{account}/fetch", {"force": True})
    until(lambda: controller.get(f"/v1/costs/accounts/{account}")["fetch"]["state"] != "running")
    found: dict[str, Any] = controller.get(f"/v1/costs/accounts/{account}")["fetch"]
    return found


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("cloud", ["aws", "azure", "gcp"])
def test_from_a_template_to_a_trained_model_and_its_bill(federation: CloudFederation, cloud: str):
    ledger = federation.ledger
    account = federation.enter_account(cloud)
    with federation.signed_in("cost-manager") as controller:
        controller.costs.set_budget("demo", 5.0)
    assert all(each["granted"] for each in account["permissions"]), account["permissions"]

    with federation.api.connect() as developer:
        pinned = [{"name": name, "provider": cloud} for name in NAMES]
        found = developer.costs.recommend("tabular-small", nodes=pinned, hours=HOURS)
        plan = found.plan()
        assert {node["provider"] for node in plan["nodes"]} == {cloud}
        launch = found.launch("demo", accept_usd=plan["total_usd"], datasets=federation.data_sets(NAMES))
        federation.api.approve_launches(0.3)
        federation.wait(launch, "ready")
        assert sorted(m.tags["flaas-node"] for m in ledger.running()) == NAMES
        prices = [float(m.usd_hour) for m in ledger.running()]
        assert prices == [node["usd_hour"] for node in plan["nodes"]], "billed at the price that was shown"
        secrets = list(federation.machines.folder.glob("*/etc/flaas/node.json"))
        assert len(secrets) == 3
        assert not any('"secret"' in path.read_text() for path in secrets), "the secret is gone once it was used"

        online(federation, developer)
        fit = Fit(federation.api, linear_model(secure=True), rounds=2, local_epochs=1, batch_size=60)
        loss = fit.done().history.history["loss"]
        assert len(loss) == 2
        assert loss[1] < loss[0]
        until(lambda: launch.refresh().answer["round"] == 2)
        assert launch.answer["run"] == developer.project("demo").runs["id"][0]

        federation.catch_up()
        launch.end()
        federation.wait(launch, "ended")
        assert ledger.running() == []
        assert federation.leftovers(cloud) == []
        assert len(ledger.machines) == 3
        assert developer.list("/v1/nodes", "nodes") == []

    with federation.signed_in("cost-manager") as controller:
        fetch = fetched(controller, account["id"])
        assert (fetch["state"], fetch["problem"]) == ("done", None)
        assert fetch["rows"] >= len(NAMES)
        today = datetime.now(UTC).date()
        window = today - timedelta(days=2), today + timedelta(days=1)
        owed = ledger.owed(*window)
        assert owed > 0
        summary = controller.costs.summary(*window)
        assert [(each["key"], each["currency"], cents(each["billed"])) for each in summary["billed"]] == [
            ("demo", "USD", owed)
        ]
        assert cents(sum(each["billed"] for each in summary["days"])) == owed
        # The estimate is a series of its own: what ran by the API's own clock at the price at launch.
        ((key, estimate),) = [(each["key"], each["usd"]) for each in summary["estimated"]]
        assert key == "demo"
        assert estimate == pytest.approx(float(owed), abs=0.01), "the cloud's machines ran as long as the API thought"
        assert sum(each["usd"] for each in summary["estimated_days"]) == pytest.approx(estimate)
        (budget,) = summary["budgets"]
        assert budget["spent_usd"] == pytest.approx(float(owed), abs=0.01), "the bill or the estimate, never both"
        ((beside),) = summary["comparison"]
        assert cents(beside["billed"]) == owed
        assert beside["estimated"] == estimate
        assert beside["difference"] == pytest.approx(beside["billed"] - beside["estimated"])
        assert beside["explanation"]
        by_node = controller.costs.summary(*window, group="node")["billed"]
        assert sorted(each["key"] for each in by_node) == NAMES
        assert cents(sum(each["billed"] for each in by_node)) == owed
        again = fetched(controller, account["id"])
        assert again["state"] == "done"
        assert controller.costs.summary(*window)["billed"] == summary["billed"], "twice is once"


def online(federation: CloudFederation, session: Session) -> None:
    """Wait until all machines offer their data."""

    def offered() -> bool:
        return sum(len(each["nodes"]) for each in session.list("/v1/projects/demo/datasets", "datasets")) == len(NAMES)

    until(offered, federation.machines.logs)


def until(condition: Callable[[], bool], logs: Callable[[], str] = str) -> None:
    """Wait for `condition`."""
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, logs()
        time.sleep(0.1)
