"""Years of gap-filling: little was measured, or a record turns too smooth to be measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from xflux.audit import robust
from xflux.audit.blocks import Array, Block, Found, Whole
from xflux.audit.repeats import measured

PARTS = 12
"""Parts of a year in which the change from day to day is compared with the same part of other
years."""

SMOOTH = 0.15
"""Share of the usual change from day to day below which a stretch was not measured: a mean
season, a running mean or a line has no weather in it."""

DAYS = 18
"""Days that a part of a year needs."""

LIT = 60.0
"""W m-2 above the air, daily mean, below which radiation is smooth by nature."""

MEASURED = 0.5
"""NEE_QC from which on a step counts as measured, as in training."""

FEW = 0.1
"""Share of the steps of a year that were measured, below which the year is one of filling."""

ALIKE = 0.01
"""Change of leaves between years, as a share of that within a year, below which they are a mean
year that is repeated."""

STILL = 0.01
"""Median change of leaves from month to month below which there is no season to repeat."""


class Lively(NamedTuple):
    """What it takes to call a variable too smooth.

    ``change`` is the usual change from day to day below which nothing can be told, in xflux's unit,
    and ``parts`` the parts of a year that must be smooth in a row: snow, bare fields and damp air
    make some smooth.
    """

    change: float
    parts: int


LIVELY = {
    "TA": Lively(0.3, 2),
    "TA_MIN": Lively(0.3, 2),
    "TA_MAX": Lively(0.3, 2),
    "SW_IN": Lively(3.0, 2),
    "VPD": Lively(0.3, 3),
    "NEE": Lively(0.1, 4),
    "GPP": Lively(0.1, 4),
    "Reco": Lively(0.06, 6),
}


def too_smooth(block: Block) -> Iterator[Found]:
    """Stretches without the change from day to day that other years have in that season."""
    if block.time.step != "daily":
        return
    for name, lively in LIVELY.items():
        if name not in block.values:
            continue
        values = measured(block, name)
        if name == "SW_IN":
            with np.errstate(invalid="ignore"):
                values = np.where(block.top < LIT, np.float32(np.nan), values)
        rough = np.full(values.shape, np.nan, np.float32)
        rough[:, 1:-1] = np.abs(values[:, 1:-1] - (values[:, :-2] + values[:, 2:]) / 2)
        parts = _by_part(block, rough)
        others = _of_others(parts)
        with np.errstate(invalid="ignore"):
            flat = (parts < SMOOTH * others) & (others > lively.change)
        flat = flat.reshape(block.size, -1)
        found = robust.runs(flat)
        found = found[found[:, 2] - found[:, 1] + 1 >= lively.parts]
        yield from _stretches(
            block, name, found, parts.reshape(flat.shape), others.reshape(flat.shape)
        )


def _by_part(block: Block, rough: Array) -> Array:
    """Median change in each part of each year, shape (N, years, PARTS)."""
    folded = block.time.fold(rough)
    size = folded.shape[2] // PARTS
    cut = folded[:, :, : size * PARTS].reshape(*folded.shape[:2], PARTS, size)
    return robust.median(cut, least=DAYS)


def _of_others(parts: Array) -> Array:
    """For each part of a year the upper quartile of all years; of the neighbours in a single year.

    The upper quartile still is that of measured years where up to two thirds were filled; of two
    years the livelier one.
    """
    years = parts.swapaxes(1, 2)
    usual = robust.quantile(years, 0.75, least=3)
    usual = np.where(np.isfinite(usual), usual, robust.quantile(years, 1.0, least=2))[:, None]
    single = robust.quantile(parts.reshape(parts.shape[0], -1), 0.5, least=3)[:, None, None]
    return np.where(np.isfinite(usual), usual, 0.5 * single) + np.zeros_like(parts)


def _stretches(
    block: Block, name: str, found: Whole, parts: Array, others: Array
) -> Iterator[Found]:
    for row in np.unique(found[:, 0]):
        mine = found[found[:, 0] == row]
        longest = mine[np.argmax(mine[:, 2] - mine[:, 1])]
        inside = np.zeros(block.time.times.size, dtype=bool)
        for _, first, last in mine:
            inside |= _steps_of(block, first - 1, last + 1)  # its ends lie somewhere in the next
        here = _steps_of(block, longest[1], longest[2])
        first, last = block.bounds(here & np.isfinite(block.values[name][row]))
        part = slice(longest[1], longest[2] + 1)
        yield Found(
            "too smooth",
            row,
            (name,),
            first,
            last,
            f"change from day to day {float(np.nanmedian(parts[row, part])):.2g}, in other years "
            f"{float(np.nanmedian(others[row, part])):.2g} at that season, in {len(mine)} stretch"
            f"{'es' if len(mine) > 1 else ''}: looks filled",
        )
        block.values[name][row, inside] = np.nan


def _steps_of(block: Block, first: int, last: int) -> np.ndarray:
    size = block.time.slots // PARTS
    place = (block.time.year - block.time.years[0]) * PARTS + np.minimum(
        np.maximum(block.time.slot, 0) // size, PARTS - 1
    )
    return np.asarray((place >= first) & (place <= last))


def filled_years(block: Block) -> Iterator[Found]:
    """Years in which nearly all of NEE is filled, as NEE_QC tells."""
    if "NEE_QC" not in block.values:
        return
    flux = next((name for name in ("NEE", "GPP", "Reco") if name in block.values), None)
    if flux is None:
        return
    quality = block.values["NEE_QC"]
    has = np.isfinite(block.values[flux])
    with np.errstate(invalid="ignore"):
        well = has & (quality >= MEASURED)
    per_year = {"monthly": 12, "daily": 365}.get(block.time.step, 8760 / block.time.hours)
    for row in range(block.size):
        years = []
        for year in block.time.years:
            inside = block.time.year == year
            total = int(has[row, inside].sum())
            if total >= 0.5 * per_year and well[row, inside].sum() < FEW * total:
                years.append(int(year))
        if years:
            inside = np.isin(block.time.year, years)
            yield Found(
                "filled years",
                row,
                (flux,),
                *block.bounds(inside & has[row]),
                f"less than {100 * FEW:.0f} % measured in {', '.join(map(str, years))} "
                f"(NEE_QC below {MEASURED:g})",
            )


def repeated_season(block: Block) -> Iterator[Found]:
    """Leaves that are the same in every year: a mean year, not what was there."""
    for name in ("LAI", "EVI", "NDVI", "FAPAR"):
        if name not in block.values:
            continue
        months = block.time.monthly(block.values[name]).reshape(block.size, -1, 12)
        whole = np.isfinite(months).sum(axis=2) == 12
        swing = robust.median(np.abs(np.diff(months, axis=2)).reshape(block.size, -1), least=22)
        between = robust.median(np.abs(np.diff(months, axis=1)).reshape(block.size, -1), least=22)
        with np.errstate(invalid="ignore"):
            same = (between < ALIKE * swing) & (swing > STILL) & (whole.sum(axis=1) >= 3)
        for row in robust.which(same):
            yield Found(
                "repeated season",
                row,
                (name,),
                *block.there(row, (name,)),
                f"the same months in {int(whole[row].sum())} years",
            )
