"""From a Dataset to the contributions behind its fluxes, by driver, by lag, by characteristic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from xflux import features
from xflux.attribution import baselines
from xflux.attribution.contributions import (
    Answer,
    Array,
    Question,
    contributions,
    networks,
    refuse_other_methods,
)
from xflux.attribution.windows import Asked, Series
from xflux.cf import metadata
from xflux.cf.schema import Schema
from xflux.errors import DataError, ModelError, warn
from xflux.features import Assembled, Inputs
from xflux.model import FluxModel
from xflux.prediction import blocks, ensemble
from xflux.prediction.run import Run, prepare

LIMIT = 2**25
"""Numbers of the network's input, or of the result, that are in memory."""

LAGS = {"daily": 90, "monthly": 12}
"""Steps back that are told one by one where nothing else is asked for."""

NEW_DIMS = ("driver", "lag", "characteristic")


def attribute(
    ds: xr.Dataset,
    schema: Schema,
    model: FluxModel,
    *,
    version: str,
    target: str = "GPP",
    at: Any = None,
    baseline: str = "training",
    lags: int | None = None,
    tolerance: float = 0.005,
) -> xr.Dataset:
    """Explain fluxes of a model by integrated gradients; `ds.flux.attribute` is the door to this.

    Raises
    ------
    SchemaError, DataError, ModelError
    """
    lags = LAGS[model.inputs.time_step] if lags is None else lags
    _check(ds, model, target, baseline, lags, tolerance)
    run = prepare(
        ds,
        schema,
        model.inputs,
        model.members,
        source=model.source,
        version=version,
        targets=model.targets,
    )
    steps = _steps(ds, schema, at)
    _check_size(run, len(steps), lags)
    stop = int(steps.max()) + 1 if baseline == "training" else len(ds[schema.time])
    block, shape = network_inputs(run, stop)
    usual = baselines.baseline_series(baseline, block, model.inputs, run.task.fraction[:stop])
    asked = _asked(block, steps, model.inputs)
    members = networks(model.members)
    mix = _mix(model, target)
    spread = float((mix.abs() * members[0][0].spread).max())
    question = Question(mix=mix, lags=lags, tolerance=tolerance * spread)
    own = Series(block.drivers, block.characteristics)
    answer = contributions(members, own, usual, asked, question)
    _tell(answer, question.tolerance)
    place = asked.row * len(steps) + np.searchsorted(steps, asked.step)
    return _dress(run, model, target, steps, shape, answer, place)


def _check(
    ds: xr.Dataset, model: FluxModel, target: str, baseline: str, lags: int, tolerance: float
) -> None:
    refuse_other_methods(model.members, "attribution")
    problems = []
    names = [t.name for t in model.targets]
    if target not in names:
        problems.append(f"target={target!r} is not predicted by the model: {', '.join(names)}")
    if baseline not in baselines.BASELINES:
        known = ", ".join(map(repr, baselines.BASELINES))
        problems.append(f"baseline={baseline!r} is not one of {known}")
    if lags < 1:
        problems.append(f"lags={lags}: at least 1, which is the step itself")
    if not tolerance > 0.0:
        problems.append(f"tolerance={tolerance}: a share of the target's spread, above 0")
    taken = [name for name in NEW_DIMS if name in ds.variables.keys() | set(ds.dims)]
    if taken:
        renamed = ", ".join(f'{name}="{name}_"' for name in taken)
        problems.append(f"the Dataset has {', '.join(taken)} already: ds = ds.rename({renamed})")
    if problems:
        raise ModelError("; ".join(problems))


def _steps(ds: xr.Dataset, schema: Schema, at: Any) -> npt.NDArray[np.int64]:
    """Positions of the asked times, in their order in the Dataset."""
    time, dim = ds[schema.time], str(schema.time_dim)
    numbers = xr.DataArray(np.arange(time.size), {dim: np.atleast_1d(time.values)}, (dim,))
    try:
        found = numbers if at is None else numbers.sel({dim: at})
    except KeyError as error:
        first, last = np.atleast_1d(time.values)[[0, -1]]
        raise DataError(
            f"at={at!r} is not among the times, {first} to {last}: give a time that is there, a "
            'list of them, or slice("2001-06", "2001-08")'
        ) from error
    steps = np.unique(np.atleast_1d(found.values))
    if not steps.size:
        raise DataError(f"at={at!r} holds none of the {time.size} times of the Dataset")
    return steps


def _check_size(run: Run, times: int, lags: int) -> None:
    inputs, sizes = run.task.plan.inputs, run.ds.sizes
    entities = int(np.prod([sizes[dim] for dim in run.task.plan.layout[:-1]], dtype=np.int64))
    width = len(inputs.drivers) + len(inputs.derived)
    steps = sizes[run.task.plan.layout[-1]]
    if entities * max(steps, times * lags) * width > LIMIT:
        raise DataError(
            f"{times} times and {lags} lags at {entities} entities of {steps} steps are more than "
            f"fit in memory ({LIMIT:,} numbers): choose some entities, ds.isel(...), some times, "
            "at=..., or fewer lags=..."
        )


