"""Any chunks of time and space, and any restart, give the numbers of one eager run."""

from __future__ import annotations

import itertools
import pickle
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from gappy import DRIVERS, assert_close, cuts, gappy_world
from hypothesis import given, settings
from hypothesis import strategies as st

import xflux
from xflux import features
from xflux.errors import DataError, ModelError, SchemaError
from xflux.features import Assembled
from xflux.model import FluxModel
from xflux.prediction import ensemble
from xflux.prediction.ensemble import Members

pytestmark = pytest.mark.filterwarnings("ignore:.*predicted without it there")

STEPS = 70


@pytest.fixture(scope="module")
def world(daily_model: FluxModel) -> xr.Dataset:
    """70 days of 5 by 4 cells: sea, gaps of any length, and series that start late or end early."""
    return gappy_world(daily_model, STEPS)


@pytest.fixture(scope="module")
def expected(world: xr.Dataset, daily_model: FluxModel) -> xr.Dataset:
    """The world in one eager run, of which a good part has values."""
    out = world.flux.predict(daily_model)
    share = float(out.GPP.notnull().mean())
    assert 0.2 < share < 0.8
    return out


@pytest.fixture(scope="module")
def spread(daily_model: FluxModel) -> float:
    """The smaller spread of the targets in training, g m-2 d-1."""
    return float(daily_model.weights[0]["spread"].min())


# --- chunks -----------------------------------------------------------------------------------


@given(time=cuts(STEPS), lat=cuts(5), lon=cuts(4))
def test_chunks_do_not_matter(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float,
    time: tuple[int, ...], lat: tuple[int, ...], lon: tuple[int, ...],
) -> None:  # fmt: skip
    found = world.chunk(time=time, lat=lat, lon=lon).flux.predict(daily_model)
    assert found.GPP.chunks == (time, lat, lon)
    with dask.config.set(scheduler="synchronous"):
        assert_close(found, expected, spread)


