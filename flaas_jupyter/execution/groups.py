"""A round in group mode, as the aggregator leads it: groups drawn by all, a secure sum each, the rule on their means.

Seven steps: begin (with commitments), draw (everybody's seed), groups (fresh keys, within each group), and then those
of one secure sum: share, update, survivors, unmask. The groups go through them together. A group that loses too many is
void; before anything is opened, and again after, there must be as many groups as the rule needs. See
`flaas_jupyter.protocols.groups` for the draw and what it is worth.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..communications.wire import Message
from ..errors import Aborted, FlaasError, InvalidInput
from ..protocols.groups import Assignment, Commitment, check_commitments, draw, group_settings, wrong_seeds
from ..protocols.secure_aggregation import Advertisement, OpenedSum, Reveal, RoundSettings, SecureSum, decode_sum
from .round_steps import Outcome, RoundSteps, advertisement_of, agreed_metric_names, reveals_of


@dataclass
class _Group:
    """One group's secure sum under way.

    Parameters
    ----------
    settings : RoundSettings
        Of its members only.
    total : SecureSum
    """

    settings: RoundSettings
    total: SecureSum
    inboxes: dict[str, Any] = field(default_factory=dict)
    opened: OpenedSum | None = None
    void: FlaasError | None = None


class GroupRound(RoundSteps):
    """A round in group mode; see `RoundSteps` for what it is made from."""

    async def lead(self, members: list[str]) -> Outcome:
        """Lead the round with `members`.

        Raises
        ------
        Aborted
            Too few members, or groups, are left; nothing was revealed, unless groups were lost while they opened.
        """
        begin = self._begin(members)
        settings = self._settings(begin)
        assignment, seeds = await self._draw(settings, begin, members)
        groups = [
            _Group(own, SecureSum(own, verify=self._verify))
            for own in (group_settings(settings, assignment, place) for place in range(len(assignment.groups)))
        ]
        await self._exchange_keys(groups, assignment, seeds)
        masked = await self._masked(groups)
        names = agreed_metric_names(masked.values())
        self._require_groups(groups, "sent masked updates. No update is revealed")
        await self._confirm_and_open(groups, names)
        self._require_groups(groups, "could be opened")
        return self._combined(groups)

    # ---- the draw ---------------------------------------------------------------------------------------------------

    async def _draw(
        self, settings: RoundSettings, begin: Message, members: list[str]
    ) -> tuple[Assignment, dict[str, bytes]]:
        """Have all members draw the groups; return them, and the seeds that they come of."""
        size = int(self._run["group_size"])
        since = time.perf_counter()
        begun = await self._step(members, "begin", lambda _: begin)
        since = self._figures.phase("begin", since)
        commitments = self._parsed("begin", begun, lambda reply: Commitment.from_dict(reply.body["commitment"]))
        self._take_what_is_sound(
            lambda entries: check_commitments(settings, size, entries, self._verify), commitments, "begin"
        )
        self._require_enough(len(commitments) // size, "are there. No update is revealed")
        told = {node: commitment.to_dict() for node, commitment in commitments.items()}
        ask = self._message("round/draw", commitments=told)
        revealed = await self._step(commitments, "draw", lambda _: ask)
        seeds = self._parsed("draw", revealed, lambda reply: reply.body["seed"])
        for node in wrong_seeds(settings, commitments, seeds):  # all at once: a round has few draws
            del seeds[node]
            wrong = InvalidInput("It revealed another seed than the one it had committed itself to.")
            self._figures.drop(node, "draw", wrong)
        assignment = draw(settings, size, commitments, seeds)
        self._figures.phase("draw", since)
        self._figures.groups = {"size": size, "formed": len(assignment.groups), "opened": 0}
        return assignment, seeds

    # ---- one secure sum of each group -------------------------------------------------------------------------------

    async def _exchange_keys(self, groups: list[_Group], assignment: Assignment, seeds: Mapping[str, bytes]) -> None:
        since = time.perf_counter()
        told = self._message("round/groups", seeds=dict(seeds))
        keys = self._parsed("groups", await self._step(assignment.place, "groups", lambda _: told), advertisement_of)
        advertised: dict[str, dict[str, Advertisement]] = {}
        for place, group in self._living(groups):
            entries = {node: key for node, key in keys.items() if assignment.place[node] == place}
            with self._or_void(group, "groups"):
                self._take_what_is_sound(group.total.advertised, entries, "groups")
                advertised |= dict.fromkeys(entries, entries)
        since = self._figures.phase("groups", since)

        def share(node: str) -> Message:
            return self._message("round/share", advertisements={n: a.to_dict() for n, a in advertised[node].items()})

        sealed = self._parsed("share", await self._step(advertised, "share", share), lambda reply: reply.body["shares"])
        for place, group in self._living(groups):
            shares = {node: blobs for node, blobs in sealed.items() if assignment.place[node] == place}
            with self._or_void(group, "share"):
                group.inboxes = self._take_what_is_sound(group.total.shared, shares, "share")
        self._figures.phase("share", since)

    async def _masked(self, groups: list[_Group]) -> dict[str, Message]:
        since = time.perf_counter()
        group_of = {node: group for _, group in self._living(groups) for node in group.inboxes}
        masked = await self._step(
            group_of,
            "update",
            lambda node: self._message("round/update", inbox=group_of[node].inboxes[node]),
            lambda node, reply: group_of[node].total.add(node, self._masked_of(reply, group_of[node].settings)),
        )
        if masked:
            self._training_phase(masked, since)
        for _, group in self._living(groups):
            with self._or_void(group, "update"):
                _ = group.total.survivors  # closes the sum, and counts
        return masked

    async def _confirm_and_open(self, groups: list[_Group], names: list[str]) -> None:
        since = time.perf_counter()
        group_of = {node: group for _, group in self._living(groups) for node in group.total.survivors}
        signed = await self._step(
            group_of,
            "survivors",
            lambda node: self._message("round/survivors", survivors=list(group_of[node].total.survivors)),
        )
        given = self._parsed("survivors", signed, lambda reply: reply.body["signature"])
        signatures = {
            place: {node: given[node] for node in group.total.survivors if node in given}
            for place, group in self._living(groups)
        }
        for place, group in self._living(groups):
            with self._or_void(group, "survivors"):
                group.total.confirmed(signatures[place])
        # Nobody is asked to open a group of too few: what one group opens cannot be taken back for another try.
        self._require_groups(groups, "signed who is left of them. No update is revealed")
        since = self._figures.phase("survivors", since)
        confirmed = {node: place for place, _ in self._living(groups) for node in signatures[place]}
        opened = await self._step(
            confirmed, "unmask", lambda node: self._message("round/unmask", signatures=signatures[confirmed[node]])
        )
        reveals = self._parsed("unmask", opened, reveals_of)
        since = self._figures.phase("unmask", since)
        for place, group in self._living(groups):
            shares = {node: given for node, given in reveals.items() if confirmed[node] == place}
            with self._or_void(group, "unmask"):
                group.opened = await asyncio.to_thread(self._open, group, shares, names)
        self._figures.phase("aggregate", since)

    def _open(self, group: _Group, reveals: Mapping[str, Mapping[str, Reveal]], names: list[str]) -> OpenedSum:
        vector = group.total.open(reveals)
        survivors = group.total.survivors
        opened = decode_sum(
            vector, len(survivors), names, group.settings, self._values, self._terms.maximum_examples
        ).at(self._coordinates, self._start.size)
        described = sum(self._terms.rows[node] for node in survivors)
        if described != opened.examples:
            raise InvalidInput(
                f"The group trained on {opened.examples} rows together; their descriptions say {described}.",
                code="wrong-row-count",
                hint="A data set changed after it was described: restart that node so that it describes it again.",
            )
        return opened

    def _combined(self, groups: list[_Group]) -> Outcome:
        since = time.perf_counter()
        left = [(place, group, group.opened) for place, group in self._living(groups) if group.opened is not None]
        assert self._figures.groups is not None  # since the draw
        self._figures.groups["opened"] = len(left)
        self._figures.clipped = sum(opened.clipped for _, _, opened in left)
        self._figures.error_bound = max(opened.error_bound for _, _, opened in left)
        self._figures.peak = max(opened.peak for _, _, opened in left)
        examples = {node: self._terms.rows[node] for _, group, _ in left for node in group.total.survivors}
        combined = self._combiner.of_groups(
            self._start,
            {place: opened.mean for place, _, opened in left},
            {place: group.total.survivors for place, group, _ in left},
            examples,
            self._state,
        )
        total = sum(opened.examples for _, _, opened in left)
        names = left[0][2].metrics
        metrics = {name: sum(o.metrics[name] * o.examples for _, _, o in left) / total for name in names}
        self._figures.phase("aggregate", since)
        return Outcome(combined, examples, metrics)

    # ---- groups that are left ---------------------------------------------------------------------------------------

    def _living(self, groups: Iterable[_Group]) -> list[tuple[int, _Group]]:
        return [(place, group) for place, group in enumerate(groups) if group.void is None]

    def _or_void(self, group: _Group, phase: str) -> _OrVoid:
        """Within this, an error makes the group void rather than end the round."""
        return _OrVoid(group, phase, self._figures.drop_if_there)

    def _require_groups(self, groups: list[_Group], did: str) -> None:
        self._require_enough(len(self._living(groups)), did, len(groups))

    def _require_enough(self, there: int, did: str, formed: int | None = None) -> None:
        needed = self._combiner.least_groups
        if there < needed:
            raise Aborted(
                f"Only {there}{'' if formed is None else f' of {formed}'} groups {did}; the aggregation rule "
                f"{self._run['aggregation']} needs {needed}.",
                code="secagg-too-few-groups",
                hint="Try the round again when more nodes are there.",
                needed=needed,
                there=there,
            )


@dataclass
class _OrVoid:
    """A context in which a group's errors stay the group's."""

    group: _Group
    phase: str
    drop: Callable[[str, str, FlaasError], None]

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if not isinstance(error, FlaasError):
            return False
        self.group.void = error
        reason = Aborted(f"Its group of {len(self.group.settings.members)} is void: {error.message}", code=error.code)
        for node in self.group.settings.members:
            self.drop(node, self.phase, reason)
        return True
