"""Faults of space and shape (rows 37-48): whatever the layout, the same numbers in their places."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from faulty import TARGETS, Change, drivers_of, follow, in_units, row, same, says

from xflux.cf.alignment import align_characteristics
from xflux.cf.schema import resolve
from xflux.errors import DataError, SchemaError
from xflux.model import FluxModel
from xflux.training.towers import read_towers

LAT = [60.5, 30.5, -10.5]
LON = [10.5, 20.5, 200.5, 340.5]


@pytest.fixture
def drivers(some_towers: xr.Dataset) -> xr.Dataset:
    return drivers_of(some_towers)


@pytest.fixture
def grid(some_towers: xr.Dataset) -> xr.Dataset:
    """Weather of twelve cells, (time, lat, lon), with land cover."""
    towers = drivers_of(some_towers, 6).isel(site=np.arange(12) % 6)
    index = pd.MultiIndex.from_product([LAT, LON], names=["lat", "lon"])
    bare = towers.reset_coords(drop=True).drop_vars("site")
    coords = xr.Coordinates.from_pandas_multiindex(index, "site")
    cells = bare.assign_coords(coords).unstack("site").transpose("time", "lat", "lon")
    cells = cells.sel(lat=LAT, lon=LON)
    cells["igbp"] = (("lat", "lon"), np.resize(["ENF", "GRA", "EBF"], (3, 4)))
    return cells


@pytest.fixture
def expected(grid: xr.Dataset, daily_model: FluxModel) -> xr.Dataset:
    return grid.flux.predict(daily_model)


SAME_CELLS = [
    row(37, "lat_ascending", lambda ds: ds.isel(lat=slice(None, None, -1))),
    row(37, "both_flipped", lambda ds: ds.isel(lat=slice(None, None, -1), lon=[3, 2, 1, 0])),
    row(38, "lon_west_negative",
        lambda ds: ds.assign_coords(lon=(ds.lon + 180) % 360 - 180).sortby("lon")),
    row(40, "curvilinear",
        lambda ds: ds.rename(lat="y", lon="x").assign_coords(
            lat=(("y", "x"), np.repeat(np.array(LAT)[:, None], 4, 1)),
            lon=(("y", "x"), np.repeat(np.array(LON)[None], 3, 0)))),
    row(41, "multiindex_cells", lambda ds: ds.stack(cell=["lat", "lon"])),
    row(43, "object_ids", lambda ds: ds.stack(cell=["lat", "lon"]).reset_index("cell")
        .assign_coords(cell=np.array([f"c{i}" for i in range(12)], dtype=object))),
    row(43, "integer_ids", lambda ds: ds.stack(cell=["lat", "lon"]).reset_index("cell")
        .assign_coords(cell=np.arange(12)[::-1])),
    row(43, "bytes_ids", lambda ds: ds.stack(cell=["lat", "lon"]).reset_index("cell")
        .assign_coords(cell=np.array([f"c{i}" for i in range(12)], dtype="S4"))),
    row(43, "no_ids", lambda ds: ds.stack(cell=["lat", "lon"]).reset_index("cell")),
    row(44, "other_dim_names",
        lambda ds: ds.rename(time="valid_time", lat="latitude", lon="longitude")),
    row(45, "size_one_member", lambda ds: ds.expand_dims(number=[0])),
    row(45, "scalar_expver", lambda ds: ds.assign_coords(number=0, expver="0001")),
    row(47, "time_last", lambda ds: ds.transpose("lat", "lon", "time")),
    row(47, "each_its_own_order",
        lambda ds: ds.assign(SW_IN=ds["SW_IN"].transpose(), VPD=ds["VPD"].transpose("lat", ...),
                             igbp=ds["igbp"].transpose())),
    row(48, "constant_characteristic_in_time",
        lambda ds: ds.assign(igbp=ds["igbp"].expand_dims(time=ds.time))),
    row(48, "one_latitude_more_dims",
        lambda ds: ds.rename(lat="y").assign_coords(
            lat=(("y", "lon"), np.repeat(np.array(LAT)[:, None], 4, 1)))),
]  # fmt: skip


def to_grid(found: xr.Dataset) -> xr.Dataset:
    """Any of the layouts above, back on (time, lat, lon) in the order of the grid."""
    found = found.rename({k: v for k, v in {"valid_time": "time"}.items() if k in found.dims})
    found = found.rename(
        {k: v for k, v in {"latitude": "lat", "longitude": "lon"}.items() if k in found.dims}
    )
    if "number" in found.dims:
        found = found.isel(number=0, drop=True)
    if "cell" in found.dims:
        values = {n: found[n].transpose("time", "cell").values.reshape(-1, 3, 4) for n in TARGETS}
        return xr.Dataset({n: (("time", "lat", "lon"), v) for n, v in values.items()})
    dims = [d for d in ("y", "x") if d in found.dims]
    found = found.drop_vars([n for n in ("lat", "lon") if n in found and n not in found.dims])
    found = found.rename(dict(zip(dims, ("lat", "lon"), strict=False)))
    if "lat" in found.indexes:
        found = found.sel(lat=LAT)
    if "lon" in found.indexes:
        found = found.assign_coords(lon=found.lon % 360).sel(lon=LON)
    return found


@pytest.mark.parametrize("change", SAME_CELLS)
@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
def test_same_numbers_in_any_layout(
    grid: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, change: Change, lazy: bool
) -> None:
    ds = change(grid)
    given = ds
    if lazy:
        chunks = {d: -1 if "time" in str(d) else 2 for d in ds["TA"].dims}
        given = ds.chunk(chunks)
        given["igbp"] = ds["igbp"].variable
    found = given.flux.predict(daily_model)
    assert found["GPP"].dims == ds["TA"].dims, "dims and their order are the driver's"
    for name, coord in ds["TA"].coords.items():
        assert found[name].variable.identical(coord.variable), name
    assert set(found.xindexes) == set(ds["TA"].xindexes)
    same(to_grid(found.load()), expected)


@pytest.mark.parametrize("name", [row(41, "unstacked_again", "cell")])
def test_multiindex_comes_back(
    grid: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, name: str
) -> None:
    stacked = grid.stack({name: ["lat", "lon"]}).flux.predict(daily_model)
    assert stacked.indexes[name].names == ["lat", "lon"]
    same(stacked.unstack(name), expected)


def place(grid: xr.Dataset) -> xr.Dataset:
    return grid[["igbp"]]


ELSEWHERE = [
    row(38, "other_meridians",
        lambda ds: ds.assign_coords(lon=(ds.lon + 180) % 360 - 180).sortby("lon"),
        ("'lon' runs from 10.5 to 340.5 in the drivers", "turn them")),
    row(38, "other_order", lambda ds: ds.isel(lat=[2, 1, 0]),
        ("'lat' runs from 60.5 to -10.5 in the drivers", "put them in the same order")),
    row(38, "a_part", lambda ds: ds.isel(lat=[0, 1]),
        ("'lat' has 3 entries in the drivers and 2 in the characteristics",)),
    row(39, "float_noise", lambda ds: ds.assign_coords(lat=ds.lat + 1.4e-7),
        ("'lat' differs by up to 1.4e-07", "tolerance=2e-07")),
    row(44, "other_dim_name", lambda ds: ds.rename(lat="row"),
        ("dimension 'row', which the drivers have not",)),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), ELSEWHERE)
def test_characteristics_that_lie_elsewhere(
    grid: xr.Dataset, daily_model: FluxModel, change: Change, words: tuple[str, ...]
) -> None:
    with pytest.raises(SchemaError) as caught:
        grid.drop_vars("igbp").flux.predict(daily_model, characteristics=change(place(grid)))
    says(caught.value, *words)


MENDED = [
    row(38, "turned_east", 0, "given = given.assign_coords(lon="),
    row(38, "turned_west", 180, "given = given.assign_coords(lon="),
    row(38, "sorted", None, 'given = given.sel(lat=ds["lat"])'),
]


@pytest.mark.parametrize(("start", "words"), MENDED)
def test_line_to_type_for_characteristics(grid: xr.Dataset, start: int | None, words: str) -> None:
    if start is None:
        given, ds = place(grid).isel(lat=[2, 0, 1]), grid.drop_vars("igbp")
    else:
        west = grid.assign_coords(lon=(grid.lon + 180) % 360 - 180).sortby("lon")
        given, ds = (west, grid) if start == 0 else (grid, west)
        given, ds = place(given), ds.drop_vars("igbp")
    with pytest.raises(SchemaError) as caught:
        align_characteristics(ds, given, tolerance=None)
    text = str(caught.value)
    assert words in text
    names = {"given": given, "ds": ds}
    exec(text[text.index("given = ") :], names)
    aligned = align_characteristics(ds, names["given"], tolerance=1e-9)
    xr.testing.assert_equal(aligned["igbp"].sel(lat=LAT, lon=ds.lon), aligned["igbp"])
    assert aligned["igbp"].isel(lat=0, lon=0).item() in ("ENF", "GRA", "EBF")


@pytest.mark.parametrize("noise", [row(39, "within_tolerance", 1e-7)])
def test_tolerance(
    grid: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, noise: float
) -> None:
    given = place(grid).assign_coords(lat=grid.lat + noise)
    bare = grid.drop_vars("igbp")
    found = bare.flux.predict(daily_model, characteristics=given, tolerance=1e-6)
    same(found, expected)
    xr.testing.assert_identical(found["lat"], grid["lat"])


@pytest.mark.parametrize(
    "layout",
    [row(42, "one_site", "one"), row(42, "scalar_site", "scalar"), row(42, "no_site", "none")],
)
def test_one_series(drivers: xr.Dataset, daily_model: FluxModel, layout: str) -> None:
    expected = drivers.flux.predict(daily_model).isel(site=[1])
    ds = drivers.isel(site=[1])
    if layout != "one":
        ds = drivers.isel(site=1)
    if layout == "none":
        ds = ds.drop_vars("site")
    found = ds.flux.predict(daily_model)
    assert found["GPP"].dims == ds["TA"].dims
    assert ("site" in found.coords) == (layout != "none")
    same(found if layout == "one" else found.expand_dims("site"), expected)


@pytest.mark.parametrize("layout", [row(42, "training_on_one_series", "scalar")])
def test_training_on_one_series(some_towers: xr.Dataset, layout: str) -> None:
    longest = int(some_towers["GPP"].notnull().sum("time").values.argmax())
    ds = some_towers.isel(site=longest)
    flat, kept = (read_towers(d, resolve(d)) for d in (ds, some_towers.isel(site=[longest])))
    np.testing.assert_array_equal(flat.targets, kept.targets)


FOREIGN = [
    row(44, "characteristic_on_another_dim",
        lambda ds: ds.drop_vars("igbp").assign_coords(igbp=("station", ["ENF"] * 5)), "igbp"),
    row(44, "driver_on_another_dim", lambda ds: ds.assign(VPD=ds["VPD"].rename(site="station")
                                                          .drop_vars("station")), "VPD"),
    row(48, "driver_without_time", lambda ds: ds.assign(SW_IN=ds["SW_IN"].isel(time=0)), "SW_IN"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "name"), FOREIGN)
def test_foreign_dimensions(
    drivers: xr.Dataset, daily_model: FluxModel, change: Change, name: str
) -> None:
    with pytest.raises(SchemaError, match=rf"'{name}' \({name}\) has .*dim"):
        change(drivers).flux.predict(daily_model)


@pytest.mark.parametrize("versions", [row(45, "expver_1_and_5", (1, 5))])
def test_final_and_preliminary_era5_mixed(
    grid: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, versions: tuple[int, ...]
) -> None:
    early = grid["time"] < grid["time"][200]
    weather = grid.drop_vars("igbp")
    mixed = xr.concat([weather.where(early), weather.where(~early)], "expver")
    mixed = mixed.assign_coords(expver=list(versions), igbp=grid["igbp"])
    with pytest.raises(SchemaError, match="'expver' mixes final and preliminary ERA5") as caught:
        mixed.flux.predict(daily_model)
    same(follow(caught.value, mixed).flux.predict(daily_model), expected)


@pytest.mark.parametrize("count", [row(45, "members_of_the_weather", 3)])
def test_members_of_the_weather_are_entities(
    grid: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, count: int
) -> None:
    weather = grid.drop_vars("igbp").expand_dims(number=np.arange(count))
    found = weather.assign_coords(igbp=grid["igbp"]).flux.predict(daily_model)
    for number in range(count):
        same(found.isel(number=number, drop=True), expected)


EMPTY = [row(46, "no_site", "site", False), row(46, "no_site_lazy", "site", True)]


@pytest.mark.parametrize(("dim", "lazy"), EMPTY)
def test_empty_selection(drivers: xr.Dataset, daily_model: FluxModel, dim: str, lazy: bool) -> None:
    ds = drivers.isel({dim: slice(0, 0)})
    found = (ds.chunk() if lazy else ds).flux.predict(daily_model).compute()
    assert found["GPP"].shape == (0, 365)
    assert found["site"].size == 0


@pytest.mark.parametrize("task", [row(46, "no_site_in_training", "training")])
def test_training_on_nothing(some_towers: xr.Dataset, task: str) -> None:
    ds = some_towers.isel(site=slice(0, 0))
    with pytest.raises(DataError, match="no step has both drivers"):
        read_towers(ds, resolve(ds))


CHANGING = [
    row(48, "characteristic_that_changes", False, "changes in time"),
    row(48, "characteristic_that_is_lazy_in_time", True, "is lazy along time"),
]


@pytest.mark.parametrize(("lazy", "words"), CHANGING)
def test_characteristic_that_changes(
    grid: xr.Dataset, daily_model: FluxModel, lazy: bool, words: str
) -> None:
    cover = grid["igbp"].expand_dims(time=grid.time).copy()
    if lazy:
        cover = cover.chunk(time=-1)
    else:
        cover[100:] = "CRO"
    ds = grid.assign(igbp=cover)
    with pytest.raises(SchemaError, match=words) as caught:
        ds.flux.predict(daily_model)
    found = follow(caught.value, ds)
    assert "time" not in found["igbp"].dims
    same(found.flux.predict(daily_model), grid.flux.predict(daily_model))


@pytest.mark.parametrize("units", [row(38, "latitude_in_degrees", "degrees")])
def test_units_of_coordinates(
    grid: xr.Dataset, daily_model: FluxModel, expected: xr.Dataset, units: str
) -> None:
    ds = grid.assign_coords(lat=grid["lat"].assign_attrs(units=units))
    same(in_units(ds, "TA", "K", 1.0, 273.15).flux.predict(daily_model), expected)
    wrong = grid.assign_coords(lat=[9000.0, 30.5, -10.5])
    with pytest.raises(SchemaError, match=r"'lat' \(lat\) reaches 9000"):
        wrong.flux.predict(daily_model)
