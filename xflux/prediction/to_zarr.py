"""A prediction for runs of days, into a zarr store, to go on where it was when it was killed."""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
import uuid
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from xflux.errors import DataError, WriteError
from xflux.prediction import scheduling
from xflux.prediction.carried import beginning, from_bytes
from xflux.prediction.cutting import Cut, chunk_of, cut
from xflux.prediction.folder import folder
from xflux.prediction.run import Run
from xflux.prediction.scheduling import Block, Sources
from xflux.prediction.state import CONTEXT, layouts
from xflux.prediction.streaming import state_sizes
from xflux.prediction.unfinished import Note, Unfinished
from xflux.prediction.writing import Job, digest
from xflux.progress import StepBar

AT_ONCE = 1000
"""Blocks of one graph: it stays small, however long the run is."""

CHECKED = 3
"""Blocks that are read again before a run goes on, to see that their drivers are the same."""


def predict_to_zarr(
    run: Run,
    store: str | os.PathLike[str],
    *,
    mode: str = "w-",
    chunks: Mapping[str, int] | None = None,
    final_state: str | os.PathLike[str] | None = None,
    storage_options: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Write a prediction, or what is left of it.

    Parameters
    ----------
    run : Run
    store : path or URL
    mode : str
        ``"w-"`` or ``"w"``.
    chunks : mapping of str to int, optional
        Chunks of the store along some dimensions.
    final_state : path or URL, optional
        A store for the state at the end.
    storage_options : mapping, optional
    progress : bool, optional

    Returns
    -------
    xr.Dataset
        The finished store, opened.

    Raises
    ------
    ImportError
        zarr is not installed.
    WriteError
    DataError
        Values are out of range.
    """
    _check(run, mode, chunks or {})
    token = uuid.uuid4().hex[:12]
    target = Unfinished(folder(store, storage_options), token)
    state = None
    if final_state is not None:
        state = Unfinished(folder(final_state, storage_options), token)
    job = Job(
        task=run.task,
        cut=_cut(run, chunks or {}),
        store=target,
        order=run.order,
        labels=_labels(run),
        keep=state is not None,
    )
    template, encoding = _template(run, job.cut, chunks or {})
    overwrite = mode == "w"
    if state is not None and not target.part.exists():
        state.check_free(overwrite)
    about = _about(run, job, template)
    goes_on = target.begin(template, encoding, about, overwrite=overwrite)
    if not (goes_on and target.finished):
        _write(run, job, goes_on, progress)
        if state is not None:
            _write_state(run, job, state, about)
    target.finish(overwrite=overwrite)
    options = dict(target.target.options) or None
    found = xr.open_zarr(target.target.url, chunks={}, storage_options=options)
    return _with_coordinates(found[[*run.task.names]])


def _check(run: Run, mode: str, chunks: Mapping[str, int]) -> None:
    if importlib.util.find_spec("zarr") is None:
        raise ImportError('writing a zarr store needs zarr: pip install "xflux[zarr]"')
    if mode not in ("w-", "w"):
        raise WriteError(
            f'mode= takes "w-", a new store, or "w", which replaces an old one, not {mode!r}'
        )
    own = dict.fromkeys(dim for output in run.task.outputs for dim in output.lead)
    dims = dict.fromkeys((*own, *run.order))
    unknown = sorted(map(str, chunks.keys() - set(dims)))
    if unknown:
        raise WriteError(f"chunks= names {', '.join(unknown)}, the fluxes have {', '.join(dims)}")
    stacked = [n for n, index in run.ds.indexes.items() if isinstance(index, pd.MultiIndex)]
    if stacked:
        name = stacked[0]
        raise WriteError(
            f"{name!r} has a MultiIndex, which no file holds: "
            f'ds = ds.unstack("{name}"), or ds = ds.reset_index("{name}")'
        )


def _cut(run: Run, chunks: Mapping[str, int]) -> Cut:
    sizes = {str(dim): size for v in run.drivers for dim, size in v.sizes.items()}
    held = {
        str(dim): tuple(cuts)
        for v in run.drivers
        if v.chunks is not None
        for dim, cuts in zip(v.dims, v.chunks, strict=True)
    }
    return cut(run.task.plan.layout, sizes, held or None, chunks)


def _labels(run: Run) -> dict[str, Any]:
    time = run.task.plan.layout[-1]
    labels = {str(d): i.values for d, i in run.ds.indexes.items() if d in run.task.plan.layout}
    return {**labels, time: np.asarray(run.ds[run.schema.time].values)}


def _template(
    run: Run, parts: Cut, chunks: Mapping[str, int]
) -> tuple[xr.Dataset, dict[str, dict[str, Any]]]:
    """All of the result but its values, and how it is written."""
    import dask.array as da

    outputs, wanted = run.task.outputs, dict(parts.chunks)
    for dim, count in ((d, n) for output in outputs for d, n in output.lead.items()):
        wanted[dim] = chunk_of(dim, chunks.get(dim), count, count)
    shape = [parts.sizes[dim] for dim in parts.layout]
    empty = [da.full((*o.lead.values(), *shape), o.fill, dtype=o.dtype, chunks=-1) for o in outputs]
    out = _to_write(run.fluxes(empty))
    encoding = {
        o.name: {
            "chunks": tuple(wanted[str(dim)] for dim in out[o.name].dims),
            "dtype": o.dtype.name,
            "_FillValue": np.float32(o.fill) if o.dtype.kind == "f" else None,
        }
        for o in outputs
    }
    return out, encoding


def _to_write(ds: xr.Dataset) -> xr.Dataset:
    """Text of any length, which every zarr can read."""
    ds = _with_coordinates(ds)
    text = [name for name, coordinate in ds.coords.items() if coordinate.dtype.kind in "US"]
    return ds.assign_coords({name: ds[name].astype(str).astype(object) for name in text})


def _with_coordinates(ds: xr.Dataset) -> xr.Dataset:
    """Coordinates in memory; only they."""
    from dask.base import compute

    lazy = {name: c.variable for name, c in ds.coords.items() if c.chunks is not None}
    return ds.assign_coords(compute(lazy)[0])


def _about(run: Run, job: Job, template: xr.Dataset) -> dict[str, str]:
    """What makes a run what it is: one with other of these is another."""
    plan, weights = run.task.plan, run.task.weights
    values = hashlib.sha256()
    for name, coordinate in sorted(template.coords.items(), key=lambda item: str(item[0])):
        values.update(f"{name}{coordinate.dims}{coordinate.dtype}".encode())
        found = coordinate.values
        values.update(str(found.tolist()).encode() if found.dtype == object else found.tobytes())
    own = run.statics[: len(plan.statics)]
    given = zip((*plan.drivers, *plan.statics), (*run.drivers, *own), strict=True)
    held = [a for a in (run.initial or {}).values() if isinstance(a, np.ndarray)]
    begins = None if run.initial is None else digest(held)
    known = digest([run.context]) if isinstance(run.context, np.ndarray) else None
    extra = "" if run.task.extra is None else run.task.extra.told()
    return {
        "model": hashlib.sha256(f"{weights.sha256}{plan.inputs}".encode()).hexdigest(),
        "entities or times": values.hexdigest(),
        "drivers": str([(match, v.dims, str(v.dtype)) for match, v in given]),
        "settings": str((plan.members, plan.precision, job.keep, begins, run.task.targets, extra)),
        "support": str(known),
        "chunks": str(job.cut),
        "version of xflux": run.version,
    }


def _write(run: Run, job: Job, goes_on: bool, progress: bool | None) -> None:
    """Write all blocks that are not written."""
    sources, token = Sources(run, job), job.store.token
    notes = job.store.notes()
    if goes_on:
        _check_drivers(job, sources, notes, token)
    blocks = [(s, t) for s, t in job.cut if t not in notes or notes[t].slab < s]
    total = int(np.prod(list(job.cut.sizes.values()), dtype=np.int64))
    left = sum(job.cut.steps(tile, slab) for slab, tile in blocks)
    unit = "cell months" if run.task.plan.inputs.time_step == "monthly" else "cell days"
    bar = StepBar(total, total - left, unit, progress)
    keys: dict[str, Block] = {}

    def done(key: str, _: object) -> None:
        slab, tile = keys.pop(key)
        bar.step(job.cut.steps(tile, slab))

    try:
        for first in range(0, len(blocks), AT_ONCE):
            graph, here = scheduling.graph_of(job, sources, blocks[first : first + AT_ONCE], token)
            keys.update(here)
            scheduling.run(graph, list(here), done)
    except (DataError, WriteError) as error:
        written = sum(note.slab + 1 for note in job.store.notes().values())
        raise type(error)(
            f"{error}\n{written} of {job.cut.tiles * job.cut.slabs} blocks are written and kept in "
            f"{job.store.part}: the same line goes on from them"
        ) from error
    finally:
        bar.close()


def _check_drivers(job: Job, sources: Sources, notes: Mapping[int, Note], token: str) -> None:
    """Read some blocks again, of land where there are any, and compare with their notes.

    Raises
    ------
    WriteError
        They are not the drivers that the run began with.
    """
    tiles = sorted(tile for tile in notes if notes[tile].land) or sorted(notes)
    some = tiles[:: max(1, len(tiles) // CHECKED)][:CHECKED]
    graph, keys = scheduling.digests_of(
        job, sources, [(notes[tile].slab, tile) for tile in some], token
    )
    found: dict[str, str] = {}
    if keys:
        scheduling.run(graph, keys, found.__setitem__)
    if any(found[key] != notes[tile].digest for key, tile in zip(keys, some, strict=True)):
        job.store.refuse(["values of drivers"])


def _write_state(run: Run, job: Job, store: Unfinished, about: Mapping[str, str]) -> None:
    """Put the states at the end of all blocks together into a store of their own."""
    import dask.array as da

    parts, task = job.cut, run.task
    sizes, blocks = {**parts.sizes, **state_sizes(task)}, {**state_sizes(task), **parts.blocks}
    variables = layouts(task.weights)
    dims = {n: (*before, *parts.space, *after) for n, (before, after, _) in variables.items()}
    empty = {
        name: da.zeros([sizes[dim] for dim in dims[name]], dtype=v.dtype, chunks=-1)
        for name, v in variables.items()
    }
    encoding = {
        name: {"chunks": tuple(max(1, min(blocks[dim], sizes[dim])) for dim in dims[name])}
        for name in variables
    }
    store.begin(_to_write(run.state(empty)), encoding, about, overwrite=True)
    for tile, note in job.store.notes().items():
        where = parts.block(tile, note.slab)
        shape = tuple(where[dim].stop - where[dim].start for dim in parts.space)
        found = from_bytes(job.store.state(tile, note))
        if found is None:
            found = beginning(task.plan.inputs, task.weights, math.prod(shape))
        whole = {dim: slice(0, size) for dim, size in sizes.items()}
        regions = {n: tuple({**whole, **where}[dim] for dim in dims[n]) for n in variables}
        for name, values in found.dense(shape).items():
            store.write(name, regions[name], values)
        if CONTEXT in variables:
            store.write(CONTEXT, regions[CONTEXT], np.asarray(run.context[regions[CONTEXT]]))
    store.finish(overwrite=True)
