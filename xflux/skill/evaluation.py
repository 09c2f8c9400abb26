"""Scores of a model or a prediction, and cross-validation over clusters of entities."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xflux.cf.entities import entity_values
from xflux.cf.schema import Schema
from xflux.cf.variables import BY_NAME, TARGETS
from xflux.errors import DataError, ModelError, SchemaError
from xflux.model import FluxModel
from xflux.skill import metrics, splits
from xflux.skill.clusters import clusters
from xflux.training.towers import to_canonical


def observations(ds: xr.Dataset, schema: Schema, *, qc: float = 0.5) -> xr.Dataset:
    """Labels of good quality in xflux's names and units, with the Dataset's coordinates.

    Parameters
    ----------
    ds : xr.Dataset
    schema : Schema
    qc : float
        Steps whose NEE_QC is below this become missing.

    Returns
    -------
    xr.Dataset
        GPP, Reco and NEE, g m-2 d-1; one that is not there follows from the other two.

    Raises
    ------
    SchemaError
        There is no target, or one cannot be understood.
    """
    from xflux.cf.timestep import step_days

    found = [name for name in TARGETS if name in schema.matches]
    if not found:
        raise SchemaError(["no targets (GPP, Reco, NEE) to score against"])
    schema.require(found, task="scoring")
    days = step_days(ds[schema.time], schema.time_step or "daily")
    fluxes: dict[Hashable, xr.DataArray] = {}
    for name in found:
        array = ds[schema.matches[name].variable]
        moved = array.transpose(..., schema.time_dim)
        values = to_canonical(moved.values, schema.matches[name].conversion, days)
        fluxes[name] = moved.copy(data=values).transpose(*array.dims)
        fluxes[name].attrs = {"units": BY_NAME[name].units, "long_name": BY_NAME[name].long_name}
    if "GPP" in fluxes and "Reco" in fluxes and "NEE" not in fluxes:
        fluxes["NEE"] = fluxes["Reco"] - fluxes["GPP"]
    if "GPP" in fluxes and "NEE" in fluxes and "Reco" not in fluxes:
        fluxes["Reco"] = fluxes["GPP"] + fluxes["NEE"]
    result = xr.Dataset({name: fluxes[name] for name in TARGETS if name in fluxes})
    if "NEE_QC" in schema.matches:
        quality = ds[schema.matches["NEE_QC"].variable] * schema.matches["NEE_QC"].conversion.factor
        result = result.where(quality >= qc)
    return result


def evaluate(
    ds: xr.Dataset,
    schema: Schema,
    prediction: FluxModel | xr.Dataset,
    *,
    qc: float = 0.5,
    by_scale: bool = False,
) -> xr.Dataset:
    """Score a model, or a prediction that was made before, against the labels of a Dataset.

    Returns
    -------
    xr.Dataset
        See `xflux.skill.metrics.scores`.
    """
    predicted = prediction if isinstance(prediction, xr.Dataset) else prediction.predict(ds, schema)
    names = _other_targets(predicted)
    observed = labels_for(ds, schema, predicted, qc=qc)
    scales = ("all", "seasonal", "anomaly", "between") if by_scale else None
    time = str(schema.time_dim)
    return metrics.scores(predicted, observed, time=time, targets=names or None, scales=scales)


def labels_for(
    ds: xr.Dataset, schema: Schema, predicted: xr.Dataset, *, qc: float = 0.5
) -> xr.Dataset:
    """Labels of what is predicted: GPP, Reco and NEE, or what a model was tuned to."""
    names = _other_targets(predicted)
    return _other_labels(ds, predicted, names) if names else observations(ds, schema, qc=qc)


def _other_targets(predicted: xr.Dataset) -> list[str]:
    """What a model tuned to new targets has predicted; none for GPP, Reco and NEE."""
    names = [str(name) for name in predicted.data_vars]
    if set(names) & set(TARGETS):
        return []
    return [name for name in names if name.removesuffix("_std") not in {*names} - {name}]


def _other_labels(ds: xr.Dataset, predicted: xr.Dataset, names: list[str]) -> xr.Dataset:
    """Labels of new targets, which must be there in the units of the prediction."""
    problems = [f"no labels of {name} to score against" for name in names if name not in ds]
    for name in (n for n in names if n in ds):
        found, expected = (part[name].attrs.get("units") for part in (ds, predicted))
        if found != expected:
            problems.append(
                f"{name!r} is in {found!r}, its prediction in {expected!r}: convert it, or "
                f'ds["{name}"].attrs["units"] = "{expected}"'
            )
    if problems:
        raise SchemaError(problems, where="the Dataset for scoring")
    return ds[names]


def groups_of(
    ds: xr.Dataset, schema: Schema, by: str, folds: int | None, seed: int
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    """Fold of every entity, shape (N,), and a name for each fold.

    ``by="site"`` keeps entities closer than 30 km together; any other name is a characteristic:
    one fold a class, or quantile bins of a number.
    """
    latitude, longitude = places(ds, schema)
    if by == "site":
        groups = clusters(latitude, longitude)
        count = min(folds or 5, len(set(groups.tolist())))
        strata = entity_values(ds, schema, "igbp") if "igbp" in schema.matches else None
        fold = splits.folds(groups, n=count, seed=seed, strata=strata)
        return fold, tuple(f"fold {k}" for k in range(count))
    values = _values_by(ds, schema, by)
    labels, names = splits.leave_groups(values, n=folds, seed=seed)
    return labels, tuple(map(str, names))


def places(
    ds: xr.Dataset, schema: Schema
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Latitude and longitude of every entity, shape (N,) each."""
    schema.require(("lat", "lon"), task="splitting by place")
    latitude = np.asarray(entity_values(ds, schema, "lat"), dtype=np.float64)
    return latitude, np.asarray(entity_values(ds, schema, "lon"), dtype=np.float64)


