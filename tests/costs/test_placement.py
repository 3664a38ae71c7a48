"""Placements against enumeration, against the decomposition of a star, and against each other."""

from __future__ import annotations

import itertools
import math
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.costs.egress import EgressTable
from flaas_jupyter.costs.placement import effective_spot_price, place
from flaas_jupyter.errors import InvalidInput

Candidate = dict[str, Any]
Egress = Callable[[Candidate, Candidate], float]

PROVIDERS = ("aws", "azure", "gcp")
REGIONS = ("r1", "r2", "r3")


def cost(picks: Sequence[Candidate], traffic: Any, hours: float, egress: Egress) -> float:
    """What a placement costs, written down as in the definition."""
    alone = sum(hours * (c["usd_hour"] + c.get("disk_usd_hour", 0.0)) + c.get("storage_usd", 0.0) for c in picks)
    moved = sum(
        traffic[i][j] * egress(picks[i], picks[j]) for i in range(len(picks)) for j in range(len(picks)) if i != j
    )
    return alone + moved


def enumerate_all(
    nodes: list[dict[str, Any]],
    traffic: Any,
    hours: float,
    egress: Egress,
    allowed: Callable[[Sequence[Candidate]], bool] = lambda picks: True,
) -> float:
    return min(
        (
            cost(picks, traffic, hours, egress)
            for picks in itertools.product(*(node["candidates"] for node in nodes))
            if allowed(picks)
        ),
        default=math.inf,
    )


def random_case(seed: int, *, most: int = 5) -> tuple[list[dict[str, Any]], Any, float, Egress]:
    """A random small case: prices of egress may be anything, or look like a cloud's."""
    rng = random.Random(seed)
    size = rng.randint(1, most)
    places = [(p, r) for p in PROVIDERS for r in REGIONS]
    same_pool = rng.random() < 0.3

    def candidates() -> list[Candidate]:
        return [
            {
                "provider": p,
                "region": r,
                "instance_type": f"t{rng.randint(0, 9)}",
                "usd_hour": round(rng.uniform(0.01, 2), 3),
                "vcpus": rng.choice([2, 4, 8]),
                "family": rng.choice(["a", "b"]),
                **({"storage_usd": round(rng.uniform(0, 9), 2)} if rng.random() < 0.5 else {}),
                **({"disk_usd_hour": 0.01} if rng.random() < 0.5 else {}),
            }
            for p, r in rng.choices(places, k=rng.randint(1, 5))
        ]

    pool = candidates()
    nodes = [{"name": f"n{i}", "candidates": pool if same_pool else candidates()} for i in range(size)]
    kind = rng.choice(["arbitrary", "symmetric", "cloud", "continents"])
    table = {(a, b): rng.uniform(0, 0.3) for a in places for b in places}
    net = {"aws": 0.09, "azure": 0.087, "gcp": 0.12}

    def egress(a: Candidate, b: Candidate) -> float:
        one, other = (a["provider"], a["region"]), (b["provider"], b["region"])
        if kind == "arbitrary":
            return table[one, other]
        if kind == "symmetric":
            return table[min(one, other), max(one, other)]
        if one == other:
            return 0.0
        if kind == "continents" and b["region"] == "r3":
            return 0.19 if a["provider"] == "gcp" else 0.14
        return 0.02 if one[0] == other[0] else net[one[0]]

    shape = rng.choice(["star", "mesh", "random", "sparse"])
    traffic = [[0.0] * size for _ in range(size)]
    for i in range(size):
        for j in range(size):
            if i != j:
                gb = {
                    "star": 40.0 * (0 in (i, j)),
                    "mesh": 25.0,
                    "random": rng.uniform(0, 90),
                    "sparse": rng.uniform(0, 90) * (rng.random() < 0.4),
                }[shape]
                traffic[i][j] = gb
    return nodes, traffic, rng.choice([1, 24, 100.5]), egress


@given(seed=st.integers(0, 10**9))
@settings(max_examples=150, deadline=None)
def test_optimum_equals_enumeration(seed: int) -> None:
    nodes, traffic, hours, egress = random_case(seed)
    plan = place(nodes, traffic, hours, egress=egress)
    assert plan.total == pytest.approx(enumerate_all(nodes, traffic, hours, egress), abs=1e-6)
    assert plan.gap == 0
    assert plan.total == pytest.approx(plan.compute + plan.egress + plan.storage, abs=1e-9)
    assert plan.total == pytest.approx(cost(plan.picks, traffic, hours, egress), abs=1e-9)
    assert all(any(pick is c for c in node["candidates"]) for pick, node in zip(plan.picks, nodes, strict=True))
    assert sum(row["total"] for row in plan.by_node) == pytest.approx(plan.total, abs=1e-9)


