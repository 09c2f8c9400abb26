"""A map of towers, coloured by what is known of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xflux.errors import DataError
from xflux.plotting.axes import bar_beside, dress_map, in_degrees, new_axes, projected
from xflux.plotting.parts import filled, named, time_dim
from xflux.styles import class_colours, pretty_units, require_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LAT, _LON = ("lat", "latitude"), ("lon", "longitude")
_TARGETS = ("NEE", "GPP", "Reco")
_SIGNED = ("bias",)


def towers(
    ds: xr.Dataset,
    *,
    colour: str = "years",
    target: str = "GPP",
    land: xr.DataArray | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Draw where the towers are, coloured by a score, a characteristic or the years of data.

    Parameters
    ----------
    ds : xr.Dataset
        Towers with lat and lon, or the scores of `ds.flux.evaluate` and `cross_validate`, which
        keep them.
    colour : str
        ``"years"``: steps with a target, in years. Otherwise a variable or coordinate with one
        value a tower: a class (``"igbp"``, ``"climate"``), a number (``"elevation"``), or a score
        (``"rmse"``).
    target : str
        Of which flux the score is.
    land : xr.DataArray, optional
        A grid, dims (lat, lon) and perhaps time; its cells that are not missing are drawn in grey
        below the towers.
    ax : matplotlib Axes, optional
        New ones by default; those of cartopy too.
    title : str, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    DataError
        There are no positions, or nothing to colour by.

    Examples
    --------
    >>> stations = xflux.datasets.load("simulated-towers", sites=8, years=1)
    >>> ax = towers(stations, colour="igbp")
    >>> ax.get_title(loc="left")
    'igbp'
    """
    require_matplotlib()
    lat, lon = named(ds, _LAT), named(ds, _LON)
    if lat is None or lon is None or lat.ndim != 1 or lat.dims != lon.dims:
        raise DataError("a map of towers needs lat and lon along one dimension, one for each tower")
    value = _value(ds, colour, target, str(lat.dims[0]))
    if ax is None:
        ax = new_axes((8.0, 4.2))
    if land is not None:
        _ground(ax, land)
    dots: dict[str, Any] = {
        "s": 34,
        "edgecolors": "white",
        "linewidths": 0.6,
        "zorder": 3,
        **in_degrees(ax),
    }
    if value.dtype.kind in "OUST":
        _by_class(ax, lon, lat, value, dots)
    else:
        _by_number(ax, lon, lat, value, dots)
    if projected(ax):
        ax.set_global()  # type: ignore[attr-defined]
    elif land is None:
        _room(ax, lon.values, lat.values)
    dress_map(ax)
    of = f" of {target}" if "target" in ds.dims and colour in ds.data_vars else ""
    ax.set_title(f"{colour}{of}" if title is None else title, loc="left", fontweight="bold")
    return ax


def _value(ds: xr.Dataset, colour: str, target: str, dim: str) -> xr.DataArray:
    """One value for each tower."""
    if colour == "years" and colour not in ds.variables:
        return _years(ds, dim)
    if colour not in ds.variables:
        there = [str(n) for n in ds.variables if dim in ds[n].dims and time_dim(ds[n]) is None]
        raise DataError(f"there is no {colour!r} to colour by; found {', '.join(there)}")
    value = ds[colour]
    if "target" in value.dims:
        value = value.sel(target=target)
    if "scale" in value.dims:
        value = value.sel(scale="all")
    if value.dims != (dim,):
        raise DataError(
            f"{colour!r} has dims {value.dims}, expected one value for each {dim}: "
            f'ds["{colour}"].mean("time") is one'
        )
    return value


def _years(ds: xr.Dataset, dim: str) -> xr.DataArray:
    """Years in which a target is there, from the number of steps and their mean length."""
    flux = next((ds[name] for name in _TARGETS if name in ds.data_vars), None)
    time = None if flux is None else time_dim(flux)
    if flux is None or time is None or flux.sizes[time] < 2:
        raise DataError(
            'there are no fluxes over time to count years of: name what to colour by, colour="igbp"'
        )
    first, last = flux[time].values[[0, -1]]
    length = (last - first) / (flux.sizes[time] - 1)
    days = length / np.timedelta64(1, "D") if flux[time].dtype.kind == "M" else length.days
    years = flux.notnull().sum(time) * float(days) / 365.25
    return years.rename("years").assign_attrs(long_name="labelled time", units="years")


def _ground(ax: Axes, land: xr.DataArray) -> None:
    """Grey cells where a grid is not missing."""
    time = time_dim(land)
    there = land.notnull() if time is None else land.notnull().any(time)
    grid = there.where(there).to_dataset(name="land")
    lat, lon = named(grid, _LAT), named(grid, _LON)
    if lat is None or lon is None or there.ndim != 2:
        raise DataError(f"land={land.name!r} with dims {land.dims} is no grid (lat, lon)")
    grey: dict[str, Any] = {"cmap": "Greys", "vmin": 0, "vmax": 4, "shading": "nearest"}
    cells = grid.land.transpose(lat.dims[0], lon.dims[-1])
    if not projected(ax):
        ax.set_ylim(*filled(cells, str(lat.name)))
    ax.pcolormesh(lon, lat, cells, **grey, **in_degrees(ax))


def _by_class(
    ax: Axes, lon: xr.DataArray, lat: xr.DataArray, value: xr.DataArray, dots: dict[str, Any]
) -> None:
    names = sorted({str(v) for v in value.values})
    for name, paint in class_colours(names).items():
        here = value.values.astype(str) == name
        label = f"{name or 'not known'} ({here.sum()})"
        ax.scatter(lon[here], lat[here], color=paint, label=label, **dots)
    ax.legend(
        frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), handletextpad=0.2, fontsize=9
    )


def _by_number(
    ax: Axes, lon: xr.DataArray, lat: xr.DataArray, value: xr.DataArray, dots: dict[str, Any]
) -> None:
    number = value.values.astype(float)
    known = np.isfinite(number)
    if not known.any():
        raise DataError(f"{value.name!r} is missing at every tower")
    low, high = (float(v) for v in np.quantile(number[known], [0.02, 0.98]))
    colours = "viridis"
    if value.name in _SIGNED:
        high = max(abs(low), abs(high))
        low, colours = -high, "RdBu_r"
    ax.scatter(lon[~known], lat[~known], **{**dots, "facecolors": "none", "edgecolors": "#999999"})
    dots = {**dots, "edgecolors": "#4d4d4d", "linewidths": 0.5}
    drawn = ax.scatter(
        lon[known], lat[known], c=number[known], cmap=colours, vmin=low, vmax=high, **dots
    )
    label = f"{value.attrs.get('long_name', value.name)}\n{pretty_units(value)}"
    bar_beside(ax, drawn, label)


def _room(ax: Axes, lon: np.ndarray, lat: np.ndarray) -> None:
    """Limits around all towers, or the whole Earth where they are all over it."""
    for values, ends, setter in ((lon, 180.0, ax.set_xlim), (lat, 90.0, ax.set_ylim)):
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        margin = 0.08 * (high - low) or 2.0
        setter(max(low - margin, -ends), min(high + margin, 360.0 if high > ends else ends))
