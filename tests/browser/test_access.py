"""Signing in by code, and the view of members, roles, approvals and audit log, against a fake coordination API."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from .conftest import ARTIFACTS
from .contrast import texts
from .fake_access import INVITATION, USER_CODE
from .fake_api import TOKEN, FakeApi
from .lab import Lab, Panel

IMAGES = Path(__file__).parents[2] / "docs" / "images"
THEMES = ["JupyterLab Light", "JupyterLab Dark", "JupyterLab Dark High Contrast"]
DOCUMENTED = {"matrix-light", "approvals-light", "editor-dark"}


@pytest.fixture
def people(fake_api: FakeApi) -> FakeApi:
    """A federation with people, a run, and requests that wait."""
    fake_api.add_run("r1", "first federation")
    fake_api.access.add_people()
    fake_api.access.sign_in_as("ana", "org-admin", "approver", "auditor", "governance-admin", "developer")
    fake_api.access.add_audit(120)
    fake_api.access.add_models()
    return fake_api


def signed_in(lab: Lab, api: FakeApi) -> Panel:
    panel = lab.panel
    panel.sign_in(api.url, TOKEN)
    expect(panel.nodes).to_have_count(3)
    return panel


class Access:
    """The view, open."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        heading = lab.page.get_by_role("heading", name="Access", exact=True)
        self.root = lab.page.locator(".flaas-RunView").filter(has=heading)

    def open(self, tab: str | None = None) -> Access:
        self.lab.execute("flaas:open-access", {"tab": tab} if tab else {})
        expect(self.root.get_by_role("tabpanel")).to_be_visible()
        expect(self.root.get_by_text("Loading …")).to_have_count(0)
        return self

    def show(self, name: str) -> Access:
        self.root.get_by_role("tab", name=name).click()
        return self

    def press(self, name: str) -> None:
        self.root.get_by_role("button", name=name, exact=True).click()

    def say_yes(self, title: str, label: str) -> None:
        self.lab.dialog(title).get_by_role("button", name=label, exact=True).click()

    @property
    def members(self) -> Locator:
        return self.root.get_by_role("table", name="Members").locator("tbody tr")


@pytest.fixture
def access(lab: Lab, people: FakeApi) -> Access:
    signed_in(lab, people)
    return Access(lab).open()


# ---- signing in by code ---------------------------------------------------------------------------------------


def start_code(lab: Lab, api: FakeApi) -> Panel:
    panel = lab.panel
    panel.root.get_by_label("Address of the coordination API").fill(api.url)
    panel.root.get_by_role("button", name="Get a sign-in code").click()
    expect(panel.root.get_by_label("Code", exact=True)).to_have_text(USER_CODE)
    return panel


