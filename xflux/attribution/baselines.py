"""What contributions are told against: the mean day of training, or a day that is usual here."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xflux.attribution.windows import Series
from xflux.features import Assembled, Inputs

BASELINES = ("training", "entity", "climatology")

BINS = {"daily": (365, 15), "monthly": (12, 0)}
"""Parts of the year of a climatology, and how many on either side are averaged into each."""


def baseline_series(
    kind: str, block: Assembled, inputs: Inputs, fraction: npt.NDArray[np.float32]
) -> Series:
    """The series with usual values in place of their own, in the columns of the network.

    What is not there is not there in the baseline either, so its absence contributes nothing.

    Parameters
    ----------
    kind : str
        One of `BASELINES`.
    block : Assembled
        C series of T steps.
    inputs : Inputs
    fraction : numpy.ndarray
        Shape (T,): position of each step in the year.
    """
    drivers = block.drivers.copy()
    flags = len(inputs.drivers) + len(inputs.derived)
    there = _there(block, inputs)
    if kind == "training":
        drivers[..., :flags] = 0.0
        return Series(drivers, np.zeros_like(block.characteristics))
    values = drivers[..., :flags].astype(np.float64)
    parts, beside = BINS[inputs.time_step] if kind == "climatology" else (1, 0)
    part = np.minimum((fraction * parts).astype(np.int64), parts - 1)
    usual = _means(values, there & block.usable[..., None], part, parts, beside)
    drivers[..., :flags] = np.where(there, usual[:, part], drivers[..., :flags])
    return Series(drivers, block.characteristics)


def _there(block: Assembled, inputs: Inputs) -> npt.NDArray[np.bool_]:
    """Which columns of drivers hold a value, (C, T, drivers and derived)."""
    flags = len(inputs.drivers) + len(inputs.derived)
    there = np.ones((*block.usable.shape, flags), dtype=bool)
    for k, name in enumerate(inputs.optional):
        for column in inputs.columns_of(name):
            if column < flags:
                there[..., column] &= block.drivers[..., flags + k] > 0
    return there


def _means(
    values: npt.NDArray[np.float64],
    counted: npt.NDArray[np.bool_],
    part: npt.NDArray[np.int64],
    parts: int,
    beside: int,
) -> npt.NDArray[np.float64]:
    """Means of each part of the year and its neighbours, (C, parts, columns); 0 without values."""
    shape = (len(values), parts, values.shape[2])
    sums, counts = np.zeros(shape), np.zeros(shape)
    for step, place in enumerate(part):
        sums[:, place] += np.where(counted[:, step], values[:, step], 0.0)
        counts[:, place] += counted[:, step]
    around = range(-beside, beside + 1)
    total = sum(np.roll(sums, shift, axis=1) for shift in around)
    number = sum(np.roll(counts, shift, axis=1) for shift in around)
    return np.asarray(total / np.maximum(number, 1.0))
