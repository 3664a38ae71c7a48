"""The node owner's veto: signed by a developer, told as it was signed, allowed, new, and agreed to by the owner."""

from __future__ import annotations

import asyncio
import copy
import json
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from round_table import Table, together

from flaas_jupyter.communications.directory import Directory, Membership, sign_membership
from flaas_jupyter.communications.identity import Identity, sign_document
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import FlaasError, InvalidInput, NotAllowed, NotAuthenticated, NotFound
from flaas_jupyter.execution import run_request
from flaas_jupyter.execution.checkpoint import digest
from flaas_jupyter.execution.consent import AwaitsOwner, Consent, Ledger, decide, waiting
from flaas_jupyter.execution.policy import Policy
from flaas_jupyter.execution.revocations import Revocations
from flaas_jupyter.execution.run_request import LIFETIME, TERMS, RunRequest, sign
from flaas_jupyter.home import Home

NOW = 1_790_000_000.0
DOMAIN, ADA, EVE, NORTH = (Identity(bytes([seed]) * 32) for seed in (1, 2, 3, 4))
ONE, TWO = "11" * 32, "22" * 32

ASKED = {
    "dataset": "loans", "rounds": 5, "local_epochs": 1, "batch_size": 32, "secure_aggregation": True, "clip": 8.0,
    "aggregation": "fedavg", "aggregation_options": {"momentum": 0.5, "of": [1, 2]}, "clients_per_round": None,
    "privacy": {"epsilon": 1.0, "delta": 1e-5, "clip": 1.0, "mode": "central", "noise_multiplier": None},
    "minimum_nodes": 3, "seed": 7, "parameters": 385, "model_digest": ONE, "start_digest": TWO,
}  # fmt: skip


def run_of(run="r1", developer=ADA, project="credit", now=NOW, **changes):
    """A run as the API tells of it, honestly unless there are `changes`."""
    told = {**ASKED, "id": run, "project": project, "submitter": developer.node_id}
    return {**told, "signed": sign(developer, project, ASKED, now), **changes}


def directory(*members, project="credit"):
    known = Directory(project, DOMAIN.node_id)
    documents = [
        sign_membership(DOMAIN, Membership(project, who.node_id, where, roles, 1, 1 << 33, 1))
        for who, where, roles in members or [(ADA, "laboratory", ("developer",)), (NORTH, "north", ("node",))]
    ]
    known.update({"domain": project, "domain_key": DOMAIN.node_id, "memberships": documents, "records": []})
    return known


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def consent(home, **policy):
    return Consent(home, Policy(projects=("credit",), **policy))


def refused(home, run, *, code, kind=NotAllowed, now=NOW, known=None, **policy):
    with pytest.raises(kind) as caught:
        consent(home, **policy).require(run, known or directory(), now)
    assert caught.value.code == code
    assert caught.value.hint
    return caught.value


# ---- what is signed -------------------------------------------------------------------------------------------------


def test_an_honest_run_is_accepted_again_and_again(home):
    run = run_of()
    for _ in range(2):
        found = consent(home).require(run, directory(), NOW)
        assert (found.developer, found.project, found.terms) == (ADA.node_id, "credit", ASKED)
    sent = json.loads(json.dumps({**run, "clip": 8}))  # JSON does not tell 8 from 8.0
    consent(home).require(sent, directory(), NOW)


def test_a_run_without_a_signature(home):
    refused(home, run_of(signed=None), code="run-not-signed")
    run = run_of()
    del run["signed"]
    refused(home, run, code="run-not-signed")


@pytest.mark.parametrize("name", [*TERMS, "project", "submitter"])
def test_every_term_that_is_changed_is_found(home, name):
    run = run_of()
    changed = {"project": "debit", "submitter": EVE.node_id}.get(name, "other")
    run[name] = changed
    known = directory(project="debit") if name == "project" else None
    if name == "project":
        known = directory((ADA, "laboratory", ("developer",)), project="debit")
    error = refused(home, run, code="run-altered", known=known)
    assert error.details["field"] == name
    assert repr(changed) in error.message


@pytest.mark.parametrize(("name", "told"), [
    ("secure_aggregation", 1), ("secure_aggregation", None), ("rounds", True), ("rounds", "5"), ("privacy", None),
    ("privacy", {**ASKED["privacy"], "epsilon": 1.1}), ("privacy", {**ASKED["privacy"], "more": None}),
    ("aggregation_options", {}), ("aggregation_options", {"momentum": 0.5, "of": [1, 3]}),
    ("aggregation_options", {"momentum": 0.5, "of": [1, 2, 3]}), ("seed", None),
])  # fmt: skip
def test_what_only_looks_alike_is_found(home, name, told):
    refused(home, run_of(**{name: told}), code="run-altered")


