"""The networks of a member: a CT-LSTM, and a network over running means of the same drivers.

Shapes: ``B`` entities in a batch, ``T`` steps, ``D`` driver columns, ``K`` characteristic columns,
``H`` hidden units, ``S`` spans of running means.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

STRIDE = 64
"""Steps for which running means are computed at once."""


class State(NamedTuple):
    """What a member remembers of a series, to go on from.

    Attributes
    ----------
    hidden, cell : Tensor
        State of the LSTM, (1, B, H) each.
    sums : Tensor
        Decaying sums of the drivers, (B, S, D).
    weights : Tensor
        Decaying sums of ones, (S,): less than 1 near the start of a series.
    """

    hidden: Tensor
    cell: Tensor
    sums: Tensor
    weights: Tensor


class Steps(NamedTuple):
    """Some of the steps of a batch, those that are scored: what is not scored need not be computed.

    Attributes
    ----------
    row : Tensor
        Shape (n,): their places among all B * T steps, those of the first series first.
    series : Tensor
        Shape (n,): the series of each, from 0 to B - 1.
    """

    row: Tensor
    series: Tensor

    @classmethod
    def where(cls, wanted: Tensor) -> Steps:
        """The steps at which ``wanted``, of shape (B, T), is true."""
        row = wanted.flatten().nonzero().squeeze(1)
        return cls(row, row.div(wanted.shape[1], rounding_mode="floor"))


def pick(values: Tensor, steps: Steps | None) -> Tensor:
    """Of (B, T, X) the wanted steps, (n, X); all of it where no steps are given."""
    return values if steps is None else values.flatten(0, 1).index_select(0, steps.row)


def repeat(values: Tensor, length: int, steps: Steps | None) -> Tensor:
    """(B, X) at every step, (B, T, X), or at the wanted ones, (n, X)."""
    if steps is None:
        return values.unsqueeze(1).expand(-1, length, -1)
    return values.index_select(0, steps.series)


class SharedDropout(nn.Module):
    """Dropout that takes the same units away at every step of a window.

    After Gal and Ghahramani (2016, arXiv:1512.05287): a unit that is gone for a moment only can be
    read from its neighbours in time.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, hidden: Tensor, count: int, steps: Steps | None = None) -> Tensor:
        """Drop units of (B, T, H), or (n, H), of ``count`` series; the mean is kept by scaling."""
        if not self.training or self.share == 0.0:
            return hidden
        keep = torch.rand(count, hidden.shape[-1], device=hidden.device) >= self.share
        return hidden * repeat(keep / (1.0 - self.share), hidden.shape[1], steps)


