"""What a relay counts (Prometheus): totals only. Nothing says which node talked to which, or names one."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter, Gauge, generate_latest

from ...observability.registry import process_registry


class Counters:
    """The counters of one relay, in a `registry` of their own."""

    def __init__(self) -> None:
        self.registry = process_registry()
        self.connections = self._gauge("connections", "Nodes' connections that are open.")
        self.accepted = self._counter("connections_accepted", "Connections that proved a member's key.")
        self.refused = self._counter("connections_refused", "Connections refused before or in the handshake.", "reason")
        self.closed = self._counter("connections_closed", "Accepted connections that ended.", "reason")
        self.bytes_in = self._counter("received_bytes", "Bytes of frames that nodes sent.")
        self.bytes_out = self._counter("forwarded_bytes", "Bytes of frames that were queued for their receiver.")
        self.forwarded = self._counter("forwarded_frames", "Frames that were queued for their receiver.")
        self.dropped = self._counter("dropped_frames", "Frames that were not forwarded.", "reason")
        self.throttled = self._counter("throttled_seconds", "Seconds for which nodes were read more slowly.")

    def observe(self, queued: Callable[[], float], directory_age: Callable[[], float]) -> None:
        """Show two values that others keep: bytes that wait, and the age of the oldest directory in seconds."""
        self._gauge("queued_bytes", "Bytes that wait for slow connections.").set_function(queued)
        self._gauge("directory_age_seconds", "Time since the oldest directory was confirmed.").set_function(
            directory_age
        )

    def render(self) -> bytes:
        """Return the metrics as text."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"flaas_relay_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"flaas_relay_{name}", text, registry=self.registry)
