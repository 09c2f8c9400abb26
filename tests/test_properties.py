"""What may not change a prediction, and what a prediction may not change.

The same drivers in another order, unit, type, chunk or frame must give the same fluxes to one
millionth of the targets' spread; the input stays as it was; no entity and no step is lost.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xflux
from xflux.batches import ENTITY, entity_blocks, stack_entities
from xflux.cf.schema import resolve
from xflux.errors import XfluxError, XfluxWarning
from xflux.features import CLOUDED
from xflux.model import FluxModel
from xflux.prediction import blocks, ensemble, fused, kernel
from xflux.training.towers import Towers, read_towers

TOLERANCE = 1e-6
DRIVERS = ("TA", "TA_MIN", "TA_MAX", "SW_IN", "VPD", "P", "LAI", "EVI")
FLUXES = ("GPP", "Reco", "NEE", "GPP_std", "Reco_std", "NEE_std")


def a_grid(model: FluxModel, **options: Any) -> xr.Dataset:
    """A small simulated grid with land and sea, of the land covers that a model has seen."""
    ds = xflux.datasets.load("simulated-grid", **options)[list(DRIVERS)]
    seen = next(c.classes for c in model.inputs.characteristics if c.name == "igbp")
    cycled = np.resize(np.array(seen), ds.igbp.shape)
    return ds.assign_coords(igbp=ds.igbp.copy(data=np.where(ds.igbp == "WAT", "WAT", cycled)))


@pytest.fixture(scope="module")
def world(daily_model: FluxModel) -> xr.Dataset:
    """60 days of a grid of 8 by 9 cells."""
    return a_grid(daily_model, shape=(8, 9), years=1).isel(time=slice(120, 180))


@pytest.fixture(scope="module")
def towers(some_towers: xr.Dataset) -> xr.Dataset:
    """Towers whose drivers are whole, over 60 days."""
    whole = some_towers[list(DRIVERS)].isel(time=slice(100, 160)).dropna("site", how="any")
    assert whole.sizes["site"] >= 5
    return whole


@pytest.fixture(scope="module")
def expected(world: xr.Dataset, daily_model: FluxModel) -> xr.Dataset:
    """What the model says of the world as it is."""
    out = world.flux.predict(daily_model)
    land = np.isfinite(world.TA).all("time")
    assert 15 < int(land.sum()) < land.size
    assert bool((np.isfinite(out.GPP).all("time") == land).all())
    return out


@pytest.fixture(scope="module")
def spread(daily_model: FluxModel) -> float:
    """The smaller spread of the targets in training, g m-2 d-1."""
    return float(daily_model.weights[0]["spread"].min())


def assert_close(found: xr.Dataset, expected: xr.Dataset, spread: float) -> None:
    """The same fluxes at the same places, whatever their order, to a millionth of the spread."""
    for name in FLUXES:
        values = found[name].transpose(*expected[name].dims).compute()
        assert values.dtype == np.float32
        np.testing.assert_array_equal(np.isfinite(values), np.isfinite(expected[name]))
        difference = float(np.abs(values.values - expected[name].values).max(initial=0, where=np.isfinite(values.values)))  # fmt: skip  # noqa: E501
        assert difference <= TOLERANCE * spread, f"{name} differs by {difference:g}"


# --- the same drivers, otherwise written ------------------------------------------------------

UNITS: dict[str, list[tuple[str, Callable[[Any], Any]]]] = {
    "TA": [("K", lambda v: v + 273.15), ("degree_Celsius", lambda v: v)],
    "TA_MIN": [("kelvin", lambda v: v + 273.15)],
    "TA_MAX": [("K", lambda v: v + 273.15)],
    "SW_IN": [
        ("MJ m-2 d-1", lambda v: v * 0.0864),
        ("J m-2", lambda v: v * 86400.0),
        ("W/m2", lambda v: v),
    ],
    "VPD": [("Pa", lambda v: v * 100.0), ("kPa", lambda v: v / 10.0), ("mbar", lambda v: v)],
    "P": [
        ("kg m-2 s-1", lambda v: v / 86400.0),
        ("mm", lambda v: v),
        ("mm/h", lambda v: v / 24.0),
        ("m", lambda v: v / 1000.0),
    ],
    "LAI": [("m2 m-2", lambda v: v), ("m2/m2", lambda v: v)],
    "EVI": [("%", lambda v: v * 100.0), ("1e-4", lambda v: v * 1e4)],
}


def in_other_units(
    ds: xr.Dataset, chosen: dict[str, tuple[str, Callable[[Any], Any]]]
) -> xr.Dataset:
    ds = ds.copy()
    for name, (unit, function) in chosen.items():
        attrs = {**ds[name].attrs, "units": unit}
        ds[name] = function(ds[name].astype("float64")).assign_attrs(attrs)
    return ds


any_units = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(options) for name, options in UNITS.items()}
)


@given(chosen=any_units)
def test_units_do_not_matter(
    world: xr.Dataset,
    daily_model: FluxModel,
    expected: xr.Dataset,
    spread: float,
    chosen: dict[str, Any],
) -> None:
    found = in_other_units(world, chosen).flux.predict(daily_model)
    assert_close(found, expected, spread)


@given(data=st.data())
def test_subset_and_order_of_entities_do_not_matter(
    world: xr.Dataset,
    daily_model: FluxModel,
    expected: xr.Dataset,
    spread: float,
    data: st.DataObject,
) -> None:
    pick = {
        dim: data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=size), label=dim)
        for dim, size in (("lat", 8), ("lon", 9))
    }
    found = world.isel(pick).flux.predict(daily_model)
    assert_close(found, expected.isel(pick), spread)


@given(order=st.permutations(["time", "lat", "lon"]), data=st.data())
def test_order_of_dims_does_not_matter_and_is_kept(
    world: xr.Dataset,
    daily_model: FluxModel,
    expected: xr.Dataset,
    spread: float,
    order: list[str],
    data: st.DataObject,
) -> None:
    turned = world.transpose(*order)
    other = data.draw(st.sampled_from(DRIVERS[1:]))
    turned[other] = turned[other].transpose(*data.draw(st.permutations(order)))
    found = turned.flux.predict(daily_model)
    assert_close(found, expected, spread)
    assert {found[name].dims for name in FLUXES} == {tuple(order)}
    several = turned.flux.predict(daily_model, members=True)
    assert several.GPP.dims == ("realization", *order)


@given(names=st.sets(st.sampled_from(DRIVERS)), dtype=st.sampled_from(["f8", ">f4", ">f8", "<f4"]))
def test_dtype_does_not_matter(
    world: xr.Dataset,
    daily_model: FluxModel,
    expected: xr.Dataset,
    spread: float,
    names: set[str],
    dtype: str,
) -> None:
    found = world.assign({name: world[name].astype(dtype) for name in names})
    assert_close(found.flux.predict(daily_model), expected, spread)


@pytest.mark.parametrize("dtype", ["int16", "int64", "uint8"])
def test_whole_numbers_are_numbers(
    towers: xr.Dataset, daily_model: FluxModel, spread: float, dtype: str
) -> None:
    rounded = towers.assign(LAI=towers.LAI.round(), SW_IN=(towers.SW_IN / 2).round())
    rounded.LAI.attrs, rounded.SW_IN.attrs = towers.LAI.attrs, towers.SW_IN.attrs
    whole = rounded.assign(LAI=rounded.LAI.astype(dtype), SW_IN=rounded.SW_IN.astype(dtype))
    found, expected = whole.flux.predict(daily_model), rounded.flux.predict(daily_model)
    assert_close(found, expected, spread)


def test_latitude_may_run_either_way(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float
) -> None:
    turned = world.isel(lat=slice(None, None, -1))
    found = turned.flux.predict(daily_model)
    xr.testing.assert_identical(found.lat, turned.lat)
    assert_close(found, expected.isel(lat=slice(None, None, -1)), spread)


def test_longitude_may_run_from_0_to_360(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float
) -> None:
    attrs = dict(world.lon.attrs)
    turned = world.assign_coords(lon=(world.lon % 360).assign_attrs(attrs)).sortby("lon")
    found = turned.flux.predict(daily_model)
    xr.testing.assert_identical(found.lon, turned.lon)
    moved = expected.assign_coords(lon=expected.lon % 360).sortby("lon")
    assert_close(found, moved, spread)


def cuts(size: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Any way to cut a dimension into chunks."""
    return st.sets(st.integers(1, size - 1), max_size=size - 1).map(
        lambda edges: tuple(int(n) for n in np.diff([0, *sorted(edges), size]))
    )


