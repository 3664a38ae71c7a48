"""How a member's numbers become integers modulo 2^32 that can be summed under masks, and how the sum is read.

A vector is ``[limbs of scalars …, values of the update …]``.

*Values* are fixed point. Of N members each uses b = 32 - ceil(log2 N) bits, so that the sum never wraps, or fewer
where updates are to be sent in fewer bytes (`RoundSettings.bits`); a
coordinate x in [-clip, clip] becomes (x + clip) / step, step = 2 clip / (2^b - 1), rounded up or down at
random so that its expectation is exact (stochastic rounding). A member with the share s, 0 to 1, sends s x, and
the aggregator divides the opened sum by the summed shares. With w of at most w_max examples, s = w / w_max gives
the mean Σ w x / Σ w of federated averaging; votes give a mean weighted by votes (`Votes`), s = 1 the plain mean.

*Scalars* (number of examples, number of clipped coordinates, each metric times the examples) are exact: a
two's complement number of 96 bits, 32 of them after the point, cut in six limbs of 16 bits (see `limbs`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .limbs import FRACTION_BITS, LIMB_BITS, LIMBS, integer_limit
from .settings import RoundSettings

_OWN_SCALARS = 2  # examples and clipped come before the metrics
_MODULUS = 1 << (LIMBS * LIMB_BITS)
_LIMB_MASK = (1 << LIMB_BITS) - 1
_BLOCK = 1 << 15  # float64 values that stay in the second-level cache
_ARITHMETIC = 2.0**-20  # what float64 may add to the rounding, in steps, generously

Vector = NDArray[np.uint32]


@dataclass(frozen=True)
class OpenedSum:
    """What the opened sum says.

    Attributes
    ----------
    mean : ndarray of float64, shape (p,)
        Σ s_i x_i / Σ s_i of the clipped updates x_i, off by less than `error_bound` in each coordinate.
    examples : int
        Σ w_i.
    metrics : dict of str to float
        Each Σ w_i m_i / Σ w_i.
    clipped : int
        Number of coordinates that were clipped, summed over the members.
    error_bound : float
        See `mean_error_bound`.
    """

    mean: NDArray[np.float64]
    examples: int
    metrics: dict[str, float]
    clipped: int
    error_bound: float

    def at(self, places: NDArray[np.intp] | None, parameters: int) -> OpenedSum:
        """Return it with its values at the coordinates that they are of, 0 elsewhere; None stands for all."""
        if places is None:
            return self
        mean = np.zeros(parameters)
        mean[places] = self.mean
        return replace(self, mean=mean)

    @property
    def peak(self) -> float:
        """Largest magnitude of a coordinate of `mean`."""
        return float(np.abs(self.mean).max(initial=0.0))


def scalar_limit(members: int) -> int:
    """Return what each scalar's magnitude is below when N are summed: 2^(63 - ceil(log2 N)), 2^57 for 64."""
    return integer_limit(members) >> FRACTION_BITS


def value_bits(members: int, bits: int | None = None) -> int:
    """Return b: `bits` if given, else 32 - ceil(log2 N), as many as leave room for the sum of N members' values."""
    return 32 - (members - 1).bit_length() if bits is None else bits


def sum_bits(settings: RoundSettings) -> int:
    """Return b + ceil(log2 N), the bits within which the sum of all members' values stays."""
    members = len(settings.members)
    return value_bits(members, settings.bits) + (members - 1).bit_length()


def step(clip: float, members: int, bits: int | None = None) -> float:
    """Return the distance of two neighbouring values, 2 clip / (2^b - 1)."""
    return 2.0 * clip / ((1 << value_bits(members, bits)) - 1)


def error_bound(clip: float, members: int, summed: int | None = None, bits: int | None = None) -> float:
    """Return what no coordinate of the sum of encoded values is off by.

    Stochastic rounding moves one value by less than a step, so the bound is ``summed * step(clip, members)``,
    and a millionth of it for float64 arithmetic.

    Parameters
    ----------
    clip : float
        Values lie in [-clip, clip].
    members : int
        N, of which the step depends.
    summed : int, optional
        How many of them are in the sum; all by default.
    bits : int, optional
        b, where it is not as large as the sum allows.
    """
    return (members if summed is None else summed) * step(clip, members, bits) * (1.0 + _ARITHMETIC)


def mean_error_bound(settings: RoundSettings, summed: int, shares: float) -> float:
    """Return what no coordinate of the opened mean is off by: `error_bound` / Σ s_i.

    Parameters
    ----------
    settings : RoundSettings
        Of the round.
    summed : int
        Number of survivors.
    shares : float
        Σ s_i of the survivors; above 0.
    """
    return error_bound(settings.clip, len(settings.members), summed, settings.bits) / shares


