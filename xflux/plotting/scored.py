"""Bars of a score by land cover, climate or any other class of entities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xflux.errors import DataError
from xflux.plotting.axes import new_axes, plain
from xflux.plotting.parts import target_of
from xflux.styles import pretty_units, require_matplotlib, style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOWER_IS_BETTER = ("rmse", "mae")


def scores(
    evaluated: xr.Dataset,
    *,
    score: str = "rmse",
    by: str = "igbp",
    targets: tuple[str, ...] = ("GPP", "Reco", "NEE"),
    ax: Axes | None = None,
) -> Axes:
    """Draw the mean of a score over the entities of each class, and every entity as a dot.

    Parameters
    ----------
    evaluated : xr.Dataset
        What `ds.flux.evaluate` or `ds.flux.cross_validate` returned, dims (target, site).
    score : str
        ``"rmse"``, ``"r2"``, ``"nse"``, ``"bias"`` or ``"mae"``.
    by : str
        A coordinate of the entities: ``"igbp"``, ``"climate"``, ``"fold"``.
    targets : tuple of str
    ax : matplotlib Axes, optional
        New ones by default.

    Returns
    -------
    matplotlib Axes
        A group of bars for each class; the number of entities is in brackets. Dots beyond the
        axis are left out where the score has no lower end, as R² and NSE of short records.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    DataError
        There is no such score, class or target.

    Examples
    --------
    >>> towers = xflux.datasets.load("simulated-towers", sites=8, years=1, time_step="monthly")
    >>> ax = scores(towers.flux.evaluate(xflux.load_model("monthly")), by="climate")
    >>> ax.get_ylabel()
    'RMSE [g m$^{-2}$ d$^{-1}$]'
    """
    require_matplotlib()
    table = target_of(evaluated, score)
    entity = _entity(evaluated, table, by)
    if "scale" in table.dims:
        table = table.sel(scale="all")
    missing = [name for name in targets if name not in table.target.values]
    if missing:
        raise DataError(
            f"no {score} of {', '.join(missing)}; found {', '.join(map(str, table.target.values))}"
        )
    classes = table[by].values.astype(str)
    names, counts = np.unique(classes, return_counts=True)
    if ax is None:
        ax = new_axes((max(5.0, 1.0 + 0.75 * names.size), 3.6))
    width = 0.8 / len(targets)
    for k, target in enumerate(targets):
        rows = table.sel(target=target).transpose(entity).values
        middle = np.arange(names.size) + (k - (len(targets) - 1) / 2) * width
        groups = [rows[(classes == name) & np.isfinite(rows)] for name in names]
        means = [group.mean() if group.size else np.nan for group in groups]
        colour = style_of(target).line
        ax.bar(middle, means, 0.9 * width, color=colour, alpha=0.75, label=target)
        across = np.repeat(middle, [group.size for group in groups])
        dots: dict[str, Any] = {
            "color": colour,
            "edgecolors": "white",
            "linewidths": 0.4,
            "zorder": 3,
        }
        ax.scatter(across, np.concatenate(groups), s=12, **dots)
    ax.set_xticks(
        range(names.size),
        [f"{name or 'not known'}\n({n})" for name, n in zip(names, counts, strict=True)],
    )
    _vertical(ax, table, score)
    ax.legend(frameon=False, ncols=len(targets), loc="lower right", bbox_to_anchor=(1.0, 1.0))
    plain(ax)
    return ax


def _entity(evaluated: xr.Dataset, table: xr.DataArray, by: str) -> str:
    """The dimension of the entities, along which the classes are."""
    dims = [str(dim) for dim in table.dims if dim not in ("target", "scale")]
    if len(dims) != 1 or "target" not in table.dims:
        raise DataError(
            f"{table.name!r} has dims {table.dims}, expected (target, site) as of "
            "scores = ds.flux.evaluate(model)"
        )
    there = [str(name) for name in evaluated.coords if evaluated[name].dims == (dims[0],)]
    if by not in there:
        raise DataError(f"there is no {by!r} of the entities; found {', '.join(there)}")
    return dims[0]


def _vertical(ax: Axes, table: xr.DataArray, score: str) -> None:
    name = {"r2": "R²"}.get(score, score if score == "bias" else score.upper())
    units = table.attrs.get("units", "1")
    ax.set_ylabel(name if units == "1" else f"{name} {pretty_units(table)}")
    if score in _LOWER_IS_BETTER:
        ax.set_ylim(bottom=0.0)
        return
    ax.axhline(0, color="#888888", lw=0.8, zorder=0)
    if score in ("r2", "nse"):
        ax.set_ylim(0.0 if score == "r2" else -1.0, 1.0)
