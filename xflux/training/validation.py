"""Spatial validation: how long to train, told by clusters of entities that are kept out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from xflux.skill import splits
from xflux.skill.clusters import clusters
from xflux.training.checkpoint import Reached
from xflux.training.jobs import Job
from xflux.training.settings import Settings
from xflux.training.towers import Towers


def spatial_validation(
    towers: Towers,
    settings: Settings,
    *,
    folds: int,
    run: Callable[[Sequence[Job]], Sequence[Reached]],
) -> tuple[float, ...]:
    """Loss on clusters kept out after every epoch, mean over folds.

    One network a fold is trained on the other clusters with the whole schedule; the normalisation
    is that of all towers, which holds no labels.

    Parameters
    ----------
    towers : Towers
    settings : Settings
    folds : int
    run : callable
        Trains jobs and gives how far each has come.

    Returns
    -------
    tuple of float
        One value an epoch; lower is better.
    """
    curves = [reached.losses for reached in run(validation_jobs(towers, settings, folds))]
    return tuple(float(value) for value in np.mean(curves, axis=0))


def validation_jobs(towers: Towers, settings: Settings, folds: int) -> tuple[Job, ...]:
    """A network for each fold, which is kept out of its training."""
    groups = clusters(towers.latitude, towers.longitude)
    fold = splits.folds(groups, n=folds, seed=settings.seed, weights=towers.labelled.sum(axis=1))
    return tuple(
        Job(
            name=f"fold{k}",
            title=f"validation {k + 1}/{folds}",
            number=10_000 + k,
            settings=settings,
            kept_out=fold == k,
        )
        for k in range(folds)
    )
