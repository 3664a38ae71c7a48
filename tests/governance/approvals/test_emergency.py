"""Breaking the glass: two people open one action to one person for an hour, and everybody learns of it."""

from __future__ import annotations

import pytest

from flaas_jupyter.errors import Conflict, FlaasError, InvalidInput, NotAllowed
from flaas_jupyter.governance import approvals
from flaas_jupyter.governance.approvals import emergency, hooks, windows
from flaas_jupyter.governance.approvals.documents import digest

from .world import PROJECT, World


@pytest.fixture
def alarms():
    """What everybody is told at once."""
    told = []
    forget = hooks.observe(lambda session, event, request, details: told.append((event, details)))
    yield told
    forget()


def ask(world: World, action="model.release", by="dora", scope=PROJECT, reason="The model harms patients.") -> str:
    with world.database.writing() as session:
        return emergency.ask(
            session, action, scope=scope, reason=reason, requester=world.people.caller(by), now=world.now
        ).id


def submit(world: World, by="dora", action="model.release", scope=PROJECT):
    with world.database.writing() as session:
        asked = approvals.submit(
            session, action, scope=scope, requester=world.people.caller(by), body={"model": "m9"}, now=world.now
        )
        return None if asked is None else asked.id


def opened(world: World) -> str:
    request = ask(world)
    assert world.decide(request, "ann") == "pending"
    assert world.decide(request, "pam") == "executed"
    return request


def test_two_open_the_action_for_an_hour(world):
    assert submit(world) is not None
    opened(world)
    assert submit(world) is None
    world.later(minutes=59, seconds=59)
    assert submit(world) is None
    world.later(seconds=1)
    assert submit(world) is not None


def test_every_use_is_written_down_and_alarms(world, alarms):
    request = opened(world)
    submit(world)
    submit(world)
    names = [event for event, _ in alarms if event in hooks.ALARMS]
    assert names == [hooks.WINDOW_OPENED, hooks.WINDOW_USED, hooks.WINDOW_USED]
    assert all(details["by"] == "dora" for event, details in alarms if event in hooks.ALARMS)
    with world.database.reading() as session:
        (window,) = windows.open_now(session, world.now)
        uses = windows.uses(session, window)
    assert (window.id, window.action, window.scope, window.person) == (request, "model.release", PROJECT, "dora")
    assert [use.sha256 for use in uses] == [digest(use.document) for use in uses]
    assert '"model":"m9"' in uses[0].document


def test_it_is_open_to_one_person_for_one_action_in_one_scope(world):
    world.people.add("dave", ("developer", PROJECT), ("org-admin", "platform"))
    world.people.add("dora", ("developer", "platform"), ("org-admin", "platform"))
    opened(world)
    assert submit(world) is None
    assert submit(world, by="dave") is not None
    assert submit(world, scope="project:other") is not None
    assert submit(world, action="project.remove") is not None


def test_one_is_not_enough_and_who_asks_does_not_count(world):
    world.people.add("dora", ("developer", PROJECT), ("approver", PROJECT))
    request = ask(world)
    world.decide(request, "ann")
    with pytest.raises(NotAllowed):
        world.decide(request, "dora")
    with pytest.raises(FlaasError):
        world.decide(request, "ann", time=world.now.timestamp() + 1)
    assert world.look(request).state == "pending"


def test_a_request_of_an_emergency_lives_an_hour(world):
    request = ask(world)
    world.later(hours=1)
    with pytest.raises(Conflict):
        world.decide(request, "ann")


@pytest.mark.parametrize("action", ["policy.change", "break-glass"])
def test_no_emergency_opens_the_policy_or_further_emergencies(world, action):
    with pytest.raises(InvalidInput) as caught:
        ask(world, action=action, by="gwen", scope="platform")
    assert caught.value.code == "never-by-emergency"


def test_an_emergency_gives_nobody_more_than_they_may_with_approval(world):
    with pytest.raises(NotAllowed):
        ask(world, action="key.rotate", scope="platform")
    request = opened(world)
    world.people.take("dora", "developer")
    with pytest.raises(NotAllowed):
        submit(world)
    assert world.look(request).state == "executed"


@pytest.mark.parametrize("reason", ["", "  ", "x" * 2001])
def test_an_emergency_has_a_reason(world, reason):
    with pytest.raises(InvalidInput):
        ask(world, reason=reason)


def test_while_an_installation_is_founded_there_is_no_emergency(world):
    world.tamper("DELETE FROM approval_founding")
    with pytest.raises(Conflict) as caught:
        ask(world)
    assert caught.value.code == "founding-open"


def test_an_operator_of_an_organisation_may_open_the_adding_of_nodes_to_a_project(world):
    world.people.add("oscar", ("operator", "organisation:north"))
    caller = world.people.caller("oscar")
    with world.database.writing() as session:
        request = emergency.ask(
            session, "node.add", scope=PROJECT, reason="The ward's node burnt.", requester=caller, now=world.now
        )
        assert request.state == "pending"
    with pytest.raises(NotAllowed), world.database.writing() as session:
        emergency.ask(session, "node.add", scope="platform", reason="x", requester=caller, now=world.now)
