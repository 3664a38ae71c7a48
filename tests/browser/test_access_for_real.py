"""The access panel against a real API: people sign in with a code on the API's own page, and decide with their keys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from federation.people import PASSWORD, GovernedFederation, Person
from playwright.sync_api import Page, expect

from .conftest import ARTIFACTS
from .contrast import texts
from .lab import TIMEOUT, Lab, LabServer
from .test_access import Access

THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
PEOPLE = {
    "olga": ("org-admin@platform",),
    "pam": ("approver@platform", "auditor@platform"),
    "pit": ("approver@platform",),
    "dora": ("developer@platform",),
    "owen": ("data-owner@platform",),
}


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GovernedFederation]:
    """An installation with one organisation and project, whose founding phase is over; people have a command line."""
    running = GovernedFederation(tmp_path_factory.mktemp("access") / "federation", "credit")
    try:
        running.start_api()
        admin = running.person("administrator")
        admin.accept(str(running.invitation))
        for name, roles in PEOPLE.items():
            admin.invites(running.person(name), "platform", *roles)
        olga = running.person("olga")
        olga.flaas("organisations", "add", "north")
        olga.flaas("domain", "init", "credit")
        olga.flaas("projects", "add", "credit", "--name", "Credit risk", "--organisation", "north")
        admin.flaas("governance", "close-founding", "--yes")
        yield running
    finally:
        running.stop()


@contextmanager
def lab_of(person: Person, page: Page, folder: Path) -> Iterator[Lab]:
    """JupyterLab on the machine of somebody, signed out there, who then signs in with a code."""
    person.run("logout")
    with LabServer(folder, {"FLAAS_HOME": str(person.home.path)}) as server:
        lab = Lab(page, server).open()
        sign_in(lab, person)
        yield lab


def sign_in(lab: Lab, person: Person) -> None:
    """Sign in in the panel: the API's page opens beside it, takes the password, and asks."""
    panel = lab.panel
    panel.root.get_by_label("Address of the coordination API").fill(person.url)
    panel.root.get_by_role("button", name="Get a sign-in code").click()
    code = panel.root.get_by_label("Code", exact=True)
    expect(code).to_have_text(re.compile(r"^\w{4}-\w{4}$"))
    with lab.page.context.expect_page() as opened:
        panel.root.get_by_role("link", name=f"{person.url}/oauth/device").click()
    beside = opened.value
    expect(beside.get_by_label("Code shown at the device")).to_have_value(code.inner_text())
    beside.get_by_label("User name or e-mail address").fill(person.name)
    beside.get_by_label("Password").fill(PASSWORD)
    beside.screenshot(path=ARTIFACTS / "access-real-sign-in.png")
    beside.get_by_role("button", name="Sign in").click()
    expect(beside.get_by_role("main")).to_contain_text(f"wants to act as {person.name}")
    beside.screenshot(path=ARTIFACTS / "access-real-consent.png")
    beside.get_by_role("button", name="Allow").click()
    expect(beside.get_by_role("heading")).not_to_have_text("Allow access?")
    beside.close()
    expect(panel.root.get_by_role("button", name="Sign out")).to_be_visible(timeout=TIMEOUT)


def pictures(lab: Lab, name: str) -> None:
    """Take a picture in light and in dark; every text can be read in both."""
    lab.page.set_viewport_size({"width": 1280, "height": 860})
    access = Access(lab)
    for shade, theme in THEMES.items():
        lab.theme(theme)
        lab.page.mouse.move(640, 850)
        lab.page.screenshot(path=ARTIFACTS / f"access-real-{name}-{shade}.png")
        assert [text for text in texts(access.root) if text.contrast < 4.5] == []
    lab.theme(THEMES["light"])


