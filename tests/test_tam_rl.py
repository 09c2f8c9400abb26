"""TAM-RL: supports never overlap what is scored, z by hand, and few fluxes that help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import xflux
from xflux.errors import ModelError, ModelFileError, XfluxWarning
from xflux.model import FluxModel
from xflux.networks.ct_lstm import Member
from xflux.networks.tam_rl import ModulatedMember, Support
from xflux.prediction.support import HISTORY, history
from xflux.training import task_aware
from xflux.training.settings import Settings

TINY = {"members": 2, "epochs": 2, "hidden": 8, "progress": False, "device": "cpu"}


@pytest.fixture(scope="module")
def towers() -> xr.Dataset:
    """Eight simulated towers over two years."""
    return xflux.datasets.load("simulated-towers", sites=8, years=2, seed=1)


@pytest.fixture(scope="module")
def model(towers: xr.Dataset) -> FluxModel:
    return towers.flux.train(method="tam-rl", **TINY, settings={"code": 3, "features": 4})


@pytest.fixture(scope="module")
def few(towers: xr.Dataset) -> xr.Dataset:
    return towers.isel(time=slice(20, 110))


@pytest.fixture(scope="module")
def later(towers: xr.Dataset) -> xr.Dataset:
    return towers.isel(time=slice(365, None)).drop_vars(["GPP", "Reco", "NEE"], errors="ignore")


def member(seed: int = 0) -> ModulatedMember:
    """A random member: 3 columns, 2 of them averaged over 2 spans, and 2 characteristics."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ModulatedMember(3, 2, 2, 5, spans=(3.0, 30.0), code=3, features=2).eval()
        for layer in (network.film_recurrent, network.film_direct, network.features_recurrent):
            torch.nn.init.normal_(layer.weight, std=0.3)
        network.spread.copy_(torch.tensor([3.0, 2.0, 2.5]))
        return network.requires_grad_(False)


def random_support(count: int = 2, windows: int = 4, steps: int = 6, seed: int = 0) -> Support:
    generator = torch.Generator().manual_seed(seed)

    def draw(width: int) -> torch.Tensor:
        return torch.randn(count, windows, steps, width, generator=generator)

    return Support(
        drivers=draw(3),
        means=draw(4),
        observed=draw(3),
        known=(draw(3) > 0).float(),
        there=torch.ones(count, windows, steps),
    )


# --- z ------------------------------------------------------------------------------------------


def test_nothing_known_is_a_z_of_zero_and_the_plain_member() -> None:
    network = member()
    nothing = random_support()._replace(there=torch.zeros(2, 4, 6))
    z = network.encode(nothing, torch.randn(2, 2))
    torch.testing.assert_close(z, torch.zeros_like(z), rtol=0, atol=0)
    plain = Member(3, 2, 2, 5, spans=(3.0, 30.0)).eval()
    same = {n: t for n, t in network.state_dict().items() if n in plain.state_dict()}
    plain.load_state_dict({**same, "spread": network.spread[:2]})
    drivers, characteristics = torch.randn(2, 40, 3), torch.randn(2, 2)
    with torch.no_grad():
        expected, _ = plain(drivers, characteristics)
    for given_z in (z, None):
        found, _ = network(drivers, characteristics, z=given_z)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_z_without_fluxes_has_a_code_and_no_coefficients() -> None:
    drivers = random_support()._replace(known=torch.zeros(2, 4, 6, 3))
    z = member().encode(drivers, torch.zeros(2, 2))
    assert bool((z[:, :3] != 0).any())
    torch.testing.assert_close(z[:, 3:], torch.zeros(2, 4), rtol=0, atol=0)


def test_what_is_not_known_does_not_matter() -> None:
    network, support = member(), random_support()
    z = network.encode(support, torch.zeros(2, 2))
    other = torch.where(support.known > 0, support.observed, torch.full((), 1e6))
    again = network.encode(support._replace(observed=other), torch.zeros(2, 2))
    torch.testing.assert_close(z, again, rtol=0, atol=0)


def test_windows_in_another_order_are_the_same_support() -> None:
    network, support = member(), random_support()
    turned = Support(*(part.flip(1) for part in support))
    torch.testing.assert_close(
        network.encode(support, torch.zeros(2, 2)), network.encode(turned, torch.zeros(2, 2))
    )


