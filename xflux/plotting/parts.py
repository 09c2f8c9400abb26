"""What a drawing takes out of a Dataset: a target, its time, its mean over time."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xflux.errors import DataError


def target_of(ds: xr.Dataset, target: str) -> xr.DataArray:
    """The target of this name, or an error that says what is there."""
    if target not in ds:
        raise DataError(f"there is no {target} to draw; found {', '.join(map(str, ds.data_vars))}")
    return ds[target]


def spread_of(ds: xr.Dataset, target: str) -> xr.DataArray | None:
    """Standard deviation over the members at every step, where the Dataset tells it."""
    if "realization" in ds[target].dims:
        return ds[target].std("realization", ddof=1, keep_attrs=True)
    return ds.get(f"{target}_std")


def named(ds: xr.Dataset, names: tuple[str, ...]) -> xr.DataArray | None:
    """The first variable or coordinate of these names that is there."""
    return next((ds[name] for name in names if name in ds.variables), None)


def time_dim(flux: xr.DataArray) -> str | None:
    """The dimension whose coordinate holds dates."""
    for dim in flux.dims:
        if dim in flux.coords and (
            flux[dim].dtype.kind == "M"
            or hasattr(np.ravel(flux[dim].values)[:1].tolist()[0], "calendar")
        ):
            return str(dim)
    return None


def time_mean(flux: xr.DataArray) -> xr.DataArray:
    """Mean over time, and over members where there are any, of what is not missing."""
    dims = [dim for dim in (time_dim(flux), "realization") if dim in flux.dims]
    return flux.mean(dims, keep_attrs=True)


def filled(flux: xr.DataArray, y: str) -> tuple[float, float]:
    """Lowest and highest coordinate with a value, with a margin of a tenth."""
    here = flux[y].where(flux.notnull()).values
    low, high = float(np.nanmin(here)), float(np.nanmax(here))
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin
