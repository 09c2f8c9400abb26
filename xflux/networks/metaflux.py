"""The networks of MetaFlux: one plain LSTM for each flux, twice differentiable.

Shapes: ``B`` entities in a batch, ``T`` steps, ``D`` drivers, ``W`` columns of the input, ``H``
hidden units.

The meta-gradient is a gradient through gradients. Fused LSTM kernels have no second derivative, so
`unrolled` writes the LSTM out in plain operations; at prediction the fused one gives the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.01
"""Of the LeakyReLU before the output."""


def unrolled(
    lstm: nn.LSTM, inputs: Tensor, state: tuple[Tensor, Tensor]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Run an LSTM of one layer step by step, in operations that can be derived twice.

    Parameters
    ----------
    lstm : nn.LSTM
        Its weights are used; it may live inside `torch.func.functional_call`.
    inputs : Tensor
        Shape (B, T, D).
    state : (Tensor, Tensor)
        Hidden and cell state before the first step, (B, H) each.

    Returns
    -------
    hidden : Tensor
        Shape (B, T, H).
    state : (Tensor, Tensor)
        After the last step.

    References
    ----------
    Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735.
    """
    hidden, cell = state
    weights = dict(lstm.named_parameters())
    bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    seen = functional.linear(inputs, weights["weight_ih_l0"], bias)
    steps = []
    for now in seen.unbind(1):
        gates = now + functional.linear(hidden, weights["weight_hh_l0"])
        into, forget, candidate, out = gates.chunk(4, dim=-1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(into) * torch.tanh(candidate)
        hidden = torch.sigmoid(out) * torch.tanh(cell)
        steps.append(hidden)
    return torch.stack(steps, dim=1), (hidden, cell)


class OneFlux(nn.Module):
    """LSTM, linear layer, LeakyReLU, linear output: one flux at every step, in g m-2 d-1."""

    def __init__(self, drivers: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(drivers, hidden, batch_first=True)
        self.inner = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, 1)

    def heads(self, hidden: Tensor) -> Tensor:
        """From hidden states (..., H) to the flux (...,)."""
        return self.out(functional.leaky_relu(self.inner(hidden), SLOPE)).squeeze(-1)

    def forward(
        self, drivers: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The flux (B, T) of drivers (B, T, D), and the state at the end."""
        hidden, state = unrolled(self.lstm, drivers, state)
        return self.heads(hidden), state


class MetaFluxMember(nn.Module):
    """One run of MetaFlux: a network for GPP and one for Reco that share nothing.

    NEE is Reco - GPP; nothing keeps the fluxes positive, as in the original.

    Parameters
    ----------
    drivers : int
        D.
    flags : sequence of int
        For each column that tells whether an optional driver is there, which driver it is. A
        driver that is missing is at its mean.
    hidden : int
        H.
    by_entity : bool
        Drivers are scaled by the mean and standard deviation of their own series, which stand in
        the characteristics (B, 2 D); otherwise they stay as they come.

    References
    ----------
    Nathaniel et al. 2023, doi:10.1038/s41597-023-02349-y.
    """

    flagged: Tensor
    by_entity: Tensor

    def __init__(
        self, drivers: int, flags: tuple[int, ...], hidden: int, *, by_entity: bool
    ) -> None:
        super().__init__()
        self.drivers, self.hidden = drivers, hidden
        self.gpp = OneFlux(drivers, hidden)
        self.reco = OneFlux(drivers, hidden)
        self.register_buffer("flagged", torch.eye(drivers)[list(flags)])
        self.register_buffer("by_entity", torch.tensor([float(by_entity)]))

    def scaled(self, columns: Tensor, scaling: Tensor) -> Tensor:
        """Drivers as the LSTMs see them, (..., D), from all columns (..., W).

        ``scaling`` holds means and standard deviations, (..., 2 D), or nothing, (..., 0).
        """
        drivers, flags = columns[..., : self.drivers], columns[..., -len(self.flagged) :]
        if scaling.shape[-1]:
            mean, spread = scaling.chunk(2, dim=-1)
            drivers = (drivers - mean) / spread
        if not len(self.flagged):
            return drivers
        return drivers * (1.0 - (1.0 - flags) @ self.flagged)

    def forward(
        self,
        columns: Tensor,
        scaling: Tensor,
        state: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run over a series from a state.

        Parameters
        ----------
        columns : Tensor
            Shape (B, T, W), normalised.
        scaling : Tensor
            Shape (B, 2 D) or (B, 0).
        state : (Tensor, Tensor), optional
            Hidden and cell state, (B, 2 H) each: those for GPP, then those for Reco.

        Returns
        -------
        fluxes : Tensor
            Shape (1, B, T, 2): GPP and Reco, g m-2 d-1.
        state : (Tensor, Tensor)
        """
        drivers = self.scaled(columns, scaling.unsqueeze(-2))
        zeros = columns.new_zeros(len(columns), 2 * self.hidden)
        hidden, cell = (part.chunk(2, dim=-1) for part in (state or (zeros, zeros)))
        gpp, (gpp_hidden, gpp_cell) = self.gpp(drivers, (hidden[0], cell[0]))
        reco, (reco_hidden, reco_cell) = self.reco(drivers, (hidden[1], cell[1]))
        fluxes = torch.stack([gpp, reco], dim=-1).unsqueeze(0)
        return fluxes, (
            torch.cat([gpp_hidden, reco_hidden], dim=-1),
            torch.cat([gpp_cell, reco_cell], dim=-1),
        )


def from_weights(weights: Mapping[str, Tensor]) -> MetaFluxMember:
    """A member with given weights; its sizes follow from their shapes."""
    hidden = weights["gpp.inner.weight"].shape[0]
    flags, drivers = weights["flagged"].shape
    with torch.random.fork_rng(devices=()):  # the first weights are random, and thrown away
        member = MetaFluxMember(drivers, (0,) * flags, hidden, by_entity=False)
    member.load_state_dict(dict(weights))
    return member
