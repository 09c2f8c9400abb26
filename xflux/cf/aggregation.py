"""From finer steps to coarser ones: the one rule of each variable, for towers and grids alike.

Values come as states or as rates, never as amounts a step, so the mean over a whole day is right
for all of them: the mean of precipitation in mm d-1 is the day's sum. Vapour pressure deficit is a
mean of sub-daily values. TA_MIN and TA_MAX are the lowest and the highest value of a day, and means
over the days of a month. A day, or a month, with too few values is missing.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

Statistic = Literal["mean", "minimum", "maximum"]
Array = npt.NDArray[np.float64]
_Number = TypeVar("_Number", np.float64, np.int32)

EXTREMES: dict[str, Statistic] = {"TA_MIN": "minimum", "TA_MAX": "maximum"}
"""Drivers that are extremes of a day; they follow from sub-daily TA where they are not there."""

COMPLETENESS = 0.9
"""Share of the steps of a day, and of the days of a month, that a mean needs."""


def statistic(name: str, step: str) -> Statistic:
    """How a variable comes from a finer step.

    Parameters
    ----------
    name : str
        xflux's name of the variable.
    step : str
        The finer step: ``"sub-daily"`` becomes days, ``"daily"`` becomes months.

    Examples
    --------
    >>> statistic("TA_MIN", "sub-daily"), statistic("TA_MIN", "daily"), statistic("P", "sub-daily")
    ('minimum', 'mean', 'mean')
    """
    return EXTREMES.get(name, "mean") if step == "sub-daily" else "mean"


def aggregate(
    values: Array, codes: npt.NDArray[np.int64], how: Statistic, least: float | Array
) -> tuple[npt.NDArray[np.int64], Array]:
    """Reduce each group of steps that follow each other to one value.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (T, ...), missing where not finite.
    codes : numpy.ndarray
        Shape (T,), ascending: the group that each step belongs to, such as its day.
    how : {"mean", "minimum", "maximum"}
    least : float or numpy.ndarray
        How many values a group needs; for all, or for each group that occurs, shape (G,).

    Returns
    -------
    codes : numpy.ndarray
        Shape (G,): the groups that occur.
    reduced : numpy.ndarray
        Shape (G, ...), NaN where a group holds too few values.

    Examples
    --------
    >>> aggregate(np.array([1.0, 3.0, 5.0]), np.array([7, 7, 8]), "mean", 2)
    (array([7, 8]), array([ 2., nan]))
    """
    starts = np.flatnonzero(np.diff(codes, prepend=codes[:1] - 1))
    valid = np.isfinite(values)
    count = _reduce(np.add, valid.astype(np.int32), starts)
    if how == "mean":
        total = _reduce(np.add, np.where(valid, values, 0.0), starts)
        reduced = total / np.maximum(count, 1)
    elif how == "minimum":
        reduced = _reduce(np.minimum, np.where(valid, values, np.inf), starts)
    else:
        reduced = _reduce(np.maximum, np.where(valid, values, -np.inf), starts)
    needed = np.reshape(least, (-1,) + (1,) * (values.ndim - 1)) - 1e-9
    return codes[starts], np.where((count >= needed) & (count > 0), reduced, np.nan)


def _reduce(
    function: np.ufunc, values: npt.NDArray[_Number], starts: npt.NDArray[np.intp]
) -> npt.NDArray[_Number]:
    """Reduce along the first axis from each start to the next one."""
    if values.ndim == 1 or not starts.size:
        return np.asarray(function.reduceat(values, starts, axis=0))
    stops = [*starts[1:].tolist(), len(values)]
    groups = [function.reduce(values[a:b], axis=0) for a, b in zip(starts, stops, strict=True)]
    return np.stack(groups)
