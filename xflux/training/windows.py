"""Windows of training: cut by index on the tensors of all towers, and disturbed on purpose.

A window is ``spin_up`` steps that only build up the state, then ``window`` scored steps. The scored
parts of an epoch tile every tower's record, from a random phase, so each labelled step counts once
an epoch. At the start of a record there is no spin-up: the network learns what to say with no past.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xflux.features import Inputs
from xflux.training.settings import Settings

DRIVER_GROUPS: tuple[tuple[str, ...], ...] = (
    ("LAI", "EVI", "NDVI", "FAPAR"),
    ("EVI", "NDVI", "FAPAR"),
    ("TA_MIN", "TA_MAX"),
    ("P",),
    ("VPD",),
)
"""Optional drivers that are taken away together in training, as sources are missing together."""


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """All towers on the device.

    Attributes
    ----------
    drivers : Tensor
        Shape (N, T, inputs.width), normalised.
    characteristics : Tensor
        Shape (N, K).
    targets, weight : Tensor
        Shape (N, T, 3); NaN and 0 where missing.
    records : numpy.ndarray
        Shape (S, 3): entity, first step and end of every unbroken stretch of drivers.
    target : numpy.ndarray
        Shape (N,): which entities are the target domain of MetaFlux; none for other methods.
    world : Tensors, optional
        Drivers without labels, for what is known of any weather.
    """

    drivers: Tensor
    characteristics: Tensor
    targets: Tensor
    weight: Tensor
    records: npt.NDArray[np.int64]
    target: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    world: Tensors | None = None


class Batch(NamedTuple):
    """Windows of a batch: shapes (B, L, D), (B, K), (B, L, 3) and (B, L, 3).

    ``undisturbed`` (B, L, D), once a batch is disturbed: the drivers without their offset.
    """

    drivers: Tensor
    characteristics: Tensor
    targets: Tensor
    weight: Tensor
    undisturbed: Tensor | None = None

    @property
    def scored(self) -> Tensor:
        """Where any target counts, shape (B, L)."""
        return (self.weight > 0).any(dim=-1)


def cut(
    tensors: Tensors, settings: Settings, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Windows of one epoch, shape (M, 4): entity, first step, first scored step, end.

    Windows without any weight are left out.
    """
    labelled = (tensors.weight.sum(dim=-1) > 0).cpu().numpy()
    counts = np.concatenate([np.zeros((len(labelled), 1), int), labelled.cumsum(axis=1)], axis=1)
    rows = []
    for entity, start, end in tensors.records:
        length = settings.window
        phase = int(generator.integers(0, length)) if end - start > length else 0
        for low in range(start - phase, end, length):
            scored, stop = max(start, low), min(end, low + length)
            if counts[entity, stop] > counts[entity, scored]:
                rows.append((entity, max(start, scored - settings.spin_up), scored, stop))
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


def epoch(
    tensors: Tensors, inputs: Inputs, settings: Settings, seed: tuple[int, ...]
) -> Iterator[Batch]:
    """Batches of one epoch in random order, a pure function of the seed.

    Parameters
    ----------
    tensors : Tensors
    inputs : Inputs
    settings : Settings
    seed : tuple of int
        Seed, member and epoch: a resumed training draws exactly what an unbroken one would.

    Yields
    ------
    Batch
    """
    generator = np.random.default_rng(seed)
    windows = generator.permutation(cut(tensors, settings, generator), axis=0)
    for first in range(0, len(windows), settings.batch):
        chosen = windows[first : first + settings.batch]
        yield disturb(gather(tensors, chosen), inputs, settings, generator)


def batches_in_epoch(tensors: Tensors, settings: Settings) -> int:
    """Largest number of batches that an epoch can have."""
    lengths = tensors.records[:, 2] - tensors.records[:, 1]
    windows = (np.ceil(lengths / settings.window) + (lengths > settings.window)).sum()
    return max(1, int(np.ceil(windows / settings.batch)))


