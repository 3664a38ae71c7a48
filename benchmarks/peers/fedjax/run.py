"""FedJAX: its own federated averaging, clients one after the other through its compiled step."""

from __future__ import annotations

import jax
import jax.numpy as jnp

# FedJAX 0.0.17 still calls the name that JAX has since moved.
jax.tree_map = jax.tree_util.tree_map  # type: ignore[attr-defined]

import fedjax  # noqa: E402
from runner import Rounds, measure  # noqa: E402
from workload import KERNEL, Weights, Workload  # noqa: E402


def mlp(params: list[jax.Array], x: jax.Array) -> jax.Array:
    w1, b1, w2, b2 = params
    return jax.nn.relu(x @ w1 + b1) @ w2 + b2


def cnn(params: list[jax.Array], x: jax.Array) -> jax.Array:
    for kernel, bias in (params[0:2], params[2:4]):
        assert kernel.shape[:2] == (KERNEL, KERNEL)
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = jax.lax.reduce_window(
            jax.nn.relu(x + bias), -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), padding="VALID"
        )
    return mlp(params[4:], x.reshape(len(x), -1))


def train(work: Workload, rounds: Rounds) -> Weights:
    spec = work.spec
    model = mlp if spec.model == "mlp" else cnn

    def loss(params: list[jax.Array], batch: dict[str, jax.Array], rng: jax.Array) -> jax.Array:
        chances = jax.nn.log_softmax(model(params, batch["x"]))
        return -jnp.take_along_axis(chances, batch["y"][:, None], axis=1).mean()

    algorithm = fedjax.algorithms.fed_avg.federated_averaging(
        grad_fn=jax.grad(loss),
        client_optimizer=fedjax.optimizers.sgd(spec.learning_rate),
        server_optimizer=fedjax.optimizers.sgd(1.0),
        client_batch_hparams=fedjax.ShuffleRepeatBatchHParams(batch_size=spec.batch, skip_shuffle=True),
    )
    data = fedjax.InMemoryFederatedData(
        {i: dict(zip(("x", "y"), work.client(i), strict=True)) for i in range(spec.clients)}
    )
    key = jax.random.PRNGKey(0)
    state = algorithm.init([jnp.asarray(one) for one in work.weights])
    for cohort in work.cohorts[: rounds.count]:
        # No client draws anything, so that one key serves all: splitting it would cost time for nothing.
        state, _ = algorithm.apply(state, [(i, data.get_client(i), key) for i in cohort.tolist()])
        jax.block_until_ready(state.params)
        rounds.finished()
    return [jax.device_get(one) for one in state.params]


if __name__ == "__main__":
    measure(train, packages=("fedjax", "jax", "jaxlib", "numpy"))
