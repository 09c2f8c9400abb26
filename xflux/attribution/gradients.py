"""Integrated gradients through one member: a flux at one step, as a sum over what led to it.

After Sundararajan et al. 2017 (arXiv:1703.01365). On the straight line from a baseline to the
input, ``x(a) = x0 + a (x - x0)``, the contribution of input i is ``(x_i - x0_i)`` times the mean
of ``dF/dx_i`` over the line. The contributions sum to ``F(x) - F(x0)``, and an input that is at
its baseline, or that the network does not use, has none.

Shapes: ``B`` fluxes at a time, ``n`` steps of a window, ``W`` driver columns, ``K`` characteristic
columns, ``H`` hidden units, ``S`` spans of running means, ``A`` drivers of which they are taken.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from xflux.networks.ct_lstm import Member, Steps
from xflux.physics import Law

FIRST, LAST = 8, 512
"""Points on the line: so many at first, then twice as many until the sum is right, or no more."""


class Point(NamedTuple):
    """All that a flux at the last step of a window depends on.

    Attributes
    ----------
    drivers : Tensor
        Shape (B, n, W).
    fixed : Tensor
        Characteristics, (B, K).
    hidden, cell : Tensor
        State of the LSTM when the window begins, (B, H).
    sums : Tensor
        Decaying sums of the drivers when the window begins, (B, S, A).
    """

    drivers: Tensor
    fixed: Tensor
    hidden: Tensor
    cell: Tensor
    sums: Tensor


class Explained(NamedTuple):
    """Fluxes (B,) at the input and at the baseline, and the contribution of each input."""

    flux: Tensor
    baseline: Tensor
    parts: Point

    @property
    def residual(self) -> Tensor:
        """What the contributions leave out of the difference of the fluxes, (B,)."""
        total = sum(part.flatten(1).double().sum(1) for part in self.parts)
        return self.flux.double() - self.baseline.double() - total


def last_flux(member: Member, law: Law | None, point: Point, seen: Tensor, mix: Tensor) -> Tensor:
    """The flux at the last step of each window, (B,).

    Parameters
    ----------
    member : Member
    law : Law or None
        Of a member of ``ct-lstm-physics``.
    point : Point
    seen : Tensor
        Shape (B,), float64: steps of the series up to the last one.
    mix : Tensor
        Shape (outputs,): how the target is made of the member's outputs.
    """
    count, length, _ = point.drivers.shape
    series = torch.arange(count)
    last = Steps(series * length + length - 1, series)
    state = (point.hidden.unsqueeze(0).contiguous(), point.cell.unsqueeze(0).contiguous())
    recurrent, _ = member.recurrent(point.drivers, point.fixed, state, steps=last)
    spans = member.running.spans
    averaged = point.drivers[..., : member.averaged]
    _, sums, _ = member.running(averaged, point.sums, spans.new_zeros(len(spans)))
    whole = -torch.expm1(-seen[:, None] / spans.double())
    means = (sums / whole.to(sums.dtype)[..., None]).flatten(1)
    now = point.drivers[:, -1]
    direct = member.direct(now[:, None], means[:, None], point.fixed)[:, 0]
    fluxes = 0.5 * (recurrent + direct) * member.spread
    return (fluxes if law is None else fluxes * law(now)) @ mix


def integrate(
    member: Member,
    law: Law | None,
    start: Point,
    end: Point,
    *,
    seen: Tensor,
    mix: Tensor,
    points: int,
) -> Explained:
    """Contributions along the line from ``start`` to ``end``, by Gauss-Legendre quadrature.

    Parameters
    ----------
    member, law, seen, mix
        As `last_flux` takes them.
    start, end : Point
        Baseline and input.
    points : int
        Points of the quadrature.
    """
    with torch.no_grad():
        flux = last_flux(member, law, end, seen, mix)
        baseline = last_flux(member, law, start, seen, mix)
    gaps = [b - a for a, b in zip(start, end, strict=True)]
    means = [torch.zeros_like(gap) for gap in gaps]
    places, weights = np.polynomial.legendre.leggauss(points)
    for place, weight in zip(0.5 * (places + 1.0), 0.5 * weights, strict=True):
        moved = [a + place * gap for a, gap in zip(start, gaps, strict=True)]
        here = Point(*(part.detach().requires_grad_() for part in moved))
        total = last_flux(member, law, here, seen, mix).sum()
        for mean, slope in zip(means, torch.autograd.grad(total, here), strict=True):
            mean += weight * slope
    parts = Point(*(gap * mean for gap, mean in zip(gaps, means, strict=True)))
    return Explained(flux, baseline, parts)


def explain(
    member: Member,
    law: Law | None,
    start: Point,
    end: Point,
    *,
    seen: Tensor,
    mix: Tensor,
    tolerance: float,
) -> Explained:
    """As `integrate`, with as many points as each flux needs.

    Parameters
    ----------
    tolerance : float
        Largest residual, in the unit of the flux; what is above it after `LAST` points stays so.
    """
    points = FIRST
    found = integrate(member, law, start, end, seen=seen, mix=mix, points=points)
    while points < LAST and (left := found.residual.abs() > tolerance).any():
        points *= 2
        again = integrate(
            member,
            law,
            Point(*(part[left] for part in start)),
            Point(*(part[left] for part in end)),
            seen=seen[left],
            mix=mix,
            points=points,
        )
        for part, better in zip(found.parts, again.parts, strict=True):
            part[left] = better
    return found
