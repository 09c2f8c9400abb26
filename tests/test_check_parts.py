"""What the checks build on, each against a reference: the sun, robust statistics, the time axis."""

from __future__ import annotations

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xflux.audit import robust, sun
from xflux.audit.breaks import step_sizes
from xflux.audit.repeats import fingerprints, telling
from xflux.audit.timeline import timeline

SERIES = arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 30)),
    elements=st.one_of(st.floats(-100, 100, width=32), st.just(float("nan"))),
)


@given(SERIES, st.floats(0, 1))
def test_quantiles_are_those_of_numpy(values: np.ndarray, share: float) -> None:
    found = robust.quantile(values, share)
    for row, one in zip(values, found, strict=True):
        held = np.sort(row[np.isfinite(row)])
        expected = held[int(share * (held.size - 1))] if held.size else np.nan
        np.testing.assert_array_equal(one, expected)


@given(SERIES)
def test_means_are_those_of_numpy(values: np.ndarray) -> None:
    expected = [
        row[np.isfinite(row)].mean() if np.isfinite(row).any() else np.nan for row in values
    ]
    np.testing.assert_allclose(robust.mean(values), expected, rtol=1e-4, atol=1e-3)


def test_correlation_is_that_of_numpy() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 3, 50))
    one[0, :10] = np.nan
    expected = [
        np.corrcoef(a[~np.isnan(a)], b[~np.isnan(a)])[0, 1] for a, b in zip(one, other, strict=True)
    ]
    np.testing.assert_allclose(robust.correlation(one, other), expected, rtol=1e-5)


def test_radiation_above_the_air_of_fao_56() -> None:
    # FAO-56, example 8: 32.2 MJ m-2 d-1 at 20 degrees south on 3 September, solar constant 1367.
    found = sun.daily_top(np.array([-20.0]), np.array([246.0]))[0, 0]
    assert abs(found * 0.0864 - 32.2 * 1361 / 1367) < 0.1


def test_hours_add_up_to_the_day() -> None:
    lat, lon = np.array([51.0, -30.0, 70.0]), np.array([10.0, 150.0, 25.0])
    hour = np.arange(0, 24, 0.1) + 0.05
    day = np.full(hour.size, 150.0)
    noon = sun.noon(lon, np.array([1.0, 10.0, 2.0]), day)
    hours = sun.top(lat, day, hour, noon).mean(axis=1)
    np.testing.assert_allclose(hours, sun.daily_top(lat, day[:1])[:, 0], rtol=2e-3)


@pytest.mark.parametrize(("day", "minutes"), [(42, -14.2), (306, 16.4), (105, 0.0), (206, -6.5)])
def test_equation_of_time(day: int, minutes: float) -> None:
    # Minutes by which a sundial is ahead of a clock; the Astronomical Almanac.
    noon = sun.noon(np.array([0.0]), np.array([0.0]), np.array([float(day)]))[0, 0]
    assert abs((12 - noon) * 60 - minutes) < 1.0


@given(st.integers(0, 40), st.integers(2, 12))
def test_windows_have_the_same_mark_wherever_they_stand(shift: int, window: int) -> None:
    values = np.random.default_rng(3).normal(size=(1, 60)).astype("f4")
    moved = np.concatenate([np.zeros((1, shift), "f4"), values], axis=1)
    np.testing.assert_array_equal(
        fingerprints(values, window), fingerprints(moved, window)[:, shift:]
    )


def test_windows_that_tell_nothing() -> None:
    values = np.random.default_rng(3).normal(size=(3, 20)).astype("f4")
    values[1] = 5.0
    values[2, 10] = np.nan
    assert telling(values, 8).sum(axis=1).tolist() == [13, 0, 5]


def test_steps_compare_like_months() -> None:
    month = np.arange(60)
    season = 10 * np.cos(2 * np.pi * month / 12)
    series = (season + 3.0 * (month >= 25))[None].astype("f4")
    series[0, 40:46] = np.nan
    steps = step_sizes(series)
    assert int(np.nanargmax(steps.size)) == 25
    np.testing.assert_allclose(steps.size[0, 25], 3.0, atol=1e-4)


def test_axis_of_months_and_of_other_calendars() -> None:
    months = pd.DatetimeIndex(["2001-01-31", "2001-02-28", "2001-04-30", "2001-05-31"])
    line, faults = timeline(xr.DataArray(months, dims="time", name="time"))
    assert line is not None
    assert (line.step, line.times.size, line.place.tolist()) == ("monthly", 5, [0, 1, 3, 4])
    assert [fault.kind for fault in faults] == ["missing times"]
    days = [cftime.DatetimeNoLeap(2000, 2, 27 + i) for i in range(2)]
    days += [cftime.DatetimeNoLeap(2000, 3, 1 + i) for i in range(3)]
    line, faults = timeline(xr.DataArray(days, dims="time", name="time"))
    assert line is not None
    assert (line.step, line.slots, faults) == ("daily", 365, [])
    assert line.slot.tolist() == [57, 58, 59, 60, 61]


def test_leap_days_may_be_left_out() -> None:
    days = pd.date_range("2003-01-01", "2005-12-31")
    days = days[~((days.month == 2) & (days.day == 29))]
    line, faults = timeline(xr.DataArray(days, dims="time", name="time"))
    assert faults == []
    assert line is not None
    assert line.fold(np.ones((1, line.times.size), "f4")).shape == (1, 3, 365)


def test_one_stamp_far_off_does_not_fill_the_memory() -> None:
    days = [*pd.date_range("2003-01-01", periods=50), pd.Timestamp("2203-01-01")]
    line, faults = timeline(xr.DataArray(pd.DatetimeIndex(days), dims="time", name="time"))
    assert line is not None
    assert line.times.size == 51
    assert "missing times" in [fault.kind for fault in faults] or faults
