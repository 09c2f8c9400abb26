"""The time series of one entity, with a band of spread or between two quantiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xflux.errors import DataError
from xflux.plotting.axes import new_axes, plain, short_dates
from xflux.plotting.parts import spread_of, target_of, time_dim
from xflux.styles import label_of, require_matplotlib, style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def series(
    predicted: xr.Dataset,
    *,
    target: str = "GPP",
    observed: xr.Dataset | None = None,
    ax: Axes | None = None,
    label: str | None = "predicted",
    colour: str | None = None,
) -> Axes:
    """Draw a flux of one entity over time, with a band of its spread and what was observed.

    Parameters
    ----------
    predicted : xr.Dataset
        One entity: time is the only dimension left, beside ``realization`` or ``quantile``. The
        band reaches from the lowest to the highest quantile of ``<target>_quantile`` (or of the
        flux itself), else one standard deviation of the members to both sides.
    target : str
        ``"GPP"``, ``"Reco"`` or ``"NEE"``.
    observed : xr.Dataset, optional
        What was measured at the same entity, drawn as points.
    ax : matplotlib Axes, optional
        New ones by default.
    label : str, optional
        Of the line in the legend.
    colour : str, optional
        That of the flux by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    DataError
        There is no such flux, no time, or more than one entity.

    Examples
    --------
    >>> towers = xflux.datasets.load("simulated-towers", sites=3, years=1)
    >>> ax = series(towers.isel(site=0), target="Reco", label="simulated")
    >>> len(ax.lines)
    1
    """
    require_matplotlib()
    flux, time = _one_entity(predicted, target, but=("realization", "quantile"))
    if ax is None:
        ax = new_axes((9.0, 3.2))
    colour = colour or style_of(target).line
    line, low, high, words = _band(predicted, flux, target)
    if low is not None and high is not None:
        band: dict[str, Any] = {"color": colour, "alpha": 0.25, "lw": 0, "label": words}
        ax.fill_between(line[time].values, low, high, **band)
    ax.plot(line[time].values, line, color=colour, lw=1.4, label=label)
    if observed is not None:
        seen, when = _one_entity(observed, target)
        dots: dict[str, Any] = {"ms": 2.2, "color": "#333333", "alpha": 0.55, "mew": 0, "zorder": 1}
        ax.plot(seen[when].values, seen, "o", label="observed", **dots)
    if style_of(target).diverging:
        ax.axhline(0, color="#888888", lw=0.8, zorder=0)
    ax.margins(x=0.01)
    short_dates(ax, line[time])
    ax.set_ylabel(label_of(flux))
    if label:
        ax.legend(frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1.0, 1.0))
    plain(ax)
    return ax


def _one_entity(ds: xr.Dataset, target: str, but: tuple[str, ...] = ()) -> tuple[xr.DataArray, str]:
    flux = target_of(ds, target)
    time = time_dim(flux)
    if time is None:
        raise DataError(f"{target} has no time dimension: there is no series to draw")
    others = [dim for dim in flux.dims if dim not in (time, *but)]
    if others:
        raise DataError(
            f"{target} has dims {flux.dims}: choose one entity, "
            f"ds.isel({', '.join(f'{dim}=0' for dim in others)})"
        )
    return flux.compute(), time


def _band(
    ds: xr.Dataset, flux: xr.DataArray, target: str
) -> tuple[xr.DataArray, xr.DataArray | None, xr.DataArray | None, str]:
    """The line, the ends of its band, and what the band is."""
    spread = spread_of(ds, target)
    quantiles = ds.get(f"{target}_quantile", flux)
    line = flux.mean("realization") if "realization" in flux.dims else flux
    if "quantile" in quantiles.dims:
        level = quantiles["quantile"].values.astype(float)
        low, high = (quantiles.isel(quantile=int(k)) for k in (level.argmin(), level.argmax()))
        if "quantile" in line.dims:
            line = line.isel(quantile=int(np.abs(level - 0.5).argmin()))
        return line, low, high, f"{100 * (level.max() - level.min()):.0f} % interval"
    if spread is None:
        return line, None, None, ""
    return line, line - spread, line + spread, "spread of members"
