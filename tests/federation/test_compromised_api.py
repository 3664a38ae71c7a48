"""Somebody has taken over the coordination API: its data base, its keys, every account. The nodes still refuse.

The attacker of these tests writes into the API's data base as it pleases, under the running API, and talks to the
nodes' mesh with keys of its own. What it has not got is what the API never had: the domain key, the developers' keys
and the nodes' keys.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, select

from flaas_jupyter.communications import blocking
from flaas_jupyter.communications.directory import Directory, Membership, Record, sign_membership
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.mesh import Mesh
from flaas_jupyter.communications.mesh_settings import MeshSettings
from flaas_jupyter.communications.several_carriers import bind_carriers
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.coordination import events
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.coordination.tables import (
    Assignment,
    MembershipRow,
    ModelVersion,
    Node,
    NodeProject,
    Project,
    RecordRow,
    Run,
)
from flaas_jupyter.errors import FlaasError
from flaas_jupyter.execution import run_request
from flaas_jupyter.execution.checkpoint import digest
from flaas_jupyter.plan import TrainingPlan

from .conftest import Fit, linear_model

PROJECT = "demo"
DAY = 86_400


def until(condition, limit=40.0):
    """Wait for what other processes do."""
    give_up = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < give_up, "it does not happen"
        time.sleep(0.05)
    return found


class Attacker:
    """Whoever has the API: it writes what it likes into the data base, and has an Ed25519 key as everybody may."""

    def __init__(self, federation) -> None:
        self.federation = federation
        self.database = Database(f"sqlite:///{federation.folder / 'coordination.db'}")
        self.key = Identity.generate()
        self.runs: list[str] = []
        with self.database.reading() as session:
            self.domain_key = session.get_one(Project, PROJECT).domain_key

    def close(self) -> None:
        """Put the data base right again, as from a backup."""
        with self.database.writing() as session:
            session.get_one(Project, PROJECT).domain_key = self.domain_key
            for table in (MembershipRow, RecordRow, NodeProject):
                session.execute(delete(table).where(table.node == self.key.node_id))
            for run in session.scalars(select(Run).where(Run.id.in_(self.runs))).all():
                run.state, run.ended = "cancelled", datetime.now(UTC)
                events.append(session, "run.state", project=PROJECT, run=run.id, data={"to": "cancelled"})
            events.append(session, "directory.changed", project=PROJECT)
        self.database.close()

    # ---- runs -------------------------------------------------------------------------------------------------

    def body(self, plan: TrainingPlan, weights: np.ndarray, submitter: str, **changes: Any) -> dict[str, Any]:
        """Return what a run is asked for with."""
        return {
            "name": "innocent", "dataset": "rows", "rounds": 3, "local_epochs": plan.local_epochs,
            "batch_size": plan.batch_size, "secure_aggregation": False, "clip": None, "aggregation": "fedavg",
            "aggregation_options": {}, "privacy": None, "clients_per_round": None, "minimum_nodes": None, "seed": None,
            "parameters": plan.parameters, "model_digest": plan.digest, "submitter": submitter,
            "start_digest": digest(weights),
        } | changes  # fmt: skip

    def add_run(self, request: dict[str, Any], **columns: Any) -> str:
        """Write a run of one's own with every node invited, and the events that tell them."""
        run = secrets.token_hex(8)
        self.runs.append(run)
        now = datetime.now(UTC)
        with self.database.writing() as session:
            row = Run(
                **{
                    "id": run, "project": PROJECT, "dataset": request["dataset"], "request": request, "needed": 1,
                    "state": "gathering", "term": 0, "round": 0, "created_by": "attacker",
                    "organisation": "laboratory", "created": now, "gather_until": now + timedelta(hours=1),
                    "participants": [],
                }
                | columns
            )  # fmt: skip
            session.add(row)
            session.flush()
            for node in self.nodes:
                session.add(Assignment(run=row.number, node=node, state="invited", reason=None, rows=10))
            session.flush()
            events.append(session, "run.state", project=PROJECT, run=run, data={"to": "gathering"})
        return run

    def change_run(self, run: str, request: dict[str, Any] | None = None, **columns: Any) -> None:
        """Write into a run's row, and have the nodes look at it."""
        with self.database.writing() as session:
            row = session.scalars(select(Run).where(Run.id == run)).one()
            if request is not None:
                row.request = {**row.request, **request}
            for name, value in columns.items():
                setattr(row, name, value)
            events.append(session, "run.aggregator", project=PROJECT, run=run)

    def elect_itself(self, run: str) -> None:
        """Become a participant of a run, and its aggregator in term 7."""
        with self.database.writing() as session:
            number = session.scalars(select(Run.number).where(Run.id == run)).one()
            session.add(Assignment(run=number, node=self.key.node_id, state="accepted", reason=None, rows=10))
        self.change_run(run, aggregator=self.key.node_id, term=7, state="running")

    def answers(self, run: str) -> dict[str, tuple[str, str | None]]:
        """Return each node's state in a run, and the code of its reason."""
        with self.database.reading() as session:
            number = session.scalars(select(Run.number).where(Run.id == run)).one()
            parts = session.scalars(select(Assignment).where(Assignment.run == number)).all()
            return {part.node: (part.state, (part.reason or {}).get("code")) for part in parts}

    def require_refused(self, run: str, code: str, state: str = "refused") -> None:
        """Check that every node refuses `run` for `code`, and says so in its log."""
        wanted = dict.fromkeys(self.nodes, (state, code))
        with contextlib.suppress(AssertionError):
            until(lambda: self.answers(run) == wanted)
        assert self.answers(run) == wanted
        for node in self.federation.nodes.values():
            lines = [line for line in node.log.read_text().splitlines() if run in line]
            assert any("refused" in line or "left" in line for line in lines), "its log does not say so"

    @property
    def nodes(self) -> list[str]:
        """Ids of the real nodes."""
        return sorted(node.node_id for node in self.federation.nodes.values())

    # ---- directory --------------------------------------------------------------------------------------------

    def membership(self, signer: Identity, roles: tuple[str, ...]) -> dict[str, Any]:
        """Return a membership of the attacker's that `signer` has signed."""
        now = int(time.time())
        body = Membership(PROJECT, self.key.node_id, "laboratory", roles, now - DAY, now + DAY, int(time.time() * 1000))
        return sign_membership(signer, body)

    def record(self, *addresses: str) -> dict[str, Any]:
        """Return the attacker's own signed address."""
        now = int(time.time())
        return Record(PROJECT, self.key.node_id, addresses, (), (), now * 1000, now, now + 600).sign(self.key)

    def join(self, membership: dict[str, Any], *addresses: str) -> None:
        """Write the attacker into the project, and tell the nodes."""
        me, now = self.key.node_id, datetime.now(UTC)
        with self.database.writing() as session:
            session.merge(Node(id=me, name=me[:12], organisation="laboratory", version="1", registered=now,
                               online=True, last_seen=now))  # fmt: skip
            session.flush()
            session.merge(NodeProject(node=me, project=PROJECT))
            session.merge(MembershipRow(project=PROJECT, node=me, serial=1 << 50, document=membership))
            session.flush()
            session.merge(RecordRow(project=PROJECT, node=me, sequence=1 << 50, document=self.record(*addresses)))
            events.append(session, "directory.changed", project=PROJECT)

    def logged(self, text: str) -> bool:
        """Tell whether every node's log has `text`."""
        return all(text in node.log.read_text() for node in self.federation.nodes.values())


