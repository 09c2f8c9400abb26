"""Which steps make which year, and whether a year is whole, in any calendar."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from xflux.cf.timestep import step_days
from xflux.errors import DataError

INCOMPLETE = ("raise", "drop", "flag")


def days_of_years(time: xr.DataArray, step: str, *, incomplete: str = "raise") -> xr.DataArray:
    """How many days of each year each step covers, dims (year, time).

    Parameters
    ----------
    time : xr.DataArray
        datetime64 or cftime, of any calendar.
    step : {"daily", "monthly"}
    incomplete : {"raise", "drop", "flag"}
        Refuse years that are not whole, leave them out, or keep them. A year is whole without its
        29th of February, too: some models leave it out.

    Returns
    -------
    xr.DataArray
        Days, 0 where the step is of another year; coordinate ``year``, and along it ``length``,
        the days that the year has.

    Raises
    ------
    DataError
        A year is not whole, or none is.

    Examples
    --------
    >>> time = xr.date_range("2003-01-01", periods=24, freq="MS").to_series().to_xarray()["index"]
    >>> days_of_years(time, "monthly").sum("index").values
    array([365., 366.])
    """
    if incomplete not in INCOMPLETE:
        raise DataError(
            f'found incomplete={incomplete!r}, expected "raise", "drop" or "flag": type '
            'incomplete="drop"'
        )
    dim = str(time.dims[0])
    of = time.dt.year.values
    years = np.unique(of)
    days = (of == years[:, np.newaxis]) * step_days(time, step)
    length = np.array([_length(int(year), str(time.dt.calendar)) for year in years])
    whole = days.sum(axis=1) >= length - (length == 366.0)
    keep = whole if incomplete == "drop" else np.ones(years.size, bool)
    if not keep.any() or (incomplete == "raise" and not whole.all()):
        raise DataError(_not_whole(years, days.sum(axis=1), length, whole, dim))
    return xr.DataArray(
        days[keep],
        {"year": years[keep].astype(np.int64), "length": ("year", length[keep])},
        ("year", dim),
    )


def _length(year: int, calendar: str) -> float:
    """Days of a year."""
    import cftime

    first, last = (cftime.datetime(y, 1, 1, calendar=calendar) for y in (year, year + 1))
    return float((last - first).days)


def _not_whole(
    years: npt.NDArray[np.int64],
    days: npt.NDArray[np.float64],
    length: npt.NDArray[np.float64],
    whole: npt.NDArray[np.bool_],
    dim: str,
) -> str:
    rows = zip(years[~whole], days[~whole], length[~whole], strict=True)
    found = ", ".join(f"{year} ({have:.0f} of {of:.0f} days)" for year, have, of in rows)
    if not whole.any():
        return (
            f"no year is whole: {found}. A budget is of whole years; for what is there of them: "
            'incomplete="flag"'
        )
    good = years[whole]
    return (
        f'years that are not whole: {found}. Leave them out, incomplete="drop" or '
        f'ds.sel({dim}=slice("{good[0]}", "{good[-1]}")), or keep them as they are, '
        'incomplete="flag"'
    )
