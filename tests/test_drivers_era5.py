"""Drivers from ERA5 and ERA5-Land in every layout, against plain numpy on the known truth."""

from __future__ import annotations

import numpy as np
import pytest
import reanalysis
import xarray as xr
from faulty import says, warned

from xflux.errors import DataError, SchemaError

small_pieces = reanalysis.small_pieces
ALL = ["TA", "TA_MIN", "TA_MAX", "SW_IN", "VPD", "P"]


@pytest.fixture(scope="module")
def world() -> xr.Dataset:
    return reanalysis.truth()


@pytest.fixture(scope="module")
def expected(world: xr.Dataset) -> dict[str, np.ndarray]:
    return reanalysis.daily(world)


LAYOUTS = {
    "era5": lambda world: reanalysis.era5(world),
    "era5_land": lambda world: reanalysis.era5_land(world),
    "era5_new_cds": lambda world: reanalysis.new_cds(reanalysis.era5(world)),
    "era5_land_new_cds": lambda world: reanalysis.new_cds(reanalysis.era5_land(world)),
    "two_versions": lambda world: reanalysis.mixed_versions(reanalysis.era5(world), 60),
    "two_versions_5_first": lambda world: reanalysis.mixed_versions(
        reanalysis.era5(world), 60
    ).isel(expver=[1, 0]),
    "number": lambda world: reanalysis.era5(world).expand_dims(number=[0]),
    "long_names": lambda world: reanalysis.era5(world).rename(
        t2m="2m_temperature", d2m="2m_dewpoint_temperature", tp="total_precipitation",
        ssrd="surface_solar_radiation_downwards",
    ),
    "earth_engine": lambda world: reanalysis.era5(world).rename(
        t2m="temperature_2m", d2m="dewpoint_temperature_2m", tp="total_precipitation_hourly",
        ssrd="surface_solar_radiation_downwards_hourly",
    ),
    "float32": lambda world: reanalysis.era5(world).astype("float32"),
    "time_last": lambda world: reanalysis.era5(world).transpose("latitude", "longitude", "time"),
    "microseconds": lambda world: reanalysis.era5(world).assign_coords(
        time=reanalysis.era5(world).time.values.astype("datetime64[us]")
    ),
}  # fmt: skip


@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_days_of_every_layout(
    world: xr.Dataset, expected: dict[str, np.ndarray], no_computes, layout: str, lazy: bool
) -> None:
    ds = LAYOUTS[layout](world)
    kind = "day" if "land" in layout else "step"
    if lazy:
        time = "valid_time" if "valid_time" in ds.dims else "time"
        ds = ds.chunk({time: 17, "latitude": 2})
    with no_computes():
        found = ds.flux.drivers(accumulation=kind if lazy else None)
    assert list(found.data_vars) == ALL
    assert (found.TA.chunks is not None) == lazy
    order = "latitude longitude time" if layout == "time_last" else "time latitude longitude"
    assert found.TA.dims == tuple(order.replace("time", "valid_time").split()
                                  if "valid_time" in ds.dims else order.split())  # fmt: skip
    time_first = found.transpose(*[d for d in found.dims if "time" in str(d)], ...)
    if layout == "float32":
        expected = reanalysis.daily(world.astype("float32").astype("float64"))
    reanalysis.close(time_first.transpose(..., "latitude", "longitude"), expected)
    np.testing.assert_array_equal(found.latitude, ds.latitude)
    assert found.latitude.attrs == {**ds.latitude.attrs, "standard_name": "latitude"}
    assert not {"number", "expver"} & set(found.variables)


def test_halves_of_a_download_are_put_together(
    world: xr.Dataset, expected: dict[str, np.ndarray]
) -> None:
    both = reanalysis.new_cds(reanalysis.era5(world))
    instant, accumulated = (
        reanalysis.new_cds(reanalysis.era5(world), kind) for kind in ("instant", "accum")
    )
    found = instant.flux.drivers(beside=accumulated)
    reanalysis.close(found, expected)
    xr.testing.assert_equal(found, both.flux.drivers())


