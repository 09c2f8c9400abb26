"""One block of entities over their whole series: from the input's own arrays to fluxes.

The walk of the numbers, in order: lay out and broadcast, gather land, units, ranges, gaps, derived
drivers, normalisation, every member, mean and spread, scatter back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xflux import ensemble, features, metadata
from xflux.derived import vapour_pressure_deficit
from xflux.ensemble import Members
from xflux.entities import characteristic_values
from xflux.errors import DataError
from xflux.features import Array, Inputs, Mask
from xflux.schema import Match
from xflux.towers import to_canonical

CELLS = 1024
"""Entities whose network inputs are in memory at a time."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything a block needs to know, small and the same for all blocks.

    Attributes
    ----------
    inputs : Inputs
    drivers, statics : tuple of Match
        Variables in the order in which their arrays are passed.
    dims : tuple of tuple of str
        Dimensions of each array, in the same order.
    layout : tuple of str
        Entity dimensions, then time: the layout of a block's result.
    derived : tuple of str
        Drivers that are derived from others.
    members : bool
        Every member instead of mean and spread.
    device : str
    """

    inputs: Inputs
    drivers: tuple[Match, ...]
    statics: tuple[Match, ...]
    dims: tuple[tuple[str, ...], ...]
    layout: tuple[str, ...]
    derived: tuple[str, ...]
    members: bool
    device: str


def predict_block(
    arrays: Sequence[npt.NDArray[np.generic]],
    *,
    plan: Plan,
    dims: tuple[tuple[str, ...], ...],
    weights: Members,
    days: npt.NDArray[np.float64],
    fraction: Array,
) -> Array:
    """Take one block of the input's own arrays to fluxes.

    Parameters
    ----------
    arrays : sequence of numpy.ndarray
        Drivers and characteristics in the plan's order, each with its own ``dims``.
    plan : Plan
    dims : tuple of tuple of str
        Dimensions of each array.
    weights : Members
    days, fraction : numpy.ndarray
        Shape (T,): length of each step in days, and its position in the year.

    Returns
    -------
    numpy.ndarray
        Shape (flux, [realization,] entity dims..., T), g m-2 d-1, float32.

    Raises
    ------
    DataError
        Values are out of their plausible range.
    """
    entity_dims = plan.layout[:-1]
    arrays = tuple(unmasked(array) for array in arrays)
    sizes = _sizes(arrays, dims)
    shape = tuple(sizes[dim] for dim in entity_dims)
    count, steps = int(np.prod(shape, dtype=np.int64)), len(fraction)
    split = len(plan.drivers)
    timed = [
        to_layout(array, names, plan.layout, sizes).reshape(count, steps)
        for array, names in zip(arrays[:split], dims[:split], strict=True)
    ]
    fixed = [
        to_layout(array, names, entity_dims, sizes).reshape(count)
        for array, names in zip(arrays[split:], dims[split:], strict=True)
    ]
    chosen = np.flatnonzero(_land(plan, timed))
    total = len(ensemble.unpack(weights))
    outputs = metadata.output_names(plan.members, total > 1)
    lead = (len(outputs), total) if plan.members else (len(outputs),)
    result = np.full((*lead, count, steps), np.nan, dtype=np.float32)
    for first in range(0, len(chosen), CELLS):
        cells = chosen[first : first + CELLS]
        result[..., cells, :] = _predict_cells(
            plan, weights, [t[cells] for t in timed], [s[cells] for s in fixed], days, fraction
        )
    return result.reshape((*lead, *shape, steps))


def unmasked(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """A masked array as plain numbers, NaN where it is masked; anything else as it is."""
    if not isinstance(array, np.ma.MaskedArray) or array.dtype.kind not in "fiub":
        return np.ma.getdata(array)
    number = array if array.dtype.kind == "f" else array.astype(np.float64)
    return np.asarray(np.ma.filled(number, np.nan))


def _sizes(
    arrays: Sequence[npt.NDArray[np.generic]], dims: tuple[tuple[str, ...], ...]
) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for array, names in zip(arrays, dims, strict=True):
        sizes |= dict(zip(names, array.shape, strict=True))
    return sizes


def to_layout(
    array: npt.NDArray[np.generic],
    names: tuple[str, ...],
    layout: tuple[str, ...],
    sizes: Mapping[str, int],
) -> npt.NDArray[np.generic]:
    """Transpose and broadcast to a layout that holds all of the array's dimensions."""
    ordered = np.transpose(array, [names.index(dim) for dim in layout if dim in names])
    expanded = ordered[tuple(slice(None) if dim in names else None for dim in layout)]
    return np.broadcast_to(expanded, tuple(sizes[dim] for dim in layout))


def _land(plan: Plan, timed: list[npt.NDArray[np.generic]]) -> Mask:
    """Cells with at least one value of a required driver, shape (C,)."""
    found = np.zeros(timed[0].shape[0], dtype=bool)
    for match, values in zip(plan.drivers, timed, strict=True):
        if match.name in plan.inputs.required:
            number = values if values.dtype.kind in "fc" else values.astype(np.float32)
            found |= np.isfinite(number).any(axis=1)
    return found


def _predict_cells(
    plan: Plan,
    weights: Members,
    timed: list[npt.NDArray[np.generic]],
    fixed: list[npt.NDArray[np.generic]],
    days: npt.NDArray[np.float64],
    fraction: Array,
) -> Array:
    """Fluxes of some cells, shape (flux, [realization,] C, T)."""
    values = {
        match.name: to_canonical(array, match.conversion, days)
        for match, array in zip(plan.drivers, timed, strict=True)
    }
    statics = {
        match.name: characteristic_values(match, array)
        for match, array in zip(plan.statics, fixed, strict=True)
    }
    problems = [
        text
        for match in plan.drivers
        if (text := features.out_of_range(match.name, match.variable, values[match.name]))
    ]
    if problems:
        raise DataError("; ".join(problems))
    for name in plan.derived:
        values[name] = vapour_pressure_deficit(values)
    block = features.assemble(
        plan.inputs,
        {name: values[name] for name in plan.inputs.drivers if name in values},
        statics,
        np.asarray(statics["lat"], dtype=np.float32),
        fraction,
    )
    fluxes = ensemble.run(weights, block, device=plan.device)
    settling = features.settle(block.usable, features.SETTLING[plan.inputs.time_step])
    fluxes[:, settling] = np.nan
    return _summary(fluxes, plan.members)


def _summary(fluxes: Array, members: bool) -> Array:
    """Members to outputs: GPP, Reco, NEE of each, or their means and standard deviations.

    Parameters
    ----------
    fluxes : numpy.ndarray
        Shape (M, C, T, 2).

    Returns
    -------
    numpy.ndarray
        Shape (3, M, C, T), or (6, C, T), or (3, C, T) for a single member.
    """
    gpp, reco = fluxes[..., 0], fluxes[..., 1]
    if members:
        return np.stack([gpp, reco, reco - gpp])
    mean_gpp, mean_reco = gpp.mean(axis=0), reco.mean(axis=0)
    means = [mean_gpp, mean_reco, mean_reco - mean_gpp]
    if len(fluxes) == 1:
        return np.stack(means)
    spreads = [flux.std(axis=0, ddof=1) for flux in (gpp, reco, reco - gpp)]
    return np.stack(means + spreads).astype(np.float32)
