"""Contributions sum to fluxes and are those of the formula; importance is an increase of errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xflux.attribution import gradients
from xflux.attribution.baselines import BASELINES
from xflux.attribution.gradients import Point
from xflux.attribution.importance import blocks_permuted
from xflux.errors import DataError, ModelError, SchemaError, XfluxWarning
from xflux.model import FluxModel
from xflux.networks.ct_lstm import Member
from xflux.prediction import ensemble


def told(why: xr.Dataset) -> xr.DataArray:
    fixed = why.characteristic_contribution.sum("characteristic")
    return why.contribution.sum(["driver", "lag"]) + fixed + why.earlier


def changed(model: FluxModel, change: Callable[[dict[str, np.ndarray]], None]) -> FluxModel:
    """The model with other weights."""
    weights = [{name: v.copy() for name, v in member.items()} for member in model.weights]
    for member in weights:
        change(member)
    return dataclasses.replace(model, members=ensemble.pack(weights))


def ignoring(model: FluxModel, name: str) -> FluxModel:
    """A model that does not look at a driver, nor at what is derived from it."""
    inputs = model.inputs
    columns = list(inputs.columns_of(name))
    spans = len(model.weights[0]["running.spans"])
    means = [
        inputs.width + s * len(inputs.drivers) + inputs.drivers.index(name) for s in range(spans)
    ]

    def change(member: dict[str, np.ndarray]) -> None:
        member["recurrent.lstm.weight_ih_l0"][:, columns] = 0.0
        member["direct.first.weight"][:, columns + means] = 0.0

    return changed(model, change)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lags=st.integers(1, 80),
    day=st.integers(0, 364),
    target=st.sampled_from(["GPP", "Reco", "NEE"]),
    baseline=st.sampled_from(BASELINES),
)
def test_contributions_sum_to_the_predicted_flux(
    some_towers: xr.Dataset,
    daily_model: FluxModel,
    lags: int,
    day: int,
    target: str,
    baseline: Any,
) -> None:
    towers = some_towers.isel(site=slice(4))
    usable = towers.flux.predict(daily_model)[target]
    time = usable.time.values[day]
    if not usable.sel(time=time).notnull().any():
        with pytest.raises(DataError, match="no flux is predicted"):
            towers.flux.attribute(daily_model, target=target, at=time)
        return
    why = towers.flux.attribute(
        daily_model, target=target, at=time, lags=lags, baseline=baseline, tolerance=1e-3
    )
    xr.testing.assert_allclose(
        why[target].drop_attrs(), usable.sel(time=[time]).drop_attrs(), atol=1e-5
    )
    missed = why[target] - why[f"{target}_at_baseline"] - told(why)
    spread = max(float(v.max()) for v in (m["spread"] for m in daily_model.weights))
    assert float(abs(missed).max()) < 1e-3 * spread + 1e-5
    np.testing.assert_allclose(missed, why.residual, atol=1e-5)


def member_of(drivers: int, averaged: int, fixed: int, hidden: int = 3) -> Member:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        member = Member(drivers, averaged, fixed, hidden, spans=(3.0, 30.0))
    member.spread.copy_(torch.tensor([2.0, 0.5]))
    return member.eval().requires_grad_(False)


def points_of(member: Member, steps: int, drivers: int, fixed: int) -> tuple[Point, Point]:
    """A baseline and an input of two series, without anything before the window."""
    numbers = torch.Generator().manual_seed(7)
    zeros = torch.zeros(2, member.hidden)
    sums = torch.zeros(2, 2, member.averaged)

    def one() -> Point:
        varying = torch.randn(2, steps, drivers, generator=numbers)
        return Point(varying, torch.randn(2, fixed, generator=numbers), zeros, zeros, sums)

    return one(), one()


def test_contributions_of_a_linear_network_are_known_by_hand() -> None:
    """With large biases every layer is linear: slope times difference, whatever the line."""
    member = member_of(2, 2, 1)
    member.recurrent.heads.weight.zero_()
    for layer in (member.direct.first, member.direct.second, member.direct.heads):
        layer.weight.mul_(0.1)
        layer.bias.fill_(60.0)
    start, end = points_of(member, 5, 2, 1)
    seen = torch.full((2,), 5.0, dtype=torch.float64)
    found = gradients.integrate(
        member, None, start, end, seen=seen, mix=torch.tensor([1.0, 0.0]), points=2
    )
    direct = member.direct
    slope = (direct.heads.weight @ direct.second.weight @ direct.first.weight)[0].double().numpy()
    expected = np.zeros((5, 2))
    for span, weight in zip((3.0, 30.0), (slope[2:4], slope[4:6]), strict=True):
        fade = np.exp(-np.arange(5)[::-1] / span)
        expected += np.outer(fade / fade.sum(), weight)
    expected[-1] += slope[:2]
    gap = (end.drivers - start.drivers).double().numpy()
    np.testing.assert_allclose(found.parts.drivers, 0.5 * 2.0 * expected * gap, atol=1e-5)
    fixed = 0.5 * 2.0 * slope[6:] * (end.fixed - start.fixed).double().numpy()
    np.testing.assert_allclose(found.parts.fixed, fixed, atol=1e-5)


def test_contributions_are_sums_of_finite_differences_along_the_line() -> None:
    """The definition, by a midpoint sum and differences of the member as it is trained."""
    member = member_of(3, 2, 2).double()
    member.running.kernel, member.running.fade = (
        part.double() for part in (member.running.kernel, member.running.fade)
    )
    start, end = (Point(*(p.double() for p in point)) for point in points_of(member, 4, 3, 2))
    mix, small, count = torch.tensor([-1.0, 1.0]).double(), 1e-5, 30

    def flux(drivers: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        fluxes, _ = member(drivers, fixed)
        return fluxes.mean(0)[:, -1] @ mix

    expected = torch.zeros_like(end.drivers)
    for k in range(count):
        a = (k + 0.5) / count
        fixed = start.fixed + a * (end.fixed - start.fixed)
        here = start.drivers + a * (end.drivers - start.drivers)
        for step in range(4):
            for column in range(3):
                nudge = torch.zeros_like(here)
                nudge[:, step, column] = small
                slope = (flux(here + nudge, fixed) - flux(here - nudge, fixed)) / (2 * small)
                expected[:, step, column] += slope / count
    expected *= end.drivers - start.drivers
    seen = torch.full((2,), 4.0, dtype=torch.float64)
    found = gradients.integrate(member, None, start, end, seen=seen, mix=mix, points=16)
    np.testing.assert_allclose(found.parts.drivers, expected, atol=5e-4)
    assert float(found.residual.abs().max()) < 1e-6


def test_an_input_that_is_not_used_contributes_nothing(
    some_towers: xr.Dataset, daily_model: FluxModel
) -> None:
    towers, model = some_towers.isel(site=slice(3)), ignoring(daily_model, "VPD")
    why = towers.flux.attribute(model, at=slice("2001-06-01", "2001-06-03"), lags=40)
    assert (why.contribution.sel(driver="VPD").fillna(0) == 0).all()
    assert (abs(why.contribution.sel(driver="TA", lag=0)) > 0).any()
    found = towers.flux.importance(model, repeats=2)
    assert (found.increase.sel(variable="VPD") == 0).all()
    assert (found.increase.sel(variable="TA") != 0).any()


def test_an_entity_at_its_baseline_has_no_contributions(daily_model: FluxModel) -> None:
    import xflux

    same = xflux.datasets.load("simulated-towers", sites=1, years=2)
    for name in daily_model.inputs.drivers:
        same[name] = same[name] * 0 + same[name].mean()
    why = same.flux.attribute(daily_model, at="2002-05-01", baseline="entity", lags=20)
    others = why.contribution.drop_sel(driver="season")
    assert float(abs(others).max()) < 1e-5 < float(abs(why.contribution).max())
    assert float(abs(why.characteristic_contribution).max()) == 0.0


def test_what_is_not_predicted_is_not_explained(
    some_towers: xr.Dataset, daily_model: FluxModel
) -> None:
    towers = some_towers.isel(site=slice(3)).copy(deep=True)
    towers["TA"][1, 150:165] = np.nan
    kept = towers.copy(deep=True)
    at = towers.time.values[[140, 155, 180, 220]]
    why = towers.flux.attribute(daily_model, at=at, lags=60, target="Reco")
    xr.testing.assert_identical(towers, kept)
    expected = towers.flux.predict(daily_model).Reco.sel(time=at)
    np.testing.assert_allclose(why.Reco, expected, atol=1e-5)
    missing = np.isnan(expected.values)
    assert missing[1].tolist() == [False, True, True, False]
    assert (np.isnan(why.contribution).all(["driver", "lag"]).values == missing).all()
    later = why.contribution.isel(site=1, time=3)
    assert (later.sel(lag=slice(56, None)) == 0).all()  # the days since the gap: 165 to 220
    assert (later.sel(lag=55) != 0).any()


@pytest.mark.parametrize("order", [("site", "time"), ("time", "site")])
def test_lazy_input_gives_the_same(
    some_towers: xr.Dataset, monthly_model: FluxModel, order: tuple[str, str]
) -> None:
    import xflux

    towers = xflux.datasets.load("simulated-towers", sites=3, years=2, time_step="monthly")
    towers = towers.transpose(*order)
    eager = towers.flux.attribute(monthly_model, at=["2002-03-01", "2002-07-01"])
    lazy = towers.chunk(time=5, site=2).flux.attribute(
        monthly_model, at=["2002-03-01", "2002-07-01"]
    )
    xr.testing.assert_identical(eager, lazy)
    assert eager.GPP.dims == order
    assert eager.lag.attrs["units"] == "month"


def test_what_does_not_fit_is_refused_before_anything_is_read(
    daily_model: FluxModel, no_computes: Callable[[], AbstractContextManager[Any]]
) -> None:
    import xflux

    grid = xflux.datasets.load("simulated-grid", shape=(60, 120), years=5, chunks={"time": 100})
    grid["igbp"] = xr.full_like(grid.igbp, "ENF")
    with no_computes(), pytest.raises(DataError, match=r"choose some entities, ds\.isel"):
        grid.flux.attribute(daily_model, at="2003-07-01")


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"target": "LE"}, ModelError, "target='LE' is not predicted by the model: GPP, Reco, NEE"),
        ({"baseline": "mean"}, ModelError, "'training', 'entity', 'climatology'"),
        ({"lags": 0, "tolerance": 0.0}, ModelError, "lags=0.*; tolerance=0.0"),
        ({"at": "1999-01-01"}, DataError, "not among the times"),
        ({"at": slice("2010-01-01", "2011-01-01")}, DataError, "holds none of the 365 times"),
    ],
)
def test_what_cannot_be_asked_is_said(
    some_towers: xr.Dataset,
    daily_model: FluxModel,
    options: dict[str, Any],
    error: type[Exception],
    text: str,
) -> None:
    with pytest.raises(error, match=text):
        some_towers.flux.attribute(daily_model, **options)


def test_dims_that_are_taken_are_named(some_towers: xr.Dataset, daily_model: FluxModel) -> None:
    taken = some_towers.assign_coords(lag=3)
    with pytest.raises(ModelError, match=r'ds\.rename\(lag="lag_"\)'):
        taken.flux.attribute(daily_model, at="2001-06-01")


def test_a_tolerance_that_is_not_kept_is_told(
    some_towers: xr.Dataset, daily_model: FluxModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "LAST", gradients.FIRST)
    with pytest.warns(XfluxWarning, match="contributions miss a flux by up to"):
        some_towers.isel(site=[0]).flux.attribute(daily_model, at="2001-06-01", tolerance=1e-12)


def test_methods_of_other_shapes_are_supported_or_refused(some_towers: xr.Dataset) -> None:
    towers = some_towers.isel(site=slice(4))
    quick: dict[str, Any] = {"members": 1, "epochs": 1, "hidden": 4, "progress": False}
    law = towers.flux.train(method="ct-lstm-physics", **quick)
    why = towers.flux.attribute(law, at="2001-07-01", lags=20)
    expected = towers.flux.predict(law).GPP.sel(time=why.time)
    np.testing.assert_allclose(why.GPP, expected, rtol=1e-4, atol=1e-5)
    other = towers.flux.train(method="tam-rl", **quick)
    for explain in (towers.flux.attribute, towers.flux.importance):
        with pytest.raises(ModelError, match="this model is of tam-rl"):
            explain(other)


def test_new_targets_are_explained_in_their_units(
    some_towers: xr.Dataset, daily_model: FluxModel
) -> None:
    towers = some_towers.isel(site=slice(2)).copy()
    towers["LE"] = (20 * towers.GPP).assign_attrs(units="W m-2")
    model = towers.flux.finetune(daily_model, target="LE")
    why = towers.flux.attribute(model, target="LE", at="2001-07-01", lags=10)
    expected = towers.flux.predict(model).LE.sel(time=why.time)
    np.testing.assert_allclose(why.LE, expected, rtol=1e-4)
    assert why.contribution.attrs["units"] == "W m-2"
    assert towers.flux.importance(model, repeats=1).target.values.tolist() == ["LE"]
    with pytest.raises(SchemaError, match="no labels of LE"):
        towers.drop_vars("LE").flux.importance(model)


def test_importance_is_the_increase_of_the_error(
    some_towers: xr.Dataset, daily_model: FluxModel
) -> None:
    kept = some_towers.copy(deep=True)
    found = some_towers.flux.importance(daily_model, repeats=2, seed=3)
    xr.testing.assert_identical(some_towers, kept)
    scores = some_towers.flux.evaluate(daily_model)
    np.testing.assert_allclose(found.rmse, scores.rmse_pooled, rtol=1e-5)
    again = some_towers.chunk(site=3).flux.importance(daily_model, repeats=2, seed=3)
    xr.testing.assert_identical(found, again)
    other = some_towers.flux.importance(daily_model, repeats=1, seed=4)
    assert (other.increase.isel(repeat=0) != found.increase.isel(repeat=0)).any()
    assert found.kind.sel(variable="lat") == "characteristic"
    with pytest.raises(DataError, match="of two at least"):
        some_towers.isel(site=[0]).flux.importance(daily_model)
    with pytest.raises(ModelError, match="repeats=0"):
        some_towers.flux.importance(daily_model, repeats=0)


@given(
    count=st.integers(1, 4),
    steps=st.integers(1, 20),
    length=st.integers(1, 7),
    gaps=st.lists(st.integers(0, 79), max_size=4),
)
def test_blocks_are_dealt_out_whole_and_gaps_stay(
    count: int, steps: int, length: int, gaps: list[int]
) -> None:
    values = np.arange(count * steps, dtype=np.float32)
    values[[g for g in gaps if g < values.size]] = np.nan
    values = values.reshape(count, steps)
    before = values[:, : steps // length * length].reshape(-1, length)
    if np.isfinite(before).all(1).sum() < 2:
        with pytest.raises(DataError, match="two at least can change places"):
            blocks_permuted(values, length, np.random.default_rng(0))
        return
    moved = blocks_permuted(values, length, np.random.default_rng(0))
    assert (np.isnan(moved) == np.isnan(values)).all()
    np.testing.assert_array_equal(np.sort(moved.ravel()), np.sort(values.ravel()))
    cut = moved[:, : steps // length * length].reshape(-1, length)
    whole = cut[np.isfinite(cut).all(1)]
    assert (np.diff(whole, axis=1) == 1).all()
