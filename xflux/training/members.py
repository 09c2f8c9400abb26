"""Training of a whole ensemble: epochs by spatial validation, then each member on all towers."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from xflux.errors import DataError
from xflux.features import Inputs, Mask
from xflux.networks.building import build_network
from xflux.physics import PhysicsMember
from xflux.prediction.transfer import usable
from xflux.progress import Bar
from xflux.skill.clusters import clusters
from xflux.training.checkpoint import Checkpoint, Reached, fingerprint
from xflux.training.informed import diagnose, knowledge
from xflux.training.jobs import Job, Report, Runner, run_job
from xflux.training.processes import choose_processes, crew, expected_seconds
from xflux.training.settings import FEW_CLUSTERS, Settings
from xflux.training.supervised import Weights, target_spread, to_tensors
from xflux.training.towers import Towers
from xflux.training.validation import spatial_validation
from xflux.training.windows import Tensors

_LOG = logging.getLogger(__name__)


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
    """The device asked for, else a GPU where there is one, else the CPU.

    Raises
    ------
    ModelError
        There is no such device here.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return usable(device)


def train_ensemble(
    towers: Towers,
    inputs: Inputs,
    settings: Settings,
    *,
    world: Towers | None = None,
    target: Mask | None = None,
    validation_folds: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    device: str | None = None,
    workers: int | None = None,
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
    target : numpy.ndarray, optional
        Shape (N,): which entities are the target domain of MetaFlux.
    validation_folds : int
        Folds over clusters of towers for choosing the epochs; 0 keeps ``settings.epochs``. With
        fewer than ten clusters the given epochs are kept.
    checkpoint : path, optional
        File that holds the state after every epoch; an interrupted training goes on from it, and
        it is removed at the end.
    device : str, optional
        ``"cpu"``, ``"cuda"``; a GPU where there is one by default.
    workers : int, optional
        Processes that train side by side, on the CPU; see
        `xflux.training.processes.choose_processes`. The weights do not depend on it.
    progress : bool, optional
        Show a progress bar; by default only in a terminal or notebook.

    Returns
    -------
    Trained

    Raises
    ------
    TrainingDiverged, TrainingStopped, DataError, ModelError
    """
    place = choose_device(device)
    unlabelled = None if world is None else to_tensors(world, inputs, settings, place)
    tensors = replace(
        to_tensors(towers, inputs, settings, place),
        world=unlabelled,
        target=np.zeros(len(towers.labels), dtype=bool) if target is None else target,
    )
    if not len(tensors.records) or not float(tensors.weight.sum()):
        raise DataError("no step has both drivers and a target: nothing to learn from")
    count = len(set(clusters(towers.latitude, towers.longitude).tolist()))
    folds = validation_folds if count >= max(FEW_CLUSTERS, validation_folds) else 0
    processes = choose_processes(
        workers,
        place,
        networks=max(folds, settings.members),
        seconds=expected_seconds(tensors, settings, networks=folds + settings.members),
    )
    key = "" if checkpoint is None else fingerprint(tensors, inputs, settings, folds=folds)
    kept = Checkpoint(checkpoint, key)
    curve: tuple[float, ...] = ()
    begin = time.monotonic()
    _LOG.info(
        "training %d members of %s on %d entities, up to %d epochs, on %s",
        settings.members, settings.method, len(towers.labels), settings.last_epoch,
        f"{processes} processes" if processes else place,
    )  # fmt: skip
    with (
        contextlib.closing(Bar((folds + settings.members) * settings.last_epoch, progress)) as bar,
        _runner(tensors, inputs, kept, processes) as runner,
    ):
        training = _Training(kept, bar, runner)
        if folds:
            curve = spatial_validation(towers, settings, folds=folds, run=training.run)
            settings = replace(settings, stop=int(np.argmin(curve)) + 1)
            bar.skip((settings.epochs - settings.last_epoch) * settings.members)
        done = training.run(member_jobs(settings))
    kept.remove()
    _LOG.info(
        "trained in %.0f s: %d epochs, loss of the last %s",
        time.monotonic() - begin, settings.last_epoch,
        ", ".join(f"{reached.losses[-1]:.3f}" for reached in done),
    )  # fmt: skip
    return Trained(
        members=tuple(reached.weights for reached in done),
        settings=settings,
        losses=tuple(reached.losses for reached in done),
        validation=curve,
        physics=_keeping([reached.weights for reached in done], tensors, inputs, settings),
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


def member_jobs(settings: Settings) -> tuple[Job, ...]:
    """Every member, on all towers."""
    return tuple(
        Job(
            name=f"member{number}",
            title=f"member {number + 1}/{settings.members}",
            number=number,
            settings=settings,
        )
        for number in range(settings.members)
    )


@dataclass(frozen=True)
class _Training:
    """What all jobs of a training share."""

    kept: Checkpoint
    bar: Bar
    runner: Runner

    def run(self, jobs: Sequence[Job]) -> list[Reached]:
        """Train jobs from where the checkpoint has them; those that are done are not trained."""
        found = {job.name: self.kept.reached(job.name) for job in jobs}
        earlier = sum(reached.epochs for reached in found.values())
        if earlier:
            _LOG.info("going on from %s: %d epochs are done", self.kept.path, earlier)
        self.bar.skip(earlier)

        def report(job: Job, reached: Reached) -> None:
            found[job.name] = reached
            self.kept.write(job.name, reached)
            self.bar.step(job.title, reached.losses[-1])

        left = [job for job in jobs if found[job.name].epochs < job.settings.last_epoch]
        self.runner(left, found, report)
        return [found[job.name] for job in jobs]


@contextlib.contextmanager
def _runner(tensors: Tensors, inputs: Inputs, kept: Checkpoint, processes: int) -> Iterator[Runner]:
    """What trains: processes of their own, or this one."""
    if processes:
        with crew(processes, tensors, inputs, kept.path) as there:
            yield there
        return

    def here(jobs: Iterable[Job], reached: Mapping[str, Reached], report: Report) -> None:
        for job in jobs:
            run_job(job, tensors, inputs, reached[job.name], report, keep=kept.path is not None)

    yield here
