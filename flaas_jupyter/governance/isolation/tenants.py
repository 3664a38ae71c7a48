"""For whom a session of the data base works: an organisation, one of its nodes, or the platform itself."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Tenant:
    """Whose rows a session sees and changes.

    Parameters
    ----------
    organisation : str, optional
        Id of the organisation; without one nothing is seen but `projects`.
    projects : frozenset of str
        Projects that are seen beside those that the organisation is in: roles held in a project by an outsider.
    node : str, optional
        Id of a node of `organisation`; it sees the projects that it is in itself.
    system : bool
        Everything: background work, and people whose role is held on the platform. Nobody else is given this.
    """

    organisation: str | None
    projects: frozenset[str] = field(default_factory=frozenset)
    node: str | None = None
    system: bool = False


SYSTEM = Tenant(None, system=True)
"""The platform itself."""
