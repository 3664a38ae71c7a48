"""Parties that do not keep to the protocol: what they send is refused by name, before anything is done with it."""

from __future__ import annotations

import asyncio
import importlib.util
import re
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from vertical_world import bottom, federation, top

from flaas_jupyter import VerticalModel
from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.training.vertical.alignment import align_here
from flaas_jupyter.training.vertical.exchange import MemoryExchange, connected
from flaas_jupyter.training.vertical.party import run_party
from flaas_jupyter.training.vertical.plan import VerticalPlan
from flaas_jupyter.vertical_parts import Parts

Peer = Callable[[MemoryExchange], Awaitable[None]]

with_tenseal = pytest.mark.skipif(importlib.util.find_spec("tenseal") is None, reason="extra he is not installed")


def planned(mode: str) -> tuple[VerticalPlan, dict[str, Any]]:
    model = (
        VerticalModel({"telco": bottom(4, 3)}, top(6), mode=mode)
        if mode != "linear_he"
        else VerticalModel({}, mode=mode)
    )
    model.compile("adam", "binary_crossentropy")
    parties = federation(parties=2)
    parts = Parts(model, parties, model._compiling)
    plan = parts.plan(model, parties, seed=1, epochs=1, batch_size=300, validation_split=0.0, shuffle=True, minimum=1)
    return plan, parts.vectors(plan)


def against(mode: str, party: str, peer: Peer) -> InvalidInput:
    """Run one party honestly against another that the test plays."""
    plan, vectors = planned(mode)
    tables = federation(parties=2).tables
    other = next(name for name in plan.parties if name != party)

    async def run() -> None:
        lines = connected(plan.parties)
        playing = asyncio.ensure_future(peer(lines[other]))
        try:
            aligned = align_here(tables, plan.seed)[party]
            await run_party(lines[party], plan, tables[party], vectors[party], label_consent=True, alignment=aligned)
        finally:
            playing.cancel()

    with pytest.raises(InvalidInput) as error:
        asyncio.run(run())
    return error.value


def sends(party: str, *messages: tuple[str, dict[str, Any], dict[str, Any]]) -> Peer:
    async def play(line: MemoryExchange) -> None:
        for kind, body, tensors in messages:
            await line.send(party, kind, body, tensors)

    return play


GO = ("split/epoch", {"go": True, "learning_rate": None}, {})


@pytest.mark.parametrize(
    ("messages", "match"),
    [
        ([("split/epoch", {"go": 1, "learning_rate": None}, {})], "whether to go on"),
        ([("split/epoch", {"go": True}, {})], "whether to go on"),
        ([("split/epoch", {"go": True, "learning_rate": -1}, {})], "learning rate is -1"),
        ([("split/epoch", {"go": True, "learning_rate": "fast"}, {})], "learning rate is 'fast'"),
        ([GO, ("split/gradient", {}, {})], "no array 'gradient'"),
        ([GO, ("split/gradient", {}, {"gradient": np.zeros((300, 2), np.float32)})], r"shape \(300, 2\)"),
        ([GO, ("split/gradient", {}, {"gradient": np.zeros((300, 3), np.float64)})], "float64"),
        ([GO, ("split/gradient", {}, {"gradient": np.full((300, 3), np.nan, np.float32)})], "NaN"),
    ],
)
def test_a_feature_party_refuses_what_a_label_holder_may_not_send(messages, match):
    error = against("split", "telco", sends("telco", *messages))
    assert error.code == "bad-message"
    assert re.search(match, str(error))


def test_a_label_holder_cannot_ask_for_more_epochs_than_the_plan_has():
    async def play(line: MemoryExchange) -> None:
        for _ in range(2):
            await line.send("telco", *GO)
            for _ in range(2):
                _, tensors = await line.receive("telco", "split/embedding")
                gradient = np.zeros_like(tensors["embedding"])
                await line.send("telco", "split/gradient", {}, {"gradient": gradient})

    error = against("split", "telco", play)
    assert error.code == "bad-message"
    assert "ends after 1 epochs" in str(error)


@pytest.mark.parametrize("rows", [539, 541])
@pytest.mark.parametrize("mode", ["oneway", "split"])
def test_a_label_holder_refuses_embeddings_of_other_rows_than_those_in_common(mode, rows):
    kind = f"{mode}/embedding"
    error = against(mode, "bank", sends("bank", (kind, {}, {"embedding": np.zeros((rows, 3), np.float32)})))
    assert error.code == "bad-message"
    assert kind in str(error)


@with_tenseal
def test_a_label_holder_refuses_sums_that_are_not_as_many_as_the_columns():
    score = ("linear_he/score", {}, {"score": np.zeros((300, 1), np.float32)})
    error = against("linear_he", "bank", sends("bank", score, ("linear_he/masked", {}, {"0": np.zeros(9, np.uint8)})))
    assert error.code == "bad-message"
    assert "1 sums; the party has 4 columns" in str(error)


@with_tenseal
def test_a_feature_party_refuses_a_key_that_is_none():
    key = ("linear_he/key", {}, {"context": np.arange(99, dtype=np.uint8)})
    assert against("linear_he", "telco", sends("telco", key)).code == "bad-ciphertext"
