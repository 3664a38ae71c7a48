"""Trains one client and tells what JAX's cache did: ``python -m simulation.kept_programs_run FILE``."""

from __future__ import annotations

import json
import sys
from collections import Counter

import jax
import numpy as np

from flaas_jupyter.simulation.jax_executor import JaxExecutor

from .executor_cases import sgd


def main(path: str) -> None:
    events: Counter[str] = Counter()
    jax.monitoring.register_event_listener(lambda event, **_: events.update([event.rpartition("/")[2]]))
    before = {name: getattr(jax.config, name) for name in vars(jax.config)["_value_holders"] if "cache" in name}
    case = sgd()
    output = JaxExecutor(case.plan, case.data, 2).run(case.work())
    changed = [name for name, value in before.items() if getattr(jax.config, name) != value]
    np.save(path, output.values)
    print(json.dumps({"hits": events["cache_hits"], "misses": events["cache_misses"], "changed": changed}))


if __name__ == "__main__":
    main(sys.argv[1])
