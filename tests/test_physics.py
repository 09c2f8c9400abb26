"""The law and the terms of ct-lstm-physics: against hand calculations, and from door to file."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import xflux
from xflux import features, physics
from xflux.cf.schema import resolve
from xflux.errors import DataError, ModelError, ModelFileError
from xflux.features import Inputs
from xflux.model import FluxModel, parse_model, write_file
from xflux.physics import Law, PhysicsMember, Weather
from xflux.prediction.ensemble import pack
from xflux.training import fitting, informed, supervised, terms
from xflux.training.knowledge import Physics, as_physics
from xflux.training.settings import Settings
from xflux.training.towers import Towers, describe_inputs, read_towers
from xflux.training.windows import Batch, Tensors, disturb, gather
from xflux.training.world import read_world

CPU = torch.device("cpu")
SMALL = {"members": 2, "epochs": 2, "hidden": 8, "progress": False}


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def weather(count: int = 3, **changed: Tensor) -> Weather:
    """Mild bright days with leaves."""
    usual = {
        "temperature": torch.full((count,), 15.0),
        "coldest": torch.full((count,), 9.0),
        "light": torch.full((count,), 10.0),
        "fapar": torch.full((count,), 0.5),
        "most_fapar": torch.full((count,), 0.6),
        "leafless": torch.zeros(count, dtype=torch.bool),
    }
    return Weather(**(usual | changed))


@pytest.fixture(scope="module")
def physical(some_towers: xr.Dataset) -> FluxModel:
    """A model of two small members with a law, trained for moments only."""
    return some_towers.flux.train(method="ct-lstm-physics", **SMALL)


@pytest.fixture(scope="module")
def read(some_towers: xr.Dataset) -> tuple[Towers, Inputs]:
    towers = read_towers(some_towers, resolve(some_towers))
    return towers, describe_inputs(towers, derived=fitting.DERIVED)


def ready(read: tuple[Towers, Inputs], **chosen: Any) -> tuple[Tensors, Settings]:
    """Tensors of the towers, and settings with some physics."""
    settings = Settings(
        method="ct-lstm-physics", hidden=8, window=60, spin_up=20, physics=as_physics(chosen)
    )
    return supervised.to_tensors(*read, settings, CPU), settings


# --- the law, by hand -------------------------------------------------------------------------


def test_light_saturates_as_a_hyperbola() -> None:
    found = physics.saturating(numbers(0.0, 5.0, 20.0), numbers(5.0))
    torch.testing.assert_close(found, numbers(0.0, 2.5, 4.0))


def test_lloyd_and_taylor_by_hand() -> None:
    published = numbers(308.56)
    found = physics.lloyd_taylor(numbers(15.0, 10.0), published)
    assert float(found[0]) == 1.0
    assert float(found[1]) == pytest.approx(math.exp(308.56 * (1 / 61.02 - 1 / 56.02)), rel=1e-5)
    assert bool(torch.isfinite(physics.lloyd_taylor(numbers(-80.0, -46.02), published)).all())


def test_factors_by_hand() -> None:
    law = Law()
    gpp, reco = law.factors(weather(1))[0].tolist()
    assert gpp == pytest.approx(0.5 * 10 / (1 + 10 / 5) / (1 + math.exp(-14 / 3)), rel=1e-5)
    assert reco == pytest.approx(0.1 + 0.5, rel=1e-5)  # at the reference temperature
    q10 = Law(physics=Physics(respiration="q10", leaf_respiration=False, light=False))
    warm = weather(2, temperature=numbers(15.0, 25.0))
    torch.testing.assert_close(q10.factors(warm)[:, 1], torch.cat([numbers(1.0), q10.q10]))


def test_what_is_switched_off_is_a_factor_of_one() -> None:
    off = Physics(light=False, warmth=False, respiration="none", leaf_respiration=False)
    found = Law(physics=off).factors(weather(3, temperature=numbers(-20.0, 0.0, 30.0)))
    assert bool((found == 1.0).all())


@given(raw=st.floats(-30, 30), response=st.sampled_from(["lloyd-taylor", "q10"]))
def test_no_learned_number_leaves_the_bounds(raw: float, response: str) -> None:
    law = Law(physics=Physics(respiration=response))
    with torch.no_grad():
        law.sensitivity.fill_(raw)
    assert 1.0 <= float(law.q10.detach()) <= 4.0 + 1e-5
    day = weather(2, temperature=numbers(0.5, 1.5))
    growth = float(law.factors(day)[:, 1].log().diff().detach())
    assert -1e-6 <= growth <= physics.STEEPEST + 1e-5


def test_weather_is_read_in_physical_units(read: tuple[Towers, Inputs]) -> None:
    towers, inputs = read
    tensors, settings = ready(read)
    assert settings.physics is not None
    seen = Law(inputs, settings.physics).weather(tensors.drivers)
    usable = np.isfinite(towers.drivers["TA"]) & np.isfinite(towers.drivers["SW_IN"])
    for name, expected in (("temperature", towers.drivers["TA"]),
                           ("light", 0.45 * 0.0864 * towers.drivers["SW_IN"])):  # fmt: skip
        np.testing.assert_allclose(
            getattr(seen, name).numpy()[usable], expected[usable], rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(
    ("gone", "expected"),
    [
        ((), math.sqrt((1 - math.exp(-1)) * 1.25 * 0.4)),
        (("EVI",), 1 - math.exp(-1)),
        (("LAI",), 1.25 * 0.4),
        (("LAI", "EVI"), 0.37),
    ],
)
def test_fapar_from_what_is_there(gone: tuple[str, ...], expected: float) -> None:
    """Beer's law, EVI, the geometric mean of both, or the mean of training without either."""
    inputs = Inputs(
        time_step="daily",
        drivers=("TA", "SW_IN", "LAI", "EVI"),
        required=("TA", "SW_IN"),
        derived=(),
        characteristics=(),
        centre=(0.0,) * 4,
        scale=(1.0,) * 4,
    )
    day = {"TA": np.full((1, 1), 10, "f4"), "SW_IN": np.full((1, 1), 100, "f4"),
           "LAI": np.full((1, 1), 2, "f4"), "EVI": np.full((1, 1), 0.5, "f4")}  # fmt: skip
    given_ = {name: value for name, value in day.items() if name not in gone}
    block = features.assemble(inputs, given_, {}, np.zeros(1, "f4"), np.zeros(1, "f4"))
    law = Law(inputs, Physics())
    law.usual_fapar.fill_(0.37)
    found = law.weather(torch.from_numpy(block.drivers))
    assert float(found.fapar) == pytest.approx(expected, rel=1e-5)


