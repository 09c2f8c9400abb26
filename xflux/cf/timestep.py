"""The time axis: which step a series has, and where in the year each step lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from xflux.errors import DataError

MINIMUM_STEPS = 3
"""Fewer steps than this do not tell their time step."""

RESAMPLE = {
    "daily": 'ds.resample({time}="1D").mean()',
    "monthly": 'ds.resample({time}="MS").mean()',
}
"""The line that brings a finer Dataset to each time step that xflux models."""


def resample_line(
    time: str, step: str, *, amounts: Sequence[str] = (), texts: Sequence[str] = ()
) -> str:
    """The line to type that brings a finer Dataset to a time step.

    Parameters
    ----------
    time : str
        Name of the time dimension.
    step : str
        ``"daily"`` or ``"monthly"``.
    amounts : sequence of str
        Variables that hold an amount per time step (mm, J m-2): they are summed, not averaged.
    texts : sequence of str
        Variables without time that hold no numbers: as coordinates they are left as they are.

    Examples
    --------
    >>> resample_line("time", "daily")
    'ds = ds.resample(time="1D").mean()'
    >>> resample_line("time", "daily", amounts=["tp"])
    'ds = ds.resample(time="1D").mean().assign(ds[["tp"]].resample(time="1D").sum(skipna=False))'
    """
    mean = RESAMPLE[step].format(time=time).removeprefix("ds")
    aside = f".set_coords([{_listed(texts)}])" if texts else ""
    if not amounts:
        return f"ds = ds{aside}{mean}"
    total = mean.removesuffix(".mean()") + ".sum(skipna=False)"
    return f"ds = ds{aside}{mean}.assign(ds[[{_listed(amounts)}]]{total})"


def drivers_line(held: str, step: str) -> str:
    """The line to type that makes drivers at a time step from finer ones.

    Weeks are resampled: a week is no part of a month.

    Examples
    --------
    >>> drivers_line("sub-daily", "daily"), drivers_line("daily", "monthly")
    ('ds = ds.flux.drivers()', 'ds = ds.flux.drivers(to="monthly")')
    """
    if held == "weekly":
        return resample_line("time", step)
    return "ds = ds.flux.drivers()" if step == "daily" else f'ds = ds.flux.drivers(to="{step}")'


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _days_since_start(time: xr.DataArray) -> npt.NDArray[np.float64]:
    values = time.values
    if np.issubdtype(values.dtype, np.datetime64):
        return np.asarray((values - values[0]) / np.timedelta64(1, "D"), dtype=np.float64)
    return np.array([(value - values[0]).total_seconds() / 86400.0 for value in values])


def problem_of(time: xr.DataArray, *, minimum: int = MINIMUM_STEPS) -> str | None:
    """Say what is wrong with a time coordinate, or return None.

    Checked: a real time type without zone, increasing order, no duplicates, enough steps.
    """
    name = time.name
    if isinstance(time.dtype, pd.DatetimeTZDtype) or "," in str(time.dtype):
        return (
            f"time coordinate {name!r} has a time zone ({time.dtype}): drop it and keep "
            f'the local days, ds["{name}"] = ds.indexes["{name}"].tz_localize(None)'
        )
    values = time.values
    is_time = np.issubdtype(values.dtype, np.datetime64) or (
        values.dtype == object and values.size > 0 and hasattr(values[0], "calendar")
    )
    if not is_time:
        return (
            f"coordinate {name!r} holds {values.dtype}, not times: decode it, "
            "ds = xr.decode_cf(ds), or give it dates"
        )
    if values.size < minimum:
        return (
            f"{name!r} has {values.size} time steps; at least {minimum} are needed to tell "
            "the time step: select a longer period"
        )
    if np.issubdtype(values.dtype, np.datetime64) and np.isnat(values).any():
        return f'{name!r} holds missing times: ds = ds.dropna("{name}")'
    step = np.diff(_days_since_start(time))
    if (step == 0).any():
        return (
            f"{int((step == 0).sum())} duplicate times in {name!r}: "
            f'ds = ds.drop_duplicates("{time.dims[0]}")'
        )
    if (step < 0).any():
        return f'{name!r} is not in increasing order: ds = ds.sortby("{name}")'
    return None


def time_step(time: xr.DataArray) -> str:
    """Tell the time step of a coordinate that has passed `problem_of`.

    Parameters
    ----------
    time : xr.DataArray
        One-dimensional, datetime64 or cftime, at least three increasing values.

    Returns
    -------
    str
        ``"daily"`` or ``"monthly"``, or for steps that xflux does not model ``"sub-daily"``,
        ``"weekly"``, which stands for 2 to 16 days, or ``"yearly"``. February 29 may be absent from
        a daily axis.

    Raises
    ------
    DataError
        Steps are missing, or their lengths follow no rule.

    Examples
    --------
    >>> time_step(
    ...     xr.date_range("2001-01-01", periods=14, freq="MS").to_series().to_xarray()["index"]
    ... )
    'monthly'
    """
    step = np.diff(_days_since_start(time))
    typical = float(np.median(step))
    name = str(time.dims[0])
    if typical < 0.99:
        return "sub-daily"
    if typical < 1.5:
        leap = (time.dt.month.values[:-1] == 2) & (time.dt.day.values[:-1] == 28) & (step == 2.0)
        missing = int((np.round(step[~leap]) - 1).sum())
        if missing or (np.abs(step[~leap] - 1.0) > 0.05).any():
            raise DataError(
                f"the daily axis {name!r} is not regular: {missing} days are missing between "
                f"{time.values[0]} and {time.values[-1]}; put them in as missing values, "
                f'ds = ds.resample({name}="1D").asfreq()'
            )
        return "daily"
    if 27.0 < typical < 32.0:
        months = time.dt.year.values * 12 + time.dt.month.values
        if (np.diff(months) != 1).any():
            missing = int((np.diff(months) - 1).clip(0).sum())
            raise DataError(
                f"the monthly axis {name!r} is not regular: {missing} months are missing; put them "
                f'in as missing values, ds = ds.resample({name}="MS").asfreq()'
            )
        return "monthly"
    if 360.0 <= typical <= 366.5:
        return "yearly"
    if typical < 16.5:
        return "weekly"
    raise DataError(
        f"the steps of {name!r} (median {typical:g} days) are neither days nor months: "
        + resample_line(name, "daily")
    )


def follows(earlier: xr.DataArray, later: xr.DataArray, step: str) -> bool:
    """Whether one time is the step after another.

    Parameters
    ----------
    earlier, later : xr.DataArray
        One time each, datetime64 or cftime.
    step : str
        ``"daily"`` or ``"monthly"``. February 29 may be absent.

    Examples
    --------
    >>> days = xr.date_range("2001-01-31", periods=2).to_series().to_xarray()["index"]
    >>> follows(days[:1], days[1:], "daily")
    True
    """
    (a, year, month), (b, later_year, later_month) = _parts(earlier), _parts(later)
    if step == "monthly":
        return bool((later_year * 12 + later_month) - (year * 12 + month) == 1)
    import cftime

    calendar = str(later.dt.calendar)
    try:
        one, two = (cftime.datetime(*part, calendar=calendar) for part in (a, b))
    except ValueError:  # a day that the other calendar does not have
        return False
    days = (two - one).total_seconds() / 86400.0
    leap = a[1:3] == (2, 28) and b[1:3] == (3, 1) and abs(days - 2.0) < 0.05
    return leap or abs(days - 1.0) < 0.05


def _parts(time: xr.DataArray) -> tuple[tuple[int, ...], int, int]:
    """Year to second of one time, and its year and month."""
    names = ("year", "month", "day", "hour", "minute", "second")
    flat = time.variable.set_dims({"step": 1}) if time.ndim == 0 else time.variable
    dated = xr.DataArray(flat).dt
    found = tuple(int(getattr(dated, name).values.ravel()[0]) for name in names)
    return found, found[0], found[1]


def step_days(time: xr.DataArray, step: str) -> npt.NDArray[np.float64]:
    """Length of each step in days, shape (time,): 1 for days, 28 to 31 for months."""
    if step == "monthly":
        return np.asarray(time.dt.days_in_month.values, dtype=np.float64)
    return np.ones(time.size)


def year_fraction(time: xr.DataArray, step: str) -> npt.NDArray[np.float64]:
    """Position of the middle of each step in its year, from 0 to 1, for any calendar.

    Parameters
    ----------
    time : xr.DataArray
        One-dimensional time coordinate, datetime64 or cftime.
    step : str
        ``"daily"`` or ``"monthly"``; months count from their stamp's month, wherever the stamp is.

    Returns
    -------
    numpy.ndarray
        Shape (time,).
    """
    if step == "monthly":
        return (np.asarray(time.dt.month.values, dtype=np.float64) - 0.5) / 12.0
    calendar = time.dt.calendar
    if calendar == "360_day":
        length = np.full(time.size, 360.0)
    elif calendar in ("noleap", "365_day"):
        length = np.full(time.size, 365.0)
    elif calendar in ("all_leap", "366_day"):
        length = np.full(time.size, 366.0)
    else:
        length = np.where(time.dt.is_leap_year.values, 366.0, 365.0)
    return (np.asarray(time.dt.dayofyear.values, dtype=np.float64) - 0.5) / length
