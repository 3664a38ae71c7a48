"""Wrong input meets a clear error at the right person, the run says why, and nothing hangs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest

from flaas_jupyter import connect
from flaas_jupyter.errors import FlaasError, InvalidInput, NotAuthenticated, NotFound, Unreachable

from .conftest import FEATURES, Fit, linear_model


@pytest.fixture
def federation(three):
    return three[0]


def stop(federation, name):
    node = federation.nodes[name]
    node.process.terminate()
    node.process.wait()
    node.process = None
    return node


def failed(federation, model, **options) -> FlaasError:
    with pytest.raises(FlaasError) as caught:
        Fit(federation, model, **({"rounds": 2, "batch_size": 1000} | options)).done()
    return caught.value


def last_run(federation) -> dict:
    with federation.connect() as session:
        return session.run(session.project("demo").runs["id"][0])


def test_a_model_that_does_not_fit_the_data(federation):
    import keras

    from flaas_jupyter import FederatedModel

    inputs = keras.Input((FEATURES + 3,))
    model = FederatedModel(inputs=inputs, outputs=keras.layers.Dense(1, activation="sigmoid")(inputs))
    model.compile(optimizer="sgd", loss="binary_crossentropy")
    error = failed(federation, model)
    assert error.code == "model-does-not-fit"
    assert str(FEATURES + 3) in error.message
    assert str(FEATURES) in error.message
    run = last_run(federation)
    assert run["state"] == "failed"
    assert run["reason"]["code"] == "model-does-not-fit"
    Fit(federation, linear_model(secure=True), rounds=1).done()  # the nodes are fit for the next run


def test_a_custom_layer_is_refused_at_the_node(federation):
    import keras

    from flaas_jupyter import FederatedModel

    @keras.saving.register_keras_serializable(package="lab")
    class Doubling(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    inputs = keras.Input((FEATURES,))
    outputs = keras.layers.Dense(1, activation="sigmoid")(Doubling()(inputs))
    model = FederatedModel(inputs=inputs, outputs=outputs)
    model.compile(optimizer="sgd", loss="binary_crossentropy")
    error = failed(federation, model)
    assert error.code == "custom-layer"
    assert "Doubling" in str(error)


def test_updates_that_are_not_finite(federation):
    error = failed(federation, linear_model(secure=True, learning_rate=1e38), rounds=3, local_epochs=5)
    assert error.code in ("non-finite-update", "non-finite-weights")
    assert last_run(federation)["state"] == "failed"


def test_a_wrong_token_an_unknown_project_data_set_and_api(federation):
    with pytest.raises(NotAuthenticated, match="token"):
        connect(federation.url, token="wrong", home=federation.developer_home)
    with federation.connect() as session:
        with pytest.raises(NotFound, match="demo"):
            session.project("elsewhere")
        with pytest.raises(NotFound, match="rows"):
            session.project("demo").federation(dataset="loans")
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        connect("http://127.0.0.1:9", token="any", home=federation.developer_home)


def test_too_few_nodes_for_secure_aggregation(federation):
    error = failed(federation, linear_model(secure=True), dataset="pair")
    assert error.code == "secagg-too-few-nodes"
    Fit(federation, linear_model(secure=False), rounds=1, dataset="pair").done()


def test_different_schemas_between_nodes(federation):
    error = failed(federation, linear_model(secure=False), dataset="mixed")
    assert error.code == "schema-mismatch"
    assert "west" in str(error)
    assert "height" in str(error)


def test_a_policy_that_refuses_is_told_to_the_developer(federation):
    policy = stop(federation, "north").home.policy
    before = policy.read_text()
    policy.write_text(before.replace("maximum_rounds = 1000", "maximum_rounds = 3"))
    try:
        federation.start_node("north")
        federation.wait_online()
        error = failed(federation, linear_model(secure=True), rounds=4)
        assert "north" in str(error)
        assert "maximum_rounds" in str(error) or ("4" in str(error) and "3" in str(error))
        Fit(federation, linear_model(secure=True), rounds=3).done()
    finally:
        policy.write_text(before)
        stop(federation, "north")


def test_data_that_are_no_longer_fit_are_left_out_and_the_operator_told(three):
    federation, data = three
    node, path = stop(federation, "west"), data.files["west"]["rows"]
    before = path.read_text()
    table = pd.read_csv(path)
    table.loc[3, "x2"] = np.inf
    table.to_csv(path, index=False)
    try:
        federation.start_node("west")
        federation.wait_online()
        assert "x2" in node.log.read_text()
        trained = Fit(federation, linear_model(secure=False), rounds=1).done()
        assert sorted(trained.federated_report.weights[1]) == ["north", "south"]
    finally:
        path.write_text(before)
        stop(federation, "west")


CLOCK_OFF = """
import sys, time
real = time.time
time.time = lambda: real() + 3600
from flaas_jupyter.cli import main
main(sys.argv[1:])
"""


@pytest.mark.long
def test_a_clock_that_is_off_by_an_hour_is_named_in_the_node_log(federation):
    home = stop(federation, "south").home.path
    process = subprocess.Popen(
        [sys.executable, "-c", CLOCK_OFF, "node", "run"],
        env={**os.environ, "FLAAS_HOME": str(home)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines: list[str] = []
        found = threading.Event()

        def read() -> None:
            for line in process.stderr:
                lines.append(line)
                if "clock" in line:
                    found.set()

        threading.Thread(target=read, daemon=True).start()
        assert found.wait(60), "".join(lines)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def test_a_second_process_of_the_same_node_is_refused(federation):
    node = federation.nodes["south"]
    second = subprocess.run(
        [sys.executable, "-m", "flaas_jupyter.cli", "node", "run"],
        env={**os.environ, "FLAAS_HOME": str(node.home.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 1
    assert str(node.process.pid) in second.stderr
    assert "node-running" in second.stderr


@pytest.mark.long
def test_a_copy_of_a_node_is_refused_while_the_node_is_online(federation, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(federation.nodes["south"].home.path, copy)
    second = subprocess.run(
        [sys.executable, "-m", "flaas_jupyter.cli", "node", "run"],
        env={**os.environ, "FLAAS_HOME": str(copy)},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert second.returncode == 1
    assert "node-online" in second.stderr


def test_a_fit_that_makes_no_sense_is_refused_before_anything_is_sent(federation):
    with federation.connect() as session:
        connected = session.project("demo").federation(dataset="rows")
        before = len(session.project("demo").runs)
        model = linear_model(secure=False)
        for options in ({"rounds": 0}, {"rounds": -1}, {"rounds": 1.5}):
            with pytest.raises(InvalidInput, match="rounds"):
                model.fit(connected, **options)
        assert len(session.project("demo").runs) == before
