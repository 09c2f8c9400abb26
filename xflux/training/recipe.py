"""What a method asks of training: where its networks begin, its batches, its loss, its schedule.

The loop is the same for all methods: `xflux.training.supervised.train_member`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xflux.features import Inputs
from xflux.networks.ct_lstm import Steps, pick
from xflux.training.losses import multi_loss
from xflux.training.settings import Settings
from xflux.training.windows import Batch, Tensors, epoch

Loss = Callable[[Any, Any, float, np.random.Generator], Tensor]
"""The loss of a batch, from the network, the batch, the share of the training that has passed, and
randomness beside that of the batches."""


def learning_rate(done: float, peak: float) -> float:
    """One-cycle schedule (Smith and Topin 2019, doi:10.1117/12.2520589): up, then cosine down.

    ``done`` is the share of the training that has passed, from 0 to 1.
    """
    rise = 0.15
    if done < rise:
        return peak * (0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * done / rise)))
    return peak * max(0.5 * (1 + math.cos(math.pi * (done - rise) / (1 - rise))), 1e-4)


def begin_at_spread(network: Any, tensors: Tensors, spread: Tensor) -> None:
    """Let the heads of a network be in units of the spread of these targets."""
    network.spread.copy_(spread[: len(network.spread)])


def both_networks(
    fluxes: Tensor, batch: Batch, steps: Steps, spread: Tensor, of: Settings
) -> Tensor:
    """The mean of the multi-losses of both networks of a member, whose fluxes are (2, n, 2)."""
    observed, weight = pick(batch.targets, steps), pick(batch.weight, steps)
    return torch.stack(
        [multi_loss(predicted, observed, weight, spread, of.loss_shares) for predicted in fluxes]
    ).mean()


def _side_by_side(tensors: Tensors, inputs: Inputs, settings: Settings, spread: Tensor) -> Loss:
    def loss(network: Any, batch: Batch, done: float, generator: np.random.Generator) -> Tensor:
        steps = Steps.where(batch.scored)
        fluxes, _ = network(batch.drivers, batch.characteristics, steps=steps)
        return both_networks(fluxes, batch, steps, spread, settings)

    return loss


def nothing(network: Any) -> None:
    """Leave a network as it is after a step."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What differs between methods.

    Attributes
    ----------
    begin : callable
        Tells an untrained network of the towers, from the network, tensors and the spread of the
        targets.
    batches : callable
        What an epoch goes through, from tensors, inputs, settings and a seed.
    loss : callable
        The `Loss` of one training, from tensors, inputs, settings and the spread of the targets.
    schedule : callable
        Learning rate, from the share of the training that has passed and the peak.
    after_step : callable
        What is done to a network after each step of the optimiser.
    """

    begin: Callable[[Any, Tensors, Tensor], None] = begin_at_spread
    batches: Callable[[Tensors, Inputs, Settings, tuple[int, ...]], Iterator[Any]] = epoch
    loss: Callable[[Tensors, Inputs, Settings, Tensor], Loss] = _side_by_side
    schedule: Callable[[float, float], float] = learning_rate
    after_step: Callable[[Any], None] = nothing


CT_LSTM = Recipe()
