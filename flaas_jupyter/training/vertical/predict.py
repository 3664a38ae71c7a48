"""Predicting with a trained vertical model: rows of all parties are aligned anew, scores are the label holder's.

Each feature party sends the embeddings of the rows in common, as in training; the label holder computes the scores, and
whoever else may have them has them from it. A feature party learns which of its rows were asked about, not the scores.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import numpy as np

from ...errors import Aborted, InvalidInput
from ...protocols.vertical.psi import MAXIMUM
from ..arrays import Arrays, canonical_target
from ..matching import match
from .alignment import Alignment, align
from .encoders import encoder_of, outputs, require_tensorflow
from .exchange import Exchange, Metered, tensor
from .label_side import evaluate, input_names, scaled_own
from .part import build
from .party import require_same_parties
from .plan import VerticalPlan
from .scaling import Scaler
from .state import Offload, PartyState, Scores, inline
from .table import PartyTable

EMBEDDING = "predict/embedding"


async def predict_party(
    exchange: Exchange,
    plan: VerticalPlan,
    state: PartyState,
    table: PartyTable,
    *,
    minimum: int = 1,
    maximum: int = MAXIMUM,
    should_stop: Callable[[], bool] = lambda: False,
    alignment: Alignment | None = None,
    allowed_custom: Collection[str] = (),
    offload: Offload = inline,
    private_seed: int | None = None,
) -> Scores | None:
    """Take part in a prediction, as the party that `exchange` speaks for.

    Parameters
    ----------
    exchange : Exchange
    plan : VerticalPlan
    state : PartyState
        What `run_party` left at this party.
    table : PartyTable
        Rows to predict; the label holder's may be without labels.
    minimum : int
        Fewer rows in common end it.
    maximum, should_stop, alignment, allowed_custom, offload, private_seed
        As of `run_party`.

    Returns
    -------
    Scores or None
        At the label holder; None elsewhere.

    Raises
    ------
    InvalidInput
        ``other-state``: the state is another party's or another plan's; those of `run_party`.
    Aborted
        ``training-stopped``.
    """
    require_tensorflow()
    require_same_parties(exchange, plan)
    started = time.perf_counter()
    me = exchange.me
    if state.party != me or state.plan != plan.digest:
        raise InvalidInput(
            f"The state is that of party {state.party!r} in plan {state.plan[:12]}; {me!r} predicts with "
            f"{plan.digest[:12]}.",
            code="other-state",
        )
    line = Metered(exchange)
    if alignment is None:
        alignment = await align(line, table, seed=plan.seed, minimum=minimum, maximum=maximum, offload=offload)
    if should_stop():
        raise Aborted("The prediction was stopped before its end.", code="training-stopped")
    columns = table.matrix(plan.columns[me])[alignment.rows]
    if me != plan.label_holder:
        rng = np.random.default_rng(private_seed)
        encoder = await offload(lambda: encoder_of(plan, state, allowed_custom))
        embedding = await offload(lambda: encoder(columns, rng))
        await line.send(plan.label_holder, EMBEDDING, {}, {"embedding": embedding})
        return None
    embeddings = []
    for party in plan.feature_parties:
        _, tensors = await line.receive(party, EMBEDDING)
        shape = (len(columns), plan.widths[party])
        embeddings.append(tensor(tensors, "embedding", shape, "float32", sender=party, kind=EMBEDDING))
    model = await offload(lambda: build(plan, me, state.tensors["weights"], allowed_custom))
    scaler = Scaler(state.tensors["mean"], state.tensors["scale"])
    inputs = [*scaled_own(scaler, columns), *embeddings]
    values = await offload(lambda: outputs(model, inputs))
    metrics: dict[str, float] = {}
    if table.label is not None:
        names = input_names(bool(plan.columns[me]), len(plan.feature_parties))
        label = canonical_target(np.asarray(table.label)[alignment.rows])
        arrays = Arrays(f"of {me}", dict(zip(names, inputs, strict=True)), {"": label}, columns=plan.columns[me])
        _, labels = match(plan.models[me], model, arrays)
        metrics = await offload(lambda: evaluate(model, inputs, labels))
    report = {
        "party": me,
        "rows": alignment.sizes,
        "common": len(alignment.rows),
        "bytes": line.counts(),
        "seconds": {"total": time.perf_counter() - started},
    }
    return Scores(alignment.rows, values, metrics, report)
