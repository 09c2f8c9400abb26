"""The time axis as it should be: every step from the first to the last once, and years as rows.

Checks walk a complete axis, so that neighbours in an array are neighbours in time whatever is
missing, doubled or out of order in the Dataset; what that was is told by `axis_faults`.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

Array = npt.NDArray[np.float32]
Whole = npt.NDArray[np.int64]

LONGEST = 8
"""A complete axis of more than so many times the steps that are there is not made: one stamp far
off would fill the memory with missing values."""

USUAL = 0.1
"""Share of the steps that must have one length for it to be that of the axis."""

OFF = 0.05
"""Share of a step by which a stamp may be off the axis."""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """A complete axis, and where each step of the Dataset stands on it.

    Attributes
    ----------
    step : str
        ``"sub-daily"``, ``"daily"``, ``"monthly"``, ``"other"``.
    hours : float
        Length of a step; 730.5 for months.
    times : numpy.ndarray
        Shape (T,), datetime64 or cftime.
    place : numpy.ndarray
        Shape (steps of the Dataset,): position on the axis, -1 for a stamp that comes again.
    """

    step: str
    hours: float
    times: npt.NDArray[np.generic]
    place: Whole

    @cached_property
    def _dt(self) -> xr.DataArray:
        return xr.DataArray(self.times, dims="time")

    @cached_property
    def year(self) -> Whole:
        """Calendar year of each step."""
        return np.asarray(self._dt.dt.year.values, dtype=np.int64)

    @cached_property
    def month(self) -> Whole:
        """Month of each step, 1 to 12."""
        return np.asarray(self._dt.dt.month.values, dtype=np.int64)

    @cached_property
    def day(self) -> npt.NDArray[np.float64]:
        """Day of the year of the middle of each step, from 1."""
        if self.step == "monthly":
            return (self.month - 0.5) * 365.25 / 12
        return np.asarray(self._dt.dt.dayofyear.values, dtype=np.float64)

    @cached_property
    def hour(self) -> npt.NDArray[np.float64]:
        """Clock hour of the middle of each step, for stamps of their beginning."""
        if self.step != "sub-daily":
            return np.full(self.times.size, 12.0)
        dt = self._dt.dt
        return np.asarray(dt.hour.values + dt.minute.values / 60 + self.hours / 2, dtype=np.float64)

    @cached_property
    def years(self) -> Whole:
        """Every calendar year that the axis touches."""
        return np.unique(self.year)

    @cached_property
    def slots(self) -> int:
        """Steps of a year: 12 months, or as many days as the calendar has without 29 February."""
        if self.step == "monthly":
            return 12
        return 360 if str(self._dt.dt.calendar) == "360_day" else 365

    @cached_property
    def slot(self) -> Whole:
        """Place of each step in its year, from 0; -1 on 29 February."""
        if self.step == "monthly":
            return self.month - 1
        day = np.asarray(self._dt.dt.dayofyear.values, dtype=np.int64) - 1
        if self.slots == 360:
            return day
        leap = np.asarray(self._dt.dt.is_leap_year.values, dtype=bool)
        february = (self.month == 2) & (np.asarray(self._dt.dt.day.values) == 29)
        return np.where(february, -1, day - (leap & (self.month > 2)))

    @cached_property
    def month_index(self) -> Whole:
        """Months since the first January of the axis."""
        return (self.year - self.years[0]) * 12 + self.month - 1

    @cached_property
    def day_index(self) -> Whole:
        """Days since the first step."""
        return np.floor(_seconds(self.times, midnight=True) / 86400 + 1e-6).astype(np.int64)

    def fold(self, values: Array) -> Array:
        """Steps as years and slots, shape (N, T) to (N, years, slots)."""
        folded = np.full((values.shape[0], self.years.size, self.slots), np.nan, np.float32)
        keep = self.slot >= 0
        folded[:, self.year[keep] - self.years[0], self.slot[keep]] = values[:, keep]
        return folded

    def monthly(self, values: Array, *, share: float = 0.5) -> Array:
        """Means by calendar month, shape (N, 12 * years), where enough of its steps are there."""
        there = np.isfinite(values)
        size = self.years.size * 12
        starts = np.flatnonzero(np.r_[True, np.diff(self.month_index) != 0])
        held = self.month_index[starts]
        total = np.add.reduceat(np.where(there, values, 0.0), starts, axis=1, dtype=np.float64)
        count = np.add.reduceat(there, starts, axis=1, dtype=np.int64)
        usual = {"monthly": 1.0, "daily": 30.4}.get(self.step, 730.5 / self.hours)
        out = np.full((values.shape[0], size), np.nan, np.float32)
        good = count >= max(share * usual, 1)
        out[:, held] = np.where(good, total / np.maximum(count, 1), np.nan)
        return out

    def stamp(self, position: int) -> str:
        """The date of a step, with the hour where steps are shorter than days."""
        text = str(self.times[position]).replace("T", " ")
        return text[:16] if self.step == "sub-daily" else text[:10]


@dataclass(frozen=True, kw_only=True)
class AxisFault:
    """One thing that is wrong with the axis itself: kind, evidence, first and last stamp."""

    kind: str
    evidence: str
    first: str
    last: str


def timeline(time: xr.DataArray) -> tuple[Timeline | None, list[AxisFault]]:
    """Understand a time coordinate, however broken, and tell its faults.

    Parameters
    ----------
    time : xr.DataArray
        One-dimensional.

    Returns
    -------
    (Timeline or None, list of AxisFault)
        None where the coordinate holds no times, or fewer than two.

    Examples
    --------
    >>> days = np.array(["2001-01-01", "2001-01-02", "2001-01-02", "2001-01-05"], "M8[ns]")
    >>> axis, faults = timeline(xr.DataArray(days, dims="time", name="time"))
    >>> axis.times.size, axis.place.tolist(), [fault.kind for fault in faults]
    (5, [0, 1, -1, 4], ['duplicate times', 'missing times'])
    """
    values = time.values
    if isinstance(time.dtype, pd.DatetimeTZDtype) or "," in str(time.dtype):
        values = np.asarray(time.to_index().tz_localize(None))
    dated = np.issubdtype(values.dtype, np.datetime64) or (
        values.dtype == object and values.size > 0 and hasattr(values[0], "calendar")
    )
    known = ~pd.isnull(values) if dated else np.zeros(values.size, dtype=bool)
    if known.sum() < 2:
        return None, []
    seconds = np.full(values.size, np.nan)
    seconds[known] = _seconds(values[known])
    order = np.unique(seconds[known])
    if order.size < 2:
        return None, list(_doubled(values, seconds))
    lengths, counts = np.unique(np.diff(order), return_counts=True)
    length = float(lengths[np.argmax(counts)])
    if counts.max() < USUAL * counts.sum():  # stamps that wander have no usual step
        length = float(np.median(np.diff(order)))
    step = _named(length / 86400)
    earliest = values[known][np.argmin(seconds[known])]
    if step == "monthly":
        months = _month_count(values[known])
        offset = np.full(values.size, np.nan)
        offset[known] = months - months.min()
    else:
        offset = (seconds - order[0]) / length
    place, crooked = _placed(offset, known)
    size = int(place.max()) + 1
    scattered = size > LONGEST * known.sum()
    if scattered:
        place = np.where(known, np.searchsorted(order, np.nan_to_num(seconds)), -1)
        times = values[known][np.unique(seconds[known], return_index=True)[1]]
    else:
        times = _axis(earliest, size, step, length)
    hours = 730.5 if step == "monthly" else length / 3600
    single = np.full(place.size, -1)
    first = np.unique(place, return_index=True)[1]
    single[first] = place[first]
    line = Timeline(step=step, hours=hours, times=times, place=single)
    faults = list(_axis_faults(line, values, seconds, known, crooked))
    if scattered:
        words = f"{known.sum()} steps are spread over {float(np.ptp(order)) / 86400:.0f} days"
        faults.append(_fault("missing times", words, values[known]))
    return line, faults


def _named(days: float) -> str:
    if days < 0.99:
        return "sub-daily"
    if days < 1.5:
        return "daily"
    return "monthly" if 27 < days < 32 else "other"


def _seconds(values: npt.NDArray[np.generic], *, midnight: bool = False) -> npt.NDArray[np.float64]:
    """Seconds since the first value, or since the midnight before it."""
    if np.issubdtype(values.dtype, np.datetime64):
        origin = values[0].astype("datetime64[D]") if midnight else values[0]
        return np.asarray((values - origin) / np.timedelta64(1, "s"), dtype=np.float64)
    begin = values[0].replace(hour=0, minute=0, second=0) if midnight else values[0]
    return np.array([(value - begin).total_seconds() for value in values])


def _month_count(values: npt.NDArray[np.generic]) -> Whole:
    dt = xr.DataArray(values, dims="time").dt
    return np.asarray(dt.year.values, dtype=np.int64) * 12 + np.asarray(dt.month.values)


def _placed(
    offset: npt.NDArray[np.float64], known: npt.NDArray[np.bool_]
) -> tuple[Whole, npt.NDArray[np.bool_]]:
    """Nearest position of each stamp, and which stamps lie between two."""
    rounded = np.round(offset)
    crooked = known & (np.abs(offset - rounded) > OFF)
    return np.where(known, np.nan_to_num(rounded, nan=-1), -1).astype(np.int64), crooked


def _axis(earliest: Any, size: int, step: str, length: float) -> npt.NDArray[np.generic]:
    """Times of a complete axis from the earliest stamp on."""
    if isinstance(earliest, np.datetime64):
        if step == "monthly":
            month = earliest.astype("datetime64[M]")
            rest = earliest - month.astype(earliest.dtype)
            months = month + np.arange(size).astype("timedelta64[M]")
            return np.asarray(months.astype(earliest.dtype) + rest)
        span = np.arange(size) * length * 1e6
        return np.asarray(
            earliest.astype("datetime64[us]") + span.round().astype("timedelta64[us]")
        )
    out = np.empty(size, dtype=object)
    for i in range(size):
        if step == "monthly":
            count = earliest.year * 12 + earliest.month - 1 + i
            out[i] = earliest.replace(year=count // 12, month=count % 12 + 1, day=1)
        else:
            out[i] = earliest + datetime.timedelta(seconds=i * length)
    return out


def _doubled(
    values: npt.NDArray[np.generic], seconds: npt.NDArray[np.float64]
) -> Iterator[AxisFault]:
    known = np.isfinite(seconds)
    kept = np.unique(seconds[known], return_index=True)[1]
    again = np.setdiff1d(np.flatnonzero(known), np.flatnonzero(known)[kept])
    if again.size:
        yield AxisFault(
            kind="duplicate times",
            evidence=f"{again.size} of {values.size} stamps come again",
            first=_short(values[again[0]]),
            last=_short(values[again[-1]]),
        )


def _axis_faults(
    line: Timeline,
    values: npt.NDArray[np.generic],
    seconds: npt.NDArray[np.float64],
    known: npt.NDArray[np.bool_],
    crooked: npt.NDArray[np.bool_],
) -> Iterator[AxisFault]:
    yield from _doubled(values, seconds)
    if not known.all():
        words = f"{int((~known).sum())} stamps are missing"
        yield _fault("irregular times", words, values[known])
    once = np.sort(np.unique(seconds[known], return_index=True)[1])
    back = once[1:][np.diff(seconds[known][once]) < 0]
    if back.size:
        yield AxisFault(
            kind="times out of order",
            evidence=f"time goes back at {back.size} of {values.size} steps",
            first=_short(values[known][back[0]]),
            last=_short(values[known][back[-1]]),
        )
    if crooked.any():
        words = f"steps of {line.hours / 24:.3g} days, {int(crooked.sum())} stamps off them"
        yield _fault("irregular times", words, values[known])
    elif line.step == "other":
        words = f"steps of {line.hours / 24:.3g} days: few checks know them"
        yield _fault("other time step", words, values[known])
    absent = np.setdiff1d(np.arange(line.times.size), line.place)
    if line.step == "daily" and line.slots == 365:
        absent = absent[line.slot[absent] >= 0]
    if absent.size and not crooked.any():
        yield AxisFault(
            kind="missing times",
            evidence=f"{absent.size} of {line.times.size} steps are not there",
            first=line.stamp(int(absent[0])),
            last=line.stamp(int(absent[-1])),
        )


def _fault(kind: str, evidence: str, values: npt.NDArray[np.generic]) -> AxisFault:
    """A fault of the axis as a whole."""
    return AxisFault(kind=kind, evidence=evidence, first=_short(values[0]), last=_short(values[-1]))


def _short(value: object) -> str:
    return str(value).replace("T", " ")[:16].removesuffix(" 00:00")