@pytest.fixture
def attacker(three):
    federation, _ = three
    attacker = Attacker(federation)
    yield attacker
    attacker.close()


@pytest.fixture
def developer(three) -> Identity:
    """The key of the project's real developer, which the attacker has not got."""
    return Identity.load_or_create(three[0].developer_home.key)


@pytest.fixture(scope="module")
def model():
    return linear_model(secure=False)


@pytest.fixture(scope="module")
def plan(model):
    return TrainingPlan.from_model(model, local_epochs=1, batch_size=1000, seed=None, shuffle=True)


@pytest.fixture(scope="module")
def weights(model, plan):
    return plan.vector_of(model)


def signed(developer: Identity, body: dict[str, Any]) -> dict[str, Any]:
    """Return the run as its developer has signed it, and as the API has got hold of it."""
    return {**body, "signed": run_request.sign(developer, PROJECT, body, time.time())}


def test_a_run_that_nobody_has_signed(attacker, developer, plan, weights):
    body = attacker.body(plan, weights, developer.node_id)
    attacker.require_refused(attacker.add_run(body), "run-not-signed")


def test_a_run_that_the_attacker_has_signed_itself(attacker, plan, weights):
    body = attacker.body(plan, weights, attacker.key.node_id)
    attacker.require_refused(attacker.add_run(signed(attacker.key, body)), "unknown-peer")


