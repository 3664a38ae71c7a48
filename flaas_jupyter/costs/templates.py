"""What a federated project of a common kind needs, so that nobody starts from an empty form.

`builtin` are the commonest set-ups; `load` reads one's own from TOML or JSON. The figures of the model (parameters,
work per row) are those of public architectures and only the start of an estimate: change them, or let a measured run
correct it.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from ..errors import InvalidInput, NotFound
from .driver import Market
from .need import Need, require_known
from .regions import Area, Regions

Pattern = Literal["star", "vertical"]
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True)
class Template:
    """One kind of federated project.

    Parameters
    ----------
    name : str
        Lower-case letters, digits and ``-``.
    title, description : str
        For people.
    need : Need
        Of each node's machine.
    nodes : int
        How many take part.
    disk_gib : float
        Disk of each machine.
    area : str or tuple of str
        Where machines may stand; see `Regions.within`.
    market : str
        ``"on_demand"`` or ``"spot"``.
    rounds : int
        Rounds of training.
    hours : float, optional
        How long the machines run; worked out from rounds where it is None.
    parameters : int
        Weights that are trained and sent.
    rows_per_node : int
        Training rows of each node.
    local_epochs, batch_size : int
        Of each round.
    aggregation : str
        Name of the rule.
    secure_aggregation : bool
        Whether single updates stay hidden.
    aggregator_need : Need, optional
        Of a machine that only aggregates; None: one of the nodes does it too.
    flops_per_example : float, optional
        Work of one row forwards and backwards; 6 × `parameters` where it is None.
    pattern : str
        ``"star"``: the nodes have the same columns and send weights; ``"vertical"``: they have different columns of the
        same rows and send `embedding_width` numbers a row.
    embedding_width : int
        Of pattern ``"vertical"``.
    tags : tuple of str
        To look for it by.

    Raises
    ------
    InvalidInput
        ``bad-template``, ``bad-need`` or ``unknown-area``.
    """

    name: str
    title: str
    description: str
    need: Need
    nodes: int = 3
    disk_gib: float = 30
    area: Area = "EU"
    market: Market = "on_demand"
    rounds: int = 20
    hours: float | None = None
    parameters: int = 100_000
    rows_per_node: int = 10_000
    local_epochs: int = 1
    batch_size: int = 32
    aggregation: str = "fedavg"
    secure_aggregation: bool = False
    aggregator_need: Need | None = None
    flops_per_example: float | None = None
    pattern: Pattern = "star"
    embedding_width: int = 0
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise _bad("name", self.name, "1 to 63 lower-case letters, digits and '-'")
        for field in ("title", "description"):
            if not isinstance(getattr(self, field), str):
                raise _bad(field, getattr(self, field), "a text")
        if not isinstance(self.need, Need):
            raise _bad("need", self.need, "a Need")
        if self.aggregator_need is not None and not isinstance(self.aggregator_need, Need):
            raise _bad("aggregator_need", self.aggregator_need, "a Need or None")
        for field in ("nodes", "rounds", "parameters", "rows_per_node", "local_epochs", "batch_size"):
            _require_whole(field, getattr(self, field), 1)
        _require_whole("embedding_width", self.embedding_width, 1 if self.pattern == "vertical" else 0)
        _require_positive("disk_gib", self.disk_gib)
        for field in ("hours", "flops_per_example"):
            if getattr(self, field) is not None:
                _require_positive(field, getattr(self, field))
        if self.market not in ("on_demand", "spot"):
            raise _bad("market", self.market, "on_demand or spot")
        if self.pattern not in ("star", "vertical"):
            raise _bad("pattern", self.pattern, "star or vertical")
        if not isinstance(self.secure_aggregation, bool):
            raise _bad("secure_aggregation", self.secure_aggregation, "True or False")
        if self.secure_aggregation and self.nodes < 3:
            raise _bad("nodes", self.nodes, "3 or more with secure aggregation")
        _require_rule(self.aggregation)
        Regions.embedded().within(self.area)
        if not isinstance(self.area, str):
            object.__setattr__(self, "area", tuple(self.area))
        if not isinstance(self.tags, (list, tuple)) or not all(isinstance(tag, str) for tag in self.tags):
            raise _bad("tags", self.tags, "a list of texts")
        object.__setattr__(self, "tags", tuple(self.tags))

    def to_dict(self) -> dict[str, Any]:
        """Return the template as JSON values."""
        data: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            data[f.name] = (
                value.to_dict() if isinstance(value, Need) else list(value) if isinstance(value, tuple) else value
            )
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Template:
        """Read what `to_dict` wrote, or what a person did; keys that are left out have their defaults.

        Raises
        ------
        InvalidInput
            ``bad-template``, also for a key that does not exist; ``bad-need``; ``unknown-area``.
        """
        require_known(data, [f.name for f in fields(cls)], "a template", "bad-template")
        missing = [name for name in ("name", "title", "need") if name not in data]
        if missing:
            raise InvalidInput(
                f"The template has no {', '.join(missing)}.",
                code="bad-template",
                hint="Every template has a name, a title and a need.",
            )
        values = {"description": "", **data}
        for key in ("need", "aggregator_need"):
            if values.get(key) is not None:
                values[key] = Need.from_dict(values[key])
        return cls(**values)


@lru_cache(maxsize=1)
def builtin() -> tuple[Template, ...]:
    """Return the templates that come with the package."""
    return tuple(Template(**values) for values in _BUILTIN)


def find(name: str, extra: Iterable[Template] = ()) -> Template:
    """Return a template by name; one of `extra` hides a built-in one of the same name.

    Raises
    ------
    NotFound
        ``unknown-template``, with the nearest names.
    """
    known = {template.name: template for template in (*builtin(), *extra)}
    if name in known:
        return known[name]
    close = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4)
    raise NotFound(
        f"There is no template {name!r}. There are {', '.join(known)}.",
        code="unknown-template",
        hint=f"Did you mean {' or '.join(close)}?" if close else "",
        close=close,
    )


def load(path: str | Path) -> tuple[Template, ...]:
    """Read templates from a TOML file (tables ``[[template]]``) or a JSON file (one object, or a list of them).

    Raises
    ------
    InvalidInput
        ``bad-template``
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        data: Any = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{path} cannot be read as templates ({error}).",
            code="bad-template",
            hint="Write TOML with tables [[template]], or JSON.",
        ) from error
    if isinstance(data, dict) and set(data) == {"template"}:
        data = data["template"]
    return tuple(Template.from_dict(one) for one in (data if isinstance(data, list) else [data]))