# --- the terms --------------------------------------------------------------------------------


def test_light_cap_by_hand() -> None:
    gpp = numbers(17.0, 17.9, 21.0).requires_grad_()  # the cap: 3 * 0.6 * 10 = 18
    loss = terms.light_cap(gpp, weather(), numbers(2.0), 3.0)
    assert float(loss.detach()) == pytest.approx((0 + 0 + 3) / 3 / 2)
    loss.sum().backward()
    assert gpp.grad is not None
    assert gpp.grad.tolist() == pytest.approx([0.0, 0.0, 1 / 6])  # down, where it is too large


def test_zero_where_plants_rest() -> None:
    day = weather(
        4,
        light=numbers(0.05, 10, 10, 10),
        coldest=numbers(9, -11, 9, 9),
        leafless=torch.tensor([False, False, True, False]),
    )
    gpp = numbers(1.0, 2.0, 3.0, 50.0).requires_grad_()
    loss = terms.zero(gpp, day, numbers(2.0))
    assert float(loss.detach()) == pytest.approx((1 + 2 + 3) / 3 / 2)
    loss.sum().backward()
    assert gpp.grad is not None
    assert (gpp.grad > 0).tolist() == [True, True, True, False]
    assert float(terms.zero(gpp.detach(), weather(4), numbers(2.0))) == 0.0  # nobody rests


