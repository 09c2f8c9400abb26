"""The fault table: amounts, calendars and clocks. Each test id begins with the row's number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import reanalysis
import xarray as xr
from faulty import drivers_of, follow, row, same, says

from xflux.cf.schema import resolve
from xflux.errors import DataError, SchemaError

if TYPE_CHECKING:
    from xflux.model import FluxModel


@pytest.fixture(scope="module")
def drivers(some_towers: xr.Dataset) -> xr.Dataset:
    return drivers_of(some_towers)


@pytest.fixture(scope="module")
def months(monthly_model: FluxModel) -> xr.Dataset:
    import xflux

    towers = xflux.datasets.load("simulated-towers", sites=3, years=2, time_step="monthly")
    return drivers_of(towers)


# --- amounts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", [row(8, "joules_called_watts", "W m-2")])
def test_joules_called_watts(units: str) -> None:
    ds = reanalysis.era5(reanalysis.truth(days=2))
    ds["ssrd"].attrs["units"] = units
    with pytest.raises(DataError, match="looks like energy per step") as caught:
        ds.flux.drivers()
    says(caught.value, 'ds["ssrd"].attrs["units"] = "J m-2"')


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        row(9, "running_amounts_taken_for_hourly", reanalysis.era5_land, "step"),
        row(9, "hourly_amounts_taken_for_running", reanalysis.era5, "day"),
    ],
)
@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
def test_amounts_of_the_other_kind(make, kind: str, lazy: bool) -> None:
    ds = make(reanalysis.truth())
    with pytest.raises(DataError, match="was taken for amounts") as caught:
        (ds.chunk(time=24) if lazy else ds).flux.drivers(accumulation=kind).load()
    other = {"step": "day", "day": "step"}[kind]
    says(caught.value, f'ds.flux.drivers(accumulation="{other}")')
    reanalysis.close(ds.flux.drivers(accumulation=other), reanalysis.daily(reanalysis.truth()))


# --- days and calendars ---------------------------------------------------------------------------


@pytest.mark.parametrize("gone", [row(26, "missing_days", [100, 101, 102, 103, 104])])
def test_missing_days_are_put_in(
    drivers: xr.Dataset, daily_model: FluxModel, gone: list[int]
) -> None:
    ds = drivers.drop_isel(time=gone)
    with pytest.raises(SchemaError, match="5 days are missing") as caught:
        ds.flux.predict(daily_model)
    found = follow(caught.value, ds).flux.predict(daily_model)
    assert found.sizes["time"] == drivers.sizes["time"]
    same(found.isel(time=slice(0, 100)), drivers.flux.predict(daily_model).isel(time=slice(0, 100)))


CALENDARS = [row(27, name, name) for name in ("noleap", "360_day", "all_leap", "julian")]


@pytest.mark.parametrize("calendar", CALENDARS)
@pytest.mark.parametrize("step", ["daily", "monthly"])
@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
def test_calendar_is_kept(
    drivers: xr.Dataset, months: xr.Dataset, daily_model: FluxModel, monthly_model: FluxModel,
    calendar: str, step: str, lazy: bool,
) -> None:  # fmt: skip
    ds, model = {"daily": (drivers, daily_model), "monthly": (months, monthly_model)}[step]
    ds = ds.isel(time=slice(0, 40)) if step == "daily" else ds
    time = xr.date_range(
        "2004-02-01", periods=ds.sizes["time"], freq={"daily": "D", "monthly": "MS"}[step],
        calendar=calendar, use_cftime=True,
    )  # fmt: skip
    turned = ds.assign_coords(time=time)
    turned = turned.chunk(time=11, site=2) if lazy else turned
    found = turned.flux.predict(model)
    xr.testing.assert_identical(found.time, turned.time)
    assert found.time.dt.calendar == calendar
    assert np.isfinite(found.GPP.values).any()
    made = turned.flux.drivers()
    np.testing.assert_array_equal(made.time.values, time)
    np.testing.assert_allclose(made.TA, ds.TA, rtol=1e-6)


@pytest.mark.parametrize("leap", [row(28, "february_29_absent", False), row(29, "leap_day", True)])
def test_leap_years_of_the_common_calendar(
    drivers: xr.Dataset, daily_model: FluxModel, leap: bool
) -> None:
    time = pd.date_range("2004-01-01", "2004-12-31")
    keep = np.ones(time.size, bool) if leap else ~((time.month == 2) & (time.day == 29))
    ds = drivers.isel(time=np.arange(keep.sum()) % 365).assign_coords(time=time[keep])
    assert resolve(ds).time_step == "daily"
    found = ds.flux.predict(daily_model)
    np.testing.assert_array_equal(found.time, time[keep])
    assert np.isfinite(found.GPP).all()
    np.testing.assert_array_equal(ds.flux.drivers().time, time[keep])
    monthly = ds.flux.drivers(to="monthly")
    february = ds.TA.sel(time="2004-02").mean("time")
    np.testing.assert_allclose(monthly.TA.isel(time=1), february, rtol=1e-6)


@pytest.mark.parametrize("hours", [row(30, "hours_for_a_daily_model", 24)])
def test_line_for_hours_makes_days(daily_model: FluxModel, hours: int) -> None:
    from xflux.errors import ModelError

    world = reanalysis.truth()
    ds = reanalysis.era5(world).assign_coords(igbp="DBF")
    with pytest.raises(ModelError, match="the Dataset is sub-daily") as caught:
        ds.drop_vars(["d2m"]).flux.predict(daily_model)
    reanalysis.close(follow(caught.value, ds), {"TA": reanalysis.daily(world)["TA"]})


@pytest.mark.parametrize("hours", [row(33, "local_days", -7)])
def test_days_are_in_utc_unless_said(hours: int) -> None:
    world = reanalysis.truth()
    ds = reanalysis.era5(world)
    utc, local = ds.flux.drivers(), ds.flux.drivers(utc_offset=hours)
    assert utc.time.attrs["comment"].endswith("in UTC")
    assert local.time.attrs["comment"].endswith("in UTC-7 h")
    assert "days in UTC-7 h" in local.attrs["history"]
    expected = reanalysis.daily(world, hours=hours)["TA_MAX"]
    np.testing.assert_allclose(local.TA_MAX, expected[: local.sizes["time"]], rtol=1e-6)


@pytest.mark.parametrize("unit", [row(34, f"dates_in_{u}", u) for u in ("s", "ms", "us", "ns")])
@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
def test_unit_of_dates_does_not_matter(
    drivers: xr.Dataset, daily_model: FluxModel, unit: str, lazy: bool
) -> None:
    short = drivers.isel(time=slice(0, 30))
    ds = short.assign_coords(time=short.time.values.astype(f"datetime64[{unit}]"))
    found = (ds.chunk(time=7) if lazy else ds).flux.predict(daily_model)
    assert found.time.dtype == ds.time.dtype
    same(found, short.flux.predict(daily_model))


@pytest.mark.parametrize("shift", [row(36, "stamps_at_the_end_of_the_day", 1)])
def test_stamps_at_the_end_of_their_bounds(drivers: xr.Dataset, shift: int) -> None:
    ds = drivers.isel(time=slice(0, 20))
    start = ds.time.values
    edges = np.stack([start, start + np.timedelta64(shift, "D")], axis=1)
    late = ds.assign(time_bnds=(("time", "bnds"), edges)).assign_coords(
        time=("time", edges[:, 1], {"bounds": "time_bnds"})
    )
    for some in (late, late.chunk(time=5)):
        found = some.flux.drivers()
        np.testing.assert_array_equal(found.time, start)
        np.testing.assert_allclose(found.TA, ds.TA, rtol=1e-6)
