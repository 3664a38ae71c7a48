"""Role-based access control: ANSI INCITS 359-2004 (R2012) to the fourth level of Sandhu, Ferraiolo and Kuhn (2000).

Core, general hierarchies, static and dynamic separation of duty, sessions with active roles, and review from both
sides, in tables of its own (`tables`). `Rbac` is the whole standard on a data base of one's choice; `core`,
`hierarchy`, `separation`, `sessions` and `review` hold the same functions for use within a larger transaction.

What the standard presumes or leaves open is decided so:

* OPS and OBS are all names, and PRMS is every pair of them, which is how the standard defines it. Granting a pair that
  is not on record puts it there, and access by one that is not is denied, not an error.
* Deleting a user ends its sessions. Taking a role from a user takes it out of the user's open sessions at once, and
  with it whatever the user is no more authorised for; so does taking an edge out of the hierarchy, or deleting a role.
* A deleted role leaves its exclusion sets; if one would be left with fewer roles than its cardinality, the role stays.
* A session may activate any role that its user is authorised for, through the hierarchy too.
* Every assignment holds in a scope (`governance.scopes`), the whole platform unless another one is given.
"""

from .errors import RbacError
from .facade import Rbac

__all__ = ["Rbac", "RbacError"]