def test_an_empty_mesh_and_one_node() -> None:
    nodes, _, hours, _ = random_case(1, most=1)

    def never(a: Candidate, b: Candidate) -> float:
        raise AssertionError("nothing is sent, so no price is needed")

    assert place(nodes, [[7.0]], hours, egress=never).egress == 0  # the diagonal does not count


def clouds(count: int, regions: int, rng: random.Random) -> list[dict[str, Any]]:
    return [
        {
            "name": f"n{i}",
            "candidates": [
                {"provider": p, "region": f"{p}-{r}", "instance_type": "m", "usd_hour": round(rng.uniform(0.1, 0.3), 4)}
                for p in PROVIDERS
                for r in range(regions)
            ],
        }
        for i in range(count)
    ]


def flat(a: Candidate, b: Candidate) -> float:
    if a["region"] == b["region"]:
        return 0.0
    return 0.02 if a["provider"] == b["provider"] else {"aws": 0.09, "azure": 0.087, "gcp": 0.12}[a["provider"]]


def test_large_star_equals_its_decomposition() -> None:
    """For each place of the hub every other node chooses on its own."""
    rng = random.Random(4)
    nodes = clouds(50, 33, rng)
    up, down = [rng.uniform(0, 9) for _ in nodes], [rng.uniform(0, 9) for _ in nodes]
    traffic = np.zeros((50, 50))
    traffic[1:, 0], traffic[0, 1:] = up[1:], down[1:]
    expected = min(
        24 * hub["usd_hour"]
        + sum(
            min(24 * c["usd_hour"] + up[i] * flat(c, hub) + down[i] * flat(hub, c) for c in nodes[i]["candidates"])
            for i in range(1, 50)
        )
        for hub in nodes[0]["candidates"]
    )
    plan = place(nodes, traffic, 24, egress=flat)
    assert plan.total == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("gb", [0.05, 0.3, 2.0, 280.0])
def test_mesh_of_equal_nodes_equals_the_count_of_nodes_per_place(gb: float) -> None:
    """All to all, and nodes that differ in nothing: only how many stand at each of few places counts."""
    rng = random.Random(8)
    one = clouds(1, 2, rng)[0]["candidates"][:4]
    nodes = [{"name": f"n{i}", "candidates": one} for i in range(14)]
    traffic = np.full((14, 14), gb)
    best = math.inf
    for counts in itertools.product(range(15), repeat=4):
        if sum(counts) == 14:
            alone = sum(24 * n * c["usd_hour"] for n, c in zip(counts, one, strict=True))
            moved = sum(
                gb * n * (m - (a is b)) * flat(a, b)
                for n, a in zip(counts, one, strict=True)
                for m, b in zip(counts, one, strict=True)
            )
            best = min(best, alone + moved)
    assert place(nodes, traffic, 24, egress=flat).total == pytest.approx(best, abs=1e-6)


def test_equal_nodes_are_kept_apart_where_sharing_a_place_is_dear() -> None:
    """A price that rises within a place spreads equal nodes: merging them would be wrong."""
    one = [
        {"provider": "aws", "region": r, "instance_type": "m", "usd_hour": 0.1 + 0.01 * k} for k, r in enumerate("abcd")
    ]
    nodes = [{"name": f"n{i}", "candidates": one} for i in range(6)]
    traffic = np.full((6, 6), 10.0)

    def crowded(a: Candidate, b: Candidate) -> float:
        return 0.5 if a["region"] == b["region"] else 0.02

    plan = place(nodes, traffic, 10, egress=crowded)
    assert plan.total == pytest.approx(enumerate_all(nodes, traffic, 10, crowded), abs=1e-6)
    assert len({pick["region"] for pick in plan.picks}) > 1


