"""A world without labels: drivers of any entities, which what is known of fluxes is asked about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xflux.batches import ENTITY
from xflux.cf import timestep
from xflux.cf.entities import entity_labels, entity_values
from xflux.cf.schema import Schema, resolve
from xflux.errors import DataError, ModelError
from xflux.features import Inputs
from xflux.training.towers import Towers, load_drivers

SOME = 256
"""Entities of a world that are looked at in a round; a grid has many more than are needed."""

ROUNDS = 4
"""Rounds at most, until `SOME` entities with drivers are found."""


def read_world(world: xr.Dataset, inputs: Inputs, *, seed: int = 0) -> Towers:
    """Load some entities of a Dataset of drivers, for a training with other towers' labels.

    Parameters
    ----------
    world : xr.Dataset
        Towers or a grid, lazy or not; the entities that are loaded are drawn at random. Targets in
        it are not looked at.
    inputs : Inputs
        Of the training. Optional drivers and land cover may be absent.
    seed : int

    Returns
    -------
    Towers
        At most `SOME`, none with targets.

    Raises
    ------
    SchemaError
        A required driver or a characteristic is missing or not understood.
    ModelError
        The time step is another one.
    DataError
        No entity was found that has every required driver.
    """
    schema = resolve(world)
    names = tuple(name for name in inputs.drivers if name in schema.drivers)
    described = tuple(
        c.name for c in inputs.characteristics if not c.classes or c.name in schema.matches
    )
    needed = (*inputs.required, *names, *schema.disputed(inputs.drivers), *described, "lat")
    schema.require(needed, task="the world")
    if schema.time_step != inputs.time_step:
        raise ModelError(
            f"the world is {schema.time_step}, the towers are {inputs.time_step}: give a world of "
            f"{inputs.time_step} drivers"
        )
    sizes = [world.sizes[dim] for dim in schema.entity_dims]
    order = np.random.default_rng((seed, 2)).permutation(int(np.prod(sizes, dtype=np.int64)))
    found: list[Towers] = []
    for round_ in range(ROUNDS):
        chosen = np.sort(order[round_ * SOME : (round_ + 1) * SOME])
        if chosen.size and sum(len(part.labels) for part in found) < SOME:
            found.append(_read(_pick(world, schema, chosen), names, described, inputs))
    whole = _together(found)
    if not whole.labels:
        raise DataError(
            f"none of {min(order.size, ROUNDS * SOME)} entities of the world has every required "
            f"driver ({', '.join(inputs.required)}): leave the world out, or give one on land"
        )
    return whole.subset(np.arange(len(whole.labels)) < SOME)


def _pick(world: xr.Dataset, schema: Schema, chosen: np.ndarray) -> xr.Dataset:
    """Some entities along one dimension, whatever dimensions there were."""
    if not schema.entity_dims:
        return world
    sizes = tuple(world.sizes[dim] for dim in schema.entity_dims)
    where = np.unravel_index(chosen, sizes)
    points = {
        dim: xr.DataArray(index, dims=ENTITY)
        for dim, index in zip(schema.entity_dims, where, strict=True)
    }
    return world.isel(points)


def _read(
    some: xr.Dataset, names: tuple[str, ...], described: tuple[str, ...], inputs: Inputs
) -> Towers:
    schema = resolve(some)
    values: Mapping[str, Any] = load_drivers(some, schema, names)
    statics = {name: entity_values(some, schema, name) for name in (*described, "lat")}
    labels = entity_labels(some, schema.entity_dims)
    time = some[schema.time]
    present = np.ones((len(labels), time.size), dtype=bool)
    for name in inputs.required:
        present &= np.isfinite(values[name])
    missing = np.full((len(labels), time.size), np.nan, dtype=np.float32)
    classes = {c.name: np.full(len(labels), "") for c in inputs.characteristics if c.classes}
    towers = Towers(
        time_step=inputs.time_step,
        drivers={name: values.get(name, missing) for name in inputs.drivers},
        characteristics={**classes, **{name: statics[name] for name in described}},
        targets=np.repeat(missing[..., None], 3, axis=-1),
        latitude=np.asarray(statics["lat"], dtype=np.float32),
        longitude=np.full(len(labels), np.nan, dtype=np.float32),
        year_fraction=timestep.year_fraction(time, inputs.time_step).astype(np.float32),
        labels=labels,
        period=(str(time.values[0])[:10], str(time.values[-1])[:10]),
    )
    return towers.subset(np.asarray(present.any(axis=1)))


def _together(parts: list[Towers]) -> Towers:
    """The entities of all parts, which share everything else."""
    first = parts[0]
    return Towers(
        time_step=first.time_step,
        drivers={n: np.concatenate([p.drivers[n] for p in parts]) for n in first.drivers},
        characteristics={
            n: np.concatenate([p.characteristics[n] for p in parts]) for n in first.characteristics
        },
        targets=np.concatenate([p.targets for p in parts]),
        latitude=np.concatenate([p.latitude for p in parts]),
        longitude=np.concatenate([p.longitude for p in parts]),
        year_fraction=first.year_fraction,
        labels=tuple(label for part in parts for label in part.labels),
        period=first.period,
    )
