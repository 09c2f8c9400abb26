"""How a run is cut into blocks: one block is one task, and whole chunks of the store it writes.

Four sizes along each dimension, each a multiple of the one before it: a *chunk* of the store, a
*block*, and a *group* of blocks that read the same chunks of the drivers; time has no groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from xflux.errors import WriteError

STEPS = 30
"""A block of some of the time has at least so many steps: the state is kept after each."""

CELLS = 2**16
"""A block has at most so many entities, unless the drivers' own chunks of space are smaller."""

VALUES = 2**22
"""Entities times steps of a block that is cut because it has more than `CELLS` entities."""

Where = dict[str, slice]


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The blocks of a run.

    A *tile* is a block's place in space, counted in C order; a *slab* its place in time.

    Attributes
    ----------
    layout : tuple of str
        Entity dimensions, then time.
    sizes, chunks, blocks, groups : dict of str to int
        By dimension: of the whole, of a chunk of the store, of a block, and of a group.
    """

    layout: tuple[str, ...]
    sizes: dict[str, int]
    chunks: dict[str, int]
    blocks: dict[str, int]
    groups: dict[str, int]

    @property
    def space(self) -> tuple[str, ...]:
        """Entity dimensions."""
        return self.layout[:-1]

    @property
    def tiles(self) -> int:
        """Blocks of space."""
        return math.prod(self._counts(self.blocks))

    @property
    def slabs(self) -> int:
        """Blocks of time."""
        time = self.layout[-1]
        return math.ceil(self.sizes[time] / self.blocks[time])

    @property
    def alone(self) -> bool:
        """Whether each block reads chunks of the drivers that no other block reads."""
        return all(self.blocks[dim] == self.groups[dim] for dim in self.space)

    def _counts(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        return tuple(math.ceil(self.sizes[dim] / sizes[dim]) for dim in self.space)

    def _index(self, number: int, sizes: Mapping[str, int]) -> dict[str, int]:
        found = np.unravel_index(number, self._counts(sizes)) if self.space else ()
        return dict(zip(self.space, map(int, found), strict=True))

    def _where(self, index: Mapping[str, int], slab: int, sizes: Mapping[str, int]) -> Where:
        at = {**index, self.layout[-1]: slab}
        return {
            dim: slice(at[dim] * sizes[dim], min((at[dim] + 1) * sizes[dim], self.sizes[dim]))
            for dim in self.layout
        }

    def block(self, tile: int, slab: int) -> Where:
        """Where a block lies."""
        return self._where(self._index(tile, self.blocks), slab, self.blocks)

    def group_of(self, tile: int) -> int:
        """The group of a tile."""
        index = self._index(tile, self.blocks)
        at = [index[dim] * self.blocks[dim] // self.groups[dim] for dim in self.space]
        return int(np.ravel_multi_index(at, self._counts(self.groups))) if at else 0

    def group(self, number: int, slab: int) -> Where:
        """Where a group lies."""
        return self._where(self._index(number, self.groups), slab, self.groups)

    def steps(self, tile: int, slab: int) -> int:
        """Entities times time steps of a block."""
        return math.prod(part.stop - part.start for part in self.block(tile, slab).values())

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Slab and tile of each block, in the order in which they are written."""
        return ((slab, tile) for slab in range(self.slabs) for tile in range(self.tiles))


def cut(
    layout: tuple[str, ...],
    sizes: Mapping[str, int],
    drivers: Mapping[str, tuple[int, ...]] | None,
    wanted: Mapping[str, int],
) -> Cut:
    """Cut a run along the chunks of its drivers.

    Whole series stay whole. Where time is in chunks, so many are taken together that a block has
    `STEPS` steps. Space is in the drivers' chunks, those of more than `CELLS` entities in parts.

    Parameters
    ----------
    layout : tuple of str
        Entity dimensions, then time.
    sizes : mapping of str to int
    drivers : mapping of str to tuple of int, or None
        Chunks of the drivers along each dimension; None where no driver is lazy.
    wanted : mapping of str to int
        Chunks of the store along some dimensions; the others follow the blocks.

    Raises
    ------
    WriteError
        A wanted chunk is of no dimension, or of no size.

    Examples
    --------
    >>> sizes = {"lat": 721, "lon": 1440, "time": 365}
    >>> maps = {"lat": (721,), "lon": (1440,), "time": (1,) * 365}
    >>> cut(("lat", "lon", "time"), sizes, maps, {}).blocks
    {'lat': 181, 'lon': 360, 'time': 30}
    """
    *space, time = layout
    whole = {dim: (sizes[dim],) for dim in layout}
    held = {dim: max(cuts) for dim, cuts in {**whole, **(drivers or {})}.items()}
    natural = {dim: held[dim] for dim in layout}
    if natural[time] < sizes[time]:
        natural[time] *= math.ceil(STEPS / natural[time])
        natural[time] = min(natural[time], sizes[time])
    _split(natural, space, natural[time], always=drivers is None)
    chunks = {dim: chunk_of(dim, wanted.get(dim), natural[dim], sizes[dim]) for dim in layout}
    blocks = {}
    for dim in layout:
        ratio = natural[dim] / chunks[dim]
        count = math.ceil(ratio) if natural[dim] == sizes[dim] else math.floor(ratio)
        blocks[dim] = chunks[dim] * max(1, count)
    groups = dict(blocks)
    if drivers is not None:
        groups |= {dim: blocks[dim] * math.ceil(held[dim] / blocks[dim]) for dim in space}
    kept = {dim: sizes[dim] for dim in layout}
    return Cut(layout=layout, sizes=kept, chunks=chunks, blocks=blocks, groups=groups)


def _split(natural: dict[str, int], space: list[str], steps: int, *, always: bool) -> None:
    """Halve the longest dimension of space until a block is small enough."""

    def cells() -> int:
        return math.prod(natural[dim] for dim in space)

    if not always and cells() <= CELLS:
        return
    while cells() > max(1, min(CELLS, VALUES // steps)):
        longest = max(space, key=lambda dim: natural[dim])
        natural[longest] = math.ceil(natural[longest] / 2)


def chunk_of(dim: str, wanted: int | None, natural: int, size: int) -> int:
    """The chunk of the store along a dimension: the one that is wanted, or the natural one.

    Raises
    ------
    WriteError
    """
    if wanted is None:
        return natural
    if wanted == -1:
        return size
    if isinstance(wanted, bool) or not isinstance(wanted, int | np.integer) or wanted < 1:
        raise WriteError(
            f"chunks= takes a number of 1 or more for each dimension, or -1 for all of it, not "
            f"{wanted!r} for {dim!r}"
        )
    return min(int(wanted), size)
