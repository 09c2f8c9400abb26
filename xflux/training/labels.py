"""What a few labels tell a trained model: the steps that carry them, and what its heads see there.

Each series runs through the model from its beginning, labels or not, so that the state at a label
is the one that prediction has there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from xflux import features
from xflux.features import Assembled, Inputs, Mask
from xflux.networks.ct_lstm import Member, from_weights
from xflux.training.headwise import Evidence, Heads, Numbers, misfit_covariance
from xflux.training.prior import Prior
from xflux.training.towers import Towers

MOST = 6000
"""Labelled steps that are used, over all entities: of more than that, evenly spaced ones."""

PARTS = ("recurrent", "direct")


def build_members(weights: Sequence[Mapping[str, npt.NDArray[np.generic]]]) -> list[Member]:
    """The members of a model as networks of their own, without dropout."""
    return [
        from_weights({name: torch.from_numpy(v.copy()) for name, v in one.items()}).eval()
        for one in weights
    ]


def read_heads(weights: Sequence[Mapping[str, npt.NDArray[np.generic]]]) -> Heads:
    """The heads of all members side by side."""

    def joined(one: Mapping[str, npt.NDArray[np.generic]], part: str) -> Numbers:
        bias = one[f"{part}.heads.bias"][:, None]
        return np.concatenate([one[f"{part}.heads.weight"], bias], axis=1).astype(np.float64)

    spread = np.stack([one["spread"] for one in weights]).astype(np.float64)
    return Heads(
        weights=np.stack(
            [np.concatenate([joined(one, part) for part in PARTS], axis=1) for one in weights]
        ),
        spread=spread,
        split=weights[0]["recurrent.heads.weight"].shape[1] + 1,
        log_scale=np.zeros(spread.shape[1]),
    )


def write_heads(
    weights: Sequence[Mapping[str, npt.NDArray[np.generic]]], heads: Heads
) -> list[dict[str, npt.NDArray[np.generic]]]:
    """Weights of the members with other heads; a factor on an output becomes part of its spread."""
    out = []
    for one, own, spread in zip(weights, heads.weights, heads.spread, strict=True):
        changed = dict(one)
        halves = (own[:, : heads.split], own[:, heads.split :])
        for part, half in zip(PARTS, halves, strict=True):
            changed[f"{part}.heads.weight"] = np.ascontiguousarray(half[:, :-1], dtype=np.float32)
            changed[f"{part}.heads.bias"] = np.ascontiguousarray(half[:, -1], dtype=np.float32)
        changed["spread"] = (spread * np.exp(heads.log_scale)).astype(np.float32)
        out.append(changed)
    return out


def assembled(towers: Towers, inputs: Inputs, entity: int) -> tuple[Assembled, Mask]:
    """One entity as prediction sees it, and the steps that it would have a prediction for, (T,)."""
    one = towers.subset(np.arange(len(towers.labels)) == entity)
    block = features.assemble(
        inputs, one.drivers, one.characteristics, one.latitude, one.year_fraction
    )
    settling = features.SETTLING[inputs.time_step]
    return block, block.usable[0] & ~features.settle(features.course(block.usable), settling)[0]


def labelled_steps(towers: Towers, entity: int, predicted: Mask) -> npt.NDArray[np.intp]:
    """Steps of an entity with a label and a prediction, thinned evenly where there are many."""
    steps = np.flatnonzero(towers.labelled[entity] & predicted)
    most = max(60, MOST // len(towers.labels))
    if len(steps) <= most:
        return steps
    return steps[np.linspace(0, len(steps) - 1, most).round().astype(np.intp)]


def gather(
    members: Sequence[Member], heads: Heads, towers: Towers, inputs: Inputs,
    mix: Numbers, prior: Prior,
) -> Iterator[Evidence]:  # fmt: skip
    """The evidence of each entity that has any.

    Parameters
    ----------
    members : sequence of Member
    heads : Heads
        Their heads: the misfit of a flux is taken to grow with what they predict.
    towers : Towers
        With targets of shape (N, T, J).
    inputs : Inputs
    mix : numpy.ndarray
        Shape (J, K): each target as a sum of outputs.
    prior : Prior
    """
    for entity in range(len(towers.labels)):
        block, predicted = assembled(towers, inputs, entity)
        steps = labelled_steps(towers, entity, predicted)
        if not steps.size:
            continue
        seen = seen_by_heads(members, block, steps)
        yield evidence_of(
            seen, steps, heads.outputs(seen), towers.targets[entity][steps], heads, mix, prior
        )


def evidence_of(
    seen: Numbers,
    steps: npt.NDArray[np.intp],
    values: Numbers,
    targets: npt.NDArray[np.float32],
    heads: Heads,
    mix: Numbers,
    prior: Prior,
) -> Evidence:
    """Labels of one entity (n, J) as rows, with their covariance.

    A target that is a sum of outputs counts only where one of these has no label of its own.
    """
    there = chosen(np.isfinite(targets), mix)
    size = prior.floor * heads.spread.mean(axis=0) + prior.share * values
    rows = [np.flatnonzero(there[:, j]) for j in range(len(mix))]
    count = sum(len(row) for row in rows)
    misfit, first = np.zeros((count, count)), 0
    for j, row in enumerate(rows):
        here = slice(first, first + len(row))
        amount = np.sqrt((mix[j] ** 2 * size[row] ** 2).sum(axis=1))
        misfit[here, here] = misfit_covariance(
            steps[row], amount, noise=prior.noise, memory=prior.memory
        )
        first += len(row)
    return Evidence(
        seen=seen,
        step=np.concatenate(rows),
        mixed=np.concatenate([np.tile(mix[j], (len(row), 1)) for j, row in enumerate(rows)]),
        labels=np.concatenate([targets[row, j] for j, row in enumerate(rows)]).astype(np.float64),
        misfit=misfit,
    )


def chosen(present: Mask, mix: Numbers) -> Mask:
    """Labels that say something of their own, (n, J): NEE does not beside GPP and Reco."""
    alone = (mix != 0).sum(axis=1) == 1
    kept = present.copy()
    for j in np.flatnonzero(~alone):
        parts = [np.flatnonzero(alone & (mix[:, k] != 0)) for k in np.flatnonzero(mix[j])]
        if all(part.size for part in parts):
            kept[:, j] &= ~np.all([present[:, part].any(axis=1) for part in parts], axis=0)
    return kept


@torch.no_grad()
def seen_by_heads(
    members: Sequence[Member], block: Assembled, steps: npt.NDArray[np.intp]
) -> Numbers:
    """What the heads see at some steps, (n, M, F), with ones for the biases."""
    fixed = torch.from_numpy(block.characteristics)
    parts = []
    for _, start, end in features.stretches(block.usable):
        here = steps[(steps >= start) & (steps < end)] - start
        if here.size:
            drivers = torch.from_numpy(block.drivers[:, start:end])
            both = [
                torch.cat([_with_one(part[0, here]) for part in before_heads(m, drivers, fixed)], 1)
                for m in members
            ]
            parts.append(torch.stack(both, dim=1).double().numpy())
    return np.concatenate(parts)


def _with_one(hidden: Tensor) -> Tensor:
    return torch.cat([hidden, hidden.new_ones(len(hidden), 1)], dim=1)


def before_heads(member: Member, drivers: Tensor, characteristics: Tensor) -> tuple[Tensor, Tensor]:
    """What both heads of a member see over a series from its beginning, (B, T, H) and (B, T, 2 H).

    Parameters
    ----------
    member : Member
    drivers : Tensor
        Shape (B, T, D).
    characteristics : Tensor
        Shape (B, K).
    """
    state = member.start(len(drivers))
    repeated = characteristics.unsqueeze(1).expand(-1, drivers.shape[1], -1)
    recurrent, _ = member.recurrent.lstm(torch.cat([drivers, repeated], dim=-1))
    means, _, _ = member.running(drivers[..., : member.averaged], state.sums, state.weights)
    direct = functional.silu(member.direct.first(torch.cat([drivers, means, repeated], dim=-1)))
    return recurrent, functional.silu(member.direct.second(direct))
