"""From a template to a plan: the answer that wizard, command line and notebook show."""

from __future__ import annotations

import itertools
import json

import pytest

from flaas_jupyter.costs import Catalog, Need, Template, templates
from flaas_jupyter.costs.estimation import bytes_of_round, round_time, traffic_matrix
from flaas_jupyter.costs.recommendation import LEAST_HOURS, SETUP_HOURS, Request, recommend
from flaas_jupyter.errors import InvalidInput, NotFound

CATALOG = Catalog.embedded()


def asked(name: str = "tabular-secure", **options):
    return recommend(CATALOG, Request.from_dict({"template": name, **options}), local=True)


@pytest.mark.parametrize("template", templates.builtin(), ids=lambda template: template.name)
def test_every_template_has_a_plan_that_adds_up(template):
    answer = asked(template.name).to_dict()
    plan = answer["plan"]
    assert len(plan["nodes"]) == template.nodes
    parts = plan["compute_usd"] + plan["egress_usd"] + plan["storage_usd"]
    assert plan["total_usd"] == pytest.approx(parts)
    machines = sum(node["usd_hour"] * plan["hours"] for node in plan["nodes"])
    assert plan["compute_usd"] == pytest.approx(machines)
    assert all(node["region"] and node["country"] for node in plan["nodes"])
    json.dumps(answer, allow_nan=False)


def test_the_recommendation_is_the_cheapest_of_all_choices():
    """Two nodes: every pair of machines of the catalog, tried one by one."""
    template = Template(
        name="pair", title="", description="", need=Need(vcpus=4, memory_gib=16), nodes=2, parameters=40_000_000,
        rows_per_node=200_000, rounds=20,
    )  # fmt: skip
    found = recommend(CATALOG, Request(template, tuple(map(_wish, ("a", "b")))))
    traffic = traffic_matrix(2, 0, 20, *bytes_of_round(template))
    everything = CATALOG.offers(template.need, template.area, template.market)

    def total(one, other):
        slowest = max(round_time(template, machine).total for machine in (one, other))
        hours = max(20 * slowest / 3600 + SETUP_HOURS, LEAST_HOURS)
        places = [{"provider": o.provider, "region": o.region, "country": o.country} for o in (one, other)]
        egress = traffic[0, 1] * CATALOG.egress(*places) + traffic[1, 0] * CATALOG.egress(*reversed(places))
        disks = sum(CATALOG.storage.find(o.provider, o.region).usd(template.disk_gib, hours) for o in (one, other))
        return hours * (one.price_usd_hour + other.price_usd_hour) + egress + disks

    assert found.plan.total == pytest.approx(min(total(*pair) for pair in itertools.product(everything, repeat=2)))


def _wish(name):
    from flaas_jupyter.costs.recommendation import Wish

    return Wish(name)


def test_pins_are_kept_and_priced():
    answer = asked(
        "hospital-imaging",
        nodes=[{"name": "berlin", "area": "DE"}, {"name": "bound", "provider": "azure"}, {"name": "free"}],
    ).to_dict()
    places = {node["name"]: node for node in answer["plan"]["nodes"]}
    assert places["berlin"]["country"] == "DE"
    assert places["bound"]["provider"] == "azure"
    priced = {entry["constraint"]: entry["usd"] for entry in answer["plan"]["constraints"]}
    free = asked("hospital-imaging", nodes=[{"name": "berlin", "area": "DE"}, {"name": "bound"}, {"name": "free"}])
    expected = answer["plan"]["total_usd"] - free.plan.total
    assert priced["pinning bound to provider azure"] == pytest.approx(expected)
    aws = next(entry for entry in answer["providers"] if entry["provider"] == "aws")
    assert aws["plan"] is None
    assert "bound" in aws["why_not"]


def test_a_node_may_be_pinned_outside_the_template_s_area():
    answer = asked("tabular-small", nodes=[{"name": "a"}, {"name": "b", "area": "US"}]).to_dict()
    countries = {node["name"]: node["country"] for node in answer["plan"]["nodes"]}
    assert countries["b"] == "US"
    assert countries["a"] != "US", "the others stay in the template's area"


def test_a_provider_is_recommended_by_what_the_whole_project_costs():
    answer = asked().to_dict()
    clouds = {e["provider"]: e["plan"]["total_usd"] for e in answer["providers"] if e["provider"] != "local"}
    best = next(entry for entry in answer["providers"] if entry["recommended"])
    assert clouds[best["provider"]] == min(clouds.values()) == answer["plan"]["total_usd"]
    assert best["reason"].startswith("Cheapest, by")
    assert best["candidates"][0]["chosen"]
    assert best["candidates"][0]["reason"] == ""


def test_without_an_account_a_provider_says_which_command_enters_one():
    found = asked()
    bare = {entry["provider"]: entry for entry in found.to_dict()["providers"]}
    assert not bare["aws"]["launchable"]
    assert "flaas costs account add aws" in bare["aws"]["why_not"]
    with_account = {entry["provider"]: entry for entry in found.to_dict({"aws": "a1"})["providers"]}
    assert with_account["aws"]["launchable"]
    assert with_account["aws"]["account"] == "a1"
    assert bare["local"]["launchable"], "this machine needs no account"
    assert bare["local"]["plan"]["total_usd"] == 0


def test_what_nobody_sells_is_said_with_its_reason():
    nobody = Template(name="huge", title="", description="", need=Need(vcpus=10_000), nodes=2)
    found = recommend(CATALOG, Request(nobody, (_wish("a"), _wish("b")))).to_dict()
    assert found["plan"] is None
    assert found["why_not"]
    assert all(entry["offer"] is None and entry["why_not"] for entry in found["providers"])


def test_a_budget_that_does_not_suffice_is_told_with_what_would():
    found = asked(budget_usd=0.01)
    assert found.plan is None
    assert "budget" in found.why_not
    assert "USD" in found.why_not


def test_nodes_may_be_a_number_or_a_list():
    counted, listed = asked(nodes=4), asked(nodes=[{"name": f"node-{i}"} for i in (1, 2, 3, 4)])
    assert counted.to_dict() == listed.to_dict()
    for wrong in (0, -1, 201, True, 2.5):
        with pytest.raises(InvalidInput, match="nodes"):
            asked(nodes=wrong)


def test_hours_that_are_given_count():
    assert asked(hours=7).plan.hours == 7
    assert asked(rounds=1).plan.hours == LEAST_HOURS


@pytest.mark.parametrize(
    ("wrong", "code", "words"),
    [
        ({"nodes": []}, "bad-request", "1 to"),
        ({"nodes": [{"name": "a"}, {"name": "a"}]}, "bad-request", "'a'"),
        ({"nodes": [{"name": "a", "provider": "nimbus"}]}, "bad-request", "nimbus"),
        ({"nodes": [{"area": "DE"}]}, "bad-request", "no name"),
        ({"area": "Atlantis"}, "unknown-area", "Atlantis"),
        ({"market": "black"}, "bad-template", "black"),
        ({"hours": -1}, "bad-request", "hours"),
        ({"budget_usd": float("nan")}, "bad-request", "budget_usd"),
        ({"colour": "red"}, "bad-request", "colour"),
        ({"rounds": 0}, "bad-template", "rounds"),
    ],
)
def test_bad_requests_say_what_is_wrong(wrong, code, words):
    with pytest.raises(InvalidInput, match=words) as caught:
        asked(**wrong)
    assert caught.value.code == code


def test_an_unknown_template_names_near_ones():
    with pytest.raises(NotFound, match="tabular-small"):
        asked("tabular-smal")
