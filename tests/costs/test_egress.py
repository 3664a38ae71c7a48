"""Prices of data that leaves a cloud: by hand, by area, by account."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flaas_jupyter.costs.egress as egress
from flaas_jupyter.costs.egress import EgressTable
from flaas_jupyter.errors import InvalidInput


def at(provider: str, region: str, **more: str) -> dict[str, str]:
    return {"provider": provider, "region": region, **more}


IRELAND, FRANKFURT = at("aws", "eu-west-1"), at("aws", "eu-central-1")
BELGIUM, NETHERLANDS = at("gcp", "europe-west1"), at("azure", "westeurope")


@pytest.mark.parametrize(
    ("source", "target", "usd"),
    [
        (IRELAND, BELGIUM, 0.09),
        (BELGIUM, IRELAND, 0.12),
        (NETHERLANDS, IRELAND, 0.087),
        (IRELAND, FRANKFURT, 0.02),
        (BELGIUM, at("gcp", "europe-west3"), 0.02),
        (BELGIUM, at("gcp", "us-central1"), 0.05),
        (NETHERLANDS, at("azure", "eastus"), 0.05),
        (NETHERLANDS, at("azure", "uksouth"), 0.02),
        (IRELAND, dict(IRELAND), 0.0),
        (IRELAND, at("local", "here"), 0.09),
        (at("local", "here"), IRELAND, 0.0),
        (at("ssh", "cellar"), at("ssh", "attic"), 0.0),
        (at("aws", "sa-east-1"), BELGIUM, 0.15),
        (BELGIUM, at("gcp", "australia-southeast1"), 0.1),
        (BELGIUM, at("aws", "ap-southeast-2"), 0.19),
    ],
)
def test_price_of_a_gigabyte(source: dict[str, str], target: dict[str, str], usd: float) -> None:
    assert EgressTable.embedded().price(source, target) == usd


def test_zones_count_only_if_both_ends_name_one() -> None:
    table = EgressTable.embedded()
    zone_a, zone_b = IRELAND | {"zone": "a"}, IRELAND | {"zone": "b"}
    assert table.price(zone_a, zone_b) == 0.02
    assert table.price(zone_a, IRELAND) == table.price(zone_a, zone_a) == 0.0


def test_standard_network_tier() -> None:
    table = EgressTable.embedded().switched(standard_tier=True)
    assert table.price(BELGIUM, IRELAND) == 0.085
    assert table.price(IRELAND, BELGIUM) == 0.09


def test_transfer_between_clouds_is_free_only_where_it_was_switched_on() -> None:
    ours, target = BELGIUM | {"account": "hospital"}, IRELAND | {"account": "hospital"}
    assert EgressTable.embedded().price(ours, target) == 0.12
    table = EgressTable.embedded().switched(multicloud_accounts={"hospital"})
    assert table.price(ours, target) == 0.0
    assert table.price(ours, IRELAND | {"account": "bank"}) == 0.12  # another organisation
    assert table.price(ours, at("aws", "us-east-1", account="hospital")) == 0.12  # outside Europe
    assert table.price(target, ours) == 0.09  # Google's offer, not Amazon's
    assert table.price(ours, at("local", "here", account="hospital")) == 0.12


@pytest.mark.parametrize(
    ("provider", "gb", "usd"),
    [
        ("aws", 0, 0.0),
        ("aws", 100, 0.0),
        ("aws", 101, 0.09),
        ("aws", 10_240, 10_140 * 0.09),
        ("aws", 60_000, 10_140 * 0.09 + 40_960 * 0.085 + 8_800 * 0.07),
        ("aws", 200_000, 10_140 * 0.09 + 40_960 * 0.085 + 102_400 * 0.07 + 46_400 * 0.05),
        ("azure", 20_000, 10_140 * 0.087 + 9_760 * 0.083),
        ("gcp", 1_024, 1_024 * 0.12),
        ("gcp", 12_000, 1_024 * 0.12 + 9_216 * 0.11 + 1_760 * 0.08),
        ("local", 5_000, 0.0),
    ],
)
def test_a_month_by_hand(provider: str, gb: float, usd: float) -> None:
    assert EgressTable.embedded().cost(provider, gb) == pytest.approx(usd, abs=1e-9)


def raw_rows() -> list[dict[str, str]]:
    with (Path(egress.__file__).parent / "data" / "egress.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@given(gb=st.integers(0, 700_000), which=st.integers(0, 10_000))
def test_tiers_equal_an_integration_gigabyte_by_gigabyte_range(gb: int, which: int) -> None:
    rows = raw_rows()
    keys = sorted({(r["provider"], r["scope"], r["from_area"], r["to_area"]) for r in rows})
    key = keys[which % len(keys)]
    mine = [r for r in rows if (r["provider"], r["scope"], r["from_area"], r["to_area"]) == key]
    edges = sorted({0, gb, *(int(r["tier_from_gb"]) for r in mine if int(r["tier_from_gb"]) < gb)})
    expected = 0.0
    for low, high in itertools.pairwise(edges):
        price = max((r for r in mine if int(r["tier_from_gb"]) <= low), key=lambda r: int(r["tier_from_gb"]))[
            "usd_per_gb"
        ]
        expected += (high - low) * float(price)
    schedule = next(s for s in EgressTable.embedded().schedules if (s.provider, s.scope, s.from_area, s.to_area) == key)
    assert schedule.cost(gb) == pytest.approx(expected, rel=1e-12, abs=1e-9)


def test_every_embedded_row_has_a_source_and_checked_ones_a_date() -> None:
    for row in raw_rows():
        assert row["source"], row
        assert row["checked"] in ("yes", "no")
        assert row["as_of"] or row["checked"] == "no", row


def test_what_was_assumed_is_said() -> None:
    table = EgressTable.embedded()
    assert table.quote(IRELAND, BELGIUM).assumed == ""
    assert "not checked" in table.quote(at("aws", "sa-east-1"), BELGIUM).assumed
    unknown = table.quote(at("aws", "moon-1"), BELGIUM)
    assert "dearest known" in unknown.assumed
    assert unknown.usd_per_gb == max(
        s.marginal for s in table.schedules if (s.provider, s.scope) == ("aws", "internet")
    )
    assert table.quote(at("local", "x"), IRELAND).scope == "unlisted"


HEADER = "provider,scope,from_area,to_area,tier_from_gb,tier_to_gb,usd_per_gb,note\n"


def load(tmp_path: Path, body: str) -> EgressTable:
    path = tmp_path / "egress.csv"
    path.write_text(HEADER + body)
    return EgressTable.load(path)


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    table = load(
        tmp_path,
        "aws,internet,EU+US,any,0,100,0,\naws,internet,EU+US,any,100,,0.09,\naws,internet,DE,any,0,,0.05,\n"
        "aws,internet,eu-west-3,any,0,,0.03,\naws,inter_region,EU,other continent,0,,0.04,\n"
        "ssh,internet,any,any,0,,0.01,\n",
    )
    assert table.price(IRELAND, BELGIUM) == 0.09
    assert table.price(FRANKFURT, BELGIUM) == 0.05  # a country before its continent
    assert table.price(at("aws", "eu-west-3"), BELGIUM) == 0.03  # a region before its country
    assert table.price(IRELAND, at("aws", "us-east-1")) == 0.04
    assert table.price(at("ssh", "cellar", country="DE"), IRELAND) == 0.01
    assert table.price(BELGIUM, IRELAND) == 0.0  # no prices of that provider here
    inside = table.quote(IRELAND, FRANKFURT)
    assert (inside.usd_per_gb, "dearest known" in inside.assumed) == (0.04, True)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("aws,internet,EU,any,0,,much,\n", "usd_per_gb"),
        ("aws,internet,EU,any,0,,-1,\n", "usd_per_gb"),
        ("aws,internet,EU,any,0,,nan,\n", "usd_per_gb"),
        ("aws,internet,EU,any,,,0.1,\n", "tier_from_gb"),
        ("aws,by_pigeon,EU,any,0,,0.1,\n", "by_pigeon"),
        (",internet,EU,any,0,,0.1,\n", "empty"),
        ("aws,internet,EU,any,0,100,0,\naws,internet,EU,any,200,,0.1,\n", "gap"),
        ("aws,internet,EU,any,0,100,0,\naws,internet,EU,any,50,,0.1,\n", "overlap"),
    ],
)
def test_a_bad_table_is_refused_by_row_and_column(tmp_path: Path, body: str, named: str) -> None:
    with pytest.raises(InvalidInput, match=named) as caught:
        load(tmp_path, body)
    assert caught.value.code == "bad-egress-table"


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        EgressTable.load(tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidInput, match="has no column provider"):
        EgressTable.load(tmp_path / "other.csv")


@pytest.mark.parametrize("gb", [-1, float("nan"), float("inf"), "5"])
def test_a_volume_that_is_none(gb: object) -> None:
    with pytest.raises(InvalidInput, match="volume"):
        EgressTable.embedded().cost("aws", gb)  # type: ignore[arg-type]


def test_an_unknown_kind() -> None:
    with pytest.raises(InvalidInput, match="by_pigeon"):
        EgressTable.embedded().cost("aws", 1, "by_pigeon")
    with pytest.raises(InvalidInput, match="multicloud_eu"):
        EgressTable.embedded().cost("aws", 1, "multicloud_eu")
