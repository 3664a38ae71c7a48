"""Rotation of the keys that sign access tokens: what may be sent, and what is answered."""

from __future__ import annotations

from .schemas import _In, _Resource


class RotateIn(_In):
    """How to rotate: `compromised` drops the present key, and all that it has signed, at once."""

    compromised: bool = False


class Rotated(_Resource):
    """The key that signs from now on, by the id that `/oauth/jwks` has for it."""

    key: str
