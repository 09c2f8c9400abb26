"""One block, some entities over some time: from the input's own arrays to fluxes, and the state.

The walk of the numbers, in order: lay out and broadcast, gather land, units, ranges, gaps, derived
drivers, normalisation, every member, mean and spread, scatter back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xflux import features
from xflux.cf import metadata
from xflux.cf.derived import vapour_pressure_deficit
from xflux.cf.entities import characteristic_values
from xflux.cf.schema import Match
from xflux.cf.targets import CARBON, Target
from xflux.errors import DataError
from xflux.features import Array, Course, Inputs, Mask
from xflux.prediction import ensemble
from xflux.prediction.calibration import Extra
from xflux.prediction.carried import Carried, beginning
from xflux.prediction.ensemble import Members, Memory
from xflux.prediction.outputs import Output, beside, outputs
from xflux.training.towers import to_canonical

CELLS, STEPS = 1024, 365
"""Entities whose network inputs are in memory at a time, for so many steps; fewer for more."""

WHOLE = slice(None)

CONTEXT = "*context"
"""Dimension of the constant columns that some models take; no user calls one so."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything a block needs to know, small and the same for all blocks.

    Attributes
    ----------
    inputs : Inputs
    drivers, statics : tuple of Match
        Variables in the order in which their arrays are passed.
    dims : tuple of tuple of str
        Dimensions of each array, in the same order.
    layout : tuple of str
        Entity dimensions, then time: the layout of a block's result.
    derived : tuple of str
        Drivers that are derived from others.
    members : bool
        Every member instead of mean and spread.
    device, precision : str
    """

    inputs: Inputs
    drivers: tuple[Match, ...]
    statics: tuple[Match, ...]
    dims: tuple[tuple[str, ...], ...]
    layout: tuple[str, ...]
    derived: tuple[str, ...]
    members: bool
    device: str
    precision: str


class Segment(NamedTuple):
    """An unbroken part of a support: its first step, its end, and where its windows begin."""

    start: int
    end: int
    first: int


@dataclass(frozen=True, kw_only=True)
class Task:
    """All that every block of a prediction needs, the same for all of them.

    Attributes
    ----------
    plan : Plan
    dims : tuple of tuple of str
        Dimensions of each array of a block.
    weights : Members
    days, fraction : numpy.ndarray
        Shape (T,): length of each step in days, and its position in the year.
    targets : tuple of Target
        What the members predict.
    segments : tuple of Segment
        Of a support; none for a prediction.
    extra : Extra, optional
        What is wanted beside the fluxes.
    """

    plan: Plan
    dims: tuple[tuple[str, ...], ...]
    weights: Members
    days: npt.NDArray[np.float64]
    fraction: Array
    targets: tuple[Target, ...] = CARBON
    segments: tuple[Segment, ...] = ()
    extra: Extra | None = None

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What a block gives: the fluxes, then what is wanted beside them."""
        count, every = ensemble.sizes_of(self.weights).members, self.plan.members
        fluxes = metadata.output_names(every, count > 1, self.targets)
        return outputs(fluxes, count if every else None, self.extra)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of what a block gives."""
        return tuple(output.name for output in self.outputs)


def predict_block(
    arrays: Sequence[npt.NDArray[np.generic]],
    *,
    task: Task,
    time: slice = WHOLE,
    before: Carried | None = None,
    keep: bool = False,
) -> tuple[list[Array], Carried | None]:
    """Take one block of the input's own arrays to fluxes.

    Parameters
    ----------
    arrays : sequence of numpy.ndarray
        Drivers and characteristics in the plan's order, each with its own dims.
    task : Task
    time : slice
        Which of the steps of the run these arrays hold.
    before : Carried, optional
        The state that the block before this one in time ended with.
    keep : bool
        Give the state at the end.

    Returns
    -------
    fluxes : list of numpy.ndarray
        One for each of ``task.outputs``, shape (own dims..., entity dims..., T); fluxes are in
        g m-2 d-1, float32.
    state : Carried or None

    Raises
    ------
    DataError
        Values are out of their plausible range.
    """
    plan, days, fraction = task.plan, task.days[time], task.fraction[time]
    timed, fixed, shape = lay_out(arrays, task)
    count, steps = int(np.prod(shape, dtype=np.int64)), len(fraction)
    fluxes = [output.missing((count, steps)) for output in task.outputs]
    stateful = keep or before is not None
    start = before or beginning(plan.inputs, task.weights, count if stateful else 0)
    run, interrupted, kept = start.run.copy(), start.interrupted.copy(), []
    chosen = np.flatnonzero(_land(plan, timed, start if stateful else None))
    some = cells_at_once(steps)
    for first in range(0, len(chosen), some):
        cells = chosen[first : first + some]
        past = _Past(start, cells) if stateful else None
        found, course, memory = _predict_cells(
            task, [t[cells] for t in timed], [s[cells] for s in fixed], days, fraction, past, keep
        )
        for flux, values in zip(fluxes, found, strict=True):
            flux[..., cells, :] = values
        if memory is not None:
            run[cells], interrupted[cells] = course.run[:, -1], course.interrupted[:, -1]
            on = run[cells] > 0
            kept.append(Memory(memory.hidden[:, on], memory.cell[:, on], memory.sums[on]))
    result = [flux.reshape((*flux.shape[:-2], *shape, steps)) for flux in fluxes]
    if not keep:
        return result, None
    recent = _recent(plan, timed, days, start.recent)
    return result, Carried(_joined(kept, task.weights), recent, run, interrupted)


def lay_out(
    arrays: Sequence[npt.NDArray[np.generic]], task: Task
) -> tuple[list[npt.NDArray[np.generic]], list[npt.NDArray[np.generic]], tuple[int, ...]]:
    """Drivers (C, T) each, what has no time (C,) each, and the sizes of the entity dimensions.

    The context, where there is one, is the last of what has no time, (C, Q).
    """
    plan, split = task.plan, len(task.plan.drivers)
    arrays = tuple(unmasked(array) for array in arrays)
    sizes = _sizes(arrays, task.dims)
    shape = tuple(sizes[dim] for dim in plan.layout[:-1])
    count = int(np.prod(shape, dtype=np.int64))
    timed = [
        to_layout(array, names, plan.layout, sizes).reshape(count, sizes[plan.layout[-1]])
        for array, names in zip(arrays[:split], task.dims[:split], strict=True)
    ]
    fixed = []
    for array, names in zip(arrays[split:], task.dims[split:], strict=True):
        own = (CONTEXT,) if CONTEXT in names else ()
        flat = (count, *(sizes[dim] for dim in own))
        fixed.append(to_layout(array, names, (*plan.layout[:-1], *own), sizes).reshape(flat))
    return timed, fixed, shape


def cells_at_once(steps: int) -> int:
    """Entities that go together, so that memory does not grow with the length of a block."""
    return max(1, min(4 * CELLS, CELLS * STEPS // max(steps, 1)))


def _joined(parts: list[Memory], weights: Members) -> Memory:
    if not parts:
        return ensemble.empty_memory(ensemble.sizes_of(weights), 0)
    hidden, cell, sums = zip(*parts, strict=True)
    return Memory(np.concatenate(hidden, 1), np.concatenate(cell, 1), np.concatenate(sums, 0))


def _recent(
    plan: Plan,
    timed: list[npt.NDArray[np.generic]],
    days: npt.NDArray[np.float64],
    earlier: Array,
) -> Array:
    """The last values of each driver at every entity, shape (N, A, GAP_LIMIT)."""
    limit = earlier.shape[2]
    values = canonical(plan, [array[:, -limit:] for array in timed], days[-limit:])
    steps = min(limit, len(days))
    latest = np.full((*earlier.shape[:2], steps), np.nan, dtype=np.float32)
    for i, name in enumerate(plan.inputs.drivers):
        if name in values:
            latest[:, i] = values[name]
    return np.concatenate([earlier, latest], axis=2)[:, :, -limit:]


class _Past:
    """The state before a block, of some of its entities."""

    def __init__(self, start: Carried, cells: npt.NDArray[np.int64]) -> None:
        self.recent = start.recent[cells]
        self.run, self.interrupted = start.run[cells], start.interrupted[cells]
        self.memory = start.before(cells)

    def drivers(self, plan: Plan, names: Sequence[str]) -> dict[str, Array]:
        """The last values of some drivers, (C, GAP_LIMIT) each."""
        return {name: self.recent[:, plan.inputs.drivers.index(name)] for name in names}


def unmasked(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """A masked array as plain numbers, NaN where it is masked; anything else as it is."""
    if not isinstance(array, np.ma.MaskedArray) or array.dtype.kind not in "fiub":
        return np.ma.getdata(array)
    number = array if array.dtype.kind == "f" else array.astype(np.float64)
    return np.asarray(np.ma.filled(number, np.nan))


def _sizes(
    arrays: Sequence[npt.NDArray[np.generic]], dims: tuple[tuple[str, ...], ...]
) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for array, names in zip(arrays, dims, strict=True):
        sizes |= dict(zip(names, array.shape, strict=True))
    return sizes


def to_layout(
    array: npt.NDArray[np.generic],
    names: tuple[str, ...],
    layout: tuple[str, ...],
    sizes: Mapping[str, int],
) -> npt.NDArray[np.generic]:
    """Transpose and broadcast to a layout that holds all of the array's dimensions."""
    ordered = np.transpose(array, [names.index(dim) for dim in layout if dim in names])
    expanded = ordered[tuple(slice(None) if dim in names else None for dim in layout)]
    return np.broadcast_to(expanded, tuple(sizes[dim] for dim in layout))


