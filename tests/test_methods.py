"""What holds for every method: processes, checkpoints, stores, engines, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr

import xflux
from xflux.errors import ModelError, WriteError
from xflux.model import FluxModel
from xflux.prediction import engines, ensemble, writing
from xflux.training import members
from xflux.training.settings import METHODS, Settings

TINY = {"members": 2, "epochs": 2, "hidden": 6, "progress": False, "device": "cpu"}

OWN: dict[str, dict[str, Any]] = {
    "ct-lstm": {},
    "ct-lstm-physics": {},
    "tam-rl": {"code": 3, "features": 4},
    "metaflux": {"batch": 8, "window": 5, "target": "tropical"},
}
"""Small settings of each method."""


@pytest.fixture(scope="module")
def towers() -> xr.Dataset:
    """Eight simulated towers over 400 days, two of them tropical."""
    ds = xflux.datasets.load("simulated-towers", sites=8, years=2, seed=1)
    return ds.isel(time=slice(0, 400)).assign(tropical=("site", np.arange(8) < 2))


@pytest.fixture(scope="module")
def models(towers: xr.Dataset) -> dict[str, FluxModel]:
    return {method: trained(towers, method) for method in METHODS}


def trained(towers: xr.Dataset, method: str, **more: Any) -> FluxModel:
    return towers.flux.train(method=method, **{**TINY, **more}, settings=OWN[method])


def test_all_methods_are_here() -> None:
    assert set(OWN) == set(METHODS)


@pytest.mark.parametrize("method", ["tam-rl", "metaflux"])
def test_processes_train_the_same_bits(
    towers: xr.Dataset, models: dict[str, FluxModel], method: str
) -> None:
    assert trained(towers, method, workers=2).members.data == models[method].members.data


@pytest.mark.parametrize("method", ["tam-rl", "metaflux"])
def test_a_training_that_broke_off_goes_on_to_the_same_bits(
    towers: xr.Dataset, models: dict[str, FluxModel], method: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path, step, done = tmp_path / "kept.checkpoint", members.Bar.step, []

    def broken(bar: Any, title: str, loss: float) -> None:
        step(bar, title, loss)
        done.append(title)
        if len(done) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(members.Bar, "step", broken)
    with pytest.raises(KeyboardInterrupt):
        trained(towers, method, checkpoint=path)
    assert path.exists()
    resumed = trained(towers, method, checkpoint=path)
    assert done[3:] == done[2:3]  # one epoch was left, of the member that had begun
    assert resumed.members.data == models[method].members.data


def test_a_checkpoint_of_another_target_domain_is_refused(
    towers: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(bar: Any, title: str, loss: float) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(members.Bar, "step", broken)
        with pytest.raises(KeyboardInterrupt):
            trained(towers, "metaflux", checkpoint=tmp_path / "kept")
    others = towers.assign(tropical=~towers.tropical)
    with pytest.raises(ModelError, match="other data or settings"):
        trained(others, "metaflux", checkpoint=tmp_path / "kept")


def test_epochs_of_tam_rl_are_chosen_on_clusters_kept_out() -> None:
    towers = xflux.datasets.load("simulated-towers", sites=14, years=2, seed=3, time_step="monthly")
    model = towers.flux.train(
        method="tam-rl", members=1, hidden=4, progress=False, device="cpu",
        settings={"epochs": 3, "code": 2, "features": 2},
    )  # fmt: skip
    curve = model.card["validation_loss"]
    assert len(curve) == 3
    assert model.settings.stop == int(np.argmin(curve)) + 1


@pytest.mark.filterwarnings("ignore:.*entities are in the target")
@pytest.mark.parametrize("method", ["tam-rl", "metaflux"])
def test_every_method_can_be_cross_validated(towers: xr.Dataset, method: str) -> None:
    scores = towers.isel(site=slice(0, 4)).flux.cross_validate(
        folds=2, method=method, **{**TINY, "members": 1}, settings=OWN[method]
    )
    assert bool(np.isfinite(scores.rmse).all())


# --- stores -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "cut"),
    [
        ("tam-rl", {"site": 3, "time": 150}),
        ("tam-rl", None),
        ("metaflux", {"site": 3, "time": -1}),
        ("metaflux", None),
    ],
)
def test_a_store_holds_what_predict_gives_and_the_state_goes_on(
    towers: xr.Dataset, models: dict[str, FluxModel], method: str, cut: dict[str, int] | None,
    tmp_path: Path,
) -> None:  # fmt: skip
    model, first = models[method], towers.isel(time=slice(0, 370))
    rest = towers.isel(time=slice(370, None))
    drivers = first if cut is None else first.chunk(cut)
    expected, state = first.flux.predict(model, return_state=True)
    written = drivers.flux.predict_to_zarr(
        tmp_path / "fluxes.zarr", model, final_state=tmp_path / "state.zarr", progress=False,
        chunks={"site": 3, "time": 185},
    )  # fmt: skip
    for name in expected.data_vars:
        np.testing.assert_allclose(written[name], expected[name], rtol=0, atol=2e-6)
    kept = xr.open_zarr(tmp_path / "state.zarr")
    np.testing.assert_allclose(kept.context, state.context, rtol=0, atol=2e-6)
    found = rest.flux.predict(model, initial_state=kept.load())
    once = rest.flux.predict(model, initial_state=state)
    np.testing.assert_allclose(found.GPP, once.GPP, rtol=0, atol=2e-6)


def test_a_support_reaches_a_store(
    towers: xr.Dataset, models: dict[str, FluxModel], tmp_path: Path
) -> None:
    few, later = towers.isel(time=slice(0, 90)), towers.isel(time=slice(200, None))
    model = models["tam-rl"]
    expected = later.flux.predict(model, support=few)
    written = later.chunk(site=4, time=60).flux.predict_to_zarr(
        tmp_path / "fluxes.zarr", model, support=few, progress=False
    )
    np.testing.assert_allclose(written.GPP, expected.GPP, rtol=0, atol=2e-6)
    assert float(abs(written.GPP - later.flux.predict(model)).max().GPP) > 1e-5


def test_a_store_with_another_support_is_refused(
    towers: xr.Dataset, models: dict[str, FluxModel], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    few, later = towers.isel(time=slice(0, 90)), towers.isel(time=slice(200, None)).chunk(site=2)
    other = few.assign(GPP=(few.GPP * 2).assign_attrs(few.GPP.attrs))
    model, predict, done = models["tam-rl"], writing.predict_block, []

    def stops(*args: Any, **options: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(options)
        return predict(*args, **options)

    monkeypatch.setattr(writing, "predict_block", stops)
    store = tmp_path / "fluxes.zarr"
    with dask.config.set(scheduler="synchronous"):
        with pytest.raises(KeyboardInterrupt):
            later.flux.predict_to_zarr(store, model, support=few, progress=False)
        monkeypatch.undo()
        with pytest.raises(WriteError, match="with other support"):
            later.flux.predict_to_zarr(store, model, support=other, progress=False)
        written = later.flux.predict_to_zarr(store, model, support=few, progress=False)
    expected = later.flux.predict(model, support=few)
    np.testing.assert_allclose(written.GPP, expected.GPP, rtol=0, atol=2e-6)


# --- engines ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_an_ensemble_says_its_method_and_its_engine(
    models: dict[str, FluxModel], method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XFLUX_ENGINE", raising=False)
    weights = models[method].members
    assert ensemble.sizes_of(weights).method == method
    chosen = ensemble.choice_of(weights)
    if method in engines.LAYERED:
        assert chosen == engines.choose()
    elif engines.choose().name == "fused":
        assert chosen == ("torch", f"compiled code knows no {method}", 0)


def test_other_than_two_outputs_are_for_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XFLUX_ENGINE", raising=False)
    monkeypatch.setattr(engines, "_lanes", lambda: (8, "AVX2"))
    reason = "compiled code has two outputs, the model has 3"
    assert engines.choose(outputs=3) == ("torch", reason, 0)
    monkeypatch.setenv("XFLUX_ENGINE", "fused")
    with pytest.raises(ModelError, match=rf"XFLUX_ENGINE=fused cannot be: {reason}"):
        engines.choose(outputs=3)


def test_members_of_two_methods_are_no_ensemble(models: dict[str, FluxModel]) -> None:
    mixed = [models[method].weights[0] for method in ("ct-lstm", "tam-rl")]
    with pytest.raises(ModelError, match="different methods"):
        engines.build(mixed, models["ct-lstm"].inputs.width, device="cpu")


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "more", "match"),
    [
        ("tam-rl", {"settings": {"inner_steps": 3}}, r"'inner_steps' is a setting of method=\"m"),
        ("ct-lstm", {"settings": {"code": 3}}, r"'code' is a setting of method=\"tam-rl\""),
        ("metaflux", {"settings": {"dropout": 0.1}}, "'dropout' changes nothing in it.*leave them"),
        ("metaflux", {"characteristics": ["lat"]}, "takes drivers alone: leave out char"),
        ("tam-rl", {"settings": {"physics": {}}}, 'method="ct-lstm-physics" does'),
        ("metaflux", {"world": xr.Dataset()}, "learns nothing from a world"),
        ("maml", {}, "there are 'ct-lstm', 'ct-lstm-physics', 'tam-rl', 'metaflux'"),
    ],
)  # fmt: skip
def test_what_a_method_has_no_use_for_is_refused(
    towers: xr.Dataset, method: str, more: dict[str, Any], match: str
) -> None:
    with pytest.raises(ModelError, match=match):
        towers.flux.train(method=method, **TINY, **more)


@pytest.mark.parametrize("method", ["ct-lstm-physics", "tam-rl", "metaflux"])
def test_only_the_plain_network_is_tuned(
    towers: xr.Dataset, models: dict[str, FluxModel], method: str
) -> None:
    with pytest.raises(ModelError, match=rf"of method '{method}'.*ds\.flux\.train\(\)"):
        towers.flux.finetune(models[method])


@pytest.mark.parametrize("method", ["tam-rl", "metaflux"])
def test_precision_is_refused_where_there_is_none(
    towers: xr.Dataset, models: dict[str, FluxModel], method: str
) -> None:
    with pytest.raises(ModelError, match=rf"this one is of {method}: leave precision out"):
        towers.flux.predict(models[method], precision="bfloat16")


def test_other_targets_need_the_plain_network(models: dict[str, FluxModel]) -> None:
    from xflux.networks.building import build_network

    with pytest.raises(ModelError, match='other targets need method="ct-lstm"'):
        build_network(models["tam-rl"].inputs, Settings(method="tam-rl"), outputs=3)
