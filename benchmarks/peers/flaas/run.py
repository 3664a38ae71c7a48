"""This project, through its public interface; Keras on JAX, as its simulation trains small models there.

Cohorts are drawn by the seed of `fit`, not taken from the workload.
"""

from __future__ import annotations

import functools
import os

os.environ["KERAS_BACKEND"] = "jax"  # before Keras is imported: nothing here needs TensorFlow

import keras
import numpy as np
from runner import Rounds, measure
from workload import CLASSES, DENSE, FILTERS, HIDDEN, KERNEL, Spec, Weights, Workload

import flaas_jupyter as flaas


def outputs_of(spec: Spec, inputs: keras.KerasTensor) -> keras.KerasTensor:
    # Weights are set afterwards: drawing them first would only compile programs that draw.
    dense = functools.partial(keras.layers.Dense, kernel_initializer="zeros")
    x = inputs
    if spec.model == "cnn":
        for filters in FILTERS:
            x = keras.layers.Conv2D(filters, KERNEL, padding="same", activation="relu", kernel_initializer="zeros")(x)
            x = keras.layers.MaxPooling2D(2)(x)
        x = keras.layers.Flatten()(x)
    x = dense(HIDDEN if spec.model == "mlp" else DENSE, activation="relu")(x)
    return dense(CLASSES)(x)


def train(work: Workload, rounds: Rounds) -> Weights:
    spec = work.spec
    inputs = keras.Input(work.x.shape[1:])
    model = flaas.FederatedModel(inputs=inputs, outputs=outputs_of(spec, inputs))
    model.set_weights(work.weights)
    model.compile(
        optimizer=keras.optimizers.SGD(spec.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    owned = [np.arange(spec.samples) + client * spec.samples for client in range(spec.clients)]
    federation = flaas.simulate(work.x, work.y, clients=spec.clients, partition=owned)
    model.fit(
        federation,
        rounds=rounds.count,
        clients_per_round=spec.per_round,
        local_epochs=1,
        batch_size=spec.batch,
        seed=spec.seed,
        shuffle=False,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: rounds.finished())],
    )
    return model.get_weights()


if __name__ == "__main__":
    measure(train, packages=("flaas_jupyter", "keras", "jax", "numpy"))
