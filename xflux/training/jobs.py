"""What is trained: members on all towers, and for each fold a network that is scored on the rest.

A job is a pure function of the towers, the inputs and itself, wherever it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from xflux.features import Inputs, Mask
from xflux.networks.ct_lstm import Steps, pick
from xflux.prediction.ensemble import one_thread
from xflux.training.checkpoint import Reached, optimiser_tensors
from xflux.training.losses import multi_loss
from xflux.training.settings import Settings
from xflux.training.supervised import only, target_spread, train_member
from xflux.training.windows import Tensors, epoch


@dataclass(frozen=True, kw_only=True)
class Job:
    """One network to train.

    Attributes
    ----------
    name : str
        Under which a checkpoint keeps it.
    title : str
        What the progress bar calls it.
    number : int
        Part of every seed.
    settings : Settings
    kept_out : numpy.ndarray, optional
        Shape (N,): entities that are not learnt from, and on which the loss is taken after every
        epoch.
    """

    name: str
    title: str
    number: int
    settings: Settings
    kept_out: Mask | None = None


Report = Callable[[Job, Reached], None]
"""Called after every epoch of a job."""

Runner = Callable[[Iterable[Job], Mapping[str, Reached], Report], None]
"""Trains jobs to their last epoch, each from where it has come."""


def run_job(
    job: Job, tensors: Tensors, inputs: Inputs, reached: Reached, report: Report, *, keep: bool
) -> None:
    """Train one network to its last epoch.

    Parameters
    ----------
    job : Job
    tensors : Tensors
        All towers.
    inputs : Inputs
    reached : Reached
        Where to go on from.
    report : callable
        The last report of a job that keeps nothing out holds the weights.
    keep : bool
        Whether reports are to hold what a checkpoint needs.

    Raises
    ------
    TrainingDiverged
    """
    power = job.settings.entity_power
    kept_out = None if job.kept_out is None else only(tensors, job.kept_out, power)
    learnt = tensors if job.kept_out is None else only(tensors, ~job.kept_out, power)
    losses = list(reached.losses)

    def after(done: int, network: nn.Module, optimiser: torch.optim.Optimizer, loss: float) -> None:
        if kept_out is not None:
            loss = score(network, kept_out, inputs, job.settings, target_spread(learnt))
        losses.append(loss)
        last = done == job.settings.last_epoch
        held: Mapping[str, Tensor] = {}
        if keep and not last:
            held = optimiser_tensors(network, optimiser)
        elif last and kept_out is None:
            held = {f"weights.{n}": t.detach().cpu() for n, t in network.state_dict().items()}
        report(job, Reached(losses=tuple(losses), tensors=held))

    with one_thread():
        train_member(
            learnt,
            inputs,
            job.settings,
            job.number,
            start=reached.epochs,
            kept=reached.tensors,
            after_epoch=after,
            title=job.title,
        )


@torch.no_grad()
def score(
    network: nn.Module, towers: Tensors, inputs: Inputs, settings: Settings, spread: Tensor
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
    for batch in epoch(towers, inputs, quiet, (0,)):
        steps = Steps.where(batch.scored)
        both, _ = network(batch.drivers, batch.characteristics, steps=steps)
        observed, weight = pick(batch.targets, steps), pick(batch.weight, steps)
        size = float((weight > 0).sum())
        loss = multi_loss(both.mean(dim=0), observed, weight, spread, settings.loss_shares)
        total, count = total + float(loss) * size, count + size
    return total / max(count, 1.0)