def test_who_keeps_the_roles_sees_why_invites_and_is_told_of_conflicts(
    federation: GovernedFederation, page: Page, tmp_path: Path
) -> None:
    admin = federation.person("administrator")
    with lab_of(admin, page, tmp_path) as lab:
        lab.execute("application:toggle-left-area")
        access = Access(lab).open()
        expect(access.members).to_have_count(6)
        expect(access.members.filter(has_text="pam")).to_contain_text("approver")
        expect(access.members.filter(has_text="pam")).to_contain_text("has a key for approvals")

        access.show("Roles")
        access.root.get_by_label("Filter").fill("run:")
        access.root.get_by_role("gridcell", name=re.compile("^org-admin, run:pause")).click()
        why = access.root.get_by_role("complementary", name="Why")
        expect(why.get_by_role("list", name="Way through the hierarchy").get_by_role("listitem")).to_have_text(
            ["org-admin", "operator", "run:pause"]
        )
        expect(why).to_contain_text("olga")
        pictures(lab, "matrix")

        access.show("Role editor")
        access.root.get_by_label("Which", exact=True).select_option("developer")
        access.root.get_by_role("group", name="Includes").get_by_label("approver").check()
        changes = access.root.get_by_role("region", name="Changes")
        expect(changes.get_by_role("alert")).to_contain_text("development-and-approval")
        expect(changes.get_by_role("alert")).to_contain_text("dora")
        expect(changes.get_by_role("button", name="Save")).to_be_disabled()
        pictures(lab, "editor")

        access.show("Members").press("Invite …")
        form = access.root.get_by_role("form", name="Invite")
        form.get_by_label("Name to sign in with").fill("fay")
        form.get_by_label("Organisation").fill("north")
        form.get_by_label("E-mail").fill("fay@north.example")
        form.get_by_label("Role", exact=True).select_option("operator")
        form.get_by_label("Where").fill("organisation:north")
        form.get_by_role("button", name="Invite", exact=True).click()
        once = access.root.get_by_role("region", name="Shown once")
        expect(once).to_contain_text(re.compile(r"flaas-invitation-\S{20}"))
        found = re.search(r"flaas-invitation-[\w-]+", once.inner_text())
        assert found is not None
        pictures(lab, "invited")
        once.get_by_role("button", name="I have handed it over").click()
        expect(access.members).to_have_count(7)

    # What was shown once is good: fay accepts it, and has no role before somebody has approved it.
    fay = federation.person("fay")
    fay.accept(found[0])
    assert fay.told("whoami")["roles"] == []
    (waiting,) = federation.person("pit").told("approvals", "list")
    assert (waiting["action"], waiting["requester"]) == ("member.roles", "administrator")
    assert federation.person("pit").approve(waiting["id"])["state"] == "executed"
    assert "operator in organisation:north" in fay.sign_in()


def test_an_approver_decides_in_the_inbox_and_finds_it_in_the_log(
    federation: GovernedFederation, page: Page, tmp_path: Path
) -> None:
    olga, pam = federation.person("olga"), federation.person("pam")
    asked = olga.told("organisations", "add", "south", "--name", "South")
    with lab_of(pam, page, tmp_path) as lab:
        badge = lab.panel.root.get_by_role("button", name="1 approval waits for you")
        expect(badge).to_be_visible()
        badge.click()
        lab.execute("application:toggle-left-area")
        access = Access(lab)
        request = access.root.get_by_role("article", name="Request")
        expect(request).to_contain_text('"name": "South"')
        expect(request).to_contain_text(asked["sha256"])
        expect(request).to_contain_text("computed here")
        pictures(lab, "inbox")
        request.get_by_role("button", name="Approve …").click()
        access.say_yes("Approve “Add an organisation”?", "Approve")
        expect(access.root.get_by_text("Nothing waits.")).to_be_visible()
        assert olga.told("approvals", "show", asked["id"])["state"] == "executed"
        assert "south" in olga.flaas("organisations", "list")

        access.show("Audit")
        rows = access.root.get_by_role("table", name="Audit log").locator("tbody > tr")
        access.root.get_by_label("Operation").fill("approval:decide")
        access.root.get_by_label("Who").fill("pam")
        access.press("Show")
        expect(rows).to_have_count(1)
        expect(rows.first).to_contain_text(f"approvals/{asked['id']}/decisions")
        pictures(lab, "audit")

        write_notebook(
            lab.server.root / "access.ipynb", 'import flaas_jupyter as flaas\nflaas.widgets.AccessControl("credit")'
        )
        notebook = lab.open_notebook("access.ipynb")
        notebook.run_all()
        widget = notebook.root.locator(".jp-OutputArea-output").filter(has_text="pam")
        expect(widget.first).to_be_visible(timeout=120_000)
        expect(widget.first).to_contain_text("approver")
        assert notebook.errors == []
        for shade, theme in THEMES.items():
            lab.theme(theme)
            lab.page.screenshot(path=ARTIFACTS / f"access-real-widget-{shade}.png")
            assert [text for text in texts(widget.first) if text.contrast < 4.5] == []


def write_notebook(path: Path, source: str) -> None:
    """Write a notebook of one cell."""
    cell = {"cell_type": "code", "execution_count": None, "id": "only", "metadata": {}, "outputs": [], "source": source}
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    path.write_text(json.dumps({"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}))