@given(lat=cuts(8), lon=cuts(9), data=st.data())
def test_chunks_in_space_do_not_matter(
    world: xr.Dataset,
    daily_model: FluxModel,
    expected: xr.Dataset,
    spread: float,
    lat: tuple[int, ...],
    lon: tuple[int, ...],
    data: st.DataObject,
) -> None:
    lazy = world.chunk(time=-1, lat=lat, lon=lon)
    other = data.draw(st.sampled_from(DRIVERS), label="chunked otherwise")
    how = data.draw(st.sampled_from(["the same", "in memory", "one chunk"]))
    if how == "in memory":
        lazy[other] = world[other]
    elif how == "one chunk":
        lazy[other] = world[other].chunk(-1)
    found = lazy.flux.predict(daily_model)
    assert all(found[name].chunks is not None for name in FLUXES)
    with dask.config.set(scheduler=data.draw(st.sampled_from(["threads", "synchronous"]))):
        assert_close(found, expected, spread)


def test_characteristics_may_be_lazy_too(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float
) -> None:
    lazy_igbp = world.assign_coords(igbp=world.igbp.chunk(lat=3))
    assert_close(lazy_igbp.flux.predict(daily_model), expected, spread)
    assert_close(lazy_igbp.chunk(lat=4).flux.predict(daily_model), expected, spread)


