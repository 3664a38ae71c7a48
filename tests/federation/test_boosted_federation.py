"""Boosted trees over real node processes are those of the pooled rows, and of a simulation."""

from __future__ import annotations

import pandas as pd
import pytest
from sklearn.base import clone

import flaas_jupyter as flaas

MADE = flaas.FederatedBoostingClassifier(max_iter=3, max_depth=2, max_bins=16, min_samples_leaf=10)


@pytest.fixture
def connected(three):
    federation, data = three
    session = federation.connect()
    yield session.project(federation.project).federation(dataset="rows"), data
    session.close()


def test_nodes_a_simulation_and_the_pooled_rows_train_one_model(connected):
    federation, data = connected
    tables = [pd.read_csv(data.files[name]["rows"]) for name in data.files]
    target = federation.schema.set_index("role").loc["target", "name"]
    simulated = flaas.simulate(clients=[(table.drop(columns=target), table[target]) for table in tables], journal=False)
    pooled = pd.concat(tables, ignore_index=True)
    models = [
        clone(MADE).fit(federation),
        clone(MADE).fit(simulated),
        clone(MADE).fit(pooled.drop(columns=target), pooled[target]),
    ]
    first, *others = [model._ensemble.to_dict(statistics=True) for model in models]
    assert first["iterations"]
    assert all(other == first for other in others)
    assert models[0].classes_.tolist() == [0, 1]
    assert models[0].score(pooled, pooled[target]) > 0.6
