"""Sums over the cells of a map, group by group and block by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

_SLAB = 2**22  # values of a block of data in memory: 16 MB of float32


def sum_over_cells(
    fluxes: Sequence[xr.DataArray],
    area: xr.DataArray,
    codes: xr.DataArray,
    *,
    groups: int,
    dims: tuple[str, ...],
) -> xr.DataArray:
    """Area-weighted sums of fluxes over the cells of each group; lazy, each block is read once.

    A cell counts at a step where all fluxes have a value, so that sums close as the fluxes do.

    Parameters
    ----------
    fluxes : sequence of xr.DataArray
        With the same dims, chunks and shape.
    area : xr.DataArray
        Weight of each cell, dims `dims`.
    codes : xr.DataArray
        Number of the group of each cell; -1 for none.
    groups : int
        How many groups there are.
    dims : tuple of str
        Those of the cells.

    Returns
    -------
    xr.DataArray
        The other dims of the fluxes, then ``group`` and ``part``: the sum of each flux, and last
        the area of the cells that count.
    """
    import dask.array as da

    lead = [str(dim) for dim in fluxes[0].dims if dim not in dims]
    arrays = [_lazy(flux.transpose(*lead, *dims), lead) for flux in fluxes]
    first = arrays[0]
    arrays = [first, *(array.rechunk(first.chunks) for array in arrays[1:])]
    cells = first.chunks[len(lead) :]
    fixed = [da.from_array(array.transpose(*dims).values, chunks=cells) for array in (area, codes)]
    parts = len(fluxes) + 1
    chunks = (*first.chunks[: len(lead)], *((1,) * len(c) for c in cells), (groups,), (parts,))
    sums = da.map_blocks(
        _block_sums,
        *arrays,
        *fixed,
        groups=groups,
        cells=len(dims),
        chunks=chunks,
        new_axis=[first.ndim, first.ndim + 1],
        dtype=np.float64,
        meta=np.empty((0,) * (first.ndim + 2)),
    )
    total = sums.sum(axis=tuple(range(len(lead), first.ndim)))
    coords = {dim: fluxes[0][dim] for dim in lead if dim in fluxes[0].coords}
    return xr.DataArray(total, coords, (*lead, "group", "part"))


def _lazy(array: xr.DataArray, lead: Sequence[str]) -> Any:
    """The dask array of a flux; one in memory is cut into slabs, so that copies stay small."""
    if array.chunks is None:
        cells = max(1, int(np.prod([n for dim, n in array.sizes.items() if dim not in lead])))
        slab = dict.fromkeys(lead[:-1], 1) | {dim: max(1, _SLAB // cells) for dim in lead[-1:]}
        array = array.chunk({**dict.fromkeys(map(str, array.dims), -1), **slab})
    return array.data


def _block_sums(
    *arrays: npt.NDArray[np.generic], groups: int, cells: int
) -> npt.NDArray[np.float64]:
    """The sums of one block, shape (lead..., 1 for each dim of cells, groups, parts)."""
    from scipy.sparse import csr_array

    *fluxes, area, codes = arrays
    lead = fluxes[0].shape[:-cells]
    number, weight = codes.ravel().astype(np.int64), area.ravel().astype(np.float64)
    counts = np.flatnonzero((number >= 0) & (weight > 0))
    flat = np.stack(
        [flux.reshape(-1, number.size)[:, counts] for flux in fluxes], dtype=np.float64
    )  # (fluxes, rows, cells)
    has_value = ~np.isnan(flat).any(axis=0)
    matrix = csr_array(
        (weight[counts], (np.arange(counts.size), number[counts])), shape=(counts.size, groups)
    )
    sums = [np.where(has_value, values, 0.0) @ matrix for values in (*flat, np.ones((1, 1)))]
    return np.stack(sums, axis=-1).reshape(*lead, *(1,) * cells, groups, len(sums))
