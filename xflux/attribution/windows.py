"""The windows before some fluxes, and what a member remembers when each of them begins."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xflux.attribution.gradients import Point
from xflux.networks.ct_lstm import Member, Steps

TOGETHER = 128
"""Series that run together to where windows begin."""

Places = npt.NDArray[np.int64]


class Asked(NamedTuple):
    """Fluxes to explain, one value each: series, step, and steps of its stretch up to there."""

    row: Places
    step: Places
    run: Places

    def take(self, index: Places) -> Asked:
        """Some of them."""
        return Asked(*(part[index] for part in self))


class Series(NamedTuple):
    """Series as the network sees them: drivers (C, T, W) and characteristics (C, K)."""

    drivers: npt.NDArray[np.float32]
    fixed: npt.NDArray[np.float32]


class Begun(NamedTuple):
    """What is remembered where windows begin: (J, H), (J, H) and (J, S, A) for J fluxes."""

    hidden: Tensor
    cell: Tensor
    sums: Tensor


def groups(asked: Asked, lags: int, rows: int) -> Iterator[Places]:
    """Fluxes whose windows are of one length, so many that about ``rows`` steps go together."""
    length = np.minimum(asked.run, lags)
    for steps in np.unique(length):
        index = np.flatnonzero(length == steps)
        size = max(1, rows // int(steps))
        for first in range(0, len(index), size):
            yield index[first : first + size]


@torch.no_grad()
def begin(member: Member, series: Series, asked: Asked, lags: int) -> Begun:
    """Run the member from the start of each stretch to where the windows begin.

    A window that begins with its stretch begins with nothing remembered.
    """
    count, spans = len(asked.row), len(member.running.spans)
    zeros = member.spread.new_zeros
    begun = Begun(
        zeros(count, member.hidden),
        zeros(count, member.hidden),
        zeros(count, spans, member.averaged),
    )
    ago = np.maximum(asked.run - lags, 0)
    stretch = np.stack([asked.row, asked.step - asked.run + 1], axis=1)
    different, which = np.unique(stretch, axis=0, return_inverse=True)
    which = which.reshape(-1)
    for first in range(0, len(different), TOGETHER):
        here = (which >= first) & (which < first + TOGETHER) & (ago > 0)
        jobs = np.flatnonzero(here)
        if len(jobs):
            some = different[first : first + TOGETHER]
            _advance(member, series, some, begun, jobs, which[jobs] - first, ago[jobs])
    return begun


def _advance(
    member: Member,
    series: Series,
    stretches: Places,
    begun: Begun,
    jobs: Places,
    which: Places,
    ago: Places,
) -> None:
    """Fill in what is remembered for some fluxes, stop by stop; all stretches go side by side."""
    row, start = stretches.T
    fixed = torch.from_numpy(series.fixed[row])
    state, nothing = member.start(len(row)), torch.zeros(0, dtype=torch.int64)
    final = series.drivers.shape[1] - 1
    for before, stop in itertools.pairwise([0, *np.unique(ago).tolist()]):
        steps = np.minimum(start[:, None] + np.arange(before, stop), final)
        drivers = torch.from_numpy(series.drivers[row[:, None], steps])
        _, state = member(drivers, fixed, state, steps=Steps(nothing, nothing))
        ready = ago == stop
        begun.hidden[jobs[ready]] = state.hidden[0, which[ready]]
        begun.cell[jobs[ready]] = state.cell[0, which[ready]]
        begun.sums[jobs[ready]] = state.sums[which[ready]]


def point(series: Series, begun: Begun, asked: Asked, index: Places, lags: int) -> Point:
    """All that some fluxes, with windows of one length, depend on."""
    some = asked.take(index)
    length = min(int(some.run[0]), lags)
    steps = some.step[:, None] + np.arange(1 - length, 1)
    return Point(
        torch.from_numpy(series.drivers[some.row[:, None], steps]),
        torch.from_numpy(series.fixed[some.row]),
        begun.hidden[index],
        begun.cell[index],
        begun.sums[index],
    )
