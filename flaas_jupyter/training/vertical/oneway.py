"""Mode ``oneway``: embeddings go to the label holder once, and nothing comes back.

Every feature party fits an encoder without labels (`encoders`), and sends one row of numbers for each row in common.
The label holder trains an ordinary Keras model on its own columns and these. Nothing that depends on labels leaves the
label holder: after the alignment it sends no message at all.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ..local import graph_epoch, non_finite
from .encoders import fit_encoder
from .exchange import tensor
from .label_side import LabelSide
from .part import Part
from .state import PartyState, Round

EMBEDDING = "oneway/embedding"


async def run(part: Part) -> tuple[PartyState, list[dict[str, float]], dict[str, Any]]:
    """Take this party's part; return its state, the rounds and what the report holds besides."""
    if part.me == part.plan.label_holder:
        return await _label_holder(part)
    return await _feature_party(part)


async def _feature_party(part: Part) -> tuple[PartyState, list[dict[str, float]], dict[str, Any]]:
    encoder, state = await part.offload(lambda: fit_encoder(part))
    part.check_stop()
    embedding = await part.offload(lambda: encoder(part.common(), part.rng))
    await part.line.send(part.plan.label_holder, EMBEDDING, {}, {"embedding": embedding})
    return state, [], {}


async def _label_holder(part: Part) -> tuple[PartyState, list[dict[str, float]], dict[str, Any]]:
    plan, line = part.plan, part.line
    side: LabelSide = await part.offload(lambda: LabelSide(part))
    rows = len(part.alignment.rows)
    embeddings = []
    for party in plan.feature_parties:
        _, tensors = await line.receive(party, EMBEDDING)
        shape = (rows, plan.widths[party])
        embeddings.append(tensor(tensors, "embedding", shape, "float32", sender=party, kind=EMBEDDING))
    held_out = [values[side.train :] for values in embeddings]
    inputs = side.inputs(slice(side.train), [values[: side.train] for values in embeddings])
    run_epoch = await part.offload(lambda: graph_epoch(side.model, inputs, side.labels[: side.train], plan.batch_size))
    rounds: list[dict[str, float]] = []

    def epoch(number: int) -> dict[str, float]:
        part.set_rate(side.model, number, side.train)
        metrics: dict[str, float] = run_epoch(np.concatenate(plan.batches(number - 1, side.train)), part.should_stop)
        if not np.isfinite(metrics["loss"]):
            raise non_finite("loss", number, 0)
        return {**metrics, **side.evaluate(held_out)}

    for number in range(1, plan.epochs + 1):
        started = time.perf_counter()
        metrics = await part.offload(lambda: epoch(number))  # noqa: B023
        rounds.append(metrics)
        verdict = side.take(await part.on_round(Round(number, metrics, side.vector(), time.perf_counter() - started)))
        if verdict.stop:
            break
    side.model.optimizer.finalize_variable_values(side.model.trainable_variables)
    return part.state(side.model, side.scaler), rounds, {"label_leak": 0.5}