@settings(max_examples=15)
@given(chosen=any_units, order=st.permutations(["time", "lat", "lon"]), lat=cuts(8), data=st.data())
def test_all_of_it_together(
    world: xr.Dataset,
    daily_model: FluxModel,
    expected: xr.Dataset,
    spread: float,
    chosen: dict[str, Any],
    order: list[str],
    lat: tuple[int, ...],
    data: st.DataObject,
) -> None:
    rows = data.draw(st.permutations(range(8)))
    ds = in_other_units(world, chosen).transpose(*order).isel(lat=rows)
    ds = ds.assign_coords(lon=ds.lon % 360).sortby("lon").chunk(time=-1, lat=lat)
    after = expected.isel(lat=rows).assign_coords(lon=expected.lon % 360).sortby("lon")
    assert_close(ds.flux.predict(daily_model), after, spread)


# --- the same entities, otherwise laid out ----------------------------------------------------


def test_a_series_alone_is_that_of_its_tower(
    towers: xr.Dataset, daily_model: FluxModel, spread: float
) -> None:
    expected = towers.flux.predict(daily_model)
    for i in range(towers.sizes["site"]):
        alone = towers.isel(site=i).flux.predict(daily_model)
        assert alone.GPP.dims == ("time",)
        assert_close(alone, expected.isel(site=i), spread)


def test_cells_may_be_stacked(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float
) -> None:
    flat = world.stack(cell=("lat", "lon"))
    for ds in (flat, flat.reset_index("cell")):
        found = ds.flux.predict(daily_model)
        assert found.GPP.dims == ("time", "cell")
        np.testing.assert_array_equal(found.lat, ds.lat)
        assert_close(found, expected.stack(cell=("lat", "lon")), spread)


def test_a_curvilinear_grid_is_a_grid(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float
) -> None:
    lat, lon = xr.broadcast(world.lat, world.lon)
    plane = world.drop_vars(["lat", "lon"]).rename(lat="y", lon="x")
    plane = plane.assign_coords(
        lat=(("y", "x"), lat.values, world.lat.attrs), lon=(("y", "x"), lon.values, world.lon.attrs)
    )
    found = plane.flux.predict(daily_model)
    xr.testing.assert_identical(found.lat, plane.lat)
    assert_close(found.rename(y="lat", x="lon"), expected, spread)


@pytest.mark.parametrize("name", ["flux", "realization", "entity", "fluxes", "member", "variable"])
def test_dims_may_have_any_name(
    towers: xr.Dataset, daily_model: FluxModel, spread: float, name: str
) -> None:
    expected = towers.flux.predict(daily_model)
    renamed = towers.rename(site=name)
    for ds in (renamed, renamed.chunk({name: 2})):
        found = ds.flux.predict(daily_model)
        assert found.GPP.dims == (name, "time")
        assert_close(found.rename({name: "site"}), expected, spread)


def test_members_beside_a_dim_called_realization_are_refused_or_right(
    towers: xr.Dataset, daily_model: FluxModel
) -> None:
    with pytest.raises(XfluxError, match="realization"):
        towers.rename(site="realization").flux.predict(daily_model, members=True)


