"""Wrong units by size: each variable against a yardstick that its unit does not touch.

Radiation is held against the radiation above the air, vapour pressure against saturation, pressure
against the elevation, fluxes against the light. A true value lies within a band of these ratios;
the bands are wide, so only a factor of two or more is found, as wrong units make.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from xflux.audit import robust
from xflux.audit.blocks import Array, Block, Found, good
from xflux.audit.fills import FLUXES, LEAVES
from xflux.cf import units
from xflux.cf.derived import saturation_pressure
from xflux.cf.variables import BY_NAME
from xflux.errors import UnitsError

LEAST = {"daily": 30, "monthly": 6}
"""Steps that a yardstick needs."""

PAR_SHARE = 0.45 * 0.0864
"""MJ m-2 d-1 of photosynthetically active radiation in one W m-2 of shortwave (Meek et al. 1984,
doi:10.2134/agronj1984.00021962007600060018x)."""

QUANTUM_LIMIT = 4.8
"""g of carbon per MJ of PAR: 0.088 mol of CO2 per mol of photons, the most a C3 leaf can do (Evans
2013, doi:10.1104/pp.113.219006), with 4.57 mol of photons in a MJ."""

PER_EVI = 9.0
"""g of carbon per MJ of PAR and EVI. Light use efficiency grows about linearly with EVI (Sims et
al. 2006, doi:10.1029/2006JG000162); a canopy of EVI 0.5 then stays below `QUANTUM_LIMIT`."""

IDLE_EVI, DENSE = 0.3, 0.4
"""The same, below which leaves would hardly work, where EVI in high season is above `DENSE`."""

BAROMETRIC = 8430.0
"""Height over which pressure falls by a factor e, m, at 15 degC."""


class Yardstick(NamedTuple):
    """A ratio (N,) that should lie within low and high, and is usually near typical."""

    found: Array
    low: float
    high: float
    typical: float
    words: str


def wrong_units(block: Block) -> Iterator[Found]:
    """Variables whose size fits another unit than they are said to have; they are set aside."""
    if block.time.step not in LEAST:
        return
    for names, measure in (
        (("TA", "TA_MIN", "TA_MAX", "TD"), None),
        (("SW_IN",), _light),
        (("VPD", "EA"), _vapour),
        (("PA",), _pressure),
        (("RH", "QA"), _humidity),
        (LEAVES, _leaves),
        (FLUXES, _fluxes),
        (("P",), _water),
    ):
        for name in names:
            if name in block.values and measure is None:
                yield from _temperature(block, name)
            elif name in block.values and measure is not None:
                yield from _measured(block, name, measure)


def _temperature(block: Block, name: str) -> Iterator[Found]:
    """Kelvin and Fahrenheit under the name of Celsius, and Celsius under the name of kelvin."""
    values = block.values[name]
    middle, warm = robust.median(values, least=12), robust.quantile(values, 0.98, least=12)
    called = block.called.get(name, name)
    with np.errstate(invalid="ignore"):
        cases = (
            ((middle > 170) & (middle < 345), "looks like kelvin", "K"),
            (middle < -150, "looks like degrees Celsius called kelvin", "degC"),
            # No place has a fiftieth of its days above 50 degC; summers in Fahrenheit have.
            ((warm > 50) & (warm < 130) & (middle < 110), "looks like degrees Fahrenheit", ""),
        )
    for which, words, unit in cases:
        for row in robust.which(which):
            line = (
                f'ds["{called}"].attrs["units"] = "{unit}"'
                if unit
                else f'ds["{called}"] = (ds["{called}"] - 32) / 1.8'
            )
            yield Found(
                "wrong unit",
                row,
                (name,),
                *block.there(row, (name,)),
                f"median {middle[row]:.4g} degC, 2 % above {warm[row]:.4g} degC: {words}",
                whole=line,
            )
            block.set_aside(row, (name,))


def _measured(
    block: Block, name: str, measure: Callable[[Block, str], Iterator[Yardstick]]
) -> Iterator[Found]:
    done: set[int] = set()
    for stick in measure(block, name):
        with np.errstate(invalid="ignore"):
            wrong = (stick.found < stick.low) | (stick.found > stick.high)
        for row in robust.which(wrong):
            if row in done:
                continue
            done.add(row)
            ratio = float(stick.found[row])
            words, line = _meant(block, name, ratio / stick.typical)
            yield Found(
                "wrong unit",
                row,
                (name,),
                *block.there(row, (name,)),
                f"{stick.words} is {ratio:.3g}, expected {stick.low:.3g} to {stick.high:.3g}"
                f"{words}",
                whole=line,
            )
    for row in done:
        block.set_aside(row, (name,))


def _meant(block: Block, name: str, excess: float) -> tuple[str, str]:
    """What unit would make the size right, and the line that says so."""
    called, row = block.called.get(name, name), BY_NAME[name]
    if name == "SW_IN" and 1.3 < excess < 3.5:
        return (
            ": looks like PAR in umol m-2 s-1 called shortwave",
            f'ds["{called}"] = ds["{called}"] / 2.02',
        )
    if name in FLUXES and 2 < excess < 6.5:
        return (
            ": looks like grams of CO2, not of carbon",
            f'ds["{called}"] = ds["{called}"] * 12.011 / 44.009',
        )
    if name in LEAVES and excess > 3:
        scale = 10.0 ** -round(math.log10(excess))
        return ": looks unscaled", f'ds["{called}"] = ds["{called}"] * {scale:g}'
    said = block.raw_units.get(name) or row.units
    try:
        now = _factor(said, row.quantity, block)
    except UnitsError:
        return "", ""
    wanted = abs(now / excess) if excess else 0.0
    best, off = "", math.log(3.5)
    for unit in units.accepted(row.quantity):
        factor = _factor(unit, row.quantity, block)
        if wanted > 0 and unit != said and abs(math.log(factor / wanted)) < off:
            best, off = unit, abs(math.log(factor / wanted))
    if not best:
        return "", f'ds["{called}"].attrs["units"] = "..."'
    return f": looks like {best}", f'ds["{called}"].attrs["units"] = "{best}"'


def _factor(unit: str, quantity: str, block: Block) -> float:
    rule = units.conversion(unit, quantity)
    return rule.factor / (block.time.hours / 24) if rule.per_step else rule.factor


def _light(block: Block, name: str) -> Iterator[Yardstick]:
    """The clearest twentieth of the days against the radiation above the air.

    A clear sky lets 0.75 + 2e-5 z through (FAO-56, equation 37), and every place has clear days.
    """
    least = LEAST[block.time.step]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(block.top > 50, block.values[name] / block.top, np.nan)
    low = 0.40 if block.time.step == "daily" else 0.26
    clear = robust.quantile(share.astype(np.float32), 0.95, least=least)
    yield Yardstick(clear, low, 1.0, 0.7, "on clear days the share of the radiation above the air")


def _vapour(block: Block, name: str) -> Iterator[Yardstick]:
    """Against saturation at the air temperature: no air is always damp, none is drier than dry."""
    if "TA" not in block.values:
        return
    mild = block.values["TA"] > 0
    with np.errstate(invalid="ignore", over="ignore"):
        full = saturation_pressure(block.values["TA"])
        share = np.where(mild, block.values[name] / full, np.nan).astype(np.float32)
    least = LEAST[block.time.step]
    words = f"{name} over saturation vapour pressure, its twentieth highest value,"
    if name == "VPD":
        yield Yardstick(robust.quantile(share, 0.95, least=least), 0.1, 2.2, 0.5, words)
    else:
        yield Yardstick(robust.quantile(share, 0.95, least=least), 0.2, 1.5, 0.8, words)


def _pressure(block: Block, name: str) -> Iterator[Yardstick]:
    height = np.nan_to_num(block.number("elevation"))
    expected = 1013.25 * np.exp(-height.clip(-500, 9000) / BAROMETRIC)
    ratio = robust.median(block.values[name], least=LEAST[block.time.step]) / expected
    yield Yardstick(ratio.astype(np.float32), 0.4, 2.2, 1.0, "pressure over that of the elevation")


def _humidity(block: Block, name: str) -> Iterator[Yardstick]:
    high = robust.quantile(block.values[name], 0.95, least=LEAST[block.time.step])
    if name == "RH":
        yield Yardstick(high, 5.0, 130.0, 85.0, "the twentieth highest relative humidity [%]")
    else:
        yield Yardstick(high, 1e-5, 0.1, 0.012, "the twentieth highest humidity [kg kg-1]")


def _leaves(block: Block, name: str) -> Iterator[Yardstick]:
    """Against the possible, and LAI against EVI: they rise together."""
    least = LEAST[block.time.step]
    high = robust.quantile(block.values[name], 0.9, least=least)
    most = {"LAI": 12.0, "EVI": 1.2, "NDVI": 1.1, "FAPAR": 1.1}[name]
    usual = {"LAI": 2.5, "EVI": 0.45, "NDVI": 0.6, "FAPAR": 0.6}[name]
    yield Yardstick(high, -np.inf, most, usual, f"the tenth highest {name}")
    if name == "LAI" and "EVI" in block.values:
        green = robust.quantile(block.values["EVI"], 0.9, least=least)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where((green > 0.15) & (green < 1.0), high / green, np.nan)
        yield Yardstick(ratio.astype(np.float32), 0.5, 25.0, 5.0, "LAI over EVI in high season")


def _water(block: Block, name: str) -> Iterator[Yardstick]:
    """Against the records of the Earth, and against the carbon that is gained with the water.

    The wettest places have 12 m a year. Where things grow there are more than 36 mm, the wettest
    day of a year brings more than 3 mm, and no more than 25 g of carbon come with a mm of rain.
    """
    values = block.values[name]
    least = 12 * LEAST["daily"] if block.time.step == "daily" else 12
    rate = robust.mean(values, least=least)
    grows = np.zeros(block.size, dtype=bool)
    for other, limit in (("GPP", 1.0), ("EVI", 0.15), ("LAI", 0.4)):
        if other in block.values:
            with np.errstate(invalid="ignore"):
                grows |= robust.quantile(block.values[other], 0.9) > limit
    yield Yardstick(rate, -np.inf, 33.0, 2.0, "mean precipitation [mm d-1]")
    yield Yardstick(
        np.where(grows, rate, np.nan).astype(np.float32), 0.1, 33.0, 2.0,
        "mean precipitation [mm d-1] where plants grow",
    )  # fmt: skip
    if block.time.step == "daily":
        with np.errstate(invalid="ignore"):
            wet = robust.mean(np.where(values > 0.1, values, np.nan).astype(np.float32), least=20)
        yield Yardstick(wet, -np.inf, 45.0, 6.0, "mean precipitation of a wet day [mm d-1]")
        peak = robust.quantile(values, 0.997, least=least)
        yield Yardstick(
            np.where(grows, peak, np.nan).astype(np.float32), 0.8, np.inf, 30.0,
            "precipitation of the wettest day of a year [mm d-1]",
        )  # fmt: skip
    if "GPP" in block.values:
        gain = robust.mean(np.where(np.isfinite(values), block.values["GPP"], np.nan), least=least)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(gain > 0.3, rate / gain, np.nan).astype(np.float32)
        yield Yardstick(ratio, 0.03, np.inf, 0.6, "precipitation over GPP [mm g-1]")


def _fluxes(block: Block, name: str) -> Iterator[Yardstick]:
    """GPP against light and leaves, respiration and exchange against what ecosystems do."""
    least = LEAST[block.time.step]
    values = good(block, name)
    high = robust.quantile(np.abs(values), 0.95, least=least)
    vegetated = np.ones(block.size, dtype=bool)
    if "igbp" in block.classes:
        vegetated = ~np.isin(block.classes["igbp"], ("BSV", "SNO", "WAT", "URB"))
    for other, limit in (("EVI", 0.12), ("LAI", 0.3)):
        if other in block.values:
            with np.errstate(invalid="ignore"):
                vegetated &= ~(robust.quantile(block.values[other], 0.9) < limit)
    seen = np.where(vegetated, high, np.nan).astype(np.float32)
    if name == "GPP" and "SW_IN" in block.values:
        par = block.values["SW_IN"] * PAR_SHARE
        with np.errstate(invalid="ignore", divide="ignore"):
            use = np.where(par > 1.0, np.abs(values) / par, np.nan).astype(np.float32)
        use = robust.quantile(use, 0.9, least=least)
        yield Yardstick(
            use, -np.inf, QUANTUM_LIMIT, 1.1, "GPP over light, its tenth highest value [g MJ-1],"
        )
        if "EVI" in block.values:
            green = robust.quantile(block.values["EVI"], 0.9, least=least)
            with np.errstate(invalid="ignore", divide="ignore"):
                ratio = np.where(green > 0.15, use / green, np.nan).astype(np.float32)
            words = "GPP over light and EVI [g MJ-1]"
            yield Yardstick(ratio, -np.inf, PER_EVI, 2.3, words)
            with np.errstate(invalid="ignore"):
                dense = np.where(green > DENSE, ratio, np.nan).astype(np.float32)
            yield Yardstick(dense, IDLE_EVI, PER_EVI, 2.3, words)
    if name == "Reco" and "TA" in block.values:
        mild = np.abs(block.values["TA"] - 15) < 5
        base = robust.median(np.where(mild, values, np.nan).astype(np.float32), least=least)
        yield Yardstick(base, -np.inf, 20.0, 3.0, "median Reco at 10 to 20 degC [g m-2 d-1]")
    most = {"GPP": 45.0, "Reco": 40.0, "NEE": 25.0}[name]
    usual = {"GPP": 9.0, "Reco": 6.0, "NEE": 4.0}[name]
    yield Yardstick(high, -np.inf, most, usual, f"the twentieth highest {name} [g m-2 d-1]")
    yield Yardstick(seen, 0.03, most, usual, f"the twentieth highest {name} [g m-2 d-1]")
