"""Datasets as ECMWF, CDS, cfgrib and climate models lay them out, with one time and no rest.

What is of no use to a model goes: forecast steps become times, final and preliminary ERA5 become
one, dimensions of length one that count members, versions or heights are dropped.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr

from xflux.drivers.times import DAY, microseconds

_SINGLE = {
    *("number", "expver", "step", "surface", "realization", "ensemble", "member"),
    *("height", "heightAboveGround", "height_2m", "level", "lev", "depth", "depthBelowLand"),
}
"""Dimensions that say nothing about a place, where they have length one."""

_KINDS = {"realization", "forecast_period", "height", "altitude", "depth"}
_LOST = ("number", "step", "surface", "expver", "heightAboveGround", "height", "depthBelowLand")
_TIMES = ("time", "valid_time")


def tidy(ds: xr.Dataset) -> tuple[xr.Dataset, list[str], bool]:
    """Bring a Dataset to one time dimension and dimensions of places.

    Parameters
    ----------
    ds : xr.Dataset
        As opened; it is not changed, and no lazy value is computed.

    Returns
    -------
    ds : xr.Dataset
    notes : list of str
        What was done, for the history.
    since_midnight : bool
        Whether forecast steps ran from 00 UTC through the day, as those of ERA5-Land do.

    Examples
    --------
    >>> ds = xr.Dataset({"t2m": (("number", "time"), np.ones((1, 2)))}, {"number": [0]})
    >>> tidy(ds)[0].t2m.dims
    ('time',)
    """
    notes: list[str] = []
    ds = _one_version(ds, notes)
    single = [d for d in ds.dims if ds.sizes[d] == 1 and _is_single(ds, d)]
    if single:
        ds = ds.squeeze(single, drop=False)
    since_midnight = False
    if "step" in ds.dims and "time" in ds.dims:
        since_midnight = _since_midnight(ds)
        ds = _forecasts_to_times(ds)
        notes.append("forecast steps as times")
    ds = _valid_times(ds)
    ds = ds.drop_vars([n for n in (*_LOST, *single) if n in ds.variables and n not in ds.dims])
    return _stamped_in_step(ds, notes), notes, since_midnight


def _is_single(ds: xr.Dataset, dim: Hashable) -> bool:
    attrs = ds[dim].attrs if dim in ds.coords else {}
    vertical = attrs.get("axis") == "Z" or "positive" in attrs
    return str(dim) in _SINGLE or vertical or attrs.get("standard_name") in _KINDS


def _one_version(ds: xr.Dataset, notes: list[str]) -> xr.Dataset:
    """Final values of ERA5 (expver 1) where they are there, else preliminary ones (expver 5)."""
    if "expver" not in ds.dims:
        return ds
    order = range(ds.sizes["expver"])
    if "expver" in ds.coords:
        order = np.argsort([int(v) for v in ds["expver"].values], kind="stable").tolist()
    if len(order) > 1:
        notes.append("final ERA5 where it is there, else preliminary")
    merged = {}
    for name, array in ds.data_vars.items():
        if "expver" in array.dims:
            parts = [array.isel(expver=i, drop=True) for i in order]
            whole = parts[0]
            for part in parts[1:]:
                whole = whole.where(whole.notnull(), part)
            merged[name] = whole.assign_attrs(array.attrs)
    return ds.drop_dims("expver").assign(merged)


def _since_midnight(ds: xr.Dataset) -> bool:
    """Whether the forecasts all begin at 00 UTC and reach to the end of the day."""
    if "step" not in ds.coords or ds["step"].dtype.kind != "m" or ds["time"].dtype.kind != "M":
        return False
    hours = ds["step"].values / np.timedelta64(1, "h")
    midnight = (ds["time"].dt.hour.values == 0).all()
    return bool(midnight and hours.max() == 24.0 and hours.min() >= 0.0)


def _forecasts_to_times(ds: xr.Dataset) -> xr.Dataset:
    """(time, step) as cfgrib gives it, to the times that the values are valid at."""
    if "valid_time" in ds.variables and set(ds["valid_time"].dims) == {"time", "step"}:
        valid = ds["valid_time"].transpose("time", "step").values
    else:
        valid = ds["time"].values[:, None] + ds["step"].values[None, :]
    ds = ds.drop_vars(["valid_time", "step", "time"], errors="ignore")
    flat = ds.stack({"_valid": ("time", "step")}, create_index=False)
    order = np.argsort(valid.ravel(), kind="stable")
    kept = order[~np.isnat(valid.ravel()[order])]
    times = valid.ravel()[kept]
    kept = kept[np.append(True, np.diff(times) > np.timedelta64(0))] if kept.size else kept
    if not np.array_equal(kept, np.arange(flat.sizes["_valid"])):
        flat = flat.isel(_valid=kept)
    attrs = {"standard_name": "time", "long_name": "time", "axis": "T"}
    flat = (
        flat.transpose("_valid", ...)
        .rename(_valid="time")
        .assign_coords(time=("time", valid.ravel()[kept], attrs))
    )
    flat.attrs = ds.attrs
    for name in flat.data_vars:
        flat[name].attrs = ds[name].attrs
    return flat


def _valid_times(ds: xr.Dataset) -> xr.Dataset:
    """The valid times along `time` in place of those at which the forecasts began."""
    valid = ds.variables.get("valid_time")
    if valid is None or valid.dims != ("time",) or valid.dtype.kind != "M":
        is_scalar = valid is not None and valid.ndim == 0
        return ds.drop_vars("valid_time") if is_scalar and "time" in ds.dims else ds
    attrs = {"standard_name": "time", "long_name": "time", "axis": "T"}
    return ds.drop_vars("valid_time").assign_coords(time=("time", valid.values, attrs))


def _stamped_in_step(ds: xr.Dataset, notes: list[str]) -> xr.Dataset:
    """Times that stand at the end of their bounds, moved to the beginning of them.

    Bounds that are lazy are read where the times alone leave it open: they are a coordinate.
    """
    for name in _TIMES:
        bounds = ds.variables.get(ds[name].attrs.get("bounds", "")) if name in ds.coords else None
        if bounds is None or name not in ds.dims or bounds.ndim != 2 or bounds.dims[0] != name:
            continue
        if bounds.chunks is not None and not _may_stand_at_end(ds[name]):
            continue
        time, edges = ds[name].values, bounds.values
        if edges.dtype == time.dtype and edges.shape[1] == 2 and (time == edges[:, 1]).all():
            notes.append("times at the end of their bounds moved to the beginning")
            ds = ds.assign_coords({name: (name, edges[:, 0], ds[name].attrs)})
    return ds


def _may_stand_at_end(time: xr.DataArray) -> bool:
    """Whether days or months may end at these times; they do at midnight alone."""
    stamps = microseconds(time)
    return bool((stamps % DAY == 0).all() or (np.diff(stamps) < DAY).any())
