"""Training against neuralhydrology and a torch DataLoader, and on one core against two.

All ways take turns in each round, the fastest turn of each counts. Steps and loaders are measured
in process time on one thread, in two processes: one as the user's own, and one as those in which
xflux trains members side by side (see `xflux.training.processes.environment`).

    pip install neuralhydrology==1.13.0   # optional, and only for this
    python benchmarks/bench_training.py

The peer's own CudaLSTM, loss and optimiser do its step, in the order of its
``BaseTrainer._train_epoch`` (Kratzert et al. 2022, doi:10.21105/joss.04050).
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import itertools
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

import xflux
from xflux.cf.schema import resolve
from xflux.networks.building import build_network
from xflux.networks.ct_lstm import CTLSTM, Steps, pick
from xflux.training import fitting, informed, processes, supervised, windows
from xflux.training.losses import multi_loss
from xflux.training.recipe import CT_LSTM
from xflux.training.settings import Settings
from xflux.training.towers import describe_inputs, read_towers
from xflux.training.windows import Tensors

PEER = "neuralhydrology"
SIZES = ((365, 256, 64), (365, 256, 128), (30, 256, 64), (455, 16, 64))
"""Steps, windows in a batch, hidden units; the last are those of a daily training."""


def load(data: Path | None) -> tuple[Tensors, Any]:
    """Real towers, or simulated ones where no file is given."""
    import xarray as xr

    if data is None:
        ds = xflux.datasets.load("simulated-towers", sites=60, years=4)
    else:
        ds = xr.open_dataset(data).load()
    towers = read_towers(ds, resolve(ds))
    inputs = describe_inputs(towers, derived=fitting.DERIVED)
    return supervised.to_tensors(towers, inputs, Settings(), torch.device("cpu")), inputs


def batch_of(steps: int, count: int, drivers: int, fixed: int) -> windows.Batch:
    """Random windows; six in ten steps have labels, as in a daily training."""
    torch.manual_seed(0)
    present = (torch.rand(count, steps, 1) < 0.6).float().expand(-1, -1, 3).contiguous()
    return windows.Batch(
        torch.randn(count, steps, drivers),
        torch.randn(count, fixed),
        torch.rand(count, steps, 3),
        present,
    )


def step_of(
    network: torch.nn.Module, loss_of: Callable[[], torch.Tensor], optimiser: torch.optim.Optimizer
) -> Callable[[], None]:
    """One update: loss, gradients, clipping, optimiser."""

    def step() -> None:
        loss = loss_of()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        loss.item()

    return step


def ct_lstm(batch: windows.Batch, hidden: int) -> Callable[[], None]:
    """The CT-LSTM alone: one LSTM, as the peer has."""
    width, fixed = batch.drivers.shape[-1], batch.characteristics.shape[-1]
    network = CTLSTM(width, fixed, hidden, outputs=2, dropout=0.2)
    spread = torch.ones(3)

    def loss() -> torch.Tensor:
        steps = Steps.where(batch.scored)
        fluxes, _ = network(batch.drivers, batch.characteristics, steps=steps)
        observed, weight = (pick(v, steps) for v in (batch.targets, batch.weight))
        return multi_loss(fluxes, observed, weight, spread, (1.0, 1.0, 1.0))

    return step_of(network, loss, torch.optim.AdamW(network.parameters(), fused=True))


def member(batch: windows.Batch, hidden: int, inputs: Any) -> Callable[[], None]:
    """A whole member: the CT-LSTM, running means, and the network over them."""
    network = build_network(inputs, Settings(hidden=hidden))
    spread = torch.ones(3)

    def loss() -> torch.Tensor:
        steps = Steps.where(batch.scored)
        both, _ = network(batch.drivers, batch.characteristics, steps=steps)
        observed, weight = (pick(v, steps) for v in (batch.targets, batch.weight))
        losses = [multi_loss(f, observed, weight, spread, (1.0, 1.0, 1.0)) for f in both]
        return torch.stack(losses).mean()

    return step_of(network, loss, torch.optim.AdamW(network.parameters(), fused=True))


def peer(batch: windows.Batch, hidden: int) -> Callable[[], None]:
    """The step of neuralhydrology's trainer on the same windows and two targets."""
    from neuralhydrology.modelzoo.cudalstm import CudaLSTM
    from neuralhydrology.training import get_loss_obj, get_optimizer
    from neuralhydrology.utils.config import Config

    names = [f"driver{k}" for k in range(batch.drivers.shape[-1])]
    fixed = [f"fixed{k}" for k in range(batch.characteristics.shape[-1])]
    choices = {
        "model": "cudalstm", "head": "regression", "loss": "MSE", "optimizer": "AdamW",
        "learning_rate": {0: 1e-3}, "hidden_size": hidden, "output_dropout": 0.2,
        "dynamic_inputs": names, "static_attributes": fixed, "target_variables": ["GPP", "Reco"],
        "seq_length": batch.drivers.shape[1], "predict_last_n": batch.drivers.shape[1],
        "initial_forget_bias": 1, "clip_gradient_norm": 1, "device": "cpu",
    }  # fmt: skip
    config = Config(choices)
    network, loss_of = CudaLSTM(config), get_loss_obj(config)
    missing = torch.where(batch.weight[..., :2] > 0, batch.targets[..., :2], torch.nan)
    columns = batch.drivers.split(1, dim=-1)
    data = {
        "x_d": {name: values.contiguous() for name, values in zip(names, columns, strict=True)},
        "x_s": batch.characteristics,
        "y": missing,
    }

    def loss() -> torch.Tensor:
        return loss_of(network(network.pre_model_hook(data, is_train=True)), data)[0]

    return step_of(network, loss, get_optimizer(network, config))


