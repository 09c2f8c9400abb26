"""From a Dataset to a trained model: the walk of training, in one function."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xflux.cf.schema import Schema
from xflux.errors import ModelError
from xflux.features import Inputs
from xflux.model import FluxModel
from xflux.prediction import ensemble
from xflux.training.domains import by_label, target_entities, with_target
from xflux.training.settings import METHODS, OF_METHOD, WINDOW, Settings, epochs_of, refuse_unused
from xflux.training.towers import Towers, describe_inputs, read_towers

if TYPE_CHECKING:
    from xflux.training.members import Trained

DERIVED = ("season_sin", "season_cos")
"""Drivers that are derived for every model: where in the year a step lies."""

VALIDATION_FOLDS = 3
"""Folds of clusters for choosing the number of epochs."""


def fit_model(
    ds: xr.Dataset,
    schema: Schema,
    *,
    method: str = "ct-lstm",
    drivers: Sequence[str] | None = None,
    characteristics: Sequence[str] | None = None,
    qc: float = 0.5,
    world: xr.Dataset | None = None,
    epochs: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str | None = None,
    workers: int | None = None,
    progress: bool | None = None,
    name: str = "own training",
    settings: Mapping[str, Any] | None = None,
) -> FluxModel:
    """Train an ensemble on the towers of a Dataset.

    Parameters
    ----------
    ds : xr.Dataset
        Drivers, characteristics and at least one of GPP, Reco, NEE.
    schema : Schema
        What was understood of it.
    method : str
        One of `xflux.training.settings.METHODS`.
    drivers, characteristics : sequence of str, optional
        Names to use; by default all known drivers, and land cover and latitude.
    qc : float
        Steps whose NEE_QC is below this are not used.
    world : xr.Dataset, optional
        Drivers of entities without labels, for ``"ct-lstm-physics"``.
    epochs : int, optional
        Chosen by spatial validation when not given.
    checkpoint : path, optional
        File from which an interrupted training goes on.
    device : str, optional
    workers : int, optional
        Processes that train members side by side.
    progress : bool, optional
    name : str
        Name of the model on its card.
    settings : mapping, optional
        Other fields of `xflux.training.settings.Settings`.

    Returns
    -------
    FluxModel

    Raises
    ------
    SchemaError, DataError, ModelError, TrainingDiverged, TrainingStopped
    """
    if method not in METHODS:
        raise ModelError(f"unknown method {method!r}; there are {', '.join(map(repr, METHODS))}")
    _check(method, world, characteristics, settings)
    towers = read_towers(ds, schema, drivers=drivers, characteristics=characteristics, qc=qc)
    target = None
    if method == "metaflux":
        said = str((settings or {}).get("target", ""))
        target = by_label(ds, schema, target_entities(ds, schema, said))
    return fit_towers(
        towers,
        target=target,
        method=method,
        world=world,
        epochs=epochs,
        checkpoint=checkpoint,
        device=device,
        workers=workers,
        progress=progress,
        name=name,
        settings=settings,
    )


def _check(
    method: str,
    world: xr.Dataset | None,
    characteristics: Sequence[str] | None,
    settings: Mapping[str, Any] | None,
) -> None:
    """Refuse what the method has no use for."""
    if world is not None and method != "ct-lstm-physics":
        raise ModelError(
            f"method={method!r} learns nothing from a world without labels: leave out world=, or "
            'method="ct-lstm-physics"'
        )
    if characteristics is not None and method == "metaflux":
        raise ModelError(
            'method="metaflux" takes drivers alone: leave out characteristics=, or method="ct-lstm"'
        )
    refuse_unused(method, settings or {})


def fit_towers(
    towers: Towers,
    *,
    method: str = "ct-lstm",
    world: xr.Dataset | None = None,
    epochs: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str | None = None,
    workers: int | None = None,
    progress: bool | None = None,
    name: str = "own training",
    settings: Mapping[str, Any] | None = None,
    target: Mapping[str, bool] | None = None,
) -> FluxModel:
    """Train on towers that are in memory already; see `fit_model`.

    ``target`` tells by label which towers are the target domain of MetaFlux.
    """
    from xflux.training.members import train_ensemble
    from xflux.training.world import read_world

    window, spin_up = WINDOW[towers.time_step]
    chosen = Settings(
        **{
            "method": method,
            "epochs": epochs_of(method, towers.time_step),
            "window": window,
            "spin_up": spin_up,
            **OF_METHOD.get(method, {}),
            **({} if epochs is None else {"epochs": epochs}),
            **(settings or {}),
        }
    )
    domain = None
    if method == "metaflux":
        towers = replace(towers, characteristics={})
        domain = with_target(towers, target) if chosen.tasks == "domains" else None
    inputs = describe_inputs(towers, derived=() if method == "metaflux" else DERIVED)
    trained = train_ensemble(
        towers,
        inputs,
        chosen,
        world=None if world is None else read_world(world, inputs, seed=chosen.seed),
        target=domain,
        validation_folds=VALIDATION_FOLDS if epochs is None and method != "metaflux" else 0,
        checkpoint=checkpoint,
        device=device,
        workers=workers,
        progress=progress,
    )
    return to_model(towers, inputs, trained, name=name)


def to_model(towers: Towers, inputs: Inputs, trained: Trained, *, name: str) -> FluxModel:
    """Put weights, inputs and what is known about the training into a model."""
    members = [
        {parameter: tensor.numpy() for parameter, tensor in weights.items()}
        for weights in trained.members
    ]
    return FluxModel(
        inputs=inputs,
        settings=trained.settings,
        members=ensemble.pack(members),
        card=_card(towers, trained, name),
    )


def _card(towers: Towers, trained: Trained, name: str) -> dict[str, Any]:
    import torch

    from xflux import __version__

    return {
        "name": name,
        "towers": list(towers.labels[:2000]),
        "towers_count": len(towers.labels),
        "period": list(towers.period),
        "labelled_steps": int(np.isfinite(towers.targets).any(axis=-1).sum()),
        "validation_loss": [round(v, 6) for v in trained.validation],
        "training_loss": [[round(v, 6) for v in losses] for losses in trained.losses],
        **({"physics": _rounded(trained.physics)} if trained.physics else {}),
        "created": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "versions": {
            "xflux": __version__,
            "torch": torch.__version__.split("+")[0],
            "xarray": xr.__version__,
        },
    }


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}