def test_a_developer_whom_a_wrong_key_has_made_one(attacker, plan, weights):
    attacker.join(attacker.membership(Identity.generate(), ("developer", "node")), "127.0.0.1:9")
    until(lambda: attacker.logged("a membership was dropped"))
    body = attacker.body(plan, weights, attacker.key.node_id)
    attacker.require_refused(attacker.add_run(signed(attacker.key, body)), "unknown-peer")


def test_a_signature_that_names_the_real_developer(attacker, developer, plan, weights):
    body = signed(attacker.key, attacker.body(plan, weights, developer.node_id))
    body["signed"]["body"]["developer"] = developer.node_id
    attacker.require_refused(attacker.add_run(body), "bad-signature")


@pytest.mark.parametrize("change", [
    {"rounds": 999}, {"model_digest": "ab" * 32}, {"start_digest": "ab" * 32}, {"secure_aggregation": True},
    {"privacy": {"epsilon": 100.0, "delta": 1e-5, "clip": 9.0, "mode": "central", "noise_multiplier": None}},
    {"submitter": "ab" * 32}, {"aggregation_options": {"proximal": 1}}, {"parameters": 1},
])  # fmt: skip
def test_a_signed_run_that_was_changed(attacker, developer, plan, weights, change):
    body = signed(developer, attacker.body(plan, weights, developer.node_id)) | change
    attacker.require_refused(attacker.add_run(body), "run-altered")


def test_a_run_that_is_changed_while_it_goes_on(attacker, three):
    federation, _ = three
    fit = Fit(federation, linear_model(secure=True), rounds=100, local_epochs=50, batch_size=1000)
    fit.wait_round(1)
    run = fit.run_id()
    attacker.runs.append(run)
    attacker.change_run(run, {"secure_aggregation": False})
    attacker.require_refused(run, "run-altered", state="failed")
    attacker.change_run(run, state="cancelled")
    with pytest.raises(FlaasError):
        fit.done()


def test_an_old_run_once_more(attacker, three):
    federation, _ = three
    fit = Fit(federation, linear_model(secure=False), rounds=1, local_epochs=1, batch_size=1000)
    old = fit.done().federated_report.attrs["model"].rpartition("-")[0]
    with attacker.database.reading() as session:
        request = dict(session.scalars(select(Run).where(Run.id == old)).one().request)
    attacker.require_refused(attacker.add_run(request), "run-replayed")
    for name in federation.nodes:  # what they know, they know from their disk
        federation.kill_node(name)
        federation.start_node(name)
    federation.wait_online()
    attacker.require_refused(attacker.add_run(request), "run-replayed")


def test_another_domain_key(attacker, three, plan, weights):
    domain = Identity.generate()
    with attacker.database.writing() as session:
        session.get_one(Project, PROJECT).domain_key = domain.node_id
    attacker.join(attacker.membership(domain, ("developer", "node")), "127.0.0.1:9")
    until(lambda: attacker.logged("as domain key of 'demo'; pinned is"))
    body = attacker.body(plan, weights, attacker.key.node_id)
    attacker.require_refused(attacker.add_run(signed(attacker.key, body)), "unknown-peer")
    # Nor does the notebook give its model to whoever that key has made a node.
    with pytest.raises(FlaasError, match="so far it was") as caught:
        Fit(three[0], linear_model(secure=False), rounds=1, local_epochs=1, batch_size=1000).done()
    assert caught.value.code == "domain-key-changed"


