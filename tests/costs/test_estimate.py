"""Estimates: against figures worked out by hand, and traffic against the real protocol's messages."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaas_jupyter.communications.identity import Identity, verify
from flaas_jupyter.communications.wire import Message, encode
from flaas_jupyter.costs import Calibration, Catalog, Need, Offer, Template, estimate, templates
from flaas_jupyter.costs.estimation import hardware_class, round_time, round_traffic, speed, traffic_matrix
from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.secure_aggregation import Member, RoundSettings, SecureSum, encode_update


def an_offer(**changes: Any) -> Offer:
    plain = Offer(
        "aws", "eu-central-1", "DE", "m", 0.2, "on_demand", "list", "list", date(2026, 8, 1), vcpus=4, memory_gib=16
    )
    return replace(plain, **changes)


def a_template(**changes: Any) -> Template:
    plain: dict[str, Any] = {
        "name": "t",
        "title": "t",
        "description": "",
        "need": Need(),
        "nodes": 4,
        "disk_gib": 73,
        "rounds": 100,
        "parameters": 1_000_000,
        "rows_per_node": 10_000,
        "local_epochs": 2,
    }
    return Template(**{**plain, **changes})


# ---- money and time, worked out by hand ------------------------------------------------------------------------------


def test_a_federation_in_one_region() -> None:
    # 6 × 1e6 × 1e4 × 2 = 1.2e11 FLOP on 4 × 5e9 FLOP/s = 6 s; 3 senders × 2 × 4 MB over 1 Gbit/s = 0.192 s; 2 asks.
    found = estimate(a_template(), an_offer())
    assert found.seconds_per_round == pytest.approx(6 + 0.192 + 0.2, rel=1e-3)
    assert found.hours == pytest.approx(100 * found.seconds_per_round / 3600)
    assert found.compute_usd == pytest.approx(4 * 0.2 * found.hours)
    assert found.storage_usd == pytest.approx(4 * 73 * 0.0952 * found.hours / 730)
    assert found.egress_gb == pytest.approx(3 * 100 * 2 * 4e6 / 1e9, rel=1e-3)
    assert found.egress_usd == 0
    assert found.total_usd == pytest.approx(found.compute_usd + found.storage_usd)
    told = " ".join(found.assumptions)
    for word in ("6 × 1000000 weights", "5 effective GFLOP/s", "one region", "gp3", "No run was measured"):
        assert word in told
    json.dumps(found.to_dict())


def test_traffic_between_clouds_costs() -> None:
    far = an_offer(provider="gcp", region="europe-west4", country="NL", price_usd_hour=0.1)
    found = estimate(a_template(nodes=2), [an_offer(), far], hours=10, egress=lambda a, b: 0.09 if a != b else 0)
    assert found.egress_gb == pytest.approx(100 * 2 * 4e6 / 1e9, rel=1e-3)
    assert found.egress_usd == pytest.approx(found.egress_gb * 0.09)
    assert found.compute_usd == pytest.approx(3.0)
    assert found.hours == 10
    assert found.total_usd == pytest.approx(found.compute_usd + found.storage_usd + found.egress_usd)


def test_an_aggregator_of_its_own_is_paid_for() -> None:
    template = a_template(aggregator_need=Need(vcpus=2))
    alone = estimate(template, an_offer(), aggregator=an_offer(price_usd_hour=0.05), hours=10)
    assert alone.compute_usd == pytest.approx(10 * (4 * 0.2 + 0.05))
    assumed = estimate(template, an_offer(), hours=10)
    assert assumed.compute_usd == pytest.approx(10 * 5 * 0.2)
    assert "no offer was given" in " ".join(assumed.assumptions)


def test_the_slowest_node_sets_the_pace() -> None:
    fast, slow = an_offer(vcpus=32), an_offer(vcpus=2)
    quick = round_time(a_template(), [fast] * 4)
    mixed = round_time(a_template(), [fast, fast, slow, fast])
    assert mixed.train == pytest.approx(16 * quick.train)
    assert mixed.communicate == quick.communicate


def test_gpus_by_their_data_sheets() -> None:
    t4 = an_offer(gpu_name="T4", gpu_count=2)
    assert speed(t4)[0] == pytest.approx(2 * 8.1e12 * 0.3)
    assert "data sheet" in speed(t4)[1]
    assert hardware_class(t4) == "T4"
    unknown = an_offer(gpu_name="Q9", gpu_count=1)
    assert "not known" in speed(unknown)[1]
    assert speed(an_offer(gpu_name="H100", gpu_count=1))[0] > speed(an_offer(gpu_name="A100", gpu_count=1))[0]
    heavy = a_template(flops_per_example=1e10, local_epochs=1)
    assert round_time(heavy, t4).train == pytest.approx(1e10 * 1e4 / speed(t4)[0])


def test_one_machine_sends_nothing() -> None:
    found = estimate(templates.find("cross-device-simulation"), an_offer(vcpus=32))
    assert (found.egress_gb, found.egress_usd) == (0, 0)
    assert estimate(Need(vcpus=2), an_offer()).hours > 0


def test_vertical_federations_send_embeddings() -> None:
    template = a_template(pattern="vertical", embedding_width=16, nodes=3)
    found = estimate(template, an_offer())
    assert found.egress_gb == pytest.approx(2 * 100 * 10_000 * 16 * 4 / 1e9)


@pytest.mark.parametrize("template", templates.builtin(), ids=lambda template: template.name)
def test_every_template_has_an_estimate(template: Template) -> None:
    catalog = Catalog.embedded()
    offer = catalog.cheapest(template.need, template.area)
    assert offer is not None
    aggregator = catalog.cheapest(template.aggregator_need, template.area) if template.aggregator_need else None
    found = estimate(template, offer, aggregator=aggregator)
    assert 0 < found.seconds_per_round < 3600
    assert 0 < found.total_usd < 2000


@pytest.mark.parametrize(
    "change",
    [{"rounds": 0}, {"rounds": "3"}, {"hours": True}, {"hours": -1}, {"hours": float("inf")}, {"gbit_per_second": 0}],
)
def test_impossible_settings(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        estimate(a_template(), an_offer(), **change)
    assert caught.value.code == "bad-estimate"


def test_as_many_offers_as_nodes() -> None:
    with pytest.raises(InvalidInput, match="3 offers for 4 nodes"):
        estimate(a_template(), [an_offer()] * 3)


# ---- traffic against the protocol ------------------------------------------------------------------------------------


def _size(message: Message) -> int:
    return sum(len(part) for part in asyncio.run(encode(message)))


def _secure_round(nodes: int, parameters: int) -> tuple[int, int]:
    """Play a round of secure aggregation and count the frames of one node: up and down."""
    identities = {one.node_id: one for one in (Identity.generate() for _ in range(nodes))}
    settings = RoundSettings("domain", "run", 1, 0, tuple(identities), "00" * 32, 8.0)
    everyone = {name: Member(settings, name, one.sign, verify) for name, one in identities.items()}
    total = SecureSum(settings, verify=verify)
    where = {"run": "0" * 26, "round": 1, "attempt": 0}
    me = sorted(everyone)[0]
    weights = np.zeros(parameters, np.float32)
    begin = {**where, "term": 1, "members": list(everyone), "clip": 8.0, "maximum_examples": 10, "plan": "0" * 64}
    down = _size(Message("round/begin", {**begin, "aggregation": "fedavg", "rule": {}}, {"weights": weights}))
    advertised = {name: member.advertise() for name, member in everyone.items()}
    up = _size(Message("ok", {"advertisement": advertised[me].to_dict()}))
    total.advertised(advertised)
    entries = {name: one.to_dict() for name, one in advertised.items()}
    down += _size(Message("round/share", {**where, "advertisements": entries}))
    shares = {name: member.share(advertised) for name, member in everyone.items()}
    up += _size(Message("ok", {"shares": shares[me]}))
    inboxes = total.shared(shares)
    down += _size(Message("round/update", {**where, "inbox": inboxes[me]}))
    rng = np.random.default_rng(0)
    metrics = {"accuracy": 0.5, "loss": 0.5}
    for name, member in everyone.items():
        vector = encode_update(np.zeros(parameters, np.float32), 10, 10, metrics, settings, rng)
        masked = member.mask(vector, inboxes[name])
        if name == me:
            body = {"train_seconds": 1.5, "metric_names": sorted(metrics), "mask_seconds": 0.5}
            up += _size(Message("ok", body, {"masked": masked}))
        total.add(name, masked)
    survivors = list(total.survivors)
    down += _size(Message("round/survivors", {**where, "survivors": survivors}))
    signatures = {name: member.confirm(survivors) for name, member in everyone.items()}
    up += _size(Message("ok", {"signature": signatures[me]}))
    total.confirmed(signatures)
    down += _size(Message("round/unmask", {**where, "signatures": signatures}))
    reveals = everyone[me].unmask(signatures)
    up += _size(Message("ok", {"reveals": {name: one.to_dict() for name, one in reveals.items()}}))
    return up, down


@pytest.mark.parametrize("nodes", [3, 12, 40])
@pytest.mark.parametrize(("parameters", "within"), [(1, 0.05), (100_000, 0.001)])
def test_secure_traffic_is_that_of_the_protocol(nodes: int, parameters: int, within: float) -> None:
    up, down = _secure_round(nodes, parameters)
    told = round_traffic(parameters, nodes, secure_aggregation=True)
    assert told.up == pytest.approx(up, rel=within)
    assert told.down == pytest.approx(down, rel=within)


def test_traffic_in_the_clear_is_that_of_the_protocol() -> None:
    members = [f"{n:064x}" for n in range(10)]
    where = {"run": "0" * 26, "round": 1, "attempt": 0}
    weights = np.zeros(1000, np.float32)
    begin = {**where, "term": 1, "members": members, "clip": 8.0, "maximum_examples": 10, "plan": "0" * 64}
    down = _size(Message("round/begin", {**begin, "aggregation": "fedavg", "rule": {}}, {"weights": weights}))
    down += _size(Message("round/update", where))
    body = {"train_seconds": 1.5, "metric_names": ["loss"], "examples": 10, "metrics": {"loss": 0.5}}
    up = _size(Message("ok", {"examples": 10})) + _size(Message("ok", body, {"update": weights}))
    told = round_traffic(1000, 10)
    assert told.up == pytest.approx(up, rel=0.1)
    assert told.down == pytest.approx(down, rel=0.1)


sizes = st.integers(1, 12)


@given(sizes, st.integers(0, 11), st.integers(0, 500), st.integers(0, 10**10), st.integers(0, 10**10))
def test_the_star_of_traffic(nodes: int, leader: int, rounds: int, up: int, down: int) -> None:
    leader %= nodes
    gb = traffic_matrix(nodes, leader, rounds, up, down, share=0.5)
    for i in range(nodes):
        for j in range(nodes):
            expected = 0.0
            if i != j and j == leader:
                expected = 0.5 * rounds * up / 1e9
            elif i != j and i == leader:
                expected = 0.5 * rounds * down / 1e9
            assert gb[i, j] == pytest.approx(expected)


@given(sizes, st.integers(0, 500), st.integers(0, 10**10))
def test_mesh_and_ring(nodes: int, rounds: int, size: int) -> None:
    mesh = traffic_matrix(nodes, 0, rounds, size, 0, pattern="mesh")
    assert mesh.sum() == pytest.approx(nodes * (nodes - 1) * rounds * size / 1e9)
    ring = traffic_matrix(nodes, 0, rounds, size, 0, pattern="ring")
    assert ring.sum() == pytest.approx(2 * (nodes - 1) * rounds * size / 1e9)
    assert np.count_nonzero(ring) <= nodes
    assert not np.diagonal(mesh).any()
    assert not np.diagonal(ring).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"nodes": 0},
        {"aggregator": 3},
        {"aggregator": -1},
        {"share": 0},
        {"share": 1.1},
        {"bytes_up": -1},
        {"pattern": "x"},
    ],
)
def test_impossible_traffic(wrong: dict[str, Any]) -> None:
    plain = {"nodes": 3, "aggregator": 0, "rounds": 1, "bytes_up": 1, "bytes_down": 1}
    with pytest.raises(InvalidInput) as caught:
        traffic_matrix(**{**plain, **wrong})
    assert caught.value.code == "bad-traffic"


# ---- calibration -----------------------------------------------------------------------------------------------------


def test_measured_runs_correct_the_estimate() -> None:
    template, cpu, gpu = a_template(), an_offer(), an_offer(gpu_name="T4", gpu_count=1)
    known = Calibration().with_run(template, cpu, 3 * round_time(template, cpu).total)
    assert estimate(template, cpu, calibration=known).seconds_per_round == pytest.approx(
        3 * round_time(template, cpu).total
    )
    assert estimate(template, gpu, calibration=known).seconds_per_round == round_time(template, gpu).total
    assert "Corrected by 3" in " ".join(estimate(template, cpu, calibration=known).assumptions)
    assert Calibration.from_dict(json.loads(json.dumps(known.to_dict()))) == known


@given(st.lists(st.tuples(st.floats(0.1, 1e4), st.floats(0.1, 1e4)), min_size=1, max_size=6))
def test_the_factor_is_that_of_least_squares(pairs: list[tuple[float, float]]) -> None:
    seen = [{"hardware": "cpu", "estimated": e, "measured": m} for e, m in pairs]
    factor = Calibration.from_dict({"observations": seen}).factor("cpu")
    e, m = np.array(pairs).T
    assert factor == pytest.approx(np.linalg.lstsq(e[:, None], m, rcond=None)[0][0])
    assert Calibration.from_dict({"observations": seen}).factor("T4") == 1.0


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "3", True])
def test_impossible_measurements(seconds: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        Calibration().with_run(a_template(), an_offer(), seconds)
    assert caught.value.code == "bad-calibration"


@pytest.mark.parametrize(
    "data", [{"runs": []}, {"observations": [{"hardware": "cpu"}]}, {"observations": [{"x": 1}]}, []]
)
def test_damaged_calibrations(data: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        Calibration.from_dict(data)
    assert caught.value.code == "bad-calibration"