class Windows(Dataset[dict[str, torch.Tensor]]):
    """One window an item and one tensor a driver, sliced as neuralhydrology's BaseDataset does."""

    def __init__(self, tensors: Tensors, cut: np.ndarray) -> None:
        self.columns = [column.contiguous() for column in tensors.drivers.split(1, dim=-1)]
        self.tensors, self.cut = tensors, cut

    def __len__(self) -> int:
        return len(self.cut)

    def __getitem__(self, item: int) -> dict[str, torch.Tensor]:
        row, start, _, end = self.cut[item].tolist()
        sample = {f"x{k}": column[row, start:end] for k, column in enumerate(self.columns)}
        sample["y"] = self.tensors.targets[row, start:end]
        sample["fixed"] = self.tensors.characteristics[row]
        return sample


def loaders(data: Path | None) -> dict[str, Callable[[], None]]:
    """An epoch of whole windows without its steps, both ways, and an epoch with its steps."""
    tensors, inputs = load(data)
    settings = Settings()
    cut = windows.cut(tensors, settings, np.random.default_rng(0))
    longest = int((cut[:, 3] - cut[:, 1]).max())
    whole = cut[cut[:, 3] - cut[:, 1] == longest]
    loader = DataLoader(Windows(tensors, whole), batch_size=settings.batch, shuffle=True)
    network = build_network(inputs, settings)
    optimiser = torch.optim.AdamW(informed.parameter_groups(network, settings), fused=True)
    loss_of = CT_LSTM.loss(tensors, inputs, settings, supervised.target_spread(tensors))
    seed, batches = (0, 0, 1), windows.batches_in_epoch(tensors, settings)

    def gather() -> None:
        order = np.random.default_rng(0).permutation(whole)
        for first in range(0, len(order), settings.batch):
            windows.gather(tensors, order[first : first + settings.batch])

    def train() -> None:
        supervised._one_epoch(
            network, optimiser, tensors, inputs, settings, CT_LSTM, loss_of, seed, 0, batches
        )

    return {
        "xflux": gather,
        "DataLoader": lambda: [None for _ in loader] and None,
        "loading": lambda: [None for _ in windows.epoch(tensors, inputs, settings, seed)] and None,
        "epoch": train,
    }


