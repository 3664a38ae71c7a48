"""Who somebody is: callers and how they are recognised, and the identity provider that signs people in."""

from .callers import (
    CLOCK_TOLERANCE,
    LONGEST_LIFE,
    Authenticator,
    BearerTokens,
    Caller,
    NodeSignatures,
    Presented,
    recognise,
)

__all__ = [
    "CLOCK_TOLERANCE",
    "LONGEST_LIFE",
    "Authenticator",
    "BearerTokens",
    "Caller",
    "NodeSignatures",
    "Presented",
    "recognise",
]
