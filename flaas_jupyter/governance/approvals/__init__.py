"""Critical actions by several people: nobody is alone in control.

An action of `ACTIONS` is not done when it is asked for. It is stored (`submit`) and waits until as many other persons,
with the roles that the policy names, have signed for it (`decide`); then the server does exactly what was stored, once.
The idea is that of control groups in HashiCorp Vault and OpenBao; what is new here is that approvers sign with keys of
their own, so that an approval can be checked later, and elsewhere, without believing the server.
"""

from . import emergency, founding, fulfilment, hooks, policy, windows
from .actions import ACTIONS, EXECUTORS, Action, Context, Factor, Rule, register
from .bundles import bundle
from .changes import change
from .decisions import assess, decide, execute_due, has_due
from .documents import sign, verified_approvers
from .people import People, use
from .requests import submit, withdraw
from .tables import Request

__all__ = [
    "ACTIONS",
    "EXECUTORS",
    "Action",
    "Context",
    "Factor",
    "People",
    "Request",
    "Rule",
    "assess",
    "bundle",
    "change",
    "decide",
    "emergency",
    "execute_due",
    "founding",
    "fulfilment",
    "has_due",
    "hooks",
    "policy",
    "register",
    "sign",
    "submit",
    "use",
    "verified_approvers",
    "windows",
    "withdraw",
]
