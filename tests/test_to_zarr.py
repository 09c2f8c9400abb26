"""A prediction written block by block has the numbers of `predict`, and is never half a store."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from gappy import DRIVERS, assert_close, cuts, gappy_world
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from xflux.errors import DataError, WriteError
from xflux.model import FluxModel
from xflux.prediction import cutting, ensemble, scheduling, to_zarr, writing
from xflux.prediction.unfinished import Unfinished

pytest.importorskip("zarr")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*predicted without it there"),
    pytest.mark.filterwarnings("ignore:.*has no value at"),
]
STEPS = 70


@pytest.fixture(scope="module")
def world(daily_model: FluxModel) -> xr.Dataset:
    """70 days of 5 by 4 cells with sea and gaps."""
    return gappy_world(daily_model, STEPS)


@pytest.fixture(scope="module")
def expected(world: xr.Dataset, daily_model: FluxModel) -> xr.Dataset:
    return world.flux.predict(daily_model)


@pytest.fixture(scope="module")
def spread(daily_model: FluxModel) -> float:
    return float(daily_model.weights[0]["spread"].min())


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Blocks one after another; tests of threads say so."""
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture
def short_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slabs as short as the drivers' chunks of time."""
    monkeypatch.setattr(cutting, "STEPS", 1)


