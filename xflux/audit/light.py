"""Radiation against the sun: more than there is above the air, and a season of another latitude."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xflux.audit import robust, sun
from xflux.audit.blocks import Array, Block, Found, Whole, ends

ABOVE, SLACK = 1.0, 15.0
"""Daily radiation above this share of that above the air, and so many W m-2 more, cannot be; the
slack is for the edge of the polar night and for days of universal time."""

MANY = 3
"""Days with too much light that are more than a reading error."""

LATITUDES = np.arange(-80.0, 81.0, 2.0)
"""Latitudes that are tried."""

APART = 18.0
"""Degrees between the latitude that fits best and the one given. Cloudy seasons move the best
fit of a true tower by up to about 10 degrees."""

CLEARER = 0.08
"""By how much less the misfit must be, as a share of the radiation's size."""

SEASONS = 0.7
"""Share of the year that radiation must cover for a season to be fitted."""

MARGINS = {"daily": 24, "monthly": 12}
"""Parts of the year in which the brightest days are taken."""


def too_bright(block: Block) -> Iterator[Found]:
    """Days with more radiation than reaches the top of the air."""
    if "SW_IN" not in block.values or block.time.step not in MARGINS:
        return
    with np.errstate(invalid="ignore"):
        over = block.values["SW_IN"] > ABOVE * block.top + SLACK
    called = block.called.get("SW_IN", "SW_IN")
    for row in robust.which(over.any(axis=1)):
        steps = np.flatnonzero(over[row])
        worst = steps[np.argmax((block.values["SW_IN"][row] - block.top[row])[steps])]
        yield Found(
            "too much radiation",
            row,
            ("SW_IN",),
            *ends(steps),
            f"{steps.size} steps above what reaches the top of the air, the worst "
            f"{block.values['SW_IN'][row, worst]:.0f} W m-2 where there are "
            f"{block.top[row, worst]:.0f}",
            line=f'check the sensor, the clock and the latitude of ds["{called}"]',
            severity="" if steps.size >= MANY else "note",
        )
        block.values["SW_IN"][row, steps] = np.nan


def wrong_place(block: Block) -> Iterator[Found]:
    """A season of radiation that belongs to another latitude; the latitude is set aside."""
    step = block.time.step
    if "SW_IN" not in block.values or step not in MARGINS:
        return
    parts = MARGINS[step]
    bright = _brightest(block, parts)
    days = (np.arange(parts) + 0.5) * 365.25 / parts
    lat = block.number("lat")
    tried = _misfit(bright, sun.daily_top(LATITUDES, days))
    own = np.array(
        [
            _misfit(bright[i : i + 1], sun.daily_top(lat[i : i + 1], days))[0, 0]
            for i in range(lat.size)
        ]
    )
    whole = np.isfinite(bright).sum(axis=1) >= SEASONS * parts
    best = LATITUDES[np.argmin(tried, axis=1)]
    with np.errstate(invalid="ignore"):
        wrong = whole & (np.abs(best - lat) > APART) & (own - tried.min(axis=1) > CLEARER)
    for row in robust.which(wrong):
        name, words, line = _place_words(block, row, float(best[row]))
        yield Found(
            "wrong place" if name == "lat" else "season out of step",
            row,
            (name,),
            *block.there(row, ("SW_IN",)),
            f"the season of radiation is that of latitude {best[row]:.0f}, not {lat[row]:.4g}"
            f"{words}",
            whole=line,
        )
        if name == "lat":
            block.numbers["lat"][row] = np.nan
            block.__dict__.pop("top", None)
        else:
            block.set_aside(row, (name,))


def _place_words(block: Block, row: int, best: float) -> tuple[str, str, str]:
    """Whether place or radiation is wrong, and how: the temperature has a season as well."""
    lat, lon = float(block.number("lat")[row]), float(block.number("lon")[row])
    called = block.called.get("lat", "lat")
    if "TA" in block.values and abs(lat) > 20 and best * lat < 0:
        warm = block.seasonal(block.values["TA"][row : row + 1])
        here = float(robust.correlation(warm, block.top[row : row + 1], least=6)[0])
        if here > 0.5:
            radiation = block.called.get("SW_IN", "SW_IN")
            return (
                "SW_IN",
                f"; the temperature has the season of {lat:.4g}",
                f'check the months of ds["{radiation}"]',
            )
    if abs(-lat - best) <= APART / 2 and abs(lat) > APART / 2:
        return "lat", ": looks like the other hemisphere", f'ds["{called}"] = -ds["{called}"]'
    east = (lon + 180) % 360 - 180
    if abs(east - best) <= APART / 2:
        other = block.called.get("lon", "lon")
        return (
            "lat",
            f": latitude and longitude ({east:.4g}) look swapped",
            f'ds = ds.rename({{"{called}": "{other}", "{other}": "{called}"}})',
        )
    return "lat", "", f'check ds["{called}"]'


def _brightest(block: Block, parts: int) -> Array:
    """The tenth brightest of the days in each part of the year, shape (N, parts)."""
    part: Whole = block.time.month - 1
    if block.time.step == "daily":
        part = np.minimum((block.time.day - 1) // (366 / parts), parts - 1).astype(np.int64)
    least = 8 if block.time.step == "daily" else 1
    values = block.values["SW_IN"]
    out = np.full((block.size, parts), np.nan, np.float32)
    for number in np.unique(part):
        out[:, number] = robust.quantile(values[:, part == number], 0.9, least=least)
    return out


def _misfit(bright: Array, top: Array) -> Array:
    """Root mean square difference to the best multiple of a season, relative, (N, seasons)."""
    there = np.isfinite(bright) & np.isfinite(top).all()
    seen = np.where(there, bright, 0.0).astype(np.float64)
    curve = np.nan_to_num(top).astype(np.float64)
    both, size = seen @ curve.T, there @ (curve**2).T
    total = (seen**2).sum(axis=1)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        rest = total - both**2 / size
        found = np.sqrt(np.maximum(rest, 0) / total)
    return np.where(np.isfinite(found), found, 0.0).astype(np.float32)
