"""The seasonal cycle of a flux: the mean of every calendar month, and its spread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xflux.errors import DataError
from xflux.plotting.axes import new_axes, plain
from xflux.plotting.parts import target_of, time_dim
from xflux.styles import label_of, require_matplotlib, style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MONTHS = tuple("JFMAMJJASOND")


def seasonal_cycle(
    predicted: xr.Dataset,
    *,
    target: str = "GPP",
    observed: xr.Dataset | xr.DataArray | None = None,
    ax: Axes | None = None,
    label: str | None = "predicted",
    colour: str | None = None,
) -> Axes:
    """Draw the mean of every calendar month, with the spread of the members as a band.

    Parameters
    ----------
    predicted : xr.Dataset
        The flux over time and any entities, which are averaged; where it has ``<target>_std`` or a
        dimension ``realization``, a band of one standard deviation is drawn.
    target : str
        ``"GPP"``, ``"Reco"`` or ``"NEE"``.
    observed : xr.Dataset or xr.DataArray, optional
        What was measured, drawn as open points. Both are averaged over the steps that are observed.
    ax : matplotlib Axes, optional
        New ones by default.
    label : str, optional
        Of the line in the legend.
    colour : str, optional
        Of line and band; that of the flux by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    DataError
        The Dataset has no such flux, or no time.

    Examples
    --------
    >>> towers = xflux.datasets.load("simulated-towers", sites=3, years=2, time_step="monthly")
    >>> ax = seasonal_cycle(towers, target="Reco", label="simulated")
    >>> len(ax.lines)
    1
    """
    require_matplotlib()
    flux = target_of(predicted, target)
    time = time_dim(flux)
    if time is None:
        raise DataError(f"{target} has no time dimension: there is no season to draw")
    seen: xr.DataArray | None = (
        target_of(observed, target) if isinstance(observed, xr.Dataset) else observed
    )
    spread: xr.DataArray | None = predicted.get(f"{target}_std")
    if seen is not None:
        seen = seen.where(flux.notnull() if "realization" not in flux.dims else True)
        flux = flux.where(seen.notnull())
        spread = None if spread is None else spread.where(seen.notnull())
    band: xr.DataArray | None = None
    if "realization" in flux.dims:
        members = _by_month(flux, time, keep="realization")
        line, band = members.mean("realization"), members.std("realization", ddof=1)
    else:
        line = _by_month(flux, time)
        if spread is not None:
            band = _by_month(spread, time)
    if ax is None:
        ax = new_axes((5.4, 3.6))
    colour = colour or style_of(target).line
    if band is not None:
        ax.fill_between(line.month, line - band, line + band, color=colour, alpha=0.22, lw=0)
    ax.plot(line.month, line, color=colour, lw=2.2, label=label)
    if seen is not None:
        points = _by_month(seen, time)
        dots: dict[str, Any] = {
            "color": colour,
            "mfc": "white",
            "mew": 1.4,
            "ms": 5.0,
            "zorder": 3,
            "clip_on": False,
        }
        ax.plot(points.month, points, "o", label="observed", **dots)
    ax.autoscale(axis="y")
    if style_of(target).diverging:
        ax.axhline(0, color="#888888", lw=0.8, zorder=0)
    else:
        ax.set_ylim(
            bottom=min(0.0, 1.1 * min(float(np.nanmin(drawn.get_ydata())) for drawn in ax.lines))
        )
    ax.set_xticks(range(1, 13), MONTHS)
    ax.set_ylabel(label_of(predicted[target]))
    if label:
        ax.legend(frameon=False)
    plain(ax)
    return ax


def _by_month(flux: xr.DataArray, time: str, keep: str | None = None) -> xr.DataArray:
    """Mean of every calendar month over all entities: each entity's cycle first, then theirs."""
    cycle = flux.groupby(f"{time}.month").mean()
    return cycle.mean([dim for dim in cycle.dims if dim not in ("month", keep)]).compute()
