"""MetaFlux: meta-learning of an initialisation, by a gradient through gradient steps (MAML).

An outer update takes a copy of the parameters a few plain gradient steps along (the inner loop, on
*support* windows), and asks how the parameters should have been before, so that the copy does well
on other windows (*query*). The steps stay in the graph, so that question is a second derivative.

As published (``tasks="domains"``) support windows are drawn from base towers, query windows from
target towers: the tropics, of which there are few. One copy is adapted for all of them. Textbook
MAML (``tasks="towers"``) makes each tower a task: a copy for each, support and query windows of the
same tower, from different times.

References
----------
MetaFlux: Nathaniel et al. 2023, doi:10.1038/s41597-023-02349-y. MAML: Finn et al. 2017,
arXiv:1703.03400.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from xflux.errors import DataError
from xflux.features import Inputs
from xflux.training.losses import masked_mean_square
from xflux.training.recipe import Loss, Recipe
from xflux.training.settings import Settings
from xflux.training.windows import Batch, Tensors, gather

TOWERS = 8
"""Towers in an outer update where towers are tasks; they share the windows of a batch."""

Parameters = Mapping[str, Tensor]


class Task(NamedTuple):
    """Batches of windows: one support batch for each inner step, and those of the outer loss."""

    support: tuple[Batch, ...]
    query: tuple[Batch, ...]


def tasks(
    tensors: Tensors, inputs: Inputs, settings: Settings, seed: tuple[int, ...]
) -> Iterator[list[Task]]:
    """The tasks of the one outer update that an epoch is, a pure function of the seed.

    Windows are drawn by index from all that overlap, so no pool of copies is made.

    Raises
    ------
    DataError
        No window of ``settings.window`` unbroken steps has a label.
    """
    generator = np.random.default_rng(seed)
    pool = windows(tensors, settings.window)
    if settings.tasks == "towers":
        yield _tower_tasks(tensors, pool, settings, generator)
        return
    there = tensors.target[pool[:, 0]]
    base, target = (pool[~there], pool[there]) if 0 < there.sum() < len(pool) else (pool, pool)
    yield [
        Task(
            tuple(_draw(tensors, base, settings.batch, generator) for _ in _steps(settings)),
            tuple(_draw(tensors, target, settings.batch, generator) for _ in _steps(settings)),
        )
    ]


def _steps(settings: Settings) -> range:
    return range(settings.inner_steps)


def windows(tensors: Tensors, length: int) -> npt.NDArray[np.int64]:
    """All windows of unbroken drivers with at least one label, shape (M, 4) as `windows.cut`."""
    labelled = (tensors.weight.sum(dim=-1) > 0).cpu().numpy()
    counts = np.concatenate([np.zeros((len(labelled), 1), int), labelled.cumsum(axis=1)], axis=1)
    found = [np.zeros((0, 2), dtype=np.int64)]
    for entity, start, end in tensors.records:
        first = np.arange(start, end - length + 1)
        first = first[counts[entity, first + length] > counts[entity, first]]
        found.append(np.stack([np.full_like(first, entity), first], axis=1))
    entity, first = np.concatenate(found).T
    if not len(first):
        raise DataError(
            f"no window of {length} unbroken steps has a label: give longer series, or "
            f'settings={{"window": {max(1, length // 3)}}}'
        )
    return np.stack([entity, first, first, first + length], axis=1)


def _draw(
    tensors: Tensors, pool: npt.NDArray[np.int64], count: int, generator: np.random.Generator
) -> Batch:
    chosen = generator.choice(len(pool), size=min(count, len(pool)), replace=False)
    return gather(tensors, pool[chosen])


def _tower_tasks(
    tensors: Tensors,
    pool: npt.NDArray[np.int64],
    settings: Settings,
    generator: np.random.Generator,
) -> list[Task]:
    """A task for each of some towers: its windows before a random step, and those after it.

    Raises
    ------
    DataError
        No tower has two windows that do not overlap.
    """
    found: list[Task] = []
    for entity in generator.permutation(np.unique(pool[:, 0])):
        own = pool[pool[:, 0] == entity]
        first, last = own[0, 3], own[-1, 1]
        if first > last:
            continue
        middle = int(generator.integers(first, last + 1))
        sides = [own[own[:, 3] <= middle], own[own[:, 1] >= middle]]
        support, query = sides if generator.random() < 0.5 else sides[::-1]
        count = max(1, settings.batch // TOWERS)
        found.append(
            Task(
                tuple(_draw(tensors, support, count, generator) for _ in _steps(settings)),
                tuple(_draw(tensors, query, count, generator) for _ in _steps(settings)),
            )
        )
        if len(found) == TOWERS:
            break
    if not found:
        raise DataError(
            f"no tower has two windows of {settings.window} steps that do not overlap: give longer "
            f'series, or settings={{"window": {max(1, settings.window // 3)}}}'
        )
    return found


def window_loss(network: nn.Module, parameters: Parameters, batch: Batch) -> Tensor:
    """Mean squared error of GPP plus that of Reco, (g m-2 d-1)^2, under given parameters.

    The networks of the two fluxes share nothing, so the gradient of the sum trains each on its own.
    """
    fluxes, _ = functional_call(network, dict(parameters), (batch.drivers, batch.characteristics))
    error, weight = fluxes[0] - batch.targets[..., :2], (batch.weight[..., :2] > 0).float()
    return torch.stack([masked_mean_square(error[..., k], weight[..., k]) for k in (0, 1)]).sum()


def adapted(
    network: nn.Module,
    parameters: Parameters,
    support: tuple[Batch, ...],
    *,
    rate: float,
    second_order: bool,
) -> dict[str, Tensor]:
    """Parameters after one plain gradient step on each support batch, as a function of what was.

    With ``second_order=False`` the gradients are taken for constants (first-order MAML).
    """
    step = grad(lambda here, batch: window_loss(network, here, batch))
    now = dict(parameters)
    for batch in support:
        at = now if second_order else {name: value.detach() for name, value in now.items()}
        slope = step(at, batch)
        now = {name: value - rate * slope[name] for name, value in now.items()}
    return now


def meta_loss(network: nn.Module, found: list[Task], settings: Settings) -> Tensor:
    """Mean loss of query batches under adapted parameters; its gradient is the meta-gradient."""
    parameters = dict(network.named_parameters())
    losses = []
    for task in found:
        there = adapted(
            network,
            parameters,
            task.support,
            rate=settings.inner_rate,
            second_order=settings.second_order,
        )
        losses += [window_loss(network, there, batch) for batch in task.query]
    return torch.stack(losses).mean()


def cosine(done: float, peak: float) -> float:
    """Cosine schedule (Loshchilov and Hutter 2017, arXiv:1608.03983), without a warm-up."""
    return peak * 0.5 * (1.0 + math.cos(math.pi * done))


def _begin(network: nn.Module, tensors: Tensors, spread: Tensor) -> None:
    """Leave the network as it is: its fluxes are in g m-2 d-1, whatever their spread."""


def _loss(tensors: Tensors, inputs: Inputs, settings: Settings, spread: Tensor) -> Loss:
    def loss(
        network: nn.Module, found: list[Task], done: float, generator: np.random.Generator
    ) -> Tensor:
        return meta_loss(network, found, settings)

    return loss


METAFLUX = Recipe(begin=_begin, batches=tasks, loss=_loss, schedule=cosine)
