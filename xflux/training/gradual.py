"""Fine-tuning below the heads: all weights, or those that characteristics enter through.

The posterior is that of `xflux.training.headwise`, with a pull of every weight towards its start in
place of a prior of the heads alone (L2-SP, Li et al. 2018, arXiv:1802.01483). It begins at heads
that are tuned already and goes downhill by L-BFGS with a line search over all labels at once, a
fixed number of steps: there is no learning rate to choose, and nothing random.

References
----------
Nocedal and Wright 2006, Numerical Optimization, chapter 7, doi:10.1007/978-0-387-40065-5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xflux import features
from xflux.features import Inputs
from xflux.networks.ct_lstm import Member
from xflux.training.headwise import Change, Evidence, Heads, Numbers
from xflux.training.labels import assembled, labelled_steps
from xflux.training.prior import Prior
from xflux.training.supervised import private_randomness
from xflux.training.towers import Towers

ADAPTER = ("recurrent.lstm.bias_ih_l0", "direct.first.bias")
"""Biases of the first layers: what a characteristic of its own would add at a place."""

STEPS = 12
"""Of L-BFGS."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """The part of one entity's series that ends with its last label.

    Attributes
    ----------
    stretches : list of (Tensor, Tensor)
        Drivers (1, T, D) of each unbroken stretch with labels, and which of its steps have them.
    characteristics : Tensor
        Shape (1, K).
    step : Tensor
        Shape (r,): the labelled step of each label.
    mixed, labels, root : Tensor
        As in `xflux.training.headwise.Evidence`; ``root`` is the inverse of the Cholesky factor of
        the covariance.
    """

    stretches: list[tuple[Tensor, Tensor]]
    characteristics: Tensor
    step: Tensor
    mixed: Tensor
    labels: Tensor
    root: Tensor


def courses(
    towers: Towers, inputs: Inputs, evidence: Sequence[Evidence], private: Sequence[Numbers]
) -> list[Course]:
    """Series and labels of each entity that has any, in the order of ``evidence``.

    Parameters
    ----------
    towers : Towers
    inputs : Inputs
    evidence : sequence of Evidence
    private : sequence of numpy.ndarray
        Covariance (r, r) of each entity's labels, what is its own included.
    """
    found: list[Course] = []
    for entity in range(len(towers.labels)):
        block, predicted = assembled(towers, inputs, entity)
        steps = labelled_steps(towers, entity, predicted)
        if not steps.size:
            continue
        part, covariance = evidence[len(found)], private[len(found)]
        pieces = []
        for _, start, end in features.stretches(block.usable):
            here = steps[(steps >= start) & (steps < end)]
            if here.size:
                drivers = torch.from_numpy(block.drivers[:, start : here[-1] + 1])
                pieces.append((drivers, torch.from_numpy(here - start)))
        root = np.linalg.inv(np.linalg.cholesky(covariance))
        found.append(
            Course(
                stretches=pieces,
                characteristics=torch.from_numpy(block.characteristics),
                step=torch.from_numpy(part.step),
                mixed=torch.from_numpy(part.mixed).float(),
                labels=torch.from_numpy(part.labels).float(),
                root=torch.from_numpy(root).float(),
            )
        )
    return found


def tune_weights(
    members: Sequence[Member],
    before: Heads,
    given: Sequence[Course],
    *,
    what: str,
    spread: Change,
    prior: Prior,
) -> None:
    """Move the weights of the members, in place, to a higher posterior.

    Parameters
    ----------
    members : sequence of Member
        With heads that are tuned already.
    before : Heads
        The heads before, towards which those of the members are pulled.
    given : sequence of Course
    what : str
        ``"adapter"`` or ``"all"``.
    spread : Change
        How far the heads may go from ``before``.
    prior : Prior
        How far the other weights may go from where they are.
    """
    pulled = [
        pull
        for number, member in enumerate(members)
        for pull in _pulls(member, number, before, spread, prior, what, len(members))
    ]
    optimiser = torch.optim.LBFGS(
        [weight for weight, _, _ in pulled],
        max_iter=STEPS,
        history_size=STEPS,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        total = torch.stack([((w - start) / far).square().sum() for w, start, far in pulled]).sum()
        for course in given:
            total = total + _misfit(members, course)
        half: Tensor = 0.5 * total
        half.backward()
        return half

    with private_randomness((0,)):
        optimiser.step(loss)
    for member in members:
        member.requires_grad_(False)


def _misfit(members: Sequence[Member], course: Course) -> Tensor:
    parts = []
    for drivers, steps in course.stretches:
        every = [member(drivers, course.characteristics)[0].mean(dim=0)[0] for member in members]
        parts.append(torch.stack(every).mean(dim=0)[steps])
    outputs = torch.cat(parts)[course.step]
    left = course.root @ (course.labels - (course.mixed * outputs).sum(dim=1))
    return left.square().sum()


def _pulls(
    member: Member,
    number: int,
    before: Heads,
    spread: Change,
    prior: Prior,
    what: str,
    count: int,
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Weights of a member that are tuned, where they are pulled to, and how far they may go."""
    pulls = []
    parts = {
        "recurrent.heads": slice(None, before.split),
        "direct.heads": slice(before.split, None),
    }
    for name, weight in member.named_parameters():
        layer, _, kind = name.rpartition(".")
        if layer in parts:
            where = slice(None, -1) if kind == "weight" else -1
            start, far = (
                torch.from_numpy(np.ascontiguousarray(both[number][:, parts[layer]][:, where]))
                for both in (before.weights, spread.weights)
            )
        elif name in ADAPTER or what == "all":
            size = prior.adapter if what == "adapter" else prior.inner
            start = weight.detach().clone()
            far = torch.full_like(start, size * count**0.5)
        else:
            weight.requires_grad_(False)
            continue
        pulls.append((weight.requires_grad_(True), start.float(), far.float()))
    return pulls
