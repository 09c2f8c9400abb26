"""From half-hours or hours to days, and from days to months: the right rule for each variable.

Fluxes and precipitation arrive as rates a day, so that a mean over a whole day is the day's sum;
vapour pressure deficit is a mean of half-hours, never computed from daily means; TA_MIN and TA_MAX
are the lowest and highest half-hour; quality is the share of measured or well-filled half-hours.
A day, or a month, with too few values is missing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from xflux.cf.aggregation import EXTREMES, aggregate, statistic
from xflux.errors import DataError
from xflux.readers.records import SUB_DAILY, Record, Table


def to_days(record: Record, completeness: float) -> Record:
    """Average a record of half-hours or hours to days, by local standard time.

    Parameters
    ----------
    record : Record
        Stamped with the start of each half-hour or hour.
    completeness : float
        Share of a day's steps that must hold a value (0 to 1).

    Raises
    ------
    DataError
        The steps are neither half-hours nor hours.

    Examples
    --------
    >>> time = pd.date_range("2005-01-01", periods=48, freq="30min")
    >>> data = Table(time, {"TA": np.arange(48.0)})
    >>> record = Record(site="XX-One", product="table", step="sub-daily", where="", data=data)
    >>> {name: float(values[0]) for name, values in to_days(record, 0.9).data.columns.items()}
    {'TA': 23.5, 'TA_MIN': 0.0, 'TA_MAX': 47.0}
    """
    time, columns = record.data
    least = completeness * per_day(time)
    days = time.to_numpy().astype("datetime64[D]").astype(np.int64)
    if "TA" in columns:
        columns = {**columns, **{n: columns["TA"] for n in EXTREMES if n not in columns}}
    means = {
        name: aggregate(values, days, statistic(name, SUB_DAILY), least)[1]
        for name, values in columns.items()
    }
    index = pd.DatetimeIndex(np.unique(days).astype("datetime64[D]")).as_unit("ns")
    return replace(record, step="daily", data=Table(index, means))


def to_months(record: Record, completeness: float) -> Record:
    """Average a record of days to months.

    Parameters
    ----------
    record : Record
        Daily.
    completeness : float
        Share of a month's days that must hold a value (0 to 1).
    """
    time, columns = record.data
    months = time.to_numpy().astype("datetime64[M]").astype(np.int64)
    first = np.unique(months).astype("datetime64[M]")
    lengths = (first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")
    least = completeness * lengths.astype(np.float64)
    means = {
        name: aggregate(values, months, statistic(name, "daily"), least)[1]
        for name, values in columns.items()
    }
    index = pd.DatetimeIndex(first).as_unit("ns")
    return replace(record, step="monthly", data=Table(index, means))


def per_day(time: pd.DatetimeIndex) -> int:
    """How many steps a day has: 48 for half-hours, 24 for hours.

    Raises
    ------
    DataError
        The steps are neither.
    """
    if len(time) < 2:
        raise DataError("only one time stamp; expected half-hours or hours")
    minutes = median_gap(time) / 60.0
    rounded = int(minutes) if minutes == int(minutes) and minutes > 0 else 0
    if rounded == 0 or rounded > 180 or 1440 % rounded:
        raise DataError(f"steps of {minutes:g} minutes; expected half-hours or hours")
    return 1440 // rounded


def median_gap(time: pd.DatetimeIndex) -> float:
    """Median of the gaps between times, in seconds."""
    stamps = np.sort(time.to_numpy()).astype("datetime64[s]").astype(np.int64)
    return float(np.median(np.diff(stamps)))
