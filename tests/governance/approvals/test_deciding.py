"""A critical action is done once as many other persons as the policy asks for have signed for exactly it."""

from __future__ import annotations

import json

import pytest

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.errors import Conflict, FlaasError, InvalidInput, NotAllowed, NotFound
from flaas_jupyter.governance import approvals
from flaas_jupyter.governance.approvals import hooks
from flaas_jupyter.governance.approvals.documents import digest

from .world import PROJECT, World


def refused(world: World, code: str, *arguments, **options) -> FlaasError:
    """Decide, which must fail with `code` and change nothing."""
    request = arguments[0]
    before = (world.look(request).state, world.missing(request), world.marks)
    with pytest.raises(FlaasError) as caught:
        world.decide(*arguments, **options)
    assert caught.value.code == code, caught.value
    assert caught.value.hint
    assert (world.look(request).state, world.missing(request), world.marks) == before
    return caught.value


def test_it_is_done_with_the_stored_body_when_the_last_has_approved(world):
    request = world.ask(body={"model": "m1", "to": ["north", "süd"]})
    assert world.decide(request, "ann") == "pending"
    assert world.marks == []
    assert world.decide(request, "owen") == "executed"
    assert world.marks == [(request, {"model": "m1", "to": ["north", "süd"]})]
    assert world.look(request).result == {"marked": "m1", "for": "dora"}
    refused(world, "approval-closed", request, "bob")
    assert len(world.marks) == 1


def test_the_document_names_action_scope_requester_and_body(world):
    document = json.loads(world.look(world.ask()).document)
    assert document == {
        "action": "model.release",
        "body": {"model": "m1"},
        "requester": "dora",
        "scope": PROJECT,
    }


def test_the_same_again_is_the_same_request_and_another_body_another_one(world):
    first = world.ask()
    assert world.ask() == first
    assert world.ask(body={"model": "m2"}) != first
    world.people.add("dave", ("developer", PROJECT))
    assert world.ask(by="dave") != first


def test_who_has_asked_does_not_decide(world):
    world.people.add("dora", ("developer", PROJECT), ("approver", PROJECT), ("data-owner", PROJECT))
    request = world.ask()
    assert isinstance(refused(world, "own-request", request, "dora"), NotAllowed)
    refused(world, "own-request", request, "dora", "deny")


def test_one_person_counts_once_even_with_two_roles(world):
    request = world.ask()
    assert world.decide(request, "both") == "pending"
    assert isinstance(refused(world, "already-decided", request, "both", time=world.now.timestamp() + 1), Conflict)
    assert sum(len(persons) for persons in world.missing(request)["taken"]) == 1


@pytest.mark.parametrize("order", [("both", "owen"), ("both", "ann"), ("ann", "both"), ("owen", "both")])
def test_who_has_two_roles_takes_the_place_that_the_other_cannot(world, order):
    request = world.ask()
    assert world.decide(request, order[0]) == "pending"
    assert world.decide(request, order[1]) == "executed"


def test_two_of_one_role_do_not_make_up_for_the_other(world):
    request = world.ask()
    world.decide(request, "ann")
    assert world.decide(request, "bob") == "pending"
    assert world.decide(request, "pam") == "pending"
    assert world.marks == []


def test_the_role_has_to_be_active_in_the_session_and_held_there(world):
    request = world.ask()
    world.people.add("vera", ("approver", PROJECT), ("viewer", PROJECT))
    refused(world, "no-factor", request, "vera", active=[("viewer", PROJECT)])
    refused(world, "no-factor", request, "sam")
    refused(world, "no-factor", request, "audrey")
    refused(world, "no-factor", request, "gwen")
    refused(world, "no-factor", request, "olga")


def test_a_role_on_the_platform_counts_everywhere(world):
    request = world.ask()
    world.decide(request, "pam")
    assert world.decide(request, "owen") == "executed"


def test_a_session_that_outlived_the_role_is_of_no_use(world):
    request = world.ask()
    stale = world.people.caller("ann")
    said = world.signed(request, "ann")
    world.people.take("ann", "approver")
    with world.database.writing() as session, pytest.raises(NotAllowed) as caught:
        approvals.decide(session, request, stale, *said, world.now)
    assert caught.value.code == "no-factor"


