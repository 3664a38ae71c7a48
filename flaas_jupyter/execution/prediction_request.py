"""What a developer asks of a trained vertical model, signed: each party checks it before it computes anything.

The label holder hands the request on to the other parties, which believe the developer's signature and not its word.
The document is ``{"body", "signature"}`` over canonical JSON, for the context `PREDICT`.
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..communications.directory import CLOCK_TOLERANCE
from ..communications.identity import Identity, open_document, require_node_id, sign_document
from ..errors import InvalidInput, NotAllowed

PREDICT = "flaas/predict/1"
LIFETIME = 900
"""Seconds within which the parties must have heard of a request."""
PURPOSES = ("evaluate", "predict")
MOST_IDS = 1_000_000

_NAMES = frozenset({"v", "project", "developer", "run", "purpose", "ids", "nonce", "issued", "expires"})


@dataclass(frozen=True)
class PredictionRequest:
    """A request whose signature was verified; whether its signer may ask is for the parties to find out.

    Parameters
    ----------
    project, run : str
        Which model.
    developer : str
        Id (64 hex digits) of the notebook that has signed it.
    purpose : {"evaluate", "predict"}
        Whether metrics are wanted, or scores.
    ids : str or None
        SHA-256 of the ids that are asked about; None for all rows in common.
    nonce : str
        Names this one prediction.
    issued, expires : int
        Unix seconds.
    """

    project: str
    run: str
    developer: str
    purpose: str
    ids: str | None
    nonce: str
    issued: int
    expires: int

    @classmethod
    def parse(cls, document: object) -> PredictionRequest:
        """Verify the signature of a request and return it.

        Raises
        ------
        InvalidInput
            Code ``bad-prediction-request``.
        NotAuthenticated
            Code ``bad-signature``.
        """
        body = document.get("body") if isinstance(document, dict) else None
        if not isinstance(body, dict) or set(body) != _NAMES or body["v"] != 1:
            raise _bad("it is not one of version 1")
        open_document(document, PREDICT, require_node_id(body["developer"]))
        texts = ("project", "run", "nonce", "purpose", *(("ids",) if body["ids"] is not None else ()))
        if not all(isinstance(body[name], str) and 0 < len(body[name]) <= 200 for name in texts):
            raise _bad("a field is no text")
        if body["purpose"] not in PURPOSES or len(body["nonce"]) != 32 or not body["nonce"].isalnum():
            raise _bad("its purpose or nonce is none")
        if type(body["issued"]) is not int or type(body["expires"]) is not int:
            raise _bad("it has no times in seconds")
        if not 0 < body["expires"] - body["issued"] <= LIFETIME:
            raise _bad(f"it is to be in force for longer than {LIFETIME} s, or not at all")
        return cls(**{name: body[name] for name in _NAMES - {"v"}})

    def require_in_force(self, now: float) -> None:
        """Raise `NotAllowed` (code ``prediction-expired``) unless it is in force, clocks being up to 60 s apart."""
        if not self.issued - CLOCK_TOLERANCE <= now < self.expires + CLOCK_TOLERANCE:
            raise NotAllowed(
                f"The prediction was signed for {self.issued} to {self.expires} (Unix seconds); this machine's clock "
                f"says {int(now)}.",
                code="prediction-expired",
                hint="Ask again, or correct this machine's clock.",
            )


def sign(
    identity: Identity, project: str, run: str, purpose: str, ids: Sequence[str] | None, now: float
) -> dict[str, object]:
    """Return a signed request.

    Parameters
    ----------
    identity : Identity
        The developer's.
    project, run : str
    purpose : {"evaluate", "predict"}
    ids : sequence of str, optional
        What is asked about; all rows in common by default.
    now : float
        Unix seconds.
    """
    body = {
        "v": 1,
        "project": project,
        "developer": identity.node_id,
        "run": run,
        "purpose": purpose,
        "ids": None if ids is None else ids_digest(ids),
        "nonce": secrets.token_hex(16),
        "issued": int(now),
        "expires": int(now) + LIFETIME,
    }
    return sign_document(identity, PREDICT, body)


def ids_digest(ids: Sequence[str]) -> str:
    """Return the SHA-256 of ids, in their order, as hex."""
    total = hashlib.sha256()
    for identifier in ids:
        total.update(hashlib.sha256(identifier.encode()).digest())
    return total.hexdigest()


def ids_to_tensors(ids: Sequence[str]) -> dict[str, NDArray[np.uint8] | NDArray[np.int64]]:
    """Return ids as arrays: ``ids`` is their UTF-8 one after another, ``ends`` where each ends."""
    encoded = [identifier.encode() for identifier in ids]
    ends = np.cumsum([len(each) for each in encoded], dtype=np.int64)
    return {"ids": np.frombuffer(b"".join(encoded), np.uint8), "ends": ends}


def ids_from_tensors(tensors: dict[str, NDArray[np.generic]]) -> list[str]:
    """Read what `ids_to_tensors` has written.

    Raises
    ------
    InvalidInput
        Code ``bad-message``: the arrays are not those of ids, or of more than `MOST_IDS`.
    """
    data, ends = tensors.get("ids"), tensors.get("ends")
    wrong = InvalidInput("The ids of the prediction cannot be read.", code="bad-message")
    if data is None or ends is None or data.dtype != np.uint8 or ends.dtype != np.int64 or data.ndim != 1:
        raise wrong
    if ends.ndim != 1:
        raise wrong
    if len(ends) > MOST_IDS:
        raise InvalidInput(
            f"A prediction is of {MOST_IDS:,} ids at most, not of {ends.size:,}.",
            code="too-many-ids",
            hint="Ask in parts.",
        )
    bounds = [0, *ends.tolist()]
    if any(b < a for a, b in itertools.pairwise(bounds)) or bounds[-1] != len(data):
        raise wrong
    raw = data.tobytes()
    try:
        return [raw[a:b].decode() for a, b in itertools.pairwise(bounds)]
    except UnicodeDecodeError as error:
        raise wrong from error


def _bad(why: str) -> InvalidInput:
    return InvalidInput(
        f"The signed prediction request cannot be used: {why}.",
        code="bad-prediction-request",
        hint="Use the same version of flaas_jupyter in the notebook and at the nodes.",
    )
