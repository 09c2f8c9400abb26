"""From blocks to dask: the graph of some blocks at a time, and its run on any scheduler.

A block is one task. Where several blocks share the chunks of the drivers, one more task a driver
reads them for all; it waits until the slab before the last is written, so that no more than two
slabs are in memory, however many there are.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import xarray as xr

from xflux.errors import WriteError, XfluxError
from xflux.prediction.carried import VARIABLES
from xflux.prediction.cutting import Where
from xflux.prediction.reading import Box, Graph, Reading, box_in, box_of, keys_of, readings
from xflux.prediction.run import Run
from xflux.prediction.writing import Job, read_array, read_digest, write_block

if TYPE_CHECKING:
    from dask.highlevelgraph import HighLevelGraph

Block = tuple[int, int]
"""Slab and tile."""


@dataclass(frozen=True)
class Source:
    """A dask array with the names of its dimensions."""

    array: Any
    dims: tuple[str, ...]

    def box(self, where: Where) -> Box:
        """Its pieces over a block."""
        return box_of(self.array, self.dims, where)


class Sources:
    """All that blocks read, as dask arrays: drivers, characteristics, and a state to go on from.

    Parameters
    ----------
    run : Run
    job : Job
    """

    def __init__(self, run: Run, job: Job) -> None:
        self.cut = job.cut
        self.drivers = [_source(v, v.dims, job) for v in run.drivers]
        self.statics = [_source(v, v.dims, job) for v in run.statics]
        self.initial = [
            _source(run.initial[name], (*before, *job.cut.space, *after), job)
            for name, (before, after, _) in VARIABLES.items()
            if run.initial is not None
        ]

    def own(self, tile: int, slab: int) -> list[Box]:
        """Characteristics, and for the first slab the state to go on from."""
        where = self.cut.block(tile, slab)
        return [s.box(where) for s in (*self.statics, *(() if slab else self.initial))]

    def all(self, tile: int, slab: int) -> list[Box]:
        """All that a block reads."""
        where = self.cut.block(tile, slab)
        return [*(driver.box(where) for driver in self.drivers), *self.own(tile, slab)]

    def tasks(self, keys: Iterable[Hashable]) -> Graph:
        """The low-level graph of some chunks."""
        from dask.array.optimization import optimize
        from dask.highlevelgraph import HighLevelGraph
        from dask.utils import ensure_dict

        arrays = (s.array for s in (*self.drivers, *self.statics, *self.initial))
        whole = HighLevelGraph.merge(*(array.__dask_graph__() for array in arrays))
        return dict(ensure_dict(optimize(whole, list(keys))))


def _source(values: Any, dims: Sequence[Hashable], job: Job) -> Source:
    """Values as a dask array; what is none yet is cut into blocks."""
    import dask.array as da

    names = tuple(map(str, dims))
    wanted = {dim: job.cut.blocks[dim] for dim in names if dim in job.cut.blocks}
    if not isinstance(values, xr.Variable):
        if not hasattr(values, "dask"):
            sizes = tuple(wanted.get(dim, -1) for dim in names)
            values = da.from_array(values, chunks=sizes, name=False)
        return Source(values, names)
    if values.chunks is None:
        values = values.to_base_variable().chunk(wanted, name=f"xflux-given-{uuid.uuid4().hex}")
    return Source(values.data, names)


def graph_of(
    job: Job, sources: Sources, blocks: Sequence[Block], token: str
) -> tuple[HighLevelGraph, dict[str, Block]]:
    """The graph that writes some blocks.

    Parameters
    ----------
    job : Job
    sources : Sources
    blocks : sequence of (slab, tile)
        In the order of `Cut`.
    token : str
        Makes the names of the tasks those of this run.

    Returns
    -------
    graph : HighLevelGraph
        For each slab a layer of reads, if blocks share them, and one of writes.
    keys : dict of str to (slab, tile)
        The tasks that write.
    """
    from dask.highlevelgraph import HighLevelGraph

    keys = {f"xflux-write-{token}-{slab}-{tile}": (slab, tile) for slab, tile in blocks}
    boxes, reads, groups = _boxes(job, sources, keys, token)
    chunks = {key for parts in boxes.values() for key in keys_of(parts)} - reads.keys()
    found, shared = readings(sources.tasks(chunks), boxes, set(reads))
    first, held = f"xflux-shared-{token}", f"xflux-job-{token}"
    layers: dict[str, Graph] = {first: {**shared, held: job}}
    needs: dict[str, set[str]] = {first: set()}
    for slab, some in itertools.groupby(keys.items(), key=lambda item: item[1][0]):
        read, write = (f"xflux-{kind}-{token}-{slab}" for kind in ("read", "write"))
        earlier, last = (f"xflux-write-{token}-{slab - back}" for back in (2, 1))
        here = {
            key: _reading(found[key], groups.get((slab - 2, group), []))
            for key, (at, group) in reads.items()
            if at == slab
        }
        if here:
            layers[read], needs[read] = here, {first} | ({earlier} & layers.keys())
        before = layers.get(last, {})
        needs[write] = {first} | ({read, last} & layers.keys())
        layers[write] = {
            key: _writing(held, at, found[key], f"{last}-{at[1]}", before) for key, at in some
        }
    return HighLevelGraph(layers, needs), keys


def _boxes(
    job: Job, sources: Sources, keys: Mapping[str, Block], token: str
) -> tuple[dict[Hashable, list[Box]], dict[Hashable, Block], dict[Block, list[str]]]:
    """What each task reads; tasks that read for a (slab, group); and the blocks of those."""
    boxes: dict[Hashable, list[Box]] = {}
    reads: dict[Hashable, Block] = {}
    groups: dict[Block, list[str]] = {}
    for key, (slab, tile) in keys.items():
        if job.cut.alone:
            boxes[key] = sources.all(tile, slab)
            continue
        group = job.cut.group_of(tile)
        groups.setdefault((slab, group), []).append(key)
        outer, inner = job.cut.group(group, slab), job.cut.block(tile, slab)
        parts = []
        for number, driver in enumerate(sources.drivers):
            read = f"xflux-read-{token}-{slab}-{group}-{number}"
            if read not in reads:
                reads[read], boxes[read] = (slab, group), [driver.box(outer)]
            parts.append(box_in(read, driver.array.dtype, driver.dims, outer, inner))
        boxes[key] = [*parts, *sources.own(tile, slab)]
    return boxes, reads, groups


def _reading(reading: Reading, after: list[str]) -> tuple[Any, ...]:
    return (read_array, reading, list(reading.given), after)


def _writing(job: str, at: Block, reading: Reading, before: str, layer: Graph) -> tuple[Any, ...]:
    slab, tile = at
    given = list(reading.given)
    return (write_block, job, tile, slab, reading, given, before if before in layer else None)


def digests_of(
    job: Job, sources: Sources, blocks: Sequence[Block], token: str
) -> tuple[HighLevelGraph, list[str]]:
    """The graph of what the notes of some blocks would say of their drivers today."""
    from dask.highlevelgraph import HighLevelGraph

    keys = {f"xflux-check-{token}-{slab}-{tile}": (slab, tile) for slab, tile in blocks}
    boxes: dict[Hashable, list[Box]] = {
        key: sources.all(tile, slab) for key, (slab, tile) in keys.items()
    }
    chunks = {key for parts in boxes.values() for key in keys_of(parts)}
    found, shared = readings(sources.tasks(chunks), boxes, set())
    graph: Graph = {**shared, f"xflux-job-{token}": job}
    for key, (slab, tile) in keys.items():
        reading = found[key]
        given = list(reading.given)
        graph[key] = (read_digest, f"xflux-job-{token}", tile, slab, reading, given)
    name = f"xflux-check-{token}"
    return HighLevelGraph({name: graph}, {name: set()}), list(keys)


def run(graph: HighLevelGraph, keys: Sequence[str], done: Callable[[str, Any], None]) -> None:
    """Run a graph on the scheduler that dask would take, and say of each key when it is done.

    Parameters
    ----------
    graph : HighLevelGraph
    keys : sequence of str
    done : callable
        Takes a key and the result.

    Raises
    ------
    DataError, WriteError
        Of a block, or because the cluster has gone.
    """
    from dask.base import compute_as_if_collection, get_scheduler
    from dask.callbacks import Callback
    from dask.delayed import Delayed

    client = getattr(get_scheduler(), "__self__", None)
    if hasattr(client, "scheduler_info"):
        _run_on_cluster(client, graph, keys, done)
        return
    wanted = set(keys)

    def after(key: str, result: Any, *_: object) -> None:
        if key in wanted:
            done(key, result)

    with Callback(posttask=after):
        compute_as_if_collection(Delayed, graph, list(keys))


def _run_on_cluster(
    client: Any, graph: HighLevelGraph, keys: Sequence[str], done: Callable[[str, Any], None]
) -> None:
    from distributed import as_completed

    waiting = dict(zip(keys, client.get(graph, list(keys), sync=False), strict=True))
    try:
        with client.as_current():
            for future in as_completed(list(waiting.values())):
                del waiting[future.key]  # what is written needs no worker to remember it
                done(future.key, future.result())
    except XfluxError:
        client.cancel(list(waiting.values()))
        raise
    except Exception as error:
        raise WriteError(f"the cluster did not finish: {type(error).__name__}: {error}") from error
