"""Prediction straight into a zarr store: block by block, one task each, to go on after a kill.

A task reads the drivers of its block, predicts, writes whole chunks of all fluxes, and last the
note that the block is written, with the state at its end. Blocks of the same place follow one
another in time and take that state from the folder beside the store. So a task may run again,
anywhere, at any time: a block with a note is left alone.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xflux.errors import DataError, WriteError
from xflux.features import Array
from xflux.prediction.blocks import Task, predict_block, unmasked
from xflux.prediction.carried import VARIABLES, Carried, from_bytes, from_dense, to_bytes
from xflux.prediction.cutting import Cut, Where
from xflux.prediction.reading import Reading
from xflux.prediction.unfinished import Note, Unfinished


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that every block of a run needs, the same for all of them.

    Attributes
    ----------
    task : Task
    cut : Cut
    store : Unfinished
    order : tuple of str
        Dimensions of the arrays of the store.
    labels : dict of str to numpy.ndarray
        Coordinates of dimensions, to name a block.
    keep : bool
        Keep the state at the end of the last slab as well.
    """

    task: Task
    cut: Cut
    store: Unfinished
    order: tuple[str, ...]
    labels: dict[str, npt.NDArray[Any]]
    keep: bool

    def name(self, tile: int, slab: int) -> str:
        """Name a block for a person."""
        number = slab * self.cut.tiles + tile + 1
        where = ", ".join(
            f"{dim} {_label(self.labels.get(dim), part.start)} to "
            f"{_label(self.labels.get(dim), part.stop - 1)}"
            for dim, part in self.cut.block(tile, slab).items()
        )
        return f"block {number} of {self.cut.tiles * self.cut.slabs} ({where})"


def _label(values: npt.NDArray[Any] | None, at: int) -> str:
    return re.split("[T ]00:00:00", str(at if values is None else values[at]))[0]


def write_block(
    job: Job, tile: int, slab: int, reading: Reading, given: Sequence[Any], _before: object
) -> None:
    """Read, predict and write one block, unless it is written.

    Parameters
    ----------
    job : Job
    tile, slab : int
    reading : Reading
        Drivers, characteristics and, for the first slab of a run that goes on from a state, that.
    given : sequence
        What other tasks have read for this one.

    Raises
    ------
    DataError
        Values are out of range; the block is named.
    WriteError
        Anything else went wrong; the block is named.
    """
    found = job.store.note(tile)
    if found is not None and found.slab >= slab:
        return
    with naming(job.name(tile, slab)):
        arrays = reading.arrays(given)
        before = _before_block(job, tile, found, arrays)
        fluxes, after = predict_block(
            arrays[: len(job.task.dims)],
            task=job.task,
            time=job.cut.block(tile, slab)[job.cut.layout[-1]],
            before=before,
            keep=job.keep or slab < job.cut.slabs - 1,
        )
        land = any(flux.dtype.kind == "f" and np.isfinite(flux).any() for flux in fluxes)
        if land or not all(job.store.starts_missing(name) for name in job.task.names):
            _write(job, job.cut.block(tile, slab), fluxes)
        note = Note(slab, land, digest(arrays))
        job.store.done(tile, note, b"" if after is None else to_bytes(after))


def _before_block(
    job: Job, tile: int, found: Note | None, arrays: Sequence[npt.NDArray[np.generic]]
) -> Carried | None:
    """The state before a block: of the block before it, of the run before it, or none."""
    if found is not None:
        return from_bytes(job.store.state(tile, found))
    initial = arrays[len(job.task.dims) :]
    return from_dense(dict(zip(VARIABLES, initial, strict=True))) if initial else None


def _write(job: Job, where: Where, fluxes: Sequence[Array]) -> None:
    for output, flux in zip(job.task.outputs, fluxes, strict=True):
        dims = (*output.lead, *job.task.plan.layout)
        order = (*output.lead, *(dim for dim in job.order if dim in job.task.plan.layout))
        all_of = {dim: slice(0, size) for dim, size in output.lead.items()}
        region = tuple({**all_of, **where}[dim] for dim in order)
        job.store.write(output.name, region, flux.transpose([dims.index(dim) for dim in order]))


def digest(arrays: Sequence[npt.NDArray[np.generic]]) -> str:
    """A short hash of some values of each array: the same drivers have the same."""
    found = hashlib.sha256()
    for array in arrays:
        some = np.ix_(*(np.unique(np.linspace(0, n - 1, 16).astype(int)) for n in array.shape))
        values = unmasked(array[some])
        if values.dtype == object:
            values = values.astype(str)
        found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()[:16]


def read_digest(job: Job, tile: int, slab: int, reading: Reading, given: Sequence[Any]) -> str:
    """What the note of a block would say of its drivers today."""
    with naming(job.name(tile, slab)):
        return digest(reading.arrays(given))


def read_array(reading: Reading, given: Sequence[Any], _after: object) -> npt.NDArray[np.generic]:
    """One driver over a group of blocks."""
    return reading.arrays(given)[0]


@contextlib.contextmanager
def naming(block: str) -> Iterator[None]:
    """Name the block in which something went wrong.

    Raises
    ------
    DataError, WriteError
    """
    try:
        yield
    except DataError as error:
        raise DataError(f"{block}: {error}") from error
    except Exception as error:
        hint = ""
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "; make room on the disk"
        raise WriteError(f"{block}: {type(error).__name__}: {error}{hint}") from error