def test_forecasts_of_grib_are_put_beside(
    world: xr.Dataset, expected: dict[str, np.ndarray]
) -> None:
    grib = reanalysis.grib_land(world)
    states = reanalysis.era5_land(world)[["t2m", "d2m"]]
    for chunks in ({}, {"time": 1}):
        found = states.flux.drivers(beside=grib.chunk(chunks) if chunks else grib)
        reanalysis.close(found, expected)
    alone = grib.flux.drivers()
    assert alone.P.dims == ("time", "latitude", "longitude")
    np.testing.assert_allclose(alone.P, expected["P"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("hours", [0, 1, -7, 5.5])
@pytest.mark.parametrize("kind", ["step", "day"])
def test_days_by_another_clock(world: xr.Dataset, hours: float, kind: str) -> None:
    ds = reanalysis.era5(world) if kind == "step" else reanalysis.era5_land(world)
    found = ds.flux.drivers(utc_offset=hours, completeness=1.0)
    if hours == 5.5:  # a half-hour: stamps from 18:30 UTC on belong to the next day
        whole = reanalysis.daily(world, hours=5)
        np.testing.assert_allclose(found.TA, whole["TA"][: found.sizes["time"]], rtol=1e-6)
        return
    whole = reanalysis.daily(world, hours=int(hours))
    count = found.sizes["time"]
    assert count == (reanalysis.DAYS if hours == 0 else reanalysis.DAYS - 1)
    first = np.datetime64(reanalysis.START) + np.timedelta64(1 if hours > 0 else 0, "D")
    assert found.time.values[0] == first
    reanalysis.close(found, {name: v[:count] for name, v in whole.items()})


def test_days_by_the_sun(world: xr.Dataset) -> None:
    turned = reanalysis.era5(world).assign_coords(longitude=[0.0, 100.0, 262.5, 187.4])
    found = turned.flux.drivers(utc_offset="longitude")
    np.testing.assert_array_equal(found.utc_offset, [0.0, 7.0, -6.0, -12.0])
    for i, hours in enumerate((0, 7, -6, -12)):
        alone = turned.isel(longitude=[i]).flux.drivers(utc_offset=float(hours))
        same = alone.sel(time=found.time)
        for name in ALL:
            np.testing.assert_array_equal(found[name].isel(longitude=[i]), same[name])
    lazily = turned.chunk({"time": 30, "longitude": 3}).flux.drivers(
        utc_offset="longitude", accumulation="step"
    )
    xr.testing.assert_equal(found, lazily.compute())


def test_a_clock_of_each_place(world: xr.Dataset) -> None:
    ds = reanalysis.era5(world)
    hours = xr.DataArray([0.0, 1.0, -3.0], dims="latitude")
    found = ds.flux.drivers(utc_offset=hours)
    for i, ahead in enumerate(hours.values):
        alone = ds.isel(latitude=[i]).flux.drivers(utc_offset=float(ahead))
        np.testing.assert_array_equal(found.SW_IN[:, [i]], alone.SW_IN.sel(time=found.time))


@pytest.mark.parametrize("step", [3, 6])
def test_every_third_or_sixth_hour(world: xr.Dataset, step: int) -> None:
    """States of every third hour, and what fell in the three hours before."""
    three = world.isel(time=slice(None, None, step)).copy(deep=True)
    for name in ("ssrd", "tp"):
        three[name].values[:] = world[name].values.reshape(-1, step, 3, 4).sum(axis=1)
    stamps = three.time.to_index()
    ds = three.reindex(time=stamps.append(stamps[-1:] + (stamps[1] - stamps[0])))
    for name in ("ssrd", "tp"):
        ds[name][1:] = three[name].values
        ds[name][0] = 0.0
    ds = reanalysis._attributes(ds)
    found = ds.flux.drivers(accumulation="step")
    sums = {n: v for n, v in reanalysis.daily(world).items() if n in ("SW_IN", "P")}
    reanalysis.close(found, sums)
    states = world.t2m.values[::step].reshape(-1, 24 // step, 3, 4) - 273.15
    np.testing.assert_allclose(found.TA_MAX, states.max(axis=1), rtol=1e-6)


def test_mean_rates_speak_of_the_hour_before(
    world: xr.Dataset, expected: dict[str, np.ndarray]
) -> None:
    ds = reanalysis.era5(world)
    ds = ds.assign(avg_sdswrf=ds.ssrd / 3600, avg_tprate=ds.tp * 1000 / 3600)
    ds.avg_sdswrf.attrs["units"], ds.avg_tprate.attrs["units"] = "W m**-2", "kg m**-2 s**-1"
    found = ds.drop_vars(["ssrd", "tp"]).chunk(time=24).flux.drivers()
    reanalysis.close(found, expected)


def test_extremes_of_each_hour_are_used(world: xr.Dataset) -> None:
    ds = reanalysis.era5(world)
    lowest = xr.concat([ds.t2m, ds.t2m.shift(time=1)], "k").min("k") - 0.3
    ds["mn2t"] = lowest.assign_attrs(units="K")
    found = ds.flux.drivers()
    hourly = (lowest.values[1:] - 273.15).reshape(-1, 24, 3, 4)
    np.testing.assert_allclose(found.TA_MIN, hourly.min(axis=1), rtol=1e-6)


# --- which kind the amounts are ------------------------------------------------------------------


def test_amounts_taken_for_the_other_kind_are_refused(world: xr.Dataset) -> None:
    for make, kind, words in (
        (reanalysis.era5, "day", 'accumulation="step"'),
        (reanalysis.era5_land, "step", 'accumulation="day"'),
    ):
        with pytest.raises(DataError, match="was taken for amounts") as caught:
            make(world).flux.drivers(accumulation=kind)
        says(caught.value, words)
        lazily = make(world).chunk(time=48).flux.drivers(accumulation=kind)
        with pytest.raises(DataError, match="was taken for amounts"):
            lazily.SW_IN.compute()


def test_lazy_amounts_of_an_unknown_kind_are_refused(world: xr.Dataset, no_computes) -> None:
    ds = reanalysis.era5(world).chunk(time=48).assign_coords(latitude=[50.0, 49.0, 48.0])
    with no_computes(), pytest.raises(SchemaError, match="The Dataset does not tell") as caught:
        ds.flux.drivers()
    says(caught.value, "'ssrd', 'tp'", 'accumulation="step"', 'accumulation="day"')


@pytest.mark.parametrize("told", ["spacing", "history", "source"])
def test_lazy_amounts_of_a_known_kind(
    world: xr.Dataset, expected: dict[str, np.ndarray], told: str
) -> None:
    ds = reanalysis.era5_land(world).chunk(time=48)
    if told == "spacing":
        ds = ds.assign_coords(latitude=[50.2, 50.1, 50.0])
    else:
        ds.attrs[told] = "reanalysis-era5-land of today"
    reanalysis.close(ds.flux.drivers(), expected)
    quarter = reanalysis.era5(world).chunk(time=48)
    reanalysis.close(quarter.flux.drivers(), expected)


def test_totals_at_midnight_are_of_the_day_before(world: xr.Dataset) -> None:
    midnight = reanalysis.era5_land(world)[["tp"]].isel(time=slice(None, None, 24))
    found = midnight.flux.drivers(accumulation="day")
    total = reanalysis.daily(world)["P"]
    np.testing.assert_allclose(found.P[:-1], total, rtol=1e-6)
    assert np.isnan(found.P[-1]).all()


# --- gaps and edges ------------------------------------------------------------------------------


def test_a_day_needs_most_of_its_hours(world: xr.Dataset) -> None:
    ds = reanalysis.era5(world)
    ds["t2m"][24 + 5 : 24 + 5 + 2, 0, 0] = np.nan
    ds["t2m"][48 + 5 : 48 + 5 + 3, 0, 0] = np.nan
    found = ds.flux.drivers()
    hours = ds.t2m.values[24:48, 0, 0] - 273.15
    assert found.TA.values[1, 0, 0] == pytest.approx(np.nanmean(hours), rel=1e-6)
    assert np.isnan(found.TA.values[2, 0, 0])
    assert np.isnan(found.VPD.values[2, 0, 0])
    assert np.isfinite(found.TA.values[:, 1:]).all()
    half = ds.flux.drivers(completeness=0.5)
    assert np.isfinite(half.TA.values).all()


def test_hours_that_are_not_there_leave_missing_days(world: xr.Dataset) -> None:
    ds = reanalysis.era5(world)
    gone = ds.isel(time=np.r_[0:30, 80:145])
    found = gone.flux.drivers()
    assert found.sizes["time"] == reanalysis.DAYS
    assert np.isnan(found.TA.values[1:3]).all()
    reanalysis.close(found.isel(time=slice(4, None)), {
        name: v[4:] for name, v in reanalysis.daily(world).items()
    })  # fmt: skip
    lazily = gone.chunk(time=10).flux.drivers(accumulation="step").compute()
    xr.testing.assert_equal(found, lazily)


def test_days_that_are_not_whole_are_left_out(world: xr.Dataset) -> None:
    ds = reanalysis.era5(world).isel(time=slice(5, -1 - 9))
    found = ds.flux.drivers()
    assert found.sizes["time"] == reanalysis.DAYS - 2
    assert str(found.time.values[0])[:10] == "2003-02-27"


def test_an_hour_that_is_not_there_ends_a_running_amount() -> None:
    world = reanalysis.truth(days=2)
    ds = reanalysis.era5_land(world)
    ds["tp"][10] = np.nan
    found = ds.flux.drivers(completeness=1.0)
    assert np.isnan(found.P[0]).all()
    assert np.isfinite(found.P[1]).all()


# --- errors --------------------------------------------------------------------------------------


def test_everything_in_the_way_is_in_one_error(world: xr.Dataset) -> None:
    ds = reanalysis.era5(world)
    ds["t2m"].attrs["units"] = "foot"
    del ds["d2m"].attrs["units"]
    yearly = xr.Dataset(
        {"LAI": ("time", np.ones(4))}, {"time": xr.date_range("2000", periods=4, freq="YS")}
    )
    with pytest.raises(SchemaError, match="4 problems in the Datasets for drivers") as caught:
        ds.drop_vars("longitude").flux.drivers(beside=yearly, utc_offset="longitude")
    says(caught.value, "'foot'", "'d2m' (TD) has no units", "yearly", "needs a longitude")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "hourly"}, "to='hourly' is not known"),
        ({"accumulation": "hour"}, "accumulation='hour' is not known"),
        ({"completeness": 0}, "completeness=0.9"),
        ({"leaves": "nearest"}, "leaves='nearest' is not known"),
    ],
)
def test_options_that_are_not_known(world: xr.Dataset, options: dict, words: str) -> None:
    with pytest.raises(DataError, match=words):
        reanalysis.era5(world).flux.drivers(**options)


