"""What may be sent about the mesh, and is answered: who is connected with whom and how well, never where anybody is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from .schemas import Count, Key, SignedDocument, _In, _Out, _Resource

Kind = Literal["direct", "relay", "tls"]
"""How a connection runs: QUIC over UDP, by a relay, or TLS over TCP."""
Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, lt=1e15, allow_inf_nan=False)]


class DialIn(_In):
    """Whom to have connect back; a person's key shows by its signed record that it is the caller's."""

    to: Key
    record: SignedDocument | None = None


class LinkIn(_In):
    """A connection of the reporting node: round-trip time in seconds, throughput in bytes a second."""

    node_id: Key
    kind: Kind
    rtt: Seconds | None
    throughput: Rate | None
    bytes: Count


class LinksIn(_In):
    """All connections of the reporting node."""

    links: Annotated[list[LinkIn], Field(max_length=1000)]


class MeshNode(_Out):
    """A node of a project."""

    id: str
    name: str
    organisation: str
    roles: list[str]
    online: bool
    reported: AwareDatetime | None


class MeshLink(_Out):
    """A connection as the node `from` has told of it."""

    from_: str = Field(alias="from")
    to: str
    kind: Kind
    rtt: float | None
    throughput: float | None
    bytes: int


class Mesh(_Resource):
    """The nodes of a project and how they are connected."""

    project: str
    nodes: list[MeshNode]
    connections: list[MeshLink] = Field(alias="links")
