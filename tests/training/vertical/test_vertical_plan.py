"""A vertical plan travels unchanged, is known by its digest, and is read with suspicion."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import json

import keras
import numpy as np
import pytest
from vertical_world import bottom, federation, top

from flaas_jupyter import VerticalModel
from flaas_jupyter.errors import Aborted, InvalidInput, NotAllowed
from flaas_jupyter.training.vertical.alignment import align_here
from flaas_jupyter.training.vertical.exchange import connected
from flaas_jupyter.training.vertical.party import run_party
from flaas_jupyter.training.vertical.plan import VerticalPlan, weights_digest
from flaas_jupyter.training.vertical.predict import predict_party
from flaas_jupyter.training.vertical.state import PartyState
from flaas_jupyter.vertical_parts import Parts


@pytest.fixture(scope="module")
def made() -> tuple[VerticalPlan, dict[str, np.ndarray]]:
    parties = federation(parties=2)
    model = VerticalModel({"telco": bottom(4, 3)}, top(6), mode="split")
    model.compile("adam", "binary_crossentropy")
    parts = Parts(model, parties, model._compiling)
    plan = parts.plan(model, parties, seed=1, epochs=2, batch_size=32, validation_split=0.1, shuffle=True, minimum=10)
    return plan, parts.vectors(plan)


@pytest.fixture
def data(made) -> dict:
    return copy.deepcopy(json.loads(json.dumps(made[0].to_dict())))


def test_it_comes_back_as_it_was(made, data):
    again = VerticalPlan.from_dict(data)
    assert again == made[0]
    assert again.digest == made[0].digest
    assert again.label_holder == "bank"
    assert again.feature_parties == ("telco",)


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "other"},
        {"parties": ["bank"]},
        {"parties": ["bank", "bank"]},
        {"parties": "bank"},
        {"columns": {"bank": ["b0"]}},
        {"columns": {"bank": [], "telco": []}},
        {"columns": {"bank": [1], "telco": ["t0"]}},
        {"widths": {}},
        {"widths": {"telco": 0}},
        {"widths": {"telco": True}},
        {"encoders": {"telco": "random"}},
        {"encoders": []},
        {"models": {}},
        {"seed": -1},
        {"seed": 1.5},
        {"epochs": 0},
        {"batch_size": True},
        {"validation_split": 1.0},
        {"shuffle": 1},
        {"standardize": None},
        {"minimum_intersection": 0},
        {"protection": {}},
        {"starts": {"bank": "x"}},
        {"starts": {"bank": 1, "telco": 2}},
        {"label": None},
        {"version": 2},
        {"more": 1},
    ],
    ids=lambda change: json.dumps(change)[:40],
)
def test_what_is_no_plan_is_refused(data, change):
    with pytest.raises(InvalidInput) as error:
        VerticalPlan.from_dict({**data, **change})
    assert error.value.code in ("bad-plan", "bad-protection")


def test_batches_are_the_same_everywhere_and_others_in_the_next_epoch(made):
    plan = made[0]
    first = plan.batches(0, 100)
    assert [len(rows) for rows in first] == [32, 32, 32, 4]
    assert sorted(np.concatenate(first).tolist()) == list(range(100))
    assert np.concatenate(first).tolist() == np.concatenate(plan.batches(0, 100)).tolist()
    assert np.concatenate(first).tolist() != np.concatenate(plan.batches(1, 100)).tolist()
    still = dataclasses.replace(plan, shuffle=False)
    assert np.concatenate(still.batches(3, 100)).tolist() == list(range(100))


def test_something_is_left_to_train_on(made):
    assert made[0].split_rows(100) == (90, 10)
    with pytest.raises(InvalidInput):
        made[0].split_rows(0)


# ---- one party ------------------------------------------------------------------------------------------------------


def run(made, party: str, *, plan: VerticalPlan | None = None, weights: object = ..., label=..., names=None, **options):
    given, vectors = made
    table = federation(parties=2).tables[party]
    if label is not ...:
        table = dataclasses.replace(table, label=label)
    line = connected(names or given.parties)[party]
    start = vectors[party] if weights is ... else weights
    return asyncio.run(run_party(line, plan or given, table, start, **{"label_consent": True, **options}))


def test_other_parties_than_the_plans_are_refused(made):
    with pytest.raises(InvalidInput) as error:
        run(made, "bank", names=["bank", "shop"])
    assert error.value.code == "other-parties"


def test_other_weights_than_the_plans_are_refused(made):
    for weights in (None, made[1]["bank"] + 1):
        with pytest.raises(InvalidInput) as error:
            run(made, "bank", weights=weights)
        assert error.value.code == "wrong-weights"


def test_a_label_holder_without_labels_is_refused(made):
    with pytest.raises(InvalidInput, match="has no labels") as error:
        run(made, "bank", label=None)
    assert error.value.code == "no-label"


def test_consent_is_the_label_holders(made):
    with pytest.raises(NotAllowed) as error:
        run(made, "bank", label_consent=False)
    assert error.value.code == "label-consent"


def test_a_run_can_be_stopped(made):
    with pytest.raises(Aborted) as error:
        run(made, "bank", alignment=_aligned()["bank"], should_stop=lambda: True)
    assert error.value.code == "training-stopped"


def test_a_model_with_code_in_it_is_refused(made, data):
    layer = {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "evil"}, "registered_name": None}
    data["models"]["bank"]["model"]["layers"].append(layer)
    data["starts"] = {}
    with pytest.raises(NotAllowed) as error:
        run(made, "bank", plan=VerticalPlan.from_dict(data), weights=None, alignment=_aligned()["bank"])
    assert error.value.code == "custom-layer"


def _aligned():
    return align_here(federation(parties=2).tables, 1)


def test_a_cached_alignment_that_is_too_small_is_refused(made):
    plan = dataclasses.replace(made[0], minimum_intersection=10_000)
    with pytest.raises(InvalidInput) as error:
        run(made, "bank", plan=plan, alignment=_aligned()["bank"])
    assert error.value.code == "too-few-common"


# ---- states ---------------------------------------------------------------------------------------------------------


def test_a_state_comes_back_from_its_bytes():
    state = PartyState("telco", "ab" * 32, {"weights": np.arange(3.0, dtype="float32"), "mean": np.ones(2)})
    again = PartyState.from_bytes(state.to_bytes())
    assert (again.party, again.plan) == ("telco", "ab" * 32)
    np.testing.assert_array_equal(again.tensors["weights"], state.tensors["weights"])


@pytest.mark.parametrize("data", [b"", b"nothing", b"PK\x03\x04 and so on"])
def test_bytes_that_are_no_state_are_refused(data):
    with pytest.raises(InvalidInput) as error:
        PartyState.from_bytes(data)
    assert error.value.code == "bad-state"


def test_another_runs_state_is_refused(made):
    plan = made[0]
    state = PartyState("bank", "00" * 32, {})
    line = connected(plan.parties)["bank"]
    with pytest.raises(InvalidInput) as error:
        asyncio.run(predict_party(line, plan, state, federation(parties=2).tables["bank"]))
    assert error.value.code == "other-state"


def test_the_digest_of_weights_knows_their_type_and_order():
    one = np.arange(3, dtype="float32")
    assert weights_digest(one) == weights_digest(one.copy())
    assert weights_digest(one) != weights_digest(one[::-1])
    assert weights_digest(one) != weights_digest(one.astype("float64"))


def test_other_backends_are_refused(monkeypatch, made):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(InvalidInput, match="runs on 'torch'") as error:
        run(made, "bank")
    assert error.value.code == "backend-not-supported"
