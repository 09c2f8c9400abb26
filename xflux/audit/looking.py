"""The order of the checks on one block: what explains other faults comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from xflux.audit import (
    breaks,
    clocks,
    coverage,
    fills,
    fluxes,
    lags,
    leaves,
    light,
    places,
    ranges,
    repeats,
    sizes,
    smooth,
    spikes,
    weather,
)
from xflux.audit.blocks import Block, Found
from xflux.audit.days import EXTREMES, daily
from xflux.audit.timeline import Timeline

Check = Callable[[Block], Iterator[Found]]

RAW: tuple[Check, ...] = (
    fills.fill_values,
    coverage.coverage,
    weather.monthly_rain,
    weather.running_sum,
    places.places,
)
"""On the steps of the Dataset, before anything is compared."""

SIZES: tuple[Check, ...] = (light.wrong_place, sizes.wrong_units)
"""On days or months: is it the right place and unit?"""

PATTERNS: tuple[Check, ...] = (
    fills.zeros,
    ranges.out_of_range,
    ranges.negative_rain,
    repeats.copied,
    repeats.stuck,
    repeats.straight_lines,
)
"""On the steps of the Dataset: what one series tells."""

YEARS: tuple[Check, ...] = (
    weather.dry_gauge,
    smooth.too_smooth,
    smooth.repeated_season,
    breaks.steps_and_drifts,
)
"""On days or months: what one series tells over the years."""

RELATIONS: tuple[Check, ...] = (
    fluxes.wrong_sign,
    clocks.clocks,
    weather.order_of_extremes,
    weather.drier_than_dry,
    spikes.spikes,
    fluxes.uptake_without_light,
    fluxes.closure,
    smooth.filled_years,
)
"""On the steps of the Dataset: what series tell of each other."""

SEASONS: tuple[Check, ...] = (
    fills.zeros,
    light.too_bright,
    weather.humidity_of_means,
    lags.shifted_days,
    leaves.out_of_order,
)
"""On days or months: what series tell of each other."""


def look(block: Block) -> Iterator[tuple[Timeline, Found]]:
    """Walk a block through all checks; what is found comes with the axis that it is told on."""
    short = block.time.step == "sub-daily"
    for checks, by_day in (
        (RAW, False),
        (SIZES, True),
        (PATTERNS, False),
        (YEARS, True),
        (RELATIONS, False),
        (SEASONS, True),
    ):
        view = daily(block) if by_day and short else block
        for check in checks:
            if short and check is weather.humidity_of_means:
                continue
            for found in check(view):
                if found.names[0] in EXTREMES and found.names[0] not in block.values:
                    continue  # made of TA, whose own finding tells it
                yield view.time, found
                if found.kind == "wrong unit":
                    block.set_aside(found.row, found.names)