def test_coefficients_equal_a_ridge_regression_in_loops() -> None:
    network, support = member(), random_support(count=1)
    found = network.encode(support, torch.zeros(1, 2))[0, 3:].double().numpy()
    spread = network.spread.numpy().astype(np.float64)
    rows, errors = [], []
    for window in range(4):
        for step in range(6):
            drivers, means = support.drivers[0, window, step], support.means[0, window, step]
            seen = torch.cat([drivers, means, torch.zeros(2)])
            direct = network.direct
            inner = torch.nn.functional.silu(direct.first(seen))
            inner = torch.nn.functional.silu(direct.second(inner))
            heads = direct.heads(inner).numpy().astype(np.float64)
            features = network.features_direct(inner).view(2, 2).numpy().astype(np.float64)
            predicted = np.log1p(np.exp(heads)) * spread[:2]
            predicted = np.append(predicted, predicted[1] - predicted[0])
            change = features / (1.0 + np.exp(-heads))[:, None]
            of_flux = [
                np.append(change[0], [0, 0]),
                np.append([0, 0], change[1]),
                np.append(-change[0] * spread[0], change[1] * spread[1]) / spread[2],
            ]
            for flux in range(3):
                if support.known[0, window, step, flux] > 0:
                    observed = float(support.observed[0, window, step, flux])
                    rows.append(of_flux[flux])
                    errors.append((observed - predicted[flux]) / spread[flux])
    x, e = np.array(rows), np.array(errors)
    ridge = np.exp(float(network.log_ridge)) * np.eye(4)
    np.testing.assert_allclose(found, np.linalg.solve(x.T @ x + ridge, x.T @ e), atol=1e-6)


# --- supports of training -----------------------------------------------------------------------


@given(
    seed=st.integers(0, 1000),
    begin=st.integers(0, 250),
    length=st.integers(1, 120),
    gaps=st.floats(0.0, 0.6),
)
def test_a_support_never_overlaps_what_it_is_for(
    seed: int, begin: int, length: int, gaps: float
) -> None:
    generator = np.random.default_rng(seed)
    usable = np.ones((1, 300), dtype=bool)
    labelled = generator.random((1, 300)) >= gaps
    end = min(300, begin + length)
    windows = np.tile([0, begin, begin, end], (16, 1))
    drawn = task_aware.draw(windows, usable, labelled, 30, 16, generator)
    first = drawn.first[drawn.first >= 0]
    assert ((first + 30 <= begin) | (first >= end)).all()
    assert (first + 30 <= 300).all()
    assert ((drawn.labelled >= 0) & (drawn.labelled <= 30)).all()


def test_a_support_holds_nothing_drivers_or_fluxes() -> None:
    usable = np.ones((1, 900), dtype=bool)
    windows = np.tile([0, 100, 190, 400], (2000, 1))
    drawn = task_aware.draw(windows, usable, usable, 30, 16, np.random.default_rng(0))
    some = (drawn.first >= 0).any(axis=1)
    shares = (~some).mean(), (some & (drawn.labelled == 0)).mean(), (drawn.labelled > 0).mean()
    np.testing.assert_allclose(shares, task_aware.SHARES, atol=0.05)
    counts = (drawn.first >= 0).sum(axis=1)
    assert set(counts.tolist()) == set(range(17))


def test_a_tower_without_other_times_is_learnt_zero_shot() -> None:
    usable = np.ones((1, 100), dtype=bool)
    windows = np.tile([0, 0, 0, 100], (20, 1))
    drawn = task_aware.draw(windows, usable, usable, 30, 16, np.random.default_rng(0))
    assert (drawn.first == -1).all()
    assert (drawn.labelled == 0).all()


# --- from training to prediction ----------------------------------------------------------------


def test_a_seed_gives_the_same_bits(towers: xr.Dataset, model: FluxModel) -> None:
    settings = {"code": 3, "features": 4}
    again = towers.flux.train(method="tam-rl", **TINY, settings=settings)
    other = towers.flux.train(method="tam-rl", **TINY, seed=1, settings=settings)
    assert again.members.data == model.members.data
    assert other.members.data != model.members.data


def supports(few: xr.Dataset) -> dict[str, Any]:
    return {"none": "none", "drivers": "drivers", "few": few}


