"""The plan of a vertical run: who brings which columns, which models, and how they are trained, as data that travels.

A plan names all parties, the label holder first, and has one `TrainingPlan` for each party's part of the model: a
feature party's is its bottom, the label holder's is its own bottom (if it has columns of its own) with the top on all
outputs side by side. The digest names the plan: nodes are asked to consent to one plan and take no other.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ... import model_safety
from ...errors import InvalidInput
from ...plan import TrainingPlan
from ...protocols.vertical.protection import Protection

VERSION = 1
MINIMUM_INTERSECTION = 1000
"""Rows in common without which connected nodes go no further."""
MAXIMUM_IDS = 5_000_000
"""Of one party."""

Mode = Literal["oneway", "split", "linear_he"]
MODES: tuple[Mode, ...] = get_args(Mode)
EncoderKind = Literal["random", "autoencoder", "pca"]
ENCODERS: tuple[EncoderKind, ...] = get_args(EncoderKind)


@dataclass(frozen=True)
class VerticalPlan:
    """What is trained, by whom, on what.

    Parameters
    ----------
    mode : {"oneway", "split", "linear_he"}
    parties : tuple of str
        The label holder first, then the feature parties in the order in which the top takes their outputs.
    columns : dict of str to tuple of str
        Each party's columns, in the order in which its bottom takes them. The label holder's may be none.
    label : str
        Name of the label's column, at the label holder.
    models : dict of str to TrainingPlan
        Each party's part; a feature party with the encoder ``"pca"`` has none.
    widths : dict of str to int
        Numbers per row that each feature party sends.
    encoders : dict of str to {"random", "autoencoder", "pca"}
        How each feature party's encoder is fitted in mode ``oneway``; empty otherwise.
    seed : int
        Known to all parties: of the common order of rows, the batches and drop-out. What protects somebody (masks,
        noise, random projections, scalars) is drawn from other sources.
    epochs, batch_size : int
    validation_split : float
        Share of the common rows, the last ones in the common order, that are not trained on.
    shuffle : bool
        Whether rows are put in a new order before each epoch.
    standardize : bool
        Whether each party scales its columns by their mean and standard deviation over its own rows.
    minimum_intersection : int
        Fewer rows in common end the run before anything else is sent.
    maximum_ids : int
        A party with more ends the run.
    protection : Protection
        Clipping and noise.
    starts : dict of str to str
        SHA-256 of the weights that each party's part starts from, if they come with the plan.

    Raises
    ------
    InvalidInput
        Code ``bad-plan``: the message names the field, the value and what is allowed.
    """

    mode: Mode
    parties: tuple[str, ...]
    columns: dict[str, tuple[str, ...]]
    label: str
    models: dict[str, TrainingPlan] = field(repr=False)
    widths: dict[str, int]
    seed: int
    encoders: dict[str, EncoderKind] = field(default_factory=dict)
    epochs: int = 1
    batch_size: int = 256
    validation_split: float = 0.0
    shuffle: bool = True
    standardize: bool = True
    minimum_intersection: int = MINIMUM_INTERSECTION
    maximum_ids: int = MAXIMUM_IDS
    protection: Protection = field(default_factory=Protection)
    starts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise _bad(f"mode is {self.mode!r}; allowed are {', '.join(MODES)}")
        named = all(isinstance(party, str) and 0 < len(party) <= 200 for party in self.parties)
        if not named or len(set(self.parties)) != len(self.parties) or len(self.parties) < 2:
            raise _bad(f"parties are {list(self.parties)!r}; two different ones are needed at least")
        if set(self.columns) != set(self.parties):
            raise _bad(f"columns are given for {sorted(self.columns)}, the parties are {sorted(self.parties)}")
        for party in self.feature_parties:
            if not self.columns[party]:
                raise _bad(f"party {party!r} has no columns")
        wanted = {party for party in self.parties if self.encoders.get(party) != "pca"}
        if set(self.models) != wanted:
            raise _bad(f"models are given for {sorted(self.models)}, needed are those of {sorted(wanted)}")
        if set(self.widths) != set(self.feature_parties):
            raise _bad(f"widths are given for {sorted(self.widths)}, needed for {sorted(self.feature_parties)}")
        if set(self.encoders) != (set(self.feature_parties) if self.mode == "oneway" else set()):
            raise _bad(f"encoders are given for {sorted(self.encoders)} in mode {self.mode}")
        if any(kind not in ENCODERS for kind in self.encoders.values()):
            raise _bad(f"encoders are {self.encoders}; allowed are {', '.join(ENCODERS)}")
        if self.starts and set(self.starts) != set(self.models):
            raise _bad(f"starting weights are given for {sorted(self.starts)}, models for {sorted(self.models)}")
        for name in ("epochs", "batch_size", "minimum_intersection", "maximum_ids"):
            _require_count(name, getattr(self, name))
        for party, width in self.widths.items():
            _require_count(f"the width of {party!r}", width)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 1 << 63:
            raise _bad(f"seed is {self.seed!r}; an integer from 0 on is allowed")
        split = self.validation_split
        if isinstance(split, bool) or not isinstance(split, int | float) or not 0 <= split < 1:
            raise _bad(f"validation_split is {split!r}; allowed is 0 up to, but not including, 1")
        for name in ("shuffle", "standardize"):
            if not isinstance(getattr(self, name), bool):
                raise _bad(f"{name} is {getattr(self, name)!r}; allowed are true and false")

    # ---- what it says -----------------------------------------------------------------------------------------------

    @property
    def label_holder(self) -> str:
        """The party that holds the labels, and trains the top."""
        return self.parties[0]

    @property
    def feature_parties(self) -> tuple[str, ...]:
        """The other parties, in the order in which the top takes their outputs."""
        return self.parties[1:]

    def split_rows(self, rows: int) -> tuple[int, int]:
        """Return how many of so many common rows are trained on, and how many validate.

        Raises
        ------
        InvalidInput
            Code ``too-few-rows``: nothing would be left to train on.
        """
        validation = math.floor(rows * self.validation_split)
        if rows - validation < 1:
            raise InvalidInput(
                f"Of {rows} rows in common none would be left to train on (validation_split={self.validation_split}).",
                code="too-few-rows",
            )
        return rows - validation, validation

    def batches(self, epoch: int, rows: int) -> list[NDArray[np.int64]]:
        """Return the rows of each batch of an epoch (from 0): the same at every party."""
        order = np.arange(rows)
        if self.shuffle:
            order = np.random.default_rng(np.random.SeedSequence([self.seed, epoch])).permutation(rows)
        return [order[at : at + self.batch_size] for at in range(0, rows, self.batch_size)]

    # ---- travelling -------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        data = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {
            **data,
            "version": VERSION,
            "parties": list(self.parties),
            "columns": {party: list(names) for party, names in self.columns.items()},
            "models": {party: plan.to_dict() for party, plan in self.models.items()},
            "protection": asdict(self.protection),
        }

    @classmethod
    def from_dict(cls, data: Any) -> VerticalPlan:
        """Read a plan that came over the mesh or from disk; nothing of Keras is touched.

        Raises
        ------
        InvalidInput
            ``bad-plan``; ``plan-too-large``.
        """
        model_safety.check_size(data, "vertical plan")
        wanted = {entry.name for entry in fields(cls)} | {"version"}
        if not isinstance(data, dict) or set(data) != wanted:
            raise _bad(f"it must have exactly {', '.join(sorted(wanted))}")
        if data["version"] != VERSION:
            raise InvalidInput(
                f"The vertical plan is of version {data['version']!r}; this installation reads version {VERSION}.",
                code="bad-plan",
                hint="Use the same version of flaas_jupyter at all parties.",
            )
        texts = {"parties": list, "columns": dict, "models": dict, "widths": dict, "encoders": dict, "starts": dict}
        for name, kind in texts.items():
            if not isinstance(data[name], kind):
                raise _bad(f"{name} is of type {type(data[name]).__name__}")
        for party, names in data["columns"].items():
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise _bad(f"the columns of {party!r} are not a list of names")
        if not all(isinstance(digest, str) for digest in data["starts"].values()):
            raise _bad("digests of starting weights are text")
        if not isinstance(data["label"], str):
            raise _bad(f"label is {data['label']!r}; a column's name is needed")
        plan = cls(
            **{name: value for name, value in data.items() if name not in {"version", "protection", *texts}},
            parties=tuple(data["parties"]),
            columns={party: tuple(names) for party, names in data["columns"].items()},
            models={party: TrainingPlan.from_dict(model) for party, model in data["models"].items()},
            widths=dict(data["widths"]),
            encoders=dict(data["encoders"]),
            starts=dict(data["starts"]),
            protection=Protection.from_dict(data["protection"]),
        )
        plan._check_bytes()
        return plan

    @functools.cached_property
    def _canonical(self) -> bytes:
        return json.dumps(
            self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the plan as canonical JSON (sorted keys, no spaces, UTF-8), 64 hex digits."""
        return hashlib.sha256(self._canonical).hexdigest()

    def _check_bytes(self) -> None:
        if len(self._canonical) > model_safety.MAX_BYTES:
            raise InvalidInput(
                f"The vertical plan takes {len(self._canonical):,} bytes; allowed are {model_safety.MAX_BYTES:,}.",
                code="plan-too-large",
                hint="Large constants belong into weights, not into the configuration.",
            )


def weights_digest(weights: NDArray[Any]) -> str:
    """Return the SHA-256 of a weight vector: its dtype and its little-endian bytes."""
    values = np.ascontiguousarray(weights, weights.dtype.newbyteorder("<"))
    return hashlib.sha256(values.dtype.name.encode() + values.tobytes()).hexdigest()


def _require_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _bad(f"{name} is {value!r}; an integer from 1 on is allowed")


def _bad(what: str) -> InvalidInput:
    return InvalidInput(f"The vertical plan is not acceptable: {what}.", code="bad-plan")