def tree(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


class Blocks:
    """Which blocks were begun; and a way to break off."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: list[str] = []
        self.limit = 10**9
        self.error: BaseException = KeyboardInterrupt()
        naming = writing.naming

        def watched(block: str) -> AbstractContextManager[None]:
            if len(self.begun) >= self.limit:
                raise self.error
            self.begun.append(block)
            return naming(block)

        monkeypatch.setattr(writing, "naming", watched)


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> Blocks:
    return Blocks(monkeypatch)


# --- numbers ----------------------------------------------------------------------------------

LAYOUTS: dict[str, dict[str, Any]] = {
    "series": {"lat": 2, "lon": 3},
    "maps": {"time": 1},
    "months": {"time": (31, 28, 11)},
    "both": {"time": 20, "lat": 3},
    "eager": {},
}


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_numbers_of_predict(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float,
    tmp_path: Path, layout: str, scheduler: str,
) -> None:  # fmt: skip
    chunks = LAYOUTS[layout]
    ds = world.chunk(chunks) if chunks else world
    with dask.config.set(scheduler=scheduler):
        found = ds.flux.predict_to_zarr(tmp_path / "fluxes.zarr", daily_model)
    assert_close(found, expected, spread)
    assert os.listdir(tmp_path) == ["fluxes.zarr"]
    assert not [name for name in tree(tmp_path) if "partial" in name]


@settings(max_examples=6, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(data=st.data(), time=cuts(STEPS), lat=cuts(5), lon=cuts(4))
def test_neither_chunks_of_the_drivers_nor_of_the_store_matter(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float,
    data: st.DataObject, time: tuple[int, ...], lat: tuple[int, ...], lon: tuple[int, ...],
) -> None:  # fmt: skip
    sizes = {"time": STEPS, "lat": 5, "lon": 4}
    wanted = {
        dim: data.draw(st.integers(1, size), label=dim)
        for dim, size in sizes.items()
        if data.draw(st.booleans())
    }
    few = {"STEPS": data.draw(st.integers(4, STEPS)), "CELLS": data.draw(st.integers(4, 20))}
    url = f"memory://{uuid.uuid4().hex}.zarr"
    ds = world.chunk(time=time, lat=lat, lon=lon)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in few.items():
            patch.setattr(cutting, name, value)
        found = ds.flux.predict_to_zarr(url, daily_model, chunks=wanted)
    for dim, size in wanted.items():
        assert found.GPP.chunksizes[dim][0] == min(size, sizes[dim])
    assert_close(found, expected, spread)


@given(
    layout=st.sampled_from([("time",), ("site", "time"), ("lat", "lon", "time")]),
    data=st.data(),
)
def test_blocks_cover_everything_once_and_hold_whole_chunks(
    layout: tuple[str, ...], data: st.DataObject
) -> None:
    sizes = {dim: data.draw(st.integers(1, 50)) for dim in layout}
    drivers = {dim: data.draw(cuts(size)) if size > 1 else (1,) for dim, size in sizes.items()}
    wanted = {dim: data.draw(st.integers(1, 60)) for dim in layout if data.draw(st.booleans())}
    given_chunks = data.draw(st.sampled_from([drivers, None]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutting, "CELLS", data.draw(st.integers(1, 2000)))
        parts = cutting.cut(layout, sizes, given_chunks, wanted)
    times = np.zeros([sizes[dim] for dim in layout], dtype=int)
    for slab, tile in parts:
        where = parts.block(tile, slab)
        times[tuple(where[dim] for dim in layout)] += 1
        outer = parts.group(parts.group_of(tile), slab)
        for dim, part in where.items():
            assert part.start % parts.chunks[dim] == 0
            assert part.stop % parts.chunks[dim] == 0 or part.stop == sizes[dim]
            assert outer[dim].start <= part.start < part.stop <= outer[dim].stop
    assert (times == 1).all()
    for dim, size in wanted.items():
        assert parts.chunks[dim] == min(size, sizes[dim])


@pytest.mark.parametrize("members", [False, True])
def test_the_store_says_what_predict_says(
    world: xr.Dataset, daily_model: FluxModel, spread: float, tmp_path: Path, members: bool
) -> None:
    packed = world.chunk(time=30, lat=2)
    for name in packed.variables:
        packed[name].encoding = {"scale_factor": 0.1, "dtype": "int16", "chunks": (1, 1, 1)}
    whole = world.flux.predict(daily_model, members=members)
    found = packed.flux.predict_to_zarr(tmp_path / "f.zarr", daily_model, members=members)
    assert_close(found, whole, spread)
    assert list(found.data_vars) == list(whole.data_vars)
    assert set(found.coords) == set(whole.coords)
    for name in whole.coords:
        xr.testing.assert_equal(found[name], whole[name])
        assert found[name].attrs == whole[name].attrs
    for name in whole.data_vars:
        assert found[name].dims == whole[name].dims
        assert found[name].attrs == whole[name].attrs
        encoding = found[name].encoding
        assert encoding["dtype"] == np.float32
        assert np.isnan(encoding["_FillValue"])
        assert "scale_factor" not in encoding
    assert {**found.attrs, "history": ""} == {**whole.attrs, "history": ""}
    assert "xflux" in found.attrs["history"]


def test_compression_is_that_of_xarray(
    world: xr.Dataset, daily_model: FluxModel, tmp_path: Path
) -> None:
    lazy = world.chunk(lat=3)
    ours = lazy.flux.predict_to_zarr(tmp_path / "a.zarr", daily_model)
    lazy.flux.predict(daily_model).drop_vars(["igbp", "climate"]).to_zarr(tmp_path / "b.zarr")
    theirs = xr.open_zarr(tmp_path / "b.zarr")
    for key in ("compressors", "filters", "chunks", "shards"):
        assert ours.GPP.encoding.get(key) == theirs.GPP.encoding.get(key)


def test_towers_and_a_single_series(
    some_towers: xr.Dataset, daily_model: FluxModel, spread: float, tmp_path: Path
) -> None:
    towers = some_towers[DRIVERS].isel(time=slice(90))
    for number, ds in enumerate((towers, towers.transpose("time", "site"), towers.isel(site=4))):
        found = ds.chunk(time=40).flux.predict_to_zarr(tmp_path / f"{number}.zarr", daily_model)
        assert_close(found, ds.flux.predict(daily_model), spread)
        assert found.GPP.dims == ds.TA.dims


# --- blocks -----------------------------------------------------------------------------------


def test_sea_is_read_and_nothing_more(
    world: xr.Dataset, daily_model: FluxModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sea = world.where(world.lat > world.lat[1])
    for name in DRIVERS:
        sea[name].attrs = world[name].attrs
    rows: list[int] = []
    run = ensemble.run

    def counted(members: Any, block: Any, **options: Any) -> Any:
        rows.append(len(block.usable))
        return run(members, block, **options)

    monkeypatch.setattr(ensemble, "run", counted)
    sea.chunk(lat=1).flux.predict_to_zarr(tmp_path / "f.zarr", daily_model)
    assert sum(rows) == int(np.isfinite(sea.TA).any("time").sum())
    chunks = {name.split("/")[3] for name in tree(tmp_path / "f.zarr") if "GPP/c/" in name}
    assert chunks <= {"2", "3", "4"}


@pytest.mark.parametrize("chunks", [(70, 1, 1), (1, 5, 4), (14, 5, 2), (31, 5, 4)], ids=str)
def test_drivers_are_read_once(
    world: xr.Dataset, daily_model: FluxModel, tmp_path: Path, chunks: tuple[int, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(cutting, "CELLS", 6)
    reads: list[tuple[int, ...]] = []

    def read(block: np.ndarray) -> np.ndarray:
        reads.append(block.shape)
        return block

    lazy = world.chunk(dict(zip(("time", "lat", "lon"), chunks, strict=True)))
    meta = np.empty((0, 0, 0), dtype=np.float32)
    lazy["TA"] = lazy.TA.copy(data=da.map_blocks(read, lazy.TA.data, dtype="f4", meta=meta))
    lazy.flux.predict_to_zarr(tmp_path / "f.zarr", daily_model)
    assert len(reads) == lazy.TA.data.npartitions


def test_what_many_blocks_need_is_computed_once(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float, tmp_path: Path
) -> None:
    calls: list[int] = []

    def mask(block: np.ndarray) -> np.ndarray:
        calls.append(1)
        return block

    lazy = world.chunk(lat=1, lon=1)
    land = da.map_blocks(mask, da.ones((5, 4), chunks=-1, dtype="f4"), meta=np.empty((0, 0), "f4"))
    land = da.broadcast_to(land.rechunk((1, 1)), (STEPS, 5, 4), chunks=(STEPS, 1, 1))
    lazy["TA"] = lazy.TA.copy(data=lazy.TA.data * land)
    found = lazy.flux.predict_to_zarr(tmp_path / "f.zarr", daily_model)
    assert len(calls) == 1
    assert_close(found, expected, spread)


@pytest.mark.parametrize("layout", ["series", "maps"])
def test_one_task_a_block(
    world: xr.Dataset, daily_model: FluxModel, tmp_path: Path, layout: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    world.drop_vars(["igbp", "climate"]).chunk(LAYOUTS[layout]).to_zarr(tmp_path / "d.zarr")
    drivers = xr.open_zarr(tmp_path / "d.zarr", chunks={}).assign_coords(igbp=world.igbp)
    tasks: list[Any] = []

    def counting(graph: Any, keys: Any, **options: Any) -> Any:
        if isinstance(graph, Mapping):
            tasks.append((len(dict(graph)), len(keys)))
        return dask.get(graph, keys, **options)

    monkeypatch.setattr(cutting, "CELLS", 6)
    with dask.config.set(scheduler=counting):
        drivers.flux.predict_to_zarr(tmp_path / "f.zarr", daily_model)
    (count, blocks) = tasks[-1]
    assert blocks == (6 if layout == "series" else 12)
    assert count <= (1 if layout == "series" else 4) * blocks + 7


# --- going on ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["series", "maps", "both"])
def test_a_run_goes_on_and_computes_nothing_twice(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float,
    tmp_path: Path, layout: str, blocks: Blocks, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(cutting, "CELLS", 10)
    store, ds = tmp_path / "fluxes.zarr", world.chunk(LAYOUTS[layout])
    found = None
    for _ in range(20):
        blocks.limit = len(blocks.begun) + 3 + to_zarr.CHECKED
        try:
            found = ds.flux.predict_to_zarr(store, daily_model)
            break
        except KeyboardInterrupt:
            assert not store.exists()
            with pytest.raises(FileNotFoundError):
                xr.open_zarr(store)
            with pytest.raises(FileNotFoundError):
                xr.open_zarr(f"{store}.part/store")
    assert found is not None
    assert_close(found, expected, spread)


def test_blocks_that_are_written_are_left_alone(
    world: xr.Dataset, daily_model: FluxModel, tmp_path: Path, blocks: Blocks, short_slabs: None
) -> None:
    ds = world.chunk(time=10, lat=3)
    blocks.limit = 9
    with pytest.raises(KeyboardInterrupt):
        ds.flux.predict_to_zarr(tmp_path / "f.zarr", daily_model)
    first, blocks.limit = list(blocks.begun), 10**9
    blocks.begun.clear()
    ds.flux.predict_to_zarr(tmp_path / "f.zarr", daily_model)
    again = blocks.begun[-(14 - 9) :]
    assert len(set(first)) == 9
    assert not set(first) & set(again)
    checks = blocks.begun[:-5]
    assert 1 <= len(checks) <= to_zarr.CHECKED
    assert set(checks) <= set(first)


def test_a_store_that_was_only_not_renamed(
    world: xr.Dataset, daily_model: FluxModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    blocks: Blocks,
) -> None:  # fmt: skip
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    rename, store = os.rename, tmp_path / "f.zarr"
    ds = world.chunk(lat=3)
    monkeypatch.setattr(os, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        ds.flux.predict_to_zarr(store, daily_model)
    assert not store.exists()
    monkeypatch.setattr(os, "rename", rename)
    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        ds.flux.predict_to_zarr(store, daily_model)
    assert store.exists()
    assert Path(f"{store}.part").exists()
    monkeypatch.undo()
    begun = len(blocks.begun)
    with dask.config.set(scheduler="synchronous"):
        found = ds.flux.predict_to_zarr(store, daily_model)
    assert len(blocks.begun) == begun
    assert found.GPP.notnull().any()
    assert os.listdir(tmp_path) == ["f.zarr"]


def test_a_run_that_was_killed_while_it_prepared(
    world: xr.Dataset, daily_model: FluxModel, tmp_path: Path, expected: xr.Dataset, spread: float
) -> None:
    left = tmp_path / "f.zarr.part" / "template" / "GPP"
    left.mkdir(parents=True)
    (left / "zarr.json").write_text("{")
    found = world.chunk(lat=3).flux.predict_to_zarr(tmp_path / "f.zarr", daily_model)
    assert_close(found, expected, spread)


OTHER: dict[str, Any] = {
    "model": lambda ds, m, few: (ds, few.flux.train(members=2, epochs=1, hidden=8, seed=3), {}),
    "entities or times": lambda ds, m, few: (ds.assign_coords(lon=ds.lon + 1), m, {}),
    "drivers": lambda ds, m, few: (ds.drop_vars("EVI"), m, {}),
    "settings": lambda ds, m, few: (ds, m, {"members": True}),
    "chunks": lambda ds, m, few: (ds.chunk(lat=1), m, {}),
    "values of drivers": lambda ds, m, few: (
        ds.assign(TA=(ds.TA + 0.5).assign_attrs(ds.TA.attrs)),
        m,
        {},
    ),
}


@pytest.mark.filterwarnings("ignore:predicting without")
@pytest.mark.parametrize("name", OTHER)
def test_another_run_is_refused(
    world: xr.Dataset, daily_model: FluxModel, some_towers: xr.Dataset, tmp_path: Path, name: str,
    blocks: Blocks,
) -> None:  # fmt: skip
    ds, store = world.chunk(lat=2), tmp_path / "f.zarr"
    blocks.limit = 2
    with pytest.raises(KeyboardInterrupt):
        ds.flux.predict_to_zarr(store, daily_model, mode="w")
    before, blocks.limit = tree(tmp_path), 10**9
    ds, model, options = OTHER[name](ds, daily_model, some_towers)
    with pytest.raises(WriteError, match=f"with other .*{name}.*: shutil.rmtree") as caught:
        ds.flux.predict_to_zarr(store, model, mode="w", **options)
    assert tree(tmp_path) == before
    exec(str(caught.value).rpartition(": ")[2], {"shutil": shutil})
    ds.flux.predict_to_zarr(store, model, mode="w", **options)


# --- the state --------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["series", "maps"])
def test_months_follow_one_another(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float,
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(cutting, "CELLS", 6)
    parts, state = [], None
    for number, time in enumerate((slice(0, 31), slice(31, 32), slice(32, STEPS))):
        part = world.isel(time=time)
        chunks = {d: n for d, n in LAYOUTS[layout].items() if d != "time" or n < part.sizes["time"]}
        parts.append(
            (part.chunk(chunks) if chunks else part).flux.predict_to_zarr(
                tmp_path / f"{number}.zarr",
                daily_model,
                initial_state=state,
                final_state=tmp_path / f"state-{number}.zarr",
            )
        )
        state = xr.open_zarr(tmp_path / f"state-{number}.zarr")
    assert_close(xr.concat(parts, "time"), expected, spread)
    whole = world.flux.predict(daily_model, return_state=True)[1]
    assert state is not None
    xr.testing.assert_allclose(
        state.drop_vars("driver"), whole.drop_vars("driver"), rtol=1e-4, atol=1e-5
    )
    assert state.attrs == whole.attrs
    assert not list(tmp_path.glob("*.part"))


# --- at scale ---------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [(180, 15, 15), (1, 721, 1440)], ids=str)
def test_graphs_of_a_quarter_of_a_degree_are_small(
    daily_model: FluxModel, tmp_path: Path, chunks: tuple[int, int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from test_streaming import blank

    few: list[tuple[Any, Any]] = []

    def enough(graph: Any, keys: Any, done: Any) -> None:
        few.append((graph, keys))
        raise KeyboardInterrupt

    monkeypatch.setattr(scheduling, "run", enough)
    with pytest.raises(KeyboardInterrupt):
        blank(daily_model, chunks).flux.predict_to_zarr(tmp_path / "f.zarr", daily_model)
    (graph, keys), *_ = few
    assert len(keys) == (to_zarr.AT_ONCE if chunks[0] > 1 else 16 * 6)
    assert len(graph.to_dict()) <= 1.7 * len(keys)
    assert len(cloudpickle.dumps(graph)) < 3e6


MEMORY = """
import resource, sys, warnings
import dask.array as da, numpy as np, xarray as xr, xflux
sys.path[:0] = sys.argv[4:]
warnings.simplefilter("ignore")
from test_streaming import DRIVERS
model, store, days = xflux.load_model(sys.argv[1]), sys.argv[2], int(sys.argv[3])
base = xflux.datasets.load("simulated-grid", shape=(2, 2), years=1)
coords = {"time": xr.date_range("2001-01-01", periods=days)}
coords |= {"lat": ("lat", np.linspace(60, -60, 40), base.lat.attrs)}
coords |= {"lon": ("lon", np.arange(80.0), base.lon.attrs)}
coords |= {"igbp": (("lat", "lon"), np.full((40, 80), "ENF"))}
ds = xr.Dataset(coords=coords)
land = np.where(np.arange(80) % 20, np.nan, 1).astype("f4")
for name in DRIVERS:
    value = {"EVI": 0.3, "LAI": 2.0}.get(name, 15.0)
    array = da.full((days, 40, 80), value, chunks=(1, 40, 80), dtype="f4")
    ds[name] = (("time", "lat", "lon"), array * land, base[name].attrs)
ds.flux.predict_to_zarr(store, model, progress=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is counted in other units")
def test_memory_does_not_grow_with_the_run(daily_model: FluxModel, tmp_path: Path) -> None:
    """Three years of drivers hold 75 MB more than one."""
    model, here = daily_model.save(tmp_path / "model.safetensors"), Path(__file__).parent
    peaks = []
    for days in (365, 1095):
        arguments = [str(model), str(tmp_path / f"{days}.zarr"), str(days), str(here)]
        command = [sys.executable, "-c", MEMORY, *arguments]
        done = subprocess.run(command, cwd=here.parent, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        peaks.append(float(done.stdout.splitlines()[-1]))
    assert peaks[1] - peaks[0] < 30, peaks


# --- errors -----------------------------------------------------------------------------------


def test_nothing_is_overwritten_unless_it_is_said(
    world: xr.Dataset, daily_model: FluxModel, tmp_path: Path, blocks: Blocks
) -> None:
    ds, store = world.chunk(lat=3), tmp_path / "f.zarr"
    old = ds.isel(time=slice(40)).flux.predict_to_zarr(store, daily_model)
    before = tree(tmp_path)
    with pytest.raises(WriteError, match=r'exists: read it with xr.open_zarr\(.*mode="w"'):
        ds.flux.predict_to_zarr(store, daily_model)
    assert tree(tmp_path) == before
    blocks.limit = len(blocks.begun) + 1
    with pytest.raises(KeyboardInterrupt):
        ds.flux.predict_to_zarr(store, daily_model, mode="w")
    assert tree(store) == {name.removeprefix("f.zarr/"): data for name, data in before.items()}
    assert xr.open_zarr(store).sizes == old.sizes
    blocks.limit = 10**9
    assert ds.flux.predict_to_zarr(store, daily_model, mode="w").sizes["time"] == STEPS
    assert os.listdir(tmp_path) == ["f.zarr"]


def test_what_is_no_store_is_never_replaced(
    world: xr.Dataset, daily_model: FluxModel, tmp_path: Path
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text.tex").write_text("years of work")
    (tmp_path / "file").write_text("more")
    for name in ("thesis", "file"):
        with pytest.raises(WriteError, match="is not a zarr store"):
            world.flux.predict_to_zarr(tmp_path / name, daily_model, mode="w")
    assert tree(tmp_path) == {"thesis/text.tex": b"years of work", "file": b"more"}


def test_a_store_that_came_meanwhile_is_left_alone(
    world: xr.Dataset, daily_model: FluxModel, tmp_path: Path, blocks: Blocks
) -> None:
    store = tmp_path / "f.zarr"
    blocks.limit = 1
    with pytest.raises(KeyboardInterrupt):
        world.chunk(lat=3).flux.predict_to_zarr(store, daily_model)
    xr.Dataset({"mine": 1.0}).to_zarr(store)
    blocks.limit = 10**9
    with pytest.raises(WriteError, match="exists"):
        world.chunk(lat=3).flux.predict_to_zarr(store, daily_model)
    assert float(xr.open_zarr(store).mine) == 1.0


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "mode": ({"mode": "a"}, 'takes "w-", a new store, or "w"'),
    "an unknown dimension": ({"chunks": {"level": 3}}, "names level, the fluxes have time, lat"),
    "a chunk of nothing": ({"chunks": {"lat": 0}}, "a number of 1 or more .* not 0 for 'lat'"),
    "half a chunk": ({"chunks": {"lat": 2.5}}, "not 2.5 for 'lat'"),
    "an object": ({"store": {}}, "by its path or URL, not by a dict"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(
    world: xr.Dataset, daily_model: FluxModel, tmp_path: Path, name: str
) -> None:
    options, message = WRONG[name]
    with pytest.raises(WriteError, match=message):
        world.flux.predict_to_zarr(
            **{"store": tmp_path / "f.zarr", "model": daily_model, **options}
        )
    assert not list(tmp_path.iterdir())


def test_a_multiindex_says_what_to_do(
    world: xr.Dataset, daily_model: FluxModel, tmp_path: Path
) -> None:
    stacked = world.stack(cell=("lat", "lon"))
    with pytest.raises(WriteError, match=r'ds = ds.unstack\("cell"\)'):
        stacked.flux.predict_to_zarr(tmp_path / "f.zarr", daily_model)


def test_without_zarr(
    world: xr.Dataset, daily_model: FluxModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(to_zarr.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'pip install "xflux\[zarr\]"'):
        world.flux.predict_to_zarr(tmp_path / "f.zarr", daily_model)


def test_a_block_that_fails_is_named(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float, tmp_path: Path
) -> None:
    broken = world.copy(deep=True)
    i, j = np.argwhere(np.isfinite(broken.TA.values).all(axis=0))[0]
    broken.TA[60, i, j] = 400.0
    lat = float(broken.lat[i])
    with pytest.raises(
        DataError, match=rf"lat {lat} to {lat}.*time 2001-05-01 to 2001-05-30.*'TA'"
    ) as e:
        broken.chunk(time=40, lat=1).flux.predict_to_zarr(tmp_path / "f.zarr", daily_model)
    assert "blocks are written and kept in" in str(e.value)

    def torn(block: np.ndarray) -> np.ndarray:
        raise OSError("NetCDF: HDF error")

    lazy = world.chunk(time=40, lat=1)
    meta = np.empty((0, 0, 0), dtype=np.float32)
    lazy["TA"] = lazy.TA.copy(data=da.map_blocks(torn, lazy.TA.data, dtype="f4", meta=meta))
    with pytest.raises(WriteError, match=r"block \d+ of 10 \(lat .* HDF error"):
        lazy.flux.predict_to_zarr(tmp_path / "g.zarr", daily_model)


@pytest.mark.parametrize("after", [0, 3])
def test_a_full_disk(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int,
) -> None:  # fmt: skip
    write, calls = Unfinished.write, [0]

    def full(self: Unfinished, *arguments: Any) -> None:
        calls[0] += 1
        if calls[0] > after * 6 + 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, *arguments)

    store, ds = tmp_path / "f.zarr", world.chunk(lat=1)
    monkeypatch.setattr(Unfinished, "write", full)
    with pytest.raises(WriteError, match=r"make room on the disk.*\n.* of 5 blocks are written"):
        ds.flux.predict_to_zarr(store, daily_model)
    assert not store.exists()
    monkeypatch.setattr(Unfinished, "write", write)
    assert_close(ds.flux.predict_to_zarr(store, daily_model), expected, spread)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of half a megabyte."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    if (
        not hasattr(os, "geteuid")
        or os.geteuid()
        or subprocess.run(command, check=False).returncode
    ):
        pytest.skip("a small disk can be mounted by root on Linux only")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_really_full(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float, small_disk: Path
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(250_000))
    store, ds = small_disk / "f.zarr", world.chunk(lat=1, lon=1)
    with pytest.raises(WriteError, match="No space left"):
        ds.flux.predict_to_zarr(store, daily_model)
    with pytest.raises(WriteError, match="No space left"):
        ds.flux.predict_to_zarr(store, daily_model)
    assert not store.exists()
    ballast.unlink()
    assert_close(ds.flux.predict_to_zarr(store, daily_model), expected, spread)


def test_a_place_that_cannot_be_written(
    world: xr.Dataset, daily_model: FluxModel, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"file/f.zarr cannot be written: .*Not a directory"):
        world.flux.predict_to_zarr(tmp_path / "file" / "f.zarr", daily_model)


# --- object stores ----------------------------------------------------------------------------


def test_an_object_store_does_not_open_before_it_is_finished(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float, blocks: Blocks
) -> None:
    url, ds = f"memory://{uuid.uuid4().hex}/f.zarr", world.chunk(lat=1)
    for _ in range(2):
        blocks.limit = len(blocks.begun) + 2
        with pytest.raises(KeyboardInterrupt):
            ds.flux.predict_to_zarr(url, daily_model)
        with pytest.raises(FileNotFoundError):
            xr.open_zarr(url)
    blocks.limit = 10**9
    assert_close(ds.flux.predict_to_zarr(url, daily_model), expected, spread)
    assert_close(xr.open_zarr(url), expected, spread)
    with pytest.raises(WriteError, match="exists"):
        ds.flux.predict_to_zarr(url, daily_model)
    with pytest.raises(FileNotFoundError):
        xr.open_zarr(f"{url}.part/template")
    blocks.limit = len(blocks.begun) + 1
    with pytest.raises(KeyboardInterrupt):
        ds.flux.predict_to_zarr(url, daily_model, mode="w")
    with pytest.raises(FileNotFoundError):
        xr.open_zarr(url)
    blocks.limit = 10**9
    assert_close(ds.flux.predict_to_zarr(url, daily_model, mode="w"), expected, spread)
