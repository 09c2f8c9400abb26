"""Budgets against hand calculations: the surface of a sphere, constant fluxes, slow loops."""

from __future__ import annotations

import calendar

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import xflux
from xflux.budgets.areas import RADIUS, sphere_area
from xflux.errors import DataError, SchemaError, XfluxWarning

SPHERE = 4 * np.pi * 6371007.2**2  # m2
GRAMS = 1e15  # in a petagram


def world(
    *,
    gpp: float = 2.0,
    reco: float = 1.5,
    years: int = 1,
    freq: str = "MS",
    calendar: str = "standard",
    shape: tuple[int, int] = (6, 8),
) -> xr.Dataset:
    """The same fluxes everywhere and always, g m-2 d-1."""
    start, end = "2003-01-01", f"{2003 + years}-01-01"
    time = xr.date_range(
        start,
        end,
        freq=freq,
        calendar=calendar,
        inclusive="left",
        use_cftime=calendar != "standard",
    )
    lat = (np.arange(shape[0]) + 0.5) * 180 / shape[0] - 90
    lon = (np.arange(shape[1]) + 0.5) * 360 / shape[1] - 180
    ones = np.ones((len(time), *shape), np.float32)
    values = {"GPP": gpp, "Reco": reco, "NEE": reco - gpp}
    ds = xr.Dataset(
        {name: (("time", "lat", "lon"), ones * np.float32(v)) for name, v in values.items()},
        {"time": time, "lat": lat, "lon": lon},
    )
    for name in values:
        ds[name].attrs["units"] = "g m-2 d-1"
    ds.lat.attrs["units"], ds.lon.attrs["units"] = "degrees_north", "degrees_east"
    return ds


def total(ds: xr.Dataset, **options: object) -> xr.Dataset:
    return ds.flux.budget(**{"land_fraction": 1.0, **options})


@given(
    rows=st.integers(2, 40),
    columns=st.integers(2, 40),
    west=st.floats(-180, 0),
    south_first=st.booleans(),
    with_bounds=st.booleans(),
)
def test_cells_make_the_whole_sphere(rows, columns, west, south_first, with_bounds) -> None:
    edges = {"lat": np.linspace(-90, 90, rows + 1), "lon": west + np.linspace(0, 360, columns + 1)}
    if not south_first:
        edges["lat"] = edges["lat"][::-1]
    ds = xr.Dataset(coords={name: (e[1:] + e[:-1]) / 2 for name, e in edges.items()})
    ds = ds.assign_coords(lon=(ds.lon + 180) % 360 - 180)  # begins anywhere, across the date line
    if with_bounds:
        for name, e in edges.items():
            ds[f"{name}_bnds"] = ((name, "bnds"), np.stack([e[:-1], e[1:]], axis=1))
            ds[name].attrs["bounds"] = f"{name}_bnds"
    area, _ = sphere_area(ds, "lat", "lon", ("lat", "lon"))
    assert float(area.sum()) == pytest.approx(SPHERE, rel=1e-9)
    assert float(area.min()) > 0
    row = area.sum("lon").values
    south, north = np.sort(np.deg2rad(np.stack([edges["lat"][:-1], edges["lat"][1:]])), axis=0)
    np.testing.assert_allclose(row, 2 * np.pi * RADIUS**2 * (np.sin(north) - np.sin(south)))


def test_areas_are_close_to_those_on_the_ellipsoid() -> None:
    """As the docstring says; the ellipsoid's zones are integrated by small steps (WGS84)."""
    a, e2 = 6378137.0, 0.00669437999014
    fine = np.deg2rad((np.arange(180_000) + 0.5) / 1000 - 90)
    ring = 2 * np.pi * a**2 * (1 - e2) * np.cos(fine) / (1 - e2 * np.sin(fine) ** 2) ** 2
    zones = (ring * np.deg2rad(1e-3)).reshape(180, 1000).sum(axis=1)
    ds = world(shape=(180, 4))
    area = sphere_area(ds, "lat", "lon", ("lat", "lon"))[0].sum("lon").values
    assert zones.sum() == pytest.approx(SPHERE, rel=1e-6)
    assert np.abs(area / zones - 1).max() < 0.0091


@pytest.mark.parametrize(
    ("name", "days"),
    [("standard", (365, 366)), ("noleap", (365, 365)), ("360_day", (360, 360))],
)
@pytest.mark.parametrize("freq", ["MS", "D"])
def test_a_constant_flux_is_area_times_days(name: str, days: tuple[int, int], freq: str) -> None:
    budget = total(world(years=2, freq=freq, calendar=name, shape=(3, 4)))
    np.testing.assert_allclose(budget.GPP, [2.0 * SPHERE * n / GRAMS for n in days], rtol=1e-6)
    np.testing.assert_allclose(budget.NEE, budget.Reco - budget.GPP, rtol=1e-6)
    np.testing.assert_allclose(budget.covered_area, SPHERE)
    np.testing.assert_allclose(budget.coverage, 1.0)
    assert budget.year.values.tolist() == [2003, 2004]


