"""Steps and drifts: a sensor changed, moved or ageing.

Each driver is brought to a form that weather changes little: temperature against its usual value of
the month, radiation of clear days against that above the air, humidity against saturation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from xflux.audit import robust
from xflux.audit.blocks import Array, Block, Found
from xflux.cf.derived import saturation_pressure

BESIDE = 36
"""Months before and after a step that are compared."""

WHOLE_YEARS = 24
"""Months on both sides of a step from which on climate varies little between them."""

LEAST, COMMON = 10, 6
"""Months that both sides of a step need, and calendar months that both must have."""

SIGMA, PERSISTENCE = 4.0, 1.5
"""Standard errors of a step; months are alike for longer than a month, which makes them larger."""

FEW_YEARS = 5
"""Years that a drift needs."""

STEADY = 0.85
"""Correlation of yearly means with time: a drift goes one way."""


class Yardstick(NamedTuple):
    """A form of a driver whose steps are looked for.

    ``near`` is the least step between sides of one to two years, ``far`` between longer ones,
    ``drift`` the least change by drift over the whole record and ``rate`` that in a year: climate
    changes more slowly. ``relative`` to the usual size.
    """

    names: tuple[str, ...]
    words: str
    unit: str
    near: float
    far: float
    drift: float
    rate: float
    relative: bool
    series: Callable[[Block], Array]


def steps_and_drifts(block: Block) -> Iterator[Found]:
    """Sudden and gradual changes of the level of a driver."""
    if block.time.step not in ("daily", "monthly") or block.time.years.size < 2:
        return
    for stick in STICKS:
        if not block.has(stick.names):
            continue
        series = stick.series(block)
        if stick.relative:
            usual = robust.mean(np.abs(series), least=LEAST)
            with np.errstate(invalid="ignore", divide="ignore"):
                series = (series / np.where(usual > 0, usual, np.nan)[:, None]).astype(np.float32)
        drifting = set()
        for found in _drifts(block, stick, _unusual(series)):
            drifting.add(found.row)
            yield found
        for found in _steps(block, stick, series):
            if found.row not in drifting:
                yield found


def _unusual(series: Array) -> Array:
    """Difference to the median of the same month of other years."""
    years = series.reshape(series.shape[0], -1, 12)
    normal = robust.median(np.swapaxes(years, 1, 2))
    return np.asarray((years - normal[:, None]).reshape(series.shape), dtype=np.float32)


class Steps(NamedTuple):
    """Steps at every month, shape (N, M) each: size, standard error, months of the shorter side."""

    size: Array
    error: Array
    months: Array


def step_sizes(series: Array) -> Steps:
    """Level after less level before each month, like months compared with like.

    Parameters
    ----------
    series : numpy.ndarray
        Monthly values from a January on, shape (N, M).

    Returns
    -------
    Steps
        NaN where a side has fewer than `LEAST` months, or fewer than `COMMON` have a partner.

    Examples
    --------
    >>> season = np.tile(np.arange(12.0), 4)
    >>> steps = step_sizes((season + np.r_[np.zeros(24), np.ones(24)])[None].astype("f4"))
    >>> int(np.nanargmax(steps.size)), float(steps.size[0, 24]), int(steps.months[0, 24])
    (24, 1.0, 24)
    """
    months = series.shape[1]
    there = np.isfinite(series)
    same = np.arange(months) % 12 == np.arange(12)[:, None]
    held = there[:, None] & same[None]
    value = np.where(held, np.nan_to_num(series)[:, None], 0.0)
    total = np.cumsum(np.pad(value, ((0, 0), (0, 0), (1, 0))), axis=2)
    number = np.cumsum(np.pad(held, ((0, 0), (0, 0), (1, 0))), axis=2)
    at = np.arange(months)
    early, late = np.maximum(at - BESIDE, 0), np.minimum(at + BESIDE, months)
    before, after = number[..., at] - number[..., early], number[..., late] - number[..., at]
    with np.errstate(invalid="ignore", divide="ignore"):
        change = (total[..., late] - total[..., at]) / after
        change -= (total[..., at] - total[..., early]) / before
    both = (before > 0) & (after > 0)
    pairs = both.sum(axis=1)
    change = np.where(both, change, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        size = change.sum(axis=1) / pairs
        scatter = np.where(both, change - size[:, None], 0.0)
        error = PERSISTENCE * np.sqrt((scatter**2).sum(axis=1) / (pairs - 1) / pairs)
    fewer = np.minimum(before.sum(axis=1), after.sum(axis=1))
    known = (fewer >= LEAST) & (pairs >= COMMON)
    size, error = (np.where(known, part, np.nan).astype(np.float32) for part in (size, error))
    return Steps(size, error, np.where(known, fewer, 0).astype(np.float32))


def _steps(block: Block, stick: Yardstick, series: Array) -> Iterator[Found]:
    steps = step_sizes(series)
    limit = np.where(steps.months >= WHOLE_YEARS, stick.far, stick.near)
    with np.errstate(invalid="ignore"):
        over = (np.abs(steps.size) >= limit) & (np.abs(steps.size) >= SIGMA * steps.error)
    for row in robust.which(over.any(axis=1)):
        month = int(np.argmax(np.where(over[row], np.abs(steps.size[row]), 0)))
        size = float(steps.size[row, month])
        inside = np.flatnonzero(block.time.month_index >= month)
        first = int(inside[0])
        last = block.there(row, stick.names)[1]
        yield Found(
            "step change",
            row,
            stick.names[:1],
            first,
            max(first, last),
            f"{stick.words} {'rises' if size > 0 else 'falls'} by {_shown(stick, size)} for good "
            f"in {block.time.stamp(first)[:7]}",
        )
        block.set_aside(row, (stick.names[0],))


def _shown(stick: Yardstick, size: float) -> str:
    return f"{100 * abs(size):.0f} %" if stick.relative else f"{abs(size):.3g} {stick.unit}".strip()


def _drifts(block: Block, stick: Yardstick, off: Array) -> Iterator[Found]:
    """Yearly means that go one way for years, better described by a line than by a step."""
    years = robust.mean(off.reshape(off.shape[0], -1, 12), least=6)
    time = np.arange(years.shape[1], dtype=np.float64)
    there = np.isfinite(years)
    count = there.sum(axis=1)
    link = robust.correlation(years, np.where(there, time[None], np.nan), least=FEW_YEARS)
    for row in robust.which((count >= FEW_YEARS) & (np.abs(link) >= STEADY)):
        held = np.flatnonzero(there[row])
        slopes = [
            (years[row, b] - years[row, a]) / (b - a)
            for i, a in enumerate(held)
            for b in held[i + 1 :]
        ]
        slope = float(np.median(slopes))
        total = slope * (held[-1] - held[0])
        if (
            abs(total) < stick.drift
            or abs(slope) < stick.rate
            or not _line_is_better(years[row, held], held)
        ):
            continue
        inside = np.isin(block.time.year - block.time.years[0], held)
        first, last = block.bounds(inside)
        yield Found(
            "drift",
            row,
            stick.names[:1],
            first,
            last,
            f"{stick.words} drifts by {_shown(stick, slope)} a year, "
            f"{_shown(stick, total)} in {held[-1] - held[0]} years",
        )


def _line_is_better(values: Array, at: np.ndarray) -> bool:
    """Whether a line leaves less of yearly means than the best single step."""
    line = values - np.polyval(np.polyfit(at, values, 1), at)
    step = min(
        float(
            ((values[:k] - values[:k].mean()) ** 2).sum()
            + ((values[k:] - values[k:].mean()) ** 2).sum()
        )
        for k in range(1, values.size)
    )
    return float((line**2).sum()) < step


def _monthly(name: str) -> Callable[[Block], Array]:
    return lambda block: block.time.monthly(block.values[name])


def _position(block: Block) -> Array:
    """Where the mean lies between minimum and maximum: near the middle, whatever the weather."""
    low, high = block.values["TA_MIN"], block.values["TA_MAX"]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(high - low > 1.0, (block.values["TA"] - low) / (high - low), np.nan)
    return block.time.monthly(share.astype(np.float32))


def _clear(block: Block) -> Array:
    """Radiation of the clearest days of each month over that above the air."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(block.top > 60, block.values["SW_IN"] / block.top, np.nan)
    share = share.astype(np.float32)
    if block.time.step == "monthly":
        return block.time.monthly(share)
    index = block.time.month_index
    out = np.full((block.size, block.time.years.size * 12), np.nan, np.float32)
    starts = np.flatnonzero(np.r_[True, np.diff(index) != 0])
    for first, last in zip(starts, np.r_[starts[1:], index.size], strict=True):
        out[:, index[first]] = robust.quantile(share[:, first:last], 0.9, least=15)
    return out


