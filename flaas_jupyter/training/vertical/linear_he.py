"""Mode ``linear_he``: a linear or logistic regression over all parties' columns, gradients under encryption.

For each batch the feature parties send their part of each row's score, in the clear; the label holder computes the
residuals, encrypts them, and gets masked sums back, which it opens (`protocols.vertical.ckks_linear`). Every party
steps with the optimizer of the plan on its own weights.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from ...protocols.tenseal_library import tenseal
from ...protocols.vertical.ckks_linear import CIPHERTEXT_LIMIT, MaskedSums, Residuals, require_batch
from ..local import non_finite
from .encoders import outputs
from .exchange import bad_message, tensor
from .label_side import LabelSide, Steps, require_separable
from .part import Part
from .state import PartyState, Round, Verdict

if TYPE_CHECKING:
    import keras

KEY, EPOCH, SCORE, RESIDUAL = "linear_he/key", "linear_he/epoch", "linear_he/score", "linear_he/residual"
MASKED, OPENED, VALIDATION = "linear_he/masked", "linear_he/opened", "linear_he/validation"


async def run(part: Part) -> tuple[PartyState, list[dict[str, float]], dict[str, Any]]:
    """Take this party's part; return its state, the rounds and what the report holds besides."""
    tenseal()
    require_batch(part.plan.batch_size)
    if part.me == part.plan.label_holder:
        return await _label_holder(part)
    return await _feature_party(part)


async def _label_holder(part: Part) -> tuple[PartyState, list[dict[str, float]], dict[str, Any]]:
    plan, line, others = part.plan, part.line, part.plan.feature_parties
    side: LabelSide = await part.offload(lambda: LabelSide(part))
    steps: Steps = await part.offload(lambda: Steps(side))
    residuals: Residuals = await part.offload(lambda: Residuals(part.rng))
    key = np.frombuffer(await part.offload(residuals.public_context), np.uint8)
    for party in others:
        await line.send(party, KEY, {}, {"context": key})
    rounds: list[dict[str, float]] = []
    verdict = Verdict()
    for number in range(1, plan.epochs + 1):
        started = time.perf_counter()
        steps.begin()
        part.set_rate(side.model, number, side.train)
        for party in others:
            await line.send(party, EPOCH, {"go": True, "learning_rate": verdict.learning_rate}, {})
        for rows in plan.batches(number - 1, side.train):
            part.check_stop()
            scores = [await _scores(part, party, SCORE, len(rows)) for party in others]
            gradients = await part.offload(lambda: steps(rows, scores))  # noqa: B023
            # Scores are added up, so that the derivative of the batch's mean loss is the same at all of them.
            residual = gradients[0][:, 0] * len(rows)
            sealed = np.frombuffer(await part.offload(lambda: residuals.encrypt(residual)), np.uint8)  # noqa: B023
            for party in others:
                await line.send(party, RESIDUAL, {}, {"residual": sealed})
            for party in others:
                _, tensors = await line.receive(party, MASKED)
                sums = _ciphertexts(tensors, len(plan.columns[party]), party)
                opened = await part.offload(lambda: residuals.open(sums))  # noqa: B023
                await line.send(party, OPENED, {}, {"sums": opened})
        held_out = [await _scores(part, party, VALIDATION, side.validation) for party in others]
        metrics = {**steps.end(number), **await part.offload(lambda: side.evaluate(held_out))}  # noqa: B023
        rounds.append(metrics)
        verdict = side.take(await part.on_round(Round(number, metrics, side.vector(), time.perf_counter() - started)))
        if verdict.stop:
            break
    for party in others:
        await line.send(party, EPOCH, {"go": False, "learning_rate": None}, {})
    side.model.optimizer.finalize_variable_values(side.model.trainable_variables)
    return part.state(side.model, side.scaler), rounds, {"label_leak": None}


