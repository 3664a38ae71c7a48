"""A request to take a sealed file, signed with the sender's own key for one node (``flaas/upload/1``).

Nodes believe neither the coordination API nor the Jupyter server that the file comes through: they hold the request
against what the API tells and against what was sealed (docs/protocols/upload.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..communications.directory import CLOCK_TOLERANCE
from ..communications.identity import Identity, open_document, require_node_id, sign_document
from ..errors import InvalidInput, NotAllowed
from ..protocols.upload import Header

UPLOAD = "flaas/upload/1"
LIFETIME = 7 * 86400
"""Seconds for which a request is good, as the upload is at the coordination API."""
_NAMES = frozenset(
    {"v", "upload", "project", "node", "dataset", "size", "chunk_size", "seal", "sender", "issued", "expires"}
)
_LONGEST = 200


@dataclass(frozen=True)
class UploadRequest:
    """A request whose signature was verified; whether its signer may send is for the node to find out.

    Parameters
    ----------
    project, dataset : str
        Where the file is to be registered, and as what.
    header : Header
        Id, node, size and chunk size.
    seal : str
        SHA-256 of header and envelope, in hex.
    sender : str
        Id (64 hex digits) of who has signed.
    issued, expires : int
        Unix seconds.
    document : dict
        As it was signed.
    """

    project: str
    dataset: str
    header: Header
    seal: str
    sender: str
    issued: int
    expires: int
    document: dict[str, Any]

    @property
    def upload(self) -> str:
        """The upload's id."""
        return self.header.upload

    @classmethod
    def parse(cls, document: object) -> UploadRequest:
        """Verify the signature of a request and return it.

        Raises
        ------
        InvalidInput
            Code ``bad-upload`` or ``bad-document``.
        NotAuthenticated
            Code ``bad-signature``.
        """
        body = document.get("body") if isinstance(document, dict) else None
        if not isinstance(document, dict) or not isinstance(body, dict) or set(body) != _NAMES or body["v"] != 1:
            raise _bad("it is not a request of version 1")
        open_document(document, UPLOAD, require_node_id(body["sender"]))
        for name in ("project", "dataset", "seal"):
            if not isinstance(body[name], str) or not 0 < len(body[name]) <= _LONGEST:
                raise _bad(f"its {name} is no text")
        issued, expires = body["issued"], body["expires"]
        if type(issued) is not int or type(expires) is not int or not 0 < expires - issued <= LIFETIME:
            raise _bad(f"it is to be in force for longer than {LIFETIME} s, or not at all")
        header = Header(body["upload"], body["node"], body["size"], body["chunk_size"])
        return cls(body["project"], body["dataset"], header, body["seal"], body["sender"], issued, expires, document)

    def is_same(self, other: UploadRequest) -> bool:
        """Tell whether another request is for the same file, of the same sender, for the same place."""
        own = (self.header, self.seal, self.sender, self.project, self.dataset)
        return own == (other.header, other.seal, other.sender, other.project, other.dataset)

    def require_in_force(self, now: float) -> None:
        """Check that the request is good at `now` (Unix seconds), clocks being up to 60 s apart.

        Raises
        ------
        NotAllowed
            Code ``upload-expired``.
        """
        if not self.issued - CLOCK_TOLERANCE <= now < self.expires + CLOCK_TOLERANCE:
            raise NotAllowed(
                f"The upload was signed for {self.issued} to {self.expires} (Unix seconds); "
                f"this machine's clock says {int(now)}.",
                code="upload-expired",
                hint="Start the upload anew, or correct this machine's clock.",
            )

    def require_same(self, record: Mapping[str, Any]) -> None:
        """Check that the coordination API tells of the upload as it was signed, and that it is open.

        Raises
        ------
        NotAllowed
            Codes ``upload-altered``, which names what differs, and ``upload-closed``.
        """
        signed = {
            "id": self.upload,
            "project": self.project,
            "node": self.header.node,
            "dataset": self.dataset,
            "size": self.header.size,
            "digest": self.seal,
            "submitter": self.sender,
        }
        for name, value in signed.items():
            if record.get(name) != value:
                raise NotAllowed(
                    f"The coordination API tells of upload {self.upload} with another {name} than was signed.",
                    code="upload-altered",
                    hint="Start the upload anew. If it happens again, the API or the Jupyter server is not to be "
                    "trusted.",
                    field=name,
                )
        if record.get("state") != "open":
            raise NotAllowed(
                f"Upload {self.upload} is over: it is {record.get('state')}.",
                code="upload-closed",
                hint="Start anew: choose the file again.",
            )


def sign(identity: Identity, record: Mapping[str, Any], *, header: Header, seal: bytes, now: float) -> dict[str, Any]:
    """Return the signed document for an upload that the coordination API has opened.

    Parameters
    ----------
    identity : Identity
        The sender's.
    record : mapping
        The upload, as the API tells of it.
    header : Header
    seal : bytes
        `protocols.upload.seal_digest`.
    now : float
        Unix seconds.
    """
    issued = int(now)
    until = int(datetime.fromisoformat(str(record["expires"])).timestamp())
    body = {
        "v": 1,
        "upload": header.upload,
        "project": record["project"],
        "node": header.node,
        "dataset": record["dataset"],
        "size": header.size,
        "chunk_size": header.chunk_size,
        "seal": seal.hex(),
        "sender": identity.node_id,
        "issued": issued,
        "expires": max(issued + 1, min(issued + LIFETIME, until)),
    }
    return sign_document(identity, UPLOAD, body)


def _bad(why: str) -> InvalidInput:
    return InvalidInput(
        f"The request for an upload cannot be used: {why}.",
        code="bad-upload",
        hint="Use the same version of flaas_jupyter at the Jupyter server and at the node.",
    )
