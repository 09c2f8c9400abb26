"""Towers and what models that have not seen them predict, for benchmarks of uncertainty."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from cross_validation import fold_model, load, scored_labels

import xflux
from xflux.training.settings import EPOCHS

TARGETS = ("GPP", "Reco", "NEE")


class HeldOut(NamedTuple):
    """Towers, the cluster and fold of each, labels, and the model that has not seen a fold."""

    ds: xr.Dataset
    cluster: np.ndarray
    fold: np.ndarray
    observed: xr.Dataset
    models: list[xflux.FluxModel]

    def predict(self) -> xr.Dataset:
        """Mean and spread at every tower by the model that has not seen its fold."""
        parts = [
            self.ds.isel(site=self.fold == k).flux.predict(model)
            for k, model in enumerate(self.models)
        ]
        return xr.concat(parts, "site").sel(site=self.ds.site)


def arguments(text: str) -> argparse.ArgumentParser:
    """Arguments that these benchmarks share."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--time-step", choices=("daily", "monthly"), default="daily")
    parser.add_argument("--models", type=Path, help="folder of fold0.safetensors and so on")
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def held_out(args: argparse.Namespace) -> HeldOut:
    """Load towers and fold models; those that are not there are trained."""
    warnings.filterwarnings("ignore", category=xflux.XfluxWarning)
    ds, folds = load(args.data, args.time_step)
    epochs = EPOCHS[args.time_step]
    run = f"{args.time_step}-members{args.members}-seed{args.seed}-epochs{epochs}-h64"
    keep = args.models or Path("output/cross_validation") / run
    settings = {"members": args.members, "seed": args.seed, "hidden": 64}
    fold = folds.fold.values
    models = [fold_model(ds, fold, k, keep, epochs, settings) for k in range(max(fold) + 1)]
    return HeldOut(ds, folds.cluster.values, fold, scored_labels(ds), models)
