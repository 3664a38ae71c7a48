"""Deciding about critical actions: signed here, with a key that never leaves this server.

The browser says which text the person has read, by its SHA-256. What is signed is what the API has stored now: both
have to be the same, and the API's own digest, too, or nothing is signed. So an API that shows one text and stores
another gets no signature.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import re
import secrets
import stat
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .problems import Problem
from .sealed import create_private

CONTEXT = "flaas/approval/1"
APPROVER = "flaas/approver/1"
"""Context of the signature that proves to have the key."""
DECISIONS = ("approve", "deny")
_SEED_BYTES = 32
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ApprovalKey:
    """The Ed25519 key (RFC 8032) that this server's user decides with, in ``FLAAS_HOME/approval.key``."""

    def __init__(self, home: Path) -> None:
        self._path = home / "approval.key"

    @property
    def public(self) -> str | None:
        """The public half in hex; None while there is no key."""
        return self._load().public_key().public_bytes_raw().hex() if self._path.exists() else None

    def create(self) -> str:
        """Make the key unless it is there; return the public half in hex."""
        if not self._path.exists():
            create_private(self._path, secrets.token_bytes(_SEED_BYTES))
        return self._load().public_key().public_bytes_raw().hex()

    def proof(self, subject: str) -> str:
        """Return the signature, in hex, that proves to have the key when `subject` registers it."""
        body = {"subject": subject, "key": self.create()}
        return self._load().sign(APPROVER.encode() + b"\x00" + canonical(body)).hex()

    def sign(self, request: str, sha256: str, decision: str, time: int) -> str:
        """Return the signature of a decision, in hex.

        Raises
        ------
        Problem
            409 ``no-approval-key``: there is none yet.
        """
        if not self._path.exists():
            raise Problem(
                409,
                "no-approval-key",
                "You have no key to decide with",
                f"There is no {self._path.name} in this server's FLAAS_HOME.",
                hint="Make one under Access, Approvals, or with `flaas approvals key`.",
                kind="Conflict",
            )
        body = {"request": request, "sha256": sha256, "decision": decision, "time": time}
        return self._load().sign(CONTEXT.encode() + b"\x00" + canonical(body)).hex()

    def _load(self) -> Ed25519PrivateKey:
        try:
            mode = stat.S_IMODE(self._path.lstat().st_mode)
            seed = self._path.read_bytes()
        except OSError as error:
            raise _bad_key(self._path, f"cannot be read ({error.strerror})") from error
        if mode & 0o077:
            raise _bad_key(self._path, "can be read by others than its owner")
        # The `flaas` command writes hex digits, this server bytes; each reads both.
        if len(seed) != _SEED_BYTES:
            with contextlib.suppress(ValueError):
                seed = bytes.fromhex(seed.decode("ascii"))
        if len(seed) != _SEED_BYTES:
            raise _bad_key(self._path, f"has neither {2 * _SEED_BYTES} hex digits nor {_SEED_BYTES} bytes")
        return Ed25519PrivateKey.from_private_bytes(seed)


def canonical(body: dict[str, Any]) -> bytes:
    """Return the one byte string that is signed for `body`: sorted keys, no spaces, UTF-8."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def decision_in(body: bytes) -> tuple[str, str]:
    """Return decision and digest of what the person has read.

    Raises
    ------
    Problem
        422 ``bad-decision``.
    """
    try:
        form = json.loads(body)
    except ValueError:
        form = None
    if not isinstance(form, dict) or form.get("decision") not in DECISIONS or not _is_digest(form.get("sha256")):
        raise Problem(
            422,
            "bad-decision",
            "Not a decision",
            'A decision is {"decision": "approve" or "deny", "sha256": digest of the text that was read}.',
            kind="InvalidInput",
        )
    return form["decision"], form["sha256"]


def check_text(approval: dict[str, Any], seen: str) -> str:
    """Return the digest of the request's stored text, which has to be what the person has `seen`.

    Raises
    ------
    Problem
        502 ``request-inconsistent``: the API's own digest is another. 409 ``request-changed``: the person has read
        something else.
    """
    text, told = approval.get("body"), approval.get("sha256")
    digest = hashlib.sha256(text.encode()).hexdigest() if isinstance(text, str) else ""
    if not digest or not isinstance(told, str) or not hmac.compare_digest(digest.encode(), told.encode()):
        raise Problem(
            502,
            "request-inconsistent",
            "The request contradicts itself",
            "Its text and its SHA-256 do not belong together. Nothing was signed.",
            hint="Tell whoever runs the coordination API: somebody may have changed its data base.",
            kind="Unreachable",
        )
    if not hmac.compare_digest(digest.encode(), seen.encode()):
        raise Problem(
            409,
            "request-changed",
            "The request is not the one that you have read",
            "The text that the API has now differs from what was shown. Nothing was signed.",
            hint="Load the request again and read it.",
            kind="Conflict",
        )
    return digest


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _bad_key(path: Path, why: str) -> Problem:
    return Problem(
        500,
        "bad-approval-key",
        "The key to decide with cannot be used",
        f"{path.name} in FLAAS_HOME {why}.",
        hint="Restore it, with mode 0600, or remove it and register a new one.",
    )
