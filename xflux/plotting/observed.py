"""Observed against predicted values, with the pooled scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xflux.errors import DataError
from xflux.plotting.axes import new_axes, plain
from xflux.plotting.parts import target_of, time_dim
from xflux.skill import metrics
from xflux.styles import Style, pretty_units, require_matplotlib, style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def scatter(
    predicted: xr.Dataset,
    observed: xr.Dataset,
    *,
    target: str = "GPP",
    ax: Axes | None = None,
) -> Axes:
    """Draw observed against predicted values, with the 1:1 line and the pooled scores.

    Parameters
    ----------
    predicted, observed : xr.Dataset
        The flux on the same entities and times; steps that one of them misses are left out.
    target : str
        ``"GPP"``, ``"Reco"`` or ``"NEE"``.
    ax : matplotlib Axes, optional
        New ones by default.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    DataError
        One of them has no such flux, or they have no step in common.

    Examples
    --------
    >>> towers = xflux.datasets.load("simulated-towers", sites=3, years=2, time_step="monthly")
    >>> ax = scatter(towers, towers + 1.0, target="GPP")
    >>> ax.get_xlabel()
    'observed [g m$^{-2}$ d$^{-1}$ of carbon]'
    """
    require_matplotlib()
    flux, seen = xr.broadcast(target_of(predicted, target), target_of(observed, target))
    keep = np.isfinite(flux.values) & np.isfinite(seen.values)
    x, y = seen.values[keep], flux.values[keep]
    if not x.size:
        raise DataError(f"{target}: no step is both observed and predicted")
    scores = metrics.scores(
        flux.to_dataset(name=target),
        seen.to_dataset(name=target),
        time=str(time_dim(flux)),
        scales=None,
    )
    if ax is None:
        ax = new_axes((4.2, 4.2))
    ends = np.quantile(np.concatenate([x, y]), [0.0005, 0.9995])
    low, high = (float(v) for v in ends + np.array([-0.03, 0.03]) * (ends[1] - ends[0]))
    style = style_of(target)
    cells: dict[str, Any] = {
        "extent": (low, high, low, high),
        "gridsize": 55,
        "mincnt": 1,
        "linewidths": 0.2,
    }
    ax.hexbin(x, y, bins="log", cmap=_without_white(style), **cells)
    ax.plot([low, high], [low, high], color="#444444", lw=1.0, ls="--")
    ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    rmse, r2 = (
        float(scores.rmse_pooled.sel(target=target)),
        float(scores.r2_pooled.sel(target=target)),
    )
    words = f"RMSE {rmse:.2f}\nR² {r2:.2f}\nn {x.size:,}".replace(",", "\N{THIN SPACE}")
    ax.text(0.04, 0.96, words, transform=ax.transAxes, va="top", linespacing=1.4)
    units = pretty_units(target_of(predicted, target))
    ax.set(xlabel=f"observed {units}", ylabel=f"predicted {units}")
    ax.set_title(target, loc="left", fontweight="bold")
    plain(ax)
    return ax


def _without_white(style: Style) -> Any:
    """A sequential colour map that begins where it can be seen on white."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("counts", ["#d9dde0", style.line, "#111111"])
