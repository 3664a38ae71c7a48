"""Cloud accounts: tried out before they are kept, never shown again, fetched in the background."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text, update

from flaas_jupyter.coordination.services.accounts import BillFetcher
from flaas_jupyter.coordination.tables import Charge, CloudAccount
from flaas_jupyter.costs import accounts
from flaas_jupyter.costs.driver import PermissionMissing, Throttled
from flaas_jupyter.errors import Conflict

from .clouds import SECRET, Cloud, cloud, estimate, told
from .hosted_api import WAIT

__all__ = ["cloud", "estimate"]

PATH = "/v1/costs/accounts"
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
DAY = timedelta(days=1)


def body(account: str = "111122223333", key: str = SECRET, **changes):
    return {"provider": "aws", "title": "Our AWS", "credentials": {"account": account, "key": key}, **changes}


def until_fetched(caller, account: str):
    """Return the account once its fetch has ended."""
    give_up = time.monotonic() + WAIT
    while time.monotonic() < give_up:
        found = caller.get(f"{PATH}/{account}")
        if found["fetch"]["state"] in ("done", "failed"):
            return found
    raise AssertionError(found)


@pytest.fixture
def controller(federation, cloud, estimate):
    return federation.person("cost-manager", "north")


def test_the_providers_say_what_they_need(federation, cloud):
    (provider,) = federation.person("viewer", "north").embedded("/v1/costs/providers", "providers")
    assert provider["provider"] == "aws"
    assert [(each["name"], each["secret"]) for each in provider["fields"]] == [("account", False), ("key", True)]


def test_an_account_is_kept_sealed_and_never_shown(federation, controller, api):
    known = controller.post(PATH, body())
    assert known["identity"] == {"account": "111122223333", "principal": "user/flaas", "currency": "USD"}
    assert all(each["granted"] for each in known["permissions"])
    assert known["fetch"]["state"] == "never"
    for answer in (known, controller.get(f"{PATH}/{known['id']}"), controller.get(PATH)):
        assert SECRET not in str(answer)
    with api.hosted.database.reading() as session:
        stored = session.execute(text("SELECT * FROM cloud_accounts")).one()
        kept = session.execute(text("SELECT * FROM idempotency")).all()
        assert SECRET not in str(stored)
        assert SECRET not in str(kept)
        driver = accounts.open_driver(session, "north", known["id"])
        assert driver.whoami().account == "111122223333"


def test_wrong_credentials_are_refused_and_the_caller_stays_signed_in(federation, controller):
    problem = controller.problem("POST", PATH, body(key="wrong"))
    assert (problem["status"], problem["code"]) == (422, "cloud-credentials-refused")
    assert "wrong" not in str(problem)
    assert controller.embedded(PATH, "accounts") == []


def test_a_missing_permission_is_named(federation, controller, cloud):
    cloud.refused = {"ce:GetCostAndUsage"}
    known = controller.post(PATH, body())
    assert [each["permission"] for each in known["permissions"] if not each["granted"]] == ["ce:GetCostAndUsage"]
    cloud.refused |= {"pricing:GetProducts", "ec2:RunInstances"}
    problem = controller.problem("POST", PATH, body("444455556666"))
    assert (problem["status"], problem["code"]) == (422, "cloud-permission-missing")
    for name in cloud.refused:
        assert name in problem["detail"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"provider": "nimbus"}, "unknown-provider"),
        ({"credentials": {"account": "1"}}, "bad-credentials"),
        ({"credentials": {"account": "1", "key": SECRET, "url": "http://evil"}}, "bad-credentials"),
        ({"credentials": {"key\x00": SECRET}}, "invalid-input"),
        ({"credentials": [SECRET]}, "invalid-input"),
        ({"title": ""}, "invalid-input"),
        ({"more": 1}, "invalid-input"),
    ],
)
def test_what_is_not_acceptable_is_refused_without_quoting_secrets(controller, changes, code):
    problem = controller.problem("POST", PATH, body(**changes))
    assert problem["code"] == code
    assert SECRET not in str(problem)


def test_an_account_is_entered_once(controller, federation):
    controller.post(PATH, body())
    assert controller.refused("POST", PATH, body(title="Again")) == (409, "account-exists")
    federation.person("cost-manager", "south").post(PATH, body())  # of another organisation: its own affair


def test_a_repetition_with_the_same_key_enters_it_once(controller):
    first, second = (controller.post(PATH, body(), headers={"Idempotency-Key": "k"}) for _ in range(2))
    assert first == second
    assert len(controller.embedded(PATH, "accounts")) == 1


def test_others_find_nothing_and_viewers_change_nothing(federation, controller):
    known = controller.post(PATH, body())
    href = f"{PATH}/{known['id']}"
    changes = [
        ("POST", f"{href}/check", {}), ("POST", f"{href}/fetch", {}), ("PUT", f"{href}/overlays", {"overlays": []}),
        ("DELETE", href, None),
    ]  # fmt: skip
    for method, path, sent in [("GET", href, None), *changes]:
        assert federation.person("cost-manager", "south").refused(method, path, sent) == (404, "unknown-account")
    viewer = federation.person("viewer", "north")
    assert "delete" not in viewer.get(href)["_links"]
    for method, path, sent in [*changes, ("POST", PATH, body())]:
        assert viewer.refused(method, path, sent) == (403, "not-allowed")
        assert federation.person("developer", "north").refused(method, path, sent) == (403, "not-allowed")
        assert federation.nobody.refused(method, path, sent) == (401, "not-authenticated")
    node = federation.node("north")
    for path in (PATH, href, "/v1/costs/providers"):
        assert node.api.refused("GET", path) == (403, "not-allowed")
    assert federation.person("cost-manager", "south").embedded(PATH, "accounts") == []
    assert [each["id"] for each in federation.admin.embedded(PATH, "accounts")] == [known["id"]]


def test_removing_wipes_the_credentials(federation, controller, api):
    known = controller.post(PATH, body())
    href = f"{PATH}/{known['id']}"
    assert controller.refused("DELETE", href, headers={"If-Match": '"old"'}) == (412, "stale-etag")
    assert controller.call("DELETE", href, headers=controller.matching(href)).status_code == 204
    assert controller.refused("GET", href) == (404, "unknown-account")
    with api.hosted.database.reading() as session:
        assert session.scalars(select(CloudAccount.sealed)).all() == [""]
    controller.post(PATH, body())


def test_another_accounts_sealed_credentials_cannot_be_put_in_its_place(federation, controller, api):
    mine = controller.post(PATH, body("1"))["id"]
    theirs = federation.person("cost-manager", "south").post(PATH, body("2"))["id"]
    with api.hosted.database.writing() as session:
        sealed = session.scalar(select(CloudAccount.sealed).where(CloudAccount.id == theirs))
        session.execute(update(CloudAccount).where(CloudAccount.id == mine).values(sealed=sealed))
    assert controller.refused("POST", f"{PATH}/{mine}/check") == (409, "credentials-unreadable")


def test_a_check_tells_what_has_changed(controller, cloud):
    href = f"{PATH}/{controller.post(PATH, body())['id']}"
    cloud.refused = {"ec2:RunInstances"}
    assert [each["granted"] for each in controller.post(f"{href}/check")["permissions"]] == [True, True, False]


def test_overlays_are_kept_and_used_as_prices(federation, controller, api):
    href = f"{PATH}/{controller.post(PATH, body())['id']}"
    wanted = [{"percent": 12.5, "family_prefix": "m7i.", "region": None}]
    assert controller.put(f"{href}/overlays", {"overlays": wanted})["overlays"] == wanted
    with api.hosted.database.reading() as session:
        (overlay,) = accounts.overlays(session, "north")
        assert (overlay.provider, overlay.percent, overlay.family_prefix) == ("aws", 12.5, "m7i.")
        assert accounts.overlays(session, "south") == []
    for percent in (101, -100, "10", float("1e400")):
        body_ = {"overlays": [{"percent": percent}]} if percent != float("inf") else {"overlays": [{}]}
        assert controller.refused("PUT", f"{href}/overlays", body_)[0] == 422


# ---- fetching -------------------------------------------------------------------------------------------------------


def test_a_bill_is_fetched_in_the_background(controller, cloud, api):
    cloud.rows = [told(TODAY - 3 * DAY, "1.25"), told(TODAY - 3 * DAY, "2"), told(TODAY - 40 * DAY, "100")]
    account = controller.post(PATH, body())["id"]
    answer = controller.call("POST", f"{PATH}/{account}/fetch", {})
    assert answer.status_code == 202
    fetch = until_fetched(controller, account)["fetch"]
    assert (fetch["state"], fetch["rows"], fetch["problem"]) == ("done", 2, None)
    assert cloud.asked == [((TODAY - 35 * DAY).date(), (TODAY + DAY).date())]
    summary = controller.get("/v1/costs/summary")
    assert [(each["key"], each["billed"]) for each in summary["billed"]] == [("credit", 3.25)]
    (source,) = summary["sources"]
    assert (source["source"], source["title"], source["problem"]) == (account, "Our AWS", None)
    assert source["complete_until"] == str((TODAY - 2 * DAY).date())


def test_a_cloud_that_charges_for_asking_is_asked_every_six_hours_unless_forced(controller, cloud):
    account = controller.post(PATH, body())["id"]
    href = f"{PATH}/{account}/fetch"
    controller.post(href)
    fetch = until_fetched(controller, account)["fetch"]
    free = datetime.fromisoformat(fetch["next"]) - datetime.fromisoformat(fetch["at"])
    assert free == timedelta(hours=6)
    assert controller.call("POST", href, {}).status_code == 200
    assert len(cloud.asked) == 1
    assert controller.call("POST", href, {"force": True}).status_code == 202
    until_fetched(controller, account)
    assert cloud.asked[1][0] == (TODAY - 7 * DAY).date(), "five days before what is complete"


def test_one_fetch_at_a_time(controller, cloud):
    cloud.open.clear()
    account = controller.post(PATH, body())["id"]
    href = f"{PATH}/{account}/fetch"
    answers = [controller.call("POST", href, {"force": True}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 200, 200]
    assert controller.get(f"{PATH}/{account}")["fetch"]["state"] == "running"
    cloud.open.set()
    until_fetched(controller, account)
    assert len(cloud.asked) == 1


def test_throttling_is_waited_for(controller, cloud):
    cloud.rows = [told(TODAY - DAY, "1")]
    cloud.failures = [Throttled("Slow down.", retry_after=0.01) for _ in range(2)]
    account = controller.post(PATH, body())["id"]
    controller.post(f"{PATH}/{account}/fetch")
    assert until_fetched(controller, account)["fetch"]["rows"] == 1
    assert len(cloud.asked) == 3


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (PermissionMissing("ce:GetCostAndUsage is missing.", hint="Grant it."), "cloud-permission-missing"),
        (Throttled("Come back tomorrow.", retry_after=86_400), "cloud-throttled"),
        (Conflict("Odd.", code="conflict"), "conflict"),
        (RuntimeError(f"a defect with {SECRET} in it"), "internal"),
    ],
)
def test_a_fetch_that_fails_says_why_and_leaves_the_bill_alone(controller, cloud, failure, code):
    cloud.rows = [told(TODAY - DAY, "1")]
    account = controller.post(PATH, body())["id"]
    controller.post(f"{PATH}/{account}/fetch")
    until_fetched(controller, account)
    cloud.failures, cloud.rows = [failure], []
    controller.post(f"{PATH}/{account}/fetch", {"force": True})
    found = until_fetched(controller, account)
    assert (found["fetch"]["state"], found["fetch"]["problem"]["code"]) == ("failed", code)
    assert SECRET not in str(found)
    summary = controller.get("/v1/costs/summary")
    assert [each["billed"] for each in summary["billed"]] == [1.0]
    assert summary["sources"][0]["problem"] == found["fetch"]["problem"]["detail"]


def test_half_a_bill_is_refused_and_named(controller, cloud):
    cloud.rows = [told(TODAY - DAY, "1"), told(TODAY - DAY, "1", BillingCurrency=None)]
    account = controller.post(PATH, body())["id"]
    controller.post(f"{PATH}/{account}/fetch")
    problem = until_fetched(controller, account)["fetch"]["problem"]
    assert (problem["code"], "row 2, BillingCurrency" in problem["detail"]) == ("bad-bill", True)


@pytest.mark.parametrize(
    "window",
    [
        {"from": "2026-02-01", "to": "2026-02-01"}, {"from": "1990-01-01", "to": "1990-02-01"},
        {"from": "2020-01-01", "to": "2026-01-01"}, {"from": "yesterday"}, {"from": 5}, {"to": "9999-12-31"},
    ],
)  # fmt: skip
def test_windows_that_are_none_are_refused(controller, cloud, window):
    account = controller.post(PATH, body())["id"]
    assert controller.refused("POST", f"{PATH}/{account}/fetch", window)[0] == 422
    assert cloud.asked == []


def test_a_fetch_that_a_dead_process_has_left_is_taken_up(start_api, enter, cloud: Cloud):
    cloud.rows = [told(TODAY - DAY, "1")]
    first = start_api()
    controller = enter(first).person("cost-manager", "north")
    account = controller.post(PATH, body())["id"]
    with first.hosted.database.writing() as session:  # as kill -9 leaves it
        row = session.get_one(CloudAccount, account)
        accounts.ask_for_bill(row, None, None)
        row.fetch_owner, row.fetch_beat = "dead", datetime.now(UTC) - timedelta(minutes=5)
    first.stop()
    second = start_api()
    assert until_fetched(enter(second).person("cost-manager", "north"), account)["fetch"]["state"] == "done"
    with second.hosted.database.reading() as session:
        assert len(session.scalars(select(Charge.line)).all()) == 1


def test_stopping_in_the_middle_of_a_fetch_gives_it_back(start_api, enter, cloud):
    cloud.rows = [told(TODAY - DAY, "1")]
    cloud.open.clear()
    first = start_api()
    controller = enter(first).person("cost-manager", "north")
    account = controller.post(PATH, body())["id"]
    controller.post(f"{PATH}/{account}/fetch")
    give_up = time.monotonic() + WAIT
    while not cloud.asked and time.monotonic() < give_up:
        controller.get(f"{PATH}/{account}")
    first.stop()
    cloud.open.set()
    assert until_fetched(enter(start_api()).person("cost-manager", "north"), account)["fetch"]["rows"] == 1


# ---- by itself ------------------------------------------------------------------------------------------------------


class Clock:
    """A clock that a test sets forward."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pass_by(api, clock):
    """Let time go by, and let a process look what is due; each call is a process of its own, as after a restart."""

    def go(every: timedelta = DAY, **delta: float) -> None:
        clock.now += timedelta(**delta)
        fetcher = BillFetcher(api.hosted.database, every, clock)
        fetcher.look()
        fetcher.join()

    return go