def rounding_norm(parameters: int, settings: RoundSettings) -> float:
    """Return what rounding adds at most to the Euclidean norm of one member's update: sqrt(p) steps."""
    return math.sqrt(parameters) * step(settings.clip, len(settings.members), settings.bits)


def encoded_length(parameters: int, metrics: int) -> int:
    """Return the number of uint32 that carry `parameters` values and `metrics` metrics."""
    return LIMBS * (_OWN_SCALARS + metrics) + parameters


def encode_update(
    delta: NDArray[np.floating],
    examples: int,
    maximum_examples: int,
    metrics: Mapping[str, float],
    settings: RoundSettings,
    rng: np.random.Generator,
    *,
    share: float | None = None,
) -> Vector:
    """Encode what one member contributes.

    Parameters
    ----------
    delta : ndarray of float, shape (p,)
        The update: trained weights minus the weights started from.
    examples : int
        w, 1 to `maximum_examples`.
    maximum_examples : int
        w_max, the same for all members; put it into `RoundSettings.terms`, for a member that is told a larger
        one than the others counts for less.
    metrics : mapping of str to float
        In the order that all members agreed on.
    settings : RoundSettings
        Of the round.
    rng : numpy.random.Generator
        For the rounding; not for secrecy.
    share : float, optional
        s, 0 to 1: what the update counts for; `examples` / `maximum_examples` by default. A share of 0 makes a
        vector of as good as nothing that looks, under its masks, like any other. Metrics are weighted by examples
        whatever the share.

    Returns
    -------
    ndarray of uint32, shape (encoded_length(p, len(metrics)),)

    Raises
    ------
    InvalidInput
        ``wrong-shape``; ``non-finite-update``; ``bad-example-counts``; ``bad-share``; ``metric-out-of-range``.
    """
    blocks = encode_update_blocks(delta, examples, maximum_examples, metrics, settings, rng, share=share)
    vector = np.empty(encoded_length(delta.size, len(metrics)), dtype=np.uint32)
    start = 0
    for block in blocks:
        vector[start : start + block.size] = block
        start += block.size
    return vector


def encode_update_blocks(
    delta: NDArray[np.floating],
    examples: int,
    maximum_examples: int,
    metrics: Mapping[str, float],
    settings: RoundSettings,
    rng: np.random.Generator,
    *,
    share: float | None = None,
) -> Iterator[Vector]:
    """Encode what one member contributes, block by block: what `encode_update` gives, in the memory of a block.

    For `Member.mask_blocks`. The blocks are valid until the next one is asked for.

    Parameters
    ----------
    delta, examples, maximum_examples, metrics, settings, rng, share
        As for `encode_update`.

    Returns
    -------
    iterator of ndarray of uint32
        Together of shape (encoded_length(p, len(metrics)),).

    Raises
    ------
    InvalidInput
        As `encode_update`, before the first block.
    """
    if not isinstance(delta, np.ndarray) or delta.ndim != 1 or delta.dtype.kind != "f":
        raise InvalidInput("An update must be a one-dimensional array of floats.", code="wrong-shape")
    limit = scalar_limit(len(settings.members))
    if not (isinstance(examples, int | np.integer) and 1 <= examples <= maximum_examples < limit):
        raise InvalidInput(
            f"A member trained on {examples!r} examples; allowed are 1 to {maximum_examples!r}.",
            code="bad-example-counts",
            hint="If the data set has grown, restart the node so that it is described again.",
        )
    if share is None:
        share = int(examples) / int(maximum_examples)
    if not 0.0 <= share <= 1.0:
        raise InvalidInput(f"A member's share must be a number from 0 to 1, not {share!r}.", code="bad-share")
    weighted = [_weighted_metric(name, value, int(examples), limit) for name, value in metrics.items()]
    clipped = _count_clipped(delta, float(settings.clip))
    scalars = [Fraction(int(examples)), Fraction(clipped), *weighted]
    head = np.array([limb for scalar in scalars for limb in _limbs(scalar)], dtype=np.uint32)
    return itertools.chain([head], _value_blocks(delta, share, settings, rng))


