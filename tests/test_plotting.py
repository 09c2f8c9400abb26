"""Drawings: what they show, on whose axes, and what they say when they cannot."""

from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest
import xarray as xr

pytest.importorskip("matplotlib")

import matplotlib.pyplot as plt

from xflux import plotting, styles
from xflux.errors import DataError

CARBON = "g m$^{-2}$ d$^{-1}$ of carbon"


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    yield
    plt.close("all")


@pytest.fixture
def world() -> xr.Dataset:
    """Two years of months on a small grid; the southernmost row is sea."""
    time = pd.date_range("2001-01-01", periods=24, freq="MS")
    lat, lon = np.arange(-60.0, 61, 30), np.arange(-150.0, 151, 60)
    season = 3 - 2 * np.cos(2 * np.pi * (time.month.values - 0.5) / 12)
    gpp = np.broadcast_to(season[:, None, None], (24, lat.size, lon.size)).astype("f4").copy()
    gpp[:, 0] = np.nan
    attrs = {"units": "g m-2 d-1", "long_name": "gross primary production"}
    ds = xr.Dataset(
        {
            "GPP": (("time", "lat", "lon"), gpp, attrs),
            "GPP_std": (("time", "lat", "lon"), 0.1 * gpp, attrs),
            "NEE": (("time", "lat", "lon"), 0.5 - 0.2 * gpp, attrs),
        },
        {"time": time, "lat": lat, "lon": lon},
    )
    return ds


def test_map_is_the_mean_over_time(world) -> None:
    ax = plotting.flux_map(world.GPP)
    drawn = ax.collections[0].get_array()
    assert np.ma.allclose(drawn, np.ma.masked_invalid(world.GPP.mean("time").values))
    assert ax.get_title(loc="left") == "GPP"


def test_map_draws_on_the_axes_it_is_given(world) -> None:
    _, ax = plt.subplots()
    assert plotting.flux_map(world.GPP, ax=ax, title="mine") is ax
    assert ax.get_title(loc="left") == "mine"


def test_map_is_in_the_order_of_its_coordinates_whatever_the_dims(world) -> None:
    straight = plotting.flux_map(world.GPP.isel(time=0)).collections[0].get_array()
    turned = plotting.flux_map(world.GPP.isel(time=0).transpose("lon", "lat"))
    assert np.ma.allclose(turned.collections[0].get_array(), straight)


def test_zero_is_in_the_middle_for_nee_and_at_the_end_for_gpp(world) -> None:
    low, high = plotting.flux_map(world.NEE).collections[0].get_clim()
    assert low == -high
    assert plotting.flux_map(world.GPP).collections[0].get_clim()[0] == 0


def test_colour_bar_has_the_units_of_the_attributes(world) -> None:
    ax = plotting.flux_map(world.GPP)
    bar = ax.child_axes[0]
    assert CARBON in bar.get_ylabel()
    assert "gross primary production" in bar.get_ylabel()
    assert not plotting.flux_map(world.GPP, colour_bar=False).child_axes


def test_map_leaves_out_rows_without_land(world) -> None:
    bottom, top = plotting.flux_map(world.GPP).get_ylim()
    assert -60 < bottom < -30
    assert top > 60


def test_map_with_two_dimensional_coordinates(world) -> None:
    rows, columns = np.meshgrid(world.lat, world.lon, indexing="ij")
    turned = xr.DataArray(
        world.GPP.values[0],
        dims=("y", "x"),
        coords={"lat": (("y", "x"), rows), "lon": (("y", "x"), columns)},
        name="GPP",
    )
    assert plotting.flux_map(turned).collections


def test_map_of_members_is_their_mean(world) -> None:
    members = xr.concat([world.GPP, world.GPP + 2], "realization")
    drawn = plotting.flux_map(members).collections[0].get_array()
    expected = world.GPP.mean("time").values + 1
    assert np.ma.allclose(drawn, np.ma.masked_invalid(expected), atol=1e-5)