def test_who_is_no_developer(home):
    refused(home, run_of(developer=EVE), code="unknown-peer")
    refused(home, run_of(developer=NORTH), code="role-missing")
    gone = directory()
    gone.update({"domain": "credit", "domain_key": DOMAIN.node_id, "memberships": [], "records": []})
    refused(home, run_of(), code="unknown-peer", known=gone)


def test_a_membership_that_has_ended(home):
    refused(home, run_of(now=float(1 << 34)), code="membership-expired", now=float(1 << 34))


def test_another_signature(home):
    run = run_of()
    run["signed"]["signature"] = run_of(developer=EVE)["signed"]["signature"]
    refused(home, run, code="bad-signature", kind=NotAuthenticated)
    # Signed by Ada, for another purpose.
    body = run_of()["signed"]["body"]
    refused(
        home, run_of(signed=sign_document(ADA, "flaas/record/1", body)), code="bad-signature", kind=NotAuthenticated
    )


def test_a_request_has_its_time(home):
    run = run_of()
    refused(home, run, code="run-request-expired", now=NOW + LIFETIME + 61)
    refused(home, run, code="run-request-expired", now=NOW - 61)
    consent(home).require(run, directory(), NOW + LIFETIME)
    consent(home).require(run, directory(), NOW + LIFETIME + 1000), "it goes on after a restart"


def test_a_request_for_ever_is_none(home):
    run = run_of()
    body = {**run["signed"]["body"], "expires": int(NOW) + 31 * 86_400}
    refused(home, run_of(signed=sign_document(ADA, "flaas/run/1", body)), code="bad-run-request", kind=InvalidInput)


def test_a_request_is_good_for_one_run(home):
    run = run_of()
    consent(home).require(run, directory(), NOW)
    again = {**run, "id": "r2"}
    error = refused(home, again, code="run-replayed")
    assert error.details["first"] == "r1"
    refused(home, run_of("r1"), code="run-replayed")  # another request for the same run
    consent(home).require(run_of("r3"), directory(), NOW)


def test_a_request_is_remembered_for_as_long_as_it_could_be_used(home):
    run = run_of()
    consent(home).require(run, directory(), NOW)
    later = NOW + LIFETIME + 59  # the last moment at which it could be
    consent(home).require(run_of("r2", now=later), directory(), later)
    refused(home, {**run, "id": "r3"}, code="run-replayed", now=later)
    much_later = NOW + 60 * 86_400
    consent(home).require(run_of("r4", now=much_later), directory(), much_later)
    assert len(json.loads((home.path / "requests.json").read_text())) == 1, "it does not grow for ever"


def test_a_damaged_memory_is_said_and_not_passed_over(home):
    (home.path / "requests.json").write_text('{"a": 1')
    with pytest.raises(InvalidInput) as caught:
        Ledger(home.path / "requests.json")
    assert caught.value.code == "bad-ledger"


def test_what_an_ended_run_is_told_as(home):
    run = run_of()
    known = consent(home)
    with pytest.raises(NotAllowed):
        known.require_known(run)
    known.require(run, directory(), NOW)
    known.require_known(run)
    for changed in ({**run, "submitter": EVE.node_id}, run_of(developer=EVE)):
        with pytest.raises(NotAllowed):
            known.require_known(changed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=JSON, at=st.sampled_from(["", "body", "signature", "body.terms", "body.v", "body.nonce", "body.expires",
                                         "body.developer", "body.terms.start_digest", "body.project"]))  # fmt: skip
def test_garbage_is_refused_and_nothing_else_happens(tmp_path_factory, garbage, at):
    run = run_of()
    document = copy.deepcopy(run["signed"])
    *path, last = at.split(".")
    where = document
    for name in path:
        where = where[name]
    if last:
        if where[last] == garbage:
            return
        where[last] = garbage
    else:
        document = garbage
    home = Home(tmp_path_factory.mktemp("garbage"))
    with pytest.raises(FlaasError):
        consent(home).require({**run, "signed": document}, directory(), NOW)
    assert not (home.path / "requests.json").exists()


# ---- the policy -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("policy", "code"), [
    ({"deny_developers": (ADA.node_id,)}, "policy-developers"),
    ({"allow_developers": (EVE.node_id,)}, "policy-developers"),
    ({"allow_developers": (ADA.node_id,), "deny_developers": (ADA.node_id,)}, "policy-developers"),
    ({"deny_organisations": ("laboratory",)}, "policy-organisations"),
    ({"allow_organisations": ("elsewhere",)}, "policy-organisations"),
    ({"datasets": {"loans": {"deny_organisations": ("laboratory",)}}}, "policy-organisations"),
])  # fmt: skip
def test_the_owner_chooses_whose_runs(home, policy, code):
    assert "the owner of this node" in refused(home, run_of(), code=code, **policy).hint