class CTLSTM(nn.Module):
    """Concatenation LSTM: at every step the characteristics are joined to the drivers.

    The hidden sequence goes through dropout and a linear layer to one number each for GPP and
    Reco; softplus keeps both positive.

    Parameters
    ----------
    drivers, characteristics, hidden : int
        D, K and H.
    outputs : int
        Number of heads.
    dropout : float
        Share of hidden units that are dropped before the heads in training.

    References
    ----------
    LSTM: Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735. Characteristics at
    every step: Kratzert et al. 2019, doi:10.5194/hess-23-5089-2019. A forget gate that starts
    open: Gers et al. 2000, doi:10.1162/089976600300015015.
    """

    def __init__(
        self, drivers: int, characteristics: int, hidden: int, *, outputs: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.lstm = nn.LSTM(drivers + characteristics, hidden, batch_first=True)
        self.dropout = SharedDropout(dropout)
        self.heads = nn.Linear(hidden, outputs)
        with torch.no_grad():
            dict(self.lstm.named_parameters())["bias_hh_l0"][hidden : 2 * hidden] = 1.0

    def forward(
        self,
        drivers: Tensor,
        characteristics: Tensor,
        state: tuple[Tensor, Tensor] | None = None,
        *,
        steps: Steps | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Fluxes in units of their spread, (B, T, outputs), and the state at the end.

        With ``steps`` the fluxes at those alone, (n, outputs).
        """
        repeated = repeat(characteristics, drivers.shape[1], None)
        hidden, state = self.lstm(torch.cat([drivers, repeated], dim=-1), state)
        hidden = self.dropout(pick(hidden, steps), len(drivers), steps)
        return functional.softplus(self.heads(hidden)), state


class RunningMeans(nn.Module):
    """Exponential means of the drivers over several spans, without looking ahead.

    ``m_t = sum_s d^(t-s) x_s / sum_s d^(t-s)`` with ``d = exp(-1 / span)``: near the start of a
    series it is the mean of what there is. Inside of `STRIDE` steps the sums are one product with
    a triangular matrix, for all blocks of steps at once; then they are carried from block to block.

    Parameters
    ----------
    spans : tuple of float
        In steps.
    """

    spans: Tensor
    kernel: Tensor
    fade: Tensor

    def __init__(self, spans: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("spans", torch.tensor(spans))
        decay = torch.exp(-1.0 / torch.tensor(spans, dtype=torch.float64))
        step = torch.arange(STRIDE, dtype=torch.float64)
        ago = (step[:, None] - step[None, :]).clamp(min=0)
        kernel = (1 - decay)[:, None, None] * decay[:, None, None] ** ago
        kernel = torch.tril(kernel)
        self.register_buffer("kernel", kernel.float(), persistent=False)
        self.register_buffer(
            "fade", (decay[:, None] ** (step + 1)[None, :]).float(), persistent=False
        )

    def forward(
        self, drivers: Tensor, sums: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Running means (B, T, S * D), and the sums to go on from."""
        count, steps, width = drivers.shape
        length = min(STRIDE, steps)
        blocks = -(-steps // length)
        padded = functional.pad(drivers, (0, 0, 0, blocks * length - steps))
        inside = padded.view(count, blocks, length, width).permute(1, 2, 0, 3).flatten(2)
        kernel = self.kernel[:, :length, :length]
        run = (kernel.flatten(0, 1) @ inside).view(blocks, -1, length, count, width)
        ones = kernel.sum(-1).repeat(blocks, 1, 1)
        fade = self.fade[:, :length]
        before = sums.transpose(0, 1)
        for block in range(blocks):
            run[block] += fade[..., None, None] * before[:, None]
            ones[block] += fade * weights[:, None]
            last = min(length, steps - block * length) - 1
            before, weights = run[block, :, last], ones[block, :, last]
        means = (run / ones[..., None, None]).permute(3, 0, 2, 1, 4)
        means = means.reshape(count, blocks * length, -1)[:, :steps]
        return means, before.transpose(0, 1), weights


class MeansNetwork(nn.Module):
    """Two hidden layers over the drivers, their running means and the characteristics.

    It sees the past only as means, so it cannot learn a tower by its sequences; where the CT-LSTM
    errs by that, this one errs otherwise, and the average of both is better than either.
    """

    def __init__(
        self, drivers: int, means: int, characteristics: int, hidden: int, *, outputs: int,
        dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.first = nn.Linear(drivers + means + characteristics, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.dropout = SharedDropout(dropout)
        self.heads = nn.Linear(hidden, outputs)

    def forward(
        self, drivers: Tensor, means: Tensor, characteristics: Tensor, *, steps: Steps | None = None
    ) -> Tensor:
        """Fluxes in units of their spread, (B, T, outputs), or (n, outputs) at some steps."""
        count, length, _ = drivers.shape
        fixed = repeat(characteristics, length, steps)
        seen = torch.cat([pick(drivers, steps), pick(means, steps), fixed], dim=-1)
        hidden = self.dropout(functional.silu(self.first(seen)), count, steps)
        hidden = self.dropout(functional.silu(self.second(hidden)), count, steps)
        return functional.softplus(self.heads(hidden))


class Member(nn.Module):
    """One member of the ensemble: both networks, trained side by side, averaged at prediction.

    NEE is never predicted: it is Reco - GPP, so the three fluxes close exactly.

    Parameters
    ----------
    drivers : int
        D, all columns of the input.
    averaged : int
        The first columns, those of the drivers themselves, of which running means are taken.
    characteristics, hidden : int
        K and H; the network over means has twice as many units.
    spans : tuple of float
        Spans of the running means, in steps.
    dropout : float
    """

    spread: Tensor

    def __init__(
        self,
        drivers: int,
        averaged: int,
        characteristics: int,
        hidden: int,
        *,
        spans: tuple[float, ...],
        outputs: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.averaged, self.hidden = averaged, hidden
        self.recurrent = CTLSTM(drivers, characteristics, hidden, outputs=outputs, dropout=dropout)
        self.running = RunningMeans(spans)
        self.direct = MeansNetwork(
            drivers, averaged * len(spans), characteristics, 2 * hidden,
            outputs=outputs, dropout=dropout,
        )  # fmt: skip
        self.register_buffer("spread", torch.ones(outputs))

    def start(self, count: int) -> State:
        """The state before a series begins, for ``count`` entities."""
        zeros = self.spread.new_zeros
        return State(
            zeros(1, count, self.hidden),
            zeros(1, count, self.hidden),
            zeros(count, len(self.running.spans), self.averaged),
            zeros(len(self.running.spans)),
        )

    def forward(
        self,
        drivers: Tensor,
        characteristics: Tensor,
        state: State | None = None,
        *,
        steps: Steps | None = None,
    ) -> tuple[Tensor, State]:
        """Run over a series from a state.

        Parameters
        ----------
        drivers : Tensor
            Shape (B, T, D), normalised.
        characteristics : Tensor
            Shape (B, K).
        state : State, optional
            The state that an earlier part of the same series ended with.
        steps : Steps, optional
            The n steps whose fluxes are wanted; all by default.

        Returns
        -------
        fluxes : Tensor
            Shape (2, B, T, outputs), or (2, n, outputs): GPP and Reco of each network, g m-2 d-1.
        state : State
            The state at the end.
        """
        state = state or self.start(len(drivers))
        recurrent, (hidden, cell) = self.recurrent(
            drivers, characteristics, (state.hidden, state.cell), steps=steps
        )
        means, sums, weights = self.running(
            drivers[..., : self.averaged], state.sums, state.weights
        )
        direct = self.direct(drivers, means, characteristics, steps=steps)
        fluxes = torch.stack([recurrent, direct]) * self.spread
        return fluxes, State(hidden, cell, sums, weights)


def from_weights(weights: Mapping[str, Tensor]) -> Member:
    """A member with given weights; its sizes follow from their shapes."""
    outputs, hidden = weights["recurrent.heads.weight"].shape
    joined = weights["recurrent.lstm.weight_ih_l0"].shape[1]
    spans = tuple(weights["running.spans"].tolist())
    averaged = (weights["direct.first.weight"].shape[1] - joined) // len(spans)
    with torch.random.fork_rng(devices=()):  # the first weights are random, and thrown away
        member = Member(joined, averaged, 0, hidden, spans=spans, outputs=outputs)
    member.load_state_dict(dict(weights))
    return member


def readable_step(
    network: CTLSTM, drivers: Tensor, characteristics: Tensor, state: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """One step of the LSTM written out, as the reference that `CTLSTM` is tested against.

    Parameters
    ----------
    drivers, characteristics : Tensor
        Shapes (B, D) and (B, K).
    state : (Tensor, Tensor)
        Hidden and cell state before the step, each (B, H).

    Returns
    -------
    (Tensor, Tensor)
        Hidden and cell state after the step.
    """
    hidden, cell = state
    weights = dict(network.lstm.named_parameters())
    gates = (
        torch.cat([drivers, characteristics], dim=-1) @ weights["weight_ih_l0"].T
        + weights["bias_ih_l0"]
        + hidden @ weights["weight_hh_l0"].T
        + weights["bias_hh_l0"]
    )
    into, forget, candidate, out = gates.chunk(4, dim=-1)
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(into) * torch.tanh(candidate)
    return torch.sigmoid(out) * torch.tanh(cell), cell
