"""Nodes as witnesses: a log that was cut off, rewritten, or told to two nodes differently is found."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from flaas_jupyter.communications.directory import Peer
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.iroh_carrier import IrohCarrier
from flaas_jupyter.communications.mesh import Mesh, Route
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import InvalidInput, NotAllowed, NotAuthenticated, NotFound, Unreachable
from flaas_jupyter.execution import witness as module
from flaas_jupyter.execution.enrolment import Enrolment
from flaas_jupyter.execution.node import Node
from flaas_jupyter.execution.policy import Policy, allow_project
from flaas_jupyter.execution.timing import Timing
from flaas_jupyter.execution.witness import MESSAGE, AuditWatch, Witness
from flaas_jupyter.governance.audit.merkle import Frontier, consistency_proof, leaf_hash
from flaas_jupyter.governance.audit.statements import Checkpoint, Succession
from flaas_jupyter.home import Home

sys.path.insert(0, str(Path(__file__).parents[1] / "communications"))
from mesh_domain import Domain

SERVER = Identity(b"s" * 32)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Log:
    """A log as the API shows it; whoever controls the API can show any."""

    def __init__(self, *leaves: str) -> None:
        self.leaves = [leaf_hash(text.encode()) for text in leaves]
        self.signer, self.successions = SERVER, []
        self.newest: dict | None = None
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self.sign()

    def append(self, *leaves: str) -> Log:
        self.leaves += [leaf_hash(text.encode()) for text in leaves]
        return self.sign()

    def sign(self) -> Log:
        if self.leaves:
            body = Checkpoint(
                len(self.leaves), self.leaves[-1].hex(), self.complete_root().hex(), 1, self.signer.node_id
            )
            self.newest = body.sign(self.signer)
        return self

    def fork(self) -> Log:
        """Return the same history, to go on differently."""
        other = Log()
        other.leaves, other.newest = list(self.leaves), self.newest
        return other

    def rotate(self, new: Identity) -> None:
        self.successions.append(Succession(self.signer.node_id, new.node_id, len(self.leaves), 1).sign(self.signer))
        self.signer = new

    def complete_root(self) -> bytes:
        return _root(self.leaves)

    async def fetch(self, path: str) -> dict:
        self.asked.append(path)
        if self.failure is not None:
            raise self.failure
        if path.startswith("/v1/audit/checkpoints?after="):
            return {"key": SERVER.node_id, "successions": self.successions, "newest": self.newest}
        assert path.startswith("/v1/audit/proof?from=")
        first, second = (int(part.partition("=")[2]) for part in path.partition("?")[2].split("&"))
        if second > len(self.leaves):
            raise NotFound("There is no proof.", code="audit-not-signed")
        proof = consistency_proof(first, second, lambda level, at: _root(self.leaves[at << level : (at + 1) << level]))
        return {"from": first, "to": second, "proof": [digest.hex() for digest in proof]}


def _root(leaves: list[bytes]) -> bytes:
    frontier = Frontier()
    for leaf in leaves:
        list(frontier.append(leaf))
    return frontier.root


@pytest.fixture
def log() -> Log:
    return Log("a", "b", "c")


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "audit.json"


@pytest.fixture
def witness(path, log) -> Witness:
    return Witness(path, log.fetch)


def kept(path: Path) -> list[int]:
    return [document["body"]["sequence"] for document in json.loads(path.read_text())["kept"]]


# ---- the API --------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_new_checkpoints_are_kept_once_they_are_proven(path, log, witness):
    assert await witness.look()
    assert not await witness.look(), "nothing newer"
    log.append("d", "e")
    assert await witness.look()
    assert kept(path) == [3, 5]
    assert path.stat().st_mode & 0o777 == 0o600
    assert witness.alarm is None
    again = Witness(path, log.append("f").fetch)
    assert await again.look()
    assert kept(path) == [3, 5, 6]


@pytest.mark.anyio
async def test_only_the_newest_are_kept(path, log, witness, monkeypatch):
    monkeypatch.setattr(module, "KEPT", 3)
    for number in range(6):
        log.append(str(number))
        assert await witness.look()
    assert kept(path) == [7, 8, 9]


@pytest.mark.anyio
async def test_a_log_without_checkpoints_is_nothing_to_keep(path):
    empty = Log()
    witness = Witness(path, empty.fetch)
    assert not await witness.look()
    assert witness.statement() == {"checkpoint": None, "successions": []}
    empty.failure = NotFound("There is no such thing here.")
    assert not await witness.look(), "an API of an older version"
    assert witness.alarm is None


@pytest.mark.anyio
@pytest.mark.parametrize("shorter", [("a", "b"), ()])
async def test_a_tail_that_was_cut_off_is_found(path, log, witness, shorter, caplog):
    await witness.look()
    evidence = [log.newest]
    cut = Log(*shorter)
    assert not await Witness(path, cut.fetch).look()
    alarm = witness.alarm
    assert alarm["kind"] == "cut-off"
    assert alarm["evidence"] == [document for document in [*evidence, cut.newest] if document]
    assert "3 entries" in alarm["message"]
    (record,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert log.newest["signature"] in record.getMessage()


@pytest.mark.anyio
@pytest.mark.parametrize("forged", [("a", "b", "X"), ("a", "X", "c"), ("a", "X", "c", "d"), ("a", "b", "X", "d", "e")])
async def test_a_history_that_was_rewritten_and_signed_anew_is_found(path, witness, log, forged):
    await witness.look()
    other = Log(*forged)
    assert not await Witness(path, other.fetch).look()
    assert witness.alarm["kind"] == "split-view"
    assert witness.alarm["evidence"] == [log.newest, other.newest]
    assert kept(path) == [3], "what proves it stays"


@pytest.mark.anyio
async def test_an_api_that_shows_nothing_any_more_is_found(path, witness, log):
    await witness.look()
    log.failure = NotFound("There is no such thing here.")
    await witness.look()
    assert witness.alarm["kind"] == "withheld"


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [{}, {"newest": 1, "key": 2, "successions": 3}, {"newest": {}, "successions": []}])
async def test_garbage_of_the_api_is_found(path, witness, log, answer):
    await witness.look()

    async def garbage(path: str) -> dict:
        return answer

    await Witness(path, garbage).look()
    assert witness.alarm is not None


@pytest.mark.anyio
async def test_an_api_that_gives_no_proof_is_found(path, witness, log):
    await witness.look()
    log.append("d")

    async def unproven(path: str) -> dict:
        answer = await log.fetch(path)
        return {**answer, "proof": ["zz"]} if "proof" in answer else answer

    await Witness(path, unproven).look()
    assert witness.alarm["kind"] == "split-view"


@pytest.mark.anyio
@pytest.mark.parametrize("failure", [Unreachable("away"), NotAuthenticated("the clock is wrong")])
async def test_an_api_that_is_away_is_no_alarm(witness, log, failure):
    await witness.look()
    log.failure = failure
    with pytest.raises(type(failure)):
        await witness.look()
    assert witness.alarm is None


@pytest.mark.anyio
async def test_a_checkpoint_of_another_key_is_found_and_one_of_an_announced_key_kept(path, log, witness):
    await witness.look()
    log.append("d").rotate(Identity(b"n" * 32))
    log.append("e")
    assert await witness.look()
    assert kept(path) == [3, 5]
    log.signer = Identity(b"thief" + bytes(27))
    log.append("f")
    await witness.look()
    assert witness.alarm["kind"] == "false-checkpoint"


# ---- the owner ------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_owners_policy_says_what_an_alarm_means(path, log, witness, tmp_path, caplog):
    witness.require_no_alarm(Policy())
    await witness.look()
    witness.require_no_alarm(Policy())
    await Witness(path, Log("a").fetch).look()
    for policy in (Policy(), Policy(on_audit_alarm="refuse")):
        with pytest.raises(NotAllowed) as refused:
            witness.require_no_alarm(policy)
        assert refused.value.code == "audit-alarm"
    witness.require_no_alarm(Policy(on_audit_alarm="warn"))
    assert "ignored by policy" in caplog.text
    home = Home(tmp_path)
    assert module.status(home)["audit"].startswith("ALARM (cut-off)")
    assert module.show(home)["alarm"]["evidence"][0] == log.newest
    aside = module.forget(home)
    assert json.loads(aside.read_text())["alarm"]["kind"] == "cut-off", "the evidence is not lost"
    witness.require_no_alarm(Policy())
    assert module.status(home) == {"audit": "no checkpoint seen", "audit_looked": None}
    assert module.forget(home) is None
    assert await witness.look()
    assert module.status(home)["audit"].startswith("checkpoint 3")


@pytest.mark.anyio
@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 2}', '{"version": 1, "kept": [{}], "key": "x"}', "null"])
async def test_a_damaged_file_lets_no_run_in(path, witness, tmp_path, text):
    path.write_text(text)
    with pytest.raises(InvalidInput) as refused:
        witness.require_no_alarm(Policy())
    assert refused.value.code == "bad-witness-file"
    assert "unknown" in module.status(Home(tmp_path))["audit"]


# ---- peers ----------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_peers_that_were_shown_the_same_log_agree(tmp_path, log):
    early, late = Witness(tmp_path / "early.json", log.fetch), Witness(tmp_path / "late.json", log.fetch)
    await early.look()
    log.append("d", "e")
    await late.look()
    assert await early.compare("late", late.statement()), "a newer one that is proven is taken over"
    assert not await late.compare("early", early.statement())
    assert kept(tmp_path / "early.json") == [3, 5]
    assert early.alarm is late.alarm is None


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("here", "there"), [(("x",), ("y",)), (("x",), ("y", "z")), (("x", "w"), ("y",)), ((), ("y",))]
)
async def test_a_log_that_is_told_to_two_nodes_differently_comes_apart_when_they_meet(tmp_path, log, here, there):
    """The API signs two histories that share a beginning, and shows each to one of two nodes, with sound proofs."""
    views = [log.fork().append(*here) if here else Log("a", "b", "Q"), log.fork().append(*there)]
    nodes = [Witness(tmp_path / f"{number}.json", view.fetch) for number, view in enumerate(views)]
    for node in nodes:
        assert await node.look()
    shown = [node.statement() for node in nodes]
    await nodes[0].compare("one", shown[1])
    await nodes[1].compare("zero", shown[0])
    for number, node in enumerate(nodes):
        assert node.alarm["kind"] == "split-view"
        assert node.alarm["source"] == ("one", "zero")[number]
        assert [document["signature"] for document in node.alarm["evidence"]] == [
            shown[number]["checkpoint"]["signature"],
            shown[1 - number]["checkpoint"]["signature"],
        ], "both signed, so that anybody can see that one server has said both"


@pytest.mark.anyio
async def test_what_a_peer_makes_up_is_no_alarm(witness, log):
    await witness.look()
    liar = Identity(b"l" * 32)
    made_up = Checkpoint(3, "ab" * 32, "cd" * 32, 1, liar.node_id).sign(liar)
    posing = {**made_up, "body": {**made_up["body"], "key": SERVER.node_id}}
    for checkpoint in (made_up, posing, {}, 1, "x", [log.newest], {"body": None, "signature": None}):
        for successions in ([], None, {}, [1], [made_up], "x"):
            assert not await witness.compare("liar", {"checkpoint": checkpoint, "successions": successions})
    assert not await witness.compare("liar", {})
    assert witness.alarm is None


@pytest.mark.anyio
async def test_what_cannot_be_checked_at_once_is_checked_later(tmp_path, log, witness):
    await witness.look()
    other = log.fork().append("y")
    peer = Witness(tmp_path / "peer.json", other.fetch)
    await peer.look()
    log.failure = Unreachable("away")
    assert not await witness.compare("peer", peer.statement())
    assert witness.alarm is None
    log.failure = None
    log.append("x")
    await witness.look()
    assert witness.alarm["kind"] == "split-view"
    assert witness.alarm["source"] == "peer"


@pytest.mark.anyio
async def test_a_node_that_has_kept_nothing_looks_before_it_compares(tmp_path, log, witness):
    other = log.fork().append("y")
    peer = Witness(tmp_path / "peer.json", other.fetch)
    await peer.look()
    log.append("x")
    await witness.compare("peer", peer.statement())
    assert witness.alarm["kind"] == "split-view"


# ---- over the mesh --------------------------------------------------------------------------------------------------


class MeshNode:
    """A node on a real mesh that does nothing but keep watch."""

    def __init__(self, domain: Domain, home: Path, view: Log) -> None:
        self.domain, self.view = domain, view
        self.identity = Identity.generate()
        self.witness = Witness(home, view.fetch)
        self.watch = AuditWatch(self.witness, self.ask, lambda: self.mesh.connected, 5.0)
        self.exchanged = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> MeshNode:
        carrier = await IrohCarrier.bind(self.identity)
        self.domain.admit(self.identity.node_id)
        self.domain.publish(self.identity, carrier.whereabouts)
        self.directory = self.domain.directory()

        async def answer(peer: Peer, message: Message) -> Message:
            reply = await self.watch.answer(peer, message)
            self.exchanged.set()
            return reply

        async def refresh() -> None:
            self.directory.update(self.domain.listing())

        async def ping(peer: Peer, message: Message) -> Message:
            return Message("pong")

        handlers = {MESSAGE: Route(answer, limit=1 << 20), "ping": Route(ping)}
        self.mesh = await Mesh.open(
            self.identity, self.directory, carrier=carrier, handlers=handlers, refresh=refresh, peer_timeout=5.0
        )
        self.mesh.on_peer_dialled(self.dialled)
        return self

    def dialled(self, peer: str) -> None:
        async def exchange() -> None:
            await self.watch.exchange(peer)
            self.exchanged.set()

        task = asyncio.create_task(exchange())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def ask(self, peer: str, message: Message, limit: float) -> Message:
        return await self.mesh.call(peer, message, timeout=limit, limit=1 << 20)


@pytest.mark.anyio
@pytest.mark.parametrize("forged", [True, False])
async def test_nodes_exchange_checkpoints_as_soon_as_they_are_connected(tmp_path, log, forged):
    domain = Domain()
    views = [log.fork().append("x"), log.fork().append("y" if forged else "x", "z")]
    nodes = [await MeshNode(domain, tmp_path / f"{i}.json", view).open() for i, view in enumerate(views)]
    try:
        if not forged:
            nodes[0].view.leaves = list(views[1].leaves)  # the API of both has the longer log by now
        for node in nodes:
            assert await node.witness.look()
        await nodes[0].mesh.call(nodes[1].identity.node_id, Message("ping"), timeout=20)
        async with asyncio.timeout(20):
            await asyncio.gather(*(node.exchanged.wait() for node in nodes))
        for node in nodes:
            assert (node.witness.alarm is not None) == forged
        if not forged:
            assert kept(tmp_path / "0.json") == [4, 5]
    finally:
        for node in nodes:
            await node.mesh.close()


@pytest.mark.anyio
async def test_the_watch_looks_when_it_is_woken_and_tells_the_peers_of_what_is_newer(witness, log):
    told, looked = [], asyncio.Event()

    async def ask(peer: str, message: Message, limit: float) -> Message:
        told.append((peer, message.body["checkpoint"]["body"]["sequence"]))
        if peer == "old":
            raise NotFound("There is no such message.")
        looked.set()
        return Message(MESSAGE, {"checkpoint": None})

    watch = AuditWatch(witness, ask, lambda: ["old", "peer"], 1.0)
    running = asyncio.create_task(watch.run(every=3600))
    try:
        for sequence in (3, 4, 5):
            async with asyncio.timeout(10):
                await looked.wait()
            assert told[-2:] == [("old", sequence), ("peer", sequence)]
            looked.clear()
            log.append("more")
            watch.wake()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


# ---- the node -------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("rewritten", [True, False])
async def test_a_node_that_finds_the_log_rewritten_refuses_the_run_it_is_invited_to(tmp_path, log, rewritten):
    """It looks before it answers, so that there is no time between a rewritten log and a run that hides behind it."""
    home = Home(tmp_path)
    Enrolment("clinic-a").joined("http://127.0.0.1:1", "clinic", "credit", SERVER.node_id).save(home.enrolment)
    home.policy.write_text(Policy.default_toml())
    allow_project(home.policy, "credit")

    node = Node(home, timing=Timing())
    view, answers = log, {}

    class Api:
        async def get(self, path: str, retry_for: float | None = None) -> dict:
            return await view.fetch(path)

        async def put(self, path: str, body: dict, retry_for: float | None = None) -> dict:
            answers[path] = body
            return {}

    node._coordinator = Api()
    await node._audit.look()
    if rewritten:
        view = Log("a", "X", "c", "d")
    await node._answer({"id": "r1", "project": "credit", "dataset": "loans"})
    (answer,) = answers.values()
    assert answer["state"] == "refused"
    assert answer["reason"]["code"] == ("audit-alarm" if rewritten else "run-not-signed")
    if rewritten:
        assert answer["reason"]["details"]["kind"] == "split-view"
