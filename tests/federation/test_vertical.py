"""Vertical models over real node processes: a bank with the label, a telco and a shop with columns of their own."""

from __future__ import annotations

import csv
import importlib.util
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.mesh import Mesh
from flaas_jupyter.communications.mesh_settings import MeshSettings
from flaas_jupyter.communications.several_carriers import bind_carriers
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.demo.local import LocalFederation
from flaas_jupyter.errors import Aborted, FlaasError, InvalidInput, NotAllowed, NotFound

from .conftest import QUICK, QUICK_API, restored

PEOPLE, COLUMNS = 260, 3
TARGET = {"bank": "default"}
PARTIES = {"bank": "loans", "telco": "usage", "shop": "baskets"}


def tables() -> dict[str, pd.DataFrame]:
    """Three tables about overlapping people, in different orders; the label depends on columns of all three."""
    rng = np.random.default_rng(5)
    ids = np.array([f"Zoë-{number:03d}" for number in range(PEOPLE)])
    values = {name: rng.normal(size=(PEOPLE, COLUMNS)).astype("float32") for name in PARTIES}
    label = (sum(block[:, 0] for block in values.values()) + 0.3 * rng.normal(size=PEOPLE) > 0).astype("int64")
    made = {}
    for start, (name, block) in zip((0, 20, 40), values.items(), strict=True):
        rows = rng.permutation(np.arange(start, PEOPLE - 10 * (start == 0)))
        frame = pd.DataFrame(block[rows], columns=[f"{name}{i}" for i in range(COLUMNS)])
        frame.insert(1, "person", ids[rows])
        made[name] = frame.assign(default=label[rows]) if name == "bank" else frame
    return made


POLICIES = """
[policy.datasets.open]
operations = ["vertical", "vertical-split"]
vertical_predictions = "developer"
vertical_release_model = true

[policy.datasets.closed]
operations = ["train"]
"""
OPEN = dict.fromkeys(PARTIES, "open")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFederation]:
    """Three nodes; each offers its table three times, under different rules of its owner."""
    folder = tmp_path_factory.mktemp("vertical")
    files: dict[str, dict[str, Path]] = {}
    for name, frame in tables().items():
        path = folder / f"{name}.parquet"
        frame.to_parquet(path)
        files[name] = {PARTIES[name]: path, "open": path, "closed": path}
    federation = LocalFederation(
        folder / "federation",
        node_options=QUICK,
        api_options=QUICK_API,
        operations=("train", "vertical"),
        settings={"minimum_intersection": 100},
        id_column="person",
    )
    try:
        federation.start_api()
        federation._set_up_project(files)
        for name, tables_of in files.items():
            federation._set_up_node(name, tables_of, TARGET.get(name))
            policy = federation.nodes[name].home.policy
            policy.write_text(policy.read_text() + POLICIES)
            federation.start_node(name)
        federation.wait_online()
        yield federation
    finally:
        federation.stop()


@pytest.fixture
def nodes(running: LocalFederation) -> Iterator[LocalFederation]:
    """The three nodes; what a test stops is started again after it."""
    yield running
    restored(running)


@pytest.fixture
def project(nodes: LocalFederation) -> Iterator[Any]:
    session = nodes.connect()
    yield session.project(nodes.project)
    session.close()


def federation_of(project: Any, parties: dict[str, str] = PARTIES, minimum: int = 100) -> Any:
    return project.vertical(parties, id="person", label=("bank", "default"), minimum_intersection=minimum)


def model(mode: str = "split", **options: Any) -> Any:
    import keras

    from flaas_jupyter.verticalmodel import VerticalModel

    keras.utils.set_random_seed(4)

    def bottom() -> Any:
        return keras.Sequential([keras.Input((COLUMNS,)), keras.layers.Dense(2, activation="tanh")])

    bottoms = {name: bottom() for name in ("telco", "shop")} if mode == "split" else {"telco": 2, "shop": 2}
    top = keras.Sequential([keras.Input((COLUMNS + 4,)), keras.layers.Dense(1, activation="sigmoid")])
    made = VerticalModel(bottoms=bottoms, top=top, mode=mode, **options)
    made.compile(optimizer=keras.optimizers.SGD(0.3), loss="binary_crossentropy", metrics=["accuracy"])
    return made


