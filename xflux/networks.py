"""The CT-LSTM: an LSTM that sees, at every step, the drivers joined to the characteristics.

Shapes: ``B`` entities in a batch, ``T`` steps, ``D`` driver columns, ``K`` characteristic columns,
``H`` hidden units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

State = tuple[Tensor, Tensor]
"""Hidden and cell state of the LSTM, each of shape (1, B, H)."""


class CTLSTM(nn.Module):
    """Concatenation LSTM with two heads that cannot be negative.

    The hidden sequence goes through dropout and a linear layer to one number each for GPP and
    Reco; softplus keeps both positive and ``spread`` brings them to g m-2 d-1. NEE is never
    predicted: it is Reco - GPP, so the three fluxes close exactly.

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
        self,
        drivers: int,
        characteristics: int,
        hidden: int,
        *,
        outputs: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.lstm = nn.LSTM(drivers + characteristics, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.Linear(hidden, outputs)
        self.register_buffer("spread", torch.ones(outputs))
        with torch.no_grad():
            self.lstm.bias_hh_l0[hidden : 2 * hidden] = 1.0

    def forward(
        self, drivers: Tensor, characteristics: Tensor, state: State | None = None
    ) -> tuple[Tensor, State]:
        """Run over a series from a state.

        Parameters
        ----------
        drivers : Tensor
            Shape (B, T, D), normalised.
        characteristics : Tensor
            Shape (B, K).
        state : (Tensor, Tensor), optional
            The state that an earlier part of the same series ended with; zeros at its start.

        Returns
        -------
        fluxes : Tensor
            Shape (B, T, outputs): GPP and Reco, g m-2 d-1.
        state : (Tensor, Tensor)
            The state at the end, each (1, B, H).
        """
        repeated = characteristics.unsqueeze(1).expand(-1, drivers.shape[1], -1)
        hidden, state = self.lstm(torch.cat([drivers, repeated], dim=-1), state)
        raw = self.heads(self.dropout(hidden))
        return functional.softplus(raw) * self.spread, state


def readable_step(network: CTLSTM, drivers: Tensor, characteristics: Tensor, state: State) -> State:
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
    lstm = network.lstm
    gates = (
        torch.cat([drivers, characteristics], dim=-1) @ lstm.weight_ih_l0.T
        + lstm.bias_ih_l0
        + hidden @ lstm.weight_hh_l0.T
        + lstm.bias_hh_l0
    )
    into, forget, candidate, out = gates.chunk(4, dim=-1)
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(into) * torch.tanh(candidate)
    return torch.sigmoid(out) * torch.tanh(cell), cell
