"""What a party of a vertical run believes and allows: the signed terms, the owner's policy, signed predictions."""

from __future__ import annotations

import time
from types import SimpleNamespace

import numpy as np
import pytest

from flaas_jupyter.communications.directory import Directory, Membership, sign_membership
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.errors import FlaasError, InvalidInput, NotAllowed, NotAuthenticated
from flaas_jupyter.execution import prediction_request
from flaas_jupyter.execution.consent import Consent, waiting
from flaas_jupyter.execution.policy import Policy
from flaas_jupyter.execution.prediction_request import PredictionRequest, ids_from_tensors, ids_to_tensors
from flaas_jupyter.execution.run_request import TERMS, VERTICAL, RunRequest, sign
from flaas_jupyter.execution.vertical_policy import Place, require_allowed, require_plan
from flaas_jupyter.home import Home

NOW = 1_790_000_000.0
DOMAIN, ADA, EVE, BANK, TELCO = (Identity(bytes([seed]) * 32) for seed in (1, 2, 3, 4, 5))
ASKED = {
    "dataset": "loans", "rounds": 5, "local_epochs": 1, "batch_size": 32, "secure_aggregation": False, "clip": None,
    "aggregation": "fedavg", "aggregation_options": {}, "clients_per_round": None, "privacy": None,
    "minimum_nodes": None, "seed": 7, "parameters": 30, "model_digest": "11" * 32, "start_digest": "22" * 32,
    "kind": "vertical", "id_column": "customer", "label": {"node": BANK.node_id, "column": "default"}, "mode": "split",
    "parties": [
        {"node": TELCO.node_id, "name": "telco", "dataset": "usage"},
        {"node": BANK.node_id, "name": "bank", "dataset": "loans"},
    ],
}  # fmt: skip


def run_of(**changes):
    told = {**ASKED, "id": "r1", "project": "credit", "submitter": ADA.node_id}
    return {**told, "signed": sign(ADA, "credit", ASKED, NOW), **changes}


def directory():
    known = Directory("credit", DOMAIN.node_id)
    members = [(ADA, "laboratory", ("developer",)), (BANK, "bank", ("node",)), (TELCO, "telco", ("node",))]
    documents = [
        sign_membership(DOMAIN, Membership("credit", who.node_id, where, roles, 1, 1 << 33, 1))
        for who, where, roles in members
    ]
    known.update({"domain": "credit", "domain_key": DOMAIN.node_id, "memberships": documents, "records": []})
    return known


def refused(code, call, *args, kind=FlaasError, **kwargs):
    with pytest.raises(kind) as caught:
        call(*args, **kwargs)
    assert caught.value.code == code, caught.value
    return caught.value


# ---- what is signed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [
    {"kind": "horizontal"}, {"kind": None}, {"mode": "oneway"}, {"id_column": "name"},
    {"label": {"node": TELCO.node_id, "column": "default"}}, {"parties": ASKED["parties"][:1]},
    {"parties": [*ASKED["parties"], {"node": EVE.node_id, "name": "eve", "dataset": "x"}]},
])  # fmt: skip
def test_a_vertical_run_that_was_changed_is_refused(change):
    request = RunRequest.parse(run_of()["signed"])
    request.require_same(run_of())
    refused("run-altered", request.require_same, run_of(**change), kind=NotAllowed)


@pytest.mark.parametrize("added", [{"kind": "vertical"}, {"mode": "split"}, {"parties": ASKED["parties"]}])
def test_a_horizontal_run_cannot_be_made_a_vertical_one(added):
    plain = {name: ASKED[name] for name in TERMS}
    told = {**plain, "id": "r1", "project": "credit", "submitter": ADA.node_id}
    request = RunRequest.parse(sign(ADA, "credit", plain, NOW))
    assert set(request.terms) == set(TERMS), "older nodes understand it"
    request.require_same(told)
    request.require_same({**told, **dict.fromkeys(VERTICAL), "kind": "horizontal"})
    refused("run-altered", request.require_same, {**told, **added}, kind=NotAllowed)


