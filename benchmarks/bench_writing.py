"""Graphs and memory of predictions at scale: tasks a block, bytes, time to build, peak memory.

The graphs are those of a quarter of a degree, and nothing of them is computed. Memory is measured
in processes of their own, each of which writes maps of so many days, with a small model.

    python benchmarks/bench_writing.py
"""

from __future__ import annotations

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import cloudpickle
import dask.array as da
import numpy as np
import xarray as xr
from measure import peak

import xflux
from xflux.prediction import scheduling

DRIVERS = ["TA", "TA_MIN", "TA_MAX", "SW_IN", "VPD", "P", "LAI", "EVI"]
CHUNKS = {"series": (180, 15, 15), "both": (30, 26, 52), "maps": (1, 721, 1440)}


def lazy_grid(shape: tuple[int, int], days: int, chunks: tuple[int, int, int]) -> xr.Dataset:
    """Lazy drivers that are 15 on all land, or as near as each may be; one in ten cells is land."""
    base = xflux.datasets.load("simulated-grid", shape=(2, 2), years=1)
    lat, lon = shape
    ds = xr.Dataset(
        coords={
            "time": xr.date_range("2001-01-01", periods=days),
            "lat": ("lat", np.linspace(90, -90, lat), base.lat.attrs),
            "lon": ("lon", np.arange(lon) * 360 / lon, base.lon.attrs),
            "igbp": (("lat", "lon"), da.full(shape, "ENF", chunks=chunks[1:])),
        }
    )
    land = np.where(np.arange(lon) % 10, np.nan, 1).astype(np.float32)
    for name in DRIVERS:
        value = 0.3 if name == "EVI" else 2.0 if name == "LAI" else 15.0
        values = da.full((days, lat, lon), value, chunks=chunks, dtype="f4")
        ds[name] = (("time", "lat", "lon"), values * land, base[name].attrs)
    return ds


def graphs() -> None:
    """Print what the graphs cost."""
    model = xflux.load_model("daily")
    run = scheduling.run
    for layout, chunks in CHUNKS.items():
        ds = lazy_grid((721, 1440), 180, chunks)
        start = time.process_time()
        out = ds.flux.predict(model)
        built = time.process_time() - start
        size = len(pickle.dumps(out.__dask_graph__())) / 1e6
        seen: list[tuple[int, int, float]] = []

        def count(graph: Any, keys: Any, done: Any, seen: list[Any] = seen) -> None:
            seen.append((len(graph.to_dict()), len(keys), len(cloudpickle.dumps(graph)) / 1e6))
            for key in keys:
                done(key, None)

        scheduling.run = count
        with tempfile.TemporaryDirectory() as folder:
            ds.flux.predict_to_zarr(Path(folder, "fluxes.zarr"), model, progress=False)
        scheduling.run = run
        tasks, blocks = (sum(counts) for counts in list(zip(*seen, strict=True))[:2])
        print(
            f"{layout:<7} predict: {out.GPP.data.npartitions} blocks, {built:.2f} s, {size:.2f} MB;"
            f"  predict_to_zarr: {blocks} blocks, {tasks / blocks:.2f} tasks a block, "
            f"{max(s for _, _, s in seen):.2f} MB at most"
        )


def write(folder: Path, days: int) -> None:
    """Write maps of so many days, and print the peak memory of this process, MB."""
    model = xflux.load_model(folder / "small.safetensors")
    ds = lazy_grid((60, 120), days, (1, 60, 120))
    ds.flux.predict_to_zarr(folder / f"{days}.zarr", model, progress=False)
    print(json.dumps(peak()))


def memory(years: list[int]) -> None:
    """Print the peak memory of runs of some years."""
    towers = xflux.datasets.load("simulated-towers", sites=6, years=1)
    with tempfile.TemporaryDirectory() as folder:
        model = towers.flux.train(members=2, hidden=8, epochs=1, progress=False)
        model.save(Path(folder, "small.safetensors"))
        for count in years:
            command = [sys.executable, __file__, "--write", str(365 * count), "--folder", folder]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            most = float(done.stdout.splitlines()[-1])
            data = 60 * 120 * 365 * count * len(DRIVERS) * 4 / 1e6
            print(
                f"maps of 60 x 120 cells, {count} years ({data:.0f} MB of drivers): {most:.0f} MB"
            )


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--years", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--write", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.write:
        write(options.folder, options.write)
        return
    graphs()
    memory(options.years)


if __name__ == "__main__":
    main()
