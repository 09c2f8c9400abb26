"""Training of one member, by any method: epochs of batches, each a step down its loss."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from xflux import features
from xflux.errors import TrainingDiverged
from xflux.features import Array, Inputs, Mask
from xflux.networks.building import build_network
from xflux.training.checkpoint import restore
from xflux.training.domains import entity_scaling
from xflux.training.informed import parameter_groups
from xflux.training.methods import RECIPES
from xflux.training.recipe import Loss, Recipe
from xflux.training.settings import Settings
from xflux.training.towers import Towers
from xflux.training.windows import Tensors, batches_in_epoch

Weights = dict[str, Tensor]
"""Parameters and buffers of one member, by name."""


@contextlib.contextmanager
def private_randomness(seed: tuple[int, ...]) -> Iterator[None]:
    """Seed torch from a tuple, and leave the user's random state and threads as they were."""
    threads = torch.get_num_threads()
    mixed = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1)
    with torch.random.fork_rng():
        torch.manual_seed(mixed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def to_tensors(towers: Towers, inputs: Inputs, settings: Settings, device: torch.device) -> Tensors:
    """Assemble all towers for the network, on the device, once."""
    block = features.assemble(
        inputs,
        {name: towers.drivers[name] for name in inputs.drivers},
        towers.characteristics,
        towers.latitude,
        towers.year_fraction,
        training=True,
    )
    labelled = np.isfinite(towers.targets) & block.usable[..., None]
    fixed = block.characteristics
    if settings.by_entity:
        fixed = np.concatenate([fixed, entity_scaling(towers.drivers, inputs)], axis=1)
    return Tensors(
        drivers=torch.from_numpy(block.drivers).to(device),
        characteristics=torch.from_numpy(fixed).to(device),
        targets=torch.from_numpy(towers.targets).to(device),
        weight=torch.from_numpy(weigh(labelled, settings.entity_power)).to(device),
        records=features.stretches(block.usable),
    )


def weigh(labelled: Mask, power: float) -> Array:
    """Weight of every step and target, (N, T, 3), from where they are labelled, (N, T, 3).

    All n labelled steps of an entity together count as n to the power of ``power``; the mean weight
    of a labelled step is 1.
    """
    steps = labelled.any(axis=-1).sum(axis=1).astype(np.float64)
    entity = np.where(steps > 0, np.maximum(steps, 1.0) ** (power - 1.0), 0.0)
    entity *= steps.sum() / max(float((entity * steps).sum()), 1e-12)
    return (labelled * entity[:, None, None]).astype(np.float32)


def only(tensors: Tensors, chosen: Mask, power: float) -> Tensors:
    """The same towers of which only the chosen ones, a boolean array of shape (N,), are learnt.

    The drivers of all stay where they are, so nothing large is copied.
    """
    labelled = (tensors.weight > 0).cpu().numpy() & chosen[:, None, None]
    weight = torch.from_numpy(weigh(labelled, power)).to(tensors.weight.device)
    return replace(tensors, weight=weight, records=tensors.records[chosen[tensors.records[:, 0]]])


def target_spread(tensors: Tensors) -> Tensor:
    """Standard deviation of each target over the labelled steps, shape (3,)."""
    spread = []
    for k in range(3):
        values = tensors.targets[..., k][tensors.weight[..., k] > 0]
        spread.append(float(values.std()) if values.numel() > 1 else math.nan)
    known = [value for value in spread if math.isfinite(value) and value > 1e-6]
    fallback = float(np.mean(known)) if known else 1.0
    kept = [v if math.isfinite(v) and v > 1e-6 else fallback for v in spread]
    return torch.tensor(kept, device=tensors.drivers.device)


AfterEpoch = Callable[[int, nn.Module, torch.optim.Optimizer, float], None]


def train_member(
    tensors: Tensors,
    inputs: Inputs,
    settings: Settings,
    member: int,
    *,
    start: int = 0,
    kept: Mapping[str, Tensor] | None = None,
    after_epoch: AfterEpoch | None = None,
    title: str | None = None,
) -> Weights:
    """Train one member, from the start or from a kept state.

    Parameters
    ----------
    tensors : Tensors
        All towers on the device.
    inputs : Inputs
    settings : Settings
    member : int
        Number of the member: part of every seed.
    start : int
        Epochs that are done already; ``kept`` holds their state.
    kept : dict of str to Tensor, optional
        As `xflux.training.checkpoint.optimiser_tensors` wrote it.
    after_epoch : callable, optional
        Called with the epochs done, the network, the optimiser and the mean loss.
    title : str, optional
        What an error calls it; ``"member 3"`` by default.

    Returns
    -------
    dict of str to Tensor
        Weights on the CPU.

    Raises
    ------
    TrainingDiverged
        The loss is not finite.
    """
    device, recipe = tensors.drivers.device, RECIPES[settings.method]
    with private_randomness((settings.seed, member)):
        network = build_network(inputs, settings).to(device)
    spread = target_spread(tensors)
    with private_randomness((settings.seed, member)):
        recipe.begin(network, tensors, spread)
    loss_of = recipe.loss(tensors, inputs, settings, spread)
    optimiser = torch.optim.AdamW(
        parameter_groups(network, settings),
        lr=settings.learning_rate,
        fused=device.type == "cpu",
    )
    if kept:
        restore(network, optimiser, kept)
    pace = batches_in_epoch(tensors, settings)
    for number in range(start, settings.last_epoch):
        seed = (settings.seed, member, number + 1)
        with private_randomness(seed):
            network.train()
            loss = _one_epoch(
                network, optimiser, tensors, inputs, settings, recipe, loss_of, seed, number, pace
            )
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the loss of {title or f'member {member}'} is {loss} in epoch {number + 1} of "
                f"{settings.last_epoch}: look for extreme values with ds.flux, or lower "
                f"learning_rate={settings.learning_rate:g}, "
                f'settings={{"learning_rate": {settings.learning_rate / 4:g}}}'
            )
        if after_epoch is not None:
            after_epoch(number + 1, network, optimiser, loss)
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


def _one_epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    tensors: Tensors,
    inputs: Inputs,
    settings: Settings,
    recipe: Recipe,
    loss_of: Loss,
    seed: tuple[int, ...],
    number: int,
    per_epoch: int,
) -> float:
    losses = []
    generator = np.random.default_rng((*seed, 1))
    for i, batch in enumerate(recipe.batches(tensors, inputs, settings, seed)):
        done = (number + i / per_epoch) / settings.epochs
        for group in optimiser.param_groups:
            group["lr"] = recipe.schedule(min(done, 1.0), settings.learning_rate) * group["pace"]
        loss = loss_of(network, batch, done, generator)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]) or not math.isfinite(float(norm)):
            return math.nan
        optimiser.step()
        recipe.after_step(network)
    return float(np.mean(losses)) if losses else 0.0
