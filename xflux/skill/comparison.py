"""Is one prediction better than another? Paired over entities, by bootstrap over clusters."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from xflux.errors import DataError

_COMPARISON = {
    "difference": "mean over entities of first minus second",
    "low": "lower end of the interval of the difference",
    "high": "upper end of the interval of the difference",
    "wins": "entities where first is lower than second",
    "n": "entities compared",
}


def paired(
    first: xr.DataArray | ArrayLike,
    second: xr.DataArray | ArrayLike,
    *,
    groups: xr.DataArray | ArrayLike,
    draws: int = 4000,
    seed: int = 0,
    level: float = 0.95,
) -> xr.Dataset:
    """Compare two predictions by their scores on the same entities.

    The interval comes from a bootstrap over groups: as many groups as there are are drawn with
    replacement, and the difference is averaged over their entities. Entities of one cluster are
    not independent, and an interval that took them so would be too narrow.

    Parameters
    ----------
    first, second : xarray.DataArray or array_like
        A score of each entity, for example rmse, with the entities in the last dim (or in the
        dim of `groups`, where that is a DataArray). Other dims, such as target, are compared
        one by one. Entities for which either is NaN are left out.
    groups : xarray.DataArray or array_like, shape (entity,)
        The group of each entity, usually its cluster.
    draws : int, default 4000
        Number of resamples.
    seed : int, default 0
        Seed of the resampling.
    level : float, default 0.95
        Probability that the interval stands for.

    Returns
    -------
    xarray.Dataset
        ``difference``, the mean over entities of first - second; ``low`` and ``high``, the ends
        of its percentile interval; ``wins``, the number of entities where `first` is lower
        (better for errors, worse for r2 and nse); and ``n``, the number compared.

    Raises
    ------
    DataError
        Shapes or coordinates differ, fewer than 2 groups have entities, or `draws` or `level`
        is out of range.

    Examples
    --------
    >>> result = paired([1.0, 2.0, 3.0], [1.5, 2.5, 3.5], groups=[0, 1, 1], draws=100)
    >>> float(result.difference), float(result.low), int(result.wins)
    (-0.5, -0.5, 3)
    """
    if draws < 1 or not 0 < level < 1:
        raise DataError(
            f"draws={draws}, level={level}; expected for example draws=4000, level=0.95"
        )
    one, other, dim = _same_entities(first, second, groups)
    label = np.asarray(groups)
    gap = (one - other).values.astype(float)
    rows = [_bootstrap(row, label, draws, seed, level) for row in gap.reshape(-1, label.size)]
    values = np.array(rows).reshape(*gap.shape[:-1], len(_COMPARISON))
    units = {key: text for key, text in one.attrs.items() if key == "units"}
    result = xr.Dataset(coords=one.to_dataset(name="score").drop_dims([dim]).coords)
    for k, (name, text) in enumerate(_COMPARISON.items()):
        count = name in ("wins", "n")
        column = values[..., k].astype(int) if count else values[..., k]
        attrs = {"long_name": text, **({"units": "1"} if count else units)}
        result[name] = (one.dims[:-1], column, attrs)
    return result.assign_attrs(level=level, draws=draws)


def _same_entities(
    first: xr.DataArray | ArrayLike,
    second: xr.DataArray | ArrayLike,
    groups: xr.DataArray | ArrayLike,
) -> tuple[xr.DataArray, xr.DataArray, Hashable]:
    """Check that two scores and the groups belong together; put the entities last."""
    one = first if isinstance(first, xr.DataArray) else xr.DataArray(np.asarray(first, float))
    other = second if isinstance(second, xr.DataArray) else None
    if other is None and np.shape(second) == one.shape:
        other = one.copy(data=np.asarray(second, float))
    dim: Hashable = one.dims[-1] if one.dims else None
    if isinstance(groups, xr.DataArray) and groups.ndim == 1:
        dim = groups.dims[0]
    if (
        other is None
        or set(one.dims) != set(other.dims)
        or dim not in one.dims
        or np.shape(groups) != (one.sizes[dim],)
    ):
        raise DataError(
            f"first has shape {one.shape}, second {np.shape(second)} and groups "
            f"{np.shape(groups)}; expected the same dims for both scores and one group for each "
            "entity, for example groups=clusters(ds.lat, ds.lon)"
        )
    try:
        one, other = xr.align(one, other, join="exact", copy=False)
    except ValueError as error:
        raise DataError(
            "first and second have other entities or another order of them; bring them in line: "
            "first, second = xr.align(first, second)"
        ) from error
    one = one.transpose(..., dim)
    return one, other.transpose(*one.dims), dim


def _bootstrap(
    gap: np.ndarray, label: np.ndarray, draws: int, seed: int, level: float
) -> tuple[float, ...]:
    """Return difference, low, high, wins and n of one row of differences (entity,)."""
    known = np.isfinite(gap)
    names, code = np.unique(label[known], return_inverse=True)
    if names.size < 2:
        raise DataError(
            f"{known.sum()} of {gap.size} entities have both scores, in {names.size} group(s); "
            "a bootstrap over groups needs at least 2"
        )
    total, count = np.bincount(code, gap[known]), np.bincount(code)
    rng = np.random.default_rng(seed)
    means = np.empty(draws)
    block = max(1, 4_000_000 // names.size)
    for start in range(0, draws, block):
        size = min(block, draws - start)
        times = rng.multinomial(names.size, np.full(names.size, 1.0 / names.size), size=size)
        means[start : start + size] = (times @ total) / (times @ count)
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return gap[known].mean(), low, high, (gap[known] < 0).sum(), known.sum()
