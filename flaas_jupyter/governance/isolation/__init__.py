"""Isolation: every row belongs to an organisation, to several through a project, or to the platform.

`ownership` says whose the rows of each table are. Two walls are made from it that do not know of each other: the
sessions of `scoping` add the condition to whatever is asked or written, on SQLite and PostgreSQL; PostgreSQL holds to
the `policies` besides. Neither takes the place of the services' own questions whether a caller may see a thing: they
stand behind one that was forgotten.
"""

from .ownership import OWNERSHIP
from .scoping import ScopedSession, across, tenant_of
from .tenants import SYSTEM, Tenant

__all__ = ["OWNERSHIP", "SYSTEM", "ScopedSession", "Tenant", "across", "tenant_of"]
