"""The networks of TAM-RL: a member modulated by a code of the task, and the encoder of that code.

The task is an entity. What is known of it from other times, its *support*, becomes a code *z*; z
changes the heads of a member, whose weights stay. No gradient step is taken at a new entity. With
no support z is 0 and the member is the plain one: zero-shot.

z has two parts. The first is the mean over support windows of what a small network makes of
drivers, characteristics and, where there are any, fluxes. The second is what the fluxes of the
support say in closed form: the coefficients of a ridge regression of their errors on features that
are learnt across towers, the directions in which towers differ. Little support shrinks both.

Shapes: ``B`` entities, ``S`` support windows, ``L`` steps of each, ``T`` steps of a series, ``D``
driver columns, ``M`` columns of running means, ``K`` characteristic columns, ``H`` hidden units,
``C`` units of the code, ``R`` features for each flux, ``Z = C + 2 R``.

References
----------
TAM-RL: Renganathan et al. 2025, doi:10.48550/arXiv.2310.04727. Modulation of hidden units: Perez et
al. 2018, doi:10.1609/aaai.v32i1.11671. A ridge regression inside a meta-learned network: Bertinetto
et al. 2019, doi:10.48550/arXiv.1805.08136.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from xflux.networks.ct_lstm import Member, State, Steps, pick

PRIOR_WINDOWS = 1.0
"""Windows of which nothing is known that the mean over windows begins with."""

PRIOR_STEPS = 3.0
"""The same for the labelled steps of a window."""


class Support(NamedTuple):
    """What is known of entities from other times.

    Attributes
    ----------
    drivers, means : Tensor
        Shapes (B, S, L, D) and (B, S, L, M), normalised.
    observed : Tensor
        Shape (B, S, L, 3): GPP, Reco and NEE, g m-2 d-1; anything where ``known`` is 0.
    known : Tensor
        Shape (B, S, L, 3): 1 where a flux is known.
    there : Tensor
        Shape (B, S, L): 1 where there are drivers; a window without any does not count.
    """

    drivers: Tensor
    means: Tensor
    observed: Tensor
    known: Tensor
    there: Tensor


class WindowEncoder(nn.Module):
    """What the support says about an entity, (B, C): the mean over windows of a code of each.

    Every step goes through two layers with a LayerNorm; a window is the mean over its steps, the
    mean over its labelled steps and how many these are. The mean over windows begins with
    `PRIOR_WINDOWS` windows of which nothing is known, so that no support is a code of 0, and little
    support a small one.
    """

    def __init__(self, columns: int, hidden: int, code: int) -> None:
        super().__init__()
        self.first = nn.Linear(columns + 6, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.second = nn.Linear(hidden, hidden)
        self.code = nn.Linear(2 * hidden + 1, code)

    def forward(self, seen: Tensor, error: Tensor, support: Support) -> Tensor:
        """Encode.

        Parameters
        ----------
        seen : Tensor
            Shape (B, S, L, columns): drivers, running means and characteristics.
        error : Tensor
            Shape (B, S, L, 3): observed minus zero-shot fluxes in units of their spread, 0 where
            unknown.
        support : Support
        """
        there = support.there.unsqueeze(-1)
        steps = self.first(torch.cat([seen, error, support.known], dim=-1))
        steps = functional.silu(self.second(functional.silu(self.norm(steps))))
        labelled = support.known.amax(dim=-1, keepdim=True) * there
        count = labelled.sum(dim=2)
        windows = torch.cat(
            [
                (steps * there).sum(dim=2) / there.sum(dim=2).clamp(min=1.0),
                (steps * labelled).sum(dim=2) / (count + PRIOR_STEPS),
                torch.log1p(count),
            ],
            dim=-1,
        )
        counted = support.there.amax(dim=-1, keepdim=True)
        return (self.code(windows) * counted).sum(dim=1) / (counted.sum(dim=1) + PRIOR_WINDOWS)


class ModulatedMember(Member):
    """One member of TAM-RL: the networks of a `Member`, with heads that z changes.

    Parameters
    ----------
    drivers, averaged, characteristics, hidden : int
        As for `xflux.networks.ct_lstm.Member`.
    spans : tuple of float
    code, features : int
        C and R.
    dropout : float
    """

    def __init__(
        self,
        drivers: int,
        averaged: int,
        characteristics: int,
        hidden: int,
        *,
        spans: tuple[float, ...],
        code: int,
        features: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(drivers, averaged, characteristics, hidden, spans=spans, dropout=dropout)
        self.features = features
        seen = drivers + averaged * len(spans) + characteristics
        self.encoder = WindowEncoder(seen, hidden, code)
        self.film_recurrent = nn.Linear(code, 2 * hidden, bias=False)
        self.film_direct = nn.Linear(code, 4 * hidden, bias=False)
        self.features_recurrent = nn.Linear(hidden, 2 * features, bias=False)
        self.features_direct = nn.Linear(2 * hidden, 2 * features, bias=False)
        self.log_ridge = nn.Parameter(torch.tensor([3.0]))
        for layer in (self.film_recurrent, self.film_direct, self.features_recurrent):
            nn.init.zeros_(layer.weight)
        self.register_buffer("spread", torch.ones(3))

    def forward(
        self,
        drivers: Tensor,
        characteristics: Tensor,
        state: State | None = None,
        *,
        z: Tensor | None = None,
        steps: Steps | None = None,
    ) -> tuple[Tensor, State]:
        """Run over a series from a state, with what is known of the entities.

        Parameters
        ----------
        drivers, characteristics, state, steps
            As for `xflux.networks.ct_lstm.Member`.
        z : Tensor, optional
            Shape (B, Z); zero-shot without.

        Returns
        -------
        fluxes : Tensor
            Shape (2, B, T, 2), or (2, n, 2): GPP and Reco of each network, g m-2 d-1.
        state : State
        """
        state = state or self.start(len(drivers))
        repeated = characteristics.unsqueeze(1).expand(-1, drivers.shape[1], -1)
        hidden, (last, cell) = self.recurrent.lstm(
            torch.cat([drivers, repeated], dim=-1), (state.hidden, state.cell)
        )
        means, sums, weights = self.running(
            drivers[..., : self.averaged], state.sums, state.weights
        )
        inner = self._inner(torch.cat([drivers, means, repeated], dim=-1))
        if z is None:
            z = drivers.new_zeros(len(drivers), self.width)
        count = len(drivers)
        units = (self.recurrent.dropout(hidden, count), self.direct.dropout(inner, count))
        fluxes = [
            functional.softplus(torch.baddbmm(bias.unsqueeze(1), one, weight.transpose(1, 2)))
            for one, (weight, bias) in zip(units, self.heads(z), strict=True)
        ]
        wanted = torch.stack([pick(flux, steps) for flux in fluxes])
        return wanted * self.spread[:2], State(last, cell, sums, weights)

    @property
    def width(self) -> int:
        """Z: the columns of z."""
        return self.encoder.code.out_features + 2 * self.features

    def _inner(self, seen: Tensor) -> Tensor:
        """The second hidden layer of the network over means, before its dropout."""
        first = functional.silu(self.direct.first(seen))
        return functional.silu(self.direct.second(self.direct.dropout(first, len(seen))))

    def heads(self, z: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Weights (B, 2, units) and biases (B, 2) of the heads of both networks, for each entity.

        The code scales and shifts the hidden units before the heads; the coefficients add the
        features, each times its coefficient, to what the heads say of the same flux.
        """
        code, rest = z[:, : -2 * self.features], z[:, -2 * self.features :]
        coefficients = rest.unflatten(-1, (2, self.features))
        found = []
        for plain, film, features in (
            (self.recurrent.heads, self.film_recurrent, self.features_recurrent),
            (self.direct.heads, self.film_direct, self.features_direct),
        ):
            scale, shift = film(code).chunk(2, dim=-1)
            weight = plain.weight * (1.0 + scale.unsqueeze(1))
            directions = features.weight.unflatten(0, (2, self.features))
            weight = weight + torch.einsum("bkr,krh->bkh", coefficients, directions)
            found.append((weight, plain.bias + shift @ plain.weight.T))
        return found

    def encode(self, support: Support, characteristics: Tensor) -> Tensor:
        """What the support says about entities: z, shape (B, Z).

        Parameters
        ----------
        support : Support
        characteristics : Tensor
            Shape (B, K).
        """
        windows, steps = support.drivers.shape[1:3]
        fixed = characteristics[:, None, None].expand(-1, windows, steps, -1)
        seen = torch.cat([support.drivers, support.means, fixed], dim=-1)
        inner = functional.silu(self.direct.second(functional.silu(self.direct.first(seen))))
        heads = self.direct.heads(inner)
        known = support.known * support.there.unsqueeze(-1)
        error = self._error(heads, support.observed, known)
        code = self.encoder(seen, error.detach(), support._replace(known=known))
        return torch.cat([code, self._coefficients(inner, heads, error, known)], dim=-1)

    def _error(self, heads: Tensor, observed: Tensor, known: Tensor) -> Tensor:
        """Observed minus zero-shot fluxes, (..., 3), in units of their spread; 0 where unknown."""
        gpp, reco = (functional.softplus(heads) * self.spread[:2]).unbind(-1)
        predicted = torch.stack([gpp, reco, reco - gpp], dim=-1)
        clean = torch.where(known > 0, observed, predicted)
        return (clean - predicted) / self.spread

    def _coefficients(self, inner: Tensor, heads: Tensor, error: Tensor, known: Tensor) -> Tensor:
        r"""Ridge regression of the errors of all known steps, shape (B, 2 R).

        .. math:: b = (X^T X + \lambda I)^{-1} X^T e

        A row of X is what a coefficient would change in one flux, to first order: the features
        times the slope of softplus. NEE = Reco - GPP, so an error of NEE says something of both.
        """
        slope = torch.sigmoid(heads).unsqueeze(-1)
        change = self.features_direct(inner).unflatten(-1, (2, self.features)) * slope
        of_gpp, of_reco = change.flatten(1, 2).unbind(2)
        none = torch.zeros_like(of_gpp)
        share = self.spread[:2] / self.spread[2]
        rows = torch.stack(
            [
                torch.cat([of_gpp, none], dim=-1),
                torch.cat([none, of_reco], dim=-1),
                torch.cat([-share[0] * of_gpp, share[1] * of_reco], dim=-1),
            ],
            dim=2,
        ).flatten(1, 2)
        rows = rows * known.flatten(1, 3).unsqueeze(-1)
        ridge = torch.exp(self.log_ridge) * torch.eye(rows.shape[-1], device=rows.device)
        square = rows.transpose(1, 2) @ rows + ridge
        return torch.linalg.solve(
            square, rows.transpose(1, 2) @ error.flatten(1, 3).unsqueeze(-1)
        ).squeeze(-1)


def from_weights(weights: Mapping[str, Tensor]) -> ModulatedMember:
    """A member with given weights; its sizes follow from their shapes."""
    hidden = weights["recurrent.heads.weight"].shape[1]
    joined = weights["recurrent.lstm.weight_ih_l0"].shape[1]
    spans = tuple(weights["running.spans"].tolist())
    averaged = (weights["direct.first.weight"].shape[1] - joined) // len(spans)
    with torch.random.fork_rng(devices=()):  # the first weights are random, and thrown away
        member = ModulatedMember(
            joined, averaged, 0, hidden,
            spans=spans,
            code=weights["encoder.code.weight"].shape[0],
            features=weights["features_recurrent.weight"].shape[0] // 2,
        )  # fmt: skip
    member.load_state_dict(dict(weights))
    return member
