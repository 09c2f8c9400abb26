"""On a real cluster of processes: the same numbers, though workers die and the cluster goes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from gappy import assert_close, gappy_world

from xflux.errors import WriteError
from xflux.model import FluxModel
from xflux.prediction import cutting, to_zarr

pytest.importorskip("distributed")
pytest.importorskip("zarr")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*predicted without it there"),
    pytest.mark.filterwarnings("ignore::UserWarning:distributed"),
]
LAYOUTS = {"series": {"lat": 1, "lon": 2}, "maps": {"time": 14}}


@pytest.fixture(scope="module")
def world(daily_model: FluxModel) -> xr.Dataset:
    return gappy_world(daily_model)


@pytest.fixture(scope="module")
def expected(world: xr.Dataset, daily_model: FluxModel) -> xr.Dataset:
    with pytest.warns(UserWarning, match="predicted without"):
        return world.flux.predict(daily_model)


@pytest.fixture(scope="module")
def spread(daily_model: FluxModel) -> float:
    return float(daily_model.weights[0]["spread"].min())


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    """A client of two worker processes."""
    from distributed import Client, LocalCluster

    where = {"host": "127.0.0.1", "dashboard_address": None, "silence_logs": 50}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **where) as local,
        Client(local, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def client(workers: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The same with both workers alive, as the one that dask takes; blocks are small."""
    workers.wait_for_workers(2, timeout=120)
    monkeypatch.setattr(cutting, "STEPS", 1)
    monkeypatch.setattr(cutting, "CELLS", 6)
    with workers.as_current():
        yield workers


def slow(ds: xr.Dataset, folder: Path) -> xr.Dataset:
    """Drivers that take a while to be read, and leave a file behind each time."""

    def read(block: np.ndarray) -> np.ndarray:
        (folder / f"read-{time.time_ns()}").touch()
        time.sleep(0.05)
        return block

    meta = np.empty((0, 0, 0), dtype=np.float32)
    return ds.assign(TA=ds.TA.copy(data=da.map_blocks(read, ds.TA.data, dtype="f4", meta=meta)))


@contextmanager
def meanwhile(folder: Path, reads: int, act: Callable[[], object]) -> Iterator[None]:
    """Do something when so many chunks have been read."""

    def watch() -> None:
        while len(list(folder.glob("read-*"))) < reads:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield
    thread.join(timeout=120)
    assert not thread.is_alive()


def kill_one(client: Any) -> Callable[[], None]:
    """Kill -9 of a worker process."""
    number = sorted(client.run(os.getpid).values())[0]
    return lambda: os.kill(number, signal.SIGKILL)


# --- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_numbers(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float,
    client: Any, tmp_path: Path, layout: str,
) -> None:  # fmt: skip
    lazy = world.chunk(LAYOUTS[layout])
    assert_close(lazy.flux.predict(daily_model), expected, spread)
    assert_close(lazy.flux.predict_to_zarr(tmp_path / "f.zarr", daily_model), expected, spread)


def test_what_is_asked_of_workers_is_heeded(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float,
    client: Any, tmp_path: Path,
) -> None:  # fmt: skip
    async def equip(dask_worker: Any) -> None:
        await dask_worker.set_resources(GPU=1)

    def ran(dask_worker: Any) -> set[str]:
        return {str(entry[0]) for entry in dask_worker.state.log if "executing" in entry}

    with_gpu, without = sorted(client.run(os.getpid))
    client.run(equip, workers=[with_gpu])
    lazy = world.chunk(LAYOUTS["series"])
    before = client.run(ran)
    with dask.annotate(resources={"GPU": 1}):
        written = lazy.flux.predict_to_zarr(tmp_path / "f.zarr", daily_model)
        wrote = client.run(ran)
        found = lazy.flux.predict(daily_model).compute()
        predicted = client.run(ran)
    assert_close(written, expected, spread)
    assert_close(found, expected, spread)
    here = {key for key in wrote[with_gpu] - before[with_gpu] if "xflux-write-" in key}
    assert len(here) == 10
    assert not any("xflux-" in key for key in wrote[without] - before[without])
    new = {address: predicted[address] - wrote[address] for address in wrote}
    assert any("xflux-" in key for key in new[with_gpu])
    assert not any("xflux-" in key for key in new[without])


# --- deaths -----------------------------------------------------------------------------------


def test_a_worker_is_killed_while_it_predicts(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float,
    client: Any, tmp_path: Path,
) -> None:  # fmt: skip
    lazy = slow(world.chunk(time=7, lat=2), tmp_path)
    with meanwhile(tmp_path, 8, kill_one(client)):
        found = lazy.flux.predict(daily_model).compute()
    assert_close(found, expected, spread)


def test_a_worker_is_killed_while_it_writes(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float,
    client: Any, tmp_path: Path,
) -> None:  # fmt: skip
    lazy = slow(world.chunk(LAYOUTS["maps"]), tmp_path)
    with meanwhile(tmp_path, 5, kill_one(client)):
        found = lazy.flux.predict_to_zarr(tmp_path / "f.zarr", daily_model)
    assert_close(found, expected, spread)
    assert not (tmp_path / "f.zarr.part").exists()


def test_the_cluster_restarts(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float,
    client: Any, tmp_path: Path,
) -> None:  # fmt: skip
    lazy = slow(world.chunk(LAYOUTS["maps"]), tmp_path)
    with (
        meanwhile(tmp_path, 5, lambda: client.restart(wait_for_workers=False)),
        pytest.raises(
            WriteError, match=r"(?s)the cluster did not finish: .* the same line goes on"
        ),
    ):
        lazy.flux.predict_to_zarr(tmp_path / "f.zarr", daily_model)
    assert not (tmp_path / "f.zarr").exists()
    written = len(list(tmp_path.glob("f.zarr.part/blocks/*/*")))
    assert written
    client.wait_for_workers(1, timeout=300)
    assert_close(lazy.flux.predict_to_zarr(tmp_path / "f.zarr", daily_model), expected, spread)


def test_the_cluster_goes_and_threads_go_on(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float, tmp_path: Path
) -> None:
    from distributed import Client, LocalCluster

    where = {"host": "127.0.0.1", "dashboard_address": None, "silence_logs": 50}
    lazy = slow(world.chunk(lat=1), tmp_path)
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp://", **where
    ) as local:
        client = Client(local, set_as_default=False)
        with (
            dask.config.set(scheduler=client),
            meanwhile(tmp_path, 3, local.close),
            pytest.raises(WriteError, match="the cluster did not finish"),
        ):
            lazy.flux.predict_to_zarr(tmp_path / "f.zarr", daily_model)
        client.close()
    reads = len(list(tmp_path.glob("read-*")))
    written = len(list(tmp_path.glob("f.zarr.part/blocks/*/*")))
    assert_close(lazy.flux.predict_to_zarr(tmp_path / "f.zarr", daily_model), expected, spread)
    assert len(list(tmp_path.glob("read-*"))) - reads == 5 - written + min(written, to_zarr.CHECKED)