def test_services_and_nodes_do_not_decide(world):
    request = world.ask()
    refused(world, "not-a-person", request, "robot")
    world.people.humans["ann"].active = False
    refused(world, "not-a-person", request, "ann")


def test_a_service_may_ask(world):
    request = world.ask(by="robot")
    world.decide(request, "ann")
    assert world.decide(request, "owen") == "executed"


@pytest.mark.parametrize("decider", ["ann", "owen", "both", "pit"])
def test_whoever_may_decide_ends_it_by_a_denial(world, decider):
    request = world.ask()
    assert world.decide(request, decider, "deny") == "denied"
    refused(world, "approval-closed", request, "bob")
    assert world.ask() != request


def test_who_has_approved_can_still_deny(world):
    request = world.ask()
    world.decide(request, "ann")
    assert world.decide(request, "ann", "deny") == "denied"


def test_an_answer_that_was_lost_can_be_asked_for_again(world):
    request = world.ask()
    said = world.signed(request, "ann")
    for _ in range(2):
        with world.database.writing() as session:
            state = approvals.decide(session, request, world.people.caller("ann"), *said, world.now).state
        assert state == "pending"
    last = world.signed(request, "owen")
    for _ in range(2):
        with world.database.writing() as session:
            state = approvals.decide(session, request, world.people.caller("owen"), *last, world.now).state
        assert state == "executed"
    assert len(world.marks) == 1


def test_requests_expire(world):
    request = world.ask()
    world.decide(request, "ann")
    world.later(days=7)
    refused(world, "approval-expired", request, "owen")
    assert world.execute_due() == ["expired"]
    assert world.execute_due() == []
    assert world.ask() != request
    assert world.marks == []


def test_an_expired_request_that_nobody_has_closed_does_not_stand_in_the_way(world):
    request = world.ask()
    world.later(days=8)
    again = world.ask()
    assert again != request
    assert world.look(request).state == "expired"


def test_a_request_can_be_withdrawn_by_who_has_asked_alone(world):
    request = world.ask()
    with world.database.writing() as session, pytest.raises(NotAllowed):
        approvals.withdraw(session, request, world.people.caller("ann"), world.now)
    with world.database.writing() as session, pytest.raises(NotFound):
        approvals.withdraw(session, request, world.people.caller("sam"), world.now)
    with world.database.writing() as session:
        assert approvals.withdraw(session, request, world.people.caller("dora"), world.now).state == "withdrawn"
    refused(world, "approval-closed", request, "ann")
    with world.database.writing() as session, pytest.raises(Conflict):
        approvals.withdraw(session, request, world.people.caller("dora"), world.now)


# ---- signatures -----------------------------------------------------------------------------------------------------


def test_an_approval_is_worth_nothing_for_another_request(world):
    first, second = world.ask(), world.ask(body={"model": "m2"})
    refused(world, "bad-approval-signature", second, "ann", signed_for=first)
    refused(world, "bad-approval-signature", second, "ann", sha256=world.look(first).sha256)
    refused(world, "bad-approval-signature", second, "ann", signed_for=first, sha256=world.look(first).sha256)


def test_only_ones_own_key_signs(world):
    request = world.ask()
    refused(world, "bad-approval-signature", request, "ann", key=world.people.humans["bob"].key)
    refused(world, "bad-approval-signature", request, "ann", key=Identity.generate())
    world.people.humans["ann"].key = None
    refused(world, "no-approval-key", request, "ann", key=Identity.generate())


def test_a_denial_cannot_be_made_an_approval(world):
    request = world.ask()
    _, time, signature = world.signed(request, "ann", "deny")
    with world.database.writing() as session, pytest.raises(NotAllowed) as caught:
        approvals.decide(session, request, world.people.caller("ann"), "approve", time, signature, world.now)
    assert caught.value.code == "bad-approval-signature"


@pytest.mark.parametrize("seconds", [-301, 301, -86_400, 10**12])
def test_a_stale_or_early_signature_is_refused(world, seconds):
    request = world.ask()
    error = refused(world, "stale-approval", request, "ann", time=world.now.timestamp() + seconds)
    assert isinstance(error, InvalidInput)


