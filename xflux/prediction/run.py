"""A prediction understood and not begun: what goes into its blocks, and what comes out of them.

All checks are made here, on names and metadata; nothing is computed.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from xflux import features
from xflux.cf import metadata, timestep
from xflux.cf.entities import without_time
from xflux.cf.schema import Match, Schema
from xflux.cf.targets import CARBON, Target
from xflux.cf.variables import BY_NAME
from xflux.errors import ModelError, warn
from xflux.features import Inputs
from xflux.prediction import ensemble, state
from xflux.prediction.blocks import Plan, Task
from xflux.prediction.calibration import Extra
from xflux.prediction.ensemble import Members
from xflux.training.towers import warn_derived


@dataclass(frozen=True, kw_only=True)
class Run:
    """A prediction that is understood and not begun: what its blocks need, and what comes out.

    Attributes
    ----------
    ds : xr.Dataset
    schema : Schema
    task : Task
    drivers, statics : list of xr.Variable
        In the plan's order, as they are in the Dataset.
    initial : dict of str to array, or None
        The state to go on from, of numpy or dask.
    source, version : str
        For the result's metadata.
    context : array, optional
        What the model knows of each entity before the run, (entity dims..., Q), of numpy or dask;
        it is the last of ``statics`` too.
    """

    ds: xr.Dataset
    schema: Schema
    task: Task
    drivers: list[xr.Variable]
    statics: list[xr.Variable]
    initial: dict[str, Any] | None
    source: str
    version: str
    context: Any = None

    @property
    def lazy(self) -> bool:
        """Whether a driver is a dask array."""
        return any(array.chunks is not None for array in self.drivers)

    @property
    def order(self) -> tuple[str, ...]:
        """Dimensions of a predicted flux, in their order."""
        first = self.ds[self.task.plan.drivers[0].variable]
        members = ("realization",) if self.task.plan.members else ()
        return (*members, *map(str, first.dims))

    def fluxes(self, arrays: Sequence[Any]) -> xr.Dataset:
        """Dress arrays of ([realization,] entity dims..., time), one for each of the task's names.

        They get the dims, order and coordinates of the drivers, and metadata of their own.
        """
        return _dress(self, arrays)

    def state(self, arrays: Mapping[str, Any]) -> xr.Dataset:
        """Dress the arrays of a state."""
        task = self.task
        known = {} if self.context is None else {state.CONTEXT: self.context}
        whole = {**known, **arrays}
        return state.to_dataset(
            self.ds, self.schema, task.plan.inputs, task.weights, whole, version=self.version
        )


def prepare(
    ds: xr.Dataset,
    schema: Schema,
    inputs: Inputs,
    weights: Members,
    *,
    source: str,
    version: str,
    targets: tuple[Target, ...] = CARBON,
    members: bool = False,
    device: str = "cpu",
    precision: str = "float32",
    initial_state: xr.Dataset | None = None,
    keep_state: bool = False,
    extra: Extra | None = None,
) -> Run:
    """Check all that a prediction needs, before anything is computed.

    Parameters
    ----------
    ds : xr.Dataset
        Drivers and characteristics; never changed.
    schema : Schema
        What was understood of it.
    inputs : Inputs
        What the model takes.
    weights : Members
    source, version : str
        For the result's metadata.
    targets : tuple of Target
        What the model predicts: GPP, Reco and NEE unless it was tuned to something else.
    members : bool
        Give every member along ``realization`` in place of mean and spread.
    device, precision : str
    initial_state : xr.Dataset, optional
        The state that an earlier prediction ended with, one step before these.
    keep_state : bool
        Give the state at the end.
    extra : Extra, optional
        What is wanted beside the fluxes.

    Raises
    ------
    SchemaError, ModelError
    """
    _check_free(ds, extra)
    if members and "realization" in ds.variables.keys() | set(ds.dims):
        raise ModelError(
            "members=True gives the members along 'realization', which the Dataset has already: "
            'ds = ds.rename(realization="run")'
        )
    ensemble.choice_of(weights, device, precision)  # refuses what there is not, before all else
    plan = plan_of(ds, schema, inputs, members, device, precision)
    initial = None
    if initial_state is not None or keep_state:
        state.check_names(ds, schema)
    if initial_state is not None:
        initial = state.read(initial_state, ds, schema, inputs, weights)
    drivers, statics = arrays_of(ds, schema, plan)
    task = replace(task_of(ds, schema, plan, weights, statics), targets=targets, extra=extra)
    return Run(
        ds=ds,
        schema=schema,
        task=task,
        drivers=drivers,
        statics=statics,
        initial=initial,
        source=source,
        version=version,
    )


def _check_free(ds: xr.Dataset, extra: Extra | None) -> None:
    """Dimensions of the result must not be there already."""
    if extra is not None and extra.quantiles and "quantile" in ds.variables.keys() | set(ds.dims):
        raise ModelError(
            "quantiles= lie along 'quantile', which the Dataset has already: "
            'ds = ds.rename(quantile="level")'
        )


def task_of(
    ds: xr.Dataset, schema: Schema, plan: Plan, weights: Members, statics: list[xr.Variable]
) -> Task:
    """What is the same for all blocks of a Dataset."""
    time, step = ds[schema.time], plan.inputs.time_step
    return Task(
        plan=plan,
        dims=(*plan.dims, *(tuple(map(str, v.dims)) for v in statics)),
        weights=weights,
        days=timestep.step_days(time, step),
        fraction=timestep.year_fraction(time, step).astype(np.float32),
    )


def plan_of(
    ds: xr.Dataset, schema: Schema, inputs: Inputs, members: bool, device: str, precision: str
) -> Plan:
    """What a model takes from a Dataset.

    Raises
    ------
    SchemaError, ModelError
        Something is missing, or the time step is another one.
    """
    present = tuple(name for name in inputs.drivers if name in schema.drivers)
    known = [
        c.name
        for c in inputs.characteristics
        if not c.classes or c.name in schema.matches or c.name in schema.problems
    ]
    needed = [*inputs.required, *known, "lat"]
    schema.require([*needed, *present, *schema.disputed(inputs.drivers)], task="prediction")
    used = [name for name in present if name in schema.matches]
    if schema.time_step != inputs.time_step:
        raise ModelError(_other_step(schema, inputs))
    missing = [name for name in inputs.optional if name not in present]
    missing += [c.name for c in inputs.characteristics if c.name not in known]
    if missing:
        warn(
            f"predicting without {', '.join(missing)}: the model can, with less skill (its card "
            "says how much); give them where you have them",
        )
    derived = tuple(name for name in present if name in schema.derivable)
    if derived:
        warn_derived(schema)
    raw = dict.fromkeys((*used, *(s for name in derived for s in schema.derivable[name])))
    statics = dict.fromkeys((*known, "lat"))
    drivers = tuple(schema.matches[name] for name in raw)
    fixed = tuple(schema.matches[name] for name in statics)
    assert schema.time_dim is not None
    return Plan(
        inputs=inputs,
        drivers=drivers,
        statics=fixed,
        dims=tuple(tuple(map(str, ds[m.variable].dims)) for m in drivers),
        layout=(*schema.entity_dims, schema.time_dim),
        derived=derived,
        members=members,
        device=device,
        precision=precision,
    )


def _other_step(schema: Schema, inputs: Inputs) -> str:
    finer = {"sub-daily": 0, "daily": 1, "weekly": 2, "monthly": 3, "yearly": 4}
    text = f"the model is {inputs.time_step}, the Dataset is {schema.time_step}"
    if finer.get(str(schema.time_step), 0) < finer[inputs.time_step]:
        return f"{text}: {timestep.drivers_line(str(schema.time_step), inputs.time_step)}"
    other = f' or model = xflux.load_model("{schema.time_step}")'
    return f"{text}: give {inputs.time_step} drivers," + (
        other if schema.time_step in timestep.RESAMPLE else " or another model"
    )


def arrays_of(
    ds: xr.Dataset, schema: Schema, plan: Plan
) -> tuple[list[xr.Variable], list[xr.Variable]]:
    """The drivers as they are, and the characteristics without time."""
    chosen = xr.Dataset({match.variable: ds[match.variable].variable for match in plan.drivers})
    if any(array.chunks is not None for array in chosen.variables.values()):
        chosen = chosen.unify_chunks()
    drivers = [chosen[match.variable].variable for match in plan.drivers]
    statics = []
    for match in plan.statics:
        statics.append(without_time(ds, schema, match.name).variable)
    _warn_unknown(plan, statics)
    return drivers, statics


def _warn_unknown(plan: Plan, statics: list[xr.Variable]) -> None:
    """Say which categories the model has never seen, where they are in memory."""
    for match, array in zip(plan.statics, statics, strict=True):
        item = next((c for c in plan.inputs.characteristics if c.name == match.name), None)
        if item is None or not item.classes or array.chunks is not None:
            continue
        seen = {*item.classes, "WAT", "", "nan", "None"}
        unknown = sorted({*features.as_text(np.asarray(array.values)).ravel().tolist()} - seen)
        if unknown:
            warn(
                f"{match.variable!r} has classes that the model has not seen "
                f"({', '.join(map(str, unknown[:8]))}); it predicts there as for an unknown class",
            )


def _dress(run: Run, fluxes: Sequence[Any]) -> xr.Dataset:
    ds, schema, task, wanted = run.ds, run.schema, run.task, run.order
    plan = task.plan
    grid, time = len(schema.entity_dims) > 1, str(schema.time_dim)
    first = ds[plan.drivers[0].variable]
    mapping = first.attrs.get("grid_mapping", first.encoding.get("grid_mapping"))
    kept = metadata.companions(ds, [first])
    attributes = metadata.output_attributes(task.names, task.targets, grid=grid, time=time)
    if "dissimilarity" in attributes and task.extra is not None:
        reference = task.extra.calibration.reference
        attributes["dissimilarity"]["applicable_up_to"] = getattr(reference, "threshold", np.nan)
    variables = {}
    for output, flux in zip(task.outputs, fluxes, strict=True):
        order = (*output.lead, *map(str, first.dims))
        variable = xr.Variable((*output.lead, *plan.layout), flux).transpose(*order)
        variable.attrs = attributes[output.name]
        if mapping in kept:
            variable.attrs["grid_mapping"] = mapping
        variables[output.name] = variable
    keep = set(wanted)
    coords = {n: c for n, c in ds.coords.items() if set(map(str, c.dims)) <= keep}
    coords |= {n: ds[n].variable for n in kept if n not in coords}
    out = xr.Dataset(variables, coords=xr.Coordinates(coords, indexes=_indexes(ds, coords)))
    if task.extra is not None and task.extra.quantiles:
        levels = np.asarray(task.extra.quantiles)
        out = out.assign_coords(quantile=("quantile", levels, metadata.quantile_coordinate()))
    if plan.members:
        out = out.assign_coords(
            realization=xr.Variable(
                "realization",
                np.arange(len(fluxes[0]), dtype=np.int32),
                {
                    "standard_name": "realization",
                    "long_name": "member of the ensemble",
                    "units": "1",
                },
            )
        )
    out.attrs = metadata.dataset_attributes(
        ds.attrs,
        source=run.source,
        model=task.weights.sha256,
        version=run.version,
        targets=task.targets,
        converted=[_converted(m) for m in plan.drivers if m.conversion != (1.0, 0.0, False)],
    )
    return metadata.ready_to_write(out)


def _converted(match: Match) -> str:
    return f"{match.variable} from {match.units} to {BY_NAME[match.name].units}"


def _indexes(ds: xr.Dataset, coords: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    return {name: index for name, index in ds.xindexes.items() if name in coords}
