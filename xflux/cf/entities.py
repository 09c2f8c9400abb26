"""Entities and their characteristics: one value for each tower or cell, checked and in one unit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from xflux import features
from xflux.cf.schema import Match, Schema
from xflux.cf.variables import CATEGORIES
from xflux.errors import SchemaError


def entity_values(ds: xr.Dataset, schema: Schema, name: str) -> npt.NDArray[np.generic]:
    """A characteristic as one value an entity, shape (N,), in C order of the entity dims.

    Raises
    ------
    SchemaError
        The variable changes in time, or its values are out of range.
    """
    array = without_time(ds, schema, name)
    sizes = {dim: ds.sizes[dim] for dim in schema.entity_dims}
    missing = {dim: size for dim, size in sizes.items() if dim not in array.dims}
    full = array.variable.set_dims({**missing, **dict(zip(array.dims, array.shape, strict=True))})
    values = np.asarray(full.transpose(*sizes).values).reshape(-1)
    return characteristic_values(schema.matches[name], values)


def without_time(ds: xr.Dataset, schema: Schema, name: str) -> xr.DataArray:
    """A characteristic without the time dimension that some files give it.

    Raises
    ------
    SchemaError
        It changes in time, or it is lazy, so that whether it does is not known.
    """
    variable = schema.matches[name].variable
    array = ds[variable]
    if schema.time_dim not in array.dims:
        return array
    first = array.isel({schema.time_dim: 0}, drop=True)
    if array.sizes[schema.time_dim] == 1:
        return first
    if array.chunks is None and bool(((array == first) | (array.isnull() & first.isnull())).all()):
        return first
    found = "is lazy along time" if array.chunks is not None else "changes in time"
    raise SchemaError(
        [
            f"{variable!r} ({name}) {found}, a characteristic has one value an entity: "
            f'ds["{variable}"] = ds["{variable}"].isel({schema.time_dim}=0)'
        ]
    )


def characteristic_values(match: Match, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """A characteristic in xflux's unit, of any shape; classes are left as they are.

    Raises
    ------
    SchemaError
        Numbers are out of their plausible range.
    """
    if values.dtype.kind not in "fiu" or match.name in CATEGORIES:
        return values
    number = values.astype(np.float64) * match.conversion.factor + match.conversion.offset
    problem = features.out_of_range(match.name, match.variable, number.astype(np.float32))
    if problem:
        raise SchemaError([problem])
    return number


def entity_labels(ds: xr.Dataset, entity_dims: tuple[str, ...]) -> tuple[str, ...]:
    """A readable name for each entity: its coordinate values, or its position."""
    if not entity_dims:
        return ("the series",)
    axes = [ds[dim].values if dim in ds.coords else np.arange(ds.sizes[dim]) for dim in entity_dims]
    if len(axes) == 1:
        return tuple(str(value) for value in axes[0])
    grid = np.meshgrid(*[np.arange(len(axis)) for axis in axes], indexing="ij")
    return tuple(
        ", ".join(f"{dim}={axis[i]}" for dim, axis, i in zip(entity_dims, axes, where, strict=True))
        for where in zip(*(index.ravel() for index in grid), strict=True)
    )
