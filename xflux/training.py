"""Supervised training of the ensemble: spatial validation, then members on all towers."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from xflux import features, splits
from xflux.checkpoint import Checkpoint, fingerprint, optimiser_tensors, restore
from xflux.clusters import clusters
from xflux.errors import DataError, TrainingDiverged
from xflux.features import Inputs
from xflux.losses import multi_loss
from xflux.networks import Member
from xflux.settings import FEW_CLUSTERS, Settings
from xflux.towers import Towers
from xflux.windows import Tensors, batches_in_epoch, epoch

Weights = dict[str, Tensor]
"""Parameters and buffers of one member, by name."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Members and how they came about.

    Attributes
    ----------
    members : tuple of dict
        Weights of each member.
    settings : Settings
        With the epochs that were run.
    losses : tuple of tuple of float
        Mean loss of every epoch, by member.
    validation : tuple of float
        Loss on clusters kept out, by epoch; empty without spatial validation.
    """

    members: tuple[Weights, ...]
    settings: Settings
    losses: tuple[tuple[float, ...], ...]
    validation: tuple[float, ...]


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


def to_tensors(
    towers: Towers, inputs: Inputs, settings: Settings, device: torch.device
) -> Tensors:
    """Assemble all towers for the network, on the device, once.

    The weight of an entity with n labelled steps is such that all of them together count as n to
    the power of ``settings.entity_power``; the mean weight of a labelled step is 1.
    """
    block = features.assemble(
        inputs,
        {name: towers.drivers[name] for name in inputs.drivers},
        towers.characteristics,
        towers.latitude,
        towers.year_fraction,
        training=True,
    )
    weight = np.isfinite(towers.targets) & block.usable[..., None]
    steps = weight.any(axis=-1).sum(axis=1).astype(np.float64)
    entity = np.where(steps > 0, np.maximum(steps, 1.0) ** (settings.entity_power - 1.0), 0.0)
    entity *= steps.sum() / max(float((entity * steps).sum()), 1e-12)
    return Tensors(
        drivers=torch.from_numpy(block.drivers).to(device),
        characteristics=torch.from_numpy(block.characteristics).to(device),
        targets=torch.from_numpy(towers.targets).to(device),
        weight=torch.from_numpy((weight * entity[:, None, None]).astype(np.float32)).to(device),
        records=features.stretches(block.usable),
    )


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


def build_network(inputs: Inputs, settings: Settings) -> Member:
    """An untrained member."""
    return Member(
        inputs.width,
        len(inputs.drivers),
        inputs.characteristic_width,
        settings.hidden,
        dropout=settings.dropout,
    )


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
    kept: Weights | None = None,
    after_epoch: AfterEpoch | None = None,
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
        As `xflux.checkpoint.optimiser_tensors` wrote it.
    after_epoch : callable, optional
        Called with the epochs done, the network, the optimiser and the mean loss.

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
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    if kept:
        restore(network, optimiser, kept)
    per_epoch = batches_in_epoch(tensors, settings)
    for number in range(start, settings.last_epoch):
        seed = (settings.seed, member, number + 1)
        with private_randomness(seed):
            network.train()
            loss = _one_epoch(
                network, optimiser, tensors, inputs, settings, spread, seed, number, per_epoch
            )
        if not math.isfinite(loss):
            raise TrainingDiverged(
                f"the loss of member {member} is {loss} in epoch {number + 1} of "
                f"{settings.last_epoch}: look for extreme values with ds.flux, or lower "
                f"learning_rate={settings.learning_rate:g}"
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
    seed: tuple[int, ...],
    number: int,
    per_epoch: int,
) -> float:
    losses = []
    for i, batch in enumerate(epoch(tensors, inputs, settings, seed)):
        done = (number + i / per_epoch) / settings.epochs
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(min(done, 1.0), settings.learning_rate)
        both, _ = network(batch.drivers, batch.characteristics)
        loss = torch.stack([
            multi_loss(predicted, batch.targets, batch.weight, spread, settings.loss_shares)
            for predicted in both
        ]).mean()  # fmt: skip
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
        optimiser.step()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            return losses[-1]
    return float(np.mean(losses)) if losses else 0.0


def spatial_validation(
    towers: Towers,
    inputs: Inputs,
    settings: Settings,
    *,
    folds: int,
    device: torch.device,
    bar: Bar,
) -> tuple[float, ...]:
    """Loss on clusters kept out after every epoch, mean over folds.

    One member a fold is trained on the other clusters with the whole schedule; the normalisation
    is that of all towers, which holds no labels.

    Returns
    -------
    tuple of float
        One value an epoch; lower is better.
    """
    groups = clusters(towers.latitude, towers.longitude)
    fold = splits.folds(
        groups, n=folds, seed=settings.seed, weights=towers.labelled.sum(axis=1)
    )
    curves = []
    for k in range(folds):
        train = to_tensors(towers.subset(fold != k), inputs, settings, device)
        test = to_tensors(towers.subset(fold == k), inputs, settings, device)
        spread = target_spread(train)
        curve: list[float] = []

        def score(
            done: int,
            network: Member,
            _: torch.optim.Optimizer,
            __: float,
            test: Tensors = test,
            spread: Tensor = spread,
            curve: list[float] = curve,
        ) -> None:
            curve.append(_score(network, test, inputs, settings, spread))
            bar.step(f"validation {k + 1}/{folds}", curve[-1])

        train_member(train, inputs, settings, 10_000 + k, after_epoch=score)
        curves.append(curve)
    return tuple(float(value) for value in np.mean(curves, axis=0))


@torch.no_grad()
def _score(
    network: Member, test: Tensors, inputs: Inputs, settings: Settings, spread: Tensor
) -> float:
    """Loss on undisturbed windows."""
    quiet = replace(
        settings,
        driver_offset=0.0,
        characteristic_noise=0.0,
        characteristic_dropout=0.0,
        driver_dropout=0.0,
        batch=64,
    )
    network.eval()
    total, count = 0.0, 0.0
    for batch in epoch(test, inputs, quiet, (0,)):
        both, _ = network(batch.drivers, batch.characteristics)
        predicted = both.mean(dim=0)
        size = float((batch.weight > 0).sum())
        loss = multi_loss(predicted, batch.targets, batch.weight, spread, settings.loss_shares)
        total, count = total + float(loss) * size, count + size
    return total / max(count, 1.0)


class Bar:
    """One progress bar over all epochs of all members; silent where nobody watches."""

    def __init__(self, total: int, progress: bool | None) -> None:
        self._bar = tqdm(total=total, unit="epoch", disable=None if progress is None else not progress)

    def step(self, what: str, loss: float) -> None:
        """One epoch further."""
        self._bar.set_description(what, refresh=False)
        self._bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        self._bar.update()

    def skip(self, epochs: int) -> None:
        """Epochs that a checkpoint had."""
        self._bar.update(epochs)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()


def choose_device(device: str | None) -> torch.device:
    """The device asked for, else a GPU where there is one, else the CPU."""
    if device is not None:
        return torch.device(device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def train_ensemble(
    towers: Towers,
    inputs: Inputs,
    settings: Settings,
    *,
    validation_folds: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str | None = None,
    progress: bool | None = None,
) -> Trained:
    """Train all members on all towers, after choosing the epochs by spatial validation.

    Parameters
    ----------
    towers : Towers
    inputs : Inputs
        With their normalisation.
    settings : Settings
    validation_folds : int
        Folds over clusters of towers for choosing the epochs; 0 keeps ``settings.epochs``. With
        fewer than ten clusters the given epochs are kept.
    checkpoint : path, optional
        File that holds the state after every epoch; an interrupted training goes on from it, and
        it is removed at the end.
    device : str, optional
        ``"cpu"``, ``"cuda"``; a GPU where there is one by default.
    progress : bool, optional
        Show a progress bar; by default only in a terminal or notebook.

    Returns
    -------
    Trained

    Raises
    ------
    TrainingDiverged, DataError, ModelError
    """
    place = choose_device(device)
    tensors = to_tensors(towers, inputs, settings, place)
    if not len(tensors.records) or not float(tensors.weight.sum()):
        raise DataError("no step has both drivers and a target: nothing to learn from")
    kept = Checkpoint(checkpoint, fingerprint(tensors, inputs, settings))
    count = len(set(clusters(towers.latitude, towers.longitude).tolist()))
    validated = validation_folds if count >= max(FEW_CLUSTERS, validation_folds) else 0
    bar = Bar((validated + settings.members) * settings.last_epoch, progress)
    curve: tuple[float, ...] = ()
    if validated:
        curve = _validated_once(kept, towers, inputs, settings, validated, place, bar)
        settings = replace(settings, stop=int(np.argmin(curve)) + 1)
    members, losses = [], []
    for member in range(settings.members):
        weights, history = _member(kept, tensors, inputs, settings, member, bar)
        members.append(weights)
        losses.append(history)
    kept.remove()
    bar.close()
    return Trained(
        members=tuple(members), settings=settings, losses=tuple(losses), validation=curve
    )


def _validated_once(
    kept: Checkpoint,
    towers: Towers,
    inputs: Inputs,
    settings: Settings,
    folds: int,
    device: torch.device,
    bar: Bar,
) -> tuple[float, ...]:
    """The validation curve, from the checkpoint where it has one."""
    if "member-1.curve" in kept.tensors:
        bar.skip(folds * settings.last_epoch)
        return tuple(float(v) for v in kept.tensors["member-1.curve"])
    curve = spatial_validation(towers, inputs, settings, folds=folds, device=device, bar=bar)
    kept.write(0, 0, [], {"member-1.curve": torch.tensor(curve, dtype=torch.float64)})
    return curve


def _member(
    kept: Checkpoint,
    tensors: Tensors,
    inputs: Inputs,
    settings: Settings,
    member: int,
    bar: Bar,
) -> tuple[Weights, tuple[float, ...]]:
    """One member, from the checkpoint as far as it has it."""
    done = kept.finished(member)
    if done is not None:
        bar.skip(settings.last_epoch)
        losses = done.pop("losses")
        return done, tuple(float(v) for v in losses)
    start, state = kept.current(member)
    history = list(kept.losses) if start else []
    bar.skip(start)

    def after(
        epochs: int, network: Member, optimiser: torch.optim.Optimizer, loss: float
    ) -> None:
        history.append(loss)
        kept.write(member, epochs, history, optimiser_tensors(network, optimiser))
        bar.step(f"member {member + 1}/{settings.members}", loss)

    weights = train_member(
        tensors, inputs, settings, member, start=start, kept=state, after_epoch=after
    )
    finished = {f"member{member}.{name}": tensor for name, tensor in weights.items()}
    finished[f"member{member}.losses"] = torch.tensor(history, dtype=torch.float64)
    kept.write(member + 1, 0, [], finished)
    return weights, tuple(history)
