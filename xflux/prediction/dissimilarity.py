"""How unlike the drivers of a step are to those of the towers of training.

The dissimilarity index of Meyer and Pebesma 2021 (doi:10.1111/2041-210X.13650): the distance from
a step to the nearest point of training, in drivers that are normalised and weighted by how much
they matter, divided by the mean distance between points of training. A step whose index is above
the threshold is outside of the area of applicability. The index is of each step alone: it needs no
state, and no chunk changes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xflux.features import Array, Inputs, Mask
from xflux.prediction.calibration import Reference

ROUNDING = 1e-4
"""Of a normalised driver: a value on the edge of its range is within."""

STEPS = 512
"""Steps whose distances to all points are in memory at a time."""


def dissimilarity(drivers: Array, characteristics: Array, reference: Reference) -> Array:
    """The dissimilarity index of every step.

    Parameters
    ----------
    drivers : numpy.ndarray
        Shape (C, T, columns), as `xflux.features.assemble` gives them: a driver that is missing is
        at its mean of training, as the network sees it. Flags are not looked at.
    characteristics : numpy.ndarray
        Shape (C, columns).
    reference : Reference

    Returns
    -------
    numpy.ndarray
        Shape (C, T), float32, from 0.

    Examples
    --------
    >>> from xflux.prediction.calibration import Reference
    >>> points = np.array([[0, 0], [4, 0]], dtype=np.float32)
    >>> reference = Reference(weights=np.ones(2, np.float32), points=points, scale=4, threshold=1)
    >>> step = np.array([[[3.0, 0.0]]], dtype=np.float32)
    >>> dissimilarity(step, np.zeros((1, 0), np.float32), reference)
    array([[0.25]], dtype=float32)
    """
    cells, steps = drivers.shape[:2]
    width = reference.points.shape[1] - characteristics.shape[1]
    weights, points = reference.weights, reference.points
    timed = np.flatnonzero(weights[:width])
    fixed = np.flatnonzero(weights[width:])
    placed, still = points[:, width + fixed], characteristics[:, fixed] * weights[width + fixed]
    own = (points[:, timed] ** 2).sum(axis=1)
    # |x - p|^2 = |x|^2 - 2 x.p + |p|^2, with |p|^2 and the characteristics as one more column
    across = np.empty((len(timed) + 1, len(points)), dtype=np.float32)
    across[:-1] = -2 * points[:, timed].T
    found = np.empty((cells, steps), dtype=np.float32)
    for cell in range(cells):
        across[-1] = own + ((still[cell] - placed) ** 2).sum(axis=1)
        for first in range(0, steps, STEPS):
            here = drivers[cell, first : first + STEPS, timed].T * weights[timed]
            joined = np.concatenate([here, np.ones((len(here), 1), dtype=np.float32)], axis=1)
            nearest = (joined @ across).min(axis=1) + (here**2).sum(axis=1)
            found[cell, first : first + STEPS] = np.sqrt(np.maximum(nearest, 0))
    return found / np.float32(reference.scale)


def applicable(index: Array, inside: Mask, reference: Reference) -> list[npt.NDArray[Any]]:
    """The index, and whether a step is like those of training: 1, 0, or -1 where it is missing.

    It is where the index is within the threshold and each driver within its range of training.

    Parameters
    ----------
    index : numpy.ndarray
        Any shape, NaN where there is no prediction.
    inside : numpy.ndarray
        The same shape, of `within_ranges`.
    reference : Reference

    Examples
    --------
    >>> points = np.zeros((1, 1), dtype=np.float32)
    >>> reference = Reference(weights=np.ones(1, np.float32), points=points, scale=1, threshold=0.5)
    >>> index = np.array([0.2, 0.9, np.nan], dtype=np.float32)
    >>> applicable(index, np.full(3, True), reference)[1]
    array([ 1,  0, -1], dtype=int8)
    """
    with np.errstate(invalid="ignore"):
        flag = (inside & (index <= reference.threshold)).astype(np.int8)
    flag[np.isnan(index)] = -1
    return [index, flag]


def within_ranges(drivers: Array, inputs: Inputs, margin: float = 0.0) -> Mask:
    """Whether every driver is in its range of training, shape (C, T).

    Parameters
    ----------
    drivers : numpy.ndarray
        Shape (C, T, columns), as `xflux.features.assemble` gives them; a driver that is missing is
        within.
    inputs : Inputs
        With the ranges.
    margin : float
        Share of the range by which a driver may lie outside of it.
    """
    inside = np.ones(drivers.shape[:2], dtype=bool)
    for j in range(len(inputs.drivers)):
        centre, scale = inputs.centre[j], inputs.scale[j]
        low, high = ((edge[j] - centre) / scale for edge in (inputs.low, inputs.high))
        room = margin * (high - low) + ROUNDING
        inside &= (drivers[..., j] >= low - room) & (drivers[..., j] <= high + room)
    return inside