def _land(plan: Plan, timed: list[npt.NDArray[np.generic]], start: Carried | None) -> Mask:
    """Cells with at least one value of a required driver, here or just before, shape (C,).

    A series that was running is among them even if no value of it can be carried on any more:
    here is its gap.
    """
    found = np.zeros(timed[0].shape[0], dtype=bool)
    for match, values in zip(plan.drivers, timed, strict=True):
        if match.name in plan.inputs.required:
            number = values if values.dtype.kind in "fc" else values.astype(np.float32)
            found |= np.isfinite(number).any(axis=1)
    if start is not None:
        needed = [plan.inputs.drivers.index(name) for name in plan.inputs.required]
        found |= np.isfinite(start.recent[:, needed]).any(axis=(1, 2)) | (start.run > 0)
    return found


def canonical(
    plan: Plan, timed: list[npt.NDArray[np.generic]], days: npt.NDArray[np.float64]
) -> dict[str, Array]:
    """Drivers in xflux's units, with those that are derived from others, shape (C, T) each."""
    values = {
        match.name: to_canonical(array, match.conversion, days)
        for match, array in zip(plan.drivers, timed, strict=True)
    }
    with np.errstate(all="ignore"):  # values that cannot be are refused later, by name
        for name in plan.derived:
            values[name] = vapour_pressure_deficit(values)
    return values


