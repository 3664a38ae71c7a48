"""Keras models of every family that the tests send through a plan, with data that fit them."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from keras import layers

from flaas_jupyter.training.arrays import Arrays

ROWS = 48


@keras.saving.register_keras_serializable(package="tests")
class Scale(layers.Layer):
    """A custom layer with inner layers whose names Keras counts up."""

    def __init__(self, units: int = 4, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.first = layers.Dense(units)
        self.second = layers.Dense(units)

    def build(self, shape):
        self.first.build(shape)
        self.second.build((*shape[:-1], self.units))

    def call(self, inputs):
        return self.second(self.first(inputs))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def features(*shape: int) -> np.ndarray:
    return rng().normal(size=(ROWS, *shape)).astype("float32")


def binary() -> np.ndarray:
    return rng().integers(0, 2, ROWS).astype("int32")


def single(x: np.ndarray, y: np.ndarray) -> Arrays:
    return Arrays("loans", {"": x}, {"": y})


def dense() -> tuple[keras.Model, Arrays]:
    inputs = layers.Input((6,))
    net = layers.Dropout(0.3)(layers.Dense(5, activation="relu")(inputs))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(net))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", "AUC"])
    return model, single(features(6), binary())


def convolutional() -> tuple[keras.Model, Arrays]:
    inputs = layers.Input((8, 8, 1))
    net = layers.MaxPooling2D()(layers.Conv2D(3, 3, activation="relu", padding="same")(inputs))
    net = layers.Conv2D(3, 3, padding="same")(net)
    net = layers.Flatten()(net + layers.Conv2D(3, 1)(net))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(net))
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, single(features(8, 8, 1), rng().integers(0, 3, ROWS).astype("int32"))


def recurrent() -> tuple[keras.Model, Arrays]:
    inputs = layers.Input((5, 4))
    net = layers.Bidirectional(layers.LSTM(3, return_sequences=True, dropout=0.2))(inputs)
    net = layers.TimeDistributed(layers.Dense(3))(net)
    model = keras.Model(inputs, layers.Dense(1)(layers.GRU(3)(net)))
    model.compile(keras.optimizers.RMSprop(0.01), "mse", metrics=["mae"])
    return model, single(features(5, 4), features(1))


def embedding() -> tuple[keras.Model, Arrays]:
    inputs = layers.Input((7,), dtype="int32")
    net = layers.Embedding(20, 4)(inputs)
    net = layers.GlobalAveragePooling1D()(layers.MultiHeadAttention(2, 2)(net, net))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(net))
    model.compile("adagrad", keras.losses.BinaryCrossentropy(), metrics=[keras.metrics.BinaryAccuracy()])
    return model, single(rng().integers(0, 20, (ROWS, 7)), binary())


def batch_normalised() -> tuple[keras.Model, Arrays]:
    inputs = layers.Input((6,))
    net = layers.BatchNormalization(momentum=0.5)(layers.Dense(4, kernel_regularizer="l2")(inputs))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(net))
    model.compile(keras.optimizers.Adam(0.01, use_ema=True), "binary_crossentropy", metrics=["accuracy"])
    return model, single(features(6), binary())


def two_inputs_two_outputs() -> tuple[keras.Model, Arrays]:
    image, table = layers.Input((4, 4), name="image"), layers.Input((3,), name="table")
    net = layers.Concatenate()([layers.Flatten()(image), table])
    risk = layers.Dense(1, activation="sigmoid", name="risk")(net)
    cost = layers.Dense(2, name="cost")(net)
    model = keras.Model([image, table], [risk, cost])
    model.compile(
        "adam",
        loss={"risk": "binary_crossentropy", "cost": "mse"},
        loss_weights={"risk": 1.0, "cost": 0.5},
        metrics={"risk": ["accuracy"], "cost": [keras.metrics.MeanAbsoluteError()]},
    )
    inputs = {"image": features(4, 4), "table": features(3)}
    return model, Arrays("loans", inputs, {"risk": binary(), "cost": features(2)})


def nested() -> tuple[keras.Model, Arrays]:
    """Two inner models with layers of the same name, one of them used twice."""
    a = keras.Sequential([layers.Input((6,)), layers.Dense(4, name="same")], name="left")
    i = layers.Input((6,))
    b = keras.Model(i, layers.Dense(4, name="same")(i), name="right")
    inputs = layers.Input((6,))
    net = layers.Add()([a(inputs), b(inputs), b(inputs * 2)])
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(net))
    model.compile("sgd", "binary_crossentropy")
    return model, single(features(6), binary())


def custom() -> tuple[keras.Model, Arrays]:
    inputs = layers.Input((6,))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(Scale(4, name="scale")(inputs)))
    model.compile("sgd", "binary_crossentropy")
    return model, single(features(6), binary())


FAMILIES: dict[str, Callable[[], tuple[keras.Model, Arrays]]] = {
    family.__name__: family
    for family in (
        dense, convolutional, recurrent, embedding, batch_normalised, two_inputs_two_outputs, nested
    )
}  # fmt: skip