@pytest.mark.parametrize("seconds", [-299, 299])
def test_clocks_may_differ_by_five_minutes(world, seconds):
    request = world.ask()
    assert world.decide(request, "ann", time=world.now.timestamp() + seconds) == "pending"


@pytest.mark.parametrize("signature", ["", "00", "zz" * 64, "ü" * 128, "00" * 64, "00" * 10_000])
def test_garbage_is_no_signature(world, signature):
    request = world.ask()
    with world.database.writing() as session, pytest.raises(NotAllowed) as caught:
        approvals.decide(
            session, request, world.people.caller("ann"), "approve", int(world.now.timestamp()), signature, world.now
        )
    assert caught.value.code == "bad-approval-signature"


@pytest.mark.parametrize("time", [True, 1.5, None, "now", float("nan")])
def test_garbage_is_no_time(world, time):
    request = world.ask()
    with world.database.writing() as session, pytest.raises(InvalidInput):
        approvals.decide(session, request, world.people.caller("ann"), "approve", time, "00" * 64, world.now)


def test_garbage_is_no_decision_and_no_request(world):
    request = world.ask()
    with world.database.writing() as session:
        with pytest.raises(InvalidInput, match="no decision"):
            approvals.decide(session, request, world.people.caller("ann"), "maybe", 1, "00" * 64, world.now)
        for unknown in ("", "nothing", "\x00", "x" * 5000, "' OR 1=1"):
            with pytest.raises(NotFound):
                approvals.decide(session, unknown, world.people.caller("ann"), "deny", 1, "00" * 64, world.now)


# ---- what changes between the approval and the execution ------------------------------------------------------------


def test_an_approval_counts_no_more_once_the_role_is_lost(world):
    request = world.ask()
    world.decide(request, "ann")
    world.people.take("ann", "approver")
    assert world.decide(request, "owen") == "pending"
    assert world.missing(request)["lapsed"] == {"ann": "has lost the role"}
    assert world.marks == []
    assert world.decide(request, "bob") == "executed"


def test_an_approval_counts_no_more_once_the_person_is_removed(world):
    request = world.ask()
    world.decide(request, "ann")
    del world.people.humans["ann"]
    assert world.decide(request, "owen") == "pending"
    assert world.missing(request)["lapsed"] == {"ann": "is no active person any more"}
    assert world.decide(request, "pam") == "executed"


def test_an_approval_counts_no_more_once_the_key_is_replaced_and_can_be_given_anew(world):
    request = world.ask()
    world.decide(request, "ann")
    world.people.humans["ann"].key = Identity(b"n" * 32)
    assert world.decide(request, "owen") == "pending"
    assert world.missing(request)["lapsed"] == {"ann": "has another key now"}
    assert world.decide(request, "ann") == "executed"


def test_nothing_is_done_for_a_requester_who_may_not_any_more(world):
    request = world.ask()
    world.decide(request, "ann")
    world.people.take("dora", "developer")
    assert world.decide(request, "owen") == "pending"
    assert world.missing(request) == {"taken": [["ann"], ["owen"]], "lapsed": {}, "may": False}
    world.later(minutes=2)
    assert world.execute_due() == ["pending"]
    world.people.add("dora", ("developer", PROJECT))
    world.later(minutes=2)
    assert world.execute_due() == ["executed"]


def test_a_requester_who_is_gone_lets_the_request_expire(world):
    request = world.ask()
    world.decide(request, "ann")
    world.people.humans["dora"].active = False
    world.decide(request, "owen")
    world.later(days=8)
    assert world.execute_due() == ["expired"]
    assert world.marks == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE approval_requests SET document = REPLACE(document, 'm1', 'm2')",
        "UPDATE approval_requests SET sha256 = REPLACE(sha256, SUBSTR(sha256, 1, 4), 'ffff')",
    ],
)
def test_a_changed_body_is_found_when_deciding(world, change):
    request = world.ask()
    world.tamper(change)
    said = approvals.sign(
        world.people.humans["ann"].key,
        request,
        world.look(request).sha256,
        "approve",
        int(world.now.timestamp()),
    )
    with world.database.writing() as session, pytest.raises(Conflict) as caught:
        approvals.decide(
            session, request, world.people.caller("ann"), "approve", int(world.now.timestamp()), said, world.now
        )
    assert caught.value.code == "approval-tampered"


