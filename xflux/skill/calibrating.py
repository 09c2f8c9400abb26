"""Calibration: errors at entities held out, from which quantiles and applicability follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from xflux.cf.entities import entity_labels
from xflux.cf.schema import Schema
from xflux.cf.targets import CARBON, Target
from xflux.errors import DataError, ModelError
from xflux.model import FluxModel
from xflux.prediction import conformal
from xflux.prediction.calibration import LEVELS, Band, Calibration
from xflux.skill.clusters import clusters
from xflux.skill.evaluation import cross_validate, entity_dim, groups_of, labels_for, places
from xflux.skill.reference import make_reference
from xflux.training.settings import NAMES, OWN, UNUSED
from xflux.training.towers import Towers, read_towers

FEWEST_CLUSTERS = 5
"""Clusters of entities without which nothing can be said of a place that was never seen."""

FEWEST_STEPS = {"daily": 1000, "monthly": 100}
"""Held-out steps without which the outer quantiles are guesses."""


def calibrate(
    ds: xr.Dataset,
    schema: Schema,
    model: FluxModel,
    *,
    predictions: xr.Dataset | None = None,
    folds: int = 5,
    qc: float = 0.5,
    device: str | None = None,
    workers: int | None = None,
    progress: bool | None = None,
) -> FluxModel:
    """Learn how wrong a model is where it has not been; see `ds.flux.calibrate`.

    Returns
    -------
    FluxModel
        The same weights, with a calibration.

    Raises
    ------
    SchemaError, DataError, ModelError
    """
    if schema.time_step != model.time_step:
        raise ModelError(
            f"the model is {model.time_step}, the towers are {schema.time_step}: calibrate it on "
            f"{model.time_step} towers"
        )
    labels = entity_labels(ds, schema.entity_dims)
    seen = set(model.card.get("towers", ()))
    known = np.array([label in seen for label in labels])
    groups = clusters(*places(ds, schema))
    _check_clusters(groups)
    fold, _ = groups_of(ds, schema, "site", folds, model.settings.seed)
    if predictions is None and known.any():
        training = _training(model) | {"device": device, "workers": workers, "progress": progress}
        _, predictions = cross_validate(ds, schema, qc=qc, fold_of=fold, training=training)
    elif predictions is None:
        predictions = model.predict(ds, schema)
    observed = labels_for(ds, schema, predictions, qc=qc)
    dim = entity_dim(schema)
    towers = None
    if known.any():
        towers = training_towers(ds.isel({dim: np.flatnonzero(known)}), schema, model, qc=qc)
    folded = dict(zip(labels, fold.tolist(), strict=True))
    return calibrated(
        model, predictions, observed, dim=dim, groups=groups, towers=towers, fold=folded
    )


def calibrated(
    model: FluxModel,
    predicted: xr.Dataset,
    observed: xr.Dataset,
    *,
    dim: str,
    groups: npt.NDArray[np.int64],
    towers: Towers | None = None,
    fold: Mapping[str, int],
) -> FluxModel:
    """Calibrate a model with predictions for entities that it, or its like, had not seen.

    Parameters
    ----------
    model : FluxModel
    predicted : xr.Dataset
        The targets with their ``_std``, or all members along ``realization``.
    observed : xr.Dataset
        Labels on the same entities and times.
    dim : str
        Dimension of the N entities.
    groups : numpy.ndarray
        Shape (N,): cluster of each.
    towers : Towers, optional
        Those of the training, for applicability.
    fold : mapping of str to int
        Fold of each of these by label.

    Returns
    -------
    FluxModel
        The same weights, with a calibration.

    Raises
    ------
    DataError
        Too few steps or clusters.
    """
    means, spreads, labels = collect(predicted, observed, model.targets, dim)
    there = _there(means, labels)
    entities = there.any(axis=1)
    steps, held = int(there.sum()), len(set(groups[entities].tolist()))
    fewest = FEWEST_STEPS[model.time_step]
    if held < FEWEST_CLUSTERS or steps < fewest:
        raise DataError(
            f"{steps} labelled steps in {held} clusters of entities tell too little of errors "
            f"elsewhere: give at least {fewest} steps in {FEWEST_CLUSTERS} clusters of 30 km"
        )
    reference = None
    if towers is not None:
        reference = make_reference(model, towers, np.array([fold[name] for name in towers.labels]))
    calibration = Calibration(
        bands=fit_bands(means, spreads, labels, model.targets),
        reference=reference,
        entities=int(entities.sum()),
        clusters=held,
        steps=steps,
    )
    return replace(model, calibration=calibration)


def _check_clusters(groups: npt.NDArray[np.int64]) -> None:
    count = len(set(groups.tolist()))
    if count < FEWEST_CLUSTERS:
        raise DataError(
            f"{count} clusters of entities tell too little of errors elsewhere: give towers in at "
            f"least {FEWEST_CLUSTERS} clusters of 30 km"
        )


def _training(model: FluxModel) -> dict[str, Any]:
    """How the model was trained, to train its like on some of its towers.

    Raises
    ------
    ModelError
        It was tuned: that does not begin with these towers alone.
    """
    if "finetuned" in model.card:
        raise ModelError(
            "a tuned model is calibrated on entities that it has not seen: "
            "model = held_out.flux.calibrate(model)"
        )
    settings, method = model.settings, model.settings.method
    used = [
        name
        for name in NAMES
        if name not in ("method", "epochs")
        and OWN.get(name, method) == method
        and name not in UNUSED.get(method, ())
    ]
    return {
        "method": method,
        "epochs": settings.epochs,
        "drivers": model.inputs.drivers,
        "characteristics": _characteristics(model) if model.inputs.characteristics else None,
        "settings": {name: getattr(settings, name) for name in used},
    }


def _characteristics(model: FluxModel) -> list[str]:
    return [item.name for item in model.inputs.characteristics]


def training_towers(ds: xr.Dataset, schema: Schema, model: FluxModel, *, qc: float = 0.5) -> Towers:
    """The towers of a training as the model sees them."""
    return read_towers(
        ds,
        schema,
        drivers=[name for name in model.inputs.drivers if name in schema.drivers],
        characteristics=_characteristics(model),
        qc=qc,
        few=True,
        targets=None if model.targets == CARBON else [t.name for t in model.targets],
    )


Values = dict[str, npt.NDArray[np.float64]]
"""One array (N, T) for each target."""


def collect(
    predicted: xr.Dataset, observed: xr.Dataset, targets: tuple[Target, ...], dim: str
) -> tuple[Values, Values, Values]:
    """Mean, spread and label of each target, shape (entities, T) each.

    Raises
    ------
    DataError
        Predictions and labels are not on the same entities and times.
    """
    means: Values = {}
    spreads: Values = {}
    labels: Values = {}
    for name in (target.name for target in targets):
        if name not in predicted or name not in observed:
            where = "predictions" if name not in predicted else "labels"
            raise DataError(f"the {where} have no {name}: calibration needs each target")
        flux, label = predicted[name], observed[name]
        if "realization" in flux.dims:
            spread = flux.std("realization", ddof=1)
            flux = flux.mean("realization")
        else:
            spread = predicted.get(f"{name}_std", xr.zeros_like(flux))
        try:
            xr.align(flux, label, join="exact")
        except ValueError as error:
            raise DataError(
                "predictions= are not on the entities and times of the labels: "
                "predictions.reindex_like(ds)"
            ) from error
        for held, array in ((means, flux), (spreads, spread), (labels, label)):
            held[name] = array.transpose(dim, ...).values.astype(np.float64)
    return means, spreads, labels


def _there(means: Values, labels: Values) -> npt.NDArray[np.bool_]:
    """Steps with a prediction and a label of every target."""
    found = np.isfinite(np.stack([*means.values(), *labels.values()]))
    return np.asarray(found.all(axis=0))


def fit_bands(
    means: Values, spreads: Values, labels: Values, targets: tuple[Target, ...]
) -> tuple[Band, ...]:
    """Typical errors and scores of each target, from steps that were held out.

    The typical error is fitted to |measured - predicted| by least squares with coefficients that
    are not negative. Labels of a target that cannot be negative count as 0 where they are: that is
    noise of the measurement.

    Parameters
    ----------
    means, spreads, labels : dict of str to numpy.ndarray
        One shape for all.
    targets : tuple of Target

    Returns
    -------
    tuple of Band
    """
    from scipy.optimize import nnls

    there = _there(means, labels)
    means, spreads, labels = ({n: v[there] for n, v in held.items()} for held in
                              (means, spreads, labels))  # fmt: skip
    sizes = conformal.sizes(means, targets)
    bands = []
    for target in targets:
        name, positive = target.name, target.minus is None and target.name in ("GPP", "Reco")
        label = np.maximum(labels[name], 0) if positive else labels[name]
        error, spread = label - means[name], np.nan_to_num(spreads[name])
        columns = np.stack([np.ones_like(error), sizes[name], spread], axis=1)
        parts = nnls(columns.T @ columns, columns.T @ np.abs(error))[0]
        constant = max(float(parts[0]), 1e-3 * float(np.abs(error).mean()), 1e-12)
        band = Band(
            target=name,
            constant=constant,
            size=float(parts[1]),
            spread=float(parts[2]),
            positive=positive,
            scores=(),
        )
        scores = error / conformal.typical_error(band, sizes[name], spread)
        bands.append(replace(band, scores=tuple(np.quantile(scores, LEVELS).tolist())))
    return tuple(bands)
