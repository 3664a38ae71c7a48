"""Tools over models in training, on real processes: pause and resume, quarantine, versions of models."""

from __future__ import annotations

import re
import time

import pytest

from flaas_jupyter.errors import FlaasError, NotAllowed
from flaas_jupyter.execution.consent import decide, waiting
from flaas_jupyter.execution.joining import status

from .conftest import Fit, linear_model

STEPS = 200
"""Full-batch steps that take a participant a good part of a second: rounds that a test can pause."""


def until(condition, limit=60.0):
    """Wait for what other processes do."""
    give_up = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < give_up, "it does not happen"
        time.sleep(0.05)
    return found


def name_of(federation, node_id):
    return next(name for name, node in federation.nodes.items() if node.node_id == node_id)


def in_the_log(federation, name, text):
    return text in federation.nodes[name].log.read_text()


def test_a_run_is_paused_outlives_its_aggregators_restart_and_goes_on(three, capsys):
    federation, _ = three
    fit = Fit(federation, linear_model(secure=True), rounds=6, local_epochs=STEPS, batch_size=1000)
    fit.wait_round(1)
    run = fit.run_id()
    with federation.connect() as session:
        paused = session.pause(run)
        aggregator = name_of(federation, paused["aggregator"])
        log = federation.nodes[aggregator].log
        done = int(until(lambda: re.search(rf"run {run} is paused after round (\d+)", log.read_text()))[1])
        fit.wait_round(done)
        until(lambda: session.run(run)["round"] == done)
        told = []
        until(lambda: told.append(capsys.readouterr().out) or "is paused" in "".join(told))
        assert f"Run {run} is paused after round {done}. Paused by {paused['created_by']}" in "".join(told)
        models = session.project("demo").models
        assert models[models["run"] == run]["round"].max() == done, "what it has come to is a version"

        # A paused run waits for its nodes, for as long as it takes.
        federation.kill_node(aggregator)
        federation.start_node(aggregator)
        federation.wait_online()
        assert session.run(run)["state"] == "paused"

        session.resume(run)
        report = fit.done().federated_report
        assert list(report.index) == [1, 2, 3, 4, 5, 6]
        assert report.attrs["model"] == f"{run}-6"
        models = session.project("demo").models.set_index("id")
        assert models.state[f"{run}-6"] == "candidate"
        found = session.run(run)
        assert (found["state"], found["round"]) == ("completed", 6)


@pytest.mark.long
def test_a_paused_run_is_led_by_another_when_its_aggregator_has_gone(three):
    federation, _ = three
    fit = Fit(federation, linear_model(secure=False), rounds=4, local_epochs=STEPS, batch_size=1000)
    fit.wait_round(1)
    run = fit.run_id()
    with federation.connect() as session:
        aggregator = name_of(federation, session.pause(run)["aggregator"])
        until(lambda: in_the_log(federation, aggregator, f"run {run} is paused"))
        federation.kill_node(aggregator)
        session.resume(run)
        report = fit.done().federated_report
        assert list(report.index) == [1, 2, 3, 4]
        assert aggregator not in report.weights[4]
        assert session.run(run)["term"] > 1


def test_a_paused_run_is_stopped(three):
    federation, _ = three
    fit = Fit(federation, linear_model(secure=False), rounds=50, local_epochs=STEPS, batch_size=1000)
    fit.wait_round(1)
    run = fit.run_id()
    with federation.connect() as session:
        session.pause(run)
        session.stop(run)
        with pytest.raises(Exception, match="was cancelled") as caught:
            fit.done()
        assert caught.value.code == "run-cancelled"


def test_an_aggregator_in_quarantine_leaves_the_run_and_says_so(three):
    federation, _ = three
    fit = Fit(federation, linear_model(secure=False), rounds=5, local_epochs=STEPS, batch_size=1000)
    fit.wait_round(1)
    run = fit.run_id()
    with federation.connect() as session:
        aggregator = session.run(run)["aggregator"]
        name = name_of(federation, aggregator)
        federation.post(f"/v1/nodes/{aggregator}/quarantine", {"reason": "Its disk fails."})
        try:
            report = fit.done().federated_report
            assert list(report.index) == [1, 2, 3, 4, 5]
            assert name not in report.weights[5]
            assert in_the_log(federation, name, "in quarantine, and takes part in no run: Its disk fails.")
            assert status(federation.nodes[name].home)["quarantine"].startswith("Its disk fails.")

            without = Fit(federation, linear_model(secure=False), rounds=1, local_epochs=1, batch_size=1000)
            assert name not in without.done().federated_report.weights[1]
        finally:
            federation.call_as("org-admin", "delete", f"/v1/nodes/{aggregator}/quarantine")
    again = Fit(federation, linear_model(secure=False), rounds=1, local_epochs=1, batch_size=1000)
    assert name in again.done().federated_report.weights[1]
    assert status(federation.nodes[name].home)["quarantine"] is None


def test_no_run_starts_from_revoked_weights(three):
    federation, _ = three
    model = Fit(federation, linear_model(secure=False), rounds=1, local_epochs=1, batch_size=1000).done()
    version = model.federated_report.attrs["model"]
    assert model.history.version == version
    federation.post(f"/v1/models/{version}/revoke", {"reason": "It remembers names."})
    with pytest.raises(NotAllowed, match="It remembers names") as caught:
        Fit(federation, model, rounds=1, local_epochs=1, batch_size=1000).done()
    assert caught.value.code == "model-revoked"
    for name in federation.nodes:
        until(lambda name=name: in_the_log(federation, name, "model versions of demo are revoked now"))
    Fit(federation, linear_model(secure=False), rounds=1, local_epochs=1, batch_size=1000).done()


def test_an_owner_who_looks_at_every_run_is_asked(three):
    federation, _ = three
    node = federation.nodes["north"]

    def ask_owner(how):
        text = node.home.policy.read_text()
        node.home.policy.write_text(re.sub(r'(?m)^approve = ".*"', f'approve = "{how}"', text))
        federation.kill_node("north")
        federation.start_node("north")
        federation.wait_online()

    ask_owner("manual")
    try:
        options = {"rounds": 1, "local_epochs": 1, "batch_size": 1000, "minimum_nodes": 3}
        fit = Fit(federation, linear_model(secure=False), **options)
        (asked,) = until(lambda: waiting(node.home))
        assert (asked["dataset"], asked["organisation"]) == ("rows", "laboratory")
        until(lambda: fit.session.run(asked["run"])["waiting_for"] == "the answers of north.")
        decide(node.home, asked["run"], approve=True)
        assert "north" in fit.done().federated_report.weights[1]

        fit = Fit(federation, linear_model(secure=False), **options)
        (asked,) = until(lambda: [entry for entry in waiting(node.home) if entry["run"] != asked["run"]])
        decide(node.home, asked["run"], approve=False)
        with pytest.raises(FlaasError, match="owner has refused"):
            fit.done()
    finally:
        ask_owner("signed")