@pytest.mark.parametrize("name", ["none", "drivers", "few"])
def test_chunks_change_nothing_and_compute_nothing(
    later: xr.Dataset, few: xr.Dataset, model: FluxModel, name: str, no_computes
) -> None:
    support = supports(few)[name]
    whole = later.flux.predict(model, support=support, members=True)
    lazily = support.chunk(site=5, time=20) if name == "few" else support
    with no_computes():
        lazy = [
            later.chunk(site=3).flux.predict(model, support=support, members=True),
            later.chunk(site=3, time=100).flux.predict(model, support=lazily, members=True),
        ]
    for one in lazy:
        np.testing.assert_allclose(one.GPP, whole.GPP, rtol=0, atol=2e-6)
        np.testing.assert_allclose(one.Reco, whole.Reco, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", ["none", "drivers", "few"])
def test_a_restart_changes_nothing(
    towers: xr.Dataset, few: xr.Dataset, model: FluxModel, name: str, tmp_path: Path
) -> None:
    first, rest = towers.isel(time=slice(0, 400)), towers.isel(time=slice(400, None))
    support = supports(few)[name]
    one, state = first.flux.predict(model, support=support, return_state=True)
    state.to_netcdf(tmp_path / "state.nc")
    with xr.open_dataset(tmp_path / "state.nc") as read:
        two = rest.flux.predict(model, initial_state=read)
        three = rest.chunk(site=3, time=50).flux.predict(model, initial_state=read.load())
    bare = first.drop_vars(["GPP", "Reco", "NEE"], errors="ignore")
    known = bare if name == "drivers" else support
    whole = towers.flux.predict(model, support=known)
    if name != "drivers":  # history of a part is evenly spread over that part
        joined = xr.concat([one.GPP, two.GPP], "time")
        np.testing.assert_allclose(joined, whole.GPP, rtol=0, atol=2e-6)
    np.testing.assert_allclose(three.GPP, two.GPP, rtol=0, atol=2e-6)


def test_a_new_support_replaces_that_of_the_state(
    towers: xr.Dataset, few: xr.Dataset, model: FluxModel
) -> None:
    first, rest = towers.isel(time=slice(0, 400)), towers.isel(time=slice(400, None))
    _, without = first.flux.predict(model, support="none", return_state=True)
    _, known = first.flux.predict(model, support=few, return_state=True)
    found = rest.flux.predict(model, initial_state=without, support=few)
    expected = rest.flux.predict(model, initial_state=known)
    np.testing.assert_allclose(found.GPP, expected.GPP, rtol=0, atol=2e-6)
    assert float(abs(found.GPP - rest.flux.predict(model, initial_state=without).GPP).max()) > 1e-4


def test_saved_and_read_it_predicts_the_same(
    later: xr.Dataset, few: xr.Dataset, model: FluxModel, tmp_path: Path
) -> None:
    again = xflux.load_model(model.save(tmp_path / "tam.safetensors"))
    found, expected = (later.flux.predict(m, support=few) for m in (again, model))
    np.testing.assert_array_equal(found.GPP, expected.GPP)
    from dataclasses import replace

    for changed in ({"code": 4}, {"method": "ct-lstm"}, {"features": 3}):
        wrong = replace(model, settings=replace(model.settings, **changed))
        with pytest.raises(ModelFileError):
            xflux.load_model(wrong.save(tmp_path / "wrong.safetensors"))


def test_fluxes_are_positive_and_close(
    later: xr.Dataset, few: xr.Dataset, model: FluxModel
) -> None:
    found = later.flux.predict(model, support=few)
    assert float(found.GPP.min()) >= 0
    assert float(found.Reco.min()) >= 0
    np.testing.assert_allclose(found.NEE, found.Reco - found.GPP, rtol=0, atol=1e-5)


def test_quality_and_entities_without_fluxes(
    later: xr.Dataset, few: xr.Dataset, model: FluxModel
) -> None:
    poor = few.assign(NEE_QC=xr.zeros_like(few.GPP, dtype=float).assign_attrs(units="1"))
    bare = few.drop_vars(["GPP", "Reco", "NEE", "NEE_QC"], errors="ignore")
    found, expected = (later.flux.predict(model, support=s) for s in (poor, bare))
    np.testing.assert_allclose(found.GPP, expected.GPP, rtol=0, atol=2e-6)
    half = few.assign({n: few[n].where(few[n].site != few.site[0]) for n in ("GPP", "Reco", "NEE")
                       if n in few})  # fmt: skip
    found, known = (later.flux.predict(model, support=s) for s in (half, few))
    np.testing.assert_allclose(found.GPP[0], expected.GPP[0], rtol=0, atol=2e-6)
    np.testing.assert_allclose(found.GPP[1:], known.GPP[1:], rtol=0, atol=2e-6)


@pytest.mark.filterwarnings("ignore:.*has classes that the model has not seen")
def test_a_grid_and_a_single_series(model: FluxModel) -> None:
    grid = xflux.datasets.load("simulated-grid", shape=(6, 12), years=1)
    found = grid.flux.predict(model)
    lazy = grid.chunk(lat=3, lon=5, time=90).flux.predict(model)
    np.testing.assert_allclose(lazy.GPP, found.GPP, rtol=0, atol=2e-6)
    land = np.isfinite(found.GPP.values).any(axis=0)
    assert land.any()
    lat, lon = (int(v[0]) for v in np.nonzero(land))
    one = grid.isel(lat=lat, lon=lon)
    np.testing.assert_allclose(
        one.flux.predict(model).GPP, found.GPP[:, lat, lon], rtol=0, atol=2e-6
    )


def test_windows_of_history() -> None:
    index, segments = history(365 * 20, "daily")
    assert len(segments) == HISTORY
    windows = [index[s.start + s.first : s.end] for s in segments]
    assert all(len(window) == 30 for window in windows)
    assert windows[0][0] == 0
    assert windows[-1][-1] > 365 * 20 - 31
    before = [index[s.start : s.start + s.first] for s in segments[1:]]
    assert all(
        (b == np.arange(w[0] - 90, w[0])).all() for b, w in zip(before, windows[1:], strict=True)
    )
    assert history(29, "daily") == (pytest.approx([]), ())


# --- errors -------------------------------------------------------------------------------------


def test_errors_say_what_to_type(
    towers: xr.Dataset, later: xr.Dataset, few: xr.Dataset, model: FluxModel,
    daily_model: FluxModel,
) -> None:  # fmt: skip
    with pytest.raises(ModelError, match=r'method="tam-rl"'):
        later.flux.predict(daily_model, support=few)
    with pytest.raises(ModelError, match="'drivers'"):
        later.flux.predict(model, support="fluxes")
    with pytest.raises(ModelError, match="not list"):
        later.flux.predict(model, support=[few])
    with pytest.raises(ModelError, match=r'support\.reindex\(site=ds\["site"\]\)'):
        later.flux.predict(model, support=few.isel(site=slice(None, None, -1)))
    with pytest.warns(XfluxWarning, match="no history of drivers"):
        later.isel(time=slice(0, 20)).flux.predict(model)
    for wrong in ({"code": 0}, {"features": 0}, {"support": 0}):
        with pytest.raises(ModelError, match=next(iter(wrong))):
            Settings(method="tam-rl", **wrong)


# --- few fluxes help ----------------------------------------------------------------------------


def scaled_towers(count: int, seed: int) -> xr.Dataset:
    """Monthly towers of one law whose fluxes differ by a factor that nothing else tells."""
    ds = xflux.datasets.load(
        "simulated-towers", sites=count, years=4, time_step="monthly", seed=seed
    )
    factor = np.random.default_rng(seed).uniform(0.4, 1.6, count)
    scale = xr.DataArray(factor, dims="site", coords={"site": ds.site})
    return ds.assign(
        {n: (ds[n] * scale).assign_attrs(ds[n].attrs) for n in ("GPP", "Reco", "NEE") if n in ds}
    )


def test_few_fluxes_tell_the_scale_of_a_tower() -> None:
    train, test = scaled_towers(40, 1), scaled_towers(12, 2)
    model = train.flux.train(
        method="tam-rl", members=1, epochs=40, hidden=16, progress=False, device="cpu",
        settings={"features": 4, "window": 12, "spin_up": 6, "learning_rate": 5e-3},
    )  # fmt: skip
    few, later = test.isel(time=slice(0, 12)), test.isel(time=slice(12, None))
    rmse = {}
    for name, support in supports(few).items():
        predicted = later.flux.predict(model, support=support)
        rmse[name] = later.flux.evaluate(predicted).rmse_mean
    for target in ("GPP", "Reco"):
        zero, known = (float(rmse[name].sel(target=target)) for name in ("none", "few"))
        assert known < 0.6 * zero, (target, zero, known)
