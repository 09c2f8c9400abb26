"""TAM-RL over a tile of series: the engine of its members, beside `xflux.prediction.kernel`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from xflux.errors import ModelError
from xflux.networks.ct_lstm import STRIDE
from xflux.networks.tam_rl import ModulatedMember, Support
from xflux.prediction.kernel import Memory, series_at_once, time_first


class TamRlEngine:
    """The members of a TAM-RL ensemble, made ready to predict and to encode supports.

    The same numbers as `xflux.networks.tam_rl.ModulatedMember`. The columns of characteristics end
    with the z of each member, one after the other.

    Parameters
    ----------
    members : sequence of ModulatedMember
        On the device on which they are to run.

    Attributes
    ----------
    device : torch.device
    stride : int
        Steps that `advance` takes at most.

    Raises
    ------
    ModelError
        Members take running means over different spans.
    """

    def __init__(self, members: Sequence[ModulatedMember]) -> None:
        first = members[0].running
        if any(not torch.equal(member.running.spans, first.spans) for member in members):
            raise ModelError(
                "the members take running means over different spans, so they are of more than "
                "one training: train anew"
            )
        self.device, self.stride = first.kernel.device, STRIDE
        self.members, self.running = list(members), first
        self.width = sum(member.width for member in members)
        self.decay = torch.exp(-1.0 / first.spans.double())
        self.lstms = [time_first(member.recurrent.lstm) for member in members]

    def at_once(self, steps: int) -> int:
        """Series that go together where there are so many steps."""
        one = self.members[0]
        numbers = one.recurrent.lstm.input_size + one.direct.first.in_features + 16 * one.hidden
        return series_at_once(self.device, steps, numbers)

    def advance(
        self, drivers: Tensor, characteristics: Tensor, memory: Memory, run: Tensor
    ) -> tuple[Tensor, Memory]:
        """Go on by up to `stride` steps; see `xflux.prediction.kernel.Engine.advance`."""
        count, steps, _ = drivers.shape
        fixed, z = characteristics[:, : -self.width], characteristics[:, -self.width :]
        series, repeated = drivers.transpose(0, 1), fixed.expand(steps, -1, -1)
        joined = torch.cat([series, repeated], dim=-1)
        means, sums = self._means(series[..., : self.members[0].averaged], memory.sums, run)
        seen = torch.cat([series, means, repeated], dim=-1)
        fluxes = drivers.new_empty(len(self.members), count, steps, 2)
        hidden, cell = torch.empty_like(memory.hidden), torch.empty_like(memory.cell)
        for m, (member, own) in enumerate(zip(self.members, self._split(z), strict=True)):
            here = slice(m, m + 1)
            out, (hidden[here], cell[here]) = self.lstms[m](
                joined, (memory.hidden[here], memory.cell[here])
            )
            inner = functional.silu(member.direct.first(seen))
            inner = functional.silu(member.direct.second(inner))
            both = [
                functional.softplus(torch.einsum("tbh,bkh->tbk", units, weight) + bias)
                for units, (weight, bias) in zip((out, inner), member.heads(own), strict=True)
            ]
            flux = (both[0] + both[1]) * (0.5 * member.spread[:2])
            fluxes[m] = flux.transpose(0, 1)
        return fluxes, Memory(hidden, cell, sums)

    def encode(self, support: Support, characteristics: Tensor) -> Tensor:
        """The z of every member, one after the other, (B, the sum of Z)."""
        return torch.cat([m.encode(support, characteristics) for m in self.members], dim=-1)

    def _split(self, z: Tensor) -> tuple[Tensor, ...]:
        return z.split([member.width for member in self.members], dim=-1)

    def _means(self, drivers: Tensor, sums: Tensor, run: Tensor) -> tuple[Tensor, Tensor]:
        """Running means (T, B, S * A) of (T, B, A), and their sums at the end, (B, S, A)."""
        steps = len(drivers)
        kernel, fade = self.running.kernel[:, :steps, :steps], self.running.fade[:, :steps]
        total = torch.einsum("sij,jba->siba", kernel, drivers)
        total = total + fade[:, :, None, None] * sums.transpose(0, 1).unsqueeze(1)
        before = (1.0 - self.decay[:, None] ** run).float()
        ones = kernel.sum(-1)[:, :, None] + fade[:, :, None] * before[:, None, :]
        means = (total / ones.unsqueeze(-1)).permute(1, 2, 0, 3).flatten(2)
        return means, total[:, -1].transpose(0, 1)
