"""What a model is fitted on: the one interface of a connected and of a simulated federation.

A federation says who takes part (`clients`) and on what (`schema`), and trains a plan round by round. `Training.next`
hands back one round; calling it again is the verdict on the last: go on, stop, with another learning rate.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

    from .plan import TrainingPlan
    from .protocols.privacy import DifferentialPrivacy
    from .report import FederatedReport


@dataclass(frozen=True)
class RunOptions:
    """How a plan is trained on a federation.

    Parameters
    ----------
    rounds : int
        Rounds of training and aggregation.
    aggregation : str
        Registered name of the aggregation rule.
    aggregation_options : dict
        The rule's options, JSON values.
    privacy : DifferentialPrivacy, optional
        Clipping and noise, and the budget that the run must keep to.
    secure_aggregation : bool
        Whether updates travel masked, so that the aggregator learns their sum only.
    clip : float
        Range ``[-clip, clip]`` of one coordinate of an update under secure aggregation.
    group_size : int, optional
        In group mode, under secure aggregation with a rule that must see updates: how many clients make a group at
        least; None otherwise.
    sharded : bool
        Whether every participant adds up a part of the masked vectors, in place of one that adds up all of them.
    clients_per_round : int, optional
        Sample of participants per round; all by default.
    minimum_nodes : int, optional
        Participants without which a round does not begin; by default 3 with secure aggregation, else 1.
    seed : int, optional
        Seed of sampling, shuffling and drop-out.
    name : str, optional
        Shown in lists of runs.
    """

    rounds: int
    aggregation: str = "fedavg"
    aggregation_options: dict[str, Any] = field(default_factory=dict)
    privacy: DifferentialPrivacy | None = None
    secure_aggregation: bool = False
    clip: float = 8.0
    group_size: int | None = None
    sharded: bool = False
    clients_per_round: int | None = None
    minimum_nodes: int | None = None
    seed: int | None = None
    name: str | None = None


@dataclass(frozen=True)
class RoundResult:
    """One round's outcome.

    Parameters
    ----------
    number : int
        From 1.
    weights : ndarray of shape (p,)
        The global weights after the round.
    report : dict
        ``metrics``, ``clients``, ``dropped``, ``seconds``, ``bytes``, ``clipped``, ``error_bound``, ``epsilon``.
    replayed : bool
        Whether this is only the report of a round of before, of a run that was resumed: `weights` are newer then.
    """

    number: int
    weights: NDArray[Any]
    report: dict[str, Any] = field(repr=False)
    replayed: bool = False

    @property
    def metrics(self) -> dict[str, float]:
        """Training metrics, averaged over the participants by their examples."""
        return dict(self.report.get("metrics", {}))


@runtime_checkable
class Training(Protocol):
    """A run under way."""

    @property
    def id(self) -> str:
        """Names the run, also after the notebook has gone."""

    @property
    def rounds(self) -> int:
        """Rounds that were asked for."""

    def next(self, *, stop: bool = False, learning_rate: float | None = None) -> RoundResult | None:
        """Return the next round's result, or None when the run has completed.

        Raises
        ------
        FlaasError
            The run failed or was cancelled; the error says why.
        """

    def evaluated(self, number: int, metrics: Mapping[str, float]) -> None:
        """Hear what the notebook has measured on the weights of a round."""

    def cancel(self) -> None:
        """End the run now."""


@runtime_checkable
class Federation(Protocol):
    """Who trains together."""

    @property
    def clients(self) -> pd.DataFrame:
        """One row per participant: name, organisation, rows, whether it is online."""

    @property
    def names(self) -> dict[str, str]:
        """Each participant's id and the name to show."""

    @property
    def schema(self) -> pd.DataFrame:
        """One row per column of the data: name, dtype, shape, role."""

    def train(self, plan: TrainingPlan, weights: NDArray[Any], options: RunOptions) -> Training:
        """Start training `plan` from `weights` of shape (p,)."""

    def resume(self, run: str, plan: TrainingPlan, weights: NDArray[Any]) -> Training:
        """Follow a run that was started before, from its beginning or wherever it is."""


