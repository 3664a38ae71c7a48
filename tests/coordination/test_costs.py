"""Bills over the interface: who sees what, bill beside estimate, budgets, files in and out."""

from __future__ import annotations

import csv
import io
import json
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import select, text

from flaas_jupyter.coordination.tables import CostRollup
from flaas_jupyter.costs.billing import charges, files, focus, rollup

from .clouds import cloud, estimate

__all__ = ["cloud", "estimate"]

SUMMARY = "/v1/costs/summary?from=2026-08-01&to=2026-09-01"
WHEN = "2026-09-02T00:00:00Z"
FORM = {
    "BilledCost": "1.5", "BillingAccountId": "123", "BillingAccountName": None, "BillingCurrency": "USD",
    "BillingPeriodEnd": "2026-09-01T00:00:00Z", "BillingPeriodStart": "2026-08-01T00:00:00Z",
    "ChargeCategory": "Usage", "ChargeClass": None, "ChargeDescription": "m7i.large",
    "ChargePeriodEnd": "2026-08-04T00:00:00Z", "ChargePeriodStart": "2026-08-03T00:00:00Z", "ContractedCost": None,
    "EffectiveCost": "1.25", "InvoiceIssuerName": "AWS", "ListCost": "2", "PricingQuantity": "24",
    "PricingUnit": "Hours", "ProviderName": "AWS", "PublisherName": "AWS", "ServiceCategory": "Compute",
    "ServiceName": "Amazon EC2", "RegionId": "eu-central-1", "ResourceId": "i-1",
    "Tags": {"flaas-project": "credit", "flaas-node": "north"},
}  # fmt: skip


def row(resource: str = "i-1", billed: object = "1.5", **changes):
    return {**FORM, "ResourceId": resource, "BilledCost": billed, **changes}


def bill(*rows, delivered: str = WHEN, name: str = "bill.csv"):
    return {"name": name, "delivered": delivered, "rows": list(rows)}


def imported(caller, *rows, **changes):
    answer = caller.post("/v1/costs/imports", bill(*rows, **changes))
    return answer["accepted"], answer["replaced"], answer["ignored"]


@pytest.fixture
def controller(federation, estimate):
    return federation.person("cost-manager", "north")


def billed(caller, query: str = "") -> dict[tuple[str, str], float]:
    return {(each["key"], each["currency"]): each["billed"] for each in caller.get(SUMMARY + query)["billed"]}


def test_a_bill_sent_twice_or_late_counts_once_and_a_correction_replaces(controller):
    assert imported(controller, row("a", "1"), row("b", "2")) == (2, 0, 0)
    assert imported(controller, row("b", "2"), row("c", "4"), name="overlapping.csv") == (1, 0, 1)
    assert imported(controller, row("a", "8"), delivered="2026-09-03T00:00:00Z") == (1, 1, 0)
    assert imported(controller, row("a", "1")) == (0, 0, 1)
    assert billed(controller) == {("credit", "USD"): 14.0}


