"""``%load_ext flaas_jupyter`` and ``%flaas``: look after runs without leaving the notebook.

``%flaas status``            who I am, which API, which projects
``%flaas runs [PROJECT]``    runs, newest first
``%flaas stop RUN``          cancel a run
``%flaas costs [GROUP]``      what was billed beside what is estimated, by project, provider, service, node or day
``%flaas costs wizard``      the cost wizard
``%flaas whoami``            who I am, my roles and where I hold them
``%flaas can OPERATION [RESOURCE]``   whether I may, and why: ``%flaas can run:create project/credit``
``%flaas traceback``         the whole traceback of the last error, of which the short message was shown
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from IPython.core.magic import Magics, line_magic, magics_class

from ..connected import Session, connect
from ..connected_costs import GROUPS
from ..errors import InvalidInput
from .held import held

if TYPE_CHECKING:
    import pandas as pd
    from IPython.core.interactiveshell import InteractiveShell


@magics_class
class FlaasMagics(Magics):  # type: ignore[misc]
    """``%flaas`` with its sub-commands."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self._session: Session | None = None

    @line_magic  # type: ignore[untyped-decorator]
    def flaas(self, line: str) -> Any:
        """Run ``%flaas`` with a command: status, runs, stop, costs, whoami, can or traceback; see the module."""
        command, *arguments = line.split() or ["status"]
        commands: dict[str, Callable[..., Any]] = {
            "status": self._status,
            "runs": self._runs,
            "stop": self._stop,
            "costs": self._costs,
            "whoami": self._whoami,
            "can": self._can,
            "traceback": self._traceback,
        }
        if command not in commands:
            raise InvalidInput(f"%flaas has no command {command!r}; it has {', '.join(commands)}.", code="bad-command")
        return commands[command](*arguments[: 2 if command == "can" else 1])

    def _connected(self) -> Session:
        if self._session is None:
            self._session = connect()
        return self._session

    def _status(self) -> pd.DataFrame:
        session = self._connected()
        me = session.me
        print(f"{session.url}: {me['subject']} of {me['organisation']}, {_roles(me)}")
        return session.projects

    def _runs(self, project: str | None = None) -> pd.DataFrame:
        import pandas as pd

        session = self._connected()
        projects = [project] if project else list(session.projects["id"])
        tables = [session.project(name).runs.assign(project=name) for name in projects]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def _stop(self, run: str | None = None) -> None:
        if run is None:
            raise InvalidInput("Which run?", code="bad-command", hint="%flaas runs lists them; then %flaas stop RUN.")
        print(f"Run {run} is {self._connected().stop(run)['state']}.")

    def _costs(self, group: str = "project") -> Any:
        if group == "wizard":
            from .cost_wizard import CostWizard

            return CostWizard()
        if group not in GROUPS:
            raise InvalidInput(
                f"%flaas costs goes by {', '.join(GROUPS)}, not {group!r}.",
                code="bad-command",
                hint="`%flaas costs wizard` shows the wizard.",
            )
        return self._connected().costs.bill(group=group)

    def _whoami(self) -> None:
        session = self._connected()
        me = session.get("/v1/me")  # now, not when the session began
        print(f"{me['subject']} ({me['kind']}) of {me.get('organisation') or 'no organisation'} at {session.url}")
        print(f"Roles: {_roles(me)}")
        print(f"Session: {me.get('session') or 'none; a token that does not renew itself'}")

    def _can(self, operation: str | None = None, resource: str | None = None) -> None:
        if operation is None or ":" not in operation:
            raise InvalidInput(
                f"{operation or 'Nothing'} is no operation.",
                code="bad-command",
                hint="For example: %flaas can run:create project/credit",
            )
        asked = {"operation": operation, **({"resource": resource} if resource else {})}
        answer = self._connected().get(f"/v1/can?{urlencode(asked)}")
        where = f" on {resource}" if resource else ""
        if not answer["permitted"]:
            print(f"No: none of your roles permits {operation}{where}.")
            return
        print(f"Yes: you may {operation}{where}.")
        for why in answer["because"]:
            path = " -> ".join([*why["path"], operation])
            print(f"  because you are {held(why)}: {path}")

    def _traceback(self) -> None:
        error = getattr(sys, "last_value", None)
        print("".join(traceback.format_exception(error)) if error is not None else "There was no error.")


def _roles(me: dict[str, Any]) -> str:
    return ", ".join(held(role) for role in me.get("roles", [])) or str(me.get("role", "no role"))


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register ``%flaas`` (called by ``%load_ext flaas_jupyter``)."""
    shell.register_magics(FlaasMagics)
