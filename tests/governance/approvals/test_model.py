"""A random life of requests beside a naive model: done exactly if the factors are filled by distinct others, once."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from flaas_jupyter.errors import FlaasError
from flaas_jupyter.governance import approvals

from .world import PROJECT, World, marking, prepare

PEOPLE = ("dora", "ann", "bob", "owen", "both", "pam", "audrey", "robot")
ROLES = {"ann": "approver", "bob": "approver", "owen": "data-owner", "pam": "approver"}
WEEK = 7 * 86_400


class Life(RuleBasedStateMachine):
    """Requests for ``model.release``: one approver and one data owner, other than who has asked."""

    requests = Bundle("requests")

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.marking = marking()
        self.marking.__enter__()
        self.database = prepare(f"sqlite:///{Path(self.folder.name) / 'life.db'}")
        self.world = World(self.database)
        self.world.found()
        self.elapsed = 0
        self.model: dict[str, dict] = {}

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.close()
            self.marking.__exit__(None, None, None)
            self.folder.cleanup()

    # ---- the naive model -------------------------------------------------------------------------------------

    def holds(self, person: str, role: str) -> bool:
        human = self.world.people.humans[person]
        return human.active and human.kind == "person" and any(held == role for held, _ in human.roles)

    def satisfied(self, kept: dict) -> bool:
        pairs = itertools.permutations(kept["approved"], 2)
        return any(
            self.holds(one, "approver")
            and "approver" in kept["approved"][one]
            and self.holds(other, "data-owner")
            and "data-owner" in kept["approved"][other]
            for one, other in pairs
        )

    def counts(self, kept: dict, person: str) -> bool:
        return any(self.holds(person, role) for role in kept["approved"].get(person, ()))

    def settle(self, kept: dict) -> None:
        if kept["state"] == "pending" and self.satisfied(kept):
            kept["state"] = "executed"

    # ---- what happens ----------------------------------------------------------------------------------------

    @rule(target=requests, by=st.sampled_from(("dora", "robot")), model=st.integers(0, 2))
    def ask(self, by: str, model: int):
        request = self.world.ask(by=by, body={"model": model})
        if request in self.model:
            return multiple()
        self.model[request] = {"by": by, "state": "pending", "approved": {}, "until": self.elapsed + WEEK}
        return request

    @rule(request=requests, by=st.sampled_from(PEOPLE), decision=st.sampled_from(("approve", "approve", "deny")))
    def decide(self, request: str, by: str, decision: str) -> None:
        kept = self.model[request]
        roles = {role for role in ("approver", "data-owner") if self.holds(by, role)}
        open_ = kept["state"] == "pending" and self.elapsed < kept["until"]
        allowed = bool(roles) and by != kept["by"] and open_
        if decision == "approve" and self.counts(kept, by):
            allowed = False
        try:
            state = self.world.decide(request, by, decision)
        except FlaasError:
            # The very same decision at the same moment is answered again, and changes nothing.
            assert not allowed
            return
        if allowed and decision == "deny":
            kept["state"] = "denied"
        elif allowed:
            kept["approved"][by] = roles
            self.settle(kept)
        assert state == kept["state"]

    @rule(request=requests, by=st.sampled_from(("dora", "robot", "ann")))
    def withdraw(self, request: str, by: str) -> None:
        kept = self.model[request]
        allowed = by == kept["by"] and kept["state"] == "pending" and self.elapsed < kept["until"]
        try:
            with self.world.database.writing() as session:
                approvals.withdraw(session, request, self.world.people.caller(by), self.world.now)
        except FlaasError:
            assert not allowed
            return
        assert allowed
        kept["state"] = "withdrawn"

    @rule(person=st.sampled_from(sorted(ROLES)))
    def lose_role(self, person: str) -> None:
        self.world.people.take(person, ROLES[person])

    @rule(person=st.sampled_from(sorted(ROLES)))
    def get_role(self, person: str) -> None:
        self.world.people.humans[person].roles.add((ROLES[person], PROJECT))

    @rule(person=st.sampled_from(("ann", "owen", "both")), active=st.booleans())
    def leave_or_return(self, person: str, active: bool) -> None:
        self.world.people.humans[person].active = active

    @rule(seconds=st.sampled_from((1, 3600, 4 * 86_400)))
    def wait(self, seconds: int) -> None:
        self.world.later(seconds=seconds)
        self.elapsed += seconds
        self.world.execute_due()
        for kept in self.model.values():
            if kept["state"] == "pending" and self.elapsed >= kept["until"]:
                kept["state"] = "expired"

    # ---- what always holds -----------------------------------------------------------------------------------

    @invariant()
    def the_same_was_done_and_nothing_twice(self) -> None:
        if not hasattr(self, "world"):
            return
        done = [request for request, _ in self.world.marks]
        assert done == sorted(request for request, kept in self.model.items() if kept["state"] == "executed")

    @invariant()
    def the_states_agree(self) -> None:
        for request, kept in getattr(self, "model", {}).items():
            assert self.world.look(request).state == kept["state"]


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=8, stateful_step_count=25, deadline=None)
