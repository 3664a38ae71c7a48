"""One session of a secure sum: the settings together with the keys that were advertised.

Everything after the first step, masks, sealed shares and signatures, is bound to the session's digest. So members who
were shown different keys do not understand each other, what was said in an earlier attempt is worth nothing in a later
one that bears the same number, and the order of the ring follows from what no single member chose.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

from . import graph
from .graph import Graph
from .messages import Advertisement
from .settings import RoundSettings


class Session:
    """What follows from the settings and the advertised keys.

    Attributes
    ----------
    digest : bytes
        SHA-256 over the settings' context and every member's id, keys and commitment.
    graph : Graph
        Who shares secrets and masks with whom.
    advertisements : dict of str to Advertisement
        Checked beforehand, see `messages.check_advertisements`.
    """

    def __init__(self, settings: RoundSettings, advertisements: Mapping[str, Advertisement]) -> None:
        self.settings, self.advertisements = settings, dict(advertisements)
        digest = hashlib.sha256(b"session|" + settings.context)
        for member, said in sorted(advertisements.items()):
            digest.update(bytes.fromhex(member) + said.seal_key + said.mask_key + said.commitment)
        self.digest = digest.digest()
        self.graph = Graph(self.digest, advertisements, self._parameters(), settings.threshold)

    def _parameters(self) -> graph.Parameters | None:
        settings, members = self.settings, len(self.settings.members)
        if settings.degree is not None:
            return None if settings.degree == members - 1 else graph.of_degree(settings.degree)
        if members <= graph.FULL_UP_TO:
            return None
        # Whoever did not advertise has dropped out; of those who did as many may collude as of all.
        there = len(self.advertisements)
        spare = max(0, math.floor(graph.DROPOUT * members) - (members - there))
        return graph.choose(there, math.floor(graph.CORRUPT * members), spare)