@pytest.mark.parametrize("dim", ["site", "entity", "flux", "target", "batch"])
def test_training_takes_any_name_and_order_of_dims(some_towers: xr.Dataset, dim: str) -> None:
    def read(ds: xr.Dataset) -> Towers:
        return read_towers(ds, resolve(ds))

    expected = read(some_towers)
    found = read(some_towers.rename(site=dim).transpose("time", dim).chunk({dim: 3, "time": 50}))
    np.testing.assert_array_equal(found.targets, expected.targets)
    for name, values in expected.drivers.items():
        np.testing.assert_array_equal(found.drivers[name], values)
    np.testing.assert_array_equal(found.characteristics["igbp"], expected.characteristics["igbp"])
    assert found.labels == expected.labels


def test_a_variable_called_flux_stays(towers: xr.Dataset, daily_model: FluxModel) -> None:
    with_flux = towers.assign(flux=("time", np.arange(60.0), {"units": "1"}))
    expected = towers.flux.predict(daily_model)
    for ds in (with_flux, with_flux.set_coords("flux")):
        before = ds.copy(deep=True)
        found = ds.flux.predict(daily_model)
        np.testing.assert_array_equal(found.GPP, expected.GPP)
        xr.testing.assert_identical(ds, before)
        np.testing.assert_array_equal(ds["flux"], np.arange(60.0))
        assert set(found.data_vars) == set(FLUXES)


def test_other_variables_do_not_matter(towers: xr.Dataset, daily_model: FluxModel) -> None:
    rng = np.random.default_rng(0)
    more = towers.assign(
        soil=(("depth", "site"), rng.normal(size=(3, towers.sizes["site"]))),
        note=("site", ["text"] * towers.sizes["site"]),
        GPP=(("site", "time"), np.full(towers.TA.shape, np.inf), {"units": "furlong"}),
    ).assign_coords(place=("site", rng.normal(size=towers.sizes["site"])))
    found, expected = (ds.flux.predict(daily_model) for ds in (more, towers))
    for name in FLUXES:
        np.testing.assert_array_equal(found[name], expected[name])
    xr.testing.assert_identical(found.place.variable, more.place.variable)


# --- nothing is changed -----------------------------------------------------------------------


def snapshot(ds: xr.Dataset) -> dict[str, Any]:
    """Everything about a Dataset that `assert_identical` does not look at."""
    return {
        str(name): (
            dict(variable.attrs),
            dict(variable.encoding),
            variable.dtype,
            variable.chunks,
            variable.dims,
        )
        for name, variable in ds.variables.items()
    } | {"": (dict(ds.attrs), dict(ds.encoding), dict(ds.sizes))}


@pytest.mark.parametrize("chunks", [None, {"lat": 3}])
@pytest.mark.parametrize("members", [False, True])
def test_the_input_is_not_changed(
    world: xr.Dataset, daily_model: FluxModel, chunks: dict[str, int] | None, members: bool
) -> None:
    ds = in_other_units(world, {"TA": UNITS["TA"][0]})
    ds.TA.encoding = {"scale_factor": 0.01, "_FillValue": -9999, "dtype": "int16"}
    ds.time.encoding = {"units": "hours since 1900-01-01", "dtype": "int32"}
    ds.lat.encoding = {"dtype": "float32", "_FillValue": np.nan}
    ds.encoding = {"unlimited_dims": {"time"}}
    ds = ds if chunks is None else ds.chunk(chunks)
    before, about = ds.copy(deep=True), snapshot(ds)
    ds.flux.predict(daily_model, members=members).load()
    repr(ds.flux)
    xr.testing.assert_identical(ds, before)
    assert snapshot(ds) == about


@pytest.mark.parametrize("chunks", [None, {"lat": 3}])
@pytest.mark.parametrize("members", [False, True])
def test_coordinates_and_their_attributes_are_those_of_the_input(
    world: xr.Dataset, daily_model: FluxModel, chunks: dict[str, int] | None, members: bool
) -> None:
    ds = world.assign_coords(run=7, day=("time", np.arange(60), {"long_name": "number of the day"}))
    ds.lat.attrs["note"] = "kept"
    ds = ds if chunks is None else ds.chunk(chunks)
    found = ds.flux.predict(daily_model, members=members)
    assert set(found.coords) == set(ds.coords) | ({"realization"} if members else set())
    for name in ds.coords:
        xr.testing.assert_identical(found[name].variable, ds[name].variable)
        assert found[name].dtype == ds[name].dtype
    assert {name: type(index) for name, index in ds.xindexes.items()}.items() <= {
        name: type(index) for name, index in found.xindexes.items()
    }.items()


