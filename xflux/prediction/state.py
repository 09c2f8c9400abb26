"""The state at the end of a prediction as a Dataset: written, read back, checked, gone on from."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xflux import features
from xflux.cf import metadata, timestep
from xflux.cf.schema import Schema
from xflux.errors import ModelError
from xflux.features import Inputs
from xflux.prediction.carried import VARIABLES, Layout
from xflux.prediction.ensemble import Members, sizes_of, unpack

CONTEXT = "context"
"""The variable of a state for models that know something of an entity before they run."""

LONG_NAMES = {
    CONTEXT: "what the model knew of the entity before the run, as constant columns",
    "hidden_state": "hidden state of the LSTM",
    "cell_state": "cell state of the LSTM",
    "driver_sums": "decaying sums of the normalised drivers, for running means",
    "recent_drivers": "last values of the drivers in the units of xflux, for short gaps",
    "run_length": "steps of the unbroken stretch that ends here, 0 where the last step was a gap",
    "interrupted": "whether there was a gap inside the series",
}

OWN_DIMS = ("member", "unit", "span", "driver", "lag", "column")
"""Dimensions of a state beside those of entities."""


def layouts(weights: Members) -> dict[str, Layout]:
    """The variables of a state of these members."""
    if not sizes_of(weights).context:
        return VARIABLES
    return {**VARIABLES, CONTEXT: Layout((), ("column",), np.float32)}


def step_of(state: object) -> str | None:
    """The time step of a state, if it is one and says so."""
    found = state.attrs.get("time_step") if isinstance(state, xr.Dataset) else None
    return str(found) if found in features.GAP_LIMIT else None


def check_names(ds: xr.Dataset, schema: Schema) -> None:
    """Refuse names of the Dataset that a state has for itself.

    Raises
    ------
    ModelError
    """
    names = {*schema.entity_dims, *_entity_coords(ds, schema), str(schema.time)}
    taken = sorted(names & {*OWN_DIMS, *VARIABLES})
    if taken:
        raise ModelError(
            f"a state has a {taken[0]!r} of its own, and so has the Dataset: "
            f'ds = ds.rename({taken[0]}="{taken[0]}_")'
        )


def _entity_coords(ds: xr.Dataset, schema: Schema) -> list[str]:
    """Coordinates that tell entities apart: indexes, latitude and longitude."""
    space = set(schema.entity_dims)
    places = {schema.matches[name].variable for name in ("lat", "lon") if name in schema.matches}
    return [
        str(name)
        for name, array in ds.coords.items()
        if set(map(str, array.dims)) <= space and (name in ds.xindexes or name in places)
    ]


def to_dataset(
    ds: xr.Dataset,
    schema: Schema,
    inputs: Inputs,
    weights: Members,
    arrays: Mapping[str, Any],
    *,
    version: str,
) -> xr.Dataset:
    """Put a state into a Dataset that can be written to netCDF or zarr.

    Parameters
    ----------
    ds : xr.Dataset
        The drivers: entities and the time of the last step are taken from it.
    schema : Schema
    inputs : Inputs
    weights : Members
    arrays : mapping of str to array
        With the dimensions of `xflux.prediction.carried.VARIABLES`, of numpy or dask.
    version : str

    Returns
    -------
    xr.Dataset
        The variables of a state, the coordinates of the entities, and as a scalar coordinate the
        time of the last step.
    """
    space = schema.entity_dims
    assert schema.time is not None and schema.time_dim is not None
    variables = {
        name: xr.Variable(
            (*before, *space, *after), arrays[name], {"long_name": LONG_NAMES[name], "units": "1"}
        )
        for name, (before, after, _) in layouts(weights).items()
    }
    del variables["recent_drivers"].attrs["units"]
    coords: dict[Hashable, Any] = {name: ds.coords[name] for name in _entity_coords(ds, schema)}
    indexes = {name: index for name, index in ds.xindexes.items() if name in coords}
    out = xr.Dataset(variables, coords=xr.Coordinates(coords, indexes=indexes))
    limit = features.GAP_LIMIT[inputs.time_step]
    spans = np.asarray(unpack(weights)[0].get("running.spans", np.zeros(0)))
    out = out.assign_coords(
        {
            schema.time: ds[schema.time].variable[-1],
            "driver": ("driver", np.array(inputs.drivers, dtype=object)),
            "span": ("span", spans, {"long_name": "span of a running mean", "units": "1"}),
            "lag": (
                "lag",
                np.arange(limit, dtype=np.int32)[::-1],
                {"long_name": "steps before the last one", "units": "1"},
            ),
        }
    )
    out.attrs = {
        "Conventions": metadata.CONVENTIONS,
        "title": "State of a prediction of carbon fluxes, to go on from with initial_state=",
        "time_step": inputs.time_step,
        "xflux_version": version,
        "xflux_model_sha256": weights.sha256,
    }
    return metadata.ready_to_write(out)


def read(
    state: object, ds: xr.Dataset, schema: Schema, inputs: Inputs, weights: Members
) -> dict[str, Any]:
    """Check that a state belongs before a Dataset, and give its arrays.

    Parameters
    ----------
    state : xr.Dataset
        As `to_dataset` made it, also after it was written and read.
    ds : xr.Dataset
        The drivers that follow.
    schema : Schema
    inputs : Inputs
    weights : Members

    Returns
    -------
    dict of str to array
        With the dimensions of `xflux.prediction.carried.VARIABLES`, of numpy or dask.

    Raises
    ------
    ModelError
        It is no state, of another model, of other entities, or not of the step before these.
    """
    state = _checked(state, schema, inputs, weights)
    _check_entities(state, ds, schema)
    _check_time(state, ds, schema, inputs)
    if tuple(map(str, state["driver"].values)) != inputs.drivers:
        raise ModelError("the drivers of initial_state= are not those of the model: make it anew")
    found = {}
    for name, (before, after, dtype) in layouts(weights).items():
        array = state[name].variable.transpose(*before, *schema.entity_dims, *after)
        found[name] = array.data if array.chunks is not None else np.asarray(array.values, dtype)
    return found


def _checked(state: object, schema: Schema, inputs: Inputs, weights: Members) -> xr.Dataset:
    needed = {*layouts(weights), "driver", str(schema.time)}
    if not isinstance(state, xr.Dataset) or not needed <= set(map(str, state.variables)):
        found = type(state).__name__
        if isinstance(state, xr.Dataset):
            absent = sorted(needed - set(map(str, state.variables)))
            found = f"a Dataset without {', '.join(absent)}"
        raise ModelError(
            f"initial_state= takes the state of an earlier prediction, not {found}: "
            "fluxes, state = ds.flux.predict(model, return_state=True)"
        )
    model = str(state.attrs.get("xflux_model_sha256", "none"))
    if model != weights.sha256:
        raise ModelError(
            f"initial_state= is of another model (sha256 {model[:12]}) than the one that predicts "
            f"({weights.sha256[:12]}): a state means nothing to other weights; predict with that "
            "model, or from the start without initial_state="
        )
    sizes = sizes_of(weights)
    own = (sizes.members, sizes.hidden, sizes.spans, sizes.averaged)
    wanted = {**dict(zip(OWN_DIMS, own, strict=False)), "lag": features.GAP_LIMIT[inputs.time_step]}
    wanted["column"] = sizes.context
    for name, (before, after, _) in layouts(weights).items():
        shape = {dim: wanted[dim] for dim in (*before, *after)}
        dims = {*shape, *schema.entity_dims}
        array = state[name]
        if set(array.dims) != dims or any(array.sizes[dim] != n for dim, n in shape.items()):
            raise ModelError(
                f"{name!r} of initial_state= has dims {dict(array.sizes)}, expected "
                f"{', '.join(schema.entity_dims) or 'no dimension'} of the Dataset and {shape}: "
                "give the whole state, and rename its dimensions as you do those of the drivers"
            )
    return state


def _check_entities(state: xr.Dataset, ds: xr.Dataset, schema: Schema) -> None:
    for dim in schema.entity_dims:
        same = state.sizes[dim] == ds.sizes[dim]
        if same and dim in state.indexes and dim in ds.indexes:
            same = _equal(state.indexes[dim].values, ds.indexes[dim].values)
        if not same:
            raise ModelError(
                f"the entities of initial_state= along {dim!r} ({state.sizes[dim]}) are not those "
                f"of the Dataset ({ds.sizes[dim]}), or in another order: "
                f'state = state.sel({dim}=ds["{dim}"]) where all of them are in it'
            )


def _equal(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
    if a.dtype.kind == "f" and b.dtype.kind == "f":
        return bool(np.allclose(a, b, rtol=1e-6, atol=1e-6))
    return (
        bool((a.astype(str) == b.astype(str)).all()) if a.dtype != b.dtype else bool((a == b).all())
    )


def _check_time(state: xr.Dataset, ds: xr.Dataset, schema: Schema, inputs: Inputs) -> None:
    """The first step must be the one after the state's."""
    last, first, second = state[schema.time], ds[schema.time][:1], ds[schema.time][1:2]
    if second.size and not timestep.follows(first, second, inputs.time_step):
        raise ModelError(
            f"the model is {inputs.time_step}, and {schema.time!r} goes from {first.values[0]} to "
            f"{second.values[0]}: give {inputs.time_step} drivers without gaps between times"
        )
    if last.size == 1 and first.size == 1 and timestep.follows(last, first, inputs.time_step):
        return
    there = str(last.values)
    raise ModelError(
        f"initial_state= ends at {there}, and the Dataset begins at {first.values[0]}, not one "
        f"{'month' if inputs.time_step == 'monthly' else 'day'} later: give the steps that follow, "
        f"ds = ds.sel({schema.time}=slice(...)), or ds = ds.resample(...).asfreq() for a gap"
    )
