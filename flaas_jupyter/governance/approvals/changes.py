"""Changing the policy: a critical action like the others, carried out only on the version that was looked at."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from ...errors import Conflict
from .. import scopes
from ..identity import Caller
from . import founding, fulfilment, policy
from .actions import POLICY_CHANGE, Context, Rule, register
from .people import People, in_use
from .policy import Policy
from .requests import submit
from .tables import Request


def change(
    session: Session,
    document: Mapping[str, Any],
    *,
    requester: Caller,
    now: datetime,
    people: People | None = None,
) -> Request | Policy:
    """Ask for another policy.

    Parameters
    ----------
    session : Session
        A writing one.
    document : mapping
        The whole policy, see `policy.parse`; nobody has to approve actions that are not in it.
    requester : Caller
        Who asks.
    now : datetime
        The present.
    people : People, optional
        Who knows about people; default: the installation's own tables.

    Returns
    -------
    Request or Policy
        What waits for approval; or, in the founding phase or if nothing changes, the policy in force.

    Raises
    ------
    InvalidInput
        ``bad-policy``, ``unknown-action``.
    Conflict
        Code ``policy-unfulfillable``.
    """
    before = policy.current(session)
    rules = policy.complete(policy.parse(document))
    if rules == before.rules:
        return before
    if not founding.is_open(session):
        fulfilment.require(session, people or in_use(), _changed(before.rules, rules))
    body = {"policy": {"actions": {name: rule.to_dict() for name, rule in rules.items()}}, "replaces": before.sha256}
    request = submit(session, POLICY_CHANGE, scope=scopes.PLATFORM, requester=requester, body=body, now=now)
    if request is not None:
        return request
    return policy.put(session, rules, requester.subject, None, now)


def _changed(before: Mapping[str, Rule], after: Mapping[str, Rule]) -> dict[str, Rule]:
    """Return the rules that are new, and always that of the policy itself."""
    return {name: rule for name, rule in after.items() if rule != before.get(name) or name == POLICY_CHANGE}


def _carry_out(context: Context, body: dict[str, Any]) -> dict[str, Any]:
    before = policy.current(context.session)
    if body["replaces"] != before.sha256:
        raise Conflict(
            "The policy has changed since this change was asked for.",
            code="policy-changed",
            hint="Look at the policy in force, and ask anew.",
        )
    rules = policy.complete(policy.parse(body["policy"]))
    fulfilment.require(context.session, context.people, _changed(before.rules, rules))
    after = policy.put(context.session, rules, context.requester.subject, context.request_id, context.now)
    return {"version": after.number, "sha256": after.sha256}


register(POLICY_CHANGE, _carry_out)
