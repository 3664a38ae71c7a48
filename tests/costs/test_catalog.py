"""The price catalog as a user meets it, against the rules written a second time in `oracle`."""

from __future__ import annotations

import gzip
import json
import random
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flaas_jupyter.costs import Catalog, Need, NegotiatedPrice, PriceOverlay, Regions
from flaas_jupyter.errors import InvalidInput, Unreachable

from . import oracle
from .oracle import Row

TODAY = date(2026, 9, 1)

PLACES = {
    ("aws", "eu-central-1"): {"country": "DE", "eu": True, "eea": True, "europe": True, "government": False},
    ("aws", "eu-west-2"): {"country": "GB", "eu": False, "eea": False, "europe": True, "government": False},
    ("aws", "us-gov-west-1"): {"country": "US", "eu": False, "eea": False, "europe": False, "government": True},
    ("azure", "norwayeast"): {"country": "NO", "eu": False, "eea": True, "europe": True, "government": False},
    ("azure", "westeurope"): {"country": "NL", "eu": True, "eea": True, "europe": True, "government": False},
    ("azure", "eastus"): {"country": "US", "eu": False, "eea": False, "europe": False, "government": False},
    ("gcp", "europe-west6"): {"country": "CH", "eu": False, "eea": False, "europe": True, "government": False},
    ("gcp", "europe-west9"): {"country": "FR", "eu": True, "eea": True, "europe": True, "government": False},
    ("gcp", "westeurope"): {
        "country": "NL",
        "eu": True,
        "eea": True,
        "europe": True,
        "government": False,
    },  # a namesake
}


def a_row(**changes: Any) -> Row:
    plain = Row(
        "aws", "eu-central-1", "m.large", "x86_64", 4, 16, "", 0, 0, False, 0.2, None, "2026-08-01", "list", True
    )
    return replace(plain, **changes)


def catalog_of(folder: Path, *rows: Row) -> Catalog:
    return Catalog.load(oracle.write(folder, list(rows), PLACES))


def names(offers: list[Any]) -> list[tuple[str, str, str]]:
    return [(offer.provider, offer.region, offer.instance_type) for offer in offers]


# ---- the rules, against the oracle -----------------------------------------------------------------------------------

AREAS: list[Any] = [
    "EU",
    "EEA",
    "Europe",
    "all",
    "DE",
    "US",
    ["DE", "FR"],
    "westeurope",
    "gcp:europe-west9",
    ["EU", "GB"],
]


MACHINES = sorted((place, kind) for place in PLACES for kind in ("a.1", "B.1"))


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    """Most machines fit most needs, so that every rule has something to decide on."""
    dice = draw(st.randoms(use_true_random=False))
    gpus = draw(st.booleans())
    found = []
    for (provider, region), kind in dice.sample(MACHINES, draw(st.integers(1, len(MACHINES)))):
        gpu = dice.choice([("T4", 1, 16), ("T4", 2, 16), ("A10", 0.1667, 4), ("L4", 0, 0)] if gpus else [("", 0, 0)])
        found.append(
            a_row(
                provider=provider,
                region=region,
                instance_type=kind,
                arch=dice.choice(["x86_64"] * 7 + ["arm64"]),
                vcpus=dice.choice([2, 4, 4, 8]),
                memory_gib=dice.choice([4, 16, 16]),
                gpu_name=gpu[0],
                gpu_count=gpu[1],
                gpu_memory_gib=gpu[2],
                burstable=dice.random() < 0.15,
                price_usd_hour=dice.choice([0.0, 0.1, 0.1, 0.2, 0.3]),
                spot_usd_hour=dice.choice([None, None, 0.0, 0.05, 0.1, 0.2]),
                on_demand_available=dice.random() < 0.85,
            )
        )
    return found


needs = st.builds(
    Need,
    vcpus=st.sampled_from([1, 1, 4]),
    memory_gib=st.sampled_from([0, 0, 8]),
    gpu_count=st.sampled_from([None, 1, 2, 1 / 6]),
    burstable=st.booleans(),
    arch=st.sampled_from(["x86_64", "x86_64", "arm64", None]),
)


