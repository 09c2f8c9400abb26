"""Weather against itself: extremes and means, damp air, and rain that is no rain."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xflux.audit import robust
from xflux.audit.blocks import Block, Found, ends
from xflux.cf.derived import saturation_pressure

ORDER_SLACK = 0.1
"""K by which a mean may be outside minimum and maximum: rounding, and other averaging."""

ORDER_STEPS = 3

DAMP_SLACK = 1.5
"""Share of saturation at the daily maximum that VPD may reach, and the hPa added for it. A daily
mean is below saturation at the mean; gaps filled apart from each other reach further on single
days."""

DAMP_HPA = 2.0

DAMP_STEPS = 3

MEANS_FIT = 0.02
"""Share by which VPD may differ from that of mean temperature and humidity, to be made of them."""

WHOLE_MONTH = 20
"""Days of a month that must hold one value for the month to count as a repeated mean."""

REPEATED = 0.9
"""Share of the months whose precipitation is the same on each day."""

RISES = 20
"""Rises of precipitation that a running sum must show, with `RESETS` of its falls at one hour of
the day, on the first of a month or of a year."""

RESETS = 0.9

DRY_WET_DAYS = 25.0
"""Wet days that the season would have brought in a stretch without any rain: exp(-25) even if days
were independent, and droughts of this length leave some drizzle."""


def order_of_extremes(block: Block) -> Iterator[Found]:
    """Minimum above mean, mean above maximum, and the two extremes swapped."""
    if block.has(("TA_MIN", "TA_MAX")):
        low, high = block.values["TA_MIN"], block.values["TA_MAX"]
        with np.errstate(invalid="ignore"):
            above = low > high + ORDER_SLACK
        share = above.sum(axis=1) / np.maximum(np.isfinite(low - high).sum(axis=1), 1)
        for row in robust.which(share > 0.9):
            names = (block.called.get("TA_MIN", "TA_MIN"), block.called.get("TA_MAX", "TA_MAX"))
            yield Found(
                "swapped extremes",
                row,
                ("TA_MIN", "TA_MAX"),
                *block.there(row, ("TA_MIN",)),
                f"the minimum is above the maximum on {100 * share[row]:.0f} % of the days",
                whole=f'ds = ds.rename({{"{names[0]}": "{names[1]}", "{names[1]}": "{names[0]}"}})',
            )
            block.values["TA_MIN"][row], block.values["TA_MAX"][row] = (
                block.values["TA_MAX"][row].copy(),
                block.values["TA_MIN"][row].copy(),
            )
    for lower, upper in (("TA_MIN", "TA"), ("TA", "TA_MAX"), ("TA_MIN", "TA_MAX")):
        if block.has((lower, upper)):
            yield from _above(block, lower, upper)


def _above(block: Block, lower: str, upper: str) -> Iterator[Found]:
    with np.errstate(invalid="ignore"):
        over = block.values[lower] - block.values[upper]
        mask = over > ORDER_SLACK
    for row in robust.which(mask.sum(axis=1) >= ORDER_STEPS):
        steps = np.flatnonzero(mask[row])
        yield Found(
            "extremes out of order",
            row,
            (lower, upper),
            *ends(steps),
            f"{lower} is above {upper} at {steps.size} steps, by up to "
            f"{float(over[row, steps].max()):.3g} K",
        )
        for name in (lower, upper):
            block.values[name][row, steps] = np.nan


def drier_than_dry(block: Block) -> Iterator[Found]:
    """VPD above saturation: no air holds less than nothing."""
    if not block.has(("VPD", "TA")):
        return
    top = block.values.get("TA_MAX")
    short = block.time.step == "sub-daily"
    with np.errstate(invalid="ignore", over="ignore"):
        if short:
            most = 1.03 * saturation_pressure(block.values["TA"]) + 1.0
        elif top is not None:
            most = saturation_pressure(np.fmax(block.values["TA"], top)) + DAMP_HPA
        else:
            most = DAMP_SLACK * saturation_pressure(block.values["TA"]) + DAMP_HPA
        over = block.values["VPD"] > most
    least = DAMP_STEPS * (6 if short else 1)
    for row in robust.which(over.sum(axis=1) >= least):
        steps = np.flatnonzero(over[row])
        worst = steps[np.argmax((block.values["VPD"] - most)[row, steps])]
        yield Found(
            "VPD above saturation",
            row,
            ("VPD",),
            *ends(steps),
            f"{steps.size} steps, the worst {block.values['VPD'][row, worst]:.3g} hPa where "
            f"saturation allows {most[row, worst]:.3g}",
        )
        block.values["VPD"][row, steps] = np.nan


def humidity_of_means(block: Block) -> Iterator[Found]:
    """VPD that was computed from daily means: too low, since saturation is convex."""
    if not block.has(("VPD", "TA")) or block.time.step != "daily":
        return
    full = saturation_pressure(block.values["TA"])
    for name in ("RH", "TD", "EA"):
        if name not in block.values:
            continue
        other = block.values[name]
        actual = {
            "RH": lambda held=other: full * held / 100,
            "TD": lambda held=other: saturation_pressure(held),
            "EA": lambda held=other: held,
        }[name]()
        with np.errstate(invalid="ignore", divide="ignore"):
            off = np.abs(block.values["VPD"] / (full - actual) - 1)
            off = np.where(block.values["VPD"] > 1.0, off, np.nan)
        usual = robust.quantile(off.astype(np.float32), 0.9, least=60)
        for row in robust.which(usual < MEANS_FIT):
            yield Found(
                "VPD from means",
                row,
                ("VPD",),
                *block.there(row, ("VPD",)),
                f"VPD is that of daily mean TA and {name} to {100 * usual[row]:.1g} %",
            )
        return


def monthly_rain(block: Block) -> Iterator[Found]:
    """One mean of precipitation repeated on each day of its month; the days are set aside."""
    if "P" not in block.values or block.time.step != "daily":
        return
    values, index = block.values["P"], block.time.month_index
    starts = np.flatnonzero(np.r_[True, np.diff(index) != 0])
    there = np.isfinite(values)
    high = np.maximum.reduceat(np.where(there, values, -np.inf), starts, axis=1)
    low = np.minimum.reduceat(np.where(there, values, np.inf), starts, axis=1)
    whole = np.add.reduceat(there, starts, axis=1, dtype=np.int64) >= WHOLE_MONTH
    wet = whole & (high > 0)
    same = wet & (high - low <= 1e-5 * np.maximum(high, 1e-3))
    share = same.sum(axis=1) / np.maximum(wet.sum(axis=1), 1)
    said = "month" in block.methods.get("P", "")
    for row in robust.which((share >= REPEATED) & (same.sum(axis=1) >= 3)):
        yield Found(
            "monthly mean on each day",
            row,
            ("P",),
            *block.there(row, ("P",)),
            f"one value on each day of {int(same[row].sum())} of {int(wet[row].sum())} wet months"
            + (", as cell_methods say" if said else ""),
            severity="note" if said else "",
        )
        block.values["P"][row] = np.nan


def running_sum(block: Block) -> Iterator[Found]:
    """Precipitation that only rises within a day, a month or a year; it is set aside."""
    if "P" not in block.values or block.time.step == "monthly":
        return
    line, values = block.time, block.values["P"]
    change = np.diff(values, axis=1)
    with np.errstate(invalid="ignore"):
        up, down = change > 1e-6, change < -1e-6
    first_month = np.diff(line.month_index) != 0
    first_year = np.diff(line.year) != 0
    spans = {"year": first_year, "month": first_month}
    if line.step == "sub-daily":
        spans = {"day": np.zeros(first_year.size, bool), **spans}
    falls = down.sum(axis=1)
    for row in robust.which((up.sum(axis=1) >= RISES) & (falls >= 2) & (falls < up.sum(axis=1))):
        for span, first in spans.items():
            held = first
            if span == "day":
                hours = np.round(line.hour[1:], 3)
                kinds, counts = np.unique(hours[down[row]], return_counts=True)
                held = hours == kinds[np.argmax(counts)]
            if (down[row] & held).sum() >= RESETS * falls[row]:
                called = block.called.get("P", "P")
                yield Found(
                    "running sum",
                    row,
                    ("P",),
                    *block.there(row, ("P",)),
                    f"{int(up[row].sum())} rises, and {int(falls[row])} falls of which "
                    f"{int((down[row] & held).sum())} begin a {span}: summed up over the {span}",
                    whole=f'ds["{called}"] = ds["{called}"].diff("time").clip(min=0)',
                )
                block.set_aside(row, ("P",))
                break


def dry_gauge(block: Block) -> Iterator[Found]:
    """No rain at all through a season that brings it in other years."""
    if "P" not in block.values or block.time.step != "daily":
        return
    values = block.values["P"]
    with np.errstate(invalid="ignore"):
        dry = values <= 0.02
        wet = np.where(np.isfinite(values), ~dry, np.nan).astype(np.float32)
    chance = _chance(block, wet)
    expected = np.cumsum(np.nan_to_num(chance), axis=1)
    for row, first, last in robust.runs(dry):
        held = expected[row, last] - (expected[row, first - 1] if first else 0)
        if held >= DRY_WET_DAYS:
            yield Found(
                "no rain",
                row,
                ("P",),
                int(first),
                int(last),
                f"{last - first + 1} days without rain, where other years have {held:.0f} wet days",
            )
            values[row, first : last + 1] = np.nan


def _chance(block: Block, wet: np.ndarray) -> np.ndarray:
    """Share of wet days by month of the year over all years, at each step."""
    out = np.full(wet.shape, np.nan, np.float32)
    for month in range(1, 13):
        here = block.time.month == month
        if here.any():
            out[:, here] = robust.mean(wet[:, here], least=40)[:, None]
    return out
