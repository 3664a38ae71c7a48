"""A relay: it carries sealed QUIC packets between nodes that cannot reach each other directly.

It speaks iroh's relay protocol (versions 1 and 2) over WebSocket, so that the nodes' own endpoints use it as they are.
It learns which keys are connected, how much they send to whom and when; what they send it cannot read. It forwards
only between members of one domain, as the signed directories say, and keeps nothing about pairs.

`frames` and `handshake` are the protocol, `admission` says who may come in, `exchange` who is connected and what
passes between them, `server` the sockets around it.
"""

from __future__ import annotations
