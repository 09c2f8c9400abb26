"""The simulated world: the same for a seed, like the Earth in size and season, and lazily made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import xarray as xr

from xflux.errors import DataError
from xflux.simulated import earth, law
from xflux.simulated.world import grid as simulate_grid
from xflux.simulated.world import towers as simulate_towers

TRUTH = law.TRUTH
FLUXES = ("GPP", "Reco", "NEE")


@pytest.fixture(scope="module")
def towers() -> xr.Dataset:
    return simulate_towers(sites=60, seed=3)


@pytest.fixture(scope="module")
def world() -> xr.Dataset:
    return simulate_grid(seed=3)


def area(world: xr.Dataset) -> xr.DataArray:
    """Area of each cell [m2]."""
    step = np.radians(180 / world.lat.size) * np.radians(360 / world.lon.size)
    return np.cos(np.radians(world.lat)) * 6.3712e6**2 * step


def test_a_seed_gives_the_same_numbers_and_another_does_not(towers: xr.Dataset) -> None:
    xr.testing.assert_identical(towers, simulate_towers(sites=60, seed=3))
    assert not np.array_equal(towers.lat, simulate_towers(seed=4, years=1).lat)


def test_the_first_towers_do_not_depend_on_how_many_follow(towers: xr.Dataset) -> None:
    few = simulate_towers(sites=7, seed=3)
    for name, values in few.data_vars.items():
        np.testing.assert_array_equal(values, towers[name][:7])


@pytest.mark.parametrize("kind", ["towers", "world"])
def test_attributes_follow_cf(kind: str, request: pytest.FixtureRequest) -> None:
    ds = request.getfixturevalue(kind)
    names = [str(name) for name in ds.data_vars]
    assert [ds[name].dtype for name in names] == [np.dtype("float32")] * len(names)
    assert all({"units", "long_name", "cell_methods"} <= ds[name].attrs.keys() for name in names)
    assert ds.TA.attrs["standard_name"] == ds.TA_MIN.attrs["standard_name"] == "air_temperature"
    assert ds.TA_MIN.attrs["cell_methods"] == "time: minimum"
    assert ds.TA_MAX.attrs["cell_methods"] == "time: maximum"
    assert ds.lat.attrs["units"] == "degrees_north"
    assert ds.attrs["Conventions"] == "CF-1.11"
    assert {"title", "license", "source", "references", "history"} <= ds.attrs.keys()
    assert not any("standard_name" in ds[name].attrs for name in TRUTH)
    assert {ds[name].attrs["units"] for name in TRUTH} == {"g m-2 d-1"}


def test_towers_are_a_time_series_dataset(towers: xr.Dataset) -> None:
    assert towers.attrs["featureType"] == "timeSeries"
    assert towers.site.attrs["cf_role"] == "timeseries_id"
    assert towers.GPP.attrs["standard_name"].startswith("gross_primary_productivity")
    assert "standard_name" not in towers.Reco.attrs
    assert towers.GPP.dims == ("site", "time")


def test_monthly_minima_keep_their_statistic_and_stamps_start_months() -> None:
    ds = simulate_towers(sites=3, years=2, time_step="monthly")
    assert ds.TA_MIN.attrs["cell_methods"] == "time: minimum time: mean (interval: 1 day)"
    assert ds.sizes["time"] == 24
    assert bool((ds.time.dt.day == 1).all())


def test_net_exchange_closes(towers: xr.Dataset, world: xr.Dataset) -> None:
    np.testing.assert_array_equal(towers.NEE, towers.Reco - towers.GPP)
    np.testing.assert_allclose(world.NEE_true, world.Reco_true - world.GPP_true, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("TA", -75, 45),
        ("SW_IN", 0, 480),
        ("VPD", 0, 75),
        ("P", 0, 500),
        ("LAI", 0, 8),
        ("EVI", 0, 1),
        ("GPP_true", 0, 30),
        ("Reco_true", 0, 30),
    ],
)
def test_values_stay_in_range(
    towers: xr.Dataset, world: xr.Dataset, name: str, low: float, high: float
) -> None:
    for ds in (towers, world):
        assert low <= float(ds[name].min()) <= float(ds[name].max()) <= high
        assert bool((ds.TA_MIN < ds.TA).where(ds.TA.notnull(), True).all())
        assert bool((ds.TA_MAX > ds.TA).where(ds.TA.notnull(), True).all())


def test_records_are_ragged_with_gaps_and_quality(towers: xr.Dataset) -> None:
    inside = towers.TA.notnull()
    assert len(set(inside.argmax("time").values)) > 20
    assert int(inside.sum("time").min()) >= 365
    assert bool((inside.astype(int).diff("time") != 0).sum("time").max() <= 2)
    assert not bool(towers.GPP.notnull().where(~inside, False).any())
    gaps = float((towers.GPP.isnull() & inside).sum() / inside.sum())
    assert 0.05 < gaps < 0.35
    quality = towers.NEE_QC
    assert float(quality.min()) == 0
    assert float(quality.max()) <= 1
    assert 0.5 < float((quality >= 0.5).where(inside).mean()) < 0.97


def test_noise_grows_with_the_flux_and_can_be_left_out(towers: xr.Dataset) -> None:
    error = abs(towers.GPP - towers.GPP_true)
    small = error.where(towers.GPP_true < 1).mean()
    assert float(error.where(towers.GPP_true > 8).mean()) > 2 * float(small)
    clean = simulate_towers(sites=8, years=1, noise=False)
    for name in FLUXES:
        np.testing.assert_allclose(clean[name], clean[f"{name}_true"], atol=2e-6)
    assert bool((clean.NEE_QC == 1).all())
    assert not bool(clean.TA.isnull().any())


def test_some_towers_are_neighbours_and_all_stand_somewhere_plausible(towers: xr.Dataset) -> None:
    step_lat = towers.lat.diff("site")
    step_lon = towers.lon.diff("site") * np.cos(np.radians(towers.lat[1:]))
    near = np.hypot(step_lat, step_lon) * 111.2 < 30
    assert 10 <= int(near.sum()) <= 20
    land = earth.is_land(towers.lat.values, towers.lon.values)
    assert land.mean() > 0.9
    assert set(towers.igbp.values) <= set(law.IGBP) - {"WAT"}
    assert len(set(towers.igbp.values)) >= 10


def test_wet_days_cluster_as_in_a_markov_chain(world: xr.Dataset) -> None:
    wet = (world.P > 0).where(world.P.notnull()).stack(cell=("lat", "lon")).dropna("cell").values
    after_wet = wet[1:][wet[:-1] == 1].mean()
    after_dry = wet[1:][wet[:-1] == 0].mean()
    assert after_wet > after_dry + 0.2


def test_summers_are_in_opposite_halves_of_the_year(world: xr.Dataset) -> None:
    july, january = (world.isel(time=world.time.dt.month == month).mean("time") for month in (7, 1))
    difference = july[["TA", "SW_IN", "LAI", "GPP_true"]] - january
    north = difference.sel(lat=slice(40, 65)).mean()
    south = difference.sel(lat=slice(-50, -30)).mean()
    for name in difference:
        assert float(north[name]) > 0 > float(south[name]), name


def test_totals_and_biomes_are_like_those_of_the_earth(world: xr.Dataset) -> None:
    total = {
        name: float((world[name].mean("time") * area(world)).sum() * 365e-15) for name in TRUTH
    }
    assert 110 < total["GPP_true"] < 140
    assert 100 < total["Reco_true"] < 130
    assert 1.2e14 < float(area(world).where(world.TA[0].notnull()).sum()) < 1.5e14
    by_biome = world.GPP_true.mean("time").groupby(world.igbp).mean()
    for biome, low, high in [
        ("EBF", 6.5, 9),
        ("DBF", 3, 5),
        ("CRO", 2.5, 5),
        ("ENF", 2, 3.5),
        ("GRA", 1, 3),
        ("SAV", 2, 3.5),
        ("OSH", 0.2, 1),
        ("BSV", 0, 0.1),
    ]:
        assert low <= float(by_biome.sel(igbp=biome)) <= high, biome


@pytest.mark.parametrize(
    ("lat", "lon", "dry"),
    [
        *[(52, 20, True), (-5, -60, True), (25, 10, True), (-25, 135, True), (66, -173, True)],
        *[(0, -30, False), (43, 34, False), (-80, 0, False), (60, -85, False), (40, 180, False)],
    ],
)
def test_land_is_where_it_should_be(lat: float, lon: float, dry: bool) -> None:
    assert earth.is_land(np.array([lat]), np.array([float(lon)]))[0] == dry


def test_sea_is_missing_and_marked(world: xr.Dataset) -> None:
    sea = world.igbp == "WAT"
    assert bool((sea == world.elevation.isnull()).all())
    for name in world.data_vars:
        assert bool((world[name].isnull() == sea).all()), name


@pytest.mark.parametrize("time_step", ["daily", "monthly"])
@pytest.mark.parametrize(
    "chunks", [{"time": 5}, {"time": 100, "lat": 5}, {"lat": 4, "lon": 7}, {}, "auto"], ids=str
)
def test_chunks_do_not_change_the_numbers(
    time_step: Any, chunks: Any, no_computes: Callable[[], AbstractContextManager[Any]]
) -> None:
    wanted = {"shape": (12, 24), "time_step": time_step, "seed": 5}
    with no_computes():
        lazy = simulate_grid(chunks=chunks, truth=True, **wanted)
        drivers = simulate_grid(chunks=chunks, **wanted)
    assert lazy.TA.chunks is not None
    assert set(drivers.data_vars) == set(law.DRIVERS)
    eager = simulate_grid(**wanted)
    xr.testing.assert_identical(lazy.compute(scheduler="synchronous"), eager)
    xr.testing.assert_identical(drivers.compute(scheduler="synchronous"), eager[list(law.DRIVERS)])


def test_a_large_lazy_world_gives_one_small_piece_quickly() -> None:
    big = simulate_grid(shape=(180, 360), years=3, chunks={"time": 30, "lat": 30, "lon": 60})
    piece = big.TA.sel(lat=48.5, lon=10.5).isel(time=slice(60, 70)).compute(scheduler="synchronous")
    assert bool(piece.notnull().all())


def test_a_grid_cell_and_a_place_share_one_law(world: xr.Dataset) -> None:
    cell = world.sel(lat=52.5, lon=22.5)
    place = earth.earth(np.array([52.5]), np.array([22.5]))
    day = np.arange(-law.SPIN_UP, 365.0)
    drivers = law.weather(place, day, seed=3)
    fluxes = law.fluxes(place, drivers)
    np.testing.assert_allclose(cell.GPP_true, fluxes["GPP_true"][0, -365:], rtol=1e-6)


def test_formulas_match_their_published_examples() -> None:
    # FAO-56 example 8: 20 degrees south, 3 September: 32.2 MJ m-2 d-1
    top = law.radiation_top(np.array([-20.0]), np.array([245.0]))
    assert float(top[0, 0]) * 0.0864 == pytest.approx(32.2, rel=0.01)
    # FAO-56 table 2.3: 2.338 kPa at 20 degC
    assert float(law.saturation(np.array(20.0))) == pytest.approx(23.38, abs=0.02)
    assert float(law.lloyd_taylor(np.array(15.0))) == pytest.approx(1)
    # by hand, 308.56 / 56.02 - 308.56 / 66.02 = 0.8343, and exp(0.8343) = 2.303
    cool, warm = law.lloyd_taylor(np.array([10.0, 20.0]))
    assert warm / cool == pytest.approx(2.303, abs=0.001)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: simulate_towers(sites=0), "sites=0"),
        (lambda: simulate_towers(years=0), "years=0"),
        (lambda: simulate_towers(seed=-1), "seed=-1"),
        (lambda: simulate_towers(time_step="hourly"), "time_step='hourly'"),  # type: ignore[arg-type]
        (lambda: simulate_grid(shape=(0, 5)), "rows=0"),
        (lambda: simulate_grid(chunks={"site": 5}), "chunks="),
        (lambda: simulate_grid(chunks="small"), "chunks='small'"),
    ],
)
def test_wrong_arguments_say_what_to_type(call: Callable[[], Any], words: str) -> None:
    with pytest.raises(DataError, match="Type ") as caught:
        call()
    assert words in str(caught.value)