@given(tables(), needs, st.sampled_from(AREAS), st.sampled_from(["on_demand", "spot"]), st.sampled_from([None, "aws"]))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_rules_on_made_up_tables(rows: list[Row], need: Need, area: Any, market: Any, provider: str | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        catalog = catalog_of(Path(folder), *rows)
    expected = oracle.usable(rows, PLACES, need, area, market, provider)
    offers = catalog.offers(need, area, market, provider)
    assert names(offers) == [one.machine for one in expected]
    assert [offer.price_usd_hour for offer in offers] == [
        one.price_usd_hour if market == "on_demand" else one.spot_usd_hour for one in expected
    ]
    assert catalog.cheapest(need, area, market, provider) == (offers[0] if offers else None)

    frame = catalog.candidates(need, area, market, provider, today=TODAY)
    keys = list(zip(frame["provider"], frame["region"], frame["instance_type"], strict=True))
    assert keys[: len(offers)] == names(offers)
    assert frame["chosen"].tolist() == [number == 0 and bool(offers) for number in range(len(frame))]
    told = dict(zip(keys, frame["reason"], strict=True))
    assert len(told) == len(keys)
    for one in rows:
        if provider is None or one.provider == provider:
            why = oracle.reason(one, rows, PLACES, need, area, market)
            if why is None:
                assert one.machine not in told
            else:
                assert told[one.machine] == why if not why else told[one.machine].startswith(why)
    assert bool(frame.attrs["message"]) == (not offers)
    assert catalog.explain(need, area, market, provider) == frame.attrs["message"]


@pytest.fixture(scope="module")
def published() -> tuple[Catalog, list[Row], Any]:
    folder = oracle.prices_folder()
    if folder is None:
        pytest.skip("FLAAS_DATA names no folder of data with prices, and there is none beside the checkout")
    return Catalog.load(folder), oracle.read(folder), oracle.regions(folder / "regions.csv")


GPUS: list[tuple[str, ...]] = [
    (),
    ("T4",),
    ("t4", "L4"),
    ("A100",),
    ("A100-80GB",),
    ("A10", "A10G"),
    ("H100",),
    ("V100",),
]


@pytest.mark.parametrize("seed", range(25))
def test_the_rules_on_published_prices(published: tuple[Catalog, list[Row], Any], seed: int) -> None:
    catalog, rows, places = published
    dice = random.Random(seed)
    gpus = dice.choice(GPUS) if dice.random() < 0.5 else None
    need = Need(
        vcpus=dice.choice([1, 2, 4, 8, 16, 32, 64, 96]),
        memory_gib=dice.choice([0, 4, 15, 16, 60, 128, 500]),
        gpu_count=None if gpus is None else dice.choice([1, 1, 2, 4, 8, 0.5]),
        gpu_names=gpus or (),
        gpu_memory_gib=0 if gpus is None else dice.choice([0, 16, 22, 40]),
        burstable=dice.random() < 0.3,
        arch=dice.choice(["x86_64", "x86_64", "arm64", None]),
    )
    area = dice.choice(["EU", "EEA", "Europe", "all", "DE", ["FR", "SE"], "US", "eu-west-1", ["aws:eu-west-1", "CH"]])
    for market in ("on_demand", "spot"):
        for provider in (None, "aws", "azure", "gcp"):
            expected = oracle.usable(rows, places, need, area, market, provider)
            found = catalog.offers(need, area, market, provider, limit=20)  # type: ignore[arg-type]
            assert names(found) == [one.machine for one in expected[:20]], (need, area, market, provider)
            first = catalog.cheapest(need, area, market, provider)  # type: ignore[arg-type]
            assert first == (found[0] if found else None)


def test_ends_of_providers_are_those_of_the_whole(published: tuple[Catalog, list[Row], Any]) -> None:
    catalog = published[0]
    need = Need(vcpus=4, memory_gib=15, gpu_names=("T4",))
    by_provider = catalog.by_provider(need, "EU")
    assert set(by_provider) == {"aws", "azure", "gcp"}
    best = min((o for o in by_provider.values() if o), key=lambda o: (o.price_usd_hour, o.instance_type))
    assert catalog.cheapest(need, "EU") == best


def test_known_outliers_are_flagged(published: tuple[Catalog, list[Row], Any]) -> None:
    catalog = published[0]
    offers = catalog.offers(Need(vcpus=1, arch=None, burstable=True), "all")
    flagged = {offer.region for offer in offers if offer.warning}
    assert "newzealandnorth" in flagged
    assert {offer.provider for offer in offers if offer.warning} == {"azure"}


# ---- single rules ----------------------------------------------------------------------------------------------------


def test_price_of_nought_is_not_free(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, a_row(price_usd_hour=0.0), a_row(instance_type="x", price_usd_hour=5.0))
    assert catalog.cheapest(Need()).instance_type == "x"  # type: ignore[union-attr]
    frame = catalog.candidates(Need(), today=TODAY)
    assert frame["reason"].tolist() == ["", "no price published (0)"]


def test_equal_prices_go_by_type_then_region_then_provider(tmp_path: Path) -> None:
    at = [("gcp", "westeurope"), ("azure", "westeurope"), ("aws", "eu-central-1")]
    rows = [a_row(provider=p, region=r, instance_type=t, spot_usd_hour=0.1) for p, r in at for t in ("b", "a", "B")]
    catalog = catalog_of(tmp_path, *rows)
    in_order = [(p, r, t) for t in ("B", "a", "b") for p, r in reversed(at)]
    for market in ("on_demand", "spot"):
        assert names(catalog.offers(Need(), market=market)) == in_order  # type: ignore[arg-type]
        first = catalog.cheapest(Need(), market=market)  # type: ignore[arg-type]
        assert first is not None
        assert names([first]) == in_order[:1]


def test_europe_is_not_the_eu(tmp_path: Path) -> None:
    rows = [a_row(region=region, provider=provider) for provider, region in PLACES]
    catalog = catalog_of(tmp_path, *rows)
    assert {o.country for o in catalog.offers(Need(), "EU")} == {"DE", "NL", "FR"}
    assert {o.country for o in catalog.offers(Need(), "EEA")} == {"DE", "NL", "FR", "NO"}
    assert {o.country for o in catalog.offers(Need(), "Europe")} == {"DE", "NL", "FR", "NO", "GB", "CH"}
    told = catalog.candidates(Need(), "EU", today=TODAY).set_index("region")["reason"]
    assert told["europe-west6"] == "outside the EU (CH), though in Europe"
    assert "eastus" not in told
    everywhere = catalog.candidates(Need(), "all", today=TODAY).set_index("region")["reason"]
    assert everywhere["us-gov-west-1"] == "government region"
    assert everywhere["eastus"] == ""
    assert catalog.cheapest(Need(), "us-gov-west-1") is None


def test_slices_and_whole_names_of_gpus(tmp_path: Path) -> None:
    catalog = catalog_of(
        tmp_path,
        a_row(instance_type="sixth", gpu_name="A10", gpu_count=0.1667, gpu_memory_gib=4, price_usd_hour=0.5),
        a_row(instance_type="whole", gpu_name="A10", gpu_count=1, gpu_memory_gib=24, price_usd_hour=3),
        a_row(instance_type="other", gpu_name="A100", gpu_count=1, gpu_memory_gib=40, price_usd_hour=1),
        a_row(instance_type="large", gpu_name="A100-80GB", gpu_count=1, gpu_memory_gib=80, price_usd_hour=0.9),
    )
    asked = Need(gpu_names=("a10",))
    assert [offer.instance_type for offer in catalog.offers(asked)] == ["whole"]
    assert catalog.candidates(asked, today=TODAY)["reason"].tolist() == ["", "slice of a GPU (1/6)"]
    assert catalog.cheapest(Need(gpu_names="A100")).instance_type == "other"  # type: ignore[arg-type, union-attr]
    assert catalog.cheapest(Need(gpu_count=1 / 6, gpu_names=("A10",))).instance_type == "sixth"  # type: ignore[union-attr]
    assert catalog.cheapest(Need()) is None


def test_a_provider_without_half_of_its_spot_prices_has_no_spot_offers(tmp_path: Path) -> None:
    rows = [a_row(instance_type=f"t{n}", spot_usd_hour=0.01 if n < 3 else None) for n in range(7)]
    rows += [a_row(provider="gcp", region="europe-west9", instance_type=f"t{n}", spot_usd_hour=0.1) for n in range(2)]
    catalog = catalog_of(tmp_path, *rows)
    assert catalog.cheapest(Need(), market="spot").provider == "gcp"  # type: ignore[union-attr]
    assert catalog.by_provider(Need(), market="spot")["aws"] is None
    told = catalog.candidates(Need(), market="spot", provider="aws", today=TODAY)["reason"]
    assert sorted(set(told)) == ["aws has spot prices for only 42 % of fitting machines", "no spot price"]


def test_unknown_gpu_is_no_error_and_is_explained(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, a_row(gpu_name="T4", gpu_count=1, gpu_memory_gib=16))
    need = Need(gpu_names=("T5",))
    assert catalog.cheapest(need) is None
    frame = catalog.candidates(need)
    assert frame.empty
    assert "T5" in frame.attrs["message"]
    assert "T4" in frame.attrs["message"]


def test_limit_shows_every_reason(tmp_path: Path) -> None:
    rows = [a_row(instance_type=f"burst{n}", burstable=True, price_usd_hour=0.01) for n in range(9)]
    rows += [a_row(instance_type=f"m{n}") for n in range(9)]
    rows.append(a_row(instance_type="hidden", price_usd_hour=0.0))
    frame = catalog_of(tmp_path, *rows).candidates(Need(), limit=2, today=TODAY)
    assert frame["reason"].tolist() == ["", "", "burstable", "no price published (0)"]


def test_figures_of_candidates(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, a_row(spot_usd_hour=0.05), a_row(instance_type="z", as_of="", price_usd_hour=1))
    frame = catalog.candidates(Need(), today=TODAY)
    first, second = frame.iloc[0], frame.iloc[1]
    assert (first["age_days"], first["saving"], first["source"], first["kind"]) == (31, 0.75, "list", "list")
    assert first["on_demand_usd_hour"] == 0.2
    assert first["spot_usd_hour"] == 0.05
    assert second.isna()["age_days"]
    offer = catalog.offers(Need())[0]
    assert offer.as_of == date(2026, 8, 1)
    assert offer.to_dict()["as_of"] == "2026-08-01"
    assert catalog.offers(Need())[1].as_of is None


def test_candidates_as_json_are_those_of_the_frame(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, a_row(spot_usd_hour=0.05), a_row(instance_type="z", as_of="", burstable=True))
    rows = catalog.candidate_rows(Need(), "EU", "on_demand", "aws", 20, today=TODAY)
    frame = catalog.candidates(Need(), today=TODAY)
    assert json.loads(json.dumps(rows)) == rows
    assert [list(row) for row in rows] == [list(frame.columns)] * 2
    for column in set(frame.columns) - {"as_of"}:
        values = frame[column].astype(object).where(frame[column].notna(), None).tolist()
        assert [row[column] for row in rows] == values
    assert [row["as_of"] for row in rows] == ["2026-08-01", None]


def test_interruptions_of_spot_machines(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "aws_spot_advisor.csv.gz", "wt") as file:
        file.write("region,instance_type,saving_percent,interruption_band\neu-central-1,m.large,70,<5%\n")
    catalog = catalog_of(tmp_path, a_row(), a_row(provider="gcp", region="europe-west9"))
    told = catalog.candidates(Need(), today=TODAY).set_index("provider")["interruption"]
    assert told.to_dict() == {"aws": "<5%", "gcp": ""}
    (tmp_path / "aws_spot_advisor.csv.gz").write_bytes(b"nonsense")
    with pytest.raises(InvalidInput, match="aws_spot_advisor"):
        Catalog.load(tmp_path).candidates(Need())


def test_traffic_and_disks_have_the_folders_own_prices_or_those_of_the_package(tmp_path: Path) -> None:
    here, there = {"provider": "aws", "region": "eu-central-1"}, {"provider": "azure", "region": "westeurope"}
    assert catalog_of(tmp_path / "bare", a_row()).egress.price(here, there) == Catalog.embedded().egress.price(
        here, there
    )
    folder = tmp_path / "own"
    folder.mkdir()
    header = "provider,scope,from_area,to_area,tier_from_gb,tier_to_gb,usd_per_gb,note"
    (folder / "egress.csv").write_text(f"{header}\naws,internet,any,any,0,,0.5,\n")
    header = "provider,region,kind,usd_gb_month,source,as_of"
    (folder / "storage.csv").write_text(f"{header}\naws,*,disk,0.3,mine,2026-08-01\n")
    own = catalog_of(folder, a_row())
    assert own.egress.price(here, there) == 0.5
    disk = own.storage.find("aws", "eu-central-1")
    assert disk is not None
    assert (disk.usd_gb_month, disk.as_of) == (0.3, date(2026, 8, 1))
    for damage in ("dear", "-1", "inf"):
        (folder / "storage.csv").write_text(f"{header}\naws,*,disk,{damage},mine,2026-08-01\n")
        with pytest.raises(InvalidInput, match="row 1"):
            _ = Catalog.load(folder).storage


# ---- needs and areas -------------------------------------------------------------------------------------------------


def test_need_works_out_its_gpus() -> None:
    assert Need().gpu_count == 0
    assert Need(gpu_memory_gib=16).gpu_count == 1
    assert Need(gpu_names=["T4"]).gpu_count == 1  # type: ignore[arg-type]
    assert Need(gpu_count=0.5).gpu_count == 0.5
    need = Need(vcpus=3, gpu_names=("T4", "L4"))
    assert Need.from_dict(need.to_dict()) == need


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("vcpus", {"vcpus": 0}),
        ("vcpus", {"vcpus": "4"}),
        ("memory_gib", {"memory_gib": -1}),
        ("memory_gib", {"memory_gib": float("nan")}),
        ("gpu_memory_gib", {"gpu_memory_gib": float("inf")}),
        ("gpu_count", {"gpu_count": 0, "gpu_names": ("T4",)}),
        ("gpu_count", {"gpu_count": True}),
        ("gpu_names", {"gpu_names": (4,)}),
        ("gpu_names", {"gpu_names": 4}),
        ("burstable", {"burstable": "no"}),
        ("arch", {"arch": "sparc"}),
    ],
)
def test_impossible_needs_name_the_field(field: str, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        Need(**values)
    assert caught.value.code == "bad-need"
    assert caught.value.message.startswith(f"{field}=")
    assert "Allowed" in caught.value.message


def test_unknown_keys_of_a_need_are_named() -> None:
    with pytest.raises(InvalidInput, match=r"'vcpu'.*vcpus"):
        Need.from_dict({"vcpu": 4})


@pytest.mark.parametrize("area", ["eu-wset-1", "Europa", "", [], None, ["EU", 4], "PT"])
def test_unknown_areas(area: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        Catalog.embedded().cheapest(Need(), area)
    assert caught.value.code == "unknown-area"
    assert "EEA" in caught.value.message


def test_unknown_area_suggests_close_ones() -> None:
    with pytest.raises(InvalidInput, match="eu-west-1"):
        Regions.embedded().within("eu-wset-1")


def test_areas_are_read_in_either_case_and_add_up() -> None:
    regions = Regions.embedded()
    assert regions.within("eu") == regions.within("EU")
    assert regions.within(["DE", "aws:eu-west-1"]) == regions.within("DE") | {("aws", "eu-west-1")}
    london = regions.find("aws", "eu-west-2")
    assert london is not None
    assert (london.country, london.continent, london.eu, london.europe) == ("GB", "EU", False, True)
    assert regions.find("aws", "eu-west-99") is None
    assert all(region.continent in {"EU", "NA", "SA", "AS", "OC", "AF", "ME"} for region in regions)


def test_wrong_markets_and_providers_are_named() -> None:
    with pytest.raises(InvalidInput, match="on_demand"):
        Catalog.embedded().cheapest(Need(), market="preemptible")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="azure"):
        Catalog.embedded().cheapest(Need(), provider="oracle")


# ---- prices of one's own ---------------------------------------------------------------------------------------------


def test_overlays_and_negotiated_prices(tmp_path: Path) -> None:
    catalog = catalog_of(
        tmp_path,
        a_row(instance_type="m.large", price_usd_hour=1.0, spot_usd_hour=0.5),
        a_row(instance_type="m.xlarge", price_usd_hour=2.0, spot_usd_hour=0.6),
        a_row(instance_type="c.large", price_usd_hour=3.0),
        a_row(provider="gcp", region="europe-west9", instance_type="n", price_usd_hour=0.9, spot_usd_hour=0.2),
    )
    mine = catalog.with_prices(
        overlays=[
            PriceOverlay("aws", 10),
            PriceOverlay("aws", 50, family_prefix="C."),
            PriceOverlay("aws", -20, market="spot"),
        ],
        negotiated=[
            NegotiatedPrice("aws", "eu-central-1", "m.xlarge", 0.7, source="agreement 7", as_of=date(2026, 1, 2)),
            NegotiatedPrice("aws", "eu-central-1", "gone", 0.1),
        ],
    )
    offers = {offer.instance_type: offer for offer in mine.offers(Need())}
    assert {name: offer.price_usd_hour for name, offer in offers.items()} == {
        "m.large": 0.9,
        "m.xlarge": 0.7,
        "c.large": 1.5,
        "n": 0.9,
    }
    assert (offers["m.large"].kind, offers["m.large"].source) == ("overlay", "10 % discount on list")
    assert (offers["c.large"].source, offers["n"].kind) == ("50 % discount on list", "list")
    deal = offers["m.xlarge"]
    assert (deal.kind, deal.source, deal.as_of) == ("negotiated", "agreement 7", date(2026, 1, 2))
    assert mine.cheapest(Need()) == deal
    spot = {offer.instance_type: offer.price_usd_hour for offer in mine.offers(Need(), market="spot")}
    assert spot == {"m.large": 0.6, "n": 0.2}  # 0.72 is not below the negotiated 0.7 of m.xlarge
    assert "gone" in " ".join(mine.warnings(TODAY))
    assert catalog.cheapest(Need()).price_usd_hour == 0.9  # type: ignore[union-attr]  # untouched
    mine.save(tmp_path / "saved")
    assert Catalog.load(tmp_path / "saved").offers(Need()) == catalog.offers(Need())  # list prices are saved


def test_wholly_discounted_is_free_and_unlike_unpublished(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, a_row(), a_row(instance_type="x", price_usd_hour=0.0))
    free = catalog.with_prices([PriceOverlay("aws", 100)]).offers(Need())
    assert [(offer.instance_type, offer.price_usd_hour) for offer in free] == [("m.large", 0.0)]
    named = catalog.with_prices(negotiated=[NegotiatedPrice("aws", "eu-central-1", "x", 0.1)]).cheapest(Need())
    assert named is not None
    assert named.instance_type == "x"


@pytest.mark.parametrize("percent", [-100, 100.5, float("nan"), "10", True])
def test_impossible_overlays(percent: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        PriceOverlay("aws", percent)
    assert caught.value.code == "bad-overlay"


@pytest.mark.parametrize("change", [{"usd_hour": -1}, {"usd_hour": float("inf")}, {"market": "x"}, {"kind": "list"}])
def test_impossible_negotiated_prices(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        NegotiatedPrice(**{"provider": "aws", "region": "r", "instance_type": "t", "usd_hour": 1.0, **change})
    assert caught.value.code == "bad-negotiated-price"


# ---- files -----------------------------------------------------------------------------------------------------------


def test_newest_of_the_same_machine_counts(tmp_path: Path) -> None:
    oracle.write(tmp_path, [a_row(as_of="2026-08-01", price_usd_hour=1.0)], PLACES)
    text = (tmp_path / "aws_vms.csv").read_text()
    older = text.replace("2026-08-01", "2025-01-01").replace(",1.0,", ",9.0,")
    undated = text.replace("2026-08-01", "").replace(",1.0,", ",8.0,")
    with gzip.open(tmp_path / "zzz_vms.csv.gz", "wt") as file:
        file.write(older)
    (tmp_path / "zzzz_vms.csv").write_text(undated)
    catalog = Catalog.load(tmp_path)
    assert len(catalog) == 1
    assert catalog.offers(Need())[0].price_usd_hour == 1.0


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    import pandas as pd

    rows = [a_row(spot_usd_hour=0.1), a_row(instance_type="x", as_of="", gpu_name="T4", gpu_count=1, gpu_memory_gib=16)]
    from_csv = catalog_of(tmp_path / "csv", *rows)
    frame = pd.DataFrame([asdict(one) for one in rows])
    frame["as_of"] = [date(2026, 8, 1), None]
    frame["gpu_name"] = [None, "T4"]
    oracle.write(tmp_path / "parquet", [], PLACES)
    frame.to_parquet(tmp_path / "parquet" / "aws_vms.parquet")
    from_parquet = Catalog.load(tmp_path / "parquet")
    for need in (Need(), Need(gpu_count=1)):
        assert from_parquet.offers(need) == from_csv.offers(need) != []


def test_saved_and_loaded_again(tmp_path: Path) -> None:
    Catalog.embedded().save(tmp_path / "prices")
    again = Catalog.load(tmp_path / "prices")
    for market in ("on_demand", "spot"):
        need = Need(arch=None, burstable=True)
        assert again.offers(need, "all", market) == Catalog.embedded().offers(need, "all", market)  # type: ignore[arg-type]
    assert again.storage.find("aws", "eu-central-1") == Catalog.embedded().storage.find("aws", "eu-central-1")
    assert list(again.regions) == list(Regions.embedded())


HEADER = ",".join(oracle.COLUMNS)
GOOD = "aws,eu-central-1,m,x86_64,4,16,,0,0,False,0.2,,2026-08-01,list,True"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{HEADER}\n{GOOD}\n{GOOD.replace('0.2', 'cheap')}\n", ["aws_vms.csv", "price_usd_hour", "row 2", "cheap"]),
        (f"{HEADER}\n{GOOD.replace('0.2', '-1')}\n", ["price_usd_hour", "row 1", "-1"]),
        (f"{HEADER}\n{GOOD}\n{GOOD.replace(',4,', ',,')}\n", ["vcpus", "row 2", "empty"]),
        (f"{HEADER}\n{GOOD.replace(',4,', ',inf,')}\n", ["vcpus", "row 1"]),
        (f"{HEADER}\n{GOOD.replace('False', 'perhaps')}\n", ["burstable", "True or False"]),
        (f"{HEADER}\n{GOOD.replace('2026-08-01', 'August')}\n", ["as_of", "August", "2026-08-03"]),
        (f"{HEADER}\n{GOOD},1\n", ["aws_vms.csv", "16"]),
        (f"{HEADER.replace('vcpus', 'cpus')}\n{GOOD}\n", ["no column vcpus"]),
        ("", ["aws_vms.csv"]),
        (f"{HEADER}\n", ["no row"]),
    ],
)
def test_damaged_tables_are_named(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "aws_vms.csv").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        Catalog.load(tmp_path)
    assert caught.value.code == "bad-catalog"
    for word in words:
        assert word in caught.value.message


@pytest.mark.parametrize("name", ["aws_vms.csv.gz", "aws_vms.parquet"])
def test_files_that_are_none_of_the_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x1f\x8bnonsense")
    with pytest.raises(InvalidInput, match=name) as caught:
        Catalog.load(tmp_path)
    assert caught.value.code == "bad-catalog"


def test_cut_off_gzip(tmp_path: Path) -> None:
    whole = gzip.compress(f"{HEADER}\n{GOOD}\n".encode() + b"".join(f"{GOOD}{n}\n".encode() for n in range(2000)))
    (tmp_path / "aws_vms.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInput) as caught:
        Catalog.load(tmp_path)
    assert caught.value.code == "bad-catalog"


def test_folders_without_tables(tmp_path: Path) -> None:
    for folder in (tmp_path / "missing", tmp_path):
        with pytest.raises(InvalidInput) as caught:
            Catalog.load(folder)
        assert caught.value.code == "bad-catalog"


def test_damaged_regions_are_named(tmp_path: Path) -> None:
    oracle.write(tmp_path, [a_row()], PLACES)
    path = tmp_path / "regions.csv"
    good = path.read_text()
    path.write_text(good.replace("True", "maybe", 1))
    with pytest.raises(InvalidInput, match=r"row 1, column eu: 'maybe'"):
        Catalog.load(tmp_path)
    path.write_text(good.replace("country", "land"))
    with pytest.raises(InvalidInput, match="no column country"):
        Catalog.load(tmp_path)


def test_regions_that_nobody_can_place_are_told(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, a_row(), a_row(region="eu-new-9", price_usd_hour=0.01))
    assert catalog.cheapest(Need(), "all").region == "eu-central-1"  # type: ignore[union-attr]
    assert "aws:eu-new-9" in " ".join(catalog.warnings(TODAY))


def test_old_prices_are_told(tmp_path: Path) -> None:
    old = (TODAY - timedelta(400)).isoformat()
    catalog = catalog_of(tmp_path, a_row(), a_row(provider="azure", region="westeurope", as_of=old))
    assert catalog.age(TODAY) == {"aws": 31, "azure": 400}
    assert catalog.warnings(TODAY) == ["prices of azure are 400 days old: run `flaas costs refresh`"]


# ---- refreshing ------------------------------------------------------------------------------------------------------


def fresh(row: Row, **changes: Any) -> dict[str, Any]:
    return {**asdict(replace(row, **changes)), "as_of": None}


def test_refresh_replaces_a_provider_and_keeps_the_others(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert Catalog.current(home) is Catalog.embedded()
    azure = [fresh(a_row(provider="azure", region="westeurope", instance_type=f"t{n}")) for n in range(100)]
    azure[0] |= {"price_usd_hour": Decimal("0.2"), "gpu_name": None, "spot_usd_hour": None}

    def throttled() -> Iterator[dict[str, Any]]:
        yield fresh(a_row())
        raise Unreachable("AWS asks to come back later.")

    report = Catalog.embedded().refresh(
        home / "prices", {"aws": throttled, "azure": lambda: azure, "gcp": list}, today=TODAY
    )
    done = {one.provider: one for one in report.providers}
    assert {name: one.replaced for name, one in done.items()} == {"aws": False, "azure": True, "gcp": False}
    assert "come back later" in done["aws"].message
    assert "no price" in done["gcp"].message
    assert not report.complete
    now = Catalog.current(home)
    assert len(now.rows_of("azure")) == 100
    for provider in ("aws", "gcp"):
        need = Need(arch=None)
        assert now.offers(need, "all", provider=provider) == Catalog.embedded().offers(need, "all", provider=provider)
    offer = now.cheapest(Need(), provider="azure")
    assert offer is not None
    assert (offer.as_of, offer.price_usd_hour) == (TODAY, 0.2)


def test_refresh_keeps_the_last_good_prices_of_half_an_answer(tmp_path: Path) -> None:
    rows = [fresh(a_row(instance_type=f"t{n:02}")) for n in range(60)]
    refused = Catalog.embedded().refresh(tmp_path / "p", {"aws": lambda: rows}, today=TODAY)
    assert not refused.complete  # the embedded ones are more than twice as many
    first = Catalog.embedded().refresh(tmp_path / "p", {"aws": lambda: rows}, today=TODAY, least_share=0)
    assert first.complete
    cheap = [fresh(a_row(instance_type=f"t{n:02}", price_usd_hour=0.01)) for n in range(60)]
    half = first.catalog.refresh(tmp_path / "p", {"aws": lambda: cheap[:29]}, today=TODAY)
    assert not half.complete
    assert "less than 50% of the 60" in half.providers[0].message
    assert half.catalog.cheapest(Need(), "DE", provider="aws").price_usd_hour == 0.2  # type: ignore[union-attr]
    enough = half.catalog.refresh(tmp_path / "p", {"aws": lambda: cheap[:30]}, today=TODAY)
    assert enough.complete
    assert enough.catalog.cheapest(Need(), "DE", provider="aws").price_usd_hour == 0.01  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"provider": "gcp"}, "rows of gcp"),
        ({"price_usd_hour": -1.0}, "price_usd_hour"),
        ({"vcpus": "four"}, "vcpus"),
        ({"as_of": "yesterday"}, "as_of"),
    ],
)
def test_refresh_refuses_damaged_rows(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    rows = [{**fresh(a_row(instance_type=f"t{n:03}")), **changes} for n in range(200)]
    report = Catalog.embedded().refresh(tmp_path / "p", {"aws": lambda: rows}, today=TODAY)
    assert not report.complete
    assert words in report.providers[0].message
    assert len(report.catalog.rows_of("aws")) == len(Catalog.embedded().rows_of("aws"))


def test_refresh_without_a_provider_says_what_to_do() -> None:
    with pytest.raises(InvalidInput, match="Connect an account"):
        Catalog.embedded().refresh()
