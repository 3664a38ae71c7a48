"""Models on which executors are compared: ``python -m simulation.executor_cases FILE`` trains them all on JAX.

It writes what the compiled program makes of each case and, of some, what Keras itself does in the same backend.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers

from flaas_jupyter.plan import TrainingPlan
from flaas_jupyter.simulation.work import ClientData, RoundOutput, RoundWork, Task
from flaas_jupyter.training.arrays import Arrays

RAGGED = (13, 8, 21, 1, 30)
ALIGNED = (16, 8, 24)
BATCH = 8


@dataclass
class Case:
    """A model, its clients' data and what is asked of a round."""

    model: keras.Model
    arrays: Arrays
    sizes: tuple[int, ...] = RAGGED
    epochs: int = 2
    proximal: float = 0.0
    frozen: bool = False
    round: int = 1
    learning_rate: float | None = None
    tasks: list[Task] = field(default_factory=list)

    @property
    def plan(self) -> TrainingPlan:
        return TrainingPlan.from_model(self.model, local_epochs=self.epochs, batch_size=BATCH, seed=3)

    @property
    def data(self) -> ClientData:
        ends = np.cumsum(self.sizes)
        rows = np.split(np.random.default_rng(1).permutation(ends[-1]), ends[:-1])
        return ClientData(self.arrays, tuple(rows), tuple(range(len(rows))))

    def work(self, *, each: bool = True) -> RoundWork:
        plan = self.plan
        # Initializers differ between backends. Positive, for variances are among them.
        start = np.random.default_rng(7).uniform(0.02, 0.4, plan.parameters).astype(plan.dtype)
        free = np.arange(len(start)) % 3 > 0 if self.frozen else None
        tasks = self.tasks or [
            Task(client, self.epochs, self.learning_rate, share=0.2) for client in range(len(self.sizes))
        ]
        return RoundWork(self.round, start, tasks, 3, each=each, proximal=self.proximal, free=free)


def rows(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(sum(RAGGED), *shape)).astype("float32")


def labels(classes: int = 2) -> np.ndarray:
    return np.random.default_rng(6).integers(0, classes, sum(RAGGED)).astype("int32")


def dense(optimizer: Any, *, metrics: Any = ("accuracy",), net: Any = None, loss: Any = "binary_crossentropy") -> Any:
    keras.utils.set_random_seed(2)
    inputs = layers.Input((5,))
    hidden = net(inputs) if net else layers.Dense(4, activation="relu")(inputs)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(optimizer, loss, metrics=list(metrics))
    return model, Arrays("rows", {"": rows(5)}, {"": labels()})


def sgd() -> Case:
    return Case(*dense(keras.optimizers.SGD(0.1)))


def momentum() -> Case:
    return Case(*dense(keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True)), epochs=3)


def adam() -> Case:
    return Case(*dense(keras.optimizers.Adam(0.02)), epochs=3)


def clipped_adamw() -> Case:
    return Case(*dense(keras.optimizers.AdamW(0.02, weight_decay=0.1, clipnorm=0.5)))


def schedule() -> Case:
    decay = keras.optimizers.schedules.ExponentialDecay(0.3, 4, 0.5)
    return Case(*dense(keras.optimizers.SGD(decay)), round=3)


def told_rate() -> Case:
    return Case(*dense(keras.optimizers.SGD(0.1)), learning_rate=0.01)


def own_epochs() -> Case:
    tasks = [Task(client, epochs, share=0.2) for client, epochs in enumerate((1, 3, 2, 4, 1))]
    return Case(*dense(keras.optimizers.Adam(0.02)), tasks=tasks)


def proximal() -> Case:
    return Case(*dense(keras.optimizers.SGD(0.2)), proximal=0.5, epochs=3)


def frozen() -> Case:
    return Case(*dense(keras.optimizers.Adam(0.05)), frozen=True)


def frozen_proximal() -> Case:
    return Case(*dense(keras.optimizers.SGD(0.2, momentum=0.9)), frozen=True, proximal=0.5)


def regularized() -> Case:
    def net(inputs: Any) -> Any:
        return layers.Dense(4, activation="tanh", kernel_regularizer=keras.regularizers.L2(0.1))(inputs)

    return Case(*dense(keras.optimizers.SGD(0.1), net=net))


