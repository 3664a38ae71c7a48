"""Which peers this node's owner lets in, of those that the domain's administrators have signed for.

With ``peers = "manual"`` in ``node.toml`` a signature is not enough: the owner is asked once about each key, and the
answer is pinned with the organisation and roles that it was given for. A membership that says more asks anew. A key
that the owner has refused, or denied in ``node.toml``, stays out whatever is signed.

Everything is in ``peers.json`` in `FLAAS_HOME`; the command that answers is another process than the node.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..communications.directory import Peer
from ..communications.identity import require_node_id
from ..errors import InvalidInput, NotAllowed, NotFound
from ..home import Home, locked, write_private
from .policy import Policy

log = logging.getLogger(__name__)

FILE = "peers.json"
AWAITS = "peer-awaits-owner"
_VERSION = 1

Entry = dict[str, Any]


class PeerList:
    """What the owner of a node has said of peers.

    Parameters
    ----------
    path : Path
        The file; it is read anew whenever it has changed. Once it is damaged, what it said before holds until it is
        mended or removed.
    policy : Policy
        The owner's.
    node_id : str
        This node's own key, which is never asked about.

    Raises
    ------
    InvalidInput
        Code ``bad-peers-file``: the file is damaged.
    """

    def __init__(self, path: Path, policy: Policy, node_id: str) -> None:
        self._path, self._policy, self._node_id = path, policy, node_id
        self._loading = threading.Lock()  # the node's threads ask too
        self._seen, self._damaged = _stamp(path), False
        self._entries = _read(path)
        self._answers = self._states()

    def admit(self, domain: str, peer: Peer) -> None:
        """Refuse a member whom the owner does not let in.

        Raises
        ------
        NotAllowed
            ``peer-denied``, ``peer-refused``, ``peer-awaits-owner``.
        """
        if peer.node_id == self._node_id:
            return
        if peer.node_id in self._policy.deny_peers:
            raise self._refusal(peer, "peer-denied", "denies")
        self._load()
        entry = self._entries.get(_place(domain, peer.node_id))
        if entry is not None and entry["refused"]:
            raise self._refusal(peer, "peer-refused", "has refused")
        if self._policy.peers == "manual" and not _covers(entry, peer):
            raise self._refusal(peer, AWAITS, "has not yet accepted")

    def notice(self, domain: str, members: Iterable[Peer]) -> list[Peer]:
        """Write down members that are new, or of whom something else is signed; return those the owner is asked about.

        What is a relay alone is no peer, and is not asked about.

        Returns
        -------
        list of Peer
            Only those that are new since the last time. What cannot be written down is tried again the next time.
        """
        self._load()
        others = [peer for peer in members if peer.node_id != self._node_id and peer.roles != ("relay",)]
        changed = [peer for peer in others if self._changes(domain, peer)]
        if not changed:
            return []
        try:
            with locked(self._path):
                self._load()
                if self._damaged:
                    return []  # its owner may be able to mend it
                entries = dict(self._entries)
                for peer in changed:
                    place = _place(domain, peer.node_id)
                    known = entries.get(place, {"accepted": None, "refused": False})
                    said = {"organisation": peer.organisation, "roles": list(peer.roles), "asked": int(time.time())}
                    entries[place] = {"domain": domain, "node_id": peer.node_id, **known, **said}
                _write(self._path, entries)
                with self._loading:
                    self._entries, self._seen = entries, _stamp(self._path)
        except OSError as error:
            log.error("the members of %s that are new cannot be written to %s: %s", domain, self._path, error)
            return []
        if self._policy.peers != "manual":
            return []
        return [peer for peer in changed if not _covers(self._entries[_place(domain, peer.node_id)], peer)]

    def has_news(self) -> bool:
        """Tell whether the owner has answered since this was asked last, or since the list was read first."""
        self._load()
        answers = self._states()
        before, self._answers = self._answers, answers
        return any(before.get(place, "waits") != state for place, state in answers.items())

    def _states(self) -> dict[str, str]:
        return {place: _state(entry) for place, entry in self._entries.items()}

    def _changes(self, domain: str, peer: Peer) -> bool:
        entry = self._entries.get(_place(domain, peer.node_id))
        return entry is None or (entry["organisation"], entry["roles"]) != (peer.organisation, list(peer.roles))

    def _load(self) -> None:
        with self._loading:
            stamp = _stamp(self._path)
            if stamp == self._seen:
                return
            self._seen, self._damaged = stamp, False
            try:
                self._entries = _read(self._path)
            except InvalidInput as error:
                self._damaged = True
                log.error("%s Until then this node goes by what it said before.", error)

    def _refusal(self, peer: Peer, code: str, verb: str) -> NotAllowed:
        return NotAllowed(
            f"This node's owner {verb} the peer {peer.node_id} of {peer.organisation!r}.",
            code=code,
            hint=f"Ask {self._policy.whom}.",
            node=peer.node_id,
        )


def listed(home: Home) -> list[Entry]:
    """Return the peers that the node in `home` has seen, those that wait for its owner first (``flaas node peers``)."""
    policy = Policy.load(home.policy)
    rows = [{**entry, "state": _shown(entry, policy)} for entry in _read(home.path / FILE).values()]
    return sorted(rows, key=lambda row: (row["state"] != "waits", row["domain"], row["organisation"], row["node_id"]))


def decide(home: Home, node_id: str, *, accept: bool) -> list[Entry]:
    """Accept or refuse, as the node's owner, a peer in all projects in which it was seen; the node notices by itself.

    Raises
    ------
    NotFound
        Code ``unknown-peer``: no signed membership of the key was seen.
    InvalidInput
        Code ``bad-node-id``.
    """
    require_node_id(node_id)
    path = home.path / FILE
    with locked(path):
        entries = _read(path)
        found = [entry for entry in entries.values() if entry["node_id"] == node_id]
        if not found:
            raise NotFound(
                f"No membership of {node_id} was seen here.",
                code="unknown-peer",
                hint="`flaas node peers` lists the peers. To keep out a key that is not listed, write it into "
                "deny_peers in node.toml.",
            )
        for entry in found:
            said = {"organisation": entry["organisation"], "roles": entry["roles"]}
            entry.update(accepted=said if accept else None, refused=not accept)
        _write(path, entries)
    return found


def _covers(entry: Entry | None, peer: Peer) -> bool:
    """Tell whether the owner has accepted `peer` with all that is signed of it now."""
    accepted = entry["accepted"] if entry is not None else None
    return (
        accepted is not None
        and accepted["organisation"] == peer.organisation
        and set(peer.roles) <= set(accepted["roles"])
    )


def _state(entry: Entry) -> str:
    if entry["refused"]:
        return "refused"
    accepted = entry["accepted"]
    same = accepted is not None and accepted["organisation"] == entry["organisation"]
    return "accepted" if same and set(entry["roles"]) <= set(accepted["roles"]) else "waits"


def _shown(entry: Entry, policy: Policy) -> str:
    if entry["node_id"] in policy.deny_peers:
        return "denied"
    state = _state(entry)
    return "signed" if state == "waits" and policy.peers != "manual" else state


def _place(domain: str, node_id: str) -> str:
    return f"{domain}/{node_id}"


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return what changes whenever the file is replaced."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def _read(path: Path) -> dict[str, Entry]:
    if not path.exists():
        return {}
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["version"] != _VERSION:
            raise ValueError("another version")
        return {_place(entry["domain"], entry["node_id"]): _sound(entry) for entry in body["peers"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{path} does not hold this owner's answers about peers ({type(error).__name__}).",
            code="bad-peers-file",
            hint="Restore it from a backup, or remove it: the owner is then asked about every peer anew.",
        ) from error


def _sound(entry: Entry) -> Entry:
    accepted = entry["accepted"]
    if accepted is not None:
        accepted = {"organisation": str(accepted["organisation"]), "roles": [str(role) for role in accepted["roles"]]}
    return {
        "domain": str(entry["domain"]),
        "node_id": str(entry["node_id"]),
        "organisation": str(entry["organisation"]),
        "roles": [str(role) for role in entry["roles"]],
        "asked": int(entry["asked"]),
        "accepted": accepted,
        "refused": bool(entry["refused"]),
    }


def _write(path: Path, entries: dict[str, Entry]) -> None:
    write_private(path, json.dumps({"version": _VERSION, "peers": list(entries.values())}, indent=1).encode())
