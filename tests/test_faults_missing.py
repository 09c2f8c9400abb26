"""Faults of missing values and of time (rows 16-25, 31, 32 and 35)."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from faulty import TARGETS, Change, drivers_of, follow, put, row, same, says, warned

from xflux.cf.schema import resolve
from xflux.errors import DataError, ModelError, SchemaError, XfluxWarning
from xflux.features import GAP_LIMIT, SETTLING
from xflux.model import FluxModel
from xflux.prediction import ensemble
from xflux.training.losses import multi_loss
from xflux.training.towers import Towers, read_towers

NAN = float("nan")


@pytest.fixture
def drivers(some_towers: xr.Dataset) -> xr.Dataset:
    return drivers_of(some_towers)


@pytest.fixture
def towers(some_towers: xr.Dataset) -> xr.Dataset:
    return some_towers.copy(deep=True)


def read(ds: xr.Dataset, **options: float) -> Towers:
    return read_towers(ds, resolve(ds), **options)  # type: ignore[arg-type]


GAPS = [
    row(16, "one_day", "TA", 1, False),
    row(16, "as_long_as_is_bridged", "VPD", GAP_LIMIT["daily"], False),
    row(17, "a_day_longer", "SW_IN", GAP_LIMIT["daily"] + 1, True),
    row(17, "sixty_days", "TA", 60, True),
    row(17, "sixty_days_of_an_optional_driver", "P", 60, True),
]


@pytest.mark.parametrize(("name", "length", "shows"), GAPS)
@pytest.mark.parametrize("lazy", [False, True], ids=["eager", "lazy"])
def test_gap_in_a_driver(
    drivers: xr.Dataset, daily_model: FluxModel, name: str, length: int, shows: bool, lazy: bool
) -> None:
    first = 120
    expected = drivers.flux.predict(daily_model)
    gap = put(drivers, name, NAN, site=1, time=slice(first, first + length))
    found = (gap.chunk(site=2) if lazy else gap).flux.predict(daily_model).load()
    same(found.isel(site=[0, 2]), expected.isel(site=[0, 2]))
    same(found.isel(time=slice(0, first)), expected.isel(time=slice(0, first)))
    missing = found["GPP"].isel(site=1).isnull().values
    wanted = np.zeros(365, dtype=bool)
    if shows:
        wanted[first + GAP_LIMIT["daily"] : first + length + SETTLING["daily"]] = True
    np.testing.assert_array_equal(missing, wanted)


ALL_MISSING = [
    row(18, "compulsory_driver_at_a_site", "TA"),
    row(18, "optional_driver_at_a_site", "VPD"),
]


@pytest.mark.parametrize("lazy", [row(17, "clouds_eager", False), row(17, "clouds_lazy", True)])
def test_gap_in_what_is_seen_from_space(
    drivers: xr.Dataset, daily_model: FluxModel, lazy: bool
) -> None:
    """Clouds hide leaves as a rule: there the model does without, and says so."""
    gap = put(drivers, "EVI", NAN, site=1, time=slice(120, 180))
    if lazy:
        found = gap.chunk(site=2).flux.predict(daily_model).load()
    else:
        with warned("'EVI' (EVI) is missing at 57 steps of 1 entities (SIM-002)"):
            found = gap.flux.predict(daily_model)
    expected = drivers.flux.predict(daily_model)
    assert found["GPP"].notnull().all()
    same(found.isel(time=slice(0, 120)), expected.isel(time=slice(0, 120)))
    same(found.isel(site=[0, 2]), expected.isel(site=[0, 2]))
    assert not np.allclose(found["GPP"].isel(site=1), expected["GPP"].isel(site=1))


@pytest.mark.parametrize("name", [row(18, "leaves_at_a_site", "LAI")])
def test_a_site_without_leaf_area_is_predicted_without(
    drivers: xr.Dataset, daily_model: FluxModel, name: str
) -> None:
    with warned(f"'{name}' ({name}) is missing at 365 steps of 1 entities (SIM-002)"):
        found = put(drivers, name, NAN, site=1).flux.predict(daily_model)
    with warned(f"without {name}"):
        without = drivers.drop_vars(name).flux.predict(daily_model)
    same(found.isel(site=[1]), without.isel(site=[1]))


@pytest.mark.parametrize("name", ALL_MISSING)
def test_driver_missing_at_a_whole_site(
    drivers: xr.Dataset, daily_model: FluxModel, name: str
) -> None:
    ds = put(drivers, name, NAN, site=1)
    with warned(f"'{name}' ({name}) has no value at 1 entities (SIM-002)"):
        found = ds.flux.predict(daily_model)
    assert found["GPP"].isel(site=1).isnull().all()
    expected = drivers.flux.predict(daily_model)
    same(found.isel(site=[0, 2]), expected.isel(site=[0, 2]))


@pytest.mark.parametrize(
    "name", [row(18, "compulsory_in_training", "TA"), row(18, "optional_in_training", "LAI")]
)
def test_driver_missing_at_a_whole_site_in_training(towers: xr.Dataset, name: str) -> None:
    labelled = int(np.flatnonzero(towers["GPP"].notnull().any("time"))[0])
    site = str(towers.site.values[labelled])
    ds = put(towers, name, NAN, site=labelled)
    if name == "TA":
        with pytest.raises(SchemaError, match=f"driver TA is missing at {site}"):
            read(ds)
    else:
        with pytest.warns(UserWarning, match=f"driver LAI is missing at {site}; the model learns"):
            read(ds)


@pytest.mark.parametrize("lazy", [row(19, "ocean_eager", False), row(19, "ocean_lazy", True)])
def test_ocean_is_not_computed(
    drivers: xr.Dataset, daily_model: FluxModel, monkeypatch: pytest.MonkeyPatch, lazy: bool
) -> None:
    computed: list[int] = []
    run = ensemble.run

    def counted(members: Any, block: Any, **options: Any) -> Any:
        computed.append(len(block.drivers))
        return run(members, block, **options)

    monkeypatch.setattr(ensemble, "run", counted)
    expected = drivers.flux.predict(daily_model)
    assert sum(computed) == 3
    computed.clear()
    with_sea = drivers.map(lambda v: v.where(drivers["site"] != "SIM-002"))
    sea = with_sea.chunk(site=1) if lazy else with_sea
    found = sea.flux.predict(daily_model).load()
    assert sum(computed) == 2, "the sea is not run through the network"
    assert found["GPP"].isel(site=1).isnull().all()
    same(found.isel(site=[0, 2]), expected.isel(site=[0, 2]))


@pytest.mark.parametrize("share", [row(20, "target_gaps", 0.5)])
def test_gradient_with_missing_targets(share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    predicted = torch.rand(4, 10, 2, generator=generator, requires_grad=True)
    observed = torch.rand(4, 10, 3, generator=generator)
    gone = torch.rand(4, 10, 3, generator=generator) < share
    observed[gone] = NAN
    weight = (~gone).float()
    loss = multi_loss(predicted, observed, weight, torch.ones(3), (1.0, 1.0, 1.0))
    loss.backward()
    assert predicted.grad is not None
    assert torch.isfinite(predicted.grad).all()
    assert torch.isfinite(loss)


@pytest.mark.parametrize("flux", [row(21, "site_without_targets", TARGETS)])
def test_site_without_targets(towers: xr.Dataset, flux: tuple[str, ...]) -> None:
    whole = read(towers)
    site = whole.labels[0]
    towers = towers.assign({name: towers[name].where(towers.site != site) for name in flux})
    with warned("1 entities have no usable targets and are left out", site):
        assert read(towers).labels == whole.labels[1:]


@pytest.mark.parametrize("flags", [row(22, "flags_0_to_3", 3.0), row(22, "flags_0_to_70", 70.0)])
def test_quality_flags_are_not_guessed(towers: xr.Dataset, flags: float) -> None:
    towers["NEE_QC"][0, :5] = flags
    with pytest.raises(SchemaError, match="looks like flags, not a share") as caught:
        read(towers)
    assert set(np.unique(follow(caught.value, towers)["NEE_QC"])) <= {0.0, 1.0}


@pytest.mark.parametrize("qc", [row(22, "threshold", 0.8)])
def test_quality_threshold(towers: xr.Dataset, qc: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XfluxWarning)
        strict, lenient = read(towers, qc=qc), read(towers, qc=0.0)
    assert 0 < strict.labelled.sum() < lenient.labelled.sum()
    with pytest.raises(ModelError, match=r"qc=3 is no share of good steps.*qc=0\.5"):
        read(towers, qc=3)


@pytest.mark.parametrize("sign", [row(23, "plus_infinite", 1), row(23, "minus_infinite", -1)])
def test_infinite_is_missing(drivers: xr.Dataset, daily_model: FluxModel, sign: int) -> None:
    where = {"site": 1, "time": slice(50, 52)}
    missing = put(drivers, "TA", NAN, **where).flux.predict(daily_model)
    same(put(drivers, "TA", sign * np.inf, **where).flux.predict(daily_model), missing)


def masked(ds: xr.Dataset, lazy: bool) -> xr.Dataset:
    import dask.array as da

    values = np.ma.masked_invalid(np.where(ds["TA"].isnull(), -9999.0, ds["TA"]).astype("f4"))
    values = np.ma.masked_equal(values, -9999.0)
    data = da.from_array(values, chunks=(2, -1)) if lazy else values
    return ds.assign(TA=(ds["TA"].dims, data, ds["TA"].attrs))


@pytest.mark.parametrize("lazy", [row(24, "masked_numpy", False), row(24, "masked_dask", True)])
def test_masked_arrays_keep_their_mask(
    drivers: xr.Dataset, daily_model: FluxModel, lazy: bool
) -> None:
    gap = put(drivers, "TA", NAN, site=1, time=slice(100, 150))
    found = masked(gap, lazy).flux.predict(daily_model).load()
    same(found, gap.flux.predict(daily_model))


WRONG_TIME = [
    row(25, "unsorted", lambda ds: ds.isel(time=np.r_[10:20, 0:10, 20:365]),
        "not in increasing order"),
    row(25, "duplicated", lambda ds: ds.isel(time=np.r_[0:10, 9:365]), "1 duplicate times"),
    row(32, "time_zone",
        lambda ds: ds.assign_coords(time=pd.DatetimeIndex(ds.time).tz_localize("Europe/Berlin")),
        "has a time zone"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), WRONG_TIME)
def test_time_axis_is_refused(
    drivers: xr.Dataset, daily_model: FluxModel, change: Change, words: str
) -> None:
    ds = change(drivers)
    with pytest.raises(SchemaError, match=words) as caught:
        ds.flux.predict(daily_model)
    mended = follow(caught.value, ds)
    assert resolve(mended).time_step == "daily"
    assert mended.flux.predict(daily_model)["GPP"].shape == (3, 365)


STEPS = [
    row(31, "weekly", "7D", "the Dataset is weekly: give daily drivers, or another model"),
    row(31, "monthly", "MS", 'model = xflux.load_model("monthly")'),
    row(31, "yearly", "YS", "the Dataset is yearly: give daily drivers"),
    row(31, "hourly", "1h", "ds = ds.flux.drivers()"),
]


@pytest.mark.parametrize(("frequency", "words"), STEPS)
def test_other_time_steps_are_refused(
    drivers: xr.Dataset, daily_model: FluxModel, frequency: str, words: str
) -> None:
    time = xr.date_range("2001-01-01", periods=48, freq=frequency)
    ds = drivers.isel(time=slice(0, 48)).assign_coords(time=time)
    with pytest.raises(ModelError) as caught:
        ds.flux.predict(daily_model)
    says(caught.value, "the model is daily", words)


TRAINING_STEPS = [
    row(31, "weekly_training", "7D", 'ds.resample(time="MS").mean()'),
    row(31, "hourly_training", "1h", 'ds.resample(time="1D").mean()'),
    row(31, "yearly_training", "YS", "give daily or monthly data"),
]


@pytest.mark.parametrize(("frequency", "words"), TRAINING_STEPS)
def test_other_time_steps_are_refused_in_training(
    towers: xr.Dataset, frequency: str, words: str
) -> None:
    time = xr.date_range("1800-01-01", periods=365, freq=frequency, unit="s")
    with pytest.raises(ModelError) as caught:
        read(towers.assign_coords(time=time))
    says(caught.value, "the time step is", words)


@pytest.mark.parametrize("hours", [row(31, "line_to_type_for_amounts", 24)])
def test_line_for_hourly_data_sums_amounts(
    drivers: xr.Dataset, daily_model: FluxModel, hours: int
) -> None:
    time = xr.date_range("2001-01-01", periods=5 * hours, freq="1h")
    hourly = drivers.isel(time=np.repeat(np.arange(5), hours)).assign_coords(time=time)
    hourly["P"] = (hourly["P"] / hours).assign_attrs(units="mm")
    with pytest.raises(ModelError) as caught:
        hourly.flux.predict(daily_model)
    daily = follow(caught.value, hourly)
    same(daily.flux.predict(daily_model), drivers.isel(time=slice(0, 5)).flux.predict(daily_model))


@pytest.mark.parametrize("steps", [row(35, f"{n}_steps", n) for n in (0, 1, 2)])
def test_too_few_steps(drivers: xr.Dataset, daily_model: FluxModel, steps: int) -> None:
    with pytest.raises(SchemaError, match=f"has {steps} time steps; at least 3 are needed"):
        drivers.isel(time=slice(0, steps)).flux.predict(daily_model)


@pytest.mark.parametrize("steps", [row(35, "shorter_than_the_spin_up", 3)])
def test_short_series_is_predicted(drivers: xr.Dataset, daily_model: FluxModel, steps: int) -> None:
    found = drivers.isel(time=slice(0, steps)).flux.predict(daily_model)
    same(found, drivers.flux.predict(daily_model).isel(time=slice(0, steps)))
    assert found["GPP"].notnull().all()


@pytest.mark.parametrize("name", [row(22, "share_below_zero", "NEE_QC")])
def test_quality_fill(towers: xr.Dataset, name: str) -> None:
    towers[name][0, :5] = -9999.0
    with pytest.raises(SchemaError, match="looks like a fill value") as caught:
        read(towers)
    assert isinstance(caught.value, SchemaError)
    assert not isinstance(caught.value, DataError)
    assert read(follow(caught.value, towers)).labelled.any()


def test_land_cover_may_be_missing_altogether(
    daily_model: FluxModel, some_towers: xr.Dataset
) -> None:
    """A category of which nothing is given is an unknown one, and that is said."""
    bare = some_towers.drop_vars("igbp")
    with pytest.warns(XfluxWarning, match="without igbp"):
        out = bare.flux.predict(daily_model)
    unknown = some_towers.assign_coords(igbp=("site", np.full(some_towers.sizes["site"], "?")))
    with pytest.warns(XfluxWarning, match="not seen"):
        same = unknown.flux.predict(daily_model)
    xr.testing.assert_allclose(
        out.GPP.drop_vars("igbp", errors="ignore"), same.GPP.drop_vars("igbp")
    )
