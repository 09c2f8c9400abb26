"""Faults of chunks, files, workers and threads (rows 49-52, 59, 60, 66-68, 73, 74, 76-84)."""

from __future__ import annotations

import importlib
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr
from faulty import drivers_of, row, same, says, warned

import xflux
from xflux.errors import ModelError, ModelFileError, SchemaError, WriteError, XfluxError
from xflux.model import FluxModel
from xflux.prediction import blocks, ensemble, kernel, streaming
from xflux.training import members

TINY = {"members": 2, "epochs": 2, "hidden": 4, "progress": False, "device": "cpu"}


@pytest.fixture(scope="module")
def drivers(some_towers: xr.Dataset) -> xr.Dataset:
    return drivers_of(some_towers, 4).isel(time=slice(0, 90))


@pytest.fixture(scope="module")
def expected(drivers: xr.Dataset, daily_model: FluxModel) -> xr.Dataset:
    return drivers.flux.predict(daily_model)


# --- far from training ------------------------------------------------------------------------

FAR: list[Any] = [
    row(65, "hotter_than_any_tower", "TA", 50.0),
    row(65, "brighter_than_any_tower", "SW_IN", 480.0),
    row(65, "more_leaves_than_any_tower", "LAI", 9.0),
]


@pytest.mark.parametrize(("name", "value"), FAR)
def test_drivers_far_outside_of_training_are_said_and_flagged(
    drivers: xr.Dataset, name: str, value: float
) -> None:
    ds = drivers.isel(site=[0, 1]).copy(deep=True)
    ds[name].loc[{"site": ds.site[1], "time": ds.time[30:60]}] = value
    with warned(f"{name} is far outside of the", "1 entities (SIM-002)", "applicability=True"):
        found = ds.flux.predict(applicability=True)
    assert (found.applicable.isel(site=1, time=slice(30, 60)) == 0).all()
    near = drivers.isel(site=[0, 1]).flux.predict(applicability=True)
    assert (near.applicable.isel(site=1, time=slice(30, 60)) == 1).any()
    lazy = ds.chunk(site=1).flux.predict(applicability=True).compute()
    xr.testing.assert_equal(lazy.applicable, found.applicable)


# --- chunks -----------------------------------------------------------------------------------

CUTS: list[Any] = [
    row(49, "time_in_chunks", lambda ds: ds.chunk(time=30)),
    row(49, "time_in_chunks_of_one", lambda ds: ds.chunk(time=1, site=2)),
    row(52, "other_chunks_for_each_variable", lambda ds: ds.assign(
        TA=ds.TA.chunk(time=20), P=ds.P.chunk(site=3, time=45), VPD=ds.VPD.chunk(site=1))),
    row(52, "some_variables_in_memory", lambda ds: ds.assign(TA=ds.TA.chunk(time=40))),
]  # fmt: skip


@pytest.mark.parametrize("cut", CUTS)
def test_no_chunk_changes_a_number(
    drivers: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset,
    cut: Callable[[xr.Dataset], xr.Dataset],
) -> None:  # fmt: skip
    same(cut(drivers).flux.predict(daily_model).compute(), expected, atol=2e-6)


