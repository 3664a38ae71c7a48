"""What a run has traced goes with it: nodes train for years in one process."""

from __future__ import annotations

import gc
from dataclasses import replace

import keras
import keras_models as models
import pytest

from flaas_jupyter.execution.trainer import Trainer
from flaas_jupyter.plan import TrainingPlan


def programs() -> int:
    """How many traced programs TensorFlow holds."""
    from tensorflow.python.framework.func_graph import FuncGraph

    gc.collect()
    return sum(isinstance(each, FuncGraph) for each in gc.get_objects())


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_run_leaves_no_program_behind(streamed, scaled):
    def run() -> None:
        model, arrays = models.dense()
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
        model.compile(keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer, "binary_crossentropy")
        plan = TrainingPlan.from_model(model, local_epochs=1, batch_size=16, seed=1)
        Trainer(plan, replace(arrays, streamed=streamed)).train(plan.vector_of(model), round_number=1)

    run()
    before = programs()
    for _ in range(2):
        run()
    assert programs() <= before
