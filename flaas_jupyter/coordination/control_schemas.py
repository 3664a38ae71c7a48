"""What may be sent to, and is answered by, the tools over runs, nodes and models in training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from .schemas import _In, _Out, _Resource

Why = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000, pattern=r"^[^\x00]*$")]


class ReasonIn(_In):
    """Why something is done; everybody concerned is shown it."""

    reason: Why


class Model(_Resource):
    """A version of a model: what a run has made, known by the digest of its weights."""

    id: str
    project: str
    run: str
    round: int
    digest: str
    state: Literal["candidate", "released", "revoked"]
    created: AwareDatetime
    reason: str | None


class _Models(_Out):
    models: list[Model]


class Models(_Resource):
    """A page of model versions."""

    embedded: _Models = Field(alias="_embedded")
