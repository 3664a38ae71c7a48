"""Which executor trains the clients, and where.

No executor is best for every model: small dense models are bound by overhead, which a compiled program avoids;
convolutions inside a compiled JAX loop are many times slower on a CPU than TensorFlow's kernels. So models without
convolution and recurrence go to JAX, and for others the executors that can do it are measured once on this machine
and the quickest is remembered.

The notebook's own Keras backend does not matter: an executor of another backend runs in a worker process of its own.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput
from ..home import Home, write_private
from .jax_executor import JaxExecutor, class_names, unfit
from .keras_executor import KerasExecutor
from .process import ProcessExecutor
from .work import ClientData, Executor, RoundWork, Task

if TYPE_CHECKING:
    from ..plan import TrainingPlan

BACKENDS = ("auto", "jax", "tensorflow", "torch", "ray")
_MODULES = {"jax": "jax", "tensorflow": "tensorflow", "torch": "torch", "ray": "ray"}
_EXTRAS = {"jax": "simulation", "tensorflow": "node", "ray": "ray"}
# Models with none of these are matrix products and little else.
_HEAVY = ("Conv", "LSTM", "GRU", "RNN", "Attention", "Bidirectional", "TimeDistributed", "Pooling")
_MEASURED_BATCHES = 4


def check_backend(backend: str) -> None:
    """Refuse a backend that is unknown or not installed.

    Raises
    ------
    InvalidInput
        ``unknown-backend``, ``extra-missing``.
    """
    if backend not in BACKENDS:
        raise InvalidInput(
            f"backend={backend!r}: there is no such backend; allowed are {', '.join(BACKENDS)}.",
            code="unknown-backend",
        )
    if backend != "auto" and not _installed(backend):
        extra = _EXTRAS.get(backend)
        raise InvalidInput(
            f"backend={backend!r} needs {_MODULES[backend]}, which is not installed.",
            code="extra-missing",
            hint=f'pip install "flaas_jupyter[{extra}]"' if extra else "Install it, or leave backend out.",
        )


def make_executor(plan: TrainingPlan, data: ClientData, *, backend: str, workers: int) -> Executor:
    """Make the executor that trains `plan` on `data`.

    Parameters
    ----------
    plan : TrainingPlan
    data : ClientData
    backend : str
        One of `BACKENDS`.
    workers : int
        Clients trained side by side.

    Raises
    ------
    InvalidInput
        ``backend-unfit``: the backend asked for cannot train this plan exactly, the message says why; the codes of
        `match` and `TrainingPlan.build`.
    """
    _require_own_code_here(plan, backend)
    if backend == "ray":
        from .ray_executor import RayExecutor

        return RayExecutor(plan, data, choose(plan, data, workers=1))
    if backend == "auto":
        backend = choose(plan, data, workers=workers)
    elif backend == "jax" and (reason := unfit(plan, data)) is not None:
        raise InvalidInput(
            f"backend='jax' trains a round as one program of equal batches, and this model cannot be: {reason}.",
            code="backend-unfit",
            hint='Leave backend out, or take backend="tensorflow"; or a batch_size that divides every client\'s rows.',
        )
    return place(plan, data, backend, workers)


def place(plan: TrainingPlan, data: ClientData, backend: str, workers: int) -> Executor:
    """Make an executor of a backend: in this process if it is the backend of this process, else in a worker's."""
    import keras

    here = str(keras.backend.backend())
    # Layers that the notebook has defined itself exist in its process only.
    if own_code(plan) or (backend == "jax" and here == "jax"):
        return inside(plan, data, here, workers)
    return ProcessExecutor(plan, data, backend, workers)


def _require_own_code_here(plan: TrainingPlan, backend: str) -> None:
    import keras

    here = str(keras.backend.backend())
    if backend not in ("auto", here) and own_code(plan):
        raise InvalidInput(
            f"The model has layers or functions of this notebook's own, which exist in its process only, and that runs "
            f"Keras on {here}; backend={backend!r} would train elsewhere.",
            code="backend-unfit",
            hint=f"Leave backend out, or set KERAS_BACKEND={backend} before Keras is imported.",
        )


def inside(plan: TrainingPlan, data: ClientData, backend: str, workers: int) -> Executor:
    """Make the executor inside a process whose Keras has the backend already."""
    if backend == "jax" and unfit(plan, data) is None:
        return JaxExecutor(plan, data, workers)
    return KerasExecutor(plan, data, workers)


def choose(plan: TrainingPlan, data: ClientData, *, workers: int, home: Home | None = None) -> str:
    """Return the backend that trains `plan` quickest: known beforehand, remembered, or measured now."""
    import keras

    installed = [backend for backend in ("jax", "tensorflow", "torch") if _installed(backend)]
    if own_code(plan):
        return str(keras.backend.backend())
    if unfit(plan, data) is not None and "jax" in installed and len(installed) > 1:
        installed.remove("jax")
    if "jax" in installed and not _is_heavy(plan):
        return "jax"
    candidates = [backend for backend in installed if backend != "torch"] or installed
    if len(candidates) == 1:
        return candidates[0]
    return _remembered(plan, workers, home or Home.default(), lambda: _measured(plan, data, candidates, workers))


def own_code(plan: TrainingPlan) -> bool:
    """Whether the plan holds objects that are registered in this process and are not Keras's."""
    import keras

    text = json.dumps([plan.model, plan.compiling])
    return any(f'"{name}"' in text for name in keras.saving.get_custom_objects())


def _is_heavy(plan: TrainingPlan) -> bool:
    return any(word in name for name in class_names(plan.model["layers"]) for word in _HEAVY)


def _measured(plan: TrainingPlan, data: ClientData, candidates: list[str], workers: int) -> str:
    """Train as many clients as there are workers on a few batches with each candidate; the first time compiles."""
    import numpy as np

    most = plan.batch_size * _MEASURED_BATCHES
    clients = [client for client in range(len(data.rows)) if len(data.rows[client])][:workers]
    small = ClientData(data.arrays, tuple(data.rows[c][:most] for c in clients), tuple(data.salts[c] for c in clients))
    work = RoundWork(
        1, np.zeros(plan.parameters, plan.dtype), [Task(place, 1) for place in range(len(clients))], seed=0
    )
    seconds = {}
    for backend in candidates:
        executor = place(plan, small, backend, workers)
        try:
            executor.run(work)
            began = time.perf_counter()
            executor.run(work)
            seconds[backend] = time.perf_counter() - began
        finally:
            executor.close()
    return min(seconds, key=seconds.__getitem__)


def _remembered(plan: TrainingPlan, workers: int, home: Home, measure: Callable[[], str]) -> str:
    key = hashlib.sha256(json.dumps([anonymous(plan.model), plan.batch_size, workers]).encode()).hexdigest()[:32]
    try:
        known: dict[str, Any] = json.loads(home.executors.read_text())
    except (OSError, ValueError):
        known = {}
    if not _installed(str(known.get(key))):
        known[key] = measure()
        write_private(home.executors, json.dumps(known).encode())
    return str(known[key])


def anonymous(value: Any) -> Any:
    """Return a model's configuration without the names that Keras counts up."""
    if isinstance(value, dict):
        return {key: anonymous(item) for key, item in value.items() if key not in ("name", "inbound_nodes")}
    if isinstance(value, list):
        return [anonymous(item) for item in value if not isinstance(item, str)]
    return value


def _installed(backend: str) -> bool:
    return backend in _MODULES and importlib.util.find_spec(_MODULES[backend]) is not None
