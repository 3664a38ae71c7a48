"""Who shares secrets and masks with whom: everybody with everybody, or each with k neighbours on a ring (SecAgg+).

Bell, Bonawitz, Gascón, Lepoint and Raykova, "Secure Single-Server Aggregation with (Poly)Logarithmic Overhead", CCS
2020 (ePrint 2020/704), put a k-regular graph in the place of the complete one: a Harary graph, members on a ring, each
joined to the k/2 before and the k/2 after it, in a random order. Here the order is that of SHA-256 over the session,
which holds everybody's advertised keys, and the member: nobody chooses it. Who speaks last could try keys until it
likes the order; `GRINDING` bits of security are added against that.

What the graph must guarantee, for γN colluding members, an aggregator that lies and δN members that drop out:

* *Secrecy of a member's two secrets.* Fewer than t of its neighbours collude, so that only what honest members reveal
  opens a secret; and all honest members act on one list of survivors, since T > 2N/3 of all members sign it (the paper
  has neighbours vouch for each other instead, and gives up that the list is one).
* *One sum.* Each survivor has an honest survivor, with whom it really masked, among the k/2 members after it. Hop from
  one to the next around the ring, and every honest survivor is joined to every other by masks that nobody else knows:
  no part of the sum opens by itself. To that end every survivor must see m of the k/2 after it share their secrets with
  it, and m of them among the survivors: the two sets have 2m - k/2 members in common, more than collude. The list of
  survivors is known to all, so everybody checks this for everybody, and signs no list that cuts the ring. (This holds
  for drop-outs that the aggregator chooses, where the paper's bound on connectivity is for drop-outs that it does not.)
* *Correctness.* With probability 1 - 2^-η, δN drop-outs leave t holders of each secret and m survivors after each.

The numbers of colluding and of surviving neighbours are hypergeometric, as in the paper, section 3.3 and theorem 3.10;
`published_parameters` follows its conditions to the letter, `choose` the ones above. Each bound is a union bound over
the members, and σ is split over two events.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import Aborted

SECURITY = 40
"""σ: what colluding members and the aggregator attain has a probability below 2^-σ."""

GRINDING = 32
"""Whoever tries 2^32 orders, with a hash for every member each, has no better chances than 2^-σ."""

CORRECTNESS = 30
"""η: a round in which no more than δN drop out fails with a probability below 2^-η."""

CORRUPT = 0.1
"""γ: which share of the members may collude with a lying aggregator."""

DROPOUT = 0.1
"""δ: which share of the members may drop out."""

FULL_UP_TO = 64
"""Up to so many members every pair shares masks, unless a degree is asked for."""

MINIMUM_DEGREE = 4


@dataclass(frozen=True)
class Parameters:
    """Of a ring of neighbours.

    Attributes
    ----------
    degree : int
        k, even: k/2 neighbours on either side.
    threshold : int
        t: how many of the k + 1 holders (the neighbours and the member itself) open one of a member's secrets.
    following : int
        m: how many of the k/2 members after each one must be there.
    """

    degree: int
    threshold: int
    following: int


@lru_cache(maxsize=256)
def choose(
    members: int,
    corrupt: int,
    dropouts: int,
    *,
    security: float = SECURITY + GRINDING,
    correctness: float = CORRECTNESS,
) -> Parameters | None:
    """Return the parameters of the smallest degree that is safe and correct; None if only the full graph is.

    Parameters
    ----------
    members : int
        Of the ring.
    corrupt, dropouts : int
        How many of them collude, and how many more drop out, at most.
    security, correctness : float
        Bits.
    """
    unsafe, failing = _per_member(security + 1, members), _per_member(correctness + 1, members)
    others, staying = members - 1, members - 1 - dropouts
    for degree in range(MINIMUM_DEGREE, others, 2):
        side = degree // 2
        following = (side + _most(others, corrupt, side, unsafe)) // 2 + 1  # 2 m - side > the most that collude
        threshold = min(_two_thirds(degree + 1), _least(others, staying, degree, failing))
        if following <= _least(others, staying, side, failing) and threshold > _most(others, corrupt, degree, unsafe):
            return Parameters(degree, threshold, following)
    return None


def of_degree(degree: int) -> Parameters:
    """Return the parameters of a degree that was asked for: two thirds of the holders, two thirds of each side.

    Any m' = 2 `following` - k/2 - 1 colluding members, wherever they stand, learn nothing, as `tolerated` says.
    """
    return Parameters(degree, _two_thirds(degree + 1), _two_thirds(degree // 2))


def tolerated(members: int, parameters: Parameters, *, security: float = SECURITY + GRINDING) -> int:
    """Return how many members may collude with a lying aggregator, up to a probability of 2^-security.

    The quorum of signatures bounds it by N/3, too.
    """
    side, unsafe = parameters.degree // 2, _per_member(security + 1, members)
    bound = (members - 1) // 3
    for corrupt in range(bound + 1):
        on_side, around = (_most(members - 1, corrupt, n, unsafe) for n in (side, parameters.degree))
        if 2 * parameters.following - side <= on_side or parameters.threshold <= around:
            return corrupt - 1
    return bound


def published_parameters(
    members: int,
    corrupt: float,
    dropout: float,
    *,
    security: float = SECURITY,
    correctness: float = CORRECTNESS,
    server: Literal["curious", "semi-malicious"] = "curious",
) -> tuple[int, int] | None:
    """Return (k, t) by the paper's conditions for a good graph, in the form its authors compute them.

    Fewer than t of a member's neighbours collude, and at least t survive; the ring of honest survivors is connected for
    drop-outs that do not depend on the order, by a union bound over pairs of gaps of k/2; against a semi-malicious
    server 2t > k + the most that collude. For comparison with published values; the protocol uses `choose`.

    Parameters
    ----------
    members : int
    corrupt, dropout : float
        γ and δ, as shares of the members.
    security, correctness : float
        σ and η, bits.
    server : "curious" or "semi-malicious"
    """
    bad, lost = math.floor((corrupt + 1e-14) * members), math.floor((dropout + 1e-14) * members)
    unsafe, failing = _per_member(security + 1, members), _per_member(correctness, members)
    for degree in range(2, members - 1, 2):
        if _log_probability_of_gaps(members, bad + lost, degree) >= -(security + 1) * math.log(2):
            continue
        most = _most(members, bad, degree, unsafe)
        if server == "semi-malicious":
            most = math.ceil((most + degree - 1.25) / 2)
        if most < _least(members, members - lost, degree, failing):
            return degree, max(most + 1, 2)
    return None


class Graph:
    """The members of one session in the ring's order; complete if there are no parameters.

    Parameters
    ----------
    session : bytes
        From which the order follows.
    members : collection of str
        Who advertised keys.
    parameters : Parameters or None
        None for the complete graph.
    threshold : int
        T of the settings, which opens secrets in the complete graph.
    """

    def __init__(self, session: bytes, members: Collection[str], parameters: Parameters | None, threshold: int) -> None:
        self._ring: tuple[str, ...] = tuple(sorted(members))
        if parameters is not None and parameters.degree >= len(self._ring) - 1:
            parameters = None
        if parameters is not None:
            self._ring = tuple(sorted(members, key=lambda member: _rank(session, member)))
        self.parameters = parameters
        self.threshold = threshold if parameters is None else parameters.threshold

    @property
    def ring(self) -> tuple[str, ...]:
        """Members in the ring's order."""
        return self._ring

    @cached_property
    def _places(self) -> dict[str, int]:
        return {member: place for place, member in enumerate(self._ring)}

    @property
    def is_complete(self) -> bool:
        """Whether everybody is everybody's neighbour."""
        return self.parameters is None

    def neighbours(self, member: str) -> tuple[str, ...]:
        """Return those with whom `member` shares secrets and masks."""
        if self.parameters is None:
            return tuple(other for other in self._ring if other != member)
        place, side, n = self._places[member], self.parameters.degree // 2, len(self._ring)
        return tuple(self._ring[(place + step) % n] for step in range(-side, side + 1) if step)

    def holders(self, member: str) -> tuple[str, ...]:
        """Return who holds shares of the secrets of `member`: its neighbours and itself, sorted."""
        return tuple(sorted((member, *self.neighbours(member))))

    def following(self, member: str) -> tuple[str, ...]:
        """Return the k/2 members after `member`; nobody in a complete graph."""
        if self.parameters is None:
            return ()
        place, n = self._places[member], len(self._ring)
        return tuple(self._ring[(place + step) % n] for step in range(1, self.parameters.degree // 2 + 1))

    def require_hidden(self, member: str, there: Collection[str]) -> None:
        """Abort unless enough of those after `member` are `there` for it to send its vector.

        Raises
        ------
        Aborted
            Code ``secagg-neighbours-lost``.
        """
        if self.parameters is not None:
            self._require(sum(other in there for other in self.following(member)), member)

    def require_connected(self, survivors: Collection[str]) -> None:
        """Abort unless enough of those after each survivor survive, so that no part of the sum can stand alone.

        Raises
        ------
        Aborted
            Code ``secagg-neighbours-lost``.
        """
        if self.parameters is None:
            return
        listed = frozenset(survivors)
        alive = np.array([member in listed for member in self._ring], dtype=np.int64)
        side, n = self.parameters.degree // 2, len(self._ring)
        until = np.concatenate(([0], np.cumsum(np.concatenate((alive, alive[:side])))))
        after = until[1 + side : 1 + side + n] - until[1 : 1 + n]
        after[alive == 0] = side
        weakest = int(after.argmin())
        self._require(int(after[weakest]), self._ring[weakest])

    def _require(self, there: int, member: str) -> None:
        assert self.parameters is not None
        if there < self.parameters.following:
            raise Aborted(
                f"Of the {self.parameters.degree // 2} members after node {member[:12]} only {there} are left; "
                f"{self.parameters.following} are needed, so that the sum hides each of them. No update is revealed.",
                code="secagg-neighbours-lost",
                hint="Try the round again when more nodes are there, or with a higher degree.",
                member=member,
                needed=self.parameters.following,
                there=there,
            )


def _rank(session: bytes, member: str) -> bytes:
    return hashlib.sha256(b"ring|" + session + bytes.fromhex(member)).digest()


def _two_thirds(number: int) -> int:
    return 2 * number // 3 + 1


def _per_member(bits: float, members: int) -> float:
    return math.pow(2.0, -bits) / members


def _most(population: int, marked: int, draws: int, probability: float) -> int:
    """Return the smallest c with Pr[more than c of the `draws` are marked] <= probability."""
    weights = _hypergeometric(population, marked, draws)
    above = np.concatenate((np.cumsum(weights[::-1])[::-1][1:], [0.0]))
    return int(np.argmax(above <= probability))


def _least(population: int, marked: int, draws: int, probability: float) -> int:
    """Return the largest t with Pr[fewer than t of the `draws` are marked] < probability."""
    below = np.concatenate(([0.0], np.cumsum(_hypergeometric(population, marked, draws))[:-1]))
    return int(np.flatnonzero(below < probability)[-1])


def _hypergeometric(population: int, marked: int, draws: int) -> NDArray[np.float64]:
    """Return the probabilities of 0 … `draws` marked among `draws` of `population` without replacement."""
    logs = _log_factorials(population)
    x = np.arange(draws + 1)
    possible = (x <= marked) & (draws - x <= population - marked)
    x = x[possible]
    weights = np.zeros(draws + 1)
    weights[possible] = np.exp(
        (logs[marked] - logs[x] - logs[marked - x])
        + (logs[population - marked] - logs[draws - x] - logs[population - marked - draws + x])
        - (logs[population] - logs[draws] - logs[population - draws])
    )
    return weights


@lru_cache(maxsize=8)
def _log_factorials(most: int) -> NDArray[np.float64]:
    return np.array([math.lgamma(number + 1) for number in range(most + 1)])


def _log_probability_of_gaps(members: int, bad: int, degree: int) -> float:
    """Return ln of a bound on the probability that bad members make two gaps of degree / 2 in the ring."""
    if degree > bad:
        return -math.inf
    pairs = math.log(members) + math.log(members - degree - 1) - math.log(2)
    all_bad: float = math.lgamma(bad + 1) - math.lgamma(bad - degree + 1)
    any_chosen: float = math.lgamma(members + 1) - math.lgamma(members - degree + 1)
    return float(pairs + all_bad - any_chosen)
