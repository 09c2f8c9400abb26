"""Quantiles, dissimilarity and applicability: against references, lazily, in files, and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

import xflux
from xflux.cf.targets import CARBON
from xflux.errors import DataError, ModelError, ModelFileError, WriteError
from xflux.model import FluxModel, _to_json, parse_model, write_file
from xflux.prediction.calibration import LEVELS, Band, Calibration, Reference
from xflux.prediction.conformal import quantiles
from xflux.prediction.dissimilarity import dissimilarity
from xflux.skill.calibrating import fit_bands

ASKED: dict[str, Any] = {"quantiles": [0.05, 0.5, 0.95], "applicability": True}
BESIDE = [*(f"{t}_quantile" for t in ("GPP", "Reco", "NEE")), "dissimilarity", "applicable"]
QUICK: dict[str, Any] = {"members": 2, "epochs": 1, "hidden": 4, "progress": False}


@pytest.fixture(scope="module")
def bundled() -> FluxModel:
    return xflux.load_model("daily")


@pytest.fixture(scope="module")
def grid() -> xr.Dataset:
    ds = xflux.datasets.load("simulated-grid", shape=(6, 8), years=1).isel(time=slice(0, 120))
    return ds.assign(igbp=ds.igbp.where(ds.igbp.isin(["GRA", "DBF", "ENF", "WAT"]), "GRA"))


@pytest.fixture(scope="module")
def expected(grid: xr.Dataset, bundled: FluxModel) -> xr.Dataset:
    return grid.flux.predict(bundled, **ASKED)


@pytest.fixture(scope="module")
def towers() -> xr.Dataset:
    ds = xflux.datasets.load("simulated-towers", sites=16, years=1, seed=3)
    return ds.assign(igbp=xr.full_like(ds.igbp, "GRA"))


@pytest.fixture(scope="module")
def halves(towers: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset, FluxModel]:
    train, test = towers.flux.split(test=0.5)
    return train, test, train.flux.train(**QUICK)


# --- what is given ----------------------------------------------------------------------------


def test_fluxes_are_the_same_to_the_last_bit(
    grid: xr.Dataset, bundled: FluxModel, expected: xr.Dataset
) -> None:
    plain = grid.flux.predict(bundled)
    assert not set(BESIDE) & set(plain.data_vars)
    for name in plain.data_vars:
        xr.testing.assert_equal(expected[name].variable, plain[name].variable)


def test_quantiles_rise_and_have_metadata(expected: xr.Dataset) -> None:
    for name in ("GPP", "Reco", "NEE"):
        band = expected[f"{name}_quantile"]
        assert band.dims == ("quantile", "time", "lat", "lon")
        np.testing.assert_array_equal(band["quantile"], ASKED["quantiles"])
        assert (band.diff("quantile") >= 0).where(expected[name].notnull(), True).all()
        xr.testing.assert_equal(
            band.isnull().any("quantile").variable, expected[name].isnull().variable
        )
        assert band.attrs["units"] == "g m-2 d-1"
        beside = expected[name].attrs["ancillary_variables"].split()
        assert beside == [f"{name}_std", f"{name}_quantile", "dissimilarity", "applicable"]
    assert float(expected.GPP_quantile.min()) >= 0
    assert float(expected.Reco_quantile.min()) >= 0
    assert float(expected.NEE_quantile.min()) < 0


def test_the_flag_says_what_the_index_says(expected: xr.Dataset) -> None:
    index, flag = expected.dissimilarity, expected.applicable
    assert flag.dtype == np.int8
    assert ((flag == -1) == expected.GPP.isnull()).all()
    assert (index.isnull() == expected.GPP.isnull()).all()
    assert (flag.where(index > index.attrs["applicable_up_to"], 0) <= 0).all()
    assert {0, 1} <= set(np.unique(flag))


@pytest.mark.parametrize("chunks", [{"lat": 2}, {"time": 50, "lon": 3}], ids=["space", "time"])
@pytest.mark.parametrize("members", [False, True])
def test_lazy_is_the_same_and_computes_nothing(
    grid: xr.Dataset,
    bundled: FluxModel,
    expected: xr.Dataset,
    no_computes: Callable[[], AbstractContextManager[Any]],
    chunks: dict[str, int],
    members: bool,
) -> None:
    asked = {"members": True, "applicability": True} if members else ASKED
    lazy = grid.chunk(chunks)
    with no_computes():
        found = lazy.flux.predict(bundled, **asked)
    assert all(found[name].chunks is not None for name in found.data_vars)
    names = ["dissimilarity", "applicable"] if members else BESIDE
    for name, array in found[names].compute().items():
        assert array.dtype == expected[name].dtype
        xr.testing.assert_allclose(array, expected[name], atol=2e-5)


@pytest.mark.filterwarnings("ignore:The codec:UserWarning")
def test_a_store_has_the_same(
    grid: xr.Dataset, bundled: FluxModel, expected: xr.Dataset, tmp_path: Path
) -> None:
    pytest.importorskip("zarr")
    store = tmp_path / "fluxes.zarr"
    found = grid.chunk(lat=3, time=60).flux.predict_to_zarr(store, bundled, **ASKED)
    for name in BESIDE:
        assert found[name].dtype == expected[name].dtype
        assert found[name].dims == expected[name].dims
        xr.testing.assert_allclose(found[name].compute(), expected[name], atol=2e-5)
    with pytest.raises(WriteError, match="quantile, time, lat, lon"):
        grid.flux.predict_to_zarr(tmp_path / "no.zarr", bundled, **ASKED, chunks={"x": 1})


def test_netcdf_brings_all_of_it_back(expected: xr.Dataset, tmp_path: Path) -> None:
    expected.to_netcdf(tmp_path / "fluxes.nc")
    with xr.open_dataset(tmp_path / "fluxes.nc") as found:
        for name in BESIDE:
            xr.testing.assert_equal(found[name].variable, expected[name].variable)


# --- references -------------------------------------------------------------------------------


def band(target: str, positive: bool = False) -> Band:
    scores = tuple(np.linspace(-2, 3, len(LEVELS)))
    return Band(target=target, constant=0.5, size=0.1, spread=2.0, positive=positive, scores=scores)


def test_quantiles_by_hand() -> None:
    bands = (band("GPP", True), band("Reco", True), band("NEE"))
    known = Calibration(bands=bands, reference=None, entities=1, clusters=1, steps=1)
    means = {"GPP": np.array([6.0]), "Reco": np.array([1.0]), "NEE": np.array([-5.0])}
    spreads = {"GPP": np.array([0.2]), "Reco": np.array([0.0]), "NEE": np.array([0.1])}
    gpp, reco, nee = quantiles(means, spreads, CARBON, known, [0.01, 0.99])
    np.testing.assert_allclose(gpp[:, 0], [6 - 2 * 1.5, 6 + 3 * 1.5])
    np.testing.assert_allclose(reco[:, 0], [0, 1 + 3 * 0.6], rtol=1e-6)
    np.testing.assert_allclose(nee[:, 0], [-5 - 2 * 1.4, -5 + 3 * 1.4], rtol=1e-6)


@given(seed=st.integers(0, 10**6), count=st.integers(1, 40), fixed=st.integers(0, 3))
def test_dissimilarity_is_the_distance_to_the_nearest_point(
    seed: int, count: int, fixed: int
) -> None:
    rng = np.random.default_rng(seed)
    drivers = rng.normal(size=(3, 7, 6)).astype(np.float32)
    places = rng.normal(size=(3, fixed)).astype(np.float32)
    weights = (rng.random(4 + fixed) * (rng.random(4 + fixed) > 0.3)).astype(np.float32)
    points = (rng.normal(size=(count, 4 + fixed)) * weights).astype(np.float32)
    reference = Reference(weights=weights, points=points, scale=1.7, threshold=1.0)
    found = dissimilarity(drivers, places, reference)
    for cell in range(3):
        both = np.concatenate([drivers[cell, :, :4], np.tile(places[cell], (7, 1))], axis=1)
        nearest = cdist(both * weights, points).min(axis=1) / 1.7
        np.testing.assert_allclose(found[cell], nearest, atol=2e-3)


def test_bands_cover_what_they_say() -> None:
    rng = np.random.default_rng(0)

    def draw() -> list[dict[str, np.ndarray]]:
        means = {"GPP": 10 * rng.random((40, 200)), "Reco": 5 * rng.random((40, 200))}
        means["NEE"] = means["Reco"] - means["GPP"]
        spreads = {name: rng.random((40, 200)) for name in means}
        skewed = {t: rng.gamma(2, 1, (40, 200)) - 1.5 for t in means}
        errors = {t: (1 + 0.2 * abs(means[t]) + spreads[t]) * skewed[t] for t in means}
        return [means, spreads, {t: means[t] + errors[t] for t in means}]

    bands = fit_bands(*draw(), CARBON)
    known = Calibration(bands=bands, reference=None, entities=1, clusters=1, steps=1)
    means, spreads, labels = draw()
    for target, (low, high) in zip(
        CARBON, quantiles(means, spreads, CARBON, known, [0.05, 0.95]), strict=True
    ):
        label = labels[target.name]
        label = label if target.name == "NEE" else np.maximum(label, 0)
        assert abs(float(((low <= label) & (label <= high)).mean()) - 0.9) < 0.02


# --- calibration ------------------------------------------------------------------------------


def test_calibrated_on_towers_that_it_has_not_seen(
    halves: tuple[xr.Dataset, xr.Dataset, FluxModel], tmp_path: Path
) -> None:
    _, test, model = halves
    known = test.flux.calibrate(model)
    assert model.calibration is None
    assert known.members is model.members
    assert known.calibration is not None
    assert known.calibration.entities == test.sizes["site"]
    fluxes = test.flux.predict(known, quantiles=[0.05, 0.95])
    low, high = fluxes.GPP_quantile.transpose("quantile", ...)
    label = np.maximum(test.GPP, 0).where((test.NEE_QC >= 0.5) & fluxes.GPP.notnull())
    inside = ((label >= low) & (label <= high)).where(label.notnull())
    assert 0.88 < float(inside.mean()) < 0.92
    with pytest.raises(ModelError, match=r"train\.flux\.calibrate"):
        test.flux.predict(known, applicability=True)
    read = xflux.load_model(known.save(tmp_path / "known.safetensors"))
    xr.testing.assert_identical(
        test.flux.predict(read, quantiles=[0.3]).drop_attrs(),
        test.flux.predict(known, quantiles=[0.3]).drop_attrs(),
    )
    given = test.flux.calibrate(model, predictions=test.flux.predict(model))
    assert given.calibration.bands == known.calibration.bands


def test_calibrated_on_the_towers_of_training(
    halves: tuple[xr.Dataset, xr.Dataset, FluxModel],
) -> None:
    train, _, model = halves
    known = train.flux.calibrate(model, folds=2, workers=1, progress=False)
    assert known.calibration is not None
    assert known.calibration.reference is not None
    fluxes = train.flux.predict(known, applicability=True)
    inside = fluxes.applicable.where(fluxes.applicable >= 0)
    assert float(inside.mean()) > 0.8
    assert train.isel(site=[0]).flux.finetune(known).calibration is None
    far = train.assign(TA=train.TA + 25, SW_IN=train.SW_IN * 0 + 480)
    with pytest.warns(xflux.XfluxWarning, match="TA is far outside"):
        assert (far.flux.predict(known, applicability=True).applicable < 1).all()


def test_calibration_needs_clusters_steps_and_a_model_that_can_be_trained_again(
    halves: tuple[xr.Dataset, xr.Dataset, FluxModel],
) -> None:
    train, test, model = halves
    with pytest.raises(DataError, match=r"\d clusters .* at least 5 clusters"):
        test.isel(site=[0, 1, 2]).flux.calibrate(model)
    with pytest.raises(DataError, match=r"labelled steps .* at least 1000"):
        test.isel(time=slice(0, 40)).flux.calibrate(model)
    tuned = train.flux.finetune(model)
    with pytest.raises(ModelError, match=r"held_out\.flux\.calibrate"):
        train.flux.calibrate(tuned)
    monthly = xflux.datasets.load("simulated-towers", sites=6, years=1, time_step="monthly")
    with pytest.raises(ModelError, match="calibrate it on daily towers"):
        monthly.flux.calibrate(model)
    with pytest.raises(DataError, match="no GPP"):
        test.flux.calibrate(model, predictions=test.flux.predict(model)[["Reco"]])
    shifted = test.flux.predict(model).isel(time=slice(10, None))
    with pytest.raises(DataError, match="entities and times of the labels"):
        test.flux.calibrate(model, predictions=shifted)


# --- refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [{"quantiles": [0.5]}, {"applicability": True}])
def test_a_model_that_is_not_calibrated_says_what_to_type(
    grid: xr.Dataset, daily_model: FluxModel, asked: dict[str, Any]
) -> None:
    with pytest.raises(ModelError, match=r"towers\.flux\.calibrate\(model\).*members=True"):
        grid.flux.predict(daily_model, **asked)


@pytest.mark.parametrize(
    "wrong", [[], [0.5, 0.5], [0.9, 0.1], [0.0], [1.5], ["high"], 0.5, [np.nan]]
)
def test_what_is_no_quantile(grid: xr.Dataset, bundled: FluxModel, wrong: Any) -> None:
    with pytest.raises(ModelError, match=r"rising numbers from 0\.01 to 0\.99"):
        grid.flux.predict(bundled, quantiles=wrong)


def test_what_does_not_go_with_quantiles(grid: xr.Dataset, bundled: FluxModel) -> None:
    with pytest.raises(ModelError, match="leave one of them out"):
        grid.flux.predict(bundled, quantiles=[0.5], members=True)
    with pytest.raises(ModelError, match=r'ds\.rename\(quantile="level"\)'):
        grid.rename(lat="quantile").flux.predict(bundled, quantiles=[0.5])


HOSTILE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no bands": lambda c: c.update(bands=[]),
    "bands of others": lambda c: c["bands"][0].update(target="LE"),
    "a negative error": lambda c: c["bands"][0].update(size=-1.0),
    "no error": lambda c: c["bands"][0].update(constant=0.0),
    "an error that is not finite": lambda c: c["bands"][1].update(spread=float("nan")),
    "a word for yes": lambda c: c["bands"][1].update(positive="yes"),
    "scores that fall": lambda c: c["bands"][2]["scores"].reverse(),
    "scores cut short": lambda c: c["bands"][2]["scores"].pop(),
    "other levels": lambda c: c["levels"].pop(),
    "one number more": lambda c: c["bands"][0].update(more=1),
    "no steps": lambda c: c.update(steps=0),
    "steps of text": lambda c: c.update(steps="many"),
    "no points": lambda c: c["reference"].update(points=[]),
    "too many points": lambda c: c["reference"].update(points=c["reference"]["points"] * 9),
    "a short point": lambda c: c["reference"]["points"][3].pop(),
    "points of text": lambda c: c["reference"].update(points="x" * 23),
    "a point without end": lambda c: c["reference"]["points"][0].__setitem__(0, 1e300),
    "weights below 0": lambda c: c["reference"]["weights"].__setitem__(0, -1.0),
    "weights cut short": lambda c: c["reference"]["weights"].pop(),
    "a scale of 0": lambda c: c["reference"].update(scale=0.0),
    "no threshold": lambda c: c["reference"].pop("threshold"),
    "a list": lambda c: c.clear(),
}


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_calibration_is_refused(
    bundled: FluxModel, change: Callable[[dict[str, Any]], Any]
) -> None:
    about = json.loads(json.dumps(_to_json(bundled)))
    change(about["calibration"])
    with pytest.raises(ModelFileError):
        parse_model(write_file(bundled.members.data, json.dumps(about)), "it")
