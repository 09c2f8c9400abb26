"""Leaves against the season: months in a wrong order, and leaves that come out in winter.

Leaf area and vegetation indices are made apart from the tower and joined to it by month, which
goes wrong where months are sorted as text: 1, 10, 11, 12, 2, ... 9. Two things tell: leaves
change little from one month to the next, and they follow the photosynthesis of the tower, or its
warmth and light.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from xflux.audit import robust
from xflux.audit.blocks import Array, Block, Found, Mask, Whole, good
from xflux.audit.fills import LEAVES

TEXT = np.array([0, 9, 10, 11, 1, 2, 3, 4, 5, 6, 7, 8])
"""Which month (0 to 11) stands at each place when months are sorted as text."""

ORDERS: dict[str, Whole] = {
    "text": TEXT,
    "text undone twice": np.argsort(TEXT),
    "backwards": np.arange(11, -1, -1),
    **{f"{shift} months late": (np.arange(12) - shift) % 12 for shift in range(3, 10)},
}
"""Orders that are tried, by what makes them."""

SMOOTHER = 0.05
"""Logarithm of the ratio by which months must change less from one to the next once put in
order."""

BETTER, ENOUGH, AGAINST = 0.4, 0.7, -0.2
"""A reordering by smoothness must also raise the correlation with the season by `BETTER`, to
`ENOUGH` at least. A shift leaves the smoothness as it is: there the correlation must be below
`AGAINST` before and above `SHIFTED` after."""

SHIFTED = 0.8

SHARED = 0.4
"""Share of the entities of a block, five at least, from which on an order is that of the whole
Dataset: the files were made in one way, and evergreen towers cannot show it."""

RESIST = -0.1
"""Logarithm of the smoothness ratio below which an entity is not drawn in by the others."""

SWING = 12.0
"""K between the warmest and the coldest month from which on warmth and light make the season."""

COLD = 1.0
"""degC of the coldest month below which cold makes the season, not rain."""

COMES_AND_GOES = 0.5
"""Share of its greatest month that a leaf variable must lose in its least one, to have a season."""

SNOW = 1.0
"""degC below which a month of EVI or NDVI may be one of snow, which is bright in all bands."""


class Season(NamedTuple):
    """What leaves should follow, shape (N, 12), and whether it is known, shape (N,)."""

    curve: Array
    warm: Array


def out_of_order(block: Block) -> Iterator[Found]:
    """Leaves whose months are in another order than the season's."""
    season = _season(block)
    if season is None:
        return
    for name in LEAVES:
        if name in block.values:
            yield from _order_of(block, name, season)


def _by_year(block: Block, values: Array) -> Array:
    """Monthly means as (N, years, 12), whole years only."""
    months = block.time.monthly(values)
    years = months.reshape(months.shape[0], -1, 12)
    whole = np.isfinite(years).all(axis=2, keepdims=True)
    return np.where(whole, years, np.float32(np.nan))


def _climatology(values: Array) -> Array:
    return robust.median(np.swapaxes(values, 1, 2))


def _season(block: Block) -> Season | None:
    """The mean season of GPP; where there is none, of light in warm air where winters are cold."""
    if "TA" not in block.values:
        return None
    warm = _climatology(block.time.monthly(block.values["TA"]).reshape(block.size, -1, 12))
    curve = np.full(warm.shape, np.nan, np.float32)
    if "SW_IN" in block.values:
        light = block.values["SW_IN"] * np.clip((block.values["TA"] + 2) / 15, 0, 1)
        drive = _climatology(block.time.monthly(light).reshape(block.size, -1, 12))
        with np.errstate(invalid="ignore"):
            seasonal = (warm.max(axis=1) - warm.min(axis=1) > SWING) & (warm.min(axis=1) < COLD)
        curve[seasonal] = drive[seasonal]
    if "GPP" in block.values:
        gpp = _climatology(block.time.monthly(good(block, "GPP")).reshape(block.size, -1, 12))
        known = np.isfinite(gpp).sum(axis=1) >= 9
        curve[known] = gpp[known]
    return Season(curve, warm)


