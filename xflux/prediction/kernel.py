"""All members over a tile of series in plain torch, on any device: `Member` without the waste.

The same numbers as `xflux.networks.ct_lstm.Member`, which is the reference. What all members share
is computed once: running means, and inputs joined to characteristics. What characteristics add to
the network over means is computed once a series. On a CPU few series and few steps go at a time, so
that all of it stays in the cache.

Shapes: ``M`` members, ``B`` series, ``T`` steps, ``D`` driver columns of which the first ``A`` are
averaged, ``K`` characteristic columns, ``H`` hidden units, ``S`` spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from xflux.networks.ct_lstm import STRIDE, Member

TILE = 128
"""Series that go together on a CPU; up to four times as many where there are few steps."""

ROWS = 1024
"""Series times steps that go through the network over means together on a CPU."""


class Memory(NamedTuple):
    """What the members remember of series.

    Attributes
    ----------
    hidden, cell : Tensor
        State of each LSTM, (M, B, H).
    sums : Tensor
        Decaying sums of the drivers, (B, S, A), the same for all members.
    """

    hidden: Tensor
    cell: Tensor
    sums: Tensor


class _Weights(NamedTuple):
    """One member: an LSTM that takes time first, and the layers as matrices to multiply with.

    The heads are in float32, all else in the engine's precision.
    """

    lstm: nn.LSTM
    heads: tuple[Tensor, Tensor]
    seen: Tensor
    fixed: tuple[Tensor, Tensor]
    second: tuple[Tensor, Tensor]
    direct: tuple[Tensor, Tensor]
    spread: Tensor


def series_at_once(device: torch.device, steps: int, numbers: int) -> int:
    """Series that go together on a device, where a series takes so many numbers at each step."""
    if device.type == "cpu":
        return TILE * max(1, min(4, STRIDE // steps))
    free, _ = torch.cuda.mem_get_info(device)
    return max(TILE, free // 4 // (4 * numbers * min(steps, STRIDE)))


def time_first(lstm: nn.LSTM) -> nn.LSTM:
    """The same LSTM on the same device, but with time as the first dimension."""
    with torch.random.fork_rng(devices=()):  # the first weights are random, and thrown away
        turned = nn.LSTM(lstm.input_size, lstm.hidden_size)
    turned.load_state_dict(lstm.state_dict())
    return turned.to(next(lstm.parameters()).device).eval().requires_grad_(False)


class Engine:
    """The members of an ensemble, made ready to predict.

    Parameters
    ----------
    members : sequence of Member
        On the device on which they are to run, with the same spans.
    drivers : int
        D: the columns of the input before those of characteristics.
    dtype : torch.dtype
        In which the layers are computed; running means, heads and what is remembered are float32.

    Attributes
    ----------
    device : torch.device
    stride : int
        Steps that `advance` takes at most.
    """

    def __init__(
        self, members: Sequence[Member], *, drivers: int, dtype: torch.dtype = torch.float32
    ) -> None:
        running = members[0].running
        self.device, self.stride, self.dtype = running.kernel.device, STRIDE, dtype
        self.averaged, self.outputs = members[0].averaged, len(members[0].spread)
        self.kernel, self.fade = running.kernel, running.fade
        self.ones = running.kernel.sum(-1)
        self.decay = torch.exp(-1.0 / running.spans.double())
        self.members = [_arrange(member, drivers, dtype) for member in members]

    def at_once(self, steps: int) -> int:
        """Series that go together where there are so many steps.

        On a GPU as many as a quarter of its free memory holds.
        """
        member = self.members[0]
        numbers = member.lstm.input_size + len(member.seen) + 16 * member.lstm.hidden_size
        return series_at_once(self.device, steps, numbers)

    def advance(
        self, drivers: Tensor, characteristics: Tensor, memory: Memory, run: Tensor
    ) -> tuple[Tensor, Memory]:
        """Go on by up to `STRIDE` steps.

        Parameters
        ----------
        drivers : Tensor
            Shape (B, T, D), T at most `STRIDE`.
        characteristics : Tensor
            Shape (B, K).
        memory : Memory
        run : Tensor
            Shape (B,), float64: steps of each series that the memory has seen.

        Returns
        -------
        fluxes : Tensor
            Shape (M, B, T, outputs): GPP and Reco, g m-2 d-1.
        memory : Memory
        """
        count, steps, _ = drivers.shape
        series = drivers.transpose(0, 1)
        means, sums = self._means(series[..., : self.averaged], memory.sums, run)
        joined = torch.cat([series, characteristics.expand(steps, -1, -1)], dim=-1).to(self.dtype)
        seen = torch.cat([series, means], dim=-1).to(self.dtype)
        fluxes = drivers.new_empty(len(self.members), count, steps, self.outputs)
        hidden, cell = torch.empty_like(memory.hidden), torch.empty_like(memory.cell)
        before = memory.hidden.to(self.dtype), memory.cell.to(self.dtype)
        for m, member in enumerate(self.members):
            out, (hidden[m : m + 1], cell[m : m + 1]) = member.lstm(
                joined, (before[0][m : m + 1], before[1][m : m + 1])
            )
            flux = functional.softplus(functional.linear(out.float(), *member.heads))
            flux += self._direct(member, seen, characteristics.to(self.dtype))
            torch.mul(flux.transpose(0, 1), 0.5 * member.spread, out=fluxes[m])
        return fluxes, Memory(hidden, cell, sums)

    def _means(self, drivers: Tensor, sums: Tensor, run: Tensor) -> tuple[Tensor, Tensor]:
        """Running means (T, B, S * A) of (T, B, A), and their sums at the end, (B, S, A)."""
        steps, count, averaged = drivers.shape
        spans = len(self.decay)
        kernel = self.kernel[:, :steps, :steps].reshape(spans * steps, steps)
        total = (kernel @ drivers.reshape(steps, -1)).view(spans, steps, count, averaged)
        fade = self.fade[:, :steps, None]
        total += fade[..., None] * sums.transpose(0, 1)[:, None]
        before = (1.0 - self.decay[:, None] ** run).float()
        ones = self.ones[:, :steps, None] + fade * before[:, None]
        means = (total / ones[..., None]).permute(1, 2, 0, 3).flatten(2)
        return means, total[:, -1].transpose(0, 1)

    def _direct(self, member: _Weights, seen: Tensor, characteristics: Tensor) -> Tensor:
        """The network over means, (T, B, outputs)."""
        steps, count, _ = seen.shape
        fixed = torch.addmm(member.fixed[0], characteristics, member.fixed[1])
        fluxes = member.spread.new_empty(steps, count, self.outputs)
        some = max(1, ROWS // count) if self.device.type == "cpu" else steps
        for part, flux in zip(seen.split(some), fluxes.split(some), strict=True):
            hidden = functional.silu((part @ member.seen).add_(fixed), inplace=True)
            hidden = functional.silu(functional.linear(hidden, *member.second), inplace=True)
            flux.copy_(functional.softplus(functional.linear(hidden.float(), *member.direct)))
        return fluxes


def _arrange(member: Member, drivers: int, dtype: torch.dtype) -> _Weights:
    network, direct = member.recurrent, member.direct
    first = direct.first.weight.T
    varying = len(first) - (network.lstm.input_size - drivers)
    return _Weights(
        lstm=time_first(network.lstm).to(dtype),
        heads=(network.heads.weight, network.heads.bias),
        seen=first[:varying].to(dtype).contiguous(),
        fixed=(direct.first.bias.to(dtype), first[varying:].to(dtype).contiguous()),
        second=(direct.second.weight.to(dtype), direct.second.bias.to(dtype)),
        direct=(direct.heads.weight, direct.heads.bias),
        spread=member.spread,
    )
