"""Clients trained in one compiled program: the round of a small dense model is arithmetic, not overhead.

The program takes the global weights and tables of row indices and loops over clients and their batches inside XLA.
The data lie in memory once and are gathered by index. Workers run the same program on their lanes side by side, each
on a device of its own that has one thread, so that none waits for another within an operation.

Batches have one shape. A client's last batch that is smaller is filled up and its filling weighted with 0, in the loss
and in every metric, which is exact as long as rows do not see each other; where they do (batch normalisation), such
clients are left to another executor. See `unfit`.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..plan import TrainingPlan
from ..training.local import learning_rate_schedule, random_states
from ..training.matching import match
from ..training.seeds import ClientSeeds
from .kept_programs import program_of
from .keras_executor import own_objects
from .work import ClientData, RoundOutput, RoundWork, Task, in_lanes, lane_of, lanes_of

if TYPE_CHECKING:
    import jax
    import keras

# Keras's layers whose outputs for one row depend on that row alone. Batch normalisation is not among them.
_ROW_BY_ROW = frozenset(
    """
    InputLayer Dense Activation Dropout SpatialDropout1D SpatialDropout2D SpatialDropout3D GaussianNoise GaussianDropout
    AlphaDropout Flatten Reshape Permute RepeatVector Embedding EinsumDense Normalization Rescaling LayerNormalization
    RMSNormalization GroupNormalization UnitNormalization ReLU LeakyReLU PReLU ELU Softmax Conv1D Conv2D Conv3D
    DepthwiseConv1D DepthwiseConv2D SeparableConv1D SeparableConv2D Conv1DTranspose Conv2DTranspose MaxPooling1D
    MaxPooling2D MaxPooling3D AveragePooling1D AveragePooling2D AveragePooling3D GlobalAveragePooling1D
    GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D ZeroPadding1D ZeroPadding2D Cropping1D Cropping2D
    UpSampling1D UpSampling2D Concatenate Add Subtract Multiply Average Maximum Minimum Dot LSTM GRU SimpleRNN
    Bidirectional TimeDistributed MultiHeadAttention Attention AdditiveAttention Functional Sequential
    """.split()  # noqa: SIM905
)
_ALIGNMENT = 64
_MEANS = ("sum_over_batch_size", "mean")


@dataclasses.dataclass(frozen=True)
class _Shape:
    """Of the tables that a worker takes for a round: clients and their steps, filled up to common numbers."""

    places: int
    steps: int
    batch: int
    random: int

    def tables(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Return the dtype and the shape of each of a worker's tables."""
        each = (self.places,)
        return {
            "order": ("int32", (self.places, self.steps, self.batch)),  # row indices
            "valid": ("int32", (self.places, self.steps)),  # rows that count
            "steps": ("int32", each),  # to make
            "last_epoch": ("int32", each),  # the step at which metrics start anew
            "learning_rate": ("float32", each),
            "seeds": ("uint32", (self.places, self.random)),  # of layers that draw
            "share": ("float32", each),
            "lane": ("int32", each),  # row of the worker's result
            "clients": ("int32", ()),  # how many of the places are clients
            "proximal": ("float32", ()),
        }

    def cut(self) -> list[tuple[str, slice, str, tuple[int, ...]]]:
        """Return where each table is in a row that holds them all; JAX takes its time over every argument."""
        found, start = [], 0
        for name, (dtype, shape) in self.tables().items():
            end = start + math.prod(shape)
            found.append((name, slice(start, end), dtype, shape))
            start = end
        return found

    def unpacked(self, row: Any) -> dict[str, Any]:
        """Return the tables of such a row, inside the program."""
        import jax

        return {
            name: jax.lax.bitcast_convert_type(row[part], dtype).reshape(sizes)
            for name, part, dtype, sizes in self.cut()
        }


class _Batches:
    """The tables of all workers, as views into one array of shape (workers, values)."""

    def __init__(self, workers: int, shape: _Shape) -> None:
        cut = shape.cut()
        self.shape = shape
        self.packed = np.zeros((workers, cut[-1][1].stop), np.int32)
        self._tables = {
            name: self.packed[:, part].view(dtype).reshape(workers, *sizes) for name, part, dtype, sizes in cut
        }

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._tables[name]


