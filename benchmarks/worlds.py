"""Stores of simulated drivers in the two layouts that reanalyses come in, for the benchmarks."""

from __future__ import annotations

import tempfile
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
    ds = xflux.datasets.load(
        "simulated-grid", shape=(rows, columns), years=years, chunks={"lat": TILE, "lon": TILE}
    )
    if land:
        ds = all_land(ds)
    part = path.with_suffix(".part")
    if layout == "series":
        ds.to_zarr(part, mode="w", consolidated=False)
    else:
        with tempfile.TemporaryDirectory(dir=folder) as between:
            write_maps(ds, part, Path(between))
    part.rename(path)
    return path


def write_maps(ds: xr.Dataset, path: Path, between: Path) -> None:
    """Write whole maps slab by slab, from tiles that were written before: memory holds one slab."""
    tiles = {"time": SLAB, "lat": TILE, "lon": TILE}
    ds.to_zarr(between / "tiles.zarr", encoding={n: _chunks(ds[n], tiles) for n in ds.data_vars})
    cut = xr.open_zarr(between / "tiles.zarr")
    for variable in cut.variables.values():
        variable.encoding.clear()
    maps = cut.chunk(time=SLAB, lat=-1, lon=-1)
    for name in [n for n in maps.variables if "time" not in maps[n].dims]:
        maps[name].load()
    maps.to_zarr(path, mode="w", compute=False, consolidated=False)
    for first in range(0, ds.sizes["time"], SLAB):
        slab = maps.isel(time=slice(first, first + SLAB))
        slab.drop_vars([n for n in slab.variables if "time" not in slab[n].dims]).to_zarr(
            path, region={"time": slice(first, first + SLAB)}, consolidated=False
        )


def _chunks(variable: xr.DataArray, sizes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """The encoding that cuts a variable into chunks."""
    shape = dict(zip(map(str, variable.dims), variable.shape, strict=True))
    return {"chunks": tuple(min(sizes[dim], size) for dim, size in shape.items())}


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