def serve(data: Path | None) -> None:
    """In a process that is measured: read what to do, answer with process time in seconds."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    _, inputs = load(None)

    @functools.cache
    def way(name: str, size: tuple[int, int, int]) -> Callable[[], None]:
        if name not in ("peer", "ct-lstm", "member"):
            return loaders(data)[name]
        steps, count, hidden = size
        batch = batch_of(steps, count, inputs.width, inputs.characteristic_width)
        if name == "member":
            return member(batch, hidden, inputs)
        return (peer if name == "peer" else ct_lstm)(batch, hidden)

    known: set[str] = set()
    for line in sys.stdin:
        name, size = json.loads(line)
        run = way(name, tuple(size))
        if line not in known:
            run()
            known.add(line)
        start = time.process_time()
        run()
        print(time.process_time() - start, flush=True)


class Measured:
    """A process that runs steps when it is asked to."""

    def __init__(self, environment: dict[str, str], data: Path | None) -> None:
        command = [sys.executable, __file__, "--serve", *(["--data", str(data)] if data else [])]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, env=environment, **pipes)

    def seconds(self, name: str, size: tuple[int, int, int] = (0, 0, 0)) -> float:
        """Process time of one turn."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([name, size]), file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())


def steps(places: dict[str, Measured], rounds: int) -> None:
    """Print seconds of an update, and how much longer the peer takes as its users run it."""
    names = ("peer", "ct-lstm", "member") if importlib.util.find_spec(PEER) else NO_PEER
    if "peer" not in names:
        print(f"{PEER} is not here: pip install {PEER}==1.13.0, and run again")
    for size in SIZES:
        print("\none update: {} steps, {} windows, {} hidden units".format(*size))
        turns = list(itertools.product(names, places))
        least = dict.fromkeys(turns, np.inf)
        for _ in range(rounds):
            for name, place in turns:
                least[name, place] = min(least[name, place], places[place].seconds(name, size))
        for name, place in turns:
            ratio = f"{least[names[0], OWN] / least[name, place]:6.2f} x"
            print(f"  {name:<10} {place:<22} {1e3 * least[name, place]:8.1f} ms {ratio}")


OWN, PROCESS = "as a user's process", "as xflux's processes"
NO_PEER = ("ct-lstm", "member")


def loading(places: dict[str, Measured], rounds: int) -> None:
    """Print what loading costs."""
    names = ("xflux", "DataLoader", "loading", "epoch")
    least = dict.fromkeys(names, np.inf)
    for _ in range(rounds):
        for name in names:
            least[name] = min(least[name], places[PROCESS].seconds(name))
    print("\nloading the windows of an epoch")
    print(f"  gathered by index      {1e3 * least['xflux']:8.1f} ms")
    ratio = least["DataLoader"] / least["xflux"]
    print(f"  DataLoader of windows  {1e3 * least['DataLoader']:8.1f} ms  {ratio:.1f} x")
    share = 100 * least["loading"] / least["epoch"]
    print(f"one epoch of one member, default daily settings: {least['epoch']:.2f} s on one core")
    print(f"  of it cutting, gathering and disturbing windows: {share:.1f} %")


def side_by_side(epochs: int) -> None:
    """Print what a whole training takes in this process and in two, their start included.

    Wall time says little on a machine with other work; processor time is what each core has to do.
    """
    towers = xflux.datasets.load("simulated-towers", sites=60, years=4)
    towers.flux.train(members=1, epochs=1, hidden=4, workers=1, progress=False)
    wall, core, hashes = [], [], set()
    for workers in (1, 2):
        start, used = time.perf_counter(), sum(os.times()[:4])
        model = towers.flux.train(
            members=2, epochs=epochs, workers=workers, device="cpu", progress=False
        )
        wall.append(time.perf_counter() - start)
        core.append((sum(os.times()[:4]) - used) / workers)
        hashes.add(model.members.sha256)
    same = "the same weights" if len(hashes) == 1 else "DIFFERENT WEIGHTS"
    print(f"\ntwo members, {epochs} epochs: {same}")
    for name, seconds in (("wall time", wall), ("processor time of each core", core)):
        print(f"  {name:<27} workers=1 {seconds[0]:6.1f} s, workers=2 {seconds[1]:6.1f} s", end="")
        print(f"  {seconds[0] / seconds[1]:.2f} x")


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=20, help="of the training side by side")
    parser.add_argument("--data", type=Path, help="netCDF of daily towers; simulated by default")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.data)
        return
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    places = {
        OWN: Measured({**os.environ, "OMP_NUM_THREADS": "1"}, options.data),
        PROCESS: Measured(processes.environment(), options.data),
    }
    steps(places, options.rounds)
    loading(places, options.rounds)
    for place in places.values():
        place.process.kill()
        place.process.wait()
    side_by_side(options.epochs)


if __name__ == "__main__":
    main()
