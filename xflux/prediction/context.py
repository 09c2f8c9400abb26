"""What some models know of an entity before they run over its series: its context.

MetaFlux as published scales the drivers of an entity by the mean and spread of their own series, so
it must have seen all of it first. TAM-RL encodes what is known from other times, its support
(`xflux.prediction.support`). The context is computed once for each entity, before the stream.
It enters the network as constant columns beside the characteristics, and goes along in the state,
so that chunks of time and a restart change no number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from xflux.errors import ModelError, warn
from xflux.features import Array
from xflux.prediction import ensemble
from xflux.prediction.blocks import CONTEXT, Task, canonical, cells_at_once, lay_out
from xflux.training.domains import entity_scaling

YEAR = {"daily": 365, "monthly": 12}
"""Steps of a year: a shorter series does not tell the mean of an entity."""


def check_whole_series(task: Task, drivers: Sequence[xr.Variable]) -> None:
    """Refuse time in chunks where the scaling needs whole series; warn where they are short.

    Raises
    ------
    ModelError
    """
    time = task.plan.layout[-1]
    cut = {len(v.chunksizes[time]) for v in drivers if v.chunks is not None}
    if cut - {1}:
        raise ModelError(
            "MetaFlux as published scales the drivers of each entity by the mean and spread of "
            f"their whole series, and {time!r} is in {max(cut)} chunks: "
            f"ds = ds.chunk({{{time!r}: -1}}), or train without, "
            'settings={"scaling": "training"}'
        )
    steps, year = len(task.fraction), YEAR[task.plan.inputs.time_step]
    if steps < year:
        warn(
            f"MetaFlux as published scales the drivers of each entity by the mean and spread of "
            f"the series that is given, and {steps} steps are less than a year: its fluxes depend "
            "on which part of the year that is; give whole years",
        )


def eager(task: Task, drivers: Sequence[xr.Variable], statics: Sequence[xr.Variable]) -> Array:
    """The context of every entity, shape (entity dims..., Q), slab by slab."""
    dims = task.plan.layout[:-1]
    sizes = {str(dim): size for v in drivers for dim, size in v.sizes.items()}
    whole = np.empty(
        (*(sizes[dim] for dim in dims), ensemble.sizes_of(task.weights).context), dtype=np.float32
    )
    across = int(np.prod([sizes[dim] for dim in dims[1:]], dtype=np.int64))
    slab = max(1, cells_at_once(sizes[task.plan.layout[-1]]) // max(across, 1))
    for start in range(0, sizes[dims[0]] if dims else 1, slab):
        pick = {dims[0]: slice(start, start + slab)} if dims else {}
        arrays = [
            np.asarray(v.isel({d: s for d, s in pick.items() if d in v.dims}).values)
            for v in (*drivers, *statics)
        ]
        whole[pick[dims[0]] if dims else ...] = context_block(arrays, task)
    return whole


def context_block(arrays: Sequence[npt.NDArray[np.generic]], task: Task) -> Array:
    """The context of one block, from the input's own arrays, shape (entity dims..., Q)."""
    if ensemble.sizes_of(task.weights).method == "tam-rl":
        from xflux.prediction.support import z_block

        return z_block(arrays, task)
    plan = task.plan
    timed, _, shape = lay_out(arrays, task)
    values = canonical(plan, timed, task.days)
    some = next(iter(values.values()))
    empty = np.full(some.shape, np.nan, dtype=np.float32)
    scaling = entity_scaling(
        {name: values.get(name, empty) for name in plan.inputs.drivers}, plan.inputs
    )
    return scaling.reshape(*shape, -1)


def as_variable(task: Task, values: object) -> xr.Variable:
    """The context as one more variable without time that every block takes."""
    return xr.Variable((*task.plan.layout[:-1], CONTEXT), values)
