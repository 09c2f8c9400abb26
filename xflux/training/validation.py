"""Spatial validation: how long to train, told by clusters of entities that are kept out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from xflux.features import Inputs
from xflux.networks import Member
from xflux.progress import Bar
from xflux.skill import splits
from xflux.skill.clusters import clusters
from xflux.training.losses import multi_loss
from xflux.training.settings import Settings
from xflux.training.supervised import target_spread, to_tensors, train_member
from xflux.training.towers import Towers
from xflux.training.windows import Tensors, epoch


def spatial_validation(
    towers: Towers,
    inputs: Inputs,
    settings: Settings,
    *,
    folds: int,
    device: torch.device,
    bar: Bar,
    world: Tensors | None = None,
) -> tuple[float, ...]:
    """Loss on clusters kept out after every epoch, mean over folds.

    One member a fold is trained on the other clusters with the whole schedule; the normalisation
    is that of all towers, which holds no labels.

    Returns
    -------
    tuple of float
        One value an epoch; lower is better.
    """
    groups = clusters(towers.latitude, towers.longitude)
    fold = splits.folds(groups, n=folds, seed=settings.seed, weights=towers.labelled.sum(axis=1))
    curves = []
    for k in range(folds):
        train = to_tensors(towers.subset(fold != k), inputs, settings, device)
        train = replace(train, world=world)
        test = to_tensors(towers.subset(fold == k), inputs, settings, device)
        spread = target_spread(train)
        scorer = _Scorer(test, inputs, settings, spread, bar, f"validation {k + 1}/{folds}")
        train_member(train, inputs, settings, 10_000 + k, after_epoch=scorer)
        curves.append(scorer.curve)
    return tuple(float(value) for value in np.mean(curves, axis=0))


@dataclass
class _Scorer:
    """Called after every epoch: the loss on what was kept out joins the curve."""

    test: Tensors
    inputs: Inputs
    settings: Settings
    spread: Tensor
    bar: Bar
    what: str
    curve: list[float] = field(default_factory=list)

    def __call__(
        self, done: int, network: Member, optimiser: torch.optim.Optimizer, loss: float
    ) -> None:
        self.curve.append(_score(network, self.test, self.inputs, self.settings, self.spread))
        self.bar.step(self.what, self.curve[-1])


@torch.no_grad()
def _score(
    network: Member, test: Tensors, inputs: Inputs, settings: Settings, spread: Tensor
) -> float:
    """Loss on undisturbed windows."""
    quiet = replace(
        settings,
        driver_offset=0.0,
        characteristic_noise=0.0,
        characteristic_dropout=0.0,
        driver_dropout=0.0,
        batch=64,
    )
    network.eval()
    total, count = 0.0, 0.0
    for batch in epoch(test, inputs, quiet, (0,)):
        both, _ = network(batch.drivers, batch.characteristics)
        predicted = both.mean(dim=0)
        size = float((batch.weight > 0).sum())
        loss = multi_loss(predicted, batch.targets, batch.weight, spread, settings.loss_shares)
        total, count = total + float(loss) * size, count + size
    return total / max(count, 1.0)
