"""Leaves seen from space, in composites of several days or a month, to days.

A composite is the best view of its days, so it speaks for the middle of them. Between middles the
value is interpolated, or each composite holds on its own days. One composite that is missing is
bridged; where two are, the days between are missing. Interpolation looks ahead by two composites at
most, so the days at the end of a file may change a little when the next composites arrive; with
``"hold"`` they do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from xflux.drivers.coarsen import Needs
from xflux.drivers.times import Whole, days_like, first_days, parts
from xflux.drivers.work import Source, Values, checked
from xflux.features import Array

Method = Literal["interpolate", "hold"]
METHODS: tuple[Method, ...] = ("interpolate", "hold")

_REACH = 2  # composites to either side that a day may draw on


def periods(time: xr.DataArray, monthly: bool, like: xr.DataArray) -> tuple[Whole, Whole]:
    """First day of each composite, and the day after its last, as days since 1970-01-01.

    A composite lasts until the next one begins, as those at the end of a year of MODIS are shorter;
    where one was left out it lasts as long as the others. One a month is its month, wherever in it
    the stamp lies.

    Parameters
    ----------
    time : xr.DataArray
        Stamps of the composites.
    monthly : bool
        One a month.
    like : xr.DataArray
        Times of the calendar in which days are counted.
    """
    days = days_like(time, like)
    if monthly:
        months = parts(days, like)[0]
        return first_days(months, like), first_days(months + 1, like)
    length = np.diff(days)
    usual = int(np.median(length))
    return days, days + np.append(np.minimum(length, usual), usual)


def needs_of(starts: Whole, days: Whole) -> Needs:
    """The composites that each day may draw on."""
    own = np.searchsorted(starts, days, side="right") - 1
    first = np.clip(own - _REACH, 0, len(starts) - 1)
    return Needs(first, np.clip(own + _REACH + 1, 1, len(starts)))


@dataclass(frozen=True, kw_only=True)
class Composites:
    """Composites to days.

    Attributes
    ----------
    source : Source
    layout : tuple of str
        Time, then the entities.
    starts, stops : numpy.ndarray
        First day of each composite, and the day after its last, shape (K,).
    length : float
        Days of a composite, as a rule.
    days : numpy.ndarray
        The days to make, shape (G,).
    method : {"interpolate", "hold"}
    """

    source: Source
    layout: tuple[str, ...]
    starts: Whole
    stops: Whole
    length: float
    days: Whole
    method: Method

    def __call__(
        self, arrays: Sequence[npt.NDArray[np.generic]], steps: slice, out: slice
    ) -> Array:
        """Days ``out`` from composites ``steps``."""
        values = self.source.in_unit(self.source.lay_out(arrays[0], self.layout), 1.0)
        flat = values.reshape(len(values), -1)
        starts, stops = self.starts[steps], self.stops[steps]
        make = _interpolate if self.method == "interpolate" else _hold
        found = make(flat, starts, stops, self.length, self.days[out])
        name = self.source.match.name
        return checked(name, [self.source], found.reshape(-1, *values.shape[1:]))


def _hold(values: Values, starts: Whole, stops: Whole, length: float, days: Whole) -> Values:
    """Each composite on its own days, and on those of the next one where that is missing."""
    own = np.searchsorted(starts, days, side="right") - 1
    here = _at(values, own)
    here[(own < 0) | (days >= stops[own] + length)] = np.nan
    before = _at(values, own - 1)
    before[days >= stops[own - 1] + length] = np.nan
    return np.where(np.isfinite(here), here, before)


def _interpolate(values: Values, starts: Whole, stops: Whole, length: float, days: Whole) -> Values:
    """Between the middles of composites; at either end of a record each on its own days."""
    middle = np.asarray((starts + stops) / 2.0, dtype=np.float64)
    at = np.asarray(days + 0.5, dtype=np.float64)
    left = np.searchsorted(middle, at, side="right") - 1
    before, since = _first(values, middle, [left, left - 1], at, length)
    after, until = _first(values, middle, [left + 1, left + 2], at, length)
    near = since + until <= 2.5 * length
    with np.errstate(invalid="ignore"):  # where there is none on either side
        share = since / np.maximum(since + until, 1e-9)
    found = np.where(near, before + (after - before) * share, np.nan)
    for one, far in ((before, since), (after, until)):
        alone = ~np.isfinite(found) & (far <= 0.5 * length)
        found = np.where(alone, one, found)
    return found


def _first(
    values: Values, middle: Values, which: Sequence[npt.NDArray[np.intp]], at: Values, far: float
) -> tuple[Values, Values]:
    """The nearest of some composites that has a value, and its distance in days."""
    found = np.full((len(at), values.shape[1]), np.nan)
    distance = np.full(found.shape, np.inf)
    for index in which:
        held = _at(values, index)
        new = ~np.isfinite(found) & np.isfinite(held)
        away = np.abs(at - middle[np.clip(index, 0, len(middle) - 1)])[:, None]
        distance = np.where(new, away, distance)
        found = np.where(new, held, found)
    return found, distance


def _at(values: Values, index: npt.NDArray[np.intp]) -> Values:
    """Rows of values; missing where there is none."""
    inside = (index >= 0) & (index < len(values))
    rows: Values = values[np.where(inside, index, 0)].copy()
    rows[~inside] = np.nan
    return rows
