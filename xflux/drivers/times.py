"""Times of any calendar as whole numbers, and the days and months that steps make up.

Numbers are microseconds, days or months since 1970-01-01 in the calendar of the times themselves,
so that no calendar has to be turned into another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from xflux.errors import DataError

Whole = npt.NDArray[np.int64]

HOUR = 3_600_000_000
DAY = 24 * HOUR

_EPOCH = "1970-01-01"


def microseconds(time: xr.DataArray) -> Whole:
    """Times as microseconds since 1970-01-01, shape (T,).

    Examples
    --------
    >>> noon = xr.date_range("1970-01-02T12", periods=1, calendar="360_day", use_cftime=True)
    >>> int(microseconds(xr.DataArray(noon, dims="time"))[0] // HOUR)
    36
    """
    values = time.values
    if np.issubdtype(values.dtype, np.datetime64):
        return np.asarray(values.astype("datetime64[us]").astype(np.int64))
    import cftime

    calendar = str(time.dt.calendar)
    return np.asarray(
        cftime.date2num(values, f"microseconds since {_EPOCH}", calendar=calendar), dtype=np.int64
    )


def dates(days: Whole, like: xr.DataArray) -> npt.NDArray[np.generic]:
    """Midnights of some days since 1970-01-01, in the calendar and the type of other times."""
    values = like.values
    if np.issubdtype(values.dtype, np.datetime64):
        return np.asarray(days.astype("datetime64[D]").astype(values.dtype))
    import cftime

    calendar = str(like.dt.calendar)
    found = cftime.num2date(
        days, f"days since {_EPOCH}", calendar=calendar, only_use_cftime_datetimes=True
    )
    return np.asarray(found, dtype=object)


def parts(days: Whole, like: xr.DataArray) -> tuple[Whole, Whole, Whole]:
    """Months since 1970-01, month of the year, and day of the month, of some days."""
    time = xr.DataArray(dates(days, like), dims="day").dt
    year, month, day = (
        np.asarray(part.values, np.int64) for part in (time.year, time.month, time.day)
    )
    return (year - 1970) * 12 + month - 1, month, day


def first_days(months: Whole, like: xr.DataArray) -> Whole:
    """The first day of some months, both counted since 1970-01."""
    values = like.values
    if np.issubdtype(values.dtype, np.datetime64):
        return np.asarray(months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64))
    import cftime

    calendar = str(like.dt.calendar)
    starts = [
        cftime.datetime(1970 + m // 12, m % 12 + 1, 1, calendar=calendar) for m in months.tolist()
    ]
    return np.asarray(cftime.date2num(starts, f"days since {_EPOCH}", calendar=calendar), np.int64)


def days_like(time: xr.DataArray, like: xr.DataArray) -> Whole:
    """Days since 1970-01-01 of times, as dates in the calendar of other times.

    A date that the other calendar does not have is the last one of its month.

    Examples
    --------
    >>> leap = xr.DataArray(np.array(["2004-02-29"], "datetime64[ns]"), dims="time")
    >>> noleap = xr.DataArray(
    ...     xr.date_range("2004-02-28", periods=1, calendar="noleap", use_cftime=True), dims="time"
    ... )
    >>> days_like(leap, noleap) == microseconds(noleap) // DAY
    array([ True])
    """
    if str(time.dt.calendar) == str(like.dt.calendar):
        return microseconds(time) // DAY
    year, month, day = (
        np.asarray(part.values, np.int64) for part in (time.dt.year, time.dt.month, time.dt.day)
    )
    months = (year - 1970) * 12 + month - 1
    return np.minimum(first_days(months, like) + day, first_days(months + 1, like)) - 1


def steps_a_day(time: Whole, name: str) -> int:
    """How many steps a day has.

    Raises
    ------
    DataError
        The steps do not divide a day, or are longer than six hours; or each month has one day
        alone, as means by the hour of the day have.
    """
    gap = int(np.median(np.diff(time)))
    if gap <= 0 or gap > 6 * HOUR or DAY % gap:
        raise DataError(
            f"the steps of {name!r} (median {gap / HOUR:g} hours) are no equal parts of a day, or "
            "longer than 6 hours: give hourly, 3-hourly, 6-hourly or half-hourly data"
        )
    between = np.diff(np.unique(time // DAY))
    if between.size and between.min() >= 28:
        raise DataError(
            f"{name!r} has one day a month: monthly means by the hour of the day have no days in "
            f'them; average the hours, ds = ds.resample({name}="MS").mean(), or give hourly data'
        )
    return DAY // gap


def whole_days(time: Whole, shifts: Sequence[int], least: float, like: xr.DataArray) -> Whole:
    """The days that steps cover, from the first whole one to the last, those between put in.

    Parameters
    ----------
    time : numpy.ndarray
        Microseconds, shape (T,), ascending.
    shifts : sequence of int
        Microseconds to add before counting days: a day has to be whole by all of them.
    least : float
        Steps that make a day whole.
    like : xr.DataArray
        Times of the calendar. A February 29 without a step is left out, as calendars of 365 days
        leave it out.

    Raises
    ------
    DataError
        No day is whole.
    """
    first, last = -(2**40), 2**40
    present = []
    for shift in shifts:
        days, count = np.unique((time + shift) // DAY, return_counts=True)
        whole = days[count >= least - 1e-9]
        if not whole.size:
            break
        first, last = max(first, int(whole[0])), min(last, int(whole[-1]))
        present.append(days)
    if len(present) < len(shifts) or first > last:
        raise DataError(
            f"no day has {least:g} steps from {like.values[0]} to {like.values[-1]}: give whole "
            "days, or completeness=0.5 to accept half of a day"
        )
    days = np.arange(first, last + 1)
    _, month, day = parts(days, like)
    absent = ~np.isin(days, np.concatenate(present))
    return days[~(absent & (month == 2) & (day == 29))]


def whole_months(
    days: Whole, completeness: float, like: xr.DataArray
) -> tuple[Whole, npt.NDArray[np.float64]]:
    """The months that days cover, and how many days each needs; those at the ends are whole.

    Raises
    ------
    DataError
        No month is whole.
    """
    of_day = parts(days, like)[0]
    months, count = np.unique(of_day, return_counts=True)
    whole = months[count >= _needed(months, completeness, like)]
    if not whole.size:
        raise DataError(
            f"no month has {completeness:.0%} of its days from {like.values[0]} to "
            f"{like.values[-1]}: give whole months, or completeness=0.5 to accept half of one"
        )
    found = np.arange(whole[0], whole[-1] + 1)
    return found, _needed(found, completeness, like)


def _needed(months: Whole, completeness: float, like: xr.DataArray) -> npt.NDArray[np.float64]:
    length = first_days(months + 1, like) - first_days(months, like)
    return completeness * length.astype(np.float64) - 1e-9
