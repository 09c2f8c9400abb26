"""Axes of drawings: new ones, plain ones, and those of maps, with or without a projection."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np

from xflux.errors import DataError
from xflux.styles import SEA, Style

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from matplotlib.axes import Axes

COAST = "#8a9199"


def new_axes(size: tuple[float, float]) -> Axes:
    """Axes on a figure of their own, of this width and height [inches]."""
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def plain(ax: Axes) -> None:
    """Leave out the frame at the top and on the right."""
    ax.spines[["top", "right"]].set_visible(False)


def projected(ax: Axes) -> bool:
    """Whether these are axes of cartopy, with a map projection."""
    return hasattr(ax, "projection") and hasattr(ax, "set_extent")


def in_degrees(ax: Axes) -> dict[str, Any]:
    """What a drawing in degrees must be told on these axes."""
    if not projected(ax):
        return {}
    from cartopy.crs import PlateCarree

    return {"transform": PlateCarree()}


def dress_map(ax: Axes) -> None:
    """Sea, ticks in degrees, and coastlines where cartopy has them on the disk."""
    ax.set_facecolor(SEA)
    if not projected(ax):
        _degrees(ax)
    coast = coastline()
    if coast is not None:
        _draw_coast(ax, coast)


def coastline() -> Path | None:
    """The coastline of Natural Earth that cartopy has fetched before; nothing is downloaded."""
    if importlib.util.find_spec("cartopy") is None:
        return None
    import cartopy
    from cartopy.io import Downloader

    what = {"category": "physical", "name": "coastline", "resolution": "110m"}
    fetcher = Downloader.from_config(("shapefiles", "natural_earth", *what.values()))
    paths = {**what, "config": cartopy.config}
    found = (fetcher.pre_downloaded_path(paths), fetcher.target_path(paths))
    return next((path for path in found if path is not None and path.exists()), None)


def _draw_coast(ax: Axes, coast: Path) -> None:
    """Coastlines as lines that leave the limits of the axes as they are."""
    from cartopy.io.shapereader import Reader
    from matplotlib.collections import LineCollection

    shapes = list(Reader(coast).geometries())
    lines = [part.coords[:] for shape in shapes for part in getattr(shape, "geoms", [shape])]
    where = in_degrees(ax)
    drawn = LineCollection(lines, colors=COAST, linewidths=0.6, zorder=1.5)
    if where:
        drawn.set_transform(where["transform"]._as_mpl_transform(ax))
    drawn.set_label("_coastline")
    ax.add_collection(drawn, autolim=False)


def _degrees(ax: Axes) -> None:
    ax.set_aspect("equal")
    ax.xaxis.set_major_formatter(
        lambda v, _: "0°" if v == 0 else f"{abs(v):g}°{'E' if v > 0 else 'W'}"
    )
    latitudes(ax)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    if right - left > 180:
        ax.xaxis.set_major_locator(_multiples(60))
    if top - bottom > 90:
        ax.yaxis.set_major_locator(_multiples(30))
    ax.tick_params(length=0, labelsize="small", colors="#666666")
    ax.spines[:].set_visible(False)


def latitudes(ax: Axes) -> None:
    """Write the numbers of the vertical axis as degrees north and south."""
    ax.yaxis.set_major_formatter(
        lambda v, _: "0°" if v == 0 else f"{abs(v):g}°{'N' if v > 0 else 'S'}"
    )


def short_dates(ax: Axes, time: Any) -> None:
    """Dates below the axes, no more of them and no longer than there is room for."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    if time.dtype.kind == "M":
        locator = AutoDateLocator(minticks=3, maxticks=8)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def colours_of(
    flux: xr.DataArray, piece: str, style: Style, low: float | None, high: float | None
) -> dict[str, Any]:
    """How `pcolormesh` paints a flux, with ends of the colour bar where nobody has said them.

    ``piece`` is what one value of the flux is called: a cell, a step.

    Raises
    ------
    DataError
        There is nothing to paint.
    """
    finite = flux.values[np.isfinite(flux.values)]
    if not finite.size:
        raise DataError(f"{flux.name!r} has no value to draw: every {piece} is missing")
    high = float(np.quantile(np.abs(finite), 0.99)) if high is None else high
    low = (-high if style.diverging else 0.0) if low is None else low
    return {"cmap": style.colours, "vmin": low, "vmax": high, "shading": "nearest"}


def bar_beside(ax: Axes, drawn: Any, label: str) -> None:
    """A colour bar on the right of the axes, pointed where values lie beyond its ends."""
    assert ax.figure is not None
    low, high = drawn.get_clim()
    values = np.ma.masked_invalid(drawn.get_array()).compressed()
    over, under = bool((values > high).any()), bool((values < low).any())
    extend = "both" if over and under else "max" if over else "min" if under else "neither"
    bar = ax.figure.colorbar(drawn, cax=ax.inset_axes((1.02, 0.0, 0.02, 1.0)), extend=extend)
    bar.set_label(label)
    bar.outline.set_visible(False)


def _multiples(base: float) -> Any:
    from matplotlib.ticker import MultipleLocator

    return MultipleLocator(base)
