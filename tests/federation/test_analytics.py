"""Queries over real node processes: pandas on the pooled rows is right, and what must be refused is."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pandas as pd
import pytest

from flaas_jupyter.communications import blocking
from flaas_jupyter.communications.coordinator import Coordinator, NodeKey
from flaas_jupyter.communications.directory import Directory
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.mesh import Mesh
from flaas_jupyter.communications.mesh_settings import MeshSettings
from flaas_jupyter.communications.several_carriers import bind_carriers
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.connected_queries import ConnectedSource
from flaas_jupyter.errors import FlaasError, NotAllowed
from flaas_jupyter.execution import query_request
from flaas_jupyter.execution.query_log import queries_of


@pytest.fixture
def asking(request):
    """Return what connects to a federation as its developer."""
    opened = []

    def connect(federation):
        session = federation.connect()
        opened.append(session)
        return session, ConnectedSource(session.project(federation.project).federation(dataset="rows"))

    yield connect
    for session in opened:
        session.close()


def pooled(data, names=None):
    """Return the rows of all nodes in one table, as their files have them."""
    return pd.concat([pd.read_csv(data.files[name]["rows"]) for name in names or data.files], ignore_index=True)


def above(column, value):
    return {"op": "gt", "args": [{"column": column}, {"value": value}]}


def sums(released):
    return dict(zip(released.fields, released.values[0].tolist(), strict=True))


@pytest.mark.parametrize("via", ["mpc", "he"])
def test_statistics_are_those_of_pandas_on_the_pooled_rows(three, asking, via):
    federation, data = three
    session, source = asking(federation)
    table = pooled(data)
    with source.open_query("describe") as query:
        released = query.step({"kind": "moments", "columns": ["x0", "label"], "where": above("x1", 0.0)}, via)
        edges = [-4.0, -1.0, 0.0, 1.0, 4.0]
        histogram = query.step({"kind": "histogram", "columns": ["x2"], "edges": {"x2": edges}}, via)
        opened = query.id
    chosen = table[table.x1 > 0]
    assert released.counts.tolist() == [len(chosen)]
    found = sums(released)
    assert found["x0.sum"] == pytest.approx(chosen.x0.sum(), abs=1e-9)
    assert found["label.sum"] == chosen.label.sum()
    counts = histogram.counts[1:-1]  # without what is below and above the edges
    told = ~np.isnan(counts)
    assert np.array_equal(counts[told], np.histogram(table.x2, edges)[0][told])
    record = session.get(f"/v1/queries/{opened}")
    assert (record["state"], record["outcome"], record["steps"]) == ("closed", "released", 2)
    assert (record["operation"], record["via"]) == ("describe", via)
    assert not any(word in str(record) for word in ("x0", "moments", "edges")), "the API knows no statistic"
    log = queries_of(federation.nodes["north"].home, "rows")
    assert [row["outcome"] for row in log][-2:] == ["answered", "answered"]


def test_the_notebooks_questions_are_answered_as_pandas_does(three, asking):
    federation, data = three
    session, _ = asking(federation)
    connected = session.project(federation.project).federation(dataset="rows")
    analytics, frame, table = connected.analytics, connected.frame(), pooled(data)
    assert analytics.mean("x0") == pytest.approx(table.x0.mean(), rel=1e-12)
    assert frame[frame.x1 > 0].x2.std() == pytest.approx(table[table.x1 > 0].x2.std(), rel=1e-9)
    grouped = analytics.group_by("label", ["count", "mean"], "x3")
    wanted = table.groupby("label").x3.agg(["count", "mean"])
    np.testing.assert_allclose(grouped.to_numpy(), wanted.to_numpy(), rtol=1e-12)
    assert set(grouped.nodes) == {"north", "south", "west"}
    histogram = analytics.histogram("x5", [-5.0, 0.0, 5.0])
    assert histogram["count"].tolist() == np.histogram(table.x5, [-5.0, 0.0, 5.0])[0].tolist()
    budget = analytics.budget()
    assert list(budget["node"]) == ["north", "south", "west"]
    assert budget["spent"].tolist() == [0.0, 0.0, 0.0]


def test_a_differencing_attack_is_refused_with_the_nodes_name_and_the_way_out(three, asking):
    federation, data = three
    _, source = asking(federation)
    table = pooled(data)
    largest = float(data.tables["west"].x3.max())
    everybody = {"kind": "moments", "columns": ["x4"], "where": above("x3", -100.0)}
    all_but_one = {
        "kind": "moments",
        "columns": ["x4"],
        "where": {"op": "lt", "args": [{"column": "x3"}, {"value": largest}]},
    }
    with source.open_query("sum") as query:
        assert query.step(everybody).counts.tolist() == [len(table)]
    with pytest.raises(FlaasError) as caught, source.open_query("sum") as query:
        query.step(all_but_one)
    assert "refuses" in caught.value.message
    assert caught.value.hint


def test_a_strangers_signature_is_refused(three, asking):
    federation, _ = three
    session, _ = asking(federation)
    stranger = Identity.generate()
    connected = session.project(federation.project)
    nonce = query_request.new_nonce()
    body = {
        "dataset": "rows",
        "operation": "count",
        "via": "mpc",
        "digest": query_request.opening_digest("count", "rows", {}, nonce),
        "submitter": stranger.node_id,
    }
    record = session.send("POST", f"/v1/projects/{connected.id}/queries", body)
    document = query_request.sign(
        stranger, record, step=0, statistic={"kind": "count"}, summary={}, nonce=nonce, now=time.time()
    )

    async def hand_in():
        mesh, _ = await session.mesh(connected.description)
        await mesh.call(record["releaser"], Message("query/run", {"step": document}), timeout=30)

    with pytest.raises(NotAllowed) as caught:
        session._loop.run(hand_in())
    assert caught.value.code == "query-not-yours"


def count_above(column):
    return {"kind": "count", "where": above(column, -50.0)}


@pytest.mark.long
def test_a_lying_releaser_is_refused_a_lost_one_replaced_and_a_lost_node_left_out(five, asking):
    federation, data = five
    session, source = asking(federation)

    def name_of(node_id):
        return next(name for name, node in federation.nodes.items() if node.node_id == node_id)

    with source.open_query("count") as query:
        assert query.step(count_above("x0")).counts.tolist() == [len(pooled(data))]
        releaser = name_of(query._record["releaser"])
        federation.kill_node(releaser)
        require_liar_refused(federation, session, query, releaser)
        left = [name for name in data.files if name != releaser]
        assert query.step(count_above("x1")).counts.tolist() == [len(pooled(data, left))]
        assert query._record["releaser"] != federation.nodes[releaser].node_id
        victim = next(name for name in left if name != name_of(query._record["releaser"]))
        federation.kill_node(victim)
        left.remove(victim)
        assert query.step(count_above("x2")).counts.tolist() == [len(pooled(data, left))]
        (lost,) = query.answers[-1]["dropped"]
        assert lost["node"] == federation.nodes[victim].node_id


def require_liar_refused(federation, session, query, releaser):
    """Act as the releaser, with its own key and a step that the developer has signed, and name wrong members."""
    identity = Identity.load_or_create(federation.nodes[releaser].home.key)
    developer = Identity.load_or_create(federation.developer_home.key)
    signed = {"statistic": {"kind": "count"}, "summary": query.summary, "nonce": query._nonce, "now": time.time()}
    document = query_request.sign(developer, query._record, step=1, **signed)
    me, members = identity.node_id, document["body"]["members"]
    victim, *others = [member for member in members if member != me]
    domain_key = session.project(federation.project).description["domain_key"]

    async def lie(present):
        directory = Directory(federation.project, domain_key)
        async with Coordinator(federation.url, NodeKey(identity)) as coordinator:
            directory.update(await coordinator.get(f"/v1/projects/{federation.project}/directory"))
        carrier = await bind_carriers(identity, MeshSettings(), tuple)
        async with asyncio.timeout(60), await Mesh.open(identity, directory, carrier=carrier) as mesh:
            body = {"step": document, "attempt": 1, "query": query.id, "number": 1}
            for listed in present:
                with pytest.raises(FlaasError) as caught:
                    await mesh.call(victim, Message("query/begin", {**body, "present": listed}), timeout=30)
                assert caught.value.code == "query-members", caught.value

    too_few, invented = sorted([me, victim, others[0]]), sorted([me, victim, *others[:-1], "ab" * 32])
    blocking.run(lie([too_few, invented]))
