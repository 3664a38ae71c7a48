"""From a feature party's columns to what it sends of a row: its embedding.

In mode ``oneway`` the encoder is fitted without labels, at the feature party, on all of its rows:

``random``
    The given bottom as random features (Rahimi and Recht 2007): its kernels are drawn anew at the party (normal, as He
    et al. 2015), from random numbers that nobody else has.
``autoencoder``
    The given bottom, trained together with a linear decoder to give back the scaled columns.
``pca``
    The first principal components; no bottom is needed.

Their outputs are brought to mean 0 and standard deviation 1 and rows clipped to a length. In the other modes the
encoder is the bottom as it is trained together with the top.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from ...protocols.vertical.protection import Protection, clip_rows
from .part import Part, build
from .plan import VerticalPlan
from .scaling import Scaler
from .state import PartyState

if TYPE_CHECKING:
    import keras

CHUNK = 8192
"""Rows that go through a model at once."""
AUTOENCODER_EPOCHS = 20
ONEWAY_CLIP = 3.0
"""Default length of a row in mode ``oneway``, times the square root of the width: three standard deviations."""


def require_tensorflow() -> None:
    """Raise unless Keras runs on TensorFlow.

    Raises
    ------
    InvalidInput
        Code ``backend-not-supported``.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise InvalidInput(
            f"Keras runs on {keras.backend.backend()!r} here; vertical models need TensorFlow.",
            code="backend-not-supported",
            hint='Set KERAS_BACKEND="tensorflow" before keras is imported, and install tensorflow.',
        )


@dataclass(frozen=True)
class Encoder:
    """What makes embeddings of one party's columns.

    Parameters
    ----------
    scaler : Scaler
        Of the columns.
    model : keras.Model, optional
        A bottom.
    projection : ndarray of shape (f, k), optional
        Principal components, in place of a bottom.
    output : Scaler, optional
        Of the embedding.
    clip : float, optional
        Largest length of a row.
    noise : float
        Standard deviation.
    """

    scaler: Scaler
    model: keras.Model | None
    projection: NDArray[np.float64] | None = None
    output: Scaler | None = None
    clip: float | None = None
    noise: float = 0.0

    def __call__(self, columns: NDArray[Any], rng: np.random.Generator) -> NDArray[np.float32]:
        """Return the embeddings as they are sent, float32 of shape (n, k), of columns of shape (n, f)."""
        values = clip_rows(self.clean(columns), self.clip)
        if self.noise:
            values = (values + self.noise * rng.standard_normal(values.shape)).astype(np.float32)
        return values

    def clean(self, columns: NDArray[Any]) -> NDArray[np.float32]:
        """Return the embeddings before clipping and noise."""
        scaled = self.scaler(columns)
        if self.projection is not None:
            values = (scaled @ self.projection).astype(np.float32)
        else:
            values = outputs(self.model, scaled)
        return values if self.output is None else self.output(values)


def outputs(model: Any, inputs: Any) -> NDArray[np.float32]:
    """Return a model's output in inference, as an array, computed in chunks of rows.

    Parameters
    ----------
    model : keras.Model
    inputs : ndarray of shape (n, …), or list of them
    """
    import keras

    rows = len(keras.tree.flatten(inputs)[0])
    parts = [
        keras.ops.convert_to_numpy(
            model(keras.tree.map_structure(lambda values: values[at : at + CHUNK], inputs), training=False)  # noqa: B023
        )
        for at in range(0, max(rows, 1), CHUNK)
    ]
    return np.concatenate(parts)


