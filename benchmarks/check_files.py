"""Every real file beside the project, read in one call, against pandas and netCDF4 on it.

Run from the root of the project: ``python benchmarks/check_files.py [../shared/data]``. Printed is
the largest relative difference of daily or monthly values, variable by variable the worst.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import xarray as xr

import xflux
from xflux.cf.entities import entity_values
from xflux.cf.schema import resolve

ROOT = Path(__file__).resolve().parents[1]
CARBON = 12.011e-6 * 86400
FLUXNET = {
    **{name: f"{name}_F" for name in ("TA", "SW_IN", "VPD", "P")},
    "NEE": "NEE_VUT_REF",
    "GPP": "GPP_NT_VUT_REF",
    "Reco": "RECO_NT_VUT_REF",
}


def tell(file: str, pairs: dict[str, tuple[object, object]]) -> None:
    """Print the worst variable of a file; gaps must be in the same places."""
    worst, of = 0.0, ""
    for name, (ours, theirs) in pairs.items():
        one, two = (np.asarray(v, dtype=np.float64).ravel() for v in (ours, theirs))
        if not np.array_equal(np.isnan(one), np.isnan(two)) or not np.isfinite(two).any():
            worst, of = np.inf, name
            break
        floor = 1e-6 * np.nanmax(np.abs(two))
        difference = float(np.nanmax(np.abs(one - two) / np.maximum(np.abs(two), floor)))
        if difference >= worst:
            worst, of = difference, name
    print(f"| {file} | {len(pairs)} | {worst:.1e} | {of} |", flush=True)


def fluxnet(path: Path) -> None:
    """Daily and monthly files of FLUXNET2015, text and spreadsheet."""
    raw = pd.read_excel(path) if path.suffix == ".xlsx" else pd.read_csv(path)
    raw, ds = raw.mask(raw == -9999), xflux.open_towers(path)
    tell(path.name, {name: (ds[name], raw[column]) for name, column in FLUXNET.items()})


def base(path: Path) -> None:
    """Half-hours of AmeriFlux BASE."""
    raw = pd.read_csv(path, comment="#", na_values=[-9999])
    raw.index = pd.to_datetime(raw["TIMESTAMP_START"].astype(str), format="%Y%m%d%H%M")
    ds, days = xflux.open_towers(path, completeness=0.3), raw.resample("D")
    rules = {
        "TA": ("TA", 1.0),
        "SW_IN": ("SW_IN", 1.0),
        "P": ("P", 48.0),
        "NEE": ("NEE_PI", CARBON),
    }
    pairs = {}
    for name, (column, factor) in rules.items():
        enough = days[column].count() >= 0.3 * 48
        pairs[name] = (ds[name], (days[column].mean() * factor).where(enough))
    tell(path.name, pairs)


def plumber2(met: Path, flux: Path) -> None:
    """Half-hours of a Met and a Flux file."""
    ds = xflux.open_towers([met, flux])

    def days(path: Path, name: str) -> np.ndarray:
        with netCDF4.Dataset(path) as held:
            values = np.ma.filled(held[name][:].astype(float), np.nan)
        return values.reshape(-1, 48).mean(1)

    weather = {"TA": days(met, "Tair") - 273.15, "SW_IN": days(met, "SWdown"),
               "VPD": days(met, "VPD"), "P": days(met, "Precip") * 86400}  # fmt: skip
    tell(met.name, {name: (ds[name], values) for name, values in weather.items()})
    fluxes = {"NEE": "NEE", "GPP": "GPP", "Reco": "Resp"}
    tell(flux.name, {n: (ds[n], days(flux, theirs) * CARBON) for n, theirs in fluxes.items()})


def information(path: Path) -> None:
    """Sites of BADM files: the first latitude and longitude of each tower."""
    sheet = path.suffix == ".xlsx"
    raw = pd.read_excel(path) if sheet else pd.read_csv(path, sep=";", encoding="latin-1")
    ds = xflux.open_towers(path)
    pairs = {}
    for name, variable in (("lat", "LOCATION_LAT"), ("lon", "LOCATION_LONG")):
        first = raw[raw.VARIABLE.eq(variable)].groupby("SITE_ID").DATAVALUE.last().astype(float)
        pairs[name] = (ds[name], first.reindex(ds.site.values))
    tell(path.name, pairs)


def height(ds: xr.Dataset) -> np.ndarray:
    """The elevation as a model would see it."""
    schema = resolve(ds)
    return entity_values(ds, schema, "elevation")


def gridded(folder: Path) -> None:
    """Drivers of gridded files."""
    for product, years in (("era5", "1979-2018"), ("era5_land", "1981-2018")):
        warm, wet = (
            xr.open_dataset(folder / f"oggm_oetztal/sel_{product}_monthly_{n}_{years}.nc")
            for n in ("t2m", "prcp")
        )
        ground = xr.open_dataset(folder / f"oggm_oetztal/sel_{product}_invariant.nc")
        ds = warm.flux.drivers(beside=[wet, ground])
        pairs = {"TA": (ds.TA, warm.t2m - 273.15), "P": (ds.P, wet.tp * 1000.0),
                 "elevation": (height(ds), ground.z / 9.80665)}  # fmt: skip
        tell(f"{product} t2m, prcp, invariant", pairs)
    path = folder / "xclim_era5_cities/daily_surface_cancities_1990-1993.nc"
    raw = xr.open_dataset(path).astype("float64")
    ds = xr.open_dataset(path).flux.drivers()
    cities = {"TA": raw.tas - 273.15, "SW_IN": raw.rsds, "P": raw.pr * 86400}
    tell(path.name, {n: (ds[n].transpose(*v.dims), v) for n, v in cities.items()})
    raw = xr.open_dataset(folder / "dvmdostem_toolik/historic-climate.nc")
    ground = xr.open_dataset(folder / "dvmdostem_toolik/topo.nc")
    ds = raw.flux.drivers(beside=ground, units={"elevation": "m"})
    days = raw.time.dt.days_in_month
    tell(
        "historic-climate.nc, topo.nc",
        {
            "TA": (ds.TA, raw.tair),
            "P": (ds.P, raw.precip.astype(float) / days),
            "SW_IN": (ds.SW_IN, raw.nirr),
            "elevation": (height(ds), ground.elevation),
        },
    )


def main() -> None:
    """Print a line a file."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data"
    warnings.simplefilter("ignore")
    folder = data / "formats"
    print("| file | variables | largest relative difference | of |\n| --- | --- | --- | --- |")
    for path in sorted(folder.glob("FLX_*")):
        fluxnet(path)
    for path in sorted(folder.glob("AMF_*BASE*")):
        base(path)
    for path in sorted(folder.glob("BIF_*")):
        information(path)
    for met in sorted(folder.glob("*_Met.nc")):
        plumber2(met, met.with_name(met.name.replace("_Met", "_Flux")))
    gridded(data / "gridded")


if __name__ == "__main__":
    main()
