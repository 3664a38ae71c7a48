"""Queries at nodes: what is released is what pandas has, and what each node by itself refuses."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from query_table import DATASET, PROJECT, QueryTable
from round_table import together

from flaas_jupyter.cli import main
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import Aborted, Conflict, FlaasError, InvalidInput, NotAllowed, NotAuthenticated
from flaas_jupyter.execution.policy import Policy
from flaas_jupyter.execution.queries import _require_columns
from flaas_jupyter.execution.query_ledger import ANSWERED, REFUSED
from flaas_jupyter.execution.query_log import budgets_of, queries_of
from flaas_jupyter.execution.query_request import opening_digest
from flaas_jupyter.home import Home
from flaas_jupyter.protocols.analytics import statistics

MOMENTS = {"kind": "moments", "columns": ["age", "income"]}
COUNT = {"kind": "count"}


def older(than: float) -> dict:
    return {"op": "gt", "args": [{"column": "age"}, {"value": than}]}


def all_but(oldest: int) -> dict:
    return {"kind": "count", "where": {"op": "lt", "args": [{"column": "age"}, {"value": oldest}]}}


@pytest.fixture
def table(tmp_path):
    return QueryTable(tmp_path, [40, 60, 80])


@pytest.fixture
def five(tmp_path):
    return QueryTable(tmp_path, [40, 60, 80, 50, 70])


def refused(work) -> FlaasError:
    """Return the error that a coroutine must end in."""
    with pytest.raises(FlaasError) as caught:
        together(work)
    return caught.value


def outcomes(table, name="north"):
    return [entry["outcome"] for entry in table.site(name).queries.ledger.entries(DATASET)]


# ---- what comes out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("via", ["mpc", "he"])
def test_what_is_released_is_what_pandas_has_on_the_pooled_rows(table, via):
    released = together(table.released(MOMENTS, via=via))
    pooled = table.pooled
    assert released.counts.tolist() == [len(pooled)]
    sums = dict(zip(released.fields, released.values[0], strict=True))
    assert sums["income.sum"] == pytest.approx(pooled.income.sum(), rel=1e-14)
    assert sums["age.sum"] == pooled.age.sum()
    assert released.nodes == tuple(sorted(site.id for site in table.sites))


def test_groups_that_are_too_small_are_withheld(table):
    by = {"column": "ward", "values": [0, 1, 2, 3]}
    where = {"op": "gt", "args": [{"column": "age"}, {"value": 80}]}
    released = together(table.released({"kind": "count", "by": [by], "where": where}))
    wanted = table.pooled[table.pooled.age > 80].groupby("ward").size().reindex(range(4), fill_value=0)
    for count, hidden, pandas_count in zip(released.counts, released.suppressed, wanted, strict=True):
        assert hidden or count == pandas_count
        assert hidden or count >= 10


def test_the_strictest_owner_decides_what_is_told(tmp_path):
    table = QueryTable(tmp_path, [40, 60, 80])
    table.site("west").policy = table.site("west").policy.__class__(
        projects=(PROJECT,), operations=("analytics",), minimum_group=500
    )
    table.site("west").open()
    assert together(table.released(COUNT)).suppressed.all()


def test_only_masked_vectors_leave_a_node(table):
    together(table.released(MOMENTS))
    vectors = [reply.tensors["masked"] for reply in table.seen if "masked" in reply.tensors]
    assert sum("counts" in reply.tensors for reply in table.seen) == 1, "and what is released of the sum"
    assert len(vectors) == 3
    assert all(vector.dtype == np.uint32 for vector in vectors)
    assert len({vector.tobytes() for vector in vectors}) == 3


def test_with_homomorphic_encryption_only_the_key_holder_decrypts_and_only_the_sum(table):
    together(table.released(COUNT, via="he"))
    who = [name for name, kind in table.asked if kind == "query/decrypt"]
    assert len(who) == 1
    assert who != ["north"], "the releaser holds no key"


# ---- who is lost ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["query/begin", "query/share", "query/masked", "query/survivors", "query/unmask"])
def test_a_node_lost_in_a_phase_is_left_out_and_named(five, phase):
    five.cut_at["west"] = phase
    record = five.opened()
    answer = together(five.run(five.signed(record, COUNT)))
    gone = five.site("west").id
    in_the_sum = phase in ("query/survivors", "query/unmask")  # its vector was there already
    rows = len(five.pooled) - (0 if in_the_sum else 80)
    assert answer["released"].counts.tolist() == [rows]
    assert (gone in answer["nodes"]) is in_the_sum
    assert [entry["node"] for entry in answer["dropped"]] == [gone]


def test_too_few_left_end_the_step_and_nothing_was_opened(table):
    table.cut_at["west"] = "query/masked"
    error = refused(table.run(table.signed(table.opened(), COUNT)))
    assert isinstance(error, Aborted)
    assert error.code == "query-too-few-nodes"
    assert "west at masked" in error.message
    assert outcomes(table) == []


def test_after_a_loss_the_same_question_is_not_opened_for_one_node_less(five):
    five.cut_at["west"] = "query/share"
    together(five.run(five.signed(five.opened(), MOMENTS)))
    five.cut, five.cut_at = set(), {}
    error = refused(five.run(five.signed(five.opened(), MOMENTS)))
    assert isinstance(error, Conflict)
    assert error.code == "query-other-nodes"
    assert "refuses" in error.message
    five.cut_at["west"] = "query/share"
    assert together(five.run(five.signed(five.opened(), MOMENTS)))["nodes"], "for the same nodes again it is"


# ---- what each node refuses by itself -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, None),
        ({"dataset": "other"}, "query-altered"),
        ({"operation": "count"}, "query-altered"),
        ({"summary": {"about": "nothing"}}, "query-altered"),
        ({"project": "elsewhere"}, "query-altered"),
        ({"via": "he"}, "query-altered"),
        ({"issued": 1, "expires": 800}, "query-expired"),
        ({"expires": 9_999_999_999}, "bad-query"),
        ({"step": -1}, "bad-query"),
        ({"nonce": "short"}, "bad-query"),
        ({"v": 2}, "bad-query"),
    ],
)
def test_a_step_must_be_that_of_the_query_that_the_api_knows(table, changes, code):
    document = table.signed(table.opened(), COUNT, **changes)
    if code is None:
        together(table.run(document))
        return
    assert refused(table.run(document)).code == code


def test_a_step_that_was_changed_after_it_was_signed_is_refused(table):
    document = table.signed(table.opened(), COUNT)
    document["body"]["statistic"] = MOMENTS
    assert isinstance(refused(table.run(document)), NotAuthenticated)


def test_a_strangers_signature_is_refused(table):
    stranger = Identity.generate()
    record = table.opened(submitter=stranger.node_id)
    table.members[stranger.node_id] = ("elsewhere", ("node",))
    table.list_members()
    document = table.signed(record, COUNT, by=stranger)
    assert refused(table.run(document, sender=table.developer)).code == "query-not-yours"
    begin = Message(
        "query/begin",
        {"step": document, "present": document["body"]["members"], "attempt": 1, "query": record["id"], "number": 0},
    )
    error = refused(table.ask(table.sites[0].id, table.sites[1].id, begin))
    assert isinstance(error, NotAllowed)
    assert error.code == "role-missing"


def test_a_query_that_the_api_does_not_know_or_that_is_closed_is_refused(table):
    record = table.opened()
    table.records[record["id"]]["state"] = "closed"
    assert refused(table.run(table.signed(record, COUNT))).code == "query-closed"
    record = table.opened()
    del table.records[record["id"]]
    assert refused(table.run(table.signed(record, COUNT))).code == "unknown-query"


def begin(table, document, sender, **changes):
    body = {"step": document, "present": document["body"]["members"], "attempt": 1, "query": "q0", "number": 0}
    return table.ask(sender, table.site("south").id, Message("query/begin", {**body, **changes}))


def test_a_releaser_that_lies_about_the_members_is_refused(five):
    document = five.signed(five.opened(), COUNT)
    releaser = document["body"]["releaser"]
    members = document["body"]["members"]
    south = five.site("south").id
    others = [member for member in members if member not in (releaser, south)]
    for present in (
        sorted([releaser, south]),  # two
        sorted([releaser, south, others[0]]),  # fewer than T of five
        sorted([*members[:4], "ab" * 32]),  # somebody else
        sorted(member for member in members if member != releaser),
        [*members, members[-1]],
        members[::-1],
    ):
        assert refused(begin(five, document, releaser, present=present)).code == "query-members", present
    assert refused(begin(five, document, releaser, attempt=0)).code == "bad-query"
    assert refused(begin(five, document, others[0])).code == "not-the-releaser"


def test_members_who_are_no_nodes_are_refused(table):
    record = table.opened()
    table.members[table.site("west").id] = ("west", ("developer",))
    table.list_members()
    assert refused(table.run(table.signed(record, COUNT))).code == "role-missing"


def test_a_step_is_begun_once_and_a_later_attempt_only_after_an_earlier_one(table):
    record = table.opened()
    first = table.signed(record, COUNT)
    together(table.run(first))
    other = table.signed(record, MOMENTS)
    assert refused(table.run(other)).code == "query-replayed"
    assert refused(begin(table, first, record["releaser"])).code == "query-replayed"


def test_only_the_releaser_asks_for_the_phases(table):
    record = table.opened()
    document = table.signed(record, COUNT)
    together(begin(table, document, record["releaser"]))
    share = Message("query/share", {"query": "q0", "number": 0, "attempt": 1, "advertisements": {}})
    other = table.site("west").id
    assert refused(table.ask(other, table.site("south").id, share)).code == "not-the-releaser"
    late = Message("query/share", {"query": "q0", "number": 0, "attempt": 2, "advertisements": {}})
    assert refused(table.ask(record["releaser"], table.site("south").id, late)).code == "query-over"


def test_a_second_list_of_survivors_is_not_signed(five):
    record = five.opened()
    document = five.signed(record, COUNT)
    together(five.run(document))
    where = {"query": record["id"], "number": 0, "attempt": 1}
    fewer = sorted(document["body"]["members"])[:-1]
    releaser = record["releaser"]
    keeps = next(site for site in five.sites if site.id in fewer)
    error = refused(five.ask(releaser, keeps.id, Message("query/survivors", {**where, "survivors": fewer})))
    assert error.code == "secagg-survivors-changed"


@pytest.mark.parametrize(
    ("policy", "code", "words"),
    [
        ({"operations": ("train",)}, "policy-operation", "allowed is: train"),
        ({"projects": ()}, "policy-projects", "may not use"),
        ({"minimum_rows": 1000}, "policy-minimum-rows", "1000 or more"),
        ({"deny_organisations": ("laboratory",)}, "policy-organisations", "laboratory"),
        ({"analytics_privacy": "required"}, "policy-analytics-privacy", "private ones only"),
        ({"analytics_steps": 1}, "policy-analytics-steps", "step 2"),
    ],
)
def test_the_owners_policy_refuses_with_the_nodes_name_and_the_way_out(table, policy, code, words):
    site = table.site("south")
    site.policy = site.policy.__class__(**{"projects": (PROJECT,), "operations": ("analytics",), **policy})
    site.open()
    step = 1 if "analytics_steps" in policy else 0
    error = refused(table.run(table.signed(table.opened(), COUNT, step=step)))
    assert isinstance(error, NotAllowed)
    assert error.code == code
    assert error.message.startswith("south refuses: ")
    assert words in error.message
    assert "node.toml" in error.hint
    (entry,) = site.queries.ledger.entries(DATASET)
    assert (entry["outcome"], entry["code"]) == (REFUSED, code)


def test_unknown_columns_and_garbage_are_refused_with_what_there_is(table):
    error = refused(table.run(table.signed(table.opened(), {"kind": "moments", "columns": ["height"]})))
    assert isinstance(error, InvalidInput)
    assert error.code == "unknown-column"
    error = refused(table.run(table.signed(table.opened(), {"kind": "everything"})))
    assert error.code == "unknown-statistic"


# ---- what was answered before ---------------------------------------------------------------------------------------


def test_two_questions_that_differ_by_one_person_are_refused(table):
    oldest = int(table.site("south").frame.age.max())
    together(table.released({"kind": "count", "where": older(-1)}))
    error = refused(table.released(all_but(oldest)))
    assert error.code == "query-differs-by-few"
    assert "refuses" in error.message
    assert REFUSED in [outcome for site in table.sites for outcome in outcomes(table, site.name)]


def test_what_was_answered_is_remembered_by_a_node_that_starts_again(table):
    together(table.released({"kind": "count", "where": older(-1)}))
    for site in table.sites:
        site.open()
    oldest = int(table.site("south").frame.age.max())
    assert refused(table.released(all_but(oldest))).code == "query-differs-by-few"
    assert outcomes(table)[0] == ANSWERED


def test_a_line_that_was_cut_off_was_no_answer_and_a_damaged_one_stops_all_answers(table):
    together(table.released(COUNT))
    file = table.site("north").home / "queries" / f"{DATASET}.jsonl"
    assert file.stat().st_mode & 0o777 == 0o600
    with file.open("ab") as opened:
        opened.write(b'{"time": 17')
    table.site("north").open()
    together(table.released(COUNT))
    assert outcomes(table) == [ANSWERED, ANSWERED]
    file.write_bytes(file.read_bytes().replace(b'"outcome"', b'"outc', 1))
    table.site("north").open()
    assert refused(table.released(COUNT)).code == "bad-query-ledger"


PRIVATE = {"kind": "count", "epsilon": 1.0}


def test_private_answers_are_charged_before_they_leave_and_refused_beyond_the_budget(tmp_path):
    table = QueryTable(tmp_path, [40, 60, 80], analytics_epsilon=2.0)
    released = together(table.released(PRIVATE))
    assert released.epsilon == 1.0
    assert abs(released.counts[0] - 180) < 60
    together(table.released(PRIVATE))
    for site in table.sites:
        site.open()
    error = refused(table.released({"kind": "count", "epsilon": 2.0}))
    assert "budget" in error.code
    ask = Message("query/budget", {"project": PROJECT, "dataset": DATASET})
    told = together(table.ask(table.developer.node_id, table.site("west").id, ask)).body
    assert told["budget"] == 2.0
    assert 1.0 < told["spent"] < 2.0, "composed by zCDP"
    assert told["remaining"] == pytest.approx(2.0 - told["spent"])


def test_an_owner_who_requires_privacy_and_gives_no_budget_answers_nothing(tmp_path):
    table = QueryTable(tmp_path, [40, 60, 80], analytics_privacy="required")
    assert "budget" in refused(table.released(PRIVATE)).code


def test_an_owner_sees_who_asked_what_and_what_it_has_cost(tmp_path):
    table = QueryTable(tmp_path, [40, 60, 80], analytics_epsilon=5.0)
    together(table.released(MOMENTS))
    together(table.released(PRIVATE))
    refused(table.released({"kind": "moments", "columns": ["height"]}))
    home = Home(table.site("north").home)
    home.policy.write_text("[policy]\nanalytics_epsilon = 5.0\n")
    log = queries_of(home, DATASET)
    assert [row["outcome"] for row in log] == [ANSWERED, ANSWERED, REFUSED]
    assert log[0]["columns"] == "age, income"
    assert log[0]["organisation"] == "laboratory"
    assert log[0]["rows"] != 40, "how many rows exactly is not written down"
    assert "height" in log[2]["reason"]
    (budget,) = budgets_of(home, DATASET)
    assert (budget["answers"], budget["budget"]) == (1, 5.0)
    assert budget["spent"] == pytest.approx(1.0, rel=0.2)
    asked = CliRunner(env={"FLAAS_HOME": str(home.path)})
    shown = asked.invoke(main, ["dataset", "queries", DATASET])
    assert "age, income" in shown.output
    assert "refused" in shown.output
    assert json.loads(asked.invoke(main, ["dataset", "queries", DATASET, "--json"]).output) == log
    assert json.loads(asked.invoke(main, ["dataset", "budget", DATASET, "--json"]).output) == [budget]
    unknown = asked.invoke(main, ["dataset", "budget", "other"])
    assert unknown.exit_code == 1


def test_the_same_step_again_is_answered_as_before_and_charged_once(tmp_path):
    table = QueryTable(tmp_path, [40, 60, 80], analytics_epsilon=5.0)
    document = table.signed(table.opened(), PRIVATE)
    first, again = together(table.run(document)), together(table.run(document))
    assert first["released"].to_dict() == again["released"].to_dict()
    assert outcomes(table) == [ANSWERED]


def test_a_step_is_not_answered_again_by_a_node_that_starts_again(tmp_path):
    table = QueryTable(tmp_path, [40, 60, 80], analytics_epsilon=5.0)
    document = table.signed(table.opened(), PRIVATE)
    together(table.run(document))
    for site in table.sites:
        site.open()
    assert refused(table.run(document)).code == "query-replayed"
    assert table.site("south").queries.ledger.spent(DATASET, table.developer.node_id) == 1.0


def test_a_step_that_is_asked_for_twice_at_once_is_led_once(table):
    document = table.signed(table.opened(), COUNT)

    async def twice():
        return await asyncio.gather(table.run(document), table.run(document))

    first, second = together(twice())
    assert first["released"].to_dict() == second["released"].to_dict()
    assert outcomes(table) == [ANSWERED]


# ---- what is spent --------------------------------------------------------------------------------------------------


def test_without_a_budget_private_answers_are_refused_too(table):
    error = refused(table.released(PRIVATE))
    assert isinstance(error, NotAllowed)
    assert error.code == "analytics-budget"
    assert "analytics_epsilon" in error.hint
    assert "without epsilon" in error.hint
    assert refused(table.released({"kind": "count", "epsilon": 1e-10})).code == "analytics-budget"
    together(table.released(COUNT))


# ---- when the data change -------------------------------------------------------------------------------------------


def written(table, name, frame):
    """Have a node's owner write its file anew."""
    (table.site(name).home / "people.csv").write_text(frame.to_csv(index=False))


