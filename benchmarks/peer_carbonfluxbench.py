"""The CT-LSTM of CarbonFluxBench, written from its published description, on the towers of ours.

Rozanov et al. 2026, doi:10.48550/arXiv.2603.09868. What its recipe says, and what is done here:

- network: one linear layer for the drivers and one for the characteristics, to half of 128 units
  each, joined at every step; an LSTM of 128 units, dropout of 0.2, a linear layer to GPP, Reco and
  NEE; weights by Xavier. No flux is held positive, and the three need not close;
- inputs: latitude and longitude stand among the drivers; characteristics are the land cover, the
  main climate and the class of Koeppen, one column a class, where the towers have them. Drivers are
  those of the other methods. LAI and EVI are interpolated in time in both directions;
- drivers and fluxes are normalised by mean and spread of the training steps;
- windows of 30 steps, one every 15 of them; the last 15 count. A window with a gap is left out;
- loss: squared error of the normalised fluxes, times the quality of the step, times weights that
  balance classes of land cover and of climate; and 0.1 times the square of NEE - (Reco - GPP),
  taken between normalised fluxes, for all steps alike;
- AdamW at 5e-4 that is halved every 10 epochs, batches of 32 windows, at most 100 epochs. Every
  5 epochs the last fifth of each training tower is looked at, and the best weights are kept;
- prediction: the last step of the window that ends there.

It searched its settings with batches of 32 and trained its last ensemble with 2048. Ours is 32: of
2048 our towers have nine an epoch, too few before the rate is halved.

The description leaves open, and here is chosen: the normalisation is of the steps before the last
fifth of each tower; balancing counts labelled steps of these, and the climate that is balanced is
the main one; training stops at a look more than 10 epochs after the best; the loss that is looked
at has no weights, but the closure; a class that no training tower has is a row of zeros; a step
where a driver is missing has the mean of training in prediction, so that all methods are scored on
the same steps. The weights that are best are copied. Its five or ten seeds are the members.

For monthly towers a window has 30 months, and nothing else changes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from baselines import as_dataset, unlabelled
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xflux.cf.schema import resolve
from xflux.skill.evaluation import observations

WINDOW, STRIDE, COUNTED = 30, 15, 15
HIDDEN, DROPOUT = 128, 0.2
RATE, HALVED_EVERY, BATCH, EPOCHS = 5e-4, 10, 32, 100
PART = 128
"""Windows that are predicted at once."""
LOOK_EVERY, PATIENCE, TAIL = 5, 10, 0.2
CLOSURE = 0.1
FILLED = ("LAI", "EVI")
CLASSES = ("igbp", "climate", "koeppen")
BALANCED = ("igbp", "climate")


class CTLSTM(nn.Module):
    """Drivers (B, T, D) and characteristics (B, K) to three fluxes at every step, (B, T, 3)."""

    def __init__(self, drivers: int, characteristics: int) -> None:
        super().__init__()
        self.drivers = nn.Linear(drivers, HIDDEN // 2)
        self.characteristics = nn.Linear(characteristics, HIDDEN // 2)
        self.lstm = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)
        self.dropout = nn.Dropout(DROPOUT)
        self.head = nn.Linear(HIDDEN, 3)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, drivers: Tensor, characteristics: Tensor, *, last: int) -> Tensor:
        """Fluxes of the last steps of a window, (B, last, 3)."""
        fixed = self.characteristics(characteristics).unsqueeze(1).expand(-1, drivers.shape[1], -1)
        hidden, _ = self.lstm(torch.cat([self.drivers(drivers), fixed], dim=-1))
        return self.head(self.dropout(hidden[:, -last:]))


@dataclass
class Known:
    """What training learns of its towers beside weights: normalisation and classes."""

    centre: np.ndarray
    scale: np.ndarray
    flux_centre: np.ndarray
    flux_scale: np.ndarray
    classes: dict[str, list[str]]

    def drivers(self, columns: np.ndarray) -> Tensor:
        """Normalised drivers (N, T, D), NaN where missing."""
        return torch.from_numpy(((columns - self.centre) / self.scale).astype(np.float32))

    def characteristics(self, ds: xr.Dataset) -> Tensor:
        """One column a class, (N, K)."""
        columns = [
            ds[name].values.astype(str) == label
            for name, labels in self.classes.items()
            for label in labels
        ]
        return torch.from_numpy(np.stack(columns, axis=-1).astype(np.float32))


@dataclass
class Windows:
    """Where windows begin, (n, 2): tower and step; and what they are cut from."""

    drivers: Tensor
    characteristics: Tensor
    fluxes: Tensor
    weight: Tensor
    starts: np.ndarray

    def cut(self, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Drivers, characteristics, and fluxes and weights of the steps that count."""
        tower = torch.from_numpy(self.starts[rows, 0])
        step = torch.from_numpy(self.starts[rows, 1])[:, None] + torch.arange(WINDOW)
        counted = step[:, -COUNTED:]
        return (
            self.drivers[tower[:, None], step],
            self.characteristics[tower],
            self.fluxes[tower[:, None], counted],
            self.weight[tower[:, None], counted],
        )


