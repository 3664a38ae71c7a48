"""What a plan says about itself, and what an impossible one says instead."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.costs.egress import EgressTable
from flaas_jupyter.costs.placement import place
from flaas_jupyter.errors import Conflict


def candidate(provider: str, region: str, usd: float, **more: Any) -> dict[str, Any]:
    return {"provider": provider, "region": region, "instance_type": "m", "usd_hour": usd, **more}


IRELAND = candidate("aws", "eu-west-1", 0.30, vcpus=4)
LONDON = candidate("aws", "eu-west-2", 0.20, vcpus=4)
BELGIUM = candidate("gcp", "europe-west1", 0.25, vcpus=4)
FRANKFURT = candidate("gcp", "europe-west3", 0.28, vcpus=8)
EVERYWHERE = [IRELAND, LONDON, BELGIUM, FRANKFURT]


def three(gb: float = 10.0) -> tuple[list[dict[str, Any]], Any]:
    return [{"name": name, "candidates": EVERYWHERE} for name in ("a", "b", "c")], np.full((3, 3), gb)


def test_the_price_of_each_constraint_is_the_difference_to_a_plan_without_it() -> None:
    nodes, traffic = three(100)
    pins = {"a": {"area": "EU"}, "b": {"provider": "gcp"}}
    plan = place(nodes, traffic, 100, pins=pins, max_per_provider=2)
    told = plan.price_of_constraints
    assert set(told) == {"pinning a to area EU", "pinning b to provider gcp", "at most 2 nodes per provider"}
    without_a = place(nodes, traffic, 100, pins={"b": pins["b"]}, max_per_provider=2)
    without_limit = place(nodes, traffic, 100, pins=pins)
    assert told["pinning a to area EU"] == pytest.approx(plan.total - without_a.total)
    assert told["at most 2 nodes per provider"] == pytest.approx(plan.total - without_limit.total)
    assert told["at most 2 nodes per provider"] > 1


def test_runners_up_by_provider_and_by_node() -> None:
    nodes, traffic = three()
    plan = place(nodes, traffic, 100)
    assert [pick["region"] for pick in plan.picks] == ["eu-west-2"] * 3
    gcp = plan.runner_up["gcp"]
    assert gcp is not None
    assert gcp.total == pytest.approx(75.0)
    assert gcp.extra == pytest.approx(15.0)
    aws = plan.runner_up["aws"]
    assert aws is not None
    assert aws.extra == 0
    other = plan.next_best["a"]
    assert other is not None
    every = itertools.product(EVERYWHERE, repeat=3)
    table = EgressTable.embedded()

    def total(picks: tuple[dict[str, Any], ...]) -> float:
        return sum(100 * c["usd_hour"] for c in picks) + sum(
            10 * table(picks[i], picks[j]) for i, j in itertools.permutations(range(3), 2)
        )

    assert other.total == pytest.approx(min(total(p) for p in every if p[0]["region"] != "eu-west-2"))
    pinned = place(nodes, traffic, 100, pins={"a": {"provider": "gcp"}})
    assert pinned.runner_up["aws"] is None


def test_the_explanation_says_it_in_words() -> None:
    nodes, traffic = three(1000)
    plan = place(nodes, traffic, 100, pins={"c": {"provider": "gcp"}})
    text = plan.explain()
    assert f"{plan.total:.2f} USD" in text
    assert "Proven to be the cheapest." in text
    assert f"Pinning c to provider gcp costs {plan.total - place(nodes, traffic, 100).total:.2f} USD." in text
    assert f"without regard to traffic: {plan.cheapest_machines.total:.2f} USD" in text
    assert plan.cheapest_machines.total > plan.total
    assert "Everything at aws: not possible." in text
    assert plan.to_dict()["by_node"][2]["pick"]["provider"] == "gcp"


def test_volume_tiers_are_counted_exactly_beside_the_plan() -> None:
    nodes = [{"name": "a", "candidates": [IRELAND]}, {"name": "b", "candidates": [BELGIUM]}]
    plan = place(nodes, [[0, 60_000], [500, 0]], 24)
    assert plan.egress == pytest.approx(60_000 * 0.09 + 500 * 0.12)
    aws = 10_140 * 0.09 + 40_960 * 0.085 + 8_800 * 0.07
    assert plan.egress_tiered == pytest.approx(aws + 500 * 0.12)
    assert any("aws sends 60,000 GB" in warning for warning in plan.warnings)
    long = place(nodes, [[0, 60_000], [500, 0]], 24 * 365)  # 12 months of 5,000 GB
    assert long.egress_tiered == pytest.approx(12 * (4_900 * 0.09) + 500 * 0.12)
    assert not any("sends" in warning for warning in long.warnings)
    assert place(nodes, [[0, 1], [0, 0]], 24, egress=lambda a, b: 0.1).egress_tiered is None


def test_each_account_has_its_own_tiers() -> None:
    nodes = [
        {"name": name, "candidates": [candidate("aws", "eu-west-1", 0.3, account=name)]} for name in ("one", "two")
    ] + [{"name": "hub", "candidates": [BELGIUM]}]
    plan = place(nodes, [[0, 0, 150], [0, 0, 150], [0, 0, 0]], 24)
    assert plan.egress == pytest.approx(300 * 0.09)
    assert plan.egress_tiered == pytest.approx(2 * 50 * 0.09)


def test_prices_that_were_assumed_are_told() -> None:
    nodes = [{"name": "a", "candidates": [candidate("aws", "sa-east-1", 1)]}, {"name": "b", "candidates": [BELGIUM]}]
    assert any("not checked" in warning for warning in place(nodes, [[0, 1], [0, 0]], 1).warnings)
    assert place(nodes, [[0, 0], [0, 0]], 1).warnings == []


def fails(*args: Any, **kwargs: Any) -> Conflict:
    with pytest.raises(Conflict) as caught:
        place(*args, **kwargs)
    assert caught.value.code == "no-placement"
    return caught.value


def kinds(error: Conflict) -> list[str]:
    return [one["kind"] for one in error.details["conflict"]]


def test_a_budget_too_small_names_the_smallest_that_would_do() -> None:
    nodes, traffic = three()
    best = place(nodes, traffic, 100).total
    error = fails(nodes, traffic, 100, budget=best - 1)
    assert kinds(error) == ["budget"]
    assert error.details["smallest_budget"] == pytest.approx(best, abs=0.01)
    assert f"A budget of {error.details['smallest_budget']:.2f} USD would do." in str(error)
    assert place(nodes, traffic, 100, budget=error.details["smallest_budget"]).total == pytest.approx(best)


def test_a_pin_that_nothing_meets() -> None:
    nodes, traffic = three()
    error = fails(nodes, traffic, 100, pins={"a": {"country": "SE"}, "b": {"provider": "aws"}})
    assert [one.get("node") for one in error.details["conflict"]] == ["a"]
    assert "pinning a to country SE cannot be met" in str(error)
    assert "aws eu-west-1" in str(error)


def test_europe_is_not_the_eu() -> None:
    nodes = [{"name": "a", "candidates": [LONDON]}]
    assert place(nodes, [[0]], 1, pins={"a": {"area": "Europe"}}).picks == [LONDON]
    assert kinds(fails(nodes, [[0]], 1, pins={"a": {"area": "EU"}})) == ["pin"]


def test_own_machines_stand_in_the_area_of_their_country() -> None:
    nodes = [{"name": "a", "candidates": [candidate("ssh", "cellar", 0, country="DE")]}]
    assert place(nodes, [[0]], 1, pins={"a": {"area": "EU"}}).total == 0
    unknown = [{"name": "a", "candidates": [candidate("ssh", "cellar", 0)]}]
    assert kinds(fails(unknown, [[0]], 1, pins={"a": {"area": "EU"}})) == ["pin"]


def test_two_pins_and_a_limit() -> None:
    nodes, traffic = three()
    pins = {"a": {"provider": "aws"}, "b": {"provider": "aws"}, "c": {"area": "EU"}}
    error = fails(nodes, traffic, 100, pins=pins, max_per_provider=1, budget=10_000)
    assert kinds(error) in (["pin", "pin", "max_per_provider"], ["max_per_provider"])
    assert kinds(error) == ["max_per_provider"]  # three nodes and two providers: the limit alone
    nodes[2]["candidates"] = [*EVERYWHERE, candidate("azure", "westeurope", 1)]
    error = fails(nodes, traffic, 100, pins=pins, max_per_provider=1, budget=10_000)
    assert kinds(error) == ["pin", "pin", "max_per_provider"]
    assert error.details["smallest_max_per_provider"] == 2


def test_a_quota_that_is_too_small() -> None:
    nodes, traffic = three()
    error = fails(nodes, traffic, 100, quota={("aws", "*", "*"): 4, ("gcp", "*", "*"): 4})
    assert kinds(error) == ["quota", "quota"]
    only_aws = [{"name": n["name"], "candidates": [IRELAND]} for n in nodes]
    error = fails(only_aws, traffic, 100, quota={("aws", "eu-west-1", "*"): 8})
    assert error.details["smallest_quota"] == 12


def test_a_deadline_that_is_too_short() -> None:
    slow = [{"name": "a", "candidates": [{**IRELAND, "round_seconds": 36}, {**BELGIUM, "round_seconds": 18}]}]
    error = fails(slow, [[0]], rounds=100, deadline_hours=0.25)
    assert kinds(error) == ["deadline"]
    assert error.details["smallest_deadline_hours"] == pytest.approx(0.5)
    assert kinds(fails(slow, [[0]], rounds=100, deadline_hours=0.6, pins={"a": {"provider": "aws"}})) == [
        "pin",
        "deadline",
    ]
    assert kinds(fails(slow, [[0]], 5, deadline_hours=4)) == ["deadline"]


@given(seed=st.integers(0, 10**9))
@settings(max_examples=40, deadline=None)
def test_a_conflict_is_smallest_and_a_conflict(seed: int) -> None:
    """Against enumeration of all choices and all sets of constraints."""
    rng = random.Random(seed)
    size = rng.randint(1, 3)
    nodes = [{"name": f"n{i}", "candidates": rng.sample(EVERYWHERE, rng.randint(1, 4))} for i in range(size)]
    traffic = np.full((size, size), 10.0)
    given_: dict[str, Any] = {}
    checks: dict[Any, Any] = {}

    def total(picks: Any) -> float:
        table = EgressTable.embedded()
        moved = sum(10 * table(picks[i], picks[j]) for i, j in itertools.permutations(range(size), 2))
        return sum(100 * c["usd_hour"] for c in picks) + moved

    for i in range(size):
        if rng.random() < 0.7:
            provider = rng.choice(["aws", "gcp"])
            given_.setdefault("pins", {})[f"n{i}"] = {"provider": provider}
            checks["pin", f"n{i}"] = lambda picks, i=i, provider=provider: picks[i]["provider"] == provider
    if rng.random() < 0.6:
        given_["max_per_provider"] = limit = rng.randint(1, 2)
        checks["max_per_provider", None] = lambda picks: all(
            sum(c["provider"] == p for c in picks) <= limit for p in ("aws", "gcp")
        )
    if rng.random() < 0.6:
        given_["budget"] = budget = rng.choice([15.0, 25.0, 45.0, 70.0])
        checks["budget", None] = lambda picks: total(picks) <= budget + 1e-6
    every = list(itertools.product(*(node["candidates"] for node in nodes)))

    def possible(names: Any) -> bool:
        return any(all(checks[name](picks) for name in names) for picks in every)

    if possible(checks):
        assert place(nodes, traffic, 100, **given_).total == pytest.approx(
            min(total(p) for p in every if all(check(p) for check in checks.values())), abs=1e-6
        )
        return
    error = fails(nodes, traffic, 100, **given_)
    named = [(one["kind"], one.get("node")) for one in error.details["conflict"]]
    assert not possible(named)
    least = min(
        size for size in range(len(checks) + 1) for names in itertools.combinations(checks, size) if not possible(names)
    )
    assert len(named) == least
    assert error.details["smallest"]


def test_time_that_runs_out_is_said() -> None:
    """Prices without any structure on a dense graph: too hard for a moment, and not claimed to be solved."""
    rng = np.random.default_rng(0)
    size, places = 24, 20
    table = rng.uniform(0, 1, (places, places))
    nodes = [
        {"name": f"n{i}", "candidates": [candidate("aws", str(r), float(rng.uniform(0.1, 1))) for r in range(places)]}
        for i in range(size)
    ]
    traffic = rng.uniform(0, 1, (size, size))
    plan = place(
        nodes, traffic, 1, egress=lambda a, b: float(table[int(a["region"]), int(b["region"])]), time_limit=0.2
    )
    assert plan.gap > 0
    assert "time limit" in plan.warnings[0]
    assert "Not proven" in plan.explain().splitlines()[1]
    assert math.isfinite(plan.total)
