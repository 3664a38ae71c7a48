"""What may be sent and is answered about templates, prices and recommendations."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from .schemas import Name, PlainObject, Positive, _In, _Out, _Resource

Amount = Annotated[float, Field(ge=0, lt=1e12, allow_inf_nan=False)]
Above = Annotated[float, Field(gt=0, lt=1e9, allow_inf_nan=False)]
Place = Annotated[str, StringConstraints(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9:_ -]+$")]
AreaIn = Place | Annotated[list[Place], Field(min_length=1, max_length=200)]
Market = Literal["on_demand", "spot"]


class NeedIn(_In):
    """What a machine has to have at least."""

    vcpus: Above = 1
    memory_gib: Amount = 0
    gpu_count: Amount | None = None
    gpu_memory_gib: Amount = 0
    gpu_names: Annotated[list[Name], Field(max_length=20)] = Field(default_factory=list)
    burstable: bool = False
    arch: Annotated[str, StringConstraints(max_length=20)] | None = "x86_64"


class TemplateIn(_In):
    """A template of an organisation's own."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    title: Name
    description: Annotated[str, StringConstraints(max_length=2000)] = ""
    need: NeedIn
    nodes: Annotated[int, Field(ge=1, le=200)] = 3
    disk_gib: Above = 30
    area: AreaIn = "EU"
    market: Market = "on_demand"
    rounds: Annotated[int, Field(ge=1, le=1_000_000)] = 20
    hours: Above | None = None
    parameters: Positive = 100_000
    rows_per_node: Positive = 10_000
    local_epochs: Annotated[int, Field(ge=1, le=10_000)] = 1
    batch_size: Annotated[int, Field(ge=1, le=10_000_000)] = 32
    aggregation: Name = "fedavg"
    secure_aggregation: bool = False
    aggregator_need: NeedIn | None = None
    flops_per_example: Annotated[float, Field(gt=0, lt=1e21, allow_inf_nan=False)] | None = None
    pattern: Literal["star", "vertical"] = "star"
    embedding_width: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    tags: Annotated[list[Name], Field(max_length=20)] = Field(default_factory=list)


class WishIn(_In):
    """A node, and where it has to be."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
    provider: Annotated[str, StringConstraints(max_length=40)] | None = None
    area: AreaIn | None = None


class RecommendationIn(_In):
    """What is to be compared."""

    template: Annotated[str, StringConstraints(min_length=1, max_length=63)]
    area: AreaIn | None = None
    market: Market | None = None
    rounds: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    hours: Above | None = None
    nodes: Annotated[list[WishIn], Field(min_length=1, max_length=200)] | Annotated[int, Field(ge=1, le=200)] | None = (
        None
    )
    parameters: Positive | None = None
    rows_per_node: Positive | None = None
    budget_usd: Above | None = None
    deadline_hours: Above | None = None


class TemplateOut(_Resource):
    """A template."""

    name: str
    title: str
    description: str
    need: dict[str, Any]
    nodes: int
    disk_gib: float
    area: str | list[str]
    market: str
    rounds: int
    hours: float | None
    parameters: int
    rows_per_node: int
    local_epochs: int
    batch_size: int
    aggregation: str
    secure_aggregation: bool
    aggregator_need: dict[str, Any] | None
    flops_per_example: float | None
    pattern: str
    embedding_width: int
    tags: list[str]
    builtin: bool


class _Templates(_Out):
    templates: list[TemplateOut]


class Templates(_Resource):
    """All templates."""

    embedded: _Templates = Field(alias="_embedded")


class OfferOut(_Out):
    """A machine and its price."""

    provider: str
    region: str
    country: str
    instance_type: str
    price_usd_hour: float
    market: str
    kind: str
    source: str
    as_of: str | None
    vcpus: float
    memory_gib: float
    gpu_name: str
    gpu_count: float
    gpu_memory_gib: float
    arch: str
    warning: str


class CandidateOut(_Out):
    """A machine that would do, or the reason why it was set aside."""

    provider: str
    region: str
    country: str
    instance_type: str
    vcpus: float
    memory_gib: float
    gpu_name: str
    gpu_count: float
    gpu_memory_gib: float
    price_usd_hour: float | None
    on_demand_usd_hour: float | None
    spot_usd_hour: float | None
    saving: float | None
    kind: str
    as_of: str | None
    age_days: float | None
    source: str
    chosen: bool
    reason: str
    warning: str
    interruption: str


class PlanNode(_Out):
    """Where a node is to be, and what it costs over the project."""

    name: str
    provider: str
    region: str
    country: str
    instance_type: str
    market: str
    usd_hour: float
    compute_usd: float
    egress_usd: float
    storage_usd: float


class Constraint(_Out):
    """What a constraint costs."""

    constraint: str
    usd: float


class RunnerUp(_Out):
    """What everything at one provider would cost."""

    provider: str
    total_usd: float


class PlanOut(_Out):
    """A placement of all nodes; figures are USD over the project."""

    total_usd: float
    compute_usd: float
    egress_usd: float
    storage_usd: float
    hours: float
    nodes: list[PlanNode]
    constraints: list[Constraint]
    runner_up: list[RunnerUp]
    explanation: list[str]


class ProviderOut(_Out):
    """What one provider offers."""

    provider: str
    title: str
    account: str | None
    launchable: bool
    why_not: str
    recommended: bool
    reason: str
    offer: OfferOut | None
    plan: PlanOut | None
    candidates: list[CandidateOut]


class RecommendationOut(_Resource):
    """The answer to a comparison."""

    template: PlainObject
    rounds: int
    hours: float | None
    seconds_per_round: float | None
    providers: list[ProviderOut]
    plan: PlanOut | None
    why_not: str
    assumptions: list[str]
    warnings: list[str]
    as_of: dict[str, str | None]


class PriceState(_Out):
    """How old a provider's prices are, and what became of the last refresh of them."""

    rows: int
    as_of: str | None
    state: Literal["kept", "replaced", "running", "failed"]
    problem: str


class PriceAges(_Resource):
    """All providers' prices."""

    state: Literal["idle", "running"]
    refreshed: str | None
    providers: dict[str, PriceState]
    warnings: list[str]