@pytest.mark.parametrize("most", [row(50, "a_chunk_larger_than_memory", 2)])
def test_few_cells_of_a_chunk_are_computed_at_a_time(
    drivers: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, most: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    rows, run = [], ensemble.run

    def counted(weights: Any, block: Any, **options: Any) -> Any:
        rows.append(len(block.usable))
        return run(weights, block, **options)

    monkeypatch.setattr(blocks, "cells_at_once", lambda steps: most)
    monkeypatch.setattr(ensemble, "run", counted)
    same(drivers.chunk().flux.predict(daily_model).compute(), expected, atol=2e-6)
    assert rows == [2, 2]


@pytest.mark.parametrize("most", [row(51, "very_many_chunks", 300)])
def test_very_many_blocks_are_warned_of(
    drivers: xr.Dataset, daily_model: FluxModel, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "MANY", most)
    with warned("360 blocks", "ds.chunk("):
        drivers.chunk(site=1, time=1).flux.predict(daily_model)
    drivers.chunk(site=2, time=1).flux.predict(daily_model)


# --- files that fail, or were opened otherwise --------------------------------------------------


def failing(block: np.ndarray) -> np.ndarray:
    raise OSError("NetCDF: HDF error")


@pytest.mark.parametrize("name", [row(59, "a_file_that_went_away", "TA")])
def test_a_file_that_fails_later_is_named_by_its_block(
    drivers: xr.Dataset, daily_model: FluxModel, name: str, tmp_path: Path
) -> None:
    lazy = drivers.chunk(site=2)
    meta = np.empty((0, 0), np.float32)
    lazy[name] = lazy[name].copy(data=da.map_blocks(failing, lazy[name].data, meta=meta))
    with pytest.raises(OSError, match="HDF error"):
        lazy.flux.predict(daily_model).compute()
    with pytest.raises(WriteError) as caught:
        lazy.flux.predict_to_zarr(tmp_path / "f.zarr", daily_model)
    says(caught.value, " of 2 (site SIM-00", "HDF error", "the same line goes on")


@pytest.mark.parametrize("name", [row(60, "opened_without_dask", "drivers.nc")])
def test_a_file_opened_without_dask(
    drivers: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, name: str, tmp_path: Path
) -> None:
    drivers.to_netcdf(tmp_path / name)
    with xr.open_dataset(tmp_path / name) as ds:
        same(ds.flux.predict(daily_model), expected, atol=2e-6)
        written = ds.flux.predict_to_zarr(tmp_path / "f.zarr", daily_model)
    same(written.compute(), expected, atol=2e-6)


# --- the same numbers again ---------------------------------------------------------------------


@pytest.mark.parametrize("count", [row(66, "one_thread", 1), row(66, "three_threads", 3)])
def test_threads_change_nothing(
    drivers: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, count: int
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        same(drivers.flux.predict(daily_model), expected, atol=1e-6)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("epoch", [row(67, "interrupted", 3)])
def test_a_training_that_was_interrupted_ends_the_same(
    some_towers: xr.Dataset, epoch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = some_towers.flux.train(**TINY)
    step, done = members.Bar.step, []

    def broken(bar: Any, title: str, loss: float) -> None:
        step(bar, title, loss)
        done.append(title)
        if len(done) == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(members.Bar, "step", broken)
    with pytest.raises(KeyboardInterrupt):
        some_towers.flux.train(checkpoint=tmp_path / "kept", **TINY)
    monkeypatch.undo()
    resumed = some_towers.flux.train(checkpoint=tmp_path / "kept", **TINY)
    assert resumed.members.data == whole.members.data


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("device", [row(68, "no_gpu", "cuda"), row(68, "no_such_device", "tpu9")])
def test_a_device_that_is_not_here(some_towers: xr.Dataset, device: str) -> None:
    with pytest.raises(ModelError) as caught:
        some_towers.flux.train(**{**TINY, "device": device})
    says(caught.value, f"device={device!r}", 'device="cpu"')


# --- what files could do ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [row(73, "tar", "tar"), row(73, "zip", "zip")])
def test_archives_do_not_write_outside(kind: str, tmp_path: Path) -> None:
    inside, text = tmp_path / "inside", tmp_path / "x.csv"
    inside.mkdir()
    text.write_text("time,TA\n2005-01-01,1\n")
    path = inside / f"towers.{kind}"
    if kind == "tar":
        with tarfile.open(path, "w") as archive:
            archive.add(text, "../out.csv")
    else:
        with zipfile.ZipFile(path, "w") as packed:
            packed.write(text, "../out.csv")
    with pytest.raises(SchemaError, match=r"leads out|towers\.tar"):
        xflux.open_towers(path)
    assert not (tmp_path / "out.csv").exists()
    assert [p.name for p in inside.iterdir()] == [path.name]


def forged(model: FluxModel, **settings: Any) -> FluxModel:
    import dataclasses

    return dataclasses.replace(model, settings=dataclasses.replace(model.settings, **settings))


@pytest.mark.parametrize(
    "change", [row(74, "too_wide", {"hidden": 10**9}), row(74, "too_many", {"members": 10**6})]
)
def test_a_description_that_lies_takes_no_memory(
    daily_model: FluxModel, change: dict[str, Any], tmp_path: Path
) -> None:
    forged(daily_model, **change).save(tmp_path / "m.safetensors")
    with pytest.raises(ModelFileError):
        xflux.load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize("more", [row(76, "newer", 1)])
def test_a_model_of_a_newer_xflux_says_so(
    daily_model: FluxModel, more: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xflux import model

    monkeypatch.setattr(model, "FORMAT_VERSION", model.FORMAT_VERSION + more)
    daily_model.save(tmp_path / "m.safetensors")
    monkeypatch.undo()
    with pytest.raises(ModelFileError, match="pip install"):
        xflux.load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize("name", [row(77, "no_such_folder", "a-file/f.zarr")])
def test_what_cannot_be_written_leaves_nothing(
    drivers: xr.Dataset, daily_model: FluxModel, name: str, tmp_path: Path
) -> None:
    (tmp_path / "a-file").write_text("in the way")
    with pytest.raises(XfluxError):
        drivers.flux.predict_to_zarr(tmp_path / name, daily_model)
    assert [p.name for p in tmp_path.iterdir()] == ["a-file"]


@pytest.mark.parametrize("count", [row(78, "saved_by_many_at_once", 8)])
def test_saved_by_many_at_once(daily_model: FluxModel, count: int, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with ThreadPoolExecutor(count) as threads:
        saved = list(threads.map(lambda _: daily_model.save(path), range(20 * count)))
    assert saved == [path] * len(saved)
    assert xflux.load_model(path).sha256 == daily_model.sha256
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


# --- workers and threads ------------------------------------------------------------------------


@pytest.mark.parametrize("times", [row(79, "a_task_runs_again", 2)])
def test_tasks_may_run_again(
    drivers: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, times: int
) -> None:
    """What dask does when a worker dies; `test_distributed.py` kills real ones."""
    lazy = drivers.chunk(site=2, time=30).flux.predict(daily_model)
    for _ in range(times):
        same(lazy.compute(scheduler="synchronous"), expected, atol=2e-6)


@pytest.mark.parametrize("part", [row(80, "a_model_in_a_graph", b"torch")])
def test_a_graph_travels_without_networks(
    drivers: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, part: bytes
) -> None:
    lazy = drivers.chunk(site=2).flux.predict(daily_model)
    sent = pickle.dumps(lazy)
    assert part not in sent
    same(pickle.loads(sent).compute(), expected, atol=2e-6)


@pytest.mark.parametrize("workers", [row(81, "processes_after_torch", 2)])
def test_processes_are_started_and_not_forked(some_towers: xr.Dataset, workers: int) -> None:
    torch.randn(300, 300) @ torch.randn(300, 300)  # torch has its threads by now
    alone = some_towers.flux.train(**TINY, workers=1)
    assert some_towers.flux.train(**TINY, workers=workers).members.data == alone.members.data


@pytest.mark.parametrize("count", [row(82, "threads_in_threads", 2)])
def test_a_block_takes_one_thread(
    drivers: xr.Dataset, daily_model: FluxModel, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, advance, before = [], kernel.Engine.advance, torch.get_num_threads()

    def counted(*given: Any) -> Any:
        seen.append(torch.get_num_threads())
        return advance(*given)

    monkeypatch.setattr(kernel.Engine, "advance", counted)
    monkeypatch.setenv("XFLUX_ENGINE", "torch")
    torch.set_num_threads(count)
    try:
        with dask.config.set(scheduler="threads", num_workers=2):
            drivers.chunk(site=1).flux.predict(daily_model).compute()
        assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
    assert set(seen) == {1}


@pytest.mark.parametrize("copy", [row(83, "pickled", lambda ds: pickle.loads(pickle.dumps(ds))),
                                  row(83, "copied", lambda ds: ds.copy(deep=True))])  # fmt: skip
def test_what_is_copied_predicts_the_same(
    drivers: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset,
    copy: Callable[[Any], Any],
) -> None:  # fmt: skip
    drivers.flux.predict(daily_model)  # the accessor is made, and kept nowhere
    model = pickle.loads(pickle.dumps(daily_model))
    same(copy(drivers).flux.predict(model), expected, atol=0)


@pytest.mark.parametrize("name", [row(84, "imported_again", "xflux.accessor")])
def test_importing_again_warns_of_nothing(drivers: xr.Dataset, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.reload(importlib.import_module(name))
    assert "TA" in repr(drivers.flux)
