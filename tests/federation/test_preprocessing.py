"""Raw tables at real nodes: brought together, preprocessed by federated figures, trained on, served."""

from __future__ import annotations

import time
from collections.abc import Callable

import keras
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

import flaas_jupyter as flaas
from flaas_jupyter.cli import main
from flaas_jupyter.errors import FlaasError
from flaas_jupyter.execution.datasets import DatasetRegistry
from flaas_jupyter.execution.datasets.schema import DatasetSchema
from flaas_jupyter.preprocessing import DateParts, Impute, OneHot, Preprocessing, Scale, TextVectorize
from tests.training.preprocessing.tables import patients

NAME = "patients"
DECLARED = {"sex": {"categories": ["female", "male"]}, "chol": {"unit": "mg/dL"}}


def hospital(seed: int) -> pd.DataFrame:
    table = patients(90, seed)
    return table.assign(sick=(table.chol + 20 * (table.sex == "male") > 230).astype(int))


def of_the_south(table: pd.DataFrame) -> pd.DataFrame:
    """The same, as the south keeps it: another name, other codes, another unit."""
    changed = table.rename(columns={"age": "Age"})
    return changed.assign(sex=table.sex.map({"female": "F", "male": "M"}), chol=table.chol / 38.6654)


def steps() -> Preprocessing:
    return Preprocessing(
        Impute("age", "mean"),
        Scale(["age", "chol"]),
        OneHot(["sex", "stage"]),
        TextVectorize("note", output="count"),
        DateParts("admitted"),
    )


def model_of(width: int) -> flaas.FederatedModel:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((width,))
    model = flaas.FederatedModel(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs), secure_aggregation=True)
    model.compile(keras.optimizers.SGD(0.5), "binary_crossentropy", metrics=["accuracy"])
    return model


def eventually(found: Callable[[], bool], limit: float = 30.0) -> None:
    """Look until something is so; nodes tell of their data sets by themselves."""
    deadline = time.monotonic() + limit
    while not found():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.1)


@pytest.mark.long
def test_raw_tables_of_three_nodes_become_one_model_that_takes_raw_columns(three, tmp_path):
    federation, _ = three
    tables = {name: hospital(seed) for seed, name in enumerate(federation.nodes)}
    for name, table in tables.items():
        south = name == "south"
        declared = DECLARED | ({"sex": {"categories": ["F", "M"]}, "chol": {"unit": "mmol/L"}} if south else {})
        path = tmp_path / f"{name}.parquet"
        (of_the_south(table) if south else table).to_parquet(path)
        schema = DatasetSchema.from_dict(declared)
        DatasetRegistry(federation.nodes[name].home.path).add(NAME, path, "sick", raw=True, schema=schema)
    with federation.connect() as session:
        project = session.project(federation.project)
        eventually(lambda: any(len(e["nodes"]) == 3 for e in project._datasets() if e["name"] == NAME))
        nodes = project.federation(NAME)

        differ = nodes.schema_differences().set_index(["column", "field"])
        assert differ.loc["sex", "categories"]["south"] == ("F", "M")
        with pytest.raises(FlaasError) as error:
            steps().fit(nodes)
        assert error.value.code == "schema-mismatch"
        mapping = nodes.suggest_mapping()
        with pytest.raises(FlaasError) as error:
            Preprocessing(mapping, *steps().steps).fit(nodes)
        assert error.value.code == "mapping-not-adopted"
        assert set(mapping.nodes) == {federation.nodes["south"].node_id}
        kept = project.save_mapping(mapping, "common")
        assert project.mapping("common").digest == mapping.digest
        assert project.recipes.version.to_list() == [1]

        south = {"FLAAS_HOME": str(federation.nodes["south"].home.path)}
        adopted = CliRunner().invoke(main, ["dataset", "map", NAME, kept["id"], "--yes"], env=south)
        assert adopted.exit_code == 0, adopted.output
        eventually(lambda: nodes.schema_differences().empty)

        prep = steps().fit(nodes)
        model = model_of(len(prep.columns))
        model.fit(nodes, preprocessing=prep, rounds=2, batch_size=100, seed=4, verbose=0)

        clients = [(table.drop(columns="sick"), table.sick) for _, table in sorted(tables.items())]
        simulated = flaas.simulate(
            clients=clients, raw=True, analytics_policy=flaas.ReleasePolicy(), journal=False, workers=1
        )
        again = steps().fit(simulated)
        assert again.columns == prep.columns
        assert np.allclose(again.transform(clients[0][0]), prep.transform(clients[0][0]), atol=1e-4)
        local = model_of(len(prep.columns))
        local.fit(simulated, preprocessing=prep, rounds=2, batch_size=100, seed=4, verbose=0)
        for ours, theirs in zip(model.get_weights(), local.get_weights(), strict=True):
            assert np.allclose(ours, theirs, atol=1e-4)

        table = tables["north"]
        answers = prep.export(model).predict(prep.raw(table), verbose=0)
        assert np.allclose(answers, model.predict(prep.transform(table).to_numpy(), verbose=0), atol=1e-5)
        with pytest.raises(FlaasError) as error:
            model_of(len(prep.columns)).fit(nodes, rounds=1, verbose=0)
        assert error.value.code == "needs-preprocessing"
