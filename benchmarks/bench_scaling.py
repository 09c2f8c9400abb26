"""What predictions cost as they grow: cells, days, members, workers; and a whole world.

    python benchmarks/bench_scaling.py
    python benchmarks/bench_scaling.py --world

The first prints the process time of a cell day (of a member), relative to the smallest run of its
table, on one thread; runs take turns, and the fastest turn of each counts. Cost grows in
proportion where the figures stay near 1. Workers are compared by wall time, which other work on the
machine disturbs, on a store of whole series.

The second, the long one, takes a year of a quarter of a degree from store to store: 721 x 1440
cells, 24 % of them land, eight daily drivers in maps of 30 days, with the bundled ensemble. It
makes the store of drivers first, once, in ``--folder``.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import worlds
import xarray as xr
from measure import Way, fastest, peak

import xflux
from xflux.model import FluxModel
from xflux.prediction import ensemble

CELLS, DAYS, MEMBERS, WORKERS = (500, 1000, 2000, 4000), (183, 365, 730, 1460), (1, 2, 5), (1, 2)


def table(name: str, sizes: tuple[int, ...], way: Callable[[int], Way], rounds: int) -> None:
    """Print how the time of a unit changes with the size."""
    least = fastest({str(size): way(size) for size in sizes}, rounds)
    units = [least[str(size)] / size for size in sizes]
    cells = "".join(
        f"{size:>8,} {unit / units[0]:5.2f}" for size, unit in zip(sizes, units, strict=True)
    )
    print(f"{name:<44}{cells}")


def with_members(model: FluxModel, count: int) -> FluxModel:
    """The same model with some of its members."""
    return dataclasses.replace(model, members=ensemble.pack(model.weights[:count]))


def grow(rounds: int) -> None:
    """Print the cost of a cell, of a day and of a member."""
    import dask

    dask.config.set(scheduler="synchronous")
    model = xflux.load_model("daily")
    long = xflux.datasets.load("simulated-towers", sites=100, years=4)
    where = np.arange(CELLS[-1]) % long.sizes["site"]
    year = long.isel(time=slice(365))

    def cells(count: int) -> Way:
        some = year.isel(site=where[:count]).assign_coords(site=np.arange(count))
        return lambda: some.flux.predict(model)

    def days(count: int) -> Way:
        return lambda: long.isel(time=slice(count)).flux.predict(model)

    def members(count: int) -> Way:
        few = with_members(model, count)
        return lambda: year.flux.predict(few)

    print("process time of a unit, relative to the first of its row: size and ratio")
    table("cells, 365 days, 5 members", CELLS, cells, rounds)
    table("days, 100 cells, 5 members", DAYS, days, rounds)
    table("members, 100 cells, 365 days", MEMBERS, members, rounds)


def side_by_side(folder: Path, rounds: int) -> None:
    """Print the wall time of one worker over that of two: threads, and processes."""
    import dask
    from distributed import Client, LocalCluster

    store = worlds.write(folder, "series", rows=120, columns=240, years=1, land=False)
    drivers, model = xr.open_zarr(store, consolidated=False), xflux.load_model("daily")

    def write() -> None:
        with tempfile.TemporaryDirectory() as target:
            drivers.flux.predict_to_zarr(Path(target, "fluxes.zarr"), model, progress=False)

    def threads(count: int) -> Way:
        def way() -> None:
            with dask.config.set(scheduler="threads", num_workers=count):
                write()

        return way

    ways = {str(count): threads(count) for count in WORKERS}
    least = list(fastest(ways, rounds, time.perf_counter).values())
    print(f"\n{os.cpu_count()} cores; wall time of one worker over that of {WORKERS[-1]}")
    print(f"  threads                          {least[0] / least[-1]:.2f}")
    walls = []
    for count in WORKERS:
        where = {"dashboard_address": None, "silence_logs": 50}
        with (
            LocalCluster(n_workers=count, threads_per_worker=1, **where) as cluster,
            Client(cluster),
        ):
            walls.append(fastest({"": write}, rounds, time.perf_counter)[""])
    print(f"  processes of a cluster           {walls[0] / walls[-1]:.2f}")


def whole_world(folder: Path) -> None:
    """Print speed and memory of a year of a quarter of a degree, and show the bar."""
    store = worlds.write(folder, "map", rows=721, columns=1440, years=1, land=False)
    drivers = xr.open_zarr(store, consolidated=False)
    land = int((drivers.igbp != "WAT").sum())
    idle, wall, core = peak(), time.perf_counter(), time.process_time()
    target = folder / "fluxes.zarr"
    drivers.flux.predict_to_zarr(target, xflux.load_model("daily"), progress=True, mode="w")
    wall, core = time.perf_counter() - wall, time.process_time() - core
    days = drivers.sizes["time"]
    done = land * days
    size = sum(f.stat().st_size for f in target.rglob("*") if f.is_file())
    print(f"{land:,} land cells ({land / (721 * 1440):.0%}), {days} days: {done:,} cell days")
    print(
        f"  {done / wall:,.0f} cell days/s of wall time with {os.cpu_count()} cores, {wall:.0f} s"
    )
    print(f"  {done / core:,.0f} cell days/s of processor time")
    print(f"  peak memory {peak():.0f} MB, {peak() - idle:.0f} MB more than before it began")
    print(f"  {size / 1e9:.2f} GB written")
    fluxes = xr.open_zarr(target)
    seen = int(fluxes.GPP.isel(time=-1).notnull().sum())
    print(f"  the last day has {seen:,} cells")


def main() -> None:
    """Run the tables, or the world."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", action="store_true", help="a year of a quarter of a degree")
    parser.add_argument("--folder", type=Path, help="where stores are made, and kept")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if options.world:
            whole_world(folder)
            return
        grow(options.rounds)
        side_by_side(folder, options.rounds)


if __name__ == "__main__":
    main()
