"""Prediction against plain torch with the same weights and against windows: ratios in one run.

All ways run one after another in each round, on one thread, and the fastest round of each counts
(process time). Speed is in cell steps a second for all members; a ratio is the time of a way
divided by that of xflux, so above 1 xflux is faster.

    python benchmarks/bench_inference.py
"""

from __future__ import annotations

import argparse
import functools
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from measure import Way, fastest

import xflux
from xflux.features import Array, Assembled
from xflux.networks.ct_lstm import Member, from_weights
from xflux.prediction import engines, ensemble
from xflux.prediction.ensemble import Members
from xflux.training.settings import SPANS

DRIVERS, AVERAGED, CHARACTERISTICS, MEMBERS = 15, 8, 17, 5
TILES = (32, 64, 128, 256)
WINDOW, BATCH = 365, 256


def ensemble_of(hidden: int) -> Members:
    """Five members with random weights."""
    members = []
    for seed in range(MEMBERS):
        torch.manual_seed(seed)
        network = Member(DRIVERS, AVERAGED, CHARACTERISTICS, hidden, spans=SPANS["daily"])
        members.append({name: value.numpy() for name, value in network.state_dict().items()})
    return ensemble.pack(members)


def networks_of(weights: Members) -> list[Member]:
    """The members as they are trained."""
    return [
        from_weights({name: torch.from_numpy(value.copy()) for name, value in member.items()})
        .eval()
        .requires_grad_(False)
        for member in ensemble.unpack(weights)
    ]


def block_of(cells: int, steps: int) -> Assembled:
    """Random drivers and characteristics, without gaps."""
    rng = np.random.default_rng(0)
    usable = np.ones((cells, steps), dtype=bool)
    return Assembled(
        rng.normal(size=(cells, steps, DRIVERS)).astype(np.float32),
        rng.normal(size=(cells, CHARACTERISTICS)).astype(np.float32),
        usable,
        ~usable,
    )


def xflux_by(engine: str, weights: Members, block: Assembled, **options: str) -> Array:
    """Fluxes (M, C, T, 2) by one of xflux's engines."""
    os.environ["XFLUX_ENGINE"] = engine
    try:
        return ensemble.run(weights, block, **options)[0]
    finally:
        del os.environ["XFLUX_ENGINE"]


def lstm_alone(networks: list[Member], block: Assembled, tile: int) -> None:
    """The LSTMs alone, batch first: drivers and characteristics joined, then `nn.LSTM`."""
    with torch.inference_mode():
        for first in range(0, len(block.drivers), tile):
            drivers = torch.from_numpy(block.drivers[first : first + tile])
            fixed = torch.from_numpy(block.characteristics[first : first + tile])
            joined = torch.cat([drivers, fixed[:, None].expand(-1, drivers.shape[1], -1)], dim=-1)
            for network in networks:
                network.recurrent.lstm(joined)


def members_alone(networks: list[Member], block: Assembled, tile: int) -> Array:
    """Whole members as they are trained, `Member.forward`, batch first."""
    fluxes = np.empty((len(networks), *block.usable.shape, 2), dtype=np.float32)
    with torch.inference_mode():
        for first in range(0, len(block.drivers), tile):
            drivers = torch.from_numpy(block.drivers[first : first + tile])
            fixed = torch.from_numpy(block.characteristics[first : first + tile])
            for number, network in enumerate(networks):
                out = network(drivers, fixed)[0].mean(dim=0)
                fluxes[number, first : first + tile] = out.numpy()
    return fluxes


def windows(network: Member, block: Assembled, days: int) -> None:
    """One member with a window for each of the last ``days`` days, of which the last day counts."""
    ends = range(block.usable.shape[1] - days + 1, block.usable.shape[1] + 1)
    cut = [(row, end) for row in range(len(block.drivers)) for end in ends]
    with torch.inference_mode():
        for first in range(0, len(cut), BATCH):
            some = cut[first : first + BATCH]
            drivers = np.stack([block.drivers[row, end - WINDOW : end] for row, end in some])
            fixed = block.characteristics[[row for row, _ in some]]
            network(torch.from_numpy(drivers), torch.from_numpy(fixed))[0][:, :, -1].mean(dim=0)


def xflux_ways(weights: Members, block: Assembled) -> dict[str, Way]:
    """The engines that run here."""
    ways: dict[str, Way] = {}
    if engines.choose().name == "fused":
        ways["xflux"] = functools.partial(xflux_by, "fused", weights, block)
    ways["xflux, plain torch"] = functools.partial(xflux_by, "torch", weights, block)
    return ways


def work(hidden: int) -> int:
    """Floating-point operations of a cell step in the products of all members."""
    means = AVERAGED * len(SPANS["daily"])
    lstm = 4 * hidden * (DRIVERS + hidden)
    network = 2 * hidden * (DRIVERS + means) + (2 * hidden) ** 2
    return 2 * MEMBERS * (lstm + network + 2 * 3 * hidden)