def test_a_changed_body_is_found_when_it_is_carried_out(world):
    request = world.ask()
    world.tamper("UPDATE approval_requests SET cooling = 60")
    world.decide(request, "ann")
    world.decide(request, "owen")
    world.tamper("UPDATE approval_requests SET document = REPLACE(document, 'm1', 'm2')")
    world.later(minutes=2)
    assert world.execute_due() == ["failed"]
    assert world.look(request).problem["code"] == "approval-tampered"
    assert world.marks == []


def test_a_body_changed_together_with_its_digest_loses_the_approvals(world):
    request = world.ask()
    world.decide(request, "ann")
    document = world.look(request).document.replace("m1", "m2")
    sha256 = digest(document)
    world.tamper(
        "UPDATE approval_requests SET document = :document, sha256 = :sha256", document=document, sha256=sha256
    )
    assert world.decide(request, "owen") == "pending"
    assert world.missing(request)["lapsed"] == {"ann": "the signature is not for this request"}


def test_an_action_swapped_under_the_document_is_found(world):
    request = world.ask()
    world.tamper("UPDATE approval_requests SET cooling = 60")
    world.decide(request, "ann")
    world.decide(request, "owen")
    world.people.add("dora", ("developer", PROJECT), ("org-admin", "platform"))
    world.tamper("UPDATE approval_requests SET action = 'project.remove'")
    world.later(minutes=2)
    assert world.execute_due() == ["failed"]
    assert world.marks == []


def test_a_forged_decision_in_the_data_base_does_not_count(world):
    request = world.ask()
    world.decide(request, "ann")
    world.tamper("UPDATE approval_decisions SET decider = 'bob'")
    assert world.decide(request, "owen") == "pending"
    assert world.missing(request)["lapsed"] == {"bob": "has another key now"}


# ---- cooling, failing -----------------------------------------------------------------------------------------------


def cooling_request(world: World, seconds: int = 3600) -> str:
    request = world.ask()
    world.tamper("UPDATE approval_requests SET cooling = :seconds", seconds=seconds)
    world.decide(request, "ann")
    assert world.decide(request, "owen") == "pending"
    return request


def test_what_has_to_cool_down_is_done_by_itself_later(world):
    cooling_request(world)
    world.later(minutes=59)
    assert world.execute_due() == []
    assert world.marks == []
    world.later(minutes=1)
    with world.database.reading() as session:
        assert approvals.has_due(session, world.now)
    assert world.execute_due() == ["executed"]
    with world.database.reading() as session:
        assert not approvals.has_due(session, world.now)
    assert world.execute_due() == []
    assert len(world.marks) == 1


def test_while_it_cools_down_it_can_be_denied_or_withdrawn(world):
    request = cooling_request(world)
    assert world.decide(request, "bob", "deny") == "denied"
    request = cooling_request(world)
    with world.database.writing() as session:
        approvals.withdraw(session, request, world.people.caller("dora"), world.now)
    world.later(hours=2)
    assert world.execute_due() == []
    assert world.marks == []


def test_cooling_may_last_longer_than_approving(world):
    cooling_request(world, seconds=10 * 86_400)
    world.later(days=8)
    assert world.execute_due() == []
    world.later(days=2)
    assert world.execute_due() == ["executed"]


def test_a_role_lost_while_it_cools_down_stops_it(world):
    request = cooling_request(world)
    world.people.take("ann", "approver")
    world.later(hours=1)
    assert world.execute_due() == ["pending"]
    assert world.look(request).due is None
    world.decide(request, "bob")
    world.later(minutes=59)
    assert world.execute_due() == []
    world.later(minutes=1)
    assert world.execute_due() == ["executed"]


