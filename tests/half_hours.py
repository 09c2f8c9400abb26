"""Half-hourly towers with a clear-sky formula, for what only the time of the day can tell."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from xflux.audit import sun
from xflux.cf.derived import saturation_pressure

PLACES = ((51.1, 10.4), (44.0, -121.5), (-35.7, 148.2), (64.1, 19.5), (-2.6, -60.2), (36.4, 140.0))


def towers(*, sites: int = 6, days: int = 365, seed: int = 0, hours: float = 0.5) -> xr.Dataset:
    """Towers in local standard time, stamped at the beginning of each step.

    Light is that above the air times a clearness that changes from day to day and within a day;
    temperature follows light by some hours; GPP saturates with light, Reco follows temperature.
    """
    rng = np.random.default_rng(seed)
    count = int(days * 24 / hours)
    time = pd.date_range("2005-01-01", periods=count, freq=f"{int(hours * 60)}min")
    lat, lon = np.array([PLACES[i % len(PLACES)] for i in range(sites)]).T
    lat = lat + rng.uniform(-2, 2, sites)
    lon = lon + rng.uniform(-3, 3, sites)
    offset = np.round(lon / 15)
    day = time.day_of_year.to_numpy(float)
    hour = time.hour.to_numpy() + time.minute.to_numpy() / 60 + hours / 2
    top = sun.top(lat, day, hour, sun.noon(lon, offset, day)).astype(float)
    steps = int(24 / hours)
    slow = np.repeat(_wander(rng, sites, days, 0.7), steps, axis=1)
    fast = _wander(rng, sites, count, 0.9)
    clear = 0.12 + 0.63 / (1 + np.exp(-(0.6 + 1.3 * slow + 0.6 * fast)))
    light = top * clear
    season = np.where(lat > 0, -1, 1)[:, None] * np.cos(2 * np.pi * (day - 20) / 365)
    warm = 24 - 0.35 * np.abs(lat)[:, None] + 0.25 * np.abs(lat)[:, None] * season
    air = warm + 3 * np.repeat(_wander(rng, sites, days, 0.8), steps, axis=1)
    air = air + _follow(light, hours, 3.0) / 60 - 2 + 0.3 * fast
    dew = warm - 6 + 2 * np.repeat(_wander(rng, sites, days, 0.9), steps, axis=1)
    deficit = np.maximum(saturation_pressure(air) - saturation_pressure(np.minimum(dew, air)), 0)
    wet = rng.random((sites, count)) < 0.02
    rain = np.where(wet, rng.gamma(0.7, 1.5, (sites, count)), 0.0) * 24 / hours
    ready = np.clip((air - 2) / 14, 0, 1)
    gpp = 45 * ready * light / (light + 350) * (1 + 0.05 * rng.normal(size=light.shape))
    reco = 2.5 * np.exp(0.065 * (air - 10)) * (1 + 0.05 * rng.normal(size=light.shape))
    gpp = gpp + 0.3 * rng.normal(size=light.shape)
    ds = xr.Dataset(
        {
            "TA": (("site", "time"), air, {"units": "degC"}),
            "SW_IN": (("site", "time"), light, {"units": "W m-2"}),
            "VPD": (("site", "time"), deficit, {"units": "hPa"}),
            "P": (("site", "time"), rain, {"units": "mm d-1"}),
            "GPP": (("site", "time"), gpp, {"units": "g m-2 d-1"}),
            "Reco": (("site", "time"), reco, {"units": "g m-2 d-1"}),
            "NEE": (("site", "time"), reco - gpp, {"units": "g m-2 d-1"}),
        },
        {
            "site": [f"HH-{i}" for i in range(sites)],
            "time": time,
            "lat": ("site", lat),
            "lon": ("site", lon),
            "utc_offset": ("site", offset),
            "igbp": ("site", ["MF"] * sites),
        },
    )
    return ds.astype(dict.fromkeys(ds.data_vars, "float32"))


def _wander(rng: np.random.Generator, rows: int, count: int, memory: float) -> np.ndarray:
    """Noise of unit variance that remembers."""
    from scipy.signal import lfilter

    noise = rng.normal(size=(rows, count)) * np.sqrt(1 - memory**2)
    return np.asarray(lfilter([1.0], [1.0, -memory], noise, axis=1))


def _follow(light: np.ndarray, hours: float, lag: float) -> np.ndarray:
    """Light as air follows it, some hours later."""
    from scipy.signal import lfilter

    share = hours / lag
    return np.asarray(lfilter([share], [1.0, share - 1.0], light, axis=1))
