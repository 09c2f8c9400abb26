"""Statistics that a few wrong values cannot move, along the last axis, missing values left out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.floating]
Mask = npt.NDArray[np.bool_]

SIGMA = 1.4826
"""Median absolute deviation to standard deviation, for normal values (Rousseeuw and Croux 1993,
doi:10.1080/01621459.1993.10476408)."""


def quantile(values: Numbers, share: float, *, least: int = 1) -> Array:
    """Quantile of the values that are there, NaN where fewer than ``least`` are.

    Sorting puts missing values last, which is much faster than `numpy.nanquantile`. Between two
    values the lower one is taken.

    Examples
    --------
    >>> quantile(np.array([[4, np.nan, 1, 2], [np.nan] * 4], dtype="f4"), 0.5)
    array([ 2., nan], dtype=float32)
    """
    ordered = np.sort(values, axis=-1)
    count = np.isfinite(ordered).sum(axis=-1)
    if values.shape[-1] == 0:
        return np.full(values.shape[:-1], np.nan, dtype=np.float32)
    place = (share * (count - 1)).clip(0).astype(np.intp)
    found = np.take_along_axis(ordered, place[..., None], axis=-1)[..., 0]
    return np.where(count >= max(least, 1), found, np.float32(np.nan)).astype(np.float32)


def median(values: Numbers, *, least: int = 1) -> Array:
    """Median of the values that are there, the lower one of two."""
    return quantile(values, 0.5, least=least)


def mean(values: Numbers, *, least: int = 1) -> Array:
    """Mean of the values that are there, NaN where fewer than ``least`` are."""
    there = np.isfinite(values)
    count = there.sum(axis=-1)
    total = np.where(there, values, 0.0).sum(axis=-1, dtype=np.float64)
    return np.where(count >= max(least, 1), total / np.maximum(count, 1), np.nan).astype(np.float32)


def which(mask: Mask | np.bool_) -> list[int]:
    """Positions at which a mask of one dimension holds, as plain numbers."""
    return [int(place) for place in np.flatnonzero(mask)]


def runs(mask: Mask) -> npt.NDArray[np.int64]:
    """Unbroken runs of a mask (N, T), shape (R, 3): row, first step, last step.

    Examples
    --------
    >>> runs(np.array([[True, True, False, True]]))
    array([[0, 0, 1],
           [0, 3, 3]])
    """
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), dtype=np.int8)
    padded[:, 1:-1] = mask
    change = np.diff(padded, axis=1)
    row, first = np.nonzero(change == 1)
    last = np.nonzero(change == -1)[1] - 1
    return np.stack([row, first, last], axis=1).astype(np.int64)


def correlation(one: Numbers, other: Numbers, *, least: int = 3) -> Array:
    """Pearson correlation over the steps that both have, NaN where there are too few.

    Examples
    --------
    >>> float(correlation(np.array([1, 2, 3, np.nan]), np.array([2, 4, 6, 0.0])))
    1.0
    """
    both = np.isfinite(one) & np.isfinite(other)
    count = both.sum(axis=-1)
    x, y = np.where(both, one, 0.0), np.where(both, other, 0.0)
    many = np.maximum(count, 1)[..., None]
    x = np.where(both, x - x.sum(axis=-1, keepdims=True) / many, 0.0)
    y = np.where(both, y - y.sum(axis=-1, keepdims=True) / many, 0.0)
    below = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (x * y).sum(axis=-1) / below
    return np.where((count >= least) & (below > 0), found, np.nan).astype(np.float32)
