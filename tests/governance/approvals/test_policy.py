"""The policy protects itself: it is not weakened by fewer than it names, and never so that nobody could fulfil it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from flaas_jupyter.errors import Conflict, FlaasError, InvalidInput, NotAllowed
from flaas_jupyter.governance import approvals
from flaas_jupyter.governance.approvals import founding, policy
from flaas_jupyter.governance.approvals.actions import ACTIONS, Factor, Rule
from flaas_jupyter.governance.approvals.policy import Policy

from .world import PROJECT, World, is_founding

DEFAULT = Policy(0, {name: action.default for name, action in ACTIONS.items()}).to_dict()


def changed(**rules):
    """Return the policy that everybody begins with, with other rules: ``model_release={"ttl": 600}``; None removes."""
    document = {"actions": {name: {**rule} for name, rule in DEFAULT["actions"].items()}}
    for name, rule in rules.items():
        name = {"break_glass": "break-glass"}.get(name, name.replace("_", "."))
        if rule is None:
            del document["actions"][name]
        else:
            document["actions"][name] = {**document["actions"][name], **rule}
    return document


def change(world: World, document, by="gwen"):
    with world.database.writing() as session:
        asked = approvals.change(session, document, requester=world.people.caller(by), now=world.now)
        return asked if isinstance(asked, Policy) else asked.id


def in_force(world: World) -> Policy:
    with world.database.reading() as session:
        return policy.current(session)


def factors_of(world: World, request: str) -> dict[tuple[str, str], int]:
    return {(each["role"], each["scope"]): each["number"] for each in world.look(request).factors}


def one(role="approver", scope="action", number=1):
    return {"role": role, "scope": scope, "number": number}


def test_a_stricter_policy_needs_what_policy_change_asks_for(world):
    request = change(world, changed(project_remove={"factors": [one(number=2)], "cooling": 600}))
    assert factors_of(world, request) == {("approver", "platform"): 2}
    world.decide(request, "pam")
    assert in_force(world).number == 0
    assert world.decide(request, "pit") == "executed"
    assert in_force(world).rules["project.remove"] == Rule((Factor("approver", "action", 2),), cooling=600)
    assert world.look(request).result["sha256"] == in_force(world).sha256


def test_who_keeps_the_policy_cannot_approve_its_change(world):
    request = change(world, changed(project_remove=None))
    for who in ("greg", "gwen"):
        with pytest.raises(NotAllowed):
            world.decide(request, who)
    with pytest.raises(NotAllowed):
        change(world, changed(project_remove=None), by="pam")


@pytest.mark.parametrize(
    "weaker",
    [
        {"model_release": None},
        {"model_release": {"factors": []}},
        {"model_release": {"factors": [one()]}},
        {"model_release": {"factors": [one(), one("viewer")]}},
        {"model_release": {"factors": [one(), one("data-owner", "platform")]}},
        {"model_release": {"factors": [one(), one("data-owner|viewer")]}},
        {"model_release": {"ttl": 604_801}},
    ],
    ids=str,
)
def test_weakening_an_action_needs_those_who_would_have_approved_it(world, weaker):
    world.people.add("vera", ("viewer", PROJECT))
    world.people.add("otto", ("data-owner", "platform"))
    request = change(world, changed(**weaker))
    assert factors_of(world, request) == {("approver", "platform"): 2, ("data-owner", "anywhere"): 1}
    world.decide(request, "pam")
    assert world.decide(request, "pit") == "pending"
    assert world.decide(request, "owen") == "executed"
    assert in_force(world).number == 1


def test_less_cooling_is_weaker(world):
    first = change(world, changed(model_release={"cooling": 600}))
    assert ("data-owner", "anywhere") not in factors_of(world, first)
    world.decide(first, "pam")
    world.decide(first, "pit")
    second = change(world, changed(model_release={"cooling": 599}))
    assert ("data-owner", "anywhere") in factors_of(world, second)


def test_weakening_the_policys_own_rule_needs_what_it_asks_for(world):
    request = change(world, changed(policy_change={"factors": [one(scope="platform")]}))
    assert factors_of(world, request) == {("approver", "platform"): 2}
    world.decide(request, "pam")
    assert world.decide(request, "pit") == "executed"
    again = change(world, changed(policy_change={"factors": [one(scope="platform")], "ttl": 600}))
    assert factors_of(world, again) == {("approver", "platform"): 1}


def test_after_a_removal_the_action_is_done_at_once(world):
    request = change(world, changed(model_release=None))
    for who in ("pam", "pit", "owen"):
        world.decide(request, who)
    with world.database.writing() as session:
        asked = approvals.submit(
            session, "model.release", scope=PROJECT, requester=world.people.caller("dora"), body={}, now=world.now
        )
    assert asked is None


def test_what_waits_already_keeps_its_factors(world):
    waiting = world.ask()
    request = change(world, changed(model_release={"factors": [one()]}))
    for who in ("pam", "pit", "owen"):
        world.decide(request, who)
    assert world.decide(waiting, "ann") == "pending"
    assert world.ask(body={"model": "m2"}) != waiting


def test_a_change_is_made_to_the_policy_that_was_looked_at_alone(world):
    first = change(world, changed(project_remove={"ttl": 600}))
    second = change(world, changed(key_rotate={"ttl": 600}))
    for request in (first, second):
        world.decide(request, "pam")
        world.decide(request, "pit")
    assert world.look(first).state == "executed"
    assert world.look(second).state == "failed"
    assert world.look(second).problem["code"] == "policy-changed"


def test_no_change_is_no_request(world):
    assert change(world, changed()) == in_force(world)


@pytest.mark.parametrize("rules", [{"policy_change": None}, {"policy_change": {"factors": []}}])
def test_the_policy_always_needs_somebody(world, rules):
    with pytest.raises(InvalidInput, match="never be fewer than 1"):
        change(world, changed(**rules))


@pytest.mark.parametrize("rules", [{"break_glass": None}, {"break_glass": {"factors": [one()]}}])
def test_an_emergency_always_needs_two(world, rules):
    with pytest.raises(InvalidInput, match="never be fewer than 2"):
        change(world, changed(**rules))


def test_a_policy_that_nobody_could_fulfil_is_refused(world):
    with pytest.raises(Conflict) as caught:
        change(world, changed(key_rotate={"factors": [one(scope="platform", number=3)]}))
    assert caught.value.code == "policy-unfulfillable"
    expected = {"action": "key.rotate", "role": "approver", "scope": "platform", "needed": 3, "there_are": 2}
    assert caught.value.details["missing"] == [expected]
    assert "needs 3 with the role approver (platform) who are not the requester, and there are 2" in str(caught.value)


@pytest.mark.parametrize("role", ["no-such-role", "auditor"])
def test_a_role_that_cannot_decide_fulfils_nothing(world, role):
    with pytest.raises(Conflict) as caught:
        change(world, changed(key_rotate={"factors": [one(role, "platform")]}))
    assert caught.value.details["missing"][0]["there_are"] == 0


def test_one_person_with_two_roles_is_not_two_people(world):
    for name in ("ann", "bob", "owen", "pam", "pit", "robot", "sam"):
        del world.people.humans[name]
    world.people.add("pat", ("approver", "platform"), ("data-owner", "platform"))
    world.people.take("both", "approver")
    del world.people.humans["both"]
    with pytest.raises(Conflict) as caught:
        change(world, changed(model_release={"ttl": 600}))
    missing = {each["action"]: each for each in caught.value.details["missing"]}
    assert missing["model.release"]["needed"] - missing["model.release"]["there_are"] == 1


def test_the_requester_is_not_counted_among_those_who_could_approve(world):
    """The only two approvers are the only two who could ask."""
    world.people.humans = {name: human for name, human in world.people.humans.items() if name in ("pam", "pit")}
    for name in ("pam", "pit"):
        world.people.humans[name].roles.add(("governance-admin", "platform"))
    with world.database.reading() as session:
        missing = approvals.fulfilment.shortfalls(session, world.people, in_force(world).rules)
    assert {each.action: each.there_are for each in missing}["policy.change"] == 1


def test_those_who_left_while_the_change_waited_are_missed_at_the_execution(world):
    world.people.add("paul", ("approver", "platform"))
    request = change(world, changed(key_rotate={"factors": [one(scope="platform", number=3)]}))
    world.decide(request, "pam")
    del world.people.humans["paul"]
    assert world.decide(request, "pit") == "failed"
    assert world.look(request).problem["code"] == "policy-unfulfillable"
    assert in_force(world).number == 0


# ---- the founding phase ---------------------------------------------------------------------------------------------


@pytest.fixture
def young(world):
    """An installation that is being founded."""
    world.tamper("DELETE FROM approval_founding")
    return world


def close(world, by="gwen"):
    with world.database.writing() as session:
        founding.close(session, world.people.caller(by), world.now)


def test_while_it_is_founded_nothing_needs_approval(young):
    with young.database.writing() as session:
        asked = approvals.submit(
            session, "model.release", scope=PROJECT, requester=young.people.caller("dora"), body={}, now=young.now
        )
    assert asked is None
    done = change(young, changed(project_remove={"ttl": 600}))
    assert done.rules["project.remove"].ttl == 600
    assert in_force(young).number == 1


def test_founding_ends_once_and_for_all(young):
    assert is_founding(young)
    close(young)
    assert not is_founding(young)
    young.ask()
    with pytest.raises(Conflict) as caught:
        close(young)
    assert caught.value.code == "founding-closed"


def test_founding_does_not_end_before_the_policy_can_be_fulfilled(young):
    for name in ("pit", "pam"):
        del young.people.humans[name]
    with pytest.raises(Conflict) as caught:
        close(young)
    missing = {each["action"]: each for each in caught.value.details["missing"]}
    assert missing["policy.change"] == {
        "action": "policy.change",
        "role": "approver",
        "scope": "platform",
        "needed": 2,
        "there_are": 0,
    }
    assert is_founding(young)
    young.people.add("pam", ("approver", "platform"))
    young.people.add("pit", ("approver", "platform"))
    close(young)


@pytest.mark.parametrize("by", ["dora", "pam", "olga", "audrey"])
def test_only_who_keeps_the_policy_ends_the_founding(young, by):
    with pytest.raises(NotAllowed):
        close(young, by=by)


def test_an_action_newer_than_the_kept_policy_has_the_rule_it_begins_with(world):
    request = change(world, changed(project_remove={"ttl": 600}))
    world.decide(request, "pam")
    world.decide(request, "pit")
    with world.database.writing() as session:
        version = policy.history(session)[0]
        kept = {name: rule for name, rule in version.document["actions"].items() if name != "node.add"}
        version.document = {"actions": kept}
    assert in_force(world).rules["node.add"] == ACTIONS["node.add"].default


# ---- garbage --------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
factor_like = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["approver", "approver|", "", "a|a", 3]) | json_values,
        "scope": st.sampled_from([*policy.SCOPES, "node"]) | json_values,
        "number": st.integers(-1, 12) | json_values,
    }
)
rule_like = st.fixed_dictionaries(
    {"factors": st.lists(factor_like, max_size=10) | json_values},
    optional={"ttl": json_values, "cooling": json_values, "x": json_values},
)


@given(
    json_values
    | st.fixed_dictionaries(
        {
            "actions": json_values
            | st.dictionaries(st.sampled_from([*ACTIONS, "nothing"]), rule_like | json_values, max_size=4)
        }
    )
)
def test_a_policy_is_valid_or_refused_with_a_reason(document):
    refusal = None
    try:
        rules = policy.parse(document)
    except FlaasError as error:
        refusal = error
    if refusal is not None:
        assert refusal.code in ("bad-policy", "unknown-action")
        assert refusal.hint
    else:
        assert all(factor.number >= 1 for rule in rules.values() for factor in rule.factors)
        again = policy.parse({"actions": {name: rule.to_dict() for name, rule in rules.items()}})
        assert again == rules


@given(st.dictionaries(st.sampled_from([*ACTIONS]), st.just({"factors": []}), max_size=12))
def test_no_document_leaves_the_policy_unprotected(actions):
    document = {"actions": {**DEFAULT["actions"], **actions}}
    try:
        rules = policy.complete(policy.parse(document))
    except InvalidInput:
        assert {"policy.change", "break-glass"} & set(actions)
    else:
        assert rules["policy.change"].persons >= 1
        assert rules["break-glass"].persons >= 2


def test_the_roles_of_a_factor_have_no_order():
    rule = {"factors": [one("viewer|approver")]}
    assert policy.parse({"actions": {"node.add": rule}})["node.add"].factors[0].role == "approver|viewer"


def test_versions_are_kept(world):
    for ttl in (600, 700):
        request = change(world, changed(project_remove={"ttl": ttl}))
        for who in ("pam", "pit", "ann"):
            if world.look(request).state == "pending":
                world.decide(request, who)
    with world.database.reading() as session:
        assert [version.number for version in policy.history(session)] == [2, 1]
        assert session.scalar(text("SELECT count(*) FROM approval_policies WHERE request IS NOT NULL")) == 2
