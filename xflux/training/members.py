"""Training of a whole ensemble: epochs by spatial validation, then each member on all towers."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np
import torch

from xflux.errors import DataError
from xflux.features import Inputs
from xflux.networks import Member
from xflux.physics import PhysicsMember
from xflux.progress import Bar
from xflux.skill.clusters import clusters
from xflux.training.checkpoint import Checkpoint, fingerprint, optimiser_tensors
from xflux.training.informed import diagnose
from xflux.training.settings import FEW_CLUSTERS, Settings
from xflux.training.supervised import (
    Weights,
    build_network,
    knowledge,
    target_spread,
    to_tensors,
    train_member,
)
from xflux.training.towers import Towers
from xflux.training.validation import spatial_validation
from xflux.training.windows import Tensors


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
    physics : dict of str to float
        How far the members keep to what is known, on average; empty for methods without physics.
    """

    members: tuple[Weights, ...]
    settings: Settings
    losses: tuple[tuple[float, ...], ...]
    validation: tuple[float, ...]
    physics: dict[str, float]


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
    world: Towers | None = None,
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
    world : Towers, optional
        Entities without labels, for methods that learn from them too.
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
    unlabelled = None if world is None else to_tensors(world, inputs, settings, place)
    tensors = replace(to_tensors(towers, inputs, settings, place), world=unlabelled)
    if not len(tensors.records) or not float(tensors.weight.sum()):
        raise DataError("no step has both drivers and a target: nothing to learn from")
    kept = Checkpoint(checkpoint, fingerprint(tensors, inputs, settings))
    count = len(set(clusters(towers.latitude, towers.longitude).tolist()))
    validated = validation_folds if count >= max(FEW_CLUSTERS, validation_folds) else 0
    bar = Bar((validated + settings.members) * settings.last_epoch, progress)
    curve: tuple[float, ...] = ()
    if validated:
        curve = _validated_once(kept, towers, inputs, settings, validated, tensors, bar)
        settings = replace(settings, stop=int(np.argmin(curve)) + 1)
    members, losses = [], []
    for member in range(settings.members):
        weights, history = _member(kept, tensors, inputs, settings, member, bar)
        members.append(weights)
        losses.append(history)
    kept.remove()
    bar.close()
    return Trained(
        members=tuple(members),
        settings=settings,
        losses=tuple(losses),
        validation=curve,
        physics=_keeping(members, tensors, inputs, settings),
    )


def _keeping(
    members: list[Weights], tensors: Tensors, inputs: Inputs, settings: Settings
) -> dict[str, float]:
    """What `xflux.training.informed.diagnose` finds, mean over members."""
    if settings.physics is None:
        return {}
    known = knowledge(tensors, inputs, settings, target_spread(tensors))
    found = []
    for weights in members:
        network = build_network(inputs, settings)
        network.load_state_dict(weights)
        assert isinstance(network, PhysicsMember)
        found.append(diagnose(network.to(tensors.drivers.device), known))
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def _validated_once(
    kept: Checkpoint,
    towers: Towers,
    inputs: Inputs,
    settings: Settings,
    folds: int,
    tensors: Tensors,
    bar: Bar,
) -> tuple[float, ...]:
    """The validation curve, from the checkpoint where it has one."""
    if "member-1.curve" in kept.tensors:
        bar.skip(folds * settings.last_epoch)
        return tuple(float(v) for v in kept.tensors["member-1.curve"])
    curve = spatial_validation(
        towers, inputs, settings, folds=folds, device=tensors.drivers.device, bar=bar,
        world=tensors.world,
    )  # fmt: skip
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

    def after(epochs: int, network: Member, optimiser: torch.optim.Optimizer, loss: float) -> None:
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
