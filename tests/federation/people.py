"""People of a governed federation: each at a machine of its own (a ``FLAAS_HOME``), working with the ``flaas`` command.

Nothing here has more rights than the person in whose name it acts.
"""

from __future__ import annotations

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pexpect
from click.testing import CliRunner, Result

from flaas_jupyter.cli import main
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.demo.local import LocalFederation
from flaas_jupyter.home import Home
from flaas_jupyter.terminal import at_api

PASSWORD = "seven unrelated words in a row"
_UNSET = {"FLAAS_URL": None, "FLAAS_TOKEN": None, "FLAAS_DATABASE_URL": None}


class GovernedFederation(LocalFederation):
    """A federation that nobody has founded yet: the API prints the first invitation, and that is all there is."""

    invitation: str | None = None

    def start_api(self, port: int = 0) -> None:
        """Start the API as a person does, and read what it prints."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = self.folder / "api.log"
        port = port or int((self.url or ":0").rsplit(":", 1)[1])
        command = ["api", "serve", "--database", self.database, "--port", str(port)]
        self._api = self._spawn(command, self.folder / "api", log, self.api_options)
        assert self._api.stdout is not None
        for line in self._api.stdout:
            if found := re.search(r"flaas-invitation-\S+", line):
                self.invitation = found[0]
            if line.startswith("Serving at "):
                self.url = line.removeprefix("Serving at ").strip()
                return
        raise AssertionError(f"the API does not start:\n{log.read_text()}")

    @property
    def database(self) -> str:
        """Where the API keeps everything."""
        return self._database

    def person(self, name: str) -> Person:
        """Return somebody at a machine of their own."""
        return Person(name, Home(self.folder / "people" / name), self.url)


class Person:
    """Somebody at a machine.

    Parameters
    ----------
    name : str
        Id by which the API knows the person.
    home : Home
        The person's own ``FLAAS_HOME``.
    url : str
        The API.
    """

    def __init__(self, name: str, home: Home, url: str) -> None:
        self.name, self.home, self.url = name, home, url
        home.path.mkdir(parents=True, exist_ok=True, mode=0o700)

    # ---- commands -----------------------------------------------------------------------------------------------

    def run(self, *arguments: str, answer: str | None = None) -> Result:
        """Run ``flaas`` with these arguments; whatever comes of it."""
        runner = CliRunner(env={**_UNSET, "FLAAS_HOME": str(self.home.path)})
        # In a thread of its own: a browser's event loop may run in this one.
        with ThreadPoolExecutor(1) as aside:
            return aside.submit(runner.invoke, main, list(arguments), input=answer).result()

    def flaas(self, *arguments: str, answer: str | None = None) -> str:
        """Run ``flaas``, which must succeed; return what it prints."""
        result = self.run(*arguments, answer=answer)
        assert result.exit_code == 0, f"flaas {' '.join(arguments)}: {result.output}"
        return result.stdout

    def told(self, *arguments: str, answer: str | None = None) -> Any:
        """Run ``flaas … --json``, which must succeed; return its result."""
        return json.loads(self.flaas(*arguments, "--json", answer=answer))

    def refused(self, *arguments: str, answer: str | None = None) -> str:
        """Run ``flaas``, which must be refused; return what it says."""
        result = self.run(*arguments, answer=answer)
        assert result.exit_code == 1, result.output
        return result.stderr

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POST with the person's own sign-in; for what there is no command for."""
        from unittest import mock

        with mock.patch.object(Home, "default", classmethod(lambda cls: self.home)):
            return at_api(lambda api: api.post(path, body))

    # ---- signing in ---------------------------------------------------------------------------------------------

    def accept(self, invitation: str) -> None:
        """Accept an invitation at a terminal, with a password, and be signed in."""
        self.flaas("login", self.url, "--invitation", answer=f"{invitation}\n{PASSWORD}\n{PASSWORD}\n")

    def accept_at_terminal(self, invitation: str) -> str:
        """As `accept`, in a process at a terminal of its own; return all that shows there."""
        with self._terminal("login", self.url, "--invitation") as terminal:
            shown = ""
            for prompt, typed in (("Invitation: ", invitation), ("New password", PASSWORD), ("Repeat", PASSWORD)):
                terminal.expect(prompt)
                shown += terminal.before
                terminal.waitnoecho()
                terminal.sendline(typed)
            terminal.expect(pexpect.EOF)
            return str(shown + terminal.before)

    def sign_in(self) -> str:
        """Sign in with a code, which is entered in a browser; return what the terminal shows at last."""
        with self._terminal("login", self.url) as terminal:
            terminal.expect(r"enter the code\s+(\S+)")
            enter_code(self.url, self.name, terminal.match[1])
            terminal.expect(pexpect.EOF)
            return str(terminal.before)

    def _terminal(self, *arguments: str) -> Any:
        import os

        kept = {name: value for name, value in os.environ.items() if not name.startswith("FLAAS_")}
        environment = {**kept, "FLAAS_HOME": str(self.home.path)}
        command = ["-m", "flaas_jupyter.cli", *arguments]
        return pexpect.spawn(sys.executable, command, env=environment, encoding="utf-8", timeout=60)

    # ---- what people do with each other -------------------------------------------------------------------------

    def invites(self, guest: Person, organisation: str, *roles: str) -> list[str]:
        """Invite somebody, who accepts; return the requests that wait for approval."""
        given = [argument for role in roles for argument in ("--role", role)]
        email = f"{guest.name}@{organisation}.example"
        made = self.told("members", "invite", email, "--organisation", organisation, "--id", guest.name, *given)
        guest.accept(made["invitation"])
        return list(made.get("approvals") or [])

    def approve(self, request: str) -> dict[str, Any]:
        """Approve a request, signed with the person's own key."""
        approved: dict[str, Any] = self.told("approvals", "approve", request, "--yes")
        return approved


def enter_code(url: str, user: str, code: str) -> None:
    """Enter the code of a device in a browser without scripts, sign in there, and agree."""
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as browser:
        page = browser.get("/oauth/device")
        form = {**_fields(page), "login": user, "password": PASSWORD, "user_code": code}
        page = browser.post("/oauth/device", data=form)
        page = browser.post("/oauth/device", data={**_fields(page), "decision": "allow"})
        assert page.status_code == 200, page.text


def _fields(page: httpx.Response) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page.text)
    return {unescape(name): unescape(value) for name, value in found}


def public_key(file: Path) -> str:
    """Return the public half of a key that is there already."""
    assert file.exists(), file
    return Identity.load_or_create(file).node_id


def put_data(node: Home, name: str, file: Path, target: str) -> None:
    """Register a data set at a node, as its owner does."""
    owner = Person("owner", node, "")
    owner.flaas("dataset", "add", name, str(file), "--target", target)
