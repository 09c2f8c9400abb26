"""What one task reads, as a part of the drivers' graph that runs inside of that task.

A block reads its drivers itself, so it is one task, it can tell where a read failed, and one that
is written already reads nothing. What many blocks need stays a task of its own.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from xflux.prediction.cutting import Where

FEW = 8
"""What up to so many tasks need each of them computes, so that none has to wait or to be kept."""

Slices = tuple[slice, ...]
Graph = dict[Any, Any]


class Piece(NamedTuple):
    """Part of an array: the task that gives it, where in its result, and where it goes."""

    key: Hashable
    inside: Slices
    at: Slices


@dataclass(frozen=True)
class Box:
    """One array over one block, from the pieces that it has in chunks."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    pieces: tuple[Piece, ...]

    def fill(self, values: Mapping[Hashable, Any]) -> npt.NDArray[np.generic]:
        """Put the pieces together; one that is all of it is not copied."""
        parts = [np.asanyarray(values[piece.key])[*piece.inside, ...] for piece in self.pieces]
        if len(parts) == 1:
            return parts[0]
        masked = any(isinstance(part, np.ma.MaskedArray) for part in parts)
        made = (np.ma if masked else np).empty(self.shape, dtype=self.dtype)
        for piece, part in zip(self.pieces, parts, strict=True):
            made[piece.at] = part
        return made


@dataclass(frozen=True, eq=False)
class Reading:
    """What a task computes for itself, and what it is given.

    Attributes
    ----------
    boxes : tuple of Box
        The arrays.
    graph : dict
        Tasks that run inside of the task.
    given : tuple of key
        Results of other tasks, in the order in which they are passed.
    """

    boxes: tuple[Box, ...]
    graph: Graph
    given: tuple[Hashable, ...]

    def arrays(self, given: Sequence[Any]) -> list[npt.NDArray[np.generic]]:
        """Compute the arrays, in this thread."""
        import dask.core

        values = dict(zip(self.given, given, strict=True))
        wanted = [key for key in keys_of(self.boxes) if key not in values]
        found = dask.core.get(self.graph, wanted, cache=dict(values)) if wanted else ()
        values |= zip(wanted, found, strict=True)
        return [box.fill(values) for box in self.boxes]


def keys_of(boxes: Iterable[Box]) -> list[Hashable]:
    """Keys of all pieces, each once."""
    return list(dict.fromkeys(piece.key for box in boxes for piece in box.pieces))


def box_of(array: Any, dims: Sequence[str], where: Where) -> Box:
    """The pieces of a dask array over a block; along dimensions that have no block, all of it."""
    along = [
        overlaps(chunks, part.start, part.stop)
        for chunks, part in (
            (chunks, where.get(dim, slice(0, size)))
            for dim, chunks, size in zip(dims, array.chunks, array.shape, strict=True)
        )
    ]
    pieces = tuple(
        Piece(
            (array.name, *(number for number, _, _ in found)),
            tuple(inside for _, inside, _ in found),
            tuple(at for _, _, at in found),
        )
        for found in itertools.product(*along)
    )
    shape = tuple(parts[-1][2].stop for parts in along)
    return Box(shape, array.dtype, pieces)


def box_in(
    key: Hashable, dtype: np.dtype[Any], dims: Sequence[str], outer: Where, inner: Where
) -> Box:
    """A block inside of a larger one that another task gives."""
    inside = tuple(
        slice(inner[dim].start - outer[dim].start, inner[dim].stop - outer[dim].start)
        for dim in dims
    )
    shape = tuple(part.stop - part.start for part in inside)
    return Box(shape, dtype, (Piece(key, inside, tuple(slice(0, size) for size in shape)),))


@functools.lru_cache(maxsize=4096)
def overlaps(
    chunks: tuple[int, ...], start: int, stop: int
) -> tuple[tuple[int, slice, slice], ...]:
    """Chunks that a range touches: number, what of the chunk, and where that is in the range.

    Examples
    --------
    >>> overlaps((4, 4, 4), 2, 8)
    ((0, slice(2, 4, None), slice(0, 2, None)), (1, slice(0, 4, None), slice(2, 6, None)))
    """
    edges = np.cumsum((0, *chunks))
    first = int(np.searchsorted(edges, start, side="right")) - 1
    last = int(np.searchsorted(edges, stop, side="left"))
    found = []
    for number in range(first, last):
        begin, end = int(edges[number]), int(edges[number + 1])
        low, high = max(begin, start), min(end, stop)
        inside, at = slice(low - begin, high - begin), slice(low - start, high - start)
        if low < high:
            found.append((number, inside, at))
    return tuple(found)


def readings(
    graph: Mapping[Any, Any], boxes: Mapping[Hashable, Sequence[Box]], handed: set[Hashable]
) -> tuple[dict[Hashable, Reading], Graph]:
    """Share a graph out among the tasks that need it.

    Parameters
    ----------
    graph : mapping
        Tasks of the drivers, low level.
    boxes : mapping of key to sequence of Box
        What each of our tasks reads.
    handed : set of key
        Keys that are not in the graph: results of our own tasks.

    Returns
    -------
    found : dict of key to Reading
    shared : dict
        Tasks that more than `FEW` of ours need, with all that these need.
    """
    uses = _Uses(graph)
    for parts in boxes.values():
        uses.count(key for key in keys_of(parts) if key not in handed)
    found = {name: uses.reading(parts, handed) for name, parts in boxes.items()}
    return found, {key: graph[key] for key in uses.apart()}


class _Uses:
    """How many of our tasks need each task of a graph."""

    def __init__(self, graph: Mapping[Any, Any]) -> None:
        from dask.core import get_dependencies, istask

        self.graph = graph
        self.needs = functools.cache(lambda key: frozenset(get_dependencies(graph, key)))
        self.is_task = lambda key: istask(graph[key])
        self.times: dict[Hashable, int] = {}
        self.shared: set[Hashable] = set()

    def limit(self, key: Hashable) -> float:
        """How many may have a task or a value for themselves: a source all, an array one."""
        if self.needs(key) or self.is_task(key):
            return FEW
        value = getattr(self.graph[key], "value", self.graph[key])
        return 1 if isinstance(value, np.ndarray) else math.inf

    def count(self, keys: Iterable[Hashable]) -> None:
        """Count one task that needs these."""
        seen: set[Hashable] = set()
        waiting = list(keys)
        while waiting:
            key = waiting.pop()
            if key in seen or key in self.shared:
                continue
            seen.add(key)
            self.times[key] = self.times.get(key, 0) + 1
            if self.times[key] > self.limit(key):
                self.shared.add(key)
            else:
                waiting.extend(self.needs(key))

    def reading(self, boxes: Sequence[Box], handed: set[Hashable]) -> Reading:
        """The part of the graph that one task runs for itself."""
        own: Graph = {}
        given: dict[Hashable, None] = {}
        waiting = keys_of(boxes)
        while waiting:
            key = waiting.pop()
            if key in handed or key in self.shared:
                given[key] = None
            elif key not in own:
                own[key] = self.graph[key]
                waiting.extend(self.needs(key))
        return Reading(tuple(boxes), own, tuple(given))

    def apart(self) -> set[Hashable]:
        """All that stays outside of our tasks."""
        found: set[Hashable] = set()
        waiting = list(self.shared)
        while waiting:
            key = waiting.pop()
            if key not in found:
                found.add(key)
                waiting.extend(self.needs(key))
        return found
