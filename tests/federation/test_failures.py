"""What breaks in practice: nodes that die, an API that restarts, an aggregator that goes."""

from __future__ import annotations

import numpy as np
import pytest

from flaas_jupyter.errors import Aborted, FlaasError

from .conftest import Fit, expected_weights, linear_model

# Full-batch steps that take a participant a second or more: long enough to be killed within.
STEPS = 400


def by_name(federation):
    return {node.node_id: name for name, node in federation.nodes.items()}


def victim(federation, fit) -> str:
    """A participant that is not the aggregator."""
    aggregator = fit.session.run(fit.run_id())["aggregator"]
    return next(name for node_id, name in by_name(federation).items() if node_id != aggregator)


def test_a_killed_node_is_left_out_and_joins_again(five):
    federation, data = five
    model = linear_model(secure=True, learning_rate=0.05)
    before = model.get_weights()
    fit = Fit(federation, model, rounds=200, local_epochs=STEPS, batch_size=1000)
    fit.wait_round(1)
    killed = victim(federation, fit)
    federation.kill_node(killed)
    fit.wait_round(2)
    federation.start_node(killed)
    federation.wait_online()
    fit.stop_after(3)
    trained = fit.done()

    report = trained.federated_report
    present = [sorted(weights) for weights in report.weights]
    assert killed in present[0]
    assert killed not in present[1], "it was killed while round 2 trained"
    assert killed in present[-1], "it has returned"
    wanted = expected_weights(before, data, present, steps=STEPS, learning_rate=0.05)
    for ours, theirs in zip(trained.get_weights(), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3, rtol=0)


def test_under_the_threshold_the_round_is_aborted_and_the_run_waits(three):
    federation, _ = three
    fit = Fit(federation, linear_model(secure=True), rounds=4, local_epochs=STEPS, batch_size=1000)
    fit.wait_round(1)
    killed = victim(federation, fit)
    federation.kill_node(killed)
    events = fit.session._coordinator.events(f"/v1/runs/{fit.run_id()}/events", after=0)

    async def until_waiting() -> None:
        async for event in events:
            if event.type == "run.state" and (event.data["from"], event.data["to"]) == (
                "running",
                "gathering",
            ):
                return

    fit.session._loop.run(until_waiting())
    federation.start_node(killed)
    report = fit.done().federated_report
    assert len(report) == 4
    assert (report.clients == 3).all(), "no round was summed without the third node"


@pytest.mark.long
def test_under_the_threshold_for_too_long_the_run_fails_and_says_why(three):
    federation, _ = three
    fit = Fit(federation, linear_model(secure=True), rounds=4, local_epochs=STEPS, batch_size=1000)
    fit.wait_round(1)
    killed = victim(federation, fit)
    federation.kill_node(killed)
    with pytest.raises(Aborted, match=f"needs 3 participants.*{killed}") as caught:
        fit.done()
    assert caught.value.code == "too-few-nodes"
    assert len(fit.model.federated_report) == 1


def test_a_killed_aggregator_is_replaced(five):
    federation, data = five
    model = linear_model(secure=True, learning_rate=0.05)
    before = model.get_weights()
    fit = Fit(federation, model, rounds=5, local_epochs=STEPS, batch_size=1000)
    fit.wait_round(2)
    aggregator = fit.session.run(fit.run_id())["aggregator"]
    federation.kill_node(by_name(federation)[aggregator])
    trained = fit.done()
    report = trained.federated_report
    assert list(report.index) == [1, 2, 3, 4, 5]
    assert by_name(federation)[aggregator] not in report.weights[5]
    wanted = expected_weights(
        before, data, [sorted(weights) for weights in report.weights], steps=STEPS, learning_rate=0.05
    )
    for ours, theirs in zip(trained.get_weights(), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-3, rtol=0)


def test_the_run_goes_on_while_the_api_is_away(three):
    federation, _ = three
    fit = Fit(federation, linear_model(secure=True), rounds=6, local_epochs=STEPS, batch_size=1000)
    fit.wait_round(1)
    run = fit.run_id()
    federation.kill_api()
    fit.wait_round(3)
    federation.start_api()
    fit.done()
    with federation.connect() as session:
        found = session.run(run)
        assert found["state"] == "completed"
        assert found["round"] == 6
        rounds = session.list(f"/v1/runs/{run}/rounds", "rounds")
        assert [entry["number"] for entry in rounds] == [1, 2, 3, 4, 5, 6], "reports made meanwhile arrived"


def test_a_run_whose_notebook_has_gone_goes_on_and_is_found_again(three):
    federation, _ = three
    model = linear_model(secure=True)
    fit = Fit(federation, model, rounds=4, local_epochs=STEPS, batch_size=1000)
    fit.wait_round(1)
    run = fit.run_id()
    fit.session.close()  # the kernel is gone

    again = linear_model(secure=True)
    with federation.connect() as session:
        connected = session.project("demo").federation(dataset="rows")
        history = again.fit(connected, local_epochs=STEPS, batch_size=1000, resume=run, verbose=0)
        assert history.epoch == [0, 1, 2, 3]
        assert session.run(run)["state"] == "completed"
    assert any((a != b).any() for a, b in zip(again.get_weights(), linear_model(True).get_weights(), strict=True))


def test_a_cancelled_run_ends_everywhere(three):
    federation, _ = three
    fit = Fit(federation, linear_model(secure=True), rounds=50, local_epochs=STEPS, batch_size=1000)
    fit.wait_round(1)
    run = fit.run_id()
    with federation.connect() as other:
        assert other.stop(run)["state"] == "cancelled"
    with pytest.raises(FlaasError) as caught:
        fit.done()
    assert caught.value.code == "run-cancelled"
    # The nodes are free again.
    Fit(federation, linear_model(secure=True), rounds=1, batch_size=1000).done()