OPTIONS = {"epochs": 3, "batch_size": 32, "validation_split": 0.25, "seed": 7, "verbose": 0}


def test_a_run_over_the_mesh_computes_what_the_simulation_does(project):
    from flaas_jupyter.vertical_federation import simulate_vertical

    simulated = simulate_vertical(tables(), id="person", label=("bank", "default"))
    common = int(simulated.alignment["common"].iloc[0])
    connected = federation_of(project, OPEN)
    for mode in ("split", "oneway"):
        trained, wanted = model(mode), model(mode)
        history = trained.fit(connected, **OPTIONS)
        expected = wanted.fit(simulated, label_consent=True, **OPTIONS)
        assert history.history.keys() == expected.history.keys()
        for name, values in expected.history.items():
            np.testing.assert_allclose(history.history[name], values, atol=1e-5, err_msg=f"{mode} {name}")
        assert connected.alignment["common"].tolist() == [common] * 3
        assert trained.evaluate(connected) == pytest.approx(wanted.evaluate(simulated), abs=1e-5)
        scores = wanted.predict(simulated)
        pd.testing.assert_frame_equal(trained.predict(connected), scores, atol=1e-5, check_dtype=False)
        for party, state in wanted.outcome.states.items():
            for name, values in state.tensors.items():
                np.testing.assert_allclose(trained.outcome.states[party].tensors[name], values, atol=1e-5)
    some = scores.index[:120].tolist()
    few = connected.predict_vertical(trained.plan, trained.outcome, ids=[*some, "nobody"])
    assert dict(zip(few.ids, few.values[:, 0], strict=True)) == pytest.approx(scores.loc[some, "score"].to_dict())
    with pytest.raises(FlaasError, match="fewer than 100 rows in common"):
        connected.predict_vertical(trained.plan, trained.outcome, ids=some[:99])

    run = project.session.run(trained.outcome.run)
    assert (run["kind"], run["state"], run["report"]["phase"]) == ("vertical", "completed", "done")
    assert (run["report"]["intersection"], run["report"]["sizes"]["telco"]) == (common, PEOPLE - 20)
    assert run["report"]["bytes"] > 3 * PEOPLE * 32, "each id went over as a point of the curve, at least"
    assert any(told.startswith("Feature parties: ") for told in run["report"]["statement"])
    again = model("oneway")
    followed = again.fit(connected, resume=run["id"], verbose=0)
    np.testing.assert_allclose(followed.history["loss"], history.history["loss"])
    assert again.predict(connected).equals(trained.predict(connected))


def test_scores_and_parts_stay_at_the_nodes_unless_all_owners_say_otherwise(nodes, project, capfd):
    connected = federation_of(project, OPEN | {"telco": "usage"})
    trained = model("oneway")
    trained.fit(connected, **OPTIONS)
    assert set(connected.parts(trained.outcome.run)) == {"bank", "shop"}
    assert not trained.outcome.states
    folder = nodes.nodes["bank"].home.path / "vertical" / trained.outcome.run / "predictions"
    assert trained.evaluate(connected, return_dict=True)["loss"] < 1
    assert not folder.exists()
    capfd.readouterr()
    assert trained.predict(connected).empty
    with pytest.raises(FlaasError, match="telco lets predictions be made for all rows in common only"):
        connected.predict_vertical(trained.plan, trained.outcome, ids=tables()["bank"]["person"].tolist())
    common = int(connected.alignment["common"].iloc[0])
    assert f"{common} scores stay at bank" in capfd.readouterr().out
    (kept,) = folder.iterdir()
    assert (kept.stat().st_mode & 0o777) == 0o600
    with kept.open() as file:
        found = {row["id"]: float(row["score"]) for row in csv.DictReader(file)}
    assert len(found) == common
    assert all(0 <= score <= 1 for score in found.values())


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("tenseal") is None, reason="extra he is not installed")
def test_a_regression_under_encryption_over_the_mesh_is_the_simulation_up_to_its_noise(project):
    import keras

    from flaas_jupyter.vertical_federation import simulate_vertical
    from flaas_jupyter.verticalmodel import VerticalModel

    simulated = simulate_vertical(tables(), id="person", label=("bank", "default"))
    weights = []
    for federation in (federation_of(project, OPEN), simulated):
        regression = VerticalModel({}, mode="linear_he")
        regression.compile(optimizer=keras.optimizers.SGD(0.5), loss="binary_crossentropy", metrics=["accuracy"])
        regression.fit(federation, epochs=3, batch_size=64, seed=7, verbose=0)
        assert regression.evaluate(federation, return_dict=True)["accuracy"] > 0.85
        weights.append({party: state.tensors["weights"] for party, state in regression.outcome.states.items()})
    for party, values in weights[1].items():
        np.testing.assert_allclose(weights[0][party], values, atol=1e-2)


