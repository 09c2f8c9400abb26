"""Prediction against plain `torch.nn.LSTM` with the same weights: ratios from paired rounds.

All ways run one after another in each round, on one thread, and the fastest round of each counts.
What is compared is a whole member: LSTM, running means and the network over them.

    python benchmarks/bench_inference.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch

from xflux.features import Assembled
from xflux.networks import Member, from_weights
from xflux.prediction import ensemble
from xflux.prediction.ensemble import Members
from xflux.training.settings import SPANS

DRIVERS, AVERAGED, CHARACTERISTICS, MEMBERS = 15, 8, 17, 5
TILES = (32, 64, 128, 256)


def ensemble_of(hidden: int) -> Members:
    """Five members with random weights."""
    members = []
    for seed in range(MEMBERS):
        torch.manual_seed(seed)
        network = Member(DRIVERS, AVERAGED, CHARACTERISTICS, hidden, spans=SPANS["daily"])
        members.append({name: value.numpy() for name, value in network.state_dict().items()})
    return ensemble.pack(members)


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


def lstm_alone(networks: list[Member], block: Assembled, tile: int) -> None:
    """The LSTMs alone, batch first: drivers and characteristics joined, then `nn.LSTM`."""
    with torch.inference_mode():
        for first in range(0, len(block.drivers), tile):
            drivers = torch.from_numpy(block.drivers[first : first + tile])
            fixed = torch.from_numpy(block.characteristics[first : first + tile])
            joined = torch.cat([drivers, fixed[:, None].expand(-1, drivers.shape[1], -1)], dim=-1)
            for network in networks:
                network.recurrent.lstm(joined)


def members_alone(networks: list[Member], block: Assembled, tile: int) -> None:
    """Whole members as they are trained, `Member.forward`, batch first."""
    with torch.inference_mode():
        for first in range(0, len(block.drivers), tile):
            drivers = torch.from_numpy(block.drivers[first : first + tile])
            fixed = torch.from_numpy(block.characteristics[first : first + tile])
            for network in networks:
                network(drivers, fixed)


def fastest(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Least process time of each way over interleaved rounds, s."""
    least = dict.fromkeys(ways, np.inf)
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            way()
            least[name] = min(least[name], time.process_time() - start)
    return least


def compare(hidden: int, cells: int, steps: int, rounds: int) -> None:
    """Print one table of ratios."""
    weights, block = ensemble_of(hidden), block_of(cells, steps)
    networks = [
        from_weights({name: torch.from_numpy(value.copy()) for name, value in member.items()})
        .eval()
        .requires_grad_(False)
        for member in ensemble.unpack(weights)
    ]
    ways: dict[str, Callable[[], object]] = {
        "xflux": lambda: ensemble.run(weights, block),
        "xflux, keeping the state": lambda: ensemble.run(weights, block, keep=True),
        "members as trained, untiled": lambda: members_alone(networks, block, cells),
        "nn.LSTM alone, untiled": lambda: lstm_alone(networks, block, cells),
    }
    for tile in TILES:
        if tile < cells:
            ways[f"members as trained, tiles of {tile}"] = (
                lambda tile=tile: members_alone(networks, block, tile)  # type: ignore[misc]
            )
            ways[f"nn.LSTM alone, tiles of {tile}"] = (
                lambda tile=tile: lstm_alone(networks, block, tile)  # type: ignore[misc]
            )
    ways["xflux"]()
    least = fastest(ways, rounds)
    print(f"\nhidden {hidden}, {cells} cells, {steps} steps, {MEMBERS} members, 1 thread")
    for name, seconds in least.items():
        speed = cells * steps / seconds
        print(f"  {name:<34} {speed:>10,.0f} cell steps/s  {seconds / least['xflux']:5.2f} x")


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--cells", type=int, nargs="+", default=[512, 4096])
    parser.add_argument("--cell-steps", type=int, default=40_000, help="of one round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("Seconds of each way divided by those of xflux: above 1, xflux is faster.")
    for hidden in options.hidden:
        for cells in options.cells:
            steps = max(10, options.cell_steps // cells)
            compare(hidden, cells, steps, options.rounds)


if __name__ == "__main__":
    main()