def test_temperature_response_by_hand() -> None:
    reco = numbers(2.0, 2.0, 2.0, 2.0)
    growth = numbers(-0.02, 0.07, 0.30, 0.30)
    warmer = ((reco + 0.1) * growth.exp() - 0.1).requires_grad_()
    celsius = numbers(10.0, 10.0, 10.0, -5.0)
    loss = terms.temperature(reco, warmer, celsius)
    expected = (0.02 + 0 + (0.30 - physics.STEEPEST)) / 3 / physics.STEEPEST
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)
    loss.backward()
    assert warmer.grad is not None
    assert np.sign(warmer.grad.numpy()).tolist() == [-1.0, 0.0, 1.0, 0.0]


def test_law_by_hand() -> None:
    fluxes = torch.tensor([[1.9, 0.9]])
    assert float(terms.law(fluxes, fluxes)) == 0.0
    found = float(terms.law(fluxes, torch.tensor([[0.9, 0.9]])))
    assert found == pytest.approx(math.log(2) ** 2 / 2, rel=1e-5)


@given(
    gpp=st.floats(0, 1e4), reco=st.floats(0, 1e4), celsius=st.floats(-70, 60),
    light=st.floats(0, 20), share=st.floats(0.01, 1.0), q10=st.floats(1.0, 4.0),
)  # fmt: skip
def test_terms_vanish_where_the_knowledge_holds_and_are_finite_elsewhere(
    gpp: float, reco: float, celsius: float, light: float, share: float, q10: float
) -> None:
    day = weather(
        1, temperature=numbers(celsius), coldest=numbers(celsius - 5), light=numbers(light),
        fapar=numbers(share), most_fapar=numbers(share),
    )  # fmt: skip
    kept = min(gpp, 2.99 * share * light)
    assert float(terms.light_cap(numbers(kept), day, numbers(1.0), 3.0)) == 0.0
    assert float(terms.zero(numbers(0.0), day, numbers(1.0))) == 0.0
    now = numbers(reco)
    lawful = (now + 0.1) * q10**0.1 - 0.1
    assert float(terms.temperature(now, lawful, numbers(celsius))) < 1e-4
    asked = numbers(gpp).requires_grad_()
    total = (
        terms.light_cap(asked, day, numbers(1.0), 3.0)
        + terms.zero(asked, day, numbers(1.0))
        + terms.temperature(asked, 0.5 * asked, numbers(celsius))
        + terms.law(asked, now)
    )
    total.sum().backward()
    assert bool(torch.isfinite(total).all())
    assert asked.grad is not None
    assert bool(torch.isfinite(asked.grad).all())


# --- world batches ----------------------------------------------------------------------------


def known_and_member(
    read: tuple[Towers, Inputs], **chosen: Any
) -> tuple[informed.Known, PhysicsMember]:
    tensors, settings = ready(read, **chosen)
    spread = supervised.target_spread(tensors)
    with supervised.private_randomness((1,)):
        member = supervised.build_network(read[1], settings)
    assert isinstance(member, PhysicsMember)
    informed.begin_at_law(member, tensors, spread)
    return informed.knowledge(tensors, read[1], settings, spread), member


def test_weights_of_the_terms_rise_from_zero(read: tuple[Towers, Inputs]) -> None:
    known, member = known_and_member(read, light_cap=5.0, law=1.0, ramp=0.5)
    member.eval()
    losses = [
        float(known.loss(member, done, np.random.default_rng(0)).detach())
        for done in (0.0, 0.25, 0.5, 1.0)
    ]
    assert losses[0] == 0.0
    assert losses[1] == pytest.approx(losses[2] / 2, rel=1e-5)
    assert losses[2] == losses[3] > 0.0


def test_a_term_of_weight_zero_is_not_asked(read: tuple[Towers, Inputs]) -> None:
    known, member = known_and_member(read, light_cap=0.0, zero=0.0, temperature=0.0, law=0.3)
    batch = known._windows(np.random.default_rng(0))
    assert set(known.terms(member, batch)) == {"law"}
    none = dataclasses.replace(known, physics=dataclasses.replace(known.physics, law=0.0))
    assert float(none.loss(member, 1.0, np.random.default_rng(0))) == 0.0


