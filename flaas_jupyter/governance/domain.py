"""What a project's domain key signs: who belongs to it, and who does not any more.

Administrators hold the key, and the API does not. Because nodes believe these signatures and not the API, a broken API
can withhold a member; it cannot add one, nor bring back one that was revoked.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..communications.domain_key import DomainKey, Holder, Holders, pinned
from ..communications.identity import Identity
from ..communications.membership import Membership, sign_membership
from ..communications.network import Network, sign_network
from ..communications.revocation import Revocation, sign_revocation
from ..errors import Conflict, InvalidInput, NotFound
from ..home import write_private

DAY = 86_400


def load(path: Path, project: str) -> DomainKey:
    """Return what this machine signs for `project` with.

    Parameters
    ----------
    path : Path
        File of the private key; the holders document, where there are several holders, lies beside it.
    project : str
        For messages.

    Raises
    ------
    NotFound
        Code ``no-domain-key``: this machine does not hold the project's domain key.
    InvalidInput
        Code ``bad-holders``: the holders document is damaged.
    """
    if not path.exists():
        raise NotFound(
            f"The domain key of {project!r} is not on this machine ({path}).",
            code="no-domain-key",
            hint="Sign where the key is, or make one for a new project with `flaas domain init`.",
        )
    identity, file = Identity.load_or_create(path), holders_file(path)
    if not file.exists():
        return identity
    try:
        return Holder(identity, Holders.parse(json.loads(file.read_text(encoding="utf-8"))))
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{file} does not name the holders of the domain key ({type(error).__name__}).",
            code="bad-holders",
            hint="Restore it, or run `flaas domain init` again with the same holders and threshold.",
        ) from error


def keep_holders(path: Path, holders: Holders) -> str:
    """Keep, beside the private key in `path`, who else holds the domain key; return the domain key that nodes pin.

    Raises
    ------
    InvalidInput
        Code ``not-a-holder``: this machine's key is none of them.
    Conflict
        Code ``holders-exist``: other holders are kept already.
    """
    identity, file = Identity.load_or_create(path), holders_file(path)
    if identity.node_id not in holders.keys:
        raise InvalidInput(
            f"This machine's key {identity.node_id} is none of the holders.",
            code="not-a-holder",
            hint="Name it among them: each holder makes a key with `flaas domain init PROJECT` and tells the others.",
        )
    document = json.dumps(holders.document).encode()
    if file.exists() and file.read_bytes() != document:
        raise Conflict(
            f"{file} names other holders.",
            code="holders-exist",
            hint="A domain keeps its holders: other holders are another domain key, which every node has to pin anew.",
        )
    write_private(file, document)
    return holders.domain_key


def holders_file(path: Path) -> Path:
    """Return where the holders document of the private key in `path` is."""
    return path.with_suffix(".holders.json")


def public_key(path: Path, project: str) -> str:
    """Return the domain key that nodes pin, 64 hex digits; see `load`."""
    return pinned(load(path, project))


def membership(
    domain_key: Path,
    project: str,
    node_id: str,
    organisation: str,
    roles: Sequence[str],
    days: float,
    *,
    after: int = -1,
) -> dict[str, Any]:
    """Sign that `node_id` belongs to `project` for `days` days from now.

    Parameters
    ----------
    domain_key : Path
        File of the domain's private key.
    project, node_id, organisation : str
        The domain, the node or notebook (64 hex digits), and whose it is.
    roles : sequence of str
        Of ``node``, ``developer``, ``explorer`` and ``relay``.
    days : float
        How long the membership is in force.
    after : int
        Highest serial that is known of the key, which the new one exceeds also if this machine's clock is behind.

    Returns
    -------
    dict
        The signed document. A later one for the same node replaces it: its serial is the present time.

    Raises
    ------
    NotFound
        Code ``no-domain-key``: this machine does not hold the project's domain key.
    """
    key, now = load(domain_key, project), time.time()
    body = Membership(
        domain=project,
        node_id=node_id,
        organisation=organisation,
        roles=tuple(roles),
        not_before=int(now),
        not_after=int(now + days * DAY),
        serial=max(_serial(now), after + 1),
    )
    return sign_membership(key, body)


def revocation(domain_key: Path, project: str, node_id: str, reason: str, *, after: int = -1) -> dict[str, Any]:
    """Sign that `node_id` does not belong to `project` any more; see `membership`.

    A revocation counts above a membership of the same serial, so `after` itself is enough: also the highest there is.
    """
    key, now = load(domain_key, project), time.time()
    return sign_revocation(key, Revocation(project, node_id, max(_serial(now), after), reason, int(now)))


def network(domain_key: Path, wanted: Network, *, after: int = -1) -> dict[str, Any]:
    """Sign a domain's network, with a serial of the present time that is above `after`; see `membership`."""
    serial = max(_serial(time.time()), after + 1)
    return sign_network(load(domain_key, wanted.domain), replace(wanted, serial=serial))


def require_usual_serial(serial: int) -> None:
    """Refuse a serial that lies more than a day ahead: after the highest there is, nothing could be signed any more.

    Raises
    ------
    InvalidInput
        Code ``serial-ahead``.
    """
    highest = _serial(time.time() + DAY)
    if serial > highest:
        raise InvalidInput(
            f"Its serial is {serial}; serials are the time in milliseconds, and now at most {highest}.",
            code="serial-ahead",
            hint="Whoever signed it first has a clock that is ahead, or means to make it last: do not sign it.",
        )


def _serial(now: float) -> int:
    return int(now * 1000)