def test_what_owners_and_the_plan_do_not_allow_is_refused_and_says_why(project):
    with pytest.raises(FlaasError, match="the labels of data set 'loans'") as error:
        model("split").fit(federation_of(project), seed=1, verbose=0)
    assert "vertical-split" in str(error.value)
    with pytest.raises(FlaasError, match="wants 100 at least"):
        model("oneway").fit(federation_of(project, minimum=99), seed=1, verbose=0)
    with pytest.raises(FlaasError, match="shop refused: The run is to vertical with data set 'closed'"):
        model("oneway").fit(federation_of(project, PARTIES | {"shop": "closed"}), seed=1, verbose=0)
    with pytest.raises(NotFound, match="has no node 'nobody'"):
        project.vertical({"bank": "loans", "nobody": "usage"}, id="person", label=("bank", "default"))
    with pytest.raises(NotFound, match="holds no data set 'loans'"):
        project.vertical({"bank": "loans", "telco": "loans"}, id="person", label=("bank", "default"))
    with pytest.raises(InvalidInput, match="by 'person', not by 'customer'"):
        project.vertical(PARTIES, id="customer", label=("bank", "default"))
    with pytest.raises(InvalidInput, match="is 'default', not 'bank0'"):
        project.vertical(PARTIES, id="person", label=("bank", "bank0"))


def test_too_few_common_rows_end_the_run_before_anything_else_and_tell_no_ids(nodes, project):
    with pytest.raises(FlaasError, match="fewer than 240 rows in common") as error:
        model("oneway").fit(federation_of(project, minimum=240), seed=1, verbose=0)
    assert error.value.code == "too-few-common"
    assert "Zoë" not in json.dumps(error.value.to_dict(), ensure_ascii=False)
    for node in nodes.nodes.values():
        assert "Zoë" not in node.log.read_text()


def until(condition: Any, limit: float = 40.0) -> Any:
    give_up = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < give_up, "it does not happen"
        time.sleep(0.05)
    return found


class Fitting:
    """`fit` on a thread of its own, stopped after the first epoch until it is let go."""

    def __init__(self, project: Any, mode: str = "oneway", epochs: int = 3) -> None:
        import keras

        self.first, self.go_on, self.error = threading.Event(), threading.Event(), None
        self.model = model(mode)
        seen = keras.callbacks.LambdaCallback(on_epoch_end=self._seen)
        options = {"epochs": epochs, "batch_size": 32, "seed": 3, "callbacks": [seen], "verbose": 0}
        self._thread = threading.Thread(target=self._run, args=(federation_of(project, OPEN), options), daemon=True)
        self._thread.start()
        assert self.first.wait(60), self.error

    def _seen(self, epoch: int, logs: Any) -> None:
        self.first.set()
        assert self.go_on.wait(60)

    def _run(self, federation: Any, options: dict[str, Any]) -> None:
        try:
            self.model.fit(federation, **options)
        except BaseException as error:
            self.error = error
            self.first.set()

    def done(self) -> None:
        self.go_on.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "fit hangs"
        if self.error is not None:
            raise self.error


