"""What may be sent about queries, and is answered. Neither a statistic nor a result is part of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from .schemas import Count, DatasetName, Error, Key, _In, _Out, _Resource

Operation = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
Via = Literal["mpc", "he"]


Purpose = Literal["analytics", "train"]
ViewOperation = Annotated[str, StringConstraints(pattern=r"^explore-[a-z][a-z0-9_-]{0,31}$")]


class QueryIn(_In):
    """A question to open.

    `digest` binds what exactly is asked, `submitter` is the mesh id of the notebook, `purpose` what the nodes' owners
    must allow.
    """

    dataset: DatasetName
    operation: Operation
    purpose: Purpose = "analytics"
    via: Via = "mpc"
    digest: Key
    submitter: Key


class ViewIn(_In):
    """A view of the explorer to open: `operation` says which; the rest is as in `QueryIn`."""

    dataset: DatasetName
    operation: ViewOperation
    purpose: Literal["explore"] = "explore"
    via: Via = "mpc"
    digest: Key
    submitter: Key


class QueryEnd(_In):
    """How a query has ended, as its notebook has seen it."""

    outcome: Literal["released", "refused", "failed"]
    steps: Annotated[int, Field(ge=0, le=100_000)] = 0
    reason: Error | None = None


class QueryParticipant(_Out):
    """A node that a query is about."""

    node: str
    name: str
    organisation: str
    rows: Count


class Query(_Resource):
    """A query."""

    id: str
    project: str
    dataset: str
    operation: str
    purpose: Literal["analytics", "train", "explore"]
    via: Via
    digest: str
    submitter: str
    state: Literal["open", "closed", "expired"]
    participants: list[QueryParticipant]
    releaser: str
    created_by: str
    organisation: str
    created: AwareDatetime
    expires: AwareDatetime
    closed: AwareDatetime | None
    outcome: Literal["released", "refused", "failed"] | None
    steps: int | None
    reason: Error | None


class _Queries(_Out):
    queries: list[Query]


class Queries(_Resource):
    """A page of queries."""

    embedded: _Queries = Field(alias="_embedded")
