"""Faults of training and of models (rows 61-64, 69 and 70)."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from faulty import drivers_of, row, says, warned

from xflux.cf.schema import resolve
from xflux.errors import DataError, ModelError, SchemaError, TrainingDiverged, XfluxWarning
from xflux.features import Inputs
from xflux.model import FluxModel
from xflux.skill.clusters import clusters
from xflux.training import recipe
from xflux.training.checkpoint import Checkpoint, Reached
from xflux.training.towers import describe_inputs, read_towers


@pytest.fixture
def drivers(some_towers: xr.Dataset) -> xr.Dataset:
    return drivers_of(some_towers)


@pytest.fixture
def towers(some_towers: xr.Dataset) -> xr.Dataset:
    return some_towers.copy(deep=True)


SMALL = {"members": 1, "epochs": 3, "hidden": 4, "progress": False}


@pytest.mark.parametrize("epoch", [row(61, "loss_not_a_number", 2)])
def test_divergence_names_the_epoch_and_keeps_the_last_good_one(
    towers: xr.Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, epoch: int
) -> None:
    whole = recipe.multi_loss

    def failing(*given: Any) -> Any:
        return whole(*given) * (math.nan if len(epochs) + 1 == epoch else 1.0)

    epochs: list[int] = []
    keys: list[str] = []
    write, make = Checkpoint.write, Checkpoint.__init__

    def made(self: Checkpoint, path: Any, key: str) -> None:
        keys.append(key)
        make(self, path, key)

    def written(self: Checkpoint, name: str, reached: Reached) -> None:
        epochs.append(reached.epochs)
        write(self, name, reached)

    monkeypatch.setattr(recipe, "multi_loss", failing)
    monkeypatch.setattr(Checkpoint, "write", written)
    monkeypatch.setattr(Checkpoint, "__init__", made)
    path = tmp_path / "training.safetensors"
    with pytest.raises(TrainingDiverged) as caught:
        towers.flux.train(checkpoint=path, **SMALL)
    says(caught.value, f"nan in epoch {epoch} of 3", "look for extreme", 'settings={"learning_')
    good = Checkpoint(path, keys[0]).reached("member0")
    assert good.epochs == epoch - 1
    assert good.tensors
    assert all(np.isfinite(tensor.numpy()).all() for tensor in good.tensors.values())


@pytest.mark.parametrize("rate", [row(61, "learning_rate_too_large", 1e30)])
def test_divergence_of_its_own(towers: xr.Dataset, rate: float) -> None:
    with pytest.raises(TrainingDiverged, match=r"in epoch \d of 3"):
        towers.flux.train(settings={"learning_rate": rate}, **SMALL)


def inputs_of(ds: xr.Dataset) -> Inputs:
    return describe_inputs(read_towers(ds, resolve(ds)), derived=())


@pytest.mark.parametrize("value", [row(62, "constant_driver", 4.25), row(62, "zero_driver", 0.0)])
def test_constant_driver(towers: xr.Dataset, value: float) -> None:
    towers["P"][...] = value
    with warned(f"driver P is {value:g} at every step of every entity", "leave it out"):
        found = inputs_of(towers)
    assert found.scale[found.drivers.index("P")] == 1.0
    assert np.isfinite(found.scale).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XfluxWarning)
        model = towers.flux.train(**SMALL)
    varied = drivers_of(towers)
    varied["P"][...] = np.linspace(0, 30, 365)
    assert np.isfinite(varied.flux.predict(model)["GPP"]).all()


@pytest.mark.parametrize("value", [row(62, "constant_characteristic", 45.0)])
def test_constant_characteristic(towers: xr.Dataset, value: float) -> None:
    found = inputs_of(towers.assign_coords(lat=towers["lat"] * 0 + value))
    latitude = next(c for c in found.characteristics if c.name == "lat")
    assert (latitude.centre, latitude.scale) == (value, 1.0)


def one_labelled(towers: xr.Dataset, days: int) -> xr.Dataset:
    """One tower with so many labelled days."""
    labelled = towers["GPP"].notnull() & (towers["NEE_QC"] >= 0.5)
    best = int(labelled.sum("time").values.argmax())
    one = towers.isel(site=[best])
    kept = np.flatnonzero(labelled.values[best])[:days]
    mask = xr.DataArray(np.isin(np.arange(365), kept), dims="time")
    return one.assign({name: one[name].where(mask) for name in ("GPP", "Reco", "NEE")})


@pytest.mark.parametrize("days", [row(63, "a_few_days", 20)])
def test_too_few_labels(towers: xr.Dataset, days: int) -> None:
    with pytest.raises(DataError) as caught:
        one_labelled(towers, days).flux.train(**SMALL)
    says(caught.value, f"only {days} steps with labels", "at least 30", 'load_model("daily")')


@pytest.mark.parametrize("days", [row(63, "one_site_a_month", 40)])
def test_few_labels_are_warned_of(towers: xr.Dataset, days: int) -> None:
    ds = one_labelled(towers, days)
    with warned(f"only {days} steps with labels", "hardly know the seasons"):
        model = ds.flux.train(**SMALL)
    assert np.isfinite(ds.flux.predict(model)["NEE"]).all()


@pytest.mark.parametrize("task", [row(63, "no_labels", "no targets")])
def test_no_labels(drivers: xr.Dataset, task: str) -> None:
    with pytest.raises(SchemaError, match=task):
        drivers.flux.train(**SMALL)


def neighbours(towers: xr.Dataset) -> xr.Dataset:
    """Every tower twice, the second some 5 km away."""
    twin = towers.assign_coords(lat=towers["lat"] + 0.04, site=[f"{s}-b" for s in towers.site.data])
    return xr.concat([towers, twin], "site")


@pytest.mark.parametrize("seed", [row(64, f"split_{n}", n) for n in range(5)])
def test_split_keeps_neighbours_together(towers: xr.Dataset, seed: int) -> None:
    ds = neighbours(towers)
    group = dict(zip(ds.site.data, clusters(ds["lat"], ds["lon"]), strict=True))
    train, test = ds.flux.split(test=0.3, seed=seed)
    assert {*train.site.data} | {*test.site.data} == {*ds.site.data}
    assert train.sizes["site"] + test.sizes["site"] == ds.sizes["site"]
    assert not {group[s] for s in train.site.data} & {group[s] for s in test.site.data}


@pytest.mark.parametrize("by", [row(64, "folds_of_clusters", "site"), row(64, "classes", "igbp")])
def test_cross_validation_never_trains_next_door(
    towers: xr.Dataset, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    from xflux.training import fitting

    ds = neighbours(towers.isel(time=slice(0, 200)))
    group = dict(zip(ds.site.data, clusters(ds["lat"], ds["lon"]), strict=True))
    parts: list[set[int]] = []
    fit = fitting.fit_model

    def watched(part: xr.Dataset, *given: Any, **options: Any) -> FluxModel:
        parts.append({group[s] for s in part.site.data})
        return fit(part, *given, **options)

    monkeypatch.setattr(fitting, "fit_model", watched)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XfluxWarning)
        scores = ds.flux.cross_validate(folds=2, by=by, **{**SMALL, "epochs": 1})
    for number, part in enumerate(parts):
        held = {group[s] for s in scores.site.data[scores["fold"].values == number]}
        assert held
        assert not held & part


@pytest.mark.parametrize("folds", [row(64, "epochs_by_clusters", 2)])
def test_epochs_are_chosen_on_other_clusters(towers: xr.Dataset, folds: int) -> None:
    from xflux.skill import splits

    ds = neighbours(towers)
    groups = clusters(ds["lat"], ds["lon"])
    fold = splits.folds(groups, n=folds, seed=0)
    for k in range(folds):
        assert not {*groups[fold == k]} & {*groups[fold != k]}


WRONG_MODELS = [
    row(69, "a_name_of_no_model", "daily", "not str"),
    row(69, "a_number", 3, "not int"),
    row(69, "a_dataset", xr.Dataset(), "not Dataset"),
    row(69, "an_untrained_class", FluxModel, "not type"),
]


@pytest.mark.parametrize(("model", "words"), WRONG_MODELS)
def test_predicting_without_a_trained_model(drivers: xr.Dataset, model: Any, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        drivers.flux.predict(model)
    says(caught.value, "a trained model is needed", words, "model = ds.flux.train()",
         'xflux.load_model("daily")')  # fmt: skip


@pytest.mark.parametrize("words", [row(69, "model_of_another_step", "the model is monthly")])
def test_model_of_another_time_step(
    drivers: xr.Dataset, monthly_model: FluxModel, words: str
) -> None:
    with pytest.raises(ModelError) as caught:
        drivers.flux.predict(monthly_model)
    says(caught.value, words, "the Dataset is daily", 'ds = ds.flux.drivers(to="monthly")')


@pytest.mark.parametrize("step", [row(69, "no_model_for_this_step", "7D")])
def test_no_bundled_model_for_a_time_step(drivers: xr.Dataset, step: str) -> None:
    time = xr.date_range("2001-01-01", periods=365, freq=step)
    with pytest.raises(ModelError, match="the time step is weekly; the bundled ensembles are"):
        drivers.assign_coords(time=time).flux.predict()


@pytest.mark.parametrize("seed", [row(69, "drivers_in_any_order", 0)])
def test_order_of_the_drivers_does_not_matter(
    drivers: xr.Dataset, daily_model: FluxModel, seed: int
) -> None:
    names = np.random.default_rng(seed).permutation([str(n) for n in drivers.data_vars])
    found = drivers[list(names)].flux.predict(daily_model)
    xr.testing.assert_equal(found, drivers.flux.predict(daily_model))


@pytest.mark.parametrize("name", [row(69, "characteristic_of_the_model_missing", "lat")])
def test_characteristic_that_the_model_needs(
    drivers: xr.Dataset, daily_model: FluxModel, name: str
) -> None:
    with pytest.raises(SchemaError, match=f"characteristic {name}"):
        drivers.drop_vars(name).flux.predict(daily_model)


LAYOUTS: list[Any] = [
    row(70, "eager", lambda ds: ds),
    row(70, "lazy", lambda ds: ds.chunk(site=1)),
    row(70, "extreme_cold", lambda ds: ds.assign(TA=ds["TA"] * 0 - 60)),
    row(70, "dark", lambda ds: ds.assign(SW_IN=ds["SW_IN"] * 0)),
]


@pytest.mark.parametrize("change", LAYOUTS)
@pytest.mark.parametrize("members", [False, True], ids=["mean", "members"])
def test_fluxes_close_exactly_and_are_not_negative(
    drivers: xr.Dataset,
    daily_model: FluxModel,
    change: Callable[[xr.Dataset], xr.Dataset],
    members: bool,
) -> None:
    found = change(drivers).flux.predict(daily_model, members=members).load()
    np.testing.assert_array_equal(found["NEE"], found["Reco"] - found["GPP"])
    assert (found["GPP"] >= 0).all()
    assert (found["Reco"] >= 0).all()