def test_a_mesh_in_three_groups_by_enumeration_of_their_hubs() -> None:
    """Nodes pinned to a cloud gather in one region of it: nothing else pays when egress is dear."""
    rng = random.Random(5)
    nodes = clouds(18, 4, rng)
    pins = {node["name"]: {"provider": PROVIDERS[i % 3]} for i, node in enumerate(nodes)}
    traffic = np.full((18, 18), 50.0)
    plan = place(nodes, traffic, 24, egress=flat, pins=pins)
    best = 0.0
    for provider in PROVIDERS:
        mine = [node for node in nodes if pins[node["name"]]["provider"] == provider]
        best += min(
            sum(24 * c["usd_hour"] for node in mine for c in node["candidates"] if c["region"] == f"{provider}-{r}")
            for r in range(4)
        )
        best += 6 * 12 * 50 * {"aws": 0.09, "azure": 0.087, "gcp": 0.12}[provider]
    assert plan.total == pytest.approx(best, abs=1e-6)
    assert plan.gap == 0


@given(seed=st.integers(0, 10**9))
@settings(max_examples=60, deadline=None)
def test_rounds_pay_until_the_slowest_is_done(seed: int) -> None:
    nodes, traffic, _, egress = random_case(seed, most=4)
    rng = random.Random(seed)
    for node in nodes:
        node["candidates"] = [{**c, "round_seconds": rng.choice([30, 60, 95.5])} for c in node["candidates"]]

    def hours(picks: Sequence[Candidate]) -> float:
        return 500 * max(c["round_seconds"] for c in picks) / 3600

    every = list(itertools.product(*(node["candidates"] for node in nodes)))
    expected = min(cost(picks, traffic, hours(picks), egress) for picks in every)
    plan = place(nodes, traffic, egress=egress, rounds=500)
    assert plan.total == pytest.approx(expected, abs=1e-6)
    assert plan.hours == pytest.approx(hours(plan.picks))
    quick = [picks for picks in every if hours(picks) <= 9]
    if quick:
        fast = place(nodes, traffic, egress=egress, rounds=500, deadline_hours=9)
        assert fast.total == pytest.approx(min(cost(p, traffic, hours(p), egress) for p in quick), abs=1e-6)


@given(seed=st.integers(0, 10**9))
@settings(max_examples=80, deadline=None)
def test_limits_on_several_nodes_equal_enumeration(seed: int) -> None:
    nodes, traffic, hours, egress = random_case(seed, most=4)
    rng = random.Random(seed)
    quota = {("aws", "*", "*"): rng.choice([0, 4, 8]), ("gcp", "r1", "a"): rng.choice([0, 4])}
    most = rng.randint(1, 3)
    pins = {"n0": {"provider": [*rng.sample(PROVIDERS, 2)]}}

    def allowed(picks: Sequence[Candidate]) -> bool:
        aws = sum(c["vcpus"] for c in picks if c["provider"] == "aws")
        gcp = sum(c["vcpus"] for c in picks if (c["provider"], c["region"], c["family"]) == ("gcp", "r1", "a"))
        return (
            aws <= quota["aws", "*", "*"]
            and gcp <= quota["gcp", "r1", "a"]
            and all(sum(c["provider"] == p for c in picks) <= most for p in PROVIDERS)
            and picks[0]["provider"] in pins["n0"]["provider"]
        )

    expected = enumerate_all(nodes, traffic, hours, egress, allowed)
    constraints = {"quota": quota, "max_per_provider": most, "pins": pins}
    if math.isinf(expected):
        with pytest.raises(Exception, match="No placement"):
            place(nodes, traffic, hours, egress=egress, **constraints)
    else:
        plan = place(nodes, traffic, hours, egress=egress, **constraints)
        assert plan.total == pytest.approx(expected, abs=1e-6)
        assert allowed(plan.picks)


def test_the_table_is_the_default_and_a_callable() -> None:
    nodes = [
        {"name": "a", "candidates": [candidate("aws", "eu-west-1", 0.2), candidate("gcp", "europe-west1", 0.19)]},
        {"name": "b", "candidates": [candidate("aws", "eu-west-1", 0.2)]},
    ]
    for egress in (None, EgressTable.embedded(), EgressTable.embedded().price):
        plan = place(nodes, [[0, 10], [10, 0]], 10, egress=egress)
        assert [pick["provider"] for pick in plan.picks] == ["aws", "aws"]
        assert plan.total == pytest.approx(4.0)
        cheap = place(nodes, [[0, 0.1], [0, 0]], 10, egress=egress)
        assert cheap.total == pytest.approx(1.9 + 2.0 + 0.1 * 0.12)


def candidate(provider: str, region: str, usd: float, **more: Any) -> Candidate:
    return {"provider": provider, "region": region, "instance_type": "m", "usd_hour": usd, **more}


