"""Numbers that stand for "no value", infinite values, and zeros where a value should be."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xflux.audit import robust
from xflux.audit.blocks import WARM, Block, Found, Mask, ends
from xflux.cf.variables import BY_NAME

LEAVES = ("LAI", "EVI", "NDVI", "FAPAR")
FLUXES = ("GPP", "Reco", "NEE")

ODD_ZEROS, MANY_ZEROS = 3, 6
"""Zeros in odd places that are worth a note, and that are surely no measurements: a mean that is
exactly 0 is rare even once."""

COLD_ZERO = 8.0
"""K from 0 degC of the usual temperature of a season, from which on an exact 0 is odd."""

DARK = 60.0
"""W m-2 above the air, daily mean; with less the sun hardly rises and radiation may be 0."""

LEAF_ZERO = {"LAI": 0.5, "EVI": 0.12, "NDVI": 0.2, "FAPAR": 0.12}
"""Usual value of the season from which on an exact 0 is no measurement. Snow lowers the indices
of a winter, but then the usual value is low as well."""

FLUX_ZERO = 1.0
"""g m-2 d-1, usual flux of the season from which on an exact 0 is odd: a daily mean of half-hours
with noise of their own is never exactly 0."""

MODIS_FILLS = np.arange(249.0, 256.0)
"""Fill values of the 8-bit MODIS leaf products (MOD15A2H user guide, table of fill values)."""

INDEX_FILL = -0.3
"""MODIS vegetation indices have the fill -3000 and the scale 0.0001 (MOD13 user guide)."""


def fill_values(block: Block) -> Iterator[Found]:
    """Known fill numbers outside the plausible range, and infinite values; they are set aside."""
    for name, values in block.values.items():
        called = block.called.get(name, name)
        infinite = np.isinf(values)
        yield from _infinite(block, name, called, infinite)
        numbers = np.full(values.shape, np.nan)
        if name in block.raw_fills:
            rows, steps, held = block.raw_fills[name]
            numbers[rows, steps] = held
        row = BY_NAME.get(name)
        low, high = (row.low, row.high) if row else (-np.inf, np.inf)
        with np.errstate(invalid="ignore"):
            inside = (values >= low) & (values <= high)
            numbers[inside & ~infinite] = np.nan
            if name in LEAVES:
                numbers = np.where(_satellite_fills(name, values), values, numbers)
        mask = np.isfinite(numbers)
        for entity in robust.which(mask.any(axis=1)):
            steps = np.flatnonzero(mask[entity])
            kinds = sorted({float(number) for number in numbers[entity, steps]})
            shown = ", ".join(f"{number:.6g}" for number in kinds[:7])
            listed = ", ".join(repr(number).removesuffix(".0") for number in kinds[:7])
            plural = "s" if len(kinds) > 1 else ""
            yield Found(
                "fill value",
                entity,
                (name,),
                *ends(steps),
                f"the fill value{plural} {shown} at {steps.size} steps",
                whole=f'ds["{called}"] = ds["{called}"].where(~ds["{called}"].isin([{listed}]))',
            )
        values[mask | infinite] = np.nan


def _infinite(block: Block, name: str, called: str, mask: Mask) -> Iterator[Found]:
    for entity in robust.which(mask.any(axis=1)):
        steps = np.flatnonzero(mask[entity])
        yield Found(
            "infinite values",
            entity,
            (name,),
            *ends(steps),
            f"infinite at {steps.size} steps",
            whole=f'ds["{called}"] = ds["{called}"].where(abs(ds["{called}"]) < 1e30)',
        )


def _satellite_fills(name: str, values: np.ndarray) -> Mask:
    """MODIS fills, as they are or scaled like the values beside them."""
    if name not in ("LAI", "FAPAR"):
        return np.isclose(values, INDEX_FILL, rtol=1e-5, atol=0)
    mask = np.zeros(values.shape, dtype=bool)
    high = BY_NAME[name].high
    for scale in (1.0, 0.1, 0.01):
        fills = (MODIS_FILLS * scale).astype(np.float32)
        if fills[0] > high:
            mask |= np.isclose(values[..., None], fills, rtol=1e-5, atol=0).any(axis=-1)
    scaled = robust.quantile(values, 0.75) <= high  # else it is the scale that is wrong
    return mask & scaled[:, None]


def zeros(block: Block) -> Iterator[Found]:
    """Exact zeros where the season, the light or the leaves say that there should be a value."""
    for name in block.values:
        zero = block.values[name] == 0
        rows = robust.which(zero.sum(axis=1) >= ODD_ZEROS)
        if not rows or name == "P":
            continue
        usual = block.seasonal(np.where(zero[rows], np.float32(np.nan), block.values[name][rows]))
        odd = zero[rows] & _odd(block, name, rows, usual)
        for row, here, normal in zip(rows, odd, usual, strict=True):
            steps = np.flatnonzero(here)
            if steps.size < ODD_ZEROS:
                continue
            partition = name == "Reco" and _closes(block, row, here)
            yield Found(
                "zeros for missing",
                row,
                (name,),
                *ends(steps),
                f"exactly 0 at {steps.size} steps where it is usually "
                f"{float(np.nanmedian(normal[steps])):.3g} {BY_NAME[name].units}"
                + (": the partitioning gives all of NEE to GPP there" if partition else ""),
                severity="note" if partition or steps.size < MANY_ZEROS else "",
            )
            block.values[name][row, here] = np.nan


def _closes(block: Block, row: int, steps: Mask) -> bool:
    """Whether GPP and NEE go on where Reco is 0: then it is a limit of the partitioning."""
    if not block.has(("GPP", "NEE")):
        return False
    gap = block.values["NEE"][row, steps] + block.values["GPP"][row, steps]
    return bool(np.median(np.abs(gap[np.isfinite(gap)])) < 0.05) if gap.size else False


def _odd(block: Block, name: str, rows: list[int], usual: np.ndarray) -> Mask:
    """Where a zero cannot be a measurement, shape (rows, T)."""
    never = np.zeros(usual.shape, dtype=bool)
    short = block.time.step == "sub-daily"
    with np.errstate(invalid="ignore"):
        if name in ("TA", "TA_MIN", "TA_MAX", "TD"):
            return np.abs(usual) > (2 if short else 1) * COLD_ZERO
        if name in ("PA", "RH", "QA", "EA"):
            return usual > 0
        if short:
            return never
        if name == "SW_IN":
            return block.top[rows] > DARK
        if name == "VPD" and block.has(("TA", "SW_IN")):
            sunny = block.values["SW_IN"][rows] > 0.5 * block.top[rows]
            return sunny & (block.values["TA"][rows] > WARM)
        if name in LEAVES:
            return usual > LEAF_ZERO[name]
        if name in FLUXES:
            measured = np.ones(usual.shape, bool)
            if "NEE_QC" in block.values:
                measured = block.values["NEE_QC"][rows] >= 0.5
            return (np.abs(usual) > FLUX_ZERO) & measured
    return never
