"""Prediction of dask arrays, in any chunks of time and space: what depends on what, nothing more.

Chunks are taken as they are. Where time is whole a block is one task of a `Blockwise` layer, fused
with what reads its drivers. Where time is in chunks, a task takes the drivers of one chunk and the
state that the task of the chunk before it ended with; blocks of space do not know of each other.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xflux.errors import warn
from xflux.features import Array
from xflux.prediction import ensemble
from xflux.prediction.blocks import CONTEXT, Task, predict_block
from xflux.prediction.carried import VARIABLES, Carried, Dense, from_dense
from xflux.prediction.context import context_block

MANY = 10_000
"""Blocks of a prediction, above which dask takes longer than the networks."""


def lazy(
    task: Task,
    drivers: Sequence[xr.Variable],
    statics: Sequence[xr.Variable],
    *,
    initial: Mapping[str, Any] | None = None,
    keep: bool = False,
) -> tuple[list[Any], dict[str, Any] | None]:
    """Build the graph of a prediction.

    Parameters
    ----------
    task : Task
    drivers, statics : sequence of xr.Variable
        In the plan's order; what is not dask is cut along the chunks of the drivers.
    initial : mapping of str to array, optional
        The state to go on from, whole arrays of numpy or dask with the dimensions of `VARIABLES`.
    keep : bool
        Give the state at the end.

    Returns
    -------
    fluxes : list of dask.array.Array
        One for each of ``task.outputs``, shape (own dims..., entity dims..., time).
    state : dict of str to dask.array.Array, or None
    """
    from dask.base import tokenize
    from dask.delayed import delayed

    chunks = _chunks(task, drivers) | _context_chunk(statics)
    arrays = [_cut(v, chunks) for v in (*drivers, *statics)]
    layout = task.plan.layout
    begin = _cut_state(initial, layout[:-1], chunks) if initial is not None else None
    names = [array.name for array in (*arrays, *(begin or {}).values())]
    count = math.prod(len(chunks[dim]) for dim in layout)
    if count > MANY:
        larger = {dim: min(60, sum(chunks[dim])) for dim in layout[:-1]}
        warn(
            f"{count:,} blocks: chunks are so small that dask takes longer than the networks; take "
            f"larger ones: ds.chunk({{{layout[-1]!r}: -1, **{larger!r}}})"
        )
    token = tokenize(task, names, chunks, keep)
    shared = delayed(task, name=f"xflux-task-{token}", traverse=False)
    if len(chunks[layout[-1]]) == 1 and begin is None and not keep:
        calls = _calls(task, shared, arrays, chunks, token)
        return _fluxes(task, calls, token), None
    calls, ends = _chains(task, shared, arrays, chunks, begin, keep, token)
    return _fluxes(task, calls, token), _state(task, ends, layout[:-1], token) if keep else None


def _chunks(task: Task, drivers: Sequence[xr.Variable]) -> dict[str, tuple[int, ...]]:
    """Chunks of each dimension of the layout; whole where no lazy driver has it."""
    sizes = {str(dim): size for v in drivers for dim, size in v.sizes.items()}
    chunks: dict[str, tuple[int, ...]] = {dim: (sizes[dim],) for dim in task.plan.layout}
    for v in drivers:
        if v.chunks is not None:
            for dim, cut in zip(v.dims, v.chunks, strict=True):
                chunks[str(dim)] = tuple(cut)
    return chunks


def _context_chunk(statics: Sequence[xr.Variable]) -> dict[str, tuple[int, ...]]:
    """The one chunk of the context's own dimension."""
    widths = [v.sizes[CONTEXT] for v in statics if CONTEXT in v.dims]
    return {CONTEXT: (widths[0],)} if widths else {}


def context(task: Task, drivers: Sequence[xr.Variable], statics: Sequence[xr.Variable]) -> Any:
    """The context of every entity as a dask array, (entity dims..., Q), a task a block of space."""
    import dask.array as da
    from dask.base import tokenize
    from dask.delayed import delayed

    chunks = _chunks(task, drivers)
    arrays = [_cut(v, chunks) for v in (*drivers, *statics)]
    token = tokenize(task, [array.name for array in arrays], "context")
    axes = task.plan.layout
    pairs: list[Any] = []
    for array, names in zip(arrays, task.dims, strict=True):
        pairs += [array, tuple(axes.index(dim) for dim in names)]
    width = ensemble.sizes_of(task.weights).context
    return da.blockwise(
        _whole_context,
        (*range(len(axes) - 1), len(axes)),
        *pairs,
        new_axes={len(axes): width},
        dtype=np.float32,
        meta=np.empty((0,) * len(axes), dtype=np.float32),
        concatenate=True,
        align_arrays=False,
        name=f"xflux-context-{token}",
        task=delayed(task, name=f"xflux-task-{token}", traverse=False),
    )


