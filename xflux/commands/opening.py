"""Open what a command was given: towers or drivers, by what the paths look like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xflux.errors import DataError

if TYPE_CHECKING:
    import xarray as xr

    from xflux.accessor import FluxAccessor
    from xflux.model import FluxModel

_NETCDF = (".nc", ".nc4", ".cdf", ".netcdf")


def open_any(
    paths: Sequence[str], *, time_step: str | None = None, progress: bool | None = None
) -> xr.Dataset:
    """Open a netCDF file or several, a zarr store, tower files, or a dataset by its name.

    NetCDF files that are named after a tower and hold one place are tower files (PLUMBER2), all
    others are opened as they are.

    Raises
    ------
    DataError
        A path is not there, or kinds are mixed.
    """
    from xflux import datasets
    from xflux.readers.open_towers import open_towers

    if len(paths) == 1 and paths[0] in datasets.names() and not Path(paths[0]).exists():
        return datasets.load(paths[0], progress=progress)
    grids = [path for path in paths if _is_grid(path)]
    if not grids:
        return open_towers(list(paths), time_step=time_step, progress=progress)
    if len(grids) < len(paths):
        raise DataError(
            f"{grids[0]} is a Dataset already, {next(p for p in paths if p not in grids)} is not: "
            "give files of one kind"
        )
    return open_gridded(grids)


def open_gridded(paths: Sequence[str]) -> xr.Dataset:
    """Open netCDF files or zarr stores lazily; several are joined along their coordinates.

    Raises
    ------
    DataError
        A path is not there, or cannot be opened or joined.
    """
    import xarray as xr

    gone = [path for path in paths if "://" not in path and not Path(path).exists()]
    if gone:
        raise DataError(f"no such file: {', '.join(gone)}")
    try:
        parts = [_open(path) for path in paths]
        return parts[0] if len(parts) == 1 else xr.combine_by_coords(parts)  # type: ignore[return-value]
    except (ValueError, OSError, LookupError) as error:
        raise DataError(
            f"{', '.join(paths)} cannot be opened as one Dataset "
            f"({type(error).__name__}: {error}). Open and mend it in Python, write it with "
            "ds.to_netcdf, and give that file"
        ) from error


def _open(path: str) -> xr.Dataset:
    import xarray as xr

    if _bare(path).endswith(".zarr"):
        return xr.open_zarr(path, chunks={})
    return xr.open_dataset(path, chunks={})


def _bare(path: str) -> str:
    return path.rstrip("/").lower()


def _is_grid(path: str) -> bool:
    """Whether xarray opens a path as it is."""
    import xarray as xr

    from xflux.readers.recognise import site_in

    if not _bare(path).endswith((".zarr", *_NETCDF)):
        return False
    if not site_in(Path(path).name) or not Path(path).is_file():
        return True
    try:
        with xr.open_dataset(path, decode_times=False) as ds:
            return any(size > 1 for dim, size in ds.sizes.items() if dim != "time")
    except (ValueError, OSError):
        return False  # the reader of tower files says what is wrong with it


def flux(ds: xr.Dataset) -> FluxAccessor:
    """``ds.flux``, with its type."""
    found: FluxAccessor = ds.flux
    return found


def choose_model(
    name: str | None, time_step: str | None, *, sha256: str | None = None
) -> FluxModel:
    """The model of a name, or the bundled ensemble of a time step."""
    from xflux.pretrained import load_model, model_for

    return model_for(time_step) if name is None else load_model(name, sha256=sha256)