def network_inputs(run: Run, stop: int) -> tuple[Assembled, tuple[int, ...]]:
    """The network's input up to a step, and the sizes of the entity dimensions."""
    plan, time = run.task.plan, run.task.plan.layout[-1]
    drivers = [v.isel({time: slice(stop)}) for v in run.drivers]
    arrays = [np.asanyarray(v.values) for v in (*drivers, *run.statics)]
    timed, fixed, shape = blocks.lay_out(arrays, run.task)
    values, statics = blocks.physical(plan, timed, fixed, run.task.days[:stop])
    block = features.assemble(
        plan.inputs,
        {name: values[name] for name in plan.inputs.drivers if name in values},
        statics,
        np.asarray(statics["lat"], dtype=np.float32),
        run.task.fraction[:stop],
    )
    return block, shape


def _asked(block: Assembled, steps: npt.NDArray[np.int64], inputs: Inputs) -> Asked:
    """The fluxes that are predicted at the asked times."""
    course = features.course(block.usable)
    settling = features.settle(course, features.SETTLING[inputs.time_step])
    there = block.usable & ~settling
    row, k = np.nonzero(there[:, steps])
    if not len(row):
        raise DataError(
            "no flux is predicted at these times: a driver is missing there or just before"
        )
    step = steps[k]
    return Asked(row, step, course.run[row, step].astype(np.int64))


def _mix(model: FluxModel, target: str) -> torch.Tensor:
    chosen = next(t for t in model.targets if t.name == target)
    mix = torch.zeros(ensemble.sizes_of(model.members).outputs)
    mix[chosen.plus] += 1.0
    if chosen.minus is not None:
        mix[chosen.minus] -= 1.0
    return mix


def _tell(answer: Answer, tolerance: float) -> None:
    worst = float(np.abs(answer.residual).max())
    if worst > tolerance:
        warn(
            f"contributions miss a flux by up to {worst:.3g}, more than the tolerance of "
            f"{tolerance:.3g}: look at the variable residual, or give a larger tolerance="
        )


def names_of(inputs: Inputs) -> tuple[tuple[str, ...], npt.NDArray[np.float64]]:
    """Names along ``driver``, and which column belongs to which, shape (width, names).

    A flag belongs to its driver; the sine and the cosine of the season are one.
    """
    columns = [*inputs.drivers, *inputs.derived, *inputs.optional]
    owners = ["season" if name.startswith("season_") else name for name in columns]
    names = tuple(dict.fromkeys(owners))
    return names, np.array([[owner == name for name in names] for owner in owners], dtype=float)


def _dress(
    run: Run,
    model: FluxModel,
    target: str,
    steps: npt.NDArray[np.int64],
    shape: tuple[int, ...],
    answer: Answer,
    place: npt.NDArray[np.int64],
) -> xr.Dataset:
    """A Dataset with the coordinates of the drivers; missing where no flux is predicted."""
    ds, inputs, layout = run.ds, model.inputs, run.task.plan.layout
    names, owner = names_of(inputs)
    each = [np.full(c.width, k) for k, c in enumerate(inputs.characteristics)]
    kind = np.concatenate(each) if each else np.zeros(0)
    groups = (kind[:, None] == np.arange(len(each))).astype(float)
    chosen = next(t for t in model.targets if t.name == target)
    word = metadata.STEP_WORDS[inputs.time_step]
    unit, what = chosen.units, chosen.long_name.split(",")[0]

    def variable(values: Array, text: str, *dims: str) -> xr.Variable:
        whole = np.full((int(np.prod(shape)) * len(steps), *values.shape[1:]), np.nan, np.float32)
        whole[place] = values
        whole = whole.reshape((*shape, len(steps), *values.shape[1:]))
        attrs = {"long_name": text.format(what), "units": unit}
        return xr.Variable((*layout, *dims), whole, attrs).transpose(*run.order, *dims)

    drivers = np.einsum("jlw,wn->jnl", answer.drivers, owner, optimize=True)
    fixed = answer.fixed @ groups
    variables = {
        target: variable(answer.flux, "{}"),
        f"{target}_at_baseline": variable(answer.baseline, "{} at the baseline"),
        "contribution": variable(drivers, "contribution of a driver to {}", "driver", "lag"),
        "characteristic_contribution": variable(
            fixed, "contribution of a characteristic to {}", "characteristic"
        ),
        "earlier": variable(answer.earlier, "contribution of all before the lags to {}"),
        "residual": variable(answer.residual, "what the contributions leave out of {}"),
    }
    there: Mapping[str, xr.DataArray] = {
        str(name): coord
        for name, coord in ds.isel({layout[-1]: steps}).coords.items()
        if {*map(str, coord.dims)} <= {*run.order}
    }
    lag = xr.Variable(
        "lag", np.arange(drivers.shape[2]), {"long_name": f"{word}s back", "units": word}
    )
    out = xr.Dataset(variables, there).assign_coords(
        driver=list(names), lag=lag, characteristic=[c.label for c in inputs.characteristics]
    )
    out.attrs = {"title": f"What made {what}", "source": run.source, "target": target}
    return metadata.ready_to_write(out)
