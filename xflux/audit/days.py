"""Steps shorter than a day as days, for the checks that look at days."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xflux.audit.blocks import Array, Block
from xflux.audit.timeline import Timeline

EXTREMES = {"TA_MIN": (np.minimum, np.inf), "TA_MAX": (np.maximum, -np.inf)}
"""How the extremes of a day are taken, and what a missing step counts for; all else is a mean."""

WHOLE_DAY = 0.8
"""Share of a day's steps that its mean needs; with fewer the time of day would bias it."""


def daily(block: Block) -> Block:
    """The same block as means of whole days, for the checks that look at days.

    A day needs `WHOLE_DAY` of its steps. TA_MIN and TA_MAX are the extremes of TA where they are
    not there. Precipitation is a rate, so its mean is that of the day.
    """
    line = block.time
    index = line.day_index
    starts = np.flatnonzero(np.r_[True, np.diff(index) != 0])
    count = int(index[-1]) + 1
    per_day = 24.0 / line.hours
    values: dict[str, Array] = {}

    def reduced(array: Array, how: str) -> Array:
        there = np.isfinite(array)
        enough = np.add.reduceat(there, starts, axis=1, dtype=np.int64) >= WHOLE_DAY * per_day
        fold, empty = EXTREMES.get(how, (np.add, 0.0))
        total = fold.reduceat(np.where(there, array, empty), starts, axis=1)
        if how not in EXTREMES:
            held = np.add.reduceat(there, starts, axis=1, dtype=np.int64)
            total = total / np.maximum(held, 1)
        out = np.full((array.shape[0], count), np.nan, np.float32)
        out[:, index[starts]] = np.where(enough, total, np.nan)
        return out

    for name, array in block.values.items():
        values[name] = reduced(array, name)
    if "TA" in block.values:
        values.setdefault("TA_MIN", reduced(block.values["TA"], "TA_MIN"))
        values.setdefault("TA_MAX", reduced(block.values["TA"], "TA_MAX"))
    first = line.times[0]
    if isinstance(first, np.datetime64):
        day = first.astype("datetime64[D]").astype("datetime64[s]")
        times = day + np.arange(count) * np.timedelta64(86400, "s")
    else:
        times = xr.date_range(
            start=first.replace(hour=0, minute=0, second=0), periods=count, freq="D"
        ).values
    axis = Timeline(step="daily", hours=24.0, times=np.asarray(times), place=np.arange(count))
    return Block(
        time=axis,
        values=values,
        numbers=block.numbers,
        classes=block.classes,
        rows=block.rows,
        called=block.called,
        methods=block.methods,
    )
