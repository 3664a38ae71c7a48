"""Mode ``split``: bottoms and top are trained together (Vepakomma et al. 2018; Gupta and Raskar 2018).

For each batch, whose rows all parties know from the plan's seed, a feature party sends the outputs of its bottom; the
label holder computes the loss, makes its own step, and returns the loss's gradient at these outputs; the feature party
carries it on into its bottom. Without protection this is the training of the whole model in one place, to the rounding
of float32 (tested). Gradients tell labels (Li et al. 2021): the label holder has to agree beforehand, and how much the
known attacks get from what it has sent is measured and reported (`protocols.vertical.leakage`).
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...protocols.vertical.leakage import label_leak
from ...protocols.vertical.protection import clip_rows, protect_gradients
from ..local import non_finite
from ..replicas import without_replicas
from .encoders import outputs, require_width
from .exchange import tensor
from .label_side import LabelSide, Steps, require_separable
from .part import Part
from .scaling import Scaler
from .state import PartyState, Round, Verdict

if TYPE_CHECKING:
    import keras

EPOCH, EMBEDDING, GRADIENT, VALIDATION = "split/epoch", "split/embedding", "split/gradient", "split/validation"


async def run(part: Part) -> tuple[PartyState, list[dict[str, float]], dict[str, Any]]:
    """Take this party's part; return its state, the rounds and what the report holds besides."""
    if part.me == part.plan.label_holder:
        return await _label_holder(part)
    return await _feature_party(part)


async def _label_holder(part: Part) -> tuple[PartyState, list[dict[str, float]], dict[str, Any]]:
    plan, line, others = part.plan, part.line, part.plan.feature_parties
    side: LabelSide = await part.offload(lambda: LabelSide(part))
    steps: Steps = await part.offload(lambda: Steps(side))
    rounds: list[dict[str, float]] = []
    sent: list[tuple[list[NDArray[np.float32]], NDArray[Any]]] = []
    verdict = Verdict()
    for number in range(1, plan.epochs + 1):
        started = time.perf_counter()
        sent.clear()
        steps.begin()
        part.set_rate(side.model, number, side.train)
        for party in others:
            await line.send(party, EPOCH, {"go": True, "learning_rate": verdict.learning_rate}, {})
        for rows in plan.batches(number - 1, side.train):
            part.check_stop()
            embeddings = [await _embedding(part, party, EMBEDDING, len(rows)) for party in others]
            exact = await part.offload(lambda: steps(rows, embeddings))  # noqa: B023
            gradients = [protect_gradients(each, plan.protection, part.rng) for each in exact]
            for party, gradient in zip(others, gradients, strict=True):
                await line.send(party, GRADIENT, {}, {"gradient": gradient})
            sent.append((gradients, side.labels[rows]))
        held_out = [await _embedding(part, party, VALIDATION, side.validation) for party in others]
        metrics = {**steps.end(number), **await part.offload(lambda: side.evaluate(held_out))}  # noqa: B023
        rounds.append(metrics)
        verdict = side.take(await part.on_round(Round(number, metrics, side.vector(), time.perf_counter() - started)))
        if verdict.stop:
            break
    for party in others:
        await line.send(party, EPOCH, {"go": False, "learning_rate": None}, {})
    side.model.optimizer.finalize_variable_values(side.model.trainable_variables)
    leaks = [label_leak([(gradients[at], labels) for gradients, labels in sent]) for at in range(len(others))]
    measured = [leak for leak in leaks if leak is not None]
    return part.state(side.model, side.scaler), rounds, {"label_leak": max(measured) if measured else None}


async def _feature_party(part: Part) -> tuple[PartyState, list[dict[str, float]], dict[str, Any]]:
    plan, line, holder = part.plan, part.line, part.plan.label_holder
    side: _FeatureSide = await part.offload(lambda: _FeatureSide(part))
    number = 0
    while True:
        body, _ = await line.receive(holder, EPOCH)
        verdict = part.read_verdict(body, EPOCH, number + 1)
        if verdict.stop:
            break
        number += 1
        part.set_rate(side.model, number, side.train, verdict)
        started = time.perf_counter()
        for rows in plan.batches(number - 1, side.train):
            part.check_stop()
            embedding = await part.offload(lambda: side.forward(rows))  # noqa: B023
            await line.send(holder, EMBEDDING, {}, {"embedding": embedding})
            _, tensors = await line.receive(holder, GRADIENT)
            gradient = tensor(tensors, "gradient", embedding.shape, "float32", sender=holder, kind=GRADIENT)
            await part.offload(lambda: side.backward(gradient))  # noqa: B023
        vector = side.vector(number)
        await part.on_round(Round(number, {}, vector, time.perf_counter() - started))
        held_out = await part.offload(side.held_out)
        await line.send(holder, VALIDATION, {}, {"embedding": held_out})
    side.model.optimizer.finalize_variable_values(side.model.trainable_variables)
    return part.state(side.model, side.scaler), [], {}


