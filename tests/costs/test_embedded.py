"""The prices that come with the package: sound, dated, sourced, and enough for every built-in template."""

from __future__ import annotations

import csv
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

import flaas_jupyter.costs
from flaas_jupyter.costs import Catalog, Need, Template, templates

from . import oracle

DATA = Path(flaas_jupyter.costs.__file__).parent / "data"


@pytest.mark.parametrize("template", templates.builtin(), ids=lambda template: template.name)
def test_every_template_can_be_had_in_the_eu_from_two_providers(template: Template) -> None:
    offers = Catalog.embedded().by_provider(template.need, "EU")
    assert sum(offer is not None for offer in offers.values()) >= 2
    if template.aggregator_need is not None:
        offers = Catalog.embedded().by_provider(template.aggregator_need, "EU")
        assert all(offers.values())


def test_there_is_a_machine_outside_of_the_eu_to_compare_with() -> None:
    need = Need(vcpus=4, memory_gib=16)
    for area in ("GB", "US"):
        assert all(Catalog.embedded().by_provider(need, area).values())


def test_rows_say_where_they_come_from_and_how_old_they_are() -> None:
    rows = oracle.read(DATA)
    assert 300 <= len(rows) <= 450
    assert len({row.machine for row in rows}) == len(rows) == len(Catalog.embedded())
    for row in rows:
        assert row.source
        assert date(2025, 1, 1) <= date.fromisoformat(row.as_of) <= date(2026, 12, 31)
        assert row.price_usd_hour > 0
    assert not Catalog.embedded().warnings(date(2026, 9, 1))


def test_no_embedded_price_stands_out() -> None:
    assert not any(offer.warning for offer in Catalog.embedded().offers(Need(arch=None, burstable=True), "all"))


def test_hardware_of_one_type_is_the_same_everywhere() -> None:
    seen: dict[tuple[str, str], tuple[object, ...]] = {}
    for row in oracle.read(DATA):
        hardware = (row.arch, row.vcpus, row.memory_gib, row.gpu_name, row.gpu_count, row.gpu_memory_gib, row.burstable)
        assert seen.setdefault((row.provider, row.instance_type), hardware) == hardware


def test_embedded_prices_are_those_of_the_published_tables() -> None:
    folder = oracle.prices_folder()
    if folder is None:
        pytest.skip("FLAAS_DATA names no folder of data with prices, and there is none beside the checkout")
    published = {row.machine: row for row in oracle.read(folder)}
    for row in oracle.read(DATA):
        there = published[row.machine]
        assert (row.price_usd_hour, row.spot_usd_hour) == (there.price_usd_hour, there.spot_usd_hour)
        assert (row.vcpus, row.memory_gib, row.gpu_name) == (there.vcpus, there.memory_gib, there.gpu_name)
        assert (row.gpu_count, row.gpu_memory_gib, row.arch) == (there.gpu_count, there.gpu_memory_gib, there.arch)
        assert row.burstable == there.burstable


def test_disks_have_a_price_at_every_provider() -> None:
    storage = Catalog.embedded().storage
    for provider in ("aws", "azure", "gcp"):
        price = storage.find(provider, "somewhere")
        assert price is not None
        assert 0.03 < price.usd_gb_month < 0.3
        assert price.usd(100, 730) == pytest.approx(100 * price.usd_gb_month)
    assert storage.find("nobody", "somewhere") is None
    with (DATA / "storage.csv").open() as file:
        assert all(row["source"] and row["as_of"] for row in csv.DictReader(file))


def test_the_package_imports_without_the_heavy_libraries() -> None:
    script = (
        "import sys, flaas_jupyter.costs as costs; assert 'pandas' not in sys.modules and 'scipy' not in sys.modules; "
        "costs.Catalog.embedded().cheapest(costs.Need()); costs.estimate; "
        "print(*sorted({'pandas', 'scipy', 'keras', 'tensorflow', 'jax', 'boto3', 'fastapi'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_public_names_are_there() -> None:
    for name in ("Catalog", "Need", "Offer", "Region", "Template", "templates", "estimate"):
        assert name in dir(flaas_jupyter.costs)
        assert getattr(flaas_jupyter.costs, name) is not None
    assert callable(flaas_jupyter.costs.estimate)
    with pytest.raises(AttributeError, match="nothing"):
        flaas_jupyter.costs.nothing  # noqa: B018