def asked_before(tmp_path, name="south"):
    table = QueryTable(tmp_path, [40, 60, 80], analytics_epsilon=2.0)
    together(table.released(MOMENTS))
    return table, table.site(name).frame


@pytest.mark.parametrize("again", [False, True])
def test_when_one_row_has_come_gone_or_changed_the_same_is_not_answered_again(tmp_path, again):
    table, frame = asked_before(tmp_path)
    changed = frame.copy()
    changed.loc[5, "income"] += 100.0
    for other in (frame.iloc[:-1], pd.concat([frame, frame.iloc[[3]]]), changed):
        written(table, "south", other)
        if again:
            table.site("south").open()
        error = refused(table.released(MOMENTS))
        assert error.code == "query-differs-by-few"
        assert "have changed" in error.message
        assert "epsilon" in error.hint
    assert refused(table.released({"kind": "moments", "columns": ["age"]})).code == "query-differs-by-few"
    together(table.released(PRIVATE))
    written(table, "south", frame)
    together(table.released(MOMENTS))


def test_when_as_many_rows_as_a_group_have_changed_it_is_answered_again(tmp_path):
    table, frame = asked_before(tmp_path)
    nine, ten = frame.iloc[:-9], frame.iloc[:-10]
    written(table, "south", nine)
    assert refused(table.released(MOMENTS)).code == "query-differs-by-few"
    written(table, "south", ten)
    together(table.released(MOMENTS))
    written(table, "south", nine)
    assert refused(table.released(MOMENTS)).code == "query-differs-by-few", "one row from the last answer"


