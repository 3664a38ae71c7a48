"""The standard once more, as naively as it can be written: sets in memory, and no idea of how the real one does it.

A `State` never changes. `State.after` tells what a call makes of it, or every precondition of the call that does not
hold, by the code that the real one gives for it. Separation of duty is looked for in whole states, not in what a call
changes, so a check that the real one leaves out for good reason is made here all the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

Pair = tuple[str, str]
PLATFORM = "platform"


class Refused(Exception):
    """Preconditions that do not hold: `codes`."""

    def __init__(self, *codes: str) -> None:
        super().__init__(*codes)
        self.codes = frozenset(codes)


@dataclass(frozen=True)
class Excluding:
    """An exclusion set: `kind` is ``ssd`` or ``dsd``."""

    kind: str
    name: str
    roles: frozenset[str]
    n: int
    per_scope: bool

    def is_violated(self, held: Iterable[Pair]) -> bool:
        """Whether n different roles of the set are held, if `per_scope` in scopes of which each two overlap."""
        counted = [pair for pair in held if pair[0] in self.roles]
        return any(
            len({role for role, _ in some}) == self.n
            and (not self.per_scope or all(_overlap(one, other) for (_, one), (_, other) in combinations(some, 2)))
            for some in combinations(counted, self.n)
        )


@dataclass(frozen=True)
class Working:
    """A session: whose, and its active roles with their scopes."""

    user: str
    active: frozenset[Pair]


@dataclass(frozen=True)
class State:
    """USERS, ROLES, UA, PA, RH, SSD, DSD and SESSIONS as Python sets."""

    users: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    ua: frozenset[tuple[str, str, str]] = frozenset()
    pa: frozenset[tuple[str, str, str]] = frozenset()
    prms: frozenset[Pair] = frozenset()
    rh: frozenset[Pair] = frozenset()
    exclusions: frozenset[Excluding] = frozenset()
    sessions: frozenset[tuple[str, Working]] = frozenset()

    # ---- what follows from the sets ------------------------------------------------------------------------------

    @cached_property
    def order(self) -> frozenset[Pair]:
        """All (senior, junior): every role itself, and whatever a chain of immediate inheritances leads to."""
        pairs = {(role, role) for role in self.roles}
        while True:
            longer = pairs | {(top, low) for top, middle in pairs for high, low in self.rh if middle == high}
            if longer == pairs:
                return frozenset(pairs)
            pairs = longer

    def authorised(self, user: str) -> frozenset[Pair]:
        """The roles of `user`, inherited ones too, with the scopes where they are held."""
        return frozenset(
            (junior, scope)
            for who, role, scope in self.ua
            if who == user
            for senior, junior in self.order
            if senior == role
        )

    def authorized_roles(self, user: str) -> set[str]:
        return {role for role, _ in self.authorised(user)}

    def authorized_users(self, role: str) -> set[str]:
        return {user for user in self.users if role in self.authorized_roles(user)}

    def permissions(self, roles: Iterable[str]) -> set[Pair]:
        having = set(roles)
        return {
            (operation, object)
            for operation, object, holder in self.pa
            if any((role, holder) in self.order for role in having)
        }

    def permitted(self, session: str, operation: str, object: str, *within: str) -> bool:
        """Whether an active role that counts there gives the permission."""
        counting = {
            role for role, scope in self.session(session).active if not within or scope == PLATFORM or scope in within
        }
        return (operation, object) in self.permissions(counting)

    def session(self, name: str) -> Working:
        return dict(self.sessions)[name]

    def excluding(self, kind: str, name: str) -> Excluding | None:
        return next((each for each in self.exclusions if (each.kind, each.name) == (kind, name)), None)

    @cached_property
    def faults(self) -> frozenset[str]:
        """What no state may have: properties (i) and (ii), and sets of an impossible cardinality."""
        found = set()
        if any(high != low and (low, high) in self.order for high, low in self.order):
            found.add("inheritance-cycle")
        for each in self.exclusions:
            if not 2 <= each.n <= len(each.roles):
                found.add("bad-cardinality")
                continue
            held = (
                map(self.authorised, self.users)
                if each.kind == "ssd"
                else (working.active for _, working in self.sessions)
            )
            if any(map(each.is_violated, held)):
                found.add(f"{each.kind}-violated")
        return frozenset(found)

    # ---- functions -----------------------------------------------------------------------------------------------

    def after(self, function: str, *args: Any) -> State:
        """The state that a call leads to.

        Raises
        ------
        Refused
            With all reasons.
        """
        if function.endswith(("_set", "_member", "_cardinality")):
            kind = "ssd" if "_ssd_" in function else "dsd"
            changed: State = getattr(self, f"_{function.replace(f'_{kind}', '')}")(kind, *args)
        else:
            changed = getattr(self, f"_{function}")(*args)
        if changed.faults:
            raise Refused(*changed.faults)
        return changed

    def _known(self, *roles: str, user: str | None = None) -> None:
        codes = ["unknown-role"] if not set(roles) <= self.roles else []
        if user is not None and user not in self.users:
            codes.append("unknown-user")
        if codes:
            raise Refused(*codes)

    def _own(self, user: str, session: str, *roles: str) -> Working:
        codes = []
        if user not in self.users:
            codes.append("unknown-user")
        if not set(roles) <= self.roles:
            codes.append("unknown-role")
        found = dict(self.sessions).get(session)
        if found is None:
            codes.append("unknown-session")
        elif found.user != user:
            codes.append("not-session-owner")
        if codes or found is None:
            raise Refused(*codes)
        return found

    def _with_session(self, name: str, working: Working) -> State:
        return replace(self, sessions=frozenset({**dict(self.sessions), name: working}.items()))

    def _dropped(self) -> State:
        """Without the active roles that their users are not authorised for (vi)."""
        left = {(name, Working(each.user, each.active & self.authorised(each.user))) for name, each in self.sessions}
        return replace(self, sessions=frozenset(left))

    def _add_user(self, user: str) -> State:
        _unless(user in self.users, "user-exists")
        return replace(self, users=self.users | {user})

    def _delete_user(self, user: str) -> State:
        self._known(user=user)
        return replace(
            self,
            users=self.users - {user},
            ua=frozenset(each for each in self.ua if each[0] != user),
            sessions=frozenset(each for each in self.sessions if each[1].user != user),
        )

    def _add_role(self, role: str) -> State:
        _unless(role in self.roles, "role-exists")
        return replace(self, roles=self.roles | {role})

    def _delete_role(self, role: str) -> State:
        self._known(role)
        return replace(
            self,
            roles=self.roles - {role},
            ua=frozenset(each for each in self.ua if each[1] != role),
            pa=frozenset(each for each in self.pa if each[2] != role),
            rh=frozenset(each for each in self.rh if role not in each),
            exclusions=frozenset(replace(each, roles=each.roles - {role}) for each in self.exclusions),
        )._dropped()

    def _assign_user(self, user: str, role: str, scope: str) -> State:
        self._known(role, user=user)
        _unless((user, role, scope) in self.ua, "already-assigned")
        return replace(self, ua=self.ua | {(user, role, scope)})

    def _deassign_user(self, user: str, role: str, scope: str) -> State:
        self._known(role, user=user)
        _unless((user, role, scope) not in self.ua, "not-assigned")
        left = {
            (name, Working(each.user, each.active - {(role, scope)}) if each.user == user else each)
            for name, each in self.sessions
        }
        return replace(self, ua=self.ua - {(user, role, scope)}, sessions=frozenset(left))._dropped()

    def _grant_permission(self, operation: str, object: str, role: str) -> State:
        self._known(role)
        return replace(self, pa=self.pa | {(operation, object, role)}, prms=self.prms | {(operation, object)})

    def _revoke_permission(self, operation: str, object: str, role: str) -> State:
        self._known(role)
        _unless((operation, object, role) not in self.pa, "not-granted")
        return replace(self, pa=self.pa - {(operation, object, role)})

    def _delete_permission(self, operation: str, object: str) -> State:
        _unless((operation, object) not in self.prms, "unknown-permission")
        left = frozenset(each for each in self.pa if each[:2] != (operation, object))
        return replace(self, pa=left, prms=self.prms - {(operation, object)})

    def _add_inheritance(self, ascendant: str, descendant: str) -> State:
        self._known(ascendant, descendant)
        _unless((ascendant, descendant) in self.rh, "inheritance-exists")
        _unless(ascendant == descendant, "inheritance-cycle")
        return replace(self, rh=self.rh | {(ascendant, descendant)})

    def _delete_inheritance(self, ascendant: str, descendant: str) -> State:
        self._known(ascendant, descendant)
        _unless((ascendant, descendant) not in self.rh, "no-inheritance")
        return replace(self, rh=self.rh - {(ascendant, descendant)})._dropped()

    def _add_ascendant(self, new: str, existing: str) -> State:
        return self._related(new, existing, (new, existing))

    def _add_descendant(self, new: str, existing: str) -> State:
        return self._related(new, existing, (existing, new))

    def _related(self, new: str, existing: str, edge: Pair) -> State:
        codes = ["role-exists"] if new in self.roles else []
        if existing not in self.roles:
            codes.append("unknown-role")
        if codes:
            raise Refused(*codes)
        return replace(self, roles=self.roles | {new}, rh=self.rh | {edge})

    def _create_session(self, name: str, user: str, roles: tuple[str | Pair, ...]) -> State:
        self._known(user=user)
        codes, meant = set(), []
        for each in roles:
            try:
                self._known(each if isinstance(each, str) else each[0])
                meant.append(self._meant(user, each))
            except Refused as refused:
                codes |= refused.codes
        if codes:
            raise Refused(*codes)
        return self._with_session(name, Working(user, frozenset().union(*meant)))

    def _meant(self, user: str, wanted: str | Pair) -> frozenset[Pair]:
        """The pairs that a role by name, or a role in a scope, stands for."""
        found = frozenset(pair for pair in self.authorised(user) if wanted in (pair, pair[0]))
        _unless(not found, "not-authorised")
        return found

    def _delete_session(self, user: str, session: str) -> State:
        found = self._own(user, session)
        return replace(self, sessions=self.sessions - {(session, found)})

    def _add_active_role(self, user: str, session: str, role: str, scope: str | None) -> State:
        found = self._own(user, session, role)
        new = self._meant(user, role if scope is None else (role, scope))
        return self._with_session(session, Working(user, found.active | new))

    def _drop_active_role(self, user: str, session: str, role: str, scope: str | None) -> State:
        found = self._own(user, session, role)
        gone = {pair for pair in found.active if pair[0] == role and scope in (None, pair[1])}
        _unless(not gone, "not-active")
        return self._with_session(session, Working(user, found.active - gone))

    def _create_set(self, kind: str, name: str, roles: tuple[str, ...], n: int, per_scope: bool) -> State:
        codes = [] if set(roles) <= self.roles else ["unknown-role"]
        if self.excluding(kind, name) is not None:
            codes.append(f"{kind}-set-exists")
        if codes:
            raise Refused(*codes)
        return replace(self, exclusions=self.exclusions | {Excluding(kind, name, frozenset(roles), n, per_scope)})

    def _change_set(self, kind: str, name: str, *roles: str) -> Excluding:
        found = self.excluding(kind, name)
        codes = [] if set(roles) <= self.roles else ["unknown-role"]
        if found is None:
            raise Refused(f"unknown-{kind}-set", *codes)
        if codes:
            raise Refused(*codes)
        return found

    def _add_role_member(self, kind: str, name: str, role: str) -> State:
        found = self._change_set(kind, name, role)
        _unless(role in found.roles, "already-member")
        return self._with_set(found, replace(found, roles=found.roles | {role}))

    def _delete_role_member(self, kind: str, name: str, role: str) -> State:
        found = self._change_set(kind, name, role)
        _unless(role not in found.roles, "not-member")
        return self._with_set(found, replace(found, roles=found.roles - {role}))

    def _delete_set(self, kind: str, name: str) -> State:
        found = self._change_set(kind, name)
        return replace(self, exclusions=self.exclusions - {found})

    def _set_set_cardinality(self, kind: str, name: str, n: int) -> State:
        found = self._change_set(kind, name)
        return self._with_set(found, replace(found, n=n))

    def _with_set(self, before: Excluding, now: Excluding) -> State:
        return replace(self, exclusions=self.exclusions - {before} | {now})


def _unless(fault: bool, code: str) -> None:
    if fault:
        raise Refused(code)


def _overlap(one: str, other: str) -> bool:
    """Whether a thing can lie in both: a project is in no other project, and everything on the platform."""
    return one == other or PLATFORM in (one, other)
