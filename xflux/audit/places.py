"""Where an entity is and what grows there: characteristics that cannot be."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xflux.audit import robust
from xflux.audit.blocks import Block, Found
from xflux.audit.sizes import BAROMETRIC
from xflux.cf.variables import BY_NAME, IGBP_CLASSES

PRESSURE_OFF = 40.0
"""hPa between the median pressure and that of the elevation: 350 m. Weather moves a median by less
than 15 hPa."""

COLDEST = 8.0
"""degC of the coldest month below which a climate is not tropical; Koeppen's limit is 18."""

SEA_LEVEL = 1013.25

CLIMATES = ("tropical", "equatorial", "a")


def places(block: Block) -> Iterator[Found]:
    """Coordinates, land cover, elevation and climate that are missing or cannot be."""
    yield from _coordinates(block)
    yield from _land_cover(block)
    yield from _elevation(block)
    yield from _climate(block)


def _all(block: Block, kind: str, row: int, name: str, words: str, line: str = "") -> Found:
    last = block.time.times.size - 1
    return Found(kind, row, (name,), 0, last, words, line=line)


def _coordinates(block: Block) -> Iterator[Found]:
    lat, lon = block.number("lat"), block.number("lon")
    if "lat" in block.numbers:
        for row in robust.which(~np.isfinite(lat) & _has_data(block)):
            yield _all(block, "no place", row, "lat", "no latitude")
    for row in range(block.size):
        if lat[row] == 0 and lon[row] == 0:
            yield _all(
                block, "wrong place", row, "lat", "latitude 0, longitude 0: in the sea off Ghana"
            )
            lat[row] = lon[row] = np.nan
    for name, values in (("lat", lat), ("lon", lon), ("elevation", block.number("elevation"))):
        rule = BY_NAME[name]
        for row in range(block.size):
            if np.isfinite(values[row]) and not rule.low <= values[row] <= rule.high:
                called = block.called.get(name, name)
                words = f"{values[row]:.6g} {rule.units}, outside {rule.low:g} to {rule.high:g}"
                if name == "lat" and abs(lon[row]) <= 90:
                    words += f": latitude and longitude ({lon[row]:.6g}) look swapped"
                kind = "wrong elevation" if name == "elevation" else "wrong place"
                yield _all(block, kind, row, name, words, f'check ds["{called}"]')
                block.numbers[name][row] = np.nan
                block.__dict__.pop("top", None)


def _has_data(block: Block) -> np.ndarray:
    some = np.zeros(block.size, dtype=bool)
    for values in block.values.values():
        some |= np.isfinite(values).any(axis=1)
    return some


def _land_cover(block: Block) -> Iterator[Found]:
    if "igbp" not in block.classes:
        return
    known = set(IGBP_CLASSES)
    for row in robust.which(_has_data(block)):
        name = block.classes["igbp"][row]
        if name in known or name.isdigit():
            continue
        if name in ("", "nan", "None", "-9999"):
            yield _all(block, "no land cover", row, "igbp", "no land cover")
        else:
            words = f"{str(name)!r} is no IGBP class; known are {', '.join(IGBP_CLASSES)}"
            yield _all(block, "unknown land cover", row, "igbp", words)


def _elevation(block: Block) -> Iterator[Found]:
    height = block.number("elevation")
    if "PA" not in block.values:
        return
    pressure = robust.median(block.values["PA"], least=6)
    expected = SEA_LEVEL * np.exp(-height / BAROMETRIC)
    with np.errstate(invalid="ignore", divide="ignore"):
        off = np.abs(pressure - expected) > PRESSURE_OFF
        meant = -BAROMETRIC * np.log(pressure / SEA_LEVEL)
    for row in robust.which(off):
        words = (
            f"{height[row]:.0f} m, but the median pressure is {pressure[row]:.0f} hPa, as at "
            f"{meant[row]:.0f} m"
        )
        if abs(height[row] * 0.3048 - meant[row]) < 100:
            words += ": looks like feet"
        yield _all(block, "wrong elevation", row, "elevation", words)


def _climate(block: Block) -> Iterator[Found]:
    if "climate" not in block.classes or "TA" not in block.values:
        return
    months = block.time.monthly(block.values["TA"]).reshape(block.size, -1, 12)
    usual = robust.median(np.swapaxes(months, 1, 2))
    coldest = np.where(np.isfinite(usual).all(axis=1), usual.min(axis=1), np.nan)
    for row in robust.which(coldest < COLDEST):
        name = str(block.classes["climate"][row])
        if name.lower() in CLIMATES:
            words = f"{name}, but the coldest month has {coldest[row]:.1f} degC"
            yield _all(block, "wrong climate", row, "climate", words)