def _values_by(ds: xr.Dataset, schema: Schema, by: str) -> npt.NDArray[np.generic]:
    if by in schema.matches:
        return entity_values(ds, schema, by)
    if by in ds.variables and schema.time_dim not in ds[by].dims:
        sizes = tuple(ds.sizes[dim] for dim in schema.entity_dims)
        return np.broadcast_to(ds[by].values, sizes).reshape(-1)
    raise ModelError(
        f"by={by!r} is neither 'site' nor a characteristic; there are "
        f"{', '.join(schema.names('characteristic')) or 'none'}"
    )


def entity_dim(schema: Schema) -> str:
    """The one entity dimension that splitting needs."""
    if len(schema.entity_dims) != 1:
        raise DataError(
            f"splitting needs one entity dimension, the Dataset has {schema.entity_dims}: "
            f"ds = ds.stack(site={list(schema.entity_dims)}).reset_index('site')"
        )
    return schema.entity_dims[0]


def cross_validate(
    ds: xr.Dataset,
    schema: Schema,
    *,
    folds: int | None = None,
    by: str = "site",
    seed: int = 0,
    qc: float = 0.5,
    by_scale: bool = False,
    fold_of: npt.NDArray[np.int64] | None = None,
    training: Mapping[str, Any] | None = None,
) -> tuple[xr.Dataset, xr.Dataset]:
    """Predict every entity by a model that saw neither it nor its neighbours, and score that.

    Parameters
    ----------
    ds : xr.Dataset
    schema : Schema
    folds : int, optional
        Number of folds; 5 for ``by="site"``, one a class for a characteristic.
    by : str
        ``"site"`` or a characteristic.
    seed : int
    qc : float
    by_scale : bool
        Also by time scale.
    fold_of : numpy.ndarray, optional
        Shape (N,): folds of your own in place of ``by``.
    training : mapping, optional
        Passed to `xflux.training.fitting.fit_model`.

    Returns
    -------
    scores, predictions : xr.Dataset
        The scores carry a coordinate ``fold`` on the entities.
    """
    from xflux.training.fitting import fit_model

    dim = entity_dim(schema)
    fold, names = (
        (np.asarray(fold_of), tuple(f"fold {k}" for k in range(int(np.max(fold_of)) + 1)))
        if fold_of is not None
        else groups_of(ds, schema, by, folds, seed)
    )
    groups = None
    if by != "site" and {"lat", "lon"} <= set(schema.matches):
        groups = clusters(*places(ds, schema))
    parts = []
    for k in range(len(names)):
        test = np.flatnonzero(fold == k)
        if not test.size:
            continue
        train = np.flatnonzero(splits.training_side(fold, fold=k, groups=groups))
        model = fit_model(ds.isel({dim: train}), schema, qc=qc, **(training or {}))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*classes that the model has not seen.*")
            parts.append((test, model.predict(ds.isel({dim: test}), schema)))
    predicted = _reassemble(ds, schema, parts)
    scores = evaluate(ds, schema, predicted, qc=qc, by_scale=by_scale)
    return scores.assign_coords(fold=(dim, fold)), predicted


def _reassemble(
    ds: xr.Dataset, schema: Schema, parts: list[tuple[npt.NDArray[np.intp], xr.Dataset]]
) -> xr.Dataset:
    """Put the predictions of the folds back in the order of the Dataset."""
    dim = entity_dim(schema)
    example = parts[0][1]
    out = {}
    for name, array in example.data_vars.items():
        axis = array.dims.index(dim)
        shape = tuple(ds.sizes[d] for d in array.dims)
        whole = np.full(shape, np.nan, dtype=np.float32)
        for where, part in parts:
            whole[(slice(None),) * axis + (where,)] = part[name].values
        out[name] = xr.Variable(array.dims, whole, array.attrs)
    return xr.Dataset(out, coords=ds.coords, attrs=example.attrs)


def split(
    ds: xr.Dataset, schema: Schema, *, test: float, seed: int, distance_km: float
) -> tuple[xr.Dataset, xr.Dataset]:
    """Two parts of a Dataset, whole clusters of entities at a time, stratified by land cover."""
    dim = entity_dim(schema)
    groups = clusters(*places(ds, schema), distance_km=distance_km)
    strata = entity_values(ds, schema, "igbp") if "igbp" in schema.matches else None
    held = splits.holdout(groups, test=test, seed=seed, strata=strata)
    return ds.isel({dim: np.flatnonzero(~held)}), ds.isel({dim: np.flatnonzero(held)})
