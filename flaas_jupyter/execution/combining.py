"""How one run's updates become its next model: the aggregation rule with its memory, and the noise of privacy.

The aggregator makes one `Combiner` per run. It computes and remembers nothing itself: each method takes the rule's
memory of before the round and returns that of after it, and the aggregator keeps it together with the new weights. So
a round that is given up, or done again by another aggregator, never charges a budget twice.
"""

from __future__ import annotations

import functools
import math
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..observability import traces
from ..protocols import combination, noise_shares
from ..protocols.aggregation import Ballot, Rule, ScalarRule
from ..protocols.group_rule import combine_groups
from ..protocols.secure_aggregation import OpenedSum, Votes
from .rule_state import State

Weights = NDArray[Any]


@dataclass(frozen=True)
class Combined:
    """What a round makes of its updates.

    Parameters
    ----------
    weights : ndarray of float64, shape (p,)
        The new global weights.
    contributions : dict of str to float
        Node id to the weight that the rule gave it, 0 for an excluded one.
    columns : dict of str to dict
        Node id to what else the rule says of it, numbers by name.
    state : dict
        What the rule remembers from here on.
    """

    weights: NDArray[np.float64]
    contributions: dict[str, float]
    columns: dict[str, dict[str, float]]
    state: State


class Combiner:
    """The aggregation rule and the privacy of one run, as its aggregator applies them.

    Parameters
    ----------
    run : dict
        As the coordination API describes it.

    Raises
    ------
    InvalidInput
        The run's rule, options, privacy and secure aggregation do not go together: see
        `flaas_jupyter.protocols.combination`.
    """

    def __init__(self, run: Mapping[str, Any]) -> None:
        names = {str(entry["node"]): str(entry["name"]) for entry in run["participants"]}
        self._name = str(run["aggregation"])
        self._options = combination.resolve_clients(run["aggregation_options"], names)
        self._secure = bool(run["secure_aggregation"])
        self.privacy = combination.read_privacy(run["privacy"])
        rule = self._rule({})
        self._group_size = run.get("group_size")
        combination.require_combination(
            rule,
            secure_aggregation=self._secure,
            privacy=self.privacy,
            group_size=self._group_size,
            sharded=bool(run.get("sharded")),
        )
        self.needs = rule.needs
        self.in_groups = combination.in_groups(rule, secure_aggregation=self._secure)
        """Whether the rule is applied to the means of groups."""
        self._plan = combination.plan_privacy(self.privacy, rounds=int(run["rounds"]))

    @property
    def weights_equally(self) -> bool:
        """Whether every update counts for the same: the noise of a sum is made for that."""
        return self.privacy is not None and self.privacy.counts_alike

    def range_for(self, members: int) -> float | None:
        """Return what coordinates of so many private updates stay within, as good as always; None without privacy."""
        if self.privacy is None or self._plan is None:
            return None
        if self.privacy.mode == "distributed":
            return noise_shares.range_for(self._plan, members)
        deviations = 6.0 * self._plan.sigma if self.privacy.mode == "local" else 0.0
        return float(self.privacy.clip + deviations)

    def epsilon(self, rounds: int) -> float | None:
        """Return the budget that `rounds` rounds have spent, or None without privacy."""
        return None if self._plan is None else float(self._plan.epsilon_after(rounds))

    @property
    def indispensable(self) -> frozenset[str]:
        """Nodes that the rule's options name: no round is without them."""
        return combination.named_clients(self._options)

    def least_clients(self, nodes: Iterable[str], most: int | None) -> int:
        """Return how many of `nodes` a round needs, `most` at most; see `combination.least_clients`."""
        possible = sorted(nodes, key=lambda node: (node not in self.indispensable, node))[:most]
        return combination.least_clients(
            self._rule({}), possible, secure_aggregation=self._secure, group_size=self._group_size
        )

    @functools.cached_property
    def least_groups(self) -> int:
        """How many groups the rule needs in group mode."""
        return combination.least_groups(self._rule({}))

    # ---- updates in the clear -------------------------------------------------------------------------------------

    @traces.spanned("combine")
    def of_updates(
        self, start: Weights, updates: Mapping[str, Weights], examples: Mapping[str, int], state: State
    ) -> Combined:
        """Combine single updates.

        Parameters
        ----------
        start : ndarray, shape (p,)
            The global weights that everybody started from.
        updates : mapping of str to ndarray, shape (p,)
            Node id to the weights that it trained.
        examples : mapping of str to int
            Node id to the number of examples that it trained on.
        state : dict
            What the rule remembers.
        """
        nodes = sorted(updates)
        if self.weights_equally:
            total = np.zeros(start.shape, dtype=np.float64)
            for node in nodes:
                # Once more: a node rounds to the model's precision, and may be anybody's.
                total += self._clipped(updates[node].astype(np.float64) - start)
            return self._of_mean(start, self._with_noise(total) / len(nodes), dict.fromkeys(nodes, 1.0), state)
        rule = self._rule(state)
        made = rule(
            np.stack([updates[node] for node in nodes]),
            [examples[node] for node in nodes],
            client_ids=nodes,
            reference=start,
        )
        contributions = dict(zip(nodes, _numbers(made.contributions), strict=True))
        return Combined(made.weights, contributions, _by_node(nodes, made.columns), rule.state_dict())

    # ---- under secure aggregation -----------------------------------------------------------------------------------

    @traces.spanned("combine")
    def of_sum(self, start: Weights, opened: OpenedSum, examples: Mapping[str, int], state: State) -> Combined:
        """Combine the opened sum of the nodes in `examples`: all that a rule sees that needs sums only."""
        if self.weights_equally:
            mean = opened.mean
            if self.privacy is not None and self.privacy.mode == "central":
                mean = self._with_noise(mean * len(examples)) / len(examples)
            return self._of_mean(start, mean, dict.fromkeys(examples, 1.0), state)
        shares = {node: float(count) for node, count in examples.items()}
        return self._of_mean(start, opened.mean, shares, state)

    @traces.spanned("combine")
    def of_groups(
        self,
        start: Weights,
        means: Mapping[int, Weights],
        members: Mapping[int, Sequence[str]],
        examples: Mapping[str, int],
        state: State,
    ) -> Combined:
        """Apply the rule to the mean updates of groups; a group's weight, and what is said of it, is its members'.

        Parameters
        ----------
        start : ndarray, shape (p,)
            The global weights that everybody started from.
        means : mapping of int to ndarray, shape (p,)
            Group, from 0, to the mean of its members' updates by their examples.
        members : mapping of int to sequence of str
            Group to the nodes in its mean.
        examples : mapping of str to int
            Node id to the number of examples that it trained on.
        state : dict
            What the rule remembers, of nodes.
        """
        made = combine_groups(self._rule({}), start, means, members, examples, state)
        nodes = sorted(made.contributions)
        columns = {node: {n: v for n, v in made.columns[node].items() if math.isfinite(v)} for node in nodes}
        return Combined(made.weights, made.contributions, columns, made.state)

    def ballot(
        self, scalars: Mapping[str, float], examples: Mapping[str, int], state: State
    ) -> tuple[Ballot, dict[str, float]]:
        """Return the rule's ballot on what the nodes in `scalars` reported, and the votes that come of it, by node.

        Where nobody has a vote and the rule has everybody averaged then, all votes are the same.
        """
        nodes = sorted(scalars)
        counts = np.array([float(examples[node]) for node in nodes])
        rule = self._scalar_rule(state)
        ballot = rule.ballot(np.array([scalars[node] for node in nodes]), counts, tuple(nodes))
        votes = ballot.votes
        if not votes.any() and rule.on_silence == "average":
            votes = np.ones(len(nodes))
        return ballot, dict(zip(nodes, (float(vote) for vote in votes), strict=True))

    @traces.spanned("combine")
    def of_votes(
        self, start: Weights, opened: OpenedSum, votes: Votes, ballot: Ballot, survivors: Sequence[str], state: State
    ) -> Combined:
        """Combine the opened sum of updates weighted by votes, and charge those who are in it."""
        rule = self._scalar_rule(state)
        rule.settle(ballot, client_ids=tuple(survivors))
        total = sum(votes.shares[node] for node in survivors)
        contributions = {node: votes.shares[node] / total for node in survivors}
        columns = _by_node(sorted(votes.shares), ballot.columns)
        return Combined(start + opened.mean, contributions, columns, rule.state_dict())

    def of_silence(
        self, start: Weights, nodes: Sequence[str], ballot: Ballot, state: State, *, settled: bool
    ) -> Combined:
        """Keep the model; `settled` says whether the ballot stands, which may cost even those without a vote."""
        rule = self._scalar_rule(state)
        if settled:
            rule.settle(ballot, client_ids=tuple(nodes))
        columns = _by_node(nodes, ballot.columns)
        return Combined(start.astype(np.float64), dict.fromkeys(nodes, 0.0), columns, rule.state_dict())

    # ---- parts ------------------------------------------------------------------------------------------------------

    def _of_mean(self, start: Weights, mean: Weights, shares: Mapping[str, float], state: State) -> Combined:
        """Make of a mean update what the rule would make of all updates; see `Needs.SUM`."""
        rule, total = self._rule(state), sum(shares.values())
        made = rule((start + mean)[None], [total], client_ids=["sum"], reference=start)
        return Combined(made.weights, {node: share / total for node, share in shares.items()}, {}, rule.state_dict())

    def _rule(self, state: State) -> Rule:
        rule = combination.make_rule(self._name, self._options)
        if state:
            rule.load_state_dict(state)
        return rule

    def _scalar_rule(self, state: State) -> ScalarRule:
        rule = self._rule(state)
        assert isinstance(rule, ScalarRule)  # by its needs
        return rule

    def _clipped(self, update: NDArray[np.float64]) -> NDArray[np.float64]:
        from ..protocols.privacy import clip_update

        assert self.privacy is not None
        clipped: NDArray[np.float64] = clip_update(update, self.privacy.clip)[0]
        return clipped

    def _with_noise(self, total: NDArray[np.float64]) -> NDArray[np.float64]:
        from ..protocols.privacy import add_noise

        assert self._plan is not None
        noisy: NDArray[np.float64] = add_noise(total, self._plan.sigma)
        return noisy


def fresh_generator() -> np.random.Generator:
    """Return a generator that nobody can foresee: seeded by the operating system, never by the run's seed."""
    return np.random.default_rng(secrets.randbits(256))


def _numbers(values: NDArray[Any]) -> list[float]:
    # Sums of shares may step over 1 by a hair.
    return [min(max(float(value), 0.0), 1.0) for value in values]


def _by_node(nodes: Sequence[str], columns: Mapping[str, NDArray[Any]]) -> dict[str, dict[str, float]]:
    """Return the rule's columns by node; what is no finite number is left out."""
    told: dict[str, dict[str, float]] = {node: {} for node in nodes}
    for name, values in columns.items():
        for node, value in zip(nodes, values, strict=True):
            if math.isfinite(float(value)):
                told[node][name] = float(value)
    return told
