"""Clipping, noise and the drawing of cohorts: what makes the accounting true.

Noise is drawn from a generator that is given (simulations: reproducible) or, without one, from AES-256-CTR under a key
of the operating system's randomness (real nodes: who sees some of the noise, or knows a run's seed, learns nothing
about the rest).
"""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from ...errors import InvalidInput

BLOCK = 1 << 16


def clip_update(update: NDArray[Any], clip: float) -> tuple[NDArray[np.float64], float]:
    """Shorten one client's update to L2 norm `clip` at most.

    Parameters
    ----------
    update : ndarray, shape (p,)
        The client's weights minus the global ones; finite.
    clip : float
        Above 0.

    Returns
    -------
    clipped : ndarray of float64, shape (p,)
    norm : float
        The norm before clipping.

    Raises
    ------
    InvalidInput
        Code ``non-finite-update``: NaN or infinite values have no norm to clip.
    """
    clipped, norms = clip_updates(np.asarray(update)[None], clip)
    return clipped[0], float(norms[0])


def clip_updates(updates: NDArray[Any], clip: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shorten each row to L2 norm `clip` at most; see `clip_update`.

    Parameters
    ----------
    updates : ndarray, shape (n, p)
        One client a row.
    clip : float
        Above 0.

    Returns
    -------
    clipped : ndarray of float64, shape (n, p)
    norms : ndarray of float64, shape (n,)
        The norms before clipping.
    """
    rows = np.asarray(updates, dtype=np.float64)
    largest = np.abs(rows).max(axis=1, initial=0.0)
    if not np.isfinite(largest).all():
        raise InvalidInput(
            "An update holds NaN or infinite values, which clipping cannot bound.",
            code="non-finite-update",
            hint="Lower the learning rate or clip gradients (optimizer clipnorm=...), and check the data.",
        )
    scale = np.where(largest > 0, largest, 1.0)  # so that squares of huge values do not overflow
    norms = scale * np.linalg.norm(rows / scale[:, None], axis=1)
    return rows * np.minimum(1.0, clip / np.maximum(norms, clip))[:, None], norms


def add_noise(values: NDArray[Any], sigma: float, rng: np.random.Generator | None = None) -> NDArray[np.float64]:
    """Return `values` + N(0, σ²), independent in every coordinate.

    Parameters
    ----------
    values : ndarray, shape (p,)
    sigma : float
        Standard deviation, `PrivacyPlan.sigma`.
    rng : numpy Generator, optional
        For simulations. By default the noise comes from a cryptographic generator with a fresh key.
    """
    noise = secure_normal(values.size) if rng is None else rng.standard_normal(values.size)
    noise *= sigma
    noise += np.asarray(values).reshape(-1)
    return noise.reshape(values.shape)


def secure_normal(count: int, key: bytes | None = None) -> NDArray[np.float64]:
    """Return standard normal numbers made of an AES-256-CTR keystream by the Box-Muller transform.

    Parameters
    ----------
    count : int
        How many.
    key : bytes, optional
        32 bytes, for tests; fresh from the operating system by default.
    """
    encryptor = Cipher(algorithms.AES256(key or secrets.token_bytes(32)), modes.CTR(bytes(16))).encryptor()
    normal = np.empty(count + count % 2)
    for start in range(0, len(normal), BLOCK):
        piece = normal[start : start + BLOCK]
        words = np.frombuffer(encryptor.update(bytes(8 * len(piece))), dtype="<u8")
        uniform = ((words >> np.uint64(11)) + np.uint64(1)) * 2.0**-53  # 53 bits, in (0, 1]: the logarithm is finite
        radius, angle = np.sqrt(-2 * np.log(uniform[::2])), 2 * np.pi * uniform[1::2]
        piece[::2], piece[1::2] = radius * np.cos(angle), radius * np.sin(angle)
    return normal[:count]


def sample_poisson(clients: int, rate: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw a cohort: every client with probability `rate`, independently; ascending, perhaps empty.

    Raises
    ------
    InvalidInput
        Code ``bad-privacy``: `rate` is no probability.
    """
    if not 0 <= rate <= 1:
        raise InvalidInput(f"The sampling rate is {rate!r}; it must be from 0 to 1.", code="bad-privacy")
    return np.flatnonzero(rng.random(clients) < rate).astype(np.int64)