def several_metrics() -> Case:
    metrics = [
        "accuracy",
        "AUC",
        keras.metrics.BinaryCrossentropy(name="entropy"),
        keras.metrics.F1Score(threshold=0.5),
    ]
    return Case(*dense(keras.optimizers.SGD(0.1), metrics=metrics))


def dropout() -> Case:
    def net(inputs: Any) -> Any:
        return layers.Dropout(0.5)(layers.Dense(8, activation="relu")(inputs))

    return Case(*dense(keras.optimizers.SGD(0.1), net=net))


def embedding() -> Case:
    keras.utils.set_random_seed(2)
    inputs = layers.Input((7,), dtype="int32")
    net = layers.GlobalAveragePooling1D()(layers.Embedding(11, 3)(inputs))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(net))
    model.compile(keras.optimizers.Adam(0.05), "sparse_categorical_crossentropy", metrics=["accuracy"])
    words = np.random.default_rng(4).integers(0, 11, (sum(RAGGED), 7)).astype("int32")
    return Case(model, Arrays("words", {"": words}, {"": labels(3)}))


def two_inputs() -> Case:
    keras.utils.set_random_seed(2)
    inputs = {"age": layers.Input((1,), name="age"), "scan": layers.Input((4,), name="scan")}
    net = layers.Concatenate()([inputs["age"], layers.Dense(3, activation="relu")(inputs["scan"])])
    outputs = {
        "ill": layers.Dense(1, activation="sigmoid", name="ill")(net),
        "days": layers.Dense(1, name="days")(net),
    }
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.SGD(0.05),
        loss={"ill": "binary_crossentropy", "days": "mse"},
        metrics={"ill": ["accuracy"], "days": ["mae"]},
    )
    x = {"age": rows(1), "scan": rows(4)}
    return Case(model, Arrays("patients", x, {"ill": labels(), "days": rows(1)[:, 0]}))


def convolution() -> Case:
    keras.utils.set_random_seed(2)
    inputs = layers.Input((6, 6, 1))
    net = layers.Flatten()(layers.MaxPooling2D()(layers.Conv2D(2, 3, activation="relu")(inputs)))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(net))
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return Case(model, Arrays("pictures", {"": rows(6, 6, 1)}, {"": labels(3)}))


def batch_normalization() -> Case:
    def net(inputs: Any) -> Any:
        return layers.BatchNormalization(momentum=0.8)(layers.Dense(4)(inputs))

    return Case(*dense(keras.optimizers.SGD(0.1), net=net), sizes=ALIGNED)


CASES: dict[str, Callable[[], Case]] = {
    make.__name__: make
    for make in (
        sgd, momentum, adam, clipped_adamw, schedule, told_rate, own_epochs, proximal, frozen, frozen_proximal,
        regularized, several_metrics, dropout, embedding, two_inputs, convolution, batch_normalization,
    )
}  # fmt: skip


SUMMED = ("adam", "two_inputs", "batch_normalization")
# Random numbers differ between backends. On TensorFlow Keras takes the mean of single outputs' losses over batches, and
# its Adam squares the gradients of a row of an embedding one by one, where the row stands in a batch several times.
BY_KERAS = ("dropout", "two_inputs", "embedding")


def main(path: str) -> None:
    """Train every case by the compiled program, and some by Keras on JAX."""
    from flaas_jupyter.simulation.jax_executor import JaxExecutor
    from flaas_jupyter.simulation.keras_executor import KerasExecutor

    found: dict[str, Any] = {}

    def note(start: str, output: RoundOutput) -> None:
        found[f"{start}/weights"] = output.values
        found.update({f"{start}/metric/{name}": values for name, values in output.metrics.items()})

    for name, make in CASES.items():
        case = make()
        program = JaxExecutor(case.plan, case.data, 2)
        note(f"{name}/program", program.run(case.work()))
        if name in SUMMED:
            found[f"{name}/sum"] = program.run(case.work(each=False)).total()
        if name == "adam":
            for workers in (1, 2, 3):
                executor = JaxExecutor(case.plan, case.data, workers)
                found[f"workers/{workers}/each"] = executor.run(case.work()).values
                found[f"workers/{workers}/sum"] = executor.run(case.work(each=False)).total()
        if name in BY_KERAS:
            note(f"{name}/keras", KerasExecutor(case.plan, case.data, 1).run(case.work()))
    np.savez(path, **found)


if __name__ == "__main__":
    main(sys.argv[1])