def test_a_price_may_depend_on_any_key_that_says_where() -> None:
    nodes = [
        {"name": "a", "candidates": [candidate("aws", "r", 0.2, rack=k) for k in range(3)]},
        {"name": "b", "candidates": [candidate("aws", "r", 0.2, rack=k) for k in (2, 3)]},
    ]
    plan = place(nodes, [[0, 1], [1, 0]], 1, egress=lambda a, b: abs(a["rack"] - b["rack"]))
    assert [pick["rack"] for pick in plan.picks] == [2, 2]


def test_only_pairs_that_may_carry_traffic_are_asked_for_and_only_once() -> None:
    asked: list[tuple[str, str]] = []

    def egress(a: Candidate, b: Candidate) -> float:
        asked.append((a["region"], b["region"]))
        return 0.1

    nodes = [
        {"name": name, "candidates": [candidate("aws", f"{name}{k}", 0.1 + k) for k in range(2)]} for name in "abc"
    ]
    place(nodes, [[0, 5, 0], [0, 0, 0], [0, 0, 0]], 1, egress=egress)
    assert sorted(asked) == [(f"a{i}", f"b{j}") for i in range(2) for j in range(2)]


def test_spot_price_counts_lost_work() -> None:
    assert effective_spot_price(0.1, 0.05, 1.0, 0.1) == pytest.approx(0.1 * 1.03)
    assert effective_spot_price(0.1, 0, 5, 5) == 0.1
    with pytest.raises(InvalidInput, match="interruptions_per_hour"):
        effective_spot_price(0.1, -1, 1, 1)


def good() -> list[dict[str, Any]]:
    return [
        {"name": "a", "candidates": [candidate("aws", "eu-west-1", 0.2)]},
        {"name": "b", "candidates": [candidate("gcp", "x", 1)]},
    ]


def broken(change: Callable[[list[dict[str, Any]]], object]) -> list[dict[str, Any]]:
    nodes = good()
    change(nodes)
    return nodes


