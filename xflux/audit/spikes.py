"""Single values that stand far away from those beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from xflux.audit import robust
from xflux.audit.blocks import Array, Block, Found, ends
from xflux.audit.repeats import measured
from xflux.cf.variables import BY_NAME


class Limit(NamedTuple):
    """When a value is a spike: so many robust standard deviations and so much in its unit.

    Deviations from the neighbours are scaled by their own median absolute size in that season,
    after Papale et al. (2006, doi:10.5194/bg-3-571-2006), who take 4 to 7 for half-hours of NEE.
    Daily means have heavier tails (fronts, harvests, gaps filled), so the limits are far out.
    """

    sigma: float
    size: float
    far: float = float("inf")


LIMITS = {
    "TA": Limit(12, 8.0, 30.0),
    "TA_MIN": Limit(12, 10.0, 34.0),
    "TA_MAX": Limit(12, 10.0, 34.0),
    "TD": Limit(14, 12.0, 40.0),
    "VPD": Limit(15, 20.0),
    "RH": Limit(20, 60.0),
    "PA": Limit(20, 60.0),
    "LAI": Limit(20, 2.5),
    "EVI": Limit(20, 0.45),
    "NDVI": Limit(20, 0.6),
    "FAPAR": Limit(20, 0.5),
    "GPP": Limit(30, 10.0),
    "Reco": Limit(30, 10.0),
    "NEE": Limit(30, 10.0),
}
"""Of daily values, in xflux's units; beyond ``far`` eight standard deviations are enough."""

FAR_SIGMA = 8.0

FLOOR = {"LAI": 0.1, "EVI": 0.02, "NDVI": 0.02, "FAPAR": 0.02}
"""Least scale of variables that change in steps of days."""

MONTHLY = {"TA": (9.0, 13.0), "VPD": (12.0, 12.0), "SW_IN": (12.0, 120.0), "PA": (15.0, 40.0)}
"""Months: robust standard deviations from the usual value of that month, and the least deviation.
Fluxes have none: the crop of another year is no spike."""


def spikes(block: Block) -> Iterator[Found]:
    """Values far from both neighbours, or months far from all others of their name."""
    step = block.time.step
    names = LIMITS if step != "monthly" else MONTHLY
    for name in names:
        if name not in block.values or (step == "sub-daily" and name in ("GPP", "Reco", "NEE")):
            continue
        values = measured(block, name)
        mask, off = (
            _months(block, name, values) if step == "monthly" else _days(block, name, values)
        )
        for row in robust.which(mask.any(axis=1)):
            steps = np.flatnonzero(mask[row])
            worst = steps[np.argmax(np.abs(off[row, steps]))]
            unit = BY_NAME[name].units
            yield Found(
                "spike",
                row,
                (name,),
                *ends(steps),
                f"{steps.size} value{'s' if steps.size > 1 else ''}, the worst "
                f"{values[row, worst]:.4g} {unit} on {block.time.stamp(int(worst))}, "
                f"{abs(off[row, worst]):.3g} {unit} away from "
                f"{'that month in other years' if step == 'monthly' else 'its neighbours'}",
            )
            block.values[name][row, steps] = np.nan


def _days(block: Block, name: str, values: Array) -> tuple[np.ndarray, Array]:
    """Where a value is far from both neighbours on the same side, and how far from their mean."""
    limit = LIMITS[name]
    off = np.full(values.shape, np.nan, np.float32)
    before, after = values[:, 1:-1] - values[:, :-2], values[:, 1:-1] - values[:, 2:]
    off[:, 1:-1] = (before + after) / 2
    mask = np.zeros(values.shape, dtype=bool)
    with np.errstate(invalid="ignore"):
        far = np.minimum(np.abs(before), np.abs(after)) > 0.7 * limit.size
        mask[:, 1:-1] = far & (before * after > 0) & (np.abs(off[:, 1:-1]) >= limit.size)
        rows = np.flatnonzero(mask.any(axis=1))
        if not rows.size:
            return mask, off
        size = np.abs(off[rows])
        scale = robust.SIGMA * np.maximum(
            block.seasonal(size), robust.median(size, least=30)[:, None]
        )
        sigma = size / np.maximum(scale, FLOOR.get(name, 1e-6))
        mask[rows] &= (sigma >= limit.sigma) | ((sigma >= FAR_SIGMA) & (size >= limit.far))
    return mask, off


def _months(block: Block, name: str, values: Array) -> tuple[np.ndarray, Array]:
    sigma, least = MONTHLY[name]
    off = np.asarray(values - block.seasonal(values), dtype=np.float32)
    scale = robust.SIGMA * robust.median(np.abs(np.where(off == 0, np.nan, off)), least=24)
    with np.errstate(invalid="ignore"):
        return (np.abs(off) >= least) & (np.abs(off) >= sigma * scale[:, None]), off
