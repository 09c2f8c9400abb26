"""Fluxes against each other: signs, closure, and uptake where there can be none."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from xflux.audit import robust
from xflux.audit.blocks import Array, Block, Found, Mask, ends, good

LEAST = {"sub-daily": 240, "daily": 30, "monthly": 6}
"""Steps with all three fluxes that a verdict needs."""

TURNED = 0.3
"""The other sign must leave less than this share of the residual."""

OPEN = 0.15
"""Share of Reco + GPP by which NEE may differ from Reco - GPP in a median month. In official files
the three pick their u* reference separately (Pastorello et al. 2020,
doi:10.1038/s41597-020-0534-3) and differ by some hundredths."""

EXACT = 0.003
"""Where a quarter of the months close to this share the three were made to close, and `BROKEN`
holds."""

BROKEN = 0.04
"""Share of a month that is open in a record that closes otherwise."""

HIDDEN, ROUNDING = 0.1, 0.01
"""A scaled flux leaves less than `HIDDEN` of a gap that is too small to be seen otherwise, and a
factor within `ROUNDING` of 1 is none."""

SMALL = 0.3
"""g m-2 d-1 below which an open balance is not worth a word."""

FACTORS = {
    44.009 / 12.011: "grams of CO2, not of carbon",
    12.011: "grams where moles are meant",
    1 / 12.011: "moles, not grams",
    12.011 / 44.009: "carbon taken for CO2",
    1000.0: "milligrams",
    1e-3: "kilograms",
    86400.0: "amounts a day taken for amounts a second",
    1 / 86400.0: "amounts a second",
    1.0377504: "umol m-2 s-1 taken for g m-2 d-1, the other way round",
    1 / 1.0377504: "umol m-2 s-1",
    30.4: "amounts a month",
    1 / 30.4: "amounts a day taken for amounts a month",
    48.0: "sums of half-hours",
    1 / 48.0: "amounts a half-hour",
    24.0: "amounts an hour",
    1 / 24.0: "amounts an hour",
    -1.0: "the other sign",
}
"""What a factor on one of the fluxes looks like."""

DARK_FLUX, DARK_STEPS = {"sub-daily": 2.0, "daily": 1.0, "monthly": 1.0}, 10
"""g m-2 d-1 of GPP, median, and the steps in the dark or in deep frost that show it. Night-time
partitioning scatters around 0 there."""

FROST_FLUX = 1.5
"""The same in deep frost, where the error of a partitioning is greater than at night."""

DEEP_FROST = -12.0
"""degC, daily mean, at which no leaf takes up a gram a day: photosynthesis stops a few degrees
below freezing (Larcher 2003, Physiological Plant Ecology, table 2.12)."""


class Three(NamedTuple):
    """NEE, Reco and GPP where they were measured, shape (N, T) each."""

    nee: Array
    reco: Array
    gpp: Array

    @property
    def residual(self) -> Array:
        """NEE - (Reco - GPP)."""
        return np.asarray(self.nee - (self.reco - self.gpp), dtype=np.float32)


def wrong_sign(block: Block) -> Iterator[Found]:
    """GPP or Reco below zero, NEE positive for uptake; turned for the checks that follow."""
    least = LEAST.get(block.time.step, 30)
    for name in ("GPP", "Reco"):
        if name in block.values:
            values = good(block, name)
            middle = robust.median(values, least=least)
            low, high = (robust.quantile(values, q, least=least) for q in (0.05, 0.95))
            with np.errstate(invalid="ignore"):
                turned = (middle < 0) & (-low > 1.0) & (-low > 2.5 * np.maximum(high, 0.1))
            for row in robust.which(turned & ~_consistent(block, least)):
                yield _turned(block, row, name, f"median {middle[row]:.3g} g m-2 d-1")
    yield from _nee_sign(block, least)


def _consistent(block: Block, least: int) -> Mask:
    """Whether NEE = Reco - GPP holds with the signs as they are: then negative fluxes are noise."""
    if not block.has(("NEE", "Reco", "GPP")):
        return np.zeros(block.size, dtype=bool)
    three = Three(*(good(block, name) for name in ("NEE", "Reco", "GPP")))
    level = robust.median(np.abs(three.reco) + np.abs(three.gpp), least=least)
    with np.errstate(invalid="ignore"):
        return robust.median(np.abs(three.residual), least=least) < OPEN * level


def _turned(block: Block, row: int, name: str, words: str) -> Found:
    called = block.called.get(name, name)
    found = Found(
        "wrong sign",
        row,
        (name,),
        *block.there(row, (name,)),
        f"{words}; expected {'Reco - GPP' if name == 'NEE' else 'positive'}",
        whole=f'ds["{called}"] = -ds["{called}"]',
    )
    block.values[name][row] = -block.values[name][row]
    return found


def _nee_sign(block: Block, least: int) -> Iterator[Found]:
    """NEE against Reco - GPP; alone, against the leaves, the light and the warmth."""
    if "NEE" not in block.values:
        return
    nee = good(block, "NEE")
    if block.has(("GPP", "Reco")):
        reco, gpp = good(block, "Reco"), good(block, "GPP")
        as_is = robust.median(np.abs(nee - (reco - gpp)), least=least)
        other = robust.median(np.abs(nee + (reco - gpp)), least=least)
        with np.errstate(invalid="ignore"):
            rows = robust.which((other < TURNED * as_is) & (as_is > SMALL))
        for row in rows:
            words = f"median |NEE - (Reco - GPP)| is {as_is[row]:.3g} g m-2 d-1, with -NEE "
            yield _turned(block, row, "NEE", f"{words}{other[row]:.3g}")
        return
    for partner, sign in (("GPP", 1.0), ("Reco", -1.0)):
        if partner in block.values:
            third = robust.median(good(block, partner) + sign * nee, least=least)
            mirror = robust.median(good(block, partner) - sign * nee, least=least)
            with np.errstate(invalid="ignore"):
                rows = robust.which((third < -0.2) & (mirror > 0.2))
            name = "Reco" if partner == "GPP" else "GPP"
            for row in rows:
                words = f"{name} from NEE and {partner} would be {third[row]:.3g} g m-2 d-1"
                yield _turned(block, row, "NEE", words)
            return
    follows = _green_light(block)
    if follows is None:
        return
    link = robust.correlation(follows, nee, least=6 * least)
    with np.errstate(invalid="ignore"):
        rows = robust.which(link > 0.5)
    for row in rows:
        yield _turned(block, row, "NEE", f"NEE rises with light and leaves (r {link[row]:.2f})")


def _green_light(block: Block) -> Array | None:
    """Light on leaves in warm air: what uptake follows."""
    if not block.has(("SW_IN", "TA")):
        return None
    light = block.values["SW_IN"] * np.clip((block.values["TA"] + 2) / 15, 0, 1)
    for name in ("EVI", "LAI", "NDVI", "FAPAR"):
        if name in block.values:
            return np.asarray(light * block.values[name], dtype=np.float32)
    return np.asarray(light, dtype=np.float32)


def closure(block: Block) -> Iterator[Found]:
    """NEE against Reco - GPP: how far they are apart, since when, and which flux explains it."""
    if not block.has(("NEE", "Reco", "GPP")):
        return
    least = LEAST.get(block.time.step, 30)
    three = Three(*(good(block, name) for name in ("NEE", "Reco", "GPP")))
    gap = np.abs(three.residual)
    level = np.maximum(robust.median(np.abs(three.reco) + np.abs(three.gpp), least=least), 0.1)
    monthly = _monthly_median(block, gap) / level[:, None]
    usual = robust.quantile(monthly, 0.25)
    exact = usual < EXACT
    with np.errstate(invalid="ignore"):
        bad = monthly > np.where(exact, BROKEN, OPEN)[:, None]
        bad &= monthly * level[:, None] > SMALL * np.where(exact, 0.2, 1.0)[:, None]
    few = 2 if block.time.step != "monthly" else 3
    steady = np.where(exact, few, np.maximum(0.5 * np.isfinite(monthly).sum(axis=1), 6))
    for row in range(block.size):
        months = np.flatnonzero(bad[row])
        steps = np.flatnonzero(np.isin(block.time.month_index, months) & np.isfinite(gap[row]))
        if months.size >= steady[row] and steps.size >= least / 2:
            yield _open(block, row, three, steps, float(level[row]))
            continue
        steps = np.flatnonzero(np.isfinite(gap[row]))
        if steps.size >= least:
            fit = _fit(three, row, steps)
            if fit.left < HIDDEN * fit.gap and abs(fit.factor - 1) > ROUNDING:
                yield _open(block, row, three, steps, float(level[row]))


def _monthly_median(block: Block, values: Array) -> Array:
    """Median by calendar month, shape (N, 12 * years)."""
    index = block.time.month_index
    out = np.full((values.shape[0], block.time.years.size * 12), np.nan, np.float32)
    if block.time.step == "monthly":
        out[:, index] = values
        return out
    least = 5 if block.time.step == "daily" else 48
    starts = np.flatnonzero(np.r_[True, np.diff(index) != 0])
    for first, last in zip(starts, np.r_[starts[1:], index.size], strict=True):
        out[:, index[first]] = robust.median(values[:, first:last], least=least)
    return out


class Fit(NamedTuple):
    """The flux that closes the balance best when it is scaled: median gap before and after."""

    name: str
    factor: float
    gap: float
    left: float


def _fit(three: Three, row: int, steps: np.ndarray) -> Fit:
    """Scale each flux in turn by least squares, and keep the one that leaves least."""
    nee, reco, gpp = (series[row, steps].astype(np.float64) for series in three)
    gap = float(np.median(np.abs(nee - (reco - gpp))))
    best = Fit("", 1.0, gap, gap)
    for name, held, meant in (
        ("GPP", gpp, reco - nee),
        ("Reco", reco, nee + gpp),
        ("NEE", nee, reco - gpp),
    ):
        power = float((held * held).sum())
        factor = float((held * meant).sum()) / power if power else 0.0
        left = float(np.median(np.abs(meant - factor * held)))
        # NEE is a small difference: that it fits when scaled must be clearer still.
        if factor and left < best.left * (0.5 if name == "NEE" and best.name else 1.0):
            best = Fit(name, factor, gap, left)
    return best


def _open(block: Block, row: int, three: Three, steps: np.ndarray, level: float) -> Found:
    """The finding: how far, since when, and the flux that would close the balance."""
    fit = _fit(three, row, steps)
    first, last = ends(steps)
    words = (
        f"NEE is {fit.gap:.3g} g m-2 d-1 away from Reco - GPP in the median "
        f"({100 * fit.gap / level:.1f} % of Reco + GPP), since {block.time.stamp(first)}"
    )
    if fit.name and fit.left < TURNED * fit.gap and abs(fit.factor - 1) > ROUNDING:
        called = block.called.get(fit.name, fit.name)
        words += f"; it closes with {fit.name} divided by {1 / fit.factor:.4g}"
        words += _factor_words(1 / fit.factor)
        whole = f'ds["{called}"] = ds["{called}"] * {fit.factor:.6g}'
        return Found("no closure", row, (fit.name,), first, last, words, whole=whole)
    return Found("no closure", row, ("NEE", "Reco", "GPP"), first, last, words)


def _factor_words(excess: float) -> str:
    for factor, words in FACTORS.items():
        if factor * excess > 0 and abs(math.log(excess / factor)) < 0.012:
            return f": looks like {words}"
    return ""


def uptake_without_light(block: Block) -> Iterator[Found]:
    """GPP in the dark and in deep frost."""
    if "GPP" not in block.values:
        return
    limit = DARK_FLUX.get(block.time.step, 1.0)
    gpp = good(block, "GPP")
    cases = []
    with np.errstate(invalid="ignore"):
        if block.time.step != "sub-daily":
            dark = block.top < 2.0
            if "SW_IN" in block.values:
                dark |= (block.values["SW_IN"] < 2.0) & (block.top < 40.0)
            cases.append(("uptake in the dark", dark, limit, "without sun"))
        if "TA" in block.values:
            frost = block.values["TA"] < DEEP_FROST
            if "TA_MAX" in block.values:
                frost &= ~(block.values["TA_MAX"] > DEEP_FROST / 2)
            cases.append(("uptake in frost", frost, FROST_FLUX, f"below {DEEP_FROST:g} degC"))
    for kind, where, most, words in cases:
        held = np.where(where, gpp, np.float32(np.nan))
        middle = robust.median(held, least=DARK_STEPS if block.time.step != "monthly" else 3)
        for row in robust.which(middle > most):
            steps = np.flatnonzero(np.isfinite(held[row]))
            yield Found(
                kind,
                row,
                ("GPP",),
                *ends(steps),
                f"median GPP {middle[row]:.3g} g m-2 d-1 at {steps.size} steps {words}",
            )
            block.values["GPP"][row, steps] = np.nan
