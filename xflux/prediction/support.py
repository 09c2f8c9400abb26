"""What TAM-RL knows of an entity before the run: drivers, and fluxes, of other times, encoded to z.

A support is a Dataset of the same entities at any times, with drivers and some fluxes. Without one,
the drivers of the Dataset itself are the support (driver history): up to `HISTORY` windows, evenly
spread, are looked at, so that a long series in chunks of time is not read twice. Both give the same
numbers for any chunks.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from xflux import features
from xflux.cf.alignment import align_characteristics
from xflux.cf.entities import characteristic_values
from xflux.cf.schema import Schema, resolve
from xflux.cf.variables import TARGETS
from xflux.errors import DataError, ModelError, warn
from xflux.features import Array, Inputs
from xflux.networks.ct_lstm import RunningMeans
from xflux.networks.tam_rl import Support
from xflux.prediction import ensemble
from xflux.prediction.blocks import Plan, Segment, Task, canonical, lay_out
from xflux.prediction.engine_tam_rl import TamRlEngine
from xflux.training.settings import SUPPORT_WINDOW, WINDOW

HISTORY = 16
"""Windows of the drivers that driver history looks at, as many as in training."""

CELLS = 128
"""Entities that are encoded at a time."""

QC = 0.5
"""Steps of a support whose NEE_QC is below this are not used, as in training."""


def beside(support: xr.Dataset, ds: xr.Dataset, schema: Schema, inputs: Inputs) -> xr.Dataset:
    """A support with the characteristics of the entities that are to be predicted.

    Raises
    ------
    ModelError
        It is no Dataset, or not of the same entities in the same order.
    """
    if not isinstance(support, xr.Dataset):
        raise ModelError(
            f"support= takes a Dataset of drivers and fluxes of other times, 'drivers' or 'none', "
            f"not {type(support).__name__}: ds.flux.predict(model, support=few)"
        )
    for dim in schema.entity_dims:
        same = dim in support.dims and support.sizes[dim] == ds.sizes[dim]
        if same and dim in support.indexes and dim in ds.indexes:
            same = support.indexes[dim].equals(ds.indexes[dim])
        if not same:
            raise ModelError(
                f"the entities of support= along {dim!r} ({support.sizes.get(dim, 'none')}) are "
                f"not those of the Dataset ({ds.sizes[dim]}), or in another order: "
                f'support = support.reindex({dim}=ds["{dim}"])'
            )
    names = ("lat", *(item.name for item in inputs.characteristics))
    wanted: dict[Hashable, xr.DataArray] = {}
    for name in names:
        if name in schema.matches and schema.matches[name].variable not in support.variables:
            array = ds[schema.matches[name].variable]
            bare = array.reset_coords(drop=True)
            wanted[schema.matches[name].variable] = bare
    return align_characteristics(support, xr.Dataset(wanted), tolerance=None)


def understood(support: xr.Dataset, inputs: Inputs) -> Schema:
    """The schema of a support; a single step is enough."""
    return resolve(support, time_step=inputs.time_step)


def with_fluxes(plan: Plan, ds: xr.Dataset, schema: Schema) -> Plan:
    """The plan of a support: the fluxes that it has come after its drivers."""
    found = [name for name in TARGETS if name in schema.matches]
    schema.require([*found, *schema.disputed((*TARGETS, "NEE_QC"))], task="the support")
    found += [name for name in ("NEE_QC",) if name in schema.matches]
    matches = tuple(schema.matches[name] for name in found)
    dims = tuple(tuple(map(str, ds[match.variable].dims)) for match in matches)
    return replace(plan, drivers=(*plan.drivers, *matches), dims=(*plan.dims, *dims))


def whole(steps: int) -> tuple[Segment, ...]:
    """All of a series as one segment."""
    return (Segment(0, steps, 0),)


def history(steps: int, time_step: str) -> tuple[npt.NDArray[np.int64], tuple[Segment, ...]]:
    """Steps of a series that driver history looks at, and the segments that they form.

    Each segment is a window with the spin-up of its running means before it. A series that is
    shorter than a window has no history.

    Examples
    --------
    >>> history(100, "daily")[1]
    (Segment(start=0, end=30, first=0), Segment(start=30, end=90, first=30), ...)
    """
    length, (_, spin_up) = SUPPORT_WINDOW[time_step], WINDOW[time_step]
    count = min(HISTORY, steps // length)
    if not count:
        return np.zeros(0, dtype=np.int64), ()
    tiles = np.unique(np.linspace(0, steps // length - 1, count).round().astype(np.int64))
    index, segments, at = [], [], 0
    for first in tiles * length:
        before = int(max(0, first - spin_up))
        index.append(np.arange(before, first + length))
        segments.append(Segment(at, at + len(index[-1]), int(first) - before))
        at += len(index[-1])
    return np.concatenate(index), tuple(segments)


def of_drivers(
    ds: xr.Dataset, schema: Schema, inputs: Inputs, said: str | None
) -> tuple[xr.Dataset, tuple[Segment, ...]]:
    """The steps of a Dataset that driver history looks at; a single one, unused, for zero-shot.

    Raises
    ------
    ModelError
        ``said`` is neither ``"drivers"`` nor ``"none"``.
    """
    if said not in (None, "drivers", "none"):
        raise ModelError(
            f"support={said!r} is unknown: give a Dataset of drivers and fluxes, 'drivers' for the "
            "drivers of the Dataset itself, or 'none'"
        )
    steps = ds.sizes[schema.time_dim]
    if said == "none":
        return ds.isel({schema.time_dim: slice(0, 1)}), ()
    index, segments = history(steps, inputs.time_step)
    if not segments:
        warn(
            f"{steps} steps are no history of drivers, which begins with "
            f"{SUPPORT_WINDOW[inputs.time_step]}: predicted as for entities of which nothing is "
            "known; give support=, or say so, support='none'",
        )
        return ds.isel({schema.time_dim: slice(0, 1)}), ()
    return ds.isel({schema.time_dim: index}), segments


def z_block(arrays: Sequence[npt.NDArray[np.generic]], task: Task) -> Array:
    """The z of every member for one block of a support, shape (entity dims..., Q)."""
    plan = task.plan
    timed, fixed, shape = lay_out(arrays, task)
    width = ensemble.sizes_of(task.weights).context
    count = int(np.prod(shape, dtype=np.int64))
    found = np.zeros((count, width), dtype=np.float32)
    if task.segments:
        engine = ensemble.engine(task.weights, plan.inputs.width, plan.device)
        assert isinstance(engine, TamRlEngine)
        with ensemble.one_thread(), torch.inference_mode():
            for start in range(0, count, CELLS):
                cells = slice(start, start + CELLS)
                found[cells] = _encode(
                    engine, task, [t[cells] for t in timed], [s[cells] for s in fixed]
                )
    return found.reshape(*shape, width)


def _encode(
    engine: TamRlEngine,
    task: Task,
    timed: list[npt.NDArray[np.generic]],
    fixed: list[npt.NDArray[np.generic]],
) -> Array:
    plan, inputs = task.plan, task.plan.inputs
    values = canonical(plan, timed, task.days)
    problems = [
        text
        for match in plan.drivers
        if (text := features.out_of_range(match.name, match.variable, values[match.name]))
    ]
    if problems:
        raise DataError("; ".join(problems))
    statics = {
        match.name: characteristic_values(match, array)
        for match, array in zip(plan.statics, fixed, strict=True)
    }
    fluxes = _fluxes(values)
    parts = []
    for start, end, first in task.segments:
        here = slice(start, end)
        block = features.assemble(
            inputs,
            {name: values[name][:, here] for name in inputs.drivers if name in values},
            statics,
            np.asarray(statics["lat"], dtype=np.float32),
            task.fraction[here],
        )
        parts.append(_windows(engine.running, block, fluxes[:, here], first, inputs))
    joined = Support(
        *(torch.cat(part, dim=1).to(engine.device) for part in zip(*parts, strict=True))
    )
    characteristics = torch.from_numpy(block.characteristics).to(engine.device)
    return engine.encode(_those_with_fluxes(joined), characteristics).cpu().numpy()


def _fluxes(values: dict[str, Array]) -> Array:
    """GPP, Reco and NEE of a support, (C, T, 3), NaN where missing or of poor quality."""
    some = next(iter(values.values()))
    empty = np.full_like(some, np.nan)
    stacked = np.stack([values.get(name, empty) for name in TARGETS], axis=-1)
    if "NEE_QC" in values:
        stacked[~(values["NEE_QC"] >= QC)] = np.nan
    return stacked


def _windows(
    running: RunningMeans, block: features.Assembled, fluxes: Array, first: int, inputs: Inputs
) -> Support:
    """One segment, from a step on, as windows; the last one is filled up with nothing."""
    length, width = SUPPORT_WINDOW[inputs.time_step], len(inputs.drivers)
    drivers = torch.from_numpy(block.drivers)
    count, steps, _ = drivers.shape
    cpu = RunningMeans(tuple(running.spans.tolist()))
    means = cpu(
        drivers[..., :width],
        drivers.new_zeros(count, len(cpu.spans), width),
        drivers.new_zeros(len(cpu.spans)),
    )[0]
    there = torch.from_numpy(block.usable).float().unsqueeze(-1)
    observed = torch.from_numpy(fluxes)
    known = torch.isfinite(observed).float() * there
    fill = -(steps - first) % length

    def cut(series: torch.Tensor) -> torch.Tensor:
        kept = torch.nn.functional.pad(series[:, first:], (0, 0, 0, fill))
        return kept.unflatten(1, (-1, length))

    return Support(
        drivers=cut(drivers),
        means=cut(means),
        observed=cut(torch.nan_to_num(observed)),
        known=cut(known),
        there=cut(there).squeeze(-1),
    )


def _those_with_fluxes(support: Support) -> Support:
    """Only windows with fluxes, as in training, at entities that have any."""
    labelled = (support.known.flatten(2).amax(-1) > 0).float()
    any_flux = labelled.amax(dim=1, keepdim=True)
    kept = labelled * any_flux + (1.0 - any_flux)
    return support._replace(there=support.there * kept.unsqueeze(-1))