def test_the_owner_is_asked_about_the_own_data_set_and_the_mode(tmp_path):
    policy = Policy(projects=("credit",), datasets={"usage": {"approve": "manual"}})
    consent = Consent(Home(tmp_path), policy)
    consent.require(run_of(), directory(), NOW)  # of the label holder's data set nothing is asked
    other = Consent(Home(tmp_path / "telco"), policy)
    with pytest.raises(Exception, match="r1"):
        other.require(run_of(), directory(), NOW, dataset="usage")
    (entry,) = waiting(Home(tmp_path / "telco"))
    assert (entry["dataset"], entry["kind"], entry["mode"]) == ("usage", "vertical", "split")


# ---- a node's place -------------------------------------------------------------------------------------------------


def test_each_party_finds_its_place_and_the_label_holder_is_first():
    bank, telco = Place.of(run_of(), BANK.node_id), Place.of(run_of(), TELCO.node_id)
    assert (bank.party, bank.dataset, bank.leads) == ("bank", "loans", True)
    assert (telco.party, telco.dataset, telco.leads) == ("telco", "usage", False)
    assert list(bank.nodes) == list(telco.nodes) == ["bank", "telco"]


@pytest.mark.parametrize("change", [
    {"parties": None}, {"label": None}, {"parties": [{}]}, {"parties": ASKED["parties"][:1]}, {"parties": "bank"},
    {"parties": [*ASKED["parties"], {"node": EVE.node_id, "name": "telco", "dataset": "x"}]},
    {"parties": [*ASKED["parties"], {"node": TELCO.node_id, "name": "again", "dataset": "x"}]},
    {"label": {"node": EVE.node_id, "column": "default"}},
])  # fmt: skip
def test_what_is_told_otherwise_has_no_place(change):
    refused("not-a-party", Place.of, run_of(**change), TELCO.node_id, kind=NotAllowed)


def test_a_stranger_has_no_place():
    refused("not-a-party", Place.of, run_of(), EVE.node_id, kind=NotAllowed)


# ---- what the owner allows ------------------------------------------------------------------------------------------

LOANS = {"name": "loans", "projects": ["credit"], "rows": 900, "id_column": "customer", "target": {"name": "default"}}
USAGE = {"name": "usage", "projects": ["credit"], "rows": 900, "id_column": "customer", "target": None}
OPEN = ("vertical", "vertical-split")


def allowed(node, description, *, mode="split", **policy):
    settings = {"projects": ("credit",), "operations": OPEN, **policy}
    require_allowed(Policy(**settings), run_of(mode=mode), Place.of(run_of(), node.node_id), description)


def test_the_owner_of_the_label_must_agree_to_split_and_others_need_not():
    allowed(BANK, LOANS)
    allowed(TELCO, USAGE, operations=("vertical",))
    allowed(BANK, LOANS, operations=("vertical",), mode="oneway")
    told = refused("policy-operation", allowed, BANK, LOANS, operations=("vertical",), contact="dpo@bank.example")
    assert "labels" in told.message
    assert "dpo@bank.example" in told.hint
    for operations in (("train",), ("vertical-split",), ()):
        refused("policy-operation", allowed, TELCO, USAGE, operations=operations)
    strict = {"datasets": {"loans": {"operations": ("vertical",)}}}
    refused("policy-operation", allowed, BANK, LOANS, **strict)


def test_other_limits_of_the_policy_hold_and_masked_updates_are_not_asked_for():
    allowed(BANK, LOANS, secure_aggregation="required")
    refused("policy-privacy", allowed, BANK, LOANS, privacy="required")
    refused("policy-minimum-rows", allowed, BANK, LOANS, minimum_rows=901)
    refused("policy-maximum-rounds", allowed, BANK, LOANS, maximum_rounds=4)
    refused("policy-projects", allowed, BANK, LOANS, projects=("other",))


def test_the_data_set_must_have_the_ids_and_the_label():
    refused("no-id-column", allowed, TELCO, {**USAGE, "id_column": None}, kind=InvalidInput)
    refused("no-id-column", allowed, TELCO, {**USAGE, "id_column": "phone"}, kind=InvalidInput)
    refused("no-target", allowed, BANK, {**LOANS, "target": None}, kind=InvalidInput)
    refused("no-target", allowed, BANK, {**LOANS, "target": {"name": "late"}}, kind=InvalidInput)


def plan(**changes):
    """What of a plan is held against the run."""
    return SimpleNamespace(**{
        "digest": "11" * 32, "parties": ("bank", "telco"), "mode": "split", "epochs": 5, "batch_size": 32,
        "label": "default", "models": {"bank": SimpleNamespace(parameters=30)}, "minimum_intersection": 1000,
    } | changes)  # fmt: skip


