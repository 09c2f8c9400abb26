"""The multi-loss: GPP, Reco and NEE together, in physical units, with missing targets masked."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_mean_square(error: Tensor, weight: Tensor, dim: tuple[int, ...] | None = None) -> Tensor:
    """Weighted mean of squared errors where the weight is positive.

    Parameters
    ----------
    error, weight : Tensor
        Same shape; ``error`` may hold NaN where ``weight`` is zero. NaN is replaced there before
        it is squared: masking the result alone would still send NaN through the gradient. NaN
        where the weight is positive stays: it is a training that has diverged.
    dim : tuple of int, optional
        Axes over which the mean is taken; all by default.

    Returns
    -------
    Tensor
        Scalar, or the axes that are left; zero where no weight is positive.
    """
    clean = torch.where(weight > 0, error, 0.0)
    return (weight * clean.square()).sum(dim) / weight.sum(dim).clamp(min=1e-9)


def multi_loss(
    predicted: Tensor,
    observed: Tensor,
    weight: Tensor,
    spread: Tensor,
    shares: tuple[float, float, float],
) -> Tensor:
    r"""Sum of the three fluxes' losses, each in units of its own spread.

    .. math:: L = \sum_k s_k \frac{\sum w_k (\hat y_k - y_k)^2}{\sigma_k^2 \sum w_k},
       \quad k \in \{GPP, Reco, NEE\}

    with the predicted NEE being predicted Reco minus predicted GPP. The closure holds in
    physical units; it does not between z-scores, whose means and spreads differ by flux.

    Parameters
    ----------
    predicted : Tensor
        Shape (..., 2), of any steps: GPP and Reco, g m-2 d-1.
    observed : Tensor
        Shape (..., 3): GPP, Reco, NEE, NaN where missing.
    weight : Tensor
        Shape (..., 3): zero where a target must not count.
    spread : Tensor
        Shape (3,): standard deviation of each target over the training steps.
    shares : tuple of float
        Share of each flux in the sum.

    Returns
    -------
    Tensor
        Scalar.
    """
    gpp, reco = predicted.unbind(-1)
    closed = torch.stack([gpp, reco, reco - gpp], dim=-1)
    error = (closed - torch.nan_to_num(observed)) / spread
    counted = weight * torch.isfinite(observed)
    each = masked_mean_square(error, counted, dim=tuple(range(error.ndim - 1)))
    total = predicted.new_zeros(())
    for k, share in enumerate(shares):
        if share > 0:
            total = total + share * each[k]
    return total
