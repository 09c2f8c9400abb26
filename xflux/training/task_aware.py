"""TAM-RL: each window is predicted with what is known of its tower from other times.

For every window of an epoch a *support* is drawn from the same tower: up to ``support`` windows
that overlap neither the scored steps nor their spin-up. In a quarter of the draws there is none
(zero-shot), in a quarter only drivers (driver history), in half of them fluxes too (few-shot), so
one model serves all three. Window and support get the same disturbance: together they are a tower
of their own, a little warmer or wetter.

References
----------
Renganathan et al. 2025, doi:10.48550/arXiv.2310.04727.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xflux.features import Inputs
from xflux.networks import RunningMeans
from xflux.networks_tam_rl import ModulatedMember, Support
from xflux.training.losses import multi_loss
from xflux.training.settings import SPANS, SUPPORT_WINDOW, Settings
from xflux.training.supervised import Recipe, with_spread
from xflux.training.windows import Batch, Tensors, cut, disturb, draw_shift, gather

ZERO_SHOT, DRIVERS_ONLY, FEW_SHOT = 0, 1, 2
"""What a support may hold."""

SHARES = (0.25, 0.25, 0.5)
"""Share of each among the draws."""

SHORT = 0.3
"""Share of few-shot supports that are a single window of which only some steps are labelled."""

Positions = npt.NDArray[np.int64]


class Known(NamedTuple):
    """Windows of a batch, and the support of each."""

    windows: Batch
    support: Support


class Drawn(NamedTuple):
    """Where supports lie: first steps (B, S), -1 where there is no window, and what they hold.

    ``labelled`` (B,) counts the first steps of each window whose fluxes are known.
    """

    first: Positions
    labelled: npt.NDArray[np.int64]


def epoch(
    tensors: Tensors, inputs: Inputs, settings: Settings, seed: tuple[int, ...]
) -> Iterator[Known]:
    """Batches of one epoch in random order, a pure function of the seed; see `windows.epoch`."""
    generator = np.random.default_rng(seed)
    rows = generator.permutation(cut(tensors, settings, generator), axis=0)
    means = running_means(tensors, inputs)
    usable, labelled = usable_steps(tensors), (tensors.weight.sum(-1) > 0).cpu().numpy()
    length = SUPPORT_WINDOW[inputs.time_step]
    for begin in range(0, len(rows), settings.batch):
        chosen = rows[begin : begin + settings.batch]
        shift = draw_shift(len(chosen), inputs, settings, generator)
        batch = disturb(gather(tensors, chosen), inputs, settings, generator, shift=shift)
        drawn = draw(chosen, usable, labelled, length, settings.support, generator)
        yield Known(batch, shift.on_support(take(tensors, means, chosen, drawn, length), inputs))


def usable_steps(tensors: Tensors) -> npt.NDArray[np.bool_]:
    """Steps with drivers, shape (N, T)."""
    usable = np.zeros(tensors.drivers.shape[:2], dtype=bool)
    for entity, start, end in tensors.records:
        usable[entity, start:end] = True
    return usable
