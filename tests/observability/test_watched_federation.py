"""A watched federation of real processes: one trace over all of them, metrics that add up, logs in JSON."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from otlp_collector import Collector
from prometheus_client.parser import text_string_to_metric_families

from flaas_jupyter.demo.local import LocalFederation
from flaas_jupyter.observability import allowed, traces

ROUNDS = 2
NODES = ("north", "south", "west")


def until(condition: Callable[[], Any], limit: float = 60.0) -> Any:
    """Wait for what other processes do."""
    give_up = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < give_up, "it does not happen"
        time.sleep(0.05)
    return found


@dataclass
class Watched:
    """What was seen of a federation that has trained once."""

    federation: LocalFederation
    run: str
    collector: Collector

    def log_of(self, name: str) -> Path:
        """Where the process logs."""
        return self.federation.folder / "api.log" if name == "api" else self.federation.nodes[name].log

    def url_of(self, name: str) -> str:
        """Where the process serves its metrics."""
        return re.findall(r"metrics at (http://127\.0\.0\.1:\d+)/metrics", self.log_of(name).read_text())[-1]

    def metrics_of(self, name: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Scrape a process as Prometheus does; return its samples by name and labels."""
        answer = httpx.get(f"{self.url_of(name)}/metrics", trust_env=False, timeout=60).raise_for_status()
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }

    def health_of(self, name: str) -> tuple[int, dict[str, str]]:
        """Probe a process as a container's orchestrator does."""
        answer = httpx.get(f"{self.url_of(name)}/healthz", trust_env=False, timeout=60)
        return answer.status_code, answer.json()


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    import keras

    from flaas_jupyter import FederatedModel

    folder = tmp_path_factory.mktemp("watched")
    rng = np.random.default_rng(0)
    files = {}
    for name in NODES:
        table = pd.DataFrame(rng.normal(size=(30, 3)), columns=["a", "b", "c"])
        table.assign(label=(table.a > 0).astype(int)).to_csv(folder / f"{name}.csv", index=False)
        files[name] = {"patients": folder / f"{name}.csv"}
    collector = Collector()
    federation = LocalFederation(
        folder / "federation",
        node_options=("--metrics", "127.0.0.1:0", "--log-format", "json"),
        api_options={"FLAAS_METRICS": "127.0.0.1:0", "FLAAS_LOG_FORMAT": "json"},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        try:
            federation.start(files, "label")
            federation.wait_online()
            keras.utils.set_random_seed(1)
            inputs = keras.Input((3,))
            outputs = keras.layers.Dense(1, activation="sigmoid")(inputs)
            model = FederatedModel(inputs=inputs, outputs=outputs, secure_aggregation=True)
            model.compile(optimizer="sgd", loss="binary_crossentropy")
            with federation.connect() as session:
                project = session.project(federation.project)
                model.fit(project.federation(dataset="patients"), rounds=ROUNDS, batch_size=30, verbose=0, seed=1)
                run = str(project.runs["id"][0])
            yield Watched(federation, run, collector)
        finally:
            federation.stop()
            traces.stop()
            collector.stop()


def test_one_trace_spans_notebook_api_aggregator_and_participants(watched):
    def trained() -> bool:
        named = [span.name for _, span in watched.collector.spans]
        return named.count("train") == ROUNDS * len(NODES) and "run" in named and "fit" in named

    until(trained)
    spans = watched.collector.spans
    fit = next(span for service, span in spans if (service, span.name) == ("flaas-notebook", "fit"))
    ours = [(service, span) for service, span in spans if span.trace_id == fit.trace_id]
    named = {(service, span.name) for service, span in ours}
    assert ("flaas-api", "POST /v1/projects/{project_id}/runs") in named
    assert ("flaas-notebook", "call run/submit") in named
    for name in ("run/submit", "run", "round", "gather", "round begin", "round update", "combine", "train"):
        assert ("flaas-node", name) in named, name

    by_id = {span.span_id: span for _, span in ours}

    def ancestors(span: Any) -> list[str]:
        names = []
        while span.parent_span_id in by_id:
            span = by_id[span.parent_span_id]
            names.append(span.name)
        return names

    rounds = [span for _, span in ours if span.name == "round"]
    assert len(rounds) == ROUNDS
    for span in rounds:
        assert ancestors(span) == ["run", "run/submit", "call run/submit", "fit"]
    trainings = [span for _, span in ours if span.name == "train"]
    assert len(trainings) == ROUNDS * len(NODES)
    for span in trainings:
        assert ancestors(span)[:4] == ["round/begin", "call round/begin", "round begin", "round"]


def test_spans_tell_nothing_but_what_is_allowed(watched):
    ids = {node.node_id for node in watched.federation.nodes.values()}
    told = ""
    for _, span in until(lambda: watched.collector.spans):
        assert {each.key for each in span.attributes} <= allowed.ATTRIBUTES
        assert not span.events
        told += str(span)
    secrets = {"patients", "label", "north", "laboratory", *ids, *watched.federation._tokens.values()}
    assert [each for each in secrets if each in told] == []


@pytest.mark.parametrize("name", ["api", *NODES])
def test_metrics_have_no_label_beyond_the_list_and_name_nobody(watched, name):
    samples = watched.metrics_of(name)
    labels = {label for _, pairs in samples for label, _ in pairs}
    assert labels <= allowed.LABELS
    prefixes = ("flaas_api_" if name == "api" else "flaas_node_", "flaas_build_info", "process_")
    assert all(each.startswith(prefixes) for each, _ in samples)
    values = {value for _, pairs in samples for _, value in pairs}
    ids = {node.node_id for node in watched.federation.nodes.values()}
    assert not values & {"patients", "demo", *NODES, "laboratory", watched.run, *ids}


def test_what_nodes_count_adds_up_to_what_was_done(watched):
    metrics = [watched.metrics_of(name) for name in NODES]

    def total(name: str, **labels: str) -> float:
        return sum(each.get((name, tuple(sorted(labels.items()))), 0.0) for each in metrics)

    assert total("flaas_node_rounds_total", outcome="completed") == ROUNDS
    assert total("flaas_node_rounds_total", outcome="given-up") == 0
    assert total("flaas_node_training_seconds_count") == ROUNDS * len(NODES)
    assert total("flaas_node_round_phase_seconds_total", phase="train") > 0
    assert total("flaas_node_api_connected") == len(NODES)
    assert total("flaas_node_mesh_open") == len(NODES)
    assert total("flaas_node_mesh_connections", kind="tls") >= len(NODES) - 1, "they are all on one machine"
    assert total("flaas_node_mesh_connections", kind="relay") == 0
    sent, received = (total("flaas_node_mesh_bytes_total", direction=each) for each in ("sent", "received"))
    assert min(sent, received) > 1000


def test_the_api_counts_by_route_and_tells_how_the_platform_stands(watched):
    metrics = watched.metrics_of("api")
    assert (
        metrics[
            "flaas_api_requests_total",
            (("method", "POST"), ("route", "/v1/projects/{project_id}/runs"), ("status", "2xx")),
        ]
        == 1
    )
    assert (
        metrics["flaas_api_request_seconds_count", (("method", "POST"), ("route", "/v1/projects/{project_id}/runs"))]
        == 1
    )
    assert metrics["flaas_api_runs", (("state", "completed"),)] == 1
    assert metrics["flaas_api_nodes_online", ()] == len(NODES)
    assert metrics["flaas_api_event_streams", ()] == len(NODES)
    assert metrics["flaas_api_approvals_waiting", ()] == 0
    assert metrics["flaas_api_database_up", ()] == 1
    assert not any("?" in value or watched.run in value for _, pairs in metrics for _, value in pairs)
    # Without a token nothing of this is on the public port.
    assert httpx.get(f"{watched.federation.url}/metrics", trust_env=False, timeout=60).status_code == 401


@pytest.mark.parametrize("name", ["api", *NODES])
def test_logs_are_a_line_of_json_an_event_and_say_which_run(watched, name):
    lines = [json.loads(line) for line in watched.log_of(name).read_text().splitlines() if line.startswith("{")]
    assert {"time", "level", "logger", "message"} <= set(lines[0])
    if name != "api":
        about = {line["run"] for line in lines if line["message"].startswith(f"run {watched.run}")}
        assert about == {watched.run}
    text = watched.log_of(name).read_text()
    assert not [token for token in watched.federation._tokens.values() if token in text]


def test_a_node_whose_api_is_away_is_well_and_says_so(watched):
    assert watched.health_of("north") == (200, {"status": "ok", "mesh": "open", "api": "connected"})
    assert watched.health_of("api") == (200, {"status": "ok"})
    watched.federation.kill_api()
    try:
        until(lambda: watched.health_of("north")[1]["api"] == "not connected")
        assert watched.health_of("north") == (200, {"status": "ok", "mesh": "open", "api": "not connected"})
        assert watched.metrics_of("north")["flaas_node_api_connected", ()] == 0
    finally:
        watched.federation.start_api()
    until(lambda: watched.health_of("north")[1]["api"] == "connected")


def test_a_node_that_waits_for_its_api_is_not_well_yet(watched):
    watched.federation.kill_api()
    watched.federation.kill_node("south")
    try:
        before = watched.log_of("south").read_text().count("metrics at ")
        watched.federation.start_node("south")
        until(lambda: watched.log_of("south").read_text().count("metrics at ") > before, 120)
        starting = {"status": "starting", "mesh": "not open", "api": "not connected"}
        assert watched.health_of("south") == (503, starting)
    finally:
        watched.federation.start_api()
        watched.federation.wait_online()
    until(lambda: watched.health_of("south")[0] == 200)
