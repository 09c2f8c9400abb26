"""Supervised training of one member: epochs of disturbed windows under the multi-loss."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from xflux import features
from xflux.errors import DataError, TrainingDiverged
from xflux.features import Array, Inputs, Mask
from xflux.networks import Member, Steps, pick
from xflux.physics import PhysicsMember, build
from xflux.training.checkpoint import restore
from xflux.training.informed import Known, begin_at_law, parameter_groups
from xflux.training.losses import multi_loss
from xflux.training.settings import SPANS, Settings
from xflux.training.towers import Towers
from xflux.training.windows import Batch, Tensors, batches_in_epoch, epoch

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
    return Tensors(
        drivers=torch.from_numpy(block.drivers).to(device),
        characteristics=torch.from_numpy(block.characteristics).to(device),
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


def build_network(inputs: Inputs, settings: Settings, *, outputs: int = 2) -> Member:
    """An untrained member."""
    if settings.physics is not None:
        return build(
            inputs,
            settings.physics,
            hidden=settings.hidden,
            spans=SPANS[inputs.time_step],
            dropout=settings.dropout,
        )
    return Member(
        inputs.width,
        len(inputs.drivers),
        inputs.characteristic_width,
        settings.hidden,
        spans=SPANS[inputs.time_step],
        outputs=outputs,
        dropout=settings.dropout,
    )


def knowledge(tensors: Tensors, inputs: Inputs, settings: Settings, spread: Tensor) -> Known:
    """The terms that ``ct-lstm-physics`` adds to the loss."""
    assert settings.physics is not None
    sources = (tensors,) if tensors.world is None else (tensors, tensors.world)
    if any(np.ptp(source.records[:, 1:], axis=1).max(initial=0) < 2 for source in sources):
        raise DataError(
            "no entity has drivers at two successive steps: fill their gaps first, "
            'ds = ds.interpolate_na("time", limit=3)'
        )
    return Known(
        physics=settings.physics, inputs=inputs, settings=settings, sources=sources, spread=spread
    )


def _fluxes(network: Member, batch: Batch, steps: Steps) -> Tensor:
    """Fluxes of both networks at n steps, (2, n, 2); a law sees the drivers undisturbed."""
    more = {"undisturbed": batch.undisturbed} if isinstance(network, PhysicsMember) else {}
    fluxes: Tensor = network(batch.drivers, batch.characteristics, steps=steps, **more)[0]
    return fluxes


def learning_rate(done: float, peak: float) -> float:
    """One-cycle schedule (Smith and Topin 2019, doi:10.1117/12.2520589): up, then cosine down.

    ``done`` is the share of the training that has passed, from 0 to 1.
    """
    rise = 0.15
    if done < rise:
        return peak * (0.04 + 0.96 * 0.5 * (1 - math.cos(math.pi * done / rise)))
    return peak * max(0.5 * (1 + math.cos(math.pi * (done - rise) / (1 - rise))), 1e-4)


AfterEpoch = Callable[[int, Member, torch.optim.Optimizer, float], None]


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
    device = tensors.drivers.device
    with private_randomness((settings.seed, member)):
        network = build_network(inputs, settings).to(device)
    spread = target_spread(tensors)
    network.spread.copy_(spread[:2])
    known = None
    if isinstance(network, PhysicsMember):
        with private_randomness((settings.seed, member)):
            begin_at_law(network, tensors, spread)
        known = knowledge(tensors, inputs, settings, spread)
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
                network, optimiser, tensors, inputs, settings, spread, known, seed, number, pace
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
    network: Member,
    optimiser: torch.optim.Optimizer,
    tensors: Tensors,
    inputs: Inputs,
    settings: Settings,
    spread: Tensor,
    known: Known | None,
    seed: tuple[int, ...],
    number: int,
    per_epoch: int,
) -> float:
    losses = []
    generator = np.random.default_rng((*seed, 1))
    for i, batch in enumerate(epoch(tensors, inputs, settings, seed)):
        done = (number + i / per_epoch) / settings.epochs
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(min(done, 1.0), settings.learning_rate) * group["pace"]
        steps = Steps.where(batch.scored)
        both = _fluxes(network, batch, steps)
        observed, weight = pick(batch.targets, steps), pick(batch.weight, steps)
        loss = torch.stack([
            multi_loss(predicted, observed, weight, spread, settings.loss_shares)
            for predicted in both
        ]).mean()  # fmt: skip
        if known is not None and isinstance(network, PhysicsMember):
            loss = loss + known.loss(network, done, generator)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]) or not math.isfinite(float(norm)):
            return math.nan
        optimiser.step()
        if isinstance(network, PhysicsMember):
            network.keep_apart()
    return float(np.mean(losses)) if losses else 0.0
