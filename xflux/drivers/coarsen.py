"""Work along time in pieces: each step of the output and the steps of the input that it needs.

Arrays in memory, or in a file that is not dask, are walked piece by piece. Of dask arrays each
piece, in the chunks of space that they have, is one task of a graph, and nothing is computed.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xarray as xr

from xflux.drivers.times import Whole
from xflux.features import Array

_BYTES = 8 * 2**20  # of input at least for a piece, where chunks of time are smaller
_MANY = 64 * 2**20  # of input at most for a piece of an array that is not in chunks


class Work(Protocol):
    """What is done to a piece: arrays of some steps of the input to some steps of the output."""

    def __call__(
        self, arrays: Sequence[npt.NDArray[np.generic]], steps: slice, out: slice
    ) -> Array:
        """Arrays in their own dims, cut to `steps`; the result is (out, entities...)."""


@dataclass(frozen=True)
class Needs:
    """The steps of the input that each step of the output needs.

    Attributes
    ----------
    first, stop : numpy.ndarray
        Shape (G,), ascending: from this step of the input to the one before that.
    """

    first: Whole
    stop: Whole

    def of(self, out: slice) -> slice:
        """The steps of the input that a piece of the output needs."""
        return slice(int(self.first[out].min()), int(self.stop[out].max()))


def one_to_one(steps: int) -> Needs:
    """Each step of the output needs its own step of the input."""
    every = np.arange(steps)
    return Needs(every, every + 1)


def pieces(needs: Needs, variables: Sequence[xr.Variable], time: str) -> tuple[int, ...]:
    """Sizes of the pieces of the output, after the chunks of the input.

    A step of the output belongs to the chunk that holds the last step it needs. Chunks that would
    give very small pieces, as those of files that were written step by step, are taken together.
    """
    size = len(needs.stop)
    if not size:
        return (0,)
    chunked = [v for v in variables if v.chunks is not None and time in v.dims]
    width = max(
        np.prod([_chunk(v, i) for i, d in enumerate(v.dims) if d != time]) * 8 for v in variables
    )
    if chunked:
        cut = (chunked[0].chunks or ())[chunked[0].dims.index(time)]
        owner = np.searchsorted(np.cumsum(cut), needs.stop - 1, side="right")
        edges = [0, *(np.flatnonzero(np.diff(owner)) + 1).tolist(), size]
        least = _BYTES / width
    else:
        edges, least = list(range(size + 1)), _MANY / width
    kept = [0]
    for edge in edges[1:]:
        seen = int(needs.stop[edge - 1] - needs.first[kept[-1]])
        if edge == size or seen >= least:
            kept.append(edge)
    return tuple(np.diff(kept).tolist())


def _chunk(variable: xr.Variable, axis: int) -> int:
    """The size of the first chunk along an axis; of the axis where there are no chunks."""
    chunks = variable.chunks
    return variable.shape[axis] if chunks is None else max(1, chunks[axis][0])


def coarsen(
    work: Work,
    variables: Sequence[xr.Variable],
    *,
    needs: Needs,
    layout: tuple[str, ...],
    cut: tuple[int, ...],
) -> xr.Variable:
    """Make one output of some inputs, lazily where one of them is lazy.

    Parameters
    ----------
    work : Work
    variables : sequence of xr.Variable
        Each with some of the dims of `layout`.
    needs : Needs
    layout : tuple of str
        Dims of the output: time, then the entities.
    cut : tuple of int
        Pieces of the output along time; they are the chunks of a lazy one.
    """
    time, *space = layout
    if any(v.chunks is not None for v in variables):
        return xr.Variable(layout, _lazily(work, variables, needs, layout, cut))
    sizes = {str(d): n for v in variables for d, n in v.sizes.items()}
    found = np.empty((len(needs.stop), *(sizes[d] for d in space)), dtype=np.float32)
    for out in _slices(cut):
        if out.stop > out.start:
            steps = needs.of(out)
            arrays = [np.asanyarray(_steps(v, time, steps).values) for v in variables]
            found[out] = work(arrays, steps, out)
    return xr.Variable(layout, found)


def _slices(cut: Sequence[int]) -> list[slice]:
    return [slice(a, b) for a, b in itertools.pairwise([0, *np.cumsum(cut).tolist()])]


def _steps(variable: xr.Variable, time: str, steps: slice) -> xr.Variable:
    return variable.isel({time: steps}) if time in variable.dims else variable


def _lazily(
    work: Work,
    variables: Sequence[xr.Variable],
    needs: Needs,
    layout: tuple[str, ...],
    cut: tuple[int, ...],
) -> Any:
    import dask.array as da
    from dask.base import tokenize
    from dask.delayed import delayed
    from dask.highlevelgraph import HighLevelGraph

    time, *space = layout
    chunks = _chunks(variables)
    arrays = [_in_chunks(v, chunks) for v in variables]
    token = tokenize(work, [array.name for array in arrays], needs, layout, cut)
    name = f"xflux-drivers-{token}"
    shared = delayed(work, name=f"xflux-work-{token}", traverse=False)
    edges = np.cumsum([0, *chunks.get(time, (0,))])
    graph: dict[Any, Any] = {}
    for piece, out in enumerate(_slices(cut)):
        steps = needs.of(out) if out.stop > out.start else slice(0, 0)
        first = max(int(np.searchsorted(edges, steps.start, side="right")) - 1, 0)
        last = max(int(np.searchsorted(edges, steps.stop, side="left")), first + 1)
        within = slice(steps.start - int(edges[first]), steps.stop - int(edges[first]))
        for where in itertools.product(*(range(len(chunks[dim])) for dim in space)):
            at = dict(zip(space, where, strict=True))
            keys = []
            for array, variable in zip(arrays, variables, strict=True):
                blocks = range(first, last) if time in variable.dims else (0,)
                axis = variable.dims.index(time) if time in variable.dims else 0
                dims = [str(dim) for dim in variable.dims]
                held = [(array.name, *({**at, time: t}[d] for d in dims)) for t in blocks]
                keys.append((_joined, held, axis, within if time in dims else None))
            graph[(name, piece, *where)] = (_piece, shared.key, keys, steps, out)
    layers = HighLevelGraph.from_collections(name, graph, dependencies=[shared, *arrays])
    return da.Array(layers, name, (cut, *(chunks[dim] for dim in space)), dtype=np.float32)


def _chunks(variables: Sequence[xr.Variable]) -> dict[str, tuple[int, ...]]:
    """Chunks of each dimension: of the first lazy variable that has it, whole where none has."""
    chunks: dict[str, tuple[int, ...]] = {
        str(dim): (size,) for v in variables for dim, size in v.sizes.items()
    }
    for variable in reversed(variables):
        if variable.chunks is not None:
            chunks |= {
                str(d): tuple(c) for d, c in zip(variable.dims, variable.chunks, strict=True)
            }
    return chunks


def _in_chunks(variable: xr.Variable, chunks: Mapping[str, tuple[int, ...]]) -> Any:
    import dask.array as da

    wanted = tuple(chunks[str(dim)] for dim in variable.dims)
    if variable.chunks is None:
        return da.from_array(np.asanyarray(variable.values), chunks=wanted)
    return variable.data if variable.chunks == wanted else variable.data.rechunk(wanted)


def _joined(
    blocks: Sequence[npt.NDArray[np.generic]], axis: int, within: slice | None
) -> npt.NDArray[np.generic]:
    """The steps that are needed of some chunks along time."""
    if within is None:
        return blocks[0]
    join = np.ma.concatenate if any(map(np.ma.isMaskedArray, blocks)) else np.concatenate
    whole = blocks[0] if len(blocks) == 1 else join(blocks, axis=axis)
    return whole[(slice(None),) * axis + (within,)]


def _piece(
    work: Work, arrays: Sequence[npt.NDArray[np.generic]], steps: slice, out: slice
) -> Array:
    return work(arrays, steps, out)
