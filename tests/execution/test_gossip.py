"""A revocation that the API keeps from some nodes reaches them from their peers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.communications.carrier import Whereabouts
from flaas_jupyter.communications.directory import Peer
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import FlaasError, NotAllowed, NotFound
from flaas_jupyter.execution.domains import Domains
from flaas_jupyter.execution.gossip import MESSAGE, MOST_DOCUMENTS, Gossip
from flaas_jupyter.home import Home

sys.path.insert(0, str(Path(__file__).parents[1] / "communications"))
from mesh_domain import Domain

IDS = {name: Identity(name.encode().ljust(32, b".")).node_id for name in ("north", "south", "west", "east")}
TARGET = "ab" * 32


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Api:
    """What the API tells one node: it may keep things back from it."""

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.hides: set[str] = set()

    async def get(self, path: str) -> dict[str, Any]:
        listing = self.domain.listing()
        listing["revocations"] = [one for one in listing["revocations"] if one["body"]["node_id"] not in self.hides]
        return listing


class Net:
    """Nodes that call each other within one process, as the mesh would have them."""

    def __init__(self, domain: Domain, names: list[str], folder: Path | None = None) -> None:
        self.domain = domain
        self.apis = {name: Api(domain) for name in names}
        self.messages: list[tuple[str, str]] = []
        self.nodes: dict[str, Domains] = {}
        self.gossips: dict[str, Gossip] = {}
        self.spreading: set[asyncio.Task[None]] = set()
        for name in names:
            domain.admit(IDS[name])
        domain.admit(TARGET)
        for name in names:
            home = Home(folder / name) if folder else None
            self.nodes[name] = Domains({domain.name: domain.key.node_id}, self.apis[name], home=home)  # type: ignore[arg-type]
            others = [IDS[other] for other in names if other != name]
            self.gossips[name] = Gossip(IDS[name], self.nodes[name], self.asks(name), lambda others=others: others, 5.0)
            self.nodes[name].on_news(self.watcher(name))

    def asks(self, name: str) -> Callable[[str, Message, float], Awaitable[Message]]:
        async def ask(node_id: str, message: Message, limit: float) -> Message:
            other = next(known for known, key in IDS.items() if key == node_id)
            self.messages.append((name, other))
            reply = await self.gossips[other].answer(Peer(IDS[name], "clinic", ("node",), Whereabouts()), message)
            return Message(reply.type, reply.body)

        return ask

    def watcher(self, name: str) -> Callable[[str, frozenset[str]], None]:
        def news(project: str, kinds: frozenset[str]) -> None:
            if "revocations" in kinds:
                task = asyncio.ensure_future(self.gossips[name].spread())
                self.spreading.add(task)
                task.add_done_callback(self.spreading.discard)

        return news

    async def settle(self) -> None:
        while self.spreading:
            await asyncio.gather(*self.spreading)

    def knows(self, name: str) -> bool:
        try:
            self.nodes[name].peer(TARGET)
        except NotAllowed as error:
            return error.code == "membership-revoked"
        return False


@pytest.fixture
def net(tmp_path: Path) -> Net:
    return Net(Domain(), list(IDS), tmp_path)


async def refreshed(net: Net) -> None:
    for domains in net.nodes.values():
        await domains.refresh()
    await net.settle()


@pytest.mark.anyio
async def test_what_one_node_is_told_all_learn(net: Net) -> None:
    await refreshed(net)
    for name in ("south", "west", "east"):
        net.apis[name].hides.add(TARGET)
    net.domain.revoke(TARGET)
    await refreshed(net)
    assert all(net.knows(name) for name in IDS)


@pytest.mark.anyio
async def test_two_that_meet_later_compare(net: Net) -> None:
    await refreshed(net)
    net.domain.revoke(TARGET)
    statements = net.nodes["north"][net.domain.name].statements
    statements.learn("revocations", net.domain.revocations[TARGET])
    assert [net.knows(name) for name in ("north", "south")] == [True, False]
    await net.gossips["south"].exchange(IDS["north"])
    assert net.knows("south"), "the one that dials gets what the other knows"
    await net.gossips["north"].exchange(IDS["west"])
    assert net.knows("west"), "and tells what it knows itself"


@pytest.mark.anyio
async def test_nodes_that_know_the_same_send_one_message_and_no_document(net: Net) -> None:
    await refreshed(net)
    net.messages.clear()
    await net.gossips["south"].exchange(IDS["north"])
    assert net.messages == [("south", "north")]


@pytest.mark.anyio
async def test_a_peer_can_make_nobody_a_member_whom_the_api_does_not_list(net: Net) -> None:
    await refreshed(net)
    stranger = "cd" * 32
    documents = {"memberships": [net.domain.admit(stranger)]}
    body = {"domain": net.domain.name, "versions": {}, "documents": documents}
    await net.gossips["north"].answer(Peer(IDS["south"], "clinic", ("node",), Whereabouts()), Message(MESSAGE, body))
    with pytest.raises(NotAllowed, match="not a member"):
        net.nodes["north"].peer(stranger)


@pytest.mark.anyio
async def test_a_peer_cannot_revoke(net: Net) -> None:
    await refreshed(net)
    key, net.domain.key = net.domain.key, Identity.generate()
    forged = net.domain.revoke(TARGET)
    net.domain.key = key
    body = {"domain": net.domain.name, "versions": {}, "documents": {"revocations": [forged]}}
    await net.gossips["north"].answer(Peer(IDS["south"], "clinic", ("node",), Whereabouts()), Message(MESSAGE, body))
    assert not net.knows("north")


@pytest.mark.anyio
async def test_after_a_false_document_no_more_of_a_peers_are_looked_at(
    net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    await refreshed(net)
    key, net.domain.key = net.domain.key, Identity.generate()
    forged = net.domain.admit("cd" * 32)
    net.domain.key = key
    revocation = net.domain.revoke(TARGET)
    directory = net.nodes["north"][net.domain.name]
    looked, learn = [], directory.statements.learn

    def counted(kind: str, document: object) -> tuple[str, bool]:
        looked.append(kind)
        return learn(kind, document)

    monkeypatch.setattr(directory.statements, "learn", counted)
    documents = {"memberships": [forged] * 20, "revocations": [revocation]}
    body = {"domain": net.domain.name, "versions": {}, "documents": documents}
    peer = Peer(IDS["south"], "clinic", ("node",), Whereabouts())
    await net.gossips["north"].answer(peer, Message(MESSAGE, body))
    assert looked == ["memberships"]
    assert not net.knows("north")
    await net.nodes["north"].refresh()
    assert net.knows("north"), "what the API lists is looked at whole: it may pass on what others have made"


@pytest.mark.anyio
async def test_only_members_of_a_project_compare_it(net: Net) -> None:
    await refreshed(net)
    stranger = Peer("ef" * 32, "clinic", ("node",), Whereabouts())
    message = Message(MESSAGE, {"domain": net.domain.name, "versions": {}, "documents": {}})
    with pytest.raises(NotAllowed):
        await net.gossips["north"].answer(stranger, message)
    elsewhere = Message(MESSAGE, {"domain": "another", "versions": {}, "documents": {}})
    with pytest.raises(NotAllowed):
        await net.gossips["north"].answer(Peer(IDS["south"], "clinic", ("node",), Whereabouts()), elsewhere)


@pytest.mark.anyio
async def test_a_peer_that_is_gone_or_older_is_no_matter(net: Net) -> None:
    await refreshed(net)

    async def fails(node_id: str, message: Message, limit: float) -> Message:
        raise NotFound("It does not answer that.", code="unknown-message")

    await Gossip(IDS["north"], net.nodes["north"], fails, list, 1.0).exchange(IDS["south"])


@pytest.mark.anyio
async def test_a_node_that_starts_compares_with_a_few_whoever_is_connected(net: Net) -> None:
    keys = {key: Identity(name.encode().ljust(32, b".")) for name, key in IDS.items()}
    for key in (IDS["north"], IDS["west"]):
        net.domain.publish(keys[key], Whereabouts(("127.0.0.1:1",)))
    await refreshed(net)
    net.domain.revoke(TARGET)
    net.nodes["west"][net.domain.name].statements.learn("revocations", net.domain.revocations[TARGET])
    running = asyncio.ensure_future(net.gossips["south"].run())
    try:
        async with asyncio.timeout(5):
            while not net.knows("south"):
                await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await net.settle()
    asked = [other for name, other in net.messages if name == "south"]
    assert set(asked[:2]) == {"north", "west"}, "who can be dialled, and they first"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, derandomize=True, max_examples=50)
@given(
    body=st.dictionaries(st.sampled_from(["domain", "versions", "documents"]), JSON)
    | st.fixed_dictionaries(
        {
            "domain": st.just("hospital-study"),
            "versions": st.dictionaries(st.text(max_size=4), st.integers()) | JSON,
            "documents": st.dictionaries(
                st.sampled_from(["memberships", "revocations", "networks", "x"]), st.lists(JSON, max_size=3) | JSON
            )
            | JSON,
        }
    )
)
def test_whatever_a_peer_sends_is_refused_or_answered(body: dict[str, Any]) -> None:
    net = Net(Domain(), ["north", "south"])

    async def ask() -> None:
        await refreshed(net)
        peer = Peer(IDS["south"], "clinic", ("node",), Whereabouts())
        before = net.nodes["north"][net.domain.name].statements.versions()
        try:
            reply = await net.gossips["north"].answer(peer, Message(MESSAGE, body))
        except FlaasError:
            pass
        else:
            assert set(reply.body) == {"versions", "documents"}
        assert net.nodes["north"][net.domain.name].statements.versions() == before

    asyncio.run(ask())


@pytest.mark.anyio
async def test_one_message_carries_only_so_much(net: Net) -> None:
    await refreshed(net)
    documents = {"revocations": [net.domain.revocations] * (MOST_DOCUMENTS + 1)}
    body = {"domain": net.domain.name, "versions": {}, "documents": documents}
    with pytest.raises(FlaasError, match=str(MOST_DOCUMENTS)):
        await net.gossips["north"].answer(
            Peer(IDS["south"], "clinic", ("node",), Whereabouts()), Message(MESSAGE, body)
        )