def _dryness(block: Block) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):
        full = saturation_pressure(block.values["TA"])
        share = np.where(block.values["TA"] > 0, block.values["VPD"] / full, np.nan)
    return block.time.monthly(share.astype(np.float32))


STICKS = (
    Yardstick(("TA",), "temperature", "K", 3.2, 2.8, 3.0, 0.25, False, _monthly("TA")),
    Yardstick(("TA_MIN",), "the minimum", "K", 3.5, 3.7, 4.0, 0.35, False, _monthly("TA_MIN")),
    Yardstick(("TA_MAX",), "the maximum", "K", 3.8, 3.6, 4.0, 0.35, False, _monthly("TA_MAX")),
    Yardstick(
        ("TA", "TA_MIN", "TA_MAX"), "the place of the mean between minimum and maximum", "",
        0.09, 0.08, 0.15, 0.02, False, _position,
    ),
    Yardstick(("SW_IN",), "radiation of clear days", "", 0.25, 0.18, 0.25, 0.02, True, _clear),
    Yardstick(("VPD", "TA"), "VPD over saturation", "", 0.60, 0.70, 0.8, 0.08, True, _dryness),
    Yardstick(("PA",), "pressure", "hPa", 12.0, 8.0, 10.0, 1.0, False, _monthly("PA")),
)  # fmt: skip
"""What is looked at. Yearly means of temperature differ by up to 3 K from one year to the next in
continental climates; thermometers differ by tenths. Pyranometers lose about 1 % a year, so that a
fifth is beyond ageing (WMO-No. 8, chapter 7)."""