def columns_of(ds: xr.Dataset) -> np.ndarray:
    """Drivers with latitude and longitude, (N, T, D); LAI and EVI interpolated, NaN if missing."""
    schema = resolve(ds)
    towers = unlabelled(ds)
    shape = towers.drivers["TA"].shape
    filled = [
        _interpolated(values) if name in FILLED else values
        for name, values in towers.drivers.items()
        if name in schema.drivers
    ]
    places = [np.broadcast_to(v[:, None], shape) for v in (towers.latitude, towers.longitude)]
    return np.stack([*filled, *places], axis=-1).astype(float)


def _interpolated(values: np.ndarray) -> np.ndarray:
    """Gaps of each row on the straight line between their ends; the ends go on as they are."""
    filled, step = values.copy(), np.arange(values.shape[1])
    for row in filled:
        known = np.isfinite(row)
        if known.any():
            row[~known] = np.interp(step[~known], step[known], row[known])
    return filled


def prepare(train: xr.Dataset) -> tuple[Known, Windows, Windows]:
    """Normalisation, windows to learn from, and windows in the last fifth of each tower."""
    columns = columns_of(train)
    labels = observations(train, resolve(train), qc=0.0)
    fluxes = np.stack(
        [labels[t].transpose("site", "time").values for t in ("GPP", "Reco", "NEE")], axis=-1
    ).astype(float)
    quality = train.NEE_QC.transpose("site", "time").values
    whole = np.isfinite(columns).all(axis=-1) & np.isfinite(fluxes).all(axis=-1)
    border = _border(whole)
    early = whole & (np.arange(whole.shape[1]) < border[:, None])
    known = Known(
        columns[early].mean(axis=0),
        np.maximum(columns[early].std(axis=0), 1e-6),
        fluxes[early].mean(axis=0),
        fluxes[early].std(axis=0),
        {n: sorted(set(train[n].values.astype(str)) - {""}) for n in CLASSES if n in train},
    )
    weight = np.nan_to_num(quality)
    for name in BALANCED:
        weight = weight * _balance(train[name].values.astype(str), early.sum(axis=1))[:, None]
    parts = (
        known.drivers(columns),
        known.characteristics(train),
        torch.from_numpy(((fluxes - known.flux_centre) / known.flux_scale).astype(np.float32)),
        torch.from_numpy(weight.astype(np.float32)),
    )
    late = whole & (np.arange(whole.shape[1]) >= border[:, None])
    return known, Windows(*parts, _starts(early)), Windows(*parts, _starts(late))


def _border(whole: np.ndarray) -> np.ndarray:
    """The step of each tower from which the last fifth of its whole steps lie, (N,)."""
    count = whole.cumsum(axis=1)
    return (count <= (1 - TAIL) * count[:, -1:]).sum(axis=1)