def test_the_output_does_not_share_memory_with_the_input(
    world: xr.Dataset, daily_model: FluxModel
) -> None:
    ds = world.copy(deep=True)
    before = ds.copy(deep=True)
    found = ds.flux.predict(daily_model)
    for name in FLUXES:
        found[name].values[...] = -1.0
        found[name].attrs.clear()
    found.lat.attrs["changed"] = 1
    found.attrs["history"] = ""
    found.igbp.encoding["changed"] = 1
    xr.testing.assert_identical(ds, before)
    assert snapshot(ds) == snapshot(before)


# --- nothing is computed too early ------------------------------------------------------------


@pytest.mark.parametrize("members", [False, True])
def test_building_computes_nothing(
    world: xr.Dataset,
    daily_model: FluxModel,
    no_computes: Callable[[], AbstractContextManager[Any]],
    count_computes: Callable[[int], AbstractContextManager[Any]],
    members: bool,
) -> None:
    lazy = in_other_units(world, {"TA": UNITS["TA"][0]}).chunk(lat=3, lon=4)
    with no_computes():
        out = lazy.flux.predict(daily_model, members=members)
        repr(out)
        repr(lazy.flux)
        lazy.flux._repr_html_()
    with count_computes(1):
        out.load()


def test_every_block_of_the_input_is_read_once(world: xr.Dataset, daily_model: FluxModel) -> None:
    reads: list[tuple[int, ...]] = []

    def read(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        reads.append(tuple(block_info[0]["chunk-location"]))
        return block

    lazy = world.chunk(lat=3, lon=4)
    watched = da.map_blocks(read, lazy.TA.data, dtype="f4", meta=np.empty((0, 0, 0), "f4"))
    lazy["TA"] = lazy.TA.copy(data=watched)
    lazy.flux.predict(daily_model).load(scheduler="synchronous")
    assert sorted(reads) == sorted(itertools.product(range(1), range(3), range(3)))


@pytest.mark.parametrize("scheduler", ["threads", "synchronous"])
def test_random_state_and_threads_of_the_user_stay(
    world: xr.Dataset, daily_model: FluxModel, tmp_path: Path, scheduler: str
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        before = torch.random.get_rng_state()
        model = xflux.load_model(daily_model.save(tmp_path / "model.safetensors"))
        ensemble._ENGINES.clear()
        with dask.config.set(scheduler=scheduler):
            world.chunk(lat=2, lon=3).flux.predict(model).load()
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.random.get_rng_state(), before)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow
def test_a_cluster_gives_the_same(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, spread: float, cluster: Any
) -> None:
    """Weights travel to another process as bytes, in a graph that stays small."""
    lazy = world.chunk(lat=3, lon=4).flux.predict(daily_model)
    assert_close(cluster.compute(lazy).result(), expected, spread)


# --- nothing is lost --------------------------------------------------------------------------


@given(count=st.integers(1, 40), size=st.integers(1, 17), chunk=st.integers(1, 9))
def test_every_entity_and_step_comes_in_exactly_one_block(
    count: int, size: int, chunk: int
) -> None:
    number = np.arange(count * 5).reshape(count, 5)
    ds = xr.Dataset({"TA": ((ENTITY, "time"), number), "LAI": ((ENTITY, "time"), -number)})
    for stacked in (ds, ds.chunk({ENTITY: chunk})):
        seen = np.zeros(count, dtype=int)
        for where, block in entity_blocks(stacked, size=size):
            seen[where] += 1
            assert block.sizes[ENTITY] == where.stop - where.start <= size
            assert block.TA.chunks is None
            values = block.transpose(ENTITY, "time")
            np.testing.assert_array_equal(values.TA, number[where])
            np.testing.assert_array_equal(values.LAI, -number[where])
        assert (seen == 1).all()


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3)),
    order=st.permutations(["time", "y", "x"]),
)
def test_stacking_takes_every_entity_in_order(shape: tuple[int, ...], order: list[str]) -> None:
    number = np.arange(np.prod(shape)).reshape(shape)
    ds = xr.Dataset({"TA": (("y", "x", "time"), number)}).transpose(*order)
    stacked = stack_entities(ds, ("y", "x"))
    found = stacked.TA.transpose(ENTITY, "time")
    np.testing.assert_array_equal(found, number.reshape(-1, shape[-1]))