def test_bills_by_every_key_with_currencies_apart(controller):
    imported(
        controller,
        row("a", "1"),
        row("b", "2", BillingCurrency="EUR"),
        row("c", "4", ProviderName="Microsoft", ServiceName="Storage", Tags=None),
        row("d", "8", ChargePeriodStart="2026-08-05T00:00:00Z", ChargePeriodEnd="2026-08-06T00:00:00Z",
            Tags={"flaas-project": "credit", "flaas-node": "south"}),
    )  # fmt: skip
    assert billed(controller) == {("credit", "USD"): 9.0, ("credit", "EUR"): 2.0, ("", "USD"): 4.0}
    assert billed(controller, "&group=provider") == {("aws", "USD"): 9.0, ("aws", "EUR"): 2.0, ("azure", "USD"): 4.0}
    assert billed(controller, "&group=service") == {
        ("Amazon EC2", "USD"): 9.0, ("Amazon EC2", "EUR"): 2.0, ("Storage", "USD"): 4.0,
    }  # fmt: skip
    assert billed(controller, "&group=node&project=credit") == {
        ("north", "USD"): 1.0, ("north", "EUR"): 2.0, ("south", "USD"): 8.0,
    }  # fmt: skip
    assert billed(controller, "&group=day&provider=aws") == {
        ("2026-08-03", "USD"): 1.0, ("2026-08-03", "EUR"): 2.0, ("2026-08-05", "USD"): 8.0,
    }  # fmt: skip
    summary = controller.get(SUMMARY)
    assert summary["currencies"] == ["EUR", "USD"]
    assert summary["without_project"] == [{"currency": "USD", "billed": 4.0}]
    assert {(each["day"], each["key"], each["currency"]): each["billed"] for each in summary["days"]} == {
        ("2026-08-03", "credit", "USD"): 1.0, ("2026-08-03", "credit", "EUR"): 2.0, ("2026-08-03", "", "USD"): 4.0,
        ("2026-08-05", "credit", "USD"): 8.0,
    }  # fmt: skip
    (source,) = summary["sources"]
    assert (source["title"], source["complete_until"]) == ("Files: bill.csv", "2026-08-05")


def test_many_keys_are_told_whole_and_by_day_the_largest(controller):
    rows = [row(str(n), str(n + 1), Tags={"flaas-project": f"p{n}"}) for n in range(40)]
    imported(controller, *rows)
    summary = controller.get(SUMMARY)
    assert len(summary["billed"]) == 40
    days = {each["key"]: each["billed"] for each in summary["days"]}
    assert len(days) == 31
    assert days["(others)"] == sum(range(1, 11))


def test_another_organisations_bill_is_its_own(federation, controller):
    south = federation.person("cost-manager", "south")
    imported(controller, row("a", "1"))
    imported(south, row("a", "100"), row("x", "7", Tags={"flaas-project": "other"}))
    assert billed(controller) == {("credit", "USD"): 1.0}
    assert billed(south) == {("credit", "USD"): 100.0, ("other", "USD"): 7.0}
    known = {each["key"]: each["known"] for each in south.get(SUMMARY)["billed"]}
    assert known == {"credit": True, "other": False}, "south is not in the project that somebody tagged"
    assert billed(federation.admin)["credit", "USD"] == 101.0
    assert billed(federation.person("viewer", "west")) == {}


def test_who_may_do_what(federation, controller):
    node = federation.node("north")
    for path in (SUMMARY, "/v1/costs/export", "/v1/projects/credit/budget"):
        assert node.api.refused("GET", path) == (403, "not-allowed")
        assert federation.nobody.refused("GET", path) == (401, "not-authenticated")
        assert federation.person("viewer", "north").call("GET", path).status_code == 200
    for role in ("viewer", "developer"):
        person = federation.person(role, "north")
        assert person.refused("POST", "/v1/costs/imports", bill(row())) == (403, "not-allowed")
        assert person.refused("PUT", "/v1/projects/credit/budget", {"budget_usd": 5}) == (403, "not-allowed")
    stranger = federation.person("cost-manager", "elsewhere")
    assert stranger.refused("GET", "/v1/projects/credit/budget") == (404, "unknown-project")
    assert stranger.refused("PUT", "/v1/projects/credit/budget", {"budget_usd": 5}) == (404, "unknown-project")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"BilledCost": "NaN"}, "/rows/1/BilledCost"),
        ({"BilledCost": {"$gt": 0}}, "/rows/1/BilledCost"),
        ({"BillingCurrency": "XXX"}, "/rows/1/BillingCurrency"),
        ({"ChargeCategory": "Gift"}, "/rows/1/ChargeCategory"),
        ({"ChargePeriodStart": "soon"}, "/rows/1/ChargePeriodStart"),
        ({"Tags": [["a"]]}, "/rows/1/Tags"),
        ({"Tags": "not json"}, "/rows/1/Tags"),
    ],
)
def test_rows_that_are_not_focus_are_named_and_nothing_is_kept(controller, changes, where):
    problem = controller.problem("POST", "/v1/costs/imports", bill(row("a"), row("b", **changes)))
    assert (problem["status"], problem["code"]) == (422, "bad-bill")
    assert [each["pointer"] for each in problem["errors"]] == [where]
    assert billed(controller) == {}


