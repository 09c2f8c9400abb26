"""Drivers of climate models, satellites and real files, and of awkward axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import reanalysis
import xarray as xr
from faulty import says, warned
from hypothesis import given
from hypothesis import strategies as st

from xflux.errors import DataError, SchemaError

small_pieces = reanalysis.small_pieces
CALENDARS = ["noleap", "360_day", "all_leap", "standard", "julian"]


# --- climate models ------------------------------------------------------------------------------


def cmip(calendar: str, days: int = 90, start: str = "2004-02-01T12") -> xr.Dataset:
    """Daily CMIP variables: noon stamps with bounds, a scalar height."""
    rng = np.random.default_rng(1)
    time = xr.date_range(start, periods=days, freq="D", calendar=calendar, use_cftime=True)
    midnight = xr.date_range(start[:10], periods=days + 1, calendar=calendar, use_cftime=True)
    lat, lon = np.array([-10.0, 0.0, 10.0]), np.array([0.0, 120.0, 240.0, 350.0])
    shape = (days, 3, 4)
    warm = rng.uniform(280, 300, shape)

    def cell(values: np.ndarray, units: str, methods: str = "area: time: mean") -> tuple:
        return ("time", "lat", "lon"), values, {"units": units, "cell_methods": methods}

    return xr.Dataset(
        {
            "tas": cell(warm, "K"),
            "tasmin": cell(warm - 4, "K", "area: mean time: minimum"),
            "tasmax": cell(warm + 5, "K", "area: mean time: maximum"),
            "rsds": cell(rng.uniform(50, 350, shape), "W m-2"),
            "pr": cell(rng.uniform(0, 1e-4, shape), "kg m-2 s-1"),
            "huss": cell(rng.uniform(2e-3, 6e-3, shape), "1"),
            "ps": cell(rng.uniform(9e4, 1e5, shape), "Pa"),
            "time_bnds": (("time", "bnds"), np.stack([midnight[:-1], midnight[1:]], axis=1)),
            "lat_bnds": (("lat", "bnds"), np.stack([lat - 5, lat + 5], axis=1)),
        },
        {
            "time": ("time", time, {"bounds": "time_bnds", "axis": "T"}),
            "lat": ("lat", lat, {"units": "degrees_north", "bounds": "lat_bnds"}),
            "lon": ("lon", lon, {"units": "degrees_east"}),
            "height": ((), 2.0, {"units": "m", "axis": "Z", "positive": "up"}),
        },
        {"Conventions": "CF-1.7", "institution": "a model", "frequency": "day"},
    )


def vpd_of(ds: xr.Dataset) -> np.ndarray:
    t, q, p = ds.tas.values - 273.15, ds.huss.values, ds.ps.values / 100
    return 6.1094 * np.exp(17.625 * t / (t + 243.04)) - q * p / (0.622 + 0.378 * q)


@pytest.mark.parametrize("calendar", CALENDARS)
def test_days_of_a_climate_model_stay_days(calendar: str) -> None:
    ds = cmip(calendar)
    with warned("VPD is derived from daily means of TA and QA and PA"):
        found = ds.flux.drivers()
    np.testing.assert_array_equal(found.time.values, ds.time.values)
    assert found.time.attrs.items() >= {**ds.time.attrs, "standard_name": "time"}.items()
    assert found.time.dt.calendar == calendar
    assert "height" not in found.variables
    assert {"time_bnds", "lat_bnds"} <= set(found.coords)
    np.testing.assert_allclose(found.TA, ds.tas - 273.15, rtol=1e-6)
    np.testing.assert_allclose(found.P, ds.pr * 86400, rtol=1e-6)
    np.testing.assert_allclose(found.VPD, vpd_of(ds), rtol=1e-5)
    assert "lower than the mean of sub-daily values" in found.VPD.attrs["source"]
    assert found.attrs["institution"] == "a model"


@pytest.mark.parametrize("calendar", CALENDARS)
@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
def test_months_of_any_calendar(calendar: str, lazy: bool, no_computes) -> None:
    ds = cmip(calendar)
    with warned("VPD"), no_computes():
        found = (ds.chunk(time=13, lat=2) if lazy else ds).flux.drivers(to="monthly")
    assert found.time.dt.calendar == calendar
    assert [(t.month, t.day, t.hour) for t in found.time.values] == [
        (2, 1, 0),
        (3, 1, 0),
        (4, 1, 0),
    ]
    month = ds.time.dt.month.values
    for i, number in enumerate((2, 3, 4)):
        own = month == number
        np.testing.assert_allclose(found.TA[i], ds.tas.values[own].mean(axis=0) - 273.15, rtol=1e-5)
        np.testing.assert_allclose(found.VPD[i], vpd_of(ds)[own].mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(found.TA_MIN[i] + 4, found.TA[i], rtol=1e-5)


@pytest.mark.parametrize("calendar", CALENDARS)
def test_hours_of_any_calendar(calendar: str) -> None:
    """Three-hourly: states at stamps, rates stamped in the middle of their bounds."""
    rng = np.random.default_rng(3)
    time = xr.date_range(
        "2004-02-27T01:30", periods=8 * 5, freq="3h", calendar=calendar, use_cftime=True
    )
    values = rng.uniform(280, 300, time.size)
    ds = xr.Dataset({"tas": ("time", values, {"units": "K"})}, {"time": time})
    found = ds.flux.drivers()
    np.testing.assert_allclose(found.TA, values.reshape(5, 8).mean(axis=1) - 273.15, rtol=1e-6)
    np.testing.assert_allclose(found.TA_MAX, values.reshape(5, 8).max(axis=1) - 273.15, rtol=1e-6)
    days = xr.date_range("2004-02-27", periods=5, calendar=calendar, use_cftime=True)
    np.testing.assert_array_equal(found.time.values, days)


def test_no_leap_day_in_dates_of_the_common_calendar() -> None:
    time = pd.date_range("2004-02-27", "2004-03-03T23", freq="1h")
    time = time[~((time.month == 2) & (time.day == 29))]
    ds = xr.Dataset({"tas": ("time", np.arange(time.size) / 10, {"units": "degC"})}, {"time": time})
    found = ds.flux.drivers()
    assert [str(t)[5:10] for t in found.time.values] == [
        "02-27",
        "02-28",
        "03-01",
        "03-02",
        "03-03",
    ]
    assert np.isfinite(found.TA).all()


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_unit_of_the_dates_is_kept(unit: str) -> None:
    time = pd.date_range("2004-02-27", periods=96, freq="1h").as_unit(unit)
    ds = xr.Dataset({"tas": ("time", np.full(96, 280.0), {"units": "K"})}, {"time": time})
    assert ds.flux.drivers().time.dtype == np.dtype(f"datetime64[{unit}]")


def test_times_at_the_end_of_their_bounds() -> None:
    edges = pd.date_range("2001-01-01", periods=5)
    values = np.array([[1.0], [2.0], [3.0], [4.0]])
    ds = xr.Dataset(
        {
            "tas": (("time", "site"), values, {"units": "degC"}),
            "time_bnds": (("time", "bnds"), np.stack([edges[:-1], edges[1:]], axis=1)),
        },
        {"time": ("time", edges[1:], {"bounds": "time_bnds"})},
    )
    found = ds.flux.drivers()
    np.testing.assert_array_equal(found.time, edges[:-1])
    np.testing.assert_array_equal(found.TA[:, 0], [1, 2, 3, 4])
    assert "moved to the beginning" in found.attrs["history"]


def test_dimensions_of_length_one_go(some_towers: xr.Dataset) -> None:
    ds = cmip("noleap").drop_vars(["huss", "ps", "height"])
    tall = ds.assign(tas=ds.tas.expand_dims(height=[2.0]), pr=ds.pr.expand_dims(ensemble=[3]))
    xr.testing.assert_equal(tall.flux.drivers(), ds.flux.drivers())
    members = ds.tas.expand_dims(number=[0, 1, 2]).to_dataset()
    assert members.flux.drivers().TA.dims == ("number", "time", "lat", "lon")


def test_cells_of_a_multiindex_and_curvilinear_grids() -> None:
    ds = cmip("standard").drop_vars(["huss", "ps", "time_bnds", "lat_bnds", "height"])
    plain = ds.flux.drivers()
    stacked = ds.stack(cell=("lat", "lon")).flux.drivers()
    assert "cell" in stacked.indexes
    xr.testing.assert_equal(stacked.unstack("cell").TA.transpose(*plain.TA.dims), plain.TA)
    curved = (
        ds.rename(lat="y", lon="x")
        .drop_vars(["y", "x"])
        .assign_coords(
            lat=(("y", "x"), np.full((3, 4), 50.0), {"standard_name": "latitude"}),
            lon=(("y", "x"), np.full((3, 4), 8.0), {"standard_name": "longitude"}),
        )
    )
    found = curved.flux.drivers(to="monthly")
    assert found.lat.dims == ("y", "x")
    assert found.TA.dims == ("time", "y", "x")


def test_drivers_are_predicted(daily_model) -> None:
    world = reanalysis.truth(days=40)
    ds = reanalysis.era5(world).chunk(time=100).assign_coords(igbp="DBF")
    with warned("predicting without LAI, EVI"):
        lazily = ds.flux.drivers(daily_model, accumulation="step").flux.predict(daily_model)
    assert lazily.GPP.dims == ("time", "latitude", "longitude")
    assert lazily.GPP.chunks is not None
    assert np.isfinite(lazily.GPP.values).all()
    assert "ds.flux.drivers()" in lazily.attrs["history"]


# --- leaves --------------------------------------------------------------------------------------


def leaves(length: int = 8, count: int = 12, *, start: str = "2003-02-02") -> xr.Dataset:
    """MODIS composites as stored: whole numbers, fills, and the scale that the reader knows."""
    rng = np.random.default_rng(5)
    time = pd.date_range(start, periods=count, freq=f"{length}D")
    shape = (count, reanalysis.LAT.size, reanalysis.LON.size)
    ds = xr.Dataset(
        {
            "Lai_500m": (("time", "latitude", "longitude"), rng.integers(5, 60, shape, "uint8")),
            "Fpar_500m": (("time", "latitude", "longitude"), rng.integers(20, 95, shape, "uint8")),
            "500m_16_days_EVI": (
                ("time", "latitude", "longitude"), rng.integers(800, 7000, shape, "int16")),
        },
        {"time": time, "latitude": reanalysis.LAT, "longitude": reanalysis.LON},
    )  # fmt: skip
    ds["Lai_500m"].attrs = {"units": "m^2/m^2", "valid_range": np.array([0, 100], "u1")}
    ds["Fpar_500m"].attrs = {"units": "Percent", "valid_range": np.array([0, 100], "u1")}
    ds["500m_16_days_EVI"].attrs = {"units": "EVI", "valid_range": np.array([-2000, 10000], "i2")}
    return ds


SCALES = {"Lai_500m": ("LAI", 0.1), "Fpar_500m": ("FAPAR", 0.01), "500m_16_days_EVI": ("EVI", 1e-4)}


def decoded(ds: xr.Dataset, scales: dict[str, float], tmp_path: Path) -> xr.Dataset:
    """As a reader opens the file when it holds these scales and one fill."""
    stored = ds.copy()
    for name, scale in scales.items():
        fill = {"u1": 255, "i2": -3000}[ds[name].dtype.str[1:]]
        stored[name].attrs |= {"scale_factor": scale, "_FillValue": stored[name].dtype.type(fill)}
    stored.to_netcdf(tmp_path / "leaves.nc")
    return xr.open_dataset(tmp_path / "leaves.nc")


@pytest.mark.parametrize(
    "stored", ["whole numbers", "scaled by the reader", "not decoded", "MOD13"]
)
def test_stored_numbers_and_fills(stored: str, tmp_path: Path) -> None:
    ds = leaves(count=9)
    for name in ("Lai_500m", "Fpar_500m"):
        ds[name].values[:, 0, 0] = np.r_[249:256, 10, 10]
    ds["500m_16_days_EVI"].values[:4, 0, 0] = -3000
    expected = {k: ds[k].values * scale for k, (_, scale) in SCALES.items()}
    if stored == "scaled by the reader":
        ds = decoded(ds, {name: scale for name, (_, scale) in SCALES.items()}, tmp_path)
        assert ds["Lai_500m"].dtype.kind == "f"
    elif stored == "not decoded":
        for name, (_, scale) in SCALES.items():
            ds[name] = ds[name].astype("float32").assign_attrs(ds[name].attrs, scale_factor=scale)
    elif stored == "MOD13":  # its attribute is one to divide by, and readers multiply
        ds = decoded(ds, {"500m_16_days_EVI": 10000.0}, tmp_path)
        assert float(ds["500m_16_days_EVI"].max()) > 1e6
    found = ds.flux.drivers(leaves="hold")
    assert set(found.data_vars) == {"LAI", "FAPAR", "EVI"}
    first = found.isel(time=slice(0, None, 8))
    for name, (ours, _) in SCALES.items():
        np.testing.assert_allclose(first[ours][:, 1:], expected[name][:, 1:], rtol=1e-5)
        assert found[ours].attrs["units"] == "1"
    assert np.isnan(first.LAI.values[:7, 0, 0]).all()
    assert np.isnan(first.EVI.values[:4, 0, 0]).all()


def test_between_the_middles_of_composites() -> None:
    world = reanalysis.truth(days=20, start="2003-02-20")
    ds = leaves()
    found = reanalysis.era5(world).flux.drivers(beside=ds)
    assert found.sizes["time"] == 20
    middles = ds.time.values + np.timedelta64(4, "D")
    noon = found.time.values + np.timedelta64(12, "h")
    for name, (ours, scale) in SCALES.items():
        at, known = (times.astype("M8[s]").astype(float) for times in (noon, middles))
        expected = np.interp(at, known, ds[name].values[:, 1, 2] * scale)
        np.testing.assert_allclose(found[ours][:, 1, 2], expected, rtol=1e-5)
    assert "interpolated between the middles" in found.LAI.attrs["source"]


def test_composites_that_are_missing() -> None:
    ds = leaves()[["Lai_500m"]].isel(latitude=[0], longitude=[0, 1, 2])
    ds["Lai_500m"].values[5, 0, 0] = 255
    ds["Lai_500m"].values[5:7, 0, 1] = 255
    found = ds.flux.drivers()
    assert np.isfinite(found.LAI[:, 0, [0, 2]]).all()
    lost = np.isnan(found.LAI.values[:, 0, 1])
    days = np.flatnonzero(lost)
    assert (days.min(), days.max()) == (5 * 8, 7 * 8 - 1), "the days of two missing composites"
    held = ds.flux.drivers(leaves="hold")
    np.testing.assert_array_equal(held.LAI.values[40:48, 0, 0], held.LAI.values[39, 0, 0])
    assert np.isnan(held.LAI.values[48:56, 0, 1]).all()
    gone = ds.isel(time=[0, 1, 2, 3, 5, 6, 7]).flux.drivers()
    assert np.isfinite(gone.LAI[:, 0, 2]).all()


def test_later_composites_change_no_more_than_two_back() -> None:
    ds = leaves()[["Lai_500m"]]
    whole = ds.flux.drivers()
    early = ds.isel(time=slice(0, 6)).flux.drivers()
    sure = early.isel(time=slice(0, 4 * 8))
    xr.testing.assert_equal(sure, whole.sel(time=sure.time))
    held = ds.isel(time=slice(0, 6)).flux.drivers(leaves="hold")
    xr.testing.assert_equal(held, ds.flux.drivers(leaves="hold").sel(time=held.time))


@pytest.mark.parametrize("method", ["interpolate", "hold"])
def test_years_end_in_shorter_composites(method: str) -> None:
    """MODIS begins anew each January 1: the composite of day 361 has five or six days."""
    days = [
        pd.Timestamp(y, 1, 1) + pd.Timedelta(d, "D") for y in (2003, 2004) for d in range(0, 366, 8)
    ]
    lai = np.arange(len(days), dtype="uint8") % 90
    ds = xr.Dataset({"Lai_500m": ("time", lai)}, {"time": days})
    found = ds.flux.drivers(leaves=method)
    assert str(found.time.values[-1])[:10] == "2004-12-31" or found.sizes["time"] >= 731
    assert np.isfinite(found.LAI).all()
    if method == "hold":
        assert float(found.LAI.sel(time="2003-12-31")) == pytest.approx(4.5)
        assert float(found.LAI.sel(time="2004-01-01")) == pytest.approx(4.6)


@pytest.mark.parametrize("to", ["daily", "monthly"])
def test_leaves_of_other_calendars_and_months(to: str) -> None:
    weather = cmip("noleap", days=120, start="2004-01-01T12")[["tas", "rsds"]].isel(lat=0, lon=0)
    months = xr.date_range("2004-01-15", periods=4, freq="30D")
    lai = xr.Dataset({"lai": ("time", [1.0, 2.0, 3.0, 2.0], {"units": "1"})}, {"time": months})
    found = weather.flux.drivers(beside=lai, to=to)
    assert found.time.dt.calendar == "noleap"
    if to == "monthly":
        np.testing.assert_allclose(found.LAI, [1.0, 2.0, 3.0, 2.0])
    else:
        assert np.isfinite(found.LAI).all()
        assert float(found.LAI[45]) == pytest.approx(2.0, abs=0.05)


def test_leaves_that_lie_elsewhere_are_refused() -> None:
    era5 = reanalysis.era5(reanalysis.truth())
    ds = leaves(start="2003-02-10")
    with pytest.raises(SchemaError, match="tolerance=") as caught:
        era5.flux.drivers(beside=ds.assign_coords(latitude=ds.latitude + 1e-4))
    says(caught.value, "Dataset beside them")
    found = era5.flux.drivers(beside=ds.assign_coords(latitude=ds.latitude + 1e-4), tolerance=2e-4)
    assert "LAI" in found
    with pytest.raises(SchemaError, match="which the drivers have not"):
        era5.flux.drivers(beside=ds.rename(latitude="lat"))
    with pytest.raises(SchemaError, match="no time in common"):
        era5.flux.drivers(beside=era5.assign_coords(
            time=era5.time + np.timedelta64(400, "D")).rename(t2m="x")[["tp"]])  # fmt: skip


def test_characteristics_go_along() -> None:
    era5 = reanalysis.era5(reanalysis.truth())
    cover = xr.Dataset(
        {"igbp": (("latitude", "longitude"), np.full((3, 4), "DBF")), "z": 1.0},
        {"latitude": reanalysis.LAT, "longitude": reanalysis.LON},
    )
    found = era5.flux.drivers(beside=[cover])
    assert found.igbp.dims == ("latitude", "longitude")
    own = era5.assign(veg=cover.igbp).flux.drivers(variables={"igbp": "veg"})
    assert (own.veg == "DBF").all()
    with pytest.raises(SchemaError, match="in none of the Datasets"):
        era5.flux.drivers(beside=cover, variables={"igbp": "vegetation"})


# --- any chunks ----------------------------------------------------------------------------------


@given(
    chunks=st.tuples(st.integers(5, 73), st.integers(1, 3), st.integers(1, 4)),
    hours=st.integers(-12, 12),
    kind=st.sampled_from(["step", "day"]),
    gaps=st.lists(st.integers(0, 72), max_size=6),
)
def test_chunks_do_not_matter(
    chunks: tuple[int, int, int], hours: int, kind: str, gaps: list[int]
) -> None:
    world = reanalysis.truth(days=3).isel(latitude=[0, 1])
    ds = reanalysis.era5(world) if kind == "step" else reanalysis.era5_land(world)
    for i in gaps:
        ds["t2m"][i, 0] = np.nan
    options = {"utc_offset": hours, "accumulation": kind}
    cut = dict(zip(("time", "latitude", "longitude"), chunks, strict=True))
    chosen = ["TA_MIN", "SW_IN", "VPD"]
    built = ds.chunk(cut).flux.drivers(**options)[chosen]
    if chunks[0] < 24:
        assert set(built.chunks["time"]) == {1}, "a piece for each day"
    lazily = built.compute(scheduler="synchronous")
    xr.testing.assert_equal(lazily, ds.flux.drivers(**options)[chosen])


@given(
    chunks=st.integers(1, 14),
    method=st.sampled_from(["interpolate", "hold"]),
    cut=st.integers(1, 40),
)
def test_chunks_of_composites_do_not_matter(chunks: int, method: str, cut: int) -> None:
    ds = leaves(count=14)
    ds["Lai_500m"].values[4, 0], ds["Lai_500m"].values[8:11, 1] = 255, 250
    whole = ds.flux.drivers(leaves=method)
    xr.testing.assert_equal(ds.chunk(time=chunks).flux.drivers(leaves=method).compute(), whole)


def test_values_of_leaves_that_cannot_be() -> None:
    ds = leaves()
    ds["Lai_500m"] = ds["Lai_500m"].astype("float32").assign_attrs(units="1")
    with pytest.raises(DataError, match="looks like unscaled MODIS"):
        ds.flux.drivers()


def test_small_chunks_are_taken_together(monkeypatch: pytest.MonkeyPatch) -> None:
    ds = cmip("noleap").chunk(time=1)
    monkeypatch.setattr("xflux.drivers.coarsen._BYTES", 8 * 12 * 20)
    with warned("VPD"):
        found = ds.flux.drivers()
    assert found.chunks["time"] == (20, 20, 20, 20, 10)
