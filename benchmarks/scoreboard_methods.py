"""The rows of the scoreboard: how each method comes from training towers to fluxes at the others.

A method is a function of a `Job`: training towers with labels, other towers without, a seed and a
number of members. It gives GPP, Reco and NEE (realization, site, time), one realization a member.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xflux
from xflux.cf.schema import resolve
from xflux.model import FluxModel
from xflux.prediction import ensemble
from xflux.training.fitting import fit_model
from xflux.training.settings import EPOCHS, epochs_of

TARGETS = ["GPP", "Reco", "NEE"]
LABELS = ("GPP", "Reco", "RECO", "NEE")
NOTHING = -100.0
"""A head with this bias and no weights: softplus makes 0 of it."""


@dataclass(frozen=True)
class Job:
    """One fold of one method.

    ``test`` has no labels. ``models`` is where models of all methods are kept, ``given`` where
    those of some methods were trained before, by method; ``quick`` is the smallest setting, and
    ``epochs`` takes the place of those of a method of xflux.
    """

    train: xr.Dataset
    test: xr.Dataset
    fold: int
    seed: int
    members: int
    models: Path
    given: Mapping[str, Path]
    workers: int
    quick: bool
    epochs: int | None = None

    def path(self, model: str, suffix: str = "") -> Path:
        """Where the model of this fold is, or will be."""
        given = self.given.get(model, Path()) / f"fold{self.fold}.safetensors"
        if given.is_file():
            return given
        folder = self.models / model / f"seed{self.seed}-members{self.members}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"fold{self.fold}{suffix}.safetensors"


@dataclass(frozen=True)
class Method:
    """A row: its name in the tables, its function, and whether its members differ."""

    title: str
    predict: Callable[[Job], xr.Dataset] | None = None
    average_of: tuple[str, ...] = ()
    one_member: bool = False


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Nobody else makes this file at the same time; the lock ends with the process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def without_labels(ds: xr.Dataset) -> xr.Dataset:
    """The same without any flux, so that no method can look at one."""
    return ds.drop_vars([str(n) for n in ds.data_vars if str(n).startswith(LABELS)])


def trained(
    job: Job, name: str, *, method: str, epochs: int, settings: Mapping[str, Any] | None = None
) -> FluxModel:
    """A model of this fold, from the disk where it is.

    Raises
    ------
    ValueError
        It has learned from a tower that it is to predict, or has other members or epochs.
    """
    path = job.path(name)
    with alone(job.models / f"{name}-{job.seed}-{job.members}-{job.fold}"):
        if not path.exists():
            fit_model(
                job.train,
                resolve(job.train),
                method=method,
                epochs=epochs,
                checkpoint=path.with_suffix(".checkpoint"),
                workers=job.workers,
                progress=False,
                name=f"{name}, all but fold {job.fold}",
                settings={"members": job.members, "seed": job.seed, **(settings or {})},
            ).save(path)
    model = xflux.load_model(path)
    seen = set(model.card["towers"]) & set(job.test.site.values.tolist())
    if seen:
        raise ValueError(f"{path} has learned from {sorted(seen)}, which are in fold {job.fold}")
    found, wanted = (model.settings.members, model.settings.epochs), (job.members, epochs)
    if found != wanted:
        raise ValueError(
            f"{path} has {found[0]} members of {found[1]} epochs, not {wanted[0]} of {wanted[1]}: "
            f"--members {found[0]} --epochs {found[1]}, or another --output or --models"
        )
    return model


def network(
    name: str,
    epochs: int,
    *,
    method: str | None = None,
    settings: Mapping[str, Any] | None = None,
    change: Callable[[FluxModel], FluxModel] | None = None,
    times: float = 1.0,
    **predicting: Any,
) -> Callable[[Job], xr.Dataset]:
    """A method of xflux: ``name`` is that of its model, which several rows may share."""

    def predict(job: Job) -> xr.Dataset:
        few = {"hidden": 64, "batch": 64} if job.quick and name.startswith("metaflux") else {}
        model = trained(
            job,
            name,
            method=method or name,
            epochs=min(epochs, 3) if job.quick else job.epochs or epochs,
            settings={**(settings or {}), **few},
        )
        changed = model if change is None else change(model)
        fluxes = job.test.flux.predict(changed, members=True, **predicting)[TARGETS]
        return times * fluxes.transpose("realization", "site", "time")

    return predict


def lstm_alone(model: FluxModel) -> FluxModel:
    """The same model whose second network, that over running means, gives 0.

    Both networks of a member have losses of their own, so each is what it would be alone, but for
    the limit on the size of a step, which they share. The fluxes are half of those of the LSTM.
    """
    weights = model.weights
    for member in weights:
        member["direct.heads.weight"] = np.zeros_like(member["direct.heads.weight"])
        member["direct.heads.bias"] = np.full_like(member["direct.heads.bias"], NOTHING)
    return dataclasses.replace(model, members=ensemble.pack(weights))


def lightgbm(*more: str) -> Callable[[Job], xr.Dataset]:
    """Boosted trees on drivers and their past; each member has a seed of its own.

    ``more`` names characteristics beside land cover and latitude.
    """
    names = ("igbp", "lat", *more)

    def predict(job: Job) -> xr.Dataset:
        from baselines import as_dataset, unlabelled
        from lightgbm_lags import predict_each

        from xflux.training.towers import read_towers

        seen = read_towers(job.train, resolve(job.train), characteristics=names)
        seeds = range(100 * job.seed, 100 * job.seed + job.members)
        fluxes = predict_each(seen, unlabelled(job.test, names), seeds=seeds)
        return as_dataset(fluxes, job.test)

    return predict


def ridge(job: Job) -> xr.Dataset:
    """Linear regression on the table of LightGBM."""
    from baselines import ridge

    return ridge(job.train, job.test)


def climatology(job: Job) -> xr.Dataset:
    """Mean month of the land cover."""
    from baselines import climatology

    return climatology(job.train, job.test)


def carbonfluxbench(job: Job) -> xr.Dataset:
    """The recipe of CarbonFluxBench for the CT-LSTM; a run waits for another one of the same."""
    from peer_carbonfluxbench import EPOCHS, predict

    with alone(job.models / f"carbonfluxbench-{job.seed}-{job.members}-{job.fold}"):
        return predict(
            job.train,
            job.test,
            seed=job.seed,
            members=job.members,
            keep=lambda member: job.path("carbonfluxbench", f"-member{member}"),
            epochs=5 if job.quick else EPOCHS,
        )


def methods(time_step: str) -> dict[str, Method]:
    """All rows by name, in the order of the tables."""
    epochs = EPOCHS[time_step]
    mended = {"scaling": "training", "tasks": "towers", "batch": 64}
    return {
        "ct-lstm": Method("CT-LSTM multi-loss", network("ct-lstm", epochs)),
        "ct-lstm-physics": Method(
            "CT-LSTM physics",
            network("ct-lstm-physics", epochs_of("ct-lstm-physics", time_step)),
        ),
        "metaflux": Method("MetaFlux as published", network("metaflux", 100)),
        "metaflux-mended": Method(
            "MetaFlux mended",
            network("metaflux-mended", 100, method="metaflux", settings=mended),
        ),
        "tam-rl-history": Method(
            "TAM-RL driver history", network("tam-rl", epochs, support="drivers")
        ),
        "tam-rl-zero-shot": Method("TAM-RL zero-shot", network("tam-rl", epochs, support="none")),
        "ct-lstm-alone": Method(
            "plain CT-LSTM",
            network("ct-lstm", epochs, change=lstm_alone, times=2.0),
        ),
        "carbonfluxbench": Method("CarbonFluxBench CT-LSTM", carbonfluxbench),
        "lightgbm": Method("LightGBM, lags", lightgbm()),
        "lightgbm-place": Method("LightGBM, place, climate", lightgbm("lon", "climate")),
        "ct-lstm+lightgbm": Method(
            "CT-LSTM + LightGBM", average_of=("ct-lstm", "lightgbm"), one_member=True
        ),
        "ct-lstm+place": Method(
            "CT-LSTM + LightGBM, place",
            average_of=("ct-lstm", "lightgbm-place"),
            one_member=True,
        ),
        "ridge": Method("ridge, lags", ridge, one_member=True),
        "climatology": Method("climatology", climatology, one_member=True),
    }
