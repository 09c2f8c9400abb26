"""Exact conversion of the unit strings that files of the field carry.

General unit parsers go wrong on exactly these strings: ``g C m-2 d-1`` reads as gram times degree
Celsius and ``mb`` as millibarn. The table below is closed instead: a string that it does not hold
is an error that names it. A conversion is ``canonical = value * factor + offset``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from xflux.errors import UnitsError

DAY = 86400.0
YEAR = 365.2425
"""Mean length of a Gregorian year in days."""
MONTH = YEAR / 12
"""Mean length of a month in days, for amounts a month on steps that are no months."""
CARBON = 12.011
"""Molar mass of carbon, g mol-1 (IUPAC 2021, doi:10.1515/pac-2019-0603)."""
GRAVITY = 9.80665
"""Standard gravity, m s-2 (CGPM 1901), by which ECMWF divides a geopotential to get a height."""

CANONICAL: dict[str, str] = {
    "temperature": "degC",
    "irradiance": "W m-2",
    "pressure": "hPa",
    "water flux": "mm d-1",
    "carbon flux": "g m-2 d-1",
    "dimensionless": "1",
    "leaf area": "1",
    "relative humidity": "%",
    "specific humidity": "kg kg-1",
    "mole fraction": "umol mol-1",
    "length": "m",
    "depth": "mm",
    "latitude": "degrees_north",
    "longitude": "degrees_east",
}
"""The one unit that each kind of quantity has inside xflux."""


class Conversion(NamedTuple):
    """``canonical = value * factor + offset``; a per-step amount is divided by the step in days."""

    factor: float
    offset: float = 0.0
    per_step: bool = False


_SAME = Conversion(1.0)

_TABLE: dict[str, dict[str, Conversion]] = {
    "temperature": {
        **dict.fromkeys(
            ("degC", "deg C", "C", "°C", "Celsius", "celsius", "degree_Celsius"), _SAME
        ),
        **dict.fromkeys(
            ("degrees_celsius", "degrees_Celsius", "degree_C", "degrees C", "degree C"), _SAME
        ),
        **dict.fromkeys(("K", "kelvin", "Kelvin", "degK", "deg K"), Conversion(1.0, -273.15)),
    },
    "irradiance": {
        "W m-2": _SAME,
        "J m-2 s-1": _SAME,
        "W s m-2": Conversion(1.0 / DAY, per_step=True),
        "J m-2": Conversion(1.0 / DAY, per_step=True),
        "kJ m-2": Conversion(1e3 / DAY, per_step=True),
        "MJ m-2": Conversion(1e6 / DAY, per_step=True),
        "J m-2 d-1": Conversion(1.0 / DAY),
        "kJ m-2 d-1": Conversion(1e3 / DAY),
        "MJ m-2 d-1": Conversion(1e6 / DAY),
        "J m-2 month-1": Conversion(1.0 / DAY, per_step=True),
        "MJ m-2 month-1": Conversion(1e6 / DAY, per_step=True),
    },
    "pressure": {
        **dict.fromkeys(("hPa", "mb", "mbar", "millibar", "millibars"), _SAME),
        "Pa": Conversion(0.01),
        "kPa": Conversion(10.0),
        "bar": Conversion(1000.0),
    },
    "water flux": {
        **dict.fromkeys(("mm d-1", "kg m-2 d-1", "mm water d-1"), _SAME),
        **dict.fromkeys(("mm s-1", "kg m-2 s-1"), Conversion(DAY)),
        **dict.fromkeys(("mm h-1", "kg m-2 h-1"), Conversion(24.0)),
        "m s-1": Conversion(1000.0 * DAY),
        "m d-1": Conversion(1000.0),
        "cm d-1": Conversion(10.0),
        **dict.fromkeys(("mm", "kg m-2"), Conversion(1.0, per_step=True)),
        **dict.fromkeys(("mm month-1", "kg m-2 month-1"), Conversion(1.0, per_step=True)),
        "m month-1": Conversion(1000.0, per_step=True),
        "cm": Conversion(10.0, per_step=True),
        **dict.fromkeys(("m", "m of water equivalent"), Conversion(1000.0, per_step=True)),
    },
    "carbon flux": {
        "g m-2 d-1": _SAME,
        "kg m-2 d-1": Conversion(1e3),
        "g m-2 s-1": Conversion(DAY),
        "kg m-2 s-1": Conversion(1e3 * DAY),
        "umol m-2 s-1": Conversion(1e-6 * CARBON * DAY),
        "mol m-2 s-1": Conversion(CARBON * DAY),
        "mol m-2 d-1": Conversion(CARBON),
        "mmol m-2 d-1": Conversion(1e-3 * CARBON),
        "g m-2": Conversion(1.0, per_step=True),
        "g m-2 month-1": Conversion(1.0, per_step=True),
        "g m-2 yr-1": Conversion(1.0 / YEAR),
    },
    "dimensionless": {
        **dict.fromkeys(("1", "", "-", "unitless", "none", "dimensionless"), _SAME),
        **dict.fromkeys(("%", "percent"), Conversion(0.01)),
        "1e-4": Conversion(1e-4),
    },
    "leaf area": dict.fromkeys(
        ("1", "", "-", "m2 m-2", "m+2 m-2", "unitless", "none", "dimensionless"), _SAME
    ),
    "relative humidity": {
        **dict.fromkeys(("%", "percent"), _SAME),
        **dict.fromkeys(("1", "", "-", "unitless", "dimensionless"), Conversion(100.0)),
    },
    "specific humidity": {
        **dict.fromkeys(("kg kg-1", "1", "", "-"), _SAME),
        "g kg-1": Conversion(1e-3),
    },
    "mole fraction": {
        **dict.fromkeys(("umol mol-1", "ppm", "ppmv", "1e-6"), _SAME),
        **dict.fromkeys(("1", "mol mol-1"), Conversion(1e6)),
    },
    "length": {
        **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), _SAME),
        "km": Conversion(1e3),
        "cm": Conversion(1e-2),
        **dict.fromkeys(("m2 s-2", "J kg-1"), Conversion(1.0 / GRAVITY)),  # a geopotential
    },
    "depth": {"mm": _SAME, "kg m-2": _SAME, "cm": Conversion(10.0), "m": Conversion(1e3)},
    "latitude": dict.fromkeys(
        ("degrees_north", "degree_north", "degrees_N", "degreesN", "degrees", "degree", "°", ""),
        _SAME,
    ),
    "longitude": dict.fromkeys(
        ("degrees_east", "degree_east", "degrees_E", "degreesE", "degrees", "degree", "°", ""),
        _SAME,
    ),
}

UNITLESS = frozenset({"dimensionless", "leaf area", "latitude", "longitude"})
"""Quantities whose ``units`` attribute may be absent (CF 1.11, section 3.1)."""

_TIME_WORDS = {"day": "d", "days": "d", "sec": "s", "second": "s", "seconds": "s"} | {
    "hour": "h",
    "hr": "h",
    "year": "yr",
    "y": "yr",
    "month": "month",
    "months": "month",
    "mo": "month",
    "mon": "month",
}
_PER_TIME = re.compile(r"\b(days?|sec|seconds?|hour|hr|year|y|months?|mon?)-1")
_CARBON = re.compile(r"\b(?:(k?g)\s?C|([um]?mol)\s?(?:CO2|C))\b")


def _spell(text: str) -> str:
    """Bring one spelling of a unit to the table's: ``gC/m2/day`` becomes ``g m-2 d-1``.

    Examples
    --------
    >>> _spell("gC m**-2 day-1"), _spell("kg/m^2/s"), _spell("umolCO2 m-2 s-1")
    ('g m-2 d-1', 'kg m-2 s-1', 'umol m-2 s-1')
    """
    text = " ".join(text.replace("**", "").replace("^", "").replace("µ", "u").split())
    text = text.replace("\N{GREEK SMALL LETTER MU}", "u").replace("·", " ")
    text = re.sub(r"(?<=[A-Za-z0-9])\.(?=[A-Za-z])", " ", text)
    text = re.sub(r"[({\[\])}]", "", text)
    head, *below = (part.strip() for part in text.split("/"))
    for part in below:
        match = re.fullmatch(r"([A-Za-z]+)(\d*)", part)
        head += f" {match[1]}-{match[2] or '1'}" if match else f"/{part}"
    head = _CARBON.sub(lambda m: m[1] or m[2], head)
    return _PER_TIME.sub(lambda m: f"{_TIME_WORDS[m[1]]}-1", head).strip()


def accepted(quantity: str) -> tuple[str, ...]:
    """Spellings that xflux accepts for a kind of quantity, the canonical one first."""
    names = [name for name in _TABLE[quantity] if name]
    return tuple(sorted(names, key=lambda name: name != CANONICAL[quantity]))


def on_step(rule: Conversion, units: str, step: str | None) -> Conversion:
    """The same conversion on a series of a known time step.

    An amount a month is divided by each month's own length in a monthly series, and by the mean
    length of a month in any other: there it is no amount per step.

    Examples
    --------
    >>> rule = conversion("mm month-1", "water flux")
    >>> on_step(rule, "mm month-1", "monthly").per_step, on_step(rule, "mm month-1", "daily").factor
    (True, 0.032854...)
    """
    if step == "monthly" or not rule.per_step or not _spell(units).endswith("month-1"):
        return rule
    return Conversion(rule.factor / MONTH, rule.offset)


def conversion(units: str, quantity: str) -> Conversion:
    """Find how to bring values in ``units`` to the canonical unit of ``quantity``.

    Parameters
    ----------
    units : str
        The ``units`` attribute as the file has it.
    quantity : str
        A key of `CANONICAL`, such as ``"temperature"``.

    Returns
    -------
    Conversion
        Factor and offset; ``per_step`` where the values are amounts per time step.

    Raises
    ------
    UnitsError
        The string is not in the table for this quantity.

    Examples
    --------
    >>> conversion("K", "temperature")
    Conversion(factor=1.0, offset=-273.15, per_step=False)
    >>> round(conversion("umol m-2 s-1", "carbon flux").factor, 7)
    1.0377504
    """
    table = _TABLE[quantity]
    for spelling in (units.strip(), _spell(units)):
        if spelling in table:
            return table[spelling]
    others = [name for name, rows in _TABLE.items() if _spell(units) in rows and name != quantity]
    meant = f" ({units!r} is a unit of {' or of '.join(others)})" if others else ""
    raise UnitsError(
        f"units {units!r} are not units of {quantity} that xflux knows{meant}; "
        f"accepted: {', '.join(repr(name) for name in accepted(quantity)[:8])}"
    )
