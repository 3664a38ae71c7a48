"""Names and labels of all metrics: bounded, about nobody, and what dashboards and alerts ask for is there."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from flaas_jupyter.communications import reflector
from flaas_jupyter.communications.relay.counters import Counters
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.coordination.metrics import Metrics
from flaas_jupyter.coordination.routes import ROUTERS
from flaas_jupyter.coordination.settings import Settings
from flaas_jupyter.execution import node_metrics
from flaas_jupyter.execution.node_metrics import NodeGauges, Standing
from flaas_jupyter.observability import allowed

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "observability"
ADDED = {"job", "instance"}
"""Labels that Prometheus adds to what it scrapes."""


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Metric]]:
    """All families of each kind of process, by the prefix of their names."""
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('api')}/x.db")
    database.migrate()
    settings = Settings(database_url="sqlite:///unused.db")
    api = Metrics(database, settings, lambda: 0)
    gauges = CollectorRegistry()
    gauges.register(NodeGauges(Standing(runs=lambda: {"aggregator": 0, "participant": 0})))
    relay = Counters()
    relay.observe(lambda: 0, lambda: 0)
    found = {
        "flaas_api_": [*api._process.collect(), *api._platform.collect()],
        "flaas_node_": [*node_metrics.REGISTRY.collect(), *gauges.collect()],
        "flaas_relay_": list(relay.registry.collect()),
        "flaas_reflector_": list(reflector.Counters().registry.collect()),
    }
    database.close()
    return found


def labels_of(registry_family: Metric) -> set[str]:
    return {label for sample in registry_family.samples for label in sample.labels}


def declared() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield names and labels of all metrics that have labels, also of those that have no sample yet."""
    database = Database("sqlite:////nonexistent/unused.db")
    api = Metrics(database, Settings(database_url="sqlite:///unused.db"), lambda: 0)
    for registry in (api._process, node_metrics.REGISTRY, Counters().registry, reflector.Counters().registry):
        for collector in registry._collector_to_names:
            yield getattr(collector, "_name", type(collector).__name__), getattr(collector, "_labelnames", ())


def test_every_label_is_on_the_list(families):
    for name, labels in declared():
        assert set(labels) <= allowed.LABELS, name
    for found in families.values():
        for family in found:
            assert labels_of(family) <= allowed.LABELS, family.name


def test_no_label_is_on_the_list_that_nothing_uses(families):
    used = {label for _, labels in declared() for label in labels}
    used |= {label for found in families.values() for family in found for label in labels_of(family)}
    assert allowed.LABELS - used == set()


@pytest.mark.parametrize(
    "word", ["user", "person", "subject", "node", "peer", "project", "dataset", "organisation", "run"]
)
def test_nothing_on_the_lists_tells_people_or_data_apart(word):
    assert word not in allowed.LABELS
    names = {name.rpartition(".")[2] for name in allowed.ATTRIBUTES}
    assert word not in names - {"run"}


def test_every_metric_begins_with_what_counts_it_and_explains_itself(families):
    for prefix, found in families.items():
        for family in found:
            assert family.name.startswith((prefix, "flaas_build", "process_")), family.name
            assert family.documentation.endswith("."), family.name


def test_the_number_of_series_is_bounded_by_our_own_words(families):
    for prefix in ("flaas_node_", "flaas_relay_"):
        assert sum(len(family.samples) for family in families[prefix]) < 150
    routes = {(route.path, method) for router in ROUTERS for route in router.routes for method in route.methods}
    # Requests in five classes, and a histogram of eight buckets, a sum and a count.
    assert len(routes) * (5 + 10) < 5000


# ---- dashboards and alerts ------------------------------------------------------------------------------------------


def expressions() -> Iterator[tuple[str, str]]:
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


@pytest.fixture(scope="module")
def series(families: dict[str, list[Metric]]) -> dict[str, set[str]]:
    """The labels of every series that Prometheus has, by its name."""
    of_metrics = {name: set(labels) for name, labels in declared()}
    found: dict[str, set[str]] = {"up": set()}
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}
    for family in itertools.chain.from_iterable(families.values()):
        labels = labels_of(family) | of_metrics.get(family.name, set()) | ADDED
        for ending in endings.get(family.type, ("",)):
            found[family.name + ending] = labels | ({"le"} if ending == "_bucket" else set())
    return found


@pytest.mark.parametrize(("where", "expression"), list(expressions()), ids=lambda value: str(value)[:40])
def test_what_dashboards_and_alerts_ask_for_is_there(series, where, expression):
    asked = re.findall(r"\b(?:flaas|process)_\w+|\bup(?=\{)", expression)
    assert asked
    matched = re.findall(r"(\w+)\s*[=!]~?\"", expression)
    grouped = re.findall(r"\w+", " ".join(re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)))
    for name in asked:
        assert name in series, f"{where}: there is no {name}"
        assert {*matched, *grouped} <= series[name] | ADDED, f"{where}: {name} has other labels"
    assert expression.count("(") == expression.count(")")


def test_the_documentation_names_what_there_is(families, series):
    told = set(
        re.findall(r"\bflaas_(?:api|node|relay|reflector)_\w+", (ROOT / "docs" / "observability.md").read_text())
    )
    names = {family.name for found in families.values() for family in found} | set(series)
    assert told <= names
    of_api_and_node = {family.name for prefix in ("flaas_api_", "flaas_node_") for family in families[prefix]}
    missing = {name for name in of_api_and_node if name.startswith("flaas_") and not any(name in each for each in told)}
    assert missing - {"flaas_build"} == set()


def test_every_alert_says_what_it_means_and_how_bad_it_is():
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"].endswith(".")


def test_the_panels_of_the_dashboard_do_not_overlap_and_have_ids_of_their_own():
    panels = json.loads((DEPLOY / "grafana-dashboard.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_the_example_scrapes_the_jobs_that_the_rules_name():
    scraped = {job["job_name"] for job in yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())["scrape_configs"]}
    named = {job for _, expression in expressions() for job in re.findall(r'job="([^"]+)"', expression)}
    assert named <= scraped
