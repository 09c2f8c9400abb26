"""Prediction of any layout of entities, eager or lazy, from the start or from a state.

`predict_block` takes a block of the input's own arrays to fluxes: units, ranges, gaps, derived
drivers, normalisation, all members, mean and spread. Eager data are walked in blocks of whole
series; dask data become one task a block, in the chunks that they have, and nothing is computed
before.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xflux.cf.entities import entity_labels
from xflux.cf.schema import Schema
from xflux.cf.targets import CARBON, Target
from xflux.features import Array, Inputs, Mask
from xflux.prediction.absent import warn_absent
from xflux.prediction.beforehand import with_context
from xflux.prediction.blocks import Task, cells_at_once, predict_block
from xflux.prediction.calibration import Extra
from xflux.prediction.carried import VARIABLES, Dense, from_dense
from xflux.prediction.ensemble import Members
from xflux.prediction.extrapolation import often_outside, warn_outside
from xflux.prediction.run import prepare
from xflux.prediction.streaming import lazy, state_sizes


def predict(
    ds: xr.Dataset,
    schema: Schema,
    inputs: Inputs,
    weights: Members,
    *,
    source: str,
    version: str,
    targets: tuple[Target, ...] = CARBON,
    members: bool = False,
    device: str = "cpu",
    precision: str = "float32",
    initial_state: xr.Dataset | None = None,
    keep_state: bool = False,
    support: xr.Dataset | str | None = None,
    extra: Extra | None = None,
    watched: bool = False,
) -> tuple[xr.Dataset, xr.Dataset | None]:
    """Predict the targets of a model for every entity and step of a Dataset.

    Parameters
    ----------
    ds, schema, inputs, weights, source, version, targets, members, device, precision,
    initial_state, keep_state, extra
        As `prepare` takes them.
    support : xr.Dataset, "drivers" or "none", optional
        What a model of TAM-RL knows of the entities; see `ds.flux.predict`.
    watched : bool
        Warn where drivers in memory are far outside of the ranges of training.

    Returns
    -------
    fluxes : xr.Dataset
        The targets and their ``_std``, of GPP, Reco and NEE in g m-2 d-1, with the dims,
        coordinates and calendar of the drivers; lazy where the drivers are.
    state : xr.Dataset or None

    Raises
    ------
    SchemaError, ModelError, DataError
    """
    run = prepare(
        ds,
        schema,
        inputs,
        weights,
        source=source,
        version=version,
        targets=targets,
        members=members,
        device=device,
        precision=precision,
        initial_state=initial_state,
        keep_state=keep_state,
        extra=extra,
    )
    run = with_context(run, support)
    task, drivers = run.task, run.drivers
    if run.lazy:
        fluxes, kept = lazy(task, drivers, run.statics, initial=run.initial, keep=keep_state)
    else:
        outside: list[Mask] = []
        seen = outside if watched else None
        fluxes, kept = _eager(task, drivers, run.statics, run.initial, keep_state, seen)
        labels = functools.partial(entity_labels, ds, schema.entity_dims)
        if outside:
            warn_outside(task, labels, np.concatenate(outside, axis=1))
        if run.initial is None:
            warn_absent(task.plan, labels, drivers, fluxes[0])
    return run.fluxes(fluxes), None if kept is None else run.state(kept)


def _eager(
    task: Task,
    drivers: list[xr.Variable],
    statics: list[xr.Variable],
    initial: Mapping[str, Any] | None,
    keep: bool,
    outside: list[Mask] | None,
) -> tuple[list[Array], Dense | None]:
    """Walk the first entity dimension in slabs; files that are not dask are read slab by slab."""
    layout = task.plan.layout
    sizes = {str(dim): size for v in drivers for dim, size in v.sizes.items()}
    own = state_sizes(task)
    shape = [sizes[dim] for dim in layout]
    fluxes = [output.missing(shape) for output in task.outputs]
    entity_dims = layout[:-1]
    dense = {
        name: np.empty([{**sizes, **own}[dim] for dim in (*before, *entity_dims, *after)], dtype)
        for name, (before, after, dtype) in VARIABLES.items()
    }
    begin = {name: np.asarray(array) for name, array in (initial or {}).items()}
    across = int(np.prod([sizes[dim] for dim in entity_dims[1:]], dtype=np.int64))
    first = sizes[entity_dims[0]] if entity_dims else 1
    slab = max(1, cells_at_once(sizes[layout[-1]]) // max(across, 1))
    for start in range(0, first, slab):
        here = slice(start, start + slab)
        pick = {entity_dims[0]: here} if entity_dims else {}
        values = [
            np.asarray(v.isel({d: s for d, s in pick.items() if d in v.dims}).values)
            for v in (*drivers, *statics)
        ]
        if outside is not None:
            outside.append(often_outside(values[: len(task.dims)], task))
        part = {n: (slice(None),) * len(v.before) + (here,) for n, v in VARIABLES.items()}
        part = part if entity_dims else dict.fromkeys(part, (Ellipsis,))
        before = from_dense({n: begin[n][part[n]] for n in VARIABLES}) if begin else None
        found, after = predict_block(values, task=task, before=before, keep=keep)
        for flux, block in zip(fluxes, found, strict=True):
            lead = (slice(None),) * (flux.ndim - len(layout))
            flux[(*lead, here) if entity_dims else (Ellipsis,)] = block
        if after is not None:
            for name, array in after.dense(found[0].shape[-len(layout) : -1]).items():
                dense[name][part[name]] = array
    return fluxes, dense if keep else None