@pytest.mark.filterwarnings("ignore:.*has no value at")
@settings(max_examples=15)
@given(edges=st.sets(st.integers(1, STEPS - 1), min_size=1, max_size=5), data=st.data())
def test_a_restart_changes_nothing(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float,
    edges: set[int], data: st.DataObject,
) -> None:  # fmt: skip
    state, parts = None, []
    # without a state, fewer than three steps do not tell the time step
    bounds = [0, *sorted(edge for edge in edges if edge >= 3), STEPS]
    for start, end in itertools.pairwise(bounds):
        part = world.isel(time=slice(start, end))
        if data.draw(st.booleans(), label="lazy"):
            part = part.chunk(time=data.draw(st.integers(1, STEPS)), lat=2)
        if state is not None and data.draw(st.booleans(), label="lazy state"):
            state = state.chunk(lat=3)
        fluxes, state = part.flux.predict(daily_model, initial_state=state, return_state=True)
        parts.append(fluxes.compute())
    assert state is not None
    assert_close(xr.concat(parts, "time"), expected, spread)
    whole = world.flux.predict(daily_model, return_state=True)[1]
    xr.testing.assert_allclose(state.compute(), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*has no value at")
def test_lengths_of_one_from_beginning_to_end(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float
) -> None:
    fluxes, state = world.isel(time=slice(3)).flux.predict(daily_model, return_state=True)
    parts = [fluxes]
    for step in range(3, STEPS):
        part = world.isel(time=slice(step, step + 1))
        fluxes, state = part.flux.predict(daily_model, initial_state=state, return_state=True)
        parts.append(fluxes)
    assert_close(xr.concat(parts, "time"), expected, spread)


@pytest.mark.parametrize("members", [False, True])
def test_members_and_their_mean_stream_alike(
    world: xr.Dataset, daily_model: FluxModel, spread: float, members: bool
) -> None:
    whole = world.flux.predict(daily_model, members=members)
    lazy = world.chunk(time=17, lon=3)
    found, state = lazy.flux.predict(daily_model, members=members, return_state=True)
    assert_close(found, whole, spread)
    assert state.hidden_state.dims == ("member", "lat", "lon", "unit")


@pytest.mark.parametrize("layout", ["towers", "one series", "other order", "a dim named member"])
def test_layouts(
    some_towers: xr.Dataset, daily_model: FluxModel, spread: float, layout: str
) -> None:
    ds = some_towers[DRIVERS].isel(time=slice(90))
    if layout == "one series":
        ds = ds.isel(site=4)
    if layout == "other order":
        ds = ds.transpose("time", "site")
    if layout == "a dim named member":
        ds = ds.rename(site="member")
        with pytest.raises(ModelError, match=r'ds = ds.rename\(member="member_"\)'):
            ds.flux.predict(daily_model, return_state=True)
        assert_close(
            ds.chunk(time=9).flux.predict(daily_model), ds.flux.predict(daily_model), spread
        )
        return
    expected = ds.flux.predict(daily_model)
    assert_close(ds.chunk(time=20).flux.predict(daily_model), expected, spread)
    first, state = ds.isel(time=slice(50)).flux.predict(daily_model, return_state=True)
    last = ds.isel(time=slice(50, None)).chunk(time=30)
    second = last.flux.predict(daily_model, initial_state=state).compute()
    along = xr.concat([first, second], "time").transpose(*expected.GPP.dims)
    assert_close(along, expected, spread)


def test_months_stream_too(monthly_model: FluxModel) -> None:
    ds = xflux.datasets.load("simulated-towers", sites=5, years=3, time_step="monthly")[DRIVERS]
    expected = ds.flux.predict(monthly_model)
    spread = float(monthly_model.weights[0]["spread"].min())
    assert_close(ds.chunk(time=7).flux.predict(monthly_model), expected, spread)
    first, state = ds.isel(time=slice(23)).flux.predict(monthly_model, return_state=True)
    second = ds.isel(time=slice(23, 24)).flux.predict(monthly_model, initial_state=state)
    assert_close(xr.concat([first, second], "time"), expected.isel(time=slice(24)), spread)


def test_derived_vpd_is_bridged_over_the_edge_of_a_chunk(
    world: xr.Dataset, daily_model: FluxModel, spread: float
) -> None:
    humid = world.VPD.copy(data=np.where(np.isfinite(world.VPD), 60.0, np.nan))
    ds = world.drop_vars("VPD").assign(RH=humid.assign_attrs(units="%", standard_name="x"))
    with pytest.warns(UserWarning, match="VPD"):
        expected = ds.flux.predict(daily_model)
    with pytest.warns(UserWarning, match="VPD"):
        found = ds.chunk(time=3).flux.predict(daily_model)
    assert_close(found, expected, spread)


def test_values_out_of_range_are_found_in_any_chunk(
    world: xr.Dataset, daily_model: FluxModel
) -> None:
    ds = world.copy(deep=True)
    i, j = np.argwhere(np.isfinite(ds.TA.values).all(axis=0))[0]
    ds.TA[60, i, j] = 400.0
    lazy = ds.chunk(time=10).flux.predict(daily_model)
    with pytest.raises(DataError, match="'TA'"):
        lazy.load()


# --- the graph --------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [{"time": 10, "lat": 2}, {"lat": 2}, {"time": 1}], ids=str)
def test_building_computes_nothing_and_names_are_the_same(
    world: xr.Dataset,
    daily_model: FluxModel,
    no_computes: Callable[[], AbstractContextManager[Any]],
    chunks: dict[str, int],
) -> None:
    whole, state = world.isel(time=slice(30)).flux.predict(daily_model, return_state=True)
    with no_computes():
        lazy = world.isel(time=slice(30, None)).chunk(chunks)
        for options in ({}, {"return_state": True}, {"initial_state": state.chunk(lat=2)}):
            one, two = (lazy.flux.predict(daily_model, **options) for _ in range(2))
            first, second = (r[0] if isinstance(r, tuple) else r for r in (one, two))
            for name in whole:
                assert first[name].chunks is not None
                assert first[name].data.name == second[name].data.name


@pytest.mark.parametrize("chunks", [(70, 1, 1), (10, 2, 2), (1, 5, 4)], ids=str)
def test_drivers_are_read_once_in_their_own_chunks(
    world: xr.Dataset, daily_model: FluxModel, chunks: tuple[int, ...]
) -> None:
    reads: list[tuple[int, ...]] = []

    def read(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        reads.append(block.shape)
        return block

    lazy = world.chunk(dict(zip(("time", "lat", "lon"), chunks, strict=True)))
    meta = np.empty((0, 0, 0), dtype=np.float32)
    lazy["TA"] = lazy.TA.copy(data=da.map_blocks(read, lazy.TA.data, dtype="f4", meta=meta))
    out, state = lazy.flux.predict(daily_model, return_state=True)
    with dask.config.set(scheduler="synchronous"):
        dask.compute(out, state)
    assert len(reads) == lazy.TA.data.npartitions
    assert max(reads) == tuple(max(cut) for cut in lazy.TA.data.chunks)


def blank(daily_model: FluxModel, chunks: tuple[int, int, int]) -> xr.Dataset:
    """A lazy grid of a quarter of a degree and half a year, without land cover."""
    base = xflux.datasets.load("simulated-grid", shape=(2, 2), years=1)
    ds = xr.Dataset(
        coords={
            "time": xr.date_range("2001-01-01", periods=180),
            "lat": ("lat", np.linspace(90, -90, 721), base.lat.attrs),
            "lon": ("lon", np.arange(1440) / 4, base.lon.attrs),
            "igbp": (("lat", "lon"), da.full((721, 1440), "ENF", chunks=chunks[1:])),
        }
    )
    for name in DRIVERS:
        values = da.zeros((180, 721, 1440), chunks=chunks, dtype="f4")
        ds[name] = (("time", "lat", "lon"), values, base[name].attrs)
    return ds


@pytest.mark.parametrize("chunks", [(180, 15, 15), (30, 26, 52)], ids=["series", "maps"])
def test_the_graph_is_small(
    daily_model: FluxModel,
    no_computes: Callable[[], AbstractContextManager[Any]],
    chunks: tuple[int, int, int],
) -> None:
    """4,704 blocks or so: weights once, and a few tasks a block."""
    ds = blank(daily_model, chunks)
    ds.isel(lat=slice(15), lon=slice(15)).flux.predict(daily_model)
    start = time.process_time()
    with no_computes():
        out = ds.flux.predict(daily_model)
    assert time.process_time() - start < 1
    blocks = out.GPP.data.npartitions
    assert blocks > 4600
    assert len(pickle.dumps(out.__dask_graph__())) < 3e6
    whole = dict(dask.optimize(out)[0].__dask_graph__())
    ours = [key for key in whole if "xflux" in str(key[0] if isinstance(key, tuple) else key)]
    call = 1 if chunks[0] == 180 else 2  # with what is handed on
    assert len(ours) <= (call + len(out.data_vars)) * blocks + 1
    alone = dask.optimize(out[["GPP"]])[0].__dask_graph__()
    ours = [key for key in dict(alone) if "xflux" in str(key)]
    assert len(ours) <= (call + (0 if call == 1 else 1)) * blocks + 1
    holding = [key for key, made in whole.items() if daily_model.members.data in pickled(made)]
    assert len(holding) == 1


def test_chunks_of_characteristics_cut_no_drivers(
    world: xr.Dataset, daily_model: FluxModel
) -> None:
    maps = world.chunk(time=14)
    cut = maps.assign_coords(igbp=world.igbp.chunk(lat=2, lon=3))
    assert cut.flux.predict(daily_model).GPP.chunks == maps.TA.chunks


def pickled(task: Any) -> bytes:
    return pickle.dumps(task) if "xflux-task" in str(getattr(task, "key", "")) else b""


def test_a_slice_computes_only_what_comes_before_it(
    world: xr.Dataset, daily_model: FluxModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    lazy = world.chunk(time=10, lat=1).flux.predict(daily_model)
    calls: list[int] = []
    run = ensemble.run

    def counted(members: Members, block: Assembled, **options: Any) -> Any:
        calls.append(block.usable.shape[1])
        return run(members, block, **options)

    monkeypatch.setattr(ensemble, "run", counted)
    lazy.GPP.isel(time=slice(10, 20), lat=1).compute(scheduler="synchronous")
    assert calls == [10, 10]


def test_sea_never_reaches_the_network(
    world: xr.Dataset, daily_model: FluxModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    run = ensemble.run

    def counted(members: Members, block: Assembled, **options: Any) -> Any:
        rows.append(len(block.usable))
        return run(members, block, **options)

    monkeypatch.setattr(ensemble, "run", counted)
    land = np.isfinite(world.TA).any("time")
    dry = world.where(land, drop=False)
    dry.flux.predict(daily_model)
    assert sum(rows) == int(land.sum())
    rows.clear()
    sea = world.where(world.lat > world.lat[2]).assign_coords(world.coords)
    for name in DRIVERS:
        sea[name].attrs = world[name].attrs
    out, state = sea.chunk(time=20, lat=1).flux.predict(daily_model, return_state=True)
    dask.compute(out, state, scheduler="synchronous")
    here = int((np.isfinite(sea.TA).any("time")).sum())
    assert sum(rows) <= here * 4


@pytest.mark.filterwarnings("ignore::UserWarning:distributed")
def test_a_cluster_of_processes_gives_the_same(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float, cluster: Any
) -> None:
    lazy = world.chunk(time=15, lat=3)
    out, state = lazy.flux.predict(daily_model, return_state=True)
    whole = world.flux.predict(daily_model, return_state=True)[1]
    found, end = dask.compute(out, state)
    assert_close(found, expected, spread)
    xr.testing.assert_allclose(end, whole, rtol=1e-4, atol=1e-5)


# --- files ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*Zarr format 3 specification:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")
@pytest.mark.parametrize("chunks", [{"time": 20, "lat": 2}, {"lat": 2, "lon": 2}], ids=str)
def test_zarr_to_zarr(
    world: xr.Dataset,
    daily_model: FluxModel,
    expected: xr.Dataset,
    spread: float,
    tmp_path: Path,
    chunks: dict[str, int],
) -> None:
    pytest.importorskip("zarr")
    plain = world.drop_vars([n for n in world.coords if world[n].dtype.kind == "U"])
    packed = {name: {"dtype": "float32", "_FillValue": -9999.0} for name in DRIVERS}
    plain.chunk(chunks).to_zarr(tmp_path / "drivers.zarr", encoding=packed)
    drivers = xr.open_zarr(tmp_path / "drivers.zarr", chunks={})
    drivers = drivers.assign_coords(igbp=world.igbp)
    out = drivers.flux.predict(daily_model)
    for name in out.data_vars:
        assert not out[name].encoding
    out.drop_vars("igbp").to_zarr(tmp_path / "fluxes.zarr")
    found = xr.open_zarr(tmp_path / "fluxes.zarr", chunks={})
    assert found.GPP.chunks == drivers.TA.chunks
    assert found.GPP.attrs == expected.GPP.attrs
    assert_close(found, expected, spread)


@pytest.mark.parametrize("chunks", [{"time": 20, "lat": 2}, {"lat": 2, "lon": 2}], ids=str)
def test_how_the_drivers_were_stored_is_forgotten(
    world: xr.Dataset, daily_model: FluxModel, tmp_path: Path, chunks: dict[str, int]
) -> None:
    pytest.importorskip("zarr")
    drivers = world.chunk(chunks)
    packed = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 5.0, "_FillValue": -9999}
    for name in drivers.variables:
        drivers[name].encoding = {**packed, "chunks": (1, 1, 1), "compressors": None}
    out = drivers.flux.predict(daily_model).drop_vars(["igbp", "climate"])
    out.to_zarr(tmp_path / "fluxes.zarr", consolidated=False)
    found = xr.open_zarr(tmp_path / "fluxes.zarr", consolidated=False)
    plain = out.drop_encoding()
    plain.to_zarr(tmp_path / "plain.zarr", consolidated=False)
    fresh = xr.open_zarr(tmp_path / "plain.zarr", consolidated=False)
    for name in out.data_vars:
        assert found[name].chunks == drivers.TA.chunks
        assert str(found[name].encoding) == str(fresh[name].encoding)
        np.testing.assert_array_equal(found[name], out[name])


@pytest.mark.filterwarnings("ignore:.*Zarr format 3 specification:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")
@pytest.mark.parametrize("format", ["netcdf", "zarr", "pickle"])
@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
def test_a_state_is_written_and_read(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float,
    tmp_path: Path, format: str, lazy: bool,
) -> None:  # fmt: skip
    first = world.isel(time=slice(41))
    first = first.chunk(time=20, lat=2) if lazy else first
    fluxes, state = first.flux.predict(daily_model, return_state=True)
    path = tmp_path / f"state.{format}"
    if format == "netcdf":
        state.to_netcdf(path)
        read = xr.open_dataset(path)
    elif format == "zarr":
        state.to_zarr(path)
        read = xr.open_zarr(path)
    else:
        read = pickle.loads(pickle.dumps(state))
    assert read.attrs["xflux_model_sha256"] == daily_model.sha256
    assert read.time.values == world.time.values[40]
    rest = world.isel(time=slice(41, None)).flux.predict(daily_model, initial_state=read)
    read.close()
    assert_close(xr.concat([fluxes.compute(), rest.compute()], "time"), expected, spread)


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "standard"])
def test_a_state_of_any_calendar(
    some_towers: xr.Dataset, daily_model: FluxModel, spread: float, tmp_path: Path, calendar: str
) -> None:
    ds = some_towers[DRIVERS].isel(time=slice(80))
    time = xr.date_range(
        "2004-01-01", periods=80, freq="D", calendar=calendar, use_cftime=calendar != "standard"
    )
    ds = ds.assign_coords(time=time)
    expected = ds.flux.predict(daily_model)
    _, state = ds.isel(time=slice(59)).flux.predict(daily_model, return_state=True)
    state.to_netcdf(tmp_path / "state.nc")
    with xr.open_dataset(tmp_path / "state.nc") as read:
        rest = ds.isel(time=slice(59, None)).flux.predict(daily_model, initial_state=read)
    assert_close(rest, expected.isel(time=slice(59, None)), spread)


def test_february_29_may_be_absent_at_a_restart(
    some_towers: xr.Dataset, daily_model: FluxModel
) -> None:
    time = xr.date_range("2004-01-01", periods=90, freq="D")
    time = time[~((time.month == 2) & (time.day == 29))][:80]
    ds = some_towers[DRIVERS].isel(time=slice(80)).assign_coords(time=time)
    _, state = ds.isel(time=slice(59)).flux.predict(daily_model, return_state=True)
    rest = ds.isel(time=slice(59, 60)).flux.predict(daily_model, initial_state=state)
    assert rest.time.values[0] == np.datetime64("2004-03-01")


# --- errors -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state(world: xr.Dataset, daily_model: FluxModel) -> xr.Dataset:
    """The state after 40 days."""
    return world.isel(time=slice(40)).flux.predict(daily_model, return_state=True)[1]


Change = Callable[[xr.Dataset, xr.Dataset], tuple[xr.Dataset, Any]]

WRONG: dict[str, tuple[Change, str]] = {
    "fluxes": (lambda ds, s: (ds, xr.Dataset({"GPP": 1.0})), "a Dataset without .*cell_state"),
    "a path": (lambda ds, s: (ds, "state.nc"), "not str: fluxes, state = ds.flux.predict"),
    "another model": (
        lambda ds, s: (ds, s.assign_attrs(xflux_model_sha256="a" * 64)),
        r"of another model \(sha256 aaaaaaaaaaaa\)",
    ),
    "fewer entities": (
        lambda ds, s: (ds, s.isel(lat=slice(3))),
        r"along 'lat' \(3\) are not those of the Dataset \(5\)",
    ),
    "another order": (
        lambda ds, s: (ds.isel(lat=slice(None, None, -1)), s),
        r'state = state.sel\(lat=ds\["lat"\]\)',
    ),
    "a hole in time": (
        lambda ds, s: (ds.isel(time=slice(1, None)), s),
        "ends at .*, and the Dataset begins at .*, not one day later",
    ),
    "the same step again": (
        lambda ds, s: (ds.assign_coords(time=ds.time - np.timedelta64(1, "D")), s),
        "not one day later",
    ),
    "two steps with a hole": (
        lambda ds, s: (ds.isel(time=[0, 2]), s),
        "give daily drivers without gaps",
    ),
    "a dimension too many": (
        lambda ds, s: (ds, s.expand_dims(run=2)),
        "of initial_state= has dims",
    ),
    "another size": (lambda ds, s: (ds, s.isel(unit=slice(4))), "of initial_state= has dims"),
    "other drivers": (
        lambda ds, s: (ds, s.isel(driver=slice(None, None, -1))),
        "the drivers of initial_state=",
    ),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
def test_a_state_that_does_not_belong_is_refused(
    world: xr.Dataset, daily_model: FluxModel, state: xr.Dataset, name: str, lazy: bool
) -> None:
    change, message = WRONG[name]
    ds, other = change(world.isel(time=slice(40, None)), state)
    ds = ds.chunk(time=5) if lazy else ds
    with pytest.raises(ModelError, match=message):
        ds.flux.predict(daily_model, initial_state=other)


def test_too_short_a_series_without_a_state_is_still_an_error(
    world: xr.Dataset, daily_model: FluxModel
) -> None:
    with pytest.raises(SchemaError, match="at least 3 are needed"):
        world.isel(time=slice(2)).flux.predict(daily_model, return_state=True)


def test_the_line_for_another_order_helps(
    world: xr.Dataset, daily_model: FluxModel, state: xr.Dataset, expected: xr.Dataset,
    spread: float,
) -> None:  # fmt: skip
    ds = world.isel(time=slice(40, None), lat=slice(None, None, -1))
    found = ds.flux.predict(daily_model, initial_state=state.sel(lat=ds["lat"]))
    assert_close(found.sortby("lat", ascending=bool(world.lat[0] < world.lat[1])),
                 expected.isel(time=slice(40, None)), spread)  # fmt: skip


def test_the_input_stays_as_it_was(
    world: xr.Dataset, daily_model: FluxModel, state: xr.Dataset
) -> None:
    ds = world.isel(time=slice(40, None))
    before, kept = ds.copy(deep=True), state.copy(deep=True)
    ds.flux.predict(daily_model, initial_state=state, return_state=True)
    xr.testing.assert_identical(ds, before)
    xr.testing.assert_identical(state, kept)


# --- stretches together and alone -------------------------------------------------------------


@given(data=st.data())
@settings(max_examples=15)
def test_stretches_of_any_lengths_together_equal_each_alone(
    daily_model: FluxModel, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    count, steps = 9, data.draw(st.integers(1, 150))
    width = daily_model.inputs.width
    drivers = rng.normal(size=(count, steps, width)).astype(np.float32)
    fixed = rng.normal(size=(count, daily_model.inputs.characteristic_width)).astype(np.float32)
    usable = rng.random((count, steps)) > data.draw(st.sampled_from([0.0, 0.02, 0.5]))
    block = Assembled(drivers, fixed, usable, ~usable)
    together, memory = ensemble.run(daily_model.members, block, keep=True)
    assert memory is not None
    np.testing.assert_array_equal(np.isnan(together[0, ..., 0]), ~usable)
    for row, start, end in features.stretches(usable):
        part = Assembled(
            drivers[[row], start:end], fixed[[row]], usable[[row], start:end], ~usable[[row]]
        )
        alone, last = ensemble.run(daily_model.members, part, keep=True)
        np.testing.assert_allclose(together[:, row, start:end], alone[:, 0], rtol=0, atol=1e-5)
        if end == steps:
            np.testing.assert_allclose(memory.sums[row], last.sums[0], rtol=0, atol=1e-5)
            np.testing.assert_allclose(memory.cell[:, row], last.cell[:, 0], rtol=0, atol=1e-5)
    assert not memory.cell[:, ~usable[:, -1]].any()