class RoundsDone:
    """What a ``fit`` has reported, laid out as a table when somebody looks at it.

    Parameters
    ----------
    reports : sequence of dict
        As in `RoundResult.report`.
    names : dict of str to str
        Participant id to the name to show.
    attackers : sequence of str
        Names of the malicious clients of a simulation.
    """

    def __init__(self, reports: Sequence[dict[str, Any]], names: dict[str, str], attackers: Sequence[str] = ()) -> None:
        self._reports, self._names, self._attackers = list(reports), names, list(attackers)

    @functools.cached_property
    def table(self) -> FederatedReport:
        """The table; see `report_frame`."""
        table = report_frame(self._reports, self._names)
        if self._attackers:
            table.attrs["attackers"] = self._attackers
        return table


def report_frame(reports: Sequence[dict[str, Any]], names: dict[str, str]) -> FederatedReport:
    """Lay round reports out as a table, one row per round.

    Parameters
    ----------
    reports : sequence of dict
        As in `RoundResult.report`.
    names : dict of str to str
        Participant id to the name to show.

    Returns
    -------
    FederatedReport
        Columns ``clients`` and ``dropped`` (counts), ``weights`` and ``left_out`` (by name), the aggregation rule's
        own such as ``votes`` or ``reputation`` (by name), ``epsilon`` (spent so far, with differential privacy),
        ``clipped`` and ``error_bound`` (of the fixed point of secure aggregation: what no coordinate of the mean is off
        by; in group mode of no group's mean), in group mode ``group_size``, ``groups`` and ``groups_void``, and each
        client's ``group`` by name, with compressed updates ``update_bytes`` and ``update_bytes_plain`` (as they were
        sent, and as they would have been) and ``compression_error`` (‖lost‖ / ‖update‖, averaged over the clients by
        their examples; NaN where nobody may know, under secure aggregation and with privacy: `error_bound` tells
        there), with sharded sums ``shards`` and the most that one node has sent and received,
        ``bytes_up``, ``bytes_down``, ``seconds_<phase>`` and one per metric; ``.plot()`` draws the metrics,
        ``.plot_clients()`` a figure of each client by round.
    """
    from .report import FederatedReport

    rows = []
    for report in reports:
        clients, dropped = report.get("clients", []), report.get("dropped", [])
        rows.append(
            {
                "round": report["number"],
                **report.get("metrics", {}),
                "clients": len(clients),
                "dropped": len(dropped),
                "weights": {names.get(c["node"], c["node"]): c["weight"] for c in clients},
                **_by_client(clients, names),
                "left_out": {names.get(d["node"], d["node"]): d["phase"] for d in dropped},
                "clipped": report.get("clipped", 0),
                "error_bound": report.get("error_bound") or 0.0,
                **_sent_how(report),
                **({"epsilon": report["epsilon"]} if report.get("epsilon") is not None else {}),
                "bytes_up": report.get("bytes", {}).get("up", 0),
                "bytes_down": report.get("bytes", {}).get("down", 0),
                **{f"seconds_{phase}": value for phase, value in report.get("seconds", {}).items()},
            }
        )
    metrics = list(dict.fromkeys(name for report in reports for name in report.get("metrics", {})))
    frame = FederatedReport(rows)
    frame.attrs["metrics"] = metrics
    return frame.set_index("round") if rows else frame


def _sent_how(report: dict[str, Any]) -> dict[str, float]:
    """What the report says of groups, shards and compression, where there were any."""
    groups, shards, compression = report.get("groups"), report.get("shards"), report.get("compression")
    told: dict[str, float] = {}
    if compression:
        error = compression["error"]
        told |= {"update_bytes": compression["bytes"], "update_bytes_plain": compression["plain"]}
        told["compression_error"] = math.nan if error is None else error
    if groups:
        void = groups["formed"] - groups["opened"]
        told |= {"group_size": groups["size"], "groups": groups["opened"], "groups_void": void}
    if shards:
        told |= {"shards": shards["count"], "node_bytes_up": shards["up"], "node_bytes_down": shards["down"]}
    return told


def _by_client(clients: Sequence[dict[str, Any]], names: dict[str, str]) -> dict[str, dict[str, float]]:
    """The aggregation rule's figures: column to client name to value."""
    columns: dict[str, dict[str, float]] = {}
    for client in clients:
        for column, value in client.get("columns", {}).items():
            columns.setdefault(column, {})[names.get(client["node"], client["node"])] = value
    return columns