def _predict_cells(
    task: Task,
    timed: list[npt.NDArray[np.generic]],
    fixed: list[npt.NDArray[np.generic]],
    days: npt.NDArray[np.float64],
    fraction: Array,
    past: _Past | None,
    keep: bool,
) -> tuple[list[Array], Course, Memory | None]:
    """Fluxes of some cells, ([realization,] C, T) each, with their course and memory."""
    plan = task.plan
    values = canonical(plan, timed, days)
    statics = {
        match.name: characteristic_values(match, array)
        for match, array in zip(plan.statics, fixed, strict=False)
    }
    problems = [
        text
        for match in plan.drivers
        if (text := features.out_of_range(match.name, match.variable, values[match.name]))
    ]
    if problems:
        raise DataError("; ".join(problems))
    given = [name for name in plan.inputs.drivers if name in values]
    block = features.assemble(
        plan.inputs,
        {name: values[name] for name in given},
        statics,
        np.asarray(statics["lat"], dtype=np.float32),
        fraction,
        before=None if past is None else past.drivers(plan, given),
    )
    plain = block
    if len(fixed) > len(plan.statics):
        joined = np.concatenate([block.characteristics, fixed[-1].astype(np.float32)], axis=1)
        block = block._replace(characteristics=joined)
    earlier, run, gone = (None,) * 3 if past is None else (past.memory, past.run, past.interrupted)
    fluxes, memory = ensemble.run(
        task.weights,
        block,
        device=plan.device,
        precision=plan.precision,
        memory=earlier,
        run=run,
        keep=keep,
    )
    course = features.course(block.usable, run=run, interrupted=gone)
    fluxes[:, features.settle(course, features.SETTLING[plan.inputs.time_step])] = np.nan
    found = _summary(fluxes, plan.members, task.targets)
    return found + beside(task.extra, task.targets, found, plain, plan.inputs), course, memory


def _summary(fluxes: Array, members: bool, targets: Sequence[Target]) -> list[Array]:
    """Members to targets: each of every member, or their means and standard deviations.

    Parameters
    ----------
    fluxes : numpy.ndarray
        Shape (M, C, T, outputs).

    Returns
    -------
    list of numpy.ndarray
        One (M, C, T) a target, or two (C, T): all means, then the deviations of several members.
    """

    def mixed(outputs: list[Array]) -> list[Array]:
        return [
            outputs[t.plus] if t.minus is None else outputs[t.plus] - outputs[t.minus]
            for t in targets
        ]

    every = [fluxes[..., k] for k in range(fluxes.shape[-1])]
    if members:
        return mixed(every)
    means = mixed([output.mean(axis=0) for output in every])
    if len(fluxes) == 1:
        return means
    return means + [flux.std(axis=0, ddof=1) for flux in mixed(every)]
