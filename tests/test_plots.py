"""`ds.flux.plot`: towers, series, latitudes over time, spread, scores; with a projection too."""

from __future__ import annotations

import importlib.machinery
import inspect
import sys
import types
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import xarray as xr

pytest.importorskip("matplotlib")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.projections import PolarAxes

from xflux import plotting
from xflux.errors import DataError
from xflux.plotting.axes import coastline, projected

CARBON = "g m-2 d-1"


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    plt.close("all")


@pytest.fixture
def stations() -> xr.Dataset:
    """Four towers over two years of days; the last two have half of them."""
    time = pd.date_range("2001-01-01", periods=730, freq="D")
    gpp = np.full((4, 730), 2.0, "f4")
    gpp[2:, ::2] = np.nan
    return xr.Dataset(
        {"GPP": (("site", "time"), gpp, {"units": CARBON})},
        {
            "site": ["A", "B", "C", "D"],
            "time": time,
            "lat": ("site", [10.0, 20.0, 30.0, 40.0]),
            "lon": ("site", [1.0, 2.0, 3.0, 4.0]),
            "igbp": ("site", ["ENF", "ENF", "GRA", "CRO"]),
        },
    )


@pytest.fixture
def scored(stations) -> xr.Dataset:
    rmse = [[1.0, 3.0, 5.0, np.nan], [2.0, 2.0, 2.0, 2.0]]
    attrs = {"units": CARBON, "long_name": "root mean square error"}
    coords = {"target": ["GPP", "Reco"], **stations.drop_dims("time").coords}
    bias = (("target", "site"), [[-1.0, 0.5, 0.0, 0.2], [0.0] * 4], {"units": CARBON})
    return xr.Dataset({"rmse": (("target", "site"), rmse, attrs), "bias": bias}, coords)


@pytest.fixture
def grid() -> xr.Dataset:
    """Two years of months; the flux is the latitude's number times the month's."""
    time = pd.date_range("2001-01-01", periods=24, freq="MS")
    lat, lon = np.array([-60.0, -20.0, 20.0, 60.0]), np.arange(-150.0, 151, 60)
    month = time.month.values.astype("f4")
    gpp = month[:, None, None] * np.arange(4, dtype="f4")[:, None] * np.ones(lon.size, "f4")
    gpp[:, :, 0] = np.nan
    attrs = {"units": CARBON, "long_name": "gross primary production"}
    dims = ("time", "lat", "lon")
    return xr.Dataset(
        {"GPP": (dims, gpp, attrs), "GPP_std": (dims, 0.25 * gpp, attrs)},
        {"time": time, "lat": lat, "lon": lon},
    )


def test_years_are_those_of_labelled_steps(stations) -> None:
    ax = stations.flux.plot.towers()
    known = ax.collections[1]
    np.testing.assert_allclose(known.get_array(), np.array([730, 730, 365, 365]) / 365.25)
    np.testing.assert_allclose(known.get_offsets()[:, 1], stations.lat)
    assert "[years]" in ax.child_axes[0].get_ylabel()


def test_classes_have_a_legend_with_their_numbers(stations) -> None:
    ax = stations.flux.plot.towers("igbp", title="mine")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["CRO (1)", "ENF (2)", "GRA (1)"]
    assert ax.get_title(loc="left") == "mine"


def test_towers_without_a_score_stay_on_the_map_without_a_colour(scored) -> None:
    ax = scored.flux.plot.towers("rmse")
    missing, known = ax.collections[:2]
    assert len(missing.get_offsets()) == 1
    assert known.get_array().tolist() == [1.0, 3.0, 5.0]
    assert ax.get_title(loc="left") == "rmse of GPP"
    assert "root mean square error" in ax.child_axes[0].get_ylabel()


def test_zero_bias_is_in_the_middle(scored) -> None:
    low, high = scored.flux.plot.towers("bias").collections[1].get_clim()
    assert low == -high


def test_towers_lie_on_the_land_of_a_grid(stations, grid) -> None:
    ax = stations.flux.plot.towers("igbp", land=grid.GPP)
    ground = ax.collections[0].get_array()
    assert np.ma.getmaskarray(ground)[:, 0].all()
    assert not np.ma.getmaskarray(ground)[:, 1:].any()


def test_towers_say_what_they_need(stations, grid) -> None:
    with pytest.raises(DataError, match="one for each tower"):
        stations.drop_vars("lat").flux.plot.towers()
    with pytest.raises(DataError, match=r"no 'soil'.*igbp"):
        stations.flux.plot.towers("soil")
    with pytest.raises(DataError, match='mean\\("time"\\)'):
        stations.flux.plot.towers("GPP")
    with pytest.raises(DataError, match='colour="igbp"'):
        stations.drop_vars("GPP").flux.plot.towers()
    with pytest.raises(DataError, match="no grid"):
        stations.flux.plot.towers("igbp", land=stations.GPP)