@pytest.mark.parametrize(
    ("nodes", "named"),
    [
        ([], "at least one node"),
        (None, "at least one node"),
        (broken(lambda n: n[1].update(name="a")), "Two nodes are named 'a'"),
        (broken(lambda n: n[1].update(name="")), "key 'name'"),
        (broken(lambda n: n[1].pop("candidates")), "no key 'candidates'"),
        (broken(lambda n: n[1].update(candidates=[])), "Node 'b', key 'candidates'"),
        (broken(lambda n: n[1]["candidates"][0].pop("usd_hour")), "Node 'b', candidate 0, key 'usd_hour'"),
        (broken(lambda n: n[1]["candidates"][0].update(usd_hour=-1)), "-1"),
        (broken(lambda n: n[1]["candidates"][0].update(usd_hour=math.nan)), "nan"),
        (broken(lambda n: n[1]["candidates"][0].update(usd_hour=math.inf)), "inf"),
        (broken(lambda n: n[1]["candidates"][0].update(usd_hour="1")), "'1'"),
        (broken(lambda n: n[1]["candidates"][0].update(usd_hour=True)), "True"),
        (broken(lambda n: n[1]["candidates"][0].update(usd_hour=0)), "none is published"),
        (broken(lambda n: n[1]["candidates"][0].update(region=None)), "key 'region'"),
        (broken(lambda n: n[1]["candidates"][0].update(storage_usd=-3)), "storage_usd"),
        (broken(lambda n: n.__setitem__(0, "a")), "Node 0 is a str"),
    ],
)
def test_bad_nodes_are_named(nodes: Any, named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        place(nodes, np.zeros((2, 2)), 1)


@pytest.mark.parametrize(
    ("traffic", "named"),
    [
        (np.zeros((3, 3)), "3x3; 2 nodes need 2x2"),
        ([[0, 1]], "1x2"),
        ([[0, -1], [0, 0]], "from node 'a' to node 'b' is -1"),
        ([[0, 0], [math.nan, 0]], "from node 'b' to node 'a' is nan"),
        ([["x", 0], [0, 0]], "no array of numbers"),
        (None, "traffic_gb"),
    ],
)
def test_bad_traffic_is_named(traffic: Any, named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        place(good(), traffic, 1)


@pytest.mark.parametrize(
    ("given_", "named"),
    [
        ({"hours": 0}, "hours is 0"),
        ({"hours": -2}, "hours is -2"),
        ({"hours": math.nan}, "hours is nan"),
        ({"hours": None}, "Neither hours nor rounds"),
        ({"hours": 1, "rounds": 5}, "Both hours"),
        ({"hours": None, "rounds": 0}, "rounds is 0"),
        ({"hours": None, "rounds": 5}, "round_seconds"),
        ({"budget": -1}, "budget is -1"),
        ({"budget": math.nan}, "budget is nan"),
        ({"deadline_hours": "soon"}, "deadline_hours"),
        ({"max_per_provider": 0}, "max_per_provider is 0"),
        ({"pins": {"z": {"provider": "aws"}}}, "'z'"),
        ({"pins": {"a": {"cloud": "aws"}}}, "cloud"),
        ({"pins": {"a": {"area": "Atlantis"}}}, "Atlantis"),
        ({"quota": {"aws": 3}}, "'aws'"),
        ({"quota": {("aws", "*", "*"): 3}}, "vcpus"),
        ({"egress": 0.1}, "egress is a float"),
        ({"time_limit": 0}, "time_limit"),
    ],
)
def test_bad_settings_are_named(given_: dict[str, Any], named: str) -> None:
    settings_ = {"hours": 1, **given_}
    with pytest.raises(InvalidInput, match=named):
        place(good(), [[0, 1], [1, 0]], **settings_)


@pytest.mark.parametrize("price", [-0.1, math.nan, math.inf, None, "free"])
def test_an_egress_price_that_is_none_is_refused_with_its_pair(price: Any) -> None:
    with pytest.raises(InvalidInput, match="from aws eu-west-1 to gcp x") as caught:
        place(good(), [[0, 1], [0, 0]], 1, egress=lambda a, b: price)
    assert caught.value.code == "bad-egress-price"


def test_own_machines_may_cost_nothing() -> None:
    nodes = broken(lambda n: n[0].update(candidates=[candidate("local", "here", 0)]))
    assert place(nodes, [[0, 5], [0, 0]], 2).total == 2.0  # a local machine sends for nothing
    nodes[1]["candidates"] = [candidate("gcp", "x", 0, free=True)]
    assert place(nodes, [[0, 5], [0, 0]], 2).total == 0.0


def prices() -> Path | None:
    named = os.environ.get("FLAAS_DATA")
    root = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    return root / "prices" if (root / "prices").is_dir() else None


@pytest.mark.skipif(prices() is None, reason="FLAAS_DATA names no folder with price tables")
def test_real_prices_three_pinned_nodes_and_an_aggregator() -> None:
    """A 1.4 GB model over 200 rounds: the optimum of all choices, and far below the cheapest machine for each."""
    import pandas as pd

    folder = prices()
    assert folder is not None
    regions = pd.read_csv(folder / "regions.csv")
    machines = pd.concat([pd.read_csv(folder / f"{p}_vms.csv.gz") for p in PROVIDERS]).merge(
        regions, on=["provider", "region"]
    )
    fits = machines[
        (machines.vcpus >= 4) & (machines.memory_gib >= 15) & (machines.arch == "x86_64") & machines.eu.astype(bool)
        & (machines.gpu_count.fillna(0) == 0) & ~machines.burstable.astype(bool) & (machines.price_usd_hour > 0)
    ]  # fmt: skip
    cheapest = fits.sort_values("price_usd_hour").groupby(["provider", "region"], as_index=False).first()
    offers = [
        candidate(row.provider, row.region, float(row.price_usd_hour), country=row.country)
        for row in cheapest.itertuples()
    ]
    pins: dict[str, dict[str, Any]] = {"n0": {"provider": "aws"}, "n1": {"country": "DE"}, "n2": {"country": "FR"}}
    nodes = [{"name": name, "candidates": offers} for name in ("aggregator", "n0", "n1", "n2")]
    traffic = np.zeros((4, 4))
    traffic[0, 1:] = traffic[1:, 0] = 280.0
    table = EgressTable.load(folder / "egress.csv")
    plan = place(nodes, traffic, 24, egress=table, pins=pins)
    meets = [
        lambda c: True,
        lambda c: c["provider"] == "aws",
        lambda c: c["country"] == "DE",
        lambda c: c["country"] == "FR",
    ]
    expected = min(
        24 * hub["usd_hour"]
        + sum(
            min(24 * c["usd_hour"] + 280 * (table(c, hub) + table(hub, c)) for c in offers if meets[i](c))
            for i in range(1, 4)
        )
        for hub in offers
    )
    assert plan.total == pytest.approx(expected, abs=1e-6)
    assert plan.cheapest_machines.total > 1.5 * plan.total
