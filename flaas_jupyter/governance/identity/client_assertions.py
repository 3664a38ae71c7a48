"""A node proves who it is to the token end point with a JWT that its own key has signed (RFC 7523, section 3)."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from .oauth_errors import OAuthError

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LONGEST_LIFE = 60
CLOCK_TOLERANCE = 60
_ALGORITHMS = ("EdDSA", "Ed25519")
_LONGEST = 4096


def verify(
    assertion: str, audiences: tuple[str, ...], clock: Callable[[], float] = time.time
) -> tuple[str, str, datetime]:
    """Return the node that signed an assertion, its ``jti`` and when it expires.

    Parameters
    ----------
    assertion : str
        ``iss`` and ``sub`` are the node id, ``aud`` one of `audiences`, ``exp`` at most 60 s after ``iat``.
    audiences : tuple of str
        The token end point and the issuer.
    clock : callable
        Unix seconds.

    Raises
    ------
    OAuthError
        ``invalid_client``. Whether the ``jti`` was seen before is for the caller to find out.
    """
    node = ""

    def key(_: Any) -> OKPKey:
        nonlocal node
        # The key is the one that the claim names; what it has not signed is refused below.
        claimed = assertion.split(".")[1]
        node = str(json.loads(base64.urlsafe_b64decode(claimed + "=" * (-len(claimed) % 4))).get("iss"))
        raw = bytes.fromhex(node)
        if len(raw) != 32 or raw.hex() != node:
            raise ValueError("iss")
        x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": x})

    if len(assertion) > _LONGEST:
        raise refused("it is too long")
    try:
        claims = dict(jwt.decode(assertion, key, algorithms=list(_ALGORITHMS)).claims)
    except (JoseError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise refused("it is no JWT signed with the key that its iss names") from error
    if claims.get("sub") != node:
        raise refused("iss and sub are the node id")
    named = claims.get("aud")
    if not (isinstance(named, str) and named in audiences) and not (
        isinstance(named, list) and len(named) == 1 and named[0] in audiences
    ):
        raise refused(f"aud is {audiences[0]}")
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= 100 or not jti.isprintable():
        raise refused("jti has 1 to 100 characters")
    issued, expires, now = claims.get("iat"), claims.get("exp"), clock()
    if type(issued) is not int or type(expires) is not int or not issued <= expires <= issued + LONGEST_LIFE:
        raise refused(f"iat and exp are Unix seconds, at most {LONGEST_LIFE} s apart")
    if abs(issued - now) > CLOCK_TOLERANCE or expires < int(now):
        raise refused("it has expired, or the clocks differ by more than a minute")
    return node, jti, datetime.fromtimestamp(expires, UTC)


def refused(why: str) -> OAuthError:
    """Return the refusal of an assertion."""
    return OAuthError("invalid_client", f"The client assertion was not accepted: {why}.")
