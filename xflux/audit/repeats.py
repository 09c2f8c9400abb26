"""Stuck sensors, bridged gaps, and stretches that stand in a record twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from xflux.audit import robust
from xflux.audit.blocks import Array, Block, Found, Mask, ends, good
from xflux.audit.fills import LEAVES

CHANCE = 1e-5
"""Expected runs of equal values in a whole record, by chance, at the length that is reported."""

SHORTEST = {"daily": 4, "monthly": 3}
"""Fewest equal values that count as stuck."""

BRIEF = 10
"""Equal days below which a stuck value is only worth a note: gaps are filled with means of some
days."""

SHORTEST_HOURS = 12.0
"""Fewest equal steps that count as stuck: below a day, half a day of them; damp or melting air
keeps a sensor of coarse resolution at one value for some hours."""

STILL_LEAVES = 13
"""Months without any change that make leaves stuck: seasons change, and so does what satellites
see."""

LONG_BRIDGE = 7
"""Days of a straight line from which on a gap was bridged, not measured."""

WINDOW = {"daily": 10, "monthly": 6}
"""Steps that are compared to find a stretch again: ten daily values equal to the last digit do not
come again in nature. Below a day, the steps of one day."""

JOINED = 4
"""Windows between two pieces of one lag that are still one copy: the record has gaps."""

FEW_DAYS, FILL_DAYS = 7, 31
"""Days within which a repeated course is a fill, and those for a flux: a mean course of the weeks
around a gap. What comes again later is a copy."""

ALIVE, ALIVE_HOURS = 0.55, 0.3
"""Share of a window that must change from step to step, of days and of shorter steps, which rest at
night; what hardly changes repeats itself."""

WEATHER = ("TA", "TA_MIN", "TA_MAX", "SW_IN", "VPD", "TD", "RH", "QA", "PA", "EA")
FLUXES = ("GPP", "Reco", "NEE")


def stuck(block: Block) -> Iterator[Found]:
    """Runs of one value, so long that chance would not make them."""
    for name in (*WEATHER, *FLUXES, "P"):
        if name in block.values and not (name == "P" and block.time.step == "monthly"):
            values = measured(block, name)
            with np.errstate(invalid="ignore"):
                same = values[:, 1:] == values[:, :-1]
                same &= ~_restful(block, name)[:, 1:]
            yield from _long_runs(block, name, same, "stuck", 1)
    for name in LEAVES:
        if name in block.values:
            yield from _still_leaves(block, name)


def _restful(block: Block, name: str) -> Mask:
    """Where a value may rest by nature: no light, damp air, no rain, nothing that grows."""
    values = block.values[name]
    if name == "SW_IN":
        return np.abs(values) < 2.0
    if name in ("VPD", "P"):
        return values < 0.1
    if name == "RH":
        return values > 97.0
    if name in FLUXES:
        return np.abs(values) < 0.05
    return np.zeros(values.shape, dtype=bool)


def straight_lines(block: Block) -> Iterator[Found]:
    """Stretches on which a value changes by the same amount from step to step."""
    if block.time.step != "daily":
        return
    for name in (*WEATHER, *FLUXES):
        if name in block.values:
            values = measured(block, name)
            with np.errstate(invalid="ignore"):
                change = np.diff(values, axis=1)
                fuzz = 4e-7 * np.abs(values[:, 1:-1]) + 1e-6 + 1e-4 * np.abs(change[:, 1:])
                same = np.abs(np.diff(change, axis=1)) < 2 * fuzz
                same &= (np.abs(change[:, 1:]) > 2 * fuzz) & ~_restful(block, name)[:, 2:]
            yield from _long_runs(block, name, same, "straight line", 2)


def _long_runs(block: Block, name: str, same: Mask, kind: str, before: int) -> Iterator[Found]:
    """Report the longest run of each entity whose length chance does not explain."""
    found = robust.runs(same)
    length = found[:, 2] - found[:, 1] + 1
    short = length <= 2
    usual = np.zeros(block.size)
    np.add.at(usual, found[short, 0], length[short])
    steps = np.maximum(np.isfinite(block.values[name]).sum(axis=1), 1)
    chance = np.clip(usual / steps, 1e-4, 0.5)
    needed = 1 + np.ceil(np.log(CHANCE / steps) / np.log(chance))
    if block.time.step == "sub-daily":
        needed = np.maximum(needed, SHORTEST_HOURS / block.time.hours)
    else:
        least = SHORTEST[block.time.step] if kind == "stuck" else LONG_BRIDGE
        needed = np.maximum(needed, least)
    long = length + before >= needed[found[:, 0]]
    for row in np.unique(found[long, 0]):
        mine = found[long & (found[:, 0] == row)]
        longest = mine[np.argmax(mine[:, 2] - mine[:, 1])]
        first, last = int(longest[1]), int(longest[2]) + before
        values = block.values[name]
        what = (
            f"{values[row, first]:.5g} throughout"
            if kind == "stuck"
            else f"on one line from {values[row, first]:.4g} to {values[row, last]:.4g}"
        )
        more = f", and {len(mine) - 1} shorter ones" if len(mine) > 1 else ""
        words = f"{last - first + 1} steps {what}{more}"
        brief = block.time.step == "daily" and last - first + 1 < BRIEF and kind == "stuck"
        severity = "note" if brief else ""
        yield Found(kind, row, (name,), first, last, words, severity=severity)
        for _, a, b in mine:
            values[row, a : b + before + 1] = np.nan


def _still_leaves(block: Block, name: str) -> Iterator[Found]:
    """Leaves that do not change for more than a year."""
    values = block.time.monthly(block.values[name])
    with np.errstate(invalid="ignore"):
        same = np.abs(np.diff(values, axis=1)) <= 1e-6 * np.abs(values[:, 1:])
        same &= (values[:, 1:] != 0) | _vegetated(block)[:, None]
    for row, first, last in robust.runs(same):
        if last - first + 2 >= STILL_LEAVES:
            inside = (block.time.month_index >= first) & (block.time.month_index <= last + 1)
            steps = np.flatnonzero(inside)
            yield Found(
                "stuck",
                row,
                (name,),
                *ends(steps),
                f"{float(values[row, first]):.4g} in {last - first + 2} months",
            )
            block.values[name][row, inside] = np.nan


def _vegetated(block: Block) -> Mask:
    """Where leaves are known to be: by land cover, and by photosynthesis."""
    known = np.zeros(block.size, dtype=bool)
    if "igbp" in block.classes:
        known |= ~np.isin(block.classes["igbp"], ("BSV", "SNO", "WAT", "URB", "", "nan"))
    if "GPP" in block.values:
        with np.errstate(invalid="ignore"):
            known |= robust.quantile(block.values["GPP"], 0.95) > 1.0
    return known


class Copy(NamedTuple):
    """A stretch of steps that comes again, ``lag`` steps later, in one or more variables."""

    row: int
    first: int
    last: int
    lag: int
    names: tuple[str, ...]


def fingerprints(values: Array, window: int) -> npt.NDArray[np.uint64]:
    """A number for each window of steps, the same for the same values wherever they stand.

    A rolling mixture of the bits of the values, after the idea of Karp and Rabin (1987,
    doi:10.1147/rd.312.0249), shape (N, T - window + 1).

    Examples
    --------
    >>> values = np.array([[1.5, 2.5, 3.5, 1.5, 2.5]], dtype="f4")
    >>> marks = fingerprints(values, 2)[0]
    >>> bool(marks[0] == marks[3]), bool(marks[0] == marks[1])
    (True, False)
    """
    bits = np.ascontiguousarray(values + np.float32(0)).view(np.uint32).astype(np.uint64)
    steps = values.shape[1] - window + 1
    marks = np.zeros((values.shape[0], steps), np.uint64)
    factor, shift = np.uint64(0x9E3779B97F4A7C15), np.uint64(29)
    with np.errstate(over="ignore"):
        for k in range(window):
            marks ^= bits[:, k : k + steps]
            marks *= factor
            marks ^= marks >> shift
    return marks


def telling(values: Array, window: int, *, alive: float = ALIVE) -> Mask:
    """Which windows are whole and alive enough to tell anything, shape (N, T - window + 1)."""
    steps = values.shape[1] - window + 1
    there = np.isfinite(values)
    moved = np.zeros(values.shape, bool)
    moved[:, 1:] = (values[:, 1:] != values[:, :-1]) & there[:, 1:]
    held = np.cumsum(np.pad(there, ((0, 0), (1, 0))), axis=1, dtype=np.int32)
    live = np.cumsum(np.pad(moved, ((0, 0), (1, 0))), axis=1, dtype=np.int32)
    whole = held[:, window:] - held[:, :-window] == window
    return whole & (live[:, window:] - live[:, 1 : steps + 1] >= alive * (window - 1))


def alive_share(block: Block) -> float:
    """Share of a window that must change."""
    return ALIVE_HOURS if block.time.step == "sub-daily" else ALIVE


def marks_of(block: Block, name: str) -> npt.NDArray[np.uint64]:
    """The fingerprints of a variable, made once for each block."""
    if name not in block.marks:
        block.marks[name] = fingerprints(block.values[name], window_of(block))
    return block.marks[name]


def measured(block: Block, name: str) -> Array:
    """A variable without what is known to be filled: there, repetition is no fault of a sensor."""
    return good(block, name) if name in FLUXES else block.values[name]


def window_of(block: Block) -> int:
    """Steps that are compared at once."""
    return WINDOW.get(block.time.step, max(8, round(24 / block.time.hours)))


def copied(block: Block) -> Iterator[Found]:
    """Stretches that stand in the record twice: a year, a month, or a day put in for another."""
    window = window_of(block)
    if block.time.times.size <= window:
        return
    copies: list[Copy] = []
    for name in (*WEATHER, *FLUXES, "P"):
        if name in block.values:
            useful = telling(measured(block, name), window, alive=alive_share(block))
            copies += _copies(marks_of(block, name), useful, name, window)
    line = block.time
    for copy, others in _merged(copies):
        more = f"; {others} more of this kind" if others else ""
        length = copy.last - copy.first + 1
        where = (copy.row, copy.names, copy.first + copy.lag, copy.last + copy.lag)
        if _is_fill(copy, line.hours):
            days = copy.lag * line.hours / 24
            words = (
                f"{length} steps repeat those {days:g} day{'s' if days != 1 else ''} before{more}"
            )
            yield Found("repeated fill", *where, words)
        else:
            words = f"{length} steps are those from {line.stamp(copy.first)} to "
            words += f"{line.stamp(copy.last)}, to the last digit{more}"
            yield Found("copied stretch", *where, words)
        for name in copy.names:
            block.values[name][copy.row, where[2] : where[3] + 1] = np.nan


def _is_fill(copy: Copy, hours: float) -> bool:
    """Whether a mean course was put into a gap again and again, as the filling of fluxes does."""
    if hours > 24:
        return False
    days = copy.lag * hours / 24
    length = copy.last - copy.first + 1
    again = length >= (copy.lag if days <= FEW_DAYS and hours < 24 else 2 * copy.lag)
    return again or (days <= FILL_DAYS and set(copy.names) <= set(FLUXES))


def _copies(marks: npt.NDArray[np.uint64], useful: Mask, name: str, window: int) -> list[Copy]:
    """Every stretch of each entity that is found again, and how much later."""
    rows, steps = np.nonzero(useful)
    with np.errstate(over="ignore"):
        key = marks[rows, steps] ^ (rows.astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93))
    order = np.argsort(key, kind="stable")
    key, rows, steps = key[order], rows[order], steps[order]
    same = np.flatnonzero((key[1:] == key[:-1]) & (rows[1:] == rows[:-1]))
    if not same.size:
        return []
    row, early, late = rows[same], steps[same], steps[same + 1]
    lag = late - early
    order = np.lexsort((early, lag, row))
    row, early, lag = row[order], early[order], lag[order]
    apart = np.diff(early) > JOINED * window  # a gap in the record is no end of the copy
    fresh = np.r_[True, (np.diff(row) != 0) | (np.diff(lag) != 0) | apart]
    starts = np.flatnonzero(fresh)
    ends = np.r_[starts[1:], row.size] - 1
    return [
        Copy(int(row[a]), int(early[a]), int(early[b]) + window - 1, int(lag[a]), (name,))
        for a, b in zip(starts, ends, strict=True)
    ]


def _merged(copies: list[Copy]) -> Iterator[tuple[Copy, int]]:
    """The longest copy of each entity and variables, and how many more there are.

    The same stretch in several variables is one copy.
    """
    for row in sorted({copy.row for copy in copies}):
        mine = sorted((c for c in copies if c.row == row), key=lambda c: c.first - c.last)
        found: dict[tuple[str, ...], list[Copy]] = {}
        while mine:
            overlap = [c for c in mine if _touches(c, mine[0])]
            names = tuple(dict.fromkeys(c.names[0] for c in overlap))
            found.setdefault(names, []).append(mine[0]._replace(names=names))
            mine = [c for c in mine if c not in overlap]
        for same in found.values():
            yield same[0], len(same) - 1


def _touches(one: Copy, other: Copy) -> bool:
    """Whether two copies put values into the same steps."""
    a, b = (
        (one.first + one.lag, one.last + one.lag),
        (other.first + other.lag, other.last + other.lag),
    )
    return a[0] <= b[1] and b[0] <= a[1]
