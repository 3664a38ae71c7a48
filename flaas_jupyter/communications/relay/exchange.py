"""Who is connected, and what passes between them: frames go to the newest connection of a key in the same domain.

A node that has connected twice (its network has changed, and the old connection is not yet known to be dead) is
served at the newer one; should that end, at the older one again, as iroh's own relay does it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..token_bucket import TokenBucket
from . import frames
from .counters import Counters
from .limits import Limits, Memory
from .session import Session


class Exchange:
    """The sessions of a relay.

    Parameters
    ----------
    limits : Limits
        Of connections, rates and queues.
    counters : Counters
        What is counted.
    """

    def __init__(self, limits: Limits, counters: Counters) -> None:
        self.memory = Memory(limits.memory)
        self._limits, self._counters = limits, counters
        self._by_key: dict[bytes, list[Session]] = {}
        self._buckets: dict[bytes, TokenBucket] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Session]:
        return iter([session for sessions in self._by_key.values() for session in sessions])

    def bucket(self, key: bytes) -> TokenBucket:
        """Return what the connections of `key` may send together; it outlives them, so that leaving refills nothing."""
        return self._buckets.setdefault(key, self._limits.bucket())

    def forget_buckets(self, known: frozenset[str]) -> None:
        """Forget the budgets of keys that are neither connected nor among `known` (node ids)."""
        for key in [key for key in self._buckets if key not in self._by_key and key.hex() not in known]:
            del self._buckets[key]

    def join(self, session: Session) -> Session | None:
        """Let `session` send and receive from now on; return one of the same key that is one too many."""
        sessions = self._by_key.setdefault(session.key, [])
        if sessions:
            sessions[-1].offer(frames.replaced(sessions[-1].version))
        sessions.append(session)
        self._count += 1
        self._counters.connections.set(self._count)
        return sessions[0] if len(sessions) > self._limits.connections_per_key else None

    def leave(self, session: Session) -> None:
        """Take `session` out, and tell those to whom its key has sent if that was its last."""
        sessions = self._by_key[session.key]
        was_newest = sessions[-1] is session
        sessions.remove(session)
        self._count -= 1
        self._counters.connections.set(self._count)
        session.forget()
        if sessions:
            heir = sessions[-1]
            heir.correspondents |= session.correspondents
            if was_newest and (told := frames.restored(heir.version)):
                heir.offer(told)
            return
        del self._by_key[session.key]
        for key in session.correspondents:
            if receivers := self._by_key.get(key):
                receivers[-1].offer(frames.gone(session.key))

    def forward(self, sender: Session, datagrams: frames.Datagrams) -> None:
        """Queue `datagrams` for its destination, if that is connected and shares a domain with `sender`."""
        receivers = self._by_key.get(datagrams.destination)
        # To a sender a key of another domain is as absent as one that is not connected.
        if not receivers:
            self._counters.dropped.labels("absent").inc()
            return
        receiver = receivers[-1]
        if sender.domains.isdisjoint(receiver.domains):
            self._counters.dropped.labels("other-domain").inc()
            return
        frame = datagrams.from_key(sender.key)
        if not receiver.offer(frame):
            self._counters.dropped.labels("queue-full").inc()
            return
        sender.correspondents.add(datagrams.destination)
        self._counters.forwarded.inc()
        self._counters.bytes_out.inc(len(frame))