def _order_of(block: Block, name: str, season: Season) -> Iterator[Found]:
    years = _by_year(block, block.values[name])
    usual = _climatology(years)
    curve = season.curve
    free = curve
    if name in ("EVI", "NDVI"):
        with np.errstate(invalid="ignore"):
            free = np.where(season.warm < SNOW, np.float32(np.nan), curve)
    plain = {True: robust.correlation(usual, curve, least=6)}
    plain[False] = robust.correlation(usual, free, least=6)
    roughness = _roughness(years)
    best = np.full(block.size, -1)
    score = np.zeros(block.size)
    gains = np.zeros((len(ORDERS), block.size), np.float32)
    fits = np.zeros((len(ORDERS), block.size), np.float32)
    for number, (kind, order) in enumerate(ORDERS.items()):
        back = np.argsort(order)
        with np.errstate(invalid="ignore", divide="ignore"):
            gains[number] = np.log(roughness / _roughness(years[:, :, back]))
        text = kind.startswith("text")  # there, months of snow stand anywhere in the year
        fits[number] = robust.correlation(usual[:, back], curve if text else free, least=6)
        sure = _sure(block, season, name, kind, gains[number], fits[number], plain[text])
        with np.errstate(invalid="ignore"):
            value = np.where(sure, fits[number] + 2 * np.maximum(gains[number], 0), 0)
        better = value > score
        best, score = np.where(better, number, best), np.where(better, value, score)
    best = _shared(best, gains, np.isfinite(roughness))
    for row in robust.which(best >= 0):
        kind, order = list(ORDERS.items())[best[row]]
        as_is = plain[kind.startswith("text")]
        yield _finding(block, name, row, kind, order, as_is, fits[best[row]], gains[best[row]])
        block.set_aside(row, (name,))


def _roughness(years: Array) -> Array:
    """Mean change from one month to the next, December to January of the same year included."""
    change = np.abs(np.roll(years, -1, axis=2) - years)
    return robust.mean(change.reshape(years.shape[0], -1), least=12)


def _sure(
    block: Block, season: Season, name: str, kind: str, gain: Array, fit: Array, as_is: Array
) -> Mask:
    with np.errstate(invalid="ignore"):
        if kind.startswith("text"):
            smoother = SMOOTHER if kind == "text" else 3 * SMOOTHER  # the second is much rarer
            return (gain > smoother) & (fit - as_is > BETTER) & (fit > ENOUGH)
        swing = season.warm.max(axis=1) - season.warm.min(axis=1) > SWING
        return (as_is < AGAINST) & (fit > SHIFTED) & swing & _seasonal(block, name)


def _seasonal(block: Block, name: str) -> Mask:
    """Whether leaves clearly come and go; what hardly changes has no season to be out of step."""
    usual = _climatology(_by_year(block, block.values[name]))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1 - usual.min(axis=1) / usual.max(axis=1) > COMES_AND_GOES)


def _shared(best: Whole, gains: Array, known: Mask) -> Whole:
    """The order of most entities is that of all, but for those that clearly speak against it."""
    for number in (0, 1):
        hit = best == number
        if hit.sum() >= 5 and hit.sum() >= SHARED * known.sum():
            return np.where(known & ~(gains[number] < RESIST), number, best)
    return best


def _finding(
    block: Block,
    name: str,
    row: int,
    kind: str,
    order: Whole,
    as_is: Array,
    fit: Array,
    gain: Array,
) -> Found:
    called = block.called.get(name, name)
    shown = ", ".join(str(month + 1) for month in order)
    words = f"correlation with the season {as_is[row]:.2f}, {fit[row]:.2f}"
    if kind.startswith("text"):
        change = 100 * (1 - np.exp(-gain[row]))
        return Found(
            "months out of order",
            row,
            (name,),
            *block.there(row, (name,)),
            f"the months of each year stand as {shown}: put in order, {words} then, and "
            f"{change:.0f} % less change from month to month",
            whole=f'reorder the months of each year of ds["{called}"]: those stored are {shown}',
        )
    return Found(
        "season out of step",
        row,
        (name,),
        *block.there(row, (name,)),
        f"{kind}: {words} when the months are taken as {shown}",
        whole=f'check the months of ds["{called}"]',
    )
