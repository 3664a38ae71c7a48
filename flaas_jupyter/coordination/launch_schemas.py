"""What may be sent and is answered about launches and enrolments."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from .schemas import (
    _NO_CONTROLS,
    Count,
    DatasetName,
    Error,
    Key,
    Name,
    RoundNumber,
    Signature,
    _In,
    _Out,
    _Resource,
)

Market = Literal["on_demand", "spot"]
NodeState = Literal["planned", "launching", "booting", "registered", "joined", "training", "ending", "ended", "failed"]
LaunchState = Literal["launching", "booting", "joining", "ready", "training", "ending", "ended", "failed", "stuck"]
MachineName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")]
Source = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=_NO_CONTROLS)]
Usd = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class LaunchDatasetIn(_In):
    """A data set that a machine fetches, or finds there."""

    name: DatasetName
    source: Source
    target: Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=_NO_CONTROLS)] | None = None
    sha256: Key | None = None


class LaunchNodeIn(_In):
    """A machine to launch, at the price that the person saw."""

    name: MachineName
    provider: MachineName
    account: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$")] | None = None
    region: Word
    instance_type: Word
    market: Market = "on_demand"
    usd_hour: Annotated[float, Field(ge=0, le=1e5, allow_inf_nan=False)] = 0.0
    disk_gib: Annotated[int, Field(ge=8, le=16_384)] = 30
    dataset: LaunchDatasetIn | None = None


class LaunchIn(_In):
    """Machines to launch for a project."""

    title: Name | None = None
    template: Name | None = None
    hours: Annotated[float, Field(gt=0, le=24 * 366, allow_inf_nan=False)]
    rounds: RoundNumber | None = None
    accepted_usd: Usd
    budget_usd: Usd | None = None
    domain_key: Key | None = None
    nodes: Annotated[list[LaunchNodeIn], Field(min_length=1, max_length=100)]


class EnrolmentIn(_In):
    """What a machine that has booted sends, once."""

    secret: Annotated[str, StringConstraints(pattern=r"^[a-z2-7]{52}$")]
    id: Key
    name: MachineName
    version: Annotated[str, StringConstraints(min_length=1, max_length=50, pattern=_NO_CONTROLS)]
    proof: Signature


class Enrolled(_Resource):
    """Where a machine belongs now."""

    organisation: str
    project: str
    node: str


class LaunchedNode(_Out):
    """A node of a launch: its last machine, and what all of them cost."""

    name: str
    provider: str
    account: str | None
    region: str
    instance_type: str
    market: Market
    usd_hour: float
    state: NodeState
    machine: str | None
    node_id: str | None
    started: AwareDatetime | None
    ended: AwareDatetime | None
    spent_usd: float
    attempts: Count
    problem: Error | None


class Launch(_Resource):
    """A launch."""

    id: str
    project: str
    organisation: str
    title: str | None
    template: str | None
    state: LaunchState
    created: AwareDatetime
    created_by: str
    hours: float
    ends_at: AwareDatetime
    accepted_usd: float
    spent_usd: float
    rounds: int | None
    run: str | None
    round: int | None
    problem: Error | None
    nodes: list[LaunchedNode]


class _Launches(_Out):
    launches: list[Launch]


class Launches(_Resource):
    """A page of launches, newest first."""

    embedded: _Launches = Field(alias="_embedded")
