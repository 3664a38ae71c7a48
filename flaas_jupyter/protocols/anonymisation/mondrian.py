"""Dividing rows into classes: Mondrian (LeFevre, DeWitt and Ramakrishnan, ICDE 2006), with few rows left out.

A region is cut where it is widest, as long as every part may be a class; what cannot be cut further is a class. Where
no cut goes without leaving parts that may not be a class, and these parts are few rows, they are left out instead
(suppression): an outlier would otherwise widen its class for everybody in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .attributes import Attribute
from .requirement import Requirement

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Partition:
    """Rows in classes.

    Attributes
    ----------
    classes : list of ndarray of int
        Row numbers of each class.
    suppressed : ndarray of int
        Row numbers that are left out.
    """

    classes: list[Rows]
    suppressed: Rows


def divide(
    attributes: Sequence[Attribute], requirement: Requirement, rows: int, suppression_limit: float = 0.0
) -> Partition:
    """Divide rows into classes that meet the requirement.

    Parameters
    ----------
    attributes : sequence of Attribute
        The quasi-identifiers; among equally wide ones the first is cut first.
    requirement : Requirement
    rows : int
        Number of rows, at least one.
    suppression_limit : float
        Share of the rows that may be left out, and of any region at once.

    Returns
    -------
    Partition

    Raises
    ------
    InvalidInput
        ``anonymise-impossible``: not even all rows together are such a class.
    """
    everything = np.arange(rows)
    if not requirement.holds(everything):
        raise _impossible(requirement, everything)
    left = int(suppression_limit * rows)
    waiting, classes, suppressed = [everything], [], [np.empty(0, np.int64)]
    while waiting:
        region = waiting.pop()
        parts, dropped = _cut(region, attributes, requirement, min(left, int(suppression_limit * len(region))))
        if dropped.size:
            suppressed.append(dropped)
            left -= len(dropped)
        if len(parts) == 1 and not dropped.size:
            classes.append(parts[0])
        else:
            waiting.extend(parts)
    return Partition(classes, np.sort(np.concatenate(suppressed)))


def _cut(
    region: Rows, attributes: Sequence[Attribute], requirement: Requirement, droppable: int
) -> tuple[list[Rows], Rows]:
    """Return the parts of a region, and the rows of it that are left out; itself alone if it stays whole."""
    nothing = np.empty(0, np.int64)
    widths = [attribute.width(region) for attribute in attributes]
    costly: tuple[int, list[Rows], Rows] | None = None
    for number in sorted(range(len(attributes)), key=lambda each: -widths[each]):
        if widths[number] == 0.0:
            break
        parts = attributes[number].cut(region, requirement.holds)
        if len(parts) < 2:
            continue
        fine = [part for part in parts if requirement.holds(part)]
        if len(fine) == len(parts):
            return fine, nothing
        failing = sum(len(part) for part in parts) - sum(len(part) for part in fine)
        if fine and failing <= droppable and (costly is None or failing < costly[0]):
            costly = failing, fine, np.concatenate([part for part in parts if not requirement.holds(part)])
    if costly is not None:
        return costly[1], costly[2]
    return [region], nothing


def _impossible(requirement: Requirement, rows: Rows) -> InvalidInput:
    if len(rows) < requirement.k:
        return InvalidInput(
            f"There are {len(rows)} rows, fewer than k = {requirement.k}.",
            code="anonymise-impossible",
            hint="Lower k, or release more rows together.",
        )
    short = {
        name: requirement.achieved(codes[rows])
        for name, codes in requirement.sensitive.items()
        if requirement.achieved(codes[rows]) < (requirement.l or 0)
    }
    name, achieved = next(iter(short.items()))
    return InvalidInput(
        f"All rows together have a diversity ({requirement.diversity}) of {achieved:.3g} in {name!r}, less than "
        f"l = {requirement.l:g}.",
        code="anonymise-impossible",
        hint="Lower l, or release without this attribute.",
    )