def test_only_the_last_day_is_made_warmer(read: tuple[Towers, Inputs]) -> None:
    """The term equals that of two whole series which differ on their last day."""
    known, member = known_and_member(read, temperature=1.0)
    member.eval()
    batch = known._windows(np.random.default_rng(0))
    assert batch.undisturbed is not None
    kelvin = informed.one_kelvin(known.inputs)
    series = []
    for step in (0.0 * kelvin, kelvin):
        drivers, clean = batch.drivers.clone(), batch.undisturbed.clone()
        drivers[:, -1] += step
        clean[:, -1] += step
        series.append(member(drivers, batch.characteristics, undisturbed=clean)[0][:, :, -1, 1])
    celsius = member.law.weather(batch.undisturbed[:, -1]).temperature
    expected = terms.temperature(series[0], series[1], celsius)
    found = known.terms(member, batch)["temperature"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_one_kelvin_is_one_kelvin(read: tuple[Towers, Inputs]) -> None:
    _, inputs = read
    tensors, settings = ready(read)
    assert settings.physics is not None
    law = Law(inputs, settings.physics)
    step = informed.one_kelvin(inputs)
    day = tensors.drivers[:, 30:31]
    for name in ("temperature", "coldest"):
        one, other = (getattr(law.weather(d), name) for d in (day, day + step))
        torch.testing.assert_close(other - one, torch.ones_like(one), rtol=0, atol=1e-4)


@given(seed=st.integers(0, 200), count=st.integers(1, 9), length=st.integers(1, 40))
def test_random_windows_lie_inside_records(seed: int, count: int, length: int) -> None:
    records = np.array([[0, 3, 20], [2, 0, 50], [2, 55, 60]])
    steps = records[:, 2] - records[:, 1]
    found = informed.random_windows(records, steps, count, length, np.random.default_rng(seed))
    assert found.shape == (count, 4)
    assert set((found[:, 3] - found[:, 1]).tolist()) == {length}
    for entity, start, _, end in found:
        assert any(e == entity and a <= start and end <= b for e, a, b in records)


def test_windows_of_the_world_are_among_the_batches(read: tuple[Towers, Inputs]) -> None:
    known, _ = known_and_member(read)
    (towers,) = known.sources
    marked = dataclasses.replace(towers, characteristics=towers.characteristics + 1000.0)
    both = dataclasses.replace(known, sources=(towers, marked))
    drawn = [both._windows(np.random.default_rng(i)) for i in range(5)]
    from_world = torch.cat([(b.characteristics.abs().max(dim=1).values > 500) for b in drawn])
    assert 0 < int(from_world.sum()) < len(from_world)


def test_the_law_sees_drivers_without_their_offset(read: tuple[Towers, Inputs]) -> None:
    tensors, settings = ready(read)
    clean = gather(tensors, np.array([[0, 0, 10, 60], [1, 0, 10, 60]]))
    loud = dataclasses.replace(settings, driver_offset=2.0, driver_dropout=0.0)
    found = disturb(clean, read[1], loud, np.random.default_rng(0))
    assert found.undisturbed is not None
    torch.testing.assert_close(found.undisturbed, clean.drivers, rtol=0, atol=0)
    assert not torch.equal(found.drivers, clean.drivers)


# --- the start, and what is learned -----------------------------------------------------------


def test_an_untrained_member_is_near_the_law_that_fits(read: tuple[Towers, Inputs]) -> None:
    known, member = known_and_member(read)
    (tensors,) = known.sources
    with torch.no_grad():
        for network in (member.recurrent, member.direct):
            network.heads.weight.zero_()
            network.heads.bias.zero_()
        fluxes = member.eval()(tensors.drivers, tensors.characteristics)[0].mean(0)
        factors = member.law(tensors.drivers)
    used = (tensors.weight > 0).all(dim=-1)
    design, target = factors[used].double().numpy(), tensors.targets[used].double().numpy()
    weight = tensors.weight[used].double().numpy()
    rows, right = [], []
    for k, part in enumerate((design * [1, 0], design * [0, 1], design * [-1, 1])):
        root = np.sqrt(weight[:, k]) / float(known.spread[k])
        rows.append(part * root[:, None])
        right.append(target[:, k] * root)
    best = np.linalg.lstsq(np.concatenate(rows), np.concatenate(right), rcond=None)[0]
    np.testing.assert_allclose(
        fluxes[used].numpy(), (design * best).astype("f4"), rtol=2e-3, atol=1e-4
    )


def test_labels_of_nee_alone_are_enough(some_towers: xr.Dataset) -> None:
    alone = some_towers.drop_vars(["GPP", "Reco"])
    model = alone.flux.train(method="ct-lstm-physics", **{**SMALL, "members": 1})
    spread = model.weights[0]["spread"]
    assert np.isfinite(spread).all()
    assert (spread > 0).all()


def lawful_towers(e0: float, half: float) -> xr.Dataset:
    """Towers whose fluxes are exactly a hyperbola of absorbed light and Lloyd and Taylor."""
    towers = xflux.datasets.load("simulated-towers", sites=10, years=2, seed=4)
    towers = towers.drop_vars("EVI")
    light = 0.45 * 0.0864 * towers.SW_IN
    fapar = np.clip(1 - np.exp(-0.5 * towers.LAI), 0.01, 1)
    gpp = 1.8 * fapar * light / (1 + light / half)
    reco = 2.5 * np.exp(e0 * (1 / 61.02 - 1 / (towers.TA + 46.02)))
    fluxes = {"GPP": gpp, "Reco": reco, "NEE": reco - gpp}
    named = {
        name: flux.transpose(*towers[name].dims).assign_attrs(towers[name].attrs)
        for name, flux in fluxes.items()
    }
    return towers.assign(named)


def test_learned_numbers_come_near_the_truth() -> None:
    """A known light response and temperature response are found again from fluxes."""
    towers = lawful_towers(e0=220.0, half=9.0)
    chosen = {"physics": {"warmth": False, "leaf_respiration": False}}
    model = towers.flux.train(
        method="ct-lstm-physics", **{**SMALL, "members": 1, "epochs": 5}, settings=chosen
    )
    learned = model.weights[0]
    e0 = physics.LARGEST_E0 / (1 + math.exp(-float(learned["law.sensitivity"][0])))
    assert e0 == pytest.approx(220.0, rel=0.1)  # began at 147
    assert math.exp(float(learned["law.half_light"][0])) == pytest.approx(9.0, rel=0.25)  # at 5
    efficiency, base_rate = (learned["spread"] * physics.HALF).tolist()
    assert efficiency == pytest.approx(1.8, rel=0.1)
    assert base_rate == pytest.approx(2.5, rel=0.1)
    assert model.card["physics"]["q10_outside_1_to_4"] < 0.05


def test_networks_kept_apart_do_not_show_respiration_the_temperature(
    some_towers: xr.Dataset, read: tuple[Towers, Inputs]
) -> None:
    settings = {"physics": {"cool_base_rate": True, "respiration": "none"}}
    model = some_towers.flux.train(
        method="ct-lstm-physics", settings=settings, drivers=["TA", "SW_IN", "LAI"],
        **{**SMALL, "members": 1},
    )  # fmt: skip
    cold = some_towers.assign(TA=some_towers.TA - 5.0)
    one, other = some_towers.flux.predict(model), cold.flux.predict(model)
    np.testing.assert_allclose(other.Reco.values, one.Reco.values, rtol=0, atol=1e-6)
    assert float(np.abs(other.GPP - one.GPP).max()) > 1e-3


# --- from the door to the file and the map ----------------------------------------------------


def test_prediction_equals_the_forward_pass_of_training(
    physical: FluxModel, some_towers: xr.Dataset, read: tuple[Towers, Inputs]
) -> None:
    towers, inputs = read
    tensors = supervised.to_tensors(towers, inputs, physical.settings, CPU)
    expected = []
    for weights in physical.weights:
        member = supervised.build_network(inputs, physical.settings).eval()
        member.load_state_dict({name: torch.from_numpy(v) for name, v in weights.items()})
        with torch.no_grad():
            expected.append(member(tensors.drivers, tensors.characteristics)[0].mean(0).numpy())
    found = some_towers.flux.predict(physical, members=True)
    first = int(tensors.records[0, 2])  # up to the first gap of the first tower
    for k, name in enumerate(("GPP", "Reco")):
        values = found[name].transpose("realization", "site", "time").values[:, 0, :first]
        np.testing.assert_allclose(
            values, np.stack(expected)[:, 0, :first, k], rtol=1e-4, atol=1e-5
        )
    np.testing.assert_array_equal((found.Reco - found.GPP).values, found.NEE.values)


def test_a_model_comes_back_from_its_file(
    physical: FluxModel, some_towers: xr.Dataset, tmp_path: Path
) -> None:
    path = physical.save(tmp_path / "physics.safetensors")
    again = xflux.load_model(path)
    assert again.settings == physical.settings
    xr.testing.assert_equal(some_towers.flux.predict(again), some_towers.flux.predict(physical))


@pytest.mark.parametrize("name", ["law.column", "law.centre", "law.switches"])
def test_a_law_that_does_not_fit_its_inputs_is_refused(
    physical: FluxModel, name: str, tmp_path: Path
) -> None:
    from safetensors.numpy import load

    content = physical.save(tmp_path / "physics.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    about = json.loads(content[8 : 8 + length])["__metadata__"]["xflux"]
    tensors = load(content)
    tensors[f"0.{name}"] = tensors[f"0.{name}"] + 1e6
    bad = write_file(pack(_by_member(tensors)).data, about)
    with pytest.raises(ModelFileError, match=name.removeprefix("law.")):
        parse_model(bad, "bad")


def _by_member(tensors: dict[str, Any]) -> list[dict[str, Any]]:
    count = 1 + max(int(name.split(".", 1)[0]) for name in tensors)
    return [
        {n.split(".", 1)[1]: v for n, v in tensors.items() if n.startswith(f"{k}.")}
        for k in range(count)
    ]


def test_lazy_prediction_computes_nothing_and_chunks_do_not_matter(
    physical: FluxModel,
    some_towers: xr.Dataset,
    no_computes: Callable[[], AbstractContextManager[Any]],
) -> None:
    whole = some_towers.flux.predict(physical)
    lazy = some_towers.chunk(site=3, time=50)
    with no_computes():
        out = lazy.flux.predict(physical)
    for name in whole.data_vars:
        np.testing.assert_allclose(out[name].values, whole[name].values, rtol=0, atol=2e-5)


def test_prediction_goes_on_from_a_state(physical: FluxModel, some_towers: xr.Dataset) -> None:
    whole = some_towers.flux.predict(physical)
    early, late = some_towers.isel(time=slice(0, 200)), some_towers.isel(time=slice(200, None))
    _, state = early.flux.predict(physical, return_state=True)
    rest = late.flux.predict(physical, initial_state=state)
    np.testing.assert_allclose(
        rest.GPP.values, whole.GPP.isel(time=slice(200, None)).values, rtol=0, atol=2e-5
    )


@pytest.mark.parametrize("gone", [["LAI"], ["EVI"], ["LAI", "EVI", "TA_MIN", "TA_MAX", "P", "VPD"]])
def test_optional_drivers_may_be_missing(
    physical: FluxModel, some_towers: xr.Dataset, gone: list[str]
) -> None:
    few = some_towers.drop_vars(gone)
    with pytest.warns(xflux.XfluxWarning, match="predicting without"):
        out = few.flux.predict(physical)
    assert float(out.GPP.notnull().mean()) > 0.5
    assert float(out.GPP.min()) >= 0.0
    model = few.flux.train(method="ct-lstm-physics", **{**SMALL, "members": 1})
    assert float(few.flux.predict(model).Reco.min()) >= 0.0


def test_a_killed_training_goes_on_with_the_same_bits(
    some_towers: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "training.checkpoint"
    call = {"method": "ct-lstm-physics", **SMALL, "checkpoint": path}
    whole = some_towers.flux.train(**{**call, "checkpoint": None})

    from xflux.training.checkpoint import Checkpoint

    write, count = Checkpoint.write, [0]

    def stopping(self: Checkpoint, *given: Any) -> None:
        write(self, *given)
        count[0] += 1
        if count[0] == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "write", stopping)
        with pytest.raises(KeyboardInterrupt):
            some_towers.flux.train(**call)
    assert some_towers.flux.train(**call).members.data == whole.members.data


def test_the_card_says_how_far_members_keep_to_what_is_known(physical: FluxModel) -> None:
    found = physical.card["physics"]
    assert 0.0 <= found["light_cap_violations"] <= 1.0
    assert 0.0 <= found["q10_outside_1_to_4"] <= 1.0
    assert 1.0 <= found["q10_of_the_law"] <= 4.0


def test_other_methods_have_no_physics(daily_model: FluxModel) -> None:
    assert "physics" not in daily_model.card
    assert not [name for name in daily_model.weights[0] if name.startswith("law.")]


# --- a world without labels -------------------------------------------------------------------


def test_a_lazy_grid_is_a_world(read: tuple[Towers, Inputs], some_towers: xr.Dataset) -> None:
    grid = xflux.datasets.load("simulated-grid").isel(time=slice(0, 200), lat=slice(8, 30, 3))
    _, inputs = read
    found = read_world(grid.chunk(time=100), inputs)
    assert not np.isfinite(found.targets).any()
    assert np.isfinite(found.drivers["TA"]).any(axis=1).all()  # no sea
    model = some_towers.flux.train(method="ct-lstm-physics", world=grid, **{**SMALL, "members": 1})
    without = some_towers.flux.train(method="ct-lstm-physics", **{**SMALL, "members": 1})
    assert model.members.data != without.members.data


def test_a_sea_is_no_world(read: tuple[Towers, Inputs]) -> None:
    grid = xflux.datasets.load("simulated-grid").isel(time=slice(0, 60), lat=[0], lon=slice(0, 9))
    sea = grid.where(False).assign_coords(igbp=grid.igbp)
    with pytest.raises(DataError, match="has every required driver"):
        read_world(sea, read[1])


def test_a_world_of_another_step_is_refused(read: tuple[Towers, Inputs]) -> None:
    months = xflux.datasets.load("simulated-towers", sites=3, years=2, time_step="monthly")
    with pytest.raises(ModelError, match="the world is monthly"):
        read_world(months, read[1])


def test_a_world_for_a_method_that_takes_none_is_refused(some_towers: xr.Dataset) -> None:
    with pytest.raises(ModelError, match="learns nothing from a world"):
        some_towers.flux.train(world=some_towers, **SMALL)


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"light_cap": -1.0}, "light_cap=-1.0 must be at least 0"),
        ({"law": float("nan")}, "law=nan must be at least 0"),
        ({"respiration": "arrhenius"}, "must be one of 'lloyd-taylor', 'q10', 'none'"),
        ({"ramp": 1.5}, "ramp=1.5 must be from 0 to 1"),
        ({"light": "yes"}, "light='yes' must be True or False"),
        ({"world_batch": 0}, "world_batch=0 must be at least 1"),
        ({"gravity": 9.81}, "no physics setting 'gravity'"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        Settings(method="ct-lstm-physics", physics=as_physics(wrong))


def test_physics_for_another_method_is_refused(some_towers: xr.Dataset) -> None:
    with pytest.raises(ModelError, match="takes no physics"):
        some_towers.flux.train(settings={"physics": {"law": 1.0}}, **SMALL)


def test_the_mean_batch_has_undisturbed_drivers_only_after_disturbing() -> None:
    assert Batch(*(torch.zeros(1),) * 4).undisturbed is None