def test_what_fails_leaves_nothing_half_done_and_can_be_asked_for_again(world):
    request = world.ask(body={"fail": True})
    world.decide(request, "ann")
    assert world.decide(request, "owen") == "failed"
    assert world.marks == []
    assert world.look(request).problem["code"] == "model-revoked"
    refused(world, "approval-closed", request, "bob")
    assert world.ask(body={"fail": True}) != request


def test_a_bug_undoes_the_approval_too_and_later_it_can_be_given_again(world):
    request = world.ask(body={"crash": True})
    world.decide(request, "ann")
    with pytest.raises(ZeroDivisionError):
        world.decide(request, "owen")
    assert world.look(request).state == "pending"
    assert world.missing(request)["taken"] == [["ann"], []]
    assert world.marks == []


def test_one_that_has_a_bug_does_not_keep_others_back(world, caplog):
    bad = world.ask(body={"crash": True})
    world.later(seconds=1)
    good = world.ask()
    world.tamper("UPDATE approval_requests SET cooling = 60")
    for request in (bad, good):
        world.decide(request, "ann")
        world.decide(request, "owen")
    world.later(minutes=1)
    assert world.execute_due() == ["pending", "executed"]
    assert world.marks == [(good, {"model": "m1"})]
    assert "could not be carried out" in caplog.text
    assert world.execute_due() == []
    world.later(days=8)
    assert world.execute_due() == ["expired"]


def test_a_hook_is_told_of_every_change_in_the_same_transaction(world):
    told = []
    forget = hooks.observe(lambda session, event, request, details: told.append((event, details)))
    try:
        request = world.ask()
        world.decide(request, "ann")
        world.decide(request, "owen")
    finally:
        forget()
    states = [details["state"] for event, details in told if event == "approval.changed"]
    assert states == ["pending", "pending", "pending", "executed"]
    assert all(set(details) == {"id", "action", "state", "by"} for _, details in told)


# ---- asking ---------------------------------------------------------------------------------------------------------


def test_only_who_may_do_it_asks(world):
    for by in ("ann", "audrey", "sam"):
        with pytest.raises(NotAllowed):
            world.ask(by=by)


def test_a_role_in_ones_own_organisation_asks_for_a_project_but_not_for_the_platform(world):
    world.people.add("dave", ("developer", "organisation:north"))
    request = world.ask(by="dave")
    world.decide(request, "ann")
    assert world.decide(request, "owen") == "executed"
    with pytest.raises(NotAllowed):
        world.ask("organisation.add", by="olga", scope="platform")


@pytest.mark.parametrize("scope", ["", "credit", "project:", "project", "galaxy:1", "platform:1", "project:a\x00"])
def test_garbage_is_no_scope(world, scope):
    with pytest.raises(InvalidInput):
        world.ask(scope=scope)


@pytest.mark.parametrize("body", [{"a": float("nan")}, {"a": object()}, {"a": "\ud800"}, [1], "text"])
def test_garbage_is_no_body(world, body):
    with pytest.raises(InvalidInput):
        world.ask(body=body)


def test_approvers_read_no_books(world):
    with pytest.raises(InvalidInput) as caught:
        world.ask(body={"a": "x" * 70_000})
    assert caught.value.code == "approval-too-long"


def test_unknown_actions_are_refused(world):
    with pytest.raises(InvalidInput) as caught:
        world.ask("model.burn")
    assert caught.value.code == "unknown-action"
    with pytest.raises(InvalidInput):
        approvals.register("model.burn", lambda context, body: {})


def test_nobody_fills_the_inbox_alone(world, monkeypatch):
    monkeypatch.setattr("flaas_jupyter.governance.approvals.requests.MOST_PENDING", 3)
    for number in range(3):
        world.ask(body={"model": number})
    with pytest.raises(Conflict) as caught:
        world.ask(body={"model": 4})
    assert caught.value.code == "too-many-approvals"
    world.ask(by="robot")
    world.later(days=8)
    world.ask(body={"model": 5})


def test_organisations_of_a_project_can_be_named_so_that_their_approvers_count(world):
    world.people.add("nora", ("approver", "organisation:north"))
    refused(world, "no-factor", world.ask(), "nora")
    request = world.ask(body={"model": "m3"}, within=("organisation:north",))
    world.decide(request, "nora")
    assert world.decide(request, "owen") == "executed"
