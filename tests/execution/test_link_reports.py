"""What a node tells of its connections, and when."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from flaas_jupyter.communications.carrier import Path, Whereabouts
from flaas_jupyter.communications.coordinator import Coordinator
from flaas_jupyter.communications.directory import Peer
from flaas_jupyter.communications.mesh import PeerStatus
from flaas_jupyter.errors import NotAllowed, Unreachable
from flaas_jupyter.execution import link_reports
from flaas_jupyter.execution.link_reports import PAUSE, RENEWAL, LinkReports

A, B, PERSON = "aa" * 32, "bb" * 32, "dd" * 32


def peer(node_id: str, kind: str | None = "direct", rtt: float | None = 0.0125) -> PeerStatus:
    path = None if kind is None else Path(kind, "192.0.2.1:4000", rtt)
    return PeerStatus(node_id, path, 1000, 24, 1234567.8)


class Members:
    """A directory in which A and B are nodes, and PERSON is a developer."""

    domain = "demo"

    def peer(self, node_id: str, now: float | None = None) -> Peer:
        if node_id not in (A, B, PERSON):
            raise NotAllowed(f"{node_id} is no member.", code="unknown-peer")
        return Peer(node_id, "north", ("developer",) if node_id == PERSON else ("node",), Whereabouts())

    def require(self, node_id: str, role: str, now: float | None = None) -> Peer:
        return self.peer(node_id, now)


def reports(*peers: PeerStatus) -> tuple[LinkReports, list[PeerStatus]]:
    """Return reports of a mesh, and its peers, which may be changed."""
    mesh = list(peers)
    return LinkReports("cc" * 32, lambda: mesh, Members(), Coordinator("http://127.0.0.1:1")), mesh


def test_kinds_and_figures_are_told_and_no_addresses():
    told = reports(peer(A), peer(B, "relay", None))[0].due(0.0)
    assert told == [
        {"node_id": A, "kind": "direct", "rtt": 0.0125, "throughput": 1234568, "bytes": 1024},
        {"node_id": B, "kind": "relay", "rtt": None, "throughput": 1234568, "bytes": 1024},
    ]


def test_peoples_notebooks_and_keys_that_are_no_members_are_nobodys_business():
    told, _ = reports(peer(PERSON), peer("ee" * 32), peer(A))
    assert [link["node_id"] for link in told.due(0.0)] == [A]


def test_a_peer_that_is_not_connected_is_left_out():
    assert [link["node_id"] for link in reports(peer(A, None), peer(B))[0].due(0.0)] == [B]


def test_the_same_is_told_again_in_time():
    told, _ = reports(peer(A))
    assert told.due(0.0)
    assert told.due(RENEWAL - 0.1) is None
    assert told.due(RENEWAL)


def test_a_change_is_told_after_a_pause():
    told, mesh = reports(peer(A))
    assert told.due(0.0)
    for change, moment in (([peer(A, "relay")], 0.0), ([peer(A, "relay"), peer(B)], 1.0), ([], 2.0)):
        mesh[:] = change
        assert told.due(moment * PAUSE + 1.0) is None
        assert told.due((moment + 1) * PAUSE) == [
            {"node_id": each.node_id, "kind": each.path.kind, "rtt": 0.0125, "throughput": 1234568, "bytes": 1024}
            for each in change
        ]


def test_figures_alone_are_no_reason_to_tell():
    told, mesh = reports(peer(A))
    assert told.due(0.0)
    mesh[:] = [peer(A, rtt=0.5)]
    assert told.due(PAUSE) is None


def test_what_did_not_arrive_is_told_again_before_the_renewal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_reports, "PAUSE", 0.0)
    monkeypatch.setattr(link_reports, "_LOOK", 0.0)
    told: list[list[dict[str, Any]]] = []
    arrived = asyncio.Event()

    class Away(Coordinator):
        """An API that does not answer the first time."""

        async def put(self, path: str, json: dict[str, Any] | None = None, **how: Any) -> dict[str, Any]:
            assert path == f"/v1/nodes/{'cc' * 32}/links"
            told.append(json["links"])
            if len(told) == 1:
                raise Unreachable("It does not answer.")
            arrived.set()
            return {}

    async def scenario() -> None:
        async with Away("http://127.0.0.1:1") as api:
            work = asyncio.create_task(LinkReports("cc" * 32, lambda: [peer(A)], Members(), api).run())
            await asyncio.wait_for(arrived.wait(), RENEWAL / 3)
            for _ in range(10):
                await asyncio.sleep(0)
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work

    asyncio.run(scenario())
    assert [[link["node_id"] for link in links] for links in told] == [[A], [A]], "and once when it has arrived"
