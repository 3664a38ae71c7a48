"""How long a federated project takes, what crosses the network, and what both cost, before anything is launched.

Work is counted in floating-point operations: 6 per weight and row forwards and backwards for dense layers (Kaplan et
al., "Scaling Laws for Neural Language Models", 2020, section 2.1), or what the template says. Traffic is that of the
project's own protocol, message by message. A measured run corrects the time (`Calibration`); every assumption is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from .catalog import Catalog, Offer
from .need import Need, require_known
from .storage import StoragePrices
from .templates import Template

GB = 1e9
"""Bytes of the GB that traffic is charged by."""

FLOPS_PER_VCPU = 5e9
"""Effective FLOP/s of a vCPU in small dense layers: an assumption, to be corrected by a measured run."""

UTILISATION = 0.3
"""Share of a GPU's peak that training reaches: an assumption, likewise."""

PEAK_FLOPS: Mapping[str, float] = {
    "A10": 62.5e12,
    "A100": 156e12,
    "A100-80GB": 156e12,
    "A10G": 35e12,
    "H100": 494e12,
    "H100-NVL": 417e12,
    "H200": 494e12,
    "L4": 60e12,
    "L40S": 183e12,
    "T4": 8.1e12,
    "T4G": 8.1e12,
    "V100": 15.7e12,
}
"""Peak FLOP/s of 32-bit training, dense, from the vendors' data sheets: TF32 where a GPU has it, else FP32."""

# What frames of the mesh hold beside tensors, in bytes (`communications.wire`): type, shapes, digest, which round.
_ASK = 170
_REPLY = 97
_NODE_ID = 66  # 64 hex digits and their length
_ADVERTISEMENT = 3 * 32 + 64 + 50
_SEALED_SHARES = 2 * 66 + 16 + 3
_REVEAL = 66 + 22
_SIGNATURE = 64 + 2
_ASKS = {False: 2, True: 5}  # begin, update; begin, share, update, survivors, unmask
_SECONDS_PER_ASK = 0.1

Pattern = Literal["star", "mesh", "ring"]
EgressPrice = Callable[[Mapping[str, Any], Mapping[str, Any]], float]


@dataclass(frozen=True)
class RoundTraffic:
    """Bytes of one node in one round: `up` from it to the aggregator, `down` to it."""

    up: int
    down: int


@dataclass(frozen=True)
class RoundTime:
    """Seconds of one round."""

    train: float
    communicate: float

    @property
    def total(self) -> float:
        """Both."""
        return self.train + self.communicate


@dataclass(frozen=True)
class Estimate:
    """What a project will take.

    Attributes
    ----------
    seconds_per_round : float
    hours : float
        That the machines run.
    compute_usd, storage_usd, egress_usd, total_usd : float
        Of the whole project.
    egress_gb : float
        What leaves machines, in GB of 10^9 bytes, charged or not.
    assumptions : list of str
        What the figures rest on.
    """

    seconds_per_round: float
    hours: float
    compute_usd: float
    storage_usd: float
    egress_gb: float
    egress_usd: float
    total_usd: float
    assumptions: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Observation:
    """Seconds of a round as they were estimated and as they were measured, on one class of hardware."""

    hardware: str
    estimated: float
    measured: float