def test_an_aggregator_that_elects_itself_gets_nothing(attacker, developer, plan, weights):
    with attacker.database.reading() as session:
        records = list(session.scalars(select(RecordRow.document).where(RecordRow.project == PROJECT)))
    listing = {
        "domain": PROJECT,
        "domain_key": attacker.key.node_id,  # its own directory, in which everybody is a member
        "memberships": [
            sign_membership(attacker.key, Membership(PROJECT, node, "north", ("node",), 1, 1 << 33, 1))
            for node in (*attacker.nodes, attacker.key.node_id)
        ],
        "records": records,
    }
    got: list[Message] = []

    async def attack() -> None:
        directory = Directory(PROJECT, attacker.key.node_id)
        directory.update(listing)
        carrier = await bind_carriers(attacker.key, MeshSettings(), tuple)

        async def refresh() -> None:
            return None

        async with await Mesh.open(attacker.key, directory, carrier=carrier, refresh=refresh) as mesh:
            attacker.join(attacker.membership(attacker.key, ("node",)), *mesh.whereabouts.addresses)
            body = signed(developer, attacker.body(plan, weights, developer.node_id))
            run = attacker.add_run(body)
            until(lambda: set(attacker.answers(run).values()) == {("accepted", None)})
            attacker.elect_itself(run)
            until(lambda: attacker.logged(f"run {run}: the aggregator does not let this node join"))
            begin = {
                "run": run, "term": 7, "round": 1, "attempt": 1, "members": attacker.nodes, "clip": 8.0,
                "maximum_examples": 100, "learning_rate": None, "plan": plan.digest, "aggregation": "fedavg",
                "aggregation_options": {}, "privacy": None, "rule": {},
            }  # fmt: skip
            for node in attacker.nodes:
                for message in (
                    Message("run/prepare", {"run": run, "term": 7, "plan": plan.to_dict()}),
                    Message("round/begin", begin, {"weights": weights}),
                    Message("round/update", {"run": run, "round": 1, "attempt": 1}),
                    Message("run/status", {"run": run, "weights": True}),
                ):
                    with contextlib.suppress(FlaasError, OSError):
                        got.append(await mesh.call(node, message, timeout=2.0, limit=1 << 20))

    blocking.run(attack())
    assert got == [], "no node answers"
    with pytest.raises(AssertionError):
        until(lambda: any(state == "failed" for state, _ in attacker.answers(attacker.runs[-1]).values()), limit=0.2)


def test_weights_that_are_no_longer_revoked(attacker, three):
    federation, _ = three
    trained = Fit(federation, linear_model(secure=False, hidden=4), rounds=1, local_epochs=1, batch_size=1000).done()
    version = trained.federated_report.attrs["model"]
    federation.post(f"/v1/models/{version}/revoke", {"reason": "It remembers names."})
    digest_of = federation.get(f"/v1/models/{version}")["digest"]
    homes = [node.home.path / "revoked.json" for node in federation.nodes.values()]
    until(lambda: all(home.exists() and digest_of in json.loads(home.read_text())[PROJECT] for home in homes))
    with attacker.database.writing() as session:
        session.get_one(ModelVersion, version).state = "released"
        events.append(session, "model.changed", project=PROJECT)
    with pytest.raises(FlaasError, match="It remembers names") as caught:
        Fit(federation, trained, rounds=1, local_epochs=1, batch_size=1000).done()
    assert caught.value.code in ("model-revoked", "too-few-nodes")


def test_afterwards_an_honest_run_is_as_before(three):
    federation, _ = three
    trained = Fit(federation, linear_model(secure=True), rounds=2, local_epochs=1, batch_size=1000).done()
    assert (trained.federated_report.clients == 3).all()
