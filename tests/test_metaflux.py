"""MetaFlux: the meta-gradient by hand, the target towers, and prediction with a scaling."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

import xflux
from xflux.cf.schema import resolve
from xflux.errors import DataError, ModelError, ModelFileError, XfluxWarning
from xflux.model import FluxModel
from xflux.networks.building import build_network
from xflux.networks.metaflux import MetaFluxMember, unrolled
from xflux.training import meta
from xflux.training.domains import entity_scaling, target_entities, tropical
from xflux.training.settings import OF_METHOD, Settings
from xflux.training.towers import describe_inputs
from xflux.training.windows import Batch, Tensors

TINY = {"members": 2, "epochs": 2, "hidden": 6, "progress": False, "device": "cpu"}


@pytest.fixture(scope="module")
def towers() -> xr.Dataset:
    """Eight simulated towers over two years, two of them tropical."""
    ds = xflux.datasets.load("simulated-towers", sites=8, years=2, seed=1)
    return ds.assign(tropical=("site", np.arange(8) < 2))


def trained(towers: xr.Dataset, **settings: Any) -> FluxModel:
    own = {"batch": 8, "window": 5, "target": "tropical", **settings}
    return towers.flux.train(method="metaflux", **TINY, settings=own)


@pytest.fixture(scope="module")
def published(towers: xr.Dataset) -> FluxModel:
    return trained(towers)


# --- the meta-gradient --------------------------------------------------------------------------


def tiny_problem(seed: int = 0) -> tuple[MetaFluxMember, list[meta.Task]]:
    """A member in double precision, and one task of two support and two query batches."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = MetaFluxMember(2, (1,), 3, by_entity=False).double()

        def batch() -> Batch:
            drivers = torch.randn(4, 5, 3, dtype=torch.float64)
            drivers[..., 2] = (torch.rand(4, 5) > 0.3).double()
            targets = torch.randn(4, 5, 3, dtype=torch.float64)
            targets[0, 2] = torch.nan
            weight = torch.isfinite(targets).double()
            return Batch(drivers, torch.zeros(4, 0, dtype=torch.float64), targets, weight)

        return network, [meta.Task((batch(), batch()), (batch(), batch()))]


def by_hand(network: MetaFluxMember, parameters: list[Tensor], task: meta.Task) -> Tensor:
    """The mean query loss after two inner steps, with autograd's own second-order graph."""
    names = [name for name, _ in network.named_parameters()]

    def loss(here: list[Tensor], batch: Batch) -> Tensor:
        fluxes = torch.func.functional_call(
            network, dict(zip(names, here, strict=True)), (batch.drivers, batch.characteristics)
        )[0][0]
        there = torch.isfinite(batch.targets[..., 0])
        errors = (fluxes - batch.targets[..., :2])[there]
        return errors.square().mean(dim=0).sum()

    for batch in task.support:
        slopes = torch.autograd.grad(loss(parameters, batch), parameters, create_graph=True)
        parameters = [p - 0.1 * slope for p, slope in zip(parameters, slopes, strict=True)]
    first, second = (loss(parameters, batch) for batch in task.query)
    return (first + second) / 2


def small(**changed: Any) -> Settings:
    return Settings(**{"method": "metaflux", "inner_rate": 0.1, **changed})


def test_the_meta_gradient_equals_one_unrolled_by_hand() -> None:
    network, tasks = tiny_problem()
    loss = meta.meta_loss(network, tasks, small())
    loss.backward()
    parameters = [p.detach().clone().requires_grad_(True) for p in network.parameters()]
    expected = by_hand(network, parameters, tasks[0])
    slopes = torch.autograd.grad(expected, parameters)
    torch.testing.assert_close(loss, expected)
    for parameter, slope in zip(network.parameters(), slopes, strict=True):
        torch.testing.assert_close(parameter.grad, slope, rtol=1e-9, atol=1e-11)


def test_the_meta_gradient_equals_finite_differences() -> None:
    network, tasks = tiny_problem(1)
    meta.meta_loss(network, tasks, small()).backward()
    generator = np.random.default_rng(0)
    for parameter in network.parameters():
        where = tuple(int(generator.integers(n)) for n in parameter.shape)
        assert parameter.grad is not None
        found, losses = float(parameter.grad[where]), []
        for shift in (1e-5, -1e-5):
            with torch.no_grad():
                parameter[where] += shift
            losses.append(float(meta.meta_loss(network, tasks, small()).detach()))
            with torch.no_grad():
                parameter[where] -= shift
        assert found == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-5, abs=1e-8)