def _require_rule(name: object) -> None:
    from ..protocols import aggregation

    known = aggregation.names()
    if name not in known:
        raise _bad("aggregation", name, ", ".join(known))


def _require_whole(field: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise _bad(field, value, f"a whole number of at least {least}")


def _require_positive(field: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise _bad(field, value, "a number above 0")


def _bad(field: str, value: object, allowed: str) -> InvalidInput:
    return InvalidInput(
        f"{field}={value!r} cannot be in a template. Allowed is {allowed}.", code="bad-template", field=field
    )


_AGGREGATOR = Need(vcpus=2, memory_gib=4, burstable=True)

_BUILTIN: tuple[dict[str, Any], ...] = (
    {
        "name": "tabular-small",
        "title": "Table, small network",
        "description": "A dense network on some ten thousand rows of a table, such as churn or maintenance.",
        "need": Need(vcpus=2, memory_gib=4, burstable=True),
        "rounds": 30,
        "parameters": 50_000,
        "rows_per_node": 20_000,
        "local_epochs": 2,
        "tags": ("tabular", "cpu"),
    },
    {
        "name": "tabular-secure",
        "title": "Table, secure aggregation",
        "description": "The same table, the single updates hidden from the aggregator.",
        "need": Need(vcpus=2, memory_gib=8),
        "nodes": 4,
        "rounds": 30,
        "parameters": 50_000,
        "rows_per_node": 20_000,
        "local_epochs": 2,
        "secure_aggregation": True,
        "tags": ("tabular", "cpu", "privacy"),
    },
    {
        "name": "credit-scoring",
        "title": "Credit scoring among banks",
        "description": "Default risk on a few hundred thousand loans a bank, unlike from bank to bank, updates hidden.",
        "need": Need(vcpus=4, memory_gib=16),
        "nodes": 5,
        "disk_gib": 50,
        "rounds": 50,
        "parameters": 200_000,
        "rows_per_node": 250_000,
        "batch_size": 256,
        "aggregation": "fedprox",
        "secure_aggregation": True,
        "aggregator_need": _AGGREGATOR,
        "tags": ("finance", "tabular", "cpu", "privacy"),
    },
    {
        "name": "hospital-imaging",
        "title": "Medical images among hospitals",
        "description": "A residual network of 50 layers on images of 224 × 224 points, one small GPU a hospital.",
        "need": Need(vcpus=4, memory_gib=15, gpu_count=1, gpu_memory_gib=16, gpu_names=("T4", "L4")),
        "nodes": 4,
        "disk_gib": 200,
        "rounds": 40,
        "parameters": 25_600_000,
        "rows_per_node": 10_000,
        "secure_aggregation": True,
        "aggregator_need": Need(vcpus=2, memory_gib=8),
        "flops_per_example": 2.5e10,  # 4.1e9 multiply-adds forwards (He et al. 2016: 3.8e9), three times both ways
        "tags": ("health", "images", "gpu", "privacy"),
    },
    {
        "name": "imaging-large",
        "title": "Large images, vision transformer",
        "description": "A base-sized vision transformer, one GPU with 24 GB a node.",
        "need": Need(vcpus=8, memory_gib=32, gpu_count=1, gpu_memory_gib=22, gpu_names=("A10", "A10G", "L4")),
        "disk_gib": 500,
        "rounds": 50,
        "parameters": 86_000_000,
        "rows_per_node": 20_000,
        "aggregator_need": Need(vcpus=4, memory_gib=16),
        "flops_per_example": 1.06e11,  # 17.6e9 multiply-adds forwards, three times both ways
        "tags": ("images", "gpu"),
    },
    {
        "name": "text-embedding",
        "title": "Text, fine-tuned encoder",
        "description": "A base-sized text encoder on texts of 128 tokens.",
        "need": Need(vcpus=4, memory_gib=15, gpu_count=1, gpu_memory_gib=16),
        "disk_gib": 100,
        "rounds": 15,
        "parameters": 110_000_000,
        "rows_per_node": 25_000,
        "batch_size": 16,
        "aggregator_need": Need(vcpus=4, memory_gib=16),
        "flops_per_example": 8.4e10,  # 6 × 110e6 weights × 128 tokens
        "tags": ("text", "gpu"),
    },
    {
        "name": "language-model-finetune",
        "title": "Language model, low-rank adapters",
        "description": "Adapters of a model with 7 thousand million weights; only the adapters are sent.",
        "need": Need(vcpus=12, memory_gib=120, gpu_count=1, gpu_memory_gib=80, gpu_names=("A100-80GB",)),
        "disk_gib": 300,
        "rounds": 10,
        "parameters": 20_000_000,
        "rows_per_node": 5_000,
        "batch_size": 4,
        "aggregator_need": Need(vcpus=2, memory_gib=8),
        "flops_per_example": 1.4e13,  # 4 × 7e9 weights × 512 tokens: the frozen weights need no gradient
        "tags": ("text", "language model", "gpu"),
    },
    {
        "name": "time-series-iot",
        "title": "Time series of gateways",
        "description": "A small recurrent network beside sensors, on the cheapest burstable machines.",
        "need": Need(vcpus=2, memory_gib=2, burstable=True),
        "nodes": 10,
        "disk_gib": 20,
        "rounds": 50,
        "parameters": 30_000,
        "rows_per_node": 5_000,
        "flops_per_example": 9e6,  # 6 × 30e3 weights × 50 steps
        "tags": ("time series", "edge", "cpu"),
    },
    {
        "name": "genomics-memory",
        "title": "Genomics, much memory",
        "description": "Wide tables that must stay in memory.",
        "need": Need(vcpus=16, memory_gib=128),
        "disk_gib": 500,
        "rounds": 30,
        "parameters": 5_000_000,
        "rows_per_node": 5_000,
        "secure_aggregation": True,
        "aggregator_need": Need(vcpus=2, memory_gib=8),
        "tags": ("health", "cpu", "privacy"),
    },
    {
        "name": "cross-device-simulation",
        "title": "Simulation of many devices",
        "description": "A thousand simulated clients on one machine with many vCPUs, before a real federation starts.",
        "need": Need(vcpus=32, memory_gib=64),
        "nodes": 1,
        "disk_gib": 100,
        "market": "on_demand",
        "rounds": 100,
        "parameters": 1_200_000,
        "rows_per_node": 60_000,
        "flops_per_example": 4e7,
        "tags": ("simulation", "cpu"),
    },
    {
        "name": "edge-small",
        "title": "Edge gateway, ARM",
        "description": "A small network on ARM machines such as those at the edge.",
        "need": Need(vcpus=2, memory_gib=4, burstable=True, arch="arm64"),
        "nodes": 5,
        "disk_gib": 20,
        "rounds": 30,
        "parameters": 100_000,
        "rows_per_node": 10_000,
        "tags": ("edge", "arm", "cpu"),
    },
    {
        "name": "vertical-banks",
        "title": "Different columns of the same customers",
        "description": "A bank has the label, others more columns; they match customers privately and send embeddings.",
        "need": Need(vcpus=4, memory_gib=16),
        "disk_gib": 50,
        "rounds": 20,
        "parameters": 150_000,
        "rows_per_node": 100_000,
        "batch_size": 256,
        "pattern": "vertical",
        "embedding_width": 16,
        "tags": ("finance", "vertical", "cpu"),
    },
    {
        "name": "defence-reputation",
        "title": "Defence by reputation",
        "description": "Updates are weighted by how participants behaved so far; holds against poisoned data.",
        "need": Need(vcpus=4, memory_gib=16),
        "nodes": 10,
        "rounds": 60,
        "parameters": 200_000,
        "rows_per_node": 20_000,
        "aggregation": "reputation",
        "aggregator_need": Need(vcpus=2, memory_gib=8),
        "tags": ("defence", "cpu"),
    },
    {
        "name": "defence-quadratic-voting",
        "title": "Defence by quadratic voting",
        "description": "Participants buy votes for their updates from a budget; combines with secure aggregation.",
        "need": Need(vcpus=4, memory_gib=16),
        "nodes": 10,
        "rounds": 60,
        "parameters": 200_000,
        "rows_per_node": 20_000,
        "aggregation": "fedqv",
        "secure_aggregation": True,
        "aggregator_need": Need(vcpus=2, memory_gib=8),
        "tags": ("defence", "cpu", "privacy"),
    },
)