@dataclass(frozen=True)
class Calibration:
    """Measured runs, which correct estimates.

    For each class of hardware (a model of GPU, or ``"cpu"``) estimates are multiplied by the factor f that makes
    Σ (measured − f estimated)² least: Σ estimated × measured / Σ estimated².
    """

    observations: tuple[Observation, ...] = ()

    def with_run(
        self, template: Template, offers: Offer | Sequence[Offer], seconds_per_round: float, **settings: Any
    ) -> Calibration:
        """Return a calibration that also knows a run of `template` on `offers`; `settings` are those of `round_time`.

        Raises
        ------
        InvalidInput
            ``bad-calibration``: not a time above 0.
        """
        _require_seconds("seconds_per_round", seconds_per_round)
        machines = _machines(template, offers)
        estimated = round_time(template, machines, **settings)
        slowest = max(machines, key=lambda offer: _work(template) / speed(offer)[0])
        seen = Observation(hardware_class(slowest), estimated.total, float(seconds_per_round))
        return Calibration((*self.observations, seen))

    def factor(self, hardware: str) -> float:
        """Return f of a class of hardware; 1 where nothing was measured."""
        seen = [one for one in self.observations if one.hardware == hardware]
        squares = math.fsum(one.estimated**2 for one in seen)
        return math.fsum(one.estimated * one.measured for one in seen) / squares if squares else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Return the calibration as JSON values."""
        return {"observations": [asdict(one) for one in self.observations]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """Read what `to_dict` wrote.

        Raises
        ------
        InvalidInput
            ``bad-calibration``
        """
        require_known(data, ["observations"], "a calibration", "bad-calibration")
        seen = []
        for one in data.get("observations", ()):
            require_known(one, ["hardware", "estimated", "measured"], "an observation", "bad-calibration")
            for field in ("estimated", "measured"):
                _require_seconds(field, one.get(field))
            seen.append(Observation(str(one.get("hardware", "")), float(one["estimated"]), float(one["measured"])))
        return cls(tuple(seen))


def estimate(
    template: Template | Need,
    offer: Offer | Sequence[Offer],
    *,
    aggregator: Offer | None = None,
    rounds: int | None = None,
    hours: float | None = None,
    gbit_per_second: float = 1.0,
    calibration: Calibration | None = None,
    storage: StoragePrices | None = None,
    egress: EgressPrice | None = None,
) -> Estimate:
    """Return what a project takes on given machines.

    Parameters
    ----------
    template : Template or Need
        What is run; a need alone has a template's defaults.
    offer : Offer or sequence of Offer
        The machine of every node, or one for each.
    aggregator : Offer, optional
        The machine that only aggregates, if the template has one; the first node's kind of machine by default.
    rounds : int, optional
        In place of the template's.
    hours : float, optional
        How long the machines run; by default the template's, else as long as the rounds take.
    gbit_per_second : float
        Of each machine's network.
    calibration : Calibration, optional
        Measured runs.
    storage : StoragePrices, optional
        The embedded ones by default.
    egress : callable, optional
        USD per GB from one machine to another, such as an `EgressTable`; the embedded one by default.

    Raises
    ------
    InvalidInput
        ``wrong-offers``: neither one offer nor one for each node; ``bad-estimate``: hours, rounds or a network that
        cannot be.
    """
    if isinstance(template, Need):
        template = Template(name="own", title="Own need", description="", need=template)
    rounds = template.rounds if rounds is None else rounds
    hours = template.hours if hours is None else hours
    for name, value in (("rounds", rounds), ("hours", hours), ("gbit_per_second", gbit_per_second)):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (number and 0 < value < math.inf):
            raise InvalidInput(f"{name}={value!r}; it must be a number above 0.", code="bad-estimate")
    machines = _machines(template, offer)
    assumptions: list[str] = []
    time = round_time(template, machines, gbit_per_second=gbit_per_second)
    seconds = time.total * _correction(template, machines, calibration, assumptions)
    assumptions += grounds(template, machines, gbit_per_second)
    if hours is None:
        hours = rounds * seconds / 3600
        assumptions.append(
            f"The machines run for {rounds} rounds of {seconds:.3g} s, starting and stopping not counted."
        )
    else:
        assumptions.append(f"The machines run for {hours:g} h, whatever the rounds take.")
    everything = list(machines)
    if template.aggregator_need is not None and template.pattern == "star":
        if aggregator is None:
            assumptions.append(
                f"The aggregator runs on another {machines[0].instance_type}: no offer was given for it."
            )
        everything.append(aggregator or machines[0])
    leader = len(everything) - 1 if len(everything) > len(machines) else 0
    traffic = traffic_matrix(len(everything), leader, rounds, *bytes_of_round(template))
    egress_usd = _egress(everything, traffic, egress)
    if len({(one.provider, one.region) for one in everything}) == 1 and len(everything) > 1:
        assumptions.append("All machines stand in one region, where traffic is free.")
    compute_usd = hours * math.fsum(one.price_usd_hour for one in everything)
    storage_usd = _disks(template, everything, hours, storage, assumptions)
    return Estimate(
        seconds_per_round=seconds,
        hours=hours,
        compute_usd=compute_usd,
        storage_usd=storage_usd,
        egress_gb=float(traffic.sum()),
        egress_usd=egress_usd,
        total_usd=math.fsum((compute_usd, storage_usd, egress_usd)),
        assumptions=assumptions,
    )


def round_time(template: Template, offers: Offer | Sequence[Offer], *, gbit_per_second: float = 1.0) -> RoundTime:
    """Return the seconds of one round, as long as the slowest node takes.

    Every update crosses the aggregator's network, which is the narrow place.
    """
    machines = _machines(template, offers)
    train = max(_work(template) / speed(one)[0] for one in machines)
    up, down = bytes_of_round(template)
    senders = (
        template.nodes if template.aggregator_need is not None and template.pattern == "star" else template.nodes - 1
    )
    asks = _ASKS[template.secure_aggregation] if template.nodes > 1 else 0
    communicate = senders * (up + down) * 8 / (gbit_per_second * 1e9) + asks * _SECONDS_PER_ASK
    return RoundTime(train, communicate)


def speed(offer: Offer) -> tuple[float, str]:
    """Return the effective FLOP/s of a machine and what the figure rests on."""
    if not offer.gpu_name or offer.gpu_count <= 0:
        return (
            offer.vcpus * FLOPS_PER_VCPU,
            f"{FLOPS_PER_VCPU / 1e9:g} effective GFLOP/s for each of {offer.vcpus:g} vCPUs",
        )
    name = offer.gpu_name.upper()
    if name in PEAK_FLOPS:
        reached = f"{UTILISATION:.0%} of {PEAK_FLOPS[name] / 1e12:g} TFLOP/s (data sheet, 32-bit) for each {name}"
        return offer.gpu_count * PEAK_FLOPS[name] * UTILISATION, reached
    guessed = f"{UTILISATION:.0%} of a T4's data sheet for each {offer.gpu_name}, whose speed is not known here"
    return offer.gpu_count * PEAK_FLOPS["T4"] * UTILISATION, guessed


def hardware_class(offer: Offer) -> str:
    """Return the class that calibration goes by: the model of GPU, or ``"cpu"``."""
    return offer.gpu_name.upper() if offer.gpu_name and offer.gpu_count > 0 else "cpu"


def round_traffic(parameters: int, nodes: int, *, secure_aggregation: bool = False, metrics: int = 2) -> RoundTraffic:
    """Return what one node sends and receives in one round with an aggregator.

    In the clear a node receives the weights and sends its update, float32 both. Under secure aggregation the update is
    `encoded_length` numbers of 32 bits (one a weight, and six for each of the metrics and two counts), and keys, sealed
    shares, signatures and reveals, one for each other node, are added in both directions.

    Parameters
    ----------
    parameters : int
        Weights of the model.
    nodes : int
        Members of the round.
    metrics : int
        Figures that nodes report, such as loss and accuracy.
    """
    members = nodes * _NODE_ID
    down = 4 * parameters + _ASK + members
    if not secure_aggregation:
        return RoundTraffic(up=4 * parameters + 2 * _REPLY, down=down + _ASK)
    from ..protocols.secure_aggregation.encoding import encoded_length

    others = nodes - 1
    up = 4 * encoded_length(parameters, metrics) + 5 * _REPLY + _ADVERTISEMENT + _SIGNATURE
    up += others * (_NODE_ID + _SEALED_SHARES) + nodes * (_NODE_ID + _REVEAL)
    down += 4 * _ASK + nodes * (_NODE_ID + _ADVERTISEMENT) + others * (_NODE_ID + _SEALED_SHARES)
    down += members + nodes * (_NODE_ID + _SIGNATURE)
    return RoundTraffic(up=up, down=down)


def bytes_of_round(template: Template) -> tuple[int, int]:
    """Return the bytes up and down of one node in one round of a template."""
    if template.pattern == "vertical":
        return 4 * template.embedding_width * template.rows_per_node, 0
    traffic = round_traffic(template.parameters, template.nodes, secure_aggregation=template.secure_aggregation)
    return traffic.up, traffic.down


def grounds(template: Template, machines: Iterable[Offer], gbit_per_second: float = 1.0) -> list[str]:
    """Return what the time and the traffic of a template on some machines rest on, in sentences."""
    per_row = template.flops_per_example or 6.0 * template.parameters
    rule = "as the template says" if template.flops_per_example else f"6 × {template.parameters} weights"
    up, down = bytes_of_round(template)
    found = [
        f"{per_row:.3g} FLOP a row ({rule}), {template.rows_per_node} rows, {template.local_epochs} epochs a round.",
        *(f"{one}." for one in sorted({speed(machine)[1] for machine in machines})),
        f"{up} bytes up and {down} down a node and round, at {gbit_per_second:g} Gbit/s through the aggregator.",
    ]
    if template.pattern == "vertical":
        found.append("Embeddings go one way, to the party with the label, once a row and round; none comes back.")
    if template.market == "spot":
        found.append("Nothing is added for spot machines that are taken away.")
    return found


def traffic_matrix(
    nodes: int,
    aggregator: int,
    rounds: int,
    bytes_up: float,
    bytes_down: float,
    share: float = 1.0,
    pattern: Pattern = "star",
) -> NDArray[np.float64]:
    """Return what machine i sends to machine j over the whole project.

    Parameters
    ----------
    nodes : int
        Machines, the aggregator among them.
    aggregator : int
        Its number, 0 to nodes - 1; of no account in the other patterns.
    rounds : int
        Rounds of the project.
    bytes_up, bytes_down : float
        Of one node in one round; ``"mesh"`` and ``"ring"`` have only `bytes_up`, one update.
    share : float
        Part of the nodes that takes part in a round, above 0 to 1.
    pattern : str
        ``"star"``: up and down between each node and the aggregator; ``"mesh"``: an update from each to each;
        ``"ring"``: 2 (N − 1) / N updates from each to the next.

    Returns
    -------
    ndarray of float64, shape (nodes, nodes)
        GB of 10^9 bytes.

    Raises
    ------
    InvalidInput
        ``bad-traffic``
    """
    if nodes < 1 or rounds < 0 or not 0 <= aggregator < nodes or not 0 < share <= 1 or min(bytes_up, bytes_down) < 0:
        raise InvalidInput(
            f"nodes={nodes}, aggregator={aggregator}, rounds={rounds}, bytes_up={bytes_up}, bytes_down={bytes_down}, "
            f"share={share}: there must be a node, the aggregator one of them, the share above 0 and at most 1.",
            code="bad-traffic",
        )
    gb = np.zeros((nodes, nodes))
    if pattern == "star":
        gb[:, aggregator] = share * rounds * bytes_up / GB
        gb[aggregator, :] = share * rounds * bytes_down / GB
    elif pattern == "mesh":
        gb[:] = share * rounds * bytes_up / GB
    elif pattern == "ring":
        following = (np.arange(nodes) + 1) % nodes
        gb[np.arange(nodes), following] = 2 * (nodes - 1) / nodes * rounds * bytes_up / GB
    else:
        raise InvalidInput(f"{pattern!r} is no pattern. Allowed are star, mesh and ring.", code="bad-traffic")
    np.fill_diagonal(gb, 0.0)
    return gb


def _machines(template: Template, offer: Offer | Sequence[Offer]) -> list[Offer]:
    if isinstance(offer, Offer):
        return [offer] * template.nodes
    if len(offer) != template.nodes:
        raise InvalidInput(
            f"{len(offer)} offers for {template.nodes} nodes. Allowed is one for all, or one for each.",
            code="wrong-offers",
        )
    return list(offer)


def _work(template: Template) -> float:
    per_row = template.flops_per_example or 6.0 * template.parameters
    return per_row * template.rows_per_node * template.local_epochs


def _correction(
    template: Template, machines: Iterable[Offer], calibration: Calibration | None, assumptions: list[str]
) -> float:
    slowest = max(machines, key=lambda one: _work(template) / speed(one)[0])
    hardware = hardware_class(slowest)
    seen = [one for one in (calibration.observations if calibration else ()) if one.hardware == hardware]
    if not seen or calibration is None:
        assumptions.append("No run was measured on such hardware: the time may be off by several times.")
        return 1.0
    factor = calibration.factor(hardware)
    assumptions.append(f"Corrected by {factor:.3g}, from {len(seen)} measured runs on {hardware}.")
    return factor


def _egress(machines: Sequence[Offer], gb: NDArray[np.float64], price: EgressPrice | None) -> float:
    if price is None:
        price = Catalog.embedded().egress
    places = [{"provider": one.provider, "region": one.region, "country": one.country} for one in machines]
    return math.fsum(
        gb[i, j] * price(places[i], places[j]) for i in range(len(places)) for j in range(len(places)) if gb[i, j] > 0
    )


def _disks(
    template: Template, machines: Iterable[Offer], hours: float, storage: StoragePrices | None, assumptions: list[str]
) -> float:
    storage = storage or Catalog.embedded().storage
    total = 0.0
    for one in machines:
        price = storage.find(one.provider, one.region)
        if price is None:
            assumptions.append(f"No price of a disk at {one.provider} is known: nothing is counted for it.")
            continue
        total += price.usd(template.disk_gib, hours)
        assumptions.append(
            f"Disks at {one.provider}: {price.kind}, {price.usd_gb_month:g} USD a GB and month ({price.source})."
        )
    assumptions[:] = dict.fromkeys(assumptions)
    return total


def _require_seconds(field: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise InvalidInput(f"{field}={value!r} is no time. Allowed is a number above 0.", code="bad-calibration")
