"""Maps: of a flux, and of how much the members disagree about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

from xflux.errors import DataError
from xflux.plotting.axes import bar_beside, colours_of, dress_map, in_degrees, new_axes, projected
from xflux.plotting.parts import filled, spread_of, target_of, time_mean
from xflux.styles import SPREAD, Style, label_of, require_matplotlib, style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPREAD_FLOOR = 0.1
"""Share of the largest mean below which a ratio to the mean says nothing."""


def flux_map(
    flux: xr.DataArray,
    *,
    ax: Axes | None = None,
    low: float | None = None,
    high: float | None = None,
    colour_bar: bool = True,
    title: str | None = None,
) -> Axes:
    """Draw a map of a flux, as its mean over time where it has time.

    Parameters
    ----------
    flux : xr.DataArray
        Dims (lat, lon), (y, x) with 2-D coordinates lat and lon, or these and time. Missing values
        (sea, ice) are left blank; each cell weighs its time steps alike.
    ax : matplotlib Axes, optional
        New ones by default.
    low, high : float, optional
        Ends of the colour bar; by default 0 (for NEE: minus ``high``) and the largest value but
        for the upper 1 %.
    colour_bar : bool
        With the long name and the units of the attributes.
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
        There are no coordinates to draw on, or no value.

    Examples
    --------
    >>> world = xflux.datasets.load("simulated-grid", shape=(12, 24), time_step="monthly")
    >>> ax = flux_map(world.GPP_true.rename("GPP"))
    >>> ax.get_title(loc="left")
    'GPP'
    """
    require_matplotlib()
    style = style_of(str(flux.name))
    mean = time_mean(flux)
    label = label_of(flux) if colour_bar else None
    ax = _draw(mean, style, ax=ax, low=low, high=high, label=label)
    ax.set_title(_title(flux) if title is None else title, loc="left", fontweight="bold")
    return ax


def spread_map(
    predicted: xr.Dataset,
    *,
    target: str = "GPP",
    ax: Axes | None = None,
    high: float | None = None,
    title: str | None = None,
) -> Axes:
    """Draw a map of the spread of the members in percent of the size of the flux.

    Parameters
    ----------
    predicted : xr.Dataset
        The flux and ``<target>_std``, or the flux with a dimension ``realization``; dims as in
        `flux_map`. Cells whose mean absolute flux is below a tenth of the largest are left
        blank: a ratio to next to nothing says nothing.
    target : str
        ``"GPP"``, ``"Reco"`` or ``"NEE"``.
    ax : matplotlib Axes, optional
        New ones by default.
    high : float, optional
        Upper end of the colour bar [%].
    title : str, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    DataError
        There is no flux, no spread of it, or nothing to draw on.

    Examples
    --------
    >>> world = xflux.datasets.load("simulated-grid", shape=(6, 12), time_step="monthly")
    >>> ax = spread_map(world.flux.predict(), target="GPP")
    >>> ax.child_axes[0].get_ylabel()
    'spread of members / mean [%]'
    """
    require_matplotlib()
    flux = target_of(predicted, target)
    spread = spread_of(predicted, target)
    if spread is None:
        raise DataError(
            f"there is no spread of {target}: fluxes = ds.flux.predict(model) has {target}_std, "
            "with members=True a dimension realization"
        )
    if "realization" in flux.dims:
        flux = flux.mean("realization", keep_attrs=True)
    size = time_mean(abs(flux)).compute()
    share = 100 * time_mean(spread) / size.where(size >= SPREAD_FLOOR * size.quantile(0.99))
    label = "spread of members / mean [%]"
    ax = _draw(share.rename(f"{target}_std"), SPREAD, ax=ax, low=0.0, high=high, label=label)
    title = f"spread of {target}" if title is None else title
    ax.set_title(title, loc="left", fontweight="bold")
    return ax


def _draw(
    mean: xr.DataArray,
    style: Style,
    *,
    ax: Axes | None,
    low: float | None,
    high: float | None,
    label: str | None,
) -> Axes:
    """Coloured cells on a map, and their colour bar where there is a label for it."""
    mean = mean.compute()
    x, y = _horizontal(mean)
    colours = colours_of(mean, "cell", style, low, high)
    if ax is None:
        ax = new_axes((8.0, 4.2))
    if not projected(ax):
        ax.set_ylim(*filled(mean, y))
    ordered = mean.transpose(*mean[y].dims, *(d for d in mean[x].dims if d not in mean[y].dims))
    drawn = ax.pcolormesh(mean[x], mean[y], ordered, **colours, **in_degrees(ax))
    dress_map(ax)
    if label is not None:
        bar_beside(ax, drawn, label)
    return ax


def _title(flux: xr.DataArray) -> str:
    name = str(flux.name)
    return f"spread of {name.removesuffix('_std')}" if name.endswith("_std") else name


def _horizontal(flux: xr.DataArray) -> tuple[str, str]:
    """Names of the coordinates of the map, across and upwards."""
    for x, y in (("lon", "lat"), ("longitude", "latitude"), ("x", "y")):
        if x in flux.coords and y in flux.coords and flux.ndim == 2:
            two_dims = {*flux[x].dims, *flux[y].dims} == set(flux.dims)
            if flux[x].ndim == flux[y].ndim and two_dims:
                return x, y
    raise DataError(
        f"{flux.name!r} with dims {flux.dims} is no map: two dimensions with coordinates lat and "
        "lon are needed besides time"
    )