@dataclasses.dataclass(frozen=True)
class _Variant:
    """What is compiled apart, because it would cost time where it is not needed."""

    ragged: bool
    each: bool
    guarded: bool
    proximal: bool
    projected: bool


class JaxExecutor:
    """Trains the clients of a round in one compiled program.

    Parameters
    ----------
    plan : TrainingPlan
        One that `unfit` has nothing against.
    data : ClientData
    workers : int
        Threads.

    Raises
    ------
    InvalidInput, NotAllowed
        The model does not fit the data, see `match` and `TrainingPlan.build`.
    """

    name = "jax"
    alive = True

    def __init__(self, plan: TrainingPlan, data: ClientData, workers: int) -> None:
        import keras

        self._plan, self._data = plan, data
        self._programs: dict[tuple[Any, ...], list[_Program]] = {}
        self._prepared: tuple[RoundWork, _Batches] | None = None
        model = _row_weighted(plan).build(allowed_custom=own_objects())
        x, y = match(plan, model, data.arrays)
        self._devices = _devices(workers)
        aligned = keras.tree.map_structure(_aligned, (x, y))
        self._rows = [_on(device, aligned) for device in self._devices]
        model.optimizer.build(model.trainable_variables)
        two = keras.tree.map_structure(lambda values: values[:2], (x, y))
        model._symbolic_build(data_batch=two)  # makes the metrics' variables, which a stateless step cannot
        self._random = random_states(model)
        self._schedule = learning_rate_schedule(plan)
        self._rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
        self._step = _Step(plan, model, self._random)
        self._names = self._step.metric_names()

    def run(self, work: RoundWork) -> RoundOutput:
        """Do one round's work."""
        return self.start(work)()

    def start(self, work: RoundWork) -> Callable[[], RoundOutput]:
        """Begin one round's work; the devices do it beside the caller."""
        dealt = in_lanes(len(work.tasks), work.lanes, len(self._devices))
        ragged = any(len(self._data.rows[task.client]) % self._plan.batch_size for task in work.tasks)
        guarded = work.each or work.guarded
        variant = _Variant(ragged, work.each, guarded, work.proximal != 0.0, work.free is not None)
        prepared, self._prepared = self._prepared, None
        batches = prepared[1] if prepared and prepared[0].same_batches(work) else self._batches(work, dealt)
        rows = batches.shape.places if work.each else math.ceil(work.lanes / len(dealt))
        found = self._begun(variant, work, batches, rows)
        return lambda: self._collected(work, dealt, found)

    def prepare(self, work: RoundWork) -> None:
        """Lay out the batches of a round to come; its weights do not matter."""
        self._prepared = (work, self._batches(work, in_lanes(len(work.tasks), work.lanes, len(self._devices))))

    def _collected(self, work: RoundWork, dealt: list[list[int]], found: list[list[Any]]) -> RoundOutput:
        metrics = np.empty((len(work.tasks), len(self._names)))
        finite = np.empty(len(work.tasks), bool)
        values: Any = np.empty((len(work.tasks), len(work.weights)), work.weights.dtype) if work.each else []
        for worker, (places, outputs) in enumerate(zip(dealt, found, strict=True)):
            results, numbers, fine = map(np.asarray, outputs)
            metrics[places], finite[places] = numbers[: len(places)], fine[: len(places)]
            if work.each:
                values[places] = results[: len(places)]
            else:
                values += list(results[: len(lanes_of(worker, work.lanes, len(dealt)))])  # views
        table = {name: metrics[:, i] for i, name in enumerate(self._names)}
        return RoundOutput(values, table, tuple(np.flatnonzero(~finite).tolist()))

    def close(self) -> None:
        """Let go of the data and the programs."""
        self._rows = []
        self._programs.clear()

    # ---- tables of batches -------------------------------------------------------------------------------------

    def _batches(self, work: RoundWork, dealt: Sequence[Sequence[int]]) -> _Batches:
        batch, random = self._plan.batch_size, range(len(self._random))
        rows = [len(self._data.rows[task.client]) for task in work.tasks]
        per_epoch = [math.ceil(count / batch) for count in rows]
        most = _rounded(max(len(places) for places in dealt))
        longest = _rounded(max(t.epochs * each for t, each in zip(work.tasks, per_epoch, strict=True)))
        made = _Batches(len(dealt), _Shape(most, longest, batch, len(random)))
        made["proximal"][:] = work.proximal
        for worker, places in enumerate(dealt):
            made["clients"][worker] = len(places)
            first = lanes_of(worker, work.lanes, len(dealt)).start
            for k, place in enumerate(places):
                task, n, each = work.tasks[place], rows[place], per_epoch[place]
                seeds = self._data.seeds(task.client, work.seed)
                at = (worker, k)
                self._fill(made["order"][at].reshape(-1), task, n, each * batch, seeds, work.number)
                made["steps"][at], made["last_epoch"][at] = task.epochs * each, (task.epochs - 1) * each
                valid = made["valid"][at]
                valid[: task.epochs * each] = batch
                if n % batch:
                    valid[each - 1 : task.epochs * each : each] = n % batch
                made["learning_rate"][at] = self._rate_of(task, work.number)
                made["seeds"][at] = [seeds.random_state(work.number, index) for index in random]
                made["share"][at], made["lane"][at] = task.share, lane_of(place, work.lanes) - first
        return made

    def _fill(
        self, table: NDArray[np.int32], task: Task, rows: int, epoch_size: int, seeds: ClientSeeds, number: int
    ) -> None:
        """Write the row indices of a client's epochs, each filled up with its first row."""
        own = self._data.rows[task.client]
        for epoch in range(task.epochs):
            at = epoch * epoch_size
            order = seeds.order(number, epoch, rows) if self._plan.shuffle else slice(None)
            table[at : at + rows] = own[order]
            table[at + rows : at + epoch_size] = own[0]

    def _rate_of(self, task: Task, number: int) -> float:
        if task.learning_rate is not None:
            return task.learning_rate
        if self._schedule is None:
            return self._rate
        batches = math.ceil(len(self._data.rows[task.client]) / self._plan.batch_size)
        return self._schedule((number - 1) * self._plan.local_epochs * batches)

    # ---- the program -------------------------------------------------------------------------------------------

    def _begun(self, variant: _Variant, work: RoundWork, batches: _Batches, rows: int) -> list[list[Any]]:
        free = () if work.free is None else (work.free,)
        arguments = [
            (*data, work.weights, packed, *free) for data, packed in zip(self._rows, batches.packed, strict=False)
        ]
        key = (variant, rows, batches.shape)
        programs = self._programs.get(key)
        if programs is None:
            programs = self._programs[key] = self._compile(variant, rows, batches.shape, arguments[0])
        return [program(own) for program, own in zip(programs, arguments, strict=False)]

    def _compile(self, variant: _Variant, rows: int, shape: _Shape, arguments: tuple[Any, ...]) -> list[_Program]:
        import jax

        jnp = jax.numpy
        step, width = self._step, len(self._names)

        def program(x: Any, y: Any, weights: Any, packed: Any, free: Any = None) -> Any:
            tables = shape.unpacked(packed)
            # By parts: to join them, XLA on AVX-512 would read through masks beyond their ends, which can take longer
            # than the training where the next page is not mapped.
            start = [weights[part] for part in step.parts]

            def one(k: Any, carry: Any) -> Any:
                values, metrics, finite = carry
                own = {name: table[k] if table.ndim else table for name, table in tables.items()}
                trained, numbers = step.client(variant, x, y, start, free, own)
                changes = [after - before for after, before in zip(trained, start, strict=True)]
                # A look at every weight of every client, which is a twentieth of the time of a round.
                fine = jnp.isfinite(sum(change.sum() for change in changes)) if variant.guarded else True
                for part, after, change in zip(step.parts, trained, changes, strict=True):
                    if variant.each:
                        values = values.at[k, part].set(after)
                    else:
                        values = values.at[own["lane"], part].add(jnp.where(fine, own["share"] * change, 0))
                return values, metrics.at[k].set(numbers), finite.at[k].set(fine)

            nothing = (
                jnp.zeros((rows, weights.size), weights.dtype),
                jnp.zeros((shape.places, width), jnp.float32),
                jnp.ones(shape.places, bool),
            )
            return jax.lax.fori_loop(0, tables["clients"], one, nothing)

        first = jax.sharding.SingleDeviceSharding(self._devices[0])
        jitted = jax.jit(program, in_shardings=first, out_shardings=first, keep_unused=True)
        made = program_of(jitted.lower(*arguments))
        programs = [_Program(made, device) for device in self._devices]
        _give_back()
        return programs


