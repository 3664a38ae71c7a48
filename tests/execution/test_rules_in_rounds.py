"""Aggregation rules, votes and differential privacy in a run's rounds: what is computed, remembered, refused, told."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from round_table import NOTEBOOK, PARAMETERS, Table, led, together

from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import FlaasError, InvalidInput
from flaas_jupyter.execution.checkpoint import CheckpointStore
from flaas_jupyter.protocols.aggregation import aggregation, names

pytestmark = pytest.mark.usefixtures("fake_plan")

ROWS = [10, 20, 70, 40, 30, 60]
# So little noise that what is clipped can be compared.
HARDLY = {"epsilon": 1e9, "delta": 1e-5, "clip": 0.1, "mode": "central", "noise_multiplier": 1e-4}


def trained(table: Table, weights: np.ndarray) -> np.ndarray:
    """What each participant makes of `weights`, in the order of their ids."""
    steps = np.array([[table.trainers[node].step] for node in table.ids], dtype="float32")
    return weights + steps * np.arange(1, PARAMETERS + 1, dtype="float32")


@pytest.mark.parametrize("name", names())
def test_every_rule_leads_a_run_as_it_would_be_called_by_hand(tmp_path, name):
    options = {"trusted": "n2"} if name == "fltrust" else {}

    async def scenario():
        table = Table(tmp_path, ROWS, secure=False, rounds=3, aggregation=name, aggregation_options=options)
        rule = aggregation(name, **({"trusted": table.ids[2]} if options else {}))
        weights = table.start
        for reply in await led(table, 3):
            made = rule(trained(table, weights), ROWS, client_ids=table.ids, reference=weights)
            weights = made.weights.astype("float32")
            np.testing.assert_allclose(reply.tensors["weights"], weights, atol=1e-6)
            clients = reply.body["reports"][0]["clients"]
            np.testing.assert_allclose([c["weight"] for c in clients], made.contributions, atol=1e-12)
            for column, values in made.columns.items():
                np.testing.assert_allclose([c["columns"][column] for c in clients], values)

    together(scenario())


@pytest.mark.parametrize("on_silence", ["keep", "average"])
@pytest.mark.parametrize("theta", [0.1, 0.499])  # with the larger one nobody has a vote
def test_voting_under_masks_is_voting_in_the_clear(tmp_path, theta, on_silence):
    options = {"theta": theta, "on_silence": on_silence}

    async def run(secure):
        rule = {"aggregation": "fedqv", "aggregation_options": options}
        table = Table(tmp_path / str(secure), ROWS, secure=secure, rounds=3, **rule)
        for node, step in zip(table.ids, (0.01, 0.03, 0.02, 0.05, 0.04, 0.035), strict=True):
            table.trainers[node].step = step
        by_name = {entry["node"]: entry["name"] for entry in table.run["participants"]}
        told = []
        for reply in await led(table, 3):
            clients = {by_name[c["node"]]: (c["weight"], c["columns"]) for c in reply.body["reports"][0]["clients"]}
            bound = reply.body["reports"][0]["error_bound"] or 0.0
            told.append((reply.tensors["weights"], clients, bound))
        return told

    async def scenario():
        bound = 0.0
        for (plain, clients, _), (masked, hidden, off) in zip(await run(False), await run(True), strict=True):
            bound += off + 1e-6  # float32, and what earlier rounds were off by
            np.testing.assert_allclose(masked, plain, atol=bound)
            assert clients.keys() == hidden.keys()
            for name, (weight, columns) in clients.items():
                assert hidden[name][0] == pytest.approx(weight, abs=1e-3)
                assert hidden[name][1] == pytest.approx(columns, rel=1e-2, abs=1e-3)

    together(scenario())


def budgets(table: Table) -> dict[str, float]:
    return dict(table.aggregator._rule_state["budgets"])


VOTING = {"aggregation": "fedqv", "aggregation_options": {"theta": 0.1}}


def test_a_voter_lost_after_it_reported_is_neither_counted_nor_charged(tmp_path):
    async def scenario():
        rows = [10, 20, 30, 40, 50, 60, 70]
        table = Table(tmp_path, rows, secure=True, rounds=1, **VOTING)
        gone = table.ids[3]
        table.cut_at[gone] = "round/update"
        [reply] = await led(table, 1)
        report = reply.body["reports"][0]
        assert [(d["node"], d["phase"]) for d in report["dropped"]] == [(gone, "update")]
        votes = {c["node"]: c["columns"]["votes"] for c in report["clients"]}
        assert gone not in votes
        total = sum(votes.values())
        assert {c["node"]: c["weight"] for c in report["clients"]} == pytest.approx(
            {node: vote / total for node, vote in votes.items()}
        )
        step = sum(table.trainers[node].step * vote for node, vote in votes.items()) / total
        wanted = table.start + step * np.arange(1, PARAMETERS + 1)
        np.testing.assert_allclose(reply.tensors["weights"], wanted, atol=1e-6)
        assert gone not in budgets(table)
        assert min(budgets(table).values()) < 30 == max(budgets(table).values())

    together(scenario())


def test_a_round_that_is_tried_again_charges_once(tmp_path):
    async def scenario(rounds_lost):
        table = Table(tmp_path / str(rounds_lost), ROWS, secure=True, rounds=1, **VOTING)
        if rounds_lost:
            for node in table.ids[:2]:
                table.cut_at[node] = "round/update"
        lead = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        following = asyncio.create_task(table.follow(0))
        if rounds_lost:
            while "gathering" not in table.reporter.states:
                await asyncio.sleep(0)
            table.cut_at.clear()
            table.cut.clear()
            await table.seat(*table.ids[:2])
        reply = await following
        await table.follow(1)
        await lead
        left = sorted(budgets(table).values())
        return left, reply.tensors["weights"]

    (once, weights), (again, same) = together(scenario(False)), together(scenario(True))
    assert again == pytest.approx(once, rel=1e-6)
    np.testing.assert_allclose(same, weights, atol=1e-6)


def test_too_few_votes_open_nothing_and_cost_nothing(tmp_path):
    async def scenario():
        options = {"theta": 0.3}
        table = Table(tmp_path, ROWS, secure=True, rounds=1, aggregation="fedqv", aggregation_options=options)
        for node, step in zip(table.ids, (0.0, 0.02, 0.021, 0.0401, 0.0402, 0.0403), strict=True):
            table.trainers[node].step = step
        [reply] = await led(table, 1)
        report = reply.body["reports"][0]
        np.testing.assert_array_equal(reply.tensors["weights"], table.start)
        voters = {c["node"] for c in report["clients"] if c["columns"]["votes"] > 0}
        assert 0 < len(voters) < 3
        assert {(d["node"], d["phase"]) for d in report["dropped"]} == {(node, "votes") for node in voters}
        assert "hides each of them" in report["dropped"][0]["reason"]
        assert {c["weight"] for c in report["clients"]} == {0.0}
        assert set(budgets(table).values()) <= {30.0}
        assert not [kind for _, kind in table.asked if kind in ("round/update", "round/unmask")]

    together(scenario())


# ---- what a rule remembers ------------------------------------------------------------------------------------------


def test_budgets_persist_over_a_restart_of_the_aggregator(tmp_path):
    async def uninterrupted():
        table = Table(tmp_path / "one", ROWS, secure=True, rounds=4, **VOTING)
        await led(table, 4)
        return sorted(budgets(table).values())

    async def restarted():
        table = Table(tmp_path / "two", ROWS, secure=True, rounds=4, **VOTING)
        lead = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        await table.follow(0)
        await table.follow(1)
        while (saved := table.store.load("run-1")) is None or saved.round < 2:
            await asyncio.sleep(0.01)
        lead.cancel()
        table.aggregator = table.new_aggregator()
        again = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        while len(table.aggregator._reports) < 2:
            await asyncio.sleep(0.01)
        for number in (2, 3, 4):
            await table.follow(number)
        await again
        return sorted(budgets(table).values())

    assert together(restarted()) == pytest.approx(together(uninterrupted()), rel=1e-6)


async def elected_instead(table: Table, folder, rounds: int) -> asyncio.Task[None]:
    """Lose the aggregator after so many rounds, and have another participant lead, which has no checkpoint."""
    lead = asyncio.create_task(table.aggregator.lead())
    await table.seat()
    await table.submit()
    for number in range(rounds):
        table.last = await table.follow(number)
    lead.cancel()
    table.run = table.run | {"term": 2}
    table.store = CheckpointStore(folder)
    table.cut.add(table.ids[0])
    table.aggregator = table.new_aggregator()
    again = asyncio.create_task(table.aggregator.lead())
    await table.seat(*table.ids[1:])
    return again


def test_another_aggregator_has_the_budgets_from_the_participants(tmp_path):
    async def scenario():
        table = Table(tmp_path, [*ROWS, 80], secure=False, rounds=9, **VOTING)
        again = await elected_instead(table, tmp_path / "elsewhere", 3)
        while table.aggregator._weights is None:
            await asyncio.sleep(0.01)
        done = len(table.aggregator._reports)
        assert done >= 2
        before = budgets(table)
        assert len(before) == 7
        assert min(before.values()) < 30
        again.cancel()

    together(scenario())


BIG = {"aggregation": "fedavgm", "aggregation_options": {}}


def test_a_memory_that_went_with_nobody_is_not_silently_begun_anew(tmp_path, monkeypatch):
    monkeypatch.setattr("flaas_jupyter.execution.rule_state.TRAVELS_BELOW", 8)

    async def scenario():
        table = Table(tmp_path, ROWS, secure=False, rounds=9, **BIG)
        again = await elected_instead(table, tmp_path / "elsewhere", 3)
        await again
        assert table.aggregator.reason.code == "rule-state-lost"
        assert "fedavgm" in table.aggregator.reason.message

    together(scenario())


def test_the_notebook_hands_over_what_the_rule_remembers(tmp_path, monkeypatch):
    monkeypatch.setattr("flaas_jupyter.execution.rule_state.TRAVELS_BELOW", 8)

    async def scenario():
        table = Table(tmp_path, ROWS, secure=False, rounds=5, **BIG)
        again = await elected_instead(table, tmp_path / "elsewhere", 3)
        momentum = next(tensor for name, tensor in table.last.tensors.items() if name.startswith("rule/"))
        body = {"plan": {}, "reports": [{"number": n} for n in (1, 2, 3)], "rule": table.last.body["rule"]}
        await table.aggregator.submit(NOTEBOOK, Message("run/submit", body, table.last.tensors))
        reply = await table.follow(3)
        rule = aggregation("fedavgm")
        rule.load_state_dict(dict.fromkeys(rule_keys(table), momentum))
        left = trained(table, table.last.tensors["weights"])[1:]
        made = rule(left, ROWS[1:], client_ids=table.ids[1:], reference=table.last.tensors["weights"])
        np.testing.assert_allclose(reply.tensors["weights"], made.weights, atol=1e-6)
        again.cancel()

    together(scenario())


def rule_keys(table: Table) -> list[str]:
    return list(table.last.body["rule"])


# ---- who can take part ----------------------------------------------------------------------------------------------


def test_a_rule_for_more_than_there_are_ends_the_run_before_anybody_trains(tmp_path):
    async def scenario():
        options = {"byzantine": 2}
        table = Table(tmp_path, ROWS, secure=False, aggregation="krum", aggregation_options=options)
        await table.aggregator.lead()
        error = table.aggregator.reason
        assert (error.code, error.details["needed"]) == ("too-few-clients", 7)
        assert table.asked == []

    together(scenario())


def test_an_update_of_nan_is_left_out_by_name_and_the_rest_go_on(tmp_path):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=False, rounds=2, aggregation="median")
        bad = table.ids[4]
        table.trainers[bad].step = np.nan
        first, second = await led(table, 2)
        for reply in (first, second):
            assert [(d["node"], d["phase"]) for d in reply.body["reports"][0]["dropped"]] == [(bad, "update")]
        left = np.delete(trained(table, table.start), 4, axis=0)
        np.testing.assert_allclose(first.tensors["weights"], np.median(left, axis=0), atol=1e-6)

    together(scenario())


def test_the_trusted_participant_is_in_every_sample(tmp_path):
    async def scenario():
        rule = {"aggregation": "fltrust", "aggregation_options": {"trusted": "n5"}, "clients_per_round": 2}
        table = Table(tmp_path, ROWS, secure=False, rounds=6, **rule)
        partners = set()
        for reply in await led(table, 6):
            nodes = {c["node"] for c in reply.body["reports"][0]["clients"]}
            assert table.ids[5] in nodes
            partners |= nodes - {table.ids[5]}
        assert len(partners) > 1

    together(scenario())


def test_fedprox_reaches_the_trainers(tmp_path):
    async def scenario():
        rule = {"aggregation": "fedprox", "aggregation_options": {"mu": 0.25}}
        table = Table(tmp_path, [10, 20, 70], secure=True, rounds=1, **rule)
        await led(table, 1)
        assert {trainer.proximal for trainer in table.trainers.values()} == {0.25}

    together(scenario())


# ---- what a participant refuses -------------------------------------------------------------------------------------


def until_shared(table: Table, **begin):
    """Bring the participants to where they would report and mask; return their inboxes."""

    async def steps():
        where = {"run": "run-1", "round": 1, "attempt": 1}
        body = {
            **where, "term": 1, "members": table.ids, "clip": 8.0, "maximum_examples": max(ROWS), "rule": {},
            "learning_rate": None, "plan": "d1",
        }  # fmt: skip
        keys = {
            node: await one.begin(Message("round/begin", body, {"weights": table.start}))
            for node, one in table.participants.items()
        }
        everybody = {node: reply.body["advertisement"] for node, reply in keys.items()}
        sealed = {
            node: (await one.share(Message("round/share", {**where, "advertisements": everybody}))).body["shares"]
            for node, one in table.participants.items()
        }
        return where, {node: {s: blobs[node] for s, blobs in sealed.items() if s != node} for node in sealed}

    return steps()


@pytest.mark.parametrize(
    ("votes", "code"),
    [
        (None, "secagg-bad-votes"),
        ([1.0, 0.0, 0.0, 0.0, 0.0, 0.0], "secagg-too-few-voters"),
        ([1.0, 2.0, 1.0, 1.0, 1.0, 1.0], "secagg-bad-votes"),
        ([1.0, -1.0, 1.0, 1.0, 1.0, 1.0], "secagg-bad-votes"),
        ([float("nan"), 1.0, 1.0, 1.0, 1.0, 1.0], "secagg-bad-votes"),
    ],
    ids=["none", "one voter", "above the largest", "negative", "nan"],
)
def test_a_participant_refuses_votes_that_would_single_it_out(tmp_path, votes, code):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=True, **VOTING)
        where, inboxes = await until_shared(table)
        body = {} if votes is None else {"votes": dict(zip(table.ids, votes, strict=True))}
        for node, participant in table.participants.items():
            with pytest.raises(FlaasError) as caught:
                await participant.update(Message("round/update", {**where, "inbox": inboxes[node], **body}))
            assert caught.value.code == code

    together(scenario())


def test_a_participant_reports_a_number_only_to_a_rule_that_asks_for_it(tmp_path):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=True)
        where, _ = await until_shared(table)
        with pytest.raises(InvalidInput) as caught:
            await table.participants[table.ids[0]].scalar(Message("round/scalar", where))
        assert caught.value.code == "no-scalar"

    together(scenario())


# ---- differential privacy -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "secure"])
@pytest.mark.parametrize("mode", ["central", "local"])
def test_private_updates_are_clipped_and_metrics_are_not_told(tmp_path, secure, mode):
    async def scenario():
        privacy = {**HARDLY, "mode": mode}
        table = Table(tmp_path, ROWS, secure=secure, rounds=2, privacy=privacy)
        first, second = await led(table, 2)
        deltas = trained(table, table.start).astype(float) - table.start
        clipped = deltas / np.maximum(1.0, np.linalg.norm(deltas, axis=1) / 0.1)[:, None]
        shares = np.full(6, 1 / 6) if mode == "central" else np.array(ROWS) / sum(ROWS)
        np.testing.assert_allclose(first.tensors["weights"], table.start + shares @ clipped, atol=1e-3 * 0.1)
        reports = [reply.body["reports"][0] for reply in (first, second)]
        np.testing.assert_allclose([c["weight"] for c in reports[0]["clients"]], shares)
        assert [report["metrics"] for report in reports] == [{}, {}]
        assert 0 < reports[0]["epsilon"] < reports[1]["epsilon"] <= privacy["epsilon"]
        assert [report["clipped"] for report in reports] == [0, 0], "the fixed point has room for the noise"

    together(scenario())


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "secure"])
@pytest.mark.parametrize(("mode", "deviation"), [("central", 5.0 / 6), ("local", 10.0 / 6**0.5)])
def test_noise_is_as_large_as_the_plan_says(tmp_path, secure, mode, deviation):
    async def scenario():
        privacy = {**HARDLY, "mode": mode, "clip": 1.0, "noise_multiplier": 5.0}
        table = Table(tmp_path, [20] * 6, secure=secure, rounds=9, privacy=privacy)
        before, noise = table.start.astype(float), []
        for reply in await led(table, 9):
            deltas = np.linalg.norm(trained(table, np.float32(0)), axis=1)
            mean = (trained(table, np.float32(0)) / np.maximum(1.0, deltas)[:, None]).mean(axis=0)
            noise.append(reply.tensors["weights"] - before - mean)
            before = reply.tensors["weights"].astype(float)
        # 99 draws: their standard deviation is within 30 % of the true one, but for once in 10^5.
        assert np.std(noise) == pytest.approx(deviation, rel=0.3)

    together(scenario())


def test_an_update_that_is_asked_for_again_has_the_same_noise(tmp_path):
    async def scenario():
        privacy = {**HARDLY, "mode": "local", "noise_multiplier": 5.0}
        table = Table(tmp_path, ROWS, secure=False, privacy=privacy)
        participant = table.participants[table.ids[0]]
        seen = []
        for attempt in (1, 2):
            where = {"run": "run-1", "round": 1, "attempt": attempt}
            body = {**where, "term": 1, "maximum_examples": 70, "rule": {}}
            await participant.begin(Message("round/begin", body, {"weights": table.start}))
            seen.append((await participant.update(Message("round/update", where))).tensors["update"])
        np.testing.assert_array_equal(*seen)
        assert np.abs(seen[0] - table.start).max() > 0.1, "there is noise"

    together(scenario())


def test_no_participant_gives_out_more_updates_than_the_budget_is_made_for(tmp_path):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=False, rounds=3, privacy=HARDLY)
        participant = table.participants[table.ids[0]]
        where = {"run": "run-1", "round": 2, "attempt": 1}
        body = {**where, "term": 1, "maximum_examples": 70, "rule": {}}
        for lost in range(4):
            weights = table.start + np.float32(lost)
            await participant.begin(Message("round/begin", body, {"weights": weights}))
            if lost < 3:
                await participant.update(Message("round/update", where))
        with pytest.raises(InvalidInput, match="one more") as caught:
            await participant.update(Message("round/update", where))
        assert caught.value.code == "privacy-budget"

    together(scenario())


@pytest.mark.parametrize(("mode", "counted"), [("central", True), ("local", False)])
def test_noise_that_another_aggregator_draws_anew_is_counted_anew(tmp_path, mode, counted):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=False, rounds=1, privacy={**HARDLY, "mode": mode})
        participant = table.participants[table.ids[0]]
        where = {"run": "run-1", "round": 1, "attempt": 1}
        for term in (1, 2):
            body = {**where, "term": term, "maximum_examples": 70, "rule": {}}
            await participant.begin(Message("round/begin", body, {"weights": table.start}))
            if term == 1 or not counted:
                await participant.update(Message("round/update", where))
        if counted:
            with pytest.raises(InvalidInput) as caught:
                await participant.update(Message("round/update", where))
            assert caught.value.code == "privacy-budget"

    together(scenario())


def test_with_local_privacy_votes_are_of_noisy_updates(tmp_path):
    async def scenario():
        privacy = {**HARDLY, "mode": "local", "noise_multiplier": 0.5}
        table = Table(tmp_path, [*ROWS, 50, 50], secure=True, rounds=2, privacy=privacy, **VOTING)
        for reply in await led(table, 2):
            report = reply.body["reports"][0]
            votes = [c["columns"]["votes"] for c in report["clients"]]
            weights = [c["weight"] for c in report["clients"]]
            assert report["metrics"] == {}
            np.testing.assert_allclose(weights, np.array(votes) / sum(votes) if any(weights) else 0.0)

    together(scenario())


def test_a_run_over_its_budget_ends_before_anybody_trains(tmp_path):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=False, privacy=HARDLY)
        table.aggregator.run = table.run | {"privacy": {**HARDLY, "epsilon": 1.0}}
        await table.aggregator.lead()
        assert table.aggregator.reason.code == "privacy-budget"
        assert table.asked == []

    together(scenario())
