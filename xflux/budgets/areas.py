"""How large the cells of a grid are, and how much of them is land.

References
----------
Moritz (2000), Geodetic Reference System 1980, doi:10.1007/s001900050278: the sphere that has the
surface of the Earth's ellipsoid.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from xflux.cf.schema import Schema
from xflux.errors import DataError, warn

RADIUS = 6_371_007.2
"""Metres: the authalic radius. A cell on this sphere has an area within 0.9 % of that on the
ellipsoid; the whole sphere has the same."""

_SQUARE = {"m2": 1.0, "m^2": 1.0, "m**2": 1.0, "km2": 1e6, "km^2": 1e6, "km**2": 1e6}
_AREA_NAMES = ("areacella", "cell_area")
_LAND_NAMES = ("sftlf", "land_fraction")
_CLOSE = 1e-3  # degrees: coordinates of two files that differ by less are the same cell


def land_area(
    ds: xr.Dataset,
    schema: Schema,
    dims: tuple[str, ...],
    *,
    area: xr.DataArray | str | None,
    land_fraction: xr.DataArray | str | float | None,
) -> tuple[xr.DataArray, str]:
    """Area of land in each cell [m2], with the cells' dims, and where it comes from."""
    cells, origin = cell_area(ds, schema, dims, area)
    share, more = _land_share(ds, dims, land_fraction)
    whole = xr.DataArray(np.ones([ds.sizes[dim] for dim in dims]), dims=dims)
    return cells * share * whole, f"{origin}; {more}"


def cell_area(
    ds: xr.Dataset, schema: Schema, dims: tuple[str, ...], area: xr.DataArray | str | None
) -> tuple[xr.DataArray, str]:
    """Area of each cell [m2], with the cells' dims, and where it comes from.

    Parameters
    ----------
    ds : xr.Dataset
    schema : Schema
        Tells which coordinates are latitude and longitude.
    dims : tuple of str
        Those of the cells.
    area : xr.DataArray or str, optional
        The areas, or the name of their variable.

    Raises
    ------
    DataError
        Areas are of other cells or without units, or there are none and they do not follow from
        one-dimensional latitudes and longitudes.
    """
    name = area if isinstance(area, str) else _named_area(ds) if area is None else None
    given = _variable(ds, name, "area") if name is not None else area
    if not isinstance(given, xr.DataArray):
        lat, lon = (schema.matches.get(key) for key in ("lat", "lon"))
        if lat is None or lon is None:
            raise DataError(_no_area("latitude and longitude are not there", dims))
        return sphere_area(ds, lat.variable, lon.variable, dims)
    units = str(given.attrs.get("units", ""))
    if units.replace(" ", "") not in _SQUARE:
        raise DataError(
            f"the areas of the cells have units {units!r}, expected m2 or km2: "
            'area = area.assign_attrs(units="m2")'
        )
    scaled = fitted(given, ds, dims, "area") * _SQUARE[units.replace(" ", "")]
    return scaled.astype(np.float64).fillna(0.0), f"areas of cells from {given.name or 'area'}"


def _named_area(ds: xr.Dataset) -> str | None:
    """The variable of areas that CF's cell_measures names, or one known by its name."""
    for array in ds.data_vars.values():
        words = str((array.encoding | array.attrs).get("cell_measures", "")).split()
        if "area:" in words[:-1] and words[words.index("area:") + 1] in ds.variables:
            return words[words.index("area:") + 1]
    return _by_name(ds, _AREA_NAMES, "cell_area")


def _by_name(ds: xr.Dataset, names: tuple[str, ...], standard_name: str) -> str | None:
    for name, variable in ds.variables.items():
        if name in names or variable.attrs.get("standard_name") == standard_name:
            return str(name)
    return None


def _variable(ds: xr.Dataset, name: str, what: str) -> xr.DataArray:
    if name not in ds.variables:
        raise DataError(
            f"{what}={name!r} is no variable of the Dataset; it has "
            f"{', '.join(map(str, ds.variables))}. Give one of them, or a DataArray"
        )
    return ds[name]


def sphere_area(
    ds: xr.Dataset, lat: str, lon: str, dims: tuple[str, ...]
) -> tuple[xr.DataArray, str]:
    """Areas of cells between circles of latitude and longitude on the authalic sphere.

    R^2 (sin(north) - sin(south)) (east - west), from the bounds that the coordinates name, else
    with edges half-way between centres.

    Parameters
    ----------
    ds : xr.Dataset
    lat, lon : str
        Names of the coordinates [degrees].
    dims : tuple of str

    Returns
    -------
    (xr.DataArray, str)
        Areas [m2], float64, and the words for it.

    Raises
    ------
    DataError
        The coordinates are not one-dimensional along dims of their own, or do not tell edges.

    Examples
    --------
    >>> grid = xr.Dataset(coords={"lat": [-45.0, 45.0], "lon": [0.0, 90.0, 180.0, 270.0]})
    >>> area, _ = sphere_area(grid, "lat", "lon", ("lat", "lon"))
    >>> round(float(area.sum() / (4 * np.pi * RADIUS**2)), 12)
    1.0
    """
    own = (*ds[lat].dims, *ds[lon].dims)
    if len(own) != 2 or set(own) != set(dims):
        shape = f"{lat!r} has the dims {ds[lat].dims}, {lon!r} {ds[lon].dims}"
        raise DataError(_no_area(shape, dims))
    south_north, from_lat = _edges(ds, lat)
    west_east, from_lon = _edges(ds, lon)
    height = np.abs(np.diff(np.sin(np.deg2rad(south_north.clip(-90.0, 90.0))), axis=1))[:, 0]
    width = np.deg2rad(_widths(west_east, lon))
    area = xr.DataArray(
        RADIUS**2 * height[:, np.newaxis] * width,
        {str(dim): ds[dim] for dim in own if dim in ds.coords},
        own,
    )
    words = "bounds" if from_lat and from_lon else "centres"
    return area, f"areas of cells from {words} on a sphere of radius 6371.0072 km"