def test_monthly_means_by_the_hour_of_the_day_are_refused() -> None:
    months = xr.date_range("2001-01-01", periods=6, freq="MS")
    time = (months.values[:, None] + np.arange(24) * np.timedelta64(1, "h")).ravel()
    ds = xr.Dataset({"t2m": ("time", np.full(time.size, 280.0), {"units": "K"})}, {"time": time})
    with pytest.raises(SchemaError, match="has one day a month"):
        ds.flux.drivers()


def test_values_that_cannot_be_are_refused(world: xr.Dataset) -> None:
    ds = reanalysis.era5(world)
    ds["t2m"].attrs["units"] = "degC"
    with pytest.raises(DataError, match="looks like kelvin"):
        ds.flux.drivers()


def test_the_input_is_not_changed(world: xr.Dataset) -> None:
    ds = reanalysis.new_cds(reanalysis.mixed_versions(reanalysis.era5(world), 60).isel(expver=0))
    before = ds.copy(deep=True)
    ds.flux.drivers()
    xr.testing.assert_identical(ds, before)


# --- months --------------------------------------------------------------------------------------


def test_months_from_hours_are_means_of_days() -> None:
    world = reanalysis.truth(days=59, start="2001-01-01", seed=2)
    expected = {
        name: np.stack([v[:31].mean(axis=0), v[31:].mean(axis=0)])
        for name, v in reanalysis.daily(world).items()
    }
    ds = reanalysis.era5(world)
    found = ds.flux.drivers(to="monthly")
    reanalysis.close(found, expected)
    assert found.TA_MIN.attrs["cell_methods"].endswith("time: mean (of the days of the month)")
    lazily = ds.chunk(time=100, latitude=1).flux.drivers(to="monthly", accumulation="step")
    xr.testing.assert_allclose(lazily.compute(), found, rtol=1e-6)
    np.testing.assert_array_equal(found.time, xr.date_range("2001-01", periods=2, freq="MS"))


