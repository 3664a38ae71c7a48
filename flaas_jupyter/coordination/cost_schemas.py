"""What may be sent and is answered about cloud accounts, bills and budgets."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from .schemas import Finite, Name, PlainObject, _In, _Out, _Resource

FetchState = Literal["never", "running", "done", "failed"]
Group = Literal["project", "provider", "service", "node", "day"]
Day = Annotated[date, Field(strict=False)]
_Secret = Annotated[str, StringConstraints(max_length=20_000, pattern=r"^[^\x00]*$")]
_FieldName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
_Label = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]


class AccountIn(_In):
    """A cloud account to enter."""

    provider: Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=r"^[a-z][a-z0-9-]*$")]
    title: Name
    credentials: Annotated[dict[_FieldName, _Secret], Field(max_length=20)]


class OverlayIn(_In):
    """A percentage off list prices."""

    percent: Annotated[Finite, Field(gt=-100, le=100)]
    family_prefix: _Label | None = None
    region: _Label | None = None


class OverlaysIn(_In):
    """All percentages of an account."""

    overlays: Annotated[list[OverlayIn], Field(max_length=100)]


class FetchIn(_In):
    """Which days of a bill to fetch: from `from` to before `to`; `force` even where each request costs."""

    start: Day | None = Field(None, alias="from")
    end: Day | None = Field(None, alias="to")
    force: bool = False


class ImportIn(_In):
    """Rows of a bill in the FOCUS format; rows that differ in amounts only must be in one request."""

    name: Name
    delivered: Annotated[AwareDatetime, Field(strict=False)]
    rows: Annotated[list[PlainObject], Field(min_length=1, max_length=2000)]


class BudgetIn(_In):
    """A budget, or none."""

    budget_usd: Annotated[Finite, Field(ge=0, lt=1e12)] | None
    warn_at: Annotated[Finite, Field(ge=0, le=1)] = 0.8


class CredentialField(_Out):
    """Something that a provider needs to know to sign in."""

    name: str
    label: str
    secret: bool
    required: bool
    help: str


class Provider(_Out):
    """A cloud that there is a driver for."""

    provider: str
    title: str
    fields: list[CredentialField]


class _Providers(_Out):
    providers: list[Provider]


class Providers(_Resource):
    """The clouds that there are drivers for."""

    embedded: _Providers = Field(alias="_embedded")


class AccountIdentity(_Out):
    """Whom the cloud takes the credentials for."""

    account: str
    principal: str
    currency: str | None


class PermissionTried(_Out):
    """Whether the credentials may do one thing."""

    permission: str
    granted: bool
    needed_for: str


class Overlay(_Out):
    """A percentage off list prices."""

    percent: float
    family_prefix: str | None
    region: str | None


class FetchProblem(_Out):
    """Why a fetch failed (members of RFC 9457)."""

    type: str
    title: str
    detail: str
    code: str
    hint: str


class Fetch(_Out):
    """How far the bill is fetched; before `next` another fetch would cost."""

    state: FetchState
    at: AwareDatetime | None
    start: date | None = Field(alias="from")
    end: date | None = Field(alias="to")
    rows: int
    problem: FetchProblem | None
    next: AwareDatetime | None


class Account(_Resource):
    """A cloud account, without its credentials."""

    id: str
    provider: str
    title: str
    organisation: str
    identity: AccountIdentity
    permissions: list[PermissionTried]
    overlays: list[Overlay]
    created: AwareDatetime
    checked: AwareDatetime
    fetch: Fetch


class _Accounts(_Out):
    accounts: list[Account]


class Accounts(_Resource):
    """A page of cloud accounts."""

    embedded: _Accounts = Field(alias="_embedded")


class Billed(_Out):
    """What was billed for a key; `known` is false for a project that the organisation is not in."""

    key: str
    currency: str
    billed: float
    effective: float
    list: float
    known: bool


class Estimated(_Out):
    """What is estimated for a key."""

    key: str
    usd: float


class BilledDay(_Out):
    """What was billed on a day."""

    day: date
    key: str
    currency: str
    billed: float


class EstimatedDay(_Out):
    """What is estimated for a day."""

    day: date
    key: str
    usd: float


class Compared(_Out):
    """Bill beside estimate."""

    key: str
    currency: str
    billed: float
    estimated: float | None
    difference: float | None
    explanation: str


class InCurrency(_Out):
    """An amount."""

    currency: str
    billed: float


class Source(_Out):
    """Where bills come from."""

    source: str
    title: str
    provider: str
    fetched: AwareDatetime | None
    complete_until: date | None
    problem: str | None


class BudgetStanding(_Out):
    """How a budget stands; `note` tells what is not counted."""

    project: str
    budget_usd: float
    spent_usd: float
    share: float
    state: Literal["ok", "warning", "exceeded"]
    note: str


class Summary(_Resource):
    """What the dashboard shows."""

    start: date = Field(alias="from")
    end: date = Field(alias="to")
    group: Group
    billed: list[Billed]
    estimated: list[Estimated]
    days: list[BilledDay]
    estimated_days: list[EstimatedDay]
    comparison: list[Compared]
    without_project: list[InCurrency]
    currencies: list[str]
    sources: list[Source]
    budgets: list[BudgetStanding]


class Imported(_Resource):
    """What became of imported rows: written, replaced by them, without effect."""

    accepted: int
    replaced: int
    ignored: int


class Budget(_Resource):
    """A project's budget, for the caller's organisation."""

    project: str
    budget_usd: float | None
    warn_at: float
    spent_usd: float
    share: float | None
    state: Literal["ok", "warning", "exceeded"]
    note: str