def test_months_weigh_as_they_have_days() -> None:
    ds = world()
    ds["GPP"][:] = 0.0
    ds["GPP"][1] = 1.0  # February
    assert float(total(ds).GPP[0]) == pytest.approx(28 * SPHERE / GRAMS)


@settings(max_examples=settings.default.max_examples // 3)
@given(seed=st.integers(0, 2**16), chunk=st.integers(1, 12), gaps=st.floats(0, 0.6))
def test_any_chunks_give_a_slow_loop(seed: int, chunk: int, gaps: float) -> None:
    rng = np.random.default_rng(seed)
    ds = world(shape=(3, 4))
    for name in ("GPP", "Reco"):
        ds[name][:] = rng.normal(size=ds[name].shape)
        ds[name] = ds[name].where(rng.random(ds[name].shape) >= gaps)
    ds["NEE"][:] = (ds.Reco - ds.GPP).values
    ds["kind"] = ("lat", "lon"), rng.choice(["a", "b", ""], (3, 4))
    area = sphere_area(ds, "lat", "lon", ("lat", "lon"))[0].values
    expected = {"a": 0.0, "b": 0.0}
    covered = {"a": 0.0, "b": 0.0}
    for t in range(12):
        days = calendar.monthrange(2003, t + 1)[1]
        for i in range(3):
            for j in range(4):
                value, kind = float(ds.NEE[t, i, j]), str(ds.kind[i, j].values)
                if kind and not np.isnan(value):
                    expected[kind] += value * area[i, j] * days / GRAMS
                    covered[kind] += area[i, j] * days / 365
    budget = total(ds.chunk(time=chunk, lat=2), by="kind")
    assert budget.NEE.chunks is not None
    for kind in set(budget.kind.values):
        found = budget.sel(kind=kind, year=2003).compute()
        np.testing.assert_allclose(found.covered_area, covered[kind], rtol=1e-6)
        if covered[kind]:
            np.testing.assert_allclose(found.NEE, expected[kind], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(found.Reco - found.GPP, found.NEE, rtol=1e-4, atol=1e-4)
        else:
            assert np.isnan(found.NEE)


def test_nothing_is_computed_before_it_is_asked_for(no_computes) -> None:
    ds = world(freq="D").chunk(time=30)
    with no_computes():
        budget = total(ds, by=xr.DataArray(np.arange(6) // 3, dims="lat", name="half"))
    assert budget.GPP.sizes == {"half": 2, "year": 1}


@pytest.mark.filterwarnings("ignore:.*classes that the model has not seen")
def test_groups_add_up_to_the_whole() -> None:
    grid = xflux.datasets.load("simulated-grid", shape=(9, 18), time_step="monthly")
    fluxes = grid.flux.predict()
    by_class = total(fluxes, by="igbp")
    assert float(by_class.GPP.sum()) == pytest.approx(float(total(fluxes).GPP[0]), rel=1e-6)
    assert np.isnan(by_class.GPP.sel(igbp="WAT")).all()
    assert float(by_class.covered_area.sel(igbp="WAT")[0]) == 0.0


def test_members_give_the_spread_of_the_total() -> None:
    ds = world()
    up_and_down = xr.DataArray([1.0, 0.0, -1.0], dims="realization")
    halves = xr.DataArray(np.where(np.arange(6) < 3, 1.0, -1.0), dims="lat")
    together = (ds + up_and_down).map(lambda array: array.assign_attrs(units="g m-2 d-1"))
    against = (ds + up_and_down * halves).map(lambda array: array.assign_attrs(units="g m-2 d-1"))
    whole = SPHERE * 365 / GRAMS
    assert float(total(together).GPP_std[0]) == pytest.approx(whole)  # cells err together
    assert float(total(against).GPP_std[0]) == pytest.approx(0.0, abs=1e-9)  # halves cancel
    assert float(total(together).GPP[0]) == pytest.approx(2 * whole)
    every = total(together, members=True)
    np.testing.assert_allclose(every.GPP.sel(year=2003), [3 * whole, 2 * whole, whole])
    ds["GPP_std"] = xr.full_like(ds.GPP, 1.0)
    bound = total(ds)
    assert "GPP_std" not in bound
    assert float(bound.GPP_std_bound[0]) == pytest.approx(whole)


def test_the_spread_of_members_is_within_its_bound() -> None:
    grid = xflux.datasets.load("simulated-grid", shape=(6, 12), time_step="monthly")
    spread = total(grid.flux.predict(members=True)).GPP_std
    bound = total(grid.flux.predict()).GPP_std_bound
    assert 0 < float(spread[0]) <= float(bound[0])


def test_land_fraction_weighs_cells() -> None:
    ds = world()
    share = xr.zeros_like(ds.GPP[0], dtype=float).rename("sftlf").drop_vars("time")
    share[3:] = 50.0  # the north
    share.attrs["units"] = "%"
    quarter = 0.25 * 2 * SPHERE * 365 / GRAMS
    assert float(ds.flux.budget(land_fraction=share).GPP[0]) == pytest.approx(quarter)
    assert float(ds.assign(sftlf=share).flux.budget().GPP[0]) == pytest.approx(quarter)
    with pytest.warns(XfluxWarning, match="no land fraction"):
        ds.flux.budget()
    with pytest.raises(DataError, match="percent"):
        ds.flux.budget(land_fraction=share.assign_attrs(units="1"))


@pytest.mark.parametrize("how", ["argument", "name", "cell_measures", "areacella", "km2"])
def test_areas_that_are_given_are_taken(how: str) -> None:
    ds = world()
    areas = xr.DataArray(np.full((6, 8), 5.0), dims=("lat", "lon"), attrs={"units": "m2"})
    expected, options = 2 * 6 * 8 * 5 * 365 / GRAMS, {}
    if how == "km2":
        options, expected = {"area": areas.assign_attrs(units="km2")}, expected * 1e6
    elif how == "argument":
        options = {"area": areas}
    elif how == "name":
        ds["size"], options = areas, {"area": "size"}
    elif how == "cell_measures":
        ds["size"] = areas
        ds.GPP.attrs["cell_measures"] = "area: size"
    else:
        ds["areacella"] = areas
    assert float(total(ds, **options).GPP[0]) == pytest.approx(expected)


def test_curved_grids_need_areas() -> None:
    ds = world(shape=(2, 3)).rename(lat="y", lon="x").drop_vars(["y", "x"])
    ds = ds.assign_coords(lat=(("y", "x"), np.ones((2, 3))), lon=(("y", "x"), np.ones((2, 3))))
    ds.lat.attrs["units"], ds.lon.attrs["units"] = "degrees_north", "degrees_east"
    with pytest.raises(DataError, match=r"budget\(area=areas\)"):
        total(ds)
    areas = xr.DataArray(np.ones((2, 3)), dims=("y", "x"), attrs={"units": "m2"})
    assert float(total(ds, area=areas).GPP[0]) == pytest.approx(2 * 6 * 365 / GRAMS)


def test_years_that_are_not_whole() -> None:
    ds = world(years=3, freq="D", shape=(2, 3)).isel(time=slice(10, None))
    with pytest.raises(DataError, match=r"2003 \(355 of 365 days\).*drop"):
        total(ds)
    assert total(ds, incomplete="drop").year.values.tolist() == [2004, 2005]
    flagged = total(ds, incomplete="flag")
    assert float(flagged.GPP[0]) == pytest.approx(2 * 355 * SPHERE / GRAMS)
    np.testing.assert_allclose(flagged.coverage, [355 / 365, 1, 1])
    with pytest.raises(DataError, match="no year is whole"):
        total(ds.isel(time=slice(0, 100)), incomplete="drop")


def test_a_leap_year_may_lack_its_29th_of_february() -> None:
    ds = world(years=2, freq="D", shape=(2, 3))
    ds = ds.sel(time=~((ds.time.dt.month == 2) & (ds.time.dt.day == 29)))
    np.testing.assert_allclose(total(ds).GPP, 2 * 365 * SPHERE / GRAMS, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (lambda ds: ds, {"by": "biome"}, "biome"),
        (lambda ds: ds, {"by": xr.DataArray(np.ones(5), dims="lat")}, "other cells"),
        (lambda ds: ds, {"area": xr.DataArray(np.ones((6, 8)), dims=("lat", "lon"))}, "units"),
        (lambda ds: ds, {"land_fraction": 50.0}, "land_fraction=1.0"),
        (lambda ds: ds, {"incomplete": "guess"}, "drop"),
        (lambda ds: ds, {"members": True}, r"predict\(members=True\)"),
        (lambda ds: ds.isel(lat=[2]), {}, "bounds"),
        (lambda ds: ds.isel(lat=[2, 0, 4]), {}, "sortby"),
        (lambda ds: xr.concat([ds, ds.isel(lon=[0])], "lon"), {}, "twice"),
        (lambda ds: ds.isel(lon=0), {}, "areas"),
    ],
)
def test_what_cannot_be_added_up_is_said(change, options, said) -> None:
    with pytest.raises(DataError, match=said):
        total(change(world()), **options)


def test_without_fluxes_or_units_there_is_no_budget() -> None:
    with pytest.raises(SchemaError, match=r"flux\.predict\(\)"):
        total(world()[["GPP"]].rename(GPP="wind"))
    bare = world()
    del bare["GPP"].attrs["units"]
    with pytest.raises(SchemaError, match="units"):
        total(bare)


def test_other_units_are_converted() -> None:
    ds = world()
    kilograms = ds / 86400e3
    for name in kilograms:
        kilograms[name].attrs["units"] = "kg m-2 s-1"
    xr.testing.assert_allclose(total(kilograms).GPP, total(ds).GPP)


def test_units_are_those_of_udunits_and_files_can_be_written(tmp_path) -> None:
    cf_units = pytest.importorskip("cf_units")
    budget = total(world(), by=xr.DataArray(np.arange(6) // 3, dims="lat", name="half"))
    assert cf_units.Unit(budget.GPP.attrs["units"]).is_convertible("kg s-1")
    budget.to_netcdf(tmp_path / "budget.nc")
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "budget.nc"), budget)
