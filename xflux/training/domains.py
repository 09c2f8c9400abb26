"""What MetaFlux asks of towers: which are its target domain, and a scaling of their own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from xflux import features
from xflux.cf.entities import entity_labels, entity_values
from xflux.cf.schema import Schema
from xflux.errors import ModelError, warn
from xflux.features import Array, Inputs, Mask
from xflux.training.towers import Towers

TROPIC = 23.44
"""Degrees: between the tropics where no climate is given."""


def target_entities(ds: xr.Dataset, schema: Schema, said: str) -> Mask:
    """Which entities of a Dataset are the target domain, shape (N,), in the order of its entities.

    Parameters
    ----------
    ds : xr.Dataset
    schema : Schema
    said : str
        A variable that is true there; where empty, entities of a tropical climate are the target
        (``climate`` begins with "Tropical" or, after Köppen, with "A"), and where no climate is
        given those between the tropics.

    Raises
    ------
    ModelError
        There is no such variable, or it is not one of true and false for each entity.
    """
    if said:
        return _said(ds, schema, said)
    if "climate" in schema.matches:
        return tropical(entity_values(ds, schema, "climate"))
    return np.abs(np.asarray(entity_values(ds, schema, "lat"), dtype=np.float64)) < TROPIC


def tropical(climate: npt.NDArray[np.generic]) -> Mask:
    """Which climates are tropical, by name or by their class after Köppen.

    Examples
    --------
    >>> tropical(np.array(["Tropical", "Arid", "Aw", "Cfb"])).tolist()
    [True, False, True, False]
    """
    text = features.as_text(climate)
    koeppen = np.char.str_len(text) <= 3
    return np.char.startswith(text, "Tropical") | (koeppen & np.char.startswith(text, "A"))


def _said(ds: xr.Dataset, schema: Schema, said: str) -> Mask:
    sizes = {dim: ds.sizes[dim] for dim in schema.entity_dims}
    line = f'ds["{said}"] = ds.climate == "Tropical"'
    if said not in ds.variables:
        raise ModelError(f"target={said!r} is no variable of the Dataset: {line}")
    array = ds[said].variable
    values = np.asarray(array.values) if set(array.dims) <= set(sizes) else np.zeros(1)
    if not set(array.dims) <= set(sizes) or not np.isin(values, (0, 1)).all():
        raise ModelError(
            f"target={said!r} must be true or false for each entity, found {array.dtype} over "
            f"{tuple(map(str, array.dims))}: {line}"
        )
    missing = {dim: size for dim, size in sizes.items() if dim not in array.dims}
    full = array.set_dims({**missing, **dict(zip(array.dims, array.shape, strict=True))})
    return np.asarray(full.transpose(*sizes).values).reshape(-1).astype(bool)


def with_target(towers: Towers, chosen: Mapping[str, bool] | None) -> Mask:
    """The target domain among towers that were read, shape (N,).

    ``chosen`` tells it by label; without, towers between the tropics are the target.
    """
    if chosen is None:
        target = np.abs(towers.latitude) < TROPIC
    else:
        target = np.array([chosen[label] for label in towers.labels])
    if target.all() or not target.any():
        warn(
            f"{'all' if target.all() else 'none'} of the {len(target)} entities are in the target "
            "domain of MetaFlux (the tropics): each of them is taken for both base and target; "
            'say which are the target, settings={"target": "a variable that is true there"}, or '
            'make every entity a task of its own, settings={"tasks": "towers"}',
        )
    return target


def by_label(ds: xr.Dataset, schema: Schema, target: Mask) -> dict[str, bool]:
    """The target domain by the labels of entities."""
    labels = entity_labels(ds, schema.entity_dims)
    return dict(zip(labels, target.tolist(), strict=True))


def entity_scaling(drivers: Mapping[str, Array], inputs: Inputs) -> Array:
    """Mean and standard deviation of each driver over the series of each entity, (N, 2 D).

    Parameters
    ----------
    drivers : mapping of str to numpy.ndarray
        Shape (N, T) each, in xflux's units; what is missing does not count.
    inputs : Inputs
        The result is in normalised units, as the drivers that a network sees.
    """
    mean, spread = [], []
    for name in inputs.drivers:
        values = drivers[name].astype(np.float64)
        there = np.isfinite(values)
        count = there.sum(axis=1)
        total = np.where(there, values, 0.0).sum(axis=1)
        mean.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
        error = np.where(there, values - mean[-1][:, None], 0.0)
        spread.append(np.sqrt(np.square(error).sum(axis=1) / np.maximum(count, 1)))
    return normalised_scaling(np.stack(mean, axis=-1), np.stack(spread, axis=-1), inputs)


def normalised_scaling(
    mean: npt.NDArray[np.float64], spread: npt.NDArray[np.float64], inputs: Inputs
) -> Array:
    """Means and standard deviations (..., D) in normalised units, joined to (..., 2 D).

    A driver that does not vary, or is missing, has a spread of 1; a missing one a mean of 0.
    """
    count = len(inputs.drivers)
    centre, scale = np.asarray(inputs.centre[:count]), np.asarray(inputs.scale[:count])
    varies = np.nan_to_num(spread / scale) > 1e-6
    return np.concatenate(
        [
            np.where(np.isfinite(mean), (mean - centre) / scale, 0.0),
            np.where(varies, spread / scale, 1.0),
        ],
        axis=-1,
    ).astype(np.float32)