def test_somebody_who_was_not_answered_before_may_ask_about_data_that_changed_a_little(tmp_path):
    table, frame = asked_before(tmp_path)
    other = Identity.generate()
    table.members[other.node_id] = ("laboratory", ("developer",))
    table.list_members()
    written(table, "south", frame.iloc[:-1])
    record = table.opened(submitter=other.node_id)
    assert together(table.run(table.signed(record, MOMENTS, by=other), sender=other))["released"].counts == [179]


def test_rows_in_another_order_are_the_same_data_and_do_not_forget_the_audit(tmp_path):
    table, frame = asked_before(tmp_path)
    together(table.released({"kind": "count", "where": older(-1)}))
    written(table, "south", frame.iloc[::-1])
    together(table.released(MOMENTS))
    oldest = int(frame.age.max())
    assert refused(table.released(all_but(oldest))).code == "query-differs-by-few"
    table.site("south").open()
    assert refused(table.released(all_but(oldest))).code == "query-differs-by-few"


def test_hashes_of_rows_lie_beside_the_ledger_for_its_owner_alone(tmp_path):
    table, _ = asked_before(tmp_path)
    folder = table.site("south").home / "queries"
    files = [*(folder / "hashes").iterdir(), folder / "rows.key"]
    assert len(files) == 2
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)


