"""A simulation's folder, as its engine writes it: a rule with votes and reputations, under attack."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

CATALOGUE = {
    "aggregation": [
        {
            "name": "fedavg", "summary": "Mean of the updates, weighted by examples.", "needs": "sum",
            "defends": "Nothing: one client can move the model anywhere.", "limits": "No defence at all.",
            "options": [], "secure_aggregation": {"supported": True, "reason": "it needs the sum only"},
        },
        {
            "name": "krum", "summary": "The one model that lies closest to its nearest neighbours.", "needs": "updates",
            "defends": "Arbitrary models from fewer than half of the clients.",
            "limits": "Models crafted to lie among the honest ones pass; learns from one client a round.",
            "options": [{"name": "byzantine", "type": "int", "default": None, "help": "Malicious clients assumed."}],
            "secure_aggregation": {"supported": False, "reason": "it must see every client's update"},
        },
    ],
    "attacks": [
        {
            "name": "label_flip", "class": "LabelFlip", "summary": "Trains on the labels of another class.",
            "knowledge": "its own data",
            "options": [
                {"name": "fraction", "type": "float", "default": 0.3, "help": "Share of the clients."},
                {"name": "target", "type": "int", "default": None, "help": "The class to be predicted."},
            ],
        },
    ],
}  # fmt: skip


class Simulated:
    """A simulation that goes on when the test says so.

    Parameters
    ----------
    home : Path
        `FLAAS_HOME`.
    name : str
        Its id.
    clients, attackers : int
        How many there are, and how many of them are malicious.
    per_round : int
        How many take part in a round.
    """

    def __init__(self, home: Path, name: str, *, clients: int = 40, attackers: int = 12, per_round: int = 20) -> None:
        self.folder = home / "simulations" / name
        self.folder.mkdir(parents=True)
        self._random = np.random.default_rng(len(name))
        self._per_round = per_round
        malicious = set(self._random.choice(clients, attackers, replace=False).tolist())
        self.reputation = np.full(clients, 0.5)
        self.header: dict[str, Any] = {
            "id": name, "name": name.removeprefix("sim-"), "created": _now(-300), "state": "running",
            "rounds": 60, "round": 0, "aggregation": "fedqv_reputation",
            "aggregation_options": {"budget": 30.0, "threshold": 0.2}, "privacy": None, "pid": os.getpid(),
            "attack": {"name": "label_flip", "options": {"fraction": attackers / clients, "target": 5}},
            "partition": "Dirichlet(alpha=0.9)", "backend": "jax", "error": None, "parameters": 50_890, "seed": 7,
            "clients": [
                {"id": f"c{index}", "name": f"client-{index}", "rows": 60, "attacker": index in malicious}
                for index in range(clients)
            ],
        }  # fmt: skip
        self.write()

    def write(self, **changes: Any) -> None:
        """Replace the header, at once."""
        self.header |= {"updated": _now(), **changes}
        new = self.folder / ".simulation.json"
        new.write_text(json.dumps(self.header))
        new.replace(self.folder / "simulation.json")

    def advance(self, rounds: int = 1) -> None:
        """Do rounds: attackers lose reputation, honest clients gain it."""
        with (self.folder / "rounds.jsonl").open("a") as file:
            for _ in range(rounds):
                file.write(json.dumps(self._round(self.header["round"] + 1)) + "\n")
                self.header["round"] += 1
        self.write()

    def _round(self, number: int) -> dict[str, Any]:
        clients = self.header["clients"]
        present = np.sort(self._random.choice(len(clients), self._per_round, replace=False))
        attackers = np.array([clients[index]["attacker"] for index in present])
        noise = self._random.normal(0, 0.03, len(present))
        self.reputation[present] = np.clip(
            self.reputation[present] + np.where(attackers, -0.09, 0.05) + noise, 0.02, 0.98
        )
        reputation = self.reputation[present]
        votes = np.where(attackers, reputation * 2, 1 + 6 * reputation) * (reputation > 0.1)
        weight = votes / votes.sum()
        similarity = np.where(attackers, -0.2, 0.6) + 5 * noise
        accuracy = 0.93 - 0.6 * 0.93**number
        return {
            "number": number, "started": _now(), "seconds": {"total": 0.02}, "bytes": {"up": 1, "down": 1},
            "metrics": {
                "loss": 0.2 + 2 * 0.94**number, "accuracy": accuracy, "val_loss": 0.3 + 1.9 * 0.95**number,
                "val_accuracy": accuracy - 0.02, "val_attack_success_rate": 0.6 * 0.9**number + 0.02,
            },
            "clients": [
                {
                    "node": clients[index]["id"], "examples": 60, "weight": float(weight[place]),
                    "columns": {
                        "votes": float(votes[place]), "reputation": float(reputation[place]),
                        "similarity": float(similarity[place]),
                    },
                }
                for place, index in enumerate(present)
            ],
            "dropped": [], "clipped": 0, "error_bound": None, "epsilon": None,
        }  # fmt: skip


def _now(seconds: float = 0) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")