class _Program:
    """A compiled program on a device.

    Parameters
    ----------
    made : bytes
        See `program_of`.
    device : jax.Device
    """

    def __init__(self, made: bytes, device: jax.Device) -> None:
        from jaxlib import xla_client

        self._device = device
        self._executable = device.client.deserialize_executable(made, xla_client.DeviceList((device,)))

    def __call__(self, arguments: tuple[Any, ...]) -> list[Any]:
        """Begin to run; return the results' leaves, which are there once somebody looks at them."""
        import jax

        leaves = [
            leaf if isinstance(leaf, jax.Array) else jax.device_put(leaf, self._device)
            for leaf in jax.tree.leaves(arguments)
        ]
        results = self._executable.execute_sharded(leaves).disassemble_into_single_device_arrays()
        return [result for (result,) in results]


class _Step:
    """A model's training step as pure functions of its state, as JAX wants it.

    It does what `keras.Model.train_step` does on JAX, with a weight for each row.
    """

    def __init__(self, plan: TrainingPlan, model: keras.Model, random: list[keras.Variable]) -> None:
        import keras

        self._model = model
        places = {id(v): ("t", i) for i, v in enumerate(model.trainable_variables)}
        places |= {id(v): ("n", i) for i, v in enumerate(model.non_trainable_variables)}
        self.parts = plan.parts()
        self._variables = plan.variables(model)
        self._place = [places[id(variable)] for variable in self._variables]
        self._random_places = [places[id(variable)][1] for variable in random]
        value = keras.ops.convert_to_numpy
        self._fixed = [value(v) for v in model.non_trainable_variables]
        self._optimizer = [value(v) for v in model.optimizer.variables]
        self._rate = next(i for i, v in enumerate(model.optimizer.variables) if v is model.optimizer._learning_rate)
        model.reset_metrics()
        self._metrics = [value(v) for v in model.metrics_variables]

    def metric_names(self) -> list[str]:
        """Names of what `client` reports."""
        import jax

        names = ["loss"]

        def note() -> None:  # here, for JAX sorts the dictionaries that a function returns
            for name, value in self._results([jax.numpy.asarray(v) for v in self._metrics]).items():
                names.extend([name] if not value.shape else [f"{name}_{i}" for i in range(math.prod(value.shape))])

        jax.eval_shape(note)
        return names

    def client(
        self, variant: _Variant, x: Any, y: Any, weights: Sequence[Any], free: Any, own: dict[str, Any]
    ) -> tuple[list[Any], Any]:
        """Train one client, by its tables, from `weights` by parts; return its weights by parts and its metrics."""
        import jax
        import keras

        jnp = jax.numpy
        trainable, fixed = self._placed(weights, own["seeds"])
        optimizer = [jnp.asarray(v) for v in self._optimizer]
        optimizer[self._rate] = jnp.asarray(own["learning_rate"], optimizer[self._rate].dtype)
        fresh = [jnp.asarray(v) for v in self._metrics]
        zero = jnp.zeros((), jnp.float32)
        anchor = trainable
        moving = None
        if variant.projected:
            moving = self._placed([free[part].astype(weights[0].dtype) for part in self.parts], own["seeds"])[0]

        def body(i: Any, state: Any) -> Any:
            trainable, fixed, optimizer, metrics, loss_sum, rows = state
            picked = own["order"][i]
            take = lambda values: values.at[picked].get(mode="promise_in_bounds")  # noqa: E731
            batch = keras.tree.map_structure(take, (x, y))
            begin = i == own["last_epoch"]
            metrics = [jnp.where(begin, f, m) for f, m in zip(fresh, metrics, strict=True)]
            loss_sum, rows = jnp.where(begin, zero, loss_sum), jnp.where(begin, zero, rows)
            count = own["valid"][i].astype(jnp.float32)
            mask = (jnp.arange(picked.size) < own["valid"][i]).astype(jnp.float32) if variant.ragged else None
            hold = (anchor, own["proximal"]) if variant.proximal else None
            loss, trainable, fixed, optimizer, metrics = self._train(
                trainable, fixed, optimizer, metrics, batch, mask, count, hold
            )
            if moving is not None:
                trainable = [a + m * (t - a) for t, a, m in zip(trainable, anchor, moving, strict=True)]
            return trainable, fixed, optimizer, metrics, loss_sum + loss * count, rows + count

        state = jax.lax.fori_loop(0, own["steps"], body, (trainable, fixed, optimizer, fresh, zero, zero))
        trainable, fixed, _, metrics, loss_sum, rows = state
        results = self._results(metrics)
        numbers = [loss_sum / rows, *(part for value in results.values() for part in jnp.ravel(value))]
        return self._by_parts(trainable, fixed, weights[0].dtype), jnp.stack([n.astype(jnp.float32) for n in numbers])

    def _train(
        self, trainable: Any, fixed: Any, optimizer: Any, metrics: Any, batch: Any, mask: Any, count: Any, hold: Any
    ) -> Any:
        import jax
        import keras

        model, (x, y) = self._model, batch
        # Keras divides the weighted loss by the number of rows, the filling included.
        loss_weights = None if mask is None else mask * (mask.size / count)
        gradient = jax.value_and_grad(model.compute_loss_and_updates, has_aux=True)
        (_, (loss, predicted, fixed, counted)), gradients = gradient(
            trainable, fixed, metrics, x, y, loss_weights, training=True, optimizer_variables=optimizer
        )
        if mask is not None:  # the losses of single outputs are counted with the batch's rows, the filling included
            counted = [old + (new - old) * (count / mask.size) for old, new in zip(metrics, counted, strict=True)]
        metrics = counted
        if hold is not None:
            anchor, proximal = hold
            gradients = [g + proximal * (t - a) for g, t, a in zip(gradients, trainable, anchor, strict=True)]
        trainable, optimizer = model.optimizer.stateless_apply(optimizer, gradients, trainable)
        with keras.StatelessScope(state_mapping=list(zip(model.metrics_variables, metrics, strict=True))) as scope:
            model.compute_metrics(x, y, predicted, mask)
        changed = [scope.get_current_value(variable) for variable in model.metrics_variables]
        metrics = [old if new is None else new for old, new in zip(metrics, changed, strict=True)]
        return loss, trainable, fixed, optimizer, metrics

    def _results(self, metrics: Any) -> dict[str, Any]:
        import keras

        model = self._model
        with keras.StatelessScope(state_mapping=list(zip(model.metrics_variables, metrics, strict=True))):
            results: dict[str, Any] = model.get_metrics_result()
        return {name: value for name, value in results.items() if name != "loss"}

    def _placed(self, parts: Sequence[Any], seeds: Any) -> tuple[list[Any], list[Any]]:
        """Return parts of a vector as values of the trainable variables and of the others."""
        import jax.numpy as jnp

        trainable: list[Any] = [None] * len(self._model.trainable_variables)
        fixed: list[Any] = [jnp.asarray(value) for value in self._fixed]
        for part, variable, (kind, index) in zip(parts, self._variables, self._place, strict=True):
            value = part.reshape(variable.shape).astype(str(variable.dtype))
            (trainable if kind == "t" else fixed)[index] = value
        for index, place in enumerate(self._random_places):
            fixed[place] = jnp.stack([seeds[index], jnp.zeros((), seeds.dtype)]).astype(fixed[place].dtype)
        return trainable, fixed

    def _by_parts(self, trainable: Any, fixed: Any, dtype: Any) -> list[Any]:
        return [(trainable if kind == "t" else fixed)[index].reshape(-1).astype(dtype) for kind, index in self._place]