def test_first_order_has_the_same_loss_and_another_gradient() -> None:
    network, tasks = tiny_problem()
    found = []
    for second in (True, False):
        network.zero_grad()
        loss = meta.meta_loss(network, tasks, small(second_order=second))
        loss.backward()
        slope = network.gpp.inner.weight.grad
        assert slope is not None
        found.append((float(loss.detach()), slope.clone()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    assert not torch.allclose(found[0][1], found[1][1], rtol=1e-3)


def test_the_unrolled_lstm_equals_that_of_torch() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        lstm = torch.nn.LSTM(3, 4, batch_first=True)
        inputs, start = torch.randn(2, 7, 3), (torch.randn(2, 4), torch.randn(2, 4))
    found, (hidden, cell) = unrolled(lstm, inputs, start)
    expected, last = lstm(inputs, tuple(part[None] for part in start))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(hidden, last[0][0])
    torch.testing.assert_close(cell, last[1][0])


# --- windows and tasks --------------------------------------------------------------------------


def tensors(entities: int = 4, steps: int = 50) -> Tensors:
    """Entities whose drivers tell which entity and step they are."""
    number = torch.arange(entities * steps, dtype=torch.float32).view(entities, steps, 1)
    records = np.array([[e, 0, steps] for e in range(entities)])
    ones = torch.ones(entities, steps, 3)
    target = np.arange(entities) == 1
    return Tensors(
        drivers=number, characteristics=torch.zeros(entities, 0), targets=ones, weight=ones,
        records=records, target=target,
    )  # fmt: skip


def steps_of(batch: Batch, steps: int = 50) -> tuple[set[int], set[int]]:
    number = batch.drivers.long()
    return set((number // steps).flatten().tolist()), set((number % steps).flatten().tolist())


def test_domains_draw_support_from_base_and_query_from_target() -> None:
    some = small(window=10, batch=16)
    for seed in range(5):
        (found,) = next(iter(meta.tasks(tensors(), None, some, (seed,))))
        assert len(found.support) == len(found.query) == 2
        assert all(steps_of(batch)[0] <= {0, 2, 3} for batch in found.support)
        assert all(steps_of(batch)[0] == {1} for batch in found.query)


def test_without_a_target_all_are_base_and_target() -> None:
    none = replace(tensors(), target=np.zeros(4, dtype=bool))
    (found,) = next(iter(meta.tasks(none, None, small(window=10, batch=160), (0,))))
    assert steps_of(found.support[0])[0] == steps_of(found.query[0])[0] == {0, 1, 2, 3}


def test_support_and_query_of_a_tower_do_not_overlap() -> None:
    some = small(window=10, batch=64, tasks="towers")
    for seed in range(20):
        for found in next(iter(meta.tasks(tensors(), None, some, (seed,)))):
            support, query = (
                [steps_of(batch) for batch in batches] for batches in (found.support, found.query)
            )
            owners = set().union(*(owner for owner, _ in support + query))
            assert len(owners) == 1
            before = set().union(*(step for _, step in support))
            assert not before & set().union(*(step for _, step in query))


def test_windows_are_all_that_have_a_label() -> None:
    some = tensors(1, 12)
    some.weight[0, :9] = 0
    found = meta.windows(some, 5)
    assert found[:, 1].tolist() == [5, 6, 7]
    assert (found[:, 3] - found[:, 1] == 5).all()
    with pytest.raises(DataError, match=r'settings=\{"window"'):
        meta.windows(some, 40)
    with pytest.raises(DataError, match="do not overlap"):
        next(iter(meta.tasks(tensors(2, 12), None, small(window=10, tasks="towers"), (0,))))


# --- target and scaling -------------------------------------------------------------------------


def test_the_target_is_what_is_said_or_tropical(towers: xr.Dataset) -> None:
    schema = resolve(towers)
    np.testing.assert_array_equal(target_entities(towers, schema, "tropical"), np.arange(8) < 2)
    found = target_entities(towers, schema, "")
    np.testing.assert_array_equal(found, tropical(towers.climate.values))
    bare = towers.drop_vars("climate")
    found = target_entities(bare, resolve(bare), "")
    np.testing.assert_array_equal(found, np.abs(towers.lat.values) < 23.44)


@pytest.mark.parametrize(
    ("said", "match"), [("nothing", "no variable"), ("elevation", "true or false"), ("TA", "time")]
)
def test_a_target_that_is_none_is_refused(towers: xr.Dataset, said: str, match: str) -> None:
    with pytest.raises(ModelError, match=match):
        trained(towers, target=said)


def test_no_target_is_said(towers: xr.Dataset) -> None:
    with pytest.warns(XfluxWarning, match="none of the 8 entities"):
        trained(towers.assign(tropical=("site", np.zeros(8, bool))))


def test_scaling_is_that_of_each_series() -> None:
    towers = xflux.datasets.load("simulated-towers", sites=4, years=1, seed=2)
    read = xflux.training.towers.read_towers(towers, resolve(towers))
    read.drivers["LAI"][1] = np.nan
    read.drivers["P"][2] = 3.0
    inputs = describe_inputs(read, derived=())
    mean, spread = np.split(entity_scaling(read.drivers, inputs), 2, axis=1)
    for k, name in enumerate(inputs.drivers):
        values = (read.drivers[name].astype(np.float64) - inputs.centre[k]) / inputs.scale[k]
        for e in range(4):
            if (name, e) == ("LAI", 1):
                assert (mean[e, k], spread[e, k]) == (0.0, 1.0)
                continue
            assert mean[e, k] == pytest.approx(np.nanmean(values[e]), abs=1e-5)
            expected = 1.0 if (name, e) == ("P", 2) else np.nanstd(values[e])
            assert spread[e, k] == pytest.approx(expected, abs=1e-5)


def test_a_missing_driver_is_at_its_mean() -> None:
    member = MetaFluxMember(2, (1,), 3, by_entity=True)
    columns = torch.tensor([[[3.0, 5.0, 1.0], [3.0, 0.0, 0.0]]])
    found = member.scaled(columns, torch.tensor([[1.0, 1.0, 2.0, 4.0]]).unsqueeze(1))
    torch.testing.assert_close(found, torch.tensor([[[1.0, 1.0], [1.0, 0.0]]]))


# --- from training to prediction ----------------------------------------------------------------


def test_settings_are_as_published(published: FluxModel) -> None:
    chosen = Settings(method="metaflux", **OF_METHOD["metaflux"])
    assert (chosen.hidden, chosen.batch, chosen.window, chosen.inner_steps) == (350, 256, 30, 2)
    assert (chosen.epochs, chosen.learning_rate, chosen.inner_rate) == (100, 1e-3, 1e-4)
    assert chosen.second_order
    assert (chosen.tasks, chosen.scaling) == ("domains", "entity")
    assert not published.inputs.characteristics
    assert not published.inputs.derived
    member = build_network(replace(published.inputs, drivers=tuple("abcde"), required=()), chosen)
    of_gpp = sum(p.numel() for n, p in member.named_parameters() if n.startswith("gpp."))
    assert of_gpp == 1_246_002 / 2  # both networks of the original, with five drivers


def test_a_seed_gives_the_same_bits(towers: xr.Dataset, published: FluxModel) -> None:
    assert trained(towers).members.data == published.members.data
    other = trained(towers, seed=1)
    assert other.members.data != published.members.data


def test_epochs_are_not_chosen_but_as_published(towers: xr.Dataset) -> None:
    options = {**TINY, "epochs": None, "members": 1, "hidden": 4}
    small = {"batch": 64, "window": 3, "target": "tropical", "learning_rate": 0.05}
    model = towers.flux.train(method="metaflux", **options, settings=small)
    assert model.settings.epochs == 100
    assert not model.card["validation_loss"]
    losses = model.card["training_loss"][0]
    assert np.mean(losses[-20:]) < np.mean(losses[:20])


@pytest.mark.parametrize("settings", [{}, {"scaling": "training"}, {"tasks": "towers"}])
def test_prediction_equals_the_member_on_whole_series(
    towers: xr.Dataset, settings: dict[str, Any]
) -> None:
    model = trained(towers, **settings)
    found = towers.flux.predict(model, members=True)
    read = xflux.training.towers.read_towers(towers, resolve(towers), characteristics=[])
    inputs = model.inputs
    block = xflux.features.assemble(inputs, read.drivers, {}, read.latitude, read.year_fraction)
    scaling = entity_scaling(read.drivers, inputs)
    if settings.get("scaling") == "training":
        scaling = scaling[:, :0]
    from xflux.networks.metaflux import from_weights

    row = next(i for i in range(8) if block.usable[i].all())
    for m, weights in enumerate(model.weights):
        member = from_weights({n: torch.from_numpy(v.copy()) for n, v in weights.items()})
        with torch.no_grad():
            fluxes, _ = member(
                torch.from_numpy(block.drivers[row : row + 1]),
                torch.from_numpy(scaling[row : row + 1]),
            )
        site = towers.site[row]
        for k, name in enumerate(("GPP", "Reco")):
            one = found[name].isel(realization=m).sel(site=site).values
            np.testing.assert_allclose(one, fluxes[0, 0, :, k].numpy(), rtol=0, atol=2e-5)


def test_fluxes_close(towers: xr.Dataset, published: FluxModel) -> None:
    found = towers.flux.predict(published)
    np.testing.assert_allclose(found.NEE, found.Reco - found.GPP, rtol=0, atol=1e-5)


def test_saved_and_read_it_predicts_the_same(
    towers: xr.Dataset, published: FluxModel, tmp_path: Path
) -> None:
    again = xflux.load_model(published.save(tmp_path / "meta.safetensors"))
    assert again.settings == published.settings
    xr.testing.assert_identical(
        towers.flux.predict(again).drop_attrs(), towers.flux.predict(published).drop_attrs()
    )
    assert "metaflux" in repr(again)


def test_a_file_whose_weights_are_not_those_of_its_settings_is_refused(
    published: FluxModel, tmp_path: Path
) -> None:
    for changed in ({"hidden": 7}, {"scaling": "training"}, {"method": "ct-lstm"}):
        wrong = replace(published, settings=replace(published.settings, **changed))
        with pytest.raises(ModelFileError):
            xflux.load_model(wrong.save(tmp_path / "wrong.safetensors"))


def test_chunks_of_space_change_nothing_and_compute_nothing(
    towers: xr.Dataset, published: FluxModel, no_computes
) -> None:
    whole = towers.flux.predict(published)
    with no_computes():
        lazy = towers.chunk(site=3).flux.predict(published)
    np.testing.assert_allclose(lazy.GPP, whole.GPP, rtol=0, atol=1e-6)


def test_chunks_of_time_are_refused_with_the_line_to_type(
    towers: xr.Dataset, published: FluxModel
) -> None:
    cut = towers.chunk(site=3, time=200)
    with pytest.raises(ModelError, match=r"ds = ds\.chunk\(\{'time': -1\}\)"):
        cut.flux.predict(published)
    free = trained(towers, scaling="training")
    whole = towers.flux.predict(free)
    np.testing.assert_allclose(cut.flux.predict(free).GPP, whole.GPP, rtol=0, atol=1e-6)


def test_the_scaling_goes_along_in_the_state(
    towers: xr.Dataset, published: FluxModel, tmp_path: Path
) -> None:
    first, rest = towers.isel(time=slice(0, 400)), towers.isel(time=slice(400, None))
    _, state = first.flux.predict(published, return_state=True)
    state.to_netcdf(tmp_path / "state.nc")
    with xr.open_dataset(tmp_path / "state.nc") as read:
        once = rest.flux.predict(published, initial_state=read)
        cut = rest.chunk(site=3, time=77).flux.predict(published, initial_state=read.load())
    np.testing.assert_allclose(cut.GPP, once.GPP, rtol=0, atol=1e-6)
    assert state.context.sizes["column"] == 2 * len(published.inputs.drivers)
    with pytest.raises(ModelError, match="context"):
        rest.flux.predict(published, initial_state=state.drop_vars("context"))


def test_less_than_a_year_is_said(towers: xr.Dataset, published: FluxModel) -> None:
    with pytest.warns(XfluxWarning, match="less than a year"):
        towers.isel(time=slice(0, 60)).flux.predict(published)


@pytest.mark.parametrize(
    "wrong", [{"tasks": "sites"}, {"scaling": "none"}, {"inner_steps": 0}, {"inner_rate": -1.0}]
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=next(iter(wrong))):
        Settings(method="metaflux", **wrong)
