"""Who belongs to a project's domain, signed with the key that its administrators hold and the API does not.

Because nodes believe these signatures and not the API, a broken API can withhold a member; it cannot add one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..communications.directory import Membership, sign_membership
from ..communications.identity import Identity
from ..errors import NotFound

DAY = 86_400


def membership(
    domain_key: Path, project: str, node_id: str, organisation: str, roles: Sequence[str], days: int
) -> dict[str, Any]:
    """Sign that `node_id` belongs to `project` for `days` days from now.

    Parameters
    ----------
    domain_key : Path
        File of the domain's private key.
    project, node_id, organisation : str
        The domain, the node or notebook (64 hex digits), and whose it is.
    roles : sequence of str
        Of ``node`` and ``developer``.
    days : int
        How long the membership is in force.

    Returns
    -------
    dict
        The signed document. A later one for the same node replaces it: its serial is the present time.

    Raises
    ------
    NotFound
        Code ``no-domain-key``: this machine does not hold the project's domain key.
    """
    if not domain_key.exists():
        raise NotFound(
            f"The domain key of {project!r} is not on this machine ({domain_key}).",
            code="no-domain-key",
            hint="Sign where the key is, or make one for a new project with `flaas domain init`.",
        )
    now = time.time()
    body = Membership(
        domain=project,
        node_id=node_id,
        organisation=organisation,
        roles=tuple(roles),
        not_before=int(now),
        not_after=int(now) + days * DAY,
        serial=int(now * 1000),
    )
    return sign_membership(Identity.load_or_create(domain_key), body)
