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
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xflux.features import Inputs
from xflux.networks.ct_lstm import RunningMeans, Steps
from xflux.networks.tam_rl import ModulatedMember, Support
from xflux.training.recipe import Loss, Recipe, both_networks
from xflux.training.settings import SPANS, SUPPORT_WINDOW, Settings
from xflux.training.windows import Batch, Shift, Tensors, cut, disturb, draw_shift, gather

NOTHING, DRIVERS, FLUXES = 0, 1, 2
"""What a support may hold."""

SHARES = (0.25, 0.25, 0.5)
"""Share of each among the draws."""

LABELLED = 0.5
"""Share of labelled steps that a support window with fluxes has at least."""

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
        yield Known(batch, take(tensors, means, chosen[:, 0], drawn, length, shift, inputs))


def usable_steps(tensors: Tensors) -> npt.NDArray[np.bool_]:
    """Steps with drivers, shape (N, T)."""
    usable = np.zeros(tensors.drivers.shape[:2], dtype=bool)
    for entity, start, end in tensors.records:
        usable[entity, start:end] = True
    return usable


@torch.no_grad()
def running_means(tensors: Tensors, inputs: Inputs) -> Tensor:
    """Running means of the drivers over each unbroken stretch, (N, T, M)."""
    spans = SPANS[inputs.time_step]
    width, running = len(inputs.drivers), RunningMeans(spans).to(tensors.drivers.device)
    means = tensors.drivers.new_zeros(*tensors.drivers.shape[:2], width * len(spans))
    start = means.new_zeros(1, len(spans), width), means.new_zeros(len(spans))
    for entity, first, end in tensors.records:
        series = tensors.drivers[entity : entity + 1, first:end, :width]
        means[entity, first:end] = running(series, *start)[0][0]
    return means


def draw(
    windows: Positions,
    usable: npt.NDArray[np.bool_],
    labelled: npt.NDArray[np.bool_],
    length: int,
    most: int,
    generator: np.random.Generator,
) -> Drawn:
    """Draw a support for each window of a batch.

    Parameters
    ----------
    windows : numpy.ndarray
        Shape (B, 4), as `windows.cut`: entity, first step, first scored step, end.
    usable, labelled : numpy.ndarray
        Shape (N, T): steps with drivers, and with any flux.
    length, most : int
        Steps of a support window, and how many there are at most.
    generator : numpy.random.Generator
    """
    first = np.full((len(windows), most), -1, dtype=np.int64)
    known = np.zeros(len(windows), dtype=np.int64)
    for row, (entity, begin, _, end) in enumerate(windows):
        holds = generator.choice(3, p=SHARES)
        if holds == NOTHING:
            continue
        good = usable[entity] & labelled[entity] if holds == FLUXES else usable[entity]
        need = int(np.ceil(LABELLED * length)) if holds == FLUXES else length
        free = _free(good, need, length, int(begin), int(end))
        if not len(free):
            continue
        chosen = _some(free, length, int(generator.integers(1, most + 1)), generator)
        known[row] = length if holds == FLUXES else 0
        if holds == FLUXES and generator.random() < SHORT:
            chosen, known[row] = chosen[:1], int(generator.integers(1, length + 1))
        first[row, : len(chosen)] = chosen
    return Drawn(first, known)


def _free(good: npt.NDArray[np.bool_], need: int, length: int, begin: int, end: int) -> Positions:
    """First steps of windows with enough good steps that do not touch steps begin to end."""
    count = np.concatenate([[0], good.cumsum()])
    enough = count[length:] - count[:-length] >= need
    enough[max(0, begin - length + 1) : end] = False
    return np.flatnonzero(enough)


def _some(free: Positions, length: int, count: int, generator: np.random.Generator) -> Positions:
    """Windows scattered over the record, or as often one after the other as in a campaign."""
    if generator.random() < 0.5:
        return generator.choice(free, size=min(count, len(free)), replace=False)
    row = int(generator.choice(free)) + length * np.arange(count)
    return row[np.isin(row, free)]


def take(
    tensors: Tensors,
    means: Tensor,
    entity: npt.NDArray[np.int64],
    drawn: Drawn,
    length: int,
    shift: Shift,
    inputs: Inputs,
) -> Support:
    """Copy supports out of the tensors, disturbed as the windows that they belong to.

    An offset of a driver is the same offset of its running means.
    """
    device = tensors.drivers.device
    first = torch.from_numpy(drawn.first).to(device)
    step = first.clamp(min=0).unsqueeze(-1) + torch.arange(length, device=device)
    row = torch.from_numpy(entity).to(device)[:, None, None]
    drivers, width = tensors.drivers[row, step], len(inputs.drivers)
    flat = shift.on(drivers.flatten(1, 2), inputs).view_as(drivers)
    moved = (flat - drivers)[..., :width]
    spans = len(SPANS[inputs.time_step])
    keep = torch.from_numpy(shift.keep).to(device)[:, None, :, :width].repeat(1, 1, 1, spans)
    there = (first >= 0).float().unsqueeze(-1).expand(-1, -1, length)
    labelled = torch.from_numpy(drawn.labelled).to(device)
    early = torch.arange(length, device=device) < labelled[:, None]
    known = (tensors.weight[row, step] > 0) * there.unsqueeze(-1) * early[:, None, :, None]
    return Support(
        drivers=flat,
        means=(means[row, step] + moved.repeat(1, 1, 1, spans)) * keep,
        observed=torch.nan_to_num(tensors.targets[row, step]),
        known=known.float(),
        there=there,
    )


def _loss(tensors: Tensors, inputs: Inputs, settings: Settings, spread: Tensor) -> Loss:
    """The multi-loss, with what is known of the towers."""

    def loss(
        network: ModulatedMember, known: Known, done: float, generator: np.random.Generator
    ) -> Tensor:
        windows = known.windows
        steps = Steps.where(windows.scored)
        z = network.encode(known.support, windows.characteristics)
        fluxes, _ = network(windows.drivers, windows.characteristics, z=z, steps=steps)
        return both_networks(fluxes, windows, steps, spread, settings)

    return loss


TAM_RL = Recipe(batches=epoch, loss=_loss)