@pytest.mark.parametrize(
    "body",
    [
        {}, {"rows": []}, bill(), bill({}), bill("row"), {**bill(row()), "delivered": "today"},
        {**bill(row()), "delivered": "2026-09-01T00:00:00"}, {**bill(row()), "delivered": "2999-01-01T00:00:00Z"},
        {**bill(row()), "organisation": "south"}, bill({"BilledCost": 1}),
    ],
)  # fmt: skip
def test_garbage_is_refused(controller, body):
    assert controller.refused("POST", "/v1/costs/imports", body)[0] == 422


@pytest.mark.parametrize(
    "query",
    ["from=2026-09-01&to=2026-08-01", "from=1&to=2", "from=2000-01-01&to=2026-01-01", "group=colour", "project=%00",
     "from=2026-13-01", "to=0001-01-01"],
)  # fmt: skip
def test_windows_and_groups_that_are_none_are_refused(controller, query):
    assert controller.refused("GET", f"/v1/costs/summary?{query}")[0] == 422


def test_the_estimate_stands_beside_the_bill_and_the_difference_is_explained(controller, estimate):
    imported(
        controller,
        row("a", "10", ListCost="10"),
        row("b", "5", ListCost="5", Tags={"flaas-project": "credit"}),
        row("c", "3", ListCost="4.5", ProviderName="Google Cloud"),
        row("d", "2", BillingCurrency="EUR", ProviderName="Oracle"),
    )
    entry = {"project": "credit", "node": "north", "service": "Compute"}
    estimate += [
        {**entry, "day": date(2026, 8, 3), "provider": "aws", "usd": Decimal("10")},
        {**entry, "day": date(2026, 8, 7), "provider": "aws", "usd": Decimal("2.5")},
        {**entry, "day": date(2026, 8, 3), "provider": "gcp", "usd": Decimal("4.5")},
        {**entry, "day": date(2026, 8, 3), "provider": "azure", "usd": Decimal("1")},
    ]
    summary = controller.get(SUMMARY + "&group=provider")
    assert {each["key"]: each["usd"] for each in summary["estimated"]} == {"aws": 12.5, "azure": 1.0, "gcp": 4.5}
    told = {each["key"]: each for each in summary["comparison"]}
    assert (told["aws"]["billed"], told["aws"]["estimated"], told["aws"]["difference"]) == (15.0, 12.5, 2.5)
    assert "complete up to 2026-08-03; 2.50 USD of the estimate" in told["aws"]["explanation"]
    assert "5.00 USD of the bill carries no node's tag" in told["aws"]["explanation"]
    assert "1.50 USD off list prices" in told["gcp"]["explanation"]
    assert (told["azure"]["billed"], told["azure"]["difference"]) == (0.0, -1.0)
    assert "Nothing was billed" in told["azure"]["explanation"]
    assert (told["Oracle"]["difference"], told["Oracle"]["estimated"]) == (None, None)
    assert "EUR" in told["Oracle"]["explanation"]
    totals = {each["billed"] for each in summary["billed"]}
    assert totals == {15.0, 3.0, 2.0}, "the estimate is never added"


