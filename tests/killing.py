"""Writes stores in child processes, kills them at random moments, and lets others go on.

    python killing.py MODEL FOLDER KILLS

It forks, so that torch is imported once. Each line of FOLDER/log is about one block of one store:
that its computing begins, or that it is written down; or about a child: killed, or finished.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from gappy import gappy_world

import xflux
from xflux.model import FluxModel
from xflux.prediction import cutting, writing
from xflux.prediction.unfinished import Note, Unfinished

LAYOUTS: tuple[dict[str, int], ...] = ({"lat": 1, "lon": 2}, {"time": 14})


def log(folder: Path, *words: object) -> None:
    """Write one line, whole or not at all."""
    file = os.open(folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (" ".join(map(str, words)) + "\n").encode())
    os.close(file)


def watch(folder: Path, store: str) -> None:
    """Log each block when it begins to be computed, and when it is written down."""
    before, done = writing._before_block, Unfinished.done

    def begun(job: writing.Job, tile: int, found: Note | None, arrays: Any) -> Any:
        log(folder, "begun", store, tile, 0 if found is None else found.slab + 1)
        return before(job, tile, found, arrays)

    def noted(self: Unfinished, tile: int, note: Note, state: bytes) -> None:
        done(self, tile, note, state)
        log(folder, "done", store, tile, note.slab)

    writing._before_block, Unfinished.done = begun, noted  # type: ignore[method-assign]


def child(ds: xr.Dataset, model: FluxModel, store: Path, unbroken: Path) -> None:
    """Open the unfinished store, which must fail; write it; compare it with the unbroken one."""
    if not store.exists():
        for place in (store, f"{store}.part/store", f"{store}.part"):
            try:
                xr.open_zarr(place)
            except FileNotFoundError:
                continue
            log(store.parent, "opened", place)
            return
    watch(store.parent, store.name)
    found = ds.flux.predict_to_zarr(store, model, progress=False)
    if unbroken != store:
        for name, expected in xr.open_zarr(unbroken).data_vars.items():
            if not np.array_equal(found[name], expected, equal_nan=True):
                log(store.parent, "differs", name)
    log(store.parent, "finished", store.name)


def lines(folder: Path) -> int:
    """How long the log is."""
    return (folder / "log").read_bytes().count(b"\n") if (folder / "log").exists() else 0


def whole(store: Path) -> bool:
    """Whether a store is finished, and nothing beside it is left to remove."""
    return store.exists() and not store.with_name(f"{store.name}.part").exists()


def live(
    ds: xr.Dataset, model: FluxModel, store: Path, unbroken: Path, *, until: int, wait: float
) -> bool:
    """Let a child write so many lines of the log, and wait; whether it had to be killed."""
    before, number = lines(store.parent), os.fork()
    if not number:
        status = 1
        try:
            child(ds, model, store, unbroken)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    end = None
    while end is None or time.monotonic() < end:
        if (found := os.waitpid(number, os.WNOHANG))[0]:
            assert not found[1], "a child failed"
            return False
        if end is None and lines(store.parent) >= before + until:
            end = time.monotonic() + wait
        time.sleep(0.002)
    os.kill(number, signal.SIGKILL)
    os.waitpid(number, 0)
    log(store.parent, "killed", store.name)
    finished = f"finished {store.name}" in (store.parent / "log").read_text()
    if whole(store) and not finished:  # killed between the last rename and the line of the log
        log(store.parent, "finished", store.name)
    return True


def main() -> None:
    """Kill as often as is asked, now and then before a block has begun."""
    model, folder, kills = xflux.load_model(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    warnings.simplefilter("ignore")
    cutting.STEPS, cutting.CELLS = 1, 6
    world = gappy_world(model)
    worlds = [world.chunk(chunks) for chunks in LAYOUTS]
    stores = [folder / f"unbroken-{number}.zarr" for number in range(2)]
    for ds, store in zip(worlds, stores, strict=True):
        live(ds, model, store, store, until=10**6, wait=0)
    chance, number = random.Random(0), 0
    for _ in range(kills):
        number += whole(folder / f"{number}.zarr")  # it was finished when it was killed
        while not live(
            worlds[number % 2],
            model,
            folder / f"{number}.zarr",
            stores[number % 2],
            until=chance.choice((0, 1, 3, 6, 10, 14)),
            wait=chance.uniform(0, 0.3),
        ):
            number += 1
    number += whole(folder / f"{number}.zarr")
    live(worlds[number % 2], model, folder / f"{number}.zarr", stores[number % 2],
         until=10**6, wait=0)  # fmt: skip


if __name__ == "__main__":
    main()
