"""Scores against hand calculations, scikit-learn where it is there, and properties."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from xflux.errors import DataError
from xflux.skill.comparison import paired
from xflux.skill.metrics import SCALES, error_shares, scores

MEASURES = ("rmse", "r2", "nse", "bias", "mae")


def world(
    seed: int = 0, *, sites: int = 4, steps: int = 800, gaps: float = 0.2
) -> tuple[xr.Dataset, xr.Dataset]:
    """Predicted and observed daily fluxes of a few sites, with gaps in both."""
    rng = np.random.default_rng(seed)
    days = pd.date_range("2001-01-15", periods=steps)
    season = np.sin(2 * np.pi * days.day_of_year.to_numpy() / 365.25)
    coords = {
        "site": [f"S{k}" for k in range(sites)],
        "time": days,
        "lat": ("site", rng.uniform(-50, 70, sites), {"units": "degrees_north"}),
        "igbp": ("site", rng.choice(["ENF", "GRA"], sites)),
    }

    def fluxes(noise: float) -> xr.Dataset:
        made = {}
        for name, level in (("GPP", 5.0), ("Reco", 4.0), ("NEE", -1.0)):
            means = level + np.arange(sites)[:, None]
            values = means * (1 + 0.5 * season) + rng.normal(0, noise, (sites, steps))
            values[rng.random(values.shape) < gaps / 2] = np.nan
            made[name] = (("site", "time"), values, {"units": "g m-2 d-1"})
        return xr.Dataset(made, coords)

    return fluxes(1.5), fluxes(1.0)


def by_hand(p: np.ndarray, o: np.ndarray) -> dict[str, float]:
    """Score two series the slow way."""
    known = np.isfinite(p) & np.isfinite(o)
    p, o = p[known], o[known]
    return {
        "rmse": float(np.sqrt(np.mean((p - o) ** 2))),
        "r2": float(np.corrcoef(p, o)[0, 1] ** 2),
        "nse": float(1 - np.sum((p - o) ** 2) / np.sum((o - o.mean()) ** 2)),
        "bias": float(p.mean() - o.mean()),
        "mae": float(np.abs(p - o).mean()),
        "n": int(known.sum()),
    }


def test_a_series_that_fits_on_a_hand() -> None:
    days = pd.date_range("2001-01-01", periods=5)
    observed = xr.Dataset({"GPP": ("time", [1.0, 2.0, 3.0, np.nan, 9.0])}, {"time": days})
    predicted = xr.Dataset({"GPP": ("time", [2.0, 2.0, 5.0, 4.0, np.nan])}, {"time": days})
    result = scores(predicted, observed).sel(target="GPP", scale="all")
    assert result.rmse.item() == pytest.approx(np.sqrt(5 / 3))
    assert result.bias.item() == pytest.approx(1)
    assert result.mae.item() == pytest.approx(1)
    assert result.nse.item() == pytest.approx(1 - 5 / 2)
    assert result.r2.item() == pytest.approx(0.75)
    assert result.n.item() == 3
    assert result.rmse_pooled.item() == pytest.approx(result.rmse.item())


def test_every_entity_and_all_together_match_the_slow_way() -> None:
    predicted, observed = world()
    result = scores(predicted, observed).sel(scale="all")
    for target in ("GPP", "Reco", "NEE"):
        p, o = predicted[target].values, observed[target].values
        for k in range(observed.sizes["site"]):
            for name, value in by_hand(p[k], o[k]).items():
                assert result[name].sel(target=target)[k].item() == pytest.approx(value), name
        for name, value in by_hand(p.ravel(), o.ravel()).items():
            assert result[f"{name}_pooled"].sel(target=target).item() == pytest.approx(value)


def test_scales_match_pandas() -> None:
    predicted, observed = world(1)
    result = scores(predicted, observed).sel(target="GPP")
    known = predicted.GPP.notnull() & observed.GPP.notnull()
    columns = {"p": predicted.GPP.where(known), "o": observed.GPP.where(known)}
    table = xr.Dataset(columns).to_dataframe()[["p", "o"]].dropna().reset_index()
    table["month"] = table.time.dt.month
    grouped = table.groupby(["site", "month"])[["p", "o"]]
    cycle, steps = grouped.mean(), grouped.size()
    error = (cycle.p - cycle.o) ** 2 * steps
    expected = np.sqrt(error.groupby("site").sum() / steps.groupby("site").sum())
    np.testing.assert_allclose(result.rmse.sel(scale="seasonal"), expected)
    assert result.n.sel(scale="seasonal").values.tolist() == [12] * 4

    rest = table[["p", "o"]] - grouped.transform("mean")
    for k, (_, rows) in enumerate(rest.groupby(table.site)):
        for name, value in by_hand(rows.p.to_numpy(), rows.o.to_numpy()).items():
            found = result[name].sel(scale="anomaly")[k].item()
            assert found == pytest.approx(value, abs=1e-12), name

    means = table.groupby("site")[["p", "o"]].mean()
    for name, value in by_hand(means.p.to_numpy(), means.o.to_numpy()).items():
        assert result[f"{name}_pooled"].sel(scale="between").item() == pytest.approx(value)
    assert result.rmse.sel(scale="between").isnull().all()


def test_squares_of_cycle_and_anomaly_add_up() -> None:
    predicted, observed = world(2)
    square = scores(predicted, observed).rmse ** 2
    total = square.sel(scale="seasonal", drop=True) + square.sel(scale="anomaly", drop=True)
    np.testing.assert_allclose(square.sel(scale="all"), total)


def test_summaries_count_entities_with_enough_steps() -> None:
    predicted, observed = world(sites=5)
    few = observed.where(observed.site != "S2")
    few["GPP"][2, 10] = 3.0
    predicted["GPP"][2, 10] = 99.0
    result = scores(predicted, few, minimum=30).sel(scale="all", target="GPP")
    kept = np.delete(result.rmse.values, 2)
    assert result.n[2].item() == 1
    assert result.rmse[2].item() == pytest.approx(96)
    assert result.rmse_mean.item() == pytest.approx(kept.mean())
    assert result.rmse_median.item() == pytest.approx(np.median(kept))
    assert result.rmse_q90.item() == pytest.approx(np.quantile(kept, 0.9))
    assert result.entities.item() == 4
    assert result.n_pooled.item() == result.n.sum().item()


def test_parity_with_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    predicted, observed = world(3, gaps=0.0)
    weights = xr.DataArray(
        np.random.default_rng(0).uniform(0.1, 1, observed.GPP.shape), observed.GPP.coords
    )
    result = scores(predicted, observed, weights=weights).sel(scale="all", target="GPP")
    for k in range(observed.sizes["site"]):
        o, p, w = observed.GPP.values[k], predicted.GPP.values[k], weights.values[k]
        square = sklearn.mean_squared_error(o, p, sample_weight=w)
        assert result.rmse[k].item() == pytest.approx(np.sqrt(square))
        assert result.nse[k].item() == pytest.approx(sklearn.r2_score(o, p, sample_weight=w))
        absolute = sklearn.mean_absolute_error(o, p, sample_weight=w)
        assert result.mae[k].item() == pytest.approx(absolute)


def test_a_weight_counts_as_repetition_and_zero_as_a_gap() -> None:
    predicted, observed = world(4, sites=1, steps=60, gaps=0.0)
    times = xr.DataArray(np.random.default_rng(0).integers(0, 3, 60).astype(float), dims="time")
    repeat = np.repeat(np.arange(60), times.values.astype(int))
    one = scores(predicted, observed, weights=times)
    other = scores(predicted.isel(time=repeat), observed.isel(time=repeat))
    for name in MEASURES:
        for scale in ("all", "seasonal"):
            np.testing.assert_allclose(one[name].sel(scale=scale), other[name].sel(scale=scale))
    gaps = scores(predicted, observed.where(times > 0), weights=times)
    xr.testing.assert_allclose(one, gaps)
    missing = scores(predicted, observed, weights=times.where(times > 0))
    xr.testing.assert_allclose(one, missing)


@given(order=st.permutations(range(4)), seed=st.integers(0, 5))
def test_order_of_entities_and_dims_does_not_matter(order: list[int], seed: int) -> None:
    predicted, observed = world(seed, steps=200)
    expected = scores(predicted, observed)
    mixed = scores(predicted.isel(site=order), observed.isel(site=order).transpose("time", "site"))
    xr.testing.assert_allclose(expected.isel(site=order), mixed)


@given(factor=st.floats(0.01, 100), seed=st.integers(0, 5))
def test_scores_scale_with_the_units(factor: float, seed: int) -> None:
    predicted, observed = world(seed, steps=200)
    one, other = scores(predicted, observed), scores(predicted * factor, observed * factor)
    for name in MEASURES:
        power = 0 if name in ("r2", "nse") else 1
        np.testing.assert_allclose(other[name], one[name] * factor**power, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(
            other[f"{name}_pooled"], one[f"{name}_pooled"] * factor**power, rtol=1e-6, atol=1e-12
        )


@given(extra=st.integers(1, 40), seed=st.integers(0, 5))
def test_missing_steps_change_nothing(extra: int, seed: int) -> None:
    predicted, observed = world(seed, steps=200)
    longer = pd.date_range("2001-01-15", periods=200 + extra)
    padded = scores(predicted.reindex(time=longer), observed.reindex(time=longer))
    xr.testing.assert_allclose(scores(predicted, observed), padded)


@given(offset=st.floats(-1e3, 1e3), seed=st.integers(0, 5))
def test_r2_is_blind_to_bias_and_the_anomaly_too(offset: float, seed: int) -> None:
    predicted, observed = world(seed, steps=400)
    one, other = scores(predicted, observed), scores(predicted + offset, observed)
    np.testing.assert_allclose(one.r2, other.r2, atol=1e-9)
    np.testing.assert_allclose(
        one.rmse.sel(scale="anomaly"), other.rmse.sel(scale="anomaly"), atol=1e-9
    )


def test_a_perfect_prediction() -> None:
    _, observed = world()
    result = scores(observed, observed)
    scales = result.sel(scale=["all", "seasonal", "anomaly"])
    np.testing.assert_allclose(scales.r2, 1)
    np.testing.assert_allclose(scales.nse, 1)
    assert (scales.rmse == 0).all()
    assert (result.bias_pooled == 0).all()


@pytest.mark.parametrize("level", [0.0, 0.1, 1e6])
def test_scores_that_do_not_exist_are_nan(level: float) -> None:
    predicted, observed = world()
    constant = observed.where(observed.isnull(), level)
    result = scores(predicted, constant)
    for name in ("r2", "nse", "r2_pooled", "nse_pooled"):
        assert result[name].isnull().all(), name
    empty = scores(predicted, observed.where(False))
    assert (empty.n == 0).all()
    assert (empty.n_pooled == 0).all()
    assert (empty.entities == 0).all()
    for name in MEASURES:
        assert empty[name].isnull().all()
        assert empty[f"{name}_pooled"].isnull().all()
        assert empty[f"{name}_mean"].isnull().all()


def test_one_year_of_months_has_no_anomaly() -> None:
    predicted, observed = world(sites=2, steps=365, gaps=0.0)
    months = [ds.resample(time="MS").mean().isel(time=slice(0, 12)) for ds in (predicted, observed)]
    result = scores(months[0], months[1])
    assert result.rmse.sel(scale="anomaly").isnull().all()
    assert (result.n.sel(scale="anomaly") == 0).all()
    np.testing.assert_allclose(result.rmse.sel(scale="seasonal"), result.rmse.sel(scale="all"))


def test_what_the_result_carries() -> None:
    predicted, observed = world()
    before = (predicted.copy(deep=True), observed.copy(deep=True))
    result = scores(predicted.assign(GPP_std=predicted.GPP), observed)
    assert result.rmse.dims == ("scale", "target", "site")
    assert result.rmse_pooled.dims == ("scale", "target")
    assert result.target.values.tolist() == ["GPP", "Reco", "NEE"]
    assert tuple(result.scale.values) == SCALES
    for name in ("lat", "igbp"):
        xr.testing.assert_identical(result[name].variable, observed[name].variable)
    assert result.n.dtype.kind == "i"
    for name, array in result.data_vars.items():
        in_flux_units = str(name).split("_")[0] in ("rmse", "bias", "mae")
        assert array.attrs["units"] == ("g m-2 d-1" if in_flux_units else "1")
        assert array.attrs["long_name"]
    for given_one, kept in zip((predicted, observed), before, strict=True):
        xr.testing.assert_identical(given_one, kept)


def test_without_scales_there_is_no_such_dim() -> None:
    predicted, observed = world()
    plain = scores(predicted, observed, scales=None)
    assert plain.rmse.dims == ("target", "site")
    assert "scale" not in plain.coords
    xr.testing.assert_identical(plain, scores(predicted, observed).isel(scale=0, drop=True))
    some = scores(predicted, observed, scales=["between"], targets=["NEE"])
    assert some.scale.values.tolist() == ["between"]


def test_targets_that_both_have_and_targets_by_name() -> None:
    predicted, observed = world()
    both = scores(predicted[["NEE", "GPP"]], observed[["GPP", "NEE", "Reco"]])
    assert both.target.values.tolist() == ["GPP", "NEE"]
    other = {"LE": observed.GPP.assign_attrs(units="W m-2")}
    result = scores(predicted.assign(LE=predicted.GPP), observed.assign(other), targets=["LE"])
    assert result.rmse.attrs["units"] == "W m-2"
    mixed = scores(
        predicted.assign(LE=predicted.GPP), observed.assign(other), targets=["LE", "GPP"]
    )
    assert "units" not in mixed.rmse.attrs


def test_grids_and_single_series() -> None:
    predicted, observed = world(sites=6)
    cells = pd.MultiIndex.from_product([[10.0, 20.0, 30.0], [1.0, 2.0]], names=["y", "x"])

    def gridded(ds: xr.Dataset) -> xr.Dataset:
        index = xr.Coordinates.from_pandas_multiindex(cells, "site")
        return ds.drop_vars(["site", "lat", "igbp"]).assign_coords(index).unstack("site")

    grid = scores(gridded(predicted).transpose("time", "x", "y"), gridded(observed))
    towers = scores(predicted, observed)
    assert set(grid.rmse.dims) == {"scale", "target", "y", "x"}
    stacked = grid.rmse.stack(site=("y", "x")).transpose(..., "site")
    np.testing.assert_allclose(stacked, towers.rmse)
    np.testing.assert_allclose(grid.rmse_pooled, towers.rmse_pooled)

    single = scores(predicted.isel(site=0), observed.isel(site=0))
    assert single.rmse.dims == ("scale", "target")
    assert single.site.item() == "S0"
    np.testing.assert_allclose(
        single.rmse.sel(scale="all"), towers.rmse.isel(site=0).sel(scale="all")
    )


def test_calendars_and_names_of_time() -> None:
    predicted, observed = world(steps=730, gaps=0.0)
    noleap = xr.date_range("2001-01-15", periods=730, calendar="noleap", use_cftime=True)
    one = scores(predicted, observed)
    other = scores(
        predicted.assign_coords(time=noleap).rename(time="day"),
        observed.assign_coords(time=noleap).rename(time="day"),
        time="day",
    )
    np.testing.assert_allclose(one.rmse_pooled, other.rmse_pooled, rtol=1e-2)
    np.testing.assert_allclose(one.rmse.sel(scale="all"), other.rmse.sel(scale="all"))
    assert np.isfinite(other.rmse.sel(scale="seasonal")).all()


@pytest.mark.parametrize("chunks", [{"site": 2}, {"time": 100}, {"site": 1, "time": 70}])
def test_dask_computes_once(
    chunks: dict[str, int], count_computes: Callable[[int], AbstractContextManager[Any]]
) -> None:
    predicted, observed = world()
    weights = observed.GPP.notnull().astype(float)
    expected = scores(predicted, observed, weights=weights)
    with count_computes(1) as count:
        result = scores(predicted.chunk(chunks), observed.chunk(), weights=weights.chunk(chunks))
        assert count.total == 1
    xr.testing.assert_identical(result, expected)
    with count_computes(1):
        xr.testing.assert_identical(
            scores(predicted.chunk(chunks), observed, weights=weights), expected
        )


def test_float32_is_scored_in_double_precision() -> None:
    predicted, observed = world()
    single = scores(predicted.astype("float32"), observed.astype("float32"))
    xr.testing.assert_allclose(single, scores(predicted, observed), rtol=1e-4)


def shifted(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign_coords(time=ds.time + np.timedelta64(1, "D"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p, o: scores(p.rename(GPP="a", Reco="b", NEE="c"), o), "in both"),
        (lambda p, o: scores(p, o, targets=["GPP", "LE"]), "expected GPP, LE in both"),
        (lambda p, o: scores(p.expand_dims(realization=2), o), r"mean\('realization'\)"),
        (lambda p, o: scores(p, o, time="date"), "'date'"),
        (lambda p, o: scores(p, shifted(o)), "xr.align"),
        (lambda p, o: scores(p.isel(site=[1, 0, 2, 3]), o), "xr.align"),
        (lambda p, o: scores(p, o, scales=["weekly"]), "unknown scales"),
        (lambda p, o: scores(p, o, scales=[]), "unknown scales"),
        (lambda p, o: scores(p, o, weights=o.GPP - 1e3), "negative"),
        (lambda p, o: scores(p, o, weights=shifted(o).GPP), "reindex_like"),
        (lambda p, o: scores(p, o, weights=o.GPP.rename(site="tower")), "expected some of"),
        (lambda p, o: scores(p / 0, o), "infinite"),
        (lambda p, o: scores(p.drop_vars("time"), o.drop_vars("time")), "scales=None"),
        (lambda p, o: error_shares(p, shifted(o)), "xr.align"),
    ],
)
def test_errors_say_what_to_type(
    call: Callable[[xr.Dataset, xr.Dataset], object], message: str
) -> None:
    predicted, observed = world(steps=40, gaps=0.0)
    with pytest.raises(DataError, match=message):
        call(predicted, observed)


def test_steps_without_dates_are_scored_without_scales() -> None:
    predicted, observed = (ds.drop_vars("time") for ds in world())
    assert np.isfinite(scores(predicted, observed, scales=None).rmse).all()


def test_scores_of_the_daily_towers_are_quick() -> None:
    predicted, observed = world(sites=165, steps=8766)
    start = time.perf_counter()
    scores(predicted, observed)
    assert time.perf_counter() - start < 8


def test_shares_of_the_error_are_what_was_put_in() -> None:
    _, observed = world(gaps=0.1, steps=1461)
    month = observed.time.dt.month
    centred = xr.where(month <= 6, 1.0, -1.0)
    counts = observed.GPP.notnull()
    lean = (centred * counts).sum("time") / counts.sum("time")
    seasonal = error_shares(observed[["GPP"]] + (centred - lean), observed).share
    np.testing.assert_allclose(seasonal.sel(part="seasonal"), 1)
    biased = error_shares(observed + 2, observed).share
    np.testing.assert_allclose(biased.sel(part="mean"), 1)
    none = error_shares(observed, observed)
    assert none.share.isnull().all()
    assert none.share_pooled.isnull().all()


@given(seed=st.integers(0, 20))
def test_shares_sum_to_one_and_agree_with_the_scores(seed: int) -> None:
    predicted, observed = world(seed, steps=500)
    parts, scored = error_shares(predicted, observed), scores(predicted, observed)
    np.testing.assert_allclose(parts.share.sum("part"), 1)
    np.testing.assert_allclose(parts.share_pooled.sum("part"), 1)
    total = scored.rmse.sel(scale="all") ** 2
    bias = scored.bias.sel(scale="all") ** 2
    np.testing.assert_allclose(parts.share.sel(part="mean"), bias / total)
    anomaly = scored.rmse.sel(scale="anomaly") ** 2
    np.testing.assert_allclose(parts.share.sel(part="anomaly"), anomaly / total)
    assert parts.share.dims == ("part", "target", "site")
    assert parts.igbp.values.tolist() == observed.igbp.values.tolist()


def test_shares_skip_entities_without_data() -> None:
    predicted, observed = world()
    gone = error_shares(predicted, observed.where(observed.site != "S1"))
    assert gone.share.sel(site="S1").isnull().all()
    assert np.isfinite(gone.share_pooled).all()


def slow_bootstrap(
    gap: np.ndarray, groups: np.ndarray, draws: int, seed: int
) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    names = np.unique(groups)
    means = []
    for _ in range(draws):
        drawn = rng.choice(names, names.size)
        means.append(np.concatenate([gap[groups == name] for name in drawn]).mean())
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def test_paired_matches_a_slow_bootstrap() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 40, 100)
    first = rng.normal(1.0, 0.3, 100) + 0.2 * rng.normal(size=40)[groups]
    second = rng.normal(1.1, 0.3, 100)
    result = paired(first, second, groups=groups, draws=4000)
    low, high = slow_bootstrap(first - second, groups, 4000, 1)
    width = high - low
    assert result.difference.item() == pytest.approx((first - second).mean())
    assert result.low.item() == pytest.approx(low, abs=0.06 * width)
    assert result.high.item() == pytest.approx(high, abs=0.06 * width)
    assert result.wins.item() == (first < second).sum()
    assert result.n.item() == 100


def test_paired_works_on_the_scores_of_all_targets() -> None:
    predicted, observed = world(sites=8)
    one = scores(predicted, observed, scales=None).rmse
    other = scores(predicted + 0.3, observed, scales=None).rmse
    groups = xr.DataArray([0, 0, 1, 2, 3, 3, 4, 5], dims="site")
    result = paired(one, other.transpose("site", "target"), groups=groups, draws=300)
    assert result.difference.dims == ("target",)
    assert result.target.values.tolist() == ["GPP", "Reco", "NEE"]
    assert "site" not in result.coords
    assert result.difference.attrs["units"] == "g m-2 d-1"
    assert (result.low <= result.difference).all()
    assert (result.difference <= result.high).all()
    alone = paired(one.sel(target="Reco"), other.sel(target="Reco"), groups=groups, draws=300)
    xr.testing.assert_identical(alone.drop_vars("target"), result.sel(target="Reco", drop=True))


@given(seed=st.integers(0, 20), level=st.sampled_from([0.5, 0.9, 0.95]))
def test_paired_turns_round_with_its_sides(seed: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, 30))
    groups = np.arange(30) // 2
    one = paired(first, second, groups=groups, draws=200, level=level)
    other = paired(second, first, groups=groups, draws=200, level=level)
    assert one.low.item() == pytest.approx(-other.high.item())
    assert one.wins.item() + other.wins.item() == 30
    gaps = paired(np.append(first, np.nan), np.append(second, 1), groups=np.append(groups, 99))
    assert gaps.n.item() == 30


def test_clusters_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    groups = np.arange(100) // 10
    first = rng.normal(size=10)[groups]
    together = paired(first, np.zeros(100), groups=groups, draws=500)
    alone = paired(first, np.zeros(100), groups=np.arange(100), draws=500)
    assert (together.high - together.low).item() > 2 * (alone.high - alone.low).item()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: paired([1.0, 2.0], [1.0], groups=[0, 1]), "shape"),
        (lambda: paired([1.0, 2.0], [1.0, 3.0], groups=[0]), "one group for each"),
        (lambda: paired(1.0, 2.0, groups=[0]), "one group for each"),
        (lambda: paired([1.0, 2.0], [1.0, 3.0], groups=[0, 0]), "at least 2"),
        (lambda: paired([1.0, np.nan], [1.0, 3.0], groups=[0, 1]), "1 of 2 entities"),
        (lambda: paired([1.0, 2.0], [1.0, 3.0], groups=[0, 1], draws=0), "draws=4000"),
        (lambda: paired([1.0, 2.0], [1.0, 3.0], groups=[0, 1], level=95), "level=0.95"),
        (
            lambda: paired(
                xr.DataArray([1.0, 2.0], {"site": ["a", "b"]}),
                xr.DataArray([1.0, 2.0], {"site": ["b", "a"]}),
                groups=[0, 1],
            ),
            "xr.align",
        ),
    ],
)
def test_paired_says_what_is_wrong(call: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()


def test_paired_on_the_fixed_scores(shared_data: Path) -> None:
    table = pd.read_csv(shared_data / "scores_daily.csv").set_index("site")
    for target, expected in (("GPP", 0.042), ("Reco", 0.008), ("NEE", -0.017)):
        result = paired(
            table[f"ctlstm_{target}"], table[f"lightgbm_{target}"], groups=table.cluster
        )
        assert result.difference.item() == pytest.approx(expected, abs=1e-3)
        assert result.low.item() < 0 < result.high.item()
        assert 0.05 < (result.high - result.low).item() < 0.2