def fit_encoder(part: Part) -> tuple[Encoder, PartyState]:
    """Fit this party's encoder for mode ``oneway``, on all of its rows, and return it with what is kept of it.

    Raises
    ------
    InvalidInput
        ``pca-width``: more components than columns; ``non-finite-update``; those of `TrainingPlan.build`.
    """
    plan, kind, width = part.plan, part.plan.encoders[part.me], part.plan.widths[part.me]
    columns = part.table.matrix(plan.columns[part.me])
    scaler = part.scaler()
    tensors = {"mean": scaler.mean, "scale": scaler.scale}
    model, projection = None, None
    if kind == "pca":
        projection = principal_components(scaler(columns), width)
        tensors["projection"] = projection
    else:
        model = part.build()
        require_width(model, width, part.me)
        if kind == "random":
            draw_kernels(model, part.rng)
        else:
            _fit_autoencoder(part, model, scaler(columns))
        tensors["weights"] = plan.models[part.me].vector_of(model)
    raw = Encoder(scaler, model, projection).clean(columns)
    output = Scaler.of(raw)
    state = PartyState(part.me, plan.digest, {**tensors, "output_mean": output.mean, "output_scale": output.scale})
    return Encoder(scaler, model, projection, output, *_protection(plan, part.me)), state


def encoder_of(plan: VerticalPlan, state: PartyState, allowed_custom: Collection[str]) -> Encoder:
    """Rebuild a feature party's encoder from what it has kept."""
    tensors = state.tensors
    model = build(plan, state.party, tensors["weights"], allowed_custom) if "weights" in tensors else None
    output = Scaler(tensors["output_mean"], tensors["output_scale"]) if "output_mean" in tensors else None
    scaler = Scaler(tensors["mean"], tensors["scale"])
    return Encoder(scaler, model, tensors.get("projection"), output, *_protection(plan, state.party))


def principal_components(values: NDArray[np.float32], count: int) -> NDArray[np.float64]:
    """Return the directions of the largest variance of `values`, shape (n, f), as columns: (f, count)."""
    if count > values.shape[1]:
        raise InvalidInput(
            f"{count} principal components were asked of {values.shape[1]} columns.",
            code="pca-width",
            hint=f"Ask for {values.shape[1]} at most.",
        )
    centred = np.asarray(values, np.float64) - values.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    return directions[:, ::-1][:, :count].copy()


def draw_kernels(model: keras.Model, rng: np.random.Generator) -> None:
    """Give `model` new kernels: normal with variance 2 / fan-in. Other weights stay as they are."""
    for variable in model.trainable_variables:
        if len(variable.shape) >= 2:
            fan_in = int(np.prod(variable.shape[:-1]))
            variable.assign(rng.standard_normal(tuple(variable.shape)) * np.sqrt(2.0 / fan_in))


def require_width(model: keras.Model, width: int, party: str) -> None:
    """Raise unless a bottom gives rows of `width` numbers."""
    if tuple(model.outputs[0].shape) != (None, width):
        raise InvalidInput(
            f"The bottom of party {party!r} gives {tuple(model.outputs[0].shape)}; the plan has (None, {width}).",
            code="bad-plan",
        )


def _protection(plan: VerticalPlan, party: str) -> tuple[float | None, float]:
    protection: Protection = plan.protection
    clip = protection.embedding_clip
    if clip is None and plan.mode == "oneway":
        clip = ONEWAY_CLIP * float(np.sqrt(plan.widths[party]))
    # A score of a linear model is a number that is added up, not an embedding.
    return (None, 0.0) if plan.mode == "linear_he" else (clip, protection.embedding_noise)


def _fit_autoencoder(part: Part, model: keras.Model, columns: NDArray[np.float32]) -> None:
    import keras

    from ..local import graph_epoch, non_finite

    glorot = keras.initializers.GlorotUniform(seed=int(part.rng.integers(1 << 31)))
    decoded = keras.layers.Dense(columns.shape[1], kernel_initializer=glorot, name="decoder")(model.outputs[0])
    both = keras.Model(model.inputs[0], decoded)
    both.compile(keras.optimizers.deserialize(keras.optimizers.serialize(model.optimizer)), "mse")
    run = graph_epoch(both, columns, columns, part.plan.batch_size)
    for epoch in range(AUTOENCODER_EPOCHS):
        metrics = run(part.rng.permutation(len(columns)), part.should_stop)
        if not np.isfinite(metrics["loss"]):
            raise non_finite("loss of the autoencoder", 1, epoch)
