"""What is there of an entity: labels by year and season, drivers, and gaps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xflux.audit import robust
from xflux.audit.blocks import Block, Found, ends, good
from xflux.cf.variables import TARGETS

FULL_YEAR = 0.25
"""Share of a year with labels below which the year is named."""

SEASON_MONTHS = 4
"""Calendar months that must have labels in some year; with fewer all labels are of one season."""

LEAST_LABELS = 20
"""Labels that a month needs over all years to count, daily; two thirds of one month else."""

GAP_DAYS = 30
"""Days without a driver, within its record, that make a gap worth a note."""

NEEDED = ("TA", "SW_IN")
"""Drivers without which nothing is predicted."""


def coverage(block: Block) -> Iterator[Found]:
    """Drivers that are missing or have long gaps, and labels of few years or of one season."""
    yield from _drivers(block)
    if any(name in block.values for name in TARGETS):
        yield from _labels(block)


def _drivers(block: Block) -> Iterator[Found]:
    last = block.time.times.size - 1
    drivers = [n for n in block.values if n not in (*TARGETS, "NEE_QC")]
    some = np.zeros(block.size, dtype=bool)
    for name in drivers:
        some |= np.isfinite(block.values[name]).any(axis=1)
    for name in drivers:
        there = np.isfinite(block.values[name])
        for row in robust.which(~there.any(axis=1) & some):
            severity = "warning" if name in NEEDED else "note"
            words = f"no value at all of {name}"
            yield Found("driver missing", row, (name,), 0, last, words, severity=severity)
        if name in NEEDED:
            yield from _gaps(block, name, there)


def _gaps(block: Block, name: str, there: np.ndarray) -> Iterator[Found]:
    """Long gaps between the first and the last value."""
    seen = np.maximum.accumulate(there, axis=1)
    ahead = np.maximum.accumulate(there[:, ::-1], axis=1)[:, ::-1]
    gaps = robust.runs(seen & ahead & ~there)
    long = (gaps[:, 2] - gaps[:, 1] + 1) * block.time.hours / 24 > GAP_DAYS
    for row in np.unique(gaps[long, 0]):
        mine = gaps[long & (gaps[:, 0] == row)]
        total = int((mine[:, 2] - mine[:, 1] + 1).sum())
        count = f"{len(mine)} gap{'s' if len(mine) > 1 else ''} of more than {GAP_DAYS} days"
        words = f"{count}, {total} steps in all"
        yield Found("long gap", row, (name,), int(mine[0, 1]), int(mine[-1, 2]), words)


def _labels(block: Block) -> Iterator[Found]:
    label = np.zeros((block.size, block.time.times.size), dtype=bool)
    names = tuple(name for name in TARGETS if name in block.values)
    for name in names:
        label |= np.isfinite(good(block, name))
    per_year = {"monthly": 12, "daily": 365}.get(block.time.step, 8760 / block.time.hours)
    enough = 1 if block.time.step == "monthly" else LEAST_LABELS * 24 / block.time.hours
    for row in range(block.size):
        steps = np.flatnonzero(label[row])
        if not steps.size:
            first, last = block.there(row, tuple(block.values))
            yield Found("no labels", row, names, first, last, "no label of good quality")
            continue
        first, last = ends(steps)
        held = block.time.year[first : last + 1]
        low = [
            f"{year} ({100 * share:.0f} %)"
            for year in np.unique(held)
            if (share := label[row, block.time.year == year].sum() / per_year) < FULL_YEAR
        ]
        if low:
            words = f"few labels in {', '.join(low[:6])}" + (
                f" and {len(low) - 6} more years" if len(low) > 6 else ""
            )
            yield Found("few labels", row, names, first, last, words)
        months = np.bincount(block.time.month[steps], minlength=13)[1:]
        covered = np.flatnonzero(months >= enough) + 1
        if 0 < covered.size <= SEASON_MONTHS:
            words = f"labels in the months {', '.join(map(str, covered))} only"
            yield Found("one season only", row, names, first, last, words)
