"""Registries of metrics: one a process, or one an API in tests, never the library's own of the whole interpreter."""

from __future__ import annotations

from prometheus_client import Info, ProcessCollector, disable_created_metrics
from prometheus_client.registry import CollectorRegistry

from .._version import __version__

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody reads


def process_registry() -> CollectorRegistry:
    """Return a registry that tells of the process itself (memory, CPU, open files) and of the package's version."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    Info("flaas_build", "The package that runs.", registry=registry).info({"version": __version__})
    return registry
