"""Clusters, folds and hold-outs: nothing is split, nothing is lost, the mixture is even."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from xflux.errors import DataError, XfluxWarning
from xflux.skill.clusters import EARTH_RADIUS_KM, clusters
from xflux.skill.splits import folds, holdout, leave_groups, training_side


def haversine(lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Distances in km between all pairs, by the textbook formula."""
    phi, lam = np.radians(lat), np.radians(lon)
    half = np.sin((phi[:, None] - phi) / 2) ** 2
    half = half + np.cos(phi[:, None]) * np.cos(phi) * np.sin((lam[:, None] - lam) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(half, 0, 1)))


def slow_clusters(near: np.ndarray) -> np.ndarray:
    """Spread labels along links until nothing changes."""
    label = np.arange(len(near))
    while True:
        spread = np.where(near, label, len(near)).min(axis=1)
        if (spread == label).all():
            return pd.factorize(label)[0]
        label = spread


def same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    pairs = set(zip(np.ravel(one).tolist(), np.ravel(other).tolist(), strict=True))
    return len(pairs) == np.unique(one).size == np.unique(other).size


@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 60),
    distance_km=st.floats(0.5, 3000),
    spread=st.sampled_from([0.3, 3.0, 60.0]),
)
def test_clusters_are_those_of_the_distance_matrix(
    seed: int, size: int, distance_km: float, spread: float
) -> None:
    rng = np.random.default_rng(seed)
    lat = np.clip(rng.normal(0, spread, size), -90, 90)
    lon = 179.9 + rng.normal(0, spread, size)
    near = haversine(lat, lon) < distance_km
    np.fill_diagonal(near, True)
    assert clusters(lat, lon, distance_km=distance_km).tolist() == slow_clusters(near).tolist()


def test_clusters_chain_and_cross_the_date_line_and_the_pole() -> None:
    assert clusters([0, 0, 0], [179.9, -179.9, 180.1]).tolist() == [0, 0, 0]
    assert clusters([89.9, 89.9], [0, 180]).tolist() == [0, 0]
    assert clusters([0, 0, 0, 0], [0, 0.25, 0.5, 1.5]).tolist() == [0, 0, 0, 1]


def test_a_link_is_shorter_than_the_distance_on_the_sphere() -> None:
    degrees = np.degrees(30 / EARTH_RADIUS_KM)
    assert clusters([0, degrees * (1 - 1e-9)], [0, 0]).tolist() == [0, 0]
    assert clusters([0, degrees * (1 + 1e-9)], [0, 0]).tolist() == [0, 1]
    assert clusters([0.0, 0.0, 5.0], [0.0, 90.0, 9.0], distance_km=1e5).tolist() == [0, 0, 0]


def test_clusters_keep_the_shape_of_a_grid() -> None:
    lat, lon = np.meshgrid([0.0, 0.1, 50.0], [0.0, 0.1], indexing="ij")
    assert clusters(lat, lon).tolist() == [[0, 0], [0, 0], [1, 1]]


def test_entities_without_coordinates_are_alone() -> None:
    with pytest.warns(XfluxWarning, match="2 of 4 entities") as caught:
        labels = clusters([1.0, np.nan, 1.0, 2.0], [5.0, 5.0, 5.0, np.nan])
    assert labels.tolist() == [0, 1, 0, 2]
    assert len(caught) == 1


@given(order=st.permutations(range(12)))
def test_order_does_not_change_the_clusters(order: list[int]) -> None:
    rng = np.random.default_rng(3)
    lat, lon = rng.uniform(0, 1, (2, 12))
    assert same_partition(clusters(lat, lon)[order], clusters(lat[order], lon[order]))


def test_clusters_scale_to_a_hundred_thousand_points() -> None:
    rng = np.random.default_rng(0)
    lat = np.degrees(np.arcsin(rng.uniform(-1, 1, 100_000)))
    lon = rng.uniform(-180, 180, lat.size)
    start = time.perf_counter()
    labels = clusters(lat, lon)
    assert time.perf_counter() - start < 20
    assert 70_000 < labels.max() < 80_000


def test_blocks_of_pairs_give_the_same_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    lat, lon = rng.uniform(0, 4, (2, 300))
    whole = clusters(lat, lon)
    monkeypatch.setattr("xflux.skill.clusters._PAIRS_AT_ONCE", 50)
    assert clusters(lat, lon).tolist() == whole.tolist()


