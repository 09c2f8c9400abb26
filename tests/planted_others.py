"""Faults of half-hourly and monthly towers, and of a Dataset as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from planted import (
    ALL_FLUXES,
    UNIT,
    Defect,
    Tower,
    copied,
    empty,
    far_from_equator,
    filled,
    frozen,
    hemisphere,
    scaled,
    shifted_season,
    text_order,
)

from xflux.cf.derived import saturation_pressure

EVERYTHING = ("TA", "SW_IN", "VPD", "P", *ALL_FLUXES)


def rolled(names: tuple[str, ...], hours: float) -> Callable[[Tower], None]:
    """Half-hours under the stamp of another hour."""

    def plant(tower: Tower) -> None:
        for name in names:
            tower.put(name, np.roll(tower.get(name), round(hours * 2)))

    return plant


def summer_time(tower: Tower) -> None:
    month = tower.time.dt.month.values
    lat = float(tower.ds["lat"].values[tower.site])
    summer = np.isin(month, (4, 5, 6, 7, 8, 9) if lat > 0 else (10, 11, 12, 1, 2, 3))
    for name in EVERYTHING:
        values = tower.get(name)
        tower.put(name, np.where(summer, np.roll(values, 2), values))


def universal_time(tower: Tower) -> None:
    hours = -float(tower.ds["utc_offset"].values[tower.site])
    rolled(EVERYTHING, hours)(tower)


def east_and_west(tower: Tower) -> None:
    tower.set("lon", -float(tower.ds["lon"].values[tower.site]))


def lit_nights(tower: Tower) -> None:
    values = tower.get("SW_IN")
    dark = np.flatnonzero(values <= 0)
    some = tower.rng.choice(dark, dark.size // 8, replace=False)
    values[some] = tower.rng.uniform(40, 120, some.size)
    tower.put("SW_IN", values)


def summed_days(tower: Tower) -> None:
    values = tower.get("P").reshape(-1, 48)
    tower.put("P", np.cumsum(values, axis=1).ravel())


def same_day(names: tuple[str, ...], days: int) -> Callable[[Tower], None]:
    """One day put in for those after it."""

    def plant(tower: Tower) -> None:
        first = int(tower.rng.integers(20, 300)) * 48
        for name in names:
            values = tower.get(name)
            values[first : first + days * 48] = np.tile(values[first - 48 : first], days)
            tower.put(name, values)

    return plant


def drier_than_dry(tower: Tower) -> None:
    values = tower.get("VPD")
    where = tower.stretch("VPD", 400)
    values[where] = 1.2 * saturation_pressure(tower.get("TA"))[where] + 3
    tower.put("VPD", values)


def night_uptake(tower: Tower) -> None:
    values = tower.get("GPP")
    values[tower.get("SW_IN") <= 0] += 5
    tower.put("GPP", values)


HALF_HOURLY: tuple[Defect, ...] = (
    Defect("SW_IN three hours late", rolled(("SW_IN",), 3), ("clock shift",), ("SW_IN",)),
    Defect("all two hours early", rolled(EVERYTHING, -2), ("clock shift",), ("SW_IN",)),
    Defect("all in universal time", universal_time, ("clock shift",), ("SW_IN",)),
    Defect("fluxes four hours late", rolled(ALL_FLUXES, 4), ("clock shift",), ALL_FLUXES),
    Defect("TA seven hours early", rolled(("TA",), -7), ("clock shift",), ("TA",)),
    Defect("summer time", summer_time, ("summer time",), ("SW_IN",)),
    Defect("the sign of the longitude", east_and_west, ("wrong place",), ("lon",)),
    Defect("the hemisphere", hemisphere, ("wrong place",), ("lat",), far_from_equator),
    Defect("light at night", lit_nights, ("radiation at night",), ("SW_IN",)),
    Defect("PAR called shortwave", scaled("SW_IN", 2.02), UNIT, ("SW_IN",)),
    Defect("kelvin called degC", scaled("TA", 1, 273.15), UNIT, ("TA",)),
    Defect("rain summed over the day", summed_days, ("running sum",), ("P",)),
    Defect("stuck TA", frozen("TA", 96), ("stuck",), ("TA",)),
    Defect("a day of NEE repeated", same_day(("NEE",), 10), ("repeated fill",), ("NEE",)),
    Defect(
        "a month of SW_IN twice", copied(("SW_IN",), 1440, 2880), ("copied stretch",), ("SW_IN",),
    ),
    Defect("VPD above saturation", drier_than_dry, ("VPD above saturation",), ("VPD",)),
    Defect("-9999 in NEE", filled("NEE", -9999.0, 200), ("fill value",), ("NEE",)),
    Defect("GPP at night", night_uptake, ("uptake in the dark", "no closure"), ("GPP",)),
    Defect("GPP in g of CO2", scaled("GPP", 3.664), (*UNIT, "no closure"), ("GPP",)),
    Defect("NEE positive for uptake", scaled("NEE", -1), ("wrong sign",), ("NEE",)),
)  # fmt: skip
"""Faults that half-hours show."""

MONTHLY: tuple[Defect, ...] = (
    Defect("kelvin called degC", scaled("TA", 1, 273.15), UNIT, ("TA",)),
    Defect("kPa called hPa", scaled("VPD", 0.1), UNIT, ("VPD",)),
    Defect("MJ m-2 called W m-2", scaled("SW_IN", 0.0864), UNIT, ("SW_IN",)),
    Defect("kg called g", scaled("GPP", 1e-3), (*UNIT, "no closure"), ("GPP",)),
    Defect("Reco times 12", scaled("Reco", 12.011), (*UNIT, "no closure"), ("Reco",)),
    Defect("months of LAI as text", text_order("LAI"), ("months out of order",), ("LAI",)),
    Defect(
        "LAI half a year off", shifted_season("LAI"),
        ("season out of step", "months out of order"), ("LAI",),
    ),
    Defect("a year of TA twice", copied(("TA",), 12, 12), ("copied stretch",), ("TA",)),
    Defect("stuck TA", frozen("TA", 5), ("stuck",), ("TA",)),
    Defect("NEE positive for uptake", scaled("NEE", -1), ("wrong sign",), ("NEE",)),
    Defect("the hemisphere", hemisphere, ("wrong place",), ("lat",), far_from_equator),
    Defect("-9999 in GPP", filled("GPP", -9999.0, 5), ("fill value",), ("GPP",)),
    Defect("no SW_IN", empty("SW_IN"), ("driver missing",), ("SW_IN",)),
)  # fmt: skip
"""Faults that months show."""


class Whole(NamedTuple):
    """A fault of a Dataset as a whole: how to make it, the kinds that find it, and which entity."""

    name: str
    make: Callable[[xr.Dataset, np.random.Generator], tuple[xr.Dataset, str]]
    kinds: tuple[str, ...]


def doubled_times(ds: xr.Dataset, rng: np.random.Generator) -> tuple[xr.Dataset, str]:
    at = int(rng.integers(100, ds.sizes["time"] - 100))
    return xr.concat([ds.isel(time=slice(at)), ds.isel(time=slice(at - 5, None))], "time"), ""


def lost_times(ds: xr.Dataset, rng: np.random.Generator) -> tuple[xr.Dataset, str]:
    at = int(rng.integers(100, ds.sizes["time"] - 100))
    return ds.isel(time=np.r_[0:at, at + 40 : ds.sizes["time"]]), ""


def shuffled_times(ds: xr.Dataset, rng: np.random.Generator) -> tuple[xr.Dataset, str]:
    order = np.arange(ds.sizes["time"])
    at = int(rng.integers(100, ds.sizes["time"] - 200))
    order[at : at + 60] = order[at : at + 60][::-1]
    return ds.isel(time=order), ""


def crooked_times(ds: xr.Dataset, rng: np.random.Generator) -> tuple[xr.Dataset, str]:
    off = pd.to_timedelta(rng.uniform(-9, 9, ds.sizes["time"]), unit="h")
    return ds.assign_coords(time=ds.time + off.to_numpy()), ""


def no_units(ds: xr.Dataset, rng: np.random.Generator) -> tuple[xr.Dataset, str]:
    bare = ds.copy()
    bare["VPD"] = bare.VPD.drop_attrs()
    return bare, ""


def twin(
    noise: float = 0.0, lag: int = 0, far: float = 0.0
) -> Callable[..., tuple[xr.Dataset, str]]:
    """One tower under a second name: the same values, with noise, moved in time or elsewhere."""

    def make(ds: xr.Dataset, rng: np.random.Generator) -> tuple[xr.Dataset, str]:
        site = int(rng.integers(ds.sizes["site"]))
        copy = ds.isel(site=[site]).copy(deep=True)
        for name in copy.data_vars:
            values = np.roll(copy[name].values, lag, axis=1)
            spread = np.nanstd(values)
            values = values + noise * spread * rng.normal(size=values.shape)
            copy[name] = (copy[name].dims, values.astype("f4"), copy[name].attrs)
        copy["site"] = ["COPY"]
        copy["lat"] = copy.lat + 0.001 + far
        return xr.concat([ds, copy], "site"), "COPY"

    return make


WHOLES: tuple[Whole, ...] = (
    Whole("times that come again", doubled_times, ("duplicate times",)),
    Whole("times that are missing", lost_times, ("missing times",)),
    Whole("times out of order", shuffled_times, ("times out of order",)),
    Whole("times off the axis", crooked_times, ("irregular times",)),
    Whole("a variable without units", no_units, ("not understood",)),
    Whole("the same tower twice", twin(), ("same tower twice",)),
    Whole("the same tower with noise", twin(noise=0.01), ("same tower twice",)),
    Whole("the same tower elsewhere", twin(far=4.0), ("same tower twice",)),
    Whole("the same tower five days later", twin(lag=5), ("same tower twice",)),
)
"""Faults of a whole Dataset; daily towers."""
