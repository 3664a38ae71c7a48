"""What Prometheus is told of a node: totals without names. Nothing tells peers, data sets, projects or people apart.

A process is one node, so the counters are the module's. What the node is asked for when Prometheus asks (connections,
bytes, runs) `NodeGauges` reads from it.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..communications.mesh import Mesh
from ..observability.registry import process_registry

REGISTRY = process_registry()

ROUNDS = Counter("flaas_node_rounds", "Rounds that this node led.", ["outcome"], registry=REGISTRY)
ROUND_SECONDS = Counter(
    "flaas_node_round_phase_seconds", "Time of the rounds that it led, by phase.", ["phase"], registry=REGISTRY
)
DROPPED = Counter(
    "flaas_node_participants_dropped", "Participants that fell out of rounds that it led.", ["phase"], registry=REGISTRY
)
TRAINING = Histogram(
    "flaas_node_training_seconds",
    "Time of its own local trainings.",
    buckets=(0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1800.0),
    registry=REGISTRY,
)
QUERIES = Counter("flaas_node_queries", "Steps of questions to its data sets.", ["outcome"], registry=REGISTRY)
UPLOADS = Counter("flaas_node_uploads", "Files that it was sent.", ["outcome"], registry=REGISTRY)

for outcome in ("completed", "given-up"):
    ROUNDS.labels(outcome)
for outcome in ("answered", "refused"):
    QUERIES.labels(outcome)
for outcome in ("accepted", "refused", "rejected", "registered", "aborted"):
    UPLOADS.labels(outcome)


@dataclass
class Standing:
    """How the node stands now; the node keeps it up to date."""

    mesh: Mesh | None = None
    api_connected: bool = False
    runs: Callable[[], dict[str, int]] = dict
    """Returns how many runs it leads and takes part in, by role."""

    @property
    def mesh_open(self) -> bool:
        """Whether peers can reach this node and be reached."""
        return self.mesh is not None and self.mesh.is_open

    def health(self) -> tuple[bool, dict[str, str]]:
        """Tell whether the node lives, and how it stands; one whose API is away goes on with its runs, and is well."""
        api = "connected" if self.api_connected else "not connected"
        if self.mesh is None:
            return False, {"status": "starting", "mesh": "not open", "api": api}
        state = "ok" if self.mesh_open else "failed"
        return self.mesh_open, {"status": state, "mesh": "open" if self.mesh_open else "closed", "api": api}


class NodeGauges(Collector):
    """What is read from the node when it is asked for.

    Parameters
    ----------
    standing : Standing
        The node's.
    """

    def __init__(self, standing: Standing) -> None:
        self._standing = standing

    def collect(self) -> Iterator[Metric]:
        """Yield connections by kind, bytes, runs by role, and whether the API is connected."""
        standing, mesh = self._standing, self._standing.mesh
        yield GaugeMetricFamily(
            "flaas_node_api_connected", "Whether its event stream is open.", value=standing.api_connected
        )
        yield GaugeMetricFamily("flaas_node_mesh_open", "Whether its mesh is open.", value=standing.mesh_open)
        runs = GaugeMetricFamily("flaas_node_runs", "Runs under way here.", labels=["role"])
        for role, count in standing.runs().items():
            runs.add_metric([role], count)
        yield runs
        kinds = Tally(peer.path.kind for peer in mesh.status() if peer.path is not None) if mesh else Tally()
        connections = GaugeMetricFamily("flaas_node_mesh_connections", "Live connections.", labels=["kind"])
        for kind in ("direct", "relay", "tls"):
            connections.add_metric([kind], kinds[kind])
        yield connections
        moved = CounterMetricFamily("flaas_node_mesh_bytes", "Bytes over the mesh.", labels=["direction"])
        moved.add_metric(["sent"], mesh.bytes_sent if mesh else 0)
        moved.add_metric(["received"], mesh.bytes_received if mesh else 0)
        yield moved
