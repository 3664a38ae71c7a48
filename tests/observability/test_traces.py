"""Traces: off they cost nothing, on they go from process to process, and they tell nothing about people or data."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import timeit
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from otlp_collector import Collector

from flaas_jupyter.errors import NotAllowed
from flaas_jupyter.observability import allowed, traces


class Kept:
    """The spans that were made."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        traces.export("test", self.exporter)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        provider = traces._tracer.span_processor  # type: ignore[union-attr]
        provider.force_flush()
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def kept() -> Iterator[Kept]:
    yield Kept()
    traces.stop()


@pytest.mark.parametrize(
    ("environment", "asked"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
    ],
)
def test_only_the_standard_variables_turn_them_on(environment, asked):
    assert traces.asked_for(environment) is asked


def test_off_nothing_is_imported_and_a_span_costs_next_to_nothing():
    code = textwrap.dedent("""
        import sys
        from flaas_jupyter.observability import traces
        assert not traces.start("x")
        with traces.span("round", flaas_run="r") as made:
            traces.note(flaas_round=1)
            assert made is None and traces.traceparent() is None and traces.trace_id() is None
        print([name for name in sys.modules if name.startswith("opentelemetry")])
    """)
    environment = {"PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"

    def spans() -> None:
        with traces.span("round", flaas_run="r"):
            pass

    # About 0.3 µs on an idle machine, where a message on the mesh takes 800: a neighbour may make it ten times as long.
    assert min(timeit.repeat(spans, number=10_000, repeat=5)) / 10_000 < 5e-6


def test_without_the_extra_a_process_says_so_and_goes_on():
    code = textwrap.dedent("""
        import sys
        sys.modules["opentelemetry.sdk"] = sys.modules["opentelemetry.exporter"] = None
        from flaas_jupyter.observability import traces
        assert not traces.start("x")
        with traces.span("round"):
            pass
    """)
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert "flaas_jupyter[telemetry]" in done.stderr


def test_a_span_knows_its_parent_here_and_from_elsewhere(kept):
    with traces.span("round"):
        sent = traces.traceparent()
        with traces.span("gather"):
            pass
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]", sent or "")
    with traces.span("elsewhere", "server", parent=sent):
        pass
    spans = kept.spans
    assert spans["gather"].parent.span_id == spans["round"].context.span_id
    assert spans["elsewhere"].parent.span_id == spans["round"].context.span_id
    assert spans["elsewhere"].context.trace_id == spans["round"].context.trace_id
    assert spans["elsewhere"].kind is SpanKind.SERVER
    assert spans["round"].parent is None


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "x",
        "00-" + "0" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "1" * 32 + "-" + "0" * 16 + "-01",
        "01-" + "1" * 32 + "-" + "1" * 16 + "-01-x",
        "00-" + "G" * 32 + "-" + "1" * 16 + "-01",
        "00-" + "1" * 32 + "-" + "1" * 16 + "-01\n",
    ],
)
def test_what_is_no_context_begins_a_trace_of_its_own(kept, parent):
    with traces.span("here"), traces.span("answer", "server", parent=parent):
        pass
    assert kept.spans["answer"].parent is None


def test_who_asks_not_to_be_sampled_is_not(kept):
    with traces.span("answer", parent="00-" + "1" * 32 + "-" + "1" * 16 + "-00"):
        assert traces.trace_id() == "1" * 32
    assert kept.spans == {}


def test_of_an_error_a_span_has_the_code_alone(kept):
    with pytest.raises(NotAllowed), traces.span("asked"):
        raise NotAllowed("Anna Quibble may not", code="policy-refuses", patient=7)
    span = kept.spans["asked"]
    assert dict(span.attributes) == {"error.type": "policy-refuses"}
    assert span.status.status_code is StatusCode.ERROR
    assert not span.status.description
    assert not span.events


def test_attributes_that_are_not_on_the_list_are_a_defect(kept):
    for name in ("person", "flaas_dataset", "user_id"):
        with pytest.raises(KeyError), traces.span("round", **{name: "x"}):
            pass
    assert all("person" not in name and "dataset" not in name for name in allowed.ATTRIBUTES)


def test_a_decorated_function_is_a_span(kept):
    @traces.spanned("combine")
    def combine(a: int, b: int) -> int:
        """Add."""
        return a + b

    assert combine(1, b=2) == 3
    assert combine.__doc__ == "Add."
    assert "combine" in kept.spans


def test_a_process_hands_its_spans_to_the_collector_that_the_environment_names():
    collector = Collector()
    code = textwrap.dedent("""
        from flaas_jupyter.observability import traces
        assert traces.start("flaas-node")
        with traces.span("round", flaas_run="r1", flaas_round=2):
            pass
    """)
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_RESOURCE_ATTRIBUTES": "deployment.region=x"}
    try:
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=60)
    finally:
        collector.stop()
    ((path, request),) = collector.requests
    assert path == "/v1/traces"
    (resource,) = request.resource_spans
    named = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert named["service.name"] == "flaas-node"
    assert named["deployment.region"] == "x"
    assert "host.name" not in named
    assert "process.owner" not in named
    (span,) = resource.scope_spans[0].spans
    assert span.name == "round"
    assert {each.key for each in span.attributes} == {"flaas.run", "flaas.round"}


def test_a_collector_that_is_away_costs_no_work_and_no_error():
    code = textwrap.dedent("""
        import time
        from flaas_jupyter.observability import traces
        traces.start("x")
        began = time.perf_counter()
        for _ in range(3000):
            with traces.span("round"):
                pass
        assert time.perf_counter() - began < 5
    """)
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=60, capture_output=True)