@pytest.mark.parametrize("change", [
    {"digest": "33" * 32}, {"parties": ("telco", "bank")}, {"mode": "oneway"}, {"epochs": 6}, {"batch_size": 1},
    {"label": "age"}, {"models": {}},
])  # fmt: skip
def test_another_plan_than_the_signed_one_is_refused(change):
    place = Place.of(run_of(), TELCO.node_id)
    require_plan(Policy(), run_of(), place, plan())
    refused("wrong-plan", require_plan, Policy(), run_of(), place, plan(**change), kind=InvalidInput)


def test_the_owner_says_how_few_common_rows_are_too_few():
    place = Place.of(run_of(), TELCO.node_id)
    require_plan(Policy(minimum_intersection=10), run_of(), place, plan(minimum_intersection=10))
    error = refused("policy-minimum-intersection", require_plan, Policy(), run_of(), place,
                    plan(minimum_intersection=999))  # fmt: skip
    assert "999" in error.message
    assert "1000" in error.message


# ---- predictions ----------------------------------------------------------------------------------------------------


def test_a_signed_prediction_says_who_asks_what_and_until_when():
    document = prediction_request.sign(ADA, "credit", "r1", "predict", ["a", "b"], NOW)
    request = PredictionRequest.parse(document)
    assert (request.developer, request.run, request.purpose) == (ADA.node_id, "r1", "predict")
    assert request.ids == prediction_request.ids_digest(["a", "b"]) != prediction_request.ids_digest(["ab", ""])
    request.require_in_force(NOW)
    refused("prediction-expired", request.require_in_force, NOW + 3600)
    assert prediction_request.sign(ADA, "credit", "r1", "predict", None, NOW) != prediction_request.sign(
        ADA, "credit", "r1", "predict", None, NOW
    ), "each is good once"


@pytest.mark.parametrize("change", [
    {"run": "r2"}, {"purpose": "evaluate"}, {"ids": None}, {"developer": EVE.node_id}, {"expires": int(NOW) + 800},
])  # fmt: skip
def test_a_prediction_that_was_changed_is_not_signed(change):
    document = prediction_request.sign(ADA, "credit", "r1", "predict", ["a"], NOW)
    document["body"] |= change
    refused("bad-signature", PredictionRequest.parse, document, kind=NotAuthenticated)


@pytest.mark.parametrize("change", [
    {"v": 2}, {"purpose": "export"}, {"nonce": "short"}, {"run": 3}, {"expires": int(NOW) + 9999}, {"issued": "now"},
    {"more": 1}, {"ids": ""},
])  # fmt: skip
def test_what_is_no_prediction_request_is_refused(change):
    from flaas_jupyter.communications.identity import sign_document

    body = {**prediction_request.sign(ADA, "credit", "r1", "predict", ["a"], NOW)["body"], **change}
    document = sign_document(ADA, prediction_request.PREDICT, body)
    refused("bad-prediction-request", PredictionRequest.parse, document, kind=InvalidInput)
    for nothing in (None, [], {}, {"body": None}):
        refused("bad-prediction-request", PredictionRequest.parse, nothing, kind=InvalidInput)


@pytest.mark.parametrize("ids", [[], ["a"], ["", "Zoë", "x" * 300, "€"]])
def test_ids_travel_as_arrays(ids):
    assert ids_from_tensors(ids_to_tensors(ids)) == ids


@pytest.mark.parametrize("change", [
    {"ids": None}, {"ends": None}, {"ends": np.array([1, 0], np.int64)}, {"ends": np.array([1, 99], np.int64)},
    {"ends": np.array([[1, 2]], np.int64)}, {"ids": np.array([255, 254], np.uint8)}, {"ids": np.ones(2)},
])  # fmt: skip
def test_arrays_that_are_no_ids_are_refused(change):
    tensors = {**ids_to_tensors(["a", "b"]), **change}
    refused("bad-message", ids_from_tensors, {n: v for n, v in tensors.items() if v is not None}, kind=InvalidInput)


def test_a_clock_that_is_a_little_off_does_no_harm():
    request = PredictionRequest.parse(prediction_request.sign(ADA, "credit", "r1", "evaluate", None, time.time()))
    request.require_in_force(time.time() - 30)