def unfit(plan: TrainingPlan, data: ClientData) -> str | None:
    """Return why `JaxExecutor` cannot train this plan on these clients exactly, or None if it can.

    Reads the plan only; nothing of JAX or Keras is touched.
    """
    if plan.dtype != np.float32:
        return "its weights are float64"
    names = set(class_names(plan.model["layers"]))
    optimizer = plan.compiling["optimizer"] or {}
    if (optimizer.get("config") or {}).get("use_ema"):
        return "its optimizer keeps moving averages of the weights"
    aligned = all(len(rows) % plan.batch_size == 0 for rows in data.rows)
    if aligned:
        return None
    strangers = sorted(names - _ROW_BY_ROW)
    if strangers:
        return f"the layer {strangers[0]} may see the filling of batches"
    if any(found for found in _values(plan.model["layers"], "activity_regularizer") if found):
        return "an activity regularizer sees the filling of batches"
    if any(found not in _MEANS for found in _values(plan.compiling["loss"], "reduction")):
        return "its loss is not a mean over the batch"
    if plan.compiling["metrics"] and plan.compiling["weighted_metrics"]:
        return "it has both metrics and weighted metrics"
    return None


def _row_weighted(plan: TrainingPlan) -> TrainingPlan:
    """The plan with its metrics weighted by row, so that fillings do not count."""
    compiling = plan.compiling
    if compiling["metrics"] and not compiling["weighted_metrics"]:
        compiling = {**compiling, "metrics": None, "weighted_metrics": compiling["metrics"]}
    return dataclasses.replace(plan, compiling=compiling)


