"""What the identity provider and the caller's own account say and take, for the description of the API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from .schemas import _In

_Hex = r"^[0-9a-f]+$"


class OAuthProblem(BaseModel):
    """A refusal of an OAuth end point (RFC 6749, section 5.2)."""

    error: str
    error_description: str


class TokenAnswer(BaseModel):
    """Tokens (RFC 6749, section 5.1)."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str
    refresh_token: str | None = None
    id_token: str | None = None


class DeviceAuthorization(BaseModel):
    """What a device shows and polls with (RFC 8628, section 3.2)."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class Introspection(BaseModel):
    """What a token says (RFC 7662, section 2.2)."""

    model_config = ConfigDict(extra="allow")

    active: bool


class UserInfo(BaseModel):
    """Who has signed in (OpenID Connect Core, section 5.3)."""

    sub: str
    name: str | None = None
    email: str | None = None


class Metadata(BaseModel):
    """The identity provider's metadata (RFC 8414)."""

    model_config = ConfigDict(extra="allow")

    issuer: str


class Jwk(BaseModel):
    """A public key (RFC 7517, RFC 8037)."""

    kty: str
    crv: str
    x: str
    kid: str
    use: str
    alg: str


class JwkSet(BaseModel):
    """The public keys that tokens are verified with."""

    keys: list[Jwk]


class PasswordIn(_In):
    """A new password, and the one that it replaces."""

    old: Annotated[str, Field(max_length=1024)]
    new: Annotated[str, Field(max_length=1024)]


class ApprovalKeyIn(_In):
    """The public half of the key that approvals are signed with, and proofs of possession."""

    key: Annotated[str, Field(min_length=64, max_length=64, pattern=_Hex)]
    proof: Annotated[str, Field(min_length=128, max_length=128, pattern=_Hex)]
    previous_proof: Annotated[str | None, Field(min_length=128, max_length=128, pattern=_Hex)] = None


class OwnSession(BaseModel):
    """A sign-in of the caller."""

    id: str
    client: str
    scope: str
    current: bool
    signed_in: datetime
    last_used: datetime
    expires: datetime
    links: Annotated[dict[str, Any], Field(alias="_links")]


class _EmbeddedSessions(BaseModel):
    sessions: list[OwnSession]


class OwnSessions(BaseModel):
    """The caller's sign-ins that have not ended, the newest first."""

    embedded: Annotated[_EmbeddedSessions, Field(alias="_embedded")]
    links: Annotated[dict[str, Any], Field(alias="_links")]