def gather(tensors: Tensors, windows: npt.NDArray[np.int64]) -> Batch:
    """Copy windows out of the tensors; shorter ones are padded at the end with no weight."""
    entity, start, scored, end = torch.from_numpy(windows).to(tensors.drivers.device).unbind(1)
    length = int((end - start).max())
    step = start[:, None] + torch.arange(length, device=start.device)
    inside = (step >= scored[:, None]) & (step < end[:, None])
    steps = tensors.drivers.shape[1]
    row = (entity[:, None] * steps + step.clamp(max=steps - 1)).flatten()

    def taken(values: Tensor) -> Tensor:
        return values.flatten(0, 1).index_select(0, row).view(*step.shape, -1)

    return Batch(
        taken(tensors.drivers),
        tensors.characteristics[entity],
        taken(tensors.targets),
        taken(tensors.weight).mul_(inside[..., None]),
    )


class Shift(NamedTuple):
    """A disturbance of the drivers of B windows: offsets, and 0 for what is gone, (B, 1, W)."""

    offset: npt.NDArray[np.float32]
    keep: npt.NDArray[np.float32]

    def on(self, drivers: Tensor, inputs: Inputs) -> Tensor:
        """Disturb drivers, (B, L, W)."""
        return self.present(drivers + _absent_stay_zero(drivers, inputs, self.offset))

    def present(self, drivers: Tensor) -> Tensor:
        """Take away what is gone, of (B, L, W)."""
        return drivers * torch.from_numpy(self.keep).to(drivers.device)


def draw_shift(
    count: int, inputs: Inputs, settings: Settings, generator: np.random.Generator
) -> Shift:
    """Draw offsets of all drivers, and groups of optional drivers to take away."""
    offset = np.zeros((count, 1, inputs.width), dtype=np.float32)
    width = len(inputs.drivers)
    offset[..., :width] = generator.normal(0.0, settings.driver_offset, (count, 1, width))
    keep = np.ones((count, 1, inputs.width), dtype=np.float32)
    for group in DRIVER_GROUPS:
        gone = generator.random(count) < settings.driver_dropout
        for name in set(group) & set(inputs.optional):
            for column in inputs.columns_of(name):
                keep[gone, :, column] = 0.0
    return Shift(offset, keep)


def disturb(
    batch: Batch,
    inputs: Inputs,
    settings: Settings,
    generator: np.random.Generator,
    *,
    shift: Shift | None = None,
) -> Batch:
    """Make towers harder to recognise, and drivers harder to lean on.

    Each driver of a window gets a constant random offset; numeric characteristics get noise,
    categories are hidden in a share of the windows; groups of optional drivers are taken away.
    ``shift`` is drawn where it is not given.
    """
    shift = shift or draw_shift(len(batch.drivers), inputs, settings, generator)
    return batch._replace(
        drivers=shift.on(batch.drivers, inputs),
        characteristics=_noisy(batch.characteristics, inputs, settings, generator),
        undisturbed=shift.present(batch.drivers),
    )


def _absent_stay_zero(drivers: Tensor, inputs: Inputs, offset: npt.NDArray[np.float32]) -> Tensor:
    """The offset, but none where an optional driver is missing."""
    spread = torch.from_numpy(offset).to(drivers.device).expand_as(drivers).clone()
    flags = inputs.width - len(inputs.optional)
    for k, name in enumerate(inputs.optional):
        spread[..., inputs.drivers.index(name)] *= drivers[..., flags + k]
    return spread


def _noisy(
    characteristics: Tensor, inputs: Inputs, settings: Settings, generator: np.random.Generator
) -> Tensor:
    count = len(characteristics)
    scale = np.ones((count, inputs.characteristic_width), dtype=np.float32)
    shift = np.zeros_like(scale)
    column = 0
    for item in inputs.characteristics:
        here = slice(column, column + item.width)
        if item.classes:
            scale[generator.random(count) < settings.characteristic_dropout, here] = 0.0
        else:
            shift[:, here] = generator.normal(0.0, settings.characteristic_noise, (count, 1))
        column += item.width
    device = characteristics.device
    return characteristics * torch.from_numpy(scale).to(device) + torch.from_numpy(shift).to(device)