async def _embedding(part: Part, party: str, kind: str, rows: int) -> NDArray[np.float32]:
    _, tensors = await part.line.receive(party, kind)
    return tensor(tensors, "embedding", (rows, part.plan.widths[party]), "float32", sender=party, kind=kind)


class _FeatureSide:
    """A feature party's bottom, forward and backward.

    A bottom that neither draws random numbers nor keeps statistics is computed in two traced functions, the second of
    which goes forward once more. One that does (drop-out, batch normalisation) keeps the tape in between, so that it
    draws and counts once; this takes longer.
    """

    def __init__(self, part: Part) -> None:
        import tensorflow as tf

        self._part = part
        self.model: keras.Model = part.build()
        require_width(self.model, part.plan.widths[part.me], part.me)
        require_separable(self.model.optimizer)
        self.model.optimizer.build(self.model.trainable_variables)
        without_replicas(self.model.optimizer)
        self.scaler: Scaler = part.scaler()
        self._columns = self.scaler(part.common())
        self.train, _ = part.plan.split_rows(len(self._columns))
        self._clip = part.plan.protection.embedding_clip
        self._pending: Any = None
        self._repeatable = not self.model.non_trainable_variables
        self._variables = self.model.trainable_variables
        trace = functools.partial(tf.function, autograph=False)
        self._forward: Any = self._embedding
        if self._repeatable:
            columns, width = self._columns.shape[1], part.plan.widths[part.me]
            rows, gradient = tf.TensorSpec((None, columns), tf.float32), tf.TensorSpec((None, width), tf.float32)
            self._forward = trace(self._embedding, input_signature=[rows])
            self._again = trace(self._again_and_back, input_signature=[rows, gradient])
        self._apply = trace(lambda gradients: self.model.optimizer.apply(gradients, self._variables))

    def forward(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        import tensorflow as tf

        columns = tf.convert_to_tensor(self._columns[rows])
        if self._repeatable:
            self._pending = columns
            embedding = self._forward(columns)
        else:
            with tf.GradientTape() as tape:
                embedding = self._embedding(columns)
                penalties = list(self.model.losses)
            self._pending = (tape, embedding, penalties)
        values: NDArray[np.float32] = embedding.numpy()
        return self._noisy(values)

    def backward(self, gradient: NDArray[np.float32]) -> None:
        import tensorflow as tf

        pending, self._pending = self._pending, None
        given = tf.convert_to_tensor(gradient)
        if self._repeatable:
            self._again(pending, given)
        else:
            tape, embedding, penalties = pending
            self._apply(self._gradients(tape, embedding, penalties, given))

    def held_out(self) -> NDArray[np.float32]:
        """The embeddings of the validation rows."""
        rows = self._columns[self.train :]
        if not len(rows):
            return np.empty((0, self._part.plan.widths[self._part.me]), np.float32)
        return self._noisy(clip_rows(outputs(self.model, rows), self._clip))

    def vector(self, number: int) -> NDArray[Any]:
        weights = self._part.plan.models[self._part.me].vector_of(self.model)
        if not np.isfinite(weights).all():
            raise non_finite("weights", number, 0)
        return weights

    def _embedding(self, columns: Any) -> Any:
        import tensorflow as tf

        embedding = self.model(columns, training=True)
        return embedding if self._clip is None else tf.clip_by_norm(embedding, self._clip, axes=[1])

    def _again_and_back(self, columns: Any, gradient: Any) -> None:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            embedding = self._embedding(columns)
            penalties = list(self.model.losses)
        self.model.optimizer.apply(self._gradients(tape, embedding, penalties, gradient), self._variables)

    def _gradients(self, tape: Any, embedding: Any, penalties: list[Any], gradient: Any) -> list[Any]:
        """The gradients of the loss as the label holder has it, and of the bottom's own regularisers."""
        import tensorflow as tf

        given = [gradient, *(tf.ones_like(penalty) for penalty in penalties)]
        found: list[Any] = tape.gradient([embedding, *penalties], self._variables, output_gradients=given)
        return found

    def _noisy(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        noise = self._part.plan.protection.embedding_noise
        if not noise:
            return values
        return (values + noise * self._part.rng.standard_normal(values.shape)).astype(np.float32)
