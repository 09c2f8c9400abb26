"""Amounts that a reanalysis accumulates: over the step before the stamp, or since 00 UTC.

ERA5 stamps what fell in the step before; ERA5-Land runs from 00 UTC, so that the value stamped
00:00 is the whole of the day before (ECMWF, "ERA5-Land: data documentation", section
"Accumulations"). Files do not say which; taking one for the other is silent and wrong by far.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from xflux.drivers.times import DAY, Whole

Values = npt.NDArray[np.float64]

KINDS = ("step", "day")
"""What ``accumulation=`` may say: an amount of the step before, or one that runs since 00 UTC."""

_LAND = re.compile(r"era5[ _-]?land", re.IGNORECASE)
_RATES = frozenset({"msdwswrf", "avg_sdswrf", "mtpr", "avg_tprate", "mn2t", "mx2t"})
_FALLS = 0.02  # share of steps within days that fall, from which on a series does not run
_NOISE = 1e-4  # of the largest amount: what packing makes of a level line
_DAYS = {"SW_IN": 1}  # that rise without a fall and so show a running amount; of rain 3


def ends_at_stamp(variable: xr.Variable, name: str, *, amount: bool, era5: Sequence[str]) -> bool:
    """Whether each value speaks of the time before its stamp, as ECMWF's amounts and means do.

    Parameters
    ----------
    variable : xr.Variable
    name : str
        Its name in the Dataset.
    amount : bool
        Whether it is an amount a step.
    era5 : sequence of str
        What ECMWF calls it.
    """
    kind = variable.attrs.get("GRIB_stepType")
    if kind is not None:
        return str(kind) in ("accum", "avg", "max", "min")
    return name in _RATES or (amount and name in era5)


def evidence(name: str, values: Values, time: Whole) -> bool | None:
    """Whether amounts run through the day: they do, they do not, or these values do not tell.

    Parameters
    ----------
    name : str
        xflux's name: light falls every evening, rain may come late on a day or two.
    values : numpy.ndarray
        Shape (T, ...).
    time : numpy.ndarray
        Microseconds, shape (T,).

    Examples
    --------
    >>> hours = np.arange(1, 97) * 3_600_000_000
    >>> of_each_hour = np.tile([0.0, 2.0, 5.0, 1.0], 24)
    >>> evidence("P", of_each_hour, hours), evidence("P", np.tile(np.arange(24.0), 4), hours)
    (False, True)
    """
    day = (time - 1) // DAY
    same = (day[1:] == day[:-1]).reshape(-1, *(1,) * (values.ndim - 1))
    difference = np.where(same, np.diff(values, axis=0), np.nan)
    noise = _NOISE * float(np.nanmax(values, initial=0.0))
    moving = np.abs(difference) > noise
    if not moving.any():
        return None
    falling = float((difference < -noise).sum() / moving.sum())
    if falling > _FALLS:
        return False
    risen = (moving & (difference > 0)).reshape(len(difference), -1).any(axis=1)
    return True if len(np.unique(day[1:][risen])) >= _DAYS.get(name, 3) else None


def amounts(values: Values, time: Whole, gap: int) -> Values:
    """Amounts of each step from amounts since 00 UTC; missing where the step before is.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (T, ...).
    time : numpy.ndarray
        Microseconds, shape (T,).
    gap : int
        Length of a step in microseconds.

    Examples
    --------
    >>> hour = 3_600_000_000
    >>> amounts(np.array([1.0, 3.0, 7.0, 2.0]), np.array([22, 23, 24, 25]) * hour, hour)
    array([nan,  2.,  4.,  2.])
    """
    since = (time - 1) % DAY + 1
    shape = (-1, *(1,) * (values.ndim - 1))
    follows = np.concatenate([[False], np.diff(time) == gap])
    before = np.concatenate([np.full_like(values[:1], np.nan), values[:-1]])
    rest = np.where(follows.reshape(shape), values - before, np.nan)
    return np.where((since == gap).reshape(shape), values, rest)


def contradiction(name: str, runs: bool) -> str:
    """What to say where values show another kind of amounts than the one they were taken for."""
    if runs:
        return (
            f"{name!r} rises from 01 to 00 UTC every day, as the amounts of ERA5-Land do, and was "
            'taken for amounts of each step: ds.flux.drivers(accumulation="day")'
        )
    return (
        f"{name!r} falls within days, as the amounts of ERA5 do, and was taken for amounts that "
        'run since 00 UTC: ds.flux.drivers(accumulation="step")'
    )


def kind_of(ds: xr.Dataset, shown: Collection[bool | None], *, since_midnight: bool) -> str | None:
    """Which kind the amounts of a file are, from what it says and what its values show.

    Parameters
    ----------
    ds : xr.Dataset
        As it came: its attributes, and the spacing of its grid.
    shown : collection of bool or None
        What `evidence` found in values that could be looked at at no cost.
    since_midnight : bool
        Forecast steps that begin at 00 UTC and run for a day, as ERA5-Land has them in GRIB.

    Returns
    -------
    str or None
        One of `KINDS`; None where nothing tells.
    """
    if False in shown:
        return "step"
    if True in shown or since_midnight or _LAND.search(_words(ds)):
        return "day"
    spacing = _spacing(ds)
    if spacing is not None and abs(spacing - 0.1) < 1e-3:
        return "day"
    return "step" if spacing is not None and abs(spacing - 0.25) < 1e-3 else None


def _words(ds: xr.Dataset) -> str:
    return " ".join(str(ds.attrs.get(key, "")) for key in ("title", "source", "history", "comment"))


def _spacing(ds: xr.Dataset) -> float | None:
    """Spacing of the latitudes, the tenth of a degree of ERA5-Land or the quarter of ERA5."""
    for name in ("latitude", "lat"):
        if name in ds.coords and ds[name].ndim == 1 and ds[name].size > 1:
            return float(np.median(np.abs(np.diff(ds[name].values.astype(np.float64)))))
    return None