def _edges(ds: xr.Dataset, name: str) -> tuple[npt.NDArray[np.float64], bool]:
    """Two edges of each cell, shape (n, 2), and whether they are bounds that the Dataset gives."""
    variable = ds[name]
    bounds = (variable.encoding | variable.attrs).get("bounds")
    if bounds in ds.variables and ds[bounds].shape == (variable.size, 2):
        return np.asarray(ds[bounds].values, dtype=np.float64), True
    centres = np.asarray(variable.values, dtype=np.float64)
    if centres.size < 2:
        raise DataError(
            f"one value of {name!r} does not tell how wide its cell is: give its bounds, "
            f'ds["{name}_bnds"] = (("{name}", "bnds"), [[49.75, 50.25]]) and '
            f'ds["{name}"].attrs["bounds"] = "{name}_bnds"'
        )
    steps = np.diff(centres)
    if not -180.0 <= centres.min() <= centres.max() <= 360.0 or np.isnan(centres).any():
        raise DataError(
            f"{name!r} is not in degrees: it runs to {np.abs(centres).max():g}. Give degrees, or "
            "areas of the cells, ds.flux.budget(area=areas)"
        )
    if name_is_round := np.abs(steps).max() > 180.0:
        steps = (steps + 180.0) % 360.0 - 180.0
    if not (np.all(steps > 0) or np.all(steps < 0)):
        raise DataError(
            f"{name!r} is not sorted{' around the globe' if name_is_round else ''}: "
            f'ds = ds.sortby("{name}")'
        )
    before, after = np.append(steps[:1], steps), np.append(steps, steps[-1:])
    return np.stack([centres - before / 2, centres + after / 2], axis=1), False


def _widths(edges: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
    """Degrees from west to east of each cell, across the date line too."""
    width = np.abs(np.diff(edges, axis=1))[:, 0]
    if width.size > 1:
        width = np.minimum(width, 360.0 - width)
    if width.sum() > 360.0 * (1 + 1e-6):
        raise DataError(
            f"the cells along {name!r} are {width.sum():g} degrees wide together: some are there "
            f"twice. Take each once, ds = ds.isel({name}=slice(0, -1))"
        )
    return width


def _no_area(found: str, dims: tuple[str, ...]) -> str:
    return (
        f"{found}: the areas of the cells along {', '.join(dims) or 'no dim'} do not follow from "
        "that. Give them in m2 with the same dims, ds.flux.budget(area=areas); towers are no "
        "cells, and have no budget"
    )


def _land_share(
    ds: xr.Dataset, dims: tuple[str, ...], given: xr.DataArray | str | float | None
) -> tuple[xr.DataArray, str]:
    """Share of land of each cell, from 0 to 1, and the words for it."""
    if given is None:
        given = _by_name(ds, _LAND_NAMES, "land_area_fraction")
    if given is None:
        warn(
            "no land fraction: each cell with a value counts as land as a whole, which is too "
            'much along coasts. Give it, land_fraction=ds["sftlf"], or say that it is so, '
            "land_fraction=1.0"
        )
        given = 1.0
    if isinstance(given, int | float):
        if not 0.0 < given <= 1.0:
            raise DataError(f"land_fraction={given} is not within 0 and 1: type land_fraction=1.0")
        return xr.DataArray(float(given)), f"{given:g} of each cell is land"
    array = _variable(ds, given, "land_fraction") if isinstance(given, str) else given
    share = fitted(array, ds, dims, "land_fraction").astype(np.float64)
    if str(array.attrs.get("units", "1")).strip() in ("%", "percent"):
        share = share / 100.0
    low, high = float(share.min()), float(share.max())
    if not -1e-6 <= low <= high <= 1.0 + 1e-6:
        raise DataError(
            f"the land fraction runs from {low:g} to {high:g}, expected 0 to 1; where it is in "
            'percent: land_fraction = land_fraction.assign_attrs(units="%")'
        )
    return share.fillna(0.0).clip(0.0, 1.0), f"land from {array.name or 'land_fraction'}"


def fitted(array: xr.DataArray, ds: xr.Dataset, dims: tuple[str, ...], what: str) -> xr.DataArray:
    """An array of one value a cell, in memory, with the Dataset's own coordinates.

    Raises
    ------
    DataError
        It has other dims or other cells.
    """
    if not set(array.dims) <= set(dims):
        raise DataError(
            f"{what} has the dims {array.dims}, the cells have {dims}: give one value a cell, "
            "without time"
        )
    bare = array.reset_coords(drop=True).load()
    for dim in map(str, array.dims):
        same = array.sizes[dim] == ds.sizes[dim]
        if same and dim in array.coords and dim in ds.coords and ds[dim].dtype.kind in "fiu":
            apart = np.abs(np.asarray(array[dim].values - ds[dim].values, dtype=np.float64))
            same = bool((apart <= _CLOSE).all())
        if not same:
            raise DataError(
                f"{what} has other cells than the fluxes along {dim!r}: "
                f'{what} = {what}.reindex_like(fluxes, method="nearest", tolerance=0.01)'
            )
    return bare.drop_vars([c for c in bare.coords if c in dims]).assign_coords(
        {dim: ds[dim] for dim in map(str, array.dims) if dim in ds.coords}
    )