@pytest.mark.parametrize(
    ("lat", "lon", "distance_km", "message"),
    [
        ([0.0], [0.0, 1.0], 30, "xr.broadcast"),
        ([0.0, 95.0], [0.0, 1.0], 30, "swapped"),
        ([0.0], [0.0], 0, "positive"),
        ([0.0], [0.0], np.nan, "positive"),
    ],
)
def test_clusters_say_what_is_wrong(
    lat: list[float], lon: list[float], distance_km: float, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        clusters(lat, lon, distance_km=distance_km)


@pytest.fixture(scope="module")
def towers(shared_data: Path) -> xr.Dataset:
    """Coordinates, land cover, scored days and the fixed clusters and folds of real towers."""
    fixed = pd.read_csv(shared_data / "folds_daily.csv").set_index("site")
    with xr.open_dataset(shared_data / "fluxnet2015_daily.nc") as ds:
        found = ds[["igbp", "lat", "lon"]].load()
        found["days"] = (ds.NEE_QC >= 0.5).sum("time")
    fixed = fixed.loc[found.site.values]
    return found.assign(cluster=("site", fixed.cluster), fold=("site", fixed.fold))


def test_clusters_of_the_real_towers(towers: xr.Dataset) -> None:
    """All but one: the fixed protocol links CH-Cha to CH-Lae, which are 30.01 km apart here."""
    assert same_partition(clusters(towers.lat, towers.lon, distance_km=30.05), towers.cluster)
    strict = clusters(towers.lat, towers.lon)
    apart = [
        towers.site.values[towers.cluster == k].tolist()
        for k in np.unique(towers.cluster)
        if np.unique(strict[towers.cluster == k]).size > 1
    ]
    assert apart == [["CH-Cha", "CH-Fru", "CH-Lae"]]
    assert strict.max() + 1 == np.unique(towers.cluster).size + 1


def test_folds_of_the_real_towers_are_as_even_as_the_fixed_ones(towers: xr.Dataset) -> None:
    def unevenness(part: np.ndarray) -> float:
        days = np.bincount(part, towers.days.values)
        return float(days.max() / days.sum() - 0.2)

    for seed in range(5):
        part = folds(towers.cluster, n=5, seed=seed, strata=towers.igbp, weights=towers.days)
        assert unevenness(part) < unevenness(towers.fold.values)


GROUPINGS = st.lists(st.integers(0, 12), min_size=2, max_size=60).filter(
    lambda names: len(set(names)) > 1
)


def assert_whole(names: list[int], part: np.ndarray) -> None:
    table = pd.DataFrame({"group": names, "part": part})
    assert (table.groupby("group").part.nunique() == 1).all()


@given(names=GROUPINGS, seed=st.integers(0, 99), data=st.data())
def test_folds_hold_whole_groups_and_none_is_empty(
    names: list[int], seed: int, data: st.DataObject
) -> None:
    n = data.draw(st.integers(2, len(set(names))))
    strata = data.draw(st.lists(st.sampled_from("abc"), min_size=len(names), max_size=len(names)))
    positive = st.lists(st.integers(0, 9), min_size=len(names), max_size=len(names))
    weights = data.draw(positive.filter(any))
    part = folds(names, n=n, seed=seed, strata=strata, weights=weights)
    assert sorted(set(part.tolist())) == list(range(n))
    assert_whole(names, part)
    again = folds(names, n=n, seed=seed, strata=strata, weights=weights)
    assert part.tolist() == again.tolist()


@given(names=GROUPINGS, seed=st.integers(0, 99), test=st.floats(0.02, 0.98))
def test_holdout_takes_whole_groups_and_leaves_some(
    names: list[int], seed: int, test: float
) -> None:
    aside = holdout(names, test=test, seed=seed)
    assert aside.dtype == bool
    assert 0 < aside.sum() < aside.size
    assert_whole(names, aside)
    assert aside.tolist() == holdout(names, test=test, seed=seed).tolist()


@pytest.mark.parametrize("test", [0.1, 0.2, 0.25, 0.3, 0.5, 0.8])
def test_holdout_has_the_share_that_was_asked_for(test: float) -> None:
    names, classes = np.arange(200), np.repeat(["ENF", "GRA"], [150, 50])
    for seed in range(5):
        aside = holdout(names, test=test, seed=seed, strata=classes)
        assert aside.mean() == pytest.approx(test, abs=0.01)
        assert aside[classes == "GRA"].mean() == pytest.approx(test, abs=0.03)


def test_holdout_weighs_what_it_is_told() -> None:
    names = np.arange(60)
    weights = np.where(names < 20, 10.0, 1.0)
    aside = holdout(names, test=0.2, weights=weights)
    assert weights[aside].sum() / weights.sum() == pytest.approx(0.2, abs=0.02)


def test_large_clusters_are_held_out_as_often_as_lone_towers() -> None:
    names = np.concatenate([np.repeat(np.arange(5), 6), np.arange(5, 90)])
    often = np.mean([holdout(names, test=0.2, seed=seed) for seed in range(200)], axis=0)
    assert often[:30].mean() == pytest.approx(0.2, abs=0.06)
    assert often[30:].mean() == pytest.approx(0.2, abs=0.03)


def test_a_giant_group_is_not_held_out_when_there_is_another_way() -> None:
    names = np.concatenate([np.zeros(60, int), np.arange(1, 41)])
    for seed in range(20):
        assert holdout(names, test=0.2, seed=seed).mean() < 0.3


def test_seeds_give_other_draws() -> None:
    names = np.arange(30)
    assert len({tuple(folds(names, n=5, seed=seed)) for seed in range(10)}) == 10
    assert len({tuple(holdout(names, seed=seed)) for seed in range(10)}) == 10


def test_folds_are_even_over_strata_and_weights() -> None:
    rng = np.random.default_rng(0)
    classes, days = rng.choice(["ENF", "GRA", "CRO"], 300), rng.integers(100, 5000, 300)
    part = folds(np.arange(300), n=5, strata=classes, weights=days)
    table = pd.DataFrame({"fold": part, "class": classes, "days": days})
    by_fold = table.groupby("fold").days.sum() / days.sum()
    assert by_fold.between(0.195, 0.205).all()
    by_class = table.pivot_table(index="fold", columns="class", values="days", aggfunc="sum")
    assert (by_class / by_class.sum()).stack().between(0.17, 0.23).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: folds([1, 1, 2], n=3), "at most 2 folds"),
        (lambda: folds([1, 1], n=2), "Bring more towers"),
        (lambda: folds([1, 2, 3], n=1), "from 2"),
        (lambda: folds([1, 2, 3], n=2.5), "whole number"),
        (lambda: folds([1.0, np.nan], n=2), "group is missing for 1 of 2"),
        (lambda: folds([[1, 2]], n=2), "ds.stack"),
        (lambda: folds([1, 2], n=2, weights=[1.0]), "1 values for 2 entities"),
        (lambda: folds([1, 2], n=2, weights=[1.0, -1.0]), "not negative"),
        (lambda: folds([1, 2], n=2, weights=[1.0, np.nan]), "1 missing"),
        (lambda: folds([1, 2], n=2, strata=["a"]), "strata has 1"),
        (lambda: holdout([1, 2], test=0), "between 0 and 1"),
        (lambda: holdout([1, 2], test=1.0), "between 0 and 1"),
        (lambda: holdout([1, 2], test=np.nan), "between 0 and 1"),
        (lambda: holdout([4, 4, 4]), "one group"),
        (lambda: holdout([]), "one value for each entity"),
        (lambda: leave_groups(["a", "a"]), "1 distinct"),
        (lambda: leave_groups([np.nan, np.nan]), "0 distinct"),
        (lambda: leave_groups(["a", "b"], n=3), "at most 2 folds"),
        (lambda: leave_groups(["a", "b"], n=1), "from 2"),
        (lambda: training_side([0, 1], fold=2), "no entity is in fold"),
        (lambda: training_side([0, 1], fold=0, groups=[5, 5]), "left to train"),
        (lambda: training_side([0, 1], fold=0, groups=[5]), "groups has 1"),
    ],
)
def test_errors_say_what_was_found(call: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()


def test_each_class_is_a_fold() -> None:
    labels, names = leave_groups(xr.DataArray(["GRA", "ENF", "CRO", "ENF"], dims="site"))
    assert names == ["CRO", "ENF", "GRA"]
    assert labels.tolist() == [2, 1, 0, 1]


def test_classes_are_dealt_out_whole() -> None:
    values = np.repeat(["a", "b", "c", "d", "e"], [9, 5, 4, 3, 3])
    labels, names = leave_groups(values, n=2)
    assert_whole(pd.factorize(values)[0].tolist(), labels)
    assert sorted(", ".join(names).split(", ")) == ["a", "b", "c", "d", "e"]
    assert abs(int((labels == 0).sum()) - 12) <= 2


@given(
    values=st.lists(st.integers(-5, 5), min_size=2, max_size=50).filter(
        lambda values: len(set(values)) > 1
    ),
    n=st.integers(2, 6),
)
def test_bins_are_ordered_and_keep_equal_numbers_together(values: list[int], n: int) -> None:
    labels, names = leave_groups(values, n=n)
    assert 2 <= len(names) <= n
    assert sorted(set(labels.tolist())) == list(range(len(names)))
    table = pd.DataFrame({"value": values, "fold": labels}).groupby("fold").value
    assert (table.max().to_numpy()[:-1] < table.min().to_numpy()[1:]).all()


def test_bins_hold_as_many_each() -> None:
    labels, names = leave_groups(np.random.default_rng(0).normal(size=100))
    assert np.bincount(labels).tolist() == [20] * 5
    assert len(names) == 5


@pytest.mark.parametrize(
    "values",
    [[1.0, np.nan, 3.0], np.array(["a", "", "b"]), np.array(["a", None, "b"], dtype=object)],
)
def test_a_missing_characteristic_is_in_no_fold(values: list[object]) -> None:
    with pytest.warns(XfluxWarning, match="missing for 1 of 3"):
        labels, _ = leave_groups(values, n=2)
    assert labels[1] == -1
    assert sorted(labels.tolist()) == [-1, 0, 1]


def test_neighbours_of_the_tested_do_not_train() -> None:
    labels = [0, 1, 1, -1, -1]
    assert training_side(labels, fold=0).tolist() == [False, True, True, True, True]
    groups = ["x", "x", "y", "x", "z"]
    assert training_side(labels, fold=0, groups=groups).tolist() == [
        False,
        False,
        True,
        False,
        True,
    ]