def test_every_cell_and_step_is_predicted_with_its_own_drivers(
    world: xr.Dataset,
    daily_model: FluxModel,
    expected: xr.Dataset,
    spread: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In batches much smaller than the grid, with tails, each cell is what it is alone."""
    land = np.argwhere(np.isfinite(world.TA).all("time").values)
    alone = {
        (i, j): world.isel(lat=i, lon=j).flux.predict(daily_model).GPP.values
        for i, j in land[::3].tolist()
    }
    for cells, tile in ((1, 1), (7, 3), (20, 64)):
        monkeypatch.setattr(blocks, "CELLS", cells)
        for engine in (kernel.Engine, fused.Engine):
            monkeypatch.setattr(engine, "at_once", lambda self, steps, tile=tile: tile)
        for ds in (world, world.chunk(lat=5, lon=2)):
            found = ds.flux.predict(daily_model).load()
            assert_close(found, expected, spread)
            for (i, j), values in alone.items():
                here = found.GPP.isel(lat=i, lon=j).values
                np.testing.assert_allclose(here, values, rtol=0, atol=TOLERANCE * spread)


def test_no_entity_at_all_and_sea_only_are_no_error(
    world: xr.Dataset, towers: xr.Dataset, daily_model: FluxModel
) -> None:
    sea = world.where(False)
    for name in DRIVERS:
        sea[name].attrs = world[name].attrs
    for ds in (sea, sea.chunk(lat=3)):
        assert bool(np.isnan(ds.flux.predict(daily_model).GPP).all())
    for ds in (towers.isel(site=[]), world.isel(lat=[])):
        found = ds.flux.predict(daily_model)
        assert dict(found.sizes) == dict(ds.sizes)


# --- relations between predictions ------------------------------------------------------------


def test_members_mean_and_spread_agree_and_nee_closes(
    world: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset
) -> None:
    several = world.flux.predict(daily_model, members=True)
    assert several.sizes["realization"] == 2
    np.testing.assert_array_equal(several.NEE, several.Reco - several.GPP)
    np.testing.assert_array_equal(expected.NEE, expected.Reco - expected.GPP)
    for name in ("GPP", "Reco", "NEE"):
        mean, std = several[name].mean("realization"), several[name].std("realization", ddof=1)
        np.testing.assert_allclose(expected[name], mean, rtol=0, atol=2e-6)
        np.testing.assert_allclose(expected[f"{name}_std"], std, rtol=0, atol=2e-6)
    for name in ("GPP", "Reco"):
        assert not bool((several[name] < 0).any())


def test_an_entity_twice_is_the_same_twice(towers: xr.Dataset, daily_model: FluxModel) -> None:
    found = towers.isel(site=[2, 0, 2, 2]).flux.predict(daily_model)
    for name in FLUXES:
        np.testing.assert_array_equal(found[name][0], found[name][2])
        np.testing.assert_array_equal(found[name][0], found[name][3])


@given(step=st.integers(1, 59), name=st.sampled_from(DRIVERS))
def test_the_future_does_not_change_the_past(
    towers: xr.Dataset, daily_model: FluxModel, spread: float, step: int, name: str
) -> None:
    later = np.arange(60) >= step
    changed = towers.assign({name: towers[name] * xr.DataArray(np.where(later, 0.9, 1.0), dims="time")})  # fmt: skip  # noqa: E501
    changed[name] = changed[name].astype("f4").assign_attrs(towers[name].attrs)
    found, expected = (ds.flux.predict(daily_model) for ds in (changed, towers))
    past = slice(0, step)
    assert_close(found.isel(time=past), expected.isel(time=past), spread)


@given(length=st.integers(3, 60))
def test_a_shorter_series_is_the_beginning_of_the_longer(
    towers: xr.Dataset, daily_model: FluxModel, spread: float, length: int
) -> None:
    short = towers.isel(time=slice(0, length)).flux.predict(daily_model)
    assert_close(short, towers.flux.predict(daily_model).isel(time=slice(0, length)), spread)


@settings(max_examples=15)
@given(
    site=st.integers(0, 4),
    start=st.integers(1, 55),
    length=st.integers(1, 8),
    name=st.sampled_from([name for name in DRIVERS if name not in CLOUDED]),
)
def test_a_gap_stays_where_it_is(
    towers: xr.Dataset,
    daily_model: FluxModel,
    spread: float,
    site: int,
    start: int,
    length: int,
    name: str,
) -> None:
    """Short gaps are bridged; after a longer one thirty days settle; others do not notice."""
    values = towers[name].values.copy()
    end = min(start + length, 60)
    values[site, start:end] = np.nan
    gappy = towers.assign({name: towers[name].copy(data=values)})
    found, expected = (ds.flux.predict(daily_model) for ds in (gappy, towers))
    others = [i for i in range(towers.sizes["site"]) if i != site]
    assert_close(found.isel(site=others), expected.isel(site=others), spread)
    before = {"site": [site], "time": slice(0, start)}
    assert_close(found.isel(before), expected.isel(before), spread)
    missing = np.isnan(found.GPP.values[site])
    if end - start <= 3:
        assert not missing.any()
        held = values.copy()
        held[site, start:end] = values[site, start - 1]
        carried = towers.assign({name: towers[name].copy(data=held)}).flux.predict(daily_model)
        assert_close(found, carried, spread)
    else:
        assert not missing[start : start + 3].any()
        assert missing[start + 3 : end + 30].all()
        assert not missing[end + 30 :].any()


def test_whole_years_later_is_the_same(
    towers: xr.Dataset, daily_model: FluxModel, spread: float
) -> None:
    later = towers.assign_coords(time=towers.time + np.timedelta64(365, "D"))
    later.time.attrs = towers.time.attrs
    expected = towers.flux.predict(daily_model)
    found = later.flux.predict(daily_model).assign_coords(time=expected.time)
    assert_close(found, expected, spread)


def test_without_an_optional_driver_it_predicts_and_says_so(
    towers: xr.Dataset, daily_model: FluxModel
) -> None:
    with pytest.warns(XfluxWarning, match="without EVI"):
        found = towers.drop_vars("EVI").flux.predict(daily_model)
    assert bool(np.isfinite(found.GPP).all())


# --- calendars and the monthly step -----------------------------------------------------------


def on_calendar(ds: xr.Dataset, calendar: str, frequency: str) -> xr.Dataset:
    time = xr.date_range(
        "2001-01-01", periods=ds.sizes["time"], freq=frequency, calendar=calendar, use_cftime=True
    )
    return ds.assign_coords(time=time)


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "standard", "all_leap", "julian"])
def test_daily_series_of_any_calendar(
    towers: xr.Dataset, daily_model: FluxModel, spread: float, calendar: str
) -> None:
    ds = on_calendar(towers, calendar, "D")
    found = ds.flux.predict(daily_model)
    xr.testing.assert_identical(found.time, ds.time)
    assert found.time.dt.calendar == calendar
    assert bool(np.isfinite(found.GPP).all())
    if calendar in ("noleap", "standard", "julian"):
        same = towers.assign_coords(
            time=xr.date_range("2001-01-01", periods=60, freq="D", use_cftime=False)
        ).flux.predict(daily_model)
        assert_close(found.assign_coords(time=same.time), same, spread)


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "standard"])
def test_monthly_series_of_any_calendar(monthly_model: FluxModel, calendar: str) -> None:
    ds = a_grid(monthly_model, shape=(4, 5), years=2, time_step="monthly")
    turned = on_calendar(ds, calendar, "MS")
    found, expected = (some.flux.predict(monthly_model) for some in (turned, ds))
    xr.testing.assert_identical(found.time, turned.time)
    for name in FLUXES:
        np.testing.assert_array_equal(found[name], expected[name])
    amounts = turned.assign(P=turned.P * turned.time.dt.days_in_month)
    amounts.P.attrs = {**ds.P.attrs, "units": "mm"}
    as_amounts = amounts.flux.predict(monthly_model)
    np.testing.assert_allclose(as_amounts.GPP, expected.GPP, rtol=0, atol=1e-5)


@pytest.mark.parametrize("frequency", ["MS", "ME"])
def test_months_may_be_stamped_anywhere(monthly_model: FluxModel, frequency: str) -> None:
    ds = xflux.datasets.load("simulated-towers", sites=3, years=1, time_step="monthly", noise=False)
    ds = ds[list(DRIVERS)]
    turned = ds.assign_coords(time=xr.date_range("2001-01-01", periods=12, freq=frequency))
    found, expected = (some.flux.predict(monthly_model) for some in (turned, ds))
    np.testing.assert_array_equal(found.GPP, expected.GPP)
    xr.testing.assert_identical(found.time, turned.time)
