"""Networks against slow readable references, their carried state, and heads that stay positive."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from xflux.networks.ct_lstm import (
    CTLSTM,
    STRIDE,
    Member,
    RunningMeans,
    Steps,
    from_weights,
    readable_step,
)
from xflux.training.settings import SPANS as SPANS_OF

SPANS = SPANS_OF["daily"]

STEPS = 23


def lstm_and_inputs(seed: int) -> tuple[CTLSTM, Tensor, Tensor]:
    """A random CT-LSTM in evaluation, drivers (3, STEPS, 4) and characteristics (3, 5)."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = CTLSTM(4, 5, 7, outputs=2, dropout=0.5).eval().requires_grad_(False)
        return network, torch.randn(3, STEPS, 4), torch.randn(3, 5)


def member_and_inputs(seed: int, *, steps: int = 150) -> tuple[Member, Tensor, Tensor]:
    """A random member in evaluation, drivers (3, steps, 6) and characteristics (3, 5)."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        member = Member(6, 4, 5, 8, spans=(3.0, 30.0), dropout=0.5).eval().requires_grad_(False)
        member.spread.copy_(torch.tensor([3.0, 2.0]))
        return member, torch.randn(3, steps, 6), torch.randn(3, 5)


@given(seed=st.integers(0, 1000))
def test_lstm_equals_the_readable_step(seed: int) -> None:
    network, drivers, characteristics = lstm_and_inputs(seed)
    state = (torch.zeros(3, 7), torch.zeros(3, 7))
    expected = []
    for t in range(STEPS):
        state = readable_step(network, drivers[:, t], characteristics, state)
        heads = state[0] @ network.heads.weight.T + network.heads.bias
        expected.append(functional.softplus(heads))
    found, (hidden, cell) = network(drivers, characteristics)
    torch.testing.assert_close(found, torch.stack(expected, dim=1), rtol=0, atol=1e-6)
    torch.testing.assert_close(hidden[0], state[0], rtol=0, atol=1e-6)
    # a cell has no bound: one rounding of a large one is more than a millionth
    torch.testing.assert_close(cell[0], state[1], rtol=1e-6, atol=1e-6)


def means_in_loops(drivers: np.ndarray, span: float) -> np.ndarray:
    """Exponential means of (T, D) over a span, written out."""
    decay = np.exp(-1.0 / span)
    rows = []
    for t in range(len(drivers)):
        share = decay ** (t - np.arange(t + 1))
        rows.append((share[:, None] * drivers[: t + 1]).sum(axis=0) / share.sum())
    return np.array(rows)


@pytest.mark.parametrize("steps", [1, STRIDE - 1, STRIDE, STRIDE + 1, 2 * STRIDE + 5])
def test_running_means_equal_loops(steps: int) -> None:
    drivers = np.random.default_rng(steps).normal(size=(2, steps, 3))
    running = RunningMeans(SPANS)
    start = torch.zeros(2, len(SPANS), 3), torch.zeros(len(SPANS))
    found = running(torch.from_numpy(drivers).float(), *start)[0].numpy()
    for b in range(2):
        expected = np.concatenate([means_in_loops(drivers[b], span) for span in SPANS], axis=1)
        np.testing.assert_allclose(found[b], expected, rtol=0, atol=3e-6)


def test_running_means_of_a_constant_are_that_constant() -> None:
    running = RunningMeans(SPANS)
    start = torch.zeros(1, len(SPANS), 2), torch.zeros(len(SPANS))
    found = running(torch.full((1, 200, 2), 4.5), *start)[0]
    torch.testing.assert_close(found, torch.full_like(found, 4.5), rtol=0, atol=5e-6)


@given(seed=st.integers(0, 1000), cuts=st.sets(st.integers(1, 149), max_size=4))
def test_state_carried_over_chunks_equals_one_pass(seed: int, cuts: set[int]) -> None:
    member, drivers, characteristics = member_and_inputs(seed)
    whole, last = member(drivers, characteristics)
    edges = [0, *sorted(cuts), 150]
    state, parts = None, []
    for start, end in itertools.pairwise(edges):
        part, state = member(drivers[:, start:end], characteristics, state)
        parts.append(part)
    assert state is not None
    torch.testing.assert_close(torch.cat(parts, dim=2), whole, rtol=0, atol=5e-6)
    for carried, at_once in zip(state, last, strict=True):
        torch.testing.assert_close(carried, at_once, rtol=0, atol=5e-6)


def test_a_state_of_zeros_is_no_state() -> None:
    member, drivers, characteristics = member_and_inputs(0, steps=STEPS)
    given_state = member(drivers, characteristics, member.start(3))[0]
    torch.testing.assert_close(given_state, member(drivers, characteristics)[0], rtol=0, atol=0)


@given(seed=st.integers(0, 1000), size=st.sampled_from([0.1, 1.0, 100.0, 1e6]))
def test_fluxes_are_never_negative(seed: int, size: float) -> None:
    member, drivers, characteristics = member_and_inputs(seed, steps=STEPS)
    fluxes, _ = member(size * drivers, size * characteristics)
    assert fluxes.shape == (2, 3, STEPS, 2)
    assert bool(torch.isfinite(fluxes).all())
    assert bool((fluxes >= 0).all())


def test_the_future_does_not_reach_the_past() -> None:
    member, drivers, characteristics = member_and_inputs(0)
    other = drivers.clone()
    other[:, 90:] += 10.0
    now, later = member(drivers, characteristics)[0], member(other, characteristics)[0]
    torch.testing.assert_close(now[:, :, :90], later[:, :, :90], rtol=0, atol=1e-6)
    assert bool((now[:, :, 90:] != later[:, :, 90:]).any())


def test_entities_do_not_see_each_other() -> None:
    member, drivers, characteristics = member_and_inputs(0)
    together = member(drivers, characteristics)[0]
    for i in range(3):
        alone = member(drivers[i : i + 1], characteristics[i : i + 1])[0]
        torch.testing.assert_close(alone, together[:, i : i + 1], rtol=0, atol=3e-6)


def test_a_member_comes_back_from_its_weights() -> None:
    member, drivers, characteristics = member_and_inputs(0, steps=STEPS)
    again = from_weights(member.state_dict()).eval().requires_grad_(False)
    assert again.averaged == member.averaged == 4
    assert again.hidden == member.hidden == 8
    expected, found = (m(drivers, characteristics)[0] for m in (member, again))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_forget_gate_starts_open() -> None:
    assert CTLSTM(2, 1, 4, outputs=2).lstm.bias_hh_l0[4:8].tolist() == [1.0] * 4


def test_spread_scales_the_fluxes() -> None:
    member, drivers, characteristics = member_and_inputs(0, steps=STEPS)
    once = member(drivers, characteristics)[0]
    member.spread.copy_(torch.tensor([30.0, 2.0]))
    torch.testing.assert_close(
        member(drivers, characteristics)[0], once * torch.tensor([10.0, 1.0]), rtol=1e-6, atol=0
    )


def test_dropout_acts_in_training_only() -> None:
    member, drivers, characteristics = member_and_inputs(0, steps=STEPS)
    quiet = [member(drivers, characteristics)[0] for _ in range(2)]
    assert torch.equal(*quiet)
    with torch.random.fork_rng():
        member.train()
        noisy = [member(drivers, characteristics)[0] for _ in range(2)]
    assert not torch.equal(*noisy)


@given(seed=st.integers(0, 1000), share=st.floats(0.0, 1.0), training=st.booleans())
def test_some_steps_are_those_of_the_whole(seed: int, share: float, training: bool) -> None:
    found = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        member = Member(6, 4, 5, 8, spans=(3.0, 30.0), dropout=0.4).train(training)
        drivers, characteristics = torch.randn(3, 70, 6), torch.randn(3, 5)
        wanted = torch.rand(3, 70) < share
        for steps in (None, Steps.where(wanted)):
            torch.manual_seed(seed)  # the same units are dropped
            fluxes, state = member(drivers, characteristics, steps=steps)
            found.append((fluxes[:, wanted] if steps is None else fluxes, state))
    torch.testing.assert_close(found[1], found[0])


def test_of_the_running_means_only_the_spans_are_among_the_weights() -> None:
    names = Member(6, 4, 5, 8, spans=SPANS).state_dict()
    assert [name for name in names if name.startswith("running")] == ["running.spans"]