# ---- other nodes ----------------------------------------------------------------------------------------------------


def lost_then(five, first, second):
    """Ask once without a node that is lost on the way, then again with all."""
    five.cut_at["west"] = "query/share"
    together(five.run(five.signed(five.opened(), first)))
    five.cut, five.cut_at = set(), {}
    return refused(five.run(five.signed(five.opened(), second)))


BY = {"column": "ward", "values": [0, 1, 2, 3]}
EDGES = {"kind": "histogram", "columns": ["age"], "edges": {"age": [0.0, 40.0, 100.0]}}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (MOMENTS, {**MOMENTS, "columns": ["age"]}),
        (MOMENTS, {**MOMENTS, "where": older(-1)}),
        ({"kind": "count", "where": older(40)}, {"kind": "moments", "columns": ["income"], "where": older(40.5)}),
        ({"kind": "count", "by": [BY]}, {"kind": "count", "by": [{**BY, "values": [0, 1, 2, 3, 4]}]}),
        (EDGES, {**EDGES, "edges": {"age": [0.0, 40.0, 101.0]}}),
    ],
)
def test_other_nodes_are_noticed_however_the_same_is_put(five, first, second):
    assert lost_then(five, first, second).code == "query-other-nodes"


# ---- what peers may name --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../x", "..", ".hidden", "a/b", "", "x" * 65, "a\0b", "people\n"])
def test_a_name_that_no_data_set_can_have_makes_no_files(table, name):
    record = {**table.opened(), "dataset": name}
    document = table.signed(record, COUNT)
    before = sorted(table.folder.rglob("*"))
    error = refused(begin(table, document, record["releaser"]))
    assert error.code == "bad-query"
    ask = Message("query/budget", {"project": PROJECT, "dataset": name})
    assert refused(table.ask(table.developer.node_id, table.site("west").id, ask)).code == "unknown-dataset"
    assert sorted(table.folder.rglob("*")) == before


