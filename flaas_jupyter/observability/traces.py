"""Spans (OpenTelemetry), and the context that ties those of several machines into one trace (W3C Trace Context).

Off unless the standard variables name an exporter (``OTEL_EXPORTER_OTLP_ENDPOINT``, ``OTEL_TRACES_EXPORTER``, …), and
then nothing of OpenTelemetry is imported and `span` costs a comparison. On, a trace goes from the notebook over the
API and the aggregator to the participants: in the header ``traceparent`` of requests, in the field of that name of
messages on the mesh.

Attributes come from one list (`allowed.ATTRIBUTES`), and of an error a span has its code alone: messages and
tracebacks may tell of data.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from .._version import __version__
from ..errors import FlaasError
from . import allowed

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

FIELD = "traceparent"
Kind = Literal["internal", "server", "client"]

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

_tracer: Tracer | None = None


def asked_for(environment: Mapping[str, str] | None = None) -> bool:
    """Tell whether the environment asks for traces, by OpenTelemetry's own variables."""
    environment = os.environ if environment is None else environment
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    return exporter in ("otlp", "console") or (exporter == "" and any(environment.get(name) for name in _ENDPOINTS))


def start(service: str) -> bool:
    """Make spans of this process from now on, if the environment asks for it; tell whether it does.

    Parameters
    ----------
    service : str
        The service's name, unless ``OTEL_SERVICE_NAME`` gives another.
    """
    if _tracer is not None or not asked_for():
        return _tracer is not None
    try:
        export(service, _exporter())
    except ImportError:
        logger.warning("traces are asked for, but their exporter is missing: pip install 'flaas_jupyter[telemetry]'")
    return _tracer is not None


def _exporter() -> SpanExporter:
    if os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(out=sys.stderr)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def export(service: str, exporter: SpanExporter) -> None:
    """Hand the spans of this process to `exporter`, in the background, and the rest when the process ends."""
    global _tracer
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = os.environ.get("OTEL_SERVICE_NAME") or service
    resource = Resource.create({"service.name": named, "service.version": __version__})
    # Not the process's global provider: in a notebook's kernel that one is the notebook's.
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = provider.get_tracer("flaas_jupyter", __version__)


def stop() -> None:
    """Make no more spans."""
    global _tracer
    _tracer = None


class _Off:
    """The span of a process that makes none."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None


_OFF = _Off()


def span(
    name: str, kind: Kind = "internal", parent: str | None = None, **attributes: Any
) -> contextlib.AbstractContextManager[Span | None]:
    """Return a span for a ``with`` block, a child of the one around it.

    Parameters
    ----------
    name : str
        What is done; one of few.
    kind : {"internal", "server", "client"}
        Whether a request of somebody else is answered, or one is made.
    parent : str, optional
        The ``traceparent`` of the span that it is a child of, from another process or task. What is no such text
        begins a trace of its own.
    **attributes
        Those of `allowed.ATTRIBUTES`, with ``_`` for ``.``; None leaves one out.
    """
    if _tracer is None:
        return _OFF
    return _span(_tracer, name, kind, parent, attributes)


def spanned(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator of functions that makes a span of every call."""

    def decorated(work: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(work)
        def within(*args: P.args, **kwargs: P.kwargs) -> R:
            with span(name):
                return work(*args, **kwargs)

        return within

    return decorated


@contextlib.contextmanager
def _span(tracer: Tracer, name: str, kind: Kind, parent: str | None, attributes: Mapping[str, Any]) -> Iterator[Span]:
    from opentelemetry.trace import SpanKind, StatusCode

    with tracer.start_as_current_span(
        name,
        context=None if parent is None else _context(parent),
        kind=SpanKind[kind.upper()],
        attributes=_named(attributes),
        record_exception=False,
        set_status_on_exception=False,
    ) as made:
        try:
            yield made
        except BaseException as error:
            made.set_attribute("error.type", error.code if isinstance(error, FlaasError) else type(error).__name__)
            made.set_status(StatusCode.ERROR)
            raise


def _named(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes by their names in OpenTelemetry; those that are not allowed are a defect."""
    return {_NAMES[name]: value for name, value in attributes.items() if value is not None}


_NAMES = {name.replace(".", "_"): name for name in allowed.ATTRIBUTES}


def note(name: str | None = None, **attributes: Any) -> None:
    """Add attributes to the span that is open here, and give it another name."""
    if _tracer is not None:
        from opentelemetry import trace

        here = trace.get_current_span()
        here.set_attributes(_named(attributes))
        if name is not None:
            here.update_name(name)


def traceparent() -> str | None:
    """Return the context of the span that is open here, to be sent with a request; None without one."""
    if _tracer is None:
        return None
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def trace_id() -> str | None:
    """Return the id of the trace that goes on here, 32 hex digits; None without one."""
    here = traceparent()
    return None if here is None else here.split("-")[1]


def _context(parent: str) -> Context:
    from opentelemetry import trace
    from opentelemetry.context import Context

    if not _TRACEPARENT.fullmatch(parent):
        return Context()
    _, trace_id, span_id, flags = parent.split("-")
    remote = trace.SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=trace.TraceFlags(int(flags, 16))
    )
    return trace.set_span_in_context(trace.NonRecordingSpan(remote), Context())
