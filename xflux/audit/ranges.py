"""Values that cannot be: outside the plausible range of their variable."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xflux.audit import robust
from xflux.audit.blocks import Block, Found, ends
from xflux.cf.variables import BY_NAME

SHORT_STEPS = {"SW_IN": (-25.0, 1600.0), "P": (-0.5, 15000.0), "NEE": (-120.0, 120.0)}
SHORT_STEPS |= {"GPP": (-120.0, 140.0), "Reco": (-80.0, 140.0)}
"""Ranges of steps shorter than a day where they are wider than those of daily means: light at the
edge of clouds, a cloudburst (305 mm fell in 42 minutes at Holt, Missouri; WMO archive of extremes),
and the noise of one half-hour."""

NEGATIVE_RAIN = -0.005
"""mm d-1 below which precipitation counts as negative; rounding of packed files stays above."""

HINT = 0.25
"""Share of the steps that must be out of range before their size is taken for that of a unit."""


def out_of_range(block: Block) -> Iterator[Found]:
    """Values beyond the table of variables, with what their size looks like; they are set aside."""
    for name, values in block.values.items():
        row = BY_NAME.get(name)
        if row is None:
            continue
        low, high = row.low, row.high
        if block.time.step == "sub-daily":
            low, high = SHORT_STEPS.get(name, (low, high))
        with np.errstate(invalid="ignore"):
            mask = (values < low) | (values > high)
        for entity in robust.which(mask.any(axis=1)):
            steps = np.flatnonzero(mask[entity])
            held = values[entity, steps]
            worst = float(held[np.argmax(np.abs(held - (low + high) / 2))])
            called = block.called.get(name, name)
            words = row.explain(float(held.min()), float(held.max())).format(variable=called)
            many = steps.size > HINT * np.isfinite(values[entity]).sum()
            guess = f": {words.partition(':')[0]}" if ":" in words else ""
            yield Found(
                "out of range",
                entity,
                (name,),
                *ends(steps),
                f"{steps.size} values outside {low:g} to {high:g} {row.units}, the worst "
                f"{worst:.5g}{guess}",
                line=words.partition(": ")[2] if many and ": " in words else "",
            )
            values[entity, steps] = np.nan


def negative_rain(block: Block) -> Iterator[Found]:
    """Precipitation below zero."""
    if "P" not in block.values:
        return
    values = block.values["P"]
    with np.errstate(invalid="ignore"):
        mask = values < NEGATIVE_RAIN
    called = block.called.get("P", "P")
    for entity in robust.which(mask.any(axis=1)):
        steps = np.flatnonzero(mask[entity])
        yield Found(
            "negative precipitation",
            entity,
            ("P",),
            *ends(steps),
            f"{steps.size} values below 0, down to {float(values[entity, steps].min()):.3g} mm d-1",
            whole=f'ds["{called}"] = ds["{called}"].where(ds["{called}"] >= 0)',
        )
        values[entity, steps] = np.nan
