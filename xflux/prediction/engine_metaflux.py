"""MetaFlux over a tile of series: the engine of its members, beside `xflux.prediction.kernel`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xflux.networks import STRIDE
from xflux.networks_metaflux import MetaFluxMember, OneFlux
from xflux.prediction.kernel import Memory


class MetaFluxEngine:
    """The members of a MetaFlux ensemble, made ready to predict.

    The same numbers as `xflux.networks_metaflux.MetaFluxMember`, by the fused LSTM. The memory of a
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
        self.lstms = [[_time_first(net) for net in (m.gpp, m.reco)] for m in members]

    def advance(
        self, drivers: Tensor, characteristics: Tensor, memory: Memory, run: Tensor
    ) -> tuple[Tensor, Memory]:
        """Go on by up to `stride` steps; see `xflux.prediction.kernel.Engine.advance`.

        ``characteristics`` holds the scaling of each series, (B, 2 D), or nothing, (B, 0).
        """
        steps, count, _ = drivers.shape
        fluxes = drivers.new_empty(len(self.members), steps, count, 2)
        hidden, cell = torch.empty_like(memory.hidden), torch.empty_like(memory.cell)
        for m, member in enumerate(self.members):
            seen = member.scaled(drivers, characteristics)
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
                fluxes[m, ..., k] = network.heads(out)
        return fluxes, Memory(hidden, cell, memory.sums)


def _time_first(network: OneFlux) -> nn.LSTM:
    """The LSTM of a network, but with time as the first dimension."""
    own = network.lstm
    with torch.random.fork_rng(devices=()):  # the first weights are random, and thrown away
        lstm = nn.LSTM(own.input_size, own.hidden_size)
    lstm.load_state_dict(own.state_dict())
    return lstm.to(network.out.weight.device).eval().requires_grad_(False)
