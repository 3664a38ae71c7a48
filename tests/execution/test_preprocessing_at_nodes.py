"""A node and the preprocessing of a plan: what it reads, and what it refuses when its data set has changed."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pandas as pd
import pytest

from flaas_jupyter.communications.identity import Identity, verify
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import FlaasError
from flaas_jupyter.execution.datasets import DatasetRegistry
from flaas_jupyter.execution.participant import Participant
from flaas_jupyter.execution.policy import Policy
from flaas_jupyter.plan import TrainingPlan, columns_digest
from flaas_jupyter.preprocessing import Impute, OneHot, Preprocessing, Scale
from tests.training.preprocessing.tables import patients


@pytest.fixture
def home(tmp_path):
    table = patients(80).assign(sick=np.arange(80) % 2)
    table[["age", "chol", "sex", "sick"]].to_csv(tmp_path / "raw.csv", index=False)
    table[["chol", "sick"]].assign(dose=table.chol / 7).to_csv(tmp_path / "plain.csv", index=False)
    registry = DatasetRegistry(tmp_path)
    registry.add("raw", tmp_path / "raw.csv", "sick", ("demo",), raw=True)
    registry.add("plain", tmp_path / "plain.csv", "sick", ("demo",))
    return tmp_path


def plan_of(width: int, **parts) -> TrainingPlan:
    inputs = keras.Input((width,))
    model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs))
    model.compile("sgd", "binary_crossentropy")
    plan = TrainingPlan.from_model(model, preprocessing=parts.pop("preprocessing", None))
    return plan if not parts else TrainingPlan.from_dict({**plan.to_dict(), **parts})


def prepare(home, name: str, plan: TrainingPlan) -> Participant:
    """Have a node take the plan of a run on one of its data sets."""
    run = {
        "id": "r1", "project": "demo", "dataset": name, "rounds": 1, "local_epochs": 1, "batch_size": 32, "seed": None,
        "parameters": plan.parameters, "model_digest": plan.digest, "secure_aggregation": False, "privacy": None,
        "aggregation": "fedavg", "aggregation_options": {}, "participants": [], "minimum_nodes": 1,
    }  # fmt: skip
    with ThreadPoolExecutor(1) as executor:
        participant = Participant(
            run,
            domain="demo",
            identity=Identity.generate(),
            verify=verify,
            dataset=DatasetRegistry(home).get(name),
            policy=Policy(projects=("demo",), minimum_rows=1),
            executor=executor,
        )
        asyncio.run(participant.prepare(Message("run/prepare", {"plan": plan.to_dict()})))
    return participant


def recipe_of(home) -> Preprocessing:
    raw = pd.read_csv(home / "raw.csv")
    return Preprocessing(Impute("age"), Scale(["age", "chol"]), OneHot("sex")).fit(raw, "sick")


def test_a_node_makes_its_raw_rows_into_what_the_plan_says_and_writes_the_recipe_down(home):
    prep = recipe_of(home)
    plan = plan_of(4, preprocessing=prep.to_dict())
    assert TrainingPlan.from_dict(plan.to_dict()).digest == plan.digest
    participant = prepare(home, "raw", plan)
    assert participant.trainer.examples == 80
    (used,) = [entry for entry in DatasetRegistry(home).get("raw").lineage if entry.get("run")]
    assert used["recipe"] == prep.digest


@pytest.mark.parametrize(
    ("name", "parts", "code"),
    [
        ("raw", {}, "needs-preprocessing"),
        ("plain", {"preprocessing": "raw"}, "recipe-does-not-fit"),
        ("raw", {"preprocessing": {"v": 1, "inputs": [], "steps": [], "mapping": None}}, "bad-recipe"),
        ("raw", {"preprocessing": "target"}, "recipe-does-not-fit"),
        ("plain", {"columns": "00" * 32}, "schema-changed"),
    ],
)
def test_a_plan_that_does_not_go_with_the_data_set_is_refused(home, name, parts, code):
    if parts.get("preprocessing") == "raw":
        parts = {"preprocessing": recipe_of(home).to_dict()}
    if parts.get("preprocessing") == "target":
        leak = Preprocessing(Scale("sick"), rest="drop").fit(pd.read_csv(home / "plain.csv"))
        parts = {"preprocessing": leak.to_dict()}
    with pytest.raises(FlaasError) as error:
        prepare(home, name, plan_of(2, **parts))
    assert error.value.code == code


def test_a_plan_is_for_the_columns_that_it_was_signed_for(home):
    signed = columns_digest(DatasetRegistry(home).get("plain").description())
    plan = plan_of(2, columns=signed)
    assert prepare(home, "plain", plan).trainer is not None
    registry = DatasetRegistry(home)
    registry.remove("plain")
    pd.read_csv(home / "plain.csv").rename(columns={"dose": "weight"}).to_csv(home / "plain.csv", index=False)
    registry.add("plain", home / "plain.csv", "sick", ("demo",))
    with pytest.raises(FlaasError) as error:
        prepare(home, "plain", plan)
    assert error.value.code == "schema-changed"