def test_the_organisation_is_as_the_domain_key_says(home):
    run = run_of(organisation="elsewhere")  # what the API says of it does not matter
    consent(home, allow_organisations=("laboratory",)).require(run, directory(), NOW)


def test_the_file_of_a_new_node_has_all_of_it(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text(Policy.default_toml())
    assert Policy.load(path) == Policy()
    text = Policy.default_toml().replace('approve = "signed"', 'approve = "manual"')
    path.write_text(text.replace("deny_developers = []", f'deny_developers = ["{ONE}"]'))
    policy = Policy.load(path)
    assert (policy.approve, policy.deny_developers) == ("manual", (ONE,))
    path.write_text(text.replace("manual", "maybe"))
    with pytest.raises(InvalidInput, match='"signed" or "manual"'):
        Policy.load(path)


# ---- the owner ------------------------------------------------------------------------------------------------------

MANUAL = {"approve": "manual", "approve_within": 60, "contact": "it@north"}


def test_the_owner_is_asked_and_agrees(home):
    run = run_of()
    asking = consent(home, **MANUAL)
    for _ in range(2):
        with pytest.raises(AwaitsOwner):
            asking.require(run, directory(), NOW)
    assert not asking.has_news(NOW + 1)
    (entry,) = waiting(home)
    assert (entry["run"], entry["organisation"], entry["developer"]) == ("r1", "laboratory", ADA.node_id)
    assert (entry["dataset"], entry["rounds"], entry["privacy"]) == ("loans", 5, ASKED["privacy"])
    decide(home, "r1", approve=True)
    assert asking.has_news(NOW + 1)
    assert not asking.has_news(NOW + 1), "it is news once"
    asking.require(run, directory(), NOW)
    asking.keep_only([])
    assert waiting(home) == []
    asking.require(run, directory(), NOW), "what was accepted is not asked again"


def test_the_owner_refuses(home):
    with pytest.raises(AwaitsOwner):
        consent(home, **MANUAL).require(run_of(), directory(), NOW)
    run = run_of()
    with pytest.raises(AwaitsOwner):  # another request for this run is another question
        consent(home, **MANUAL).require(run, directory(), NOW)
    decide(home, "r1", approve=False)
    assert "it@north" in refused(home, run, code="owner-refused", **MANUAL).hint


def test_what_was_agreed_to_is_not_changed_afterwards(home):
    with pytest.raises(AwaitsOwner):
        consent(home, **MANUAL).require(run_of(), directory(), NOW)
    decide(home, "r1", approve=True)
    with pytest.raises(AwaitsOwner):
        consent(home, **MANUAL).require(run_of(), directory(), NOW)


def test_the_owner_does_not_answer(home):
    run, asking = run_of(), consent(home, **MANUAL)
    with pytest.raises(AwaitsOwner):
        asking.require(run, directory(), NOW)
    assert not asking.has_news(NOW + 59)
    assert asking.has_news(NOW + 60)
    assert not asking.has_news(NOW + 61)
    assert "within 60 s" in refused(home, run, code="owner-did-not-answer", now=NOW + 60, **MANUAL).message


def test_the_owner_is_not_asked_what_the_policy_forbids_or_nobody_signed(home):
    refused(home, run_of(), code="policy-organisations", deny_organisations=("laboratory",), **MANUAL)
    refused(home, run_of(rounds=6), code="run-altered", **MANUAL)
    assert waiting(home) == []


def test_an_answer_to_what_was_not_asked(home):
    with pytest.raises(NotFound, match="these do: none"):
        decide(home, "r1", approve=True)
    for run in ("../node", "a/b", "", "x" * 65):
        with pytest.raises(InvalidInput):
            decide(home, run, approve=True)
    with pytest.raises(InvalidInput):
        consent(home, **MANUAL).require(run_of("../../evil"), directory(), NOW)


# ---- revoked weights ------------------------------------------------------------------------------------------------


def version(digest, state="revoked", reason="It remembers names."):
    return {"digest": digest, "state": state, "reason": reason}


def test_a_revocation_outlives_what_the_api_says_later(tmp_path):
    path = tmp_path / "revoked.json"
    assert Revocations(path).learn("credit", [version(ONE), version(TWO, "released"), version("junk")]) == 1
    known = Revocations(path)
    assert known.learn("credit", []) == 0
    assert known.learn("credit", [version(ONE, "released"), version(ONE, reason="None of your business.")]) == 0
    with pytest.raises(NotAllowed, match="It remembers names") as caught:
        known.require_not_revoked("credit", ONE)
    assert caught.value.code == "model-revoked"
    known.require_not_revoked("credit", TWO)
    known.require_not_revoked("debit", ONE)


def test_a_damaged_list_of_revocations_is_said(tmp_path):
    path = tmp_path / "revoked.json"
    for damage in ("{", "[]", '{"credit": 1}', '"x"'):
        path.write_text(damage)
        with pytest.raises(InvalidInput) as caught:
            Revocations(path)
        assert caught.value.code == "bad-revocations"


# ---- in a round -----------------------------------------------------------------------------------------------------


def begin(table, weights, number=1):
    body = {
        "run": "run-1", "term": 1, "round": number, "attempt": 1, "members": table.ids, "clip": 8.0, "rule": {},
        "maximum_examples": 100, "learning_rate": None, "plan": "d1", "aggregation": "fedavg",
        "aggregation_options": {}, "privacy": None,
    }  # fmt: skip
    return Message("round/begin", body, {"weights": weights})


def test_the_first_round_starts_from_the_weights_that_were_signed(tmp_path, fake_plan):
    table = Table(tmp_path, [10, 20], secure=False)
    table.run["start_digest"] = digest(table.start)
    participant = table.participants[table.ids[0]]

    async def play():
        with pytest.raises(InvalidInput) as caught:
            await participant.begin(begin(table, table.start + np.float32(1)))
        assert caught.value.code == "wrong-start"
        await participant.begin(begin(table, table.start + np.float32(1), number=2))
        await participant.begin(begin(table, table.start))

    together(play())


def test_no_round_starts_from_revoked_weights(tmp_path, fake_plan):
    table = Table(tmp_path, [10, 20], secure=False)
    revoked = Revocations(tmp_path / "revoked.json")
    revoked.learn("credit", [version(digest(table.start))])
    participant = table.participants[table.ids[0]]
    participant._require_not_revoked = lambda start: revoked.require_not_revoked("credit", start)

    async def play():
        with pytest.raises(NotAllowed, match="It remembers names"):
            await participant.begin(begin(table, table.start, number=3))
        await participant.begin(begin(table, table.start + np.float32(1), number=3))

    together(play())


# ---- pause, at the aggregator ---------------------------------------------------------------------------------------


def test_a_paused_aggregator_finishes_the_round_and_waits(tmp_path, fake_plan):
    table = Table(tmp_path, [10, 20, 30], secure=True, rounds=3, state="running")
    table.timing = type(table.timing)(assembly=2.0, patience=0.2, peer=1.0)
    table.aggregator = table.new_aggregator()

    async def play():
        leading = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        first = await table.follow(0, told="")
        table.aggregator.update({**table.run, "state": "paused", "reason": {"message": "Paused by ada."}})
        told = await table.follow(first.body["round"], told="")
        while told.body["reports"]:  # the rounds that were under way
            told = await table.follow(told.body["round"], told="")
        assert (told.body["state"], told.body["ended"]) == ("paused", False)
        assert told.body["reason"]["message"] == "Paused by ada."
        done = told.body["round"]
        await asyncio.sleep(3 * table.timing.patience)
        assert table.aggregator.state == "paused"
        assert not leading.done(), "patience does not end in a pause"
        table.aggregator.update({**table.run, "state": "gathering", "reason": None})
        told = await table.follow(done, told="paused")
        while not told.body["ended"]:
            told = await table.follow(told.body["round"], told="")
        assert (told.body["state"], told.body["round"]) == ("completed", 3)
        await leading

    together(play())
    reports = [body for path, body in table.reporter.told if "/rounds/" in path]
    assert all(len(report["digest"]) == 64 for report in reports)


def test_an_aggregator_that_is_paused_before_its_plan_has_come_waits_on(tmp_path, fake_plan):
    table = Table(tmp_path, [10, 20], secure=False, rounds=1, state="paused")
    table.timing = type(table.timing)(assembly=0.1, patience=0.2, peer=1.0)
    table.aggregator = table.new_aggregator()

    async def play():
        leading = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await asyncio.sleep(3 * table.timing.patience)
        assert not leading.done()
        table.aggregator.update({**table.run, "state": "gathering"})
        await table.submit()
        await table.follow(0)
        await table.follow(1)
        await leading
        assert table.aggregator.state == "completed"

    together(play())


def test_a_pause_within_one_round_is_not_noticed(tmp_path, fake_plan):
    table = Table(tmp_path, [10, 20], secure=False, state="running")
    table.aggregator.state = "running"
    table.aggregator.update({**table.run, "state": "paused"})
    table.aggregator.update({**table.run, "state": "gathering"})
    assert table.reporter.states == ["running"], "the API is told that it still runs"


def test_a_request_is_read_back(home):
    document = run_request.sign(ADA, "credit", ASKED, time.time())
    assert RunRequest.parse(json.loads(json.dumps(document))).terms == ASKED
    assert len(document["body"]["nonce"]) == 32
    assert document["body"]["nonce"] != run_request.sign(ADA, "credit", ASKED, time.time())["body"]["nonce"]
