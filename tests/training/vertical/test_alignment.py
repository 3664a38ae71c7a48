"""Alignment of rows over the real protocol: one order at all parties, sizes, minimum, and messages that do not fit."""

from __future__ import annotations

import asyncio

import numpy as np
import pandas as pd
import pytest
from vertical_world import ID, federation, tables

from flaas_jupyter.errors import FlaasError, InvalidInput
from flaas_jupyter.training.vertical.alignment import align, align_here
from flaas_jupyter.training.vertical.exchange import MemoryExchange, Metered, connected, tensor
from flaas_jupyter.training.vertical.table import PartyTable


def table(*ids: object, **columns: object) -> PartyTable:
    rows = np.empty(len(ids), object)
    rows[:] = ids
    return PartyTable(rows, {name: np.asarray(values) for name, values in columns.items()})


def aligned(parties: dict[str, PartyTable], **options: int) -> dict[str, object]:
    async def run() -> list[object]:
        lines = connected(list(parties))
        work = (align(line, parties[party], seed=3, **options) for party, line in lines.items())
        return await asyncio.gather(*work, return_exceptions=True)

    return dict(zip(parties, asyncio.run(run()), strict=True))


def test_all_parties_have_the_same_people_in_the_same_order():
    parties = federation()
    found = parties.align(seed=5)
    everybody = [[parties.tables[party].keys[row] for row in part.rows.tolist()] for party, part in found.items()]
    assert everybody[0] == everybody[1] == everybody[2]
    expected = set.intersection(*({str(value) for value in frame[ID]} for frame in tables().values()))
    assert {key.decode() for key in everybody[0]} == expected
    assert everybody[0] != sorted(everybody[0])


def test_comparing_in_the_clear_gives_the_same():
    parties = federation()
    protocol, clear = parties.align(seed=5), align_here(parties.tables, 5)
    for party in parties.parties:
        np.testing.assert_array_equal(protocol[party].rows, clear[party].rows)


def test_another_seed_is_another_order_of_the_same_people():
    parties = federation()
    one, other = (parties.align(seed=seed)["bank"].rows for seed in (1, 2))
    assert one.tolist() != other.tolist()
    assert sorted(one.tolist()) == sorted(other.tolist())


def test_a_feature_party_learns_the_intersection_of_all_and_two_sizes():
    found = aligned({"a": table(1, 2, 3, 4), "b": table(1, 2, 3), "c": table("3", "4", "5", "6", "7")})
    assert [len(part.rows) for part in found.values()] == [1, 1, 1]
    assert found["b"].rows.tolist() == [2]
    assert found["a"].sizes == {"a": 4, "b": 3, "c": 5}
    assert found["b"].sizes == {"b": 3, "a": 4}
    assert found["c"].sizes == {"c": 5, "a": 4}


def test_too_few_in_common_end_it_at_all_parties_and_the_error_says_no_number():
    found = aligned({"a": table(*range(100)), "b": table(*range(93, 200))}, minimum=8)
    for error in found.values():
        assert isinstance(error, InvalidInput)
        assert error.code == "too-few-common"
        assert "7" not in str(error)


def test_a_feature_party_keeps_to_its_own_minimum():
    async def run() -> list[object]:
        lines = connected(["a", "b"])
        return await asyncio.gather(
            align(lines["a"], table(1, 2, 3), seed=0, minimum=1),
            align(lines["b"], table(1, 2, 3), seed=0, minimum=4),
            return_exceptions=True,
        )

    holder, feature = asyncio.run(run())
    assert len(holder.rows) == 3
    assert feature.code == "too-few-common"


def test_disjoint_and_empty_tables_are_too_few():
    for parties in ({"a": table(1), "b": table(2)}, {"a": table(), "b": table(2)}):
        assert {error.code for error in aligned(parties).values()} == {"too-few-common"}


def test_more_ids_than_allowed_end_it():
    async def run() -> object:
        lines = connected(["a", "b"])
        feature = asyncio.ensure_future(align(lines["b"], table(*range(9)), seed=0))
        try:
            return await align(lines["a"], table(1, 2), seed=0, maximum=5)
        except FlaasError as error:
            return error
        finally:
            feature.cancel()

    assert asyncio.run(run()).code == "too-many-ids"