def class_names(layers: list[dict[str, Any]]) -> list[str]:
    """Return the class of every layer in a model's configuration, those inside models and wrappers too."""
    names = []
    for layer in layers:
        names.append(str(layer["class_name"]))
        config = layer.get("config") or {}
        if "layers" in config:
            names += class_names(config["layers"])
        if isinstance(config.get("layer"), dict):
            names += class_names([config["layer"]])
    return names


def _values(config: Any, key: str) -> list[Any]:
    """Every value that stands under `key`, at any depth."""
    if isinstance(config, dict):
        own = [config[key]] if key in config else []
        return own + [found for value in config.values() for found in _values(value, key)]
    if isinstance(config, list):
        return [found for value in config for found in _values(value, key)]
    return []


def _rounded(count: int) -> int:
    """`count` rounded up by less than a quarter, so that rounds of slightly different shape share a program."""
    unit = 1 << max(0, count.bit_length() - 3)
    return -(-count // unit) * unit


@functools.cache
def _devices(workers: int) -> tuple[jax.Device, ...]:
    """Make CPU devices that run programs side by side, each with one thread and in a JAX client of its own.

    JAX's own CPU client spreads even small operations over all cores, and one client of several devices over all of
    theirs: workers would wait for each other in every step. JAX's own stays as it is for the notebook.
    """
    import jax
    from jaxlib import xla_client

    before = os.environ.get("PJRT_NPROC")
    os.environ["PJRT_NPROC"] = "1"  # threads within an operation; read when a client is made
    try:
        return tuple(xla_client.make_cpu_client(num_devices=1).devices()[0] for _ in range(workers))
    except (AttributeError, TypeError):  # another release of JAX: its own client is right too, only slower
        return (jax.devices("cpu")[0],)
    finally:
        if before is None:
            del os.environ["PJRT_NPROC"]
        else:
            os.environ["PJRT_NPROC"] = before


def _on(device: jax.Device, rows: Any) -> Any:
    """Put rows on a device; all CPU devices share one copy."""
    import jax

    return jax.tree.map(lambda values: jax.device_put(values, device, may_alias=True), rows)


def _give_back() -> None:
    """Return to the system what tracing and compiling have used, which glibc would keep for later."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _aligned(values: NDArray[Any]) -> NDArray[Any]:
    """The values at an address that XLA takes as it is, so that all devices share them."""
    if values.flags.c_contiguous and values.ctypes.data % _ALIGNMENT == 0:
        return values
    room = np.empty(values.nbytes + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    aligned = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    aligned[...] = values
    return aligned