def _cut(variable: xr.Variable, chunks: Mapping[str, tuple[int, ...]]) -> Any:
    """A variable as a dask array in the chunks of the drivers."""
    import dask.array as da

    wanted = tuple(chunks[str(dim)] for dim in variable.dims)
    if variable.chunks is None:
        return da.from_array(np.asarray(variable.values), chunks=wanted)
    return variable.data if variable.chunks == wanted else variable.data.rechunk(wanted)


def _cut_state(
    initial: Mapping[str, Any], entity_dims: tuple[str, ...], chunks: Mapping[str, tuple[int, ...]]
) -> dict[str, Any]:
    """The state to go on from, in the chunks of the drivers along entities."""
    import dask.array as da

    cut = {}
    for name, (before, after, _) in VARIABLES.items():
        array = initial[name]
        middle = [chunks[dim] for dim in entity_dims]
        wanted = (*array.shape[: len(before)], *middle, *array.shape[array.ndim - len(after) :])
        lazily = hasattr(array, "dask")
        cut[name] = array.rechunk(wanted) if lazily else da.from_array(array, chunks=wanted)
    return cut


def _axes(task: Task) -> tuple[dict[int, int], tuple[str, ...]]:
    """Size of the axis of members where they are wanted, and all axes; no user calls one so."""
    if not task.plan.members:
        return {}, task.plan.layout
    return {0: ensemble.sizes_of(task.weights).members}, ("*realization", *task.plan.layout)


def _calls(
    task: Task, shared: Any, arrays: Sequence[Any], chunks: Mapping[str, Any], token: str
) -> Any:
    """One task a block of whole series; each of its blocks is a list of fluxes."""
    import dask.array as da

    new, axes = _axes(task)
    inside = (*axes, CONTEXT)  # not an axis of the result: a block takes all of it
    pairs: list[Any] = []
    for array, names in zip(arrays, task.dims, strict=True):
        pairs += [array, tuple(inside.index(dim) for dim in names)]
    return da.blockwise(
        _whole_block,
        tuple(range(len(axes))),
        *pairs,
        new_axes=new,
        dtype=np.float32,
        meta=np.empty((0,) * len(axes), dtype=np.float32),
        concatenate=True,
        align_arrays=False,
        name=f"xflux-{token}",
        task=shared,
    )


def _chains(
    task: Task,
    shared: Any,
    arrays: Sequence[Any],
    chunks: Mapping[str, tuple[int, ...]],
    begin: Mapping[str, Any] | None,
    keep: bool,
    token: str,
) -> tuple[Any, Any]:
    """A chain of tasks a block of space: fluxes of each chunk of time, and the state at the end."""
    import dask.array as da
    from dask.highlevelgraph import HighLevelGraph

    new, _ = _axes(task)
    name, handed, ends = f"xflux-{token}", f"xflux-state-{token}", f"xflux-end-{token}"
    *space, time = task.plan.layout
    edges = np.cumsum([0, *chunks[time]]).tolist()
    last = len(edges) - 2
    graph: dict[Any, Any] = {}
    for where in itertools.product(*(range(len(chunks[dim])) for dim in space)):
        at = {**dict(zip(space, where, strict=True)), CONTEXT: 0}
        fixed = (name, *(0 for _ in new), *where)
        before: Any = None
        if begin is not None:
            before = (f"xflux-begin-{token}", *where)
            graph[before] = (_begin, [_block_key(begin[n], n, where) for n in VARIABLES])
        for t, (first, stop) in enumerate(itertools.pairwise(edges)):
            at[time] = t
            keys = [
                (array.name, *(at[dim] for dim in names))
                for array, names in zip(arrays, task.dims, strict=True)
            ]
            onward = keep or t < last
            call = (*fixed, t)
            graph[call] = (_next_block, shared.key, first, stop, before, onward, keys)
            if t < last:
                before = (handed, *where, t)
                graph[before] = (operator.itemgetter(1), call)
            elif keep:
                graph[(ends, *where)] = (_end, call, len(new))
    needs = [shared, *arrays, *(begin or {}).values()]
    layers = HighLevelGraph.from_collections(name, graph, dependencies=needs)
    sizes = (*((size,) for size in new.values()), *(chunks[dim] for dim in task.plan.layout))
    calls = da.Array(layers, name, sizes, dtype=np.float32)
    if not keep:
        return calls, None
    layers = HighLevelGraph({**layers.layers, ends: {}}, {**layers.dependencies, ends: {name}})
    return calls, (layers, ends, tuple(chunks[dim] for dim in space))


