"""Who may do what in a project, as a widget: members, the matrix of roles, one's own permissions, what waits.

The kernel asks the API and holds the state; the page only shows it. It changes nothing: roles are given and requests
decided in JupyterLab's view Access, in the API's own pages or with the `flaas` command. Without a page to show it, as
in a terminal or an exported notebook, it is text or a table.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

import traitlets

from ..errors import FlaasError, NotAllowed
from . import widget_files
from .held import held
from .text_widget import TextWidget

if TYPE_CHECKING:
    from ..connected import Session

Json = dict[str, Any]

_MOST = 500
"""Members that are shown."""


class AccessControl(TextWidget):
    """Members, roles, one's own permissions and waiting requests of a project.

    Parameters
    ----------
    project : str, optional
        The federated project. Default: all that the caller may see.
    session : Session, optional
        Default: ``flaas.connect()``.

    Raises
    ------
    NotFound
        There is no such project, or the caller is not in it.

    Examples
    --------
    >>> flaas.widgets.AccessControl("credit")  # doctest: +SKIP
    """

    _esm = widget_files.module("access_control")
    _css = widget_files.style("access_control")
    state = traitlets.Dict().tag(sync=True)

    def __init__(self, project: str | None = None, *, session: Session | None = None) -> None:
        super().__init__()
        if session is None:
            from ..connected import connect

            session = connect()
        self._session = session
        if project is not None:
            session.get(f"/v1/projects/{project}")  # or the widget would show an empty table
        self.project = project
        self.on_msg(self._clicked)
        self.refresh()

    def refresh(self) -> None:
        """Ask the API again."""
        me = self._session.get("/v1/me")
        roles, members = self._part("/v1/roles", "roles"), self._part("/v1/users", "users")
        permissions, approvals = (
            self._part("/v1/permissions", "permissions"),
            self._part("/v1/approvals?state=pending", "approvals"),
        )
        self.state = {
            "project": self.project,
            "me": _me(me, self.project),
            "roles": [{"name": role["name"], "description": role["description"]} for role in roles["items"]],
            "permissions": [_permission(entry) for entry in permissions["items"]],
            "members": [
                _member(user) for user in members["items"] if self.project is None or _is_in(user, self.project)
            ][:_MOST],
            "approvals": [
                _approval(entry)
                for entry in approvals["items"]
                if self.project is None or entry["scope"] in ("platform", f"project:{self.project}")
            ],
            "hidden": {
                name: part["problem"]
                for name, part in (
                    ("members", members),
                    ("roles", roles),
                    ("permissions", permissions),
                    ("approvals", approvals),
                )
                if part["problem"]
            },
            "error": None,
        }

    def __repr__(self) -> str:
        me, state = self.state["me"], self.state
        lines = [
            f"Access to {self.project or 'all projects'}: {me['subject']} of {me['organisation'] or 'no organisation'}",
            f"  roles: {', '.join(me['roles']) or 'none'}",
            f"  may: {', '.join(me['permissions']) or 'nothing'}",
            f"  members: {'hidden' if 'members' in state['hidden'] else len(state['members'])}",
            f"  requests that wait: {len(state['approvals'])}, {self.waiting} of them for you",
        ]
        return "\n".join(lines)

    @property
    def waiting(self) -> int:
        """How many requests wait for the caller's decision."""
        return sum(1 for entry in self.state["approvals"] if entry["for_me"])

    def _repr_html_(self) -> str:
        """Return the members as a table, for pages without widgets; everything in it is escaped."""
        state = self.state
        head, *facts = (html.escape(line.strip()) for line in repr(self).splitlines())
        rows = "".join(
            "<tr>"
            + "".join(f"<td>{html.escape(text)}</td>" for text in (user["id"], user["state"], ", ".join(user["roles"])))
            + "</tr>"
            for user in state["members"]
        )
        table = f"<table><thead><tr><th>Who</th><th>State</th><th>Roles</th></tr></thead><tbody>{rows}</tbody></table>"
        return f"<p>{head}</p><ul>{''.join(f'<li>{fact}</li>' for fact in facts)}</ul>{table if rows else ''}"

    # ---- inside -------------------------------------------------------------------------------------------------

    def _part(self, path: str, name: str) -> Json:
        """Return what the caller may see of a list, and why no more."""
        try:
            return {"items": self._session.list(path, name), "problem": None}
        except NotAllowed as error:
            return {"items": [], "problem": error.message}

    def _clicked(self, _widget: object, content: Json, _buffers: object) -> None:
        """Refresh, the one thing that the page asks for; what goes wrong is shown there, and nothing is lost."""
        if content.get("do") != "refresh":
            return
        try:
            self.refresh()
        except FlaasError as error:
            self.state = {**self.state, "error": {"message": error.message, "hint": error.hint}}


def permission_name(entry: Json) -> str:
    """Return ``resource:verb`` of a permission."""
    operation = str(entry["operation"])
    return operation if ":" in operation else f"{entry['object']}:{operation}"


def _me(me: Json, project: str | None) -> Json:
    permissions = me.get("permissions", {})
    return {
        "subject": me["subject"],
        "organisation": me.get("organisation"),
        "roles": [held(role) for role in me.get("roles", [])],
        "permissions": sorted(
            operation
            for operation, where in permissions.items()
            if project is None or any(_covers(scope, project, me.get("organisation")) for scope in where)
        ),
    }


def _covers(scope: str, project: str, organisation: str | None) -> bool:
    """Whether a role that is held in `scope` may reach the project: there, on the platform, or by its organisation."""
    return scope in ("platform", f"project:{project}", f"organisation:{organisation}")


def _permission(entry: Json) -> Json:
    return {
        "name": permission_name(entry),
        "description": entry["description"],
        "roles": {role["role"]: list(role["path"]) for role in entry["roles"]},
    }


def _member(user: Json) -> Json:
    return {
        "id": user["id"],
        "name": user["name"],
        "kind": user["kind"],
        "organisation": user["organisation"],
        "state": user["state"],
        "roles": [held(role) for role in user["roles"]],
    }


def _is_in(user: Json, project: str) -> bool:
    return any(_covers(role["scope"], project, user["organisation"]) for role in user["roles"])


def _approval(entry: Json) -> Json:
    links = entry.get("_links", {})
    return {
        "id": entry["id"],
        "action": entry["action"],
        "scope": entry["scope"],
        "requester": entry["requester"],
        "expires": entry["expires"],
        "given": sum(min(factor["given"], factor["needed"]) for factor in entry["factors"]),
        "needed": sum(factor["needed"] for factor in entry["factors"]),
        "for_me": "approve" in links or "deny" in links,
        "mine": "withdraw" in links,
    }
