"""Fine-tuning: against references, shrunk where labels say little, and nothing else touched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

import xflux
from xflux.cf.schema import resolve
from xflux.errors import DataError, ModelError, ModelFileError, SchemaError, XfluxWarning
from xflux.model import FluxModel
from xflux.training.finetuning import head_spread, scale_spread
from xflux.training.headwise import Change, Evidence, Heads, misfit_covariance, ridge, tune_heads
from xflux.training.labels import chosen, read_heads, write_heads
from xflux.training.prior import Prior

FLUXES = ("GPP", "Reco", "NEE")
MIX = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0]])


def days(ds: xr.Dataset, first: str, last: str) -> xr.Dataset:
    """The same with labels between two days alone."""
    inside = (ds.time >= np.datetime64(first)) & (ds.time <= np.datetime64(last))
    return ds.assign({name: ds[name].where(inside) for name in FLUXES if name in ds})


@pytest.fixture(scope="module")
def lawful(some_towers: xr.Dataset, daily_model: FluxModel) -> xr.Dataset:
    """Towers that respire half as much again as the model says, and assimilate less."""
    said = some_towers.flux.predict(daily_model)
    noise = np.random.default_rng(0).normal(0.0, 0.3, (2, *said.GPP.shape)).astype(np.float32)
    labels = {"GPP": 0.8 * said.GPP + noise[0], "Reco": 1.5 * said.Reco + noise[1]}
    labels["NEE"] = labels["Reco"] - labels["GPP"]
    named = {name: flux.assign_attrs(units="g m-2 d-1") for name, flux in labels.items()}
    return some_towers.drop_vars("NEE_QC").assign(named)


@pytest.fixture(scope="module")
def place(lawful: xr.Dataset) -> xr.Dataset:
    """One of them."""
    return lawful.isel(site=[2])


# --- the closed form --------------------------------------------------------------------------


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_ridge_is_that_of_scikit_learn_in_both_forms(rows: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    design, target = rng.normal(size=(rows, columns)), rng.normal(size=rows)
    reference = Ridge(alpha=1.0, fit_intercept=False).fit(design, target).coef_
    np.testing.assert_allclose(ridge(design, target), reference, atol=1e-8)


def simple(level: float) -> Heads:
    """One member that gives a constant, deep in the linear part of the softplus."""
    weights = np.zeros((1, 1, 4))
    weights[..., [1, 3]] = level
    return Heads(weights=weights, spread=np.ones((1, 1)), split=2, log_scale=np.zeros(1))


def labelled(values: np.ndarray, seen: np.ndarray, noise: float) -> Evidence:
    count = len(values)
    return Evidence(seen, np.arange(count), np.ones((count, 1)), values, noise * np.eye(count))


def test_heads_follow_the_posterior_of_a_linear_regression() -> None:
    rng = np.random.default_rng(1)
    seen = np.ones((30, 1, 4))
    seen[:, 0, 0], seen[:, 0, 2] = rng.normal(size=(2, 30))
    values = 50.0 + rng.normal(size=30)
    sigma = np.array([0.5, 0.2, 0.3, 0.1])
    spread = Change(np.zeros(1), sigma[None, None])
    tuned = tune_heads(simple(50.0), [labelled(values, seen, 0.8)], spread=spread)
    design = 0.5 * seen[:, 0]  # each of two networks counts half
    precision = design.T @ design / 0.8 + np.diag(1 / sigma**2)
    reference = np.linalg.solve(precision, design.T @ (values - 50.0) / 0.8)
    np.testing.assert_allclose(tuned.weights[0, 0] - simple(50.0).weights[0, 0], reference, 1e-4)


def test_a_scale_by_hand() -> None:
    """Labels twice as high, exact: the factor is what balances them with the prior."""
    spread = Change(np.full(1, 0.2), np.zeros((1, 1, 4)))
    evidence = labelled(np.full(10, 20.0), np.ones((10, 1, 4)), 100.0)
    tuned = tune_heads(simple(10.0), [evidence], spread=spread)
    grid = np.linspace(0, 1, 100001)
    loss = 10 * (20.0 - 10.0 * np.exp(grid)) ** 2 / 100.0 + (grid / 0.2) ** 2
    assert tuned.log_scale[0] == pytest.approx(grid[loss.argmin()], abs=1e-3)
    np.testing.assert_array_equal(tuned.weights, simple(10.0).weights)


def test_what_an_entity_has_for_itself_is_put_aside() -> None:
    """Two entities, far above and below: what they share is their mean, shrunk."""
    spread = Change(np.zeros(1), np.array([[[0.0, 1.0, 0.0, 0.0]]]))
    parts = [labelled(np.full(5, 50.0 + up), np.ones((5, 1, 4)), 0.1) for up in (4.0, -2.0)]
    tuned = tune_heads(simple(50.0), parts, spread=spread, own=spread.times(2.0))
    one = 0.1 / 5 + 0.25 * 4.0  # variance of an entity's mean: misfit and its own
    expected = 0.5 * 2 * (1.0 / one) / (2 * 0.25 / one + 1.0)
    assert tuned.weights[0, 0, 1] - 50.0 == pytest.approx(expected, rel=1e-4)


@given(st.integers(2, 20), st.integers(0, 99))
def test_misfit_is_a_covariance(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = np.sort(rng.choice(100, count, replace=False))
    size = rng.uniform(0.1, 3.0, count)
    covariance = misfit_covariance(steps, size, noise=0.1, memory=5.0)
    np.testing.assert_allclose(np.diag(covariance), 1.1 * size**2)
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_labels_that_agree_with_the_model_change_nothing() -> None:
    spread = Change(np.ones(1), np.ones((1, 1, 4)))
    heads = simple(2.0)
    seen = np.random.default_rng(0).normal(size=(9, 1, 4))
    tuned = tune_heads(heads, [labelled(heads.outputs(seen)[:, 0], seen, 1.0)], spread=spread)
    np.testing.assert_allclose(tuned.weights, heads.weights, atol=1e-9)
    assert tuned.log_scale[0] == pytest.approx(0.0, abs=1e-9)


def test_heads_survive_the_way_out_and_back(daily_model: FluxModel) -> None:
    weights = daily_model.weights
    same = write_heads(weights, read_heads(weights))
    for before, after in zip(weights, same, strict=True):
        for name, values in before.items():
            np.testing.assert_array_equal(values, after[name])


def test_heads_predict_what_the_members_predict(
    some_towers: xr.Dataset, daily_model: FluxModel
) -> None:
    from xflux.training.labels import assembled, build_members, seen_by_heads
    from xflux.training.towers import read_towers

    towers = read_towers(some_towers, resolve(some_towers))
    block, predicted = assembled(towers, daily_model.inputs, 1)
    steps = np.flatnonzero(predicted)
    seen = seen_by_heads(build_members(daily_model.weights), block, steps)
    outputs = read_heads(daily_model.weights).outputs(seen)
    reference = some_towers.isel(site=[1]).flux.predict(daily_model)
    np.testing.assert_allclose(outputs[:, 0], reference.GPP.values[0, steps], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outputs[:, 1], reference.Reco.values[0, steps], rtol=1e-4, atol=1e-5)


def test_nee_counts_only_where_it_says_something() -> None:
    yes, no = True, False
    present = np.array([[yes, yes, yes], [yes, no, yes], [no, no, yes], [no, no, no]])
    expected = [[yes, yes, no], [yes, no, yes], [no, no, yes], [no, no, no]]
    np.testing.assert_array_equal(chosen(present, MIX), expected)


# --- a place of its own -----------------------------------------------------------------------


@pytest.mark.parametrize("what", ["auto", "scale", "head", "adapter", "all"])
def test_labels_bring_the_model_closer(
    place: xr.Dataset, daily_model: FluxModel, what: str
) -> None:
    few = days(place, "2001-04-01", "2001-09-30")
    local = few.flux.finetune(daily_model, what=what)
    before, after = (place.flux.evaluate(m).rmse[1, 0] for m in (daily_model, local))
    assert float(after) < 0.8 * float(before)
    assert local.card["finetuned"]["what"] == ("head" if what == "auto" else what)


@pytest.mark.parametrize("what", ["head", "all"])
def test_the_same_again(place: xr.Dataset, daily_model: FluxModel, what: str) -> None:
    few = days(place, "2001-06-01", "2001-06-30")
    one, same = (few.flux.finetune(daily_model, what=what) for _ in range(2))
    assert one.members.data == same.members.data


def test_only_what_is_tuned_changes(place: xr.Dataset, daily_model: FluxModel) -> None:
    bytes_before, card_before = daily_model.members.data, dict(daily_model.card)
    few = days(place, "2001-06-01", "2001-06-30")
    before = few.copy(deep=True)
    local = few.flux.finetune(daily_model)
    assert daily_model.members.data == bytes_before
    assert daily_model.card == card_before
    assert local.inputs == daily_model.inputs
    assert local.settings == daily_model.settings
    for old, new in zip(daily_model.weights, local.weights, strict=True):
        changed = {name for name, values in old.items() if not np.array_equal(values, new[name])}
        heads = {f"{p}.heads.{k}" for p in ("recurrent", "direct") for k in ("weight", "bias")}
        assert changed == heads
    xr.testing.assert_identical(few, before)


def test_scale_moves_the_spread_alone(place: xr.Dataset, daily_model: FluxModel) -> None:
    local = days(place, "2001-06-01", "2001-07-30").flux.finetune(daily_model, what="scale")
    for old, new in zip(daily_model.weights, local.weights, strict=True):
        assert {n for n, v in old.items() if not np.array_equal(v, new[n])} == {"spread"}
    one, other = (place.flux.predict(m) for m in (daily_model, local))
    ratio = (other.Reco / one.Reco).values
    np.testing.assert_allclose(ratio, np.nanmean(ratio), rtol=1e-4)
    np.testing.assert_allclose(other.NEE, other.Reco - other.GPP, atol=1e-5)


def test_fewer_labels_change_less(place: xr.Dataset, daily_model: FluxModel) -> None:
    base = place.flux.predict(daily_model)
    moved = []
    for last in ("2001-05-03", "2001-05-20", "2001-08-30"):
        local = days(place, "2001-05-01", last).flux.finetune(daily_model, what="scale")
        moved.append(float(np.abs(place.flux.predict(local).Reco - base.Reco).mean()))
    assert moved[0] < moved[1] < moved[2]


def test_a_week_of_nonsense_does_not_ruin_the_year(
    place: xr.Dataset, daily_model: FluxModel
) -> None:
    week = days(place, "2001-01-10", "2001-01-16")
    wild = week.assign(GPP=week.GPP + 6.0)
    base = place.flux.predict(daily_model)
    for what in ("scale", "head"):
        other = place.flux.predict(wild.flux.finetune(daily_model, what=what))
        assert float(np.abs(other.GPP - base.GPP).mean()) < 2.5
        assert float(other.GPP.min()) >= 0.0


def test_other_places_stay_sensible(
    some_towers: xr.Dataset, place: xr.Dataset, daily_model: FluxModel
) -> None:
    local = days(place, "2001-03-01", "2001-10-30").flux.finetune(daily_model)
    fluxes = some_towers.flux.predict(local)
    assert float(fluxes.GPP.max()) < 40.0
    assert float(fluxes.Reco.max()) < 40.0
    assert set(fluxes.data_vars) == set(some_towers.flux.predict(daily_model).data_vars)


@pytest.mark.parametrize("kept", FLUXES)
def test_labels_of_one_target_are_enough(
    place: xr.Dataset, daily_model: FluxModel, kept: str
) -> None:
    few = place.drop_vars([name for name in FLUXES if name != kept])
    local = days(few, "2001-05-01", "2001-08-30").flux.finetune(daily_model)
    assert local.card["finetuned"]["labels"][kept] > 60
    scores = (few.flux.evaluate(m).rmse.sel(target=kept) for m in (local, daily_model))
    after, before = (float(score.squeeze()) for score in scores)
    assert after < before


def test_a_region_learns_what_its_places_share(lawful: xr.Dataset, daily_model: FluxModel) -> None:
    few = days(lawful, "2001-06-01", "2001-08-30")
    region = few.flux.finetune(daily_model, what="scale")
    moved = [np.log(n["spread"] / o["spread"])[1] for o, n in
             zip(daily_model.weights, region.weights, strict=True)]  # fmt: skip
    assert 0.0 < moved[0] < np.log(1.5)
    assert region.card["finetuned"]["entities_count"] == few.sizes["site"]


def test_the_file_keeps_what_was_tuned(
    place: xr.Dataset, daily_model: FluxModel, tmp_path: Path
) -> None:
    local = days(place, "2001-06-01", "2001-06-30").flux.finetune(daily_model, name="my bog")
    again = xflux.load_model(local.save(tmp_path / "local.safetensors"))
    assert again.members.data == local.members.data
    assert again.card == local.card
    about = again.card["finetuned"]
    assert about["from_sha256"] == daily_model.sha256
    assert about["period"] == ["2001-06-01", "2001-06-30"]
    assert "my bog" in repr(again)
    assert "1 entities" in repr(again)


def test_a_monthly_model_can_be_tuned(monthly_model: FluxModel) -> None:
    towers = xflux.datasets.load("simulated-towers", sites=3, years=2, time_step="monthly", seed=5)
    one = towers.isel(site=[0]).drop_vars("NEE")
    one["GPP"] = 1.6 * one.GPP
    local = one.flux.finetune(monthly_model)
    after, before = (float(one.flux.evaluate(m).rmse[0, 0]) for m in (local, monthly_model))
    assert after < before


# --- what is refused --------------------------------------------------------------------------


def test_no_labels_at_all(place: xr.Dataset, daily_model: FluxModel) -> None:
    with pytest.raises(DataError, match="no step has both drivers and a target of good quality"):
        days(place, "1990-01-01", "1990-01-02").flux.finetune(daily_model)
    with pytest.raises(SchemaError, match="no targets"):
        place.drop_vars(list(FLUXES)).flux.finetune(daily_model)


def test_labels_only_where_nothing_is_predicted(place: xr.Dataset, daily_model: FluxModel) -> None:
    few = days(place, "2001-06-01", "2001-06-10")
    gap = (few.time >= np.datetime64("2001-05-01")) & (few.time <= np.datetime64("2001-05-28"))
    few["TA"] = few.TA.where(~gap)
    with pytest.raises(DataError, match="no label is at a step that the model can predict"):
        few.flux.finetune(daily_model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"what": "everything"}, "what='everything' is unknown"),
        ({"settings": {"speed": 1.0}}, "unknown settings"),
        ({"settings": {"noise": -1.0}}, "noise=-1.0 must be above 0"),
        ({"qc": 2.0}, "qc=2 is no share"),
        ({"target": "GPP"}, "names of other variables"),
    ],
)
def test_settings_are_checked(
    place: xr.Dataset, daily_model: FluxModel, arguments: dict, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        place.flux.finetune(daily_model, **arguments)


def test_another_time_step_is_refused(place: xr.Dataset, monthly_model: FluxModel) -> None:
    with pytest.raises(ModelError, match="the model is monthly, the Dataset is daily"):
        place.flux.finetune(monthly_model)


def test_a_missing_driver_is_named(place: xr.Dataset, daily_model: FluxModel) -> None:
    with pytest.raises(SchemaError, match="driver SW_IN"):
        place.drop_vars("SW_IN").flux.finetune(daily_model)


def test_a_model_with_a_law_is_refused(place: xr.Dataset, some_towers: xr.Dataset) -> None:
    bound = some_towers.flux.train(
        method="ct-lstm-physics", members=1, epochs=1, hidden=4, progress=False, workers=1
    )
    with pytest.raises(ModelError, match=r"bound to a law.*xflux\.load_model\(.daily.\)"):
        place.flux.finetune(bound)


def test_something_that_is_no_model(place: xr.Dataset) -> None:
    with pytest.raises(ModelError, match="a trained model is needed"):
        place.flux.finetune("daily")


# --- new targets ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_heat(some_towers: xr.Dataset) -> xr.Dataset:
    """Towers that also measure latent heat, a law of their drivers, and a flux of either sign."""
    some = some_towers.isel(site=slice(0, 4))
    heat = 0.3 * some.SW_IN * some.LAI / (1 + some.LAI)
    attrs = {
        "units": "W m-2",
        "long_name": "latent heat",
        "standard_name": "surface_upward_latent_heat_flux",
    }
    return some.assign(
        LE=heat.assign_attrs(attrs), H=(2.0 * some.TA - 10.0).assign_attrs(units="W m-2")
    )


def test_a_new_target_from_end_to_end(
    with_heat: xr.Dataset, daily_model: FluxModel, tmp_path: Path
) -> None:
    local = with_heat.flux.finetune(daily_model, target="LE")
    again = xflux.load_model(local.save(tmp_path / "heat.safetensors"))
    assert again.targets == local.targets
    drivers = with_heat.drop_vars(["LE", "H", *FLUXES])
    out = drivers.flux.predict(again)
    assert list(out.data_vars) == ["LE", "LE_std"]
    assert out.LE.attrs["standard_name"] == "surface_upward_latent_heat_flux"
    assert out.LE.attrs["units"] == out.LE_std.attrs["units"] == "W m-2"
    assert out.attrs["title"].startswith("latent heat")
    assert float(out.LE.min()) >= 0.0
    error = float(np.sqrt(((out.LE - with_heat.LE) ** 2).mean()))
    assert error < 0.6 * float(with_heat.LE.std())
    lazy = drivers.chunk({"time": 100}).flux.predict(again)
    np.testing.assert_allclose(lazy.LE, out.LE, rtol=1e-4, atol=1e-3)
    assert drivers.flux.predict(again, members=True).LE.sizes["realization"] == 2


def test_a_target_of_either_sign_is_the_difference_of_two_outputs(
    with_heat: xr.Dataset, daily_model: FluxModel
) -> None:
    local = with_heat.flux.finetune(daily_model, targets=["H", "LE"])
    first, second = local.targets
    assert (first.plus, first.minus, second.plus, second.minus) == (0, 1, 2, None)
    out = with_heat.flux.predict(local)
    assert float(out.H.min()) < 0 < float(out.H.max())
    scores = with_heat.flux.evaluate(local)
    assert set(scores.target.values) == {"H", "LE"}
    assert (scores.r2_pooled > 0.7).all()


def test_new_targets_are_checked(with_heat: xr.Dataset, daily_model: FluxModel) -> None:
    with pytest.raises(SchemaError, match="'ET' is not a variable along time"):
        with_heat.flux.finetune(daily_model, target="ET")
    bare = with_heat.assign(LE=with_heat.LE.drop_attrs())
    with pytest.raises(SchemaError, match="'LE' has no units"):
        bare.flux.finetune(daily_model, target="LE")
    with pytest.raises(ModelError, match="no scale yet"):
        with_heat.flux.finetune(daily_model, target="LE", what="scale")
    local = with_heat.flux.finetune(daily_model, target="LE")
    with pytest.raises(ModelError, match=r"targets=\['LE'\]"):
        with_heat.flux.finetune(local)


def test_a_file_with_impossible_targets_is_refused(
    with_heat: xr.Dataset, daily_model: FluxModel, tmp_path: Path
) -> None:
    from dataclasses import replace

    local = with_heat.flux.finetune(daily_model, target="LE")
    wrong = replace(local, targets=(replace(local.targets[0], plus=7),))
    path = wrong.save(tmp_path / "wrong.safetensors")
    with pytest.raises(ModelFileError, match="targets are not those of a model"):
        xflux.load_model(path)


def test_nothing_is_warned_of(place: xr.Dataset, daily_model: FluxModel) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error", XfluxWarning)
        days(place, "2001-06-01", "2001-06-07").flux.finetune(daily_model)


def test_spreads_do_not_grow_with_the_number_of_members() -> None:
    """The ensemble's own change is as wide for one member as for five."""
    prior, wide = Prior(), []
    for members in (1, 5):
        heads = Heads(
            weights=np.zeros((members, 1, 4)),
            spread=np.ones((members, 1)),
            split=2,
            log_scale=np.zeros(1),
        )
        slope = heads.slopes(np.ones((1, members, 4)))[0, 0]
        wide.append(((slope * head_spread(heads, prior).weights[:, 0]) ** 2).sum())
        assert scale_spread(heads, prior).log_scale[0] == prior.scale
    assert wide[0] == pytest.approx(wide[1])