def test_a_data_set_that_is_not_there_gets_no_ledger_and_peers_are_told_of_no_other(table):
    site = table.site("south")
    record = {**table.opened(), "dataset": "other"}
    error = refused(begin(table, table.signed(record, COUNT), record["releaser"]))
    assert not (site.home / "queries" / "other.jsonl").exists()
    record = table.opened(dataset="other")
    digest = opening_digest("mean", "other", {}, record["nonce"])
    table.records[record["id"]]["digest"] = digest
    error = refused(begin(table, table.signed(record, COUNT), record["releaser"]))
    assert error.code == "unknown-dataset"
    assert DATASET not in error.message + error.hint
    assert not (site.home / "queries" / "other.jsonl").exists()
    told = []
    for project, dataset in ((PROJECT, "other"), ("elsewhere", DATASET)):
        ask = Message("query/budget", {"project": project, "dataset": dataset})
        error = refused(table.ask(table.developer.node_id, site.id, ask))
        told.append((error.code, error.message.replace(dataset, "…"), error.hint))
    assert told[0] == told[1], "whether it is there for others is not told"


def test_where_names_are_withheld_an_unknown_column_tells_none(tmp_path):
    table = QueryTable(tmp_path, [40, 60, 80], explore="nothing")
    statistic = statistics.parse({"kind": "moments", "columns": ["height"]})
    with pytest.raises(InvalidInput) as caught:
        _require_columns(statistic, ["age", "income"], table.site("south").policy)
    assert caught.value.code == "unknown-column"
    assert "income" not in str(caught.value.to_dict())
    with pytest.raises(InvalidInput, match="age, income"):
        _require_columns(statistic, ["age", "income"], Policy())
