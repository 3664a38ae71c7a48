"""Ten thousand clients are lists of row numbers, not ten thousand data sets, models and updates."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, resource
import numpy as np
import flaas_jupyter as flaas, keras

rng = np.random.default_rng(0)
x = rng.normal(size=(100_000, 32)).astype("float32")
y = (x.sum(axis=1) > 0).astype("int32")
inputs = keras.Input((32,))
net = keras.layers.Dense(64, activation="relu")(inputs)
model = flaas.FederatedModel(inputs, keras.layers.Dense(1, activation="sigmoid")(net))
model.compile("sgd", "binary_crossentropy")
federation = flaas.simulate(x, y, clients=10_000)
model.fit(federation, rounds=20, clients_per_round=100, batch_size=10, seed=1, verbose=0)
federation.close()
peak = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(json.dumps({"gigabytes": peak / 2**20, "clients": model.federated_report["clients"].tolist()}))
"""


@pytest.mark.long
def test_ten_thousand_clients_fit_into_four_gigabytes(tmp_path):
    environment = {**os.environ, "FLAAS_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["clients"] == [100] * 20
    assert found["gigabytes"] < 4
