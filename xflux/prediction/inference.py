"""Prediction of any layout of entities, eager or lazy, from the start or from a state.

`predict_block` takes a block of the input's own arrays to fluxes: units, ranges, gaps, derived
drivers, normalisation, all members, mean and spread. Eager data are walked in blocks of whole
series; dask data become one task a block, in the chunks that they have, and nothing is computed
before.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xflux import features
from xflux.cf import metadata, timestep
from xflux.cf.entities import entity_labels, without_time
from xflux.cf.schema import Match, Schema
from xflux.cf.targets import CARBON, Target
from xflux.cf.variables import BY_NAME
from xflux.errors import ModelError, warn
from xflux.features import Array, Inputs, Mask
from xflux.prediction import state
from xflux.prediction.blocks import Plan, Task, cells_at_once, predict_block, to_layout, unmasked
from xflux.prediction.carried import VARIABLES, Dense, from_dense
from xflux.prediction.ensemble import Members
from xflux.prediction.streaming import lazy, state_sizes
from xflux.training.towers import to_step, warn_derived


def predict(
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
    initial_state: xr.Dataset | None = None,
    keep_state: bool = False,
) -> tuple[xr.Dataset, xr.Dataset | None]:
    """Predict the targets of a model for every entity and step of a Dataset.

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
    device : str
    initial_state : xr.Dataset, optional
        The state that an earlier prediction ended with, one step before these.
    keep_state : bool
        Give the state at the end.

    Returns
    -------
    fluxes : xr.Dataset
        The targets and their ``_std``, of GPP, Reco and NEE in g m-2 d-1, with the dims,
        coordinates and calendar of the drivers; lazy where the drivers are.
    state : xr.Dataset or None

    Raises
    ------
    SchemaError, ModelError, DataError
    """
    if members and "realization" in ds.variables.keys() | set(ds.dims):
        raise ModelError(
            "members=True gives the members along 'realization', which the Dataset has already: "
            'ds = ds.rename(realization="run")'
        )
    plan = _plan(ds, schema, inputs, members, device)
    initial = None
    if initial_state is not None or keep_state:
        state.check_names(ds, schema)
    if initial_state is not None:
        initial = state.read(initial_state, ds, schema, inputs, weights)
    drivers, statics = _arrays(ds, schema, plan)
    time = ds[schema.time]
    task = Task(
        plan=plan,
        dims=(*plan.dims, *(tuple(map(str, v.dims)) for v in statics)),
        weights=weights,
        days=timestep.step_days(time, inputs.time_step),
        fraction=timestep.year_fraction(time, inputs.time_step).astype(np.float32),
        targets=targets,
    )
    if any(array.chunks is not None for array in drivers):
        fluxes, kept = lazy(task, drivers, statics, initial=initial, keep=keep_state)
    else:
        fluxes, kept = _eager(task, drivers, statics, initial, keep_state)
        if initial is None:
            _warn_absent(plan, lambda: entity_labels(ds, schema.entity_dims), drivers, fluxes[0])
    out = _dress(ds, schema, task, fluxes, source, version)
    if kept is None:
        return out, None
    return out, state.to_dataset(ds, schema, inputs, weights, kept, version=version)


def _plan(ds: xr.Dataset, schema: Schema, inputs: Inputs, members: bool, device: str) -> Plan:
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
        raise ModelError(_other_step(ds, schema, inputs))
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
    )


def _other_step(ds: xr.Dataset, schema: Schema, inputs: Inputs) -> str:
    finer = {"sub-daily": 0, "daily": 1, "weekly": 2, "monthly": 3, "yearly": 4}
    text = f"the model is {inputs.time_step}, the Dataset is {schema.time_step}"
    if finer.get(str(schema.time_step), 0) < finer[inputs.time_step]:
        return f"{text}: {to_step(ds, schema, inputs.time_step)}"
    other = f' or model = xflux.load_model("{schema.time_step}")'
    return f"{text}: give {inputs.time_step} drivers," + (
        other if schema.time_step in timestep.RESAMPLE else " or another model"
    )


def _arrays(
    ds: xr.Dataset, schema: Schema, plan: Plan
) -> tuple[list[xr.Variable], list[xr.Variable]]:
    """The drivers as they are, and the characteristics without time."""
    chosen = ds[list(dict.fromkeys(match.variable for match in plan.drivers))]
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


def _eager(
    task: Task,
    drivers: list[xr.Variable],
    statics: list[xr.Variable],
    initial: Mapping[str, Any] | None,
    keep: bool,
) -> tuple[list[Array], Dense | None]:
    """Walk the first entity dimension in slabs; files that are not dask are read slab by slab."""
    layout = task.plan.layout
    sizes = {str(dim): size for v in drivers for dim, size in v.sizes.items()}
    own = state_sizes(task)
    lead = (own["member"],) if task.plan.members else ()
    shape = (*lead, *(sizes[dim] for dim in layout))
    fluxes = [np.full(shape, np.nan, dtype=np.float32) for _ in task.names]
    entity_dims = layout[:-1]
    dense = {
        name: np.empty([{**sizes, **own}[dim] for dim in (*before, *entity_dims, *after)], dtype)
        for name, (before, after, dtype) in VARIABLES.items()
    }
    begin = {name: np.asarray(array) for name, array in (initial or {}).items()}
    across = int(np.prod([sizes[dim] for dim in entity_dims[1:]], dtype=np.int64))
    first = sizes[entity_dims[0]] if entity_dims else 1
    slab = max(1, cells_at_once(sizes[layout[-1]]) // max(across, 1))
    for start in range(0, first, slab):
        here = slice(start, start + slab)
        pick = {entity_dims[0]: here} if entity_dims else {}
        values = [
            np.asarray(v.isel({d: s for d, s in pick.items() if d in v.dims}).values)
            for v in (*drivers, *statics)
        ]
        part = {n: (slice(None),) * len(v.before) + (here,) for n, v in VARIABLES.items()}
        part = part if entity_dims else dict.fromkeys(part, (Ellipsis,))
        before = from_dense({n: begin[n][part[n]] for n in VARIABLES}) if begin else None
        found, after = predict_block(values, task=task, before=before, keep=keep)
        where = (slice(None),) * len(lead) + (here,) if entity_dims else (Ellipsis,)
        for flux, block in zip(fluxes, found, strict=True):
            flux[where] = block
        if after is not None:
            for name, array in after.dense(found[0].shape[len(lead) : -1]).items():
                dense[name][part[name]] = array
    return fluxes, dense if keep else None


def _warn_absent(
    plan: Plan, labels: Callable[[], Sequence[str]], drivers: list[xr.Variable], flux: Array
) -> None:
    """Say where a driver has no value: no prediction there, or one that does without it.

    A driver is looked at only where it could matter: those seen from space always, the others when
    an entity has no prediction at all; entities are named only when there is something to say.
    """
    first = flux[0] if plan.members else flux
    sizes = dict(zip(plan.layout, first.shape, strict=True))
    predicted = np.isfinite(first).reshape(-1, first.shape[-1])
    nothing = ~predicted.any(axis=-1)
    if not predicted.size:
        return

    def present(k: int) -> Mask:
        values = unmasked(np.asanyarray(drivers[k].values))
        finite = np.isfinite(to_layout(values, plan.dims[k], plan.layout, sizes))
        return finite.reshape(predicted.shape)

    land = np.zeros_like(nothing)
    for k, match in enumerate(plan.drivers):
        if nothing.any() and match.name in plan.inputs.required:
            land |= present(k).any(axis=-1)
    for k, match in enumerate(plan.drivers):
        if match.name in features.CLOUDED:
            _warn_without(plan, match, labels, predicted & ~present(k))
        elif (nothing & land).any():
            gone = np.flatnonzero(nothing & land & ~present(k).any(axis=-1))
            if gone.size:
                warn(
                    f"{match.variable!r} ({match.name}) has no value at {gone.size} entities "
                    f"({_named(labels(), gone)}): there is no prediction for them; give it, or "
                    f'predict them without, ds.drop_vars("{match.variable}")',
                )


def _warn_without(
    plan: Plan, match: Match, labels: Callable[[], Sequence[str]], without: Mask
) -> None:
    """Say where a driver that is seen from space has gaps longer than those that are bridged."""
    if not without.any():
        return
    present = np.where(without, np.float32(np.nan), np.float32(0))
    limit = features.GAP_LIMIT[plan.inputs.time_step]
    left = ~np.isfinite(features.bridge_gaps(present, limit))
    where = np.flatnonzero(left.any(axis=-1))
    if where.size:
        warn(
            f"{match.variable!r} ({match.name}) is missing at {int(left.sum())} steps of "
            f"{where.size} entities ({_named(labels(), where)}): predicted without it there, with "
            "less skill",
        )


def _named(labels: Sequence[str], where: npt.NDArray[np.intp]) -> str:
    return ", ".join(labels[i] for i in where[:8]) + (", ..." if where.size > 8 else "")


def _dress(
    ds: xr.Dataset,
    schema: Schema,
    task: Task,
    fluxes: list[Any],
    source: str,
    version: str,
) -> xr.Dataset:
    """Give the result the drivers' dims, order and coordinates, and metadata of its own."""
    plan, names = task.plan, task.names
    first = ds[plan.drivers[0].variable]
    order = [str(dim) for dim in first.dims]
    dims = (("realization",) if plan.members else ()) + plan.layout
    wanted = (("realization",) if plan.members else ()) + tuple(order)
    grid = len(schema.entity_dims) > 1
    variables = {}
    known = {target.name: target for target in task.targets}
    for name, flux in zip(names, fluxes, strict=True):
        variable = xr.Variable(dims, flux).transpose(*wanted)
        if name in known:
            spread = f"{name}_std" in names
            variable.attrs = metadata.flux_attributes(known[name], grid=grid, spread=spread)
        else:
            target = known[name.removesuffix("_std")]
            variable.attrs = metadata.spread_attributes(target, grid=grid)
        variables[name] = variable
    keep = set(wanted)
    coords = {n: c for n, c in ds.coords.items() if set(map(str, c.dims)) <= keep}
    out = xr.Dataset(variables, coords=xr.Coordinates(coords, indexes=_indexes(ds, coords)))
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
        source=source,
        model=task.weights.sha256,
        version=version,
        targets=task.targets,
        converted=[_converted(m) for m in plan.drivers if m.conversion != (1.0, 0.0, False)],
    )
    return metadata.ready_to_write(out)


def _converted(match: Match) -> str:
    return f"{match.variable} from {match.units} to {BY_NAME[match.name].units}"


def _indexes(ds: xr.Dataset, coords: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    return {name: index for name, index in ds.xindexes.items() if name in coords}
