"""Stores of simulated drivers in the two layouts that reanalyses come in, for the benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

import xflux

TILE, SLAB = 60, 30
"""Cells along each side of a tile of whole series; steps of a slab of whole maps."""


def write(folder: Path, layout: str, *, rows: int, columns: int, years: int, land: bool) -> Path:
    """Write a daily world to zarr once, and give the path.

    Parameters
    ----------
    folder : Path
    layout : str
        ``"series"``: chunks of the whole time and 60 x 60 cells. ``"map"``: chunks of 30 days and
        all cells.
    rows, columns, years : int
    land : bool
        Put land everywhere, by repeating the land cells of the world.
    """
    path = folder / f"{layout}-{rows}x{columns}x{years}{'-land' if land else ''}.zarr"
    if path.exists():
        return path
    chunks = {
        "series": {"time": -1, "lat": TILE, "lon": TILE},
        "map": {"time": SLAB, "lat": -1, "lon": -1},
    }[layout]
    ds = xflux.datasets.load(
        "simulated-grid", shape=(rows, columns), years=years, chunks={"lat": TILE, "lon": TILE}
    )
    if land:
        ds = all_land(ds)
    ds = ds.chunk(chunks)
    part = path.with_suffix(".part")
    ds.to_zarr(part, mode="w", consolidated=False)
    part.rename(path)
    return path


def all_land(ds: xr.Dataset) -> xr.Dataset:
    """The same size with land cells in the place of the sea."""
    cells = ds.stack(cell=("lat", "lon"))
    where = np.flatnonzero(cells.igbp.values != "WAT")
    taken = where[np.arange(cells.sizes["cell"]) % where.size]
    names = [name for name in ("elevation", "igbp", "climate") if name in ds.coords]
    shape = (ds.sizes["lat"], ds.sizes["lon"])
    out = ds.copy()
    rows, columns = np.unravel_index(taken, shape)
    pick = {
        "lat": xr.DataArray(rows.reshape(shape), dims=("row", "column")),
        "lon": xr.DataArray(columns.reshape(shape), dims=("row", "column")),
    }
    moved = ds.reset_coords(names).drop_vars(["lat", "lon"]).isel(pick)
    moved = moved.rename(row="lat", column="lon").assign_coords(lat=ds.lat, lon=ds.lon)
    out = moved.set_coords(names)
    out.attrs = ds.attrs
    return out
