"""Where a role is held: on the whole platform, in an organisation, in a project, or at one node.

A scope is a text, ``platform`` or ``<kind>:<id>``. A thing lies in several scopes at once (a node in its organisation
and in its projects), and whoever holds a role in any of them, or on the platform, holds it there.
"""

from __future__ import annotations

from ..errors import InvalidInput

PLATFORM = "platform"
KINDS = ("organisation", "project", "node")
_LONGEST = 200


def organisation(name: str) -> str:
    """Return the scope of an organisation."""
    return f"organisation:{name}"


def project(name: str) -> str:
    """Return the scope of a project."""
    return f"project:{name}"


def node(node_id: str) -> str:
    """Return the scope of a node."""
    return f"node:{node_id}"


def kind_of(scope: str) -> str:
    """Return ``platform``, ``organisation``, ``project`` or ``node``."""
    return scope.partition(":")[0]


def id_of(scope: str) -> str:
    """Return the id in a scope; empty for the platform."""
    return scope.partition(":")[2]


def parse(text: str) -> str:
    """Return `text` if it is a scope.

    Raises
    ------
    InvalidInput
        Code ``bad-scope``.
    """
    kind, colon, name = text.partition(":")
    sound = text == PLATFORM or (kind in KINDS and bool(colon) and bool(name) and name.isprintable())
    if sound and len(text) <= _LONGEST:
        return text
    raise InvalidInput(
        f"{text[:80]!r} is no scope.",
        code="bad-scope",
        hint="Give platform, organisation:<id>, project:<id> or node:<id>.",
    )


def overlap(one: str, other: str) -> bool:
    """Tell whether two scopes may have a thing in common.

    The platform overlaps all. Two scopes of one kind overlap only if they are the same; two of different kinds may
    (an organisation takes part in a project), and are taken to.
    """
    if PLATFORM in (one, other) or kind_of(one) != kind_of(other):
        return True
    return one == other
