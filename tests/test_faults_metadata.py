"""Faults of names, units and values (rows 1-7 and 10-15): refused, understood, or warned of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from faulty import (
    Change,
    drivers_of,
    follow,
    in_units,
    mislabelled,
    put,
    row,
    same,
    says,
    warned,
    with_units,
)

from xflux.cf.entities import entity_values
from xflux.cf.schema import resolve
from xflux.errors import DataError, SchemaError
from xflux.model import FluxModel
from xflux.training.towers import Towers, read_towers


@pytest.fixture
def drivers(some_towers: xr.Dataset) -> xr.Dataset:
    return drivers_of(some_towers)


@pytest.fixture
def towers(some_towers: xr.Dataset) -> xr.Dataset:
    return some_towers.copy(deep=True)


def read(ds: xr.Dataset, **options: dict[str, str]) -> Towers:
    return read_towers(ds, resolve(ds, **options))  # type: ignore[arg-type]


def twice(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign(Tair=ds["TA"])


def twice_by_standard_name(ds: xr.Dataset) -> xr.Dataset:
    return ds.rename(TA="warmth").assign(warmer=ds["TA"] + 1)


REFUSED_NAMES_AND_UNITS = [
    row(1, "compulsory_driver_missing", lambda ds: ds.drop_vars("SW_IN"),
        ("driver SW_IN", "is missing", "rsds", "surface_downwelling_shortwave_flux_in_air",
         'variables={"SW_IN": "..."}', "found TA")),
    row(1, "characteristic_missing", lambda ds: ds.drop_vars("lat"), ("characteristic lat",)),
    row(2, "two_dialects", twice,
        ("2 variables could be TA", "TA, Tair", 'variables={"TA": "TA"}')),
    row(2, "two_of_one_standard_name", twice_by_standard_name,
        ("2 variables could be TA", "warmth", "warmer", "variables=")),
    row(4, "mole_flux_as_temperature", lambda ds: with_units(ds, "TA", "umol m-2 s-1"),
        ("'TA' (TA)", "not units of temperature", "is a unit of carbon flux", "'degC'")),
    row(4, "mole_flux_as_precipitation", lambda ds: with_units(ds, "P", "umol m-2 s-1"),
        ("'P' (P)", "not units of water flux", "'mm d-1'")),
    row(5, "no_units", lambda ds: with_units(ds, "TA", None),
        ("'TA' (TA) has no units", 'units={"TA": "degC"}', "assume_units=True")),
    row(5, "no_units_of_an_optional_driver", lambda ds: with_units(ds, "VPD", None),
        ("'VPD' (VPD) has no units", 'units={"VPD": "hPa"}')),
    row(6, "unknown_units", lambda ds: with_units(ds, "VPD", "mmHg"),
        ("units 'mmHg' are not units of pressure", "accepted: 'hPa'", 'units={"VPD": "hPa"}')),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), REFUSED_NAMES_AND_UNITS)
def test_refused_before_anything_is_computed(
    drivers: xr.Dataset, daily_model: FluxModel, change: Change, words: tuple[str, ...]
) -> None:
    with pytest.raises(SchemaError) as caught:
        change(drivers).chunk(site=1).flux.predict(daily_model)
    says(caught.value, *words)


@pytest.mark.parametrize(
    "problems", [row(1, "all_problems_at_once", ("SW_IN", "'VPD' (VPD) has no units", "mmHg"))]
)
def test_all_problems_in_one_error(
    drivers: xr.Dataset, daily_model: FluxModel, problems: tuple[str, ...]
) -> None:
    ds = with_units(with_units(drivers.drop_vars("SW_IN"), "VPD", None), "P", "mmHg")
    with pytest.raises(SchemaError, match="3 problems in the Dataset for prediction") as caught:
        ds.flux.predict(daily_model)
    says(caught.value, *problems)


def humid(ds: xr.Dataset, value: float, units: str, **attrs: str) -> xr.Dataset:
    """VPD replaced by a constant relative humidity."""
    moist = xr.full_like(ds["TA"], value).assign_attrs(units=units, **attrs)
    if "standard_name" not in attrs:
        del moist.attrs["standard_name"]
    return ds.drop_vars("VPD").assign({attrs.get("name", "RH"): moist})


UNDERSTOOD = [
    row(2, "said", twice, {"variables": {"TA": "Tair"}}),
    row(2, "dialects_that_mean_the_same", lambda ds: ds.assign(LAI_alternative=ds["LAI"] * 3), {}),
    row(2, "own_names", lambda ds: ds.rename(TA="a", SW_IN="b").map(
        lambda v: v.drop_attrs().assign_attrs(units=v.attrs["units"])),
        {"variables": {"TA": "a", "SW_IN": "b"}}),
    row(3, "kelvin", lambda ds: in_units(ds, "TA", "K", 1.0, 273.15), {}),
    row(3, "pascal", lambda ds: in_units(ds, "VPD", "Pa", 100.0), {}),
    row(3, "kilopascal", lambda ds: in_units(ds, "VPD", "kPa", 0.1), {}),
    row(3, "kilograms_a_second", lambda ds: in_units(ds, "P", "kg m-2 s-1", 1 / 86400), {}),
    row(3, "megajoules_a_day", lambda ds: in_units(ds, "SW_IN", "MJ m-2 d-1", 0.0864), {}),
    row(3, "joules_a_step", lambda ds: in_units(ds, "SW_IN", "J m-2", 86400.0), {}),
    row(5, "units_said", lambda ds: with_units(ds, "TA", None), {"units": {"TA": "degC"}}),
    row(5, "units_said_by_own_name", lambda ds: with_units(ds, "TA", None).rename(TA="tas"),
        {"units": {"tas": "degC"}}),
    row(6, "millibar", lambda ds: with_units(ds, "VPD", "mb"), {}),
    row(6, "dash", lambda ds: with_units(ds, "LAI", "-"), {}),
    row(6, "degrees_c", lambda ds: with_units(ds, "TA", "degrees C"), {}),
    row(6, "slashes", lambda ds: with_units(ds, "SW_IN", "W/m^2"), {}),
    row(6, "stars", lambda ds: with_units(ds, "P", "kg m**-2 day**-1"), {}),
    row(10, "millimetres_a_day_step", lambda ds: with_units(ds, "P", "mm"), {}),
    row(10, "metres_a_day_step", lambda ds: in_units(ds, "P", "m", 1e-3), {}),
    row(11, "percent_of_an_index", lambda ds: in_units(ds, "EVI", "%", 100.0), {}),
]  # fmt: skip


@pytest.mark.parametrize(("change", "options"), UNDERSTOOD)
def test_understood_to_the_same_numbers(
    drivers: xr.Dataset,
    daily_model: FluxModel,
    change: Change,
    options: dict[str, dict[str, str]],
) -> None:
    expected = drivers.flux.predict(daily_model)
    same(change(drivers).flux.predict(daily_model, **options), expected)


@pytest.mark.parametrize("words", [row(3, "recorded", "converted TA from K to degC")])
def test_conversion_is_in_the_history(
    drivers: xr.Dataset, daily_model: FluxModel, words: str
) -> None:
    kelvin = in_units(drivers, "TA", "K", 1.0, 273.15)
    assert words in kelvin.flux.predict(daily_model).attrs["history"]
    assert "converted" not in drivers.flux.predict(daily_model).attrs["history"]


@pytest.mark.parametrize("factor", [row(3, "characteristic_in_kilometres", 1e-3)])
def test_units_of_characteristics(towers: xr.Dataset, factor: float) -> None:
    expected = entity_values(towers, resolve(towers), "elevation")
    kilometres = towers.assign_coords(elevation=towers["elevation"] * factor)
    kilometres["elevation"].attrs["units"] = "km"
    found = entity_values(kilometres, resolve(kilometres), "elevation")
    np.testing.assert_allclose(found, expected, rtol=1e-6)


MOLE = 12.011e-6 * 86400
SAME_LABELS = [
    row(3, "carbon_by_the_second", lambda ds: in_units(ds, "GPP", "kg m-2 s-1", 1e-3 / 86400)),
    row(4, "moles_of_carbon_dioxide", lambda ds: in_units(ds, "GPP", "umol m-2 s-1", 1 / MOLE)),
    row(4, "moles_in_words", lambda ds: in_units(ds, "GPP", "umolCO2 m-2 s-1", 1 / MOLE)),
    row(6, "carbon_glued", lambda ds: with_units(ds, "GPP", "gC m-2 d-1")),
    row(6, "carbon_apart", lambda ds: with_units(ds, "GPP", "g C m-2 d-1")),
    row(6, "carbon_by_slashes", lambda ds: with_units(ds, "GPP", "gC/m2/day")),
    row(2, "night_time_before_day_time",
        lambda ds: ds.rename(GPP="GPP_NT_VUT_REF").assign(GPP_DT_VUT_REF=ds["GPP"] * 2)),
    row(2, "plumber2_pair", lambda ds: ds.assign(GPP_DT=ds["GPP"] * 2)),
]  # fmt: skip


@pytest.mark.parametrize("change", SAME_LABELS)
def test_understood_to_the_same_labels(towers: xr.Dataset, change: Change) -> None:
    np.testing.assert_allclose(read(change(towers)).targets, read(towers).targets, atol=1e-5)


IMPLAUSIBLE = [
    row(7, "kelvin_labelled_degc", lambda ds: mislabelled(ds, "TA", 1.0, 273.15),
        ("'TA' (TA) reaches", "degC, outside -95 to 65", "looks like kelvin"), True),
    row(7, "degc_labelled_kelvin", lambda ds: with_units(ds, "TA", "K"),
        ("'TA' (TA) reaches -2", "looks like degrees Celsius called kelvin"), True),
    row(7, "pascal_labelled_hpa", lambda ds: mislabelled(ds, "VPD", 100.0),
        ("'VPD' (VPD) reaches", "looks like pascal"), True),
    row(14, "fill_left_in", lambda ds: put(ds, "TA", -9999.0, site=1, time=[10, 200]),
        ("'TA' (TA) reaches -9999", "looks like a fill value"), False),
    row(14, "huge_fill_left_in", lambda ds: put(ds, "P", 9.96921e36, site=1, time=[10, 200]),
        ("'P' (P) reaches 9.96921e+36", "looks like a fill value"), False),
    row(15, "modis_leaf_area", lambda ds: mislabelled(ds, "LAI", 30.0, 1.0),
        ("'LAI' (LAI) reaches", "outside -0.01 to 15", "looks like unscaled MODIS"), False),
    row(15, "modis_fill", lambda ds: put(ds, "LAI", 255.0, site=1, time=[10, 200]),
        ("'LAI' (LAI) reaches 255", "fills 249-255"), False),
    row(15, "modis_index", lambda ds: mislabelled(ds, "EVI", 10000.0),
        ("'EVI' (EVI) reaches", "looks like unscaled MODIS"), False),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words", "whole"), IMPLAUSIBLE)
def test_implausible_values(
    drivers: xr.Dataset,
    daily_model: FluxModel,
    change: Change,
    words: tuple[str, ...],
    whole: bool,
) -> None:
    ds = change(drivers)
    with pytest.raises(DataError) as eager:
        ds.flux.predict(daily_model)
    says(eager.value, *words)
    lazy = ds.chunk(site=1).flux.predict(daily_model)
    with pytest.raises(DataError, match="outside"):
        lazy.compute()
    mended = follow(eager.value, ds).flux.predict(daily_model)
    if whole:
        same(mended, drivers.flux.predict(daily_model), atol=1e-3)
    assert float(mended["GPP"].notnull().mean()) > 0.9


@pytest.mark.parametrize(
    "change", [row(7, "in_training", lambda ds: mislabelled(ds, "TA", 1.0, 273.15))]
)
def test_implausible_values_in_training(towers: xr.Dataset, change: Change) -> None:
    with pytest.raises(SchemaError, match="looks like kelvin"):
        change(towers).flux.train(members=1, epochs=1, hidden=4)


@pytest.mark.parametrize("months", [row(10, "amounts_a_month_on_months", 24)])
def test_amounts_a_month(months: int) -> None:
    time = xr.date_range("2001-01-01", periods=months, freq="MS")
    rain = xr.DataArray(np.full(months, 3.0) * time.days_in_month, {"time": time}, name="P")
    for units in ("mm", "mm month-1", "kg m-2"):
        ds = rain.assign_attrs(units=units).to_dataset()
        rule = resolve(ds).matches["P"].conversion
        np.testing.assert_allclose(rain / time.days_in_month * rule.factor, 3.0)
        assert rule.per_step
    daily = rain.assign_coords(time=xr.date_range("2001-01-01", periods=months)).to_dataset()
    daily["P"].attrs["units"] = "mm month-1"
    rule = resolve(daily).matches["P"].conversion
    assert not rule.per_step, "an amount a month on daily steps is no amount a step"
    assert rule.factor == pytest.approx(12 / 365.2425)


@pytest.mark.parametrize("name", [row(10, "monthly_means_of_era5", "tp")])
def test_monthly_era5_is_an_amount_a_day(name: str) -> None:
    time = xr.date_range("2001-01-01", periods=5, freq="MS")
    ds = xr.Dataset({name: ("time", np.full(5, 0.003), {"units": "m"})}, {"time": time})
    schema = resolve(ds)
    assert not schema.matches["P"].conversion.per_step
    with warned("'tp' (P) in m is taken as a monthly mean of ERA5", '"m month-1"'):
        schema.require(["P"], task="prediction")
    assert resolve(with_units(ds, name, "m month-1")).matches["P"].conversion.per_step


@pytest.mark.parametrize("words", [row(10, "step_unknown", "days are missing")])
def test_amounts_without_a_time_step(
    drivers: xr.Dataset, daily_model: FluxModel, words: str
) -> None:
    holes = with_units(drivers, "P", "mm").isel(time=np.r_[0:50, 60:365])
    with pytest.raises(SchemaError, match=words) as caught:
        holes.flux.predict(daily_model)
    assert follow(caught.value, holes).sizes["time"] == 365


@pytest.mark.parametrize("share", [row(11, "humidity_as_share_or_percent", 0.6)])
def test_relative_humidity(drivers: xr.Dataset, daily_model: FluxModel, share: float) -> None:
    found = []
    for value, units in ((share, "1"), (100 * share, "%")):
        with warned("VPD is derived from daily means of TA and RH"):
            found.append(humid(drivers, value, units).flux.predict(daily_model))
    same(found[0], found[1])
    with warned("VPD is derived"), pytest.raises(DataError, match="percent called 1"):
        humid(drivers, 100 * share, "1").flux.predict(daily_model)


@pytest.mark.parametrize("units", [row(11, "humidity_without_units", None)])
def test_a_driver_that_could_be_derived_is_not_left_out(
    drivers: xr.Dataset, daily_model: FluxModel, units: str | None
) -> None:
    ds = with_units(humid(drivers, 60.0, "%"), "RH", units)
    with pytest.raises(SchemaError, match=r"'RH' \(RH\) has no units"):
        ds.flux.predict(daily_model)


@pytest.mark.parametrize("wrong", [row(13, "standard_name_misspelt", "relative_humidty")])
def test_misspelt_standard_name(drivers: xr.Dataset, daily_model: FluxModel, wrong: str) -> None:
    right = humid(drivers, 60.0, "%")
    moist = right["RH"].assign_attrs(standard_name=wrong)
    typo = right.drop_vars("RH").assign(moisture=moist)
    with warned("VPD is derived"):
        expected = right.flux.predict(daily_model)
    with warned(f"misspelt standard_name '{wrong}'", "VPD is derived", count=2):
        found = typo.flux.predict(daily_model)
    same(found, expected)


@pytest.mark.parametrize("task", [row(5, "assumed", "prediction")])
def test_assumed_units_are_said(drivers: xr.Dataset, daily_model: FluxModel, task: str) -> None:
    bare = with_units(drivers, "TA", None)
    with warned("'TA' (TA) has no units and is taken to be in degC", '.attrs["units"] = "degC"'):
        found = bare.flux.predict(daily_model, assume_units=True)
    same(found, drivers.flux.predict(daily_model))
    with pytest.raises(SchemaError) as caught:
        bare.flux.predict(daily_model)
    same(follow(caught.value, bare).flux.predict(daily_model), found)


def turned(name: str) -> Callable[[xr.Dataset], xr.Dataset]:
    return lambda ds: ds.assign({name: -ds[name]})


SIGNS = [
    row(12, "gpp_negative", turned("GPP"), "the median GPP is -"),
    row(12, "nee_as_uptake", turned("NEE"), "NEE looks like GPP - Reco"),
]


@pytest.mark.parametrize(("change", "words"), SIGNS)
def test_signs_are_warned_of(towers: xr.Dataset, change: Change, words: str) -> None:
    with pytest.warns(UserWarning, match=words):
        read(change(towers))


@pytest.mark.parametrize(
    ("name", "positive"),
    [row(12, "nee_positive_down", "NEE", "down"), row(12, "gpp_positive_up", "GPP", "up")],
)
def test_positive_attribute_contradicts(towers: xr.Dataset, name: str, positive: str) -> None:
    towers[name].attrs["positive"] = positive
    with pytest.raises(SchemaError, match=rf"\({name}\) says positive='{positive}'") as caught:
        read(towers)
    assert (follow(caught.value, towers)[name] == -towers[name]).sum() > 0
