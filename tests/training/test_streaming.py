"""Training on rows that are on disk gives the weights that training in memory gives, for the same order of rows."""

from __future__ import annotations

import json
from dataclasses import replace

import keras
import keras_models as models
import numpy as np
import pytest

from flaas_jupyter.errors import Aborted, InvalidInput
from flaas_jupyter.execution.trainer import Trainer
from flaas_jupyter.plan import TrainingPlan
from flaas_jupyter.training import streaming
from flaas_jupyter.training.arrays import Arrays
from flaas_jupyter.training.seeds import ClientSeeds


def sent(model: keras.Model, **settings) -> TrainingPlan:
    return TrainingPlan.from_dict(json.loads(json.dumps(TrainingPlan.from_model(model, **settings).to_dict())))


@pytest.fixture
def on_disk(tmp_path):
    """The same arrays as files that are mapped into memory."""

    def write(arrays: Arrays) -> Arrays:
        groups = []
        for kind in ("inputs", "targets"):
            group = {}
            for name, values in getattr(arrays, kind).items():
                np.save(tmp_path / f"{kind}-{name}.npy", values)
                group[name] = np.load(tmp_path / f"{kind}-{name}.npy", mmap_mode="r")
            groups.append(group)
        return replace(arrays, inputs=groups[0], targets=groups[1], streamed=True)

    return write


@pytest.fixture
def small_windows(monkeypatch):
    """Windows of 32 rows in blocks of 2, so that small data have several."""
    monkeypatch.setattr(streaming, "WINDOW_ROWS", 32)


QUICK = ("dense", "embedding", "batch_normalised", "two_inputs_two_outputs")


@pytest.mark.parametrize(
    "family", [each if each in QUICK else pytest.param(each, marks=pytest.mark.long) for each in models.FAMILIES]
)
def test_in_the_order_of_the_file_the_weights_are_the_same_to_the_last_bit(family, on_disk, small_windows):
    model, arrays = models.FAMILIES[family]()
    plan = sent(model, local_epochs=2, batch_size=7, seed=1, shuffle=False)
    start = plan.vector_of(model)
    one, other = (Trainer(plan, rows).train(start, round_number=1) for rows in (arrays, on_disk(arrays)))
    np.testing.assert_array_equal(one.weights, other.weights)
    assert one.metrics == other.metrics
    assert one.examples == other.examples


def test_shuffled_in_blocks_the_weights_are_those_of_the_same_order_in_memory(on_disk, small_windows):
    model, arrays = models.dense()
    shuffled, plain = (sent(model, local_epochs=1, batch_size=7, seed=5, shuffle=shuffle) for shuffle in (True, False))
    start = shuffled.vector_of(model)
    streamed = Trainer(shuffled, on_disk(arrays)).train(start, round_number=3)
    seeds = ClientSeeds(5, arrays.checksum())
    order = np.concatenate(list(streaming.in_blocks(seeds.shuffling(3, 0), models.ROWS, 32)))
    assert not np.array_equal(order, np.arange(models.ROWS))
    memory = Trainer(plain, arrays)
    expected = memory._training.train(start, order, seeds, round_number=3)
    np.testing.assert_array_equal(streamed.weights, expected.weights)


def test_keras_own_loop_gives_the_same(on_disk, small_windows):
    model, arrays = models.dense()
    plan = sent(model, local_epochs=2, batch_size=7, seed=1)
    ours, keras_own = Trainer(plan, on_disk(arrays)), Trainer(plan, on_disk(arrays))
    training = keras_own._training
    training._run_epoch = streaming.keras_epoch(training._model, *training._data, plan.batch_size)
    start = plan.vector_of(model)
    one, other = (trainer.train(start, round_number=2) for trainer in (ours, keras_own))
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-6)
    assert one.metrics["loss"] == pytest.approx(other.metrics["loss"], abs=1e-5)


@pytest.mark.parametrize(("rows", "window"), [(1, 16), (15, 16), (16, 16), (1000, 64), (1001, 48), (65, 32)])
def test_each_row_comes_once_and_blocks_stay_together(rows, window):
    windows = list(streaming.in_blocks(np.random.default_rng(0), rows, window))
    assert sorted(np.concatenate(windows).tolist()) == list(range(rows))
    assert max(map(len, windows)) <= window
    block = window // streaming.BLOCKS
    for each in windows:
        assert len({int(row) // block for row in each}) <= streaming.BLOCKS


def test_the_order_is_that_of_the_seed_and_differs_by_round_and_epoch():
    def order(round_number: int, epoch: int, seed: int = 1) -> list[int]:
        return np.concatenate(
            list(streaming.in_blocks(ClientSeeds(seed, 9).shuffling(round_number, epoch), 500, 64))
        ).tolist()

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(*each)) for each in ((1, 0), (1, 1), (2, 0), (1, 0, 2))}) == 4


def test_whole_batches_are_taken_over_the_edges_of_windows():
    parts = list(streaming.chunks(iter([np.arange(10), np.arange(10, 15), np.arange(15, 17)]), 4))
    assert [len(part) for part in parts] == [8, 4, 4, 1]
    assert np.concatenate(parts).tolist() == list(range(17))


def test_only_a_few_windows_are_in_memory(tmp_path):
    rows = 400_000
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (rows, 50))
    x[:, 0] = np.arange(rows) % 3
    y = (np.arange(rows) % 2).astype("int32")
    window = streaming.window_rows(x, y)
    assert window * (50 * 4 + 4) <= streaming.WINDOW_BYTES
    taken = [part[0].nbytes for part in streaming.read(x, y, streaming.chunks(streaming.in_order(rows, window), 100))]
    assert len(taken) > 2
    assert max(taken) <= streaming.WINDOW_BYTES


def test_it_is_held_against_the_model_without_being_read_as_a_whole(on_disk):
    model, arrays = models.dense()
    plan = sent(model)
    bad = replace(arrays, inputs={"": np.full((48, 6), 1e300)})
    with pytest.raises(InvalidInput, match="exceed the range") as caught:
        Trainer(plan, on_disk(bad))
    assert caught.value.code == "model-does-not-fit"
    wide = replace(arrays, inputs={"": arrays.inputs[""].astype("float64")})
    settled = sent(model, seed=1, shuffle=False)
    one, other = (
        Trainer(settled, rows, salt="same").train(plan.vector_of(model), round_number=1).weights
        for rows in (wide, on_disk(wide))
    )
    np.testing.assert_array_equal(one, other)


def test_it_can_be_stopped(on_disk):
    model, arrays = models.dense()
    plan = sent(model, batch_size=4)
    with pytest.raises(Aborted) as caught:
        Trainer(plan, on_disk(arrays)).train(plan.vector_of(model), round_number=1, should_stop=lambda: True)
    assert caught.value.code == "training-stopped"


def test_the_proximal_term_holds_streamed_weights_too(on_disk, small_windows):
    model, arrays = models.dense()
    plan = sent(model, batch_size=8, seed=1, shuffle=False)
    start = plan.vector_of(model)
    one, other = (Trainer(plan, rows).train(start, round_number=1, proximal=0.5) for rows in (arrays, on_disk(arrays)))
    np.testing.assert_array_equal(one.weights, other.weights)
