"""How good a prediction is: for each entity, over all of them, and by time scale.

With p predicted, o observed and e = p - o, on the steps where both exist:

========  =======================================================================
rmse      square root of the mean of e squared
r2        square of the Pearson correlation of p and o: blind to bias and amplitude
nse       1 - sum(e**2) / sum((o - mean(o))**2), Nash and Sutcliffe (1970),
          doi:10.1016/0022-1694(70)90255-6: 1 is perfect, 0 is as good as the mean
bias      mean of e (positive: predicted too high)
mae       mean of the absolute value of e
n         number of values that were compared
========  =======================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import xarray as xr

from xflux.errors import DataError
from xflux.skill.timescales import ROUNDING, at_scale, by_month, divide, months

TARGETS = ("GPP", "Reco", "NEE")
SCALES = ("all", "seasonal", "anomaly", "between")
FLUX_UNITS = "g m-2 d-1"
_NAMES = {
    "rmse": "root mean square error",
    "r2": "squared correlation of predicted and observed",
    "nse": "Nash-Sutcliffe efficiency",
    "bias": "mean of predicted minus observed",
    "mae": "mean absolute error",
    "n": "number of values compared",
}
_OVER = {
    "pooled": "all entities together",
    "mean": "mean over entities",
    "median": "median over entities",
    "q90": "0.9 quantile over entities",
}
_IN_FLUX_UNITS = ("rmse", "bias", "mae")
_PARTS = ("mean", "seasonal", "anomaly")


def scores(
    predicted: xr.Dataset,
    observed: xr.Dataset,
    *,
    weights: xr.DataArray | None = None,
    time: str = "time",
    targets: Sequence[str] | None = None,
    scales: Sequence[str] | None = SCALES,
    minimum: int = 1,
) -> xr.Dataset:
    """Score a prediction against observations.

    Parameters
    ----------
    predicted, observed : xarray.Dataset
        The same targets in the same units, with the same entities and times in dims
        (entity dims..., `time`) of any names and order. A step counts where both have a value.
        Dask arrays of both are computed together, once.
    weights : xarray.DataArray, optional
        Weight of each step, not negative, with all or some of the dims; for example the share
        of measured steps. Steps of weight 0, or without one, are left out.
    time : str, default "time"
        Name of the time dim, in any calendar.
    targets : sequence of str, optional
        Variables to score; those of GPP, Reco and NEE that both have, if omitted.
    scales : sequence of str, optional
        Time scales to score, in dim ``scale``; None scores all steps and leaves out the dim.

        - "all": every step as it is.
        - "seasonal": the mean seasonal cycle of each entity, as means by month of the year
          (for daily series too), over the steps that count. A month weighs as its steps do.
        - "anomaly": what is left after each series has lost its own mean seasonal cycle. Months
          of the year with a single step have no anomaly and are left out.
        - "between": the means over time of the entities; there is one value for each entity,
          so it has pooled scores only.
    minimum : int, default 1
        Number of steps an entity needs to count in ``_mean``, ``_median``, ``_q90`` and in
        "between".

    Returns
    -------
    xarray.Dataset
        ``rmse``, ``r2``, ``nse``, ``bias``, ``mae`` and ``n`` with dims (scale, target, entity
        dims...); the same over all values of all entities together with suffix ``_pooled``
        (scale, target); and each but n as mean, median and 0.9 quantile over entities with
        suffix ``_mean``, ``_median``, ``_q90`` (scale, target). ``entities`` (target) counts
        the entities with at least `minimum` steps. rmse, bias and mae are in the units of the
        targets, g m-2 d-1 unless these say otherwise. Coordinates of the entities are kept.
        NaN where a score is not defined, as r2 and nse of a constant series.

    Raises
    ------
    DataError
        No target in common, other dims or coordinates, a time that is no date where the season
        is needed, negative weights, or an unknown scale.

    Notes
    -----
    Where each month of the year has at least 2 steps,
    rmse(all)**2 = rmse(seasonal)**2 + rmse(anomaly)**2.

    Examples
    --------
    >>> import pandas as pd
    >>> days = pd.date_range("2001-01-01", periods=4)
    >>> seen = xr.Dataset({"GPP": (("site", "time"), [[1.0, 2.0, 3.0, 4.0]])}, {"time": days})
    >>> result = scores(seen + 0.5, seen, scales=None)
    >>> float(result.rmse_pooled.sel(target="GPP")), float(result.bias[0, 0])
    (0.5, 0.5)
    """
    chosen = ("all",) if scales is None else tuple(scales)
    unknown = [scale for scale in chosen if scale not in SCALES]
    if unknown or not chosen:
        raise DataError(f"unknown scales {unknown}; expected some of scales={list(SCALES)}")
    names, dims, predicted, observed, weights = _prepare(
        predicted, observed, weights, time=time, targets=targets
    )
    needs_month = bool({"seasonal", "anomaly"} & set(chosen))
    month = months(observed, time) if needs_month else None

    shape = tuple(observed.sizes[dim] for dim in dims)
    corner = (len(chosen), len(names))
    each = {name: np.full((*corner, math.prod(shape)), np.nan) for name in _NAMES}
    over = {f"{name}_{kind}": np.full(corner, np.nan) for name in _NAMES for kind in _OVER}
    entities = np.zeros(len(names), dtype=int)
    for j, (p, o, w) in enumerate(_arrays(names, dims, predicted, observed, weights, time)):
        enough = np.count_nonzero(w, axis=-1) >= max(1, minimum)
        entities[j] = enough.sum()
        for i, scale in enumerate(chosen):
            moments = _moments(*at_scale(scale, p, o, w, month, enough))
            for name, value in _measures(_together(moments)).items():
                over[f"{name}_pooled"][i, j] = value
            if scale == "between":
                each["n"][i, j] = 0
                continue
            for name, values in _measures(moments).items():
                each[name][i, j] = values
                for kind, summary in _summaries(values[enough]).items():
                    over[f"{name}_{kind}"][i, j] = summary

    units = _units(names, observed)
    result = xr.Dataset(coords=_entity_coords(predicted, observed, time))
    result = result.assign_coords(scale=list(chosen), target=names)
    for name, values in each.items():
        full = values.reshape(*corner, *shape)
        result[name] = (("scale", "target", *dims), full, _attributes(name, units))
    for name, values in over.items():
        result[name] = (("scale", "target"), values, _attributes(name, units))
    result = result.drop_vars(["n_mean", "n_median", "n_q90"])
    result = result.assign(n=result.n.astype(int), n_pooled=result.n_pooled.astype(int))
    text = f"entities with at least {max(1, minimum)} steps"
    result["entities"] = ("target", entities, {"long_name": text, "units": "1"})
    return result.isel(scale=0, drop=True) if scales is None else result


def error_shares(
    predicted: xr.Dataset,
    observed: xr.Dataset,
    *,
    weights: xr.DataArray | None = None,
    time: str = "time",
    targets: Sequence[str] | None = None,
) -> xr.Dataset:
    """Say which part of the squared error is mean bias, seasonal cycle and anomaly.

    The error of each entity is the sum of its mean, of the departure of its mean seasonal cycle
    (by month of the year) from that mean, and of the rest. Their squares add up to the squared
    error, without cross terms.

    Parameters
    ----------
    predicted, observed, weights, time, targets
        As in `scores`.

    Returns
    -------
    xarray.Dataset
        ``share`` with dims (part, target, entity dims...) and ``share_pooled`` (part, target),
        summed over entities before dividing, for the parts "mean", "seasonal" and "anomaly".
        They sum to 1 over ``part``; NaN where there is no error at all.

    Raises
    ------
    DataError
        As in `scores`.

    Examples
    --------
    A prediction that is wrong by the same amount at each step has a biased mean and no more:

    >>> import pandas as pd
    >>> days = pd.date_range("2001-01-01", periods=90)
    >>> seen = xr.Dataset({"GPP": (("site", "time"), np.ones((1, 90)))}, {"time": days})
    >>> error_shares(seen + 0.5, seen).share_pooled.sel(target="GPP").values.tolist()
    [1.0, 0.0, 0.0]
    """
    names, dims, predicted, observed, weights = _prepare(
        predicted, observed, weights, time=time, targets=targets
    )
    month = months(observed, time)
    shape = tuple(observed.sizes[dim] for dim in dims)
    squares = np.zeros((len(_PARTS), len(names), math.prod(shape)))
    for j, (p, o, w) in enumerate(_arrays(names, dims, predicted, observed, weights, time)):
        error = p - o
        cycle, steps = by_month(error, w, month)
        mean = divide((steps * cycle).sum(-1), steps.sum(-1))
        anomaly = error - cycle[:, month - 1]
        squares[0, j] = steps.sum(-1) * np.nan_to_num(mean) ** 2
        squares[1, j] = (steps * (cycle - mean[:, None]) ** 2).sum(-1)
        squares[2, j] = np.einsum("et,et,et->e", w, anomaly, anomaly)
    squares = np.nan_to_num(squares)
    pooled = squares.sum(-1)
    share = divide(squares, squares.sum(0)).reshape(*squares.shape[:2], *shape)
    attrs = {"long_name": "share of the squared error", "units": "1"}
    return xr.Dataset(
        {
            "share": (("part", "target", *dims), share, attrs),
            "share_pooled": (("part", "target"), divide(pooled, pooled.sum(0)), attrs),
        },
        coords=_entity_coords(predicted, observed, time),
    ).assign_coords(part=list(_PARTS), target=names)


def _prepare(
    predicted: xr.Dataset,
    observed: xr.Dataset,
    weights: xr.DataArray | None,
    *,
    time: str,
    targets: Sequence[str] | None,
) -> tuple[list[str], tuple[str, ...], xr.Dataset, xr.Dataset, xr.DataArray]:
    """Check that both belong together; return targets, entity dims and computed data."""
    wanted = TARGETS if targets is None else tuple(targets)
    both = [name for name in wanted if name in predicted and name in observed]
    if not both or (targets is not None and len(both) < len(wanted)):
        raise DataError(
            f"predicted has {list(predicted.data_vars)} and observed {list(observed.data_vars)}; "
            f"expected {', '.join(wanted)} in both. Rename them, or name others: "
            "scores(predicted, observed, targets=['LE'])"
        )
    one, other = predicted[both], observed[both]
    dims = other[both[0]].dims
    for name in both:
        if not set(dims) == set(one[name].dims) == set(other[name].dims) or time not in dims:
            raise DataError(
                f"{name} has dims {one[name].dims} predicted and {other[name].dims} observed; "
                f"expected the same, with {time!r} among them. Average members first: "
                "predicted.mean('realization'); name the time dim: time='date'"
            )
    try:
        one, other = xr.align(one, other, join="exact", copy=False)
    except ValueError as error:
        raise DataError(
            "predicted and observed are at other entities or times; keep what they share: "
            "predicted, observed = xr.align(predicted, observed)"
        ) from error
    steps = xr.DataArray(1.0) if weights is None else weights
    if not set(steps.dims) <= set(dims):
        raise DataError(f"weights have dims {steps.dims}; expected some of {dims}")
    try:
        xr.align(other, steps, join="exact", copy=False)
    except ValueError as error:
        raise DataError(
            "weights are at other entities or times than observed; bring them in line: "
            "weights = weights.reindex_like(observed)"
        ) from error
    if any(data.__dask_graph__() is not None for data in (one, other, steps)):
        from dask.base import compute

        one, other, steps = compute(one, other, steps)
    if bool((steps < 0).any()):
        raise DataError("some weights are negative; expected 0 or more: weights.clip(min=0)")
    entity_dims = tuple(str(dim) for dim in dims if dim != time)
    return both, entity_dims, one, other, steps


def _arrays(
    names: Sequence[str],
    dims: tuple[str, ...],
    predicted: xr.Dataset,
    observed: xr.Dataset,
    weights: xr.DataArray,
    time: str,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield predicted, observed and weights of each target as (entity, time), all zero in gaps."""
    for name in names:
        order = (*dims, time)
        steps = observed[name].sizes[time]
        p, o = (
            ds[name].transpose(*order).values.reshape(-1, steps).astype(float)
            for ds in (predicted, observed)
        )
        w = weights.broadcast_like(observed[name]).transpose(*order).values.reshape(-1, steps)
        if np.isinf(p).any() or np.isinf(o).any():
            raise DataError(
                f"{name} has {np.isinf(p).sum()} infinite values predicted and "
                f"{np.isinf(o).sum()} observed; expected numbers, or NaN where there is none: "
                f"ds.where(np.isfinite(ds.{name}))"
            )
        w = np.where(np.isnan(p) | np.isnan(o) | np.isnan(w), 0.0, w)
        yield np.where(w > 0, p, 0.0), np.where(w > 0, o, 0.0), w