@pytest.mark.long
def test_the_label_holder_killed_in_mid_run_ends_it_with_a_reason(nodes, project):
    finished = model("oneway")
    finished.fit(federation_of(project, OPEN), **OPTIONS)
    fitting = Fitting(project)
    nodes.kill_node("bank")
    nodes.start_node("bank")
    nodes.wait_online()
    with pytest.raises(FlaasError, match="bank is out of the run: The node was restarted") as error:
        fitting.done()
    assert error.value.code == "party-restarted"
    # What has completed is on its disk: a kernel that comes back finds the run, and can predict with it.
    again = model("oneway")
    followed = again.fit(federation_of(project, OPEN), resume=finished.outcome.run, verbose=0)
    np.testing.assert_allclose(followed.history["loss"], finished.history.history["loss"])
    pd.testing.assert_frame_equal(
        again.predict(federation_of(project, OPEN)), finished.predict(federation_of(project, OPEN))
    )


@pytest.mark.long
def test_a_party_killed_in_mid_run_ends_it_with_its_name(nodes, project):
    fitting = Fitting(project, "split")
    nodes.kill_node("telco")
    with pytest.raises(FlaasError, match="Party telco was lost") as error:
        fitting.done()
    assert error.value.code == "party-lost"
    run = project.session.run(project.runs["id"][0])
    assert (run["state"], run["reason"]["code"]) == ("failed", "party-lost")
    shop = nodes.nodes["shop"].log
    until(lambda: f"run {run['id']} is over: failed: Party telco was lost" in shop.read_text())


def test_a_paused_run_waits_after_its_epoch_and_a_cancelled_one_ends(nodes, project):
    fitting = Fitting(project)
    run = project.runs["id"][0]
    project.session.pause(run)
    bank = nodes.nodes["bank"].log
    until(lambda: f"run {run} is paused after round 1" in bank.read_text())
    fitting.go_on.set()
    assert project.session.run(run)["round"] == 1
    project.session.resume(run)
    fitting.done()
    assert len(fitting.model.history.history["loss"]) == 3
    fitting = Fitting(project, epochs=500)
    project.session.stop(project.runs["id"][0])
    with pytest.raises(Aborted, match="cancelled"):
        fitting.done()


def test_strangers_and_other_members_get_no_word_in(nodes, project):
    fitting = Fitting(project)
    run = project.runs["id"][0]
    session = project.session
    ids = {name: node.node_id for name, node in nodes.nodes.items()}

    def says(identity: Identity, message: str, **body: Any) -> FlaasError:
        async def call() -> None:
            from flaas_jupyter.communications.directory import Directory

            directory = Directory(project.id, project.description["domain_key"])
            directory.update(await session._coordinator.get(f"/v1/projects/{project.id}/directory"))
            mesh = await Mesh.open(identity, directory, carrier=await bind_carriers(identity, MeshSettings(), tuple))
            async with mesh:
                await mesh.call(ids["bank"], Message(message, body), timeout=20.0, limit=1 << 20)

        with pytest.raises(FlaasError) as error:
            session._loop.run(call())
        return error.value

    line = {"line": run, "number": 1, "kind": "psi/first", "body": {}}
    developer = Identity.load_or_create(nodes.developer_home.key)
    assert isinstance(says(Identity.generate(), "vertical/send", **line), FlaasError)
    assert isinstance(says(developer, "vertical/send", **line), NotAllowed), "a developer is no party"
    member = Identity.generate()  # a node of the project that is no party of the run
    nodes._sign(member.node_id, "shop", ["node"])
    for kind in ("vertical/send", "vertical/alive", "vertical/failed"):
        error = says(member, kind, **line, reason={"message": "x"})
        assert error.code == "not-a-party", kind
    for kind in ("vertical/prepare", "vertical/begin", "vertical/end", "vertical/done"):
        assert says(member, kind, run=run, state="failed").code == "not-a-party", kind
    other = Identity.generate()  # another developer of the project
    nodes._sign(other.node_id, "laboratory", ["developer"])
    for kind in ("vertical/follow", "vertical/submit", "vertical/plan"):
        assert says(other, kind, run=run, after=0, plan={}).code == "not-the-submitter", kind
    fitting.done()
    finished = fitting.model.outcome.run
    from flaas_jupyter.execution import prediction_request

    for signer in (other, developer):
        request = prediction_request.sign(signer, project.id, finished, "predict", None, time.time())
        assert says(other, "vertical/predict", run=finished, request=request).code == "not-the-submitter"
    assert says(other, "vertical/part", run=finished).code == "not-the-submitter"
    with pytest.raises(NotFound):
        fitting.model.fit(federation_of(project), resume="0" * 16)
