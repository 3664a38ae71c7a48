"""What may be sent about sealed uploads, and is answered: not a byte of a file, nor a name of a column."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from .schemas import DatasetName, Error, Key, Positive, _In, _Out, _Resource

UploadId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Outcome = Literal["registered", "refused", "aborted"]


class UploadIn(_In):
    """An upload to open.

    `id` was drawn by whoever seals the file, since the seal is bound to it; `digest` is the seal's, `submitter` the
    mesh id of whoever hands the file over, `size` the file's in bytes.
    """

    id: UploadId
    node: Key
    dataset: DatasetName
    size: Positive
    digest: Key
    submitter: Key


class UploadOutcome(_In):
    """How an upload has ended, as its node has seen it."""

    outcome: Outcome
    reason: Error | None = None


class Upload(_Resource):
    """An upload."""

    id: str
    project: str
    node: str
    node_name: str
    dataset: str
    size: Positive
    digest: str
    submitter: str
    state: Literal["open", "registered", "refused", "aborted", "expired"]
    created_by: str
    organisation: str
    created: AwareDatetime
    expires: AwareDatetime
    closed: AwareDatetime | None
    reason: Error | None


class _Uploads(_Out):
    uploads: list[Upload]


class Uploads(_Resource):
    """A page of uploads."""

    embedded: _Uploads = Field(alias="_embedded")


class SignedBody(_Out):
    """A document as it was signed."""

    body: dict[str, Any]
    signature: str


class UploadKey(_Resource):
    """With which key files for a node are sealed, and by what it is believed: see docs/protocols/upload.md."""

    node: str
    name: str
    organisation: str
    project: str
    domain_key: str
    statement: SignedBody
    membership: SignedBody | None
    online: bool
    quarantined: AwareDatetime | None