def test_series_has_the_band_of_its_spread(stations) -> None:
    one = stations.isel(site=0)
    ax = one.assign(GPP_std=0.5 * one.GPP).flux.plot.series(observed=stations.isel(site=2))
    low, high = ax.collections[0].get_datalim(ax.transData).intervaly
    assert (low, high) == (1.0, 3.0)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["spread of members", "predicted", "observed"]


def test_series_of_members_is_their_mean(stations) -> None:
    one = stations[["GPP"]].isel(site=0)
    members = xr.concat([one, one + 1, one + 2], "realization")
    ax = members.flux.plot.series()
    assert set(ax.lines[0].get_ydata()) == {3.0}
    assert ax.collections[0].get_datalim(ax.transData).intervaly.tolist() == [2.0, 4.0]


@pytest.mark.parametrize("own", [True, False])
def test_series_draws_quantiles_before_spread(stations, own: bool) -> None:
    one = stations.isel(site=0)
    quantiles = xr.concat([one.GPP - 2, one.GPP, one.GPP + 4], pd.Index([0.05, 0.5, 0.95]))
    quantiles = quantiles.rename(concat_dim="quantile")
    ds = one.assign(GPP_quantile=quantiles, GPP_std=one.GPP) if own else xr.Dataset()
    ax = (ds if own else quantiles.to_dataset(name="GPP")).flux.plot.series()
    assert ax.collections[0].get_datalim(ax.transData).intervaly.tolist() == [0.0, 6.0]
    assert "90 % interval" in [text.get_text() for text in ax.get_legend().get_texts()]
    assert set(ax.lines[0].get_ydata()) == {2.0}


def test_series_says_how_to_choose_an_entity(stations) -> None:
    with pytest.raises(DataError, match=r"ds\.isel\(site=0\)"):
        stations.flux.plot.series()
    with pytest.raises(DataError, match="no series"):
        stations.isel(site=0, time=0).flux.plot.series()


def test_hovmoeller_is_the_mean_over_longitude(grid) -> None:
    ax = grid.transpose("lon", "time", "lat").flux.plot.hovmoeller()
    drawn = ax.collections[0].get_array()
    expected = np.arange(4)[:, None] * (np.arange(24) % 12 + 1)
    np.testing.assert_allclose(drawn, expected, rtol=1e-6)
    assert ax.get_ylabel() == "latitude"
    assert "gross primary production" in ax.child_axes[0].get_ylabel()


def test_dates_do_not_overlap(grid) -> None:
    _, ax = plt.subplots(figsize=(3.0, 2.0))
    grid.flux.plot.hovmoeller(ax=ax)
    ax.figure.canvas.draw()
    boxes = [t.get_window_extent() for t in ax.get_xticklabels() if t.get_text()]
    assert len(boxes) >= 2
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_hovmoeller_leaves_out_latitudes_without_land(grid) -> None:
    dry = grid.where(grid.lat > -30)
    assert grid.GPP.attrs["units"] == CARBON
    assert dry.flux.plot.hovmoeller().get_ylim()[0] == -40


def test_hovmoeller_in_another_calendar(grid) -> None:
    time = xr.date_range("2001-01-01", periods=24, freq="MS", calendar="noleap", use_cftime=True)
    left, right = grid.assign_coords(time=time).flux.plot.hovmoeller().get_xlim()
    assert 2000.9 < left < 2001 < 2002.9 < right < 2003


def test_hovmoeller_says_what_it_needs(grid, stations) -> None:
    with pytest.raises(DataError, match="no time and latitude"):
        stations.flux.plot.hovmoeller()
    with pytest.raises(DataError, match="every step"):
        grid.where(False).flux.plot.hovmoeller()


def test_spread_is_in_percent_where_there_is_something(grid) -> None:
    ax = grid.flux.plot.spread()
    drawn = ax.collections[0].get_array()
    assert np.ma.getmaskarray(drawn)[0].all()  # no flux there, so no ratio to it
    np.testing.assert_allclose(drawn[1:].compressed(), 25.0, rtol=1e-6)
    assert ax.child_axes[0].get_ylabel() == "spread of members / mean [%]"
    assert ax.get_title(loc="left") == "spread of GPP"


def test_spread_of_members(grid) -> None:
    pair = xr.concat([0.9 * grid[["GPP"]], 1.1 * grid[["GPP"]]], "realization")
    drawn = pair.flux.plot.spread().collections[0].get_array().compressed()
    np.testing.assert_allclose(drawn, 100 * np.std([0.9, 1.1], ddof=1), rtol=1e-5)
    with pytest.raises(DataError, match="members=True"):
        grid[["GPP"]].flux.plot.spread()


