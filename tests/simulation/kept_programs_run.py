"""Trains a few clients and tells whether it had to compile: ``python -m simulation.kept_programs_run FILE``."""

from __future__ import annotations

import json
import sys

import jax
import numpy as np

from flaas_jupyter.simulation import kept_programs
from flaas_jupyter.simulation.jax_executor import JaxExecutor

from .executor_cases import sgd


def main(path: str) -> None:
    compiled: list[str] = []
    compiling = kept_programs._compiled

    def noted(lowered: jax.stages.Lowered) -> bytes:
        compiled.append("once")
        return compiling(lowered)

    kept_programs._compiled = noted
    case = sgd()
    output = JaxExecutor(case.plan, case.data, 2).run(case.work(each=False))
    double = jax.jit(lambda x: 2 * x + 1)(np.ones(3))  # goes to the user's own cache, if there is one
    np.save(path, output.total())
    print(
        json.dumps(
            {"compiled": len(compiled), "enabled": jax.config.jax_enable_compilation_cache, "double": double.tolist()}
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
