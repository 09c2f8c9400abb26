"""Large blocks of a Dataset: many entities, all time. The only module that imports xbatcher.

xbatcher walks the entities in full blocks; what does not fill a last block it would leave out, so
the tail is a block of its own. Windows are cut by index on the tensors, not here: a window at a
time costs several hundred times the copy it makes.
"""

from __future__ import annotations

from collections.abc import Iterator

import xarray as xr

ENTITY = "entity"
"""Name of the one dimension into which all entity dimensions are stacked inside xflux."""

BLOCK = 512
"""Entities in a block of a Dataset that is not chunked."""


def stack_entities(ds: xr.Dataset, entity_dims: tuple[str, ...]) -> xr.Dataset:
    """Bring any layout to one entity dimension, without its coordinates.

    Parameters
    ----------
    ds : xr.Dataset
        Variables over entity dimensions and, some of them, time.
    entity_dims : tuple of str
        All dimensions that are not time; may be empty for a single series.

    Returns
    -------
    xr.Dataset
        The same values over `ENTITY`, in C order of ``entity_dims``.
    """
    bare = ds.drop_vars([name for name in ds.coords if name in entity_dims or ds[name].ndim > 1])
    bare = bare.drop_vars([name for name in bare.coords if set(bare[name].dims) & set(entity_dims)])
    if not entity_dims:
        return bare.expand_dims(ENTITY)
    own = {dim: f"{dim} of the Dataset" for dim in entity_dims}  # one may be called `ENTITY`
    return bare.rename_dims(own).stack({ENTITY: tuple(own.values())}, create_index=False)


def entity_blocks(stacked: xr.Dataset, *, size: int = BLOCK) -> Iterator[tuple[slice, xr.Dataset]]:
    """Walk the entities of a stacked Dataset in blocks over all time, each exactly once.

    Parameters
    ----------
    stacked : xr.Dataset
        With the dimension `ENTITY`.
    size : int
        Entities in a block; the last one holds what is left.

    Yields
    ------
    (slice, xr.Dataset)
        Positions of the block's entities, and the block in memory.

    Examples
    --------
    >>> ds = xr.Dataset({"TA": (("entity", "time"), np.zeros((5, 4)))})
    >>> [where.stop - where.start for where, _ in entity_blocks(ds, size=2)]
    [2, 2, 1]
    """
    import xbatcher

    count = stacked.sizes[ENTITY]
    whole = count - count % size
    if whole:
        head = stacked.isel({ENTITY: slice(0, whole)})
        dims = {str(dim): length for dim, length in head.sizes.items() if length}
        generator = xbatcher.BatchGenerator(head, input_dims={**dims, ENTITY: size})
        for number, block in enumerate(generator):
            yield slice(number * size, (number + 1) * size), block
    if whole < count:
        yield slice(whole, count), stacked.isel({ENTITY: slice(whole, count)}).load()