def test_a_budget_warns_then_is_exceeded_by_bill_or_estimate(federation, controller, estimate):
    path = "/v1/projects/credit/budget"
    assert controller.get(path)["budget_usd"] is None
    controller.put(path, {"budget_usd": 100, "warn_at": 0.5})
    imported(controller, row("a", "40"), row("b", "1000", BillingCurrency="EUR"))
    found = controller.get(path)
    assert (found["spent_usd"], found["share"], found["state"]) == (40.0, 0.4, "ok")
    assert found["note"] == "1 rows in EUR are not counted."
    estimate.append({
        "day": date(2026, 8, 9), "project": "credit", "provider": "aws", "node": "n", "service": "Compute", "usd": 60,
    })  # fmt: skip
    (standing,) = controller.get(SUMMARY)["budgets"]
    assert (standing["project"], standing["spent_usd"], standing["state"]) == ("credit", 60.0, "warning")
    imported(controller, row("c", "60"))
    assert controller.get(path)["state"] == "exceeded"
    assert federation.person("cost-manager", "south").get(path)["budget_usd"] is None, "each has a budget of its own"
    stale = {"If-Match": '"read-long-ago"'}
    assert controller.refused("PUT", path, {"budget_usd": 1}, headers=stale) == (412, "stale-etag")
    controller.put(path, {"budget_usd": None})
    assert controller.get(SUMMARY)["budgets"] == []
    for wrong in (-1, "5", 1e13, True):
        assert controller.refused("PUT", path, {"budget_usd": wrong})[0] == 422


def test_an_export_holds_every_charge_and_no_formula(controller, federation):
    evil = '=HYPERLINK("http://evil","x")'
    rows = [row("a", "-2.5", ServiceName=evil), row("@b", "0.000000000001"), row("c", "3", Tags=None)]
    imported(controller, *rows)
    imported(federation.person("cost-manager", "south"), row("south", "1"))
    answer = controller.call("GET", "/v1/costs/export?from=2026-08-01&to=2026-09-01")
    assert answer.headers["Content-Type"].startswith("text/csv")
    found = list(csv.DictReader(io.StringIO(answer.text)))
    assert list(found[0]) == list(focus.COLUMNS)
    assert {(each["ResourceId"], each["BilledCost"]) for each in found} == {
        ("a", "-2.5"), ("'@b", "0.000000000001"), ("c", "3"),
    }  # fmt: skip
    assert {each["ServiceName"] for each in found} == {"'" + evil, "Amazon EC2"}


def test_what_is_exported_can_be_imported(controller, federation, tmp_path):
    rows = [row(f"i-{n}", f"{n}.001", ChargeDescription="x" * 300) for n in range(900)]
    for start in range(0, 900, 200):
        imported(controller, *rows[start : start + 200])
    path = tmp_path / "charges.csv"
    path.write_bytes(controller.call("GET", "/v1/costs/export?from=2026-08-01&to=2026-09-01").content)
    south = federation.person("cost-manager", "south")
    assert files.send(path, lambda body: south.post("/v1/costs/imports", body))["accepted"] == 900
    assert files.send(path, lambda body: south.post("/v1/costs/imports", body))["ignored"] == 900
    assert billed(south) == billed(controller)


def test_imports_from_several_sides_at_once_add_up(controller, api):
    from concurrent.futures import ThreadPoolExecutor

    random.seed(4)
    bodies = [bill(*(row(f"i-{n}", "1") for n in random.sample(range(60), 40))) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda body: controller.post("/v1/costs/imports", body), bodies))
    sent = {each["ResourceId"] for body in bodies for each in body["rows"]}
    assert billed(controller) == {("credit", "USD"): float(len(sent))}
    columns = CostRollup.__table__.columns
    with api.hosted.database.writing() as session:
        kept = sorted(session.execute(select(*columns)).all())
        rollup.rebuild(session, "north")
        assert kept == sorted(session.execute(select(*columns)).all())


