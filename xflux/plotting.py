"""Thin drawings of fluxes with matplotlib: a map, a seasonal cycle, observed against predicted.

Each function takes xarray objects, draws on the axes it is given (or on new ones) and returns
them, so that titles, limits and files stay with the caller. Needs ``pip install "xflux[plots]"``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xflux.errors import DataError
from xflux.skill import metrics
from xflux.styles import SEA, Style, label_of, pretty_units, require_matplotlib, style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MONTHS = tuple("JFMAMJJASOND")


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
    x, y = _horizontal(mean)
    finite = mean.values[np.isfinite(mean.values)]
    if not finite.size:
        raise DataError(f"{flux.name!r} has no value to draw: every cell is missing")
    high = float(np.quantile(np.abs(finite), 0.99)) if high is None else high
    low = (-high if style.diverging else 0.0) if low is None else low
    if ax is None:
        ax = _new_axes((8.0, 4.2))
    ax.set_facecolor(SEA)
    ax.set_ylim(*_filled(mean, y))
    ordered = mean.transpose(*mean[y].dims, *(d for d in mean[x].dims if d not in mean[y].dims))
    drawn = ax.pcolormesh(
        mean[x], mean[y], ordered, cmap=style.colours, vmin=low, vmax=high, shading="nearest"
    )
    _degrees(ax)
    if colour_bar:
        over = bool((finite > high).any())
        under = bool((finite < low).any())
        extend = "both" if over and under else "max" if over else "min" if under else "neither"
        assert ax.figure is not None
        beside = ax.inset_axes((1.02, 0.0, 0.02, 1.0))
        bar = ax.figure.colorbar(drawn, cax=beside, extend=extend)
        bar.set_label(label_of(flux))
        bar.outline.set_visible(False)
    ax.set_title(_title(flux) if title is None else title, loc="left", fontweight="bold")
    return ax


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
    flux = _target(predicted, target)
    time = _time_dim(flux)
    if time is None:
        raise DataError(f"{target} has no time dimension: there is no season to draw")
    seen: xr.DataArray | None = (
        _target(observed, target) if isinstance(observed, xr.Dataset) else observed
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
        ax = _new_axes((5.4, 3.6))
    colour = colour or style_of(target).line
    if band is not None:
        ax.fill_between(line.month, line - band, line + band, color=colour, alpha=0.22, lw=0)
    ax.plot(line.month, line, color=colour, lw=2.2, label=label)
    if seen is not None:
        points = _by_month(seen, time)
        dots = {
            "color": colour,
            "mfc": "white",
            "mew": 1.4,
            "ms": 5.0,
            "zorder": 3,
            "clip_on": False,
        }
        ax.plot(points.month, points, "o", label="observed", **dots)  # type: ignore[arg-type]
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
    _plain(ax)
    return ax


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
    flux, seen = xr.broadcast(_target(predicted, target), _target(observed, target))
    keep = np.isfinite(flux.values) & np.isfinite(seen.values)
    x, y = seen.values[keep], flux.values[keep]
    if not x.size:
        raise DataError(f"{target}: no step is both observed and predicted")
    scores = metrics.scores(
        flux.to_dataset(name=target),
        seen.to_dataset(name=target),
        time=str(_time_dim(flux)),
        scales=None,
    )
    if ax is None:
        ax = _new_axes((4.2, 4.2))
    ends = np.quantile(np.concatenate([x, y]), [0.0005, 0.9995])
    low, high = (float(v) for v in ends + np.array([-0.03, 0.03]) * (ends[1] - ends[0]))
    style = style_of(target)
    cells = {"extent": (low, high, low, high), "gridsize": 55, "mincnt": 1, "linewidths": 0.2}
    ax.hexbin(x, y, bins="log", cmap=_without_white(style), **cells)  # type: ignore[arg-type]
    ax.plot([low, high], [low, high], color="#444444", lw=1.0, ls="--")
    ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    rmse, r2 = (
        float(scores.rmse_pooled.sel(target=target)),
        float(scores.r2_pooled.sel(target=target)),
    )
    words = f"RMSE {rmse:.2f}\nR² {r2:.2f}\nn {x.size:,}".replace(",", "\N{THIN SPACE}")
    ax.text(0.04, 0.96, words, transform=ax.transAxes, va="top", linespacing=1.4)
    units = pretty_units(_target(predicted, target))
    ax.set(xlabel=f"observed {units}", ylabel=f"predicted {units}")
    ax.set_title(target, loc="left", fontweight="bold")
    _plain(ax)
    return ax


def time_mean(flux: xr.DataArray) -> xr.DataArray:
    """Mean over time, and over members where there are any, of what is not missing."""
    dims = [dim for dim in (_time_dim(flux), "realization") if dim in flux.dims]
    return flux.mean(dims, keep_attrs=True)


def _title(flux: xr.DataArray) -> str:
    name = str(flux.name)
    return f"spread of {name.removesuffix('_std')}" if name.endswith("_std") else name


def _filled(flux: xr.DataArray, y: str) -> tuple[float, float]:
    """Lowest and highest coordinate with a value, with a margin of a tenth."""
    here = flux[y].where(flux.notnull()).values
    low, high = float(np.nanmin(here)), float(np.nanmax(here))
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _target(ds: xr.Dataset, target: str) -> xr.DataArray:
    if target not in ds:
        raise DataError(f"there is no {target} to draw; found {', '.join(map(str, ds.data_vars))}")
    return ds[target]


def _time_dim(flux: xr.DataArray) -> str | None:
    """The dimension whose coordinate holds dates."""
    for dim in flux.dims:
        if dim in flux.coords and (
            flux[dim].dtype.kind == "M"
            or hasattr(np.ravel(flux[dim].values)[:1].tolist()[0], "calendar")
        ):
            return str(dim)
    return None


def _by_month(flux: xr.DataArray, time: str, keep: str | None = None) -> xr.DataArray:
    """Mean of every calendar month over all entities: each entity's cycle first, then theirs."""
    cycle = flux.groupby(f"{time}.month").mean()
    return cycle.mean([dim for dim in cycle.dims if dim not in ("month", keep)]).compute()


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


def _degrees(ax: Axes) -> None:
    ax.set_aspect("equal")
    ax.xaxis.set_major_formatter(
        lambda v, _: "0°" if v == 0 else f"{abs(v):g}°{'E' if v > 0 else 'W'}"
    )
    ax.yaxis.set_major_formatter(
        lambda v, _: "0°" if v == 0 else f"{abs(v):g}°{'N' if v > 0 else 'S'}"
    )
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    if right - left > 180:
        ax.xaxis.set_major_locator(_multiples(60))
    if top - bottom > 90:
        ax.yaxis.set_major_locator(_multiples(30))
    ax.tick_params(length=0, labelsize="small", colors="#666666")
    ax.spines[:].set_visible(False)


def _multiples(base: float) -> Any:
    from matplotlib.ticker import MultipleLocator

    return MultipleLocator(base)


def _without_white(style: Style) -> Any:
    """A sequential colour map that begins where it can be seen on white."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("counts", ["#d9dde0", style.line, "#111111"])


def _plain(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)


def _new_axes(size: tuple[float, float]) -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]
