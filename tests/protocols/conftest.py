"""Whole secure sums in one process: real node identities, every message passed on by hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import pytest

from flaas_jupyter.communications.identity import Identity, verify
from flaas_jupyter.protocols.secure_aggregation import Advertisement, Member, Reveal, RoundSettings, SecureSum, Votes

# Fixed seeds keep the members' order, and with it each test, the same.
IDENTITIES = sorted((Identity(bytes([i]) * 32) for i in range(1, 66)), key=lambda one: one.node_id)


@lru_cache(maxsize=4)
def _identities(number: int) -> list[Identity]:
    if number <= len(IDENTITIES):
        return IDENTITIES[:number]
    return sorted((Identity(i.to_bytes(2, "big") * 16) for i in range(number)), key=lambda one: one.node_id)


@lru_cache(maxsize=1 << 16)
def _verify_once(node_id: str, context: str, payload: bytes, signature: bytes) -> None:
    """As `verify`; whatever hundreds of members check of each other is checked once."""
    verify(node_id, context, payload, signature)


def _settings(number: int, /, **changes: object) -> RoundSettings:
    fields = {
        "domain": "credit",
        "run": "run-1",
        "round": 7,
        "attempt": 1,
        "members": tuple(one.node_id for one in _identities(number)),
        "model_digest": "ab" * 32,
        "clip": 8.0,
    }
    return RoundSettings(**(fields | changes))  # type: ignore[arg-type]


@dataclass
class Round:
    """One secure sum, step by step; members are named by their place, from 0."""

    settings: RoundSettings
    members: dict[str, Member] = field(default_factory=dict)
    sum: SecureSum = field(init=False)
    advertisements: dict[str, Advertisement] = field(default_factory=dict)
    sealed: dict[str, dict[str, bytes]] = field(default_factory=dict)
    inboxes: dict[str, dict[str, bytes]] = field(default_factory=dict)
    masked: dict[str, np.ndarray] = field(default_factory=dict)
    signatures: dict[str, bytes] = field(default_factory=dict)
    reveals: dict[str, dict[str, Reveal]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check = verify if len(self.settings.members) <= len(IDENTITIES) else _verify_once
        self.sum = SecureSum(self.settings, verify=check)
        for identity in _identities(len(self.settings.members)):
            self.members[identity.node_id] = Member(self.settings, identity.node_id, identity.sign, check)

    def ids(self, places: Collection[int]) -> set[str]:
        return {self.settings.members[place] for place in places}

    def advertise(self, lost: Collection[int] = ()) -> Round:
        for name in self._without(self.members, lost):
            # Over the wire and back, as the mesh carries it.
            self.advertisements[name] = Advertisement.from_dict(self.members[name].advertise().to_dict())
        self.sum.advertised(self.advertisements)
        return self

    def share(self, lost: Collection[int] = ()) -> Round:
        for name in self._without(self.advertisements, lost):
            self.sealed[name] = self.members[name].share(self.advertisements)
        self.inboxes = self.sum.shared(self.sealed)
        return self

    def mask(self, vectors: Sequence[np.ndarray], lost: Collection[int] = (), *, votes: Votes | None = None) -> Round:
        if votes is not None:
            self.sum.announce(votes)
        for name in self._without(self.inboxes if votes is None else votes.shares, lost):
            vector = vectors[self.settings.members.index(name)]
            self.masked[name] = self.members[name].mask(vector, self.inboxes[name], votes=votes)
            self.sum.add(name, self.masked[name])
        return self

    def confirm(self, lost: Collection[int] = ()) -> Round:
        survivors = list(self.sum.survivors)
        for name in self._without(survivors, lost):
            self.signatures[name] = self.members[name].confirm(survivors)
        self.sum.confirmed(self.signatures)
        return self

    def unmask(self, lost: Collection[int] = ()) -> Round:
        for name in self._without(self.signatures, lost):
            revealed = self.members[name].unmask(self.signatures)
            self.reveals[name] = {m: Reveal.from_dict(r.to_dict()) for m, r in revealed.items()}
        return self

    def open(self) -> np.ndarray:
        return self.sum.open(self.reveals)

    def _without(self, there: Collection[str], lost: Collection[int]) -> list[str]:
        return [name for name in there if name not in self.ids(lost)]


def _vectors(members: int, size: int, seed: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 1 << 32, size, dtype=np.uint32) for _ in range(members)]


@pytest.fixture(scope="session")
def identities():
    """Fixed node identities, sorted by node id."""
    return IDENTITIES


@pytest.fixture(scope="session")
def settings_for():
    """``settings_for(members, **changes) -> RoundSettings``."""
    return _settings


@pytest.fixture(scope="session")
def begin():
    """``begin(members, **changes) -> Round``, before its first step."""
    return lambda number, /, **changes: Round(_settings(number, **changes))


@pytest.fixture(scope="session")
def vectors_for():
    """``vectors_for(members, size, seed=1)``: one vector of uint32 for each member."""
    return _vectors