def against_torch(hidden: int, cells: int, steps: int, rounds: int) -> None:
    """Print a table of ratios, differences and shares of the peak."""
    weights, block = ensemble_of(hidden), block_of(cells, steps)
    networks = networks_of(weights)
    ways = xflux_ways(weights, block)
    ways["members as trained, untiled"] = functools.partial(members_alone, networks, block, cells)
    ways["nn.LSTM alone, untiled"] = functools.partial(lstm_alone, networks, block, cells)
    for tile in TILES:
        name = f"members as trained, tiles of {tile}"
        ways[name] = functools.partial(members_alone, networks, block, tile)
    expected = members_alone(networks, block, cells)
    differs = {
        name: float(np.abs(way() - expected).max())
        for name, way in ways.items()
        if name.startswith("xflux")
    }
    square = torch.randn(1024, 1024)
    ways["torch.mm"] = functools.partial(torch.mm, square, square)
    least = fastest(ways, rounds)
    peak = 2 * 1024**3 / least.pop("torch.mm")
    least["members as trained, best tiling"] = min(
        least.pop(f"members as trained, tiles of {tile}") for tile in TILES
    )
    ours = [name for name in least if name.startswith("xflux")]
    print(f"\nhidden {hidden}, {cells} cells, {steps} steps; torch.mm: {peak / 1e9:.0f} Gflop/s")
    columns = "".join(f"{'/ ' + name:>21}" for name in ours)
    print(f"  {'':<32}{'steps/s':>9}{'of mm':>7}{columns}{'max difference':>16}")
    for name, seconds in least.items():
        speed = cells * steps / seconds
        share = f"{speed * work(hidden) / peak:.0%}" if "alone" not in name else ""
        ratios = "".join(f"{seconds / least[our]:>21.2f}" for our in ours)
        differ = f"{differs[name]:.1e}" if name in differs else ""
        print(f"  {name:<32}{speed:>9,.0f}{share:>7}{ratios}{differ:>16}")


def against_windows(hidden: int, rounds: int) -> None:
    """Print ratios to predictions that run a window of a year anew for each day."""
    weights, block = ensemble_of(hidden), block_of(480, WINDOW)
    few = block_of(2, 2 * WINDOW)
    network = networks_of(weights)[0]
    ways = xflux_ways(weights, block)
    counts = dict.fromkeys(ways, block.usable.size * MEMBERS)
    ways["a member, a window a day"] = functools.partial(windows, network, few, 128)
    counts["a member, a window a day"] = 2 * 128
    with tempfile.TemporaryDirectory() as folder:
        try:
            from peer_neuralhydrology import tester

            name = "tester of neuralhydrology"
            ways[name], counts[name] = tester(
                Path(folder), hidden=hidden, entities=2,
                drivers=DRIVERS, characteristics=CHARACTERISTICS,
            )  # fmt: skip
        except ModuleNotFoundError as error:
            print(f"\nwithout neuralhydrology: {error}")
            print("  pip install -c constraints.txt neuralhydrology")
        least = fastest(ways, rounds)
    print(f"\nhidden {hidden}, days of one model a second; windows of {WINDOW} days, last day kept")
    print("  A member of xflux is two networks, and carries its state: this compares meanings of")
    print("  prediction, not only code. neuralhydrology's CudaLSTM is one LSTM.")
    ours = [name for name in least if name.startswith("xflux")]
    print(f"  {'':<32}{'days/s':>12}" + "".join(f"{'/ ' + name:>21}" for name in ours))
    speed = {name: counts[name] / seconds for name, seconds in least.items()}
    for name, value in speed.items():
        ratios = "".join(f"{speed[our] / value:>21.1f}" for our in ours)
        print(f"  {name:<32}{value:>12,.0f}{ratios}")


def reduced_precision(hidden: int, rounds: int) -> None:
    """Print the error of bfloat16 with trained weights, and its speed on this processor."""
    towers = xflux.datasets.load("simulated-towers", sites=20, years=2, seed=3)
    model = xflux.load_model("daily")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes of land cover that the model has not seen
        exact, rough = (
            towers.flux.predict(model, precision=precision) for precision in engines.PRECISIONS
        )
    print("\nbfloat16: error of the bundled daily ensemble over two years of 20 simulated towers")
    for flux, spread in zip(("GPP", "Reco"), model.weights[0]["spread"], strict=True):
        error = np.abs(rough[flux] - exact[flux]) / float(spread)
        most, root = float(error.max()), float(np.sqrt((error**2).mean()))
        print(f"  {flux:<5} at most {most:.1e}, root mean square {root:.1e} of the spread")
    weights, block = ensemble_of(hidden), block_of(256, 64)
    ways: dict[str, Way] = {
        precision: functools.partial(xflux_by, "torch", weights, block, precision=precision)
        for precision in engines.PRECISIONS
    }
    least = fastest(ways, rounds)
    ratio = least["float32"] / least["bfloat16"]
    print(f"  time of float32 divided by that of bfloat16 on this processor: {ratio:.2f}")


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--cells", type=int, nargs="+", default=[512, 4096])
    parser.add_argument("--cell-steps", type=int, default=40_000, help="of one round")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.pop("XFLUX_ENGINE", None)
    name, reason, _ = engines.choose()
    print(f"Engine here: {name} ({reason}). {MEMBERS} members, 1 thread.")
    for hidden in options.hidden:
        for cells in options.cells:
            steps = max(10, options.cell_steps // cells)
            against_torch(hidden, cells, steps, options.rounds)
    against_windows(options.hidden[0], min(options.rounds, 3))
    reduced_precision(options.hidden[0], min(options.rounds, 3))


if __name__ == "__main__":
    main()
