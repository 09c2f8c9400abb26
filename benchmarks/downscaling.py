"""Fluxes on drivers finer than those at hand: three ways, and the mass of carbon in each.

On the simulated world coarse and fine drivers are both known, so the ways can be told apart::

    python benchmarks/downscaling.py

Printed: global GPP and Reco (PgC per year, sums weighted by the area of each cell) and the RMSE of
daily fluxes (g m-2 d-1) against the prediction on the fine drivers themselves, for

- the coarse prediction, every fine cell taking the value of its coarse cell;
- the coarse prediction interpolated to the fine cells;
- the prediction on interpolated drivers, temperature moved along the elevation.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import xarray as xr

import xflux

LAPSE = -0.0065
"""Change of air temperature with elevation, K per m (ICAO standard atmosphere, Doc 7488)."""

RADIUS = 6.371e6
"""Mean radius of the Earth, m."""


def cell_area(ds: xr.Dataset) -> xr.DataArray:
    """Area of each cell of a regular grid, m2."""
    step = np.deg2rad([float(ds[name].diff(name).mean()) for name in ("lat", "lon")])
    lat = np.deg2rad(ds.lat)
    band = np.sin(lat + step[0] / 2) - np.sin(lat - step[0] / 2)
    return RADIUS**2 * abs(step[1]) * abs(band) * xr.ones_like(ds.lon)


def budget(fluxes: xr.Dataset, name: str) -> float:
    """Carbon of one year, PgC."""
    daily = (fluxes[name] * cell_area(fluxes)).sum(("lat", "lon"))
    return float(daily.sum("time")) * 1e-15


def to_fine(coarse: xr.Dataset, fine: xr.Dataset) -> xr.Dataset:
    """Interpolate in space; land reaches across the coast first, so that no fine cell is lost."""
    filled = coarse
    for dim in ("lon", "lat"):
        filled = filled.interpolate_na(dim, method="nearest", fill_value="extrapolate")
    return filled.interp(lat=fine.lat, lon=fine.lon, kwargs={"fill_value": "extrapolate"})


def finer_drivers(coarse: xr.Dataset, fine: xr.Dataset) -> xr.Dataset:
    """Drivers of the fine cells from the coarse ones and the fine elevation and land cover."""
    names = [*coarse.data_vars]
    moved = to_fine(coarse.reset_coords("elevation")[[*names, "elevation"]], fine)
    higher = fine.elevation - moved.elevation
    out = moved[names]
    for name in ("TA", "TA_MIN", "TA_MAX"):
        out[name] = out[name] + LAPSE * higher
    for name in ("SW_IN", "VPD", "P", "LAI", "EVI"):
        out[name] = out[name].clip(min=0)
    for name in names:
        out[name] = out[name].where(fine.elevation.notnull()).astype("float32")
        out[name].attrs = coarse[name].attrs
    return out.assign_coords(elevation=fine.elevation, igbp=fine.igbp)


def error(found: xr.Dataset, wanted: xr.Dataset, name: str) -> float:
    """Root of the area-weighted mean square difference."""
    square = (found[name] - wanted[name]) ** 2
    return float(np.sqrt(square.weighted(cell_area(wanted).fillna(0)).mean()))


def main() -> None:
    """Predict all ways, and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=24, help="of the coarse grid")
    parser.add_argument("--finer", type=int, default=3, help="fine cells along each coarse one")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=xflux.XfluxWarning)
    rows, finer = options.rows, options.finer
    coarse = xflux.datasets.load("simulated-grid", shape=(rows, 2 * rows), years=1)
    fine = xflux.datasets.load("simulated-grid", shape=(finer * rows, 2 * finer * rows), years=1)

    fluxes = coarse.flux.predict()
    wanted = fine.flux.predict()
    land = wanted.GPP.notnull()
    nearest = fluxes.sel(lat=fine.lat, lon=fine.lon, method="nearest")
    ways = {
        "fine drivers themselves": wanted,
        "coarse prediction, as it is": nearest.assign_coords(lat=fine.lat, lon=fine.lon),
        "coarse prediction, interpolated": to_fine(fluxes[["GPP", "Reco"]], fine).where(land),
        "prediction on finer drivers": finer_drivers(coarse, fine).flux.predict(),
    }
    print(f"{rows} x {2 * rows} cells to {finer * rows} x {2 * finer * rows}")
    print(f"{'':34}{'GPP':>18}{'Reco':>20}\n{'':34}" + "    PgC/yr    RMSE  " * 2)
    for way, out in ways.items():
        row = "".join(
            f"{budget(out, name):10.1f}{error(out, wanted, name):8.2f}  "
            for name in ("GPP", "Reco")
        )
        print(f"{way:34}{row}")
    print(
        f"{'coarse grid':34}"
        + "".join(f"{budget(fluxes, n):10.1f}{'':10}" for n in ("GPP", "Reco"))
    )


if __name__ == "__main__":
    main()
