"""Roles in words."""

from __future__ import annotations

from typing import Any


def held(role: dict[str, Any]) -> str:
    """Return a role and where it is held: ``developer (project credit)``."""
    kind, _, name = str(role["scope"]).partition(":")
    return f"{role['role']} ({'whole platform' if kind == 'platform' else f'{kind} {name}'})"
