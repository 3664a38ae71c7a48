"""Local training on rows that do not fit into memory: they are read from disk in windows, shuffled in blocks.

Rows of one batch should be far apart in the file, and reads should be of rows that lie side by side. Therefore an epoch
takes blocks of neighbouring rows in random order, puts `BLOCKS` of them together as a window, and shuffles the rows of
a window (as the buffers of data loaders do, but with a whole permutation in each). The order depends on the seed, the
client, the round and the sizes of window and rows alone. Where a plan asks for no shuffling, rows come in the file's
order.

Batches are the same as in memory for the same order, and so are the weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Mapped
from .epoch import BURST_SECONDS, Epoch, Stop, flat_metrics, stopped

if TYPE_CHECKING:
    import keras

WINDOW_BYTES = 32 << 20
"""Bytes of rows that are in memory at a time, three times: read ahead, trained on, and as tensors."""
WINDOW_ROWS = 65_536
BLOCKS = 16
"""Blocks of a window."""

Windows = Iterable[NDArray[np.int64]]


def is_streamed(x: Any, y: Any) -> bool:
    """Tell whether any of the arrays that a model takes is on disk."""
    import keras

    return any(isinstance(leaf, Mapped) for leaf in keras.tree.flatten((x, y)))


def window_rows(x: Any, y: Any) -> int:
    """Return how many rows a window has, of arrays as a model takes them."""
    import keras

    leaves = keras.tree.flatten((x, y))
    row = sum(int(np.prod(leaf.shape[1:])) * np.dtype(str(leaf.dtype)).itemsize for leaf in leaves)
    return max(BLOCKS, min(WINDOW_ROWS, WINDOW_BYTES // max(row, 1)))


def in_order(rows: int, window: int) -> Iterator[NDArray[np.int64]]:
    """Yield the indices of `rows` rows as they come, `window` at a time."""
    for start in range(0, rows, window):
        yield np.arange(start, min(start + window, rows), dtype=np.int64)


def in_blocks(rng: np.random.Generator, rows: int, window: int) -> Iterator[NDArray[np.int64]]:
    """Yield the indices of `rows` rows in windows of shuffled blocks.

    Parameters
    ----------
    rng : Generator
    rows : int
    window : int
        Rows of a window, in `BLOCKS` blocks.
    """
    block = max(1, window // BLOCKS)
    starts = rng.permutation(math.ceil(rows / block)) * block
    for place in range(0, len(starts), BLOCKS):
        blocks = [np.arange(at, min(at + block, rows), dtype=np.int64) for at in starts[place : place + BLOCKS]]
        yield rng.permutation(np.concatenate(blocks))


def chunks(windows: Windows, batch: int) -> Iterator[NDArray[np.int64]]:
    """Yield indices in the order of the windows, whole batches of them but for the last."""
    left = np.empty(0, np.int64)
    for window in windows:
        window = np.concatenate([left, window])
        whole = len(window) - len(window) % batch
        if whole:
            yield window[:whole]
        left = window[whole:]
    if len(left):
        yield left


def read(x: Any, y: Any, indices: Iterable[NDArray[np.int64]]) -> Iterator[tuple[Any, Any]]:
    """Yield the rows of one chunk of indices after the other, the next of which is read meanwhile."""
    import keras

    def take(rows: NDArray[np.int64]) -> tuple[Any, Any]:
        taken: tuple[Any, Any] = keras.tree.map_structure(lambda leaf: leaf[rows], (x, y))
        return taken

    with ThreadPoolExecutor(1, thread_name_prefix="rows") as ahead:
        pending = None
        for rows in indices:
            coming = ahead.submit(take, rows)
            if pending is not None:
                yield pending.result()
            pending = coming
        if pending is not None:
            yield pending.result()


def graph_epoch(model: keras.Model, x: Any, y: Any, batch_size: int) -> Epoch:
    """TensorFlow: as `local.graph_epoch`, on one chunk of rows after the other."""
    import keras
    import tensorflow as tf

    batch = min(batch_size, len(keras.tree.flatten((x, y))[0]))
    specs = keras.tree.map_structure(lambda leaf: tf.TensorSpec([None, *leaf.shape[1:]], str(leaf.dtype)), (x, y))

    def steps(data: Any, start: Any, stop: Any) -> Any:
        def step(at: Any) -> Any:
            model.train_step(keras.tree.map_structure(lambda values: values[at : at + batch], data))
            return at + batch

        tf.while_loop(lambda at: at < stop, step, [start], parallel_iterations=1)
        return model.get_metrics_result()

    index = tf.TensorSpec([], tf.int64)
    traced = tf.function(steps, input_signature=[specs, index, index], autograph=False)
    burst = batch

    def run(windows: Windows, should_stop: Stop) -> dict[str, float]:
        nonlocal burst
        model.reset_metrics()
        logs: dict[str, Any] = {}
        for part in read(x, y, chunks(windows, batch)):
            data = keras.tree.map_structure(tf.convert_to_tensor, part)
            rows, at = len(keras.tree.flatten(part)[0]), 0
            while at < rows:
                if should_stop():
                    raise stopped()
                started = time.perf_counter()
                end = min(at + burst, rows)
                logs = traced(data, tf.constant(at, tf.int64), tf.constant(end, tf.int64))
                fits = BURST_SECONDS / (time.perf_counter() - started)
                burst = batch * max(1, int(burst / batch * min(fits, 8.0)))
                at = end
        return flat_metrics(logs)

    return run


def keras_epoch(model: keras.Model, x: Any, y: Any, batch_size: int) -> Epoch:
    """Any backend: Keras's own ``fit`` on batches as they are read."""
    import keras

    rows = len(keras.tree.flatten((x, y))[0])

    def batches(windows: Windows) -> Iterator[tuple[Any, Any]]:
        for part in read(x, y, chunks(windows, batch_size)):
            for at in range(0, len(keras.tree.flatten(part)[0]), batch_size):
                yield keras.tree.map_structure(lambda values, at=at: values[at : at + batch_size], part)

    def run(windows: Windows, should_stop: Stop) -> dict[str, float]:
        class StopBetweenBatches(keras.callbacks.Callback):  # type: ignore[misc]
            def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
                if should_stop():
                    raise stopped()

        history = model.fit(
            batches(windows),
            steps_per_epoch=math.ceil(rows / batch_size),
            shuffle=False,
            verbose=0,
            callbacks=[StopBetweenBatches()],
        ).history
        return flat_metrics({name: values[-1] for name, values in history.items()})

    return run