def _moments(p: np.ndarray, o: np.ndarray, w: np.ndarray) -> dict[str, np.ndarray]:
    """Sum along the last axis what every measure follows from; weight 0 does not count."""
    total = w.sum(-1)
    weighted = "...t,...t->..."
    mean_p = np.nan_to_num(divide(np.einsum(weighted, w, p), total))
    mean_o = np.nan_to_num(divide(np.einsum(weighted, w, o), total))
    around_p, around_o, error = p - mean_p[..., None], o - mean_o[..., None], p - o
    heavy_p, heavy_o = w * around_p, w * around_o
    return {
        "n": np.count_nonzero(w, axis=-1),
        "total": total,
        "mean_p": mean_p,
        "mean_o": mean_o,
        "pp": np.einsum(weighted, heavy_p, around_p),
        "oo": np.einsum(weighted, heavy_o, around_o),
        "po": np.einsum(weighted, heavy_p, around_o),
        "square": np.einsum(weighted, w * error, error),
        "absolute": np.einsum(weighted, w, np.abs(error)),
    }


def _together(moments: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Moments of all entities as one, from those of each."""
    total = moments["total"]
    one = {name: moments[name].sum() for name in ("n", "total", "square", "absolute")}
    for name in ("mean_p", "mean_o"):
        one[name] = np.nan_to_num(divide((total * moments[name]).sum(), one["total"]))
    for name in ("pp", "oo", "po"):
        left, right = (moments[f"mean_{k}"] - one[f"mean_{k}"] for k in name)
        one[name] = (moments[name] + total * left * right).sum()
    return one


def _measures(moments: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Turn moments into scores, with NaN where they are not defined."""
    total, square = moments["total"], moments["square"]
    pp, oo = (
        np.where(spread <= total * (ROUNDING * mean) ** 2, 0.0, spread)
        for spread, mean in ((moments["pp"], moments["mean_p"]), (moments["oo"], moments["mean_o"]))
    )
    exists = np.where(total > 0, 0.0, np.nan)
    return {
        "rmse": np.sqrt(divide(square, total)),
        "r2": np.minimum(divide(moments["po"] ** 2, pp * oo), 1.0),
        "nse": 1.0 - divide(square, oo),
        "bias": moments["mean_p"] - moments["mean_o"] + exists,
        "mae": divide(moments["absolute"], total),
        "n": moments["n"],
    }


def _summaries(values: np.ndarray) -> dict[str, float]:
    """Mean, median and 0.9 quantile of the values that exist."""
    known = values[np.isfinite(values)]
    if known.size == 0:
        return {}
    return {
        "mean": float(known.mean()),
        "median": float(np.median(known)),
        "q90": float(np.quantile(known, 0.9)),
    }


def _units(names: Sequence[str], observed: xr.Dataset) -> str | None:
    """Units that all targets share; None where they differ."""
    found = {observed[name].attrs.get("units", FLUX_UNITS) for name in names}
    return found.pop() if len(found) == 1 else None


def _attributes(name: str, units: str | None) -> dict[str, str]:
    measure, _, kind = name.partition("_")
    text = _NAMES[measure] + (f", {_OVER[kind]}" if kind else "")
    if measure not in _IN_FLUX_UNITS:
        return {"long_name": text, "units": "1"}
    return {"long_name": text} if units is None else {"long_name": text, "units": units}


def _entity_coords(predicted: xr.Dataset, observed: xr.Dataset, time: str) -> xr.Coordinates:
    """Coordinates of the entities, those without a time, from both."""
    coords = predicted.drop_dims(time).coords
    return coords.assign(observed.drop_dims(time).coords)
