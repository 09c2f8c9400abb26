"""What drivers() and predict() make is CF, comes back as it was, and is read without xflux."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import reanalysis
import test_drivers_formats as formats
import xarray as xr
from test_compliance import OLDEST, OTHER_VERSION, complaints, newest

import xflux
from xflux.errors import XfluxWarning

FROM_THE_FILE = ("Duplicate variables named", "datatype is int64", "not in the recommended order")
"""What the checker says of the names and types of dimensions that a file brings, or that it cannot
tell for x and y because they are numbered."""


def of_ours(found: list[str]) -> list[str]:
    """What the checker says that the input has not brought."""
    return [text for text in found if not any(w in text for w in (OTHER_VERSION, *FROM_THE_FILE))]


def tundra(folder: Path) -> xr.Dataset:
    path = folder / "gridded/dvmdostem_toolik/historic-climate.nc"
    with xr.open_dataset(path) as ds:
        return ds.isel(time=slice(-24, None)).load().flux.drivers()


def curved() -> xr.Dataset:
    ds = formats.cmip("360_day").drop_vars(["time_bnds", "lat_bnds"]).drop_vars(["lat", "lon"])
    lat, lon = np.meshgrid([50.0, 51.0, 52.0], [8.0, 9.0, 10.0, 11.0], indexing="ij")
    place = {"standard_name": "latitude"}, {"standard_name": "longitude"}
    ds = ds.rename(lat="j", lon="i").assign_coords(
        lat=(("j", "i"), lat, place[0]), lon=(("j", "i"), lon, place[1])
    )
    return ds.flux.drivers(to="monthly")


MADE: dict[str, Callable[[], xr.Dataset]] = {
    "era5": lambda: reanalysis.era5(reanalysis.truth()).flux.drivers(),
    "era5_local": lambda: reanalysis.new_cds(reanalysis.era5(reanalysis.truth())).flux.drivers(
        utc_offset="longitude", beside=formats.leaves(start="2003-02-10")
    ),
    "cmip_noleap": lambda: formats.cmip("noleap").flux.drivers(),
    "cmip_months": lambda: formats.cmip("360_day").flux.drivers(to="monthly"),
    "curvilinear": curved,
    "towers": lambda: xflux.datasets.load("simulated-towers", sites=3, years=1)[
        ["TA", "SW_IN", "VPD", "P"]
    ].flux.drivers(),
}


@pytest.fixture(scope="module", params=MADE)
def made(request, daily_model, monthly_model) -> dict[str, xr.Dataset]:
    """Drivers of one kind, and what is predicted from them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XfluxWarning)
        drivers = MADE[request.param]().load()
        step = np.median(np.diff(drivers[drivers.TA.dims[-1 if "site" in drivers.dims else 0]]))
        days = step / np.timedelta64(1, "D") if isinstance(step, np.timedelta64) else step.days
        fluxes = drivers.flux.predict(monthly_model if days > 20 else daily_model)
    return {"drivers": drivers, "fluxes": fluxes}


@pytest.mark.parametrize("what", ["drivers", "fluxes"])
def test_checker_finds_nothing(made, what: str, checker, tmp_path: Path) -> None:
    made[what].to_netcdf(tmp_path / "made.nc")
    for test in (newest(checker), OLDEST):
        found = complaints(checker, tmp_path / "made.nc", test)
        assert of_ours(found) == []


def test_checker_finds_nothing_of_ours_in_the_tundra(
    shared_data: Path,
    checker,
    tmp_path: Path,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XfluxWarning)
        drivers = tundra(shared_data)
        fluxes = drivers.assign_coords(igbp="OSH").flux.predict()
    for ds in (drivers, fluxes):
        ds.to_netcdf(tmp_path / "made.nc")
        found = complaints(checker, tmp_path / "made.nc", newest(checker))
        assert of_ours(found) == []
        assert ds[next(iter(ds.data_vars))].attrs["grid_mapping"] in ds.coords


def as_it_was(back: xr.Dataset, ds: xr.Dataset) -> None:
    """The same to the last bit; bounds, which readers take for variables, are coordinates."""
    back = back.set_coords([name for name in ds.coords if name in back.data_vars])
    xr.testing.assert_identical(back, ds)
    time = next(name for name in ds.coords if "time" in str(name) and name in ds.dims)
    assert back[time].dt.calendar == ds[time].dt.calendar
    assert {n: v.dtype for n, v in back.data_vars.items()} == {
        n: v.dtype for n, v in ds.data_vars.items()
    }


@pytest.mark.parametrize("what", ["drivers", "fluxes"])
@pytest.mark.parametrize("format", ["netcdf", "zarr"])
def test_comes_back_as_it_was(made, what: str, format: str, tmp_path: Path) -> None:
    ds = made[what]
    if format == "netcdf":
        ds.to_netcdf(tmp_path / "made.nc")
        as_it_was(xr.load_dataset(tmp_path / "made.nc"), ds)
        return
    pytest.importorskip("zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr on strings of fixed length
        ds.to_zarr(tmp_path / "made.zarr")
        back = xr.open_zarr(tmp_path / "made.zarr").load()
    for name in ds.coords:
        if ds[name].dtype.kind in "UT":
            back[name] = back[name].astype(ds[name].dtype).assign_attrs(back[name].attrs)
    as_it_was(back, ds)


@pytest.mark.parametrize("what", ["drivers", "fluxes"])
def test_cf_xarray_finds_what_regridding_needs(made, what: str) -> None:
    import cf_xarray  # noqa: F401  (registers ds.cf)

    ds = made[what]
    for standard in ("latitude", "longitude"):
        (name,) = ds.cf.coordinates[standard]
        assert ds.cf[standard].name == name
        assert ds[name].attrs["units"].startswith("degree")
    assert ds.cf["time"].dt.calendar
    if "lat_bnds" in ds.coords:
        assert ds.cf.bounds["latitude"] == ["lat_bnds"]
        assert ds.cf.get_bounds("latitude").shape == (ds.sizes["lat"], 2)


def test_read_by_another_process_without_xflux(daily_model, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XfluxWarning)
        fluxes = MADE["era5"]().flux.predict(daily_model)
    fluxes.to_netcdf(tmp_path / "fluxes.nc")
    code = f"""
import sys, json
sys.modules["xflux"] = None
import xarray as xr
ds = xr.open_dataset({str(tmp_path / "fluxes.nc")!r})
ds.GPP.mean().load()
print(json.dumps([sorted(map(str, ds.data_vars)), ds.GPP.attrs["units"], float(ds.GPP.sum())]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    names, units, total = json.loads(done.stdout)
    assert set(names) >= {"GPP", "Reco", "NEE"}
    assert units == "g m-2 d-1"
    assert total == pytest.approx(float(fluxes.GPP.sum()), rel=1e-5)
