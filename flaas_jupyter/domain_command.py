"""``flaas domain approve``: the holders of a domain key sign for the nodes of a launch.

The coordination API tells which nodes a launch has registered; it cannot sign for them. Who signs vouches for what is
shown: a broken API could show a node of its own, so nodes of a launch that nobody expects are not to be signed for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .errors import InvalidInput
from .governance.domain import membership

Call = Callable[..., dict[str, Any]]
_POLL = 1.0
_OVER = ("ended", "failed", "ending")
_BEFORE = ("planned", "launching", "booting", "registered")


def approve(
    call: Call,
    domain_key: Path,
    project: str,
    launch_id: str,
    *,
    agreed: Callable[[str], bool],
    watch: bool = False,
    days: int = 30,
    poll: float = _POLL,
) -> list[str]:
    """Sign for the registered nodes of a launch, and leave the memberships with the API.

    Parameters
    ----------
    call : callable
        ``call("get" or "post", path, body)`` at the API, as the administrator.
    domain_key : Path
        File of the domain's private key.
    project, launch_id : str
        Which nodes.
    agreed : callable
        Given what would be signed, tells whether to.
    watch : bool
        Go on until every node of the launch is past its registration, or the launch is over.
    days : int
        How long the memberships are in force.
    poll : float
        Seconds between looks.

    Returns
    -------
    list of str
        Names of the nodes that were signed for.

    Raises
    ------
    InvalidInput
        Code ``wrong-project``: the launch is for another project.
    NotFound
        ``unknown-launch``, ``no-domain-key``.
    """
    seen: set[str] = set()
    signed: list[str] = []
    while True:
        launch = call("get", f"/v1/launches/{quote(launch_id, safe='')}")
        if launch["project"] != project:
            raise InvalidInput(
                f"Launch {launch_id} is for project {launch['project']!r}, not {project!r}.",
                code="wrong-project",
                hint="Name the project that it was launched for.",
            )
        waiting = [node for node in launch["nodes"] if node["state"] == "registered" and node["node_id"] not in seen]
        seen |= {node["node_id"] for node in waiting}
        if waiting and agreed("\n".join(_shown(node, launch["organisation"]) for node in waiting)):
            for node in waiting:
                document = membership(domain_key, project, node["node_id"], launch["organisation"], ["node"], days)
                call("post", f"/v1/projects/{quote(project, safe='')}/memberships", document)
                signed.append(node["name"])
        unfinished = any(node["state"] in _BEFORE and node["node_id"] not in seen for node in launch["nodes"])
        if not watch or launch["state"] in _OVER or not unfinished:
            return signed
        time.sleep(poll)


def _shown(node: dict[str, Any], organisation: str) -> str:
    return f"{node['name']:24} {organisation:20} {node['node_id']}"