def test_bills_are_fetched_by_themselves_once_a_day(controller, cloud, pass_by):
    cloud.rows = [told(TODAY - DAY, "1")]
    account = controller.post(PATH, body())["id"]
    pass_by()
    fetch = controller.get(f"{PATH}/{account}")["fetch"]
    assert (fetch["state"], fetch["rows"], len(cloud.asked)) == ("done", 1, 1)
    pass_by(hours=23.9)
    assert len(cloud.asked) == 1
    pass_by(hours=0.2)
    pass_by()
    assert len(cloud.asked) == 2
    assert cloud.asked[1] == ((TODAY + DAY - 8 * DAY).date(), (TODAY + 2 * DAY).date()), "what may have changed"


def test_a_cloud_that_charges_is_not_asked_more_often_than_that(controller, cloud, pass_by):
    controller.post(PATH, body())
    for _ in range(13):
        pass_by(timedelta(hours=1), hours=1)
    assert len(cloud.asked) == 3, "at once, after six hours and after twelve"


def test_never_is_never(controller, cloud, pass_by):
    controller.post(PATH, body())
    pass_by(timedelta(0), days=3)
    assert cloud.asked == []


def test_without_the_permission_nothing_is_fetched_by_itself_until_it_is_there(controller, cloud, pass_by):
    cloud.refused = {"ce:GetCostAndUsage"}
    account = controller.post(PATH, body())["id"]
    pass_by(days=2)
    assert cloud.asked == []
    cloud.refused = set()
    controller.post(f"{PATH}/{account}/check")
    pass_by()
    assert len(cloud.asked) == 1


