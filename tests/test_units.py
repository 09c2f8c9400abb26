"""Every spelling of the unit table, conversions by hand, and strings that must be refused."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xflux.cf import units
from xflux.cf.units import CANONICAL, Conversion, conversion
from xflux.errors import UnitsError
from xflux.training.towers import to_canonical

SPELLINGS = [(quantity, name) for quantity, rows in units._TABLE.items() for name in rows]

# quantity, unit, a value in it, days of the step, and the value in xflux's unit by hand
BY_HAND = [
    ("temperature", "K", 300.0, 1, 26.85),
    ("temperature", "degC", -12.5, 1, -12.5),
    ("irradiance", "J m-2", 17_280_000.0, 1, 200.0),
    ("irradiance", "J m-2", 17_280_000.0 * 30, 30, 200.0),
    ("irradiance", "MJ m-2 d-1", 17.28, 31, 200.0),
    ("irradiance", "MJ m-2", 17.28 * 31, 31, 200.0),
    ("irradiance", "kJ m-2", 17280.0, 1, 200.0),
    ("irradiance", "W s m-2", 17_280_000.0, 1, 200.0),
    ("irradiance", "kJ m-2 d-1", 17280.0, 31, 200.0),
    ("irradiance", "J m-2 d-1", 17_280_000.0, 31, 200.0),
    ("irradiance", "J m-2 s-1", 200.0, 31, 200.0),
    ("pressure", "Pa", 850.0, 1, 8.5),
    ("pressure", "kPa", 0.85, 1, 8.5),
    ("pressure", "mb", 8.5, 1, 8.5),
    ("pressure", "bar", 1.013, 1, 1013.0),
    ("water flux", "kg m-2 s-1", 5.0 / 86400, 31, 5.0),
    ("water flux", "mm s-1", 5.0 / 86400, 1, 5.0),
    ("water flux", "mm h-1", 0.5, 1, 12.0),
    ("water flux", "mm", 93.0, 31, 3.0),
    ("water flux", "mm/month", 3.0 * 365.2425 / 12, 365.2425 / 12, 3.0),
    ("water flux", "m", 0.003, 1, 3.0),
    ("water flux", "m of water equivalent", 0.093, 31, 3.0),
    ("water flux", "cm", 9.3, 31, 3.0),
    ("water flux", "cm d-1", 0.3, 31, 3.0),
    ("water flux", "m d-1", 0.003, 31, 3.0),
    ("water flux", "m s-1", 0.003 / 86400, 31, 3.0),
    ("carbon flux", "umol m-2 s-1", 10.0, 1, 10e-6 * 12.011 * 86400),
    ("carbon flux", "mol m-2 s-1", 1e-5, 1, 10e-6 * 12.011 * 86400),
    ("carbon flux", "mol m-2 d-1", 1.0, 1, 12.011),
    ("carbon flux", "mmol m-2 d-1", 1000.0, 1, 12.011),
    ("carbon flux", "kg m-2 s-1", 1e-7, 1, 8.64),
    ("carbon flux", "g m-2 s-1", 1e-4, 1, 8.64),
    ("carbon flux", "kg m-2 d-1", 0.008, 1, 8.0),
    ("carbon flux", "g m-2 month-1", 2.0 * 365.2425 / 12, 365.2425 / 12, 2.0),
    ("carbon flux", "g m-2 yr-1", 2.0 * 365.2425, 31, 2.0),
    ("dimensionless", "%", 45.0, 1, 0.45),
    ("dimensionless", "1e-4", 4500.0, 1, 0.45),
    ("relative humidity", "1", 0.65, 1, 65.0),
    ("relative humidity", "percent", 65.0, 1, 65.0),
    ("specific humidity", "g kg-1", 8.0, 1, 0.008),
    ("mole fraction", "mol mol-1", 4e-4, 1, 400.0),
    ("length", "km", 1.5, 1, 1500.0),
    ("length", "cm", 150.0, 1, 1.5),
    ("depth", "m", 0.1, 1, 100.0),
    ("depth", "cm", 10.0, 1, 100.0),
]


@pytest.mark.parametrize(("quantity", "name"), SPELLINGS, ids=lambda text: text or "empty")
def test_every_spelling_converts(quantity: str, name: str) -> None:
    found = conversion(name, quantity)
    assert found == units._TABLE[quantity][name]
    assert conversion(f"  {name} ", quantity) == found
    assert np.isfinite([found.factor, found.offset]).all()
    assert found.factor > 0


@pytest.mark.parametrize(("quantity", "unit", "value", "days", "expected"), BY_HAND)
def test_by_hand(quantity: str, unit: str, value: float, days: float, expected: float) -> None:
    rule = conversion(unit, quantity)
    found = to_canonical(np.array([value]), rule, np.array([float(days)]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("quantity", sorted(CANONICAL))
def test_the_canonical_unit_changes_nothing(quantity: str) -> None:
    assert conversion(CANONICAL[quantity], quantity) == Conversion(1.0)
    assert units.accepted(quantity)[0] == CANONICAL[quantity]


@pytest.mark.parametrize(
    ("quantity", "same"),
    [
        (
            "carbon flux",
            ("g m-2 d-1", "gC m-2 d-1", "g C m-2 d-1", "gC/m2/day", "g C m^-2 day^-1",
             "gC m**-2 d**-1", "g.m-2.d-1", "gC m-2 days-1", "g(C) m-2 d-1", "g m-2 day-1"),
        ),
        (
            "carbon flux",
            ("umol m-2 s-1", "umolCO2 m-2 s-1", "µmol m-2 s-1", "\N{GREEK SMALL LETTER MU}mol/m2/s",
             "umol CO2 m-2 s-1", "umol m^-2 s^-1", "µmolCO2 m-2 s-1", "umolC m-2 s-1"),
        ),
        ("carbon flux", ("kg m-2 s-1", "kgC m-2 s-1", "kg C m-2 s-1", "kg/m2/s", "kg m**-2 s**-1")),
        ("water flux", ("kg m-2 s-1", "kg/m^2/s", "kg m**-2 s**-1", "kg.m-2.s-1", "kg m-2 sec-1")),
        ("water flux", ("mm d-1", "mm/day", "mm day-1", "mm/d", "kg m-2 d-1", "mm days-1")),
        ("irradiance", ("W m-2", "W/m2", "W m**-2", "W/m^2", "W.m-2")),
        ("irradiance", ("J m-2", "J m**-2", "J/m2")),
        ("temperature", ("degC", "°C", "celsius", "C", "degrees_Celsius")),
        ("leaf area", ("1", "m2 m-2", "m2/m2", "m**2 m**-2", "")),
    ],
)  # fmt: skip
def test_spellings_of_the_field_mean_the_same(quantity: str, same: tuple[str, ...]) -> None:
    assert {conversion(text, quantity) for text in same} == {conversion(same[0], quantity)}


@pytest.mark.parametrize(
    ("text", "quantity"),
    [
        ("furlong", "temperature"),
        ("F", "temperature"),
        ("degC", "pressure"),
        ("hPa", "temperature"),
        ("W m-2", "carbon flux"),
        ("g m-2", "water flux"),
        ("m-2 g d-1 x", "carbon flux"),
        ("ppm", "pressure"),
        ("", "temperature"),
        ("umol m-2 s-1", "irradiance"),
        ("K d-1", "temperature"),
        ("gCH4 m-2 d-1", "carbon flux"),
        ("gCO2 m-2 d-1", "carbon flux"),
        ("kg CO2 m-2 s-1", "carbon flux"),
    ],
)
def test_other_strings_are_refused_with_what_is_accepted(text: str, quantity: str) -> None:
    with pytest.raises(UnitsError) as caught:
        conversion(text, quantity)
    assert repr(text) in str(caught.value)
    assert repr(CANONICAL[quantity]) in str(caught.value)


def test_a_unit_of_another_quantity_is_named() -> None:
    with pytest.raises(UnitsError, match="is a unit of temperature"):
        conversion("K", "pressure")


@given(text=st.text(max_size=20), quantity=st.sampled_from(sorted(CANONICAL)))
def test_any_text_gives_a_conversion_or_a_units_error(text: str, quantity: str) -> None:
    with contextlib.suppress(UnitsError):
        assert isinstance(conversion(text, quantity), Conversion)


@given(
    value=st.floats(-80, 55),
    dtype=st.sampled_from(["f4", "f8", ">f4", ">f8"]),
)
def test_kelvin_and_celsius_give_the_same_number(value: float, dtype: str) -> None:
    days = np.ones(1)
    kelvin = np.array([value + 273.15], dtype=dtype)
    found = to_canonical(kelvin, conversion("K", "temperature"), days)
    np.testing.assert_allclose(found, value, rtol=0, atol=2e-5)
    assert found.dtype == np.dtype("float32").newbyteorder("=")


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_becomes_missing(bad: float) -> None:
    found = to_canonical(np.array([bad, 1.0]), Conversion(2.0), np.ones(2))
    assert np.isnan(found[0])
    assert found[1] == 2.0


def test_masked_values_become_missing_and_the_source_stays() -> None:
    source = np.ma.masked_array([1.0, -9999.0], mask=[False, True])
    found = to_canonical(source, Conversion(1.0), np.ones(2))
    assert not np.ma.isMaskedArray(found)
    np.testing.assert_array_equal(found, np.array([1.0, np.nan], dtype=np.float32))
    np.testing.assert_array_equal(source.data, [1.0, -9999.0])
