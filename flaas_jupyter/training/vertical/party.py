"""`run_party`: one party's whole part of a vertical run. The same function runs in a simulation and on a node."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput, NotAllowed
from . import sizes
from .alignment import Alignment, align
from .encoders import require_tensorflow
from .exchange import Exchange, Metered
from .part import Part
from .plan import VerticalPlan, weights_digest
from .state import Offload, OnRound, PartyResult, go_on, inline
from .table import PartyTable

Stop = Callable[[], bool]


async def run_party(
    exchange: Exchange,
    plan: VerticalPlan,
    table: PartyTable,
    weights: NDArray[Any] | None = None,
    *,
    on_round: OnRound = go_on,
    should_stop: Stop = lambda: False,
    label_consent: bool = False,
    alignment: Alignment | None = None,
    allowed_custom: Collection[str] = (),
    offload: Offload = inline,
    private_seed: int | None = None,
) -> PartyResult:
    """Take part in a run, as the party that `exchange` speaks for.

    Parameters
    ----------
    exchange : Exchange
        Its `parties` are the plan's, in the plan's order.
    plan : VerticalPlan
    table : PartyTable
        This party's rows; with labels if it is the label holder.
    weights : ndarray of shape (p,), optional
        What this party's part starts from; needed where the plan names its digest. Without it Keras draws them.
    on_round : coroutine function
        Called after each epoch with this party's view of it. At the label holder its `Verdict` steers the run. In
        mode ``oneway`` feature parties have no rounds.
    should_stop : callable
        Asked between batches; true ends the run with `Aborted`, code ``training-stopped``. Who is waiting for a
        message does not ask: cancel the task as well.
    label_consent : bool
        Whether this party, being the label holder, agrees to send gradients (mode ``split``).
    alignment : Alignment, optional
        This party's part of an alignment that the parties have made before. Either all bring one, or none does.
    allowed_custom : collection of str
        The owner's `allow_layers`, see `TrainingPlan.build`.
    offload : callable
        Where work is done that takes its time.
    private_seed : int, optional
        Of this party's noise, masks and random projections: for tests and simulations, which must be repeatable. On a
        node it is left out, and the operating system's generator is used.

    Returns
    -------
    PartyResult

    Raises
    ------
    InvalidInput
        ``other-parties``: plan and exchange differ; ``no-label``; ``too-few-common``; ``too-many-ids``;
        ``unknown-columns``; ``wrong-weights``; ``bad-message``; ``backend-not-supported``; ``missing-extra``;
        ``non-finite-update``; those of `TrainingPlan.build`.
    NotAllowed
        ``label-consent``: mode ``split`` without the label holder's consent; ``custom-layer``.
    Aborted
        ``training-stopped``.
    """
    require_tensorflow()
    started = time.perf_counter()
    require_same_parties(exchange, plan)
    me = exchange.me
    if me == plan.label_holder:
        _require_labels(plan, table)
        if plan.mode == "split" and not label_consent:
            raise NotAllowed(
                f"The label holder {me!r} has not agreed to mode='split', in which gradients tell others its labels.",
                code="label-consent",
                hint="In a simulation pass fit(..., label_consent=True); a node's owner allows it in the node's "
                "policy. mode='oneway' tells nothing of labels.",
            )
    _require_start(plan, me, weights)
    line = Metered(exchange)
    rng = np.random.default_rng(private_seed)
    if alignment is None:
        alignment = await align(
            line,
            table,
            seed=plan.seed,
            minimum=plan.minimum_intersection,
            maximum=plan.maximum_ids,
            offload=offload,
        )
    elif len(alignment.rows) < plan.minimum_intersection:
        raise sizes.too_few(plan.minimum_intersection)
    aligned = time.perf_counter()
    part = Part(
        line=line,
        plan=plan,
        table=table,
        alignment=alignment,
        weights=weights,
        on_round=on_round,
        should_stop=should_stop,
        allowed_custom=allowed_custom,
        offload=offload,
        rng=rng,
    )
    state, rounds, extra = await _programs()[plan.mode](part)
    report = {
        "party": me,
        "mode": plan.mode,
        "rows": alignment.sizes,
        "common": len(alignment.rows),
        "bytes": line.counts(),
        "seconds": {"alignment": aligned - started, "training": time.perf_counter() - aligned},
        **extra,
    }
    return PartyResult(me, state, alignment.rows, rounds, report)


def require_same_parties(exchange: Exchange, plan: VerticalPlan) -> None:
    """Raise unless the parties of an exchange are those of the plan, and this party is one of them."""
    if tuple(exchange.parties) != plan.parties or exchange.me not in plan.parties:
        raise InvalidInput(
            f"The plan is one of {', '.join(plan.parties)}; {exchange.me!r} is connected with "
            f"{', '.join(exchange.parties)}.",
            code="other-parties",
        )


def _programs() -> Mapping[str, Any]:
    from . import linear_he, oneway, split

    return {"oneway": oneway.run, "split": split.run, "linear_he": linear_he.run}


def _require_labels(plan: VerticalPlan, table: PartyTable) -> None:
    if table.label is None:
        raise InvalidInput(
            f"Party {plan.label_holder!r} is the label holder and has no labels ({plan.label!r}).",
            code="no-label",
            hint='Name the column: label=("<party>", "<column>").',
        )


def _require_start(plan: VerticalPlan, me: str, weights: NDArray[Any] | None) -> None:
    wanted = plan.starts.get(me)
    if wanted is None and weights is None:
        return
    if weights is None or me not in plan.models or (wanted is not None and weights_digest(weights) != wanted):
        raise InvalidInput(
            f"The weights that party {me!r} was given to start from are not those that the plan names.",
            code="wrong-weights",
            hint="Send each party the weights that belong to the plan.",
        )
