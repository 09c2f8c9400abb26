"""Weather of a made-up world, and files of it as ECMWF, CDS, cfgrib and others lay them out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from xflux.drivers import coarsen

LAT = np.array([50.5, 50.25, 50.0])
LON = np.array([9.75, 10.0, 10.25, 359.75])
DAYS = 6
START = "2003-02-26"


def truth(days: int = DAYS, start: str = START, seed: int = 0) -> xr.Dataset:
    """Each hour of some days: states at its beginning, amounts of what falls in it."""
    rng = np.random.default_rng(seed)
    time = pd.date_range(start, periods=24 * days, freq="1h")
    shape = (time.size, LAT.size, LON.size)
    hour = np.asarray(time.hour, dtype=float)[:, None, None]
    warm = 278.0 + 6.0 * np.sin((hour - 9.0) * np.pi / 12.0) + rng.normal(0, 1.5, shape)
    sun = np.clip(np.sin((hour - 5.5) * np.pi / 12.0), 0, None)
    rain = np.where(rng.uniform(size=shape) < 0.2, rng.gamma(1.0, 4e-4, shape), 0.0)
    values = {
        "t2m": warm,
        "d2m": warm - rng.uniform(0.5, 9.0, shape),
        "ssrd": sun * 2.1e6 * rng.uniform(0.3, 1.0, shape),
        "tp": rain,
    }
    coords = {"time": time, "latitude": LAT, "longitude": LON}
    dims = ("time", "latitude", "longitude")
    return xr.Dataset({name: (dims, v) for name, v in values.items()}, coords)


def daily(world: xr.Dataset, hours: int = 0) -> dict[str, np.ndarray]:
    """What the drivers of each whole day are, by plain numpy: (days, lat, lon)."""
    moved = world.isel(time=slice((-hours) % 24, None))
    count = moved.sizes["time"] // 24
    blocks = {
        name: moved[name].values[: 24 * count].reshape(count, 24, LAT.size, LON.size)
        for name in world.data_vars
    }
    t, td = blocks["t2m"] - 273.15, blocks["d2m"] - 273.15

    def pressure(c: np.ndarray) -> np.ndarray:
        return 6.1094 * np.exp(17.625 * c / (c + 243.04))

    return {
        "TA": t.mean(axis=1),
        "TA_MIN": t.min(axis=1),
        "TA_MAX": t.max(axis=1),
        "VPD": (pressure(t) - pressure(td)).mean(axis=1),
        "SW_IN": blocks["ssrd"].sum(axis=1) / 86400.0,
        "P": blocks["tp"].sum(axis=1) * 1000.0,
    }


def _attributes(ds: xr.Dataset) -> xr.Dataset:
    words = {
        "t2m": ("K", "2 metre temperature"),
        "d2m": ("K", "2 metre dewpoint temperature"),
        "ssrd": ("J m**-2", "Surface short-wave (solar) radiation downwards"),
        "tp": ("m", "Total precipitation"),
    }
    for name, (units, long_name) in words.items():
        if name in ds:
            ds[name].attrs = {"units": units, "long_name": long_name}
    ds["latitude"].attrs = {"units": "degrees_north", "long_name": "latitude"}
    ds["longitude"].attrs = {"units": "degrees_east", "long_name": "longitude"}
    return ds


def era5(world: xr.Dataset) -> xr.Dataset:
    """Hourly ERA5: amounts stamped with the end of their hour; one stamp more at the end."""
    time = world.time.to_index()
    stamps = time.append(time[-1:] + pd.Timedelta("1h"))
    ds = world.reindex(time=stamps)
    for name in ("t2m", "d2m"):
        ds[name][-1] = world[name][-1]
    for name in ("ssrd", "tp"):
        ds[name][1:] = world[name].values
        ds[name][0] = 0.0
    return _attributes(ds)


def era5_land(world: xr.Dataset) -> xr.Dataset:
    """Hourly ERA5-Land: amounts since 00 UTC, the whole of the day at 00 UTC of the next."""
    ds = era5(world)
    for name in ("ssrd", "tp"):
        days = world[name].values.reshape(-1, 24, *world[name].shape[1:])
        ds[name][1:] = np.cumsum(days, axis=1).reshape(world[name].shape)
    return ds


def new_cds(ds: xr.Dataset, kind: str | None = None) -> xr.Dataset:
    """The layout of CDS since 2024: valid_time, number and expver, attributes of GRIB."""
    out = ds.rename(time="valid_time").assign_coords(
        number=0, expver=("valid_time", np.full(ds.sizes["time"], "0001"))
    )
    out["valid_time"].attrs = {"standard_name": "time", "long_name": "time"}
    for name in out.data_vars:
        accumulated = name in ("ssrd", "tp")
        out[name].attrs["GRIB_stepType"] = "accum" if accumulated else "instant"
    out.attrs = {"Conventions": "CF-1.7", "GRIB_centre": "ecmf", "history": "by cfgrib"}
    if kind is not None:
        chosen = [n for n in out if out[n].attrs["GRIB_stepType"] == kind]
        out = out[chosen]
    return out


def mixed_versions(ds: xr.Dataset, final: int) -> xr.Dataset:
    """A dimension expver: the first steps are final (1), the rest preliminary (5)."""
    first = ds.where(xr.DataArray(np.arange(ds.sizes["time"]) < final, dims="time"))
    rest = ds.where(xr.DataArray(np.arange(ds.sizes["time"]) >= final, dims="time"))
    both = xr.concat([first, rest], dim=xr.DataArray([1, 5], dims="expver", name="expver"))
    both = both.transpose("time", "expver", ...)
    for name in ds.data_vars:
        both[name].attrs = ds[name].attrs
    return both


def grib_land(world: xr.Dataset) -> xr.Dataset:
    """ERA5-Land as cfgrib gives it: forecasts from 00 UTC, steps of 1 to 24 hours."""
    ds = era5_land(world)
    starts = ds.time.values[:-1:24]
    steps = np.arange(1, 25)
    valid = starts[:, None] + (steps * np.timedelta64(3600, "s"))[None, :]
    dims = ("time", "step", "latitude", "longitude")
    picked = {
        name: (dims, ds[name].sel(time=valid.ravel()).values.reshape(len(starts), 24, 3, 4),
               {**ds[name].attrs, "GRIB_stepType": "accum"})
        for name in ("ssrd", "tp")
    }  # fmt: skip
    coords = {
        "time": ("time", starts, {"standard_name": "time", "long_name": "initial time"}),
        "step": ("step", steps.astype("timedelta64[h]").astype("timedelta64[ns]"),
                 {"standard_name": "forecast_period"}),
        "number": 0,
        "surface": 0.0,
        "valid_time": (("time", "step"), valid, {"standard_name": "time"}),
        "latitude": ds.latitude,
        "longitude": ds.longitude,
    }  # fmt: skip
    return xr.Dataset(picked, coords)


def close(found: xr.Dataset, expected: dict[str, np.ndarray]) -> None:
    """The drivers, in the order of the expected ones, to a relative millionth."""
    for name, values in expected.items():
        np.testing.assert_allclose(found[name].values, values, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.fixture(scope="module", autouse=True)
def small_pieces() -> Iterator[None]:
    """Every chunk of time is a piece of its own, and arrays in memory are cut too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coarsen, "_BYTES", 1)
        patch.setattr(coarsen, "_MANY", 8 * 300)
        yield
