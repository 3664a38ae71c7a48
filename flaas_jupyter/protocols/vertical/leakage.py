"""What each party of a vertical run learns, in words, and what known attacks learn of labels, as a number.

The attacks are those of Li et al., "Label Leakage and Protection in Two-party Split Learning" (2021, section 3), on the
gradients that a feature party receives for the rows of a batch. While the model still errs more on the rarer class, its
gradients are longer (norm attack); those of the two classes point opposite ways (direction attack: the cosine with one
gradient whose label is known). The spectral attack needs no known label: it sorts by the direction in which the
gradients of a batch vary most. An AUC of 0.5 is guessing, 1.0 is knowing every label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput

Batch = tuple[NDArray[Any], NDArray[Any]]
"""Gradients, shape (n, k), and labels, shape (n,) or (n, 1), of one batch."""


def auc(scores: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve: how often a positive scores above a negative, ties counting half.

    Parameters
    ----------
    scores : ndarray of shape (n,)
    positive : ndarray of bool, shape (n,)

    Raises
    ------
    InvalidInput
        Code ``one-class``: there are no positives or no negatives.
    """
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        raise InvalidInput(
            f"An AUC needs rows of both classes; there are {positives} positive and {negatives} negative ones.",
            code="one-class",
        )
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse.reshape(-1)]  # tied scores share the mean of their ranks
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def norm_attack_auc(gradients: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return how well the lengths of gradients tell labels of 0 and 1 (Li et al. 2021, section 3.1).

    Below 0.5 where the positives are the ones with the shorter gradients: the attacker then turns its guess around.

    Parameters
    ----------
    gradients : ndarray of shape (n, k)
        Of one batch.
    labels : ndarray of shape (n,)

    Raises
    ------
    InvalidInput
        Code ``one-class``.
    """
    return auc(np.linalg.norm(gradients, axis=1), np.asarray(labels).reshape(-1) > 0.5)


def direction_attack_auc(gradients: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return how well the cosine with one known positive's gradient tells the other labels (ibid., section 3.2).

    The known one is the first positive of the batch; it is left out of the count.

    Raises
    ------
    InvalidInput
        Code ``one-class``: fewer than two positives, or no negative.
    """
    positive = np.asarray(labels).reshape(-1) > 0.5
    known = int(np.argmax(positive))
    units = gradients / np.maximum(np.linalg.norm(gradients, axis=1, keepdims=True), 1e-30)
    others = np.arange(len(positive)) != known
    return auc((units @ units[known])[others], positive[others])


def label_leak(batches: Sequence[Batch]) -> float | None:
    """Return what the best of the known attacks gets from the gradients of one epoch, as an AUC from 0.5 on.

    Each attack's AUC is averaged over batches and then turned around if it is below one half.

    Parameters
    ----------
    batches : sequence of (ndarray of shape (n, k), ndarray of shape (n,) or (n, 1))
        Batches in which one class is missing say nothing and are left out.

    Returns
    -------
    float or None
        None if the labels are not of two classes, 0 and 1.
    """
    found: dict[str, list[float]] = {"norm": [], "direction": [], "spectral": []}
    last: NDArray[Any] | None = None
    for gradients, given in batches:
        labels = np.asarray(given)
        if labels.size != len(labels) or not np.isin(labels, (0, 1)).all():
            return None
        positive = labels.reshape(-1) > 0.5
        if positive.sum() < 2 or positive.all():
            continue
        found["norm"].append(norm_attack_auc(gradients, labels))
        found["direction"].append(direction_attack_auc(gradients, labels))
        main = np.linalg.svd(np.asarray(gradients, np.float64), full_matrices=False)[2][0]
        if last is not None and main @ last < 0:  # a singular vector has no sign; successive ones are made to agree
            main = -main
        last = main
        found["spectral"].append(auc(gradients @ main, positive))
    if not found["norm"]:
        return None
    return max(max(mean, 1 - mean) for mean in (float(np.mean(each)) for each in found.values()))


_EVERYONE = (
    "The label holder learns how many ids each feature party has, and which of its own rows each of them has too. A "
    "feature party learns how many ids the label holder has, and which of its own rows all parties have."
)
_OTHERS = "Relays and the coordination API learn nothing but sizes and times of messages."
_LABEL_HOLDER = {
    "oneway": "The label holder learns whatever an embedding carries of the columns. One as wide as the columns is "
    "close to the columns themselves: keep it narrower, or add noise.",
    "split": "The label holder learns whatever embeddings carry of the columns, and how they change in training. One "
    "as wide as the columns is close to the columns themselves: keep it narrower, or add noise.",
    "linear_he": "The label holder learns one number per row of each feature party: its part of the row's score.",
}
_FEATURE_PARTIES = {
    "oneway": "Feature parties learn nothing about labels: nothing that depends on them is sent.",
    "split": "Feature parties must be assumed to learn ALL labels: gradients tell them (known attacks reach an AUC of "
    "1.0 without protection, and still well above 0.5 with noise that costs accuracy).",
    "linear_he": "Feature parties learn the gradient of their own weights for each batch, a figure over the batch's "
    "labels, and no single row's.",
}


def leakage_statement(mode: str) -> list[dict[str, str]]:
    """Return who learns what in a mode, as ``{"who", "learns"}``: what is shown before a run and stored with it."""
    return [
        {"who": "all parties", "learns": _EVERYONE},
        {"who": "label holder", "learns": _LABEL_HOLDER[mode]},
        {"who": "feature parties", "learns": _FEATURE_PARTIES[mode]},
        {"who": "others", "learns": _OTHERS},
    ]
