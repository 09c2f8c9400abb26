"""The numbers YYYY, YYYYMM, YYYYMMDD and YYYYMMDDHHMM by which the networks tell the time."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
import pandas as pd

from xflux.errors import DataError

STEPS = {4: "yearly", 6: "monthly", 8: "daily", 12: "sub-daily", 14: "sub-daily"}
"""Time step by the number of digits of a time stamp."""


def digits(text: str) -> int:
    """How many digits a stamp has; 0 where it is none.

    Examples
    --------
    >>> digits("200501"), digits("20050101.0"), digits("2005-01-01")
    (6, 8, 0)
    """
    whole = text.strip().removesuffix(".0")
    return len(whole) if whole.isdigit() else 0


def parse_stamps(column: pd.Series | npt.NDArray[np.int64], name: str) -> pd.DatetimeIndex:
    """Turn the numbers of a column of time stamps into times.

    Parameters
    ----------
    column : pandas.Series or numpy.ndarray
        All of one length: 4, 6, 8, 12 or 14 digits.
    name : str
        The column's name, for messages.

    Raises
    ------
    DataError
        A stamp is missing, has another length, or is no date.

    Examples
    --------
    >>> parse_stamps(pd.Series([202002, 202003]), "TIMESTAMP")[0]
    Timestamp('2020-02-01 00:00:00')
    """
    if column.dtype.kind == "M":
        return pd.DatetimeIndex(column).as_unit("ns")
    whole = _whole(column, name)
    lengths = {len(str(v)) for v in (int(whole.min()), int(whole.max()))}
    if len(lengths) != 1 or (length := lengths.pop()) not in STEPS:
        raise DataError(
            f"{name} runs from {whole.min()} to {whole.max()}; expected YYYYMM, YYYYMMDD or "
            "YYYYMMDDHHMM throughout"
        )
    if length in (6, 8) and (known := _looked_up(whole, length)) is not None:
        return known
    if length == 14:
        whole, length = whole // 100, 12
    year, month, day, hour, minute = _parts(whole, length)
    good = (month >= 1) & (month <= 12) & (year >= 1900) & (year <= 2200)
    months = np.where(good, (year - 1970) * 12 + month - 1, 0)
    first = int(months.min())
    every = np.arange(first, int(months.max()) + 2).astype("datetime64[M]")
    starts = every.astype("datetime64[D]").astype(np.int64)
    good &= (day >= 1) & (day <= np.diff(starts)[months - first]) & (hour <= 24) & (minute < 60)
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise DataError(f"{name} holds {whole[row]} in row {row + 1}, which is no date")
    minutes = ((starts[months - first] + day - 1) * 24 + hour) * 60 + minute
    return pd.DatetimeIndex((minutes * 60_000_000_000).view("datetime64[ns]"))


@functools.cache
def _calendar(length: int) -> tuple[npt.NDArray[np.int64], pd.DatetimeIndex]:
    """Every month (6 digits) or day (8 digits) from 1900 to 2200 as a number and as a time."""
    time = pd.date_range("1900-01-01", "2200-12-31", freq="MS" if length == 6 else "D", unit="ns")
    number = time.year * 100 + time.month
    if length == 8:
        number = number * 100 + time.day
    return number.to_numpy(np.int64), pd.DatetimeIndex(time.to_numpy())


def _looked_up(whole: npt.NDArray[np.int64], length: int) -> pd.DatetimeIndex | None:
    """Times of months or days that follow each other without a gap, as they nearly always do."""
    numbers, times = _calendar(length)
    first = int(np.searchsorted(numbers, whole[0]))
    here = slice(first, first + len(whole))
    return times[here] if np.array_equal(numbers[here], whole) else None


def _whole(column: pd.Series | npt.NDArray[np.int64], name: str) -> npt.NDArray[np.int64]:
    """Whole numbers of a column, whether it came as numbers or as text."""
    if column.dtype.kind == "i":
        return np.asarray(column, dtype=np.int64)
    column = pd.Series(column)
    number = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    if not np.isfinite(number).all():
        row = int(np.flatnonzero(~np.isfinite(number))[0])
        raise DataError(
            f"{name} holds {str(column.iloc[row])[:40]!r} in row {row + 1}; expected numbers like "
            "20050131"
        )
    return number.astype(np.int64)


def _parts(whole: npt.NDArray[np.int64], length: int) -> tuple[npt.NDArray[np.int64], ...]:
    """Year, month, day, hour and minute of stamps of one length."""
    year = whole // 10 ** (length - 4)
    two = [(whole // 10 ** (length - 4 - 2 * i)) % 100 for i in range(1, (length - 4) // 2 + 1)]
    ones, zeros = np.ones_like(whole), np.zeros_like(whole)
    defaults = [ones, ones, zeros, zeros]
    return (year, *two, *defaults[len(two) :])


def check_order(index: pd.DatetimeIndex) -> None:
    """Refuse times that occur twice.

    Raises
    ------
    DataError
        Names the first time that does.
    """
    if not index.is_unique:
        twice = index[index.duplicated()]
        raise DataError(
            f"{len(twice)} time stamps occur twice, the first {twice[0]:%Y-%m-%d %H:%M}; a "
            "spreadsheet may have shortened them: use the file as published"
        )
