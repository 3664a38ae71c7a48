"""Data sets come and go while nodes run; what has used them is written down at the nodes."""

from __future__ import annotations

import numpy as np
import pytest

from flaas_jupyter.demo.local import LocalFederation
from flaas_jupyter.execution.datasets import DatasetRegistry

from .conftest import Fit, expected_weights, linear_model, offered, started

NODES = ("north", "south", "west")


def test_what_is_registered_while_nodes_run_is_offered_used_written_down_and_withdrawn(three):
    local, data = three
    registries = {name: DatasetRegistry(local.nodes[name].home.path) for name in NODES}
    for name, registry in registries.items():
        registry.add("late", data.files[name]["rows"], target="label", projects=(local.project,))
    offered(local, "late", 3)
    with local.connect() as session:
        model = linear_model(secure=True)
        before = model.get_weights()
        model.fit(session.project(local.project).federation(dataset="late"), rounds=1, batch_size=1000, verbose=0)
        assert any(not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
        (run,) = {entry["run"] for registry in registries.values() for entry in registry.get("late").lineage}
        assert local.get(f"/v1/runs/{run}")["dataset"] == "late"
    for registry in registries.values():
        (use,) = registry.get("late").lineage
        assert use["version"] == registry.get("late").version == registry.get("rows").version
        assert (use["project"], use["operation"]) == (local.project, "train")
        registry.remove("late")
    offered(local, "late", 0)


@pytest.mark.long
def test_nodes_whose_rows_do_not_fit_in_memory_train_the_same_model(tmp_path, monkeypatch):
    spawn = LocalFederation._spawn
    monkeypatch.setattr(LocalFederation, "_spawn", lambda *a: spawn(*a[:-1], {**a[-1], "FLAAS_IN_MEMORY": "500"}))
    for local, data in started(tmp_path, {"north": 400, "south": 250, "west": 300}):
        model = linear_model(secure=False)
        before = model.get_weights()
        trained = Fit(local, model, rounds=2, local_epochs=2, batch_size=1000).done()
        wanted = expected_weights(before, data, [list(NODES)] * 2, steps=2)
        for ours, theirs in zip(trained.get_weights(), wanted, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=2e-5, rtol=0)
        for name in NODES:
            assert list((local.nodes[name].home.path / "store").rglob("*.npy")), "it was trained on from disk"
