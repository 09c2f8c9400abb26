"""Drivers of real files, as they are, against numpy and pandas on the same files."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import xarray as xr
from faulty import warned


def test_monthly_files_of_era5(shared_data: Path) -> None:
    folder = shared_data / "gridded" / "oggm_oetztal"
    for product, years in (("era5", "1979-2018"), ("era5_land", "1981-2018")):
        paths = [folder / f"sel_{product}_monthly_{n}_{years}.nc" for n in ("t2m", "prcp")]
        with xr.open_dataset(paths[0]) as warm, xr.open_dataset(paths[1]) as wet:
            with warned("taken as a monthly mean of ERA5"):
                found = warm.flux.drivers(beside=wet)
            np.testing.assert_allclose(found.TA, warm.t2m.values - 273.15, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(found.P, wet.tp.values * 1000.0, rtol=1e-6)
            np.testing.assert_array_equal(found.latitude, warm.latitude)
            assert (np.diff(found.latitude) < 0).all()


def test_the_geopotential_of_the_ground_is_an_elevation(shared_data: Path) -> None:
    folder = shared_data / "gridded" / "oggm_oetztal"
    for product, years in (("era5", "1979-2018"), ("era5_land", "1981-2018")):
        warm = xr.open_dataset(folder / f"sel_{product}_monthly_t2m_{years}.nc")
        ground = xr.open_dataset(folder / f"sel_{product}_invariant.nc")
        found = warm.flux.drivers(beside=ground.chunk())
        np.testing.assert_array_equal(found.z, ground.z.isel(time=0))
        assert "elevation = z [m**2 s**-2]" in repr(found.flux)
        heights = found.z / 9.80665
        assert 500 < float(heights.min()) < float(heights.max()) < 4000, "the Alps"


def test_topography_without_units_is_left_out_and_said(shared_data: Path) -> None:
    folder = shared_data / "gridded" / "dvmdostem_toolik"
    climate = xr.open_dataset(folder / "historic-climate.nc").isel(time=slice(24))
    ground = xr.open_dataset(folder / "topo.nc")
    with warned("VPD is derived", "elevation is left out", count=2):
        found = climate.flux.drivers(beside=ground)
    assert "elevation" not in found.coords
    with warned("VPD is derived"):
        found = climate.flux.drivers(beside=ground, units={"elevation": "m"})
    np.testing.assert_array_equal(found.elevation, ground.elevation)
    assert found.elevation.attrs["units"] == "m"
    assert "units" not in ground.elevation.attrs


def test_daily_cities(shared_data: Path) -> None:
    path = shared_data / "gridded/xclim_era5_cities/daily_surface_cancities_1990-1993.nc"
    with xr.open_dataset(path) as ds:
        with warned("VPD is derived from daily means of TA and TD", count=2):
            daily, monthly = ds.flux.drivers(), ds.flux.drivers(to="monthly")
        frames = {
            n: ds[n].astype("float64").to_series().unstack("location")
            for n in ("tas", "tasmin", "pr", "rsds")
        }
    assert list(daily.data_vars) == ["TA", "TA_MIN", "TA_MAX", "SW_IN", "VPD", "P"]
    assert daily.TA.dims == ("location", "time")
    wanted = {"TA": frames["tas"] - 273.15, "TA_MIN": frames["tasmin"] - 273.15,
              "SW_IN": frames["rsds"], "P": frames["pr"] * 86400}  # fmt: skip
    for name, frame in wanted.items():
        frame = frame[list(daily.location.values)]
        np.testing.assert_allclose(daily[name].T, frame, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(
            monthly[name].T, frame.resample("MS").mean(), rtol=1e-6, atol=1e-6
        )


def test_tundra_as_it_is(shared_data: Path, tmp_path: Path) -> None:
    """The lines of docs/drivers.md, at most ten of them, on the file as it is."""
    page = Path(__file__).resolve().parents[1] / "docs" / "drivers.md"
    code = page.read_text("utf-8").split("```python\n")[1].split("```")[0]
    assert len(code.strip().splitlines()) <= 10
    file = shared_data / "gridded" / "dvmdostem_toolik" / "historic-climate.nc"
    (tmp_path / file.name).symlink_to(file)
    names: dict[str, object] = {}
    with contextlib.chdir(tmp_path), warned("VPD is derived", "without LAI, EVI", count=2):
        exec(compile(code, "docs/drivers.md", "exec"), names)
    climate, drivers = xr.open_dataset(file), names["drivers"]
    assert isinstance(drivers, xr.Dataset)
    fluxes = xr.load_dataset(tmp_path / "fluxes.nc")
    assert fluxes.GPP.dims == ("time", "Y", "X")
    assert fluxes.time.dt.calendar == "noleap"
    assert np.isfinite(fluxes.GPP).all()
    assert np.isfinite(fluxes.Reco).all()
    summer, winter = (fluxes.GPP[fluxes.time.dt.month == m].mean() for m in (7, 1))
    assert float(summer) > 10 * float(winter)
    days = climate.time.dt.days_in_month.values[:, None, None]
    np.testing.assert_allclose(drivers.P, climate.precip.values.astype(float) / days, rtol=1e-6)
    np.testing.assert_allclose(drivers.TA, climate.tair, rtol=1e-6)
    t, e = climate.tair.values.astype(float), climate.vapor_press.values.astype(float)
    vpd = np.clip(6.1094 * np.exp(17.625 * t / (t + 243.04)) - e, 0, None)
    np.testing.assert_allclose(drivers.VPD, vpd, rtol=1e-5, atol=1e-5)
    assert {"lat", "lon", "x", "y"} <= set(fluxes.coords)


def test_half_hours_of_plumber2_agree_with_the_reader_of_towers(shared_data: Path) -> None:
    import xflux

    path = shared_data / "formats/US-Wi7_2005-2005_FLUXNET2015_Met.nc"
    towers = xflux.open_towers(path)
    with xr.open_dataset(path) as ds:
        found = ds.flux.drivers()
    for name in ("TA", "TA_MIN", "TA_MAX", "SW_IN", "VPD", "P", "LAI"):
        np.testing.assert_allclose(
            found[name].values.ravel(),
            towers[name].values.ravel(),
            rtol=2e-6,
            atol=1e-5,
            err_msg=name,
        )