def decode_sum(
    total: Vector,
    members_n: int,
    metric_names: Sequence[str],
    settings: RoundSettings,
    parameters: int,
    maximum_examples: int,
    *,
    shares: float | None = None,
) -> OpenedSum:
    """Read the opened sum of `members_n` members' encoded vectors.

    Parameters
    ----------
    total : ndarray of uint32, shape (encoded_length(parameters, len(metric_names)),)
        What `SecureSum.open` returned.
    members_n : int
        Number of survivors.
    metric_names : sequence of str
        As the members encoded them.
    settings : RoundSettings
        Of the round.
    parameters : int
        p.
    maximum_examples : int
        w_max.
    shares : float, optional
        Σ s_i of the survivors, above 0, where they were told other shares than w / w_max.

    Raises
    ------
    InvalidInput
        ``wrong-shape``; ``secagg-implausible-sum`` when no `members_n` honest vectors can add up to this.
    """
    length = encoded_length(parameters, len(metric_names))
    if total.dtype != np.uint32 or total.shape != (length,):
        raise InvalidInput(
            f"The opened sum is {total.dtype} of shape {total.shape}; "
            f"{parameters} parameters and {len(metric_names)} metrics make uint32 of shape ({length},).",
            code="wrong-shape",
        )
    head = LIMBS * (_OWN_SCALARS + len(metric_names))
    limbs, values = total[:head], total[head:] & np.uint32((1 << sum_bits(settings)) - 1)
    levels = (1 << value_bits(len(settings.members), settings.bits)) - 1
    examples, clipped, *weighted = (_scalar(limbs[i : i + LIMBS]) for i in range(0, head, LIMBS))
    if (
        not 1 <= members_n <= len(settings.members)
        or limbs.max() > members_n * _LIMB_MASK
        or (values.size and int(values.max()) > members_n * levels)
        or not members_n <= examples <= members_n * maximum_examples
        or not 0 <= clipped <= members_n * parameters
    ):
        raise InvalidInput(
            f"No {members_n} updates add up to the sum that was opened.",
            code="secagg-implausible-sum",
            hint="A member encoded with other settings than the rest; the round's result is discarded.",
        )
    count = int(examples)
    mean = values.astype(np.float64)
    mean -= members_n * levels / 2
    shares = count / maximum_examples if shares is None else shares
    mean *= step(settings.clip, len(settings.members), settings.bits) / shares
    metrics = {name: float(value / count) for name, value in zip(metric_names, weighted, strict=True)}
    bound = mean_error_bound(settings, members_n, shares)
    return OpenedSum(mean, count, metrics, int(clipped), bound)


def _count_clipped(delta: NDArray[np.floating], clip: float) -> int:
    """Return how many values are beyond the clip; refuse what is not finite."""
    clipped = 0
    for start in range(0, delta.size, _BLOCK):
        block = delta[start : start + _BLOCK]
        peak = max(float(block.max()), -float(block.min()))
        if not math.isfinite(peak):
            raise InvalidInput(
                "The update holds NaN or infinite values.",
                code="non-finite-update",
                hint="Lower the learning rate or clip gradients (optimizer clipnorm=...); check the data.",
            )
        if peak > clip:
            clipped += int(np.count_nonzero(np.abs(block.astype(np.float64)) > clip))
    return clipped


def _value_blocks(
    delta: NDArray[np.floating], share: float, settings: RoundSettings, rng: np.random.Generator
) -> Iterator[Vector]:
    clip = float(settings.clip)
    levels = (1 << value_bits(len(settings.members), settings.bits)) - 1
    scale = share / step(clip, len(settings.members), settings.bits)
    numbers, noise, encoded = np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK, dtype=np.uint32)
    for start in range(0, delta.size, _BLOCK):
        block = delta[start : start + _BLOCK]
        x, u, out = numbers[: block.size], noise[: block.size], encoded[: block.size]
        np.copyto(x, block)
        np.clip(x, -clip, clip, out=x)
        x *= scale
        x += levels / 2
        x += rng.random(out=u)
        np.clip(x, 0, levels, out=x)  # float64 may step over either end by a hair
        out[:] = x  # truncation is the floor here
        yield out


def _weighted_metric(name: str, value: float, examples: int, limit: int) -> Fraction:
    number = float(value)
    if not math.isfinite(number) or abs(number) * examples >= limit:
        raise InvalidInput(
            f"The metric {name!r} is {number} over {examples} examples; their product must stay below "
            f"2^{limit.bit_length() - 1}.",
            code="metric-out-of-range",
            hint="The training has diverged: lower the learning rate.",
        )
    return Fraction(number) * examples


def _limbs(scalar: Fraction) -> list[int]:
    fixed = round(scalar * (1 << FRACTION_BITS)) % _MODULUS
    return [fixed >> (LIMB_BITS * i) & _LIMB_MASK for i in range(LIMBS)]


def _scalar(limbs: Vector) -> Fraction:
    fixed = sum(int(limb) << (LIMB_BITS * i) for i, limb in enumerate(limbs)) % _MODULUS
    return Fraction(fixed - _MODULUS if fixed >> (LIMBS * LIMB_BITS - 1) else fixed, 1 << FRACTION_BITS)