def test_bars_are_means_of_classes(scored) -> None:
    ax = scored.flux.plot.scores(targets=("GPP", "Reco"))
    heights = [bar.get_height() for bar in ax.patches]
    np.testing.assert_allclose(heights, [np.nan, 2.0, 5.0, 2.0, 2.0, 2.0])
    names = [text.get_text() for text in ax.get_xticklabels()]
    assert names == ["CRO\n(1)", "ENF\n(2)", "GRA\n(1)"]
    assert ax.get_ylabel() == "RMSE [g m$^{-2}$ d$^{-1}$]"
    assert len(ax.collections[0].get_offsets()) == 3  # a dot for every tower with a score


def test_bars_say_what_they_need(scored) -> None:
    with pytest.raises(DataError, match="no rmse of NEE; found GPP, Reco"):
        scored.flux.plot.scores()
    with pytest.raises(DataError, match=r"no 'soil'.*igbp"):
        scored.flux.plot.scores(by="soil", targets=("GPP",))
    with pytest.raises(DataError, match="no r2"):
        scored.flux.plot.scores("r2")


def test_bars_of_scores_by_scale_are_those_of_all(scored) -> None:
    scales = xr.concat([scored, 10 * scored], pd.Index(["all", "between"], name="scale"))
    bars = scales.flux.plot.scores(targets=("Reco",)).patches
    assert [bar.get_height() for bar in bars] == [2.0, 2.0, 2.0]


def test_every_method_returns_the_axes_it_is_given(stations, scored, grid) -> None:
    one = stations.isel(site=0)
    for draw in (
        lambda ax: grid.flux.plot.map("GPP", ax=ax, high=3.0),
        lambda ax: grid.flux.plot.spread(ax=ax),
        lambda ax: grid.flux.plot.hovmoeller(ax=ax),
        lambda ax: stations.flux.plot.towers(ax=ax),
        lambda ax: stations.flux.plot.scatter(stations + 1.0, ax=ax),
        lambda ax: one.flux.plot.series(ax=ax),
        lambda ax: one.flux.plot.seasonal_cycle(ax=ax),
        lambda ax: scored.flux.plot.scores(targets=("GPP",), ax=ax),
    ):
        _, ax = plt.subplots()
        assert draw(ax) is ax


def test_every_drawing_is_in_the_accessor() -> None:
    drawings = {*plotting.__all__} - {"time_mean"}
    names = {"flux_map": "map", "spread_map": "spread"}
    offered = dict(inspect.getmembers(type(xr.Dataset().flux.plot), inspect.isfunction))
    assert {names.get(name, name) for name in drawings} == {n for n in offered if n[0] != "_"}


def test_input_is_not_changed(stations, scored, grid) -> None:
    before = [ds.copy(deep=True) for ds in (stations, scored, grid)]
    stations.flux.plot.towers()
    scored.flux.plot.scores(targets=("GPP",))
    grid.flux.plot.spread()
    grid.flux.plot.hovmoeller()
    for ds, old in zip((stations, scored, grid), before, strict=True):
        xr.testing.assert_identical(ds, old)


def test_only_axes_of_cartopy_count_as_projected() -> None:
    assert not projected(plt.subplots()[1])
    assert not projected(PolarAxes(plt.figure(), (0, 0, 1, 1)))


def test_no_coastline_is_fetched(monkeypatch, tmp_path) -> None:
    """A cartopy whose files are not there: the map is drawn without a coastline."""

    class Fetcher:
        def __init__(self, path) -> None:
            self.path = path

        def pre_downloaded_path(self, _):
            return None

        def target_path(self, _):
            return self.path

    shape = tmp_path / "coast.shp"
    package, io = types.ModuleType("cartopy"), types.ModuleType("cartopy.io")
    package.__spec__ = importlib.machinery.ModuleSpec("cartopy", None)
    package.config = {}
    io.Downloader = types.SimpleNamespace(from_config=lambda _: Fetcher(shape))
    monkeypatch.setitem(sys.modules, "cartopy", package)
    monkeypatch.setitem(sys.modules, "cartopy.io", io)
    assert coastline() is None
    shape.touch()
    assert coastline() == shape


def test_a_projection_is_kept(grid, stations) -> None:
    crs = pytest.importorskip("cartopy.crs")
    for draw in (grid.flux.plot.map, lambda ax: stations.flux.plot.towers("igbp", ax=ax)):
        ax = plt.axes(projection=crs.Robinson())
        assert draw(ax=ax) is ax
        drawn = ax.collections[0]
        x0, x1 = drawn.get_datalim(ax.transData).intervalx
        assert isinstance(ax, Axes)
        assert max(abs(x0), abs(x1)) > 1e5  # metres, not degrees
