"""All members over a tile of series, time first, some steps at a time: the fast way to predict.

The same numbers as `xflux.networks.Member`, which is the reference. What all members share is
computed once: running means, and inputs joined to characteristics. `STRIDE` steps at a time stay
in the processor's cache, and what characteristics add to a linear layer is computed once a series.

Shapes: ``M`` members, ``B`` series, ``T`` steps, ``D`` driver columns of which the first ``A`` are
averaged, ``K`` characteristic columns, ``H`` hidden units, ``S`` spans.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from xflux.errors import ModelError
from xflux.networks import STRIDE, Member


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
    """One member: an LSTM that takes time first, and the layers as matrices to multiply with."""

    lstm: nn.LSTM
    heads: tuple[Tensor, Tensor]
    seen: Tensor
    fixed: tuple[Tensor, Tensor]
    second: tuple[Tensor, Tensor]
    direct: tuple[Tensor, Tensor]
    spread: Tensor


class Engine:
    """The members of an ensemble, made ready to predict.

    Parameters
    ----------
    members : sequence of Member
        On the device on which they are to run.
    drivers : int
        D: the columns of the input before those of characteristics.

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

    def __init__(self, members: Sequence[Member], *, drivers: int) -> None:
        running = members[0].running
        if any(not torch.equal(member.running.spans, running.spans) for member in members):
            raise ModelError("the members take running means over different spans: train anew")
        self.device, self.stride = running.kernel.device, STRIDE
        self.averaged, self.outputs = members[0].averaged, len(members[0].spread)
        self.kernel, self.fade = running.kernel, running.fade
        self.ones = running.kernel.sum(-1)
        self.decay = torch.exp(-1.0 / running.spans.double())
        self.members = [_arrange(member, drivers) for member in members]

    def advance(
        self, drivers: Tensor, characteristics: Tensor, memory: Memory, run: Tensor
    ) -> tuple[Tensor, Memory]:
        """Go on by up to `STRIDE` steps.

        Parameters
        ----------
        drivers : Tensor
            Shape (T, B, D), T at most `STRIDE`.
        characteristics : Tensor
            Shape (B, K).
        memory : Memory
        run : Tensor
            Shape (B,), float64: steps of each series that the memory has seen.

        Returns
        -------
        fluxes : Tensor
            Shape (M, T, B, outputs): GPP and Reco, g m-2 d-1.
        memory : Memory
        """
        steps, count, _ = drivers.shape
        joined = torch.cat([drivers, characteristics.expand(steps, -1, -1)], dim=-1)
        means, sums = self._means(drivers[..., : self.averaged], memory.sums, run)
        seen = torch.cat([drivers, means], dim=-1).flatten(0, 1)
        fluxes = drivers.new_empty(len(self.members), steps, count, self.outputs)
        hidden, cell = torch.empty_like(memory.hidden), torch.empty_like(memory.cell)
        for m, member in enumerate(self.members):
            out, (hidden[m : m + 1], cell[m : m + 1]) = member.lstm(
                joined, (memory.hidden[m : m + 1], memory.cell[m : m + 1])
            )
            flux = functional.softplus(functional.linear(out.flatten(0, 1), *member.heads))
            flux += self._direct(member, seen, characteristics, steps)
            torch.mul(flux.view(fluxes.shape[1:]), 0.5 * member.spread, out=fluxes[m])
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

    def _direct(
        self, member: _Weights, seen: Tensor, characteristics: Tensor, steps: int
    ) -> Tensor:
        """The network over means, (T * B, outputs)."""
        fixed = torch.addmm(member.fixed[0], characteristics, member.fixed[1])
        first = (seen @ member.seen).view(steps, len(fixed), -1).add_(fixed)
        hidden = functional.silu(first, inplace=True).flatten(0, 1)
        hidden = functional.silu(functional.linear(hidden, *member.second), inplace=True)
        return functional.softplus(functional.linear(hidden, *member.direct))


def _arrange(member: Member, drivers: int) -> _Weights:
    network, direct = member.recurrent, member.direct
    with torch.random.fork_rng(devices=()):  # the first weights are random, and thrown away
        lstm = nn.LSTM(network.lstm.input_size, member.hidden)
    lstm.load_state_dict(network.lstm.state_dict())
    first = direct.first.weight.T
    varying = len(first) - (network.lstm.input_size - drivers)
    return _Weights(
        lstm=lstm.to(member.spread.device).eval().requires_grad_(False),
        heads=(network.heads.weight, network.heads.bias),
        seen=first[:varying].contiguous(),
        fixed=(direct.first.bias, first[varying:].contiguous()),
        second=(direct.second.weight, direct.second.bias),
        direct=(direct.heads.weight, direct.heads.bias),
        spread=member.spread,
    )