def _block_key(array: Any, name: str, where: tuple[int, ...]) -> tuple[Any, ...]:
    before, after, _ = VARIABLES[name]
    return (array.name, *(0 for _ in before), *where, *(0 for _ in after))


def _fluxes(task: Task, calls: Any, token: str) -> list[Any]:
    import dask.array as da

    given = _axes(task)[1]
    found = []
    for number, output in enumerate(task.outputs):
        own = tuple(f"*{dim}" for dim in output.lead)
        axes = (*own, *task.plan.layout)
        flux = da.blockwise(
            _pick,
            axes,
            calls,
            given,
            new_axes={f"*{d}": n for d, n in output.lead.items() if f"*{d}" not in given},
            dtype=output.dtype,
            meta=np.empty((0,) * len(axes), dtype=output.dtype),
            align_arrays=False,
            name=f"xflux-{output.name}-{token}",
            number=number,
            listed=not set(given) <= set(axes),
        )
        found.append(flux)
    return found


def _state(task: Task, ends: Any, space: tuple[str, ...], token: str) -> dict[str, Any]:
    """The state at the end as arrays, from the tasks that hold all of it."""
    import dask.array as da

    graph, name, chunks = ends
    held = da.Array(graph, name, chunks, dtype=np.float32)
    sizes = state_sizes(task)
    found = {}
    for variable, (before, after, dtype) in VARIABLES.items():
        axes = (*before, *space, *after)
        found[variable] = da.blockwise(
            operator.getitem,
            tuple(range(len(axes))),
            held,
            tuple(range(len(before), len(before) + len(space))),
            variable,
            None,
            new_axes={
                i: sizes[dim]
                for i, dim in enumerate(axes)
                if not len(before) <= i < len(before) + len(space)
            },
            dtype=dtype,
            meta=np.empty((0,) * len(axes), dtype=dtype),
            align_arrays=False,
            name=f"xflux-{variable}-{token}",
        )
    return found


def state_sizes(task: Task) -> dict[str, int]:
    """Sizes of the dimensions that a state has beside those of entities."""
    from xflux.features import GAP_LIMIT

    sizes = ensemble.sizes_of(task.weights)
    return {
        "member": sizes.members,
        "unit": sizes.hidden,
        "span": sizes.spans,
        "driver": sizes.averaged,
        "lag": GAP_LIMIT[task.plan.inputs.time_step],
        "column": sizes.context,
    }


def _whole_block(*arrays: npt.NDArray[np.generic], task: Task) -> list[Array]:
    """What a task of whole series calls: dask passes the arrays one by one."""
    return predict_block(arrays, task=task)[0]


def _whole_context(*arrays: npt.NDArray[np.generic], task: Task) -> Array:
    """What a task of the context calls."""
    return context_block(arrays, task)


def _next_block(
    task: Task, first: int, stop: int, before: Carried | None, keep: bool, arrays: Sequence[Any]
) -> tuple[list[Array], Carried | None]:
    """What a task of a chain calls."""
    return predict_block(arrays, task=task, time=slice(first, stop), before=before, keep=keep)


def _begin(arrays: Sequence[npt.NDArray[np.generic]]) -> Carried:
    return from_dense(dict(zip(VARIABLES, arrays, strict=True)))


def _end(result: tuple[list[Array], Carried], lead: int) -> Dense:
    fluxes, state = result
    return state.dense(fluxes[0].shape[lead:-1])


def _pick(result: Any, number: int, listed: bool) -> Array:
    """One flux of a block; of whole series the block is the list of them.

    ``listed``: the flux is without the axis of members, so dask gives a list of one block.
    """
    result = result[0] if listed else result
    fluxes = result[0] if isinstance(result, tuple) else result
    picked: Array = fluxes[number]
    return picked