def test_a_sign_in_by_code_outlives_a_reload_and_leaves_no_token_in_the_browser(lab: Lab, people: FakeApi) -> None:
    panel = start_code(lab, people)
    link = panel.root.get_by_role("link", name=f"{people.url}/oauth/device")
    expect(link).to_have_attribute("href", f"{people.url}/oauth/device?user_code={USER_CODE}")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    expect(link).to_be_focused()
    lab.page.screenshot(path=ARTIFACTS / "access-code.png")

    lab.reload()

    expect(lab.panel.root.get_by_label("Code", exact=True)).to_have_text(USER_CODE)
    people.access.device = "approved"
    expect(panel.nodes).to_have_count(3)
    panel.wait_for_text("ana, north")
    storage = lab.page.evaluate("() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
    for secret in (TOKEN, "refresh-secret", "device-secret"):
        assert secret not in storage + lab.page.content()
        assert secret not in (lab.server.flaas_home / "credentials.json").read_text()
        assert secret not in lab.server.output.read_text()

    panel.root.get_by_role("button", name="Sign out").click()

    expect(panel.root.get_by_role("button", name="Get a sign-in code")).to_be_visible()
    assert people.access.revoked == ["refresh-secret"]
    assert not (lab.server.flaas_home / "credentials.json").exists()


def test_a_sign_in_that_is_refused_or_given_up_can_be_started_again(lab: Lab, people: FakeApi) -> None:
    panel = start_code(lab, people)
    people.access.device = "denied"
    expect(panel.root.get_by_role("alert")).to_contain_text("The sign-in was refused")
    panel.root.get_by_role("button", name="Start again").click()

    panel = start_code(lab, people)
    panel.root.get_by_role("button", name="Cancel").click()

    expect(panel.root.get_by_label("Token")).to_be_visible()


def test_a_session_that_ends_says_so_and_shows_the_way_out(lab: Lab, people: FakeApi) -> None:
    people.access.ended = True  # its token lives 30 s, and cannot be renewed
    start_code(lab, people)
    people.access.device = "approved"

    alert = lab.panel.root.get_by_role("alert")
    expect(alert).to_contain_text("Your session has ended")
    expect(alert).to_contain_text("Sign in again")
    expect(lab.panel.root.get_by_role("button", name="Get a sign-in code")).to_be_visible()
    lab.page.screenshot(path=ARTIFACTS / "access-ended.png")
    people.access.ended = False
    start_code(lab, people)
    people.access.device = "approved"
    expect(lab.panel.nodes).to_have_count(3)


# ---- members --------------------------------------------------------------------------------------------------


def test_somebody_is_invited_and_the_invitation_is_shown_once(access: Access, people: FakeApi) -> None:
    expect(access.members).to_have_count(6)
    access.press("Invite …")
    form = access.root.get_by_role("form", name="Invite")
    form.get_by_label("Name to sign in with").fill("fay")
    form.get_by_label("Full name").fill("Fay Moreau")
    form.get_by_label("Role", exact=True).select_option("viewer")
    form.get_by_label("Where").fill("project:demo")
    form.get_by_role("button", name="Invite", exact=True).click()

    once = access.root.get_by_role("region", name="Shown once")
    expect(once).to_contain_text(INVITATION)
    expect(access.members).to_have_count(7)
    assert people.access.bodies[-1][2]["roles"] == [{"role": "viewer", "scope": "project:demo"}]
    access.lab.page.screenshot(path=ARTIFACTS / "access-invited.png")
    once.get_by_role("button", name="I have handed it over").click()
    assert INVITATION not in access.lab.page.content()
    access.lab.reload()
    expect(access.members).to_have_count(7)
    assert INVITATION not in access.lab.page.content()
    assert INVITATION not in access.lab.server.output.read_text()


def test_roles_are_given_and_taken_where_the_links_permit(access: Access, people: FakeApi) -> None:
    ben = access.members.filter(has_text="ben")
    ben.get_by_role("button", name="Give ben a role").click()
    ben.get_by_label("Role", exact=True).select_option("auditor")
    ben.get_by_role("button", name="Give", exact=True).click()
    expect(ben).to_contain_text("auditor (organisation north)")

    ben.get_by_role("button", name="Take auditor (organisation north) from ben").click()
    access.say_yes("Take a role from ben?", "Take the role")

    expect(ben).not_to_contain_text("auditor")
    access.members.filter(has_text="dora").get_by_role("button", name="Remove dora").click()
    access.say_yes("Remove dora?", "Remove")
    expect(access.members).to_have_count(5)
    expect(access.members.filter(has_text="ana (you)").get_by_role("button")).to_have_count(0)


def test_what_is_critical_waits_and_leads_to_the_inbox(access: Access, people: FakeApi) -> None:
    people.access.critical = True
    ben = access.members.filter(has_text="ben")
    ben.get_by_role("button", name="Give ben a role").click()
    ben.get_by_label("Role", exact=True).select_option("viewer")
    ben.get_by_role("button", name="Give", exact=True).click()

    expect(access.root.get_by_text("Waits for approval: Change somebody’s roles")).to_be_visible()
    access.press("Show the request")

    request = access.root.get_by_role("article", name="Request")
    expect(request).to_contain_text('"role": "viewer"')
    expect(request.get_by_role("button", name="Approve …")).to_have_count(0)  # one's own
    request.get_by_role("button", name="Withdraw …").click()
    access.say_yes("Withdraw", "Withdraw")
    expect(access.root.get_by_text("Nothing waits.")).to_be_visible()


def test_without_permission_nothing_is_offered(lab: Lab, people: FakeApi) -> None:
    people.access.sign_in_as("carla", "developer")
    signed_in(lab, people)
    access = Access(lab).open()

    expect(access.root).to_contain_text("Your roles do not show you this")
    expect(access.root.get_by_role("button", name="Invite …")).to_have_count(0)
    access.show("Role editor")
    expect(access.root.get_by_role("button", name="Save")).to_have_count(0)
    access.show("Audit")
    expect(access.root).to_contain_text("Your roles do not show you the audit log")


def test_the_founding_phase_is_said_until_it_is_closed(access: Access, people: FakeApi) -> None:
    people.access.founding = True
    access.press("Refresh")
    expect(access.root).to_contain_text("This installation is being founded")
    access.press("Close the founding phase …")
    access.say_yes("Close the founding phase?", "Close it")
    expect(access.root.get_by_text("This installation is being founded")).to_have_count(0)


# ---- roles ----------------------------------------------------------------------------------------------------


def test_the_matrix_says_why(access: Access, people: FakeApi) -> None:
    access.show("Roles")
    why = access.root.get_by_role("complementary", name="Why")
    grid = access.root.get_by_role("grid", name="Who can do what")
    access.root.get_by_label("Filter").fill("run:")
    expect(grid.locator("tbody tr")).to_have_count(5)

    grid.get_by_role("gridcell", name=re.compile("^org-admin, run:pause")).click()

    expect(why).to_contain_text("org-admin can do this because it includes operator, which was granted it.")
    expect(why.get_by_role("list", name="Way through the hierarchy").get_by_role("listitem")).to_have_text(
        ["org-admin", "operator", "run:pause"]
    )
    expect(why).to_contain_text("carla: developer (project demo)")
    grid.get_by_role("gridcell", name=re.compile("^auditor, run:create")).hover()
    expect(why).to_contain_text("auditor cannot do this")
    keyboard = access.lab.page.keyboard
    grid.get_by_role("gridcell", name=re.compile("^org-admin, run:pause")).focus()
    access.lab.page.mouse.move(5, 5)
    keyboard.press("Home")
    expect(why.get_by_role("heading", name="viewer, run:pause")).to_be_visible()
    keyboard.press("ArrowUp")
    expect(why.get_by_role("heading", name="viewer, run:cancel")).to_be_visible()


def test_a_conflict_shows_before_saving(access: Access, people: FakeApi) -> None:
    access.show("Role editor")
    access.root.get_by_label("Which", exact=True).select_option("developer")
    changes = access.root.get_by_role("region", name="Changes")
    includes = access.root.get_by_role("group", name="Includes")

    includes.get_by_label("approver").check()

    expect(changes.get_by_role("alert")).to_contain_text("development-and-approval: carla would have approver")
    expect(changes.get_by_role("button", name="Save")).to_be_disabled()
    assert [body for body in people.access.bodies if body[1] == "add_inheritance"] == []
    includes.get_by_label("approver").uncheck()
    includes.get_by_label("cost-manager").check()
    expect(changes).to_contain_text("Tried: no separation of duties is violated.")
    changes.get_by_role("button", name="Save").click()
    expect(changes).to_contain_text("Nothing is changed yet.")
    assert people.access.bodies[-1] == (
        "POST", "add_inheritance", {"ascendant": "developer", "descendant": "cost-manager"}
    )  # fmt: skip


def test_a_role_is_made_that_has_to_be_approved(access: Access, people: FakeApi) -> None:
    people.access.critical = True
    access.show("Role editor")
    access.root.get_by_label("Its name").fill("curator")
    access.root.get_by_label("What it is for").fill("Looks after data sets")
    changes = access.root.get_by_role("region", name="Changes")
    expect(changes).to_contain_text("Tried: no separation of duties is violated.")
    changes.get_by_role("button", name="Save").click()
    expect(changes).to_contain_text("Waits for approval: Change a role")


# ---- approvals ------------------------------------------------------------------------------------------------


def test_the_inbox_shows_exactly_what_is_asked_and_counts_down(lab: Lab, people: FakeApi) -> None:
    people.access.add_approval(seconds=1800)
    people.access.add_approval("model.release", {"model": "m2"}, "carla", 90_000, "project:demo")
    people.access.keys["ana"] = "0" * 64
    (lab.server.flaas_home / "approval.key").unlink(missing_ok=True)
    panel = signed_in(lab, people)
    badge = panel.root.get_by_role("button", name="2 approvals wait for you")
    expect(lab.page.get_by_role("button", name="2 approvals wait", exact=True)).to_be_visible()

    badge.click()

    access = Access(lab)
    request = access.root.get_by_role("article", name="Request")
    expect(request.get_by_role("timer")).to_have_text(re.compile(r"expires in \d+:\d\d"))
    first = request.get_by_role("timer").inner_text()
    expect(request.get_by_role("timer")).not_to_have_text(first)
    expect(request.get_by_role("row", name=re.compile("governance-admin.*1 of 2.*1 person"))).to_be_visible()
    expect(request).to_contain_text('"function": "add_role"')
    request.get_by_role("button", name="Exact text").click()
    body = next(iter(people.access.approvals.values()))
    expect(request.locator("pre")).to_have_text(body["body"])
    expect(request).to_contain_text(body["sha256"])
    expect(request).to_contain_text("computed here")
    expect(request.get_by_role("button", name="Approve …")).to_be_disabled()  # the key is not on this server


def test_a_text_that_is_not_what_its_digest_says_cannot_be_approved(lab: Lab, people: FakeApi) -> None:
    name = people.access.add_approval()
    people.access.keys["ana"] = "0" * 64
    people.access.approvals[name]["body"] = people.access.approvals[name]["body"].replace("curator", "\u202erotaruc")
    signed_in(lab, people)
    access = Access(lab).open("approvals")
    request = access.root.get_by_role("article", name="Request")

    expect(request.get_by_role("alert")).to_contain_text("do not belong together")
    expect(request.get_by_role("button", name="Approve …")).to_be_disabled()
    expect(request.locator("pre")).to_contain_text("\\u202erotaruc")


def test_what_waits_for_holders_of_the_domain_key_is_shown_with_the_command_that_signs_it(
    lab: Lab, people: FakeApi
) -> None:
    key, document = "ab" * 32, "4f1c0a77e2b1".ljust(64, "0")
    signed_in(lab, people)
    access = Access(lab).open("approvals")
    waits = access.root.get_by_role("region", name="Waits for holders of the domain key")
    expect(waits).to_have_count(0)
    people.access.pending.append(
        {
            "id": document,
            "kind": "memberships",
            "document": {"body": {"node_id": key, "organisation": "clinic"}, "signatures": {}},
            "missing": 1,
            "created_by": "ben",
            "created": "2026-01-01T00:00:00Z",
        }
    )

    access.press("Refresh")

    expect(waits).to_contain_text(f"Membership of {key[:12]}… (clinic)")
    command = f"flaas domain cosign demo {document[:12]}"
    expect(waits.get_by_text(command)).to_be_visible()
    lab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    waits.get_by_role("button", name=re.compile("^Copy the command for Membership")).click()
    expect(waits.get_by_role("status")).to_have_text("Copied")
    assert lab.page.evaluate("() => navigator.clipboard.readText()") == command
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        lab.theme(theme)
        lab.page.screenshot(path=ARTIFACTS / f"access-pending-{theme.split()[-1].lower()}.png")
    people.access.pending.clear()
    waits.get_by_role("button", name="Look again").click()
    expect(waits).to_have_count(0)


def test_a_request_is_approved_with_the_keyboard_alone(lab: Lab, people: FakeApi) -> None:
    (lab.server.flaas_home / "approval.key").unlink(missing_ok=True)
    name = people.access.add_approval()
    signed_in(lab, people)
    access = Access(lab).open()
    keyboard, focused = lab.page.keyboard, lab.page.locator(":focus")

    def tab_to(target: Locator) -> None:
        # Tab passes a button that the last key has not enabled yet.
        expect(target).to_be_enabled()
        for _ in range(40):
            if target.evaluate("element => element === document.activeElement"):
                assert focused.evaluate("element => getComputedStyle(element).outlineStyle") == "solid"
                return
            keyboard.press("Tab")
        raise AssertionError(f"Tab does not reach {target}.")

    access.root.get_by_role("tab", name="Members").focus()
    for _ in range(3):
        keyboard.press("ArrowRight")
    expect(access.root.get_by_role("tab", name="Approvals")).to_be_focused()
    expect(access.root.get_by_role("article", name="Request")).to_be_visible()
    tab_to(access.root.get_by_role("button", name="Make my key"))
    keyboard.press("Enter")
    approve = access.root.get_by_role("button", name="Approve …")
    expect(approve).to_be_enabled()
    access.root.get_by_role("tab", name="Approvals").focus()
    tab_to(approve)
    keyboard.press("Enter")
    dialog = lab.dialog("Approve “Change a role”?")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    keyboard.press("Tab")
    expect(dialog.get_by_role("button", name="Approve", exact=True)).to_be_focused()
    keyboard.press("Enter")

    expect(access.root.get_by_role("list", name="Decisions")).to_contain_text("ana")
    # The fake API has verified the signature with the key that it was told.
    assert people.access.approvals[name]["decisions"][-1]["decision"] == "approve"
    assert len((lab.server.flaas_home / "approval.key").read_bytes()) == 32
    expect(lab.panel.root.get_by_role("button", name=re.compile("waits? for you"))).to_have_count(0)


def test_a_request_is_denied_after_a_question(lab: Lab, people: FakeApi) -> None:
    (lab.server.flaas_home / "approval.key").unlink(missing_ok=True)
    people.access.add_approval()
    signed_in(lab, people)
    access = Access(lab).open("approvals")
    access.press("Make my key")
    access.press("Deny …")
    access.say_yes("Deny", "Deny")
    expect(access.root.get_by_text("Nothing waits.")).to_be_visible()
    expect(access.root.get_by_role("list", name="Past")).to_contain_text("denied")
    expect(access.root.get_by_role("article", name="Request")).to_contain_text("denied")


# ---- audit ----------------------------------------------------------------------------------------------------


def test_the_audit_log_is_filtered_paged_and_exported(access: Access, people: FakeApi) -> None:
    access.show("Audit")
    rows = access.root.get_by_role("table", name="Audit log").locator("tbody > tr")
    expect(rows).to_have_count(50)
    expect(access.root).to_contain_text("The last signed checkpoint covers entry 120")
    access.press("Show more")
    expect(rows).to_have_count(100)
    with access.lab.page.expect_download() as download:
        access.press("Export JSON lines")
    lines = Path(download.value.path()).read_text().splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == list(range(1, 121))

    access.root.get_by_label("Who").fill("mallory")
    access.root.get_by_label("Outcome").select_option("refused")
    access.press("Show")

    expect(rows).to_have_count(24)
    expect(rows.first).to_contain_text("role:manage")


# ---- runs, nodes, models --------------------------------------------------------------------------------------


def test_runs_nodes_and_models_are_looked_after_by_their_links(lab: Lab, people: FakeApi) -> None:
    panel = signed_in(lab, people)
    run = panel.run("first federation")
    run.get_by_role("button", name="Pause the run first federation").click()
    expect(run).to_contain_text("paused")
    run.get_by_role("button", name="Go on with the run first federation").click()
    expect(run).to_contain_text("running")

    panel.root.get_by_role("button", name="Quarantine hospital-b").click()
    dialog = lab.page.locator(".jp-Dialog-content")
    dialog.locator("input").fill("its disk is full")
    dialog.get_by_role("button", name="Quarantine").click()
    node = panel.nodes.filter(has_text="hospital-b")
    expect(node).to_contain_text("its disk is full")
    node.get_by_role("button", name="Let hospital-b back").click()
    expect(node).to_contain_text("online")

    models = panel.root.get_by_role("list", name="Models").get_by_role("listitem")
    expect(models).to_have_count(2)
    models.filter(has_text="candidate").get_by_role("button", name="Revoke the model of round 10").click()
    lab.page.locator(".jp-Dialog-content input").fill("trained on the wrong labels")
    lab.page.locator(".jp-Dialog-content").get_by_role("button", name="Revoke").click()
    expect(models.filter(has_text="revoked")).to_contain_text("trained on the wrong labels")


# ---- how it looks ---------------------------------------------------------------------------------------------


def test_a_reload_restores_the_tab(access: Access) -> None:
    with access.lab.saving('"tab":"audit"'):
        access.show("Audit")
    access.lab.reload()
    expect(access.root.get_by_role("tab", name="Audit")).to_have_attribute("aria-selected", "true")
    expect(access.root.get_by_role("table", name="Audit log")).to_be_visible()


@pytest.mark.parametrize("theme", THEMES)
def test_every_text_of_every_tab_can_be_read_in_every_theme(lab: Lab, people: FakeApi, theme: str) -> None:
    people.access.add_approval(seconds=1800)
    people.access.add_approval("model.release", {"model": "m2"}, "carla", 90_000, "project:demo")
    people.access.keys["ana"] = "0" * 64
    (lab.server.flaas_home / "approval.key").write_bytes(b"k" * 32)
    (lab.server.flaas_home / "approval.key").chmod(0o600)
    panel = signed_in(lab, people)
    lab.theme(theme)
    name = theme.removeprefix("JupyterLab ").lower().replace(" ", "-")
    shown = texts(panel.root) + texts(lab.page.locator(".flaas-StatusItem"))
    lab.page.set_viewport_size({"width": 1280, "height": 860})
    lab.execute("application:toggle-left-area")
    access = Access(lab).open()
    for tab in ("Members", "Roles", "Role editor", "Approvals", "Audit"):
        access.show(tab)
        if tab == "Roles":
            access.root.get_by_role("gridcell", name=re.compile("^org-admin, run:pause")).click()
        elif tab == "Role editor":
            access.root.get_by_label("Which", exact=True).select_option("developer")
            access.root.get_by_role("group", name="Includes").get_by_label("approver").check()
            expect(access.root.get_by_role("alert")).to_be_visible()
        elif tab == "Approvals":
            expect(access.root.get_by_role("article", name="Request")).to_be_visible()
        elif tab == "Audit":
            expect(access.root.get_by_role("table", name="Audit log")).to_be_visible()
        else:
            expect(access.members).to_have_count(6)
        lab.page.mouse.move(640, 850)
        part = {"Roles": "matrix", "Role editor": "editor"}.get(tab, tab.lower())
        wanted = f"{part}-{name}"
        documents = bool(os.environ.get("FLAAS_DOCS_IMAGES")) and wanted in DOCUMENTED
        lab.page.screenshot(path=(IMAGES if documents else ARTIFACTS) / f"access-{wanted}.png")
        found = texts(access.root)
        assert len(found) > 30
        shown += found
    assert [text for text in shown if text.contrast < 4.5] == []


@pytest.mark.parametrize("theme", THEMES[:2])
def test_the_code_can_be_read_in_every_theme(lab: Lab, people: FakeApi, theme: str) -> None:
    lab.theme(theme)
    panel = start_code(lab, people)
    lab.page.screenshot(path=ARTIFACTS / f"access-code-{theme.split()[-1].lower()}.png")
    assert [text for text in texts(panel.root) if text.contrast < 4.5] == []
