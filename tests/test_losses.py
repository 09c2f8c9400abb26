"""The multi-loss against hand calculations, and what missing targets may not do to it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xflux.training.losses import masked_mean_square, multi_loss

EQUAL = (1.0, 1.0, 1.0)


def by_hand(
    predicted: np.ndarray,
    observed: np.ndarray,
    weight: np.ndarray,
    spread: np.ndarray,
    shares: tuple[float, float, float],
) -> float:
    """The loss in plain loops: each flux's weighted mean of squares, in units of its spread."""
    total = 0.0
    for k in range(3):
        over, under = 0.0, 0.0
        for b, t in np.ndindex(predicted.shape[:2]):
            gpp, reco = predicted[b, t]
            flux = (gpp, reco, reco - gpp)[k]
            if np.isfinite(observed[b, t, k]) and weight[b, t, k] > 0:
                over += weight[b, t, k] * (flux - observed[b, t, k]) ** 2 / spread[k] ** 2
                under += weight[b, t, k]
        total += shares[k] * over / under if under else 0.0
    return total


def example(
    seed: int, missing: float = 0.3
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random predictions (2, 5, 2), observations with gaps, weights and spreads."""
    rng = np.random.default_rng(seed)
    observed = rng.normal(3.0, 2.0, (2, 5, 3))
    observed[rng.random(observed.shape) < missing] = np.nan
    weight = rng.uniform(0.0, 2.0, observed.shape) * (rng.random(observed.shape) > 0.2)
    return (
        torch.tensor(rng.gamma(2.0, 1.5, (2, 5, 2))),
        torch.tensor(observed),
        torch.tensor(weight),
        torch.tensor(rng.uniform(0.5, 3.0, 3)),
    )


@given(seed=st.integers(0, 10_000), missing=st.sampled_from([0.0, 0.3, 0.9, 1.0]))
def test_loss_is_what_a_loop_gives(seed: int, missing: float) -> None:
    predicted, observed, weight, spread = example(seed, missing)
    shares = (1.0, 0.5, 2.0)
    found = multi_loss(predicted, observed, weight, spread, shares)
    expected = by_hand(*(t.numpy() for t in (predicted, observed, weight, spread)), shares)
    assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_one_step_by_hand() -> None:
    predicted = torch.tensor([[[5.0, 3.0]]])
    observed = torch.tensor([[[4.0, 5.0, 1.0]]])  # NEE predicted: 3 - 5 = -2
    weight, spread = torch.ones(1, 1, 3), torch.tensor([1.0, 2.0, 3.0])
    found = multi_loss(predicted, observed, weight, spread, EQUAL)
    assert float(found) == pytest.approx(1.0 / 1.0 + 4.0 / 4.0 + 9.0 / 9.0)


def test_missing_targets_give_no_nan_gradient() -> None:
    predicted, observed, weight, spread = example(1)
    observed[:, 2] = math.nan
    predicted.requires_grad_()
    multi_loss(predicted, observed, weight, spread, EQUAL).backward()
    assert predicted.grad is not None
    assert bool(torch.isfinite(predicted.grad).all())
    assert bool((predicted.grad[:, 2] == 0).all())


def test_gradient_is_that_of_the_steps_present() -> None:
    predicted, observed, _, spread = example(2)
    present = torch.isfinite(observed).to(observed.dtype)
    gradients = []
    for filled in (observed, torch.nan_to_num(observed, nan=1e6)):
        leaf = predicted.clone().requires_grad_()
        multi_loss(leaf, filled, present, spread, EQUAL).backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


def test_nothing_observed_is_a_loss_of_zero() -> None:
    predicted, observed, weight, spread = example(3)
    leaf = predicted.requires_grad_()
    loss = multi_loss(leaf, torch.full_like(observed, math.nan), weight, spread, EQUAL)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert leaf.grad is not None
    assert bool((leaf.grad == 0).all())


def test_a_share_of_zero_leaves_a_flux_out() -> None:
    predicted, observed, weight, spread = example(4)
    other = observed.clone()
    other[..., 2] += 100.0
    shares = (1.0, 1.0, 0.0)
    assert multi_loss(predicted, observed, weight, spread, shares) == multi_loss(
        predicted, other, weight, spread, shares
    )


def test_a_network_that_says_nan_is_not_a_network_without_error() -> None:
    predicted, observed, weight, spread = example(5, missing=0.0)
    loss = multi_loss(torch.full_like(predicted, math.nan), observed, weight, spread, EQUAL)
    assert math.isnan(float(loss))


def test_nan_counts_only_where_the_weight_is_positive() -> None:
    error = torch.tensor([2.0, math.nan, 4.0])
    assert float(masked_mean_square(error, torch.tensor([1.0, 0.0, 3.0]))) == pytest.approx(13.0)
    assert math.isnan(float(masked_mean_square(error, torch.ones(3))))


@given(factor=st.floats(1e-3, 1e3))
def test_only_relative_weights_matter(factor: float) -> None:
    predicted, observed, weight, spread = example(6)
    plain = multi_loss(predicted, observed, weight, spread, EQUAL)
    scaled = multi_loss(predicted, observed, weight * factor, spread, EQUAL)
    assert float(scaled) == pytest.approx(float(plain), rel=1e-9)