async def _feature_party(part: Part) -> tuple[PartyState, list[dict[str, float]], dict[str, Any]]:
    plan, line, holder = part.plan, part.line, part.plan.label_holder
    model = await part.offload(part.build)
    require_linear(model, part.me)
    require_separable(model.optimizer)
    model.optimizer.build(model.trainable_variables)
    scaler = part.scaler()
    columns = scaler(part.common())
    train, validation = plan.split_rows(len(columns))
    _, tensors = await line.receive(holder, KEY)
    key = tensor(tensors, "context", (None,), "uint8", sender=holder, kind=KEY).tobytes()
    masked: MaskedSums = await part.offload(lambda: MaskedSums(key))
    number = 0
    while True:
        body, _ = await line.receive(holder, EPOCH)
        verdict = part.read_verdict(body, EPOCH, number + 1)
        if verdict.stop:
            break
        number += 1
        part.set_rate(model, number, train, verdict)
        started = time.perf_counter()
        for rows in plan.batches(number - 1, train):
            part.check_stop()
            batch = columns[rows]
            await line.send(holder, SCORE, {}, {"score": await part.offload(lambda: outputs(model, batch))})  # noqa: B023
            _, tensors = await line.receive(holder, RESIDUAL)
            sealed = tensor(tensors, "residual", (None,), "uint8", sender=holder, kind=RESIDUAL).tobytes()
            products = await part.offload(lambda: masked.products(sealed, batch))  # noqa: B023
            named = {str(at): np.frombuffer(each, np.uint8) for at, each in enumerate(products)}
            await line.send(holder, MASKED, {}, named)
            _, tensors = await line.receive(holder, OPENED)
            sums = tensor(tensors, "sums", (batch.shape[1],), "float64", sender=holder, kind=OPENED)
            gradient = masked.unmask(sums)
            await part.offload(lambda: _step(model, gradient))  # noqa: B023
        vector = plan.models[part.me].vector_of(model)
        if not np.isfinite(vector).all():
            raise non_finite("weights", number, 0)
        await part.on_round(Round(number, {}, vector, time.perf_counter() - started))
        held_out = outputs(model, columns[train:]) if validation else np.empty((0, 1), np.float32)
        await line.send(holder, VALIDATION, {}, {"score": held_out})
    model.optimizer.finalize_variable_values(model.trainable_variables)
    return part.state(model, scaler), [], {}


def require_linear(model: keras.Model, party: str) -> None:
    """Raise unless a bottom is one linear unit without bias.

    Raises
    ------
    InvalidInput
        Code ``not-linear``.
    """
    import keras

    dense = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    linear = (
        len(dense) == 1
        and isinstance(dense[0], keras.layers.Dense)
        and dense[0].units == 1
        and not dense[0].use_bias
        and dense[0].activation is keras.activations.linear
    )
    if not linear:
        raise InvalidInput(
            f"The bottom of party {party!r} is not Dense(1, use_bias=False), which is all that mode='linear_he' knows.",
            code="not-linear",
            hint="Leave bottoms and top out: VerticalModel(bottoms={party: None, ...}, mode='linear_he').",
        )


def _step(model: keras.Model, gradient: NDArray[np.float64]) -> None:
    import tensorflow as tf

    variables = model.trainable_variables
    value = tf.convert_to_tensor(gradient.reshape(-1, 1), variables[0].dtype)
    with tf.GradientTape() as tape:
        penalties = list(model.losses)  # regularisers
    if penalties:
        value += tf.add_n(tape.gradient(penalties, variables))
    model.optimizer.apply([value], variables)


async def _scores(part: Part, party: str, kind: str, rows: int) -> NDArray[np.float32]:
    _, tensors = await part.line.receive(party, kind)
    return tensor(tensors, "score", (rows, 1), "float32", sender=party, kind=kind)


def _ciphertexts(tensors: dict[str, NDArray[Any]], count: int, party: str) -> Sequence[bytes]:
    if set(tensors) != {str(at) for at in range(count)}:
        raise bad_message(party, MASKED, f"it has {len(tensors)} sums; the party has {count} columns")
    found = [tensor(tensors, str(at), (None,), "uint8", sender=party, kind=MASKED) for at in range(count)]
    if any(each.nbytes > CIPHERTEXT_LIMIT for each in found):
        raise bad_message(party, MASKED, f"a ciphertext takes more than {CIPHERTEXT_LIMIT:,} bytes")
    return [each.tobytes() for each in found]