# ---- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "columns", "label", "code"),
    [
        ([1, 2, 2], {}, None, "duplicate-ids"),
        ([1, "1"], {}, None, "duplicate-ids"),
        ([1, None], {}, None, "missing-ids"),
        ([1, 2], {"x": [1.0, 2.0, 3.0]}, None, "bad-table"),
        ([1, 2], {"x": ["a", "b"]}, None, "non-numeric"),
        ([1, 2], {"x": [1.0, float("nan")]}, None, "missing-values"),
        ([1, 2], {"x": [1.0, float("inf")]}, None, "missing-values"),
        ([1, 2], {}, ["yes", "no"], "non-numeric"),
        ([1, 2], {}, [0.0, float("nan")], "missing-values"),
    ],
)
def test_a_table_that_will_not_do_is_refused(ids, columns, label, code):
    with pytest.raises(InvalidInput) as error:
        PartyTable(
            np.array(ids, object),
            {name: np.asarray(values) for name, values in columns.items()},
            None if label is None else np.asarray(label),
        )
    assert error.value.code == code


def test_columns_are_taken_by_name():
    given = table(1, 2, x=[1, 2], y=[True, False])
    assert given.matrix(["y", "x"]).tolist() == [[1.0, 1.0], [0.0, 2.0]]
    with pytest.raises(InvalidInput, match="no column 'z'; it has 'x', 'y'"):
        given.matrix(["z"])


# ---- the line -------------------------------------------------------------------------------------------------------


def test_messages_of_one_kind_keep_their_order_and_are_counted():
    async def run() -> tuple[list[int], dict[str, object], MemoryExchange]:
        lines = connected(["a", "b"])
        sender, receiver = Metered(lines["a"]), Metered(lines["b"])
        for number in range(3):
            await sender.send("b", "n", {"number": number}, {"x": np.zeros(2, np.float32)})
        await sender.send("b", "other", {}, {})
        await receiver.receive("a", "other")
        got = [(await receiver.receive("a", "n"))[0]["number"] for _ in range(3)]
        assert receiver.counts()["received"] == sender.counts()["sent"]
        return got, sender.counts(), lines["a"]

    got, counts, line = asyncio.run(run())
    assert got == [0, 1, 2]
    assert counts["messages"] == {"n": 3, "other": 1}
    assert counts["sent"]["n"] == 3 * (len('{"number": 0}') + 8)
    assert (line.log[0].kind, line.log[0].shapes) == ("n", {"x": (2,)})


def test_what_was_sent_is_not_changed_by_what_the_sender_does_afterwards():
    async def run() -> float:
        lines = connected(["a", "b"])
        values = np.zeros(1)
        await lines["a"].send("b", "x", {}, {"x": values})
        values += 1
        return float((await lines["b"].receive("a", "x"))[1]["x"][0])

    assert asyncio.run(run()) == 0.0


@pytest.mark.parametrize("party", ["a", "z"])
def test_there_is_no_line_to_oneself_or_to_strangers(party):
    line = connected(["a", "b"])["a"]
    for work in (line.send(party, "x", {}, {}), line.receive(party, "x")):
        with pytest.raises(InvalidInput) as error:
            asyncio.run(work)
        assert error.value.code == "unknown-party"


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"x": np.zeros(3, np.float64)},
        {"x": np.zeros((3, 1), np.float32)},
        {"x": np.zeros(4, np.float32)},
        {"x": np.array([1, np.nan, 0], np.float32)},
    ],
)
def test_an_array_that_the_protocol_does_not_have_is_refused(tensors):
    with pytest.raises(InvalidInput, match="'kind' of party 'b'") as error:
        tensor(tensors, "x", (3,), "float32", sender="b", kind="kind")
    assert error.value.code == "bad-message"


def test_frames_of_pandas_types_are_taken():
    frame = pd.DataFrame({ID: pd.array([1, 2, 3], dtype="Int64"), "x": [True, False, True]})
    assert PartyTable(frame[ID].to_numpy(), {"x": frame["x"].to_numpy()}).keys == (b"1", b"2", b"3")