def test_a_fetch_that_failed_is_tried_again_after_an_hour(controller, cloud, pass_by):
    cloud.rows = [told(TODAY - DAY, "1")]
    cloud.failures = [Conflict("Odd.", code="conflict") for _ in range(2)]
    account = controller.post(PATH, body())["id"]
    pass_by()
    assert controller.get(f"{PATH}/{account}")["fetch"]["state"] == "failed"
    pass_by(minutes=59)
    assert len(cloud.asked) == 1
    pass_by(minutes=2)
    pass_by(minutes=61)
    assert (len(cloud.asked), controller.get(f"{PATH}/{account}")["fetch"]["state"]) == (3, "done")
    pass_by(hours=23)
    assert len(cloud.asked) == 3


def test_of_many_processes_one_fetches(controller, cloud, clock, api):
    accounts_ = [controller.post(PATH, body(str(n)))["id"] for n in range(2)]
    fetchers = [BillFetcher(api.hosted.database, DAY, clock) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda each: each.look(), fetchers))
    for each in fetchers:
        each.join()
    assert len(cloud.asked) == len(accounts_)


def test_a_removed_account_is_left_alone(controller, cloud, pass_by):
    href = f"{PATH}/{controller.post(PATH, body())['id']}"
    controller.call("DELETE", href, headers=controller.matching(href))
    pass_by(days=2)
    assert cloud.asked == []


def test_the_api_fetches_by_itself_as_it_is_set(start_api, enter, cloud):
    cloud.rows = [told(TODAY - DAY, "1")]
    controller = enter(start_api(bill_every=86_400.0)).person("cost-manager", "north")
    account = controller.post(PATH, body())["id"]
    assert until_fetched(controller, account)["fetch"]["rows"] == 1
