"""What the owner of a node allows in vertical runs, asked when a run invites the node and again of its plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInput, NotAllowed
from .policy import Policy

if TYPE_CHECKING:
    from ..training.vertical.plan import VerticalPlan

OPERATION, SPLIT = "vertical", "vertical-split"


@dataclass(frozen=True)
class Place:
    """The place of this node in a vertical run.

    Parameters
    ----------
    party : str
        Its name in the run.
    dataset : str
        What it brings.
    nodes : dict of str to str
        Names of all parties, the label holder first, and the ids of their nodes.
    """

    party: str
    dataset: str
    nodes: dict[str, str]

    @classmethod
    def of(cls, run: Mapping[str, Any], node_id: str) -> Place:
        """Find the node's place in a run.

        Raises
        ------
        NotAllowed
            Code ``not-a-party``: it has none.
        """
        stranger = NotAllowed(
            f"This node is no party of vertical run {run.get('id')}, or its parties are not told apart.",
            code="not-a-party",
            hint="The developer names the parties when the run is created.",
        )
        try:
            holder = str(run["label"]["node"])
            told = [(str(party["node"]), str(party["name"]), str(party["dataset"])) for party in run["parties"]]
        except (KeyError, TypeError) as error:
            raise stranger from error
        told.sort(key=lambda party: party[0] != holder)  # the others stay in their order
        nodes = {name: node for node, name, _ in told}
        mine = next((party for party in told if party[0] == node_id), None)
        if mine is None or told[0][0] != holder or not len(set(nodes.values())) == len(nodes) == len(told):
            raise stranger
        return cls(mine[1], mine[2], nodes)

    @property
    def label_holder(self) -> str:
        """The name of the party that holds the label."""
        return next(iter(self.nodes))

    @property
    def leads(self) -> bool:
        """Whether it is this node."""
        return self.party == self.label_holder


def require_allowed(policy: Policy, run: Mapping[str, Any], place: Place, description: Mapping[str, Any]) -> None:
    """Refuse a run that the owner does not allow, or that the data set does not fit.

    Parameters
    ----------
    policy : Policy
        The node's.
    run : mapping
        As the coordination API tells of it and its developer has signed it.
    place : Place
        This node's.
    description : mapping
        Of the data set that it brings.

    Raises
    ------
    NotAllowed
        As `Policy.check`; ``policy-operation`` for mode ``split`` at a label holder whose owner has not agreed to it.
    InvalidInput
        ``no-id-column``; ``no-target``.
    """
    # What a party sends here is embeddings, not updates that could be masked: the owner agrees to it by its operation.
    policy.check({**run, "operation": OPERATION, "secure_aggregation": True}, dict(description))
    own = policy.for_dataset(place.dataset)
    if place.leads and run["mode"] == "split" and SPLIT not in own.operations:
        raise NotAllowed(
            f"Mode 'split' tells the other parties the labels of data set {place.dataset!r}; this node's owner has not "
            f'agreed to it: "{SPLIT}" is not among its operations ({", ".join(own.operations)}).',
            code="policy-operation",
            hint=f'Use mode="oneway", or ask {own.whom} to add "{SPLIT}" to operations in its node.toml.',
        )
    if description.get("id_column") != run["id_column"]:
        raise InvalidInput(
            f"Data set {place.dataset!r} of this node names its rows by {description.get('id_column')!r}, not by "
            f"{run['id_column']!r}.",
            code="no-id-column",
            hint="Register it with `flaas dataset add NAME FILE --id COLUMN`.",
        )
    target = (description.get("target") or {}).get("name")
    if place.leads and target != run["label"]["column"]:
        raise InvalidInput(
            f"The target of data set {place.dataset!r} is {target!r}, not {run['label']['column']!r}.",
            code="no-target",
            hint="Name the column that was registered with --target.",
        )


def require_plan(policy: Policy, run: Mapping[str, Any], place: Place, plan: VerticalPlan) -> None:
    """Check that a plan is the run's, and within what the owner allows.

    Raises
    ------
    InvalidInput
        Code ``wrong-plan``: it is not the one that was signed, or not of this run.
    NotAllowed
        ``policy-minimum-intersection``, ``policy-vertical-maximum-ids``.
    """
    if plan.digest != run["model_digest"]:
        raise InvalidInput(
            f"The plan received has digest {plan.digest}; the run was signed for {run['model_digest']}.",
            code="wrong-plan",
            hint="Start the run again from the notebook.",
        )
    signed = {
        "parties": list(place.nodes),
        "mode": run["mode"],
        "epochs": run["rounds"],
        "batch_size": run["batch_size"],
        "label": run["label"]["column"],
        "parameters": run["parameters"],
    }
    planned = {
        "parties": list(plan.parties),
        "mode": plan.mode,
        "epochs": plan.epochs,
        "batch_size": plan.batch_size,
        "label": plan.label,
        "parameters": parameters(plan),
    }
    for name, value in signed.items():
        if planned[name] != value:
            raise InvalidInput(
                f"The plan has {name} = {planned[name]!r}; the run was signed with {value!r}.",
                code="wrong-plan",
                hint="Start the run again from the notebook.",
            )
    own = policy.for_dataset(place.dataset)
    if plan.minimum_intersection < own.minimum_intersection:
        raise own._refusal(
            "minimum_intersection",
            f"The run would go on with {plan.minimum_intersection} common rows; this node's owner wants "
            f"{own.minimum_intersection} at least.",
            hint=f"Pass fit(..., minimum_intersection={own.minimum_intersection}), or ask ",
        )


def parameters(plan: VerticalPlan) -> int:
    """Return the number of weights of all parts, 1 at least: what a run says of its size."""
    return max(1, sum(model.parameters for model in plan.models.values()))
