"""What prediction costs beside the network: time, memory and tasks, from store to store.

    python benchmarks/bench_data_path.py

For both layouts of a store, whole series in tiles and whole maps in slabs of time: the share of the
process's time that is spent outside the network (reading, gathering land, units, gaps,
normalisation, scattering, writing), the peak memory over that of the idle interpreter, and the
tasks a block. Then what the sea costs, and whether memory grows with the length of the run.

Each case runs in a process of its own, on one thread.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import worlds
import xarray as xr
from measure import peak

import xflux
from xflux.prediction import ensemble

SIZE = {"rows": 120, "columns": 240}
"""Cells of the world: 24 % of them land."""


class Clock:
    """Time inside `ensemble.run`, the walk of a block through all members."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._run = ensemble.run
        ensemble.run = self  # type: ignore[assignment]

    def __call__(self, *args: object, **options: object) -> object:
        """What `ensemble.run` does."""
        start = time.process_time()
        try:
            return self._run(*args, **options)  # type: ignore[arg-type]
        finally:
            self.seconds += time.process_time() - start


def one_case(store: str, way: str) -> dict[str, float]:
    """Predict one store to another, in this process."""
    import dask

    warnings.filterwarnings("ignore")
    dask.config.set(scheduler="synchronous")
    model = xflux.load_model("daily")
    tiny = xflux.datasets.load("simulated-grid", shape=(6, 12), years=1)
    tiny.flux.predict(model)  # imports and networks are there before the clock starts
    idle, clock = peak(), Clock()
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        ds = xr.open_zarr(store, consolidated=False)
        target = Path(folder) / "fluxes.zarr"
        if way == "to_zarr":
            ds.flux.predict(model).to_zarr(target, consolidated=False)
        else:
            ds.flux.predict_to_zarr(target, model, progress=False)
        total = time.process_time() - start
    land = int((ds.igbp.values != "WAT").sum())
    return {
        "seconds": total,
        "outside": 1 - clock.seconds / total,
        "memory": peak() - idle,
        "cell_days": land * ds.sizes["time"],
    }


def case(store: Path, way: str) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--store", str(store), "--way", way]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def tasks_a_block(store: Path) -> tuple[float, float]:
    """Tasks a block of a lazy prediction from zarr, as dask runs them: xflux's own, and all.

    xflux's own are the block, the state handed on, and one for each variable that is asked for.
    """
    import dask

    ds = xr.open_zarr(store, consolidated=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = ds.flux.predict()[["GPP", "Reco", "NEE"]].reset_coords(drop=True)
    (optimised,) = dask.optimize(out)
    keys = list(dict(optimised.__dask_graph__()))
    names = [str(key[0] if isinstance(key, tuple) else key) for key in keys]
    own = [name for name in names if "open_dataset" not in name]
    blocks = int(np.prod(out.GPP.data.numblocks))
    return len(own) / blocks, len(names) / blocks


def compare(folder: Path) -> None:
    """Print all tables."""
    print(f"{'store and way':40}{'outside':>9}{'memory':>10}{'cell days/s':>13}")
    for layout in ("series", "map"):
        store = worlds.write(folder, layout, **SIZE, years=1, land=False)
        own, whole = tasks_a_block(store)
        for way in ("to_zarr", "predict_to_zarr"):
            found = case(store, way)
            print(
                f"{layout + ', ' + way:40}{found['outside']:9.0%}{found['memory']:7.0f} MB"
                f"{found['cell_days'] / found['seconds']:13,.0f}"
            )
        print(f"  tasks a block, lazily: {own:.1f} of xflux, {whole:.1f} with reading from zarr")
    print("\nmemory over the idle interpreter's by length of the run, 60 x 60 cells, all land")
    for layout in ("series", "map"):
        row = []
        for years in (1, 2, 4):
            store = worlds.write(folder, layout, rows=60, columns=60, years=years, land=True)
            row.append(f"{years} years {case(store, 'predict_to_zarr')['memory']:.0f} MB")
        print(f"{layout:10}" + ", ".join(row))
    print("\ntime with 76 % sea over time with land everywhere, the same cells")
    for layout in ("series", "map"):
        seconds = [
            case(worlds.write(folder, layout, rows=60, columns=120, years=1, land=land),
                 "predict_to_zarr")["seconds"]
            for land in (False, True)
        ]  # fmt: skip
        print(f"{layout:10}{seconds[0] / seconds[1]:.2f}")


def main() -> None:
    """Run one case, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", help="run one case on this store, and print it as JSON")
    parser.add_argument("--way", choices=("to_zarr", "predict_to_zarr"))
    parser.add_argument("--folder", type=Path, help="where the stores are made, and kept")
    options = parser.parse_args()
    if options.store:
        print(json.dumps(one_case(options.store, options.way)))
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(options.folder or Path(folder))


if __name__ == "__main__":
    main()