@pytest.mark.parametrize("name", ["tp", "ssrd"])
def test_monthly_means_are_amounts_a_day(name: str) -> None:
    time = xr.date_range("2001-01-01", periods=5, freq="MS")
    units = {"tp": "m", "ssrd": "J m**-2"}[name]
    ds = xr.Dataset({name: ("time", np.full(5, 8.64e-3), {"units": units})}, {"time": time})
    with warned("taken as a monthly mean of ERA5"):
        found = ds.flux.drivers()
    (value,) = {float(v) for v in next(iter(found.data_vars.values())).values}
    assert value == pytest.approx({"tp": 8.64, "ssrd": 1e-7}[name])


def test_a_model_takes_its_own_drivers(world: xr.Dataset, daily_model, monthly_model) -> None:
    ds = reanalysis.era5(world)
    found = ds.flux.drivers(daily_model)
    assert set(found.data_vars) == set(ALL)
    with pytest.raises(SchemaError, match="driver SW_IN") as caught:
        ds.drop_vars("ssrd").flux.drivers(daily_model)
    says(caught.value, "is missing", "ssrd")
    with pytest.raises(DataError, match="the model is monthly"):
        ds.flux.drivers(monthly_model, to="daily")
    with pytest.raises(SchemaError, match="no month has 90%"):
        ds.flux.drivers(monthly_model)