def _starts(whole: np.ndarray) -> np.ndarray:
    """Tower and first step of every window without a gap, one every `STRIDE` steps of a tower."""
    found = []
    for tower, row in enumerate(whole):
        steps = np.flatnonzero(row)
        if steps.size:
            first = np.arange(steps[0], steps[-1] - WINDOW + 2, STRIDE)
            found += [(tower, s) for s in first if row[s : s + WINDOW].all()]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _balance(classes: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Weight of each tower, (N,): all steps / (classes * steps of its class)."""
    names, code = np.unique(classes, return_inverse=True)
    count = np.maximum(np.bincount(code, steps), 1)
    return (steps.sum() / (len(names) * count))[code]


def loss_of(predicted: Tensor, observed: Tensor, weight: Tensor) -> Tensor:
    """Weighted squared error and closure, both between normalised fluxes (B, T, 3)."""
    error = ((predicted - observed).square().mean(dim=-1) * weight).mean()
    gpp, reco, nee = predicted.unbind(-1)
    return error + CLOSURE * (nee - (reco - gpp)).square().mean()


def fit(train: Windows, tail: Windows, seed: tuple[int, int], epochs: int = EPOCHS) -> CTLSTM:
    """One member: the weights that were best on the last fifth of each training tower."""
    torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    order = np.random.default_rng(seed)
    network = CTLSTM(train.drivers.shape[-1], train.characteristics.shape[-1])
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.StepLR(optimiser, HALVED_EVERY, 0.5)
    best, reached, kept = np.inf, 0, copy.deepcopy(network.state_dict())
    for epoch in range(1, epochs + 1):
        network.train()
        for rows in _batches(order.permutation(len(train.starts)), BATCH):
            drivers, characteristics, fluxes, weight = train.cut(rows)
            predicted = network(drivers, characteristics, last=COUNTED)
            optimiser.zero_grad()
            loss_of(predicted, fluxes, weight).backward()
            optimiser.step()
        schedule.step()
        if epoch % LOOK_EVERY and epoch < epochs:
            continue
        seen = validation(network, tail)
        if seen < best:
            best, reached, kept = seen, epoch, copy.deepcopy(network.state_dict())
        elif epoch - reached > PATIENCE:
            break
    network.load_state_dict(kept)
    network.reached = (reached, epoch, best)
    return network


def _batches(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[i : i + size] for i in range(0, len(rows), size)]


@torch.no_grad()
def validation(network: CTLSTM, tail: Windows) -> float:
    """Mean loss of the windows of the last fifth, without weights."""
    network.eval()
    total = 0.0
    for rows in _batches(np.arange(len(tail.starts)), PART):
        drivers, characteristics, fluxes, _ = tail.cut(rows)
        predicted = network(drivers, characteristics, last=COUNTED)
        total += len(rows) * float(loss_of(predicted, fluxes, torch.ones(fluxes.shape[:2])))
    return total / max(len(tail.starts), 1)


@torch.no_grad()
def fluxes_at(network: CTLSTM, known: Known, test: xr.Dataset) -> np.ndarray:
    """Fluxes of each step with weather, (N, T, 3), from the window that ends there."""
    network.eval()
    columns = columns_of(test)
    there = np.isfinite(columns[..., list(resolve(test).drivers).index("TA")])
    drivers = torch.nan_to_num(known.drivers(columns))
    drivers = nn.functional.pad(drivers, (0, 0, WINDOW - 1, 0))
    characteristics = known.characteristics(test)
    fluxes = np.full((*there.shape, 3), np.nan)
    for tower, steps in enumerate(map(np.flatnonzero, there)):
        for rows in _batches(steps, PART):
            windows = drivers[tower].unfold(0, WINDOW, 1)[rows].transpose(1, 2)
            fixed = characteristics[tower].expand(len(rows), -1)
            fluxes[tower, rows] = network(windows, fixed, last=1)[:, 0].numpy()
    return fluxes * known.flux_scale + known.flux_centre


def predict(
    train: xr.Dataset,
    test: xr.Dataset,
    *,
    seed: int,
    members: int,
    keep: Callable[[int], Path],
    epochs: int = EPOCHS,
) -> xr.Dataset:
    """Fluxes of each member at the test towers; trained members are kept as safetensors."""
    known, windows, tail = prepare(train)
    fluxes = []
    for member in range(members):
        path = keep(member)
        if not path.exists():
            network = fit(windows, tail, (seed, member), epochs)
            reached, run, loss = network.reached
            about = {"best_epoch": str(reached), "epochs": str(run), "validation": f"{loss:.4f}"}
            part = path.with_suffix(".part")
            save_file(network.state_dict(), part, metadata=about)
            part.replace(path)
        network = CTLSTM(windows.drivers.shape[-1], windows.characteristics.shape[-1])
        network.load_state_dict(load_file(path))
        fluxes.append(fluxes_at(network, known, test))
    return as_dataset(np.stack(fluxes), test)
