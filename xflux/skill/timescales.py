"""Time scales of a comparison: all steps, the seasonal cycle, departures from it, means."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xflux.errors import DataError

ROUNDING = 1e-12
"""Relative size below which a difference is rounding."""


def months(observed: xr.Dataset, time: str) -> np.ndarray:
    """Month of the year, 1 to 12, of each step."""
    try:
        return observed[time].dt.month.values.astype(int)
    except (AttributeError, TypeError, KeyError) as error:
        raise DataError(
            f"{time!r} holds no dates, and the seasonal cycle needs the month of each step. "
            "Decode it with xr.decode_cf(ds), or score all steps only: "
            "scores(predicted, observed, scales=None)"
        ) from error


def by_month(values: np.ndarray, w: np.ndarray, month: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted means by month of the year and the sums of weights, both (entity, 12)."""
    member = (month[:, None] == np.arange(1, 13)).astype(float)
    total = w @ member
    return np.nan_to_num(divide((w * values) @ member, total)), total


def at_scale(
    scale: str,
    p: np.ndarray,
    o: np.ndarray,
    w: np.ndarray,
    month: np.ndarray | None,
    enough: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn (entity, time) into the values that a time scale compares, with their weights."""
    if scale == "between":
        total = w.sum(-1)
        means = [np.nan_to_num(divide((w * x).sum(-1), total)) for x in (p, o)]
        return means[0][:, None], means[1][:, None], enough[:, None].astype(float)
    if scale == "all" or month is None:
        return p, o, w
    (cycle_p, total), (cycle_o, _) = by_month(p, w, month), by_month(o, w, month)
    if scale == "seasonal":
        return cycle_p, cycle_o, total
    steps = by_month(w, (w > 0).astype(float), month)[1]
    counted = np.where((steps > 1)[:, month - 1], w, 0.0)
    return departure(p, cycle_p[:, month - 1]), departure(o, cycle_o[:, month - 1]), counted


def departure(values: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Subtract a mean, with exactly 0 where only rounding is left."""
    left = values - mean
    return np.where(np.abs(left) <= ROUNDING * np.abs(mean), 0.0, left)


def divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Divide, with NaN where the divisor is zero."""
    shape = np.broadcast_shapes(np.shape(top), np.shape(bottom))
    return np.divide(top, bottom, out=np.full(shape, np.nan), where=np.asarray(bottom) > 0)
