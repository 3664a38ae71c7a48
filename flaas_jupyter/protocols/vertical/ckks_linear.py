"""Gradients of a linear model under homomorphic encryption: nobody shows residuals, nobody shows columns.

One step on a batch of n rows. The label holder has the residuals d, the derivatives of each row's loss with respect to
its score. A feature party needs its own gradient Xᵀd / n, and must not see d::

    label holder     Residuals.encrypt(d)             CKKS ciphertext, under a key that only it has
    feature party    MaskedSums.products(d̂, X)        for each column the encrypted sum Σ x d / n, plus a random mask
    label holder     Residuals.open(ŝ)                decrypts what is masked; adds noise, rounds, returns
    feature party    MaskedSums.unmask(s)             subtracts its masks: the gradient

CKKS (Cheon, Kim, Kim, Song 2017) by TenSEAL: ring degree 8192, moduli of 60, 40 and 60 bits (160 in all, below the 218
that 128-bit security allows at this degree; Homomorphic Encryption Standard 2018), scale 2⁴⁰. Decryptions are
approximate, and given to whoever made a ciphertext their errors tell of the key (Li and Micciancio 2021): so Gaussian
noise a thousand times their size is added, and the sum is rounded, before it goes back. The mask is uniform in
±2¹⁷: of a gradient of size g the label holder learns what a statistical distance of g / 2¹⁸ lets it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from ..tenseal_library import tenseal

DEGREE = 8192
MODULI = (60, 40, 60)
SCALE_BITS = 40
MAXIMUM_ROWS = DEGREE // 2
"""Slots of one ciphertext: most rows of a batch."""
MASK = 2.0**17
NOISE = 2.0**-13
"""Standard deviation of what is added to a gradient before it goes back: 1.2e-4, where CKKS errs by about 1e-7."""
STEP = 2.0**-16
"""To whose multiples it is rounded."""
LARGEST = 64.0
"""Residuals and scaled columns are clipped to ±64, so that sums stay within what the moduli hold."""
CONTEXT_LIMIT = 64 << 20
"""Bytes of a public context (18.6 MB with its rotation keys)."""
CIPHERTEXT_LIMIT = 4 << 20


class Residuals:
    """The label holder's side, with a key of its own for one run.

    Parameters
    ----------
    rng : Generator
        Of the label holder alone: its noise.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        ts = tenseal()
        self._ts, self._rng = ts, rng
        self._context = ts.context(ts.SCHEME_TYPE.CKKS, DEGREE, coeff_mod_bit_sizes=list(MODULI))
        self._context.global_scale = 2**SCALE_BITS
        self._context.generate_galois_keys()

    def public_context(self) -> bytes:
        """Return parameters, public key and rotation keys, without the secret key."""
        public = self._context.copy()
        public.make_context_public()
        data: bytes = public.serialize()
        return data

    def encrypt(self, residuals: NDArray[Any]) -> bytes:
        """Encrypt the residuals of a batch, shape (n,), n up to `MAXIMUM_ROWS`.

        Raises
        ------
        InvalidInput
            Code ``batch-too-large``.
        """
        require_batch(len(residuals))
        clipped = np.clip(np.asarray(residuals, np.float64), -LARGEST, LARGEST)
        data: bytes = self._ts.ckks_vector(self._context, clipped.tolist()).serialize()
        return data

    def open(self, sums: Sequence[bytes]) -> NDArray[np.float64]:
        """Decrypt masked sums, one ciphertext each; return them noised and rounded, shape (len(sums),)."""
        masked = np.array([self._decrypt(each) for each in sums])
        noisy = masked + NOISE * self._rng.standard_normal(masked.shape)
        rounded: NDArray[np.float64] = np.round(noisy / STEP) * STEP
        return rounded

    def _decrypt(self, data: bytes) -> float:
        value = float(_read(lambda: self._ts.ckks_vector_from(self._context, data).decrypt()[0], data))
        if not np.isfinite(value) or abs(value) > 2 * MASK:
            raise InvalidInput(
                "A masked sum is out of range.", code="bad-ciphertext", hint="The party does not follow the protocol."
            )
        return value


class MaskedSums:
    """A feature party's side.

    Parameters
    ----------
    context : bytes
        What `Residuals.public_context` gave.

    Raises
    ------
    InvalidInput
        Code ``bad-ciphertext``: not a public CKKS context.
    """

    def __init__(self, context: bytes) -> None:
        ts = tenseal()
        self._ts = ts
        if len(context) > CONTEXT_LIMIT:
            raise InvalidInput(
                f"The public context takes {len(context):,} bytes; allowed are {CONTEXT_LIMIT:,}.",
                code="bad-ciphertext",
            )
        self._context = _read(lambda: ts.context_from(context), context)
        self._masks: NDArray[np.float64] | None = None

    def products(self, residuals: bytes, columns: NDArray[Any]) -> list[bytes]:
        """Return, for each column, its encrypted and masked product with the residuals over the number of rows.

        Parameters
        ----------
        residuals : bytes
            What `Residuals.encrypt` gave, of n rows.
        columns : ndarray of shape (n, f)
            Clipped to ±`LARGEST`.

        Raises
        ------
        InvalidInput
            ``bad-ciphertext``, ``batch-too-large``.
        """
        rows, count = columns.shape
        require_batch(rows)
        encrypted = _read(lambda: self._ts.ckks_vector_from(self._context, residuals), residuals)
        if encrypted.size() != rows:
            raise InvalidInput(
                f"The encrypted residuals are of {encrypted.size()} rows; the batch has {rows}.", code="bad-ciphertext"
            )
        scaled = np.clip(np.asarray(columns, np.float64), -LARGEST, LARGEST) / rows
        # 53 random bits each, from the operating system.
        words = np.frombuffer(secrets.token_bytes(8 * count), np.uint64) >> np.uint64(11)
        self._masks = (words / 2.0**53 * 2 - 1) * MASK
        found = []
        for column, mask in zip(scaled.T.tolist(), self._masks.tolist(), strict=True):
            product = encrypted.dot(column)
            product += [mask]
            found.append(product.serialize())
        return found

    def unmask(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the gradient, shape (f,), of the sums that the label holder opened; once for each `products`.

        Raises
        ------
        InvalidInput
            Code ``bad-message``: not as many sums as were sent.
        """
        if self._masks is None or sums.shape != self._masks.shape:
            raise InvalidInput(
                f"{sums.shape} opened sums came; "
                f"{'none were' if self._masks is None else f'{self._masks.shape} were'} sent.",
                code="bad-message",
            )
        masks, self._masks = self._masks, None
        gradient: NDArray[np.float64] = sums - masks
        return gradient


def require_batch(rows: int) -> None:
    """Raise unless a batch fits into one ciphertext.

    Raises
    ------
    InvalidInput
        Code ``batch-too-large``.
    """
    if rows > MAXIMUM_ROWS:
        raise InvalidInput(
            f"A batch of {rows} rows does not fit into one ciphertext, which has {MAXIMUM_ROWS} slots.",
            code="batch-too-large",
            hint=f"batch_size={MAXIMUM_ROWS} at most in mode='linear_he'.",
        )


def _read(work: Any, data: bytes) -> Any:
    """Do what reads bytes of another party; SEAL refuses what it cannot read with errors of several types."""
    try:
        return work()
    except (ValueError, RuntimeError, TypeError) as error:
        raise InvalidInput(
            f"{len(data)} bytes of another party are not what the encryption has: {str(error)[:200]}.",
            code="bad-ciphertext",
        ) from error
