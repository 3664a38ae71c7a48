"""A key is revoked in a federation of real processes: every connection of it ends within seconds, and it stays out."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import delete

from flaas_jupyter.communications.directory import Directory
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.mesh import Mesh
from flaas_jupyter.communications.mesh_settings import MeshSettings
from flaas_jupyter.communications.several_carriers import bind_carriers
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.coordination.tables import MembershipRow, RevocationRow
from flaas_jupyter.errors import FlaasError, NotAllowed
from flaas_jupyter.governance.domain import public_key, revocation

PROJECT = "demo"
ASKED = Message("query/budget", {"project": PROJECT, "dataset": "rows"})
SECONDS = 6.0
"""Within which a connection must have ended; two beats of the peer time-out, and the way over the API."""


def until(condition: Callable[[], Any], limit: float = 30.0) -> float:
    """Wait for `condition`; return the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit, "it does not happen"
        time.sleep(0.02)
    return time.monotonic() - began


class Member:
    """A key with a membership of its own and a mesh in this process, on a thread of its own."""

    def __init__(self, federation: Any, roles: list[str]) -> None:
        self.federation = federation
        self.identity = Identity.generate()
        federation._sign(self.identity.node_id, "laboratory", roles)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        key = public_key(federation._admin_home.domain_key(PROJECT), PROJECT)
        self.directory = Directory(PROJECT, key)
        self.directory.update(federation.get(f"/v1/projects/{PROJECT}/directory"))
        self.mesh: Mesh = self.do(self._open())

    async def _open(self) -> Mesh:
        carrier = await bind_carriers(self.identity, MeshSettings(), tuple)
        return await Mesh.open(self.identity, self.directory, carrier=carrier, peer_timeout=5.0)

    def do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def ask(self, node_id: str) -> FlaasError | None:
        """Connect with a node and ask it something; return why it does not answer."""
        try:
            self.do(
                self.mesh.call(node_id, Message("query/budget", {"project": PROJECT, "dataset": "rows"}), timeout=20)
            )
        except FlaasError as error:
            return error
        return None

    def refusal(self, node_id: str) -> str | None:
        """Return for what reason a node refuses the connection; None where it lets us in, or cannot be reached."""
        error = self.ask(node_id)
        return str(error.details.get("reason")) if isinstance(error, NotAllowed) else None

    def close(self) -> None:
        self.do(self.mesh.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@pytest.fixture
def federation(three: Any) -> Any:
    return three[0]


@pytest.fixture
def member(federation: Any) -> Iterator[Member]:
    member = Member(federation, ["developer"])
    yield member
    member.close()


def revoke(federation: Any, node_id: str, reason: str = "lost") -> None:
    document = revocation(federation._admin_home.domain_key(PROJECT), PROJECT, node_id, reason)
    federation.post(f"/v1/projects/{PROJECT}/revocations", document)


def ids(federation: Any) -> dict[str, str]:
    return {name: node.node_id for name, node in federation.nodes.items()}


def test_every_node_closes_the_connections_of_a_revoked_key(federation: Any, member: Member) -> None:
    for node_id in ids(federation).values():
        assert member.ask(node_id) is None
    assert len(member.mesh.connected) == 3
    revoke(federation, member.identity.node_id, reason="laptop stolen")
    took = until(lambda: not member.mesh.connected)
    print(f"connections of a revoked key ended at all three nodes after {took:.2f} s")
    assert took < SECONDS
    for node_id in ids(federation).values():
        until(lambda node_id=node_id: member.refusal(node_id) == "membership-revoked")
    federation._sign(member.identity.node_id, "laboratory", ["developer"])
    until(lambda: member.ask(ids(federation)["north"]) is None)


def test_a_notebook_lets_go_of_a_node_that_was_revoked(federation: Any) -> None:
    north = ids(federation)["north"]
    with federation.connect() as session:
        project = session.get(f"/v1/projects/{PROJECT}")
        mesh, _ = session._loop.run(session.mesh(project))
        for node_id in ids(federation).values():
            session._loop.run(mesh.call(node_id, ASKED, timeout=20))
        assert north in mesh.connected
        try:
            revoke(federation, north)
            took = until(lambda: north not in mesh.connected)
            print(f"a notebook let go of a revoked node after {took:.2f} s")
            assert took < SECONDS
            assert mesh.connected == set(ids(federation).values()) - {north}
            with pytest.raises(NotAllowed) as caught:
                session._loop.run(mesh.call(north, ASKED, timeout=20))
            assert caught.value.code == "membership-revoked"
        finally:
            federation._sign(north, "north", ["node"])
        until(lambda: answers(session, mesh, north))


def answers(session: Any, mesh: Mesh, node_id: str) -> bool:
    try:
        session._loop.run(mesh.call(node_id, ASKED, timeout=20))
    except FlaasError:
        return False
    return True


def test_an_api_that_forgets_a_revocation_does_not_undo_it(federation: Any, member: Member) -> None:
    """The API is taken over: it shows the membership again, and the revocation to nobody any more."""
    me, nodes = member.identity.node_id, ids(federation)
    shown = {row["body"]["node_id"]: row for row in federation.get(f"/v1/projects/{PROJECT}/directory")["memberships"]}
    assert member.ask(nodes["north"]) is None
    federation.kill_node("south")
    revoke(federation, me)
    until(lambda: not member.mesh.connected)
    database = Database(f"sqlite:///{federation.folder / 'coordination.db'}")
    with database.writing() as session:
        session.execute(delete(RevocationRow).where(RevocationRow.node == me))
        session.merge(MembershipRow(project=PROJECT, node=me, serial=1, document=shown[me]))
    database.close()
    listing = federation.get(f"/v1/projects/{PROJECT}/directory")
    assert (listing["revocations"], shown[me] in listing["memberships"]) == ([], True)
    federation.kill_node("north")
    for name in ("north", "south"):
        federation.start_node(name)
    federation.wait_online()

    def reason(name: str) -> str | None:
        member.directory.update(federation.get(f"/v1/projects/{PROJECT}/directory"))
        return member.refusal(nodes[name])

    until(lambda: reason("north") == "membership-revoked")
    until(lambda: reason("south") == "membership-revoked")
    assert "newer revocations than the API" in federation.nodes["south"].log.read_text()


def test_what_a_revoked_developer_asks_for_is_refused(federation: Any) -> None:
    """Its runs end at the nodes, also those under way; queries are not answered."""
    from .conftest import Fit, linear_model

    developer = Identity.load_or_create(federation.developer_home.key).node_id
    fit = Fit(federation, linear_model(secure=False), rounds=1_000)
    fit.wait_round(1)
    run = fit.run_id()
    try:
        revoke(federation, developer)

        def left() -> bool:
            parts = federation.get(f"/v1/runs/{run}")["participants"]
            return {(part["state"], (part["reason"] or {}).get("code")) for part in parts} == {
                ("failed", "membership-revoked")
            }

        took = until(left)
        print(f"all nodes left the run of a revoked developer after {took:.2f} s")
        assert took < SECONDS
        with pytest.raises(FlaasError):
            fit.done(60)
        with federation.connect() as session, pytest.raises(FlaasError) as caught:
            session.project(PROJECT).federation("rows").analytics.mean("x0")
        assert "membership-revoked" in f"{caught.value.code} {caught.value} {caught.value.details}"
    finally:
        federation._sign(developer, "laboratory", ["developer"])
