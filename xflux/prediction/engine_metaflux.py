"""MetaFlux over a tile of series: the engine of its members, beside `xflux.prediction.kernel`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xflux.networks.ct_lstm import STRIDE
from xflux.networks.metaflux import MetaFluxMember
from xflux.prediction.kernel import Memory, series_at_once, time_first


class MetaFluxEngine:
    """The members of a MetaFlux ensemble, made ready to predict.

    The same numbers as `xflux.networks.metaflux.MetaFluxMember`, by the fused LSTM. The memory of a
    member is that of its two LSTMs, one after the other; there are no sums.

    Attributes
    ----------
    device : torch.device
    stride : int
        Steps that `advance` takes at most.
    """

    def __init__(self, members: Sequence[MetaFluxMember]) -> None:
        self.device, self.stride = members[0].flagged.device, STRIDE
        self.members = list(members)
        self.lstms = [[time_first(net.lstm) for net in (m.gpp, m.reco)] for m in members]

    def at_once(self, steps: int) -> int:
        """Series that go together where there are so many steps."""
        one = self.members[0]
        return series_at_once(self.device, steps, 2 * one.drivers + 12 * one.hidden)

    def advance(
        self, drivers: Tensor, characteristics: Tensor, memory: Memory, run: Tensor
    ) -> tuple[Tensor, Memory]:
        """Go on by up to `stride` steps; see `xflux.prediction.kernel.Engine.advance`.

        ``characteristics`` holds the scaling of each series, (B, 2 D), or nothing, (B, 0).
        """
        count, steps, _ = drivers.shape
        series = drivers.transpose(0, 1)
        fluxes = drivers.new_empty(len(self.members), count, steps, 2)
        hidden, cell = torch.empty_like(memory.hidden), torch.empty_like(memory.cell)
        for m, member in enumerate(self.members):
            seen = member.scaled(series, characteristics)
            for k, (network, lstm) in enumerate(
                zip((member.gpp, member.reco), self.lstms[m], strict=True)
            ):
                part = slice(k * member.hidden, (k + 1) * member.hidden)
                before = (
                    memory.hidden[m : m + 1, :, part].contiguous(),
                    memory.cell[m : m + 1, :, part].contiguous(),
                )
                out, after = lstm(seen, before)
                hidden[m : m + 1, :, part], cell[m : m + 1, :, part] = after
                fluxes[m, ..., k] = network.heads(out).T
        return fluxes, Memory(hidden, cell, memory.sums)