def test_map_says_what_it_needs(world) -> None:
    with pytest.raises(DataError, match="lat and lon"):
        plotting.flux_map(world.GPP.isel(lat=2))
    with pytest.raises(DataError, match="every cell is missing"):
        plotting.flux_map(world.GPP.where(False))


def test_seasonal_cycle_is_the_mean_of_each_month(world) -> None:
    ax = plotting.seasonal_cycle(world, target="GPP")
    expected = world.GPP.groupby("time.month").mean().mean(("lat", "lon"))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), expected, rtol=1e-6)
    assert CARBON in ax.get_ylabel()
    assert ax.collections  # the band


def test_seasonal_cycle_compares_the_same_steps(world) -> None:
    seen = world.where(world.time.dt.year == 2001)
    lopsided = world.copy()
    lopsided["GPP"] = world.GPP + xr.where(world.time.dt.year == 2002, 100.0, 0.0)
    lopsided.GPP.attrs = world.GPP.attrs
    line, points = plotting.seasonal_cycle(lopsided, observed=seen).lines[:2]
    np.testing.assert_allclose(line.get_ydata(), points.get_ydata(), rtol=1e-6)


def test_seasonal_cycle_takes_members(world) -> None:
    members = xr.concat([world, world + 1.0], "realization", join="exact")
    members.GPP.attrs = world.GPP.attrs
    ax = plotting.seasonal_cycle(members)
    assert len(ax.lines) == 1
    assert ax.collections


def test_seasonal_cycle_in_another_calendar(world) -> None:
    time = xr.date_range("2001-01-01", periods=24, freq="MS", calendar="noleap", use_cftime=True)
    assert len(plotting.seasonal_cycle(world.assign_coords(time=time)).lines[0].get_ydata()) == 12


def test_seasonal_cycle_says_what_it_needs(world) -> None:
    with pytest.raises(DataError, match="no Reco"):
        plotting.seasonal_cycle(world, target="Reco")
    with pytest.raises(DataError, match="no season"):
        plotting.seasonal_cycle(world.isel(time=0, drop=True))


def test_scatter_writes_the_scores(world) -> None:
    ax = plotting.scatter(world + 1.0, world, target="GPP")
    words = ax.texts[0].get_text()
    assert "RMSE 1.00" in words
    assert "R² 1.00" in words
    assert f"n {np.isfinite(world.GPP).sum().item()}" in words
    assert ax.get_xlim() == ax.get_ylim()


def test_scatter_leaves_out_what_one_misses(world) -> None:
    half = world.where(world.lon > 0)
    words = plotting.scatter(world, half, target="NEE").texts[0].get_text()
    assert f"n {np.isfinite(half.NEE).sum().item()}" in words
    with pytest.raises(DataError, match="no step"):
        plotting.scatter(world, world.where(False))


def test_input_is_not_changed(world) -> None:
    before = world.copy(deep=True)
    plotting.flux_map(world.GPP)
    plotting.seasonal_cycle(world, observed=world)
    plotting.scatter(world, world)
    xr.testing.assert_identical(world, before)


@pytest.mark.parametrize(
    ("name", "units", "words"),
    [
        ("Reco_std", "g m-2 d-1", f"[{CARBON}]"),
        ("P", "mm d-1", "[mm d$^{-1}$]"),
        ("LAI", "1", "[1]"),
        ("SW_IN", "W m-2", "[W m$^{-2}$]"),
    ],
)
def test_units_are_set_in_type(name: str, units: str, words: str) -> None:
    assert styles.pretty_units(xr.DataArray(1.0, name=name, attrs={"units": units})) == words


def test_without_matplotlib_it_says_what_to_install(world, monkeypatch) -> None:
    real_find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else real_find(name)
    )
    for draw in (
        lambda: plotting.flux_map(world.GPP),
        lambda: plotting.seasonal_cycle(world),
        lambda: plotting.scatter(world, world),
        lambda: plotting.spread_map(world),
        lambda: plotting.hovmoeller(world.GPP),
        lambda: plotting.series(world),
        lambda: plotting.towers(world),
        lambda: plotting.scores(world),
    ):
        with pytest.raises(ImportError, match=r"pip install \"xflux\[plots\]\""):
            draw()
