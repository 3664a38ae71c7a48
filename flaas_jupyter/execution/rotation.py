"""A node goes over to a new key: it asks for it, waits until administrators have signed for it, and switches.

The new key lies beside the old one (``node.key.next``) until then. The node switches between two runs: it tells the
API, which moves its name, data sets and waiting runs, and puts the new key in the place of the old one, which is kept
as ``node.key.old``. A node that is stopped in between finds at its next start how far it had come.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..communications import blocking
from ..communications.coordinator import Coordinator, NodeKey
from ..communications.directory import Directory
from ..communications.identity import Identity
from ..communications.rotation import sign_rotation
from ..communications.trust import Trust
from ..errors import Conflict, NotAllowed, NotAuthenticated, NotFound
from ..home import Home
from .enrolment import Enrolment


class KeyRotatedError(Exception):
    """The node has a new key, and is to be started anew with it."""


def next_key(home: Home) -> Path:
    """Return where the new key lies while the old one is in use."""
    return home.key.with_name("node.key.next")


def begin(home: Home) -> dict[str, Any]:
    """Make a new key for the node in `home`, and tell the API, signed with both; again changes nothing.

    Returns
    -------
    dict
        ``node``, ``new``, ``projects``.

    Raises
    ------
    Conflict
        Code ``not-joined``: the node is in no project.
    """
    enrolment = Enrolment.load(home.enrolment)
    if not enrolment.projects:
        raise Conflict(
            f"Node {enrolment.name!r} has joined no project.",
            code="not-joined",
            hint="Join first; a key that nobody knows is simply made anew.",
        )
    old, new = Identity.load_or_create(home.key), Identity.load_or_create(next_key(home))
    statement = sign_rotation(old, new, int(time.time()))
    blocking.run(_begin(home, enrolment, old, statement))
    return {"node": old.node_id, "new": new.node_id, "projects": sorted(enrolment.projects)}


async def _begin(home: Home, enrolment: Enrolment, old: Identity, statement: dict[str, Any]) -> None:
    async with Coordinator(enrolment.url, NodeKey(old), trust=Trust.of(home, enrolment.url)) as coordinator:
        await coordinator.post(f"/v1/nodes/{old.node_id}/rotation", statement)


def is_signed(home: Home, directories: Iterable[Directory]) -> bool:
    """Tell whether the administrators of every project have signed for the new key; False if there is none."""
    path = next_key(home)
    if not path.exists():
        return False
    new = Identity.load_or_create(path).node_id
    try:
        for directory in directories:
            member = directory.member(new)
            if "node" not in member.roles:
                return False
    except NotAllowed:
        return False
    return True


async def complete(home: Home, enrolment: Enrolment, identity: Identity, coordinator: Coordinator) -> None:
    """Have the new key take the node's place, at the API and then in `home`.

    Raises
    ------
    Conflict
        ``node-busy``, ``rotation-not-signed``; it is tried again later.
    NotFound
        The API knows neither key.
    Unreachable
        It may have happened or not; asking again finds out.
    """
    try:
        await coordinator.post(f"/v1/nodes/{identity.node_id}/rotation/completion", {})
    except NotFound:  # as when the answer to an earlier attempt was lost
        if not await resume(home, enrolment, identity):
            raise
    else:
        _put_in_place(home)


async def resume(home: Home, enrolment: Enrolment, identity: Identity) -> bool:
    """Finish what was interrupted after the API had moved the node; tell whether the key is another than `identity`."""
    path = next_key(home)
    if path.exists():
        new = Identity.load_or_create(path)
        try:
            async with Coordinator(enrolment.url, NodeKey(new), trust=Trust.of(home, enrolment.url)) as coordinator:
                await coordinator.get(f"/v1/nodes/{new.node_id}")
        except (NotFound, NotAuthenticated):
            return False
    if path.exists():  # another task of this node may have been first
        _put_in_place(home)
    return Identity.load_or_create(home.key).node_id != identity.node_id


def _put_in_place(home: Home) -> None:
    """Replace the key, atomically; the old one is kept."""
    kept = home.key.with_name("node.key.old")
    kept.unlink(missing_ok=True)
    os.link(home.key, kept)
    next_key(home).replace(home.key)
