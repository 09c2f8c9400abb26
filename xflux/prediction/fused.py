"""All members over any number of series by compiled code: the fastest way to predict on a CPU.

The same numbers as `xflux.prediction.kernel.Engine` and `xflux.networks.ct_lstm.Member`, to
rounding. The code of a step is written in `xflux.prediction.fused_step`; this is what stands
between it and the rest of xflux: weights in its order, arrays of the sizes that it counts on.

Shapes: ``M`` members, ``B`` series, ``T`` steps, ``D`` driver columns of which the first ``A`` are
averaged, ``K`` characteristic columns, ``H`` hidden units, ``S`` spans.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from xflux.features import Array
from xflux.prediction.fused_step import Shape, compiled, pack
from xflux.prediction.kernel import Memory
from xflux.prediction.vector_code import Tile

VECTORS = {8: 3, 16: 4}
"""Vectors of a tile by lanes: with 4 rows their sums fill the registers of AVX2 and of AVX-512."""

STRIDE = 512
"""Steps that are gathered at once."""

CELL_STEPS = 32 * 1024
"""Series times steps that are gathered at once, at least, where there are so many."""


class Engine:
    """The members of an ensemble, made ready to predict.

    Parameters
    ----------
    members : sequence of mapping of str to numpy.ndarray
        Weights of each member, by the names of `xflux.networks.ct_lstm.Member`.
    drivers : int
        D: the columns of the input before those of characteristics.
    lanes : int
        Numbers in a vector of this processor: 8 or 16.

    Attributes
    ----------
    device : torch.device
    stride : int
        Steps that `advance` should take at most.
    """

    def __init__(
        self,
        members: Sequence[Mapping[str, npt.NDArray[np.generic]]],
        *,
        drivers: int,
        lanes: int,
    ) -> None:
        first = members[0]
        spans, joined = first["running.spans"], first["recurrent.lstm.weight_ih_l0"].shape[1]
        averaged = (first["direct.first.weight"].shape[1] - joined) // len(spans)
        hidden = first["recurrent.heads.weight"].shape[1]
        self.device, self.stride = torch.device("cpu"), STRIDE
        self.spans = spans.astype(np.float64)
        self.shape = Shape(drivers, averaged, len(spans), joined - drivers, hidden)
        self.tiles = Tile(lanes, VECTORS[lanes], 4), Tile(lanes, 1, 8)
        self.weights = [
            {tile: pack(member, self.shape, tile.rows) for tile in self.tiles} for member in members
        ]

    def at_once(self, steps: int) -> int:
        """Series that go together where there are so many steps."""
        wide = self.tiles[0].series
        return wide * max(4, CELL_STEPS // (wide * min(steps, STRIDE)))

    def advance(
        self, drivers: Tensor, characteristics: Tensor, memory: Memory, run: Tensor
    ) -> tuple[Tensor, Memory]:
        """Go on by some steps.

        Parameters
        ----------
        drivers : Tensor
            Shape (B, T, D).
        characteristics : Tensor
            Shape (B, K).
        memory : Memory
        run : Tensor
            Shape (B,), float64: steps of each series that the memory has seen.

        Returns
        -------
        fluxes : Tensor
            Shape (M, B, T, 2): GPP and Reco, g m-2 d-1.
        memory : Memory
        """
        count, steps, _ = drivers.shape
        own, members = self.shape, len(self.weights)
        given = _array(drivers, count, steps, own.drivers)
        fixed = _array(characteristics, count, own.characteristics)
        hidden = _array(memory.hidden, members, count, own.hidden).copy()
        cell = _array(memory.cell, members, count, own.hidden).copy()
        before = _array(memory.sums, count, own.spans, own.averaged)
        seen = _array(run[:, None], count, 1) / self.spans
        ones = (-np.expm1(-seen)).astype(np.float32)
        sums = np.empty((members, *before.shape), dtype=np.float32)
        fluxes = np.empty((members, count, steps, 2), dtype=np.float32)
        for m, weights in enumerate(self.weights):
            sums[m] = before
            for tile, part in self._parts(count):
                state = ones[part].copy(), sums[m, part], hidden[m, part], cell[m, part]
                kernel = compiled(own, tile)
                kernel.run(given[part], fixed[part], state, fluxes[m, part], weights[tile])
        after = (torch.from_numpy(array) for array in (hidden, cell, sums[0]))
        return torch.from_numpy(fluxes), Memory(*after)

    def _parts(self, count: int) -> Iterator[tuple[Tile, slice]]:
        """Full tiles, and what is left in tiles of one vector unless that fills most of one."""
        wide, narrow = self.tiles
        left = count % wide.series
        whole = count - left if left <= wide.series - narrow.series else count
        if whole:
            yield wide, slice(whole)
        if whole < count:
            yield narrow, slice(whole, count)


def _array(tensor: Tensor, *shape: int) -> Array:
    """The numbers of a tensor in one piece; the compiled code trusts that they are so many."""
    if tuple(tensor.shape) != shape:
        raise ValueError(f"an array of shape {tuple(tensor.shape)} where {shape} was expected")
    return np.ascontiguousarray(tensor.numpy(), dtype=np.float32)
