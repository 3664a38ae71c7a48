"""What may be sent, and what is answered: strict models, from which the OpenAPI description is made.

Nothing that is not named here is let in: no field, no binary value, no list of numbers that weights could hide in.
"""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from ..ids import SLUG

_DEEPEST = 20
_LONGEST_OPTIONS = 4096
_LONGEST_DECLARATIONS = 128 << 10
_NO_CONTROLS = r"^[^\x00-\x1f\x7f]+$"

Slug = Annotated[str, StringConstraints(pattern=f"^{SLUG}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=_NO_CONTROLS)]
DatasetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=300, pattern=_NO_CONTROLS)]
Description = Annotated[str, StringConstraints(max_length=2000, pattern=r"^[^\x00]*$")]
Reason = Annotated[str, StringConstraints(max_length=16_000, pattern=r"^[^\x00]*$")]
Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Signature = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{128}$")]
Count = Annotated[int, Field(ge=0, lt=1 << 53)]
Positive = Annotated[int, Field(ge=1, lt=1 << 53)]
RoundNumber = Annotated[int, Field(ge=1, le=1_000_000)]
Term = Annotated[int, Field(ge=1, lt=1 << 31)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


def _require_plain(value: Any, depth: int = 0) -> Any:
    """Check that every reader and both data bases can hold a JSON value: no half characters, zero bytes, abysses."""
    if depth > _DEEPEST:
        raise ValueError(f"nested deeper than {_DEEPEST}")
    if isinstance(value, str):
        value.encode()  # half a surrogate pair raises, as a ValueError
        if "\x00" in value:
            raise ValueError("a text with a zero byte")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number that is not finite")
    elif isinstance(value, dict | list):
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            _require_plain(item, depth + 1)
    return value


def _require_short(value: Any) -> Any:
    """Check that options are what people write, and nothing that weights could hide in."""
    if len(json.dumps(value)) > _LONGEST_OPTIONS:
        raise ValueError(f"longer than {_LONGEST_OPTIONS} characters of JSON")
    return value


PlainObject = Annotated[dict[str, Any], AfterValidator(_require_plain)]
Options = Annotated[PlainObject, AfterValidator(_require_short), Field(max_length=32)]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Out(BaseModel):
    model_config = ConfigDict(extra="forbid")


# ---- what may be sent ---------------------------------------------------------------------------------------------


class OrganisationIn(_In):
    """A new organisation."""

    id: Slug
    name: Name


class OrganisationPatch(_In):
    """A change of an organisation."""

    name: Name


class ProjectIn(_In):
    """A new project."""

    id: Slug
    name: Name
    description: Description = ""
    domain_key: Key
    organisations: Annotated[list[Slug], Field(max_length=1000)]


class ProjectPatch(_In):
    """A change of a project; what is left out stays."""

    name: Name | None = None
    description: Description | None = None
    organisations: Annotated[list[Slug], Field(max_length=1000)] | None = None


class NodeInvitationIn(_In):
    """An invitation of a node; the secret itself stays with whoever invites, here is its SHA-256."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
    project: Slug
    digest: Key
    expires_in: Annotated[float, Field(gt=0, le=30 * 86_400)] = 7 * 86_400.0


class SignedDocument(_In):
    """A signed document of the directory; its body is checked where it is verified."""

    body: PlainObject
    signature: Signature


class Holders(_In):
    """The holders of a domain key, and how many of them must sign."""

    v: Literal[1]
    keys: Annotated[list[Key], Field(min_length=2, max_length=16)]
    threshold: Annotated[int, Field(ge=1, le=16)]


class CosignedDocument(_In):
    """A document signed by several holders of a domain key; checked where it is verified."""

    body: PlainObject
    holders: Holders
    signatures: Annotated[dict[Key, Signature], Field(min_length=1, max_length=16)]


class NodeIn(_In):
    """A node to register."""

    id: Key
    name: Name
    projects: Annotated[list[Slug], Field(min_length=1, max_length=200)]
    version: Annotated[str, StringConstraints(min_length=1, max_length=50, pattern=_NO_CONTROLS)]
    proof: Signature


class Feature(_In):
    """A column, or a tensor per row."""

    name: ColumnName
    dtype: Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=_NO_CONTROLS)]
    shape: Annotated[list[Count], Field(max_length=8)]


class Target(_In):
    """What is learned."""

    name: ColumnName
    dtype: Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=_NO_CONTROLS)]
    kind: Literal["binary", "multiclass", "regression"]
    classes: Count | None


class DeclaredColumn(_In):
    """What the owner of a data set declares of a column."""

    name: ColumnName
    dtype: Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=_NO_CONTROLS)] | None = None
    role: Literal["feature", "label", "id", "sensitive"] = "feature"
    unit: Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=_NO_CONTROLS)] | None = None
    description: Annotated[str, StringConstraints(max_length=500, pattern=_NO_CONTROLS)] | None = None
    range: Annotated[list[Finite], Field(min_length=2, max_length=2)] | None = None
    categories: (
        Annotated[
            list[Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] | Finite],
            Field(min_length=1, max_length=1000),
        ]
        | None
    ) = None


def _require_few(columns: list[DeclaredColumn]) -> list[DeclaredColumn]:
    """Check that declarations are what people write."""
    size = sum(len(json.dumps(column.model_dump())) for column in columns)
    if size > _LONGEST_DECLARATIONS:
        raise ValueError(f"{size} characters of JSON; allowed are {_LONGEST_DECLARATIONS}")
    return columns


Declared = Annotated[list[DeclaredColumn], Field(max_length=2000), AfterValidator(_require_few)]


class DatasetIn(_In):
    """A description of a data set: columns and counts, never values."""

    name: DatasetName
    projects: Annotated[list[Slug], Field(max_length=200)]
    rows: Count
    features: Annotated[list[Feature], Field(min_length=1, max_length=20_000)]
    target: Target | None = None
    id_column: ColumnName | None = None
    operations: Annotated[list[Name], Field(max_length=16)] | None = None
    declared: Annotated[Declared | None, Field(alias="schema")] = None


class Privacy(_In):
    """Differential privacy of a run: its budget, the clipping, who adds the noise."""

    epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    delta: Annotated[float, Field(gt=0, lt=1)]
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    mode: Literal["central", "local", "distributed"] = "central"
    noise_multiplier: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class Party(_In):
    """A node that takes part in a vertical run, with the data set that it brings."""

    node: Key
    name: Name
    dataset: DatasetName


class Label(_In):
    """Who holds the label of a vertical run, and in which column."""

    node: Key
    column: ColumnName


class VerticalReport(_In):
    """How a vertical run stands: figures about the parties, never ids, columns or weights."""

    phase: Literal["alignment", "training", "done"]
    intersection: Count | None = None
    sizes: Annotated[dict[Name, Count], Field(max_length=100)] = {}
    bytes: Count | None = None
    statement: Annotated[list[Reason], Field(max_length=16)] = []
    figures: Annotated[dict[Name, Finite], Field(max_length=64)] = {}


class RunIn(_In):
    """A run to create."""

    name: Name | None = None
    dataset: DatasetName
    rounds: RoundNumber
    local_epochs: Positive
    batch_size: Positive
    secure_aggregation: bool = False
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    group_size: Annotated[int, Field(ge=3, le=1000)] | None = None
    sharded: bool = False
    aggregation: Name = "fedavg"
    aggregation_options: Options = {}
    privacy: Privacy | None = None
    clients_per_round: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    minimum_nodes: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    seed: Count | None = None
    parameters: Positive
    model_digest: Key
    submitter: Key
    start_digest: Key | None = None
    signed: SignedDocument | None = None
    kind: Literal["horizontal", "vertical"] = "horizontal"
    parties: Annotated[list[Party], Field(max_length=100)] | None = None
    id_column: ColumnName | None = None
    label: Label | None = None
    mode: Literal["oneway", "split", "linear_he"] | None = None


class Error(_In):
    """An error that crosses a border (`FlaasError.to_dict`)."""

    kind: Name
    code: Name
    message: Reason
    hint: Reason = ""
    details: PlainObject = {}


class AnswerIn(_In):
    """A participant's answer."""

    state: Literal["accepted", "refused", "failed"]
    reason: Error | None = None


class TransitionIn(_In):
    """What the aggregator makes of the run."""

    to: Literal["gathering", "running", "finishing", "completed", "failed"]
    term: Term
    reason: Error | None = None
    report: VerticalReport | None = None


class Bytes(_In):
    """Bytes moved over the mesh by a round."""

    up: Count
    down: Count


class Client(_In):
    """A participant's part in a round."""

    node: Key
    examples: Count
    weight: Annotated[float, Field(ge=0, le=1)]
    columns: Annotated[dict[Name, Finite], Field(max_length=16)] = {}


class Dropped(_In):
    """A participant that a round went on without."""

    node: Key
    phase: Name
    reason: Reason


class Groups(_In):
    """Groups of a round in group mode: their least size, how many were formed, how many could be opened."""

    size: Count
    formed: Count
    opened: Count


class Shards(_In):
    """Parts of a sharded sum, and the most bytes that one node has sent and received for the round."""

    count: Count
    up: Count
    down: Count


class Compression(_In):
    """Compression of a round's updates: its name, their bytes as sent and without it, and what it has lost of them."""

    name: Name
    bytes: Count
    plain: Count
    error: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class RoundIn(_In):
    """The report of a finished round: figures, never weights."""

    number: RoundNumber
    term: Term
    started: Annotated[AwareDatetime, Field(strict=False)]
    seconds: Annotated[dict[Name, Finite], Field(max_length=32)]
    bytes: Bytes
    metrics: Annotated[dict[Name, Finite], Field(max_length=64)]
    clients: Annotated[list[Client], Field(max_length=2000)]
    dropped: Annotated[list[Dropped], Field(max_length=2000)]
    clipped: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    error_bound: Finite | None = None
    groups: Groups | None = None
    shards: Shards | None = None
    compression: Compression | None = None
    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    digest: Key | None = None


# ---- what is answered ---------------------------------------------------------------------------------------------


class Link(_Out):
    """A link, with its method when that is not GET."""

    href: str
    method: str | None = None
    templated: bool | None = None


class _Resource(_Out):
    links: dict[str, Link] = Field(alias="_links")


class Entry(_Resource):
    """The entry point."""

    name: str
    version: str
    api: str


class Health(_Resource):
    """The API's own state."""

    status: Literal["ok"]
    database: Literal["sqlite", "postgresql"]
    version: str


class RoleHeld(_Out):
    """A role, and where it is held."""

    role: str
    scope: str


class Me(_Resource):
    """Who is calling."""

    subject: str
    kind: Literal["user", "node"]
    organisation: str
    session: str | None
    has_key: bool
    roles: list[RoleHeld]
    permissions: dict[str, list[str]]


class Organisation(_Resource):
    """An organisation."""

    id: str
    name: str


class NodeInvitation(_Resource):
    """An invitation of a node."""

    digest: str
    organisation: str
    project: str
    name: str
    created_by: str
    created: AwareDatetime
    expires: AwareDatetime
    used_by: str | None


class _NodeInvitations(_Out):
    invitations: list[NodeInvitation]


class NodeInvitations(_Resource):
    """A page of invitations of nodes."""

    embedded: _NodeInvitations = Field(alias="_embedded")


class Project(_Resource):
    """A project."""

    id: str
    name: str
    description: str
    domain_key: str
    organisations: list[str]


class Directory(_Resource):
    """Memberships, revocations, records and the network document, as they were signed."""

    domain: str
    domain_key: str
    memberships: list[dict[str, Any]]
    revocations: list[dict[str, Any]]
    records: list[dict[str, Any]]
    network: dict[str, Any] | None


class Signed(_Resource):
    """A signed document."""

    body: dict[str, Any]
    signature: str


class Cosigned(_Resource):
    """A document signed by several holders of a domain key."""

    body: dict[str, Any]
    holders: Holders
    signatures: dict[str, str]


class Node(_Resource):
    """A node."""

    id: str
    name: str
    organisation: str
    projects: list[str]
    state: Literal["online", "offline"]
    last_seen: AwareDatetime | None
    version: str
    registered: AwareDatetime
    quarantined: AwareDatetime | None
    quarantine_reason: str | None
    datasets: list[str]
    addresses: int
    uploads: bool


class DatasetDescription(_Resource):
    """A data set at one node."""

    name: str
    projects: list[str]
    rows: int
    features: list[Feature]
    target: Target | None
    id_column: str | None = None
    operations: list[str] | None = None
    declared: Annotated[list[DeclaredColumn] | None, Field(alias="schema")] = None


class Columns(_Out):
    """What the rows of a data set are made of."""

    features: list[Feature]
    target: Target | None
    id_column: str | None
    declared: Annotated[list[DeclaredColumn] | None, Field(alias="schema")] = None


class Holder(_Out):
    """A node that holds a data set; `columns` where they are not those of the first."""

    node: str
    node_name: str
    organisation: str
    rows: int
    online: bool
    columns: Columns | None = None
    operations: list[str] | None = None


class Dataset(_Resource):
    """A data set of a project, over all nodes that hold it."""

    name: str
    rows: int
    nodes: list[Holder]
    features: list[Feature]
    target: Target | None
    id_column: str | None = None
    declared: Annotated[list[DeclaredColumn] | None, Field(alias="schema")] = None


class Participant(_Out):
    """A node's part in a run."""

    node: str
    name: str
    organisation: str
    state: Literal["invited", "accepted", "refused", "failed"]
    reason: Error | None
    rows: int
    online: bool


class Run(_Resource):
    """A run."""

    id: str
    project: str
    state: Literal["queued", "gathering", "running", "paused", "finishing", "completed", "failed", "cancelled"]
    reason: Error | None
    waiting_for: str | None
    term: int
    aggregator: str | None
    round: int
    name: str | None
    dataset: str
    rounds: int
    local_epochs: int
    batch_size: int
    secure_aggregation: bool
    clip: float | None
    group_size: int | None = None
    sharded: bool = False
    aggregation: str
    aggregation_options: dict[str, Any]
    privacy: Privacy | None
    clients_per_round: int | None
    minimum_nodes: int | None
    seed: int | None
    parameters: int
    model_digest: str
    submitter: str
    start_digest: str | None = None
    signed: SignedDocument | None = None
    kind: Literal["horizontal", "vertical"] = "horizontal"
    parties: list[Party] | None = None
    id_column: str | None = None
    label: Label | None = None
    mode: str | None = None
    report: VerticalReport | None = None
    created_by: str
    organisation: str
    created: AwareDatetime
    started: AwareDatetime | None
    ended: AwareDatetime | None
    participants: list[Participant]


class Assignment(_Resource):
    """A node's part in a run, with the run."""

    node: str
    state: Literal["invited", "accepted", "refused", "failed"]
    reason: Error | None
    run: Run


class Round(_Resource):
    """A round's report."""

    number: int
    term: int
    started: AwareDatetime
    seconds: dict[str, float]
    bytes: Bytes
    metrics: dict[str, float]
    clients: list[Client]
    dropped: list[Dropped]
    clipped: float
    error_bound: float | None
    groups: Groups | None = None
    shards: Shards | None = None
    compression: Compression | None = None
    epsilon: float | None
    digest: str | None = None


class Event(_Out):
    """An event."""

    id: int
    type: str
    time: AwareDatetime
    project: str
    run: str | None
    node: str | None
    data: dict[str, Any]


class Meaning(_Resource):
    """What a problem's code means."""

    code: str
    title: str
    remedy: str


class FieldError(_Out):
    """Where a request is wrong."""

    pointer: str
    detail: str


class Problem(BaseModel):
    """Problem details (RFC 9457); further members depend on the code."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    kind: str
    hint: str
    errors: list[FieldError] | None = None


class _Organisations(_Out):
    organisations: list[Organisation]


class Organisations(_Resource):
    """A page of organisations."""

    embedded: _Organisations = Field(alias="_embedded")


class _Projects(_Out):
    projects: list[Project]


class Projects(_Resource):
    """A page of projects."""

    embedded: _Projects = Field(alias="_embedded")


class _Nodes(_Out):
    nodes: list[Node]


class Nodes(_Resource):
    """A page of nodes."""

    embedded: _Nodes = Field(alias="_embedded")


class _Datasets(_Out):
    datasets: list[Dataset]


class Datasets(_Resource):
    """A page of data sets."""

    embedded: _Datasets = Field(alias="_embedded")


class _Runs(_Out):
    runs: list[Run]


class Runs(_Resource):
    """A page of runs, newest first."""

    embedded: _Runs = Field(alias="_embedded")


class _Assignments(_Out):
    assignments: list[Assignment]


class Assignments(_Resource):
    """A page of assignments, oldest run first."""

    embedded: _Assignments = Field(alias="_embedded")


class _Rounds(_Out):
    rounds: list[Round]


class Rounds(_Resource):
    """A page of round reports, in order."""

    embedded: _Rounds = Field(alias="_embedded")


class _Events(_Out):
    events: list[Event]


class Events(_Resource):
    """A page of events, in order."""

    embedded: _Events = Field(alias="_embedded")
