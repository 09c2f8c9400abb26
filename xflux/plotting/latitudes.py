"""A Hovmoeller diagram: the mean of every latitude over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from xflux.errors import DataError
from xflux.plotting.axes import bar_beside, colours_of, latitudes, new_axes, plain, short_dates
from xflux.plotting.parts import time_dim
from xflux.styles import SEA, label_of, require_matplotlib, style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def hovmoeller(
    flux: xr.DataArray,
    *,
    ax: Axes | None = None,
    low: float | None = None,
    high: float | None = None,
    title: str | None = None,
) -> Axes:
    """Draw the mean of a flux over longitude, time across and latitude upwards.

    Parameters
    ----------
    flux : xr.DataArray
        Dims (time, lat, lon) in any order, with 1-D coordinates; members are averaged. What is
        missing is left out of the mean.
    ax : matplotlib Axes, optional
        New ones by default.
    low, high : float, optional
        Ends of the colour bar, as in `flux_map`.
    title : str, optional
        The name of the flux by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    DataError
        There are no time, latitude and longitude, or no value.

    Examples
    --------
    >>> world = xflux.datasets.load("simulated-grid", shape=(12, 24), time_step="monthly")
    >>> ax = hovmoeller(world.GPP_true.rename("GPP"))
    >>> ax.get_ylabel()
    'latitude'
    """
    require_matplotlib()
    time = time_dim(flux)
    lat = next((n for n in ("lat", "latitude") if n in flux.dims), None)
    if time is None or lat is None:
        raise DataError(
            f"{flux.name!r} with dims {flux.dims} has no time and latitude: "
            "a grid (time, lat, lon) is needed"
        )
    others = [dim for dim in flux.dims if dim not in (time, lat)]
    band = flux.mean(others, keep_attrs=True).transpose(lat, time).compute()
    band = band.dropna(lat, how="all")
    colours = colours_of(band, "step", style_of(str(flux.name)), low, high)
    if ax is None:
        ax = new_axes((8.0, 3.6))
    ax.set_facecolor(SEA)
    drawn = ax.pcolormesh(_dates(band[time]), band[lat], band, **colours)
    bar_beside(ax, drawn, label_of(flux))
    latitudes(ax)
    short_dates(ax, band[time])
    ax.set_ylabel("latitude")
    ax.set_title(str(flux.name) if title is None else title, loc="left", fontweight="bold")
    plain(ax)
    return ax


def _dates(time: xr.DataArray) -> np.ndarray:
    """Dates that matplotlib draws; those of another calendar become years with a fraction."""
    if time.dtype.kind == "M":
        return np.asarray(time.values)
    return np.asarray([d.year + (d.dayofyr - 1) / 365.25 for d in time.values])