def test_an_organisation_is_removed_with_its_bills(federation, controller, api):
    federation.admin.post("/v1/organisations", {"id": "gone", "name": "Gone"})
    gone = federation.person("cost-manager", "gone")
    imported(gone, row())
    user = "/v1/users/cost-manager.gone"
    federation.governor.call("DELETE", user, headers=federation.governor.matching(user))
    path = "/v1/organisations/gone"
    assert federation.admin.call("DELETE", path, headers=federation.admin.matching(path)).status_code == 204
    with api.hosted.database.reading() as session:
        assert session.execute(text("SELECT count(*) FROM charges")).scalar() == 0


def test_the_summary_of_the_last_days_is_the_default(controller):
    today = datetime.now(UTC).date()
    yesterday = f"{today - timedelta(days=1)}T00:00:00Z"
    imported(controller, row("a", "3", ChargePeriodStart=yesterday, ChargePeriodEnd=f"{today}T00:00:00Z"))
    summary = controller.get("/v1/costs/summary")
    assert [each["billed"] for each in summary["billed"]] == [3.0]
    assert len(json.dumps(summary)) < 5000


def test_an_account_that_is_both_fetched_and_imported_counts_once(controller, federation, api):
    days = [
        {"ChargePeriodStart": f"2026-08-0{day}T00:00:00Z", "ChargePeriodEnd": f"2026-08-0{day + 1}T00:00:00Z"}
        for day in (3, 4, 5)
    ]  # fmt: skip
    imported(
        controller,
        *(row(f"i-{n}", "1", SubAccountId="123", **day) for n, day in enumerate(days)),
        row("other", "10", SubAccountId="456"),
        row("elsewhere", "100", SubAccountId="123", ProviderName="Microsoft"),
    )
    assert controller.get(SUMMARY)["sources"][0]["problem"] is None
    told, _ = focus.check(row("i-0", "2", SubAccountId="123"))
    with api.hosted.database.writing() as session:  # a fetch that tells nothing of the fourth and fifth
        window = (date(2026, 8, 3), date(2026, 8, 6))
        charges.cover(session, "north", "account", window, [told], datetime.now(UTC))
    assert billed(controller) == {("credit", "USD"): 114.0}
    assert billed(controller, "&group=day") == {
        ("2026-08-03", "USD"): 112.0, ("2026-08-04", "USD"): 1.0, ("2026-08-05", "USD"): 1.0,
    }  # fmt: skip
    summary = controller.get(SUMMARY)
    assert sum(each["billed"] for each in summary["days"]) == 114.0
    (source,) = summary["sources"]
    assert "1 rows of aws account 123 from 2026-08-03 to 2026-08-03 are also fetched" in source["problem"]
    told_again = controller.call("GET", "/v1/costs/export?from=2026-08-01&to=2026-09-01").text
    assert sum(float(each["BilledCost"]) for each in csv.DictReader(io.StringIO(told_again))) == 114.0
    with api.hosted.database.writing() as session:
        charges.forget(session, "north", "account")
    assert billed(controller) == {("credit", "USD"): 113.0}, "the file's rows are still there"


def test_a_subscription_is_the_same_by_its_path_and_by_its_id(controller, api):
    name = "0A1B2C3D-0000-4000-8000-000000000000"
    azure = {"ProviderName": "Microsoft", "BillingAccountId": "/providers/Microsoft.Billing/billingAccounts/9"}
    imported(controller, row("a", "1", SubAccountId=name, **azure))
    told, _ = focus.check(row("a", "2", SubAccountId=f"/subscriptions/{name.lower()}", **azure))
    with api.hosted.database.writing() as session:
        charges.cover(session, "north", "acc", (date(2026, 8, 3), date(2026, 8, 4)), [told], datetime.now(UTC))
    assert billed(controller) == {("credit", "USD"): 2.0}


def test_without_launches_there_is_no_estimate(federation):
    summary = federation.person("viewer", "north").get(SUMMARY)
    assert (summary["estimated"], summary["billed"], summary["comparison"]) == ([], [], [])
